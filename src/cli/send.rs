//! `sipliance send URI TEXT…`: an instant message (RFC 3428), and what comes back.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::client::{
    Client, Failure, Happened, Peer, PeerArgs, ask, clean, not_allowed, run as run_client, status_line,
};
use crate::sip::challenge::Login;
use crate::sip::exchange::Request;
use crate::sip::wire::{Message, Method};

/// Longest text over datagrams in bytes (RFC 3428 §8).
const DATAGRAM_TEXT: usize = 1200;

/// Send a text to an appliance or a person, and print the reply
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipliance send sip:plug@192.168.1.5 on --user anna
  sipliance send sip:plug@192.168.1.5 status --user anna
  sipliance send sip:home@192.168.1.5 help --user anna
  sipliance send sip:bob@pbx.example --user anna 'Dinner is ready'

Exit codes: 0 taken, 1 refused, 2 wrong arguments, 3 nobody answered.")]
pub struct SendArgs {
    /// To whom, for example sip:plug@192.168.1.5
    #[arg(value_name = "URI")]
    pub uri: String,
    /// The text; several words are joined with blanks
    #[arg(value_name = "TEXT", required = true)]
    pub text: Vec<String>,
    /// How long to wait for a reply after the text was taken
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = seconds)]
    pub wait: f64,
    /// Whom to reach
    #[command(flatten)]
    pub peer: PeerArgs,
}

/// Runs the command.
pub fn run(args: SendArgs) -> ExitCode {
    run_client("send", send(args))
}

async fn send(args: SendArgs) -> Result<(), Failure> {
    let peer = Peer::new(&args.uri, &args.peer)?;
    let login = peer.login(&args.peer)?;
    let mut client = Client::open(&peer, 1).await?;
    let patience = Duration::from_secs(u64::from(args.peer.timeout));
    let wait = Duration::from_secs_f64(args.wait);
    let sent = message(&mut client, &peer, login, &args.text.join(" "), patience, wait).await;
    // The answer to the reply is still to be sent; without it the server only repeats the reply.
    client.close().await;
    sent
}

/// Sends a text, waits for its final response and then for a reply, which is printed.
pub(super) async fn message(
    client: &mut Client,
    peer: &Peer,
    login: Login,
    text: &str,
    patience: Duration,
    wait: Duration,
) -> Result<(), Failure> {
    if !client.hop.transport.is_reliable() && text.len() > DATAGRAM_TEXT {
        return Err(Failure::Usage(format!(
            "{} bytes are too long for one datagram; use --transport tcp",
            text.len()
        )));
    }
    let request = Request {
        method: Method::Message,
        target: peer.uri.clone(),
        from: peer.from.clone(),
        route: Vec::new(),
        fields: "",
        body: Some(("text/plain;charset=UTF-8", text.as_bytes().to_vec())),
    };
    let mut replied = false;
    let mut reply = |client: &mut Client, bytes: &[u8], hop| replied |= take_reply(client, bytes, hop);
    let response = ask(client, peer, request, login, patience, &mut reply).await?;
    let deadline = Instant::now() + wait;
    while !replied {
        match client.next(Some(deadline)).await {
            Happened::Request(bytes, hop) => replied |= take_reply(client, &bytes, hop),
            Happened::Response(_) => {}
            Happened::TimedOut | Happened::Deadline | Happened::Lost(_) => break,
        }
    }
    let (status, reason) = (response.status, response.reason);
    match status {
        200..300 => {
            if !replied {
                eprintln!("{status} {}: taken, no reply", clean(&reason));
            }
            Ok(())
        }
        _ => Err(Failure::Refused(status_line(status, &reason))),
    }
}

/// Prints a MESSAGE of the server and answers it; true when it was one.
fn take_reply(client: &mut Client, bytes: &[u8], hop: crate::sip::Hop) -> bool {
    let Ok(request) = Message::parse(bytes) else { return false };
    let is_message = matches!(request.request(), Some((Method::Message, _)));
    // Anybody could send to our socket; the reply comes from where the text went.
    if !is_message || hop.peer != client.hop.peer {
        client.answer(&request, hop, Err(not_allowed("MESSAGE")));
        return false;
    }
    println!("{}", clean(String::from_utf8_lossy(request.body).trim_end()));
    client.answer(&request, hop, Ok(()));
    true
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number of seconds from 0 to 60, for example 1.5".to_owned()),
    }
}

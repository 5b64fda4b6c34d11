//! `sipliance do URI ACTION`: the method DO (draft-tsang-sip-appliances-do), whose 200 carries the
//! result; a MESSAGE where the server does not know it.

use std::process::ExitCode;
use std::time::Duration;

use super::client::{
    Client, Failure, Peer, PeerArgs, ask, clean, not_allowed, run as run_client, status_line,
};
use super::send::message;
use crate::sip::challenge::Login;
use crate::sip::exchange::Request;
use crate::sip::wire::{Message, Method};

/// Make an appliance do something, and print how it went
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  sipliance do sip:plug@192.168.1.5 on --user anna
  sipliance do sip:valve@192.168.1.5 open minutes=10 --user anna
  sipliance do sip:washer@192.168.1.5 help --user anna

Where the server does not know the method DO, the same words go as a text.

Exit codes: 0 done, 1 refused or not done, 2 wrong arguments, 3 nobody answered.")]
pub struct DoArgs {
    /// The appliance, for example sip:plug@192.168.1.5
    #[arg(value_name = "URI")]
    pub uri: String,
    /// What it should do; `help` lists what it can
    #[arg(value_name = "ACTION")]
    pub action: String,
    /// Further words and arguments of the action
    #[arg(value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// Whom to reach
    #[command(flatten)]
    pub peer: PeerArgs,
}

/// Runs the command.
pub fn run(args: DoArgs) -> ExitCode {
    run_client("do", act(args))
}

async fn act(args: DoArgs) -> Result<(), Failure> {
    let peer = Peer::new(&args.uri, &args.peer)?;
    let login = peer.login(&args.peer)?;
    let mut client = Client::open(&peer, 1).await?;
    let done = order(&mut client, &peer, login, &args).await;
    client.close().await;
    done
}

async fn order(client: &mut Client, peer: &Peer, login: Login, args: &DoArgs) -> Result<(), Failure> {
    let text = words(args);
    let patience = Duration::from_secs(u64::from(args.peer.timeout));
    let request = Request {
        method: Method::Do,
        target: peer.uri.clone(),
        from: peer.from.clone(),
        route: Vec::new(),
        fields: "Accept: text/plain\r\n",
        body: Some(("text/plain;charset=UTF-8", text.clone().into_bytes())),
    };
    let mut other = |client: &mut Client, bytes: &[u8], hop| {
        if let Ok(request) = Message::parse(bytes) {
            client.answer(&request, hop, Err(not_allowed("MESSAGE")));
        }
    };
    let response = ask(client, peer, request, login.clone(), patience, &mut other).await?;
    match response.status {
        // Nothing was done, so the same words may go another way.
        405 | 501 => {
            eprintln!("{} does not know DO ({}); sending a text instead", peer.host, response.status);
            message(client, peer, login, &text, patience, Duration::from_secs(1)).await
        }
        200..300 => {
            match response.text.trim_end() {
                "" => eprintln!("{} {}: taken, no reply", response.status, clean(&response.reason)),
                text => println!("{}", clean(text)),
            }
            Ok(())
        }
        status => {
            let line = status_line(status, &response.reason);
            Err(Failure::Refused(match response.text.trim_end() {
                "" => line,
                text => format!("{line}\n{}", clean(text)),
            }))
        }
    }
}

fn words(args: &DoArgs) -> String {
    let mut text = args.action.clone();
    for argument in &args.arguments {
        text.push(' ');
        text.push_str(argument);
    }
    text
}

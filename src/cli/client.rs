//! What `watch`, `send` and `do` share: the options, how a command ends, one request and its answer.

mod link;
mod peer;
mod words;

use std::future::Future;
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(super) use self::link::{Client, Happened};
pub use self::peer::Peer;
pub(super) use self::words::{clean, status_line};
use crate::sip::challenge::{Login, Refused};
use crate::sip::exchange::{Exchange, Progress, Request};
use crate::sip::wire::{Message, Start};
use crate::sip::{Hop, Rejection, Transport};

/// Who asks whom, and how: the options that every command of the client has.
#[derive(Clone, Debug, clap::Args)]
pub struct PeerArgs {
    /// Your name at the server, `anna` or `anna@home.example`
    #[arg(short, long, env = "SIPLIANCE_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Your password. Others on this machine can see it in the list of processes: rather set
    /// SIPLIANCE_PASSWORD, or leave it out and type it when asked
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// How to reach the server; by default what the address says, else udp
    #[arg(long, value_enum)]
    pub transport: Option<Way>,
    /// Send everything here, whatever host the address names
    #[arg(long, value_name = "HOST[:PORT]")]
    pub server: Option<String>,
    /// Over tls, wss and quic: the authority that signed the server's certificate (PEM); by default those of
    /// the system
    #[arg(long, value_name = "FILE")]
    pub ca: Option<std::path::PathBuf>,
    /// Over ws and wss: where the WebSocket is
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub path: String,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub timeout: u32,
}

/// A transport, as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Datagrams
    Udp,
    /// A connection
    Tcp,
    /// A connection under TLS
    Tls,
    /// A WebSocket
    Ws,
    /// A WebSocket under TLS
    Wss,
    /// QUIC, which is encrypted always
    Quic,
}

impl From<Way> for Transport {
    fn from(way: Way) -> Self {
        match way {
            Way::Udp => Self::Udp,
            Way::Tcp => Self::Tcp,
            Way::Tls => Self::Tls,
            Way::Ws => Self::Ws,
            Way::Wss => Self::Wss,
            Way::Quic => Self::Quic,
        }
    }
}

/// Why a command of the client ends without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server said no. Exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The arguments make no sense. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Nobody answered. Exit code 3.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// What the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

/// Runs a command of the client to its end, and says what went wrong.
pub(super) fn run(command: &str, work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(why) => Err(Failure::Unreachable(format!("the program cannot start: {why}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sipliance {command}: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A final response, as far as a command looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub status: u16,
    pub reason: String,
    /// The body, where it is text.
    pub text: String,
}

/// Sends one request and waits for its final response; requests that come meanwhile go to `other`.
///
/// # Errors
/// When a challenge cannot be answered, or nobody answers in time.
pub(super) async fn ask(
    client: &mut Client,
    peer: &Peer,
    request: Request,
    login: Login,
    patience: Duration,
    other: &mut impl FnMut(&mut Client, &[u8], Hop),
) -> Result<Reply, Failure> {
    let mut exchange = Exchange::new(request, login, client.rng());
    let deadline = Instant::now() + patience;
    exchange.send(&mut client.transactions, (), client.hop, Instant::now());
    loop {
        match client.next(Some(deadline)).await {
            Happened::Response(bytes) => {
                let Ok(response) = Message::parse(&bytes) else { continue };
                let (hop, now) = (client.hop, Instant::now());
                match exchange.on_response(&response, &mut client.transactions, (), hop, now) {
                    Progress::Wait => {}
                    Progress::Final => return Ok(reply(&response)),
                    Progress::Refused(Refused::Wrong) => {
                        return Err(Failure::Refused(format!(
                            "401: wrong user or password for {}",
                            peer.user
                        )));
                    }
                    Progress::Refused(why) => return Err(Failure::Refused(format!("401: {why}"))),
                }
            }
            Happened::Request(bytes, hop) => other(client, &bytes, hop),
            Happened::TimedOut | Happened::Deadline => return Err(peer.silent()),
            Happened::Lost(why) => return Err(Failure::Unreachable(clean(&why))),
        }
    }
}

fn reply(response: &Message<'_>) -> Reply {
    let Start::Response { status, reason } = response.start else {
        return Reply { status: 0, reason: String::new(), text: String::new() };
    };
    let is_text = response
        .content_type()
        .is_some_and(|kind| kind.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/")));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Reply { status, reason: text(reason), text: if is_text { text(response.body) } else { String::new() } }
}

/// The answer to a request that a client has no use for.
pub(super) fn not_allowed(allow: &str) -> Rejection {
    Rejection::new(405, "Method Not Allowed").with("Allow", allow)
}

#[cfg(test)]
mod tests;

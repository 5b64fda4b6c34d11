//! Out to others: a name, a connection, TLS and a WebSocket, or words that say what is wrong.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sipliance_tls::Dialer;
use tokio::net::TcpStream;

use super::resolve::Resolver;
use super::route::source;
use super::stream::{Connection, Duplex, Line, Reached};
use super::ws;
use crate::config::{Dial, HostPort, Wanted};
use crate::sip::Transport;
use crate::sip::locate::Target;

/// How long one way may take, from the first packet to the end of all handshakes.
pub const CONNECT: Duration = Duration::from_secs(10);
/// How long a way is alone before the next is tried beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Ways that are tried at once at most, so that a name with many addresses is no flood.
const AT_ONCE: usize = 4;

/// Why nobody was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong and what to do, for a person.
    pub words: String,
    /// Somebody is there, and nothing came of it: a handshake failed, or did not get on.
    pub met: bool,
}

impl Fault {
    fn nobody(words: String) -> Self {
        Self { words, met: false }
    }

    fn met(words: String) -> Self {
        Self { words, met: true }
    }

    /// Says where it was.
    pub fn at(self, server: &Wanted) -> Self {
        Self { words: format!("{}: {}", server.words(), self.words), ..self }
    }
}

/// Makes a flow to a server: finds the ways to it and takes the first that works. What was to be under TLS is
/// never anything else. `asking` is who wants it, so that a way that did not last is not the first again.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub async fn reach(
    asking: usize,
    server: &Wanted,
    dial: &Dial,
    resolver: &Resolver,
) -> Result<Reached, Fault> {
    resolver.asked_again(asking);
    let targets = resolver.locate(server).await.map_err(Fault::nobody)?;
    let host = server.host.as_str();
    let (target, reached) =
        race(&targets, |target| way(target, host.to_owned(), dial.clone()), resolver).await?;
    resolver.took(asking, target);
    Ok(reached)
}

async fn way(target: Target, host: String, dial: Dial) -> Result<Reached, Fault> {
    if target.transport == Transport::Udp {
        // Datagrams begin without an answer; but where this machine has no way at all, another address is tried.
        source(target.addr).map_err(|error| Fault::nobody(refused(&error)))?;
        return Ok(Reached::Datagrams(target.addr));
    }
    let server = HostPort { host, port: target.addr.port() };
    let address = [target.addr];
    connect(&address, &server, target.transport, &dial).await.map(Reached::Connection)
}

/// The first of several ways that works; one that takes its time is not waited for alone.
async fn race<F>(
    targets: &[Target],
    start: impl Fn(Target) -> F,
    resolver: &Resolver,
) -> Result<(Target, Reached), Fault>
where
    F: Future<Output = Result<Reached, Fault>> + 'static,
{
    let mut left = targets.iter().copied();
    let mut running = tokio::task::JoinSet::new();
    let mut begin = |running: &mut tokio::task::JoinSet<_>| {
        let next = left.next()?;
        let work = start(next);
        running.spawn_local(async move { (next, work.await) });
        Some(())
    };
    begin(&mut running);
    let (mut faults, mut met) = (Vec::new(), true);
    let mut more = true;
    loop {
        tokio::select! {
            () = tokio::time::sleep(HEAD_START), if more && running.len() < AT_ONCE => {
                more = begin(&mut running).is_some();
            }
            done = running.join_next() => match done {
                Some(Ok((target, Ok(reached)))) => return Ok((target, reached)),
                Some(Ok((target, Err(why)))) => {
                    resolver.failed(target);
                    met &= why.met;
                    faults.push(format!("{} {}: {}", target.transport.word(), target.addr, why.words));
                    more = begin(&mut running).is_some();
                }
                Some(Err(error)) => faults.push(error.to_string()),
                None => return Err(Fault { words: words(&faults), met: met && !faults.is_empty() }),
            },
        }
    }
}

/// One fault as it is; several behind each other, no more than a line can hold.
fn words(faults: &[String]) -> String {
    match faults {
        [] => "the name has no address".to_owned(),
        [one] => one.split_once(": ").map_or(one.clone(), |(_, why)| why.to_owned()),
        several => several.iter().take(AT_ONCE).cloned().collect::<Vec<_>>().join("; "),
    }
}

/// Connects to one of `addresses`, which are those of `server`, in [`CONNECT`].
///
/// # Errors
/// The same.
pub async fn connect(
    addresses: &[SocketAddr],
    server: &HostPort,
    transport: Transport,
    dial: &Dial,
) -> Result<Connection, Fault> {
    let met = Cell::new(false);
    let work = connected(addresses, server, transport, dial, &met);
    let done = tokio::time::timeout(CONNECT, work).await;
    let done = done.unwrap_or_else(|_| {
        let words =
            if met.get() { "somebody is there, and does not get on with the handshake" } else { "no answer" };
        Err(words.to_owned())
    });
    done.map_err(|words| if met.get() { Fault::met(words) } else { Fault::nobody(words) })
}

async fn connected(
    addresses: &[SocketAddr],
    server: &HostPort,
    transport: Transport,
    dial: &Dial,
    met: &Cell<bool>,
) -> Result<Connection, String> {
    if transport == Transport::Quic {
        return quic(addresses, server, dial).await;
    }
    let stream = TcpStream::connect(addresses).await.map_err(|error| refused(&error))?;
    met.set(true);
    // A lost option costs time, not the connection.
    let _ = stream.set_nodelay(true);
    let _ = watch(&stream, Duration::from_secs(15));
    let (local, peer) = stream
        .local_addr()
        .and_then(|local| Ok((local, stream.peer_addr()?)))
        .map_err(|error| refused(&error))?;
    let line = dress(stream, server, transport, dial).await?;
    Ok(Connection { transport, local, peer, line })
}

/// What a program is told that was built for less.
#[cfg(not(feature = "quic"))]
pub(super) const NO_QUIC: &str = "this program was built without QUIC";

#[cfg(not(feature = "quic"))]
async fn quic(_: &[SocketAddr], _: &HostPort, _: &Dial) -> Result<Connection, String> {
    Err(NO_QUIC.to_owned())
}

#[cfg(feature = "quic")]
async fn quic(addresses: &[SocketAddr], server: &HostPort, dial: &Dial) -> Result<Connection, String> {
    let dialer = dialer(dial).await?;
    let mut why = "the name has no address".to_owned();
    for address in addresses {
        match super::quic::connect(*address, name(dial, server), &dialer).await {
            Ok(connection) => return Ok(connection),
            Err(fault) => why = fault,
        }
    }
    Err(why)
}

/// The store of the system is a large file: the loop does not wait for it.
async fn dialer(dial: &Dial) -> Result<Dialer, String> {
    let settings = dial.settings();
    let dialer = tokio::task::spawn_blocking(move || sipliance_tls::client(&settings)).await;
    dialer.map_err(|error| error.to_string())?.map_err(|problem| problem.text)
}

/// What a server is asked for by name (SNI).
fn name<'a>(dial: &'a Dial, server: &'a HostPort) -> &'a str {
    dial.names.first().filter(|name| !name.contains('*')).unwrap_or(&server.host)
}

/// Lets the kernel find out that the far end of a connection is gone without a word: half a minute after something was
/// sent to it, or after `silence`.
pub(super) fn watch(stream: &TcpStream, silence: Duration) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    let probes =
        socket2::TcpKeepalive::new().with_time(silence).with_interval(Duration::from_secs(5)).with_retries(4);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_user_timeout(Some(Duration::from_secs(30)))
}

/// TLS and WebSocket over a connection, as far as `transport` has them.
///
/// # Errors
/// The same.
pub async fn dress(
    stream: impl Duplex + 'static,
    server: &HostPort,
    transport: Transport,
    dial: &Dial,
) -> Result<Line, String> {
    let stream: Box<dyn Duplex> = match transport.is_secure() {
        false => Box::new(stream),
        true => {
            let dialer = dialer(dial).await?;
            Box::new(dialer.connect(name(dial, server), stream).await?)
        }
    };
    if !transport.is_web() {
        return Ok(Line::Bytes(stream));
    }
    let socket = ws::connect(stream, server, transport, &dial.path).await?;
    Ok(Line::Messages(Box::new(socket)))
}

/// Why a connection did not come about.
pub fn refused(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => error.to_string(),
    }
}

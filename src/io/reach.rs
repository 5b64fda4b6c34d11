//! Out to others: a name, a connection, TLS and a WebSocket, or words that say what is wrong.

mod knock;

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sipliance_tls::Dialer;
use tokio::net::TcpStream;
use tokio::time::Instant;

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
/// The same for one on which somebody was met: TLS on a slow line takes longer than the other family takes to connect,
/// and chance should not say which of them it is.
const HANDSHAKE: Duration = Duration::from_secs(2);
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
    let several = targets.len() > 1;
    let start = |target, met| way(target, several, host.to_owned(), dial.clone(), met);
    let (target, reached) = race(&targets, start, resolver).await?;
    resolver.took(asking, target);
    Ok(reached)
}

async fn way(
    target: Target,
    several: bool,
    host: String,
    dial: Dial,
    met: Rc<Cell<bool>>,
) -> Result<Reached, Fault> {
    if target.transport == Transport::Udp {
        // Datagrams begin without an answer; but where this machine has no way at all, another address is tried.
        source(target.addr).map_err(|error| Fault::nobody(refused(&error)))?;
        if several {
            knock::answers(target.addr).await.map_err(|error| Fault::nobody(refused(&error)))?;
        }
        return Ok(Reached::Datagrams(target.addr));
    }
    let server = HostPort { host, port: target.addr.port() };
    connect_to(&[target.addr], &server, target.transport, &dial, &met).await.map(Reached::Connection)
}

/// The first of several ways that works; one that takes its time is not waited for alone. `start` begins with one, and
/// sets what it is given when somebody was met on it.
async fn race<F>(
    targets: &[Target],
    start: impl Fn(Target, Rc<Cell<bool>>) -> F,
    resolver: &Resolver,
) -> Result<(Target, Reached), Fault>
where
    F: Future<Output = Result<Reached, Fault>> + 'static,
{
    let mut left = targets.iter().copied();
    let mut running = tokio::task::JoinSet::new();
    let mut newest = Rc::default();
    let mut begun = Instant::now();
    let mut begin = |running: &mut tokio::task::JoinSet<_>, newest: &mut Rc<Cell<bool>>| {
        let next = left.next()?;
        *newest = Rc::default();
        let work = start(next, newest.clone());
        running.spawn_local(async move { (next, work.await) });
        Some(())
    };
    begin(&mut running, &mut newest);
    let (mut faults, mut met) = (Vec::new(), true);
    let mut more = true;
    loop {
        let alone = if newest.get() { HANDSHAKE } else { HEAD_START };
        tokio::select! {
            () = tokio::time::sleep_until(begun + alone), if more && running.len() < AT_ONCE => {
                // Somebody may have been met meanwhile.
                if !newest.get() || alone == HANDSHAKE {
                    more = begin(&mut running, &mut newest).is_some();
                    begun = Instant::now();
                }
            }
            done = running.join_next() => match done {
                Some(Ok((target, Ok(reached)))) => return Ok((target, reached)),
                Some(Ok((target, Err(why)))) => {
                    resolver.failed(target);
                    met &= why.met;
                    faults.push(format!("{} {}: {}", target.transport.word(), target.addr, why.words));
                    more = begin(&mut running, &mut newest).is_some();
                    begun = Instant::now();
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
    connect_to(addresses, server, transport, dial, &Cell::new(false)).await
}

/// The same; sets `met` when somebody is there.
async fn connect_to(
    addresses: &[SocketAddr],
    server: &HostPort,
    transport: Transport,
    dial: &Dial,
    met: &Cell<bool>,
) -> Result<Connection, Fault> {
    let work = connected(addresses, server, transport, dial, met);
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
        io::ErrorKind::NetworkUnreachable if error.raw_os_error().is_some() => {
            "this machine has no way there".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Meets somebody after so long, if ever, and is through after so long.
    async fn after(
        target: Target,
        meets: Option<u64>,
        ends: u64,
        met: Rc<Cell<bool>>,
    ) -> Result<Reached, Fault> {
        let began = Instant::now();
        if let Some(meets) = meets {
            tokio::time::sleep(Duration::from_millis(meets)).await;
            met.set(true);
        }
        tokio::time::sleep_until(began + Duration::from_millis(ends)).await;
        Ok(Reached::Datagrams(target.addr))
    }

    /// Which of two ways is taken, and after how many milliseconds: each meets somebody, and is through.
    async fn raced(ways: [(Option<u64>, u64); 2]) -> (usize, u128) {
        let target = |port| Target { addr: ([127, 0, 0, 1], port).into(), transport: Transport::Tls };
        let targets = [target(0), target(1)];
        let (began, resolver) = (Instant::now(), Resolver::default());
        let race = race(
            &targets,
            |target, met| {
                let (meets, ends) = ways[usize::from(target.addr.port())];
                after(target, meets, ends, met)
            },
            &resolver,
        );
        let (taken, _) = tokio::task::LocalSet::new().run_until(race).await.unwrap();
        (usize::from(taken.addr.port()), began.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn chance_does_not_choose_the_family() {
        assert_eq!(
            raced([(Some(100), 1_500), (Some(20), 60)]).await,
            (0, 1_500),
            "a handshake takes its time"
        );
        assert_eq!(raced([(None, 9_000), (Some(20), 60)]).await, (1, 310), "nobody is there");
        assert_eq!(
            raced([(Some(100), 9_000), (Some(20), 60)]).await,
            (1, 2_060),
            "somebody is, and says nothing"
        );
    }
}

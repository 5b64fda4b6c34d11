//! Out to others: a name, a connection, TLS and a WebSocket, or words that say what is wrong.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use super::stream::{Connection, Duplex, Line, Reached};
use super::ws;
use crate::config::{Dial, HostPort};
use crate::sip::Transport;

/// How long all of it may take.
pub const CONNECT: Duration = Duration::from_secs(10);

/// Makes a flow to `server`. What was to be under TLS is never anything else.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub async fn reach(server: &HostPort, transport: Transport, dial: &Dial) -> Result<Reached, String> {
    let work = async {
        let addresses = resolve(server).await.map_err(|error| refused(&error))?;
        if transport == Transport::Udp {
            let first = addresses.first().copied().ok_or("the name has no address")?;
            return Ok(Reached::Datagrams(first));
        }
        connect(&addresses, server, transport, dial).await.map(Reached::Connection)
    };
    tokio::time::timeout(CONNECT, work).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

async fn resolve(server: &HostPort) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((server.host.as_str(), server.port)).await?.collect())
}

/// Connects to one of `addresses`, which are those of `server`.
///
/// # Errors
/// The same.
pub async fn connect(
    addresses: &[SocketAddr],
    server: &HostPort,
    transport: Transport,
    dial: &Dial,
) -> Result<Connection, String> {
    let stream = TcpStream::connect(addresses).await.map_err(|error| refused(&error))?;
    // A lost option costs milliseconds, not the connection.
    let _ = stream.set_nodelay(true);
    let (local, peer) = stream
        .local_addr()
        .and_then(|local| Ok((local, stream.peer_addr()?)))
        .map_err(|error| refused(&error))?;
    let line = dress(stream, server, transport, dial).await?;
    Ok(Connection { transport, local, peer, line })
}

/// TLS and WebSocket over a connection, as far as `transport` has them.
async fn dress(
    stream: impl Duplex + 'static,
    server: &HostPort,
    transport: Transport,
    dial: &Dial,
) -> Result<Line, String> {
    let stream: Box<dyn Duplex> = match transport.is_secure() {
        false => Box::new(stream),
        true => {
            let settings = dial.settings();
            // The store of the system is a large file: the loop does not wait for it.
            let dialer = tokio::task::spawn_blocking(move || sipliance_tls::client(&settings)).await;
            let dialer = dialer.map_err(|error| error.to_string())?.map_err(|problem| problem.text)?;
            let name = dial.names.first().filter(|name| !name.contains('*')).unwrap_or(&server.host);
            Box::new(dialer.connect(name, stream).await?)
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

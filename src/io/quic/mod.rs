//! SIP over QUIC as docs/sip-over-quic.md maps it: a stream for each transaction, a connection for each flow.
//!
//! ```text
//!  request of ours  ──open a stream, write, finish──▶ peer ──responses, end──▶ stream::Report::Message
//!  stream of theirs ──one request──▶ Report::Message ──▶ gateway ──its responses──▶ Streams ──▶ same stream
//! ```
//!
//! [`connect`] makes a connection, [`Door`] takes those who come; both give a [`Link`], which is another
//! [`Line`](super::stream::Line). Which stream a response belongs to is known in [`streams`] alone.

mod reset;
mod serve;
mod streams;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, ServerConfig,
    TokioRuntime, TransportConfig, VarInt,
};
use sipliance_tls::{Dialer, Welcomer};

pub use self::reset::Resets;
pub(super) use self::serve::serve;
use super::route::{self, Mover};
use super::{stream, udp};
use crate::sip::Transport;

/// Names the mapping in the handshake. That of draft-hurst-sip-quic is another one, with other frames.
pub const ALPN: &[u8] = b"sip/2.0-sipliance-1";

/// Silence after which a connection says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(12);
/// Silence after which it is dead. With the pause before the last keep-alive that makes 36 s at most.
const IDLE: Duration = Duration::from_secs(24);
/// Streams of one peer at a time; QUIC itself makes it wait with one more.
const STREAMS: u32 = 256;
/// Bytes of one stream that wait to be read, which a message of the largest size fits; the peer waits when it
/// is full.
const STREAM_WINDOW: u32 = 96 * 1024;
/// The same of a whole connection.
const WINDOW: u32 = 256 * 1024;
/// Bytes of ours that are on their way; responses wait when it is full.
const SEND_WINDOW: u64 = 256 * 1024;
/// Connections at one door that have said hello and are not looked at yet; one more is refused.
const INCOMING: usize = 64;
/// Bytes of all of them together that wait to be read; more is dropped, and sent again.
const INCOMING_BYTES: u64 = 1024 * 1024;

/// What ends a stream or a connection before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
enum Code {
    /// In good order.
    Done = 0,
    /// No SIP message, or not one that belongs here.
    Malformed = 1,
    /// Longer than it may be.
    TooLong = 2,
    /// It was waited for, and did not come.
    TooLate = 3,
    /// There is no room now.
    Busy = 4,
}

impl From<Code> for VarInt {
    fn from(code: Code) -> Self {
        Self::from_u32(code as u32)
    }
}

/// A connection that is through its handshake.
pub struct Link {
    connection: Connection,
    /// Of a connection of ours: it has a socket of its own.
    endpoint: Option<Endpoint>,
}

impl Link {
    /// What gives a connection of ours a new socket: the far end sees where it comes from now, and the flow
    /// stays. `None` for those who came in, who move themselves.
    pub fn mover(&self) -> Option<Mover> {
        let endpoint = self.endpoint.clone()?;
        Some(Box::new(move || {
            let local = endpoint.local_addr()?;
            endpoint.rebind(UdpSocket::bind((unspecified(local.ip()), 0))?)
        }))
    }
}

/// Where QUIC is listened for. When it is dropped, nobody comes in any more; who is in stays.
pub struct Door {
    endpoint: Endpoint,
    config: ServerConfig,
}

/// Somebody who knocks, from an address that is really theirs.
pub struct Caller {
    incoming: Incoming,
    config: ServerConfig,
    local: SocketAddr,
}

/// Opens a port; nobody comes in before there is a [`Door`].
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    Ok(udp::bind(addr)?.into())
}

impl Door {
    /// Opens it. Without `resets`, who is in does not hear of a restart.
    ///
    /// # Errors
    /// When the certificate does not do for QUIC, or the system gives no place to wait at.
    pub fn open(socket: UdpSocket, welcomer: &Welcomer, resets: Option<Resets>) -> Result<Self, String> {
        let settings = resets.map(Resets::config).unwrap_or_default();
        let endpoint = Endpoint::new(settings, None, socket, Arc::new(TokioRuntime))
            .map_err(|error| error.to_string())?;
        let mut config = ServerConfig::with_crypto(crypto(welcomer)?);
        config
            .transport_config(Arc::new(transport()))
            .max_incoming(INCOMING)
            .incoming_buffer_size_total(INCOMING_BYTES);
        endpoint.set_server_config(Some(config.clone()));
        Ok(Self { endpoint, config })
    }

    /// The next who knocks; `None`: the door is closed. Whoever has not shown yet that the address is theirs
    /// is asked to come again with a token, and takes no place until then.
    pub async fn knock(&self) -> Option<Caller> {
        loop {
            let incoming = self.endpoint.accept().await?;
            if incoming.remote_address_validated() || !incoming.may_retry() {
                let local = self.endpoint.local_addr().ok()?;
                return Some(Caller { incoming, config: self.config.clone(), local });
            }
            // Of a token that cannot be sent nobody hears.
            let _ = incoming.retry();
        }
    }

    /// Says goodbye to all who are in.
    pub async fn close(&self) {
        self.endpoint.close(Code::Done.into(), b"");
        let _ = tokio::time::timeout(stream::GOODBYE, self.endpoint.wait_idle()).await;
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.endpoint.set_server_config(None);
    }
}

impl Caller {
    /// Who it is.
    pub fn peer(&self) -> SocketAddr {
        self.incoming.remote_address()
    }

    /// There is no room.
    pub fn refuse(self) {
        self.incoming.refuse();
    }

    /// Does the handshake. The caller sets a deadline.
    ///
    /// # Errors
    /// What the other side did.
    pub async fn enter(mut self, welcomer: &Welcomer) -> Result<stream::Connection, String> {
        let peer = self.peer();
        // A renewed certificate counts from now on.
        self.config.crypto = crypto(welcomer)?;
        let local_ip = self.incoming.local_ip().unwrap_or(self.local.ip());
        let local = SocketAddr::new(local_ip.to_canonical(), self.local.port());
        let connecting = self.incoming.accept_with(Arc::new(self.config)).map_err(|error| words(&error))?;
        let connection = connecting.await.map_err(|error| knocked(&error))?;
        let line = stream::Line::Quic(Link { connection, endpoint: None });
        Ok(stream::Connection { transport: Transport::Quic, local, peer, line })
    }
}

/// Makes a connection to `addr`, on a socket of its own. The caller sets a deadline.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub async fn connect(addr: SocketAddr, name: &str, dialer: &Dialer) -> Result<stream::Connection, String> {
    let crypto = QuicClientConfig::try_from(dialer.quic(ALPN)).map_err(|error| error.to_string())?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport()));
    let socket = UdpSocket::bind((unspecified(addr.ip()), 0)).map_err(|error| error.to_string())?;
    let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))
        .map_err(|error| error.to_string())?;
    let connecting = endpoint.connect_with(config, addr, name).map_err(|error| match error {
        quinn::ConnectError::InvalidServerName(name) => {
            format!("{name:?} is no name that a certificate could hold")
        }
        other => other.to_string(),
    })?;
    let connection = connecting.await.map_err(|error| dialer.refusal().unwrap_or_else(|| words(&error)))?;
    let ip = route::source(addr).ok().or(connection.local_ip()).unwrap_or(unspecified(addr.ip()));
    let port = endpoint.local_addr().map_err(|error| error.to_string())?.port();
    let line = stream::Line::Quic(Link { connection, endpoint: Some(endpoint) });
    Ok(stream::Connection { transport: Transport::Quic, local: SocketAddr::new(ip, port), peer: addr, line })
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() }
}

fn crypto(welcomer: &Welcomer) -> Result<Arc<QuicServerConfig>, String> {
    let config = QuicServerConfig::try_from(welcomer.quic(ALPN)).map_err(|error| error.to_string())?;
    Ok(Arc::new(config))
}

fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(None)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(WINDOW.into())
        .send_window(SEND_WINDOW)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IDLE.try_into().ok());
    config
}

/// The first code of what TLS found (RFC 9001 §4.8).
const CRYPTO: u64 = 0x100;
/// A server that takes nobody now (RFC 9000 §20.1).
const REFUSED: u64 = 0x2;
/// No protocol in common (RFC 7301 §3.2).
const NO_ALPN: u8 = 120;

/// Why a connection is at its end, in words for a person.
fn words(error: &ConnectionError) -> String {
    match error {
        ConnectionError::TimedOut => "no sign of life".to_owned(),
        ConnectionError::Reset => "the peer knows nothing of this connection: it was restarted".to_owned(),
        ConnectionError::LocallyClosed => "closed here".to_owned(),
        ConnectionError::VersionMismatch => "it speaks another version of QUIC".to_owned(),
        ConnectionError::ConnectionClosed(close) => told(close.error_code.into())
            .unwrap_or_else(|| format!("the peer gave the connection up: {close}")),
        ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
            0 => "the peer closed the connection".to_owned(),
            code => format!("the peer closed the connection with code {code}"),
        },
        ConnectionError::TransportError(error) => {
            told(error.code.into()).unwrap_or_else(|| format!("the peer breaks the rules of QUIC: {error}"))
        }
        ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// The same of somebody who came and did not get in. What he finds wrong is about our certificate.
fn knocked(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionClosed(close) if u64::from(close.error_code) >= CRYPTO => {
            format!("it refuses our certificate or TLS ({})", close.error_code)
        }
        other => words(other),
    }
}

/// What a code of QUIC itself means, where there is something to do about it.
fn told(code: u64) -> Option<String> {
    match code.checked_sub(CRYPTO).and_then(|alert| u8::try_from(alert).ok()) {
        Some(NO_ALPN) => {
            let alpn = String::from_utf8_lossy(ALPN);
            Some(format!("one side speaks QUIC, but not SIP over it as the other does (ALPN {alpn})"))
        }
        Some(alert) => Some(sipliance_tls::alert_words(alert)),
        None => (code == REFUSED).then(|| "it has no room for one more connection".to_owned()),
    }
}

//! Who comes in: connections are counted, and TLS and WebSocket handshakes are done here, each in a
//! time of its own, before the loop hears of them.

mod census;
mod renewal;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
#[cfg(feature = "quic")]
use std::net::UdpSocket;
use std::rc::Rc;
#[cfg(feature = "quic")]
use std::rc::Weak;
use std::time::{Duration, Instant};

use sipliance_tls::Welcomer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use self::census::Census;
pub use self::census::Seat;
use self::renewal::Stamp;
#[cfg(feature = "quic")]
use super::quic;
use super::reach::watch;
use super::stream::{Connection, Duplex, Line, Report};
use super::ws::{self, Origins};
use crate::config::ServerTls;
use crate::sip::Transport;

/// Connections of a house in all, those in a handshake among them; one more is closed at once.
pub const CONNECTIONS: usize = 1024;
/// How long TLS and WebSocket together may take; then the connection is closed.
const HANDSHAKE: Duration = Duration::from_secs(8);
/// Silence after which a phone that came in is asked by TCP whether it is there: rarely, as that wakes it.
const SILENCE: Duration = Duration::from_secs(120);
const NO_CERTIFICATE: &str = "there is no certificate";
/// Between two lines of the journal about handshakes that failed.
const TELL: Duration = Duration::from_secs(10);

/// What every door of the gateway shares.
#[derive(Clone)]
pub struct Doors(Rc<Inner>);

struct Inner {
    census: Census,
    welcomer: RefCell<Option<Welcomer>>,
    /// Where it was read, and how the files looked then.
    tls: RefCell<Option<ServerTls>>,
    stamp: RefCell<Stamp>,
    origins: RefCell<Origins>,
    told: Cell<Option<Instant>>,
    #[cfg(feature = "quic")]
    quic: RefCell<Vec<Weak<quic::Door>>>,
}

impl Doors {
    /// Reads the certificate. `most`: connections in all.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn new(tls: Option<&ServerTls>, origins: &[String], most: usize) -> Result<Self, String> {
        let Certificate { welcomer, tls, stamp } = Certificate::read(tls)?;
        let inner = Inner {
            census: Census::of(most),
            welcomer: RefCell::new(welcomer),
            tls: RefCell::new(tls),
            stamp: RefCell::new(stamp),
            origins: RefCell::new(Origins::of(origins)),
            told: Cell::default(),
            #[cfg(feature = "quic")]
            quic: RefCell::default(),
        };
        let inner = Rc::new(inner);
        tokio::task::spawn_local(renewal::watch(Rc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// Takes over a renewed certificate for those who come from now on.
    pub fn renew(&self, origins: &[String], certificate: Certificate) {
        *self.0.origins.borrow_mut() = Origins::of(origins);
        *self.0.welcomer.borrow_mut() = certificate.welcomer;
        *self.0.tls.borrow_mut() = certificate.tls;
        *self.0.stamp.borrow_mut() = certificate.stamp;
    }

    /// The same for QUIC: each connection comes as [`Report::Accepted`], and is served as any other by
    /// [`stream::serve`](super::stream::serve).
    #[cfg(feature = "quic")]
    pub fn open_quic(
        &self,
        socket: UdpSocket,
        resets: Option<quic::Resets>,
        reports: mpsc::Sender<Report>,
    ) -> AbortHandle {
        tokio::task::spawn_local(accept_quic(self.0.clone(), socket, resets, reports)).abort_handle()
    }

    /// Says goodbye to those who came in and are still there: no kernel does that for QUIC.
    pub async fn close(&self) {
        #[cfg(feature = "quic")]
        for door in self.0.quic.take().iter().filter_map(Weak::upgrade) {
            door.close().await;
        }
    }

    /// Lets in who comes to `listener` until the loop is gone, or this is aborted; who is in stays.
    pub fn open(
        &self,
        listener: TcpListener,
        transport: Transport,
        reports: mpsc::Sender<Report>,
    ) -> AbortHandle {
        tokio::task::spawn_local(accept(self.0.clone(), listener, transport, reports)).abort_handle()
    }
}

impl Doors {
    /// Speaks TLS over a connection that is counted elsewhere.
    ///
    /// # Errors
    /// What the other side did.
    pub async fn secure(&self, stream: impl Duplex + 'static) -> Result<Box<dyn Duplex>, String> {
        let late = |_| Err("it took too long".to_owned());
        tokio::time::timeout(HANDSHAKE, secure(&self.0, stream)).await.unwrap_or_else(late)
    }
}

/// A certificate that was read, for [`Doors::renew`].
pub struct Certificate {
    welcomer: Option<Welcomer>,
    tls: Option<ServerTls>,
    stamp: Stamp,
}

impl Certificate {
    /// Reads the one of a configuration.
    ///
    /// # Errors
    /// What is wrong with its files.
    pub fn read(tls: Option<&ServerTls>) -> Result<Self, String> {
        // Looked at before it is read: what changes meanwhile is seen at the next look.
        let stamp = renewal::stamp(tls);
        Ok(Self { welcomer: welcomer(tls)?, tls: tls.cloned(), stamp })
    }
}

fn welcomer(tls: Option<&ServerTls>) -> Result<Option<Welcomer>, String> {
    let server = tls.map(|tls| sipliance_tls::server(&tls.settings()));
    server.transpose().map_err(|problem| problem.text)
}

async fn accept(
    inner: Rc<Inner>,
    listener: TcpListener,
    transport: Transport,
    reports: mpsc::Sender<Report>,
) {
    while !reports.is_closed() {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let half = transport != Transport::Tcp;
                if let Some(seat) = inner.census.seat(peer.ip(), half) {
                    let enter = enter(inner.clone(), stream, peer, transport, seat, reports.clone());
                    tokio::task::spawn_local(enter);
                }
            }
            Err(error) => {
                // No descriptors left, most likely: wait for some to be freed.
                tracing::warn!(%error, "cannot accept connections now");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

#[cfg(feature = "quic")]
async fn accept_quic(
    inner: Rc<Inner>,
    socket: UdpSocket,
    resets: Option<quic::Resets>,
    reports: mpsc::Sender<Report>,
) {
    let welcomer = inner.welcomer.borrow().clone().ok_or_else(|| NO_CERTIFICATE.to_owned());
    let door = match welcomer.and_then(|welcomer| quic::Door::open(socket, &welcomer, resets)) {
        Ok(door) => Rc::new(door),
        Err(why) => return tracing::error!("nobody comes in over QUIC: {why}"),
    };
    // Where this is aborted, the door goes with it.
    inner.quic.borrow_mut().push(Rc::downgrade(&door));
    while let Some(caller) = door.knock().await {
        let welcomer = inner.welcomer.borrow().clone();
        match (inner.census.seat(caller.peer().ip(), true), welcomer) {
            (Some(seat), Some(welcomer)) => {
                let (inner, reports) = (inner.clone(), reports.clone());
                tokio::task::spawn_local(async move {
                    let peer = caller.peer();
                    let shake = caller.enter(&welcomer);
                    settle(&inner, Transport::Quic, peer, seat, shake, &reports).await;
                });
            }
            _ => caller.refuse(),
        }
    }
}

async fn enter(
    inner: Rc<Inner>,
    stream: TcpStream,
    peer: SocketAddr,
    transport: Transport,
    seat: Seat,
    reports: mpsc::Sender<Report>,
) {
    let _ = stream.set_nodelay(true);
    let _ = watch(&stream, SILENCE);
    let Ok(local) = stream.local_addr() else { return };
    let shake = async {
        let line = shake(&inner, stream, transport).await?;
        Ok(Connection { transport, local, peer, line })
    };
    settle(&inner, transport, peer, seat, shake, &reports).await;
}

/// Waits for the end of a handshake, and says what came of it.
async fn settle(
    inner: &Inner,
    transport: Transport,
    peer: SocketAddr,
    seat: Seat,
    shake: impl Future<Output = Result<Connection, String>>,
    reports: &mpsc::Sender<Report>,
) {
    let why = match tokio::time::timeout(HANDSHAKE, shake).await {
        Ok(Ok(connection)) => {
            seat.settle();
            // The loop is gone where nobody hears it.
            let _ = reports.send(Report::Accepted(connection, seat)).await;
            return;
        }
        Ok(Err(why)) => why,
        Err(_) => "it took too long".to_owned(),
    };
    // Somebody who sets up a phone looks here; somebody who knocks a thousand times fills no disk.
    let now = Instant::now();
    if inner.told.get().is_none_or(|told| now.duration_since(told) >= TELL) {
        inner.told.set(Some(now));
        tracing::info!("{peer} does not come in over {}: {why}", transport.via());
    }
}

async fn shake(inner: &Inner, stream: impl Duplex + 'static, transport: Transport) -> Result<Line, String> {
    let stream: Box<dyn Duplex> = match transport.is_secure() {
        false => Box::new(stream),
        true => secure(inner, stream).await?,
    };
    if !transport.is_web() {
        return Ok(Line::Bytes(stream));
    }
    let origins = inner.origins.borrow().clone();
    let socket = ws::accept(stream, &origins).await?;
    Ok(Line::Messages(Box::new(socket)))
}

async fn secure(inner: &Inner, stream: impl Duplex + 'static) -> Result<Box<dyn Duplex>, String> {
    let welcomer = inner.welcomer.borrow().clone();
    let welcomer = welcomer.ok_or(NO_CERTIFICATE)?;
    Ok(Box::new(welcomer.accept(stream).await.map_err(|error| format!("TLS: {error}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inner() -> Inner {
        Inner {
            census: Census::of(CONNECTIONS),
            welcomer: RefCell::default(),
            tls: RefCell::default(),
            stamp: RefCell::default(),
            origins: RefCell::default(),
            told: Cell::default(),
            #[cfg(feature = "quic")]
            quic: RefCell::default(),
        }
    }

    /// Whoever connects and says nothing is gone after the time of a handshake.
    #[tokio::test(start_paused = true)]
    async fn a_handshake_has_its_time() {
        let (near, _far) = tokio::io::duplex(1024);
        let before = tokio::time::Instant::now();
        let inner = inner();
        let shaken = tokio::time::timeout(HANDSHAKE, shake(&inner, near, Transport::Ws)).await;
        assert!(shaken.is_err() && before.elapsed() == HANDSHAKE);
    }
}

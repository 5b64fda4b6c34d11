//! One socket, and the transactions over it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
#[cfg(feature = "quic")]
use futures_util::future::LocalBoxFuture;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
#[cfg(feature = "quic")]
use tokio::sync::mpsc;

use super::{Failure, Peer};
use crate::config::HostPort;
#[cfg(feature = "quic")]
use crate::io::queue::{Pushed, Writes, queue};
#[cfg(feature = "quic")]
use crate::io::stream::{self, Report};
use crate::io::stream::{Duplex, Line};
use crate::io::{reach, ws};
use crate::sip::transaction::{Arrival, ClientEvent, Transactions, Weight};
use crate::sip::wire::check::request_fault;
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::wire::{Message, Method, write};
use crate::sip::{FlowId, Hop, Rejection, Transport};

/// What happened at a [`Client`].
#[derive(Debug)]
pub(in crate::cli) enum Happened {
    /// A final response to a request of ours.
    Response(Bytes),
    /// A request that is new and without faults; answer it with [`Client::answer`].
    Request(Bytes, Hop),
    /// No final response within 32 s.
    TimedOut,
    /// The deadline that was given has passed.
    Deadline,
    /// The connection is gone.
    Lost(String),
}

/// One socket, and the transactions over it.
pub(in crate::cli) struct Client {
    pub transactions: Transactions<()>,
    pub hop: Hop,
    link: Link,
    seed: ChaCha8Rng,
    ping: Option<Instant>,
}

/// How long nothing is waited for at most.
const IDLE: Duration = Duration::from_secs(3600);

enum Link {
    /// The first hears everybody: a notifier behind a proxy sends from elsewhere. The second is bound
    /// to the peer and asked until the first packet comes: it learns at once when nobody listens.
    Udp(UdpSocket, Option<UdpSocket>),
    Bytes {
        stream: Box<dyn Duplex>,
        framer: Framer,
        read: BytesMut,
    },
    Messages(Box<ws::Socket>),
    /// QUIC: what serves it goes on while something is waited for.
    #[cfg(feature = "quic")]
    Served {
        serving: LocalBoxFuture<'static, ()>,
        writes: Writes,
        reports: mpsc::Receiver<Report>,
    },
    /// It was lost, and that was told.
    Dead,
}

impl Client {
    /// Opens a socket to `peer`.
    ///
    /// # Errors
    /// When the name is unknown or nobody listens there.
    pub async fn open(peer: &Peer, flow: u64) -> Result<Self, Failure> {
        let address = peer.resolve().await?;
        let unreachable =
            |why: String| Failure::Unreachable(format!("{} cannot be reached: {why}", peer.place()));
        let (link, local) = match peer.transport {
            Transport::Udp => udp(address).await.map_err(|error| unreachable(reach::refused(&error)))?,
            transport => {
                let server = HostPort { host: peer.host.clone(), port: peer.port };
                let addresses = [address];
                let connect = reach::connect(&addresses, &server, transport, &peer.dial).await;
                let connection = connect.map_err(|fault| unreachable(fault.words))?;
                let link = match connection.line {
                    Line::Bytes(stream) => {
                        Link::Bytes { stream, framer: Framer::of_client(), read: BytesMut::new() }
                    }
                    Line::Messages(socket) => Link::Messages(socket),
                    #[cfg(feature = "quic")]
                    line @ Line::Quic(_) => served(FlowId(flow), line),
                };
                (link, connection.local)
            }
        };
        let mut seed = ChaCha8Rng::from_os_rng();
        let transactions = Transactions::new(ChaCha8Rng::from_seed(seed.random()));
        let hop = Hop { flow: FlowId(flow), transport: peer.transport, local, peer: address };
        let ping = next_ping(peer.transport);
        Ok(Self { transactions, hop, link, seed, ping })
    }

    /// Randomness for a machine of this client.
    pub fn rng(&mut self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.seed.random())
    }

    /// Sends what is to be sent.
    ///
    /// # Errors
    /// In words, when the connection is gone.
    pub async fn flush(&mut self) -> Result<(), String> {
        while let Some(transmit) = self.transactions.poll_transmit() {
            self.write(&transmit.bytes, transmit.hop.peer).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8], to: SocketAddr) -> Result<(), String> {
        match &mut self.link {
            Link::Udp(socket, _) => match socket.send_to(bytes, to).await {
                Ok(_) => Ok(()),
                // A full buffer or an earlier ICMP message: the repetition will tell.
                Err(why) if why.kind() != std::io::ErrorKind::NetworkUnreachable => Ok(()),
                Err(why) => Err(why.to_string()),
            },
            Link::Bytes { stream, .. } => {
                stream.write_all(bytes).await.map_err(|why| why.to_string())?;
                stream.flush().await.map_err(|why| why.to_string())
            }
            Link::Messages(socket) => ws::send(socket, Bytes::copy_from_slice(bytes)).await,
            // What is full is ended there.
            #[cfg(feature = "quic")]
            Link::Served { writes, .. } => match writes.push(Bytes::copy_from_slice(bytes)) {
                Pushed::Lost => Err("the server reads nothing".to_owned()),
                Pushed::Room | Pushed::Full => Ok(()),
            },
            Link::Dead => Ok(()),
        }
    }

    /// Ends the connection after everything written has arrived.
    pub async fn close(&mut self) {
        // Whoever ends hears of no fault any more.
        let _ = self.flush().await;
        #[cfg(feature = "quic")]
        if let Link::Served { serving, writes, mut reports } = std::mem::replace(&mut self.link, Link::Dead) {
            drop(writes);
            let heard = async { while reports.recv().await.is_some() {} };
            tokio::join!(serving, heard);
        }
    }

    /// Waits for the next thing. Dropping the future loses nothing but a wait: call
    /// [`Client::flush`] before it.
    pub async fn next(&mut self, deadline: Option<Instant>) -> Happened {
        loop {
            let now = Instant::now();
            if let Some(event) = self.transactions.on_deadline(now) {
                if let Some(ClientEvent::TimedOut(())) = event {
                    return Happened::TimedOut;
                }
                continue;
            }
            if deadline.is_some_and(|at| at <= now) {
                return Happened::Deadline;
            }
            if self.ping.is_some_and(|at| now >= at) {
                // Keeps the way back through a NAT open (RFC 5626 §4.4.1).
                self.ping = next_ping(self.hop.transport);
                self.transactions.send_once(self.hop, b"\r\n\r\n".to_vec());
            }
            if let Err(why) = self.flush().await {
                return self.lost(why);
            }
            let wake = [deadline, self.transactions.next_deadline(), self.ping];
            let wake = wake.into_iter().flatten().min().unwrap_or(now + IDLE);
            let packet = tokio::select! {
                packet = receive(&mut self.link, self.hop) => packet,
                () = tokio::time::sleep_until(wake.into()) => continue,
            };
            match packet {
                Ok(Packet::Message(bytes, hop)) => {
                    if let Some(happened) = self.sort(bytes, hop) {
                        return happened;
                    }
                }
                Ok(Packet::Ping) => self.transactions.send_once(self.hop, b"\r\n".to_vec()),
                Ok(Packet::Nothing) => {}
                Err(why) => return self.lost(why),
            }
        }
    }

    /// The socket is of no use any more: it is told once.
    fn lost(&mut self, why: String) -> Happened {
        self.link = Link::Dead;
        self.transactions.fail_flow(self.hop.flow);
        Happened::Lost(why)
    }

    fn sort(&mut self, bytes: Bytes, hop: Hop) -> Option<Happened> {
        let now = Instant::now();
        let message = Message::parse(&bytes).ok()?;
        let Some((method, _)) = message.request() else {
            self.transactions.on_response(&message, now)?;
            return Some(Happened::Response(bytes));
        };
        if self.transactions.on_request(&message, now) != Arrival::New || method == Method::Ack {
            return None;
        }
        if let Some(fault) = request_fault(&message) {
            self.answer(&message, hop, Err(Rejection::new(fault.status, fault.reason)));
            return None;
        }
        Some(Happened::Request(bytes, hop))
    }

    /// Answers a request: 200, or what it is rejected with.
    pub fn answer(&mut self, request: &Message<'_>, hop: Hop, verdict: Result<(), Rejection>) {
        let answer = verdict.err().unwrap_or(Rejection::new(200, "OK"));
        let tag = format!("{:016x}", self.seed.random::<u64>());
        let mut writer = write::response(request, answer.status, &answer.reason, Some(&tag), Some(hop.peer));
        writer.raw(answer.fields.as_bytes());
        match self.transactions.open(request, hop, Weight::Light) {
            Some(key) => self.transactions.answer(key, answer.status, writer.finish(), Instant::now()),
            None => self.transactions.send_once(hop, writer.finish()),
        }
    }
}

/// When the next keep-alive is due; never, where the connection has its own.
fn next_ping(transport: Transport) -> Option<Instant> {
    transport.keepalive().map(|range| Instant::now() + Duration::from_secs_f64(range.start))
}

/// Messages of the server that wait for us; it waits when it is full.
#[cfg(feature = "quic")]
const REPORTS: usize = 256;

#[cfg(feature = "quic")]
fn served(flow: FlowId, line: Line) -> Link {
    let (writes, queue) = queue(flow, None);
    let (to, reports) = mpsc::channel(REPORTS);
    Link::Served { serving: Box::pin(stream::serve(flow, line, queue, to)), writes, reports }
}

async fn udp(peer: SocketAddr) -> std::io::Result<(Link, SocketAddr)> {
    let any: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let probe = UdpSocket::bind((any, 0)).await?;
    probe.connect(peer).await?;
    probe.send(b"\r\n\r\n").await?;
    let socket = UdpSocket::bind((probe.local_addr()?.ip(), 0)).await?;
    let local = socket.local_addr()?;
    Ok((Link::Udp(socket, Some(probe)), local))
}

/// The longest datagram that there is.
const DATAGRAM: usize = 65_535;

enum Packet {
    Message(Bytes, Hop),
    Ping,
    Nothing,
}

/// Cancel-safe: what was read stays in the framer.
async fn receive(link: &mut Link, hop: Hop) -> Result<Packet, String> {
    match link {
        Link::Udp(socket, probe) => {
            let mut buffer = vec![0; DATAGRAM];
            let received = tokio::select! {
                received = socket.recv_from(&mut buffer) => received,
                why = refusal(probe.as_ref()) => {
                    *probe = None;
                    return match why {
                        Some(_) => Err(format!("nobody listens at {} over UDP", hop.peer)),
                        None => Ok(Packet::Nothing),
                    };
                }
            };
            match received {
                Ok((length, peer)) => {
                    *probe = None;
                    buffer.truncate(length);
                    Ok(Packet::Message(buffer.into(), Hop { peer, ..hop }))
                }
                // ICMP about an earlier packet; time tells whether it lasts.
                Err(_) => Ok(Packet::Nothing),
            }
        }
        Link::Dead => std::future::pending().await,
        #[cfg(feature = "quic")]
        Link::Served { serving, reports, .. } => {
            // The last report says why it ended.
            let report = tokio::select! {
                report = reports.recv() => report,
                () = serving => reports.recv().await,
            };
            match report {
                Some(Report::Message(_, bytes, _)) => Ok(Packet::Message(bytes, hop)),
                Some(Report::Closed(_, why)) => Err(why),
                _ => Err("the connection ended".to_owned()),
            }
        }
        Link::Messages(socket) => match ws::receive(socket).await {
            Ok(bytes) if *bytes == *b"\r\n\r\n" => Ok(Packet::Ping),
            Ok(bytes) => Ok(Packet::Message(bytes, hop)),
            Err(end) => Err(end.why),
        },
        Link::Bytes { stream, framer, read } => loop {
            match framer.next_frame() {
                Some(Frame::Message(bytes)) => return Ok(Packet::Message(bytes, hop)),
                Some(Frame::Ping) => return Ok(Packet::Ping),
                Some(Frame::Pong) => continue,
                Some(Frame::Broken(_)) => return Err("the server sends what is no SIP".to_owned()),
                None => {}
            }
            read.clear();
            match stream.read_buf(read).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => framer.push(read),
                Err(why) => return Err(why.to_string()),
            }
        },
    }
}

/// Waits for the peer's host to say that nobody listens; `None` when it said something else.
async fn refusal(probe: Option<&UdpSocket>) -> Option<std::io::Error> {
    match probe {
        Some(probe) => probe.recv(&mut [0; 1]).await.err(),
        None => std::future::pending().await,
    }
}

//! The sockets of all houses: real ones on the loopback, each bound to the address of its house.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sipliance::config::{Dial, HostPort, Wanted};
use sipliance::io::queue::{Pushed, Writes, queue};
use sipliance::io::reach::{Fault, dress, refused};
use sipliance::io::stream::{self, Connection, Reached, Report};
use sipliance::sip::{FlowId, Hop, Transport};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::sync::mpsc;

/// What came over a way for datagrams, or that nobody listens at its far end.
pub type Datagram = (FlowId, Result<Bytes, String>);

/// A way for datagrams, and the task that listens to it.
struct Udp {
    socket: Rc<UdpSocket>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Udp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// See the module.
pub struct Wires {
    streams: HashMap<FlowId, Writes>,
    sockets: HashMap<FlowId, Udp>,
    owners: HashMap<FlowId, (usize, Hop)>,
    next: u64,
    reports: mpsc::Sender<Report>,
    datagrams: mpsc::Sender<Datagram>,
}

/// How long one way may take, as in the gateway.
const CONNECT: Duration = Duration::from_secs(10);
/// Reports that wait for the loop; the sockets wait when it is full.
pub const REPORTS: usize = 4096;
/// Largest datagram that is read.
const PACKET: usize = 8 * 1024;

impl Wires {
    pub fn new(reports: mpsc::Sender<Report>, datagrams: mpsc::Sender<Datagram>) -> Self {
        let (streams, sockets, owners) = Default::default();
        Self { streams, sockets, owners, next: 0, reports, datagrams }
    }

    /// The house that a flow belongs to.
    pub fn owner(&self, flow: FlowId) -> Option<(usize, Hop)> {
        self.owners.get(&flow).copied()
    }

    /// Opens a flow from `source`; reported as `way`.
    pub fn connect(&self, way: usize, source: Ipv4Addr, server: Wanted, dial: Dial) {
        let to = self.reports.clone();
        tokio::task::spawn_local(async move {
            let work = tokio::time::timeout(CONNECT, reach(source, &server, &dial));
            let report = match work.await.unwrap_or_else(|_| Err(fault("no answer", false))) {
                Ok(reached) => Report::Connected(way, reached),
                Err(fault) => Report::Failed(way, fault),
            };
            let _ = to.send(report).await;
        });
    }

    pub fn add_stream(&mut self, house: usize, connection: Connection) -> Hop {
        let Connection { transport, local, peer, line } = connection;
        let hop = self.own(house, transport, local, peer);
        let (writes, queue) = queue(hop.flow, None);
        self.streams.insert(hop.flow, writes);
        tokio::task::spawn_local(stream::serve(hop.flow, line, queue, self.reports.clone()));
        hop
    }

    /// # Errors
    /// When there is no descriptor left.
    pub fn add_socket(&mut self, house: usize, source: Ipv4Addr, peer: SocketAddr) -> io::Result<Hop> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&peer.into())?;
        let socket = Rc::new(UdpSocket::from_std(socket.into())?);
        let hop = self.own(house, Transport::Udp, socket.local_addr()?, peer);
        let task = tokio::task::spawn_local(listen(socket.clone(), hop.flow, self.datagrams.clone()));
        self.sockets.insert(hop.flow, Udp { socket, task });
        Ok(hop)
    }

    fn own(&mut self, house: usize, transport: Transport, local: SocketAddr, peer: SocketAddr) -> Hop {
        self.next += 1;
        let hop = Hop { flow: FlowId(self.next), transport, local, peer };
        self.owners.insert(hop.flow, (house, hop));
        hop
    }

    /// What the far host said of the last datagram comes back as an error, as in the gateway.
    pub fn send(&mut self, hop: Hop, bytes: Bytes) -> Result<(), String> {
        if let Some(udp) = self.sockets.get(&hop.flow) {
            return match udp.socket.try_send(&bytes) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(refused(&error)),
                _ => Ok(()),
            };
        }
        if self.streams.get(&hop.flow).is_some_and(|writes| writes.push(bytes) == Pushed::Lost) {
            self.streams.remove(&hop.flow);
        }
        Ok(())
    }

    /// Ends a flow; that of a connection is reported when it has ended.
    pub fn close(&mut self, flow: FlowId) {
        self.streams.remove(&flow);
        if self.sockets.remove(&flow).is_some() {
            self.owners.remove(&flow);
        }
    }

    /// A connection has ended.
    pub fn ended(&mut self, flow: FlowId) -> Option<(usize, Hop)> {
        self.streams.remove(&flow);
        self.owners.remove(&flow)
    }

    /// Every flow of every house, as when the power goes.
    pub fn cut(&mut self) {
        self.streams.clear();
        self.sockets.clear();
        self.owners.clear();
    }
}

fn fault(words: &str, met: bool) -> Fault {
    Fault { words: words.to_owned(), met }
}

async fn reach(source: Ipv4Addr, server: &Wanted, dial: &Dial) -> Result<Reached, Fault> {
    let transport = server.transport.unwrap_or(Transport::Udp);
    let ip: IpAddr = server.host.parse().map_err(|_| fault("only addresses, no names", false))?;
    let peer = SocketAddr::new(ip, server.port.unwrap_or(5060));
    if transport == Transport::Udp {
        return Ok(Reached::Datagrams(peer));
    }
    let stream = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((source, 0)))?;
        let stream = socket.connect(peer).await?;
        stream.set_nodelay(true)?;
        Ok((stream.local_addr()?, stream))
    };
    let (local, stream) = stream.await.map_err(|error: io::Error| fault(&refused(&error), false))?;
    let server = HostPort { host: server.host.clone(), port: peer.port() };
    let line = dress(stream, &server, transport, dial).await.map_err(|why| fault(&why, true))?;
    Ok(Reached::Connection(Connection { transport, local, peer, line }))
}

async fn listen(socket: Rc<UdpSocket>, flow: FlowId, to: mpsc::Sender<Datagram>) {
    let mut buffer = vec![0; PACKET];
    loop {
        let got = match socket.recv(&mut buffer).await {
            Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
            Err(error) => Err(refused(&error)),
        };
        let over = got.is_err();
        if to.send((flow, got)).await.is_err() || over {
            return;
        }
    }
}

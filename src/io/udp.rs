//! UDP sockets, many packets per wake.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::sip::{FlowId, Hop, Transport};

/// One socket.
pub struct Udp {
    /// Its flow.
    pub flow: FlowId,
    /// The upstream that it is connected to.
    pub upstream: Option<usize>,
    local: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
}

/// Room for one batch of packets, used again and again.
pub struct Batch {
    buffers: Vec<Vec<u8>>,
    metas: [RecvMeta; BATCH_SIZE],
}

/// Largest packet that is read; longer ones are cut and then refused as malformed.
const PACKET: usize = 64 * 1024;
/// Kernel buffers: a fan-out to thousands of watchers is answered by all of them at once.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;

impl Default for Batch {
    fn default() -> Self {
        Self {
            buffers: (0..BATCH_SIZE).map(|_| vec![0; PACKET]).collect(),
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }
}

impl Batch {
    /// The packets of the last [`Udp::receive`], with source and destination address.
    pub fn packets(&self, count: usize) -> impl Iterator<Item = (&[u8], SocketAddr, Option<IpAddr>)> {
        self.buffers.iter().zip(&self.metas).take(count).flat_map(|(buffer, meta)| {
            let bytes = buffer.get(..meta.len).unwrap_or_default();
            bytes.chunks(meta.stride.max(1)).map(move |packet| (packet, meta.addr, meta.dst_ip))
        })
    }
}

/// A socket with room for a burst.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(addr: SocketAddr) -> io::Result<socket2::Socket> {
    let domain = socket2::Domain::for_address(addr);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The kernel gives what it allows.
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    let _ = socket.set_send_buffer_size(KERNEL_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

impl Udp {
    /// Binds a socket.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub fn bind(flow: FlowId, addr: SocketAddr, upstream: Option<usize>) -> io::Result<Self> {
        Self::ready(flow, bind(addr)?, upstream)
    }

    /// A socket that sends to and hears from `peer` alone; what the far host refuses becomes an
    /// error here.
    ///
    /// # Errors
    /// When there is no route.
    pub fn connected(flow: FlowId, peer: SocketAddr, upstream: usize) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(peer),
            socket2::Type::DGRAM,
            Some(socket2::Protocol::UDP),
        )?;
        socket.set_nonblocking(true)?;
        socket.connect(&peer.into())?;
        Self::ready(flow, socket, Some(upstream))
    }

    fn ready(flow: FlowId, socket: socket2::Socket, upstream: Option<usize>) -> io::Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The line above forbids fragments, which QUIC wants; a long SIP message needs them.
        let _ = rustix::net::sockopt::set_ip_mtu_discover(
            &socket,
            rustix::net::sockopt::Ipv4PathMtuDiscovery::WANT,
        );
        let _ = rustix::net::sockopt::set_ipv6_mtu_discover(
            &socket,
            rustix::net::sockopt::Ipv6PathMtuDiscovery::WANT,
        );
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self { flow, upstream, local: socket.local_addr()?, socket, state })
    }

    /// Our address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The way that a packet came which was sent to `destination`.
    pub fn hop(&self, peer: SocketAddr, destination: Option<IpAddr>) -> Hop {
        let local = match destination {
            Some(ip) if self.local.ip().is_unspecified() => SocketAddr::new(ip, self.local.port()),
            _ => SocketAddr::new(self.local.ip(), self.local.port()),
        };
        Hop { flow: self.flow, transport: Transport::Udp, local, peer }
    }

    /// Whether there is something to receive.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_recv_ready(cx)
    }

    /// Whether there is room to send.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }

    /// Receives what is there, without waiting: how many slots of `batch` are filled.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing; what the far host answered on a connected socket.
    pub fn receive(&self, batch: &mut Batch) -> io::Result<usize> {
        let mut slices = batch.buffers.iter_mut().map(|buffer| io::IoSliceMut::new(buffer));
        let mut slices: [io::IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| slices.next().unwrap_or_else(|| io::IoSliceMut::new(&mut [])));
        self.socket.try_io(Interest::READABLE, || {
            self.state.recv(UdpSockRef::from(&self.socket), &mut slices, &mut batch.metas)
        })
    }

    /// What the far host answered on a connected socket since this was asked last.
    pub fn error(&self) -> Option<io::Error> {
        self.socket.take_error().ok().flatten()
    }

    /// Sends one packet, or drops it when the kernel has no room: SIP repeats over UDP.
    ///
    /// # Errors
    /// What the kernel says, `WouldBlock` among it.
    pub fn send(&self, peer: SocketAddr, from: IpAddr, bytes: &[u8]) -> io::Result<()> {
        let src_ip = self.local.ip().is_unspecified().then_some(from);
        let transmit = Transmit { destination: peer, ecn: None, contents: bytes, segment_size: None, src_ip };
        self.socket
            .try_io(Interest::WRITABLE, || self.state.try_send(UdpSockRef::from(&self.socket), &transmit))
    }
}

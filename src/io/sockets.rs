//! The UDP sockets of a loop: each is looked at in its turn, and what the kernel has no room for waits.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::udp::{Batch, Udp};
use crate::sip::{FlowId, Hop};

/// Sends between two looks at what has arrived.
pub const BURST: usize = 64;
/// Packets that wait for room in the kernel; when it is full, the oldest is dropped: whoever sent it repeats it.
const BACKLOG: usize = 16 * 1024;
/// What IPv4 can carry in one datagram, in bytes; more is not sent, and the log says so.
const LARGEST_DATAGRAM: usize = 65_507;

/// See the module.
#[derive(Default)]
pub struct Sockets {
    /// They come and go with the loop that owns them.
    pub all: Vec<Udp>,
    /// The one that is looked at first, or a flood on one would starve the rest.
    turn: usize,
    batch: Batch,
    backlog: VecDeque<(Hop, Bytes)>,
    /// How many of them wait for each socket.
    waiting: HashMap<FlowId, usize>,
    dropped: u64,
}

impl Sockets {
    /// Of these.
    pub fn of(all: Vec<Udp>) -> Self {
        Self { all, ..Self::default() }
    }

    /// The next one that has something.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<usize> {
        let (later, first) = self.all.split_at(self.turn.min(self.all.len()));
        let mut in_turn = first.iter().zip(self.turn..).chain(later.iter().zip(0..));
        let ready = in_turn.find(|(socket, _)| socket.poll_ready(cx).is_ready());
        ready.map_or(Poll::Pending, |(_, index)| Poll::Ready(index))
    }

    /// One batch of packets of one socket, each with the way that it came.
    ///
    /// # Errors
    /// What the far host answered on a connected socket.
    pub fn receive(&mut self, index: usize, mut each: impl FnMut(Hop, &[u8])) -> io::Result<()> {
        self.turn = index + 1;
        let Some(socket) = self.all.get(index) else { return Ok(()) };
        let count = match socket.receive(&mut self.batch) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            received => received?,
        };
        for (bytes, peer, destination) in self.batch.packets(count) {
            each(socket.hop(peer, destination), bytes);
        }
        Ok(())
    }

    /// Whether there is room for what waits first; pending while nothing waits.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let waits = self.backlog.front().and_then(|(hop, _)| self.of_flow(hop.flow));
        waits.map_or(Poll::Pending, |socket| socket.poll_room(cx).map(drop))
    }

    /// Sends one packet, or lets it wait behind the others: false.
    pub fn send(&mut self, hop: Hop, bytes: Bytes) -> bool {
        if self.backlog.is_empty() && self.leaves(hop, &bytes) {
            return true;
        }
        if self.backlog.len() >= BACKLOG {
            self.pop();
            self.dropped += 1;
        }
        *self.waiting.entry(hop.flow).or_default() += 1;
        self.backlog.push_back((hop, bytes));
        false
    }

    /// Sends what waits, as far as there is room. `room` hears of each socket for which nothing waits any more.
    pub fn flush(&mut self, mut room: impl FnMut(FlowId)) {
        while let Some((hop, bytes)) = self.backlog.front()
            && self.leaves(*hop, bytes)
        {
            self.pop();
        }
        self.waiting.retain(|flow, waiting| {
            if *waiting == 0 {
                room(*flow);
            }
            *waiting > 0
        });
        if !self.backlog.is_empty() {
            return;
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            tracing::warn!(dropped, "more packets than the kernel takes: the oldest were dropped");
        }
    }

    fn pop(&mut self) {
        if let Some((hop, _)) = self.backlog.pop_front()
            && let Some(waiting) = self.waiting.get_mut(&hop.flow)
        {
            *waiting -= 1;
        }
    }

    fn of_flow(&self, flow: FlowId) -> Option<&Udp> {
        self.all.iter().find(|socket| socket.flow == flow)
    }

    /// False when the kernel has no room.
    fn leaves(&self, hop: Hop, bytes: &[u8]) -> bool {
        let Some(socket) = self.of_flow(hop.flow) else { return true };
        let (peer, size): (SocketAddr, usize) = (hop.peer, bytes.len());
        match socket.send(peer, hop.local.ip(), bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) if size > LARGEST_DATAGRAM => {
                tracing::warn!(%peer, size, "does not fit a datagram: watch fewer appliances at once, or by TCP");
            }
            Err(error) => tracing::debug!(%peer, size, %error, "packet not sent"),
            Ok(()) => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::sip::Transport;

    fn socket(flow: u64) -> Udp {
        Udp::bind(FlowId(flow), ([127, 0, 0, 1], 0).into(), None).unwrap()
    }

    /// One that always has something keeps nobody waiting.
    #[tokio::test]
    async fn each_socket_has_its_turn() {
        let mut sockets = Sockets::of(vec![socket(1), socket(2)]);
        let ours = [sockets.all[0].local(), sockets.all[1].local()];
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut heard = Vec::new();
        while heard.len() < 4 {
            ours.iter().for_each(|to| drop(other.send_to(b"x", to)));
            let index = poll_fn(|cx| sockets.poll(cx)).await;
            sockets.receive(index, |hop, _| heard.push(hop.flow.0)).unwrap();
            heard.dedup();
        }
        assert_eq!(heard, [1, 2, 1, 2]);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_leaves_in_its_order() {
        let mut sockets = Sockets::of(vec![socket(1)]);
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (local, peer) = (sockets.all[0].local(), other.local_addr().unwrap());
        let hop = Hop { flow: FlowId(1), transport: Transport::Udp, local, peer };
        sockets.backlog.extend((0..BACKLOG).map(|_| (hop, Bytes::from_static(b"old"))));
        // Of another socket, whose only packet is the oldest.
        sockets.backlog[0].0.flow = FlowId(2);
        sockets.waiting.extend([(FlowId(1), BACKLOG - 1), (FlowId(2), 1)]);
        assert!(!sockets.send(hop, Bytes::from_static(b"new")));
        assert_eq!((sockets.backlog.len(), sockets.dropped), (BACKLOG, 1));
        (2..BACKLOG).for_each(|_| sockets.pop());
        poll_fn(|cx| sockets.poll_room(cx)).await;
        let mut rooms = Vec::new();
        sockets.flush(|flow| rooms.push(flow.0));
        rooms.sort_unstable();
        assert_eq!(rooms, [1, 2]);
        let mut buffer = [0; 8];
        for due in [&b"old"[..], b"new"] {
            let length = other.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], due);
        }
        assert_eq!((sockets.backlog.len(), sockets.dropped), (0, 0));
    }
}

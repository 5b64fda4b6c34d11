//! Packets and messages on their way out.

use std::io;

use bytes::Bytes;

use super::records::Record;
use super::{BACKLOG, Shell, now};
use crate::gateway::Input;
use crate::io::queue::Pushed;
use crate::io::reach::refused;
use crate::io::udp::Udp;
use crate::sip::{Hop, Transport};

/// What IPv4 can carry in one datagram, in bytes; more is not sent, and the log says so.
const LARGEST_DATAGRAM: usize = 65_507;

impl Shell {
    /// Sends, or holds back what must not leave yet.
    pub(super) fn send(&mut self, hop: Hop, bytes: Bytes) {
        let ready = match &mut self.record {
            Some(record) => record.delay(hop, bytes),
            None => Some(bytes),
        };
        if let Some(bytes) = ready {
            self.send_now(hop, bytes);
        }
    }

    /// Sends what need not wait any more.
    pub(super) fn release(&mut self) {
        let released = self.record.as_mut().map(Record::released).unwrap_or_default();
        for (hop, bytes) in released.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            self.send_now(hop, bytes);
        }
    }

    fn send_now(&mut self, hop: Hop, bytes: Bytes) {
        if hop.transport == Transport::Udp {
            if self.refused_upstream(hop) {
                return;
            }
            if !self.backlog.is_empty() || !self.send_packet(hop, &bytes) {
                self.gateway.handle(Input::Full { flow: hop.flow }, now());
                if self.backlog.len() >= BACKLOG {
                    self.backlog.pop_front();
                    self.dropped += 1;
                }
                self.backlog.push_back((hop, bytes));
            }
            return;
        }
        match self.streams.get(&hop.flow).map(|writes| writes.push(bytes)) {
            Some(Pushed::Full) => self.gateway.handle(Input::Full { flow: hop.flow }, now()),
            Some(Pushed::Lost) => drop(self.streams.remove(&hop.flow)),
            Some(Pushed::Room) | None => {}
        }
    }

    /// Whether the far end of an upstream said since the last packet that nobody listens there: that is
    /// told by an error, which wakes nobody.
    fn refused_upstream(&mut self, hop: Hop) -> bool {
        let ours = |socket: &&Udp| socket.flow == hop.flow && socket.upstream.is_some();
        let Some(error) = self.sockets.iter().find(ours).and_then(Udp::error) else { return false };
        self.leave(hop.flow);
        self.gateway.handle(Input::Closed { flow: hop.flow, why: refused(&error) }, now());
        true
    }

    /// False when the kernel has no room.
    fn send_packet(&self, hop: Hop, bytes: &[u8]) -> bool {
        let Some(socket) = self.sockets.iter().find(|socket| socket.flow == hop.flow) else { return true };
        match socket.send(hop.peer, hop.local.ip(), bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) if bytes.len() > LARGEST_DATAGRAM => {
                let size = bytes.len();
                tracing::warn!(peer = %hop.peer, size, "does not fit a datagram: watch fewer appliances at once, or by TCP");
                true
            }
            Err(error) => {
                tracing::debug!(peer = %hop.peer, %error, "packet not sent");
                true
            }
            Ok(()) => true,
        }
    }

    pub(super) fn flush_backlog(&mut self) {
        while let Some((hop, bytes)) = self.backlog.front() {
            if !self.send_packet(*hop, bytes) {
                return;
            }
            let flow = hop.flow;
            self.backlog.pop_front();
            if self.backlog.iter().all(|(hop, _)| hop.flow != flow) {
                self.gateway.handle(Input::Room { flow }, now());
            }
        }
    }
}

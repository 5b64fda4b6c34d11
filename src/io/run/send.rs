//! Packets and messages on their way out.

use bytes::Bytes;

use super::records::Record;
use super::{Shell, now};
use crate::gateway::Input;
use crate::io::queue::Pushed;
use crate::io::reach::refused;
use crate::io::udp::Udp;
use crate::sip::{Hop, Transport};

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
            if !self.refused_upstream(hop) && !self.sockets.send(hop, bytes) {
                self.gateway.handle(Input::Full { flow: hop.flow }, now());
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
        let Some(error) = self.sockets.all.iter().find(ours).and_then(Udp::error) else { return false };
        self.leave(hop.flow);
        self.gateway.handle(Input::Closed { flow: hop.flow, why: refused(&error) }, now());
        true
    }
}

//! Connections: what is known of each, their bytes cut into messages, and how long one may dawdle.

use std::time::Instant;

use super::{Gateway, Output};
use crate::limits;
use crate::sip::transaction::ClientEvent;
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::{FlowId, Hop, User};
use crate::timer::Now;

#[derive(Debug)]
pub(super) struct Flow {
    pub hop: Hop,
    pub framer: Framer,
    pub upstream: Option<usize>,
    /// When somebody must have proved a name over it; `None` once that was done.
    pub unproven: Option<Instant>,
    /// When the message that has begun must be complete.
    pub partial: Option<Instant>,
}

impl Flow {
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.unproven, self.partial].into_iter().flatten().min()
    }
}

impl Gateway {
    pub(super) fn on_opened(&mut self, hop: Hop, upstream: Option<usize>, now: Now) {
        let unproven =
            (upstream.is_none() && hop.transport.is_reliable()).then(|| now.mono + limits::UNPROVEN_IDLE);
        if let Some(at) = unproven {
            self.patience.set(at, hop.flow);
        }
        let framer = if upstream.is_some() { Framer::of_client() } else { Framer::default() };
        self.flows.insert(hop.flow, Flow { hop, framer, upstream, unproven, partial: None });
        if let Some(upstream) = upstream {
            self.on_way_open(upstream, hop, now);
        }
    }

    /// Closes who dawdled too long. A deadline may be from before a name was proven or a message complete.
    pub(super) fn on_patience(&mut self, now: Now) {
        let flows = &self.flows;
        let is_late = |id: &FlowId, at: Instant| {
            flows.get(id).and_then(Flow::deadline).is_some_and(|deadline| deadline <= at)
        };
        let mut late = Vec::new();
        while let Some(id) = self.patience.due(now.mono) {
            if is_late(&id, now.mono) && !late.contains(&id) {
                late.push(id);
            }
        }
        self.patience.shrink(flows.len(), |at, id| is_late(id, at));
        // The same in every run.
        late.sort_unstable();
        for id in late {
            if let Some(flow) = self.flows.get_mut(&id) {
                (flow.unproven, flow.partial) = (None, None);
            }
            self.outputs.push_back(Output::Close { flow: id });
        }
    }

    pub(super) fn on_stream(&mut self, id: FlowId, bytes: &[u8], now: Now) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let hop = flow.hop;
        flow.framer.push(bytes);
        let mut framed = false;
        loop {
            let Some(flow) = self.flows.get_mut(&id) else { return };
            let Some(frame) = flow.framer.next_frame() else { break };
            framed = true;
            match frame {
                Frame::Message(bytes) => self.on_message(hop, &bytes, now),
                // RFC 5626 §4.4.1: a ping is answered by a single CRLF.
                Frame::Ping => self.transactions.send_once(hop, b"\r\n".to_vec()),
                Frame::Pong => self.on_pong(id, now),
                Frame::Broken(head) => {
                    self.on_message(hop, &head, now);
                    self.flush_transmits();
                    self.on_broken(id, now);
                    break;
                }
            }
        }
        self.guard_flow(id, framed, now);
    }

    /// What comes over a stream cannot be read any further.
    fn on_broken(&mut self, id: FlowId, now: Now) {
        match self.flows.get(&id).and_then(|flow| flow.upstream) {
            Some(way) => self.fail_flow(way, "it sends what is no SIP, or a message that is too long", now),
            None => self.outputs.push_back(Output::Close { flow: id }),
        }
    }

    /// A message that came alone, so that it needs no Content-Length (RFC 7118 §5.4).
    pub(super) fn on_frame(&mut self, id: FlowId, bytes: &[u8], now: Now) {
        let Some(flow) = self.flows.get(&id) else { return };
        match bytes {
            b"\r\n\r\n" => self.transactions.send_once(flow.hop, b"\r\n".to_vec()),
            b"\r\n" => self.on_pong(id, now),
            _ => self.on_packet(flow.hop, bytes, now),
        }
    }

    /// A peer that dribbles is not kept: each message has its own time.
    fn guard_flow(&mut self, id: FlowId, framed: bool, now: Now) {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.upstream.is_none()) else { return };
        if framed {
            flow.partial = None;
        }
        if flow.framer.is_partial() && flow.partial.is_none() {
            let at = now.mono + limits::MESSAGE_DEADLINE;
            flow.partial = Some(at);
            self.patience.set(at, id);
        }
    }

    pub(super) fn on_closed(&mut self, id: FlowId, why: &str, now: Now) {
        // A socket for datagrams that is listened at no more has no entry.
        let flow = self.flows.remove(&id);
        for user in self.transactions.fail_flow(id) {
            match user {
                // A watcher is not gone because its connection is: the notifier keeps it for a while.
                User::Notify(..) => {}
                // Nor is a registrar silent because of that: its way tells what happened.
                User::Register(id) => {
                    if let Some(registration) = self.registrations.get_mut(id.0) {
                        registration.on_timeout(&mut self.rng, now);
                    }
                }
                user => self.on_client_event(ClientEvent::TimedOut(user), now),
            }
        }
        self.notifier.on_flow_closed(id, now);
        for user in self.registrar.on_flow_closed(id) {
            self.compose_named(&user, now);
        }
        if let Some(upstream) = flow.and_then(|flow| flow.upstream) {
            self.on_way_closed(upstream, id, why, now);
        }
    }
}

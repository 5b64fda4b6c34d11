//! Connections, which device uses which, and who asks too much.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::token::Identity;
use crate::sip::wire::frame::Framer;
use crate::sip::{FlowId, Hop};

/// What an edge has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Requests that were passed on to the registrar.
    pub inward: u64,
    /// Requests that were passed on to a device.
    pub outward: u64,
    /// Responses that were passed on.
    pub responses: u64,
    /// Requests for a flow that is gone: 430.
    pub dead: u64,
    /// Requests with a token that we did not write: 403.
    pub forged: u64,
    /// What was no SIP.
    pub malformed: u64,
    /// What came too fast, and was dropped.
    pub shed: u64,
}

/// Messages of one address that are taken at once, and for each second after.
const BURST: f64 = 400.0;
const PER_SECOND: f64 = 100.0;
/// Addresses that are counted; when it is full, all begin anew.
const SOURCES: usize = 16 * 1024;
/// Devices whose flow is known; when it is full, those whose time is over give way, and without any
/// a new one is reached by its token alone.
const BINDINGS: usize = 256 * 1024;

#[derive(Debug)]
struct Flow {
    hop: Hop,
    framer: Framer,
    /// The devices that are registered over it.
    of: Vec<Identity>,
}

/// Devices of one connection; more are passed on and not remembered.
const DEVICES: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<FlowId, Flow>,
    bindings: HashMap<Identity, (Hop, Instant)>,
    /// By port: one each.
    sockets: HashMap<u16, Hop>,
    paces: HashMap<IpAddr, (f64, Instant)>,
    counts: Counts,
}

impl Flows {
    pub fn open(&mut self, hop: Hop) {
        self.flows.insert(hop.flow, Flow { hop, framer: Framer::default(), of: Vec::new() });
    }

    pub fn close(&mut self, id: FlowId) {
        let Some(flow) = self.flows.remove(&id) else { return };
        for identity in flow.of {
            // It may have come back over another one already.
            if self.bindings.get(&identity).is_some_and(|(hop, _)| hop.flow == id) {
                self.bindings.remove(&identity);
            }
        }
    }

    pub fn framer(&mut self, id: FlowId) -> Option<&mut Framer> {
        self.flows.get_mut(&id).map(|flow| &mut flow.framer)
    }

    pub fn hop(&self, id: FlowId) -> Option<Hop> {
        self.flows.get(&id).map(|flow| flow.hop)
    }

    /// A socket of ours that datagrams come in at.
    pub fn listens(&mut self, hop: Hop) {
        self.sockets.entry(hop.local.port()).or_insert(hop);
    }

    /// The way to somebody who was heard at that socket.
    pub fn socket(&self, port: u16, peer: SocketAddr) -> Option<Hop> {
        self.sockets.get(&port).map(|hop| Hop { peer, ..*hop })
    }

    /// Whether a device is registered over that connection.
    pub fn is_of(&self, id: FlowId, identity: &Identity) -> bool {
        self.flows.get(&id).is_some_and(|flow| flow.of.contains(identity))
    }

    /// A device that registered uses this flow now, for so long unless it says so again.
    pub fn bind(&mut self, identity: Identity, hop: Hop, lifetime: Duration, now: Instant) {
        if self.bindings.len() >= BINDINGS && !self.bindings.contains_key(&identity) {
            self.bindings.retain(|_, (_, until)| *until > now);
            if self.bindings.len() >= BINDINGS {
                return;
            }
        }
        self.bindings.insert(identity, (hop, now + lifetime));
        if let Some(flow) = self.flows.get_mut(&hop.flow)
            && flow.of.len() < DEVICES
            && !flow.of.contains(&identity)
        {
            flow.of.push(identity);
        }
    }

    pub fn unbind(&mut self, identity: &Identity) {
        self.bindings.remove(identity);
    }

    /// The flow that a device uses now.
    pub fn bound(&self, identity: &Identity, now: Instant) -> Option<Hop> {
        self.bindings.get(identity).filter(|(_, until)| *until > now).map(|(hop, _)| *hop)
    }

    /// Whether an address may send one more message.
    pub fn admits(&mut self, from: IpAddr, now: Instant) -> bool {
        if self.paces.len() >= SOURCES && !self.paces.contains_key(&from) {
            self.paces.clear();
        }
        let (left, since) = self.paces.entry(from).or_insert((BURST, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * PER_SECOND).min(BURST);
        *since = now;
        let admits = *left >= 1.0;
        if admits {
            *left -= 1.0;
        }
        admits
    }

    pub fn count(&mut self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts);
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Connections, and devices whose flow is known.
    pub fn sizes(&self) -> (usize, usize) {
        (self.flows.len(), self.bindings.len())
    }
}

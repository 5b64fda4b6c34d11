//! Connections, which device uses which, and who asks too much.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Side;
use super::token::Identity;
use crate::limits;
use crate::sip::wire::frame::Framer;
use crate::sip::{FlowId, Hop, Transport, network_of};

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
    /// What is larger than the registrar takes: requests are answered 513, responses dropped.
    pub too_large: u64,
    /// Requests while the registrar did not answer: 503.
    pub unavailable: u64,
}

/// A source may send at once what it may send in so many seconds.
const BURST_SECONDS: f64 = 4.0;
/// A connection on which nothing came for so long is closed, unless a device is registered over it: the rarest keep-alive
/// of RFC 5626 §4.4.1 comes after 14 minutes, and a phone of RFC 3261 sends none.
const IDLE: Duration = Duration::from_secs(20 * 60);
/// The same over QUIC, whose own signs of life stay below: longer than people wait between two refreshes.
const IDLE_QUIC: Duration = Duration::from_secs(2 * 60 * 60);
/// Sources that are counted; when it is full, those who may send all that they ever may are forgotten, and where there
/// is none of these, all begin anew.
const SOURCES: usize = 64 * 1024;
/// The longest time for which a device counts as registered without saying so again.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Devices whose flow is known; when it is full, those whose time is over give way, and without any
/// a new one is reached by its token alone.
const BINDINGS: usize = 256 * 1024;

#[derive(Debug)]
struct Flow {
    hop: Hop,
    side: Side,
    framer: Framer,
    heard: Instant,
    opened: Instant,
    /// A whole message or a ping has come.
    spoke: bool,
    /// Since when a message is under way that is not complete.
    partial: Option<Instant>,
    /// The devices that are registered over it.
    of: Vec<Identity>,
}

/// Devices of one connection; more are passed on and not remembered.
const DEVICES: usize = 256;

/// A socket for datagrams, by what stays the same of it after a restart: its side, its port and its family. Of two
/// outer ones with the same port and family, the first answers.
type Socket = (bool, u16, bool);

/// Whose messages are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    /// Everybody at an address, or of a network of IPv6.
    Network(IpAddr),
    /// A device that is registered, and who is not to blame for what its neighbours behind the same address do.
    Connection(FlowId),
    /// The same by datagrams.
    Datagrams(SocketAddr),
}

#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<FlowId, Flow>,
    bindings: HashMap<Identity, (Hop, Instant)>,
    sockets: HashMap<Socket, Hop>,
    paces: HashMap<Source, (f64, Instant)>,
    /// Over which flows a device is registered, and until when. Bounded by the connections, and by [`BINDINGS`] beside
    /// them; one more by datagrams counts with its neighbours.
    registered: HashMap<Source, Instant>,
    counts: Counts,
}

impl Flows {
    pub fn open(&mut self, hop: Hop, side: Side, now: Instant) {
        let framer = if side == Side::Outer { Framer::default() } else { Framer::of_many() };
        let of = Vec::new();
        let flow = Flow { hop, side, framer, heard: now, opened: now, spoke: false, partial: None, of };
        self.flows.insert(hop.flow, flow);
    }

    /// Bytes of a connection.
    pub fn push(&mut self, id: FlowId, bytes: &[u8], now: Instant) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.heard = now;
            flow.framer.push(bytes);
        }
    }

    /// Something whole came over a connection; what lies there behind it is the beginning of something else.
    pub fn cut(&mut self, id: FlowId) {
        if let Some(flow) = self.flows.get_mut(&id) {
            (flow.spoke, flow.partial) = (true, None);
        }
    }

    /// All that was whole of what came is gone through.
    pub fn rest(&mut self, id: FlowId, now: Instant) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.partial = flow.framer.is_partial().then(|| flow.partial.unwrap_or(now));
        }
    }

    /// Connections that take their time over a message, and those of the outer side that nobody uses.
    pub fn idle(&self, now: Instant) -> Vec<FlowId> {
        let idle =
            |flow: &&Flow| self.is_slow(flow, now) || flow.side == Side::Outer && self.is_idle(flow, now);
        self.flows.values().filter(idle).map(|flow| flow.hop.flow).collect()
    }

    fn is_slow(&self, flow: &Flow, now: Instant) -> bool {
        flow.partial.is_some_and(|since| now.duration_since(since) >= limits::MESSAGE_DEADLINE)
    }

    fn is_idle(&self, flow: &Flow, now: Instant) -> bool {
        let longest = if flow.hop.transport == Transport::Quic { IDLE_QUIC } else { IDLE };
        if !flow.spoke && now.duration_since(flow.opened) >= limits::UNPROVEN_IDLE {
            return true;
        }
        now.duration_since(flow.heard) > longest && !self.is_registered(own(flow.hop), now)
    }

    fn is_registered(&self, source: Source, now: Instant) -> bool {
        self.registered.get(&source).is_some_and(|until| *until > now)
    }

    /// The registrar said that somebody is registered over this flow, for so long. Whether that is news.
    pub fn register(&mut self, hop: Hop, lifetime: Duration, now: Instant) -> bool {
        let (source, until) = (own(hop), now + lifetime.min(LONGEST));
        let full = |flows: &Self| flows.registered.len() >= BINDINGS + flows.flows.len();
        if !self.registered.contains_key(&source) && full(self) {
            self.registered.retain(|_, until| *until > now);
            if full(self) {
                return false;
            }
        }
        self.registered.insert(source, until).is_none()
    }

    pub fn close(&mut self, id: FlowId) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.registered.remove(&Source::Connection(id));
        self.paces.remove(&Source::Connection(id));
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
    pub fn listens(&mut self, hop: Hop, inner: bool) {
        self.sockets.entry((inner, hop.local.port(), hop.local.is_ipv4())).or_insert(hop);
    }

    /// The way to somebody who was heard at that socket.
    pub fn socket(&self, inner: bool, port: u16, peer: SocketAddr) -> Option<Hop> {
        self.sockets.get(&(inner, port, peer.is_ipv4())).map(|hop| Hop { peer, ..*hop })
    }

    /// Whether this connection or socket is on the registrar's side.
    pub fn is_inner(&self, hop: Hop) -> bool {
        match hop.transport {
            Transport::Udp => self.sockets.iter().any(|((inner, ..), own)| *inner && own.flow == hop.flow),
            _ => self.flows.get(&hop.flow).is_some_and(|flow| flow.side != Side::Outer),
        }
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

    /// Whether somebody may send one more message, when he may send so many in a second. What comes too fast over a
    /// connection counts on, as it is answered.
    pub fn pace(&mut self, hop: Hop, per_second: u32, now: Instant) -> Pace {
        let own = own(hop);
        let registered = self.is_registered(own, now);
        let from = if registered { own } else { Source::Network(network_of(hop.peer.ip())) };
        let per_second = f64::from(per_second);
        let burst = per_second * BURST_SECONDS;
        let left = |(left, since): (f64, Instant)| {
            (left + now.duration_since(since).as_secs_f64() * per_second).min(burst)
        };
        if self.paces.len() >= SOURCES && !self.paces.contains_key(&from) {
            self.paces.retain(|_, pace| left(*pace) < burst);
            if self.paces.len() >= SOURCES {
                self.paces.clear();
            }
        }
        let pace = self.paces.entry(from).or_insert((burst, now));
        *pace = (left(*pace), now);
        let (left, _) = pace;
        if *left < 1.0 - burst {
            return Pace::FarTooFast;
        }
        let admits = *left >= 1.0;
        if admits || hop.transport.is_reliable() {
            *left -= 1.0;
        }
        if admits { Pace::Fits } else { Pace::TooFast }
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

/// How fast somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    Fits,
    TooFast,
    /// And does not listen.
    FarTooFast,
}

/// Who counts for himself, once he is registered.
fn own(hop: Hop) -> Source {
    match hop.transport {
        Transport::Udp => Source::Datagrams(hop.peer),
        _ => Source::Connection(hop.flow),
    }
}

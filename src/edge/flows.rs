//! Connections, which device uses which, and who asks too much.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::Side;
use super::token::Identity;
use crate::limits;
use crate::sip::wire::frame::Framer;
use crate::sip::{FlowId, Hop, Transport};

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
    /// Requests while the registrar did not answer: 503.
    pub unavailable: u64,
}

/// A source may send at once what it may send in so many seconds.
const BURST_SECONDS: f64 = 4.0;
/// A connection on which nothing came for so long is closed: the rarest keep-alive of RFC 5626 §4.4.1 comes after 14
/// minutes.
const IDLE: Duration = Duration::from_secs(20 * 60);
/// The same over QUIC, whose own signs of life stay below: longer than people wait between two refreshes. A connection
/// over which a device is registered has no such end.
const IDLE_QUIC: Duration = Duration::from_secs(2 * 60 * 60);
/// Addresses that are counted; when it is full, all begin anew.
const SOURCES: usize = 16 * 1024;
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

#[derive(Debug, Default)]
pub(super) struct Flows {
    flows: HashMap<FlowId, Flow>,
    bindings: HashMap<Identity, (Hop, Instant)>,
    sockets: HashMap<Socket, Hop>,
    paces: HashMap<IpAddr, (f64, Instant)>,
    counts: Counts,
}

impl Flows {
    pub fn open(&mut self, hop: Hop, side: Side, now: Instant) {
        let (framer, of) = (Framer::default(), Vec::new());
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
        let quic = flow.hop.transport == Transport::Quic;
        let longest = if quic { IDLE_QUIC } else { IDLE };
        if !flow.spoke && now.duration_since(flow.opened) >= limits::UNPROVEN_IDLE {
            return true;
        }
        now.duration_since(flow.heard) > longest && !(quic && self.is_used(flow, now))
    }

    /// Whether a device is registered over a connection.
    fn is_used(&self, flow: &Flow, now: Instant) -> bool {
        flow.of.iter().any(|identity| self.bound(identity, now).is_some_and(|hop| hop.flow == flow.hop.flow))
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

    /// Whether an address may send one more message, when it may send so many in a second. What comes too fast
    /// over a connection counts on, as it is answered: `owing`.
    pub fn pace(&mut self, from: IpAddr, owing: bool, per_second: u32, now: Instant) -> Pace {
        let from = source(from);
        let per_second = f64::from(per_second);
        let burst = per_second * BURST_SECONDS;
        if self.paces.len() >= SOURCES && !self.paces.contains_key(&from) {
            self.paces.clear();
        }
        let (left, since) = self.paces.entry(from).or_insert((burst, now));
        *left = (*left + now.duration_since(*since).as_secs_f64() * per_second).min(burst);
        *since = now;
        if *left < 1.0 - burst {
            return Pace::FarTooFast;
        }
        let admits = *left >= 1.0;
        if admits || owing {
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

/// Who counts as one: of IPv6, a network of 64 bits, which everybody is given.
fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => ip,
    }
}

//! Connections of QUIC as `src/io/quic` has them, with the figures of docs/sip-over-quic.md.
//!
//! The gateway is told of a connection that it is there, each message, and why it ended; nothing else. While nothing
//! happens to the network, both ends say every 12 s that they are there, and nobody sees it: that is computed and not
//! played. From the moment at which something happens each packet is, until both ends have heard of each other again.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use sipliance::gateway::Input;
use sipliance::sip::{FlowId, Transport};

use super::provider::Health;
use super::{Event, LAG, Wan, home_of};

/// Silence after which an end says that it is there, and that after which it gives up.
const PING: Duration = Duration::from_secs(12);
const IDLE: Duration = Duration::from_secs(24);
/// How long the first answer is waited for; it doubles with each packet that has none (RFC 9002 §6.2).
const PTO: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Home,
    Edge,
}

/// One end of a connection.
#[derive(Debug, Default)]
struct End {
    /// Messages that have not arrived.
    waiting: Vec<Bytes>,
    /// Packets on end that nobody answered.
    probes: u32,
    /// Something was sent since it last heard.
    asked: bool,
    /// When it gives up.
    idle: Duration,
    /// Its newest timer.
    turn: u64,
}

impl End {
    fn hears(&mut self, now: Duration) {
        (self.asked, self.idle) = (false, now + IDLE);
    }

    fn sends(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.asked, true) {
            self.idle = now + IDLE;
        }
    }

    fn is_quiet(&self) -> bool {
        self.probes == 0 && self.waiting.is_empty()
    }
}

/// One connection.
#[derive(Debug)]
pub struct Quic {
    edge: usize,
    /// What the edge called the home at first: the name of the flow there.
    name: SocketAddr,
    /// Where the edge sends to; `None`: it knows nothing of the connection.
    path: Option<SocketAddr>,
    home: End,
    far: End,
    /// The last packet of which both know.
    last: Duration,
    /// Whether each packet is played.
    troubled: bool,
}

impl Quic {
    pub fn new(edge: usize, name: SocketAddr, now: Duration) -> Self {
        let (home, far) = (End::default(), End::default());
        Self { edge, name, path: Some(name), home, far, last: now, troubled: false }
    }

    /// Nothing happens to it: its mapping is kept alive.
    pub fn is_steady(&self) -> bool {
        !self.troubled
    }

    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Home => &mut self.home,
            Side::Edge => &mut self.far,
        }
    }
}

impl Wan {
    /// The connection that an edge calls so.
    pub(super) fn named(&self, edge: usize, name: SocketAddr) -> Option<(usize, FlowId)> {
        let home = home_of(name.ip());
        let all = &self.homes.get(home)?.quic;
        let of = all.iter().find(|(_, quic)| quic.edge == edge && quic.name == name);
        of.map(|(flow, _)| (home, *flow))
    }

    /// The flow that a binding leads to, if the edge knows where its home is.
    pub(super) fn led_to(&self, edge: usize, name: SocketAddr) -> Option<FlowId> {
        let (home, flow) = self.named(edge, name)?;
        let path = self.homes[home].quic[&flow].path?;
        (self.inside(home, path) == Some(flow)).then_some(flow)
    }

    /// Whether an edge has the connection.
    pub(super) fn is_there(&self, edge: usize, name: SocketAddr) -> bool {
        let path = self.named(edge, name).and_then(|(home, flow)| self.homes[home].quic[&flow].path);
        path.is_some()
    }

    /// An end has something to say.
    pub(super) fn say(&mut self, home: usize, flow: FlowId, side: Side, bytes: Bytes) {
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
        if side == Side::Edge && quic.path.is_none() {
            return;
        }
        quic.end(side).waiting.push(bytes);
        let probes = quic.end(side).probes;
        // While nobody answers, the waits go on.
        if probes == 0 || self.packet(home, flow, side) {
            self.go(home, flow, side);
        }
    }

    /// A packet of an end leaves, and its answer is waited for.
    fn go(&mut self, home: usize, flow: FlowId, side: Side) {
        let answered = self.packet(home, flow, side);
        self.settle(home, flow);
        let now = self.now;
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
        if quic.is_steady() && answered {
            quic.last = now;
            return;
        }
        if quic.is_steady() {
            self.unsettle(home, flow, now);
        }
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
        let end = quic.end(side);
        let wait = match answered {
            true => PING,
            false => {
                end.probes += 1;
                // A timer that comes later than the end does is that of the end.
                (PTO * (1 << (end.probes - 1).min(16))).min(end.idle.saturating_sub(now))
            }
        };
        self.again(home, flow, side, wait);
    }

    fn again(&mut self, home: usize, flow: FlowId, side: Side, wait: Duration) {
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
        quic.end(side).turn += 1;
        let turn = quic.end(side).turn;
        self.push(wait, Event::Quic { home, flow, side, turn });
    }

    /// Both know of each other again: nothing more has to be played.
    fn settle(&mut self, home: usize, flow: FlowId) {
        let Some(quic) = self.homes[home].quic.get(&flow).filter(|quic| !quic.is_steady()) else { return };
        let led = self.led_to(quic.edge, quic.name).is_some();
        let alive = self.provider.edges[quic.edge].health == Health::Up;
        if led && alive && quic.home.is_quiet() && quic.far.is_quiet() {
            let now = self.now;
            let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
            (quic.troubled, quic.last) = (false, now);
            for end in [&mut quic.home, &mut quic.far] {
                end.asked = false;
                end.turn += 1;
            }
        }
    }

    /// Whether it was answered.
    fn packet(&mut self, home: usize, flow: FlowId, side: Side) -> bool {
        let now = self.now;
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return true };
        quic.end(side).sends(now);
        let (lost, answered) = (self.rng.random_bool(self.loss), !self.rng.random_bool(self.loss));
        match side {
            Side::Home => self.out(home, flow, lost, answered),
            Side::Edge => self.back(home, flow, lost, answered),
        }
    }

    fn out(&mut self, home: usize, flow: FlowId, lost: bool, answered: bool) -> bool {
        let from = self.translate(home, flow, true);
        let now = self.now;
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return true };
        let (edge, name) = (quic.edge, quic.name);
        let Some(from) = from.filter(|_| !lost && self.provider.edges[edge].health == Health::Up) else {
            return false;
        };
        if quic.path.is_none() {
            // It has a key that outlives it, and says so (RFC 9000 §10.3).
            if answered {
                self.push(2 * LAG, Event::Reset { home, flow });
            }
            return false;
        }
        // Wherever it comes from: that is where it is.
        quic.path = Some(from);
        quic.far.hears(now);
        let messages = std::mem::take(&mut quic.home.waiting);
        if answered {
            quic.home.hears(now);
            quic.home.probes = 0;
        }
        let more = !quic.far.is_quiet();
        for bytes in messages {
            self.push(LAG, Event::ToEdge { home, flow, from: name, edge, bytes });
        }
        if more {
            self.go(home, flow, Side::Edge);
        }
        answered
    }

    fn back(&mut self, home: usize, flow: FlowId, lost: bool, answered: bool) -> bool {
        let now = self.now;
        let Some(quic) = self.homes[home].quic.get(&flow) else { return true };
        let (edge, Some(path)) = (quic.edge, quic.path) else { return true };
        let arrives = self.inside(home, path) == Some(flow) && !lost;
        if !arrives || self.provider.edges[edge].health != Health::Up {
            return false;
        }
        self.translate(home, flow, false);
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return true };
        quic.home.hears(now);
        let messages = std::mem::take(&mut quic.far.waiting);
        if answered {
            quic.far.hears(now);
            quic.far.probes = 0;
        }
        for bytes in messages {
            self.push(LAG, Event::OverQuic { home, flow, bytes });
        }
        answered
    }

    /// The timer of an end.
    pub(super) fn quic_timer(&mut self, home: usize, flow: FlowId, side: Side, turn: u64) {
        let now = self.now;
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
        let end = quic.end(side);
        if end.turn != turn {
            return;
        }
        match (end.idle <= now, side) {
            (true, Side::Home) => self.close(home, flow, "no sign of life"),
            (true, Side::Edge) => {
                quic.path = None;
                quic.far.waiting.clear();
                self.sure = Duration::ZERO;
            }
            (false, _) => self.go(home, flow, side),
        }
    }

    pub(super) fn over_quic(&mut self, home: usize, flow: FlowId, bytes: &[u8]) {
        let Some(edge) = self.homes[home].sockets.get(&flow).map(|socket| socket.edge) else { return };
        self.note_packet(home, edge, false, bytes);
        self.handle(home, Input::Frame { flow, bytes });
    }

    /// Something happened to the network or to the edge: from now on each packet counts.
    pub(super) fn trouble(&mut self, home: usize, flow: FlowId) {
        let now = self.now;
        let it = &mut self.homes[home];
        let Some(quic) = it.quic.get_mut(&flow).filter(|quic| quic.is_steady()) else { return };
        let pings = (now - quic.last).as_millis() / PING.as_millis();
        let last = quic.last + PING * u32::try_from(pings).unwrap();
        if let Some(mapping) = it.mappings.get_mut(&flow) {
            mapping.used = last;
        }
        self.unsettle(home, flow, last);
    }

    /// Both ends run their timers, from their last packet on.
    fn unsettle(&mut self, home: usize, flow: FlowId, last: Duration) {
        let Some(quic) = self.homes[home].quic.get_mut(&flow) else { return };
        (quic.troubled, quic.last) = (true, last);
        for end in [&mut quic.home, &mut quic.far] {
            (end.asked, end.idle) = (false, last + IDLE);
        }
        self.sure = Duration::ZERO;
        let wait = last + PING - self.now;
        self.again(home, flow, Side::Home, wait);
        self.again(home, flow, Side::Edge, wait + LAG);
    }

    /// The program or the machine of an edge is gone, and with it what it knew.
    pub(super) fn forget_quic(&mut self, edge: usize) {
        for quic in self.homes.iter_mut().flat_map(|home| home.quic.values_mut()) {
            if quic.edge == edge {
                quic.path = None;
                quic.far.waiting.clear();
            }
        }
    }

    /// The machine of a home gets another address, and its kernel says so: QUIC takes a new socket, on which it is heard
    /// at once; every other flow ends.
    pub fn move_inside(&mut self, home: usize) {
        self.note(home, 0, true, "· another address of this machine");
        let flows: Vec<(FlowId, Transport)> =
            self.homes[home].sockets.iter().map(|(flow, socket)| (*flow, socket.transport)).collect();
        for (flow, transport) in flows {
            if transport != Transport::Quic {
                self.close(home, flow, "this machine's address is gone");
                continue;
            }
            self.trouble(home, flow);
            let it = &mut self.homes[home];
            if let Some(mapping) = it.mappings.remove(&flow) {
                it.inside.remove(&mapping.outside);
            }
            self.go(home, flow, Side::Home);
        }
        self.handle(home, Input::Network);
    }
}

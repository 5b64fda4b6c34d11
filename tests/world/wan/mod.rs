//! Homes behind routers that translate addresses, the internet, and a provider with edge proxies: how reachable
//! a home is, counted to the millisecond of virtual time.
//!
//! ```text
//!  gateway ── router (mappings, one public address, a cable) ── internet (loses) ── edges ── registrar
//! ```
//!
//! [`Wan::run_until`] goes from one event to the next; nothing polls. Between two events the home is reachable until
//! the last binding, mapping or flow that serves it ends.

mod guest;
mod power;
pub mod provider;
mod quic;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance::config::{Config, LinkId};
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::{FlowId, Hop, Transport};
use sipliance::timer::Now;
use sipliance_driver::Event as Said;

use self::guest::Guest;
use self::power::Disk;
use self::provider::{Health, Provider};
use self::quic::{Quic, Side};
use super::plug::Plug;
use super::world::{arrived, epoch};

const WALL_MS: i64 = 1_790_000_000_000;
/// One way over the internet.
const LAG: Duration = Duration::from_millis(20);
/// What a router remembers of a flow over UDP that is silent, and over TCP.
pub const UDP_MAPPING: Duration = Duration::from_secs(30);
const TCP_MAPPING: Duration = Duration::from_secs(7440);
/// Seconds between two attempts of the kernel to make a connection; after the last one, at 10 s, it is not made.
const SYNS: [u64; 4] = [1, 2, 4, 3];
/// The shell has the kernel look after connections: one whose far end is silent is over within this, in seconds.
const KERNEL: std::ops::Range<u64> = 30..40;
/// How long a segment is sent again before the kernel gives up.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Lines that are kept of what crossed the border.
const TRACE: usize = 20_000;

enum Event {
    /// Sent by a home, on its way to an edge.
    ToEdge {
        home: usize,
        flow: FlowId,
        from: SocketAddr,
        edge: usize,
        bytes: Bytes,
    },
    /// A segment that waits for the cable.
    Again {
        home: usize,
        flow: FlowId,
        bytes: Bytes,
        began: Duration,
    },
    ToHome {
        edge: usize,
        to: SocketAddr,
        transport: Transport,
        bytes: Bytes,
    },
    Open {
        home: usize,
        way: usize,
        edge: usize,
        transport: Transport,
    },
    NoWay {
        home: usize,
        way: usize,
        why: &'static str,
    },
    /// A connection that nobody has answered is asked for again: how often it was, so far.
    Syn {
        home: usize,
        way: usize,
        edge: usize,
        transport: Transport,
        sent: usize,
    },
    /// The kernel looks whether a connection still leads somewhere.
    Kernel {
        home: usize,
        flow: FlowId,
    },
    /// A timer of an end of a connection over QUIC.
    Quic {
        home: usize,
        flow: FlowId,
        side: Side,
        turn: u64,
    },
    /// A message that came over one.
    OverQuic {
        home: usize,
        flow: FlowId,
        bytes: Bytes,
    },
    /// The far end reset a connection.
    Reset {
        home: usize,
        flow: FlowId,
    },
    Driver {
        home: usize,
        event: Said,
    },
    /// The guest said something, on its way to the provider.
    FromGuest {
        bytes: Bytes,
    },
    /// It was passed on to him.
    GuestHears {
        bytes: Bytes,
    },
}

impl Event {
    /// Whose process it would happen to.
    fn of_gateway(&self) -> Option<usize> {
        match self {
            Self::Again { home, .. }
            | Self::Open { home, .. }
            | Self::NoWay { home, .. }
            | Self::Syn { home, .. }
            | Self::Kernel { home, .. }
            | Self::Quic { home, .. }
            | Self::OverQuic { home, .. }
            | Self::Reset { home, .. }
            | Self::Driver { home, .. } => Some(*home),
            Self::ToEdge { .. } | Self::ToHome { .. } | Self::FromGuest { .. } | Self::GuestHears { .. } => {
                None
            }
        }
    }
}

/// What a router knows of a flow.
#[derive(Clone, Copy, Debug)]
struct Mapping {
    outside: SocketAddr,
    used: Duration,
}

/// A socket of a gateway.
#[derive(Clone, Copy, Debug)]
struct Socket {
    transport: Transport,
    edge: usize,
    local: SocketAddr,
}

/// One household.
pub struct Home {
    pub gateway: Gateway,
    pub plug: Plug,
    config: Arc<Config>,
    /// What it keeps: nothing, where the home file has no `state:`.
    pub disk: Disk,
    /// Without power.
    pub off: bool,
    /// How far its wall clock is ahead, in milliseconds.
    wall_off: i64,
    /// Whether the router reaches the internet.
    pub online: bool,
    outside: IpAddr,
    mappings: BTreeMap<FlowId, Mapping>,
    inside: BTreeMap<SocketAddr, FlowId>,
    sockets: BTreeMap<FlowId, Socket>,
    quic: BTreeMap<FlowId, Quic>,
    port: u16,
    deadline: Option<Instant>,
    /// Since when nobody can reach it, and the spans when nobody could; of the first home.
    down: Option<Duration>,
    pub outages: Vec<(Duration, Duration)>,
    pub connects: u64,
}

/// See the module.
pub struct Wan {
    seed: u64,
    epoch: Instant,
    pub now: Duration,
    pub rng: ChaCha8Rng,
    pub homes: Vec<Home>,
    pub provider: Provider,
    pub loss: f64,
    /// Datagrams that arrive twice.
    pub duplicates: f64,
    /// Whether name servers answer.
    pub names: bool,
    pub guest: Option<Guest>,
    /// The first home can be reached until then at least, if nothing bad happens.
    sure: Duration,
    /// What routers remember of a flow over UDP that is silent.
    pub udp_mapping: Duration,
    queue: BTreeMap<(Duration, u64), Event>,
    /// When a gateway wants to be woken, and which.
    deadlines: BTreeSet<(Instant, usize)>,
    serial: u64,
    flows: u64,
    /// What crossed the border, for people; kept while `tracing`.
    pub trace: Vec<String>,
    pub tracing: bool,
}

impl Wan {
    pub fn new(seed: u64, configs: &[Arc<Config>], provider: Provider) -> Self {
        let mut wan = Self {
            seed,
            epoch: epoch(),
            now: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            homes: Vec::new(),
            provider,
            loss: 0.0,
            duplicates: 0.0,
            names: true,
            guest: None,
            sure: Duration::ZERO,
            udp_mapping: UDP_MAPPING,
            queue: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            serial: 0,
            flows: 1000,
            trace: Vec::new(),
            tracing: true,
        };
        for config in configs {
            wan.move_in(config.clone());
        }
        wan
    }

    fn move_in(&mut self, config: Arc<Config>) {
        let at = self.homes.len();
        let gateway = Gateway::new(config.clone(), self.rng.random(), self.time_off(0));
        let plug = Plug::new("plug");
        let hello: Vec<Said> = std::iter::once(Said::Up).chain(plug.hello()).collect();
        self.homes.push(Home {
            gateway,
            plug,
            config,
            disk: Disk::default(),
            off: false,
            wall_off: 0,
            online: true,
            outside: address(at, 1),
            mappings: BTreeMap::new(),
            inside: BTreeMap::new(),
            sockets: BTreeMap::new(),
            quic: BTreeMap::new(),
            port: 20_000,
            deadline: None,
            down: Some(self.now),
            outages: Vec::new(),
            connects: 0,
        });
        for event in hello {
            self.push(Duration::from_millis(1), Event::Driver { home: at, event });
        }
        self.drain(at);
    }

    /// The time at the first home.
    pub fn time(&self) -> Now {
        self.time_of(0)
    }

    fn time_of(&self, home: usize) -> Now {
        self.time_off(self.homes[home].wall_off)
    }

    fn time_off(&self, off: i64) -> Now {
        let ms = i64::try_from(self.now.as_millis()).unwrap();
        Now { mono: self.epoch + self.now, wall_ms: WALL_MS + ms + off }
    }

    fn push(&mut self, wait: Duration, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + wait, self.serial), event);
    }

    pub fn run(&mut self, wait: Duration) {
        self.run_until(self.now + wait);
    }

    pub fn run_until(&mut self, until: Duration) {
        loop {
            let packet = self.queue.keys().next().map(|(at, _)| *at);
            let first = self.deadlines.first().copied();
            let deadline = first.map(|(at, _)| at.saturating_duration_since(self.epoch));
            let guest = self.guest_due();
            let Some(at) = [packet, deadline, guest].into_iter().flatten().min().filter(|at| *at <= until)
            else {
                break;
            };
            self.pass(at.max(self.now));
            if guest.is_some_and(|due| due <= self.now) {
                self.on_guest_deadline();
                continue;
            }
            match self.queue.first_entry().filter(|entry| entry.key().0 <= self.now) {
                Some(entry) => {
                    let event = entry.remove();
                    self.happen(event);
                }
                None => {
                    if let Some((_, home)) = first {
                        self.handle(home, Input::Deadline);
                        let due = self.homes[home].deadline;
                        assert!(
                            due.is_none_or(|due| due > self.time().mono),
                            "a deadline that has passed remains"
                        );
                    }
                }
            }
        }
        self.pass(until);
    }

    /// Time passes, and it is counted when nobody could reach the first home.
    fn pass(&mut self, to: Duration) {
        if to <= self.sure {
            self.now = to;
            return;
        }
        for home in 0..self.homes.len().min(1) {
            let until = self.reachable_until(home);
            self.sure = until.unwrap_or_default();
            let it = &mut self.homes[home];
            match (until, it.down) {
                (Some(_), Some(since)) if since < self.now => it.outages.push((since, self.now)),
                _ => {}
            }
            it.down = match until {
                Some(until) if until >= to => None,
                Some(until) => Some(until.max(self.now)),
                None => it.down.or(Some(self.now)),
            };
        }
        self.now = to;
    }

    /// Until when somebody who asks the registrar reaches a home, when nothing more happens.
    pub fn reachable_until(&self, home: usize) -> Option<Duration> {
        let it = &self.homes[home];
        let bindings =
            self.provider.bindings.iter().filter(|binding| binding.home == home && binding.user == "100");
        bindings
            .filter_map(|binding| {
                let edge = &self.provider.edges[binding.edge];
                let flow = match binding.transport {
                    Transport::Quic => self.led_to(binding.edge, binding.source)?,
                    _ => self.inside(home, binding.source)?,
                };
                let carried = match it.sockets.get(&flow)?.transport {
                    Transport::Udp | Transport::Quic => true,
                    _ => edge.connections.contains_key(&binding.source),
                };
                let works = edge.health == Health::Up && carried && binding.until > self.now;
                works.then_some(binding.until.min(self.mapping_until(home, flow)?))
            })
            .max()
    }

    fn mapping_until(&self, home: usize, flow: FlowId) -> Option<Duration> {
        let it = &self.homes[home];
        let mapping = it.mappings.get(&flow).filter(|mapping| mapping.outside.ip() == it.outside)?;
        let until = match it.sockets.get(&flow)?.transport {
            Transport::Quic if it.quic.get(&flow).is_some_and(Quic::is_steady) => Duration::MAX,
            Transport::Udp | Transport::Quic => mapping.used + self.udp_mapping,
            _ => mapping.used + TCP_MAPPING,
        };
        (it.online && until > self.now).then_some(until)
    }

    /// The flow that a packet to an address outside belongs to.
    fn inside(&self, home: usize, to: SocketAddr) -> Option<FlowId> {
        let flow = self.homes[home].inside.get(&to).copied()?;
        self.mapping_until(home, flow).map(|_| flow)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Driver { home, event } => self.handle(home, Input::Driver { link: LinkId(0), event }),
            Event::Open { home, way, edge, transport } => self.open(home, way, edge, transport),
            Event::NoWay { home, way, why } => {
                self.handle(home, Input::ConnectFailed { upstream: way, why: why.to_owned(), met: false });
            }
            Event::Syn { home, way, edge, transport, sent } => self.syn(home, way, edge, transport, sent),
            Event::ToEdge { home, flow, from, edge, bytes } => self.arrive(home, flow, from, edge, &bytes),
            Event::Again { home, flow, bytes, began } => self.segment(home, flow, bytes, began),
            Event::ToHome { edge, to, transport, bytes } => self.come_home(edge, to, transport, &bytes),
            Event::Quic { home, flow, side, turn } => self.quic_timer(home, flow, side, turn),
            Event::OverQuic { home, flow, bytes } => self.over_quic(home, flow, &bytes),
            Event::FromGuest { bytes } => self.guest_said(&bytes),
            Event::GuestHears { bytes } => self.guest_hears(&bytes),
            Event::Reset { home, flow } => self.close(home, flow, "the far end reset it"),
            Event::Kernel { home, flow } => {
                let Some(socket) = self.homes[home].sockets.get(&flow).copied() else { return };
                let mapping =
                    self.mapping_until(home, flow).and_then(|_| self.homes[home].mappings.get(&flow));
                let edge = &self.provider.edges[socket.edge];
                let there = edge.health != Health::Gone;
                if !mapping.is_some_and(|mapping| there && edge.connections.contains_key(&mapping.outside)) {
                    self.close(home, flow, "no answer");
                }
            }
        }
    }

    fn open(&mut self, home: usize, way: usize, edge: usize, transport: Transport) {
        self.flows += 1;
        let flow = FlowId(self.flows);
        let local: SocketAddr = format!("192.168.1.2:{}", 30_000 + self.flows % 10_000).parse().unwrap();
        self.homes[home].sockets.insert(flow, Socket { transport, edge, local });
        if transport.is_reliable() {
            let Some(outside) = self.translate(home, flow, true) else {
                self.homes[home].sockets.remove(&flow);
                return self.syn(home, way, edge, transport, 0);
            };
            match transport {
                Transport::Quic if self.provider.edges[edge].health != Health::Up => {
                    self.homes[home].sockets.remove(&flow);
                    return self.syn(home, way, edge, transport, 0);
                }
                Transport::Quic => {
                    let quic = Quic::new(edge, outside, self.now);
                    self.homes[home].quic.insert(flow, quic);
                }
                _ => drop(self.provider.edges[edge].connections.insert(outside, Default::default())),
            }
        }
        let peer = self.provider.edges[edge].address;
        self.handle(home, Input::Opened { flow, transport, local, peer, upstream: Some(way) });
    }

    /// Who a flow is outside; a router makes a mapping for what is new.
    fn translate(&mut self, home: usize, flow: FlowId, make: bool) -> Option<SocketAddr> {
        let known = self.mapping_until(home, flow).is_some();
        let (now, it) = (self.now, &mut self.homes[home]);
        if !it.online || !known && !make {
            return None;
        }
        if !known {
            it.port = it.port.checked_add(1).unwrap_or(20_000);
            let outside = SocketAddr::new(it.outside, it.port);
            if let Some(old) = it.mappings.insert(flow, Mapping { outside, used: now }) {
                it.inside.remove(&old.outside);
            }
            it.inside.insert(outside, flow);
        }
        let mapping = it.mappings.get_mut(&flow)?;
        mapping.used = now;
        Some(mapping.outside)
    }

    fn handle(&mut self, home: usize, input: Input<'_>) {
        if self.homes[home].off {
            return;
        }
        let now = self.time_of(home);
        self.homes[home].gateway.handle(input, now);
        self.drain(home);
    }

    pub fn tell(&mut self, home: usize, input: Input<'_>) {
        self.handle(home, input);
    }

    fn drain(&mut self, home: usize) {
        while let Some(output) = self.homes[home].gateway.poll() {
            match output {
                Output::Send { hop, bytes } => self.send(home, hop, bytes),
                Output::Connect { upstream, server, .. } => {
                    self.connect(home, upstream, &server.host, server.transport.unwrap_or(Transport::Udp));
                }
                Output::Close { flow } => {
                    let outside = self.homes[home].mappings.get(&flow).map(|mapping| mapping.outside);
                    if let (Some(socket), Some(outside)) = (self.homes[home].sockets.get(&flow), outside) {
                        self.provider.edges[socket.edge].connections.remove(&outside);
                    }
                    self.close(home, flow, "we closed it");
                }
                Output::Drive { op, .. } => {
                    for (wait, event) in self.homes[home].plug.perform(&op, self.now) {
                        self.push(wait, Event::Driver { home, event });
                    }
                }
                Output::Record { key, body, haste } => self.homes[home].disk.put(key, body, haste),
                _ => {}
            }
        }
        let due = self.homes[home].gateway.next_deadline();
        let before = std::mem::replace(&mut self.homes[home].deadline, due);
        if before != due {
            if let Some(at) = before {
                self.deadlines.remove(&(at, home));
            }
            self.deadlines.extend(due.map(|at| (at, home)));
        }
    }

    fn close(&mut self, home: usize, flow: FlowId, why: &str) {
        let it = &mut self.homes[home];
        if it.sockets.remove(&flow).is_none() {
            return;
        }
        self.sure = Duration::ZERO;
        it.quic.remove(&flow);
        if let Some(mapping) = it.mappings.remove(&flow) {
            it.inside.remove(&mapping.outside);
        }
        self.handle(home, Input::Closed { flow, why: why.to_owned() });
    }

    fn connect(&mut self, home: usize, way: usize, host: &str, transport: Transport) {
        self.homes[home].connects += 1;
        let edge = self.provider.edges.iter().position(|edge| edge.host == host).expect("a known edge");
        self.note(home, edge, true, &format!("connect by {}", transport.word()));
        if !self.names {
            let why = "no name server answers";
            return self.push(Duration::from_secs(5), Event::NoWay { home, way, why });
        }
        match transport.is_reliable() {
            true => self.syn(home, way, edge, transport, 0),
            false => self.push(Duration::from_millis(1), Event::Open { home, way, edge, transport }),
        }
    }

    fn syn(&mut self, home: usize, way: usize, edge: usize, transport: Transport, sent: usize) {
        let health = self.provider.edges[edge].health;
        let quic = transport == Transport::Quic;
        match (self.homes[home].online, health) {
            // Retry, and the handshake. Of a program that is dead or hangs nothing is heard.
            (true, Health::Up) if quic => self.push(4 * LAG, Event::Open { home, way, edge, transport }),
            (true, Health::Up | Health::Silent) if !quic => {
                self.push(2 * LAG, Event::Open { home, way, edge, transport })
            }
            (true, Health::Refuses) if !quic => {
                self.push(2 * LAG, Event::NoWay { home, way, why: "nobody listens there" })
            }
            _ => match SYNS.get(sent) {
                Some(wait) => {
                    let again = Event::Syn { home, way, edge, transport, sent: sent + 1 };
                    self.push(Duration::from_secs(*wait), again);
                }
                None => self.happen(Event::NoWay { home, way, why: "no answer" }),
            },
        }
    }

    fn send(&mut self, home: usize, hop: Hop, bytes: Bytes) {
        let flow = hop.flow;
        let Some(edge) = self.homes[home].sockets.get(&flow).map(|socket| socket.edge) else { return };
        self.note_packet(home, edge, true, &bytes);
        if hop.transport == Transport::Quic {
            return self.say(home, flow, Side::Home, bytes);
        }
        if hop.transport.is_reliable() {
            return self.segment(home, flow, bytes, self.now);
        }
        let Some(from) = self.translate(home, flow, true) else { return };
        for _ in 0..self.copies() {
            self.push(LAG, Event::ToEdge { home, flow, from, edge, bytes: bytes.clone() });
        }
    }

    /// How often a datagram arrives.
    fn copies(&mut self) -> usize {
        match self.rng.random_bool(self.loss) {
            true => 0,
            false => 1 + usize::from(self.duplicates > 0.0 && self.rng.random_bool(self.duplicates)),
        }
    }

    /// TCP sends again what is lost; what does not get through in time ends the connection.
    fn segment(&mut self, home: usize, flow: FlowId, bytes: Bytes, began: Duration) {
        let Some(edge) = self.homes[home].sockets.get(&flow).map(|socket| socket.edge) else { return };
        let lost = self.rng.random_bool(self.loss) || self.provider.edges[edge].health == Health::Gone;
        let from = self.translate(home, flow, false).filter(|_| !lost);
        let again = Duration::from_millis(300).max(self.now - began);
        match from {
            Some(from) => self.push(LAG, Event::ToEdge { home, flow, from, edge, bytes }),
            None if self.now - began + again > USER_TIMEOUT => {
                self.push(Duration::ZERO, Event::Kernel { home, flow });
            }
            None => self.push(again, Event::Again { home, flow, bytes, began }),
        }
    }

    fn arrive(&mut self, home: usize, flow: FlowId, from: SocketAddr, edge: usize, bytes: &[u8]) {
        let transport = self.homes[home].sockets.get(&flow).map_or(Transport::Udp, |socket| socket.transport);
        let known = self.provider.edges[edge].connections.contains_key(&from);
        if transport.is_reliable() && transport != Transport::Quic && !known {
            if self.provider.edges[edge].health != Health::Gone && self.homes[home].online {
                self.push(LAG, Event::Reset { home, flow });
            }
            return;
        }
        let registers = self.provider.times.len();
        let answers = self.provider.receive(home, edge, from, transport, bytes, self.now);
        if self.provider.times.len() > registers {
            self.sure = Duration::ZERO;
        }
        for (edge, from, transport, bytes) in std::mem::take(&mut self.provider.passed) {
            self.tell_guest(edge, from, transport, &bytes);
        }
        for (edge, to, bytes) in answers {
            self.deliver(edge, to, transport, bytes);
        }
    }

    /// From an edge to an address outside.
    pub fn deliver(&mut self, edge: usize, to: SocketAddr, transport: Transport, bytes: Bytes) {
        if transport == Transport::Quic {
            if let Some((home, flow)) = self.named(edge, to) {
                self.say(home, flow, Side::Edge, bytes);
            }
            return;
        }
        if transport == Transport::Udp {
            for _ in 0..self.copies() {
                self.push(LAG, Event::ToHome { edge, to, transport, bytes: bytes.clone() });
            }
            return;
        }
        let lost = self.rng.random_bool(self.loss);
        let wait = if lost { LAG + Duration::from_millis(300) } else { LAG };
        self.push(wait, Event::ToHome { edge, to, transport, bytes });
    }

    fn come_home(&mut self, edge: usize, to: SocketAddr, transport: Transport, bytes: &[u8]) {
        let home = home_of(to.ip());
        let Some(flow) = self.inside(home, to) else { return };
        self.translate(home, flow, false);
        let Some(local) = self.homes[home].sockets.get(&flow).map(|socket| socket.local) else { return };
        self.note_packet(home, edge, false, bytes);
        let from = self.provider.edges[edge].address;
        match transport.is_reliable() {
            true => self.handle(home, arrived(transport, flow, bytes)),
            false => self.handle(home, Input::Datagram { flow, local, from, bytes }),
        }
    }

    fn note_packet(&mut self, home: usize, edge: usize, out: bool, bytes: &[u8]) {
        if self.tracing {
            self.note(home, edge, out, &text(bytes));
        }
    }

    fn note(&mut self, home: usize, edge: usize, out: bool, what: &str) {
        if self.tracing {
            let arrow = if out { "──▶" } else { "◀──" };
            let host = &self.provider.edges[edge].host;
            let time = self.now.as_secs_f64();
            if self.trace.len() >= TRACE {
                self.trace.drain(..TRACE / 2);
            }
            self.trace.push(format!("{time:10.3}  home{home} {arrow} {host}  {what}"));
        }
    }

    // ── What goes wrong ──

    /// The kernel looks after every connection of a home that may have lost its way.
    fn doubt(&mut self, home: usize) {
        self.sure = Duration::ZERO;
        let mut flows: Vec<FlowId> = self.homes[home].sockets.keys().copied().collect();
        flows.sort_by_key(|flow| flow.0);
        for flow in flows {
            let transport = self.homes[home].sockets.get(&flow).map(|socket| socket.transport);
            if transport == Some(Transport::Quic) {
                self.trouble(home, flow);
            } else if transport.is_some_and(Transport::is_reliable) {
                let wait = Duration::from_secs(self.rng.random_range(KERNEL));
                self.push(wait, Event::Kernel { home, flow });
            }
        }
    }

    /// Somebody presses the plug of a home.
    pub fn press(&mut self, home: usize) {
        let plug = &mut self.homes[home].plug;
        plug.on = !plug.on;
        let event = Plug::read("stat/plug/POWER", if plug.on { "ON" } else { "OFF" }, false);
        self.handle(home, Input::Driver { link: LinkId(0), event });
    }

    pub fn cable(&mut self, home: usize, online: bool) {
        self.homes[home].online = online;
        self.note(home, 0, true, if online { "· the cable is back" } else { "· the cable is out" });
        self.doubt(home);
    }

    /// The registrar forgets every binding; the edges and their flows live.
    pub fn forget(&mut self) {
        self.note(0, 0, false, "· the registrar forgets");
        self.provider.bindings.clear();
        self.sure = Duration::ZERO;
    }

    /// The router forgets what it translates.
    pub fn flush(&mut self, home: usize) {
        self.note(home, 0, true, "· the router restarts");
        self.doubt(home);
        self.homes[home].mappings.clear();
        self.homes[home].inside.clear();
    }

    pub fn readdress(&mut self, home: usize) {
        let IpAddr::V4(now) = self.homes[home].outside else { return };
        self.homes[home].outside = address(home, now.octets()[3] % 250 + 1);
        self.note(home, 0, true, "· another public address");
        self.flush(home);
    }

    /// An edge goes or comes; one that does not go silently takes its connections with it.
    pub fn edge(&mut self, edge: usize, health: Health) {
        self.note(0, edge, false, &format!("· the edge: {health:?}"));
        let old: Vec<SocketAddr> = self.provider.edges[edge].connections.keys().copied().collect();
        self.provider.edges[edge].health = health;
        if matches!(health, Health::Refuses | Health::Gone) {
            self.provider.edges[edge].connections.clear();
            self.forget_quic(edge);
        }
        for home in 0..self.homes.len() {
            if health == Health::Refuses {
                let mut flows: Vec<FlowId> =
                    old.iter().filter_map(|outside| self.inside(home, *outside)).collect();
                flows.sort_by_key(|flow| flow.0);
                flows.into_iter().for_each(|flow| self.push(LAG, Event::Reset { home, flow }));
            }
            self.doubt(home);
        }
    }

    /// How many packets, mappings and sockets there are: none of it may grow.
    pub fn size(&self) -> usize {
        let of = |home: &Home| home.mappings.len() + home.inside.len() + home.sockets.len() + home.quic.len();
        self.queue.len() + self.homes.iter().map(of).sum::<usize>()
    }
}

fn address(home: usize, nth: u8) -> IpAddr {
    IpAddr::from([100, 64 + u8::try_from(home / 250).unwrap(), u8::try_from(home % 250).unwrap(), nth])
}

/// Whose public address that is, or was.
fn home_of(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else { panic!("{address}") };
    let [_, high, low, _] = address.octets();
    250 * usize::from(high - 64) + usize::from(low)
}

/// A packet in a line.
fn text(bytes: &[u8]) -> String {
    if bytes.first().is_some_and(|first| *first < 4) {
        return if bytes[0] == 0 { "STUN Binding request" } else { "STUN Binding response" }.to_owned();
    }
    if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
        return if bytes.len() > 2 { "CRLF CRLF" } else { "CRLF" }.to_owned();
    }
    provider::headline(bytes)
}

impl Drop for Wan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let from = self.trace.len().saturating_sub(80);
            eprintln!("seed {} at {:?}\n{}", self.seed, self.now, self.trace[from..].join("\n"));
        }
    }
}

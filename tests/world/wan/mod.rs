//! Homes behind routers that translate addresses, the internet, and a provider with edge proxies: how reachable
//! a home is, counted to the millisecond of virtual time.
//!
//! ```text
//!  gateway ── router (mappings, one public address, a cable) ── internet (loses) ── edges ── registrar
//! ```
//!
//! [`Wan::run_until`] goes from one event to the next; nothing polls. Between two events the home is reachable until
//! the last binding, mapping or flow that serves it ends.

pub mod provider;

use std::collections::{BTreeMap, HashMap};
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

use self::provider::{Health, Provider};
use super::plug::Plug;
use super::world::{arrived, epoch};

const WALL_MS: i64 = 1_790_000_000_000;
/// One way over the internet.
const LAG: Duration = Duration::from_millis(20);
/// What a router remembers of a flow over UDP that is silent, and over TCP.
const UDP_MAPPING: Duration = Duration::from_secs(30);
const TCP_MAPPING: Duration = Duration::from_secs(7440);
/// Seconds between two attempts of the kernel to make a connection; after the last one, at 10 s, it is not made.
const SYNS: [u64; 4] = [1, 2, 4, 3];
/// The shell has the kernel look after connections: one whose far end is silent is over within this, in seconds.
const KERNEL: std::ops::Range<u64> = 30..40;
/// How long a segment is sent again before the kernel gives up.
const USER_TIMEOUT: Duration = Duration::from_secs(30);

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
    /// The far end reset a connection.
    Reset {
        home: usize,
        flow: FlowId,
    },
    Driver {
        home: usize,
        event: Said,
    },
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
    /// Whether the router reaches the internet.
    pub online: bool,
    outside: IpAddr,
    mappings: HashMap<FlowId, Mapping>,
    inside: HashMap<SocketAddr, FlowId>,
    sockets: HashMap<FlowId, Socket>,
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
    queue: BTreeMap<(Duration, u64), Event>,
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
            queue: BTreeMap::new(),
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
        let gateway = Gateway::new(config, self.rng.random(), self.time());
        let plug = Plug::new("plug");
        let hello: Vec<Said> = std::iter::once(Said::Up).chain(plug.hello()).collect();
        self.homes.push(Home {
            gateway,
            plug,
            online: true,
            outside: address(at, 1),
            mappings: HashMap::new(),
            inside: HashMap::new(),
            sockets: HashMap::new(),
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

    pub fn time(&self) -> Now {
        let ms = i64::try_from(self.now.as_millis()).unwrap();
        Now { mono: self.epoch + self.now, wall_ms: WALL_MS + ms }
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
            let first =
                self.homes.iter().enumerate().filter_map(|(home, it)| Some((it.deadline?, home))).min();
            let deadline = first.map(|(at, _)| at.saturating_duration_since(self.epoch));
            let Some(at) = [packet, deadline].into_iter().flatten().min().filter(|at| *at <= until) else {
                break;
            };
            self.pass(at.max(self.now));
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
        for home in 0..self.homes.len().min(1) {
            let until = self.reachable_until(home);
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
                let flow = self.inside(home, binding.source)?;
                let socket = it.sockets.get(&flow)?;
                let carried =
                    !socket.transport.is_reliable() || edge.connections.contains_key(&binding.source);
                let works = edge.health == Health::Up && carried && binding.until > self.now;
                works.then_some(binding.until.min(self.mapping_until(home, flow)?))
            })
            .max()
    }

    fn mapping_until(&self, home: usize, flow: FlowId) -> Option<Duration> {
        let it = &self.homes[home];
        let mapping = it.mappings.get(&flow).filter(|mapping| mapping.outside.ip() == it.outside)?;
        let lasts = if it.sockets.get(&flow)?.transport.is_reliable() { TCP_MAPPING } else { UDP_MAPPING };
        let until = mapping.used + lasts;
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
            self.provider.edges[edge].connections.insert(outside, Default::default());
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
        let now = self.time();
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
                _ => {}
            }
        }
        self.homes[home].deadline = self.homes[home].gateway.next_deadline();
    }

    fn close(&mut self, home: usize, flow: FlowId, why: &str) {
        let it = &mut self.homes[home];
        if it.sockets.remove(&flow).is_none() {
            return;
        }
        if let Some(mapping) = it.mappings.remove(&flow) {
            it.inside.remove(&mapping.outside);
        }
        self.handle(home, Input::Closed { flow, why: why.to_owned() });
    }

    fn connect(&mut self, home: usize, way: usize, host: &str, transport: Transport) {
        self.homes[home].connects += 1;
        let edge = self.provider.edges.iter().position(|edge| edge.host == host).expect("a known edge");
        self.note(home, edge, true, &format!("connect by {}", transport.word()));
        match transport.is_reliable() {
            true => self.syn(home, way, edge, transport, 0),
            false => self.push(Duration::from_millis(1), Event::Open { home, way, edge, transport }),
        }
    }

    fn syn(&mut self, home: usize, way: usize, edge: usize, transport: Transport, sent: usize) {
        let health = self.provider.edges[edge].health;
        match (self.homes[home].online, health) {
            (true, Health::Up | Health::Silent) => {
                self.push(2 * LAG, Event::Open { home, way, edge, transport })
            }
            (true, Health::Refuses) => {
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
        self.note(home, edge, true, &text(&bytes));
        if hop.transport.is_reliable() {
            return self.segment(home, flow, bytes, self.now);
        }
        let Some(from) = self.translate(home, flow, true) else { return };
        if !self.rng.random_bool(self.loss) {
            self.push(LAG, Event::ToEdge { home, flow, from, edge, bytes });
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
        if transport.is_reliable() && !known {
            if self.provider.edges[edge].health != Health::Gone && self.homes[home].online {
                self.push(LAG, Event::Reset { home, flow });
            }
            return;
        }
        let answers = self.provider.receive(home, edge, from, transport, bytes, self.now);
        for (edge, to, bytes) in answers {
            self.deliver(edge, to, transport, bytes);
        }
    }

    /// From an edge to an address outside.
    pub fn deliver(&mut self, edge: usize, to: SocketAddr, transport: Transport, bytes: Bytes) {
        let lost = self.rng.random_bool(self.loss);
        if lost && !transport.is_reliable() {
            return;
        }
        let wait = if lost { LAG + Duration::from_millis(300) } else { LAG };
        self.push(wait, Event::ToHome { edge, to, transport, bytes });
    }

    fn come_home(&mut self, edge: usize, to: SocketAddr, transport: Transport, bytes: &[u8]) {
        let Some(home) = self.homes.iter().position(|it| it.inside.contains_key(&to)) else { return };
        let Some(flow) = self.inside(home, to) else { return };
        self.translate(home, flow, false);
        let Some(local) = self.homes[home].sockets.get(&flow).map(|socket| socket.local) else { return };
        self.note(home, edge, false, &text(bytes));
        let from = self.provider.edges[edge].address;
        match transport.is_reliable() {
            true => self.handle(home, arrived(transport, flow, bytes)),
            false => self.handle(home, Input::Datagram { flow, local, from, bytes }),
        }
    }

    fn note(&mut self, home: usize, edge: usize, out: bool, what: &str) {
        if self.tracing {
            let arrow = if out { "──▶" } else { "◀──" };
            let host = &self.provider.edges[edge].host;
            let time = self.now.as_secs_f64();
            self.trace.push(format!("{time:10.3}  home{home} {arrow} {host}  {what}"));
        }
    }

    // ── What goes wrong ──

    /// The kernel looks after every connection of a home that may have lost its way.
    fn doubt(&mut self, home: usize) {
        let mut flows: Vec<FlowId> = self.homes[home].sockets.keys().copied().collect();
        flows.sort_by_key(|flow| flow.0);
        for flow in flows {
            if self.homes[home].sockets.get(&flow).is_some_and(|socket| socket.transport.is_reliable()) {
                let wait = Duration::from_secs(self.rng.random_range(KERNEL));
                self.push(wait, Event::Kernel { home, flow });
            }
        }
    }

    pub fn cable(&mut self, home: usize, online: bool) {
        self.homes[home].online = online;
        self.note(home, 0, true, if online { "· the cable is back" } else { "· the cable is out" });
        self.doubt(home);
    }

    /// The router forgets what it translates.
    pub fn flush(&mut self, home: usize) {
        self.homes[home].mappings.clear();
        self.homes[home].inside.clear();
        self.note(home, 0, true, "· the router restarts");
        self.doubt(home);
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
        let of = |home: &Home| home.mappings.len() + home.inside.len() + home.sockets.len();
        self.queue.len() + self.homes.iter().map(of).sum::<usize>()
    }
}

fn address(home: usize, nth: u8) -> IpAddr {
    IpAddr::from([100, 64 + u8::try_from(home / 250).unwrap(), u8::try_from(home % 250).unwrap(), nth])
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

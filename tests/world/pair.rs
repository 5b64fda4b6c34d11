//! Two houses in one world: each its own gateway, and between them a network that loses.
//!
//! Ana's house has no appliance of its own; what it shows hangs on Mum's gateway. Either gateway can be
//! killed and started anew, as another object with another seed that knows nothing of the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance::config::{Config, LinkId};
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::flow::stun;
use sipliance::sip::wire::{Message, Method, write};
use sipliance::sip::{FlowId, Transport};
use sipliance::timer::Now;
use sipliance_driver::Event;

use super::phone::Phone;
use super::plug::Plug;
use super::world::Network;

/// Ana's house, the first.
pub const ANA: usize = 0;
/// Mum's, the second.
pub const MUM: usize = 1;
const WALL_MS: i64 = 1_790_000_000_000;
const LISTEN: FlowId = FlowId(1);

/// One house.
pub struct Node {
    config: Arc<Config>,
    addr: SocketAddr,
    /// `None`: the process is dead.
    pub gateway: Option<Gateway>,
    /// Sockets to peers: flow, our address, theirs, and which upstream.
    sockets: Vec<(FlowId, SocketAddr, SocketAddr, usize)>,
    pub plug: Plug,
}

enum Delivery {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Bytes },
    Opened { node: usize, upstream: usize, peer: SocketAddr },
    Closed { node: usize, flow: FlowId },
    Driver { node: usize, link: LinkId, event: Event },
}

/// See the module.
pub struct Pair {
    seed: u64,
    epoch: Instant,
    pub now: Duration,
    rng: ChaCha8Rng,
    pub network: Network,
    /// A machine whose gateway is dead says so.
    pub unreachable_is_told: bool,
    /// Mum's side knows no DO, as an older gateway.
    pub without_do: bool,
    pub nodes: [Node; 2],
    pub phone: Phone,
    queue: BTreeMap<(Duration, u64), Delivery>,
    serial: u64,
    flows: u64,
    /// Requests between the houses, without repetitions, by method.
    pub between: BTreeMap<String, std::collections::BTreeSet<String>>,
    /// Every SUBSCRIBE between the houses.
    pub subscribes: Vec<String>,
    /// When Ana's gateway sent a STUN request.
    pub stuns: Vec<Duration>,
    /// The last request of each method, byte for byte.
    pub last: BTreeMap<String, Bytes>,
    /// Audit lines and relayed commands of Ana's gateway, in their order.
    pub trace: Vec<String>,
    ladder: Vec<String>,
}

impl Pair {
    pub fn new(seed: u64, ana: Arc<Config>, mum: Arc<Config>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let epoch = super::world::epoch();
        let node = |config: Arc<Config>| Node {
            addr: config.listen[0].addr,
            config,
            gateway: None,
            sockets: Vec::new(),
            plug: Plug::new("plug"),
        };
        let nodes = [node(ana), node(mum)];
        let addr = "198.51.100.1:5060".parse().unwrap();
        let phone = Phone::new(rng.random(), "anna", addr, nodes[ANA].addr, epoch);
        let mut pair = Self {
            seed,
            epoch,
            now: Duration::ZERO,
            rng,
            network: Network::GOOD,
            unreachable_is_told: false,
            without_do: false,
            nodes,
            phone,
            queue: BTreeMap::new(),
            serial: 0,
            flows: 100,
            between: BTreeMap::new(),
            last: BTreeMap::new(),
            subscribes: Vec::new(),
            stuns: Vec::new(),
            trace: Vec::new(),
            ladder: Vec::new(),
        };
        pair.start(MUM);
        pair.start(ANA);
        pair
    }

    /// A fresh process.
    pub fn start(&mut self, node: usize) {
        let (now, seed) = (self.time(), self.rng.random());
        let of = &mut self.nodes[node];
        of.gateway = Some(Gateway::new(of.config.clone(), seed, now));
        self.note(format!("house {node} starts"));
        self.drain(node);
        let has_broker = self.nodes[node].config.links.iter().any(|link| link.title().starts_with("broker"));
        if has_broker {
            let hello: Vec<Event> = std::iter::once(Event::Up).chain(self.nodes[node].plug.hello()).collect();
            for event in hello {
                self.push(1, Delivery::Driver { node, link: LinkId(0), event });
            }
        }
    }

    /// The process is gone, with everything that it knew.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].gateway = None;
        self.nodes[node].sockets.clear();
        self.note(format!("house {node} dies"));
    }

    /// The device of Ana's house in words, as people see it.
    pub fn shown(&self, id: &str) -> String {
        let gateway = self.nodes[ANA].gateway.as_ref().unwrap();
        gateway.house().find(id).unwrap().1.summary(self.time())
    }

    /// Whether Ana's gateway believes that the device is on.
    pub fn believed(&self, id: &str) -> Option<bool> {
        let gateway = self.nodes[ANA].gateway.as_ref().unwrap();
        let (_, device) = gateway.house().find(id).unwrap();
        match device.shadow().believed(0) {
            Some(sipliance::device::value::Value::Bool(on)) => Some(*on),
            _ => None,
        }
    }

    /// Something at the far end of Mum's broker.
    pub fn report(&mut self, channel: &str, payload: &str) {
        let event = Plug::read(channel, payload, false);
        self.input(MUM, Input::Driver { link: LinkId(0), event });
    }

    pub fn broker(&mut self, event: Event) {
        self.input(MUM, Input::Driver { link: LinkId(0), event });
    }

    /// A datagram out of nowhere.
    pub fn inject(&mut self, from: &str, to: SocketAddr, bytes: impl Into<Bytes>) {
        let from = from.parse().unwrap();
        self.push(5, Delivery::Datagram { from, to, bytes: bytes.into() });
    }

    /// Ana's own address towards Mum.
    pub fn ana_to_mum(&self) -> SocketAddr {
        self.nodes[ANA].sockets[0].1
    }

    /// Anna at her phone switches something; the number of the op.
    pub fn switch(&mut self, id: &str, on: bool) -> usize {
        let now = self.mono();
        let op = self.phone.switch(id, on, now);
        self.drain_phone();
        op
    }

    pub fn time(&self) -> Now {
        Now { mono: self.mono(), wall_ms: WALL_MS + i64::try_from(self.now.as_millis()).unwrap() }
    }

    fn mono(&self) -> Instant {
        self.epoch + self.now
    }

    pub fn input(&mut self, node: usize, input: Input<'_>) {
        let now = self.time();
        if let Some(gateway) = &mut self.nodes[node].gateway {
            gateway.handle(input, now);
        }
        self.drain(node);
    }

    pub fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while let Some(at) = self.next().filter(|at| *at <= until) {
            self.now = at;
            self.step();
        }
        self.now = until;
    }

    /// Runs until something holds, and says after how long.
    pub fn run_until(&mut self, longest: Duration, holds: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !holds(self) {
            assert!(self.now - begin < longest, "not within {longest:?}");
            self.run(100);
        }
        self.now - begin
    }

    fn next(&self) -> Option<Duration> {
        let since = |at: Instant| at.saturating_duration_since(self.epoch);
        let packet = self.queue.keys().next().map(|(at, _)| *at);
        let gateways = self.nodes.iter().filter_map(|node| node.gateway.as_ref()?.next_deadline()).map(since);
        let phone = self.phone.next_deadline().map(since);
        packet.into_iter().chain(gateways).chain(phone).min().map(|at| at.max(self.now))
    }

    fn step(&mut self) {
        if let Some(key) = self.queue.keys().next().copied().filter(|(at, _)| *at <= self.now) {
            let delivery = self.queue.remove(&key).unwrap();
            return self.deliver(delivery);
        }
        for node in [ANA, MUM] {
            let due = self.nodes[node].gateway.as_ref().and_then(Gateway::next_deadline);
            if due.is_some_and(|at| at <= self.mono()) {
                self.input(node, Input::Deadline);
            }
        }
        let now = self.mono();
        self.phone.on_deadlines(now);
        self.drain_phone();
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Datagram { from, to, bytes } => self.datagram(from, to, &bytes),
            Delivery::Opened { node, upstream, peer } => {
                self.flows += 1;
                let flow = FlowId(self.flows);
                let port = 40_000 + u16::try_from(self.flows % 10_000).unwrap();
                let local = SocketAddr::new(self.nodes[node].addr.ip(), port);
                if self.nodes[node].gateway.is_none() {
                    return;
                }
                self.nodes[node].sockets.retain(|(.., of)| *of != upstream);
                self.nodes[node].sockets.push((flow, local, peer, upstream));
                let transport = Transport::Udp;
                self.input(node, Input::Opened { flow, transport, local, peer, upstream: Some(upstream) });
            }
            Delivery::Closed { node, flow } => {
                let before = self.nodes[node].sockets.len();
                self.nodes[node].sockets.retain(|(of, ..)| *of != flow);
                if self.nodes[node].sockets.len() < before {
                    self.input(node, Input::Closed { flow, why: "nobody listens there".to_owned() });
                }
            }
            Delivery::Driver { node, link, event } => self.input(node, Input::Driver { link, event }),
        }
    }

    fn datagram(&mut self, from: SocketAddr, to: SocketAddr, bytes: &Bytes) {
        let line = String::from_utf8_lossy(bytes.split(|byte| *byte == b'\r').next().unwrap_or_default());
        self.note(format!("{from} ▶ {to}  {line}"));
        if to == self.phone.hop.local {
            let now = self.mono();
            self.phone.receive(bytes, now);
            return self.drain_phone();
        }
        for node in [ANA, MUM] {
            let of = &self.nodes[node];
            let socket = of.sockets.iter().find(|(_, local, peer, _)| *local == to && *peer == from);
            let flow = if of.addr == to { Some(LISTEN) } else { socket.map(|(flow, ..)| *flow) };
            let Some(flow) = flow else { continue };
            if of.gateway.is_some() {
                return self.input(node, Input::Datagram { flow, local: to, from, bytes });
            }
        }
        if self.unreachable_is_told {
            for node in [ANA, MUM] {
                let sockets = &self.nodes[node].sockets;
                let sender = sockets.iter().find(|(_, local, peer, _)| *local == from && *peer == to);
                if let Some((flow, ..)) = sender {
                    self.push(5, Delivery::Closed { node, flow: *flow });
                }
            }
        }
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].gateway.as_mut().and_then(Gateway::poll) {
            if node == ANA {
                match &output {
                    Output::Audit { line, .. } => self.trace.push(line.clone()),
                    Output::Relay { op, .. } => self.trace.push(format!("{op:?}")),
                    _ => {}
                }
            }
            match output {
                Output::Send { hop, bytes } => self.send(hop.local, hop.peer, bytes),
                Output::Relay { link, op } => self.input(node, Input::Relay { link, op }),
                Output::Drive { link, op } => {
                    for (wait, event) in self.nodes[node].plug.perform(&op, self.now) {
                        let ms = u64::try_from(wait.as_millis()).unwrap();
                        self.push(ms, Delivery::Driver { node, link, event });
                    }
                }
                Output::Connect { upstream, server, .. } => {
                    let peer = server.words().parse().unwrap();
                    self.push(10, Delivery::Opened { node, upstream, peer });
                }
                Output::Close { flow } => self.push(0, Delivery::Closed { node, flow }),
                _ => {}
            }
        }
    }

    pub fn drain_phone(&mut self) {
        while let Some(transmit) = self.phone.transactions.poll_transmit() {
            let hop = self.phone.hop;
            self.push(5, Delivery::Datagram { from: hop.local, to: hop.peer, bytes: transmit.bytes });
        }
    }

    /// The phone's own network is good; between the houses things get lost.
    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Bytes) {
        if to == self.phone.hop.local {
            return self.push(5, Delivery::Datagram { from, to, bytes });
        }
        if from.ip() == self.nodes[ANA].addr.ip() && stun::is_stun(&bytes) {
            self.stuns.push(self.now);
        }
        if let Some((method, id)) = request_of(&bytes) {
            if method == "SUBSCRIBE" {
                self.subscribes.push(String::from_utf8_lossy(&bytes).into_owned());
            }
            self.between.entry(method.clone()).or_default().insert(id);
            self.last.insert(method.clone(), bytes.clone());
            if self.without_do && method == "DO" {
                let message = Message::parse(&bytes).unwrap();
                let mut answer = write::response(&message, 501, "Not Implemented", Some("old"), None);
                answer.field("Allow", &["MESSAGE, SUBSCRIBE"]);
                let bytes = answer.finish().into();
                return self.push(10, Delivery::Datagram { from: to, to: from, bytes });
            }
        }
        if self.rng.random_bool(self.network.loss) {
            return self.note(format!("{from} ▶ {to}  LOST"));
        }
        let copies = 1 + u64::from(self.rng.random_bool(self.network.duplicates));
        for _ in 0..copies {
            let (low, high) = self.network.delay;
            let wait = self.rng.random_range(low..=high);
            self.push(wait, Delivery::Datagram { from, to, bytes: bytes.clone() });
        }
    }

    fn push(&mut self, ms: u64, delivery: Delivery) {
        self.serial += 1;
        self.queue.insert((self.now + Duration::from_millis(ms), self.serial), delivery);
    }

    fn note(&mut self, what: String) {
        self.ladder.push(format!("{:9.3}  {what}", self.now.as_secs_f64()));
    }
}

/// Method and branch of a request.
fn request_of(bytes: &[u8]) -> Option<(String, String)> {
    let message = Message::parse(bytes).ok()?;
    let (method, _): (Method<'_>, _) = message.request()?;
    Some((method.as_str().to_owned(), message.via().ok()?.branch()?.to_owned()))
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let skip = self.ladder.len().saturating_sub(300);
            eprintln!("seed {}\n{}", self.seed, self.ladder[skip..].join("\n"));
        }
    }
}

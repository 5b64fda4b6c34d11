//! A house, its network and its people under a virtual clock, on one thread.
//!
//! [`World::step`] finds what comes first (a packet, a deadline, something scripted), moves the time
//! there and delivers it. Nothing else moves time, nothing sleeps. A world that falls prints its seed
//! and a ladder of every message.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance::config::{Config, LinkId};
use sipliance::gateway::xcap::Answer;
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::wire::{Message, Method, Start};
use sipliance::sip::{FlowId, Hop, Transport};
use sipliance::timer::Now;
use sipliance_driver::{Event, Op};

use super::phone::Phone;
use super::plug::Plug;
use super::provider::{Provider, Reach};

/// What the network does to a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// Shortest and longest way, in milliseconds; a wide range reorders.
    pub delay: (u64, u64),
    pub loss: f64,
    pub duplicates: f64,
}

impl Network {
    pub const GOOD: Self = Self { delay: (5, 5), loss: 0.0, duplicates: 0.0 };
    pub const BAD: Self = Self { delay: (5, 400), loss: 0.2, duplicates: 0.1 };
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// An output of the gateway, as tests look at it.
#[derive(Clone, Debug)]
pub enum Seen {
    Sent(Bytes),
    Drive(Op),
    Audit(String),
    Connect(usize),
    Close,
    Tell,
}

enum Delivery {
    Datagram { flow: FlowId, from: SocketAddr, bytes: Bytes },
    Phone { phone: usize, bytes: Bytes },
    Stranger { to: SocketAddr, bytes: Bytes },
    Provider { flow: FlowId, bytes: Bytes },
    Stream { flow: FlowId, bytes: Bytes },
    PhoneStream { phone: usize, bytes: Bytes },
    Opened { flow: FlowId, transport: Transport, local: SocketAddr, peer: SocketAddr, upstream: usize },
    ConnectFailed { upstream: usize },
    Driver { link: LinkId, event: Event },
}

/// See the module.
pub struct World {
    pub seed: u64,
    epoch: Instant,
    pub now: Duration,
    /// How far the wall clock was set away from the monotonic one, in milliseconds.
    pub wall_off: i64,
    rng: ChaCha8Rng,
    pub gateway: Gateway,
    pub network: Network,
    pub phones: Vec<Phone>,
    pub plug: Plug,
    pub lamp: Plug,
    pub provider: Provider,
    queue: BTreeMap<(Duration, u64), Delivery>,
    serial: u64,
    /// The next packets that way whose text begins so are lost: way, text, how many.
    pub lose: Vec<(Way, &'static str, usize)>,
    /// Packets to addresses that are no phone's.
    pub strays: Vec<(Duration, SocketAddr, Bytes)>,
    pub seen: Vec<(Duration, Seen)>,
    connections: HashMap<FlowId, usize>,
    flows: u64,
    ladder: Vec<String>,
    /// The newest NOTIFY by Call-ID, and whether its answer has not arrived yet.
    outstanding: HashMap<Vec<u8>, (u32, bool)>,
    /// Final statuses by transaction.
    finals: BTreeMap<String, BTreeSet<u16>>,
    quiet: bool,
    /// Answers over HTTP.
    pub answers: Vec<Answer>,
    /// What was handed to the disk.
    pub kept: Vec<(sipliance::gateway::Key, Option<bytes::Bytes>)>,
}

/// Where the gateway listens.
pub const GATEWAY: &str = "192.0.2.1:5060";
const LISTEN: FlowId = FlowId(1);
const WALL_MS: i64 = 1_790_000_000_000;

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, super::home::config(None))
    }

    pub fn with(seed: u64, config: Arc<Config>) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let epoch = epoch();
        let gateway = Gateway::new(config, rng.random(), Now { mono: epoch, wall_ms: WALL_MS });
        let mut world = Self {
            seed,
            epoch,
            now: Duration::ZERO,
            wall_off: 0,
            rng,
            gateway,
            network: Network::GOOD,
            phones: Vec::new(),
            plug: Plug::new("plug"),
            lamp: Plug::new("lamp"),
            provider: Provider::default(),
            queue: BTreeMap::new(),
            serial: 0,
            lose: Vec::new(),
            strays: Vec::new(),
            seen: Vec::new(),
            connections: HashMap::new(),
            flows: 100,
            ladder: Vec::new(),
            outstanding: HashMap::new(),
            finals: BTreeMap::new(),
            quiet: false,
            answers: Vec::new(),
            kept: Vec::new(),
        };
        world.drain();
        let events: Vec<_> =
            std::iter::once(Event::Up).chain(world.plug.hello()).chain(world.lamp.hello()).collect();
        for event in events {
            world.push(Duration::from_millis(1), Delivery::Driver { link: LinkId(0), event });
        }
        world.run(50);
        world
    }

    /// The gateway's process is stopped, and goes on after a while.
    pub fn stand_still(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.handle(Input::Stood);
    }

    /// The gateway is killed, and there again at once: what was under way in it is lost, and the audit lines
    /// are there.
    pub fn kill(&mut self, config: Arc<Config>) {
        self.gateway = Gateway::new(config, self.rng.random(), self.time());
        let lines: Vec<String> = self
            .seen
            .iter()
            .rev()
            .filter_map(|(_, seen)| match seen {
                Seen::Audit(line) => Some(line.clone()),
                _ => None,
            })
            .collect();
        self.gateway.recall(lines.iter().map(String::as_str), self.time());
        self.queue.retain(|_, delivery| !matches!(delivery, Delivery::Driver { .. }));
        self.forgive();
        self.drain();
        self.handle(Input::Driver { link: LinkId(0), event: Event::Up });
    }

    /// A phone of that user, not yet registered.
    pub fn phone(&mut self, user: &str) -> usize {
        let addr = format!("198.51.100.{}:5060", self.phones.len() + 1).parse().unwrap();
        let phone = Phone::new(self.rng.random(), user, addr, GATEWAY.parse().unwrap(), self.epoch);
        self.phones.push(phone);
        self.phones.len() - 1
    }

    /// A phone on a connection of its own.
    pub fn tcp_phone(&mut self, user: &str) -> usize {
        self.phone_over(user, Transport::Tcp)
    }

    /// The same over any transport.
    pub fn phone_over(&mut self, user: &str, transport: Transport) -> usize {
        let phone = self.phone(user);
        if transport != Transport::Udp {
            self.connect_over(phone, transport);
        }
        phone
    }

    /// Opens a (new) connection of a phone.
    pub fn connect(&mut self, phone: usize) -> FlowId {
        self.connect_over(phone, Transport::Tcp)
    }

    fn connect_over(&mut self, phone: usize, transport: Transport) -> FlowId {
        self.flows += 1;
        let flow = FlowId(self.flows);
        let at = &mut self.phones[phone];
        at.hop = Hop { flow, transport, ..at.hop };
        at.framer = Default::default();
        let peer = at.hop.local;
        self.connections.insert(flow, phone);
        let local = GATEWAY.parse().unwrap();
        self.handle(Input::Opened { flow, transport, local, peer, upstream: None });
        flow
    }

    /// The connection of a phone breaks.
    pub fn cut(&mut self, phone: usize) {
        let flow = self.phones[phone].hop.flow;
        self.close(flow);
    }

    fn close(&mut self, flow: FlowId) {
        if self.connections.remove(&flow).is_some() || self.provider.flow == Some(flow) {
            if self.provider.flow == Some(flow) {
                self.provider.flow = None;
            }
            // What was under way on a connection is over with it.
            self.forgive();
            self.handle(Input::Closed { flow, why: "the peer closed it".to_owned() });
        }
    }

    /// A NOTIFY that is on its way to where nobody lives any more may be overtaken.
    pub fn forgive(&mut self) {
        self.outstanding.values_mut().for_each(|(_, open)| *open = false);
    }

    /// The connection of a phone carries nothing any more, and nobody says so.
    pub fn forget_connection(&mut self, phone: usize) -> FlowId {
        let flow = self.phones[phone].hop.flow;
        self.connections.remove(&flow);
        flow
    }

    /// The flow to the provider breaks.
    pub fn cut_provider(&mut self) {
        let flow = self.provider.flow.expect("there is a flow");
        self.close(flow);
    }

    /// The monotonic time.
    pub fn mono(&self) -> Instant {
        self.epoch + self.now
    }

    pub fn time(&self) -> Now {
        let ms = i64::try_from(self.now.as_millis()).unwrap();
        Now { mono: self.mono(), wall_ms: WALL_MS + ms + self.wall_off }
    }

    /// Lets a person at a phone do something, and carries it out.
    pub fn at<T>(&mut self, phone: usize, act: impl FnOnce(&mut Phone, Instant) -> T) -> T {
        let now = self.mono();
        let result = act(&mut self.phones[phone], now);
        self.drain_phone(phone);
        result
    }

    /// The appliance says something.
    pub fn report(&mut self, channel: &str, payload: &str) {
        let event = Plug::read(channel, payload, false);
        self.handle(Input::Driver { link: LinkId(0), event });
    }

    /// A datagram from anywhere.
    pub fn inject(&mut self, from: SocketAddr, bytes: impl Into<Bytes>) {
        self.push(
            self.now + Duration::from_millis(1),
            Delivery::Datagram { flow: LISTEN, from, bytes: bytes.into() },
        );
    }

    /// Bytes on the connection of a phone, as they are.
    pub fn write(&mut self, phone: usize, bytes: &[u8]) {
        let Hop { flow, transport, .. } = self.phones[phone].hop;
        self.handle(arrived(transport, flow, bytes));
    }

    pub fn handle(&mut self, input: Input<'_>) {
        let now = self.time();
        self.gateway.handle(input, now);
        self.drain();
    }

    /// Runs for so many milliseconds.
    pub fn run(&mut self, ms: u64) {
        let until = self.now + Duration::from_millis(ms);
        while self.next().is_some_and(|at| at <= until) {
            self.step();
        }
        self.now = until;
    }

    fn next(&self) -> Option<Duration> {
        let since = |at: Instant| at.saturating_duration_since(self.epoch);
        let packet = self.queue.keys().next().map(|(at, _)| *at);
        let gateway = self.gateway.next_deadline().map(since);
        let phones = self.phones.iter().filter_map(Phone::next_deadline).map(since).min();
        [packet, gateway, phones].into_iter().flatten().min().map(|at| at.max(self.now))
    }

    fn step(&mut self) {
        let Some(at) = self.next() else { return };
        self.now = at;
        if let Some(key) = self.queue.keys().next().copied().filter(|(due, _)| *due <= at) {
            if let Some(delivery) = self.queue.remove(&key) {
                self.deliver(delivery);
            }
            return;
        }
        if self.gateway.next_deadline().is_some_and(|due| due <= self.mono()) {
            self.handle(Input::Deadline);
            assert!(
                self.gateway.next_deadline().is_none_or(|due| due > self.mono()),
                "a deadline that has passed remains set"
            );
        }
        for phone in 0..self.phones.len() {
            let now = self.mono();
            self.phones[phone].on_deadlines(now);
            self.drain_phone(phone);
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.mono();
        match delivery {
            Delivery::Datagram { flow, from, bytes } => {
                self.note(Way::In, from, &bytes, "");
                self.watch_answer(&bytes);
                let local = GATEWAY.parse().unwrap();
                self.handle(Input::Datagram { flow, local, from, bytes: &bytes });
            }
            Delivery::Stream { flow, bytes } => {
                let phone = self.connections.get(&flow).map(|phone| self.phones[*phone].hop.transport);
                let provider = (self.provider.flow == Some(flow)).then_some(self.provider.transport);
                if let Some(transport) = phone.or(provider) {
                    self.watch_answer(&bytes);
                    self.handle(arrived(transport, flow, &bytes));
                }
            }
            Delivery::Phone { phone, bytes } => {
                self.note(Way::Out, self.phones[phone].hop.local, &bytes, "");
                self.phones[phone].receive(&bytes, now);
                self.drain_phone(phone);
            }
            Delivery::PhoneStream { phone, bytes } => {
                self.note(Way::Out, self.phones[phone].hop.local, &bytes, " (stream)");
                self.phones[phone].receive_stream(&bytes, now);
                self.drain_phone(phone);
            }
            Delivery::Stranger { to, bytes } => {
                self.note(Way::Out, to, &bytes, " (stray)");
                self.strays.push((self.now, to, bytes));
            }
            Delivery::Provider { flow, bytes } => {
                self.note(Way::Out, self.provider.addr(), &bytes, "");
                for answer in self.provider.receive(&bytes, self.now) {
                    let at = self.now + Duration::from_millis(20);
                    let from = self.provider.addr();
                    let delivery = match self.provider.transport {
                        Transport::Udp => Delivery::Datagram { flow, from, bytes: answer },
                        _ => Delivery::Stream { flow, bytes: answer },
                    };
                    self.push(at, delivery);
                }
            }
            Delivery::Opened { flow, transport, local, peer, upstream } => {
                self.provider.flow = Some(flow);
                self.handle(Input::Opened { flow, transport, local, peer, upstream: Some(upstream) });
            }
            Delivery::ConnectFailed { upstream } => {
                self.handle(Input::ConnectFailed {
                    upstream,
                    why: "nobody listens there".to_owned(),
                    met: false,
                });
            }
            Delivery::Driver { link, event } => {
                self.ladder.push(format!("{:9.3}  driver ▶ gateway  {event:?}", self.now.as_secs_f64()));
                self.handle(Input::Driver { link, event });
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll() {
            let seen = match &output {
                Output::Send { bytes, .. } => Seen::Sent(bytes.clone()),
                Output::Drive { op, .. } | Output::Relay { op, .. } => Seen::Drive(op.clone()),
                Output::Audit { line, .. } => Seen::Audit(line.clone()),
                Output::Connect { upstream, .. } => Seen::Connect(*upstream),
                Output::Close { .. } => Seen::Close,
                Output::Tell(_) | Output::Keep { .. } | Output::Answer { .. } => Seen::Tell,
            };
            self.seen.push((self.now, seen));
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Send { hop, bytes } => self.send(hop, bytes),
            Output::Drive { link, op } => {
                self.ladder.push(format!("{:9.3}  gateway ▶ driver  {op:?}", self.now.as_secs_f64()));
                let plug = if self.plug.owns(&op) { &mut self.plug } else { &mut self.lamp };
                for (wait, event) in plug.perform(&op, self.now) {
                    self.push(self.now + wait, Delivery::Driver { link, event });
                }
            }
            Output::Relay { link, op } => self.handle(Input::Relay { link, op }),
            Output::Connect { upstream, server, .. } => {
                self.connect_provider(upstream, server.transport.unwrap_or(Transport::Udp))
            }
            Output::Close { flow } => {
                // What was sent before leaves first.
                self.connections.remove(&flow);
                self.handle(Input::Closed { flow, why: "we closed it".to_owned() });
            }
            Output::Answer { answer, .. } => self.answers.push(answer),
            Output::Keep { key, body } => self.kept.push((key, body)),
            Output::Audit { .. } | Output::Tell(_) => {}
        }
    }

    fn connect_provider(&mut self, upstream: usize, transport: Transport) {
        let at = self.now + Duration::from_millis(100);
        match self.provider.reach {
            Reach::Open => {
                self.flows += 1;
                self.provider.transport = transport;
                let local = format!("192.0.2.1:{}", 40_000 + self.flows % 1000).parse().unwrap();
                let peer = self.provider.addr();
                self.push(
                    at,
                    Delivery::Opened { flow: FlowId(self.flows), transport, local, peer, upstream },
                );
            }
            Reach::Refused => self.push(at, Delivery::ConnectFailed { upstream }),
        }
    }

    fn send(&mut self, hop: Hop, bytes: Bytes) {
        self.record_final(&bytes);
        self.watch_notify(&bytes);
        if Some(hop.flow) == self.provider.flow {
            let at = self.now + Duration::from_millis(20);
            return self.push(at, Delivery::Provider { flow: hop.flow, bytes });
        }
        if hop.transport != Transport::Udp {
            if let Some(phone) = self.connections.get(&hop.flow).copied() {
                self.push(self.now + Duration::from_millis(5), Delivery::PhoneStream { phone, bytes });
            }
            return;
        }
        let phone =
            self.phones.iter().position(|it| it.hop.local == hop.peer && it.hop.transport == Transport::Udp);
        for at in self.passes(Way::Out, hop.peer, &bytes) {
            let bytes = bytes.clone();
            let delivery = match phone {
                Some(phone) => Delivery::Phone { phone, bytes },
                None => Delivery::Stranger { to: hop.peer, bytes },
            };
            self.push(at, delivery);
        }
    }

    fn drain_phone(&mut self, phone: usize) {
        while let Some(transmit) = self.phones[phone].transactions.poll_transmit() {
            let (hop, bytes) = (self.phones[phone].hop, transmit.bytes);
            if hop.transport != Transport::Udp {
                self.note(Way::In, hop.local, &bytes, " (stream)");
                self.push(self.now + Duration::from_millis(5), Delivery::Stream { flow: hop.flow, bytes });
                continue;
            }
            for at in self.passes(Way::In, hop.local, &bytes) {
                self.push(at, Delivery::Datagram { flow: LISTEN, from: hop.local, bytes: bytes.clone() });
            }
        }
    }

    /// When the copies of a datagram arrive.
    fn passes(&mut self, way: Way, peer: SocketAddr, bytes: &Bytes) -> Vec<Duration> {
        let rule = self
            .lose
            .iter_mut()
            .find(|(of, text, times)| *of == way && *times > 0 && bytes.starts_with(text.as_bytes()));
        let lost = rule.is_some_and(|(.., times)| {
            *times -= 1;
            true
        });
        if lost || self.rng.random_bool(self.network.loss) {
            self.note(way, peer, bytes, " LOST");
            return Vec::new();
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.network.duplicates));
        let (low, high) = self.network.delay;
        (0..copies).map(|_| self.now + Duration::from_millis(self.rng.random_range(low..=high))).collect()
    }

    fn push(&mut self, at: Duration, delivery: Delivery) {
        self.serial += 1;
        self.queue.insert((at, self.serial), delivery);
    }

    /// In every world: a subscription has one NOTIFY outstanding at most, and its CSeq rises.
    fn watch_notify(&mut self, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes) else { return };
        if message.request().is_some_and(|(method, _)| method == Method::Notify) {
            let (call_id, number) = (message.call_id().unwrap(), message.cseq().unwrap().number);
            let (newest, open) = self.outstanding.entry(call_id.to_vec()).or_default();
            assert!(!*open || number <= *newest, "NOTIFY {number} while {newest} is unanswered");
            *open |= number > *newest;
            *newest = number.max(*newest);
        }
    }

    fn watch_answer(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else { return };
        let Start::Response { status: 200.., .. } = message.start else { return };
        let (Some(call_id), Some(cseq)) = (message.call_id(), message.cseq()) else { return };
        if let Some((newest, open)) = self.outstanding.get_mut(call_id)
            && cseq.method == "NOTIFY"
            && *newest == cseq.number
        {
            *open = false;
        }
    }

    /// Every answer to the same transaction says the same.
    fn record_final(&mut self, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes) else { return };
        let Start::Response { status: 200.., .. } = message.start else { return };
        let Start::Response { status, .. } = message.start else { return };
        let (Ok(via), Some(cseq)) = (message.via(), message.cseq()) else { return };
        let key = format!("{} {} {}", via.branch().unwrap_or_default(), cseq.number, cseq.method);
        self.finals.entry(key).or_default().insert(status);
    }

    /// Transactions that were answered in two ways.
    pub fn contradictions(&self) -> Vec<String> {
        self.finals
            .iter()
            .filter(|(_, statuses)| statuses.len() > 1)
            .map(|(key, statuses)| format!("{key}: {statuses:?}"))
            .collect()
    }

    fn note(&mut self, way: Way, peer: SocketAddr, bytes: &[u8], more: &str) {
        if self.quiet {
            return;
        }
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let cseq = Message::parse(bytes).ok().and_then(|message| {
            let cseq = message.cseq()?;
            let response = message.request().is_none();
            Some(if response {
                format!("  [{} {}]", cseq.number, cseq.method)
            } else {
                format!("  [{}]", cseq.number)
            })
        });
        let arrow = if way == Way::In { "▶ gateway" } else { "◀ gateway" };
        self.ladder.push(format!(
            "{:9.3}  {peer} {arrow}{more}  {}{}",
            self.now.as_secs_f64(),
            String::from_utf8_lossy(line),
            cseq.unwrap_or_default()
        ));
    }

    /// Requests of a method that the gateway sent, with their times.
    pub fn sent(&self, method: Method<'_>) -> Vec<(Duration, Bytes)> {
        let of = |bytes: &Bytes| {
            Message::parse(bytes)
                .ok()
                .and_then(|message| message.request())
                .is_some_and(|(it, _)| it == method)
        };
        self.seen
            .iter()
            .filter_map(|(at, seen)| match seen {
                Seen::Sent(bytes) if of(bytes) => Some((*at, bytes.clone())),
                _ => None,
            })
            .collect()
    }

    /// All outputs with their times, byte for byte.
    pub fn transcript(&self) -> String {
        let mut text = String::new();
        for (at, seen) in &self.seen {
            writeln!(text, "{at:?} {seen:?}").unwrap();
        }
        text
    }

    pub fn ladder(&self) -> String {
        let skip = self.ladder.len().saturating_sub(400);
        self.ladder[skip..].join("\n")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {}\n{}", self.seed, self.ladder());
        }
    }
}

/// Where virtual time begins: the only look at a clock, since an `Instant` cannot be made.
pub fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

/// What the shell makes of bytes on a connection: a WebSocket keeps messages apart.
pub fn arrived(transport: Transport, flow: FlowId, bytes: &[u8]) -> Input<'_> {
    match transport.is_web() || transport == Transport::Quic {
        true => Input::Frame { flow, bytes },
        false => Input::Stream { flow, bytes },
    }
}

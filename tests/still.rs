//! No relay moves by itself: over every shipped profile that can move something, whatever happens to the
//! gateway, its files, its brokers and its ports.
#![allow(missing_docs, reason = "the tests of a program have no readers of documentation")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance::config::fault::Faults;
use sipliance::config::home::{Profiles, from_text};
use sipliance::config::{Config, DeviceConfig, DeviceId, Link, LinkId, LinkSettings};
use sipliance::device::command::Order;
use sipliance::device::fixture;
use sipliance::device::house::{Effect, House};
use sipliance::device::profile::{LinkNeeds, Model, Profile, Stimulus, Target};
use sipliance::device::shipped::SHIPPED;
use sipliance::device::value::{Kind, Value};
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::timer::Now;
use sipliance_driver::{Channel, Event, Failure, Op, OpId, Why};

type Said = (Channel, Bytes);

/// A profile that can move something, with what it may ask by itself, and what moves it.
struct Mover {
    id: &'static str,
    profile: Profile,
    queries: HashSet<Said>,
    commands: Vec<Said>,
}

fn movers() -> Vec<Mover> {
    let reads = |(id, text): &(&'static str, &str)| {
        let profile = fixture::read(text, &mut Faults::default())?;
        let model = profile.example.clone();
        let moves =
            model.properties.iter().any(|property| property.write.is_some()) || !model.actions.is_empty();
        // What hangs on another gateway is moved by that one.
        let here = !matches!(model.link, LinkNeeds::Sip(_));
        let (queries, commands) = (queries(&model), commands(&profile, &model));
        (moves && here).then_some(Mover { id, profile, queries, commands })
    };
    SHIPPED.iter().filter_map(reads).collect()
}

/// What a profile asks: its hello, and what its reads are asked by.
fn queries(model: &Model) -> HashSet<Said> {
    let reads = model.properties.iter().flat_map(|property| property.reads.iter().chain(&property.target));
    let asked: Vec<_> = reads.filter_map(|read| read.source.query()).map(|(query, _)| query).collect();
    let mut known: HashSet<Said> = asked.into_iter().map(|query| (query.channel, query.payload)).collect();
    match &model.link {
        LinkNeeds::Mqtt { hello } => known.extend(hello.iter().filter_map(|write| match &write.target {
            Target::Topic(topic, text) => {
                Some((topic.clone(), text.fill(|_| Err(())).ok()?.as_bytes().to_vec().into()))
            }
            _ => None,
        })),
        LinkNeeds::Serial(needs) => {
            known.extend(needs.hello.iter().map(|ask| (Channel::new("serial"), ask.clone())));
        }
        _ => {}
    }
    known
}

/// What goes over the wire when somebody orders something: of everything that can be, as far as nothing
/// forbids it.
fn commands(profile: &Profile, model: &Arc<Model>) -> Vec<Said> {
    let mut orders: Vec<Order> = Vec::new();
    for property in model.properties.iter().filter(|property| property.write.is_some()) {
        let values = match &property.kind {
            Kind::Bool => vec![Value::Bool(true), Value::Bool(false)],
            Kind::Enum(words) => words.iter().map(|word| Value::Text(word.clone())).collect(),
            _ => Vec::new(),
        };
        orders.extend(values.into_iter().map(|value| Order::Set { property: property.id.clone(), value }));
    }
    orders
        .extend(model.actions.iter().map(|action| Order::Do { action: action.id.clone(), args: Vec::new() }));
    orders.extend(profile.cases.iter().filter_map(|case| match &case.stimulus {
        Stimulus::Order(order) => Some(order.clone()),
        _ => None,
    }));
    let mut sent = Vec::new();
    for order in orders {
        let mut house = House::of(&[device("x", model, 0)], 1, start());
        house.driver(LinkId(0), Event::Up, start());
        while house.poll().is_some() {}
        if house.order(DeviceId(0), order, start()).is_ok() {
            while let Some(effect) = house.poll() {
                if let Effect::Drive { op, .. } = effect {
                    sent.extend(op.id().map(|_| said(&op)));
                }
            }
        }
    }
    sent
}

fn said(op: &Op) -> Said {
    let payload = match op {
        Op::Write { payload, .. } | Op::Ask { payload, .. } => payload.clone(),
        Op::Pulse { .. } => Bytes::from_static(b"1"),
        _ => Bytes::new(),
    };
    (op.channel().clone(), payload)
}

fn start() -> Now {
    Now { mono: Instant::now(), wall_ms: 1_790_000_000_000 }
}

fn device(id: &str, model: &Arc<Model>, link: usize) -> DeviceConfig {
    DeviceConfig {
        id: id.to_owned(),
        name: id.to_owned(),
        room: None,
        numbers: Vec::new(),
        model: model.clone(),
        link: LinkId(link),
        naming: Default::default(),
    }
}

/// A house of these, each on a link of its own, in this order.
fn config(movers: &[Mover], order: &[usize]) -> Arc<Config> {
    let text = "format: 1\nlisten: [udp:192.0.2.1:5060]\nmqtt: {main: {host: localhost}}\n\
        devices: {x: {profile: tasmota-plug, params: {topic: x}}}\n";
    let (config, reports) = from_text(std::path::Path::new("home.yaml"), text, "", &Profiles::shipped());
    assert!(config.is_some(), "{reports:#?}");
    let mut config = config.unwrap_or_else(|| unreachable!());
    let all = order.iter().filter_map(|at| movers.get(*at));
    config.devices =
        all.clone().enumerate().map(|(link, mover)| device(mover.id, &mover.profile.example, link)).collect();
    config.links = all.map(|mover| Link { name: mover.id.to_owned(), settings: LinkSettings::Sim }).collect();
    Arc::new(config)
}

/// A gateway under everything that can happen to it.
struct Life<'m> {
    movers: &'m [Mover],
    seed: u64,
    random: ChaCha8Rng,
    order: Vec<usize>,
    gateway: Gateway,
    now: Now,
    open: Vec<(LinkId, OpId, Channel)>,
    steps: Vec<String>,
    asked: usize,
}

impl<'m> Life<'m> {
    fn new(movers: &'m [Mover], seed: u64) -> Self {
        let order: Vec<usize> = (0..movers.len()).collect();
        let now = start();
        let gateway = Gateway::new(config(movers, &order), [7; 32], now);
        let random = ChaCha8Rng::seed_from_u64(seed);
        let (open, steps) = (Vec::new(), Vec::new());
        let mut life = Self { movers, seed, random, order, gateway, now, open, steps, asked: 0 };
        life.drain();
        life
    }

    fn mover(&self, link: LinkId) -> &'m Mover {
        let mover = self.order.get(link.0).and_then(|at| self.movers.get(*at));
        mover.unwrap_or_else(|| unreachable!("there are as many links"))
    }

    /// What the gateway wants of its drivers: to watch, to ask what its profile asks, and nothing else.
    fn drain(&mut self) {
        while let Some(output) = self.gateway.poll() {
            let Output::Drive { link, op } = output else { continue };
            let mover = self.mover(link);
            let Some(id) = op.id() else { continue };
            let known = !matches!(op, Op::Pulse { .. }) && mover.queries.contains(&said(&op));
            let steps = self.steps.iter().rev().take(12).rev().cloned().collect::<Vec<_>>().join("\n  ");
            assert!(known, "seed {}: {} is moved by {op:?} after\n  {steps}", self.seed, mover.id);
            self.asked += 1;
            self.open.push((link, id, op.channel().clone()));
        }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.gateway.handle(input, self.now);
        self.drain();
    }

    fn driver(&mut self, link: LinkId, event: Event) {
        self.handle(Input::Driver { link, event });
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        let mut turns = 0;
        while let Some(at) = self.gateway.next_deadline().filter(|at| *at <= end) {
            let at = at.max(self.now.mono);
            let ms = i64::try_from((at - self.now.mono).as_millis()).unwrap_or(0);
            self.now = Now { mono: at, wall_ms: self.now.wall_ms + ms };
            self.handle(Input::Deadline);
            turns += 1;
            if turns > 500 {
                break;
            }
        }
        let left = i64::try_from((end - self.now.mono.min(end)).as_millis()).unwrap_or(0);
        self.now = Now { mono: end.max(self.now.mono), wall_ms: self.now.wall_ms + left };
    }

    /// Something that a wire may carry: states and commands that the profile's tests know, and rubbish.
    fn payload(&mut self, mover: &Mover) -> Said {
        let mut known: Vec<Said> = mover.commands.clone();
        for case in &mover.profile.cases {
            match &case.stimulus {
                Stimulus::Mqtt { topic, payload, .. } => {
                    known.push((Channel::new(topic), payload.clone().into()))
                }
                Stimulus::Rx(text) | Stimulus::Telegram(text) => {
                    known.push((Channel::new("serial"), text.clone().into()));
                }
                Stimulus::Files(files) => {
                    known.extend(files.iter().map(|(file, text)| (Channel::new(file), text.clone().into())));
                }
                _ => {}
            }
        }
        if let LinkNeeds::Gpio(lines) = &mover.profile.example.link {
            let level = Bytes::from_static(if self.random.random() { b"1" } else { b"0" });
            known.extend(lines.iter().map(|line| (Channel::new(&line.name), level.clone())));
        }
        known.extend(
            mover.queries.iter().map(|(channel, _)| (channel.clone(), Bytes::from_static(&[0xff; 64]))),
        );
        let nothing = || (Channel::new("nothing"), Bytes::new());
        let (channel, payload) = known.choose(&mut self.random).cloned().unwrap_or_else(nothing);
        match self.random.random_range(0..6) {
            0 => (channel, Bytes::from_static(b"ON")),
            1 => (channel, Bytes::from_static(&[0xff; 250])),
            _ => (channel, payload),
        }
    }

    fn step(&mut self) {
        let links = self.order.len();
        let link = LinkId(self.random.random_range(0..links));
        let choice = self.random.random_range(0..100);
        self.steps.push(format!("{choice} at {}", self.mover(link).id));
        match choice {
            0..15 => self.driver(link, Event::Up),
            15..22 => self.driver(link, Event::Down(Why::new("pulled out"))),
            22..60 => {
                let mover = self.mover(link);
                let (channel, payload) = self.payload(mover);
                let retained = self.random.random();
                self.driver(link, Event::Read { channel, payload, retained });
            }
            60..80 => {
                if self.open.is_empty() {
                    return;
                }
                let at = self.random.random_range(0..self.open.len());
                let (link, id, channel) = self.open.swap_remove(at);
                let result = match self.random.random_range(0..6) {
                    0 => Err(Failure::Timeout),
                    1 => Err(Failure::Broken),
                    2 => Err(Failure::Refused("exception 2".to_owned())),
                    3 => Err(Failure::NotConnected),
                    _ => Ok(()),
                };
                if result.is_ok() {
                    let payload = Bytes::from_static(&[0xff; 250]);
                    self.driver(link, Event::Read { channel, payload, retained: false });
                }
                self.driver(link, Event::Done { id, result });
            }
            80..88 => {
                let time = Duration::from_millis(self.random.random_range(1..30_000));
                self.pass(time);
            }
            88..90 => self.pass(Duration::from_secs(3600)),
            90..92 => self.now.wall_ms += self.random.random_range(-86_400_000..86_400_000),
            92..96 => self.reload(),
            96..98 => self.again(),
            _ => {
                self.handle(Input::Shutdown);
                self.pass(Duration::from_secs(40));
                self.again();
            }
        }
    }

    /// The file is read again: as it was, in another order, with appliances gone or back.
    fn reload(&mut self) {
        let before = self.order.clone();
        let mut order: Vec<usize> =
            (0..self.movers.len()).filter(|_| self.random.random_ratio(7, 8)).collect();
        if order.is_empty() || self.random.random_ratio(1, 3) {
            order = before.clone();
        }
        for at in 0..order.len() {
            let other = self.random.random_range(0..order.len());
            order.swap(at, other);
        }
        let config = config(self.movers, &order);
        self.order = order;
        let place = |link: LinkId| {
            let mover = before.get(link.0)?;
            self.order.iter().position(|other| other == mover).map(LinkId)
        };
        self.open = std::mem::take(&mut self.open)
            .into_iter()
            .filter_map(|(link, id, channel)| Some((place(link)?, id, channel)))
            .collect();
        self.handle(Input::Reload(config));
    }

    /// It died, and is started anew: without a goodbye, and with drivers that say what they always say.
    fn again(&mut self) {
        let seed = self.random.random();
        self.gateway = Gateway::new(config(self.movers, &self.order), seed, self.now);
        self.open.clear();
        self.drain();
    }
}

#[test]
fn nothing_moves_whatever_happens() {
    let movers = movers();
    assert!(movers.len() >= 20, "{}", movers.len());
    let begin: u64 = rand::random();
    let mut asked = 0;
    for seed in (0..12).chain((0..12).map(|nth| begin.wrapping_add(nth))) {
        let mut life = Life::new(&movers, seed);
        for _ in 0..600 {
            life.step();
        }
        asked += life.asked;
    }
    assert!(asked > 1_000, "the gateway lived: it asked {asked} times");
}

/// What the test above would let through as a question moves nothing, and what moves something would be
/// found out.
#[test]
fn every_command_is_told_from_a_question() {
    let mut told = 0;
    for mover in movers() {
        for command in &mover.commands {
            assert!(!mover.queries.contains(command), "{}: {command:?} is a question, too", mover.id);
            told += 1;
        }
    }
    assert!(told >= 40, "{told} commands");
}

//! Every shipped profile against its own mirror: one device, a house, a simulated wire, and virtual time.
//! It becomes known, does what it is told, and under every fault nothing is believed that is not so.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sipliance::config::home::{Profiles, from_text};
use sipliance::config::{Config, DeviceId, LinkId};
use sipliance::device::command::{Order, Outcome, Refusal};
use sipliance::device::fixture;
use sipliance::device::house::{Effect, House};
use sipliance::device::profile::{Arg, LinkNeeds, Model, Online, Profile, Property, Target};
use sipliance::device::shadow::Health;
use sipliance::device::shipped::SHIPPED;
use sipliance::device::value::{Kind, Value};
use sipliance::io::pretend::{Life, Stage};
use sipliance::timer::Now;
use sipliance_driver::Op;
use sipliance_driver_sim::{Fault, Wire};

const LINK: LinkId = LinkId(0);
const DEVICE: DeviceId = DeviceId(0);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A home file with one device of a profile.
fn home(profile: &Profile) -> Config {
    let params = profile
        .params
        .iter()
        .filter_map(|param| param.example.as_ref().map(|example| format!("{}: \"{example}\"", param.name)));
    let params: Vec<String> = params.collect();
    let rest = match &profile.example.link {
        LinkNeeds::Sip(_) => "remote: sip:it@mum.example\n    via: mum\n".to_owned(),
        _ => format!("params: {{{}}}\n", params.join(", ")),
    };
    let text = format!(
        "format: 1
mqtt: {{main: {{host: broker.example}}}}
serial: {{main: {{port: /dev/none}}}}
peers: {{mum: {{server: mum.example, user: us, password: {{secret: mum}}}}}}
devices:
  it:
    profile: {}
    {rest}",
        profile.id,
    );
    let (config, reports) = from_text(Path::new("home.yaml"), &text, "mum: a-good-one", &Profiles::shipped());
    config.unwrap_or_else(|| panic!("{}: {reports:#?}", profile.id))
}

struct Bench {
    id: String,
    model: Arc<Model>,
    house: House,
    wire: Wire,
    began: Instant,
    now: Duration,
    finished: Vec<Outcome>,
    happened: Vec<(Arc<str>, Arc<str>)>,
    /// What was moved though nobody gave a command.
    unasked: Vec<Op>,
    ordered: bool,
}

impl Bench {
    fn new(profile: &Profile) -> Self {
        let mut config = home(profile);
        let stage = Stage::set(&mut config, Life { seed: 5, speed: 1 });
        let mut wire = stage.wire(LINK).wire;
        wire.begin(Duration::ZERO);
        let began = Instant::now();
        let at = Now { mono: began, wall_ms: 1_770_000_000_000 };
        Self {
            id: profile.id.to_string(),
            model: config.devices[0].model.clone(),
            house: House::of(&config.devices, config.links.len(), at),
            wire,
            began,
            now: Duration::ZERO,
            finished: Vec::new(),
            happened: Vec::new(),
            unasked: Vec::new(),
            ordered: false,
        }
    }

    fn at(&self) -> Now {
        let ms = i64::try_from(self.now.as_millis()).expect("a short life");
        Now { mono: self.began + self.now, wall_ms: 1_770_000_000_000 + ms }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let due = self.house.next_deadline().map(|at| at.saturating_duration_since(self.began));
            let next = [due, self.wire.next()].into_iter().flatten().min().filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = next.max(self.now);
            self.wire.tick(self.now);
            let at = self.at();
            self.house.tick(at);
        }
        self.now = end;
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(effect) = self.house.poll() {
                match effect {
                    Effect::Drive { op, .. } => {
                        if !self.ordered && !self.harmless(&op) {
                            self.unasked.push(op.clone());
                        }
                        self.wire.op(op, self.now);
                    }
                    Effect::Finished { outcome, .. } => self.finished.push(outcome),
                    Effect::Happened { event, value, .. } => self.happened.push((event, value)),
                    Effect::Changed { .. } | Effect::Unread { .. } => {}
                }
            }
            let Some(event) = self.wire.poll(self.now) else { break };
            let at = self.at();
            self.house.driver(LINK, event, at);
        }
    }

    /// A watch, a query of the profile, or its greeting.
    fn harmless(&self, op: &Op) -> bool {
        match (op, &self.model.link) {
            (Op::Watch { .. }, _) => true,
            (Op::Write { channel, payload, .. }, LinkNeeds::Mqtt { hello }) => hello.iter().any(|write| {
                let Target::Topic(to, text) = &write.target else { return false };
                let text = text.fill(|_| Err::<String, ()>(()));
                to == channel && text.is_ok_and(|text| *payload == text.as_bytes())
            }),
            (Op::Ask { channel, payload, .. }, link) => {
                let hello = matches!(link, LinkNeeds::Serial(needs) if needs.hello.contains(payload));
                let reads = self.model.properties.iter().flat_map(|of| of.reads.iter().chain(&of.target));
                let mut queries = reads.filter_map(|read| read.source.query());
                hello || queries.any(|(query, _)| query.channel == *channel && query.payload == *payload)
            }
            _ => false,
        }
    }

    fn health(&self) -> (bool, Health) {
        let shadow = self.house.device(DEVICE).expect("it is there").shadow();
        (shadow.link_up(), shadow.health())
    }

    fn values(&self) -> Vec<Option<Value>> {
        let shadow = self.house.device(DEVICE).expect("it is there").shadow();
        let value = |index| shadow.reading(index).map(|reading| reading.value.clone());
        (0..self.model.properties.len()).map(value).collect()
    }

    fn believed(&self, property: usize) -> Option<Value> {
        self.house.device(DEVICE).expect("it is there").shadow().believed(property).cloned()
    }

    /// Gives a command; what came of it, and how it ended in the end.
    fn order(&mut self, order: Order) -> Result<Outcome, Refusal> {
        self.finished.clear();
        self.ordered = true;
        let at = self.at();
        let taken = self.house.order(DEVICE, order, at);
        self.pass(100 * SECOND);
        self.ordered = false;
        taken?;
        assert_eq!(self.finished.len(), 1, "{}: one outcome: {:?}", self.id, self.finished);
        Ok(self.finished.remove(0))
    }

    /// Everything is known, and nothing is in doubt.
    fn is_well(&self, when: &str) {
        assert_eq!(self.health(), (true, Health::Online), "{} {when}", self.id);
        for (index, property) in self.model.properties.iter().enumerate() {
            assert!(self.believed(index).is_some(), "{}.{} is not known {when}", self.id, property.id);
        }
    }

    /// Nothing was moved that nobody asked for.
    fn moved_nothing(&self, when: &str) {
        assert!(self.unasked.is_empty(), "{} {when}: {:?}", self.id, self.unasked);
    }
}

fn profiles() -> Vec<Profile> {
    let read = |(_, text): &(&str, &str)| fixture::read(text, &mut Default::default()).expect("it reads");
    SHIPPED.iter().map(read).collect()
}

fn settable(property: &Property) -> Vec<Value> {
    if property.write.is_none() {
        return Vec::new();
    }
    let (low, high) = property.range.unwrap_or((0.0, 100.0));
    let step = property.step.unwrap_or(1.0);
    let near = (low + 3.0 * step).min(high);
    match &property.kind {
        Kind::Bool => vec![Value::Bool(true), Value::Bool(false)],
        Kind::Enum(names) => names.iter().cloned().map(Value::Enum).collect(),
        Kind::Int => [low, near, high].map(|number| Value::Int(number as i64)).into(),
        Kind::Float => [low, near, high].map(Value::Float).into(),
        Kind::Text | Kind::Time => vec![Value::Text("hello".into())],
    }
}

/// Whether a reading is to prove a change of this property.
fn proved(property: &Property) -> bool {
    property.confirm.is_some() || property.reads.first().is_some_and(|read| read.source.is_driven())
}

fn set(property: &Property, value: &Value) -> Order {
    Order::Set { property: property.id.clone(), value: value.clone() }
}

#[test]
fn every_profile_becomes_known_and_does_what_it_is_told() {
    let (mut set_count, mut done_count) = (0, 0);
    for profile in profiles() {
        let mut bench = Bench::new(&profile);
        bench.pass(2 * MINUTE);
        bench.is_well("after the start");
        bench.moved_nothing("after the start");
        let model = bench.model.clone();
        for (index, property) in model.properties.iter().enumerate() {
            for value in settable(property) {
                let outcome = match bench.order(set(property, &value)) {
                    // A state that it has and that cannot be set.
                    Err(Refusal::BadValue(_)) if matches!(value, Value::Enum(_)) => continue,
                    taken => taken.unwrap_or_else(|why| panic!("{}.{}: {why}", profile.id, property.id)),
                };
                let want = if proved(property) { Outcome::Done } else { Outcome::Accepted };
                assert_eq!(outcome, want, "{}.{} {value:?}", profile.id, property.id);
                assert_eq!(bench.believed(index), Some(value), "{}.{}", profile.id, property.id);
                set_count += 1;
            }
        }
        for action in &model.actions {
            let argument = |arg: &Arg| {
                let value = match &arg.kind {
                    Kind::Bool => Value::Bool(true),
                    Kind::Enum(names) => Value::Enum(names[0].clone()),
                    Kind::Int => Value::Int(arg.range.map_or(1.0, |(low, _)| low) as i64),
                    Kind::Float => Value::Float(arg.range.map_or(1.0, |(low, _)| low)),
                    Kind::Text | Kind::Time => Value::Text("a".into()),
                };
                (arg.id.clone(), value)
            };
            for (property, value) in &action.only_if {
                let of = &model.properties[*property];
                if of.write.is_some() {
                    assert_eq!(bench.order(set(of, value)), Ok(Outcome::Done), "{}", profile.id);
                }
            }
            let args = action.args.iter().map(argument).collect();
            let outcome = bench.order(Order::Do { action: action.id.clone(), args });
            let want = if action.expect.is_some() { Outcome::Done } else { Outcome::Accepted };
            assert_eq!(outcome, Ok(want), "{} {}", profile.id, action.id);
            done_count += 1;
        }
        bench.is_well("after everything was set");
        bench.moved_nothing("after everything was set");
    }
    assert!(set_count > 60 && done_count > 12, "{set_count} {done_count}");
}

/// What must be told of a fault that lasts, by what the profile can know.
fn is_told(bench: &Bench, fault: Fault, own_link: bool, checked: bool) {
    let (up, health) = bench.health();
    let id = &bench.id;
    let unheard = match fault {
        Fault::Silent | Fault::Unplugged => true,
        Fault::Garbled => checked,
        Fault::Late(_) | Fault::Flapping(_) => false,
    };
    if fault == Fault::Unplugged && own_link {
        assert!(!up, "{id}: its link is down");
    } else if unheard {
        let knows = match bench.model.online {
            Online::Fails(_) | Online::Silent(_) => true,
            Online::Topic(_) => fault == Fault::Unplugged,
            Online::Link => false,
        };
        assert!(!knows || health == Health::Offline, "{id}: {fault:?} shows as {health:?}");
    }
    if unheard {
        for (index, property) in bench.model.properties.iter().enumerate() {
            let old = property.stale_after.is_some_and(|after| after < 18 * MINUTE);
            assert!(!old || bench.believed(index).is_none(), "{id}.{} is believed: {fault:?}", property.id);
        }
    }
}

#[test]
fn a_silent_appliance_is_not_believed_and_comes_back() {
    nothing_lies_under(Fault::Silent);
}

#[test]
fn what_is_garbled_changes_nothing_and_comes_back() {
    nothing_lies_under(Fault::Garbled);
}

#[test]
fn an_unplugged_appliance_is_known_to_be_so_and_comes_back() {
    nothing_lies_under(Fault::Unplugged);
}

#[test]
fn a_late_appliance_moves_nothing_and_comes_back() {
    nothing_lies_under(Fault::Late(4 * SECOND));
}

#[test]
fn a_flapping_appliance_moves_nothing_and_comes_back() {
    nothing_lies_under(Fault::Flapping(3 * SECOND));
}

fn nothing_lies_under(fault: Fault) {
    for profile in profiles() {
        let mut bench = Bench::new(&profile);
        bench.pass(2 * MINUTE);
        let (own_link, checked) = match &bench.model.link {
            LinkNeeds::Mqtt { .. } | LinkNeeds::Sip(_) => (false, false),
            LinkNeeds::Gpio(_) => (true, false),
            LinkNeeds::Modbus(_) | LinkNeeds::Meter(_) | LinkNeeds::W1(_) => (true, true),
            LinkNeeds::Serial(needs) => (true, needs.settings.framing.checksum.is_some()),
        };
        let before = bench.values();
        let now = bench.now;
        bench.wire.fault(Some(0), Some(fault), now);
        bench.pass(SECOND);
        let model = bench.model.clone();
        if matches!(fault, Fault::Silent | Fault::Garbled | Fault::Unplugged) {
            for property in &model.properties {
                let known = bench.values();
                let index = model.property(&property.id).expect("it has it");
                let other = |value: &Value| known[index].as_ref() != Some(value);
                let Some(value) = settable(property).into_iter().find(other) else { continue };
                match bench.order(set(property, &value)) {
                    Err(_) => {}
                    // What a broker took is delivered, and that is all that is said.
                    Ok(Outcome::Accepted) => assert!(!proved(property), "{}", profile.id),
                    Ok(Outcome::Failed(_) | Outcome::Refused(_) | Outcome::Unknown(_) | Outcome::Started) => {
                    }
                    Ok(Outcome::Done) => panic!("{}.{} is done: {fault:?}", profile.id, property.id),
                }
            }
            bench.pass(20 * MINUTE);
            is_told(&bench, fault, own_link, checked);
            for (index, (old, new)) in before.iter().zip(bench.values()).enumerate() {
                let property = &model.properties[index];
                // A contact that was held is let go.
                let held = property.reads.iter().any(|read| read.hold.is_some());
                let same = *old == new || held;
                assert!(same, "{}.{}: {old:?} became {new:?}: {fault:?}", profile.id, property.id);
            }
        } else {
            bench.pass(5 * MINUTE);
        }
        bench.moved_nothing("while it was broken");
        let now = bench.now;
        bench.wire.fault(Some(0), None, now);
        bench.pass(4 * MINUTE);
        bench.is_well(&format!("after {fault:?}"));
        bench.moved_nothing("after it was mended");
        let last = model.properties.iter().find(|of| of.write.is_some() && proved(of));
        if let Some((property, value)) = last.and_then(|of| Some((of, settable(of).into_iter().next()?))) {
            assert_eq!(bench.order(set(property, &value)), Ok(Outcome::Done), "{} {fault:?}", profile.id);
        }
    }
}

#[test]
fn every_event_of_a_profile_can_be_made_to_happen() {
    use sipliance::device::mirror::Mirror;
    let mut count = 0;
    for profile in profiles().into_iter().filter(|of| !matches!(of.example.link, LinkNeeds::Sip(_))) {
        for event in &profile.example.events {
            for value in &event.values {
                let mut bench = Bench::new(&profile);
                let mirror = Mirror::new(vec![("it".to_owned(), profile.example.clone())], 3, false);
                bench.wire = match &profile.example.link {
                    LinkNeeds::Gpio(_) => Wire::lines(vec![Box::new(mirror)]),
                    _ => Wire::broker(vec![Box::new(mirror)]),
                };
                bench.wire.begin(bench.now);
                bench.pass(2 * MINUTE);
                let words = ["happen", "it", &event.id, value].map(str::to_owned);
                let now = bench.now;
                bench.wire.work(0, &words, now).unwrap_or_else(|why| panic!("{}: {why}", profile.id));
                bench.pass(20 * MINUTE);
                // What has to be warm before it is cold again was warm.
                let wanted = (event.id.clone(), value.clone());
                let times = bench.happened.iter().filter(|of| **of == wanted).count();
                assert_eq!(times, 1, "{} {} {value}", profile.id, event.id);
                count += 1;
            }
        }
    }
    assert!(count > 12, "{count}");
}

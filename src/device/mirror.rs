//! The far end of a wire, played from profiles: what a gateway writes is understood by the profile's
//! own writes, backwards, and answered in bytes that the profile's own reads understand.
//!
//! A [`Mirror`] is one appliance. Several devices of a house may be the same appliance (a plug, and the
//! washing machine that is known by the plug's power draw): [`appliances`] tells which, and they share
//! one truth. Bytes and time go in, bytes and a next time come out; no clock is read, and the same seed
//! lives the same life.
//!
//! ```text
//! op ──hear──▶ value ──raw──▶ store ──payload──▶ event      raw: candidates, judged by the codec
//! ```

mod answer;
mod frame;
mod hear;
mod life;
mod raw;
mod store;
mod whole;
mod words;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sipliance_driver::{Channel, Event, Op};

use crate::config::GpioDirection;
use crate::device::codec::SERIAL;
use crate::device::profile::{LinkNeeds, Model, Online, Property, Read, Source};
use crate::device::value::{Kind, Value};
use store::Store;
pub use whole::appliances;
pub(crate) use words::Words;

/// How often an appliance speaks up by itself, at most.
const PERIOD: Duration = Duration::from_secs(5);
/// How long it takes to start.
const START: Duration = Duration::from_millis(200);
/// An appliance that may take so long to do as it is told is one that moves.
const SLOW: Duration = Duration::from_secs(20);
/// Things that are to happen; what would be one more does not.
const PLANS: usize = 256;

/// One appliance at the far end of a wire.
#[derive(Debug)]
pub struct Mirror {
    parts: Vec<Part>,
    store: Store,
    rng: ChaCha8Rng,
    plans: BTreeMap<(Duration, u64), Plan>,
    planned: u64,
    period: Duration,
    gone: bool,
    /// What people set stays as they set it.
    by_hand: Vec<Read>,
    unsaid: Vec<String>,
}

/// A device of the house that the appliance is.
#[derive(Debug)]
struct Part {
    id: String,
    model: Arc<Model>,
    /// Steps that were heard, by action.
    steps: Vec<usize>,
}

/// Something that is to happen.
#[derive(Clone, Debug)]
enum Plan {
    /// It is there: levels of lines, the word that it is online.
    Begin,
    /// It speaks up by itself.
    Report,
    /// A property changes.
    Become(usize, usize, Value),
    /// A line changes.
    Level(Channel, bool),
    /// Somebody rings, or passes by.
    Whim(usize, Whim),
}

#[derive(Clone, Copy, Debug)]
enum Whim {
    Event(usize),
    Motion(usize),
}

impl Mirror {
    /// An appliance that is these devices of a house. `lively`: people ring and pass by now and then.
    pub fn new(devices: Vec<(String, Arc<Model>)>, seed: u64, lively: bool) -> Self {
        let hex = devices.iter().any(|(_, model)| match &model.link {
            LinkNeeds::Serial(needs) => needs.hex,
            _ => false,
        });
        let part =
            |(id, model): (String, Arc<Model>)| Part { id, steps: vec![0; model.actions.len()], model };
        let parts: Vec<Part> = devices.into_iter().map(part).collect();
        let period = parts.iter().map(|part| period(&part.model)).min().unwrap_or(PERIOD);
        let mut mirror = Self {
            parts,
            store: Store::new(hex),
            rng: ChaCha8Rng::seed_from_u64(seed),
            plans: BTreeMap::new(),
            planned: 0,
            period,
            gone: false,
            by_hand: Vec::new(),
            unsaid: Vec::new(),
        };
        mirror.begin();
        mirror.drift();
        mirror.plan(Duration::ZERO, Plan::Begin);
        mirror.plan(START, Plan::Report);
        if lively {
            mirror.whims();
        }
        mirror
    }

    /// Properties that cannot be played, each with the reason. They stay unknown.
    pub fn unsaid(&self) -> &[String] {
        &self.unsaid
    }

    /// The gateway moved something to the wire.
    pub fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event> {
        if self.gone {
            return Vec::new();
        }
        if let Some(answer) = self.asked(op) {
            return answer;
        }
        let mut events = self.moved(op, now);
        let mut mine = !events.is_empty();
        for part in 0..self.parts.len() {
            let Some(model) = self.model(part) else { continue };
            if let Some((property, value)) = hear::set(&model, op) {
                mine = true;
                events.extend(self.comply(part, property, &value, now));
            }
            for (action, step) in hear::steps(&model, op).collect::<Vec<_>>() {
                mine = true;
                events.extend(self.step(part, action, step, op, now));
            }
        }
        if mine && matches!(op, Op::Ask { .. }) && !events.iter().any(|e| matches!(e, Event::Read { .. })) {
            events.push(read(&Channel::new(SERIAL), self.reply(op), false));
        }
        events
    }

    /// Time has come to [`Mirror::next`].
    pub fn tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(entry) = self.plans.first_entry().filter(|entry| entry.key().0 <= now) {
            let plan = entry.remove();
            events.extend(self.carry_out(plan, now));
        }
        if self.gone { Vec::new() } else { events }
    }

    /// When it will do something by itself.
    pub fn next(&self) -> Option<Duration> {
        self.plans.keys().next().map(|(at, _)| *at)
    }

    /// Its plug is pulled, or put back.
    pub fn plugged(&mut self, plugged: bool, now: Duration) -> Vec<Event> {
        if self.gone != plugged {
            return Vec::new();
        }
        self.gone = !plugged;
        if plugged {
            self.plan(now, Plan::Begin);
            self.plan(now + START, Plan::Report);
            return Vec::new();
        }
        self.plans.retain(|_, plan| !matches!(plan, Plan::Report | Plan::Begin));
        self.health("offline")
    }

    /// What a property of one of its devices is, as a gateway would read it now.
    pub fn value(&self, device: &str, property: &str) -> Option<Value> {
        let part = self.parts.iter().position(|part| part.id == device)?;
        let index = self.parts.get(part)?.model.property(property)?;
        self.known(part, index)
    }

    fn model(&self, part: usize) -> Option<Arc<Model>> {
        self.parts.get(part).map(|part| part.model.clone())
    }

    fn known(&self, part: usize, property: usize) -> Option<Value> {
        let of = self.parts.get(part)?.model.properties.get(property)?;
        self.store.value(of.reads.first()?, &of.kind)
    }

    /// Everything is as it is when nobody asked for anything.
    fn begin(&mut self) {
        for part in 0..self.parts.len() {
            let Some(model) = self.model(part) else { continue };
            if let LinkNeeds::Gpio(lines) = &model.link {
                for line in lines {
                    let active = matches!(line.direction, GpioDirection::Out { initial: true, .. });
                    self.store.level(&Channel::new(&line.name), active);
                }
            }
            for (index, property) in model.properties.iter().enumerate() {
                let source = property.reads.first().map(|read| &read.source);
                if matches!(source, Some(Source::Line { output: Some(_), .. })) {
                    continue;
                }
                if let Err(why) = self.show(part, index, &life::first(&model, property)) {
                    let id = self.parts.get(part).map(|part| part.id.clone()).unwrap_or_default();
                    self.unsaid.push(format!("{id}.{}: {why}", property.id));
                }
            }
        }
    }

    /// Changes what a property is, without a word.
    fn show(&mut self, part: usize, property: usize, value: &Value) -> Result<(), String> {
        let model = self.model(part).ok_or("there is no such device")?;
        let of = model.properties.get(property).ok_or("there is no such property")?;
        let mut reads = of.reads.iter();
        let first = reads.next().ok_or("it is never read")?;
        self.store.show(first, &of.kind, value)?;
        for other in reads.chain(&of.target) {
            // An alternative that cannot say this value says another one, or none, in reality as well.
            let _ = self.store.show(other, &of.kind, value);
        }
        Ok(())
    }

    /// Changes what a property is and tells it, as far as the appliance tells anything unasked.
    fn become_now(&mut self, part: usize, property: usize, value: &Value) -> Result<Vec<Event>, String> {
        self.show(part, property, value)?;
        Ok(self.say(part, property))
    }

    /// The gateway wants a property to be so.
    fn comply(&mut self, part: usize, property: usize, value: &Value, now: Duration) -> Vec<Event> {
        let Some(model) = self.model(part) else { return Vec::new() };
        let Some(of) = model.properties.get(property) else { return Vec::new() };
        let slow = of.confirm.filter(|confirm| *confirm >= SLOW);
        let from = self.known(part, property).and_then(|known| known.number());
        let (Some(confirm), Some(from), Some(to)) = (slow, from, value.number()) else {
            return self.become_now(part, property, value).unwrap_or_default();
        };
        // It moves there, and says meanwhile where it is.
        let middle = from + (to - from) / 2.0;
        let middle = match of.kind {
            Kind::Int => Value::Int(middle.round() as i64),
            _ => Value::Float(middle),
        };
        let whole = (confirm / 4).min(Duration::from_secs(5));
        self.plans.retain(|_, plan| !matches!(plan, Plan::Become(p, i, _) if (*p, *i) == (part, property)));
        self.plan(now + whole / 2, Plan::Become(part, property, middle));
        self.plan(now + whole, Plan::Become(part, property, value.clone()));
        if let Some(target) = &of.target
            && self.store.show(target, &of.kind, value).is_ok()
        {
            return self.say(part, property);
        }
        Vec::new()
    }

    /// What is told unasked of a property.
    fn say(&self, part: usize, property: usize) -> Vec<Event> {
        let model = self.parts.get(part).map(|part| &part.model);
        let Some(of) = model.and_then(|model| model.properties.get(property)) else { return Vec::new() };
        self.tell(of.reads.iter().chain(&of.target))
    }

    /// What comes over the wire of these reads without being asked for, each channel once.
    fn tell<'r>(&self, reads: impl Iterator<Item = &'r Read>) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        let mut frames = Vec::new();
        let mut telegram = false;
        for of in reads {
            match &of.source {
                Source::Topic { channel, .. } | Source::Line { channel, .. } => {
                    let told =
                        |event: &Event| matches!(event, Event::Read { channel: c, .. } if c == channel);
                    if !events.iter().any(told) {
                        let payload = self.store.payload(&of.source);
                        events.extend(payload.map(|payload| read(channel, payload, false)));
                    }
                }
                Source::Frame { ask, .. } if ask.as_ref().is_none_or(|(_, every)| every.is_none()) => {
                    frames.push(of);
                }
                Source::Obis { read_out: None, .. } if !telegram => {
                    telegram = true;
                    let payload = self.store.payload(&of.source);
                    events.extend(payload.map(|payload| read(&Channel::new(SERIAL), payload, false)));
                }
                _ => {}
            }
        }
        let frames = self.store.frame_bytes(&frames).into_iter();
        events.extend(frames.map(|frame| read(&Channel::new(SERIAL), frame, false)));
        events
    }

    /// A step of an action.
    fn step(&mut self, part: usize, action: usize, step: usize, op: &Op, now: Duration) -> Vec<Event> {
        let Some(model) = self.model(part) else { return Vec::new() };
        let Some(of) = model.actions.get(action) else { return Vec::new() };
        let Some(heard) = self.parts.get_mut(part).and_then(|part| part.steps.get_mut(action)) else {
            return Vec::new();
        };
        if step == *heard {
            *heard += 1;
        } else {
            *heard = usize::from(step == 0);
        }
        if *heard < of.steps.len() {
            return Vec::new();
        }
        *heard = 0;
        // One pulse may mean to open and to close: what is possible now is meant.
        if !of.only_if.iter().all(|(property, value)| self.known(part, *property).as_ref() == Some(value)) {
            return Vec::new();
        }
        match &of.expect {
            Some((property, value, within)) => {
                let plan = Plan::Become(part, *property, value.clone());
                self.plan(now + (*within / 2).min(Duration::from_secs(2)), plan);
                Vec::new()
            }
            None => match shutter(&model, &of.id) {
                Some((property, value)) if !matches!(op, Op::Pulse { .. }) => {
                    self.comply(part, property, &value, now)
                }
                _ => Vec::new(),
            },
        }
    }

    fn carry_out(&mut self, plan: Plan, now: Duration) -> Vec<Event> {
        match plan {
            Plan::Begin => {
                let mut events = self.health("online");
                for part in &self.parts {
                    let LinkNeeds::Gpio(lines) = &part.model.link else { continue };
                    for line in lines {
                        let channel = Channel::new(&line.name);
                        let level = self.store.line(&channel);
                        events.extend(level.map(|payload| read(&channel, payload, false)));
                    }
                }
                events
            }
            Plan::Report => {
                self.plan(now + self.period, Plan::Report);
                self.drift();
                let reads = self.parts.iter().flat_map(|part| reads_of(&part.model));
                let lines = |read: &&Read| !matches!(read.source, Source::Line { .. });
                self.tell(reads.filter(lines))
            }
            Plan::Become(part, property, value) => {
                self.become_now(part, property, &value).unwrap_or_default()
            }
            Plan::Level(channel, active) => self.level(&channel, active).into_iter().collect(),
            Plan::Whim(part, whim) => self.indulge(part, whim, now),
        }
    }

    /// Readings move a little.
    fn drift(&mut self) {
        for part in 0..self.parts.len() {
            let Some(model) = self.model(part) else { continue };
            let switch = |of: &Property| of.write.is_some() && of.kind == Kind::Bool;
            let switch = model.properties.iter().position(switch);
            let off = switch.and_then(|index| self.known(part, index)) == Some(Value::Bool(false));
            for (index, property) in model.properties.iter().enumerate() {
                let Some(known) = self.known(part, index).filter(|_| !self.is_held(property)) else {
                    continue;
                };
                if let Some(value) = life::later(&model, property, &known, off, &mut self.rng) {
                    let _ = self.show(part, index, &value);
                }
            }
        }
    }

    /// Somebody set it, or what is read at the same place.
    fn is_held(&self, property: &Property) -> bool {
        let held = |read: &Read| self.by_hand.iter().any(|of| life::same_place(&of.source, &read.source));
        property.reads.first().is_some_and(held)
    }

    /// Somebody sets it.
    fn hold(&mut self, property: &Property) {
        if let Some(read) = property.reads.first().filter(|_| !self.is_held(property)) {
            self.by_hand.push(read.clone());
        }
    }

    fn level(&mut self, channel: &Channel, active: bool) -> Option<Event> {
        self.store.level(channel, active);
        self.store.line(channel).map(|payload| read(channel, payload, false))
    }

    /// The word on its own health, which a broker keeps.
    fn health(&self, word: &str) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for part in &self.parts {
            let Online::Topic(of) = &part.model.online else { continue };
            let word = Value::Enum(word.into());
            let said = raw::candidates(of, &word).into_iter().find_map(|raw| self.store.moment(of, &raw));
            events.extend(said.map(|(channel, payload)| read(&channel, payload, true)));
        }
        events.dedup();
        events
    }

    fn plan(&mut self, at: Duration, plan: Plan) {
        if self.plans.len() < PLANS {
            self.planned += 1;
            self.plans.insert((at, self.planned), plan);
        }
    }
}

/// Where the values of a model come from.
fn reads_of(model: &Model) -> impl Iterator<Item = &Read> {
    model.properties.iter().flat_map(|property| property.reads.iter().chain(&property.target))
}

/// Often enough that nothing is taken for old or lost.
fn period(model: &Model) -> Duration {
    let silent = match model.online {
        Online::Silent(silent) => Some(silent),
        _ => None,
    };
    let patience = model.properties.iter().filter_map(|of| of.stale_after).chain(silent).min();
    patience.map_or(PERIOD, |patience| (patience / 3).min(PERIOD)).max(Duration::from_millis(100))
}

/// What `open` and `close` do to something that has a position.
fn shutter(model: &Model, action: &str) -> Option<(usize, Value)> {
    let class = |of: &Property| of.class.as_deref() == Some("shutter") && of.range.is_some();
    let index = model.properties.iter().position(class)?;
    let of = model.properties.get(index)?;
    let (low, high) = of.range?;
    let goal = match action {
        "open" => high,
        "close" => low,
        _ => return None,
    };
    Some((index, if of.kind == Kind::Int { Value::Int(goal as i64) } else { Value::Float(goal) }))
}

fn read(channel: &Channel, payload: bytes::Bytes, retained: bool) -> Event {
    Event::Read { channel: channel.clone(), payload, retained }
}

#[cfg(test)]
mod tests;

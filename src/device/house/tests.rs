//! The house in virtual time, with shipped profiles and scripted drivers.

mod answers;
mod chance;
mod commands;
mod knowledge;
mod lines;
mod modbus;
mod serial;

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Event, Failure, Op, OpId, Why};

use super::*;
use crate::config::fault::{Faults, Place};
use crate::config::yaml;
use crate::device::command::{Order, Refusal};
use crate::device::profile::Profile;
use crate::device::shipped;
use crate::device::value::Value;

pub(super) const DEVICE: DeviceId = DeviceId(0);
pub(super) const LINK: LinkId = LinkId(0);

/// A device of a shipped profile, hanging on a link.
pub(super) fn device(profile: &str, params: &str, id: &str, link: usize) -> DeviceConfig {
    made(shipped::text(profile).expect("shipped"), params, id, link)
}

/// The same of a profile's text.
pub(super) fn made(profile: &str, params: &str, id: &str, link: usize) -> DeviceConfig {
    let mut faults = Faults::default();
    let node = yaml::parse(profile, &mut faults).expect("parses");
    let profile = Profile::read(&node, &mut faults).expect("reads");
    let params = yaml::parse(params, &mut faults).expect("parses");
    let place = Place { line: 1, column: 1 };
    let model = profile.instantiate("devices.x", place, Some(&params), None, &mut faults);
    DeviceConfig {
        id: id.to_owned(),
        name: id.to_owned(),
        room: None,
        numbers: Vec::new(),
        model: Arc::new(model.unwrap_or_else(|| panic!("{:#?}", faults.sorted()))),
        link: LinkId(link),
        naming: Default::default(),
    }
}

/// One house and everything that came out of it.
pub(super) struct Room {
    pub house: House,
    pub now: Now,
    pub ops: Vec<Op>,
    pub finished: Vec<(CommandId, Outcome)>,
    pub changed: usize,
    pub happened: Vec<String>,
    pub puzzled: usize,
}

impl Room {
    pub fn of(devices: &[DeviceConfig], links: usize) -> Self {
        let now = Now { mono: Instant::now(), wall_ms: 1_700_000_000_000 };
        let house = House::of(devices, links, now);
        let (ops, finished, happened) = (Vec::new(), Vec::new(), Vec::new());
        let mut room = Self { house, now, ops, finished, changed: 0, happened, puzzled: 0 };
        room.drain();
        room.ops.clear();
        room
    }

    pub fn one(profile: &str, params: &str) -> Self {
        Self::of(&[device(profile, params, "x", 0)], 1)
    }

    /// A plug that is online and known to be off.
    pub fn plug() -> Self {
        let mut room = Self::one("tasmota-plug", "{topic: x}");
        room.event(Event::Up);
        room.hear("tele/x/LWT", "Online");
        room.hear("stat/x/POWER", "OFF");
        room.ops.clear();
        room.changed = 0;
        room
    }

    pub fn drain(&mut self) {
        while let Some(effect) = self.house.poll() {
            match effect {
                Effect::Drive { op, .. } => self.ops.push(op),
                Effect::Changed { .. } => self.changed += 1,
                Effect::Happened { event, value, .. } => self.happened.push(format!("{event} {value}")),
                Effect::Unread { .. } => self.puzzled += 1,
                Effect::Finished { command, outcome } => self.finished.push((command, outcome)),
            }
        }
    }

    pub fn event(&mut self, event: Event) {
        self.house.driver(LINK, event, self.now);
        self.drain();
    }

    pub fn hear(&mut self, channel: &str, payload: &str) {
        self.heard(channel, payload, false);
    }

    pub fn heard(&mut self, channel: &str, payload: &str, retained: bool) {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.event(Event::Read { channel: Channel::new(channel), payload, retained });
    }

    /// A line changed at this time, which may be some time ago.
    pub fn edge(&mut self, channel: &str, payload: &'static str, at: std::time::Instant) {
        self.event(Event::Edge { channel: Channel::new(channel), payload: payload.into(), at });
    }

    /// The answer to a question, in bytes.
    pub fn read(&mut self, channel: &str, bytes: &[u8]) {
        let payload = Bytes::copy_from_slice(bytes);
        self.event(Event::Read { channel: Channel::new(channel), payload, retained: false });
    }

    pub fn down(&mut self) {
        self.event(Event::Down(Why("pulled out".to_owned())));
    }

    pub fn done(&mut self, id: OpId, result: Result<(), Failure>) {
        self.event(Event::Done { id, result });
    }

    /// Everything that was sent and not looked at yet, as `channel payload`.
    pub fn sent(&mut self) -> Vec<String> {
        let text = |op: &Op| match op {
            Op::Watch { channel } => format!("watch {channel}"),
            Op::Write { channel, payload, .. } => format!("{channel} {}", String::from_utf8_lossy(payload)),
            Op::Publish { channel, .. } => format!("publish {channel}"),
            Op::Ask { payload, .. } => format!("ask {}", String::from_utf8_lossy(payload)),
            Op::Pulse { channel, on, .. } => format!("pulse {channel} {}", on.as_millis()),
        };
        self.ops.drain(..).map(|op| text(&op)).collect()
    }

    /// The number of the last operation.
    pub fn last(&self) -> OpId {
        match self.ops.last() {
            Some(Op::Write { id, .. } | Op::Ask { id, .. } | Op::Pulse { id, .. }) => *id,
            other => panic!("no operation but {other:?}"),
        }
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.house.next_deadline().filter(|at| *at <= end) {
            self.at(at.max(self.now.mono));
            self.house.tick(self.now);
            self.drain();
        }
        self.at(end);
    }

    fn at(&mut self, mono: Instant) {
        let passed = mono.saturating_duration_since(self.now.mono);
        self.now.wall_ms += i64::try_from(passed.as_millis()).expect("small");
        self.now.mono = mono;
    }

    pub fn set(&mut self, property: &str, value: Value) -> Result<CommandId, Refusal> {
        let result = self.house.order(DEVICE, Order::Set { property: property.into(), value }, self.now);
        self.drain();
        result
    }

    pub fn act(&mut self, action: &str) -> Result<CommandId, Refusal> {
        let result =
            self.house.order(DEVICE, Order::Do { action: action.into(), args: Vec::new() }, self.now);
        self.drain();
        result
    }

    pub fn device(&self) -> &Device {
        self.house.device(DEVICE).expect("there")
    }

    pub fn value(&self, property: &str) -> Option<Value> {
        let index = self.device().model().property(property).expect("a property");
        self.device().shadow().reading(index).map(|reading| reading.value.clone())
    }
}

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

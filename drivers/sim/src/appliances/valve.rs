//! A radiator valve behind zigbee2mqtt.

use std::time::Duration;

use serde_json::{Value, json};
use sipliance_driver::{Channel, Event, Op};

use super::written;
use crate::{Appliance, kept};

/// How often the room is measured.
const MEASURE: Duration = Duration::from_secs(4);

/// How much warmer the room gets from one measurement to the next while the valve is open.
const WARMER: f64 = 0.2;

/// How much colder while it is closed.
const COLDER: f64 = 0.1;

/// Where the room ends up unheated.
const OUTSIDE: f64 = 15.0;

/// A radiator valve: `<base>/<name>` and `<base>/<name>/set`. The room follows the setpoint.
pub struct RadiatorValve {
    state: Channel,
    set: Channel,
    availability: Channel,
    setpoint: f64,
    temperature: f64,
    mode: Mode,
    started: bool,
    next: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Off,
    Auto,
    Heat,
}

impl Mode {
    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Heat => "heat",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Off, Self::Auto, Self::Heat].into_iter().find(|mode| mode.word() == word)
    }
}

impl RadiatorValve {
    /// A valve in a room of 19.6 °C that shall have 21.5 °C.
    pub fn new(base: &str, name: &str) -> Self {
        Self {
            state: Channel::new(&format!("{base}/{name}")),
            set: Channel::new(&format!("{base}/{name}/set")),
            availability: Channel::new(&format!("{base}/{name}/availability")),
            setpoint: 21.5,
            temperature: 19.6,
            mode: Mode::Auto,
            started: false,
            next: Duration::ZERO,
        }
    }

    fn heats(&self) -> bool {
        self.mode != Mode::Off && self.temperature < self.setpoint
    }

    fn report(&self) -> Event {
        let state = json!({
            "battery": 74,
            "linkquality": 118,
            "local_temperature": (self.temperature * 10.0).round() / 10.0,
            "occupied_heating_setpoint": self.setpoint,
            "running_state": if self.heats() { "heat" } else { "idle" },
            "system_mode": self.mode.word(),
        });
        kept(&self.state, state.to_string())
    }

    /// A member that a valve does not know, or cannot do, changes nothing.
    fn change(&mut self, body: &Value) {
        let setpoint = body.get("occupied_heating_setpoint").and_then(Value::as_f64);
        if let Some(setpoint) = setpoint.filter(|degrees| (4.0..=35.0).contains(degrees)) {
            self.setpoint = setpoint;
        }
        if let Some(mode) = body.get("system_mode").and_then(Value::as_str).and_then(Mode::from_word) {
            self.mode = mode;
        }
    }
}

impl Appliance for RadiatorValve {
    fn handle(&mut self, op: &Op, _now: Duration) -> Vec<Event> {
        let Some(payload) = written(op, &self.set) else { return Vec::new() };
        match serde_json::from_slice(payload) {
            Ok(body) => self.change(&body),
            Err(_) => return Vec::new(),
        }
        vec![self.report()]
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        self.next = now + MEASURE;
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            events.push(kept(&self.availability, r#"{"state":"online"}"#));
        }
        self.temperature = match self.heats() {
            true => self.temperature + WARMER,
            false => (self.temperature - COLDER).max(OUTSIDE),
        };
        events.push(self.report());
        events
    }

    fn next(&self) -> Option<Duration> {
        Some(self.next)
    }
}

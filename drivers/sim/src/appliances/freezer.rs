//! A thermometer in a freezer.

use std::time::Duration;

use serde_json::json;
use sipliance_driver::{Channel, Event, Op};

use crate::random::Random;
use crate::{Appliance, kept};

/// How often it is measured.
const MEASURE: Duration = Duration::from_secs(3);

/// How long the door stays shut, as a rule.
const SHUT: Duration = Duration::from_secs(60);

/// How long somebody leaves it open.
const OPEN: Duration = Duration::from_secs(25);

/// A freezer of -18 °C whose door is left open now and then. It warms while the door is open, and its
/// compressor brings it back.
pub struct Freezer {
    speaks: Speaks,
    temperature: f64,
    /// The door is open until the second time, again and again.
    door: (Duration, Duration),
    started: bool,
    next: Duration,
    random: Random,
}

enum Speaks {
    EspHome { status: Channel, temperature: Channel, humidity: Channel },
    Zigbee2Mqtt { availability: Channel, state: Channel },
}

impl Freezer {
    /// A cold freezer with its door shut and an ESPHome node: `<node>/sensor/temperature/state`.
    pub fn new(node: &str) -> Self {
        let channel = |rest: &str| Channel::new(&format!("{node}/{rest}"));
        let speaks = Speaks::EspHome {
            status: channel("status"),
            temperature: channel("sensor/temperature/state"),
            humidity: channel("sensor/humidity/state"),
        };
        Self::with(speaks, node)
    }

    /// A cold freezer with its door shut and a Zigbee thermometer: `<base>/<name>`.
    pub fn zigbee2mqtt(base: &str, name: &str) -> Self {
        let state = Channel::new(&format!("{base}/{name}"));
        let availability = Channel::new(&format!("{base}/{name}/availability"));
        Self::with(Speaks::Zigbee2Mqtt { availability, state }, name)
    }

    fn with(speaks: Speaks, name: &str) -> Self {
        Self {
            speaks,
            temperature: -18.4,
            door: (SHUT, SHUT + OPEN),
            started: false,
            next: Duration::ZERO,
            random: Random::new(name),
        }
    }

    fn measure(&mut self, now: Duration) {
        let (opens, shuts) = self.door;
        if now >= shuts {
            let opens = now + self.random.pause(SHUT);
            self.door = (opens, opens + OPEN);
        }
        let (goal, share) = if (opens..shuts).contains(&now) { (8.0, 0.05) } else { (-18.4, 0.15) };
        self.temperature += (goal - self.temperature) * share;
    }
}

impl Appliance for Freezer {
    fn handle(&mut self, _op: &Op, _now: Duration) -> Vec<Event> {
        Vec::new()
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        self.next = now + MEASURE;
        self.measure(now);
        let first = !std::mem::replace(&mut self.started, true);
        let degrees = (self.temperature * 10.0).round() / 10.0;
        let mut events = Vec::new();
        match &self.speaks {
            Speaks::EspHome { status, temperature, humidity } => {
                events.extend(first.then(|| kept(status, "online")));
                events.push(kept(temperature, format!("{degrees:.1}")));
                events.push(kept(humidity, format!("{:.1}", self.random.around(61.0, 0.03))));
            }
            Speaks::Zigbee2Mqtt { availability, state } => {
                events.extend(first.then(|| kept(availability, r#"{"state":"online"}"#)));
                let body = json!({"battery": 71, "linkquality": 99, "temperature": degrees});
                events.push(kept(state, body.to_string()));
            }
        }
        events
    }

    fn next(&self) -> Option<Duration> {
        Some(self.next)
    }
}

//! A thermometer in a freezer, with ESPHome.

use std::time::Duration;

use sipliance_driver::{Channel, Event, Op};

use crate::random::Random;
use crate::{Appliance, kept};

/// How often it is measured.
const MEASURE: Duration = Duration::from_secs(3);

/// How long the door stays shut, as a rule.
const SHUT: Duration = Duration::from_secs(60);

/// How long somebody leaves it open.
const OPEN: Duration = Duration::from_secs(25);

/// A freezer of -18 °C whose door is left open now and then: `<node>/sensor/temperature/state`. It
/// warms while the door is open, and its compressor brings it back.
pub struct Freezer {
    status: Channel,
    temperature_topic: Channel,
    humidity_topic: Channel,
    temperature: f64,
    /// The door is open until the second time, again and again.
    door: (Duration, Duration),
    started: bool,
    next: Duration,
    random: Random,
}

impl Freezer {
    /// A cold freezer with its door shut.
    pub fn new(node: &str) -> Self {
        Self {
            status: Channel::new(&format!("{node}/status")),
            temperature_topic: Channel::new(&format!("{node}/sensor/temperature/state")),
            humidity_topic: Channel::new(&format!("{node}/sensor/humidity/state")),
            temperature: -18.4,
            door: (SHUT, SHUT + OPEN),
            started: false,
            next: Duration::ZERO,
            random: Random::new(node),
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
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            events.push(kept(&self.status, "online"));
        }
        self.measure(now);
        let humidity = self.random.around(61.0, 0.03);
        events.push(kept(&self.temperature_topic, format!("{:.1}", self.temperature)));
        events.push(kept(&self.humidity_topic, format!("{humidity:.1}")));
        events
    }

    fn next(&self) -> Option<Duration> {
        Some(self.next)
    }
}

//! A plug with Tasmota, and what may hang on it.

use std::time::Duration;

use serde_json::json;
use sipliance_driver::{Channel, Event, Op};

use super::{clock, secs, written};
use crate::random::Random;
use crate::{Appliance, kept, said};

/// How often it reports by itself. Tasmota's default is 300 s.
const TELE: Duration = Duration::from_secs(5);

/// A wash programme: watts and seconds. The rest is long enough for a profile to see that it is over.
const WASH: [(f64, f64); 7] =
    [(8.0, 6.0), (2050.0, 24.0), (160.0, 30.0), (45.0, 8.0), (160.0, 12.0), (460.0, 16.0), (1.6, 300.0)];

/// A Tasmota plug with a power meter: `cmnd/<topic>/…`, `stat/<topic>/…`, `tele/<topic>/…`.
pub struct TasmotaPlug {
    power_command: Channel,
    status_command: Channel,
    lwt: Channel,
    result: Channel,
    power: Channel,
    status8: Channel,
    state: Channel,
    sensor: Channel,
    on: bool,
    load: Load,
    energy_kwh: f64,
    counted: Duration,
    started: bool,
    next: Duration,
    random: Random,
}

/// What hangs on a plug.
enum Load {
    /// So many watts, give or take.
    Steady(f64),
    /// A washing machine that began at this time.
    Washer(Duration),
}

impl TasmotaPlug {
    /// A plug that is off, with a load of about `watts`.
    pub fn new(topic: &str, watts: f64) -> Self {
        Self::with(topic, Load::Steady(watts), false)
    }

    /// A plug that is on, with a washing machine that runs one programme after the other.
    pub fn washer(topic: &str) -> Self {
        Self::with(topic, Load::Washer(Duration::ZERO), true)
    }

    fn with(topic: &str, load: Load, on: bool) -> Self {
        let channel = |prefix: &str, name: &str| Channel::new(&format!("{prefix}/{topic}/{name}"));
        Self {
            power_command: channel("cmnd", "POWER"),
            status_command: channel("cmnd", "STATUS"),
            lwt: channel("tele", "LWT"),
            result: channel("stat", "RESULT"),
            power: channel("stat", "POWER"),
            status8: channel("stat", "STATUS8"),
            state: channel("tele", "STATE"),
            sensor: channel("tele", "SENSOR"),
            on,
            load,
            energy_kwh: 41.872,
            counted: Duration::ZERO,
            started: false,
            next: Duration::ZERO,
            random: Random::new(topic),
        }
    }

    fn command(&mut self, word: &str, now: Duration) -> Vec<Event> {
        let wanted = match word.to_ascii_uppercase().as_str() {
            "ON" | "1" | "TRUE" => Some(true),
            "OFF" | "0" | "FALSE" => Some(false),
            "TOGGLE" | "2" => Some(!self.on),
            _ => None,
        };
        if let Some(wanted) = wanted {
            self.count(now);
            if let (Load::Washer(began), true, false) = (&mut self.load, wanted, self.on) {
                *began = now;
            }
            self.on = wanted;
            self.next = now + secs(1.0);
        }
        let result = json!({"POWER": self.word()}).to_string();
        vec![said(&self.result, result), said(&self.power, self.word())]
    }

    fn word(&self) -> &'static str {
        if self.on { "ON" } else { "OFF" }
    }

    fn watts(&mut self, now: Duration) -> f64 {
        let middle = match &self.load {
            _ if !self.on => return 0.0,
            Load::Steady(watts) => *watts,
            Load::Washer(began) => wash(now.saturating_sub(*began)),
        };
        self.random.around(middle, 0.04)
    }

    /// Adds what was used since the last time.
    fn count(&mut self, now: Duration) -> f64 {
        let watts = self.watts(now);
        let hours = now.saturating_sub(self.counted).as_secs_f64() / 3600.0;
        self.energy_kwh += watts * hours / 1000.0;
        self.counted = now;
        watts
    }

    fn energy(&mut self, now: Duration) -> serde_json::Value {
        let watts = self.count(now);
        let volts = self.random.around(231.0, 0.01).round();
        let digits = |value: f64| (value * 1000.0).round() / 1000.0;
        json!({
            "Time": clock(now),
            "ENERGY": {
                "Total": digits(self.energy_kwh), "Yesterday": 0.913, "Today": 0.402,
                "Power": watts.round() as i64, "Voltage": volts as i64, "Current": digits(watts / volts),
            }
        })
    }
}

fn wash(since: Duration) -> f64 {
    let whole: f64 = WASH.iter().map(|(_, secs)| secs).sum();
    let mut left = since.as_secs_f64() % whole;
    for (watts, secs) in WASH {
        if left < secs {
            return watts;
        }
        left -= secs;
    }
    0.0
}

impl Appliance for TasmotaPlug {
    fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event> {
        if let Some(payload) = written(op, &self.power_command) {
            let word = String::from_utf8_lossy(payload).trim().to_owned();
            return self.command(&word, now);
        }
        match written(op, &self.status_command) {
            Some(payload) if payload.trim_ascii() == b"8" => {
                let status = json!({"StatusSNS": self.energy(now)});
                vec![said(&self.status8, status.to_string())]
            }
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        self.next = now + TELE;
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            events.push(kept(&self.lwt, "Online"));
        }
        let state = json!({"Time": clock(now), "UptimeSec": now.as_secs(), "POWER": self.word(), "Wifi": {"RSSI": 76}});
        events.push(said(&self.state, state.to_string()));
        let sensor = self.energy(now);
        events.push(said(&self.sensor, sensor.to_string()));
        events
    }

    fn next(&self) -> Option<Duration> {
        Some(self.next)
    }
}

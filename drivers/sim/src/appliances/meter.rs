//! A smart meter of a house with sun on its roof.

use std::time::Duration;

use serde_json::json;
use sipliance_driver::{Channel, Event, Op};

use super::clock;
use crate::random::Random;
use crate::{Appliance, said};

/// How often it speaks; a P1 port does so every second.
const EVERY: Duration = Duration::from_secs(2);

/// A bidirectional electricity meter.
pub struct SmartMeter {
    speaks: Speaks,
    imported_kwh: f64,
    exported_kwh: f64,
    next: Duration,
    random: Random,
}

enum Speaks {
    /// DSMR 5 telegrams, line by line.
    P1,
    /// A reading head with Tasmota.
    Tasmota { lwt: Channel, sensor: Channel, started: bool },
}

impl SmartMeter {
    /// A DSMR 5 P1 port on a serial wire: each line of a telegram is one frame on `rx`.
    pub fn p1() -> Self {
        Self::with(Speaks::P1, "p1")
    }

    /// A reading head with Tasmota on a broker: `tele/<topic>/SENSOR` with the object `MT`.
    pub fn tasmota(topic: &str) -> Self {
        let lwt = Channel::new(&format!("tele/{topic}/LWT"));
        let sensor = Channel::new(&format!("tele/{topic}/SENSOR"));
        Self::with(Speaks::Tasmota { lwt, sensor, started: false }, topic)
    }

    fn with(speaks: Speaks, name: &str) -> Self {
        Self {
            speaks,
            imported_kwh: 714.25,
            exported_kwh: 212.5,
            next: Duration::ZERO,
            random: Random::new(name),
        }
    }

    /// What the house takes from the grid; negative while the sun gives more than it needs.
    fn watts(&mut self, now: Duration) -> f64 {
        let sun = 900.0 * (now.as_secs_f64() / 40.0).sin();
        (self.random.around(450.0, 0.15) - sun).round()
    }

    fn telegram(&self, watts: f64, now: Duration) -> Vec<Event> {
        let kw = |watts: f64| watts.max(0.0) / 1000.0;
        let time: String = clock(now).chars().filter(char::is_ascii_digit).skip(2).collect();
        let lines = [
            r"/SIP5\2DEMO".to_owned(),
            "1-3:0.2.8(50)".to_owned(),
            format!("0-0:1.0.0({time}W)"),
            format!("1-0:1.8.1({:010.3}*kWh)", self.imported_kwh),
            format!("1-0:1.8.2({:010.3}*kWh)", 503.875),
            format!("1-0:2.8.1({:010.3}*kWh)", self.exported_kwh),
            "0-0:96.14.0(0002)".to_owned(),
            format!("1-0:1.7.0({:06.3}*kW)", kw(watts)),
            format!("1-0:2.7.0({:06.3}*kW)", kw(-watts)),
            "1-0:32.7.0(231.4*V)".to_owned(),
            format!("0-1:24.2.1({time}W)({:09.3}*m3)", 345.678),
        ];
        let rx = Channel::new("rx");
        lines.into_iter().map(|line| said(&rx, line)).collect()
    }
}

impl Appliance for SmartMeter {
    fn handle(&mut self, _op: &Op, _now: Duration) -> Vec<Event> {
        Vec::new()
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        self.next = now + EVERY;
        let watts = self.watts(now);
        let kwh = watts * EVERY.as_secs_f64() / 3_600_000.0;
        self.imported_kwh += kwh.max(0.0);
        self.exported_kwh += (-kwh).max(0.0);
        let digits = |value: f64| (value * 1000.0).round() / 1000.0;
        let (total_in, total_out) = (digits(self.imported_kwh), digits(self.exported_kwh));
        match &mut self.speaks {
            Speaks::P1 => self.telegram(watts, now),
            Speaks::Tasmota { lwt, sensor, started } => {
                let body = json!({"Time": clock(now), "MT": {
                    "Power": watts as i64, "Total_in": total_in, "Total_out": total_out,
                }});
                let mut events = vec![said(sensor, body.to_string())];
                if !std::mem::replace(started, true) {
                    events.insert(0, crate::kept(lwt, "Online"));
                }
                events
            }
        }
    }

    fn next(&self) -> Option<Duration> {
        Some(self.next)
    }
}

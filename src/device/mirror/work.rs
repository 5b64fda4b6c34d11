//! What people do to an appliance: turn its knob, ring its bell, pass by.

use std::time::Duration;

use rand::Rng as _;
use sipliance_driver::Event;

use super::raw::Raw;
use super::{Mirror, Plan, Whim, read};
use crate::device::profile::{Clicks, Momentary, Source};
use crate::device::value::{Kind, Value};

/// How long a button is pressed.
const PRESS: Duration = Duration::from_millis(200);
/// How long somebody is seen.
const PASSING: Duration = Duration::from_secs(4);

impl Mirror {
    /// Somebody sets a property at the appliance itself.
    ///
    /// # Errors
    /// Says what is not possible, and what would be.
    pub fn set(&mut self, device: &str, property: &str, words: &str) -> Result<Vec<Event>, String> {
        let part = self.part(device)?;
        let model = self.model(part).ok_or("it is not there")?;
        let names = || {
            let names: Vec<&str> = model.properties.iter().map(|of| &*of.id).collect();
            names.join(", ")
        };
        let index = model.property(property).ok_or_else(|| format!("{device} has {}", names()))?;
        let of = model.properties.get(index).ok_or("it is not there")?;
        let value = of.kind.parse(words).map_err(|why| why.0)?;
        let events = self.become_now(part, index, &value)?;
        self.hold(of);
        Ok(if self.gone { Vec::new() } else { events })
    }

    /// Somebody makes an event happen, with its first value where none is given.
    ///
    /// # Errors
    /// Says what is not possible, and what would be.
    pub fn happen(
        &mut self,
        device: &str,
        event: &str,
        value: Option<&str>,
        now: Duration,
    ) -> Result<Vec<Event>, String> {
        let part = self.part(device)?;
        let model = self.model(part).ok_or("it is not there")?;
        let names = || {
            let names: Vec<&str> = model.events.iter().map(|of| &*of.id).collect();
            if names.is_empty() { "no events".to_owned() } else { names.join(", ") }
        };
        let of = model.events.iter().find(|of| &*of.id == event);
        let of = of.ok_or_else(|| format!("{device} has {}", names()))?;
        let first = of.values.first().map(|value| &**value).unwrap_or_default();
        let value = value.unwrap_or(first);
        if !of.values.iter().any(|known| **known == *value) {
            return Err(format!("{event} is one of {}", of.values.join(", ")));
        }
        let events = self.occur(part, of, value, now)?;
        Ok(if self.gone { Vec::new() } else { events })
    }

    fn part(&self, device: &str) -> Result<usize, String> {
        self.parts.iter().position(|part| part.id == device).ok_or_else(|| format!("{device} is not here"))
    }

    fn occur(
        &mut self,
        part: usize,
        of: &Momentary,
        value: &str,
        now: Duration,
    ) -> Result<Vec<Event>, String> {
        let mapped = of.from.map.as_ref().and_then(|map| {
            map.pairs().find(|(_, means)| means.plain() == value).map(|(text, _)| text.to_owned())
        });
        let word = mapped.unwrap_or_else(|| value.to_owned());
        match &of.from.source {
            Source::Topic { .. } | Source::Frame { .. } => {
                let (channel, payload) = self
                    .store
                    .moment(&of.from, &Raw::word(&word))
                    .ok_or_else(|| format!("it cannot say {value}"))?;
                Ok(vec![read(&channel, payload, false)])
            }
            Source::Line { channel, .. } => {
                let presses = match of.clicks {
                    Some(clicks) => presses(clicks, value),
                    None if word == "false" => vec![(Duration::ZERO, true), (PRESS, false)],
                    None => vec![(Duration::ZERO, true), (2 * PRESS, false)],
                };
                for (after, active) in presses {
                    self.plan(now + after, Plan::Level(channel.clone(), active));
                }
                Ok(Vec::new())
            }
            Source::Property(property) => self.turn(part, *property, &word),
            Source::Registers(_) | Source::Obis { .. } | Source::File { .. } | Source::Item(_) => {
                Err("it cannot be made to happen here".to_owned())
            }
        }
    }

    /// Lets a property change to the value of this text.
    fn turn(&mut self, part: usize, property: usize, text: &str) -> Result<Vec<Event>, String> {
        let model = self.model(part).ok_or("it is not there")?;
        let of = model.properties.get(property).ok_or("it is not there")?;
        let all = match &of.kind {
            Kind::Bool => vec![Value::Bool(true), Value::Bool(false)],
            Kind::Enum(names) => names.iter().cloned().map(Value::Enum).collect(),
            kind => kind.parse(text).into_iter().collect(),
        };
        let wanted = all.iter().find(|value| value.plain() == text);
        let wanted = wanted.ok_or_else(|| format!("{} is never {text}", of.name))?;
        let mut events = Vec::new();
        if self.known(part, property).as_ref() == Some(wanted)
            && let Some(other) = all.iter().find(|value| *value != wanted)
        {
            events.extend(self.become_now(part, property, other)?);
        }
        events.extend(self.become_now(part, property, wanted)?);
        self.hold(of);
        Ok(events)
    }

    /// People ring and pass by now and then.
    pub(super) fn whims(&mut self) {
        let mut all = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let bells = part.model.events.iter().enumerate();
            let rung = |of: &Momentary| {
                matches!(of.class.as_deref(), Some("doorbell" | "button"))
                    && !matches!(of.from.source, Source::Property(_))
            };
            all.extend(bells.filter(|(_, of)| rung(of)).map(|(at, _)| (index, Whim::Event(at))));
            let seen = part.model.properties.iter().enumerate().filter(|(_, of)| {
                let class = of.class.as_deref();
                matches!(class, Some("motion" | "occupancy" | "presence" | "running")) && of.write.is_none()
            });
            all.extend(seen.map(|(at, _)| (index, Whim::Motion(at))));
        }
        for (part, whim) in all {
            self.later(part, whim, Duration::ZERO);
        }
    }

    fn later(&mut self, part: usize, whim: Whim, now: Duration) {
        let pause = Duration::from_secs(self.rng.random_range(30..80));
        self.plan(now + pause, Plan::Whim(part, whim));
    }

    pub(super) fn indulge(&mut self, part: usize, whim: Whim, now: Duration) -> Vec<Event> {
        self.later(part, whim, now);
        let Some(model) = self.model(part) else { return Vec::new() };
        match whim {
            Whim::Event(event) => {
                let Some(of) = model.events.get(event) else { return Vec::new() };
                let nth = if self.rng.random_range(0..4) == 0 { of.values.len().min(2) } else { 1 };
                let value = nth.checked_sub(1).and_then(|nth| of.values.get(nth)).cloned();
                value.and_then(|value| self.occur(part, of, &value, now).ok()).unwrap_or_default()
            }
            Whim::Motion(property) => {
                self.plan(now + PASSING, Plan::Become(part, property, Value::Bool(false)));
                self.become_now(part, property, &Value::Bool(true)).unwrap_or_default()
            }
        }
    }
}

/// How a button goes for a word.
fn presses(clicks: Clicks, word: &str) -> Vec<(Duration, bool)> {
    let zero = Duration::ZERO;
    match word {
        "double" => {
            let pause = clicks.double.unwrap_or(2 * PRESS) / 2;
            let pause = pause.min(PRESS);
            vec![(zero, true), (PRESS, false), (PRESS + pause, true), (2 * PRESS + pause, false)]
        }
        "hold" => vec![(zero, true), (clicks.hold.unwrap_or(PRESS) + PRESS, false)],
        _ => vec![(zero, true), (PRESS, false)],
    }
}

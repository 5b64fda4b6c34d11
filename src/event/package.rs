//! What an event package is.

use std::time::Duration;

use crate::device::appliance::{Device, Lamp};
use crate::device::profile::Property;
use crate::limits;
use crate::sip::notifier::Moment;
use crate::timer::Now;

/// One event package (RFC 6665 §5).
pub trait Package: Sync {
    /// Its token.
    fn name(&self) -> &'static str;
    /// The media types that it can write; the first is the default.
    fn content_types(&self) -> &'static [&'static str];
    /// Lifetime of a subscription that asks for none.
    fn default_expires(&self) -> Duration {
        Duration::from_secs(3600)
    }
    /// Least time between two NOTIFYs of one subscription.
    fn interval(&self) -> Duration;
    /// Whether every watcher of the same form and view gets the same bytes.
    fn is_shared(&self) -> bool;
    /// The state as a document.
    fn document(&self, view: &View<'_>) -> String;
}

/// Where the bits of events begin in [`View::visible`]; a profile has at most as many properties.
pub const EVENTS: usize = limits::PROFILE_ITEMS;

/// What a document is made of.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The appliance.
    pub device: &'a Device,
    /// Index into [`Package::content_types`].
    pub form: usize,
    /// What the watcher may see: one bit for each property by index, and from [`EVENTS`] on one for
    /// each event.
    pub visible: u128,
    /// How many documents this subscription got before.
    pub nth: u32,
    /// The address as it was subscribed to.
    pub entity: &'a str,
    /// The gateway's domain.
    pub domain: &'a str,
    /// What happened since the last document.
    pub moments: &'a [Moment],
    /// The time.
    pub now: Now,
}

impl<'a> View<'a> {
    /// The properties that the watcher may see, with their index.
    pub fn properties(&self) -> impl Iterator<Item = (usize, &'a Property)> {
        let view = *self;
        self.device.model().properties.iter().enumerate().filter(move |(index, _)| view.sees(*index))
    }

    /// The state in a line for people, of what the watcher may see.
    pub fn summary(&self) -> String {
        let properties = &self.device.model().properties;
        let seen = |id: &str| {
            properties.iter().position(|property| *property.id == *id).is_some_and(|at| self.sees(at))
        };
        self.device.summary_of(self.now, &seen)
    }

    /// What the lamp shows; to somebody who may not see what lights it, nothing.
    pub fn lamp(&self) -> Lamp {
        match &self.device.model().phone.lamp {
            Some(rule) if self.sees(rule.property) => self.device.lamp(),
            _ => Lamp::Unknown,
        }
    }

    fn sees(&self, property: usize) -> bool {
        property < EVENTS && self.visible >> property & 1 == 1
    }
}

/// Text for an XML attribute or element.
pub fn escape(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(text)
}

//! What an event package is.

use std::time::Duration;

use super::filter::Addresses;
use super::subject::Subject;
use super::winfo::Watching;
use crate::body::filter::{Filter, FilterSet};
use crate::body::presence::Presence;
use crate::device::alerts::Counts;
use crate::device::appliance::{Device, Lamp};
use crate::device::profile::Property;
use crate::limits;
use crate::sip::notifier::{Moment, Page};
use crate::timer::Now;

/// One event package (RFC 6665 §5).
pub trait Package: Sync {
    /// Its token.
    fn name(&self) -> &'static str;
    /// The media types that it can write; the first is the default.
    fn content_types(&self) -> &'static [&'static str];
    /// How many of them are offered unasked, from the first on; the others are for peers that name
    /// them.
    fn offered(&self) -> usize {
        self.content_types().len()
    }
    /// Whether it says something about `subject`, as a member of a list or for itself.
    fn covers(&self, subject: Subject) -> bool {
        !matches!(subject, Subject::Alerts | Subject::User(_))
    }
    /// Lifetime of a subscription that asks for none.
    fn default_expires(&self) -> Duration {
        Duration::from_secs(3600)
    }
    /// Least time between two NOTIFYs of one subscription.
    fn interval(&self) -> Duration;
    /// Whether a SUBSCRIBE may carry filters (RFC 4661): its documents have the parts that they name.
    fn filters(&self) -> bool {
        false
    }
    /// Which watchers of the same form and view of an appliance get the same bytes.
    fn sharing(&self) -> Sharing {
        Sharing::None
    }
    /// The state as a document.
    fn document(&self, view: &View<'_>) -> String;
    /// What is said to somebody over whom nobody has decided yet; `None`: nothing. `view` has no
    /// members then.
    fn neutral(&self, view: &View<'_>) -> Option<String> {
        let _ = view;
        None
    }
    /// For a template (RFC 6665 §7.2): the package that it is applied to.
    fn template_of(&self) -> Option<&'static str> {
        None
    }
    /// For a template: who watches, as a document.
    fn watchers(&self, of: &Watching<'_>) -> String {
        let _ = of;
        String::new()
    }
}

/// Which watchers get the same bytes, as long as the state is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// None: each document has a number of its own, or says what happened to whom.
    None,
    /// Those who dialled the same address, for a moment: the document says how long something is so.
    Address,
    /// All.
    All,
}

/// An appliance, and what of it the watcher may see.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The appliance.
    pub device: &'a Device,
    /// What of it the watcher may see: one bit for each property by index, and from [`EVENTS`] on one
    /// for each event.
    pub visible: u128,
}

/// Where the bits of events begin in [`Member::visible`]; a profile has at most as many properties.
pub const EVENTS: usize = limits::PROFILE_ITEMS;

/// What a document is made of.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The appliances: one, or those of a room.
    pub members: &'a [Member<'a>],
    /// What is called so by people: the appliance or the room.
    pub title: &'a str,
    /// The user part of its address.
    pub id: &'a str,
    /// Index into [`Package::content_types`].
    pub form: usize,
    /// How many documents this subscription got before.
    pub nth: u32,
    /// The address as it was subscribed to.
    pub entity: &'a str,
    /// The gateway's domain.
    pub domain: &'a str,
    /// What happened since the last document.
    pub moments: &'a [Moment],
    /// The alerts that the watcher may know of.
    pub alerts: Counts,
    /// Whether a bell rings there that the watcher may hear.
    pub rings: bool,
    /// The person, where it is about one.
    pub person: Option<&'a Presence>,
    /// What the watcher wants of it.
    pub filter: Option<&'a FilterSet>,
    /// How much of it goes into this document.
    pub page: Page,
    /// The time.
    pub now: Now,
}

impl<'a> Member<'a> {
    /// The properties that the watcher may see, with their index.
    pub fn properties(&self) -> impl Iterator<Item = (usize, &'a Property)> + use<'a> {
        let visible = self.visible;
        self.device.model().properties.iter().enumerate().filter(move |(index, _)| sees(visible, *index))
    }

    /// The state in a line for people, of what the watcher may see.
    pub fn summary(&self, now: Now) -> String {
        let properties = &self.device.model().properties;
        let seen = |id: &str| {
            properties
                .iter()
                .position(|property| *property.id == *id)
                .is_some_and(|at| sees(self.visible, at))
        };
        self.device.summary_of(now, &seen)
    }

    /// What its lamp shows; to somebody who may not see what lights it, nothing.
    pub fn lamp(&self) -> Lamp {
        match &self.device.model().phone.lamp {
            Some(rule) if sees(self.visible, rule.property) => self.device.lamp(),
            _ => Lamp::Unknown,
        }
    }

    /// When the newest value was heard, in milliseconds since 1970.
    pub fn newest_ms(&self) -> Option<i64> {
        self.properties().filter_map(|(index, _)| self.device.shadow().reading(index)?.at_ms).max()
    }
}

impl<'a> View<'a> {
    /// A first document of these appliances, for nobody in particular.
    pub fn of(members: &'a [Member<'a>], domain: &'a str, now: Now) -> Self {
        Self {
            members,
            title: "",
            id: "",
            form: 0,
            nth: 0,
            entity: "",
            domain,
            moments: &[],
            alerts: Counts::default(),
            rings: false,
            person: None,
            filter: None,
            page: Page::WHOLE,
            now,
        }
    }
}

impl View<'_> {
    /// The filter for an appliance, or with `None` for the whole.
    pub fn filter_for(&self, id: Option<&str>) -> Option<&Filter> {
        let own = id.map_or_else(|| self.entity.to_owned(), |id| format!("sip:{id}@{}", self.domain));
        let addresses = Addresses { own, entity: self.entity.to_owned(), domain: self.domain.to_owned() };
        addresses.filter_in(self.filter?)
    }

    /// The state in a line for people.
    pub fn summary(&self) -> String {
        match self.members {
            [one] => one.summary(self.now),
            many => {
                let lines: Vec<String> = many
                    .iter()
                    .map(|member| format!("{}: {}", member.device.name(), member.summary(self.now)))
                    .collect();
                lines.join("; ")
            }
        }
    }

    /// What one lamp shows for all of it: lit when anything is.
    pub fn lamp(&self) -> Lamp {
        let lamps = || self.members.iter().map(Member::lamp);
        match (lamps().any(|lamp| lamp == Lamp::Lit), lamps().any(|lamp| lamp == Lamp::Dark)) {
            (true, _) => Lamp::Lit,
            (false, true) => Lamp::Dark,
            (false, false) => Lamp::Unknown,
        }
    }

    /// Whether something can be reached.
    pub fn is_reachable(&self) -> bool {
        self.members.iter().any(|member| member.device.shadow().trusted())
    }
}

fn sees(visible: u128, index: usize) -> bool {
    index < EVENTS && visible >> index & 1 == 1
}

/// Text for an XML attribute or element.
pub fn escape(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(text)
}

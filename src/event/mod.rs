//! Event packages: pure functions from the house to a document.
//!
//! A package keeps no subscription, no timer and no socket; the notifier asks it for a document when
//! one is to be sent. Adding a package is one file here and one line in [`PACKAGES`].

pub mod appliance;
pub mod describe;
pub mod device_info;
pub mod dialog;
pub mod list;
pub mod message_summary;
pub mod package;
pub mod presence;
pub mod subject;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::config::Config;
use crate::config::access::{Access, Identity};
use crate::device::alerts::{Alerts, Counts};
use crate::device::appliance::Device;
use crate::device::house::House;
use crate::sip::notifier::{Document, Moment, Resource, Source, Watcher};
use crate::timer::Now;

pub use self::package::{EVENTS, Member, Package, View};
pub use self::subject::{Class, Rooms, Subject};

/// Every package that the gateway serves; the index is [`Resource::package`].
pub const PACKAGES: [&dyn Package; 5] = [
    &appliance::Appliance,
    &presence::Presence,
    &dialog::Dialog,
    &message_summary::MessageSummary,
    &device_info::DeviceInfo,
];

/// The value of Allow-Events.
pub const ALLOW_EVENTS: &str = "appliance, presence, dialog, message-summary, device-info";

/// The package of that name (RFC 6665 §8.2.1: compared without case).
pub fn find(name: &str) -> Option<(usize, &'static dyn Package)> {
    PACKAGES.iter().copied().enumerate().find(|(_, package)| package.name().eq_ignore_ascii_case(name))
}

/// Documents of the newest state, each made once for all who watch it in the same way.
#[derive(Debug, Default)]
pub struct Cache {
    made: HashMap<Resource, (u64, Document)>,
}

/// Documents kept for sharing; when it is full, all are forgotten and made again.
const CACHED: usize = 256;

/// What the notifier asks for documents.
#[derive(Debug)]
pub struct Documents<'a> {
    /// The configuration: names and rights.
    pub config: &'a Config,
    /// The appliances.
    pub house: &'a House,
    /// Where they stand.
    pub rooms: &'a Rooms,
    /// What a person should know of.
    pub alerts: &'a Alerts,
    /// Shared documents.
    pub cache: &'a mut Cache,
    /// The time.
    pub now: Now,
}

impl Source for Documents<'_> {
    fn tag(&self, resource: Resource) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        resource.hash(&mut hasher);
        match Subject::of(resource.subject) {
            Subject::Alerts => self.alerts.version().hash(&mut hasher),
            subject if resource.facet & CHOSEN != 0 => {
                self.devices(subject).for_each(|device| hash_chosen(device, resource.view, &mut hasher));
            }
            subject => self.devices(subject).for_each(|device| device.shadow().version().hash(&mut hasher)),
        }
        hasher.finish()
    }

    fn document(&mut self, resource: Resource, watcher: Watcher<'_>, moments: &[Moment]) -> Document {
        let subject = Subject::of(resource.subject);
        let Some(package) = PACKAGES.get(resource.package).copied() else {
            return Document {
                content_type: Cow::Borrowed("text/plain"),
                require: None,
                body: bytes::Bytes::new(),
            };
        };
        let version = match subject {
            Subject::Device(device) if package.is_shared() && moments.is_empty() => {
                self.house.device(device).map(|device| device.shadow().version())
            }
            _ => None,
        };
        if let (Some(version), Some((of, document))) = (version, self.cache.made.get(&resource))
            && *of == version
        {
            return document.clone();
        }
        let document = self.make(subject, package, resource, watcher, moments);
        if let Some(version) = version {
            if self.cache.made.len() >= CACHED {
                self.cache.made.clear();
            }
            self.cache.made.insert(resource, (version, document.clone()));
        }
        document
    }
}

impl Documents<'_> {
    fn make(
        &self,
        subject: Subject,
        package: &dyn Package,
        resource: Resource,
        watcher: Watcher<'_>,
        moments: &[Moment],
    ) -> Document {
        let access = &self.config.access;
        let who = identity_of(watcher.who);
        let (form, outside) = (resource.form, resource.facet & OUTSIDE != 0);
        let wanted = if resource.facet & CHOSEN != 0 { resource.view } else { u128::MAX };
        let member = |device| {
            view_of(access, &who, device, outside).map(|visible| Member { device, visible: visible & wanted })
        };
        let members: Vec<Member<'_>> = self.devices(subject).filter_map(member).collect();
        let (title, id) = self.name_of(subject);
        let alerts = self.alerts_for(&who, outside);
        let domain = &self.config.house.domain;
        let view = View {
            members: &members,
            title,
            id,
            form,
            nth: watcher.nth,
            entity: watcher.entity,
            domain,
            moments,
            alerts,
            now: self.now,
        };
        if subject.is_list() {
            return list::document(package, &view);
        }
        let content_type = Cow::Borrowed(package.content_types().get(form).copied().unwrap_or("text/plain"));
        Document { content_type, require: None, body: package.document(&view).into() }
    }

    /// The appliances of a subject, in the order of the home file.
    fn devices(&self, subject: Subject) -> impl Iterator<Item = &Device> {
        self.house
            .devices()
            .filter(move |(id, _)| match subject {
                Subject::Device(device) => *id == device,
                Subject::Room(index) | Subject::RoomList(index) => {
                    self.rooms.get(index).is_some_and(|room| room.devices.contains(id))
                }
                Subject::Class(class) => self.rooms.is_of(class, *id),
                Subject::All => true,
                Subject::Alerts => false,
            })
            .map(|(_, device)| device)
    }

    fn name_of(&self, subject: Subject) -> (&str, &str) {
        match subject {
            Subject::Device(device) => {
                self.house.device(device).map_or(("", ""), |device| (device.name(), device.id()))
            }
            Subject::Room(index) | Subject::RoomList(index) => {
                self.rooms.get(index).map_or(("", ""), |room| (&room.name, &room.id))
            }
            Subject::Class(class) => self.rooms.name_of(class),
            Subject::All => (&self.config.house.title, "all"),
            Subject::Alerts => (&self.config.house.title, "alerts"),
        }
    }

    fn alerts_for(&self, who: &Identity, outside: bool) -> Counts {
        let may_hear = |device: &Device, event: &str| {
            is_there(device, outside)
                && self.config.access.may_see_property(who, device.id(), device.room(), event)
        };
        self.alerts.counts(|alert| {
            self.house.device(alert.device).is_some_and(|device| may_hear(device, &alert.event))
        })
    }
}

/// What is known of the chosen properties; moments are told whatever is known.
fn hash_chosen(device: &Device, view: u128, hasher: &mut impl std::hash::Hasher) {
    use std::hash::Hash as _;
    let shadow = device.shadow();
    (shadow.health().word(), shadow.link_up()).hash(hasher);
    for (index, _) in (Member { device, visible: view }).properties() {
        let known = shadow.reading(index).map(|reading| (&reading.value, reading.stale));
        format!("{known:?} {:?}", shadow.target(index)).hash(hasher);
    }
}

/// In [`Resource::facet`]: the watcher is reached through a registrar elsewhere.
pub const OUTSIDE: u8 = 1;
/// In [`Resource::facet`]: the watcher chose some of what he may see; the view is what he chose.
pub const CHOSEN: u8 = 2;

/// Whether an appliance is there for somebody on that side at all.
pub fn is_there(device: &Device, outside: bool) -> bool {
    !device.isolated() && !(outside && device.hidden())
}

/// What of `device` `who` may see, as [`Member::visible`]; `None` when that there is one is too much
/// already.
pub fn view_of(access: &Access, who: &Identity, device: &Device, outside: bool) -> Option<u128> {
    let (id, room, model) = (device.id(), device.room(), device.model());
    let properties = model.properties.iter().map(|property| &*property.id).take(EVENTS).enumerate();
    let events = model.events.iter().map(|event| &*event.id).take(EVENTS).enumerate();
    let bits = properties
        .chain(events.map(|(index, event)| (EVENTS + index, event)))
        .filter(|(_, item)| access.may_see_property(who, id, room, item))
        .fold(0, |view, (bit, _)| view | 1 << bit);
    (is_there(device, outside) && access.may_see(who, id, room)).then_some(bits)
}

/// An identity as one word, for tables.
pub fn key_of(who: &Identity) -> &str {
    match who {
        Identity::User(name) | Identity::Asserted(name) => name,
    }
}

/// The way back: asserted addresses have a scheme, user names hold no colon.
pub fn identity_of(key: &str) -> Identity {
    if key.contains(':') { Identity::Asserted(key.to_owned()) } else { Identity::User(key.to_owned()) }
}

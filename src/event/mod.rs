//! Event packages: pure functions from the house to a document.
//!
//! A package keeps no subscription, no timer and no socket; the notifier asks it for a document when
//! one is to be sent. Adding a package is one file here and one line in [`PACKAGES`].

pub mod appliance;
pub mod custom;
pub mod describe;
pub mod device_info;
pub mod dialog;
mod documents;
pub mod filter;
pub mod list;
pub mod matrix;
pub mod message_summary;
pub mod package;
pub mod people;
pub mod presence;
pub mod subject;
pub mod winfo;

use crate::config::access::{Access, Identity};
use crate::device::appliance::Device;

pub use self::documents::{Cache, Documents, Run};
pub use self::filter::{Filters, Whose};
pub use self::package::{EVENTS, Member, Package, Sharing, View, partial};
pub use self::people::People;
pub use self::subject::{Class, NOTHING, Rooms, Subject};
pub use self::winfo::{Watching, watcher_of_2000};

/// Every package that the gateway serves; the index is [`Resource::package`].
pub const PACKAGES: [&dyn Package; 7] = [
    &appliance::Appliance,
    &presence::Presence,
    &dialog::Dialog,
    &message_summary::MessageSummary,
    &winfo::Winfo { name: "appliance.winfo", of: "appliance" },
    &winfo::Winfo { name: "presence.winfo", of: "presence" },
    &device_info::DeviceInfo,
];

/// The value of Allow-Events; templates are never in it (RFC 6665 §4.4.4).
pub const ALLOW_EVENTS: &str = "appliance, presence, dialog, message-summary, device-info";

/// The package of that name (RFC 6665 §8.2.1: compared without case).
pub fn find(name: &str) -> Option<(usize, &'static dyn Package)> {
    PACKAGES.iter().copied().enumerate().find(|(_, package)| package.name().eq_ignore_ascii_case(name))
}

/// Whether a package is the one of lamp keys.
pub fn is_dialog(package: usize) -> bool {
    PACKAGES.get(package).is_some_and(|package| package.name() == "dialog")
}

/// In [`Resource::facet`]: the watcher is reached through a registrar elsewhere.
pub const OUTSIDE: u8 = 1;
/// In [`Resource::facet`]: the watcher chose some of what he may see; the view is what he chose.
pub const CHOSEN: u8 = 2;
/// In [`Resource::facet`]: the watcher sees some of it alone, and hears of that alone.
pub const PARTIAL: u8 = 4;

/// Whether an appliance is there for somebody on that side at all.
pub fn is_there(device: &Device, outside: bool) -> bool {
    !(device.isolated() || outside && device.hidden())
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

/// The address of somebody.
pub fn address_of(key: &str, domain: &str) -> String {
    if key.contains(':') { key.to_owned() } else { format!("sip:{key}@{domain}") }
}

/// The way back: asserted addresses have a scheme, user names hold no colon.
pub fn identity_of(key: &str) -> Identity {
    if key.contains(':') { Identity::Asserted(key.to_owned()) } else { Identity::User(key.to_owned()) }
}

//! Documents that the gateway writes itself: what it can do (RFC 4825 §12), and which lists can be
//! subscribed to (RFC 4826 §4).

use super::super::Gateway;
use crate::body::xml::Writer;
use crate::config::access::Identity;
use crate::control::target::{ALL, ROOM};
use crate::event::Subject;
use crate::gateway::lists::OWN;

/// Media type of the first.
pub(super) const CAPABILITIES: &str = "application/xcap-caps+xml";
/// Its namespace.
pub(super) const CAPABILITIES_NS: &str = "urn:ietf:params:xml:ns:xcap-caps";
/// Media type of the second.
pub(super) const SERVICES: &str = "application/rls-services+xml";
/// Its namespace.
pub(super) const SERVICES_NS: &str = "urn:ietf:params:xml:ns:rls-services";
/// The namespace of lists.
pub(super) const LISTS_NS: &str = "urn:ietf:params:xml:ns:resource-lists";

/// What this server can do.
pub(super) fn capabilities() -> String {
    let auids =
        ["xcap-caps", "resource-lists", "rls-services", "pres-rules", "org.openmobilealliance.pres-rules"];
    let namespaces = [
        CAPABILITIES_NS,
        LISTS_NS,
        SERVICES_NS,
        "urn:ietf:params:xml:ns:pres-rules",
        "urn:ietf:params:xml:ns:common-policy",
        "urn:ietf:params:xml:ns:xcap-error",
    ];
    let mut w = Writer::new();
    w.tag("xcap-caps").attr("xmlns", CAPABILITIES_NS).open();
    w.tag("auids").open();
    auids.iter().for_each(|auid| w.leaf("auid", auid));
    w.close();
    w.tag("namespaces").open();
    namespaces.iter().for_each(|namespace| w.leaf("namespace", namespace));
    w.finish()
}

/// A list that can be subscribed to.
struct Service<'a> {
    uri: String,
    title: &'a str,
    entries: Vec<(String, Option<&'a str>)>,
}

impl Gateway {
    /// The lists that somebody may watch: those of the house where `house` says so, and his own.
    pub(super) fn services(&self, who: &Identity, house: bool) -> String {
        let domain = &self.config.house.domain;
        let mut services = Vec::new();
        if house {
            let rooms = self.rooms.iter();
            let rooms =
                rooms.map(|(at, room)| (Subject::RoomList(at), format!("{ROOM}{}", room.id), &*room.name));
            let all = std::iter::once((Subject::All, ALL.to_owned(), &*self.config.house.title));
            for (subject, id, title) in all.chain(rooms) {
                let entries = self.entries_of(who, subject);
                if !entries.is_empty() {
                    services.push(Service { uri: format!("sip:{id}@{domain}"), title, entries });
                }
            }
        }
        let own = match who {
            Identity::User(user) => self.kept.lists.get(user),
            Identity::Asserted(_) => None,
        };
        for list in own.into_iter().flatten() {
            let Some(name) = &list.name else { continue };
            let entries =
                list.entries().into_iter().map(|entry| (entry.uri.clone(), entry.display.as_deref()));
            let uri = format!("sip:{OWN}{}@{domain}", super::super::lists::escaped(name));
            let title = list.display.as_deref().unwrap_or(name);
            services.push(Service { uri, title, entries: entries.collect() });
        }
        write(&services)
    }

    /// What of a list of the house somebody may watch.
    fn entries_of(&self, who: &Identity, subject: Subject) -> Vec<(String, Option<&str>)> {
        let access = &self.config.access;
        let members = self.house.devices().filter(|(id, device)| {
            let in_it = match subject {
                Subject::RoomList(room) => self.rooms.of_device(*id) == Some(room),
                _ => true,
            };
            in_it && access.may_see(who, device.id(), device.room())
        });
        let domain = &self.config.house.domain;
        members.map(|(_, device)| (format!("sip:{}@{domain}", device.id()), Some(device.name()))).collect()
    }
}

fn write(services: &[Service<'_>]) -> String {
    let mut w = Writer::new();
    w.tag("rls-services").attr("xmlns", SERVICES_NS).attr("xmlns:rl", LISTS_NS).open();
    for service in services {
        w.tag("service").attr("uri", &service.uri).open();
        w.tag("list").open();
        w.leaf("rl:display-name", service.title);
        for (uri, name) in &service.entries {
            match name {
                None => w.tag("rl:entry").attr("uri", uri).empty(),
                Some(name) => {
                    w.tag("rl:entry").attr("uri", uri).open();
                    w.leaf("rl:display-name", name);
                    w.close();
                }
            }
        }
        w.close();
        w.tag("packages").open();
        ["appliance", "presence", "dialog"].iter().for_each(|package| w.leaf("package", package));
        w.close();
        w.close();
    }
    w.finish()
}

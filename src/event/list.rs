//! Lists (RFC 4662): each appliance, and each person, for itself, in one NOTIFY. Every document is the full state, which
//! §5.2 allows, so that a watcher who missed one has everything again with the next.
//!
//! Only where that is too long for one NOTIFY it comes in several: after a SUBSCRIBE the first names
//! all appliances, with the state of as many as fit, and the others bring the rest as partial state.

use std::borrow::Cow;
use std::collections::HashSet;

use super::custom::CustomEntry;
use super::package::{Member, Package, View};
use super::subject::Subject;
use crate::body::multipart::Part;
use crate::body::presence::{Note, Presence};
use crate::body::rlmi::{self, Instance, InstanceState, Resource, Rlmi};
use crate::config::DeviceId;
use crate::device::appliance::Device;
use crate::limits;
use crate::sip::notifier::Document;

/// The extension that a watcher of a list must know.
pub const EXTENSION: &str = "eventlist";
/// The name of a moment that says that an appliance is gone from a list; its value is the reason and
/// the address.
pub const GONE: &str = "gone";

/// The state of a list of the house: what explains it, then one part for each appliance. `view` is that
/// of the whole list.
pub fn document(package: &dyn Package, view: &View<'_>) -> Document {
    let mut list = Listed::default();
    for member in view.members {
        let uri = format!("sip:{}@{}", member.device.id(), view.domain);
        list.add(package, view, member, uri, member.device.name());
    }
    for (reason, uri) in gone(view) {
        list.rows.push((terminated(uri.to_owned(), None, reason), None));
    }
    list.finish(view)
}

/// The state of a list that somebody wrote, in his order and with his names. `view` has the appliances
/// on it that he may see, and `person` tells of people whom he may watch; what he may not see looks like
/// what is not there.
pub fn written<'d>(
    package: &dyn Package,
    view: &View<'_>,
    entries: &[CustomEntry],
    device: impl Fn(DeviceId) -> Option<&'d Device>,
    person: impl Fn(usize) -> Option<(&'d str, &'d Presence)>,
    shows: impl Fn(Subject) -> bool,
) -> Document {
    let mut list = Listed::default();
    let (mut devices, mut people) = (HashSet::new(), HashSet::new());
    for entry in entries {
        let id = entry.device.and_then(&device).map(Device::id);
        let member = view.members.iter().find(|member| Some(member.device.id()) == id);
        let title = entry.title.as_deref();
        let uri = entry.uri.clone();
        let person = entry.user.and_then(&person);
        // What is seen stands there once. What is not seen must not show by what it is the same as.
        let again = member.is_some() && !devices.insert(entry.device)
            || person.is_some() && !people.insert(entry.user);
        if again || member.is_none() && entry.member || entry.place.is_some_and(&shows) {
            continue;
        }
        match member {
            Some(member) => list.add(package, view, member, uri, title.unwrap_or(member.device.name())),
            None if person.is_some() => list.add_person(package, view, person, uri, title),
            // It is said once that there is nothing; from then on its state is just not known.
            None if entry.ours && view.nth == 0 => {
                list.rows.push((terminated(uri, title, "noresource"), None));
            }
            None => list.rows.push((Resource { uri, names: names(title), instances: Vec::new() }, None)),
        }
    }
    for (reason, uri) in gone(view) {
        match list.rows.iter_mut().map(|(resource, _)| resource).find(|resource| resource.uri == uri) {
            Some(known) if known.instances.is_empty() => known.instances.push(ended(uri, reason)),
            Some(_) => {}
            None => list.rows.push((terminated(uri.to_owned(), None, reason), None)),
        }
    }
    list.finish(view)
}

/// Each resource, and the state behind it.
#[derive(Default)]
struct Listed {
    rows: Vec<(Resource, Option<Part>)>,
}

impl Listed {
    fn add(&mut self, package: &dyn Package, view: &View<'_>, member: &Member<'_>, uri: String, title: &str) {
        let cid = format!("{}.{}@{}", member.device.id(), view.nth, view.domain);
        let part = part(package, view, member, &uri, &cid);
        let id = instance_id(&uri).to_owned();
        let instance = Instance { id, state: InstanceState::Active, reason: None, cid: Some(cid) };
        self.rows.push((Resource { uri, names: names(Some(title)), instances: vec![instance] }, Some(part)));
    }

    fn add_person(
        &mut self,
        package: &dyn Package,
        view: &View<'_>,
        person: Option<(&str, &Presence)>,
        uri: String,
        title: Option<&str>,
    ) {
        let Some((name, presence)) = person else { return };
        let cid = format!("{name}.{}@{}", view.nth, view.domain);
        let one = View {
            members: &[],
            title: name,
            id: name,
            entity: &uri,
            person: Some(presence),
            moments: &[],
            ..*view
        };
        let part = part_of(package, &one, &cid);
        let id = instance_id(&uri).to_owned();
        let instance = Instance { id, state: InstanceState::Active, reason: None, cid: Some(cid) };
        let names = names(Some(title.unwrap_or(name)));
        self.rows.push((Resource { uri, names, instances: vec![instance] }, Some(part)));
    }

    fn finish(self, view: &View<'_>) -> Document {
        let whole: usize =
            self.rows.iter().map(|(resource, part)| head(resource) + tail(part.as_ref())).sum();
        if view.page.from == 0 && whole <= limits::LIST_STATE {
            return document_of(view, true, self.rows, None);
        }
        self.page(view)
    }

    /// As much as fits of what is too long for one document.
    fn page(self, view: &View<'_>) -> Document {
        let page = view.page;
        let heads: usize = self.rows.iter().map(|(resource, _)| head(resource)).sum();
        let mut room = limits::LIST_STATE.saturating_sub(if page.full { heads } else { 0 });
        let (mut rows, mut rest, mut some) = (Vec::new(), None, false);
        for (at, (resource, part)) in self.rows.into_iter().enumerate() {
            let size = tail(part.as_ref()) + if page.full { 0 } else { head(&resource) };
            let fits = at >= page.from && rest.is_none() && (size <= room || !some);
            if fits {
                room = room.saturating_sub(size);
                some = true;
                rows.push((resource, part));
                continue;
            }
            if at >= page.from {
                rest.get_or_insert(at);
            }
            if page.full {
                // Its state is not known yet (§5.3): it follows.
                rows.push((Resource { instances: Vec::new(), ..resource }, None));
            }
        }
        document_of(view, page.full, rows, rest)
    }
}

fn document_of(
    view: &View<'_>,
    full: bool,
    rows: Vec<(Resource, Option<Part>)>,
    rest: Option<usize>,
) -> Document {
    let (resources, parts): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let list = Rlmi {
        uri: view.entity.to_owned(),
        version: view.nth,
        full,
        names: names(Some(view.title).filter(|title| !title.is_empty())),
        resources,
    };
    let parts = parts.into_iter().flatten().collect();
    let (content_type, body) = rlmi::write_related(&list, parts, view.domain);
    Document { content_type: Cow::Owned(content_type), require: Some(EXTENSION), body: body.into(), rest }
}

/// About how many bytes a resource takes up in the part that explains the others.
fn head(resource: &Resource) -> usize {
    let names: usize = resource.names.iter().map(|name| name.text.len() + 16).sum();
    let ids = resource.instances.iter();
    let instances: usize = ids.map(|one| 80 + one.id.len() + one.cid.as_ref().map_or(0, String::len)).sum();
    50 + resource.uri.len() + names + instances
}

/// About how many bytes its state takes up.
fn tail(part: Option<&Part>) -> usize {
    part.map_or(0, |part| 160 + part.content_id.as_ref().map_or(0, String::len) + part.body.len())
}

fn part(package: &dyn Package, view: &View<'_>, member: &Member<'_>, uri: &str, cid: &str) -> Part {
    let one = View {
        members: std::slice::from_ref(member),
        title: member.device.name(),
        id: member.device.id(),
        entity: uri,
        moments: &[],
        ..*view
    };
    part_of(package, &one, cid)
}

fn part_of(package: &dyn Package, one: &View<'_>, cid: &str) -> Part {
    Part {
        content_type: package.content_types().get(one.form).map(|kind| (*kind).to_owned()),
        content_id: Some(cid.to_owned()),
        disposition: None,
        body: package.document(one).into_bytes(),
    }
}

/// What is gone since the last document, as reason and address.
fn gone<'v>(view: &View<'v>) -> impl Iterator<Item = (&'v str, &'v str)> {
    view.moments
        .iter()
        .filter(|moment| *moment.name == *GONE)
        .filter_map(|moment| moment.value.split_once(' '))
}

fn terminated(uri: String, title: Option<&str>, reason: &str) -> Resource {
    let instances = vec![ended(&uri, reason)];
    Resource { uri, names: names(title), instances }
}

fn ended(uri: &str, reason: &str) -> Instance {
    Instance {
        id: instance_id(uri).to_owned(),
        state: InstanceState::Terminated,
        reason: Some(reason.to_owned()),
        cid: None,
    }
}

/// The user part: the same in every document of a subscription.
fn instance_id(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split('@').next().unwrap_or(rest)
}

fn names(text: Option<&str>) -> Vec<Note> {
    text.map(|text| Note { lang: None, text: text.to_owned() }).into_iter().collect()
}

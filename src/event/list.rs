//! Lists (RFC 4662): each appliance for itself, in one NOTIFY. Every document is the full state, which
//! §5.2 allows, so that a watcher who missed one has everything again with the next.

use std::borrow::Cow;

use super::custom::CustomEntry;
use super::package::{Member, Package, View};
use crate::body::multipart::Part;
use crate::body::presence::Note;
use crate::body::rlmi::{self, Instance, InstanceState, Resource, Rlmi};
use crate::config::DeviceId;
use crate::device::appliance::Device;
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
        list.resources.push(terminated(uri.to_owned(), None, reason));
    }
    list.finish(view)
}

/// The state of a list that somebody wrote, in his order and with his names. `view` has the appliances
/// on it that he may see; what he may not see looks like what is not there.
pub fn written<'d>(
    package: &dyn Package,
    view: &View<'_>,
    entries: &[CustomEntry],
    device: impl Fn(DeviceId) -> Option<&'d Device>,
) -> Document {
    let mut list = Listed::default();
    for entry in entries {
        let id = entry.device.and_then(&device).map(Device::id);
        let member = view.members.iter().find(|member| Some(member.device.id()) == id);
        let title = entry.title.as_deref();
        let uri = entry.uri.clone();
        match member {
            Some(member) => list.add(package, view, member, uri, title.unwrap_or(member.device.name())),
            // It is said once that there is nothing; from then on its state is just not known.
            None if entry.ours && view.nth == 0 => list.resources.push(terminated(uri, title, "noresource")),
            None => list.resources.push(Resource { uri, names: names(title), instances: Vec::new() }),
        }
    }
    for (reason, uri) in gone(view) {
        match list.resources.iter_mut().find(|resource| resource.uri == uri) {
            Some(known) if known.instances.is_empty() => known.instances.push(ended(uri, reason)),
            Some(_) => {}
            None => list.resources.push(terminated(uri.to_owned(), None, reason)),
        }
    }
    list.finish(view)
}

#[derive(Default)]
struct Listed {
    resources: Vec<Resource>,
    parts: Vec<Part>,
}

impl Listed {
    fn add(&mut self, package: &dyn Package, view: &View<'_>, member: &Member<'_>, uri: String, title: &str) {
        let cid = format!("{}.{}@{}", member.device.id(), view.nth, view.domain);
        self.parts.push(part(package, view, member, &uri, &cid));
        let id = instance_id(&uri).to_owned();
        let instance = Instance { id, state: InstanceState::Active, reason: None, cid: Some(cid) };
        self.resources.push(Resource { uri, names: names(Some(title)), instances: vec![instance] });
    }

    fn finish(self, view: &View<'_>) -> Document {
        let list = Rlmi {
            uri: view.entity.to_owned(),
            version: view.nth,
            full: true,
            names: names(Some(view.title).filter(|title| !title.is_empty())),
            resources: self.resources,
        };
        let (content_type, body) = rlmi::write_related(&list, self.parts, view.domain);
        Document { content_type: Cow::Owned(content_type), require: Some(EXTENSION), body: body.into() }
    }
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
    Part {
        content_type: package.content_types().get(view.form).map(|kind| (*kind).to_owned()),
        content_id: Some(cid.to_owned()),
        disposition: None,
        body: package.document(&one).into_bytes(),
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

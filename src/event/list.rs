//! Lists (RFC 4662): each appliance for itself, in one NOTIFY. Every document is the full state.

use std::borrow::Cow;

use super::package::{Member, Package, View};
use crate::body::multipart::Part;
use crate::body::presence::Note;
use crate::body::rlmi::{self, Instance, InstanceState, Resource, Rlmi};
use crate::sip::notifier::Document;

/// The extension that a watcher of a list must know.
pub const EXTENSION: &str = "eventlist";

/// The state of a list: what explains it, then one part for each appliance. `view` is that of the
/// whole list.
pub fn document(package: &dyn Package, view: &View<'_>) -> Document {
    let mut resources = Vec::new();
    let mut parts = Vec::new();
    for member in view.members {
        let uri = format!("sip:{}@{}", member.device.id(), view.domain);
        let cid = format!("{}.{}@{}", member.device.id(), view.nth, view.domain);
        parts.push(part(package, view, member, &uri, &cid));
        let instance = Instance {
            id: member.device.id().to_owned(),
            state: InstanceState::Active,
            reason: None,
            cid: Some(cid),
        };
        resources.push(Resource { uri, names: vec![name(member.device.name())], instances: vec![instance] });
    }
    let list = Rlmi {
        uri: view.entity.to_owned(),
        version: view.nth,
        full: true,
        names: vec![name(view.title)],
        resources,
    };
    let (content_type, body) = rlmi::write_related(&list, parts, view.domain);
    Document { content_type: Cow::Owned(content_type), require: Some(EXTENSION), body: body.into() }
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

fn name(text: &str) -> Note {
    Note { lang: None, text: text.to_owned() }
}

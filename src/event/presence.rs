//! `presence` (RFC 3856): the appliance as somebody who is reachable or not, its state as a note
//! (RFC 3863), and lit or dark as an activity (RFC 4480) for phones that show no notes. Peers that
//! name one of the formats of 2000 get that one. People of the house have a presence, too.

use std::time::Duration;

use jiff::Timestamp;

use super::package::{Member, Package, Sharing, View};
use super::subject::Subject;
use crate::body::filter::{Filter, Part};
use crate::body::presence as model;
use crate::body::presence::{Extra, Note, Status, Tuple};
use crate::body::{lpidf, pidf, xpidf};
use crate::device::appliance::{Lamp, show};

/// See the module.
#[derive(Debug)]
pub struct Presence;

const FORMS: [&str; 4] =
    ["application/pidf+xml", "application/cpim-pidf+xml", "application/xpidf+xml", "text/lpidf"];

impl Package for Presence {
    fn name(&self) -> &'static str {
        "presence"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &FORMS
    }

    fn offered(&self) -> usize {
        1
    }

    fn covers(&self, subject: Subject) -> bool {
        subject != Subject::Alerts
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn filters(&self) -> bool {
        true
    }

    fn sharing(&self) -> Sharing {
        Sharing::Address
    }

    /// RFC 3856 §6.6.2.
    fn neutral(&self, view: &View<'_>) -> Option<String> {
        let waits = "waiting for the owner to allow this".to_owned();
        Some(write(&model::Presence { display: None, notes: vec![note(waits)], ..presence(view) }, view))
    }

    fn document(&self, view: &View<'_>) -> String {
        write(&presence(view), view)
    }
}

fn write(presence: &model::Presence, view: &View<'_>) -> String {
    match view.form {
        0 => pidf::write(presence, pidf::Label::Pidf),
        1 => pidf::write(presence, pidf::Label::Cpim),
        2 => xpidf::write(presence),
        _ => lpidf::write(presence, Timestamp::from_millisecond(view.now.wall_ms).unwrap_or_default()),
    }
}

fn presence(view: &View<'_>) -> model::Presence {
    let mut presence = match view.person {
        Some(person) => model::Presence { entity: view.entity.to_owned(), ..person.clone() },
        None => model::Presence {
            entity: view.entity.to_owned(),
            display: Some(view.title.to_owned()),
            tuples: view.members.iter().map(|member| tuple(member, view)).collect(),
            activities: Vec::new(),
            notes: vec![note(view.summary())],
        },
    };
    if view.filter.is_some() {
        narrow(&mut presence, view);
    }
    presence
}

/// Takes out what the watcher does not want; values are left out before.
fn narrow(presence: &mut model::Presence, view: &View<'_>) {
    let ids = view.members.iter().map(|member| Some(member.device.id())).chain(std::iter::repeat(None));
    for (tuple, id) in presence.tuples.iter_mut().zip(ids) {
        let Some(filter) = view.filter_for(id) else { continue };
        narrow_tuple(tuple, filter);
    }
    if view.filter_for(None).is_some_and(|filter| !filter.shows(&Part::Note)) {
        presence.notes.clear();
    }
}

fn narrow_tuple(tuple: &mut Tuple, filter: &Filter) {
    if !filter.shows(&Part::Basic) {
        tuple.status = Status::Unknown;
    }
    if !filter.shows(&Part::Contact) {
        tuple.contact = None;
    }
    if !filter.shows(&Part::Priority) {
        tuple.priority = None;
    }
    if !filter.shows(&Part::Note) {
        tuple.notes.clear();
    }
    if !filter.shows(&Part::Timestamp) {
        tuple.timestamp = None;
    }
}

/// One appliance: reachable or not, lit or not, and how it stands.
fn tuple(member: &Member<'_>, view: &View<'_>) -> Tuple {
    let shadow = member.device.shadow();
    let status = match (shadow.trusted(), member.lamp()) {
        (false, _) => Status::Closed,
        (true, Lamp::Lit) => Status::InUse,
        (true, Lamp::Dark | Lamp::Unknown) => Status::Open,
    };
    let own = format!("sip:{}@{}", member.device.id(), view.domain);
    // Alone, it is called as it was subscribed to.
    let contact = if view.members.len() == 1 { view.entity.to_owned() } else { own };
    let at = shadow.health_since_ms().max(member.newest_ms().unwrap_or(i64::MIN));
    let believed = member.properties().filter_map(|(index, property)| {
        let value = shadow.believed(index)?;
        Some(Extra { name: property.id.to_string(), unit: None, value: show(property, value) })
    });
    Tuple {
        id: format!("a-{}", member.device.id()),
        status,
        contact: Some(contact),
        notes: vec![note(member.summary(view.now))],
        timestamp: Timestamp::from_millisecond(at).ok(),
        extra: believed.collect(),
        ..Tuple::default()
    }
}

fn note(text: String) -> Note {
    Note { lang: Some("en".to_owned()), text }
}

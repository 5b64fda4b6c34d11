//! Filters of subscriptions (RFC 4660) laid over the house: what a watcher wants of what he may see,
//! and whether a change is worth telling him.
//!
//! A filter only narrows. What somebody may not see is no part of anything that a filter can name.

use std::collections::HashMap;

use slab::Slab;

use super::package::{EVENTS, Member};
use crate::body::filter::{Filter, FilterSet, Part, Target};
use crate::body::presence::{Presence, Status};
use crate::config::DeviceId;
use crate::device::appliance::{Device, show};
use crate::device::profile::Property;
use crate::device::value::Value;
use crate::limits;
use crate::sip::notifier::Moment;
use crate::timer::Now;

/// The filters of all subscriptions that have some. A subscription names its own by a number.
#[derive(Debug, Default)]
pub struct Filters {
    held: Slab<Held>,
}

#[derive(Debug)]
struct Held {
    set: FilterSet,
    /// What the watcher was told last, of each member.
    told: HashMap<Whose, Facts>,
}

/// Whose state it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    /// An appliance's.
    Device(DeviceId),
    /// A user's: an index into [`Config::users`](crate::config::Config::users).
    Person(usize),
}

/// What is the case, part by part, in words that a filter can compare.
pub type Facts = Vec<(Part, String)>;

impl Filters {
    /// Whether one more subscription may have filters.
    pub fn has_room(&self) -> bool {
        self.held.len() < limits::FILTERED
    }

    /// Keeps filters; the number that names them.
    pub fn add(&mut self, set: FilterSet) -> usize {
        self.held.insert(Held { set, told: HashMap::new() })
    }

    /// The filters of that number.
    pub fn get(&self, index: usize) -> Option<&FilterSet> {
        self.held.get(index).map(|held| &held.set)
    }

    /// Puts others in their place. What was told stays: a refresh tells everything anew.
    pub fn replace(&mut self, index: usize, set: FilterSet) {
        if let Some(held) = self.held.get_mut(index) {
            held.set = set;
        }
    }

    /// What was told of has other places now.
    pub fn relocate(&mut self, to: impl Fn(Whose) -> Option<Whose>) {
        for (_, held) in &mut self.held {
            let told = std::mem::take(&mut held.told);
            held.told = told.into_iter().filter_map(|(whose, facts)| Some((to(whose)?, facts))).collect();
        }
    }

    /// Forgets filters.
    pub fn remove(&mut self, index: usize) {
        self.held.try_remove(index);
    }

    /// Remembers what the watcher is told now.
    pub(super) fn told(&mut self, index: usize, now: HashMap<Whose, Facts>) {
        if let Some(held) = self.held.get_mut(index) {
            held.told = now;
        }
    }

    /// Whether what is now and what just happened is worth a NOTIFY after what was told last.
    pub(super) fn worth(
        &self,
        index: usize,
        now: &HashMap<Whose, Facts>,
        moments: &[Moment],
        of: &dyn Fn(Whose) -> Addresses,
    ) -> bool {
        let Some(held) = self.held.get(index) else { return true };
        now.iter().any(|(whose, after)| {
            let Some(filter) = of(*whose).filter_in(&held.set) else {
                return held.told.get(whose) != Some(after) || !moments.is_empty();
            };
            let before = held.told.get(whose).map(Vec::as_slice).unwrap_or_default();
            let seen = |moment: &&Moment| filter.shows(&Part::Property(moment.name.to_string()));
            if filter.triggers.is_empty() {
                let shown = |facts: &[(Part, String)]| {
                    facts.iter().filter(|(part, _)| filter.shows(part)).cloned().collect::<Facts>()
                };
                return moments.iter().any(|moment| seen(&moment)) || shown(before) != shown(after);
            }
            let happened = |part: &Part| {
                let is = |moment: &&Moment| matches!(part, Part::Property(name) if **name == *moment.name);
                moments.iter().find(is).map(|moment| moment.value.to_string())
            };
            filter.fires(&|part| find(before, part), &|part| find(after, part).or_else(|| happened(part)))
        })
    }
}

fn find(facts: &[(Part, String)], wanted: &Part) -> Option<String> {
    facts.iter().find(|(part, _)| part == wanted).map(|(_, text)| text.clone())
}

/// By which addresses filters may name a member.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Its own.
    pub own: String,
    /// What was subscribed to.
    pub entity: String,
    /// The domain of the house.
    pub domain: String,
}

impl Addresses {
    /// The filter for this member: one that names it, one for what was subscribed to, one for all.
    pub fn filter_in<'a>(&self, set: &'a FilterSet) -> Option<&'a Filter> {
        let own = set.for_address(&self.own, &self.domain);
        let named = own.filter(|filter| matches!(filter.target, Target::Uri(_)));
        named.or_else(|| set.for_address(&self.entity, &self.domain)).or(own)
    }
}

/// What a filter leaves of the bits of a view.
pub fn mask(filter: &Filter, device: &Device) -> u128 {
    let model = device.model();
    let properties = model.properties.iter().map(|property| &property.id).take(EVENTS).enumerate();
    let events = model.events.iter().map(|event| &event.id).take(EVENTS).enumerate();
    properties
        .chain(events.map(|(index, event)| (EVENTS + index, event)))
        .filter(|(_, id)| filter.shows(&Part::Property(id.to_string())))
        .fold(0, |mask, (bit, _)| mask | 1 << bit)
}

/// What is the case with a member. `words` are those of a package for people; else values are written
/// as SenML writes them.
pub(super) fn facts(member: &Member<'_>, now: Now, words: bool) -> Facts {
    let shadow = member.device.shadow();
    let basic = if shadow.trusted() { "open" } else { "closed" };
    let mut facts = vec![(Part::Basic, basic.to_owned()), (Part::Note, member.summary(now))];
    facts.extend(member.properties().filter_map(|(index, property)| {
        let value = shadow.believed(index)?;
        Some((Part::Property(property.id.to_string()), text_of(property, value, words)))
    }));
    facts
}

/// What is the case with a person.
pub(super) fn facts_of(person: &Presence) -> Facts {
    let of = |text: &dyn Fn(&crate::body::presence::Tuple) -> String| {
        person.tuples.iter().map(text).collect::<Vec<_>>().join("\n")
    };
    let open = person.tuples.iter().any(|tuple| matches!(tuple.status, Status::Open | Status::InUse));
    let notes = person.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join("\n");
    let each = |tuple: &crate::body::presence::Tuple| {
        tuple.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>().join(" ")
    };
    vec![
        (Part::Basic, if open { "open" } else { "closed" }.to_owned()),
        (Part::Note, format!("{notes}\n{}", of(&each))),
        (Part::Contact, of(&|tuple| tuple.contact.clone().unwrap_or_default())),
        (Part::Status, of(&|tuple| format!("{} {:?}", tuple.id, tuple.status))),
    ]
}

/// A number without its unit, so that it can be compared.
fn text_of(property: &Property, value: &Value, words: bool) -> String {
    match value {
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Bool(value) if !words => value.to_string(),
        value => show(property, value),
    }
}

/// The first thing that a filter names and nothing in `exists` is called; in words.
pub fn unknown(set: &FilterSet, package: &str, exists: &dyn Fn(&str) -> bool) -> Option<String> {
    if let Some(other) = set.package.as_deref().filter(|other| !other.eq_ignore_ascii_case(package)) {
        return Some(format!("the package {other}"));
    }
    let parts = set.filters.iter().flat_map(parts);
    parts.filter_map(|part| if let Part::Property(name) = part { Some(name) } else { None }).find_map(
        |name| (!exists(name)).then(|| format!("the property {}", name.replace(char::is_control, " "))),
    )
}

fn parts(filter: &Filter) -> impl Iterator<Item = &Part> {
    let triggers = filter.triggers.iter().flat_map(|trigger| {
        let changed = trigger.changed.iter().map(|changed| &changed.part);
        changed.chain(&trigger.added).chain(&trigger.removed)
    });
    filter.include.iter().chain(&filter.exclude).chain(triggers)
}

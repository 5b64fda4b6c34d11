//! Home Assistant's MQTT discovery: each message describes one entity, or a device with all of its own.
//!
//! Entities of one device become one profile. Of templates only plain paths are understood; whatever
//! else is asked for is left out, and said.

mod config;
mod control;
mod entity;
mod sense;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::draft::Draft;
use super::names::{shown, slug};
use super::{Heard, MOST_DEVICES, Tally};
use crate::device::profile::json_text;
use config::{Config, expanded, names_of_device};
use entity::Entity;

/// Entities of one device that are looked at; of more the number is told.
const MOST_ENTITIES: usize = 256;

/// Every device that is described.
pub(super) fn drafts(heard: &Heard, prefix: &str, tally: &mut Tally) -> Vec<Draft> {
    let mut devices: BTreeMap<String, Device> = BTreeMap::new();
    for (topic, payloads) in heard.messages() {
        let Some(of) = Topic::of(topic, prefix) else { continue };
        let Some(payload) = payloads.last() else { continue };
        let Some(Json::Object(message)) = tally.description(payload) else { continue };
        let config = expanded(&message, "");
        if config.text("origin/name").is_some_and(|name| name == "sipliance") {
            tally.own += 1;
            continue;
        }
        for entity in entities(&of, config) {
            let key = entity.config.device_key().unwrap_or_else(|| entity.place.clone());
            if devices.len() >= MOST_DEVICES && !devices.contains_key(&key) {
                tally.more += 1;
                continue;
            }
            devices.entry(key).or_default().entities.push(entity);
        }
    }
    devices.into_values().filter_map(Device::draft).collect()
}

/// `<prefix>/<component>/[<node>/]<object>/config`
struct Topic<'a> {
    component: &'a str,
    object: &'a str,
    whole: &'a str,
}

impl<'a> Topic<'a> {
    fn of(topic: &'a str, prefix: &str) -> Option<Self> {
        let rest = topic.strip_prefix(prefix)?.strip_prefix('/')?.strip_suffix("/config")?;
        let levels: Vec<&str> = rest.split('/').collect();
        let (component, object) = match levels.as_slice() {
            [component, object] | [component, _, object] => (component, object),
            _ => return None,
        };
        Some(Self { component, object, whole: topic })
    }
}

/// The entities of one message.
fn entities(of: &Topic<'_>, config: Config) -> Vec<Entity> {
    if of.component != "device" {
        return vec![Entity::new(of.component, of.object, of.whole, config)];
    }
    let base = config.text("~").unwrap_or_default();
    let components = config.object("components").cloned().unwrap_or_default();
    let part = |(key, part): (&String, &Json)| {
        let part = part.as_object().filter(|part| !part.is_empty())?;
        let own = expanded(part, &base).or(&config);
        // A part that only names its platform is one that was taken away.
        let platform = own.text("platform")?;
        (part.len() > 1).then(|| Entity::new(&platform, key, of.whole, own))
    };
    components.iter().take(MOST_ENTITIES).filter_map(part).collect()
}

/// What belongs together.
#[derive(Default)]
struct Device {
    entities: Vec<Entity>,
}

impl Device {
    fn draft(mut self) -> Option<Draft> {
        // Numbers at the end of names follow the order of topics and keys, which stays the same.
        let more = self.entities.len().saturating_sub(MOST_ENTITIES);
        self.entities.truncate(MOST_ENTITIES);
        let first = self.entities.first()?;
        let device = first.config.object("device").map(names_of_device).unwrap_or_default();
        let named = |key: &str| device.get(key).and_then(json_text).as_deref().and_then(shown);
        let name = named("name").or_else(|| first.config.text("name").as_deref().and_then(shown));
        let name = name.unwrap_or_else(|| shown(&first.object).unwrap_or_else(|| "Device".to_owned()));
        let model =
            [named("manufacturer"), named("model")].into_iter().flatten().collect::<Vec<_>>().join(" ");
        let places: BTreeSet<&str> = self.entities.iter().map(|entity| entity.place.as_str()).collect();
        let mut draft = Draft {
            id: format!("hass-{}", if slug(&name).is_empty() { "device".to_owned() } else { slug(&name) }),
            name,
            origin: origin(&places, &model),
            ..Draft::default()
        };
        draft.online = self.online(&mut draft);
        for entity in &self.entities {
            if let Err(why) = entity.put(&mut draft) {
                draft.note(&format!("{} ({})", entity.title(), entity.component), why);
            }
        }
        entity::merge_triggers(&mut draft);
        if more > 0 {
            draft.notes.push(format!("left out: {more} entities beyond {MOST_ENTITIES}"));
        }
        (!draft.is_empty() || !draft.notes.is_empty()).then_some(draft)
    }

    /// The topic that says whether the device is there: the one that most entities name last, where bridges
    /// stand first.
    fn online(&self, draft: &mut Draft) -> Option<super::draft::Availability> {
        let mut counts: BTreeMap<super::draft::Availability, usize> = BTreeMap::new();
        let mut others: BTreeSet<String> = BTreeSet::new();
        for entity in &self.entities {
            let all = entity.config.availability();
            others.extend(all.iter().flatten().map(|one| one.from.topic.clone()));
            for why in all.iter().filter_map(|one| one.as_ref().err()) {
                let note = format!("left out: availability – {why}");
                if !draft.notes.contains(&note) {
                    draft.notes.push(note);
                }
            }
            if let Some(last) = all.into_iter().flatten().last() {
                *counts.entry(last).or_default() += 1;
            }
        }
        let best = counts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(&a.0))).map(|(one, _)| one)?;
        others.remove(&best.from.topic);
        if !others.is_empty() {
            let others: Vec<String> = others.into_iter().take(4).collect();
            draft
                .notes
                .push(format!("also says whether it is there, and is not used: {}", others.join(", ")));
        }
        Some(best)
    }
}

fn origin(places: &BTreeSet<&str>, model: &str) -> String {
    let first = places.iter().next().copied().unwrap_or_default();
    let more = match places.len() {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let model = if model.is_empty() { String::new() } else { format!("; {model}") };
    format!("{first}{more} (Home Assistant discovery){model}")
}

//! One entity, and which part of a profile it becomes.

use super::super::draft::{Draft, Event, From, Kind, Property, Source, guards};
use super::super::names::{shown, slug};
use super::config::{Config, names_of_device};
use crate::device::profile::json_text;

/// One entity.
#[derive(Debug)]
pub(super) struct Entity {
    /// `switch`, `sensor` …
    pub component: String,
    /// Its id in the topic or in the message.
    pub object: String,
    /// The topic that described it.
    pub place: String,
    pub config: Config,
}

impl Entity {
    pub fn new(component: &str, object: &str, place: &str, config: Config) -> Self {
        Self { component: component.to_owned(), object: object.to_owned(), place: place.to_owned(), config }
    }

    /// What people call it, without the name of the device before it.
    pub fn title(&self) -> String {
        let Some(name) = self.config.text("name").as_deref().and_then(shown) else {
            let class = self.config.text("device_class").as_deref().and_then(shown);
            return sentence(&class.unwrap_or_else(|| self.component.clone()));
        };
        let device = self.config.object("device").map(names_of_device).unwrap_or_default();
        let device = device.get("name").and_then(json_text).unwrap_or_default();
        match name.strip_prefix(&device).map(|rest| rest.trim_start_matches([' ', '-', '_'])) {
            Some(rest) if !rest.is_empty() && !device.is_empty() => rest.to_owned(),
            _ => name,
        }
    }

    /// What a part of it is called: the bare word, unless another entity of the device has that already.
    pub fn part(&self, draft: &Draft, word: &str) -> String {
        if draft.taken.contains(&slug(word)) {
            format!("{} {}", self.title(), word.to_lowercase())
        } else {
            word.to_owned()
        }
    }

    /// Puts it into the profile.
    ///
    /// # Errors
    /// Why it is left out.
    pub fn put(&self, draft: &mut Draft) -> Result<(), String> {
        if self.config.text("encoding").is_some_and(|encoding| encoding != "utf-8") {
            return Err("its payloads are not UTF-8".to_owned());
        }
        match self.component.as_str() {
            "sensor" => self.sensor(draft),
            "binary_sensor" => self.binary_sensor(draft),
            "event" => self.event(draft),
            "device_automation" => self.trigger(draft),
            "switch" => self.switch(draft),
            "light" => self.light(draft),
            "button" => self.button(draft),
            "number" => self.number(draft),
            "select" => self.select(draft),
            "cover" => self.cover(draft),
            "lock" => self.lock(draft),
            "climate" => self.climate(draft),
            other => Err(format!("there is no way to tell or work a {other}")),
        }
    }

    /// The topic where its state is.
    pub fn state(&self) -> Result<Option<Source>, String> {
        self.config.source("state_topic", "value_template")
    }

    /// A property with what every entity may say.
    pub fn property(&self, draft: &mut Draft, name: &str, kind: Kind, from: Source) -> Property {
        let id = draft.id_for(name, "value");
        let mut property = Property::new(id, name, kind, from);
        property.category = match self.config.text("entity_category").as_deref() {
            Some("diagnostic") => Some("diagnostic"),
            Some("config") => Some("config"),
            _ => None,
        };
        property.stale_after = self
            .config
            .number("expire_after")
            .map(|seconds| seconds as u64)
            .filter(|s| (1..=86_400 * 30).contains(s));
        property
    }

    /// Whether it lets people in, by what it is called.
    pub fn guards(&self) -> bool {
        let texts = ["name", "object_id", "unique_id", "icon", "device_class"];
        let device = self.config.object("device").map(names_of_device).unwrap_or_default();
        let device = device.get("name").and_then(json_text);
        texts
            .iter()
            .filter_map(|key| self.config.text(key))
            .chain([self.object.clone()])
            .chain(device)
            .any(|text| guards(&text))
    }

    /// What a payload is called once it is read: JSON's `true` is `true`, also where Python would say `True`.
    pub fn wire(&self, key: &str, default: &str, from: &Source) -> String {
        let text = self.config.text_or(key, default);
        match (text.as_str(), &from.json) {
            ("True", Some(_)) => "true".to_owned(),
            ("False", Some(_)) => "false".to_owned(),
            _ => text,
        }
    }

    /// Two different texts for on and off.
    pub fn on_off(&self, on: String, off: String) -> Result<Vec<(String, String)>, String> {
        if on == off || on.is_empty() || off.is_empty() || on.contains('<') || off.contains('<') {
            return Err("its payloads do not tell on and off apart".to_owned());
        }
        Ok(vec![(on, "true".to_owned()), (off, "false".to_owned())])
    }
}

/// A word of the protocol as people would write it.
fn sentence(word: &str) -> String {
    let word = word.replace('_', " ");
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// Triggers on one topic are one event with several values.
pub(super) fn merge_triggers(draft: &mut Draft) {
    let mut merged: Vec<Event> = Vec::new();
    for event in std::mem::take(&mut draft.events) {
        let same = |known: &&mut Event| matches!(known.from, From::Topic(_)) && known.from == event.from;
        match merged.iter_mut().find(same) {
            Some(known) => {
                for (raw, value) in event.map {
                    let twice =
                        |(text, word): &(String, String)| *text == raw || word.eq_ignore_ascii_case(&value);
                    if !known.map.iter().any(twice) {
                        known.map.push((raw, value));
                    }
                }
            }
            None => merged.push(event),
        }
    }
    draft.events = merged;
}

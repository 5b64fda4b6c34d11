//! Homie 5: a device describes itself in one JSON document (`$description`).

use serde_json::{Map, Value as Json};

use super::draft::{Action, Availability, Draft, Event, From, Kind, Property, Source, Write, guards, words};
use super::names::{shown, slug};
use super::{Heard, Tally};
use crate::device::profile::json_text;

/// The states of a device, as `online:` tells them.
const STATES: [(&str, &str); 5] = [
    ("ready", "online"),
    ("init", "offline"),
    ("sleeping", "asleep"),
    ("disconnected", "offline"),
    ("lost", "offline"),
];

/// Every device that describes itself.
pub(super) fn drafts(heard: &Heard, tally: &mut Tally) -> Vec<Draft> {
    let mut found = Vec::new();
    for (topic, payloads) in heard.messages() {
        let levels: Vec<&str> = topic.split('/').collect();
        let [domain, "5", device, "$description"] = levels.as_slice() else { continue };
        let Some(payload) = payloads.last() else { continue };
        if !is_id(device) || !is_id(domain) {
            tally.odd += 1;
            continue;
        }
        let Some(Json::Object(description)) = tally.description(payload) else { continue };
        let mut draft = described(domain, device, &description);
        if let Some(state) = heard.newest(&format!("{domain}/5/{device}/$state"))
            && state != b"ready"
        {
            let state = String::from_utf8_lossy(state).into_owned();
            draft.notes.push(format!("it is in the state {state} now"));
        }
        if !draft.is_empty() {
            found.push(draft);
        }
    }
    found
}

/// An id of Homie.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 128 && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

fn described(domain: &str, device: &str, description: &Map<String, Json>) -> Draft {
    let name = description.get("name").and_then(Json::as_str).and_then(shown);
    let mut draft = Draft {
        id: format!("homie-{}", slug(device)),
        name: name.unwrap_or_else(|| device.to_owned()),
        origin: format!("{domain}/5/{device}/$description (Homie 5)"),
        params: vec![("device", device.to_owned(), None), ("domain", domain.to_owned(), Some("homie"))],
        online: Some(Availability {
            from: Source { topic: "<domain>/5/<device>/$state".to_owned(), json: None },
            map: STATES.iter().map(|(raw, word)| ((*raw).to_owned(), *word)).collect(),
        }),
        ..Draft::default()
    };
    // A profile of another domain says so itself.
    if domain != "homie" {
        draft.params = vec![("device", device.to_owned(), None), ("domain", domain.to_owned(), None)];
    }
    let nodes = description.get("nodes").and_then(Json::as_object);
    for (id, node) in nodes.into_iter().flatten() {
        let properties = node.get("properties").and_then(Json::as_object);
        for (property_id, property) in properties.into_iter().flatten() {
            let about = About::of(id, node, property_id, property);
            if !is_id(id) || !is_id(property_id) {
                draft.note(&about.name, "its id is none of Homie");
            } else {
                about.put(&mut draft);
            }
        }
    }
    draft
}

/// What the description says about one property.
struct About<'a> {
    node: &'a str,
    id: &'a str,
    name: String,
    datatype: &'a str,
    format: Option<String>,
    unit: Option<String>,
    settable: bool,
    retained: bool,
    sensitive: bool,
    topic: String,
}

impl<'a> About<'a> {
    fn of(node: &'a str, about_node: &Json, id: &'a str, property: &'a Json) -> Self {
        let text = |of: &Json, key: &str| of.get(key).and_then(json_text);
        let flag = |key: &str, default: bool| property.get(key).and_then(Json::as_bool).unwrap_or(default);
        let node_name = text(about_node, "name");
        let name = text(property, "name").unwrap_or_else(|| id.to_owned());
        let parts = [
            text(about_node, "type"),
            node_name.clone(),
            Some(name.clone()),
            Some(node.to_owned()),
            Some(id.to_owned()),
        ];
        Self {
            node,
            id,
            name: match node_name {
                Some(node) if node != name => format!("{node} {name}"),
                _ => name,
            },
            datatype: property.get("datatype").and_then(Json::as_str).unwrap_or_default(),
            format: text(property, "format"),
            unit: text(property, "unit").as_deref().and_then(shown),
            settable: flag("settable", false),
            retained: flag("retained", true),
            sensitive: parts.iter().flatten().any(|part| guards(part)),
            topic: format!("<domain>/5/<device>/{node}/{id}"),
        }
    }

    fn put(self, draft: &mut Draft) {
        let Some((kind, map)) = self.kind() else {
            let why = match self.datatype {
                "" => "it has no datatype".to_owned(),
                "json" => "a JSON document is no value".to_owned(),
                other => format!("its values cannot be told (datatype {other})"),
            };
            return draft.note(&self.name, why);
        };
        match (self.retained, self.settable) {
            (true, _) => self.property(draft, kind, map),
            (false, false) => self.event(draft, kind, map),
            (false, true) => self.action(draft, kind, map),
        }
    }

    /// Its type, and raw texts with the words for them where the two differ.
    fn kind(&self) -> Option<(Kind, Vec<(String, String)>)> {
        let kind = match self.datatype {
            "integer" => Kind::Int,
            "float" => Kind::Float,
            "boolean" => Kind::Bool,
            "string" | "color" | "duration" => Kind::Text,
            "datetime" => Kind::Time,
            "enum" => {
                let raw: Vec<String> =
                    self.format.as_deref()?.split(',').take(200).map(str::to_owned).collect();
                let map = words(&raw)?;
                let values = map.iter().map(|(_, word)| word.clone()).collect();
                let differ = map.iter().any(|(raw, word)| raw != word);
                return Some((Kind::Enum(values), if differ { map } else { Vec::new() }));
            }
            _ => return None,
        };
        Some((kind, Vec::new()))
    }

    /// `min:max:step`, where both ends are told.
    fn limits(&self) -> (Option<(f64, f64)>, Option<f64>) {
        let format = self.format.as_deref().unwrap_or_default();
        let mut parts = format.split(':').map(|part| part.parse::<f64>().ok().filter(|n| n.is_finite()));
        let (low, high, step) = (parts.next().flatten(), parts.next().flatten(), parts.next().flatten());
        (low.zip(high).filter(|(low, high)| low <= high), step.filter(|step| *step > 0.0))
    }

    fn property(self, draft: &mut Draft, kind: Kind, map: Vec<(String, String)>) {
        let id = draft.id_for(&format!("{}-{}", self.node, self.id), "value");
        let from = Source { topic: self.topic.clone(), json: None };
        let mut property = Property::new(id, &self.name, kind, from);
        property.map = map;
        if matches!(property.kind, Kind::Int | Kind::Float) {
            (property.range, property.step) = self.limits();
            property.unit = self.unit.clone();
        }
        // A clock is set by nobody from a phone.
        if self.settable && property.kind != Kind::Time {
            property.write = Some(Write::Text(format!("{}/set", self.topic)));
            property.target = Some(format!("{}/$target", self.topic));
            property.confirm = Some(10);
            property.sensitive = self.sensitive;
        }
        draft.properties.push(property);
    }

    fn event(self, draft: &mut Draft, kind: Kind, map: Vec<(String, String)>) {
        let map = match kind {
            Kind::Enum(values) if map.is_empty() => {
                values.into_iter().map(|value| (value.clone(), value)).collect()
            }
            Kind::Enum(_) => map,
            Kind::Bool => {
                [("true", "begins"), ("false", "ends")].map(|(a, b)| (a.to_owned(), b.to_owned())).into()
            }
            _ => return draft.note(&self.name, "it is not retained, and an event needs a list of values"),
        };
        let id = draft.id_for(&format!("{}-{}", self.node, self.id), "event");
        let name = shown(&self.name).unwrap_or_else(|| id.clone());
        let from = From::Topic(Source { topic: self.topic, json: None });
        draft.events.push(Event { id, name, class: None, from, map });
    }

    /// What is settable and not kept is a command.
    fn action(self, draft: &mut Draft, kind: Kind, map: Vec<(String, String)>) {
        if !map.is_empty() || kind == Kind::Time {
            return draft.note(&self.name, "its values are no words that could be sent");
        }
        let id = draft.id_for(&format!("{}-{}", self.node, self.id), "action");
        let name = shown(&self.name).unwrap_or_else(|| id.clone());
        let topic = format!("{}/set", self.topic);
        let (payload, arg) = match &kind {
            Kind::Enum(values) if values.len() == 1 => (values.concat(), None),
            _ => {
                let range = if matches!(kind, Kind::Int | Kind::Float) { self.limits().0 } else { None };
                ("<what>".to_owned(), Some((kind, range)))
            }
        };
        draft.actions.push(Action { id, name, topic, payload, arg, sensitive: self.sensitive, expect: None });
    }
}

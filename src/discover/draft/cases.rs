//! The tests of a profile that was made here: what its own description says that payloads mean.

use serde_json::{Value as Json, json};

use super::super::write::{Entry, Yaml};
use super::yaml::value;
use super::{Action, Draft, Event, From, Kind, Property, Source, Write};

/// Most tests of one kind; the rest of a large device says nothing new.
const MOST: usize = 12;

impl Draft {
    pub(super) fn cases(&self) -> Vec<Yaml> {
        let mut cases: Vec<Yaml> = Vec::new();
        cases.extend(self.online.as_ref().and_then(|online| {
            let (raw, word) = online.map.first()?;
            let expect = Yaml::Inline(vec![("online".to_owned(), Yaml::text(*word))]);
            Some(heard(&self.filled_source(&online.from), raw, true, expect))
        }));
        cases.extend(self.properties.iter().filter_map(|property| self.told(property)).take(MOST));
        cases.extend(self.events.iter().filter_map(|event| self.happens(event)).take(MOST));
        cases.extend(self.properties.iter().filter_map(|property| self.set(property)).take(MOST));
        if cases.is_empty() {
            cases.extend(self.actions.iter().filter_map(|action| self.done(action)).take(MOST));
        }
        cases
    }

    fn filled_source(&self, source: &Source) -> Source {
        Source { topic: self.filled(&source.topic), json: source.json.clone() }
    }

    fn told(&self, property: &Property) -> Option<Yaml> {
        let (raw, value_text) = sample(property)?;
        let text =
            matches!(property.kind, Kind::Text | Kind::Time | Kind::Enum(_)) || !property.map.is_empty();
        let expect = Yaml::Inline(vec![(property.id.clone(), value(&property.kind, &value_text))]);
        Some(heard(&self.filled_source(&property.from), &raw, text, expect))
    }

    fn happens(&self, event: &Event) -> Option<Yaml> {
        let From::Topic(source) = &event.from else { return None };
        let (raw, value) = event.map.first()?;
        let event = Yaml::Inline(vec![(event.id.clone(), Yaml::text(value.as_str()))]);
        let expect = Yaml::inline([("event", event)]);
        Some(heard(&self.filled_source(source), raw, true, expect))
    }

    fn done(&self, action: &Action) -> Option<Yaml> {
        if action.arg.is_some() {
            return None;
        }
        let sent = Yaml::inline([
            ("topic", Yaml::text(self.filled(&action.topic))),
            ("payload", Yaml::text(action.payload.as_str())),
        ]);
        let act = Entry::new("do", Yaml::text(action.id.as_str()));
        Some(Yaml::Block(vec![act, Entry::new("sends", sent)]))
    }

    fn set(&self, property: &Property) -> Option<Yaml> {
        let (raw, wanted) = sample(property)?;
        let (topic, sent) = match property.write.as_ref()? {
            Write::Text(topic) => (topic, ("payload", Yaml::text(raw))),
            Write::Json(topic, key) => {
                let text = !property.map.is_empty() || matches!(property.kind, Kind::Text | Kind::Enum(_));
                let sent = if text { Yaml::text(raw) } else { Yaml::Plain(raw) };
                (topic, ("json", Yaml::Inline(vec![(key.clone(), sent)])))
            }
        };
        let set = Yaml::Inline(vec![(property.id.clone(), value(&property.kind, &wanted))]);
        let sends = Yaml::inline([("topic", Yaml::text(self.filled(topic))), sent]);
        Some(Yaml::Block(vec![Entry::new("set", set), Entry::new("sends", sends)]))
    }
}

/// A message and what comes of it.
fn heard(from: &Source, raw: &str, text: bool, expect: Yaml) -> Yaml {
    let payload = match &from.json {
        None => Some(raw.to_owned()),
        Some(pointer) => {
            let scalar = match raw {
                "true" | "false" => Some(json!(raw == "true")),
                _ if text => Some(json!(raw)),
                _ => raw.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number),
            };
            scalar.map(|scalar| wrapped(pointer, scalar).to_string())
        }
    };
    let message = Yaml::inline([
        ("topic", Yaml::text(from.topic.as_str())),
        ("payload", Yaml::text(payload.unwrap_or_default())),
    ]);
    Yaml::Block(vec![Entry::new("mqtt", message), Entry::new("expect", expect)])
}

/// The smallest document that has `value` at a pointer.
fn wrapped(pointer: &str, value: Json) -> Json {
    pointer.split('/').skip(1).collect::<Vec<_>>().into_iter().rev().fold(value, |inner, key| {
        let key = key.replace("~1", "/").replace("~0", "~");
        match key.parse::<usize>() {
            Ok(index @ 0..=16) => {
                let mut items = vec![Json::Null; index];
                items.push(inner);
                Json::Array(items)
            }
            _ => json!({ key: inner }),
        }
    })
}

/// A raw text and what it means.
fn sample(property: &Property) -> Option<(String, String)> {
    if let Some((raw, word)) = property.map.first() {
        return Some((raw.clone(), word.clone()));
    }
    let same = |text: &str| Some((text.to_owned(), text.to_owned()));
    match &property.kind {
        Kind::Bool => same("true"),
        Kind::Int | Kind::Float => match property.range {
            Some((low, _)) if low.abs() > 9e15 => None,
            Some((low, _)) if property.kind == Kind::Int => same(&low.ceil().to_string()),
            Some((low, _)) => same(&low.to_string()),
            None => same("21"),
        },
        Kind::Text => same("example"),
        Kind::Time => same("2026-01-02T03:04:05"),
        Kind::Enum(values) => same(values.first()?),
    }
}

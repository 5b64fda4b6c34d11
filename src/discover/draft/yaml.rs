//! The draft as the text of a profile.

use super::super::write::{Entry, Yaml, block};
use super::{Action, Availability, Draft, Event, From, Kind, Property, Source, Write};

impl Draft {
    /// The whole file.
    pub fn text(&self, id: &str) -> String {
        let mut out = format!("# Facts: {}.\n", super::super::write::clean(&self.origin, 200));
        let head = [
            Entry::new("format", Yaml::number(1.0)),
            Entry::new("profile", Yaml::text(id)),
            Entry::new("name", Yaml::text(self.name.as_str())),
            Entry::new("driver", Yaml::text("mqtt")),
        ];
        block(&mut out, &head, 0);
        if !self.params.is_empty() {
            self.section(&mut out, "params", self.params.iter().map(param).collect());
        }
        if let Some(online) = &self.online {
            out.push('\n');
            block(&mut out, &[Entry::new("online", availability(online))], 0);
        }
        for note in self.notes.iter() {
            out.push_str(&format!("# {}\n", super::super::write::clean(note, 400)));
        }
        self.section(&mut out, "properties", self.properties.iter().map(property).collect());
        self.section(&mut out, "actions", self.actions.iter().map(action).collect());
        self.section(&mut out, "events", self.events.iter().map(event).collect());
        if let Some(phone) = self.phone() {
            out.push('\n');
            block(&mut out, &[Entry::new("phone", phone)], 0);
        }
        let cases = self.cases();
        if !cases.is_empty() {
            out.push('\n');
            block(&mut out, &[Entry::new("tests", Yaml::List(cases))], 0);
        }
        out
    }

    fn section(&self, out: &mut String, key: &str, entries: Vec<Entry>) {
        if !entries.is_empty() {
            out.push('\n');
            block(out, &[Entry::new(key, Yaml::Block(entries))], 0);
        }
    }

    /// The lamp shows the first switch, and a press toggles it where that is not sensitive.
    fn phone(&self) -> Option<Yaml> {
        let bools = || self.properties.iter().filter(|property| property.kind == Kind::Bool);
        let lamp = bools().find(|property| property.write.is_some()).or_else(|| bools().next())?;
        let press = match &lamp.write {
            Some(_) if !lamp.sensitive => format!("toggle {}", lamp.id),
            _ => "none".to_owned(),
        };
        Some(Yaml::inline([("lamp", Yaml::text(lamp.id.as_str())), ("press", Yaml::text(press))]))
    }
}

fn param((name, value, default): &(&'static str, String, Option<&'static str>)) -> Entry {
    let (key, value) = match default {
        Some(default) => ("default", (*default).to_owned()),
        None => ("example", value.clone()),
    };
    Entry::new(*name, Yaml::Inline(vec![(key.to_owned(), Yaml::text(value))]))
}

fn source(source: &Source) -> Vec<(String, Yaml)> {
    let mut keys = vec![("topic".to_owned(), Yaml::text(source.topic.as_str()))];
    keys.extend(source.json.as_ref().map(|json| ("json".to_owned(), Yaml::text(json.as_str()))));
    keys
}

fn availability(online: &Availability) -> Yaml {
    let mut keys = source(&online.from);
    let map = online.map.iter().map(|(raw, word)| (raw.clone(), Yaml::text(*word))).collect();
    keys.push(("map".to_owned(), Yaml::Inline(map)));
    Yaml::Inline(keys)
}

/// A value as it stands in a profile.
pub(super) fn value(kind: &Kind, text: &str) -> Yaml {
    match kind {
        Kind::Bool | Kind::Int | Kind::Float => Yaml::Plain(text.to_owned()),
        Kind::Text | Kind::Time | Kind::Enum(_) => Yaml::text(text),
    }
}

fn map_of(kind: &Kind, map: &[(String, String)]) -> Yaml {
    Yaml::Inline(map.iter().map(|(raw, word)| (raw.clone(), value(kind, word))).collect())
}

fn kind_entries(kind: &Kind) -> Vec<Entry> {
    let word = match kind {
        Kind::Bool => "bool",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Text => "text",
        Kind::Time => "time",
        Kind::Enum(values) => {
            let values = values.iter().map(Yaml::text).collect();
            return vec![Entry::new("type", Yaml::text("enum")), Entry::new("values", Yaml::Flow(values))];
        }
    };
    vec![Entry::new("type", Yaml::text(word))]
}

fn range((low, high): (f64, f64)) -> Yaml {
    Yaml::Flow(vec![Yaml::number(low), Yaml::number(high)])
}

fn property(property: &Property) -> Entry {
    let mut keys = kind_entries(&property.kind);
    let mut put = |key: &str, value: Option<Yaml>| keys.extend(value.map(|value| Entry::new(key, value)));
    put("name", Some(Yaml::text(property.name.as_str())));
    put("class", property.class.as_ref().map(Yaml::text));
    put("category", property.category.map(Yaml::text));
    put("unit", property.unit.as_ref().map(Yaml::text));
    put("decimals", property.decimals.map(|digits| Yaml::number(f64::from(digits))));
    put("range", property.range.map(range));
    put("step", property.step.map(Yaml::number));
    put("sensitive", property.sensitive.then(|| Yaml::bool(true)));
    put("read", Some(read(property, &property.from)));
    let target = property.target.as_ref().map(|topic| Source { topic: topic.clone(), json: None });
    put("target", target.map(|target| read(property, &target)));
    put("write", property.write.as_ref().map(write));
    put("confirm", property.confirm.map(|seconds| Yaml::Plain(format!("{seconds}s"))));
    put("stale_after", property.stale_after.map(|seconds| Yaml::Plain(format!("{seconds}s"))));
    Entry::new(property.id.as_str(), Yaml::Block(keys))
}

fn read(property: &Property, from: &Source) -> Yaml {
    let mut keys = source(from);
    if !property.map.is_empty() {
        keys.push(("map".to_owned(), map_of(&property.kind, &property.map)));
    }
    if let Some(sentinel) = property.invalid {
        keys.push(("invalid".to_owned(), Yaml::Flow(vec![Yaml::text(sentinel)])));
    }
    Yaml::Inline(keys)
}

fn write(write: &Write) -> Yaml {
    match write {
        Write::Text(topic) => Yaml::inline([("topic", Yaml::text(topic))]),
        Write::Json(topic, key) => {
            let body = Yaml::Inline(vec![(key.clone(), Yaml::text("<value>"))]);
            Yaml::inline([("topic", Yaml::text(topic)), ("body", body)])
        }
    }
}

fn action(action: &Action) -> Entry {
    let mut keys = vec![Entry::new("name", Yaml::text(action.name.as_str()))];
    if action.sensitive {
        keys.push(Entry::new("sensitive", Yaml::bool(true)));
    }
    if let Some((kind, limits)) = &action.arg {
        let mut what = kind_entries(kind);
        what.extend(limits.map(|limits| Entry::new("range", range(limits))));
        let args = Entry::new("what", Yaml::Inline(what.into_iter().map(|e| (e.key, e.value)).collect()));
        keys.push(Entry::new("args", Yaml::Block(vec![args])));
    }
    let send = Yaml::inline([
        ("topic", Yaml::text(action.topic.as_str())),
        ("payload", Yaml::text(action.payload.as_str())),
    ]);
    keys.push(Entry::new("do", Yaml::Flow(vec![Yaml::inline([("send", send)])])));
    if let Some((property, value, seconds)) = &action.expect {
        let pairs = vec![
            (property.clone(), Yaml::text(value.as_str())),
            ("within".to_owned(), Yaml::Plain(format!("{seconds}s"))),
        ];
        keys.push(Entry::new("expect", Yaml::Inline(pairs)));
    }
    Entry::new(action.id.as_str(), Yaml::Block(keys))
}

fn event(event: &Event) -> Entry {
    let mut keys = vec![Entry::new("name", Yaml::text(event.name.as_str()))];
    keys.extend(event.class.as_ref().map(|class| Entry::new("class", Yaml::text(class.as_str()))));
    let mut values: Vec<Yaml> = Vec::new();
    for (_, value) in &event.map {
        let value = Yaml::text(value.as_str());
        if !values.contains(&value) {
            values.push(value);
        }
    }
    keys.push(Entry::new("values", Yaml::Flow(values)));
    let mut from = match &event.from {
        From::Topic(topic) => source(topic),
        From::Property(id) => vec![("property".to_owned(), Yaml::text(id.as_str()))],
    };
    let same = event.map.iter().all(|(raw, value)| raw == value);
    if !same || matches!(event.from, From::Property(_)) {
        from.push(("map".to_owned(), map_of(&Kind::Text, &event.map)));
    }
    keys.push(Entry::new("from", Yaml::Inline(from)));
    Entry::new(event.id.as_str(), Yaml::Block(keys))
}

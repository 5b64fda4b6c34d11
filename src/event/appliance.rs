//! `appliance`: every property as SenML (RFC 8428), in words, or as DMP for peers that read nothing else.
//!
//! A property that can be believed stands under its own name. One that cannot (its device is
//! offline, its link is down, or it is too old) stands under its name with `.last` behind it, so
//! that nobody takes it for the truth. `health` and `link` say why. A value whose age nobody knows, a
//! copy that a broker kept, has a record with `.age` behind its name.

use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::package::{Member, Package, Sharing, View};
use crate::body::dmp;
use crate::control::dmp as actions;
use crate::device::value::Value;

/// See the module.
#[derive(Debug)]
pub struct Appliance;

impl Package for Appliance {
    fn name(&self) -> &'static str {
        "appliance"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &["application/senml+json", "text/plain", dmp::CONTENT_TYPE]
    }

    fn offered(&self) -> usize {
        2
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(200)
    }

    fn filters(&self) -> bool {
        true
    }

    fn sharing(&self) -> Sharing {
        Sharing::All
    }

    fn document(&self, view: &View<'_>) -> String {
        match view.form {
            0 => senml(view),
            1 => words(view),
            _ => news(view),
        }
    }
}

fn senml(view: &View<'_>) -> String {
    let mut records = Vec::new();
    for member in view.members {
        add_records(&mut records, member, view);
    }
    Json::Array(records).to_string()
}

/// The records of one appliance; its base name and time hold until the next one.
fn add_records(records: &mut Vec<Json>, member: &Member<'_>, view: &View<'_>) {
    let shadow = member.device.shadow();
    let base_ms = member.newest_ms().unwrap_or_else(|| shadow.health_since_ms());
    let mut base = Map::new();
    base.insert("bn".into(), json!(format!("{}/{}/", view.domain, member.device.id())));
    base.insert("bt".into(), seconds(base_ms));
    base.insert("n".into(), json!("health"));
    base.insert("vs".into(), json!(shadow.health().word()));
    records.push(Json::Object(base));
    records.push(json!({"n": "link", "vb": shadow.link_up()}));
    for (index, property) in member.properties() {
        let Some(reading) = shadow.reading(index) else { continue };
        let believed = shadow.believed(index).is_some();
        let name = if believed { property.id.to_string() } else { format!("{}.last", property.id) };
        let mut record = Map::from_iter([("n".to_owned(), json!(name))]);
        if let Some(unit) = property.unit.as_deref() {
            record.insert("u".into(), json!(senml_unit(unit)));
        }
        if let Some(at) = reading.at_ms.filter(|at| *at < base_ms) {
            record.insert("t".into(), seconds(at - base_ms));
        }
        put(&mut record, &reading.value);
        records.push(Json::Object(record));
        if reading.at_ms.is_none() {
            records.push(json!({"n": format!("{}.age", property.id), "vs": "unknown"}));
        }
        if let Some(goal) = shadow.target(index) {
            let mut record = Map::from_iter([("n".to_owned(), json!(format!("{}.target", property.id)))]);
            put(&mut record, goal);
            records.push(Json::Object(record));
        }
    }
    for moment in view.moments {
        records.push(json!({"n": &*moment.name, "vs": &*moment.value, "t": seconds(moment.at_ms - base_ms)}));
    }
}

fn put(record: &mut Map<String, Json>, value: &Value) {
    let (key, value) = match value {
        Value::Bool(value) => ("vb", json!(value)),
        Value::Int(value) => ("v", json!(value)),
        Value::Float(value) => ("v", json!(value)),
        Value::Enum(value) | Value::Text(value) => ("vs", json!(&**value)),
    };
    record.insert(key.into(), value);
}

/// Seconds with as many decimals as they need.
fn seconds(ms: i64) -> Json {
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

/// The registered name of a unit (RFC 8428 §12.1, RFC 8798); unknown ones as they are.
fn senml_unit(unit: &str) -> &str {
    match unit {
        "°C" => "Cel",
        "°F" => "DEG_F",
        "%" => "/100",
        "m³" => "m3",
        other => other,
    }
}

/// The state as DMP. A value that cannot be believed is not told.
fn news(view: &View<'_>) -> String {
    let one = |variable: &str, value: String, event: &str, code: Option<u16>| dmp::News {
        variable: variable.to_owned(),
        values: vec![value],
        events: vec![event.to_owned()],
        codes: code.into_iter().collect(),
    };
    let replies = view.members.iter().map(|member| {
        let shadow = member.device.shadow();
        let mut news = vec![one("health", shadow.health().word().to_owned(), STATE, None)];
        for (index, property) in member.properties() {
            news.push(match shadow.believed(index) {
                Some(value) => one(&property.id, actions::shown(property, value), STATE, None),
                None => one(&property.id, actions::UNKNOWN.to_owned(), STATE, Some(480)),
            });
        }
        let moments = view.moments.iter();
        news.extend(moments.map(|moment| one(&moment.name, moment.value.to_string(), &moment.name, None)));
        dmp::Reply { device: member.device.id().to_owned(), answers: vec![dmp::Answer::Notify(news)] }
    });
    dmp::write_response(&replies.collect::<Vec<_>>())
}

/// What happened, where it is no event: this is the state.
const STATE: &str = "state";

fn words(view: &View<'_>) -> String {
    let mut text = String::new();
    for member in view.members {
        let shadow = member.device.shadow();
        text.push_str(&format!("{}: {}\r\n", member.device.name(), shadow.health().word()));
        if !shadow.link_up() {
            text.push_str("link: down\r\n");
        }
        for (index, property) in member.properties() {
            let told = member.device.told(index).unwrap_or_else(|| "not known".to_owned());
            text.push_str(&format!("{}: {told}\r\n", property.id));
        }
    }
    for moment in view.moments {
        text.push_str(&format!("{}: {}\r\n", moment.name, moment.value));
    }
    text
}

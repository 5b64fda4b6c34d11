//! The three documents of an appliance: what it is, how it stands, and whether it can be reached.

use serde_json::{Map, Value as Json, json};

use super::component::{Component, HEARD, components};
use super::{Scope, Topics};
use crate::device::profile::Online;
use crate::device::shadow::Health;
use crate::device::value::Value;

/// A description, and the components in it.
pub(super) struct Description {
    pub text: String,
    pub components: Vec<(String, &'static str)>,
}

/// `<prefix>/device/<id>/config`, for all components at once. `before` are those of the last one: what is
/// not there any more has to be said.
pub(super) fn description(
    scope: &Scope<'_>,
    topics: &Topics<'_>,
    status: &str,
    before: &[(String, &'static str)],
) -> Description {
    let now = components(scope, topics);
    let ids = now.iter().map(|component| (component.id.clone(), component.platform)).collect();
    let mut all: Map<String, Json> = Map::new();
    for (id, platform) in before {
        all.insert(id.clone(), json!({"platform": platform}));
    }
    all.extend(now.into_iter().map(|Component { id, body, .. }| (id, Json::Object(body))));
    let device = scope.device;
    let mut block = json!({
        "identifiers": [topics.uid],
        "name": device.name(),
        "model": &*device.model().name,
        "model_id": &*device.model().profile,
    });
    if let (Some(room), Some(block)) = (device.room(), block.as_object_mut()) {
        block.insert("suggested_area".into(), json!(room));
    }
    let text = json!({
        "dev": block,
        "o": {"name": "sipliance", "sw": env!("CARGO_PKG_VERSION")},
        "avty": [{"topic": status}, {"topic": topics.availability()}],
        "avty_mode": "all",
        "cmps": all,
    });
    Description { text: text.to_string(), components: ids }
}

/// All properties that may be seen: the value, null where none can be believed now, and when it was heard.
pub(super) fn state(scope: &Scope<'_>) -> String {
    let device = scope.device;
    let (mut values, mut heard) = (Map::new(), Map::new());
    for (index, property) in device.model().properties.iter().enumerate() {
        if !scope.sees(&property.id) {
            continue;
        }
        let value = device.shadow().believed(index).map_or(Json::Null, json_of);
        let at = device.shadow().reading(index).and_then(|reading| reading.at_ms);
        let at = at.and_then(|ms| jiff::Timestamp::from_second(ms.div_euclid(1000)).ok());
        values.insert(property.id.to_string(), value);
        heard.insert(property.id.to_string(), at.map_or(Json::Null, |at| json!(at.to_string())));
    }
    values.insert(HEARD.to_owned(), Json::Object(heard));
    Json::Object(values).to_string()
}

/// Whether it can be reached, through its link and by itself.
pub(super) fn availability(scope: &Scope<'_>) -> &'static str {
    let device = scope.device;
    let shadow = device.shadow();
    // Of what never speaks, the link is all that can be known.
    let mute = matches!(device.model().online, Online::Link)
        && device.model().properties.iter().all(|property| property.reads.is_empty());
    let there = shadow.trusted() || mute && shadow.link_up() && shadow.health() == Health::Unknown;
    if there { "online" } else { "offline" }
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::Int(number) => json!(number),
        // What a scale leaves behind the sixth digit is noise.
        Value::Float(number) => json!((number * 1e6).round() / 1e6),
        Value::Enum(text) | Value::Text(text) => json!(&**text),
    }
}

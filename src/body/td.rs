//! `application/td+json` (W3C Thing Description 1.1): what an appliance has and does, and by which
//! SIP request one gets at it. Written only.

use serde_json::{Map, Value as Json, json};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/td+json";
/// The context that explains `sipv:method` and `sipv:event`.
pub const SIP_VOCABULARY: &str = "urn:x-sipliance:sip-vocabulary:1#";
/// The event package of the forms.
const EVENT: &str = "appliance";

/// What is told of an appliance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Thing {
    /// A URI that names it for good: `urn:dev:…`, or its address.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// More about it, for people.
    pub description: Option<String>,
    /// Its SIP address.
    pub address: String,
    /// What it has.
    pub properties: Vec<Property>,
    /// What it does.
    pub actions: Vec<Action>,
    /// What it tells of.
    pub events: Vec<Event>,
}

/// A property.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// Its values.
    pub kind: Kind,
    /// Unit of its values.
    pub unit: Option<String>,
    /// Whether it can be read.
    pub readable: bool,
    /// Whether it can be set.
    pub writable: bool,
}

/// An action.
#[derive(Clone, Debug, PartialEq)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What must be said with it.
    pub input: Option<Kind>,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its name for people.
    pub title: Option<String>,
    /// What is told with it.
    pub data: Option<Kind>,
}

/// The values that something can have.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// True or false.
    Boolean,
    /// Whole numbers, within these bounds.
    Integer(Option<i64>, Option<i64>),
    /// Numbers, within these bounds.
    Number(Option<f64>, Option<f64>),
    /// Text.
    Text,
    /// One of these words.
    Choice(Vec<String>),
}

/// Writes a description. A property that can be neither read nor set is left out.
pub fn write(thing: &Thing) -> String {
    let mut td = Map::new();
    td.insert("@context".into(), json!(["https://www.w3.org/2022/wot/td/v1.1", { "sipv": SIP_VOCABULARY }]));
    td.insert("id".into(), json!(thing.id));
    td.insert("title".into(), json!(thing.title));
    if let Some(description) = &thing.description {
        td.insert("description".into(), json!(description));
    }
    td.insert("securityDefinitions".into(), json!({ "digest": { "scheme": "digest", "in": "header" } }));
    td.insert("security".into(), json!("digest"));
    let properties = thing.properties.iter().filter(|it| it.readable || it.writable);
    let properties = properties.map(|it| (it.name.clone(), property(it, &thing.address)));
    let actions = thing.actions.iter().map(|it| (it.name.clone(), action(it, &thing.address)));
    let events = thing.events.iter().map(|it| (it.name.clone(), event(it, &thing.address)));
    put(&mut td, "properties", properties.collect());
    put(&mut td, "actions", actions.collect());
    put(&mut td, "events", events.collect());
    Json::Object(td).to_string()
}

fn put(td: &mut Map<String, Json>, key: &str, members: Map<String, Json>) {
    if !members.is_empty() {
        td.insert(key.into(), Json::Object(members));
    }
}

fn property(property: &Property, address: &str) -> Json {
    let mut it = schema(&property.kind);
    titled(&mut it, property.title.as_deref());
    if let Some(unit) = &property.unit {
        it.insert("unit".into(), json!(unit));
    }
    let mut forms = Vec::new();
    if property.readable {
        it.insert("observable".into(), json!(true));
        let ops = ["readproperty", "observeproperty", "unobserveproperty"];
        forms.push(form(address, json!(ops), "application/senml+json", "SUBSCRIBE"));
    } else {
        it.insert("writeOnly".into(), json!(true));
    }
    if property.writable {
        forms.push(form(address, json!("writeproperty"), "application/senml+json", "MESSAGE"));
    } else {
        it.insert("readOnly".into(), json!(true));
    }
    it.insert("forms".into(), json!(forms));
    Json::Object(it)
}

fn action(action: &Action, address: &str) -> Json {
    let mut it = Map::new();
    titled(&mut it, action.title.as_deref());
    if let Some(input) = &action.input {
        it.insert("input".into(), Json::Object(schema(input)));
    }
    it.insert("forms".into(), json!([form(address, json!("invokeaction"), "text/plain", "MESSAGE")]));
    Json::Object(it)
}

fn event(event: &Event, address: &str) -> Json {
    let mut it = Map::new();
    titled(&mut it, event.title.as_deref());
    if let Some(data) = &event.data {
        it.insert("data".into(), Json::Object(schema(data)));
    }
    let ops = json!(["subscribeevent", "unsubscribeevent"]);
    it.insert("forms".into(), json!([form(address, ops, "application/senml+json", "SUBSCRIBE")]));
    Json::Object(it)
}

fn titled(it: &mut Map<String, Json>, title: Option<&str>) {
    if let Some(title) = title {
        it.insert("title".into(), json!(title));
    }
}

fn form(address: &str, op: Json, content_type: &str, method: &str) -> Json {
    let mut form = Map::new();
    form.insert("href".into(), json!(address));
    form.insert("op".into(), op);
    form.insert("contentType".into(), json!(content_type));
    form.insert("sipv:method".into(), json!(method));
    if method == "SUBSCRIBE" {
        form.insert("sipv:event".into(), json!(EVENT));
    }
    Json::Object(form)
}

fn schema(kind: &Kind) -> Map<String, Json> {
    let mut schema = Map::new();
    let mut set = |key: &str, value: Json| {
        if !value.is_null() {
            schema.insert(key.into(), value);
        }
    };
    match kind {
        Kind::Boolean => set("type", json!("boolean")),
        Kind::Integer(least, most) => {
            set("type", json!("integer"));
            set("minimum", json!(least));
            set("maximum", json!(most));
        }
        Kind::Number(least, most) => {
            set("type", json!("number"));
            set("minimum", json!(least));
            set("maximum", json!(most));
        }
        Kind::Text => set("type", json!("string")),
        Kind::Choice(words) => {
            set("type", json!("string"));
            set("enum", json!(words));
        }
    }
    schema
}

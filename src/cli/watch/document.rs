//! The bodies of NOTIFYs, understood as far as a person needs it.

use serde_json::{Value as Json, json};

use super::xml;
use crate::body::rlmi;

/// One value of an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What it is.
    pub name: String,
    /// The value, and the unit where it has one.
    pub text: String,
    /// Something that happened and is over: it has the time of its own, not before that of the state.
    pub moment: bool,
}

/// A body.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// `application/senml+json` (RFC 8428): the readings, and the pack as it came.
    Readings(Vec<Reading>, Json),
    /// `application/pidf+xml` (RFC 3863): the basic status and note of each tuple, and the note that
    /// is for all.
    Presence(Vec<(String, Option<String>)>, Option<String>),
    /// `application/dialog-info+xml` (RFC 4235): the state of each dialog, and with whom.
    Dialogs(Vec<(String, Option<String>)>),
    /// `application/simple-message-summary` (RFC 3842): whether something waits, and per class the
    /// new and the old ones.
    Messages(bool, Vec<(String, u64, u64)>),
    /// Text for people.
    Text(String),
    /// Something else: its type, and its text where it is one.
    Other(String, Option<String>),
    /// There is no body.
    Nothing,
}

/// Values of a pack that are looked at; more are left out.
const READINGS: usize = 512;

impl Document {
    /// Understands a body; one that is not what its type says is [`Document::Other`].
    pub fn read(content_type: Option<&str>, body: &[u8]) -> Self {
        let Some(kind) = content_type.filter(|_| !body.is_empty()) else { return Self::Nothing };
        let text = std::str::from_utf8(body).ok();
        if kind.get(..10).is_some_and(|family| family.eq_ignore_ascii_case("multipart/")) {
            return list(kind, body)
                .unwrap_or_else(|| Self::Other("a list".to_owned(), text.map(ToOwned::to_owned)));
        }
        let kind = kind.to_ascii_lowercase();
        let read = text.and_then(|text| match kind.as_str() {
            "application/senml+json" => senml(text),
            "application/pidf+xml" => presence(text),
            "application/dialog-info+xml" => dialogs(text),
            "application/simple-message-summary" => messages(text),
            "text/plain" => Some(Self::Text(text.to_owned())),
            _ => None,
        });
        read.unwrap_or_else(|| Self::Other(kind, text.map(ToOwned::to_owned)))
    }

    /// For programs; `None` when the body itself says it best.
    pub fn json(&self) -> Option<Json> {
        match self {
            Self::Readings(_, pack) => Some(pack.clone()),
            Self::Presence(tuples, note) => {
                let one = |(basic, note): &(String, Option<String>)| json!({"basic": basic, "note": note});
                Some(json!({"tuples": tuples.iter().map(one).collect::<Vec<_>>(), "note": note}))
            }
            Self::Dialogs(dialogs) => {
                let one = |(state, with): &(String, Option<String>)| json!({"state": state, "with": with});
                Some(dialogs.iter().map(one).collect())
            }
            Self::Messages(waiting, counts) => {
                let one =
                    |(class, new, old): &(String, u64, u64)| json!({"class": class, "new": new, "old": old});
                Some(json!({"waiting": waiting, "counts": counts.iter().map(one).collect::<Vec<_>>()}))
            }
            Self::Text(_) | Self::Other(..) | Self::Nothing => None,
        }
    }
}

/// A list (RFC 4662): its parts one behind the other, as if they were one document.
fn list(content_type: &str, body: &[u8]) -> Option<Document> {
    let (_, parts) = rlmi::read_related(content_type, body).ok()?;
    let mut pack = Vec::new();
    let mut tuples = Vec::new();
    for part in &parts.parts {
        match Document::read(part.content_type.as_deref(), &part.body) {
            Document::Readings(_, Json::Array(records)) => pack.extend(records),
            Document::Presence(some, _) => tuples.extend(some),
            _ => {}
        }
    }
    match (pack.is_empty(), tuples.is_empty()) {
        (false, _) => senml(&Json::Array(pack).to_string()),
        (true, false) => Some(Document::Presence(tuples, None)),
        (true, true) => None,
    }
}

fn senml(text: &str) -> Option<Document> {
    let pack: Json = serde_json::from_str(text).ok()?;
    let (mut base_name, mut base_unit, mut base_value) = (String::new(), None, None);
    let mut readings = Vec::new();
    for record in pack.as_array()?.iter().take(READINGS) {
        let record = record.as_object()?;
        let text = |key: &str| record.get(key).and_then(Json::as_str);
        if let Some(name) = text("bn") {
            name.clone_into(&mut base_name);
        }
        base_unit = text("bu").map(ToOwned::to_owned).or(base_unit);
        base_value = record.get("bv").and_then(Json::as_f64).or(base_value);
        let device = base_name.trim_end_matches(['/', ':']).rsplit(['/', ':']).next().unwrap_or_default();
        let name = text("n").filter(|name| !name.is_empty()).unwrap_or(device);
        let unit = text("u").or(base_unit.as_deref());
        let value = match (record.get("v"), record.get("vb"), record.get("vs"), record.get("vd")) {
            (Some(Json::Number(value)), ..) => number(value, base_value, unit),
            (_, Some(Json::Bool(true)), ..) => "on".to_owned(),
            (_, Some(Json::Bool(false)), ..) => "off".to_owned(),
            (_, _, Some(Json::String(value)), _) | (_, _, _, Some(Json::String(value))) => value.clone(),
            _ => continue,
        };
        let before = readings.last_mut().map(|(_, before): &mut (String, Reading)| before);
        match (before, name.strip_suffix(".age")) {
            (Some(before), Some(of)) if before.name == of => before.text.push_str(&format!(" (age {value})")),
            _ => {
                let at = record.get("t").and_then(Json::as_f64);
                let moment = record.contains_key("vs") && at.is_some_and(|at| at >= 0.0);
                readings.push((device.to_owned(), Reading { moment, ..reading(name, value) }));
            }
        }
    }
    // Where all are of one device, the base only repeats what is watched; in a room it says whose they are.
    let one = readings.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a == b));
    let named = |(device, reading): (String, Reading)| {
        if one { reading } else { Reading { name: format!("{device}/{}", reading.name), ..reading } }
    };
    Some(Document::Readings(readings.into_iter().map(named).collect(), pack))
}

/// `.last` behind a name marks a value that was true once, `.target` one that is on its way. What `.age`
/// says stands behind the value that it is about.
fn reading(name: &str, value: String) -> Reading {
    let (name, text) = match (name, name.rsplit_once('.'), value.as_str()) {
        ("link", _, "on") => ("link", "up".to_owned()),
        ("link", _, "off") => ("link", "down".to_owned()),
        (_, Some((name, "last")), _) => (name, format!("was {value}")),
        (name, ..) => (name, value),
    };
    Reading { name: name.to_owned(), text, moment: false }
}

fn number(value: &serde_json::Number, base: Option<f64>, unit: Option<&str>) -> String {
    let value = match (base, value.as_f64()) {
        (Some(base), Some(value)) => (base + value).to_string(),
        // `8.0` is written as people write it; whole numbers keep all their digits.
        (None, Some(real)) if value.is_f64() => real.to_string(),
        _ => value.to_string(),
    };
    match unit.map(shown_unit) {
        None | Some("") => value,
        Some("%") => format!("{value}%"),
        Some(unit) => format!("{value} {unit}"),
    }
}

/// Units of RFC 8428 §12.1 as people write them.
fn shown_unit(unit: &str) -> &str {
    match unit {
        "Cel" => "°C",
        "DEG_F" => "°F",
        "/100" | "%RH" | "%EL" => "%",
        "m2" => "m²",
        "m3" => "m³",
        "/" => "",
        other => other,
    }
}

fn presence(text: &str) -> Option<Document> {
    let elements = xml::elements(text)?;
    elements.first().filter(|root| root.name() == "presence")?;
    let mut tuples: Vec<(String, Option<String>)> = Vec::new();
    let mut general = None;
    for element in &elements {
        let text = Some(element.text.trim()).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        match (element.path.as_str(), tuples.last_mut()) {
            ("presence/tuple", _) => tuples.push(("unknown".to_owned(), None)),
            ("presence/tuple/status/basic", Some((basic, _))) => *basic = text.unwrap_or_default(),
            ("presence/tuple/note", Some((_, note))) => *note = text,
            ("presence/note", _) => general = text,
            _ => {}
        }
    }
    Some(Document::Presence(tuples, general))
}

fn dialogs(text: &str) -> Option<Document> {
    let elements = xml::elements(text)?;
    elements.first().filter(|root| root.name() == "dialog-info")?;
    let mut dialogs: Vec<(String, Option<String>)> = Vec::new();
    for element in &elements {
        match (element.path.as_str(), dialogs.last_mut()) {
            ("dialog-info/dialog", _) => dialogs.push(("unknown".to_owned(), None)),
            ("dialog-info/dialog/state", Some((state, _))) => element.text.trim().clone_into(state),
            ("dialog-info/dialog/remote/identity", Some((_, with))) => {
                let display = element.attribute("display").filter(|display| !display.is_empty());
                *with = Some(display.unwrap_or(element.text.trim()).to_owned());
            }
            _ => {}
        }
    }
    Some(Document::Dialogs(dialogs))
}

fn messages(text: &str) -> Option<Document> {
    let mut waiting = None;
    let mut counts = Vec::new();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "messages-waiting" {
            waiting = Some(value.eq_ignore_ascii_case("yes"));
        } else if let Some(class) = name.strip_suffix("-message") {
            let (new, rest) = value.split_once('/')?;
            let old = rest.split(|c: char| !c.is_ascii_digit()).next()?;
            counts.push((class.to_owned(), new.trim().parse().ok()?, old.parse().ok()?));
        }
    }
    Some(Document::Messages(waiting?, counts))
}

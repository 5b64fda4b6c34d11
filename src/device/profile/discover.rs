//! `discover:`, the signs by which a device of this model is known on a broker.

use serde_json::Value as Json;

use super::template::{Piece, pieces};
use super::texts::pointer;
use super::typed::fault;
use super::{DriverKind, Param};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::limits::PROFILE_STEPS;

/// One sign. Every condition must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sign {
    /// A topic in which `<param>` is what differs, and `+` any one level.
    pub topic: String,
    /// The payload is a list of devices at this JSON Pointer; pointers below begin at each of them.
    pub each: Option<String>,
    /// Params that stand in the payload, with their pointers.
    pub take: Vec<(String, String)>,
    /// Pointers to something that must be there.
    pub has: Vec<String>,
    /// Pointers, and the texts of which one must stand there.
    pub holds: Vec<(String, Vec<String>)>,
    /// Params, and the beginnings of which one must be theirs.
    pub starts: Vec<(String, Vec<String>)>,
    /// Where the payload has a name for people.
    pub name: Option<String>,
    /// Alone it proposes nothing: the profile is named beside one that fits better.
    pub maybe: bool,
}

impl Sign {
    /// The MQTT topic filter that hears of it.
    pub fn filter(&self) -> String {
        let level = |level: &str| if pattern(level).is_some() { "+".to_owned() } else { level.to_owned() };
        self.topic.split('/').map(level).collect::<Vec<_>>().join("/")
    }

    /// The params that stand in `topic`; `None`: it is another topic.
    pub fn captures(&self, topic: &str) -> Option<Vec<(String, String)>> {
        let (mut ours, mut theirs) = (self.topic.split('/'), topic.split('/'));
        let mut found: Vec<(String, String)> = Vec::new();
        loop {
            let (our, their) = match (ours.next(), theirs.next()) {
                (None, None) => return Some(found),
                (our, their) => (our?, their?),
            };
            match pattern(our) {
                None if our == their => {}
                Some((before, name, behind)) => {
                    let value = their.strip_prefix(before)?.strip_suffix(behind)?;
                    if let Some(name) = name {
                        // One param has one value.
                        if found.iter().any(|(known, other)| known == name && other != value) {
                            return None;
                        }
                        found.push((name.to_owned(), value.to_owned()));
                    }
                }
                None => return None,
            }
        }
    }

    /// How much it says: conditions that hold, then levels of the topic that are fixed.
    pub fn strength(&self) -> (usize, usize) {
        let fixed = self.topic.split('/').filter(|level| pattern(level).is_none()).count();
        (self.has.len() + self.holds.len() + self.starts.len(), fixed)
    }

    /// Whether the payload must be read as JSON.
    pub fn reads_payload(&self) -> bool {
        self.each.is_some() || !self.take.is_empty() || !self.has.is_empty() || !self.holds.is_empty()
    }

    /// Whether `document`, an item of the payload, meets the conditions about it.
    pub fn fits(&self, document: &Json) -> bool {
        let there = |pointer: &String| at(document, pointer, &mut |found| !found.is_null());
        let one_of = |(pointer, texts): &(String, Vec<String>)| {
            at(document, pointer, &mut |found| text(found).is_some_and(|found| texts.contains(&found)))
        };
        self.has.iter().all(there) && self.holds.iter().all(one_of)
    }

    /// Whether the params begin as they must.
    pub fn begins(&self, params: &[(String, String)]) -> bool {
        self.starts.iter().all(|(name, starts)| {
            let value = params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
            value.is_some_and(|value| starts.iter().any(|start| value.starts_with(start.as_str())))
        })
    }
}

/// A level with a hole: what stands before it, the param, what stands behind. `None` is a fixed level.
fn pattern(level: &str) -> Option<(&str, Option<&str>, &str)> {
    if level == "+" {
        return Some(("", None, ""));
    }
    match pieces(level).as_slice() {
        [Piece::Hole { name, .. }] => Some(("", Some(name), "")),
        [Piece::Text(before), Piece::Hole { name, .. }] => Some((before, Some(name), "")),
        [Piece::Hole { name, .. }, Piece::Text(behind)] => Some(("", Some(name), behind)),
        [Piece::Text(before), Piece::Hole { name, .. }, Piece::Text(behind)] => {
            Some((before, Some(name), behind))
        }
        _ => None,
    }
}

/// A scalar of a document as text.
pub fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// Whether `test` holds for what stands at a pointer, in which `*` is any item of a list.
fn at(document: &Json, pointer: &str, test: &mut impl FnMut(&Json) -> bool) -> bool {
    match pointer.split_once("/*") {
        Some((before, behind)) if behind.is_empty() || behind.starts_with('/') => {
            let items = document.pointer(before).and_then(Json::as_array);
            items.is_some_and(|items| items.iter().any(|item| at(item, behind, test)))
        }
        _ => document.pointer(pointer).is_some_and(test),
    }
}

/// `discover:`: a topic, a sign, or a list of them.
pub(super) fn discover(
    node: &Node,
    params: &[Param],
    driver: Option<DriverKind>,
    faults: &mut Faults,
) -> Vec<Sign> {
    if driver.is_some_and(|driver| driver != DriverKind::Mqtt) {
        fault(node, "discover", "only mqtt devices can be discovered", faults);
    }
    let Data::List(items) = &node.data else {
        return sign(node, "discover", params, faults).into_iter().collect();
    };
    if items.is_empty() || items.len() > PROFILE_STEPS {
        fault(node, "discover", format!("between 1 and {PROFILE_STEPS} signs are possible"), faults);
    }
    let one = |(index, item)| sign(item, &format!("discover[{index}]"), params, faults);
    items.iter().enumerate().filter_map(one).collect()
}

fn sign(node: &Node, path: &str, params: &[Param], faults: &mut Faults) -> Option<Sign> {
    let sign = match &node.data {
        Data::Map(_) => mapping(node, path, faults)?,
        _ => Sign { topic: node.text(path, faults)?, ..Sign::default() },
    };
    let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
    let holes: Vec<&str> = pieces(&sign.topic)
        .into_iter()
        .filter_map(|piece| if let Piece::Hole { name, .. } = piece { Some(name) } else { None })
        .collect();
    let taken = sign.take.iter().map(|(name, _)| name.as_str());
    let used =
        holes.iter().copied().chain(taken.clone()).chain(sign.starts.iter().map(|(name, _)| name.as_str()));
    for name in used.filter(|name| !names.contains(name)) {
        let help = nearest(name, names.iter().copied()).map(|near| format!("did you mean <{near}>?"));
        faults.error(Some(node.place), path, format!("unknown placeholder <{name}>"), help);
    }
    for param in params.iter().filter(|param| param.default.is_none()) {
        if !holes.contains(&param.name.as_str()) && !taken.clone().any(|name| name == param.name) {
            let message = format!("the sign does not tell <{}>, which has no default", param.name);
            fault(node, path, message, faults);
        }
    }
    let levels = sign.topic.split('/').all(|level| level == "+" || !level.contains(['+', '#', '\0']));
    if sign.topic.is_empty() || !levels || sign.topic.split('/').any(|level| holes_in(level) > 1) {
        let help = Some("write <param> or + for one level: tele/<topic>/LWT".to_owned());
        faults.error(Some(node.place), path, "this is no topic that could be watched", help);
        return None;
    }
    Some(sign)
}

fn holes_in(level: &str) -> usize {
    pieces(level).iter().filter(|piece| matches!(piece, Piece::Hole { .. })).count()
}

/// `{topic, each, take, has, where, starts, name, maybe}`
fn mapping(node: &Node, path: &str, faults: &mut Faults) -> Option<Sign> {
    let mut map = MapReader::of(&super::words::SIGN, node, path, faults)?;
    let topic = map.require("topic", faults).and_then(|node| node.text(&map.at("topic"), faults));
    let each = map.take("each").and_then(|node| pointer(node, &map.at("each"), faults));
    let (take, starts) = (map.take("take"), map.take("starts"));
    let (has, holds) = (map.take("has"), map.take("where"));
    let name = map.take("name").and_then(|node| pointer(node, &map.at("name"), faults));
    let maybe = map.bool("maybe", faults).unwrap_or(false);
    let sign = Sign {
        topic: topic?,
        each,
        take: pointers(take, &map.at("take"), faults),
        has: has
            .and_then(|node| node.texts(&map.at("has"), faults))
            .unwrap_or_default()
            .into_iter()
            .map(|(_, text)| text)
            .collect(),
        holds: lists(holds, &map.at("where"), faults),
        starts: lists(starts, &map.at("starts"), faults),
        name,
        maybe,
    };
    map.finish(faults);
    let odd = sign
        .has
        .iter()
        .chain(sign.holds.iter().map(|(pointer, _)| pointer))
        .find(|text| !text.starts_with('/'));
    if let Some(odd) = odd {
        fault(node, path, format!("`{odd}` is no JSON Pointer, which begins with /"), faults);
    }
    Some(sign)
}

/// `{param: /pointer}`
fn pointers(node: Option<&Node>, path: &str, faults: &mut Faults) -> Vec<(String, String)> {
    let entries = node.and_then(|node| node.entries(path, faults)).unwrap_or_default();
    let one = |(key, node): &(crate::config::yaml::Key, Node)| {
        Some((key.text.clone(), pointer(node, &format!("{path}.{}", key.text), faults)?))
    };
    entries.iter().filter_map(one).collect()
}

/// `{key: text}` or `{key: [text, text]}`
fn lists(node: Option<&Node>, path: &str, faults: &mut Faults) -> Vec<(String, Vec<String>)> {
    let entries = node.and_then(|node| node.entries(path, faults)).unwrap_or_default();
    let one = |(key, node): &(crate::config::yaml::Key, Node)| {
        let texts = node.texts(&format!("{path}.{}", key.text), faults)?;
        Some((key.text.clone(), texts.into_iter().map(|(_, text)| text).collect()))
    };
    entries.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(topic: &str) -> Sign {
        Sign { topic: topic.to_owned(), ..Sign::default() }
    }

    #[test]
    fn a_topic_is_a_filter_and_tells_the_params() {
        let sign = topic("<id>/status/switch:<channel>");
        assert_eq!(sign.filter(), "+/status/+");
        let found = sign.captures("shelly-1/status/switch:2");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(found, Some(vec![pair("id", "shelly-1"), pair("channel", "2")]));
        for other in
            ["shelly-1/status/light:2", "shelly-1/status", "a/b/status/switch:2", "x/status/switch:2/y"]
        {
            assert_eq!(sign.captures(other), None, "{other}");
        }
        assert_eq!(topic("tele/<topic>/LWT").captures("tele/a/LWT"), Some(vec![pair("topic", "a")]));
        assert_eq!(topic("tasmota/+/x").captures("tasmota/q/x"), Some(Vec::new()));
    }

    #[test]
    fn conditions_look_into_lists() {
        let document =
            serde_json::json!({"exposes": [{"type": "light", "features": [{"property": "state"}]}], "n": 1});
        let holds = |pointer: &str, text: &str| {
            let holds = vec![(pointer.to_owned(), vec![text.to_owned()])];
            Sign { holds, ..topic("a") }.fits(&document)
        };
        assert!(holds("/exposes/*/type", "light"));
        assert!(holds("/exposes/*/features/*/property", "state"));
        assert!(holds("/n", "1"));
        assert!(!holds("/exposes/*/type", "cover"));
        assert!(!holds("/n/*", "1"));
        assert!(Sign { has: vec!["/n".to_owned()], ..topic("a") }.fits(&document));
        assert!(!Sign { has: vec!["/m".to_owned()], ..topic("a") }.fits(&document));
    }
}

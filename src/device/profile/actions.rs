//! `actions:` and `events:`.

use std::sync::Arc;

use super::properties::{conditions, no_property};
use super::transport::{Scope, wait};
use super::typed::{fault, id, kind, map_in, names, probable, range, value};
use super::{Action, Arg, Clicks, Momentary, Property, Read, Source, Write, words};
use crate::config::fault::{Faults, Place};
use crate::config::yaml::{MapReader, Node};
use crate::device::value::{Kind, Value};
use crate::limits::{PROFILE_ITEMS, PROFILE_STEPS};

/// `actions:`
pub(super) fn actions(
    node: Option<&Node>,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Vec<Action> {
    items(node, path, "actions", faults, |id, node, at, faults| {
        action(id, node, at, scope, properties, faults)
    })
}

/// The named items of a section.
fn items<T>(
    node: Option<&Node>,
    path: &str,
    what: &str,
    faults: &mut Faults,
    mut read: impl FnMut((Arc<str>, Place), &Node, &str, &mut Faults) -> Option<T>,
) -> Vec<T> {
    let Some(node) = node else { return Vec::new() };
    let entries = node.entries(path, faults).unwrap_or_default();
    if entries.len() > PROFILE_ITEMS {
        fault(node, path, format!("at most {PROFILE_ITEMS} {what} are possible"), faults);
    }
    let mut out = Vec::new();
    for (key, node) in entries.iter().take(PROFILE_ITEMS) {
        let at = format!("{path}.{}", key.text);
        let id = id(&key.text, key.place, &at, faults);
        // A faulty one is kept, or whatever names it would be called wrong, too.
        out.extend(read((id.unwrap_or_else(|| key.text.as_str().into()), key.place), node, &at, faults));
    }
    out
}

fn action(
    (id, place): (Arc<str>, Place),
    node: &Node,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<Action> {
    let mut map = MapReader::of(&words::ACTION, node, path, faults)?.standing(place);
    let name = map.line("name", faults).map_or_else(|| id.clone(), |name| name.as_str().into());
    let sensitive = map.bool("sensitive", faults).unwrap_or(false);
    let args = map.take("args").map(|node| args(node, &map.at("args"), faults)).unwrap_or_default();
    let only_if = map
        .take("only_if")
        .map(|node| conditions(node, properties, &map.at("only_if"), faults))
        .unwrap_or_default();
    let holes: Vec<(Arc<str>, Kind)> = args.iter().map(|arg| (arg.id.clone(), arg.kind.clone())).collect();
    let steps = map
        .require("do", faults)
        .map(|node| steps(node, &holes, &map.at("do"), scope, faults))
        .unwrap_or_default();
    let expect = map.take("expect").and_then(|node| proof(node, &map.at("expect"), properties, faults));
    let min_gap = map.duration("min_gap", faults);
    map.finish(faults);
    Some(Action { id, name, sensitive, args, only_if, steps, expect, min_gap })
}

fn args(node: &Node, path: &str, faults: &mut Faults) -> Vec<Arg> {
    let mut out = Vec::new();
    for (key, node) in node.entries(path, faults).unwrap_or_default().iter().take(PROFILE_STEPS) {
        let at = format!("{path}.{}", key.text);
        let id = id(&key.text, key.place, &at, faults).unwrap_or_else(|| key.text.as_str().into());
        let Some(map) = MapReader::of(&words::ARG, node, &at, faults) else { continue };
        let mut map = map.standing(key.place);
        let kind = kind(&mut map, faults).unwrap_or_else(|| probable(&mut map));
        let range = range(&mut map, &kind, faults);
        let default = map.take("default").and_then(|node| value(node, &kind, &map.at("default"), faults));
        if let (Some((low, high)), Some(number)) = (range, default.as_ref().and_then(Value::number))
            && !(low..=high).contains(&number)
        {
            map.wrong("default", format!("{number} is outside the range {low} to {high}"), None, faults);
        }
        let _ = map.line("name", faults);
        map.finish(faults);
        out.push(Arg { id, kind, range, default });
    }
    out
}

fn steps(
    node: &Node,
    holes: &[(Arc<str>, Kind)],
    path: &str,
    scope: &Scope<'_>,
    faults: &mut Faults,
) -> Vec<Write> {
    let items = node.items(path, faults).unwrap_or_default();
    if items.is_empty() || items.len() > PROFILE_STEPS {
        fault(node, path, format!("an action has between 1 and {PROFILE_STEPS} steps"), faults);
    }
    items.iter().filter_map(|(at, item)| scope.step(item, holes, at, faults)).collect()
}

/// `expect: {door: open, within: 20s}`
fn proof(
    node: &Node,
    path: &str,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<(usize, Value, std::time::Duration)> {
    let mut map = MapReader::of(&words::PROOF, node, path, faults)?;
    let within = wait(&mut map, "within", faults);
    if map.take("within").is_none() {
        let help = "how long may it take? `within: 20s`".to_owned();
        faults.error(Some(node.place), path, "`within:` is missing", Some(help));
    }
    let [(key, wanted)] = map.others()[..] else {
        fault(node, path, "name exactly one property with its value", faults);
        return None;
    };
    let at = format!("{path}.{}", key.text);
    let Some(index) = properties.iter().position(|property| *property.id == *key.text) else {
        no_property(&key.text, key.place, properties, &at, faults);
        return None;
    };
    let kind = &properties.get(index)?.kind;
    Some((index, value(wanted, kind, &at, faults)?, within?))
}

/// `events:`
pub(super) fn events(
    node: Option<&Node>,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Vec<Momentary> {
    items(node, path, "events", faults, |id, node, at, faults| event(id, node, at, scope, properties, faults))
}

fn event(
    (id, place): (Arc<str>, Place),
    node: &Node,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<Momentary> {
    let mut map = MapReader::of(&words::EVENT, node, path, faults)?.standing(place);
    let name = map.line("name", faults).map_or_else(|| id.clone(), |name| name.as_str().into());
    let class = map.line("class", faults).map(|class| class.as_str().into());
    let values = map.require("values", faults).and_then(|node| names(node, &map.at("values"), faults));
    let from = map.require("from", faults);
    let at = map.at("from");
    map.finish(faults);
    let sound = values.is_some();
    let values = values.unwrap_or_else(|| Arc::from(Vec::new()));
    let seen = from.and_then(|node| seen(node, &values, sound, &at, scope, properties, faults));
    // A faulty one is kept, or a test that names it would be called wrong, too.
    let seen =
        seen.unwrap_or(Seen { from: Read::plain(Source::Item(id.clone())), clicks: None, quiet: None });
    let Seen { from, clicks, quiet } = seen;
    Some(Momentary { id, name, class, values: values.to_vec(), from, clicks, quiet })
}

/// What `from:` says.
struct Seen {
    from: Read,
    clicks: Option<Clicks>,
    quiet: Option<std::time::Duration>,
}

fn seen(
    node: &Node,
    values: &Arc<[Arc<str>]>,
    sound: bool,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<Seen> {
    let mut map = MapReader::of(words::from(scope.driver), node, path, faults)?;
    let clicks = map.take("clicks").map(|node| (node, clicks(node, path, values, faults)));
    let quiet = map.duration("quiet", faults);
    // Without values every word would be called unknown.
    let kind = if sound { Kind::Enum(values.clone()) } else { Kind::Text };
    let from = match map.take("property") {
        Some(node) => change_of(node, &mut map, &kind, properties, faults),
        None if scope.driver.tells() => scope.source_of(&mut map, &kind, faults),
        None => {
            let help = Some("for example `from: {property: running, map: {\"false\": done}}`".to_owned());
            let message = format!("an event over {} is a change of a property", scope.driver.word());
            faults.error(Some(map.place), path, message, help);
            None
        }
    };
    map.finish(faults);
    let from = from?;
    if clicks.is_none() && matches!(from.source, Source::Line { .. }) && from.map.is_none() {
        let message = "a line says true or false: give `clicks:` or a `map:` to the event's values";
        faults.error(Some(node.place), path, message, None);
    }
    let clicks = clicks.map(|(_, clicks)| clicks.unwrap_or(Clicks { double: None, hold: None }));
    Some(Seen { from, clicks, quiet })
}

/// `from: {property: running, map: {"false": done}}`: the event is a change of a property.
fn change_of(
    node: &Node,
    map: &mut MapReader<'_>,
    kind: &Kind,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<Read> {
    let word = node.text(&map.at("property"), faults)?;
    let values = map.require("map", faults).and_then(|node| map_in(node, kind, &map.at("map"), faults));
    let Some(index) = properties.iter().position(|property| *property.id == *word) else {
        no_property(&word, node.place, properties, &map.at("property"), faults);
        return None;
    };
    Some(Read { map: Some(values?), retained: false, ..Read::plain(Source::Property(index)) })
}

fn clicks(node: &Node, path: &str, values: &[Arc<str>], faults: &mut Faults) -> Option<Clicks> {
    let at = format!("{path}.clicks");
    let mut map = MapReader::of(&words::CLICKS, node, &at, faults)?;
    let clicks = Clicks { double: wait(&mut map, "double", faults), hold: wait(&mut map, "hold", faults) };
    map.finish(faults);
    let mut needed = vec!["single"];
    needed.extend(clicks.double.map(|_| "double"));
    needed.extend(clicks.hold.map(|_| "hold"));
    for word in needed {
        // Without values, that is the fault.
        if !values.is_empty() && !values.iter().any(|value| **value == *word) {
            fault(node, &at, format!("`values:` must list `{word}`, which this can raise"), faults);
        }
    }
    Some(clicks)
}

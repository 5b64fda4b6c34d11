//! `actions:` and `events:`.

use std::sync::Arc;

use super::properties::{conditions, no_property};
use super::transport::{Scope, wait};
use super::typed::{fault, id, kind, map_in, names, range, value};
use super::{Action, Arg, Clicks, DriverKind, Momentary, Property, Read, Source, Write};
use crate::config::fault::Faults;
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

/// The named items of a section. One whose name is wrong is read for its other mistakes.
fn items<T>(
    node: Option<&Node>,
    path: &str,
    what: &str,
    faults: &mut Faults,
    mut read: impl FnMut(Arc<str>, &Node, &str, &mut Faults) -> Option<T>,
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
        let item = read(id.clone().unwrap_or_default(), node, &at, faults);
        out.extend(item.filter(|_| id.is_some()));
    }
    out
}

fn action(
    id: Arc<str>,
    node: &Node,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<Action> {
    let mut map = MapReader::new(node, path, faults)?;
    let name = map.text("name", faults).map_or_else(|| id.clone(), |name| name.as_str().into());
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
    (!steps.is_empty()).then_some(Action { id, name, sensitive, args, only_if, steps, expect, min_gap })
}

fn args(node: &Node, path: &str, faults: &mut Faults) -> Vec<Arg> {
    let mut out = Vec::new();
    for (key, node) in node.entries(path, faults).unwrap_or_default().iter().take(PROFILE_STEPS) {
        let at = format!("{path}.{}", key.text);
        let Some(id) = id(&key.text, key.place, &at, faults) else { continue };
        let Some(mut map) = MapReader::new(node, &at, faults) else { continue };
        let Some(kind) = kind(&mut map, faults) else { continue };
        let range = range(&mut map, &kind, faults);
        let default = map.take("default").and_then(|node| value(node, &kind, &map.at("default"), faults));
        let _ = map.text("name", faults);
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
    let mut map = MapReader::new(node, path, faults)?;
    let within = match wait(&mut map, "within", faults) {
        Some(within) => within,
        None => {
            fault(node, path, "`within:` is missing: how long may it take?", faults);
            return None;
        }
    };
    let mut others = node.entries(path, faults)?.iter().filter(|(key, _)| key.text != "within");
    let (Some((key, wanted)), None) = (others.next(), others.next()) else {
        fault(node, path, "name exactly one property with its value", faults);
        return None;
    };
    let at = format!("{path}.{}", key.text);
    let Some(index) = properties.iter().position(|property| *property.id == *key.text) else {
        no_property(&key.text, key.place, properties, &at, faults);
        return None;
    };
    let kind = &properties.get(index)?.kind;
    Some((index, value(wanted, kind, &at, faults)?, within))
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
    id: Arc<str>,
    node: &Node,
    path: &str,
    scope: &Scope<'_>,
    properties: &[Property],
    faults: &mut Faults,
) -> Option<Momentary> {
    let mut map = MapReader::new(node, path, faults)?;
    let name = map.text("name", faults).map_or_else(|| id.clone(), |name| name.as_str().into());
    let class = map.text("class", faults).map(|class| class.as_str().into());
    let values = map.require("values", faults).and_then(|node| names(node, &map.at("values"), faults));
    let from = map.require("from", faults);
    let at = map.at("from");
    map.finish(faults);
    let values = values?;
    let mut map = MapReader::new(from?, &at, faults)?;
    let clicks = map.take("clicks").map(|node| (node, clicks(node, &at, &values, faults)));
    let quiet = map.duration("quiet", faults);
    let kind = Kind::Enum(values.clone());
    let read = match map.take("property") {
        Some(node) => change_of(node, &mut map, &kind, properties, faults),
        None => scope.source_of(&mut map, &kind, faults),
    };
    if let Some((node, _)) = &clicks
        && scope.driver != DriverKind::Gpio
    {
        fault(node, &map.at("clicks"), "`clicks:` are told apart on a gpio line only", faults);
    }
    map.finish(faults);
    let from = read?;
    if clicks.is_none() && matches!(from.source, Source::Line { .. }) && from.map.is_none() {
        let message = "a line says true or false: give `clicks:` or a `map:` to the event's values";
        faults.error(Some(node.place), &at, message, None);
    }
    let clicks = clicks.map(|(_, clicks)| clicks.unwrap_or(Clicks { double: None, hold: None }));
    Some(Momentary { id, name, class, values: values.to_vec(), from, clicks, quiet })
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
    Some(Read {
        source: Source::Property(index),
        map: Some(values?),
        scale: None,
        offset: None,
        invalid: Vec::new(),
        above: None,
        hold: None,
        retained: false,
    })
}

fn clicks(node: &Node, path: &str, values: &[Arc<str>], faults: &mut Faults) -> Option<Clicks> {
    let at = format!("{path}.clicks");
    let mut map = MapReader::new(node, &at, faults)?;
    let clicks = Clicks { double: wait(&mut map, "double", faults), hold: wait(&mut map, "hold", faults) };
    map.finish(faults);
    let mut needed = vec!["single"];
    needed.extend(clicks.double.map(|_| "double"));
    needed.extend(clicks.hold.map(|_| "hold"));
    for word in needed {
        if !values.iter().any(|value| **value == *word) {
            fault(node, &at, format!("`values:` must list `{word}`, which this can raise"), faults);
        }
    }
    Some(clicks)
}

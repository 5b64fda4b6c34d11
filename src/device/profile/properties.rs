//! `properties:` and `phone:`.

use std::sync::Arc;

use super::transport::{Scope, wait};
use super::typed::{fault, id, kind, range, value};
use super::{Category, LampRule, Notify, Phone, Property};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::device::value::{Kind, Value};
use crate::limits::PROFILE_ITEMS;

/// `properties:`
pub(super) fn properties(node: &Node, path: &str, scope: &Scope<'_>, faults: &mut Faults) -> Vec<Property> {
    let mut out = Vec::new();
    let mut guards = Vec::new();
    let entries = node.entries(path, faults).unwrap_or_default();
    if entries.len() > PROFILE_ITEMS {
        fault(node, path, format!("at most {PROFILE_ITEMS} properties are possible"), faults);
    }
    for (key, node) in entries.iter().take(PROFILE_ITEMS) {
        let at = format!("{path}.{}", key.text);
        let id = id(&key.text, key.place, &at, faults);
        if let Some((property, guard)) = property(id.unwrap_or_else(|| "?".into()), node, &at, scope, faults)
        {
            out.push(property);
            guards.push(guard.map(|node| (node, format!("{at}.only_if"))));
        }
    }
    for (index, guard) in guards.into_iter().enumerate() {
        let Some((node, at)) = guard else { continue };
        let conditions = conditions(node, &out, &at, faults);
        if let Some(property) = out.get_mut(index) {
            property.only_if = conditions;
        }
    }
    out
}

fn property<'a>(
    id: Arc<str>,
    node: &'a Node,
    path: &str,
    scope: &Scope<'_>,
    faults: &mut Faults,
) -> Option<(Property, Option<&'a Node>)> {
    let mut map = MapReader::new(node, path, faults)?;
    let kind = kind(&mut map, faults);
    // Without a type nothing below can be judged; the keys still count as known.
    let sure = kind.clone().unwrap_or(Kind::Text);
    let name = map.text("name", faults).map_or_else(|| id.clone(), |name| name.as_str().into());
    let reads = match map.require("read", faults) {
        Some(node) => scope.reads(node, &sure, &map.at("read"), faults),
        None => Vec::new(),
    };
    let target = map.take("target").and_then(|node| scope.read(node, &sure, &map.at("target"), faults));
    let mut write =
        map.take("write").and_then(|node| scope.write(node, &sure, &reads, &map.at("write"), faults));
    if let Some(write) = &mut write
        && write.maps.is_empty()
        && let Some(back) = reads.first().and_then(|read| read.map.clone())
    {
        write.maps.push(("value".into(), back));
    }
    let settable = write.is_some();
    let (guard, gap) = settable_keys(&mut map, settable, faults);
    let confirm = confirm(&mut map, settable, faults);
    let property = Property {
        id,
        name,
        unit: map.text("unit", faults).map(|unit| unit.as_str().into()),
        decimals: decimals(&mut map, &sure, faults),
        range: range(&mut map, &sure, faults),
        step: step(&mut map, faults),
        class: map.text("class", faults).map(|class| class.as_str().into()),
        category: category(&mut map, faults),
        sensitive: map.bool("sensitive", faults).unwrap_or(false),
        reads,
        target,
        write,
        confirm,
        only_if: Vec::new(),
        min_gap: gap,
        notify: notify(&mut map, &sure, faults),
        stale_after: map.duration("stale_after", faults),
        settle: map.duration("settle", faults),
        kind: sure,
    };
    restore(&mut map, &property, faults);
    map.finish(faults);
    (kind.is_some() && !property.reads.is_empty()).then_some((property, guard))
}

/// `only_if` and `min_gap`, which mean something only where there is a `write`.
fn settable_keys<'a>(
    map: &mut MapReader<'a>,
    settable: bool,
    faults: &mut Faults,
) -> (Option<&'a Node>, Option<std::time::Duration>) {
    let guard = map.take("only_if");
    let gap = map.duration("min_gap", faults);
    if !settable && let Some(node) = guard {
        fault(node, &map.at("only_if"), "`only_if:` means nothing without `write:`", faults);
    }
    (guard, gap)
}

fn confirm(map: &mut MapReader<'_>, settable: bool, faults: &mut Faults) -> Option<std::time::Duration> {
    let confirm = wait(map, "confirm", faults);
    if confirm.is_some() && !settable {
        let at = map.at("confirm");
        faults.error(Some(map.place), &at, "`confirm:` means nothing without `write:`", None);
    }
    confirm
}

fn decimals(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Option<u8> {
    let digits = map.int("decimals", 0..=9, faults)?;
    if *kind != Kind::Float {
        let message = format!("`decimals:` belongs to float, not to {}", kind.word());
        faults.error(Some(map.place), &map.at("decimals"), message, None);
    }
    u8::try_from(digits).ok()
}

fn step(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<f64> {
    let step = map.float("step", faults)?;
    if step <= 0.0 {
        faults.error(Some(map.place), &map.at("step"), "a step is larger than 0", None);
        return None;
    }
    Some(step)
}

fn category(map: &mut MapReader<'_>, faults: &mut Faults) -> Category {
    match map.text("category", faults).as_deref() {
        None | Some("main") => Category::Main,
        Some("diagnostic") => Category::Diagnostic,
        Some("config") => Category::Config,
        Some(other) => {
            let message = format!("`{other}` is no category; write main, diagnostic or config");
            faults.error(Some(map.place), &map.at("category"), message, None);
            Category::Main
        }
    }
}

fn notify(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Notify {
    let at = map.at("notify");
    let Some(node) = map.take("notify") else { return Notify::default() };
    let Some(mut map) = MapReader::new(node, &at, faults) else { return Notify::default() };
    let min_change = map.float("min_change", faults);
    if min_change.is_some() && !matches!(kind, Kind::Int | Kind::Float) {
        fault(node, &map.at("min_change"), format!("a change of {} has no size", kind.word()), faults);
    }
    let notify = Notify {
        min_change,
        min_gap: map.duration("min_gap", faults),
        at_least: map.duration("at_least", faults),
    };
    map.finish(faults);
    notify
}

/// `restore: false` says what holds anyway: nothing is driven because the gateway starts.
fn restore(map: &mut MapReader<'_>, property: &Property, faults: &mut Faults) {
    let at = map.at("restore");
    let Some(node) = map.take("restore") else { return };
    let output = property.reads.iter().any(|read| read.source.is_driven());
    if !output {
        fault(node, &at, "`restore:` belongs to a property that reads an output line", faults);
    } else if node.bool(&at, faults) == Some(true) {
        let help =
            "write `restore: false`; `link: lines: … initial:` says what the line does at start".to_owned();
        faults.error(Some(node.place), &at, "an output never returns to an old state by itself", Some(help));
    }
}

/// `{property: value, …}` about properties of this profile.
pub(super) fn conditions(
    node: &Node,
    properties: &[Property],
    path: &str,
    faults: &mut Faults,
) -> Vec<(usize, Value)> {
    let mut out = Vec::new();
    for (key, node) in node.entries(path, faults).unwrap_or_default() {
        let at = format!("{path}.{}", key.text);
        let Some(index) = properties.iter().position(|property| *property.id == *key.text) else {
            no_property(&key.text, key.place, properties, &at, faults);
            continue;
        };
        let Some(property) = properties.get(index) else { continue };
        out.extend(value(node, &property.kind, &at, faults).map(|value| (index, value)));
    }
    out
}

pub(super) fn no_property(
    word: &str,
    place: crate::config::fault::Place,
    properties: &[Property],
    path: &str,
    faults: &mut Faults,
) {
    let help = nearest(word, properties.iter().map(|property| &*property.id))
        .map(|near| format!("did you mean `{near}`?"));
    faults.error(Some(place), path, format!("there is no property `{word}`"), help);
}

/// `phone:`
pub(super) fn phone(
    node: Option<&Node>,
    path: &str,
    properties: &[Property],
    actions: &[super::Action],
    faults: &mut Faults,
) -> Phone {
    let Some(mut map) = node.and_then(|node| MapReader::new(node, path, faults)) else {
        return Phone::default();
    };
    let lit_when = map.take("lit_when");
    let at = (map.at("lamp"), map.at("lit_when"));
    let lamp = map.take("lamp").and_then(|node| lamp(node, lit_when, properties, (&at.0, &at.1), faults));
    let press = map.take("press").and_then(|node| press(node, &map.at("press"), properties, actions, faults));
    map.finish(faults);
    Phone { lamp, press }
}

fn lamp(
    node: &Node,
    lit_when: Option<&Node>,
    properties: &[Property],
    (path, lit_path): (&str, &str),
    faults: &mut Faults,
) -> Option<LampRule> {
    let word = node.text(path, faults)?;
    let Some(index) = properties.iter().position(|property| *property.id == *word) else {
        no_property(&word, node.place, properties, path, faults);
        return None;
    };
    let kind = &properties.get(index)?.kind;
    let lit_when = match (lit_when, kind) {
        (None, Kind::Bool) => vec![Value::Bool(true)],
        (None, _) => {
            let message = format!("`lit_when:` is needed: which values of `{word}` light the lamp?");
            fault(node, path, message, faults);
            return None;
        }
        (Some(node), _) => match &node.data {
            Data::List(items) => {
                items.iter().filter_map(|item| value(item, kind, lit_path, faults)).collect()
            }
            _ => value(node, kind, lit_path, faults).into_iter().collect(),
        },
    };
    Some(LampRule { property: index, lit_when })
}

/// `none`, `toggle power`, `on` …: checked here for names, understood when pressed.
fn press(
    node: &Node,
    path: &str,
    properties: &[Property],
    actions: &[super::Action],
    faults: &mut Faults,
) -> Option<Arc<str>> {
    let text = node.text(path, faults)?;
    let mut words = text.split_whitespace();
    let (first, second) = (words.next()?, words.next());
    if first == "none" {
        return None;
    }
    let settable =
        |id: &str| properties.iter().any(|property| *property.id == *id && property.write.is_some());
    let action = |id: &str| actions.iter().any(|action| *action.id == *id);
    let known = match (first, second) {
        ("toggle" | "set", Some(name)) => settable(name),
        ("on" | "off" | "toggle", None) => properties.iter().any(|property| property.write.is_some()),
        (name, _) => settable(name) || action(name),
    };
    if !known {
        let help =
            "write none, toggle <property>, set <property> <value>, or the name of an action".to_owned();
        faults.error(
            Some(node.place),
            path,
            format!("`{text}` is nothing that this device can do"),
            Some(help),
        );
        return None;
    }
    Some(text.as_str().into())
}

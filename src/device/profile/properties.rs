//! `properties:` and `phone:`.

use std::sync::Arc;

use super::transport::{Scope, wait};
use super::typed::{fault, id, kind, probable, range, value};
use super::{Category, LampRule, Notify, Phone, Property, Source, words};
use crate::config::fault::{Faults, Place, nearest};
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
        // A faulty one is kept, or whatever names it would be called wrong, too.
        let id = id.unwrap_or_else(|| key.text.as_str().into());
        if let Some((property, guard)) = property((id, key.place), node, &at, scope, faults) {
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
    (id, place): (Arc<str>, Place),
    node: &'a Node,
    path: &str,
    scope: &Scope<'_>,
    faults: &mut Faults,
) -> Option<(Property, Option<&'a Node>)> {
    let mut map = MapReader::of(&words::PROPERTY, node, path, faults)?.standing(place);
    let sure = kind(&mut map, faults).unwrap_or_else(|| probable(&mut map));
    let name = map.line("name", faults).map_or_else(|| id.clone(), |name| name.as_str().into());
    let reads = match map.require("read", faults) {
        Some(node) => scope.reads(node, &sure, &map.at("read"), faults),
        None => Vec::new(),
    };
    let target = map.take("target").and_then(|node| scope.read(node, &sure, &map.at("target"), faults));
    let write = map.take("write");
    let settable = write.is_some();
    let write = write.and_then(|node| scope.write(node, &sure, &reads, &map.at("write"), faults));
    let (guard, gap) = settable_keys(&mut map, settable, faults);
    let confirm = confirm(&mut map, settable, faults);
    let range = range(&mut map, &sure, faults);
    let property = Property {
        id,
        name,
        unit: unit(&mut map, &sure, faults),
        decimals: decimals(&mut map, &sure, faults),
        range,
        step: step(&mut map, &sure, faults),
        class: map.line("class", faults).map(|class| class.as_str().into()),
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
    Some((property, guard))
}

/// How people write units, and how they are written here.
const UNITS: [(&str, &str); 14] = [
    ("c", "°C"),
    ("degc", "°C"),
    ("deg c", "°C"),
    ("celsius", "°C"),
    ("f", "°F"),
    ("percent", "%"),
    ("watt", "W"),
    ("watts", "W"),
    ("volt", "V"),
    ("ampere", "A"),
    ("m3", "m³"),
    ("m^3", "m³"),
    ("kw/h", "kWh"),
    ("kw", "kW"),
];
/// Units that differ from another spelling by case alone.
const SPELLED: [&str; 22] = [
    "W", "kW", "VA", "kVA", "var", "Wh", "kWh", "MWh", "V", "mV", "A", "mA", "Hz", "°C", "°F", "lx", "hPa",
    "ppm", "dBm", "dB", "rpm", "min",
];

fn unit(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Option<Arc<str>> {
    let unit = map.line("unit", faults)?;
    if !matches!(kind, Kind::Int | Kind::Float) {
        map.wrong("unit", format!("a unit belongs to int or float, not to {}", kind.word()), None, faults);
    }
    let lower = unit.to_lowercase();
    let meant =
        UNITS.iter().find(|(other, right)| *other == lower && *right != unit).map(|(_, right)| *right);
    let same = || SPELLED.iter().find(|right| right.to_lowercase() == lower).copied();
    let sure = SPELLED.contains(&unit.as_str());
    if let Some(meant) = meant.or_else(same).filter(|_| !sure) {
        map.warn("unit", format!("is `{unit}` the unit `{meant}`?"), Some(format!("write {meant}")), faults);
    }
    Some(unit.as_str().into())
}

/// `only_if` and `min_gap`, which mean something only where there is a `write`.
fn settable_keys<'a>(
    map: &mut MapReader<'a>,
    settable: bool,
    faults: &mut Faults,
) -> (Option<&'a Node>, Option<std::time::Duration>) {
    let guard = map.take("only_if");
    let gap = map.duration("min_gap", faults);
    for (key, there) in [("only_if", guard.is_some()), ("min_gap", gap.is_some())] {
        if there && !settable {
            map.wrong(key, format!("`{key}:` means nothing without `write:`"), None, faults);
        }
    }
    (guard, gap)
}

fn confirm(map: &mut MapReader<'_>, settable: bool, faults: &mut Faults) -> Option<std::time::Duration> {
    let confirm = wait(map, "confirm", faults);
    if map.take("confirm").is_some() && !settable {
        map.wrong("confirm", "`confirm:` means nothing without `write:`", None, faults);
    }
    confirm
}

fn decimals(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Option<u8> {
    let digits = map.whole("decimals", faults)?;
    if *kind != Kind::Float {
        map.wrong("decimals", format!("`decimals:` belongs to float, not to {}", kind.word()), None, faults);
    }
    u8::try_from(digits).ok()
}

fn step(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Option<f64> {
    let step = map.float("step", faults)?;
    if !matches!(kind, Kind::Int | Kind::Float) {
        map.wrong("step", format!("a step belongs to int or float, not to {}", kind.word()), None, faults);
    } else if step <= 0.0 {
        map.wrong("step", "a step is larger than 0", None, faults);
    } else {
        return Some(step);
    }
    None
}

fn category(map: &mut MapReader<'_>, faults: &mut Faults) -> Category {
    match map.one_of("category", faults) {
        Some("diagnostic") => Category::Diagnostic,
        Some("config") => Category::Config,
        _ => Category::Main,
    }
}

fn notify(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Notify {
    let at = map.at("notify");
    let Some(node) = map.take("notify") else { return Notify::default() };
    let Some(mut map) = MapReader::of(&words::NOTIFY, node, &at, faults) else { return Notify::default() };
    let min_change = map.float("min_change", faults);
    if min_change.is_some() && !matches!(kind, Kind::Int | Kind::Float) {
        map.wrong("min_change", format!("a change of {} has no size", kind.word()), None, faults);
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
    let output =
        property.reads.iter().any(|read| matches!(read.source, Source::Line { output: Some(_), .. }));
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
    place: Place,
    properties: &[Property],
    path: &str,
    faults: &mut Faults,
) {
    let names = || properties.iter().map(|property| &*property.id);
    let help = match nearest(word, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if properties.is_empty() => "the profile has none".to_owned(),
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    };
    faults.error(Some(place), path, format!("there is no property `{word}`"), Some(help));
}

/// `phone:`
pub(super) fn phone(
    node: Option<&Node>,
    path: &str,
    properties: &[Property],
    actions: &[super::Action],
    faults: &mut Faults,
) -> Phone {
    let Some(mut map) = node.and_then(|node| MapReader::of(&words::PHONE, node, path, faults)) else {
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

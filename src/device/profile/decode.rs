//! From a tree to a profile, and from a profile to a model.

use std::sync::Arc;

use super::actions::{actions, events};
use super::cases::cases;
use super::discover::discover;
use super::fill::{Home, Values, concrete, examples, fit, given, override_properties};
use super::harmless::harmless;
use super::linking::{Shared, link, online};
use super::properties::{phone, properties};
use super::transport::Scope;
use super::typed::{fault, id};
use super::{DriverKind, LinkNeeds, Model, Param, Profile, Sign, registers};
use crate::config::fault::{Faults, Place, nearest};
use crate::config::yaml::{MapReader, Node};

/// What stands at the top of a profile.
struct Head {
    id: Arc<str>,
    name: Arc<str>,
    kind: Option<Arc<str>>,
    about: Option<Arc<str>>,
    driver: DriverKind,
    params: Vec<Param>,
    discover: Vec<Sign>,
}

pub(super) fn profile(node: &Node, faults: &mut Faults) -> Option<Profile> {
    // A warning must not make a good profile unusable, nor an earlier fault of the caller a bad one.
    let mut own = Faults::default();
    let found = checked(node, &mut own);
    let fatal = own.fatal();
    faults.append(own);
    found.filter(|_| !fatal)
}

fn checked(node: &Node, faults: &mut Faults) -> Option<Profile> {
    let mut map = MapReader::new(node, "", faults)?;
    let head = head(&mut map, faults);
    let tests = map.take("tests");
    for key in ["link", "online", "properties", "actions", "events", "phone"] {
        let _ = map.take(key);
    }
    map.finish(faults);
    let head = head?;
    let values = examples(&head.params);
    let tree = concrete(node, &values, None, faults);
    let example = model(&tree, &head.id, &head.name, head.driver, "", faults)?;
    let example = Model { kind: head.kind.clone(), ..example };
    let cases = tests.map(|node| cases(node, &example, faults)).unwrap_or_default();
    Some(Profile {
        id: head.id,
        name: head.name,
        kind: head.kind,
        about: head.about,
        params: head.params,
        discover: head.discover,
        cases,
        example: Arc::new(example),
        source: Arc::new(node.clone()),
    })
}

fn head(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Head> {
    if let Some(node) = map.require("format", faults)
        && node.scalar().as_deref() != Some("1")
    {
        fault(node, "format", "this version reads `format: 1`", faults);
    }
    let name_of = map.require("profile", faults);
    let id = name_of.and_then(|node| id(&node.text("profile", faults)?, node.place, "profile", faults));
    let name = map.require("name", faults).and_then(|node| node.text("name", faults));
    let kind = map.take("kind").and_then(|node| kind(node, faults));
    let about = map.text("about", faults).map(|about| about.as_str().into());
    let driver = map.require("driver", faults).and_then(|node| driver(node, faults));
    let params = map.take("params").map(|node| params(node, faults)).unwrap_or_default();
    let discover =
        map.take("discover").map(|node| discover(node, &params, driver, faults)).unwrap_or_default();
    Some(Head { id: id?, name: name?.as_str().into(), kind, about, driver: driver?, params, discover })
}

/// What kind of appliance it is; it becomes part of addresses (`d=lamp`).
fn kind(node: &Node, faults: &mut Faults) -> Option<Arc<str>> {
    let word = node.text("kind", faults)?;
    if crate::config::names::is_id(&word) {
        return Some(word.as_str().into());
    }
    let help = "write one word in lower case: lamp, thermostat, garage-door".to_owned();
    faults.error(Some(node.place), "kind", format!("`{word}` is no kind of appliance"), Some(help));
    None
}

fn driver(node: &Node, faults: &mut Faults) -> Option<DriverKind> {
    let word = node.text("driver", faults)?;
    const ALL: [DriverKind; 7] = [
        DriverKind::Mqtt,
        DriverKind::Serial,
        DriverKind::Modbus,
        DriverKind::P1,
        DriverKind::Gpio,
        DriverKind::W1,
        DriverKind::Sip,
    ];
    let found = ALL.into_iter().find(|driver| driver.word() == word);
    if found.is_none() {
        let help = match nearest(&word, ALL.iter().map(|driver| driver.word())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "the drivers are mqtt, serial, modbus, p1, gpio, w1 and sip".to_owned(),
        };
        faults.error(Some(node.place), "driver", format!("there is no driver `{word}`"), Some(help));
    }
    found
}

fn params(node: &Node, faults: &mut Faults) -> Vec<Param> {
    let mut out = Vec::new();
    for (key, node) in node.entries("params", faults).unwrap_or_default() {
        let at = format!("params.{}", key.text);
        let Some(mut map) = MapReader::new(node, &at, faults) else { continue };
        let about = map.text("about", faults);
        let mut text = |key: &'static str, faults: &mut Faults| {
            let at = map.at(key);
            let node = map.take(key)?;
            node.text(&at, faults).filter(|text| fit(text, node.place, &at, faults))
        };
        let (example, default) = (text("example", faults), text("default", faults));
        map.finish(faults);
        let message = if id(&key.text, key.place, &at, faults).is_none() {
            continue;
        } else if key.text == "value" {
            "<value> is what a property is set to and cannot be a param"
        } else if example.is_none() && default.is_none() {
            "give an `example:` (it must be set in the home file) or a `default:`"
        } else {
            out.push(Param { name: key.text.clone(), about, example, default });
            continue;
        };
        faults.error(Some(key.place), &at, message, None);
    }
    out
}

/// Decodes a tree in which params are put in.
fn model(
    tree: &Node,
    id: &Arc<str>,
    name: &Arc<str>,
    driver: DriverKind,
    path: &str,
    faults: &mut Faults,
) -> Option<Model> {
    let mut map = MapReader::new(tree, path, faults)?;
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let (link, shared) = link(map.take("link"), driver, &at("link"), faults)?;
    let lines = match &link {
        LinkNeeds::Gpio(lines) => lines.as_slice(),
        _ => &[],
    };
    let hex = matches!(&link, LinkNeeds::Serial(needs) if needs.hex);
    let Shared { topic, unit, folder } = shared;
    let scope = Scope { driver, topic, lines, hex, unit, folder };
    let online = online(map.take("online"), &at("online"), &scope, faults);
    let mut properties = match map.take("properties") {
        Some(node) => properties(node, &at("properties"), &scope, faults),
        None => Vec::new(),
    };
    if let LinkNeeds::Modbus(needs) = &link {
        registers::join(&mut properties, needs.join);
    }
    let actions = actions(map.take("actions"), &at("actions"), &scope, &properties, faults);
    let events = events(map.take("events"), &at("events"), &scope, &properties, faults);
    let phone = phone(map.take("phone"), &at("phone"), &properties, &actions, faults);
    if properties.is_empty() && events.is_empty() && actions.is_empty() {
        fault(tree, path, "a profile needs at least one property, action or event", faults);
        return None;
    }
    let model = Model {
        profile: id.clone(),
        name: name.clone(),
        kind: None,
        driver,
        online: online?,
        link,
        properties,
        actions,
        events,
        phone,
    };
    told_apart(tree.place, &model, path, faults);
    harmless(&model, tree.place, path, faults);
    Some(model)
}

/// One name means one thing: access rules and commands name properties, actions and events alike.
fn told_apart(place: Place, model: &Model, path: &str, faults: &mut Faults) {
    let mut seen: Vec<&str> = Vec::new();
    let properties = model.properties.iter().map(|property| &*property.id);
    let actions = model.actions.iter().map(|action| &*action.id);
    for id in properties.chain(actions).chain(model.events.iter().map(|event| &*event.id)) {
        if seen.contains(&id) {
            let message =
                format!("`{id}` is the name of two things; properties, actions and events share their names");
            faults.error(Some(place), path, message, None);
        }
        seen.push(id);
    }
}

pub(super) fn instantiate(profile: &Profile, home: &Home<'_>, faults: &mut Faults) -> Option<Model> {
    let mut own = Faults::default();
    let values = given(&profile.params, home, &mut own);
    let model = values.and_then(|values| made_concrete(profile, &values, home, &mut own));
    let fatal = own.fatal();
    faults.append(own);
    model.filter(|_| !fatal)
}

/// The same with the example of each param.
pub(super) fn instantiate_example(profile: &Profile, home: &Home<'_>, faults: &mut Faults) -> Option<Model> {
    let mut own = Faults::default();
    let model = made_concrete(profile, &examples(&profile.params), home, &mut own);
    let fatal = own.fatal();
    faults.append(own);
    model.filter(|_| !fatal)
}

fn made_concrete(profile: &Profile, values: &Values, home: &Home<'_>, faults: &mut Faults) -> Option<Model> {
    let mut tree = concrete(&profile.source, values, Some(home.place), faults);
    override_properties(&mut tree, profile, home, faults);
    let model = model(&tree, &profile.id, &profile.name, profile.example.driver, home.path, faults)?;
    Some(Model { kind: profile.kind.clone(), ..model })
}

//! From a tree to a profile, and from a profile to a model.

use std::sync::Arc;

use super::actions::{actions, events};
use super::cases::cases;
use super::discover::discover;
use super::fill::{Home, Values, concrete, examples, fit, given, names, override_properties, placeholders};
use super::harmless::harmless;
use super::linking::{Shared, link, online};
use super::properties::{phone, properties};
use super::transport::Scope;
use super::typed::{fault, id};
use super::{DriverKind, LinkNeeds, Model, Online, Param, Profile, Sign, Watched, registers, words};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{Data, Key, MapReader, Node};

/// What stands at the top of a profile.
struct Head {
    id: Arc<str>,
    name: Arc<str>,
    kind: Option<Arc<str>>,
    about: Option<Arc<str>>,
    driver: Option<DriverKind>,
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
    let mut map = MapReader::of(&words::PROFILE, node, "", faults)?;
    let head = head(&mut map, faults);
    let tests = map.take("tests");
    for key in ["link", "online", "properties", "actions", "events", "phone"] {
        let _ = map.take(key);
    }
    map.finish(faults);
    let properties = || head_of(node, "properties").and_then(guess);
    // What is wrong above is told; what is below is read with what was probably meant.
    let driver = head.driver.or_else(properties)?;
    placeholders(node, &names(node, &head.params), "", faults);
    let values = examples(&head.params);
    let tree = concrete(node, &values, None, faults);
    let example = model(&tree, &head.id, &head.name, driver, "", faults)?;
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

fn head(map: &mut MapReader<'_>, faults: &mut Faults) -> Head {
    if let Some(node) = map.require("format", faults)
        && node.scalar().as_deref() != Some("1")
    {
        fault(node, "format", "this version reads `format: 1`", faults);
    }
    let name_of = map.require("profile", faults);
    let id = name_of.and_then(|node| id(&node.text("profile", faults)?, node.place, "profile", faults));
    let name = map.require("name", faults).and_then(|node| node.line("name", faults));
    let kind = map.take("kind").and_then(|node| kind(node, faults));
    let about = map.text("about", faults).map(|about| about.as_str().into());
    let driver = map.take("driver").map(|node| driver(node, faults));
    if driver.is_none() {
        let words: Vec<&str> = DriverKind::ALL.iter().map(|driver| driver.word()).collect();
        let help = format!("the drivers are {}", words.join(", "));
        faults.error(Some(map.place), "", "`driver:` is missing", Some(help));
    }
    let driver = driver.flatten();
    let params = map.take("params").map(|node| params(node, faults)).unwrap_or_default();
    let discover =
        map.take("discover").map(|node| discover(node, &params, driver, faults)).unwrap_or_default();
    let name = name.unwrap_or_default().as_str().into();
    Head { id: id.unwrap_or_default(), name, kind, about, driver, params, discover }
}

fn head_of<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    let Data::Map(entries) = &node.data else { return None };
    entries.iter().find(|(found, _)| found.text == key).map(|(_, node)| node)
}

/// The driver whose words these use, where none is named.
fn guess(node: &Node) -> Option<DriverKind> {
    const SIGNS: [(&str, DriverKind); 11] = [
        ("topic", DriverKind::Mqtt),
        ("json", DriverKind::Mqtt),
        ("match", DriverKind::Serial),
        ("input", DriverKind::Modbus),
        ("holding", DriverKind::Modbus),
        ("coil", DriverKind::Modbus),
        ("discrete", DriverKind::Modbus),
        ("obis", DriverKind::P1),
        ("line", DriverKind::Gpio),
        ("file", DriverKind::W1),
        ("item", DriverKind::Sip),
    ];
    let Data::Map(entries) = &node.data else { return None };
    let sign = |key: &Key| SIGNS.iter().find(|(sign, _)| *sign == key.text).map(|(_, driver)| *driver);
    // Deeper than a file may be nested, this never goes.
    entries.iter().find_map(|(key, node)| sign(key).or_else(|| guess(node)))
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

/// The driver; a mistyped one counts as what was probably meant, so that the rest can be judged.
fn driver(node: &Node, faults: &mut Faults) -> Option<DriverKind> {
    let word = node.text("driver", faults)?;
    if let Some(driver) = DriverKind::of(&word) {
        return Some(driver);
    }
    let words = || DriverKind::ALL.iter().map(|driver| driver.word());
    let near = nearest(&word, words());
    let help = match near {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the drivers are {}", words().collect::<Vec<_>>().join(", ")),
    };
    faults.error(Some(node.place), "driver", format!("there is no driver `{word}`"), Some(help));
    near.and_then(DriverKind::of)
}

fn params(node: &Node, faults: &mut Faults) -> Vec<Param> {
    let mut out = Vec::new();
    for (key, node) in node.entries("params", faults).unwrap_or_default() {
        let at = format!("params.{}", key.text);
        let Some(mut map) = MapReader::of(&words::PARAM, node, &at, faults) else { continue };
        let about = map.text("about", faults);
        let mut text = |key: &'static str, faults: &mut Faults| {
            let at = map.at(key);
            let node = map.take(key)?;
            node.text(&at, faults).filter(|text| fit(text, node.place, &at, faults))
        };
        let (example, default) = (text("example", faults), text("default", faults));
        map.finish(faults);
        // One that is faulty is kept, or every placeholder of it would be called unknown.
        let sound = id(&key.text, key.place, &at, faults).is_some();
        let message = if !sound {
            out.push(Param {
                name: key.text.clone(),
                about,
                example: example.or(Some("1".to_owned())),
                default,
            });
            continue;
        } else if key.text == "value" {
            "<value> is what a property is set to and cannot be a param"
        } else if example.is_none() && default.is_none() {
            out.push(Param { name: key.text.clone(), about, example: Some("1".to_owned()), default });
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
    let mut map = MapReader::of(&words::PROFILE, tree, path, faults)?;
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let unlinked = tree.place_of(&["driver"]);
    let (link, shared) = link(map.take("link"), driver, (&at("link"), unlinked), faults);
    let Shared { topic, unit, folder, lines, hex, read_out } = shared;
    let scope = Scope { driver, topic, lines: &lines, hex, unit, folder, read_out };
    let online = online(map.take("online"), &at("online"), &scope, faults);
    let mut properties = match map.take("properties") {
        Some(node) => properties(node, &at("properties"), &scope, faults),
        None => Vec::new(),
    };
    if let Some(LinkNeeds::Modbus(needs)) = &link {
        registers::join(&mut properties, needs.join);
    }
    let actions = actions(map.take("actions"), &at("actions"), &scope, &properties, faults);
    let events = events(map.take("events"), &at("events"), &scope, &properties, faults);
    let phone = phone(map.take("phone"), &at("phone"), &properties, &actions, faults);
    if properties.is_empty() && events.is_empty() && actions.is_empty() && !faults.fatal() {
        fault(tree, path, "a profile needs at least one property, action or event", faults);
    }
    let model = Model {
        profile: id.clone(),
        name: name.clone(),
        kind: None,
        driver,
        online: online.unwrap_or(Online::Link),
        // Without one there is a fault, and the model is looked at no further.
        link: link.unwrap_or(LinkNeeds::Sip(Watched::Appliance)),
        properties,
        actions,
        events,
        phone,
    };
    told_apart(tree, &model, path, faults);
    harmless(&model, tree, path, faults);
    Some(model)
}

/// One name means one thing: access rules and commands name properties, actions and events alike.
fn told_apart(tree: &Node, model: &Model, path: &str, faults: &mut Faults) {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    let properties = model.properties.iter().map(|property| ("properties", &*property.id));
    let actions = model.actions.iter().map(|action| ("actions", &*action.id));
    let events = model.events.iter().map(|event| ("events", &*event.id));
    for (section, id) in properties.chain(actions).chain(events) {
        if let Some((first, _)) = seen.iter().find(|(_, known)| *known == id) {
            let line = tree.place_of(&[first, id]).line;
            let message = format!("`{id}` is a name under `{first}:` already, at line {line}");
            let help =
                "properties, actions and events share their names: one name means one thing".to_owned();
            let at = if path.is_empty() { format!("{section}.{id}") } else { path.to_owned() };
            faults.error(Some(tree.place_of(&[section, id])), &at, message, Some(help));
        }
        seen.push((section, id));
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

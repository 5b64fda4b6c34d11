//! `groups:`, `opaque_names:` and `isolate:`, and what a device is called beside its id.

use secrecy::{ExposeSecret as _, SecretBox};

use super::Build;
use super::namespace::Owner;
use super::users::password;
use crate::config::fault::{Place, nearest};
use crate::config::names::{ID_BYTES, is_id, room_id};
use crate::config::yaml::{Data, Key, MapReader, Node};
use crate::config::{DeviceConfig, DeviceId, Group, KillSwitch, Naming, OpaqueKey, User};
use crate::control::address::GROUP;

/// Most groups of a house; more is a fault.
const MOST_GROUPS: usize = 64;
/// Most nicknames of one device; more is a fault.
const MOST_NICKNAMES: usize = 16;
/// Most keys for opaque names: the one in use, and those that are still understood.
const MOST_KEYS: usize = 8;

/// `kind:`, `nicknames:` and `expose:` of a device.
pub(super) fn naming(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Naming {
    let kind_path = map.at("kind");
    let kind = map.take("kind").and_then(|node| kind(node, &kind_path, build));
    let path = map.at("nicknames");
    let node = map.take("nicknames");
    let texts = node.and_then(|node| node.texts(&path, &mut build.faults)).unwrap_or_default();
    if texts.len() > MOST_NICKNAMES {
        let message = format!("a device has at most {MOST_NICKNAMES} nicknames");
        build.faults.error(node.map(|node| node.place), &path, message, None);
    }
    let taken = texts.into_iter().take(MOST_NICKNAMES);
    let nicknames = taken.filter_map(|(place, text)| nickname(&text, place, &path, build)).collect();
    let hidden = map.bool("expose", &mut build.faults) == Some(false);
    Naming { kind, nicknames, hidden }
}

fn kind(node: &Node, path: &str, build: &mut Build<'_>) -> Option<String> {
    let word = node.text(path, &mut build.faults)?;
    if is_id(&word) {
        return Some(word);
    }
    let help = "write one word in lower case: lamp, thermostat, garage-door".to_owned();
    let message = format!("`{word}` is no kind of appliance");
    build.faults.error(Some(node.place), path, message, Some(help));
    None
}

/// A nickname as the user part that it becomes.
fn nickname(text: &str, place: Place, path: &str, build: &mut Build<'_>) -> Option<String> {
    let id = room_id(text);
    if !is_id(&id) {
        let help = "use letters, digits and spaces: Cool boy".to_owned();
        build.faults.error(Some(place), path, format!("`{text}` makes no address"), Some(help));
        return None;
    }
    build.names.claim(&id, Owner::Nickname, Some(place), path, &mut build.faults);
    Some(id)
}

/// The groups, in the order of the file.
pub(super) fn groups(node: Option<&Node>, devices: &[DeviceConfig], build: &mut Build<'_>) -> Vec<Group> {
    let entries = node.and_then(|node| node.entries("groups", &mut build.faults)).unwrap_or_default();
    if entries.len() > MOST_GROUPS {
        let message = format!("{} groups; a house has at most {MOST_GROUPS}", entries.len());
        build.faults.error(node.map(|node| node.place), "groups", message, None);
        return Vec::new();
    }
    entries.iter().filter_map(|(key, value)| group(key, value, devices, build)).collect()
}

fn group(key: &Key, value: &Node, devices: &[DeviceConfig], build: &mut Build<'_>) -> Option<Group> {
    let path = format!("groups.{}", key.text);
    super::namespace::check_id(&key.text, "the name of a group", key.place, &path, &mut build.faults);
    for name in [key.text.clone(), format!("{GROUP}{}", key.text)] {
        build.names.claim(&name, Owner::Group, Some(key.place), &path, &mut build.faults);
    }
    let (name, node, path) = match &value.data {
        Data::Map(_) => {
            let mut map = MapReader::new(value, &path, &mut build.faults)?;
            let name = map.line("name", &mut build.faults);
            let node = map.require("devices", &mut build.faults);
            let path = map.at("devices");
            map.finish(&mut build.faults);
            (name, node?, path)
        }
        _ => (None, value, path),
    };
    let mut members: Vec<DeviceId> = Vec::new();
    for (place, id) in node.texts(&path, &mut build.faults).unwrap_or_default() {
        match devices.iter().position(|device| device.id == id) {
            Some(index) if members.contains(&DeviceId(index)) => {
                build.faults.error(Some(place), &path, format!("`{id}` stands here twice"), None);
            }
            Some(index) => members.push(DeviceId(index)),
            // A device with faults of its own is not unknown.
            None if build.names.is_device(&id) => {}
            None => {
                let near = nearest(&id, devices.iter().map(|device| device.id.as_str()));
                let help = near.map(|near| format!("did you mean `{near}`?"));
                build.faults.error(Some(place), &path, format!("there is no device `{id}`"), help);
            }
        }
    }
    Some(Group { id: key.text.clone(), name: name.unwrap_or_else(|| key.text.clone()), devices: members })
}

/// The keys of opaque names; the last is the one in use.
pub(super) fn opaque(node: Option<&Node>, build: &mut Build<'_>) -> Vec<OpaqueKey> {
    let entries = node.and_then(|node| node.entries("opaque_names", &mut build.faults)).unwrap_or_default();
    if entries.len() > MOST_KEYS {
        let message = format!("at most {MOST_KEYS} keys are kept");
        build.faults.error(node.map(|node| node.place), "opaque_names", message, None);
        return Vec::new();
    }
    entries.iter().filter_map(|(key, value)| opaque_key(key, value, build)).collect()
}

fn opaque_key(key: &Key, value: &Node, build: &mut Build<'_>) -> Option<OpaqueKey> {
    let path = format!("opaque_names.{}", key.text);
    let digits = key.text.strip_prefix('x').unwrap_or_default();
    if !(1..=3).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("`{}` is no name of a key", key.text);
        let help = "keys are called x1, x2 …; the last one is in use".to_owned();
        build.faults.error(Some(key.place), &path, message, Some(help));
        return None;
    }
    let secret = password(value, &path, "names", build)?;
    let text = secret.expose_secret();
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    let bytes: Option<Vec<u8>> =
        pairs.map(|pair| pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())).collect();
    match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
        Some(bytes) => Some(OpaqueKey { id: key.text.clone(), key: SecretBox::new(Box::new(bytes)).into() }),
        None => {
            let help = "`openssl rand -hex 32` prints one".to_owned();
            let message = "this secret is no key of 64 hex digits";
            build.faults.error(Some(value.place), &path, message, Some(help));
            None
        }
    }
}

/// Who may isolate and release appliances by words.
pub(super) fn kill_switch(node: Option<&Node>, users: &[User], build: &mut Build<'_>) -> KillSwitch {
    let Some(mut map) = node.and_then(|node| MapReader::new(node, "isolate", &mut build.faults)) else {
        return KillSwitch::default();
    };
    let (who, release) = (map.require("who", &mut build.faults), map.take("release_local"));
    map.finish(&mut build.faults);
    KillSwitch {
        who: who.map(|node| named(node, "isolate.who", users, build)).unwrap_or_default(),
        release_local: release
            .map(|node| named(node, "isolate.release_local", users, build))
            .unwrap_or_default(),
    }
}

fn named(node: &Node, path: &str, users: &[User], build: &mut Build<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for (place, name) in node.texts(path, &mut build.faults).unwrap_or_default() {
        if users.iter().any(|user| user.name == name) || build.names.is_user(&name) {
            names.push(name);
            continue;
        }
        let help = nearest(&name, users.iter().map(|user| user.name.as_str()));
        let help = help.map(|user| format!("did you mean `{user}`?"));
        build.faults.error(Some(place), path, format!("there is no user `{name}`"), help);
    }
    names
}

/// An id must leave room for the prefix that a group's other address has.
const _: () = assert!(GROUP.len() < ID_BYTES);

//! `devices:`, the appliances.

use std::sync::Arc;

use super::elsewhere::{Place, Ways, no_params};
use super::links::{Asking, Links};
use super::namespace::{Owner, check_id};
use super::profiles::{Found, Library};
use super::{Build, numbers};
use crate::config::DeviceConfig;
use crate::config::fault::nearest;
use crate::config::names::{is_id, room_id};
use crate::config::yaml::{Key, MapReader, Node};
use crate::device::profile::Profile;

/// Most devices in one house; more is a fault.
pub(super) const MOST_DEVICES: usize = 512;

/// Every appliance that could be read, in the order of the file.
pub(super) fn devices(
    node: Option<&Node>,
    library: &mut Library<'_>,
    links: &mut Links,
    ways: &mut Ways,
    build: &mut Build<'_>,
) -> Vec<DeviceConfig> {
    let entries = node.and_then(|node| node.entries("devices", &mut build.faults)).unwrap_or_default();
    if entries.len() > MOST_DEVICES {
        let message = format!("{} devices; a house has at most {MOST_DEVICES}", entries.len());
        build.faults.error(node.map(|node| node.place), "devices", message, None);
        return Vec::new();
    }
    // Ids first: a room or a number must not take the name of a device that stands further down.
    for (key, _) in entries {
        let path = format!("devices.{}", key.text);
        check_id(&key.text, "the id of a device", key.place, &path, &mut build.faults);
        build.names.claim(&key.text, Owner::Device, Some(key.place), &path, &mut build.faults);
    }
    entries.iter().filter_map(|(key, value)| device(key, value, library, links, ways, build)).collect()
}

fn device(
    key: &Key,
    value: &Node,
    library: &mut Library<'_>,
    links: &mut Links,
    ways: &mut Ways,
    build: &mut Build<'_>,
) -> Option<DeviceConfig> {
    let path = format!("devices.{}", key.text);
    let mut map = MapReader::new(value, &path, &mut build.faults)?;
    let name = map.line("name", &mut build.faults).unwrap_or_else(|| key.text.clone());
    let room = room(&mut map, build);
    let naming = super::groups::naming(&mut map, build);
    let profile = profile(&mut map, key, library, build);
    let (params, overrides) = (map.take("params"), map.take("properties"));
    let (broker, port, numbers_node) = (map.take("broker"), map.take("port"), map.take("numbers"));
    let elsewhere = ways.elsewhere(&mut map, &key.text, build);
    map.finish(&mut build.faults);

    let model = profile.and_then(|profile| match &elsewhere {
        Place::Here => profile.instantiate(&path, key.place, params, overrides, &mut build.faults),
        Place::Elsewhere(_) | Place::Nowhere => {
            if matches!(elsewhere, Place::Elsewhere(_)) {
                no_params(params, &path, build);
            }
            profile.instantiate_elsewhere(&path, key.place, overrides, &mut build.faults)
        }
    });
    let model = model.map(Arc::new);
    // Numbers are read in any case: their faults do not depend on the profile.
    let spoken = numbers::numbers(numbers_node, &path, build);
    let model = model?;
    let elsewhere = match &elsewhere {
        Place::Here => None,
        Place::Elsewhere(elsewhere) => Some(elsewhere),
        Place::Nowhere => return None,
    };
    let asking = Asking { id: &key.text, path: &path, place: key.place, broker, port, elsewhere };
    let link = links.attach(&asking, &model, build)?;
    let numbers = spoken.iter().map(|spoken| spoken.number.clone()).collect();
    let device = DeviceConfig { id: key.text.clone(), name, room, numbers, model, link, naming };
    numbers::check_words(&spoken, &device, build);
    Some(device)
}

fn room(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Option<String> {
    let node = map.take("room")?;
    let path = map.at("room");
    let room = node.text(&path, &mut build.faults)?.trim().to_owned();
    let id = room_id(&room);
    if !is_id(&id) {
        let message = format!("`{room}` makes no address");
        let help = "use letters, digits and spaces: Living room".to_owned();
        build.faults.error(Some(node.place), &path, message, Some(help));
        return None;
    }
    build.names.claim(&id, Owner::Room, Some(node.place), &path, &mut build.faults);
    Some(room)
}

fn profile(
    map: &mut MapReader<'_>,
    key: &Key,
    library: &mut Library<'_>,
    build: &mut Build<'_>,
) -> Option<Arc<Profile>> {
    let path = map.at("profile");
    let node = map.require("profile", &mut build.faults)?;
    let id = node.text(&path, &mut build.faults)?;
    match library.get(&id) {
        Found::Profile(profile) => Some(profile),
        Found::Broken => {
            let message = format!("the profile `{id}` of `{}` has faults", key.text);
            build.faults.error(Some(node.place), &path, message, None);
            None
        }
        Found::Unknown => {
            let help = match nearest(&id, library.ids()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => library.known(),
            };
            build.faults.error(Some(node.place), &path, format!("there is no profile `{id}`"), Some(help));
            None
        }
    }
}

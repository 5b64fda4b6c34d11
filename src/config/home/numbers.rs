//! `numbers:` of a device: what can be dialled, and what that does.

use super::Build;
use super::namespace::Owner;
use crate::config::fault::Place;
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{DeviceConfig, DeviceId, Number, Press};
use crate::control::words::understand;
use crate::device::appliance::Device;

/// Most numbers of one device; more is a fault.
const MOST_NUMBERS: usize = 16;
/// Most digits of a number.
const MOST_DIGITS: usize = 32;
/// Numbers that phones may send to the emergency services before a gateway sees them.
const EMERGENCY: [&str; 8] = ["110", "112", "118", "119", "911", "999", "000", "111"];

/// A number with the place and path of its `press:`.
pub(super) struct Spoken {
    pub(super) number: Number,
    place: Place,
    path: String,
}

/// `"21"`, `["21", "22"]` or `[{number: "21", press: tell}]`.
pub(super) fn numbers(node: Option<&Node>, device: &str, build: &mut Build<'_>) -> Vec<Spoken> {
    let Some(node) = node else { return Vec::new() };
    let path = format!("{device}.numbers");
    let items: Vec<(String, &Node)> = match &node.data {
        Data::List(_) => node.items(&path, &mut build.faults).unwrap_or_default(),
        _ => vec![(path.clone(), node)],
    };
    if items.len() > MOST_NUMBERS {
        let message = format!("a device has at most {MOST_NUMBERS} numbers");
        build.faults.error(Some(node.place), &path, message, None);
        return Vec::new();
    }
    items.into_iter().filter_map(|(path, item)| number(item, path, build)).collect()
}

fn number(item: &Node, path: String, build: &mut Build<'_>) -> Option<Spoken> {
    if !matches!(item.data, Data::Map(_)) {
        let digits = digits(item, &path, build)?;
        let number = Number { digits, press: Press::Profile };
        return Some(Spoken { number, place: item.place, path });
    }
    let mut map = MapReader::new(item, &path, &mut build.faults)?;
    let number_path = map.at("number");
    let digits_node = map.require("number", &mut build.faults);
    let press_path = map.at("press");
    let press_node = map.take("press");
    map.finish(&mut build.faults);
    let press = press_node.map(|node| node.text(&press_path, &mut build.faults));
    let digits = digits_node.and_then(|node| digits(node, &number_path, build))?;
    let press = match press {
        None => Press::Profile,
        Some(word) => match word?.trim() {
            "profile" => Press::Profile,
            "tell" => Press::Tell,
            words => Press::Words(words.to_owned()),
        },
    };
    let place = press_node.map_or(item.place, |node| node.place);
    Some(Spoken { number: Number { digits, press }, place, path: press_path })
}

fn digits(node: &Node, path: &str, build: &mut Build<'_>) -> Option<String> {
    let text = node.text(path, &mut build.faults)?;
    if text.is_empty() || text.len() > MOST_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
        let message = format!("`{text}` is no number that can be dialled");
        let help = format!("use 1 to {MOST_DIGITS} digits: \"21\"");
        build.faults.error(Some(node.place), path, message, Some(help));
        return None;
    }
    if EMERGENCY.contains(&text.as_str()) {
        let message = format!("{text} is an emergency number somewhere; a phone may not send it here");
        build.faults.warning(Some(node.place), path, message, Some("choose another number".to_owned()));
    }
    build.names.claim(&text, Owner::Number, Some(node.place), path, &mut build.faults);
    Some(text)
}

/// Reports words of a `press:` that the device would not understand when the number is dialled.
pub(super) fn check_words(spoken: &[Spoken], config: &DeviceConfig, build: &mut Build<'_>) {
    let device = Device::new(DeviceId(0), config, 0);
    for spoken in spoken {
        if let Press::Words(words) = &spoken.number.press
            && let Err(why) = understand(&device, words)
        {
            let message = format!("`{}` does not understand `{words}`", config.id);
            build.faults.error(Some(spoken.place), &spoken.path, message, Some(why.0));
        }
    }
}

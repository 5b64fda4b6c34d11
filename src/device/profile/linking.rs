//! `link:` and `online:`: how a device is reached and what tells that it is there.

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::Channel;

use super::texts::topic;
use super::transport::Scope;
use super::typed::{fault, pattern, wire};
use super::{DriverKind, LinkNeeds, Online, SerialNeeds, Source, Target, Template, Write};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{MapReader, Node};
use crate::config::{GpioDirection, GpioLine, Pull, SerialSettings};
use crate::device::value::Kind;
use crate::limits::PROFILE_STEPS;

/// `link:` and the default topic of reads.
pub(super) fn link(
    node: Option<&Node>,
    driver: DriverKind,
    path: &str,
    faults: &mut Faults,
) -> Option<(LinkNeeds, Option<Channel>)> {
    match (driver, node) {
        (DriverKind::Mqtt, None) => Some((LinkNeeds::Mqtt { hello: Vec::new() }, None)),
        (DriverKind::Mqtt, Some(node)) => mqtt(node, path, faults),
        (DriverKind::Serial, Some(node)) => {
            Some((LinkNeeds::Serial(Box::new(serial(node, path, faults)?)), None))
        }
        (DriverKind::Gpio, Some(node)) => Some((LinkNeeds::Gpio(gpio(node, path, faults)?), None)),
        (DriverKind::Serial, None) => {
            faults.error(None, path, "a serial profile needs `link:` with at least `baud` and `frame`", None);
            None
        }
        (DriverKind::Gpio, None) => {
            faults.error(None, path, "a gpio profile needs `link:` with its `lines`", None);
            None
        }
    }
}

fn mqtt(node: &Node, path: &str, faults: &mut Faults) -> Option<(LinkNeeds, Option<Channel>)> {
    let mut map = MapReader::new(node, path, faults)?;
    let default = map.take("topic").and_then(|node| topic(node, &map.at("topic"), faults));
    let mut hello = Vec::new();
    if let Some(node) = map.take("hello") {
        for (at, item) in node.items(&map.at("hello"), faults)? {
            hello.extend(hello_write(item, &at, faults));
        }
        bounded(node, hello.len(), &map.at("hello"), faults);
    }
    map.finish(faults);
    Some((LinkNeeds::Mqtt { hello }, default))
}

fn hello_write(node: &Node, path: &str, faults: &mut Faults) -> Option<Write> {
    let mut map = MapReader::new(node, path, faults)?;
    let channel = map.require("topic", faults).and_then(|node| topic(node, &map.at("topic"), faults));
    let payload = map.text("payload", faults).unwrap_or_default();
    map.finish(faults);
    Some(Write {
        target: Target::Topic(channel?, Template::fixed(&payload)),
        maps: Vec::new(),
        timeout: None,
        done: None,
    })
}

fn bounded(node: &Node, count: usize, path: &str, faults: &mut Faults) {
    if count > PROFILE_STEPS {
        fault(node, path, format!("at most {PROFILE_STEPS} are possible here"), faults);
    }
}

fn serial(node: &Node, path: &str, faults: &mut Faults) -> Option<SerialNeeds> {
    let mut map = MapReader::new(node, path, faults)?;
    let baud = map.int("baud", 50..=4_000_000, faults).unwrap_or(9600);
    let format = map.take("format").and_then(|node| format_word(node, &map.at("format"), faults));
    let frame = map.require("frame", faults).and_then(|node| frame(node, &map.at("frame"), faults));
    let trim = map.take("trim").and_then(|node| wire(node, &map.at("trim"), faults)).unwrap_or_default();
    let gap = map.duration("gap", faults).unwrap_or(Duration::ZERO);
    let timeout = map.duration("timeout", faults).unwrap_or(Duration::from_secs(1));
    let retries = map.int("retries", 0..=10, faults).unwrap_or(0);
    let mut hello: Vec<Arc<str>> = Vec::new();
    if let Some(node) = map.take("hello") {
        for (at, item) in node.items(&map.at("hello"), faults)? {
            hello.extend(wire(item, &at, faults).map(|text| Arc::from(text.as_str())));
        }
        bounded(node, hello.len(), &map.at("hello"), faults);
    }
    let refused = map.take("fault").and_then(|node| pattern(node, &map.at("fault"), faults));
    map.finish(faults);
    let (frame_end, send_end, max_frame) = frame?;
    let settings = SerialSettings {
        path: std::path::PathBuf::new(),
        baud: u32::try_from(baud).unwrap_or(9600),
        format: format.unwrap_or_else(|| "8N1".to_owned()),
        frame_end,
        send_end,
        max_frame,
        trim: trim.into_bytes(),
        gap,
        timeout,
    };
    Some(SerialNeeds { settings, hello, fault: refused, retries: u32::try_from(retries).unwrap_or(0) })
}

/// `8N1`: data bits, parity, stop bits.
fn format_word(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let word = node.text(path, faults)?.to_ascii_uppercase();
    let ok = matches!(word.as_bytes(), [b'7' | b'8', b'N' | b'E' | b'O', b'1' | b'2']);
    if !ok {
        fault(node, path, format!("`{word}` is no format; write 8N1, 7E1, 8E1 …"), faults);
    }
    ok.then_some(word)
}

fn frame(node: &Node, path: &str, faults: &mut Faults) -> Option<(Vec<u8>, Vec<u8>, usize)> {
    let mut map = MapReader::new(node, path, faults)?;
    let end = map.require("end", faults).and_then(|node| wire(node, &map.at("end"), faults));
    let send_end = map.take("send_end").and_then(|node| wire(node, &map.at("send_end"), faults));
    let max = map.int("max", 1..=65_536, faults).unwrap_or(1024);
    map.finish(faults);
    let end = end?;
    if end.is_empty() {
        fault(node, path, "`end:` cannot be empty: it tells where a frame ends", faults);
        return None;
    }
    let send_end = send_end.unwrap_or_else(|| end.clone());
    Some((end.into_bytes(), send_end.into_bytes(), usize::try_from(max).unwrap_or(1024)))
}

fn gpio(node: &Node, path: &str, faults: &mut Faults) -> Option<Vec<GpioLine>> {
    let mut map = MapReader::new(node, path, faults)?;
    let lines = map.require("lines", faults);
    let at = map.at("lines");
    map.finish(faults);
    let entries = lines?.entries(&at, faults)?;
    let lines: Vec<GpioLine> = entries
        .iter()
        .filter_map(|(key, node)| line(&key.text, node, &format!("{at}.{}", key.text), faults))
        .collect();
    let whole = lines.len() == entries.len();
    for (index, line) in lines.iter().enumerate() {
        if let Some(twin) = lines.iter().take(index).find(|other| other.pin == line.pin) {
            let message = format!("`{}` and `{}` are the same pin {}", twin.name, line.name, line.pin);
            faults.error(Some(node.place), &at, message, None);
        }
    }
    whole.then_some(lines)
}

fn line(name: &str, node: &Node, path: &str, faults: &mut Faults) -> Option<GpioLine> {
    let mut map = MapReader::new(node, path, faults)?;
    let pin = map.require("pin", faults).and_then(|node| node.text(&map.at("pin"), faults));
    let active_low = map.bool("active_low", faults).unwrap_or(false);
    let direction = match map
        .require("direction", faults)
        .and_then(|node| node.text(&map.at("direction"), faults))
        .as_deref()
    {
        Some("in") => input(&mut map, faults),
        Some("out") => output(&mut map, faults),
        Some(other) => {
            fault(node, &map.at("direction"), format!("`{other}` is no direction; write in or out"), faults);
            return None;
        }
        None => return None,
    };
    map.finish(faults);
    Some(GpioLine { name: name.to_owned(), pin: pin?, active_low, direction: direction? })
}

fn input(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<GpioDirection> {
    let pull = match map.take("pull") {
        None => Pull::None,
        Some(node) => match node.text(&map.at("pull"), faults)?.as_str() {
            "up" => Pull::Up,
            "down" => Pull::Down,
            "none" => Pull::None,
            other => {
                fault(node, &map.at("pull"), format!("`{other}` is no pull; write up, down or none"), faults);
                return None;
            }
        },
    };
    let debounce = map.duration("debounce", faults).unwrap_or(Duration::ZERO);
    Some(GpioDirection::In { pull, debounce })
}

fn output(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<GpioDirection> {
    let Some(initial) = map.take("initial") else {
        let help = "write `initial: inactive`: the line is driven so when the gateway starts".to_owned();
        faults.error(Some(map.place), &map.path, "an output needs `initial:`", Some(help));
        return None;
    };
    let initial = level(initial, &map.at("initial"), faults);
    let at_exit = map.take("at_exit").map(|node| level(node, &map.at("at_exit"), faults));
    Some(GpioDirection::Out { initial: initial?, at_exit: at_exit.flatten() })
}

fn level(node: &Node, path: &str, faults: &mut Faults) -> Option<bool> {
    match node.text(path, faults)?.as_str() {
        "active" => Some(true),
        "inactive" => Some(false),
        other => {
            let help = nearest(other, ["active", "inactive"]).unwrap_or("inactive").to_owned();
            let message = format!("`{other}` is no level; write active or inactive");
            faults.error(Some(node.place), path, message, Some(format!("did you mean `{help}`?")));
            None
        }
    }
}

/// The values that `online:` maps to.
pub(super) fn health_kind() -> Kind {
    Kind::Enum(["online", "offline", "asleep"].iter().map(|word| Arc::from(*word)).collect())
}

/// `online:`
pub(super) fn online(
    node: Option<&Node>,
    path: &str,
    scope: &Scope<'_>,
    faults: &mut Faults,
) -> Option<Online> {
    let Some(node) = node else { return Some(Online::Link) };
    let mut map = MapReader::new(node, path, faults)?;
    let silent = map.duration("silent", faults);
    let fails = map.int("fails", 1..=100, faults);
    let online = match (silent, fails, scope.driver) {
        (Some(silent), None, _) => Online::Silent(silent),
        (None, Some(fails), DriverKind::Serial) => Online::Fails(u32::try_from(fails).unwrap_or(3)),
        (None, Some(_), _) => {
            fault(node, path, "`fails:` counts unanswered queries, which only a serial device has", faults);
            return None;
        }
        (Some(_), Some(_), _) => {
            fault(node, path, "give one of `silent` and `fails`", faults);
            return None;
        }
        (None, None, DriverKind::Mqtt) => {
            let read = scope.source_of(&mut map, &health_kind(), faults)?;
            if read.map.is_none() || !matches!(read.source, Source::Topic { .. }) {
                fault(node, path, "`map:` is missing: which texts mean online, offline or asleep?", faults);
                return None;
            }
            Online::Topic(read)
        }
        (None, None, _) => {
            fault(node, path, "give one of `silent` and `fails`", faults);
            return None;
        }
    };
    map.finish(faults);
    Some(online)
}

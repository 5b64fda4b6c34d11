//! `link:` and `online:`: how a device is reached and what tells that it is there.

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::Channel;

use super::registers::Unit;
use super::texts::topic;
use super::transport::Scope;
use super::typed::fault;
use super::{DriverKind, LinkNeeds, Online, Query, Target, Template, Watched, Write, serial, words};
use crate::config::fault::{Faults, Place, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{GpioDirection, GpioLine, Pull};
use crate::device::value::Kind;
use crate::limits::PROFILE_STEPS;

/// `link:`, and what it says for the reads and writes of the profile. Where it is faulty, the rest of the
/// profile is read all the same. `unlinked`: where the fault is when there is no `link:`.
pub(super) fn link(
    node: Option<&Node>,
    driver: DriverKind,
    (path, unlinked): (&str, Place),
    faults: &mut Faults,
) -> (Option<LinkNeeds>, Shared) {
    let mut shared = Shared { unit: Some(Unit::PLAIN), folder: Some("28-0".into()), ..Shared::default() };
    let Some(node) = node else {
        let wanted = match driver {
            DriverKind::Mqtt => return (Some(LinkNeeds::Mqtt { hello: Vec::new() }), shared),
            DriverKind::P1 => return (serial::p1(None, path, faults).map(boxed), shared),
            DriverKind::Iec62056 => {
                let needs = serial::meter(None, path, faults);
                shared.read_out = needs.as_ref().map(|needs| needs.query.clone());
                return (needs.map(LinkNeeds::Meter), shared);
            }
            DriverKind::Sip => return (Some(LinkNeeds::Sip(Watched::Appliance)), shared),
            DriverKind::Serial => "link: {frame: {end: \"\\r\"}}",
            DriverKind::Modbus => "link: {unit: 1}",
            DriverKind::W1 => "link: {device: <id>}",
            DriverKind::Gpio => "link: {lines: {relay: {pin: <pin>, direction: out, initial: inactive}}}",
        };
        let message = format!("a {} profile needs `link:`", driver.word());
        faults.error(Some(unlinked), path, message, Some(format!("for example `{wanted}`")));
        return (None, shared);
    };
    let link = match driver {
        DriverKind::Mqtt => mqtt(node, path, &mut shared, faults),
        DriverKind::Serial => serial::serial(node, path, &mut shared.hex, faults).map(boxed),
        DriverKind::P1 => serial::p1(Some(node), path, faults).map(boxed),
        DriverKind::Iec62056 => serial::meter(Some(node), path, faults).map(|needs| {
            shared.read_out = Some(needs.query.clone());
            LinkNeeds::Meter(needs)
        }),
        DriverKind::Modbus => serial::modbus(node, path, faults).map(|(needs, unit)| {
            shared.unit = Some(unit);
            LinkNeeds::Modbus(needs)
        }),
        DriverKind::W1 => w1(node, path, faults).map(|folder| {
            shared.folder = Some(folder.clone());
            LinkNeeds::W1(folder)
        }),
        DriverKind::Sip => sip(node, path, faults).map(LinkNeeds::Sip),
        DriverKind::Gpio => gpio(node, path, &mut shared.lines, faults).map(LinkNeeds::Gpio),
    };
    (link, shared)
}

fn boxed(needs: super::SerialNeeds) -> LinkNeeds {
    LinkNeeds::Serial(Box::new(needs))
}

/// `event: presence`
fn sip(node: &Node, path: &str, faults: &mut Faults) -> Option<Watched> {
    let mut map = MapReader::of(&words::LINK_SIP, node, path, faults)?;
    let event = map.require("event", faults);
    let at = map.at("event");
    map.finish(faults);
    watched(event?, &at, faults)
}

/// The word for what is watched elsewhere.
pub(crate) fn watched(node: &Node, path: &str, faults: &mut Faults) -> Option<Watched> {
    let word = node.text(path, faults)?;
    let found = Watched::ALL.into_iter().find(|watched| watched.word() == word);
    if found.is_none() {
        let help = match nearest(&word, Watched::ALL.iter().map(|watched| watched.word())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "appliance, presence and message-summary can be watched".to_owned(),
        };
        faults.error(Some(node.place), path, format!("there is no event `{word}` to watch"), Some(help));
    }
    found
}

/// What `link:` says once for all reads and writes.
#[derive(Default)]
pub(super) struct Shared {
    /// The topic of reads that give none.
    pub(super) topic: Option<Channel>,
    pub(super) unit: Option<Unit>,
    pub(super) folder: Option<Arc<str>>,
    /// Lines by name, those that are faulty among them.
    pub(super) lines: Vec<GpioLine>,
    /// Every text on the wire is spelled in hex.
    pub(super) hex: bool,
    /// What brings the values of a meter.
    pub(super) read_out: Option<(Query, Duration)>,
}

/// `device: 28-01193a44fa5c`: a folder and nothing above it.
fn w1(node: &Node, path: &str, faults: &mut Faults) -> Option<Arc<str>> {
    let mut map = MapReader::of(&words::LINK_W1, node, path, faults)?;
    let device = map.require("device", faults);
    let at = map.at("device");
    map.finish(faults);
    let node = device?;
    let folder = node.text(&at, faults)?;
    let right = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    if folder.split_once('-').is_some_and(|(family, id)| right(family) && right(id)) {
        return Some(folder.as_str().into());
    }
    let help = Some("the names are those of `ls /sys/bus/w1/devices`: 28-01193a44fa5c".to_owned());
    faults.error(Some(node.place), &at, format!("`{folder}` is no 1-Wire device"), help);
    None
}

fn mqtt(node: &Node, path: &str, shared: &mut Shared, faults: &mut Faults) -> Option<LinkNeeds> {
    let mut map = MapReader::of(&words::LINK_MQTT, node, path, faults)?;
    shared.topic = map.take("topic").and_then(|node| topic(node, &map.at("topic"), faults));
    let mut hello = Vec::new();
    if let Some(node) = map.take("hello") {
        for (at, item) in node.items(&map.at("hello"), faults).unwrap_or_default() {
            hello.extend(hello_write(item, &at, faults));
        }
        bounded(node, hello.len(), &map.at("hello"), faults);
    }
    map.finish(faults);
    Some(LinkNeeds::Mqtt { hello })
}

fn hello_write(node: &Node, path: &str, faults: &mut Faults) -> Option<Write> {
    let mut map = MapReader::of(&words::HELLO, node, path, faults)?;
    let channel = map.require("topic", faults).and_then(|node| topic(node, &map.at("topic"), faults));
    let payload = map.text("payload", faults).unwrap_or_default();
    map.finish(faults);
    Some(Write::plain(Target::Topic(channel?, Template::fixed(&payload))))
}

fn bounded(node: &Node, count: usize, path: &str, faults: &mut Faults) {
    if count > PROFILE_STEPS {
        fault(node, path, format!("at most {PROFILE_STEPS} are possible here"), faults);
    }
}

fn gpio(node: &Node, path: &str, lines: &mut Vec<GpioLine>, faults: &mut Faults) -> Option<Vec<GpioLine>> {
    let mut map = MapReader::of(&words::LINK_GPIO, node, path, faults)?;
    let found = map.require("lines", faults);
    let at = map.at("lines");
    map.finish(faults);
    let entries = found?.entries(&at, faults)?;
    let mut whole = true;
    for (key, node) in entries {
        let at = format!("{at}.{}", key.text);
        match line(&key.text, node, &at, faults) {
            Some(line) => {
                if let Some(twin) = lines.iter().find(|other| other.pin == line.pin) {
                    let message =
                        format!("`{}` and `{}` are the same pin {}", twin.name, line.name, line.pin);
                    faults.error(Some(key.place), &at, message, None);
                }
                lines.push(line);
            }
            // What reads or drives it must not be called wrong, too.
            None => {
                whole = false;
                lines.push(unsure(&key.text, node));
            }
        }
    }
    whole.then(|| lines.clone())
}

/// A line that is faulty, as what it was probably meant to be.
fn unsure(name: &str, node: &Node) -> GpioLine {
    let out = match &node.data {
        Data::Map(entries) => entries.iter().any(|(key, value)| {
            key.text == "initial" || value.scalar().is_some_and(|word| word.starts_with('o'))
        }),
        _ => false,
    };
    let direction = if out {
        GpioDirection::Out { initial: false, at_exit: None }
    } else {
        GpioDirection::In { pull: Pull::None, debounce: Duration::ZERO }
    };
    GpioLine { name: name.to_owned(), pin: name.to_owned(), active_low: false, direction }
}

fn line(name: &str, node: &Node, path: &str, faults: &mut Faults) -> Option<GpioLine> {
    let mut map = MapReader::of(&words::LINE, node, path, faults)?;
    let pin = map.require("pin", faults).and_then(|node| node.text(&map.at("pin"), faults));
    let active_low = map.bool("active_low", faults).unwrap_or(false);
    let _ = map.require("direction", faults);
    let direction = match map.one_of("direction", faults)? {
        "in" => Some(input(&mut map, faults)),
        _ => output(&mut map, faults),
    };
    map.finish(faults);
    Some(GpioLine { name: name.to_owned(), pin: pin?, active_low, direction: direction? })
}

fn input(map: &mut MapReader<'_>, faults: &mut Faults) -> GpioDirection {
    let pull = match map.one_of("pull", faults) {
        Some("up") => Pull::Up,
        Some("down") => Pull::Down,
        _ => Pull::None,
    };
    let debounce = map.duration("debounce", faults).unwrap_or(Duration::ZERO);
    GpioDirection::In { pull, debounce }
}

fn output(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<GpioDirection> {
    let mut level = |key| Some(map.one_of(key, faults)? == "active");
    let (initial, at_exit) = (level("initial"), level("at_exit"));
    if map.take("initial").is_none() {
        let help = "write `initial: inactive`: the line is driven so when the gateway starts".to_owned();
        faults.error(Some(map.place), &map.path, "an output needs `initial:`", Some(help));
    }
    Some(GpioDirection::Out { initial: initial?, at_exit })
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
    let block = if scope.driver == DriverKind::Mqtt { &words::ONLINE_MQTT } else { &words::ONLINE };
    let mut map = MapReader::of(block, node, path, faults)?;
    let silent = map.duration("silent", faults);
    let fails = map.whole("fails", faults);
    let online = match (silent, fails, scope.driver) {
        (Some(_), Some(_), _) => {
            map.wrong("fails", "give one of `silent` and `fails`", None, faults);
            None
        }
        (Some(silent), None, _) => Some(Online::Silent(silent)),
        (None, Some(fails), driver) if driver.asks() => {
            Some(Online::Fails(u32::try_from(fails).unwrap_or(3)))
        }
        (None, Some(_), _) => {
            let message = "`fails:` counts unanswered queries, which this driver does not have";
            map.wrong("fails", message, Some("write `silent: 1m`".to_owned()), faults);
            None
        }
        (None, None, DriverKind::Mqtt) => online_topic(&mut map, scope, faults),
        // A faulty `silent` was told already.
        (None, None, _) if map.is_empty() => {
            fault(node, path, "give one of `silent` and `fails`", faults);
            None
        }
        (None, None, _) => None,
    };
    map.finish(faults);
    online
}

fn online_topic(map: &mut MapReader<'_>, scope: &Scope<'_>, faults: &mut Faults) -> Option<Online> {
    let read = scope.source_of(map, &health_kind(), faults)?;
    if read.map.is_none() {
        let message = "`map:` is missing: which texts mean online, offline or asleep?";
        let help = Some("for example `map: {Online: online, Offline: offline}`".to_owned());
        faults.error(Some(map.place), &map.path, message, help);
        return None;
    }
    Some(Online::Topic(Box::new(read)))
}

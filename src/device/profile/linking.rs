//! `link:` and `online:`: how a device is reached and what tells that it is there.

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{Channel, Duty};

use super::registers::Unit;
use super::texts::topic;
use super::transport::Scope;
use super::typed::fault;
use super::{DriverKind, LinkNeeds, Online, Source, Target, Template, Watched, Write, serial};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{MapReader, Node};
use crate::config::{GpioDirection, GpioLine, Pull};
use crate::device::value::Kind;
use crate::limits::PROFILE_STEPS;

/// `link:`, and what it says for the reads and writes of the profile.
pub(super) fn link(
    node: Option<&Node>,
    driver: DriverKind,
    path: &str,
    faults: &mut Faults,
) -> Option<(LinkNeeds, Shared)> {
    let shared = Shared::default();
    match (driver, node) {
        (DriverKind::Mqtt, None) => Some((LinkNeeds::Mqtt { hello: Vec::new() }, shared)),
        (DriverKind::Mqtt, Some(node)) => mqtt(node, path, faults),
        (DriverKind::Serial, Some(node)) => {
            Some((LinkNeeds::Serial(Box::new(serial::serial(node, path, faults)?)), shared))
        }
        (DriverKind::P1, node) => {
            Some((LinkNeeds::Serial(Box::new(serial::p1(node, path, faults)?)), shared))
        }
        (DriverKind::Modbus, node) => {
            let (needs, unit) = serial::modbus(node, path, faults)?;
            Some((LinkNeeds::Modbus(needs), Shared { unit: Some(unit), ..shared }))
        }
        (DriverKind::W1, Some(node)) => {
            let folder = w1(node, path, faults)?;
            Some((LinkNeeds::W1(folder.clone()), Shared { folder: Some(folder), ..shared }))
        }
        (DriverKind::Sip, None) => Some((LinkNeeds::Sip(Watched::Appliance), shared)),
        (DriverKind::Sip, Some(node)) => Some((LinkNeeds::Sip(sip(node, path, faults)?), shared)),
        (DriverKind::Gpio, Some(node)) => Some((LinkNeeds::Gpio(gpio(node, path, faults)?), shared)),
        (DriverKind::Serial, None) => missing("serial", "at least `frame`", path, faults),
        (DriverKind::W1, None) => missing("w1", "`device: <id>`", path, faults),
        (DriverKind::Gpio, None) => missing("gpio", "its `lines`", path, faults),
    }
}

/// `event: presence`
fn sip(node: &Node, path: &str, faults: &mut Faults) -> Option<Watched> {
    let mut map = MapReader::new(node, path, faults)?;
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

fn missing<T>(driver: &str, what: &str, path: &str, faults: &mut Faults) -> Option<T> {
    faults.error(None, path, format!("a {driver} profile needs `link:` with {what}"), None);
    None
}

/// What `link:` says once for all reads and writes.
#[derive(Default)]
pub(super) struct Shared {
    /// The topic of reads that give none.
    pub(super) topic: Option<Channel>,
    pub(super) unit: Option<Unit>,
    pub(super) folder: Option<Arc<str>>,
}

/// `device: 28-01193a44fa5c`: a folder and nothing above it.
fn w1(node: &Node, path: &str, faults: &mut Faults) -> Option<Arc<str>> {
    let mut map = MapReader::new(node, path, faults)?;
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

fn mqtt(node: &Node, path: &str, faults: &mut Faults) -> Option<(LinkNeeds, Shared)> {
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
    Some((LinkNeeds::Mqtt { hello }, Shared { topic: default, ..Shared::default() }))
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
        Some("pwm") => dimmed(&mut map, faults),
        Some(other) => {
            fault(
                node,
                &map.at("direction"),
                format!("`{other}` is no direction; write in, out or pwm"),
                faults,
            );
            return None;
        }
        None => return None,
    };
    let pin_at = map.at("pin");
    map.finish(faults);
    let (pin, direction) = (pin?, direction?);
    if matches!(direction, GpioDirection::Pwm { .. }) && !is_pwm_channel(&pin) {
        let help =
            Some("chip and channel, as in fe20c000.pwm/0; `ls -l /sys/class/pwm` tells the chips".to_owned());
        faults.error(Some(node.place), &pin_at, format!("`{pin}` is no channel of a PWM chip"), help);
        return None;
    }
    Some(GpioLine { name: name.to_owned(), pin, active_low, direction })
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

/// `fe20c000.pwm/0`
fn is_pwm_channel(pin: &str) -> bool {
    pin.rsplit_once('/').is_some_and(|(chip, channel)| {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".-_:@".contains(c);
        !chip.is_empty() && chip.chars().all(plain) && channel.parse::<u32>().is_ok_and(|n| n < 64)
    })
}

/// The shortest and the longest turn of on and off.
const PERIODS: (Duration, Duration) = (Duration::from_micros(1), Duration::from_secs(1));

fn dimmed(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<GpioDirection> {
    let node = map.require("period", faults);
    let period = node.and_then(|node| node.duration(&map.at("period"), faults));
    if let (Some(node), Some(period)) = (node, period)
        && !(PERIODS.0..=PERIODS.1).contains(&period)
    {
        fault(node, &map.at("period"), "a period lasts at most 1 s; 1ms suits lamps", faults);
    }
    let Some(initial) = map.take("initial") else {
        let help =
            "write `initial: 0`: so many percent of the time it is on when the gateway starts".to_owned();
        faults.error(Some(map.place), &map.path, "a dimmed output needs `initial:`", Some(help));
        return None;
    };
    let initial = share(initial, &map.at("initial"), faults);
    let at_exit = map.take("at_exit").map(|node| share(node, &map.at("at_exit"), faults));
    Some(GpioDirection::Pwm { period: period?, initial: initial?, at_exit: at_exit.flatten() })
}

fn share(node: &Node, path: &str, faults: &mut Faults) -> Option<Duty> {
    let share = Duty::percent(node.float(path, faults)?);
    if share.is_none() {
        fault(node, path, "a share is between 0 and 100 percent", faults);
    }
    share
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
        (None, Some(fails), driver) if driver.asks() => Online::Fails(u32::try_from(fails).unwrap_or(3)),
        (None, Some(_), _) => {
            fault(node, path, "`fails:` counts unanswered queries, which this driver does not have", faults);
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
            Online::Topic(Box::new(read))
        }
        (None, None, _) => {
            fault(node, path, "give one of `silent` and `fails`", faults);
            return None;
        }
    };
    map.finish(faults);
    Some(online)
}

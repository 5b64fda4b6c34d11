//! `read:`, `write:` and the steps of `do:` in the words of each driver.

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{Channel, MAX_PULSE};

use super::buses::{obis_source, register_target, scaling};
use super::registers::Unit;
use super::texts::{Holes, body_of, pointer, template, topic};
use super::typed::{fault, id, map_in, map_out, pattern};
use super::{DriverKind, Map, Read, Source, Target, Template, Write, registers};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{GpioDirection, GpioLine};
use crate::device::codec::compose;
use crate::device::value::Kind;
use crate::limits::{PROFILE_STEPS, PROFILE_WAIT};

/// What reads and writes of one profile have in common.
pub(super) struct Scope<'a> {
    pub(super) driver: DriverKind,
    /// `link: topic`
    pub(super) topic: Option<Channel>,
    pub(super) lines: &'a [GpioLine],
    /// Every text on the wire is spelled in hex.
    pub(super) hex: bool,
    /// What the values of a Modbus unit share.
    pub(super) unit: Option<Unit>,
    /// The folder of a 1-Wire device.
    pub(super) folder: Option<Arc<str>>,
}

impl Scope<'_> {
    /// `read:`: one, or alternatives.
    pub(super) fn reads(&self, node: &Node, kind: &Kind, path: &str, faults: &mut Faults) -> Vec<Read> {
        let Data::List(items) = &node.data else {
            return self.read(node, kind, path, faults).into_iter().collect();
        };
        if items.is_empty() || items.len() > PROFILE_STEPS {
            fault(node, path, format!("between 1 and {PROFILE_STEPS} alternatives are possible"), faults);
        }
        let one = |(index, item)| self.read(item, kind, &format!("{path}[{index}]"), faults);
        items.iter().enumerate().filter_map(one).collect()
    }

    pub(super) fn read(&self, node: &Node, kind: &Kind, path: &str, faults: &mut Faults) -> Option<Read> {
        let mut map = MapReader::new(node, path, faults)?;
        let read = self.source_of(&mut map, kind, faults);
        map.finish(faults);
        read
    }

    /// The keys of a read; the caller finishes the map.
    pub(super) fn source_of(
        &self,
        map: &mut MapReader<'_>,
        kind: &Kind,
        faults: &mut Faults,
    ) -> Option<Read> {
        let source = match self.driver {
            DriverKind::Mqtt => self.topic_source(map, faults),
            DriverKind::Serial => self.frame_source(map, faults),
            DriverKind::Modbus => self.unit.and_then(|unit| registers::source(map, unit, faults)),
            DriverKind::P1 => obis_source(map, faults),
            DriverKind::Gpio => self.line_source(map, faults),
            DriverKind::W1 => self.file_source(map, faults),
            DriverKind::Sip => item_source(map, faults),
        };
        let retained = self.driver != DriverKind::Mqtt || retained(map, faults);
        let values = map.take("map").and_then(|node| map_in(node, kind, &map.at("map"), faults));
        let invalid = map.texts("invalid", faults).unwrap_or_default();
        let (scale, offset) = (map.take("scale"), map.take("offset"));
        let number = |node: Option<&Node>, key: &str, faults: &mut Faults| {
            let node = node?;
            if !matches!(kind, Kind::Int | Kind::Float) {
                fault(
                    node,
                    &map.at(key),
                    format!("`{key}:` needs int or float, not {}", kind.word()),
                    faults,
                );
            }
            node.float(&map.at(key), faults)
        };
        let (scale, offset) = (number(scale, "scale", faults), number(offset, "offset", faults));
        let (above, hold) = (map.float("above", faults), map.duration("hold", faults));
        if (above.is_some() || hold.is_some()) && *kind != Kind::Bool {
            let message = format!("`above:` and `hold:` need bool, not {}", kind.word());
            faults.error(Some(map.place), &map.path, message, None);
        }
        Some(Read {
            source: source?,
            map: values,
            scale,
            offset,
            invalid: invalid.into_iter().map(|(_, text)| text).collect(),
            above,
            hold,
            retained,
        })
    }

    fn topic_source(&self, map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Source> {
        let pointer = map.take("json").and_then(|node| pointer(node, &map.at("json"), faults));
        let channel = match map.take("topic") {
            Some(node) => topic(node, &map.at("topic"), faults),
            None => {
                if self.topic.is_none() {
                    let help = "give it here, or once for all as `link: topic`".to_owned();
                    faults.error(Some(map.place), &map.path, "`topic:` is missing", Some(help));
                }
                self.topic.clone()
            }
        };
        Some(Source::Topic { channel: channel?, pointer })
    }

    fn line_source(&self, map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Source> {
        let node = map.require("line", faults);
        let line = self.line(node?, &map.at("line"), faults);
        let line = line?;
        let channel = Channel::new(&line.name);
        Some(match line.direction {
            GpioDirection::Out { initial, .. } => Source::Line { channel, output: Some(initial) },
            GpioDirection::In { .. } => Source::Line { channel, output: None },
            GpioDirection::Pwm { .. } => Source::Duty(channel),
        })
    }

    fn line(&self, node: &Node, path: &str, faults: &mut Faults) -> Option<&GpioLine> {
        let name = node.text(path, faults)?;
        let found = self.lines.iter().find(|line| line.name == name);
        if found.is_none() {
            let names = || self.lines.iter().map(|line| line.name.as_str());
            let help = match nearest(&name, names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the lines are {}", names().collect::<Vec<_>>().join(", ")),
            };
            faults.error(Some(node.place), path, format!("`link: lines` has no `{name}`"), Some(help));
        }
        found
    }

    fn output_line(&self, node: &Node, path: &str, faults: &mut Faults) -> Option<&GpioLine> {
        let line = self.line(node, path, faults)?;
        if matches!(line.direction, GpioDirection::In { .. }) {
            fault(node, path, format!("`{}` is an input and cannot be driven", line.name), faults);
            return None;
        }
        Some(line)
    }

    /// `write: {line: …}`: a level, or a share of the time.
    fn line_target(
        &self,
        map: &mut MapReader<'_>,
        kind: &Kind,
        read: Option<&Read>,
        faults: &mut Faults,
    ) -> Option<Target> {
        let node = map.require("line", faults)?;
        let at = map.at("line");
        let line = self.output_line(node, &at, faults)?;
        let channel = Channel::new(&line.name);
        if !matches!(line.direction, GpioDirection::Pwm { .. }) {
            if *kind != Kind::Bool {
                fault(node, &at, format!("a line takes a bool, not {}", kind.word()), faults);
            }
            return Some(Target::Line(channel));
        }
        let like = read.filter(|read| matches!(&read.source, Source::Duty(of) if *of == channel));
        let (scale, offset) = scaling(map, like, faults)?;
        Some(Target::Duty { channel, scale, offset })
    }

    /// `write:` of a property.
    pub(super) fn write(
        &self,
        node: &Node,
        kind: &Kind,
        reads: &[Read],
        path: &str,
        faults: &mut Faults,
    ) -> Option<Write> {
        let mut map = MapReader::new(node, path, faults)?;
        let holes = [(Arc::from("value"), kind.clone())];
        let target = match self.driver {
            DriverKind::Mqtt => self.topic_target(&mut map, Some("<value>"), &holes, faults),
            DriverKind::Serial => self.frame_target(&mut map, &holes, faults),
            DriverKind::Sip => say_target(&mut map, &holes, faults),
            DriverKind::Modbus => {
                let default = reads.first();
                self.unit.and_then(|unit| register_target(&mut map, unit, kind, default, faults))
            }
            DriverKind::P1 | DriverKind::W1 => {
                let message = format!("nothing can be set over {}", self.driver.word());
                faults.error(Some(map.place), &map.path, message, None);
                None
            }
            DriverKind::Gpio => self.line_target(&mut map, kind, reads.first(), faults),
        };
        let out = map.take("map").and_then(|node| map_out(node, kind, &map.at("map"), faults));
        let (timeout, done) = reply(self.driver, &mut map, faults);
        map.finish(faults);
        let maps = out.map(|out| (Arc::from("value"), out)).into_iter().collect();
        let write = Write { target: target?, maps, timeout, done };
        shares(&write, kind, node, path, faults);
        Some(write)
    }

    /// One step of `do:`.
    pub(super) fn step(
        &self,
        node: &Node,
        holes: Holes<'_>,
        path: &str,
        faults: &mut Faults,
    ) -> Option<Write> {
        let mut map = MapReader::new(node, path, faults)?;
        let target = match self.driver {
            DriverKind::Mqtt => map.require("send", faults).and_then(|node| {
                let mut inner = MapReader::new(node, &map.at("send"), faults)?;
                let target = self.topic_target(&mut inner, None, holes, faults);
                inner.finish(faults);
                target
            }),
            DriverKind::Serial => self.frame_target(&mut map, holes, faults),
            DriverKind::Sip => say_target(&mut map, holes, faults),
            DriverKind::Gpio => self.pulse(&mut map, faults),
            DriverKind::Modbus | DriverKind::P1 | DriverKind::W1 => {
                let message = format!("there are no actions over {}", self.driver.word());
                let help = Some("a register that can be set is a property with `write:`".to_owned());
                faults.error(Some(map.place), &map.path, message, help);
                None
            }
        };
        let maps =
            map.take("map").map(|node| arg_maps(node, holes, &map.at("map"), faults)).unwrap_or_default();
        let (timeout, done) = reply(self.driver, &mut map, faults);
        map.finish(faults);
        Some(Write { target: target?, maps, timeout, done })
    }

    fn pulse(&self, map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Target> {
        let line = map.require("pulse", faults).and_then(|node| {
            let line = self.output_line(node, &map.at("pulse"), faults)?;
            if matches!(line.direction, GpioDirection::Pwm { .. }) {
                fault(node, &map.at("pulse"), format!("`{}` is dimmed and has no pulses", line.name), faults);
                return None;
            }
            Some(Channel::new(&line.name))
        });
        let node = map.require("for", faults)?;
        let on = node.duration(&map.at("for"), faults)?;
        if on.is_zero() || on > MAX_PULSE {
            let message = format!("a pulse lasts between 1 ms and {} s", MAX_PULSE.as_secs());
            fault(node, &map.at("for"), message, faults);
            return None;
        }
        Some(Target::Pulse(line?, on))
    }

    fn topic_target(
        &self,
        map: &mut MapReader<'_>,
        default: Option<&str>,
        holes: Holes<'_>,
        faults: &mut Faults,
    ) -> Option<Target> {
        if let Some(node) = map.take("retain") {
            let help =
                "leave it out: a retained command acts again whenever the device reconnects".to_owned();
            faults.error(Some(node.place), &map.at("retain"), "commands are never retained", Some(help));
        }
        let channel = map.require("topic", faults).and_then(|node| topic(node, &map.at("topic"), faults));
        let payload = map.take("payload").map(|node| (node, map.at("payload")));
        let body = map.take("body").map(|node| (node, map.at("body")));
        match (payload, body) {
            (Some(_), Some((node, at))) => {
                fault(node, &at, "give one of `payload` and `body`", faults);
                None
            }
            (Some((node, at)), None) => {
                let text = template(node, &at, holes, faults)?;
                Some(Target::Topic(channel?, text))
            }
            (None, Some((node, at))) => {
                let body = body_of(node, &at, holes, faults)?;
                Some(Target::Json(channel?, body))
            }
            (None, None) => match default.and_then(|text| Template::read(text).ok()) {
                Some(text) => Some(Target::Topic(channel?, text)),
                None => {
                    faults.error(Some(map.place), &map.path, "`payload:` or `body:` is missing", None);
                    None
                }
            },
        }
    }
}

/// Whether every word for a dimmed line is a share of the time.
fn shares(write: &Write, kind: &Kind, node: &Node, path: &str, faults: &mut Faults) {
    if !matches!(write.target, Target::Duty { .. }) {
        return;
    }
    match write.maps.first() {
        Some((name, map)) => {
            let wrong =
                map.values().find_map(|value| compose(write, &[(name.clone(), value.clone())], None).err());
            if let Some(why) = wrong {
                fault(node, &format!("{path}.map"), why, faults);
            }
        }
        None if matches!(kind, Kind::Int | Kind::Float) => {}
        None => {
            let message = format!("how much of the time is a line on for each value of {}?", kind.word());
            let help = Some("give a `map:` to percent, as in {\"true\": 100, \"false\": 0}".to_owned());
            faults.error(Some(node.place), path, message, help);
        }
    }
}

/// `item: reachable`
fn item_source(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Source> {
    let node = map.require("item", faults)?;
    let item = id(&node.text(&map.at("item"), faults)?, node.place, &map.at("item"), faults)?;
    Some(Source::Item(item))
}

/// `say: "set target <value>"`
fn say_target(map: &mut MapReader<'_>, holes: Holes<'_>, faults: &mut Faults) -> Option<Target> {
    let node = map.require("say", faults)?;
    template(node, &map.at("say"), holes, faults).map(Target::Say)
}

fn reply(
    driver: DriverKind,
    map: &mut MapReader<'_>,
    faults: &mut Faults,
) -> (Option<Duration>, Option<regex::Regex>) {
    if driver != DriverKind::Serial {
        return (None, None);
    }
    let timeout = wait(map, "timeout", faults);
    let done = map.take("done").and_then(|node| pattern(node, &map.at("done"), faults));
    (timeout, done)
}

/// A duration of at most [`PROFILE_WAIT`].
pub(super) fn wait(map: &mut MapReader<'_>, key: &'static str, faults: &mut Faults) -> Option<Duration> {
    let place = map.place;
    let time = map.duration(key, faults)?;
    if time > PROFILE_WAIT || time.is_zero() {
        let message = format!("this waits at most {}", super::spell(PROFILE_WAIT));
        faults.error(Some(place), &map.at(key), message, None);
        return None;
    }
    Some(time)
}

fn arg_maps(node: &Node, holes: Holes<'_>, path: &str, faults: &mut Faults) -> Vec<(Arc<str>, Map)> {
    let mut maps = Vec::new();
    for (key, node) in node.entries(path, faults).unwrap_or_default() {
        let at = format!("{path}.{}", key.text);
        match holes.iter().find(|(name, _)| **name == *key.text) {
            Some((name, kind)) => {
                maps.extend(map_out(node, kind, &at, faults).map(|map| (name.clone(), map)))
            }
            None => {
                faults.error(Some(key.place), &at, format!("the action has no argument `{}`", key.text), None)
            }
        }
    }
    maps
}

/// Whether retained copies count: `retained: use` (the default) or `ignore`.
fn retained(map: &mut MapReader<'_>, faults: &mut Faults) -> bool {
    let Some(node) = map.take("retained") else { return true };
    let at = map.at("retained");
    match node.text(&at, faults).as_deref() {
        Some("use") | None => true,
        Some("ignore") => false,
        Some(other) => {
            fault(node, &at, format!("`{other}` is unknown here; write use or ignore"), faults);
            true
        }
    }
}

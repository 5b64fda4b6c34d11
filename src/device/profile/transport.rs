//! `read:`, `write:` and the steps of `do:` in the words of each driver.

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{Channel, MAX_PULSE};

use super::buses::{obis_source, register_target};
use super::registers::Unit;
use super::texts::{Holes, body_of, pointer, template, topic};
use super::typed::{fault, id, map_in, map_out, pattern};
use super::{DriverKind, Map, Query, Read, Source, Target, Template, Write, registers, words};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{GpioDirection, GpioLine};
use crate::device::value::{Kind, Value};
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
    /// What brings the values of a meter that is read out.
    pub(super) read_out: Option<(Query, Duration)>,
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
        let mut map = MapReader::of(words::read(self.driver), node, path, faults)?;
        let read = self.source_of(&mut map, kind, faults);
        if let Some(read) = &read {
            readable(read, kind, &map, faults);
        }
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
            DriverKind::P1 | DriverKind::Iec62056 => obis_source(map, self.read_out.as_ref(), faults),
            DriverKind::Gpio => self.line_source(map, faults),
            DriverKind::W1 => self.file_source(map, faults),
            DriverKind::Sip => item_source(map, faults),
        };
        let retained = map.one_of("retained", faults) != Some("ignore");
        let values = map.take("map").and_then(|node| map_in(node, kind, &map.at("map"), faults));
        let invalid = map.texts("invalid", faults).unwrap_or_default();
        let (scale, offset) = scaling(map, kind, faults);
        let (above, hold) = (map.float("above", faults), map.duration("hold", faults));
        for (key, there) in [("above", above.is_some()), ("hold", hold.is_some())] {
            if there && *kind != Kind::Bool {
                map.wrong(key, format!("`{key}:` needs bool, not {}", kind.word()), None, faults);
            }
        }
        if above.is_some() && values.is_some() {
            map.wrong("above", "give one of `map` and `above`", None, faults);
        }
        let invalid = invalid.into_iter().map(|(_, text)| text).collect();
        let read = Read { source: source?, map: values, scale, offset, invalid, above, hold, retained };
        Some(read)
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
        let output = match line.direction {
            GpioDirection::Out { initial, .. } => Some(initial),
            GpioDirection::In { .. } => None,
        };
        Some(Source::Line { channel: Channel::new(&line.name), output })
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

    fn output_line(&self, node: &Node, path: &str, faults: &mut Faults) -> Option<Channel> {
        let line = self.line(node, path, faults)?;
        if matches!(line.direction, GpioDirection::In { .. }) {
            fault(node, path, format!("`{}` is an input and cannot be driven", line.name), faults);
            return None;
        }
        Some(Channel::new(&line.name))
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
        let Some(block) = words::write(self.driver) else {
            fault(node, path, format!("nothing can be set over {}", self.driver.word()), faults);
            return None;
        };
        let mut map = MapReader::of(block, node, path, faults)?;
        let holes = [(Arc::from("value"), kind.clone())];
        let target = match self.driver {
            DriverKind::Mqtt => self.topic_target(&mut map, Some("<value>"), &holes, faults),
            DriverKind::Serial => self.frame_target(&mut map, &holes, faults),
            DriverKind::Sip => say_target(&mut map, &holes, faults),
            DriverKind::Modbus => {
                let default = reads.first();
                self.unit.and_then(|unit| register_target(&mut map, unit, kind, default, faults))
            }
            DriverKind::P1 | DriverKind::Iec62056 | DriverKind::W1 => None,
            DriverKind::Gpio => {
                let node = map.require("line", faults)?;
                if *kind != Kind::Bool {
                    fault(node, &map.at("line"), format!("a line takes a bool, not {}", kind.word()), faults);
                }
                self.output_line(node, &map.at("line"), faults).map(Target::Line)
            }
        };
        let own = map.take("map").map(|node| map_out(node, kind, &map.at("map"), faults));
        let (scale, offset) = scaling(&mut map, kind, faults);
        let (timeout, done) = reply(&mut map, faults);
        map.finish(faults);
        let first = reads.first();
        let by_wire = !matches!(target, Some(Target::Line(_)));
        let like = first.filter(|_| by_wire && own.is_none());
        let back = like.and_then(|read| read.map.clone());
        if let Some(back) = back.as_ref().filter(|back| back.is_whole() && needs_map(target.as_ref())) {
            invertible(back, kind, node, path, faults);
        }
        let map = own.map_or(back, |own| Some(own.unwrap_or(Map::new(Vec::new()))));
        Some(Write {
            target: target?,
            maps: map.map(|map| (Arc::from("value"), map)).into_iter().collect(),
            scale: scale.or(like.and_then(|read| read.scale)),
            offset: offset.or(like.and_then(|read| read.offset)),
            timeout,
            done,
        })
    }

    /// One step of `do:`.
    pub(super) fn step(
        &self,
        node: &Node,
        holes: Holes<'_>,
        path: &str,
        faults: &mut Faults,
    ) -> Option<Write> {
        let Some(block) = words::step(self.driver) else {
            let message = format!("there are no actions over {}", self.driver.word());
            let help = Some("a register that can be set is a property with `write:`".to_owned());
            faults.error(Some(node.place), path, message, help);
            return None;
        };
        let mut map = MapReader::of(block, node, path, faults)?;
        let target = match self.driver {
            DriverKind::Mqtt => map.require("send", faults).and_then(|node| {
                let mut inner = MapReader::of(&words::SEND, node, &map.at("send"), faults)?;
                let target = self.topic_target(&mut inner, None, holes, faults);
                inner.finish(faults);
                target
            }),
            DriverKind::Serial => self.frame_target(&mut map, holes, faults),
            DriverKind::Sip => say_target(&mut map, holes, faults),
            DriverKind::Gpio => self.pulse(&mut map, faults),
            DriverKind::Modbus | DriverKind::P1 | DriverKind::Iec62056 | DriverKind::W1 => None,
        };
        let maps =
            map.take("map").map(|node| arg_maps(node, holes, &map.at("map"), faults)).unwrap_or_default();
        let (timeout, done) = reply(&mut map, faults);
        map.finish(faults);
        Some(Write { maps, timeout, done, ..Write::plain(target?) })
    }

    fn pulse(&self, map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Target> {
        let line =
            map.require("pulse", faults).and_then(|node| self.output_line(node, &map.at("pulse"), faults));
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
        if let Some(place) = map.refuse("retain") {
            let help =
                "leave it out: a retained command acts again whenever the device reconnects".to_owned();
            faults.error(Some(place), &map.at("retain"), "commands are never retained", Some(help));
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

fn reply(map: &mut MapReader<'_>, faults: &mut Faults) -> (Option<Duration>, Option<regex::Regex>) {
    let timeout = wait(map, "timeout", faults);
    let done = map.take("done").and_then(|node| pattern(node, &map.at("done"), faults));
    (timeout, done)
}

/// `scale:` and `offset:`, of a read or a write.
fn scaling(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> (Option<f64>, Option<f64>) {
    let (scale, offset) = (map.float("scale", faults), map.float("offset", faults));
    for (key, there) in [("scale", scale.is_some()), ("offset", offset.is_some())] {
        if there && !matches!(kind, Kind::Int | Kind::Float) {
            map.wrong(key, format!("`{key}:` needs int or float, not {}", kind.word()), None, faults);
        }
    }
    if scale == Some(0.0) {
        map.wrong("scale", "a scale of 0 loses every value", None, faults);
    }
    (scale.filter(|scale| *scale != 0.0), offset)
}

/// Whether what is sent depends on the map: a fixed text does not.
fn needs_map(target: Option<&Target>) -> bool {
    match target {
        Some(Target::Topic(_, text) | Target::Frame(text) | Target::Hex(text) | Target::Say(text)) => {
            text.holes().next().is_some()
        }
        Some(Target::Json(_, body)) => !body.holes().is_empty(),
        Some(Target::Register { .. }) => true,
        Some(Target::Line(_) | Target::Pulse(..)) | None => false,
    }
}

/// The map of a read goes back to the wire only where each value that can be set has a text in it.
fn invertible(map: &Map, kind: &Kind, node: &Node, path: &str, faults: &mut Faults) {
    let lacks = |value: &Value| map.wire(value).is_none();
    let missing: Vec<String> = match kind {
        Kind::Bool => {
            [true, false].map(Value::Bool).into_iter().filter(lacks).map(|value| value.plain()).collect()
        }
        _ => Vec::new(),
    };
    if !missing.is_empty() {
        let words = missing.join(" and ");
        let message = format!("the map of `read` has no text for {words}, which could not be set");
        let help = "give `write` a map of its own: `map: {\"true\": \"on\", \"false\": \"off\"}`".to_owned();
        faults.error(Some(node.place), path, message, Some(help));
    }
}

/// A read that can never give a value is a mistake.
fn readable(read: &Read, kind: &Kind, map: &MapReader<'_>, faults: &mut Faults) {
    if read.map.is_some() || read.above.is_some() {
        return;
    }
    let number = match &read.source {
        Source::Registers(registers) => registers.form.number != registers::Number::Bool,
        Source::Frame { hex, .. } => *hex,
        _ => false,
    };
    let truth = match &read.source {
        Source::Registers(registers) => registers.form.number == registers::Number::Bool,
        Source::Line { .. } => true,
        _ => false,
    };
    let (found, help) = match kind {
        Kind::Bool if number => ("a number", "say `as: bool`, `bit:`, `above: 0` or a `map:`"),
        Kind::Enum(_) if number => {
            ("a number", "give a `map:` from numbers to the values: `map: {\"0\": idle}`")
        }
        Kind::Enum(_) if truth => {
            ("true or false", "give a `map:`: `map: {\"true\": open, \"false\": closed}`")
        }
        Kind::Int | Kind::Float if truth => ("true or false", "make it a bool"),
        _ => return,
    };
    let message = format!("this reads {found}, which is never a value of this {}", kind.word());
    faults.error(Some(map.place), &map.path, message, Some(help.to_owned()));
}

/// A duration of at most [`PROFILE_WAIT`].
pub(super) fn wait(map: &mut MapReader<'_>, key: &'static str, faults: &mut Faults) -> Option<Duration> {
    let time = map.duration(key, faults)?;
    if time > PROFILE_WAIT || time.is_zero() {
        let message = format!("this waits at most {} and more than nothing", super::spell(PROFILE_WAIT));
        map.wrong(key, message, None, faults);
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
                let help = nearest(&key.text, holes.iter().map(|(name, _)| &**name))
                    .map(|near| format!("did you mean `{near}`?"));
                faults.error(Some(key.place), &at, format!("the action has no argument `{}`", key.text), help)
            }
        }
    }
    maps
}

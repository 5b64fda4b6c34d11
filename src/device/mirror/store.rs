//! What appliances say at present, in the words of the wire: the truth of a simulated wire.

use std::collections::BTreeMap;

use bytes::Bytes;
use regex::Regex;
use sipliance_driver::Channel;

use super::frame;
use super::raw::{Raw, candidates};
use super::words::Words;
use crate::device::codec::{self, Payload, SERIAL, number_words};
use crate::device::profile::{Form, Read, Registers, Source};
use crate::device::value::{Kind, Value, decimal};

/// What stands where on a wire.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    /// Topics, files and lines.
    texts: BTreeMap<Channel, Doc>,
    words: Words,
    /// Raw text by pattern.
    frames: BTreeMap<String, String>,
    /// Raw text by code and place.
    obis: BTreeMap<(String, usize), String>,
    /// Frames are spelled in hex for patterns.
    hex: bool,
}

/// What is said on a channel.
#[derive(Clone, Debug)]
enum Doc {
    Whole(String),
    Json(serde_json::Value),
}

impl Doc {
    fn bytes(&self) -> Bytes {
        match self {
            Self::Whole(text) => text.clone().into(),
            Self::Json(value) => value.to_string().into(),
        }
    }
}

impl Store {
    pub(super) fn new(hex: bool) -> Self {
        Self { hex, ..Self::default() }
    }

    /// Makes `read` find `value`, or what comes nearest to it on this wire, and returns what it finds.
    /// Every candidate is judged by the codec itself.
    pub(super) fn show(&mut self, read: &Read, kind: &Kind, value: &Value) -> Result<Value, String> {
        let mut best: Option<(f64, Value, Raw)> = None;
        for raw in candidates(read, value) {
            let mut tried = self.only(read);
            if !tried.put(read, &raw) {
                continue;
            }
            let Some(found) = tried.value(read, kind) else { continue };
            let Some(off) = distance(&found, value) else { continue };
            if best.as_ref().is_none_or(|(least, ..)| off < *least) {
                best = Some((off, found, raw));
            }
            if off == 0.0 {
                break;
            }
        }
        let near = |off: f64| off <= (read.scale.unwrap_or(1.0).abs() / 2.0).max(1e-6 * size(value)) * 1.001;
        let (_, found, raw) =
            best.filter(|(off, ..)| near(*off)).ok_or_else(|| format!("it cannot say {}", value.plain()))?;
        self.put(read, &raw);
        Ok(found)
    }

    /// A copy of what `read` looks at.
    fn only(&self, read: &Read) -> Self {
        let mut copy = Self::new(self.hex);
        match &read.source {
            Source::Topic { channel, .. } | Source::File { channel, .. } | Source::Line { channel, .. } => {
                copy.texts.extend(self.texts.get(channel).map(|doc| (channel.clone(), doc.clone())));
            }
            Source::Registers(_) => copy.words = self.words.clone(),
            Source::Obis { .. } => copy.obis = self.obis.clone(),
            Source::Frame { .. } | Source::Property(_) | Source::Item(_) => {}
        }
        copy
    }

    /// Writes a raw text where `read` looks; false where it cannot stand there.
    fn put(&mut self, read: &Read, raw: &Raw) -> bool {
        match &read.source {
            Source::Topic { channel, pointer: Some(pointer) } => {
                let mut document = match self.texts.get(channel) {
                    Some(Doc::Json(value)) => value.clone(),
                    Some(Doc::Whole(_)) => return false,
                    None => serde_json::Value::Object(serde_json::Map::new()),
                };
                let whole = place(&mut document, pointer, raw.json());
                self.texts.insert(channel.clone(), Doc::Json(document));
                whole
            }
            Source::Topic { channel, pointer: None }
            | Source::File { channel, .. }
            | Source::Line { channel, .. } => {
                let text = match (&read.source, raw.text.as_str()) {
                    (Source::Line { .. }, "true") => "1",
                    (Source::Line { .. }, "false") => "0",
                    (_, text) => text,
                };
                if matches!(self.texts.get(channel), Some(Doc::Json(_))) {
                    return false;
                }
                self.texts.insert(channel.clone(), Doc::Whole(text.to_owned()));
                true
            }
            Source::Frame { pattern, .. } => {
                self.frames.insert(pattern.as_str().to_owned(), raw.text.clone());
                true
            }
            Source::Registers(registers) => self.register(registers, &raw.text),
            Source::Obis { code, field, .. } => {
                self.obis.insert((code.clone(), *field), raw.text.clone());
                true
            }
            Source::Property(_) | Source::Item(_) => false,
        }
    }

    fn register(&mut self, of: &Registers, raw: &str) -> bool {
        let number = match raw {
            "true" => Some(1.0),
            "false" => Some(0.0),
            text => decimal(text),
        };
        let Some(number) = number else { return false };
        if let Some(bit) = of.form.bit {
            let mut bytes = self.words.get(of.unit, of.table, of.address).to_be_bytes();
            of.form.order.arrange(&mut bytes);
            let (word, mask) = (u16::from_be_bytes(bytes), 1_u16 << bit);
            let mut bytes = if number == 0.0 { word & !mask } else { word | mask }.to_be_bytes();
            of.form.order.arrange(&mut bytes);
            self.words.write(of.unit, of.table, of.address, &bytes);
            return true;
        }
        let bytes = number_words(&of.form, &Value::Float(number));
        bytes.is_ok_and(|bytes| {
            self.words.write(of.unit, of.table, of.address, &bytes);
            true
        })
    }

    /// The value that the gateway would find now.
    pub(super) fn value(&self, read: &Read, kind: &Kind) -> Option<Value> {
        let payload = match &read.source {
            Source::Frame { .. } => self.frames(&[read]).into_iter().next()?.into(),
            source => self.payload(source)?,
        };
        codec::value(read, kind, &Payload::new(&payload)).ok()
    }

    /// What comes over the wire for a source that is no frame.
    pub(super) fn payload(&self, source: &Source) -> Option<Bytes> {
        match source {
            Source::Topic { channel, .. } | Source::File { channel, .. } | Source::Line { channel, .. } => {
                self.texts.get(channel).map(Doc::bytes)
            }
            Source::Registers(registers) => Some(self.words.answer(registers).into()),
            Source::Obis { .. } => Some(self.telegram().into()),
            Source::Frame { .. } | Source::Property(_) | Source::Item(_) => None,
        }
    }

    /// The bytes of the frames that tell these reads, one for several where a pattern allows it.
    pub(super) fn frame_bytes(&self, reads: &[&Read]) -> Vec<Bytes> {
        self.frames(reads).into_iter().map(|text| self.spelled(text)).collect()
    }

    /// The same as patterns see them.
    fn frames(&self, reads: &[&Read]) -> Vec<String> {
        let mut left: Vec<(&Regex, &String)> = reads.iter().filter_map(|read| self.raw(read)).collect();
        let mut frames = Vec::new();
        while let Some((pattern, raw)) = left.first().copied() {
            left.remove(0);
            let Some(mut text) = frame::example(pattern).and_then(|text| frame::say(pattern, &text, raw))
            else {
                continue;
            };
            let mut told = vec![(pattern, raw)];
            left.retain(|(other, raw)| {
                let Some(more) = frame::say(other, &text, raw) else { return true };
                if !told.iter().all(|(known, raw)| frame::says(known, &more, raw)) {
                    return true;
                }
                text = more;
                told.push((other, raw));
                false
            });
            frames.push(text);
        }
        frames
    }

    fn raw<'a>(&'a self, read: &'a Read) -> Option<(&'a Regex, &'a String)> {
        match &read.source {
            Source::Frame { pattern, .. } => Some((pattern, self.frames.get(pattern.as_str())?)),
            _ => None,
        }
    }

    /// A smart meter's telegram, from `/` to `!`, as the framer hands it on.
    fn telegram(&self) -> String {
        let mut lines = String::from("/SIM5\\2SIMULATED\r\n\r\n");
        let mut codes: Vec<&String> = self.obis.keys().map(|(code, _)| code).collect();
        codes.dedup();
        for code in codes {
            let mine = || self.obis.range((code.clone(), 0)..=(code.clone(), usize::MAX));
            let last = mine().next_back().map_or(0, |((_, field), _)| *field);
            lines.push_str(code);
            for field in 1..=last {
                let text = self.obis.get(&(code.clone(), field)).map_or("0", String::as_str);
                lines.push_str(&format!("({text})"));
            }
            lines.push_str("\r\n");
        }
        lines.push('!');
        lines
    }

    /// A gateway wrote these bytes to a unit's table.
    pub(super) fn written(&mut self, channel: &Channel, payload: &[u8]) -> bool {
        let mut parts = channel.as_str().split('/');
        let unit = parts.next().and_then(|unit| unit.parse().ok());
        let table = parts.next().and_then(|word| {
            crate::device::profile::Table::ALL.into_iter().find(|table| table.word() == word)
        });
        let address = parts.next().and_then(|address| address.parse().ok());
        match (unit, table, address) {
            (Some(unit), Some(table), Some(address)) => {
                self.words.write(unit, table, address, payload);
                true
            }
            _ => false,
        }
    }

    /// What a payload would be with `raw` in it, without anything being kept: something that happens.
    pub(super) fn moment(&self, read: &Read, raw: &Raw) -> Option<(Channel, Bytes)> {
        let mut copy = self.only(read);
        if !copy.put(read, raw) {
            return None;
        }
        match &read.source {
            Source::Topic { channel, .. } => Some((channel.clone(), copy.payload(&read.source)?)),
            Source::Frame { .. } => {
                Some((Channel::new(SERIAL), copy.frame_bytes(&[read]).into_iter().next()?))
            }
            _ => None,
        }
    }

    /// A frame of a pattern, as bytes.
    pub(super) fn spelled(&self, text: String) -> Bytes {
        match self.hex {
            true => codec::unhex(&text).unwrap_or_default().into(),
            false => text.into(),
        }
    }

    /// The level of a line as it is told.
    pub(super) fn line(&self, channel: &Channel) -> Option<Bytes> {
        self.texts.get(channel).map(Doc::bytes)
    }

    /// A level on a line.
    pub(super) fn level(&mut self, channel: &Channel, active: bool) {
        let text = if active { "1" } else { "0" };
        self.texts.insert(channel.clone(), Doc::Whole(text.to_owned()));
    }

    /// The value that bytes for a register mean, as the gateway's write spells them.
    pub(super) fn meant(form: &Form, scale: f64, offset: f64, bytes: &[u8]) -> Option<f64> {
        codec::words_number(form, bytes).map(|number| number * scale + offset)
    }
}

/// Puts a value where a JSON pointer leads, and makes the way to it.
fn place(document: &mut serde_json::Value, pointer: &str, value: serde_json::Value) -> bool {
    let mut at = document;
    for token in pointer.split('/').skip(1) {
        let key = token.replace("~1", "/").replace("~0", "~");
        if at.is_null() {
            *at = serde_json::Value::Object(serde_json::Map::new());
        }
        let Some(object) = at.as_object_mut() else { return false };
        at = object.entry(key).or_insert(serde_json::Value::Null);
    }
    *at = value;
    true
}

/// How far two values are apart; `None` where they are of different sorts.
fn distance(found: &Value, wanted: &Value) -> Option<f64> {
    match (found.number(), wanted.number()) {
        (Some(found), Some(wanted)) => Some((found - wanted).abs()),
        _ => (found == wanted).then_some(0.0),
    }
}

fn size(value: &Value) -> f64 {
    value.number().map_or(1.0, f64::abs)
}

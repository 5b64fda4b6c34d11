//! Typed values out of a tree.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::spelling::{doubtful, duration, host_port};
use super::words::{Block, Takes};
use super::{Data, Key, Node};
use crate::config::HostPort;
use crate::config::fault::{Faults, Place, nearest};

/// Longest text for a header or a screen, in characters.
const LINE_CHARS: usize = 128;
/// Unknown keys of one map that are compared with the known ones; for more, nothing is proposed.
const GUESSES: usize = 64;

/// Takes keys out of a map one by one; [`MapReader::finish`] reports those that nobody took, with a
/// suggestion out of those that were asked for.
pub struct MapReader<'a> {
    /// Key path of the map itself.
    pub path: String,
    /// Place of the map.
    pub place: Place,
    entries: Vec<(&'a Key, &'a Node, bool)>,
    asked: Vec<&'static str>,
    block: Option<&'static Block>,
    /// Values of keys that no block has, and the words that were probably meant.
    mistyped: Vec<(&'a Node, &'static str)>,
}

impl<'a> MapReader<'a> {
    /// A reader over `node`; when it is no map, that is a fault and `None`.
    pub fn new(node: &'a Node, path: &str, faults: &mut Faults) -> Option<Self> {
        match &node.data {
            Data::Map(entries) => Some(Self {
                path: path.to_owned(),
                place: node.place,
                entries: entries.iter().map(|(key, value)| (key, value, false)).collect(),
                asked: Vec::new(),
                block: None,
                mistyped: Vec::new(),
            }),
            _ => {
                faults.error(
                    Some(node.place),
                    path,
                    format!("a block of keys is expected here, not {}", node.kind()),
                    missing_space(node),
                );
                None
            }
        }
    }

    /// A reader over a block of a format whose words are known. A key that the block lacks cannot be read.
    pub fn of(block: &'static Block, node: &'a Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let plain = Self::new(node, path, faults)?;
        let unknown = plain.entries.iter().filter(|(key, _, _)| block.word(&key.text).is_none());
        let meant = |(key, value, _): &(&Key, &'a Node, bool)| {
            // The very word of another block is no mistyped word of this one.
            let word = nearest(&key.text, block.all().map(|word| word.key))?;
            block.elsewhere(&key.text).is_empty().then_some((*value, word))
        };
        let mistyped = match block.others {
            None => unknown.take(GUESSES).filter_map(meant).collect(),
            Some(_) => Vec::new(),
        };
        Some(Self { block: Some(block), mistyped, ..plain })
    }

    /// What is missing in it is told where its key stands.
    #[must_use]
    pub fn standing(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The value of `key`, where it is present. Where it is not and a mistyped key was probably meant for it,
    /// that one's value, so that what is wrong in it is told, too.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        if self.block.is_some_and(|block| block.word(key).is_none()) {
            return None;
        }
        self.asked.push(key);
        if let Some(entry) = self.entries.iter_mut().find(|(name, _, _)| name.text == key) {
            entry.2 = true;
            return Some(entry.1);
        }
        self.mistyped.iter().find(|(_, word)| *word == key).map(|(value, _)| *value)
    }

    /// Whether the map has no keys at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of `key`; its absence is a fault.
    pub fn require(&mut self, key: &'static str, faults: &mut Faults) -> Option<&'a Node> {
        let found = self.take(key);
        if found.is_none() {
            faults.error(Some(self.place), &self.path, format!("`{key}:` is missing"), None);
        }
        found
    }

    /// Adds a fault at the value of `key`, which was taken before.
    pub fn wrong(&self, key: &str, message: impl Into<String>, help: Option<String>, faults: &mut Faults) {
        faults.error(Some(self.place_of(key)), &self.at(key), message, help);
    }

    /// Takes a key that is no word of the format and gets a fault of its own; where it stands.
    pub fn refuse(&mut self, key: &str) -> Option<Place> {
        let entry = self.entries.iter_mut().find(|(name, _, _)| name.text == key)?;
        entry.2 = true;
        Some(entry.0.place)
    }

    /// Adds a warning at the value of `key`, which was taken before.
    pub fn warn(&self, key: &str, message: impl Into<String>, help: Option<String>, faults: &mut Faults) {
        faults.warning(Some(self.place_of(key)), &self.at(key), message, help);
    }

    /// Where the value of `key` stands; the map, where it is not there.
    pub fn place_of(&self, key: &str) -> Place {
        let found = self.entries.iter().find(|(name, _, _)| name.text == key);
        found.map_or(self.place, |(_, value, _)| value.place)
    }

    /// The entries under names that people choose: all but the words of the block.
    pub fn others(&mut self) -> Vec<(&'a Key, &'a Node)> {
        let word = |key: &Key| self.block.is_some_and(|block| block.word(&key.text).is_some());
        let mut others = Vec::new();
        for entry in self.entries.iter_mut().filter(|(key, _, _)| !word(key)) {
            entry.2 = true;
            others.push((entry.0, entry.1));
        }
        others
    }

    /// One of the words that the block knows for `key`.
    pub fn one_of(&mut self, key: &'static str, faults: &mut Faults) -> Option<&'static str> {
        let path = self.at(key);
        let node = self.take(key)?;
        node.one_of(&self.takes(key)?.words()?, &path, faults)
    }

    /// A whole number within the bounds that the block knows for `key`.
    pub fn whole(&mut self, key: &'static str, faults: &mut Faults) -> Option<i64> {
        let Some(Takes::Int(low, high)) = self.takes(key) else { return None };
        self.int(key, low..=high, faults)
    }

    fn takes(&self, key: &str) -> Option<Takes> {
        self.block.and_then(|block| block.word(key)).map(|word| word.takes)
    }

    /// Key path of a member.
    pub fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports every key that was not taken.
    pub fn finish(self, faults: &mut Faults) {
        for (index, (key, _, _)) in self.entries.iter().filter(|(_, _, taken)| !taken).enumerate() {
            let known = self.block.is_some_and(|block| block.word(&key.text).is_some());
            let message = if known {
                format!("`{}` means nothing here", key.text)
            } else {
                format!("unknown key `{}`", key.text)
            };
            let help = (index < GUESSES).then(|| self.meant(&key.text));
            faults.error(Some(key.place), &self.at(&key.text), message, help);
        }
    }

    /// What was probably meant by an unknown key.
    fn meant(&self, key: &str) -> String {
        let known = self.known();
        let others = self.block.map(|block| block.elsewhere(key)).unwrap_or_default();
        match nearest(key, known.iter().copied()) {
            // The very word of another block is no mistyped word of this one.
            Some(word) if others.is_empty() => format!("did you mean `{word}`?"),
            _ if (1..=3).contains(&others.len()) => format!("`{key}` belongs to {}", others.join(" or to ")),
            _ if known.is_empty() => "nothing can stand here".to_owned(),
            _ => format!("known keys here: {}", known.join(", ")),
        }
    }

    fn known(&self) -> Vec<&'static str> {
        let mut known: Vec<&str> = Vec::new();
        for word in &self.asked {
            if !known.contains(word) {
                known.push(word);
            }
        }
        known
    }

    /// A text; numbers and true/false count as what was written.
    pub fn text(&mut self, key: &'static str, faults: &mut Faults) -> Option<String> {
        let path = self.at(key);
        self.take(key)?.text(&path, faults)
    }

    /// A text for a header or a screen: one line without control characters, and not too long.
    pub fn line(&mut self, key: &'static str, faults: &mut Faults) -> Option<String> {
        let path = self.at(key);
        self.take(key)?.line(&path, faults)
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &'static str, faults: &mut Faults) -> Option<bool> {
        let path = self.at(key);
        self.take(key)?.bool(&path, faults)
    }

    /// A whole number within `range`.
    pub fn int(&mut self, key: &'static str, range: RangeInclusive<i64>, faults: &mut Faults) -> Option<i64> {
        let path = self.at(key);
        self.take(key)?.int(range, &path, faults)
    }

    /// A finite number.
    pub fn float(&mut self, key: &'static str, faults: &mut Faults) -> Option<f64> {
        let path = self.at(key);
        self.take(key)?.float(&path, faults)
    }

    /// A time with its unit (`50ms`, `30s`, `5m`, `1h`).
    pub fn duration(&mut self, key: &'static str, faults: &mut Faults) -> Option<Duration> {
        let path = self.at(key);
        self.take(key)?.duration(&path, faults)
    }

    /// A list of texts, each with its place; a single text is a list of one.
    pub fn texts(&mut self, key: &'static str, faults: &mut Faults) -> Option<Vec<(Place, String)>> {
        let path = self.at(key);
        self.take(key)?.texts(&path, faults)
    }

    /// A block of texts.
    pub fn text_map(&mut self, key: &'static str, faults: &mut Faults) -> Option<Vec<(&'a Key, String)>> {
        let path = self.at(key);
        self.take(key)?.text_map(&path, faults)
    }

    /// An address with a port: `192.0.2.1:5060`, `[::]:5060`.
    pub fn socket_addr(&mut self, key: &'static str, faults: &mut Faults) -> Option<SocketAddr> {
        let path = self.at(key);
        self.take(key)?.socket_addr(&path, faults)
    }

    /// A host name or address with a port; without one, `default_port` counts.
    pub fn host_port(
        &mut self,
        key: &'static str,
        default_port: u16,
        faults: &mut Faults,
    ) -> Option<HostPort> {
        let path = self.at(key);
        self.take(key)?.host_port(default_port, &path, faults)
    }
}

/// The same getters on a single value.
impl Node {
    fn unfit<T>(&self, path: &str, wanted: &str, help: Option<String>, faults: &mut Faults) -> Option<T> {
        let found = match &self.data {
            Data::Text { text, .. } => format!("`{}`", shorten(text)),
            _ => self.scalar().map_or_else(|| self.kind().to_owned(), |text| format!("`{text}`")),
        };
        faults.error(Some(self.place), path, format!("{wanted} is expected here, not {found}"), help);
        None
    }

    /// A text; numbers and true/false count as what was written.
    pub fn text(&self, path: &str, faults: &mut Faults) -> Option<String> {
        match self.scalar() {
            Some(text) => Some(text),
            None => self.unfit(path, "text", None, faults),
        }
    }

    /// A text for a header or a screen: one line without control characters, and not too long.
    pub fn line(&self, path: &str, faults: &mut Faults) -> Option<String> {
        let text = self.text(path, faults)?;
        let message = if text.trim().is_empty() {
            "the text is empty".to_owned()
        } else if text.chars().count() > LINE_CHARS {
            format!("the text has more than {LINE_CHARS} characters")
        } else if text.chars().any(char::is_control) {
            "control characters and line ends cannot stand here".to_owned()
        } else {
            return Some(text);
        };
        faults.error(Some(self.place), path, message, None);
        None
    }

    /// `true` or `false`.
    pub fn bool(&self, path: &str, faults: &mut Faults) -> Option<bool> {
        if let Data::Bool(value) = self.data {
            return Some(value);
        }
        let meant = match self.scalar().unwrap_or_default().to_ascii_lowercase().as_str() {
            "on" | "yes" | "true" | "1" | "enabled" => Some("true"),
            "off" | "no" | "false" | "0" | "disabled" => Some("false"),
            word => nearest(word, ["true", "false"]),
        };
        let help = meant.map(|word| format!("write {word}, without quotes"));
        self.unfit(path, "true or false", help, faults)
    }

    /// One of a few words.
    pub fn one_of(&self, words: &[&'static str], path: &str, faults: &mut Faults) -> Option<&'static str> {
        let text = self.text(path, faults)?;
        let found = words.iter().find(|word| **word == text).copied();
        if found.is_none() {
            let all = words.join(", ");
            let help = match nearest(&text, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{key} takes {all}", key = path.rsplit('.').next().unwrap_or_default()),
            };
            let message = format!("`{}` is unknown here", shorten(&text));
            faults.error(Some(self.place), path, message, Some(help));
        }
        found
    }

    /// A whole number within `range`.
    pub fn int(&self, range: RangeInclusive<i64>, path: &str, faults: &mut Faults) -> Option<i64> {
        match &self.data {
            Data::Int(value) if range.contains(value) => Some(*value),
            Data::Int(value) => {
                let message = format!("{value} is outside {} to {}", range.start(), range.end());
                faults.error(Some(self.place), path, message, None);
                None
            }
            Data::Text { text, quoted: true } if text.parse::<i64>().is_ok() => {
                let help = format!("write {text} without quotes");
                self.unfit(path, "a whole number", Some(help), faults)
            }
            _ => self.unfit(path, "a whole number", self.number_alone(), faults),
        }
    }

    /// `9600 baud`
    fn number_alone(&self) -> Option<String> {
        let Data::Text { text, .. } = &self.data else { return None };
        let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit() && c != '.')?)?;
        let unit = unit.trim_start();
        let alone =
            number.parse::<f64>().is_ok() && unit.starts_with(|c: char| c.is_alphabetic() || c == '%');
        alone.then(|| format!("write {number} alone"))
    }

    /// A finite number.
    pub fn float(&self, path: &str, faults: &mut Faults) -> Option<f64> {
        match &self.data {
            // Whole numbers in home files are far below the 2^53 that a float holds exactly.
            Data::Int(value) => Some(*value as f64),
            Data::Float(value) if value.is_finite() => Some(*value),
            Data::Text { text, .. }
                if text.contains(',') && text.replace(',', ".").parse::<f64>().is_ok() =>
            {
                let help = format!("write {}", text.replace(',', "."));
                self.unfit(path, "a number", Some(help), faults)
            }
            Data::Text { text, quoted: true } if text.parse::<f64>().is_ok() => {
                let help = format!("write {text} without quotes");
                self.unfit(path, "a number", Some(help), faults)
            }
            _ => self.unfit(path, "a number", self.number_alone(), faults),
        }
    }

    /// A time with its unit (`50ms`, `30s`, `5m`, `1h`).
    pub fn duration(&self, path: &str, faults: &mut Faults) -> Option<Duration> {
        let text = self.scalar().unwrap_or_default();
        if let Some(value) = duration(&text) {
            return Some(value);
        }
        let help = match &self.data {
            Data::Int(0) => "write 0s".to_owned(),
            Data::Int(value) => format!("add the unit: {value}ms, {value}s or {value}m"),
            Data::Text { text, .. } if duration(&text.replace(',', ".")).is_some() => {
                format!("write {}", text.replace(',', "."))
            }
            Data::Text { text, .. } if duration(&text.replace(' ', "")).is_some() => {
                format!("write {}", text.replace(' ', ""))
            }
            _ => "write a number and ms, s, m, h or d: 500ms, 30s, 5m".to_owned(),
        };
        self.unfit(path, "a time with a unit", Some(help), faults)
    }

    /// A list of texts, each with its place; a single text is a list of one.
    pub fn texts(&self, path: &str, faults: &mut Faults) -> Option<Vec<(Place, String)>> {
        let Data::List(items) = &self.data else {
            return match self.scalar() {
                Some(text) => Some(vec![(self.place, text)]),
                None => self.unfit(path, "a list of texts", None, faults),
            };
        };
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if let Some(text) = item.text(&format!("{path}[{index}]"), faults) {
                texts.push((item.place, text));
            }
        }
        Some(texts)
    }

    /// The items of a list, each with its key path.
    pub fn items(&self, path: &str, faults: &mut Faults) -> Option<Vec<(String, &Node)>> {
        match &self.data {
            Data::List(items) => Some(
                items.iter().enumerate().map(|(index, item)| (format!("{path}[{index}]"), item)).collect(),
            ),
            _ => {
                let help = Some("begin each item with `- `, or write [a, b]".to_owned());
                self.unfit(path, "a list", help, faults)
            }
        }
    }

    /// The entries of a block with free keys; `null` is an empty block.
    pub fn entries(&self, path: &str, faults: &mut Faults) -> Option<&[(Key, Node)]> {
        match &self.data {
            Data::Map(entries) => Some(entries),
            Data::Null => Some(&[]),
            Data::List(_) => {
                let help = "write each name as a key, without the `- ` before it".to_owned();
                self.unfit(path, "a block of keys", Some(help), faults)
            }
            _ => self.unfit(path, "a block of keys", None, faults),
        }
    }

    /// A block of texts.
    pub fn text_map(&self, path: &str, faults: &mut Faults) -> Option<Vec<(&Key, String)>> {
        let mut texts = Vec::new();
        for (key, value) in self.entries(path, faults)? {
            if let Some(text) = value.text(&format!("{path}.{}", key.text), faults) {
                texts.push((key, text));
            }
        }
        Some(texts)
    }

    /// An address with a port: `192.0.2.1:5060`, `[::]:5060`.
    pub fn socket_addr(&self, path: &str, faults: &mut Faults) -> Option<SocketAddr> {
        let text = self.scalar().unwrap_or_default();
        match text.parse() {
            Ok(addr) => Some(addr),
            Err(_) => {
                let help = Some("write address:port, as 0.0.0.0:5060 or \"[::]:5060\"".to_owned());
                self.unfit(path, "an address with a port", help, faults)
            }
        }
    }

    /// A host name or address with a port; without one, `default_port` counts.
    pub fn host_port(&self, default_port: u16, path: &str, faults: &mut Faults) -> Option<HostPort> {
        let text = self.scalar().unwrap_or_default();
        if let Some((message, help)) = doubtful(&text) {
            faults.error(Some(self.place), path, message, Some(help));
            return None;
        }
        if let Some(found) = host_port(&text, default_port) {
            return Some(found);
        }
        let help = match text.split_once("://") {
            Some((_, rest)) => format!("leave the scheme out: {rest}"),
            None => format!("write host:port, as server.example.org:{default_port}"),
        };
        self.unfit(path, "a host with a port", Some(help), faults)
    }
}

/// `title:Our house` is one text to YAML.
fn missing_space(node: &Node) -> Option<String> {
    let Data::Text { text, quoted: false } = &node.data else { return None };
    let (key, value) = text.split_once(':')?;
    let word = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word.then(|| format!("a space belongs after the `:`, as in `{key}: {value}`"))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

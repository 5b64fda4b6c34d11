//! YAML text as a tree that remembers where everything stands. The only file that names a YAML crate.

use super::fault::{Faults, Place, nearest};

/// One value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub data: Data,
}

/// The kinds of value. Scalars follow the YAML 1.2 core schema: `on`, `off`, `yes` and `no` are text.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`, unquoted.
    Bool(bool),
    /// A whole number, unquoted; hex (`0x0C`) included.
    Int(i64),
    /// A number, unquoted.
    Float(f64),
    /// Everything else; `quoted` tells `"1"` from `1`.
    Text {
        /// The text after unescaping.
        text: String,
        /// Whether it stood in quotes or was a block scalar.
        quoted: bool,
    },
    /// `[a, b]`.
    List(Vec<Node>),
    /// `{a: b}` in the order of the file. Keys are text; duplicates are a fault and the first is kept.
    Map(Vec<(Key, Node)>),
}

/// A key with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Where it stands.
    pub place: Place,
    /// Its text.
    pub text: String,
}

impl Node {
    /// For messages: `a list`, `a number`, `text` …
    pub fn kind(&self) -> &'static str {
        match &self.data {
            Data::Null => "nothing",
            Data::Bool(_) => "true or false",
            Data::Int(_) => "a whole number",
            Data::Float(_) => "a number",
            Data::Text { .. } => "text",
            Data::List(_) => "a list",
            Data::Map(_) => "a block of keys",
        }
    }

    /// The scalar as the text that a person wrote; `None` for lists, maps and nothing.
    pub fn scalar(&self) -> Option<String> {
        match &self.data {
            Data::Bool(value) => Some(value.to_string()),
            Data::Int(value) => Some(value.to_string()),
            Data::Float(value) => Some(value.to_string()),
            Data::Text { text, .. } => Some(text.clone()),
            Data::Null | Data::List(_) | Data::Map(_) => None,
        }
    }
}

/// Takes keys out of a map one by one; [`MapReader::finish`] reports those that nobody took, with a
/// suggestion out of those that were asked for.
pub struct MapReader<'a> {
    /// Key path of the map itself.
    pub path: String,
    /// Place of the map.
    pub place: Place,
    entries: Vec<(&'a Key, &'a Node, bool)>,
    asked: Vec<&'static str>,
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
            }),
            _ => {
                faults.error(
                    Some(node.place),
                    path,
                    format!("a block of keys is expected here, not {}", node.kind()),
                    None,
                );
                None
            }
        }
    }

    /// The value of `key`, where it is present.
    pub fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let entry = self.entries.iter_mut().find(|(name, _, _)| name.text == key)?;
        entry.2 = true;
        Some(entry.1)
    }

    /// The value of `key`; its absence is a fault.
    pub fn require(&mut self, key: &'static str, faults: &mut Faults) -> Option<&'a Node> {
        let found = self.take(key);
        if found.is_none() {
            faults.error(Some(self.place), &self.path, format!("`{key}:` is missing"), None);
        }
        found
    }

    /// Key path of a member.
    pub fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Reports every key that was not taken.
    pub fn finish(self, faults: &mut Faults) {
        for (key, _, taken) in &self.entries {
            if !taken {
                let help = nearest(&key.text, self.asked.iter().copied())
                    .map(|word| format!("did you mean `{word}`?"));
                faults.error(
                    Some(key.place),
                    &self.at(&key.text),
                    format!("unknown key `{}`", key.text),
                    help,
                );
            }
        }
    }
}

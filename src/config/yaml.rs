//! YAML text as a tree that remembers where everything stands.
//!
//! [`parse()`] makes the tree, [`MapReader`] takes typed values out of it. Every getter reports what
//! does not fit with its place, its key path and a suggestion, and goes on: one run shows all faults.

mod parse;
mod read;
mod scalar;
mod spelling;
mod syntax;
#[cfg(test)]
mod tests;
pub mod words;

pub use parse::{DEPTH, FILE_BYTES, parse};
pub use read::MapReader;
pub use spelling::{duration, host_port};

use super::fault::Place;

/// One value with its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// What it is.
    pub data: Data,
    /// A scalar as it was written, where the value alone does not tell (`0x0C`, `021`, `1.50`).
    pub raw: Option<Box<str>>,
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
    /// Where the last of these nested keys stands, or the last that is there.
    pub fn place_of(&self, keys: &[&str]) -> Place {
        let mut found = self.place;
        let mut node = self;
        for wanted in keys {
            let Data::Map(entries) = &node.data else { break };
            let Some((key, value)) = entries.iter().find(|(key, _)| key.text == *wanted) else { break };
            (found, node) = (key.place, value);
        }
        found
    }

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
        if let Some(raw) = &self.raw {
            return Some(raw.to_string());
        }
        match &self.data {
            Data::Bool(value) => Some(value.to_string()),
            Data::Int(value) => Some(value.to_string()),
            Data::Float(value) => Some(value.to_string()),
            Data::Text { text, .. } => Some(text.clone()),
            Data::Null | Data::List(_) | Data::Map(_) => None,
        }
    }
}

//! Small typed things that many parts of a profile hold: ids, types, values, maps, patterns.

use std::sync::Arc;

use regex::Regex;

use super::map::Map;
use crate::config::fault::{Faults, Place, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::device::value::{Kind, Value};
use crate::limits::ID_BYTES;

/// Words that a MESSAGE uses for itself.
const RESERVED: [&str; 6] = ["set", "status", "help", "toggle", "on", "off"];

/// Adds a fault at a node.
pub(super) fn fault(node: &Node, path: &str, message: impl Into<String>, faults: &mut Faults) {
    faults.error(Some(node.place), path, message, None);
}

/// An id: lower-case letters, digits, `_` and `-`, and no word that commands use.
pub(super) fn id(text: &str, place: Place, path: &str, faults: &mut Faults) -> Option<Arc<str>> {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    let rest = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    let message = if !first || !rest || text.len() > ID_BYTES {
        format!("`{text}` is no id; use up to {ID_BYTES} of a-z, 0-9, _ and -, beginning with a letter")
    } else if RESERVED.contains(&text) {
        format!("`{text}` is a word of commands and cannot be an id")
    } else {
        return Some(text.into());
    };
    faults.error(Some(place), path, message, None);
    None
}

/// `type:` and, for an enum, `values:`.
pub(super) fn kind(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Kind> {
    let values = map.take("values");
    let node = map.require("type", faults)?;
    let at = map.at("type");
    let word = node.text(&at, faults)?;
    if word == "enum" {
        let Some(values) = values else {
            fault(node, &at, "an enum needs `values:`", faults);
            return None;
        };
        return names(values, &map.at("values"), faults).map(Kind::Enum);
    }
    if let Some(values) = values {
        fault(values, &map.at("values"), format!("`values:` belongs to an enum, not to `{word}`"), faults);
    }
    match word.as_str() {
        "bool" => Some(Kind::Bool),
        "int" => Some(Kind::Int),
        "float" => Some(Kind::Float),
        "text" => Some(Kind::Text),
        "time" => Some(Kind::Time),
        _ => {
            let words = ["bool", "int", "float", "enum", "text", "time"];
            let help = match nearest(&word, words) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("use one of {}", words.join(", ")),
            };
            faults.error(Some(node.place), &at, format!("`{word}` is no type"), Some(help));
            None
        }
    }
}

/// The names of an enum or an event: not empty, told apart without case.
pub(super) fn names(node: &Node, path: &str, faults: &mut Faults) -> Option<Arc<[Arc<str>]>> {
    let texts = node.texts(path, faults)?;
    let mut out: Vec<Arc<str>> = Vec::new();
    for (place, text) in texts {
        let odd = text.is_empty() || text.chars().any(|c| c.is_control() || c.is_whitespace());
        let message = if odd {
            format!("`{text}` is no value; values are words without spaces")
        } else if out.iter().any(|known| known.eq_ignore_ascii_case(&text)) {
            format!("`{text}` stands here twice")
        } else {
            out.push(text.into());
            continue;
        };
        faults.error(Some(place), path, message, None);
    }
    if out.is_empty() {
        fault(node, path, "at least one value is needed", faults);
        return None;
    }
    Some(out.into())
}

/// A value of `kind` as a profile writes it.
pub(super) fn value(node: &Node, kind: &Kind, path: &str, faults: &mut Faults) -> Option<Value> {
    match kind {
        Kind::Bool => node.bool(path, faults).map(Value::Bool),
        Kind::Int => node.int(i64::MIN..=i64::MAX, path, faults).map(Value::Int),
        Kind::Float => node.float(path, faults).map(Value::Float),
        Kind::Text | Kind::Time => node.text(path, faults).map(|text| Value::Text(text.as_str().into())),
        Kind::Enum(values) => {
            let word = node.text(path, faults)?;
            let found = values.iter().find(|value| ***value == *word);
            if found.is_none() {
                let help = match nearest(&word, values.iter().map(|value| &**value)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("the values are {}", values.join(", ")),
                };
                faults.error(Some(node.place), path, format!("`{word}` is not among the values"), Some(help));
            }
            found.cloned().map(Value::Enum)
        }
    }
}

/// A map from wire text to values of `kind`.
pub(super) fn map_in(node: &Node, kind: &Kind, path: &str, faults: &mut Faults) -> Option<Map> {
    let mut pairs = Vec::new();
    for (key, target) in node.entries(path, faults)? {
        if let Some(value) = value(target, kind, &format!("{path}.{}", key.text), faults) {
            pairs.push((key.text.as_str().into(), value));
        }
    }
    Some(Map::new(pairs))
}

/// A map from values of `kind` to wire text.
pub(super) fn map_out(node: &Node, kind: &Kind, path: &str, faults: &mut Faults) -> Option<Map> {
    let mut pairs = Vec::new();
    for (key, target) in node.entries(path, faults)? {
        let at = format!("{path}.{}", key.text);
        let Some(wire) = target.text(&at, faults) else { continue };
        match kind.parse(&key.text) {
            Ok(value) if value.plain() == key.text => pairs.push((wire.as_str().into(), value)),
            _ => {
                let message = format!("`{}` is not {}", key.text, plain_words(kind));
                faults.error(Some(key.place), &at, message, None);
            }
        }
    }
    Some(Map::new(pairs))
}

fn plain_words(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        other => other.accepted(),
    }
}

/// A pattern with at most one group.
pub(super) fn pattern(node: &Node, path: &str, faults: &mut Faults) -> Option<Regex> {
    let text = node.text(path, faults)?;
    match Regex::new(&text) {
        Ok(regex) => Some(regex),
        Err(why) => {
            let why = why.to_string();
            let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            fault(node, path, format!("the pattern does not work: {last}"), faults);
            None
        }
    }
}

/// Text for the wire: a backslash and a letter in it come from single quotes.
pub(super) fn wire(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let text = node.text(path, faults)?;
    for escape in ["\\r", "\\n", "\\t", "\\x", "\\0"] {
        if text.contains(escape) {
            let help = "use double quotes for the control character: \"\\r\"".to_owned();
            let message = format!("`{escape}` is a backslash and a letter here, as in single quotes");
            faults.error(Some(node.place), path, message, Some(help));
            return None;
        }
    }
    Some(text)
}

/// Bytes spelled in hex, with or without spaces: `A0 01`.
pub(super) fn hex_bytes(text: &str) -> Result<Vec<u8>, String> {
    crate::device::codec::unhex(text)
        .ok_or_else(|| format!("`{text}` is not whole bytes in hex, as A0 01 is"))
}

/// `[smallest, largest]`
pub(super) fn range(map: &mut MapReader<'_>, kind: &Kind, faults: &mut Faults) -> Option<(f64, f64)> {
    let node = map.take("range")?;
    let at = map.at("range");
    if !matches!(kind, Kind::Int | Kind::Float) {
        fault(node, &at, format!("a range belongs to int or float, not to {}", kind.word()), faults);
        return None;
    }
    match &node.data {
        Data::List(items) if items.len() == 2 => {
            let ends: Vec<f64> = items.iter().filter_map(|item| item.float(&at, faults)).collect();
            match ends.as_slice() {
                [low, high] if low <= high => Some((*low, *high)),
                [_, _] => {
                    fault(node, &at, "the smaller number comes first", faults);
                    None
                }
                _ => None,
            }
        }
        _ => {
            fault(node, &at, "a range is [smallest, largest]", faults);
            None
        }
    }
}

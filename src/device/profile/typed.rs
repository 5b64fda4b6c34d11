//! Small typed things that many parts of a profile hold: ids, types, values, maps, patterns.

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::map::Map;
use crate::config::fault::{Faults, Place, nearest};
use crate::config::yaml::{Data, MapReader, Node};
use crate::device::value::{Kind, Value};
use crate::limits::{ID_BYTES, PATTERN_BYTES};

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
    let _ = map.require("type", faults);
    let word = map.one_of("type", faults)?;
    let names = values.and_then(|values| names(values, &map.at("values"), faults));
    if word != "enum" && values.is_some() {
        map.wrong("values", format!("`values:` belongs to an enum, not to `{word}`"), None, faults);
    }
    match word {
        "bool" => Some(Kind::Bool),
        "int" => Some(Kind::Int),
        "float" => Some(Kind::Float),
        "time" => Some(Kind::Time),
        "text" => Some(Kind::Text),
        _ if values.is_none() => {
            let help = "list what it can be: `values: [auto, heat]`".to_owned();
            map.wrong("type", "an enum needs `values:`", Some(help), faults);
            None
        }
        _ => names.map(Kind::Enum),
    }
}

/// What a faulty `type:` was probably meant to be, so that the rest can be judged.
pub(super) fn probable(map: &mut MapReader<'_>) -> Kind {
    let word = map.take("type").and_then(Node::scalar).unwrap_or_default();
    match nearest(&word, ["bool", "int", "float"]) {
        Some("bool") => Kind::Bool,
        Some("int") => Kind::Int,
        Some(_) => Kind::Float,
        None => Kind::Text,
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
    let entries = node.entries(path, faults)?;
    for (key, target) in entries {
        if let Some(value) = value(target, kind, &format!("{path}.{}", key.text), faults) {
            pairs.push((key.text.as_str().into(), value));
        }
    }
    let torn = pairs.len() < entries.len();
    Some(Map::new(pairs).torn(torn))
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

/// A pattern.
pub(super) fn pattern(node: &Node, path: &str, faults: &mut Faults) -> Option<Regex> {
    let text = node.text(path, faults)?;
    let pattern = RegexBuilder::new(&text).size_limit(PATTERN_BYTES).build();
    let message = match pattern {
        Ok(regex) => return Some(regex),
        Err(regex::Error::CompiledTooBig(_)) => "the pattern is too large".to_owned(),
        Err(why) => {
            let why = why.to_string();
            let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("the pattern does not work: {last}")
        }
    };
    fault(node, path, message, faults);
    None
}

/// A pattern whose group is a value.
pub(super) fn pattern_of_value(node: &Node, path: &str, faults: &mut Faults) -> Option<Regex> {
    let pattern = pattern(node, path, faults)?;
    if pattern.captures_len() > 2 {
        let help = "put ( ) around the value alone, and write (?: ) for other groups".to_owned();
        faults.error(
            Some(node.place),
            path,
            "the pattern has several groups; which is the value?",
            Some(help),
        );
        return None;
    }
    Some(pattern)
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
    let (message, help) = match &node.data {
        Data::List(items) if items.len() == 2 => {
            let ends: Vec<f64> = items.iter().filter_map(|item| item.float(&at, faults)).collect();
            match ends.as_slice() {
                [low, high] if low <= high => return Some((*low, *high)),
                [low, high] => ("the smaller number comes first", format!("write [{high}, {low}]")),
                _ => return None,
            }
        }
        _ => ("a range is [smallest, largest]", "for example `range: [5, 30]`".to_owned()),
    };
    faults.error(Some(node.place), &at, message, Some(help));
    None
}

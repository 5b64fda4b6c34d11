//! Values of properties: their types, how people type them and how they are shown.

use crate::limits::TEXT_BYTES;
use std::fmt;
use std::sync::Arc;

/// One value of a property or argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// On or off, yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number; always finite.
    Float(f64),
    /// One of the names that the property declares.
    Enum(Arc<str>),
    /// Free text, and times as the device writes them.
    Text(Arc<str>),
}

/// The type of a property or argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `bool`
    Bool,
    /// `int`
    Int,
    /// `float`
    Float,
    /// `enum` with its names in the order of the profile.
    Enum(Arc<[Arc<str>]>),
    /// `text`
    Text,
    /// `time`: kept as the text that the device sent.
    Time,
}

/// Why a word is no value of a [`Kind`]; the text says what is accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAValue(pub String);

const TRUE_WORDS: [&str; 3] = ["on", "true", "yes"];
const FALSE_WORDS: [&str; 3] = ["off", "false", "no"];

impl Kind {
    /// The word for it in a profile.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Enum(_) => "enum",
            Self::Text => "text",
            Self::Time => "time",
        }
    }

    /// Reads what a person typed: case and surrounding space do not matter, `21,5` is `21.5`.
    pub fn parse(&self, words: &str) -> Result<Value, NotAValue> {
        let words = words.trim();
        let refuse =
            || Err(NotAValue(format!("\u{201c}{}\u{201d} is not {}", shorten(words), self.accepted())));
        match self {
            Self::Bool if is_one_of(words, &TRUE_WORDS) => Ok(Value::Bool(true)),
            Self::Bool if is_one_of(words, &FALSE_WORDS) => Ok(Value::Bool(false)),
            Self::Bool => refuse(),
            Self::Int => words.parse().map(Value::Int).or_else(|_| refuse()),
            Self::Float => match decimal(words) {
                Some(number) => Ok(Value::Float(number)),
                None => refuse(),
            },
            Self::Enum(names) => match names.iter().find(|name| name.eq_ignore_ascii_case(words)) {
                Some(name) => Ok(Value::Enum(name.clone())),
                None => refuse(),
            },
            Self::Text | Self::Time => text(words).map_or_else(refuse, Ok),
        }
    }

    /// What [`Kind::parse`] takes, for messages: `on or off`, `one of auto, heat`.
    pub fn accepted(&self) -> String {
        match self {
            Self::Bool => "on or off".to_owned(),
            Self::Int => "a whole number".to_owned(),
            Self::Float => "a number".to_owned(),
            Self::Enum(names) => format!("one of {}", names.join(", ")),
            Self::Text | Self::Time => format!("printable text of at most {TEXT_BYTES} bytes"),
        }
    }

    /// Whether `value` is of this type (and, for an enum, one of its names).
    pub fn holds(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Bool, Value::Bool(_)) | (Self::Int, Value::Int(_)) => true,
            (Self::Float, Value::Float(number)) => number.is_finite(),
            (Self::Enum(names), Value::Enum(name)) => names.contains(name),
            (Self::Text | Self::Time, Value::Text(_)) => true,
            _ => false,
        }
    }
}

impl Value {
    /// The number behind an int or float.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            Self::Bool(_) | Self::Enum(_) | Self::Text(_) => None,
        }
    }

    /// As profiles and maps spell it: `true`, `63`, `21.5`, `heat`.
    pub fn plain(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Enum(name) | Self::Text(name) => name.to_string(),
        }
    }

    /// As people read it: `on`, `63 W`, `21.5 °C`.
    pub fn show<'a>(&'a self, decimals: Option<u8>, unit: Option<&'a str>) -> impl fmt::Display + 'a {
        Shown { value: self, decimals, unit }
    }
}

struct Shown<'a> {
    value: &'a Value,
    decimals: Option<u8>,
    unit: Option<&'a str>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value, self.decimals) {
            (Value::Bool(true), _) => return f.write_str("on"),
            (Value::Bool(false), _) => return f.write_str("off"),
            (Value::Enum(name) | Value::Text(name), _) => return f.write_str(name),
            (Value::Int(number), _) => write!(f, "{number}")?,
            (Value::Float(number), Some(decimals)) => {
                let text = format!("{number:.*}", usize::from(decimals));
                f.write_str(without_minus_zero(&text))?;
            }
            (Value::Float(number), None) => write!(f, "{}", (number * 1e6).round() / 1e6)?,
        }
        self.unit.map_or(Ok(()), |unit| write!(f, " {unit}"))
    }
}

/// `-0.0` says nothing to a person.
fn without_minus_zero(text: &str) -> &str {
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest,
        _ => text,
    }
}

fn is_one_of(word: &str, words: &[&str]) -> bool {
    words.iter().any(|candidate| candidate.eq_ignore_ascii_case(word))
}

/// A finite decimal number. `nan`, `inf` and hex are none.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let ok = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | ',' | 'e' | 'E');
    if !text.chars().all(ok) || text.matches(',').count() > 1 || (text.contains(',') && text.contains('.')) {
        return None;
    }
    text.replace(',', ".").parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Text without control characters: nothing that could end a frame or a header early.
pub(crate) fn text(words: &str) -> Option<Value> {
    (words.len() <= TEXT_BYTES && !words.chars().any(char::is_control)).then(|| Value::Text(words.into()))
}

/// At most 24 characters of somebody's input, for a message.
pub(crate) fn shorten(words: &str) -> String {
    let clean: String = words.chars().filter(|c| !c.is_control()).take(25).collect();
    match clean.char_indices().nth(24) {
        Some((end, _)) => format!("{}\u{2026}", clean.get(..end).unwrap_or_default()),
        None => clean,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes() -> Kind {
        Kind::Enum(["off", "auto", "heat"].iter().map(|name| Arc::from(*name)).collect())
    }

    #[test]
    fn people_type_values_in_many_ways() {
        assert_eq!(Kind::Bool.parse(" ON "), Ok(Value::Bool(true)));
        assert_eq!(Kind::Float.parse("21,5"), Ok(Value::Float(21.5)));
        assert_eq!(modes().parse("Heat"), Ok(Value::Enum("heat".into())));
        assert_eq!(Kind::Int.parse("-3"), Ok(Value::Int(-3)));
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_would_be() {
        for (kind, words) in [
            (Kind::Bool, "1"),
            (Kind::Int, "1.5"),
            (Kind::Float, "nan"),
            (Kind::Float, "1,000.5"),
            (Kind::Float, "1e999"),
            (Kind::Text, "a\rb"),
        ] {
            assert!(kind.parse(words).is_err(), "{kind:?} took {words:?}");
        }
        assert_eq!(
            modes().parse("warm").map_err(|why| why.to_string()),
            Err("\u{201c}warm\u{201d} is not one of off, auto, heat".to_owned())
        );
    }

    #[test]
    fn values_are_shown_for_people() {
        assert_eq!(Value::Bool(true).show(None, None).to_string(), "on");
        assert_eq!(Value::Float(20.687).show(Some(1), Some("°C")).to_string(), "20.7 °C");
        assert_eq!(Value::Float(-0.04).show(Some(1), None).to_string(), "0.0");
        assert_eq!(Value::Float(63.0).show(None, Some("W")).to_string(), "63 W");
        assert_eq!(Value::Float(0.1 + 0.2).show(None, None).to_string(), "0.3");
    }
}

//! From bytes to a value.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::modbus::{self, Found};
use super::obis;
use crate::device::profile::{Read, Source};
use crate::device::value::{Kind, Value, decimal, text};

/// So much of a payload is shown to a person.
const QUOTED: usize = 48;

/// Why a payload gave no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dropped {
    /// Nothing in it: a deleted retained message.
    Empty,
    /// No valid UTF-8.
    NotText,
    /// No JSON where the profile has a pointer.
    NotJson,
    /// The pointer leads nowhere, or to null.
    Missing,
    /// A list where a number is expected, a word where a number is expected …
    WrongType,
    /// A text that is in no map and among no values.
    Unknown,
    /// One of the profile's sentinels.
    Invalid,
    /// A retained copy that the profile ignores, or that cannot count as an event.
    Retained,
    /// The frame is not about this read. Not counted: it is about another.
    NotMine,
}

impl Dropped {
    /// Those that are counted, in the order of counting.
    pub const COUNTED: [Self; 7] = [
        Self::Empty,
        Self::NotText,
        Self::NotJson,
        Self::Missing,
        Self::WrongType,
        Self::Unknown,
        Self::Invalid,
    ];

    /// Whether it points at a profile that does not fit the device. A document may lack a value, a stored
    /// message may be deleted, and a sentinel is expected.
    pub(crate) fn is_puzzling(self) -> bool {
        matches!(self, Self::NotText | Self::NotJson | Self::WrongType | Self::Unknown)
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty payload",
            Self::NotText => "no valid text",
            Self::NotJson => "no valid JSON",
            Self::Missing => "value missing",
            Self::WrongType => "wrong type",
            Self::Unknown => "unknown text",
            Self::Invalid => "sentinel",
            Self::Retained => "retained copy",
            Self::NotMine => "other frame",
        }
    }
}

/// A payload that is understood at most once, however many reads look at it.
pub(crate) struct Payload<'a> {
    bytes: &'a [u8],
    text: OnceCell<Result<&'a str, Dropped>>,
    json: OnceCell<Result<serde_json::Value, Dropped>>,
}

impl<'a> Payload<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, text: OnceCell::new(), json: OnceCell::new() }
    }

    pub(crate) fn text(&self) -> Result<&'a str, Dropped> {
        *self.text.get_or_init(|| match std::str::from_utf8(self.bytes) {
            Ok("") => Err(Dropped::Empty),
            Ok(text) => Ok(text),
            Err(_) => Err(Dropped::NotText),
        })
    }

    /// A frame, where an empty one is a bare prompt; `None`: no text.
    pub(crate) fn frame(&self) -> Option<&'a str> {
        match self.text() {
            Ok(text) => Some(text),
            Err(Dropped::Empty) => Some(""),
            Err(_) => None,
        }
    }

    /// For people: a text in quotes, or bytes in hex.
    pub(crate) fn quoted(&self) -> String {
        // Control characters are often what is wrong with it.
        let shown: String = match self.frame() {
            Some(text) => text.escape_debug().take(QUOTED + 1).collect(),
            None => super::hex(self.bytes.get(..QUOTED.min(self.bytes.len())).unwrap_or_default()),
        };
        match shown.char_indices().nth(QUOTED) {
            Some((end, _)) => format!("\"{}\u{2026}\"", shown.get(..end).unwrap_or_default()),
            None => format!("\"{shown}\""),
        }
    }

    fn json(&self) -> Result<&serde_json::Value, Dropped> {
        let parse = || serde_json::from_str(self.text()?).map_err(|_| Dropped::NotJson);
        self.json.get_or_init(parse).as_ref().map_err(|why| *why)
    }

    /// The level of a line: active is true.
    pub(crate) fn level(&self) -> Result<bool, Dropped> {
        match self.text()? {
            "1" => Ok(true),
            "0" => Ok(false),
            _ => Err(Dropped::WrongType),
        }
    }
}

enum Raw<'a> {
    Text(&'a str),
    Bool(bool),
    Whole(i64),
    Real(f64),
}

impl From<Found> for Raw<'_> {
    fn from(found: Found) -> Self {
        match found {
            Found::Bool(value) => Self::Bool(value),
            Found::Whole(number) => Self::Whole(number),
            Found::Real(number) => Self::Real(number),
        }
    }
}

impl Raw<'_> {
    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Whole(number) => Cow::Owned(number.to_string()),
            Self::Real(number) => Cow::Owned(number.to_string()),
        }
    }
}

/// The value that `read` finds in `payload`.
pub(crate) fn value(read: &Read, kind: &Kind, payload: &Payload<'_>) -> Result<Value, Dropped> {
    let raw = raw(read, payload)?;
    let raw_text = raw.text();
    let trimmed = raw_text.trim();
    if read.invalid.iter().any(|sentinel| sentinel == trimmed) {
        return Err(Dropped::Invalid);
    }
    if let Some(limit) = read.above {
        let number = match raw {
            Raw::Whole(number) => Some(number as f64),
            Raw::Real(number) => Some(number),
            Raw::Text(text) => decimal(text.trim()),
            Raw::Bool(_) => None,
        };
        return number.map(|number| Value::Bool(number > limit)).ok_or(Dropped::WrongType);
    }
    if let Some(map) = &read.map {
        let mapped = map.value(trimmed).ok_or(Dropped::Unknown)?;
        return match mapped.number() {
            Some(number) => numeric(number, None, read, kind),
            None => Ok(mapped.clone()),
        };
    }
    match (kind, &raw) {
        (Kind::Bool, _) => match trimmed {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(Dropped::WrongType),
        },
        (Kind::Int | Kind::Float, Raw::Bool(_)) => Err(Dropped::WrongType),
        (Kind::Int | Kind::Float, Raw::Whole(number)) => numeric(*number as f64, Some(*number), read, kind),
        (Kind::Int | Kind::Float, Raw::Real(number)) => numeric(*number, None, read, kind),
        (Kind::Int | Kind::Float, Raw::Text(_)) => {
            numeric(decimal(trimmed).ok_or(Dropped::WrongType)?, trimmed.parse().ok(), read, kind)
        }
        (Kind::Enum(names), _) => match names.iter().find(|name| ***name == *trimmed) {
            Some(name) => Ok(Value::Enum(name.clone())),
            None => Err(Dropped::Unknown),
        },
        (Kind::Text | Kind::Time, _) => text(trimmed).ok_or(Dropped::WrongType),
    }
}

fn raw<'p>(read: &Read, payload: &'p Payload<'_>) -> Result<Raw<'p>, Dropped> {
    match &read.source {
        Source::Topic { pointer: None, .. } => payload.text().map(Raw::Text),
        Source::Topic { pointer: Some(pointer), .. } => match payload.json()?.pointer(pointer) {
            Some(serde_json::Value::String(text)) => Ok(Raw::Text(text)),
            Some(serde_json::Value::Bool(value)) => Ok(Raw::Bool(*value)),
            Some(serde_json::Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Ok(Raw::Whole(whole)),
                (None, Some(real)) => Ok(Raw::Real(real)),
                (None, None) => Err(Dropped::WrongType),
            },
            Some(serde_json::Value::Null) | None => Err(Dropped::Missing),
            Some(serde_json::Value::Array(_) | serde_json::Value::Object(_)) => Err(Dropped::WrongType),
        },
        Source::Frame { pattern, hex, .. } => {
            // An empty frame is a bare prompt.
            let text =
                payload.text().map_err(|why| if why == Dropped::Empty { Dropped::NotMine } else { why })?;
            let found = pattern.captures(text).ok_or(Dropped::NotMine)?;
            let group = found.get(1).or_else(|| found.get(0)).ok_or(Dropped::NotMine)?;
            match hex {
                false => Ok(Raw::Text(group.as_str())),
                true => {
                    let digits: String = group.as_str().split_whitespace().collect();
                    i64::from_str_radix(&digits, 16).map(Raw::Whole).map_err(|_| Dropped::WrongType)
                }
            }
        }
        Source::Registers(registers) => {
            let own = registers.of(payload.bytes).ok_or(Dropped::WrongType)?;
            modbus::decode(&registers.form, own).map(Raw::from)
        }
        Source::Obis { code, field, .. } => obis::value(payload.text()?, code, *field).map(Raw::Text),
        Source::File { .. } | Source::Item(_) | Source::Duty(_) => payload.text().map(Raw::Text),
        Source::Line { .. } => payload.level().map(Raw::Bool),
        Source::Property(_) => Err(Dropped::NotMine),
    }
}

fn numeric(number: f64, exact: Option<i64>, read: &Read, kind: &Kind) -> Result<Value, Dropped> {
    let plain = read.scale.is_none() && read.offset.is_none();
    let number = number * read.scale.unwrap_or(1.0) + read.offset.unwrap_or(0.0);
    // Decimal factors leave dust such as 0.47300000000000003.
    let number = if plain || number.abs() >= 1e6 { number } else { (number * 1e9).round() / 1e9 };
    if !number.is_finite() {
        return Err(Dropped::WrongType);
    }
    if read.invalid.iter().filter_map(|sentinel| decimal(sentinel)).any(|sentinel| sentinel == number) {
        return Err(Dropped::Invalid);
    }
    match (kind, exact) {
        (Kind::Int, Some(exact)) if plain => Ok(Value::Int(exact)),
        (Kind::Int, _) if number.abs() < 9e15 => Ok(Value::Int(number.round() as i64)),
        (Kind::Float, _) => Ok(Value::Float(number)),
        _ => Err(Dropped::WrongType),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sipliance_driver::Channel;

    use super::*;
    use crate::device::profile::Map;

    fn topic(pointer: Option<&str>) -> Read {
        Read {
            source: Source::Topic { channel: Channel::new("t"), pointer: pointer.map(str::to_owned) },
            map: None,
            scale: None,
            offset: None,
            invalid: Vec::new(),
            above: None,
            hold: None,
            retained: true,
        }
    }

    fn read(read: &Read, kind: &Kind, bytes: &[u8]) -> Result<Value, Dropped> {
        value(read, kind, &Payload::new(bytes))
    }

    #[test]
    fn what_is_no_value_is_named() {
        let json = topic(Some("/E/P"));
        for (payload, want) in [
            (&b""[..], Dropped::Empty),
            (b"\xff\xfe", Dropped::NotText),
            (b"{", Dropped::NotJson),
            (b"{}", Dropped::Missing),
            (br#"{"E":{"P":null}}"#, Dropped::Missing),
            (br#"{"E":{"P":[1.3,2.1]}}"#, Dropped::WrongType),
            (br#"{"E":{"P":true}}"#, Dropped::WrongType),
            (br#"{"E":{"P":"nan"}}"#, Dropped::WrongType),
        ] {
            assert_eq!(read(&json, &Kind::Float, payload), Err(want), "{payload:?}");
        }
        assert_eq!(read(&json, &Kind::Float, br#"{"E":{"P":63}}"#), Ok(Value::Float(63.0)));
    }

    #[test]
    fn keys_with_slashes_and_colons_are_reached() {
        let read_it = topic(Some("/switch:0/a~1b"));
        assert_eq!(read(&read_it, &Kind::Int, br#"{"switch:0":{"a/b":7}}"#), Ok(Value::Int(7)));
    }

    #[test]
    fn a_map_refuses_what_it_does_not_know() {
        let map = Map::new(vec![("ON".into(), Value::Bool(true)), ("OFF".into(), Value::Bool(false))]);
        let mapped = Read { map: Some(map), ..topic(None) };
        assert_eq!(read(&mapped, &Kind::Bool, b"ON"), Ok(Value::Bool(true)));
        assert_eq!(read(&mapped, &Kind::Bool, b"on"), Err(Dropped::Unknown));
    }

    #[test]
    fn sentinels_count_before_and_after_scaling() {
        let probe = Read { scale: Some(0.001), invalid: vec!["85".into(), "-127".into()], ..topic(None) };
        assert_eq!(read(&probe, &Kind::Float, b"85000\n"), Err(Dropped::Invalid));
        assert_eq!(read(&probe, &Kind::Float, b"20687\n"), Ok(Value::Float(20.687)));
        let nan = Read { invalid: vec!["nan".into()], ..topic(None) };
        assert_eq!(read(&nan, &Kind::Float, b"nan"), Err(Dropped::Invalid));
    }

    #[test]
    fn numbers_keep_their_size() {
        assert_eq!(
            read(&topic(None), &Kind::Int, b"9007199254740993"),
            Ok(Value::Int(9_007_199_254_740_993))
        );
        assert_eq!(read(&topic(None), &Kind::Int, b"1e300"), Err(Dropped::WrongType));
        let kilo = Read { scale: Some(1000.0), ..topic(None) };
        assert_eq!(read(&kilo, &Kind::Int, b"00.473"), Ok(Value::Int(473)));
    }

    #[test]
    fn an_enum_takes_its_names_only() {
        let modes = Kind::Enum(["off", "heat"].iter().map(|name| Arc::from(*name)).collect());
        assert_eq!(read(&topic(None), &modes, b"heat"), Ok(Value::Enum("heat".into())));
        assert_eq!(read(&topic(None), &modes, b"dry"), Err(Dropped::Unknown));
    }
}

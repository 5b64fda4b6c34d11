//! What the draft leaves open, as it is understood here.
//!
//! * A result code is 0 for success, else a SIP status code.
//! * A value is a number with an optional unit behind it, or a word.
//! * A duration is a number of seconds, an ISO 8601 period or an RFC 3339 time.
//! * An event is a name, or a comparison with a number: `< 32 F`, also `temperature < 32F`.

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use super::super::senml;

/// The result code of success.
pub const OK: u16 = 0;

/// For how long a subscription is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// So long from now.
    For(SignedDuration),
    /// Until then.
    Until(Timestamp),
}

impl Lifetime {
    /// Reads a duration. Days in a period have 24 hours; months and years have no length.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Self::For(SignedDuration::from_secs(text.parse().ok()?)));
        }
        if let Ok(until) = text.parse::<Timestamp>() {
            return Some(Self::Until(until));
        }
        let span = Some(text).filter(|text| text.starts_with(['P', 'p']))?.parse::<Span>().ok()?;
        span.to_duration(SpanRelativeTo::days_are_24_hours()).ok().map(Self::For)
    }

    /// The whole seconds that are left; a time that has passed leaves none.
    pub fn seconds(self, now: Timestamp) -> u32 {
        let left = match self {
            Self::For(length) => length,
            Self::Until(until) => until.duration_since(now),
        };
        u32::try_from(left.as_secs().max(0)).unwrap_or(u32::MAX)
    }
}

/// A number with its unit, or a word.
#[derive(Clone, Debug, PartialEq)]
pub enum Quantity {
    /// A number, with its unit where it has one.
    Number(f64, Option<String>),
    /// Anything else.
    Word(String),
}

impl Quantity {
    /// Reads `7.4 W`, `25C`, `60` or `On`.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+')).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        match number.parse::<f64>() {
            Ok(number) if number.is_finite() => {
                Self::Number(number, Some(unit.trim().to_owned()).filter(|unit| !unit.is_empty()))
            }
            _ => Self::Word(text.to_owned()),
        }
    }
}

/// The value of a SenML record as a DMP value; `None` for a sum or bytes, which DMP cannot say.
pub fn of_senml(record: &senml::Record) -> Option<String> {
    match record.value.as_ref()? {
        senml::Value::Number(number) => Some(match &record.unit {
            Some(unit) => format!("{number} {unit}"),
            None => number.to_string(),
        }),
        senml::Value::Text(text) => Some(text.clone()),
        senml::Value::Bool(on) => Some(if *on { "On" } else { "Off" }.to_owned()),
        senml::Value::Data(_) => None,
    }
}

/// A DMP value as a SenML record: `On` and `Off` are true and false, a number keeps its unit.
pub fn to_senml(variable: &str, value: &str, time: Timestamp) -> senml::Record {
    let (value, unit) = match Quantity::parse(value) {
        Quantity::Number(number, unit) => (senml::Value::Number(number), unit),
        Quantity::Word(word) if word.eq_ignore_ascii_case("on") => (senml::Value::Bool(true), None),
        Quantity::Word(word) if word.eq_ignore_ascii_case("off") => (senml::Value::Bool(false), None),
        Quantity::Word(word) => (senml::Value::Text(word), None),
    };
    let name = variable.to_owned();
    senml::Record { name, unit, value: Some(value), sum: None, time, update: None }
}

/// What must happen to a variable.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// An event of that name.
    Named(String),
    /// A comparison of the variable with a number.
    Compare(Comparison, f64, Option<String>),
}

/// How a number compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
}

impl Condition {
    /// Reads an event.
    ///
    /// # Errors
    /// When a comparison is with something that is no number.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let Some(at) = text.find(['<', '>', '=', '!']) else { return Ok(Self::Named(text.to_owned())) };
        let operator = text.get(at..).unwrap_or_default();
        let (comparison, rest) = match operator.split_at_checked(1) {
            Some(("<", rest)) => (Comparison::Less, rest),
            Some((">", rest)) => (Comparison::Greater, rest),
            Some(("=", rest)) => (Comparison::Equal, rest),
            Some(("!", rest)) => (Comparison::NotEqual, rest.strip_prefix('=').ok_or("\"!\" without \"=\"")?),
            _ => return Err("an unknown comparison"),
        };
        match Quantity::parse(rest) {
            Quantity::Number(number, unit) => Ok(Self::Compare(comparison, number, unit)),
            Quantity::Word(_) => Err("a comparison with something that is no number"),
        }
    }

    /// Whether a number fulfils it; a name is fulfilled by no number.
    pub fn holds(&self, value: f64) -> bool {
        match self {
            Self::Named(_) => false,
            Self::Compare(Comparison::Less, bound, _) => value < *bound,
            Self::Compare(Comparison::Greater, bound, _) => value > *bound,
            Self::Compare(Comparison::Equal, bound, _) => value == *bound,
            Self::Compare(Comparison::NotEqual, bound, _) => value != *bound,
        }
    }
}

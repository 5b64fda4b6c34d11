//! What a value may be called on the wire.

use crate::device::profile::{Read, Source};
use crate::device::value::{Value, decimal};

/// Digits after the point that are tried.
const DECIMALS: usize = 6;
/// Widths that a number is padded to with zeros.
const WIDTHS: std::ops::RangeInclusive<usize> = 2..=10;

/// Text as the codec sees it, and whether a JSON document has it bare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) text: String,
    bare: bool,
}

impl Raw {
    pub(super) fn word(text: &str) -> Self {
        let bare = matches!(text, "true" | "false") || decimal(text).is_some();
        Self { text: text.to_owned(), bare }
    }

    fn quoted(text: &str) -> Self {
        Self { text: text.to_owned(), bare: false }
    }

    /// As it stands in a document.
    pub(super) fn json(&self) -> serde_json::Value {
        let bare = self.bare.then(|| serde_json::from_str(&self.text).ok()).flatten();
        bare.unwrap_or_else(|| self.text.clone().into())
    }
}

/// What could stand for `value`, the likeliest first. Which of them does, the codec knows.
pub(super) fn candidates(read: &Read, value: &Value) -> Vec<Raw> {
    if let (Some(limit), Value::Bool(above)) = (read.above, value) {
        let step = (limit.abs() / 2.0).max(1.0);
        let numbers = if *above { [limit + step, limit + 1.0] } else { [limit - step, limit] };
        return numbers.into_iter().flat_map(|number| numerals(read, number)).collect();
    }
    if let Some(map) = &read.map {
        let same = |candidate: &Value| match (candidate.number(), value.number()) {
            (Some(_), Some(_)) => true,
            _ => candidate == value,
        };
        return map.pairs().filter(|(_, of)| same(of)).map(|(text, _)| Raw::word(text)).collect();
    }
    match value {
        Value::Bool(value) => vec![Raw::word(if *value { "true" } else { "false" })],
        Value::Enum(text) | Value::Text(text) => vec![Raw::quoted(text)],
        Value::Int(number) if read.scale.is_none() && read.offset.is_none() => {
            let mut all = vec![Raw::word(&number.to_string())];
            all.extend(numerals(read, *number as f64));
            all
        }
        Value::Int(_) | Value::Float(_) => {
            let number = value.number().unwrap_or_default();
            numerals(read, (number - read.offset.unwrap_or(0.0)) / read.scale.unwrap_or(1.0))
        }
    }
}

/// How a raw number may be spelled.
fn numerals(read: &Read, number: f64) -> Vec<Raw> {
    let mut plain: Vec<String> = vec![number.to_string()];
    plain.extend((0..=DECIMALS).map(|digits| format!("{number:.digits$}")));
    // Decimal factors leave dust; what is near to a short number is that number.
    plain.insert(0, format!("{}", (number * 1e6).round() / 1e6));
    let mut all: Vec<Raw> = plain.iter().map(|text| Raw::word(text)).collect();
    match &read.source {
        Source::Frame { hex: true, .. } => all = hexadecimal(number),
        Source::Frame { .. } | Source::Obis { .. } => {
            for width in WIDTHS {
                for digits in 0..=3 {
                    all.push(Raw::quoted(&format!("{number:0width$.digits$}")));
                    all.push(Raw::quoted(&format!("{number:+0width$.digits$}")));
                }
            }
        }
        _ => {}
    }
    all
}

fn hexadecimal(number: f64) -> Vec<Raw> {
    let whole = number.round();
    if !(0.0..9e15).contains(&whole) {
        return Vec::new();
    }
    let whole = whole as u64;
    let mut all = Vec::new();
    for width in [2, 4, 6, 8, 10, 12, 16, 1, 3] {
        let digits = format!("{whole:0width$X}");
        let pairs: Vec<&str> = (0..digits.len()).step_by(2).filter_map(|at| digits.get(at..at + 2)).collect();
        all.push(Raw::quoted(&digits));
        all.push(Raw::quoted(&pairs.join(" ")));
        all.push(Raw::quoted(&digits.to_lowercase()));
    }
    all
}

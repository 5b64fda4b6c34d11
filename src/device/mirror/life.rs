//! Values that an appliance could have when nobody asked for others.

use std::sync::Arc;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::device::profile::{Model, Property, Source};
use crate::device::value::{Kind, Value};

/// Names for a state in which nothing happens, the quietest first.
const QUIET: [&str; 9] =
    ["closed", "normal", "feeding", "still", "stopped", "standby", "off", "idle", "online"];

/// How far a reading strays from its middle.
const STRAY: f64 = 0.03;

/// What a property is at the beginning.
pub(super) fn first(model: &Model, property: &Property) -> Value {
    match &property.kind {
        Kind::Bool => Value::Bool(matches!(property.class.as_deref(), Some("reachable"))),
        Kind::Enum(names) => {
            let quiet = QUIET.iter().find_map(|word| names.iter().find(|name| ***name == **word));
            Value::Enum(quiet.or(names.first()).cloned().unwrap_or_else(|| Arc::from("")))
        }
        Kind::Int | Kind::Float => number(property, middle(model, property)),
        Kind::Text => Value::Text("simulated".into()),
        Kind::Time => Value::Text("2026-03-01T12:00:00Z".into()),
    }
}

/// What it is a little later; `None` where it stays.
pub(super) fn later(
    model: &Model,
    property: &Property,
    known: &Value,
    off: bool,
    rng: &mut ChaCha8Rng,
) -> Option<Value> {
    let now = known.number().filter(|_| property.write.is_none())?;
    let next = match property.class.as_deref() {
        // As many digits as it has, so that something is seen to grow.
        Some("energy" | "gas" | "water") => {
            let least = 10_f64.powi(-i32::from(property.decimals.unwrap_or(1)));
            now + if off || rng.random_range(0..4) > 0 { 0.0 } else { least }
        }
        Some("power" | "current") if off => 0.0,
        Some("battery" | "mailbox") => return None,
        Some("temperature" | "humidity" | "power" | "current" | "voltage" | "frequency" | "illuminance") => {
            let middle = middle(model, property);
            middle * (1.0 + STRAY * rng.random_range(-1.0..1.0))
        }
        _ => return None,
    };
    Some(number(property, next))
}

/// A number that a person would not wonder about.
fn middle(model: &Model, property: &Property) -> f64 {
    if let Some(limit) = warned_above(model, property) {
        // Nothing that is told as an alarm or as work begins by itself.
        return limit - (limit.abs() * 0.4).max(3.0);
    }
    let usual = match property.class.as_deref() {
        Some("temperature") => 21.0,
        Some("humidity") => 48.0,
        Some("power") if given_back(property) => 0.0,
        Some("power") => 60.0,
        Some("current") => 0.3,
        Some("voltage") => 230.0,
        Some("frequency") => 50.0,
        Some("energy") => 1234.5,
        Some("gas" | "water") => 345.6,
        Some("battery") => 87.0,
        Some("illuminance") => 140.0,
        _ => return property.range.map_or(1.0, |(low, high)| (low + high) / 2.0),
    };
    match property.range {
        Some((low, high)) if usual < low || usual > high => (low + high) / 2.0,
        _ => usual,
    }
}

/// Nobody draws power and gives it back at the same time.
fn given_back(property: &Property) -> bool {
    ["_out", "export", "return"].iter().any(|part| property.id.contains(part))
}

/// The limit of a bool that reads the same number.
fn warned_above(model: &Model, property: &Property) -> Option<f64> {
    let mine = property.reads.first()?;
    let reads = model.properties.iter().flat_map(|other| &other.reads);
    reads.filter(|read| same_place(&read.source, &mine.source)).find_map(|read| read.above)
}

/// Whether two reads look at the same number.
pub(super) fn same_place(a: &Source, b: &Source) -> bool {
    match (a, b) {
        (Source::Topic { channel: a, pointer: at_a }, Source::Topic { channel: b, pointer: at_b }) => {
            (a, at_a) == (b, at_b)
        }
        (Source::Registers(a), Source::Registers(b)) => a == b,
        (Source::Frame { pattern: a, .. }, Source::Frame { pattern: b, .. }) => a.as_str() == b.as_str(),
        (Source::Obis { code: a, field: at_a, .. }, Source::Obis { code: b, field: at_b, .. }) => {
            (a, at_a) == (b, at_b)
        }
        (Source::File { channel: a, .. }, Source::File { channel: b, .. })
        | (Source::Line { channel: a, .. }, Source::Line { channel: b, .. }) => a == b,
        _ => false,
    }
}

/// A number of the property's kind, within its range and on its steps.
fn number(property: &Property, number: f64) -> Value {
    let (low, high) = property.range.unwrap_or((f64::MIN, f64::MAX));
    let from = if property.range.is_some() { low } else { 0.0 };
    let stepped = match property.step {
        Some(step) if step > 0.0 => ((number - from) / step).round() * step + from,
        _ => number,
    };
    let number = stepped.clamp(low, high);
    match &property.kind {
        Kind::Int => Value::Int(number.round() as i64),
        _ => {
            let digits = 10_f64.powi(i32::from(property.decimals.unwrap_or(1)));
            Value::Float((number * digits).round() / digits)
        }
    }
}

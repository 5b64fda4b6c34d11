//! What a gateway means by what it sends: the profile's writes, backwards.

use std::sync::Arc;

use bytes::Bytes;
use sipliance_driver::{Channel, Op};

use super::store::Store;
use crate::device::codec::{self, ELSEWHERE, SERIAL, compose};
use crate::device::profile::{Model, Property, Target, Template, Write};
use crate::device::value::{Kind, Value};

/// Stands for what is put into a placeholder; no profile can contain it.
const HOLE: &str = "\u{0}";

/// The property that `op` sets, and to what.
pub(super) fn set(model: &Model, op: &Op) -> Option<(usize, Value)> {
    let (Op::Write { channel, payload, .. } | Op::Ask { channel, payload, .. }) = op else { return None };
    model.properties.iter().enumerate().find_map(|(index, property)| {
        let write = property.write.as_ref()?;
        if channel_of(write) != *channel {
            return None;
        }
        let same = |value: &Value| {
            let sent = compose(write, &[("value".into(), value.clone())], None);
            sent.is_ok_and(|sent| sent.payload == *payload)
        };
        possible(property, write, payload).into_iter().find(same).map(|value| (index, value))
    })
}

/// The actions that `op` is a step of, and which.
pub(super) fn steps<'m>(model: &'m Model, op: &'m Op) -> impl Iterator<Item = (usize, usize)> + 'm {
    model.actions.iter().enumerate().flat_map(move |(index, action)| {
        let mine = action.steps.iter().enumerate().filter(move |(_, step)| is_step(step, op));
        mine.map(move |(step, _)| (index, step))
    })
}

fn channel_of(write: &Write) -> Channel {
    match &write.target {
        Target::Topic(channel, _)
        | Target::Json(channel, _)
        | Target::Register { channel, .. }
        | Target::Line(channel)
        | Target::Pulse(channel, _) => channel.clone(),
        Target::Frame(_) | Target::Hex(_) => Channel::new(SERIAL),
        Target::Say(_) => Channel::new(ELSEWHERE),
    }
}

/// Values that these bytes could mean.
fn possible(property: &Property, write: &Write, payload: &Bytes) -> Vec<Value> {
    match &property.kind {
        Kind::Bool => vec![Value::Bool(true), Value::Bool(false)],
        Kind::Enum(names) => names.iter().cloned().map(Value::Enum).collect(),
        Kind::Int | Kind::Float | Kind::Text | Kind::Time => {
            let Some(text) = filled_in(write, payload) else { return Vec::new() };
            let mapped = write.maps.iter().filter_map(|(_, map)| map.value(&text)).cloned();
            let scaled = scaled(write, &text).map(|text| numbers(&property.kind, &text)).unwrap_or_default();
            mapped.chain(scaled).chain(numbers(&property.kind, &text)).collect()
        }
    }
}

/// A number on the wire as the gateway had it before it was scaled; a register's was taken back already.
fn scaled(write: &Write, text: &str) -> Option<String> {
    if write.scale.is_none() && write.offset.is_none() || matches!(write.target, Target::Register { .. }) {
        return None;
    }
    let real: Option<f64> = text.trim().parse().ok();
    let raw = real.or_else(|| i64::from_str_radix(text.trim(), 16).ok().map(|hex| hex as f64))?;
    let number = raw * write.scale.unwrap_or(1.0) + write.offset.unwrap_or(0.0);
    Some(((number * 1e9).round() / 1e9).to_string())
}

fn numbers(kind: &Kind, text: &str) -> Vec<Value> {
    let real: Option<f64> = text.trim().parse().ok();
    let hex = i64::from_str_radix(text.trim(), 16).ok();
    match kind {
        Kind::Int => {
            let whole = text.trim().parse().ok();
            let rounded = real.filter(|real| real.abs() < 9e15).map(|real| real.round() as i64);
            [whole, rounded, hex].into_iter().flatten().map(Value::Int).collect()
        }
        Kind::Float => [real, hex.map(|hex| hex as f64)].into_iter().flatten().map(Value::Float).collect(),
        _ => vec![Value::Text(text.into())],
    }
}

/// What was put into the placeholder.
fn filled_in(write: &Write, payload: &Bytes) -> Option<String> {
    let text = || std::str::from_utf8(payload).ok();
    match &write.target {
        Target::Topic(_, template) | Target::Frame(template) | Target::Say(template) => {
            between(template, text()?)
        }
        Target::Hex(template) => between(template, &codec::hex(payload)),
        Target::Register { form, .. } => {
            let (scale, offset) = (write.scale.unwrap_or(1.0), write.offset.unwrap_or(0.0));
            Store::meant(form, scale, offset, payload).map(|number| {
                // Decimal factors leave dust.
                ((number * 1e9).round() / 1e9).to_string()
            })
        }
        Target::Json(_, body) => {
            let hole = |_: &_| Ok::<_, ()>(serde_json::Value::from(HOLE));
            let shape = body.fill(&mut { hole }).ok()?;
            let document = serde_json::from_slice(payload).ok()?;
            in_document(&shape, &document)
        }
        Target::Line(_) | Target::Pulse(..) => None,
    }
}

fn between(template: &Template, text: &str) -> Option<String> {
    let shape = template.fill(|_| Ok::<_, ()>(HOLE.to_owned())).ok()?;
    between_texts(&shape, text)
}

fn between_texts(shape: &str, text: &str) -> Option<String> {
    let (before, after) = shape.split_once(HOLE)?;
    text.strip_prefix(before)?.strip_suffix(after).map(str::to_owned)
}

fn in_document(shape: &serde_json::Value, document: &serde_json::Value) -> Option<String> {
    use serde_json::Value as Json;
    match (shape, document) {
        (Json::String(hole), Json::String(text)) => between_texts(hole, text),
        (Json::String(hole), other) if hole == HOLE => Some(other.to_string()),
        (Json::Array(shapes), Json::Array(items)) => {
            shapes.iter().zip(items).find_map(|(shape, item)| in_document(shape, item))
        }
        (Json::Object(shapes), Json::Object(items)) => {
            shapes.iter().find_map(|(key, shape)| in_document(shape, items.get(key)?))
        }
        _ => None,
    }
}

/// Whether `op` is what this step sends, whatever its arguments are.
fn is_step(write: &Write, op: &Op) -> bool {
    let (channel, payload) = match (op, &write.target) {
        (Op::Pulse { channel, on, .. }, Target::Pulse(line, time)) => return channel == line && on == time,
        (Op::Write { channel, payload, .. } | Op::Ask { channel, payload, .. }, _) => (channel, payload),
        _ => return false,
    };
    if channel_of(write) != *channel {
        return false;
    }
    let any = |shape: Option<String>, text: &str| shape.is_some_and(|shape| looks_like(&shape, text));
    let shape = |template: &Template| template.fill(|_| Ok::<_, ()>(HOLE.to_owned())).ok();
    let text = std::str::from_utf8(payload).ok();
    match &write.target {
        Target::Topic(_, template) | Target::Frame(template) | Target::Say(template) => {
            text.is_some_and(|text| any(shape(template), text))
        }
        // An odd digit more or less would be another byte.
        Target::Hex(template) => {
            let bare = |text: String| text.split_whitespace().collect::<String>().to_uppercase();
            any(shape(template).map(bare), &bare(codec::hex(payload)))
        }
        Target::Json(_, body) => {
            let hole = |_: &_| Ok::<_, ()>(serde_json::Value::from(HOLE));
            let shape = body.fill(&mut { hole }).ok();
            let document = serde_json::from_slice(payload).ok();
            shape.zip(document).is_some_and(|(shape, document)| same_shape(&shape, &document))
        }
        Target::Register { .. } => [0.0, 1.0].iter().any(|number| {
            let values: [(Arc<str>, Value); 1] = [("value".into(), Value::Float(*number))];
            compose(write, &values, None).is_ok_and(|sent| sent.payload == *payload)
        }),
        Target::Line(_) | Target::Pulse(..) => false,
    }
}

/// Whether `text` is `shape` with anything in its holes.
fn looks_like(shape: &str, text: &str) -> bool {
    let mut parts = shape.split(HOLE);
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        if let Some(between) = last.replace(part) {
            match rest.split_once(between) {
                Some((_, behind)) => rest = behind,
                None => return false,
            }
        }
    }
    last.map_or(rest.is_empty(), |last| rest.ends_with(last))
}

fn same_shape(shape: &serde_json::Value, document: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (shape, document) {
        (Json::String(shape), Json::String(text)) => looks_like(shape, text),
        (Json::String(shape), _) if shape == HOLE => true,
        (Json::Array(shapes), Json::Array(items)) => {
            shapes.len() == items.len()
                && shapes.iter().zip(items).all(|(shape, item)| same_shape(shape, item))
        }
        (Json::Object(shapes), Json::Object(items)) => {
            shapes.len() == items.len()
                && shapes
                    .iter()
                    .all(|(key, shape)| items.get(key).is_some_and(|item| same_shape(shape, item)))
        }
        _ => shape == document,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_take_anything_and_the_rest_is_fixed() {
        for (shape, text, want) in [
            ("PWR \0", "PWR ON", true),
            ("PWR \0", "LAMP?", false),
            ("\0,\0;", "1,2;", true),
            ("\0,\0;", "1;", false),
            ("open", "open", true),
            ("open", "opened", false),
        ] {
            assert_eq!(looks_like(shape, text), want, "{shape:?} {text:?}");
        }
        assert_eq!(between_texts("MV\0", "MV07").as_deref(), Some("07"));
    }
}

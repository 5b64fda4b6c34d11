//! From values to what is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::Channel;

use super::{ELSEWHERE, SERIAL, modbus, unhex};
use crate::device::profile::{Hole, HoleForm, Target, Write};
use crate::device::value::{Value, decimal};

/// One thing to hand to a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) channel: Channel,
    pub(crate) payload: Bytes,
    pub(crate) delivery: Delivery,
}

/// How it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Written.
    Plain,
    /// Written, and a reply is waited for.
    Reply(Duration),
    /// A pulse; the payload is empty.
    Pulse(Duration),
}

/// What `write` sends when its placeholders have `values`; the error is for a person.
pub(crate) fn compose(
    write: &Write,
    values: &[(Arc<str>, Value)],
    reply: Option<Duration>,
) -> Result<Outgoing, String> {
    let values: Vec<(Arc<str>, Value)> =
        values.iter().map(|(name, value)| (name.clone(), unscaled(write, value))).collect();
    let values = values.as_slice();
    let (channel, payload) = match &write.target {
        Target::Topic(channel, template) => {
            (channel.clone(), template.fill(|hole| filled(write, hole, values))?.into())
        }
        Target::Frame(template) => {
            (Channel::new(SERIAL), template.fill(|hole| filled(write, hole, values))?.into())
        }
        Target::Hex(template) => {
            let text = template.fill(|hole| filled(write, hole, values))?;
            let bytes = unhex(&text).ok_or_else(|| format!("`{text}` is not whole bytes in hex"))?;
            (Channel::new(SERIAL), bytes.into())
        }
        Target::Register { channel, form } => {
            let (_, value) = values.first().ok_or_else(|| "the value is missing".to_owned())?;
            let mapped = match write.maps.first() {
                None => value.clone(),
                Some(_) => {
                    let hole = Hole { name: "value".into(), form: HoleForm::Plain };
                    let (text, _) = wire(write, &hole, value)?;
                    Value::Float(decimal(&text).ok_or_else(|| format!("`{text}` is no number"))?)
                }
            };
            (channel.clone(), modbus::encode(form, &mapped)?)
        }
        Target::Json(channel, body) => {
            let document = body.fill(&mut |hole| typed(write, hole, values))?;
            (channel.clone(), document.to_string().into())
        }
        Target::Say(template) => {
            (Channel::new(ELSEWHERE), template.fill(|hole| filled(write, hole, values))?.into())
        }
        Target::Line(channel) => {
            let active = matches!(values.first(), Some((_, Value::Bool(true))));
            (channel.clone(), Bytes::from_static(if active { b"1" } else { b"0" }))
        }
        Target::Pulse(channel, on) => {
            let (channel, delivery) = (channel.clone(), Delivery::Pulse(*on));
            return Ok(Outgoing { channel, payload: Bytes::new(), delivery });
        }
    };
    let delivery = match reply {
        Some(timeout) if matches!(write.target, Target::Frame(_) | Target::Hex(_)) => {
            Delivery::Reply(timeout)
        }
        _ => Delivery::Plain,
    };
    Ok(Outgoing { channel, payload, delivery })
}

/// A number as it is on the wire, where a reading of it is scaled. Ints and floats alike become floats:
/// what is whole is written without a point.
fn unscaled(write: &Write, value: &Value) -> Value {
    match value.number() {
        Some(number) if write.scale.is_some() || write.offset.is_some() => {
            let raw = (number - write.offset.unwrap_or(0.0)) / write.scale.unwrap_or(1.0);
            // Decimal factors leave dust such as 214.99999999999997.
            Value::Float(if raw.abs() < 1e6 { (raw * 1e9).round() / 1e9 } else { raw })
        }
        _ => value.clone(),
    }
}

fn value_of<'v>(hole: &Hole, values: &'v [(Arc<str>, Value)]) -> Result<&'v Value, String> {
    let found = values.iter().find(|(name, _)| *name == hole.name);
    found.map(|(_, value)| value).ok_or_else(|| format!("{} is missing", hole.name))
}

/// The wire text of a value, and whether a map made it.
fn wire(write: &Write, hole: &Hole, value: &Value) -> Result<(String, bool), String> {
    let Some((_, map)) = write.maps.iter().find(|(name, _)| *name == hole.name) else {
        return Ok((value.plain(), false));
    };
    match map.wire(value) {
        Some(text) => Ok((text.to_string(), true)),
        None => {
            let possible: Vec<String> =
                map.values().map(|value| value.show(None, None).to_string()).collect();
            Err(format!("{} cannot be set; possible: {}", value.show(None, None), possible.join(", ")))
        }
    }
}

fn filled(write: &Write, hole: &Hole, values: &[(Arc<str>, Value)]) -> Result<String, String> {
    let (text, _) = wire(write, hole, value_of(hole, values)?)?;
    let text = rounded(write, hole, text);
    match hole.form {
        HoleForm::Plain | HoleForm::Text => Ok(text),
        HoleForm::Int => whole(&text).map(|number| number.to_string()),
        HoleForm::Bool => truth(&text).map(|value| value.to_string()),
        HoleForm::Pad(width) => positive(&text).map(|n| format!("{n:0width$}", width = usize::from(width))),
        HoleForm::Hex(width) => {
            let digits = format!("{:0width$X}", positive(&text)?, width = usize::from(width));
            let fits = digits.len() == usize::from(width);
            fits.then_some(digits).ok_or_else(|| format!("{text} does not fit into {width} digits of hex"))
        }
    }
}

fn typed(write: &Write, hole: &Hole, values: &[(Arc<str>, Value)]) -> Result<serde_json::Value, String> {
    let value = value_of(hole, values)?;
    let (text, mapped) = wire(write, hole, value)?;
    let text = rounded(write, hole, text);
    Ok(match (hole.form, value) {
        (HoleForm::Int, _) => whole(&text)?.into(),
        (HoleForm::Bool, _) => truth(&text)?.into(),
        (HoleForm::Plain, Value::Bool(value)) if !mapped => (*value).into(),
        (HoleForm::Plain, Value::Int(number)) if !mapped => (*number).into(),
        (HoleForm::Plain, Value::Float(number)) if !mapped => match whole(&text) {
            Ok(whole) => whole.into(),
            Err(_) => (*number).into(),
        },
        (HoleForm::Pad(_) | HoleForm::Hex(_), _) => filled(write, hole, values)?.into(),
        (HoleForm::Plain | HoleForm::Text, _) => text.into(),
    })
}

/// Where whole numbers are wanted, a scaled one is rounded to the nearest.
fn rounded(write: &Write, hole: &Hole, text: String) -> String {
    let scaled = write.scale.is_some() || write.offset.is_some();
    match (hole.form, decimal(&text)) {
        (HoleForm::Int | HoleForm::Pad(_) | HoleForm::Hex(_), Some(number)) if scaled => {
            number.round().to_string()
        }
        _ => text,
    }
}

fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text} is not a whole number"))
}

fn positive(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is not a whole number from 0 on"))
}

fn truth(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| format!("{text} is not true or false"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::profile::{Body, Map, Template};

    fn write(target: Target, maps: Vec<(Arc<str>, Map)>) -> Write {
        Write { maps, ..Write::plain(target) }
    }

    fn sent(write: &Write, value: Value) -> Result<String, String> {
        let sent = compose(write, &[("value".into(), value)], None)?;
        Ok(String::from_utf8_lossy(&sent.payload).into_owned())
    }

    #[test]
    fn numbers_are_padded_and_values_mapped() {
        let volume = write(Target::Frame(Template::read("MV<value:02>").expect("reads")), Vec::new());
        assert_eq!(sent(&volume, Value::Int(7)).as_deref(), Ok("MV07"));
        assert!(sent(&volume, Value::Int(-7)).is_err());
        let map = Map::new(vec![("ON".into(), Value::Bool(true))]);
        let power =
            write(Target::Frame(Template::read("PW<value>").expect("reads")), vec![("value".into(), map)]);
        assert_eq!(sent(&power, Value::Bool(true)).as_deref(), Ok("PWON"));
        assert_eq!(sent(&power, Value::Bool(false)), Err("off cannot be set; possible: on".to_owned()));
    }

    #[test]
    fn a_scaled_number_goes_back_as_it_came() {
        let percent = |text: &str| Write {
            scale: Some(100.0 / 254.0),
            ..write(Target::Frame(Template::read(text).expect("reads")), Vec::new())
        };
        assert_eq!(sent(&percent("<value:int>"), Value::Int(50)).as_deref(), Ok("127"));
        assert_eq!(sent(&percent("<value:02x>"), Value::Int(33)).as_deref(), Ok("54"));
        let fahrenheit = Write {
            scale: Some(0.1),
            offset: Some(-40.0),
            ..write(Target::Frame(Template::read("<value>").expect("reads")), Vec::new())
        };
        assert_eq!(sent(&fahrenheit, Value::Float(21.5)).as_deref(), Ok("615"));
        assert_eq!(sent(&fahrenheit, Value::Float(21.55)).as_deref(), Ok("615.5"));
    }

    #[test]
    fn a_document_keeps_its_types() {
        let hole = |form| Body::Hole(Hole { name: "value".into(), form });
        let body = Body::Map(vec![("a".into(), hole(HoleForm::Plain)), ("b".into(), hole(HoleForm::Text))]);
        let write = write(Target::Json(Channel::new("t"), body), Vec::new());
        assert_eq!(sent(&write, Value::Float(22.0)).as_deref(), Ok(r#"{"a":22,"b":"22"}"#));
        assert_eq!(sent(&write, Value::Float(21.5)).as_deref(), Ok(r#"{"a":21.5,"b":"21.5"}"#));
        assert_eq!(sent(&write, Value::Bool(true)).as_deref(), Ok(r#"{"a":true,"b":"true"}"#));
    }
}

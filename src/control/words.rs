//! The words of a MESSAGE, a DO or a dialled number: what was said to one device.
//!
//! ```text
//! on | off | toggle [property]        the main property, or a named one
//! set <property> <value> | <property> <value>
//! <value>                             of the main property, or of the only enum that has it
//! <action> [value …] | <action> [argument=value …]
//! status | help
//! ```
//! Case and extra space do not matter.

use std::sync::Arc;

use crate::config::fault::nearest;
use crate::device::appliance::{Device, show};
use crate::device::command::Order;
use crate::device::profile::{Action, Property};
use crate::device::value::{Kind, Value, shorten};
use crate::limits::WORDS_BYTES;

/// What was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A command.
    Order(Order),
    /// The opposite of what is, as a command: said of one appliance, never of several.
    Toggle(Order),
    /// A question for the state.
    Status,
    /// A question for the words.
    Help,
}

/// What was not understood, or cannot be meant now, in words that teach what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(pub String);

type Understood = Result<Said, NotUnderstood>;

/// Understands what was said to `device`. `toggle` becomes the opposite of the value that is known for
/// certain now, so that a command that is repeated does the same thing twice.
pub fn understand(device: &Device, text: &str) -> Understood {
    if text.len() > WORDS_BYTES {
        return Err(NotUnderstood(format!("that is too long for a command. {}", help(device))));
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let first = words.first().map(|word| word.to_lowercase()).unwrap_or_default();
    let rest = words.get(1..).unwrap_or_default();
    match (first.as_str(), rest) {
        ("" | "status" | "state" | "?", []) => return Ok(Said::Status),
        ("help", []) => return Ok(Said::Help),
        ("toggle", _) => return toggle(device, rest),
        ("set", [name, value @ ..]) if !value.is_empty() => {
            let (property, rest) = longest_property(device, name, value);
            return match property {
                Some(property) => set(property, rest),
                None => Err(unknown(device, name)),
            };
        }
        ("set", _) => {
            return Err(NotUnderstood(format!("say set, then what, then the value. {}", help(device))));
        }
        _ => {}
    }
    if let Some(action) = device.model().actions.iter().find(|action| is(&action.id, &first)) {
        return act(action, rest);
    }
    if let Some(property) = device.model().properties.iter().find(|property| is(&property.id, &first)) {
        return if rest.is_empty() { Ok(Said::Status) } else { set(property, rest) };
    }
    match main(device).filter(|_| rest.is_empty()) {
        Some(property) => match on_off(property, &first).or_else(|| property.kind.parse(&first).ok()) {
            Some(value) => Ok(order(property, value)),
            None => only_enum(device, &first),
        },
        None => Err(unknown(device, &first)),
    }
}

/// A bare word that is a value of exactly one enum that can be set.
fn only_enum(device: &Device, word: &str) -> Understood {
    let settable = device.model().properties.iter().filter(|property| property.write.is_some());
    let enums = settable.filter(|property| matches!(property.kind, Kind::Enum(_)));
    let mut found = enums.filter_map(|property| Some(order(property, property.kind.parse(word).ok()?)));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        _ => Err(unknown(device, word)),
    }
}

/// The words that `device` knows.
pub fn help(device: &Device) -> String {
    let mut words: Vec<String> = Vec::new();
    let main = main(device);
    match main.map(|property| &property.kind) {
        Some(Kind::Bool) => words.extend(["on", "off", "toggle"].map(str::to_owned)),
        Some(Kind::Enum(_)) => words.extend(main.map(possible).unwrap_or_default()),
        _ => {}
    }
    for action in &device.model().actions {
        let args = action.args.iter().map(|arg| format!(" <{}>", arg.id)).collect::<String>();
        words.push(format!("{}{args}", action.id));
    }
    let settable = device.model().properties.iter().filter(|property| property.write.is_some());
    for property in settable.filter(|property| {
        main.is_none_or(|main| main.id != property.id) || !matches!(property.kind, Kind::Bool | Kind::Enum(_))
    }) {
        words.push(format!("set {} <{}>", property.id, value_hint(property)));
    }
    words.extend(["status", "help"].map(str::to_owned));
    format!("I know: {}", words.join(", "))
}

fn value_hint(property: &Property) -> String {
    match (&property.kind, property.range) {
        (Kind::Bool, _) => "on|off".to_owned(),
        (Kind::Enum(_), _) => possible(property).join("|"),
        (_, Some((low, high))) => format!("{low}\u{2026}{high}"),
        (kind, None) => kind.accepted(),
    }
}

/// The values of an enum that can be commanded: a map of its write may leave some out (`warming`).
pub(crate) fn possible(property: &Property) -> Vec<String> {
    let Kind::Enum(values) = &property.kind else { return Vec::new() };
    let map =
        property.write.as_ref().and_then(|write| write.maps.iter().find(|(name, _)| &**name == "value"));
    let can = |value: &Arc<str>| map.is_none_or(|(_, map)| map.wire(&Value::Enum(value.clone())).is_some());
    values.iter().filter(|value| can(value)).map(|value| value.to_string()).collect()
}

fn is(id: &str, word: &str) -> bool {
    id.eq_ignore_ascii_case(word)
}

/// The property that bare words are about: the main one, when it can be set, else the first settable.
fn main(device: &Device) -> Option<&Property> {
    let model = device.model();
    model
        .main()
        .filter(|property| property.write.is_some())
        .or_else(|| model.properties.iter().find(|property| property.write.is_some()))
}

/// The property named by the first word, or by its name for people, which may have spaces.
fn longest_property<'d, 't>(
    device: &'d Device,
    first: &'t str,
    rest: &'t [&'t str],
) -> (Option<&'d Property>, &'t [&'t str]) {
    let properties = &device.model().properties;
    for length in (1..rest.len()).rev() {
        let name =
            std::iter::once(first).chain(rest.iter().take(length).copied()).collect::<Vec<_>>().join(" ");
        if let Some(property) = properties.iter().find(|property| is(&property.name, &name)) {
            return (Some(property), rest.get(length..).unwrap_or_default());
        }
    }
    (properties.iter().find(|property| is(&property.id, first) || is(&property.name, first)), rest)
}

/// `on` and `off` of an enum that has such a value, or whose opposite is called `standby`.
fn on_off(property: &Property, word: &str) -> Option<Value> {
    let Kind::Enum(values) = &property.kind else { return None };
    let named = |name: &str| values.iter().find(|value| is(value, name)).cloned().map(Value::Enum);
    match word {
        "off" => named("off").or_else(|| named("standby")),
        "close" => named("closed"),
        _ => None,
    }
}

fn order(property: &Property, value: Value) -> Said {
    Said::Order(Order::Set { property: property.id.clone(), value })
}

fn set(property: &Property, words: &[&str]) -> Understood {
    if property.write.is_none() {
        return Err(NotUnderstood(format!("{} can only be read", property.name)));
    }
    // `set target to 21 °C` is said by people and means no more than the number.
    let words = match words {
        ["to" | "=", rest @ ..] if !rest.is_empty() => rest,
        words => words,
    };
    let text = words.join(" ");
    let bare = match (&property.unit, property.kind.parse(&text)) {
        (Some(unit), Err(_)) => text.strip_suffix(&**unit).map(str::trim_end).unwrap_or(&text),
        _ => &text,
    };
    match on_off(property, &bare.to_lowercase()).map_or_else(|| property.kind.parse(bare), Ok) {
        Ok(value) => Ok(order(property, value)),
        Err(why) => Err(NotUnderstood(format!("{}: {why}", property.name))),
    }
}

fn toggle(device: &Device, rest: &[&str]) -> Understood {
    let property = match rest {
        [] => main(device),
        [name] => device.model().properties.iter().find(|property| is(&property.id, name)),
        _ => None,
    };
    let Some(property) = property.filter(|property| property.kind == Kind::Bool && property.write.is_some())
    else {
        return Err(NotUnderstood(format!("there is nothing to toggle here. {}", help(device))));
    };
    let index = device.model().property(&property.id);
    match index.and_then(|index| device.shadow().certain(index)) {
        Some(Value::Bool(state)) => {
            Ok(Said::Toggle(Order::Set { property: property.id.clone(), value: Value::Bool(!state) }))
        }
        _ => {
            let (on, off) = (show(property, &Value::Bool(true)), show(property, &Value::Bool(false)));
            Err(NotUnderstood(format!(
                "whether {} is {on} or {off} is not known for certain now; say on or off",
                property.name
            )))
        }
    }
}

fn act(action: &Action, words: &[&str]) -> Understood {
    let teach = || {
        let args: Vec<String> =
            action.args.iter().map(|arg| format!("<{}: {}>", arg.id, arg.kind.accepted())).collect();
        NotUnderstood(format!("say {} {}", action.id, args.join(" ")).trim_end().to_owned())
    };
    if action.args.is_empty() && !words.is_empty() {
        return Err(NotUnderstood(format!("say {} alone, with nothing behind it", action.id)));
    }
    if words.len() > action.args.len() {
        return Err(teach());
    }
    let mut args: Vec<(Arc<str>, Value)> = Vec::new();
    for (position, word) in words.iter().enumerate() {
        let named = word.split_once('=');
        let found = match named {
            Some((name, _)) => action.args.iter().find(|arg| is(&arg.id, name)),
            None => action.args.get(position),
        };
        let (Some(arg), text) = (found, named.map_or(*word, |(_, value)| value)) else { return Err(teach()) };
        match arg.kind.parse(text) {
            Ok(value) => args.push((arg.id.clone(), value)),
            Err(why) => return Err(NotUnderstood(format!("{}: {why}", arg.id))),
        }
    }
    Ok(Said::Order(Order::Do { action: action.id.clone(), args }))
}

fn unknown(device: &Device, word: &str) -> NotUnderstood {
    let model = device.model();
    let ids = model.properties.iter().map(|property| &*property.id);
    let known = ids.chain(model.actions.iter().map(|action| &*action.id));
    let switch: &[&str] = match main(device).map(|property| &property.kind) {
        Some(Kind::Bool) => &["on", "off", "toggle"],
        _ => &[],
    };
    let all = known.chain(switch.iter().copied()).chain(["status", "set", "help"]);
    let near = match nearest(word, all) {
        Some(near) => format!(" Did you mean {near}?"),
        None => String::new(),
    };
    NotUnderstood(format!("I do not know \u{201c}{}\u{201d}.{near} {}", shorten(word), help(device)))
}

#[cfg(test)]
mod tests;

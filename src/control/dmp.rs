//! DMP (draft-khurana-dmp-appliances-00) in terms of one appliance: actions become orders, variables
//! properties. Case and punctuation do not matter: `SetLevel`, `set-level` and `set level` are one.

use crate::body::dmp::mini::Mini;
use crate::body::dmp::terms::{Condition, Lifetime, Quantity};
use crate::body::dmp::{Action, Document, Found, Watch};
use crate::config::DeviceConfig;
use crate::control::words::{self, Said};
use crate::device::appliance::Device;
use crate::device::command::Order;
use crate::device::profile::Property;
use crate::device::value::{Kind, Value, shorten};
use crate::event::EVENTS;

/// Why something is not done: a result code, which is a SIP status, and words.
pub type No = (u16, String);

/// What an action of one appliance comes down to.
#[derive(Clone, Debug, PartialEq)]
pub enum Task {
    /// Something to do.
    Order(Order),
    /// The opposite of what is: for one appliance alone.
    Toggle(Order),
    /// Variables to tell.
    Query(Vec<String>),
    /// A wish to watch these, which only SUBSCRIBE fulfils.
    Watch(Vec<String>),
}

/// The letters and digits of a name, in lower case: what names are compared by.
pub fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether `<Device>` can mean this appliance: its id, name, nickname or kind, alone or with its room.
pub fn fits(label: &str, device: &DeviceConfig) -> bool {
    let label =
        plain(label.rsplit_once(':').map_or(label, |(_, rest)| rest).split('@').next().unwrap_or(label));
    let names = [device.id.as_str(), &device.name].into_iter().chain(device.kind());
    let mut names = names.chain(device.naming.nicknames.iter().map(String::as_str)).map(plain);
    let room = device.room.as_deref().map(plain).unwrap_or_default();
    names.any(|name| {
        let rest = label.strip_prefix(&name).or_else(|| label.strip_suffix(&name));
        label == name || (!room.is_empty() && rest == Some(&room))
    })
}

/// What an action means to an appliance.
///
/// # Errors
/// When it has no such action, or the arguments do not fit.
pub fn task(device: &Device, action: &Action) -> Result<Task, No> {
    match action {
        Action::Control { action, arguments } => control(device, action, arguments),
        Action::Query(variables) => Ok(Task::Query(variables.clone())),
        // Nothing is watched for no time at all: that is a question.
        Action::Subscribe(watches) => {
            let variables = watches.iter().map(|watch| watch.variable.clone()).collect();
            Ok(if watches.iter().all(is_query) { Task::Query(variables) } else { Task::Watch(variables) })
        }
    }
}

/// The same for the smaller vocabulary.
///
/// # Errors
/// See [`task`]; also for answers, which ask for nothing.
pub fn mini_task(device: &Device, said: &Mini) -> Result<Task, No> {
    match said {
        Mini::Query(variable) => Ok(Task::Query(vec![variable.clone()])),
        Mini::Event { name, .. } => Ok(Task::Watch(vec![name.clone()])),
        Mini::Value { name, .. } => Err((488, format!("{name} is an answer and asks for nothing"))),
        Mini::Command { action, object: None, argument } => control(device, action, argument.as_slice()),
        Mini::Command { action, object: Some(object), argument } => {
            let argument = argument.clone().unwrap_or_else(|| action.clone());
            match settable(device, object) {
                Some(_) => control(device, "set", &[object.clone(), argument]),
                None => Err((488, format!("{} has no {} to set", device.name(), shorten(object)))),
            }
        }
    }
}

/// What a command of the smaller vocabulary is called in an answer.
pub fn mini_name(said: &Mini) -> &str {
    match said {
        Mini::Command { action, .. } => action,
        Mini::Query(name) | Mini::Event { name, .. } | Mini::Value { name, .. } => name,
    }
}

fn is_query(watch: &Watch) -> bool {
    matches!(Lifetime::parse(&watch.duration), Some(Lifetime::For(length)) if length.is_zero())
}

/// The order behind an action and its arguments.
fn control(device: &Device, action: &str, arguments: &[String]) -> Result<Task, No> {
    let word = plain(action);
    let unknown = || (488, format!("{} does not know {}", device.name(), shorten(action)));
    let own = device.model().actions.iter().find(|own| plain(&own.id) == word || plain(&own.name) == word);
    if let Some(own) = own {
        return said(device, &format!("{} {}", own.id, arguments.join(" ")));
    }
    match (word.as_str(), arguments) {
        ("set", [name, value]) => return set(device, settable(device, name).ok_or_else(unknown)?, value),
        ("set", [value]) => return said(device, value),
        ("turn" | "switch", [to]) => return said(device, &plain(to)),
        ("lock" | "unlock", []) => return lock(device, word == "lock"),
        _ => {}
    }
    if let [value] = arguments {
        let named = settable(device, &word).or_else(|| settable(device, word.strip_prefix("set")?));
        return set(device, named.ok_or_else(unknown)?, value);
    }
    let bare = ["turn", "switch", "power"].iter().find_map(|verb| word.strip_prefix(verb));
    match arguments {
        [] => said(device, bare.filter(|rest| !rest.is_empty()).unwrap_or(&word)).map_err(|_| unknown()),
        _ => Err(unknown()),
    }
}

/// What the words of a person would do.
fn said(device: &Device, text: &str) -> Result<Task, No> {
    match words::understand(device, text) {
        Ok(Said::Order(order)) => Ok(Task::Order(order)),
        Ok(Said::Toggle(order)) => Ok(Task::Toggle(order)),
        Ok(Said::Status | Said::Help) => Err((488, format!("{}: that is no command", device.name()))),
        Err(why) => Err((488, format!("{}: {why}", device.name()))),
    }
}

fn lock(device: &Device, locked: bool) -> Result<Task, No> {
    let mut locks = device.model().properties.iter().filter(|property| {
        property.write.is_some() && property.kind == Kind::Bool && property.class.as_deref() == Some("lock")
    });
    match (locks.next(), locks.next()) {
        (Some(only), None) => {
            Ok(Task::Order(Order::Set { property: only.id.clone(), value: Value::Bool(locked) }))
        }
        _ => Err((488, format!("{} has no lock", device.name()))),
    }
}

/// The property of that id, name or, where only one has it, class.
fn property<'d>(device: &'d Device, name: &str) -> Option<(usize, &'d Property)> {
    let name = plain(name);
    let all = || device.model().properties.iter().enumerate();
    let named = all().find(|(_, of)| plain(&of.id) == name || plain(&of.name) == name);
    let mut classed = all().filter(|(_, of)| of.class.as_deref().map(plain).as_ref() == Some(&name));
    named.or_else(|| classed.next().filter(|_| classed.next().is_none()))
}

/// The property that is set when this one is named: itself; or, where it can only be read, the one
/// that can be set and tells the same thing: the goal of a temperature.
fn settable<'d>(device: &'d Device, name: &str) -> Option<&'d Property> {
    let (_, named) = property(device, name)?;
    if named.write.is_some() {
        return Some(named);
    }
    let same = |of: &&Property| {
        of.write.is_some()
            && (named.class.is_some() && of.class == named.class
                || of.unit.is_some() && of.unit == named.unit)
    };
    let mut others = device.model().properties.iter().filter(same);
    others.next().filter(|_| others.next().is_none())
}

fn set(device: &Device, property: &Property, text: &str) -> Result<Task, No> {
    let value = value(property, text)
        .ok_or_else(|| (488, format!("{}: {} cannot be {}", device.name(), property.name, shorten(text))))?;
    Ok(Task::Order(Order::Set { property: property.id.clone(), value }))
}

/// A value as DMP writes it: with a unit, which must be that of the property.
fn value(property: &Property, text: &str) -> Option<Value> {
    if let Ok(value) = property.kind.parse(text) {
        return Some(value);
    }
    let Quantity::Number(number, Some(unit)) = Quantity::parse(text) else { return None };
    let ours = property.unit.as_deref().map(unit_name);
    let number = match (unit_name(&unit).as_str(), ours.as_deref()) {
        (theirs, Some(ours)) if theirs == ours => number,
        ("f", Some("c")) => ((number - 32.0) / 1.8 * 10.0).round() / 10.0,
        ("c", Some("f")) => number * 1.8 + 32.0,
        _ => return None,
    };
    property.kind.parse(&number.to_string()).ok()
}

fn unit_name(unit: &str) -> String {
    match unit.trim().trim_start_matches('\u{b0}').to_lowercase().as_str() {
        "cel" | "celsius" => "c".to_owned(),
        "fahrenheit" => "f".to_owned(),
        "percent" | "/100" => "%".to_owned(),
        other => other.to_owned(),
    }
}

/// The value of a variable, as far as it can be believed and `sees` allows.
pub fn found(device: &Device, variable: &str, sees: &dyn Fn(&str) -> bool) -> Found {
    let (value, code) = match property(device, variable).filter(|(_, property)| sees(&property.id)) {
        None => (UNKNOWN.to_owned(), Some(404)),
        Some((index, property)) => match device.shadow().believed(index) {
            Some(value) => (shown(property, value), None),
            None => (UNKNOWN.to_owned(), Some(480)),
        },
    };
    Found { variable: variable.to_owned(), values: vec![value], codes: code.into_iter().collect() }
}

/// What stands in place of a value that cannot be believed.
pub const UNKNOWN: &str = "unknown";

/// A value as DMP writes it: `On`, `7.4 W`, `heat`.
pub fn shown(property: &Property, value: &Value) -> String {
    match (value, property.unit.as_deref()) {
        (Value::Bool(true), _) => "On".to_owned(),
        (Value::Bool(false), _) => "Off".to_owned(),
        (Value::Int(_) | Value::Float(_), unit) => value.show(property.decimals, unit).to_string(),
        (value, _) => value.plain(),
    }
}

/// The name and value of what an order changed, where it is a property.
pub fn changed(device: &Device, order: &Order) -> Option<(String, String)> {
    let Order::Set { property: id, .. } = order else { return None };
    let (index, property) = property(device, id)?;
    let value = device.shadow().believed(index).map_or(UNKNOWN.to_owned(), |value| shown(property, value));
    Some((property.name.to_string(), value))
}

/// What a SUBSCRIBE chose: bits of a view, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// One bit for each property, and from [`EVENTS`] on for each event.
    pub view: u128,
    /// For how long; `None`: not said.
    pub lifetime: Option<Lifetime>,
}

/// The variables and events that a SUBSCRIBE with this body wants to hear of, of those in `view`: what is
/// not in it has no name here.
///
/// # Errors
/// When it wants something else, or something that the appliance does not have.
pub fn choice(device: &Device, config: &DeviceConfig, document: &Document, view: u128) -> Result<Choice, No> {
    let mut choice = Choice { view: 0, lifetime: None };
    match document {
        Document::Mini(said) => {
            for said in said {
                choice.view |= match said {
                    Mini::Event { name, .. } | Mini::Query(name) => {
                        item((device, view), name).ok_or_else(|| nothing(name))?
                    }
                    _ => return Err((488, "SUBSCRIBE moves nothing".to_owned())),
                };
            }
        }
        Document::Action(orders) => {
            for order in orders {
                if !fits(&order.device, config) {
                    return Err((488, format!("this is not {}", shorten(&order.device))));
                }
                for action in &order.actions {
                    add((device, view), action, &mut choice)?;
                }
            }
        }
        Document::Response(_) => return Err((488, "this is an answer".to_owned())),
    }
    Ok(choice)
}

fn add((device, view): (&Device, u128), action: &Action, choice: &mut Choice) -> Result<(), No> {
    match action {
        Action::Control { .. } => return Err((488, "SUBSCRIBE moves nothing".to_owned())),
        Action::Query(variables) => {
            for name in variables {
                choice.view |= item((device, view), name).ok_or_else(|| nothing(name))?;
            }
        }
        Action::Subscribe(watches) => {
            for watch in watches {
                choice.view |= watched((device, view), watch)?;
                let lifetime = Lifetime::parse(&watch.duration)
                    .ok_or_else(|| (400, format!("{} is no duration", shorten(&watch.duration))))?;
                choice.lifetime.get_or_insert(lifetime);
            }
        }
    }
    Ok(())
}

fn watched((device, seen): (&Device, u128), watch: &Watch) -> Result<u128, No> {
    // Where its event says enough, a peer may call the variable as it likes.
    let found = item((device, seen), &watch.variable);
    let variable = || found.ok_or_else(|| nothing(&watch.variable));
    let mut view = if watch.events.is_empty() { variable()? } else { 0 };
    for event in &watch.events {
        view |= match Condition::parse(event).map_err(|why| (400, why.to_owned()))? {
            Condition::Named(name) if matches!(plain(&name).as_str(), "change" | "changed" | "update") => {
                variable()?
            }
            // Where the variable is an event itself, its name for it is one more.
            Condition::Named(name) => match item((device, seen), &name) {
                Some(bit) if found.is_some() || bit >> EVENTS != 0 => bit,
                Some(_) => return Err(nothing(&watch.variable)),
                None => match variable()? {
                    bit if bit >> EVENTS != 0 => bit,
                    _ => return Err(nothing(&name)),
                },
            },
            Condition::Compare(..) => {
                return Err((488, "comparisons are not watched; watch the variable".to_owned()));
            }
        };
    }
    Ok(view)
}

fn nothing(name: &str) -> No {
    (488, format!("there is no {}", shorten(name)))
}

/// The bit of a property, or of an event by id, name or class, where it is in `view`.
fn item((device, view): (&Device, u128), name: &str) -> Option<u128> {
    let bit = |index: usize| 1_u128.checked_shl(u32::try_from(index).ok()?).filter(|bit| view & bit != 0);
    if let Some(bit) = property(device, name).and_then(|(index, _)| bit(index)) {
        return Some(bit);
    }
    let name = plain(name);
    let events = &device.model().events;
    let named = |of: &crate::device::profile::Momentary| {
        plain(&of.id) == name
            || plain(&of.name) == name
            || of.class.as_deref().map(plain).as_ref() == Some(&name)
    };
    let index = events.iter().position(named)?;
    bit(EVENTS + index)
}

//! What is said by itself must not act: a query that is also a command would switch something on
//! every reconnect.

use std::sync::Arc;

use regex::Regex;

use super::{Arg, Hole, HoleForm, LinkNeeds, Model, Target, Write};
use crate::config::fault::Faults;
use crate::config::yaml::Node;
use crate::device::codec::{SERIAL, compose, hex};
use crate::device::value::{Kind, Value, decimal};

/// Something sent: where, and what.
type Said = (String, Vec<u8>);

pub(super) fn harmless(model: &Model, tree: &Node, path: &str, faults: &mut Faults) {
    let commands = commands(model);
    for (keys, query) in queries(model) {
        let fixed = commands.iter().find(|(_, command)| *command == query).map(|(name, _)| name.clone());
        let Some(name) = fixed.or_else(|| rendered(model, &query)) else { continue };
        let text = match std::str::from_utf8(&query.1) {
            Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
            _ => hex(&query.1),
        };
        let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
        let at = if path.is_empty() { keys.join(".") } else { path.to_owned() };
        let message = format!("the query `{text}` is also how `{name}` is commanded: it would act by itself");
        let help = "ask with something that changes nothing".to_owned();
        faults.error(Some(tree.place_of(&keys)), &at, message, Some(help));
    }
}

/// Where a query stands in the profile.
type Keys = Vec<Arc<str>>;

/// Everything that is sent without being told to.
fn queries(model: &Model) -> Vec<(Keys, Said)> {
    let mut all: Vec<(Keys, Said)> = Vec::new();
    for property in &model.properties {
        let reads = property.reads.iter().map(|read| ("read", read));
        for (key, read) in reads.chain(property.target.iter().map(|read| ("target", read))) {
            let keys = vec!["properties".into(), property.id.clone(), key.into(), "ask".into()];
            let asked = read.source.query();
            all.extend(
                asked.map(|(query, _)| (keys, (query.channel.as_str().to_owned(), query.payload.to_vec()))),
            );
        }
    }
    let keys = |key: &str| -> Keys { vec!["link".into(), key.into()] };
    match &model.link {
        LinkNeeds::Mqtt { hello } => {
            all.extend(hello.iter().filter_map(|write| Some((keys("hello"), said(write, &[])?))));
        }
        LinkNeeds::Serial(needs) => {
            let wake = needs.settings.wake.iter().map(|wake| ("wake", wake.send.clone()));
            let hello = needs.hello.iter().map(|ask| ("hello", ask.to_vec()));
            all.extend(hello.chain(wake).map(|(key, bytes)| (keys(key), (SERIAL.to_owned(), bytes))));
        }
        LinkNeeds::Modbus(_)
        | LinkNeeds::Meter(_)
        | LinkNeeds::Gpio(_)
        | LinkNeeds::W1(_)
        | LinkNeeds::Sip(_) => {}
    }
    all
}

/// Every command whose bytes can be known beforehand.
fn commands(model: &Model) -> Vec<(Arc<str>, Said)> {
    let mut all = Vec::new();
    for property in &model.properties {
        let Some(write) = &property.write else { continue };
        let values: Vec<Value> = match &property.kind {
            Kind::Bool => vec![Value::Bool(false), Value::Bool(true)],
            Kind::Enum(names) => names.iter().cloned().map(Value::Enum).collect(),
            _ => Vec::new(),
        };
        let each = |value| said(write, &[("value".into(), value)]).map(|said| (property.id.clone(), said));
        all.extend(values.into_iter().filter_map(each));
    }
    for action in &model.actions {
        let defaults: Vec<(Arc<str>, Value)> =
            action.args.iter().filter_map(|arg| Some((arg.id.clone(), arg.default.clone()?))).collect();
        let each = |write: &Write| said(write, &defaults).map(|said| (action.id.clone(), said));
        all.extend(action.steps.iter().filter_map(each));
    }
    all
}

/// What a placeholder may be filled with.
struct Filling<'m> {
    name: Arc<str>,
    kind: &'m Kind,
    range: Option<(f64, f64)>,
}

impl<'m> Filling<'m> {
    fn of(arg: &'m Arg) -> Self {
        Self { name: arg.id.clone(), kind: &arg.kind, range: arg.range }
    }
}

/// The command that can be spelled like this query, with some value in its placeholders.
fn rendered(model: &Model, query: &Said) -> Option<Arc<str>> {
    let set = model.properties.iter().find(|of| {
        let filling = Filling { name: "value".into(), kind: &of.kind, range: of.range };
        of.write.as_ref().is_some_and(|write| can_be(write, &[filling], query))
    });
    let act = || {
        model.actions.iter().find(|action| {
            let fillings: Vec<Filling<'_>> = action.args.iter().map(Filling::of).collect();
            action.steps.iter().any(|write| can_be(write, &fillings, query))
        })
    };
    set.map(|of| of.id.clone()).or_else(|| act().map(|action| action.id.clone()))
}

/// Whether `write` says what `query` says for some value that can be set. A placeholder for free text could
/// be anything, and says nothing about the profile.
fn can_be(write: &Write, fillings: &[Filling<'_>], query: &Said) -> bool {
    let (template, hexed) = match &write.target {
        Target::Frame(template) => (template, false),
        Target::Hex(template) => (template, true),
        Target::Topic(channel, template) if channel.as_str() == query.0 => (template, false),
        _ => return false,
    };
    let text = if hexed { hex(&query.1) } else { String::from_utf8_lossy(&query.1).into_owned() };
    let text = if hexed { text.replace(' ', "") } else { text };
    // Holes become characters that no text has, and these become groups when everything else is escaped.
    let mut holes = Vec::new();
    let marked = template.fill(|hole| {
        holes.push(hole.clone());
        Ok::<_, ()>(HOLE.to_string())
    });
    let Ok(marked) = marked else { return false };
    let marked = if hexed { marked.replace(' ', "") } else { marked };
    let pattern = regex::escape(&marked).replace(HOLE, "(.+?)");
    let Ok(pattern) = Regex::new(&format!("(?s{})^{pattern}$", if hexed { "i" } else { "" })) else {
        return false;
    };
    let Some(found) = pattern.captures(&text) else { return false };
    let values = holes.iter().zip(found.iter().skip(1)).map(|(hole, text)| {
        let filling = fillings.iter().find(|filling| filling.name == hole.name)?;
        Some((hole.name.clone(), filled_with(write, hole, filling, text?.as_str())?))
    });
    let Some(values) = values.collect::<Option<Vec<_>>>() else { return false };
    said(write, &values).is_some_and(|command| command == *query)
}

/// Stands for a placeholder in a pattern.
const HOLE: char = '\u{e000}';

/// The value that is written as `text`, if one that may be set is.
fn filled_with(write: &Write, hole: &Hole, filling: &Filling<'_>, text: &str) -> Option<Value> {
    if let Some((_, map)) = write.maps.iter().find(|(name, _)| *name == hole.name) {
        return map.value(text).cloned();
    }
    let number = || {
        let raw = match hole.form {
            HoleForm::Hex(_) => i64::from_str_radix(text, 16).ok()? as f64,
            _ => decimal(text)?,
        };
        let number = raw * write.scale.unwrap_or(1.0) + write.offset.unwrap_or(0.0);
        let fits = filling.range.is_none_or(|(low, high)| (low - 1e-9..=high + 1e-9).contains(&number));
        fits.then_some(number)
    };
    match filling.kind {
        Kind::Bool => ["true", "false"].contains(&text).then_some(Value::Bool(text == "true")),
        Kind::Enum(names) => names.iter().find(|name| &***name == text).cloned().map(Value::Enum),
        Kind::Int => number().map(|number| Value::Int(number.round() as i64)),
        Kind::Float => number().map(Value::Float),
        Kind::Text | Kind::Time => None,
    }
}

fn said(write: &Write, values: &[(Arc<str>, Value)]) -> Option<Said> {
    let sent = compose(write, values, None).ok()?;
    Some((sent.channel.as_str().to_owned(), sent.payload.to_vec()))
}

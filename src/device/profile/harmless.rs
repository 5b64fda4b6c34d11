//! What is said by itself must not act: a query that is also a command would switch something on
//! every reconnect.

use std::sync::Arc;

use super::{LinkNeeds, Model, Write};
use crate::config::fault::Faults;
use crate::config::yaml::Node;
use crate::device::codec::{SERIAL, compose, hex};
use crate::device::value::{Kind, Value};

/// Something sent: where, and what.
type Said = (String, Vec<u8>);

pub(super) fn harmless(model: &Model, tree: &Node, path: &str, faults: &mut Faults) {
    let commands = commands(model);
    for (keys, query) in queries(model) {
        let Some((name, _)) = commands.iter().find(|(_, command)| *command == query) else { continue };
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
        LinkNeeds::Modbus(_) | LinkNeeds::Gpio(_) | LinkNeeds::W1(_) | LinkNeeds::Sip(_) => {}
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

fn said(write: &Write, values: &[(Arc<str>, Value)]) -> Option<Said> {
    let sent = compose(write, values, None).ok()?;
    Some((sent.channel.as_str().to_owned(), sent.payload.to_vec()))
}

//! What is said by itself must not act: a query that is also a command would switch something on
//! every reconnect.

use std::sync::Arc;

use super::{LinkNeeds, Model, Write};
use crate::config::fault::{Faults, Place};
use crate::device::codec::{SERIAL, compose};
use crate::device::value::{Kind, Value};

/// Something sent: where, and what.
type Said = (String, Vec<u8>);

pub(super) fn harmless(model: &Model, place: Place, path: &str, faults: &mut Faults) {
    let queries = queries(model);
    for (name, command) in commands(model) {
        if queries.contains(&command) {
            let text = String::from_utf8_lossy(&command.1).into_owned();
            let message =
                format!("the query `{text}` is also how `{name}` is commanded: it would act by itself");
            faults.error(
                Some(place),
                path,
                message,
                Some("ask with something that changes nothing".to_owned()),
            );
        }
    }
}

/// Everything that is sent without being told to.
fn queries(model: &Model) -> Vec<Said> {
    let reads = model.properties.iter().flat_map(|property| property.reads.iter().chain(&property.target));
    let asked = reads.filter_map(|read| read.source.query());
    let mut all: Vec<Said> =
        asked.map(|(query, _)| (query.channel.as_str().to_owned(), query.payload.to_vec())).collect();
    match &model.link {
        LinkNeeds::Mqtt { hello } => all.extend(hello.iter().filter_map(|write| said(write, &[]))),
        LinkNeeds::Serial(needs) => {
            let wake = needs.settings.wake.iter().map(|wake| wake.send.clone());
            let hello = needs.hello.iter().map(|ask| ask.to_vec());
            all.extend(hello.chain(wake).map(|bytes| (SERIAL.to_owned(), bytes)));
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

fn said(write: &Write, values: &[(Arc<str>, Value)]) -> Option<Said> {
    let sent = compose(write, values, None).ok()?;
    Some((sent.channel.as_str().to_owned(), sent.payload.to_vec()))
}

//! Topics, texts, documents and pointers, with their placeholders checked.

use std::sync::Arc;

use sipliance_driver::Channel;

use super::template::{Piece, pieces};
use super::typed::fault;
use super::{Body, Template};
use crate::config::fault::{Faults, nearest};
use crate::config::yaml::{Data, Node};
use crate::device::value::Kind;

/// A placeholder's name and the type of what goes there.
pub(super) type Holes<'a> = &'a [(Arc<str>, Kind)];

/// A topic without wildcards or placeholders.
pub(super) fn topic(node: &Node, path: &str, faults: &mut Faults) -> Option<Channel> {
    let text = node.text(path, faults).and_then(|text| literal(text, node, path, faults))?;
    let message = if text.is_empty() || text.len() > 1024 {
        "a topic has between 1 and 1024 bytes"
    } else if text.contains(['+', '#', '\0']) {
        "a topic cannot hold the wildcards + and # here"
    } else {
        return Some(Channel::new(&text));
    };
    fault(node, path, message, faults);
    None
}

/// Text in which every param was put in already.
pub(super) fn literal(text: String, node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let unknown = pieces(&text).into_iter().find_map(|piece| match piece {
        Piece::Hole { name, .. } => Some(name.to_owned()),
        Piece::Text(_) => None,
    });
    match unknown {
        None => Some(text),
        Some(name) => {
            unknown_hole(&name, &[], node, path, faults);
            None
        }
    }
}

fn unknown_hole(name: &str, holes: Holes<'_>, node: &Node, path: &str, faults: &mut Faults) {
    let help = match nearest(name, holes.iter().map(|(name, _)| &**name)) {
        Some(near) => format!("did you mean <{near}>?"),
        None if holes.is_empty() => "only names under `params:` can stand here".to_owned(),
        None => {
            let names: Vec<String> = holes.iter().map(|(name, _)| format!("<{name}>")).collect();
            format!("names under `params:` and {} can stand here", names.join(", "))
        }
    };
    faults.error(Some(node.place), path, format!("unknown placeholder <{name}>"), Some(help));
}

pub(super) fn template(node: &Node, path: &str, holes: Holes<'_>, faults: &mut Faults) -> Option<Template> {
    let text = node.text(path, faults)?;
    match Template::read(&text) {
        Err(why) => {
            fault(node, path, why, faults);
            None
        }
        Ok(template) => {
            let mut whole = true;
            for hole in template.holes().filter(|hole| !holes.iter().any(|(name, _)| *name == hole.name)) {
                unknown_hole(&hole.name, holes, node, path, faults);
                whole = false;
            }
            whole.then_some(template)
        }
    }
}

pub(super) fn body_of(node: &Node, path: &str, holes: Holes<'_>, faults: &mut Faults) -> Option<Body> {
    Some(match &node.data {
        Data::Null => Body::Fixed(serde_json::Value::Null),
        Data::Bool(value) => Body::Fixed((*value).into()),
        Data::Int(value) => Body::Fixed((*value).into()),
        Data::Float(value) => Body::Fixed((*value).into()),
        Data::Text { .. } => {
            let template = template(node, path, holes, faults)?;
            match template.lone_hole() {
                Some(hole) => Body::Hole(hole.clone()),
                None => Body::Text(template),
            }
        }
        Data::List(items) => {
            let item = |(index, item)| body_of(item, &format!("{path}[{index}]"), holes, faults);
            Body::List(items.iter().enumerate().map(item).collect::<Option<_>>()?)
        }
        Data::Map(entries) => {
            let mut out = Vec::new();
            for (key, node) in entries {
                out.push((key.text.clone(), body_of(node, &format!("{path}.{}", key.text), holes, faults)?));
            }
            Body::Map(out)
        }
    })
}

/// A JSON Pointer (RFC 6901).
pub(super) fn pointer(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let text = node.text(path, faults)?;
    if text.is_empty() || text.starts_with('/') {
        return Some(text);
    }
    let steps =
        text.trim_start_matches('$').trim_start_matches('.').replace(']', "").replace(['.', '['], "/");
    let help = if steps.chars().any(|c| c.is_alphanumeric()) {
        format!("write /{steps}")
    } else {
        "a key of the document: /temperature".to_owned()
    };
    let message = format!("`{text}` is no JSON Pointer, which begins with /");
    faults.error(Some(node.place), path, message, Some(help));
    None
}

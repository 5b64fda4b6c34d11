//! Params and overrides of the home file, put into a profile's tree before it is decoded.

use std::collections::HashMap;

use super::template::{Piece, pieces};
use super::{Param, Profile};
use crate::config::fault::{Faults, Place, nearest};
use crate::config::yaml::{Data, Key, Node};

/// What the home file says about one device.
pub(super) struct Home<'a> {
    pub(super) path: &'a str,
    pub(super) place: Place,
    pub(super) params: Option<&'a Node>,
    pub(super) overrides: Option<&'a Node>,
}

/// The value of each param, and where it was given.
pub(super) type Values = HashMap<String, (String, Option<Place>)>;

/// Top-level keys whose text is for people or is decoded apart.
const UNTOUCHED: [&str; 7] = ["format", "profile", "name", "kind", "about", "params", "tests"];

/// Example or default values, for checking a profile by itself.
pub(super) fn examples(params: &[Param]) -> Values {
    let value = |param: &Param| param.example.clone().or_else(|| param.default.clone());
    params.iter().filter_map(|param| Some((param.name.clone(), (value(param)?, None)))).collect()
}

/// The values that the home file gives, completed by defaults.
pub(super) fn given(params: &[Param], home: &Home<'_>, faults: &mut Faults) -> Option<Values> {
    let path = format!("{}.params", home.path);
    let mut values = Values::new();
    let entries = match home.params {
        Some(node) => node.entries(&path, faults)?,
        None => &[],
    };
    for (key, node) in entries {
        let at = format!("{path}.{}", key.text);
        if !params.iter().any(|param| param.name == key.text) {
            faults.error(
                Some(key.place),
                &at,
                format!("the profile has no param `{}`", key.text),
                known(&key.text, params),
            );
        } else if let Some(text) = node.text(&at, faults).filter(|text| fit(text, node.place, &at, faults)) {
            values.insert(key.text.clone(), (text, Some(node.place)));
        }
    }
    for param in params.iter().filter(|param| !entries.iter().any(|(key, _)| key.text == param.name)) {
        match &param.default {
            Some(default) => drop(values.insert(param.name.clone(), (default.clone(), None))),
            None => faults.error(Some(home.place), &path, missing(param), example(param)),
        }
    }
    (values.len() == params.len()).then_some(values)
}

fn missing(param: &Param) -> String {
    let about = param.about.as_deref().map(|about| format!(" ({about})")).unwrap_or_default();
    format!("the param `{}` is missing{about}", param.name)
}

fn example(param: &Param) -> Option<String> {
    param.example.as_deref().map(|example| format!("for example `{}: {example}`", param.name))
}

fn known(word: &str, params: &[Param]) -> Option<String> {
    let names = || params.iter().map(|param| param.name.as_str());
    Some(match nearest(word, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if params.is_empty() => "it takes none".to_owned(),
        None => format!("it takes {}", names().collect::<Vec<_>>().join(", ")),
    })
}

/// A param may hold nothing that could be read as a placeholder, a wildcard or the end of a frame.
pub(super) fn fit(text: &str, place: Place, path: &str, faults: &mut Faults) -> bool {
    let bad = text.chars().find(|c| c.is_control() || "<>+#".contains(*c));
    let message = match bad {
        Some(c) => format!("a param cannot hold `{}`", c.escape_default()),
        None if text.is_empty() => "a param cannot be empty".to_owned(),
        None => return true,
    };
    faults.error(Some(place), path, message, None);
    false
}

/// A copy of `node` with the params put in. Nodes get `place` where they are not in a file that
/// faults are shown for.
pub(super) fn substitute(node: &Node, values: &Values, place: Option<Place>, faults: &mut Faults) -> Node {
    let here = place.unwrap_or(node.place);
    let data = match &node.data {
        Data::Text { text, quoted } => {
            return text_node(text, *quoted, values, here, place.is_some(), faults);
        }
        Data::List(items) => {
            Data::List(items.iter().map(|item| substitute(item, values, place, faults)).collect())
        }
        Data::Map(entries) => {
            Data::Map(entries.iter().map(|entry| entry_of(entry, values, place, faults)).collect())
        }
        other => other.clone(),
    };
    Node { place: here, data, raw: node.raw.clone() }
}

fn entry_of(
    (key, value): &(Key, Node),
    values: &Values,
    place: Option<Place>,
    faults: &mut Faults,
) -> (Key, Node) {
    let key = Key { place: place.unwrap_or(key.place), text: key.text.clone() };
    let value = substitute(value, values, place, faults);
    (key, value)
}

fn text_node(
    text: &str,
    quoted: bool,
    values: &Values,
    here: Place,
    at_home: bool,
    faults: &mut Faults,
) -> Node {
    let mut place = here;
    let mut out = String::new();
    let parts = pieces(text);
    let lone = parts.len() == 1;
    for piece in parts {
        let (name, form) = match piece {
            Piece::Text(text) => {
                out.push_str(text);
                continue;
            }
            Piece::Hole { name, form } => (name, form),
        };
        let Some((value, given)) = values.get(name) else {
            out.push_str(&hole_text(name, form));
            continue;
        };
        if at_home && let Some(given) = given {
            place = *given;
        }
        match written(value, form) {
            Ok(data) if lone && !matches!(data, Data::Text { .. }) => {
                return Node { place, data, raw: None };
            }
            Ok(Data::Text { text, .. }) => out.push_str(&text),
            Ok(_) => out.push_str(value),
            Err(why) => faults.error(Some(place), name, why, None),
        }
    }
    Node { place, data: Data::Text { text: out, quoted }, raw: None }
}

fn hole_text(name: &str, form: &str) -> String {
    if form.is_empty() { format!("<{name}>") } else { format!("<{name}:{form}>") }
}

fn written(value: &str, form: &str) -> Result<Data, String> {
    let wrong = |what: &str| format!("`{value}` is not {what}, and the profile needs one here");
    match form {
        "" | "text" => Ok(Data::Text { text: value.to_owned(), quoted: true }),
        "int" => value.parse().map(Data::Int).map_err(|_| wrong("a whole number")),
        "float" => value.parse().map(Data::Float).map_err(|_| wrong("a number")),
        "bool" => value.parse().map(Data::Bool).map_err(|_| wrong("true or false")),
        _ => {
            let (digits, hex) = form.strip_suffix('x').map_or((form, false), |digits| (digits, true));
            match digits.strip_prefix('0').and_then(|width| width.parse::<usize>().ok()) {
                Some(width @ 1..=9) => {
                    let number: u64 = value.parse().map_err(|_| wrong("a whole number"))?;
                    let text = if hex { format!("{number:0width$X}") } else { format!("{number:0width$}") };
                    Ok(Data::Text { text, quoted: true })
                }
                _ => {
                    Err(format!("`:{form}` is unknown in a placeholder; use :int, :bool, :text, :02 or :02x"))
                }
            }
        }
    }
}

/// Every name that can stand between angle brackets: params, arguments of actions, `value`.
pub(super) fn names(node: &Node, params: &[Param]) -> Vec<String> {
    let entries = |node: &Node, wanted: &str| match &node.data {
        Data::Map(entries) => {
            entries.iter().find(|(key, _)| key.text == wanted).map(|(_, node)| node.clone())
        }
        _ => None,
    };
    let mut names: Vec<String> = params.iter().map(|param| param.name.clone()).collect();
    names.push("value".to_owned());
    if let Some(Node { data: Data::Map(actions), .. }) = entries(node, "actions") {
        for (_, action) in &actions {
            if let Some(Node { data: Data::Map(args), .. }) = entries(action, "args") {
                names.extend(args.into_iter().map(|(key, _)| key.text));
            }
        }
    }
    names
}

/// `{topic}` where `<topic>` is meant, as other tools write placeholders, and `<topik>`.
pub(super) fn placeholders(node: &Node, names: &[String], path: &str, faults: &mut Faults) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match &node.data {
        Data::Text { text, .. } => {
            if let Some(name) = names.iter().find(|name| text.contains(&format!("{{{name}}}"))) {
                let help = format!("a placeholder is written <{name}>");
                faults.error(Some(node.place), path, format!("`{{{name}}}` is plain text here"), Some(help));
            }
            let words = || names.iter().map(String::as_str);
            for piece in pieces(text) {
                if let Piece::Hole { name, .. } = piece
                    && !words().any(|known| known == name)
                    && let Some(near) = nearest(name, words())
                {
                    let help = format!("did you mean <{near}>?");
                    faults.error(Some(node.place), path, format!("unknown placeholder <{name}>"), Some(help));
                }
            }
        }
        Data::List(items) => items
            .iter()
            .enumerate()
            .for_each(|(index, item)| placeholders(item, names, &format!("{path}[{index}]"), faults)),
        Data::Map(entries) => entries
            .iter()
            .filter(|(key, _)| !path.is_empty() || !UNTOUCHED.contains(&key.text.as_str()))
            .for_each(|(key, value)| placeholders(value, names, &at(&key.text), faults)),
        _ => {}
    }
}

/// The profile's tree without the parts that are for people, params put in.
pub(super) fn concrete(node: &Node, values: &Values, place: Option<Place>, faults: &mut Faults) -> Node {
    let Data::Map(entries) = &node.data else { return node.clone() };
    let entries = entries
        .iter()
        .filter(|(key, _)| key.text != "discover")
        .map(|entry| {
            if UNTOUCHED.contains(&entry.0.text.as_str()) {
                entry.clone()
            } else {
                entry_of(entry, values, place, faults)
            }
        })
        .collect();
    Node { place: place.unwrap_or(node.place), data: Data::Map(entries), raw: None }
}

/// Applies the home file's `properties:` to a concrete tree: single keys replace those of the profile,
/// `false` leaves a property out.
pub(super) fn override_properties(tree: &mut Node, profile: &Profile, home: &Home<'_>, faults: &mut Faults) {
    let Some(overrides) = home.overrides else { return };
    let path = format!("{}.properties", home.path);
    let Some(wanted) = overrides.entries(&path, faults) else { return };
    let Data::Map(entries) = &mut tree.data else { return };
    let Some((_, properties)) = entries.iter_mut().find(|(key, _)| key.text == "properties") else { return };
    let Data::Map(properties) = &mut properties.data else { return };
    for (key, change) in wanted {
        let at = format!("{path}.{}", key.text);
        let Some(index) = properties.iter().position(|(id, _)| id.text == key.text) else {
            let help = nearest(&key.text, profile.example.properties.iter().map(|property| &*property.id))
                .map(|near| format!("did you mean `{near}`?"));
            faults.error(Some(key.place), &at, format!("the profile has no property `{}`", key.text), help);
            continue;
        };
        if matches!(change.data, Data::Bool(false)) {
            properties.remove(index);
        } else if let (Some((_, property)), Some(keys)) =
            (properties.get_mut(index), change.entries(&at, faults))
        {
            replace_keys(property, keys, key.place);
        }
    }
}

fn replace_keys(property: &mut Node, keys: &[(Key, Node)], place: Place) {
    move_to(property, place);
    let Data::Map(entries) = &mut property.data else { return };
    for (key, value) in keys {
        entries.retain(|(old, _)| old.text != key.text);
        if !matches!(value.data, Data::Bool(false)) || matches!(key.text.as_str(), "sensitive") {
            entries.push((key.clone(), value.clone()));
        }
    }
}

/// Faults in what is left of an overridden property are the override's.
fn move_to(node: &mut Node, place: Place) {
    node.place = place;
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|item| move_to(item, place)),
        Data::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
            key.place = place;
            move_to(value, place);
        }),
        _ => {}
    }
}

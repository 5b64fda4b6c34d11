//! `application/xpidf+xml` (draft-rosenberg-impp-pidf-00), the presence of the year 2000.
//!
//! The draft contradicts itself, and phones contradict it further; all of it is read: `id` for
//! `atomid`, atoms inside `<presentity>`, `<mobility>` although the DTD forgot it, several addresses
//! in one atom, `<msnsubstatus>`. Parameters that have no element of their own are written as one,
//! the way the draft's own are: `<methods methods="MESSAGE"/>`.

use jiff::Timestamp;

use super::fault::Fault;
use super::limits;
use super::method_uri;
use super::presence::{Extra, Note, Presence, Priority, Status, Tuple};
use super::xml::{Element, Writer, is_name, read_any_case};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/xpidf+xml";
const PUBLIC_ID: &str = "-//IETF//DTD RFCxxxx XPIDF 1.0//EN";
/// Element for a value whose name is no XML name, or a name of this format.
const PARAM: &str = "param";

/// Writes a document. Each tuple becomes an atom with one address; timestamps and notes on the whole
/// have no place in it.
pub fn write(presence: &Presence) -> String {
    let mut w = Writer::with_doctype("presence", PUBLIC_ID, "xpidf.dtd");
    w.tag("presence").open();
    w.tag("presentity")
        .attr("uri", method_uri::with(&presence.entity, "SUBSCRIBE"))
        .text(presence.display.as_deref().unwrap_or_default());
    for tuple in &presence.tuples {
        let expires = tuple.expires.map(Timestamp::as_second);
        w.tag("atom").attr("atomid", &tuple.id).maybe("expires", expires).open();
        let contact = tuple.contact.as_deref().unwrap_or(&presence.entity);
        w.tag("address").attr("uri", contact).maybe("priority", tuple.priority).open();
        write_address(&mut w, tuple);
        w.close();
        w.close();
    }
    w.finish()
}

fn write_address(w: &mut Writer, tuple: &Tuple) {
    let status = match tuple.status {
        Status::Unknown => None,
        Status::Open => Some("open"),
        Status::InUse => Some("inuse"),
        Status::Closed => Some("closed"),
    };
    if let Some(status) = status {
        w.tag("status").attr("status", status).empty();
    }
    for extra in &tuple.extra {
        let value = match &extra.unit {
            Some(unit) => format!("{} {unit}", extra.value),
            None => extra.value.clone(),
        };
        let name = extra.name.as_str();
        match name {
            "features" => {
                for feature in value.split(',') {
                    w.tag("feature").attr("feature", feature.trim()).empty();
                }
            }
            "msnsubstatus" => w.tag(name).attr("substatus", value).empty(),
            _ if is_name(name) && !is_own(&name.to_ascii_lowercase()) => {
                w.tag(name).attr(name, value).empty();
            }
            _ => w.tag(PARAM).attr("name", name).attr("value", value).empty(),
        }
    }
    // One note at most (§4.1).
    if let Some(note) = tuple.notes.first() {
        w.leaf("note", &note.text);
    }
}

/// Names with a meaning that a value must not take.
fn is_own(name: &str) -> bool {
    matches!(name, "status" | "note" | "feature" | "address" | "xml" | PARAM) || name.starts_with("xml")
}

/// Reads a document. An atom with several addresses becomes several tuples, whose ids end in `.2`,
/// `.3` …
///
/// # Errors
/// When it is no XPIDF.
pub fn read(body: &[u8]) -> Result<Presence, Fault> {
    let root = read_any_case(body)?;
    if root.name != "presence" {
        return Err(Fault::unexpected(root.at(), &root.name, "<presence>"));
    }
    let presentity =
        root.child("presentity").ok_or_else(|| Fault::missing(root.at(), "<presentity> of <presence>"))?;
    let display = presentity.text();
    let mut presence = Presence {
        entity: method_uri::without(presentity.require("uri")?),
        display: Some(display.into_owned()).filter(|display| !display.is_empty()),
        ..Presence::default()
    };
    let inside = presentity.elements().chain(root.elements());
    for atom in inside.filter(|element| element.name == "atom") {
        read_atom(atom, &mut presence.tuples)?;
        if presence.tuples.len() > limits::TUPLES {
            return Err(Fault::too_much(atom.at(), "addresses", limits::TUPLES));
        }
    }
    Ok(presence)
}

fn read_atom(atom: &Element, tuples: &mut Vec<Tuple>) -> Result<(), Fault> {
    let id = atom.attr("atomid").or(atom.attr("id")).map(str::trim).filter(|id| !id.is_empty());
    let id = id.ok_or_else(|| Fault::missing(atom.at(), "atomid of <atom>"))?;
    let expires = match atom.number::<i64>("expires")? {
        Some(seconds) => Some(
            Timestamp::from_second(seconds)
                .map_err(|_| atom.bad("expires", &seconds.to_string(), "a time before the year 9999"))?,
        ),
        None => None,
    };
    let postal = atom.child("postal").map(Element::words);
    let addresses: Vec<&Element> = atom.elements().filter(|element| element.name == "address").collect();
    if addresses.is_empty() {
        let notes = postal.into_iter().map(Note::new).collect();
        tuples.push(Tuple { id: id.to_owned(), expires, notes, ..Tuple::default() });
    }
    for (nth, address) in addresses.into_iter().enumerate() {
        let id = if nth == 0 { id.to_owned() } else { format!("{id}.{}", nth + 1) };
        let mut tuple = Tuple { id, expires, ..Tuple::default() };
        read_address(address, &mut tuple)?;
        tuples.push(tuple);
    }
    Ok(())
}

fn read_address(address: &Element, tuple: &mut Tuple) -> Result<(), Fault> {
    tuple.contact = Some(address.require("uri")?.to_owned());
    if let Some(priority) = address.attr("priority") {
        let read = Priority::parse(priority);
        tuple.priority = Some(read.ok_or_else(|| address.bad("priority", priority, "a number from 0 to 1"))?);
    }
    for child in address.elements() {
        match child.name.as_str() {
            "status" => {
                tuple.status = match child.require("status")?.to_ascii_lowercase().as_str() {
                    "open" => Status::Open,
                    "closed" => Status::Closed,
                    "inuse" => Status::InUse,
                    other => return Err(child.bad("status", other, "open, closed or inuse")),
                };
            }
            "note" => {
                tuple.notes.push(Note { lang: child.lang().map(ToOwned::to_owned), text: child.words() })
            }
            "feature" => push_feature(tuple, child.require("feature")?),
            PARAM => {
                let value = child.attr("value").unwrap_or_default();
                tuple.extra.push(Extra::new(child.require("name")?, value));
            }
            name => {
                let value = child.attr(name).or(child.attr("substatus"));
                let value = value.map_or_else(|| child.words(), ToOwned::to_owned);
                tuple.extra.push(Extra::new(name, value));
            }
        }
    }
    Ok(())
}

/// Several features are one value, as in a contact.
fn push_feature(tuple: &mut Tuple, feature: &str) {
    match tuple.extra.iter_mut().find(|extra| extra.name == "features") {
        Some(features) => {
            features.value.push(',');
            features.value.push_str(feature);
        }
        None => tuple.extra.push(Extra::new("features", feature)),
    }
}

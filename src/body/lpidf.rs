//! `text/lpidf` (draft-rosenberg-impp-lpidf-00): presence as the To and Contact of a registration.
//!
//! What stands behind a Contact of REGISTER means the same here, so this file also turns the one
//! into the other: `q=0` is closed, any other or none is open, `expires` counts from now, the
//! `description` is the note, and all other parameters are kept as they are.

use jiff::{SignedDuration, Timestamp};

use crate::sip::wire::text::{self, List};
use crate::sip::wire::{Address, Uri};

use super::fault::{self, At, Fault};
use super::limits;
use super::presence::{Extra, Note, Presence, Priority, Status, Tuple};

/// Its media type.
pub const CONTENT_TYPE: &str = "text/lpidf";
/// Parameters with a meaning of their own.
const OWN: [&str; 4] = ["q", "expires", "description", IN_USE];
/// Our mark for something that is reachable and busy.
const IN_USE: &str = "inuse";

/// Writes a document with CRLF line ends. Tuples without a status are left out, as a Contact always
/// has one; one without contact stands under the entity's address. Units join their values.
pub fn write(presence: &Presence, now: Timestamp) -> String {
    let mut out = String::from("To: ");
    match &presence.display {
        Some(display) => out.push_str(&format!("{} <{}>", quoted(display), plain(&presence.entity))),
        None => out.push_str(&addr_spec(&plain(&presence.entity))),
    }
    out.push_str("\r\n");
    for tuple in &presence.tuples {
        let entity = Some(presence.entity.as_str());
        let contact = tuple.contact.as_deref().or(entity).filter(|uri| Uri::parse(uri).is_ok());
        if let (Some(contact), true) = (contact, tuple.status != Status::Unknown) {
            let params = params(tuple, now);
            // A `<` in a parameter would be taken for the bracket of the address.
            let contact = if params.contains('<') { format!("<{contact}>") } else { addr_spec(contact) };
            out.push_str(&format!("Contact: {contact}{params}\r\n"));
        }
    }
    out
}

/// Reads a document; bare LF line ends, compact names and several contacts in a line are fine.
/// Fields that are neither To nor Contact are passed over.
///
/// # Errors
/// When it does not begin with its only To, or an address is malformed.
pub fn read(body: &[u8], now: Timestamp) -> Result<Presence, Fault> {
    let text = fault::text(body)?;
    let mut presence: Option<Presence> = None;
    for (at, field) in fields(text) {
        let (name, value) =
            field.split_once(':').ok_or_else(|| Fault::unexpected(at, &field, "\"To:\" or \"Contact:\""))?;
        let malformed = |why| Fault::syntax(at, why);
        match (name.trim().to_ascii_lowercase().as_str(), &mut presence) {
            ("to" | "t", Some(_)) => return Err(Fault::syntax(at, "a second To")),
            ("to" | "t", none) => {
                let to = Address::parse(value.as_bytes()).map_err(malformed)?;
                *none = Some(Presence {
                    entity: to.uri.raw.to_owned(),
                    display: Some(unquoted(to.display)).filter(|display| !display.is_empty()),
                    ..Presence::default()
                });
            }
            (_, None) => return Err(Fault::unexpected(at, name, "\"To:\", which comes first,")),
            ("contact" | "m", Some(presence)) => {
                for contact in List::new(value.as_bytes()) {
                    if presence.tuples.len() >= limits::TUPLES {
                        return Err(Fault::too_much(at, "contacts", limits::TUPLES));
                    }
                    let contact = Address::parse(contact).map_err(malformed)?;
                    let tuple = tuple(&contact, now).map_err(malformed)?;
                    presence.tuples.push(tuple);
                }
            }
            _ => {}
        }
    }
    presence.ok_or_else(|| Fault::missing(At::Body, "To"))
}

/// What a Contact of REGISTER or LPIDF says.
///
/// # Errors
/// When `q` or `expires` is malformed.
pub fn tuple(contact: &Address<'_>, now: Timestamp) -> Result<Tuple, &'static str> {
    let mut tuple = Tuple::of(contact.uri.raw, Status::Open);
    let mut in_use = false;
    for (name, value) in contact.params.iter() {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        let value = value.map(unquoted).unwrap_or_default();
        match name.as_str() {
            "q" => {
                let q = Priority::parse(&value).ok_or("q is not a number from 0 to 1")?;
                tuple.priority = Some(q);
            }
            "expires" => {
                let seconds = text::seconds(value.as_bytes()).ok_or("expires is not a number of seconds")?;
                tuple.expires = now.checked_add(SignedDuration::from_secs(seconds.into())).ok();
            }
            "description" => tuple.notes.push(Note::new(value)),
            IN_USE => in_use = true,
            _ => tuple.extra.push(Extra::new(name, value)),
        }
    }
    match tuple.priority.map(Priority::thousandths) {
        Some(0) => (tuple.status, tuple.priority) = (Status::Closed, None),
        _ if in_use => tuple.status = Status::InUse,
        _ => {}
    }
    Ok(tuple)
}

/// The header parameters that say of a contact what the tuple says, each with its `;`.
pub fn params(tuple: &Tuple, now: Timestamp) -> String {
    let mut out = String::new();
    for extra in &tuple.extra {
        let name = extra.name.to_ascii_lowercase();
        if !text::is_token(name.as_bytes()) || OWN.contains(&name.as_str()) {
            continue;
        }
        out.push_str(&format!(";{name}"));
        let value = match &extra.unit {
            Some(unit) => format!("{} {unit}", extra.value),
            None => extra.value.clone(),
        };
        match name.as_str() {
            _ if value.is_empty() => {}
            "mobility" | "class" | "duplex" if text::is_token(value.as_bytes()) => {
                out.push_str(&format!("={value}"));
            }
            _ => out.push_str(&format!("={}", quoted(&value))),
        }
    }
    if let Some(note) = tuple.notes.first() {
        out.push_str(&format!(";description={}", quoted(&note.text)));
    }
    match (tuple.status, tuple.priority) {
        (Status::Closed, _) => out.push_str(";q=0"),
        // Nobody prefers it, but it is open: the least that is not closed.
        (_, Some(q)) if q.thousandths() == 0 => out.push_str(";q=0.001"),
        (_, Some(q)) => out.push_str(&format!(";q={q}")),
        (_, None) => {}
    }
    if tuple.status == Status::InUse {
        out.push_str(&format!(";{IN_USE}"));
    }
    if let Some(expires) = tuple.expires {
        let left = expires.duration_since(now).as_secs().clamp(0, u32::MAX.into());
        out.push_str(&format!(";expires={left}"));
    }
    out
}

/// A bare URI where its parameters cannot be taken for those of the field, else in brackets.
fn addr_spec(uri: &str) -> String {
    if uri.contains([';', '?', ',']) { format!("<{uri}>") } else { uri.to_owned() }
}

/// The address without characters that would end it or its line.
fn plain(uri: &str) -> String {
    uri.chars().filter(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '<' | '>' | '"')).collect()
}

/// The fields, unfolded, with the line on which each begins.
fn fields(text: &str) -> Vec<(At, String)> {
    let mut fields: Vec<(At, String)> = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        match fields.last_mut() {
            Some((_, field)) if line.starts_with([' ', '\t']) => {
                field.push(' ');
                field.push_str(line.trim());
            }
            _ if line.trim().is_empty() => {}
            _ => fields.push((At::Line(nth + 1), line.to_owned())),
        }
    }
    fields
}

fn unquoted(value: &[u8]) -> String {
    let inner = text::unquote(value);
    let text = String::from_utf8_lossy(inner);
    if inner.len() == value.len() || !text.contains('\\') {
        return text.into_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

/// A quoted string on one line, whatever stands in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            _ if c.is_control() => out.push(' '),
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

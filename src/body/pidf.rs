//! `application/pidf+xml` (RFC 3863), with activities (RFC 4480) and values of our own; also under
//! the label `application/cpim-pidf+xml` of its drafts.

use jiff::Timestamp;

use super::fault::Fault;
use super::limits;
use super::presence::{Extra, Note, Presence, Priority, Status, Tuple, id_of_xml, xml_id};
use super::xml::{Element, Writer, is_name, read as read_xml};

/// Media type of RFC 3863.
pub const CONTENT_TYPE: &str = "application/pidf+xml";
/// Media type of its drafts.
pub const CPIM_CONTENT_TYPE: &str = "application/cpim-pidf+xml";
/// Namespace of the values that this project adds inside `<status>`.
pub const APPLIANCE_NS: &str = "urn:x-sipliance:appliance:1";
/// Namespace of PIDF.
pub const NS: &str = "urn:ietf:params:xml:ns:pidf";
const CPIM_NS: &str = "urn:ietf:params:xml:ns:cpim-pidf";
const MODEL_NS: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID_NS: &str = "urn:ietf:params:xml:ns:pidf:rpid";
/// The activity that phones show for somebody who is busy.
const IN_USE: &str = "on-the-phone";

/// Under which name a document goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Label {
    /// [`CONTENT_TYPE`].
    #[default]
    Pidf,
    /// [`CPIM_CONTENT_TYPE`].
    Cpim,
}

impl Label {
    fn ns(self) -> &'static str {
        match self {
            Self::Pidf => NS,
            Self::Cpim => CPIM_NS,
        }
    }
}

/// Writes a document. The name for people and what has no tuple of its own are left out.
pub fn write(presence: &Presence, label: Label) -> String {
    let mut w = Writer::new();
    w.tag("presence")
        .attr("xmlns", label.ns())
        .attr("xmlns:ap", APPLIANCE_NS)
        .attr("xmlns:dm", MODEL_NS)
        .attr("xmlns:rpid", RPID_NS)
        .attr("entity", &presence.entity)
        .open();
    for tuple in &presence.tuples {
        write_tuple(&mut w, tuple);
    }
    for note in &presence.notes {
        w.tag("note").maybe("xml:lang", note.lang.as_deref()).text(&note.text);
    }
    write_person(&mut w, presence);
    w.finish()
}

fn write_tuple(w: &mut Writer, tuple: &Tuple) {
    w.tag("tuple").attr("id", xml_id(&tuple.id)).open();
    w.tag("status").open();
    match tuple.status {
        Status::Unknown => {}
        Status::Open => w.leaf("basic", "open"),
        Status::Closed => w.leaf("basic", "closed"),
        Status::InUse => {
            w.leaf("basic", "open");
            w.tag("ap:in-use").empty();
        }
    }
    if let Some(expires) = tuple.expires {
        w.leaf("ap:expires", &expires.to_string());
    }
    for extra in &tuple.extra {
        w.tag("ap:value").attr("name", &extra.name).maybe("unit", extra.unit.as_deref()).text(&extra.value);
    }
    w.close();
    if let Some(contact) = &tuple.contact {
        w.tag("contact").maybe("priority", tuple.priority).text(contact);
    }
    for note in &tuple.notes {
        w.tag("note").maybe("xml:lang", note.lang.as_deref()).text(&note.text);
    }
    if let Some(timestamp) = tuple.timestamp {
        w.leaf("timestamp", &timestamp.to_string());
    }
    w.close();
}

/// RFC 4480 gives activities to the person only, so one busy tuple makes the person busy.
fn write_person(w: &mut Writer, presence: &Presence) {
    let mut activities: Vec<&str> =
        presence.activities.iter().map(String::as_str).filter(|name| is_name(name)).collect();
    let in_use = presence.tuples.iter().any(|tuple| tuple.status == Status::InUse);
    if in_use && activities.is_empty() {
        activities.push(IN_USE);
    }
    if activities.is_empty() {
        return;
    }
    w.tag("dm:person").attr("id", "person").open();
    w.tag("rpid:activities").open();
    for activity in activities {
        w.tag(&format!("rpid:{activity}")).empty();
    }
    w.close();
    w.close();
}

/// Reads a document under either label. Elements of other namespaces are passed over, unless they
/// must be understood.
///
/// # Errors
/// When it is no PIDF, or says `mustUnderstand` of something unknown.
pub fn read(body: &[u8]) -> Result<Presence, Fault> {
    let root = read_xml(body)?;
    if root.name != "presence" {
        return Err(Fault::unexpected(root.at(), &root.name, "<presence>"));
    }
    let ns = root.ns.as_deref().unwrap_or("no namespace");
    if ns != NS && ns != CPIM_NS {
        return Err(root.bad("namespace", ns, "that of PIDF"));
    }
    let mut presence = Presence { entity: root.require("entity")?.to_owned(), ..Presence::default() };
    for element in root.elements() {
        match (element.ns.as_deref(), element.name.as_str()) {
            (Some(own), "tuple") if own == ns => {
                if presence.tuples.len() >= limits::TUPLES {
                    return Err(Fault::too_much(element.at(), "tuples", limits::TUPLES));
                }
                presence.tuples.push(read_tuple(element, ns)?);
            }
            (Some(own), "note") if own == ns => presence.notes.push(read_note(element)),
            (Some(MODEL_NS), "person") => {
                presence.activities.extend(element.elements().flat_map(activities));
            }
            _ => must_understand(element, ns)?,
        }
    }
    // What `write` adds for a busy tuple is no news.
    let in_use = presence.tuples.iter().any(|tuple| tuple.status == Status::InUse);
    if in_use && presence.activities.as_slice() == [IN_USE] {
        presence.activities.clear();
    }
    let mut ids: Vec<&str> = presence.tuples.iter().map(|tuple| tuple.id.as_str()).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(Fault::syntax(root.at(), "two tuples have the same id"));
    }
    Ok(presence)
}

fn read_tuple(element: &Element, ns: &str) -> Result<Tuple, Fault> {
    let mut tuple = Tuple { id: id_of_xml(element.require("id")?).to_owned(), ..Tuple::default() };
    let mut statuses = 0;
    let mut busy = false;
    for child in element.elements() {
        match (child.ns.as_deref(), child.name.as_str()) {
            (Some(own), "status") if own == ns => {
                statuses += 1;
                read_status(child, ns, &mut tuple)?;
            }
            (Some(own), "contact") if own == ns => read_contact(child, &mut tuple)?,
            (Some(own), "note") if own == ns => tuple.notes.push(read_note(child)),
            (Some(own), "timestamp") if own == ns => tuple.timestamp = Some(time(child)?),
            (Some(RPID_NS), "activities") => busy |= activities(child).next().is_some(),
            _ => must_understand(child, ns)?,
        }
    }
    if statuses != 1 {
        return Err(Fault::missing(element.at(), "the one <status> of a <tuple>"));
    }
    if busy && tuple.status == Status::Open {
        tuple.status = Status::InUse;
    }
    Ok(tuple)
}

fn read_status(element: &Element, ns: &str, tuple: &mut Tuple) -> Result<(), Fault> {
    let mut in_use = false;
    for child in element.elements() {
        match (child.ns.as_deref(), child.name.as_str()) {
            (Some(own), "basic") if own == ns => {
                if tuple.status != Status::Unknown {
                    return Err(Fault::syntax(child.at(), "a <status> has at most one <basic>"));
                }
                tuple.status = match &*child.text() {
                    "open" => Status::Open,
                    "closed" => Status::Closed,
                    other => return Err(child.bad_text(other, "\"open\" or \"closed\"")),
                };
            }
            (Some(APPLIANCE_NS), "in-use") => in_use = true,
            (Some(APPLIANCE_NS), "expires") => tuple.expires = Some(time(child)?),
            (Some(APPLIANCE_NS), "value") => tuple.extra.push(Extra {
                name: child.require("name")?.to_owned(),
                unit: child.attr("unit").map(ToOwned::to_owned),
                value: child.text().into_owned(),
            }),
            _ => must_understand(child, ns)?,
        }
    }
    if in_use && tuple.status == Status::Open {
        tuple.status = Status::InUse;
    }
    Ok(())
}

fn read_contact(element: &Element, tuple: &mut Tuple) -> Result<(), Fault> {
    if let Some(priority) = element.attr("priority") {
        let read = Priority::parse(priority);
        tuple.priority = Some(read.ok_or_else(|| element.bad("priority", priority, "a number from 0 to 1"))?);
    }
    tuple.contact = Some(element.text().into_owned()).filter(|contact| !contact.is_empty());
    Ok(())
}

fn read_note(element: &Element) -> Note {
    Note { lang: element.lang().map(ToOwned::to_owned), text: element.text().into_owned() }
}

fn time(element: &Element) -> Result<Timestamp, Fault> {
    let text = element.text();
    text.parse().map_err(|_| element.bad_text(&text, "a time like 2026-01-01T00:00:00Z"))
}

/// The names of what somebody does, of an `<activities>`.
fn activities(element: &Element) -> impl Iterator<Item = String> {
    let is_activities = element.is(RPID_NS, "activities");
    element
        .elements()
        .filter(move |child| is_activities && child.ns.as_deref() == Some(RPID_NS) && child.name != "note")
        .map(|child| child.name.clone())
}

/// RFC 3863 §4.2.3: who does not know an element that must be understood ignores the whole document.
fn must_understand(element: &Element, ns: &str) -> Result<(), Fault> {
    match element.attr_ns(ns, "mustUnderstand") {
        Some("true" | "1") => Err(Fault::unsupported(element.at(), format!("<{}>", element.name))),
        _ => Ok(()),
    }
}

//! Notifications of lists (RFC 4662): `application/rlmi+xml` says what the other parts of a
//! `multipart/related` body are about.

use super::fault::{At, Fault};
use super::limits;
use super::multipart::{self, Multipart, Part};
use super::presence::Note;
use super::xml::{Element, Writer, expect_root, read as read_xml};

/// Media type of the part that explains the others.
pub const CONTENT_TYPE: &str = "application/rlmi+xml";
const NS: &str = "urn:ietf:params:xml:ns:rlmi";

/// The state of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlmi {
    /// Address of the list.
    pub uri: String,
    /// 0 in the first document of a subscription, then one more in each.
    pub version: u32,
    /// Whether every resource is there, or only those that changed.
    pub full: bool,
    /// Names for people.
    pub names: Vec<Note>,
    /// The resources.
    pub resources: Vec<Resource>,
}

/// One address of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// The address.
    pub uri: String,
    /// Names for people.
    pub names: Vec<Note>,
    /// Subscriptions to it; none while its state is unknown.
    pub instances: Vec<Instance>,
}

/// One subscription behind a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The same in all documents of a subscription.
    pub id: String,
    /// Its state.
    pub state: InstanceState,
    /// Why it is terminated: a reason of Subscription-State.
    pub reason: Option<String>,
    /// Content-ID of the part with its document.
    pub cid: Option<String>,
}

/// State of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// Nobody has decided yet.
    Pending,
    /// Its documents come.
    Active,
    /// It is over; this is said once.
    Terminated,
}

impl InstanceState {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Terminated => "terminated",
        }
    }
}

/// Writes the part that explains the others.
pub fn write(rlmi: &Rlmi) -> String {
    let mut w = Writer::new();
    w.tag("list")
        .attr("xmlns", NS)
        .attr("uri", &rlmi.uri)
        .attr("version", rlmi.version)
        .attr("fullState", rlmi.full)
        .open();
    write_names(&mut w, &rlmi.names);
    for resource in &rlmi.resources {
        w.tag("resource").attr("uri", &resource.uri).open();
        write_names(&mut w, &resource.names);
        for instance in &resource.instances {
            w.tag("instance")
                .attr("id", &instance.id)
                .attr("state", instance.state.word())
                .maybe("reason", instance.reason.as_deref())
                .maybe("cid", instance.cid.as_deref())
                .empty();
        }
        w.close();
    }
    w.finish()
}

fn write_names(w: &mut Writer, names: &[Note]) {
    for name in names {
        w.tag("name").maybe("xml:lang", name.lang.as_deref()).text(&name.text);
    }
}

/// The Content-Type and the body of a whole notification. `domain` stands in the Content-ID of the
/// part that explains the others; `parts` carry the Content-IDs that the instances name.
pub fn write_related(rlmi: &Rlmi, parts: Vec<Part>, domain: &str) -> (String, Vec<u8>) {
    let start = format!("list-{}@{domain}", rlmi.version);
    let root = Part {
        content_type: Some(format!("{CONTENT_TYPE};charset=\"UTF-8\"")),
        content_id: Some(start.clone()),
        disposition: None,
        body: write(rlmi).into_bytes(),
    };
    let parts = std::iter::once(root).chain(parts).collect();
    let multipart = Multipart { subtype: "related".to_owned(), start: Some(start), parts };
    multipart::write(&multipart, &rlmi.version.to_string())
}

/// Reads a whole notification: what the list says, and the parts.
///
/// # Errors
/// When a part is malformed, the first one is no RLMI, or an instance names a part that is not there.
pub fn read_related(content_type: &str, body: &[u8]) -> Result<(Rlmi, Multipart), Fault> {
    let multipart = multipart::read(content_type, body)?;
    if multipart.subtype != "related" {
        return Err(Fault::unexpected(At::Body, &multipart.subtype, "multipart/related"));
    }
    let root =
        multipart.root().ok_or_else(|| Fault::missing(At::Body, "the part of type application/rlmi+xml"))?;
    let kind = root.content_type.as_deref().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case(CONTENT_TYPE) {
        return Err(Fault::unexpected(At::Body, kind, CONTENT_TYPE));
    }
    let rlmi = read(&root.body)?;
    let cids =
        rlmi.resources.iter().flat_map(|resource| &resource.instances).filter_map(|one| one.cid.as_deref());
    for cid in cids {
        if multipart.part(cid).is_none() {
            let cid = super::fault::short(cid);
            return Err(Fault::missing(At::Body, format!("the part with Content-ID <{cid}>")));
        }
    }
    Ok((rlmi, multipart))
}

/// Reads the part that explains the others.
///
/// # Errors
/// When it is no RLMI.
pub fn read(body: &[u8]) -> Result<Rlmi, Fault> {
    let root = read_xml(body)?;
    expect_root(&root, NS, "list")?;
    let full = match root.require("fullState")? {
        "true" | "1" => true,
        "false" | "0" => false,
        other => return Err(root.bad("fullState", other, "true or false")),
    };
    let resources = root.elements().filter(|element| element.is(NS, "resource")).map(read_resource);
    Ok(Rlmi {
        uri: root.require("uri")?.to_owned(),
        version: root.number("version")?.ok_or_else(|| Fault::missing(root.at(), "version of <list>"))?,
        full,
        names: read_names(&root),
        resources: resources.collect::<Result<_, _>>()?,
    })
}

fn read_names(element: &Element) -> Vec<Note> {
    let names = element.elements().filter(|child| child.is(NS, "name"));
    names
        .map(|name| Note { lang: name.lang().map(ToOwned::to_owned), text: name.text().into_owned() })
        .collect()
}

fn read_resource(element: &Element) -> Result<Resource, Fault> {
    let mut instances: Vec<Instance> = Vec::new();
    for child in element.elements().filter(|child| child.is(NS, "instance")) {
        if instances.len() >= limits::PARTS {
            return Err(Fault::too_much(child.at(), "instances of one resource", limits::PARTS));
        }
        let state = match child.require("state")? {
            "pending" => InstanceState::Pending,
            "active" => InstanceState::Active,
            "terminated" => InstanceState::Terminated,
            other => return Err(child.bad("state", other, "pending, active or terminated")),
        };
        instances.push(Instance {
            id: child.require("id")?.to_owned(),
            state,
            reason: child.attr("reason").map(ToOwned::to_owned),
            cid: child.attr("cid").map(ToOwned::to_owned),
        });
    }
    Ok(Resource { uri: element.require("uri")?.to_owned(), names: read_names(element), instances })
}

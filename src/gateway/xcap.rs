//! The documents of users over HTTP (XCAP, RFC 4825), without HTTP: a request goes in, an answer comes
//! out. Users prove themselves as they do over SIP, and each reads and writes what is his own.

mod conditions;
mod fault;
mod node;
mod path;
mod services;

use std::net::IpAddr;

use bytes::Bytes;

use self::conditions::{etag, refusal};
use self::fault::Conflict;
use self::node::Part;
use self::path::{End, Path, Place, Selector};
use super::{Gateway, Key, Kind, Notice, Output};
use crate::body::xml::{Document, Element, read_fragment};
use crate::body::{At, policy, resource_lists, xbuddy};
use crate::config::access::Identity;
use crate::limits;
use crate::sip::auth::{Digest, Offer, Proof, Purpose, Verdict};
use crate::timer::Now;

/// A request of HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The method, in capitals.
    pub method: String,
    /// Path and query as they were sent.
    pub target: String,
    /// Header fields, names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body; the shell bounds it to [`limits::BODY_BYTES`].
    pub body: Bytes,
}

/// An answer of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Header fields but those that the body's length makes.
    pub fields: Vec<(&'static str, String)>,
    /// The body.
    pub body: Bytes,
    /// To be given only when what was to be kept before it is on the disk; else
    /// [`Answer::not_kept`] is given.
    pub kept: bool,
}

const ELEMENT: &str = "application/xcap-el+xml";
const ATTRIBUTE: &str = "application/xcap-att+xml";
const NAMESPACES: &str = "application/xcap-ns+xml";

impl Request {
    /// The first field of that name.
    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the body is of that type, whatever its parameters.
    fn is_of(&self, content_type: &str) -> bool {
        let kind = self.field("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(content_type)
    }
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: Bytes::new(), kept: false }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn with_body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        let mut answer = self.with("content-type", content_type);
        answer.body = body.into();
        answer
    }

    /// An answer for people.
    pub fn text(status: u16, why: &str) -> Self {
        Self::new(status).with_body("text/plain; charset=utf-8", format!("{why}\n"))
    }

    /// What is said when the disk took nothing.
    pub fn not_kept() -> Self {
        Self::text(
            507,
            "It counts until the gateway ends, and could not be written to its disk; try again later",
        )
    }
}

impl Gateway {
    /// Answers one request of the address `peer`.
    pub(super) fn on_http(&mut self, request: &Request, peer: IpAddr, now: Now) -> Answer {
        if self.leaving {
            return Answer::text(503, "The gateway is about to end").with("retry-after", "5");
        }
        if !request.target.starts_with(path::ROOT) {
            return Answer::text(404, "Documents are under /xcap-root/");
        }
        let user = match self.prove_http(request, peer, now) {
            Ok(user) => user,
            Err(answer) => return answer,
        };
        let Some(path) = Path::read(&request.target) else {
            return Answer::text(
                404,
                "There is no such document, or its part is selected in a way that is not known",
            );
        };
        let xui = match &path.document {
            Place::Own { xui, .. } => Some(xui),
            Place::Services { xui } => xui.as_ref(),
            Place::Capabilities => None,
        };
        if xui.is_some_and(|xui| !self.is_own(xui, &user, request)) {
            self.counters.forbidden += 1;
            return Answer::text(403, "This is somebody else's");
        }
        match &path.document {
            Place::Own { kind, .. } => {
                let key = Key { kind: *kind, user };
                self.own_document(request, &key, path.node.as_ref(), now)
            }
            Place::Capabilities => {
                read_only(request, path.node.as_ref(), services::CAPABILITIES, &services::capabilities())
            }
            Place::Services { xui } => {
                let who = Identity::User(user.clone());
                let text = self.services(&who, xui.is_none());
                read_only(request, path.node.as_ref(), services::SERVICES, &text)
            }
        }
    }

    /// Who asks: the same users, nonces and slowing of guesses as over SIP.
    fn prove_http(&mut self, request: &Request, peer: IpAddr, now: Now) -> Result<String, Answer> {
        let realm = &self.config.house.domain;
        let offered = request.fields.iter().filter(|(name, _)| name == "authorization");
        let digest = offered
            .filter_map(|(_, value)| Digest::parse(value.as_bytes()))
            .find(|digest| digest.realm == Some(realm));
        let verdict = match digest {
            Some(digest) => {
                // Who writes rules opens the house: its proof counts once, like that of a command.
                let writes = matches!(request.method.as_str(), "PUT" | "DELETE");
                let rules = Path::read(&request.target)
                    .is_some_and(|path| matches!(path.document, Place::Own { kind: Kind::Rules, .. }));
                let purpose = if writes && rules { Purpose::Control } else { Purpose::Query };
                let proof = Proof { digest, method: &request.method, body: &request.body };
                self.auth.judge(&proof, peer, purpose, &self.secrets, now)
            }
            None => Verdict::Unknown,
        };
        match (verdict, digest.and_then(|digest| digest.uri)) {
            (Verdict::Is(user), Some(covered)) if covers(covered, &request.target) => Ok(user.to_owned()),
            (Verdict::Is(_), _) => Err(Answer::text(400, "The digest covers another address")),
            (verdict, _) => {
                self.counters.challenges += 1;
                let fields = self.auth.challenge(peer, verdict == Verdict::Stale, Offer::Both, now);
                let mut answer = Answer::text(401, "Log in as a user of this house");
                let challenges = fields.lines().filter_map(|line| line.split_once(": "));
                answer.fields.extend(challenges.map(|(_, value)| ("www-authenticate", value.to_owned())));
                Err(answer)
            }
        }
    }

    /// Whether a user identifier means this user: `sip:anna@home.example` or `anna`. A phone that knows
    /// no domain writes the host that it reaches, and the port of SIP.
    fn is_own(&self, xui: &str, user: &str, request: &Request) -> bool {
        let (name, domain) = xui.strip_prefix("sip:").unwrap_or(xui).split_once('@').unwrap_or((xui, ""));
        let host = without_port(request.field("host").unwrap_or_default());
        let known = [self.config.house.domain.as_str(), host];
        let here = known.iter().any(|known| without_port(domain).eq_ignore_ascii_case(known));
        (domain.is_empty() || here) && name == user
    }

    fn own_document(&mut self, request: &Request, key: &Key, node: Option<&Selector>, now: Now) -> Answer {
        let text = self.kept.text(key).cloned();
        let tag = text.as_deref().map(etag);
        let document = text.as_deref().and_then(|text| Document::read(text).ok());
        let part = match (node, &document) {
            (Some(selector), Some(document)) => node::get(document, selector, namespaces(key.kind)),
            _ => None,
        };
        let exists = if node.is_some() { part.is_some() } else { text.is_some() };
        if let Some(refusal) = refusal(request, tag.as_deref(), exists) {
            return refusal;
        }
        match (request.method.as_str(), node) {
            ("GET" | "HEAD", None) => self.whole(request, key, text),
            ("GET" | "HEAD", Some(_)) => given(part, tag.as_deref()),
            ("PUT" | "DELETE", _) if !self.may_keep(key.kind, &key.user) => {
                self.counters.forbidden += 1;
                Answer::text(403, "Only owners of the house write rules")
            }
            ("PUT", None) => match self.put_whole(request, key, now) {
                Ok(()) => self.written(key, text.is_none()),
                Err(answer) => answer,
            },
            ("DELETE", _) if !exists => Answer::text(404, "There is nothing there"),
            ("DELETE", None) => {
                self.remove_document(key, now);
                self.tell_document(key, "taken away");
                let mut answer = Answer::new(200);
                answer.kept = true;
                answer
            }
            ("PUT" | "DELETE", Some(selector)) => {
                let parent = request.target.split("/~~").next().unwrap_or_default().to_owned();
                let document = document.ok_or_else(|| Conflict::NoParent.answer(&parent));
                match document.and_then(|document| self.change(request, key, document, selector, now)) {
                    Ok(new) => self.written(key, new),
                    Err(answer) => answer,
                }
            }
            _ => Answer::text(405, "Only GET, HEAD, PUT and DELETE are known")
                .with("allow", "GET, HEAD, PUT, DELETE"),
        }
    }

    fn whole(&self, request: &Request, key: &Key, text: Option<Bytes>) -> Answer {
        let Some(text) = text else { return Answer::text(404, "Nothing has been written there yet") };
        let answer = Answer::new(200).with("etag", etag(&text));
        let old = request.field("accept").is_some_and(|accept| accept.trim() == xbuddy::CONTENT_TYPE);
        match self.kept.lists.get(&key.user) {
            Some(lists) if old && key.kind == Kind::Lists && self.speaks_2000() => {
                answer.with_body(xbuddy::CONTENT_TYPE, xbuddy::write(&super::buddies::as_one(lists)))
            }
            _ => answer.with_body(content_type(key.kind), text),
        }
    }

    fn put_whole(&mut self, request: &Request, key: &Key, now: Now) -> Result<(), Answer> {
        if key.kind == Kind::Lists && request.is_of(xbuddy::CONTENT_TYPE) && self.speaks_2000() {
            let list = xbuddy::read(&request.body).map_err(|why| Conflict::of_document(&why).answer(""))?;
            let text = resource_lists::write(&[super::buddies::named(list)]);
            let document = Document::read(text.as_bytes());
            return self.put(key, document.map_err(|why| Conflict::of_document(&why))?, text.into(), now);
        }
        if !request.is_of(content_type(key.kind)) {
            return Err(wrong_type(content_type(key.kind)));
        }
        let document = Document::read(&request.body).map_err(|why| Conflict::of_document(&why))?;
        self.put(key, document, request.body.clone(), now)
    }

    /// Changes a part of a document; true when it is new.
    fn change(
        &mut self,
        request: &Request,
        key: &Key,
        mut document: Document,
        selector: &Selector,
        now: Now,
    ) -> Result<bool, Answer> {
        let names = namespaces(key.kind);
        let parent = request.target.split("/~~").next().unwrap_or_default();
        let conflict = |conflict: Conflict| conflict.answer(parent);
        let new = match (request.method.as_str(), &selector.end) {
            ("PUT", End::Element) if request.is_of(ELEMENT) => {
                let default = names.first().copied().unwrap_or_default();
                let element = document.fragment(&request.body, default);
                let element = element.map_err(|why| conflict(Conflict::NotFragment(why.to_string())))?;
                node::put_element(&mut document, selector, element, names).map_err(conflict)?
            }
            ("PUT", End::Attribute(name)) if request.is_of(ATTRIBUTE) => {
                let value = attribute_value(&request.body).ok_or_else(|| conflict(Conflict::NotValue))?;
                node::put_attribute(&mut document, &selector.steps, name, value, names).map_err(conflict)?
            }
            ("PUT", End::Element) => return Err(wrong_type(ELEMENT)),
            ("PUT", End::Attribute(_)) => return Err(wrong_type(ATTRIBUTE)),
            ("PUT", End::Namespaces) => {
                return Err(Answer::text(405, "Namespaces are only read").with("allow", "GET, HEAD"));
            }
            _ => {
                node::remove(&mut document, selector, names).map_err(conflict)?;
                false
            }
        };
        let text = Bytes::from(document.write());
        self.put(key, document, text, now)?;
        Ok(new)
    }

    /// Takes a document in its new form.
    fn put(&mut self, key: &Key, document: Document, text: Bytes, now: Now) -> Result<(), Answer> {
        conditions::check(key.kind, &document.root)?;
        if text.len() > limits::BODY_BYTES {
            return Err(Conflict::Constraint(format!("more than {} bytes", limits::BODY_BYTES)).into());
        }
        if self.kept.bytes_without(key) + text.len() > limits::KEPT_BYTES {
            return Err(Answer::text(507, "There is no room for more documents in this house"));
        }
        let taken = self.write_document(key.clone(), text, now);
        taken.map_err(|why| Answer::from(Conflict::Schema(why)))
    }

    fn written(&mut self, key: &Key, new: bool) -> Answer {
        self.tell_document(key, "written");
        let mut answer = Answer::new(if new { 201 } else { 200 });
        answer.kept = true;
        match self.kept.text(key) {
            Some(text) => answer.with("etag", etag(text)),
            None => answer,
        }
    }

    fn tell_document(&mut self, key: &Key, what: &'static str) {
        let notice = Notice::Document { user: key.user.clone(), kind: key.kind.word(), what };
        self.outputs.push_back(Output::Tell(notice));
    }
}

impl From<Conflict> for Answer {
    fn from(conflict: Conflict) -> Self {
        conflict.answer("")
    }
}

/// A document that is only read.
fn read_only(request: &Request, node: Option<&Selector>, content_type: &str, text: &str) -> Answer {
    if !matches!(request.method.as_str(), "GET" | "HEAD") {
        return Answer::text(405, "This document is only read").with("allow", "GET, HEAD");
    }
    let tag = etag(text.as_bytes());
    if let Some(refusal) = refusal(request, Some(&tag), true) {
        return refusal;
    }
    match node {
        None => Answer::new(200).with("etag", tag).with_body(content_type, text.to_owned()),
        Some(selector) => {
            let document = Document::read(text.as_bytes()).ok();
            let names = [services::CAPABILITIES_NS, services::SERVICES_NS, services::LISTS_NS];
            given(document.and_then(|document| node::get(&document, selector, &names)), Some(&tag))
        }
    }
}

/// A part of a document.
fn given(part: Option<Part>, tag: Option<&str>) -> Answer {
    let (content_type, text) = match part {
        None => return Answer::text(404, "The document has no such part, or more than one"),
        Some(Part::Element(text)) => (ELEMENT, text),
        Some(Part::Attribute(text)) => (ATTRIBUTE, text),
        Some(Part::Namespaces(text)) => (NAMESPACES, text),
    };
    Answer::new(200).with("etag", tag.unwrap_or_default()).with_body(content_type, text)
}

fn wrong_type(wanted: &str) -> Answer {
    Answer::text(415, &format!("The body must be {wanted}")).with("accept", wanted)
}

fn content_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Rules => policy::CONTENT_TYPE,
        Kind::Lists => resource_lists::CONTENT_TYPE,
        Kind::Isolated => "text/plain",
    }
}

/// The namespaces of names without prefix, the first one that of new elements without one.
fn namespaces(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Rules => &["urn:ietf:params:xml:ns:common-policy", "urn:ietf:params:xml:ns:pres-rules"],
        Kind::Lists => &[services::LISTS_NS],
        Kind::Isolated => &[],
    }
}

/// Whether a digest uri means what is asked for: the same, or the same with a server before it.
fn covers(covered: &str, target: &str) -> bool {
    let rest = covered.split_once("://").map(|(_, rest)| rest.find('/').and_then(|at| rest.get(at..)));
    covered == target || rest.flatten() == Some(target)
}

/// A host without its port.
fn without_port(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(host, _)| host)
}

/// A value as it stands in XML, without its quotes.
fn attribute_value(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok().filter(|text| !text.contains(['"', '<']))?;
    let around: Vec<Element> = read_fragment(format!("<x a=\"{text}\"/>").as_bytes()).ok()?;
    let [element] = around.as_slice() else { return None };
    (element.at() == At::Line(1)).then(|| element.attr("a").unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests;

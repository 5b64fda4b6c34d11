//! The presence of people: where they registered, and what they and their phones say of it, as one
//! document (RFC 3903 §3 calls this a compositor).
//!
//! A presence is the union of atoms (draft-rosenberg-impp-pidf-00 §2): one for each Contact that is
//! registered, named by the MD5 of its address, then those of bodies in REGISTER, which live as long
//! as their Contact, then those of PUBLISH. Of two atoms with one name the newer counts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rand::Rng as _;

use super::Gateway;
use super::request::Request;
use crate::body::presence::{Presence, Status, Tuple};
use crate::body::{lpidf, pidf, xpidf};
use crate::config::Config;
use crate::config::access::Identity;
use crate::event::{Subject, identity_of, matrix};
use crate::limits;
use crate::sip::Rejection;
use crate::sip::auth::Purpose;
use crate::sip::dialog::target_of;
use crate::sip::notifier::Resource;
use crate::sip::publication::{self, Publications, Wish};
use crate::sip::registrar::Binding;
use crate::sip::transaction::Weight;
use crate::sip::wire::{Address, Name};
use crate::timer::Now;

/// What people publish of themselves.
#[derive(Debug, Default)]
pub(super) struct Published {
    /// By PUBLISH, for the user of that index.
    documents: Publications<usize, Document>,
    /// In REGISTER, by user.
    registered: BTreeMap<String, Vec<Registered>>,
    /// When something of a user ends, besides his documents.
    ends: BTreeMap<usize, Instant>,
    /// The Contact that a user was reached at last.
    last: BTreeMap<String, Tuple>,
    serial: u64,
}

/// A document, and how new it is.
#[derive(Clone, Debug)]
struct Document {
    serial: u64,
    presence: Presence,
}

/// A document that lives as long as a Contact.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    contact: String,
    presence: Presence,
}

/// Contact parameters that a presence tells; others are the phone's own business.
const TOLD: [&str; 8] =
    ["methods", "mobility", "class", "duplex", "features", "language", "description", "automata"];

impl Published {
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.ends.values().copied().chain(self.documents.next_deadline()).min()
    }

    /// Takes the document of a REGISTER; it replaces an older one with the same Contact.
    pub(super) fn register(&mut self, user: &str, document: Registered) {
        let known = self.registered.entry(user.to_owned()).or_default();
        known.retain(|older| older.contact != document.contact);
        known.push(document);
    }

    /// Users have other places now; what is published for those who are gone is forgotten.
    pub(super) fn relocate(&mut self, new: &Config, to: impl Fn(usize) -> Option<usize>) {
        self.documents.relocate(to);
        let stays = |user: &String| new.users.iter().any(|known| known.name == *user);
        self.registered.retain(|user, _| stays(user));
        self.last.retain(|user, _| stays(user));
        self.ends.clear();
    }
}

impl Gateway {
    /// A PUBLISH to a person's address, in the order of RFC 3903 §6. People speak for themselves alone.
    pub(super) fn publish_presence(
        &mut self,
        request: &Request<'_, '_>,
        user: usize,
        purpose: Purpose,
        now: Now,
    ) -> Result<(), Rejection> {
        let who = self.prove(request, purpose, now)?;
        let name = self.config.users.get(user).map(|user| user.name.clone()).unwrap_or_default();
        if who != Identity::User(name.clone()) {
            self.counters.forbidden += 1;
            return Err(match self.config.access.may_watch(&who, &name) {
                true => Rejection::new(403, "Not Your Address"),
                false => Rejection::new(404, "No Such Appliance"),
            });
        }
        let event = request.message.event().map(|event| event.package);
        if !event.is_some_and(|package| package.eq_ignore_ascii_case("presence")) {
            return Err(Rejection::new(489, "Bad Event").with("Allow-Events", "presence"));
        }
        let (wish, expires) = publication::read(request.message)?;
        let known = match wish {
            Wish::Initial => None,
            Wish::Refresh(tag) | Wish::Modify(tag) | Wish::Remove(tag) => {
                Some((tag, self.published.documents.get(tag, user, &name, now)?.clone()))
            }
        };
        let document = match (&wish, known) {
            (Wish::Remove(_), _) => None,
            (Wish::Refresh(_), Some((tag, document))) => Some((Some(tag), document)),
            (_, known) => {
                let presence =
                    self.document_in(request, "PUBLISH", &name, now)?.ok_or_else(|| self.unsupported())?;
                self.room_for_document(user, known.is_some())?;
                self.published.serial += 1;
                let document = Document { serial: self.published.serial, presence };
                Some((known.map(|(tag, _)| tag), document))
            }
        };
        let key = self.open(request, Weight::Light)?;
        let fields = match (wish, document) {
            (_, Some((old, document))) => {
                let tag: u64 = self.rng.random();
                self.published.documents.put(old, tag, user, &name, document, now.mono + expires);
                format!("SIP-ETag: {tag:016x}\r\nExpires: {}\r\n", expires.as_secs())
            }
            (Wish::Remove(tag), None) => {
                self.published.documents.remove(tag);
                // Each 2xx has a tag (RFC 3903 §6): this one names what is gone.
                format!("SIP-ETag: {:016x}\r\nExpires: 0\r\n", self.rng.random::<u64>())
            }
            (_, None) => String::new(),
        };
        let to_tag = self.stateless_tag(request.message);
        let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&to_tag));
        writer.raw(fields.as_bytes());
        self.transactions.answer(key, 200, writer.finish(), now.mono);
        self.compose(user, now);
        Ok(())
    }

    fn unsupported(&self) -> Rejection {
        let types: Vec<&str> = matrix::carried("PUBLISH", self.config.compat).collect();
        Rejection::new(415, "Unsupported Media Type").with("Accept", &types.join(", "))
    }

    fn room_for_document(&self, user: usize, replaces: bool) -> Result<(), Rejection> {
        self.published.documents.room()?;
        if !replaces && self.published.documents.count(user) >= limits::DOCUMENTS_PER_USER {
            return Err(Rejection::new(503, "Too Many Publications").with("Retry-After", "60"));
        }
        Ok(())
    }

    /// The presence document of a REGISTER, which lives as long as its first Contact. Other bodies are
    /// passed over.
    pub(super) fn document_of_register(
        &self,
        request: &Request<'_, '_>,
        user: &str,
        now: Now,
    ) -> Result<Option<Registered>, Rejection> {
        let kind = request.message.content_type().unwrap_or_default();
        if let Some(status) = matrix::refuses("REGISTER", Some(kind), self.config.compat) {
            return Err(Rejection::new(status, "Unsupported Media Type").with("Accept", ""));
        }
        let Some(presence) = self.document_in(request, "REGISTER", user, now)? else { return Ok(None) };
        let first = request.message.list(Name::Contact).next();
        let contact = first.ok_or(Rejection::new(400, "A Document Needs A Contact"))?;
        let Ok(contact) = target_of(contact) else { return Ok(None) };
        Ok(Some(Registered { contact: contact.to_owned(), presence }))
    }

    /// The presence document in a request of `user`; `None` where its body is none.
    fn document_in(
        &self,
        request: &Request<'_, '_>,
        method: &str,
        user: &str,
        now: Now,
    ) -> Result<Option<Presence>, Rejection> {
        let body = request.message.body;
        let kind = request.message.content_type().unwrap_or_default().to_ascii_lowercase();
        let compat = self.config.compat;
        if body.is_empty() || matrix::refuses(method, Some(&kind), compat).is_some() {
            return Ok(None);
        }
        let read = match kind.as_str() {
            pidf::CONTENT_TYPE | pidf::CPIM_CONTENT_TYPE => pidf::read(body),
            xpidf::CONTENT_TYPE => xpidf::read(body),
            lpidf::CONTENT_TYPE => lpidf::read(body, wall(now)),
            _ => return Ok(None),
        };
        let presence = read.map_err(|fault| {
            let reason = fault.to_string().replace(char::is_control, " ");
            Rejection { status: fault.status(), reason: reason.into(), fields: String::new() }
        })?;
        if presence.tuples.len() > limits::PERSON_TUPLES {
            return Err(Rejection::new(413, "Too Many Tuples"));
        }
        if !self.is_address_of(&presence.entity, user, request) {
            return Err(Rejection::new(400, "The Document Is About Somebody Else"));
        }
        Ok(Some(presence))
    }

    /// Whether an entity is the address of `user` here, whatever its scheme.
    fn is_address_of(&self, entity: &str, user: &str, request: &Request<'_, '_>) -> bool {
        let address = entity.split_once(':').map_or(entity, |(_, address)| address);
        let address = address.split(';').next().unwrap_or(address);
        let Some((name, host)) = address.split_once('@') else { return false };
        let host =
            host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |it| it.0);
        let is = |known: &str| host.eq_ignore_ascii_case(known);
        name == user && (is(&self.config.house.domain) || is(request.uri.host))
    }

    /// Puts the presence of everybody together.
    pub(super) fn compose_all(&mut self, now: Now) {
        for user in 0..self.config.users.len() {
            self.compose(user, now);
        }
    }

    /// Puts the presence of a user together, by name.
    pub(super) fn compose_named(&mut self, name: &str, now: Now) {
        if let Some(user) = self.config.users.iter().position(|user| user.name == name) {
            self.compose(user, now);
        }
    }

    /// Puts the presence of a user together, and tells his watchers where it has changed.
    fn compose(&mut self, user: usize, now: Now) {
        let Some(name) = self.config.users.get(user).map(|user| user.name.clone()) else { return };
        let bindings: Vec<&Binding> = self.registrar.reach(&name, now).collect();
        let live = |registered: &Registered| bindings.iter().any(|it| it.contact == registered.contact);
        if let Some(registered) = self.published.registered.get_mut(&name) {
            registered.retain(live);
        }
        let entity = format!("sip:{name}@{}", self.config.house.domain);
        let mut presence =
            Presence { entity: entity.clone(), display: Some(name.clone()), ..Presence::default() };
        presence.tuples = bindings.iter().filter_map(|binding| atom(binding, now)).collect();
        if let Some(first) = presence.tuples.first() {
            self.published.last.insert(name.clone(), first.clone());
        }
        let mut end = bindings.iter().map(|binding| binding.expires).min();
        let registered = self.published.registered.get(&name).into_iter().flatten();
        let mut published: Vec<&Document> = self.published.documents.of(user).collect();
        published.sort_by_key(|document| document.serial);
        let layers = registered.map(|it| &it.presence).chain(published.into_iter().map(|it| &it.presence));
        for layer in layers {
            presence.merge(Presence { entity: entity.clone(), ..layer.clone() });
        }
        presence.expire(wall(now));
        let atoms = presence.tuples.iter().filter_map(|tuple| left(tuple.expires?, now));
        end = end.into_iter().chain(atoms.map(|left| now.mono + left)).min();
        if presence.tuples.is_empty() {
            presence.tuples.push(self.closed(&name, &entity));
        }
        let surplus = presence.tuples.len().saturating_sub(limits::PERSON_TUPLES);
        presence.tuples.drain(..surplus);
        match end {
            Some(end) => self.published.ends.insert(user, end),
            None => self.published.ends.remove(&user),
        };
        if self.people.set(user, presence) {
            self.notifier.changed(Subject::User(user).code(), now);
            let on = self.custom.iter().filter(|(_, list)| list.people().any(|other| other == user));
            for (index, _) in on {
                let may_watch =
                    |who: &str, _: Resource| self.config.access.may_watch(&identity_of(who), &name);
                self.notifier.changed_for(Subject::Custom(index).code(), may_watch, now);
            }
        }
    }

    /// Somebody who cannot be reached: the Contact of before, closed, or his address.
    fn closed(&self, name: &str, entity: &str) -> Tuple {
        match self.published.last.get(name) {
            Some(last) => Tuple { status: Status::Closed, priority: None, ..last.clone() },
            None => Tuple::of(entity, Status::Closed),
        }
    }

    /// What of people ends now.
    pub(super) fn on_people_deadlines(&mut self, now: Now) {
        if self.published.next_deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        let mut over: Vec<usize> =
            self.published.ends.iter().filter(|(_, at)| **at <= now.mono).map(|(user, _)| *user).collect();
        while let Some((user, _)) = self.published.documents.expired(now) {
            over.push(user);
        }
        over.sort_unstable();
        over.dedup();
        for user in over {
            self.published.ends.remove(&user);
            self.compose(user, now);
        }
    }
}

/// The atom of a Contact: open, closed where its `q` is 0, and what it says of itself. A push token in
/// its address is for the phone's provider alone.
fn atom(binding: &Binding, now: Now) -> Option<Tuple> {
    let text = format!("<{}>{}", binding.contact, binding.params);
    let mut tuple = lpidf::tuple(&Address::parse(text.as_bytes()).ok()?, wall(now)).ok()?;
    tuple.extra.retain(|extra| TOLD.contains(&extra.name.as_str()));
    let shown = binding.contact.split(';').filter(|param| !param.to_ascii_lowercase().starts_with("pn-"));
    tuple.contact = Some(shown.collect::<Vec<_>>().join(";"));
    Some(tuple)
}

fn wall(now: Now) -> Timestamp {
    Timestamp::from_millisecond(now.wall_ms).unwrap_or_default()
}

/// How long it is until then; a moment more, so that it is over at that time.
fn left(end: Timestamp, now: Now) -> Option<Duration> {
    let ms = u64::try_from(end.as_millisecond().saturating_sub(now.wall_ms)).ok()?;
    Some(Duration::from_millis(ms.min(LONGEST_MS) + 1))
}

/// A day: what lasts longer is looked at again then.
const LONGEST_MS: u64 = 24 * 3600 * 1000;

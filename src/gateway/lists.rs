//! Lists that people wrote, as something to subscribe to: those that they keep have the address
//! `sip:list.NAME@DOMAIN` (RFC 4826 §4), others come with the SUBSCRIBE (RFC 5367).

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use super::Gateway;
use super::request::Request;
use crate::body::multipart;
use crate::body::resource_lists::{self, Entry, List};
use crate::config::access::Identity;
use crate::config::{Config, DeviceId};
use crate::control::target::Target;
use crate::device::house::House;
use crate::event::custom::{CustomEntry, CustomList, CustomLists};
use crate::event::{OUTSIDE, Rooms, Subject, identity_of, key_of, list};
use crate::limits;
use crate::sip::Rejection;
use crate::sip::notifier::{End, Moment, Resource};
use crate::sip::wire::uri::unescape;
use crate::sip::wire::{Name, Uri};
use crate::timer::Now;

/// Before the name of a list that somebody keeps.
pub(super) const OWN: &str = "list.";
/// The extension of a SUBSCRIBE that brings its list along.
pub(super) const RECIPIENT_LIST: &str = "recipient-list-subscribe";

impl Gateway {
    /// The list that a SUBSCRIBE names or brings along, where it does.
    pub(super) fn written_list(
        &mut self,
        request: &Request<'_, '_>,
        who: &Identity,
    ) -> Result<Option<Subject>, Rejection> {
        let found = if request.message.has_option(Name::Require, RECIPIENT_LIST) {
            self.brought_list(request, who)?
        } else {
            match request.uri.user_text().as_deref().and_then(|user| user.strip_prefix(OWN)) {
                Some(name) => self.kept_list(who, name, request.uri.host).ok_or_else(no_list)?,
                None => return Ok(None),
            }
        };
        let notifier = &self.notifier;
        let place = self.custom.place(found, |index| notifier.is_watched(Subject::Custom(index).code()));
        let place = place
            .ok_or_else(|| Rejection::new(503, "Too Many Lists Are Watched").with("Retry-After", "60"))?;
        Ok(Some(Subject::Custom(place)))
    }

    /// The list in the body, on its own or as a part.
    fn brought_list(&self, request: &Request<'_, '_>, who: &Identity) -> Result<CustomList, Rejection> {
        let user = request.uri.user_text();
        let own = user.as_deref().is_some_and(|user| user.starts_with(OWN));
        let target = self.resolve(&request.uri, request.hop);
        if !own && !matches!(target, Some(Target::House | Target::All | Target::RoomList(_))) {
            return Err(Rejection::new(403, "Lists Go To The House"));
        }
        let message = request.message;
        let coding = message.first(Name::ContentEncoding);
        if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(
                Rejection::new(415, "Unsupported Content-Encoding").with("Accept-Encoding", "identity")
            );
        }
        let whole = message.first(Name::ContentType).and_then(|kind| std::str::from_utf8(kind).ok());
        let whole = whole.unwrap_or_default();
        let bad = |why: crate::body::Fault| Rejection {
            status: why.status(),
            reason: why.to_string().into(),
            fields: String::new(),
        };
        let lists = if multipart::is_multipart(whole) {
            let parts = multipart::read(whole, message.body).map_err(bad)?.parts;
            let part = parts.iter().find(|part| part.content_type.as_deref().is_some_and(is_list));
            resource_lists::read(&part.ok_or_else(unsupported)?.body)
        } else if is_list(whole) {
            resource_lists::read(message.body)
        } else {
            return Err(unsupported());
        };
        let lists = lists.map_err(bad)?;
        let host = request.uri.host;
        let entries = self.entries(lists.iter().flat_map(List::entries), host);
        if entries.is_empty() {
            return Err(Rejection::new(400, "The List Is Empty"));
        }
        if entries.iter().filter(|entry| !entry.member).count() > limits::LIST_ENTRIES {
            return Err(Rejection::new(413, "The List Is Too Long"));
        }
        let title = lists.iter().find_map(|list| list.display.clone()).unwrap_or_default();
        Ok(CustomList { owner: key_of(who).to_owned(), name: None, title, host: host.to_owned(), entries })
    }

    fn kept_list(&self, who: &Identity, name: &str, host: &str) -> Option<CustomList> {
        let Identity::User(user) = who else { return None };
        let same = |list: &&List| list.name.as_deref() == Some(name);
        let lists = self.kept.lists.get(user)?;
        let list = lists
            .iter()
            .find(same)
            // Phones that write names in lower case.
            .or_else(|| {
                lists.iter().find(|list| list.name.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(name)))
            })?;
        let entries = self.entries(list.entries().into_iter().take(limits::LIST_ENTRIES), host);
        let title = list.display.clone().unwrap_or_else(|| name.to_owned());
        let host = host.to_owned();
        Some(CustomList { owner: user.clone(), name: list.name.clone(), title, host, entries })
    }

    /// Addresses with the appliances behind them, each address once. A room or a list of the house stands
    /// for its appliances, each of which is brought along once; a list that somebody wrote is not looked
    /// into, so that none can hold itself. What of it its watcher may see is not asked here, so nothing
    /// of how they are counted may show. `host` is this gateway, as the watcher calls it.
    fn entries<'e>(&self, entries: impl Iterator<Item = &'e Entry>, host: &str) -> Vec<CustomEntry> {
        let domain = &self.config.house.domain;
        let mut found: Vec<CustomEntry> = Vec::new();
        let (mut written, mut brought) = (HashSet::new(), HashSet::new());
        for entry in entries {
            let uri = Uri::parse(entry.uri.trim()).ok();
            let ours = uri.is_some_and(|uri| {
                uri.is_sip() && [domain, host].iter().any(|here| uri.host.eq_ignore_ascii_case(here))
            });
            let target = uri.filter(|_| ours).and_then(|uri| self.names.resolve(&uri));
            let device = target.and_then(Target::device);
            let inside = match target {
                Some(Target::All) => Some(Subject::All),
                Some(Target::Room(room) | Target::RoomList(room)) => Some(Subject::RoomList(room)),
                Some(Target::Class(class)) => Some(Subject::Class(class)),
                _ => None,
            };
            let uri = entry.uri.trim();
            if !written.insert(uri) || written.len() > limits::LIST_ENTRIES + 1 {
                continue;
            }
            found.push(CustomEntry {
                uri: uri.to_owned(),
                title: entry.display.clone(),
                ours,
                device,
                user: target.and_then(Target::user),
                place: inside,
                member: false,
            });
            let Some(subject) = inside else { continue };
            let within = self.house.devices().filter(|(id, _)| match subject {
                Subject::RoomList(room) => self.rooms.of_device(*id) == Some(room),
                Subject::Class(class) => self.rooms.is_of(class, *id),
                _ => true,
            });
            for (id, device) in within.filter(|(id, _)| brought.insert(*id)) {
                let uri = format!("sip:{}@{domain}", device.id());
                let device = Some(id);
                found.push(CustomEntry { uri, ours, device, member: true, ..CustomEntry::default() });
            }
        }
        found
    }

    /// Somebody wrote his lists anew: who watches them hears of what is on them now.
    pub(super) fn lists_changed(&mut self, user: &str, now: Now) {
        let who = Identity::User(user.to_owned());
        let watched: Vec<_> = self.custom.iter().map(|(index, list)| (index, list.clone())).collect();
        for (index, old) in watched {
            let Some(name) = old.name.clone().filter(|_| old.owner == user) else { continue };
            let code = Subject::Custom(index).code();
            let Some(new) = self.kept_list(&who, &name, &old.host).filter(|new| new.name == old.name) else {
                self.notifier.end(End::NoResource, |_, resource| resource.subject == code, now);
                continue;
            };
            let stays = |entry: &CustomEntry| new.entries.iter().any(|other| other.uri == entry.uri);
            let visible = |entry: &&CustomEntry| {
                let device = entry.device.and_then(|device| self.house.device(device));
                let person = entry.user.and_then(|user| self.config.users.get(user));
                device.is_some_and(|device| self.config.access.may_see(&who, device.id(), device.room()))
                    || person.is_some_and(|person| self.config.access.may_watch(&who, &person.name))
            };
            let gone: Vec<Moment> = old
                .entries
                .iter()
                .filter(|entry| !stays(entry))
                .filter(visible)
                .map(|entry| gone(&entry.uri, "noresource", now))
                .collect();
            self.replace_list(index, new);
            self.notifier.tell(|_, resource| (resource.subject == code).then(|| gone.clone()), now);
            self.notifier.changed(code, now);
        }
    }

    fn replace_list(&mut self, index: usize, new: CustomList) {
        if let Some((_, list)) = self.custom.iter_mut().find(|(at, _)| *at == index) {
            *list = new;
        }
    }

    /// The house is another one: what people wrote means the appliances of the new one, and who
    /// watches a list hears once of those that are gone from it (RFC 4662 §5.4).
    pub(super) fn relist(&mut self, before: &Before<'_>, now: Now) {
        let old: Vec<_> = self.custom.iter().map(|(index, list)| (index, list.clone())).collect();
        for (index, mut list) in old.iter().cloned() {
            let entries: Vec<Entry> = list
                .entries
                .iter()
                .filter(|entry| !entry.member)
                .map(|entry| Entry { uri: entry.uri.clone(), display: entry.title.clone(), added: None })
                .collect();
            list.entries = self.entries(entries.iter(), &list.host);
            self.replace_list(index, list);
        }
        let Self { notifier, config, house, rooms, custom, .. } = self;
        let new = Before { config, house, rooms };
        let old_lists = |index: usize| old.iter().find(|(known, _)| *known == index).map(|(_, list)| list);
        let lists = (&old_lists as &dyn Fn(usize) -> Option<_>, &*custom);
        let mut known = HashMap::new();
        let differs = |who: &str, resource: Resource| {
            let key = (who.to_owned(), resource.subject, resource.facet);
            known.entry(key).or_insert_with(|| difference(who, resource, (before, &new), lists, now)).clone()
        };
        notifier.tell(differs, now);
        for (index, _) in old {
            notifier.changed(Subject::Custom(index).code(), now);
        }
    }

    /// Owners decided: whoever sees more or less of a list than under `before` hears of it.
    pub(super) fn lists_rejudged(&mut self, before: &Config, now: Now) {
        let Self { notifier, config, house, rooms, custom, .. } = self;
        let (old, new) = (Before { config: before, house, rooms }, Before { config, house, rooms });
        let same = |index: usize| custom.get(index);
        let lists = (&same as &dyn Fn(usize) -> Option<_>, &*custom);
        // Many watch the same list: each is compared once.
        let mut known = HashMap::new();
        let differs = |who: &str, resource: Resource| {
            let key = (who.to_owned(), resource.subject, resource.facet);
            known.entry(key).or_insert_with(|| difference(who, resource, (&old, &new), lists, now)).clone()
        };
        notifier.tell(differs, now);
    }
}

/// What a watcher of a list is told when the house or his rights have changed: once of each appliance that
/// is gone. `None`: for him the list is the same.
fn difference<'l>(
    who: &str,
    resource: Resource,
    (old, new): (&Before<'_>, &Before<'_>),
    (old_list, custom): (&dyn Fn(usize) -> Option<&'l CustomList>, &'l CustomLists),
    now: Now,
) -> Option<Vec<Moment>> {
    let subject = Subject::of(resource.subject);
    if !subject.is_list() {
        return None;
    }
    let (who, outside) = (identity_of(who), resource.facet & OUTSIDE != 0);
    let index = if let Subject::Custom(index) = subject { Some(index) } else { None };
    let seen = |of: &Before<'_>, list: Option<&CustomList>| -> Vec<String> {
        let on_it = |id: &&str| of.has(subject, list, id);
        of.visible(&who, outside).filter(on_it).map(ToOwned::to_owned).collect()
    };
    let before = seen(old, index.and_then(old_list));
    let after = seen(new, index.and_then(|index| custom.get(index)));
    if before == after {
        return None;
    }
    let gone = before.iter().filter(|id| !after.contains(*id)).take(limits::MOMENTS);
    let gone = gone.map(|id| {
        let reason = if new.is_there(id) { "rejected" } else { "noresource" };
        self::gone(&format!("sip:{id}@{}", new.config.house.domain), reason, now)
    });
    Some(gone.collect())
}

/// A house as it was, or as it is.
pub(super) struct Before<'b> {
    pub config: &'b Config,
    pub house: &'b House,
    pub rooms: &'b Rooms,
}

impl Before<'_> {
    fn visible<'v>(&'v self, who: &'v Identity, outside: bool) -> impl Iterator<Item = &'v str> {
        let access = &self.config.access;
        let devices = self.house.devices().map(|(_, device)| device);
        let devices = devices.filter(move |device| !(outside && device.hidden()));
        devices.filter(|device| access.may_see(who, device.id(), device.room())).map(|device| device.id())
    }

    fn is_there(&self, id: &str) -> bool {
        self.house.devices().any(|(_, device)| device.id() == id)
    }

    /// Whether an appliance is on a list.
    fn has(&self, subject: Subject, list: Option<&CustomList>, id: &str) -> bool {
        let is = |device: DeviceId| self.house.device(device).is_some_and(|device| device.id() == id);
        match subject {
            Subject::RoomList(room) => {
                self.rooms.get(room).is_some_and(|room| room.devices.iter().any(|device| is(*device)))
            }
            Subject::Custom(_) => {
                list.is_some_and(|list| list.entries.iter().filter_map(|entry| entry.device).any(is))
            }
            _ => true,
        }
    }
}

/// What is said once of an appliance that is gone from a list.
fn gone(uri: &str, reason: &str, now: Now) -> Moment {
    Moment { name: Arc::from(list::GONE), value: format!("{reason} {uri}").into(), at_ms: now.wall_ms }
}

/// The name of a list as it can stand in an address.
pub(super) fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    debug_assert_eq!(unescape(&out), name);
    out
}

fn is_list(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case(resource_lists::CONTENT_TYPE)
}

fn no_list() -> Rejection {
    Rejection::new(404, "No Such List")
}

fn unsupported() -> Rejection {
    Rejection::new(415, "Unsupported Media Type").with("Accept", resource_lists::CONTENT_TYPE)
}

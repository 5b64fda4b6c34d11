//! What the notifier asks for documents: each made of the newest state, and once for all who get the same.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::custom::{CustomList, CustomLists};
use super::filter::{self, Addresses, Facts, Whose};
use super::{
    CHOSEN, EVENTS, Filters, Member, OUTSIDE, PACKAGES, PARTIAL, Package, People, Rooms, Sharing, Subject,
    View, Watching, address_of, identity_of, is_there, view_of, watcher_of_2000,
};
use super::{appliance, list, matrix};
use crate::body::filter::FilterSet;
use crate::body::presence::Presence;
use crate::config::access::Identity;
use crate::config::{Config, DeviceId};
use crate::device::alerts::{Alerts, Counts};
use crate::device::appliance::Device;
use crate::device::house::House;
use crate::device::ringing::Ringing;
use crate::sip::notifier::watchers::{Fact, Standing};
use crate::sip::notifier::{Document, Moment, Resource, Source, Watcher};
use crate::sip::wire::Uri;
use crate::timer::Now;

/// Documents of the newest state, each made once for all who watch it in the same way.
#[derive(Debug, Default)]
pub struct Cache {
    made: HashMap<Resource, Made>,
}

/// One document that is shared.
#[derive(Debug)]
struct Made {
    version: u64,
    /// The address that it names; `None` when it names none.
    entity: Option<String>,
    at_ms: i64,
    document: Document,
}

impl Made {
    /// Whether it is what such a watcher gets.
    fn fits(&self, version: u64, watcher: Watcher<'_>, now: Now) -> bool {
        let recent = || (self.at_ms..self.at_ms + MOMENT_MS).contains(&now.wall_ms);
        let same = |entity: &String| entity == watcher.entity && recent();
        self.version == version && self.entity.as_ref().is_none_or(same)
    }
}

/// How long a document counts that says how long something is so.
const MOMENT_MS: i64 = 1000;

/// Documents kept for sharing; when it is full, all are forgotten and made again.
const CACHED: usize = 256;

/// One run of the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// What tells it from others: versions begin anew with each, so the entity-tags of one are none in
    /// another.
    pub number: u64,
    /// Since when it runs, in milliseconds since 1970: since then an appliance is off that plays dead.
    pub began_ms: i64,
}

impl Run {
    /// The run of that seed, which begins now.
    pub fn new(seed: [u8; 32], now: Now) -> Self {
        // Of another stream than everything else that is drawn from this seed.
        let mut rng = ChaCha8Rng::from_seed(seed);
        rng.set_stream(1);
        Self { number: rng.random(), began_ms: now.wall_ms }
    }
}

/// What the notifier asks for documents.
#[derive(Debug)]
pub struct Documents<'a> {
    /// The configuration: names and rights.
    pub config: &'a Config,
    /// The appliances.
    pub house: &'a House,
    /// Where they stand.
    pub rooms: &'a Rooms,
    /// Lists that people wrote.
    pub custom: &'a CustomLists,
    /// What a person should know of.
    pub alerts: &'a Alerts,
    /// Bells.
    pub ringing: &'a Ringing,
    /// The people.
    pub people: &'a People,
    /// Shared documents.
    pub cache: &'a mut Cache,
    /// In which run of the gateway.
    pub run: Run,
    /// What watchers filter by.
    pub filters: &'a mut Filters,
    /// The time.
    pub now: Now,
}

impl Source for Documents<'_> {
    fn tag(&self, resource: Resource, standing: Standing) -> u64 {
        use std::hash::{DefaultHasher, Hash as _, Hasher as _};
        let mut hasher = DefaultHasher::new();
        (self.run.number, resource).hash(&mut hasher);
        if standing != Standing::Active {
            // What is told instead never changes.
            self.run.began_ms.hash(&mut hasher);
            return hasher.finish();
        }
        match Subject::of(resource.subject) {
            Subject::Alerts => self.alerts.version().hash(&mut hasher),
            subject if resource.facet & (CHOSEN | PARTIAL) != 0 => {
                self.devices(subject).for_each(|device| {
                    hash_chosen(device, resource.view, &mut hasher);
                    let member = Member { device, visible: resource.view };
                    self.hears(&member).hash(&mut hasher);
                });
            }
            Subject::Custom(index) => {
                self.custom.get(index).hash(&mut hasher);
                let devices = self.devices(Subject::Custom(index));
                devices.for_each(|device| device.shadow().version().hash(&mut hasher));
                let people = self.users(Subject::Custom(index));
                people.for_each(|user| self.people.version(user).hash(&mut hasher));
            }
            Subject::User(user) => self.people.version(user).hash(&mut hasher),
            subject => self.devices(subject).for_each(|device| {
                (device.shadow().version(), self.ringing.bell(device.index())).hash(&mut hasher);
            }),
        }
        hasher.finish()
    }

    fn document(&mut self, resource: Resource, watcher: Watcher<'_>, moments: &[Moment]) -> Option<Document> {
        let subject = Subject::of(resource.subject);
        if resource.form == matrix::NOTHING {
            return None;
        }
        let package = PACKAGES.get(resource.package).copied()?;
        if watcher.standing != Standing::Active {
            return self.instead(subject, package, resource.form, watcher);
        }
        let version = match subject {
            Subject::Device(device)
                if package.sharing() != Sharing::None && moments.is_empty() && watcher.filter.is_none() =>
            {
                self.house.device(device).map(|device| device.shadow().version())
            }
            _ => None,
        };
        if let (Some(version), Some(made)) = (version, self.cache.made.get(&resource))
            && made.fits(version, watcher, self.now)
        {
            return Some(made.document.clone());
        }
        let document = self.make(subject, package, resource, watcher, moments);
        if let Some(version) = version {
            if self.cache.made.len() >= CACHED {
                self.cache.made.clear();
            }
            let named = package.sharing() == Sharing::Address;
            let entity = named.then(|| watcher.entity.to_owned());
            let made = Made { version, entity, at_ms: self.now.wall_ms, document: document.clone() };
            self.cache.made.insert(resource, made);
        }
        Some(document)
    }

    fn watchers(
        &mut self,
        resource: Resource,
        watcher: Watcher<'_>,
        facts: &[Fact],
        full: bool,
        now: Now,
    ) -> Document {
        let package = PACKAGES.get(resource.package).copied().unwrap_or(&appliance::Appliance);
        let domain = &self.config.house.domain;
        let only = watcher_of_2000(watcher.entity);
        // A person is told of all who watch him, an owner of all who watch what he may see.
        let decides = |device: &Device| {
            self.config.access.may_decide(&identity_of(watcher.who), device.id(), device.room())
        };
        let owner = match Subject::of(resource.subject) {
            Subject::User(user) => self.config.users.get(user).is_some_and(|user| user.name == watcher.who),
            subject => {
                self.config.owners.iter().any(|owner| owner == watcher.who)
                    && self.devices(subject).all(decides)
            }
        };
        let shown: Vec<&Fact> = facts
            .iter()
            .filter(|fact| owner || fact.who == watcher.who)
            .filter(|fact| only.as_ref().is_none_or(|(only, _)| is_address(only, &fact.who, domain, watcher)))
            .collect();
        let entity = only.as_ref().map_or(watcher.entity, |(_, presentity)| presentity);
        let (form, nth) = (resource.form, watcher.nth);
        let body = package.watchers(&Watching { entity, form, nth, full, facts: &shown, domain, now });
        document_of(package, form, body)
    }

    fn is_worth(&mut self, resource: Resource, watcher: Watcher<'_>, moments: &[Moment]) -> bool {
        let Some(filter) = watcher.filter else { return true };
        let now = self.facts(resource, watcher);
        let of = |whose: Whose| {
            let id = match whose {
                Whose::Device(id) => self.house.device(id).map(Device::id),
                Whose::Person(user) => self.config.users.get(user).map(|user| user.name.as_str()),
            };
            self.addresses(id.unwrap_or_default(), watcher)
        };
        self.filters.worth(filter, &now, moments, &of)
    }

    fn told(&mut self, resource: Resource, watcher: Watcher<'_>) {
        let Some(filter) = watcher.filter else { return };
        let now = self.facts(resource, watcher);
        self.filters.told(filter, now);
    }
}

fn document_of(package: &dyn Package, form: usize, body: String) -> Document {
    let content_type = Cow::Borrowed(package.content_types().get(form).copied().unwrap_or("text/plain"));
    Document { content_type, require: None, body: body.into(), rest: None }
}

impl Documents<'_> {
    fn make(
        &self,
        subject: Subject,
        package: &dyn Package,
        resource: Resource,
        watcher: Watcher<'_>,
        moments: &[Moment],
    ) -> Document {
        let who = identity_of(watcher.who);
        let members = self.members(subject, resource, &who, watcher);
        let wanted: Vec<Moment>;
        let moments = match watcher.filter {
            None => moments,
            Some(_) => {
                let shown = |moment: &&Moment| *moment.name == *list::GONE || is_shown(&members, moment);
                wanted = moments.iter().filter(shown).cloned().collect();
                &wanted
            }
        };
        let view =
            View { form: resource.form, moments, ..self.view(subject, resource, &who, watcher, &members) };
        if let Subject::Custom(index) = subject {
            let entries = self.custom.get(index).map(|list| list.entries.as_slice()).unwrap_or_default();
            let device = |id| self.house.device(id);
            let shown: HashSet<&str> = members.iter().map(|member| member.device.id()).collect();
            let shows = |place| self.devices(place).any(|device| shown.contains(device.id()));
            let person = |user| self.seen(package, &who, user);
            return list::written(package, &view, entries, device, person, shows);
        }
        if subject.is_list() {
            return list::document(package, &view);
        }
        document_of(package, resource.form, package.document(&view))
    }

    /// What somebody is told who is not served: that he has to wait, or that all is off.
    fn instead(
        &self,
        subject: Subject,
        package: &dyn Package,
        form: usize,
        watcher: Watcher<'_>,
    ) -> Option<Document> {
        let (title, id) = self.name_of(subject);
        let view = View {
            title,
            id,
            form,
            nth: watcher.nth,
            entity: watcher.entity,
            ..View::of(&[], &self.config.house.domain, self.now)
        };
        let body = match (watcher.standing, subject) {
            (Standing::Polite, Subject::Device(device)) => {
                let masked = self.house.device(device)?.masked(self.run.began_ms);
                package.document(&View { members: &[Member { device: &masked, visible: 0 }], ..view })
            }
            _ => package.neutral(&view)?,
        };
        Some(document_of(package, form, body))
    }

    /// The appliances of a subject that a watcher sees, and what he wants of each.
    fn members(
        &self,
        subject: Subject,
        resource: Resource,
        who: &Identity,
        watcher: Watcher<'_>,
    ) -> Vec<Member<'_>> {
        let outside = resource.facet & OUTSIDE != 0;
        let chosen = if resource.facet & CHOSEN != 0 { resource.view } else { u128::MAX };
        let set = watcher.filter.and_then(|filter| self.filters.get(filter));
        let member = |device| {
            let mut visible = view_of(&self.config.access, who, device, outside)? & chosen;
            if let Some(filter) = set.and_then(|set| self.addresses(device.id(), watcher).filter_in(set)) {
                visible &= filter::mask(filter, device);
            }
            Some(Member { device, visible })
        };
        self.devices(subject).filter_map(member).collect()
    }

    /// A view of these members, in the first form and without moments.
    fn view<'b>(
        &'b self,
        subject: Subject,
        resource: Resource,
        who: &Identity,
        watcher: Watcher<'b>,
        members: &'b [Member<'b>],
    ) -> View<'b> {
        let (title, id) = self.name_of(subject);
        View {
            title,
            id,
            nth: watcher.nth,
            entity: watcher.entity,
            alerts: self.alerts_for(who, resource.facet & OUTSIDE != 0),
            rings: members.iter().any(|member| self.hears(member)),
            person: self.person(subject),
            filter: watcher.filter.and_then(|filter| self.filters.get(filter)),
            page: watcher.page,
            ..View::of(members, &self.config.house.domain, self.now)
        }
    }

    /// Whether a bell rings there that the watcher may hear.
    fn hears(&self, member: &Member<'_>) -> bool {
        let bit = self.ringing.bell(member.device.index()).map(|event| EVENTS + event);
        bit.is_some_and(|bit| bit < 128 && member.visible >> bit & 1 == 1)
    }

    /// The people of a subject.
    fn users(&self, subject: Subject) -> impl Iterator<Item = usize> {
        let (one, list) = match subject {
            Subject::User(user) => (Some(user), None),
            Subject::Custom(index) => (None, self.custom.get(index)),
            _ => (None, None),
        };
        one.into_iter().chain(list.into_iter().flat_map(CustomList::people))
    }

    /// A user whom `who` may watch, where the package speaks of people.
    fn seen(&self, package: &dyn Package, who: &Identity, user: usize) -> Option<(&str, &Presence)> {
        let name = &self.config.users.get(user)?.name;
        let shown = package.covers(Subject::User(user)) && self.config.access.may_watch(who, name);
        Some((name.as_str(), self.people.get(user)?)).filter(|_| shown)
    }

    fn person(&self, subject: Subject) -> Option<&Presence> {
        if let Subject::User(user) = subject { self.people.get(user) } else { None }
    }

    fn addresses(&self, id: &str, watcher: Watcher<'_>) -> Addresses {
        let domain = self.config.house.domain.clone();
        Addresses { own: format!("sip:{id}@{domain}"), entity: watcher.entity.to_owned(), domain }
    }

    /// What is the case with everything that a watcher sees, whatever his filter shows of it.
    fn facts(&self, resource: Resource, watcher: Watcher<'_>) -> HashMap<Whose, Facts> {
        let subject = Subject::of(resource.subject);
        let who = identity_of(watcher.who);
        let all = self.members(subject, resource, &who, Watcher { filter: None, ..watcher });
        let words = PACKAGES.get(resource.package).is_some_and(|package| package.name() == "presence");
        let ids: HashMap<&str, DeviceId> =
            self.house.devices().map(|(id, device)| (device.id(), id)).collect();
        all.iter()
            .filter_map(|member| {
                let id = *ids.get(member.device.id())?;
                Some((Whose::Device(id), filter::facts(member, self.now, words)))
            })
            .chain(self.users(subject).filter_map(|user| {
                let package = PACKAGES.get(resource.package).copied()?;
                let (_, person) = self.seen(package, &who, user)?;
                Some((Whose::Person(user), filter::facts_of(person)))
            }))
            .collect()
    }

    /// The first thing that filters name and that is nothing to `who` at `subject`; in words.
    pub fn unknown_to_filter(
        &self,
        set: &FilterSet,
        (resource, standing): (Resource, Standing),
        who: &Identity,
    ) -> Option<String> {
        // Who is blocked politely hears what he would hear were he not.
        let polite = standing == Standing::Polite;
        let outside = resource.facet & OUTSIDE != 0;
        let package = PACKAGES.get(resource.package)?.name();
        let exists = |name: &str| {
            self.devices(Subject::of(resource.subject)).any(|device| {
                let model = device.model();
                let known = model.properties.iter().any(|property| *property.id == *name)
                    || model.events.iter().any(|event| *event.id == *name);
                let sees = || self.config.access.may_see_property(who, device.id(), device.room(), name);
                known && is_there(device, outside) && (polite || sees())
            })
        };
        filter::unknown(set, package, &exists)
    }

    /// The appliances of a subject, in the order of the home file.
    fn devices(&self, subject: Subject) -> impl Iterator<Item = &Device> {
        self.house
            .devices()
            .filter(move |(id, _)| match subject {
                Subject::Device(device) => *id == device,
                Subject::Room(index) | Subject::RoomList(index) => {
                    self.rooms.get(index).is_some_and(|room| room.devices.contains(id))
                }
                Subject::Class(class) => self.rooms.is_of(class, *id),
                Subject::Custom(index) => self.custom.get(index).is_some_and(|list| list.has(*id)),
                Subject::All => true,
                Subject::Alerts | Subject::User(_) => false,
            })
            .map(|(_, device)| device)
    }

    fn name_of(&self, subject: Subject) -> (&str, &str) {
        match subject {
            Subject::Device(device) => {
                self.house.device(device).map_or(("", ""), |device| (device.name(), device.id()))
            }
            Subject::Room(index) | Subject::RoomList(index) => {
                self.rooms.get(index).map_or(("", ""), |room| (&room.name, &room.id))
            }
            Subject::Class(class) => self.rooms.name_of(class),
            Subject::Custom(index) => self.custom.get(index).map_or(("", ""), |list| (&list.title, "")),
            Subject::All => (&self.config.house.title, "all"),
            Subject::Alerts => (&self.config.house.title, "alerts"),
            Subject::User(user) => {
                self.config.users.get(user).map_or(("", ""), |user| (&user.name, &user.name))
            }
        }
    }

    fn alerts_for(&self, who: &Identity, outside: bool) -> Counts {
        let may_hear = |device: &Device, event: &str| {
            is_there(device, outside)
                && self.config.access.may_see_property(who, device.id(), device.room(), event)
        };
        self.alerts.counts(|alert| {
            self.house.device(alert.device).is_some_and(|device| may_hear(device, &alert.event))
        })
    }
}

/// What is known of the chosen properties; moments are told whatever is known.
fn hash_chosen(device: &Device, view: u128, hasher: &mut impl std::hash::Hasher) {
    use std::hash::Hash as _;
    let shadow = device.shadow();
    (shadow.health().word(), shadow.link_up()).hash(hasher);
    for (index, _) in (Member { device, visible: view }).properties() {
        let known =
            shadow.reading(index).map(|reading| (&reading.value, reading.stale, reading.at_ms.is_some()));
        format!("{known:?} {:?}", shadow.target(index)).hash(hasher);
    }
}

/// Whether what happened is an event of a member and shown of it.
fn is_shown(members: &[Member<'_>], moment: &Moment) -> bool {
    members.iter().any(|member| {
        let nth = member.device.model().events.iter().position(|event| *event.id == *moment.name);
        nth.is_some_and(|nth| member.visible >> (EVENTS + nth).min(127) & 1 == 1)
    })
}

/// Whether a user is called so, in this domain or at the host by which the watcher calls this house.
fn is_address(address: &str, key: &str, domain: &str, watcher: Watcher<'_>) -> bool {
    let host = Uri::parse(watcher.entity).map_or("", |uri| uri.host);
    address == address_of(key, domain) || address == address_of(key, host)
}

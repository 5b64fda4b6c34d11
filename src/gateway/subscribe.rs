//! SUBSCRIBE: from the request to the notifier.

use std::time::Duration;

use rand::Rng as _;

use super::choose::known;
use super::request::{Request, gone};
use super::{Gateway, historic};
use crate::body::xwatcher;
use crate::config::Compat;
use crate::config::access::Identity;
use crate::control::target::Target;
use crate::event::matrix::{self, Asked, Reading};
use crate::event::{self, ALLOW_EVENTS, Documents, Package, Subject, key_of, list};
use crate::limits;
use crate::sip::auth::Purpose;
use crate::sip::dialog::{Dialog, DialogFault, target_of};
use crate::sip::notifier::rate::Rates;
use crate::sip::notifier::watchers::Standing;
use crate::sip::notifier::{Condition, Page, Refresh, Resource, Source as _, Template, Wanted, Watcher};
use crate::sip::transaction::Weight;
use crate::sip::wire::text::seconds;
use crate::sip::wire::{Address, Message, Name, Uri, Writer, write};
use crate::sip::{Hop, Rejection};
use crate::timer::Now;

/// The longest lifetime granted. Less is granted as it is asked for: phones give up for good on 423,
/// and refresh wrongly when they get less than they asked for.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Gateway {
    /// A new subscription, or a fetch.
    pub(super) fn subscribe(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let who = self.prove(request, Purpose::Query, now)?;
        let presentity = watched_of_2000(request).filter(|_| self.config.compat != Compat::Off);
        let asked = Asked::of(request.message, presentity.is_some());
        let (resource, standing, reading) = self.what(request, &asked, presentity.as_deref(), &who, now)?;
        if standing == Standing::Pending && self.asks_too_much(&who) {
            return Err(Rejection::new(403, "Too Many Requests To Watch"));
        }
        let rules = event::PACKAGES.get(resource.package).copied().ok_or_else(bad_event)?;
        check_list(resource, request.message)?;
        let filters = self.filters_in(request, rules, (resource, standing), &who, None, now)?;
        let who = key_of(&who).to_owned();
        if reading.in_answer && asked.is_fetch() {
            return self.fetch(request, (resource, standing), &who, now);
        }
        let places = places(request.message, reading.each_contact)?;
        if !self.notifier.has_room(&who) {
            return Err(Rejection::new(503, "Too Many Subscriptions").with("Retry-After", "60"));
        }
        let condition = condition_of(request.message);
        let (place, others) = places.split_first().ok_or(dialog_fault(DialogFault::Contact))?;
        let expires = place.lifetime(request.message, rules);
        let (resource, expires) = match standing {
            Standing::Active => self.choose(request, resource, expires, now)?,
            _ => (resource, expires),
        };
        let mut wanted = Wanted {
            resource,
            who,
            dialog: self.dialog(request, place.uri, request.hop),
            event: event_field(request.message, rules),
            // Documents name the address as it was dialled: phones match on it.
            entity: self.entity(request),
            expires,
            interval: rules.interval(),
            rates: rates_of(request.message),
            condition: known(resource, condition),
            standing,
            template: template_of(rules, resource.form),
            filter: None,
        };
        let (status, reason) = self.status_for((resource, standing), condition, now);
        let key = self.open(request, Weight::Light)?;
        wanted.filter = self.keep_filters(None, filters);
        let writer = self.accepted(request, &wanted, status, reason);
        let state = reading.in_answer.then(|| {
            let (who, entity, filter) = (&*wanted.who, &*wanted.entity, wanted.filter);
            let watcher = Watcher { who, nth: 0, entity, standing, filter, page: Page::WHOLE };
            self.state_for(resource, watcher, now)
        });
        self.transactions.answer(key, status, historic::finish(writer, state.flatten()), now.mono);
        if status == 204 && expires.is_zero() {
            // A poll whose answer is known already (RFC 5839 §6.1): nothing is left to say.
            return Ok(());
        }
        if let (Standing::Pending, Subject::Device(device)) = (standing, Subject::of(resource.subject)) {
            self.ask_owners(&wanted.who, device, now);
        }
        let template = (!others.is_empty()).then(|| historic::Template::of(&wanted));
        self.add_subscription(request, wanted, now);
        if let Some(template) = template {
            self.tell_others(request, &template, others, rules, now);
        }
        Ok(())
    }

    /// Hands a subscription over to the notifier, and puts it on record.
    pub(super) fn add_subscription(&mut self, request: &Request<'_, '_>, wanted: Wanted, now: Now) {
        let made = self.made(request, &wanted);
        let id = self.notifier.add(wanted, now);
        self.record_made(id, made);
    }

    /// The 2xx to a new subscription, without a body.
    fn accepted(&self, request: &Request<'_, '_>, wanted: &Wanted, status: u16, reason: &str) -> Writer {
        let tag = &wanted.dialog.local_tag;
        // We are there for as long as the dialog is, and answer STUN and CRLF (RFC 6223 §4.2.3).
        let (from, keep) = (Some(request.hop.peer), Some(limits::KEEP));
        let mut writer = write::keeping(request.message, status, reason, Some(tag), from, keep);
        write::copy_record_route(&mut writer, request.message);
        writer.field("Contact", &["<", wanted.dialog.contact(), ">"]);
        writer.field_fmt("Expires", format_args!("{}", wanted.expires.as_secs()));
        writer.field("Allow-Events", &[ALLOW_EVENTS]);
        if Subject::of(wanted.resource.subject).is_list() {
            writer.field("Require", &[list::EXTENSION]);
        }
        writer
    }

    /// The dialog of a new subscription with one of the Contacts.
    pub(super) fn dialog(&mut self, request: &Request<'_, '_>, target: &str, hop: Hop) -> Dialog {
        let random = self.rng.random();
        let tag = self.notifier.next_tag(random);
        let contact = self.contact_for(request);
        Dialog::accept_for(request.message, target, hop, tag, &contact)
    }

    /// 204 when the subscriber knows the state already (RFC 5839 §6.1).
    fn status_for(
        &mut self,
        (resource, standing): (Resource, Standing),
        condition: Option<Condition>,
        now: Now,
    ) -> (u16, &'static str) {
        let documents = self.documents(now);
        let known = condition.is_some_and(|condition| condition.holds(documents.tag(resource, standing)));
        if known { (204, "No Notification") } else { (200, "OK") }
    }

    /// What documents are written from.
    pub(super) fn documents(&mut self, now: Now) -> Documents<'_> {
        let Self { config, house, rooms, custom, alerts, ringing, people, cache, filters, run, .. } = self;
        let run = *run;
        Documents { config, house, rooms, custom, alerts, ringing, people, cache, filters, run, now }
    }

    /// A refresh or an unsubscription.
    pub(super) fn resubscribe(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let id = self.notifier.find(request.message).ok_or_else(gone)?;
        let identity = self.prove(request, Purpose::Query, now)?;
        let who = key_of(&identity).to_owned();
        let (holder, resource) = self.notifier.holder(id).ok_or_else(gone)?;
        if holder != who {
            self.counters.forbidden += 1;
            return Err(Rejection::new(403, "Not Your Subscription"));
        }
        let rules = event::PACKAGES.get(resource.package).copied().ok_or_else(bad_event)?;
        let before_events = request.message.first(Name::Event).is_none();
        match request.message.event() {
            Some(event) if !self.notifier.same_event(id, event.package, event.params.text("id")) => {
                return Err(Rejection::new(403, "Dialog Sharing Is Not Supported"));
            }
            // Who never had an Event goes on without.
            None if self.config.compat == Compat::Off || resource.form < rules.offered() => {
                return Err(bad_event());
            }
            _ => {}
        }
        let places = places(request.message, before_events)?;
        let expires = places
            .first()
            .map_or_else(|| lifetime(request.message, rules), |place| place.lifetime(request.message, rules));
        self.check_choice(request, resource)?;
        let old = self.notifier.filter_of(id);
        let standing = self.notifier.standing(id);
        let filters = self.filters_in(request, rules, (resource, standing), &identity, old, now)?;
        // The tag of a state says nothing about how another filter shows it.
        let condition = condition_of(request.message).filter(|_| filters.is_none());
        let rates = rates_of(request.message);
        let wish = Refresh { expires, rates, condition: known(resource, condition) };
        self.notifier.refresh(id, request.message, request.hop, wish, now).map_err(dialog_fault)?;
        if filters.is_some() {
            self.record_filter(id, request);
        }
        let filter = self.keep_filters(old, filters);
        self.notifier.set_filter(id, filter);
        let contact = self.contact_for(request);
        self.notifier.set_contact(id, &contact);
        // The end of a subscription is always said.
        let (status, reason) =
            self.status_for((resource, standing), condition.filter(|_| !expires.is_zero()), now);
        let key = self.open(request, Weight::Light)?;
        let mut writer = self.response(request.message, request.hop, status, reason, None);
        writer.field("Contact", &["<", &contact, ">"]);
        writer.field_fmt("Expires", format_args!("{}", expires.as_secs()));
        let in_answer = matrix::in_answer(&Asked::of(request.message, false), self.config.compat);
        let entity = self.entity(request);
        let (who, entity) = (&*who, &*entity);
        let watcher = Watcher { who, nth: 0, entity, standing, filter, page: Page::WHOLE };
        let state = in_answer.then(|| self.state_for(resource, watcher, now)).flatten();
        self.transactions.answer(key, status, historic::finish(writer, state), now.mono);
        if before_events {
            let others = places.get(1..).unwrap_or_default();
            self.refresh_others(request, id, others, rules, now);
        }
        Ok(())
    }

    /// What a SUBSCRIBE is about, in the order of RFC 6665 §4.2.1.1, how he stands to it, and how it is
    /// read. What somebody may not see does not exist for him.
    pub(super) fn what(
        &mut self,
        request: &Request<'_, '_>,
        asked: &Asked<'_>,
        presentity: Option<&str>,
        who: &Identity,
        now: Now,
    ) -> Result<(Resource, Standing, Reading), Rejection> {
        let reading = matrix::subscribe(asked, self.config.compat);
        if reading.is_err_and(|refused| refused.status == 489) {
            return Err(bad_event());
        }
        let package = reading.map_or_else(|refused| refused.package, |reading| Some(reading.package));
        let package = package.ok_or_else(bad_event)?;
        let rules = event::PACKAGES.get(package).copied().ok_or_else(bad_event)?;
        let nothing = || Rejection::new(404, "No Such Appliance");
        let subject = match (self.written_list(request, who)?, presentity) {
            (Some(subject), _) => Some(subject),
            (None, Some(presentity)) => {
                let uri = Uri::parse(presentity).ok();
                uri.and_then(|uri| self.resolve(&uri, request.hop)).map(Target::subject)
            }
            (None, None) => {
                let target = self.resolve(&request.uri, request.hop);
                let target = target.map(|target| self.narrow(who, target, self.is_outside(request.hop)));
                target.map(|target| self.subject_of(target, rules, who))
            }
        };
        let outside = self.is_outside(request.hop);
        let subject = subject.ok_or_else(nothing)?;
        self.check_isolation(who, subject, outside)?;
        let (standing, view) = self.standing(who, subject, outside, now).ok_or_else(nothing)?;
        if !rules.covers(subject) {
            return Err(bad_event());
        }
        let reading = reading.map_err(|refused| match refused.status {
            400 => dialog_fault(DialogFault::Contact),
            _ => {
                let offered = matrix::offered(rules, self.config.compat);
                Rejection::new(406, "Not Acceptable").with("Accept", &offered)
            }
        })?;
        // Of its own standing everybody may be told.
        let standing = if rules.template_of().is_some() { Standing::Active } else { standing };
        let device = if let Subject::Device(id) = subject { self.house.device(id) } else { None };
        let facet = if outside { event::OUTSIDE } else { 0 };
        let facet = facet | device.map_or(0, |device| event::partial(device, view));
        let resource = Resource { subject: subject.code(), package, form: reading.form, view, facet };
        Ok((resource, standing, reading))
    }

    /// What is watched at an address. Phones look for their mailbox at their own one: it is the house's.
    fn subject_of(&self, target: Target, rules: &dyn Package, who: &Identity) -> Subject {
        let own = |user: usize| {
            let name = self.config.users.get(user).map(|user| user.name.as_str());
            matches!(who, Identity::User(user) if Some(user.as_str()) == name)
        };
        match target {
            Target::User(user) if rules.covers(Subject::Alerts) && own(user) => Subject::Alerts,
            target => target.subject(),
        }
    }

    /// `sip:user@host` of the request, without parameters.
    pub(super) fn entity(&self, request: &Request<'_, '_>) -> String {
        let to = request.message.to().map(|to| to.uri.address().into_owned());
        to.unwrap_or_else(|_| request.uri.address().into_owned())
    }
}

/// What a request for the watchers of 2000 is about: its address is one of two, and it names the format.
pub(super) fn watched_of_2000(request: &Request<'_, '_>) -> Option<String> {
    let mut accepted = request.message.list(Name::Accept);
    let wants = accepted.any(|range| range.eq_ignore_ascii_case(xwatcher::CONTENT_TYPE.as_bytes()));
    let (_, presentity) = event::watcher_of_2000(request.uri.raw).filter(|_| wants)?;
    Some(presentity)
}

/// For watcher information: of whose watchers it tells. The format of 2000 knows no changes.
pub(super) fn template_of(rules: &dyn Package, form: usize) -> Option<Template> {
    let (package, _) = event::find(rules.template_of()?)?;
    Some(Template { package, whole: form > 0 })
}

/// Whoever watches a list must be able to read one (RFC 4662 §4.1).
fn check_list(resource: Resource, message: &Message<'_>) -> Result<(), Rejection> {
    let knows = |name| message.has_option(name, list::EXTENSION);
    if Subject::of(resource.subject).is_list() && !knows(Name::Supported) && !knows(Name::Require) {
        return Err(Rejection::new(421, "Extension Required").with("Require", list::EXTENSION));
    }
    Ok(())
}

fn rates_of(message: &Message<'_>) -> Rates {
    message.event().map(|event| Rates::of(event.params)).unwrap_or_default()
}

fn condition_of(message: &Message<'_>) -> Option<Condition> {
    message.first(Name::SuppressIfMatch).and_then(Condition::read)
}

fn lifetime(message: &Message<'_>, rules: &dyn Package) -> Duration {
    lasting(message.expires(), rules)
}

/// What is granted of the seconds that are asked for.
fn lasting(seconds: Option<u32>, rules: &dyn Package) -> Duration {
    seconds.map_or(rules.default_expires(), |seconds| Duration::from_secs(u64::from(seconds))).min(LONGEST)
}

/// One Contact of a SUBSCRIBE: where NOTIFYs go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub uri: &'a str,
    /// Its own `expires`.
    expires: Option<u32>,
}

impl Place<'_> {
    pub(super) fn lifetime(self, message: &Message<'_>, rules: &dyn Package) -> Duration {
        lasting(self.expires.or(message.expires()), rules)
    }
}

/// The Contacts of a SUBSCRIBE; today it has exactly one.
fn places<'a>(message: &Message<'a>, several: bool) -> Result<Vec<Place<'a>>, Rejection> {
    let contacts: Vec<&[u8]> = message.list(Name::Contact).collect();
    if contacts.len() > 1 && !several {
        return Err(dialog_fault(DialogFault::Contact));
    }
    if contacts.len() > limits::CONTACTS_PER_USER {
        return Err(Rejection::new(403, "Too Many Contacts"));
    }
    let place = |contact: &&'a [u8]| {
        let uri = target_of(contact).map_err(dialog_fault)?;
        let own = Address::parse(contact).ok().filter(|_| several);
        let expires = own.and_then(|own| own.params.get("expires").flatten()).and_then(seconds);
        Ok(Place { uri, expires })
    };
    contacts.iter().map(place).collect()
}

pub(super) fn event_field(message: &Message<'_>, rules: &dyn Package) -> String {
    let id = message.event().and_then(|event| event.params.text("id"));
    let token = |id: &&str| crate::sip::wire::text::is_token(id.as_bytes());
    id.filter(token).map_or_else(|| rules.name().to_owned(), |id| format!("{};id={id}", rules.name()))
}

fn bad_event() -> Rejection {
    Rejection::new(489, "Bad Event").with("Allow-Events", ALLOW_EVENTS)
}

fn dialog_fault(fault: DialogFault) -> Rejection {
    match fault {
        DialogFault::Contact => Rejection::new(400, "Exactly One Contact Is Needed"),
        DialogFault::Order => Rejection::new(500, "CSeq Out Of Order").with("Retry-After", "0"),
    }
}

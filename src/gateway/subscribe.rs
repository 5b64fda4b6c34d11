//! SUBSCRIBE: from the request to the notifier.

use std::time::Duration;

use rand::Rng as _;

use super::Gateway;
use super::choose::known;
use super::request::{Request, gone};
use crate::config::access::Identity;
use crate::event::{self, ALLOW_EVENTS, Documents, Package, Subject, key_of, list};
use crate::sip::Rejection;
use crate::sip::auth::Purpose;
use crate::sip::dialog::{Dialog, DialogFault, contact_uri};
use crate::sip::notifier::rate::Rates;
use crate::sip::notifier::{Condition, Refresh, Resource, Source as _, Wanted};
use crate::sip::transaction::Weight;
use crate::sip::wire::text::{split_outside, trim};
use crate::sip::wire::{Message, Name, write};
use crate::timer::Now;

/// The longest lifetime granted. Less is granted as it is asked for: phones give up for good on 423,
/// and refresh wrongly when they get less than they asked for.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Gateway {
    /// A new subscription, or a fetch.
    pub(super) fn subscribe(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let who = self.prove(request, Purpose::Query, now)?;
        let resource = self.what(request, &who)?;
        let rules = event::PACKAGES.get(resource.package).copied().ok_or_else(bad_event)?;
        let list = Subject::of(resource.subject).is_list();
        let knows = |name| request.message.has_option(name, list::EXTENSION);
        if list && !knows(Name::Supported) && !knows(Name::Require) {
            return Err(Rejection::new(421, "Extension Required").with("Require", list::EXTENSION));
        }
        let who = key_of(&who).to_owned();
        if !self.notifier.has_room(&who) {
            return Err(Rejection::new(503, "Too Many Subscriptions").with("Retry-After", "60"));
        }
        let expires = lifetime(request.message, rules);
        let (resource, expires) = self.choose(request, resource, expires, now)?;
        let random = self.rng.random();
        let tag = self.notifier.next_tag(random);
        let user = request.uri.user.map(ToOwned::to_owned).unwrap_or_default();
        let contact = contact_uri(&user, request.hop);
        let dialog =
            Dialog::accept(request.message, request.hop, tag.clone(), &contact).map_err(dialog_fault)?;
        let condition = condition_of(request.message);
        let (status, reason) = self.status_for(resource, condition, now);
        let key = self.open(request, Weight::Light)?;
        let mut writer = self.response(request.message, request.hop, status, reason, Some(&tag));
        write::copy_record_route(&mut writer, request.message);
        writer.field("Contact", &["<", &contact, ">"]);
        writer.field_fmt("Expires", format_args!("{}", expires.as_secs()));
        writer.field("Allow-Events", &[ALLOW_EVENTS]);
        if list {
            writer.field("Require", &[list::EXTENSION]);
        }
        self.transactions.answer(key, status, writer.finish(), now.mono);
        let wanted = Wanted {
            resource,
            who,
            dialog,
            event: event_field(request.message, rules),
            // Documents name the address as it was dialled: phones match on it.
            entity: self.entity(request),
            expires,
            interval: rules.interval(),
            rates: rates_of(request.message),
            condition: known(resource, condition),
        };
        self.notifier.add(wanted, now);
        Ok(())
    }

    /// 204 when the subscriber knows the state already (RFC 5839 §6.1).
    fn status_for(
        &mut self,
        resource: Resource,
        condition: Option<Condition>,
        now: Now,
    ) -> (u16, &'static str) {
        let Self { config, house, rooms, alerts, cache, .. } = self;
        let documents = Documents { config, house, rooms, alerts, cache, now };
        let known = condition.is_some_and(|condition| condition.holds(documents.tag(resource)));
        if known { (204, "No Notification") } else { (200, "OK") }
    }

    /// A refresh or an unsubscription.
    pub(super) fn resubscribe(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let id = self.notifier.find(request.message).ok_or_else(gone)?;
        let who = key_of(&self.prove(request, Purpose::Query, now)?).to_owned();
        let (holder, resource) = self.notifier.holder(id).ok_or_else(gone)?;
        if holder != who {
            self.counters.forbidden += 1;
            return Err(Rejection::new(403, "Not Your Subscription"));
        }
        let rules = event::PACKAGES.get(resource.package).copied().ok_or_else(bad_event)?;
        let event = request.message.event().ok_or_else(bad_event)?;
        if !self.notifier.same_event(id, event.package, event.params.text("id")) {
            return Err(Rejection::new(403, "Dialog Sharing Is Not Supported"));
        }
        self.check_choice(request, resource)?;
        let expires = lifetime(request.message, rules);
        let condition = condition_of(request.message);
        let rates = rates_of(request.message);
        let wish = Refresh { expires, rates, condition: known(resource, condition) };
        self.notifier.refresh(id, request.message, request.hop, wish, now).map_err(dialog_fault)?;
        // The end of a subscription is always said.
        let (status, reason) = self.status_for(resource, condition.filter(|_| !expires.is_zero()), now);
        let key = self.open(request, Weight::Light)?;
        let mut writer = self.response(request.message, request.hop, status, reason, None);
        let user = request.uri.user.unwrap_or_default();
        writer.field("Contact", &["<", &contact_uri(user, request.hop), ">"]);
        writer.field_fmt("Expires", format_args!("{}", expires.as_secs()));
        self.transactions.answer(key, status, writer.finish(), now.mono);
        Ok(())
    }

    /// What a SUBSCRIBE is about, in the order of RFC 6665 §4.2.1.1. What somebody may not see does
    /// not exist for him.
    fn what(&self, request: &Request<'_, '_>, who: &Identity) -> Result<Resource, Rejection> {
        let event = request.message.event().ok_or_else(bad_event)?;
        let (package, rules) = event::find(event.package).ok_or_else(bad_event)?;
        let nothing = || Rejection::new(404, "No Such Appliance");
        let outside = self.is_outside(request.hop);
        let target = self.resolve(&request.uri, request.hop).ok_or_else(nothing)?;
        let subject = self.narrow(who, target, outside).subject();
        self.check_isolation(who, subject, outside)?;
        let view = self.view(who, subject, outside).ok_or_else(nothing)?;
        if !rules.covers(subject) {
            return Err(bad_event());
        }
        let unacceptable = || Rejection::new(406, "Not Acceptable").with("Accept", &offered(rules));
        let form = form_of(request.message, rules).ok_or_else(unacceptable)?;
        let facet = if outside { event::OUTSIDE } else { 0 };
        Ok(Resource { subject: subject.code(), package, form, view, facet })
    }

    /// `sip:user@host` of the request, without parameters.
    fn entity(&self, request: &Request<'_, '_>) -> String {
        let to = request.message.to().map(|to| to.uri.address().into_owned());
        to.unwrap_or_else(|_| request.uri.address().into_owned())
    }
}

fn rates_of(message: &Message<'_>) -> Rates {
    message.event().map(|event| Rates::of(event.params)).unwrap_or_default()
}

fn condition_of(message: &Message<'_>) -> Option<Condition> {
    message.first(Name::SuppressIfMatch).and_then(Condition::read)
}

fn lifetime(message: &Message<'_>, rules: &dyn Package) -> Duration {
    message
        .expires()
        .map_or(rules.default_expires(), |seconds| Duration::from_secs(u64::from(seconds)))
        .min(LONGEST)
}

/// The first acceptable format: the one that the peer names first wins over our order only where its
/// `q` is higher. `None` when nothing fits.
fn form_of(message: &Message<'_>, rules: &dyn Package) -> Option<usize> {
    if message.count(Name::Accept) == 0 {
        return Some(0);
    }
    let types = rules.content_types();
    let (modern, historic) = types.split_at(rules.offered().min(types.len()));
    // A historic form is for who names it and can read no other.
    best(message, modern, true).or_else(|| best(message, historic, false).map(|form| modern.len() + form))
}

/// The type that the message accepts most, and of equals the one that it names first.
pub(super) fn best(message: &Message<'_>, types: &[&str], ranges: bool) -> Option<usize> {
    let mut best: Option<(usize, u16)> = None;
    for accepted in message.list(Name::Accept) {
        let (range, params) = split_outside(accepted, b';');
        let (range, quality) = (trim(range), quality(params.unwrap_or_default()));
        for (form, content_type) in types.iter().enumerate() {
            let fits = range.eq_ignore_ascii_case(content_type.as_bytes())
                || (ranges && covers(range, content_type));
            if fits && quality > 0 && best.is_none_or(|(_, other)| quality > other) {
                best = Some((form, quality));
            }
        }
    }
    best.map(|(form, _)| form)
}

/// The types that are offered unasked, for Accept.
fn offered(rules: &dyn Package) -> String {
    rules.content_types().iter().take(rules.offered()).copied().collect::<Vec<_>>().join(", ")
}

/// Whether a media range takes in a type.
fn covers(range: &[u8], content_type: &str) -> bool {
    if range == b"*/*" || range.eq_ignore_ascii_case(content_type.as_bytes()) {
        return true;
    }
    let family = content_type.split('/').next().unwrap_or_default();
    range.strip_suffix(b"/*").is_some_and(|range| range.eq_ignore_ascii_case(family.as_bytes()))
}

/// `q` in thousandths.
fn quality(params: &[u8]) -> u16 {
    let text = crate::sip::wire::Params::new(params).text("q");
    text.and_then(|text| text.parse::<f32>().ok()).map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16)
}

fn event_field(message: &Message<'_>, rules: &dyn Package) -> String {
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

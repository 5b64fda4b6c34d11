//! SUBSCRIBE: from the request to the notifier.

use std::time::Duration;

use rand::Rng as _;

use super::Gateway;
use super::request::{Request, gone};
use crate::config::access::Identity;
use crate::config::{Config, DeviceId};
use crate::control::target::Target;
use crate::device::appliance::Device;
use crate::event::{self, ALLOW_EVENTS, Package};
use crate::sip::Rejection;
use crate::sip::auth::Purpose;
use crate::sip::dialog::{Dialog, DialogFault, contact_uri};
use crate::sip::notifier::{Resource, Wanted};
use crate::sip::transaction::Weight;
use crate::sip::wire::text::{split_outside, trim};
use crate::sip::wire::{Message, Name, write};
use crate::timer::Now;

/// The longest lifetime granted. Less is granted as it is asked for: phones give up for good on 423,
/// and refresh wrongly when they get less than they asked for.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Gateway {
    /// A new subscription, or a fetch.
    pub(super) fn subscribe(&mut self, request: &Request<'_>, now: Now) -> Result<(), Rejection> {
        let who = self.prove(request, Purpose::Query, now)?;
        let (package, device, form) = self.what(request, &who)?;
        let rules = event::PACKAGES.get(package).copied().ok_or_else(bad_event)?;
        let who = key_of(&who);
        let view = self.house.device(device).and_then(|device| view_of(&self.config, &who, device));
        let view = view.ok_or(Rejection::new(404, "No Such Appliance"))?;
        if !self.notifier.has_room(&who) {
            return Err(Rejection::new(503, "Too Many Subscriptions").with("Retry-After", "60"));
        }
        let expires = lifetime(request.message, rules);
        let random = self.rng.random();
        let tag = self.notifier.next_tag(random);
        let user = request.uri.user.map(ToOwned::to_owned).unwrap_or_default();
        let contact = contact_uri(&user, request.hop);
        let dialog =
            Dialog::accept(request.message, request.hop, tag.clone(), &contact).map_err(dialog_fault)?;
        let key = self.open(request, Weight::Light)?;
        let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&tag));
        write::copy_record_route(&mut writer, request.message);
        writer.field("Contact", &["<", &contact, ">"]);
        writer.field_fmt("Expires", format_args!("{}", expires.as_secs()));
        writer.field("Allow-Events", &[ALLOW_EVENTS]);
        self.transactions.answer(key, 200, writer.finish(), now.mono);
        let resource = Resource { subject: device.0, package, form, view };
        let event = event_field(request.message, rules);
        // Documents name the address as it was dialled: phones match on it.
        let entity = self.entity(request);
        self.notifier
            .add(Wanted { resource, who, dialog, event, entity, expires, interval: rules.interval() }, now);
        Ok(())
    }

    /// A refresh or an unsubscription.
    pub(super) fn resubscribe(&mut self, request: &Request<'_>, now: Now) -> Result<(), Rejection> {
        let id = self.notifier.find(request.message).ok_or_else(gone)?;
        let who = key_of(&self.prove(request, Purpose::Query, now)?);
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
        let expires = lifetime(request.message, rules);
        self.notifier.refresh(id, request.message, request.hop, expires, now).map_err(dialog_fault)?;
        let key = self.open(request, Weight::Light)?;
        let mut writer = self.response(request.message, request.hop, 200, "OK", None);
        let user = request.uri.user.unwrap_or_default();
        writer.field("Contact", &["<", &contact_uri(user, request.hop), ">"]);
        writer.field_fmt("Expires", format_args!("{}", expires.as_secs()));
        self.transactions.answer(key, 200, writer.finish(), now.mono);
        Ok(())
    }

    /// Package, appliance and body format of a SUBSCRIBE, in the order of RFC 6665 §4.2.1.1. What
    /// somebody may not see does not exist for him.
    fn what(&self, request: &Request<'_>, who: &Identity) -> Result<(usize, DeviceId, usize), Rejection> {
        let event = request.message.event().ok_or_else(bad_event)?;
        let (package, rules) = event::find(event.package).ok_or_else(bad_event)?;
        let device = self.resolve(&request.uri, request.hop).and_then(Target::device);
        let device = device
            .and_then(|id| self.house.device(id))
            .filter(|device| self.config.access.may_see(who, device.id(), device.room()));
        let device = device.ok_or(Rejection::new(404, "No Such Appliance"))?;
        let form = form_of(request.message, rules)
            .ok_or(Rejection::new(406, "Not Acceptable").with("Accept", &rules.content_types().join(", ")))?;
        Ok((package, device.index(), form))
    }

    /// `sip:user@host` of the request, without parameters.
    fn entity(&self, request: &Request<'_>) -> String {
        let to = request.message.to().map(|to| to.uri.address().into_owned());
        to.unwrap_or_else(|_| request.uri.address().into_owned())
    }
}

/// What `who` may see of an appliance, as [`event::View::visible`]; `None` when that there is one is
/// too much already.
pub(super) fn view_of(config: &Config, who: &str, device: &Device) -> Option<u128> {
    let who = identity_of(who);
    let (id, room, model) = (device.id(), device.room(), device.model());
    let seen = |item: &str| config.access.may_see_property(&who, id, room, item);
    let properties = model.properties.iter().map(|property| &*property.id).enumerate();
    let events = model.events.iter().map(|event| &*event.id).enumerate();
    let bits = properties
        .take(event::EVENTS)
        .chain(events.take(event::EVENTS).map(|(index, event)| (event::EVENTS + index, event)))
        .filter(|(_, item)| seen(item))
        .fold(0, |view, (bit, _)| view | 1 << bit);
    config.access.may_see(&who, id, room).then_some(bits)
}

/// An identity as one word, for tables.
pub(super) fn key_of(who: &Identity) -> String {
    match who {
        Identity::User(name) | Identity::Asserted(name) => name.clone(),
    }
}

/// The way back: asserted addresses have a scheme, user names hold no colon.
pub(super) fn identity_of(key: &str) -> Identity {
    if key.contains(':') { Identity::Asserted(key.to_owned()) } else { Identity::User(key.to_owned()) }
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
    let mut best: Option<(usize, u16)> = None;
    for accepted in message.list(Name::Accept) {
        let (range, params) = split_outside(accepted, b';');
        let quality = quality(params.unwrap_or_default());
        for (form, content_type) in rules.content_types().iter().enumerate() {
            let fits = covers(trim(range), content_type);
            if fits && quality > 0 && best.is_none_or(|(_, other)| quality > other) {
                best = Some((form, quality));
            }
        }
    }
    best.map(|(form, _)| form)
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

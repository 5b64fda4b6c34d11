//! PUBLISH (RFC 3903) of an appliance's setting: a lease. While the publication lives, the setting
//! is the publisher's; when it ends, the appliance returns to what it was before.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;

use super::command::{Asker, Kind, is_sensitive};
use super::many::of_no;
use super::request::Request;
use super::{Gateway, Output};
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::answer::Answer;
use crate::control::senml;
use crate::control::target::Target;
use crate::device::command::Order;
use crate::device::value::Value;
use crate::event::{Subject, key_of};
use crate::sip::auth::Purpose;
use crate::sip::publication::{self, Wish};
use crate::sip::transaction::Weight;
use crate::sip::{Rejection, wire::Message};
use crate::timer::Now;

/// A setting that somebody holds.
#[derive(Clone, Debug)]
pub(super) struct Lease {
    property: Arc<str>,
    value: Value,
    /// What it was before; `None` when that was not known: then it stays.
    before: Option<Value>,
    /// Who holds it.
    who: Identity,
    /// How often the return was tried in vain.
    tries: u8,
}

/// A lease that begins when its command is done.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    old: Option<u64>,
    lease: Lease,
    expires: Duration,
}

/// Between two attempts to return a setting, and how many there are.
const RETURN: Duration = Duration::from_secs(10);
const RETURNS: u8 = 30;

impl Gateway {
    /// A PUBLISH, in the order of RFC 3903 §6.
    pub(super) fn publish(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        // To somebody else's address it is proven like any other, so that how old a proof may be does not
        // say whether there is such a person.
        let from = request.message.from().ok().and_then(|from| from.uri.user_text());
        let own = |user: &usize| self.config.users.get(*user).map(|user| &*user.name) == from.as_deref();
        if let Some(user) = self.resolve(&request.uri, request.hop).and_then(Target::user) {
            let purpose = if own(&user) { Purpose::Query } else { Purpose::Control };
            return self.publish_presence(request, user, purpose, now);
        }
        let who = self.prove(request, Purpose::Control, now)?;
        let outside = self.is_outside(request.hop);
        let target = self.resolve(&request.uri, request.hop);
        let target = target.map(|target| self.narrow(&who, target, outside)).and_then(Target::device);
        let device = target
            .filter(|device| self.may_see(&who, *device, outside))
            .ok_or(Rejection::new(404, "No Such Appliance"))?;
        self.check_isolation(&who, Subject::Device(device), outside)?;
        let event = request.message.event().map(|event| event.package);
        if !event.is_some_and(|package| package.eq_ignore_ascii_case("appliance")) {
            return Err(Rejection::new(489, "Bad Event").with("Allow-Events", "appliance"));
        }
        if let Some(tag) = publication::tag(request.message)? {
            self.leases.get(tag, device, key_of(&who), now)?;
        }
        let (wish, expires) = publication::read(request.message)?;
        match wish {
            Wish::Initial => self.begin(request, &who, device, None, expires, now),
            Wish::Modify(tag) => self.begin(request, &who, device, Some(tag), expires, now),
            Wish::Refresh(tag) => {
                let lease = self.leases.get(tag, device, key_of(&who), now)?.clone();
                // Who may not set it any more keeps it as long as he has it, and no longer.
                let of = self.house.device(device);
                if !of.is_some_and(|of| {
                    self.config.access.may_do(&who, of.id(), of.room(), &lease.property, false)
                }) {
                    self.counters.forbidden += 1;
                    return Err(Rejection::new(403, "Forbidden"));
                }
                let key = self.open(request, Weight::Light)?;
                let fields = self.keep(device, Wanted { old: Some(tag), lease, expires }, now);
                let to_tag = self.stateless_tag(request.message);
                let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&to_tag));
                writer.raw(fields.as_bytes());
                self.transactions.answer(key, 200, writer.finish(), now.mono);
                Ok(())
            }
            Wish::Remove(tag) => {
                self.leases.get(tag, device, key_of(&who), now)?;
                let key = self.open(request, Weight::Heavy)?;
                if let Some(lease) = self.leases.remove(tag) {
                    self.give_back(device, lease, now);
                }
                let to_tag = self.stateless_tag(request.message);
                let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&to_tag));
                // Each 2xx has a tag (RFC 3903 §6): this one names what is gone.
                writer.field_fmt("SIP-ETag", format_args!("{:016x}", self.rng.random::<u64>()));
                writer.raw(b"Expires: 0\r\n");
                self.transactions.answer(key, 200, writer.finish(), now.mono);
                Ok(())
            }
        }
    }

    fn begin(
        &mut self,
        request: &Request<'_, '_>,
        who: &Identity,
        id: DeviceId,
        old: Option<u64>,
        expires: Duration,
        now: Now,
    ) -> Result<(), Rejection> {
        let json = request
            .message
            .content_type()
            .is_some_and(|kind| kind.eq_ignore_ascii_case("application/senml+json"));
        let text = std::str::from_utf8(request.message.body).ok().filter(|_| json);
        let text = text
            .ok_or(Rejection::new(415, "Unsupported Media Type").with("Accept", "application/senml+json"))?;
        self.leases.room()?;
        let device = self.house.device(id).ok_or(Rejection::new(404, "No Such Appliance"))?;
        if !self.config.access.may_act(who, device.id(), device.room()) {
            self.counters.forbidden += 1;
            return Err(Rejection::new(403, "Forbidden"));
        }
        let order = senml::order(device, &self.config.house.domain, text).map_err(of_no)?;
        let Order::Set { property, value } = &order else {
            return Err(Rejection::new(400, "A Setting Is Needed"));
        };
        // Its end would move it, hours later and with nobody there.
        if is_sensitive(device, &order) {
            return Err(Rejection::new(403, "What Is Sensitive Is Not Lent"));
        }
        if let Some(tag) = old
            && self.leases.get(tag, id, key_of(who), now)?.property != *property
        {
            return Err(Rejection::new(400, "A Lease Keeps Its Setting"));
        }
        let held = self.leases.of(id).find(|lease| lease.property == *property);
        let before = match held {
            // Two who want the same thing are told so; the same one goes on from what was before.
            Some(lease) if lease.who != *who || old.is_none() => {
                return Err(Rejection::new(412, "Somebody Holds That Setting"));
            }
            Some(lease) => lease.before.clone(),
            None => {
                let index = device.model().property(property);
                index.and_then(|index| device.shadow().believed(index)).cloned()
            }
        };
        let lease =
            Lease { property: property.clone(), value: value.clone(), before, who: who.clone(), tries: 0 };
        if !self.pace.allows(who, now) {
            return Err(Rejection::new(503, "Too Many Commands").with("Retry-After", "2"));
        }
        let key = self.open(request, Weight::Heavy)?;
        let asker = Asker::new(request, key, Kind::Publish(Box::new(Wanted { old, lease, expires })), who);
        self.order(asker.into(), who, id, order, now);
        Ok(())
    }

    /// The command of a publication is done: it lives from now on.
    pub(super) fn answer_publish(
        &mut self,
        asker: &Asker,
        wanted: &Wanted,
        answer: &Answer,
        device: DeviceId,
        now: Now,
    ) {
        let fields = if answer.status < 300 { self.keep(device, wanted.clone(), now) } else { String::new() };
        let Ok(message) = Message::parse(&asker.request) else { return };
        let status = if answer.status < 300 { 200 } else { answer.status };
        let tag = self.stateless_tag(&message);
        let mut writer = self.response(&message, asker.hop, status, answer.reason, Some(&tag));
        writer.raw(fields.as_bytes());
        self.transactions.answer(asker.key, status, writer.finish(), now.mono);
    }

    /// Keeps a lease under a fresh tag; the fields that say so.
    fn keep(&mut self, device: DeviceId, wanted: Wanted, now: Now) -> String {
        let Wanted { old, lease, expires } = wanted;
        let tag: u64 = self.rng.random();
        let who = key_of(&lease.who).to_owned();
        self.leases.put(old, tag, device, &who, lease, now.mono + expires);
        format!("SIP-ETag: {tag:016x}\r\nExpires: {}\r\n", expires.as_secs())
    }

    /// Leases whose life is over.
    pub(super) fn on_lease_deadlines(&mut self, now: Now) {
        while let Some((device, lease)) = self.leases.expired(now) {
            self.give_back(device, lease, now);
        }
    }

    /// Returns a setting to what it was, unless somebody changed it meanwhile. An appliance that
    /// cannot be reached is tried again for some minutes.
    fn give_back(&mut self, id: DeviceId, lease: Lease, now: Now) {
        let Some((device, before)) = self.house.device(id).zip(lease.before.clone()) else { return };
        let index = device.model().property(&lease.property);
        let current = index.and_then(|index| device.shadow().believed(index));
        if current.is_some_and(|current| *current != lease.value) {
            return;
        }
        let (name, who) = (device.id().to_owned(), key_of(&lease.who).to_owned());
        let order = Order::Set { property: lease.property.clone(), value: before };
        let at = jiff::Timestamp::from_millisecond(now.wall_ms).map(|at| at.to_string()).unwrap_or_default();
        let line = serde_json::json!({"at": at, "step": "returned", "who": who, "device": name, "what": &*lease.property});
        self.outputs.push_back(Output::Audit { line: line.to_string(), sensitive: false });
        let failed = self.house.order(id, order, now).is_err();
        if failed && lease.tries < RETURNS {
            let tag: u64 = self.rng.random();
            let again = Lease { tries: lease.tries + 1, ..lease };
            self.leases.put(None, tag, id, "", again, now.mono + RETURN);
        }
    }
}

//! Where a message goes.

use std::time::{Duration, Instant};

use super::rewrite::{self, Changes};
use super::token::{Identity, Place, Way, identity};
use super::{Edge, makes_dialog};
use crate::sip::wire::check::request_fault;
use crate::sip::wire::text::{number, seconds};
use crate::sip::wire::{Address, Message, Method, Name, Start, Uri, write};
use crate::sip::{Hop, Transport};

/// Max-Forwards of a request that has none (RFC 3261 §16.6).
const HOPS: u8 = 70;
/// How long a binding is remembered beyond its lifetime: phones and clocks differ.
const GRACE: Duration = Duration::from_secs(60);
/// What only the registrar's side may say of somebody.
const VOUCHED: &[Name] = &[Name::PAssertedIdentity];

/// What a Route at the front says that is ours.
enum Routed {
    /// None was for us.
    Nowhere,
    /// It only led here.
    Here(usize),
    /// To this device.
    To { done: usize, token: String, place: Place, outbound: bool },
    /// Nobody but we can have written it, and we have not.
    Forged,
}

impl Edge {
    pub(super) fn request(
        &mut self,
        message: &Message<'_>,
        method: Method<'_>,
        uri: &str,
        hop: Hop,
        inner: bool,
        now: Instant,
    ) {
        if let Some(fault) = request_fault(message) {
            return self.refuse(message, hop, fault.status, fault.reason);
        }
        let hops = message.first(Name::MaxForwards).and_then(number::<u8>).unwrap_or(HOPS);
        if hops == 0 {
            return self.refuse(message, hop, 483, "Too Many Hops");
        }
        let mut changes = Changes { source: Some(hop.peer), hops: hops - 1, ..Changes::default() };
        // A client vouches for nobody.
        changes.without = if inner { &[] } else { VOUCHED };
        match self.routed(message, hop) {
            Routed::Forged => {
                self.flows.count(|counts| counts.forged += 1);
                self.refuse(message, hop, 403, "This Route Is Not Ours");
            }
            Routed::To { done, token, place, outbound } => {
                let Some(to) = self.alive(&place, now) else {
                    self.flows.count(|counts| counts.dead += 1);
                    return self.refuse(message, hop, 430, "Flow Failed");
                };
                changes.routes_done = done;
                if outbound && makes_dialog(message, method) {
                    changes.added = Some(("Record-Route", self.address(&token, "")));
                }
                changes.via = self.via(message, hop, None, to.transport);
                self.flows.count(|counts| counts.outward += 1);
                let bytes = rewrite::request(message, method, uri, &changes);
                self.send(to, bytes.into());
            }
            Routed::Nowhere | Routed::Here(_) if inner => self.for_us(message, method, hop),
            Routed::Nowhere => self.inward(message, method, uri, hop, changes),
            Routed::Here(done) => {
                changes.routes_done = done;
                self.inward(message, method, uri, hop, changes);
            }
        }
    }

    /// From a client to the registrar, which alone decides what becomes of it.
    fn inward(
        &mut self,
        message: &Message<'_>,
        method: Method<'_>,
        uri: &str,
        hop: Hop,
        mut changes: Changes<'_>,
    ) {
        let Some(registrar) = self.registrar else {
            return self.refuse(message, hop, 503, "The Registrar Cannot Be Reached");
        };
        let register = method == Method::Register;
        let device = if register { device(message) } else { None };
        if register || makes_dialog(message, method) {
            let token = self.tokens.write(&Place { identity: device, via: self.tokens.way(hop) });
            let outbound = device.is_some() && message.has_option(Name::Supported, "outbound");
            let name = if register { "Path" } else { "Record-Route" };
            let more = if outbound { ";ob" } else { "" };
            changes.added = Some((name, self.address(&token, more)));
        }
        changes.via = self.via(message, hop, device, registrar.transport);
        self.flows.count(|counts| counts.inward += 1);
        let bytes = rewrite::request(message, method, uri, &changes);
        self.send(registrar, bytes.into());
    }

    /// The registrar's side asks the edge itself whether it lives; it relays for nobody without a token.
    fn for_us(&mut self, message: &Message<'_>, method: Method<'_>, hop: Hop) {
        match method {
            Method::Options => self.refuse(message, hop, 200, "OK"),
            _ => self.refuse(message, hop, 404, "A Route To A Device Is Needed"),
        }
    }

    pub(super) fn response(&mut self, message: &Message<'_>, status: u16, now: Instant) {
        let Start::Response { reason, .. } = message.start else { return };
        let mut values = message.list(Name::Via);
        let ours = values.next().and_then(|via| crate::sip::wire::Via::parse(via).ok());
        let place = ours.and_then(|via| self.tokens.read(via.params.text("ft")?));
        // Not an answer to anything that went through here.
        let (Some(place), Some(_)) = (place, values.next()) else {
            return self.flows.count(|counts| counts.malformed += 1);
        };
        let Some(to) = self.way(place.via) else { return };
        if let (200..300, Some(identity)) = (status, place.identity) {
            self.registered(message, identity, to, now);
        }
        self.flows.count(|counts| counts.responses += 1);
        let bytes = rewrite::response(message, status, reason);
        self.send(to, bytes.into());
    }

    /// A device proved to the registrar who it is: from now on this is its flow, wherever a token leads that
    /// it got before.
    fn registered(&mut self, message: &Message<'_>, identity: Identity, hop: Hop, now: Instant) {
        if message.cseq().is_none_or(|cseq| cseq.method != "REGISTER") {
            return;
        }
        let aor = message.to().map(|to| to.uri.address().into_owned()).unwrap_or_default();
        let contacts = message.list(Name::Contact).filter_map(|value| Address::parse(value).ok());
        let own = contacts.filter(|contact| identity_of(&aor, contact) == Some(identity)).last();
        let expires = own.and_then(|contact| contact.params.get("expires").flatten().and_then(seconds));
        match expires.or(own.and_then(|_| message.expires())) {
            Some(0) | None => self.flows.unbind(&identity),
            Some(expires) => {
                let lifetime = Duration::from_secs(u64::from(expires)) + GRACE;
                self.flows.bind(identity, hop, lifetime, now);
            }
        }
    }

    /// What the Route values at the front say.
    fn routed(&self, message: &Message<'_>, hop: Hop) -> Routed {
        let mut done = 0;
        for value in message.list(Name::Route) {
            let ours = Address::parse(value).ok().filter(|route| self.is_ours(&route.uri));
            let Some(route) = ours else { break };
            done += 1;
            let Some(token) = route.uri.user else { continue };
            let Some(place) = self.tokens.read(token) else { return Routed::Forged };
            // In a dialog, the client's own flow stands in its route set: it led here and no further.
            let own = self.way(place.via).is_some_and(|way| way.flow == hop.flow && way.peer == hop.peer)
                || place.identity.is_some_and(|identity| self.flows.is_of(hop.flow, &identity));
            if !own {
                let outbound = route.uri.params.get("ob").is_some();
                return Routed::To { done, token: token.to_owned(), place, outbound };
            }
        }
        if done == 0 { Routed::Nowhere } else { Routed::Here(done) }
    }

    fn is_ours(&self, uri: &Uri<'_>) -> bool {
        let names = || self.settings.siblings.iter().chain([&self.settings.name]);
        uri.is_sip()
            && names().any(|name| uri.host.eq_ignore_ascii_case(name))
            && (uri.user.is_some() || uri.port.unwrap_or(5060) == self.settings.port || uri.port.is_none())
    }

    /// The flow of a device now, or the one that it had then.
    fn alive(&self, place: &Place, now: Instant) -> Option<Hop> {
        let bound = place.identity.and_then(|identity| self.flows.bound(&identity, now));
        bound.or_else(|| self.way(place.via))
    }

    fn way(&self, way: Way) -> Option<Hop> {
        match way {
            Way::Connection { run, flow } => self.flows.hop(flow).filter(|_| self.tokens.is_of_this_run(run)),
            Way::Datagrams { port, peer } => self.flows.socket(port, peer),
        }
    }

    /// A Route of ours.
    fn address(&self, token: &str, more: &str) -> String {
        let (name, port) = (&self.settings.name, self.settings.port);
        let transport = self.settings.transport.uri_param();
        format!("<sip:{token}@{name}:{port}{transport};lr{more}>")
    }

    /// Our Via on what came over `hop` and leaves by `transport`.
    fn via(&self, message: &Message<'_>, hop: Hop, device: Option<Identity>, transport: Transport) -> String {
        let token = self.tokens.write(&Place { identity: device, via: self.tokens.way(hop) });
        let top = message.first(Name::Via).unwrap_or_default();
        let cseq = message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes();
        // The whole of it where the branch is not one of RFC 3261; ACK and CANCEL are the same as their INVITE.
        let branch = message.via().ok().and_then(|via| via.branch()).map_or(top, str::as_bytes);
        let call = message.call_id().unwrap_or_default();
        let branch = self.tokens.branch(&[branch, call, &cseq, token.as_bytes()]);
        let (name, port) = (&self.settings.name, self.settings.port);
        format!("SIP/2.0/{} {name}:{port};branch={branch};ft={token};rport", transport.via())
    }

    fn refuse(&mut self, message: &Message<'_>, hop: Hop, status: u16, reason: &str) {
        if message.request().is_some_and(|(method, _)| method == Method::Ack) {
            return;
        }
        let call = message.call_id().unwrap_or_default();
        let tag = self.tokens.branch(&[call]);
        let tag = tag.get(7..17).unwrap_or("edge");
        let source = (hop.transport == Transport::Udp).then_some(hop.peer);
        let answer = write::response(message, status, reason, Some(tag), source);
        self.send(hop, answer.finish().into());
    }
}

/// The device that a REGISTER is for, where it says which.
fn device(message: &Message<'_>) -> Option<Identity> {
    let aor = message.to().ok()?.uri.address().into_owned();
    let mut contacts = message.list(Name::Contact).filter_map(|value| Address::parse(value).ok());
    contacts.find_map(|contact| identity_of(&aor, &contact))
}

fn identity_of(aor: &str, contact: &Address<'_>) -> Option<Identity> {
    let instance = contact.params.text("+sip.instance")?;
    Some(identity(aor, instance, contact.params.text("reg-id")?))
}

//! Where a message goes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rewrite::{self, Changes};
use super::token::{Identity, Place, Way, identity};
use super::{Edge, Settings, makes_dialog};
use crate::sip::wire::check::request_fault;
use crate::sip::wire::text::{number, seconds};
use crate::sip::wire::{Address, Message, Method, Name, Start, Uri, write};
use crate::sip::{Hop, Transport};

/// Max-Forwards of a request that has none (RFC 3261 §16.6).
const HOPS: u8 = 70;
/// How long a binding is remembered beyond its lifetime: phones and clocks differ.
const GRACE: Duration = Duration::from_secs(60);
/// Seconds after which a client may ask again while the registrar does not answer.
const RETRY_AFTER: &str = "5";
/// What only the registrar's side may say of somebody.
const VOUCHED: &[Name] = &[Name::PAssertedIdentity];

/// What a Route at the front says that is ours.
enum Routed {
    /// None was for us.
    Nowhere,
    /// It only led here.
    Here(usize),
    /// To this device.
    To { done: usize, token: String, place: Place },
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
        if message.first(Name::ProxyRequire).is_some() {
            return self.refuse(message, hop, 420, "No Extension Is Known Here");
        }
        let turn = self.turn(message, uri, hop, inner);
        if self.went_round(message, &turn) {
            return self.refuse(message, hop, 482, "Loop Detected");
        }
        let mut changes = Changes { source: Some(hop.peer), hops: hops - 1, ..Changes::default() };
        // A client vouches for nobody.
        changes.without = if inner { &[] } else { VOUCHED };
        match self.routed(message, hop, inner) {
            Routed::Forged => {
                self.flows.count(|counts| counts.forged += 1);
                self.refuse(message, hop, 403, "This Route Is Not Ours");
            }
            Routed::To { done, token, place } => {
                let Some(to) = self.alive(&place, now) else {
                    self.flows.count(|counts| counts.dead += 1);
                    return self.refuse(message, hop, 430, "Flow Failed");
                };
                changes.routes_done = done;
                if makes_dialog(message, method) {
                    let (near, far) = (self.outer_address(&token, to), self.inner_address(&token, to, ""));
                    changes.added = vec![("Record-Route", near), ("Record-Route", far)];
                }
                let sent_by = self.outer_sent_by(to);
                changes.via = self.via(message, hop, None, &turn, &sent_by);
                self.flows.count(|counts| counts.outward += 1);
                let bytes = rewrite::request(message, method, uri, &changes);
                self.send(to, bytes.into());
            }
            Routed::Nowhere | Routed::Here(_) if inner => self.for_us(message, method, hop),
            Routed::Nowhere => self.inward(message, method, uri, hop, &turn, changes),
            Routed::Here(done) => {
                changes.routes_done = done;
                self.inward(message, method, uri, hop, &turn, changes);
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
        turn: &str,
        mut changes: Changes<'_>,
    ) {
        let Some(registrar) = self.registrars.way(hop.transport.is_reliable()) else {
            self.flows.count(|counts| counts.unavailable += 1);
            return self.refuse(message, hop, 503, "The Registrar Cannot Be Reached");
        };
        let register = method == Method::Register;
        let device = if register { device(message) } else { None };
        if register || makes_dialog(message, method) {
            let token = self.tokens.write(&Place { identity: device, via: self.tokens.way(hop, false) });
            let outbound = device.is_some() && message.has_option(Name::Supported, "outbound");
            let near = self.inner_address(&token, hop, if outbound { ";ob" } else { "" });
            changes.added = match register {
                true => vec![("Path", near)],
                // Each side is named the address that it can reach (RFC 5658).
                false => vec![("Record-Route", near), ("Record-Route", self.outer_address(&token, hop))],
            };
        }
        let inner = self.inner(registrar.transport.is_reliable());
        let sent_by = format!("{} {inner}", registrar.transport.via());
        changes.via = self.via(message, hop, device, turn, &sent_by);
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

    pub(super) fn response(&mut self, message: &Message<'_>, status: u16, inner: bool, now: Instant) {
        let Start::Response { reason, .. } = message.start else { return };
        let mut values = message.list(Name::Via);
        let ours = values.next().and_then(|via| crate::sip::wire::Via::parse(via).ok());
        let place = ours.and_then(|via| self.tokens.read(via.params.text("ft")?));
        let further = values.next().is_some();
        if inner && !further && message.cseq().is_some_and(|cseq| cseq.method == "OPTIONS") {
            // The registrar lives, which is all that we wanted to know.
            return;
        }
        // Not an answer to anything that went through here.
        let Some(place) = place.filter(|_| further) else {
            return self.flows.count(|counts| counts.malformed += 1);
        };
        // The registrar's connection may be another by now; ours leads there as well.
        let Some(to) = self.way(place.via).or_else(|| self.registrars.way(true).filter(|_| !inner)) else {
            return;
        };
        if let (true, 200..300, Some(identity)) = (inner, status, place.identity) {
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
    fn routed(&self, message: &Message<'_>, hop: Hop, inner: bool) -> Routed {
        let mut done = 0;
        let mut to: Option<(String, Place)> = None;
        let mut theirs = None;
        for value in message.list(Name::Route) {
            let ours = Address::parse(value).ok().filter(|route| self.is_ours(&route.uri));
            let Some(route) = ours else { break };
            if let (Some((token, _)), found) = (&to, route.uri.user)
                && found != Some(token)
            {
                break;
            }
            done += 1;
            let Some(token) = route.uri.user else { continue };
            let Some(place) = self.tokens.read(token) else { return Routed::Forged };
            // In a dialog, a client's own flow stands first in its route set: it led here and no further. It may be
            // another one by now, from another address or to another edge.
            if !inner && theirs.is_none_or(|theirs| theirs == token) {
                theirs = Some(token);
                continue;
            }
            let own = self.way(place.via).is_some_and(|way| way.flow == hop.flow && way.peer == hop.peer)
                || place.identity.is_some_and(|identity| self.flows.is_of(hop.flow, &identity));
            if !own {
                to = Some((token.to_owned(), place));
            }
        }
        match to {
            Some((token, place)) => Routed::To { done, token, place },
            None if done == 0 => Routed::Nowhere,
            None => Routed::Here(done),
        }
    }

    fn is_ours(&self, uri: &Uri<'_>) -> bool {
        let Settings { name, ports, inner, siblings, .. } = &self.settings;
        let host = uri.host.trim_start_matches('[').trim_end_matches(']');
        let named = siblings.iter().chain([name]).any(|name| host.eq_ignore_ascii_case(name))
            || host.parse().is_ok_and(|ip: IpAddr| inner.iter().any(|(_, addr)| addr.ip() == ip));
        // Somebody else may live at the same host; a token is ours wherever it leads.
        let ported = uri.user.is_some()
            || uri.port.is_none_or(|port| {
                ports.contains(&port) || inner.iter().any(|(_, addr)| addr.port() == port)
            });
        uri.is_sip() && named && ported
    }

    /// The flow of a device now, or the one that it had then.
    fn alive(&self, place: &Place, now: Instant) -> Option<Hop> {
        let bound = place.identity.and_then(|identity| self.flows.bound(&identity, now));
        bound.or_else(|| self.way(place.via))
    }

    fn way(&self, way: Way) -> Option<Hop> {
        match way {
            Way::Connection { run, flow } => self.flows.hop(flow).filter(|_| self.tokens.is_of_this_run(run)),
            Way::Datagrams { inner, port, peer } => self.flows.socket(inner, port, peer),
        }
    }

    /// A Route of ours that leads here from the registrar's side, to a client at `hop`.
    fn inner_address(&self, token: &str, hop: Hop, more: &str) -> String {
        let fits = |inner: &&(Transport, _)| inner.0.is_reliable() == hop.transport.is_reliable();
        let inner = self.settings.inner.iter().find(fits).or(self.settings.inner.first());
        let transport = inner.map_or("", |(transport, _)| transport.uri_param());
        format!("<sip:{token}@{}{transport};lr{more}>", self.inner(hop.transport.is_reliable()))
    }

    /// The same from the client's side.
    fn outer_address(&self, token: &str, hop: Hop) -> String {
        let (name, port) = (self.outer_name(), hop.local.port());
        format!("<sip:{token}@{name}:{port}{};lr>", hop.transport.uri_param())
    }

    fn outer_sent_by(&self, hop: Hop) -> String {
        format!("{} {}:{}", hop.transport.via(), self.outer_name(), hop.local.port())
    }

    fn outer_name(&self) -> String {
        let name = &self.settings.name;
        if name.contains(':') { format!("[{name}]") } else { name.clone() }
    }

    /// What is the same when the same request comes the same way again: who sent it, and what it wants.
    fn turn(&self, message: &Message<'_>, uri: &str, hop: Hop, inner: bool) -> String {
        let way = self.tokens.write(&Place { identity: None, via: self.tokens.way(hop, inner) });
        let routes: Vec<&[u8]> = message.list(Name::Route).collect();
        let routes = routes.join(&b","[..]);
        let hash = self.tokens.branch(&[b"turn", way.as_bytes(), uri.as_bytes(), &routes]);
        hash.get(7..17).unwrap_or_default().to_owned()
    }

    /// Whether a request went through here before and came back unchanged (RFC 3261 §16.3). One that the registrar
    /// leads back to another client is none.
    fn went_round(&self, message: &Message<'_>, turn: &str) -> bool {
        let vias = message.list(Name::Via).filter_map(|via| crate::sip::wire::Via::parse(via).ok());
        vias.into_iter().any(|via| via.params.text("turn") == Some(turn))
    }

    /// Our Via on what came over `hop`; `sent_by`: how it leaves, and where we are then.
    fn via(
        &self,
        message: &Message<'_>,
        hop: Hop,
        device: Option<Identity>,
        turn: &str,
        sent_by: &str,
    ) -> String {
        let way = self.tokens.way(hop, self.flows.is_inner(hop));
        let token = self.tokens.write(&Place { identity: device, via: way });
        let top = message.first(Name::Via).unwrap_or_default();
        let cseq = message.cseq().map_or(0, |cseq| cseq.number).to_be_bytes();
        // The whole of it where the branch is not one of RFC 3261; ACK and CANCEL are the same as their INVITE.
        let branch = message.via().ok().and_then(|via| via.branch()).map_or(top, str::as_bytes);
        let call = message.call_id().unwrap_or_default();
        let branch = self.tokens.branch(&[branch, call, &cseq, token.as_bytes()]);
        format!("SIP/2.0/{sent_by};branch={branch};ft={token};turn={turn};rport")
    }

    pub(super) fn refuse(&mut self, message: &Message<'_>, hop: Hop, status: u16, reason: &str) {
        if message.request().is_some_and(|(method, _)| method == Method::Ack) {
            return;
        }
        let call = message.call_id().unwrap_or_default();
        let tag = self.tokens.branch(&[call]);
        let tag = tag.get(7..17).unwrap_or("edge");
        let source = (hop.transport == Transport::Udp).then_some(hop.peer);
        let mut answer = write::response(message, status, reason, Some(tag), source);
        match status {
            503 => answer.field("Retry-After", &[RETRY_AFTER]),
            420 => answer.echo("Unsupported", message.first(Name::ProxyRequire).unwrap_or_default()),
            _ => &mut answer,
        };
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

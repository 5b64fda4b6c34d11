//! Where a message goes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::rewrite::{self, Changes};
use super::token::{Identity, Place, Way, identity};
use super::{Edge, Output, Settings, makes_dialog};
use crate::limits;
use crate::sip::wire::check::request_fault;
use crate::sip::wire::text::{number, seconds};
use crate::sip::wire::{Address, Message, Method, Name, Start, Uri, write};
use crate::sip::{Hop, Transport};

/// Max-Forwards of a request that has none (RFC 3261 §16.6).
const HOPS: u8 = 70;
/// How long a binding is remembered beyond its lifetime: phones and clocks differ.
const GRACE: Duration = Duration::from_secs(60);
/// Bytes by which the header section of an answer may be longer than that of its request.
const ANSWER_ROOM: usize = 1024;
/// Seconds after which a client may ask again while the registrar does not answer.
const RETRY_AFTER: &str = "5";
/// What only the registrar's side may say of somebody.
const VOUCHED: &[Name] = &[Name::PAssertedIdentity];

/// Whom a URI names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Host {
    Ours,
    /// An edge with the same key.
    Sibling,
}

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
        match self.routed(message, hop, inner, now) {
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
            // RFC 5626 §5.1: `ob` is the word of the first hop alone.
            let first = message.list(Name::Via).count() == 1;
            let outbound = first && device.is_some() && message.has_option(Name::Supported, "outbound");
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
        let bytes = rewrite::request(message, method, uri, &changes);
        if self.is_too_large(registrar, &bytes, message.body.len()) {
            return self.refuse(message, hop, 513, "Message Too Large");
        }
        self.flows.count(|counts| counts.inward += 1);
        self.send(registrar, bytes.into());
    }

    /// Whether a message would end the connection that all clients share: the registrar closes it, or its answer cannot be
    /// read here. Counts it.
    fn is_too_large(&mut self, to: Hop, bytes: &[u8], body: usize) -> bool {
        let head = bytes.len().saturating_sub(body);
        let large = bytes.len() > self.settings.largest || head + ANSWER_ROOM > limits::HEADER_BYTES;
        let large = large && to.transport.is_reliable();
        if large {
            self.flows.count(|counts| counts.too_large += 1);
        }
        large
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
        let method = message.cseq().map(|cseq| cseq.method).unwrap_or_default();
        if inner && matches!(status, 200..300) && method == "REGISTER" {
            self.registered(message, place.identity, to, now);
        }
        let keep = if inner { keep(message, status, method) } else { None };
        let bytes = rewrite::response(message, status, reason, keep);
        // Whoever asked hears of it by the end of his transaction.
        if !inner && self.is_too_large(to, &bytes, message.body.len()) {
            return;
        }
        self.flows.count(|counts| counts.responses += 1);
        self.send(to, bytes.into());
    }

    /// Somebody proved to the registrar who he is, and is no stranger any more.
    fn registered(&mut self, message: &Message<'_>, identity: Option<Identity>, hop: Hop, now: Instant) {
        let contacts = message.list(Name::Contact).filter_map(|value| Address::parse(value).ok());
        let times = contacts.map(|contact| contact.params.get("expires").flatten().and_then(seconds));
        let longest =
            times.map(|time| time.or(message.expires()).unwrap_or_default()).max().unwrap_or_default();
        if longest > 0 && self.flows.register(hop, Duration::from_secs(longest.into()) + GRACE, now) {
            self.outputs.push_back(Output::Known(hop.flow));
        }
        if let Some(identity) = identity {
            self.bind(message, identity, hop, now);
        }
    }

    /// From now on this is the flow of a device, wherever a token leads that it got before.
    fn bind(&mut self, message: &Message<'_>, identity: Identity, hop: Hop, now: Instant) {
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
    fn routed(&self, message: &Message<'_>, hop: Hop, inner: bool, now: Instant) -> Routed {
        let mut done = 0;
        let mut to: Option<(String, Place)> = None;
        let mut theirs = None;
        for value in message.list(Name::Route) {
            let Ok(route) = Address::parse(value) else { break };
            let Some(host) = self.named(&route.uri) else { break };
            let ported = self.is_port_of_ours(&route.uri);
            if let (Some((token, _)), found) = (&to, route.uri.user)
                && found != Some(token)
            {
                break;
            }
            let Some(token) = route.uri.user else {
                if !ported {
                    break;
                }
                done += 1;
                continue;
            };
            let Some(place) = self.tokens.read(token).filter(|place| !self.leads_inward(place)) else {
                // Somebody else may live at the same host, with user parts of his own.
                if !ported {
                    break;
                }
                return Routed::Forged;
            };
            // In a dialog, a client's own flow stands first in its route set: it led here and no further. It may be
            // another one by now, from another address or to another edge.
            if !inner && theirs.is_none_or(|theirs| theirs == token) {
                theirs = Some(token);
            } else if !self.is_own(&place, hop) {
                if !inner && !self.may_lead(&place, host, hop, now) {
                    break;
                }
                to = Some((token.to_owned(), place));
            }
            done += 1;
        }
        match to {
            Some((token, place)) => Routed::To { done, token, place },
            None if done == 0 => Routed::Nowhere,
            None => Routed::Here(done),
        }
    }

    /// Whether a token is that of the flow over which it came.
    fn is_own(&self, place: &Place, hop: Hop) -> bool {
        self.way(place.via).is_some_and(|way| way.flow == hop.flow && way.peer == hop.peer)
            || place.identity.is_some_and(|identity| self.flows.is_of(hop.flow, &identity))
    }

    /// Whether a token is from a Via: those lead to the registrar, and are for answers alone.
    fn leads_inward(&self, place: &Place) -> bool {
        self.way(place.via).is_some_and(|hop| self.flows.is_inner(hop))
    }

    /// Whether one client is led to another from here. If not, the registrar does it: to another edge, and from datagrams
    /// to a connection, as it repeats what is lost.
    fn may_lead(&self, place: &Place, host: Host, hop: Hop, now: Instant) -> bool {
        let bound = place.identity.and_then(|identity| self.flows.bound(&identity, now));
        // One for datagrams names an address, and leads there from any edge.
        let here = host == Host::Ours || !matches!(place.via, Way::Datagrams { .. });
        match bound.or_else(|| self.way(place.via).filter(|_| here)) {
            Some(to) => to.transport.is_reliable() == hop.transport.is_reliable(),
            // Of ours it is said to be dead.
            None => host == Host::Ours,
        }
    }

    /// Whether a URI names us or a sibling. Two edges may have one name.
    fn named(&self, uri: &Uri<'_>) -> Option<Host> {
        let Settings { name, inner, siblings, .. } = &self.settings;
        let host = uri.host.trim_start_matches('[').trim_end_matches(']');
        let ours = host.eq_ignore_ascii_case(name)
            || host.parse().is_ok_and(|ip: IpAddr| inner.iter().any(|(_, addr)| addr.ip() == ip));
        let sibling = || siblings.iter().any(|name| host.eq_ignore_ascii_case(name));
        match uri.is_sip() {
            true if ours => Some(Host::Ours),
            true if sibling() => Some(Host::Sibling),
            _ => None,
        }
    }

    fn is_port_of_ours(&self, uri: &Uri<'_>) -> bool {
        let Settings { ports, inner, .. } = &self.settings;
        uri.port.is_none_or(|port| ports.contains(&port) || inner.iter().any(|(_, addr)| addr.port() == port))
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

/// What a client hears that offers to show that it lives (RFC 6223 §4.3): how often, in seconds, where the registrar says
/// so, and else 0, as it likes.
fn keep(message: &Message<'_>, status: u16, method: &str) -> Option<u32> {
    let granted = match method {
        "REGISTER" => matches!(status, 200..300),
        "INVITE" | "SUBSCRIBE" => matches!(status, 101..300),
        _ => false,
    };
    granted.then(|| message.first(Name::FlowTimer).and_then(number::<u32>).unwrap_or(0))
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

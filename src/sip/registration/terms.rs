//! What a registrar's 2xx says about a binding of ours.

use std::net::{IpAddr, SocketAddr};

use crate::sip::wire::text::seconds;
use crate::sip::wire::{Address, Message, Name, Uri};

/// What holds besides the lifetime, until the next REGISTER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `Require: outbound`: the flow itself is what is registered (RFC 5626).
    pub outbound: bool,
    /// The answer lists no Contact at all, which every registrar owes (RFC 3261 §10.3).
    pub unlisted: bool,
    /// How often the flow wants a keep-alive, in seconds: Flow-Timer, or `keep` in our Via (RFC 6223); 0: as
    /// often as we like. `None`: nobody promised to answer one.
    pub keep: Option<u32>,
    /// The way that later requests take (RFC 3608), value by value.
    pub service_route: Vec<String>,
    /// The public address of this very device (RFC 5627), to be our Contact in dialogs.
    pub gruu: Option<String>,
    /// Another one, which says nothing of whose it is; each answer brings a new one.
    pub temporary: Option<String>,
    /// Where our REGISTER came from, as the next hop saw it (RFC 3581).
    pub seen: Option<SocketAddr>,
}

/// Most stations of a service route; those behind are left out.
const ROUTES: usize = 8;
/// Longest GRUU that is taken, in bytes; a longer one is none.
const GRUU: usize = 256;
/// Most old bindings that are removed at once; more wait for the next time.
const STRAYS: usize = 4;

impl Terms {
    pub(super) fn of(response: &Message<'_>, ours: &Ours<'_>) -> Self {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
        let outbound = ours.reg_id.is_some() && response.has_option(Name::Require, "outbound");
        let timer = response.first(Name::FlowTimer).and_then(seconds).filter(|_| outbound);
        Self {
            outbound,
            unlisted: response.first(Name::Contact).is_none(),
            // RFC 6223 §9: where both are said, they are the same.
            keep: timer.or_else(|| keep(response)).or(outbound.then_some(0)),
            service_route: response.list(Name::ServiceRoute).filter_map(text).take(ROUTES).collect(),
            gruu: ours.of(response).and_then(|own| own.params.text("pub-gruu").and_then(usable)),
            temporary: ours.of(response).and_then(|own| own.params.text("temp-gruu").and_then(usable)),
            seen: seen(response),
        }
    }
}

/// What tells our Contact in a 2xx from those of others.
pub(super) struct Ours<'a> {
    pub contact: &'a str,
    pub instance: &'a str,
    pub reg_id: Option<u8>,
}

impl Ours<'_> {
    /// The lifetime of our Contact.
    pub fn granted(&self, response: &Message<'_>) -> Option<u32> {
        self.of(response)
            .and_then(|contact| contact.params.get("expires").flatten().and_then(seconds))
            .or_else(|| response.expires())
    }

    /// Contacts of this device that are not this one: left by an earlier run, at an address where nobody
    /// listens any more. Those of flows are left alone.
    pub fn strays(&self, response: &Message<'_>) -> Vec<String> {
        let left = |contact: &Address<'_>| {
            self.is_of_device(contact) && !self.is_this(contact) && contact.params.get("reg-id").is_none()
        };
        let contacts = contacts(response).filter(left).map(|contact| contact.uri.raw.to_owned());
        contacts.filter(|uri| is_clean(uri)).take(STRAYS).collect()
    }

    fn of<'m>(&self, response: &Message<'m>) -> Option<Address<'m>> {
        contacts(response).find(|contact| self.is_this(contact))
    }

    fn is_this(&self, contact: &Address<'_>) -> bool {
        contact.uri.address() == self.contact || contact.uri.raw == self.contact
    }

    fn is_of_device(&self, contact: &Address<'_>) -> bool {
        let instance = contact.params.text("+sip.instance").unwrap_or_default();
        instance.trim_matches(['<', '>']) == self.instance
    }
}

fn contacts<'m>(response: &Message<'m>) -> impl Iterator<Item = Address<'m>> {
    response.list(Name::Contact).filter_map(|value| Address::parse(value).ok())
}

/// `keep=N` in our Via, in seconds (RFC 6223 §4.3); 0: as often as we like. Without a value nobody agreed.
pub fn keep(response: &Message<'_>) -> Option<u32> {
    response.via().ok()?.params.get("keep").flatten().and_then(seconds)
}

/// Where a request of ours came from, as the next hop saw it (RFC 3581 §4).
pub fn seen(response: &Message<'_>) -> Option<SocketAddr> {
    let via = response.via().ok()?;
    let ip: IpAddr = via.params.text("received")?.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(ip, via.params.text("rport")?.parse().ok()?))
}

/// A GRUU that can be a Contact: one SIP URI with `gr`, and nothing that ends a header field.
fn usable(gruu: &str) -> Option<String> {
    let uri = Uri::parse(gruu).ok().filter(|uri| uri.is_sip() && uri.user.is_some())?;
    (is_clean(gruu) && uri.params.get("gr").is_some() && gruu.len() <= GRUU).then(|| gruu.to_owned())
}

fn is_clean(uri: &str) -> bool {
    !uri.contains(['<', '>', '"', ',']) && !uri.chars().any(char::is_control)
}

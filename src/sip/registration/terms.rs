//! What a registrar's 2xx says about a binding of ours.

use std::net::{IpAddr, SocketAddr};

use crate::sip::wire::text::seconds;
use crate::sip::wire::{Address, Message, Name, Uri};

/// What holds besides the lifetime, until the next REGISTER.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// `Require: outbound`: the flow itself is what is registered (RFC 5626).
    pub outbound: bool,
    /// Whose Contacts the answer lists: every registrar owes all that there are (RFC 3261 §10.3).
    pub listed: Listed,
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

/// Whose Contacts a 2xx lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listed {
    /// Ours, or one that may be it: who is between us and the registrar may write it otherwise.
    #[default]
    Ours,
    /// Others, and none that could be ours.
    Others,
    /// None.
    Nobodys,
}

/// Most stations of a service route; those behind are left out.
const ROUTES: usize = 8;
/// Longest GRUU that is taken, in bytes; a longer one is none.
const GRUU: usize = 256;
/// The shortest lifetime that is believed of a Contact that is perhaps ours, in seconds: others may be about to end.
const UNKNOWN: u32 = 60;
/// Most old bindings that are removed at once; more wait for the next time.
const STRAYS: usize = 4;

impl Terms {
    pub(super) fn of(response: &Message<'_>, ours: &Ours<'_>) -> Self {
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
        let outbound = ours.reg_id.is_some() && response.has_option(Name::Require, "outbound");
        let timer = response.first(Name::FlowTimer).and_then(seconds).filter(|_| outbound);
        Self {
            outbound,
            listed: ours.listed(response),
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
    /// The lifetime of our Contact. Where none of several is known for ours, it may be the one that ends first.
    pub fn granted(&self, response: &Message<'_>) -> Option<u32> {
        let own = |contact: Address<'_>| contact.params.get("expires").flatten().and_then(seconds);
        let of_user = || contacts(response).filter(|contact| self.is_of_user(contact));
        if let Some(contact) = self.of(response).or_else(|| sole(of_user())) {
            return own(contact).or_else(|| response.expires());
        }
        let first = of_user().filter_map(own).min().or_else(|| contacts(response).filter_map(own).min());
        let first = first.map(|seconds| seconds.max(UNKNOWN));
        first.into_iter().chain(response.expires()).min()
    }

    fn listed(&self, response: &Message<'_>) -> Listed {
        let ours = self.of(response).is_some() || contacts(response).any(|contact| self.is_of_user(&contact));
        match response.first(Name::Contact).is_some() {
            _ if ours => Listed::Ours,
            true => Listed::Others,
            false => Listed::Nobodys,
        }
    }

    /// Contacts of this device that are not this one: left by an earlier run, at an address where nobody
    /// listens any more. Those of flows are left alone; and all, where ours is not among them as we wrote it: then
    /// one of them is ours in the words of somebody between us and the registrar.
    pub fn strays(&self, response: &Message<'_>) -> Vec<String> {
        if !contacts(response).any(|contact| self.is_this(&contact)) {
            return Vec::new();
        }
        let left = |contact: &Address<'_>| {
            self.is_of_device(contact) && !self.is_this(contact) && contact.params.get("reg-id").is_none()
        };
        let contacts = contacts(response).filter(left).map(|contact| contact.uri.raw.to_owned());
        contacts.filter(|uri| is_clean(uri)).take(STRAYS).collect()
    }

    /// As we wrote it, or the one of this device and flow.
    fn of<'m>(&self, response: &Message<'m>) -> Option<Address<'m>> {
        let of_flow = |contact: &Address<'_>| {
            let reg_id = contact.params.get("reg-id").flatten().and_then(seconds);
            self.is_of_device(contact) && reg_id.is_some() && reg_id == self.reg_id.map(u32::from)
        };
        contacts(response)
            .find(|contact| self.is_this(contact))
            .or_else(|| contacts(response).find(of_flow))
            .or_else(|| sole(contacts(response).filter(|contact| self.is_of_device(contact))))
    }

    fn is_of_user(&self, contact: &Address<'_>) -> bool {
        Uri::parse(self.contact).is_ok_and(|ours| ours.user == contact.uri.user)
    }

    fn is_this(&self, contact: &Address<'_>) -> bool {
        contact.uri.address() == self.contact || contact.uri.raw == self.contact
    }

    fn is_of_device(&self, contact: &Address<'_>) -> bool {
        let instance = contact.params.text("+sip.instance").unwrap_or_default();
        instance.trim_matches(['<', '>']) == self.instance
    }
}

fn sole<'m>(mut contacts: impl Iterator<Item = Address<'m>>) -> Option<Address<'m>> {
    contacts.next().filter(|_| contacts.next().is_none())
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

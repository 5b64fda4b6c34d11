//! A dialog from the side that accepted it (RFC 3261 §12.1.1, RFC 6665 §4.4.1).

use super::wire::{Address, Message, Method, Name, Uri, Writer};
use super::{Hop, is_link_local};

/// What the two ends of a dialog must agree on, and the fields that each of our requests in it repeats.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: Vec<u8>,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty for a peer of RFC 2543.
    pub remote_tag: String,
    /// The peer's Contact, and so the Request-URI of our requests.
    pub target: String,
    /// The flow that the peer was last heard on.
    pub hop: Hop,
    /// CSeq of our last request.
    pub local_seq: u32,
    /// CSeq of the peer's last request.
    pub remote_seq: u32,
    /// Max-Forwards, Route, From, To and Call-ID, written once.
    fields: Vec<u8>,
    /// Our Contact URI.
    contact: String,
    routes: Vec<u8>,
}

/// Why a request cannot make or continue a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialogFault {
    /// A dialog needs exactly one usable Contact.
    #[error("Exactly One Contact Is Needed")]
    Contact,
    /// The CSeq is not above the last one (§12.2.2: 500).
    #[error("CSeq Out Of Order")]
    Order,
}

impl Dialog {
    /// The dialog that `request` makes when it is accepted with `local_tag`. `contact` is our own
    /// Contact URI in it.
    ///
    /// # Errors
    /// When the request has no usable Contact.
    pub fn accept(
        request: &Message<'_>,
        hop: Hop,
        local_tag: String,
        contact: &str,
    ) -> Result<Self, DialogFault> {
        Ok(Self::accept_for(request, contact_of(request)?, hop, local_tag, contact))
    }

    /// The dialog with one of several Contacts of `request`.
    pub fn accept_for(
        request: &Message<'_>,
        target: &str,
        hop: Hop,
        local_tag: String,
        contact: &str,
    ) -> Self {
        let mut routes = Writer::default();
        for value in request.list(Name::RecordRoute) {
            routes.echo("Route", value);
        }
        let remote_tag = request.from().ok().and_then(|from| from.tag()).unwrap_or_default().to_owned();
        let mut dialog = Self {
            call_id: request.call_id().unwrap_or_default().to_vec(),
            local_tag,
            remote_tag,
            target: target.to_owned(),
            hop,
            local_seq: 0,
            remote_seq: request.cseq().map_or(0, |cseq| cseq.number),
            fields: Vec::new(),
            contact: contact.to_owned(),
            routes: routes.into_fields(),
        };
        dialog.write_fields(request);
        dialog
    }

    /// Whether `request` belongs to this dialog. Compares bytes, allocates nothing.
    pub fn is_of(&self, request: &Message<'_>) -> bool {
        let from = request.from().ok().and_then(|from| from.tag()).unwrap_or_default();
        let to = request.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        request.call_id() == Some(&self.call_id[..]) && from == self.remote_tag && to == self.local_tag
    }

    /// A request of the peer in this dialog: its order is checked, its flow and Contact are taken
    /// over (target refresh, §12.2.2). Of several Contacts the first is this dialog's.
    ///
    /// # Errors
    /// When its CSeq does not rise, or its Contact is unusable.
    pub fn on_request(&mut self, request: &Message<'_>, hop: Hop) -> Result<(), DialogFault> {
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        if number <= self.remote_seq {
            return Err(DialogFault::Order);
        }
        if request.first(Name::Contact).is_some() {
            let first = request.list(Name::Contact).next().unwrap_or_default();
            target_of(first)?.clone_into(&mut self.target);
        }
        self.remote_seq = number;
        self.hop = hop;
        Ok(())
    }

    /// Goes on over another flow. Our Contact says so, unless it names the device and not the flow.
    pub fn move_to(&mut self, hop: Hop) {
        let uri = Uri::parse(&self.contact).ok();
        let by_flow = uri.as_ref().is_none_or(|uri| uri.params.get("gr").is_none());
        if by_flow {
            let user = uri.and_then(|uri| uri.user).unwrap_or_default().to_owned();
            let ob = if self.contact.ends_with(OUTBOUND) { OUTBOUND } else { "" };
            self.contact = contact_uri(&user, hop) + ob;
        }
        self.hop = hop;
    }

    /// Whether no proxy is on the way.
    pub fn is_direct(&self) -> bool {
        self.routes.is_empty()
    }

    /// Our Contact URI.
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// We are reached by another Contact from now on.
    pub fn set_contact(&mut self, contact: &str) {
        contact.clone_into(&mut self.contact);
    }

    /// The next request of ours in this dialog.
    pub fn request(&mut self, method: Method<'_>, branch: &str) -> Writer {
        self.local_seq += 1;
        let mut writer = Writer::request(method, &self.target);
        via(&mut writer, self.hop, branch);
        writer.raw(&self.fields);
        writer.field("Contact", &["<", &self.contact, ">"]);
        writer.field_fmt("CSeq", format_args!("{} {}", self.local_seq, method.as_str()));
        writer
    }

    fn write_fields(&mut self, request: &Message<'_>) {
        let mut writer = Writer::default();
        writer.raw(b"Max-Forwards: 70\r\n").raw(&self.routes);
        writer.echo("From", request.first(Name::To).unwrap_or_default());
        if request.to().is_ok_and(|to| to.tag().is_none()) {
            writer.append_param("tag", &self.local_tag);
        }
        writer.echo("To", request.first(Name::From).unwrap_or_default());
        writer.echo("Call-ID", &self.call_id);
        self.fields = writer.into_fields();
    }
}

/// What says in a Contact that the flow is to be used (RFC 5626 §4.3).
pub const OUTBOUND: &str = ";ob";

/// Our Via on `hop`. `rport` asks for the port that the peer sees (RFC 3581).
pub fn via(writer: &mut Writer, hop: Hop, branch: &str) {
    via_with(writer, hop, branch, "");
}

/// The same with more parameters, each behind its semicolon.
pub fn via_with(writer: &mut Writer, hop: Hop, branch: &str, more: &str) {
    writer.field_fmt(
        "Via",
        format_args!("SIP/2.0/{} {};branch={branch};rport{more}", hop.transport.via(), hop.local),
    );
}

/// The Route of a request outside a dialog: the service route of a registration (RFC 3608 §6.1), value by value.
pub fn preloaded(writer: &mut Writer, route: &[String]) {
    for value in route {
        writer.field("Route", &[value]);
    }
}

/// Our Contact URI on `hop` for the address `user`.
pub fn contact_uri(user: &str, hop: Hop) -> String {
    contact("sip", user, hop, hop.transport.uri_param(), None)
}

/// Our Contact URI in a dialog with `uri`: what follows a request to a `sips:` URI is to be as secure (RFC
/// 3261 §12.1.1).
pub fn contact_towards(uri: &str, user: &str, hop: Hop) -> String {
    let target = Uri::parse(uri).ok();
    let host = target.as_ref().map(|uri| uri.host).filter(|_| is_link_local(hop.local.ip()));
    match target.as_ref().is_some_and(Uri::is_secure) {
        true => contact("sips", user, hop, hop.transport.sips_param(), host),
        false => contact("sip", user, hop, hop.transport.uri_param(), host),
    }
}

/// At our own address. A link-local one means nothing without the interface of whoever uses it (RFC 4007 §6), so it is the
/// `host` by which we were reached instead, or else a name that leads nowhere: the flow does (RFC 5626).
fn contact(scheme: &str, user: &str, hop: Hop, param: &str, host: Option<&str>) -> String {
    let at = if user.is_empty() { "" } else { "@" };
    if !is_link_local(hop.local.ip()) {
        return format!("{scheme}:{user}{at}{}{param}", hop.local);
    }
    let literal = |host: &&str| host.starts_with('[');
    match host.filter(|host| !literal(host)) {
        Some(host) => format!("{scheme}:{user}{at}{host}:{}{param}", hop.local.port()),
        None => format!("{scheme}:{user}{at}link-local.invalid{param}"),
    }
}

fn contact_of<'a>(request: &Message<'a>) -> Result<&'a str, DialogFault> {
    let mut contacts = request.list(Name::Contact);
    let (Some(value), None) = (contacts.next(), contacts.next()) else { return Err(DialogFault::Contact) };
    target_of(value)
}

/// The URI of a Contact that requests can be sent to.
///
/// # Errors
/// When there is none.
pub fn target_of(contact: &[u8]) -> Result<&str, DialogFault> {
    let address = Address::parse(contact).map_err(|_| DialogFault::Contact)?;
    if address.uri.is_sip() { Ok(address.uri.raw) } else { Err(DialogFault::Contact) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{FlowId, Transport};

    #[test]
    fn a_link_local_address_is_in_no_contact() {
        let hop = |local: &str, transport| Hop {
            flow: FlowId(1),
            transport,
            local: local.parse().unwrap(),
            peer: "[fe80::7]:5060".parse().unwrap(),
        };
        let link = hop("[fe80::1]:5060", Transport::Udp);
        assert_eq!(contact_towards("sip:plug@home.local", "plug", link), "sip:plug@home.local:5060");
        assert_eq!(contact_towards("sip:plug@[fe80::1]", "plug", link), "sip:plug@link-local.invalid");
        assert_eq!(contact_uri("plug", link), "sip:plug@link-local.invalid");
        let tls = hop("[fe80::1]:5061", Transport::Tls);
        assert_eq!(contact_towards("sips:plug@home.local", "plug", tls), "sips:plug@home.local:5061");
        let wide = hop("[2001:db8::1]:5060", Transport::Tcp);
        assert_eq!(
            contact_towards("sip:plug@home.local", "plug", wide),
            "sip:plug@[2001:db8::1]:5060;transport=tcp"
        );
    }
}

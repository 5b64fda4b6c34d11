//! What a request must have before anybody looks at what it wants (RFC 3261 §8.1.1, §8.2).

use super::address::Address;
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::text::{is_separated, number};
use super::uri::Uri;

/// A fault that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 400, 416, 505, 513.
    pub status: u16,
    /// Reason phrase: what is wrong.
    pub reason: &'static str,
}

impl Fault {
    /// 400 with a reason.
    pub const fn bad(reason: &'static str) -> Self {
        Self { status: 400, reason }
    }
}

/// Header fields of which a request has one at most.
const SINGLE: [Name; 8] = [
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::MaxForwards,
    Name::Event,
    Name::ContentType,
    Name::Expires,
];

/// The first fault of a request; `None` when it can be processed.
pub fn request_fault(message: &Message<'_>) -> Option<Fault> {
    message.fault.or_else(|| check(message).err())
}

fn check(message: &Message<'_>) -> Result<(), Fault> {
    let (method, uri) = message.request().ok_or(Fault::bad("Not A Request"))?;
    message.via().map_err(|_| Fault::bad("Malformed Via"))?;
    if !message.all(Name::Via).all(is_separated) {
        return Err(Fault::bad("Malformed Via"));
    }
    if SINGLE.iter().any(|name| message.count(*name) > 1) {
        return Err(Fault::bad("A Single Header Field Is Repeated"));
    }
    message.from().map_err(|_| Fault::bad("Malformed From"))?;
    message.to().map_err(|_| Fault::bad("Malformed To"))?;
    message.call_id().ok_or(Fault::bad("Malformed Call-ID"))?;
    let cseq = message.cseq().ok_or(Fault::bad("Malformed CSeq"))?;
    if cseq.method != method.as_str() {
        return Err(Fault::bad("CSeq Method Does Not Match"));
    }
    if message.first(Name::MaxForwards).is_some_and(|value| number::<u8>(value).is_none()) {
        return Err(Fault::bad("Malformed Max-Forwards"));
    }
    if message.first(Name::Event).is_some() && message.event().is_none() {
        return Err(Fault::bad("Malformed Event"));
    }
    check_uri(uri)?;
    if matches!(method, Method::Register | Method::Invite | Method::Subscribe) {
        check_contacts(message)?;
    }
    Ok(())
}

fn check_uri(uri: &str) -> Result<(), Fault> {
    let uri = Uri::parse(uri).map_err(|_| Fault::bad("Malformed Request-URI"))?;
    if !uri.is_sip() {
        return Err(Fault { status: 416, reason: "Unsupported URI Scheme" });
    }
    if uri.headers.is_some() {
        return Err(Fault::bad("Request-URI With Header Fields"));
    }
    Ok(())
}

fn check_contacts(message: &Message<'_>) -> Result<(), Fault> {
    if !message.all(Name::Contact).all(is_separated) {
        return Err(Fault::bad("Malformed Contact"));
    }
    let bad = message.list(Name::Contact).any(|value| value != b"*" && Address::parse(value).is_err());
    if bad { Err(Fault::bad("Malformed Contact")) } else { Ok(()) }
}

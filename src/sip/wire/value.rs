//! Typed views of the header fields that the gateway acts on.

use std::cell::Cell;

use super::address::Address;
use super::message::Message;
use super::name::Name;
use super::params::Params;
use super::text::{is_lws, is_token, number, seconds, split_outside, trim};
use super::via::Via;

/// CSeq: number and method (RFC 3261 §20.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// Method name.
    pub method: &'a str,
}

/// Event: package and parameters (RFC 6665 §8.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// `presence`, `dialog`, `presence.winfo` …
    pub package: &'a str,
    /// Parameters, `id` among them.
    pub params: Params<'a>,
}

impl<'a> Message<'a> {
    /// The topmost Via.
    ///
    /// # Errors
    /// When it is absent or malformed.
    pub fn via(&self) -> Result<Via<'a>, &'static str> {
        once(&self.read.via, || Via::parse(self.list(Name::Via).next().ok_or("Via is missing")?))
    }

    /// From.
    ///
    /// # Errors
    /// When it is absent or malformed.
    pub fn from(&self) -> Result<Address<'a>, &'static str> {
        once(&self.read.from, || Address::parse(self.first(Name::From).ok_or("From is missing")?))
    }

    /// To.
    ///
    /// # Errors
    /// When it is absent or malformed.
    pub fn to(&self) -> Result<Address<'a>, &'static str> {
        once(&self.read.to, || Address::parse(self.first(Name::To).ok_or("To is missing")?))
    }

    /// Call-ID.
    pub fn call_id(&self) -> Option<&'a [u8]> {
        self.first(Name::CallId).filter(|value| !value.is_empty() && !value.iter().any(|byte| is_lws(*byte)))
    }

    /// CSeq, when it is well formed and its number fits.
    pub fn cseq(&self) -> Option<CSeq<'a>> {
        let value = self.first(Name::CSeq)?;
        let at = value.iter().position(|byte| is_lws(*byte))?;
        let (digits, method) = value.split_at(at);
        let method = trim(method);
        let number = number::<u32>(digits).filter(|number| *number < 1 << 31)?;
        let method = std::str::from_utf8(method).ok().filter(|_| is_token(method))?;
        Some(CSeq { number, method })
    }

    /// The first Contact.
    pub fn contact(&self) -> Option<Result<Address<'a>, &'static str>> {
        self.list(Name::Contact).next().map(Address::parse)
    }

    /// Expires in seconds; a malformed one counts as absent.
    pub fn expires(&self) -> Option<u32> {
        self.first(Name::Expires).and_then(seconds)
    }

    /// Event, when present and well formed.
    pub fn event(&self) -> Option<Event<'a>> {
        let (package, params) = split_outside(self.first(Name::Event)?, b';');
        let package = trim(package);
        let package = std::str::from_utf8(package).ok().filter(|_| is_token(package))?;
        Some(Event { package, params: Params::new(params.unwrap_or_default()) })
    }

    /// Content-Type without parameters, as written; `None` without one.
    pub fn content_type(&self) -> Option<&'a str> {
        let (kind, _) = split_outside(self.first(Name::ContentType)?, b';');
        std::str::from_utf8(trim(kind)).ok()
    }

    /// Whether `option` stands in the comma list `name` (Supported, Require …).
    pub fn has_option(&self, name: Name, option: &str) -> bool {
        self.list(name).any(|value| value.eq_ignore_ascii_case(option.as_bytes()))
    }
}

/// The value of `cell`, computed when it is asked for the first time.
fn once<T: Copy>(cell: &Cell<Option<T>>, read: impl FnOnce() -> T) -> T {
    let value = cell.get().unwrap_or_else(read);
    cell.set(Some(value));
    value
}

//! SIP, SIPS and other URIs (RFC 3261 §19.1).

use std::borrow::Cow;

use super::params::Params;
use super::text::{Bytes, number};

/// A URI split into its parts, all of them as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI.
    pub raw: &'a str,
    /// What is before the first colon, as written.
    pub scheme: &'a str,
    /// User part, still escaped, without password.
    pub user: Option<&'a str>,
    /// Host name or address; IPv6 in brackets. Empty for schemes other than sip and sips.
    pub host: &'a str,
    /// Port, where one is given.
    pub port: Option<u16>,
    /// URI parameters.
    pub params: Params<'a>,
    /// What stands behind `?`.
    pub headers: Option<&'a str>,
}

/// Why a text is no URI that the gateway can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UriFault {
    /// No scheme, or characters that no URI may hold.
    #[error("not a URI")]
    Malformed,
    /// A SIP URI whose host is no host.
    #[error("the host is not valid")]
    Host,
    /// A SIP URI whose port is no port.
    #[error("the port is not valid")]
    Port,
    /// The user part holds characters that must be escaped.
    #[error("the user part is not valid")]
    User,
}

impl<'a> Uri<'a> {
    /// Reads a URI. Schemes other than sip and sips keep only `raw` and `scheme`.
    ///
    /// # Errors
    /// When the text is no URI, or a SIP URI with an invalid part.
    pub fn parse(raw: &'a str) -> Result<Self, UriFault> {
        let (scheme, rest) = raw.split_once(':').ok_or(UriFault::Malformed)?;
        if !is_scheme(scheme) || !URI.has_all(raw.as_bytes()) {
            return Err(UriFault::Malformed);
        }
        let bare =
            Self { raw, scheme, user: None, host: "", port: None, params: Params::default(), headers: None };
        if !bare.is_sip() {
            return Ok(bare);
        }
        let (user, rest) = match rest.split_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let user = match user {
            Some(user) => Some(check_user(user)?),
            None => None,
        };
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (hostport, params) = match rest.split_once(';') {
            Some((hostport, params)) => (hostport, Params::new(params.as_bytes())),
            None => (rest, Params::default()),
        };
        let (host, port) = host_port(hostport)?;
        Ok(Self { user, host, port, params, headers, ..bare })
    }

    /// Whether the scheme is sip or sips, in any case.
    pub fn is_sip(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("sip") || self.scheme.eq_ignore_ascii_case("sips")
    }

    /// Whether it asks for TLS on each hop (`sips:`).
    pub fn is_secure(&self) -> bool {
        self.scheme.eq_ignore_ascii_case("sips")
    }

    /// The user part without escapes. Bytes that are no UTF-8 become U+FFFD.
    pub fn user_text(&self) -> Option<Cow<'a, str>> {
        self.user.map(unescape)
    }

    /// The URI without parameters and headers: what an address of record is compared by.
    pub fn address(&self) -> Cow<'a, str> {
        if self.params.is_empty() && self.headers.is_none() {
            return Cow::Borrowed(self.raw);
        }
        let end = self.raw.find([';', '?']).unwrap_or(self.raw.len());
        // A `;` inside the user part does not end the address.
        let end = match self.raw.find('@') {
            Some(at) if end < at => self
                .raw
                .get(at..)
                .and_then(|tail| tail.find([';', '?']))
                .map_or(self.raw.len(), |more| at + more),
            _ => end,
        };
        Cow::Borrowed(self.raw.get(..end).unwrap_or(self.raw))
    }
}

/// Replaces `%hh` by its byte.
pub fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        let escaped = match (first, rest) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high * 16 + low),
            _ => None,
        };
        match escaped {
            Some(byte) => {
                out.push(byte);
                bytes = rest.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                bytes = rest;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn is_scheme(scheme: &str) -> bool {
    scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// Every graphic character but `<>"\^`{|}`.
const URI: Bytes = Bytes::alphanumeric_and(b"!#$%&'()*+,-./:;=?@[]_~");
/// What a user part with its password may hold as it is.
const USER: Bytes = Bytes::alphanumeric_and(b"-_.!~*'()&=+$,;?/%#[]:");
/// What a host name is made of; the underscore stands in many.
const HOST: Bytes = Bytes::alphanumeric_and(b"-._");

/// The user without its password, when both are made of allowed characters and whole escapes.
fn check_user(userinfo: &str) -> Result<&str, UriFault> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    if user.is_empty() || !USER.has_all(userinfo.as_bytes()) {
        return Err(UriFault::User);
    }
    if escapes_whole(user) && escapes_whole(password) { Ok(user) } else { Err(UriFault::User) }
}

fn escapes_whole(text: &str) -> bool {
    if memchr::memchr(b'%', text.as_bytes()).is_none() {
        return true;
    }
    let mut parts = text.split('%');
    parts.next();
    parts
        .all(|part| matches!(part.as_bytes(), [high, low, ..] if hex(*high).is_some() && hex(*low).is_some()))
}

/// Splits `host[:port]`, IPv6 references included.
pub fn host_port(text: &str) -> Result<(&str, Option<u16>), UriFault> {
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (address, rest) = inner.split_once(']').ok_or(UriFault::Host)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| UriFault::Host)?;
            let host = text.get(..address.len() + 2).ok_or(UriFault::Host)?;
            (
                host,
                rest.strip_prefix(':')
                    .map_or(if rest.is_empty() { Ok(None) } else { Err(UriFault::Host) }, |port| {
                        Ok(Some(port))
                    })?,
            )
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let named = HOST.has_all(host.as_bytes());
    if host.is_empty() || !(named || host.starts_with('[')) {
        return Err(UriFault::Host);
    }
    let port = match port {
        Some(port) => Some(number::<u16>(port.as_bytes()).filter(|port| *port > 0).ok_or(UriFault::Port)?),
        None => None,
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_full_uri() {
        let uri = Uri::parse("sips:a%20b;x=1:pw@[2001:db8::1]:5071;transport=tcp;lr?Subject=hi").unwrap();
        assert_eq!(uri.user, Some("a%20b;x=1"));
        assert_eq!(uri.user_text().unwrap(), "a b;x=1");
        assert_eq!((uri.host, uri.port), ("[2001:db8::1]", Some(5071)));
        assert_eq!(uri.params.text("TRANSPORT"), Some("tcp"));
        assert_eq!(uri.params.get("lr"), Some(None));
        assert_eq!(uri.headers, Some("Subject=hi"));
        assert_eq!(uri.address(), "sips:a%20b;x=1:pw@[2001:db8::1]:5071");
    }

    #[test]
    fn what_is_no_uri() {
        for text in [
            "",
            "sip",
            "sip:",
            "sip:@h",
            "sip:a b@h",
            "<sip:a@h>",
            "sip:a@",
            "sip:a@h:0",
            "sip:a@h:99999",
            "sip:a@h:x",
            "sip:%4@h",
            "sip:a@[::1",
            "sip:a@[zz]",
            "sip:a@b:5060:1",
            "1sip:x@h",
        ] {
            assert!(Uri::parse(text).is_err(), "{text}");
        }
        assert!(!Uri::parse("tel:+49123").unwrap().is_sip());
    }
}

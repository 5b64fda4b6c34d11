//! `name-addr` and `addr-spec` with header parameters: From, To, Contact, Route …

use super::params::Params;
use super::text::{is_lws, is_token_byte, split_outside, trim};
use super::uri::Uri;

/// One address value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address<'a> {
    /// Display name as written, quotes included; empty when there is none.
    pub display: &'a [u8],
    /// The URI.
    pub uri: Uri<'a>,
    /// Parameters of the header field, not of the URI.
    pub params: Params<'a>,
}

impl<'a> Address<'a> {
    /// Reads one value (no commas outside quotes and brackets).
    ///
    /// # Errors
    /// Says what is malformed.
    pub fn parse(value: &'a [u8]) -> Result<Self, &'static str> {
        let value = trim(value);
        let (display, uri, rest) = match value.split_first() {
            Some((b'"', _)) => {
                let (display, rest) = quoted(value).ok_or("a quoted display name does not end")?;
                let (uri, rest) = bracketed(trim(rest))?;
                (display, uri, rest)
            }
            _ => match value.iter().position(|byte| *byte == b'<') {
                Some(at) => {
                    let (display, rest) = value.split_at(at);
                    let display = trim(display);
                    if !display.iter().all(|byte| is_token_byte(*byte) || is_lws(*byte) || !byte.is_ascii()) {
                        return Err("a display name with special characters must be quoted");
                    }
                    let (uri, rest) = bracketed(rest)?;
                    (display, uri, rest)
                }
                None => {
                    let (uri, params) = split_outside(value, b';');
                    if uri.contains(&b'?') || uri.contains(&b',') {
                        return Err("a URI with `?` or `,` must stand in angle brackets");
                    }
                    let params = params.unwrap_or_default();
                    return Ok(Self { display: b"", uri: uri_of(trim(uri))?, params: Params::new(params) });
                }
            },
        };
        let rest = trim(rest);
        let params = match rest.split_first() {
            None => Params::default(),
            Some((b';', params)) => Params::new(params),
            Some(_) => return Err("unexpected text behind an address"),
        };
        Ok(Self { display, uri: uri_of(uri)?, params })
    }

    /// The `tag` parameter of From and To.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.text("tag")
    }
}

fn uri_of(bytes: &[u8]) -> Result<Uri<'_>, &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "a URI is not ASCII")?;
    Uri::parse(text).map_err(|_| "a URI is malformed")
}

/// Splits behind the closing quote of the string that `value` begins with.
fn quoted(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    for (at, byte) in value.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(value.split_at(at + 1)),
            _ => {}
        }
    }
    None
}

/// The text between `<` and `>`, and what follows.
fn bracketed(value: &[u8]) -> Result<(&[u8], &[u8]), &'static str> {
    let inner = value.strip_prefix(b"<").ok_or("an angle bracket is missing")?;
    let end = inner.iter().position(|byte| *byte == b'>').ok_or("an angle bracket does not close")?;
    let (uri, rest) = inner.split_at(end);
    Ok((uri, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let one = Address::parse(br#""Anna \"A\" <x>" <sip:anna@h;lr>;tag=1 ; q=0.5"#).unwrap();
        assert_eq!((one.uri.raw, one.tag(), one.params.text("q")), ("sip:anna@h;lr", Some("1"), Some("0.5")));
        let two = Address::parse(b"sip:anna@h;tag=2").unwrap();
        assert_eq!((two.uri.raw, two.tag()), ("sip:anna@h", Some("2")));
        let three = Address::parse(b"Anna of\r\n House<sip:anna@h>").unwrap();
        assert_eq!(three.uri.raw, "sip:anna@h");
        for bad in [
            &b"\"Anna <sip:a@h>"[..],
            b"<sip:a@h",
            b"<sip:a@h> x",
            b"a@h",
            b"sip:a@h?x=y",
            b"Bell, A <sip:a@h>",
            b"< sip:a@h>",
            b"",
        ] {
            assert!(Address::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }
}

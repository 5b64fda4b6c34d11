//! `;name=value` lists of header values and URIs.

use super::text::{split_outside, trim, unquote};

/// The parameters behind a header value, as they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Params<'a>(&'a [u8]);

impl<'a> Params<'a> {
    /// `raw` begins behind the first `;`.
    pub fn new(raw: &'a [u8]) -> Self {
        Self(raw)
    }

    /// The bytes behind the first `;`.
    pub fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        trim(self.0).is_empty()
    }

    /// Every parameter, in order.
    pub fn iter(self) -> Iter<'a> {
        Iter(Some(self.0).filter(|raw| !raw.is_empty()))
    }

    /// The first parameter of that name, in any case: `Some(None)` when it has no value.
    pub fn get(self, name: &str) -> Option<Option<&'a [u8]>> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// The value of a parameter as text, without its quotes.
    pub fn text(self, name: &str) -> Option<&'a str> {
        std::str::from_utf8(unquote(self.get(name)??)).ok()
    }
}

/// See [`Params::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (part, rest) = split_outside(self.0?, b';');
            self.0 = rest;
            let part = trim(part);
            if part.is_empty() {
                continue;
            }
            let (name, value) = split_outside(part, b'=');
            return Some((trim(name), value.map(trim)));
        }
    }
}

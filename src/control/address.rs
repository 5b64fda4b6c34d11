//! The naming of the appliance drafts (draft-moyer-sip-appliances-framework §5, draft-tsang-sip-appliances-do):
//! what stands before the `@`.
//!
//! ```text
//! lamp                                a name: an appliance, a nickname, a room, a group, a number
//! d=lamp,r=bedroom,u=ana              attributes in any order; what is left out may be anything
//! d=*   r=bedroom   group=lights      several at once
//! slp%3A%2F%2Fd=lamp,r=bedroom        the same behind the prefix of 2000
//! [d=lamp,r=bedroom]                  the drafts' notation: read where it is clear, never written
//! ZD1sYW1wLHI9YmVkcm9vbQ              base64 or base64url of any of these
//! x1.ivWqbLbJly1Q…                    encrypted, see [`super::opaque`]
//! ```
//! `d` names an appliance (id or nickname) or a kind of appliance, `r` a room, `u` the house or one of
//! its users, `group` a group. Unknown keys say nothing.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{GeneralPurposeConfig, STANDARD, URL_SAFE};

use crate::limits;
use crate::sip::wire::Uri;
use crate::sip::wire::uri::unescape;

/// Before a group's name: its other address.
pub const GROUP: &str = "group.";

/// What an address says about the appliances that it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `d`: an appliance or a kind of appliance; `None`: any.
    pub device: Option<String>,
    /// `r`: a room; `None`: any.
    pub room: Option<String>,
    /// `u`: whose; `None`: anybody's.
    pub owner: Option<String>,
    /// `group`; `None`: none in particular.
    pub group: Option<String>,
}

/// Brackets that do not make one whole, so that it is not clear what is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the brackets of the address are not whole")]
pub struct Unclear;

/// The user part of `uri` without escapes, and without the drafts' brackets and prefix where those are
/// written as they are.
///
/// # Errors
/// When it has brackets that are not one pair around all of it.
pub fn user<'a>(uri: &Uri<'a>) -> Result<Option<Cow<'a, str>>, Unclear> {
    let Some(user) = uri.user else { return Ok(None) };
    // What stands behind a colon is a password today, and was part of the name in 2000.
    let whole =
        uri.raw.split_once(':').and_then(|(_, rest)| rest.split_once('@')).map_or(user, |(user, _)| user);
    if !whole.contains(['[', ']']) {
        let slp = whole.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("slp:"));
        return Ok(Some(unescape(if slp { whole } else { user })));
    }
    let inner = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inner.filter(|inner| !inner.contains(['[', ']']) && !inner.is_empty()) {
        Some(inner) => Ok(Some(unescape(inner))),
        None => Err(Unclear),
    }
}

/// The name behind the prefix of 2000, where there is one.
pub fn without_prefix(user: &str) -> &str {
    let rest = user.get(..4).filter(|start| start.eq_ignore_ascii_case("slp:")).and_then(|_| user.get(4..));
    rest.map_or(user, |rest| rest.trim_start_matches('/'))
}

impl Attributes {
    /// Reads `d=lamp,r=bedroom`. `None` when it has none of the keys, or one of them twice.
    pub fn read(text: &str) -> Option<Self> {
        let mut read = Self::default();
        let mut known = false;
        for pair in text.split(',') {
            let Some((key, value)) = pair.split_once('=') else { continue };
            let slot = match key.trim().to_ascii_lowercase().as_str() {
                "d" => &mut read.device,
                "r" => &mut read.room,
                "u" => &mut read.owner,
                "group" => &mut read.group,
                _ => continue,
            };
            let value = value.trim();
            if slot.is_some() || value.is_empty() {
                return None;
            }
            *slot = Some(value.to_owned());
            known = true;
        }
        for slot in [&mut read.device, &mut read.room, &mut read.owner, &mut read.group] {
            slot.take_if(|value| value == "*");
        }
        known.then_some(read)
    }
}

/// The text behind base64 or base64url, with or without padding, where it could be a name.
pub fn decoded(user: &str) -> Option<String> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = match user.contains(['-', '_']) {
        true => &base64::alphabet::URL_SAFE,
        false => &base64::alphabet::STANDARD,
    };
    // No shorter name is worth hiding; a word that happens to be base64 is a word.
    if user.len() < SHORTEST || user.len() > limits::ADDRESS_BYTES {
        return None;
    }
    let bytes = GeneralPurpose::new(alphabet, config).decode(user).ok()?;
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
}

const SHORTEST: usize = 4;

/// A name as base64url without padding, and as base64: the two ways in which it may come.
pub fn encoded(name: &str) -> [String; 2] {
    [URL_SAFE.encode(name).trim_end_matches('=').to_owned(), STANDARD.encode(name)]
}

/// A name with escapes for what a user part may not hold (RFC 3261 §25.1).
pub fn escaped(name: &str) -> String {
    let mut user = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => user.push(byte.into()),
            byte if b"-_.!~*'()&=+$,?/".contains(&byte) => user.push(byte.into()),
            byte => user.push_str(&format!("%{byte:02X}")),
        }
    }
    user
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever stands there, it is a name, attributes, or nothing; and what we write is read back.
        #[test]
        fn any_text_is_survived(name in "\\PC{1,40}", raw in "[ -~]{0,60}") {
            let uri = format!("sip:{}@home.example", escaped(&name));
            let uri = Uri::parse(&uri).unwrap();
            prop_assert_eq!(user(&uri).unwrap().unwrap(), name.as_str());
            for text in [name.as_str(), raw.as_str()] {
                let _ = (Attributes::read(text), decoded(text), without_prefix(text));
            }
            if let Ok(uri) = Uri::parse(&format!("sip:{raw}@h")) {
                let _ = user(&uri);
            }
            for text in encoded(&name) {
                let back = decoded(&text);
                prop_assert!(back.is_none_or(|back| back == name));
            }
        }
    }

    fn of(text: &str) -> Result<Option<String>, Unclear> {
        user(&Uri::parse(text).unwrap()).map(|user| user.map(Cow::into_owned))
    }

    #[test]
    fn the_notation_of_the_drafts_is_read_where_it_is_clear() {
        for text in ["sip:[d=lamp,r=bedroom]@h", "sip:d=lamp,r=bedroom@h", "sip:d=lamp%2Cr=bedroom@h"] {
            assert_eq!(of(text), Ok(Some("d=lamp,r=bedroom".to_owned())), "{text}");
        }
        for text in
            ["sip:[slp://d=lamp]@h", "sip:slp://d=lamp@h", "sip:slp%3A%2F%2Fd=lamp@h", "sip:slp%3A/d=lamp@h"]
        {
            let user = of(text).unwrap().unwrap();
            assert_eq!(without_prefix(&user), "d=lamp", "{text}");
        }
        for text in ["sip:[d=vcr,r=den@h", "sip:d=vcr]@h", "sip:[[d=vcr]]@h", "sip:[]@h", "sip:a[b]@h"] {
            assert_eq!(of(text), Err(Unclear), "{text}");
        }
        assert_eq!(of("sip:anna:word@h"), Ok(Some("anna".to_owned())), "a password is no part of a name");
    }

    #[test]
    fn attributes_in_any_order() {
        let lamp = Attributes::read("r=bedroom,x=1,D=lamp").unwrap();
        assert_eq!((lamp.device.as_deref(), lamp.room.as_deref()), (Some("lamp"), Some("bedroom")));
        assert_eq!(Attributes::read("d=*"), Some(Attributes::default()));
        for text in ["lamp", "x=1", "d=lamp,d=tv", "d=", "ZD1sYW1wLHI9YmVkcm9vbQ=="] {
            assert_eq!(Attributes::read(text), None, "{text}");
        }
    }

    #[test]
    fn base64_in_both_alphabets() {
        for text in ["ZD1sYW1wLHI9YmVkcm9vbQ==", "ZD1sYW1wLHI9YmVkcm9vbQ"] {
            assert_eq!(decoded(text).as_deref(), Some("d=lamp,r=bedroom"), "{text}");
        }
        for name in ["d=küche?>", "d=lamp"] {
            for text in encoded(name) {
                assert_eq!(decoded(&text).as_deref(), Some(name), "{text}");
            }
        }
        assert_eq!(decoded("lamp!"), None);
    }
}

//! Digest access authentication, both sides (RFC 3261 §22, RFC 7616, RFC 8760).

mod client;
mod server;

use md5::Md5;
use sha2::Sha256;

pub use self::client::{Answer, Login, answer};
pub use self::server::{Offer, Proof, Purpose, Server, Verdict};
use super::wire::text::{List, split_outside, trim, unquote};
use super::wire::{Message, Name};

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// The default of RFC 8760.
    Sha256,
    /// For phones that know nothing else.
    Md5,
}

impl Algorithm {
    /// The token on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Md5 => "MD5",
        }
    }

    fn new(token: &str) -> Option<Self> {
        [Self::Sha256, Self::Md5].into_iter().find(|known| known.as_str().eq_ignore_ascii_case(token))
    }
}

/// A hash as lower-case hex, on the stack.
#[derive(Clone, Copy)]
pub struct Hex {
    digits: [u8; 64],
    len: usize,
}

impl Hex {
    /// The digits.
    pub fn as_str(&self) -> &str {
        self.digits.get(..self.len).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or_default()
    }
}

/// Hashes the parts with colons between them.
pub fn hash(algorithm: Algorithm, parts: &[&[u8]]) -> Hex {
    fn run<D: sha2::Digest>(parts: &[&[u8]]) -> Hex {
        let mut digest = D::new();
        for (nth, part) in parts.iter().enumerate() {
            if nth > 0 {
                digest.update(b":");
            }
            digest.update(part);
        }
        let mut hex = Hex { digits: [0; 64], len: 0 };
        let nibble = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
        let out = digest.finalize();
        for (byte, pair) in out.iter().zip(hex.digits.chunks_exact_mut(2)) {
            pair.copy_from_slice(&[nibble(byte >> 4), nibble(byte & 15)]);
            hex.len += 2;
        }
        hex
    }
    match algorithm {
        Algorithm::Sha256 => run::<Sha256>(parts),
        Algorithm::Md5 => run::<Md5>(parts),
    }
}

/// The fields of an Authorization or a challenge, as written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Digest<'a> {
    /// User name.
    pub username: Option<&'a str>,
    /// Realm.
    pub realm: Option<&'a str>,
    /// Nonce.
    pub nonce: Option<&'a str>,
    /// digest-uri.
    pub uri: Option<&'a str>,
    /// The proof.
    pub response: Option<&'a str>,
    /// Algorithm token.
    pub algorithm: Option<&'a str>,
    /// Quality of protection: one token in credentials, a list in a challenge.
    pub qop: Option<&'a str>,
    /// Nonce count.
    pub nc: Option<&'a str>,
    /// Client nonce.
    pub cnonce: Option<&'a str>,
    /// Opaque.
    pub opaque: Option<&'a str>,
    /// Whether only the nonce was old.
    pub stale: bool,
}

impl<'a> Digest<'a> {
    /// Reads a header value; `None` for another scheme than Digest.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let rest =
            value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case(b"Digest ")).and(value.get(7..))?;
        let mut digest = Self::default();
        for part in List::new(rest) {
            let (name, Some(value)) = split_outside(part, b'=') else { continue };
            let Ok(text) = std::str::from_utf8(unquote(trim(value))) else { continue };
            let slot = match trim(name).to_ascii_lowercase_array::<9>().as_slice() {
                b"username" => &mut digest.username,
                b"realm" => &mut digest.realm,
                b"nonce" => &mut digest.nonce,
                b"uri" => &mut digest.uri,
                b"response" => &mut digest.response,
                b"algorithm" => &mut digest.algorithm,
                b"qop" => &mut digest.qop,
                b"nc" => &mut digest.nc,
                b"cnonce" => &mut digest.cnonce,
                b"opaque" => &mut digest.opaque,
                b"stale" => {
                    digest.stale = text.eq_ignore_ascii_case("true");
                    continue;
                }
                _ => continue,
            };
            // A repeated field is an attempt to be read in two ways: the first one counts.
            slot.get_or_insert(text);
        }
        Some(digest)
    }
}

trait LowerCase {
    fn to_ascii_lowercase_array<const N: usize>(&self) -> arrayvec::ArrayVec<u8, N>;
}
impl LowerCase for [u8] {
    /// The bytes in lower case; longer names than any known one come out empty.
    fn to_ascii_lowercase_array<const N: usize>(&self) -> arrayvec::ArrayVec<u8, N> {
        if self.len() > N {
            arrayvec::ArrayVec::new()
        } else {
            self.iter().map(u8::to_ascii_lowercase).collect()
        }
    }
}

/// `H(user:realm:password)` of a known user, per algorithm, as lower-case hex.
pub trait Secrets {
    /// The HA1 of `user`; `None` for an unknown user or an algorithm that is refused to it.
    fn ha1(&self, user: &str, algorithm: Algorithm) -> Option<&str>;
}

/// The Digest credentials of a request for `realm`; other schemes and realms are passed over.
pub fn credentials<'a>(request: &Message<'a>, realm: &str) -> Option<Digest<'a>> {
    request.all(Name::Authorization).filter_map(Digest::parse).find(|digest| digest.realm == Some(realm))
}

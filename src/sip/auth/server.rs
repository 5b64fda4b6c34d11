//! The gateway as digest server: challenges without memory, and what a proof is worth.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::{Algorithm, Digest, Secrets, credentials, hash};
use crate::limits;
use crate::sip::network_of;
use crate::sip::wire::{Message, Name};
use crate::timer::Now;

/// How a challenge is written, for phones that cannot read every form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// SHA-256, then MD5 (RFC 8760 §2.4).
    Both,
    /// The same, with blanks around the `=` of SHA-256's algorithm (legal: RFC 3261 §25.1 EQUAL).
    /// sipp 3.6 takes the first `algorithm=` that it finds for that of all challenges, and knows MD5
    /// alone; this way it finds MD5's.
    Spaced,
    /// MD5 alone: baresip before 2.0 gives up on a 401 that names any other algorithm, JsSIP on one
    /// that names another first.
    Md5,
}

/// How the User-Agents begin that [`Offer::Md5`] is for.
const MD5_ALONE: [&[u8]; 3] = [b"baresip v0.", b"baresip v1.", b"JsSIP "];

impl Offer {
    /// The form that the sender of `request` can read. It changes how a challenge is written and
    /// never what is accepted.
    pub fn to(request: &Message<'_>) -> Self {
        match request.first(Name::UserAgent) {
            None => Self::Spaced,
            Some(agent) if agent.to_ascii_lowercase().starts_with(b"sipp") => Self::Spaced,
            Some(agent) if MD5_ALONE.iter().any(|known| agent.starts_with(known)) => Self::Md5,
            Some(_) => Self::Both,
        }
    }
}

/// What a request is about to do decides how fresh its proof must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reads or registers: a nonce may be used again with a rising count.
    Query,
    /// Moves an appliance: the nonce is young, and was never used for that before.
    Control,
}

/// Credentials, and what they are to be the proof of.
#[derive(Clone, Copy, Debug)]
pub struct Proof<'a> {
    /// The credentials; that they are for the server's realm is looked at.
    pub digest: Digest<'a>,
    /// Name of the method.
    pub method: &'a str,
    /// The body, which `qop=auth-int` covers.
    pub body: &'a [u8],
}

/// The result of looking at a request's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Proven: the digest user.
    Is(&'a str),
    /// No usable credentials, or wrong ones: challenge. Unknown users and wrong passwords look alike.
    Unknown,
    /// Right once, but the nonce is old, foreign or used up: challenge with `stale=true`.
    Stale,
    /// Too many wrong guesses for this user from this source: challenge, nothing was looked at.
    Slowed,
    /// Proven, but an earlier run may have done already what is asked: see [`Server::may_be_repeated`].
    Doubtful,
}

/// The gateway as digest server. Keeps no memory for strangers but a bounded count of wrong guesses.
#[derive(Debug)]
pub struct Server {
    realm: String,
    key: [u8; 32],
    md5: bool,
    query_age_ms: i64,
    control_age_ms: i64,
    /// Where the times of nonces and guesses begin: the wall clock may jump, and would void every
    /// nonce or slow somebody for years.
    epoch: Option<Instant>,
    serial: u32,
    seen: HashMap<Issued, Seen>,
    order: std::collections::VecDeque<Issued>,
    /// Nonces issued before this moment are void unless they are still in `seen`.
    floor_ms: i64,
    guesses: HashMap<(u64, IpAddr), Guesses>,
}

/// A request is repeated for 32 s (RFC 3261 §17.1.2.2, Timer F), in milliseconds with some room.
const REPEATED_MS: i64 = 40_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Issued {
    at_ms: i64,
    serial: u32,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    count: u32,
    spent: bool,
}

#[derive(Clone, Copy, Debug)]
struct Guesses {
    wrong: u32,
    until_ms: i64,
}

impl Server {
    /// A server for `realm`. `key` is fresh per run, so that every nonce of an earlier run is void.
    pub fn new(realm: &str, key: [u8; 32], md5: bool, query_age_ms: i64, control_age_ms: i64) -> Self {
        Self {
            realm: realm.to_owned(),
            key,
            md5,
            query_age_ms,
            control_age_ms,
            epoch: None,
            serial: 0,
            seen: HashMap::new(),
            order: std::collections::VecDeque::new(),
            floor_ms: i64::MIN,
            guesses: HashMap::new(),
        }
    }

    /// Takes over other rules: they count for every proof from now on, whenever it was asked for.
    pub fn set_rules(&mut self, md5: bool, query_age_ms: i64, control_age_ms: i64) {
        (self.md5, self.query_age_ms, self.control_age_ms) = (md5, query_age_ms, control_age_ms);
    }

    /// Voids every nonce of until now, the used ones too.
    pub fn void(&mut self, now: Now) {
        self.floor_ms = self.ms(now);
        self.seen.clear();
        self.order.clear();
    }

    /// WWW-Authenticate fields, the strongest algorithm first (RFC 8760 §2.4).
    pub fn challenge(&mut self, source: IpAddr, stale: bool, offer: Offer, now: Now) -> String {
        self.challenge_for(source, stale, offer, false, now)
    }

    /// The same; whether a proof by it proves what [`Server::may_be_repeated`] doubts.
    pub fn challenge_for(
        &mut self,
        source: IpAddr,
        stale: bool,
        offer: Offer,
        doubt: bool,
        now: Now,
    ) -> String {
        // Its last bit is the doubt, so that nothing has to be remembered.
        self.serial = self.serial.wrapping_add(2) & !1 | u32::from(doubt);
        let issued = Issued { at_ms: self.ms(now), serial: self.serial };
        let nonce = self.nonce(issued, source);
        let stale = if stale { ", stale=true" } else { "" };
        let realm = &self.realm;
        let mut fields = String::with_capacity(280);
        let offered = [Algorithm::Sha256, Algorithm::Md5].into_iter().filter(|algorithm| match algorithm {
            Algorithm::Sha256 => offer != Offer::Md5 || !self.md5,
            Algorithm::Md5 => self.md5,
        });
        for algorithm in offered {
            let equal = if offer == Offer::Spaced && algorithm == Algorithm::Sha256 { " = " } else { "=" };
            fields.push_str("WWW-Authenticate: Digest realm=\"");
            let name = algorithm.as_str();
            for part in
                [realm, "\", nonce=\"", &nonce, "\", qop=\"auth\", algorithm", equal, name, stale, "\r\n"]
            {
                fields.push_str(part);
            }
        }
        fields
    }

    /// Whether `request` may be the repetition of one that an earlier run was proven: it brings a proof that was
    /// asked for elsewhere, soon after the start. Asked again, its phone would prove it again, and what it asks
    /// for be done twice.
    pub fn may_be_repeated(&mut self, request: &Message<'_>, source: IpAddr, now: Now) -> bool {
        let nonce = credentials(request, &self.realm).and_then(|digest| digest.nonce);
        self.ms(now) < REPEATED_MS && nonce.is_some_and(|nonce| self.read_nonce(nonce, source).is_none())
    }

    /// Looks at the credentials of `request`. `method` is its method name; that the digest uri fits
    /// the Request-URI is for the caller to see ([`credentials`]).
    pub fn verify<'a>(
        &mut self,
        request: &Message<'a>,
        method: &'a str,
        source: IpAddr,
        purpose: Purpose,
        secrets: &dyn Secrets,
        now: Now,
    ) -> Verdict<'a> {
        let Some(digest) = credentials(request, &self.realm) else { return Verdict::Unknown };
        self.judge(&Proof { digest, method, body: request.body }, source, purpose, secrets, now)
    }

    /// The same for credentials that came in another way than with a SIP message. What they cover
    /// besides is for the caller to see.
    pub fn judge<'a>(
        &mut self,
        proof: &Proof<'a>,
        source: IpAddr,
        purpose: Purpose,
        secrets: &dyn Secrets,
        now: Now,
    ) -> Verdict<'a> {
        let Proof { digest, method, body } = *proof;
        if digest.realm != Some(self.realm.as_str()) {
            return Verdict::Unknown;
        }
        let (Some(user), Some(nonce), Some(uri), Some(response), Some(qop), Some(nc), Some(cnonce)) = (
            digest.username,
            digest.nonce,
            digest.uri,
            digest.response,
            digest.qop,
            digest.nc,
            digest.cnonce,
        ) else {
            return Verdict::Unknown;
        };
        let Some(algorithm) = Algorithm::new(digest.algorithm.unwrap_or("MD5"))
            .filter(|algorithm| self.md5 || *algorithm != Algorithm::Md5)
        else {
            return Verdict::Unknown;
        };
        let Some(count) = Some(nc).filter(|nc| nc.len() == 8).and_then(|nc| u32::from_str_radix(nc, 16).ok())
        else {
            return Verdict::Unknown;
        };
        let now_ms = self.ms(now);
        let guesser = (self.short(user), network_of(source));
        if self.guesses.get(&guesser).is_some_and(|guesses| guesses.until_ms > now_ms) {
            return Verdict::Slowed;
        }
        // A foreign or old nonce says nothing about the password: no work, and no guess counted.
        let Some(issued) = self.read_nonce(nonce, source) else { return Verdict::Stale };
        // The same work for a user that does not exist.
        let ha1 = secrets.ha1(user, algorithm);
        let body_hash = hash(algorithm, &[body]);
        let ha2 = match qop {
            "auth" => hash(algorithm, &[method.as_bytes(), uri.as_bytes()]),
            "auth-int" => {
                hash(algorithm, &[method.as_bytes(), uri.as_bytes(), body_hash.as_str().as_bytes()])
            }
            _ => return Verdict::Unknown,
        };
        let secret = ha1.unwrap_or("0000000000000000000000000000000000000000000000000000000000000000");
        let parts = [secret, nonce, nc, cnonce, qop, ha2.as_str()].map(str::as_bytes);
        let right = hash(algorithm, &parts);
        let proven = bool::from(right.as_str().as_bytes().ct_eq(response.as_bytes()));
        if !proven || ha1.is_none() {
            self.wrong_guess(guesser, now_ms);
            return Verdict::Unknown;
        }
        self.guesses.remove(&guesser);
        match self.use_nonce(issued, count, purpose, now_ms) {
            false => Verdict::Stale,
            true if purpose == Purpose::Control && issued.serial & 1 == 1 => Verdict::Doubtful,
            true => Verdict::Is(user),
        }
    }

    /// Whether the nonce may still be used so, and that it now was.
    fn use_nonce(&mut self, issued: Issued, count: u32, purpose: Purpose, now_ms: i64) -> bool {
        let age = now_ms.saturating_sub(issued.at_ms);
        let limit = if purpose == Purpose::Control { self.control_age_ms } else { self.query_age_ms };
        if age > limit {
            return false;
        }
        let control = purpose == Purpose::Control;
        if let Some(seen) = self.seen.get_mut(&issued) {
            if count <= seen.count || (control && seen.spent) {
                return false;
            }
            *seen = Seen { count, spent: seen.spent || control };
            return true;
        }
        if issued.at_ms <= self.floor_ms {
            return false;
        }
        if self.order.len() >= limits::NONCES {
            // Full: the oldest is forgotten, and with it every nonce of its age becomes void.
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
                self.floor_ms = self.floor_ms.max(oldest.at_ms);
            }
        }
        self.order.push_back(issued);
        self.seen.insert(issued, Seen { count, spent: control });
        true
    }

    fn wrong_guess(&mut self, guesser: (u64, IpAddr), now_ms: i64) {
        if self.guesses.len() >= limits::GUESSERS && !self.guesses.contains_key(&guesser) {
            // Full: the one with the fewest wrong guesses is forgotten, so that nobody escapes by
            // guessing under a thousand other names in between.
            let fewest = self.guesses.iter().min_by_key(|(_, guesses)| guesses.wrong);
            if let Some(fewest) = fewest.map(|(guesser, _)| *guesser) {
                self.guesses.remove(&fewest);
            }
        }
        let guesses = self.guesses.entry(guesser).or_insert(Guesses { wrong: 0, until_ms: 0 });
        guesses.wrong += 1;
        if let Some(over) = guesses.wrong.checked_sub(limits::FREE_GUESSES) {
            guesses.until_ms = now_ms + (500i64 << over.min(7));
        }
    }

    /// Milliseconds since the first look at the time.
    fn ms(&mut self, now: Now) -> i64 {
        let epoch = *self.epoch.get_or_insert(now.mono);
        i64::try_from(now.mono.saturating_duration_since(epoch).as_millis()).unwrap_or(i64::MAX)
    }

    fn nonce(&self, issued: Issued, source: IpAddr) -> String {
        let mut bytes = [0u8; 24];
        let (head, mac) = bytes.split_at_mut(12);
        head.copy_from_slice(&head_of(issued));
        mac.copy_from_slice(&self.mac(&head_of(issued), source));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn read_nonce(&self, nonce: &str, source: IpAddr) -> Option<Issued> {
        let mut bytes = [0u8; 24];
        let len = URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes).ok()?;
        let (head, mac) = bytes.split_at(12);
        let head: [u8; 12] = head.try_into().ok()?;
        if len != 24 || !bool::from(self.mac(&head, source).ct_eq(mac)) {
            return None;
        }
        let (at, serial) = head.split_at(8);
        Some(Issued {
            at_ms: i64::from_be_bytes(at.try_into().ok()?),
            serial: u32::from_be_bytes(serial.try_into().ok()?),
        })
    }

    /// Binds a nonce to where it was asked for.
    fn mac(&self, head: &[u8; 12], source: IpAddr) -> [u8; 12] {
        let mut out = [0u8; 12];
        // HMAC takes keys of any length.
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) {
            mac.update(head);
            match source.to_canonical() {
                IpAddr::V4(address) => mac.update(&address.octets()),
                IpAddr::V6(address) => mac.update(&address.octets()),
            }
            let full = mac.finalize().into_bytes();
            out.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        }
        out
    }

    fn short(&self, user: &str) -> u64 {
        use std::hash::Hasher as _;
        let key: [u8; 16] = self.key.first_chunk().copied().unwrap_or_default();
        let mut hasher = siphasher::sip::SipHasher13::new_with_key(&key);
        hasher.write(user.as_bytes());
        hasher.finish()
    }
}

fn head_of(issued: Issued) -> [u8; 12] {
    let mut head = [0u8; 12];
    let (at, serial) = head.split_at_mut(8);
    at.copy_from_slice(&issued.at_ms.to_be_bytes());
    serial.copy_from_slice(&issued.serial.to_be_bytes());
    head
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;
    use std::time::Duration;

    use super::super::{Login, answer};
    use super::*;

    struct Anna(String);

    impl Secrets for Anna {
        fn ha1(&self, user: &str, _: Algorithm) -> Option<&str> {
            (user == "anna").then_some(&self.0)
        }
    }

    /// What is said to a guess, or to the right password.
    fn guess(server: &mut Server, user: &str, password: &str, source: IpAddr, now: Now) -> bool {
        let challenge = format!("SIP/2.0 401 x\r\n{}\r\n", server.challenge(source, false, Offer::Both, now));
        let challenge = Message::parse(challenge.as_bytes()).unwrap();
        let answer = answer(&challenge, Login { user, password }, "DO", "sip:h", "c", 1).unwrap();
        let request = format!("DO sip:h SIP/2.0\r\n{}\r\n", answer.field);
        let request = Message::parse(request.as_bytes()).unwrap();
        let anna = Anna(hash(Algorithm::Sha256, &[b"anna", b"h", b"right"]).as_str().to_owned());
        matches!(server.verify(&request, "DO", source, Purpose::Control, &anna, now), Verdict::Is("anna"))
    }

    #[test]
    fn other_names_and_addresses_of_one_network_do_not_shake_off_the_count() {
        let mut server = Server::new("h", [7; 32], true, 300_000, 60_000);
        let mut now = Now { mono: Instant::now(), wall_ms: 0 };
        let address = |n: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
        for n in 0..30 {
            now.mono += Duration::from_secs(70);
            assert!(!guess(&mut server, "anna", "wrong", address(n), now));
        }
        now.mono += Duration::from_secs(70);
        for n in 0..limits::GUESSERS + 10 {
            assert!(!guess(&mut server, &format!("nobody{n}"), "wrong", address(1), now));
        }
        assert!(!guess(&mut server, "anna", "wrong", address(99), now));
        now.mono += Duration::from_secs(1);
        assert!(!guess(&mut server, "anna", "right", address(100), now), "still slowed");
        let elsewhere = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1));
        assert!(guess(&mut server, "anna", "right", elsewhere, now), "the owner is elsewhere");
        now.mono += Duration::from_secs(70);
        assert!(guess(&mut server, "anna", "right", address(101), now), "and after a while here");
    }
}

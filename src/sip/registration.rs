//! The gateway's own registrations at registrars elsewhere (RFC 3261 §10.2), one per address.
//!
//! A registration never gives up, never hammers, and says truthfully how it stands.

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::auth::{self, Login};
use super::dialog::{contact_uri, via};
use super::transaction::Transactions;
use super::wire::text::seconds;
use super::wire::{Address, Message, Method, Name, Start, Uri, Writer};
use super::{Hop, User};
use crate::limits;
use crate::timer::Now;

/// Names a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistrationId(pub usize);

/// What is registered, and where.
#[derive(Clone, Debug)]
pub struct Identity {
    /// User part of the address of record.
    pub user: String,
    /// The registrar's domain.
    pub domain: String,
    /// Digest user name.
    pub auth_user: String,
    /// Password.
    pub password: secrecy::SecretString,
    /// User part of our Contact: what requests for this address will name.
    pub contact_user: String,
    /// The lifetime to ask for.
    pub expires: Duration,
}

impl Identity {
    /// Whether it binds the same Contact to the same address: one replaces the other.
    pub fn is_address_of(&self, other: &Self) -> bool {
        (&self.user, &self.domain, &self.contact_user) == (&other.user, &other.domain, &other.contact_user)
    }

    /// Whether nothing differs.
    pub fn is_same(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        self.is_address_of(other)
            && (&self.auth_user, self.expires) == (&other.auth_user, other.expires)
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// How a registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no flow to the registrar yet.
    NoFlow,
    /// A REGISTER is on its way.
    Trying,
    /// Registered until then, unless the registrar forgets.
    Registered {
        /// Since when without a break.
        since_ms: i64,
        /// When the binding ends.
        until: Instant,
    },
    /// Refused or unanswered.
    Failed {
        /// In words.
        why: String,
        /// The next attempt.
        again: Instant,
    },
}

/// One registration.
///
/// ```text
///  NoFlow ──flow up──▶ Trying ──2xx──▶ Registered ──refresh──▶ Trying
///     ▲                  │  ▲401 once      │
///     └──── flow down ───┼──┴──────────────┘
///                        └─other, silence─▶ Failed ──back-off──▶ Trying
/// ```
#[derive(Debug)]
pub struct Registration {
    id: RegistrationId,
    identity: Identity,
    hop: Option<Hop>,
    standing: Standing,
    since_ms: Option<i64>,
    call_id: String,
    tag: String,
    cseq: u32,
    challenges: u8,
    failures: u32,
    expires: u32,
    /// When to send the next REGISTER by itself.
    wake: Option<Instant>,
    leaving: bool,
    /// The way that later requests take (RFC 3608), value by value.
    service_route: Vec<String>,
    /// Which device this is (RFC 5627 §4.1): the same in every run.
    instance: String,
    /// The address of this very device that the registrar gave (RFC 5627), to be our Contact in dialogs.
    gruu: Option<String>,
    /// The realm that asked for the password.
    realm: Option<String>,
    /// What was last told: registered, or failed.
    told: Option<bool>,
    /// Why there is no flow.
    no_way: Option<String>,
}

/// Lifetimes up to this, in seconds, are refreshed before their half.
const SHORT: u32 = 600;
/// Wait before the first retry when nothing works (RFC 5626 §4.5).
const BASE: Duration = Duration::from_secs(30);
/// The longest wait between two tries (RFC 5626 §4.5).
const LONGEST_WAIT: Duration = Duration::from_secs(1800);
/// The wait after an answer that only a person can change: wrong password, forbidden.
const REFUSED_WAIT: Duration = Duration::from_secs(600);
/// Most stations of a service route; those behind are left out.
const ROUTES: usize = 8;
/// Longest reason phrase of a registrar that is shown, in characters.
const REASON: usize = 100;

impl Registration {
    /// Not registered, without a flow.
    pub fn new(id: RegistrationId, identity: Identity, rng: &mut ChaCha8Rng) -> Self {
        let expires = u32::try_from(identity.expires.as_secs()).unwrap_or(u32::MAX);
        Self {
            id,
            hop: None,
            standing: Standing::NoFlow,
            since_ms: None,
            call_id: format!("{:016x}{:08x}", rng.random::<u64>(), rng.random::<u32>()),
            tag: format!("{:08x}", rng.random::<u32>()),
            cseq: 0,
            challenges: 0,
            failures: 0,
            expires,
            wake: None,
            leaving: false,
            service_route: Vec::new(),
            instance: instance_of(&identity),
            gruu: None,
            realm: None,
            told: None,
            no_way: None,
            identity,
        }
    }

    /// The address, without its scheme.
    pub fn address(&self) -> String {
        format!("{}@{}", self.identity.user, self.identity.domain)
    }

    /// The address's parts and login.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How it stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether the standing changed since this was asked last; a refresh is no news.
    pub fn is_news(&mut self) -> bool {
        let good = match self.standing {
            Standing::Registered { .. } => Some(true),
            Standing::Failed { .. } => Some(false),
            Standing::NoFlow | Standing::Trying => return false,
        };
        let news = self.told != good || good == Some(false);
        self.told = good;
        news
    }

    /// The realm that the password is for: that of the registrar, or its domain where it never asked.
    pub fn realm(&self) -> &str {
        self.realm.as_deref().unwrap_or(&self.identity.domain)
    }

    /// The way that requests of this address take, as the registrar wants it (RFC 3608).
    pub fn service_route(&self) -> &[String] {
        &self.service_route
    }

    /// The public GRUU of this address, while the registrar grants one.
    pub fn gruu(&self) -> Option<&str> {
        self.gruu.as_deref()
    }

    /// The flow that requests for this address travel on, while there is one.
    pub fn hop(&self) -> Option<Hop> {
        self.hop
    }

    /// A flow to the registrar is up: register after a short random wait, so that many addresses
    /// or many gateways do not come at once.
    pub fn on_flow_up(&mut self, hop: Hop, rng: &mut ChaCha8Rng, now: Now) {
        self.hop = Some(hop);
        self.no_way = None;
        self.standing = Standing::Trying;
        self.wake = Some(now.mono + Duration::from_millis(rng.random_range(0..500)));
    }

    /// No flow came about.
    pub fn on_no_way(&mut self, why: &str) {
        self.no_way = Some(why.to_owned());
    }

    /// Why there is no flow, where it was tried.
    pub fn no_way(&self) -> Option<&str> {
        self.no_way.as_deref()
    }

    /// The flow is gone.
    pub fn on_flow_down(&mut self) {
        self.hop = None;
        self.gruu = None;
        self.wake = None;
        self.since_ms = None;
        self.challenges = 0;
        self.standing = Standing::NoFlow;
        self.told = None;
    }

    /// The peer's host says that nobody listens there.
    pub fn on_unreachable(&mut self, why: &str, rng: &mut ChaCha8Rng, now: Now) {
        if !matches!(self.standing, Standing::Failed { .. }) {
            self.fail(why.to_owned(), None, rng, now);
        }
    }

    /// Sends what is due.
    pub fn on_deadline(&mut self, transactions: &mut Transactions<User>, now: Now) {
        if self.wake.is_some_and(|at| at <= now.mono) {
            self.wake = None;
            self.challenges = 0;
            self.send(transactions, None, now);
        }
    }

    /// The next moment at which something has to be done.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// Takes the binding back, also one that is just being made: the gateway stops, or the address is
    /// not its own any more.
    pub fn leave(&mut self, transactions: &mut Transactions<User>, now: Now) {
        let asked = self.standing == Standing::Trying && self.cseq > 0;
        if !self.leaving && (asked || matches!(self.standing, Standing::Registered { .. })) {
            self.leaving = true;
            self.challenges = 0;
            self.wake = None;
            self.send(transactions, None, now);
        }
    }

    /// Whether it is being taken back and the registrar has not answered yet.
    pub fn is_leaving(&self) -> bool {
        self.leaving && self.standing == Standing::Trying
    }

    /// A final response to our REGISTER.
    pub fn on_response(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        rng: &mut ChaCha8Rng,
        now: Now,
    ) {
        let Start::Response { status, reason } = response.start else { return };
        match status {
            200..300 if self.leaving => self.on_flow_down(),
            200..300 => self.registered(response, rng, now),
            401 | 407 => self.challenged(response, transactions, rng, now),
            423 => self.too_brief(response, transactions, rng, now),
            _ => {
                // It is printed on terminals.
                let reason = String::from_utf8_lossy(reason);
                let words = reason.chars().filter(|c| !c.is_control()).take(REASON).collect::<String>();
                let why = format!("{status} {words}");
                let wait = response
                    .first(Name::RetryAfter)
                    .and_then(retry_after)
                    .or((status == 403).then_some(REFUSED_WAIT));
                self.fail(why, wait, rng, now);
            }
        }
    }

    /// Nobody answered within 32 s, or the flow broke.
    pub fn on_timeout(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        if self.hop.is_some() {
            self.fail("the registrar does not answer".to_owned(), None, rng, now);
        }
    }

    fn registered(&mut self, response: &Message<'_>, rng: &mut ChaCha8Rng, now: Now) {
        let granted = self.granted(response).unwrap_or(self.expires).max(1);
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).ok();
        self.service_route = response.list(Name::ServiceRoute).filter_map(text).take(ROUTES).collect();
        self.gruu = self.own(response).and_then(|own| own.params.text("pub-gruu").and_then(usable));
        let since_ms = *self.since_ms.get_or_insert(now.wall_ms);
        self.failures = 0;
        self.challenges = 0;
        self.standing =
            Standing::Registered { since_ms, until: now.mono + Duration::from_secs(u64::from(granted)) };
        // A registrar that restarts forgets us: a short lifetime is one that wants this seen soon.
        let share = if granted <= SHORT { rng.random_range(0.4..0.5) } else { rng.random_range(0.5..0.9) };
        self.wake = Some(now.mono + Duration::from_secs_f64(f64::from(granted) * share));
    }

    /// The lifetime of our Contact in a 2xx.
    fn granted(&self, response: &Message<'_>) -> Option<u32> {
        let own = self.own(response);
        own.and_then(|contact| contact.params.get("expires").flatten().and_then(seconds))
            .or_else(|| response.expires())
    }

    /// Our Contact in a 2xx.
    fn own<'m>(&self, response: &Message<'m>) -> Option<Address<'m>> {
        let ours = contact_uri(&self.identity.contact_user, self.hop?);
        let mut contacts = response.list(Name::Contact).filter_map(|value| Address::parse(value).ok());
        contacts.find(|contact| contact.uri.address() == ours.as_str() || contact.uri.raw == ours)
    }

    fn challenged(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        rng: &mut ChaCha8Rng,
        now: Now,
    ) {
        use secrecy::ExposeSecret as _;
        self.challenges += 1;
        let uri = format!("sip:{}", self.identity.domain);
        let cnonce = format!("{:016x}", rng.random::<u64>());
        let login =
            Login { user: &self.identity.auth_user, password: self.identity.password.expose_secret() };
        match auth::answer(response, login, "REGISTER", &uri, &cnonce, 1) {
            // One answer per challenge, three more when only the nonce was old.
            Some(answer) if self.challenges == 1 || (answer.stale && self.challenges <= 4) => {
                self.realm = Some(answer.realm.clone());
                self.send(transactions, Some(&answer.field), now);
            }
            Some(_) => {
                self.fail("the registrar refuses the password".to_owned(), Some(REFUSED_WAIT), rng, now)
            }
            None => self.fail(
                "the registrar asks for a kind of login that is not supported".to_owned(),
                Some(REFUSED_WAIT),
                rng,
                now,
            ),
        }
    }

    fn too_brief(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        rng: &mut ChaCha8Rng,
        now: Now,
    ) {
        match response.first(Name::MinExpires).and_then(seconds).filter(|least| *least > self.expires) {
            Some(least) => {
                self.expires = least;
                self.challenges = 0;
                self.send(transactions, None, now);
            }
            None => self.fail("423 without a longer Min-Expires".to_owned(), None, rng, now),
        }
    }

    /// Back-off of RFC 5626 §4.5: half to all of min(1800 s, 30 s · 2ⁿ).
    fn fail(&mut self, why: String, wait: Option<Duration>, rng: &mut ChaCha8Rng, now: Now) {
        let wait = wait.unwrap_or_else(|| {
            let full = BASE.saturating_mul(1 << self.failures.min(6)).min(LONGEST_WAIT);
            full.mul_f64(rng.random_range(0.5..1.0))
        });
        self.failures = self.failures.saturating_add(1);
        self.since_ms = None;
        self.gruu = None;
        let again = now.mono + wait;
        self.standing = Standing::Failed { why, again };
        self.wake = (!self.leaving).then_some(again);
    }

    fn send(&mut self, transactions: &mut Transactions<User>, credentials: Option<&str>, now: Now) {
        let Some(hop) = self.hop else { return };
        self.cseq += 1;
        // A refresh of a binding that stands does not make it any less registered.
        if !matches!(self.standing, Standing::Registered { .. }) || self.leaving {
            self.standing = Standing::Trying;
        }
        let Identity { user, domain, contact_user, .. } = &self.identity;
        let expires = if self.leaving { 0 } else { self.expires };
        let (tag, call_id, cseq, instance) = (&self.tag, &self.call_id, self.cseq, &self.instance);
        transactions.send(hop, Method::Register, User::Register(self.id), now.mono, |branch| {
            let mut writer = Writer::request(Method::Register, &format!("sip:{domain}"));
            via(&mut writer, hop, branch);
            writer.raw(b"Max-Forwards: 70\r\n");
            writer.field_fmt("From", format_args!("<sip:{user}@{domain}>;tag={tag}"));
            writer.field_fmt("To", format_args!("<sip:{user}@{domain}>"));
            writer.field("Call-ID", &[call_id]);
            writer.field_fmt("CSeq", format_args!("{cseq} REGISTER"));
            writer.field_fmt(
                "Contact",
                format_args!(
                    "<{}>;expires={expires};+sip.instance=\"<{instance}>\"",
                    contact_uri(contact_user, hop)
                ),
            );
            writer.field("Supported", &["gruu"]);
            writer.field_fmt("Expires", format_args!("{expires}"));
            writer.raw(credentials.unwrap_or_default().as_bytes());
            writer.finish()
        });
    }
}

/// A name of this device that needs no memory: made of what it registers (RFC 4122 §4.3, version 8 of RFC
/// 9562).
fn instance_of(identity: &Identity) -> String {
    use sha2::Digest as _;
    let Identity { user, domain, contact_user, .. } = identity;
    let hash = sha2::Sha256::digest(format!("sipliance {contact_user} {user}@{domain}"));
    let mut bits = hash.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    bits = bits & !(0xf << 76) | 0x8 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let part = |from: u32, digits: u32| bits >> from & ((1 << (4 * digits)) - 1);
    let (a, b, c) = (part(96, 8), part(80, 4), part(64, 4));
    format!("urn:uuid:{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", part(48, 4), part(0, 12))
}

/// A GRUU that can be a Contact: one SIP URI with `gr`, and nothing that ends a header field.
fn usable(gruu: &str) -> Option<String> {
    let uri = Uri::parse(gruu).ok().filter(|uri| uri.is_sip() && uri.user.is_some())?;
    let clean = !gruu.contains(['<', '>', '"', ',']) && !gruu.chars().any(char::is_control);
    (clean && uri.params.get("gr").is_some() && gruu.len() <= GRUU).then(|| gruu.to_owned())
}

/// Longest GRUU that is taken, in bytes; a longer one is none.
const GRUU: usize = 256;

fn retry_after(value: &[u8]) -> Option<Duration> {
    let digits = value.split(|byte| !byte.is_ascii_digit()).next()?;
    seconds(digits).map(|wait| Duration::from_secs(u64::from(wait.min(limits::RETRY_AFTER))))
}

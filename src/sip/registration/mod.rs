//! The gateway's own registrations at registrars elsewhere (RFC 3261 §10.2, RFC 5626), one per address and
//! flow.
//!
//! A registration never gives up, never hammers, and says truthfully how it stands.

mod answers;
mod echo;
mod gruus;
mod identity;
mod instance;
mod terms;

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::challenge::{Challenges, Login};
use super::dialog::{contact_uri, via_with};
use super::flow::backoff::Backoff;
use super::transaction::Transactions;
use super::wire::{Method, Uri, Writer};
use super::{Hop, User};
use crate::timer::Now;

pub use self::echo::Echo;
pub use self::identity::{Identity, Standing};
pub use self::terms::{Listed, Terms, keep, seen};

/// Names a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegistrationId(pub usize);

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
    since: Option<Instant>,
    call_id: String,
    tag: String,
    cseq: u32,
    challenges: Challenges,
    /// 423 was obeyed for this request.
    lengthened: bool,
    /// The registrar was there and said no: it is left alone until then, whatever becomes of the flow.
    rest: Option<Instant>,
    backoff: Backoff,
    expires: u32,
    /// The server cannot do RFC 5626, or said that it will not (439).
    plain: bool,
    /// Bindings that an earlier run of ours left there, to be removed with the next REGISTER.
    strays: Vec<String>,
    /// How often that was done on this flow.
    swept: u8,
    terms: Terms,
    gruus: gruus::Gruus,
    /// Another flow to the same registrar works.
    another_up: bool,
    /// The last failure was that nobody answered.
    silent: bool,
    /// The last failure was a 430.
    flow_failed: bool,
    /// 503s on end, by the server of this flow.
    busy: u8,
    /// It was registered over this flow.
    stood: bool,
    /// It was tried early after the last silence.
    hurried: bool,
    /// When to send the next REGISTER by itself.
    wake: Option<Instant>,
    leaving: bool,
    /// Which device this is (RFC 5627 §4.1): the same in every run.
    instance: String,
    /// The realm that asked for the password.
    realm: Option<String>,
    /// What was last told: registered, or failed.
    told: Option<bool>,
    /// Why there is no flow.
    no_way: Option<String>,
}

/// How often old bindings are removed on one flow: a registrar that keeps them is not asked without end.
const SWEEPS: u8 = 4;
/// 503s on end after which a server that registered us is given up for another.
const BUSY: u8 = 3;
/// The wait after an answer that only a person can change: wrong password, forbidden.
const REFUSED_WAIT: Duration = Duration::from_secs(600);

/// Whoever the registrar is stands in the home file: it may ask under any name.
fn login(identity: &Identity) -> Login {
    Login { user: identity.auth_user.clone(), password: Some(identity.password.clone()), realm: None }
}

impl Registration {
    /// Not registered, without a flow.
    pub fn new(id: RegistrationId, identity: Identity, rng: &mut ChaCha8Rng) -> Self {
        let expires = u32::try_from(identity.expires.as_secs()).unwrap_or(u32::MAX);
        Self {
            id,
            hop: None,
            standing: Standing::NoFlow,
            since: None,
            call_id: format!("{:016x}{:08x}", rng.random::<u64>(), rng.random::<u32>()),
            tag: format!("{:08x}", rng.random::<u32>()),
            cseq: 0,
            challenges: Challenges::registering(login(&identity)),
            lengthened: false,
            rest: None,
            backoff: Backoff::default(),
            expires,
            plain: false,
            strays: Vec::new(),
            swept: 0,
            terms: Terms::default(),
            gruus: gruus::Gruus::default(),
            another_up: false,
            silent: false,
            flow_failed: false,
            busy: 0,
            stood: false,
            hurried: false,
            wake: None,
            leaving: false,
            instance: instance::of(&identity),
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
        &self.terms.service_route
    }

    /// The public GRUU of this address, while the registrar grants one.
    pub fn gruu(&self) -> Option<&str> {
        self.terms.gruu.as_deref()
    }

    /// A temporary GRUU of this address to be somebody's way to us, while the registrar grants one.
    pub fn lend_gruu(&mut self) -> Option<String> {
        let gruu = self.terms.temporary.clone()?;
        self.gruus.lend(&gruu);
        Some(gruu)
    }

    /// Whether `uri` is a temporary GRUU of this address that somebody has.
    pub fn lends(&self, uri: &Uri<'_>) -> bool {
        self.gruus.holds(uri)
    }

    /// Temporary GRUUs that ended together with a binding since this was asked last: whoever has one needs another.
    pub fn take_void_gruus(&mut self) -> Vec<String> {
        self.gruus.take_void()
    }

    /// It takes the place of another one of the same address, whose Call-ID ends with it, and so its temporary GRUUs.
    pub fn succeed(&mut self, before: &mut Self) {
        self.gruus = std::mem::take(&mut before.gruus);
        self.gruus.end();
    }

    /// What the registrar's newest 2xx says beside the lifetime.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// The flow that requests for this address travel on, while there is one.
    pub fn hop(&self) -> Option<Hop> {
        self.hop
    }

    /// A flow to the registrar is up: register within that time, at random, so that many addresses or many gateways
    /// do not come at once.
    pub fn on_flow_up(&mut self, hop: Hop, within: Duration, rng: &mut ChaCha8Rng, now: Now) {
        self.hop = Some(hop);
        self.no_way = None;
        (self.swept, self.busy, self.stood) = (0, 0, false);
        let soon = now.mono + within.mul_f64(rng.random());
        self.wake = Some(match self.rest.filter(|rest| *rest > soon) {
            Some(rest) => rest,
            None => {
                self.standing = Standing::Trying;
                soon
            }
        });
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
        self.terms = Terms::default();
        self.wake = None;
        self.since = None;
        self.challenges.forget();
        // A refusal is one still, whether or not the server hangs up after it.
        if self.rest.is_none() || !matches!(self.standing, Standing::Failed { .. }) {
            self.standing = Standing::NoFlow;
            self.told = None;
        }
    }

    /// The peer's host says that nobody listens there.
    pub fn on_unreachable(&mut self, why: &str, rng: &mut ChaCha8Rng, now: Now) {
        if !matches!(self.standing, Standing::Failed { .. }) {
            self.fail(why.to_owned(), None, rng, now);
        }
    }

    /// Whether it is registered.
    pub fn stands(&self) -> bool {
        matches!(self.standing, Standing::Registered { .. })
    }

    /// Whether it failed because nobody answered.
    pub fn is_silent(&self) -> bool {
        self.silent && matches!(self.standing, Standing::Failed { .. })
    }

    /// When it is tried again after a failure.
    pub fn next_attempt(&self) -> Option<Instant> {
        match self.standing {
            Standing::Failed { again, .. } => Some(again),
            _ => None,
        }
    }

    /// Whether an edge proxy said that the flow itself is dead (RFC 5626 §11.5: 430).
    pub fn flow_failed(&self) -> bool {
        self.flow_failed && matches!(self.standing, Standing::Failed { .. })
    }

    /// As nobody answers on the flow, another one is made: the next attempt keeps its time, and waits for that.
    pub fn on_flow_moving(&mut self) {
        self.hop = None;
    }

    /// The other one is there.
    pub fn on_flow_moved(&mut self, hop: Hop) {
        self.hop = Some(hop);
        self.no_way = None;
        (self.swept, self.busy, self.stood) = (0, 0, false);
    }

    /// Whether it stands since this very moment, after it did not.
    pub fn came_back(&self, now: Instant) -> bool {
        matches!(self.standing, Standing::Registered { since, .. } if since == now)
    }

    /// Whether the server is too busy (503), so that the next attempt is better made at another one of the same name
    /// (RFC 3263 §4.3). One that registered us over this flow has more patience.
    pub fn seeks_another(&self) -> bool {
        let enough = if self.stood { BUSY } else { 1 };
        self.busy >= enough && matches!(self.standing, Standing::Failed { .. })
    }

    /// Nobody at all answered a small question either: the silence is that of the network.
    pub fn on_network_gone(&mut self) {
        self.hurried = false;
    }

    /// Whether another flow to the same registrar works: then this one waits longer after a failure.
    pub fn set_another_up(&mut self, up: bool) {
        self.another_up = up;
    }

    /// The network is back, or the way to the registrar: what failed because nobody answered is tried again
    /// within that time, at random.
    /// Once for each silence: a registrar that goes on being silent while its host answers is a registrar with
    /// troubles of its own.
    pub fn on_network_back(&mut self, within: Duration, rng: &mut ChaCha8Rng, now: Now) {
        if self.is_silent() && !self.leaving && !std::mem::replace(&mut self.hurried, true) {
            let again = now.mono + within.mul_f64(rng.random());
            self.wake = self.wake.map(|at| at.min(again));
        }
    }

    /// A binding that stands is refreshed then, if not before: the way to the registrar is to show itself,
    /// or has changed.
    pub fn refresh_by(&mut self, at: Instant) {
        if self.stands() && !self.leaving {
            self.wake = self.wake.map(|wake| wake.min(at));
        }
    }

    /// Sends what is due.
    pub fn on_deadline(&mut self, transactions: &mut Transactions<User>, now: Now) {
        if self.hop.is_some() && self.wake.is_some_and(|at| at <= now.mono) {
            self.wake = None;
            (self.lengthened, self.rest) = (false, None);
            self.challenges.forget();
            self.send(transactions, None, now);
        }
    }

    /// The next moment at which something has to be done.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.wake.filter(|_| self.hop.is_some())
    }

    /// Takes the binding back, also one that is just being made: the gateway stops, or the address is
    /// not its own any more.
    pub fn leave(&mut self, transactions: &mut Transactions<User>, now: Now) {
        let asked = self.standing == Standing::Trying && self.cseq > 0;
        if !self.leaving && (asked || matches!(self.standing, Standing::Registered { .. })) {
            self.leaving = true;
            self.challenges.forget();
            self.wake = None;
            self.send(transactions, None, now);
        }
    }

    /// Whether it is being taken back and the registrar has not answered yet.
    pub fn is_leaving(&self) -> bool {
        self.leaving && self.standing == Standing::Trying
    }

    /// Nobody answered within 32 s, or the flow broke.
    pub fn on_timeout(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        if self.hop.is_some() {
            self.fail("the registrar does not answer".to_owned(), None, rng, now);
            self.silent = true;
        }
    }

    /// The registrar says no: it is asked again after `wait`, or as RFC 5626 §4.5 wants, and not before that because of
    /// another flow.
    fn refused(&mut self, why: String, wait: Option<Duration>, rng: &mut ChaCha8Rng, now: Now) {
        self.fail(why, wait, rng, now);
        self.rest = self.next_attempt();
    }

    /// Waits as the registrar said, or as RFC 5626 §4.5 wants.
    fn fail(&mut self, why: String, wait: Option<Duration>, rng: &mut ChaCha8Rng, now: Now) {
        let backoff = self.backoff.failed(self.another_up, rng);
        let again = now.mono + wait.unwrap_or(backoff);
        self.rest = None;
        self.since = None;
        (self.silent, self.flow_failed) = (false, false);
        self.terms = Terms::default();
        self.standing = Standing::Failed { why, again };
        self.wake = (!self.leaving).then_some(again);
    }

    /// Which flow this is, unless a plain registration is what works here.
    fn reg_id(&self) -> Option<u8> {
        self.identity.reg_id.filter(|_| !self.plain)
    }

    fn send(&mut self, transactions: &mut Transactions<User>, credentials: Option<&str>, now: Now) {
        let Some(hop) = self.hop else { return };
        self.cseq += 1;
        // A refresh of a binding that stands does not make it any less registered.
        if !matches!(self.standing, Standing::Registered { .. }) || self.leaving {
            self.standing = Standing::Trying;
        }
        let Identity { user, domain, .. } = &self.identity;
        let expires = if self.leaving { 0 } else { self.expires };
        let (tag, call_id, cseq, instance) = (&self.tag, &self.call_id, self.cseq, &self.instance);
        let contact = contact_uri(user, hop);
        let reg_id = self.reg_id();
        let route = self.identity.route.as_deref();
        let strays = std::mem::take(&mut self.strays);
        self.swept += u8::from(!strays.is_empty());
        transactions.send(hop, Method::Register, User::Register(self.id), now.mono, |branch| {
            let mut writer = Writer::request(Method::Register, &format!("sip:{domain}"));
            via_with(&mut writer, hop, branch, ";keep");
            writer.raw(b"Max-Forwards: 70\r\n");
            if let Some(route) = route {
                writer.field("Route", &[route]);
            }
            writer.field_fmt("From", format_args!("<sip:{user}@{domain}>;tag={tag}"));
            writer.field_fmt("To", format_args!("<sip:{user}@{domain}>"));
            writer.field("Call-ID", &[call_id]);
            writer.field_fmt("CSeq", format_args!("{cseq} REGISTER"));
            writer.field_fmt(
                "Contact",
                format_args!("<{contact}>;expires={expires};+sip.instance=\"<{instance}>\""),
            );
            if let Some(reg_id) = reg_id {
                writer.append_param("reg-id", &reg_id.to_string());
            }
            for stray in &strays {
                writer.field_fmt("Contact", format_args!("<{stray}>;expires=0"));
            }
            writer
                .field("Supported", &[if reg_id.is_some() { "path, outbound, gruu" } else { "path, gruu" }]);
            writer.field_fmt("Expires", format_args!("{expires}"));
            writer.raw(credentials.unwrap_or_default().as_bytes());
            writer.finish()
        });
    }
}

//! One publication of ours at an event state compositor elsewhere (RFC 3903): published, kept alive,
//! modified, and taken back.
//!
//! The newest document counts: there is no queue of old ones, and one request is under way at most.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::Hop;
use super::challenge::{Challenges, Login};
use super::dialog::{preloaded, via};
use super::exchange::address_of;
use super::flow::backoff::retry_after;
use super::transaction::Transactions;
use super::wire::text::seconds;
use super::wire::{Message, Method, Name, Start, Writer};

/// What is published where.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The address whose state it is: Request-URI, From and To.
    pub address: String,
    /// The event package.
    pub event: &'static str,
    /// Media type of the documents.
    pub content_type: &'static str,
    /// The lifetime to ask for, in seconds.
    pub expires: u32,
}

/// How a publication stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for a way there, or for something to say.
    Idle,
    /// A PUBLISH is on its way, and nothing stands there yet.
    Trying,
    /// It stands until then, unless the server forgets.
    Published(Instant),
    /// Refused or unanswered.
    Failed {
        /// In words.
        why: String,
        /// The next attempt.
        again: Instant,
    },
}

/// What a PUBLISH is to do (RFC 3903 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    /// A body without an entity tag.
    Initial,
    /// An entity tag without a body.
    Refresh,
    /// Both.
    Modify,
    /// An entity tag without a body, for no time.
    Remove,
}

/// Two documents are at least this far apart; the newest waits.
pub const SPACING: Duration = Duration::from_secs(5);
/// Wait before the first retry when nothing works; it doubles.
const BASE: Duration = Duration::from_secs(10);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// The wait after an answer that only a person can change.
const REFUSED_WAIT: Duration = Duration::from_secs(600);
/// Longest reason phrase that is shown, in characters.
const REASON: usize = 100;
/// Within so many seconds after a flow came about it is asked whether a publication still stands. Those of many
/// gateways whose edge is gone do not come at once.
const ASKED: f64 = 20.0;

/// See the module.
///
/// ```text
///  Idle ──document, flow──▶ Trying ──2xx──▶ Published ──modify, refresh─┐
///    ▲                      │   ▲               │   ▲                    │
///    └──────flow down───────┤   └──412: anew────┘   └────────2xx─────────┘
///                           └─other, silence─▶ Failed ──back-off──▶ Trying
/// ```
#[derive(Debug)]
pub struct Publisher {
    identity: Identity,
    challenges: Challenges,
    hop: Option<Hop>,
    route: Vec<String>,
    /// The newest document.
    document: Option<Bytes>,
    /// The document that is on its way.
    sent: Option<Bytes>,
    /// The document that is known to stand there.
    stands: Option<Bytes>,
    etag: Option<String>,
    standing: Standing,
    /// What is under way, by its CSeq.
    asked: Option<(u32, Task)>,
    call_id: String,
    tag: String,
    cseq: u32,
    expires: u32,
    /// 423 was obeyed for this request.
    lengthened: bool,
    failures: u32,
    /// Before this no document is sent.
    not_before: Option<Instant>,
    refresh: Option<Instant>,
    leaving: bool,
    rng: ChaCha8Rng,
}

impl Publisher {
    /// Nothing is published yet.
    pub fn new(identity: Identity, mut rng: ChaCha8Rng) -> Self {
        Self {
            challenges: Challenges::new(Login { user: String::new(), password: None, realm: None }),
            hop: None,
            route: Vec::new(),
            document: None,
            sent: None,
            stands: None,
            etag: None,
            standing: Standing::Idle,
            asked: None,
            call_id: format!("{:032x}", rng.random::<u128>()),
            tag: format!("{:016x}", rng.random::<u64>()),
            cseq: 0,
            expires: identity.expires,
            lengthened: false,
            failures: 0,
            not_before: None,
            refresh: None,
            leaving: false,
            identity,
            rng,
        }
    }

    /// The address whose state it is.
    pub fn address(&self) -> &str {
        &self.identity.address
    }

    /// How it stands.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The flow there, while there is one.
    pub fn hop(&self) -> Option<Hop> {
        self.hop
    }

    /// The way of what is sent from now on: the newest service route of the registration (RFC 3608), value by value.
    pub fn set_route(&mut self, route: &[String]) {
        if self.route != route {
            self.route = route.to_vec();
        }
    }

    /// A flow there. `login` is what the registration is asked for. What stood there is asked about soon: a server that started anew forgot it.
    pub fn on_flow_up(&mut self, hop: Hop, login: Login, now: Instant) {
        self.challenges = Challenges::new(login);
        self.hop = Some(hop);
        let soon = now + Duration::from_secs_f64(self.rng.random_range(0.0..ASKED));
        self.refresh = self.etag.is_some().then(|| self.refresh.map_or(soon, |at| at.min(soon)));
    }

    /// The flow is gone. What stands there stays until its time is over.
    pub fn on_flow_down(&mut self) {
        self.hop = None;
        self.drop_request();
        if !matches!(self.standing, Standing::Published(_)) {
            self.standing = Standing::Idle;
        }
    }

    /// Whether a document would be sent now, so that the newest is worth making.
    pub fn is_free(&self, now: Instant) -> bool {
        self.hop.is_some()
            && !self.leaving
            && self.asked.is_none()
            && self.not_before.is_none_or(|at| at <= now)
    }

    /// A newer document; [`Publisher::on_deadline`] sends it as soon as it may.
    pub fn publish(&mut self, document: Bytes) {
        self.document = Some(document);
    }

    /// Takes the publication back: the gateway stops.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether something has to be taken back that is not yet.
    pub fn is_leaving(&self) -> bool {
        self.leaving && self.hop.is_some() && (self.etag.is_some() || self.asked.is_some())
    }

    /// When to call [`Publisher::on_deadline`], beside after each change.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.hop.is_none() || self.asked.is_some() || self.leaving {
            return None;
        }
        // The owner may have a newer document as soon as it is free.
        [self.not_before, self.refresh].into_iter().flatten().min()
    }

    /// Sends what is due.
    pub fn on_deadline<U: Copy>(&mut self, transactions: &mut Transactions<U>, user: U, now: Instant) {
        if self.not_before.is_some_and(|at| at <= now) {
            self.not_before = None;
        }
        if matches!(self.standing, Standing::Published(until) if until <= now) {
            // It ended there while nothing could be sent.
            self.forget();
            self.standing = Standing::Idle;
        }
        if self.hop.is_none() || self.asked.is_some() {
            return;
        }
        let Some(task) = self.task(now) else { return };
        self.challenges.begin();
        self.lengthened = false;
        self.refresh = None;
        if matches!(task, Task::Initial | Task::Modify) {
            self.sent = self.document.clone();
            self.not_before = Some(now + SPACING);
        }
        self.send(task, transactions, user, now);
    }

    fn task(&self, now: Instant) -> Option<Task> {
        let free = self.not_before.is_none();
        let new = self.document.is_some() && self.document != self.stands;
        match (self.leaving, self.etag.is_some()) {
            (true, true) => Some(Task::Remove),
            (true, false) => None,
            (false, false) if new && free => Some(Task::Initial),
            (false, true) if new && free => Some(Task::Modify),
            (false, true) if self.refresh.is_some_and(|at| at <= now) => Some(Task::Refresh),
            (false, _) => None,
        }
    }

    /// A final response that the transactions gave to us.
    pub fn on_response<U: Copy>(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<U>,
        user: U,
        now: Instant,
    ) {
        let Start::Response { status, reason } = response.start else { return };
        let number = response.cseq().map(|cseq| cseq.number);
        let Some((_, task)) = self.asked.filter(|(cseq, _)| Some(*cseq) == number) else { return };
        if status < 200 || response.call_id() != Some(self.call_id.as_bytes()) {
            return;
        }
        match status {
            200..300 => self.accepted(task, response, now),
            401 | 407 => match self.challenges.on_challenge(response) {
                Ok(()) => self.send(task, transactions, user, now),
                Err(refused) => self.fail(refused.to_string(), Some(REFUSED_WAIT), now),
            },
            // §4: the tag means nothing any more, and the same request would fail again.
            412 if task != Task::Initial => {
                self.drop_request();
                self.forget();
                self.not_before = None;
                self.standing = if self.leaving { Standing::Idle } else { Standing::Trying };
                self.on_deadline(transactions, user, now);
            }
            423 if self.lengthen(response) => self.send(task, transactions, user, now),
            _ => {
                // It is printed on terminals.
                let reason = String::from_utf8_lossy(reason);
                let words: String = reason.chars().filter(|c| !c.is_control()).take(REASON).collect();
                let told = retry_after(response, &mut self.rng);
                let wait = told.or(matches!(status, 403..=405 | 415 | 489 | 501).then_some(REFUSED_WAIT));
                self.fail(format!("{status} {words}"), wait, now);
            }
        }
    }

    /// Nobody answered, or the flow broke.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.asked.is_some() {
            self.fail("no answer".to_owned(), None, now);
        }
    }

    /// Every 2xx brings a new tag (§4.1).
    fn accepted(&mut self, task: Task, response: &Message<'_>, now: Instant) {
        self.asked = None;
        self.failures = 0;
        if task == Task::Remove {
            self.forget();
            self.standing = Standing::Idle;
            return;
        }
        if let Some(sent) = self.sent.take() {
            self.stands = Some(sent);
        }
        let tag = response.first(Name::SipETag).map(|tag| String::from_utf8_lossy(tag).trim().to_owned());
        self.etag = tag.filter(|tag| !tag.is_empty());
        let granted = Duration::from_secs(u64::from(response.expires().unwrap_or(self.expires).max(1)));
        self.standing = Standing::Published(now + granted);
        let refresh = now + granted.mul_f64(self.rng.random_range(0.7..0.9));
        self.refresh = Some(refresh);
        if self.etag.is_none() {
            // It cannot be modified: it is made anew in time.
            self.stands = None;
            self.not_before = Some(refresh.max(now + SPACING));
        }
    }

    fn lengthen(&mut self, response: &Message<'_>) -> bool {
        let least = response.first(Name::MinExpires).and_then(seconds);
        match least.filter(|least| *least > self.expires && !self.lengthened) {
            Some(least) => {
                self.expires = least;
                self.lengthened = true;
                true
            }
            None => false,
        }
    }

    /// Tries again after a while, with the newest document: whether the last one stands is not known.
    fn fail(&mut self, why: String, wait: Option<Duration>, now: Instant) {
        self.drop_request();
        if self.leaving {
            // The end does not wait for a server that does not want.
            self.forget();
            self.standing = Standing::Idle;
            return;
        }
        let wait = wait.unwrap_or_else(|| {
            let full = BASE.saturating_mul(1 << self.failures.min(6)).min(LONGEST_WAIT);
            full.mul_f64(self.rng.random_range(0.5..1.0))
        });
        self.failures = self.failures.saturating_add(1);
        let again = now + wait.max(SPACING);
        self.stands = None;
        self.refresh = None;
        self.not_before = Some(again);
        self.standing = Standing::Failed { why, again };
    }

    fn drop_request(&mut self) {
        if self.sent.take().is_some() {
            self.stands = None;
        }
        self.asked = None;
    }

    fn forget(&mut self) {
        self.etag = None;
        self.stands = None;
        self.refresh = None;
    }

    fn send<U: Copy>(&mut self, task: Task, transactions: &mut Transactions<U>, user: U, now: Instant) {
        let Some(hop) = self.hop else { return };
        self.cseq += 1;
        self.asked = Some((self.cseq, task));
        if !matches!(self.standing, Standing::Published(_)) {
            self.standing = Standing::Trying;
        }
        let Identity { address, event, content_type, .. } = &self.identity;
        let credentials = self.challenges.fields("PUBLISH", address, &mut self.rng);
        let expires = if task == Task::Remove { 0 } else { self.expires };
        let (tag, call_id, cseq, route) = (&self.tag, &self.call_id, self.cseq, &self.route);
        let etag = self.etag.as_deref().filter(|_| task != Task::Initial);
        let body = self.sent.as_ref().filter(|_| matches!(task, Task::Initial | Task::Modify));
        transactions.send(hop, Method::Publish, user, now, |branch| {
            let mut writer = Writer::request(Method::Publish, address);
            via(&mut writer, hop, branch);
            writer.raw(b"Max-Forwards: 70\r\n");
            preloaded(&mut writer, route);
            let aor = address_of(address);
            writer.field_fmt("From", format_args!("<{aor}>;tag={tag}"));
            writer.field("To", &["<", &aor, ">"]);
            writer.field("Call-ID", &[call_id]);
            writer.field_fmt("CSeq", format_args!("{cseq} PUBLISH"));
            writer.field("Event", &[event]);
            writer.field_fmt("Expires", format_args!("{expires}"));
            if let Some(etag) = etag {
                writer.field("SIP-If-Match", &[etag]);
            }
            writer.raw(credentials.as_bytes());
            match body {
                Some(body) => writer.body(content_type, body),
                None => writer.finish(),
            }
        });
    }
}

#[cfg(test)]
mod tests;

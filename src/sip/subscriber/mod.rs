//! The subscriber of RFC 6665: one wish, kept up over any number of subscriptions.
//!
//! It asks, refreshes in time, obeys why a notifier ends it, and comes back with patience. The
//! first subscription is different: when that fails, a person is waiting for the answer, so nothing
//! is tried again. A patient subscriber has nobody waiting and never gives up.

mod answer;
mod notify;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::challenge::{Challenges, Login, Refused};
use super::dialog::{Dialog, contact_towards, preloaded, via_with};
use super::exchange::address_of;
use super::transaction::{TIMEOUT, Transactions};
use super::wire::{Method, Writer};
use super::{FlowId, Hop, Transport};
use crate::limits;

/// What is to be watched.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Request-URI.
    pub target: String,
    /// Our own address.
    pub from: String,
    /// User part of our Contact.
    pub user: String,
    /// Event package, with parameters where it needs some.
    pub event: String,
    /// Media types for Accept; `None`: what the package's default is.
    pub accept: Option<String>,
    /// The lifetime to ask for in seconds; zero fetches the state once.
    pub expires: u32,
}

/// A NOTIFY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notified {
    /// `active`, `pending`, `terminated` or what else was written.
    pub state: String,
    /// Why it is terminated.
    pub reason: Option<String>,
    /// Media type without parameters; `None` without a body.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
}

/// Why there is no subscription (any more).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// A final response.
    Refused {
        /// Status code.
        status: u16,
        /// Reason phrase.
        reason: String,
        /// The packages that there are, where the response tells.
        allow_events: Option<String>,
    },
    /// A challenge could not be answered.
    Login(Refused),
    /// No NOTIFY within Timer N; `answered` tells whether the SUBSCRIBE was accepted.
    Silent {
        /// A 2xx came.
        answered: bool,
    },
    /// The notifier ended it.
    Terminated(Option<String>),
    /// No refresh succeeded before it ran out.
    Expired,
    /// The connection is gone.
    FlowLost(String),
    /// It was a fetch, and the state came.
    Fetched,
    /// We unsubscribed.
    Left,
}

/// What the owner hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state.
    Notified(Notified),
    /// The subscription is gone; the next one is asked for by itself then.
    Waiting(Why, Instant),
    /// A flow is needed: [`Subscriber::on_flow_up`] or [`Subscriber::on_flow_lost`].
    NeedFlow,
    /// Over for good.
    Over(Why),
}

/// ```text
///  Waiting ──SUBSCRIBE──▶ Asking ──NOTIFY──▶ Standing ──refresh─┐
///     ▲                     │                  │  ▲             │
///     └───── back-off ──────┴──481, N, ended───┘  └─────────────┘
///                                              │ leave
///  Over ◀──never again, first one failed       ▼
///    ▲──────────────────NOTIFY terminated─── Leaving
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until then nothing is sent; `None`: a flow must come up first.
    Waiting(Option<Instant>),
    /// `notify_wait` of §4.1.2.
    Asking,
    /// `pending` and `active`: there is a dialog.
    Standing,
    Leaving,
    Over,
}

/// What may follow on the end of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Never,
    AtOnce,
    After(Duration),
    BackOff,
}

/// First wait of the back-off; it doubles.
const BASE: Duration = Duration::from_secs(1);
/// The longest wait of the back-off.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// How long a patient subscriber waits when only a person over there can change something.
const REFUSED: Duration = Duration::from_secs(600);
/// The same when the notifier ended it for good (RFC 6665 §4.1.3: rejected, noresource, invariant).
const ENDED: Duration = Duration::from_secs(3600);
/// A subscription that lived so long was a good one: the back-off begins anew.
const GOOD: Duration = Duration::from_secs(60);
/// No lifetime is believed beyond this many seconds; refreshing earlier harms nobody.
const LONGEST_LIFE: u32 = 30 * 24 * 3600;

/// See the module.
#[derive(Debug)]
pub struct Subscriber {
    wish: Wish,
    route: Vec<String>,
    /// Whether to offer keep-alives for the dialog (RFC 6223).
    keep: bool,
    state: State,
    hop: Option<Hop>,
    challenges: Challenges,
    call_id: String,
    tag: String,
    cseq: u32,
    dialog: Option<Dialog>,
    /// CSeq of the SUBSCRIBE whose final response is awaited.
    asked: Option<u32>,
    /// 423 was obeyed for this request.
    lengthened: bool,
    /// A NOTIFY told how long, after the last SUBSCRIBE was sent.
    told: bool,
    /// Timer N.
    give_up: Option<Instant>,
    refresh: Option<Instant>,
    expiry: Option<Instant>,
    since: Option<Instant>,
    stood: bool,
    patient: bool,
    failures: u32,
    events: VecDeque<Event>,
    rng: ChaCha8Rng,
}

impl Subscriber {
    /// A subscriber that sends its first SUBSCRIBE over `hop` at the first
    /// [`Subscriber::on_deadline`], which is due at once.
    pub fn new(wish: Wish, login: Login, hop: Hop, rng: ChaCha8Rng, now: Instant) -> Self {
        Self {
            wish,
            route: Vec::new(),
            keep: false,
            state: State::Waiting(Some(now)),
            hop: Some(hop),
            challenges: Challenges::new(login),
            call_id: String::new(),
            tag: String::new(),
            cseq: 0,
            dialog: None,
            asked: None,
            lengthened: false,
            told: false,
            give_up: None,
            refresh: None,
            expiry: None,
            since: None,
            stood: false,
            patient: false,
            failures: 0,
            events: VecDeque::new(),
            rng,
        }
    }

    /// A subscriber that waits for its first flow, and that never ends by itself: what only a person
    /// can mend is asked for seldom.
    pub fn patient(wish: Wish, login: Login, rng: ChaCha8Rng, now: Instant) -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let hop = Hop { flow: FlowId(0), transport: Transport::Udp, local: nowhere, peer: nowhere };
        let state = State::Waiting(None);
        Self { state, hop: None, patient: true, ..Self::new(wish, login, hop, rng, now) }
    }

    /// Another login counts from the next request on.
    pub fn set_login(&mut self, login: Login) {
        self.challenges = Challenges::new(login);
    }

    /// The way of what is sent outside a dialog from now on: the newest service route of our registration (RFC 3608),
    /// value by value.
    pub fn set_route(&mut self, route: &[String]) {
        if self.route != route {
            self.route = route.to_vec();
        }
    }

    /// Offers keep-alives for as long as each dialog lasts (RFC 6223 §4.2.3): nothing is registered over the flow.
    pub fn offer_keep(&mut self) {
        self.keep = true;
    }

    /// The next piece of news.
    pub fn poll(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// When to call [`Subscriber::on_deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting(until) => until,
            State::Asking | State::Leaving => self.give_up,
            State::Over => None,
            State::Standing => [self.give_up, self.refresh, self.expiry].into_iter().flatten().min(),
        }
    }

    /// Does what is due.
    pub fn on_deadline<U: Copy>(&mut self, transactions: &mut Transactions<U>, user: U, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        match self.state {
            State::Waiting(until) if due(until) => self.start(transactions, user, now),
            State::Waiting(_) | State::Over => {}
            // §4.1.2.4: also on a refresh, Timer N ends the subscription.
            _ if due(self.give_up) => {
                let answered = self.asked.is_none();
                if !answered {
                    // The flow may be what is dead: a half-open connection, an address of yesterday.
                    self.hop = None;
                }
                self.lose(Why::Silent { answered }, Next::BackOff, now);
            }
            State::Asking | State::Leaving => {}
            State::Standing if due(self.expiry) => self.lose(Why::Expired, Next::AtOnce, now),
            State::Standing if due(self.refresh) => {
                self.refresh = None;
                self.begin();
                self.subscribe(transactions, user, now);
            }
            State::Standing => {}
        }
    }

    /// The flow to the notifier is gone, or the one that was needed did not come up.
    pub fn on_flow_lost(&mut self, why: &str, now: Instant) {
        let waits = match self.state {
            State::Waiting(until) => until.is_some() || self.patient,
            _ => false,
        };
        self.hop = None;
        if self.state != State::Over && !waits {
            self.lose(Why::FlowLost(why.to_owned()), Next::BackOff, now);
        }
    }

    /// A flow to the notifier is there again.
    pub fn on_flow_up<U: Copy>(
        &mut self,
        hop: Hop,
        transactions: &mut Transactions<U>,
        user: U,
        now: Instant,
    ) {
        self.hop = Some(hop);
        if let State::Waiting(_) = self.state {
            self.start(transactions, user, now);
        }
    }

    /// Something that was told is missing: refreshes now, so that everything is told anew.
    pub fn ask_again(&mut self, now: Instant) {
        if self.state == State::Standing && self.asked.is_none() {
            self.refresh = Some(now);
        }
    }

    /// Ends the subscription: [`Event::Over`] follows when the notifier has confirmed it, at once
    /// when there is none.
    pub fn leave<U: Copy>(&mut self, transactions: &mut Transactions<U>, user: U, now: Instant) {
        match self.state {
            State::Standing => {
                self.state = State::Leaving;
                self.refresh = None;
                self.expiry = None;
                self.begin();
                self.subscribe(transactions, user, now);
            }
            State::Waiting(_) | State::Asking => self.end(Why::Left),
            State::Leaving | State::Over => {}
        }
    }

    /// The notifier does not confirm: over all the same.
    pub fn give_up_leaving(&mut self) {
        if self.state != State::Over {
            self.end(Why::Left);
        }
    }

    /// The subscription is gone: what now?
    fn lose(&mut self, why: Why, next: Next, now: Instant) {
        let lived = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if lived >= GOOD {
            self.failures = 0;
        }
        let first = !self.stood && !self.patient && !matches!(why, Why::Terminated(_));
        match self.state {
            State::Leaving => return self.end(Why::Left),
            State::Over => return,
            _ if first || next == Next::Never && !self.patient => return self.end(why),
            _ => {}
        }
        let wait = match next {
            Next::After(wait) => wait.min(Duration::from_secs(u64::from(limits::RETRY_AFTER))).max(BASE),
            Next::Never if matches!(why, Why::Terminated(_)) => ENDED,
            Next::Never => REFUSED,
            Next::AtOnce if self.failures == 0 => Duration::ZERO,
            _ => BASE
                .saturating_mul(1 << self.failures.min(9))
                .min(LONGEST_WAIT)
                .mul_f64(self.rng.random_range(0.5..1.0)),
        };
        self.failures = self.failures.saturating_add(1);
        self.forget();
        self.state = State::Waiting(Some(now + wait));
        self.events.push_back(Event::Waiting(why, now + wait));
    }

    fn end(&mut self, why: Why) {
        self.forget();
        self.state = State::Over;
        self.events.push_back(Event::Over(why));
    }

    fn forget(&mut self) {
        self.dialog = None;
        self.asked = None;
        self.give_up = None;
        self.refresh = None;
        self.expiry = None;
        self.since = None;
        self.tag.clear();
    }

    /// A new subscription: new Call-ID and tag (§4.1.2.2).
    fn start<U: Copy>(&mut self, transactions: &mut Transactions<U>, user: U, now: Instant) {
        if self.hop.is_none() {
            self.state = State::Waiting(None);
            self.events.push_back(Event::NeedFlow);
            return;
        }
        self.call_id = format!("{:032x}", self.rng.random::<u128>());
        self.tag = format!("{:016x}", self.rng.random::<u64>());
        self.cseq = 0;
        self.state = State::Asking;
        self.begin();
        self.subscribe(transactions, user, now);
    }

    fn begin(&mut self) {
        self.challenges.begin();
        self.lengthened = false;
    }

    fn subscribe<U: Copy>(&mut self, transactions: &mut Transactions<U>, user: U, now: Instant) {
        let Some(hop) = self.dialog.as_ref().map(|dialog| dialog.hop).or(self.hop) else { return };
        self.cseq += 1;
        self.asked = Some(self.cseq);
        self.told = false;
        self.give_up = Some(now + TIMEOUT);
        let Wish { target, from, user: contact, event, accept, expires } = &self.wish;
        let uri = self.dialog.as_ref().map_or(target.as_str(), |dialog| &dialog.target);
        let credentials = self.challenges.fields("SUBSCRIBE", uri, &mut self.rng);
        let expires = if self.state == State::Leaving { 0 } else { *expires };
        let (call_id, tag, cseq, dialog) = (&self.call_id, &self.tag, self.cseq, &mut self.dialog);
        let (route, keep) = (&self.route, if self.keep { ";keep" } else { "" });
        transactions.send(hop, Method::Subscribe, user, now, |branch| {
            let mut writer = match dialog {
                Some(dialog) => {
                    dialog.local_seq = cseq - 1;
                    dialog.request(Method::Subscribe, branch)
                }
                None => {
                    let mut writer = Writer::request(Method::Subscribe, target);
                    via_with(&mut writer, hop, branch, keep);
                    writer.raw(b"Max-Forwards: 70\r\n");
                    preloaded(&mut writer, route);
                    writer.field_fmt("From", format_args!("<{from}>;tag={tag}"));
                    writer.field("To", &["<", &address_of(target), ">"]);
                    writer.field("Call-ID", &[call_id]);
                    // No GRUU: our flow leads here, and a server may not find its own domain (Kamailio's presence).
                    writer.field("Contact", &["<", &contact_towards(target, contact, hop), ">"]);
                    writer.field_fmt("CSeq", format_args!("{cseq} SUBSCRIBE"));
                    writer
                }
            };
            writer.field("Event", &[event]);
            if let Some(accept) = accept {
                writer.field("Accept", &[accept]);
            }
            // Lists are read like what is on them (RFC 4662 §4.1).
            writer.field("Supported", &["eventlist"]);
            writer.field_fmt("Expires", format_args!("{expires}"));
            writer.raw(credentials.as_bytes());
            writer.finish()
        });
    }

    /// The subscription lives until then: refresh at 80 to 90 % of what is left, never later than
    /// was planned for an end that is no later.
    fn set_expiry(&mut self, until: Instant, now: Instant) {
        // Whole seconds on the wire make the same end look a little different each time.
        let later = self.expiry.is_none_or(|expiry| until > expiry + Duration::from_secs(2));
        let share = self.rng.random_range(0.8..0.9);
        let at = now + until.saturating_duration_since(now).mul_f64(share);
        self.refresh = Some(self.refresh.filter(|_| !later).map_or(at, |refresh| refresh.min(at)));
        self.expiry = Some(until);
    }
}

fn life(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds.min(LONGEST_LIFE)))
}

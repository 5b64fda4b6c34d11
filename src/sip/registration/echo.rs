//! Whether a registrar still leads to us: a question to our own address has to come back.
//!
//! Nothing tells a gateway that a registrar forgot it while the edge proxy before it goes on: the keep-alives are the edge's, and with a
//! long lifetime the next REGISTER is half an hour away. So an OPTIONS to our own address is sent now and then. That it does not
//! come back says something only where one did before: many servers answer it themselves, or refuse it.

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::answers::SHORT;
use crate::sip::challenge::Login;
use crate::sip::exchange::{Exchange, Progress, Request};
use crate::sip::transaction::Transactions;
use crate::sip::wire::{Message, Method, Start};
use crate::sip::{Hop, User};

/// Between two questions, in seconds: a registrar that forgets is noticed as soon as with lifetimes that are refreshed within 300 s.
const EVERY: std::ops::Range<f64> = 240.0..300.0;
/// The same after one that showed nothing, as nobody answered; it doubles up to [`EVERY`].
const AGAIN: std::ops::Range<f64> = 30.0..60.0;

/// See the module.
#[derive(Debug, Default)]
pub struct Echo {
    asked: Option<(Exchange, Hop)>,
    /// The question that is out came back.
    came: bool,
    /// The last one that said anything came back.
    proven: bool,
    /// Questions on end that showed nothing.
    misses: u32,
    due: Option<Instant>,
}

impl Echo {
    /// A binding stands until then. A short one is refreshed so soon that nothing needs to be asked.
    pub fn on_bound(&mut self, until: Instant, rng: &mut ChaCha8Rng, now: Instant) {
        let long = until.saturating_duration_since(now) > Duration::from_secs(u64::from(SHORT));
        if long && self.due.is_none() && self.asked.is_none() {
            self.postpone(rng, now);
        }
    }

    /// The next question is asked in its time, counted from now: somebody else's request came, or none can be asked.
    pub fn postpone(&mut self, rng: &mut ChaCha8Rng, now: Instant) {
        self.due = Some(now + Duration::from_secs_f64(rng.random_range(EVERY)));
    }

    /// When to ask.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Asks for `address`, a SIP URI of ours, over `hop` and by the service route `route`.
    pub fn ask(
        &mut self,
        (address, route, login, hop): (String, &[String], Login, Hop),
        transactions: &mut Transactions<User>,
        user: User,
        rng: ChaCha8Rng,
        now: Instant,
    ) {
        let request = Request {
            method: Method::Options,
            target: address.clone(),
            from: address,
            route: route.to_vec(),
            fields: "",
            body: None,
        };
        let mut exchange = Exchange::new(request, login, rng);
        exchange.send(transactions, user, hop, now);
        (self.asked, self.came, self.due) = (Some((exchange, hop)), false, None);
    }

    /// A request came from the registrar's side that is outside a dialog: our question, or somebody's who was led to us.
    pub fn on_request(&mut self, request: &Message<'_>, rng: &mut ChaCha8Rng, now: Instant) {
        let ours = self.asked.as_ref().is_some_and(|(asked, _)| request.call_id() == Some(asked.call_id()));
        if ours {
            self.came = true;
        } else if self.due.is_some() {
            self.postpone(rng, now);
        }
    }

    /// A response to the question. `true`: the registrar has forgotten us.
    pub fn on_response(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        user: User,
        rng: &mut ChaCha8Rng,
        now: Instant,
    ) -> bool {
        let Start::Response { status, .. } = response.start else { return false };
        let Some((exchange, hop)) = &mut self.asked else { return false };
        match exchange.on_response(response, transactions, user, *hop, now) {
            Progress::Wait => false,
            Progress::Final => self.ends(Some(status), rng, now),
            Progress::Refused(_) => self.ends(Some(401), rng, now),
        }
    }

    /// Nobody answered.
    pub fn on_silence(&mut self, rng: &mut ChaCha8Rng, now: Instant) {
        self.ends(None, rng, now);
    }

    fn ends(&mut self, status: Option<u16>, rng: &mut ChaCha8Rng, now: Instant) -> bool {
        self.asked = None;
        if self.came {
            (self.proven, self.misses) = (true, 0);
            self.postpone(rng, now);
            return false;
        }
        // Without a proof, the next binding is the next occasion.
        if !self.proven {
            return false;
        }
        match status {
            Some(404 | 410 | 480 | 604) => {
                // What is not mended by a REGISTER is none of our business.
                (self.proven, self.misses) = (false, 0);
                true
            }
            _ => {
                let wait = rng.random_range(AGAIN) * f64::from(1_u32 << self.misses.min(3));
                self.misses = self.misses.saturating_add(1);
                self.due = Some(now + Duration::from_secs_f64(wait.min(EVERY.end)));
                false
            }
        }
    }
}

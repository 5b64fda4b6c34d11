//! What the answer to a SUBSCRIBE does to a subscription (RFC 6665 §4.1.2).

use std::time::{Duration, Instant};

use super::{BASE, Next, State, Subscriber, Why, life};
use crate::sip::transaction::Transactions;
use crate::sip::wire::text::seconds;
use crate::sip::wire::{Message, Name, Start};

impl Subscriber {
    /// A final response that the transactions gave to us.
    pub fn on_response<U: Copy>(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<U>,
        user: U,
        now: Instant,
    ) {
        let Start::Response { status, .. } = response.start else { return };
        let ours = response.call_id() == Some(self.call_id.as_bytes())
            && response.cseq().is_some_and(|cseq| Some(cseq.number) == self.asked);
        if !ours || status < 200 {
            return;
        }
        self.asked = None;
        match status {
            200..300 => self.accepted(status, response, now),
            401 | 407 => match self.challenges.on_challenge(response) {
                Ok(()) => self.subscribe(transactions, user, now),
                Err(refused) => self.failed(Why::Login(refused), Next::Never, now),
            },
            423 if self.lengthen(response) => self.subscribe(transactions, user, now),
            _ => self.refused(status, response, now),
        }
    }

    fn accepted(&mut self, status: u16, response: &Message<'_>, now: Instant) {
        if self.state == State::Leaving {
            return;
        }
        // RFC 5839 §6.2: 204 promises no NOTIFY. One to the first SUBSCRIBE, which names no state, does not.
        if status == 204 && self.state == State::Standing {
            self.give_up = None;
        }
        let granted = response.expires().unwrap_or(self.wish.expires);
        // What a NOTIFY tells counts (§4.1.3); a 2xx behind it may only shorten it.
        let until = now + life(granted);
        if !self.told || self.expiry.is_some_and(|expiry| until < expiry) {
            self.set_expiry(until, now);
        }
    }

    fn lengthen(&mut self, response: &Message<'_>) -> bool {
        let least = response.first(Name::MinExpires).and_then(seconds);
        match least.filter(|least| *least > self.wish.expires && self.wish.expires > 0 && !self.lengthened) {
            Some(least) => {
                self.wish.expires = least;
                self.lengthened = true;
                true
            }
            None => false,
        }
    }

    fn refused(&mut self, status: u16, response: &Message<'_>, now: Instant) {
        let Start::Response { reason, .. } = response.start else { return };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let wait = response.first(Name::RetryAfter).and_then(leading_seconds);
        let next = match status {
            // Somebody has to change something first.
            408 | 480 | 486 | 491 | 500..600 => wait.map_or(Next::BackOff, Next::After),
            // §4.1.2.2: the dialog is gone; a new subscription may do better.
            481 if self.dialog.is_some() => Next::AtOnce,
            _ => Next::Never,
        };
        let allow_events = response.first(Name::AllowEvents).map(text);
        self.failed(Why::Refused { status, reason: text(reason), allow_events }, next, now);
    }

    /// A SUBSCRIBE failed.
    fn failed(&mut self, why: Why, next: Next, now: Instant) {
        let ends = match &why {
            // §4.1.2.2: these end the subscription, others leave it to its known end.
            Why::Refused { status, .. } => {
                matches!(status, 404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604)
            }
            _ => false,
        };
        if self.state != State::Standing {
            return self.lose(why, next, now);
        }
        if ends {
            // Whether a new one is refused as well is for its own answer to tell.
            return self.lose(why, if next == Next::Never { Next::AtOnce } else { next }, now);
        }
        self.give_up = None;
        let left = self.expiry.map_or(Duration::ZERO, |expiry| expiry.saturating_duration_since(now));
        let again = match next {
            Next::After(wait) => Some(wait.max(BASE)),
            Next::Never => None,
            Next::AtOnce | Next::BackOff => Some(left / 2),
        };
        self.refresh = again.filter(|wait| *wait >= BASE && *wait < left).map(|wait| now + wait);
    }
}

/// Retry-After may have a comment and parameters behind its number.
fn leading_seconds(value: &[u8]) -> Option<Duration> {
    let digits = value.split(|byte| !byte.is_ascii_digit()).next()?;
    seconds(digits).map(|wait| Duration::from_secs(u64::from(wait)))
}

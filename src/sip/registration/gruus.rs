//! Temporary GRUUs that were given to others (RFC 5627 §3.1.2).

use std::collections::VecDeque;
use std::time::Instant;

use crate::sip::wire::Uri;

/// Those that are remembered; when it is full, the oldest is forgotten, and a request that names it is as one for
/// an unknown name.
const LENT: usize = 64;

/// What lasts from one REGISTER to the next. They all hold as long as the binding stands without a break and its
/// Call-ID stays, which it does for as long as we run.
#[derive(Debug, Default)]
pub(super) struct Gruus {
    lent: VecDeque<String>,
    /// When the binding ends.
    until: Option<Instant>,
    /// Those that ended with a binding, and that nobody asked for yet.
    void: Vec<String>,
}

impl Gruus {
    /// The binding was made, or made longer.
    pub fn bound(&mut self, until: Instant, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.end();
        }
        self.until = Some(until);
    }

    /// The binding was taken back.
    pub fn end(&mut self) {
        self.until = None;
        self.void.extend(self.lent.drain(..));
        let surplus = self.void.len().saturating_sub(LENT);
        self.void.drain(..surplus);
    }

    /// This one is given to somebody.
    pub fn lend(&mut self, gruu: &str) {
        if self.lent.iter().any(|lent| lent == gruu) {
            return;
        }
        if self.lent.len() >= LENT {
            self.lent.pop_front();
        }
        self.lent.push_back(gruu.to_owned());
    }

    /// Whether `uri` is one that somebody was given.
    pub fn holds(&self, uri: &Uri<'_>) -> bool {
        let is = |lent: &String| {
            Uri::parse(lent)
                .is_ok_and(|lent| lent.user == uri.user && lent.host.eq_ignore_ascii_case(uri.host))
        };
        uri.user.is_some() && self.lent.iter().any(is)
    }

    /// Those that lead nowhere any more; each is told once.
    pub fn take_void(&mut self) -> Vec<String> {
        std::mem::take(&mut self.void)
    }
}

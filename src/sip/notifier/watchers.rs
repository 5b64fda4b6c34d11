//! Who watches what, as watcher information tells it: the states of RFC 3857 §4.7.1.
//!
//! A watcher that is there is its subscription. What is kept here is what no subscription shows: who
//! gave up before anybody decided, and who ended lately, for those that are told of changes only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::words::End;
use crate::limits;

/// How a subscription stands with who decides over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It is told everything that it may see.
    #[default]
    Active,
    /// Nobody has decided yet: it is told so, and no state.
    Pending,
    /// It looks like an active one and is told nothing but that all is off (RFC 5025 §3.2.1).
    Polite,
}

/// State of a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Nobody has decided.
    Pending,
    /// It is served.
    Active,
    /// It gave up before anybody decided; a decision still counts.
    Waiting,
    /// It is over.
    Terminated,
}

/// What brought a watcher into its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It subscribed.
    Subscribe,
    /// Somebody allowed it.
    Approved,
    /// It was refused.
    Rejected,
    /// It ran out, or did not answer.
    Timeout,
    /// Nobody decided in time.
    Giveup,
    /// It shall come back at once.
    Deactivated,
    /// What it watched is gone.
    NoResource,
}

impl Cause {
    pub(super) fn of(end: Option<End>) -> Self {
        match end {
            Some(End::Rejected) => Self::Rejected,
            Some(End::BadFilter) => Self::Timeout,
            Some(End::Deactivated) => Self::Deactivated,
            Some(End::NoResource) => Self::NoResource,
            Some(End::Timeout) | None => Self::Timeout,
        }
    }
}

/// One watcher as its last change left it.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The same for its whole life.
    pub id: u64,
    /// The proven name.
    pub who: String,
    /// What it watches.
    pub subject: u64,
    /// In which package.
    pub package: usize,
    /// Where its NOTIFYs go.
    pub target: String,
    /// Its state.
    pub status: Status,
    /// What brought it there.
    pub cause: Cause,
    /// When it first subscribed.
    pub began: Instant,
    /// When it ends by itself.
    pub expires: Option<Instant>,
    /// Rises with every change of any watcher.
    pub changed: u64,
}

/// How long a watcher that gave up is remembered, for an owner who decides later.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    version: u64,
    waiting: Vec<Fact>,
    /// Oldest first.
    ended: VecDeque<Fact>,
    /// Ends up to this change are forgotten.
    floor: u64,
}

impl Watchers {
    /// The number of the next change.
    pub fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    /// A watcher ended undecided. When too many wait, the oldest of the same person, else the oldest
    /// of all, is given up: what it watched has news, too.
    pub fn wait(&mut self, mut fact: Fact, now: Instant) -> Option<(u64, usize)> {
        let mine = self.waiting.iter().filter(|other| other.who == fact.who).count();
        let oldest = match (mine >= limits::WAITING_PER_USER, self.waiting.len() >= limits::WAITING) {
            (true, _) => self.waiting.iter().position(|other| other.who == fact.who),
            (false, true) => Some(0),
            (false, false) => None,
        };
        let lost = oldest.map(|oldest| self.waiting.remove(oldest));
        let topic = lost.as_ref().map(|lost| (lost.subject, lost.package));
        if let Some(lost) = lost {
            self.end(lost, Cause::Giveup);
        }
        fact.changed = self.next();
        fact.status = Status::Waiting;
        fact.cause = Cause::Timeout;
        fact.expires = Some(now + PATIENCE);
        self.waiting.push(fact);
        topic
    }

    /// A watcher is over. When too many are remembered, the oldest is forgotten, and whoever did not
    /// hear of it is told everything anew.
    pub fn end(&mut self, mut fact: Fact, cause: Cause) {
        fact.changed = self.next();
        fact.status = Status::Terminated;
        fact.cause = cause;
        fact.expires = None;
        self.ended.push_back(fact);
        if self.ended.len() > limits::WATCHERS_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.floor = oldest.changed;
        }
    }

    /// It subscribes again, or somebody decided: out of those that wait.
    pub fn take(&mut self, which: impl Fn(&Fact) -> bool) -> Option<Fact> {
        let at = self.waiting.iter().position(which)?;
        Some(self.waiting.remove(at))
    }

    /// What they watch is known by other numbers now.
    pub fn relocate(&mut self, to: impl Fn(u64) -> u64) {
        for fact in self.waiting.iter_mut().chain(&mut self.ended) {
            fact.subject = to(fact.subject);
        }
    }

    /// Takes one that waited too long.
    pub fn tired(&mut self, now: Instant) -> Option<Fact> {
        self.take(|fact| fact.expires.is_some_and(|at| at <= now))
    }

    /// When the next one has waited too long.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().filter_map(|fact| fact.expires).min()
    }

    /// Those that wait.
    pub fn waiting(&self) -> &[Fact] {
        &self.waiting
    }

    /// Those that ended after a change; `None` when some of them are forgotten.
    pub fn ended_since(&self, since: u64) -> Option<impl Iterator<Item = &Fact>> {
        (since >= self.floor).then(|| self.ended.iter().filter(move |fact| fact.changed > since))
    }
}

//! Event state publication, the side that keeps it (RFC 3903).
//!
//! The table knows entity-tags and lifetimes; what is published is the application's. A publication
//! is for one subject and belongs to who made it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Rejection;
use super::wire::{Message, Name};
use crate::limits;
use crate::timer::Now;

/// What a PUBLISH asks for (RFC 3903 §4.1, table 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// No If-Match, a body.
    Initial,
    /// If-Match, no body: a longer life.
    Refresh(u64),
    /// If-Match and a body.
    Modify(u64),
    /// If-Match, Expires 0.
    Remove(u64),
}

/// The lifetime that a publication gets when it asks for none.
const DEFAULT: Duration = Duration::from_secs(3600);
/// The longest lifetime granted.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The shortest lifetime granted; who asks for less gets 423.
const SHORTEST: Duration = Duration::from_secs(10);

/// Reads what a PUBLISH asks for, and for how long.
///
/// # Errors
/// 400 when SIP-If-Match is no single tag, 412 when the tag was never ours, 423 when the lifetime is
/// too short.
pub fn read(request: &Message<'_>) -> Result<(Wish, Duration), Rejection> {
    let expires = request.expires().map_or(DEFAULT, |seconds| Duration::from_secs(u64::from(seconds)));
    let tag = tag(request)?;
    let wish = match (tag, request.body.is_empty()) {
        (Some(tag), _) if expires.is_zero() => Wish::Remove(tag),
        (None, true) => return Err(Rejection::new(400, "A Publication Needs A Body")),
        (None, false) => Wish::Initial,
        (Some(tag), true) => Wish::Refresh(tag),
        (Some(tag), false) => Wish::Modify(tag),
    };
    if !matches!(wish, Wish::Remove(_)) && expires < SHORTEST {
        let least = SHORTEST.as_secs().to_string();
        return Err(Rejection::new(423, "Interval Too Brief").with("Min-Expires", &least));
    }
    Ok((wish, expires.min(LONGEST)))
}

/// The entity-tag that a PUBLISH names. It is looked up before anything else is judged (RFC 3903 §6).
///
/// # Errors
/// 400 when SIP-If-Match is no single tag, 412 when the tag was never ours.
pub fn tag(request: &Message<'_>) -> Result<Option<u64>, Rejection> {
    let mut tags = request.list(Name::SipIfMatch);
    match (tags.next(), tags.next()) {
        (None, _) => Ok(None),
        (Some(tag), None) => tag_of(tag).map(Some).ok_or_else(unknown),
        (Some(_), Some(_)) => Err(Rejection::new(400, "Exactly One Entity-Tag Is Needed")),
    }
}

fn tag_of(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(std::str::from_utf8(value).ok()?, 16).ok()
}

fn unknown() -> Rejection {
    Rejection::new(412, "Conditional Request Failed")
}

/// One publication.
#[derive(Clone, Debug)]
struct Entry<S, T> {
    subject: S,
    who: String,
    expires: Instant,
    state: T,
}

/// What is published now. `S` names subjects, `T` is what the application keeps for each.
#[derive(Debug)]
pub struct Publications<S, T> {
    entries: HashMap<u64, Entry<S, T>>,
}

impl<S, T> Default for Publications<S, T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<S: PartialEq + Copy, T> Publications<S, T> {
    /// The state published under `tag` for `subject` by `who`.
    ///
    /// # Errors
    /// 412 when there is none, or it is somebody else's.
    pub fn get(&self, tag: u64, subject: S, who: &str, now: Now) -> Result<&T, Rejection> {
        let entry = self.entries.get(&tag).filter(|entry| entry.expires > now.mono);
        let entry = entry.filter(|entry| entry.subject == subject && entry.who == who);
        entry.map(|entry| &entry.state).ok_or_else(unknown)
    }

    /// The publications for `subject`.
    pub fn of(&self, subject: S) -> impl Iterator<Item = &T> {
        self.entries.values().filter(move |entry| entry.subject == subject).map(|entry| &entry.state)
    }

    /// How many there are for `subject`.
    pub fn count(&self, subject: S) -> usize {
        self.of(subject).count()
    }

    /// Whether one more fits.
    ///
    /// # Errors
    /// 503 when not.
    pub fn room(&self) -> Result<(), Rejection> {
        if self.entries.len() < limits::PUBLICATIONS {
            return Ok(());
        }
        Err(Rejection::new(503, "Too Many Publications").with("Retry-After", "60"))
    }

    /// Keeps a publication under a new tag, instead of the one under `old`.
    pub fn put(&mut self, old: Option<u64>, tag: u64, subject: S, who: &str, state: T, expires: Instant) {
        if let Some(old) = old {
            self.entries.remove(&old);
        }
        self.entries.insert(tag, Entry { subject, who: who.to_owned(), expires, state });
    }

    /// Forgets those whose subject `keep` does not name.
    pub fn retain(&mut self, mut keep: impl FnMut(S) -> bool) {
        self.entries.retain(|_, entry| keep(entry.subject));
    }

    /// Subjects are others now; the publications for those that are gone are forgotten.
    pub fn relocate(&mut self, to: impl Fn(S) -> Option<S>) {
        self.entries.retain(|_, entry| to(entry.subject).map(|subject| entry.subject = subject).is_some());
    }

    /// Takes a publication out.
    pub fn remove(&mut self, tag: u64) -> Option<T> {
        self.entries.remove(&tag).map(|entry| entry.state)
    }

    /// Takes out one whose life is over.
    pub fn expired(&mut self, now: Now) -> Option<(S, T)> {
        let tag = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.expires <= now.mono)
            .min_by_key(|(tag, entry)| (entry.expires, **tag))
            .map(|(tag, _)| *tag)?;
        self.entries.remove(&tag).map(|entry| (entry.subject, entry.state))
    }

    /// When the next one ends.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.entries.values().map(|entry| entry.expires).min()
    }
}

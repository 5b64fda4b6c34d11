//! Time as an argument, and the deadline queue of the core.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// The moment at which the core is called. Both clocks are given, never read.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Never goes back: for deadlines.
    pub mono: Instant,
    /// Milliseconds since 1970-01-01 UTC: for documents and nonces. May jump.
    pub wall_ms: i64,
}

impl Now {
    /// When `at` was, by the wall clock as it stands now, in milliseconds since 1970. A machine without a clock of its own
    /// learns the time after its start: what happened before is told right from then on.
    pub fn wall_at(self, at: Instant) -> i64 {
        self.back_to(at).wall_ms
    }

    /// An earlier moment, on both clocks; a later one is this one.
    pub fn back_to(self, at: Instant) -> Self {
        let ago = self.mono.saturating_duration_since(at);
        let ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        Self { mono: at.min(self.mono), wall_ms: self.wall_ms.saturating_sub(ms) }
    }
}

/// Deadlines of many owners, earliest first; equal deadlines in the order in which they were set.
///
/// An entry is never removed early: its owner checks, when it fires, whether it still means
/// anything. That makes cancelling free and keeps one heap for everything.
#[derive(Debug)]
pub struct Deadlines<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    sequence: u64,
}

/// Meaningless deadlines that are not worth throwing out.
const SLACK: usize = 1024;

#[derive(Debug)]
struct Entry<T> {
    at: Instant,
    sequence: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.sequence == other.sequence
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl<T> Default for Deadlines<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> Deadlines<T> {
    /// Adds a deadline.
    pub fn set(&mut self, at: Instant, what: T) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at, sequence: self.sequence, what }));
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Takes the earliest deadline that has passed at `now`.
    pub fn due(&mut self, now: Instant) -> Option<T> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.what)
    }

    /// Takes all of them, earliest first.
    pub fn take(&mut self) -> impl Iterator<Item = (Instant, T)> + use<T> {
        let mut all = std::mem::take(&mut self.heap).into_vec();
        all.sort_unstable_by(|Reverse(one), Reverse(other)| one.cmp(other));
        all.into_iter().map(|Reverse(entry)| (entry.at, entry.what))
    }

    /// Throws out what `means` says no longer means anything, once there are far more deadlines than
    /// `owners`; costs nothing before.
    pub fn shrink(&mut self, owners: usize, mut means: impl FnMut(Instant, &T) -> bool) {
        if self.heap.len() > 4 * owners + SLACK {
            self.heap.retain(|Reverse(entry)| means(entry.at, &entry.what));
        }
    }

    /// How many deadlines are set, the meaningless ones included.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
}

//! Growing pauses between attempts.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Pauses that double from `first` to `longest`, each shortened by up to a quarter at random so that
/// many links that broke together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: RandomState,
    drawn: u64,
}

impl Backoff {
    /// Starts with `first`, never pauses longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first, random: RandomState::new(), drawn: 0 }
    }

    /// The pause before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.longest);
        self.drawn = self.drawn.wrapping_add(1);
        let share = (self.random.hash_one(self.drawn) % 256) as u32;
        whole - whole / 1024 * share
    }

    /// The last attempt lived long enough: start again with `first`.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_start_again() {
        let (first, longest) = (Duration::from_millis(500), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, longest);
        let mut whole = first;
        for _ in 0..12 {
            let pause = backoff.pause();
            assert!(pause <= whole && pause >= whole * 3 / 4, "{pause:?} of {whole:?}");
            whole = (whole * 2).min(longest);
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }
}

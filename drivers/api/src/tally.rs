//! Things that happen again and again, told now and then.

use std::time::Duration;

use tokio::time::Instant;

/// How long nothing is said after something was said.
pub const QUIET: Duration = Duration::from_secs(600);

/// Counts what would fill a journal line by line. The first is told at once, the others of the next
/// [`QUIET`] together.
#[derive(Debug, Default)]
pub struct Tally {
    untold: u64,
    told: Option<Instant>,
}

impl Tally {
    /// So many more happened. The number to tell, when it is time to tell one.
    pub fn add(&mut self, count: u64, now: Instant) -> Option<u64> {
        self.untold = self.untold.saturating_add(count);
        let due = self.untold > 0 && self.told.is_none_or(|told| now.duration_since(told) >= QUIET);
        due.then(|| {
            self.told = Some(now);
            std::mem::take(&mut self.untold)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_a_flood_once_in_its_time() {
        let (mut tally, start) = (Tally::default(), Instant::now());
        assert_eq!(tally.add(0, start), None);
        assert_eq!(tally.add(1, start), Some(1));
        for _ in 0..10_000 {
            assert_eq!(tally.add(3, start + QUIET / 2), None);
        }
        assert_eq!(tally.add(0, start + QUIET), Some(30_000));
        assert_eq!(tally.add(0, start + 3 * QUIET), None, "nothing new is nothing to tell");
    }
}

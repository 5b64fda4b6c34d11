//! Two clients with one id: the broker lets the newest in and throws the other out, for ever.
//!
//! MQTT 5 says so. In MQTT 3.1.1 the connection just ends, as it does when a broker is stopped; but then
//! the next attempt fails, too. So a rival is suspected when connections are closed soon, several times
//! in a row, by a broker that is there each time.

use std::time::Duration;

use sipliance_driver::Backoff;

/// How a connection ended, as far as that tells of a rival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ending {
    /// For a reason of its own.
    #[default]
    Other,
    /// The broker closed it without a word.
    Closed,
    /// The broker said that another client came with our id.
    Taken,
}

/// A connection that is closed sooner may have been taken.
const SOON: Duration = Duration::from_secs(60);

/// The same once a rival is known, whose own pauses have grown.
const SOON_IN_A_STORM: Duration = Duration::from_secs(20 * 60);

/// So many times in a row are no chance any more.
const SUSPECT: u32 = 3;

/// The first and the longest pause of a client that has a rival.
const PAUSES: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// How often we were thrown out.
#[derive(Debug)]
pub(crate) struct Rivals {
    times: u32,
    /// Attempts since the last connection.
    attempts: u32,
    storm: bool,
    pauses: Backoff,
}

impl Default for Rivals {
    fn default() -> Self {
        Self { times: 0, attempts: 0, storm: false, pauses: Backoff::new(PAUSES.0, PAUSES.1) }
    }
}

impl Rivals {
    /// Another attempt is made: how long it has to wait.
    pub fn attempt(&mut self) -> Duration {
        self.attempts += 1;
        match self.storm && self.attempts == 1 {
            true => self.pauses.pause(),
            false => Duration::ZERO,
        }
    }

    /// A connection ended after it `lived` so long. How often we were thrown out, when it is to be said.
    pub fn ended(&mut self, how: Ending, lived: Duration) -> Option<u32> {
        let at_once = self.attempts <= 1;
        self.attempts = 0;
        let soon = if self.storm { SOON_IN_A_STORM } else { SOON };
        match how {
            Ending::Taken => {
                self.times = self.times.saturating_add(1);
                self.storm = true;
            }
            // The broker was there at once, so it was not stopped meanwhile.
            Ending::Closed if lived < soon && (at_once || self.times == 0) => {
                self.times = self.times.saturating_add(1);
                self.storm |= self.times >= SUSPECT;
            }
            Ending::Closed | Ending::Other => *self = Self::default(),
        }
        self.storm.then_some(self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);

    #[test]
    fn three_short_lives_in_a_row_are_a_rival_and_pauses_grow() {
        let mut rivals = Rivals::default();
        for times in 1..=2 {
            assert_eq!(rivals.attempt(), Duration::ZERO);
            assert_eq!(rivals.ended(Ending::Closed, SHORT), None, "{times}");
        }
        assert_eq!(rivals.attempt(), Duration::ZERO);
        assert_eq!(rivals.ended(Ending::Closed, SHORT), Some(3));
        let mut last = Duration::ZERO;
        for times in 4..=9 {
            let pause = rivals.attempt();
            assert!(pause > last.mul_f64(1.4) || pause >= PAUSES.1.mul_f64(0.75), "{pause:?} after {last:?}");
            assert_eq!(rivals.ended(Ending::Closed, pause), Some(times));
            last = pause;
        }
        assert!(last <= PAUSES.1);
        // Nobody threw us out for long: it is over.
        rivals.attempt();
        assert_eq!(rivals.ended(Ending::Closed, Duration::from_secs(3600)), None);
        assert_eq!(rivals.attempt(), Duration::ZERO);
    }

    #[test]
    fn a_broker_that_restarts_again_and_again_is_no_rival() {
        let mut rivals = Rivals::default();
        for _ in 0..10 {
            // It is away for a while each time.
            (0..3).for_each(|_| assert_eq!(rivals.attempt(), Duration::ZERO));
            assert_eq!(rivals.ended(Ending::Closed, SHORT), None);
        }
    }

    #[test]
    fn what_the_broker_says_is_believed_at_once() {
        let mut rivals = Rivals::default();
        rivals.attempt();
        assert_eq!(rivals.ended(Ending::Taken, Duration::from_secs(86_400)), Some(1));
        assert!(rivals.attempt() >= Duration::from_secs(11));
    }
}

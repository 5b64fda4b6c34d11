//! When a flow that failed may be tried again (RFC 5626 §4.5), and a server that said when.

use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::limits;
use crate::sip::wire::text::seconds;
use crate::sip::wire::{Message, Name};

/// When nothing works.
const ALL_DOWN: Duration = Duration::from_secs(30);
/// While another flow works.
const ANOTHER_UP: Duration = Duration::from_secs(90);
/// The longest.
const LONGEST: Duration = Duration::from_secs(1800);
/// What a server said to many at once is no moment at which all of them come back, in seconds.
const SCATTER: f64 = 25.0;

/// Waits that grow with each failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after the nth failure on end: half to all of min(1800 s, base · 2ⁿ), so 30 to 60 s after the
    /// first when nothing works.
    pub fn failed(&mut self, another_up: bool, rng: &mut ChaCha8Rng) -> Duration {
        let base = if another_up { ANOTHER_UP } else { ALL_DOWN };
        self.failures = self.failures.saturating_add(1);
        let full = base.saturating_mul(1 << self.failures.min(6)).min(LONGEST);
        full.mul_f64(rng.random_range(0.5..1.0))
    }

    /// It works: the waits begin anew.
    pub fn works(&mut self) {
        self.failures = 0;
    }
}

/// How long a server wants to be left alone (RFC 3261 §20.33), where it says so: that is the least.
pub fn retry_after(response: &Message<'_>, rng: &mut ChaCha8Rng) -> Option<Duration> {
    let value = response.first(Name::RetryAfter)?;
    let told = seconds(value.split(|byte| !byte.is_ascii_digit()).next()?)?.min(limits::RETRY_AFTER);
    Some(Duration::from_secs(u64::from(told)) + Duration::from_secs_f64(rng.random_range(0.0..SCATTER)))
}

/// The wait before a flow that broke is made anew while another one serves: as after a failure, so that the many whose
/// edge is gone do not meet at the next one, nor at the same one when it is back.
pub fn spare(rng: &mut ChaCha8Rng) -> Duration {
    ANOTHER_UP.mul_f64(rng.random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// All of them were told the same, at the same moment.
    #[test]
    fn a_server_is_left_alone_for_as_long_as_it_asks_and_is_not_met_by_all_at_once() {
        let packet = "SIP/2.0 503 Busy\r\nRetry-After: 5 (later)\r\nContent-Length: 0\r\n\r\n";
        let response = Message::parse(packet.as_bytes()).unwrap();
        let wait = |seed| retry_after(&response, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap().as_secs_f64();
        let mut waits: Vec<f64> = (0..1000).map(wait).collect();
        waits.sort_by(f64::total_cmp);
        assert!(waits[0] >= 5.0 && waits[999] < 30.0, "{waits:?}");
        let fullest = (5..30).map(|at| waits.iter().filter(|wait| **wait as u32 == at).count()).max();
        assert!(fullest < Some(80), "{fullest:?} of 1000 in one second");
    }
}

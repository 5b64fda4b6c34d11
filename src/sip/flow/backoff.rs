//! When a flow that failed may be tried again (RFC 5626 §4.5).

use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

/// When nothing works.
const ALL_DOWN: Duration = Duration::from_secs(30);
/// While another flow works.
const ANOTHER_UP: Duration = Duration::from_secs(90);
/// The longest.
const LONGEST: Duration = Duration::from_secs(1800);

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

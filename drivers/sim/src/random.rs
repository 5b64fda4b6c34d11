//! Repeatable noise: the same name gives the same life every time.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by a name (FNV-1a).
    pub fn new(name: &str) -> Self {
        let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number around `middle`, off by at most `share` of it.
    pub fn around(&mut self, middle: f64, share: f64) -> f64 {
        let unit = self.next() as f64 / u64::MAX as f64;
        middle * (1.0 + share * (2.0 * unit - 1.0))
    }

    /// A time around `middle`, off by at most half of it.
    pub fn pause(&mut self, middle: Duration) -> Duration {
        Duration::from_secs_f64(self.around(middle.as_secs_f64(), 0.5))
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.next().is_multiple_of(n.max(1))
    }
}

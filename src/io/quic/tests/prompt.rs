//! Within a second, on a busy machine as well.

use std::fs;
use std::time::{Duration, Instant};

/// How long this thread, on which both ends run, was ready to run and the machine had other things to do.
fn waited() -> Duration {
    let told = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = told.split(' ').nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Something that has to be done within a second of this thread's own time.
pub struct Prompt {
    pub began: Instant,
    waited: Duration,
}

impl Prompt {
    pub fn begin() -> Self {
        Self { began: Instant::now(), waited: waited() }
    }

    pub fn end(self) {
        let (took, waited) = (self.began.elapsed(), waited().saturating_sub(self.waited));
        let ours = took.saturating_sub(waited);
        assert!(ours < Duration::from_secs(1), "{took:?}, of which {waited:?} without a CPU");
    }
}

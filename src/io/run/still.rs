//! Whether this process stood still: what waited meanwhile is old, however new it looks.

use std::time::{Duration, Instant};

use super::{Shell, now};
use crate::gateway::Input;

/// A loop that did not turn for so long stood still: 3 s more than between two looks, and less than a command
/// may wait.
const STILL: Duration = Duration::from_secs(8);

impl Shell {
    /// The loop turns with every look at the network (5 s) at least, unless the process was stopped, starved, or behind a
    /// disk or a terminal that did not take what it had to say.
    pub(super) fn wake(&mut self) {
        let still = self.turned.elapsed();
        if still >= STILL {
            tracing::warn!(
                "stood still for {:.1} s: what waited meanwhile moves nothing",
                still.as_secs_f64()
            );
            self.gateway.handle(Input::Stood, now());
        }
        self.turned = Instant::now();
    }
}

//! A word to the service manager now and then.

use std::time::{Duration, Instant};

/// Tells the service manager that the loop turns: fed from the loop itself, so that a loop that
/// hangs is seen.
pub struct Watchdog {
    every: Option<Duration>,
    /// When it is due again.
    pub next: Option<Instant>,
}

impl Default for Watchdog {
    fn default() -> Self {
        // Half of what the manager allows.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { every, next: every.map(|_| Instant::now()) }
    }
}

impl Watchdog {
    /// Says that the loop turns, where that is due.
    pub fn feed(&mut self) {
        let now = Instant::now();
        if self.next.is_some_and(|at| at <= now) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            self.next = self.every.map(|every| now + every);
        }
    }
}

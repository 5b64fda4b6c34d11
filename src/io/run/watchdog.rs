//! The watchdog of the service manager.

use std::time::{Duration, Instant};

/// Tells the service manager that the loop turns: fed from the loop itself, so that a loop that
/// hangs is seen.
pub(super) struct Watchdog {
    every: Option<Duration>,
    pub(super) next: Option<Instant>,
}

impl Watchdog {
    pub(super) fn new() -> Self {
        // Half of what the manager allows.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self { every, next: every.map(|_| Instant::now()) }
    }

    pub(super) fn feed(&mut self) {
        let now = Instant::now();
        if self.next.is_some_and(|at| at <= now) {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
            self.next = self.every.map(|every| now + every);
        }
    }
}

//! The non-INVITE server transaction (RFC 3261 §17.2.2).

use std::time::{Duration, Instant};

use super::{Step, TIMEOUT};

/// ```text
///  Trying ──1xx──▶ Proceeding
///     │                │
///     └──final──┬──────┘
///               ▼
///           Completed ──J──▶ done      a repeated request gets the last response again
/// ```
#[derive(Debug, Default)]
pub struct Server {
    /// Timer J.
    until: Option<Instant>,
}

impl Server {
    /// The user answers with `status`.
    pub fn on_answer(&mut self, status: u16, reliable: bool, now: Instant) -> Step {
        if self.until.is_some() {
            return Step::Wait;
        }
        if status >= 200 {
            let wait = if reliable { Duration::ZERO } else { TIMEOUT };
            self.until = Some(now + wait);
        }
        Step::Repeat
    }

    /// Whether the final response was sent.
    pub fn is_completed(&self) -> bool {
        self.until.is_some()
    }

    /// When the transaction ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_final_answer() {
        let start = Instant::now();
        let mut server = Server::default();
        assert_eq!(server.on_answer(100, false, start), Step::Repeat);
        assert_eq!(server.deadline(), None);
        assert_eq!(server.on_answer(200, false, start), Step::Repeat);
        assert_eq!(server.deadline(), Some(start + TIMEOUT));
        assert_eq!(server.on_answer(500, false, start), Step::Wait);
    }
}

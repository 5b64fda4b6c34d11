//! The INVITE client transaction (RFC 3261 §17.1.1 with RFC 6026).

use std::time::{Duration, Instant};

use super::{Step, T1, TIMEOUT};

/// ```text
///  Calling ──1xx──▶ Proceeding
///     │  │             │    │
///  300+  2xx         300+   2xx
///     ▼  └─────▶ Accepted ◀─┘      Calling: A repeats, B gives up
///  Completed          │ M          Completed: each repeated final response is acknowledged
///     │ D             ▼            Accepted: repeated 2xx go to the user
///     ▼             done
///   done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Calling { repeat: Option<(Instant, Duration)>, give_up: Instant },
    Proceeding,
    Completed { until: Instant },
    Accepted { until: Instant },
}

/// See `State`.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    reliable: bool,
}

impl ClientInvite {
    /// The INVITE was just sent.
    pub fn new(reliable: bool, now: Instant) -> Self {
        let repeat = (!reliable).then_some((now + T1, T1));
        Self { state: State::Calling { repeat, give_up: now + TIMEOUT }, reliable }
    }

    /// A response arrived. [`Step::Acknowledge`] asks for an ACK to a final non-2xx response;
    /// [`Step::AcknowledgeAndTell`] for that and to pass the response on.
    pub fn on_response(&mut self, status: u16, now: Instant) -> Step {
        match (self.state, status) {
            (State::Calling { .. } | State::Proceeding, 100..200) => {
                self.state = State::Proceeding;
                Step::Tell
            }
            (State::Calling { .. } | State::Proceeding, 200..300) => {
                self.state = State::Accepted { until: now + TIMEOUT };
                Step::Tell
            }
            (State::Calling { .. } | State::Proceeding, _) => {
                // Timer D: at least 32 s over UDP.
                let wait = if self.reliable { Duration::ZERO } else { TIMEOUT };
                self.state = State::Completed { until: now + wait };
                Step::AcknowledgeAndTell
            }
            (State::Completed { .. }, 300..) => Step::Acknowledge,
            (State::Accepted { .. }, 200..300) => Step::Tell,
            _ => Step::Wait,
        }
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, now: Instant) -> Step {
        match self.state {
            State::Calling { give_up, .. } if now >= give_up => Step::TimedOut,
            State::Calling { repeat: Some((at, interval)), give_up } if now >= at => {
                let interval = interval * 2;
                self.state = State::Calling { repeat: Some((now + interval, interval)), give_up };
                Step::Repeat
            }
            State::Completed { until } | State::Accepted { until } if now >= until => Step::Done,
            _ => Step::Wait,
        }
    }

    /// When to call [`ClientInvite::on_deadline`]; `None` while the callee decides.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Calling { repeat, give_up } => Some(repeat.map_or(give_up, |(at, _)| at.min(give_up))),
            State::Proceeding => None,
            State::Completed { until } | State::Accepted { until } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_call_over_udp() {
        let start = Instant::now();
        let mut invite = ClientInvite::new(false, start);
        assert_eq!(invite.deadline(), Some(start + T1));
        assert_eq!(invite.on_deadline(start + T1), Step::Repeat);
        assert_eq!(invite.deadline(), Some(start + T1 * 3));
        assert_eq!(invite.on_response(100, start), Step::Tell);
        assert_eq!(invite.deadline(), None);
        assert_eq!(invite.on_response(486, start), Step::AcknowledgeAndTell);
        assert_eq!(invite.on_response(486, start), Step::Acknowledge);
        assert_eq!(invite.on_response(200, start), Step::Wait);
        assert_eq!(invite.on_deadline(start + TIMEOUT), Step::Done);
    }

    #[test]
    fn accepted_and_silent_calls() {
        let start = Instant::now();
        let mut invite = ClientInvite::new(true, start);
        assert_eq!(invite.deadline(), Some(start + TIMEOUT));
        assert_eq!(invite.on_response(200, start), Step::Tell);
        assert_eq!(invite.on_response(200, start), Step::Tell);
        assert_eq!(invite.on_response(486, start), Step::Wait);
        assert_eq!(ClientInvite::new(false, start).on_deadline(start + TIMEOUT), Step::TimedOut);
    }
}

//! The INVITE server transaction (RFC 3261 §17.2.1 with RFC 6026).

use std::time::{Duration, Instant};

use super::{Step, T1, T2, T4, TIMEOUT};

/// ```text
///  Proceeding ──300+──▶ Completed ──ACK──▶ Confirmed ──I──▶ done
///      │                 │  G repeats          
///      │ 2xx             └──H──▶ timed out
///      ▼
///   Accepted ──L──▶ done          the user repeats its own 2xx; a repeated INVITE is swallowed
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Proceeding,
    Completed { repeat: Option<(Instant, Duration)>, give_up: Instant },
    Confirmed { until: Instant },
    Accepted { until: Instant },
}

/// See `State`.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
}

impl Default for ServerInvite {
    fn default() -> Self {
        Self { state: State::Proceeding }
    }
}

impl ServerInvite {
    /// The user answers with `status`.
    pub fn on_answer(&mut self, status: u16, reliable: bool, now: Instant) -> Step {
        if self.state != State::Proceeding {
            return Step::Wait;
        }
        match status {
            100..200 => {}
            200..300 => self.state = State::Accepted { until: now + TIMEOUT },
            _ => {
                let repeat = (!reliable).then_some((now + T1, T1));
                self.state = State::Completed { repeat, give_up: now + TIMEOUT };
            }
        }
        Step::Repeat
    }

    /// The INVITE came again.
    pub fn on_repeat(&self) -> Step {
        match self.state {
            State::Proceeding | State::Completed { .. } => Step::Repeat,
            State::Confirmed { .. } | State::Accepted { .. } => Step::Wait,
        }
    }

    /// An ACK came that belongs to this transaction.
    pub fn on_ack(&mut self, reliable: bool, now: Instant) {
        if let State::Completed { .. } = self.state {
            let wait = if reliable { Duration::ZERO } else { T4 };
            self.state = State::Confirmed { until: now + wait };
        }
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, now: Instant) -> Step {
        match self.state {
            State::Completed { give_up, .. } if now >= give_up => Step::TimedOut,
            State::Completed { repeat: Some((at, interval)), give_up } if now >= at => {
                let interval = (interval * 2).min(T2);
                self.state = State::Completed { repeat: Some((now + interval, interval)), give_up };
                Step::Repeat
            }
            State::Confirmed { until } | State::Accepted { until } if now >= until => Step::Done,
            _ => Step::Wait,
        }
    }

    /// Whether a final response was sent.
    pub fn is_completed(&self) -> bool {
        self.state != State::Proceeding
    }

    /// When to call [`ServerInvite::on_deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Proceeding => None,
            State::Completed { repeat, give_up } => Some(repeat.map_or(give_up, |(at, _)| at.min(give_up))),
            State::Confirmed { until } | State::Accepted { until } => Some(until),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_repeated_until_acknowledged() {
        let start = Instant::now();
        let mut invite = ServerInvite::default();
        assert_eq!(invite.on_answer(100, false, start), Step::Repeat);
        assert_eq!(invite.on_repeat(), Step::Repeat);
        assert_eq!(invite.on_answer(486, false, start), Step::Repeat);
        assert_eq!(invite.on_answer(200, false, start), Step::Wait);
        let mut at = start;
        let mut sent = vec![];
        for _ in 0..5 {
            at = invite.deadline().unwrap();
            assert_eq!(invite.on_deadline(at), Step::Repeat);
            sent.push((at - start).as_millis());
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500]);
        invite.on_ack(false, at);
        assert_eq!(invite.on_repeat(), Step::Wait);
        assert_eq!(invite.on_deadline(at + T4), Step::Done);
    }

    #[test]
    fn nobody_acknowledges() {
        let start = Instant::now();
        let mut invite = ServerInvite::default();
        invite.on_answer(603, true, start);
        assert_eq!(invite.deadline(), Some(start + TIMEOUT));
        assert_eq!(invite.on_deadline(start + TIMEOUT), Step::TimedOut);
    }
}

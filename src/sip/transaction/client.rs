//! The non-INVITE client transaction (RFC 3261 §17.1.2).

use std::time::{Duration, Instant};

use super::{Step, T1, T2, TIMEOUT};

/// ```text
///            send
///             │
///         ┌───▼───┐  1xx   ┌────────────┐
///         │ Trying├────────▶ Proceeding │
///         └─┬───┬─┘        └──┬──────┬──┘
///     final │   │ F           │final │ F
///           ▼   ▼             ▼      ▼
///        done  timeout      done   timeout
/// ```
/// Timer K has no state here: a repeated final response finds no transaction and is dropped.
#[derive(Debug)]
pub struct Client {
    proceeding: bool,
    /// Timer E: the next repetition; `None` over reliable transports.
    repeat: Option<(Instant, Duration)>,
    /// Timer F.
    give_up: Instant,
}

impl Client {
    /// The request was just sent.
    pub fn new(reliable: bool, now: Instant) -> Self {
        Self { proceeding: false, repeat: (!reliable).then_some((now + T1, T1)), give_up: now + TIMEOUT }
    }

    /// A response arrived.
    pub fn on_response(&mut self, status: u16, now: Instant) -> Step {
        if status >= 200 {
            return Step::Done;
        }
        self.proceeding = true;
        // §17.1.2.2: in Proceeding, E fires every T2.
        if self.repeat.is_some() {
            self.repeat = Some((now + T2, T2));
        }
        Step::Wait
    }

    /// A deadline passed.
    pub fn on_deadline(&mut self, now: Instant) -> Step {
        if now >= self.give_up {
            return Step::TimedOut;
        }
        match self.repeat {
            Some((at, interval)) if now >= at => {
                let interval = if self.proceeding { T2 } else { (interval * 2).min(T2) };
                self.repeat = Some((now + interval, interval));
                Step::Repeat
            }
            _ => Step::Wait,
        }
    }

    /// When to call [`Client::on_deadline`].
    pub fn deadline(&self) -> Instant {
        self.repeat.map_or(self.give_up, |(at, _)| at.min(self.give_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_e_and_f_over_udp() {
        let start = Instant::now();
        let mut client = Client::new(false, start);
        let mut sent = vec![];
        loop {
            let at = client.deadline();
            match client.on_deadline(at) {
                Step::Repeat => sent.push((at - start).as_millis()),
                Step::TimedOut => {
                    assert_eq!(at - start, TIMEOUT);
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sent, [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500]);
    }

    #[test]
    fn a_provisional_response_slows_and_a_final_one_ends() {
        let start = Instant::now();
        let mut client = Client::new(false, start);
        assert_eq!(client.on_response(100, start), Step::Wait);
        assert_eq!(client.deadline(), start + T2);
        assert_eq!(client.on_response(200, start), Step::Done);
        assert_eq!(Client::new(true, start).deadline(), start + TIMEOUT);
    }
}

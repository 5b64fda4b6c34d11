//! Event notification rate control (RFC 6446).

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::sip::wire::Params;

/// The rates that a subscriber asked for, in notifications per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// `max-rate`
    max: Option<f64>,
    /// `min-rate`
    min: Option<f64>,
    /// `adaptive-min-rate`
    adaptive: Option<f64>,
}

/// The window over which the adaptive rate counts (RFC 6446 §6.3 leaves it to the notifier).
const PERIOD: Duration = Duration::from_secs(300);
/// Sent notifications that are remembered for it; more count as this many.
const COUNTED: usize = 128;

impl Rates {
    /// Reads the parameters of Event; malformed ones are as if they were absent (RFC 6446 §5.1).
    pub fn of(event: Params<'_>) -> Self {
        let rate = |name| event.text(name).and_then(number);
        let (max, adaptive) = (rate("max-rate"), rate("adaptive-min-rate"));
        let mut min = rate("min-rate");
        // §6.2, §8: a minimum above the maximum is lowered; one that the adaptive rate reaches is void.
        if let (Some(low), Some(high)) = (min, max) {
            min = Some(low.min(high));
        }
        if let (Some(low), Some(adaptive)) = (min, adaptive)
            && low >= adaptive
        {
            min = None;
        }
        Self { max, min, adaptive }
    }

    /// As numbers: `max-rate`, `min-rate`, `adaptive-min-rate`; 0 where there is none.
    pub fn numbers(&self) -> [f64; 3] {
        [self.max, self.min, self.adaptive].map(Option::unwrap_or_default)
    }

    /// The way back. What is no rate is as if it were absent.
    pub fn of_numbers(numbers: [f64; 3]) -> Self {
        let [max, min, adaptive] =
            numbers.map(|rate| Some(rate).filter(|rate| (1e-11..100.0).contains(rate)));
        Self { max, min, adaptive }
    }

    /// The least time between two notifications, where the package asks for `package`.
    pub fn interval(&self, package: Duration) -> Duration {
        self.max.map_or(package, |rate| period(rate).max(package))
    }

    /// The longest time without one, given the notifications sent lately.
    pub fn longest(&self, package: Duration, sent: &Sent) -> Option<Duration> {
        if let Some(rate) = self.adaptive {
            let adapted = sent.times.len() as f64 / (rate * rate * PERIOD.as_secs_f64());
            let adapted = Duration::try_from_secs_f64(adapted).unwrap_or(Duration::MAX);
            return Some(adapted.max(self.interval(package)));
        }
        self.min.map(|rate| period(rate).max(self.interval(package)))
    }

    /// The parameters of Subscription-State: the values in use (§7.2), each with its `;`.
    pub fn write(&self, package: Duration, out: &mut String) {
        let in_use = self.max.map(|rate| rate.min(1.0 / package.as_secs_f64().max(1e-9)));
        for (name, rate) in
            [("max-rate", in_use), ("min-rate", self.min), ("adaptive-min-rate", self.adaptive)]
        {
            if let Some(rate) = rate {
                // Writing to a String cannot fail.
                let _ = write!(out, ";{name}={}", shorten(rate));
            }
        }
    }
}

/// When the last notifications went out.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    times: VecDeque<Instant>,
}

impl Sent {
    /// One went out now.
    pub fn add(&mut self, now: Instant) {
        while self.times.front().is_some_and(|at| *at + PERIOD < now) || self.times.len() >= COUNTED {
            self.times.pop_front();
        }
        self.times.push_back(now);
    }
}

/// `1*2DIGIT ["." 1*10DIGIT]`, and not zero.
fn number(text: &str) -> Option<f64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str, most: usize| {
        (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0)?;
    (digits(whole, 2) && digits(fraction, 10)).then_some(rate)
}

fn period(rate: f64) -> Duration {
    Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX)
}

/// At most ten decimals, without trailing zeros.
fn shorten(rate: f64) -> String {
    let text = format!("{rate:.10}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str) -> Rates {
        Rates::of(Params::new(text.as_bytes()))
    }

    /// Proves: RC-2, RC-4, RC-6
    #[test]
    fn what_is_in_use() {
        let second = Duration::from_secs(1);
        let shown = |text: &str| {
            let mut out = String::new();
            rates(text).write(second, &mut out);
            out
        };
        assert_eq!(shown("max-rate=0.2;min-rate=0.002"), ";max-rate=0.2;min-rate=0.002");
        assert_eq!(shown("max-rate=5"), ";max-rate=1");
        assert_eq!(shown("max-rate=0.1;min-rate=0.5"), ";max-rate=0.1;min-rate=0.1");
        assert_eq!(shown("min-rate=0.5;adaptive-min-rate=0.5"), ";adaptive-min-rate=0.5");
        for bad in [
            "max-rate=0",
            "max-rate=100",
            "max-rate=.5",
            "max-rate=1.",
            "max-rate",
            "max-rate=-1",
            "max-rate=1.00000000001",
        ] {
            assert_eq!(shown(bad), "", "{bad}");
        }
        assert_eq!(rates("max-rate=0.25").interval(second), Duration::from_secs(4));
        assert_eq!(rates("").interval(second), second);
    }

    /// Proves: RC-5
    #[test]
    fn the_adaptive_rate_follows_what_was_sent() {
        let rates = rates("adaptive-min-rate=0.1");
        let (mut sent, start) = (Sent::default(), Instant::now());
        sent.add(start);
        let one = rates.longest(Duration::ZERO, &sent);
        (1..30).for_each(|nth| sent.add(start + Duration::from_secs(nth)));
        let many = rates.longest(Duration::ZERO, &sent);
        assert_eq!(many, Some(Duration::from_secs(10)));
        assert!(one < many);
    }
}

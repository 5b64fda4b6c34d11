//! How much of the time an output is on.

use std::fmt;

/// A share of the time in hundredths of a percent; as text a number of percent, `37.5`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duty(u16);

/// The whole time, in hundredths of a percent.
const WHOLE: u16 = 10_000;

impl Duty {
    /// Never on.
    pub const OFF: Self = Self(0);

    /// So many percent, rounded to a hundredth; `None` below 0, above 100 and for what is no number.
    pub fn percent(percent: f64) -> Option<Self> {
        // Dust of a decimal factor does not make 100 % too much.
        let hundredths = (percent * 100.0).round();
        (0.0..=f64::from(WHOLE)).contains(&hundredths).then_some(Self(hundredths as u16))
    }

    /// Reads a number of percent.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        text.parse().ok().filter(|_| plain).and_then(Self::percent)
    }

    /// So much of `whole`.
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(WHOLE);
        u64::try_from(part).unwrap_or(whole)
    }

    /// What share of `whole` this part is, as near as can be said; more than all is all.
    pub fn share(part: u64, whole: u64) -> Self {
        let whole = u128::from(whole.max(1));
        let hundredths = (u128::from(part) * u128::from(WHOLE) + whole / 2) / whole;
        Self(u16::try_from(hundredths).unwrap_or(WHOLE).min(WHOLE))
    }
}

impl fmt::Display for Duty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&(f64::from(self.0) / 100.0), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_read_and_written_in_percent() {
        for text in ["0", "37.5", "0.01", "99.99", "100"] {
            assert_eq!(Duty::parse(text).map(|duty| duty.to_string()).as_deref(), Some(text));
        }
        for text in ["", "-1", "-0.1", "100.01", "1e1", "nan", "inf", "+1", "on"] {
            assert_eq!(Duty::parse(text), None, "{text}");
        }
        assert_eq!(Duty::percent(100.004), Duty::parse("100"));
    }

    #[test]
    fn a_share_of_a_time_comes_back() {
        for whole in [10_000, 999_999, 1_000_000, u64::MAX] {
            for hundredths in [0, 1, 3_333, 9_999, WHOLE] {
                let duty = Duty(hundredths);
                assert!(duty.of(whole) <= whole);
                assert_eq!(Duty::share(duty.of(whole), whole), duty, "{duty} of {whole}");
            }
        }
        assert_eq!(Duty::share(5, 0), Duty(WHOLE));
    }
}

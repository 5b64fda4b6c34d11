//! Durations as people write them: always with a unit.

use std::time::Duration;

/// Units, longest first when spelled.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `50ms`, `1.5s`, `5m` or `1h`; the error says what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    if number.is_empty() {
        return Err(format!(
            "`{text}` is no duration; write a number with a unit, such as 500ms, 30s, 5m or 1h"
        ));
    }
    if unit.is_empty() {
        return Err(format!("a duration needs a unit: {number}ms, {number}s, {number}m or {number}h"));
    }
    let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{unit}` is no unit of time; use ms, s, m or h"));
    };
    let number: f64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    let ms = number * *factor as f64;
    if ms > 366.0 * 86_400_000.0 {
        return Err(format!("`{text}` is longer than a year"));
    }
    Ok(Duration::from_micros((ms * 1000.0).round() as u64))
}

/// Writes a duration as [`duration`] reads it, in the largest unit that needs no fraction.
pub fn spell(duration: Duration) -> String {
    let ms = duration.as_millis() as u64;
    let (unit, factor) =
        UNITS.iter().find(|(_, factor)| ms >= *factor && ms % factor == 0).unwrap_or(&("ms", 1));
    format!("{}{unit}", ms / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_spells() {
        for text in ["50ms", "30s", "5m", "1h", "90s"] {
            assert_eq!(duration(text).map(spell).as_deref(), Ok(text));
        }
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
    }

    #[test]
    fn a_unit_is_needed() {
        assert!(duration("30").is_err_and(|why| why.contains("30s")));
        for text in ["", "s", "3d", "-1s", "1.2.3s", "99999h"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}

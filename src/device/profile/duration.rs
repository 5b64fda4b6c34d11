//! Durations as people write them.

use std::time::Duration;

/// Writes a duration as a profile would, in the largest unit that needs no fraction.
pub fn spell(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [("h", 3_600_000), ("m", 60_000), ("s", 1000)];
    match units.iter().find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{} {unit}", ms / factor),
        None => format!("{ms} ms"),
    }
}

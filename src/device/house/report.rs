//! Which changes are worth a report, and when.

use std::time::Instant;

use super::session::PropertyState;
use super::{Due, Effect, House};
use crate::config::DeviceId;
use crate::device::profile::Notify;
use crate::device::shadow::Reading;
use crate::timer::Now;

/// The verdict on one property.
enum Worth {
    /// Nothing new, or nothing that matters.
    No,
    /// Not before this time.
    Later(Instant),
    /// Now.
    Now,
}

impl House {
    /// Ends a call: every device that it changed is told about at most once.
    pub(super) fn report(&mut self, now: Now) {
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable_by_key(|(device, urgent)| (*device, !urgent));
        touched.dedup_by_key(|(device, _)| *device);
        for (device, urgent) in touched.drain(..) {
            self.evaluate(device, urgent, now);
        }
        self.touched = touched;
    }

    pub(super) fn report_due(&mut self, index: usize, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        if device.session.report_at.is_some_and(|at| at <= now.mono) {
            device.session.report_at = None;
            self.touch(index, false);
        }
    }

    fn evaluate(&mut self, index: usize, urgent: bool, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        let (mut worth, mut later) = (urgent, None::<Instant>);
        for (property, of) in model.properties.iter().enumerate() {
            let Some(state) = device.session.properties.get(property) else { continue };
            match judge(&of.notify, state, device.shadow.reading(property), now.mono) {
                Worth::No => {}
                Worth::Now => worth = true,
                Worth::Later(at) => later = Some(later.map_or(at, |other| other.min(at))),
            }
        }
        if worth {
            for (property, state) in device.session.properties.iter_mut().enumerate() {
                let current =
                    device.shadow.reading(property).map(|reading| (reading.value.clone(), reading.stale));
                if state.reported != current {
                    state.reported = current;
                    state.reported_at = Some(now.mono);
                }
            }
            self.effects.push_back(Effect::Changed { device: DeviceId(index) });
        } else if let Some(at) = later
            && device.session.report_at.is_none_or(|set| at < set)
        {
            device.session.report_at = Some(at);
            self.deadlines.set(at, Due::Report(index));
        }
    }
}

fn judge(notify: &Notify, state: &PropertyState, reading: Option<&Reading>, now: Instant) -> Worth {
    let Some(reading) = reading else { return Worth::No };
    let Some((reported, stale)) = &state.reported else { return Worth::Now };
    if *stale != reading.stale {
        return Worth::Now;
    }
    if *reported == reading.value {
        return Worth::No;
    }
    let after = |wait: Option<std::time::Duration>| wait.zip(state.reported_at).map(|(wait, at)| at + wait);
    let size = reading.value.number().zip(reported.number()).map(|(new, old)| (new - old).abs());
    let small = notify.min_change.zip(size).is_some_and(|(least, size)| size < least);
    let from = match small {
        // Too small to matter until `at_least` has passed.
        true => match after(notify.at_least) {
            Some(at) => Some(at),
            None => return Worth::No,
        },
        false => after(notify.min_gap),
    };
    match from {
        Some(at) if at > now => Worth::Later(at),
        _ => Worth::Now,
    }
}

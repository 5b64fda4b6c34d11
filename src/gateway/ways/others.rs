//! What becomes of one way of an upstream matters to the others: one that serves lets them take their time, and
//! they make haste when none does.

use std::time::Instant;

use super::LONGEST_RETRY;
use crate::gateway::Gateway;
use crate::sip::registration::Registration;
use crate::timer::Now;

impl Gateway {
    /// The other ways of the same upstream that rest.
    pub(super) fn wake_others(&mut self, key: usize) {
        let Some(upstream) = self.ways.get(key).map(|way| way.upstream) else { return };
        for other in self.ways.keys() {
            let idle = self.ways.get(other).is_some_and(|way| way.upstream == upstream && way.is_idle());
            if other != key && idle {
                self.connect(other);
            }
        }
    }

    /// No flow serves any more: the others that broke do not wait as long as one does that is a spare.
    pub(super) fn hurry_others(&mut self, key: usize, by: Instant, now: Now) {
        let Some(upstream) = self.ways.get(key).map(|way| way.upstream) else { return };
        for other in self.ways.keys() {
            let Some(way) = self.ways.get_mut(other).filter(|way| way.upstream == upstream) else { continue };
            // Where connections come about and nobody answers, the patience of RFC 5626 stays.
            if other != key && way.useless == 0 {
                // One that fails again and again is not tried more often than it would be alone.
                let by = if way.failures <= 1 { by } else { now.mono + LONGEST_RETRY };
                way.retry = way.retry.map(|at| at.min(by));
            }
        }
    }

    /// Who fails waits longer while another flow works (RFC 5626 §4.5).
    pub(super) fn tell_others_up(&mut self, upstream: usize) {
        let ways: Vec<usize> =
            self.ways.iter().filter(|(_, way)| way.upstream == upstream).map(|(key, _)| key).collect();
        for key in &ways {
            let others = ways.iter().filter(|other| *other != key);
            let registrations =
                others.filter_map(|other| self.ways.get(*other)).flat_map(|way| &way.registrations);
            let up = registrations.filter_map(|at| self.registrations.get(*at)).any(Registration::stands);
            let own = self.ways.get(*key).map(|way| way.registrations.clone()).unwrap_or_default();
            for registration in own {
                if let Some(registration) = self.registrations.get_mut(registration) {
                    registration.set_another_up(up);
                }
            }
        }
    }
}

//! Doorbells that ring now: a moment is over at once, and a key that lights for it needs a while to be
//! seen.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::DeviceId;

/// How long a bell rings after it was pressed last.
pub const RINGS: Duration = Duration::from_secs(20);

/// Which appliances ring, by which of their events, and until when. One entry for each at most.
#[derive(Clone, Debug, Default)]
pub struct Ringing(BTreeMap<DeviceId, (usize, Instant)>);

impl Ringing {
    /// It was pressed. `event` is the index of the event in the profile.
    pub fn begin(&mut self, device: DeviceId, event: usize, now: Instant) {
        self.0.insert(device, (event, now + RINGS));
    }

    /// Takes out one that has rung long enough.
    pub fn end(&mut self, now: Instant) -> Option<DeviceId> {
        let (device, _) = self.0.iter().find(|(_, (_, until))| *until <= now)?;
        let device = *device;
        self.0.remove(&device);
        Some(device)
    }

    /// Somebody has seen to it.
    pub fn stop(&mut self, device: DeviceId) {
        self.0.remove(&device);
    }

    /// Those that ring.
    pub fn all(&self) -> impl Iterator<Item = DeviceId> {
        self.0.keys().copied()
    }

    /// When the next one has rung long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.0.values().map(|(_, until)| *until).min()
    }

    /// The event by which an appliance rings: its index in the profile.
    pub fn bell(&self, device: DeviceId) -> Option<usize> {
        self.0.get(&device).map(|(event, _)| *event)
    }

    /// They have other places now, and other events; those that have none are forgotten.
    pub fn relocate(&mut self, to: impl Fn(DeviceId, usize) -> Option<(DeviceId, usize)>) {
        let rings = std::mem::take(&mut self.0).into_iter();
        self.0 = rings
            .filter_map(|(device, (event, until))| to(device, event).map(|(to, event)| (to, (event, until))))
            .collect();
    }
}

//! What a person should know of, until somebody has seen it.
//!
//! An event of a class that is worth it becomes an alert. It is *new* until it is acknowledged, and
//! *old* until newer ones push it out.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::DeviceId;
use crate::limits;

/// How long an alert that was sent may be on its way; then it may be sent again.
const SENT: Duration = Duration::from_secs(32);

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Its number, never used twice; those of later ones are higher.
    pub serial: u64,
    /// Whose.
    pub device: DeviceId,
    /// The event.
    pub event: Arc<str>,
    /// What it says.
    pub value: Arc<str>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Whether it cannot wait.
    pub urgent: bool,
    /// Whether somebody has seen it.
    pub seen: bool,
    /// Whether a phone took it, or nobody is to be told.
    pub told: bool,
    /// When it was last sent to phones.
    pub sent: Option<Instant>,
}

/// How many there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not seen.
    pub new: u32,
    /// Seen.
    pub old: u32,
    /// Urgent ones among the new.
    pub urgent_new: u32,
    /// Urgent ones among the old.
    pub urgent_old: u32,
}

/// The alerts of the house, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    list: VecDeque<Alert>,
    version: u64,
    last: u64,
    /// The numbers of those that are new, other ones than before, or gone.
    changes: BTreeSet<u64>,
}

/// Classes of events that are worth an alert, and whether they cannot wait.
const CLASSES: [(&str, bool); 8] = [
    ("alarm", true),
    ("smoke", true),
    ("gas", true),
    ("leak", true),
    ("problem", true),
    ("doorbell", false),
    ("appliance", false),
    ("button", false),
];

impl Alerts {
    /// Takes an event of a class: the number of the alert; `None` when it is not worth one. When full, the oldest that
    /// was seen is forgotten, and where none was, the oldest.
    pub fn raise(
        &mut self,
        class: Option<&str>,
        device: DeviceId,
        event: &Arc<str>,
        value: &Arc<str>,
        at_ms: i64,
    ) -> Option<u64> {
        let (_, urgent) = CLASSES.iter().find(|(known, _)| class == Some(*known))?;
        let (event, value, urgent, serial) = (event.clone(), value.clone(), *urgent, self.last + 1);
        // What can wait is in the mailbox.
        let told = !urgent;
        self.add(Alert { serial, device, event, value, at_ms, urgent, seen: false, told, sent: None });
        self.changes.insert(serial);
        Some(serial)
    }

    /// Takes back an alert of an earlier run. To be called in the order of their numbers.
    pub fn add(&mut self, alert: Alert) {
        if self.list.len() >= limits::ALERTS {
            let seen = self.list.iter().position(|alert| alert.seen).unwrap_or(0);
            self.changes.extend(self.list.remove(seen).map(|gone| gone.serial));
        }
        self.last = self.last.max(alert.serial);
        self.list.push_back(alert);
        self.version += 1;
    }

    /// The alert of that number.
    pub fn get(&self, serial: u64) -> Option<&Alert> {
        self.list.iter().find(|alert| alert.serial == serial)
    }

    /// Urgent ones that nobody has seen and no phone has taken, oldest first; not those that are on their way.
    pub fn untold(&self, now: Instant) -> Vec<u64> {
        let on_its_way =
            |alert: &Alert| alert.sent.is_some_and(|at| now.saturating_duration_since(at) < SENT);
        let untold = self.list.iter().filter(|alert| !alert.told && !alert.seen && !on_its_way(alert));
        untold.map(|alert| alert.serial).collect()
    }

    /// It was sent to somebody's phones.
    pub fn sent(&mut self, serial: u64, now: Instant) {
        if let Some(alert) = self.list.iter_mut().find(|alert| alert.serial == serial) {
            alert.sent = Some(now);
        }
    }

    /// A phone took it.
    pub fn told(&mut self, serial: u64) {
        if let Some(alert) = self.list.iter_mut().find(|alert| alert.serial == serial && !alert.told) {
            alert.told = true;
            self.changes.insert(serial);
        }
    }

    /// The numbers of those that are new, other ones than before, or gone, since the last time.
    pub fn take_changes(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.changes)
    }

    /// Somebody has seen the alerts that `which` names: how many were new.
    pub fn acknowledge(&mut self, mut which: impl FnMut(&Alert) -> bool) -> usize {
        let mut seen = 0;
        for alert in self.list.iter_mut().filter(|alert| !alert.seen) {
            if which(alert) {
                alert.seen = true;
                self.changes.insert(alert.serial);
                seen += 1;
            }
        }
        self.version += u64::from(seen > 0);
        seen
    }

    /// Appliances have other places now; the alerts of those that are gone are forgotten.
    pub fn relocate(&mut self, to: impl Fn(DeviceId) -> Option<DeviceId>) {
        let changes = &mut self.changes;
        self.list.retain_mut(|alert| match to(alert.device) {
            Some(device) => {
                alert.device = device;
                true
            }
            None => {
                changes.insert(alert.serial);
                false
            }
        });
        self.version += 1;
    }

    /// Those that `which` names, oldest first.
    pub fn of(&self, mut which: impl FnMut(&Alert) -> bool) -> impl Iterator<Item = &Alert> {
        self.list.iter().filter(move |alert| which(alert))
    }

    /// How many there are of those that `which` names.
    pub fn counts(&self, which: impl FnMut(&Alert) -> bool) -> Counts {
        let mut counts = Counts::default();
        for alert in self.of(which) {
            let (all, urgent) = match alert.seen {
                false => (&mut counts.new, &mut counts.urgent_new),
                true => (&mut counts.old, &mut counts.urgent_old),
            };
            *all += 1;
            *urgent += u32::from(alert.urgent);
        }
        counts
    }

    /// Rises with every change.
    pub fn version(&self) -> u64 {
        self.version
    }
}

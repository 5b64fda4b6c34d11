//! What a person should know of, until somebody has seen it.
//!
//! An event of a class that is worth it becomes an alert. It is *new* until it is acknowledged, and
//! *old* until newer ones push it out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::config::DeviceId;
use crate::limits;

/// One alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
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
    /// Takes an event of a class: whether it is urgent; `None` when it is not worth an alert. When full, the oldest that
    /// was seen is forgotten, and where none was, the oldest.
    pub fn raise(
        &mut self,
        class: Option<&str>,
        device: DeviceId,
        event: &Arc<str>,
        value: &Arc<str>,
        at_ms: i64,
    ) -> Option<bool> {
        let (_, urgent) = CLASSES.iter().find(|(known, _)| class == Some(*known))?;
        if self.list.len() >= limits::ALERTS {
            let seen = self.list.iter().position(|alert| alert.seen).unwrap_or(0);
            self.list.remove(seen);
        }
        let (event, value, urgent) = (event.clone(), value.clone(), *urgent);
        self.list.push_back(Alert { device, event, value, at_ms, urgent, seen: false });
        self.version += 1;
        Some(urgent)
    }

    /// Somebody has seen the alerts that `which` names: how many were new.
    pub fn acknowledge(&mut self, mut which: impl FnMut(&Alert) -> bool) -> usize {
        let mut seen = 0;
        for alert in self.list.iter_mut().filter(|alert| !alert.seen) {
            if which(alert) {
                alert.seen = true;
                seen += 1;
            }
        }
        self.version += u64::from(seen > 0);
        seen
    }

    /// Appliances have other places now; the alerts of those that are gone are forgotten.
    pub fn relocate(&mut self, to: impl Fn(DeviceId) -> Option<DeviceId>) {
        self.list.retain_mut(|alert| to(alert.device).map(|device| alert.device = device).is_some());
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

//! What the house keeps about a device besides its shadow.

use std::time::Instant;

use regex::Regex;

use crate::device::codec::Dropped;
use crate::device::profile::Model;
use crate::device::value::Value;

use super::clicks::Button;
use super::running::Running;

/// Messages that nothing in the profile fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// How many since the start.
    pub count: u64,
    /// The last one, quoted, and shortened.
    pub last: String,
}

/// One device's state of listening and commanding.
#[derive(Debug)]
pub(crate) struct Session {
    pub(super) properties: Vec<PropertyState>,
    pub(super) events: Vec<EventState>,
    pub(super) action_at: Vec<Option<Instant>>,
    pub(super) running: Option<Running>,
    /// When anything was last heard.
    pub(super) heard_at: Option<Instant>,
    pub(super) silent_timer: bool,
    /// The last word on health was a retained copy: live data is newer.
    pub(super) health_retained: bool,
    /// Unanswered queries in a row.
    pub(super) fails: u32,
    /// A query was not answered: only one is asked until something is heard.
    pub(super) trouble: bool,
    /// A deadline for a report is set for this time.
    pub(super) report_at: Option<Instant>,
    dropped: [u64; Dropped::COUNTED.len()],
    /// What came and fits nothing.
    pub(super) unread: Option<Unread>,
    /// Events that `quiet` kept back.
    pub(super) quieted: u64,
}

#[derive(Debug, Default)]
pub(super) struct PropertyState {
    /// Value and staleness as they were last reported.
    pub(super) reported: Option<(Value, bool)>,
    pub(super) reported_at: Option<Instant>,
    pub(super) read_at: Option<Instant>,
    pub(super) stale_timer: bool,
    /// A reading that waits for the end of `settle`.
    pub(super) waiting: Option<Value>,
    pub(super) hold_until: Option<Instant>,
    pub(super) set_at: Option<Instant>,
    /// How often a known value changed.
    pub(super) changes: u32,
}

#[derive(Debug, Default)]
pub(super) struct EventState {
    pub(super) button: Button,
    pub(super) quiet_until: Option<Instant>,
}

impl Session {
    pub(crate) fn new(model: &Model) -> Self {
        Self {
            properties: model.properties.iter().map(|_| PropertyState::default()).collect(),
            events: model.events.iter().map(|_| EventState::default()).collect(),
            action_at: vec![None; model.actions.len()],
            running: None,
            heard_at: None,
            silent_timer: false,
            health_retained: false,
            fails: 0,
            trouble: false,
            report_at: None,
            dropped: [0; Dropped::COUNTED.len()],
            unread: None,
            quieted: 0,
        }
    }

    pub(super) fn count(&mut self, why: Dropped) {
        let index = Dropped::COUNTED.iter().position(|kind| *kind == why);
        if let Some(count) = index.and_then(|index| self.dropped.get_mut(index)) {
            *count = count.saturating_add(1);
        }
    }

    /// How many payloads gave no value, by reason.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (Dropped, u64)> {
        Dropped::COUNTED.into_iter().zip(self.dropped).filter(|(_, count)| *count > 0)
    }

    /// What came and fits nothing.
    pub(crate) fn unread(&self) -> Option<&Unread> {
        self.unread.as_ref()
    }

    /// What the device answers to the step that is sent next.
    pub(super) fn reply(&self) -> Option<Regex> {
        self.running.as_ref().and_then(Running::next_reply)
    }

    pub(crate) fn busy(&self) -> bool {
        self.running.is_some()
    }

    pub(crate) fn changes(&self, property: usize) -> u32 {
        self.properties.get(property).map_or(0, |state| state.changes)
    }
}

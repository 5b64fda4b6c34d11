//! One broker, and what was told there of each appliance.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use serde::Serialize;
use sipliance_driver::OpId;

use super::topics::topics_of;
use crate::config::{Config, DeviceId, HomeAssistant};
use crate::limits::CLEARING;

/// One broker over which Home Assistant is told.
#[derive(Debug)]
pub(in crate::gateway) struct Broker {
    pub(super) config: HomeAssistant,
    /// What was told of each appliance of the configuration, in its order.
    pub(super) told: Vec<Told>,
    /// What is to be told.
    pub(super) todo: BTreeSet<(usize, What)>,
    /// Topics of what is gone.
    pub(super) clearing: VecDeque<String>,
    /// Told, and not answered yet.
    pub(super) open: HashMap<OpId, Sent>,
    pub(super) up: bool,
    /// Home Assistant has started: when everything is told again.
    pub(super) again_at: Option<Instant>,
    pub(super) last_birth: Option<Instant>,
    /// The broker had no room: when the next try is.
    pub(super) retry_at: Option<Instant>,
    pub(super) counts: Counts,
}

/// One appliance, as far as it was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Of each document, the hash of the last one.
    pub(super) sent: [Option<u64>; 3],
    /// The components of the last description.
    pub(super) components: Vec<(String, &'static str)>,
}

/// A document of an appliance, in the order in which they are told: nobody is to believe that something is
/// there before he knows what it is and how it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Description,
    State,
    Availability,
}

pub(super) const ALL: [What; 3] = [What::Description, What::State, What::Availability];

/// What an op was.
#[derive(Debug)]
pub(super) enum Sent {
    Document(usize, What),
    Clearing(String),
    Moment,
}

/// What was not carried out or told, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Retained copies on command topics.
    pub retained: u64,
    /// Commands that waited while the process stood still.
    pub late: u64,
    /// Commands that named nothing, or were no value.
    pub unreadable: u64,
    /// Commands that came too fast.
    pub too_many: u64,
    /// Events that the broker had no room for.
    pub lost_events: u64,
    /// Documents that the broker refused.
    pub refused: u64,
}

impl Broker {
    pub(super) fn new(config: HomeAssistant) -> Self {
        let told = config.devices.iter().map(|_| Told::default()).collect();
        Self {
            config,
            told,
            todo: BTreeSet::new(),
            clearing: VecDeque::new(),
            open: HashMap::new(),
            up: false,
            again_at: None,
            last_birth: None,
            retry_at: None,
            counts: Counts::default(),
        }
    }

    pub(in crate::gateway) fn next_deadline(&self) -> Option<Instant> {
        self.again_at.into_iter().chain(self.retry_at).min()
    }

    /// Whether it has said all that it has to say, or cannot.
    pub(in crate::gateway) fn is_quiet(&self) -> bool {
        !self.up || self.todo.is_empty() && self.open.is_empty()
    }

    /// What is with the broker now is told again: nobody hears its end.
    pub(super) fn forget_open(&mut self) {
        for sent in std::mem::take(&mut self.open).into_values() {
            match sent {
                Sent::Document(of, what) => self.unsay(of, what),
                Sent::Clearing(topic) => self.clear([topic]),
                Sent::Moment => {}
            }
        }
    }

    /// A document is not there as far as is known.
    pub(super) fn unsay(&mut self, of: usize, what: What) {
        let slot = self.told.get_mut(of).and_then(|told| told.sent.get_mut(what as usize));
        if let Some(slot) = slot {
            *slot = None;
        }
    }

    /// Takes over what was told by the configuration before.
    pub(super) fn inherit(&mut self, before: Self, old: &Config, new: &Config) {
        (self.counts, self.last_birth, self.again_at) = (before.counts, before.last_birth, before.again_at);
        self.clear(before.clearing);
        for (id, told) in before.config.devices.iter().zip(before.told) {
            let Some(id) = id_of(old, *id) else { continue };
            let stays = self.config.devices.iter().position(|now| id_of(new, *now) == Some(id));
            let same_prefix = self.config.prefix == before.config.prefix;
            match stays.and_then(|at| self.told.get_mut(at)) {
                Some(slot) if same_prefix => *slot = told,
                // State and availability stay where they are, the description moves.
                Some(_) => self.clear(topics_of(&before.config, id).into_iter().take(1)),
                None => self.clear(topics_of(&before.config, id)),
            }
        }
    }

    /// Tells nothing more; what it has to take back, it does.
    pub(super) fn retire(&mut self) {
        (self.config.devices, self.told, self.config.user) = (Vec::new(), Vec::new(), None);
        self.todo.clear();
        self.again_at = None;
    }

    /// Everything is to be told, whether it was before or not.
    pub(super) fn anew(&mut self) {
        self.told.iter_mut().for_each(|told| told.sent = [None; 3]);
        self.mark(|_| true, &ALL);
    }

    pub(super) fn mark(&mut self, which: impl Fn(DeviceId) -> bool, what: &[What]) {
        for (nth, device) in self.config.devices.iter().enumerate() {
            if which(*device) {
                self.todo.extend(what.iter().map(|what| (nth, *what)));
            }
        }
    }

    /// Takes back what was said on these topics; when too much waits for that, the rest stays.
    pub(super) fn clear(&mut self, topics: impl IntoIterator<Item = String>) {
        for topic in topics {
            if self.clearing.len() < CLEARING && !self.clearing.contains(&topic) {
                self.clearing.push_back(topic);
            }
        }
    }

    pub(super) fn documents_open(&self) -> usize {
        self.open.values().filter(|sent| !matches!(sent, Sent::Moment)).count()
    }

    pub(super) fn watches(&self) -> Vec<String> {
        let HomeAssistant { prefix, tree, user, .. } = &self.config;
        let commands = user.iter().flat_map(|_| [format!("{tree}/+/set/+"), format!("{tree}/+/do")]);
        [format!("{prefix}/status"), format!("{tree}/+/availability")].into_iter().chain(commands).collect()
    }
}

/// The id of a device in the home file.
pub(super) fn id_of(config: &Config, device: DeviceId) -> Option<&str> {
    config.devices.get(device.0).map(|device| device.id.as_str())
}

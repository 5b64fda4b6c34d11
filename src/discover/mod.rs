//! Discovery: what a broker tells about its devices becomes a proposal for the home file.
//!
//! Messages go in ([`Heard::hear`]), text comes out ([`propose()`]). Nothing is ever added by itself: a
//! person reads the proposal, and takes what they want. Three ways lead to one: the signs of the
//! profiles (`discover:`), the descriptions of Homie 5, and the discovery messages of Home Assistant;
//! the latter two make a profile of their own where none fits.
//!
//! A broker is not trusted. Everything here has a bound, what is beyond it is counted and told, and a
//! profile that was made here is read by the same rules as one that a person wrote before it is shown.

mod draft;
mod hass;
mod homie;
mod names;
mod propose;
mod signs;
mod text;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::device::profile::Profile;

pub use propose::{Broker, Generated, House, Proposals, propose};
pub use text::About;

/// Topics that are remembered; what is said on further ones is counted and forgotten.
pub const MOST_TOPICS: usize = 20_000;
/// Bytes that are remembered in all; what is beyond is counted and forgotten.
pub const MOST_BYTES: usize = 32 * 1024 * 1024;
/// Devices that are proposed, and looked at in one list; of more the number is told.
pub const MOST_DEVICES: usize = 500;
/// Longest description of one device in bytes; a longer one is counted and passed over.
pub const DESCRIPTION: usize = 1024 * 1024;
/// Payloads that are kept of one topic on which all devices announce themselves; the first ones count.
const ANNOUNCEMENTS: usize = MOST_DEVICES;

/// The usual first level of Home Assistant's discovery topics.
pub const HASS_PREFIX: &str = "homeassistant";

/// The topic filters that everything below looks at, in order.
pub fn filters(profiles: &[Arc<Profile>], prefix: &str) -> Vec<String> {
    let signs = profiles.iter().flat_map(|profile| &profile.discover);
    let mut all: BTreeSet<String> = signs.map(|sign| sign.filter()).collect();
    all.extend(["+/5/+/$state", "+/5/+/$description"].map(str::to_owned));
    all.extend([format!("{prefix}/+/+/config"), format!("{prefix}/+/+/+/config")]);
    all.into_iter().collect()
}

/// What was heard of one broker: the newest message of each topic.
#[derive(Debug, Default)]
pub struct Heard {
    topics: BTreeMap<String, Vec<Vec<u8>>>,
    /// Topics on which every device speaks, so that the newest message is not all.
    shared: BTreeSet<String>,
    bytes: usize,
    lost: usize,
}

impl Heard {
    /// Nothing yet.
    pub fn new(profiles: &[Arc<Profile>]) -> Self {
        let signs = profiles.iter().flat_map(|profile| &profile.discover);
        let shared = signs.filter(|sign| sign.each.is_none() && !sign.take.is_empty());
        Self { shared: shared.map(|sign| sign.topic.clone()).collect(), ..Self::default() }
    }

    /// Takes a message in. An empty one deletes what was stored.
    pub fn hear(&mut self, topic: &str, payload: &[u8]) {
        let shared = self.shared.contains(topic);
        let old = self.topics.get(topic);
        let keep = shared && old.is_some_and(|old| old.len() < ANNOUNCEMENTS);
        let freed = if shared { 0 } else { old.map_or(0, |old| old.iter().map(Vec::len).sum()) };
        if payload.is_empty() {
            self.topics.remove(topic);
            self.bytes = self.bytes.saturating_sub(freed);
            return;
        }
        let full = old.is_none() && self.topics.len() >= MOST_TOPICS;
        if full || self.bytes - freed + payload.len() > MOST_BYTES || (shared && old.is_some() && !keep) {
            self.lost += 1;
            return;
        }
        let entry = self.topics.entry(topic.to_owned()).or_default();
        if !shared {
            entry.clear();
        }
        if !entry.iter().any(|known| known == payload) {
            entry.push(payload.to_vec());
            self.bytes = self.bytes - freed + payload.len();
        }
    }

    fn messages(&self) -> impl Iterator<Item = (&str, &[Vec<u8>])> {
        self.topics.iter().map(|(topic, payloads)| (topic.as_str(), payloads.as_slice()))
    }

    /// The newest message of a topic.
    fn newest(&self, topic: &str) -> Option<&[u8]> {
        self.topics.get(topic).and_then(|payloads| payloads.last()).map(Vec::as_slice)
    }
}

/// What was passed over, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// Messages beyond a bound.
    lost: usize,
    /// Descriptions that are too long.
    long: usize,
    /// Payloads that are not UTF-8.
    not_text: usize,
    /// Payloads that are not JSON.
    not_json: usize,
    /// Devices with a name that could not stand in a topic.
    odd: usize,
    /// Appliances of this house that a gateway like this one tells others about.
    own: usize,
    /// Devices beyond the bound.
    more: usize,
}

impl Tally {
    /// A payload as JSON; what is none is counted.
    fn json(&mut self, payload: &[u8]) -> Option<Json> {
        let Ok(text) = std::str::from_utf8(payload) else {
            self.not_text += 1;
            return None;
        };
        let document = serde_json::from_str(text).ok();
        self.not_json += usize::from(document.is_none());
        document
    }

    /// A description, which has a bound of its own.
    fn description(&mut self, payload: &[u8]) -> Option<Json> {
        if payload.len() > DESCRIPTION {
            self.long += 1;
            return None;
        }
        self.json(payload)
    }

    /// One line, or nothing where nothing was passed over.
    fn line(&self) -> Option<String> {
        let counts = [
            (self.lost, "beyond what is remembered"),
            (self.long, "longer than 1 MB"),
            (self.not_text, "not UTF-8"),
            (self.not_json, "not JSON"),
            (self.odd, "with a name that cannot stand in a topic"),
            (self.own, "of a sipliance itself"),
            (self.more, "devices beyond 500"),
        ];
        let told: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!told.is_empty()).then(|| format!("Passed over: {}.", told.join(", ")))
    }
}

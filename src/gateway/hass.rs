//! Home Assistant: our appliances announced to it over a broker (MQTT discovery, the form for devices), their
//! state told as it changes, and its commands taken where the home file says whose rights it has.
//!
//! ```text
//! <prefix>/device/<id>/config          what the appliance is                retained
//! sipliance/<house>/<device>/state     its values, in one document          retained
//! sipliance/<house>/<device>/availability      online, offline              retained
//! sipliance/<house>/<device>/event/<event>     something that happened      never retained
//! sipliance/<house>/<device>/set/<property>, …/do      commands
//! ```
//!
//! Nothing is queued: what is to be told is a mark on an appliance, and the document is made when the
//! broker has room. So only the newest is told, however often something changed meanwhile.

mod broker;
mod component;
mod document;
mod order;
mod topics;

use std::hash::Hasher as _;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use serde::Serialize;
use sipliance_driver::{self as driver, Channel, Event, Failure, Op, OpId};

use super::{Gateway, Notice, Output};
use crate::config::access::Identity;
use crate::config::{Config, DeviceId, Link, LinkId};
use crate::limits::{TELLING, TELLING_EVENTS};
use crate::timer::Now;

pub(super) use self::broker::Broker;
pub use self::broker::Counts;
use self::broker::{ALL, Sent, What, id_of};
use self::topics::{Scope, Topics, topics_of};

/// How long Home Assistant is left alone after it said that it lives: it is not listening yet, and
/// everybody answers at once.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 1_000..=5_000;

/// Least time between two announcements that it asked for so.
const BIRTH_GAP: Duration = Duration::from_secs(10);

/// How long a broker is left alone that had no room.
const RETRY: Duration = Duration::from_secs(1);

impl Gateway {
    /// Listens on every broker that the configuration names.
    pub(super) fn start_hass(&mut self) {
        self.hass = self.config.home_assistant.iter().cloned().map(Broker::new).collect();
        self.watch_hass();
    }

    fn watch_hass(&mut self) {
        for broker in &self.hass {
            for topic in broker.watches() {
                let op = Op::Watch { channel: Channel::new(&topic) };
                self.outputs.push_back(Output::Drive { link: broker.config.link, op });
            }
        }
    }

    /// A new configuration: what stays is told only where it changed, what is gone is taken back.
    pub(super) fn reload_hass(&mut self, old_config: &Config) {
        let old = std::mem::take(&mut self.hass);
        self.hass = self.config.home_assistant.iter().cloned().map(Broker::new).collect();
        for mut before in old {
            before.forget_open();
            let link = |config: &Config, id: LinkId| config.links.get(id.0).map(Link::title);
            let name = link(old_config, before.config.link);
            let next = self.hass.iter_mut().find(|next| link(&self.config, next.config.link) == name);
            match next {
                Some(next) => {
                    next.up = self.links_up.contains(&next.config.link);
                    next.inherit(before, old_config, &self.config);
                }
                // Nobody announces there any more; it stays as long as it has something to take back.
                None if link(&self.config, before.config.link) == name => {
                    let ids: Vec<_> =
                        before.config.devices.iter().filter_map(|id| id_of(old_config, *id)).collect();
                    let topics: Vec<_> = ids.iter().flat_map(|id| topics_of(&before.config, id)).collect();
                    before.clear(topics);
                    before.retire();
                    self.hass.extend((!before.clearing.is_empty()).then_some(before));
                }
                None => {}
            }
        }
        self.watch_hass();
        self.hass_changed(None);
    }

    /// A link reports. What is not about the house's own topics is nothing here.
    pub(super) fn hass_event(&mut self, link: LinkId, event: &Event, now: Now) {
        for nth in 0..self.hass.len() {
            let Some(broker) = self.hass.get_mut(nth).filter(|broker| broker.config.link == link) else {
                continue;
            };
            match event {
                Event::Up => {
                    broker.up = true;
                    broker.open.clear();
                    (broker.again_at, broker.retry_at) = (None, None);
                    broker.anew();
                }
                Event::Down(_) => {
                    broker.up = false;
                    (broker.again_at, broker.retry_at) = (None, None);
                }
                Event::Done { id, result } => self.told(nth, *id, result, now),
                Event::Read { channel, payload, retained } => {
                    let birth = channel.as_str().strip_prefix(&*broker.config.prefix) == Some("/status");
                    match birth {
                        // A stored birth says nothing of now; everything was just told.
                        true if *retained || &**payload != b"online" => {}
                        true => self.on_birth(nth, now),
                        false => self.heard_below(nth, channel, payload, *retained, now),
                    }
                }
                Event::Unwatched { .. } | Event::Edge { .. } => {}
            }
        }
    }

    /// Home Assistant has started.
    fn on_birth(&mut self, nth: usize, now: Now) {
        let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
        let Some(broker) = self.hass.get_mut(nth) else { return };
        if broker.again_at.is_none() {
            let soonest = broker.last_birth.map_or(now.mono, |last| last + BIRTH_GAP);
            broker.again_at = Some((now.mono + pause).max(soonest));
        }
    }

    /// An appliance changed; `None`: all of them, and what may be seen of them.
    pub(super) fn hass_changed(&mut self, device: Option<DeviceId>) {
        for broker in &mut self.hass {
            match device {
                Some(device) => broker.mark(|of| of == device, &[What::State, What::Availability]),
                None => broker.mark(|_| true, &ALL),
            }
        }
    }

    /// Something happened at an appliance: told now or never.
    pub(super) fn hass_moment(&mut self, id: DeviceId, event: &str, value: &str) {
        for nth in 0..self.hass.len() {
            let told =
                self.is_told(nth, id) && self.house.device(id).is_some_and(|device| !device.isolated());
            let Some(broker) = self.hass.get(nth).filter(|broker| told && broker.up && !self.leaving) else {
                continue;
            };
            let who = broker.config.user.clone().map(Identity::User);
            let Some(device) = self.house.device(id) else { continue };
            let scope = Scope { access: &self.config.access, who: who.as_ref(), device };
            if !scope.sees(event) {
                continue;
            }
            let topic = Topics::new(&broker.config, device.id()).event(event);
            let payload = serde_json::json!({"event_type": value}).to_string();
            let waiting = broker.open.len() - broker.documents_open();
            if waiting < TELLING_EVENTS {
                self.tell_broker(nth, Sent::Moment, &topic, payload.into(), false);
            } else if let Some(broker) = self.hass.get_mut(nth) {
                broker.counts.lost_events = broker.counts.lost_events.saturating_add(1);
            }
        }
    }

    /// The end is near: whoever comes later must not believe that anything is there.
    pub(super) fn leave_hass(&mut self) {
        for broker in &mut self.hass {
            broker.todo.clear();
            broker.mark(|_| true, &[What::Availability]);
        }
    }

    /// Tells what is new, as far as the brokers have room. At the end of every input.
    pub(super) fn on_hass_deadlines(&mut self, now: Now) {
        for nth in 0..self.hass.len() {
            let Some(broker) = self.hass.get_mut(nth) else { continue };
            if broker.again_at.is_some_and(|at| at <= now.mono) {
                (broker.again_at, broker.last_birth) = (None, Some(now.mono));
                broker.anew();
            }
            if broker.retry_at.is_some_and(|at| at <= now.mono) {
                broker.retry_at = None;
            }
            while let Some(broker) = self.hass.get_mut(nth)
                && broker.up
                && broker.retry_at.is_none()
                && broker.documents_open() < TELLING
            {
                if let Some(topic) = broker.clearing.pop_front() {
                    self.tell_broker(nth, Sent::Clearing(topic.clone()), &topic, Bytes::new(), true);
                } else if let Some((of, what)) = broker.todo.pop_first() {
                    self.tell_of(nth, of, what);
                } else {
                    break;
                }
            }
        }
    }

    fn tell_of(&mut self, nth: usize, of: usize, what: What) {
        let Some((topic, document)) = self.document(nth, of, what) else { return };
        let mut hasher = siphasher::sip::SipHasher13::new_with_key(&self.tag_key);
        let text = document.unwrap_or_default();
        hasher.write(text.as_bytes());
        let hash = Some(hasher.finish());
        let Some(slot) = self.hass.get_mut(nth).and_then(|broker| broker.told.get_mut(of)) else { return };
        let Some(sent) = slot.sent.get_mut(what as usize) else { return };
        if *sent != hash {
            *sent = hash;
            self.tell_broker(nth, Sent::Document(of, what), &topic, text.into(), true);
        }
    }

    /// The topic, and what is to stand there; nothing of what may not be seen (any more).
    fn document(&mut self, nth: usize, of: usize, what: What) -> Option<(String, Option<String>)> {
        let leaving = self.leaving;
        let Self { hass, house, config, run, .. } = self;
        let broker = hass.get_mut(nth)?;
        let id = *broker.config.devices.get(of)?;
        let device = house.device(id)?;
        let masked = device.isolated().then(|| device.masked(run.began_ms));
        let device = masked.as_ref().unwrap_or(device);
        let who = broker.config.user.clone().map(Identity::User);
        let scope = Scope { access: &config.access, who: who.as_ref(), device };
        let topics = Topics::new(&broker.config, device.id());
        let told = broker.told.get_mut(of)?;
        let topic = topics.of(what);
        if !scope.shows_anything() {
            // Where nothing was told there is nothing to take back.
            return told.sent.get(what as usize)?.is_some().then_some((topic, None));
        }
        let text = match what {
            What::Description => {
                let status = &broker.config.status;
                let described = document::description(&scope, &topics, status, &told.components);
                told.components = described.components;
                described.text
            }
            What::State => document::state(&scope),
            What::Availability if leaving => "offline".to_owned(),
            What::Availability => document::availability(&scope).to_owned(),
        };
        Some((topic, Some(text)))
    }

    fn tell_broker(&mut self, nth: usize, sent: Sent, topic: &str, payload: Bytes, retained: bool) {
        let Some(broker) = self.hass.get_mut(nth) else { return };
        let (id, channel) = (self.house.spare_op(), Channel::new(topic));
        broker.open.insert(id, sent);
        let op = Op::Publish { id, channel, payload, retained };
        self.outputs.push_back(Output::Drive { link: broker.config.link, op });
    }

    /// What became of a publication.
    fn told(&mut self, nth: usize, id: OpId, result: &Result<(), driver::Failure>, now: Now) {
        let Some(broker) = self.hass.get_mut(nth) else { return };
        let Some(sent) = broker.open.remove(&id) else { return };
        let Err(failure) = result else { return };
        if let Failure::Refused(why) = failure {
            broker.counts.refused = broker.counts.refused.saturating_add(1);
            // The first says it for all.
            if broker.counts.refused == 1 {
                let link = self.config.links.get(broker.config.link.0).map(Link::title).unwrap_or_default();
                let why = format!("Home Assistant is not told of everything: {why}");
                self.outputs.push_back(Output::Tell(Notice::Trouble { link, why }));
            }
            return;
        }
        match sent {
            Sent::Document(of, what) => {
                broker.unsay(of, what);
                broker.todo.insert((of, what));
            }
            Sent::Clearing(topic) => broker.clearing.push_front(topic),
            Sent::Moment => broker.counts.lost_events = broker.counts.lost_events.saturating_add(1),
        }
        // Also when the link is gone, which is about to be told: nothing is tried in circles.
        broker.retry_at = Some(now.mono + RETRY);
    }

    /// Whether Home Assistant is told of an appliance.
    fn is_told(&self, nth: usize, id: DeviceId) -> bool {
        let Some(broker) = self.hass.get(nth).filter(|broker| broker.config.devices.contains(&id)) else {
            return false;
        };
        let Some(device) = self.house.device(id) else { return false };
        let user = broker.config.user.clone().map(Identity::User);
        user.is_none_or(|user| self.config.access.may_see(&user, device.id(), device.room()))
    }

    /// An earlier run announced it here, and it is not announced any more: it must not look alive.
    fn clear_if_gone(&mut self, nth: usize, device: &str) {
        let gone = crate::config::names::is_id(device)
            && !self.house.find(device).is_some_and(|(id, _)| self.is_told(nth, id));
        if let Some(broker) = self.hass.get_mut(nth).filter(|_| gone) {
            let topics = topics_of(&broker.config, device);
            broker.clear(topics);
        }
    }

    pub(super) fn hass_status(&self) -> Vec<HassStatus> {
        let status = |(nth, broker): (usize, &Broker)| HassStatus {
            broker: self
                .config
                .links
                .get(broker.config.link.0)
                .map(|link| link.name.clone())
                .unwrap_or_default(),
            devices: broker.config.devices.iter().filter(|id| self.is_told(nth, **id)).count(),
            waiting: broker.todo.len() + broker.open.len() + broker.clearing.len(),
            user: broker.config.user.clone(),
            counts: broker.counts,
        };
        self.hass.iter().enumerate().map(status).collect()
    }
}

/// What Home Assistant is told over one broker.
#[derive(Clone, Debug, Serialize)]
pub struct HassStatus {
    /// The broker's name.
    pub broker: String,
    /// Appliances that are announced.
    pub devices: usize,
    /// Documents that are not with the broker yet.
    pub waiting: usize,
    /// Whose rights it has.
    pub user: Option<String>,
    /// What was not carried out or told.
    pub counts: Counts,
}

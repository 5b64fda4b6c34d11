//! What another gateway tells of an appliance that hangs there.
//!
//! It sends the whole state each time. So what it leaves out it does not know, and what it does not
//! believe is not believed here either.

use std::borrow::Cow;

use sipliance_driver::OpId;

use super::{House, Owner};
use crate::config::{DeviceId, LinkId};
use crate::device::codec::{self, Payload};
use crate::device::profile::{Model, Source};
use crate::device::shadow::{Health, Reading};
use crate::device::value::{Kind, Value};
use crate::timer::Now;

/// One item of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// Its name: that of a property, or of an event.
    pub item: &'a str,
    /// The value as a profile spells it.
    pub text: Cow<'a, str>,
    /// When it was read there, in milliseconds since 1970 by the clock there; `None`: nobody knows.
    pub at_ms: Option<i64>,
    /// How it is meant.
    pub sort: Sort,
}

/// How a [`Told`] is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// The value now, or an event.
    Value,
    /// The last value known there, which is not believed there.
    Last,
    /// The goal of a value that moves.
    Goal,
}

impl House {
    /// Takes the whole state of a device as its own gateway tells it. The link must be up.
    pub fn told(&mut self, id: DeviceId, health: Health, items: &[Told<'_>], now: Now) {
        self.follow_clock(now);
        let Some(model) = self.device(id).map(|device| device.model_arc()) else { return };
        // Health first: it decides how the rest is believed.
        self.health(id.0, health, now);
        // What is unreachable there is not believed for that; only otherwise it is too old.
        let reached = matches!(health, Health::Online | Health::Asleep);
        for (index, of) in model.properties.iter().enumerate() {
            let is = |told: &&Told<'_>| {
                let named = |source: &Source| matches!(source, Source::Item(name) if **name == *told.item);
                of.reads.iter().any(|read| named(&read.source))
            };
            let mut values = items.iter().filter(is);
            let value = values.clone().find(|told| told.sort != Sort::Goal);
            self.value_told(id.0, index, &model, value.map(|told| (told, reached)), now);
            let goal = values.find(|told| told.sort == Sort::Goal);
            self.goal_told(id.0, index, &of.kind, goal);
        }
        for told in items.iter().filter(|told| told.sort == Sort::Value) {
            self.event_told(id.0, &model, told, now);
        }
        self.report(now);
    }

    /// The other gateway says that the command whose operation this is was proved there by a reading:
    /// that reading counts here.
    pub fn proved(&mut self, link: LinkId, op: OpId, now: Now) {
        self.follow_clock(now);
        let owner = self.ops.get(&op).cloned();
        self.done(link.0, op, &Ok(()), now);
        if let Some(Owner::Command(index, command)) = owner
            && let Some((property, value)) = self.awaited(index, command)
        {
            self.take_far(index, property, value, Some(now.wall_ms), false, now);
            let shown = self.devices.get(index).and_then(|device| device.shadow.reading(property)).cloned();
            if let Some(reading) = shown {
                self.proof_heard(index, property, &reading.value, now);
            }
        }
        self.report(now);
    }

    fn value_told(
        &mut self,
        index: usize,
        property: usize,
        model: &Model,
        told: Option<(&Told<'_>, bool)>,
        now: Now,
    ) {
        let Some(of) = model.properties.get(property) else { return };
        let value = told.map(|(told, _)| {
            let named = |source: &Source| matches!(source, Source::Item(name) if **name == *told.item);
            let read = of.reads.iter().find(|read| named(&read.source));
            let payload = Payload::new(told.text.as_bytes());
            read.map_or(Err(codec::Dropped::NotMine), |read| codec::value(read, &of.kind, &payload))
        });
        match (told, value) {
            (Some((told, reached)), Some(Ok(value))) => {
                let old = reached && told.sort == Sort::Last;
                self.take_far(index, property, value, told.at_ms, old, now);
            }
            (_, dropped) => {
                let Some(device) = self.devices.get_mut(index) else { return };
                if let Some(Err(why)) = dropped {
                    device.session.count(why);
                }
                if device.shadow.age(property) {
                    self.touch(index, true);
                }
            }
        }
    }

    /// A reading that was made elsewhere, perhaps long ago.
    fn take_far(
        &mut self,
        index: usize,
        property: usize,
        value: Value,
        at_ms: Option<i64>,
        old: bool,
        now: Now,
    ) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let before = device.shadow.reading(property);
        let changed = before.is_some_and(|before| before.value != value);
        // A change that happened while nobody told it is known, and no event.
        let seen = changed && !old && before.is_some_and(|before| before.since_up);
        let Some(state) = device.session.properties.get_mut(property) else { return };
        state.changes = state.changes.saturating_add(u32::from(changed));
        state.read_at = Some(now.mono);
        // Clocks differ: nothing was read in the future.
        let at_ms = at_ms.map(|at_ms| at_ms.min(now.wall_ms));
        device.shadow.read(property, Reading { value: value.clone(), at_ms, stale: old, since_up: true });
        self.touch(index, false);
        if seen {
            self.change_events(index, property, &value, now);
            // The whole state comes with every change: only what changed is newer than a command.
            self.proof_heard(index, property, &value, now);
        }
    }

    fn goal_told(&mut self, index: usize, property: usize, kind: &Kind, told: Option<&Told<'_>>) {
        let Some(device) = self.devices.get(index) else { return };
        let goal = match told {
            Some(told) => kind.parse(&told.text).ok(),
            // Nothing moves any more: the goal is where it is.
            None if device.shadow.target(property).is_some() => {
                device.shadow.reading(property).map(|reading| reading.value.clone())
            }
            None => None,
        };
        if let Some(goal) = goal {
            self.aim(index, property, goal);
        }
    }

    fn event_told(&mut self, index: usize, model: &Model, told: &Told<'_>, now: Now) {
        let named = |source: &Source| matches!(source, Source::Item(name) if **name == *told.item);
        let found = model.events.iter().enumerate().find(|(_, event)| named(&event.from.source));
        let Some((event, of)) = found else { return };
        let kind = Kind::Enum(of.values.clone().into());
        match codec::value(&of.from, &kind, &Payload::new(told.text.as_bytes())) {
            Ok(value) => self.happened(index, event, &value.plain(), now),
            Err(why) => {
                if let Some(device) = self.devices.get_mut(index) {
                    device.session.count(why);
                }
            }
        }
    }
}

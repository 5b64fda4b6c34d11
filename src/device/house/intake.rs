//! A payload becomes readings and events.

use std::time::Instant;

use sipliance_driver::Channel;

use super::wiring::{Route, What};
use super::{Due, Effect, House};
use crate::config::DeviceId;
use crate::device::codec::{self, Dropped, Payload};
use crate::device::profile::{Online, Read, Source};
use crate::device::shadow::Reading;
use crate::device::value::{Kind, Value};
use crate::timer::Now;

impl House {
    /// Something arrived on a link.
    pub(super) fn heard(&mut self, wire: usize, channel: &Channel, bytes: &[u8], retained: bool, now: Now) {
        let Some(state) = self.wires.get(wire) else { return };
        let routes = match state.serial {
            true => state.frames.clone(),
            false => match state.routes.get(channel) {
                Some(routes) => routes.clone(),
                None => return,
            },
        };
        let (serial, spelled) = (state.serial, state.hex.then(|| codec::hex(bytes)));
        let payload = Payload::new(spelled.as_deref().map_or(bytes, str::as_bytes));
        let busy = state.busy;
        let mut took = Vec::new();
        let (mut puzzled, mut read) = (None, false);
        for route in routes.iter() {
            match self.take(*route, &payload, retained, now) {
                Err(Dropped::NotMine) => continue,
                Err(why) if why.is_puzzling() => puzzled = puzzled.or(Some(route.device)),
                Ok(()) => read = true,
                Err(_) => {}
            }
            if serial {
                took.push(*route);
            }
        }
        if let Some(index) = puzzled.filter(|_| !read) {
            self.unread(index, &payload);
        }
        if serial {
            self.frame_heard(wire, busy, &payload, &took, now);
        }
    }

    /// Something came that nothing in the profile fits.
    pub(super) fn unread(&mut self, index: usize, payload: &Payload<'_>) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let first = device.session.unread.is_none();
        let unread = device.session.unread.get_or_insert_default();
        unread.count = unread.count.saturating_add(1);
        unread.last = payload.quoted();
        if first {
            self.effects.push_back(Effect::Unread { device: DeviceId(index) });
        }
    }

    fn take(&mut self, route: Route, payload: &Payload<'_>, retained: bool, now: Now) -> Result<(), Dropped> {
        let index = route.device;
        let Some(device) = self.devices.get(index) else { return Err(Dropped::NotMine) };
        let model = device.model_arc();
        let result = match route.what {
            What::Online => match &model.online {
                Online::Topic(read) => said(read, &Kind::Text, payload, retained)
                    .map(|word| self.health_said(index, &word, retained, now)),
                Online::Link | Online::Silent(_) | Online::Fails(_) => Ok(()),
            },
            What::Property(property, read) => {
                let of = model.properties.get(property).and_then(|of| Some((of, of.reads.get(read)?)));
                let Some((of, read)) = of else { return Err(Dropped::NotMine) };
                said(read, &of.kind, payload, retained)
                    .map(|value| self.held(index, property, read.hold, value, retained, now))
            }
            What::Target(property) => {
                let of = model.properties.get(property).and_then(|of| Some((of, of.target.as_ref()?)));
                let Some((of, read)) = of else { return Err(Dropped::NotMine) };
                said(read, &of.kind, payload, retained).map(|value| self.aim(index, property, value))
            }
            What::Event(event) => self.event(index, event, payload, retained, now),
        };
        match result {
            Err(Dropped::NotMine) => return result,
            Err(why) => {
                if let Some(device) = self.devices.get_mut(index) {
                    device.session.count(why);
                }
                // A deleted retained message is no sign of life.
                if why == Dropped::Empty {
                    return result;
                }
            }
            Ok(()) => {}
        }
        if !matches!(route.what, What::Online) {
            self.spoke(index, retained, now);
        }
        result
    }

    /// A value was heard.
    pub(super) fn reading(&mut self, index: usize, property: usize, value: Value, retained: bool, now: Now) {
        if self.unsettled(index, property, &value, now) {
            return;
        }
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        let Some(of) = model.properties.get(property) else { return };
        let old = device.shadow.reading(property);
        // A stored copy tells nothing new where something was heard live.
        if retained && old.is_some_and(|old| old.at_ms.is_some() && (old.since_up || old.value == value)) {
            return;
        }
        let Some(state) = device.session.properties.get_mut(property) else { return };
        let changed = old.is_some_and(|old| old.value != value);
        // A change that happened while the link was down is known, and no event.
        let seen = changed && !retained && old.is_some_and(|old| old.since_up);
        state.changes = state.changes.saturating_add(u32::from(changed));
        state.read_at = Some(now.mono);
        let arm = of.stale_after.filter(|_| !retained && !state.stale_timer);
        state.stale_timer |= arm.is_some();
        device.shadow.read(
            property,
            Reading {
                value: value.clone(),
                at_ms: (!retained).then_some(now.wall_ms),
                stale: retained && of.stale_after.is_some(),
                since_up: true,
            },
        );
        if let Some(after) = arm {
            self.deadlines.set(now.mono + after, Due::Stale(index, property));
        }
        self.touch(index, false);
        if seen {
            self.change_events(index, property, &value, now);
        }
        if !retained {
            self.proof_heard(index, property, &value, now);
        }
    }

    /// Events that are a change of this property.
    pub(super) fn change_events(&mut self, index: usize, property: usize, value: &Value, now: Now) {
        let Some(model) = self.devices.get(index).map(|device| device.model_arc()) else { return };
        for (event, of) in model.events.iter().enumerate() {
            let Source::Property(source) = of.from.source else { continue };
            let word = of.from.map.as_ref().filter(|_| source == property);
            if let Some(word) = word.and_then(|map| map.value(&value.plain())) {
                self.happened(index, event, &word.plain(), now);
            }
        }
    }

    pub(super) fn aim(&mut self, index: usize, property: usize, goal: Value) {
        if self.devices.get_mut(index).is_some_and(|device| device.shadow.aim(property, goal)) {
            self.touch(index, true);
        }
    }

    /// Inside `settle`, a reading waits.
    fn unsettled(&mut self, index: usize, property: usize, value: &Value, now: Now) -> bool {
        let Some(until) = self.settles_at(index, property).filter(|until| *until > now.mono) else {
            return false;
        };
        let device = self.devices.get_mut(index);
        let Some(state) = device.and_then(|device| device.session.properties.get_mut(property)) else {
            return false;
        };
        if state.waiting.replace(value.clone()).is_none() {
            self.deadlines.set(until, Due::Settle(index, property));
        }
        true
    }

    fn settles_at(&self, index: usize, property: usize) -> Option<Instant> {
        let device = self.devices.get(index)?;
        let settle = device.model().properties.get(property)?.settle?;
        Some(self.wires.get(device.link().0)?.first_up? + settle)
    }

    pub(super) fn settled(&mut self, index: usize, property: usize, now: Now) {
        let device = self.devices.get_mut(index);
        let state = device.and_then(|device| device.session.properties.get_mut(property));
        if let Some(value) = state.and_then(|state| state.waiting.take()) {
            self.reading(index, property, value, false, now);
        }
    }

    /// Has the value of a property grown too old?
    pub(super) fn check_stale(&mut self, index: usize, property: usize, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        let after = model.properties.get(property).and_then(|of| of.stale_after);
        let state = device.session.properties.get_mut(property);
        let (Some(after), Some(state)) = (after, state) else { return };
        state.stale_timer = false;
        match state.read_at.map(|at| at + after) {
            Some(at) if at > now.mono => {
                state.stale_timer = true;
                self.deadlines.set(at, Due::Stale(index, property));
            }
            _ => {
                if device.shadow.age(property) {
                    self.touch(index, true);
                }
            }
        }
    }

    /// A value that may have to wait: with `hold`, true becomes false only after a while.
    fn held(
        &mut self,
        index: usize,
        property: usize,
        hold: Option<std::time::Duration>,
        value: Value,
        retained: bool,
        now: Now,
    ) {
        let Some(hold) = hold.filter(|_| !retained) else {
            return self.reading(index, property, value, retained, now);
        };
        let Some(device) = self.devices.get_mut(index) else { return };
        // What was true before the link went down may have ended long ago.
        let shown = device.shadow.reading(property).filter(|old| old.since_up).map(|old| &old.value);
        let Some(state) = device.session.properties.get_mut(property) else { return };
        let was = state.waiting.as_ref().or(shown) == Some(&Value::Bool(true));
        if value == Value::Bool(true) || !was {
            state.hold_until = None;
            return self.reading(index, property, value, retained, now);
        }
        if state.hold_until.is_none() {
            state.hold_until = Some(now.mono + hold);
            self.deadlines.set(now.mono + hold, Due::Hold(index, property));
        }
        // Held means still true, as of now.
        self.reading(index, property, Value::Bool(true), false, now);
    }

    /// It was false for long enough, unless it became true again.
    pub(super) fn hold_over(&mut self, index: usize, property: usize, now: Now) {
        let device = self.devices.get_mut(index);
        let Some(state) = device.and_then(|device| device.session.properties.get_mut(property)) else {
            return;
        };
        if state.hold_until.is_some_and(|until| until <= now.mono) {
            state.hold_until = None;
            self.reading(index, property, Value::Bool(false), false, now);
        }
    }

    fn event(
        &mut self,
        index: usize,
        event: usize,
        payload: &Payload<'_>,
        retained: bool,
        now: Now,
    ) -> Result<(), Dropped> {
        let Some(model) = self.devices.get(index).map(|device| device.model_arc()) else { return Ok(()) };
        let Some(of) = model.events.get(event) else { return Ok(()) };
        if retained {
            return Err(Dropped::Retained);
        }
        if matches!(of.from.source, Source::Line { .. }) {
            return self.line_event(index, event, payload, now);
        }
        let kind = Kind::Enum(of.values.clone().into());
        let value = codec::value(&of.from, &kind, payload)?;
        self.happened(index, event, &value.plain(), now);
        Ok(())
    }

    /// Raises an event unless `quiet` says that it is too soon.
    pub(super) fn happened(&mut self, index: usize, event: usize, word: &str, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        let state = device.session.events.get_mut(event);
        let (Some(of), Some(state)) = (model.events.get(event), state) else { return };
        if state.quiet_until.is_some_and(|until| until > now.mono) {
            device.session.quieted = device.session.quieted.saturating_add(1);
            return;
        }
        state.quiet_until = of.quiet.map(|quiet| now.mono + quiet);
        let Some(value) = of.values.iter().find(|value| ***value == *word) else { return };
        let (event, value) = (of.id.clone(), value.clone());
        self.effects.push_back(Effect::Happened { device: DeviceId(index), event, value });
    }
}

fn said(read: &Read, kind: &Kind, payload: &Payload<'_>, retained: bool) -> Result<Value, Dropped> {
    if retained && !read.retained {
        return Err(Dropped::Retained);
    }
    codec::value(read, kind, payload)
}

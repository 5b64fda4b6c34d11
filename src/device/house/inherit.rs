//! A house that goes on from another one: the appliances of a configuration that was read again.
//!
//! What nothing changed for goes on as if nothing had happened: its values, its command under way, its
//! queries, its timers. A link that stays is not asked anew, and an appliance that hangs on it anew is
//! greeted alone.

use std::collections::BTreeSet;

use sipliance_driver::{Channel, Op, OpId};

use super::bus::Waiting;
use super::{Due, House, Owner, Session};
use crate::config::change::{Change, alike};
use crate::config::{DeviceConfig, DeviceId, LinkId};
use crate::device::profile::Model;
use crate::timer::Now;

impl House {
    /// These appliances on so many links, going on from `old`, whose commands go over to it. Commands of
    /// appliances that [`Change::is_untouched`] does not name must have been answered by the caller:
    /// they end here, and what their driver says later finds nothing.
    pub fn after(
        old: &mut Self,
        (devices, links): (&[DeviceConfig], usize),
        change: &Change,
        now: Now,
    ) -> Self {
        let mut house = Self::silent(devices, links, now);
        house.clock = old.clock;
        house.follow_clock(now);
        // A late answer to an operation of the old house finds nothing in the new one.
        (house.last_op, house.last_command) = (old.last_op, old.last_command);
        house.effects.append(&mut old.effects);
        for index in 0..old.devices.len() {
            if let Some(to) = change.device(DeviceId(index)) {
                house.take_device(old, index, to.0, change, now);
            }
        }
        for wire in 0..house.wires.len() {
            house.take_wire(old, wire, change);
        }
        house.take_ops(old, change);
        house.take_deadlines(old, change);
        for wire in 0..house.wires.len() {
            house.greet(old, wire, change, now);
        }
        house.report(now);
        house
    }

    /// What is known of one appliance, and what is under way there.
    fn take_device(&mut self, old: &mut Self, index: usize, to: usize, change: &Change, now: Now) {
        let link = old.devices.get(index).and_then(|device| change.link(device.link()));
        let (Some(before), Some(device)) = (old.devices.get_mut(index), self.devices.get_mut(to)) else {
            return;
        };
        let same_name = (before.name(), before.room(), before.kind(), before.hidden())
            == (device.name(), device.room(), device.kind(), device.hidden());
        if change.is_untouched(DeviceId(index)) {
            device.shadow = before.shadow.clone();
            let nothing = Session::new(before.model());
            device.session = std::mem::replace(&mut before.session, nothing);
            if !same_name {
                device.shadow.renew();
                self.touch(to, true);
            }
            return;
        }
        let (model, from) = (device.model_arc(), before.model_arc());
        let same_online = alike(&model.online, &from.online);
        device.shadow.inherit(before.shadow(), link.is_some(), same_online, |index| {
            same_property(&model, index, &from)
        });
        for (index, of) in model.properties.iter().enumerate() {
            let (Some(after), Some(reading)) = (of.stale_after, device.shadow.reading(index)) else {
                continue;
            };
            let (false, Some(at_ms)) = (reading.stale, reading.at_ms) else { continue };
            let age = u64::try_from(now.wall_ms.saturating_sub(at_ms)).unwrap_or(0);
            let age = std::time::Duration::from_millis(age);
            let Some(state) = device.session.properties.get_mut(index) else { continue };
            state.read_at = now.mono.checked_sub(age);
            state.stale_timer = true;
            self.deadlines.set(now.mono + after.saturating_sub(age), Due::Stale(to, index));
        }
        self.touch(to, true);
    }

    /// What goes on at a link that stays: what is being asked, and what waits to be.
    fn take_wire(&mut self, old: &Self, to: usize, change: &Change) {
        let Some((before, _)) = change.link_before(LinkId(to)) else { return };
        let (Some(from), Some(wire)) = (old.wires.get(before.0), self.wires.get_mut(to)) else { return };
        (wire.up, wire.first_up, wire.busy) = (from.up, from.first_up, from.busy);
        wire.wait = from.wait.clone();
        let moved = |index: usize| change.device(DeviceId(index)).map(|device| device.0);
        let same_poll = |nth: usize| {
            let poll = from.polls.get(nth)?;
            let device = moved(poll.device)?;
            wire.polls.iter().position(|other| other.device == device && other.ask == poll.ask)
        };
        let places: Vec<Option<usize>> = (0..from.polls.len()).map(same_poll).collect();
        let place = |nth: usize| places.get(nth).copied().flatten();
        wire.queries = from.queries.iter().filter_map(|(nth, tries)| Some((place(*nth)?, *tries))).collect();
        wire.commands = from
            .commands
            .iter()
            .filter(|waiting| change.is_untouched(DeviceId(waiting.device)))
            .filter_map(|Waiting { device, command, what }| {
                Some(Waiting { device: moved(*device)?, command: *command, what: what.clone() })
            })
            .collect();
        for (nth, poll) in from.polls.iter().enumerate() {
            let new = place(nth).and_then(|nth| wire.polls.get_mut(nth));
            let Some(new) = new.filter(|new| new.every == poll.every) else { continue };
            new.due = poll.due;
            if let (Some(at), Some(nth)) = (poll.due, place(nth)) {
                self.deadlines.set(at, Due::Poll(to, nth));
            }
        }
    }

    /// Operations under way: whoever sent one may be gone, and then its end only frees the port.
    fn take_ops(&mut self, old: &Self, change: &Change) {
        let link = |wire: usize| change.link(LinkId(wire)).map(|kept| kept.to.0);
        let moved = |index: usize| change.device(DeviceId(index)).map(|device| device.0);
        let mut ops: Vec<(OpId, Owner)> = old.ops.iter().map(|(id, owner)| (*id, owner.clone())).collect();
        ops.sort_unstable_by_key(|(id, _)| id.0);
        for (id, owner) in ops {
            let owner = match owner {
                Owner::Hello(wire) => link(wire).map(Owner::Hello),
                Owner::Command(device, command) => {
                    let goes_on = change.is_untouched(DeviceId(device));
                    let wire = old.devices.get(device).and_then(|device| link(device.link().0));
                    match moved(device).filter(|_| goes_on) {
                        Some(device) => Some(Owner::Command(device, command)),
                        None => wire.map(Owner::Hello),
                    }
                }
                Owner::Query(wire, nth, tries) => link(wire).map(|to| {
                    let ask = old.wires.get(wire).and_then(|wire| wire.polls.get(nth));
                    let polls = self.wires.get(to).map(|wire| wire.polls.as_slice()).unwrap_or_default();
                    let same = ask.and_then(|ask| {
                        let device = moved(ask.device)?;
                        polls.iter().position(|poll| poll.device == device && poll.ask == ask.ask)
                    });
                    same.map_or(Owner::Hello(to), |nth| Owner::Query(to, nth, tries))
                }),
            };
            if let Some(owner) = owner {
                self.ops.insert(id, owner);
            }
        }
    }

    /// Timers of what goes on. Those of queries are set by [`House::take_wire`].
    fn take_deadlines(&mut self, old: &mut Self, change: &Change) {
        let device = |index: usize| {
            let goes_on = change.is_untouched(DeviceId(index));
            change.device(DeviceId(index)).filter(|_| goes_on).map(|device| device.0)
        };
        for (at, due) in old.deadlines.take() {
            let due = match due {
                Due::Stale(index, nth) => device(index).map(|index| Due::Stale(index, nth)),
                Due::Settle(index, nth) => device(index).map(|index| Due::Settle(index, nth)),
                Due::Hold(index, nth) => device(index).map(|index| Due::Hold(index, nth)),
                Due::Click(index, nth) => device(index).map(|index| Due::Click(index, nth)),
                Due::Silent(index) => device(index).map(Due::Silent),
                Due::Report(index) => device(index).map(Due::Report),
                Due::Command(index, command) => device(index).map(|index| Due::Command(index, command)),
                Due::Poll(..) => None,
                Due::Bus(wire, op) => change.link(LinkId(wire)).map(|kept| Due::Bus(kept.to.0, op)),
            };
            if let Some(due) = due {
                self.deadlines.set(at, due);
            }
        }
    }

    /// Says to a link what to listen to that it does not know, and asks those how they are that are new
    /// there.
    fn greet(&mut self, old: &Self, wire: usize, change: &Change, now: Now) {
        let before = change.link_before(LinkId(wire));
        let Some(state) = self.wires.get(wire) else { return };
        let up = state.up;
        let new: BTreeSet<usize> = match before {
            None => state.devices.iter().copied().collect(),
            Some(_) => {
                let goes_on = |to: usize| {
                    let mut all = (0..old.devices.len()).map(DeviceId);
                    all.any(|old| change.device(old) == Some(DeviceId(to)) && change.is_untouched(old))
                };
                state.devices.iter().copied().filter(|device| !goes_on(*device)).collect()
            }
        };
        let known = before.and_then(|(before, _)| old.wires.get(before.0));
        let known: BTreeSet<&Channel> = known.map(|wire| wire.watches.iter().collect()).unwrap_or_default();
        let of_new = |channel: &Channel| {
            let routes = state.routes.get(channel);
            routes.is_some_and(|routes| routes.iter().any(|route| new.contains(&route.device)))
        };
        // What somebody new listens to is watched again: the broker repeats what it has kept.
        let watches: Vec<Channel> = state
            .watches
            .iter()
            .filter(|channel| !known.contains(channel) || of_new(channel))
            .cloned()
            .collect();
        for channel in watches {
            self.drive(wire, Op::Watch { channel });
        }
        if !up || before.is_none() {
            return;
        }
        for device in &new {
            self.device_up(wire, *device, now);
        }
        let Some(state) = self.wires.get(wire) else { return };
        let polls: Vec<usize> = (0..state.polls.len())
            .filter(|nth| state.polls.get(*nth).is_some_and(|poll| new.contains(&poll.device)))
            .collect();
        for nth in polls {
            self.begin_poll(wire, nth, now);
        }
    }
}

/// The property of the old model that is the same one: of that name, of that type, read the same way.
/// What is read from elsewhere now says nothing about the appliance that is there.
fn same_property(model: &Model, index: usize, from: &Model) -> Option<usize> {
    let of = model.properties.get(index)?;
    let at = from.property(&of.id)?;
    let before = from.properties.get(at)?;
    (before.kind == of.kind && alike(&before.reads, &of.reads)).then_some(at)
}

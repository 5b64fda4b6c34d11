//! A link comes and goes.

use sipliance_driver::Op;

use super::running::Fate;
use super::{Due, House, Owner};
use crate::device::codec::{Outgoing, compose};
use crate::device::profile::{DriverKind, LinkNeeds, Online};
use crate::device::shadow::Health;
use crate::device::value::Value;
use crate::timer::Now;

impl House {
    /// The link works (again): ask what the state is. Nothing is set, nothing is driven.
    pub(super) fn link_up(&mut self, wire: usize, now: Now) {
        let Some(state) = self.wires.get_mut(wire) else { return };
        state.up = true;
        state.first_up.get_or_insert(now.mono);
        for device in state.devices.clone() {
            self.device_up(wire, device, now);
        }
        self.start_polling(wire, now);
    }

    pub(super) fn device_up(&mut self, wire: usize, index: usize, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        device.shadow.link_is(true, now.wall_ms);
        device.session.fails = 0;
        device.session.trouble = false;
        device.session.heard_at = Some(now.mono);
        device.session.events.iter_mut().for_each(|event| event.button.forget());
        if model.driver == DriverKind::Gpio && matches!(model.online, Online::Link) {
            device.shadow.health_is(Health::Online, now.wall_ms);
        }
        self.touch(index, true);
        if let Online::Silent(silent) = model.online {
            self.arm_silent(index, silent, now);
        }
        if let LinkNeeds::Mqtt { hello } = &model.link {
            for query in hello.iter().filter_map(|query| compose(query, &[], None).ok()) {
                self.say_hello(wire, query);
            }
        }
    }

    fn say_hello(&mut self, wire: usize, query: Outgoing) {
        let id = self.new_op(Owner::Hello(wire));
        self.drive(wire, Op::Write { id, channel: query.channel, payload: query.payload });
    }

    /// The link is gone: values stay, and are not believed meanwhile.
    pub(super) fn link_down(&mut self, wire: usize, now: Now) {
        let Some(state) = self.wires.get_mut(wire) else { return };
        state.up = false;
        state.busy = None;
        state.commands.clear();
        state.queries.clear();
        state.polls.iter_mut().for_each(|poll| (poll.due, poll.missed) = (None, false));
        let devices = state.devices.clone();
        for &index in &devices {
            self.conclude(index, Fate::LinkLost, now);
            let Some(device) = self.devices.get_mut(index) else { continue };
            device.shadow.link_is(false, now.wall_ms);
            device.session.properties.iter_mut().for_each(|state| state.hold_until = None);
            device.session.events.iter_mut().for_each(|event| event.button.forget());
            self.touch(index, true);
        }
        self.ops.retain(|_, owner| match owner {
            Owner::Hello(of) | Owner::Query(of, _, _) => *of != wire,
            Owner::Command(device, _) => !devices.contains(device),
        });
    }

    pub(super) fn arm_silent(&mut self, index: usize, after: std::time::Duration, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        if !device.session.silent_timer {
            device.session.silent_timer = true;
            self.deadlines.set(now.mono + after, Due::Silent(index));
        }
    }

    /// Silent for longer than the profile allows?
    pub(super) fn check_silent(&mut self, index: usize, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        device.session.silent_timer = false;
        let Online::Silent(silent) = device.model().online else { return };
        if !device.shadow.link_up() {
            return;
        }
        match device.session.heard_at.map(|at| at + silent) {
            Some(at) if at > now.mono => {
                device.session.silent_timer = true;
                self.deadlines.set(at, Due::Silent(index));
            }
            _ => self.health(index, Health::Offline, now),
        }
    }

    pub(super) fn health(&mut self, index: usize, health: Health, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        if device.shadow.health_is(health, now.wall_ms) {
            self.touch(index, true);
        }
    }

    /// A word from the device on its own health.
    pub(super) fn health_said(&mut self, index: usize, word: &Value, retained: bool, now: Now) {
        let health = match word.plain().as_str() {
            "online" => Health::Online,
            "asleep" => Health::Asleep,
            _ => Health::Offline,
        };
        if let Some(device) = self.devices.get_mut(index) {
            device.session.health_retained = retained;
        }
        self.health(index, health, now);
    }

    /// Anything came from the device. What that says about its health depends on the profile.
    pub(super) fn spoke(&mut self, index: usize, retained: bool, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        let recovered = !retained && std::mem::take(&mut device.session.trouble);
        if !retained {
            device.session.heard_at = Some(now.mono);
            device.session.fails = 0;
        }
        let known = device.shadow.health();
        let alive = match &model.online {
            Online::Link => true,
            // Live data is newer than a stored word; a live word is believed.
            Online::Topic(_) => !retained && (known == Health::Unknown || device.session.health_retained),
            Online::Silent(_) | Online::Fails(_) => !retained,
        };
        if alive && known != Health::Online {
            self.health(index, Health::Online, now);
        }
        if let Online::Silent(silent) = model.online {
            self.arm_silent(index, silent, now);
        }
        if recovered {
            self.catch_up(index, now);
        }
    }
}

//! All appliances of a configuration behind one surface: driver events and orders go in, driver
//! operations and news come out.
//!
//! The contract: after every call that takes `&mut self` except `poll`, drain [`House::poll`] until
//! `None`, then call [`House::tick`] at [`House::next_deadline`]. What one call can add to the effects
//! is bounded by the devices that it touches, so the queue between two drains is too.

mod answers;
mod bus;
mod clicks;
mod inherit;
mod intake;
mod links;
mod orders;
mod remote;
mod report;
mod running;
mod session;
mod wiring;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use sipliance_driver::{Event, Op, OpId};

use crate::config::{Config, DeviceConfig, DeviceId, LinkId};
use crate::device::appliance::Device;
use crate::device::command::{CommandId, Outcome};
use crate::timer::{Deadlines, Now};

pub use remote::{Sort, Told};
pub(crate) use session::Session;
pub use session::Unread;
use wiring::Wire;

/// What the house wants done, and what is new.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hand `op` to the driver of `link`; when its queue is full, answer `Done` with `Failure::Busy`.
    Drive {
        /// The link.
        link: LinkId,
        /// What to do.
        op: Op,
    },
    /// The device's shadow has a change that is worth a report.
    Changed {
        /// The device.
        device: DeviceId,
    },
    /// Something happened and is over.
    Happened {
        /// The device.
        device: DeviceId,
        /// Event id of the profile.
        event: Arc<str>,
        /// What it says.
        value: Arc<str>,
    },
    /// Something came that nothing in the profile fits. Told once per device; the device counts them.
    Unread {
        /// The device, or the first one of its port.
        device: DeviceId,
    },
    /// A command ended.
    Finished {
        /// The command.
        command: CommandId,
        /// How.
        outcome: Outcome,
    },
}

/// All appliances of a configuration.
#[derive(Debug)]
pub struct House {
    devices: Vec<Device>,
    wires: Vec<Wire>,
    effects: VecDeque<Effect>,
    deadlines: Deadlines<Due>,
    /// Operations under way; every one ends in a `Done` or with its link.
    ops: HashMap<OpId, Owner>,
    last_op: u64,
    last_command: u64,
    /// Devices that the current call changed, and whether that must be told at once.
    touched: Vec<(usize, bool)>,
    clock: Now,
}

/// A wall clock that moves this much against the other one was set; less is drift.
const CLOCK_SET_MS: i64 = 2000;

/// What a deadline is for; whoever set it checks whether it still means anything.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// A property may have become stale.
    Stale(usize, usize),
    /// A property's readings count from now on.
    Settle(usize, usize),
    /// A line has been inactive for its hold time.
    Hold(usize, usize),
    /// A button was held, or not pressed again.
    Click(usize, usize),
    /// A device may have been silent for too long.
    Silent(usize),
    /// A change may be worth a report now.
    Report(usize),
    /// A command must be answered, given up, or asked about again.
    Command(usize, CommandId),
    /// A query is due.
    Poll(usize, usize),
    /// A driver should have answered long ago.
    Bus(usize, OpId),
}

/// Who sent an operation.
#[derive(Clone, Debug)]
enum Owner {
    /// A query of `link: hello` on this wire.
    Hello(usize),
    /// A query on a serial port: wire, poll and how often it was tried.
    Query(usize, usize, u32),
    /// A step of a device's command.
    Command(usize, CommandId),
}

impl House {
    /// The appliances of `config`; asks every link to watch what they need. Nothing is moved.
    pub fn new(config: Arc<Config>, now: Now) -> Self {
        Self::of(&config.devices, config.links.len(), now)
    }

    /// A house of these devices on so many links.
    pub fn of(devices: &[DeviceConfig], links: usize, now: Now) -> Self {
        let mut house = Self::silent(devices, links, now);
        house.watch();
        house
    }

    /// The same, and nothing is watched yet.
    fn silent(devices: &[DeviceConfig], links: usize, now: Now) -> Self {
        let devices: Vec<Device> = devices
            .iter()
            .enumerate()
            .map(|(index, device)| Device::new(DeviceId(index), device, now.wall_ms))
            .collect();
        let wires = wiring::wires(&devices, links);
        Self {
            devices,
            wires,
            effects: VecDeque::new(),
            deadlines: Deadlines::default(),
            ops: HashMap::new(),
            last_op: 0,
            last_command: 0,
            touched: Vec::new(),
            clock: now,
        }
    }

    /// Takes what a driver reports.
    pub fn driver(&mut self, link: LinkId, event: Event, now: Now) {
        self.follow_clock(now);
        match event {
            Event::Up => self.link_up(link.0, now),
            Event::Down(_) => self.link_down(link.0, now),
            Event::Read { channel, payload, retained } => {
                self.heard(link.0, &channel, &payload, retained, now);
            }
            Event::Edge { channel, payload, at } => {
                self.heard(link.0, &channel, &payload, false, now.back_to(at));
            }
            // What is never read stays unknown, which is what watchers are told.
            Event::Unwatched { .. } => {}
            Event::Done { id, result } => self.done(link.0, id, &result, now),
        }
        self.report(now);
    }

    /// Takes the passing of time.
    pub fn tick(&mut self, now: Now) {
        self.follow_clock(now);
        while let Some(due) = self.deadlines.due(now.mono) {
            match due {
                Due::Stale(device, property) => self.check_stale(device, property, now),
                Due::Settle(device, property) => self.settled(device, property, now),
                Due::Hold(device, property) => self.hold_over(device, property, now),
                Due::Click(device, event) => self.click_due(device, event, now),
                Due::Silent(device) => self.check_silent(device, now),
                Due::Report(device) => self.report_due(device, now),
                Due::Command(device, command) => self.command_due(device, command, now),
                Due::Poll(wire, poll) => self.poll_due(wire, poll, now),
                Due::Bus(wire, op) => self.bus_due(wire, op, now),
            }
        }
        self.report(now);
    }

    /// When [`House::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// One device.
    pub fn device(&self, id: DeviceId) -> Option<&Device> {
        self.devices.get(id.0)
    }

    /// All devices in the order of the home file.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, &Device)> {
        self.devices.iter().map(|device| (device.index(), device))
    }

    /// The device with the id of the home file.
    pub fn find(&self, id: &str) -> Option<(DeviceId, &Device)> {
        self.devices().find(|(_, device)| device.id() == id)
    }

    /// Cuts an appliance off, or joins it again. What it does goes on, and so does what is heard of it.
    pub fn isolate(&mut self, id: DeviceId, isolated: bool) {
        if let Some(device) = self.devices.get_mut(id.0) {
            device.isolated = isolated;
        }
    }

    /// Takes a value as if it had just been heard: the `given:` of a profile's tests.
    pub(crate) fn suppose(
        &mut self,
        device: DeviceId,
        property: usize,
        value: crate::device::value::Value,
        now: Now,
    ) {
        self.reading(device.0, property, value, false, now);
        self.spoke(device.0, false, now);
        self.report(now);
    }

    /// A Pi without a clock of its own begins in the past and learns the time later.
    fn follow_clock(&mut self, now: Now) {
        let passed = now.mono.saturating_duration_since(self.clock.mono).as_millis();
        let expected = self.clock.wall_ms.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX));
        let jump = now.wall_ms.saturating_sub(expected);
        if jump.abs() > CLOCK_SET_MS {
            self.devices.iter_mut().for_each(|device| device.shadow.shift(jump));
        }
        self.clock = now;
    }

    /// A number for an op that is not the house's: its end means nothing here.
    pub fn spare_op(&mut self) -> OpId {
        self.last_op += 1;
        OpId(self.last_op)
    }

    fn new_op(&mut self, owner: Owner) -> OpId {
        let id = self.spare_op();
        self.ops.insert(id, owner);
        id
    }

    fn drive(&mut self, wire: usize, op: Op) {
        self.effects.push_back(Effect::Drive { link: LinkId(wire), op });
    }

    fn touch(&mut self, device: usize, urgent: bool) {
        self.touched.push((device, urgent));
    }
}

#[cfg(test)]
mod tests;

//! All appliances of a configuration behind one surface: driver events and orders go in, driver
//! operations and news come out.
//!
//! The contract: after every call that takes `&mut self` except `poll`, drain [`House::poll`] until
//! `None`, then call [`House::tick`] at [`House::next_deadline`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use sipliance_driver::{Event, Op};

use crate::config::{Config, DeviceId, LinkId};
use crate::device::appliance::Device;
use crate::device::command::{CommandId, Order, Outcome, Refusal};
use crate::timer::Now;

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
    effects: VecDeque<Effect>,
}

impl House {
    /// The appliances of `config`; asks every link to watch what they need. Nothing is moved.
    pub fn new(config: Arc<Config>, now: Now) -> Self {
        let _ = now;
        let devices = config
            .devices
            .iter()
            .enumerate()
            .map(|(index, device)| Device::new(DeviceId(index), device, now.wall_ms))
            .collect();
        Self { devices, effects: VecDeque::new() }
    }

    /// Takes over shadows from the house before a reload, by device id, so that no value is
    /// forgotten and no version goes back.
    pub fn inherit(&mut self, old: &Self) {
        let _ = old;
    }

    /// Takes what a driver reports.
    pub fn driver(&mut self, link: LinkId, event: Event, now: Now) {
        let _ = (link, event, now);
    }

    /// Takes the passing of time.
    pub fn tick(&mut self, now: Now) {
        let _ = now;
    }

    /// When [`House::tick`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// The next effect.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Takes an order, or refuses it in words; a taken order ends in one [`Effect::Finished`].
    pub fn order(&mut self, device: DeviceId, order: Order, now: Now) -> Result<CommandId, Refusal> {
        let _ = (device, order, now);
        Err(Refusal::NoDevice)
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
}

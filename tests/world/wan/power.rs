//! The machine of a gateway: its power, its disk, its clock.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::Rng as _;
use sipliance::gateway::{Gateway, Haste};
use sipliance_driver::Event as Said;

use super::{Duration, Event, Wan};

/// What a gateway keeps on its disk.
#[derive(Default)]
pub struct Disk {
    pub there: bool,
    records: BTreeMap<Bytes, Bytes>,
    /// What is not on it yet.
    unwritten: Vec<(Bytes, Option<Bytes>)>,
}

impl Disk {
    pub fn put(&mut self, key: Bytes, body: Option<Bytes>, haste: Haste) {
        if self.there {
            self.unwritten.push((key, body));
            if haste != Haste::Idle {
                self.write();
            }
        }
    }

    fn write(&mut self) {
        for (key, body) in std::mem::take(&mut self.unwritten) {
            match body {
                Some(body) => drop(self.records.insert(key, body)),
                None => drop(self.records.remove(&key)),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.records.len()
    }
}

impl Wan {
    /// The gateway's process is gone from one moment to the next, and what was not on the disk with it.
    pub fn power_off(&mut self, home: usize) {
        self.note(home, 0, true, "· the gateway is off");
        let written = self.rng.random_bool(0.5);
        let it = &mut self.homes[home];
        it.off = true;
        if let Some(at) = it.deadline.take() {
            self.deadlines.remove(&(at, home));
        }
        if written {
            it.disk.write();
        }
        it.disk.unwritten.clear();
        let mappings = std::mem::take(&mut it.mappings);
        for (flow, socket) in std::mem::take(&mut it.sockets) {
            let outside = mappings.get(&flow).map(|mapping| mapping.outside);
            outside.map(|outside| self.provider.edges[socket.edge].connections.remove(&outside));
        }
        it.inside.clear();
        it.quic.clear();
        self.sure = Duration::ZERO;
        self.queue.retain(|_, event| event.of_gateway() != Some(home));
    }

    /// It starts again, from its disk if it has one.
    pub fn power_on(&mut self, home: usize) {
        self.note(home, 0, true, "· the gateway starts");
        let (seed, now) = (self.rng.random(), self.time_of(home));
        let it = &mut self.homes[home];
        it.off = false;
        it.gateway = Gateway::new(it.config.clone(), seed, now);
        if it.disk.there {
            let records: Vec<(Bytes, Bytes)> =
                it.disk.records.iter().map(|(key, body)| (key.clone(), body.clone())).collect();
            it.gateway.resume(&records, &[], now);
        }
        let hello: Vec<Said> = std::iter::once(Said::Up).chain(it.plug.hello()).collect();
        for event in hello {
            self.push(Duration::from_millis(200), Event::Driver { home, event });
        }
        self.drain(home);
    }

    /// The gateway's wall clock is so many milliseconds ahead.
    pub fn set_clock(&mut self, home: usize, off: i64) {
        self.homes[home].wall_off = off;
    }
}

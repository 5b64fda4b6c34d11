//! A whole house with simulated wires: every link of a configuration is played from the profiles of its
//! devices, and no driver is opened.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sipliance_driver::{Cut, Event, Op};
use sipliance_driver_sim as sim;

use crate::config::{Config, LinkId, LinkSettings};
use crate::device::mirror::{Mirror, appliances};
use crate::device::profile::Model;

/// How the appliances live.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    /// The same seed lives the same life.
    pub seed: u64,
    /// How many times faster than real time.
    pub speed: u32,
}

/// The simulated wires of a house.
#[derive(Debug)]
pub struct Stage {
    links: Vec<Played>,
    life: Life,
    hands: Mutex<Hands>,
}

/// What is broken, and the wires that are played now; a wire that begins anew is as broken as before.
#[derive(Debug, Default)]
struct Hands {
    wires: BTreeMap<LinkId, sim::Hand>,
    faults: BTreeMap<(LinkId, Option<usize>), sim::Fault>,
}

/// A link with its appliances, each a few devices.
#[derive(Debug)]
struct Played {
    name: String,
    kind: Kind,
    appliances: Vec<Vec<(String, Arc<Model>)>>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Broker,
    Lines,
    Serial { checked: bool },
    Bus,
}

impl Stage {
    /// Takes the place of every link of the house. Its registrars and other gateways are left out, and
    /// what hangs there is played here; its documents and its audit file are not touched.
    pub fn set(config: &mut Config, life: Life) -> Self {
        config.upstreams.clear();
        config.state = None;
        config.audit = None;
        for device in &mut config.devices {
            device.model = Arc::new(Model::clone(&device.model).at_hand());
        }
        let mut links = Vec::new();
        for (index, link) in config.links.iter_mut().enumerate() {
            let kind = match std::mem::replace(&mut link.settings, LinkSettings::Sim) {
                LinkSettings::Mqtt(_) | LinkSettings::Sip(_) | LinkSettings::Sim => Kind::Broker,
                LinkSettings::Gpio(_) => Kind::Lines,
                LinkSettings::Modbus(_) | LinkSettings::Meter(_) | LinkSettings::W1 => Kind::Bus,
                LinkSettings::Serial(settings) => {
                    let telegram = matches!(settings.framing.cut, Cut::Telegram { checked: true });
                    Kind::Serial { checked: telegram || settings.framing.checksum.is_some() }
                }
            };
            let devices: Vec<_> =
                config.devices.iter().filter(|device| device.link == LinkId(index)).collect();
            let models: Vec<&Model> = devices.iter().map(|device| &*device.model).collect();
            let one = |group: Vec<usize>| {
                let members = group.into_iter().filter_map(|at| devices.get(at));
                members.map(|device| (device.id.clone(), device.model.clone())).collect()
            };
            let appliances = appliances(&models).into_iter().map(one).collect();
            links.push(Played { name: link.name.clone(), kind, appliances });
        }
        Self { links, life, hands: Mutex::default() }
    }

    /// The wire of a link, from its beginning.
    pub fn wire(&self, link: LinkId) -> sim::Settings {
        let (hand, hands) = sim::hands();
        let mut wire =
            self.links.get(link.0).map_or_else(|| sim::Wire::broker(Vec::new()), |of| self.far_end(of));
        let mut mine = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, which), fault) in mine.faults.iter().filter(|((of, _), _)| *of == link) {
            wire.fault(*which, Some(*fault), Duration::ZERO);
        }
        mine.wires.insert(link, hand);
        sim::Settings { wire, hands, speed: self.life.speed }
    }

    fn far_end(&self, of: &Played) -> sim::Wire {
        let play = |devices: &Vec<(String, Arc<Model>)>| -> Box<dyn sim::Appliance> {
            let names: Vec<&str> = devices.iter().map(|(id, _)| id.as_str()).collect();
            let seed = BuildHasherDefault::<DefaultHasher>::default().hash_one((self.life.seed, names));
            let mirror = Mirror::new(devices.clone(), seed, true);
            for why in mirror.unsaid() {
                tracing::warn!("not simulated: {why}");
            }
            Box::new(mirror)
        };
        let far: Vec<_> = of.appliances.iter().map(play).collect();
        match of.kind {
            Kind::Broker => sim::Wire::broker(far),
            Kind::Lines => sim::Wire::lines(far),
            Kind::Serial { checked } => sim::Wire::serial(far, checked),
            Kind::Bus => sim::Wire::bus(far),
        }
    }

    /// Breaks or mends a device with the appliance that it is, or the link of this name.
    ///
    /// # Errors
    /// There is neither.
    pub fn fault(&self, name: &str, fault: Option<sim::Fault>) -> Result<(), String> {
        let place = self.place(name)?;
        let mut mine = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => _ = mine.faults.insert(place, fault),
            None => _ = mine.faults.remove(&place),
        }
        // A wire that is not played yet begins with it.
        mine.wires.get(&place.0).map_or(Ok(()), |hand| hand.fault(place.1, fault))
    }

    /// Mends everything.
    pub fn heal(&self) {
        let mut mine = self.hands.lock().unwrap_or_else(PoisonError::into_inner);
        for ((link, which), _) in std::mem::take(&mut mine.faults) {
            // Who does not listen is not played, and begins well.
            let _ = mine.wires.get(&link).map(|hand| hand.fault(which, None));
        }
    }

    /// Does something at a device, in words: `set DEVICE PROPERTY VALUE`, `happen DEVICE EVENT [VALUE]`.
    ///
    /// # Errors
    /// Says what is not possible, and what would be.
    pub async fn work(&self, device: &str, words: Vec<String>) -> Result<(), String> {
        let (link, Some(which)) = self.place(device)? else {
            return Err(format!("{device} is a link and no device"));
        };
        let hand = self.hands.lock().unwrap_or_else(PoisonError::into_inner).wires.get(&link).cloned();
        hand.ok_or("it is not played yet; try again")?.work(which, words).await
    }

    fn place(&self, name: &str) -> Result<(LinkId, Option<usize>), String> {
        for (index, link) in self.links.iter().enumerate() {
            let holds = |devices: &Vec<(String, Arc<Model>)>| devices.iter().any(|(id, _)| id == name);
            if let Some(which) = link.appliances.iter().position(holds) {
                return Ok((LinkId(index), Some(which)));
            }
        }
        let link = self.links.iter().position(|link| link.name == name);
        link.map(|index| (LinkId(index), None)).ok_or_else(|| {
            let devices = self.links.iter().flat_map(|link| &link.appliances).flatten();
            let names = devices.map(|(id, _)| id.as_str());
            let names = names.chain(self.links.iter().map(|link| link.name.as_str()));
            match crate::config::fault::nearest(name, names) {
                Some(near) => format!("there is no {name}; did you mean {near}?"),
                None => format!("there is no {name}; `list` names what there is"),
            }
        })
    }
}

impl sim::Appliance for Mirror {
    fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event> {
        Mirror::handle(self, op, now)
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        Mirror::tick(self, now)
    }

    fn next(&self) -> Option<Duration> {
        Mirror::next(self)
    }

    fn plugged(&mut self, plugged: bool, now: Duration) -> Vec<Event> {
        Mirror::plugged(self, plugged, now)
    }

    fn work(&mut self, words: &[String], now: Duration) -> Result<Vec<Event>, String> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["set", device, property, value @ ..] if !value.is_empty() => {
                self.set(device, property, &value.join(" "))
            }
            ["happen", device, event] => self.happen(device, event, None, now),
            ["happen", device, event, value] => self.happen(device, event, Some(value), now),
            _ => Err("set DEVICE PROPERTY VALUE, or EVENT DEVICE [VALUE]".to_owned()),
        }
    }
}

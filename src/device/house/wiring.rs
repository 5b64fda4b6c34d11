//! Which payload of which link is about which device: made once, so that a message costs a lookup
//! and not a search.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sipliance_driver::{Channel, Op, OpId};

use super::House;
use super::answers::Wait;
use super::bus::Waiting;
use crate::device::appliance::Device;
use crate::device::codec::SERIAL;
use crate::device::profile::{LinkNeeds, Model, Online, Query, Source};

/// How often a device is asked whether it is there, when its profile asks nothing regularly.
pub(super) const PROBE: Duration = Duration::from_secs(60);

/// One link: where its payloads go, and the one-at-a-time dialogue on a serial port.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) devices: Vec<usize>,
    pub(super) up: bool,
    pub(super) first_up: Option<Instant>,
    /// By topic or line.
    pub(super) routes: HashMap<Channel, Arc<[Route]>>,
    /// Every frame goes past all of these.
    pub(super) frames: Arc<[Route]>,
    /// What to watch, in the order of the devices; outputs too: what they read back is their state.
    pub(super) watches: Vec<Channel>,
    /// Every frame goes past every device.
    pub(super) serial: bool,
    /// Frames are spelled in hex.
    pub(super) hex: bool,
    /// One thing at a time.
    pub(super) asks: bool,
    pub(super) polls: Vec<Poll>,
    pub(super) busy: Option<OpId>,
    /// What is waited for while it is busy.
    pub(super) wait: Wait,
    pub(super) commands: VecDeque<Waiting>,
    pub(super) queries: VecDeque<(usize, u32)>,
}

/// A query on a line where one thing is said at a time.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) device: usize,
    pub(super) ask: Query,
    pub(super) every: Option<Duration>,
    pub(super) due: Option<Instant>,
    /// Its time came while the device did not answer.
    pub(super) missed: bool,
}

/// What a payload is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) device: usize,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    Online,
    /// Property and which of its reads.
    Property(usize, usize),
    Target(usize),
    Event(usize),
}

pub(super) fn wires(devices: &[Device], links: usize) -> Vec<Wire> {
    let mut wires: Vec<Wire> = (0..links).map(|_| Wire::default()).collect();
    let mut routes: Vec<HashMap<Channel, Vec<Route>>> = (0..links).map(|_| HashMap::new()).collect();
    let mut frames: Vec<Vec<Route>> = vec![Vec::new(); links];
    for (index, device) in devices.iter().enumerate() {
        let link = device.link().0;
        let (Some(wire), Some(routes), Some(frames)) =
            (wires.get_mut(link), routes.get_mut(link), frames.get_mut(link))
        else {
            continue;
        };
        let model = device.model();
        wire.devices.push(index);
        if let LinkNeeds::Serial(needs) = &model.link {
            wire.serial = true;
            wire.hex |= needs.hex;
        }
        wire.asks |= model.driver.asks();
        for (source, what) in sources(model) {
            let route = Route { device: index, what };
            match source {
                Source::Topic { channel, .. } | Source::Line { channel, .. } | Source::Duty(channel) => {
                    let known = routes.contains_key(channel);
                    if !known {
                        wire.watches.push(channel.clone());
                    }
                    routes.entry(channel.clone()).or_default().push(route);
                }
                Source::Frame { .. } | Source::Obis { read_out: None, .. } => frames.push(route),
                // Meters on one line are told apart by the question.
                Source::Obis { read_out: Some((query, _)), .. } => {
                    routes.entry(query.channel.clone()).or_default().push(route);
                }
                Source::Registers(registers) => {
                    routes.entry(registers.query().channel).or_default().push(route);
                }
                Source::File { channel, .. } => routes.entry(channel.clone()).or_default().push(route),
                // What is told elsewhere comes by [`House::told`].
                Source::Property(_) | Source::Item(_) => {}
            }
        }
        polls(wire, index, model);
    }
    for ((wire, routes), frames) in wires.iter_mut().zip(routes).zip(frames) {
        wire.routes = routes.into_iter().map(|(channel, list)| (channel, list.into())).collect();
        wire.frames = frames.into();
        if wire.serial {
            wire.watches = vec![Channel::new(SERIAL)];
        }
    }
    wires
}

/// Everything that a model listens to. Health comes first: it decides how the rest is believed.
fn sources(model: &Model) -> impl Iterator<Item = (&Source, What)> {
    let online = match &model.online {
        Online::Topic(read) => Some((&read.source, What::Online)),
        Online::Link | Online::Silent(_) | Online::Fails(_) => None,
    };
    let properties = model.properties.iter().enumerate().flat_map(|(index, property)| {
        let reads = property.reads.iter().enumerate();
        let target = property.target.iter().map(move |read| (&read.source, What::Target(index)));
        reads.map(move |(read, of)| (&of.source, What::Property(index, read))).chain(target)
    });
    let events =
        model.events.iter().enumerate().map(|(index, event)| (&event.from.source, What::Event(index)));
    online.into_iter().chain(properties).chain(events)
}

fn polls(wire: &mut Wire, device: usize, model: &Model) {
    let mut add = |ask: Query, every: Option<Duration>| match wire
        .polls
        .iter_mut()
        .find(|poll| poll.device == device && poll.ask == ask)
    {
        Some(poll) => poll.every = [poll.every, every].into_iter().flatten().min(),
        None => wire.polls.push(Poll { device, ask, every, due: None, missed: false }),
    };
    if let LinkNeeds::Serial(needs) = &model.link {
        let port = || Channel::new(SERIAL);
        needs.hello.iter().for_each(|ask| add(Query { channel: port(), payload: ask.clone() }, None));
    }
    for read in model.properties.iter().flat_map(|property| property.reads.iter().chain(&property.target)) {
        if let Some((ask, every)) = read.source.query() {
            add(ask, every);
        }
    }
    let mut own = wire.polls.iter_mut().filter(|poll| poll.device == device);
    if matches!(model.online, Online::Fails(_))
        && own.all(|poll| poll.every.is_none())
        && let Some(first) = wire.polls.iter_mut().find(|poll| poll.device == device)
    {
        first.every = Some(PROBE);
    }
}

impl House {
    /// Says once to every link what to listen to; drivers repeat it on reconnects.
    pub(super) fn watch(&mut self) {
        for wire in 0..self.wires.len() {
            let watches = self.wires.get(wire).map(|wire| wire.watches.clone()).unwrap_or_default();
            for channel in watches {
                self.drive(wire, Op::Watch { channel });
            }
        }
    }
}

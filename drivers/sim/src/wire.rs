//! A wire as it behaves between a driver and appliances: what a broker keeps, what a line holds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Event, Failure, Op, OpId, Why};

use crate::{Appliance, Fault};

/// How many events may be under way on a late wire; then the oldest is lost.
const MAX_UNDER_WAY: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Broker,
    Lines,
    Serial,
}

/// A simulated wire with its appliances.
pub struct Wire {
    kind: Kind,
    appliances: Vec<Box<dyn Appliance>>,
    watches: Vec<Channel>,
    /// Retained payloads of a broker, levels of lines.
    kept: BTreeMap<Channel, Bytes>,
    fault: Option<Fault>,
    /// In the order of their time.
    under_way: VecDeque<(Duration, Event)>,
}

impl Wire {
    /// A broker: any topic may be written, watches are filters with wildcards, retained payloads are
    /// kept for later watchers.
    pub fn broker(appliances: Vec<Box<dyn Appliance>>) -> Self {
        Self::new(Kind::Broker, appliances)
    }

    /// Lines: `1` is active, `0` is inactive; a watch begins with the present level.
    pub fn lines(appliances: Vec<Box<dyn Appliance>>) -> Self {
        Self::new(Kind::Lines, appliances)
    }

    /// A serial port: frames appear on the channel `rx`.
    pub fn serial(appliances: Vec<Box<dyn Appliance>>) -> Self {
        Self::new(Kind::Serial, appliances)
    }

    fn new(kind: Kind, appliances: Vec<Box<dyn Appliance>>) -> Self {
        Self {
            kind,
            appliances,
            watches: Vec::new(),
            kept: BTreeMap::new(),
            fault: None,
            under_way: VecDeque::new(),
        }
    }

    /// Comes up.
    pub fn begin(&mut self, now: Duration) {
        self.arrive(now, Event::Up);
        self.tick(now);
    }

    /// The gateway asks for something.
    pub fn op(&mut self, op: Op, now: Duration) {
        let down = self.fault == Some(Fault::Unplugged);
        match (op.id(), &op) {
            (None, _) => self.watch(op.channel().clone(), now),
            (Some(id), _) if down => self.done(id, Err(Failure::NotConnected), now),
            (Some(id), Op::Pulse { .. }) if self.kind != Kind::Lines => {
                self.done(id, Err(Failure::Refused("only lines can be pulsed".into())), now);
            }
            (Some(id), Op::Publish { .. }) if self.kind != Kind::Broker => {
                self.done(id, Err(Failure::Refused("nobody listens to what is told here".into())), now);
            }
            (Some(id), Op::Ask { .. }) if self.kind != Kind::Serial => {
                self.done(id, Err(Failure::Refused("only a serial port can be asked".into())), now);
            }
            (Some(id), _) => self.act(id, &op, now),
        }
    }

    /// Breaks or mends the wire.
    pub fn fault(&mut self, fault: Option<Fault>, now: Duration) {
        let was_down = self.fault == Some(Fault::Unplugged);
        let is_down = fault == Some(Fault::Unplugged);
        self.fault = fault;
        if is_down && !was_down {
            self.break_off(now);
        }
        if was_down && !is_down {
            self.arrive(now, Event::Up);
            for channel in self.watches.clone() {
                self.tell_kept(&channel, now);
            }
        }
    }

    /// Lets the appliances act whose time has come.
    pub fn tick(&mut self, now: Duration) {
        for at in 0..self.appliances.len() {
            // An appliance may be due several times at once; a bound keeps a broken one from spinning.
            for _ in 0..100 {
                let Some(appliance) = self.appliances.get_mut(at) else { break };
                if appliance.next().is_none_or(|due| due > now) {
                    break;
                }
                let events = appliance.tick(now);
                self.said(events, now);
            }
        }
    }

    /// The next event that has arrived.
    pub fn poll(&mut self, now: Duration) -> Option<Event> {
        let arrived = self.under_way.front().is_some_and(|(at, _)| *at <= now);
        arrived.then(|| self.under_way.pop_front()).flatten().map(|(_, event)| event)
    }

    /// When [`Wire::tick`] or [`Wire::poll`] has something to do.
    pub fn next(&self) -> Option<Duration> {
        let lives = self.appliances.iter().filter_map(|appliance| appliance.next());
        lives.chain(self.under_way.front().map(|(at, _)| *at)).min()
    }

    fn watch(&mut self, channel: Channel, now: Duration) {
        if self.watches.contains(&channel) {
            return;
        }
        self.watches.push(channel.clone());
        if self.fault != Some(Fault::Unplugged) {
            self.tell_kept(&channel, now);
        }
    }

    /// What a new watcher is told at once: retained payloads, present levels.
    fn tell_kept(&mut self, filter: &Channel, now: Duration) {
        let retained = self.kind == Kind::Broker;
        let old: Vec<_> = self.kept.iter().filter(|(channel, _)| self.covers(filter, channel)).collect();
        let events: Vec<_> = old
            .into_iter()
            .map(|(channel, payload)| Event::Read {
                channel: channel.clone(),
                payload: payload.clone(),
                retained,
            })
            .collect();
        for event in events {
            self.deliver(event, now);
        }
    }

    fn act(&mut self, id: OpId, op: &Op, now: Duration) {
        let mut events = Vec::new();
        if self.fault != Some(Fault::Silent) {
            for appliance in &mut self.appliances {
                events.extend(appliance.handle(op, now));
            }
        }
        if let (Kind::Broker, Op::Write { channel, payload, .. }) = (self.kind, op) {
            // A broker also brings a client its own words back.
            self.said(
                vec![Event::Read { channel: channel.clone(), payload: payload.clone(), retained: false }],
                now,
            );
        }
        match op {
            Op::Ask { channel, timeout, .. } => self.answer(id, channel, events, *timeout, now),
            _ => {
                let result = match self.kind {
                    _ if self.fault == Some(Fault::Silent) => Ok(()),
                    Kind::Lines => own_result(&events, op.channel()),
                    Kind::Broker | Kind::Serial => Ok(()),
                };
                self.done(id, result, now);
                self.said(events, now);
            }
        }
    }

    fn answer(&mut self, id: OpId, channel: &Channel, events: Vec<Event>, timeout: Duration, now: Duration) {
        let mut answered = false;
        for event in events {
            if let Event::Read { payload, .. } = event {
                answered = true;
                self.deliver(Event::Read { channel: channel.clone(), payload, retained: false }, now);
            }
        }
        match answered {
            true => self.done(id, Ok(()), now),
            false => self.arrive(now + timeout, Event::Done { id, result: Err(Failure::Timeout) }),
        }
    }

    /// What appliances put on the wire.
    fn said(&mut self, events: Vec<Event>, now: Duration) {
        if matches!(self.fault, Some(Fault::Silent)) {
            return;
        }
        for event in events {
            let Event::Read { channel, payload, retained } = event else { continue };
            if retained || self.kind == Kind::Lines {
                self.kept.insert(channel.clone(), payload.clone());
            }
            let watched = self.watches.iter().any(|filter| self.covers(filter, &channel));
            if watched && self.fault != Some(Fault::Unplugged) {
                self.deliver(Event::Read { channel, payload, retained: false }, now);
            }
        }
    }

    fn deliver(&mut self, event: Event, now: Duration) {
        let event = match (self.fault, event) {
            (Some(Fault::Garbled), Event::Read { channel, payload, retained }) => {
                Event::Read { channel, payload: garble(&payload), retained }
            }
            (_, event) => event,
        };
        self.arrive(now + self.delay(), event);
    }

    fn done(&mut self, id: OpId, result: Result<(), Failure>, now: Duration) {
        self.arrive(now + self.delay(), Event::Done { id, result });
    }

    fn delay(&self) -> Duration {
        match self.fault {
            Some(Fault::Late(by)) => by,
            _ => Duration::ZERO,
        }
    }

    fn arrive(&mut self, at: Duration, event: Event) {
        let place = self.under_way.partition_point(|(due, _)| *due <= at);
        self.under_way.insert(place, (at, event));
        if self.under_way.len() > MAX_UNDER_WAY {
            let oldest = self.under_way.iter().position(|(_, e)| matches!(e, Event::Read { .. }));
            oldest.and_then(|at| self.under_way.remove(at));
        }
    }

    /// What was under way is lost with the wire; ops without an end get one.
    fn break_off(&mut self, now: Duration) {
        for (_, event) in std::mem::take(&mut self.under_way) {
            match event {
                Event::Done { id, .. } => self.arrive(now, Event::Done { id, result: Err(Failure::Broken) }),
                Event::Read { .. } => {}
                other => self.arrive(now, other),
            }
        }
        self.arrive(now, Event::Down(Why::new("simulated wire: unplugged")));
    }

    fn covers(&self, filter: &Channel, channel: &Channel) -> bool {
        match self.kind {
            Kind::Broker => matches(filter.as_str(), channel.as_str()),
            Kind::Lines | Kind::Serial => filter == channel,
        }
    }
}

/// Lines answer for themselves: the owner of a line says how it went.
fn own_result(events: &[Event], channel: &Channel) -> Result<(), Failure> {
    let own = events.iter().find_map(|event| match event {
        Event::Done { result, .. } => Some(result.clone()),
        _ => None,
    });
    own.unwrap_or_else(|| Err(Failure::Refused(format!("no output line is called {channel}"))))
}

/// Half of the payload behind a byte that no text starts with.
fn garble(payload: &Bytes) -> Bytes {
    let half = payload.get(..payload.len() / 2).unwrap_or_default();
    [&[0xff], half].concat().into()
}

/// Whether an MQTT topic filter covers a topic (MQTT 3.1.1 §4.7): `+` is one level, `#` the rest, and
/// neither covers a first level that begins with `$`.
pub fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut wanted, mut given) = (filter.split('/'), topic.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(want), Some(have)) if want == have => {}
            _ => return false,
        }
    }
}

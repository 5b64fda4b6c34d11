//! A wire as it behaves between a driver and appliances: what a broker keeps, what a line holds.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Event, Failure, Op, OpId, Why};

use crate::trouble::Trouble;
use crate::{Appliance, Fault};

/// How many events may be under way on a late wire; then the oldest is lost.
const MAX_UNDER_WAY: usize = 1024;

/// How long a unit of a bus may take to confirm a write.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Broker,
    Lines,
    Serial { checked: bool },
    Bus,
}

/// A simulated wire with its appliances.
pub struct Wire {
    kind: Kind,
    seats: Vec<Seat>,
    watches: Vec<Channel>,
    /// Retained payloads of a broker, levels of lines.
    kept: BTreeMap<Channel, Bytes>,
    /// Of the wire as a whole.
    trouble: Trouble,
    /// In the order of their time.
    under_way: VecDeque<(Duration, Event)>,
    speed: u32,
}

/// An appliance with its own trouble.
struct Seat {
    appliance: Box<dyn Appliance>,
    trouble: Trouble,
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

    /// A serial port: frames appear on a channel that must be watched. `checked`: they have a
    /// checksum, and what is damaged is dropped.
    pub fn serial(appliances: Vec<Box<dyn Appliance>>, checked: bool) -> Self {
        Self::new(Kind::Serial { checked }, appliances)
    }

    /// A bus whose units speak when they are asked, with a checksum, and confirm what is written.
    pub fn bus(appliances: Vec<Box<dyn Appliance>>) -> Self {
        Self::new(Kind::Bus, appliances)
    }

    fn new(kind: Kind, appliances: Vec<Box<dyn Appliance>>) -> Self {
        let seat = |appliance| Seat { appliance, trouble: Trouble::default() };
        Self {
            kind,
            seats: appliances.into_iter().map(seat).collect(),
            watches: Vec::new(),
            kept: BTreeMap::new(),
            trouble: Trouble::default(),
            under_way: VecDeque::new(),
            speed: 1,
        }
    }

    /// Lets the appliances live faster; what ops and faults take stays as it is in real time.
    pub(crate) fn at_speed(mut self, speed: u32) -> Self {
        self.speed = speed.max(1);
        self
    }

    /// Comes up.
    pub fn begin(&mut self, now: Duration) {
        self.arrive(now, Event::Up);
        self.tick(now);
    }

    /// The gateway asks for something.
    pub fn op(&mut self, op: Op, now: Duration) {
        let asked = matches!(self.kind, Kind::Serial { .. } | Kind::Bus);
        match (op.id(), &op) {
            (None, _) => self.watch(op.channel().clone(), now),
            (Some(id), _) if self.trouble.out => self.done(id, Err(Failure::NotConnected), now),
            (Some(id), Op::Pulse { .. }) if self.kind != Kind::Lines => {
                self.done(id, Err(Failure::Refused("only lines can be pulsed".into())), now);
            }
            (Some(id), Op::Publish { .. }) if self.kind != Kind::Broker => {
                self.done(id, Err(Failure::Refused("nobody listens to what is told here".into())), now);
            }
            (Some(id), Op::Ask { .. }) if !asked => {
                self.done(id, Err(Failure::Refused("only a serial port or a bus can be asked".into())), now);
            }
            (Some(id), _) => self.act(id, &op, now),
        }
    }

    /// Breaks or mends one appliance, or the wire as a whole. An appliance that has lines or a port to
    /// itself is the wire.
    pub fn fault(&mut self, which: Option<usize>, fault: Option<Fault>, now: Duration) {
        let fault = fault.map(|fault| match fault {
            Fault::Late(by) => Fault::Late(by * self.speed),
            Fault::Flapping(period) => Fault::Flapping(period * self.speed),
            fault => fault,
        });
        match which.filter(|_| self.kind == Kind::Broker || self.seats.len() > 1) {
            None => {
                if self.trouble.set(fault, now) {
                    self.switched(now);
                }
            }
            Some(at) => {
                let Some(seat) = self.seats.get_mut(at) else { return };
                if seat.trouble.set(fault, now) {
                    self.seat_switched(at, now);
                }
            }
        }
    }

    /// Somebody does something at an appliance.
    ///
    /// # Errors
    /// Says what is not possible, and what would be.
    pub fn work(&mut self, which: usize, words: &[String], now: Duration) -> Result<(), String> {
        let seat = self.seats.get_mut(which).ok_or("there is no such appliance")?;
        let events = seat.appliance.work(words, now)?;
        self.said(which, events, now);
        Ok(())
    }

    /// Lets the appliances act whose time has come.
    pub fn tick(&mut self, now: Duration) {
        if self.trouble.tick(now) {
            self.switched(now);
        }
        for at in 0..self.seats.len() {
            if self.seats.get_mut(at).is_some_and(|seat| seat.trouble.tick(now)) {
                self.seat_switched(at, now);
            }
            // An appliance may be due several times at once; a bound keeps a broken one from spinning.
            for _ in 0..100 {
                let Some(seat) = self.seats.get_mut(at) else { break };
                if seat.appliance.next().is_none_or(|due| due > now) {
                    break;
                }
                let events = seat.appliance.tick(now);
                self.said(at, events, now);
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
        let lives = self.seats.iter().filter_map(|seat| seat.appliance.next());
        let troubles = self.seats.iter().map(|seat| &seat.trouble).chain([&self.trouble]);
        let flips = troubles.filter_map(Trouble::next);
        lives.chain(flips).chain(self.under_way.front().map(|(at, _)| *at)).min()
    }

    /// The wire as a whole was unplugged or plugged.
    fn switched(&mut self, now: Duration) {
        let out = self.trouble.out;
        if out {
            self.break_off(now);
        }
        for at in 0..self.seats.len() {
            self.seat_plugged(at, !out, now);
        }
        if !out {
            self.arrive(now, Event::Up);
            for channel in self.watches.clone() {
                self.tell_kept(&channel, now);
            }
        }
    }

    fn seat_switched(&mut self, at: usize, now: Duration) {
        if let Some(plugged) = self.seats.get(at).map(|seat| !seat.trouble.out) {
            self.seat_plugged(at, plugged, now);
        }
    }

    fn seat_plugged(&mut self, at: usize, plugged: bool, now: Duration) {
        let Some(seat) = self.seats.get_mut(at) else { return };
        let events = seat.appliance.plugged(plugged && !seat.trouble.out, now);
        // The will is the broker's own word.
        for event in events {
            self.put(event, Duration::ZERO, now);
        }
    }

    fn watch(&mut self, channel: Channel, now: Duration) {
        if self.watches.contains(&channel) {
            return;
        }
        self.watches.push(channel.clone());
        if !self.trouble.out {
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
            self.arrive(now + self.delay(), event);
        }
    }

    fn act(&mut self, id: OpId, op: &Op, now: Duration) {
        let mut heard: Vec<(usize, Vec<Event>)> = Vec::new();
        for (at, seat) in self.seats.iter_mut().enumerate() {
            let deaf = [self.trouble.fault(), seat.trouble.fault()].contains(&Some(Fault::Silent));
            if !deaf {
                heard.push((at, seat.appliance.handle(op, now)));
            }
        }
        if let (Kind::Broker, Op::Write { channel, payload, .. }) = (self.kind, op) {
            // A broker also brings a client its own words back.
            let (channel, payload) = (channel.clone(), payload.clone());
            let silent = self.trouble.fault() == Some(Fault::Silent);
            if !silent {
                self.put(Event::Read { channel, payload, retained: false }, self.delay(), now);
            }
        }
        match op {
            Op::Ask { channel, timeout, .. } => self.answer(id, channel, heard, *timeout, now),
            _ => {
                self.ended(id, op, &heard, now);
                for (at, events) in heard {
                    self.said(at, events, now);
                }
            }
        }
    }

    /// How a write or a pulse ended.
    fn ended(&mut self, id: OpId, op: &Op, heard: &[(usize, Vec<Event>)], now: Duration) {
        let own = heard.iter().flat_map(|(_, events)| events).find_map(|event| match event {
            Event::Done { result, .. } => Some(result.clone()),
            _ => None,
        });
        let silent = self.trouble.fault() == Some(Fault::Silent);
        match (self.kind, own) {
            (Kind::Lines | Kind::Bus, Some(result)) if self.trouble.fault() != Some(Fault::Garbled) => {
                self.done(id, result, now);
            }
            (Kind::Lines, Some(result)) => self.done(id, result, now),
            (Kind::Lines, None) if !silent => {
                let why = format!("no output line is called {}", op.channel());
                self.done(id, Err(Failure::Refused(why)), now);
            }
            (Kind::Bus, _) => {
                let at = now + PATIENCE * self.speed;
                self.arrive(at, Event::Done { id, result: Err(Failure::Timeout) });
            }
            _ => self.done(id, Ok(()), now),
        }
    }

    /// What was answered to a question. Later than `timeout` is no answer, though a port still brings it.
    fn answer(
        &mut self,
        id: OpId,
        channel: &Channel,
        heard: Vec<(usize, Vec<Event>)>,
        timeout: Duration,
        now: Duration,
    ) {
        let timeout = timeout * self.speed;
        let mut answered = None;
        for (at, events) in heard {
            for event in events {
                let Event::Read { payload, .. } = event else { continue };
                let delay = self.delay_of(at);
                let Some(payload) = self.damaged(at, payload) else { continue };
                let event = Event::Read { channel: channel.clone(), payload, retained: false };
                if delay <= timeout {
                    answered = Some(answered.map_or(delay, |known: Duration| known.max(delay)));
                } else if self.kind == Kind::Bus {
                    continue;
                }
                // A bare prompt is an answer that says nothing.
                if !matches!(&event, Event::Read { payload, .. } if payload.is_empty()) {
                    self.arrive(now + delay, event);
                }
            }
        }
        match answered {
            Some(delay) => self.arrive(now + delay, Event::Done { id, result: Ok(()) }),
            None => self.arrive(now + timeout, Event::Done { id, result: Err(Failure::Timeout) }),
        }
    }

    /// What an appliance puts on the wire.
    fn said(&mut self, at: usize, events: Vec<Event>, now: Duration) {
        let Some(seat) = self.seats.get(at) else { return };
        if [self.trouble.fault(), seat.trouble.fault()].contains(&Some(Fault::Silent)) || self.trouble.out {
            return;
        }
        let delay = self.delay_of(at);
        for event in events {
            let Event::Read { channel, payload, retained } = event else { continue };
            if let Some(payload) = self.damaged(at, payload) {
                self.put(Event::Read { channel, payload, retained }, delay, now);
            }
        }
    }

    /// Something is on the wire: kept where it is to be kept, and brought to who watches.
    fn put(&mut self, event: Event, delay: Duration, now: Duration) {
        let Event::Read { channel, payload, retained } = event else { return };
        if retained || self.kind == Kind::Lines {
            self.kept.insert(channel.clone(), payload.clone());
        }
        let watched = self.watches.iter().any(|filter| self.covers(filter, &channel));
        if watched && !self.trouble.out {
            self.arrive(now + delay, Event::Read { channel, payload, retained: false });
        }
    }

    /// What arrives of a payload; `None` where the driver drops what is damaged.
    fn damaged(&self, at: usize, payload: Bytes) -> Option<Bytes> {
        let seat = self.seats.get(at).and_then(|seat| seat.trouble.fault());
        if ![self.trouble.fault(), seat].contains(&Some(Fault::Garbled)) {
            return Some(payload);
        }
        match self.kind {
            Kind::Broker | Kind::Serial { checked: false } => Some(garble(&payload)),
            // Of lines, what flickers is no level.
            Kind::Serial { checked: true } | Kind::Bus | Kind::Lines => None,
        }
    }

    fn done(&mut self, id: OpId, result: Result<(), Failure>, now: Duration) {
        self.arrive(now + self.delay(), Event::Done { id, result });
    }

    fn delay(&self) -> Duration {
        late(self.trouble)
    }

    fn delay_of(&self, at: usize) -> Duration {
        self.seats.get(at).map_or(Duration::ZERO, |seat| late(seat.trouble)).max(self.delay())
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
            Kind::Lines | Kind::Serial { .. } | Kind::Bus => filter == channel,
        }
    }
}

fn late(trouble: Trouble) -> Duration {
    match trouble.fault() {
        Some(Fault::Late(by)) => by,
        _ => Duration::ZERO,
    }
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

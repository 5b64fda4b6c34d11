//! Lines that people work: a doorbell button, a motion sensor, a relay.

use std::collections::VecDeque;
use std::time::Duration;

use sipliance_driver::{Channel, Event, Failure, MAX_PULSE, Op, OpId};

use super::{level, secs};
use crate::random::Random;
use crate::{Appliance, said};

/// A line that goes active and inactive by itself.
struct Line {
    channel: Channel,
    /// Levels to come, in the order of their time.
    plan: VecDeque<(Duration, bool)>,
}

impl Line {
    fn new(channel: &str) -> Self {
        Self { channel: Channel::new(channel), plan: VecDeque::from([(Duration::ZERO, false)]) }
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        let due = self.plan.iter().take_while(|(at, _)| *at <= now).count();
        for (_, active) in self.plan.drain(..due) {
            events.push(said(&self.channel, level(active)));
        }
        events
    }

    fn active(&mut self, from: Duration, until: Duration) {
        self.plan.extend([(from, true), (until, false)]);
    }
}

/// A line that somebody works now and then.
pub struct Input {
    line: Line,
    every: Duration,
    random: Random,
    /// How the line goes when it is worked at a time.
    worked: fn(&mut Line, Duration, &mut Random),
}

impl Input {
    /// A doorbell button on the line `button`, pressed about every `every`, sometimes twice.
    pub fn doorbell(every: Duration) -> Self {
        Self::new("button", every, |line, at, random| {
            line.active(at, at + secs(0.2));
            if random.one_in(4) {
                line.active(at + secs(0.35), at + secs(0.5));
            }
        })
    }

    /// A motion sensor on the line `pir`: somebody passes about every `every`.
    pub fn motion(every: Duration) -> Self {
        Self::new("pir", every, |line, at, _| line.active(at, at + secs(3.0)))
    }

    fn new(name: &str, every: Duration, worked: fn(&mut Line, Duration, &mut Random)) -> Self {
        Self { line: Line::new(name), every, random: Random::new(name), worked }
    }
}

impl Appliance for Input {
    fn handle(&mut self, op: &Op, _now: Duration) -> Vec<Event> {
        only_reads(op, &self.line.channel)
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        let events = self.line.tick(now);
        if self.line.plan.is_empty() {
            let at = now + self.random.pause(self.every);
            (self.worked)(&mut self.line, at, &mut self.random);
        }
        events
    }

    fn next(&self) -> Option<Duration> {
        self.line.plan.front().map(|(at, _)| *at)
    }
}

/// A relay on an output line: holds what it is told, times its pulses.
pub struct Relay {
    line: Line,
}

impl Relay {
    /// A relay that is off, on the line of this name.
    pub fn new(line: &str) -> Self {
        Self { line: Line::new(line) }
    }

    fn drive(&mut self, id: OpId, active: bool, until: Option<Duration>) -> Vec<Event> {
        self.line.plan.clear();
        self.line.plan.extend(until.map(|at| (at, false)));
        vec![Event::Done { id, result: Ok(()) }, said(&self.line.channel, level(active))]
    }
}

impl Appliance for Relay {
    fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event> {
        match op {
            _ if *op.channel() != self.line.channel => Vec::new(),
            Op::Write { id, payload, .. } if payload == "1" => self.drive(*id, true, None),
            Op::Write { id, payload, .. } if payload == "0" => self.drive(*id, false, None),
            Op::Pulse { id, on, .. } if *on <= MAX_PULSE => self.drive(*id, true, Some(now + *on)),
            op => refuse(op, "a relay takes 1, 0 or a pulse of at most 60 s"),
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        self.line.tick(now)
    }

    fn next(&self) -> Option<Duration> {
        self.line.plan.front().map(|(at, _)| *at)
    }
}

fn only_reads(op: &Op, channel: &Channel) -> Vec<Event> {
    match op.channel() == channel {
        true => refuse(op, "this line is an input"),
        false => Vec::new(),
    }
}

fn refuse(op: &Op, words: &str) -> Vec<Event> {
    let done = |id| Event::Done { id, result: Err(Failure::Refused(words.to_owned())) };
    op.id().map(done).into_iter().collect()
}

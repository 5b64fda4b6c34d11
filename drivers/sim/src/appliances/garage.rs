//! A garage door behind a pulse relay, with one reed contact.

use std::time::Duration;

use sipliance_driver::{Channel, Event, Failure, MAX_PULSE, Op, OpId};

use super::level;
use crate::{Appliance, said};

/// How long the door takes from one end to the other.
const TRAVEL: Duration = Duration::from_secs(12);

/// After this much of the way up the contact has lost its magnet.
const CONTACT: Duration = Duration::from_secs(1);

/// A garage door: a pulse on `relay` starts it, stops it, and starts it the other way; `reed` is active
/// while the door is shut.
///
/// ```text
/// Shut ─pulse─> Opening ─12 s─> Open ─pulse─> Closing ─12 s─> Shut
///                  └──pulse──> Halted <──pulse──┘   (the next pulse goes the other way)
/// ```
pub struct GarageDoor {
    relay: Channel,
    reed: Channel,
    door: Door,
    /// How far open, as travel time from the shut end, when it last stood or started.
    at: Duration,
    shut: bool,
    release: Option<Duration>,
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    Still { last_up: bool },
    Moving { up: bool, since: Duration },
}

impl Default for GarageDoor {
    fn default() -> Self {
        Self::new()
    }
}

impl GarageDoor {
    /// A shut door with the lines `relay` and `reed`.
    pub fn new() -> Self {
        Self::with_lines("relay", "reed")
    }

    /// A shut door with lines of these names.
    pub fn with_lines(relay: &str, reed: &str) -> Self {
        Self {
            relay: Channel::new(relay),
            reed: Channel::new(reed),
            door: Door::Still { last_up: false },
            at: Duration::ZERO,
            shut: true,
            release: None,
            started: false,
        }
    }

    fn pulse(&mut self, id: OpId, on: Duration, now: Duration) -> Vec<Event> {
        if on > MAX_PULSE {
            let failure = Failure::Refused(format!("a pulse lasts at most {} s", MAX_PULSE.as_secs()));
            return vec![Event::Done { id, result: Err(failure) }];
        }
        self.release = Some(now + on);
        self.press(now);
        vec![Event::Done { id, result: Ok(()) }, said(&self.relay, level(true))]
    }

    /// The wall button.
    fn press(&mut self, now: Duration) {
        self.at = self.position(now);
        self.door = match self.door {
            Door::Moving { up, .. } => Door::Still { last_up: up },
            Door::Still { last_up } => Door::Moving { up: !last_up, since: now },
        };
    }

    fn position(&self, now: Duration) -> Duration {
        match self.door {
            Door::Still { .. } => self.at,
            Door::Moving { up: true, since } => (self.at + now.saturating_sub(since)).min(TRAVEL),
            Door::Moving { up: false, since } => self.at.saturating_sub(now.saturating_sub(since)),
        }
    }

    /// When the moving door will reach the contact or an end.
    fn arrival(&self) -> Option<Duration> {
        match self.door {
            Door::Still { .. } => None,
            Door::Moving { up: true, since } if self.shut => Some(since + CONTACT.saturating_sub(self.at)),
            Door::Moving { up: true, since } => Some(since + TRAVEL.saturating_sub(self.at)),
            Door::Moving { up: false, since } => Some(since + self.at),
        }
    }

    fn write(&mut self, id: OpId, payload: &[u8], now: Duration) -> Vec<Event> {
        let active = match payload {
            b"1" => true,
            b"0" => false,
            _ => {
                let failure = Failure::Refused("a line takes 1 or 0".into());
                return vec![Event::Done { id, result: Err(failure) }];
            }
        };
        if active {
            self.press(now);
        }
        vec![Event::Done { id, result: Ok(()) }, said(&self.relay, level(active))]
    }
}

impl Appliance for GarageDoor {
    fn handle(&mut self, op: &Op, now: Duration) -> Vec<Event> {
        match op {
            Op::Pulse { id, channel, on } if *channel == self.relay => self.pulse(*id, *on, now),
            Op::Write { id, channel, payload } if *channel == self.relay => self.write(*id, payload, now),
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        if !std::mem::replace(&mut self.started, true) {
            events.extend([said(&self.relay, level(false)), said(&self.reed, level(self.shut))]);
        }
        if self.release.is_some_and(|at| at <= now) {
            self.release = None;
            events.push(said(&self.relay, level(false)));
        }
        if self.arrival().is_some_and(|at| at <= now) {
            let position = self.position(now);
            let up = matches!(self.door, Door::Moving { up: true, .. });
            if position == TRAVEL || position.is_zero() {
                self.at = position;
                self.door = Door::Still { last_up: up };
            }
            if std::mem::replace(&mut self.shut, !up) == up {
                events.push(said(&self.reed, level(self.shut)));
            }
        }
        events
    }

    fn next(&self) -> Option<Duration> {
        let first = (!self.started).then_some(Duration::ZERO);
        first.into_iter().chain(self.release).chain(self.arrival()).min()
    }
}

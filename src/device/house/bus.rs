//! The dialogue on a serial port and other lines: one thing at a time, commands before queries.

use std::time::Duration;

use regex::Regex;
use sipliance_driver::{Failure, Op, OpId};

use super::answers::Wait;
use super::running::Fate;
use super::wiring::PROBE;
use super::{Due, House, Owner};
use crate::device::codec::{Delivery, Outgoing};
use crate::device::command::{CommandId, Outcome};
use crate::device::profile::Online;
use crate::device::shadow::Health;
use crate::limits::QUERIES;
use crate::timer::Now;

/// A device that does not answer is asked at most this often.
const OFFLINE_EVERY: Duration = Duration::from_secs(30);
/// What a driver may take beyond the time that an operation has.
const GRACE: Duration = Duration::from_secs(10);

/// A command's step that waits for the port. At most one per device.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) device: usize,
    pub(super) command: CommandId,
    pub(super) what: Outgoing,
}

impl House {
    /// After the port opened: every query once, then with its period.
    pub(super) fn start_polling(&mut self, wire: usize, now: Now) {
        let Some(state) = self.wires.get_mut(wire).filter(|state| state.asks) else { return };
        state.busy = None;
        state.queries = (0..state.polls.len().min(QUERIES)).map(|index| (index, 0)).collect();
        for (index, poll) in state.polls.iter_mut().enumerate() {
            poll.due = poll.every.map(|every| now.mono + every);
            if let Some(at) = poll.due {
                self.deadlines.set(at, Due::Poll(wire, index));
            }
        }
        self.pump(wire, now);
    }

    /// A query of somebody who is new at a port that is open: once now, then with its period.
    pub(super) fn begin_poll(&mut self, wire: usize, index: usize, now: Now) {
        let Some(state) = self.wires.get_mut(wire).filter(|state| state.asks && state.up) else { return };
        let Some(poll) = state.polls.get_mut(index) else { return };
        poll.due = poll.every.map(|every| now.mono + every);
        if let Some(at) = poll.due {
            self.deadlines.set(at, Due::Poll(wire, index));
        }
        self.enqueue(wire, index, now);
    }

    pub(super) fn poll_due(&mut self, wire: usize, index: usize, now: Now) {
        let Some(poll) = self.wires.get(wire).and_then(|state| state.polls.get(index)) else { return };
        let gone =
            self.devices.get(poll.device).is_some_and(|device| device.shadow.health() == Health::Offline);
        let Some(state) = self.wires.get_mut(wire).filter(|state| state.up) else { return };
        let Some(poll) = state.polls.get_mut(index) else { return };
        let (Some(every), Some(due)) = (poll.every, poll.due) else { return };
        if due > now.mono {
            return;
        }
        let next = now.mono + if gone { every.min(PROBE).max(OFFLINE_EVERY) } else { every };
        poll.due = Some(next);
        self.deadlines.set(next, Due::Poll(wire, index));
        self.enqueue(wire, index, now);
    }

    fn enqueue(&mut self, wire: usize, poll: usize, now: Now) {
        let Some(state) = self.wires.get_mut(wire) else { return };
        let waits = state.queries.iter().any(|(other, _)| *other == poll);
        if !waits && state.queries.len() < QUERIES {
            state.queries.push_back((poll, 0));
        }
        self.pump(wire, now);
    }

    /// Asks for the property that proves a command, as soon as the port is free.
    pub(super) fn ask_for(&mut self, index: usize, property: usize, now: Now) {
        let Some(device) = self.devices.get(index) else { return };
        let wire = device.link().0;
        let ask = device
            .model()
            .properties
            .get(property)
            .and_then(|of| of.reads.iter().find_map(|read| read.source.query()));
        let Some((ask, _)) = ask else { return };
        let poll = self
            .wires
            .get(wire)
            .and_then(|state| state.polls.iter().position(|poll| poll.device == index && poll.ask == ask));
        if let Some(poll) = poll {
            // It was just told to do something: whether it answers now is the question.
            if let Some(device) = self.devices.get_mut(index) {
                device.session.trouble = false;
            }
            self.enqueue(wire, poll, now);
        }
    }

    /// Queries whose time came while the device did not answer.
    pub(super) fn catch_up(&mut self, index: usize, now: Now) {
        let Some(wire) = self.devices.get(index).map(|device| device.link().0) else { return };
        let Some(state) = self.wires.get_mut(wire) else { return };
        let mut missed = Vec::new();
        for (poll, of) in state.polls.iter_mut().enumerate().filter(|(_, poll)| poll.device == index) {
            if std::mem::take(&mut of.missed) {
                missed.push(poll);
            }
        }
        missed.into_iter().for_each(|poll| self.enqueue(wire, poll, now));
    }

    /// A device that did not answer costs the others of its line one query at a time: the one that it
    /// is asked most often.
    fn waits(&self, wire: usize, poll: usize) -> bool {
        let Some(polls) = self.wires.get(wire).map(|state| &state.polls) else { return false };
        let Some(device) = polls.get(poll).map(|poll| poll.device) else { return false };
        let own = polls.iter().enumerate().filter(|(_, poll)| poll.device == device);
        let probe = own.filter_map(|(index, poll)| Some((poll.every?, index))).min();
        self.devices.get(device).is_some_and(|device| device.session.trouble)
            && probe.is_some_and(|(_, probe)| probe != poll)
    }

    /// Sends the next thing when the port is free.
    pub(super) fn pump(&mut self, wire: usize, now: Now) {
        let Some(state) = self.wires.get_mut(wire) else { return };
        if !state.up || state.busy.is_some() {
            return;
        }
        if let Some(next) = state.commands.pop_front() {
            if let Err(why) = self.still_allowed(next.device) {
                let words = format!("{why}; nothing was sent");
                return self.conclude(next.device, Fate::Is(Outcome::Failed(words)), now);
            }
            let id = self.new_op(Owner::Command(next.device, next.command));
            let done = self.devices.get(next.device).and_then(|device| device.session.reply());
            self.occupy(wire, id, &next.what, done, now);
            self.step_sent(next.device, next.command, id);
            self.drive(wire, op(id, next.what));
            return;
        }
        while let Some((poll, tries)) = self.wires.get_mut(wire).and_then(|state| state.queries.pop_front()) {
            if !self.waits(wire, poll) {
                return self.query(wire, poll, tries, now);
            }
            if let Some(poll) = self.wires.get_mut(wire).and_then(|state| state.polls.get_mut(poll)) {
                poll.missed = true;
            }
        }
    }

    fn query(&mut self, wire: usize, poll: usize, tries: u32, now: Now) {
        let Some(of) = self.wires.get(wire).and_then(|state| state.polls.get(poll)) else { return };
        let (device, ask) = (of.device, of.ask.clone());
        let timeout = self.devices.get(device).and_then(|device| device.model().link.timeout());
        let delivery = Delivery::Reply(timeout.unwrap_or(Duration::from_secs(1)));
        let what = Outgoing { channel: ask.channel, payload: ask.payload, delivery };
        let id = self.new_op(Owner::Query(wire, poll, tries));
        self.occupy(wire, id, &what, None, now);
        self.drive(wire, op(id, what));
    }

    fn occupy(&mut self, wire: usize, id: OpId, what: &Outgoing, done: Option<Regex>, now: Now) {
        let (time, waits) = match what.delivery {
            Delivery::Reply(time) => (time, Some(time)),
            Delivery::Pulse(time) => (time, None),
            Delivery::Plain => (Duration::ZERO, None),
        };
        if let Some(state) = self.wires.get_mut(wire) {
            state.busy = Some(id);
            state.wait = Wait::new(waits.filter(|_| state.serial), done);
            self.deadlines.set(now.mono + time + GRACE, Due::Bus(wire, id));
        }
    }

    /// The driver never answered: the port must not stay blocked.
    pub(super) fn bus_due(&mut self, wire: usize, id: OpId, now: Now) {
        if self.wires.get(wire).is_some_and(|state| state.busy == Some(id)) {
            self.done(wire, id, &Err(Failure::Timeout), now);
        }
    }

    /// An operation ended.
    pub(super) fn done(&mut self, wire: usize, id: OpId, result: &Result<(), Failure>, now: Now) {
        if result.is_ok() && self.listens_on(wire, id, now) {
            return;
        }
        let owner = self.ops.remove(&id);
        if let Some(state) = self.wires.get_mut(wire)
            && state.busy == Some(id)
        {
            state.busy = None;
        }
        self.ended(owner, id, result, now);
        self.pump(wire, now);
    }

    /// Tells whoever sent an operation how it ended.
    pub(super) fn ended(&mut self, owner: Option<Owner>, id: OpId, result: &Result<(), Failure>, now: Now) {
        match owner {
            Some(Owner::Query(wire, poll, tries)) => self.answered(wire, poll, tries, result, now),
            Some(Owner::Command(device, command)) => self.step_done(device, command, id, result, now),
            Some(Owner::Hello(_)) | None => {}
        }
    }

    /// A query was answered, or not.
    fn answered(&mut self, wire: usize, poll: usize, tries: u32, result: &Result<(), Failure>, now: Now) {
        let Some(state) = self.wires.get_mut(wire) else { return };
        let Some(index) = state.polls.get(poll).map(|poll| poll.device) else { return };
        let strange = state.wait.strange;
        let gone = self.devices.get(index).is_some_and(|device| device.shadow.health() == Health::Offline);
        let (limit, retries) =
            match self.devices.get(index).map(|device| (&device.model().online, device.model())) {
                Some((Online::Fails(limit), model)) => (Some(*limit), model.link.retries()),
                Some((_, model)) => (None, model.link.retries()),
                None => return,
            };
        match result {
            // A refusal is an answer, too: it is there, and asking again brings the same.
            Ok(()) | Err(Failure::Refused(_)) => self.spoke(index, false, now),
            // Nothing was sent: that tells nothing about the device.
            Err(Failure::NotConnected | Failure::Busy) => {}
            // Behind what waits: the others of this line have waited for an answer already.
            Err(_) if tries < retries && !gone => {
                state.queries.retain(|(other, _)| *other != poll);
                state.queries.push_back((poll, tries + 1));
            }
            // What nobody understands was an answer: it is there.
            Err(Failure::Timeout) if strange => self.spoke(index, false, now),
            Err(_) => {
                let Some(device) = self.devices.get_mut(index) else { return };
                device.session.trouble = true;
                device.session.fails = device.session.fails.saturating_add(1);
                let (fails, soon) = (device.session.fails, now.mono + PROBE);
                // Who is asked every hour is not out of reach for hours.
                if let Some(of) = state.polls.get_mut(poll)
                    && of.due.is_some_and(|due| due > soon)
                {
                    of.due = Some(soon);
                    self.deadlines.set(soon, Due::Poll(wire, poll));
                }
                if limit.is_some_and(|limit| fails >= limit) {
                    self.health(index, Health::Offline, now);
                }
            }
        }
    }

    /// Takes a command's step out of the queue, when it waits there.
    pub(super) fn withdraw(&mut self, index: usize, command: CommandId) {
        let wire = self.devices.get(index).map(|device| device.link().0);
        if let Some(state) = wire.and_then(|wire| self.wires.get_mut(wire)) {
            state.commands.retain(|waiting| waiting.device != index || waiting.command != command);
        }
    }
}

/// The operation for what is sent.
pub(super) fn op(id: OpId, what: Outgoing) -> Op {
    let Outgoing { channel, payload, delivery } = what;
    match delivery {
        Delivery::Plain => Op::Write { id, channel, payload },
        Delivery::Reply(timeout) => Op::Ask { id, channel, payload, timeout },
        Delivery::Pulse(on) => Op::Pulse { id, channel, on },
    }
}

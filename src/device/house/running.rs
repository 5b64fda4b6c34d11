//! A command under way.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use regex::Regex;
use sipliance_driver::{Failure, OpId};

use super::bus::{Waiting, op};
use super::orders::within;
use super::{Due, Effect, House, Owner};
use crate::device::appliance::show;
use crate::device::codec::{Delivery, Outgoing};
use crate::device::command::{ANSWER, CommandId, Outcome};
use crate::device::value::Value;
use crate::timer::Now;

/// How often a device is asked for the proof of a command.
const RECHECK: Duration = Duration::from_secs(2);

/// One command of one device.
///
/// ```text
/// waiting for the port ──▶ sent ──Done──▶ next step … last step ──Done──▶ proved by a reading ──▶ Done
///        │ 8 s               │ failed        │ no proof asked: Accepted       │ not in time
///        ▼                   ▼                                                ▼
///   Failed, nothing sent   Failed / Unknown                      Failed (contrary) / Unknown (silence)
/// ```
/// At [`ANSWER`] a command that is still under way is answered with `Started` and goes on unseen.
#[derive(Debug)]
pub(crate) struct Running {
    id: CommandId,
    steps: VecDeque<Step>,
    current: Option<(OpId, Step)>,
    pub(super) guard: Vec<(usize, Value)>,
    pub(super) sent: bool,
    proof: Option<Proof>,
    /// A reading after the sending showed something else.
    contrary: Option<Value>,
    began: Instant,
    answer_at: Instant,
    give_up: Instant,
    answered: bool,
    reply: Reply,
}

/// What came as the answer to a step.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// The answer that means done.
    pub(super) taken: bool,
    /// The device said no.
    pub(super) refused: Option<String>,
    /// Something that fits nothing.
    pub(super) strange: Option<String>,
}

/// One thing to send.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) what: Outgoing,
    pub(super) done: Option<Regex>,
}

/// The reading that proves a command.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    pub(super) property: usize,
    pub(super) value: Value,
    pub(super) within: Duration,
}

/// How a command's way ends.
pub(super) enum Fate {
    /// As it says.
    Is(Outcome),
    /// The link went down.
    LinkLost,
}

impl Running {
    pub(super) fn new(
        id: CommandId,
        steps: VecDeque<Step>,
        guard: Vec<(usize, Value)>,
        proof: Option<Proof>,
        now: Instant,
    ) -> Self {
        let reply = |step: &Step| match step.what.delivery {
            Delivery::Reply(time) | Delivery::Pulse(time) => time,
            Delivery::Plain => Duration::ZERO,
        };
        let wait = match &proof {
            Some(proof) => proof.within,
            None => ANSWER + steps.iter().map(reply).sum::<Duration>(),
        };
        Self {
            id,
            steps,
            current: None,
            guard,
            sent: false,
            proof,
            contrary: None,
            began: now,
            answer_at: now + ANSWER,
            give_up: now + wait,
            answered: false,
            reply: Reply::default(),
        }
    }

    /// The answer that the next step waits for.
    pub(super) fn next_reply(&self) -> Option<Regex> {
        self.steps.front()?.done.clone()
    }

    /// Everything was handed to the driver.
    fn all_sent(&self) -> bool {
        self.sent && self.steps.is_empty()
    }
}

impl House {
    /// Sends the first step and sets the deadlines.
    pub(super) fn begin(&mut self, index: usize, id: CommandId, now: Now) {
        let Some(running) = self.running(index, id) else { return };
        let (answer, give_up) = (running.answer_at, running.give_up);
        self.deadlines.set(answer, Due::Command(index, id));
        if give_up != answer {
            self.deadlines.set(give_up, Due::Command(index, id));
        }
        self.next_step(index, id, now);
    }

    fn running(&mut self, index: usize, id: CommandId) -> Option<&mut Running> {
        self.devices.get_mut(index)?.session.running.as_mut().filter(|running| running.id == id)
    }

    fn next_step(&mut self, index: usize, id: CommandId, now: Now) {
        let Some(running) = self.running(index, id) else { return };
        let Some(step) = running.steps.front() else { return };
        let what = step.what.clone();
        let Some(device) = self.devices.get(index) else { return };
        let (wire, driver) = (device.link().0, device.model().driver);
        if driver.asks() {
            if let Some(state) = self.wires.get_mut(wire) {
                state.commands.push_back(Waiting { device: index, command: id, what });
            }
            self.pump(wire, now);
        } else {
            let op_id = self.new_op(Owner::Command(index, id));
            self.step_sent(index, id, op_id);
            self.drive(wire, op(op_id, what));
        }
    }

    /// The next step is on its way.
    pub(super) fn step_sent(&mut self, index: usize, id: CommandId, op: OpId) {
        if let Some(running) = self.running(index, id)
            && let Some(step) = running.steps.pop_front()
        {
            running.current = Some((op, step));
            running.sent = true;
        }
    }

    /// A frame came while a step was under way.
    pub(super) fn step_heard(&mut self, index: usize, id: CommandId, note: impl FnOnce(&mut Reply)) {
        if let Some(running) = self.running(index, id) {
            note(&mut running.reply);
        }
    }

    /// The driver is done with a step.
    pub(super) fn step_done(
        &mut self,
        index: usize,
        id: CommandId,
        op: OpId,
        result: &Result<(), Failure>,
        now: Now,
    ) {
        let Some(running) = self.running(index, id) else { return };
        let Some((_, step)) = running.current.take_if(|(current, _)| *current == op) else { return };
        let reply = std::mem::take(&mut running.reply);
        // A missing or late answer is no failure where a reading is to prove the command anyway.
        let proves = running.proof.is_some() && running.steps.is_empty();
        let taken = reply.taken || step.done.is_none();
        let outcome = match (reply.refused, result) {
            (Some(text), _) => Outcome::Refused(format!("it answered {text}")),
            (None, Ok(())) if taken => return self.go_on(index, id, now),
            (None, Ok(()) | Err(Failure::Timeout)) if proves => return self.recheck(index, id, now),
            (None, Ok(())) => Outcome::Unknown("its answer does not say whether it acted".to_owned()),
            (None, Err(why)) => match reply.strange.filter(|_| *why == Failure::Timeout) {
                Some(text) => Outcome::Unknown(format!("its answer {text:?} does not say whether it acted")),
                None => fate(why),
            },
        };
        self.conclude(index, Fate::Is(outcome), now);
    }

    /// A step was taken: the next one, or the proof.
    fn go_on(&mut self, index: usize, id: CommandId, now: Now) {
        let proof = self.running(index, id).is_some_and(|running| running.proof.is_some());
        match self.running(index, id).map(|running| running.steps.is_empty()) {
            None => {}
            Some(false) => self.next_step(index, id, now),
            Some(true) if !proof => self.conclude(index, Fate::Is(Outcome::Accepted), now),
            Some(true) => self.recheck(index, id, now),
        }
    }

    /// Asks for the proof, and again until it came or the time is over.
    fn recheck(&mut self, index: usize, id: CommandId, now: Now) {
        let Some(device) = self.devices.get(index) else { return };
        let asks = device.model().driver.asks();
        let Some(running) = self.running(index, id) else { return };
        let Some(property) = running.proof.as_ref().map(|proof| proof.property) else { return };
        if asks && running.give_up > now.mono {
            self.deadlines.set(now.mono + RECHECK, Due::Command(index, id));
            self.ask_for(index, property, now);
        }
    }

    /// A live reading: is it what a command waits for?
    pub(super) fn proof_heard(&mut self, index: usize, property: usize, value: &Value, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let model = device.model_arc();
        let Some(running) = device.session.running.as_mut() else { return };
        let (true, Some(proof)) = (running.all_sent(), &running.proof) else { return };
        // What happened before the order and was heard late is no work of it.
        if proof.property != property || now.mono < running.began {
            return;
        }
        if model.properties.get(property).is_some_and(|of| of.shows(&proof.value, value)) {
            self.conclude(index, Fate::Is(Outcome::Done), now);
        } else {
            running.contrary = Some(value.clone());
        }
    }

    /// The reading that a command which was handed over waits for.
    pub(super) fn awaited(&mut self, index: usize, id: CommandId) -> Option<(usize, Value)> {
        let running = self.running(index, id).filter(|running| running.all_sent())?;
        running.proof.as_ref().map(|proof| (proof.property, proof.value.clone()))
    }

    /// Time passed over a command.
    pub(super) fn command_due(&mut self, index: usize, id: CommandId, now: Now) {
        let Some(running) = self.running(index, id) else { return };
        if !running.sent {
            if running.answer_at.min(running.give_up) <= now.mono {
                let words = "the port was busy; nothing was sent".to_owned();
                self.conclude(index, Fate::Is(Outcome::Failed(words)), now);
            }
        } else if running.give_up <= now.mono {
            let outcome = self.unproved(index);
            self.conclude(index, Fate::Is(outcome), now);
        } else {
            if running.answer_at <= now.mono && !running.answered {
                running.answered = true;
                self.effects.push_back(Effect::Finished { command: id, outcome: Outcome::Started });
            }
            let idle = self
                .running(index, id)
                .is_some_and(|running| running.all_sent() && running.current.is_none());
            if idle {
                self.recheck(index, id, now);
            }
        }
    }

    /// The time for the proof is over.
    fn unproved(&self, index: usize) -> Outcome {
        let device = self.devices.get(index);
        let found = device.and_then(|device| Some((device, device.session.running.as_ref()?)));
        let Some((device, running)) = found else { return Outcome::Unknown(String::new()) };
        let Some(proof) = &running.proof else {
            return Outcome::Unknown("no answer came; whether it acted is not known".to_owned());
        };
        let time = within(proof.within);
        let property = device.model().properties.get(proof.property);
        match (property, &running.contrary) {
            (Some(property), Some(value)) => Outcome::Failed(format!(
                "not confirmed {time}; {} is {}",
                property.name,
                show(property, value)
            )),
            _ => Outcome::Unknown(format!("not confirmed {time}; whether it acted is not known")),
        }
    }

    /// Ends the command of a device, if there is one, with exactly one outcome.
    pub(super) fn conclude(&mut self, index: usize, fate: Fate, now: Now) {
        let Some(device) = self.devices.get_mut(index) else { return };
        let Some(running) = device.session.running.take() else { return };
        self.withdraw(index, running.id);
        let outcome = match fate {
            Fate::Is(outcome) => outcome,
            Fate::LinkLost if !running.sent => {
                Outcome::Failed("the connection was lost; nothing was sent".to_owned())
            }
            Fate::LinkLost => {
                Outcome::Unknown("the connection was lost; whether it acted is not known".to_owned())
            }
        };
        if !running.answered {
            self.effects.push_back(Effect::Finished { command: running.id, outcome });
        }
        if let Some(wire) = self.devices.get(index).map(|device| device.link().0) {
            self.pump(wire, now);
        }
    }
}

fn fate(why: &Failure) -> Outcome {
    match why {
        Failure::NotConnected | Failure::Busy | Failure::Refused(_) => Outcome::Failed(why.to_string()),
        Failure::Timeout | Failure::Broken => {
            Outcome::Unknown(format!("{why}; whether it acted is not known"))
        }
    }
}

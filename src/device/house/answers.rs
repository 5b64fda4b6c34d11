//! Whether a frame is the answer that something under way waits for.
//!
//! A driver ends a question with the first frame that comes. Devices also speak by themselves, between
//! a question and its answer too; which frame is the answer, only the profile knows. So the house goes
//! on listening where another frame came first: until the answer, or for the device's time once more.

use std::time::Duration;

use regex::Regex;
use sipliance_driver::OpId;

use super::wiring::{Route, What};
use super::{Due, House, Owner};
use crate::device::codec::Payload;
use crate::device::profile::LinkNeeds;
use crate::device::value::shorten;
use crate::timer::Now;

/// What is waited for at a port.
#[derive(Clone, Debug, Default)]
pub(super) struct Wait {
    /// How long the device may take; `None` where nothing is waited for.
    time: Option<Duration>,
    /// The reply that means done.
    done: Option<Regex>,
    /// The answer came.
    answered: bool,
    /// A frame came that is not the answer.
    other: bool,
    /// One came that fits nothing.
    pub(super) strange: bool,
    /// The driver is done, and the house listens on.
    listens: bool,
}

impl Wait {
    pub(super) fn new(time: Option<Duration>, done: Option<Regex>) -> Self {
        Self { time, done, ..Self::default() }
    }
}

/// What a frame is to the one who waits.
enum Verdict {
    Answer,
    Refusal,
    Other,
}

impl House {
    /// A frame came while `id` was under way; `took` are those who understood it.
    pub(super) fn frame_heard(
        &mut self,
        wire: usize,
        id: Option<OpId>,
        payload: &Payload<'_>,
        took: &[Route],
        now: Now,
    ) {
        let text = payload.frame();
        let under_way = id.filter(|id| self.wires.get(wire).is_some_and(|state| state.busy == Some(*id)));
        let owner = under_way.and_then(|id| self.ops.get(&id)).cloned();
        let verdict = match &owner {
            Some(owner) => self.verdict(wire, owner, text, took),
            None => Verdict::Other,
        };
        let known = !took.is_empty()
            || text == Some("")
            || !matches!(verdict, Verdict::Other)
            || text.is_some_and(|text| self.refuses(wire, text));
        let device = owner.as_ref().and_then(|owner| self.asker(owner));
        if !known {
            let first = || self.wires.get(wire)?.devices.first().copied();
            if let Some(index) = device.or_else(first) {
                self.unread(index, payload);
            }
        }
        let (Some(id), Some(state)) = (under_way.filter(|_| owner.is_some()), self.wires.get_mut(wire))
        else {
            return;
        };
        let wait = &mut state.wait;
        match verdict {
            Verdict::Other => {
                wait.other = true;
                wait.strange |= !known;
            }
            Verdict::Answer | Verdict::Refusal => wait.answered = true,
        }
        let listens = wait.listens;
        if let (Some(Owner::Command(index, command)), Some(text)) = (&owner, text) {
            match verdict {
                Verdict::Answer => self.step_heard(*index, *command, |step| step.taken = true),
                Verdict::Refusal => {
                    self.step_heard(*index, *command, |step| step.refused = Some(shorten(text)));
                }
                Verdict::Other if !known => {
                    self.step_heard(*index, *command, |step| step.strange = Some(shorten(text)));
                }
                Verdict::Other => {}
            }
        }
        if listens && !matches!(verdict, Verdict::Other) {
            self.heard_out(wire, id, device, now);
        }
    }

    fn verdict(&self, wire: usize, owner: &Owner, text: Option<&str>, took: &[Route]) -> Verdict {
        let (Some(text), Some(state)) = (text, self.wires.get(wire)) else { return Verdict::Other };
        let Some(device) = self.asker(owner).and_then(|index| self.devices.get(index)) else {
            return Verdict::Other;
        };
        let (index, model) = (device.index().0, device.model());
        if let LinkNeeds::Serial(needs) = &model.link
            && needs.fault.as_ref().is_some_and(|fault| fault.is_match(text))
        {
            return Verdict::Refusal;
        }
        let own = |route: &Route| match route.what {
            What::Property(property, read) if route.device == index => {
                model.properties.get(property)?.reads.get(read)
            }
            What::Target(property) if route.device == index => {
                model.properties.get(property)?.target.as_ref()
            }
            _ => None,
        };
        let fits = match owner {
            Owner::Command(..) => match &state.wait.done {
                Some(done) => done.is_match(text),
                // Anything is an answer, but not what is known as an event, or as another device's.
                None => {
                    state.wait.time.is_some() && (took.is_empty() || took.iter().any(|of| own(of).is_some()))
                }
            },
            Owner::Query(_, poll, _) => {
                let Some(ask) = state.polls.get(*poll).map(|poll| &poll.ask) else { return Verdict::Other };
                let asked = |read: &crate::device::profile::Read| {
                    read.source.query().is_some_and(|(query, _)| query == *ask)
                };
                let reads = model.properties.iter().flat_map(|of| of.reads.iter().chain(&of.target));
                match reads.into_iter().any(asked) {
                    true => took.iter().filter_map(own).any(asked),
                    // A `hello` that no value is read from.
                    false => took.is_empty() || took.iter().any(|of| own(of).is_some()),
                }
            }
            Owner::Hello(_) => false,
        };
        if fits { Verdict::Answer } else { Verdict::Other }
    }

    /// Whether a device of this port says so when it refuses something.
    fn refuses(&self, wire: usize, text: &str) -> bool {
        let devices = self.wires.get(wire).into_iter().flat_map(|state| &state.devices);
        devices.filter_map(|index| self.devices.get(*index)).any(|device| match &device.model().link {
            LinkNeeds::Serial(needs) => needs.fault.as_ref().is_some_and(|fault| fault.is_match(text)),
            _ => false,
        })
    }

    fn asker(&self, owner: &Owner) -> Option<usize> {
        match owner {
            Owner::Command(index, _) => Some(*index),
            Owner::Query(wire, poll, _) => Some(self.wires.get(*wire)?.polls.get(*poll)?.device),
            Owner::Hello(_) => None,
        }
    }

    /// The driver is done with a question, and what came was not its answer: it may still come.
    pub(super) fn listens_on(&mut self, wire: usize, id: OpId, now: Now) -> bool {
        let Some(state) = self.wires.get_mut(wire).filter(|state| state.busy == Some(id)) else {
            return false;
        };
        let wait = &mut state.wait;
        let Some(time) = wait.time.filter(|_| wait.other && !wait.answered && !wait.listens) else {
            return false;
        };
        wait.listens = true;
        self.deadlines.set(now.mono + time, Due::Bus(wire, id));
        true
    }

    /// The answer came after the driver was done: the silence that it keeps after an answer is kept here.
    fn heard_out(&mut self, wire: usize, id: OpId, device: Option<usize>, now: Now) {
        let link = device.and_then(|index| self.devices.get(index)).map(|device| &device.model().link);
        let gap = match link {
            Some(LinkNeeds::Serial(needs)) => needs.settings.gap,
            _ => Duration::ZERO,
        };
        if gap.is_zero() {
            return self.done(wire, id, &Ok(()), now);
        }
        self.deadlines.set(now.mono + gap, Due::Bus(wire, id));
        let owner = self.ops.remove(&id);
        self.ended(owner, id, &Ok(()), now);
    }
}

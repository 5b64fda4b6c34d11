//! An order is checked before anything moves.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::House;
use super::running::{Proof, Running, Step};
use crate::config::DeviceId;
use crate::device::appliance::{Device, show};
use crate::device::codec::compose;
use crate::device::command::{ANSWER, CommandId, Order, Refusal};
use crate::device::profile::{Action, Model, Property, Write, spell};
use crate::device::shadow::Health;
use crate::device::value::Value;
use crate::timer::Now;

/// What an order comes down to.
struct Plan {
    steps: VecDeque<Step>,
    guard: Vec<(usize, Value)>,
    proof: Option<Proof>,
    subject: Subject,
}

/// What was ordered last when, for `min_gap`.
#[derive(Clone, Copy)]
enum Subject {
    Property(usize),
    Action(usize),
}

impl House {
    /// Takes an order, or refuses it in words and moves nothing. A taken order ends in exactly one
    /// [`super::Effect::Finished`] within [`ANSWER`].
    pub fn order(&mut self, device: DeviceId, order: Order, now: Now) -> Result<CommandId, Refusal> {
        self.follow_clock(now);
        let index = device.0;
        let plan = self.plan(index, &order, now.mono)?;
        self.last_command += 1;
        let id = CommandId(self.last_command);
        let device = self.devices.get_mut(index).ok_or(Refusal::NoDevice)?;
        let slot = match plan.subject {
            Subject::Property(property) => {
                device.session.properties.get_mut(property).map(|state| &mut state.set_at)
            }
            Subject::Action(action) => device.session.action_at.get_mut(action),
        };
        if let Some(slot) = slot {
            *slot = Some(now.mono);
        }
        device.session.running = Some(Running::new(id, plan.steps, plan.guard, plan.proof, now.mono));
        self.begin(index, id, now);
        self.report(now);
        Ok(id)
    }

    /// A first step that waited for its port is sent only when its guard still holds.
    pub(super) fn still_allowed(&self, index: usize) -> Result<(), Refusal> {
        let device = self.devices.get(index).ok_or(Refusal::NoDevice)?;
        match device.session.running.as_ref().filter(|running| !running.sent) {
            Some(running) => guarded(device, &running.guard),
            None => Ok(()),
        }
    }

    fn plan(&self, index: usize, order: &Order, now: Instant) -> Result<Plan, Refusal> {
        let device = self.devices.get(index).ok_or(Refusal::NoDevice)?;
        let plan = match order {
            Order::Set { property, value } => set(device, property, value, now)?,
            Order::Do { action, args } => act(device, action, args, now)?,
        };
        reachable(device)?;
        if device.session.running.is_some() {
            return Err(Refusal::Busy);
        }
        Ok(plan)
    }
}

fn reachable(device: &Device) -> Result<(), Refusal> {
    match (device.shadow.link_up(), device.shadow.health()) {
        (false, _) => Err(Refusal::LinkDown),
        (true, Health::Offline) => Err(Refusal::Offline),
        (true, Health::Asleep) => Err(Refusal::Asleep),
        (true, Health::Online | Health::Unknown) => Ok(()),
    }
}

fn set(device: &Device, id: &Arc<str>, value: &Value, now: Instant) -> Result<Plan, Refusal> {
    let model = device.model();
    let index = model.property(id).ok_or_else(|| Refusal::NoSuch(id.to_string()))?;
    let property = model.properties.get(index).ok_or_else(|| Refusal::NoSuch(id.to_string()))?;
    let write = property.write.as_ref().ok_or_else(|| Refusal::ReadOnly(property.name.to_string()))?;
    fits(property, value)?;
    let step = step(model, write, &[("value".into(), value.clone())])?;
    reachable(device)?;
    guarded(device, &property.only_if)?;
    let last = device.session.properties.get(index).and_then(|state| state.set_at);
    spaced(property.min_gap, last, now)?;
    Ok(Plan {
        proof: proof_of(property, index, value),
        steps: VecDeque::from([step]),
        guard: property.only_if.clone(),
        subject: Subject::Property(index),
    })
}

/// How a set shows: by a reading within `confirm`; an output is read back in any case.
fn proof_of(property: &Property, index: usize, value: &Value) -> Option<Proof> {
    let own_line = property.reads.first().is_some_and(|read| read.source.is_driven());
    let within = property.confirm.or(own_line.then_some(ANSWER))?;
    Some(Proof { property: index, value: value.clone(), within })
}

fn act(device: &Device, id: &Arc<str>, given: &[(Arc<str>, Value)], now: Instant) -> Result<Plan, Refusal> {
    let model = device.model();
    let found = model.actions.iter().enumerate().find(|(_, action)| action.id == *id);
    let (index, action) = found.ok_or_else(|| Refusal::NoSuch(id.to_string()))?;
    let args = arguments(action, given)?;
    let steps =
        action.steps.iter().map(|write| step(model, write, &args)).collect::<Result<VecDeque<_>, _>>()?;
    reachable(device)?;
    guarded(device, &action.only_if)?;
    spaced(action.min_gap, device.session.action_at.get(index).copied().flatten(), now)?;
    let proof = action.expect.as_ref().map(|(property, value, within)| Proof {
        property: *property,
        value: value.clone(),
        within: *within,
    });
    Ok(Plan { steps, guard: action.only_if.clone(), proof, subject: Subject::Action(index) })
}

fn arguments(action: &Action, given: &[(Arc<str>, Value)]) -> Result<Vec<(Arc<str>, Value)>, Refusal> {
    if let Some((unknown, _)) = given.iter().find(|(id, _)| !action.args.iter().any(|arg| arg.id == *id)) {
        return Err(Refusal::BadArgs(format!("{} takes no {unknown}", action.name)));
    }
    let one = |arg: &crate::device::profile::Arg| {
        let value = given.iter().find(|(id, _)| *id == arg.id).map(|(_, value)| value.clone());
        let Some(value) = value.or_else(|| arg.default.clone()) else {
            return Err(Refusal::BadArgs(format!("{} needs {}: {}", action.id, arg.id, arg.kind.accepted())));
        };
        if !arg.kind.holds(&value) {
            return Err(Refusal::BadArgs(format!("{} must be {}", arg.id, arg.kind.accepted())));
        }
        in_range(arg.range, &value).map_err(|why| Refusal::BadArgs(format!("{} {why}", arg.id)))?;
        Ok((arg.id.clone(), value))
    };
    action.args.iter().map(one).collect()
}

fn fits(property: &Property, value: &Value) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::BadValue(format!("{} {why}", property.name)));
    if !property.kind.holds(value) {
        return refuse(format!("must be {}", property.kind.accepted()));
    }
    if let Err(why) = in_range(property.range, value) {
        return refuse(why);
    }
    if let (Some(step), Some(number)) = (property.step, value.number()) {
        let steps = (number - property.range.map_or(0.0, |(low, _)| low)) / step;
        if (steps - steps.round()).abs() > 1e-6 {
            return refuse(format!("moves in steps of {step}"));
        }
    }
    if let Value::Text(text) = value
        && crate::device::value::text(text).is_none()
    {
        return refuse(format!("must be {}", property.kind.accepted()));
    }
    Ok(())
}

fn in_range(range: Option<(f64, f64)>, value: &Value) -> Result<(), String> {
    match (range, value.number()) {
        (Some((low, high)), Some(number)) if number < low || number > high => {
            Err(format!("must be between {low} and {high}"))
        }
        _ => Ok(()),
    }
}

fn step(model: &Model, write: &Write, values: &[(Arc<str>, Value)]) -> Result<Step, Refusal> {
    let reply = write.timeout.or(write.done.as_ref().and(model.link.timeout()));
    let what = compose(write, values, reply).map_err(Refusal::BadValue)?;
    Ok(Step { what, done: write.done.clone() })
}

/// Every condition must be known for certain: a guess opens no door.
fn guarded(device: &Device, conditions: &[(usize, Value)]) -> Result<(), Refusal> {
    for (index, wanted) in conditions {
        let Some(property) = device.model().properties.get(*index) else { continue };
        match device.shadow.certain(*index) {
            Some(value) if value == wanted => {}
            Some(value) => {
                return Err(Refusal::Guard(format!(
                    "{} is {}, not {}",
                    property.name,
                    show(property, value),
                    show(property, wanted)
                )));
            }
            None => {
                let wanted = show(property, wanted);
                return Err(Refusal::Guard(format!(
                    "whether {} is {wanted} is not known now",
                    property.name
                )));
            }
        }
    }
    Ok(())
}

fn spaced(gap: Option<Duration>, last: Option<Instant>, now: Instant) -> Result<(), Refusal> {
    match gap.zip(last).map(|(gap, last)| last + gap) {
        Some(free) if free > now => Err(Refusal::TooSoon(free - now)),
        _ => Ok(()),
    }
}

/// `within 3 s`
pub(super) fn within(time: Duration) -> String {
    format!("within {}", spell(time))
}

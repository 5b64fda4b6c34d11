//! Commands to many, and documents of several commands: the members in parallel, the items of one
//! member in their order, one final answer with a result for each.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Gateway;
use super::command::{Asker, Kind};
use crate::body::dmp;
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::answer::Answer;
use crate::control::dmp as actions;
use crate::device::command::Order;
use crate::event::matrix::{self, Asked};
use crate::event::{self, Member, Package as _, View};
use crate::limits;

use crate::sip::wire::{Message, Name};
use crate::timer::Now;

/// One thing that is asked of one member.
#[derive(Debug)]
pub(super) struct Item {
    /// The member; `None` where none was meant.
    pub device: Option<DeviceId>,
    /// What it was called by who asked, or by us.
    pub label: String,
    /// What the command was called.
    pub name: String,
    pub state: State,
}

/// How far an item is.
#[derive(Debug)]
pub(super) enum State {
    /// To be ordered when what comes before it at the same member has ended.
    Order(Order),
    /// To be told then.
    Query(Vec<String>),
    /// A wish to watch: told what holds now, and how to watch.
    Watch(Vec<String>),
    Running(Order),
    Ended(Ended),
}

/// How an item ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub answer: Answer,
    /// Values that were asked for.
    found: Vec<dmp::Found>,
    /// What a command changed.
    out: Option<(String, String)>,
}

impl State {
    /// An end before anything began.
    pub fn refused(status: u16, words: impl Into<String>) -> Self {
        Self::Ended(Answer::new(status, reason(status), words).into())
    }
}

impl From<Answer> for Ended {
    fn from(answer: Answer) -> Self {
        Self { answer, found: Vec::new(), out: None }
    }
}

#[derive(Debug)]
struct Batch {
    asker: Asker,
    who: Identity,
    outside: bool,
    /// DMP was asked in, and is answered in where the asker says nothing else.
    dmp: bool,
    items: Vec<Item>,
    deadline: Instant,
    /// Its items are being ordered: an end meanwhile starts nothing.
    busy: bool,
}

/// Batches that are under way.
#[derive(Debug, Default)]
pub(super) struct Batches {
    open: BTreeMap<u64, Batch>,
    serial: u64,
}

impl Batches {
    /// Whether one more fits.
    pub fn has_room(&self) -> bool {
        self.open.len() < limits::BATCHES
    }

    /// The members have other places now.
    pub fn relocate(&mut self, to: impl Fn(DeviceId) -> Option<DeviceId>) {
        let items = self.open.values_mut().flat_map(|batch| &mut batch.items);
        items.for_each(|item| item.device = item.device.and_then(&to));
    }

    /// When the first must be answered, whatever is still under way.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.open.values().map(|batch| batch.deadline).min()
    }
}

/// What a document may be written in.
const FORMS: [&str; 3] = ["text/plain", dmp::CONTENT_TYPE, "application/senml+json"];

impl Gateway {
    /// Begins a batch; its answer comes when all has ended, or the time is over.
    pub(super) fn begin_batch(
        &mut self,
        asker: Asker,
        who: &Identity,
        outside: bool,
        (items, dmp): (Vec<Item>, bool),
        now: Now,
    ) {
        self.batches.serial += 1;
        let id = self.batches.serial;
        let deadline = now.mono + limits::BATCH_TIME;
        let batch = Batch { asker, who: who.clone(), outside, dmp, items, deadline, busy: false };
        self.batches.open.insert(id, batch);
        self.advance(id, now);
    }

    /// An item that was ordered has ended.
    pub(super) fn part_ended(&mut self, id: u64, nth: usize, answer: &Answer, now: Now) {
        let Self { batches, house, .. } = self;
        let Some(batch) = batches.open.get_mut(&id) else { return };
        if let Some(item) = batch.items.get_mut(nth)
            && let State::Running(order) = &item.state
        {
            let device = item.device.and_then(|device| house.device(device));
            let out =
                device.filter(|_| answer.status == 200).and_then(|device| actions::changed(device, order));
            item.state = State::Ended(Ended { answer: answer.clone(), found: Vec::new(), out });
        }
        if !batch.busy {
            self.advance(id, now);
        }
    }

    /// Answers every batch whose time is over: nobody waits longer than a transaction lives.
    pub(super) fn on_batch_deadlines(&mut self, now: Now) {
        let late = |(_, batch): &(&u64, &Batch)| batch.deadline <= now.mono;
        let late: Vec<u64> = self.batches.open.iter().filter(late).map(|(id, _)| *id).collect();
        late.into_iter().for_each(|id| self.close(id, "there was no time left", now));
    }

    /// Answers every batch with a member that `goes_on` does not name: what of it has not begun will not.
    pub(super) fn end_batches(&mut self, goes_on: impl Fn(DeviceId) -> bool, why: &str, now: Now) {
        let ends = |batch: &Batch| !batch.items.iter().filter_map(|item| item.device).all(&goes_on);
        let all: Vec<u64> =
            self.batches.open.iter().filter(|(_, batch)| ends(batch)).map(|(id, _)| *id).collect();
        all.into_iter().for_each(|id| self.close(id, why, now));
    }

    fn close(&mut self, id: u64, why: &str, now: Now) {
        let Self { batches, house, .. } = self;
        let Some(batch) = batches.open.get_mut(&id) else { return };
        for item in &mut batch.items {
            let name = item.device.and_then(|device| house.device(device)).map_or("", |device| device.name());
            item.state = match &item.state {
                State::Ended(_) => continue,
                State::Running(_) => {
                    State::refused(504, format!("{name}: it is not known whether it was done: {why}"))
                }
                _ => State::refused(480, format!("{name}: not done: {why}")),
            };
        }
        self.finish(id, now);
    }

    /// Starts whatever may start, and answers when nothing is left.
    fn advance(&mut self, id: u64, now: Now) {
        while let Some(nth) = self.batches.open.get(&id).and_then(next) {
            let Some(batch) = self.batches.open.get_mut(&id) else { return };
            let (who, outside) = (batch.who.clone(), batch.outside);
            let Some(item) = batch.items.get_mut(nth) else { return };
            let Some(device) = item.device else { return };
            let placeholder = State::refused(480, "");
            match std::mem::replace(&mut item.state, placeholder) {
                State::Order(order) => {
                    item.state = State::Running(order.clone());
                    let part = Kind::Part { batch: id, item: nth };
                    let asker = batch.asker.clone().of_kind(part);
                    batch.busy = true;
                    self.order(asker.into(), &who, device, order, now);
                }
                State::Query(variables) => {
                    let state = self.tell(&who, device, &variables, outside, now);
                    self.set(id, nth, state);
                }
                State::Watch(variables) => {
                    let mut state = self.tell(&who, device, &variables, outside, now);
                    if let State::Ended(ended) = &mut state {
                        ended.found.iter_mut().for_each(|found| found.codes.push(501));
                        ended.answer.words.push_str(" (to watch it, SUBSCRIBE)");
                    }
                    self.set(id, nth, state);
                }
                state => self.set(id, nth, state),
            }
            if let Some(batch) = self.batches.open.get_mut(&id) {
                batch.busy = false;
            }
        }
        let ended = |item: &Item| matches!(item.state, State::Ended(_));
        if self.batches.open.get(&id).is_some_and(|batch| batch.items.iter().all(ended)) {
            self.finish(id, now);
        }
    }

    fn set(&mut self, id: u64, nth: usize, state: State) {
        if let Some(item) = self.batches.open.get_mut(&id).and_then(|batch| batch.items.get_mut(nth)) {
            item.state = state;
        }
    }

    /// The values of variables, as far as `who` may see them.
    fn tell(&self, who: &Identity, id: DeviceId, variables: &[String], outside: bool, now: Now) -> State {
        let Some(device) = self.house.device(id).filter(|device| event::is_there(device, outside)) else {
            return State::refused(480, "isolated");
        };
        let sees = |item: &str| self.config.access.may_see_property(who, device.id(), device.room(), item);
        let found: Vec<_> = variables.iter().map(|name| actions::found(device, name, &sees)).collect();
        let worst = found.iter().flat_map(|found| &found.codes).max().copied();
        let known = found.iter().any(|found| found.codes.is_empty());
        let status = if known { 200 } else { worst.unwrap_or(200) };
        let answer = Answer::new(status, reason(status), self.state(who, device, now));
        State::Ended(Ended { answer, found, out: None })
    }

    fn finish(&mut self, id: u64, now: Now) {
        let Some(batch) = self.batches.open.remove(&id) else { return };
        let ends: Vec<(&Item, &Ended)> = batch.items.iter().filter_map(ended).collect();
        let (status, reason) = overall(ends.iter().map(|(_, ended)| &ended.answer));
        let lines: Vec<&str> = ends.iter().map(|(_, ended)| ended.answer.words.as_str()).collect();
        let form = Message::parse(&batch.asker.request).ok().and_then(|asked| form_of(&asked, batch.dmp));
        let text = lines.join("\n");
        let (kind, body) = match form {
            Some(1) => (dmp::CONTENT_TYPE, dmp::write_response(&replies(&ends))),
            Some(2) => {
                let mut devices: Vec<DeviceId> = Vec::new();
                for device in ends.iter().filter_map(|(item, _)| item.device) {
                    if !devices.contains(&device) {
                        devices.push(device);
                    }
                }
                (FORMS[2], self.state_document(&batch.who, &devices, batch.outside, now))
            }
            _ => ("text/plain;charset=UTF-8", text.clone()),
        };
        let asker = &batch.asker;
        match asker.is_message() {
            // What does not fit one datagram is told in words, and of these what fits.
            true => {
                let fits = body.len() <= limits::REPLY_BYTES;
                self.respond(asker, status, reason, None, now);
                match fits {
                    true => self.reply_with(asker, kind, &body, None, now),
                    false => self.reply(asker, &super::wish::cut(&lines), None, now),
                }
            }
            false => self.respond(asker, status, reason, form.map(|_| (kind, body.as_str())), now),
        }
    }

    /// The state of appliances as SenML, of what `who` may see.
    pub(super) fn state_document(
        &self,
        who: &Identity,
        devices: &[DeviceId],
        outside: bool,
        now: Now,
    ) -> String {
        let member = |id: &DeviceId| {
            let device = self.house.device(*id)?;
            let visible = event::view_of(&self.config.access, who, device, outside)?;
            Some(Member { device, visible })
        };
        let members: Vec<Member<'_>> = devices.iter().filter_map(member).collect();
        event::appliance::Appliance.document(&View::of(&members, &self.config.house.domain, now))
    }
}

/// The first item that may begin: nothing before it at the same member is still open.
fn next(batch: &Batch) -> Option<usize> {
    let waits = |state: &State| matches!(state, State::Order(_) | State::Query(_) | State::Watch(_));
    let mut open: Vec<Option<DeviceId>> = Vec::new();
    for (nth, item) in batch.items.iter().enumerate() {
        if matches!(item.state, State::Ended(_)) {
            continue;
        }
        if waits(&item.state) && !open.contains(&item.device) {
            return Some(nth);
        }
        open.push(item.device);
    }
    None
}

fn ended(item: &Item) -> Option<(&Item, &Ended)> {
    match &item.state {
        State::Ended(ended) => Some((item, ended)),
        _ => None,
    }
}

/// The form in which an answer is written: what was asked for, else that of the question. `None`: the
/// peer takes nothing that could be written, and gets the status alone.
pub(super) fn form_of(request: &Message<'_>, dmp: bool) -> Option<usize> {
    let natural = usize::from(dmp);
    if request.count(Name::Accept) == 0 {
        return Some(natural);
    }
    // A range takes the natural form.
    let mut types = FORMS;
    types.swap(0, natural);
    let best = matrix::best(&Asked::of(request, false), &types)?;
    types.get(best).and_then(|best| FORMS.iter().position(|form| form == best))
}

/// One status for all: good when something was done, since each result says how it went.
fn overall<'a>(answers: impl Iterator<Item = &'a Answer>) -> (u16, &'static str) {
    let statuses: Vec<u16> = answers.map(|answer| answer.status).collect();
    let first = statuses.first().copied().unwrap_or(200);
    let status = [200, 202, 504].into_iter().find(|status| statuses.contains(status)).unwrap_or(first);
    (status, reason(status))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        480 => "Temporarily Unavailable",
        486 => "Busy Here",
        504 => "Outcome Unknown",
        _ => "Not Acceptable Here",
    }
}

/// The results in the words of DMP: what follows one another of the same device under one name.
fn replies(ends: &[(&Item, &Ended)]) -> Vec<dmp::Reply> {
    let mut replies: Vec<dmp::Reply> = Vec::new();
    for (item, ended) in ends {
        let answer = match ended.found.is_empty() {
            true => {
                let code = if ended.answer.status == 200 { dmp::terms::OK } else { ended.answer.status };
                let out = ended.out.clone().into_iter().collect();
                dmp::Answer::Control(vec![dmp::Outcome { action: item.name.clone(), out, codes: vec![code] }])
            }
            false => dmp::Answer::Query(ended.found.clone()),
        };
        match replies.last_mut().filter(|reply| reply.device == item.label) {
            Some(reply) => reply.answers.push(answer),
            None => replies.push(dmp::Reply { device: item.label.clone(), answers: vec![answer] }),
        }
    }
    replies
}

//! MESSAGE, DO and INVITE: from a request to a command, and back to exactly one final answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::request::Request;
use super::wish::{Wish, only_status};
use super::{Gateway, Output, batch, many, publish, recent, sequence};
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::answer::{self, Answer};
use crate::control::target::Target;
use crate::device::appliance::Device;
use crate::device::command::{CommandId, Order, Outcome};
use crate::event::{identity_of, key_of};
use crate::limits;
use crate::sip::auth::Purpose;
use crate::sip::transaction::{ServerKey, Weight};
use crate::sip::wire::{Message, Method, Name};
use crate::sip::{Hop, Rejection};
use crate::timer::Now;

/// A step in the life of a command, as the audit log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ordered { sensitive: bool },
    Refused,
    Ended,
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Self::Ordered { .. } => "ordered",
            Self::Refused => "refused",
            Self::Ended => "ended",
        }
    }
}

/// A command whose outcome somebody waits for.
#[derive(Debug)]
pub(super) struct Pending {
    giver: Giver,
    device: DeviceId,
    what: String,
    /// The call was cancelled: the answer is out already.
    cancelled: bool,
}

/// Who gave an order.
#[derive(Clone, Debug)]
pub(super) enum Giver {
    /// Somebody by a request, which gets an answer.
    Asker(Asker),
    /// Home Assistant over a broker: what becomes of it, the state tells.
    Broker {
        /// The broker, by its name for people.
        name: Arc<str>,
        who: Arc<str>,
    },
}

impl Giver {
    pub fn broker(name: &str, who: &Identity) -> Self {
        Self::Broker { name: name.into(), who: key_of(who).into() }
    }

    fn asker(&self) -> Option<&Asker> {
        match self {
            Self::Asker(asker) => Some(asker),
            Self::Broker { .. } => None,
        }
    }

    /// Who, and where it came from, as the audit log has it.
    fn origin(&self) -> (&str, String) {
        match self {
            Self::Asker(asker) => (&asker.who, asker.hop.peer.to_string()),
            Self::Broker { name, who } => (who, name.to_string()),
        }
    }
}

impl From<Asker> for Giver {
    fn from(asker: Asker) -> Self {
        Self::Asker(asker)
    }
}

/// Who asked, and how to answer him. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub key: ServerKey,
    pub hop: Hop,
    /// The request, for the fields that a response copies.
    pub request: Bytes,
    kind: Kind,
    pub who: Arc<str>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// The answer goes into a reply MESSAGE.
    Message,
    /// The answer goes into the body of the 200.
    Do,
    /// The answer goes into the reason phrase.
    Call,
    /// A lease begins when it is done.
    Publish(Box<publish::Wanted>),
    /// It is one item of several; the answer goes to the batch.
    Part { batch: u64, item: usize },
}

impl Pending {
    /// Whose.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    pub fn move_to(&mut self, device: DeviceId) {
        self.device = device;
    }
}

impl Asker {
    pub fn new(request: &Request<'_, '_>, key: ServerKey, kind: Kind, who: &Identity) -> Self {
        Self {
            key,
            hop: request.hop,
            request: Bytes::copy_from_slice(request.bytes),
            kind,
            who: key_of(who).into(),
        }
    }

    pub fn of_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// Whether the answer goes into a MESSAGE of ours.
    pub fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Message)
    }
}

/// How many commands each person may give: a bucket that refills by [`limits::COMMANDS_PER_SECOND`].
#[derive(Debug, Default)]
pub(super) struct Pace(HashMap<Identity, (f64, Instant)>);

impl Pace {
    pub(super) fn allows(&mut self, who: &Identity, now: Now) -> bool {
        if self.0.len() >= limits::PACED {
            // Full: forget those whose bucket is full again.
            let rest = limits::COMMAND_BURST / limits::COMMANDS_PER_SECOND;
            self.0.retain(|_, (_, at)| now.mono.saturating_duration_since(*at).as_secs_f64() < rest);
        }
        let (tokens, at) = self.0.entry(who.clone()).or_insert((limits::COMMAND_BURST, now.mono));
        let elapsed = now.mono.saturating_duration_since(*at).as_secs_f64();
        *tokens = (*tokens + elapsed * limits::COMMANDS_PER_SECOND).min(limits::COMMAND_BURST);
        *at = now.mono;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

impl Gateway {
    /// MESSAGE, DO or INVITE outside a dialog.
    pub(super) fn command(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let kind = match request.method {
            Method::Message => Kind::Message,
            Method::Do => Kind::Do,
            _ => Kind::Call,
        };
        check_call_body(&kind, request.message)?;
        // Before the digest: it covers both branches, and a proxy between would prefer a 401 to what
        // the first branch said, so that the phone asked again and moved it twice.
        let mark = recent::mark(request.message);
        self.recent.check(mark, now)?;
        let who = self.prove(request, Purpose::Control, now)?;
        let outside = self.is_outside(request.hop);
        let target = self.addressed(request, &kind, &who, outside)?;
        check_age(request.message, now)?;
        let call = self.call_hash(request.message, &who);
        let cseq = request.message.cseq().map_or(0, |cseq| cseq.number);
        if matches!(kind, Kind::Do) {
            sequence::check_age(request.message, now)?;
            self.sequence.check(call, cseq)?;
        }
        let wish = match self.wish(&kind, request, target, &who, now)? {
            // A result in DMP is written of a batch, be it of one.
            Wish::Order(id, order)
                if matches!(kind, Kind::Do) && batch::form_of(request.message, false) == Some(1) =>
            {
                let item = self.house.device(id).map(|device| many::one(id, device, order));
                Wish::Many(item.into_iter().collect(), false)
            }
            wish => wish,
        };
        let acts = wish.orders();
        if !(0..acts).all(|_| self.pace.allows(&who, now)) {
            return Err(Rejection::new(503, "Too Many Commands").with("Retry-After", "2"));
        }
        // Asking may be repeated. Were it kept as long as what moves something, whoever asks much would
        // fill the table for all.
        let weight = if acts > 0 { Weight::Heavy } else { Weight::Light };
        if matches!(wish, Wish::Many(..)) && !self.batches.has_room() {
            return Err(Rejection::new(503, "Too Many Commands").with("Retry-After", "5"));
        }
        let key = self.open(request, weight)?;
        self.recent.add(mark);
        if matches!(kind, Kind::Do) {
            self.sequence.add(call, cseq);
        }
        let asker = Asker::new(request, key, kind, &who);
        self.grant(wish, asker, &who, target, outside, now);
        Ok(())
    }

    /// What a command is addressed to, as far as it is there for who sent it. People are watched here,
    /// and neither called nor written to; a pickup code is dialled, and nothing else.
    fn addressed(
        &self,
        request: &Request<'_, '_>,
        kind: &Kind,
        who: &Identity,
        outside: bool,
    ) -> Result<Target, Rejection> {
        let calls = matches!(kind, Kind::Call);
        let target = self.resolve(&request.uri, request.hop);
        let target = target.filter(|target| calls || !matches!(target, Target::Pickup(_)));
        let target = target.filter(|target| target.user().is_none() && self.is_there(who, *target, outside));
        let target = target.ok_or(Rejection::new(404, "No Such Appliance"))?;
        Ok(self.narrow(who, target, outside))
    }

    /// Does what is wished, or answers it.
    fn grant(&mut self, wish: Wish, asker: Asker, who: &Identity, target: Target, outside: bool, now: Now) {
        match wish {
            Wish::Silence => self.answer(&asker, &Answer::new(200, "OK", ""), None, now),
            Wish::Acknowledge(only) => {
                let answer = self.acknowledge(only, (who, outside), now);
                self.answer(&asker, &answer, target.device(), now);
            }
            Wish::Isolate(cut, isolated) => {
                let answer = self.isolate_by_words(cut, isolated, who, now);
                self.answer(&asker, &answer, target.device(), now);
            }
            Wish::Decide(text) => {
                let nothing = || Answer::new(404, "Not Found", "there is no such request");
                let answer = self.decide_by_words(&text, who, now).unwrap_or_else(nothing);
                self.answer(&asker, &answer, target.device(), now);
            }
            Wish::Tell(answer) => self.answer(&asker, &answer, target.device(), now),
            Wish::Order(device, order) => self.order(asker.into(), who, device, order, now),
            Wish::Many(items, dmp) => self.begin_batch(asker, who, outside, (items, dmp), now),
        }
    }

    /// The caller hung up: the command goes on, the call is over.
    pub(super) fn cancel_call(&mut self, invite: ServerKey, now: Now) {
        let is_call = |pending: &&mut Pending| pending.giver.asker().is_some_and(|asker| asker.key == invite);
        let Some(pending) = self.pending.values_mut().find(is_call) else { return };
        pending.cancelled = true;
        let Some(asker) = pending.giver.asker().cloned() else { return };
        self.respond(&asker, 487, "Request Terminated", None, now);
    }

    /// A command ended.
    pub(super) fn on_finished(&mut self, command: CommandId, outcome: &Outcome, now: Now) {
        let Some(Pending { giver, device, what, cancelled }) = self.pending.remove(&command) else { return };
        let Some(answer) = self.house.device(device).map(|device| answer::of_outcome(outcome, device, now))
        else {
            return;
        };
        self.audit(Step::Ended, &giver, device, &what, &format!("{} {}", answer.status, answer.words), now);
        if !cancelled {
            self.answer_giver(&giver, &answer, device, now);
        }
    }

    /// Rights, audit, act; in this order.
    pub(super) fn order(&mut self, giver: Giver, who: &Identity, id: DeviceId, order: Order, now: Now) {
        let Some(device) = self.house.device(id) else { return };
        if device.isolated() {
            let words = format!("{}: isolated", device.name());
            let answer = Answer::new(480, "Temporarily Unavailable", words);
            return self.answer_giver(&giver, &answer, id, now);
        }
        let what = describe(&order);
        let (item, sensitive) = (order.subject(), is_sensitive(device, &order));
        if !self.config.access.may_do(who, device.id(), device.room(), item, sensitive) {
            // Who may do nothing does not learn what could be done.
            let words = match self.config.access.may_act(who, device.id(), device.room()) {
                true => format!("{}: you may not do that", device.name()),
                false => only_status(device).words,
            };
            self.counters.forbidden += 1;
            self.audit(Step::Refused, &giver, id, &what, "no right", now);
            return self.answer_giver(&giver, &Answer::new(403, "Forbidden", words), id, now);
        }
        self.counters.commands += 1;
        self.audit(Step::Ordered { sensitive }, &giver, id, &what, "", now);
        match self.house.order(id, order, now) {
            Ok(command) => {
                if let Some(asker) = giver.asker().filter(|asker| matches!(asker.kind, Kind::Call)).cloned() {
                    self.respond(&asker, 100, "Trying", None, now);
                }
                self.pending.insert(command, Pending { giver, device: id, what, cancelled: false });
            }
            Err(refusal) => {
                let Some(device) = self.house.device(id) else { return };
                let answer = answer::of_refusal(&refusal, device);
                let result = format!("{} {}", answer.status, answer.words);
                self.audit(Step::Ended, &giver, id, &what, &result, now);
                self.answer_giver(&giver, &answer, id, now);
            }
        }
    }

    /// Over a broker nobody is answered: the audit log has the result, and the state tells the rest.
    fn answer_giver(&mut self, giver: &Giver, answer: &Answer, device: DeviceId, now: Now) {
        if let Giver::Asker(asker) = giver {
            self.answer(asker, answer, Some(device), now);
        }
    }

    fn answer(&mut self, asker: &Asker, answer: &Answer, device: Option<DeviceId>, now: Now) {
        match &asker.kind {
            Kind::Publish(wanted) => {
                if let Some(device) = device {
                    self.answer_publish(asker, wanted, answer, device, now);
                }
            }
            Kind::Call => self.respond(asker, answer.call_status(), &answer.words, None, now),
            Kind::Part { batch, item } => self.part_ended(*batch, *item, answer, now),
            Kind::Do => self.answer_do(asker, answer, device, now),
            Kind::Message => {
                self.respond(asker, answer.status, answer.reason, None, now);
                if !answer.words.is_empty() {
                    self.reply(asker, &answer.words, device, now);
                }
            }
        }
    }

    /// The answer to a DO: words, or the state of the appliance where that is asked for, or nothing where
    /// neither is taken.
    fn answer_do(&mut self, asker: &Asker, answer: &Answer, device: Option<DeviceId>, now: Now) {
        let form = Message::parse(&asker.request).ok().and_then(|asked| batch::form_of(&asked, false));
        match device.filter(|_| form == Some(2)) {
            Some(device) => {
                let (who, outside) = (identity_of(&asker.who), self.is_outside(asker.hop));
                let state = self.state_document(&who, &[device], outside, now);
                let body = Some(("application/senml+json", state.as_str()));
                self.respond(asker, answer.status, answer.reason, body, now);
            }
            None => {
                let body = (form == Some(0)).then_some(("text/plain;charset=UTF-8", answer.words.as_str()));
                self.respond(asker, answer.status, answer.reason, body, now);
            }
        }
    }

    /// Ends the request; `body` is its media type and text.
    pub(super) fn respond(
        &mut self,
        to: &Asker,
        status: u16,
        reason: &str,
        body: Option<(&str, &str)>,
        now: Now,
    ) {
        let Ok(message) = Message::parse(&to.request) else { return };
        let tag = (status > 100).then(|| self.stateless_tag(&message));
        let writer = self.response(&message, to.hop, status, reason, tag.as_deref());
        let bytes = match body.filter(|(_, body)| !body.is_empty()) {
            Some((kind, body)) => writer.body(kind, body.as_bytes()),
            None => writer.finish(),
        };
        self.transactions.answer(to.key, status, bytes, now.mono);
    }

    /// A command that came over a broker and was none.
    pub(super) fn audit_refused(&mut self, giver: &Giver, device: DeviceId, what: &str, why: &str, now: Now) {
        self.audit(Step::Refused, giver, device, what, why, now);
    }

    /// One JSON line; whatever a peer wrote is escaped in it.
    fn audit(&mut self, step: Step, giver: &Giver, device: DeviceId, what: &str, result: &str, now: Now) {
        let at = jiff::Timestamp::from_millisecond(now.wall_ms).map(|at| at.to_string()).unwrap_or_default();
        let device = self.house.device(device).map(|device| device.id().to_owned()).unwrap_or_default();
        let (who, from) = giver.origin();
        let mut line = serde_json::json!({"at": at, "step": step.word(), "who": who, "from": from, "device": device, "what": what, "result": result});
        if let (Step::Ordered { .. }, Some(asker), Some(line)) = (step, giver.asker(), line.as_object_mut()) {
            line.extend(recent::note(&asker.request));
        }
        let sensitive = matches!(step, Step::Ordered { sensitive: true });
        self.outputs.push_back(Output::Audit { line: line.to_string(), sensitive });
    }

    /// The call that a command belongs to; nobody speaks in another's.
    fn call_hash(&self, message: &Message<'_>, who: &Identity) -> u64 {
        use std::hash::Hasher as _;
        let mut hasher = siphasher::sip::SipHasher13::new_with_key(&self.tag_key);
        hasher.write(message.call_id().unwrap_or_default());
        hasher.write(key_of(who).as_bytes());
        hasher.finish()
    }
}

/// A call brings SDP, or nothing.
fn check_call_body(kind: &Kind, message: &Message<'_>) -> Result<(), Rejection> {
    let other = |kind: &str| !kind.eq_ignore_ascii_case("application/sdp") && !kind.starts_with("multipart/");
    match kind {
        Kind::Call if message.content_type().is_some_and(other) => {
            Err(Rejection::new(415, "Unsupported Media Type").with("Accept", "application/sdp"))
        }
        _ => Ok(()),
    }
}

/// A message whose Expires has passed since its Date moves nothing (RFC 3428 §8). A Date alone says
/// little: phones with a wrong clock are many, and the nonce proves the age of a command.
fn check_age(message: &Message<'_>, now: Now) -> Result<(), Rejection> {
    let Some(date) = message.first(Name::Date).and_then(|date| std::str::from_utf8(date).ok()) else {
        return Ok(());
    };
    let (Ok(sent), Some(life)) = (jiff::fmt::rfc2822::parse(date), message.expires()) else { return Ok(()) };
    let age = now.wall_ms - sent.timestamp().as_millisecond();
    if age > i64::from(life) * 1000 { Err(Rejection::new(400, "This Command Is Too Old")) } else { Ok(()) }
}

pub(super) fn is_sensitive(device: &Device, order: &Order) -> bool {
    let model = device.model();
    match order {
        Order::Set { property, .. } => {
            model.properties.iter().any(|known| known.id == *property && known.sensitive)
        }
        Order::Do { action, .. } => model.actions.iter().any(|known| known.id == *action && known.sensitive),
    }
}

fn describe(order: &Order) -> String {
    match order {
        Order::Set { property, value } => format!("{property}={}", value.show(None, None)),
        Order::Do { action, args } => {
            let args: Vec<String> =
                args.iter().map(|(name, value)| format!("{name}={}", value.show(None, None))).collect();
            format!("{action}({})", args.join(","))
        }
    }
}

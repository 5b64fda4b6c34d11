//! What a MESSAGE, a DO or a call wants, in the words of the house.

use super::Gateway;
use super::batch::{Item, State};
use super::command::Kind;
use super::isolate::{self, Cut};
use super::many::{Asking, LIST_MESSAGE, of_no};
use super::request::Request;
use super::requests::Said;
use crate::config::access::Identity;
use crate::config::{Compat, DeviceId, Press};
use crate::control::answer::{self, Answer};
use crate::control::body::{self, Content};
use crate::control::target::{Target, press_of};
use crate::control::{senml, words};
use crate::device::appliance::Device;
use crate::device::command::Order;
use crate::event::{Subject, is_there};
use crate::limits;
use crate::sip::Rejection;
use crate::sip::wire::Name;
use crate::timer::Now;

/// What a request asks for, once it is read.
pub(super) enum Wish {
    Order(DeviceId, Order),
    /// A text, and no command.
    Tell(Answer),
    /// Nothing is to be said.
    Silence,
    /// The alerts of the house, or of one appliance, have been seen.
    Acknowledge(Option<DeviceId>),
    /// An owner says something about requests to watch.
    Decide(String),
    /// Appliances are to be cut off, or joined again.
    Isolate(Cut, bool),
    /// Several things, of one appliance or of many; whether they were asked for in DMP.
    Many(Vec<Item>, bool),
}

impl Wish {
    /// How many things it would move.
    pub fn orders(&self) -> usize {
        match self {
            Self::Order(..) => 1,
            Self::Many(items, _) => items.iter().filter(|item| matches!(item.state, State::Order(_))).count(),
            Self::Tell(_) | Self::Silence | Self::Acknowledge(_) | Self::Isolate(..) | Self::Decide(_) => 0,
        }
    }
}

impl Gateway {
    /// Understands the request.
    pub(super) fn wish(
        &self,
        kind: &Kind,
        request: &Request<'_, '_>,
        target: Target,
        who: &Identity,
        now: Now,
    ) -> Result<Wish, Rejection> {
        let outside = self.is_outside(request.hop);
        let asking = Asking { who, outside };
        if matches!(kind, Kind::Message) && request.message.has_option(Name::Require, LIST_MESSAGE) {
            return self.listed_wish(request, asking);
        }
        let content = match kind {
            Kind::Message => body::message(request.message)?,
            Kind::Do => body::action(request.message)?,
            Kind::Call | Kind::Publish(_) | Kind::Part { .. } => {
                let picks = request.message.first(Name::Replaces).is_some();
                return Ok(self.wish_of_call(target, picks, who, outside, now));
            }
        };
        match (content, target.device()) {
            (Content::Words(text), None) if self.is_owner(who) && Said::parse(&text).is_some() => {
                Ok(Wish::Decide(text.into_owned()))
            }
            (Content::Chatter, _) => Ok(Wish::Silence),
            (Content::Words(text), Some(device)) => Ok(self.understand(device, &text, who, now)),
            (Content::Words(text), None) => Ok(self.understand_place(target, &text, who, outside, now)),
            (Content::SenMl(text), Some(id)) => {
                let device = self.house.device(id).ok_or(Rejection::new(404, "No Such Appliance"))?;
                if device.isolated() {
                    return Ok(Wish::Tell(isolated(device)));
                }
                if !self.config.access.may_act(who, device.id(), device.room()) {
                    return Ok(Wish::Tell(only_status(device)));
                }
                let order = senml::order(device, &self.config.house.domain, text);
                order.map(|order| Wish::Order(id, order)).map_err(of_no)
            }
            (Content::SenMl(text), None) => {
                self.senml_to_many(target, text, asking).ok_or(Rejection::new(404, "No Such Appliance"))
            }
            (Content::Dmp(_), _) if self.config.compat == Compat::Off => {
                Err(Rejection::new(415, "Unsupported Media Type").with("Accept", "text/plain"))
            }
            (Content::Dmp(body), _) => self.dmp_wish(target, body, asking),
        }
    }

    /// `picks`: it wants to take over the call that a blinking key showed (RFC 3891).
    fn wish_of_call(&self, target: Target, picks: bool, who: &Identity, outside: bool, now: Now) -> Wish {
        // A call to the mailbox says: seen. So does whoever picks up what rings, and switches nothing.
        match target {
            Target::Alerts => return Wish::Acknowledge(None),
            Target::Pickup(id) => return Wish::Acknowledge(Some(id)),
            target if picks && target.device().is_some() => return Wish::Acknowledge(target.device()),
            _ => {}
        }
        let Some(id) = target.device() else {
            return self.understand_place(target, "status", who, outside, now);
        };
        let words = match press_of(&self.config, target) {
            Press::Tell => None,
            Press::Words(words) => Some(words),
            Press::Profile => self
                .house
                .device(id)
                .and_then(|device| device.model().phone.press.as_deref().map(ToOwned::to_owned)),
        };
        match words {
            Some(words) => self.understand(id, &words, who, now),
            None => self.understand(id, "status", who, now),
        }
    }

    fn understand(&self, id: DeviceId, text: &str, who: &Identity, now: Now) -> Wish {
        let Some(device) = self.house.device(id) else {
            return Wish::Tell(Answer::new(404, "Not Found", "there is no such appliance"));
        };
        let acts = self.config.access.may_act(who, device.id(), device.room());
        if matches!(text.trim().to_lowercase().as_str(), "ack" | "seen") {
            return Wish::Acknowledge(Some(id));
        }
        // A word of the appliance's own comes first.
        let own = |word: &str| {
            let model = device.model();
            model.property(word).is_some() || model.actions.iter().any(|action| &*action.id == word)
        };
        if let Some(isolated) = isolate::verb(text).filter(|_| !own(&text.trim().to_lowercase())) {
            return Wish::Isolate(Cut::One(id), isolated);
        }
        if device.isolated() {
            return Wish::Tell(isolated(device));
        }
        match words::understand(device, text) {
            Ok(words::Said::Order(order) | words::Said::Toggle(order)) => Wish::Order(id, order),
            Ok(words::Said::Status) => Wish::Tell(Answer::new(200, "OK", self.state(who, device, now))),
            Ok(words::Said::Help) if acts => Wish::Tell(Answer::new(200, "OK", words::help(device))),
            Ok(words::Said::Help) => Wish::Tell(Answer::new(200, "OK", "I know: status, help")),
            // What is not understood may hang on what is not to be seen: `toggle` of an unknown state.
            Err(_) if !acts => Wish::Tell(only_status(device)),
            Err(why) => {
                Wish::Tell(Answer::new(488, "Not Acceptable Here", format!("{}: {why}", device.name())))
            }
        }
    }

    /// The alerts that `who` may know of, newest first, those that nobody has seen marked.
    fn list_alerts(&self, who: &Identity, outside: bool, now: Now) -> String {
        let mut lines: Vec<String> = Vec::new();
        for alert in self.alerts.of(|alert| self.may_hear(who, alert.device, &alert.event, outside)) {
            let Some(device) = self.house.device(alert.device) else { continue };
            let minutes = now.wall_ms.saturating_sub(alert.at_ms).max(0) / 60_000;
            let (mark, urgent) = (if alert.seen { "" } else { "new: " }, if alert.urgent { "!" } else { "" });
            lines.push(format!(
                "{mark}{}: {} {}{urgent}, {minutes} min ago",
                device.name(),
                alert.event,
                alert.value
            ));
        }
        lines.reverse();
        if lines.is_empty() { "no alerts".to_owned() } else { cut(&lines) }
    }

    /// Marks alerts as seen, of the appliances that `who` may do something with.
    pub(super) fn acknowledge(
        &mut self,
        only: Option<DeviceId>,
        (who, outside): (&Identity, bool),
        now: Now,
    ) -> Answer {
        let (house, access) = (&self.house, &self.config.access);
        let seen = self.alerts.acknowledge(|alert| {
            let device = house.device(alert.device).filter(|_| only.is_none_or(|only| only == alert.device));
            device.is_some_and(|device| {
                is_there(device, outside) && access.may_act(who, device.id(), device.room())
            })
        });
        self.notifier.changed(Subject::Alerts.code(), now);
        self.silence(only, who, now);
        let words = match seen {
            0 => "no new alerts".to_owned(),
            1 => "1 alert seen".to_owned(),
            more => format!("{more} alerts seen"),
        };
        Answer::new(200, "OK", words)
    }

    /// The state in a line, of what `who` may see.
    pub(super) fn state(&self, who: &Identity, device: &Device, now: Now) -> String {
        if device.isolated() {
            return format!("{}: isolated", device.name());
        }
        let (id, room) = (device.id(), device.room());
        answer::state_of(device, now, &|property| {
            self.config.access.may_see_property(who, id, room, property)
        })
    }

    /// Words to the house, a room or a list: an appliance's name first, or a question about all of
    /// them.
    fn understand_place(&self, target: Target, text: &str, who: &Identity, outside: bool, now: Now) -> Wish {
        let lower = text.trim().to_lowercase();
        match (lower.as_str(), target) {
            ("ack" | "seen", _) => return Wish::Acknowledge(None),
            ("alerts", _) | ("" | "status" | "list", Target::Alerts) => {
                return Wish::Tell(Answer::new(200, "OK", self.list_alerts(who, outside, now)));
            }
            _ => {}
        }
        if let (Some(isolated), Target::House | Target::All) = (isolate::verb_for_all(text), target) {
            return Wish::Isolate(Cut::All, isolated);
        }
        let visible = self.members(who, target, outside);
        if lower.is_empty() || lower == "status" {
            let lines: Vec<String> = visible.iter().map(|(_, device)| self.state(who, device, now)).collect();
            return Wish::Tell(Answer::new(200, "OK", cut(&lines)));
        }
        if lower == "help" {
            let lines = visible.iter().map(|(_, device)| device.id()).collect::<Vec<_>>().join(", ");
            let text = format!(
                "Say the name of an appliance first: {lines}. For example `{} help`.",
                visible.first().map_or("plug", |(_, device)| device.id())
            );
            return Wish::Tell(Answer::new(200, "OK", text));
        }
        // The longest name that fits: "garage door" before "garage".
        let said: Vec<&str> = text.split_whitespace().collect();
        for length in (1..=said.len().min(limits::NAME_WORDS)).rev() {
            let (name, rest) = said.split_at(length);
            let name = name.join(" ").to_lowercase();
            let name = name.trim_end_matches(':');
            let found = visible
                .iter()
                .find(|(_, device)| device.id() == name || device.name().to_lowercase() == name);
            if let Some((id, _)) = found {
                return self.understand(*id, &rest.join(" "), who, now);
            }
        }
        let asking = Asking { who, outside };
        self.words_to_many(target, text, asking).unwrap_or_else(|| {
            let words = match target {
                Target::All => {
                    "I know no appliance of that name; say `help`, or `all` first to mean every one"
                }
                _ => "I know no appliance of that name; say `help`",
            };
            Wish::Tell(Answer::new(488, "Not Acceptable Here", words))
        })
    }
}

/// The answer to somebody who may see the appliance, do nothing with it, and said no question.
pub(super) fn only_status(device: &Device) -> Answer {
    Answer::new(403, "Forbidden", format!("{}: you may only ask for its status", device.name()))
}

/// The answer about an appliance that is cut off.
fn isolated(device: &Device) -> Answer {
    Answer::new(480, "Temporarily Unavailable", format!("{}: isolated", device.name()))
}

/// Lines that fit one MESSAGE (RFC 3428 §8: 1300 bytes).
pub(super) fn cut(lines: &[impl AsRef<str>]) -> String {
    let mut text = String::new();
    for line in lines.iter().map(AsRef::as_ref) {
        if text.len() + line.len() > limits::REPLY_BYTES {
            text.push('…');
            break;
        }
        text.push_str(line);
        text.push('\n');
    }
    text.trim_end().to_owned()
}

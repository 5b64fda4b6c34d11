//! Requests to watch: somebody waits, the owners are asked, one of them decides (RFC 3856 §6.6.2).
//!
//! An owner is asked by MESSAGE, by watcher information, and at a phone that registered as an
//! authorizer by QAUTH. What he decides becomes a rule of his ([`super::rules`]), so that it outlives
//! the subscription and the process.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::Rng as _;

use super::rules::wall;
use super::{Gateway, Kind, Output};
use crate::body::policy::{self, Act, Condition, Rule, Ruleset, Show, Watch, Who};
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::answer::Answer;
use crate::event::{Subject, address_of, identity_of, key_of};
use crate::limits;
use crate::sip::User;
use crate::timer::Now;

/// Before the number of a rule that a decision made.
const DECISION: &str = "watch-";

/// Somebody who wants to watch something.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    /// What an owner says to name it. Drawn by lot, so that an answer to an old question, from before a
    /// restart, is no answer to a new one.
    pub number: u32,
    /// The proven name.
    pub who: String,
    pub device: DeviceId,
    pub at_ms: i64,
    /// Somebody decided: it is kept so that he may think again.
    pub decided: bool,
}

/// Everybody who wants to watch something, oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    list: Vec<Wanted>,
    /// Contacts that know no QAUTH, though they say so.
    pub(super) unable: Vec<String>,
    /// QAUTHs under way, by ticket; each ends with its transaction.
    pub(super) asked: HashMap<u32, Asked>,
    pub(super) last_ticket: u32,
}

/// A QAUTH under way.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub owner: String,
    pub contact: String,
    pub number: u32,
}

impl Requests {
    /// Appliances have other places now; requests for those that are gone are forgotten.
    pub fn relocate(&mut self, to: impl Fn(DeviceId) -> Option<DeviceId>) {
        self.list.retain_mut(|wanted| to(wanted.device).map(|device| wanted.device = device).is_some());
    }

    pub fn get(&self, number: u32) -> Option<&Wanted> {
        self.list.iter().find(|wanted| wanted.number == number)
    }

    /// Those over whom nobody has decided.
    pub fn open(&self) -> impl Iterator<Item = &Wanted> {
        self.list.iter().filter(|wanted| !wanted.decided)
    }

    fn find(&mut self, who: &str, device: DeviceId) -> Option<&mut Wanted> {
        self.list.iter_mut().find(|wanted| wanted.who == who && wanted.device == device)
    }

    fn is_full(&self) -> bool {
        self.list.len() >= limits::REQUESTS
    }

    /// Keeps one more. When there are too many, a decided one is forgotten; where there is none, the
    /// new one is not kept, and false.
    fn add(&mut self, wanted: Wanted) -> bool {
        if self.is_full() {
            let Some(old) = self.list.iter().position(|wanted| wanted.decided) else { return false };
            self.list.remove(old);
        }
        self.list.push(wanted);
        true
    }
}

/// What an owner says about requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// `allow 471`, `allow 471 for 2h`
    Allow(u32, Option<Duration>),
    /// `deny 471`
    Deny(u32),
    /// `requests`
    List,
}

impl Said {
    /// Understands the words; `None`: they are about something else. An error teaches.
    pub fn parse(text: &str) -> Option<Result<Self, &'static str>> {
        const TEACH: &str = "say `allow NUMBER`, `allow NUMBER for 2h` or `deny NUMBER`";
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = |word: &str| word.trim_start_matches('#').parse().map_err(|_| TEACH);
        Some(match words.as_slice() {
            ["requests"] => Ok(Self::List),
            ["deny", of] => number(of).map(Self::Deny),
            ["allow", of] => number(of).map(|number| Self::Allow(number, None)),
            ["allow", of, "for", span @ ..] => match (number(of), span_of(span)) {
                (Ok(number), Some(span)) => Ok(Self::Allow(number, Some(span))),
                _ => Err(TEACH),
            },
            ["allow" | "deny", ..] => Err(TEACH),
            _ => return None,
        })
    }
}

/// `2h`, `2 hours`, `30 min`, `3 days`: up to a year.
fn span_of(words: &[&str]) -> Option<Duration> {
    let text = words.concat();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(at);
    let unit = match unit {
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        "d" | "day" | "days" => 24 * 3600,
        "w" | "week" | "weeks" => 7 * 24 * 3600,
        _ => return None,
    };
    let seconds = count.parse::<u64>().ok()?.checked_mul(unit)?;
    (60..=366 * 24 * 3600).contains(&seconds).then(|| Duration::from_secs(seconds))
}

impl Gateway {
    pub(super) fn is_owner(&self, who: &Identity) -> bool {
        matches!(who, Identity::User(name) if self.config.owners.contains(name))
    }

    /// Whether somebody waits for so much that one more is refused.
    pub(super) fn asks_too_much(&self, who: &Identity) -> bool {
        let waits = self.notifier.undecided().filter(|(name, _)| *name == key_of(who));
        waits.count() >= limits::REQUESTS_PER_USER
    }

    /// Somebody wants to watch something: the owners are asked, once.
    pub(super) fn ask_owners(&mut self, who: &str, device: DeviceId, now: Now) {
        if let Some(known) = self.requests.find(who, device) {
            // A decision that ran out: it is a new question.
            if !std::mem::replace(&mut known.decided, false) {
                return;
            }
            let number = known.number;
            return self.put_to_owners(number, now);
        }
        let number = loop {
            let number = self.rng.random_range(100..10_000);
            if self.requests.get(number).is_none() {
                break number;
            }
        };
        let wanted = Wanted { number, who: who.to_owned(), device, at_ms: now.wall_ms, decided: false };
        if self.requests.is_full() {
            // Nobody waits for these any more, not even for a decision that comes late.
            let (requests, notifier) = (&mut self.requests, &self.notifier);
            let waits: HashSet<(&str, u64)> = notifier.undecided().collect();
            requests.list.retain(|old| {
                old.decided || waits.contains(&(old.who.as_str(), Subject::Device(old.device).code()))
            });
        }
        if self.requests.add(wanted) {
            self.put_to_owners(number, now);
        }
    }

    fn put_to_owners(&mut self, number: u32, now: Now) {
        let Some(text) = self.requests.get(number).and_then(|wanted| self.question(wanted)) else { return };
        let config = self.config.clone();
        let text = format!("{text}. Answer `allow {number}`, `allow {number} for 2h` or `deny {number}`.");
        let sender = format!("sip:{}@{}", config.house.user, config.house.domain);
        let deciders: Vec<&String> =
            config.owners.iter().filter(|owner| self.decides(owner, number)).collect();
        for owner in deciders {
            self.page_user((owner, User::Page), &sender, &text, false, now);
            self.ask_authorizers(owner, Some(number), now);
        }
    }

    /// `ben wants to watch Front door`
    fn question(&self, wanted: &Wanted) -> Option<String> {
        let device = self.house.device(wanted.device)?;
        Some(format!("{} wants to watch {}", wanted.who, device.name()))
    }

    /// What an owner said about requests; `None`: it is about something else, or he is none.
    pub(super) fn decide_by_words(&mut self, text: &str, who: &Identity, now: Now) -> Option<Answer> {
        if !self.is_owner(who) {
            return None;
        }
        let said = match Said::parse(text)? {
            Ok(said) => said,
            Err(teach) => return Some(Answer::new(488, "Not Acceptable Here", teach)),
        };
        Some(match said {
            Said::List => Answer::new(200, "OK", self.list_requests(key_of(who), now)),
            Said::Allow(number, span) => self.decide(key_of(who), number, true, span, now),
            Said::Deny(number) => self.decide(key_of(who), number, false, None, now),
        })
    }

    /// Whether an owner decides over a request, and so may know of it.
    pub(super) fn decides(&self, owner: &str, number: u32) -> bool {
        let wanted = self.requests.get(number);
        let device = wanted.and_then(|wanted| self.house.device(wanted.device));
        device.is_some_and(|device| self.deciders(device).any(|other| other == owner))
    }

    /// Those that an owner decides over.
    fn list_requests(&self, owner: &str, now: Now) -> String {
        let line = |wanted: &Wanted| {
            let minutes = now.wall_ms.saturating_sub(wanted.at_ms).max(0) / 60_000;
            Some(format!("{}: {}, {minutes} min ago", wanted.number, self.question(wanted)?))
        };
        let open = self.requests.open().filter(|wanted| self.decides(owner, wanted.number));
        let lines: Vec<String> = open.filter_map(line).collect();
        if lines.is_empty() { "nobody waits".to_owned() } else { super::wish::cut(&lines) }
    }

    /// An owner decided. The rule is his own, and it is on record before it counts.
    pub(super) fn decide(
        &mut self,
        owner: &str,
        number: u32,
        allow: bool,
        span: Option<Duration>,
        now: Now,
    ) -> Answer {
        // What somebody may not watch, nobody may on his word; and he hears nothing of it.
        let wanted = self.requests.get(number).filter(|_| self.decides(owner, number));
        let Some(wanted) = wanted.cloned() else {
            return Answer::new(404, "Not Found", format!("there is no request {number}"));
        };
        let Some(device) = self.house.device(wanted.device) else {
            return Answer::new(404, "Not Found", "that appliance is gone");
        };
        let name = device.name().to_owned();
        let rule = rule_of(&wanted, device.id(), &self.config.house.domain, allow, span, wall(now));
        let rules = &mut self.kept.rules.entry(owner.to_owned()).or_default().rules;
        let before = rules.clone();
        // What has ended only takes up room.
        let at = wall(now);
        rules.retain(|known| known.id != rule.id && !(is_decision(known) && known.is_over(at)));
        rules.push(rule);
        let set = Ruleset { rules: rules.clone() };
        // What could not be read again would be lost with the next start, with all that was decided before.
        if policy::read(policy::write(&set).as_bytes()).is_err() {
            *rules = before;
            return Answer::new(503, "Too Many Rules", "you have too many rules; delete some first");
        }
        self.audit_decision(owner, &wanted, allow, span, now);
        self.save(Kind::Rules, owner);
        if let Some(known) = self.requests.find(&wanted.who, wanted.device) {
            known.decided = true;
        }
        self.rules_changed(now);
        let subject = Subject::Device(wanted.device).code();
        self.notifier.decided(&wanted.who, subject, allow, now);
        let until = span.map_or(String::new(), |span| format!(" for {}", spell(span)));
        let words = match allow {
            true => format!("{} may watch {name}{until}; `deny {number}` ends it", wanted.who),
            false => format!("{} may not watch {name}; `allow {number}` changes that", wanted.who),
        };
        Answer::new(200, "OK", words)
    }

    fn audit_decision(
        &mut self,
        owner: &str,
        wanted: &Wanted,
        allow: bool,
        span: Option<Duration>,
        now: Now,
    ) {
        let at = wall(now).to_string();
        let device = self.house.device(wanted.device).map(|device| device.id().to_owned());
        let step = if allow { "allowed" } else { "denied" };
        let seconds = span.map(|span| span.as_secs());
        let line = serde_json::json!({"at": at, "step": step, "who": owner, "device": device, "what": format!("watch, for {}", wanted.who), "seconds": seconds});
        self.outputs.push_back(Output::Audit { line: line.to_string(), sensitive: false });
    }

    /// Whether an undecided request of somebody is there, for an authorizer that asks.
    pub(super) fn wants(&mut self, who: &Identity, device: DeviceId, now: Now) {
        let key = key_of(who).to_owned();
        if !self.asks_too_much(&identity_of(&key)) {
            self.ask_owners(&key, device, now);
        }
    }
}

/// The rule of a decision. The same two always have the same one, so that a new decision replaces it.
fn rule_of(
    wanted: &Wanted,
    device: &str,
    domain: &str,
    allow: bool,
    span: Option<Duration>,
    now: Timestamp,
) -> Rule {
    use std::hash::{Hash as _, Hasher as _};
    let address = address_of(&wanted.who, domain);
    let mut hasher = siphasher::sip::SipHasher13::new();
    (&address, device).hash(&mut hasher);
    let mut conditions =
        vec![Condition::Identity(vec![Who::One(address)]), Condition::Appliance(vec![device.to_owned()])];
    let span = span.and_then(|span| SignedDuration::try_from(span).ok());
    if let Some(until) = span.and_then(|span| now.checked_add(span).ok()) {
        conditions.push(Condition::Validity(vec![(now, until)]));
    }
    let watch = if allow { Watch::Allow } else { Watch::Block };
    let show = if allow { Show::All } else { Show::default() };
    Rule { id: format!("{DECISION}{:016x}", hasher.finish()), conditions, watch, act: Act::Block, show }
}

/// Whether a rule was made by a decision, and not by hand.
fn is_decision(rule: &Rule) -> bool {
    rule.id.starts_with(DECISION)
}

fn spell(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        _ if seconds.is_multiple_of(86_400) => format!("{} days", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{} h", seconds / 3600),
        _ => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_understood() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        let good = [
            ("allow 471", Said::Allow(471, None)),
            ("Allow #471 for 2h", Said::Allow(471, hours(2))),
            ("allow 471 for 2 hours", Said::Allow(471, hours(2))),
            ("allow 471 for 3 days", Said::Allow(471, hours(72))),
            ("DENY 471", Said::Deny(471)),
            ("requests", Said::List),
        ];
        for (text, said) in good {
            assert_eq!(Said::parse(text), Some(Ok(said)), "{text}");
        }
        for text in
            ["allow", "allow ben", "deny 4 7", "allow 471 for ever", "allow 471 for 9999999999999999999d"]
        {
            assert!(matches!(Said::parse(text), Some(Err(_))), "{text}");
        }
        assert_eq!(Said::parse("plug on"), None);
    }
}

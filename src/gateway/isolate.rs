//! The kill switch (draft-tsang-appliances-reqs §8.6.1): an appliance, or every one, is cut off.
//!
//! Nobody watches, asks or moves what is isolated: subscriptions end as rejected, leases end where they
//! are, so that nothing moves by it, and a command that is under way finishes. Drivers go on, and so
//! does what the appliance does by itself. What was isolated at the gateway itself is released there,
//! or by those whom the home file names for that.

use std::collections::BTreeMap;

use super::kept::{Key, Kind};
use super::{Gateway, Output};
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::answer::Answer;
use crate::event::{Subject, key_of};
use crate::sip::Rejection;
use crate::timer::Now;

/// Who pulled the switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Somebody at the gateway itself.
    Local,
    /// Somebody by words.
    Words,
}

impl Origin {
    fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Words => "words",
        }
    }
}

/// What is isolated.
#[derive(Debug, Default)]
pub(super) struct Isolation {
    /// By id.
    devices: BTreeMap<String, Origin>,
    /// Everything, also what the home file adds later.
    all: Option<Origin>,
}

impl Isolation {
    fn covers(&self, id: &str) -> bool {
        self.all.is_some() || self.devices.contains_key(id)
    }

    /// One line for each: `all words`, `= plug local`.
    fn write(&self) -> Option<String> {
        let all = self.all.iter().map(|origin| format!("all {}\n", origin.word()));
        let devices = self.devices.iter().map(|(id, origin)| format!("= {id} {}\n", origin.word()));
        let text: String = all.chain(devices).collect();
        (!text.is_empty()).then_some(text)
    }

    fn read(text: &str) -> Result<Self, String> {
        let origin = |word: &str| match word {
            "local" => Ok(Origin::Local),
            "words" => Ok(Origin::Words),
            other => Err(format!("`{other}` is neither local nor words")),
        };
        let mut read = Self::default();
        // What isolates nothing is never written.
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                ["all", word] => read.all = Some(origin(word)?),
                ["=", id, word] => drop(read.devices.insert((*id).to_owned(), origin(word)?)),
                _ => return Err(format!("`{line}` names nothing that is isolated")),
            }
        }
        Ok(read)
    }
}

/// What the switch is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    One(DeviceId),
    All,
}

/// The word for isolating or releasing, where the text is one.
pub(super) fn verb(text: &str) -> Option<bool> {
    match text.trim().to_lowercase().as_str() {
        "isolate" => Some(true),
        "release" => Some(false),
        _ => None,
    }
}

/// The same for every appliance.
pub(super) fn verb_for_all(text: &str) -> Option<bool> {
    let lower = text.trim().to_lowercase();
    verb(lower.strip_suffix(" all").unwrap_or(&lower))
}

impl Gateway {
    /// Isolates or releases an appliance by its id, or with `None` every one, for somebody at the
    /// gateway itself. What happened, in words. To be called between two inputs; outputs follow.
    ///
    /// # Errors
    /// When there is no such appliance.
    pub fn isolate(&mut self, id: Option<&str>, isolated: bool, now: Now) -> Result<String, String> {
        let cut = match id {
            None => Cut::All,
            Some(id) => {
                let found = self.house.find(id).map(|(id, _)| Cut::One(id));
                found.ok_or_else(|| format!("there is no device `{id}`"))?
            }
        };
        self.audit_cut(cut, isolated, "", "local", now);
        self.cut(cut, isolated, Origin::Local, now);
        self.settle(now);
        Ok(self.cut_words(cut, isolated))
    }

    /// The same by words of `who`.
    pub(super) fn isolate_by_words(&mut self, cut: Cut, isolated: bool, who: &Identity, now: Now) -> Answer {
        let name = key_of(who).to_owned();
        let named = |names: &[String]| matches!(who, Identity::User(user) if names.contains(user));
        let switch = &self.config.kill_switch;
        if !named(&switch.who) {
            self.counters.forbidden += 1;
            return Answer::new(403, "Forbidden", "you may isolate and release nothing");
        }
        if !isolated && !named(&switch.release_local) && self.is_local(cut) {
            self.counters.forbidden += 1;
            return Answer::new(
                403,
                "Forbidden",
                "it was isolated at the gateway itself, and is released there",
            );
        }
        self.audit_cut(cut, isolated, &name, "words", now);
        self.cut(cut, isolated, Origin::Words, now);
        Answer::new(200, "OK", self.cut_words(cut, isolated))
    }

    /// Whether something of it was isolated at the gateway itself.
    fn is_local(&self, cut: Cut) -> bool {
        let local = |origin: &Origin| *origin == Origin::Local;
        let of = match cut {
            Cut::All => self.isolation.devices.values().any(local),
            Cut::One(id) => {
                let id = self.house.device(id).map_or("", |device| device.id());
                self.isolation.devices.get(id).is_some_and(local)
            }
        };
        of || self.isolation.all.as_ref().is_some_and(local)
    }

    fn cut(&mut self, cut: Cut, isolated: bool, origin: Origin, now: Now) {
        let ids: Vec<String> = self.house.devices().map(|(_, device)| device.id().to_owned()).collect();
        match (cut, isolated) {
            (Cut::All, true) => {
                // What is local stays local.
                self.isolation.all = self.isolation.all.filter(|all| *all == Origin::Local).or(Some(origin));
                for id in ids {
                    self.isolation.devices.entry(id).or_insert(origin);
                }
            }
            (Cut::All, false) => self.isolation = Isolation::default(),
            (Cut::One(id), _) => {
                let Some(id) = self.house.device(id).map(|device| device.id().to_owned()) else { return };
                match isolated {
                    true => {
                        let entry = self.isolation.devices.entry(id).or_insert(origin);
                        if origin == Origin::Local {
                            *entry = origin;
                        }
                    }
                    // Released one by one, the others stay what they are, whenever they came.
                    false => {
                        if let Some(all) = self.isolation.all.take() {
                            for other in ids {
                                self.isolation.devices.entry(other).or_insert(all);
                            }
                        }
                        self.isolation.devices.remove(&id);
                    }
                }
            }
        }
        self.keep_isolation();
        self.apply_isolation(now);
    }

    /// Takes back what an earlier run kept.
    pub(super) fn restore_isolation(&mut self, body: &[u8]) -> Result<(), String> {
        let read = std::str::from_utf8(body).map_err(|why| why.to_string()).and_then(Isolation::read);
        // Somebody pulled the switch, and for what is not known: then it is for all.
        let all = Isolation { all: Some(Origin::Local), ..Isolation::default() };
        let (isolation, said) = match read {
            Ok(read) => (read, Ok(())),
            Err(why) => (all, Err(why)),
        };
        self.isolation = isolation;
        if said.is_err() {
            // The damaged document is moved aside: the next start must find this one.
            self.keep_isolation();
        }
        self.mark_isolated();
        said
    }

    fn keep_isolation(&mut self) {
        let key = Key { kind: Kind::Isolated, user: self.config.house.user.clone() };
        let body = self.isolation.write().map(bytes::Bytes::from);
        self.outputs.push_back(Output::Keep { key, body });
    }

    /// Marks the appliances, and lets everybody hear who has to.
    pub(super) fn apply_isolation(&mut self, now: Now) {
        let changed = self.mark_isolated();
        if changed.is_empty() {
            return;
        }
        let Self { leases, house, .. } = self;
        leases.retain(|id: DeviceId| house.device(id).is_some_and(|device| !device.isolated()));
        self.judge(now);
        let mut subjects = vec![Subject::All, Subject::Alerts];
        for id in changed {
            self.announce(Some(id));
            subjects.push(Subject::Device(id));
            let room = self.rooms.of_device(id).into_iter();
            subjects.extend(room.flat_map(|room| [Subject::Room(room), Subject::RoomList(room)]));
            subjects.extend(self.rooms.classes_of(id).into_iter().map(Subject::Class));
        }
        for subject in subjects {
            self.notifier.changed(subject.code(), now);
        }
    }

    /// The appliances that were marked anew.
    pub(super) fn mark_isolated(&mut self) -> Vec<DeviceId> {
        let wrong = |device: &crate::device::appliance::Device| {
            self.isolation.covers(device.id()) != device.isolated()
        };
        let changed: Vec<DeviceId> =
            self.house.devices().filter(|(_, device)| wrong(device)).map(|(id, _)| id).collect();
        for id in &changed {
            let isolated = self.house.device(*id).is_some_and(|device| !device.isolated());
            self.house.isolate(*id, isolated);
        }
        changed
    }

    fn cut_words(&self, cut: Cut, isolated: bool) -> String {
        let what = if isolated { "isolated" } else { "released" };
        match cut {
            Cut::All => format!("every appliance is {what}"),
            Cut::One(id) => {
                format!("{}: {what}", self.house.device(id).map_or("", |device| device.name()))
            }
        }
    }

    fn audit_cut(&mut self, cut: Cut, isolated: bool, who: &str, by: &str, now: Now) {
        let at = jiff::Timestamp::from_millisecond(now.wall_ms).map(|at| at.to_string()).unwrap_or_default();
        let device = match cut {
            Cut::All => "*",
            Cut::One(id) => self.house.device(id).map_or("", |device| device.id()),
        };
        let step = if isolated { "isolated" } else { "released" };
        let line = serde_json::json!({"at": at, "step": step, "who": who, "by": by, "device": device});
        self.outputs.push_back(Output::Audit { line: line.to_string(), sensitive: false });
    }

    /// Refuses what asks of an isolated appliance. Who may not know of it hears nothing new here.
    pub(super) fn check_isolation(
        &self,
        who: &Identity,
        subject: Subject,
        outside: bool,
    ) -> Result<(), Rejection> {
        let Subject::Device(id) = subject else { return Ok(()) };
        let isolated = self.house.device(id).is_some_and(|device| device.isolated());
        match isolated && self.may_see(who, id, outside) {
            true => Err(Rejection::new(480, "Isolated")),
            false => Ok(()),
        }
    }
}

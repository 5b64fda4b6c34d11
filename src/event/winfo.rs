//! `appliance.winfo` and `presence.winfo` (RFC 3857): who watches an appliance or a person, or wants to.
//! The owners of the house, and a person about himself, are told of everybody, everybody else of himself.
//! Peers that name the format of 2000 get that one.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::package::{Package, View};
use super::subject::Subject;
use crate::body::watcherinfo::{self, Watcher, WatcherEvent, WatcherInfo, WatcherList, WatcherStatus};
use crate::body::xwatcher;
use crate::sip::notifier::watchers::{Cause, Fact, Status};
use crate::sip::wire::Uri;
use crate::timer::Now;

/// See the module.
#[derive(Debug)]
pub struct Winfo {
    /// The name of the template package.
    pub name: &'static str,
    /// The package whose watchers it tells of.
    pub of: &'static str,
}

/// What a document of watcher information is made of.
#[derive(Clone, Copy, Debug)]
pub struct Watching<'a> {
    /// The address as it was subscribed to.
    pub entity: &'a str,
    /// Index into [`Package::content_types`].
    pub form: usize,
    /// How many documents this subscription got before.
    pub nth: u32,
    /// Whether it names everybody.
    pub full: bool,
    /// Who watches.
    pub facts: &'a [&'a Fact],
    /// The gateway's domain.
    pub domain: &'a str,
    /// The time.
    pub now: Now,
}

impl Package for Winfo {
    fn name(&self) -> &'static str {
        self.name
    }

    fn content_types(&self) -> &'static [&'static str] {
        &[watcherinfo::CONTENT_TYPE, xwatcher::CONTENT_TYPE]
    }

    fn offered(&self) -> usize {
        1
    }

    fn covers(&self, subject: Subject) -> bool {
        match subject {
            Subject::Device(_) => true,
            Subject::User(_) => self.of == "presence",
            _ => false,
        }
    }

    /// RFC 3857 §4.9.
    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn template_of(&self) -> Option<&'static str> {
        Some(self.of)
    }

    fn document(&self, _: &View<'_>) -> String {
        String::new()
    }

    fn watchers(&self, of: &Watching<'_>) -> String {
        let list = WatcherList {
            resource: of.entity.to_owned(),
            package: self.of.to_owned(),
            watchers: of.facts.iter().map(|fact| watcher(fact, of)).collect(),
        };
        match of.form {
            0 => watcherinfo::write(&WatcherInfo { version: of.nth, full: of.full, lists: vec![list] }),
            _ => xwatcher::write(&list, Timestamp::from_millisecond(of.now.wall_ms).unwrap_or_default()),
        }
    }
}

/// The address of 2000 for watcher information (draft-rosenberg-impp-watcherinfo-00 §5): the address of
/// the watcher and that of what it watches in one user part, each `@` escaped.
pub fn watcher_of_2000(uri: &str) -> Option<(String, String)> {
    let uri = Uri::parse(uri).ok()?;
    let user = uri.user_text()?;
    let mut parts = user.split('@');
    let (watcher, domain, subject, home) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then(|| (format!("sip:{watcher}@{domain}"), format!("sip:{subject}@{home}")))
}

fn watcher(fact: &Fact, of: &Watching<'_>) -> Watcher {
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let left = |at: Instant| seconds(at.saturating_duration_since(of.now.mono));
    Watcher {
        id: format!("w{:x}", fact.id),
        uri: super::address_of(&fact.who, of.domain),
        display: None,
        status: match fact.status {
            Status::Pending => WatcherStatus::Pending,
            Status::Active => WatcherStatus::Active,
            Status::Waiting => WatcherStatus::Waiting,
            Status::Terminated => WatcherStatus::Terminated,
        },
        event: match fact.cause {
            Cause::Subscribe => WatcherEvent::Subscribe,
            Cause::Approved => WatcherEvent::Approved,
            Cause::Rejected => WatcherEvent::Rejected,
            Cause::Timeout => WatcherEvent::Timeout,
            Cause::Giveup => WatcherEvent::Giveup,
            Cause::Deactivated => WatcherEvent::Deactivated,
            Cause::NoResource => WatcherEvent::NoResource,
        },
        expiration: fact.expires.map(left),
        duration_subscribed: Some(seconds(of.now.mono.saturating_duration_since(fact.began))),
    }
}

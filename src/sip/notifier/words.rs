//! What is said between the notifier and those who use it.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;

use super::rate::Rates;
use super::subscription::Condition;
use super::watchers::{Fact, Standing};
use crate::sip::dialog::Dialog;
use crate::timer::Now;

/// What a subscription watches, as its [`Source`] numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Which appliance, room or list.
    pub subject: u64,
    /// Which event package.
    pub package: usize,
    /// Which body format of the package.
    pub form: usize,
    /// Which parts this watcher may see, one bit each.
    pub view: u128,
    /// What else the document depends on, as its [`Source`] understands it.
    pub facet: u8,
}

/// A body for a NOTIFY.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its media type.
    pub content_type: Cow<'static, str>,
    /// The extension that a reader must know, for Require.
    pub require: Option<&'static str>,
    /// Its bytes, none for a watcher that wants none; shared by all watchers of the same resource where the format allows it.
    pub body: Bytes,
    /// It is not all of the state: where the next document goes on, as [`Page::from`].
    pub rest: Option<usize>,
}

/// Which part of a state a document says. Only a list has more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it begins.
    pub from: usize,
    /// It answers a SUBSCRIBE: a list must name everything that is on it.
    pub full: bool,
}

impl Page {
    /// Everything, from the beginning.
    pub const WHOLE: Self = Self { from: 0, full: true };
}

/// For whom a document is written.
#[derive(Clone, Copy, Debug)]
pub struct Watcher<'a> {
    /// The proven name.
    pub who: &'a str,
    /// How many documents this subscription got before.
    pub nth: u32,
    /// The address as it was subscribed to.
    pub entity: &'a str,
    /// How it stands with who decides over it.
    pub standing: Standing,
    /// The application's number of what this watcher filters by.
    pub filter: Option<usize>,
    /// How much of it.
    pub page: Page,
}

/// Something that happened and is over: said once to each watcher of that time, and to nobody later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What happened.
    pub name: std::sync::Arc<str>,
    /// What it says.
    pub value: std::sync::Arc<str>,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
}

/// What the notifier asks of the application.
pub trait Source {
    /// A number that changes with what is told of `resource` to one that stands so, and with nothing else
    /// (RFC 5839 §5.1).
    fn tag(&self, resource: Resource, standing: Standing) -> u64;
    /// The state of `resource` now, with what happened since the last document of this watcher; `None`
    /// when there is nothing to be said to one that stands so.
    fn document(&mut self, resource: Resource, watcher: Watcher<'_>, moments: &[Moment]) -> Option<Document>;
    /// Who watches `resource`: those that changed since the last document, or all.
    fn watchers(
        &mut self,
        resource: Resource,
        watcher: Watcher<'_>,
        facts: &[Fact],
        full: bool,
        now: Now,
    ) -> Document;
    /// Whether what changed is worth a NOTIFY to a watcher with a filter (RFC 4660 §5.3).
    fn is_worth(&mut self, _: Resource, _: Watcher<'_>, _: &[Moment]) -> bool {
        true
    }
    /// A watcher with a filter is told the state now.
    fn told(&mut self, _: Resource, _: Watcher<'_>) {}
}

/// Names a subscription. Stale ones find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionId {
    pub(super) index: usize,
    pub(super) serial: u64,
}

/// Why a subscription ends (RFC 6665 §4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It expired or was unsubscribed.
    Timeout,
    /// The notifier stops; the subscriber should come back at once.
    Deactivated,
    /// The right to watch is gone.
    Rejected,
    /// The appliance is gone.
    NoResource,
    /// What the filter names is gone (RFC 4660 §4.2).
    BadFilter,
}

impl End {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Deactivated => "deactivated",
            Self::Rejected => "rejected",
            Self::NoResource => "noresource",
            Self::BadFilter => "badfilter",
        }
    }
}

/// An accepted SUBSCRIBE.
#[derive(Debug)]
pub struct Wanted {
    /// What is watched.
    pub resource: Resource,
    /// Who watches: the proven name.
    pub who: String,
    /// The dialog.
    pub dialog: Dialog,
    /// The Event field of each NOTIFY: the package, and `;id=` where it was given.
    pub event: String,
    /// URI that documents name: the address as it was subscribed to.
    pub entity: String,
    /// Granted lifetime; zero for a fetch.
    pub expires: Duration,
    /// Least time between two NOTIFYs that the package asks for.
    pub interval: Duration,
    /// What the subscriber asks for.
    pub rates: Rates,
    /// What the subscriber knows already.
    pub condition: Option<Condition>,
    /// The application's number of what the subscriber filters by.
    pub filter: Option<usize>,
    /// How it stands with who decides over it.
    pub standing: Standing,
    /// For watcher information: what it tells of.
    pub template: Option<Template>,
}

/// What watcher information tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// The package whose watchers are watched.
    pub package: usize,
    /// Every document names all of them.
    pub whole: bool,
}

/// What is decided over a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on, seeing so much.
    Stands(Standing, u128),
    /// It ends.
    Ends(End),
}

/// What a subscriber says with a refresh.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// Granted lifetime; zero ends the subscription.
    pub expires: Duration,
    /// The rates that count from now on.
    pub rates: Rates,
    /// What the subscriber knows already.
    pub condition: Option<Condition>,
}

/// How a NOTIFY was answered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answered {
    /// The status code; 408 when nobody answered.
    pub status: u16,
    /// Nobody answered.
    pub silent: bool,
    /// Retry-After in seconds.
    pub retry_after: Option<u32>,
    /// New rates, where the answer names some (RFC 6446 §4.4).
    pub rates: Option<Rates>,
}

/// What an answer to a NOTIFY means for its subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes on.
    Goes,
    /// It is told again, after so many seconds where the answer says when.
    Again(Option<u32>),
    /// It is over.
    Ends,
}

impl Answered {
    /// RFC 6665 §4.2.2 names what ends a subscription, besides silence (Timer F); RFC 5057 §5.1 says why. A
    /// 408 that somebody sent comes from a proxy before a phone that sleeps, 430 from an edge whose flow to it
    /// is gone: the phone has not refused, and will refresh.
    pub(super) fn verdict(&self) -> Verdict {
        match (self.status, self.retry_after) {
            (..300, _) => Verdict::Goes,
            (481, _) => Verdict::Ends,
            (_, Some(seconds)) => Verdict::Again(Some(seconds)),
            (408, None) if self.silent => Verdict::Ends,
            (404 | 405 | 410 | 416 | 480..=485 | 489 | 501 | 604, None) => Verdict::Ends,
            (408 | 430 | 500 | 502..=504, None) => Verdict::Again(None),
            _ => Verdict::Goes,
        }
    }
}

//! One subscription, and how its NOTIFY is written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::judge::News;
use super::rate::{Rates, Sent};
use super::watchers::{Cause, Standing};
use super::{Document, End, Moment, Page, Resource, Source, SubscriptionId, Template, Wanted, Watcher};
use crate::limits;
use crate::sip::User;
use crate::sip::dialog::Dialog;
use crate::sip::transaction::Transactions;
use crate::sip::wire::Method;
use crate::timer::Now;

/// The wait after a NOTIFY that did not reach its watcher; it doubles with each on end, up to [`LONGEST`]: who is back
/// knows what is so within two minutes.
const REFUSED: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(120);
/// How many of them there are on end.
const REFUSALS: u32 = 14;

#[derive(Debug)]
pub(super) struct Subscription {
    pub serial: u64,
    pub resource: Resource,
    pub who: String,
    pub dialog: Dialog,
    pub event: String,
    pub entity: String,
    pub expires: Instant,
    /// For how long the last SUBSCRIBE was granted.
    pub granted: Duration,
    /// CSeqs up to this one are ours in whatever run: on record as used. 0: none is.
    pub reserved: u32,
    /// When it was last put on record.
    pub noted: Option<Instant>,
    /// Least time between two NOTIFYs that the package asks for.
    pub package_interval: Duration,
    pub rates: Rates,
    pub condition: Option<Condition>,
    pub filter: Option<usize>,
    pub standing: Standing,
    /// Of whose watchers it is told, when it is not told of a state.
    pub template: Option<Template>,
    /// Its number as a watcher; a phone that subscribes anew keeps it.
    pub watcher: u64,
    pub began: Instant,
    /// What brought it where it stands, and the number of that change.
    pub cause: Cause,
    pub changed: u64,
    /// The last change of a watcher that it was told of; `None`: it is told everything next.
    pub mark: Option<u64>,
    /// Another one of the same phone took its place.
    pub replaced: bool,
    /// Something changed since the last NOTIFY was written.
    pub dirty: bool,
    /// The next NOTIFY goes out whatever the interval: the answer to a SUBSCRIBE, or the last one.
    pub at_once: bool,
    pub outstanding: bool,
    /// In the queue of those that may send now.
    pub queued: bool,
    /// The connection is gone: nothing can be said until the phone refreshes over another.
    pub lost: bool,
    /// Once already nobody answered and it was the flow that was asked about.
    pub doubted: bool,
    /// NOTIFYs on end that did not reach the watcher, although somebody answered.
    pub refused: u32,
    /// The next NOTIFY tells the same again, and waits for that.
    pub retries: bool,
    /// Place among the watchers of its subject; `None` once it watches nothing any more.
    pub slot: Option<usize>,
    pub twin: u64,
    pub last: Option<Instant>,
    /// A Retry-After: nothing is sent before, unless at once.
    pub hold: Option<Instant>,
    pub end: Option<End>,
    pub sent: u32,
    pub lately: Sent,
    /// Not yet acknowledged, oldest first.
    pub moments: VecDeque<Moment>,
    /// How many of them are in the NOTIFY that is outstanding.
    pub moments_sent: usize,
    /// Where a state that was too long for one NOTIFY goes on; 0: nothing is left of it.
    pub next_page: usize,
}

/// Where a subscription stands in the tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub serial: u64,
    /// Among the watchers of its subject.
    pub slot: usize,
    /// What makes it the same one to its phone.
    pub twin: u64,
}

/// What a subscriber knows already (RFC 5839): while it holds, there is no state to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `Suppress-If-Match: *`: nothing is sent until the next SUBSCRIBE.
    Any,
    /// The state with this entity-tag.
    Tag(u64),
}

impl Condition {
    /// Reads the value of Suppress-If-Match. A tag that was never ours matches nothing.
    pub fn read(value: &[u8]) -> Option<Self> {
        if value == b"*" {
            return Some(Self::Any);
        }
        let text = std::str::from_utf8(value).ok()?;
        u64::from_str_radix(text, 16).ok().map(Self::Tag)
    }

    /// Whether it holds for the state with `tag`.
    pub fn holds(self, tag: u64) -> bool {
        self == Self::Any || self == Self::Tag(tag)
    }
}

impl Subscription {
    /// A subscription that has been told nothing yet. `watcher` is its number as a watcher and when it
    /// began, `changed` the number of this change.
    pub fn new(wanted: Wanted, place: Place, watcher: (u64, Instant), changed: u64, now: Now) -> Self {
        let fetch = wanted.expires.is_zero();
        Self {
            serial: place.serial,
            resource: wanted.resource,
            who: wanted.who,
            dialog: wanted.dialog,
            event: wanted.event,
            entity: wanted.entity,
            expires: now.mono + wanted.expires,
            granted: wanted.expires,
            reserved: 0,
            noted: None,
            package_interval: wanted.interval,
            rates: wanted.rates,
            condition: wanted.condition,
            standing: wanted.standing,
            template: wanted.template,
            watcher: watcher.0,
            began: watcher.1,
            cause: Cause::Subscribe,
            changed,
            mark: None,
            replaced: false,
            filter: wanted.filter,
            lately: Sent::default(),
            dirty: true,
            at_once: true,
            outstanding: false,
            queued: false,
            lost: false,
            doubted: false,
            refused: 0,
            retries: false,
            slot: Some(place.slot),
            twin: place.twin,
            last: None,
            hold: None,
            end: fetch.then_some(End::Timeout),
            sent: 0,
            moments: VecDeque::new(),
            moments_sent: 0,
            next_page: 0,
        }
    }

    /// Whether there is something to say.
    pub fn has_news(&self) -> bool {
        self.dirty || self.next_page > 0
    }

    /// Has something said with the next NOTIFY.
    pub fn add(&mut self, moment: Moment) {
        if self.moments.len() >= limits::MOMENTS {
            // Full: the watcher does not answer; the oldest is lost to it.
            self.moments.pop_front();
            self.moments_sent = self.moments_sent.saturating_sub(1);
        }
        self.moments.push_back(moment);
    }

    /// The last NOTIFY did not reach the watcher: it is sent again after so many seconds, or ever more slowly. After
    /// [`REFUSALS`] of them the next change, or a refresh, brings the next.
    pub fn again(&mut self, seconds: Option<u32>, now: Now) {
        let wait = match seconds {
            Some(seconds) => Duration::from_secs(u64::from(seconds.min(limits::RETRY_AFTER))),
            None if self.refused < REFUSALS => (REFUSED * (1 << self.refused.min(4))).min(LONGEST),
            None => return,
        };
        self.refused = self.refused.saturating_add(1).min(REFUSALS);
        (self.dirty, self.retries) = (true, seconds.is_none());
        self.hold = Some(now.mono + wait);
    }

    /// Whoever refused for the watcher serves again: what he was not told is due, but for a wait that was asked for.
    /// Whether there is anything.
    pub fn served_again(&mut self) -> bool {
        if std::mem::take(&mut self.refused) == 0 {
            return false;
        }
        if std::mem::take(&mut self.retries) {
            self.hold = None;
        }
        self.dirty = true;
        !self.outstanding
    }

    /// When the next NOTIFY may go out, as far as rates say.
    pub fn next(&self) -> Option<Instant> {
        let paced = self.last.map(|last| last + self.rates.interval(self.package_interval));
        paced.max(self.hold)
    }

    /// When one has to go out although nothing changes (RFC 6446 min-rate).
    pub fn beat(&self) -> Option<Instant> {
        self.last?.checked_add(self.rates.longest(self.package_interval, &self.lately)?)
    }

    /// Writes and sends the newest state; nothing when the subscriber knows it already. False then.
    pub fn send(
        &mut self,
        id: SubscriptionId,
        news: Option<News>,
        transactions: &mut Transactions<User>,
        source: &mut dyn Source,
        now: Now,
    ) -> bool {
        let goes_on = self.next_page > 0 && self.end.is_none();
        let due = self.beat().is_some_and(|at| at <= now.mono);
        if self.filter.is_some() && !goes_on && !self.is_worth(source, now) {
            self.dirty = false;
            self.moments.clear();
            return false;
        }
        // The number of watchers' changes begins anew with each run: it is no entity-tag.
        let tag = self.template.is_none().then(|| source.tag(self.resource, self.standing));
        let known = !goes_on
            && self.moments.is_empty()
            && self.condition.zip(tag).is_some_and(|(condition, tag)| condition.holds(tag));
        let page = self.page(goes_on);
        if !goes_on {
            // What changes from here on is said when this state has been said to its end. Of watchers,
            // what does not fit one document follows in the next.
            self.dirty = news.as_ref().is_some_and(|news| news.more);
            self.at_once = false;
        }
        // A beat says that all is as it was.
        if known && self.end.is_none() && !due {
            return false;
        }
        let (who, entity, standing, filter) = (&*self.who, &*self.entity, self.standing, self.filter);
        let watcher = Watcher { who, nth: self.sent, entity, standing, filter, page };
        if self.filter.is_some() && !goes_on {
            source.told(self.resource, watcher);
        }
        let moments: &[Moment] = if goes_on { &[] } else { self.moments.make_contiguous() };
        // Who lost the right is told no state, what is gone has none, and what is known is not said.
        let document = match self.end {
            Some(End::Rejected | End::NoResource) => None,
            _ if known => None,
            _ => match &news {
                Some(news) => Some(source.watchers(self.resource, watcher, &news.facts, news.full, now)),
                None => source.document(self.resource, watcher, moments),
            },
        };
        self.mark =
            news.filter(|_| self.template.is_some_and(|template| !template.whole)).map(|news| news.mark);
        self.moments_sent = moments.len();
        let rest = document.as_ref().and_then(|document| document.rest);
        self.next_page = rest.filter(|_| self.end.is_none()).unwrap_or(0);
        // From here on the subscriber knows this state, and would hear of it again only with a change.
        if let (Some(_), Some(_), Some(tag)) = (&document, self.condition, tag) {
            self.condition = Some(Condition::Tag(tag));
        }
        // What is not all of the state has no tag, and who has to wait gets none.
        let tag = tag.filter(|_| self.standing != Standing::Pending && rest.is_none());
        self.write(id, document.as_ref(), tag, transactions, now);
        true
    }

    /// Writes the NOTIFY and hands it over.
    fn write(
        &mut self,
        id: SubscriptionId,
        document: Option<&Document>,
        tag: Option<u64>,
        transactions: &mut Transactions<User>,
        now: Now,
    ) {
        let state = self.state(now);
        let (event, dialog) = (&self.event, &mut self.dialog);
        let user = User::Notify(id, dialog.local_seq + 1);
        transactions.send(dialog.hop, Method::Notify, user, now.mono, |branch| {
            let mut writer = dialog.request(Method::Notify, branch);
            writer.field("Event", &[event]);
            writer.field("Subscription-State", &[&state]);
            let Some(document) = document else { return writer.finish() };
            if let Some(extension) = document.require {
                writer.field("Require", &[extension]);
            }
            if let Some(tag) = tag {
                writer.field_fmt("SIP-ETag", format_args!("{tag:016x}"));
            }
            writer.body(&document.content_type, &document.body)
        });
        self.retries = false;
        self.sent += 1;
        self.lately.add(now.mono);
        self.outstanding = true;
        self.last = Some(now.mono);
    }

    /// Whether a watcher with a filter is to hear of the state: after a SUBSCRIBE, when something must be
    /// said, and else when his filter says so.
    fn is_worth(&mut self, source: &mut dyn Source, now: Now) -> bool {
        let due = self.beat().is_some_and(|at| at <= now.mono);
        if self.at_once || self.end.is_some() || due {
            return true;
        }
        let (who, entity, standing, filter) = (&*self.who, &*self.entity, self.standing, self.filter);
        let watcher = Watcher { who, nth: self.sent, entity, standing, filter, page: self.page(false) };
        source.is_worth(self.resource, watcher, self.moments.make_contiguous())
    }

    /// What is said next, from where the last NOTIFY ended.
    fn page(&self, goes_on: bool) -> Page {
        Page { from: if goes_on { self.next_page } else { 0 }, full: self.at_once && !goes_on }
    }

    fn state(&self, now: Now) -> String {
        use std::fmt::Write as _;
        let mut state = String::with_capacity(48);
        // Writing to a String cannot fail.
        let _ = match self.end {
            Some(end) => write!(state, "terminated;reason={}", end.reason()),
            None => {
                let word = if self.standing == Standing::Pending { "pending" } else { "active" };
                write!(state, "{word};expires={}", self.expires.saturating_duration_since(now.mono).as_secs())
            }
        };
        if self.end.is_none() {
            self.rates.write(self.package_interval, &mut state);
        }
        state
    }
}

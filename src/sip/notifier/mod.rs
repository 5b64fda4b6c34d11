//! The notifier of RFC 6665: subscriptions, and when each of them hears something.
//!
//! It knows no package and no body format: a [`Source`] writes the documents. It keeps one NOTIFY
//! outstanding per subscription, sends always the newest state, and never faster than the package
//! allows; what changed meanwhile is one dirty flag, not a queue.

mod filtered;
mod flows;
mod judge;
mod others;
pub mod rate;
mod room;
mod subscription;
mod table;
mod tell;
pub mod watchers;
mod words;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use slab::Slab;

pub use self::subscription::Condition;
use self::subscription::{Place, Subscription};
use self::table::twin_of;
use self::watchers::{Standing, Watchers};
pub use self::words::{
    Answered, Document, End, Moment, Page, Refresh, Resource, Ruling, Source, SubscriptionId, Template,
    Wanted, Watcher,
};
use super::dialog::DialogFault;
use super::transaction::Transactions;
use super::wire::Message;
use super::{FlowId, Hop, User};
use crate::limits;
use crate::timer::{Deadlines, Now};

/// Everything that the notifier remembers.
#[derive(Debug, Default)]
pub struct Notifier {
    subscriptions: Slab<Subscription>,
    by_topic: HashMap<Topic, Vec<SubscriptionId>>,
    by_who: HashMap<String, usize>,
    ready: VecDeque<SubscriptionId>,
    /// Flows that take nothing for now, and who waits for each.
    full: HashMap<FlowId, Vec<SubscriptionId>>,
    deadlines: Deadlines<(SubscriptionId, Wake)>,
    /// Newest subscription per user, address, package and Contact.
    twins: HashMap<u64, SubscriptionId>,
    serial: u64,
    watchers: Watchers,
    /// Filters that no subscription uses any more.
    unused: Vec<usize>,
}

/// What subscriptions are found by: a subject, and whether its state is watched or its watchers.
type Topic = (u64, bool);

#[derive(Clone, Copy, Debug)]
enum Wake {
    /// The interval has passed, or a Retry-After.
    Send,
    /// The subscription may have expired.
    Expire,
    /// Something has to be said although nothing changed.
    Beat,
}

/// How long an expired subscription is kept for a refresh that is late on its way: phones refresh
/// at the last moment.
const GRACE: Duration = Duration::from_secs(32);

impl Notifier {
    /// Whether one more subscription of `who` fits.
    pub fn has_room(&self, who: &str) -> bool {
        self.subscriptions.len() < limits::SUBSCRIPTIONS
            && self.by_who.get(who).copied().unwrap_or(0) < limits::SUBSCRIPTIONS_PER_USER
    }

    /// The id and tag for the next subscription; the tag leads back to it without searching.
    pub fn next_tag(&mut self, random: u64) -> String {
        let index = self.subscriptions.vacant_key();
        format!("{index:x}.{:x}.{random:016x}", self.serial + 1)
    }

    /// Takes an accepted SUBSCRIBE. The 200 must have been handed over before: the first NOTIFY
    /// goes out with the next [`Notifier::flush`].
    ///
    /// An older subscription of the same user to the same thing from the same Contact, in the same
    /// format and with the same rates, is one that the phone has forgotten: it is
    /// replaced. A fetch replaces nothing.
    pub fn add(&mut self, wanted: Wanted, now: Now) -> SubscriptionId {
        let twin = twin_of(&wanted);
        let fetch = wanted.expires.is_zero();
        let forgotten = if fetch { None } else { self.twin(twin, &wanted) };
        self.serial += 1;
        let id = SubscriptionId { index: self.subscriptions.vacant_key(), serial: self.serial };
        let (resource, expires) = (wanted.resource, now.mono + wanted.expires);
        let topic = (resource.subject, wanted.template.is_some());
        let watchers = self.by_topic.entry(topic).or_default();
        let place = Place { serial: self.serial, slot: watchers.len(), twin };
        watchers.push(id);
        // Whoever gave up before anybody decided goes on waiting.
        let before = self.watchers.take(|fact| {
            fact.who == wanted.who && fact.subject == resource.subject && fact.package == resource.package
        });
        let watcher = before.map_or((self.serial, now.mono), |before| (before.id, before.began));
        *self.by_who.entry(wanted.who.clone()).or_default() += 1;
        let changed = self.watchers.next();
        self.subscriptions.insert(Subscription::new(wanted, place, watcher, changed, now));
        if !fetch {
            self.twins.insert(twin, id);
            self.deadlines.set(expires + GRACE, (id, Wake::Expire));
        }
        self.ready.push_back(id);
        // Only now: the place that it leaves must not be the one that the new tag names.
        if let Some(forgotten) = forgotten {
            self.replace(forgotten, id, now);
        }
        if topic == (resource.subject, false) {
            self.watchers_changed(resource.subject, resource.package, now);
        }
        id
    }

    /// The subscription whose dialog `request` belongs to. Allocates nothing.
    pub fn find(&self, request: &Message<'_>) -> Option<SubscriptionId> {
        let to = request.to().ok()?;
        let mut parts = to.tag()?.split('.');
        let index = usize::from_str_radix(parts.next()?, 16).ok()?;
        let serial = u64::from_str_radix(parts.next()?, 16).ok()?;
        let subscription =
            self.subscriptions.get(index).filter(|subscription| subscription.serial == serial)?;
        subscription.dialog.is_of(request).then_some(SubscriptionId { index, serial })
    }

    /// Who holds a subscription that goes on, and what it watches.
    pub fn holder(&self, id: SubscriptionId) -> Option<(&str, Resource)> {
        let going_on = self.get(id).filter(|subscription| subscription.end.is_none());
        going_on.map(|subscription| (subscription.who.as_str(), subscription.resource))
    }

    /// Whether the Event of a refresh is that of the subscription.
    pub fn same_event(&self, id: SubscriptionId, package: &str, event_id: Option<&str>) -> bool {
        self.get(id).is_some_and(|subscription| {
            let (ours, our_id) = match subscription.event.split_once(";id=") {
                Some((ours, our_id)) => (ours, Some(our_id)),
                None => (subscription.event.as_str(), None),
            };
            ours.eq_ignore_ascii_case(package) && our_id == event_id
        })
    }

    /// A refresh, or with zero an unsubscription. The 200 must be handed over next, before
    /// [`Notifier::flush`].
    ///
    /// # Errors
    /// When the request does not continue the dialog.
    pub fn refresh(
        &mut self,
        id: SubscriptionId,
        request: &Message<'_>,
        hop: Hop,
        wish: Refresh,
        now: Now,
    ) -> Result<(), DialogFault> {
        let Some(subscription) = self.get_mut(id) else { return Ok(()) };
        let before = subscription.dialog.hop;
        subscription.dialog.on_request(request, hop)?;
        // It lives somewhere else now: a NOTIFY that is on its way to the old place will not be
        // answered, and that is no sign against it.
        subscription.outstanding &= before == hop;
        // Nor does it wait for room where it was.
        subscription.queued &= before == hop;
        subscription.lost = false;
        subscription.expires = now.mono + wish.expires;
        subscription.rates = wish.rates;
        subscription.condition = wish.condition;
        subscription.mark = None;
        subscription.dirty = true;
        subscription.at_once = true;
        subscription.next_page = 0;
        if wish.expires.is_zero() {
            subscription.end = Some(End::Timeout);
        } else {
            let at = subscription.expires + GRACE;
            self.deadlines.set(at, (id, Wake::Expire));
        }
        self.make_ready(id);
        Ok(())
    }

    /// The state of `subject` changed: each of its watchers hears of it as soon as it may.
    pub fn changed(&mut self, subject: u64, now: Now) {
        self.changed_for(subject, |_, _| true, now);
    }

    /// A part of `subject` changed: only those who may see it hear that something did.
    pub fn changed_for(&mut self, subject: u64, may_see: impl Fn(&str, Resource) -> bool, now: Now) {
        let Some(ids) = self.by_topic.get(&(subject, false)) else { return };
        for id in ids.clone() {
            let told = |it: &Subscription| it.standing == Standing::Active && may_see(&it.who, it.resource);
            if self.get(id).is_some_and(told) {
                self.mark(id, now);
            }
        }
    }

    /// Something happened to `subject`: those of its watchers whose view has the bit `part` hear of it
    /// with their next NOTIFY.
    pub fn happened(&mut self, subject: u64, part: usize, moment: &Moment, now: Now) {
        let Some(ids) = self.by_topic.get(&(subject, false)) else { return };
        for id in ids.clone() {
            let Some(subscription) = self.get_mut(id) else { continue };
            if subscription.standing != Standing::Active
                || part >= 128
                || subscription.resource.view >> part & 1 == 0
            {
                continue;
            }
            subscription.add(moment.clone());
            self.mark(id, now);
        }
    }

    /// Ends every subscription that `which` names, with a last NOTIFY.
    pub fn end(&mut self, end: End, mut which: impl FnMut(&str, Resource) -> bool, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            if self.get(id).is_some_and(|subscription| which(&subscription.who, subscription.resource)) {
                self.finish(id, end, now);
            }
        }
    }

    /// Sends every NOTIFY that may go out now.
    pub fn flush(&mut self, transactions: &mut Transactions<User>, source: &mut dyn Source, now: Now) {
        while self.send_next(transactions, source, now) {}
    }

    /// Sends the next NOTIFY that may go out now; false when there is none. Whoever writes one only when
    /// the last is on its way lets the first of many watchers hear at once.
    pub fn send_next(
        &mut self,
        transactions: &mut Transactions<User>,
        source: &mut dyn Source,
        now: Now,
    ) -> bool {
        while let Some(id) = self.ready.pop_front() {
            if self.waits(id) {
                continue;
            }
            let news = self.news(id);
            let Some(subscription) = self.get_mut(id) else { continue };
            subscription.queued = false;
            if subscription.outstanding || !subscription.has_news() || subscription.lost {
                continue;
            }
            let sent = subscription.send(id, news, transactions, source, now);
            let beat = subscription.beat().filter(|_| sent && subscription.end.is_none());
            let ended = subscription.end.is_some();
            if let Some(at) = beat {
                self.deadlines.set(at, (id, Wake::Beat));
            }
            if ended {
                // Kept until the last NOTIFY's transaction is over, so that it is repeated when lost;
                // but it watches nothing any more.
                self.forget_subject(id, now);
            }
            if sent {
                return true;
            }
        }
        false
    }

    /// The NOTIFY with that CSeq was answered. One that is not waited for any more says nothing.
    pub fn on_answer(&mut self, id: SubscriptionId, cseq: u32, answered: Answered, now: Now) {
        let Answered { status, retry_after, rates } = answered;
        let Some(subscription) =
            self.get_mut(id).filter(|known| known.outstanding && known.dialog.local_seq == cseq)
        else {
            return;
        };
        subscription.outstanding = false;
        if status >= 300 {
            // What it did not take it is told anew.
            subscription.mark = None;
        }
        if let Some(rates) = rates.filter(|_| status < 300) {
            subscription.rates = rates;
            if let Some(at) = subscription.beat() {
                self.deadlines.set(at, (id, Wake::Beat));
            }
        }
        let Some(subscription) = self.get_mut(id) else { return };
        let told = std::mem::take(&mut subscription.moments_sent);
        if status < 300 {
            subscription.doubted = false;
            subscription.moments.drain(..told.min(subscription.moments.len()));
        }
        if status >= 300 {
            // The next document begins at the beginning.
            subscription.dirty |= std::mem::take(&mut subscription.next_page) > 0;
        }
        if subscription.end.is_some() && !subscription.dirty {
            self.remove(id, now);
            return;
        }
        match (status, retry_after) {
            (..300, _) => {}
            (481, _) => return self.remove(id, now),
            (_, Some(seconds)) => {
                subscription.dirty = true;
                let at = now.mono + Duration::from_secs(u64::from(seconds.min(limits::RETRY_AFTER)));
                subscription.hold = Some(at);
            }
            // RFC 6665 §4.2.2: these end the subscription; so does silence (Timer F).
            (404 | 405 | 408 | 410 | 416 | 480..=485 | 489 | 501 | 604, None) => {
                self.remove(id, now);
                return;
            }
            _ => {}
        }
        if self.get(id).is_some_and(Subscription::has_news) {
            self.schedule(id, now);
        }
    }

    /// Deals with every deadline that has passed.
    pub fn on_deadline(&mut self, now: Now) {
        self.forget_deadlines();
        self.give_up(now);
        while let Some((id, wake)) = self.deadlines.due(now.mono) {
            match wake {
                // It may have been set for a NOTIFY that went out earlier: times are looked at again.
                Wake::Send => {
                    if self
                        .get(id)
                        .is_some_and(|subscription| subscription.dirty && !subscription.outstanding)
                    {
                        self.schedule(id, now);
                    }
                }
                Wake::Expire => self.expire(id, now),
                Wake::Beat => {
                    if self.get(id).and_then(Subscription::beat).is_some_and(|at| at <= now.mono) {
                        self.mark(id, now);
                    }
                }
            }
        }
    }

    /// The next moment at which something has to be done.
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.deadlines.next(), self.patience()].into_iter().flatten().min()
    }

    /// How many subscriptions are held.
    pub fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.subscriptions.is_empty()
    }

    fn ids(&self) -> impl Iterator<Item = SubscriptionId> + '_ {
        self.subscriptions
            .iter()
            .map(|(index, subscription)| SubscriptionId { index, serial: subscription.serial })
    }

    fn get(&self, id: SubscriptionId) -> Option<&Subscription> {
        self.subscriptions.get(id.index).filter(|subscription| subscription.serial == id.serial)
    }

    fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Subscription> {
        self.subscriptions.get_mut(id.index).filter(|subscription| subscription.serial == id.serial)
    }

    fn mark(&mut self, id: SubscriptionId, now: Now) {
        let Some(subscription) = self.get_mut(id) else { return };
        if subscription.end.is_some() || std::mem::replace(&mut subscription.dirty, true) {
            return;
        }
        if !subscription.outstanding {
            self.schedule(id, now);
        }
    }

    /// Now, or when the interval and a Retry-After have passed.
    fn schedule(&mut self, id: SubscriptionId, now: Now) {
        let Some(subscription) = self.get(id) else { return };
        let at_once = subscription.at_once || subscription.next_page > 0;
        match subscription.next().filter(|at| *at > now.mono && !at_once) {
            Some(at) => self.deadlines.set(at, (id, Wake::Send)),
            None => self.make_ready(id),
        }
    }

    fn make_ready(&mut self, id: SubscriptionId) {
        let Some(subscription) = self.get_mut(id) else { return };
        if !std::mem::replace(&mut subscription.queued, true) {
            self.ready.push_back(id);
        }
    }

    fn expire(&mut self, id: SubscriptionId, now: Now) {
        let Some(subscription) = self.get_mut(id) else { return };
        if subscription.expires + GRACE > now.mono || subscription.end.is_some() {
            return;
        }
        if subscription.lost {
            self.remove(id, now);
            return;
        }
        subscription.end = Some(End::Timeout);
        subscription.dirty = true;
        subscription.at_once = true;
        self.make_ready(id);
    }

    /// A phone that refreshes in a storm leaves a deadline behind with each refresh, for hours: those
    /// that mean nothing any more are thrown out once they are the most.
    fn forget_deadlines(&mut self) {
        let subscriptions = &self.subscriptions;
        self.deadlines.shrink(subscriptions.len(), |at, (id, wake)| {
            let found = subscriptions.get(id.index).filter(|it| it.serial == id.serial);
            found.is_some_and(|it| match wake {
                Wake::Send => it.dirty && !it.outstanding,
                Wake::Expire => it.expires + GRACE == at,
                Wake::Beat => it.beat() == Some(at),
            })
        });
    }
}

#[cfg(test)]
mod tests;

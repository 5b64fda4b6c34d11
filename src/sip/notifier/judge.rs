//! Decisions over subscriptions, and what is told of watchers (RFC 3857).

use std::time::Instant;

use super::watchers::{Cause, Fact, Standing, Status};
use super::{Condition, End, Notifier, Resource, Ruling, Subscription, SubscriptionId};
use crate::limits;
use crate::timer::Now;

/// What a subscriber to watcher information is told next.
#[derive(Debug)]
pub(super) struct News {
    /// Oldest change first.
    pub facts: Vec<Fact>,
    /// Whether this is where everything begins.
    pub full: bool,
    /// The last change that is in it.
    pub mark: u64,
    /// More follows in the next one.
    pub more: bool,
}

impl Notifier {
    /// Looks at every subscription again: rights have changed.
    pub fn judge(&mut self, mut ruling: impl FnMut(&str, Resource, Standing) -> Ruling, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let Some(subscription) = self.get(id).filter(|it| it.end.is_none()) else { continue };
            match ruling(&subscription.who, subscription.resource, subscription.standing) {
                Ruling::Ends(end) => self.finish(id, end, now),
                Ruling::Stands(standing, view) => self.settle(id, standing, view, now),
            }
        }
    }

    /// Forgets the watchers that wait, where `keep` does not name them; the others learn of it.
    pub fn forget_waiting(&mut self, keep: impl Fn(&Fact) -> bool, now: Now) {
        while let Some(fact) = self.watchers.take(|fact| !keep(fact)) {
            let (subject, package) = (fact.subject, fact.package);
            self.watchers.end(fact, Cause::NoResource);
            self.watchers_changed(subject, package, now);
        }
    }

    /// A decision was made for somebody: a watcher that gave up waiting for it is over (RFC 3857
    /// §4.7.1); its next subscription meets the decision.
    pub fn decided(&mut self, who: &str, subject: u64, allowed: bool, now: Now) {
        while let Some(fact) = self.watchers.take(|fact| fact.who == who && fact.subject == subject) {
            let cause = if allowed { Cause::Approved } else { Cause::Rejected };
            let package = fact.package;
            self.watchers.end(fact, cause);
            self.watchers_changed(subject, package, now);
        }
    }

    /// Who waits for a decision now, or gave up waiting: name and subject.
    pub fn undecided(&self) -> impl Iterator<Item = (&str, u64)> {
        let pending = self.subscriptions.iter().map(|(_, subscription)| subscription);
        let pending = pending.filter(|it| it.standing == Standing::Pending && it.end.is_none());
        let pending = pending.map(|it| (it.who.as_str(), it.resource.subject));
        pending.chain(self.watchers.waiting().iter().map(|fact| (fact.who.as_str(), fact.subject)))
    }

    fn settle(&mut self, id: SubscriptionId, standing: Standing, view: u128, now: Now) {
        let change = self.watchers.next();
        let Some(subscription) = self.get_mut(id) else { return };
        if subscription.standing == standing && subscription.resource.view == view {
            return;
        }
        subscription.resource.view = view;
        // What it knows of the old view says nothing of the new one.
        subscription.condition = subscription.condition.map(|_| Condition::Tag(0));
        subscription.dirty = true;
        subscription.at_once = true;
        if std::mem::replace(&mut subscription.standing, standing) != standing {
            subscription.cause = Cause::Approved;
            subscription.changed = change;
        }
        let (subject, package) = (subscription.resource.subject, subscription.resource.package);
        self.watchers_changed(subject, package, now);
        self.note(id);
        self.make_ready(id);
    }

    /// How a subscription stands.
    pub fn standing(&self, id: SubscriptionId) -> Standing {
        self.get(id).map(|subscription| subscription.standing).unwrap_or_default()
    }

    /// Ends one subscription with a last NOTIFY.
    pub(super) fn finish(&mut self, id: SubscriptionId, end: End, now: Now) {
        let Some(subscription) = self.get_mut(id).filter(|it| it.end.is_none()) else { return };
        if subscription.lost {
            // There is no way to tell it.
            subscription.end = Some(end);
            return self.remove(id, now);
        }
        subscription.end = Some(end);
        subscription.dirty = true;
        subscription.at_once = true;
        self.make_ready(id);
    }

    /// The watchers of a subject in a package changed: whoever is told of them hears it.
    pub(super) fn watchers_changed(&mut self, subject: u64, package: usize, now: Now) {
        let Some(ids) = self.by_topic.get(&(subject, true)) else { return };
        for id in ids.clone() {
            if self.get(id).is_some_and(|subscription| {
                subscription.template.is_some_and(|template| template.package == package)
            }) {
                self.mark(id, now);
            }
        }
    }

    /// The phone forgot a subscription and made another: the same watcher, told under the new one.
    pub(super) fn replace(&mut self, old: SubscriptionId, new: SubscriptionId, now: Now) {
        let Some(before) = self.get_mut(old) else { return };
        before.replaced = true;
        let (watcher, began, ended) = (before.watcher, before.began, before.end.is_some());
        if !ended && let Some(after) = self.get_mut(new) {
            (after.watcher, after.began) = (watcher, began);
        }
        self.remove(old, now);
    }

    /// A subscription is over.
    pub(super) fn note_end(&mut self, id: SubscriptionId, now: Now) {
        let Some(subscription) = self.get(id).filter(|it| it.template.is_none() && !it.replaced) else {
            return;
        };
        let cause = Cause::of(subscription.end);
        let undecided = subscription.standing == Standing::Pending && cause == Cause::Timeout;
        let (subject, package) = (subscription.resource.subject, subscription.resource.package);
        // Nobody hears of it: nothing is to be remembered.
        if !undecided && !self.by_topic.contains_key(&(subject, true)) {
            return;
        }
        let fact = fact_of(subscription);
        if undecided {
            if let Some((subject, package)) = self.watchers.wait(fact, now.mono) {
                self.watchers_changed(subject, package, now);
            }
        } else {
            self.watchers.end(fact, cause);
        }
        self.watchers_changed(subject, package, now);
    }

    /// Those that have waited too long are given up.
    pub(super) fn give_up(&mut self, now: Now) {
        while let Some(fact) = self.watchers.tired(now.mono) {
            let (subject, package) = (fact.subject, fact.package);
            self.watchers.end(fact, Cause::Giveup);
            self.watchers_changed(subject, package, now);
        }
    }

    pub(super) fn patience(&self) -> Option<Instant> {
        self.watchers.next_deadline()
    }

    /// What the subscriber `id` to watcher information has not been told.
    pub(super) fn news(&self, id: SubscriptionId) -> Option<News> {
        let subscription = self.get(id)?;
        let package = subscription.template?.package;
        let subject = subscription.resource.subject;
        let ended = subscription.mark.and_then(|mark| Some((mark, self.watchers.ended_since(mark)?)));
        let (since, full) = ended.as_ref().map_or((0, true), |(mark, _)| (*mark, false));
        let there = self.by_topic.get(&(subject, false)).into_iter().flatten();
        let there = there.filter_map(|id| self.get(*id)).map(fact_of);
        let known = there.chain(self.watchers.waiting().iter().cloned());
        let known = known.chain(ended.into_iter().flat_map(|(_, ended)| ended.cloned()));
        let mut facts: Vec<Fact> = known
            .filter(|fact| fact.subject == subject && fact.package == package && fact.changed > since)
            .collect();
        facts.sort_unstable_by_key(|fact| fact.changed);
        let more = facts.len() > limits::WATCHERS_TOLD;
        facts.truncate(limits::WATCHERS_TOLD);
        let mark = facts.last().map_or(since, |last| last.changed);
        Some(News { facts, full, mark, more })
    }
}

fn fact_of(subscription: &Subscription) -> Fact {
    // What Subscription-State does not tell it, nobody else is told (RFC 3857 §4.7.2).
    let status = match subscription.standing {
        Standing::Pending => Status::Pending,
        Standing::Active | Standing::Polite => Status::Active,
    };
    Fact {
        id: subscription.watcher,
        who: subscription.who.clone(),
        subject: subscription.resource.subject,
        package: subscription.resource.package,
        target: subscription.dialog.target.clone(),
        status,
        cause: subscription.cause,
        began: subscription.began,
        expires: Some(subscription.expires),
        changed: subscription.changed,
    }
}

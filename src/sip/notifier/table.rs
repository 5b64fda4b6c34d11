//! How subscriptions are found and forgotten.

use super::subscription::Subscription;
use super::{Notifier, Resource, SubscriptionId, Wanted};
use crate::timer::Now;

impl Notifier {
    /// The subscription that is the same one to the phone.
    pub(super) fn twin(&self, twin: u64, wanted: &Wanted) -> Option<SubscriptionId> {
        let id = self.twins.get(&twin).copied()?;
        let other = self.get(id)?;
        let same = other.who == wanted.who
            && other.resource.subject == wanted.resource.subject
            && other.resource.package == wanted.resource.package
            && facet_of(&other.resource) == facet_of(&wanted.resource)
            && other.entity == wanted.entity
            && other.dialog.target == wanted.dialog.target
            && other.event == wanted.event
            && other.resource.form == wanted.resource.form
            && other.rates == wanted.rates
            && other.filter.is_some() == wanted.filter.is_some();
        same.then_some(id)
    }

    pub(super) fn forget_subject(&mut self, id: SubscriptionId, now: Now) {
        let Some(subscription) = self.get_mut(id) else { return };
        let topic = (subscription.resource.subject, subscription.template.is_some());
        let Some(slot) = subscription.slot.take() else { return };
        self.note_end(id, now);
        let Some(watchers) = self.by_topic.get_mut(&topic) else { return };
        if slot < watchers.len() {
            watchers.swap_remove(slot);
        }
        if watchers.is_empty() {
            self.by_topic.remove(&topic);
            return;
        }
        if let Some(moved) = watchers.get(slot).copied()
            && let Some(moved) = self.get_mut(moved)
        {
            moved.slot = Some(slot);
        }
    }

    /// What is watched is known by other numbers from now on.
    pub fn relocate(&mut self, to: impl Fn(u64) -> u64) {
        self.by_topic.clear();
        for (index, subscription) in &mut self.subscriptions {
            let subject = to(subscription.resource.subject);
            subscription.resource.subject = subject;
            subscription.twin = subscription.twin_now();
            if subscription.slot.is_some() {
                let watchers = self.by_topic.entry((subject, subscription.template.is_some())).or_default();
                subscription.slot = Some(watchers.len());
                watchers.push(SubscriptionId { index, serial: subscription.serial });
            }
        }
        let twins: Vec<SubscriptionId> = self.twins.drain().map(|(_, id)| id).collect();
        let twins: Vec<_> = twins.into_iter().filter_map(|id| Some((self.get(id)?.twin, id))).collect();
        self.twins.extend(twins);
        self.watchers.relocate(to);
    }

    pub(super) fn remove(&mut self, id: SubscriptionId, now: Now) {
        if self.get(id).is_none() {
            return;
        }
        self.forget_subject(id, now);
        let subscription = self.subscriptions.remove(id.index);
        self.unused.extend(subscription.filter);
        self.track.over(&subscription);
        if self.twins.get(&subscription.twin) == Some(&id) {
            self.twins.remove(&subscription.twin);
        }
        if let Some(count) = self.by_who.get_mut(&subscription.who) {
            *count -= 1;
            if *count == 0 {
                self.by_who.remove(&subscription.who);
            }
        }
    }
}

/// What tells two subscriptions to one subject apart: nothing, unless their documents differ.
fn facet_of(resource: &Resource) -> (u8, u128) {
    (resource.facet, if resource.facet == 0 { 0 } else { resource.view })
}

/// A hash over what makes two subscriptions the same one to a phone.
pub(super) fn twin_of(wanted: &Wanted) -> u64 {
    twin_hash(&wanted.who, &wanted.resource, [&wanted.dialog.target, &wanted.event, &wanted.entity])
}

impl Subscription {
    /// The hash of [`twin_of`], of a subscription that stands.
    fn twin_now(&self) -> u64 {
        twin_hash(&self.who, &self.resource, [&self.dialog.target, &self.event, &self.entity])
    }
}

fn twin_hash(who: &str, resource: &Resource, texts: [&str; 3]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (who, resource.subject, resource.package, resource.form).hash(&mut hasher);
    facet_of(resource).hash(&mut hasher);
    texts.hash(&mut hasher);
    hasher.finish()
}

//! Subscriptions with a filter. What it says is the application's; the notifier keeps its number.

use super::watchers::Standing;
use super::{End, Notifier, Resource, SubscriptionId};
use crate::timer::Now;

impl Notifier {
    /// The filter of a subscription.
    pub fn filter_of(&self, id: SubscriptionId) -> Option<usize> {
        self.get(id)?.filter
    }

    /// Gives a subscription another filter, or none.
    pub fn set_filter(&mut self, id: SubscriptionId, filter: Option<usize>) {
        let Some(subscription) = self.get_mut(id) else { return };
        let old = std::mem::replace(&mut subscription.filter, filter);
        self.unused.extend(old.filter(|old| Some(*old) != filter));
    }

    /// Ends every subscription with a filter that `fits` does not hold for: it is given the filter, the
    /// watcher, what is watched, and how he stands to it.
    pub fn end_unfit(&mut self, fits: impl Fn(usize, &str, (Resource, Standing)) -> bool, now: Now) {
        let unfit = |id: &SubscriptionId| {
            self.get(*id).is_some_and(|it| {
                it.filter.is_some_and(|filter| !fits(filter, &it.who, (it.resource, it.standing)))
            })
        };
        let ids: Vec<SubscriptionId> = self.ids().filter(unfit).collect();
        for id in ids {
            self.finish(id, End::BadFilter, now);
        }
    }

    /// Filters that no subscription uses any more, once.
    pub fn take_unused(&mut self) -> impl Iterator<Item = usize> {
        std::mem::take(&mut self.unused).into_iter()
    }
}

//! What is said to single watchers of a subject.

use super::{Moment, Notifier, Resource};
use crate::timer::Now;

impl Notifier {
    /// Whether anybody watches `subject`.
    pub fn is_watched(&self, subject: u64) -> bool {
        self.by_topic.contains_key(&(subject, false))
    }

    /// Tells each subscription what `what` has for it, with its next NOTIFY.
    pub fn tell(&mut self, mut what: impl FnMut(&str, Resource) -> Vec<Moment>, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let Some(subscription) = self.get_mut(id) else { continue };
            let moments = what(&subscription.who, subscription.resource);
            if moments.is_empty() {
                continue;
            }
            moments.into_iter().for_each(|moment| subscription.add(moment));
            self.mark(id, now);
        }
    }
}

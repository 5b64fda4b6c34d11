//! What is said to single watchers of a subject.

use super::{Moment, Notifier, Resource};
use crate::timer::Now;

impl Notifier {
    /// Whether anybody watches `subject`.
    pub fn is_watched(&self, subject: u64) -> bool {
        [false, true].into_iter().any(|template| self.by_topic.contains_key(&(subject, template)))
    }

    /// Whether nothing is on its way, or waits to be said, to anybody who can be told.
    pub fn is_silent(&self) -> bool {
        !self.subscriptions.iter().any(|(_, it)| !it.lost && (it.outstanding || it.dirty))
    }

    /// Tells everybody the state now, whatever the rates.
    pub fn tell_all(&mut self) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let Some(subscription) = self.get_mut(id) else { continue };
            (subscription.dirty, subscription.at_once) = (true, true);
            self.make_ready(id);
        }
    }

    /// Tells each subscription what `what` has for it, with its next NOTIFY; `None` is no reason for one.
    pub fn tell(&mut self, mut what: impl FnMut(&str, Resource) -> Option<Vec<Moment>>, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let Some(subscription) = self.get_mut(id) else { continue };
            let Some(moments) = what(&subscription.who, subscription.resource) else { continue };
            moments.into_iter().for_each(|moment| subscription.add(moment));
            self.mark(id, now);
        }
    }
}

//! Flows that take no more for now. Their watchers wait here, each with one mark, and hear the newest state
//! when there is room; what is written ahead of a slow peer would be old news to it, and memory to us.

use super::{Notifier, SubscriptionId};
use crate::sip::FlowId;
use crate::timer::Now;

impl Notifier {
    /// That flow takes no more until [`Notifier::on_room`], or its end.
    pub fn on_full(&mut self, flow: FlowId) {
        self.full.entry(flow).or_default();
    }

    /// There is room again.
    pub fn on_room(&mut self, flow: FlowId) {
        self.ready.extend(self.full.remove(&flow).unwrap_or_default());
    }

    /// A connection is gone: its watchers hear the newest state when they refresh over another one.
    pub fn on_flow_closed(&mut self, flow: FlowId, now: Now) {
        self.on_room(flow);
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let Some(subscription) = self.get_mut(id).filter(|it| it.dialog.hop.flow == flow) else {
                continue;
            };
            subscription.outstanding = false;
            subscription.dirty = true;
            subscription.lost = true;
            subscription.next_page = 0;
            if subscription.end.is_some() {
                self.remove(id, now);
            }
        }
    }

    /// Whether it has to wait for room, and then it does.
    pub(super) fn waits(&mut self, id: SubscriptionId) -> bool {
        if self.full.is_empty() {
            return false;
        }
        let flow = self.get(id).map(|subscription| subscription.dialog.hop.flow);
        let waiting = flow.and_then(|flow| self.full.get_mut(&flow));
        waiting.is_some_and(|waiting| {
            waiting.push(id);
            true
        })
    }
}

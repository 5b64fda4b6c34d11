//! Subscriptions that one SUBSCRIBE of before RFC 3265 made for several Contacts.

use super::{End, Notifier, SubscriptionId};
use crate::timer::Now;

impl Notifier {
    /// Ends the other subscriptions that the SUBSCRIBE of `id` made: those with its Call-ID and holder.
    pub fn end_others(&mut self, id: SubscriptionId, now: Now) {
        let Some(of) = self.get(id) else { return };
        let (call_id, who) = (of.dialog.call_id.clone(), of.who.clone());
        let ids: Vec<SubscriptionId> = self.ids().filter(|other| *other != id).collect();
        for other in ids {
            let Some(subscription) = self.get_mut(other) else { continue };
            if subscription.dialog.call_id == call_id && subscription.who == who {
                self.finish(other, End::Timeout, now);
            }
        }
    }
}

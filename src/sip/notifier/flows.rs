//! Subscriptions and the flows that they go over: in doubt, moved; and where we are reached meanwhile.

use super::super::{FlowId, Hop};
use super::subscription::Subscription;
use super::{Notifier, SubscriptionId};
use crate::timer::Now;

impl Notifier {
    /// Dialogs that went over a flow that is gone go on over another one to the same server. Each watcher is
    /// told the newest state, and where we are now.
    pub fn move_flow(&mut self, gone: FlowId, hop: Hop, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let Some(subscription) = self.get_mut(id).filter(|it| it.dialog.hop.flow == gone) else {
                continue;
            };
            subscription.dialog.move_to(hop);
            subscription.outstanding = false;
            subscription.served_again();
            subscription.lost = false;
            subscription.dirty = true;
            subscription.next_page = 0;
            self.schedule(id, now);
        }
    }

    /// The phone of `who` at that Contact is there again: its dialogs that could not be told go on over `hop`.
    pub fn find_again(&mut self, who: &str, target: &str, hop: Hop, now: Now) {
        let same = |it: &Subscription| {
            it.lost && it.who == who && it.dialog.is_direct() && it.dialog.target == target
        };
        let found: Vec<_> = self.ids().filter(|id| self.get(*id).is_some_and(same)).collect();
        for id in found {
            let Some(subscription) = self.get_mut(id) else { continue };
            subscription.dialog.move_to(hop);
            subscription.lost = false;
            self.note(id);
            self.schedule(id, now);
        }
    }

    /// Our Contact in a dialog is another one.
    pub fn set_contact(&mut self, id: SubscriptionId, contact: &str) {
        if let Some(subscription) = self.get_mut(id) {
            subscription.dialog.set_contact(contact);
        }
    }

    /// Our Contacts `gone` lead nowhere any more. Whoever has one is told the newest state, and that `contact` took its place.
    pub fn replace_contacts(&mut self, gone: &[String], contact: &str, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let has = |it: &&mut Subscription| gone.iter().any(|gone| gone == it.dialog.contact());
            let Some(subscription) = self.get_mut(id).filter(has) else { continue };
            subscription.dialog.set_contact(contact);
            subscription.dirty = true;
            self.schedule(id, now);
        }
    }

    /// The flow that the watcher is told over.
    pub fn flow_of(&self, id: SubscriptionId) -> Option<FlowId> {
        self.get(id).map(|subscription| subscription.dialog.hop.flow)
    }

    /// Where a watcher was last heard, and whether that way is gone.
    pub fn hop_of(&self, id: SubscriptionId) -> Option<(Hop, bool)> {
        self.get(id).map(|subscription| (subscription.dialog.hop, subscription.lost))
    }

    /// Nobody answered that NOTIFY, and it is not known whether the flow under it lives: nothing more is said until
    /// that shows. Only once on end; false: the silence is the watcher's.
    pub fn suspend(&mut self, id: SubscriptionId, cseq: u32) -> bool {
        let waits =
            |it: &&mut Subscription| it.outstanding && it.dialog.local_seq == cseq && it.end.is_none();
        let Some(subscription) = self.get_mut(id).filter(waits).filter(|it| !it.doubted) else {
            return false;
        };
        (subscription.doubted, subscription.lost, subscription.dirty) = (true, true, true);
        (subscription.outstanding, subscription.next_page) = (false, 0);
        true
    }

    /// The server at the far end of a flow serves again, after it did not: who could not be told meanwhile is told now,
    /// rather than when the wait after its refusal is over.
    pub fn served_again(&mut self, flow: FlowId, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let of = |it: &&mut Subscription| it.dialog.hop.flow == flow;
            if self.get_mut(id).filter(of).is_some_and(Subscription::served_again) {
                self.schedule(id, now);
            }
        }
    }

    /// A flow lives: who could not be told over it is told now.
    pub fn resume(&mut self, flow: FlowId, now: Now) {
        let ids: Vec<_> = self.ids().collect();
        for id in ids {
            let of = |it: &&mut Subscription| it.lost && it.dialog.hop.flow == flow;
            let Some(subscription) = self.get_mut(id).filter(of) else { continue };
            subscription.lost = false;
            self.schedule(id, now);
        }
    }
}

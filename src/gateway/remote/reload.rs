//! What is watched elsewhere, when the configuration is read again.

use std::collections::BTreeSet;

use super::device_on;
use crate::config::LinkId;
use crate::config::change::Change;
use crate::gateway::Gateway;
use crate::sip::User;
use crate::sip::registration::Standing;
use crate::timer::Now;

impl Gateway {
    /// After a reload: what is watched under the same address over the same flow is watched on, by another
    /// number perhaps; the rest is left, and what is new begins.
    pub(in crate::gateway) fn reload_remotes(&mut self, change: &Change, now: Now) {
        for key in self.remotes.keys() {
            let Some(remote) = self.remotes.get_mut(key) else { continue };
            let Some(before) = remote.link else { continue };
            let link = change.link(before).map(|kept| kept.to);
            match link.and_then(|link| Some((link, device_on(&self.config, link)?))) {
                Some((link, device)) => (remote.link, remote.device) = (Some(link), device),
                None => {
                    remote.link = None;
                    remote.subscriber.leave(&mut self.transactions, User::Watch(key), now.mono);
                    self.on_watch_events(key, now);
                }
            }
        }
        let known: BTreeSet<LinkId> = self.remotes.values().filter_map(|remote| remote.link).collect();
        let new = (0..self.config.links.len()).map(LinkId).filter(|link| !known.contains(link));
        let before = self.remotes.next_key();
        for link in new.collect::<Vec<_>>() {
            self.add_remote(link, now);
        }
        for key in self.remotes.keys().into_iter().filter(|key| *key >= before) {
            let Some(remote) = self.remotes.get(key) else { continue };
            let (via, registration) = (remote.via, remote.registration);
            let stands = registration.is_none_or(|at| self.stands(at));
            if stands {
                self.on_remote_flow_up(via, registration, now);
            }
        }
    }

    fn stands(&self, registration: usize) -> bool {
        let registration = self.registrations.get(registration);
        registration.is_some_and(|it| matches!(it.standing(), Standing::Registered { .. }))
    }

    /// Whether something that is watched or published over a flow is being taken back.
    pub(in crate::gateway) fn is_leaving_elsewhere(&self, via: usize) -> bool {
        self.remotes.values().any(|remote| remote.via == via && !remote.is_over())
            || self.announcements.values().any(|one| one.is_via(via) && one.is_leaving())
    }

    /// A flow is gone for good, and with it what went over it.
    pub(in crate::gateway) fn forget_elsewhere(&mut self, via: usize, registrations: &[usize]) {
        self.remotes.retain(|remote| remote.via != via);
        self.announcements.retain(|one| !one.is_via(via));
        for registration in registrations {
            self.registrations.remove(*registration);
        }
    }
}

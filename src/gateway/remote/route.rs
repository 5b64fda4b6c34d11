//! Which way a registrar wants our requests to take (RFC 3608).

use crate::gateway::Gateway;
use crate::sip::Hop;
use crate::sip::registration::Registration;

impl Gateway {
    /// The way that a registrar wants what leaves over `hop` to take (RFC 3608), by its newest answer there.
    pub(super) fn service_route(&self, handle: Option<usize>, hop: Hop) -> &[String] {
        let siblings = handle.map(|handle| self.siblings(handle)).unwrap_or_default();
        let mut over = siblings.iter().filter_map(|at| self.registrations.get(*at));
        let over = over.find(|it| it.hop().is_some_and(|of| of.flow == hop.flow));
        over.map_or(&[], Registration::service_route)
    }

    /// One of our registrations was answered: what leaves over its flow from now on goes as that answer says.
    pub(in crate::gateway) fn on_service_route(&mut self, handle: usize) {
        for index in self.remotes.keys() {
            let Some(remote) = self.remotes.get(index).filter(|it| it.registration == Some(handle)) else {
                continue;
            };
            let Some(hop) = remote.hop else { continue };
            let route = self.service_route(Some(handle), hop).to_vec();
            if let Some(remote) = self.remotes.get_mut(index) {
                remote.subscriber.set_route(&route);
            }
        }
    }
}

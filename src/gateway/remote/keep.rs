//! Keep-alives towards a peer, for as long as a dialog there lasts (RFC 6223 §4.2.3).

use crate::gateway::Gateway;
use crate::sip::registration;
use crate::sip::wire::{Message, Start};
use crate::timer::Now;

impl Gateway {
    /// The answer to a SUBSCRIBE. Only one that began a dialog offered keep-alives, and what is agreed on then holds until it ends.
    pub(super) fn on_keep(&mut self, index: usize, response: &Message<'_>, now: Now) {
        if let Start::Response { status: 200..300, .. } = response.start
            && let Some(seconds) = registration::keep(response)
        {
            self.set_keep(index, Some(seconds), now);
        }
    }

    /// The dialog is over.
    pub(super) fn end_keep(&mut self, index: usize, now: Now) {
        self.set_keep(index, None, now);
    }

    fn set_keep(&mut self, index: usize, keep: Option<u32>, now: Now) {
        let Some(remote) = self.remotes.get_mut(index) else { return };
        if std::mem::replace(&mut remote.keep, keep) == keep {
            return;
        }
        let Some(hop) = remote.hop else { return };
        let of = self.remotes.values().filter(|it| it.hop.is_some_and(|of| of.flow == hop.flow));
        let agreed: Vec<u32> = of.filter_map(|it| it.keep).collect();
        self.keep_for_dialogs(hop, &agreed, now);
    }
}

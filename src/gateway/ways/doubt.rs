//! Nobody answers: is it the watcher, or the flow?

use crate::gateway::Gateway;
use crate::limits;
use crate::sip::notifier::SubscriptionId;
use crate::timer::Now;

impl Gateway {
    /// A NOTIFY over a flow of ours was not answered, and nothing else has shown meanwhile that the flow lives: it is asked, and
    /// the watcher is told again when it answers, or over the flow that takes its place. Otherwise a line that is
    /// out for half a minute would end every subscription that had news.
    pub(in crate::gateway) fn doubts_flow(&mut self, id: SubscriptionId, cseq: u32, now: Now) -> bool {
        let flow = self.notifier.flow_of(id).and_then(|flow| self.flows.get(&flow));
        let Some(way) = flow.and_then(|flow| flow.upstream).and_then(|key| self.ways.get_mut(key)) else {
            return false;
        };
        let reliable = way.hop.is_some_and(|hop| hop.transport.is_reliable());
        let answers = way.answers.any() || reliable || !way.registrations.is_empty();
        let Some(alive) = way.alive.as_mut().filter(|_| answers) else { return false };
        let lived = |at| now.mono.saturating_duration_since(at) < limits::SILENCE;
        if alive.answered_at().is_some_and(lived) || !self.notifier.suspend(id, cseq) {
            return false;
        }
        match way.hop {
            // It keeps itself alive, and would have ended by now: who is behind its far end may be back.
            Some(hop) if hop.transport.keepalive().is_none() => self.notifier.resume(hop.flow, now),
            _ => alive.hurry(now),
        }
        true
    }
}

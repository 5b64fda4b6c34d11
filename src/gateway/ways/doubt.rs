//! Nobody answers: is it the watcher, or the flow?

use crate::gateway::Gateway;
use crate::limits;
use crate::sip::notifier::SubscriptionId;
use crate::sip::registration::Registration;
use crate::timer::Now;

impl Gateway {
    /// A NOTIFY over a flow of ours was not answered, once. Where nothing else has shown meanwhile that the flow lives, it is asked,
    /// and the watcher is told again when it answers, or over the flow that takes its place: otherwise a line that is
    /// out for half a minute would end every subscription that had news. A flow that lives says nothing of the registrar behind an
    /// edge proxy: if that does not serve now, the watcher is told again when it does, and else at once.
    pub(in crate::gateway) fn doubts_flow(&mut self, id: SubscriptionId, cseq: u32, now: Now) -> bool {
        let flow = self.notifier.flow_of(id).and_then(|flow| self.flows.get(&flow));
        let Some(way) = flow.and_then(|flow| flow.upstream).and_then(|key| self.ways.get_mut(key)) else {
            return false;
        };
        let Some(hop) = way.hop else { return false };
        let registers = !way.registrations.is_empty();
        let answers = way.answers.any() || hop.transport.is_reliable() || registers;
        let Some(alive) = way.alive.as_mut().filter(|_| answers) else { return false };
        let stands = |key: &usize| self.registrations.get(*key).is_some_and(Registration::stands);
        let lately = |at| now.mono.saturating_duration_since(at) < limits::SILENCE;
        let answered = alive.answered_at().is_some_and(lately);
        // Nobody but the watcher is behind the flow to a peer.
        if answered && !registers || !self.notifier.suspend(id, cseq) {
            return false;
        }
        // Over QUIC a flow would have ended by now.
        let lives = answered || hop.transport.keepalive().is_none();
        if !lives {
            alive.hurry(now);
        } else if !registers || way.registrations.iter().any(stands) {
            self.notifier.resume(hop.flow, now);
        }
        true
    }
}

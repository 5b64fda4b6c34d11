//! How each flow stands, in words.

use std::time::Instant;

use super::{Keepalive, Way};
use crate::gateway::Gateway;
use crate::timer::Now;

/// How the flow of a way stands.
#[derive(Clone, Debug, serde::Serialize)]
pub struct FlowStatus {
    /// The upstream or peer.
    pub upstream: String,
    /// The server or edge proxy, as the home file names it.
    pub server: String,
    /// open, connecting, waiting or resting.
    pub state: &'static str,
    /// In words: since when, between which addresses, when it last answered, what went wrong, when again.
    pub words: String,
}

/// When that was, by the wall clock as it stands now.
pub(in crate::gateway) fn time_of(at: Instant, now: Now) -> String {
    let time = jiff::Timestamp::from_millisecond(now.wall_at(at));
    time.map(|time| time.to_string()).unwrap_or_default()
}

impl Gateway {
    pub(in crate::gateway) fn flow_status(&self, now: Now) -> Vec<FlowStatus> {
        self.ways.values().map(|way| self.status_of(way, now)).collect()
    }

    fn status_of(&self, way: &Way, now: Now) -> FlowStatus {
        let upstream = self.upstreams.get(way.upstream).map(|it| it.settings.name.clone());
        let time = |at| time_of(at, now);
        let mut words = Vec::new();
        let state = match (way.hop, way.connecting, way.retry) {
            (Some(hop), ..) => {
                words.push(format!("since {}", way.since.map(time).unwrap_or_default()));
                // A connection that keeps itself alive may have moved, on either side.
                let then = if hop.transport.keepalive().is_none() { " when it was opened" } else { "" };
                words.push(format!("{} {} to {}{then}", hop.transport.word(), hop.local, hop.peer));
                words.extend(self.seen_as(way).map(|seen| format!("seen there as {seen}")));
                let answered = way.alive.as_ref().and_then(Keepalive::answered_at);
                words.push(match answered {
                    Some(at) => format!("last keep-alive answered {}", time(at)),
                    None if hop.transport.keepalive().is_none() => "it keeps itself alive".to_owned(),
                    None if hop.transport.is_reliable() || way.answers.any() => {
                        "no keep-alive answered yet".to_owned()
                    }
                    None => "keep-alives are not answered there".to_owned(),
                });
                "open"
            }
            (None, true, _) => "connecting",
            (None, false, Some(at)) => {
                let left = at.saturating_duration_since(now.mono).as_secs();
                words.push(format!("next attempt in {left} s"));
                "waiting"
            }
            (None, false, None) => {
                words.push("in reserve".to_owned());
                "resting"
            }
        };
        if way.garbled > 0 {
            words.push(format!(
                "what comes from there is no SIP ({} times): is it a SIP server?",
                way.garbled
            ));
        }
        let fault = way.fault.as_ref().map(|(at, why)| format!("last failure {}: {why}", time(*at)));
        words.extend(fault);
        let (upstream, server) = (upstream.unwrap_or_default(), way.edge.server.words());
        FlowStatus { upstream, server, state, words: words.join("; ") }
    }

    /// How the far end sees us: by STUN, or by the Via of a REGISTER that came back (RFC 3581).
    fn seen_as(&self, way: &Way) -> Option<std::net::SocketAddr> {
        let mapped = way.alive.as_ref().and_then(Keepalive::mapped);
        let mut registrations = way.registrations.iter().filter_map(|key| self.registrations.get(*key));
        mapped.or_else(|| registrations.find_map(|registration| registration.terms().seen))
    }
}

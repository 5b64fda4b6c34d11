//! The ways to the registrar, and whether it answers.
//!
//! There are two at most: one by datagrams, for clients that repeat what is lost, and one by a connection, for clients
//! that rely on theirs. An edge repeats nothing, so it must not lead the ones to the other (RFC 3261 §16.11).

use std::time::{Duration, Instant};

use super::{Edge, Output};
use crate::sip::wire::{Method, Writer};
use crate::sip::{FlowId, Hop, Transport};

/// Silence after which the registrar is asked whether it lives.
const QUIET: Duration = Duration::from_secs(5);
/// Between two such questions.
const AGAIN: Duration = Duration::from_secs(1);
/// Silence after which it counts as gone, and another address is looked for.
const GONE: Duration = Duration::from_secs(12);

#[derive(Debug)]
pub(super) struct Registrar {
    pub hop: Hop,
    answers: bool,
    heard: Instant,
    asked: Option<Instant>,
}

/// One way, and what is wrong with it while there is none.
#[derive(Debug, Default)]
struct Way {
    registrar: Option<Registrar>,
    missing: Option<(Transport, String)>,
}

/// By datagrams, and by a connection.
#[derive(Debug, Default)]
pub(super) struct Registrars {
    datagrams: Way,
    connection: Way,
}

impl Registrars {
    fn of(&mut self, reliable: bool) -> &mut Way {
        if reliable { &mut self.connection } else { &mut self.datagrams }
    }

    /// It is believed to live once it has answered: a port that is open says little.
    pub fn found(&mut self, hop: Hop, now: Instant) {
        let registrar = Some(Registrar { hop, answers: false, heard: now, asked: None });
        *self.of(hop.transport.is_reliable()) = Way { registrar, missing: None };
    }

    pub fn missing(&mut self, transport: Transport, why: String) {
        self.of(transport.is_reliable()).missing = Some((transport, why));
    }

    pub fn lost(&mut self, flow: FlowId) {
        if self.connection.registrar.as_ref().is_some_and(|registrar| registrar.hop.flow == flow) {
            self.connection.registrar = None;
        }
    }

    /// The way for a client of this kind, where there is one that answers.
    pub fn way(&self, reliable: bool) -> Option<Hop> {
        let way = if reliable { &self.connection } else { &self.datagrams };
        way.registrar.as_ref().filter(|registrar| registrar.answers).map(|registrar| registrar.hop)
    }

    /// Something came from it.
    pub fn heard(&mut self, hop: Hop, now: Instant) {
        let reliable = hop.transport.is_reliable();
        let own = |registrar: &&mut Registrar| match reliable {
            true => registrar.hop.flow == hop.flow,
            false => registrar.hop.peer == hop.peer,
        };
        if let Some(registrar) = self.of(reliable).registrar.as_mut().filter(own) {
            registrar.answers = true;
            registrar.heard = now;
        }
    }

    /// How both stand, for a person; one that is not looked for is left out.
    pub fn standing(&self) -> Vec<serde_json::Value> {
        let line = |way: &Way| match (&way.registrar, &way.missing) {
            (Some(Registrar { hop, answers, .. }), _) => {
                let state = if *answers { "answers" } else { "silent" };
                let (address, transport) = (hop.peer.to_string(), hop.transport.word());
                Some(serde_json::json!({"address": address, "transport": transport, "state": state}))
            }
            (None, Some((transport, why))) => {
                Some(serde_json::json!({"words": why, "transport": transport.word(), "state": "not reached"}))
            }
            (None, None) => None,
        };
        [&self.datagrams, &self.connection].into_iter().filter_map(line).collect()
    }

    /// The way whose turn it is to be asked, and the one that is given up.
    fn look(&mut self, reliable: bool, now: Instant) -> (Option<Hop>, Option<Hop>) {
        let way = self.of(reliable);
        let Some(registrar) = &mut way.registrar else { return (None, None) };
        let silent = now.duration_since(registrar.heard);
        let gone = (silent >= GONE).then_some(registrar.hop);
        if gone.is_some() {
            registrar.answers = false;
            // The next address has its time, too.
            registrar.heard = now;
            if reliable {
                let why = format!("{} accepts connections and answers nothing", registrar.hop.peer);
                *way = Way { registrar: None, missing: Some((registrar.hop.transport, why)) };
                return (None, gone);
            }
        }
        let due = !registrar.answers || silent >= QUIET;
        let waits = registrar.asked.is_some_and(|asked| now.duration_since(asked) < AGAIN);
        let asks = (due && !waits).then_some(registrar.hop);
        if asks.is_some() {
            registrar.asked = Some(now);
        }
        (asks, gone)
    }
}

impl Edge {
    /// Asks a registrar that is silent, and gives up one that stays so. What it answers does not matter.
    pub(super) fn probe(&mut self, now: Instant) {
        for reliable in [false, true] {
            let (asks, gone) = self.registrars.look(reliable, now);
            if let Some(hop) = gone {
                self.outputs.push_back(if reliable { Output::Silent(hop.flow) } else { Output::Lost });
            }
            if let Some(hop) = asks {
                self.ask(hop);
            }
        }
    }

    fn ask(&mut self, hop: Hop) {
        self.probes = self.probes.wrapping_add(1);
        let (inner, peer, number) =
            (self.inner(hop.transport.is_reliable()), hop.peer, self.probes.to_be_bytes());
        let branch = self.tokens.branch(&[b"options", &self.settings.run.to_be_bytes(), &number]);
        let tag = branch.get(7..17).unwrap_or("edge");
        let mut writer = Writer::request(Method::Options, &format!("sip:{peer}"));
        writer
            .field_fmt("Via", format_args!("SIP/2.0/{} {inner};branch={branch};rport", hop.transport.via()));
        writer.field_fmt("Max-Forwards", format_args!("0"));
        writer.field_fmt("From", format_args!("<sip:{inner}>;tag={tag}"));
        writer.field_fmt("To", format_args!("<sip:{peer}>"));
        writer.field_fmt("Call-ID", format_args!("{branch}"));
        writer.field_fmt("CSeq", format_args!("1 OPTIONS"));
        let bytes = writer.finish();
        self.send(hop, bytes.into());
    }
}

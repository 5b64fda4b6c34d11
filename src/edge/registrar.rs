//! The ways to the registrar, and whether it answers.
//!
//! There are two at most: one by datagrams, for clients that repeat what is lost, and one by a connection, for clients
//! that rely on theirs. An edge repeats nothing, so it must not lead the ones to the other (RFC 3261 §16.11).

use std::time::{Duration, Instant};

use super::{Edge, Output};
use crate::sip::Hop;
use crate::sip::wire::{Method, Writer};

/// Silence after which the registrar is asked whether it lives.
const QUIET: Duration = Duration::from_secs(5);
/// Between two such questions.
const AGAIN: Duration = Duration::from_secs(1);
/// Silence after which it counts as gone, and another address is looked for.
const GONE: Duration = Duration::from_secs(12);

#[derive(Debug)]
pub(super) struct Registrar {
    pub hop: Hop,
    /// A connection is one that was answered.
    answers: bool,
    heard: Instant,
    asked: Option<Instant>,
}

/// By datagrams, and by a connection.
#[derive(Debug, Default)]
pub(super) struct Registrars {
    datagrams: Option<Registrar>,
    connection: Option<Registrar>,
}

impl Registrars {
    fn of(&mut self, reliable: bool) -> &mut Option<Registrar> {
        if reliable { &mut self.connection } else { &mut self.datagrams }
    }

    pub fn found(&mut self, hop: Hop, now: Instant) {
        let reliable = hop.transport.is_reliable();
        *self.of(reliable) = Some(Registrar { hop, answers: reliable, heard: now, asked: None });
    }

    pub fn lost(&mut self, flow: crate::sip::FlowId) {
        if self.connection.as_ref().is_some_and(|registrar| registrar.hop.flow == flow) {
            self.connection = None;
        }
    }

    /// The way for a client of this kind, where there is one that answers.
    pub fn way(&self, reliable: bool) -> Option<Hop> {
        let registrar = if reliable { &self.connection } else { &self.datagrams };
        registrar.as_ref().filter(|registrar| registrar.answers).map(|registrar| registrar.hop)
    }

    /// Something came from it.
    pub fn heard(&mut self, hop: Hop, now: Instant) {
        if let Some(registrar) = self.datagrams.as_mut().filter(|registrar| registrar.hop.peer == hop.peer) {
            registrar.answers = true;
            registrar.heard = now;
        }
    }

    /// What stands, by datagrams and by a connection; `None`: not looked for, or not there.
    pub fn standing(&self) -> [Option<(Hop, bool)>; 2] {
        [&self.datagrams, &self.connection]
            .map(|registrar| registrar.as_ref().map(|registrar| (registrar.hop, registrar.answers)))
    }
}

impl Edge {
    /// Asks a registrar that is silent, and gives up one that stays so. What it answers does not matter.
    pub(super) fn probe(&mut self, now: Instant) {
        let Some(registrar) = &mut self.registrars.datagrams else { return };
        let silent = now.duration_since(registrar.heard);
        if silent >= GONE {
            registrar.answers = false;
            // The next address has its time, too.
            registrar.heard = now;
            self.outputs.push_back(Output::Lost);
        }
        let due = !registrar.answers || silent >= QUIET;
        if !due || registrar.asked.is_some_and(|asked| now.duration_since(asked) < AGAIN) {
            return;
        }
        registrar.asked = Some(now);
        let hop = registrar.hop;
        self.probes = self.probes.wrapping_add(1);
        let (inner, peer, number) = (self.inner(false), hop.peer, self.probes.to_be_bytes());
        let branch = self.tokens.branch(&[b"options", &self.settings.run.to_be_bytes(), &number]);
        let tag = branch.get(7..17).unwrap_or("edge");
        let mut writer = Writer::request(Method::Options, &format!("sip:{peer}"));
        writer.field_fmt("Via", format_args!("SIP/2.0/UDP {inner};branch={branch};rport"));
        writer.field_fmt("Max-Forwards", format_args!("0"));
        writer.field_fmt("From", format_args!("<sip:{inner}>;tag={tag}"));
        writer.field_fmt("To", format_args!("<sip:{peer}>"));
        writer.field_fmt("Call-ID", format_args!("{branch}"));
        writer.field_fmt("CSeq", format_args!("1 OPTIONS"));
        let bytes = writer.finish();
        self.send(hop, bytes.into());
    }
}

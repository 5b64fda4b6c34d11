//! `sipliance edge`: a proxy on a cheap server, between gateways behind NAT and any registrar (RFC 5626 §5).
//!
//! ```text
//!  outer: gateways, phones                                inner: the registrar
//!  UDP TCP TLS WS QUIC   ──▶ Path, Via, Record-Route ──▶   UDP TCP TLS
//!                        ◀── token: which flow?      ◀──
//! ```
//!
//! It keeps no transaction and no dialog (RFC 3261 §16.11). What it must know later travels in the messages:
//! the flow of a client is a token with a MAC, in Path, Record-Route and our Via. All that lives here are the
//! connections themselves, and which flow a registered device uses now; both come again after a restart with the
//! devices' next REGISTER, and dialogs go on.
//!
//! The core of it, like [`crate::gateway`], takes bytes and times and gives back bytes.

mod flows;
mod forward;
mod rewrite;
mod token;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;

use self::flows::Flows;
use self::token::Tokens;
use crate::sip::flow::stun::{self, Stun};
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::wire::{Message, Method, Start};
use crate::sip::{FlowId, Hop, Transport};

pub use self::flows::Counts;

/// What an edge is told when it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name or address in Path, Record-Route and Via, as the registrar reaches it.
    pub name: String,
    /// The port there.
    pub port: u16,
    /// How the registrar is spoken to.
    pub transport: Transport,
    /// Names of edges that have the same key: their Route values are understood as our own.
    pub siblings: Vec<String>,
    /// Who may come in from the registrar's side beside the registrar itself.
    pub inner: Vec<IpAddr>,
    /// Which the tokens are made with: the same after a restart, or dialogs are lost.
    pub key: [u8; 32],
    /// Another number in every run: a connection of an earlier run is never taken for one of this.
    pub run: u32,
}

/// What happens.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection is there; `true`: it is ours to the registrar.
    Opened(Hop, bool),
    /// A connection is gone.
    Closed(FlowId),
    /// Bytes of a connection.
    Stream(FlowId, &'a [u8]),
    /// A datagram.
    Datagram(Hop, &'a [u8]),
    /// The way to the registrar, when it is spoken to by datagrams.
    Registrar(Hop),
    /// A socket of ours for datagrams, and where it listens: whoever was heard at it before a restart is
    /// reached at once.
    Listens(FlowId, SocketAddr),
}

/// What has to be done.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Send(Hop, Bytes),
    /// Close this connection.
    Close(FlowId),
}

/// See the module.
#[derive(Debug)]
pub struct Edge {
    settings: Settings,
    tokens: Tokens,
    flows: Flows,
    /// The way to the registrar, while there is one.
    registrar: Option<Hop>,
    outputs: VecDeque<Output>,
}

impl Edge {
    /// An edge that has heard nothing yet.
    pub fn new(settings: Settings) -> Self {
        let tokens = Tokens::new(&settings.key, settings.run);
        Self { settings, tokens, flows: Flows::default(), registrar: None, outputs: VecDeque::new() }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Opened(hop, inner) => {
                self.flows.open(hop);
                if inner {
                    self.registrar = Some(hop);
                }
            }
            Input::Closed(flow) => {
                self.flows.close(flow);
                self.registrar = self.registrar.filter(|hop| hop.flow != flow);
            }
            Input::Stream(flow, bytes) => self.stream(flow, bytes, now),
            Input::Datagram(hop, bytes) => self.datagram(hop, bytes, now),
            Input::Registrar(hop) => self.registrar = Some(hop),
            Input::Listens(flow, local) => {
                self.flows.listens(Hop { flow, transport: Transport::Udp, local, peer: local });
            }
        }
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.flows.counts()
    }

    /// Connections, and devices whose flow is known.
    pub fn sizes(&self) -> (usize, usize) {
        self.flows.sizes()
    }

    fn stream(&mut self, id: FlowId, bytes: &[u8], now: Instant) {
        if let Some(framer) = self.flows.framer(id) {
            framer.push(bytes);
        }
        while let Some(frame) = self.flows.framer(id).and_then(Framer::next_frame) {
            let Some(hop) = self.flows.hop(id) else { return };
            match frame {
                Frame::Message(bytes) => self.message(hop, &bytes, now),
                // RFC 5626 §5.4: a single CRLF.
                Frame::Ping => self.send(hop, Bytes::from_static(b"\r\n")),
                Frame::Pong => {}
                Frame::Broken(_) => {
                    self.flows.count(|counts| counts.malformed += 1);
                    self.outputs.push_back(Output::Close(id));
                    return;
                }
            }
        }
    }

    fn datagram(&mut self, hop: Hop, bytes: &[u8], now: Instant) {
        if stun::is_stun(bytes) {
            if let Some(Stun::Request(id)) =
                stun::parse(bytes).filter(|_| self.flows.admits(hop.peer.ip(), now))
            {
                self.send(hop, stun::answer(id, hop.peer).into());
            }
            return;
        }
        if !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            self.message(hop, bytes, now);
        }
    }

    fn message(&mut self, hop: Hop, bytes: &[u8], now: Instant) {
        let inner = self.is_inner(hop);
        if !inner && !self.flows.admits(hop.peer.ip(), now) {
            return self.flows.count(|counts| counts.shed += 1);
        }
        let Ok(message) = Message::parse(bytes) else {
            return self.flows.count(|counts| counts.malformed += 1);
        };
        match message.start {
            Start::Request { method, uri } => self.request(&message, method, uri, hop, inner, now),
            Start::Response { status, .. } => self.response(&message, status, now),
        }
    }

    /// Whether somebody is on the registrar's side.
    fn is_inner(&self, hop: Hop) -> bool {
        let registrar = self.registrar.is_some_and(|registrar| {
            hop.flow == registrar.flow && (hop.transport.is_reliable() || hop.peer == registrar.peer)
        });
        registrar || self.settings.inner.contains(&hop.peer.ip().to_canonical())
    }

    fn send(&mut self, hop: Hop, bytes: Bytes) {
        self.outputs.push_back(Output::Send(hop, bytes));
    }
}

/// Whether a request may make a dialog, so that we have to stay on its way.
fn makes_dialog(message: &Message<'_>, method: Method<'_>) -> bool {
    let untagged = message.to().is_ok_and(|to| to.tag().is_none());
    untagged && matches!(method.as_str(), "INVITE" | "SUBSCRIBE" | "REFER")
}

#[cfg(test)]
mod tests;

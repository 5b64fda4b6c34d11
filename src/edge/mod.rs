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
mod registrar;
mod rewrite;
mod token;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::flows::{Flows, Pace};
use self::registrar::Registrars;
use self::token::Tokens;
use crate::sip::flow::stun::{self, Stun};
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::wire::{Message, Method, Start};
use crate::sip::{FlowId, Hop, Transport};

pub use self::flows::Counts;

/// Addresses of registrars that are remembered; more must stand among the trusted ones.
const KNOWN: usize = 64;
/// Between two looks for idle connections.
const SWEEP: Duration = Duration::from_secs(5);

/// What an edge is told when it begins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name or address as clients reach it: in Route, and in Via and Record-Route towards them.
    pub name: String,
    /// The ports that clients come in at.
    pub ports: Vec<u16>,
    /// Where the registrar reaches it: in Path, and in Via and Record-Route towards there. Of several with the same
    /// answer to [`Transport::is_reliable`], the first. Never empty.
    pub inner: Vec<(Transport, SocketAddr)>,
    /// Hosts of edges that have the same key: their Route values are understood as our own.
    pub siblings: Vec<String>,
    /// Who may come in from the registrar's side beside the registrar itself.
    pub trusted: Vec<IpAddr>,
    /// Messages that one source may send in a second.
    pub per_second: u32,
    /// The largest message that the registrar takes over a connection, in bytes: with a larger one it closes that of all
    /// clients.
    pub largest: usize,
    /// Which the tokens are made with: the same after a restart, or dialogs are lost.
    pub key: [u8; 32],
    /// Another number in every run: a connection of an earlier run is never taken for one of this.
    pub run: u32,
}

/// Where something comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Clients, and everybody else.
    Outer,
    /// Who came in at the inner address.
    Inner,
    /// The registrar, to which we went.
    Registrar,
}

/// What happens.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection is there.
    Opened(Hop, Side),
    /// A connection is gone.
    Closed(FlowId),
    /// Bytes of a connection.
    Stream(FlowId, &'a [u8]),
    /// A whole message of a connection that knows where one ends.
    Frame(FlowId, &'a [u8]),
    /// A datagram.
    Datagram(Hop, &'a [u8]),
    /// The way to the registrar, when it is spoken to by datagrams.
    Registrar(Hop),
    /// There is no way to the registrar of this transport now, and why, in words.
    NoRegistrar(Transport, String),
    /// A socket of ours for datagrams, and where it listens: whoever was heard at it before a restart is
    /// reached at once. `true`: on the registrar's side.
    Listens(FlowId, SocketAddr, bool),
    /// Another limit, read again.
    PerSecond(u32),
    /// A second has passed.
    Tick,
}

/// What has to be done.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes.
    Send(Hop, Bytes),
    /// Close this connection.
    Close(FlowId),
    /// The registrar knows who is at this connection: it is no stranger's any more.
    Known(FlowId),
    /// The registrar answers no datagrams: look for another of its addresses.
    Lost,
    /// The registrar is silent on this connection: close it, and look for another.
    Silent(FlowId),
}

/// See the module.
#[derive(Debug)]
pub struct Edge {
    settings: Settings,
    tokens: Tokens,
    flows: Flows,
    registrars: Registrars,
    /// Addresses at which a registrar was found in this run, the first of them; they may come to us from there.
    known: Vec<IpAddr>,
    /// Questions to the registrar whether it lives.
    probes: u64,
    /// When idle connections were looked for.
    swept: Option<Instant>,
    outputs: VecDeque<Output>,
}

impl Edge {
    /// An edge that has heard nothing yet.
    pub fn new(settings: Settings) -> Self {
        let tokens = Tokens::new(&settings.key, settings.run);
        Self {
            settings,
            tokens,
            flows: Flows::default(),
            registrars: Registrars::default(),
            known: Vec::new(),
            probes: 0,
            swept: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Opened(hop, Side::Registrar) => {
                self.flows.open(hop, Side::Registrar, now);
                self.found(hop, now);
                self.probe(now);
            }
            Input::Opened(hop, Side::Inner) if !self.is_trusted(hop.peer.ip()) => {
                self.outputs.push_back(Output::Close(hop.flow));
            }
            Input::Opened(hop, side) => self.flows.open(hop, side, now),
            Input::Closed(flow) => {
                self.flows.close(flow);
                self.registrars.lost(flow);
            }
            Input::Stream(flow, bytes) => self.stream(flow, bytes, now),
            Input::Frame(flow, bytes) => self.frame(flow, bytes, now),
            Input::Datagram(hop, bytes) => self.datagram(hop, bytes, now),
            Input::Registrar(hop) => {
                self.found(hop, now);
                self.probe(now);
            }
            Input::NoRegistrar(transport, why) => self.registrars.missing(transport, why),
            Input::Listens(flow, local, inner) => {
                self.flows.listens(Hop { flow, transport: Transport::Udp, local, peer: local }, inner);
            }
            Input::PerSecond(limit) => self.settings.per_second = limit,
            Input::Tick => {
                self.probe(now);
                if self.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
                    self.swept = Some(now);
                    self.outputs.extend(self.flows.idle(now).into_iter().map(Output::Close));
                }
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

    /// How everything stands, for a person.
    pub fn status(&self) -> serde_json::Value {
        let (connections, devices) = self.flows.sizes();
        let registrars = self.registrars.standing();
        serde_json::json!({"edge": self.settings.name, "registrars": registrars, "connections": connections,
            "devices": devices, "counts": self.flows.counts()})
    }

    fn found(&mut self, hop: Hop, now: Instant) {
        let ip = hop.peer.ip().to_canonical();
        if !self.known.contains(&ip) && self.known.len() < KNOWN {
            self.known.push(ip);
        }
        self.registrars.found(hop, now);
    }

    fn stream(&mut self, id: FlowId, bytes: &[u8], now: Instant) {
        self.flows.push(id, bytes, now);
        while let Some(frame) = self.flows.framer(id).and_then(Framer::next_frame) {
            let Some(hop) = self.flows.hop(id) else { return };
            self.flows.cut(id);
            match frame {
                Frame::Message(bytes) => self.message(hop, &bytes, now),
                Frame::Ping => self.ping(hop, now),
                Frame::Pong => {}
                Frame::Broken(_) => {
                    self.flows.count(|counts| counts.malformed += 1);
                    self.outputs.push_back(Output::Close(id));
                    return;
                }
            }
        }
        self.flows.rest(id, now);
    }

    /// Its pings are the transport's own business.
    fn frame(&mut self, id: FlowId, bytes: &[u8], now: Instant) {
        let Some(hop) = self.flows.hop(id) else { return };
        self.flows.push(id, &[], now);
        self.flows.cut(id);
        match bytes {
            b"\r\n\r\n" => self.ping(hop, now),
            b"\r\n" => {}
            bytes => self.message(hop, bytes, now),
        }
    }

    /// RFC 5626 §5.4: a single CRLF. It costs the sender as much as a message does.
    fn ping(&mut self, hop: Hop, now: Instant) {
        let pace = if self.flows.is_inner(hop) { Pace::Fits } else { self.pace(hop, now) };
        match pace {
            Pace::Fits => return self.send(hop, Bytes::from_static(b"\r\n")),
            Pace::TooFast => {}
            Pace::FarTooFast => self.outputs.push_back(Output::Close(hop.flow)),
        }
        self.flows.count(|counts| counts.shed += 1);
    }

    fn datagram(&mut self, hop: Hop, bytes: &[u8], now: Instant) {
        if stun::is_stun(bytes) {
            if let Some(Stun::Request(id)) = stun::parse(bytes).filter(|_| self.pace(hop, now) == Pace::Fits)
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
        let inner = self.flows.is_inner(hop);
        if inner && !self.is_trusted(hop.peer.ip()) {
            return self.flows.count(|counts| counts.shed += 1);
        }
        if inner {
            self.registrars.heard(hop, now);
        }
        let pace = if inner { Pace::Fits } else { self.pace(hop, now) };
        if pace != Pace::Fits {
            self.flows.count(|counts| counts.shed += 1);
        }
        match pace {
            Pace::Fits => {}
            // It is sent again.
            _ if !hop.transport.is_reliable() => return,
            Pace::TooFast => {}
            Pace::FarTooFast => return self.outputs.push_back(Output::Close(hop.flow)),
        }
        let Ok(message) = Message::parse(bytes) else {
            return self.flows.count(|counts| counts.malformed += 1);
        };
        match message.start {
            // Nobody would send again what is dropped without a word; a response has somebody who waits for it.
            Start::Request { .. } if pace != Pace::Fits => {
                self.refuse(&message, hop, 503, "Too Many Messages")
            }
            Start::Request { method, uri } => self.request(&message, method, uri, hop, inner, now),
            Start::Response { status, .. } => self.response(&message, status, inner, now),
        }
    }

    fn pace(&mut self, hop: Hop, now: Instant) -> Pace {
        self.flows.pace(hop, self.settings.per_second, now)
    }

    /// Whether somebody at the inner address is the registrar.
    fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.known.contains(&peer) || self.settings.trusted.contains(&peer)
    }

    /// Where the registrar reaches us, for a client of this kind.
    fn inner(&self, reliable: bool) -> SocketAddr {
        let fits = |inner: &&(Transport, SocketAddr)| inner.0.is_reliable() == reliable;
        let inner = self.settings.inner.iter().find(fits).or(self.settings.inner.first());
        inner.map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |(_, addr)| *addr)
    }

    fn send(&mut self, hop: Hop, bytes: Bytes) {
        self.outputs.push_back(Output::Send(hop, bytes));
    }
}

/// Whether a request may make a dialog, so that we have to stay on its way.
fn makes_dialog(message: &Message<'_>, method: Method<'_>) -> bool {
    let untagged = message.to().is_ok_and(|to| to.tag().is_none());
    // RFC 6665 §4.3: a NOTIFY of another branch of a fork makes a dialog of its own, whatever its To says.
    method == Method::Notify || untagged && matches!(method.as_str(), "INVITE" | "SUBSCRIBE" | "REFER")
}

#[cfg(test)]
mod tests;

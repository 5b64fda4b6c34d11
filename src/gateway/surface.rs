//! What goes into the gateway and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use sipliance_driver as driver;

use crate::config::{Config, Dial, LinkId, Wanted};
use crate::sip::{FlowId, Hop, Transport};

/// What happens to the gateway.
#[derive(Debug)]
pub enum Input<'a> {
    /// [`Gateway::next_deadline`](super::Gateway::next_deadline) has passed.
    Deadline,
    /// A datagram arrived.
    Datagram {
        /// The socket.
        flow: FlowId,
        /// The address that it was sent to.
        local: SocketAddr,
        /// The source.
        from: SocketAddr,
        /// The payload.
        bytes: &'a [u8],
    },
    /// A whole message of a connection arrived: over those that keep messages apart (WebSocket).
    Frame {
        /// The connection.
        flow: FlowId,
        /// The message, or a keep-alive.
        bytes: &'a [u8],
    },
    /// Bytes of a connection arrived.
    Stream {
        /// The connection.
        flow: FlowId,
        /// What was read.
        bytes: &'a [u8],
    },
    /// A flow exists: an accepted connection, or what [`Output::Connect`] asked for.
    Opened {
        /// The new flow.
        flow: FlowId,
        /// How.
        transport: Transport,
        /// Our address.
        local: SocketAddr,
        /// The far end.
        peer: SocketAddr,
        /// The upstream that it leads to.
        upstream: Option<usize>,
    },
    /// What was sent over a flow leaves more slowly than it comes: NOTIFYs are to wait.
    Full {
        /// Which.
        flow: FlowId,
    },
    /// Almost everything has left.
    Room {
        /// Which.
        flow: FlowId,
    },
    /// A flow is gone.
    Closed {
        /// Which.
        flow: FlowId,
        /// In words.
        why: String,
    },
    /// What [`Output::Connect`] asked for did not work.
    ConnectFailed {
        /// The upstream.
        upstream: usize,
        /// In words.
        why: String,
        /// Somebody is there, and nothing came of it, such as a handshake that failed.
        met: bool,
    },
    /// A driver reports.
    Driver {
        /// The link.
        link: LinkId,
        /// What.
        event: driver::Event,
    },
    /// [`Output::Relay`] comes back.
    Relay {
        /// The link.
        link: LinkId,
        /// What.
        op: driver::Op,
    },
    /// A request came over HTTP; answered at once by [`Output::Answer`].
    Http {
        /// Names the request.
        ticket: u64,
        /// Who asks, by address.
        peer: IpAddr,
        /// What is asked.
        request: &'a super::xcap::Request,
    },
    /// A new configuration was checked and is good.
    Reload(Arc<Config>),
    /// The machine's network is another one, or is there again.
    Network,
    /// The process stood still for longer than a command may wait. What arrived meanwhile comes after this,
    /// and is as old as that.
    Stood,
    /// Stop: tell the watchers, take registrations back.
    Shutdown,
}

/// What the gateway wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a message.
    Send {
        /// Where to.
        hop: Hop,
        /// The bytes.
        bytes: Bytes,
    },
    /// Open a flow to an upstream; answered by [`Input::Opened`] or [`Input::ConnectFailed`].
    Connect {
        /// Comes back with the flow.
        upstream: usize,
        /// Where, as far as it is known.
        server: Wanted,
        /// What TLS and WebSockets need to know besides.
        dial: Dial,
    },
    /// Close a connection after everything sent before has left.
    Close {
        /// Which.
        flow: FlowId,
    },
    /// Ask something of a driver.
    Drive {
        /// The link.
        link: LinkId,
        /// What.
        op: driver::Op,
    },
    /// Hand this back as [`Input::Relay`]: it goes to another gateway, and like what goes to a driver it
    /// waits until everything that was polled before is carried out.
    Relay {
        /// The link.
        link: LinkId,
        /// What.
        op: driver::Op,
    },
    /// Write a line to the audit log, before the outputs that follow are carried out.
    Audit {
        /// One JSON object.
        line: String,
        /// Something sensitive follows: when the line cannot be kept, no [`Output::Drive`] or
        /// [`Output::Relay`] of an op that [acts](driver::Op::acts) and is polled after it may be carried
        /// out.
        sensitive: bool,
    },
    /// Keep a document for the next run, or forget it.
    Keep {
        /// Which.
        key: super::Key,
        /// Its text; `None`: there is none any more.
        body: Option<Bytes>,
    },
    /// Answer a request that came over HTTP.
    Answer {
        /// The request.
        ticket: u64,
        /// The answer.
        answer: super::xcap::Answer,
    },
    /// Something that a person may want to read in the journal.
    Tell(Notice),
}

/// News for the journal. Holds no secret and no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The state of an appliance changed.
    State {
        /// Its id.
        device: String,
        /// In a line.
        summary: String,
    },
    /// Something happened at an appliance.
    Happened {
        /// Its id.
        device: String,
        /// What.
        what: String,
    },
    /// A registration changed its standing.
    Registration {
        /// The address.
        address: String,
        /// In words.
        standing: String,
        /// Whether it is good news.
        good: bool,
    },
    /// Something came that nothing in a device's profile fits: told once, counted in the status.
    Unread {
        /// The device, or the first one of its port.
        device: String,
        /// What came, in quotes.
        last: String,
    },
    /// Something on a link will never be read; what depends on it stays unknown.
    Unwatched {
        /// The link's name.
        link: String,
        /// What cannot be watched.
        channel: String,
        /// Why.
        why: String,
    },
    /// Somebody wrote a document, or took it away.
    Document {
        /// Who.
        user: String,
        /// Of what kind.
        kind: &'static str,
        /// What became of it.
        what: &'static str,
    },
    /// Something on a link does not work as it should.
    Trouble {
        /// The link's name.
        link: String,
        /// What, and why.
        why: String,
    },
    /// A link changed.
    Link {
        /// Its name.
        link: String,
        /// `None`: it is up; else why it is down.
        down: Option<String>,
    },
}

/// Packets and requests, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets and frames that were no SIP.
    pub not_sip: u64,
    /// Requests that were malformed and answered.
    pub malformed: u64,
    /// Challenges sent.
    pub challenges: u64,
    /// Requests refused to somebody who was proven.
    pub forbidden: u64,
    /// Commands carried out or tried.
    pub commands: u64,
    /// NOTIFYs that nobody answered.
    pub unanswered: u64,
}

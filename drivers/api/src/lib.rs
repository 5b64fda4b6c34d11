//! What a driver and the gateway say to each other.
//!
//! A driver owns one *link*: a broker, a serial port, a set of GPIO lines. It moves bytes and keeps
//! the time that hardware needs; it does not know what the bytes mean, nor who asked for them.
//! The gateway sends [`Op`]s, the driver answers with [`Event`]s, both over bounded channels.
//!
//! Every driver reports through an [`Outbox`], which never waits for the gateway, and comes back
//! from trouble by a [`Backoff`]; [`keep`] opens a link again that broke.

mod backoff;
mod checksum;
#[cfg(feature = "conformance")]
pub mod conformance;
mod frame;
mod keep;
mod outbox;
mod tally;

pub use backoff::Backoff;
pub use checksum::Checksum;
pub use frame::{Cut, Framer, Framing, Wake, telegram_checksum};
pub use keep::{Keep, Post, keep};
pub use outbox::{BACKLOG, BACKLOG_BYTES, Outbox};
pub use tally::Tally;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

/// Where on a link a payload belongs: an MQTT topic, a GPIO line, a bus address.
///
/// Cheap to clone; compared as text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channel(Arc<str>);

impl Channel {
    /// Names a channel.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The channel's name as the link spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ties an [`Op`] to its [`Event::Done`]. The gateway never uses a number twice in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpId(pub u64);

/// What the gateway asks of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Report every payload that appears on `channel` (an MQTT topic filter, an input line). Said
    /// once; the driver repeats it by itself on every reconnect.
    Watch {
        /// What to listen to.
        channel: Channel,
    },
    /// Move `payload` to `channel` once. Never retried after the link was lost, never retained.
    Write {
        /// Comes back in [`Event::Done`].
        id: OpId,
        /// Where to.
        channel: Channel,
        /// The bytes as the appliance wants them.
        payload: Bytes,
    },
    /// Tell whoever listens what *is*: state, a description, something that just happened. Never a
    /// command, so that this alone may be retained. Only links with listeners (brokers) can; the others
    /// refuse. Nothing waits for a link that is down: who publishes knows the newest state, and says it
    /// again after [`Event::Up`].
    Publish {
        /// Comes back in [`Event::Done`].
        id: OpId,
        /// Where to.
        channel: Channel,
        /// What; empty and retained takes back what was retained there.
        payload: Bytes,
        /// Whether it is kept for those who come later.
        retained: bool,
    },
    /// Write and collect the answer of a request/response bus; the answer arrives as
    /// [`Event::Read`] on the same channel, before [`Event::Done`].
    Ask {
        /// Comes back in [`Event::Done`].
        id: OpId,
        /// Where to.
        channel: Channel,
        /// The query.
        payload: Bytes,
        /// How long the appliance may take.
        timeout: Duration,
    },
    /// Drive an output active for `on`, then inactive again. Timed inside the driver, so that an
    /// output is released even when the gateway stalls.
    Pulse {
        /// Comes back in [`Event::Done`].
        id: OpId,
        /// The output line.
        channel: Channel,
        /// How long; drivers refuse more than [`MAX_PULSE`].
        on: Duration,
    },
}

impl Op {
    /// The number that its [`Event::Done`] will carry; `None` for a watch, which has no end.
    pub fn id(&self) -> Option<OpId> {
        match self {
            Op::Watch { .. } => None,
            Op::Write { id, .. } | Op::Publish { id, .. } | Op::Ask { id, .. } | Op::Pulse { id, .. } => {
                Some(*id)
            }
        }
    }

    /// Whether it may move something, and is therefore never sent without its line in the audit log.
    pub fn acts(&self) -> bool {
        match self {
            Op::Write { .. } | Op::Ask { .. } | Op::Pulse { .. } => true,
            Op::Watch { .. } | Op::Publish { .. } => false,
        }
    }

    /// Where the op is aimed at.
    pub fn channel(&self) -> &Channel {
        match self {
            Op::Watch { channel }
            | Op::Write { channel, .. }
            | Op::Publish { channel, .. }
            | Op::Ask { channel, .. }
            | Op::Pulse { channel, .. } => channel,
        }
    }
}

/// The longest pulse that a driver will time.
pub const MAX_PULSE: Duration = Duration::from_secs(60);

/// What a link reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The link works: broker connected, port open, lines requested. Sent on every (re)connect,
    /// after the watches are in place again.
    Up,
    /// The link is gone; the driver is trying to get it back. Writes fail until the next `Up`.
    Down(Why),
    /// A payload arrived.
    Read {
        /// Where it appeared: the concrete topic or line, never a pattern.
        channel: Channel,
        /// The raw bytes.
        payload: Bytes,
        /// A stored copy of unknown age rather than something that happens now (MQTT retain flag).
        retained: bool,
    },
    /// The far end will not let the link watch `channel` (an access list, a malformed filter, no
    /// such line): nothing will ever be read there. Said once per (re)connect.
    Unwatched {
        /// What was asked for.
        channel: Channel,
        /// Why, for a person.
        why: Why,
    },
    /// The fate of an [`Op`] that carried an id: exactly one per op. A pulse is done when its line
    /// has been driven active; its release is the driver's promise.
    Done {
        /// The op's number.
        id: OpId,
        /// Whether the bytes reached the link (an MQTT PUBACK, a written frame, a driven line).
        result: Result<(), Failure>,
    },
}

/// Why a link is down, in words for a person: what, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Why(pub String);

impl Why {
    /// Words for a person.
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

/// Why an operation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The link is not up; nothing was sent.
    #[error("not connected")]
    NotConnected,
    /// The driver's queue is full; nothing was sent.
    #[error("too many requests are waiting")]
    Busy,
    /// It was sent, and no answer came in time: whether the appliance acted is unknown.
    #[error("no answer in time")]
    Timeout,
    /// The link broke while the operation was under way: whether the appliance acted is unknown.
    #[error("the connection broke during the operation")]
    Broken,
    /// The link cannot do this (no such line, an input, a payload it cannot carry).
    #[error("refused: {0}")]
    Refused(String),
}

/// The longest time that an [`Op`] may wait in a queue. Who finds an older one answers
/// [`Failure::Busy`]: a command that acts late opens a door nobody expects.
pub const MAX_WAIT: Duration = Duration::from_secs(10);

/// How many [`Op`]s may wait for a driver; a full queue answers [`Failure::Busy`].
pub const OP_QUEUE: usize = 64;

/// How many [`Event`]s may wait for the gateway. When it is full, the driver keeps only the newest
/// payload per channel and goes on.
pub const EVENT_QUEUE: usize = 256;

/// The driver's end of the two channels.
#[derive(Debug)]
pub struct Port {
    /// What the gateway asks. `None` from `recv` means: the gateway is done with this link; release
    /// the hardware and return.
    pub ops: mpsc::Receiver<Op>,
    /// Where to report.
    pub events: mpsc::Sender<Event>,
}

/// The gateway's end of the two channels.
#[derive(Debug)]
pub struct Link {
    /// Ask the driver.
    pub ops: mpsc::Sender<Op>,
    /// Hear from the driver.
    pub events: mpsc::Receiver<Event>,
}

/// A connected pair.
pub fn pair() -> (Link, Port) {
    let (op_tx, op_rx) = mpsc::channel(OP_QUEUE);
    let (event_tx, event_rx) = mpsc::channel(EVENT_QUEUE);
    (Link { ops: op_tx, events: event_rx }, Port { ops: op_rx, events: event_tx })
}

/// Why a driver's `run` returned.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    /// The gateway closed the port.
    Closed,
    /// The link cannot be kept; the supervisor starts the driver again after a pause.
    Lost(Why),
}

/// One kind of link.
pub trait Driver: Sized + Send + 'static {
    /// The word for it in the home file: `mqtt`, `serial`, `gpio`.
    const KIND: &'static str;
    /// What the home file and the profiles say about the link.
    type Settings: Send + 'static;
    /// Owns the hardware until the port closes or the link is lost.
    fn run(settings: Self::Settings, port: Port) -> impl Future<Output = Exit> + Send;
}

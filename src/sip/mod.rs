//! SIP without sockets: messages, transactions, dialogs, subscriptions, registrations.
//!
//! Nothing here names an appliance; [`crate::gateway`] brings the two together.

pub mod auth;
pub mod challenge;
pub mod dialog;
pub mod exchange;
pub mod flow;
pub mod locate;
pub mod notifier;
pub mod publication;
pub mod publisher;
pub mod registrar;
pub mod registration;
pub mod subscriber;
pub mod transaction;
mod transport;
pub mod wire;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

pub use transport::Transport;

/// An address of IPv6 that leads nowhere without an interface (RFC 4291 §2.5.6): each cable may have another machine with it.
pub fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

/// A socket of the shell: a UDP socket, or one connection. Never used twice in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowId(pub u64);

/// Where a message came from, and so where its answer goes: the same flow, back to the source of
/// the packet. Via's `maddr` and sent-by never redirect an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The socket.
    pub flow: FlowId,
    /// How.
    pub transport: Transport,
    /// Our address on it.
    pub local: SocketAddr,
    /// The far end.
    pub peer: SocketAddr,
}

/// Whom an address stands for: who has one of IPv6 has the other 2^64 of its network, too.
pub fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

/// Why a request is not served: becomes its final response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Status code.
    pub status: u16,
    /// Reason phrase.
    pub reason: std::borrow::Cow<'static, str>,
    /// Whole header fields, each with its line end.
    pub fields: String,
}

impl Rejection {
    /// A rejection without further fields.
    pub const fn new(status: u16, reason: &'static str) -> Self {
        Self { status, reason: std::borrow::Cow::Borrowed(reason), fields: String::new() }
    }

    /// Adds a header field. `value` holds no line end.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push_str(name);
        self.fields.push_str(": ");
        self.fields.push_str(value);
        self.fields.push_str("\r\n");
        self
    }
}

/// Who sent a request, and so who hears of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The notifier, for a subscription and the CSeq of its NOTIFY.
    Notify(notifier::SubscriptionId, u32),
    /// A registration at an upstream registrar.
    Register(registration::RegistrationId),
    /// A subscription of ours elsewhere, by its place.
    Watch(usize),
    /// A command of ours elsewhere, by its number.
    Order(u64),
    /// A publication of ours, by its place.
    Publish(usize),
    /// Whoever may decide over the request to watch of that number (QAUTH).
    Qauth(u32),
    /// Whether somebody is at the far end of a flow.
    Ask(FlowId),
    /// Whether a registrar still leads to us, by its place.
    Echo(usize),
    /// Nobody: the outcome of a reply MESSAGE is only counted.
    Page,
    /// A MESSAGE of which it is to be known that somebody took it, by its number.
    Told(u64),
}

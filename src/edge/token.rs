//! Which flow, as a text that only we can write (RFC 5626 §5.2).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::sip::{FlowId, Hop, Transport};

/// Which registered device and which of its flows: AOR, instance and reg-id.
pub(super) type Identity = [u8; 16];

/// Where a token leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The device that a REGISTER named, whose flow may be another one by now.
    pub identity: Option<Identity>,
    /// The flow that it was then.
    pub via: Way,
}

/// A flow, as much of it as can outlive us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// A connection of this run.
    Connection { run: u32, flow: FlowId },
    /// A socket of ours, by its port, and who is spoken to through it.
    Datagrams { inner: bool, port: u16, peer: SocketAddr },
}

/// Bytes of a MAC: as many as RFC 5626 §5.2 has.
const MAC: usize = 10;

/// Makes and reads tokens.
pub(super) struct Tokens {
    mac: Hmac<Sha256>,
    run: u32,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// `run` tells connections of this run from those of another.
    pub fn new(key: &[u8; 32], run: u32) -> Self {
        // A key of any length makes an HMAC; for this one the block is padded.
        let mut block = [0_u8; 64];
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
        Self { mac: Hmac::new(&block.into()), run }
    }

    /// The way back to somebody.
    pub fn way(&self, hop: Hop, inner: bool) -> Way {
        match hop.transport {
            Transport::Udp => Way::Datagrams { inner, port: hop.local.port(), peer: hop.peer },
            _ => Way::Connection { run: self.run, flow: hop.flow },
        }
    }

    /// Whether a connection can still be there.
    pub fn is_of_this_run(&self, run: u32) -> bool {
        run == self.run
    }

    /// A text of letters, digits, `-` and `_`.
    pub fn write(&self, place: &Place) -> String {
        let mut bytes = Vec::with_capacity(48);
        match place.via {
            Way::Connection { run, flow } => {
                bytes.push(1);
                bytes.extend(run.to_be_bytes());
                bytes.extend(flow.0.to_be_bytes());
            }
            Way::Datagrams { inner, port, peer } => {
                bytes.push(if peer.is_ipv4() { 4 } else { 6 } + u8::from(inner));
                bytes.extend(port.to_be_bytes());
                match peer.ip() {
                    IpAddr::V4(ip) => bytes.extend(ip.octets()),
                    IpAddr::V6(ip) => bytes.extend(ip.octets()),
                }
                bytes.extend(peer.port().to_be_bytes());
            }
        }
        bytes.extend(place.identity.iter().flatten());
        let mac = self.mac.clone().chain_update(&bytes).finalize().into_bytes();
        bytes.extend(mac.iter().take(MAC));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None`: we did not write that.
    pub fn read(&self, token: &str) -> Option<Place> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (signed, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
        self.mac.clone().chain_update(signed).verify_truncated_left(mac).ok()?;
        let mut rest = Rest(signed);
        let via = match rest.array::<1>()? {
            [1] => Way::Connection {
                run: u32::from_be_bytes(rest.array()?),
                flow: FlowId(u64::from_be_bytes(rest.array()?)),
            },
            [kind] => {
                let port = u16::from_be_bytes(rest.array()?);
                let ip = match kind {
                    4 | 5 => IpAddr::V4(Ipv4Addr::from(rest.array::<4>()?)),
                    6 | 7 => IpAddr::V6(Ipv6Addr::from(rest.array::<16>()?)),
                    _ => return None,
                };
                let peer = SocketAddr::new(ip, u16::from_be_bytes(rest.array()?));
                Way::Datagrams { inner: kind % 2 == 1, port, peer }
            }
        };
        let identity = if rest.0.is_empty() { None } else { Some(rest.array()?) };
        rest.0.is_empty().then_some(Place { identity, via })
    }

    /// A branch that is the same for every repetition of a request (RFC 3261 §16.11), also after a restart.
    pub fn branch(&self, parts: &[&[u8]]) -> String {
        let mut mac = self.mac.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let hash = mac.finalize().into_bytes();
        let short: Vec<u8> = hash.iter().take(15).copied().collect();
        format!("z9hG4bK{}", URL_SAFE_NO_PAD.encode(short))
    }
}

/// What stays the same of a device's flow, however often it is opened anew.
pub(super) fn identity(aor: &str, instance: &str, reg_id: &str) -> Identity {
    let mut identity = Identity::default();
    let hash = Sha256::digest(format!("{aor}\n{instance}\n{reg_id}"));
    for (to, from) in identity.iter_mut().zip(hash) {
        *to = from;
    }
    identity
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }
}

//! What stands in the records of a subscription.
//!
//! The first, [`Made`], is the SUBSCRIBE itself, without what proved it: read again, it means what it
//! means under the configuration of that time, and the rights are those of that time. The second,
//! [`Stands`], is what changes. The third is bodies of refreshes that changed its filter.

use std::net::SocketAddr;
use std::time::Duration;

use super::pack::{Pack, Unpack};
use crate::sip::Transport;
use crate::sip::notifier::rate::Rates;
use crate::sip::notifier::watchers::Standing;
use crate::sip::wire::{Message, Method, Name, Writer};

/// The header fields that a subscription follows from. What proves somebody is none of them.
const FIELDS: [Name; 13] = [
    Name::From,
    Name::To,
    Name::CallId,
    Name::CSeq,
    Name::Contact,
    Name::RecordRoute,
    Name::Event,
    Name::Accept,
    Name::Supported,
    Name::Require,
    Name::Expires,
    Name::ContentType,
    Name::ContentEncoding,
];

/// A SUBSCRIBE as it is kept.
pub(super) fn strip(request: &Message<'_>) -> Vec<u8> {
    let uri = request.request().map_or("", |(_, uri)| uri);
    let mut writer = Writer::request(Method::Subscribe, uri);
    for name in FIELDS {
        for value in request.all(name) {
            writer.echo(name.as_str(), value);
        }
    }
    writer.end(request.body)
}

/// How a subscription was made.
#[derive(Debug, PartialEq)]
pub(super) struct Made<'a> {
    /// The proven name.
    pub who: &'a str,
    pub local_tag: &'a str,
    pub request: &'a [u8],
}

impl<'a> Made<'a> {
    pub fn pack(&self) -> Vec<u8> {
        let texts = Pack::default().bytes(self.who.as_bytes()).bytes(self.local_tag.as_bytes());
        texts.bytes(self.request).done()
    }

    pub fn unpack(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Unpack(bytes);
        let made = Self { who: from.text()?, local_tag: from.text()?, request: from.bytes()? };
        from.end().map(|()| made)
    }
}

/// Over what the peer was last heard: of addresses, since flows end with the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path<'a> {
    pub transport: Transport,
    pub local: SocketAddr,
    pub peer: SocketAddr,
    /// The name of the upstream, or empty.
    pub upstream: &'a str,
}

impl<'a> Path<'a> {
    pub fn pack(&self, pack: Pack) -> Pack {
        let pack = pack.bytes(self.transport.word().as_bytes()).bytes(self.local.to_string().as_bytes());
        pack.bytes(self.peer.to_string().as_bytes()).bytes(self.upstream.as_bytes())
    }

    pub fn unpack(from: &mut Unpack<'a>) -> Option<Self> {
        let transport = Transport::of_word(from.text()?)?;
        let (local, peer) = (from.text()?.parse().ok()?, from.text()?.parse().ok()?);
        Some(Self { transport, local, peer, upstream: from.text()? })
    }
}

/// How it stood when that was last put on record.
#[derive(Debug, PartialEq)]
pub(super) struct Stands<'a> {
    /// CSeqs up to this one may have been used.
    pub reserved: u32,
    /// CSeq of the peer's last request.
    pub remote_seq: u32,
    /// The peer's Contact.
    pub target: &'a str,
    /// Ours.
    pub contact: &'a str,
    pub path: Path<'a>,
    pub rates: Rates,
    pub standing: Standing,
    /// When this was written, in milliseconds since 1970.
    pub at_ms: i64,
    /// How much time it had then.
    pub left: Duration,
    /// For how long it was last granted.
    pub granted: Duration,
}

impl<'a> Stands<'a> {
    pub fn pack(&self) -> Vec<u8> {
        let standing = match self.standing {
            Standing::Active => 0,
            Standing::Pending => 1,
            Standing::Polite => 2,
        };
        let pack = Pack::default()
            .number(self.reserved.into())
            .number(self.remote_seq.into())
            .number(standing)
            .number(self.at_ms.cast_unsigned())
            .number(self.left.as_secs())
            .number(self.granted.as_secs());
        let pack = self.rates.numbers().into_iter().fold(pack, |pack, rate| pack.number(rate.to_bits()));
        self.path.pack(pack.bytes(self.target.as_bytes()).bytes(self.contact.as_bytes())).done()
    }

    pub fn unpack(bytes: &'a [u8]) -> Option<Self> {
        let mut from = Unpack(bytes);
        let small = |value: u64| u32::try_from(value).ok();
        let (reserved, remote_seq) = (small(from.number()?)?, small(from.number()?)?);
        let standing = match from.number()? {
            0 => Standing::Active,
            1 => Standing::Pending,
            2 => Standing::Polite,
            _ => return None,
        };
        let at_ms = from.number()?.cast_signed();
        let seconds = |value: u64| Some(Duration::from_secs(small(value)?.into()));
        let (left, granted) = (seconds(from.number()?)?, seconds(from.number()?)?);
        let rate = |from: &mut Unpack<'_>| from.number().map(f64::from_bits);
        let rates = Rates::of_numbers([rate(&mut from)?, rate(&mut from)?, rate(&mut from)?]);
        let (target, contact) = (from.text()?, from.text()?);
        let path = Path::unpack(&mut from)?;
        from.end()?;
        Some(Self { reserved, remote_seq, target, contact, path, rates, standing, at_ms, left, granted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands() -> Stands<'static> {
        Stands {
            reserved: 4096,
            remote_seq: 7,
            target: "sip:a@a",
            contact: "sip:plug@h",
            path: Path {
                transport: Transport::Tcp,
                local: "192.0.2.1:5060".parse().unwrap(),
                peer: "[2001:db8::1]:5060".parse().unwrap(),
                upstream: "kamailio",
            },
            rates: Rates::of_numbers([0.5, 0.0, 0.1]),
            standing: Standing::Polite,
            at_ms: -5,
            left: Duration::from_secs(60),
            granted: Duration::from_secs(3600),
        }
    }

    #[test]
    fn records_are_read_as_they_were_written_and_no_other_bytes_are() {
        let bytes = stands().pack();
        assert_eq!(Stands::unpack(&bytes), Some(stands()));
        for cut in 0..bytes.len() {
            assert_eq!(Stands::unpack(&bytes[..cut]), None);
        }
        assert_eq!(Stands::unpack(&[&bytes[..], b"x"].concat()), None);
        let made = Made { who: "anna", local_tag: "0.1.ab", request: b"SUBSCRIBE" };
        let bytes = made.pack();
        assert_eq!(Made::unpack(&bytes), Some(made));
        assert_eq!(Made::unpack(&bytes[..bytes.len() - 1]), None);
    }

    #[test]
    fn what_proves_somebody_is_not_kept() {
        let raw = b"SUBSCRIBE sip:plug@h SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nf: <sip:a@h>;tag=1\r\nAccept:\r\nAuthorization: Digest response=\"12\"\r\nProxy-Authorization: Digest x\r\nP-Asserted-Identity: <sip:a@h>\r\nX-Secret: 1\r\nl: 2\r\n\r\nhi";
        let kept = strip(&Message::parse(raw).unwrap());
        let text = String::from_utf8(kept).unwrap();
        assert_eq!(
            text,
            "SUBSCRIBE sip:plug@h SIP/2.0\r\nFrom: <sip:a@h>;tag=1\r\nAccept: \r\nContent-Length: 2\r\n\r\nhi"
        );
    }
}

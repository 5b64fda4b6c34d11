//! STUN Binding, as much as keeps a flow over UDP alive (RFC 5626 §8, RFC 8489).

use std::net::SocketAddr;

use stun_types::attribute::XorMappedAddress;
use stun_types::message::{BINDING, Message, MessageClass, MessageType, MessageWriteVec, TransactionId};
use stun_types::prelude::*;

/// What a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stun {
    /// Somebody asks how it is seen.
    Request(Id),
    /// How we are seen there.
    Mapped(Id, SocketAddr),
    /// The far end does not answer that.
    Refused(Id),
}

/// Ties an answer to its request: 96 bits that nobody can guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(TransactionId);

impl Id {
    /// Of random bits; the upper 32 do not count.
    pub fn new(random: u128) -> Self {
        Self(TransactionId::from(random))
    }
}

/// The largest packet that is looked at.
const LARGEST: usize = 548;

/// Whether a packet is STUN and not SIP: no SIP message begins with such a byte.
pub fn is_stun(packet: &[u8]) -> bool {
    packet.len() >= 20 && packet.first().is_some_and(|first| *first < 4) && packet.get(4..8) == Some(&COOKIE)
}

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// Reads a packet; `None` when it is of no use.
pub fn parse(packet: &[u8]) -> Option<Stun> {
    if packet.len() > LARGEST {
        return None;
    }
    let message = Message::from_bytes(packet).ok().filter(|message| message.has_method(BINDING))?;
    let id = message.transaction_id();
    match message.class() {
        MessageClass::Request => Some(Stun::Request(Id(id))),
        MessageClass::Success => {
            let mapped = message.attribute::<XorMappedAddress>().ok()?;
            Some(Stun::Mapped(Id(id), mapped.addr(id)))
        }
        MessageClass::Error => Some(Stun::Refused(Id(id))),
        MessageClass::Indication => None,
    }
}

/// A Binding request.
pub fn request(id: Id) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Request, BINDING);
    Message::builder(kind, id.0, MessageWriteVec::new()).finish()
}

/// The answer to a Binding request from `from`. It is no more than three times as long as the shortest
/// request.
pub fn answer(id: Id, from: SocketAddr) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Success, BINDING);
    let mut message = Message::builder(kind, id.0, MessageWriteVec::new());
    // Refused only where the attribute stands there already.
    let _ = message.add_attribute(&XorMappedAddress::new(from, id.0));
    let _ = message.add_fingerprint();
    message.finish()
}

#[cfg(test)]
mod tests {
    use stun_types::attribute::Fingerprint;

    use super::*;

    #[test]
    fn an_answer_says_how_the_asker_is_seen() {
        for from in ["203.0.113.7:31207", "[2001:db8::7]:5060"] {
            let from: SocketAddr = from.parse().unwrap();
            let id = Id::new(0x0123_4567_89ab_cdef_0011_2233);
            let asked = request(id);
            assert!(is_stun(&asked) && asked.len() == 20);
            assert_eq!(parse(&asked), Some(Stun::Request(id)));
            let answered = answer(id, from);
            let fingerprint = Message::from_bytes(&answered).unwrap().attribute::<Fingerprint>();
            assert!(is_stun(&answered) && fingerprint.is_ok() && answered.len() <= 3 * asked.len());
            assert_eq!(parse(&answered), Some(Stun::Mapped(id, from)));
        }
    }

    #[test]
    fn what_is_no_stun_is_left_to_others() {
        for packet in [&b"REGISTER sip:a SIP/2.0\r\n\r\n"[..], b"\r\n\r\n", b"", &[0; 64], &[1; 19]] {
            assert!(!is_stun(packet), "{packet:?}");
            assert_eq!(parse(packet), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes: Vec<u8>, head in 0..4_u8) {
            bytes.splice(0..0, [head, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42]);
            let _ = parse(&bytes);
        }
    }
}

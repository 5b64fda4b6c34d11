//! Bytes from the broker into packets, without trusting the length that it announces.

use bytes::{Buf, BytesMut};
use rumqttc::{Error, Packet};

use crate::Version;
use crate::five::{self, Incoming};

/// The largest packet that is kept, unless the link only listens. A larger PUBLISH is skipped as it streams in; a larger packet of
/// another kind is a fault.
pub(crate) const MAX_PACKET: usize = 256 * 1024;

/// What the stream held next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// A packet.
    Packet(Packet),
    /// A PUBLISH of more than is kept went by.
    Skipped(Oversized),
    /// MQTT 5: what we published under this number was refused.
    Refused(u16, &'static str),
    /// MQTT 5: the broker ends the connection.
    Bye(String),
    /// MQTT 5: another client came with our id.
    Taken,
    /// More bytes are needed.
    Starved,
}

/// What is known of a PUBLISH that was not kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Oversized {
    /// Its topic.
    pub topic: String,
    /// Its announced size in bytes.
    pub size: usize,
    /// To be acknowledged, or else the broker sends it again (QoS 1).
    pub pkid: Option<u16>,
}

/// A packet splitter. Holds at most one unfinished packet.
#[derive(Debug)]
pub(crate) struct Packets {
    /// Where the socket's bytes go.
    pub bytes: BytesMut,
    /// What they are.
    pub version: Version,
    /// The largest packet that is kept.
    pub max: usize,
    skipping: Option<(usize, Oversized)>,
}

impl Packets {
    /// Packets of this version, of at most `max` bytes.
    pub fn of(version: Version, max: usize) -> Self {
        Self { bytes: BytesMut::new(), version, max, skipping: None }
    }

    /// Takes the next packet out of the bytes so far.
    ///
    /// # Errors
    /// The bytes are not MQTT, or a packet that must be kept is too large.
    pub fn next(&mut self) -> Result<Next, Error> {
        if self.skipping.is_some() {
            return Ok(self.skip());
        }
        let read = match self.version {
            Version::Three => Packet::read(&mut self.bytes, self.max).map(Incoming::Packet),
            Version::Five => five::read(&mut self.bytes, self.max),
        };
        match read {
            Ok(Incoming::Packet(packet)) => Ok(Next::Packet(packet)),
            Ok(Incoming::Refused(pkid, why)) => Ok(Next::Refused(pkid, why)),
            Ok(Incoming::Bye(why)) => Ok(Next::Bye(why)),
            Ok(Incoming::Taken) => Ok(Next::Taken),
            Err(Error::InsufficientBytes(_)) => Ok(Next::Starved),
            Err(Error::PayloadSizeLimitExceeded(size)) => self.begin_skip(size),
            Err(error) => Err(error),
        }
    }

    /// Writes a packet in the version of the connection; the error is for the log.
    pub fn write(&self, packet: &Packet, out: &mut BytesMut) -> Result<(), String> {
        match self.version {
            Version::Three => packet.write(out, 2 * MAX_PACKET).map(drop).map_err(|error| error.to_string()),
            Version::Five => five::write(packet, out),
        }
    }

    /// Reads the head of an oversized PUBLISH: fixed header, topic, packet id (MQTT 3.1.1 §3.3).
    fn begin_skip(&mut self, size: usize) -> Result<Next, Error> {
        let Some(&first) = self.bytes.first() else { return Ok(Next::Starved) };
        let publish = first >> 4 == 3;
        let qos = (first >> 1) & 3;
        if !publish || qos > 1 {
            return Err(Error::PayloadSizeLimitExceeded(size));
        }
        let length_bytes = self.bytes.iter().skip(1).take_while(|b| **b & 0x80 != 0).count() + 1;
        let header = 1 + length_bytes;
        let Some(mut head) = self.bytes.get(header..) else { return Ok(Next::Starved) };
        let Ok(topic_len) = head.try_get_u16() else { return Ok(Next::Starved) };
        let Some((topic, mut rest)) = head.split_at_checked(usize::from(topic_len)) else {
            return Ok(Next::Starved);
        };
        let pkid = match qos {
            0 => None,
            _ => match rest.try_get_u16() {
                Ok(pkid) => Some(pkid),
                Err(_) => return Ok(Next::Starved),
            },
        };
        let topic = String::from_utf8_lossy(topic).into_owned();
        self.skipping = Some((header + size, Oversized { topic, size, pkid }));
        Ok(self.skip())
    }

    fn skip(&mut self) -> Next {
        let Some((left, oversized)) = &mut self.skipping else { return Next::Starved };
        let gone = self.bytes.len().min(*left);
        self.bytes.advance(gone);
        *left -= gone;
        if *left > 0 {
            return Next::Starved;
        }
        let oversized = oversized.clone();
        self.skipping = None;
        Next::Skipped(oversized)
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{Publish, QoS};

    use super::*;

    fn publish(topic: &str, size: usize, pkid: u16) -> BytesMut {
        let qos = if pkid == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
        let mut publish = Publish::new(topic, qos, vec![7; size]);
        publish.pkid = pkid;
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_huge_payload_is_skipped_in_small_memory_and_the_next_packet_is_kept() {
        for pkid in [0, 9] {
            let mut stream = publish("cam/picture", 10_000_000, pkid);
            stream.extend_from_slice(&publish("plug", 2, 0));
            let mut packets = Packets::of(Version::Three, MAX_PACKET);
            let mut got = Vec::new();
            for piece in stream.chunks(4_096) {
                packets.bytes.extend_from_slice(piece);
                loop {
                    match packets.next().unwrap() {
                        Next::Starved => break,
                        next => got.push(next),
                    }
                }
                assert!(packets.bytes.capacity() <= 64 * 1024, "{}", packets.bytes.capacity());
            }
            let [Next::Skipped(skipped), Next::Packet(Packet::Publish(kept))] = &got[..] else {
                panic!("{} packets", got.len());
            };
            assert_eq!((skipped.topic.as_str(), skipped.pkid), ("cam/picture", (pkid > 0).then_some(pkid)));
            assert!(skipped.size > 10_000_000);
            assert_eq!(kept.topic, "plug");
        }
    }

    #[test]
    fn any_cut_gives_the_same_packets() {
        let mut stream = publish("a", 5, 0);
        stream.extend_from_slice(&publish("b", 300, 3));
        for cut in 0..stream.len() {
            let mut packets = Packets::of(Version::Three, MAX_PACKET);
            let mut topics = Vec::new();
            for piece in [&stream[..cut], &stream[cut..]] {
                packets.bytes.extend_from_slice(piece);
                while let Next::Packet(Packet::Publish(p)) = packets.next().unwrap() {
                    topics.push(p.topic);
                }
            }
            assert_eq!(topics, ["a", "b"], "cut at {cut}");
        }
    }

    #[test]
    fn noise_is_an_error_and_never_a_wait_for_gigabytes() {
        let mut packets = Packets::of(Version::Three, MAX_PACKET);
        packets.bytes.extend_from_slice(&[0x90, 0xff, 0xff, 0xff, 0x7f, 0, 0]);
        assert!(packets.next().is_err());
    }
}

//! MQTT 5 on the wire, MQTT 3.1.1 inside: what is new in 5 and matters here is kept.
//!
//! The bookkeeping of a session is the same in both. Two things of MQTT 5 are worth having: a command
//! that the broker could not hand on in time expires there, and a refusal has a reason.

use bytes::{Bytes, BytesMut};
use rumqttc::v5::mqttbytes::v5::{
    self, PubAckReason, PublishProperties, RetainForwardRule, SubscribeReasonCode,
};
use rumqttc::v5::mqttbytes::{self, QoS};
use rumqttc::{Packet, PubAck, Publish, SubAck};
use sipliance_driver::MAX_WAIT;

/// A packet of the broker.
pub(crate) enum Incoming {
    /// As in MQTT 3.1.1.
    Packet(Packet),
    /// A PUBACK that is a refusal.
    Refused(u16, &'static str),
    /// The broker ends the connection, for this reason.
    Bye(String),
    /// The broker ends it because another client came with our id.
    Taken,
}

/// Takes one packet out of the bytes.
///
/// # Errors
/// As those of MQTT 3.1.1, `InsufficientBytes` and `PayloadSizeLimitExceeded` among them.
pub(crate) fn read(bytes: &mut BytesMut, max: usize) -> Result<Incoming, rumqttc::Error> {
    let limit = u32::try_from(max).unwrap_or(u32::MAX);
    // A DISCONNECT without a reason is a packet without a payload, which the codec does not know.
    if bytes.starts_with(&[0xe0, 0]) {
        return Ok(Incoming::Bye("no reason given".to_owned()));
    }
    let packet = v5::Packet::read(bytes, Some(limit)).map_err(|error| match error {
        mqttbytes::Error::InsufficientBytes(missing) => rumqttc::Error::InsufficientBytes(missing),
        mqttbytes::Error::PayloadSizeLimitExceeded { pkt_size, .. } => {
            rumqttc::Error::PayloadSizeLimitExceeded(pkt_size)
        }
        _ => rumqttc::Error::MalformedPacket,
    })?;
    Ok(match packet {
        v5::Packet::Publish(publish) => Incoming::Packet(Packet::Publish(published(publish)?)),
        v5::Packet::PubAck(ack) => match refusal(ack.reason) {
            None => Incoming::Packet(Packet::PubAck(PubAck::new(ack.pkid))),
            Some(why) => Incoming::Refused(ack.pkid, why),
        },
        v5::Packet::SubAck(ack) => {
            let codes = ack.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(_) => {
                    rumqttc::SubscribeReasonCode::Success(rumqttc::QoS::AtLeastOnce)
                }
                _ => rumqttc::SubscribeReasonCode::Failure,
            });
            Incoming::Packet(Packet::SubAck(SubAck::new(ack.pkid, codes.collect())))
        }
        v5::Packet::PingResp(_) => Incoming::Packet(Packet::PingResp),
        v5::Packet::Disconnect(bye) if bye.reason_code == v5::DisconnectReasonCode::SessionTakenOver => {
            Incoming::Taken
        }
        v5::Packet::Disconnect(bye) => {
            let told = bye.properties.and_then(|properties| properties.reason_string);
            Incoming::Bye(told.unwrap_or_else(|| format!("{:?}", bye.reason_code)))
        }
        _ => return Err(rumqttc::Error::MalformedPacket),
    })
}

fn published(publish: v5::Publish) -> Result<Publish, rumqttc::Error> {
    // We allow no aliases, so a topic is always there.
    let topic = std::str::from_utf8(&publish.topic).map_err(|_| rumqttc::Error::TopicNotUtf8)?;
    let qos = match publish.qos {
        QoS::AtMostOnce => rumqttc::QoS::AtMostOnce,
        QoS::AtLeastOnce => rumqttc::QoS::AtLeastOnce,
        QoS::ExactlyOnce => rumqttc::QoS::ExactlyOnce,
    };
    let mut same = Publish::from_bytes(topic, qos, publish.payload);
    (same.dup, same.retain, same.pkid) = (publish.dup, publish.retain, publish.pkid);
    Ok(same)
}

/// Why a message was not taken; having no reader is no refusal, that is for a reading to prove.
fn refusal(reason: PubAckReason) -> Option<&'static str> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
        PubAckReason::NotAuthorized => Some("the broker does not let us write there – check its access list"),
        PubAckReason::QuotaExceeded => Some("the broker says that a quota is exceeded"),
        PubAckReason::TopicNameInvalid => Some("the broker does not accept the topic"),
        PubAckReason::PayloadFormatInvalid => Some("the broker does not accept the payload"),
        PubAckReason::UnspecifiedError
        | PubAckReason::ImplementationSpecificError
        | PubAckReason::PacketIdentifierInUse => Some("the broker refused the message"),
    }
}

/// Writes a packet of the session; a command gets its time after which it is void.
///
/// # Errors
/// In words for the log.
pub(crate) fn write(packet: &Packet, out: &mut BytesMut) -> Result<(), String> {
    let packet = match packet {
        Packet::Publish(publish) => v5::Packet::Publish(command(publish)),
        Packet::PubAck(ack) => v5::Packet::PubAck(v5::PubAck::new(ack.pkid, None)),
        Packet::Subscribe(subscribe) => {
            let filters = subscribe.filters.iter().map(|filter| v5::Filter {
                path: filter.path.clone(),
                qos: QoS::AtLeastOnce,
                nolocal: false,
                preserve_retain: false,
                retain_forward_rule: RetainForwardRule::OnEverySubscribe,
            });
            let mut same = v5::Subscribe::new_many(filters, None);
            same.pkid = subscribe.pkid;
            v5::Packet::Subscribe(same)
        }
        Packet::PingReq => v5::Packet::PingReq(v5::PingReq),
        other => return Err(format!("{other:?} is never sent")),
    };
    packet.write(out, None).map(drop).map_err(|error| error.to_string())
}

fn command(publish: &Publish) -> v5::Publish {
    let qos = match publish.qos {
        rumqttc::QoS::AtMostOnce => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    };
    let expiry = u32::try_from(MAX_WAIT.as_secs()).ok().filter(|_| !publish.retain);
    let properties = expiry
        .map(|seconds| PublishProperties { message_expiry_interval: Some(seconds), ..Default::default() });
    let mut same = v5::Publish::new(publish.topic.as_str(), qos, publish.payload.clone(), properties);
    (same.retain, same.pkid) = (publish.retain, publish.pkid);
    same
}

/// The words of a login: CONNECT.
pub(crate) struct Hello<'a> {
    pub client_id: &'a str,
    pub keep_alive: u16,
    pub status_topic: Option<&'a str>,
    pub login: Option<(&'a str, &'a str)>,
    pub max_packet: usize,
}

/// Writes the CONNECT: a clean start, nothing kept when the connection ends, and a last will.
///
/// # Errors
/// In words.
pub(crate) fn hello(hello: &Hello<'_>, out: &mut BytesMut) -> Result<(), String> {
    let mut properties = v5::ConnectProperties::new();
    properties.max_packet_size = u32::try_from(hello.max_packet).ok();
    properties.topic_alias_max = Some(0);
    let connect = v5::Connect {
        keep_alive: hello.keep_alive,
        client_id: hello.client_id.to_owned(),
        clean_start: true,
        properties: Some(properties),
    };
    let will = hello.status_topic.map(|topic| v5::LastWill {
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        message: Bytes::from_static(b"offline"),
        qos: QoS::AtLeastOnce,
        retain: true,
        properties: None,
    });
    let login = hello.login.map(|(user, password)| v5::Login::new(user, password));
    v5::Packet::Connect(connect, will, login).write(out, None).map(drop).map_err(|e| e.to_string())
}

/// The CONNACK's verdict; `None`: it is not here yet.
///
/// # Errors
/// Not MQTT 5.
pub(crate) fn verdict(bytes: &mut BytesMut) -> Result<Option<v5::ConnectReturnCode>, ()> {
    match v5::Packet::read(bytes, Some(64 * 1024)) {
        Ok(v5::Packet::ConnAck(ack)) => Ok(Some(ack.code)),
        Err(mqttbytes::Error::InsufficientBytes(_)) => Ok(None),
        Ok(_) | Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(retain: bool) -> v5::Publish {
        let mut publish = Publish::from_bytes("cmnd/garage", rumqttc::QoS::AtLeastOnce, "OPEN".into());
        (publish.retain, publish.pkid) = (retain, 7);
        let mut out = BytesMut::new();
        write(&Packet::Publish(publish), &mut out).unwrap();
        match v5::Packet::read(&mut out, None) {
            Ok(v5::Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_command_expires_at_the_broker_and_a_status_does_not() {
        let expiry = |publish: v5::Publish| publish.properties.and_then(|all| all.message_expiry_interval);
        assert_eq!(expiry(sent(false)), Some(10));
        assert_eq!(expiry(sent(true)), None);
    }

    #[test]
    fn any_cut_gives_the_same_packets_and_noise_is_an_error() {
        let mut stream = BytesMut::new();
        v5::Packet::Publish(v5::Publish::new("a/b", QoS::AtMostOnce, "x", None))
            .write(&mut stream, None)
            .unwrap();
        let refused = v5::PubAck { pkid: 3, reason: PubAckReason::NotAuthorized, properties: None };
        v5::Packet::PubAck(refused).write(&mut stream, None).unwrap();
        stream.extend_from_slice(&[0xe0, 0]);
        for cut in 0..stream.len() {
            let (mut bytes, mut got) = (BytesMut::new(), Vec::new());
            for piece in [&stream[..cut], &stream[cut..]] {
                bytes.extend_from_slice(piece);
                loop {
                    match read(&mut bytes, 1024) {
                        Ok(Incoming::Packet(Packet::Publish(publish))) => got.push(publish.topic),
                        Ok(Incoming::Refused(pkid, _)) => got.push(format!("refused {pkid}")),
                        Ok(Incoming::Bye(_)) => {
                            got.push("bye".into());
                            break;
                        }
                        Ok(Incoming::Taken) => panic!("nobody took it"),
                        Ok(Incoming::Packet(other)) => panic!("{other:?}"),
                        Err(rumqttc::Error::InsufficientBytes(_)) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            assert_eq!(got, ["a/b", "refused 3", "bye"], "cut at {cut}");
        }
        let mut noise = BytesMut::from(&[0x90, 0xff, 0xff, 0xff, 0x7f, 0, 0][..]);
        assert!(read(&mut noise, 1024).is_err());
    }
}

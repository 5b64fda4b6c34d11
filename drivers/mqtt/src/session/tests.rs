//! A session by its bytes.

use rumqttc::{PubAck, SubAck};
use tokio::sync::mpsc;

use super::*;
use crate::Version;

struct Bench {
    session: Session,
    outbox: Outbox,
    events: mpsc::Receiver<Event>,
    now: Instant,
}

fn bench(watches: &[&str]) -> Bench {
    let (tx, events) = mpsc::channel(1_000);
    let watches: Vec<_> = watches.iter().map(|w| Channel::new(w)).collect();
    let now = Instant::now();
    let session = Session::new("b:1883".into(), Packets::of(Version::Three, MAX_PACKET), &watches, None, now);
    Bench { session, outbox: Outbox::new(tx), events, now }
}

impl Bench {
    fn sent(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Ok(packet) = Packet::read(&mut self.session.out, MAX_PACKET) {
            packets.push(packet);
        }
        packets
    }

    fn broker(&mut self, packet: &Packet) -> Result<(), Why> {
        packet.write(&mut self.session.packets.bytes, MAX_PACKET).unwrap();
        self.session.received(self.now, &mut self.outbox)
    }

    fn write(&mut self, id: u64, topic: &str) {
        let payload = Bytes::from_static(b"ON");
        self.session.write(OpId(id), &Channel::new(topic), payload, self.now, &mut self.outbox);
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

fn done(id: u64, result: Result<(), Failure>) -> Event {
    Event::Done { id: OpId(id), result }
}

#[test]
fn up_comes_after_every_watch_stands_and_before_what_was_read() {
    let mut b = bench(&["stat/#", "secret/#"]);
    let Some(Packet::Subscribe(subscribe)) = b.sent().pop() else { panic!("no SUBSCRIBE") };
    let mut publish = Publish::new("stat/plug/POWER", QoS::AtMostOnce, "ON");
    publish.retain = true;
    b.broker(&Packet::Publish(publish)).unwrap();
    assert_eq!(b.events(), []);
    let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce), SubscribeReasonCode::Failure];
    b.broker(&Packet::SubAck(SubAck::new(subscribe.pkid, codes))).unwrap();
    let events = b.events();
    let [Event::Unwatched { channel, why }, Event::Up, Event::Read { retained: true, .. }] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!(channel.as_str(), "secret/#");
    assert!(why.0.contains("access list"), "{why}");
}

#[test]
fn a_write_is_qos_1_never_retained_and_done_on_its_puback() {
    let mut b = bench(&[]);
    b.write(7, "cmnd/plug/POWER");
    let Some(Packet::Publish(publish)) = b.sent().pop() else { panic!("no PUBLISH") };
    assert_eq!((publish.qos, publish.retain, publish.dup), (QoS::AtLeastOnce, false, false));
    b.broker(&Packet::PubAck(PubAck::new(publish.pkid))).unwrap();
    assert_eq!(b.events(), [Event::Up, done(7, Ok(()))]);
    assert!(b.broker(&Packet::PubAck(PubAck::new(publish.pkid))).is_err(), "an ack twice is nonsense");
}

#[test]
fn pubacks_in_any_order_free_their_place_and_a_full_table_is_busy() {
    let mut b = bench(&[]);
    let max = u64::from(MAX_IN_FLIGHT);
    (0..=max).for_each(|id| b.write(id, "t"));
    assert_eq!(b.events(), [done(max, Err(Failure::Busy))]);
    for publish in b.sent().into_iter().rev() {
        let Packet::Publish(publish) = publish else { panic!("{publish:?}") };
        b.broker(&Packet::PubAck(PubAck::new(publish.pkid))).unwrap();
        b.write(100 + u64::from(publish.pkid), "t");
    }
    let events = b.events();
    assert_eq!(events.iter().filter(|e| matches!(e, Event::Done { result: Ok(()), .. })).count(), 32);
    assert_eq!(b.sent().len(), 32);
}

#[test]
fn a_lost_puback_ends_the_connection_and_says_so_once_per_op() {
    let mut b = bench(&[]);
    b.write(1, "t");
    b.now += Duration::from_millis(100);
    b.write(2, "t");
    b.now += Duration::from_millis(4900);
    assert_eq!(b.session.deadline(), b.now);
    let why = b.session.tick(b.now, &mut b.outbox).unwrap_err();
    b.session.fail(&mut b.outbox);
    assert!(why.0.contains("no answer in 5 s"), "{why}");
    assert_eq!(b.events(), [done(1, Err(Failure::Timeout)), done(2, Err(Failure::Broken))]);
}

#[test]
fn a_quiet_broker_is_pinged_and_given_up_without_a_pong() {
    let mut b = bench(&[]);
    b.now = b.session.deadline();
    b.session.tick(b.now, &mut b.outbox).unwrap();
    assert_eq!(b.sent(), [Packet::PingReq]);
    b.broker(&Packet::PingResp).unwrap();
    b.now = b.session.deadline();
    b.session.tick(b.now, &mut b.outbox).unwrap();
    b.now += ACK_PATIENCE;
    assert!(b.session.deadline() <= b.now);
    assert!(b.session.tick(b.now, &mut b.outbox).is_err());
}

#[test]
fn writes_to_wildcards_or_with_huge_payloads_are_refused() {
    let mut b = bench(&[]);
    b.write(1, "cmnd/+/POWER");
    let payload = Bytes::from(vec![0; MAX_PACKET]);
    b.session.write(OpId(2), &Channel::new("t"), payload, b.now, &mut b.outbox);
    let events = b.events();
    let refused = |e: &Event| matches!(e, Event::Done { result: Err(Failure::Refused(_)), .. });
    assert!(events.len() == 2 && events.iter().all(refused), "{events:?}");
    assert_eq!(b.sent(), []);
}

fn told(b: &mut Bench, id: u64, retained: bool) {
    let payload = Bytes::from_static(b"{}");
    b.session.tell(OpId(id), &Channel::new("house/plug/state"), payload, retained, b.now, &mut b.outbox);
}

#[test]
fn the_birth_follows_the_watches_and_is_retained() {
    let mut b = bench(&["stat/#"]);
    b.session.status_topic = Some("house/status".into());
    let Some(Packet::Subscribe(subscribe)) = b.sent().pop() else { panic!("no SUBSCRIBE") };
    let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
    b.broker(&Packet::SubAck(SubAck::new(subscribe.pkid, codes))).unwrap();
    let sent = b.sent();
    let [Packet::Publish(birth)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!(
        (birth.topic.as_str(), &birth.payload[..], birth.retain),
        ("house/status", &b"online"[..], true)
    );
    assert_eq!(b.events(), [Event::Up]);
    b.broker(&Packet::PubAck(PubAck::new(birth.pkid))).unwrap();
    assert_eq!(b.events(), [], "it is nobody's op");
    b.session.goodbye();
    let sent = b.sent();
    let [Packet::Publish(goodbye)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((&goodbye.payload[..], goodbye.retain), (&b"offline"[..], true));
}

#[test]
fn what_is_told_leaves_room_for_commands() {
    let mut b = bench(&[]);
    (0..20).for_each(|id| told(&mut b, id, true));
    assert_eq!(b.events(), (16..20).map(|id| done(id, Err(Failure::Busy))).collect::<Vec<_>>());
    b.write(30, "cmnd/plug/POWER");
    let sent = b.sent();
    let retained = |packet: &Packet| matches!(packet, Packet::Publish(publish) if publish.retain);
    assert_eq!((sent.len(), sent.iter().filter(|packet| retained(packet)).count()), (17, 16));
    assert!(!retained(&sent[16]), "the command is not");
    for packet in sent {
        let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
        b.broker(&Packet::PubAck(PubAck::new(publish.pkid))).unwrap();
    }
    told(&mut b, 40, false);
    let Some(Packet::Publish(moment)) = b.sent().pop() else { panic!("no PUBLISH") };
    assert!(!moment.retain);
}

#[test]
fn a_quiet_broker_is_asked_before_a_command_is_sent() {
    let mut b = bench(&[]);
    b.session.proceed(b.now, &mut b.outbox).unwrap();
    b.now += FRESH;
    b.write(1, "cmnd/plug/POWER");
    b.write(2, "cmnd/plug/POWER");
    assert!(matches!(b.sent()[..], [Packet::PingReq]));
    assert!(b.session.deadline() <= b.now + HELD);
    b.broker(&Packet::PingResp).unwrap();
    assert!(matches!(b.sent()[..], [Packet::Publish(_), Packet::Publish(_)]));
    b.write(3, "cmnd/plug/POWER");
    assert!(matches!(b.sent()[..], [Packet::Publish(_)]), "it has just been heard");
    assert_eq!(b.events(), [Event::Up]);
}

#[test]
fn a_broker_that_hangs_is_sent_no_command_that_it_could_hand_on_later() {
    let mut b = bench(&[]);
    b.session.proceed(b.now, &mut b.outbox).unwrap();
    b.now += FRESH;
    (0..=u64::from(MAX_IN_FLIGHT)).for_each(|id| b.write(id, "cmnd/plug/POWER"));
    assert_eq!(b.events(), [Event::Up, done(u64::from(MAX_IN_FLIGHT), Err(Failure::Busy))]);
    b.now += HELD;
    b.session.tick(b.now, &mut b.outbox).unwrap();
    assert_eq!(b.events().len(), usize::from(MAX_IN_FLIGHT));
    // Its answer comes, late: nobody waits any more.
    b.broker(&Packet::PingResp).unwrap();
    assert!(matches!(b.sent()[..], [Packet::PingReq]));
    b.now += FRESH;
    b.write(99, "cmnd/plug/POWER");
    b.session.fail(&mut b.outbox);
    assert_eq!(b.events(), [done(99, Err(Failure::NotConnected))]);
}

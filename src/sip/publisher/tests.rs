//! The publisher against a scripted server, in virtual time.

use rand::SeedableRng as _;

use super::super::wire::{Message, write};
use super::super::{FlowId, Transport};
use super::*;

struct World {
    now: Instant,
    transactions: Transactions<()>,
    publisher: Publisher,
}

/// A request as it was sent.
struct Sent {
    raw: Bytes,
}

impl Sent {
    fn field(&self, name: Name) -> Option<String> {
        let message = Message::parse(&self.raw).unwrap();
        message.first(name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// If-Match, Expires and the body: what tells the four tasks apart.
    fn shape(&self) -> (Option<String>, String, String) {
        let message = Message::parse(&self.raw).unwrap();
        assert_eq!(message.request().unwrap().0, Method::Publish);
        let body = String::from_utf8_lossy(message.body).into_owned();
        (self.field(Name::SipIfMatch), self.field(Name::Expires).unwrap(), body)
    }
}

fn login() -> Login {
    Login { user: "plug".to_owned(), password: Some("secret".into()), realm: Some("p".to_owned()) }
}

fn shape(tag: Option<&str>, expires: u32, body: &str) -> (Option<String>, String, String) {
    (tag.map(str::to_owned), expires.to_string(), body.to_owned())
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let identity = Identity {
            address: "sip:plug@provider.example".to_owned(),
            event: "presence",
            content_type: "application/pidf+xml",
            expires: 300,
        };
        let mut publisher = Publisher::new(identity, ChaCha8Rng::seed_from_u64(5));
        let hop = Hop {
            flow: FlowId(1),
            transport: Transport::Udp,
            local: "192.0.2.7:40000".parse().unwrap(),
            peer: "203.0.113.9:5060".parse().unwrap(),
        };
        publisher.set_route(&["<sip:edge.provider.example;lr>".to_owned()]);
        publisher.on_flow_up(hop, login(), now);
        Self { now, transactions: Transactions::new(ChaCha8Rng::seed_from_u64(6)), publisher }
    }

    /// A world in which `a` stands under the tag `t1`.
    fn standing() -> Self {
        let mut world = Self::new();
        world.publish("a");
        let sent = world.sent().unwrap();
        world.respond(&sent, 200, "SIP-ETag: t1\r\nExpires: 300\r\n");
        world
    }

    fn publish(&mut self, document: &str) {
        self.publisher.publish(Bytes::copy_from_slice(document.as_bytes()));
        self.publisher.on_deadline(&mut self.transactions, (), self.now);
    }

    /// What was sent just now; repetitions are left out.
    fn sent(&mut self) -> Option<Sent> {
        self.transactions.poll_transmit().map(|transmit| Sent { raw: transmit.bytes })
    }

    /// Lets time pass until something new is sent, and says after how long.
    fn next(&mut self) -> (Sent, Duration) {
        let begin = self.now;
        loop {
            let at = self.publisher.next_deadline().expect("something is due");
            self.now = self.now.max(at);
            self.publisher.on_deadline(&mut self.transactions, (), self.now);
            if let Some(sent) = self.sent() {
                return (sent, self.now - begin);
            }
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.publisher.on_deadline(&mut self.transactions, (), self.now);
    }

    fn respond(&mut self, sent: &Sent, status: u16, fields: &str) {
        let request = Message::parse(&sent.raw).unwrap();
        let mut writer = write::response(&request, status, "As Scripted", Some("s"), None);
        writer.raw(fields.as_bytes());
        let raw = writer.finish();
        let response = Message::parse(&raw).unwrap();
        assert_eq!(self.transactions.on_response(&response, self.now), Some(()));
        self.publisher.on_response(&response, &mut self.transactions, (), self.now);
    }
}

/// Proves: PB-1, PB-2, PB-3, PB-4, PB-5, PB-12
#[test]
fn the_four_tasks_carry_what_they_must() {
    let mut world = World::new();
    world.publish("a");
    let initial = world.sent().unwrap();
    assert_eq!(initial.shape(), shape(None, 300, "a"));
    assert_eq!(initial.field(Name::Route).as_deref(), Some("<sip:edge.provider.example;lr>"));
    assert_eq!(initial.field(Name::Event).as_deref(), Some("presence"));
    world.respond(&initial, 200, "SIP-ETag: t1\r\nExpires: 300\r\n");
    let (refresh, wait) = world.next();
    assert_eq!(refresh.shape(), shape(Some("t1"), 300, ""));
    assert!(wait >= Duration::from_secs(200) && wait <= Duration::from_secs(280), "{wait:?}");
    // The tag of a refresh replaces the one before, too.
    world.respond(&refresh, 200, "SIP-ETag: t2\r\nExpires: 300\r\n");
    world.publish("b");
    let modify = world.sent().unwrap();
    assert_eq!(modify.shape(), shape(Some("t2"), 300, "b"));
    world.respond(&modify, 200, "SIP-ETag: t3\r\nExpires: 300\r\n");
    world.publisher.leave();
    assert!(world.publisher.is_leaving());
    world.pass(0);
    let remove = world.sent().unwrap();
    assert_eq!(remove.shape(), shape(Some("t3"), 0, ""));
    world.respond(&remove, 200, "SIP-ETag: t4\r\nExpires: 0\r\n");
    assert!(!world.publisher.is_leaving());
    assert_eq!(world.publisher.standing(), &Standing::Idle);
    world.publish("c");
    world.pass(4000);
    assert!(world.sent().is_none(), "nothing begins again");
}

#[test]
fn of_many_changes_the_newest_is_sent() {
    let mut world = World::standing();
    for document in ["b", "c", "d"] {
        world.publish(document);
        world.pass(1);
    }
    assert!(world.sent().is_none(), "five seconds lie between two");
    let (modify, _) = world.next();
    assert_eq!(modify.shape(), shape(Some("t1"), 300, "d"));
    // While one is under way nothing else is.
    world.pass(6);
    world.publish("e");
    assert!(world.sent().is_none());
    world.respond(&modify, 200, "SIP-ETag: t2\r\n");
    world.pass(0);
    let modify = world.sent().unwrap();
    assert_eq!(modify.shape(), shape(Some("t2"), 300, "e"));
    world.respond(&modify, 200, "SIP-ETag: t3\r\n");
    world.pass(6);
    world.publish("e");
    assert!(world.sent().is_none(), "it stands there already");
}

/// Proves: PB-6
#[test]
fn a_server_that_forgot_is_told_anew() {
    let mut world = World::standing();
    let (refresh, _) = world.next();
    world.respond(&refresh, 412, "");
    let initial = world.sent().expect("at once");
    assert_eq!(initial.shape(), shape(None, 300, "a"));
    // 412 to a request without a tag makes no sense and is no loop.
    world.respond(&initial, 412, "");
    assert!(world.sent().is_none());
    assert!(matches!(world.publisher.standing(), Standing::Failed { .. }));
    let (again, wait) = world.next();
    assert_eq!(again.shape(), shape(None, 300, "a"));
    assert!(wait >= SPACING, "{wait:?}");
}

/// Proves: PB-7
#[test]
fn a_lifetime_that_is_too_short_becomes_longer_once() {
    let mut world = World::new();
    world.publish("a");
    let sent = world.sent().unwrap();
    world.respond(&sent, 423, "Min-Expires: 900\r\n");
    let sent = world.sent().unwrap();
    assert_eq!(sent.shape(), shape(None, 900, "a"));
    world.respond(&sent, 423, "Min-Expires: 1800\r\n");
    assert!(world.sent().is_none());
}

#[test]
fn passwords_are_given_once_and_refusals_respected() {
    let mut world = World::new();
    world.publish("a");
    let sent = world.sent().unwrap();
    let challenge = "Proxy-Authenticate: Digest realm=\"p\", nonce=\"n\", qop=\"auth\"\r\n";
    world.respond(&sent, 407, challenge);
    let sent = world.sent().unwrap();
    assert!(sent.field(Name::ProxyAuthorization).unwrap().contains("uri=\"sip:plug@provider.example\""));
    world.respond(&sent, 407, challenge);
    assert!(world.sent().is_none());
    let (_, wait) = world.next();
    assert!(wait >= Duration::from_secs(599), "{wait:?}");
    for (status, fields, least, most) in
        [(503, "Retry-After: 77\r\n", 77, 102), (500, "", 5, 20), (489, "", 600, 600)]
    {
        let mut world = World::standing();
        world.pass(10);
        world.publish("b");
        let sent = world.sent().unwrap();
        world.respond(&sent, status, fields);
        let (again, wait) = world.next();
        assert_eq!(again.shape(), shape(Some("t1"), 300, "b"));
        assert!(wait.as_secs() >= least && wait.as_secs() <= most, "{status}: {wait:?}");
    }
}

#[test]
fn after_silence_the_newest_is_sent_with_patience() {
    let mut world = World::standing();
    world.pass(10);
    world.publish("b");
    assert!(world.sent().is_some());
    world.publisher.on_timeout(world.now);
    let Standing::Failed { why, .. } = world.publisher.standing().clone() else { panic!() };
    assert_eq!(why, "no answer");
    world.publish("c");
    let (again, _) = world.next();
    assert_eq!(again.shape(), shape(Some("t1"), 300, "c"));
    // A flow that was away for longer than the publication lived: it is made anew.
    world.respond(&again, 200, "SIP-ETag: t5\r\nExpires: 300\r\n");
    let hop = world.publisher.hop().unwrap();
    world.publisher.on_flow_down();
    world.pass(1000);
    world.publisher.on_flow_up(hop, login(), world.now);
    world.pass(0);
    let sent = world.sent().unwrap();
    assert_eq!(sent.shape(), shape(None, 300, "c"));
    // One that was away for a moment: whether the server still knows is asked soon, and not by everybody at once.
    world.respond(&sent, 200, "SIP-ETag: t6\r\nExpires: 300\r\n");
    let mut waits = Vec::new();
    for nth in 6..26 {
        world.publisher.on_flow_down();
        world.pass(10);
        world.publisher.on_flow_up(hop, login(), world.now);
        let (sent, wait) = world.next();
        assert_eq!(sent.shape(), shape(Some(&format!("t{nth}")), 300, ""));
        world.respond(&sent, 200, &format!("SIP-ETag: t{}\r\nExpires: 300\r\n", nth + 1));
        waits.push(wait.as_secs());
    }
    waits.sort_unstable();
    assert!(waits[19] <= 20 && waits[19] - waits[0] > 10, "{waits:?}");
}

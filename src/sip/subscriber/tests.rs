//! The subscriber against a scripted notifier, in virtual time.

mod ends;
mod past;

use std::net::SocketAddr;

use rand::SeedableRng as _;

use super::super::wire::{Message, write};
use super::super::{FlowId, Transport};
use super::*;

struct World {
    start: Instant,
    now: Instant,
    transactions: Transactions<()>,
    subscriber: Subscriber,
    hop: Hop,
    notify_seq: u32,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl World {
    fn new(expires: u32) -> Self {
        let start = Instant::now();
        let hop = Hop {
            flow: FlowId(1),
            transport: Transport::Udp,
            local: address("192.0.2.7:40000"),
            peer: address("192.0.2.1:5060"),
        };
        let wish = Wish {
            target: "sip:washer@home.example;transport=udp".to_owned(),
            from: "sip:anna@home.example".to_owned(),
            user: "anna".to_owned(),
            event: "appliance".to_owned(),
            accept: Some("application/senml+json".to_owned()),
            expires,
        };
        let login = Login { user: "anna".to_owned(), password: Some("secret".into()), realm: None };
        let rng = ChaCha8Rng::seed_from_u64(3);
        let subscriber = Subscriber::new(wish, login, hop, rng, start);
        let transactions = Transactions::new(ChaCha8Rng::seed_from_u64(4));
        Self { start, now: start, transactions, subscriber, hop, notify_seq: 0 }
    }

    /// A world in which the first subscription stands for `granted` seconds.
    fn standing(granted: u32) -> (Self, String) {
        let mut world = Self::new(3600);
        let sent = world.next();
        world.respond(&sent, 200, &format!("Expires: {granted}\r\n"));
        assert_eq!(world.notify(&sent, &format!("active;expires={granted}"), "n1"), 200);
        assert_eq!(world.heard(), ["active"]);
        (world, sent)
    }

    /// Lets time pass until something is sent; panics when nothing ever is.
    fn next(&mut self) -> String {
        self.next_before(Duration::from_secs(1_000_000)).expect("something is sent")
    }

    /// The same, but no longer than `wait`.
    fn next_before(&mut self, wait: Duration) -> Option<String> {
        let end = self.now + wait;
        loop {
            while let Some(at) = self.transactions.next_deadline().filter(|at| *at <= self.now) {
                assert!(at <= self.now);
                let _ = self.transactions.on_deadline(self.now);
            }
            if self.subscriber.next_deadline().is_some_and(|at| at <= self.now) {
                self.subscriber.on_deadline(&mut self.transactions, (), self.now);
            }
            if let Some(transmit) = self.transactions.poll_transmit() {
                return Some(String::from_utf8(transmit.bytes.to_vec()).unwrap());
            }
            let next = [self.transactions.next_deadline(), self.subscriber.next_deadline()];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= end) else {
                self.now = end;
                return None;
            };
            self.now = self.now.max(next);
        }
    }

    fn respond(&mut self, sent: &str, status: u16, fields: &str) {
        let request = Message::parse(sent.as_bytes()).unwrap();
        let mut writer = write::response(&request, status, "So", Some("n1"), None);
        writer.raw(fields.as_bytes());
        let raw = writer.finish();
        let response = Message::parse(&raw).unwrap();
        if self.transactions.on_response(&response, self.now).is_some() {
            self.subscriber.on_response(&response, &mut self.transactions, (), self.now);
        }
    }

    /// A NOTIFY for the subscription that `sent` asked for; the status that it is answered with.
    fn notify(&mut self, sent: &str, state: &str, tag: &str) -> u16 {
        let call_id = field(sent, "Call-ID");
        let ours = field(sent, "From");
        self.notify_seq += 1;
        let raw = format!(
            "NOTIFY sip:anna@192.0.2.7:40000 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKn{seq}\r\n\
             Record-Route: <sip:edge.example;lr>, <sip:core.example;lr>\r\n\
             From: <sip:washer@home.example>;tag={tag}\r\nTo: {ours}\r\nCall-ID: {call_id}\r\n\
             CSeq: {seq} NOTIFY\r\nContact: <sip:washer@192.0.2.9:5070>\r\nEvent: appliance\r\n\
             Subscription-State: {state}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\non",
            seq = self.notify_seq
        );
        self.notify_raw(&raw)
    }

    fn notify_raw(&mut self, raw: &str) -> u16 {
        let hop = Hop { peer: address("192.0.2.8:5060"), ..self.hop };
        let request = Message::parse(raw.as_bytes()).unwrap();
        self.subscriber.on_notify(&request, hop, self.now).map_or_else(|rejection| rejection.status, |()| 200)
    }

    /// The news since the last call, in a word each.
    fn heard(&mut self) -> Vec<String> {
        let now = self.now;
        let word = |event| match event {
            Event::Notified(notified) => notified.state,
            Event::Waiting(why, until) => format!("wait {} {why:?}", (until - now).as_secs()),
            Event::NeedFlow => "need flow".to_owned(),
            Event::Over(why) => format!("over {why:?}"),
        };
        std::iter::from_fn(|| self.subscriber.poll()).map(word).collect()
    }

    fn seconds(&self) -> f64 {
        (self.now - self.start).as_secs_f64()
    }
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    let line = message.lines().find(|line| line.starts_with(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {message}")).split_once(": ").unwrap().1
}

fn challenge(nonce: u32, stale: bool) -> String {
    let stale = if stale { ", stale=true" } else { "" };
    format!("Proxy-Authenticate: Digest realm=\"home\", nonce=\"{nonce}\", qop=\"auth\"{stale}\r\n")
}

/// Proves: EV-1
#[test]
fn the_first_subscribe_byte_for_byte() {
    let mut world = World::new(3600);
    let sent = world.next();
    let branch = field(&sent, "Via").split("branch=").nth(1).unwrap().split(';').next().unwrap();
    let tag = field(&sent, "From").split("tag=").nth(1).unwrap();
    let call_id = field(&sent, "Call-ID");
    assert!(branch.starts_with("z9hG4bK") && tag.len() == 16 && call_id.len() == 32);
    assert_eq!(
        sent,
        format!(
            "SUBSCRIBE sip:washer@home.example;transport=udp SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.7:40000;branch={branch};rport\r\n\
             Max-Forwards: 70\r\n\
             From: <sip:anna@home.example>;tag={tag}\r\n\
             To: <sip:washer@home.example>\r\n\
             Call-ID: {call_id}\r\n\
             Contact: <sip:anna@192.0.2.7:40000>\r\n\
             CSeq: 1 SUBSCRIBE\r\n\
             Event: appliance\r\n\
             Accept: application/senml+json\r\n\
             Supported: eventlist\r\n\
             Expires: 3600\r\n\
             Content-Length: 0\r\n\r\n"
        )
    );
}

/// Proves: EV-2, EV-4, EV-6, OLD-3, SR-3
#[test]
fn a_notify_before_the_2xx_makes_the_dialog_and_its_time_counts() {
    let mut world = World::new(3600);
    let sent = world.next();
    assert_eq!(world.notify(&sent, "active;expires=100", "n1"), 200);
    world.respond(&sent, 200, "Expires: 3600\r\n");
    let refresh = world.next();
    assert!((80.0..=90.0).contains(&world.seconds()), "{}", world.seconds());
    assert!(refresh.starts_with("SUBSCRIBE sip:washer@192.0.2.9:5070 SIP/2.0\r\n"), "{refresh}");
    assert!(
        refresh.contains("Route: <sip:edge.example;lr>\r\nRoute: <sip:core.example;lr>\r\n"),
        "{refresh}"
    );
    assert_eq!(field(&refresh, "Call-ID"), field(&sent, "Call-ID"));
    assert_eq!(field(&refresh, "From"), field(&sent, "From"));
    assert_eq!(field(&refresh, "To"), "<sip:washer@home.example>;tag=n1");
    assert_eq!(field(&refresh, "CSeq"), "2 SUBSCRIBE");
    // The next hop is who the NOTIFY came from: the proxy that stands first in the route.
    world.respond(&refresh, 200, "Expires: 100\r\n");
    assert_eq!(world.notify(&sent, "active;expires=100", "n1"), 200);
    let before = world.seconds();
    assert_eq!(field(&world.next(), "CSeq"), "3 SUBSCRIBE");
    assert!((80.0..=90.0).contains(&(world.seconds() - before)));
}

#[test]
fn changes_do_not_put_off_the_refresh() {
    let (mut world, sent) = World::standing(100);
    for second in (10..80).step_by(10) {
        assert_eq!(world.next_before(Duration::from_secs(10)), None);
        assert_eq!(world.notify(&sent, &format!("active;expires={}", 99 - second), "n1"), 200);
    }
    world.next();
    assert!((75.0..=90.0).contains(&world.seconds()), "{}", world.seconds());
    // A notifier may shorten what it granted at any time.
    let (mut world, sent) = World::standing(3600);
    assert_eq!(world.notify(&sent, "active;expires=10", "n1"), 200);
    world.next();
    assert!((8.0..=9.0).contains(&world.seconds()));
    // One of RFC 3265 tells no time in its NOTIFYs: the 2xx counts, also when it comes later, or is
    // the 202 of those days.
    for status in [200, 202] {
        let mut world = World::new(3600);
        let sent = world.next();
        assert_eq!(world.notify(&sent, "active", "n1"), 200);
        world.respond(&sent, status, "Expires: 60\r\n");
        world.next();
        assert!((48.0..=54.0).contains(&world.seconds()));
    }
}

/// Proves: ET-4
#[test]
fn who_is_told_that_nothing_changed_waits_for_no_notify() {
    let (mut world, sent) = World::standing(100);
    let refresh = world.next();
    world.respond(&refresh, 204, "Expires: 100\r\n");
    let again = world.next_before(Duration::from_secs(95)).expect("a refresh");
    assert_eq!((field(&again, "CSeq"), field(&again, "Call-ID")), ("3 SUBSCRIBE", field(&sent, "Call-ID")));
    assert_eq!(world.heard(), Vec::<String>::new());
}

#[test]
fn a_challenge_is_answered_once_and_stale_nonces_thrice_more() {
    let mut world = World::new(3600);
    let mut sent = world.next();
    assert!(!sent.contains("Authorization"));
    world.respond(&sent, 407, &challenge(1, false));
    for nonce in 2..5 {
        sent = world.next();
        assert_eq!(field(&sent, "CSeq"), format!("{nonce} SUBSCRIBE"));
        assert!(
            field(&sent, "Proxy-Authorization").contains("uri=\"sip:washer@home.example;transport=udp\"")
        );
        world.respond(&sent, 407, &challenge(nonce, true));
    }
    sent = world.next();
    world.respond(&sent, 407, &challenge(5, true));
    assert_eq!(world.heard(), ["over Login(Wrong)"]);
    assert_eq!(world.next_before(Duration::from_secs(86_400)), None);
}

#[test]
fn a_refresh_brings_its_credentials_and_may_be_challenged_anew() {
    let mut world = World::new(3600);
    let first = world.next();
    world.respond(&first, 407, &challenge(1, false));
    let sent = world.next();
    world.respond(&sent, 200, "Expires: 3600\r\n");
    assert_eq!(world.notify(&sent, "active;expires=3600", "n1"), 200);
    let refresh = world.next();
    let credentials = field(&refresh, "Proxy-Authorization");
    assert!(credentials.contains("nc=00000002") && credentials.contains("uri=\"sip:washer@192.0.2.9:5070\""));
    world.respond(&refresh, 407, &challenge(2, false));
    let again = world.next();
    assert!(field(&again, "Proxy-Authorization").contains("nc=00000001"));
    world.respond(&again, 200, "Expires: 3600\r\n");
    assert_eq!(world.heard(), ["active"]);
}

/// Proves: EV-3, EV-7, OLD-4
#[test]
fn silence_ends_the_first_one_and_is_outlived_later() {
    let mut world = World::new(3600);
    let mut sent = 0;
    while world.next_before(Duration::from_secs(100)).is_some() {
        sent += 1;
    }
    assert_eq!((sent, world.heard()), (11, vec!["over Silent { answered: false }".to_owned()]));

    // Who named no state is owed a NOTIFY by a 204, too.
    for status in [200, 204] {
        let mut world = World::new(3600);
        let sent = world.next();
        world.respond(&sent, status, "Expires: 3600\r\n");
        assert_eq!(world.next_before(Duration::from_secs(100)), None);
        assert_eq!(world.heard(), ["over Silent { answered: true }"]);
    }

    let (mut world, first) = World::standing(3600);
    let refresh = world.next();
    let asked = world.now;
    // The refresh is lost, and so are its repetitions: Timer N.
    while let Some(sent) = world.next_before(Duration::from_secs(40)) {
        assert_eq!(sent, refresh);
    }
    let waited = (world.now - asked).as_secs();
    assert!((32..80).contains(&waited), "{waited}");
    assert_eq!(world.heard(), ["wait 0 Silent { answered: false }", "need flow"]);
    let hop = Hop { flow: FlowId(2), local: address("192.0.2.77:40001"), ..world.hop };
    world.subscriber.on_flow_up(hop, &mut world.transactions, (), world.now);
    let sent = world.next();
    assert_eq!(field(&sent, "Contact"), "<sip:anna@192.0.2.77:40001>");
    assert_ne!(field(&sent, "Call-ID"), field(&first, "Call-ID"));
    assert_ne!(field(&sent, "From"), field(&first, "From"));
    assert!(sent.starts_with("SUBSCRIBE sip:washer@home.example;transport=udp SIP/2.0\r\n"));
    world.respond(&sent, 200, "Expires: 3600\r\n");
    assert_eq!(world.notify(&first, "active;expires=9", "n1"), 481);
    assert_eq!(world.notify(&sent, "active;expires=3600", "n2"), 200);
}

#[test]
fn a_lost_response_is_repeated_and_counts_once() {
    let mut world = World::new(3600);
    let sent = world.next();
    assert_eq!(world.next(), sent);
    world.respond(&sent, 200, "Expires: 3600\r\n");
    world.respond(&sent, 200, "Expires: 3600\r\n");
    assert_eq!(world.notify(&sent, "active;expires=3600", "n1"), 200);
    assert_eq!(world.heard(), ["active"]);
    let refresh = world.next();
    world.respond(&sent, 481, "");
    assert_eq!(world.heard(), Vec::<String>::new());
    world.respond(&refresh, 481, "");
    assert_eq!(world.heard().len(), 1);
}

/// Proves: EV-6
#[test]
fn failures_of_a_refresh() {
    // The subscription is gone.
    let (mut world, sent) = World::standing(3600);
    let refresh = world.next();
    world.respond(&refresh, 481, "");
    assert!(world.heard()[0].starts_with("wait 0 Refused { status: 481"));
    let again = world.next();
    assert_ne!(field(&again, "Call-ID"), field(&sent, "Call-ID"));
    world.respond(&again, 404, "");
    assert!(world.heard()[0].starts_with("over Refused { status: 404"));

    // It is not: tried again while it lasts, then anew.
    let (mut world, sent) = World::standing(100);
    let mut tried = 0;
    loop {
        let refresh = world.next();
        if field(&refresh, "Call-ID") != field(&sent, "Call-ID") {
            break;
        }
        tried += 1;
        world.respond(&refresh, 500, "");
    }
    assert!((2..6).contains(&tried), "{tried}");
    assert!((100.0..102.0).contains(&world.seconds()), "{}", world.seconds());
    assert_eq!(world.heard(), ["wait 0 Expired"]);
}

#[test]
fn refusals_of_the_first_subscribe_end_it() {
    for (status, fields, allow_events) in [
        (404, "", None),
        (489, "Allow-Events: presence\r\n", Some("presence")),
        (503, "Retry-After: 5\r\n", None),
    ] {
        let mut world = World::new(3600);
        let sent = world.next();
        world.respond(&sent, status, fields);
        let allow_events = allow_events.map(ToOwned::to_owned);
        let why = Why::Refused { status, reason: "So".to_owned(), allow_events };
        assert_eq!(world.subscriber.poll(), Some(Event::Over(why)));
    }
    let mut world = World::new(60);
    let sent = world.next();
    world.respond(&sent, 423, "Min-Expires: 600\r\n");
    let longer = world.next();
    assert_eq!((field(&longer, "Expires"), field(&longer, "CSeq")), ("600", "2 SUBSCRIBE"));
    world.respond(&longer, 423, "Min-Expires: 1200\r\n");
    assert!(world.heard()[0].starts_with("over Refused { status: 423"));
}

/// Proves: EV-11, EV-12, PR-6, PR-7
#[test]
fn notifies_that_do_not_belong() {
    let (mut world, sent) = World::standing(3600);
    let other = sent.replace(field(&sent, "Call-ID"), "other");
    assert_eq!(world.notify(&other, "active;expires=9", "n1"), 481);
    // Another branch of a fork.
    assert_eq!(world.notify(&sent, "active;expires=9", "n2"), 481);
    world.notify_seq = 0;
    assert_eq!(world.notify(&sent, "active;expires=9", "n1"), 500);
    let raw = |event: &str, state: &str| {
        format!(
            "NOTIFY sip:anna@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:w@h>;tag=n1\r\nTo: {}\r\n\
             Call-ID: {}\r\nCSeq: 9 NOTIFY\r\nEvent: {event}\r\n{state}\r\n",
            field(&sent, "From"),
            field(&sent, "Call-ID")
        )
    };
    assert_eq!(world.notify_raw(&raw("presence", "Subscription-State: active\r\n")), 489);
    assert_eq!(world.notify_raw(&raw("appliance", "")), 400);
    assert_eq!(world.heard(), Vec::<String>::new());

    let mut world = World::new(3600);
    let sent = world.next();
    let raw = format!(
        "NOTIFY sip:anna@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKx\r\nFrom: <sip:w@h>;tag=n1\r\nTo: {}\r\n\
         Call-ID: {}\r\nCSeq: 9 NOTIFY\r\nEvent: appliance\r\nSubscription-State: active\r\n\r\n",
        field(&sent, "From"),
        field(&sent, "Call-ID")
    );
    assert_eq!(world.notify_raw(&raw), 400, "a dialog needs a Contact");
}

/// Proves: EV-8, EV-9
#[test]
fn leaving_and_fetching() {
    let (mut world, sent) = World::standing(3600);
    world.subscriber.leave(&mut world.transactions, (), world.now);
    let bye = world.next();
    assert_eq!((field(&bye, "Expires"), field(&bye, "CSeq")), ("0", "2 SUBSCRIBE"));
    world.respond(&bye, 407, &challenge(1, false));
    let bye = world.next();
    assert_eq!(field(&bye, "Expires"), "0");
    world.respond(&bye, 200, "Expires: 0\r\n");
    assert_eq!(world.notify(&sent, "active;expires=1", "n1"), 200);
    assert_eq!(world.heard(), ["active"]);
    assert_eq!(world.notify(&sent, "terminated;reason=timeout", "n1"), 200);
    assert_eq!(world.heard(), ["terminated", "over Left"]);
    assert_eq!(world.notify(&sent, "active", "n1"), 481);

    let mut world = World::new(0);
    let sent = world.next();
    assert_eq!(field(&sent, "Expires"), "0");
    world.respond(&sent, 200, "Expires: 0\r\n");
    assert_eq!(world.notify(&sent, "terminated;reason=timeout", "n1"), 200);
    assert_eq!(world.heard(), ["terminated", "over Fetched"]);
}

/// Proves: RL-3
#[test]
fn what_is_missing_is_asked_for_at_once() {
    let (mut world, sent) = World::standing(3600);
    world.subscriber.ask_again(world.now);
    let again = world.next_before(Duration::from_secs(1)).expect("a refresh");
    assert_eq!(field(&again, "Call-ID"), field(&sent, "Call-ID"));
    // Until that is answered nothing more is asked.
    world.subscriber.ask_again(world.now);
    assert_eq!(world.next_before(Duration::from_millis(100)), None);
}

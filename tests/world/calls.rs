//! Calls to a number: one act, one refusal that says how it went, whatever the network does.

use bytes::Bytes;
use sipliance::sip::wire::{Message, Method};

use super::plug::Mood;
use super::world::{Seen, Way, World};

fn responses(world: &World, status: u16, method: &str) -> usize {
    let of = |bytes: &Bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.starts_with(&format!("SIP/2.0 {status} ")) && text.contains(&format!(" {method}\r\n"))
    };
    world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Sent(bytes) if of(bytes))).count()
}

/// Proves: DI-5
#[test]
fn a_number_switches_and_says_so() {
    let mut world = World::new(21);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.invite("23", now));
    world.run(1000);
    let op = &world.phones[anna].ops[op];
    assert_eq!(op.status(), 486, "busy: the call ends by itself");
    assert!(op.finals.last().unwrap().2.contains("on"), "{:?}", op.finals);
    assert!(op.provisional > 0, "100 while the plug is at it");
    assert_eq!(world.plug.writes.len(), 1);
    world.run(40_000);
    assert_eq!(responses(&world, 486, "INVITE"), 1, "the ACK stopped it");
    assert_eq!(world.gateway.status(world.time()).transactions, (0, 0));
}

#[test]
fn a_number_that_only_tells() {
    let mut world = World::new(22);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.invite("22", now));
    world.run(1000);
    assert_eq!(world.phones[anna].ops[op].status(), 486);
    assert!(world.phones[anna].ops[op].finals.last().unwrap().2.contains("off"));
    assert!(world.plug.writes.is_empty());
}

#[test]
fn lost_acks_repeat_the_answer_and_not_the_act() {
    let mut world = World::new(23);
    let anna = world.phone("anna");
    // The ACK of the 401, and three of the 486.
    world.lose.push((Way::In, "ACK", 4));
    world.at(anna, |phone, now| phone.invite("21", now));
    world.run(40_000);
    assert_eq!(world.plug.writes.len(), 1);
    assert_eq!(responses(&world, 486, "INVITE"), 4);
    assert!(world.plug.on);
}

#[test]
fn a_call_that_nobody_acknowledges_is_given_up() {
    let mut world = World::new(24);
    let anna = world.phone("anna");
    world.lose.push((Way::In, "ACK", 100));
    world.at(anna, |phone, now| phone.invite("21", now));
    world.run(34_000);
    assert!(responses(&world, 486, "INVITE") <= 11);
    assert_eq!(world.plug.writes.len(), 1);
    assert_eq!(world.gateway.status(world.time()).transactions.1, 0);
    // Somebody without a name gets one packet for his INVITE, not eleven.
    let text = "INVITE sip:21@home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bKx;rport\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:21@home.example>\r\nCall-ID: s\r\nCSeq: 1 INVITE\r\nContact: <sip:x@203.0.113.66>\r\nContent-Length: 0\r\n\r\n";
    world.inject("203.0.113.66:5060".parse().unwrap(), text);
    world.run(40_000);
    assert_eq!(world.strays.len(), 1);
    assert!(world.strays[0].2.starts_with(b"SIP/2.0 401"));
    assert!(world.strays[0].2.len() < text.len() * 3);
}

#[test]
fn hanging_up_ends_the_call_and_not_the_act() {
    let mut world = World::new(25);
    let anna = world.phone("anna");
    world.plug.mood = Mood::Obeys(2000);
    let op = world.at(anna, |phone, now| phone.invite("23", now));
    world.run(100);
    let cancel = world.at(anna, |phone, _| phone.cancel(op));
    world.run(10);
    world.at(anna, |phone, _| phone.transactions.send_once(phone.hop, cancel.to_vec()));
    world.run(5000);
    assert_eq!(world.phones[anna].ops[op].status(), 487);
    assert_eq!(responses(&world, 200, "CANCEL"), 2);
    assert_eq!(world.plug.writes.len(), 1);
    assert!(world.plug.on);
    let audits: Vec<&String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Audit(line) => Some(line),
            _ => None,
        })
        .collect();
    assert_eq!(audits.len(), 2, "ordered and ended, also without a listener: {audits:?}");
    world.run(40_000);
    assert_eq!(world.gateway.status(world.time()).transactions, (0, 0));
}

#[test]
fn a_cancel_that_is_too_late_changes_nothing() {
    let mut world = World::new(26);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.invite("23", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 486);
    world.at(anna, |phone, _| phone.cancel(op));
    world.run(40_000);
    assert_eq!(responses(&world, 487, "INVITE"), 0);
    assert_eq!(world.plug.writes.len(), 1);
}

/// Proves: IM-7
#[test]
fn the_second_branch_of_a_fork_is_refused() {
    for (method, number) in [("INVITE", "21"), ("MESSAGE", "plug")] {
        let mut world = World::new(27);
        let anna = world.phone("anna");
        let op = world.at(anna, |phone, now| match method {
            "INVITE" => phone.invite(number, now),
            _ => phone.message(number, "toggle power", now),
        });
        world.run(300);
        let sent = world.phones[anna].ops[op].sent.clone();
        let branch = Message::parse(&sent).unwrap().via().unwrap().branch().unwrap().to_owned();
        let forked = String::from_utf8(sent.to_vec()).unwrap().replace(&branch, "z9hG4bKforked");
        // A proxy between would prefer a 401 to what the first branch said, and the phone would
        // then act a second time.
        world.inject("203.0.113.66:5060".parse().unwrap(), forked.clone());
        world.inject(world.phones[anna].hop.local, forked);
        world.run(100);
        assert!(world.strays[0].2.starts_with(b"SIP/2.0 482"), "{:?}", world.strays[0].2);
        assert_eq!(responses(&world, 482, method), 2);
        world.run(40_000);
        assert_eq!(world.plug.writes.len(), 1, "{method}");
    }
}

#[test]
fn who_may_not_is_told_so_and_nothing_moves() {
    let mut world = World::new(28);
    let ben = world.phone("ben");
    let carla = world.phone("carla");
    let calls = [(ben, "23", 603), (ben, "22", 486), (carla, "23", 404), (carla, "nothing", 404)];
    for (phone, number, want) in calls {
        let op = world.at(phone, |phone, now| phone.invite(number, now));
        world.run(500);
        assert_eq!(world.phones[phone].ops[op].status(), want, "{number}");
    }
    assert!(world.plug.writes.is_empty());
}

#[test]
fn a_plug_that_does_not_do_it_is_not_said_to() {
    use sipliance_driver::Failure;
    for (mood, want, words) in [
        (Mood::Silent, 480, "not known"),
        (Mood::Fails(Failure::NotConnected), 480, "not connected"),
        (Mood::Lost, 480, "not known"),
    ] {
        let mut world = World::new(29);
        let anna = world.phone("anna");
        world.plug.mood = mood.clone();
        let op = world.at(anna, |phone, now| phone.invite("23", now));
        world.run(12_000);
        let op = &world.phones[anna].ops[op];
        assert_eq!(op.status(), want, "{mood:?}");
        assert!(op.finals.last().unwrap().2.contains(words), "{mood:?}: {:?}", op.finals.last());
    }
}

/// Proves: NEG-25, OLD-7
#[test]
fn requests_that_belong_to_no_call() {
    let mut world = World::new(30);
    for (method, want) in [
        (Method::Bye, 481),
        (Method::Info, 481),
        (Method::Update, 481),
        (Method::Notify, 481),
        (Method::Refer, 603),
        (Method::Publish, 401),
        (Method::Other("FOO"), 501),
        (Method::Cancel, 481),
    ] {
        let method = method.as_str();
        let text = format!(
            "{method} sip:21@home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bK{method};rport\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:21@home.example>\r\nCall-ID: s\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        world.inject("203.0.113.66:5060".parse().unwrap(), text);
        world.run(100);
        let answer = String::from_utf8(world.strays.last().unwrap().2.to_vec()).unwrap();
        assert!(answer.starts_with(&format!("SIP/2.0 {want} ")), "{method}: {answer}");
    }
    assert_eq!(world.strays.len(), 8);
    assert_eq!(world.gateway.status(world.time()).transactions, (0, 0));
}

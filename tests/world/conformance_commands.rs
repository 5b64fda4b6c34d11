//! What RFC 3428, RFC 3903 and the draft of DO ask of who carries out commands, point by point.

use sipliance::sip::wire::{Message, Method, Name};
use sipliance_driver::{Event, Why};

use super::conformance_events::{answered, edited};
use super::plug::Mood;
use super::world::{Seen, Way, World};

fn status(world: &World, phone: usize, op: usize) -> u16 {
    world.phones[phone].ops[op].status()
}

/// Proves: SEC-1, DO-2, PR-1, PR-11
#[test]
fn nobody_enters_without_a_proof() {
    let mut world = World::new(920);
    let from: std::net::SocketAddr = "203.0.113.66:5060".parse().unwrap();
    for (method, more, body) in [
        ("SUBSCRIBE", "Event: presence\r\n", ""),
        ("MESSAGE", "Content-Type: text/plain\r\n", "on"),
        ("DO", "Content-Type: text/plain\r\n", "on"),
        (
            "PUBLISH",
            "Event: appliance\r\nContent-Type: application/senml+json\r\n",
            r#"[{"n":"power","vb":true}]"#,
        ),
        ("INVITE", "", ""),
        ("REGISTER", "", ""),
        ("OPTIONS", "Accept: application/td+json\r\n", ""),
    ] {
        let text = format!(
            "{method} sip:plug@home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bK{method}\r\nFrom: <sip:anna@home.example>;tag=1\r\nTo: <sip:plug@home.example>\r\nCall-ID: {method}\r\nCSeq: 1 {method}\r\nContact: <sip:x@203.0.113.66>\r\nUser-Agent: long enough to be answered with two challenges\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        world.inject(from, text);
        world.run(100);
        let answer = String::from_utf8(world.strays.last().unwrap().2.to_vec()).unwrap();
        assert!(
            answer.starts_with("SIP/2.0 401 ") && answer.contains(&format!("1 {method}\r\n")),
            "{method}: {answer}"
        );
        assert!(answer.contains("WWW-Authenticate: Digest "), "{answer}");
    }
    assert!(world.plug.writes.is_empty());
    let status = world.gateway.status(world.time());
    assert_eq!((status.subscriptions, status.contacts), (0, 0));
}

/// Proves: IM-1, IM-2, IM-3
#[test]
fn a_message_is_words_and_its_200_is_bare() {
    let mut world = World::new(921);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(1_000);
    assert_eq!((status(&world, anna, op), world.plug.on), (200, true));
    assert_eq!(answered(&world, anna, op, Name::Contact), None);
    assert_eq!(world.phones[anna].ops[op].finals.last().unwrap().3, "", "no body");
    let op = edited(
        &mut world,
        anna,
        |phone, now| phone.message("plug", "off", now),
        |text| text.replace("text/plain", "application/x-unknown"),
    );
    assert_eq!(status(&world, anna, op), 415);
    assert!(answered(&world, anna, op, Name::Accept).unwrap().contains("text/plain"));
    assert!(world.plug.on);
}

/// Proves: IM-5, ERR-13
#[test]
fn a_message_that_has_expired_does_nothing() {
    // 2026-09-21T14:13:20Z is when the house begins.
    for (fields, acts) in [
        ("Date: Mon, 21 Sep 2026 14:00:00 GMT\r\nExpires: 60\r\n", false),
        ("Date: Mon, 21 Sep 2026 14:00:00 GMT\r\nExpires: 86400\r\n", true),
        ("Date: Mon, 21 Sep 2026 14:00:00 GMT\r\n", true),
        // A zone of its own is no GMT, and a time all the same.
        ("Date: Mon, 21 Sep 2026 07:12:50 -0700\r\nExpires: 60\r\n", true),
        ("Date: Mon, 21 Sep 2026 07:00:00 -0700\r\nExpires: 60\r\n", false),
    ] {
        let mut world = World::new(922);
        let anna = world.phone("anna");
        let op = edited(
            &mut world,
            anna,
            |phone, now| phone.message("plug", "on", now),
            |text| text.replace("User-Agent:", &format!("{fields}User-Agent:")),
        );
        assert_eq!(status(&world, anna, op), if acts { 200 } else { 400 }, "{fields}");
        assert_eq!(world.plug.writes.len(), usize::from(acts), "{fields}");
    }
}

/// Proves: DO-1, PB-11
#[test]
fn options_name_every_method() {
    let mut world = World::new(923);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.options(now));
    world.run(300);
    let allow = answered(&world, anna, op, Name::Allow).unwrap();
    for method in ["DO", "PUBLISH", "SUBSCRIBE", "MESSAGE", "INVITE", "OPTIONS"] {
        assert!(allow.split(", ").any(|it| it == method), "{method} in {allow}");
    }
    // What is not served is refused with the same list.
    let anyone = "FOO sip:plug@home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bKfoo\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:plug@home.example>\r\nCall-ID: foo\r\nCSeq: 1 FOO\r\nContent-Length: 0\r\n\r\n";
    world.inject("203.0.113.66:5060".parse().unwrap(), anyone);
    world.run(100);
    let refused = String::from_utf8(world.strays[0].2.to_vec()).unwrap();
    assert!(
        refused.starts_with("SIP/2.0 501 ") && refused.contains(&format!("Allow: {allow}\r\n")),
        "{refused}"
    );
}

/// Proves: DO-6
#[test]
fn each_failure_of_a_do_has_its_status() {
    let mut world = World::new(924);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    let switch = |world: &mut World, phone: usize, name: &str| {
        let op = world.at(phone, |phone, now| phone.switch(name, true, now));
        world.run(1_000);
        status(world, phone, op)
    };
    assert_eq!(switch(&mut world, anna, "nothing"), 404);
    assert_eq!(switch(&mut world, ben, "plug"), 403);
    let edits: [(&str, &str, u16); 3] = [
        ("application/senml+json", "application/x-unknown", 415),
        ("\"vb\":true", "\"vb\":ture", 400),
        ("\"n\":\"power\"", "\"n\":\"pours\"", 488),
    ];
    for (from, to, want) in edits {
        let act = |phone: &mut super::phone::Phone, now| phone.switch("plug", true, now);
        let op = edited(&mut world, anna, act, |text| text.replace(from, to));
        assert_eq!(status(&world, anna, op), want, "{to}");
    }
    assert!(world.plug.writes.is_empty(), "none of them moved it");
    world.plug.mood = Mood::Lost;
    world.at(anna, |phone, now| phone.switch("plug", true, now));
    world.run(300);
    assert_eq!(switch(&mut world, anna, "plug"), 486, "it is busy");
    world.run(10_000);
    let link = sipliance::config::LinkId(0);
    world.handle(sipliance::gateway::Input::Driver { link, event: Event::Down(Why::new("gone")) });
    assert_eq!(switch(&mut world, anna, "plug"), 480);
}

/// Proves: DO-7, NEG-18, REQ-6.1, REQ-7.1.1, DO-3
#[test]
fn a_do_in_words_or_in_senml_is_answered_where_it_came_from() {
    let mut world = World::new(925);
    let anna = world.phone("anna");
    for (edit, on) in [(false, true), (true, false)] {
        let op = edited(
            &mut world,
            anna,
            |phone, now| phone.switch("plug", true, now),
            |text| {
                let elsewhere = text.replace("User-Agent:", "Contact: <sip:x@203.0.113.66>\r\nUser-Agent:");
                let (head, body) = elsewhere.split_once("\r\n\r\n").unwrap();
                if !edit {
                    return elsewhere;
                }
                let head = head
                    .replace("application/senml+json", "text/plain")
                    .replace(&format!("Content-Length: {}", body.len()), "Content-Length: 3");
                format!("{head}\r\n\r\noff")
            },
        );
        world.run(1_000);
        assert_eq!((status(&world, anna, op), world.plug.on), (200, on));
        let body = &world.phones[anna].ops[op].finals.last().unwrap().3;
        assert!(body.contains(if on { "on" } else { "off" }), "the 200 says how it stands: {body:?}");
    }
    assert!(world.strays.is_empty(), "a Contact is no address to send to");
}

/// Proves: DO-4
#[test]
fn a_do_whose_answer_is_lost_is_carried_out_once() {
    let mut world = World::new(927);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.register(600, now));
    world.run(300);
    world.lose.push((Way::Out, "SIP/2.0 200", 4));
    let op = world.at(anna, |phone, now| phone.switch("plug", true, now));
    world.run(20_000);
    assert_eq!((status(&world, anna, op), world.plug.writes.len()), (200, 1));
}

fn publish(world: &mut World, phone: usize, name: &str, on: Option<bool>, fields: &str) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.publish(name, on, fields, now));
    world.run(1_000);
    (status(world, phone, op), answered(world, phone, op, Name::SipETag).unwrap_or_default())
}

/// Proves: PB-3, PB-5
#[test]
fn a_publication_is_changed_under_a_new_tag() {
    let mut world = World::new(928);
    let anna = world.phone("anna");
    world.report("stat/plug/POWER", "OFF");
    let (_, first) = publish(&mut world, anna, "plug", Some(true), "Expires: 600\r\n");
    let of = |tag: &str| format!("Expires: 600\r\nSIP-If-Match: {tag}\r\n");
    let (status, second) = publish(&mut world, anna, "plug", Some(false), &of(&first));
    assert_eq!((status, world.plug.on), (200, false));
    assert_ne!(first, second);
    assert_eq!(publish(&mut world, anna, "plug", Some(true), &of(&first)).0, 412, "the old tag is spent");
    assert!(!world.plug.on, "and changes nothing");
    let (status, third) = publish(&mut world, anna, "plug", None, &of(&second));
    assert_eq!(status, 200);
    assert_ne!(second, third);
}

/// Proves: PB-8
#[test]
fn the_first_fault_of_a_publish_is_the_one_that_is_told() {
    let mut world = World::new(929);
    let anna = world.phone("anna");
    let wrong_tag = "SIP-If-Match: 77\r\nExpires: 1\r\n";
    assert_eq!(publish(&mut world, anna, "nothing", Some(true), wrong_tag).0, 404);
    let bad = |world: &mut World, fields: &str, event: &str, kind: &str| {
        let op = edited(
            world,
            anna,
            |phone, now| phone.publish("plug", Some(true), fields, now),
            |text| text.replace("Event: appliance", event).replace("application/senml+json", kind),
        );
        (status(world, anna, op), op)
    };
    let unknown = "application/x-unknown";
    assert_eq!(bad(&mut world, wrong_tag, "Event: weather", unknown).0, 489);
    assert_eq!(bad(&mut world, "SIP-If-Match: 1\r\nSIP-If-Match: 2\r\n", "Event: appliance", unknown).0, 400);
    assert_eq!(bad(&mut world, wrong_tag, "Event: appliance", unknown).0, 412);
    let (short, op) = bad(&mut world, "Expires: 1\r\n", "Event: appliance", unknown);
    assert_eq!((short, answered(&world, anna, op, Name::MinExpires).as_deref()), (423, Some("10")));
    let (kind, op) = bad(&mut world, "Expires: 60\r\n", "Event: appliance", unknown);
    assert_eq!(
        (kind, answered(&world, anna, op, Name::Accept).as_deref()),
        (415, Some("application/senml+json"))
    );
    assert!(world.plug.writes.is_empty());
    let op = world.at(anna, |phone, now| phone.publish("plug", Some(true), "Expires: 60\r\n", now));
    world.run(1_000);
    assert_eq!(status(&world, anna, op), 200);
    assert_eq!(answered(&world, anna, op, Name::Expires).as_deref(), Some("60"));
    assert!(answered(&world, anna, op, Name::SipETag).is_some());
}

/// Proves: PB-10
#[test]
fn a_publish_makes_no_dialog() {
    let mut world = World::new(930);
    let anna = world.phone("anna");
    let fields = "Contact: <sip:x@203.0.113.66>\r\nRecord-Route: <sip:203.0.113.66;lr>\r\n";
    let op = world.at(anna, |phone, now| phone.publish("plug", Some(true), fields, now));
    world.run(1_000);
    assert_eq!(status(&world, anna, op), 200);
    for name in [Name::Contact, Name::RecordRoute] {
        assert_eq!(answered(&world, anna, op, name), None);
    }
    assert!(world.strays.is_empty() && world.gateway.status(world.time()).subscriptions == 0);
}

/// Proves: RP-1, RP-2, RP-3
#[test]
fn every_request_asks_for_the_way_back_and_every_answer_tells_it() {
    let mut world = World::with(931, super::home::config(Some("udp")));
    world.run(3_000);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.register(600, now));
    world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
    world.run(500);
    world.at(anna, |phone, now| phone.message("plug", "status", now));
    world.run(1_000);
    let mut asked = std::collections::BTreeSet::new();
    for (_, seen) in &world.seen {
        let Seen::Sent(bytes) = seen else { continue };
        let Ok(message) = Message::parse(bytes) else { continue };
        let via = message.via().unwrap();
        match message.request() {
            Some((method, _)) => {
                assert_eq!(via.params.get("rport"), Some(None), "{}", String::from_utf8_lossy(bytes));
                asked.insert(method.as_str().to_owned());
                // Where it listens; to a provider, the port of that flow.
                let listens =
                    via.sent_by == b"192.0.2.1:5060" || matches!(method, Method::Register | Method::Options);
                assert!(listens, "{}", String::from_utf8_lossy(bytes));
            }
            None => {
                assert_eq!(via.params.text("received"), Some("198.51.100.1"));
                assert_eq!(via.params.text("rport"), Some("5060"));
            }
        }
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ["MESSAGE", "NOTIFY", "OPTIONS", "REGISTER"]);
    assert!(world.sent(Method::Register).len() > 1);
}

/// Proves: GR-7
#[test]
fn a_phone_gives_itself_no_gruu() {
    let mut world = World::new(933);
    let anna = world.phone("anna");
    let op = edited(
        &mut world,
        anna,
        |phone, now| phone.register(700, now),
        |text| {
            text.replace(
                ";expires=700",
                ";expires=700;pub-gruu=\"sip:anna@home.example;gr=x\";temp-gruu=\"sip:t@home.example;gr\"",
            )
        },
    );
    assert_eq!(status(&world, anna, op), 200);
    let contact = answered(&world, anna, op, Name::Contact).unwrap();
    assert!(contact.contains("expires=700") && !contact.contains("gruu"), "{contact}");
}

/// Proves: REQ-8.6.2
#[test]
fn the_home_goes_on_while_the_outside_is_away() {
    let mut world = World::with(932, super::home::config(Some("tcp")));
    world.run(3_000);
    world.provider.reach = super::provider::Reach::Refused;
    world.cut_provider();
    let anna = world.phone("anna");
    let watch = world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
    world.run(500);
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(2_000);
    assert_eq!((status(&world, anna, watch), status(&world, anna, op)), (200, 200));
    assert!(world.plug.on && world.phones[anna].subs[0].notifies.len() > 1);
}

//! What differs between transports, and that nothing else does.

use sipliance::gateway::Input;
use sipliance::sip::Transport;

use super::world::{Seen, World};

/// What a phone gets that registers, watches, asks and switches: each answer and NOTIFY, without what names
/// the transport.
fn visit(transport: Transport) -> Vec<String> {
    let mut world = World::new(77);
    let phone = world.phone_over("anna", transport);
    world.at(phone, |phone, now| phone.register(600, now));
    world.run(2_000);
    world.at(phone, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(2_000);
    world.at(phone, |phone, now| phone.message("plug", "on", now));
    world.run(5_000);
    world.at(phone, |phone, now| phone.switch("plug", false, now));
    world.run(5_000);
    let sent = world.seen.iter().filter_map(|(_, seen)| match seen {
        Seen::Sent(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    sent.map(|text| neutral(&text)).collect()
}

/// Ports, tags and branches are random, and Via and Contact say how the message travels.
fn neutral(text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default().split(" sip:").next().unwrap_or_default();
    let names = lines.filter_map(|line| line.split_once(':')).map(|(name, _)| name);
    let names: Vec<&str> = names.collect();
    format!("{first} {names:?} {}", body.len())
}

#[test]
fn a_phone_is_served_alike_over_every_transport() {
    let tcp = visit(Transport::Tcp);
    assert!(tcp.iter().any(|message| message.starts_with("NOTIFY")), "{tcp:#?}");
    assert!(tcp.iter().any(|message| message.starts_with("SIP/2.0 200")), "{tcp:#?}");
    for transport in [Transport::Udp, Transport::Tls, Transport::Ws, Transport::Wss, Transport::Quic] {
        assert_eq!(visit(transport), tcp, "{}", transport.via());
    }
}

fn options(uri: &str, via: &str, more: &str) -> String {
    format!(
        "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/{via} h4df8.invalid;branch=z9hG4bKabc\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:home.example>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n{more}\r\n"
    )
}

fn answers(world: &World) -> Vec<String> {
    let sent = world.seen.iter().filter_map(|(_, seen)| match seen {
        Seen::Sent(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    sent.collect()
}

/// Proves: SEC-2
#[test]
fn a_sips_request_comes_over_tls_or_not_at_all() {
    for (transport, status) in [
        (Transport::Tcp, "416 "),
        (Transport::Ws, "416 "),
        (Transport::Tls, "200 "),
        (Transport::Wss, "200 "),
        (Transport::Quic, "200 "),
    ] {
        let mut world = World::new(78);
        let phone = world.phone_over("anna", transport);
        let text = options("sips:home.example", transport.via(), "Content-Length: 0\r\n");
        world.write(phone, text.as_bytes());
        let answer = answers(&world).pop().unwrap_or_default();
        assert!(answer.starts_with(&format!("SIP/2.0 {status}")), "{}: {answer}", transport.via());
    }
    let mut world = World::new(78);
    let from = "192.0.2.77:5060".parse().unwrap();
    world.inject(from, options("sips:home.example", "UDP", "Content-Length: 0\r\n"));
    world.run(1_000);
    assert!(answers(&world).pop().unwrap_or_default().starts_with("SIP/2.0 416 "));
}

/// A browser knows no address of its own (RFC 7118 §5.2): its messages name `.invalid` hosts, need no
/// Content-Length, and are answered where they came from.
#[test]
fn a_message_of_a_browser_is_answered_over_its_connection() {
    let mut world = World::new(79);
    let phone = world.phone_over("anna", Transport::Ws);
    world.write(phone, options("sip:home.example", "WS", "").as_bytes());
    let answer = answers(&world).pop().unwrap_or_default();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert!(answer.contains("h4df8.invalid;branch=z9hG4bKabc;received="), "{answer}");
    // Two messages in one frame are none: the second would be the body of the first.
    let before = answers(&world).len();
    let two = options("sip:home.example", "WS", "Content-Length: 0\r\n").repeat(2);
    world.write(phone, two.as_bytes());
    assert!(answers(&world).len() <= before + 1);
}

#[test]
fn keep_alives_of_both_kinds_are_answered() {
    for transport in [Transport::Tcp, Transport::Tls, Transport::Ws, Transport::Wss] {
        let mut world = World::new(80);
        let phone = world.phone_over("anna", transport);
        world.write(phone, b"\r\n\r\n");
        assert_eq!(answers(&world), ["\r\n"], "{}", transport.via());
        world.write(phone, b"\r\n");
        assert_eq!(answers(&world).len(), 1);
    }
}

/// Whoever proves nothing is closed over each transport, and a user stays.
#[test]
fn strangers_are_closed_over_every_connection() {
    for transport in [Transport::Tls, Transport::Ws, Transport::Wss, Transport::Quic] {
        let mut world = World::new(81);
        world.phone_over("carla", transport);
        let user = world.phone_over("anna", transport);
        world.at(user, |phone, now| phone.register(600, now));
        world.run(40_000);
        let closes = world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Close)).count();
        assert_eq!(closes, 1, "{}", transport.via());
        let flow = world.phones[user].hop.flow;
        world.handle(Input::Closed { flow, why: "gone".to_owned() });
    }
}

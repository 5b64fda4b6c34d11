//! Who has no name leaves nothing behind; who has one, gets no more than his own.

use std::net::SocketAddr;

use super::phone::Reply;
use super::world::World;

fn request(method: &str, nth: usize, more: &str) -> String {
    format!(
        "{method} sip:plug@home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bK{method}{nth};rport\r\nFrom: <sip:anna@home.example>;tag={nth}\r\nTo: <sip:plug@home.example>\r\nCall-ID: {method}{nth}\r\nCSeq: 1 {method}\r\nContact: <sip:x@198.51.100.99>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

/// Proves: REQ-8.1
#[test]
fn a_flood_of_strangers_is_answered_from_the_packet_alone() {
    let mut world = World::new(91);
    let from: SocketAddr = "203.0.113.66:4000".parse().unwrap();
    let methods =
        ["INVITE", "SUBSCRIBE", "MESSAGE", "DO", "REGISTER", "OPTIONS", "NOTIFY", "PUBLISH", "BYE", "FOO"];
    let before = world.gateway.next_deadline();
    for nth in 0..300 {
        for method in methods {
            world.inject(from, request(method, nth, "Event: presence\r\n"));
        }
        world.run(2);
    }
    world.run(10);
    assert_eq!(world.strays.len(), 3000, "one answer each");
    for (_, to, bytes) in &world.strays {
        assert_eq!(*to, from, "to the source and nobody else");
        assert!(bytes.len() < 1000);
    }
    let status = world.gateway.status(world.time());
    assert_eq!((status.transactions, status.subscriptions, status.contacts), ((0, 0), 0, 0));
    assert_eq!(world.gateway.next_deadline(), before, "not even a timer");
    // Where it says that it lives is nobody's business: no packet went there.
    assert!(world.strays.iter().all(|(_, to, _)| to.ip().to_string() == "203.0.113.66"));
    // Somebody at home is served as before.
    let anna = world.phone("anna");
    let options = world.at(anna, |phone, now| phone.options(now));
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(500);
    assert_eq!((world.phones[anna].ops[options].status(), world.phones[anna].ops[op].status()), (200, 200));
}

#[test]
fn answers_to_nothing_are_met_with_silence() {
    let mut world = World::new(92);
    let from: SocketAddr = "203.0.113.66:4000".parse().unwrap();
    for status in [100, 200, 401, 407, 481, 503, 699] {
        let text = request("X", status, "").replacen(
            "X sip:plug@home.example SIP/2.0",
            &format!("SIP/2.0 {status} x"),
            1,
        );
        world.inject(from, text.replace("CSeq: 1 X", "CSeq: 1 NOTIFY"));
    }
    world.inject(from, request("ACK", 1, ""));
    world.inject(from, "\r\n\r\n");
    world.inject(from, vec![0u8; 4]);
    world.inject(from, vec![0xffu8; 1400]);
    world.run(1000);
    assert!(world.strays.is_empty(), "{:?}", world.strays);
}

/// Proves: PR-11, REQ-8.3
#[test]
fn an_address_belongs_to_its_user() {
    let mut world = World::new(93);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    let op = world.at(anna, |phone, now| phone.register(3600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    // Ben proves that he is Ben, and asks for Anna's.
    let op = world.at(ben, |phone, now| phone.register_as("anna", 3600, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 403);
    let op = world.at(anna, |phone, now| phone.register(5, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 423);
    assert_eq!(world.gateway.status(world.time()).contacts, 1);
    let op = world.at(anna, |phone, now| phone.register(0, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.gateway.status(world.time()).contacts, 0);
}

#[test]
fn a_phone_behind_a_new_port_is_found_there_from_its_refresh_on() {
    let mut world = World::new(94);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(1000);
    let moved: SocketAddr = "198.51.100.1:61234".parse().unwrap();
    // Its old port is nobody's now.
    world.phones[anna].hop.local = moved;
    world.report("stat/plug/POWER", "ON");
    world.run(1000);
    let lost = world.phones[anna].subs[0].notifies.len();
    assert!(!world.strays.is_empty());
    world.forgive();
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(10_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert!(world.phones[anna].subs[0].notifies.len() > lost, "what was lost is said again");
    assert!(world.phones[anna].subs[0].notifies.last().unwrap().body.contains("\"vb\":true"));
    // Nobody answers at the old port, and that says nothing about the new one.
    world.run(60_000);
    world.report("stat/plug/POWER", "OFF");
    world.run(1000);
    assert!(world.phones[anna].subs[0].notifies.last().unwrap().body.contains("\"vb\":false"));
}

/// Proves: REQ-6.2
#[test]
fn a_connection_that_died_unseen_is_replaced_by_a_refresh() {
    let mut world = World::new(96);
    let anna = world.tcp_phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(1000);
    let old = world.forget_connection(anna);
    world.report("stat/plug/POWER", "ON");
    world.run(5000);
    world.connect(anna);
    world.forgive();
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(1000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert!(world.phones[anna].subs[0].notifies.last().unwrap().body.contains("\"vb\":true"));
    // The system notices at last.
    world.handle(sipliance::gateway::Input::Closed { flow: old, why: "timed out".to_owned() });
    world.run(60_000);
    world.report("stat/plug/POWER", "OFF");
    world.run(1000);
    assert!(world.phones[anna].subs[0].notifies.last().unwrap().body.contains("\"vb\":false"));
}

#[test]
fn a_watcher_that_never_answers_costs_one_notify_at_a_time_and_then_nothing() {
    let mut world = World::new(95);
    let anna = world.phone("anna");
    world.phones[anna].replies.extend(vec![Reply::Never; 50]);
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 3600, now));
    for value in 0..400 {
        world.report("tele/plug/SENSOR", &format!("{{\"ENERGY\":{{\"Power\":{value}}}}}"));
        world.run(100);
    }
    let status = world.gateway.status(world.time());
    assert_eq!((status.subscriptions, status.transactions.0), (0, 0));
}

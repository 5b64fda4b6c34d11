//! Connections: cut anywhere, filled anyhow, closed in the middle, or never used.

use std::time::Duration;

use sipliance::gateway::Input;

use super::world::{Seen, World};

fn options(number: usize) -> String {
    format!(
        "OPTIONS sip:home.example SIP/2.0\r\nVia: SIP/2.0/TCP h;branch=z9hG4bK{number}\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:home.example>\r\nCall-ID: c{number}\r\nCSeq: {} OPTIONS\r\nContent-Length: 4\r\n\r\nabcd",
        number + 1
    )
}

fn sent(world: &World, begin: &str) -> usize {
    world
        .seen
        .iter()
        .filter(|(_, seen)| matches!(seen, Seen::Sent(bytes) if bytes.starts_with(begin.as_bytes())))
        .count()
}

fn closes(world: &World) -> Vec<Duration> {
    world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Close)).map(|(at, _)| *at).collect()
}

#[test]
fn cut_at_every_byte_and_several_at_once() {
    let mut world = World::new(41);
    let stranger = world.phone("carla");
    let text = format!("\r\n\r\n{}{}\r\n\r\n", options(0), options(1));
    let text = text.as_bytes();
    for at in 0..=text.len() {
        world.connect(stranger);
        let before = (sent(&world, "SIP/2.0 200"), sent(&world, "\r\n"));
        world.write(stranger, &text[..at]);
        world.write(stranger, &text[at..]);
        let after = (sent(&world, "SIP/2.0 200"), sent(&world, "\r\n"));
        assert_eq!((after.0 - before.0, after.1 - before.1), (2, 2), "cut at {at}");
        world.cut(stranger);
    }
    world.connect(stranger);
    let before = sent(&world, "SIP/2.0 200");
    for byte in text {
        world.write(stranger, &[*byte]);
    }
    assert_eq!(sent(&world, "SIP/2.0 200") - before, 2);
    let before = sent(&world, "SIP/2.0 200");
    let many: String = (0..50).map(options).collect();
    world.write(stranger, many.as_bytes());
    assert_eq!(sent(&world, "SIP/2.0 200") - before, 50);
}

#[test]
fn what_cannot_be_framed_is_answered_and_closed() {
    let mut world = World::new(42);
    for (from, to, want) in [
        ("Content-Length: 4\r\n", "", ""),
        ("Content-Length: 4", "Content-Length: -4", "SIP/2.0 400"),
        ("Content-Length: 4", "Content-Length: 4\r\nl: 5", "SIP/2.0 400"),
        ("Content-Length: 4", "Content-Length: 99999999999999999999", "SIP/2.0 400"),
        ("Content-Length: 4", "Content-Length: 70000", "SIP/2.0 513"),
        ("Content-Length: 4", "Content-Length: 65537", "SIP/2.0 "),
    ] {
        let phone = world.tcp_phone("carla");
        let before = (closes(&world).len(), sent(&world, want));
        world.write(phone, options(1).replace(from, to).as_bytes());
        assert_eq!(closes(&world).len(), before.0 + 1, "{to}");
        assert!(sent(&world, want) > before.1, "{to}");
    }
}

#[test]
fn idle_and_dribbling_strangers_are_closed_and_users_stay() {
    let mut world = World::new(43);
    world.tcp_phone("carla");
    let dribbler = world.tcp_phone("carla");
    let user = world.tcp_phone("anna");
    let op = world.at(user, |phone, now| phone.subscribe("plug", "presence", 3600, now));
    for byte in options(0).bytes().take(40) {
        world.write(dribbler, &[byte]);
        world.run(1000);
    }
    let closed = closes(&world);
    assert_eq!(closed.len(), 2, "{closed:?}");
    assert!(
        closed[0] <= Duration::from_millis(10_100) && closed[1] <= Duration::from_millis(30_100),
        "{closed:?}"
    );
    assert_eq!(world.phones[user].ops[op].status(), 200);
    world.run(100_000);
    world.report("stat/plug/POWER", "ON");
    world.run(2000);
    assert_eq!(world.phones[user].subs[0].notifies.len(), 2);
}

#[test]
fn a_stranger_has_his_time_although_his_first_message_came_in_two_parts() {
    let mut world = World::new(44);
    let phone = world.tcp_phone("carla");
    let text = options(0);
    world.write(phone, &text.as_bytes()[..50]);
    world.run(100);
    world.write(phone, &text.as_bytes()[50..]);
    world.run(25_000);
    assert!(closes(&world).is_empty());
    world.run(6_000);
    assert_eq!(closes(&world).len(), 1);
}

#[test]
fn a_busy_user_is_not_taken_for_a_dribbler() {
    let mut world = World::new(45);
    let phone = world.tcp_phone("anna");
    world.at(phone, |phone, now| phone.register(3600, now));
    world.run(500);
    // Every read ends in the middle of a message, and every message is complete within a second.
    let many: String = (0..40).map(options).collect();
    let piece = options(0).len();
    let bytes = many.as_bytes();
    world.write(phone, &bytes[..piece / 2]);
    for number in 0..39 {
        world.run(1000);
        world.write(phone, &bytes[piece / 2 + number * piece..piece / 2 + (number + 1) * piece]);
    }
    assert!(closes(&world).is_empty());
    // But the last one never ends.
    world.run(11_000);
    assert_eq!(closes(&world).len(), 1);
}

/// Proves: REQ-6.2
#[test]
fn a_watcher_whose_connection_breaks_hears_the_newest_over_the_next() {
    let mut world = World::new(46);
    let anna = world.tcp_phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(500);
    world.report("stat/plug/POWER", "ON");
    // In the middle of the NOTIFY.
    world.cut(anna);
    world.run(1000);
    world.report("stat/plug/POWER", "OFF");
    world.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":7}}"#);
    world.run(1000);
    let heard = world.phones[anna].subs[0].notifies.len();
    world.connect(anna);
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let notifies = &world.phones[anna].subs[0].notifies;
    assert_eq!(notifies.len(), heard + 1);
    assert!(notifies.last().unwrap().body.contains(r#""v":7"#));
}

#[test]
fn a_command_whose_connection_breaks_is_done_once() {
    let mut world = World::new(47);
    let anna = world.tcp_phone("anna");
    world.plug.mood = super::plug::Mood::Obeys(500);
    world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(100);
    assert_eq!(world.plug.writes.len(), 1);
    world.cut(anna);
    world.run(60_000);
    assert_eq!(world.plug.writes.len(), 1);
    let status = world.gateway.status(world.time());
    assert_eq!(status.transactions, (0, 0));
}

#[test]
fn a_registration_goes_with_its_connection() {
    let mut world = World::new(48);
    let anna = world.tcp_phone("anna");
    let op = world.at(anna, |phone, now| phone.register(3600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.gateway.status(world.time()).contacts, 1);
    world.cut(anna);
    assert_eq!(world.gateway.status(world.time()).contacts, 0);
}

/// What is sent to a peer that reads slowly waits: of three changes it hears the last, once there is room, and
/// nobody else waits for it.
#[test]
fn a_full_connection_costs_nobody_else_and_hears_the_newest_state() {
    let mut world = World::new(46);
    let (slow, quick) = (world.tcp_phone("anna"), world.tcp_phone("anna"));
    for phone in [slow, quick] {
        world.at(phone, |phone, now| phone.subscribe("plug", "presence", 3600, now));
        world.run(2000);
    }
    let flow = world.phones[slow].hop.flow;
    let heard = |world: &World, phone: usize| world.phones[phone].subs[0].notifies.len();
    let before = heard(&world, slow);
    world.handle(Input::Full { flow });
    for payload in ["ON", "OFF", "ON"] {
        world.report("stat/plug/POWER", payload);
        world.run(2000);
    }
    assert_eq!((heard(&world, slow), heard(&world, quick)), (before, before + 3));
    world.handle(Input::Room { flow });
    world.run(2000);
    assert_eq!(heard(&world, slow), before + 1);
    let newest = |phone: usize| &world.phones[phone].subs[0].notifies.last().unwrap().etag;
    assert_eq!(newest(slow), newest(quick));
}

/// Who waits for room and comes back over another connection waits no longer; nor does a connection that ends
/// while it is full leave anything behind.
#[test]
fn a_full_connection_holds_nobody_who_comes_over_another() {
    let mut world = World::new(47);
    let phone = world.tcp_phone("anna");
    world.at(phone, |phone, now| phone.subscribe("plug", "presence", 3600, now));
    world.run(2000);
    let heard = |world: &World| world.phones[phone].subs[0].notifies.len();
    let (flow, before) = (world.phones[phone].hop.flow, heard(&world));
    world.handle(Input::Full { flow });
    world.report("stat/plug/POWER", "ON");
    world.run(2000);
    assert_eq!(heard(&world), before);
    world.connect(phone);
    world.at(phone, |phone, now| phone.refresh(0, 3600, now));
    world.run(2000);
    assert_eq!(heard(&world), before + 1);
    world.handle(Input::Closed { flow, why: "the peer reads nothing".to_owned() });
    world.report("stat/plug/POWER", "OFF");
    world.run(2000);
    assert_eq!(heard(&world), before + 2);
}

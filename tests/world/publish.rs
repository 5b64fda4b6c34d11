//! A setting as a lease (RFC 3903).

use sipliance::sip::wire::{Message, Name};

use super::world::World;

/// Publishes, and gives back status and entity-tag.
fn publish(world: &mut World, phone: usize, on: Option<bool>, fields: &str) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.publish("plug", on, fields, now));
    world.run(1_000);
    let response = world.phones[phone].ops[op].response.clone().unwrap();
    let message = Message::parse(&response).unwrap();
    let tag = message.first(Name::SipETag).map(|tag| String::from_utf8_lossy(tag).into_owned());
    (world.phones[phone].ops[op].status(), tag.unwrap_or_default())
}

/// Proves: PB-1, PB-2, PB-5
#[test]
fn a_lease_holds_while_it_is_refreshed_and_then_returns() {
    let mut world = World::new(701);
    let anna = world.phone("anna");
    world.report("stat/plug/POWER", "OFF");
    world.run(500);
    let (status, first) = publish(&mut world, anna, Some(true), "Expires: 60\r\n");
    assert_eq!((status, world.plug.on), (200, true));
    world.run(40_000);
    let (status, second) =
        publish(&mut world, anna, None, &format!("Expires: 60\r\nSIP-If-Match: {first}\r\n"));
    assert_eq!(status, 200);
    assert_ne!(first, second);
    world.run(40_000);
    assert!(world.plug.on, "the refresh made it longer");
    let (status, _) = publish(&mut world, anna, None, &format!("Expires: 60\r\nSIP-If-Match: {first}\r\n"));
    assert_eq!(status, 412, "the old tag means nothing any more");
    world.run(30_000);
    assert!(!world.plug.on, "it returns to what it was");
    assert_eq!(world.plug.writes.len(), 2);
}

/// Proves: PB-4
#[test]
fn a_lease_is_taken_back_and_leaves_alone_what_somebody_changed() {
    let mut world = World::new(702);
    let anna = world.phone("anna");
    world.report("stat/plug/POWER", "OFF");
    world.run(500);
    let (_, tag) = publish(&mut world, anna, Some(true), "Expires: 600\r\n");
    let (status, _) = publish(&mut world, anna, None, &format!("Expires: 0\r\nSIP-If-Match: {tag}\r\n"));
    world.run(1_000);
    assert_eq!((status, world.plug.on), (200, false));
    publish(&mut world, anna, Some(true), "Expires: 30\r\n");
    world.at(anna, |phone, now| phone.message("plug", "off", now));
    world.run(1_000);
    let writes = world.plug.writes.len();
    world.run(60_000);
    assert_eq!(world.plug.writes.len(), writes, "somebody decided otherwise meanwhile");
}

/// Proves: PB-9
#[test]
fn what_is_refused() {
    let mut world = World::new(703);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    for (fields, on, status) in [
        ("Expires: 5\r\n", Some(true), 423),
        ("", None, 400),
        ("SIP-If-Match: 77\r\n", None, 412),
        ("SIP-If-Match: nonsense\r\n", Some(true), 412),
        ("SIP-If-Match: 1, 2\r\n", None, 400),
    ] {
        assert_eq!(publish(&mut world, anna, on, fields).0, status, "{fields}");
    }
    assert_eq!(publish(&mut world, ben, Some(true), "").0, 403, "Ben may only look");
    assert!(world.plug.writes.is_empty());
    // Two who want the same setting are told so.
    assert_eq!(publish(&mut world, anna, Some(true), "").0, 200);
    assert_eq!(publish(&mut world, anna, Some(false), "").0, 412);
    assert!(world.plug.on);
}

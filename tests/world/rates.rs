//! Rates that a watcher asks for (RFC 6446), and states that it knows already (RFC 5839).

use super::world::World;

fn subscribed(world: &mut World, event: &str) -> usize {
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.subscribe("plug", event, 600, now));
    world.run(100);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    anna
}

fn heard(world: &World, phone: usize) -> usize {
    world.phones[phone].subs[0].notifies.len()
}

/// Proves: RC-2, RC-3
#[test]
fn max_rate_holds_back_and_the_newest_state_arrives() {
    let mut world = World::new(501);
    let anna = subscribed(&mut world, "appliance;max-rate=0.2");
    let first = world.phones[anna].subs[0].notifies[0].clone();
    assert!(first.state.ends_with(";max-rate=0.2"), "{}", first.state);
    for nth in 0..8 {
        world.report("stat/plug/POWER", if nth % 2 == 0 { "ON" } else { "OFF" });
        world.run(500);
    }
    assert_eq!(heard(&world, anna), 1);
    world.report("stat/plug/POWER", "ON");
    world.run(1_500);
    let notifies = &world.phones[anna].subs[0].notifies;
    assert_eq!(notifies.len(), 2);
    assert!((notifies[1].at - notifies[0].at).as_millis() >= 5_000);
    assert!(notifies[1].body.contains(r#""n":"power","vb":true"#));
}

/// Proves: RC-1
#[test]
fn min_rate_speaks_although_nothing_changes() {
    let mut world = World::new(502);
    let anna = subscribed(&mut world, "appliance;min-rate=0.1");
    world.run(60_000);
    assert!((6..=7).contains(&heard(&world, anna)), "{}", heard(&world, anna));
    // A refresh without it ends it.
    world.phones[anna].subs[0].event = "appliance".to_owned();
    world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(100);
    let before = heard(&world, anna);
    world.run(60_000);
    assert_eq!(heard(&world, anna), before);
}

/// Proves: ET-1, ET-2, ET-3
#[test]
fn who_knows_the_state_is_told_changes_only() {
    let mut world = World::new(503);
    let anna = subscribed(&mut world, "appliance");
    let etag = world.phones[anna].subs[0].notifies[0].etag.clone();
    assert!(!etag.is_empty());
    // A refresh that names the state is answered 204, and no NOTIFY follows.
    world.phones[anna].extra = format!("Suppress-If-Match: {etag}\r\n");
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].status(), 204);
    assert_eq!(heard(&world, anna), 1);
    // A change is told, with another tag; the old one then matches nothing.
    world.report("stat/plug/POWER", "ON");
    world.run(1_000);
    assert_eq!(heard(&world, anna), 2);
    assert_ne!(world.phones[anna].subs[0].notifies[1].etag, etag);
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(heard(&world, anna), 3);
    // `*` is silent until the next SUBSCRIBE; the end is said all the same, without a body.
    world.phones[anna].extra = "Suppress-If-Match: *\r\n".to_owned();
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(500);
    world.report("stat/plug/POWER", "OFF");
    world.run(5_000);
    assert_eq!((world.phones[anna].ops[op].status(), heard(&world, anna)), (204, 3));
    world.at(anna, |phone, now| phone.refresh(0, 0, now));
    world.run(500);
    let last = world.phones[anna].subs[0].notifies.last().unwrap();
    assert_eq!((last.state.as_str(), last.body.as_str()), ("terminated;reason=timeout", ""));
}

/// Proves: ET-2
#[test]
fn a_new_subscription_of_who_knows_the_state_begins_in_silence() {
    let mut world = World::new(504);
    let anna = subscribed(&mut world, "appliance");
    let etag = world.phones[anna].subs[0].notifies[0].etag.clone();
    world.phones[anna].restart();
    world.phones[anna].extra = format!("Suppress-If-Match: {etag}\r\n");
    let op = world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(2_000);
    assert_eq!((world.phones[anna].ops[op].status(), heard(&world, anna)), (204, 0));
    world.report("stat/plug/POWER", "ON");
    world.run(1_000);
    assert_eq!(heard(&world, anna), 1);
}

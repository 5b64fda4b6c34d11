//! Subscriptions: what a watcher is told, when, and when no more.

use std::time::Duration;

use sipliance::sip::wire::{Message, Method, Name};

use super::phone::Reply;
use super::world::World;

fn last(world: &World, phone: usize, sub: usize) -> super::phone::Notify {
    world.phones[phone].subs[sub].notifies.last().expect("a NOTIFY").clone()
}

#[test]
fn a_subscription_from_the_first_notify_to_the_last() {
    let mut world = World::new(1);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(100);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let first = last(&world, anna, 0);
    assert!(first.state.starts_with("active;expires="), "{}", first.state);
    assert!(first.body.contains(r#""n":"power","vb":false"#), "{}", first.body);
    world.report("stat/plug/POWER", "ON");
    world.run(300);
    assert!(last(&world, anna, 0).body.contains(r#""n":"power","vb":true"#));
    // A refresh brings the full state at once, with a new lifetime.
    let op = world.at(anna, |phone, now| phone.refresh(0, 1200, now));
    world.run(100);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.phones[anna].subs[0].notifies.len(), 3);
    assert!(last(&world, anna, 0).state.starts_with("active;expires=1"));
    // And 0 ends it.
    world.at(anna, |phone, now| phone.refresh(0, 0, now));
    world.run(100);
    assert_eq!(last(&world, anna, 0).state, "terminated;reason=timeout");
    assert!(last(&world, anna, 0).body.contains("vb"), "the last NOTIFY has the state");
    world.report("stat/plug/POWER", "OFF");
    world.run(1000);
    assert_eq!(world.phones[anna].subs[0].notifies.len(), 4);
    assert_eq!(world.gateway.status(world.time()).subscriptions, 0);
}

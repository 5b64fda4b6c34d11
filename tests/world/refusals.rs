//! A registrar that says no, hangs up, or grants nothing: it is left alone, and taken up again when it is well.

use std::time::Duration;

use super::home;
use super::provider::Step;
use super::world::{Seen, World};

fn with(seed: u64, transport: &str, then: Step) -> World {
    let mut world = World::with(seed, home::config(Some(transport)));
    world.provider.then = then;
    world
}

fn standing(world: &World) -> Vec<(&'static str, String)> {
    let status = world.gateway.status(world.time());
    status.registrations.into_iter().map(|one| (one.state, one.words)).collect()
}

fn registered(world: &World) -> bool {
    standing(world).iter().all(|(state, _)| *state == "registered")
}

/// Whoever hangs up after a refusal is not asked again over the next connection.
#[test]
fn a_refusal_outlives_its_connection() {
    let mut world = with(811, "tcp", Step::Refuse(403));
    world.run(5_000);
    assert_eq!(world.provider.got.len(), 2);
    for _ in 0..20 {
        if world.provider.flow.is_some() {
            world.cut_provider();
        }
        world.run(25_000);
        for (state, words) in standing(&world) {
            assert!(state == "failed" && words.contains("403"), "{state}: {words}");
        }
    }
    assert_eq!(world.provider.got.len(), 2, "until 600 s are over");
    world.provider.then = Step::Usual(600);
    world.run(1_900_000);
    assert!(registered(&world), "{:?}", standing(&world));
}

#[test]
fn a_lifetime_of_nothing_is_a_refusal() {
    for seconds in [0, 1, 9] {
        let mut world = with(812, "udp", Step::Grant(seconds));
        world.run(60_000);
        assert!(world.provider.got.len() <= 4, "{}", world.provider.got.len());
        for (state, words) in standing(&world) {
            assert!(state == "failed" && words.contains(&format!("grants {seconds} s")), "{state}: {words}");
        }
        world.provider.then = Step::Usual(600);
        world.run(120_000);
        assert!(registered(&world), "{:?}", standing(&world));
    }
}

#[test]
fn who_hangs_up_at_once_is_tried_ever_more_seldom() {
    let mut world = with(813, "tcp", Step::Silence);
    while world.now < Duration::from_secs(7_200) {
        if world.provider.flow.is_some() {
            world.cut_provider();
        }
        world.run(500);
    }
    let connects = world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Connect(_))).count();
    assert!((6..=20).contains(&connects), "{connects} connections in two hours");
    let words = world.gateway.status(world.time()).flows[0].words.clone();
    assert!(words.contains("before anything was registered there"), "{words}");
    world.provider.then = Step::Usual(600);
    world.run(1_900_000);
    assert!(registered(&world), "{:?}", standing(&world));
}

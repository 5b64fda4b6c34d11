//! A configuration is read again in a house that lives: what nothing changed for goes on as if nothing
//! had happened.

use std::sync::Arc;

use sipliance::config::{Config, LinkId};
use sipliance::gateway::Input;
use sipliance_driver::{Event, Op, Why};

use super::home;
use super::plug::Mood;
use super::world::{Seen, World};

const PLUG: &str = "  plug:\n    name: Plug\n    room: Kitchen\n";
const FIRST: &str = "  aaa:\n    name: First\n    room: Attic\n    profile: plug\n    params: {topic: aaa}\n";

/// The house with another appliance, and another person, before all others.
fn shifted() -> Arc<Config> {
    home::edited(&[
        (PLUG, &format!("{FIRST}{PLUG}")),
        ("  anna: {p", "  aaron: {password: {secret: mum}}\n  anna: {p"),
    ])
}

fn reload(world: &mut World, config: Arc<Config>) {
    world.handle(Input::Reload(config));
}

fn driven(world: &World, from: usize) -> Vec<String> {
    let op = |seen: &Seen| if let Seen::Drive(op) = seen { Some(format!("{op:?}")) } else { None };
    world.seen[from..].iter().filter_map(|(_, seen)| op(seen)).collect()
}

#[test]
fn an_appliance_keeps_its_watchers_its_state_and_its_command_wherever_it_stands_in_the_file() {
    let mut world = World::new(700);
    let anna = world.phone("anna");
    for (target, event) in [("plug", "appliance"), ("room.kitchen", "presence"), ("plug", "presence.winfo")] {
        world.at(anna, |phone, now| phone.subscribe(target, event, 3600, now));
    }
    world.run(500);
    world.plug.mood = Mood::Obeys(1_500);
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(200);
    let (told, seen) = (world.phones[anna].subs[0].notifies.len(), world.seen.len());
    reload(&mut world, shifted());
    world.run(100);
    assert!(world.phones[anna].ops[op].status() < 200, "it waits on");
    assert_eq!(world.phones[anna].subs[0].notifies.len(), told, "nothing of the plug is new");
    let asked = driven(&world, seen);
    assert!(asked.iter().all(|op| op.contains("Watch") && op.contains("/aaa/")), "{asked:?}");
    world.run(3_000);
    assert_eq!((world.phones[anna].ops[op].status(), world.plug.writes.len()), (200, 1));
    let body = &world.phones[anna].subs[0].notifies.last().unwrap().body;
    assert!(body.contains("\"vb\":true") && body.contains("plug"), "{body}");
    // And back again, with a command of the next one under way.
    world.lamp.mood = Mood::Obeys(1_000);
    let op = world.at(anna, |phone, now| phone.message("lamp", "on", now));
    world.run(200);
    reload(&mut world, home::config(None));
    world.run(3_000);
    assert_eq!((world.phones[anna].ops[op].status(), world.lamp.writes.len()), (200, 1));
    world.report("stat/plug/POWER", "OFF");
    world.run(1_000);
    let subs = &world.phones[anna].subs;
    assert!(subs.iter().all(|sub| !sub.terminated), "all go on");
    assert!(subs[0].notifies.last().unwrap().body.contains("\"vb\":false"));
    assert!(world.contradictions().is_empty(), "{:?}", world.contradictions());
}

#[test]
fn a_lease_an_alert_and_a_filter_stay_with_their_appliance() {
    let mut world = World::new(701);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.lease("plug", true, 60, now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    world.report("stat/plug/BUTTON", "short");
    reload(&mut world, shifted());
    world.run(120_000);
    let writes: Vec<&str> = world.plug.writes.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(writes.len(), 2, "the lease ends, and gives back what it took: {writes:?}");
    assert!(!world.plug.on && world.lamp.writes.is_empty());
    let op = world.at(anna, |phone, now| phone.message("alerts", "list", now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let told = &world.phones[anna].messages.last().expect("an answer").1;
    assert!(told.contains("Plug"), "{told}");
}

#[test]
fn another_broker_ends_what_is_under_way_there_and_nothing_acts_late() {
    let two = |host: &str| {
        home::edited(&[
            (
                "  main: {host: 192.0.2.10}",
                &format!("  main: {{host: 192.0.2.10}}\n  side: {{host: {host}}}"),
            ),
            ("    params: {topic: lamp}", "    params: {topic: lamp}\n    broker: side"),
            ("    params: {topic: plug}", "    params: {topic: plug}\n    broker: main"),
        ])
    };
    let mut world = World::with(702, two("192.0.2.11"));
    let (main, side) = (LinkId(0), LinkId(1));
    let anna = world.phone("anna");
    world.handle(Input::Driver { link: side, event: Event::Up });
    for event in world.lamp.hello() {
        world.handle(Input::Driver { link: side, event });
    }
    world.plug.mood = Mood::Obeys(1_500);
    world.lamp.mood = Mood::Lost;
    let kept = world.at(anna, |phone, now| phone.message("plug", "on", now));
    let lost = world.at(anna, |phone, now| phone.message("lamp", "on", now));
    world.run(300);
    let late = world.seen.iter().rev().find_map(|(_, seen)| match seen {
        Seen::Drive(op) if op.channel().as_str() == "cmnd/lamp/POWER" => op.id(),
        _ => None,
    });
    reload(&mut world, two("192.0.2.12"));
    world.run(100);
    assert_eq!(world.phones[anna].ops[lost].status(), 504, "nobody will know");
    // The driver of before would say this; the one of now never had it.
    let id = late.expect("it was sent");
    world.handle(Input::Driver { link: side, event: Event::Done { id, result: Ok(()) } });
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[kept].status(), 200, "the other goes on");
    let op = world.at(anna, |phone, now| phone.message("lamp", "on", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 480, "its broker is not there yet");
    let before = world.lamp.writes.len();
    world.handle(Input::Driver { link: side, event: Event::Up });
    world.run(60_000);
    assert_eq!(world.lamp.writes.len(), before, "nothing is caught up on");
    world.handle(Input::Driver { link: main, event: Event::Down(Why::new("gone")) });
    world.run(100);
    let watched = |op: &Op| matches!(op, Op::Watch { channel } if channel.as_str().contains("lamp"));
    assert!(world.seen.iter().any(|(_, seen)| matches!(seen, Seen::Drive(op) if watched(op))));
}

#[test]
fn what_is_read_from_elsewhere_is_not_known_any_more() {
    let mut world = World::new(703);
    world.report("stat/plug/POWER", "ON");
    let on = |world: &World| {
        let device = world.gateway.house().find("plug").expect("there").1;
        device.shadow().believed(0).cloned().map(|value| value.plain())
    };
    assert_eq!(on(&world).as_deref(), Some("true"));
    reload(&mut world, home::changed("name: Plug\n", "name: Iron\n"));
    assert_eq!(on(&world).as_deref(), Some("true"), "a name is no other appliance");
    reload(&mut world, home::changed("topic: plug}", "topic: iron}"));
    assert_eq!(on(&world), None, "that was another appliance's state");
}

#[test]
fn who_is_known_by_another_place_is_the_same_person() {
    let mut world = World::new(704);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    let watch = home::edited(&[("    see: \"*\"", "    see: [\"*\", \"user:ben\"]")]);
    reload(&mut world, watch);
    world.at(ben, |phone, now| phone.register(600, now));
    world.at(anna, |phone, now| phone.subscribe("ben", "presence", 3600, now));
    world.run(1_000);
    assert!(world.phones[anna].subs[0].notifies.last().unwrap().body.contains("open"));
    reload(
        &mut world,
        home::edited(&[
            ("    see: \"*\"", "    see: [\"*\", \"user:ben\"]"),
            ("  anna: {p", "  aaron: {password: {secret: mum}}\n  anna: {p"),
        ]),
    );
    world.at(ben, |phone, now| phone.register(0, now));
    world.run(1_000);
    let last = world.phones[anna].subs[0].notifies.last().unwrap();
    assert!(!world.phones[anna].subs[0].terminated && last.body.contains("closed"), "{}", last.body);
    assert!(last.body.contains("sip:ben@"), "{}", last.body);
}

fn registers(world: &World, from: usize) -> Vec<String> {
    world.provider.got[from..].iter().map(|(_, text)| text.clone()).collect()
}

fn states(world: &World) -> Vec<&'static str> {
    world.gateway.status(world.time()).registrations.iter().map(|one| one.state).collect()
}

#[test]
fn a_registrar_comes_stays_and_goes_in_good_order() {
    for transport in ["udp", "tcp"] {
        let mut world = World::with(705, home::config(None));
        world.run(1_000);
        reload(&mut world, home::config(Some(transport)));
        world.run(5_000);
        assert_eq!(states(&world), ["registered", "registered"], "{transport}");
        let before = world.provider.got.len();
        // Nothing of it changes: nothing is said.
        reload(&mut world, home::edited_with_upstream(transport, &[("name: Lamp", "name: Torch")]));
        world.run(5_000);
        assert_eq!(registers(&world, before), [""; 0], "{transport}");
        // An account stands for another appliance: it is the account that is registered.
        let account = ("device: plug}", "device: lamp}");
        reload(&mut world, home::edited_with_upstream(transport, &[account]));
        world.run(5_000);
        assert_eq!(registers(&world, before), [""; 0], "{transport}");
        // One account changes: the flow and the other registration stay.
        reload(&mut world, home::edited_with_upstream(transport, &[("user: \"101\"", "user: \"102\"")]));
        world.run(5_000);
        let said = registers(&world, before);
        assert!(said.iter().all(|text| !text.contains("sip:100@")), "{said:?}");
        assert!(said.iter().any(|text| text.contains("Contact: <sip:102@")), "{said:?}");
        assert!(said.iter().any(|text| text.contains("Contact: <sip:101@") && text.contains("Expires: 0")));
        assert_eq!(states(&world), ["registered", "registered"]);
        // It goes: both addresses are given back, and then the flow.
        let (before, seen) = (world.provider.got.len(), world.seen.len());
        reload(&mut world, home::config(None));
        world.run(5_000);
        let said = registers(&world, before);
        assert!(said.iter().all(|text| text.contains("Expires: 0")), "{said:?}");
        for user in ["100", "102"] {
            assert!(said.iter().any(|text| text.contains(&format!("sip:{user}@"))), "{user}: {said:?}");
        }
        assert!(world.seen[seen..].iter().any(|(_, seen)| matches!(seen, Seen::Close)), "{transport}");
        assert_eq!(states(&world), [""; 0]);
        let calm = world.seen.len();
        world.run(600_000);
        let after =
            world.seen[calm..].iter().filter(|(_, seen)| matches!(seen, Seen::Sent(_) | Seen::Connect(_)));
        assert_eq!(after.count(), 0, "nothing is said to who was left");
    }
}

#[test]
fn a_registrar_that_is_another_is_left_before_the_new_one_is_asked() {
    let mut world = World::with(706, home::config(Some("udp")));
    world.run(5_000);
    let (seen, before) = (world.seen.len(), world.provider.got.len());
    reload(
        &mut world,
        home::edited_with_upstream(
            "udp",
            &[("server: provider.example:5060", "server: provider.example:5070")],
        ),
    );
    let at = |world: &World, what: &dyn Fn(&Seen) -> bool| {
        world.seen[seen..].iter().position(|(_, seen)| what(seen))
    };
    world.run(5_000);
    let closed = at(&world, &|seen| matches!(seen, Seen::Close)).expect("the old flow is closed");
    let asked = at(&world, &|seen| matches!(seen, Seen::Connect(_))).expect("the new one is asked");
    assert!(closed < asked, "{closed} {asked}");
    assert!(registers(&world, before).iter().any(|text| text.contains("Expires: 0")));
    assert_eq!(states(&world), ["registered", "registered"]);
}

#[test]
fn a_reload_at_any_moment_answers_everything_once() {
    for seed in 0..60 {
        let mut world = World::new(7_000 + seed);
        let anna = world.phone("anna");
        world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 3600, now));
        world.run(500);
        world.plug.mood = Mood::Obeys(200 + seed * 10);
        let ops: Vec<usize> = ["on", "off"]
            .iter()
            .map(|word| {
                let op = world.at(anna, |phone, now| phone.message("plug", word, now));
                world.run(seed * 7 % 300);
                let config = match seed % 4 {
                    0 => shifted(),
                    1 => home::config(None),
                    2 => home::changed("topic: plug}", "topic: iron}"),
                    _ => home::changed("name: Plug\n", "name: Iron\n"),
                };
                reload(&mut world, config);
                world.run(4_000);
                reload(&mut world, home::config(None));
                world.run(6_000);
                op
            })
            .collect();
        for op in ops {
            assert!(world.phones[anna].ops[op].status() >= 200, "seed {seed}");
        }
        assert!(world.plug.writes.len() <= 2, "seed {seed}: {:?}", world.plug.writes);
        assert!(!world.phones[anna].subs[0].terminated, "seed {seed}");
        assert!(world.contradictions().is_empty(), "seed {seed}: {:?}", world.contradictions());
    }
}

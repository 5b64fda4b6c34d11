//! Who may see a part of an appliance learns nothing of the rest, on whatever way he asks.

use super::home;
use super::world::World;
use sipliance::gateway::Input;

const BEN: &str = "  - who: ben\n    see: [plug]\n";
const WATTS: &str = "  - who: ben\n    see: [plug.watts]\n";
const BUTTON: &str = "  - who: ben\n    see: [plug.button]\n";

/// A plug that is on and draws 63 W, of which Ben may see what `rule` says.
fn world(seed: u64, rule: &str) -> (World, usize) {
    let mut world = World::with(seed, home::changed(BEN, rule));
    world.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":63}}"#);
    world.report("stat/plug/POWER", "ON");
    let ben = world.phone("ben");
    world.run(1000);
    (world, ben)
}

/// Proves: REQ-4.1.3
#[test]
fn answers_tell_of_what_may_be_seen() {
    let (mut world, ben) = world(91, WATTS);
    for (name, text, status) in [
        ("plug", "status", 200),
        ("plug", "power", 200),
        ("home", "status", 200),
        ("home", "plug", 200),
        ("plug", "help", 200),
        ("plug", "nonsense", 403),
        ("plug", "toggle", 403),
        ("plug", "off", 403),
    ] {
        let op = world.at(ben, |phone, now| phone.message(name, text, now));
        world.run(500);
        assert_eq!(world.phones[ben].ops[op].status(), status, "{name} {text}");
    }
    let words =
        world.phones[ben].messages.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>().join("\n");
    assert!(words.contains("63 W"), "{words}");
    for hidden in ["Plug: on", ", on", "was on", "toggle", "set "] {
        assert!(!words.contains(hidden), "{hidden:?} in {words}");
    }
    let op = world.at(ben, |phone, now| phone.invite("22", now));
    world.run(500);
    let answer = &world.phones[ben].ops[op].finals.last().unwrap().2;
    assert!(answer.contains("63 W") && !answer.contains("on,"), "{answer}");
    let op = world.at(ben, |phone, now| phone.switch("plug", false, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 403);
    assert!(world.plug.writes.is_empty());
}

#[test]
fn a_lamp_is_dark_to_who_may_not_see_what_lights_it() {
    let (mut world, ben) = world(92, WATTS);
    for event in ["dialog", "presence", "appliance"] {
        world.at(ben, |phone, now| phone.subscribe("plug", event, 600, now));
        world.run(500);
        let body = &world.phones[ben].subs.last().unwrap().notifies.last().unwrap().body;
        assert!(body.contains("63"), "{body}");
        for hidden in ["confirmed", "on-the-phone", "power", "\"on\"", "\"on,"] {
            assert!(!body.contains(hidden), "{hidden:?} in {body}");
        }
    }
}

#[test]
fn an_event_is_heard_by_those_who_may_see_it_and_no_longer() {
    let (mut world, ben) = world(93, BUTTON);
    world.at(ben, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(1000);
    world.report("stat/plug/BUTTON", "short");
    world.run(1000);
    for phone in [anna, ben] {
        assert!(world.phones[phone].subs[0].notifies.last().unwrap().body.contains("short"));
    }
    assert!(!world.phones[ben].subs[0].notifies.iter().any(|notify| notify.body.contains("63")));
    // He sees no property, so that the right to the event alone is what he loses.
    world.handle(Input::Reload(home::changed(BEN, "")));
    world.run(1000);
    let end = world.phones[ben].subs[0].notifies.last().unwrap();
    assert_eq!((end.state.as_str(), end.body.as_str()), ("terminated;reason=rejected", ""));
}

#[test]
fn an_event_that_may_not_be_seen_is_not_even_hinted_at() {
    let (mut world, ben) = world(94, WATTS);
    world.at(ben, |phone, now| phone.subscribe("plug", "appliance", 600, now));
    world.run(1000);
    let before = world.phones[ben].subs[0].notifies.len();
    world.report("stat/plug/BUTTON", "long");
    world.run(1000);
    assert_eq!(world.phones[ben].subs[0].notifies.len(), before);
}

#[test]
fn a_room_of_which_one_may_see_nothing_is_not_there() {
    let (mut world, ben) = world(95, WATTS);
    for (room, status) in [("kitchen", 200), ("bedroom", 404), ("room.bedroom", 404), ("attic", 404)] {
        let op = world.at(ben, |phone, now| phone.message(room, "status", now));
        world.run(500);
        let answer = world.phones[ben].ops[op].finals.last().unwrap();
        assert_eq!(answer.1, status, "{room}");
        assert!(status == 200 || answer.2 == "No Such Appliance", "{room}: {}", answer.2);
    }
}

/// Proves: RL-7
#[test]
fn alerts_and_lists_hint_at_nothing_that_may_not_be_seen() {
    let (mut world, ben) = world(96, WATTS);
    world.phones[ben].extra = "Supported: eventlist\r\n".to_owned();
    for (subject, event) in [("alerts", "message-summary"), ("home", "message-summary")] {
        world.at(ben, |phone, now| phone.subscribe(subject, event, 600, now));
    }
    world.at(ben, |phone, now| phone.subscribe("all", "presence", 600, now));
    world.run(2_000);
    let heard = |world: &World| -> Vec<usize> {
        world.phones[ben].subs.iter().map(|sub| sub.notifies.len()).collect()
    };
    let before = heard(&world);
    world.report("stat/plug/BUTTON", "short");
    world.report("stat/lamp/POWER", "ON");
    world.run(5_000);
    assert_eq!(heard(&world), before);
    world.at(ben, |phone, now| phone.message("alerts", "list", now));
    world.run(500);
    assert_eq!(world.phones[ben].messages.last().unwrap().1, "no alerts");
    // What he loses, he loses on lists, too.
    world.handle(Input::Reload(home::changed(BEN, "")));
    world.run(2_000);
    for sub in &world.phones[ben].subs {
        assert_eq!(sub.notifies.last().unwrap().state, "terminated;reason=rejected");
    }
}

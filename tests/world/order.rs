//! What comes before what: the record before the act, the answer before the news.

use sipliance_driver::Op;

use super::world::{Seen, World};

fn place(world: &World, what: impl Fn(&Seen) -> bool) -> usize {
    world.seen.iter().position(|(_, seen)| what(seen)).expect("it happened")
}

/// Proves: REQ-4.5.1
#[test]
fn the_audit_line_precedes_the_act() {
    for way in 0..3 {
        let mut world = World::new(80 + way);
        let anna = world.phone("anna");
        world.at(anna, |phone, now| match way {
            0 => phone.message("plug", "on", now),
            1 => phone.switch("plug", true, now),
            _ => phone.invite("23", now),
        });
        world.run(1_000);
        let ordered = place(&world, |seen| matches!(seen, Seen::Audit(line) if line.contains("\"ordered\"")));
        let acted = place(&world, |seen| {
            matches!(seen, Seen::Drive(Op::Write { channel, payload, .. })
                if channel.as_str() == "cmnd/plug/POWER" && &payload[..] == b"ON")
        });
        let ended = place(&world, |seen| matches!(seen, Seen::Audit(line) if line.contains("\"ended\"")));
        let answered = place(
            &world,
            |seen| matches!(seen, Seen::Sent(bytes) if bytes.starts_with(b"SIP/2.0 200") || bytes.starts_with(b"SIP/2.0 486")),
        );
        assert!(ordered < acted && acted < ended && ended < answered, "{ordered} {acted} {ended} {answered}");
    }
}

/// Proves: REQ-8.4, AUTH-6
#[test]
fn a_refused_order_is_recorded_and_moves_nothing() {
    let mut world = World::new(84);
    let ben = world.phone("ben");
    let op = world.at(ben, |phone, now| phone.message("plug", "on\r\n{\"at\":\"forged\"}", now));
    world.run(500);
    let op2 = world.at(ben, |phone, now| phone.message("plug", "on", now));
    world.run(500);
    assert!(world.phones[ben].ops[op].status() >= 400);
    assert_eq!(world.phones[ben].ops[op2].status(), 403);
    let lines: Vec<&String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Audit(line) => Some(line),
            _ => None,
        })
        .collect();
    assert!(lines.iter().any(|line| line.contains("\"refused\"")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains('\n')));
    assert!(world.plug.writes.is_empty());
}

#[test]
fn nothing_moves_by_itself() {
    use sipliance::gateway::Input;
    use sipliance_driver::{Event, Why};
    let mut world = World::with(85, super::home::config(Some("udp")));
    let link = sipliance::config::LinkId(0);
    for _ in 0..3 {
        world.handle(Input::Driver { link, event: Event::Down(Why::new("gone")) });
        world.run(60_000);
        world.handle(Input::Driver { link, event: Event::Up });
        for event in world.plug.hello() {
            world.handle(Input::Driver { link, event });
        }
        world.run(60_000);
        world.handle(Input::Reload(super::home::config(Some("udp"))));
        world.run(60_000);
    }
    // Whatever stands on the command topic is nobody's order.
    world.report("cmnd/plug/POWER", "ON");
    world.report("stat/plug/POWER", "ON");
    world.handle(Input::Shutdown);
    world.run(60_000);
    assert!(world.plug.writes.is_empty() && world.lamp.writes.is_empty());
}

/// Proves: REQ-6.2
#[test]
fn an_old_command_moves_nothing() {
    use sipliance_driver::Event;
    let mut world = World::new(86);
    let anna = world.phone("anna");
    world.plug.mood = super::plug::Mood::Lost;
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(200);
    let link = sipliance::config::LinkId(0);
    world.handle(sipliance::gateway::Input::Driver {
        link,
        event: Event::Down(sipliance_driver::Why::new("gone")),
    });
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 504, "nobody knows what became of it");
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 480);
    let before = world.plug.writes.len();
    world.run(3_600_000);
    world.plug.mood = super::plug::Mood::Obeys(10);
    world.handle(sipliance::gateway::Input::Driver { link, event: Event::Up });
    world.run(60_000);
    assert_eq!(world.plug.writes.len(), before, "nothing is caught up on");
}

#[test]
fn a_reload_answers_who_waits_and_forgets_nothing() {
    let mut world = World::new(87);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 3600, now));
    world.run(500);
    world.plug.mood = super::plug::Mood::Obeys(1_500);
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(200);
    world.handle(sipliance::gateway::Input::Reload(super::home::changed("topic: plug}", "topic: plug2}")));
    world.run(100);
    assert_eq!(world.phones[anna].ops[op].status(), 504, "nobody will know");
    world.handle(sipliance::gateway::Input::Reload(super::home::config(None)));
    world.run(5_000);
    assert_eq!(world.plug.writes.len(), 1);
    let body = &world.phones[anna].subs[0].notifies.last().unwrap().body;
    assert!(
        body.contains("\"vb\":true") && body.contains("\"n\":\"power\""),
        "what came later is told: {body}"
    );
    // The next command is a new one, whatever the old house still hears.
    world.plug.mood = super::plug::Mood::Obeys(40);
    let op = world.at(anna, |phone, now| phone.message("plug", "off", now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.plug.writes.len(), 2);
}

#[test]
fn a_reload_changes_the_rules_of_logins() {
    let mut world = World::new(88);
    world.handle(sipliance::gateway::Input::Reload(super::home::changed("md5: true", "md5: false")));
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.register(600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let offered: Vec<String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Sent(bytes) if bytes.starts_with(b"SIP/2.0 401") => {
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
            _ => None,
        })
        .collect();
    assert!(offered.iter().all(|text| !text.contains("MD5")), "{offered:?}");
}

#[test]
fn a_lease_that_ends_after_a_reload_moves_no_neighbour() {
    let mut world = World::new(86);
    world.report("stat/lamp/POWER", "ON");
    world.lamp.on = true;
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    let op = world.at(anna, |phone, now| phone.lease("plug", true, 60, now));
    let refused = world.at(ben, |phone, now| phone.lease("plug", false, 60, now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.phones[ben].ops[refused].status(), 403);
    assert!(world.plug.on);
    let plug = "  plug:\n    name: Plug\n    room: Kitchen\n    profile: plug\n    params: {topic: plug}\n    numbers: [\"21\", {number: \"22\", press: tell}, {number: \"23\", press: \"on\"}, {number: \"24\", press: \"off\"}]\n";
    let text = super::home::changed(plug, "");
    world.handle(sipliance::gateway::Input::Reload(text));
    world.report("stat/lamp/POWER", "ON");
    world.run(120_000);
    assert!(world.lamp.writes.is_empty(), "{:?}", world.lamp.writes);
}

#[test]
fn a_clock_that_is_set_stops_nobody() {
    let mut world = World::new(89);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 3600, now));
    world.run(1_000);
    let mut versions = Vec::new();
    for (nth, off) in [3_600_000, -3_600_000, 86_400_000, 0].into_iter().enumerate() {
        world.wall_off = off;
        let on = nth % 2 == 0;
        let op = world.at(anna, |phone, now| phone.switch("plug", on, now));
        world.run(2_000);
        assert_eq!(world.phones[anna].ops[op].status(), 200, "clock off by {off} ms");
        let newest = world.phones[anna].subs[0].notifies.last().unwrap();
        assert!(newest.body.contains(&format!("\"vb\":{on}")), "{}", newest.body);
        versions.push(world.plug.writes.len());
    }
    assert_eq!(versions, [1, 2, 3, 4]);
    assert!(!world.phones[anna].subs[0].terminated, "lifetimes do not follow the wall clock");
}

/// Proves: SEC-6
#[test]
fn a_proof_from_before_the_clock_was_set_moves_nothing_twice() {
    let mut world = World::new(90);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(1_000);
    let captured = world.phones[anna].ops[op].sent.clone();
    world.run(60_000);
    for off in [-61_000, -30_000, 61_000] {
        world.wall_off = off;
        let text = String::from_utf8(captured.to_vec()).unwrap();
        world.inject(
            world.phones[anna].hop.local,
            text.replace("z9hG4bK", &format!("z9hG4bK{}", off + 99_000)),
        );
        world.inject(
            world.phones[anna].hop.local,
            text.replace("Call-ID: ", &format!("Call-ID: {}", off + 99_000)),
        );
        world.run(1_000);
        assert_eq!(world.plug.writes.len(), 1);
    }
}

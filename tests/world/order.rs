//! What comes before what: the record before the act, the answer before the news.

use sipliance_driver::Op;

use super::world::{Seen, World};

fn place(world: &World, what: impl Fn(&Seen) -> bool) -> usize {
    world.seen.iter().position(|(_, seen)| what(seen)).expect("it happened")
}

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

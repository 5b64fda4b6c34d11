//! The house's mailbox, the alerts that are sent, and rooms as one thing.

use super::home;
use super::phone::Reply;
use super::world::{Seen, World};

fn body(world: &World, phone: usize, sub: usize) -> String {
    world.phones[phone].subs[sub].notifies.last().expect("a NOTIFY").body.clone()
}

/// Proves: MW-1, MW-3, MW-6, MW-8
#[test]
fn an_alert_is_new_until_somebody_has_seen_it() {
    let mut world = World::new(601);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.register(600, now));
    world.at(anna, |phone, now| phone.subscribe("alerts", "message-summary", 600, now));
    world.run(300);
    assert_eq!(
        body(&world, anna, 0),
        "Messages-Waiting: no\r\nMessage-Account: sip:alerts@home.example\r\nText-Message: 0/0 (0/0)\r\n"
    );
    world.report("stat/plug/BUTTON", "short");
    world.run(2_000);
    assert!(
        body(&world, anna, 0).contains("Messages-Waiting: yes")
            && body(&world, anna, 0).contains("1/0 (0/0)")
    );
    // Those whom the home file names are told at once, on the phone that they registered.
    assert!(world.phones[anna].messages.iter().any(|(_, text)| text.contains("Plug: Button short")));
    world.at(anna, |phone, now| phone.message("alerts", "list", now));
    world.run(500);
    assert!(world.phones[anna].messages.last().unwrap().1.starts_with("new: Plug: button short, 0 min ago"));
    world.at(anna, |phone, now| phone.message("plug", "ack", now));
    world.run(2_000);
    assert_eq!(world.phones[anna].messages.last().unwrap().1, "1 alert seen");
    assert!(
        body(&world, anna, 0).contains("Messages-Waiting: no") && body(&world, anna, 0).contains("0/1 (0/0)")
    );
    // A call to the mailbox says seen, too.
    world.report("stat/plug/BUTTON", "long");
    world.run(2_000);
    let op = world.at(anna, |phone, now| phone.invite("alerts", now));
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].finals.last().unwrap().1, 486);
    assert!(body(&world, anna, 0).contains("0/2 (0/0)"));
}

#[test]
fn who_may_only_look_acknowledges_nothing() {
    let mut world = World::new(602);
    let ben = world.phone("ben");
    world.at(ben, |phone, now| phone.subscribe("alerts", "message-summary", 600, now));
    world.report("stat/lamp/BUTTON", "short");
    world.report("stat/plug/BUTTON", "short");
    world.run(2_000);
    // The lamp is none of Ben's business.
    assert!(body(&world, ben, 0).contains("Text-Message: 1/0"), "{}", body(&world, ben, 0));
    world.at(ben, |phone, now| phone.message("alerts", "ack", now));
    world.run(2_000);
    assert!(body(&world, ben, 0).contains("Text-Message: 1/0"));
}

#[test]
fn a_room_is_its_appliances() {
    let mut world = World::new(603);
    let anna = world.phone("anna");
    for event in ["appliance", "presence", "dialog"] {
        let op = world.at(anna, |phone, now| phone.subscribe("kitchen", event, 600, now));
        world.run(300);
        assert_eq!(world.phones[anna].ops[op].status(), 200, "{event}");
    }
    world.report("stat/plug/POWER", "ON");
    world.run(3_000);
    assert!(
        body(&world, anna, 0).contains(r#""bn":"home.example/plug/""#)
            && body(&world, anna, 0).contains(r#""vb":true"#)
    );
    assert!(
        body(&world, anna, 1).contains("<tuple id=\"a-plug\">")
            && body(&world, anna, 1).contains("on-the-phone")
    );
    assert!(body(&world, anna, 2).contains("confirmed"));
    let ben = world.phone("ben");
    let op = world.at(ben, |phone, now| phone.subscribe("bedroom", "presence", 600, now));
    world.run(300);
    assert_eq!(world.phones[ben].ops[op].status(), 404, "a room where one may see nothing");
}

/// Proves: DI-5
#[test]
fn a_key_blinks_while_the_bell_rings() {
    let mut world = World::new(604);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    for name in ["plug", "kitchen"] {
        world.at(anna, |phone, now| phone.subscribe(name, "dialog", 600, now));
    }
    // Of the lamp Ben may see nothing, and of its bell he hears nothing either.
    world.at(ben, |phone, now| phone.subscribe("bedroom", "dialog", 600, now));
    world.run(2_000);
    assert!(body(&world, anna, 0).contains("<state>terminated</state>"));
    world.report("stat/plug/BUTTON", "short");
    world.run(1_500);
    for sub in [0, 1] {
        assert!(body(&world, anna, sub).contains("<state>early</state>"), "{}", body(&world, anna, sub));
    }
    // Pressed again, it rings on.
    world.run(10_000);
    world.report("stat/plug/BUTTON", "short");
    world.run(15_000);
    assert!(body(&world, anna, 0).contains("<state>early</state>"));
    world.run(6_500);
    for sub in [0, 1] {
        assert!(body(&world, anna, sub).contains("<state>terminated</state>"), "{}", body(&world, anna, sub));
    }
    let version =
        |body: &str| body.split("version=\"").nth(2).unwrap().split('"').next().unwrap().parse::<u32>();
    assert_eq!(
        version(&body(&world, anna, 0)).unwrap() as usize + 1,
        world.phones[anna].subs[0].notifies.len()
    );
    assert!(world.phones[ben].subs[0].notifies.is_empty());
}

/// A press on a blinking key picks up: that says seen, and switches nothing.
#[test]
fn whoever_picks_up_what_rings_has_seen_it() {
    for (seed, name, replaces) in [(605, "**21", false), (606, "*8plug", false), (607, "21", true)] {
        let mut world = World::new(seed);
        let anna = world.phone("anna");
        world.at(anna, |phone, now| phone.subscribe("plug", "dialog", 600, now));
        world.run(2_000);
        world.report("stat/plug/BUTTON", "short");
        world.run(1_500);
        assert!(body(&world, anna, 0).contains("<state>early</state>"));
        let fields = if replaces { "Require: replaces\r\nReplaces: x;to-tag=1;from-tag=2\r\n" } else { "" };
        let op = world.at(anna, |phone, now| phone.invite_with(name, fields, now));
        world.run(2_000);
        let (_, status, reason, _) = world.phones[anna].ops[op].finals.last().unwrap().clone();
        assert_eq!((status, reason.as_str()), (486, "1 alert seen"), "{name}");
        assert!(body(&world, anna, 0).contains("<state>terminated</state>"));
        let moved = world.seen.iter().any(|(_, seen)| matches!(seen, Seen::Drive(op) if op.id().is_some()));
        assert!(!moved, "nothing is switched");
    }
    // Nothing but a call picks up.
    let mut world = World::new(608);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.message("**21", "on", now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 404);
}

/// What is proven as before the restart is refused once, since nobody knows whether it was done.
fn prove_anew(world: &mut World, phone: usize) {
    let op = world.at(phone, |phone, now| phone.message("plug", "status", now));
    world.run(2_000);
    assert_eq!(world.phones[phone].ops[op].status(), 504);
}

fn told(world: &World, phone: usize) -> Vec<&str> {
    world.phones[phone]
        .messages
        .iter()
        .map(|(_, text)| text.as_str())
        .filter(|text| text.contains("Button"))
        .collect()
}

#[test]
fn an_alert_that_nobody_has_seen_outlives_the_process() {
    let mut world = World::new(609).record();
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.register(3600, now));
    world.at(anna, |phone, now| phone.subscribe("alerts", "message-summary", 3600, now));
    for value in ["short", "long"] {
        world.report("stat/plug/BUTTON", value);
    }
    world.report("stat/lamp/BUTTON", "short");
    world.run(2_000);
    world.at(anna, |phone, now| phone.message("lamp", "ack", now));
    world.run(2_000);
    assert!(body(&world, anna, 0).contains("Text-Message: 2/1"), "{}", body(&world, anna, 0));
    let heard = told(&world, anna).len();
    // The power goes, twice, and the second time the lamp is not in the home file any more.
    let resumed = world.die(home::config(None), 60_000);
    assert_eq!((resumed.alerts, resumed.dropped), (3, 0));
    world.run(3_000);
    assert!(body(&world, anna, 0).contains("Text-Message: 2/1"), "{}", body(&world, anna, 0));
    let resumed =
        world.die(home::edited(&[("  lamp:", "  light:"), ("topic: lamp", "topic: light")]), 60_000);
    assert_eq!((resumed.alerts, resumed.dropped), (2, 1));
    world.run(3_000);
    assert!(body(&world, anna, 0).contains("Text-Message: 2/0"), "{}", body(&world, anna, 0));
    prove_anew(&mut world, anna);
    world.at(anna, |phone, now| phone.message("alerts", "list", now));
    world.run(2_000);
    let list = &world.phones[anna].messages.last().unwrap().1;
    assert!(list.starts_with("new: Plug: button long, 2 min ago\nnew: Plug: button short"), "{list}");
    // A bell that rang then is nothing to be told of now.
    assert_eq!(told(&world, anna).len(), heard);
    // What happens from now on is another alert.
    world.report("stat/plug/BUTTON", "short");
    world.run(2_000);
    assert!(body(&world, anna, 0).contains("Text-Message: 3/0"), "{}", body(&world, anna, 0));
}

#[test]
fn an_alarm_that_no_phone_took_is_sent_again_when_one_is_there() {
    let mut world = World::with(610, home::alarmed()).record();
    let anna = world.phone("anna");
    // Nobody is at home, and then the power goes.
    world.report("stat/plug/BUTTON", "short");
    world.run(2_000);
    world.die(home::alarmed(), 120_000);
    world.run(5_000);
    assert!(told(&world, anna).is_empty());
    world.at(anna, |phone, now| phone.register(3600, now));
    world.run(1_000);
    assert_eq!(told(&world, anna), ["Plug: Button short, 2 min ago"]);
    // She has it: neither her refresh nor another start repeats it.
    world.at(anna, |phone, now| phone.register(3600, now));
    world.run(40_000);
    world.die(home::alarmed(), 1_000);
    world.run(40_000);
    assert_eq!(told(&world, anna).len(), 1);
    // The power goes while the alarm is on its way: the next run sends it, to where she was.
    world.phones[anna].replies.extend(std::iter::repeat_n(Reply::Never, 2));
    world.report("stat/plug/BUTTON", "long");
    world.run(300);
    world.phones[anna].replies.clear();
    world.die(home::alarmed(), 1_000);
    world.run(5_000);
    assert_eq!(told(&world, anna).last(), Some(&"Plug: Button long"));
    // What somebody has seen is told to nobody any more.
    let count = told(&world, anna).len();
    world.phones[anna].replies.extend(std::iter::repeat_n(Reply::Never, 100));
    world.report("stat/plug/BUTTON", "short");
    world.run(40_000);
    world.phones[anna].replies.clear();
    prove_anew(&mut world, anna);
    world.at(anna, |phone, now| phone.message("plug", "ack", now));
    world.run(2_000);
    let acknowledged = &world.phones[anna].messages.last().unwrap().1;
    assert_eq!(acknowledged, "3 alerts seen", "{:?}", world.phones[anna].messages);
    world.at(anna, |phone, now| phone.register(3600, now));
    world.run(2_000);
    assert_eq!(told(&world, anna).len(), count, "{:?}", world.phones[anna].messages);
}

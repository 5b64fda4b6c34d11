//! From an order to its one outcome.

use super::*;

fn on() -> Value {
    Value::Bool(true)
}

/// Proves: IM-4, DO-3
#[test]
fn a_command_is_done_when_the_device_says_so() {
    let mut room = Room::plug();
    let id = room.set("power", on()).expect("taken");
    let op = room.last();
    assert_eq!(room.sent(), ["cmnd/x/POWER ON"]);
    room.done(op, Ok(()));
    assert_eq!(room.finished, [], "delivered is not done");
    assert_eq!(room.value("power"), Some(Value::Bool(false)), "a command does not pretend");
    room.hear("stat/x/POWER", "ON");
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

#[test]
fn the_proof_may_overtake_the_delivery() {
    let mut room = Room::plug();
    let id = room.set("power", on()).expect("taken");
    let op = room.last();
    room.hear("stat/x/POWER", "ON");
    room.done(op, Ok(()));
    room.pass(secs(60));
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

#[test]
fn a_stored_copy_proves_nothing() {
    let mut room = Room::plug();
    room.set("power", on()).expect("taken");
    room.heard("stat/x/POWER", "ON", true);
    assert_eq!(room.finished, []);
}

#[test]
fn what_is_so_already_is_sent_and_proved_anew() {
    let mut room = Room::plug();
    let id = room.set("power", Value::Bool(false)).expect("taken");
    assert_eq!(room.sent(), ["cmnd/x/POWER OFF"]);
    assert_eq!(room.finished, []);
    room.hear("stat/x/POWER", "OFF");
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

#[test]
fn silence_is_unknown_and_contradiction_is_failure() {
    let mut room = Room::plug();
    room.set("power", on()).expect("taken");
    room.pass(secs(3));
    assert!(matches!(&room.finished[..], [(_, Outcome::Unknown(why))] if why.contains("within 3 s")));

    room.finished.clear();
    room.set("power", on()).expect("taken");
    room.hear("stat/x/POWER", "OFF");
    room.pass(secs(3));
    let failed = "not confirmed within 3 s; Power is off".to_owned();
    assert_eq!(room.finished.last().map(|(_, outcome)| outcome), Some(&Outcome::Failed(failed)));
}

#[test]
fn failures_of_the_link_are_told_apart() {
    for (failure, sure) in [
        (Failure::NotConnected, true),
        (Failure::Busy, true),
        (Failure::Refused("no".into()), true),
        (Failure::Broken, false),
    ] {
        let mut room = Room::plug();
        room.set("power", on()).expect("taken");
        let op = room.last();
        room.done(op, Err(failure.clone()));
        let known = matches!(room.finished[..], [(_, Outcome::Failed(_))]);
        let unknown = matches!(room.finished[..], [(_, Outcome::Unknown(_))]);
        assert_eq!((known, unknown), (sure, !sure), "{failure:?}");
    }
    let mut room = Room::plug();
    room.set("power", on()).expect("taken");
    room.down();
    assert!(matches!(room.finished[..], [(_, Outcome::Unknown(_))]));
}

#[test]
fn one_command_at_a_time() {
    let mut room = Room::plug();
    room.set("power", on()).expect("taken");
    assert_eq!(room.set("power", on()), Err(Refusal::Busy));
    room.hear("stat/x/POWER", "ON");
    assert!(room.set("power", on()).is_ok());
}

#[test]
fn nothing_is_sent_to_what_is_not_there() {
    let mut room = Room::plug();
    room.hear("tele/x/LWT", "Offline");
    assert_eq!(room.set("power", on()), Err(Refusal::Offline));
    room.down();
    assert_eq!(room.set("power", on()), Err(Refusal::LinkDown));
    assert_eq!(room.sent(), Vec::<String>::new());
}

#[test]
fn orders_that_cannot_be_are_refused_in_words() {
    let mut room = Room::one("z2m-trv", "{name: v}");
    room.event(Event::Up);
    let words = |result: Result<CommandId, Refusal>| result.expect_err("refused").to_string();
    assert_eq!(words(room.set("setpoint", Value::Float(40.0))), "Heating setpoint must be between 4 and 35");
    assert_eq!(words(room.set("setpoint", Value::Float(21.2))), "Heating setpoint moves in steps of 0.5");
    assert_eq!(words(room.set("setpoint", Value::Bool(true))), "Heating setpoint must be a number");
    assert_eq!(words(room.set("temperature", Value::Float(21.0))), "Room temperature can only be read");
    assert_eq!(words(room.set("colour", Value::Int(1))), "it has no colour");
    assert_eq!(words(room.set("mode", Value::Enum("dry".into()))), "Mode must be one of off, auto, heat");
    assert_eq!(room.sent(), Vec::<String>::new());
}

/// Proves: REQ-6.4b
#[test]
fn a_slow_device_is_answered_in_time_and_stays_busy() {
    let mut room = Room::one("z2m-trv", "{name: v}");
    room.event(Event::Up);
    let id = room.set("setpoint", Value::Float(21.5)).expect("taken");
    room.pass(secs(8));
    assert_eq!(room.finished, [(id, Outcome::Started)]);
    assert_eq!(room.set("setpoint", Value::Float(5.0)), Err(Refusal::Busy));
    room.hear("zigbee2mqtt/v", r#"{"occupied_heating_setpoint":21.5}"#);
    assert_eq!(room.finished.len(), 1, "one outcome only");
    assert!(room.set("setpoint", Value::Float(5.0)).is_ok());
}

fn garage() -> Room {
    let mut room = Room::one("gpio-garage-door", "{relay: GPIO17, reed: GPIO27}");
    room.event(Event::Up);
    room.hear("reed", "1");
    room.ops.clear();
    room
}

#[test]
fn a_door_is_pulsed_once_and_watched() {
    let mut room = garage();
    let id = room.act("open").expect("taken");
    let op = room.last();
    assert_eq!(room.sent(), ["pulse relay 500"]);
    room.done(op, Ok(()));
    room.pass(secs(8));
    assert_eq!(room.finished, [(id, Outcome::Started)]);
    room.hear("reed", "0");
    assert_eq!(room.finished.len(), 1);
    assert_eq!(room.value("door"), Some(Value::Enum("open".into())));
    assert!(matches!(room.act("open"), Err(Refusal::Guard(why)) if why == "Door is open, not closed"));
    assert_eq!(room.sent(), Vec::<String>::new());
}

#[test]
fn an_edge_from_before_the_order_proves_nothing() {
    let mut room = garage();
    room.pass(secs(2));
    let before = room.now.mono - Duration::from_millis(1);
    let id = room.act("open").expect("taken");
    let op = room.last();
    room.done(op, Ok(()));
    room.edge("reed", "0", before);
    assert_eq!(room.finished, [], "somebody opened the door by hand just before");
    assert_eq!(room.value("door"), Some(Value::Enum("open".into())));
    room.pass(secs(1));
    let since = room.now.mono - Duration::from_millis(500);
    room.edge("reed", "0", since);
    assert_eq!(room.finished, [(id, Outcome::Done)]);
    assert_eq!(room.device().shadow().reading(0).and_then(|door| door.at_ms), Some(room.now.wall_ms - 500));
}

#[test]
fn a_door_that_may_have_moved_unseen_is_not_pulsed() {
    let mut room = garage();
    room.down();
    room.event(Event::Up);
    let refused = room.act("open");
    assert!(matches!(refused, Err(Refusal::Guard(why)) if why.contains("is not known now")));
    room.hear("reed", "1");
    assert!(room.act("open").is_ok());
}

#[test]
fn a_door_is_not_pulsed_twice_in_a_row() {
    let mut room = garage();
    room.act("open").expect("taken");
    room.hear("reed", "0");
    room.hear("reed", "1");
    assert_eq!(room.act("open"), Err(Refusal::TooSoon(secs(5))));
    room.pass(secs(5));
    assert!(room.act("open").is_ok());
}

#[test]
fn a_relay_is_done_when_its_line_reads_so() {
    let mut room = Room::one("gpio-relay", "{pin: GPIO17}");
    room.event(Event::Up);
    room.hear("relay", "0");
    room.ops.clear();
    let id = room.set("power", on()).expect("taken");
    let op = room.last();
    assert_eq!(room.sent(), ["relay 1"]);
    room.done(op, Ok(()));
    assert_eq!(room.finished, []);
    room.hear("relay", "1");
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

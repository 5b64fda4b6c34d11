//! The dialogue on a serial port.

use super::*;
use crate::device::shadow::Health;

fn projector() -> Room {
    let mut room = Room::one("serial-projector", "{}");
    room.event(Event::Up);
    room
}

/// Answers the question under way.
fn answer(room: &mut Room, frame: &str) {
    let op = room.last();
    room.ops.clear();
    room.hear("port", frame);
    room.done(op, Ok(()));
}

#[test]
fn one_question_at_a_time_and_again_after_its_time() {
    let mut room = projector();
    assert_eq!(room.ops.len(), 1);
    answer(&mut room, "PWR=01");
    assert_eq!(room.value("power"), Some(Value::Enum("on".into())));
    assert_eq!(room.ops.len(), 1);
    answer(&mut room, "LAMP=812");
    assert_eq!(room.sent(), Vec::<String>::new());
    room.pass(secs(15));
    assert_eq!(room.sent(), ["ask PWR?"]);
}

#[test]
fn a_command_goes_before_the_questions_that_wait() {
    let mut room = projector();
    let first = room.last();
    room.ops.clear();
    let id = room.set("power", Value::Enum("standby".into())).expect("taken");
    assert_eq!(room.sent(), Vec::<String>::new(), "the port is busy");
    room.done(first, Ok(()));
    assert_eq!(room.ops.len(), 1);
    let op = room.last();
    assert_eq!(room.sent(), ["ask PWR OFF"]);
    room.done(op, Ok(()));
    // The proof is asked for at once, after the question that waited longer.
    answer(&mut room, "LAMP=812");
    answer(&mut room, "PWR=03");
    assert_eq!(room.finished, []);
    room.pass(secs(2));
    answer(&mut room, "PWR=00");
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

#[test]
fn a_refusal_of_the_device_is_told() {
    let mut room = projector();
    answer(&mut room, "PWR=00");
    answer(&mut room, "LAMP=812");
    room.set("power", Value::Enum("on".into())).expect("taken");
    answer(&mut room, "ERR");
    assert!(matches!(&room.finished[..], [(_, Outcome::Refused(why))] if why == "it answered ERR"));
}

#[test]
fn a_port_that_never_gets_free_ends_in_words() {
    let mut room = projector();
    room.set("power", Value::Enum("on".into())).expect("taken");
    room.pass(secs(8));
    assert!(matches!(&room.finished[..], [(_, Outcome::Failed(why))] if why.contains("nothing was sent")));
    room.ops.clear();
    room.pass(secs(60));
    assert!(!room.sent().contains(&"ask PWR ON".to_owned()), "what was given up is not sent later");
}

#[test]
fn what_was_allowed_when_it_was_said_is_looked_at_again_when_it_is_sent() {
    let mut room = projector();
    room.hear("port", "PWR=01");
    let source = ("source".into(), Value::Enum("pc".into()));
    let order = Order::Do { action: "input".into(), args: vec![source] };
    room.house.order(DEVICE, order, room.now).expect("taken");
    answer(&mut room, "PWR=03");
    let failed = "Power is cooling, not on; nothing was sent".to_owned();
    assert_eq!(room.finished.last().map(|(_, outcome)| outcome), Some(&Outcome::Failed(failed)));
    assert_eq!(room.sent(), ["ask LAMP?"]);
}

#[test]
fn a_device_that_does_not_answer_is_offline_and_asked_less() {
    let mut room = projector();
    answer(&mut room, "PWR=01");
    answer(&mut room, "LAMP=812");
    assert_eq!(room.device().shadow().health(), Health::Online);
    let mut asked = 0;
    for _ in 0..240 {
        room.pass(secs(1));
        while let Some(Op::Ask { id, .. }) = room.ops.pop() {
            asked += 1;
            room.done(id, Err(Failure::Timeout));
        }
        if asked == 5 {
            assert_eq!(room.device().shadow().health(), Health::Online, "two questions, each asked twice");
        }
    }
    assert_eq!(room.device().shadow().health(), Health::Offline);
    // 3 × 2 to be sure, then one pair in 30 s instead of one in 15 s.
    assert!(asked < 24, "{asked}");
    assert_eq!(room.set("power", Value::Enum("on".into())), Err(Refusal::Offline));
    room.hear("port", "PWR=01");
    assert_eq!(room.device().shadow().health(), Health::Online);
}

#[test]
fn a_driver_that_forgets_an_answer_blocks_nothing() {
    let mut room = projector();
    room.ops.clear();
    room.pass(secs(13));
    assert_eq!(room.ops.len(), 1, "3 s for the answer and 10 s for the driver");
}

#[test]
fn two_devices_share_a_port_and_hear_their_own_frames() {
    let devices = [device("serial-projector", "{}", "a", 0), device("serial-av-amp", "{}", "b", 0)];
    let mut room = Room::of(&devices, 1);
    room.event(Event::Up);
    assert_eq!(room.ops.len(), 1, "one question at a time for both");
    room.hear("rx", "PWON");
    room.hear("rx", "PWR=01");
    let value = |room: &Room, id: &str| {
        let (_, device) = room.house.find(id).expect("there");
        device.shadow().reading(0).map(|reading| reading.value.plain())
    };
    assert_eq!((value(&room, "a").as_deref(), value(&room, "b").as_deref()), (Some("on"), Some("true")));
}

//! Units on a Modbus line.

use super::*;
use crate::device::shadow::Health;

fn relay() -> Room {
    let mut room = Room::one("modbus-relay", "{unit: 7, relay: 2}");
    room.event(Event::Up);
    room
}

#[test]
fn a_coil_is_set_once_and_proved_by_a_reading() {
    let mut room = relay();
    let first = room.last();
    assert_eq!(room.sent(), ["ask "]);
    room.read("7/coil/2/1", &[0]);
    room.done(first, Ok(()));
    assert_eq!(room.value("power"), Some(Value::Bool(false)));
    let id = room.set("power", Value::Bool(true)).expect("taken");
    let Some(Op::Write { id: op, channel, payload }) = room.ops.pop() else { panic!("{:?}", room.ops) };
    assert_eq!((channel.as_str(), &*payload), ("7/coil/2", &[1][..]));
    room.done(op, Ok(()));
    assert_eq!(room.finished, [], "what the unit says is no reading");
    let ask = room.last();
    room.read("7/coil/2/1", &[1]);
    room.done(ask, Ok(()));
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

#[test]
fn a_refusal_is_no_success_and_only_silence_makes_a_unit_offline() {
    let mut room = relay();
    let first = room.last();
    room.read("7/coil/2/1", &[0]);
    room.done(first, Ok(()));
    room.set("power", Value::Bool(true)).expect("taken");
    let op = room.last();
    room.done(op, Err(Failure::Refused("unit 7 says no".to_owned())));
    assert!(matches!(&room.finished[..], [(_, Outcome::Failed(why))] if why.contains("unit 7 says no")));
    for _ in 0..10 {
        room.ops.clear();
        room.pass(secs(2));
        let op = room.last();
        room.done(op, Err(Failure::NotConnected));
    }
    assert_eq!(room.device().shadow().health(), Health::Online);
    for _ in 0..5 {
        room.ops.clear();
        room.pass(secs(2));
        let op = room.last();
        room.done(op, Err(Failure::Refused("exception 2".to_owned())));
    }
    assert_eq!(room.device().shadow().health(), Health::Online, "whoever refuses is there");
    for _ in 0..3 {
        room.ops.clear();
        room.pass(secs(2));
        let op = room.last();
        room.done(op, Err(Failure::Timeout));
    }
    assert_eq!(room.device().shadow().health(), Health::Offline);
    assert_eq!(room.set("power", Value::Bool(false)), Err(Refusal::Offline));
}

#[test]
fn an_answer_that_is_too_short_changes_nothing() {
    let mut room = Room::one("eastron-sdm120", "{}");
    room.event(Event::Up);
    room.read("1/input/0/8", &[0x43, 0x66, 0x4c]);
    assert_eq!(room.value("voltage"), None);
    room.read("1/input/0/9", &[0; 18]);
    assert_eq!(room.value("voltage"), None, "nobody asked for these");
    let mut words = vec![0x43, 0x66, 0x4c, 0xcd];
    words.resize(16, 0);
    room.read("1/input/0/8", &words);
    assert!(matches!(room.value("voltage"), Some(Value::Float(volts)) if (volts - 230.3).abs() < 0.01));
}

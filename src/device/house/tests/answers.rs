//! Which frame is the answer: devices also speak by themselves.

use super::*;
use crate::device::shadow::Health;

const FAN: &str = r##"
format: 1
profile: fan
name: Fan unit
driver: serial
link:
  frame: {end: "\r\n", send_end: "\r"}
  gap: 50ms
  timeout: 500ms
  fault: '^!ER'
online: {fails: 2}
properties:
  stage:
    type: int
    range: [0, 4]
    read: {ask: "#FS?", every: 1m, match: '^!FS=([0-4])$'}
    write: {send: "#FS=<value>", done: '^!OK$'}
  point:
    type: int
    read: {ask: "#SP?", every: 1m, match: '^!SP=(\d\d)$'}
    write: {send: "#SP=<value:02>", timeout: 1s}
    confirm: 6s
actions:
  purge: {do: [{send: "#PG", timeout: 500ms}, {send: "#PH", timeout: 500ms, done: '^!OK$'}]}
events:
  alarm: {values: [filter, fan], from: {match: '^!AL=(FLT|FAN)$', map: {FLT: filter, FAN: fan}}}
"##;

/// A unit whose stage and set point are known.
fn fan() -> Room {
    let mut room = Room::of(&[made(FAN, "{}", "fan", 0)], 1);
    room.event(Event::Up);
    for frame in ["!FS=1", "!SP=21"] {
        first(&mut room, frame);
    }
    assert_eq!(room.sent(), Vec::<String>::new());
    room
}

/// A frame comes: the driver calls it the answer to what it was asked.
fn first(room: &mut Room, frame: &str) {
    let op = room.last();
    room.ops.clear();
    room.hear("port", frame);
    room.done(op, Ok(()));
}

/// The end of the silence after an answer.
fn rest(room: &mut Room) {
    room.pass(Duration::from_millis(60));
}

#[test]
fn what_a_device_says_by_itself_is_no_answer_to_a_command() {
    for between in ["!AL=FLT", "!FS=2", "!XX"] {
        let mut room = fan();
        let id = room.set("stage", Value::Int(4)).expect("taken");
        first(&mut room, between);
        assert_eq!(room.finished, [], "{between} is no answer");
        room.pass(Duration::from_millis(300));
        room.hear("rx", "!OK");
        assert_eq!(room.finished, [(id, Outcome::Accepted)], "{between}");
    }
}

#[test]
fn nothing_else_is_sent_before_the_answer_and_the_silence_after_it() {
    let mut room = fan();
    room.set("stage", Value::Int(4)).expect("taken");
    first(&mut room, "!AL=FLT");
    assert_eq!(room.happened, ["alarm filter"], "it is heard nevertheless");
    room.house.poll_due(0, 0, Now { mono: room.now.mono + secs(61), ..room.now });
    room.drain();
    assert_eq!(room.sent(), Vec::<String>::new());
    room.hear("rx", "!OK");
    assert_eq!(room.sent(), Vec::<String>::new(), "the line rests");
    room.pass(Duration::from_millis(50));
    assert_eq!(room.sent(), ["ask #FS?"]);
}

#[test]
fn a_refusal_after_an_event_is_a_refusal() {
    let mut room = fan();
    let id = room.set("stage", Value::Int(4)).expect("taken");
    first(&mut room, "!AL=FAN");
    room.hear("rx", "!ER04");
    assert_eq!(room.finished, [(id, Outcome::Refused("it answered !ER04".to_owned()))]);
}

#[test]
fn a_query_waits_for_its_own_value() {
    let mut room = fan();
    room.pass(secs(61));
    assert_eq!(room.sent(), ["ask #FS?"]);
    let op = OpId(room.house.spare_op().0 - 1);
    room.hear("port", "!SP=22");
    room.done(op, Ok(()));
    assert_eq!(room.value("point"), Some(Value::Int(22)), "it is a report");
    assert_eq!(room.sent(), Vec::<String>::new(), "and not the stage");
    room.hear("rx", "!FS=3");
    rest(&mut room);
    assert_eq!(room.sent(), ["ask #SP?"]);
}

#[test]
fn without_done_any_answer_counts_but_no_event() {
    let mut room = fan();
    room.act("purge").expect("taken");
    first(&mut room, "!AL=FLT");
    assert_eq!(room.sent(), Vec::<String>::new(), "an event is no answer");
    room.hear("rx", "!TAKEN");
    rest(&mut room);
    assert_eq!(room.sent(), ["ask #PH"], "the second step");
}

#[test]
fn the_wait_ends_with_its_time() {
    let mut room = fan();
    let id = room.set("stage", Value::Int(4)).expect("taken");
    first(&mut room, "!WHAT");
    room.pass(Duration::from_millis(490));
    assert_eq!(room.finished, []);
    room.pass(Duration::from_millis(20));
    let words = "its answer \"!WHAT\" does not say whether it acted".to_owned();
    assert_eq!(room.finished, [(id, Outcome::Unknown(words))]);
    room.set("stage", Value::Int(3)).expect("the port is free again");
    assert_eq!(room.sent(), ["ask #FS=3"]);
}

#[test]
fn a_reading_proves_what_no_answer_told() {
    let fan_with = FAN.replace("done: '^!OK$'}\n  point", "done: '^!OK$'}\n    confirm: 5s\n  point");
    let mut room = Room::of(&[made(&fan_with, "{}", "fan", 0)], 1);
    room.event(Event::Up);
    first(&mut room, "!FS=1");
    first(&mut room, "!SP=21");
    let id = room.set("stage", Value::Int(4)).expect("taken");
    let op = room.last();
    room.ops.clear();
    // The answer was lost on the way through a full queue.
    room.done(op, Ok(()));
    assert_eq!(room.sent(), ["ask #FS?"]);
    room.hear("port", "!FS=4");
    assert_eq!(room.finished, [(id, Outcome::Done)]);
}

#[test]
fn what_fits_nothing_is_counted_and_told_once() {
    let mut room = fan();
    assert!(room.device().unread().is_none());
    for frame in ["!AL=FLT", "!OK?", "\n!FS=1", "!ER01", ""] {
        room.hear("rx", frame);
    }
    let unread = room.device().unread().expect("counted");
    assert_eq!((unread.count, unread.last.as_str()), (2, "\"\\n!FS=1\""));
    assert_eq!(room.puzzled, 1);
    room.read("rx", b"\xff\xfe");
    assert_eq!(room.device().unread().map(|unread| unread.last.as_str()), Some("\"FF FE\""));
}

#[test]
fn who_answers_what_nobody_understands_is_there() {
    let mut room = Room::of(&[made(FAN, "{}", "fan", 0)], 1);
    room.event(Event::Up);
    for _ in 0..2 {
        first(&mut room, "\n!FS=1");
        room.pass(secs(1));
    }
    assert_eq!(room.device().shadow().health(), Health::Online);
    assert_eq!(room.value("stage"), None);
}

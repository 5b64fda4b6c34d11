//! Several devices on one line, some of them dead.

use std::collections::HashMap;

use super::*;
use crate::device::shadow::Health;

/// Plays the devices of a line: whoever is `alive` answers at once, the others cost the whole timeout.
/// Gives back how long each living device went without an answer.
fn play(
    room: &mut Room,
    alive: impl Fn(&str) -> Option<(usize, &'static str)>,
    time: Duration,
) -> HashMap<usize, Duration> {
    let end = room.now.mono + time;
    let mut heard: HashMap<usize, Instant> = HashMap::new();
    let mut longest: HashMap<usize, Duration> = HashMap::new();
    let mut busy: Option<(Instant, OpId)> = None;
    while room.now.mono < end {
        for op in std::mem::take(&mut room.ops) {
            let Op::Ask { id, channel, payload, timeout } = op else { panic!("{op:?}") };
            assert_eq!(busy, None, "one question at a time");
            match alive(&String::from_utf8_lossy(&payload)) {
                Some((who, answer)) => {
                    room.hear(channel.as_str(), answer);
                    room.done(id, Ok(()));
                    let last = heard.insert(who, room.now.mono).unwrap_or(room.now.mono);
                    let gap = longest.entry(who).or_default();
                    *gap = (*gap).max(room.now.mono - last);
                }
                None => busy = Some((room.now.mono + timeout, id)),
            }
        }
        if !room.ops.is_empty() {
            continue;
        }
        room.pass(Duration::from_millis(50));
        if let Some((until, id)) = busy.filter(|(until, _)| *until <= room.now.mono) {
            assert!(until <= room.now.mono);
            busy = None;
            room.done(id, Err(Failure::Timeout));
        }
    }
    longest
}

/// The relay board is asked every 5 s, the projectors every 15 s and wait 3 s for an answer, twice.
#[test]
fn two_dead_devices_delay_the_living_by_one_answer_each() {
    let devices = [
        device("serial-projector", "{}", "dead", 0),
        device("serial-projector", "{}", "dead-too", 0),
        device("serial-relay-board", "{}", "board", 0),
    ];
    let mut room = Room::of(&devices, 1);
    room.event(Event::Up);
    let board =
        |text: &str| (!text.starts_with("PWR") && !text.starts_with("LAMP")).then_some((2, "CH1: ON "));
    let longest = play(&mut room, board, secs(600));
    // Its own period, and the answers that two dead devices do not give.
    assert!(longest[&2] <= secs(5 + 2 * 3), "{longest:?}");
    assert!(longest[&2] >= secs(5), "it is asked: {longest:?}");
    let health = |index| room.house.device(DeviceId(index)).expect("there").shadow().health();
    assert_eq!((health(0), health(1), health(2)), (Health::Offline, Health::Offline, Health::Online));
}

#[test]
fn whoever_comes_back_is_asked_for_everything_that_was_missed() {
    let mut room = Room::one("serial-projector", "{}");
    room.event(Event::Up);
    let longest = play(&mut room, |_| None, secs(120));
    assert!(longest.is_empty());
    let back = |text: &str| match text {
        "PWR?" => Some((0, "PWR=01")),
        _ => Some((0, "LAMP=812")),
    };
    play(&mut room, back, secs(31));
    assert_eq!(room.device().shadow().health(), Health::Online);
    assert_eq!(room.value("lamp_hours"), Some(Value::Int(812)), "not only after an hour");
}

/// Values of one meter are never taken for those of the other.
#[test]
fn meters_on_one_line_are_told_apart_by_the_question() {
    let meters = [
        device("iec62056-meter", "{address: \"111\"}", "a", 0),
        device("iec62056-meter", "{address: \"222\"}", "b", 0),
    ];
    let mut room = Room::of(&meters, 1);
    room.event(Event::Up);
    for (question, block) in
        [("/?111!\r\n", "1.8.0(000001.0*kWh)\r\n!\r\n"), ("/?222!\r\n", "1.8.0(000002.0*kWh)\r\n!\r\n")]
    {
        let Some(Op::Ask { id, channel, payload, .. }) = room.ops.pop() else { panic!("{:?}", room.ops) };
        assert_eq!(payload, question);
        room.hear(channel.as_str(), block);
        room.done(id, Ok(()));
    }
    let drawn = |index| {
        let device = room.house.device(DeviceId(index)).expect("there");
        device.shadow().reading(0).map(|reading| reading.value.clone())
    };
    assert_eq!((drawn(0), drawn(1)), (Some(Value::Float(1.0)), Some(Value::Float(2.0))));
    assert!(room.ops.is_empty(), "one read-out brings all values: {:?}", room.ops);
    room.pass(secs(899));
    assert!(room.ops.is_empty());
    room.pass(secs(2));
    assert_eq!(room.ops.len(), 1);
}

#[test]
fn who_is_asked_seldom_is_soon_told_as_gone_and_soon_found_again() {
    let mut room = Room::one("iec62056-meter", "{}");
    room.event(Event::Up);
    let block = "1.8.0(000001.0*kWh)\r\n!\r\n";
    play(&mut room, |_| Some((0, block)), secs(60));
    // The read-out after a quarter of an hour, its repeat, and both once more a minute later.
    play(&mut room, |_| None, secs(900 + 4 * 61 + 60));
    assert_eq!(room.device().shadow().health(), Health::Offline);
    play(&mut room, |_| Some((0, block)), secs(121));
    assert_eq!(room.device().shadow().health(), Health::Online);
}

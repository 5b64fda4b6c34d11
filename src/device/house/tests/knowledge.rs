//! What is known, how far it is believed, and when it is told.

use super::*;
use crate::config::change::{Change, Kept};
use crate::device::appliance::Lamp;
use crate::device::codec::Dropped;
use crate::device::shadow::Health;

#[test]
fn every_topic_is_watched_once() {
    let now = Now { mono: Instant::now(), wall_ms: 0 };
    let mut house = House::of(&[device("tasmota-plug", "{topic: x}", "x", 0)], 1, now);
    let mut watched = Vec::new();
    while let Some(Effect::Drive { op: Op::Watch { channel }, .. }) = house.poll() {
        watched.push(channel.to_string());
    }
    assert_eq!(watched, ["tele/x/LWT", "stat/x/POWER", "tele/x/STATE", "tele/x/SENSOR", "stat/x/STATUS8"]);
}

#[test]
fn after_each_connect_the_device_is_asked() {
    let mut room = Room::one("tasmota-plug", "{topic: x}");
    for _ in 0..2 {
        room.event(Event::Up);
        assert_eq!(room.sent(), ["cmnd/x/POWER ", "cmnd/x/STATUS 8"]);
        room.down();
    }
}

#[test]
fn a_lamp_shows_only_what_is_believed() {
    let mut room = Room::plug();
    room.hear("stat/x/POWER", "ON");
    assert_eq!(room.device().lamp(), Lamp::Lit);
    room.hear("tele/x/LWT", "Offline");
    assert_eq!(room.device().lamp(), Lamp::Unknown);
    room.hear("tele/x/LWT", "Online");
    assert_eq!(room.device().lamp(), Lamp::Lit);
    room.down();
    assert_eq!(room.device().lamp(), Lamp::Unknown);
    assert_eq!(room.value("power"), Some(Value::Bool(true)), "the last value stays");
}

#[test]
fn live_data_is_newer_than_a_stored_goodbye() {
    let mut room = Room::one("tasmota-plug", "{topic: x}");
    room.event(Event::Up);
    room.heard("tele/x/LWT", "Offline", true);
    assert_eq!(room.device().shadow().health(), Health::Offline);
    room.heard("stat/x/POWER", "ON", true);
    assert_eq!(room.device().shadow().health(), Health::Offline);
    room.hear("stat/x/POWER", "ON");
    assert_eq!(room.device().shadow().health(), Health::Online);
    room.hear("tele/x/LWT", "Offline");
    room.hear("stat/x/POWER", "ON");
    assert_eq!(room.device().shadow().health(), Health::Offline, "a live goodbye counts");
}

#[test]
fn values_age() {
    let mut room = Room::plug();
    let watts = room.device().model().property("watts").expect("there");
    let sensor = r#"{"ENERGY":{"Power":63,"Total":1}}"#;
    room.heard("tele/x/SENSOR", sensor, true);
    let stale = |room: &Room| room.device().shadow().reading(watts).map(|reading| reading.stale);
    assert_eq!(stale(&room), Some(true), "a stored copy may be of any age");
    room.hear("tele/x/SENSOR", sensor);
    assert_eq!(stale(&room), Some(false));
    room.pass(secs(10 * 60));
    room.hear("tele/x/SENSOR", sensor);
    room.pass(secs(15 * 60) - Duration::from_millis(1));
    assert_eq!(stale(&room), Some(false));
    let told = room.changed;
    room.pass(Duration::from_millis(1));
    assert_eq!((stale(&room), room.changed), (Some(true), told + 1));
    assert!(room.device().summary(room.now).contains("63 W (old)"));
}

#[test]
fn a_stored_copy_does_not_undo_what_was_heard_live() {
    let mut room = Room::plug();
    room.hear("stat/x/POWER", "ON");
    room.heard("stat/x/POWER", "OFF", true);
    assert_eq!(room.value("power"), Some(Value::Bool(true)));
    room.down();
    room.event(Event::Up);
    room.heard("stat/x/POWER", "OFF", true);
    assert_eq!(room.value("power"), Some(Value::Bool(false)), "after a gap it is the newest word");
}

#[test]
fn changes_are_told_when_they_are_worth_it() {
    let mut room = Room::plug();
    let watts = |room: &mut Room, value: f64| {
        room.hear("tele/x/SENSOR", &format!(r#"{{"ENERGY":{{"Power":{value}}}}}"#));
        std::mem::take(&mut room.changed)
    };
    assert_eq!(watts(&mut room, 60.0), 1, "the first");
    assert_eq!(watts(&mut room, 62.0), 0, "too small");
    let version = room.device().shadow().version();
    assert_eq!(watts(&mut room, 100.0), 0, "too soon");
    assert!(room.device().shadow().version() > version, "the newest state is there to be asked for");
    room.pass(secs(10));
    assert_eq!(std::mem::take(&mut room.changed), 1, "told when the gap is over");
    room.pass(secs(20));
    assert_eq!(watts(&mut room, 101.0), 0);
    room.pass(secs(10 * 60));
    assert_eq!(std::mem::take(&mut room.changed), 1, "a small change is told in the end");
    room.pass(secs(60));
    assert_eq!(watts(&mut room, 101.0), 0, "no change, no word");
}

#[test]
fn a_message_is_one_change_however_much_it_says() {
    let mut room = Room::one("z2m-trv", "{name: v}");
    room.event(Event::Up);
    room.changed = 0;
    room.hear(
        "zigbee2mqtt/v",
        r#"{"occupied_heating_setpoint":20,"local_temperature":19,"system_mode":"heat","battery":80}"#,
    );
    assert_eq!(room.changed, 1);
}

#[test]
fn what_cannot_be_understood_is_counted_and_changes_nothing() {
    let mut room = Room::plug();
    let version = room.device().shadow().version();
    room.hear("stat/x/POWER", "BLINK");
    room.hear("tele/x/STATE", "{broken");
    room.hear("stat/x/POWER", "");
    room.event(Event::Read {
        channel: Channel::new("stat/x/POWER"),
        payload: Bytes::from_static(b"\xff"),
        retained: false,
    });
    assert_eq!(room.device().shadow().version(), version);
    let counted: Vec<(Dropped, u64)> = room.device().dropped().collect();
    assert_eq!(
        counted,
        [(Dropped::Empty, 1), (Dropped::NotText, 1), (Dropped::NotJson, 1), (Dropped::Unknown, 1)]
    );
}

#[test]
fn rubbish_on_a_number_leaves_its_value() {
    let mut room = Room::plug();
    room.hear("tele/x/SENSOR", r#"{"ENERGY":{"Power":63}}"#);
    let (version, watts) = (room.device().shadow().version(), room.value("watts"));
    assert!(watts.is_some());
    let long = format!(r#"{{"ENERGY":{{"Power":"{}"}}}}"#, "9".repeat(100_000));
    for rubbish in [
        r#"{"ENERGY":{"Power":[63,64]}}"#,
        r#"{"ENERGY":{"Power":{"W":63}}}"#,
        r#"{"ENERGY":{"Power":"a lot"}}"#,
        r#"{"ENERGY":{"Power":true}}"#,
        r#"{"ENERGY":{"Power":null}}"#,
        r#"{"ENERGY":{"Power":1e999}}"#,
        "[]",
        "63",
        "",
        &long,
    ] {
        let before: u64 = room.device().dropped().map(|(_, count)| count).sum();
        room.hear("tele/x/SENSOR", rubbish);
        assert_eq!(room.value("watts"), watts, "{rubbish:.40}");
        let after: u64 = room.device().dropped().map(|(_, count)| count).sum();
        assert!(after > before, "{rubbish:.40} is counted");
    }
    // The same again is no change, and a stored copy is older than what was heard.
    room.hear("tele/x/SENSOR", r#"{"ENERGY":{"Power":63}}"#);
    room.heard("tele/x/SENSOR", r#"{"ENERGY":{"Power":7}}"#, true);
    assert_eq!((room.value("watts"), room.device().shadow().version()), (watts, version));
}

#[test]
fn a_goal_is_shown_until_it_is_reached() {
    let mut room = Room::one("homie-light", "{device: l}");
    room.event(Event::Up);
    room.hear("homie/5/l/$state", "ready");
    room.hear("homie/5/l/light/brightness", "10");
    room.hear("homie/5/l/light/brightness/$target", "80");
    let described = room.device().describe(room.now);
    assert!(described.iter().any(|(_, text)| text.contains("10 %, going to 80 %")), "{described:?}");
}

#[test]
fn a_reload_forgets_no_value_and_no_version() {
    let mut room = Room::plug();
    let version = room.device().shadow().version();
    let plug = [device("tasmota-plug", "{topic: x}", "x", 0)];
    let after = |room: &mut Room, link: Option<Kept>| {
        let change = Change::of_devices(&plug, &plug, vec![link]);
        room.house = House::after(&mut room.house, (&plug, 1), &change, room.now);
    };
    after(&mut room, Some(Kept { to: LinkId(0), altered: false }));
    let device = room.device();
    assert_eq!((device.shadow().version(), device.lamp()), (version, Lamp::Dark), "nothing happened");
    assert!(room.house.poll().is_none(), "nothing is asked anew");
    after(&mut room, None);
    assert!(room.device().shadow().version() > version);
    assert_eq!(room.device().lamp(), Lamp::Unknown, "until the link is up");
    room.event(Event::Up);
    assert_eq!(room.device().lamp(), Lamp::Dark);
}

#[test]
fn a_summary_says_how_things_stand() {
    let mut room = Room::plug();
    room.hear("tele/x/SENSOR", r#"{"ENERGY":{"Power":63,"Total":1}}"#);
    let summary = |room: &Room| room.device().summary(room.now);
    assert_eq!(summary(&room), "off, 63 W");
    room.hear("tele/x/LWT", "Offline");
    room.pass(secs(300));
    assert_eq!(summary(&room), "offline for 5 min, was off, 63 W");
    room.down();
    room.pass(secs(10));
    assert_eq!(summary(&room), "no connection for 10 s, was off, 63 W");
    let mut valve = Room::one("z2m-trv", "{name: v}");
    valve.event(Event::Up);
    valve.hear(
        "zigbee2mqtt/v",
        r#"{"occupied_heating_setpoint":21.5,"local_temperature":19.75,"running_state":"heat","system_mode":"auto"}"#,
    );
    assert_eq!(summary(&valve), "heating, Heating setpoint 21.5 °C, Room temperature 19.8 °C, Mode auto");
    let mut door = Room::one("z2m-contact", "{name: d}");
    assert_eq!(summary(&door), "no connection for 0 s");
    door.event(Event::Up);
    assert_eq!(summary(&door), "nothing heard yet");
    door.hear("zigbee2mqtt/d", r#"{"contact":true}"#);
    assert_eq!(summary(&door), "closed");
}

#[test]
fn an_event_is_raised_once_and_never_from_the_past() {
    let mut room = Room::one("washer-by-power", "{topic: x}");
    room.event(Event::Up);
    let watts = |room: &mut Room, watts: u32| {
        room.hear("tele/x/SENSOR", &format!(r#"{{"ENERGY":{{"Power":{watts}}}}}"#));
    };
    watts(&mut room, 2000);
    watts(&mut room, 1);
    room.pass(secs(120));
    watts(&mut room, 300);
    room.pass(secs(300));
    assert_eq!(room.happened, Vec::<String>::new(), "a pause is no end");
    watts(&mut room, 1);
    room.pass(secs(240));
    assert_eq!(room.happened, ["finished done"]);
    watts(&mut room, 2000);
    room.down();
    room.pass(secs(3600));
    room.event(Event::Up);
    watts(&mut room, 1);
    room.pass(secs(600));
    assert_eq!(room.happened.len(), 1, "it may have finished long ago");
}

#[test]
fn ages_survive_a_clock_that_is_set() {
    let mut room = Room::plug();
    room.hear("stat/x/POWER", "ON");
    room.pass(secs(60));
    room.now.wall_ms += 20 * 365 * 86_400_000;
    room.pass(secs(30));
    room.hear("tele/x/LWT", "Online");
    let power = room.device().shadow().reading(0).and_then(|reading| reading.at_ms).expect("of known age");
    assert_eq!(room.now.wall_ms - power, 90_000);
}

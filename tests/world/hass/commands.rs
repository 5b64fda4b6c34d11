//! Commands from Home Assistant: the user whom the home file names may do what he may do, and no more.

use std::sync::Arc;

use serde_json::json;
use sipliance::config::Config;
use sipliance_driver::{Event, Op};

use super::bench::{Bench, TREE, house};

/// A house whose `hass` may do this, with the relay and the door ready.
fn ready(seed: u8, config: Arc<Config>) -> Bench {
    let mut bench = Bench::new(seed, config);
    for (link, channel, payload) in
        [("relay", "relay", "0"), ("garage", "reed", "1"), ("bell", "button", "0")]
    {
        bench.up(link);
        bench.read(link, channel, payload);
    }
    bench.run(2_000);
    bench.driven.clear();
    bench.audit.clear();
    bench
}

fn counts(bench: &Bench) -> sipliance::gateway::HassCounts {
    bench.status().home_assistant[0].counts
}

/// The steps of the audit log, and where they came from.
fn audited(bench: &Bench) -> Vec<String> {
    let text = |line: &serde_json::Value, key: &str| line[key].as_str().unwrap().to_owned();
    let line =
        |line: &serde_json::Value| ["step", "who", "from", "what"].map(|key| text(line, key)).join(" ");
    bench.audit.iter().map(line).collect()
}

#[test]
fn a_command_goes_the_way_of_every_other() {
    let mut bench = ready(20, house(&[]));
    assert!(bench.watched.contains(&format!("{TREE}/+/set/+")), "{:?}", bench.watched);
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(1_000);
    assert!(
        matches!(&bench.driven[..], [(link, Op::Write { payload, .. })] if link == "relay" && payload == "1")
    );
    assert_eq!(audited(&bench), ["ordered hass broker main power=on", "ended hass broker main power=on"]);
    assert!(bench.audit[1]["result"].as_str().unwrap().starts_with("200"), "{:?}", bench.audit[1]);
    assert_eq!(bench.last(&format!("{TREE}/relay/state"))["power"], json!(true));
}

#[test]
fn without_a_user_nobody_listens_and_nothing_moves() {
    let mut bench = ready(21, house(&[("devices: \"*\", as: hass", "devices: \"*\"")]));
    assert!(
        !bench.watched.iter().any(|topic| topic.contains("/set") || topic.ends_with("/do")),
        "{:?}",
        bench.watched
    );
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.heard(&format!("{TREE}/garage/do"), "open", false);
    bench.run(10_000);
    assert!(bench.driven.is_empty() && bench.audit.is_empty());
    // And nothing offers it.
    let config = bench.text("homeassistant/device/sipliance_home_-example_relay/config");
    assert!(!config.contains("command_topic") && config.contains("binary_sensor"), "{config}");
}

#[test]
fn a_retained_copy_is_no_command() {
    let mut bench = ready(22, house(&[("    do: \"*\"", "    do: [\"*\", garage.open]")]));
    bench.heard(&format!("{TREE}/relay/set/power"), "on", true);
    bench.heard(&format!("{TREE}/garage/do"), "open", true);
    bench.run(10_000);
    assert!(bench.driven.is_empty() && bench.audit.is_empty());
    assert_eq!(counts(&bench).retained, 2);
}

#[test]
fn what_is_sensitive_is_offered_and_done_only_where_it_is_granted_by_name() {
    let topic = format!("{TREE}/garage/do");
    let config = "homeassistant/device/sipliance_home_-example_garage/config";
    let mut bench = ready(23, house(&[]));
    assert!(!bench.text(config).contains("command_topic"));
    bench.heard(&topic, "open", false);
    bench.run(1_000);
    assert!(bench.driven.is_empty());
    assert_eq!(audited(&bench), ["refused hass broker main open()"]);
    let mut bench = ready(24, house(&[("    do: \"*\"", "    do: [\"*\", garage.open]")]));
    assert_eq!(bench.last(config)["cmps"]["open"]["payload_press"], json!("open"));
    assert_eq!(bench.last(config)["cmps"].get("close"), None);
    bench.heard(&topic, "close", false);
    assert!(bench.driven.is_empty());
    bench.heard(&topic, "open", false);
    assert!(
        matches!(&bench.driven[..], [(link, Op::Pulse { .. })] if link == "garage"),
        "{:?}",
        bench.driven
    );
}

#[test]
fn who_may_only_see_commands_nothing_and_who_may_not_see_is_told_nothing() {
    let mut bench = ready(25, house(&[("    do: \"*\"\n", "")]));
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(1_000);
    assert!(bench.driven.is_empty());
    assert_eq!(audited(&bench), ["refused hass broker main power=on"]);
    let mut bench = ready(26, house(&[("    see: \"*\"\n    do: \"*\"\n", "    see: [bell]\n")]));
    assert!(bench.told.iter().all(|told| told.topic.contains("bell")), "{:#?}", bench.told);
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(1_000);
    assert!(bench.driven.is_empty());
    assert_eq!(counts(&bench).unreadable, 1, "for it there is no such thing");
}

#[test]
fn rubbish_moves_nothing_and_is_counted() {
    let mut bench = ready(27, house(&[]));
    let power = format!("{TREE}/relay/set/power");
    let long = "on".repeat(10_000);
    let rubbish = [
        (power.as_str(), "", 1),
        (&power, "[1]", 1),
        (&power, "{\"power\":true}", 1),
        (&power, "1", 1),
        (&power, &long, 1),
        (&format!("{TREE}/relay/set/brightness"), "50", 1),
        (&format!("{TREE}/relay/do"), "explode", 1),
        (&format!("{TREE}/nothing/set/power"), "on", 1),
        (&format!("{TREE}/relay/set/power/now"), "on", 0),
        (&format!("{TREE}/relay/set"), "on", 0),
        ("sipliance/other.example/relay/set/power", "on", 0),
        ("sipliance/home.exampleX/relay/set/power", "on", 0),
    ];
    let mut due = 0;
    for (topic, payload, counted) in rubbish {
        bench.heard(topic, payload, false);
        bench.run(500);
        due += counted;
        assert_eq!(counts(&bench).unreadable, due, "{topic} {payload:.20}");
    }
    let payload = bytes::Bytes::from_static(&[0xff, 0xfe]);
    let channel = sipliance_driver::Channel::new(&power);
    bench.event(super::HOUSE, Event::Read { channel, payload, retained: false });
    assert_eq!(counts(&bench).unreadable, due + 1);
    assert!(bench.driven.is_empty());
    assert!(
        audited(&bench).iter().all(|line| line.starts_with("refused hass broker main")),
        "{:?}",
        bench.audit
    );
}

#[test]
fn a_flood_of_commands_is_bounded_and_counted_rather_than_logged() {
    let mut bench = ready(28, house(&[]));
    for _ in 0..10_000 {
        bench.heard(&format!("{TREE}/relay/set/nothing"), "on", false);
    }
    assert!(bench.audit.len() <= 120, "{}", bench.audit.len());
    assert_eq!(counts(&bench).too_many, 10_000 - 120);
    assert!(bench.driven.is_empty());
}

#[test]
fn a_command_that_cannot_be_done_changes_no_topic() {
    let mut bench = ready(29, house(&[]));
    bench.down("relay");
    bench.run(1_000);
    bench.told.clear();
    bench.audit.clear();
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(10_000);
    assert!(bench.driven.is_empty() && bench.told.is_empty(), "{:#?}", bench.told);
    assert!(bench.audit[1]["result"].as_str().unwrap().contains("link is down"), "{:?}", bench.audit);
}

#[test]
fn what_is_isolated_takes_no_command() {
    let mut bench = ready(30, house(&[]));
    bench.isolate("relay", true);
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(1_000);
    assert!(bench.driven.is_empty());
}

#[test]
fn what_the_gateway_says_itself_comes_back_and_moves_nothing() {
    let mut bench = ready(31, house(&[("devices: \"*\"", "devices: [\"*\", plug]")]));
    let said: Vec<_> = bench.told.clone();
    assert!(said.len() > 12);
    for told in &said {
        bench.heard(&told.topic, &told.payload, false);
        bench.heard(&told.topic, &told.payload, true);
    }
    bench.run(20_000);
    assert!(bench.driven.is_empty() && bench.audit.is_empty(), "{:?}", bench.driven);
    assert_eq!(counts(&bench), Default::default());
    // No topic where it speaks is one where it listens for commands.
    for told in &said {
        let last = told.topic.rsplit('/').next().unwrap();
        assert!(["config", "state", "availability"].contains(&last), "{}", told.topic);
    }
}

#[test]
fn what_waited_while_the_process_stood_still_is_no_wish_of_now() {
    let mut bench = ready(36, house(&[]));
    bench.handle(sipliance::gateway::Input::Stood);
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(2_000);
    assert_eq!((bench.driven.len(), counts(&bench).late), (0, 1));
    bench.heard(&format!("{TREE}/relay/set/power"), "on", false);
    bench.run(1_000);
    assert_eq!((bench.driven.len(), counts(&bench).late), (1, 1));
}

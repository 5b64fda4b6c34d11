//! What Home Assistant is told over a broker, and what it may command there.

mod bench;
mod commands;
mod documents;

use serde_json::json;
use sipliance::gateway::Input;
use sipliance_driver::{Event, Failure, Why};

use bench::{Bench, Broker, HOUSE, TREE, house};

const PLUG: &str = "sipliance/home.example/relay";

#[test]
fn what_is_told_has_its_order_and_what_is_on_mqtt_is_told_by_name_only() {
    let mut bench = Bench::new(1, house(&[]));
    bench.run(1_000);
    let topics: Vec<&str> = bench.told.iter().map(|told| told.topic.as_str()).collect();
    assert!(!topics.iter().any(|topic| topic.contains("plug")), "{topics:?}");
    let of =
        |device: &str, end: &str| topics.iter().position(|topic| topic.ends_with(&format!("{device}/{end}")));
    let config = topics.iter().position(|topic| topic.ends_with("home_-example_relay/config"));
    assert!(
        config < of("relay", "state") && of("relay", "state") < of("relay", "availability"),
        "{topics:?}"
    );
    // A relay, a garage door, a doorbell and a probe: three documents each, and nothing else.
    assert_eq!(topics.len(), 12, "{topics:?}");
    assert!(bench.told.iter().all(|told| told.retained));
    // A hidden one needs its name, as one on MQTT does.
    let named = [("devices: \"*\"", "devices: [\"*\", plug, spare]")];
    let mut bench = Bench::new(1, house(&named));
    bench.run(1_000);
    assert_eq!(bench.told.len(), 18);
}

#[test]
fn a_value_that_is_not_known_is_null_and_its_age_is_told() {
    let mut bench = Bench::new(2, house(&[]));
    bench.run(1_000);
    let state = bench.last(&format!("{TREE}/relay/state"));
    assert_eq!(state, json!({"power": null, "_heard": {"power": null}}));
    assert_eq!(bench.text(&format!("{TREE}/relay/availability")), "offline");
    bench.up("relay");
    bench.read("relay", "relay", "1");
    let state = bench.last(&format!("{TREE}/relay/state"));
    assert_eq!(state["power"], json!(true));
    assert_eq!(state["_heard"]["power"], json!("2026-09-21T14:13:21Z"));
    assert_eq!(bench.text(&format!("{TREE}/relay/availability")), "online");
    // A probe that is not read any more grows old: its value is not believed for ever.
    bench.up("probe");
    bench.answer_probe("20687\n");
    bench.run(1_000);
    assert_eq!(bench.last(&format!("{TREE}/probe/state"))["temperature"], json!(20.687));
    bench.down("relay");
    assert_eq!(bench.last(&format!("{TREE}/relay/state"))["power"], json!(null));
    assert_eq!(bench.text(&format!("{TREE}/relay/availability")), "offline");
}

#[test]
fn the_newest_is_told_once_and_only_what_changed() {
    let mut bench = Bench::new(3, house(&[]));
    bench.up("relay");
    bench.run(1_000);
    bench.told.clear();
    // The broker answers nothing for a while: what happens meanwhile is told as it is then.
    bench.broker = Broker::Silent;
    for n in 0..400 {
        bench.read("relay", "relay", if n % 2 == 0 { "1" } else { "0" });
    }
    bench.read("relay", "relay", "1");
    assert!(bench.told.len() <= 8, "{}", bench.told.len());
    bench.broker = Broker::Takes;
    bench.finish_all();
    bench.run(1_000);
    assert_eq!(bench.last(&format!("{TREE}/relay/state"))["power"], json!(true));
    assert!(bench.told.len() <= 10, "{}", bench.told.len());
    assert!(
        bench
            .told
            .iter()
            .all(|told| told.topic.ends_with("relay/state") || told.topic.ends_with("availability"))
    );
    bench.told.clear();
    bench.read("relay", "relay", "1");
    bench.run(60_000);
    assert_eq!(bench.told.len(), 0, "nothing changed");
}

#[test]
fn everything_is_told_again_after_a_reconnect_and_after_a_birth() {
    let mut bench = Bench::new(4, house(&[]));
    bench.run(1_000);
    let all = bench.told.len();
    bench.told.clear();
    bench.event(HOUSE, Event::Down(Why::new("the broker is gone")));
    bench.run(5_000);
    assert_eq!(bench.told.len(), 0, "nothing is told into the void");
    assert!(bench.status().down[0].words.contains("the broker is gone"));
    bench.event(HOUSE, Event::Up);
    bench.run(1_000);
    assert_eq!(bench.told.len(), all);
    assert!(bench.status().down.is_empty());
    bench.told.clear();
    // A stored birth says nothing of now, and other words are no birth.
    bench.heard("homeassistant/status", "online", true);
    bench.heard("homeassistant/status", "offline", false);
    bench.run(20_000);
    assert_eq!(bench.told.len(), 0);
    let began = bench.ms;
    bench.heard("homeassistant/status", "online", false);
    bench.run(10_000);
    assert_eq!(bench.told.len(), all);
    let pause = bench.told[0].ms - began;
    assert!((1_000..=5_000).contains(&pause), "{pause}");
    // Births without end cost an announcement in ten seconds, and no more.
    bench.told.clear();
    for _ in 0..1_000 {
        bench.heard("homeassistant/status", "online", false);
        bench.run(60);
    }
    assert!(bench.told.len() <= 7 * all, "{}", bench.told.len());
}

#[test]
fn the_pause_after_a_birth_follows_from_the_seed() {
    let pause = |seed| {
        let mut bench = Bench::new(seed, house(&[]));
        bench.run(1_000);
        bench.told.clear();
        bench.heard("homeassistant/status", "online", false);
        bench.run(10_000);
        bench.told[0].ms
    };
    assert_eq!(pause(7), pause(7));
    let many: std::collections::BTreeSet<u64> = (0..8).map(pause).collect();
    assert!(many.len() > 5, "{many:?}");
}

#[test]
fn a_broker_without_room_is_asked_again_and_one_that_refuses_is_not() {
    let mut bench = Bench::new(5, house(&[]));
    bench.broker = Broker::Fails(Failure::Busy);
    bench.told.clear();
    bench.up_again();
    bench.run(3_500);
    assert!(bench.told.len() <= 8 * 5, "{}", bench.told.len());
    bench.broker = Broker::Takes;
    bench.run(3_000);
    assert_eq!(bench.text(&format!("{TREE}/probe/availability")), "offline");
    bench.told.clear();
    bench.broker = Broker::Fails(Failure::Refused("the access list".to_owned()));
    bench.up_again();
    bench.run(60_000);
    assert_eq!(bench.told.len(), 12, "each once");
    assert_eq!(bench.status().home_assistant[0].counts.refused, 12);
    assert_eq!(bench.notices.iter().filter(|notice| notice.contains("the access list")).count(), 1);
}

#[test]
fn a_doorbell_is_an_event_of_now_and_never_kept() {
    let mut bench = Bench::new(6, house(&[]));
    bench.up("bell");
    bench.read("bell", "button", "0");
    bench.run(5_000);
    bench.told.clear();
    let ring = |bench: &mut Bench| {
        bench.read("bell", "button", "1");
        bench.run(100);
        bench.read("bell", "button", "0");
        bench.run(5_000);
    };
    ring(&mut bench);
    let topic = format!("{TREE}/bell/event/ring");
    let rung: Vec<_> = bench.told.iter().filter(|told| told.topic == topic).collect();
    assert_eq!(rung.len(), 1);
    assert_eq!((rung[0].payload.as_str(), rung[0].retained), (r#"{"event_type":"single"}"#, false));
    // While the broker is away it is lost: whoever hears of it later would run to an empty door.
    bench.event(HOUSE, Event::Down(Why::new("gone")));
    ring(&mut bench);
    bench.told.clear();
    bench.event(HOUSE, Event::Up);
    bench.run(5_000);
    assert!(!bench.told.iter().any(|told| told.topic == topic));
    // A broker that answers nothing holds a few of them.
    bench.broker = Broker::Silent;
    (0..20).for_each(|_| ring(&mut bench));
    assert_eq!(bench.told.iter().filter(|told| told.topic == topic).count(), 8);
    assert_eq!(bench.status().home_assistant[0].counts.lost_events, 12);
}

#[test]
fn what_is_isolated_is_dead_and_says_nothing() {
    let mut bench = Bench::new(8, house(&[]));
    bench.up("relay");
    bench.read("relay", "relay", "1");
    bench.run(1_000);
    bench.isolate("relay", true);
    bench.run(1_000);
    assert_eq!(bench.text(&format!("{PLUG}/availability")), "offline");
    assert_eq!(bench.last(&format!("{PLUG}/state"))["power"], json!(null));
    bench.isolate("relay", false);
    bench.run(1_000);
    assert_eq!(bench.text(&format!("{PLUG}/availability")), "online");
    assert_eq!(bench.last(&format!("{PLUG}/state"))["power"], json!(true));
}

#[test]
fn a_reload_tells_what_is_new_and_takes_back_what_is_gone() {
    let mut bench = Bench::new(9, house(&[]));
    bench.up("bell");
    bench.run(1_000);
    bench.told.clear();
    bench.reload(house(&[("    name: Relay\n", "    name: Pump\n")]));
    bench.run(1_000);
    let changed: Vec<&str> = bench.told.iter().map(|told| told.topic.as_str()).collect();
    assert_eq!(changed, ["homeassistant/device/sipliance_home_-example_relay/config"]);
    // A property that is left out is taken back as a component.
    bench.told.clear();
    bench.reload(house(&[(
        "    profile: gpio-doorbell\n",
        "    profile: gpio-doorbell\n    properties: {pressed: false}\n",
    )]));
    bench.run(1_000);
    let config = bench.last("homeassistant/device/sipliance_home_-example_bell/config");
    assert_eq!(config["cmps"]["pressed"], json!({"platform": "binary_sensor"}));
    assert_eq!(config["cmps"]["ring"]["platform"], json!("event"));
    // An appliance that is not announced any more is gone from every topic.
    bench.told.clear();
    bench.reload(house(&[("devices: \"*\"", "devices: [bell, garage, probe]")]));
    bench.run(1_000);
    let mut gone: Vec<&str> =
        bench.told.iter().filter(|told| told.payload.is_empty()).map(|told| told.topic.as_str()).collect();
    gone.sort_unstable();
    let config = "homeassistant/device/sipliance_home_-example_relay/config";
    assert_eq!(gone, [config, &format!("{PLUG}/availability"), &format!("{PLUG}/state")]);
    // Another prefix: the description moves, and state and availability stay where they are.
    bench.told.clear();
    bench.reload(house(&[("devices: \"*\"", "prefix: ha, devices: [bell, garage, probe]")]));
    bench.run(1_000);
    let gone = bench.told.iter().filter(|told| told.payload.is_empty());
    assert!(gone.clone().all(|told| told.topic.starts_with("homeassistant/device/")), "{:#?}", bench.told);
    assert_eq!(gone.count(), 3);
    assert!(bench.last("ha/device/sipliance_home_-example_bell/config")["cmps"]["ring"].is_object());
    // And none is told any more at all: everything is taken back.
    bench.told.clear();
    bench.reload(house(&[("home_assistant: {devices: \"*\", as: hass}", "version: 3.1.1")]));
    bench.run(1_000);
    assert_eq!(bench.told.iter().filter(|told| told.payload.is_empty()).count(), 9);
    assert!(bench.told.iter().all(|told| told.payload.is_empty()));
}

#[test]
fn what_an_earlier_run_left_is_taken_back_and_nothing_else() {
    let mut bench = Bench::new(10, house(&[]));
    bench.run(1_000);
    bench.told.clear();
    bench.heard(&format!("{TREE}/relay/availability"), "online", true);
    bench.heard(&format!("{TREE}/old-lamp/availability"), "online", false);
    bench.heard("sipliance/other.example/lamp/availability", "online", true);
    bench.heard(&format!("{TREE}/Bad id/availability"), "online", true);
    bench.run(1_000);
    assert_eq!(bench.told.len(), 0);
    bench.heard(&format!("{TREE}/old-lamp/availability"), "online", true);
    bench.run(1_000);
    let topics: Vec<&str> = bench.told.iter().map(|told| told.topic.as_str()).collect();
    let base = format!("{TREE}/old-lamp");
    let config = "homeassistant/device/sipliance_home_-example_old-lamp/config";
    assert_eq!(topics, [config, &format!("{base}/state"), &format!("{base}/availability")]);
    assert!(bench.told.iter().all(|told| told.payload.is_empty() && told.retained));
    // However much was left, what waits is bounded.
    bench.broker = Broker::Silent;
    for n in 0..2_000 {
        bench.heard(&format!("{TREE}/old-{n}/availability"), "online", true);
    }
    assert!(bench.status().home_assistant[0].waiting <= 1_024 + 8);
}

#[test]
fn a_clean_stop_leaves_everything_offline() {
    let mut bench = Bench::new(11, house(&[]));
    bench.up("relay");
    bench.read("relay", "relay", "1");
    bench.run(1_000);
    assert_eq!(bench.text(&format!("{PLUG}/availability")), "online");
    bench.broker = Broker::Silent;
    bench.handle(Input::Shutdown);
    assert!(!bench.gateway.is_quiet(), "the broker has not got it yet");
    bench.broker = Broker::Takes;
    bench.finish_all();
    bench.run(1_000);
    assert!(bench.gateway.is_quiet());
    assert_eq!(bench.text(&format!("{PLUG}/availability")), "offline");
}

#[test]
fn an_appliance_that_hears_the_gateway_itself_is_a_fault_of_the_home_file() {
    let text =
        bench::HOME.replace("params: {topic: plug1}", "params: {id: \"sipliance/home.example/relay\"}");
    let text = text.replace("profile: tasmota-plug", "profile: shelly-gen2-relay");
    let words = bench::faults(&text);
    assert!(words.contains("lies where the gateway itself speaks"), "{words}");
}

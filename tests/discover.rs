//! Discovery: messages in, a fragment of a home file and profiles out. `UPDATE_GOLDEN=1 cargo test --test
//! discover` writes the expected texts anew; read the diff.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use proptest::prelude::*;
use sipliance::config::fault::Faults;
use sipliance::config::home::{Profiles, from_text};
use sipliance::device::fixture;
use sipliance::device::profile::{Profile, Target};
use sipliance::discover::{
    About, Broker, HASS_PREFIX, Heard, House, MOST_DEVICES, MOST_TOPICS, Proposals, filters, propose,
};
use sipliance::timer::Now;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/discover")
}

/// Read once: it takes a while in a debug build.
static SHIPPED: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| Profiles::shipped().decoded());
static HOUSE: LazyLock<House> = LazyLock::new(house);

fn shipped() -> &'static [Arc<Profile>] {
    &SHIPPED
}

/// A house with a coffee machine, and devices where they are given.
fn home(devices: &str) -> String {
    format!(
        "format: 1\nhouse: {{user: home, domain: home.example}}\nmqtt: {{main: {{host: 127.0.0.1}}}}\n\
         secrets: s.yaml\nusers: {{nursery: {{password: {{secret: a}}}}}}\naccess: [{{who: nursery, see: \"*\"}}]\n\
         devices:\n  coffee: {{profile: tasmota-plug, room: Hall plug, params: {{topic: coffee1}}}}\n{devices}"
    )
}

fn house() -> House {
    let (config, reports) = from_text(Path::new("home.yaml"), &home(""), SECRETS, &Profiles::shipped());
    House::of(&config.unwrap_or_else(|| panic!("{reports:?}")), 1)
}

const SECRETS: &str = "a: \"a long enough password\"\n";

fn heard(messages: &str) -> Heard {
    let mut heard = Heard::new(shipped());
    for line in messages.lines().filter(|line| !line.starts_with('#')) {
        let (topic, payload) = line.split_once(" = ").unwrap();
        heard.hear(topic, payload.as_bytes());
    }
    heard
}

fn proposed(heard: Heard) -> Proposals {
    let broker = Broker { name: Some("main".to_owned()), heard };
    propose(shipped(), &HOUSE, &[broker], HASS_PREFIX)
}

fn text(proposals: &Proposals) -> String {
    let listened = "broker main (127.0.0.1:1883) in 10 s".to_owned();
    proposals.text(&About { listened, home: Some("home.yaml".to_owned()), folder: None })
}

/// What `sipliance check` would say: nothing. Returns the profiles.
fn sound(proposals: &Proposals) -> Vec<Profile> {
    let mut all = Profiles::shipped();
    let mut made = Vec::new();
    for generated in &proposals.generated {
        let mut faults = Faults::default();
        let profile = fixture::read(&generated.text, &mut faults);
        assert!(faults.is_empty(), "{}\n{:#?}", generated.text, faults.sorted());
        let profile = profile.unwrap();
        assert!(!profile.cases.is_empty(), "{}", generated.text);
        let now = Now { mono: Instant::now(), wall_ms: 1_770_000_000_000 };
        for result in fixture::run(&profile, now) {
            assert_eq!(result.outcome, Ok(()), "{}: {}\n{}", generated.id, result.title, generated.text);
        }
        all.add(&generated.id, format!("{}.yaml", generated.id), generated.text.clone());
        made.push(profile);
    }
    let fragment = text(proposals);
    let fragment = fragment.split("---\n").next().unwrap();
    let devices = fragment.split("devices:\n").nth(1).unwrap_or_default();
    let (config, reports) = from_text(Path::new("home.yaml"), &home(devices), SECRETS, &all);
    assert!(config.is_some() && reports.is_empty(), "{reports:#?}\n{fragment}");
    assert_eq!(config.unwrap().devices.len(), 1 + proposals.count());
    made
}

fn golden(name: &str) -> (Proposals, Vec<Profile>) {
    let messages = fs::read_to_string(folder().join(format!("{name}.messages"))).unwrap();
    let proposals = proposed(heard(&messages));
    let made = sound(&proposals);
    let text = text(&proposals);
    let path = folder().join(format!("{name}.yaml"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(text == expected, "{name}.yaml differs:\n{text}");
    (proposals, made)
}

// Proves: REQ-4.4.1
#[test]
fn tasmota_devices_are_told_apart_by_what_they_say_of_themselves() {
    let (proposals, _) = golden("tasmota");
    assert!(proposals.known.contains("coffee"), "what the house has is not proposed again");
    assert!(proposals.generated.is_empty());
}

#[test]
fn the_documented_example_is_what_is_printed() {
    let hall = r#"{"dn":"Hall plug","t":"hall-plug","ft":"%prefix%/%topic%/","rl":[1,0]}"#;
    let roof = r#"{"dev":{"ids":["roof"],"name":"Roof weather"},"cmps":{"t":{"p":"sensor","stat_t":"roof/t","unit_of_meas":"°C"}}}"#;
    let proposals = proposed(heard(&format!(
        "tele/coffee1/LWT = Online\ntasmota/discovery/A0/config = {hall}\n\
         tele/hall-plug/SENSOR = {{\"ENERGY\":{{\"Power\":3}}}}\nhomeassistant/device/0AFFD2/config = {roof}"
    )));
    let told = proposals.text(&About {
        listened: "broker main (192.168.1.10:1883) in 10 s".to_owned(),
        home: Some("home.yaml".to_owned()),
        folder: Some("profiles".to_owned()),
    });
    let document = include_str!("../docs/home.md");
    // The document's house has no user of the plug's name.
    let told = told.replace("hall-plug-2:", "hall-plug:");
    assert!(document.contains(&told), "{told}");
}

#[test]
fn shellies_are_told_apart_by_model_topic_and_id() {
    assert!(golden("shelly").0.generated.is_empty());
}

#[test]
fn zigbee_devices_are_told_apart_by_what_they_expose() {
    assert!(golden("zigbee2mqtt").0.generated.is_empty());
}

// Proves: REQ-4.4.1
#[test]
fn a_device_of_home_assistants_discovery_becomes_a_profile() {
    let (_, made) = golden("hass");
    let porch = made.iter().find(|profile| &*profile.name == "Porch").unwrap();
    let sensitive = |id: &str| {
        let action = porch.example.actions.iter().find(|action| &*action.id == id);
        let property = porch.example.properties.iter().find(|property| &*property.id == id);
        action.map(|action| action.sensitive).or(property.map(|property| property.sensitive)).unwrap()
    };
    for id in ["open", "close", "stop", "lock", "unlock", "position", "garage-relay"] {
        assert!(sensitive(id), "{id} lets somebody in");
    }
    assert!(!sensitive("light"));
}

#[test]
fn a_homie_device_becomes_a_profile_and_two_of_a_kind_share_one() {
    let (proposals, made) = golden("homie");
    assert_eq!((made.len(), proposals.count()), (2, 4));
}

/// Nothing that a made profile says by itself can act: it has no query at all.
#[test]
fn made_profiles_ask_nothing() {
    for name in ["hass", "homie"] {
        for profile in golden(name).1 {
            let hello = match &profile.example.link {
                sipliance::device::profile::LinkNeeds::Mqtt { hello } => hello.len(),
                other => panic!("{other:?}"),
            };
            assert_eq!(hello, 0);
            for write in profile.example.properties.iter().filter_map(|property| property.write.as_ref()) {
                assert!(matches!(write.target, Target::Topic(..) | Target::Json(..)));
            }
        }
    }
}

#[test]
fn every_mqtt_profile_has_a_sign_and_every_sign_a_filter() {
    let all = filters(shipped(), HASS_PREFIX);
    for profile in shipped() {
        let mqtt = profile.example.driver.word() == "mqtt";
        assert_eq!(mqtt, !profile.discover.is_empty(), "{}", profile.id);
        assert!(profile.discover.iter().all(|sign| all.contains(&sign.filter())), "{}", profile.id);
    }
    assert!(
        all.contains(&"homeassistant/+/+/config".to_owned())
            && !all.iter().any(|filter| filter.contains('<'))
    );
}

#[test]
fn the_order_of_messages_does_not_matter() {
    for name in ["tasmota", "shelly", "zigbee2mqtt", "hass", "homie"] {
        let messages = fs::read_to_string(folder().join(format!("{name}.messages"))).unwrap();
        let mut lines: Vec<&str> = messages.lines().collect();
        let forwards = text(&proposed(heard(&messages)));
        lines.reverse();
        assert_eq!(text(&proposed(heard(&lines.join("\n")))), forwards, "{name}");
    }
}

#[test]
fn what_is_beyond_a_bound_is_counted_and_told() {
    let mut heard = Heard::new(shipped());
    for n in 0..MOST_TOPICS + 7 {
        heard.hear(&format!("tele/p{n:05}/LWT"), b"Online");
    }
    let proposals = proposed(heard);
    assert_eq!(proposals.count(), MOST_DEVICES);
    let told = text(&proposals);
    assert!(
        told.contains("7 beyond what is remembered") && told.contains("devices beyond 500"),
        "{}",
        &told[..400]
    );

    let mut heard = Heard::new(shipped());
    let long = format!("\"{}\"", " ".repeat(2 * 1024 * 1024));
    heard.hear("homie/5/a/$description", long.as_bytes());
    heard.hear("tele/gone/LWT", b"Online");
    heard.hear("tele/gone/LWT", b"");
    heard.hear("tele/x/SENSOR", b"\xff\xfe");
    let proposals = proposed(heard);
    assert_eq!(proposals.count(), 0);
    assert!(
        text(&proposals).contains("Passed over: 1 longer than 1 MB, 1 not UTF-8."),
        "{}",
        text(&proposals)
    );
}

/// Topics of every kind that is looked at, with parts that nobody expects.
fn topics() -> impl Strategy<Value = String> {
    let part = prop_oneof!["[a-z0-9]{1,6}", "\\PC{0,8}", Just("<a>".to_owned()), Just("+".to_owned())];
    (part.clone(), part, 0..8usize).prop_map(|(a, b, which)| match which {
        0 => format!("homeassistant/sensor/{a}/config"),
        1 => format!("homeassistant/{b}/{a}/config"),
        2 => format!("homeassistant/device/{a}/config"),
        3 => format!("{a}/5/{b}/$description"),
        4 => format!("{a}/bridge/devices"),
        5 => format!("tasmota/discovery/{a}/config"),
        6 => format!("shellies/{a}/announce"),
        _ => format!("{a}/status/switch:{b}"),
    })
}

/// A good payload of one of the files, damaged in one place, or any text.
fn payloads() -> impl Strategy<Value = Vec<u8>> {
    let good: Vec<String> = ["tasmota", "shelly", "zigbee2mqtt", "hass", "homie"]
        .iter()
        .flat_map(|name| {
            let text = fs::read_to_string(folder().join(format!("{name}.messages"))).unwrap();
            text.lines().filter_map(|line| Some(line.split_once(" = ")?.1.to_owned())).collect::<Vec<_>>()
        })
        .collect();
    let word = "\\PC{0,6}|[\"<>#+/:{}\\[\\]]{1,3}|[a-z]{0,6}";
    let damaged = (0..good.len(), any::<prop::sample::Index>(), word).prop_map(move |(which, at, word)| {
        let mut text: Vec<char> = good[which].chars().collect();
        let at = at.index(text.len().max(1));
        text.splice(at..(at + 2).min(text.len()), word.chars());
        text.into_iter().collect::<String>().into_bytes()
    });
    prop_oneof![6 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..60)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a broker says: no panic, and what comes out passes the check.
    #[test]
    fn any_message_is_survived_and_what_comes_of_it_is_sound(
        messages in prop::collection::vec((topics(), payloads()), 1..5),
    ) {
        let mut heard = Heard::new(shipped());
        for (topic, payload) in &messages {
            heard.hear(topic, payload);
        }
        let proposals = proposed(heard);
        for line in text(&proposals).lines() {
            prop_assert!(!line.chars().any(|c| c.is_control()), "{line:?}");
        }
        sound(&proposals);
    }
}

//! The descriptions of shipped profiles, each beside its golden text.
//! `UPDATE_GOLDEN=1 cargo test --test world hass` writes the texts anew; read the diff.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::bench::{Bench, parse};

const HOME: &str = r#"
format: 1
house: {user: home, domain: home.example}
secrets: secrets.yaml
users:
  hass: {password: {secret: hass}}
mqtt:
  main:
    host: 192.0.2.10
    home_assistant:
      devices: [relay, board, garage, bell, probe, meter, blind, valve, bulb, amp, motion, ana]
      AS
serial: {board: {port: /dev/serial/by-id/board}, amp: {port: /dev/serial/by-id/amp}, bus: {port: /dev/serial/by-id/bus}}
peers:
  mum: {server: mum.example, user: anas-house, password: {secret: anna}}
devices:
  relay: {name: Relay, room: Cellar, profile: gpio-relay, params: {pin: GPIO5}}
  board: {name: Lamp at the door, kind: lamp, profile: serial-relay-board, port: board}
  garage: {name: Garage door, profile: gpio-garage-door, params: {relay: GPIO6, reed: GPIO13}}
  bell: {name: Doorbell, profile: gpio-doorbell, params: {pin: GPIO26}}
  probe: {name: Probe, profile: w1-ds18b20, params: {id: 28-01193a44fa5c}}
  meter: {name: Meter, profile: eastron-sdm120, port: bus}
  blind: {name: Blind, profile: shelly-gen2-cover, params: {id: shellyplus2pm-A8032A}}
  valve: {name: Valve, profile: z2m-trv, params: {name: study-trv}}
  bulb: {name: Bulb, profile: tasmota-bulb, params: {topic: bulb}}
  amp: {name: Amplifier, profile: serial-av-amp, port: amp}
  motion: {name: Motion, profile: gpio-pir, params: {pin: GPIO9}}
  ana: {name: Ana, profile: remote-person, remote: "sip:ana@mum.example", via: mum}
access:
  - who: hass
    see: "*"
    do: ["*", garage.open]
"#;

fn golden(name: &str, document: &Value) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/corpus/hass/{name}.json"));
    let text = serde_json::to_string_pretty(document).unwrap() + "\n";
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        return Ok(());
    }
    match fs::read_to_string(&path) {
        Ok(known) if known == text => Ok(()),
        Ok(_) => Err(format!("{name} differs:\n{text}")),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

#[test]
fn every_kind_of_appliance_is_described_as_it_is() {
    for (line, folder) in [("as: hass", "commands"), ("prefix: ha", "state")] {
        let mut bench = Bench::new(40, parse(&HOME.replace("AS", line)));
        bench.run(1_000);
        let mut wrong = Vec::new();
        let configs: Vec<_> =
            bench.told.iter().filter(|told| told.topic.ends_with("/config")).cloned().collect();
        assert_eq!(configs.len(), 12);
        for told in configs {
            let document: Value = serde_json::from_str(&told.payload).unwrap();
            rules(&document, &told.topic);
            let (_, device) = told.topic.trim_end_matches("/config").rsplit_once('_').unwrap();
            wrong.extend(golden(&format!("{folder}-{device}"), &document).err());
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// What Home Assistant insists on.
fn rules(document: &Value, topic: &str) {
    assert_eq!(document["avty_mode"], "all", "{topic}");
    assert_eq!(document["avty"].as_array().unwrap().len(), 2, "{topic}");
    assert!(document["o"]["name"].is_string() && document["dev"]["identifiers"][0].is_string(), "{topic}");
    let parts = document["cmps"].as_object().unwrap();
    assert!(!parts.is_empty(), "{topic}");
    let object_id = topic.split('/').nth(2).unwrap();
    assert!(object_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')), "{topic}");
    let mut ids = std::collections::BTreeSet::new();
    for (id, part) in parts {
        let platform = part["platform"].as_str().unwrap();
        assert!(ids.insert(part["unique_id"].as_str().unwrap().to_owned()), "{topic} {id}");
        let commands = part.get("command_topic").and_then(Value::as_str);
        let listens =
            matches!(platform, "switch" | "light" | "number" | "select" | "text" | "button" | "cover");
        assert_eq!(commands.is_some(), listens, "{topic} {id}");
        // The appliance's own topic is never where it is commanded.
        for key in ["state_topic", "json_attributes_topic", "position_topic"] {
            assert_ne!(part.get(key).and_then(Value::as_str), commands.or(Some("")), "{topic} {id}");
        }
        if platform == "sensor" && part.get("device_class") == Some(&Value::from("energy")) {
            assert_eq!(part["state_class"], "total_increasing", "{topic} {id}");
        }
        if matches!(platform, "binary_sensor" | "sensor") {
            assert_ne!(part.get("entity_category"), Some(&Value::from("config")), "{topic} {id}");
        }
    }
}

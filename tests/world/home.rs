//! The house of the tests: one metered plug and one lamp on a broker, three people.

use std::path::Path;
use std::sync::Arc;

use sipliance::config::Config;
use sipliance::config::home::{Profiles, from_text};

pub const PLUG: &str = r#"
format: 1
profile: plug
name: Plug with a meter
driver: mqtt
params:
  topic: {about: Topic of the plug, example: plug1}
online: {topic: tele/<topic>/LWT, map: {Online: online, Offline: offline}}
properties:
  power:
    type: bool
    name: Power
    read: {topic: stat/<topic>/POWER, map: {"ON": true, "OFF": false}}
    write: {topic: cmnd/<topic>/POWER}
    confirm: 3s
  watts:
    type: float
    name: Power draw
    unit: W
    read: {topic: tele/<topic>/SENSOR, json: /ENERGY/Power}
events:
  button:
    name: Button
    class: doorbell
    values: [short, long]
    from: {topic: stat/<topic>/BUTTON}
phone: {lamp: power, press: toggle power}
tests:
  - mqtt: {topic: stat/plug1/POWER, payload: "ON"}
    expect: {power: true}
"#;

const HOME: &str = r#"
format: 1
house: {user: home, domain: home.example, title: Our house}
listen: [udp:192.0.2.1:5060, tcp:192.0.2.1:5060]
digest: {md5: true, control_nonce_age: 30s}
secrets: secrets.yaml
users:
  anna: {password: {secret: anna}}
  ben: {password: {secret: ben}}
  carla: {password: {secret: carla}}
mqtt:
  main: {host: 192.0.2.10}
@UPSTREAM@
devices:
  plug:
    name: Plug
    room: Kitchen
    profile: plug
    params: {topic: plug}
    numbers: ["21", {number: "22", press: tell}, {number: "23", press: "on"}, {number: "24", press: "off"}]
  lamp:
    name: Lamp
    room: Bedroom
    profile: plug
    params: {topic: lamp}
alerts: {message: [anna]}
access:
  - who: anna
    see: "*"
    do: "*"
  - who: ben
    see: [plug]
"#;

const UPSTREAM: &str = r#"
upstream:
  provider:
    server: provider.example:5060
    domain: provider.example
    transport: @TRANSPORT@
    expires: 600s
    trust_asserted: true
    accounts:
      - {user: "100", password: {secret: provider}}
      - {user: "101", password: {secret: provider}, device: plug}
"#;

const SECRETS: &str = "anna: correct horse\nben: battery staple\ncarla: tall green door\nprovider: a provider word\nmum: over the garden fence\n\
    names: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n";

/// The password of a user of the house.
pub fn password(user: &str) -> &'static str {
    match user {
        "anna" => "correct horse",
        "ben" => "battery staple",
        _ => "tall green door",
    }
}

/// The house as a configuration; `upstream` names the transport to the provider, where there is one.
pub fn config(upstream: Option<&str>) -> Arc<Config> {
    let section = upstream.map(|transport| UPSTREAM.replace("@TRANSPORT@", transport)).unwrap_or_default();
    parse(&HOME.replace("@UPSTREAM@", &section))
}

/// A house with a provider and one change.
pub fn with_upstream(transport: &str, from: &str, to: &str) -> Arc<Config> {
    let text = HOME.replace("@UPSTREAM@", &UPSTREAM.replace("@TRANSPORT@", transport));
    assert!(text.contains(from), "the home file has no {from:?}");
    parse(&text.replace(from, to))
}

/// A house with one change: `from` in its text becomes `to`.
#[allow(dead_code, reason = "not every test changes the house")]
pub fn changed(from: &str, to: &str) -> Arc<Config> {
    let text = HOME.replace("@UPSTREAM@", "");
    assert!(text.contains(from), "the home file has no {from:?}");
    let text = text.replace(from, to);
    // Rules may name only what there is.
    let text = if text.contains("  plug:") { text } else { text.replace("see: [plug]", "see: [lamp]") };
    parse(&text)
}

/// A house with several changes.
pub fn edited(changes: &[(&str, &str)]) -> Arc<Config> {
    edit(HOME.replace("@UPSTREAM@", ""), changes)
}

/// A house with a provider and several changes.
pub fn edited_with_upstream(transport: &str, changes: &[(&str, &str)]) -> Arc<Config> {
    edit(HOME.replace("@UPSTREAM@", &UPSTREAM.replace("@TRANSPORT@", transport)), changes)
}

fn edit(mut text: String, changes: &[(&str, &str)]) -> Arc<Config> {
    for (from, to) in changes {
        assert!(text.contains(from), "the home file has no {from:?}");
        text = text.replacen(from, to, 1);
    }
    parse(&text)
}

/// A house of this text, with the profile `plug`.
pub fn parse(text: &str) -> Arc<Config> {
    with_profile(text, PLUG)
}

/// The house, where each button is that of an alarm.
pub fn alarmed() -> Arc<Config> {
    with_profile(&HOME.replace("@UPSTREAM@", ""), &PLUG.replace("class: doorbell", "class: alarm"))
}

fn with_profile(text: &str, profile: &str) -> Arc<Config> {
    let mut profiles = Profiles::new();
    profiles.add("plug", "plug.yaml", profile);
    let (config, reports) = from_text(Path::new("home.yaml"), text, SECRETS, &profiles);
    Arc::new(config.unwrap_or_else(|| panic!("{reports:#?}")))
}

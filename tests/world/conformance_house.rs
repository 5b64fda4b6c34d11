//! What the requirements of 2000 ask of a home: whatever its appliances speak, from outside they look alike.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sipliance::config::home::{Profiles, from_text};
use sipliance::config::{Config, LinkId};
use sipliance::gateway::Input;
use sipliance_driver::{Channel, Event};

use super::world::World;

const HOME: &str = r#"
format: 1
house: {user: home, domain: home.example, title: Our house}
listen: [udp:192.0.2.1:5060]
secrets: secrets.yaml
users:
  anna: {password: {secret: anna}}
mqtt:
  main: {host: 192.0.2.10}
serial:
  board: {port: /dev/ttyUSB0}
modbus:
  cabinet: {host: 192.0.2.11}
devices:
  broker: {name: Lamp, profile: esphome-switch, params: {prefix: porch, switch: lamp}}
  pin: {name: Lamp, profile: gpio-relay, params: {pin: GPIO17}}
  cable: {name: Lamp, profile: serial-relay-board, port: board}
  coil: {name: Lamp, profile: modbus-relay, params: {unit: 7, relay: 2}, port: cabinet}
access:
  - who: anna
    see: "*"
    do: "*"
"#;

fn config() -> Arc<Config> {
    let secrets = "anna: correct horse\n";
    let (config, reports) = from_text(Path::new("home.yaml"), HOME, secrets, &Profiles::shipped());
    Arc::new(config.unwrap_or_else(|| panic!("{reports:#?}")))
}

/// The same news by four links: the switch is on, or off.
fn hear(world: &mut World, links: &[LinkId], on: bool) {
    let pick = |yes: &'static [u8], no: &'static [u8]| Bytes::from_static(if on { yes } else { no });
    let news = [
        ("porch/switch/lamp/state", pick(b"ON", b"OFF")),
        ("relay", pick(b"1", b"0")),
        ("port", pick(b"CH1: ON ", b"CH1: OFF")),
        ("7/coil/2/1", pick(&[1], &[0])),
    ];
    for (link, (channel, payload)) in links.iter().zip(news) {
        let event = Event::Read { channel: Channel::new(channel), payload, retained: false };
        world.handle(Input::Driver { link: *link, event });
    }
}

/// Proves: REQ-4.1.2, REQ-4.2.1, REQ-5.1
#[test]
fn four_kinds_of_link_are_one_kind_of_lamp() {
    let config = config();
    let names: Vec<String> = config.devices.iter().map(|device| device.id.clone()).collect();
    let links: Vec<LinkId> = config.devices.iter().map(|device| device.link).collect();
    let mut world = World::with(951, config);
    for link in &links {
        world.handle(Input::Driver { link: *link, event: Event::Up });
    }
    hear(&mut world, &links, false);
    world.run(1_000);
    let anna = world.phone("anna");
    for name in &names {
        for event in ["appliance", "presence", "dialog"] {
            let op = world.at(anna, |phone, now| phone.subscribe(name, event, 600, now));
            world.run(300);
            assert_eq!(world.phones[anna].ops[op].status(), 200, "sip:{name}@home.example {event}");
        }
    }
    for (on, lit) in [(false, "terminated"), (true, "confirmed")] {
        hear(&mut world, &links, on);
        world.run(3_000);
        let seen = |nth: usize| -> Vec<String> {
            let subs = &world.phones[anna].subs[nth * 3..nth * 3 + 3];
            let body = |sub: &super::phone::Sub| sub.notifies.last().unwrap().body.clone();
            subs.iter().map(|sub| alike(&body(sub), &names[nth])).collect()
        };
        let first = seen(0);
        assert!(first[0].contains(&format!(r#""n":"power","vb":{on}"#)), "{first:#?}");
        assert!(first[2].contains(&format!("<state>{lit}</state>")), "{first:#?}");
        for nth in 1..names.len() {
            assert_eq!(seen(nth), first, "{} and {}", names[nth], names[0]);
        }
    }
}

/// Proves: IM-6
#[test]
fn no_text_is_longer_than_a_datagram_may_be() {
    let mut text = HOME.replace("devices:\n", "  many: {host: 192.0.2.12}\ndevices:\n");
    let meters: String = (1..40)
        .map(|unit| format!("  meter{unit}: {{name: Meter with a rather long name {unit}, profile: eastron-sdm630, params: {{unit: {unit}}}, port: many}}\n"))
        .collect();
    text = text.replace("access:\n", &format!("{meters}access:\n"));
    let secrets = "anna: correct horse\n";
    let (config, reports) = from_text(Path::new("home.yaml"), &text, secrets, &Profiles::shipped());
    let mut world = World::with(952, Arc::new(config.unwrap_or_else(|| panic!("{reports:#?}"))));
    let anna = world.phone("anna");
    for (name, words) in
        [("meter1", "help"), ("meter1", "status"), ("home", "help"), ("home", "status"), ("home", "list")]
    {
        world.at(anna, |phone, now| phone.message(name, words, now));
        world.run(1_000);
    }
    world.at(anna, |phone, now| phone.message("meter1", &"nonsense ".repeat(100), now));
    world.run(1_000);
    let sent = world.sent(sipliance::sip::wire::Method::Message);
    assert_eq!(sent.len(), 6);
    for (_, bytes) in sent {
        assert!(bytes.len() <= 1300, "{} bytes: {}", bytes.len(), String::from_utf8_lossy(&bytes));
    }
}

/// A document without what tells one appliance from another: its name, its times, its count.
fn alike(body: &str, name: &str) -> String {
    let mut text = body.replace(name, "NAME");
    for mark in ["\"bt\":", "\"t\":", "<timestamp>", " version=\"", "\"bver\":"] {
        while let Some(at) = text.find(mark) {
            let end = text[at + mark.len()..].find([',', '<', '"', '}']).unwrap_or(0);
            text.replace_range(at..at + mark.len() + end, "");
        }
    }
    text
}

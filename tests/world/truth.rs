//! Device, link and the age of a value are three facts: in every state of them, what is shown in each
//! place. `tests/world/truth.txt` is the table; a change of it is a change of what people are told.

use std::fmt::Write as _;
use std::sync::Arc;

use sipliance::config::home::{Profiles, from_text};
use sipliance::config::{Config, LinkId};
use sipliance::gateway::Input;
use sipliance_driver::{Event, Why};

use super::plug::Plug;
use super::world::{Seen, World};

const GATE: &str = r#"
format: 1
profile: gate
name: A gate
driver: mqtt
online: {topic: g/LWT, map: {Online: online, Offline: offline, Sleep: asleep}}
properties:
  power:
    type: bool
    name: Power
    read: {topic: g/power, map: {"ON": true, "OFF": false}}
    write: {topic: g/set}
    @STALE@
  heat: {type: float, name: Heat, unit: °C, read: {topic: g/heat}, stale_after: 10m}
actions:
  open: {name: Open, do: [{send: {topic: g/open, payload: "1"}}], only_if: {power: true}}
phone: {lamp: power, press: toggle power}
tests:
  - mqtt: {topic: g/power, payload: "ON"}
    expect: {power: true}
"#;

const HOME: &str = r#"
format: 1
house: {user: home, domain: home.example, title: Our house}
listen: [udp:192.0.2.1:5060]
secrets: secrets.yaml
users: {anna: {password: {secret: anna}}}
mqtt: {main: {host: 192.0.2.10}}
devices:
  gate: {name: Gate, room: Yard, profile: gate, numbers: ["21", {number: "22", press: tell}]}
access: [{who: anna, see: "*", do: "*"}]
"#;

fn house(stale: bool) -> Arc<Config> {
    let stale = if stale { "stale_after: 10m" } else { "confirm: 3s" };
    let mut profiles = Profiles::new();
    profiles.add("gate", "gate.yaml", GATE.replace("@STALE@", stale));
    let (config, reports) =
        from_text(std::path::Path::new("home.yaml"), HOME, "anna: correct horse\n", &profiles);
    Arc::new(config.unwrap_or_else(|| panic!("{reports:#?}")))
}

/// What the world is made into.
fn state(name: &str) -> World {
    let mut world = World::with(1, house(name != "a kept copy of no set age"));
    let kept = |world: &mut World, channel: &str, payload: &str| {
        let event = Plug::read(channel, payload, true);
        world.handle(Input::Driver { link: LinkId(0), event });
    };
    world.report("g/LWT", "Online");
    let live = |world: &mut World| {
        world.report("g/power", "ON");
        world.report("g/heat", "21.5");
    };
    match name {
        "fresh" => live(&mut world),
        "never heard" => {}
        "a kept copy of no set age" | "a kept copy that grows old" => {
            kept(&mut world, "g/power", "ON");
            kept(&mut world, "g/heat", "21.5");
        }
        "old" => {
            live(&mut world);
            world.run(11 * 60_000);
        }
        "offline" => {
            live(&mut world);
            world.report("g/LWT", "Offline");
        }
        "asleep" => {
            live(&mut world);
            world.report("g/LWT", "Sleep");
        }
        "link down" => {
            live(&mut world);
            let event = Event::Down(Why::new("the broker is gone"));
            world.handle(Input::Driver { link: LinkId(0), event });
        }
        other => panic!("{other}"),
    }
    world.run(5_000);
    world
}

const STATES: [&str; 8] = [
    "fresh",
    "old",
    "never heard",
    "a kept copy of no set age",
    "a kept copy that grows old",
    "offline",
    "asleep",
    "link down",
];

/// One place to look at: its name, and what stands there.
fn places(world: &mut World) -> Vec<(&'static str, String)> {
    let anna = world.phone("anna");
    let mut told = Vec::new();
    let forms: [(&str, &str, &str, Option<&'static str>); 9] = [
        ("SenML", "gate", "appliance", None),
        ("text", "gate", "appliance", Some("text/plain")),
        ("DMP", "gate", "appliance", Some("application/dmp")),
        ("PIDF", "gate", "presence", None),
        ("LPIDF", "gate", "presence", Some("text/lpidf")),
        ("the key", "gate", "dialog", None),
        ("the room's key", "room.yard", "dialog", None),
        ("the room", "room.yard", "presence", None),
        (
            "the list of all",
            "all",
            "appliance",
            Some("multipart/related, application/rlmi+xml, application/senml+json"),
        ),
    ];
    for (place, target, event, accept) in forms {
        let sub = world.phones[anna].subs.len();
        world.phones[anna].extra = "Supported: eventlist\r\n".to_owned();
        world.at(anna, |phone, now| phone.subscribe_as(target, event, accept, 600, now));
        world.run(300);
        let body = world.phones[anna].subs[sub].notifies.last().map(|notify| notify.body.clone());
        told.push((place, body.unwrap_or_else(|| "no NOTIFY".to_owned())));
    }
    world.phones[anna].extra.clear();
    for words in ["status", "toggle", "open"] {
        let (place, before) = (words, world.phones[anna].messages.len());
        let op = world.at(anna, |phone, now| phone.message("gate", words, now));
        world.run(9_000);
        let status = world.phones[anna].ops[op].status();
        let reply = world.phones[anna].messages.get(before).map(|(_, text)| text.clone()).unwrap_or_default();
        let reason = world.phones[anna].ops[op].finals.last().map(|(_, _, reason, _)| reason.clone());
        told.push((place, format!("{status} {} {reply}", reason.unwrap_or_default())));
    }
    let op = world.at(anna, |phone, now| phone.invite("22", now));
    world.run(1_000);
    let answer = world.phones[anna].ops[op].finals.last().cloned();
    told.push((
        "a call to its number",
        answer.map(|(_, status, reason, _)| format!("{status} {reason}")).unwrap_or_default(),
    ));
    let status = world.gateway.status(world.time()).devices.remove(0);
    let mut text = format!("{} link {} {}", status.health, status.link_up, status.summary);
    for (label, value) in &status.details {
        let _ = write!(text, "; {label}: {value}");
    }
    told.push(("sipliance status", text));
    told
}

/// Without what differs from run to run: numbers, tags, times of the wall clock.
fn plain(text: &str) -> String {
    let mut text = text.replace("\r\n", "\n");
    for (from, to) in [
        (r#""bt":[0-9.]+"#, r#""bt":T"#),
        (r#""t":-?[0-9.]+"#, r#""t":-t"#),
        (r"<timestamp>[^<]*</timestamp>", "<timestamp>T</timestamp>"),
        (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "T"),
        (r"(?i)boundary=[^\s;]+", "boundary=B"),
        (r"(?m)^--[0-9a-zA-Z]{8,}", "--B"),
        (r"(\d+) (s|min)( ago|,|\)|$|;| for)", "N $2$3"),
        (r"for (\d+) (s|min)", "for N $2"),
    ] {
        text = regex::Regex::new(from).unwrap().replace_all(&text, to).into_owned();
    }
    text.trim().to_owned()
}

fn table() -> String {
    let mut out = String::from(
        "# What is shown in which place, made by `UPDATE_DOCS=1 cargo test --test world truth`.\n",
    );
    let mut shown: Vec<(&str, Vec<(&str, String)>)> = Vec::new();
    for name in STATES {
        for (place, text) in places(&mut state(name)) {
            match shown.iter_mut().find(|(known, _)| *known == place) {
                Some((_, cells)) => cells.push((name, plain(&text))),
                None => shown.push((place, vec![(name, plain(&text))])),
            }
        }
    }
    for (place, cells) in shown {
        let _ = writeln!(out, "\n## {place}");
        for (name, text) in cells {
            let text = text.replace('\n', "\n    ");
            let _ = writeln!(out, "\n{name}:\n    {text}");
        }
    }
    out
}

#[test]
fn every_place_says_what_is_known_and_no_more() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/world/truth.txt");
    let table = table();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    for (mine, theirs) in table.lines().zip(known.lines()) {
        assert_eq!(mine, theirs, "another thing is shown than {}", path.display());
    }
    assert_eq!(table.lines().count(), known.lines().count());
}

/// What no state but the fresh one may do, whatever the table says.
#[test]
fn what_is_not_certain_lights_nothing_and_opens_nothing() {
    for name in STATES {
        let mut world = state(name);
        let told: std::collections::HashMap<_, _> = places(&mut world).into_iter().collect();
        let certain = name == "fresh";
        let believed = ["fresh", "asleep", "a kept copy of no set age"].contains(&name);
        for key in ["the key", "the room's key"] {
            assert_eq!(told[key].contains("confirmed"), believed, "{name}: {}", told[key]);
        }
        assert_eq!(told["SenML"].contains(r#""n":"power","vb":true"#), believed, "{name}: {}", told["SenML"]);
        for words in ["toggle", "open"] {
            let written = |channel: &str| {
                let is = |seen: &Seen| matches!(seen, Seen::Drive(op) if op.channel().as_str() == channel);
                world.seen.iter().any(|(_, seen)| is(seen))
            };
            let channel = if words == "toggle" { "g/set" } else { "g/open" };
            assert_eq!(written(channel), certain, "{name}: {words}");
        }
        let marks = ["was", "old", "not known", "unknown", "not heard", "nothing", "asleep"];
        for place in ["text", "status", "a call to its number", "sipliance status"] {
            // Of what was never heard, a line says nothing.
            if name == "never heard" && ["status", "a call to its number"].contains(&place) {
                assert!(!told[place].contains("on,") && !told[place].contains("°C"), "{}", told[place]);
                continue;
            }
            let marked = marks.iter().any(|mark| told[place].contains(mark));
            assert_eq!(marked, !certain, "{name}, {place}: {}", told[place]);
        }
    }
}

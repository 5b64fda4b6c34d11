//! Commands to several appliances: each answers for itself, and no relay moves by accident.

use std::sync::Arc;

use sipliance::body::multipart::{self, Multipart, Part};
use sipliance::body::resource_lists::{self, Entry, Item, List};
use sipliance::config::Config;

use super::home;
use super::plug::Mood;
use super::world::{Seen, World};

const AFTER: &str = "alerts: {message: [anna]}\n";
const GROUP: &str = "alerts: {message: [anna]}\ngroups: {lights: [plug, lamp]}\n";
const LAMP: &str = "    params: {topic: lamp}\n";
const SENSITIVE: &str = "    params: {topic: lamp}\n    properties: {power: {sensitive: true}}\n";
/// Ben may switch the plug.
const BEN: (&str, &str) = ("    see: [plug]\n", "    see: [lamp]\n    do: [plug]\n");

fn house() -> Arc<Config> {
    home::edited(&[(AFTER, GROUP), ("    room: Bedroom\n", "    room: Kitchen\n"), BEN])
}

fn world(seed: u64, config: Arc<Config>) -> World {
    let mut world = World::with(seed, config);
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    world.run(500);
    world
}

/// A DO in words: the status, and the body of the answer.
fn act(world: &mut World, phone: usize, name: &str, words: &str, ms: u64) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.request("DO", name, "", Some(("text/plain", words)), now));
    world.run(ms);
    let op = &world.phones[phone].ops[op];
    (op.status(), op.finals.last().map(|last| last.3.clone()).unwrap_or_default())
}

/// Proves: DO-10, REQ-5.2
#[test]
fn a_group_is_switched_and_each_member_says_how_it_went() {
    let mut world = world(1101, house());
    let anna = world.phone("anna");
    for (name, words, on) in [
        ("lights", "on", true),
        ("group.lights", "off", false),
        ("group=lights", "on", true),
        ("room.kitchen", "off", false),
        ("all", "all on", true),
        ("d=*", "everything off", false),
    ] {
        let (status, body) = act(&mut world, anna, name, words, 2_000);
        assert_eq!(status, 200, "{name} {words}: {body}");
        let state = if on { "on" } else { "off" };
        assert_eq!(body, format!("Plug: {state}\nLamp: {state}"), "{name} {words}");
        assert_eq!((world.plug.on, world.lamp.on), (on, on), "{name} {words}");
    }
    // One of them is silent: what is not known is said, and the other one is done.
    world.lamp.mood = Mood::Silent;
    let (status, body) = act(&mut world, anna, "lights", "on", 10_000);
    assert_eq!(status, 200);
    assert!(body.starts_with("Plug: on\nLamp: it is not known"), "{body}");
}

#[test]
fn what_names_no_appliance_moves_none() {
    let mut world = world(1102, house());
    let anna = world.phone("anna");
    for (name, words) in [
        ("home", "off"),
        ("home", "all off"),
        ("kitchen", "on"),
        ("kitchen", "all on"),
        ("all", "on"),
        ("alerts", "all on"),
        ("lights", "toggle"),
        ("room.kitchen", "all toggle"),
        ("lights", "lampp on"),
        ("all", "all nonsense"),
    ] {
        let (status, _) = act(&mut world, anna, name, words, 1_000);
        assert_eq!(status, 488, "{name} {words}");
    }
    assert!(world.plug.writes.is_empty() && world.lamp.writes.is_empty());
    // A name first means that one, as ever.
    assert_eq!(act(&mut world, anna, "all", "lamp on", 1_000), (200, "Lamp: on".to_owned()));
    assert_eq!(act(&mut world, anna, "room.kitchen", "plug on", 1_000), (200, "Plug: on".to_owned()));
    assert_eq!((world.plug.writes.len(), world.lamp.writes.len()), (1, 1));
}

/// Proves: REQ-8.1
#[test]
fn each_member_has_its_rights_and_its_audit_lines() {
    let mut world = world(1103, house());
    let (ben, carla) = (world.phone("ben"), world.phone("carla"));
    let (status, body) = act(&mut world, ben, "lights", "on", 2_000);
    assert_eq!((status, body.as_str()), (200, "Plug: on"), "the lamp is not his to switch");
    assert!(world.lamp.writes.is_empty());
    assert_eq!(act(&mut world, carla, "lights", "on", 1_000).0, 404, "nothing of it is there for her");
    let audited: Vec<&String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Audit(line) => Some(line),
            _ => None,
        })
        .collect();
    assert_eq!(audited.len(), 2, "{audited:?}");
    assert!(
        audited.iter().all(|line| line.contains(r#""device":"plug""#) && line.contains(r#""who":"ben""#))
    );
}

#[test]
fn what_is_sensitive_moves_alone_or_not_at_all() {
    let config = home::edited(&[
        (AFTER, GROUP),
        (LAMP, SENSITIVE),
        ("    do: \"*\"\n", "    do: [plug, lamp.power]\n"),
    ]);
    let mut world = world(1104, config);
    let anna = world.phone("anna");
    let (status, body) = act(&mut world, anna, "lights", "on", 2_000);
    assert_eq!(status, 200);
    assert!(body.starts_with("Plug: on\nLamp: not done: what is sensitive"), "{body}");
    assert!(world.lamp.writes.is_empty());
    let senml = r#"[{"n":"power","vb":true}]"#;
    let op = world
        .at(anna, |phone, now| phone.request("DO", "d=*", "", Some(("application/senml+json", senml)), now));
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let dmp = "<DMPAction><Device>plug</Device><Control><Action>Off</Action></Control>\
               <Device>lamp</Device><Control><Action>On</Action></Control></DMPAction>";
    let op =
        world.at(anna, |phone, now| phone.request("DO", "home", "", Some(("application/dmp", dmp)), now));
    world.run(2_000);
    assert!(world.phones[anna].ops[op].finals.last().unwrap().3.contains("<ResultCode>403</ResultCode>"));
    assert!(world.lamp.writes.is_empty());
    assert_eq!(act(&mut world, anna, "all", "lamp on", 2_000), (200, "Lamp: on".to_owned()));
}

#[test]
fn nobody_waits_longer_than_a_transaction_lives() {
    let mut world = world(1105, house());
    let anna = world.phone("anna");
    world.plug.mood = Mood::Lost;
    // Items of one member follow one another: twelve times three seconds are more than there is time for.
    let control = "<Control><Action>On</Action></Control>".repeat(12);
    let dmp = format!(
        "<DMPAction><Device>plug</Device>{control}<Device>lamp</Device>\
         <Control><Action>On</Action></Control></DMPAction>"
    );
    let op = world.at(anna, |phone, now| {
        phone.request("DO", "lights", "Accept: text/plain\r\n", Some(("application/dmp", &dmp)), now)
    });
    let asked = world.now;
    world.run(40_000);
    let (at, status, _, body) = world.phones[anna].ops[op].finals.last().unwrap().clone();
    assert!((at - asked).as_secs() < 27, "{at:?} after {asked:?}");
    assert_eq!(status, 200, "the lamp is on: {body}");
    let lines: Vec<&str> = body.lines().collect();
    assert_eq!(lines.len(), 13, "{body}");
    assert!(lines[0].contains("not known") && lines[11].contains("not done"), "{body}");
    assert_eq!(lines[12], "Lamp: on");
    assert!(world.contradictions().is_empty());
}

/// Proves: IM-8
#[test]
fn a_message_with_a_list_of_its_own_reaches_those_on_it() {
    let mut world = world(1106, house());
    let anna = world.phone("anna");
    let uris = [
        "sip:plug@home.example",
        "sip:d=lamp,r=kitchen@home.example",
        "sip:bob@elsewhere.example",
        "sip:plug@home.example",
    ];
    let entry = |uri: &&str| Item::Entry(Entry { uri: (*uri).to_owned(), ..Entry::default() });
    let list = List { items: uris.iter().map(entry).collect(), ..List::default() };
    let part = |kind: &str, disposition: Option<&str>, body: String| Part {
        content_type: Some(kind.to_owned()),
        disposition: disposition.map(ToOwned::to_owned),
        body: body.into_bytes(),
        ..Part::default()
    };
    let parts = vec![
        part("text/plain", None, "on".to_owned()),
        part(resource_lists::CONTENT_TYPE, Some("recipient-list"), resource_lists::write(&[list])),
    ];
    let (kind, body) =
        multipart::write(&Multipart { subtype: "mixed".to_owned(), start: None, parts }, "list");
    let (kind, body): (&'static str, String) = (kind.leak(), String::from_utf8(body).unwrap());
    let require = "Require: recipient-list-message\r\n";
    let op = world.at(anna, |phone, now| phone.request("MESSAGE", "home", require, Some((kind, &body)), now));
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.phones[anna].ops[op].finals.last().unwrap().3, "", "a 200 to MESSAGE has no body");
    let words = &world.phones[anna].messages.last().unwrap().1;
    assert!(words.contains("Plug: on") && words.contains("Lamp: on"), "{words}");
    assert!(words.contains("not reachable from here"), "{words}");
    assert_eq!((world.plug.writes.len(), world.lamp.writes.len()), (1, 1), "each once");
    // Without the list there is nobody to tell, and in another method the extension is unknown.
    let op = world
        .at(anna, |phone, now| phone.request("MESSAGE", "home", require, Some(("text/plain", "on")), now));
    let other =
        world.at(anna, |phone, now| phone.request("DO", "plug", require, Some(("text/plain", "off")), now));
    world.run(2_000);
    assert_eq!(world.phones[anna].ops[op].status(), 400);
    assert_eq!(world.phones[anna].ops[other].status(), 420);
}

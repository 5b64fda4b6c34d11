//! The scenarios of draft-moyer-sip-appliances-framework §5 from end to end, and the requirements of
//! draft-tsang-appliances-reqs: each once as it was meant in 2000, and as it is meant today.

use std::path::Path;
use std::sync::Arc;

use sipliance::body::dmp::{self, Answer, Document};
use sipliance::config::Config;
use sipliance::config::home::{Profiles, from_text};
use sipliance::gateway::Input;
use sipliance::sip::wire::{Message, Name};

use super::isolate::through;
use super::world::{Seen, World};

const LAMP: &str = r#"
format: 1
profile: lamp
name: Lamp
kind: lamp
driver: mqtt
params: {topic: {about: Topic, example: lamp1}}
online: {topic: tele/<topic>/LWT, map: {Online: online, Offline: offline}}
properties:
  power:
    type: bool
    name: Power
    read: {topic: stat/<topic>/POWER, map: {"ON": true, "OFF": false}}
    write: {topic: cmnd/<topic>/POWER}
    confirm: 3s
phone: {lamp: power, press: toggle power}
tests: []
"#;

const WIRED: &str = r#"
format: 1
profile: wired
name: Lamp
kind: lamp
driver: gpio
params: {pin: {about: Pin, example: GPIO17}}
link: {lines: {power: {pin: <pin>, direction: out, initial: inactive}}}
properties:
  power:
    type: bool
    name: Power
    read: {line: power}
    write: {line: power}
    confirm: 3s
phone: {lamp: power, press: toggle power}
tests: []
"#;

const THERMOSTAT: &str = r#"
format: 1
profile: thermostat
name: Thermostat
kind: thermostat
driver: mqtt
params: {topic: {about: Topic, example: t1}}
properties:
  inside:
    type: float
    name: Temperature
    class: temperature
    unit: °C
    decimals: 1
    read: {topic: stat/<topic>/INSIDE}
  goal:
    type: float
    name: Goal
    class: temperature
    unit: °C
    decimals: 1
    range: [4, 35]
    read: {topic: stat/<topic>/GOAL}
    write: {topic: cmnd/<topic>/GOAL}
    confirm: 20s
phone: {press: none}
tests: []
"#;

const DOOR: &str = r#"
format: 1
profile: door
name: Front door
kind: door
driver: mqtt
params: {topic: {about: Topic, example: d1}}
properties:
  lock:
    type: bool
    name: Lock
    class: lock
    sensitive: true
    read: {topic: stat/<topic>/LOCK, map: {"1": true, "0": false}}
    write: {topic: cmnd/<topic>/LOCK}
    confirm: 3s
events:
  bell:
    name: Bell
    class: doorbell
    values: [pressed]
    from: {topic: stat/<topic>/BELL}
phone: {press: none}
tests: []
"#;

const HOME: &str = r#"
format: 1
house: {user: home, domain: home.example, title: Stan's house}
listen: [udp:192.0.2.1:5060]
digest: {md5: true}
secrets: secrets.yaml
audit: audit.jsonl
users:
  anna: {password: {secret: anna}}
  ben: {password: {secret: ben}}
mqtt:
  main: {host: 192.0.2.10}
upstream:
  provider:
    server: provider.example:5060
    domain: provider.example
    transport: udp
    trust_asserted: true
    accounts: [{user: "100", password: {secret: provider}}, {user: "101", password: {secret: provider}, device: lamp}]
devices:
  plug: {name: Desk lamp, room: Spare room, nicknames: [Cool boy], profile: lamp, params: {topic: plug}, numbers: "21"}
  lamp: {name: Bed lamp, room: Bedroom, profile: lamp, params: {topic: lamp}}
  thermo: {name: Thermostat, room: Hall, profile: thermostat, params: {topic: thermo}}
  front: {name: Front door, room: Hall, profile: door, params: {topic: front}}
  wired: {name: Bed lamp, room: Bedroom, profile: wired, params: {pin: GPIO17}}
groups: {acs: {name: Air conditioners, devices: [plug, lamp]}}
alerts: {message: [anna]}
access:
  - who: [anna, "sip:carla@provider.example"]
    see: "*"
    do: "*"
  - who: anna
    do: front.lock
  - who: ben
    see: lamp
"#;

fn house(changes: &[(&str, &str)]) -> Arc<Config> {
    let mut profiles = Profiles::new();
    for (id, text) in [("lamp", LAMP), ("wired", WIRED), ("thermostat", THERMOSTAT), ("door", DOOR)] {
        profiles.add(id, format!("{id}.yaml"), text);
    }
    let mut home = HOME.to_owned();
    for (from, to) in changes {
        assert!(home.contains(from), "{from}");
        home = home.replacen(from, to, 1);
    }
    let secrets = "anna: correct horse\nben: battery staple\nprovider: a provider word\n";
    let (config, reports) = from_text(Path::new("home.yaml"), &home, secrets, &profiles);
    Arc::new(config.unwrap_or_else(|| panic!("{reports:#?}")))
}

fn world(seed: u64) -> (World, usize) {
    let mut world = World::with(seed, house(&[]));
    for (channel, payload) in [
        ("stat/plug/POWER", "OFF"),
        ("stat/lamp/POWER", "OFF"),
        ("stat/thermo/INSIDE", "18.4"),
        ("stat/thermo/GOAL", "20"),
        ("stat/front/LOCK", "1"),
    ] {
        world.report(channel, payload);
    }
    let anna = world.phone("anna");
    world.run(5_000);
    (world, anna)
}

/// A DO: when it was answered, the status, and the body.
fn act(world: &mut World, phone: usize, to: &str, kind: &'static str, body: &str) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.request("DO", to, "", Some((kind, body)), now));
    world.run(2_000);
    let op = &world.phones[phone].ops[op];
    (op.status(), op.finals.last().map(|last| last.3.clone()).unwrap_or_default())
}

fn squeezed(xml: &str) -> String {
    xml.lines().map(str::trim).collect()
}

/// §5.1: the lamp from the office, through two proxies and the home's own.
///
/// Proves: REQ-4.1.1, REQ-6.4a
#[test]
fn the_lamp_from_the_office() {
    let (mut world, anna) = world(1401);
    world.at(anna, |phone, now| phone.subscribe("lamp", "appliance", 600, now));
    world.run(500);
    let turn = "<command><turn>On</turn></command>";
    let answer =
        through(&mut world, "DO", "d=lamp,r=bedroom,u=anna", "Content-Type: application/dmp\r\n", turn);
    assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    assert!(squeezed(&answer).contains("<ResultCode>0</ResultCode>") && world.lamp.on, "{answer}");
    let notify = world.phones[anna].subs[0].notifies.last().unwrap().body.clone();
    assert!(notify.contains(r#""n":"power","vb":true"#), "{notify}");
    let heard = through(&mut world, "SUBSCRIBE", "101", "Event: appliance\r\n", "");
    assert!(heard.contains("SIP/2.0 200") && heard.contains(r#""vb":true"#), "{heard}");
    // Today: a setting with a life of its own.
    let op = world.at(anna, |phone, now| phone.lease("lamp", false, 600, now));
    world.run(2_000);
    assert_eq!((world.phones[anna].ops[op].status(), world.lamp.on), (200, false));
    // The bulb has blown.
    world.report("tele/lamp/LWT", "Offline");
    world.run(500);
    let (status, body) = act(&mut world, anna, "lamp", "text/plain", "on");
    assert_eq!((status, body.as_str()), (480, "Bed lamp: it is offline"));
}

/// §5.2: the lamp moved to another room. What was meant at first is only what To says.
///
/// Proves: REQ-4.3
#[test]
fn the_lamp_moved() {
    let (mut world, anna) = world(1402);
    let moved =
        [("name: Bed lamp, room: Bedroom, profile: lamp", "name: Bed lamp, room: Attic, profile: lamp")];
    world.handle(Input::Reload(house(&moved)));
    let op = world.at(anna, |phone, now| {
        let op = phone.request("DO", "d=lamp,r=attic", "", Some(("text/plain", "on")), now);
        phone.ops[op].to = "sip:d=lamp,r=bedroom,u=anna@home.example".to_owned();
        op
    });
    world.run(2_000);
    assert_eq!((world.phones[anna].ops[op].status(), world.lamp.on), (200, true));
    // Where it stood there is another lamp now, and that one is meant by the old address.
    let (status, body) = act(&mut world, anna, "d=lamp,r=bedroom", "text/plain", "status");
    assert!(status == 200 && body.starts_with("Bed lamp: no connection"), "{status} {body}");
    assert_eq!(
        act(&mut world, anna, "d=lamp,r=attic", "text/plain", "status"),
        (200, "Bed lamp: on".to_owned())
    );
}

/// §5.3: what the thermostat says, and what it shall reach.
///
/// Proves: REQ-6.5, REQ-7.1.2, REQ-6.4b, DO-3
#[test]
fn the_thermostat_is_asked_and_set() {
    let (mut world, anna) = world(1403);
    let (status, body) =
        act(&mut world, anna, "d=thermostat", "application/dmp", "<query>Temperature</query>");
    assert_eq!(status, 200);
    assert!(squeezed(&body).contains("<Variable>Temperature</Variable><Value>18.4 °C</Value>"), "{body}");
    world.at(anna, |phone, now| phone.subscribe_as("thermo", "appliance", Some("application/dmp"), 0, now));
    world.run(500);
    let fetched = world.phones[anna].subs[0].notifies[0].clone();
    assert_eq!(fetched.state, "terminated;reason=timeout");
    let Ok(Document::Response(replies)) = dmp::read(fetched.body.as_bytes()) else {
        panic!("{}", fetched.body)
    };
    let Answer::Notify(news) = &replies[0].answers[0] else { panic!("{replies:?}") };
    assert!(news.iter().any(|news| news.variable == "inside" && news.values == ["18.4 °C"]), "{news:?}");
    // The temperature can only be read; what is set is the goal of the same class. It takes its time:
    // the answer is early, and the watcher hears how it went on.
    world.at(anna, |phone, now| phone.subscribe("thermo", "appliance", 600, now));
    let set = "<command>Temperature<set>77F</set></command>";
    let op =
        world.at(anna, |phone, now| phone.request("DO", "thermo", "", Some(("application/dmp", set)), now));
    world.run(9_000);
    assert_eq!(world.phones[anna].ops[op].status(), 202);
    let sent = world
        .seen
        .iter()
        .any(|(_, seen)| matches!(seen, Seen::Drive(op) if format!("{op:?}").contains("\"25\"")));
    assert!(sent, "25 °C were ordered");
    world.report("stat/thermo/GOAL", "25");
    world.run(1_000);
    let body = &world.phones[anna].subs[1].notifies.last().unwrap().body;
    assert!(body.contains(r#""n":"goal","u":"Cel","v":25.0"#), "{body}");
}

/// §5.4: the bell rings in the car, and the door is opened from there.
///
/// Proves: REQ-7.1.1, REQ-7.1.3
#[test]
fn the_bell_rings_far_away() {
    let (mut world, anna) = world(1404);
    let ring = "<event>bell</event>";
    world.at(anna, |phone, now| {
        let body = Some(("application/dmp", ring));
        phone.subscribe_with("d=door,r=hall,u=anna", "appliance", Some("application/dmp"), 43200, body, now)
    });
    world.run(500);
    world.report("stat/front/BELL", "pressed");
    world.run(500);
    let notifies = &world.phones[anna].subs[0].notifies;
    assert_eq!(notifies.len(), 2);
    let news = squeezed(&notifies[1].body);
    assert!(news.contains("<Variable>bell</Variable><Value>pressed</Value><Event>bell</Event>"), "{news}");
    assert!(!news.contains("Lock"), "only what was asked for: {news}");
    let unlock = "<command>unlock</command>";
    let op =
        world.at(anna, |phone, now| phone.request("DO", "front", "", Some(("application/dmp", unlock)), now));
    world.run(300);
    world.report("stat/front/LOCK", "0");
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    // Whoever may do everything may not do that: it is sensitive, and nobody named it for her.
    let answer = through(&mut world, "DO", "front", "Content-Type: application/dmp\r\n", unlock);
    assert!(answer.starts_with("SIP/2.0 403"), "{answer}");
}

/// §5.5: an announcement at an appliance. A call is never answered here: it acts, and ends.
#[test]
fn an_announcement_finds_nobody_who_answers() {
    let (mut world, anna) = world(1405);
    let op = world.at(anna, |phone, now| phone.invite("21", now));
    world.run(2_000);
    let op = &world.phones[anna].ops[op];
    assert_eq!((op.status(), op.finals.last().unwrap().2.as_str()), (486, "Desk lamp: on"));
    assert!(world.plug.on);
}

/// §5.6: which features has it?
///
/// Proves: REQ-7.1.4, REQ-5.1, NEG-20, NEG-21
#[test]
fn an_appliance_that_nobody_knows_is_asked_what_it_is() {
    let (mut world, anna) = world(1406);
    let options = |world: &mut World, name: &str, accept: &str| {
        let op = world.at(anna, |phone, now| phone.ask("OPTIONS", name, accept, None, now));
        world.run(500);
        let response = world.phones[anna].ops[op].response.clone().unwrap();
        String::from_utf8(response.to_vec()).unwrap()
    };
    let nobody = world.phone("ben");
    let general = {
        let op = world.at(nobody, |phone, now| phone.options(now));
        world.run(500);
        String::from_utf8(world.phones[nobody].ops[op].response.clone().unwrap().to_vec()).unwrap()
    };
    assert!(
        general.contains("Allow-Events: appliance, presence, dialog, message-summary, device-info"),
        "{general}"
    );
    for (accept, kind, says) in [
        ("Accept: application/td+json\r\n", "application/td+json", "\"writeproperty\""),
        ("Accept: application/ddp\r\n", "application/td+json", "\"writeproperty\""),
        (
            "Accept: application/device-profile+xml\r\n",
            "application/device-profile+xml",
            "<DeviceType>lamp</DeviceType>",
        ),
        (
            "Accept: application/resource-lists+xml\r\n",
            "application/resource-lists+xml",
            "uri=\"sip:lamp@home.example\"",
        ),
    ] {
        let text = options(&mut world, "lamp", accept);
        assert!(text.contains(&format!("Content-Type: {kind}\r\n")) && text.contains(says), "{accept}{text}");
        assert!(text.contains("Allow-Events: appliance, presence, dialog, device-info\r\n"), "{text}");
        assert!(text.contains("Accept: text/plain, application/senml+json, application/dmp, "), "{text}");
        assert!(
            text.contains("Supported: eventlist, recipient-list-message, recipient-list-subscribe\r\n"),
            "{text}"
        );
    }
    assert!(options(&mut world, "all", "Accept: application/td+json\r\n").contains("SIP/2.0 406"));
    let all = options(&mut world, "all", "Accept: application/resource-lists+xml\r\n");
    for id in ["plug", "lamp", "thermo", "front", "wired"] {
        assert!(all.contains(&format!("sip:{id}@home.example")), "every appliance has an address: {all}");
    }
    // A person is asked for as well, by who logs in anyway.
    assert!(options(&mut world, "anna", "").contains("SIP/2.0 200"));
    // The profile by event, and then what it names.
    world.at(anna, |phone, now| phone.subscribe("lamp", "device-info", 0, now));
    world.run(500);
    let profile = world.phones[anna].subs[0].notifies[0].clone();
    assert_eq!(profile.content_type, "application/device-profile+xml");
    assert!(profile.body.contains("<SchemaName>application/senml+json</SchemaName>"), "{}", profile.body);
    world.at(anna, |phone, now| {
        phone.subscribe_as("lamp", "device-info", Some("application/senml+json"), 600, now)
    });
    world.run(500);
    assert!(world.phones[anna].subs[1].notifies[0].body.contains(r#""n":"power""#));
    for on in [true, false, true] {
        world.report("stat/lamp/POWER", if on { "ON" } else { "OFF" });
        world.run(1_000);
    }
    assert!(world.phones[anna].subs[1].notifies.len() <= 2, "no more than one in five seconds");
}

/// §5.7: any lamp, and only one of them: the branches of a fork are one request.
///
/// Proves: IM-7
#[test]
fn any_one_of_them_is_one_of_them() {
    let (mut world, _) = world(1407);
    for (branch, name) in [("one", "plug"), ("two", "lamp"), ("one", "plug")] {
        let text = format!(
            "MESSAGE sip:{name}@192.0.2.1:40101 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bK{branch}\r\n\
             From: <sip:carla@provider.example>;tag=1\r\nTo: <sip:anylamp@provider.example>\r\nCall-ID: any\r\n\
             CSeq: 1 MESSAGE\r\nP-Asserted-Identity: <sip:carla@provider.example>\r\n\
             Content-Type: text/plain\r\nContent-Length: 2\r\n\r\non"
        );
        let flow = world.provider.flow.unwrap();
        let (local, from) = ("192.0.2.1:40101".parse().unwrap(), world.provider.addr());
        world.handle(Input::Datagram { flow, local, from, bytes: text.as_bytes() });
        world.run(1_000);
    }
    assert_eq!((world.plug.writes.len(), world.lamp.writes.len()), (1, 0));
    let merged = world.provider.answers.iter().filter(|text| text.starts_with("SIP/2.0 482")).count();
    assert_eq!(merged, 1);
}

/// §5.8: a nickname and a group.
///
/// Proves: REQ-5.2, DO-10
#[test]
fn a_nickname_and_a_group() {
    let (mut world, anna) = world(1408);
    assert_eq!(
        act(&mut world, anna, "d=cool-boy,r=spare-room", "text/plain", "on"),
        (200, "Desk lamp: on".to_owned())
    );
    let body = "<DMPAction><Device>acs</Device><Control><Action>Off</Action></Control></DMPAction>";
    let (status, answer) = act(&mut world, anna, "group=acs,u=home", "application/dmp", body);
    assert_eq!(status, 200);
    let Ok(Document::Response(replies)) = dmp::read(answer.as_bytes()) else { panic!("{answer}") };
    let devices: Vec<&str> = replies.iter().map(|reply| reply.device.as_str()).collect();
    assert_eq!(devices, ["plug", "lamp"]);
    assert!(!world.plug.on && world.plug.writes.len() == 2 && world.lamp.writes.len() == 1);
}

/// Two lamps of two makes, one on a broker and one on a wire, look alike to a phone.
///
/// Proves: REQ-4.2.1, REQ-4.1.2
#[test]
fn what_an_appliance_hangs_on_does_not_show() {
    let (mut world, anna) = world(1409);
    world.handle(Input::Driver { link: sipliance::config::LinkId(1), event: sipliance_driver::Event::Up });
    let line = super::plug::Plug::read("power", "0", false);
    world.handle(Input::Driver { link: sipliance::config::LinkId(1), event: line });
    world.run(1_000);
    let mut seen = Vec::new();
    for name in ["lamp", "wired"] {
        let op = world.at(anna, |phone, now| phone.describe(name, now));
        world.at(anna, |phone, now| phone.subscribe(name, "presence", 0, now));
        world.run(500);
        let thing =
            world.phones[anna].ops[op].finals.last().unwrap().3.replace(&format!("sip:{name}@"), "sip:ID@");
        seen.push((thing, world.phones[anna].subs.last().unwrap().notifies[0].content_type.clone()));
    }
    assert_eq!(seen[0], seen[1]);
}

/// Proves: REQ-8.1, SEC-1, SEC-7
#[test]
fn nothing_is_done_or_told_without_a_proof() {
    let (mut world, _) = world(1410);
    let requests = [
        ("DO", "Content-Type: text/plain\r\n", "on"),
        ("DO", "Content-Type: application/dmp\r\n", "<command>On</command>"),
        ("MESSAGE", "Content-Type: text/plain\r\n", "all on"),
        (
            "PUBLISH",
            "Event: appliance\r\nContent-Type: application/senml+json\r\n",
            "[{\"n\":\"power\",\"vb\":true}]",
        ),
        ("SUBSCRIBE", "Event: appliance\r\nSupported: eventlist\r\n", ""),
        ("SUBSCRIBE", "Event: device-info\r\n", ""),
        ("OPTIONS", "Accept: application/td+json\r\n", ""),
        ("OPTIONS", "Accept: application/resource-lists+xml\r\n", ""),
        ("INVITE", "", ""),
    ];
    let from = "203.0.113.66:5060".parse().unwrap();
    for name in ["lamp", "d=lamp", "group=acs", "all", "home", "nothing"] {
        for (nth, (method, fields, body)) in requests.iter().enumerate() {
            let text = format!(
                "{method} sip:{name}@home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bK{name}{nth}\r\n\
                 From: <sip:anna@home.example>;tag=1\r\nTo: <sip:{name}@home.example>\r\nCall-ID: {name}{nth}\r\n\
                 CSeq: 1 {method}\r\nContact: <sip:anna@203.0.113.66>\r\nUser-Agent: nobody in particular, and talkative at that\r\n\
                 {fields}Content-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let before = world.strays.len();
            world.inject(from, text);
            world.run(1_000);
            let answer = String::from_utf8_lossy(&world.strays[before].2).into_owned();
            assert!(answer.starts_with("SIP/2.0 401"), "{method} {name}: {answer}");
            let message = Message::parse(answer.as_bytes()).unwrap();
            assert!(message.first(Name::WwwAuthenticate).is_some() && message.body.is_empty());
        }
    }
    assert!(world.plug.writes.is_empty() && world.lamp.writes.is_empty());
}

/// Proves: REQ-8.4, REQ-4.5.1
#[test]
fn every_command_is_on_record_before_it_acts() {
    let (mut world, anna) = world(1411);
    act(&mut world, anna, "group=acs", "text/plain", "on");
    let record: Vec<String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Audit(line) => {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                Some(format!("{} {} {}", line["who"], line["step"], line["device"]).replace('"', ""))
            }
            Seen::Drive(op) if op.id().is_some() => Some("moved".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(
        record,
        ["anna ordered plug", "anna ordered lamp", "moved", "moved", "anna ended plug", "anna ended lamp"]
            .map(str::to_owned)
    );
}

/// Proves: REQ-8.6.2
#[test]
fn the_house_goes_on_without_the_world() {
    let (mut world, anna) = world(1412);
    world.at(anna, |phone, now| phone.subscribe("lamp", "appliance", 600, now));
    world.provider.reach = super::provider::Reach::Refused;
    world.provider.then = super::provider::Step::Silence;
    world.run(120_000);
    assert_eq!(act(&mut world, anna, "group=acs", "text/plain", "on").0, 200);
    assert!(world.lamp.on && world.phones[anna].subs[0].notifies.last().unwrap().body.contains("true"));
}

//! The kill switch, and appliances that are there at home alone.

use std::sync::Arc;

use bytes::Bytes;
use sipliance::body::rlmi;
use sipliance::config::Config;
use sipliance::gateway::{Input, Key, Kind, Output};

use super::home;
use super::plug::Mood;
use super::world::{Seen, World};

const AFTER: &str = "alerts: {message: [anna]}\n";
const ANNA: &str = "alerts: {message: [anna]}\nisolate: {who: [anna, ben]}\n";
const ANNA_LOCAL: &str = "alerts: {message: [anna]}\nisolate: {who: [anna], release_local: [anna]}\n";

fn world(seed: u64, section: &str) -> (World, usize) {
    let mut world = World::with(seed, home::edited(&[(AFTER, section)]));
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    let anna = world.phone("anna");
    world.run(500);
    (world, anna)
}

fn say(world: &mut World, phone: usize, name: &str, text: &str) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.message(name, text, now));
    world.run(1_000);
    let words = world.phones[phone].messages.last().map(|(_, text)| text.clone()).unwrap_or_default();
    (world.phones[phone].ops[op].status(), words)
}

/// Proves: REQ-8.6.1
#[test]
fn what_is_isolated_is_watched_asked_and_moved_by_nobody() {
    let (mut world, anna) = world(1301, ANNA);
    let ben = world.phone("ben");
    for phone in [anna, ben] {
        world.phones[phone].extra = "Supported: eventlist\r\n".to_owned();
        world.at(phone, |phone, now| phone.subscribe("plug", "appliance", 600, now));
        world.at(phone, |phone, now| phone.subscribe("all", "appliance", 600, now));
    }
    world.run(1_000);
    let op = world.at(anna, |phone, now| phone.lease("plug", true, 60, now));
    world.run(1_000);
    assert_eq!((world.phones[anna].ops[op].status(), world.plug.on), (200, true));
    assert_eq!(say(&mut world, anna, "plug", "isolate"), (200, "Plug: isolated".to_owned()));
    let last = |world: &World, phone: usize, sub: usize| {
        world.phones[phone].subs[sub].notifies.last().cloned().unwrap()
    };
    for phone in [anna, ben] {
        let end = last(&world, phone, 0);
        assert_eq!((end.state.as_str(), end.body.as_str()), ("terminated;reason=rejected", ""));
    }
    let list = last(&world, anna, 1);
    let (list, _) = rlmi::read_related(&list.content_type, list.body.as_bytes()).unwrap();
    assert_eq!(list.resources.len(), 1, "on lists it is not there");
    assert_eq!(last(&world, ben, 1).state, "terminated;reason=rejected", "he may see nothing else");
    // Whoever knows it is told so; whoever does not hears what he always hears.
    let carla = world.phone("carla");
    for (phone, status) in [(anna, 480), (ben, 480), (carla, 404)] {
        let subscribe = world.at(phone, |phone, now| phone.subscribe("plug", "presence", 600, now));
        let words = world.at(phone, |phone, now| phone.message("plug", "on", now));
        let switch = world.at(phone, |phone, now| phone.switch("plug", false, now));
        let publish = world.at(phone, |phone, now| phone.lease("plug", false, 60, now));
        let options = world.at(phone, |phone, now| phone.describe("plug", now));
        let dmp = "<command>Off</command>";
        let dmp = world
            .at(phone, |phone, now| phone.request("DO", "plug", "", Some(("application/dmp", dmp)), now));
        world.run(1_000);
        for op in [subscribe, words, switch, publish, options, dmp] {
            assert_eq!(world.phones[phone].ops[op].status(), status, "{:?}", world.phones[phone].ops[op]);
        }
    }
    let call = world.at(anna, |phone, now| phone.invite("24", now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[call].status(), 480);
    assert_eq!(say(&mut world, anna, "all", "plug off").0, 480);
    assert_eq!(say(&mut world, anna, "home", "status").1, "Plug: isolated\nLamp: off");
    // The lease is over, and nothing moved by that.
    let writes = world.plug.writes.len();
    world.run(120_000);
    assert_eq!((writes, world.plug.writes.len(), world.plug.on), (1, 1, true));
    assert!(world.gateway.status(world.time()).devices[0].isolated);
    assert_eq!(say(&mut world, anna, "plug", "release"), (200, "Plug: released".to_owned()));
    assert_eq!(say(&mut world, anna, "plug", "off"), (200, "Plug: off".to_owned()));
}

#[test]
fn nobody_pulls_the_switch_whom_the_home_file_does_not_name() {
    let (mut world, anna) = world(1302, AFTER);
    assert_eq!(say(&mut world, anna, "plug", "isolate").0, 403);
    assert_eq!(say(&mut world, anna, "home", "isolate all").0, 403);
    let (mut world, anna) = self::world(1303, ANNA);
    let ben = world.phone("ben");
    assert_eq!(say(&mut world, ben, "lamp", "isolate").0, 404, "what he may not see he may not isolate");
    assert_eq!(say(&mut world, anna, "home", "isolate all").0, 200);
    assert_eq!(say(&mut world, anna, "lamp", "on").0, 480);
    assert_eq!(say(&mut world, anna, "home", "release").0, 200);
    assert_eq!(say(&mut world, anna, "lamp", "on").0, 200);
}

#[test]
fn what_was_isolated_at_the_gateway_is_released_there() {
    let (mut world, anna) = world(1304, ANNA);
    let now = world.time();
    assert!(world.gateway.isolate(Some("toaster"), true, now).is_err());
    assert_eq!(world.gateway.isolate(None, true, now).as_deref(), Ok("every appliance is isolated"));
    world.handle(Input::Deadline);
    for (name, text) in [("plug", "release"), ("home", "release all"), ("all", "release")] {
        assert_eq!(say(&mut world, anna, name, text).0, 403, "{name} {text}");
    }
    // It survives a reload, also for who may release it from then on.
    world.handle(Input::Reload(home::edited(&[(AFTER, ANNA_LOCAL)])));
    assert_eq!(say(&mut world, anna, "plug", "on").0, 480);
    assert_eq!(say(&mut world, anna, "plug", "release").0, 200);
    assert_eq!(say(&mut world, anna, "plug", "on").0, 200);
    assert_eq!(say(&mut world, anna, "lamp", "on").0, 480, "the other one stays what it is");
    assert!(world.lamp.writes.is_empty());
    let audited = |step: &str| {
        world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Audit(line) if line.contains(step))).count()
    };
    assert_eq!((audited(r#""step":"isolated""#), audited(r#""step":"released""#)), (1, 1));
}

/// What is handed to the disk, of what was kept.
fn kept(world: &mut World) -> (Key, Option<Bytes>) {
    let mut kept = None;
    while let Some(output) = world.gateway.poll() {
        if let Output::Keep { key, body } = output {
            kept = Some((key, body));
        }
    }
    kept.expect("it is kept")
}

#[test]
fn it_outlives_the_process() {
    let (mut world, _) = world(1305, ANNA);
    let now = world.time();
    world.gateway.isolate(Some("plug"), true, now).unwrap();
    let (key, body) = kept(&mut world);
    assert_eq!(key, Key { kind: Kind::Isolated, user: "home".to_owned() });
    assert!(world.gateway.users().contains(&key.user), "the shell asks for it at the next start");
    let (mut next, anna) = self::world(1308, ANNA);
    next.gateway.restore(key.clone(), &body.unwrap(), now).unwrap();
    assert_eq!(say(&mut next, anna, "plug", "on").0, 480);
    assert_eq!(say(&mut next, anna, "plug", "release").0, 403, "it was pulled at the gateway itself");
    assert_eq!(say(&mut next, anna, "lamp", "on").0, 200);
    next.gateway.isolate(None, false, now).unwrap();
    assert_eq!(kept(&mut next), (key.clone(), None));
    // A switch that was pulled, and for what cannot be read, is pulled for everything.
    for damaged in [&b"plug"[..], b"all nobody\n", b"\xff"] {
        let (mut world, anna) = self::world(1309, ANNA);
        let now = world.time();
        assert!(world.gateway.restore(key.clone(), damaged, now).is_err());
        assert_eq!(say(&mut world, anna, "lamp", "on").0, 480);
    }
}

#[test]
fn a_command_that_is_under_way_finishes() {
    let (mut world, anna) = world(1306, ANNA);
    world.plug.mood = Mood::Obeys(1_500);
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(200);
    let now = world.time();
    world.gateway.isolate(Some("plug"), true, now).unwrap();
    world.handle(Input::Deadline);
    world.run(3_000);
    assert_eq!((world.phones[anna].ops[op].status(), world.plug.on), (200, true));
}

/// A house with a provider, of which the plug stays at home; Carla may do everything, through it.
fn hidden() -> Arc<Config> {
    let plug = "    profile: plug\n    params: {topic: plug}\n";
    let change = format!("{plug}    expose: false\n");
    let ben = "  - who: ben\n    see: [plug]\n";
    let carla = "  - who: sip:carla@provider.example\n    do: \"*\"\n  - who: carla\n    do: \"*\"\n";
    home::edited_with_upstream("udp", &[(plug, change.as_str()), (ben, carla)])
}

/// What the provider hears when it passes on a request of Carla's: the answer, and a MESSAGE back.
pub fn through(world: &mut World, method: &str, user: &str, fields: &str, body: &str) -> String {
    let nth = world.now.as_millis();
    let text = format!(
        "{method} sip:{user}@192.0.2.1:40101 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKp{nth}\r\n\
         From: <sip:carla@provider.example>;tag=1\r\nTo: <sip:101@provider.example>\r\nCall-ID: through{nth}\r\n\
         CSeq: 1 {method}\r\nContact: <sip:carla@203.0.113.9>\r\nP-Asserted-Identity: <sip:carla@provider.example>\r\n\
         {fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let flow = world.provider.flow.unwrap();
    let (local, from) = ("192.0.2.1:40101".parse().unwrap(), world.provider.addr());
    let (answers, others) = (world.provider.answers.len(), world.provider.others.len());
    world.handle(Input::Datagram { flow, local, from, bytes: text.as_bytes() });
    world.run(2_000);
    world.provider.answers[answers..].join("\n") + &world.provider.others[others..].join("\n")
}

/// Proves: REQ-4.1.3
#[test]
fn what_is_not_exposed_is_there_at_home_alone() {
    let mut world = World::with(1307, hidden());
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    let carla = world.phone("carla");
    world.run(5_000);
    assert_eq!(say(&mut world, carla, "plug", "status"), (200, "Plug: off".to_owned()));
    for (name, status, says) in [
        ("100", "SIP/2.0 200", "Lamp: off"),
        ("101", "SIP/2.0 404", ""),
        ("plug", "SIP/2.0 404", ""),
        ("d=plug", "SIP/2.0 404", ""),
        ("kitchen", "SIP/2.0 404", ""),
    ] {
        let heard = through(&mut world, "MESSAGE", name, "Content-Type: text/plain\r\n", "status");
        assert!(
            heard.starts_with(status) && heard.contains(says) && !heard.contains("Plug"),
            "{name}: {heard}"
        );
    }
    let list = through(&mut world, "OPTIONS", "all", "Accept: application/resource-lists+xml\r\n", "");
    assert!(list.contains("sip:lamp@") && !list.contains("sip:plug@"), "{list}");
    let fields = "Event: appliance\r\nSupported: eventlist\r\n";
    let heard = through(&mut world, "SUBSCRIBE", "all", fields, "");
    assert!(
        heard.starts_with("SIP/2.0 200") && heard.contains("sip:lamp@") && !heard.contains("sip:plug@"),
        "{heard}"
    );
    let quiet = world.provider.others.len();
    world.report("stat/plug/POWER", "ON");
    world.run(2_000);
    assert_eq!(world.provider.others.len(), quiet, "not even that something changed");
    world.report("stat/lamp/POWER", "ON");
    world.run(2_000);
    assert_eq!(world.provider.others.len(), quiet + 1);
    // The same watcher at home has both.
    world.phones[carla].extra = "Supported: eventlist\r\n".to_owned();
    world.at(carla, |phone, now| phone.subscribe("all", "appliance", 600, now));
    world.run(500);
    let body = &world.phones[carla].subs[0].notifies[0].body;
    assert!(body.contains("sip:plug@") && body.contains("sip:lamp@"), "{body}");
}

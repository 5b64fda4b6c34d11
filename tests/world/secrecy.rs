//! What an attacker with an account tries: rights that he has not, and signs of what he may not see.

use std::sync::Arc;

use sipliance::body::multipart::{self, Multipart, Part};
use sipliance::body::policy;
use sipliance::body::resource_lists::{self, Entry, Item, List};
use sipliance::body::rlmi;
use sipliance::config::Config;
use sipliance::gateway::{Input, Key, Kind};
use sipliance::sip::wire::{Message, Name};

use super::home;
use super::phone::Reply;
use super::requests::ruled;
use super::world::World;

const ALERTS: &str = "alerts: {message: [anna]}\n";
const ASKS: &str = "alerts: {message: [anna]}\nowners: [anna, carla]\n";
const BEN: &str = "  - who: ben\n    see: [plug]\n";
const LISTS: &str = "application/resource-lists+xml";

fn say(world: &mut World, phone: usize, name: &str, text: &str) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.message(name, text, now));
    world.run(1_000);
    let words = world.phones[phone].messages.last().map(|(_, text)| text.clone()).unwrap_or_default();
    (world.phones[phone].ops[op].status(), words)
}

fn watch(world: &mut World, phone: usize, name: &str, package: &str) -> u16 {
    let op = world.at(phone, |phone, now| phone.subscribe(name, package, 600, now));
    world.run(1_000);
    world.phones[phone].ops[op].status()
}

/// A rule of an owner for somebody and the lamp.
fn rule(who: &str, watch: &str) -> String {
    format!(
        r#"<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"
        xmlns:act="urn:x-sipliance:control-rules:1"><rule id="a"><conditions><identity>
        <one id="sip:{who}@home.example"/></identity><act:appliances><act:appliance id="lamp"/></act:appliances>
        </conditions><actions><pr:sub-handling>{watch}</pr:sub-handling></actions></rule></ruleset>"#
    )
}

/// Anna sees everything; Ben asks for the lamp; Carla is an owner, too, and may see the plug alone.
fn two_owners(ask: &str) -> Arc<Config> {
    let ben = format!("{BEN}{ask}  - who: carla\n    see: [plug]\n");
    home::edited(&[(ALERTS, ASKS), (BEN, &ben)])
}

#[test]
fn an_owner_hears_and_decides_nothing_about_what_is_not_there_for_him() {
    let mut world = World::with(1401, two_owners("    ask: [lamp]\n"));
    let [anna, ben, carla] = ["anna", "ben", "carla"].map(|user| world.phone(user));
    for phone in [anna, carla] {
        world.at(phone, |phone, now| phone.register(600, now));
    }
    world.run(300);
    assert_eq!(watch(&mut world, ben, "lamp", "presence"), 200);
    let question = world.phones[anna].messages.last().expect("she is asked").1.clone();
    let number = question.split_once("`allow ").unwrap().1.split('`').next().unwrap().to_owned();
    assert!(world.phones[carla].messages.is_empty(), "{:?}", world.phones[carla].messages);
    assert_eq!(say(&mut world, carla, "home", "requests").1, "nobody waits");
    let absent = say(&mut world, carla, "home", "allow 99999");
    let hidden = say(&mut world, carla, "home", &format!("allow {number}"));
    assert_eq!((hidden.0, hidden.1.replace(&number, "99999")), absent);
    assert_eq!(world.phones[ben].subs[0].notifies.len(), 1, "still pending");
}

#[test]
fn a_rule_makes_nothing_appear_that_its_owner_may_not_see() {
    for (seed, handling) in [(1402, "confirm"), (1403, "polite-block"), (1404, "allow")] {
        let mut world = World::with(seed, two_owners(""));
        let carla = world.phone("carla");
        let now = world.time();
        let key = Key { kind: Kind::Rules, user: "carla".to_owned() };
        world.gateway.restore(key, rule("carla", handling).as_bytes(), now).unwrap();
        for package in ["presence", "presence.winfo"] {
            assert_eq!(watch(&mut world, carla, "lamp", package), 404, "{handling} {package}");
        }
    }
}

/// Who waits for a decision is told of nobody else, owner or not.
#[test]
fn watchers_are_told_to_owners_who_may_watch_themselves() {
    let carla = format!("{BEN}  - who: carla\n    see: [plug]\n    ask: [lamp]\n");
    let mut world = World::with(1405, home::edited(&[(ALERTS, ASKS), (BEN, &carla)]));
    let (anna, carla) = (world.phone("anna"), world.phone("carla"));
    watch(&mut world, anna, "lamp", "presence");
    assert_eq!(watch(&mut world, carla, "lamp", "presence.winfo"), 200);
    let told = &world.phones[carla].subs[0].notifies.last().unwrap().body;
    assert!(!told.contains("anna"), "{told}");
}

/// Subscribes to a list of these addresses: what is told of it, without the names themselves.
fn brought(world: &mut World, phone: usize, uris: &[&str]) -> (u16, Vec<String>) {
    let entries: String = uris.iter().map(|uri| format!("<entry uri=\"sip:{uri}@home.example\"/>")).collect();
    let list = format!(
        "<resource-lists xmlns=\"urn:ietf:params:xml:ns:resource-lists\"><list>{entries}</list></resource-lists>"
    );
    let at = &mut world.phones[phone];
    at.extra = "Supported: eventlist\r\nRequire: recipient-list-subscribe\r\n".to_owned();
    at.body = Some((LISTS, list));
    let status = watch(world, phone, "home", "presence");
    let Some(notify) = world.phones[phone].subs.last().unwrap().notifies.last().cloned() else {
        return (status, Vec::new());
    };
    let (list, _) = rlmi::read_related(&notify.content_type, notify.body.as_bytes()).unwrap();
    let row = |it: &rlmi::Resource| {
        let of = it.instances.first();
        let uri = it.uri.trim_start_matches("sip:").trim_end_matches("@home.example");
        format!("{uri} {:?} {:?}", of.map(|it| it.state), of.and_then(|it| it.reason.clone()))
    };
    (status, list.resources.iter().map(row).collect())
}

/// Proves: RL-5
#[test]
fn a_list_says_of_what_is_hidden_what_it_says_of_what_is_not_there() {
    let mut world = World::new(1406);
    let ben = world.phone("ben");
    let (_, everything) = brought(&mut world, ben, &["all"]);
    assert_eq!(everything.len(), 1, "{everything:?}");
    assert!(everything[0].starts_with("plug"), "{everything:?}");
    for (hidden, absent) in [
        (vec!["lamp", "LAMP"], vec!["yard", "YARD"]),
        (vec!["bedroom"], vec!["cellars"]),
        (vec!["room.bedroom", "lamp"], vec!["room.cellars", "yard"]),
        (vec!["d=plug,r=bedroom"], vec!["d=plug,r=cellars"]),
    ] {
        let of = |rows: Vec<String>| -> Vec<String> {
            let names = [("bedroom", "cellars"), ("lamp", "yard"), ("LAMP", "YARD")];
            rows.iter().map(|row| names.iter().fold(row.clone(), |row, (a, b)| row.replace(a, b))).collect()
        };
        let hidden = brought(&mut world, ben, &hidden);
        let absent = brought(&mut world, ben, &absent);
        assert_eq!((hidden.0, of(hidden.1)), absent);
    }
    // Nor does its length say how much there is.
    let many: Vec<String> = (0..255).map(|nth| format!("no{nth}")).collect();
    let with = |more: &'static str| -> Vec<&str> { many.iter().map(String::as_str).chain([more]).collect() };
    let rooms = (brought(&mut world, ben, &with("all")).0, brought(&mut world, ben, &with("nothing")).0);
    assert_eq!(rooms, (200, 200));
    // What is seen stands there once, whatever it is called.
    assert_eq!(brought(&mut world, ben, &["plug", "PLUG", "kitchen"]).1.len(), 1);
}

/// A fetch of 2000, whose answer is the state.
fn fetch(world: &mut World, phone: usize) -> (u16, String) {
    let fields = "Expires: 0\r\nAccept: application/xpidf+xml\r\n";
    let op = world.at(phone, |phone, now| phone.subscribe_raw("lamp", fields, None, now));
    world.run(500);
    let bytes = world.phones[phone].ops[op].response.clone().unwrap();
    let message = Message::parse(&bytes).unwrap();
    (world.phones[phone].ops[op].status(), String::from_utf8_lossy(message.body).into_owned())
}

/// Proves: AUTH-3
#[test]
fn a_polite_block_is_polite_in_every_field() {
    let (mut blocked, mut allowed) =
        (ruled(1407, "anna", "polite-block", "block"), ruled(1408, "anna", "allow", "block"));
    let mut seen = Vec::new();
    for world in [&mut blocked, &mut allowed] {
        world.report("tele/lamp/LWT", "Offline");
        let ben = world.phone("ben");
        let (status, body) = fetch(world, ben);
        let fetched = (status, body.contains("closed"), body.contains("atom"));
        watch(world, ben, "lamp", "appliance");
        let notify = world.phones[ben].subs.last().unwrap().notifies.last().unwrap().clone();
        // What is known already is not said again.
        world.phones[ben].extra = format!("Suppress-If-Match: {}\r\n", notify.etag);
        let op = world.at(ben, |phone, now| phone.refresh(1, 600, now));
        world.run(500);
        seen.push((fetched, notify.etag.is_empty(), world.phones[ben].ops[op].status()));
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn nothing_is_toggled_by_the_dozen_in_any_form() {
    let group = "alerts: {message: [anna]}\ngroups: {lights: [plug, lamp]}\n";
    let mut world = World::with(1409, home::edited(&[(ALERTS, group)]));
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    let anna = world.phone("anna");
    world.run(500);
    for body in [
        "<command>Toggle</command>",
        "<DMPAction><Device>*</Device><Control><Action>Toggle</Action></Control></DMPAction>",
        "<DMPAction><Device>*</Device><Control><Action>Set</Action><Argument>toggle</Argument></Control></DMPAction>",
    ] {
        world.at(anna, |phone, now| phone.request("DO", "lights", "", Some(("application/dmp", body)), now));
        world.run(3_000);
        assert!(world.plug.writes.is_empty() && world.lamp.writes.is_empty(), "{body}");
    }
    let entry = |uri: &str| Item::Entry(Entry { uri: format!("sip:{uri}@home.example"), ..Entry::default() });
    let list = List { items: ["plug", "lamp"].map(entry).to_vec(), ..List::default() };
    let part = |kind: &str, disposition: Option<&str>, body: String| Part {
        content_type: Some(kind.to_owned()),
        disposition: disposition.map(ToOwned::to_owned),
        body: body.into_bytes(),
        ..Part::default()
    };
    let parts = vec![
        part("text/plain", None, "toggle".to_owned()),
        part(LISTS, Some("recipient-list"), resource_lists::write(&[list])),
    ];
    let (kind, body) =
        multipart::write(&Multipart { subtype: "mixed".to_owned(), start: None, parts }, "list");
    let (kind, body): (&'static str, String) = (kind.leak(), String::from_utf8(body).unwrap());
    let require = "Require: recipient-list-message\r\n";
    world.at(anna, |phone, now| phone.request("MESSAGE", "home", require, Some((kind, &body)), now));
    world.run(3_000);
    assert!(world.plug.writes.is_empty() && world.lamp.writes.is_empty());
    // One alone is.
    let one = "<command>Toggle</command>";
    world.at(anna, |phone, now| phone.request("DO", "plug", "", Some(("application/dmp", one)), now));
    world.run(3_000);
    assert!(world.plug.on);
}

/// Proves: REQ-8.6.1
#[test]
fn who_is_released_is_released_alone() {
    let section = "alerts: {message: [anna]}\nisolate: {who: [anna], release_local: [anna]}\n";
    let hall = "devices:\n  hall:\n    name: Hall\n    profile: plug\n    params: {topic: hall}\n";
    // Damage isolates everything.
    let mut world = World::with(1410, home::edited(&[(ALERTS, section)]));
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    let anna = world.phone("anna");
    let now = world.time();
    let key = Key { kind: Kind::Isolated, user: "home".to_owned() };
    assert!(world.gateway.restore(key.clone(), b"plug", now).is_err());
    world.gateway.isolate(Some("plug"), false, now).unwrap();
    world.handle(Input::Deadline);
    assert_eq!(say(&mut world, anna, "plug", "on").0, 200);
    assert_eq!(say(&mut world, anna, "lamp", "on").0, 480, "the other one stays what it is");
    // What came later is covered, and stays so.
    assert_eq!(say(&mut world, anna, "home", "isolate all").0, 200);
    let later = home::edited(&[(ALERTS, section), ("devices:\n", hall)]);
    world.handle(Input::Reload(later));
    world.run(500);
    assert_eq!(say(&mut world, anna, "hall", "on").0, 480);
    assert_eq!(say(&mut world, anna, "plug", "release").0, 200);
    assert_eq!(say(&mut world, anna, "hall", "on").0, 480);
}

/// What is written must be read again at the next start, or every decision is lost.
#[test]
fn decisions_are_never_more_than_can_be_read_again() {
    let mut world = World::with(1411, two_owners("    ask: [lamp]\n"));
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(anna, |phone, now| phone.register(600, now));
    world.run(300);
    watch(&mut world, ben, "lamp", "presence");
    let question = world.phones[anna].messages.last().unwrap().1.clone();
    let number = question.split_once("`allow ").unwrap().1.split('`').next().unwrap().to_owned();
    // As many rules as fit.
    let one = |nth: usize| {
        format!(
            r#"<rule id="r{nth}"><conditions><identity><one id="sip:x{nth}@e.example"/></identity></conditions>
            <actions><pr:sub-handling>block</pr:sub-handling><act:do-handling>block</act:do-handling></actions>
            <transformations><pr:provide-all-attributes/></transformations></rule>"#
        )
    };
    let rules: String = (0..222).map(one).collect();
    let ns = r#"xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"
        xmlns:act="urn:x-sipliance:control-rules:1""#;
    let text = format!("<ruleset {ns}>{rules}</ruleset>");
    let (key, now) = (Key { kind: Kind::Rules, user: "anna".to_owned() }, world.time());
    world.gateway.restore(key, text.as_bytes(), now).unwrap();
    let (_, words) = say(&mut world, anna, "home", &format!("allow {number} for 2h"));
    let kept: Vec<_> = world.kept.iter().filter_map(|(_, body)| body.clone()).collect();
    assert!(kept.iter().all(|body| policy::read(body).is_ok()), "{words}");
}

/// However many rules say so: what is granted as a whole is one grant, and a decision stays quick.
#[test]
fn many_rules_for_a_large_house_cost_little() {
    let device = |n: usize| {
        format!("  dev{n}:\n    name: Dev {n}\n    profile: plug\n    params: {{topic: dev{n}}}\n")
    };
    let devices: String = std::iter::once("devices:\n".to_owned()).chain((0..300).map(device)).collect();
    let mut world = World::with(1412, home::edited(&[(ALERTS, ASKS), ("devices:\n", &devices)]));
    let one = |nth: usize| {
        format!(
            r#"<rule id="r{nth}"><conditions><identity><one id="sip:ben@home.example"/></identity></conditions>
            <actions><pr:sub-handling>allow</pr:sub-handling></actions>
            <transformations><pr:provide-all-attributes/></transformations></rule>"#
        )
    };
    let rules: String = (0..240).map(one).collect();
    let ns = r#"xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules""#;
    let text = format!("<ruleset {ns}>{rules}</ruleset>");
    let (key, now) = (Key { kind: Kind::Rules, user: "anna".to_owned() }, world.time());
    world.gateway.restore(key, text.as_bytes(), now).unwrap();
    let granted = format!("{:?}", world.gateway).matches("granted: [").count();
    assert!(granted > 0);
    let ben = world.phone("ben");
    for (name, status) in [("dev299", 200), ("lamp", 200), ("nothing", 404)] {
        assert_eq!(watch(&mut world, ben, name, "appliance"), status, "{name}");
    }
    // Debug prints every grant: without merging there are two hundred thousand.
    assert!(format!("{:?}", world.gateway).matches("Item {").count() < 1000);
}

/// The status line and the words of the last answer.
fn said(world: &World, phone: usize, op: usize) -> (u16, String) {
    let bytes = world.phones[phone].ops[op].response.clone().unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    (world.phones[phone].ops[op].status(), format!("{}\n{body}", text.lines().next().unwrap()))
}

/// Of an appliance that he may see in part, what he may not see has no name.
#[test]
fn hidden_properties_have_no_names() {
    let ben = "  - who: ben\n    see: [plug.watts]\n";
    let mut world = World::with(1413, home::edited(&[(BEN, ben)]));
    world.report("stat/plug/POWER", "OFF");
    let ben = world.phone("ben");
    let dmp = "application/dmp";
    let mut ask = |name: &str| {
        let one = |event: &str| {
            format!(
                "<DMPAction><Device>plug</Device><Subscribe><Variable>{name}</Variable>{event}<Duration>600</Duration></Subscribe></DMPAction>"
            )
        };
        let two = one("").replacen("<Subscribe>", "<Query><Variable>watts</Variable></Query><Subscribe>", 1);
        let mut heard = Vec::new();
        for body in [one(""), one("<Event>&lt; 32</Event>"), two, format!("<event>{name}</event>")] {
            let body = Some((dmp, body.as_str()));
            let op = world
                .at(ben, |phone, now| phone.subscribe_with("plug", "appliance", Some(dmp), 600, body, now));
            world.run(500);
            heard.push(said(&world, ben, op));
        }
        let words = world.at(ben, |phone, now| {
            phone.request("DO", "plug", "", Some(("text/plain", &format!("{name} on"))), now)
        });
        world.run(500);
        heard.push(said(&world, ben, words));
        heard.into_iter().map(|(status, words)| (status, words.replace(name, "NAME"))).collect::<Vec<_>>()
    };
    let (hidden, absent) = (ask("power"), ask("sugar"));
    assert_eq!(hidden, absent);
}

#[test]
fn an_agent_learns_no_names() {
    let mut world =
        World::with(1414, home::edited(&[(ALERTS, "alerts: {message: [anna]}\nagents: [carla]\n")]));
    let carla = world.phone("carla");
    for name in ["lamp", "nothing"] {
        let op = world.at(carla, |phone, now| phone.qauth("ben@home.example", name, now));
        world.run(500);
        assert_eq!(world.phones[carla].ops[op].status(), 603, "{name}");
    }
}

#[test]
fn who_lost_the_right_keeps_no_setting() {
    let acts = "  - who: ben\n    see: [plug]\n    do: [plug]\n";
    let mut world = World::with(1415, home::edited(&[(BEN, acts)]));
    world.report("stat/plug/POWER", "OFF");
    let ben = world.phone("ben");
    let op = world.at(ben, |phone, now| phone.lease("plug", true, 60, now));
    world.run(2_000);
    let bytes = world.phones[ben].ops[op].response.clone().unwrap();
    let tag = Message::parse(&bytes).unwrap().first(Name::SipETag).map(<[u8]>::to_vec).unwrap();
    let refresh = format!("SIP-If-Match: {}\r\nExpires: 600\r\n", String::from_utf8(tag).unwrap());
    world.handle(Input::Reload(home::config(None)));
    world.run(500);
    let op = world.at(ben, |phone, now| phone.publish("plug", None, &refresh, now));
    world.run(1_000);
    assert_eq!(world.phones[ben].ops[op].status(), 403);
    world.run(60_000);
    assert!(!world.plug.on, "it ended in its time");
}

/// Damage isolates everything, and goes on to do so after the next start: the damaged document is moved
/// aside.
///
/// Proves: REQ-8.6.1
#[test]
fn damage_to_the_switch_releases_nothing_later() {
    let key = Key { kind: Kind::Isolated, user: "home".to_owned() };
    for damaged in [&b""[..], b"\n", b"= plug", b"\0\0\0"] {
        let mut world = World::new(1416);
        let now = world.time();
        assert!(world.gateway.restore(key.clone(), damaged, now).is_err(), "{damaged:?}");
        world.handle(Input::Deadline);
        assert!(world.gateway.status(world.time()).devices.iter().all(|device| device.isolated));
        let kept = world.kept.last().cloned();
        assert_eq!(kept, Some((key.clone(), Some("all local\n".into()))), "{damaged:?}");
    }
}

/// A QAUTH that is answered late is no decision over one that was made meanwhile.
#[test]
fn a_late_authorizer_changes_no_decision() {
    let asks = "alerts: {message: [anna]}\nowners: [anna]\n";
    let ben_asks = format!("{BEN}    ask: [lamp]\n");
    let mut world = World::with(1417, home::edited(&[(ALERTS, asks), (BEN, &ben_asks)]));
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(anna, |phone, now| phone.register_authorizer(600, now));
    world.run(300);
    world.phones[anna].replies.extend([Reply::Status(200), Reply::Status(183)]);
    watch(&mut world, ben, "lamp", "presence");
    let qauths = |world: &World| -> Vec<bytes::Bytes> {
        let asked = world.phones[anna].asked.iter().filter(|(method, _)| method == "QAUTH");
        let mut seen: Vec<bytes::Bytes> = Vec::new();
        asked.for_each(|(_, bytes)| {
            if !seen.contains(bytes) {
                seen.push(bytes.clone());
            }
        });
        seen
    };
    let asked = qauths(&world);
    assert_eq!(asked.len(), 1);
    // A phone that registers again is not asked again while it thinks.
    world.at(anna, |phone, now| phone.register_authorizer(600, now));
    world.run(500);
    assert_eq!(qauths(&world).len(), 1);
    let question = world.phones[anna].messages.last().unwrap().1.clone();
    let number = question.split_once("`allow ").unwrap().1.split('`').next().unwrap().to_owned();
    assert!(say(&mut world, anna, "home", &format!("deny {number}")).1.starts_with("ben may not watch"));
    let text = String::from_utf8(asked[0].to_vec()).unwrap();
    let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let fields: String = text
        .lines()
        .filter(|line| copied.iter().any(|name| line.starts_with(name)))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let answer = format!("SIP/2.0 200 OK\r\n{fields}Content-Length: 0\r\n\r\n");
    let from = world.phones[anna].hop.local;
    world.inject(from, answer.into_bytes());
    world.run(1_000);
    assert_eq!(watch(&mut world, ben, "lamp", "presence"), 404);
}

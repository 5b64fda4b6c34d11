//! Requests to watch: pending, asked, decided, ended; and what is told of watchers.

use std::sync::Arc;

use sipliance::config::Config;
use sipliance::gateway::{Key, Kind};
use sipliance::sip::wire::{Message, Name};

use super::home;
use super::phone::Reply;
use super::world::World;

/// A house where Ben may ask for the lamp, Anna decides, and Carla is an agent of somebody else.
fn config() -> Arc<Config> {
    home::changed(
        "alerts: {message: [anna]}\naccess:\n  - who: anna\n    see: \"*\"\n    do: \"*\"\n  - who: ben\n    see: [plug]\n",
        "alerts: {message: [anna]}\nowners: [anna]\nagents: [carla]\naccess:\n  - who: anna\n    see: \"*\"\n    do: \"*\"\n  - who: ben\n    see: [plug]\n    ask: [lamp]\n",
    )
}

fn states(world: &World, phone: usize, sub: usize) -> Vec<String> {
    let notifies = &world.phones[phone].subs[sub].notifies;
    notifies.iter().map(|it| it.state.split(";expires").next().unwrap().to_owned()).collect()
}

fn body(world: &World, phone: usize, sub: usize) -> String {
    world.phones[phone].subs[sub].notifies.last().expect("a NOTIFY").body.clone()
}

/// The number that the last question to a phone names.
fn number(world: &World, phone: usize) -> String {
    let question =
        world.phones[phone].messages.iter().rev().find(|(_, text)| text.contains("wants to watch"));
    let text = &question.expect("a question").1;
    text.split_once("`allow ").unwrap().1.split('`').next().unwrap().to_owned()
}

/// Anna at her phone, and Ben's pending subscription to the presence of the lamp.
fn pending(seed: u64, expires: u32) -> (World, usize, usize) {
    let mut world = World::with(seed, config());
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(anna, |phone, now| phone.register(600, now));
    world.run(300);
    let op = world.at(ben, |phone, now| phone.subscribe("lamp", "presence", expires, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 200);
    (world, anna, ben)
}

/// Proves: EV-15, EV-16, PR-2, PR-8, AUTH-5
#[test]
fn an_owner_allows_by_message() {
    let (mut world, anna, ben) = pending(901, 600);
    assert_eq!(states(&world, ben, 0), ["pending"]);
    let neutral = body(&world, ben, 0);
    assert!(neutral.contains("waiting for the owner") && !neutral.contains("<tuple"), "{neutral}");
    // Nothing of what the lamp does reaches Ben.
    world.report("stat/lamp/POWER", "ON");
    world.run(3_000);
    assert_eq!(states(&world, ben, 0), ["pending"]);
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(1_000);
    assert!(world.phones[anna].messages.last().unwrap().1.starts_with("ben may watch Lamp"));
    assert_eq!(states(&world, ben, 0), ["pending", "active"]);
    assert!(body(&world, ben, 0).contains("<tuple id=\"a-lamp\">"));
    // The right is one: every package, also later, also in lists.
    let op = world.at(ben, |phone, now| phone.subscribe("lamp", "appliance", 600, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 200);
    assert_eq!(states(&world, ben, 1), ["active"]);
    // To watch is not to act.
    let op = world.at(ben, |phone, now| phone.message("lamp", "off", now));
    world.run(1_000);
    assert_eq!(world.phones[ben].ops[op].status(), 403);
    // She thinks again.
    world.at(anna, |phone, now| phone.message("home", &format!("deny {number}"), now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 0).last().unwrap(), "terminated;reason=rejected");
    assert_eq!(states(&world, ben, 1).last().unwrap(), "terminated;reason=rejected");
    let op = world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 404);
}

/// Proves: EV-18
#[test]
fn an_owner_denies_and_only_an_owner_decides() {
    let (mut world, anna, ben) = pending(902, 600);
    let number = number(&world, anna);
    world.at(ben, |phone, now| phone.register(600, now));
    world.run(300);
    world.at(ben, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 0), ["pending"]);
    world.at(anna, |phone, now| phone.message("home", &format!("deny {number}"), now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 0), ["pending", "terminated;reason=rejected"]);
    assert_eq!(world.phones[ben].subs[0].notifies.last().unwrap().body, "");
}

/// Proves: QA-3
#[test]
fn a_grant_ends_when_it_was_said_to() {
    let (mut world, anna, ben) = pending(903, 7_200);
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number} for 1 h"), now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 0), ["pending", "active"]);
    world.run(3_590_000);
    assert_eq!(states(&world, ben, 0), ["pending", "active"]);
    world.run(20_000);
    assert_eq!(states(&world, ben, 0).last().unwrap(), "terminated;reason=timeout");
    // Who asks again is a new question.
    let before = world.phones[anna].messages.len();
    world.at(anna, |phone, now| phone.register(600, now));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 1), ["pending"]);
    assert_eq!(world.phones[anna].messages.len(), before + 1);
}

/// Proves: WI-1, WI-2, WI-3, PR-10, NEG-10
#[test]
fn an_owner_is_told_who_watches() {
    let mut world = World::with(904, config());
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(anna, |phone, now| phone.register(600, now));
    world.at(anna, |phone, now| phone.subscribe("lamp", "presence.winfo", 600, now));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence.winfo", 600, now));
    world.run(300);
    assert!(body(&world, anna, 0).contains(r#"version="0" state="full""#), "{}", body(&world, anna, 0));
    assert!(!body(&world, anna, 0).contains("<watcher "));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(6_000);
    let told = body(&world, anna, 0);
    assert!(told.contains(r#"version="1" state="partial""#), "{told}");
    assert!(told.contains(r#"resource="sip:lamp@home.example" package="presence""#), "{told}");
    assert!(
        told.contains(r#"status="pending" event="subscribe""#) && told.contains(">sip:ben@home.example<")
    );
    // Ben is told of himself.
    assert!(body(&world, ben, 0).contains(">sip:ben@home.example<"));
    // Anna watches, too: Ben is told of nobody else.
    world.at(anna, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(6_000);
    assert!(body(&world, anna, 0).contains(">sip:anna@home.example<"));
    assert!(!body(&world, ben, 0).contains("anna"));
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(6_000);
    let told = body(&world, anna, 0);
    assert!(told.contains(r#"status="active" event="approved""#) && told.contains("ben"), "{told}");
    assert!(!told.contains(">sip:anna@"), "only what changed: {told}");
    // A refresh brings everything.
    world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(6_000);
    let told = body(&world, anna, 0);
    assert!(told.contains(r#"state="full""#) && told.contains("ben") && told.contains("anna"), "{told}");
    // The end of one is news once.
    let sub = 1;
    world.at(ben, |phone, now| phone.refresh(sub, 0, now));
    world.run(6_000);
    assert!(body(&world, anna, 0).contains(r#"status="terminated" event="timeout""#));
}

/// RFC 3857 §4.7.1: pending, waiting, decided.
///
/// Proves: WI-5
#[test]
fn who_gave_up_waiting_is_still_decided_over() {
    let (mut world, anna, ben) = pending(905, 60);
    world.at(anna, |phone, now| phone.subscribe("lamp", "presence.winfo", 6_000, now));
    world.run(200_000);
    assert_eq!(states(&world, ben, 0), ["pending", "terminated;reason=timeout"]);
    assert!(
        body(&world, anna, 0).contains(r#"status="waiting" event="timeout""#),
        "{}",
        body(&world, anna, 0)
    );
    world.at(anna, |phone, now| phone.register(600, now));
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(6_000);
    assert!(body(&world, anna, 0).contains(r#"status="terminated" event="approved""#));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(500);
    assert_eq!(states(&world, ben, 1), ["active"]);
}

/// A fetch of somebody over whom nobody has decided.
#[test]
fn a_fetch_asks_too() {
    let (mut world, anna, ben) = pending(906, 0);
    assert_eq!(states(&world, ben, 0), ["terminated;reason=timeout"]);
    assert!(body(&world, ben, 0).contains("waiting for the owner"));
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(1_000);
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 0, now));
    world.run(500);
    assert!(body(&world, ben, 1).contains("<tuple id=\"a-lamp\">"));
}

/// Proves: QA-1, QA-2, NEG-16
#[test]
fn a_phone_that_authorizes_is_asked() {
    let mut world = World::with(907, config());
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(500);
    assert_eq!(states(&world, ben, 0), ["pending"], "nobody is waited for");
    world.phones[anna].replies.push_back(Reply::Grant(300));
    world.at(anna, |phone, now| phone.register_authorizer(600, now));
    world.run(1_000);
    let asked = world.phones[anna].asked.iter().find(|(method, _)| method == "QAUTH").expect("a QAUTH");
    let text = String::from_utf8_lossy(&asked.1).into_owned();
    assert!(text.contains("From: <sip:ben@home.example>;tag="), "{text}");
    assert!(text.contains("To: <sip:lamp@home.example>\r\n"), "{text}");
    assert_eq!(states(&world, ben, 0), ["pending", "active"]);
    world.run(301_000);
    assert_eq!(states(&world, ben, 0).last().unwrap(), "terminated;reason=timeout");
    // A decision against it.
    world.phones[anna].replies.push_back(Reply::Status(200));
    world.phones[anna].replies.push_back(Reply::Status(603));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 1), ["pending", "terminated;reason=rejected"]);
}

/// Proves: QA-5
#[test]
fn a_phone_that_cannot_is_not_asked_again() {
    let mut world = World::with(908, config());
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(anna, |phone, now| phone.register_authorizer(600, now));
    world.run(500);
    world.phones[anna].replies.extend([Reply::Status(200), Reply::Status(405)]);
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(1_000);
    let qauths =
        |world: &World| world.phones[anna].asked.iter().filter(|(method, _)| method == "QAUTH").count();
    assert_eq!(qauths(&world), 1);
    world.at(anna, |phone, now| phone.register_authorizer(600, now));
    world.run(1_000);
    assert_eq!(qauths(&world), 1, "it is remembered for the life of the registration");
    assert_eq!(states(&world, ben, 0), ["pending"]);
    // The MESSAGE still works.
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(1_000);
    assert_eq!(states(&world, ben, 0), ["pending", "active"]);
}

/// Proves: QA-4, NEG-17
#[test]
fn an_agent_asks_and_nobody_else_does() {
    let mut world = World::with(909, config());
    let (anna, carla) = (world.phone("anna"), world.phone("carla"));
    world.at(anna, |phone, now| phone.register(600, now));
    let ask = |world: &mut World, who: &str, name: &str| {
        let op = world.at(carla, |phone, now| phone.qauth(who, name, now));
        world.run(500);
        world.phones[carla].ops[op].status()
    };
    assert_eq!(ask(&mut world, "ben@home.example", "plug"), 200);
    assert_eq!(ask(&mut world, "ben@home.example", "lamp"), 503, "nobody has decided");
    assert_eq!(ask(&mut world, "thief@evil.example", "lamp"), 603);
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number} for 10 min"), now));
    world.run(500);
    assert_eq!(ask(&mut world, "ben@home.example", "lamp"), 200);
    let response = world.phones[carla].ops.last().unwrap().response.clone().unwrap();
    let expires = Message::parse(&response).unwrap().first(Name::Expires).map(<[u8]>::to_vec);
    assert!(matches!(expires.as_deref(), Some(b"598" | b"599" | b"600")), "{expires:?}");
    // Anna herself is no agent, whoever her From names.
    let op = world.at(anna, |phone, now| phone.qauth("ben@home.example", "plug", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 403);
}

/// Proves: WI-8, NEG-11, ERR-5
#[test]
fn the_watchers_of_2000() {
    let (mut world, anna, ben) = pending(910, 600);
    let uri = "ben%40home.example%40lamp%40home.example";
    let form = Some("application/xwatcher+xml");
    let op = world.at(anna, |phone, now| phone.subscribe_as(uri, "presence.winfo", form, 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let told = body(&world, anna, 0);
    assert!(told.contains("XWATCHER") && told.contains(r#"uri="sip:lamp@home.example;method=SUBSCRIBE""#));
    assert!(told.contains(r#"<watcher uri="sip:ben@home.example" status="pending""#), "{told}");
    let number = number(&world, anna);
    world.at(anna, |phone, now| phone.message("home", &format!("allow {number}"), now));
    world.run(6_000);
    assert!(body(&world, anna, 0).contains(r#"status="active""#));
    let _ = ben;
}

const RULES: &str = r#"<?xml version="1.0"?>
<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"
 xmlns:act="urn:x-sipliance:control-rules:1">
 <rule id="ben"><conditions><identity><one id="sip:ben@home.example"/></identity>
  <act:appliances><act:appliance id="lamp"/></act:appliances></conditions>
  <actions><pr:sub-handling>@WATCH@</pr:sub-handling><act:do-handling>@ACT@</act:do-handling></actions>
  <transformations><act:provide-property name="power"/></transformations></rule>
</ruleset>"#;

pub fn ruled(seed: u64, owner: &str, watch: &str, act: &str) -> World {
    let mut world = World::with(seed, config());
    let key = Key { kind: Kind::Rules, user: owner.to_owned() };
    let rules = RULES.replace("@WATCH@", watch).replace("@ACT@", act);
    let now = world.time();
    world.gateway.restore(key, rules.as_bytes(), now).unwrap();
    world
}

/// Proves: AUTH-3, PR-9
#[test]
fn a_polite_block_looks_like_an_appliance_that_is_off() {
    let mut world = ruled(911, "anna", "polite-block", "block");
    let ben = world.phone("ben");
    for package in ["presence", "appliance", "dialog"] {
        world.at(ben, |phone, now| phone.subscribe("lamp", package, 600, now));
    }
    world.run(500);
    let first: Vec<String> = (0..3).map(|sub| body(&world, ben, sub)).collect();
    assert!(first[0].contains("<basic>closed</basic>") && first[0].contains("offline for"), "{}", first[0]);
    assert!(first[1].contains(r#""vs":"offline""#) && !first[1].contains("power"), "{}", first[1]);
    assert!(first[2].contains("terminated"));
    // Whatever the lamp does, nothing moves.
    world.report("stat/lamp/POWER", "ON");
    world.report("stat/lamp/BUTTON", "short");
    world.run(10_000);
    assert_eq!(states(&world, ben, 0), ["active"]);
    assert_eq!(states(&world, ben, 1), ["active"]);
    world.at(ben, |phone, now| phone.refresh(1, 600, now));
    world.run(500);
    assert_eq!(body(&world, ben, 1), first[1]);
    let op = world.at(ben, |phone, now| phone.message("lamp", "off", now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 404);
}

/// Proves: AUTH-2, AUTH-6
#[test]
fn a_rule_shows_what_it_says_and_lets_act_where_it_says_so() {
    for (seed, act, status) in [(912, "block", 403), (913, "allow", 200)] {
        let mut world = ruled(seed, "anna", "allow", act);
        let ben = world.phone("ben");
        world.at(ben, |phone, now| phone.subscribe("lamp", "appliance", 600, now));
        world.run(500);
        assert_eq!(states(&world, ben, 0), ["active"]);
        world.report("tele/lamp/SENSOR", r#"{"ENERGY":{"Power":40}}"#);
        world.run(1_000);
        assert!(body(&world, ben, 0).contains(r#""n":"power""#), "{}", body(&world, ben, 0));
        assert_eq!(body(&world, ben, 0).contains("watts"), act == "allow", "who acts sees all");
        let op = world.at(ben, |phone, now| phone.message("lamp", "on", now));
        world.run(4_000);
        assert_eq!(world.phones[ben].ops[op].status(), status, "{act}");
    }
}

/// Rules of somebody who is no owner are words.
///
/// Proves: AUTH-1
#[test]
fn only_owners_rule() {
    let mut world = ruled(914, "ben", "allow", "allow");
    let ben = world.phone("ben");
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(500);
    assert_eq!(states(&world, ben, 0), ["pending"]);
}

/// Proves: WI-4
#[test]
fn there_are_no_watchers_of_watchers() {
    let mut world = World::with(915, config());
    let anna = world.phone("anna");
    for name in ["presence.winfo.winfo", "dialog.winfo"] {
        let op = world.at(anna, |phone, now| phone.subscribe("lamp", name, 600, now));
        world.run(300);
        assert_eq!(world.phones[anna].ops[op].status(), 489, "{name}");
    }
}

/// Proves: WI-5
#[test]
fn who_waits_for_much_is_refused_more() {
    let mut world = World::with(916, config());
    let ben = world.phone("ben");
    let mut statuses = Vec::new();
    for nth in 0..10 {
        // Each from another Contact, or it would be the same one again.
        world.phones[ben].extra = format!("X-Nth: {nth}\r\n");
        let event = if nth % 2 == 0 { format!("presence;id={nth}") } else { format!("appliance;id={nth}") };
        let op = world.at(ben, |phone, now| phone.subscribe("lamp", &event, 600, now));
        world.run(300);
        statuses.push(world.phones[ben].ops[op].status());
    }
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 200, 403, 403]);
}

/// A rule counts while all that it asks for is so, and one that asks for what is not known never does.
///
/// Proves: AUTH-4
#[test]
fn the_conditions_of_a_rule_decide() {
    let day =
        |from: &str, until: &str| format!("<validity><from>{from}</from><until>{until}</until></validity>");
    let cases = [
        (day("2020-01-01T00:00:00Z", "2090-01-01T00:00:00Z"), true),
        (day("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"), false),
        ("<sphere value=\"home\"/>".to_owned(), false),
        ("<x:moon xmlns:x=\"urn:x\"/>".to_owned(), false),
        (String::new(), true),
    ];
    for (nth, (condition, active)) in cases.into_iter().enumerate() {
        let mut world = World::with(920 + nth as u64, config());
        let key = Key { kind: Kind::Rules, user: "anna".to_owned() };
        let rules = RULES.replace("@WATCH@", "allow").replace("@ACT@", "block");
        let rules = rules.replace("</identity>", &format!("</identity>{condition}"));
        let now = world.time();
        world.gateway.restore(key, rules.as_bytes(), now).unwrap();
        let ben = world.phone("ben");
        world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
        world.run(500);
        let due = if active { "active" } else { "pending" };
        assert_eq!(states(&world, ben, 0), [due], "{condition}");
    }
}

/// Of two owners, one who refused has decided, and one who allows is enough.
#[test]
fn a_refusal_is_not_asked_about_again_because_another_owner_would_be() {
    let home = || {
        home::edited(&[
            ("alerts: {message: [anna]}\n", "alerts: {message: [anna]}\nowners: [anna, carla]\n"),
            ("  - who: anna\n", "  - who: [anna, carla]\n"),
        ])
    };
    for (anna, carla, due) in [
        ("confirm", "block", 404),
        ("confirm", "allow", 200),
        ("block", "allow", 200),
        ("block", "block", 404),
    ] {
        let mut world = World::with(940, home());
        for (owner, watch) in [("anna", anna), ("carla", carla)] {
            let key = Key { kind: Kind::Rules, user: owner.to_owned() };
            let rules = RULES.replace("@WATCH@", watch).replace("@ACT@", "block");
            let now = world.time();
            world.gateway.restore(key, rules.as_bytes(), now).unwrap();
        }
        let ben = world.phone("ben");
        let op = world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
        world.run(500);
        assert_eq!(world.phones[ben].ops[op].status(), due, "{anna} and {carla}");
        if due == 200 {
            assert_eq!(states(&world, ben, 0), ["active"]);
        }
    }
}

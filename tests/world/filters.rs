//! Filters (RFC 4660, 4661): what a watcher wants of what he may see, and upon which changes.

use sipliance::body::pidf;
use sipliance::body::presence::Status;
use sipliance::body::rlmi;
use sipliance::gateway::Input;

use super::home;
use super::world::World;

const KIND: &str = "application/simple-filter+xml";

/// A filter set with these filters.
fn set(filters: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?>\r\n<filter-set xmlns=\"urn:ietf:params:xml:ns:simple-filter\"><ns-bindings>\
         <ns-binding prefix=\"p\" urn=\"urn:ietf:params:xml:ns:pidf\"/>\
         <ns-binding prefix=\"ap\" urn=\"urn:x-sipliance:appliance:1\"/></ns-bindings>{filters}</filter-set>"
    )
}

fn fields(world: &World, phone: usize, event: &str) -> String {
    format!("Contact: <{}>\r\nEvent: {event}\r\nSupported: eventlist\r\n", world.phones[phone].contact())
}

fn watch(world: &mut World, user: &str, name: &str, event: &str, body: &str) -> (usize, u16) {
    let phone = world.phone(user);
    let fields = fields(world, phone, event);
    let op =
        world.at(phone, |phone, now| phone.subscribe_raw(name, &fields, Some((KIND, body.to_owned())), now));
    world.run(500);
    (phone, world.phones[phone].ops[op].status())
}

fn answer(world: &World, phone: usize) -> String {
    String::from_utf8_lossy(world.phones[phone].ops.last().unwrap().response.as_ref().unwrap()).into_owned()
}

fn watts(world: &mut World, value: f64) {
    world.report("tele/plug/SENSOR", &format!("{{\"ENERGY\":{{\"Power\":{value}}}}}"));
    world.run(1_500);
}

fn bodies(world: &World, phone: usize) -> Vec<String> {
    world.phones[phone].subs[0].notifies.iter().map(|notify| notify.body.clone()).collect()
}

/// Proves: FL-1, FL-2
#[test]
fn only_what_is_included_is_shown_and_only_its_changes_are_told() {
    let mut world = World::new(841);
    world.report("stat/plug/POWER", "ON");
    watts(&mut world, 10.0);
    let filter = set("<filter id=\"f\"><what><include type=\"xpath\">watts</include></what></filter>");
    let (anna, status) = watch(&mut world, "anna", "plug", "appliance", &filter);
    assert_eq!(status, 200);
    let first = bodies(&world, anna)[0].clone();
    assert!(first.contains("\"watts\"") && !first.contains("\"power\""), "{first}");
    // What is not included changes, and the bell rings: nothing to tell.
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/plug/BUTTON", "short");
    world.run(2_000);
    assert_eq!(bodies(&world, anna).len(), 1);
    watts(&mut world, 11.0);
    let all = bodies(&world, anna);
    assert_eq!(all.len(), 2);
    assert!(all[1].contains("11") && !all[1].contains("short"), "no moment comes late: {}", all[1]);
}

#[test]
fn what_is_excluded_is_left_out_of_a_presence() {
    let mut world = World::new(842);
    world.report("stat/plug/POWER", "ON");
    watts(&mut world, 10.0);
    let filter = set("<filter id=\"f\"><what><exclude>/p:presence/p:note</exclude>\
         <exclude>//ap:value[@name=\"power\"]</exclude><exclude>//p:contact</exclude></what></filter>");
    let (anna, status) = watch(&mut world, "anna", "plug", "presence", &filter);
    assert_eq!(status, 200);
    let body = bodies(&world, anna)[0].clone();
    let presence = pidf::read(body.as_bytes()).unwrap_or_else(|why| panic!("{why}: {body}"));
    let tuple = &presence.tuples[0];
    assert_eq!((&tuple.contact, tuple.notes.len(), presence.notes.len()), (&None, 0, 0), "{body}");
    assert!(tuple.extra("watts").is_some() && tuple.extra("power").is_none(), "{body}");
    assert_ne!(tuple.status, Status::Unknown, "{body}");
    let filter = set("<filter id=\"f\"><what><include>//p:note</include></what></filter>");
    let (ben, _) = watch(&mut world, "ben", "plug", "presence", &filter);
    let body = bodies(&world, ben)[0].clone();
    let presence = pidf::read(body.as_bytes()).unwrap_or_else(|why| panic!("{why}: {body}"));
    assert!(!presence.notes.is_empty() && presence.tuples[0].status == Status::Unknown, "{body}");
}

/// Proves: FL-2
#[test]
fn a_trigger_tells_when_the_value_has_moved_far_enough_since_it_was_last_told() {
    let mut world = World::new(843);
    watts(&mut world, 10.0);
    let filter = set("<filter id=\"f\"><trigger><changed by=\"5\">watts</changed></trigger></filter>");
    let (anna, _) = watch(&mut world, "anna", "plug", "appliance", &filter);
    for (value, told) in [(12.0, 1), (14.9, 1), (15.0, 2), (11.0, 2), (10.0, 3)] {
        watts(&mut world, value);
        assert_eq!(bodies(&world, anna).len(), told, "at {value} W");
    }
    // A refresh always tells.
    let fields = fields(&world, anna, "appliance");
    world.at(anna, |phone, now| phone.refresh_raw(0, &fields, None, now));
    world.run(500);
    assert_eq!(bodies(&world, anna).len(), 4);
    // From one value to another.
    let filter =
        set("<filter id=\"f\"><trigger><changed from=\"false\" to=\"true\">power</changed></trigger>\
         <trigger><added>button</added></trigger></filter>");
    let (ben, _) = watch(&mut world, "anna", "plug", "appliance", &filter);
    let heard = |world: &World| world.phones[ben].subs[0].notifies.len();
    for (power, told) in [("OFF", 1), ("ON", 2), ("OFF", 2), ("ON", 2), ("OFF", 2)] {
        world.report("stat/plug/POWER", power);
        world.run(1_500);
        assert_eq!(heard(&world), told, "off was not told, so on is no news: {power}");
    }
    world.at(ben, |phone, now| phone.refresh_raw(0, &fields_of(phone.contact()), None, now));
    world.run(500);
    world.report("stat/plug/POWER", "ON");
    world.run(1_500);
    assert_eq!(heard(&world), 4, "off was told by the refresh, now it is on");
    world.report("stat/plug/BUTTON", "long");
    world.run(1_500);
    assert_eq!(heard(&world), 5, "the bell is what it waits for, too");
}

fn fields_of(contact: String) -> String {
    format!("Contact: <{contact}>\r\nEvent: appliance\r\n")
}

/// Proves: FL-4
#[test]
fn a_refresh_replaces_by_id_and_without_a_body_keeps() {
    let mut world = World::new(844);
    world.report("stat/plug/POWER", "ON");
    watts(&mut world, 10.0);
    let only = |what: &str| set(&format!("<filter id=\"f\"><what><include>{what}</include></what></filter>"));
    let (anna, _) = watch(&mut world, "anna", "plug", "appliance", &only("watts"));
    let again = |world: &mut World, body: Option<String>| {
        let fields = fields(world, anna, "appliance");
        let body = body.map(|body| (KIND, body));
        world.at(anna, |phone, now| phone.refresh_raw(0, &fields, body, now));
        world.run(500);
        bodies(world, anna).last().unwrap().clone()
    };
    assert!(!again(&mut world, None).contains("\"power\""), "kept");
    let body = again(&mut world, Some(only("power")));
    assert!(body.contains("\"power\"") && !body.contains("\"watts\""), "replaced: {body}");
    let body = again(&mut world, Some(set("<filter id=\"f\" enabled=\"false\"/>")));
    assert!(body.contains("\"power\"") && body.contains("\"watts\""), "switched off: {body}");
    let body = again(&mut world, Some(set("<filter id=\"f\" remove=\"true\"/>")));
    assert!(body.contains("\"power\"") && body.contains("\"watts\""), "removed: {body}");
    // One that is refused changes nothing.
    again(&mut world, Some(only("power")));
    let before = bodies(&world, anna).len();
    again(&mut world, Some(only("colour")));
    assert_eq!(world.phones[anna].ops.last().unwrap().status(), 488);
    assert_eq!(bodies(&world, anna).len(), before);
    assert!(!again(&mut world, None).contains("\"watts\""));
}

/// Proves: FL-3, FL-5
#[test]
fn what_cannot_be_filtered_is_refused() {
    let mut world = World::new(845);
    let good = set("<filter id=\"f\"><what><include>power</include></what></filter>");
    for (user, name, event, body, due) in [
        ("anna", "plug", "appliance", "<filter-set", 400),
        ("anna", "plug", "appliance", "<other/>", 400),
        (
            "anna",
            "plug",
            "appliance",
            &set("<filter id=\"f\"><what><include>colour</include></what></filter>"),
            488,
        ),
        (
            "anna",
            "plug",
            "presence",
            &set("<filter id=\"f\"><what><include>//p:tuple[1]</include></what></filter>"),
            488,
        ),
        ("anna", "plug", "appliance", &good.replace("<what>", "<min-interval>5</min-interval><what>"), 488),
        ("anna", "plug", "dialog", &good, 415),
        ("anna", "alerts", "message-summary", &good, 415),
        ("anna", "plug", "appliance", &good.replace("<filter-set", "<filter-set package=\"presence\""), 488),
    ] {
        let (phone, status) = watch(&mut world, user, name, event, body);
        assert_eq!(status, due, "{event}: {body}\n{}", answer(&world, phone));
    }
    let anna = world.phone("anna");
    let head = fields(&world, anna, "appliance");
    let op = world
        .at(anna, |phone, now| phone.subscribe_raw("plug", &head, Some(("text/xml", good.clone())), now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 415);
    assert!(answer(&world, anna).contains("Accept: application/simple-filter+xml\r\n"));
    let large = good.replace("</filter-set>", &format!("<!--{}--></filter-set>", "x".repeat(9_000)));
    assert_eq!(watch(&mut world, "anna", "plug", "appliance", &large).1, 413);
}

/// What somebody may not see is as absent to a filter as what is not there.
#[test]
fn a_filter_is_no_way_to_learn_what_is_hidden() {
    let mut world = World::with(846, home::changed("see: [plug]", "see: [plug.watts]"));
    world.report("stat/plug/POWER", "ON");
    watts(&mut world, 10.0);
    let filter =
        |what: &str| set(&format!("<filter id=\"f\"><trigger><changed>{what}</changed></trigger></filter>"));
    let (hidden, status) = watch(&mut world, "ben", "plug", "appliance", &filter("power"));
    let (absent, other) = watch(&mut world, "ben", "plug", "appliance", &filter("colour"));
    assert_eq!((status, other), (488, 488));
    let line = |phone: usize| answer(&world, phone).lines().next().unwrap().to_owned();
    assert_eq!(line(hidden).replace("power", "colour"), line(absent));
    let (ben, _) = watch(&mut world, "ben", "plug", "appliance", &filter("watts"));
    assert!(!bodies(&world, ben)[0].contains("\"power\""));
}

#[test]
fn each_member_of_a_list_has_its_filter() {
    let mut world = World::new(847);
    world.report("stat/plug/POWER", "ON");
    world.report("stat/lamp/POWER", "ON");
    watts(&mut world, 10.0);
    let filter =
        set("<filter id=\"a\" uri=\"sip:plug@home.example\"><what><include>watts</include></what></filter>\
         <filter id=\"b\" domain=\"home.example\"><what><include>power</include></what></filter>");
    let (anna, status) = watch(&mut world, "anna", "all", "appliance", &filter);
    assert_eq!(status, 200);
    let notify = world.phones[anna].subs[0].notifies[0].clone();
    let (_, parts) = rlmi::read_related(&notify.content_type, notify.body.as_bytes()).unwrap();
    let part = |nth: usize| String::from_utf8_lossy(&parts.parts[nth].body).into_owned();
    assert!(part(1).contains("\"watts\"") && !part(1).contains("\"power\""), "the plug: {}", part(1));
    assert!(part(2).contains("\"power\""), "the lamp: {}", part(2));
    world.report("stat/plug/POWER", "OFF");
    world.run(1_500);
    assert_eq!(bodies(&world, anna).len(), 1, "of the plug, the power is not wanted");
    world.report("stat/lamp/POWER", "OFF");
    world.run(1_500);
    assert_eq!(bodies(&world, anna).len(), 2);
}

/// Proves: FL-3
#[test]
fn a_filter_of_something_that_vanishes_ends_its_subscription() {
    let mut world = World::new(848);
    let filter = set("<filter id=\"f\"><what><include>watts</include></what></filter>");
    let (anna, _) = watch(&mut world, "anna", "plug", "appliance", &filter);
    let kept = set("<filter id=\"f\"><what><include>power</include></what></filter>");
    let (other, _) = watch(&mut world, "anna", "plug", "appliance", &kept);
    let from = "    params: {topic: plug}\n";
    let to = "    params: {topic: plug}\n    properties: {watts: false}\n";
    world.handle(Input::Reload(home::changed(from, to)));
    world.run(1_000);
    let last = |phone: usize| world.phones[phone].subs[0].notifies.last().unwrap().state.clone();
    assert_eq!(last(anna), "terminated;reason=badfilter");
    assert_ne!(last(other), "terminated;reason=badfilter");
}

#[test]
fn filters_end_with_their_subscriptions() {
    let mut world = World::new(849);
    let filter = set("<filter id=\"f\"><what><include>watts</include></what></filter>");
    let anna = world.phone("anna");
    let fields = fields(&world, anna, "appliance");
    // Each one replaces the one before, as after a power cut: more than there is room for at once.
    for nth in 0..1_100 {
        let op = world
            .at(anna, |phone, now| phone.subscribe_raw("plug", &fields, Some((KIND, filter.clone())), now));
        world.run(100);
        assert_eq!(world.phones[anna].ops[op].status(), 200, "subscription {nth}");
    }
}

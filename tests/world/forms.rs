//! Which body format a watcher gets: the modern one, unless it names an older one and no other.

use sipliance::body::presence::Status;
use sipliance::body::{lpidf, pidf, rlmi, xpidf};

use super::world::World;

fn subscribed(world: &mut World, name: &str, event: &str, accept: &'static str) -> (u16, String, String) {
    let phone = world.phone("anna");
    let op = world.at(phone, |phone, now| phone.subscribe_as(name, event, Some(accept), 600, now));
    world.run(500);
    let status = world.phones[phone].ops[op].status();
    let notify = world.phones[phone].subs[0].notifies.last().cloned();
    let (kind, body) = notify.map(|notify| (notify.content_type, notify.body)).unwrap_or_default();
    (status, kind, body)
}

/// Proves: NEG-1, NEG-2, NEG-3, NEG-4
#[test]
fn presence_in_the_words_of_three_times() {
    for (accept, kind) in [
        ("application/pidf+xml", "application/pidf+xml"),
        ("*/*", "application/pidf+xml"),
        ("text/lpidf, application/pidf+xml;q=0.1", "application/pidf+xml"),
        ("application/cpim-pidf+xml", "application/cpim-pidf+xml"),
        ("application/xpidf+xml", "application/xpidf+xml"),
        ("text/lpidf", "text/lpidf"),
        ("application/xpidf+xml, text/lpidf;q=0.5", "application/xpidf+xml"),
    ] {
        let mut world = World::new(801);
        world.report("stat/plug/POWER", "ON");
        world.run(500);
        let (status, got, body) = subscribed(&mut world, "plug", "presence", accept);
        assert_eq!((status, got.as_str()), (200, kind), "{accept}");
        let wall = jiff::Timestamp::from_millisecond(world.time().wall_ms).unwrap();
        let read = match kind {
            "text/lpidf" => lpidf::read(body.as_bytes(), wall),
            "application/xpidf+xml" => xpidf::read(body.as_bytes()),
            _ => pidf::read(body.as_bytes()),
        };
        let presence = read.unwrap_or_else(|why| panic!("{why}: {body}"));
        assert!(presence.entity.starts_with("sip:plug@"), "{body}");
        let [tuple] = &presence.tuples[..] else { panic!("one tuple: {body}") };
        assert_eq!(tuple.status, Status::InUse, "{body}");
        assert!(body.contains("on"), "the state in words: {body}");
    }
}

/// Proves: NEG-7, NEG-26
#[test]
fn what_nobody_can_read_is_refused_with_what_is_offered() {
    let mut world = World::new(802);
    let (status, ..) = subscribed(&mut world, "plug", "presence", "application/x-nothing, text/*");
    assert_eq!(status, 406, "a range takes in no historic form");
    let response = world.phones[0].ops[0].response.clone().unwrap();
    let text = String::from_utf8(response.to_vec()).unwrap();
    assert!(text.contains("Accept: application/pidf+xml\r\n"), "{text}");
}

/// Proves: NEG-8
#[test]
fn a_mailbox_in_the_words_of_2000() {
    for (accept, says) in [
        ("text/plain", "Email: 1/0"),
        ("text/xml", "<email>"),
        ("application/simple-message-summary", "Text-Message: 1/0 (0/0)"),
    ] {
        let mut world = World::new(803);
        world.report("stat/plug/BUTTON", "short");
        world.run(500);
        let (status, kind, body) = subscribed(&mut world, "alerts", "message-summary", accept);
        assert_eq!((status, kind.as_str()), (200, accept));
        assert!(body.contains(says), "{body}");
    }
}

/// Proves: RL-1, RL-7, NEG-12
#[test]
fn a_list_is_its_appliances_each_for_itself() {
    let mut world = World::new(804);
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    world.run(500);
    let anna = world.phone("anna");
    // Who does not know lists is told so, and gets none.
    let op = world.at(anna, |phone, now| phone.subscribe("all", "appliance", 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 421);
    world.phones[anna].extra = "Supported: eventlist\r\n".to_owned();
    for name in ["all", "room.kitchen"] {
        let op = world.at(anna, |phone, now| phone.subscribe(name, "appliance", 600, now));
        world.run(500);
        assert_eq!(world.phones[anna].ops[op].status(), 200, "{name}");
    }
    world.report("stat/lamp/POWER", "ON");
    world.run(1_000);
    let read = |sub: usize, nth: usize| {
        let notify = &world.phones[anna].subs[sub].notifies[nth];
        rlmi::read_related(&notify.content_type, notify.body.as_bytes())
            .unwrap_or_else(|why| panic!("{why}: {}", notify.body))
    };
    let (first, _) = read(1, 0);
    let (second, parts) = read(1, 1);
    assert_eq!((first.version, first.full, second.version), (0, true, 1));
    let addresses: Vec<&str> = second.resources.iter().map(|resource| resource.uri.as_str()).collect();
    assert_eq!(addresses, ["sip:plug@home.example", "sip:lamp@home.example"]);
    let cid = second.resources[1].instances[0].cid.clone();
    let part = parts.parts.iter().find(|part| part.content_id == cid).expect("the part that it names");
    assert!(String::from_utf8_lossy(&part.body).contains(r#""n":"power","vb":true"#));
    // The kitchen has nothing to do with the lamp.
    assert_eq!(world.phones[anna].subs[2].notifies.len(), 1);
    assert_eq!(read(2, 0).0.resources.len(), 1);
    // Ben may see the plug alone, also on a list.
    let ben = world.phone("ben");
    world.phones[ben].extra = "Supported: eventlist\r\n".to_owned();
    world.at(ben, |phone, now| phone.subscribe("all", "presence", 600, now));
    world.run(500);
    let notify = world.phones[ben].subs[0].notifies[0].clone();
    assert_eq!(
        rlmi::read_related(&notify.content_type, notify.body.as_bytes()).unwrap().0.resources.len(),
        1
    );
}

/// Proves: NEG-20, REQ-7.1.4, SEC-1
#[test]
fn an_appliance_describes_itself_to_who_may_see_it() {
    let mut world = World::new(805);
    let described = |world: &mut World, user: &str, name: &str| {
        let phone = world.phone(user);
        let op = world.at(phone, |phone, now| phone.describe(name, now));
        world.run(500);
        let finals = &world.phones[phone].ops[op].finals;
        (finals[0].1, finals.last().unwrap().1, finals.last().unwrap().3.clone())
    };
    let (first, status, body) = described(&mut world, "anna", "plug");
    assert_eq!((first, status), (401, 200), "a description is for who may see it");
    let thing: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(thing["title"], "Plug");
    assert_eq!(thing["properties"]["power"]["type"], "boolean");
    assert!(body.contains("writeproperty") && thing["events"]["button"].is_object(), "{body}");
    let (_, status, body) = described(&mut world, "ben", "plug");
    assert!(status == 200 && !body.contains("writeproperty"), "Ben may only look: {body}");
    assert_eq!(described(&mut world, "ben", "lamp").1, 404);
}

//! Phones that know the house by the address of its machine, as most do at first, and header fields that
//! are due in every answer.

use sipliance::body::rlmi;
use sipliance::sip::wire::{Message, Name};

use super::home;
use super::world::World;

const HOST: &str = "192.0.2.1:5060";

/// Asks, and gives back status and the whole answer.
fn answer(
    world: &mut World,
    phone: usize,
    method: &'static str,
    uri: &str,
    fields: &str,
    body: Option<(&'static str, &str)>,
) -> (u16, String) {
    let op = world.at(phone, |phone, now| phone.request_to(method, uri, fields, body, now));
    world.run(1_000);
    let bytes = world.phones[phone].ops[op].response.clone().unwrap();
    (world.phones[phone].ops[op].status(), String::from_utf8_lossy(&bytes).into_owned())
}

fn subscribing(world: &World, phone: usize, more: &str) -> String {
    format!("Contact: <{}>\r\nExpires: 0\r\n{more}", world.phones[phone].contact())
}

/// The newest NOTIFY that a phone heard.
fn notify(world: &World, phone: usize) -> String {
    let notifies = world.phones[phone].asked.iter().filter(|(method, _)| method == "NOTIFY");
    String::from_utf8_lossy(&notifies.last().unwrap().1).into_owned()
}

#[test]
fn a_list_names_the_house_by_its_address() {
    let mut world = World::new(2201);
    let anna = world.phone("anna");
    let entries = format!(
        "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'><list><entry uri='sip:plug@{HOST}'/>\
         <entry uri='sip:lamp@home.example'/><entry uri='sip:plug@198.51.100.99'/></list></resource-lists>"
    );
    let fields = subscribing(
        &world,
        anna,
        "Event: appliance\r\nSupported: eventlist\r\nRequire: recipient-list-subscribe\r\n",
    );
    let body = Some(("application/resource-lists+xml", entries.as_str()));
    let (status, _) = answer(&mut world, anna, "SUBSCRIBE", &format!("sip:home@{HOST}"), &fields, body);
    assert_eq!(status, 200);
    let told = notify(&world, anna);
    let message = Message::parse(told.as_bytes()).unwrap();
    let kind = String::from_utf8_lossy(message.first(Name::ContentType).unwrap()).into_owned();
    let (list, _) = rlmi::read_related(&kind, message.body).unwrap();
    let known: Vec<_> = list.resources.iter().map(|it| (it.uri.as_str(), it.instances.len())).collect();
    let plug = format!("sip:plug@{HOST}");
    assert_eq!(known, [(plug.as_str(), 1), ("sip:lamp@home.example", 1), ("sip:plug@198.51.100.99", 0)]);
}

#[test]
fn an_agent_and_a_watcher_of_2000_name_people_by_that_address() {
    let mut world = World::with(2202, home::changed("users:\n", "owners: [anna]\nagents: [anna]\nusers:\n"));
    let anna = world.phone("anna");
    let uri = format!("sip:plug@{HOST}");
    for (who, status) in [("anna@192.0.2.1", 200), ("anna@198.51.100.99", 603), ("nobody@192.0.2.1", 603)] {
        world.phones[anna].speaks_for = Some(format!("sip:{who}"));
        assert_eq!(answer(&mut world, anna, "QAUTH", &uri, "", None).0, status, "{who}");
    }
    world.phones[anna].speaks_for = None;
    world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
    let fields = subscribing(&world, anna, "Accept: application/xwatcher+xml\r\n");
    for (host, shown) in [("192.0.2.1", true), ("home.example", true), ("198.51.100.99", false)] {
        let of_2000 = format!("sip:anna%40{host}%40plug%40{host}@{HOST}");
        let (status, told) = answer(&mut world, anna, "SUBSCRIBE", &of_2000, &fields, None);
        assert_eq!(status, 200, "{told}");
        assert_eq!(notify(&world, anna).contains("<watcher uri="), shown, "{host}: {}", notify(&world, anna));
    }
}

#[test]
fn the_contact_of_the_house_itself_is_a_uri() {
    let mut world = World::new(2203);
    let anna = world.phone("anna");
    let list = "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'><list>\
                <entry uri='sip:plug@home.example'/></list></resource-lists>";
    let fields = subscribing(
        &world,
        anna,
        "Event: appliance\r\nSupported: eventlist\r\nRequire: recipient-list-subscribe\r\n",
    );
    let body = Some(("application/resource-lists+xml", list));
    let (status, told) = answer(&mut world, anna, "SUBSCRIBE", &format!("sip:{HOST}"), &fields, body);
    assert_eq!(status, 200, "{told}");
    assert!(told.contains("\r\nContact: <sip:1") && !told.contains("sip:@"), "{told}");
    assert!(!notify(&world, anna).contains("sip:@"), "{}", notify(&world, anna));
}

/// Proves: PB-5
#[test]
fn what_answers_must_say() {
    let mut world = World::new(2204);
    let anna = world.phone("anna");
    world.report("stat/plug/POWER", "OFF");
    let uri = "sip:plug@home.example";
    // A Timestamp comes back once, whatever the answer (RFC 3261 §8.2.6.1).
    for stamp in ["54.5", "1000000000"] {
        let fields = format!("Timestamp: {stamp}\r\n");
        let (_, told) = answer(&mut world, anna, "DO", uri, &fields, Some(("text/plain", "status")));
        assert_eq!(told.matches("Timestamp: ").count(), 1, "{told}");
    }
    // 415 says what would be taken, even when that is nothing (RFC 3261 §21.4.13).
    for (event, kind, accept) in [
        ("dialog", "application/simple-filter+xml", "Accept: \r\n"),
        ("presence", "image/png", "Accept: application/simple-filter+xml\r\n"),
        ("presence", "application/dmp", "Accept: application/simple-filter+xml\r\n"),
        ("dialog", "application/dmp", "Accept: \r\n"),
    ] {
        let fields = subscribing(&world, anna, &format!("Event: {event}\r\n"));
        let (status, told) = answer(&mut world, anna, "SUBSCRIBE", uri, &fields, Some((kind, "x")));
        assert_eq!(status, 415, "{told}");
        assert!(told.contains(accept), "{event} {kind}: {told}");
    }
    // Each 2xx to a PUBLISH has a tag and a lifetime, the last one, too (RFC 3903 §6).
    let tag_of = |told: &str| {
        let message = Message::parse(told.as_bytes()).unwrap();
        assert!(message.first(Name::Expires).is_some(), "{told}");
        String::from_utf8_lossy(message.first(Name::SipETag).expect("a tag")).into_owned()
    };
    let on = r#"[{"n":"power","vb":true}]"#;
    let pidf = "<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='sip:anna@home.example'/>";
    for (uri, event, kind, body) in [
        (uri, "appliance", "application/senml+json", on),
        ("sip:anna@home.example", "presence", "application/pidf+xml", pidf),
    ] {
        let fields = format!("Event: {event}\r\nExpires: 600\r\n");
        let (status, told) = answer(&mut world, anna, "PUBLISH", uri, &fields, Some((kind, body)));
        assert_eq!(status, 200, "{told}");
        let fields = format!("Event: {event}\r\nExpires: 0\r\nSIP-If-Match: {}\r\n", tag_of(&told));
        let (status, told) = answer(&mut world, anna, "PUBLISH", uri, &fields, None);
        assert_eq!(status, 200, "{told}");
        tag_of(&told);
    }
    // What is understood is named.
    let (_, told) = answer(&mut world, anna, "OPTIONS", "sip:home@home.example", "", None);
    assert!(told.contains("SUBSCRIBE, NOTIFY, PUBLISH") && !told.contains("QAUTH"), "{told}");
}

/// Proves: DO-6
#[test]
fn senml_about_another_appliance_moves_nothing() {
    let mut world = World::new(2205);
    let anna = world.phone("anna");
    world.report("stat/plug/POWER", "OFF");
    world.report("stat/lamp/POWER", "OFF");
    for (to, body, status) in [
        ("plug", r#"[{"bn":"home.example/lamp/","n":"power","vb":true}]"#, 404),
        ("plug", r#"[{"n":"home.example/lamp/power","vb":true}]"#, 404),
        ("d=*", r#"[{"bn":"home.example/nothing/","n":"power","vb":true}]"#, 488),
        ("plug", r#"[{"n":"power""#, 400),
        ("plug", r#"[{"n":"power","v":1}]"#, 488),
    ] {
        for (method, fields) in [("DO", ""), ("PUBLISH", "Event: appliance\r\nExpires: 60\r\n")] {
            let body = Some(("application/senml+json", body));
            let uri = format!("sip:{to}@home.example");
            let (got, told) = answer(&mut world, anna, method, &uri, fields, body);
            let due = if method == "PUBLISH" && to != "plug" { 404 } else { status };
            assert_eq!(got, due, "{told}");
        }
    }
    assert!(world.plug.writes.is_empty());
    // Names of another kind are the sender's own, and of many that are addressed only the named one moves.
    for (to, body) in [
        ("plug", r#"[{"bn":"urn:dev:org:32473-lamp:","n":"power","vb":true}]"#),
        ("plug", r#"[{"bn":"home.example/plug/","n":"power","vb":false}]"#),
        ("d=*", r#"[{"bn":"home.example/plug/","n":"power","vb":true}]"#),
    ] {
        let body = Some(("application/senml+json", body));
        let (got, told) = answer(&mut world, anna, "DO", &format!("sip:{to}@home.example"), "", body);
        assert!(got == 200 && !told.contains("Lamp"), "{told}");
    }
    assert_eq!(world.plug.writes.len(), 3);
}

#[test]
fn a_do_is_answered_in_what_its_sender_takes() {
    let mut world = World::new(2206);
    let anna = world.phone("anna");
    world.report("stat/plug/POWER", "OFF");
    for (accept, words, kind) in [
        ("application/dmp", "on", "\r\nContent-Type: application/dmp\r\n"),
        ("application/senml+json", "off", "\r\nContent-Type: application/senml+json\r\n"),
        ("text/plain", "on", "\r\nContent-Type: text/plain;charset=UTF-8\r\n"),
        ("image/png", "off", "\r\nContent-Length: 0\r\n"),
    ] {
        let fields = format!("Accept: {accept}\r\n");
        let (status, told) =
            answer(&mut world, anna, "DO", "sip:plug@home.example", &fields, Some(("text/plain", words)));
        assert!(status == 200 && told.contains(kind), "{accept}: {told}");
    }
    assert_eq!(world.plug.writes.len(), 4);
}

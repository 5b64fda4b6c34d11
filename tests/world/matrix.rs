//! The rows of the negotiation matrix, each from the request to the last NOTIFY.

use sipliance::body::{lpidf, xpidf};
use sipliance::sip::wire::{Message, Method, Name};

use super::home;
use super::phone::Reply;
use super::world::World;

/// A house with another `compat:`.
fn house(seed: u64, compat: &str) -> World {
    World::with(seed, home::changed("users:", &format!("compat: {compat}\nusers:")))
}

/// Status, Expires, content type and body of the final answer.
fn answer(world: &World, phone: usize, op: usize) -> (u16, String, String, String) {
    let bytes = world.phones[phone].ops[op].response.clone().expect("an answer");
    let message = Message::parse(&bytes).unwrap();
    let text = |name| String::from_utf8_lossy(message.first(name).unwrap_or_default()).into_owned();
    let body = String::from_utf8_lossy(message.body).into_owned();
    (world.phones[phone].ops[op].status(), text(Name::Expires), text(Name::ContentType), body)
}

fn subscribe(world: &mut World, phone: usize, name: &str, fields: &str) -> usize {
    let op = world.at(phone, |phone, now| phone.subscribe_raw(name, fields, None, now));
    world.run(500);
    op
}

fn with_contact(world: &World, phone: usize, more: &str) -> String {
    format!("Contact: <{}>\r\n{more}", world.phones[phone].contact())
}

/// Proves: LP-7, NEG-6
#[test]
fn a_watcher_of_before_events_gets_lpidf_in_the_answer_and_later() {
    let mut world = World::new(821);
    world.report("stat/plug/POWER", "ON");
    let anna = world.phone("anna");
    let fields = with_contact(&world, anna, "");
    let op = subscribe(&mut world, anna, "plug", &fields);
    let (status, expires, kind, body) = answer(&world, anna, op);
    assert_eq!((status, expires.as_str(), kind.as_str()), (200, "3600", "text/lpidf"));
    let wall = jiff::Timestamp::from_millisecond(world.time().wall_ms).unwrap();
    assert!(lpidf::read(body.as_bytes(), wall).unwrap().entity.starts_with("sip:plug@"), "{body}");
    world.report("stat/plug/POWER", "OFF");
    world.run(2_000);
    let notifies = &world.phones[anna].subs[0].notifies;
    assert_eq!(notifies.len(), 2, "one at once, one for the change");
    assert!(notifies.iter().all(|notify| notify.content_type == "text/lpidf"));
    assert!(notifies[1].body.contains("off"), "{}", notifies[1].body);
    // It goes on without Event, and the state stands in each 200.
    let op = world.at(anna, |phone, now| phone.refresh_raw(0, &fields, None, now));
    world.run(500);
    let (status, _, kind, body) = answer(&world, anna, op);
    assert_eq!((status, kind.as_str()), (200, "text/lpidf"), "{body}");
    let op = world.at(anna, |phone, now| phone.refresh_raw(0, &format!("{fields}Expires: 0\r\n"), None, now));
    world.run(500);
    assert_eq!(answer(&world, anna, op).0, 200);
    assert!(world.phones[anna].subs[0].terminated);
}

#[test]
fn before_events_a_fetch_has_no_contact() {
    let mut world = World::new(822);
    let anna = world.phone("anna");
    let op = subscribe(&mut world, anna, "plug", "Expires: 0\r\nAccept: application/xpidf+xml\r\n");
    let (status, expires, kind, body) = answer(&world, anna, op);
    assert_eq!((status, expires.as_str(), kind.as_str()), (200, "0", "application/xpidf+xml"));
    xpidf::read(body.as_bytes()).unwrap();
    assert_eq!(world.sent(Method::Notify).len(), 0, "nowhere to send one");
    let op = subscribe(&mut world, anna, "plug", "Expires: 60\r\n");
    assert_eq!(answer(&world, anna, op).0, 400);
    // What somebody may not see is absent in every form.
    let ben = world.phone("ben");
    let op = subscribe(&mut world, ben, "lamp", "Expires: 0\r\n");
    assert_eq!(answer(&world, ben, op).0, 404);
}

/// Proves: NEG-5
#[test]
fn an_empty_accept_wants_no_state() {
    let mut world = World::new(823);
    let anna = world.phone("anna");
    let fields = with_contact(&world, anna, "Event: presence\r\nAccept:\r\n");
    let op = subscribe(&mut world, anna, "plug", &fields);
    assert_eq!(answer(&world, anna, op).0, 200);
    let notify = &world.phones[anna].subs[0].notifies[0];
    assert!(notify.state.starts_with("active;expires="), "{}", notify.state);
    assert_eq!((notify.content_type.as_str(), notify.body.as_str()), ("", ""));
}

#[test]
fn several_contacts_are_several_addresses_each_for_its_own_time() {
    let mut world = World::new(824);
    let (desk, hall) = (world.phone("anna"), world.phone("anna"));
    world.at(hall, |phone, now| phone.register(600, now));
    world.run(500);
    let [here, there] = [desk, hall].map(|phone| world.phones[phone].contact());
    let fields = format!("Contact: <{here}>;expires=600, <{there}>;expires=20\r\n");
    let op = world.at(desk, |phone, now| phone.subscribe_raw("plug", &fields, None, now));
    // The phone in the hall knows of it.
    let known = world.phones[desk].subs[0].clone();
    world.phones[hall].subs.push(known);
    world.run(500);
    let (status, expires, ..) = answer(&world, desk, op);
    assert_eq!((status, expires.as_str()), (200, "600"));
    world.report("stat/plug/POWER", "ON");
    world.run(2_000);
    for phone in [desk, hall] {
        let sub = &world.phones[phone].subs[0];
        assert_eq!(sub.notifies.len(), 2, "both hear of the change");
        assert!(sub.notifies[1].body.contains("on"), "{}", sub.notifies[1].body);
    }
    world.run(60_000);
    assert!(world.phones[hall].subs[0].terminated, "its own time is over");
    assert!(!world.phones[desk].subs[0].terminated);
    // A refresh names it again; the end of the first is the end of all.
    let op = world.at(desk, |phone, now| phone.refresh_raw(0, &fields, None, now));
    (world.phones[hall].subs[0].last_cseq, world.phones[hall].subs[0].terminated) = (0, false);
    world.run(500);
    assert_eq!(answer(&world, desk, op).0, 200);
    let heard = world.phones[hall].subs[0].notifies.len();
    assert_eq!(heard, 4, "the phone in the hall is told again");
    let end = format!("Contact: <{here}>\r\nExpires: 0\r\n");
    world.at(desk, |phone, now| phone.refresh_raw(0, &end, None, now));
    world.run(500);
    assert!(world.phones[desk].subs[0].terminated && world.phones[hall].subs[0].terminated);
}

#[test]
fn several_contacts_are_bounded_and_lead_to_no_stranger() {
    let mut world = World::new(825);
    let anna = world.phone("anna");
    let many: Vec<String> = (0..11).map(|nth| format!("<sip:anna@203.0.113.{nth}>")).collect();
    let fields = format!("Contact: {}\r\n", many.join(", "));
    let op = subscribe(&mut world, anna, "plug", &fields);
    assert_eq!(answer(&world, anna, op).0, 403);
    // An address that nobody registered is the business of who sent the SUBSCRIBE.
    let fields = with_contact(&world, anna, "Contact: <sip:victim@203.0.113.9>\r\n");
    let known = world.at(anna, |phone, now| {
        phone.replies.extend([Reply::Status(481), Reply::Status(481)]);
        phone.subscribe_raw("plug", &fields, None, now)
    });
    world.run(300);
    assert_eq!(answer(&world, anna, known).0, 200);
    let notifies = world.sent(Method::Notify);
    let to_victim = notifies.iter().filter(|(_, bytes)| bytes.starts_with(b"NOTIFY sip:victim@"));
    assert!(to_victim.count() > 0 && world.strays.is_empty(), "{:?}", world.strays);
    // With an Event there is one Contact.
    let fields = with_contact(&world, anna, "Contact: <sip:anna@203.0.113.9>\r\nEvent: presence\r\n");
    let op = subscribe(&mut world, anna, "plug", &fields);
    assert_eq!(answer(&world, anna, op).0, 400);
}

/// Proves: MW-2, NEG-9
#[test]
fn a_mailbox_at_once_and_as_a_fetch() {
    let mut world = World::new(826);
    world.report("stat/plug/BUTTON", "short");
    let anna = world.phone("anna");
    for (accept, kind, says) in [
        ("", "text/plain", "Email: 1/0"),
        ("Accept: text/xml\r\n", "text/xml", "<untouched>1</untouched>"),
        ("Accept: text/plain\r\n", "text/plain", "Email: 1/0"),
    ] {
        let fields = with_contact(&world, anna, &format!("Event: message-summary;immediate\r\n{accept}"));
        let op = subscribe(&mut world, anna, "alerts", &fields);
        let (status, _, got, body) = answer(&world, anna, op);
        assert_eq!((status, got.as_str()), (200, kind));
        assert!(body.contains(says) && !body.contains("+1"), "{body}");
        let notify = &world.phones[anna].subs.last().unwrap().notifies[0];
        assert_eq!((notify.content_type.as_str(), notify.body.as_str()), (kind, body.as_str()));
        let before = world.sent(Method::Notify).len();
        let op = subscribe(
            &mut world,
            anna,
            "alerts",
            &format!("Event: message-summary\r\nExpires: 0\r\n{accept}"),
        );
        let (status, expires, got, body) = answer(&world, anna, op);
        assert_eq!((status, expires.as_str(), got.as_str()), (200, "0", kind));
        assert!(body.contains(says), "{body}");
        assert_eq!(world.sent(Method::Notify).len(), before, "a fetch makes no subscription");
    }
    let op = subscribe(&mut world, anna, "alerts", "Event: message-summary\r\nExpires: 60\r\n");
    assert_eq!(answer(&world, anna, op).0, 400);
}

/// What RFC 6665 changed of RFC 3265, from the notifier's side.
///
/// Proves: EV-17, EV-21, EV-23, OLD-1, OLD-5, OLD-6, OLD-7, OLD-10, NEG-25
#[test]
fn what_a_peer_of_rfc_3265_might_expect_otherwise() {
    let mut world = World::new(829);
    let anna = world.phone("anna");
    let fields = with_contact(&world, anna, "Event: presence\r\n");
    let op = subscribe(&mut world, anna, "plug", &fields);
    assert_eq!(answer(&world, anna, op).0, 200, "202 is gone");
    // `expires` is always there, and one dialog holds one subscription.
    assert!(world.phones[anna].subs[0].notifies[0].state.starts_with("active;expires="));
    for event in ["Event: dialog\r\n", "Event: presence;id=2\r\n"] {
        let other = with_contact(&world, anna, event);
        let op = world.at(anna, |phone, now| phone.refresh_raw(0, &other, None, now));
        world.run(500);
        assert_eq!(answer(&world, anna, op).0, 403, "{event}");
    }
    let bare = with_contact(&world, anna, "");
    let op = world.at(anna, |phone, now| phone.refresh_raw(0, &bare, None, now));
    world.run(500);
    assert_eq!(answer(&world, anna, op).0, 489, "who began with an Event goes on with it");
    // Nothing but SUBSCRIBE makes a subscription, and a NOTIFY without one has no place.
    let before = world.sent(Method::Notify).len();
    let op = world
        .at(anna, |phone, now| phone.ask("REFER", "plug", "Refer-To: <sip:ben@home.example>\r\n", None, now));
    world.run(500);
    assert_eq!(answer(&world, anna, op).0, 603);
    let op = world.at(anna, |phone, now| {
        let fields = "Event: message-summary\r\nSubscription-State: active\r\n";
        phone.ask("NOTIFY", "anna", fields, Some(("text/plain", "Messages-Waiting: yes\r\n".to_owned())), now)
    });
    world.run(500);
    assert_eq!(answer(&world, anna, op).0, 481);
    assert_eq!(world.sent(Method::Notify).len(), before);
    // Templates are no part of Allow-Events.
    let unknown = with_contact(&world, anna, "Event: weather\r\n");
    let op = subscribe(&mut world, anna, "plug", &unknown);
    assert_eq!(answer(&world, anna, op).0, 489);
    let bytes = world.phones[anna].ops[op].response.clone().unwrap();
    let message = Message::parse(&bytes).unwrap();
    let allowed = String::from_utf8_lossy(message.first(Name::AllowEvents).unwrap()).into_owned();
    assert!(!allowed.is_empty() && !allowed.contains('.'), "{allowed}");
}

/// The spelling of Content-Disposition in the appliance drafts.
///
/// Proves: NEG-22
#[test]
fn content_function_is_accepted_and_never_sent() {
    let mut world = World::new(830);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| {
        let fields = "Content-Function: render\r\nContact: <sip:anna@203.0.113.1>\r\n";
        phone.ask("DO", "plug", fields, Some(("text/plain", "status".to_owned())), now)
    });
    world.run(1_000);
    assert_eq!(answer(&world, anna, op).0, 200);
    let bytes = world.phones[anna].ops[op].response.clone().unwrap();
    assert!(!String::from_utf8_lossy(&bytes).to_lowercase().contains("content-function"));
}

/// Proves: PB-11, NEG-26
#[test]
fn options_tells_what_bodies_are_taken() {
    for (compat, historic) in [("\"off\"", false), ("accept", false), ("verbose", true)] {
        let mut world = house(831, compat);
        let anna = world.phone("anna");
        let op = world.at(anna, |phone, now| phone.options(now));
        world.run(500);
        let bytes = world.phones[anna].ops[op].response.clone().unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("application/simple-filter+xml") && text.contains("PUBLISH"), "{text}");
        assert_eq!(text.contains("text/lpidf"), historic, "{compat}: {text}");
    }
}

/// Proves: NEG-6, NEG-7, NEG-26, OLD-12
#[test]
fn off_refuses_every_historic_form_and_verbose_tells_of_them() {
    let mut world = house(827, "\"off\"");
    let anna = world.phone("anna");
    for (name, fields, due) in [
        ("plug", "", 489),
        ("plug", "Event: presence\r\nAccept: application/xpidf+xml\r\n", 406),
        ("plug", "Event: presence\r\nAccept: text/lpidf\r\n", 406),
        ("plug", "Event: presence\r\nAccept:\r\n", 406),
        ("alerts", "Event: message-summary\r\nAccept: text/xml\r\n", 406),
        ("plug", "Event: presence\r\n", 200),
        ("alerts", "Event: message-summary;immediate\r\n", 200),
    ] {
        let fields = with_contact(&world, anna, fields);
        let op = subscribe(&mut world, anna, name, &fields);
        let (status, _, kind, _) = answer(&world, anna, op);
        assert_eq!((status, kind.as_str()), (due, ""), "{fields}");
    }
    let mwi = world.phones[anna].subs.last().unwrap().notifies[0].content_type.clone();
    assert_eq!(mwi, "application/simple-message-summary", "the parameter is passed over");
    let op = subscribe(&mut world, anna, "alerts", "Event: message-summary\r\nExpires: 0\r\n");
    assert_eq!(answer(&world, anna, op).0, 400);
    let op = world.at(anna, |phone, now| phone.switch("plug", true, now));
    world.run(500);
    assert_eq!(answer(&world, anna, op).0, 405);
    let bytes = world.phones[anna].ops[op].response.clone().unwrap();
    assert!(!String::from_utf8_lossy(&bytes).contains(" DO,"), "Allow names what is allowed");
    for (compat, listed) in [("accept", false), ("verbose", true)] {
        let mut world = house(828, compat);
        let anna = world.phone("anna");
        let fields = with_contact(&world, anna, "Event: presence\r\nAccept: image/png\r\n");
        let op = subscribe(&mut world, anna, "plug", &fields);
        assert_eq!(answer(&world, anna, op).0, 406);
        let bytes = world.phones[anna].ops[op].response.clone().unwrap();
        assert_eq!(String::from_utf8_lossy(&bytes).contains("text/lpidf"), listed, "{compat}");
    }
}

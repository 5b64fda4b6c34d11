//! The presence of people: where they registered, and what they say of it.

use sipliance::body::presence::{Presence, Status, Tuple, atom_id};
use sipliance::body::{lpidf, pidf, rlmi, xpidf};
use sipliance::gateway::Input;
use sipliance::sip::wire::{Message, Name};

use super::home;
use super::world::World;

/// Ben may watch Anna; Carla may watch nobody.
fn house(seed: u64) -> World {
    World::with(seed, home::changed("see: [plug]", "see: [plug, \"user:anna\"]"))
}

fn answer(world: &World, phone: usize, op: usize) -> (u16, String, String) {
    let bytes = world.phones[phone].ops[op].response.clone().expect("an answer");
    let message = Message::parse(&bytes).unwrap();
    let tag = String::from_utf8_lossy(message.first(Name::SipETag).unwrap_or_default()).into_owned();
    (world.phones[phone].ops[op].status(), tag, String::from_utf8_lossy(&bytes).into_owned())
}

fn watch(world: &mut World, user: &str, whom: &str) -> (usize, u16) {
    let phone = world.phone(user);
    let op = world.at(phone, |phone, now| phone.subscribe(whom, "presence", 3_600, now));
    world.run(500);
    (phone, world.phones[phone].ops[op].status())
}

/// What the first subscription of a phone was told last.
fn told(world: &World, phone: usize) -> Presence {
    let body = &world.phones[phone].subs[0].notifies.last().expect("a NOTIFY").body;
    pidf::read(body.as_bytes()).unwrap_or_else(|why| panic!("{why}: {body}"))
}

fn register(world: &mut World, phone: usize, fields: &str, body: Option<(&'static str, String)>) -> u16 {
    let op = world.at(phone, |phone, now| phone.register_raw(fields, body, now));
    world.run(1_500);
    world.phones[phone].ops[op].status()
}

fn publish(
    world: &mut World,
    phone: usize,
    whom: &str,
    fields: &str,
    body: Option<(&'static str, String)>,
) -> (u16, String, String) {
    let fields = format!("Event: presence\r\n{fields}");
    let op = world.at(phone, |phone, now| phone.ask("PUBLISH", whom, &fields, body, now));
    world.run(1_500);
    answer(world, phone, op)
}

fn document(id: &str, basic: &str, note: &str) -> Option<(&'static str, String)> {
    let body = format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:anna@home.example\"><tuple id=\"{id}\">\
         <status><basic>{basic}</basic></status><note>{note}</note></tuple></presence>"
    );
    Some(("application/pidf+xml", body))
}

/// Each tuple as its id, status and note.
fn notes(presence: &Presence) -> Vec<String> {
    let note = |tuple: &Tuple| tuple.notes.first().map(|note| note.text.clone()).unwrap_or_default();
    presence.tuples.iter().map(|tuple| format!("{} {:?} {}", tuple.id, tuple.status, note(tuple))).collect()
}

/// Proves: PR-2, PR-11
#[test]
fn people_are_watched_by_themselves_and_by_whom_a_rule_names() {
    let mut world = house(861);
    for (who, due) in [("anna", 200), ("ben", 200), ("carla", 404)] {
        assert_eq!(watch(&mut world, who, "anna").1, due, "{who}");
    }
    assert_eq!(watch(&mut world, "anna", "ben").1, 404, "an appliance rule shows no people");
    // A person is neither written to nor called here, and has no other event.
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.message("anna", "on", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 404);
    let op = world.at(anna, |phone, now| phone.subscribe("anna", "dialog", 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 489);
}

/// Proves: LP-3, PX-5
#[test]
fn a_registration_is_an_atom_that_opens_and_closes() {
    let mut world = house(862);
    let (ben, _) = watch(&mut world, "ben", "anna");
    assert_eq!(told(&world, ben).tuples[0].status, Status::Closed);
    let anna = world.phone("anna");
    let uri = world.phones[anna].contact();
    let contact = format!(
        "Contact: <{uri};pn-prid=secret>;q=0.7;methods=\"MESSAGE\";description=\"in the hall\";\
         +sip.instance=\"<urn:uuid:1>\";expires="
    );
    assert_eq!(register(&mut world, anna, &format!("{contact}600\r\n"), None), 200);
    let presence = told(&world, ben);
    let [tuple] = &presence.tuples[..] else { panic!("{presence:?}") };
    assert_eq!(tuple.id, atom_id(&format!("{uri};pn-prid=secret")), "what the phone itself computes");
    assert_eq!((tuple.status, tuple.priority.map(|q| q.thousandths())), (Status::Open, Some(700)));
    assert_eq!((tuple.extra("methods"), tuple.notes[0].text.as_str()), (Some("MESSAGE"), "in the hall"));
    let body = &world.phones[ben].subs[0].notifies.last().unwrap().body;
    assert!(!body.contains("secret") && !body.contains("urn:uuid"), "not for others: {body}");
    // The 200 repeats what was registered (RFC 3261 §10.3).
    let (_, _, text) = answer(&world, anna, world.phones[anna].ops.len() - 1);
    assert!(text.contains("methods=\"MESSAGE\"") && text.contains("+sip.instance="), "{text}");
    // The same again is no news; q=0 is closed; the end is closed under the same name.
    let heard = world.phones[ben].subs[0].notifies.len();
    register(&mut world, anna, &format!("{contact}600\r\n"), None);
    assert_eq!(world.phones[ben].subs[0].notifies.len(), heard);
    register(&mut world, anna, &format!("{contact}600\r\n").replace("q=0.7", "q=0"), None);
    assert_eq!(told(&world, ben).tuples[0].status, Status::Closed);
    register(&mut world, anna, &format!("{contact}20\r\n"), None);
    assert_eq!(told(&world, ben).tuples[0].status, Status::Open);
    world.run(30_000);
    let presence = told(&world, ben);
    assert_eq!(
        (&presence.tuples[0].id, presence.tuples[0].status),
        (&tuple.id, Status::Closed),
        "it expired"
    );
}

#[test]
fn a_connection_that_breaks_closes() {
    let mut world = house(863);
    let (ben, _) = watch(&mut world, "ben", "anna");
    let anna = world.tcp_phone("anna");
    let contact = world.phones[anna].contact();
    register(&mut world, anna, &format!("Contact: <{contact}>\r\n"), None);
    assert_eq!(told(&world, ben).tuples[0].status, Status::Open);
    world.cut(anna);
    world.run(2_000);
    assert_eq!(told(&world, ben).tuples[0].status, Status::Closed);
}

/// Proves: NEG-14
#[test]
fn a_document_in_a_register_lives_as_long_as_its_contact() {
    let lpidf = "To: sip:anna@home.example\r\nContact: sip:cellar@home.example;description=\"busy\"\r\n";
    let xpidf = "<?xml version=\"1.0\"?><!DOCTYPE presence PUBLIC \"-//IETF//DTD RFCxxxx XPIDF 1.0//EN\" \"xpidf.dtd\">\
        <presence><presentity uri=\"sip:anna@home.example;method=SUBSCRIBE\"/><atom atomid=\"x1\"><address \
        uri=\"sip:cellar@home.example\"><status status=\"inuse\"/><note>busy</note></address></atom></presence>";
    for body in [
        ("text/lpidf", lpidf.to_owned()),
        ("application/xpidf+xml", xpidf.to_owned()),
        document("x1", "open", "busy").unwrap(),
    ] {
        let mut world = house(864);
        let (ben, _) = watch(&mut world, "ben", "anna");
        let anna = world.phone("anna");
        let contact = format!("Contact: <{}>;expires=", world.phones[anna].contact());
        assert_eq!(register(&mut world, anna, &format!("{contact}60\r\n"), Some(body.clone())), 200);
        let presence = told(&world, ben);
        assert_eq!(presence.tuples.len(), 2, "the phone, and what it says: {presence:?}");
        assert_eq!(presence.tuples[1].notes[0].text, "busy");
        // A refresh without a body keeps it.
        world.run(40_000);
        register(&mut world, anna, &format!("{contact}60\r\n"), None);
        assert_eq!(told(&world, ben).tuples.len(), 2);
        world.run(70_000);
        let presence = told(&world, ben);
        assert_eq!((presence.tuples.len(), presence.tuples[0].status), (1, Status::Closed), "{presence:?}");
    }
    let mut world = house(865);
    let anna = world.phone("anna");
    let contact = format!("Contact: <{}>\r\n", world.phones[anna].contact());
    for (kind, body, due) in [
        ("application/pidf+xml", document("x", "open", "").unwrap().1.replace("anna@", "ben@"), 400),
        ("application/pidf+xml", "<presence".to_owned(), 400),
        ("application/x-vendor", "something".to_owned(), 200),
    ] {
        assert_eq!(register(&mut world, anna, &contact, Some((kind, body.clone()))), due, "{body}");
    }
    assert_eq!(
        register(&mut world, anna, "", document("x", "open", "")),
        400,
        "a document without a Contact"
    );
    let mut world = World::with(866, home::changed("users:", "compat: \"off\"\nusers:"));
    let anna = world.phone("anna");
    let contact = format!("Contact: <{}>\r\n", world.phones[anna].contact());
    assert_eq!(register(&mut world, anna, &contact, document("x", "open", "")), 415);
    assert_eq!(publish(&mut world, anna, "anna", "", Some(("text/lpidf", lpidf.to_owned()))).0, 415);
    assert_eq!(publish(&mut world, anna, "anna", "", document("x", "open", "")).0, 200);
}

/// Proves: PB-5, PB-8, PB-9, PB-10
#[test]
fn a_publication_is_made_refreshed_changed_and_taken_back() {
    let mut world = house(867);
    let (ben, _) = watch(&mut world, "ben", "anna");
    let anna = world.phone("anna");
    let put = |world: &mut World, fields: &str, body| publish(world, anna, "anna", fields, body);
    let (status, first, text) = put(
        &mut world,
        "Contact: <sip:nobody@203.0.113.1>\r\nExpires: 600\r\n",
        document("x1", "open", "here"),
    );
    assert_eq!(status, 200, "{text}");
    assert!(!first.is_empty() && text.contains("Expires: 600\r\n") && !text.contains("Contact:"), "{text}");
    assert_eq!(notes(&told(&world, ben)), ["x1 Open here"]);
    let (status, second, _) = put(&mut world, &format!("SIP-If-Match: {first}\r\nExpires: 60\r\n"), None);
    assert!(status == 200 && second != first, "a refresh has a new tag");
    let (status, third, _) =
        put(&mut world, &format!("SIP-If-Match: {second}\r\n"), document("x1", "closed", "gone"));
    assert_eq!((status, notes(&told(&world, ben))), (200, vec!["x1 Closed gone".to_owned()]));
    for (fields, body, due) in [
        (format!("SIP-If-Match: {first}\r\n"), None, 412),
        (format!("SIP-If-Match: {first}\r\n"), document("x1", "open", "late"), 412),
        ("SIP-If-Match: nonsense\r\n".to_owned(), None, 412),
        (format!("SIP-If-Match: {third}, {third}\r\n"), None, 400),
        (String::new(), None, 400),
        ("Expires: 1\r\n".to_owned(), document("x2", "open", ""), 423),
        (String::new(), Some(("text/plain", "hello".to_owned())), 415),
        (String::new(), Some(("application/pidf+xml", "<no".to_owned())), 400),
    ] {
        let (status, _, text) = put(&mut world, &fields, body);
        assert_eq!(status, due, "{fields} {text}");
        assert!(status != 415 || text.contains("Accept: application/pidf+xml\r\n"), "{text}");
    }
    assert_eq!(notes(&told(&world, ben)), ["x1 Closed gone"], "what fails changes nothing");
    let (status, ..) = put(&mut world, &format!("SIP-If-Match: {third}\r\nExpires: 0\r\n"), None);
    assert_eq!(status, 200);
    assert_eq!(told(&world, ben).tuples[0].id, atom_id("sip:anna@home.example"), "nothing is published");
    let (_, fourth, _) = put(&mut world, "Expires: 20\r\n", document("x1", "open", "short"));
    world.run(25_000);
    assert_eq!(told(&world, ben).tuples[0].status, Status::Closed, "it expired");
    assert_eq!(put(&mut world, &format!("SIP-If-Match: {fourth}\r\n"), None).0, 412);
    // Others cannot speak for her, and who may not see her does not learn that she is there.
    let carla = world.phone("carla");
    assert_eq!(publish(&mut world, ben, "anna", "", document("x1", "open", "")).0, 403);
    assert_eq!(publish(&mut world, carla, "anna", "", document("x1", "open", "")).0, 404);
    let op = world.at(anna, |phone, now| {
        phone.ask("PUBLISH", "anna", "Event: appliance\r\n", document("x1", "open", ""), now)
    });
    world.run(500);
    let (status, _, text) = answer(&world, anna, op);
    assert!(status == 489 && text.contains("Allow-Events: presence\r\n"), "{text}");
}

/// Proves: PX-1, PX-2, PX-3
#[test]
fn a_presence_is_the_union_of_atoms_and_the_newest_of_a_name_counts() {
    let mut world = house(868);
    let (ben, _) = watch(&mut world, "ben", "anna");
    let anna = world.phone("anna");
    publish(&mut world, anna, "anna", "Expires: 600\r\n", document("x1", "open", "old"));
    publish(&mut world, anna, "anna", "Expires: 600\r\n", document("x2", "open", "other"));
    let (_, newest, _) =
        publish(&mut world, anna, "anna", "Expires: 600\r\n", document("x1", "closed", "new"));
    assert_eq!(notes(&told(&world, ben)), ["x1 Closed new", "x2 Open other"]);
    // A refresh of an old one is no news, and behind the newest stands the one before.
    publish(&mut world, anna, "anna", &format!("SIP-If-Match: {newest}\r\nExpires: 0\r\n"), None);
    assert_eq!(notes(&told(&world, ben)), ["x1 Open old", "x2 Open other"]);
    let (status, ..) = publish(
        &mut world,
        anna,
        "anna",
        "",
        Some(("application/pidf+xml", document("x", "open", "").unwrap().1.replace("anna@", "ben@"))),
    );
    assert_eq!(status, 400, "a document about somebody else is not merged");
    // An atom has its own time.
    let soon = "To: sip:anna@home.example\r\nContact: sip:cellar@home.example;expires=30\r\n";
    publish(&mut world, anna, "anna", "Expires: 600\r\n", Some(("text/lpidf", soon.to_owned())));
    assert_eq!(told(&world, ben).tuples.len(), 3);
    world.run(35_000);
    assert_eq!(told(&world, ben).tuples.len(), 2);
    // The same in every format.
    for accept in ["application/xpidf+xml", "text/lpidf"] {
        let phone = world.phone("ben");
        world.at(phone, |phone, now| phone.subscribe_as("anna", "presence", Some(accept), 600, now));
        world.run(500);
        let body = world.phones[phone].subs[0].notifies[0].body.clone();
        let wall = jiff::Timestamp::from_millisecond(world.time().wall_ms).unwrap();
        let read = match accept {
            "text/lpidf" => lpidf::read(body.as_bytes(), wall),
            _ => xpidf::read(body.as_bytes()),
        };
        assert_eq!(read.unwrap().tuples.len(), 2, "{body}");
    }
}

#[test]
fn what_one_person_publishes_is_bounded() {
    let mut world = house(869);
    let anna = world.phone("anna");
    for nth in 0..16 {
        assert_eq!(publish(&mut world, anna, "anna", "", document(&format!("x{nth}"), "open", "")).0, 200);
    }
    assert_eq!(publish(&mut world, anna, "anna", "", document("y", "open", "")).0, 503);
    let many: String = (0..33).map(|nth| format!("Contact: sip:a{nth}@home.example\r\n")).collect();
    let body = format!("To: sip:anna@home.example\r\n{many}");
    let ben = world.phone("ben");
    let body = body.replace("anna", "ben");
    assert_eq!(publish(&mut world, ben, "ben", "", Some(("text/lpidf", body))).0, 413);
}

/// Phones look for a mailbox at their own address.
#[test]
fn the_mailbox_at_ones_own_address_is_that_of_the_house() {
    let mut world = house(872);
    world.report("stat/plug/BUTTON", "short");
    world.run(500);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.subscribe("anna", "message-summary", 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let body = &world.phones[anna].subs[0].notifies[0].body;
    assert!(body.contains("Messages-Waiting: yes") && body.contains("sip:alerts@home.example"), "{body}");
    let ben = world.phone("ben");
    let op = world.at(ben, |phone, now| phone.subscribe("anna", "message-summary", 600, now));
    world.run(500);
    assert_eq!(world.phones[ben].ops[op].status(), 489, "of somebody else there is presence alone");
}

/// What a phone registers gives way to what is published.
#[test]
fn a_publication_comes_before_a_document_in_a_register() {
    let mut world = house(873);
    let (ben, _) = watch(&mut world, "ben", "anna");
    let anna = world.phone("anna");
    let contact = format!("Contact: <{}>\r\n", world.phones[anna].contact());
    publish(&mut world, anna, "anna", "", document("x1", "closed", "published"));
    register(&mut world, anna, &contact, document("x1", "open", "registered"));
    assert!(notes(&told(&world, ben)).contains(&"x1 Closed published".to_owned()), "{:?}", told(&world, ben));
}

#[test]
fn a_person_is_filtered_like_an_appliance() {
    let mut world = house(870);
    let anna = world.phone("anna");
    publish(&mut world, anna, "anna", "", document("x1", "open", "one"));
    let ben = world.phone("ben");
    let filter = "<filter-set xmlns=\"urn:ietf:params:xml:ns:simple-filter\"><filter id=\"f\"><what><exclude>//note\
        </exclude></what><trigger><changed>//basic</changed></trigger></filter></filter-set>";
    let fields = format!("Contact: <{}>\r\nEvent: presence\r\n", world.phones[ben].contact());
    let body = Some(("application/simple-filter+xml", filter.to_owned()));
    world.at(ben, |phone, now| phone.subscribe_raw("anna", &fields, body, now));
    world.run(500);
    assert_eq!(notes(&told(&world, ben)), ["x1 Open "]);
    publish(&mut world, anna, "anna", "", document("x1", "open", "two"));
    assert_eq!(world.phones[ben].subs[0].notifies.len(), 1, "another note is not what Ben waits for");
    publish(&mut world, anna, "anna", "", document("x1", "closed", "three"));
    assert_eq!(notes(&told(&world, ben)), ["x1 Closed "]);
}

#[test]
fn who_is_no_user_any_more_has_no_presence() {
    let mut world = house(871);
    let (ben, _) = watch(&mut world, "ben", "anna");
    let carla = world.phone("carla");
    world.at(carla, |phone, now| phone.subscribe("carla", "presence", 600, now));
    world.run(500);
    world.handle(Input::Reload(home::changed("  carla: {password: {secret: carla}}\n", "")));
    world.run(500);
    let last = |phone: usize| world.phones[phone].subs[0].notifies.last().unwrap().state.clone();
    assert_eq!(last(carla), "terminated;reason=noresource");
    assert_eq!(last(ben), "terminated;reason=rejected", "the new rules do not name Anna");
}

/// A buddy list, as it was meant: people and appliances, each watched as its owner may.
///
/// Proves: RL-7
#[test]
fn people_stand_on_lists_beside_appliances() {
    let mut world = house(874);
    let anna = world.phone("anna");
    let contact = format!("Contact: <{}>\r\n", world.phones[anna].contact());
    let ben = world.phone("ben");
    let entries = ["anna", "plug", "carla"].map(|name| format!("<entry uri='sip:{name}@home.example'/>"));
    let body = format!(
        "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'><list>{}</list></resource-lists>",
        entries.concat()
    );
    let fields = format!(
        "Contact: <{}>\r\nEvent: presence\r\nSupported: eventlist\r\nRequire: recipient-list-subscribe\r\n\
         Content-Disposition: recipient-list\r\n",
        world.phones[ben].contact()
    );
    let body = Some(("application/resource-lists+xml", body));
    let op = world.at(ben, |phone, now| phone.subscribe_raw("home", &fields, body, now));
    world.run(2_000);
    assert_eq!(world.phones[ben].ops[op].status(), 200);
    let newest = |world: &World| {
        let notify = world.phones[ben].subs[0].notifies.last().unwrap().clone();
        rlmi::read_related(&notify.content_type, notify.body.as_bytes()).unwrap()
    };
    let state = |world: &World, nth: usize| {
        let (list, parts) = newest(world);
        let cid = list.resources[nth].instances.first().and_then(|one| one.cid.clone());
        let part = parts.parts.iter().find(|part| part.content_id.is_some() && part.content_id == cid);
        part.map(|part| String::from_utf8_lossy(&part.body).into_owned())
    };
    assert!(state(&world, 0).unwrap().contains("<basic>closed</basic>"), "{:?}", state(&world, 0));
    assert!(state(&world, 1).is_some(), "the plug");
    assert_eq!(state(&world, 2), None, "whom Ben may not watch is as one who is not there");
    register(&mut world, anna, &contact, None);
    world.run(6_000);
    let now = state(&world, 0).unwrap();
    assert!(now.contains("<basic>open</basic>") && now.contains("entity=\"sip:anna@home.example\""), "{now}");
    // Carla's phone is no news for him.
    let heard = world.phones[ben].subs[0].notifies.len();
    let carla = world.phone("carla");
    let contact = format!("Contact: <{}>\r\n", world.phones[carla].contact());
    register(&mut world, carla, &contact, None);
    world.run(6_000);
    assert_eq!(world.phones[ben].subs[0].notifies.len(), heard, "{:?}", newest(&world).0);
}

/// Proves: PR-10, WI-3
#[test]
fn a_person_is_told_who_watches_and_a_watcher_of_himself() {
    let mut world = house(2401);
    let anna = world.phone("anna");
    let watching = |world: &mut World, phone: usize, form: Option<&'static str>| {
        let op = world.at(phone, |phone, now| phone.subscribe_as("anna", "presence.winfo", form, 600, now));
        world.run(500);
        assert_eq!(world.phones[phone].ops[op].status(), 200);
    };
    watching(&mut world, anna, None);
    let told = |world: &World, phone: usize, sub: usize| {
        world.phones[phone].subs[sub].notifies.last().unwrap().body.clone()
    };
    assert!(
        told(&world, anna, 0).contains("package=\"presence\"")
            && !told(&world, anna, 0).contains("<watcher ")
    );
    let (ben, status) = watch(&mut world, "ben", "anna");
    assert_eq!(status, 200);
    world.run(6_000);
    let news = told(&world, anna, 0);
    assert!(news.contains("status=\"active\"") && news.contains("sip:ben@home.example</watcher>"), "{news}");
    // Anna watches herself; Ben is not told that.
    let (_, status) = watch(&mut world, "anna", "anna");
    assert_eq!(status, 200);
    watching(&mut world, ben, None);
    let own = told(&world, ben, 1);
    assert!(own.contains("sip:ben@home.example") && !own.contains("sip:anna@home.example</"), "{own}");
    watching(&mut world, anna, Some("application/xwatcher+xml"));
    let of_2000 = told(&world, anna, 1);
    assert!(of_2000.contains("XWATCHER") && of_2000.contains("uri=\"sip:ben@home.example\""), "{of_2000}");
    // Whom she does not let watch does not learn that there is anything to ask.
    let carla = world.phone("carla");
    let op = world.at(carla, |phone, now| phone.subscribe("anna", "presence.winfo", 600, now));
    world.run(500);
    assert_eq!(world.phones[carla].ops[op].status(), 404);
    // There is no `appliance` of a person.
    let op = world.at(anna, |phone, now| phone.subscribe("anna", "appliance.winfo", 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 489);
}

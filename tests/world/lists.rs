//! Lists (RFC 4662): of the house, written and kept (RFC 4826), brought along (RFC 5367), and of 2000.

use bytes::Bytes;
use sipliance::body::rlmi::{self, InstanceState, Rlmi};
use sipliance::body::xbuddy;
use sipliance::gateway::Input;
use sipliance::gateway::xcap::Request;
use sipliance::sip::auth::{self, Login};
use sipliance::sip::wire::Message;

use super::home;
use super::world::World;

const KIND: &str = "application/resource-lists+xml";
const RULES: &str = "application/auth-policy+xml";
const BEN: &str = "  - who: ben\n    see: [plug]\n";
const LAMP: &str =
    "  lamp:\n    name: Lamp\n    room: Bedroom\n    profile: plug\n    params: {topic: lamp}\n";

/// A document with one list.
fn lists(name: &str, uris: &[&str]) -> String {
    let entries: String = uris.iter().map(|uri| format!("<entry uri=\"{uri}\"/>")).collect();
    let ns = "urn:ietf:params:xml:ns:resource-lists";
    format!("<resource-lists xmlns=\"{ns}\"><list name=\"{name}\">{entries}</list></resource-lists>")
}

/// A request over HTTP with its login.
fn http(world: &mut World, user: &str, method: &str, content_type: &str, body: &str) -> u16 {
    let application = if content_type == RULES { "pres-rules" } else { "resource-lists" };
    let target = format!("/xcap-root/{application}/users/{user}/index");
    let fields = vec![("content-type".to_owned(), content_type.to_owned())];
    let body = Bytes::copy_from_slice(body.as_bytes());
    let mut request = Request { method: method.to_owned(), target: target.clone(), fields, body };
    let peer = "192.168.1.5".parse().unwrap();
    world.handle(Input::Http { ticket: 1, peer, request: &request });
    let challenges = world.answers.pop().unwrap().fields;
    let challenges = challenges.iter().filter(|(name, _)| *name == "www-authenticate");
    let challenges: String = challenges.map(|(_, value)| format!("WWW-Authenticate: {value}\r\n")).collect();
    let message = format!("SIP/2.0 401 x\r\n{challenges}\r\n");
    let message = Message::parse(message.as_bytes()).unwrap();
    let login = Login { user, password: home::password(user) };
    let login = auth::answer(&message, login, method, &target, "c", 1).unwrap();
    let value = login.field.split_once(": ").unwrap().1.trim_end().to_owned();
    request.fields.push(("authorization".to_owned(), value));
    world.handle(Input::Http { ticket: 2, peer, request: &request });
    let status = world.answers.pop().unwrap().status;
    world.run(1_500);
    status
}

fn phone(world: &mut World, user: &str) -> usize {
    let phone = world.phone(user);
    world.phones[phone].extra = "Supported: eventlist\r\n".to_owned();
    phone
}

/// Subscribes and returns the status.
fn watch(world: &mut World, phone: usize, name: &str, event: &str, expires: u32) -> u16 {
    let op = world.at(phone, |phone, now| phone.subscribe(name, event, expires, now));
    world.run(1_000);
    world.phones[phone].ops[op].status()
}

/// Subscribes to what the body says.
fn bring(world: &mut World, phone: usize, to: &str, kind: &'static str, body: String, expires: u32) -> u16 {
    let at = &mut world.phones[phone];
    at.extra = "Supported: eventlist\r\nRequire: recipient-list-subscribe\r\n".to_owned();
    at.body = Some((kind, body));
    watch(world, phone, to, "presence", expires)
}

fn newest(world: &World, phone: usize) -> Rlmi {
    let notify = world.phones[phone].subs.last().unwrap().notifies.last().unwrap();
    rlmi::read_related(&notify.content_type, notify.body.as_bytes()).unwrap().0
}

/// Each resource with the state of its instance: `+` active, `-` and why it is over, `?` not known.
fn states(list: &Rlmi) -> Vec<String> {
    let state = |resource: &rlmi::Resource| match resource.instances.as_slice() {
        [] => format!("{} ?", resource.uri),
        [one] if one.state == InstanceState::Active => format!("{} +", resource.uri),
        [one] => format!("{} -{}", resource.uri, one.reason.as_deref().unwrap_or_default()),
        _ => format!("{} several", resource.uri),
    };
    list.resources.iter().map(state).collect()
}

/// Proves: RL-1, RL-4, RL-5, RL-7
#[test]
fn a_kept_list_is_watched_by_its_writer_alone() {
    let mut world = World::new(811);
    let ben = phone(&mut world, "ben");
    let uris = [
        "sip:lamp@home.example",
        "sip:carla@elsewhere.example",
        "sip:plug@home.example",
        "sip:no@home.example",
    ];
    assert_eq!(http(&mut world, "ben", "PUT", KIND, &lists("my things", &uris)), 201);
    assert_eq!(watch(&mut world, ben, "list.my%20things", "presence", 600), 200);
    // What Ben may not see looks like what is not there; elsewhere, nothing is known.
    let first = newest(&world, ben);
    assert!(first.full && first.version == 0);
    let nothing = "-noresource";
    assert_eq!(
        states(&first),
        [
            format!("{} {nothing}", uris[0]),
            format!("{} ?", uris[1]),
            format!("{} +", uris[2]),
            format!("{} {nothing}", uris[3])
        ]
    );
    // Said once.
    world.report("stat/plug/POWER", "ON");
    world.run(6_000);
    let second = newest(&world, ben);
    assert_eq!((second.version, second.full), (1, true));
    assert_eq!(
        states(&second),
        uris.iter()
            .enumerate()
            .map(|(n, uri)| format!("{uri} {}", if n == 2 { "+" } else { "?" }))
            .collect::<Vec<_>>()
    );
    // The lamp is none of his business.
    world.report("stat/lamp/POWER", "ON");
    world.run(6_000);
    assert_eq!(newest(&world, ben).version, 1);
    let anna = phone(&mut world, "anna");
    assert_eq!(watch(&mut world, anna, "list.my%20things", "presence", 600), 404);
    assert_eq!(watch(&mut world, ben, "list.none", "presence", 600), 404);
    world.phones[ben].extra.clear();
    assert_eq!(watch(&mut world, ben, "list.my%20things", "presence", 600), 421);
}

/// Proves: RL-2, RL-5, RL-6
#[test]
fn a_list_that_changes_is_told_to_who_watches_it() {
    let mut world = World::new(812);
    let anna = phone(&mut world, "anna");
    let (plug, lamp) = ("sip:plug@home.example", "sip:lamp@home.example");
    http(&mut world, "anna", "PUT", KIND, &lists("mine", &[plug, lamp]));
    assert_eq!(watch(&mut world, anna, "list.mine", "appliance", 600), 200);
    http(&mut world, "anna", "PUT", KIND, &lists("mine", &[plug]));
    assert_eq!(states(&newest(&world, anna)), [format!("{plug} +"), format!("{lamp} -noresource")]);
    http(&mut world, "anna", "PUT", KIND, &lists("mine", &["sip:bedroom@home.example"]));
    assert_eq!(states(&newest(&world, anna)), [format!("{lamp} +"), format!("{plug} -noresource")]);
    // A refresh says everything again, and what is over no more.
    let sub = world.phones[anna].subs.len() - 1;
    world.at(anna, |phone, now| phone.refresh(sub, 600, now));
    world.run(1_000);
    let full = newest(&world, anna);
    assert_eq!((full.full, full.version, states(&full)), (true, 3, vec![format!("{lamp} +")]));
    world.report("stat/lamp/POWER", "ON");
    world.run(2_000);
    assert_eq!(newest(&world, anna).version, 4, "what was put on it is watched");
    let all = &world.phones[anna].subs[sub].notifies;
    assert!(all.iter().all(|notify| notify.content_type.starts_with("multipart/related")));
    assert_eq!(http(&mut world, "anna", "DELETE", KIND, ""), 200);
    assert_eq!(world.phones[anna].subs[sub].notifies.last().unwrap().state, "terminated;reason=noresource");
}

/// Proves: RL-5, RL-7
#[test]
fn what_is_gone_from_the_house_is_told_once() {
    let see_both = "  - who: ben\n    see: [plug, lamp]\n";
    let mut world = World::with(813, home::changed(BEN, see_both));
    let (anna, ben) = (phone(&mut world, "anna"), phone(&mut world, "ben"));
    for phone in [anna, ben] {
        assert_eq!(watch(&mut world, phone, "all", "presence", 600), 200);
    }
    let gone = |world: &World, phone: usize| states(&newest(world, phone)).last().unwrap().clone();
    world.handle(Input::Reload(home::changed(BEN, BEN)));
    world.run(6_000);
    assert_eq!(gone(&world, ben), "sip:lamp@home.example -rejected");
    assert_eq!(gone(&world, anna), "sip:lamp@home.example +");
    world.handle(Input::Reload(home::changed(LAMP, "")));
    world.run(6_000);
    assert_eq!(gone(&world, anna), "sip:lamp@home.example -noresource");
    world.report("stat/plug/POWER", "ON");
    world.run(6_000);
    for phone in [anna, ben] {
        assert_eq!(states(&newest(&world, phone)), ["sip:plug@home.example +"]);
    }
}

/// Proves: RL-8
#[test]
fn a_list_may_come_with_the_subscription() {
    let mut world = World::new(814);
    let anna = phone(&mut world, "anna");
    let (plug, lamp) = ("sip:plug@home.example", "sip:lamp@home.example");
    let body = lists("x", &[lamp, "sip:21@home.example", "sip:all@home.example", "sip:list.x@home.example"]);
    assert_eq!(bring(&mut world, anna, "home", KIND, body.clone(), 600), 200);
    let first = newest(&world, anna);
    // The number is the plug's, so that the whole house adds nothing; a list in a list is not looked into.
    let inner = "sip:list.x@home.example -noresource";
    assert_eq!(states(&first), [format!("{lamp} +"), "sip:21@home.example +".to_owned(), inner.to_owned()]);
    world.report("stat/lamp/POWER", "ON");
    world.run(6_000);
    assert_eq!(newest(&world, anna).version, 1);
    let part = format!(
        "--b\r\nContent-Type: {KIND}\r\nContent-Disposition: recipient-list\r\n\r\n{}\r\n--b--\r\n",
        lists("x", &[plug])
    );
    assert_eq!(bring(&mut world, anna, "all", "multipart/mixed;boundary=b", part, 600), 200);
    assert_eq!(states(&newest(&world, anna)), [format!("{plug} +")]);

    let many: Vec<String> = (0..300).map(|n| format!("sip:a{n}@home.example")).collect();
    let many = lists("x", &many.iter().map(String::as_str).collect::<Vec<_>>());
    let deep = format!(
        "<resource-lists xmlns='urn:ietf:params:xml:ns:resource-lists'>{}{}</resource-lists>",
        "<list>".repeat(9),
        "</list>".repeat(9)
    );
    for (to, kind, body, status) in [
        ("plug", KIND, body.clone(), 403),
        ("home", "text/plain", body, 415),
        ("home", KIND, lists("x", &[]), 400),
        ("home", KIND, "<resource-lists".to_owned(), 400),
        ("home", KIND, many, 413),
        ("home", KIND, deep, 413),
    ] {
        let got = bring(&mut world, anna, to, kind, body.clone(), 600);
        assert_eq!(got, status, "{to} {kind} {body}");
    }
}

#[test]
fn lists_that_nobody_watches_any_more_take_no_room() {
    let mut world = World::new(815);
    let anna = phone(&mut world, "anna");
    let own = |n: usize| lists("x", &["sip:plug@home.example", &format!("sip:a{n}@elsewhere.example")]);
    for n in 0..100 {
        assert_eq!(bring(&mut world, anna, "home", KIND, own(n), 0), 200, "fetch {n}");
    }
    let statuses: Vec<u16> = (0..65).map(|n| bring(&mut world, anna, "home", KIND, own(n), 600)).collect();
    assert!(statuses[..64].iter().all(|status| *status == 200) && statuses[64] == 503, "{statuses:?}");
    // The same list again needs no further room.
    assert_eq!(bring(&mut world, anna, "home", KIND, own(7), 600), 200);
    let ben = phone(&mut world, "ben");
    assert_eq!(bring(&mut world, ben, "home", KIND, own(7), 600), 200, "others have theirs");
}

/// Proves: RL-9
#[test]
fn many_changes_on_a_list_are_few_notifies() {
    let mut world = World::new(816);
    let anna = phone(&mut world, "anna");
    assert_eq!(watch(&mut world, anna, "all", "presence", 600), 200);
    for nth in 0..50 {
        let power = if nth % 2 == 0 { "ON" } else { "OFF" };
        world.report("stat/plug/POWER", power);
        world.report("stat/lamp/POWER", power);
        world.run(100);
    }
    world.run(6_000);
    let heard = world.phones[anna].subs[0].notifies.len();
    assert!((5..=8).contains(&heard), "100 changes in 5 s, and one NOTIFY in each second: {heard}");
}

/// Proves: NEG-13
#[test]
fn a_phone_of_2000_gets_its_list_with_its_registration() {
    let mut world = World::new(817);
    let anna = world.phone("anna");
    let register = |world: &mut World, phone: usize, accept: &str| {
        let op = world.at(phone, |phone, now| phone.register_accepting(accept, now));
        world.run(500);
        let last = world.phones[phone].ops[op].finals.last().unwrap().clone();
        assert_eq!(last.1, 200);
        last.3
    };
    // Out of the house everybody on the way could read it.
    assert_eq!(register(&mut world, anna, xbuddy::CONTENT_TYPE), "");
    let ben = world.phone("ben");
    world.phones[ben].hop.local = "192.168.1.7:5060".parse().unwrap();
    assert_eq!(register(&mut world, ben, "application/pidf+xml"), "");
    let house = register(&mut world, ben, "application/pidf+xml, application/xbuddy+xml;q=0.5");
    let house = xbuddy::read(house.as_bytes()).unwrap();
    let seen: Vec<_> = house.entries().iter().map(|entry| entry.uri.clone()).collect();
    assert_eq!(seen, ["sip:plug@home.example"], "what Ben may see");
    let old = "<buddylist><title>Mine</title><buddy uri='sip:x@h;method=SUBSCRIBE'>X</buddy></buddylist>";
    assert_eq!(http(&mut world, "ben", "PUT", xbuddy::CONTENT_TYPE, old), 201);
    let own = xbuddy::read(register(&mut world, ben, xbuddy::CONTENT_TYPE).as_bytes()).unwrap();
    assert_eq!((own.display.as_deref(), own.entries()[0].uri.as_str()), (Some("Mine"), "sip:x@h"));
}

/// A house with so many lamps more.
fn large(lamps: usize) -> std::sync::Arc<sipliance::config::Config> {
    let more: String = (0..lamps)
        .map(|n| format!("  more{n}:\n    name: A lamp with number {n}\n    profile: plug\n    params: {{topic: m{n}}}\n"))
        .collect();
    home::changed("  lamp:\n", &format!("{more}  lamp:\n"))
}

/// Every document of the newest subscription from the n-th on.
fn documents(world: &World, phone: usize, from: usize) -> Vec<Rlmi> {
    let notifies = &world.phones[phone].subs.last().unwrap().notifies[from..];
    notifies
        .iter()
        .map(|it| {
            rlmi::read_related(&it.content_type, it.body.as_bytes()).unwrap_or_else(|why| panic!("{why}")).0
        })
        .collect()
}

fn active(list: &Rlmi) -> usize {
    list.resources.iter().filter(|resource| !resource.instances.is_empty()).count()
}

/// Proves: RL-2, RL-4, RL-10
#[test]
fn a_list_that_fits_no_datagram_comes_in_several() {
    let mut world = World::with(818, large(150));
    let anna = phone(&mut world, "anna");
    assert_eq!(watch(&mut world, anna, "all", "presence", 600), 200);
    let first = documents(&world, anna, 0);
    assert!((2..=4).contains(&first.len()), "{} documents", first.len());
    assert_eq!(
        first.iter().map(|list| list.version).collect::<Vec<_>>(),
        (0..first.len() as u32).collect::<Vec<_>>()
    );
    assert!(first[0].full && first[1..].iter().all(|list| !list.full));
    assert_eq!(first[0].resources.len(), 152, "the first names all");
    assert_eq!(first.iter().map(active).sum::<usize>(), 152, "together they say all");
    // A change while the newest state is still on its way is said behind it.
    world.report("stat/plug/POWER", "ON");
    world.run(1_020);
    world.report("stat/plug/POWER", "OFF");
    world.run(6_000);
    let notifies = &world.phones[anna].subs[0].notifies;
    let last = notifies.iter().rev().find(|notify| notify.body.contains("sip:plug@")).unwrap();
    assert!(
        last.body.split("entity=\"sip:plug@").nth(1).unwrap().contains(r#"name="power">off<"#),
        "{}",
        last.body
    );
    assert_eq!(documents(&world, anna, first.len()).iter().map(active).sum::<usize>() % 152, 0);
    for (_, bytes) in world.sent(sipliance::sip::wire::Method::Notify) {
        assert!(bytes.len() < 65_507, "{} bytes", bytes.len());
    }
    // A refresh begins anew, with all names.
    let before = world.phones[anna].subs[0].notifies.len();
    world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(1_000);
    let again = documents(&world, anna, before);
    assert!(again[0].full && again.iter().map(active).sum::<usize>() == 152);

    // A fetch is one document: what does not fit has no state in it.
    assert_eq!(watch(&mut world, anna, "all", "presence", 0), 200);
    let fetched = documents(&world, anna, 0);
    assert_eq!((fetched.len(), fetched[0].resources.len()), (1, 152));
    assert!(active(&fetched[0]) < 152);
}

/// Proves: AUTH-5, RL-7
#[test]
fn what_owners_write_over_http_counts_on_lists_at_once() {
    let mut world = World::with(819, home::changed("alerts:", "owners: [anna]\nalerts:"));
    let ben = phone(&mut world, "ben");
    assert_eq!(watch(&mut world, ben, "all", "presence", 600), 200);
    let (plug, lamp) = ("sip:plug@home.example", "sip:lamp@home.example");
    assert_eq!(states(&newest(&world, ben)), [format!("{plug} +")]);
    let rules = |handling: &str| {
        format!(
            "<ruleset xmlns='urn:ietf:params:xml:ns:common-policy' xmlns:pr='urn:ietf:params:xml:ns:pres-rules'>\
             <rule id='a'><conditions><identity><one id='sip:ben@home.example'/></identity></conditions>\
             <actions><pr:sub-handling>{handling}</pr:sub-handling></actions>\
             <transformations><pr:provide-all-attributes/></transformations></rule></ruleset>"
        )
    };
    assert_eq!(http(&mut world, "ben", "PUT", RULES, &rules("allow")), 403, "he owns nothing");
    assert_eq!(http(&mut world, "anna", "PUT", RULES, &rules("allow")), 201);
    assert_eq!(states(&newest(&world, ben)), [format!("{plug} +"), format!("{lamp} +")]);
    assert_eq!(http(&mut world, "anna", "PUT", RULES, &rules("block")), 200);
    assert_eq!(states(&newest(&world, ben)), [format!("{plug} +"), format!("{lamp} -rejected")]);
    let heard = world.phones[ben].subs[0].notifies.len();
    assert_eq!(http(&mut world, "anna", "PUT", RULES, &rules("confirm")), 200);
    assert_eq!(world.phones[ben].subs[0].notifies.len(), heard, "nothing changed for him");
}

//! Whom a registrar grants which address of the device (RFC 5627), and what becomes of the old ones.

use sipliance::gateway::Input;
use sipliance::sip::wire::Method;

use super::home;
use super::provider::Step;
use super::world::{Seen, World};

const PAI: &str = "P-Asserted-Identity: <sip:carla@provider.example;gr=urn:uuid:0>\r\n";

/// A house with three accounts, two of them for the plug, and `carla` behind the provider.
fn house(seed: u64) -> World {
    let accounts = "device: plug}\n";
    let more = format!("{accounts}      - {{user: \"102\", password: {{secret: provider}}, {accounts}");
    let config = home::edited_with_upstream(
        "udp",
        &[
            (accounts, &more),
            ("  - who: ben\n    see: [plug]\n", "  - who: sip:carla@provider.example\n    do: [plug]\n"),
        ],
    );
    let mut world = World::with(seed, config);
    world.provider.gruus = true;
    world.run(6_000);
    world
}

/// A request that the provider passes on to `uri`, dialled as `to`.
fn ask(world: &mut World, method: &str, uri: &str, to: &str, more: &str, nth: u32) -> String {
    let body = if method == "MESSAGE" { "on" } else { "" };
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKg{nth}\r\nFrom: <sip:carla@provider.example;gr=urn:uuid:0>;tag=1\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {nth} {method}\r\nContact: <sip:carla@203.0.113.9>\r\n{PAI}{more}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        if method == "SUBSCRIBE" { "watch" } else { to },
        body.len()
    );
    let text = if body.is_empty() { text.replace("Content-Type: text/plain\r\n", "") } else { text };
    let (flow, from) = (world.provider.flow.unwrap(), world.provider.addr());
    let local = "192.0.2.1:40101".parse().unwrap();
    world.handle(Input::Datagram { flow, local, from, bytes: text.as_bytes() });
    world.run(500);
    world.provider.answers.last().unwrap().clone()
}

const WATCH: &str = "Event: presence\r\nExpires: 3600\r\n";

fn contact(text: &str) -> String {
    let line = text.lines().find(|line| line.starts_with("Contact: ")).expect("a Contact");
    line["Contact: ".len()..].trim_matches(['<', '>']).to_owned()
}

fn notified(world: &World) -> String {
    let (_, bytes) = world.sent(Method::Notify).pop().expect("a NOTIFY");
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn change(world: &mut World, word: &str) {
    world.report("stat/plug/POWER", word);
    world.run(6_000);
}

/// Proves: GR-2, GR-3
#[test]
fn who_wants_no_trace_gets_a_temporary_gruu_that_goes_on_working() {
    let mut world = house(801);
    let us = "sip:101@192.0.2.1:40101";
    let open = ask(&mut world, "SUBSCRIBE", us, "<sip:101@provider.example>", WATCH, 1);
    assert_eq!(contact(&open), "sip:101@provider.example;gr=x");
    let more = format!("Privacy: header; id\r\n{WATCH}");
    let text = ask(&mut world, "SUBSCRIBE", us, "<sip:101@provider.example>", &more, 2);
    let first = contact(&text);
    assert!(first.starts_with("sip:t") && first.ends_with("@provider.example;gr"), "{first}");
    assert_eq!(contact(&notified(&world)), first);
    // The registrar gives another one with each refresh; this one holds as long as the binding does.
    world.run(900_000);
    change(&mut world, "ON");
    assert_eq!(contact(&notified(&world)), first);
    // A request for it that the registrar did not translate is ours all the same, and moves the right appliance.
    let before = world.plug.writes.len();
    ask(&mut world, "MESSAGE", &first, "<sip:other@provider.example>", "", 3);
    assert_eq!(world.plug.writes.len(), before + 1);
    // Nobody else's is.
    let stranger =
        ask(&mut world, "MESSAGE", "sip:t99999@provider.example;gr", "<sip:x@provider.example>", "", 4);
    assert!(stranger.starts_with("SIP/2.0 404 "), "{stranger}");
    // A refresh of the dialog takes over the newest.
    let tag = text.lines().find(|line| line.starts_with("To: ")).unwrap()["To: ".len()..].to_owned();
    let text = ask(&mut world, "SUBSCRIBE", &first, &tag, &more, 5);
    assert!(text.starts_with("SIP/2.0 200 "), "{text}");
    let second = contact(&text);
    assert!(second != first && second.ends_with("@provider.example;gr"), "{second}");
    assert_eq!(contact(&notified(&world)), second);
    assert!(world.provider.got.iter().all(|(_, register)| !register.contains(";gr")), "never in REGISTER");
}

/// Proves: GR-4
#[test]
fn when_a_binding_lapsed_its_temporary_gruus_are_replaced() {
    let mut world = house(802);
    let more = format!("Privacy: user\r\n{WATCH}");
    let text =
        ask(&mut world, "SUBSCRIBE", "sip:101@192.0.2.1:40101", "<sip:101@provider.example>", &more, 1);
    let first = contact(&text);
    // Refused until the binding is over.
    world.provider.then = Step::Busy(700);
    world.run(1_200_000);
    world.provider.then = Step::Usual(600);
    world.run(800_000);
    let second = contact(&notified(&world));
    assert!(second != first && second.ends_with("@provider.example;gr"), "{first} {second}");
}

/// Proves: GR-6
#[test]
fn the_account_that_was_asked_answers_and_people_see_no_gr() {
    let mut world = house(803);
    for (nth, account) in [(1, "101"), (2, "102")] {
        let us = format!("sip:{account}@192.0.2.1:40101");
        let to = format!("<sip:{account}@provider.example>");
        let text = ask(&mut world, "SUBSCRIBE", &us, &to, WATCH, nth * 10);
        assert_eq!(contact(&text), format!("sip:{account}@provider.example;gr=x"));
        ask(&mut world, "MESSAGE", &us, &to, "", nth * 10 + 1);
        let reply = world.provider.others.last().unwrap();
        assert!(reply.contains(&format!("From: <sip:{account}@provider.example>")), "{reply}");
        // Dialled by a name that only the provider knows.
        ask(&mut world, "MESSAGE", &us, "<sip:door@provider.example>", "", nth * 10 + 2);
        let reply = world.provider.others.last().unwrap();
        assert!(reply.contains(&format!("From: <sip:{account}@provider.example>")), "{reply}");
    }
    let lines: Vec<&String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Audit(line) => Some(line),
            _ => None,
        })
        .collect();
    assert!(lines.iter().any(|line| line.contains("sip:carla@provider.example\"")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("gr=")), "{lines:?}");
}

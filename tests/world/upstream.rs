//! The gateway at a registrar elsewhere: patient, never pushy, and gone in good order.

use std::time::Duration;

use bytes::Bytes;
use sipliance::gateway::Input;
use sipliance::sip::wire::{Message, Method};
use sipliance::sip::{FlowId, Transport};

use super::outbound::edges_of;
use super::provider::{Reach, Step};
use super::wan::Wan;
use super::world::{Seen, World};
use super::{home, outbound, wan};

fn times(world: &World) -> Vec<Duration> {
    world.provider.got.iter().map(|(at, _)| *at).collect()
}

fn states(world: &World) -> Vec<&'static str> {
    world.gateway.status(world.time()).registrations.iter().map(|one| one.state).collect()
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A world whose provider answers all REGISTERs so.
fn with(seed: u64, transport: &str, then: Step) -> World {
    let mut world = World::with(seed, home::config(Some(transport)));
    world.provider.then = then;
    world
}

/// Proves: SEC-5
#[test]
fn both_addresses_register_and_refresh_in_time() {
    for transport in ["udp", "tcp"] {
        let mut world = with(61, transport, Step::Usual(600));
        world.run(5_000);
        assert_eq!(states(&world), ["registered", "registered"], "{transport}");
        // Without and with the login, for each address.
        assert_eq!(world.provider.got.len(), 4);
        world.run(3_600_000);
        assert_eq!(states(&world), ["registered", "registered"]);
        let got = times(&world);
        // At 40 to 50 % of 600 s: 12 to 15 refreshes in an hour for each, each at most twice as often
        // for its login.
        assert!((4 + 2 * 12..=4 + 4 * 15).contains(&got.len()), "{}", got.len());
        assert!(world.provider.pings >= 29, "{} keep-alives", world.provider.pings);
        let text = &world.provider.got[0].1;
        assert!(text.starts_with("REGISTER sip:provider.example SIP/2.0\r\n"), "{text}");
    }
}

#[test]
fn a_wrong_password_is_tried_once_and_then_seldom() {
    let mut world = with(62, "udp", Step::Challenge);
    world.run(60_000);
    assert_eq!(world.provider.got.len(), 4, "two requests per challenge and address");
    assert_eq!(states(&world), ["failed", "failed"]);
    world.run(3_600_000);
    assert!(world.provider.got.len() <= 4 * 7, "{}", world.provider.got.len());
    // A nonce that is always too old is no loop either.
    let mut world = with(63, "udp", Step::Stale);
    world.run(60_000);
    assert!(world.provider.got.len() <= 2 * 5, "{}", world.provider.got.len());
}

#[test]
fn a_longer_interval_is_taken_over() {
    let mut world = with(64, "udp", Step::AtLeast(1800));
    world.run(5_000);
    assert_eq!(states(&world), ["registered", "registered"]);
    assert!(world.provider.got.last().unwrap().1.contains("Expires: 1800"));
    // One that names no longer interval is not obeyed for ever.
    let mut world = with(65, "udp", Step::TooBrief(1));
    world.run(10_000);
    assert_eq!(world.provider.got.len(), 2);
}

#[test]
fn retry_after_and_refusal_are_obeyed() {
    for (step, least) in [(Step::Busy(120), 120), (Step::Refuse(403), 600), (Step::Refuse(500), 15)] {
        let mut world = with(66, "udp", step.clone());
        world.run(5_000);
        assert_eq!(world.provider.got.len(), 2, "{step:?}");
        let first = times(&world)[0];
        world.run((least - 7) * 1000);
        assert_eq!(world.provider.got.len(), 2, "{step:?} at {:?} since {first:?}", world.now);
        world.provider.then = Step::Usual(600);
        world.run(60_000);
        assert_eq!(states(&world), ["registered", "registered"], "{step:?}");
    }
}

/// A proxy before the registrar may want to know who comes, as well as the registrar itself.
#[test]
fn a_proxy_and_the_registrar_both_get_their_proof() {
    let mut world = with(661, "udp", Step::Both);
    world.run(5_000);
    assert_eq!(states(&world), ["registered", "registered"]);
    assert_eq!(world.provider.got.len(), 6, "three for each address");
    let last = &world.provider.got[5].1;
    assert!(
        last.contains("Proxy-Authorization: Digest") && last.contains("\r\nAuthorization: Digest"),
        "{last}"
    );
}

/// What is between us and a registrar may write our Contact in its own words: then it is ours all the same, and not one that an
/// earlier run left there.
#[test]
fn a_contact_in_other_words_is_ours_and_its_lifetime_holds() {
    let rewritten: [&[&str]; 4] = [
        &["<sip:{user}@203.0.113.9:31207>;expires=60"],
        &["<sip:{user}@203.0.113.9:31207>;+sip.instance={instance};expires=60"],
        &["<sip:{user}@203.0.113.9:31207>;expires=60", "<sip:{user}@192.0.2.99:5060>;expires=3"],
        &[
            "<sip:{user}@203.0.113.9:31207>;+sip.instance={instance};expires=60",
            "<sip:{user}@192.0.2.99>;expires=3000",
        ],
    ];
    for contacts in rewritten {
        let mut world = with(662, "udp", Step::Lists(contacts));
        world.run(5_000);
        assert_eq!(states(&world), ["registered", "registered"], "{contacts:?}");
        world.run(600_000);
        // 24 to 30 s each.
        let got = world.provider.got.len();
        assert!((2 * 20..=2 * 27).contains(&got), "{contacts:?}: {got}");
        let all: String = world.provider.got.iter().map(|(_, text)| text.as_str()).collect();
        assert!(!all.contains("expires=0"), "{contacts:?}: nothing of ours is removed");
    }
}

#[test]
fn an_answer_that_lists_others_alone_is_doubted_in_words() {
    let mut world = with(663, "udp", Step::Lists(&["<sip:mallory@192.0.2.99>;expires=7"]));
    world.run(5_000);
    let status = world.gateway.status(world.time()).registrations;
    assert!(status[0].words.contains("other Contacts than ours"), "{status:?}");
    // What is said of others may be meant for us: then it is refreshed in time, and nobody is flooded.
    world.run(600_000);
    assert!((2 * 20..=2 * 27).contains(&world.provider.got.len()), "{}", world.provider.got.len());
}

/// One that keeps what it was asked to remove is not asked without end.
#[test]
fn what_an_earlier_run_left_is_removed_and_a_registrar_that_keeps_it_is_left_alone() {
    let mut world = with(
        664,
        "udp",
        Step::Lists(&[
            "<sip:{user}@192.0.2.99:4444>;+sip.instance={instance};expires=3000",
            "<{ours}>;+sip.instance={instance};expires=600",
        ]),
    );
    world.run(15_000);
    let removes = |world: &World| {
        world
            .provider
            .got
            .iter()
            .filter(|(_, text)| text.contains("<sip:100@192.0.2.99:4444>;expires=0"))
            .count()
    };
    assert!(removes(&world) >= 1);
    world.run(3_600_000);
    assert!(removes(&world) <= 4 && world.provider.got.len() < 2 * 24, "{}", world.provider.got.len());
}

/// RFC 3263 §4.3: a server that is too busy is not the only one of its name. One that registered us has more patience.
#[test]
fn a_server_that_is_busy_is_left_for_another_when_its_time_is_over() {
    let connects =
        |world: &World| world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Connect(_))).count();
    for transport in ["udp", "tcp"] {
        let mut world = with(665, transport, Step::Busy(60));
        world.run(50_000);
        assert_eq!((connects(&world), world.provider.got.len()), (1, 2), "{transport}: not before");
        world.provider.then = Step::Usual(600);
        world.run(60_000);
        assert_eq!(states(&world), ["registered", "registered"], "{transport}");
        assert_eq!(connects(&world), 2, "{transport}");
        world.run(600_000);
        assert_eq!(connects(&world), 2, "{transport}");
    }
}

/// Then what was refused because of the time is tried again, and a clock that is set all the time makes no storm.
#[test]
fn a_clock_that_is_set_later_lets_what_rests_try_again() {
    let mut world = with(667, "tcp", Step::Usual(600));
    world.provider.reach = Reach::Refused;
    world.run(1_800_000);
    let connects =
        |world: &World| world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Connect(_))).count();
    let before = connects(&world);
    world.wall_off += 50 * 365 * 86_400_000;
    world.provider.reach = Reach::Open;
    world.run(20_000);
    assert_eq!(states(&world), ["registered", "registered"], "{} connections", connects(&world) - before);
    world.provider.reach = Reach::Refused;
    world.cut_provider();
    let before = connects(&world);
    for _ in 0..600 {
        world.wall_off += 3_600_000;
        world.run(1_000);
    }
    assert!(connects(&world) - before <= 100, "{}", connects(&world) - before);
}

/// A machine that learns the time after its start told none of its moments wrong.
#[test]
fn a_clock_that_is_set_later_sets_what_the_status_says() {
    let mut world = with(666, "udp", Step::Usual(600));
    world.run(60_000);
    let mut now = world.time();
    let before = world.gateway.status(now);
    assert!(before.registrations[0].words.contains("since 20"), "{before:?}");
    now.wall_ms = 0;
    let after = world.gateway.status(now);
    for words in [&after.registrations[0].words, &after.flows[0].words] {
        assert!(words.contains("1969-12-31T23:59:") && !words.contains("since 20"), "{words}");
    }
}

/// Proves: OB-11
#[test]
fn silence_is_answered_by_ever_longer_and_scattered_waits() {
    let mut firsts = Vec::new();
    for seed in 0..20 {
        let mut world = with(6700 + seed, "udp", Step::Silence);
        world.run(7_200_000);
        // Repetitions were left out: each is a transaction of its own.
        let of_one: Vec<Duration> = world
            .provider
            .got
            .iter()
            .filter(|(_, text)| text.contains("<sip:100@"))
            .map(|(at, _)| *at)
            .collect();
        let wait = |pair: &[Duration]| pair[1].checked_sub(pair[0] + secs(32)).expect("after Timer F");
        let waits: Vec<Duration> = of_one.windows(2).map(wait).collect();
        for (nth, wait) in waits.iter().enumerate() {
            let full = secs(60 * (1 << nth.min(5))).min(secs(1800));
            assert!(
                *wait >= full / 2 - secs(1) && *wait <= full + secs(1),
                "wait {nth}: {wait:?} of {full:?}"
            );
        }
        assert!(of_one.len() >= 6);
        firsts.push(waits[0]);
        world.provider.then = Step::Usual(600);
        world.run(1_900_000);
        assert_eq!(states(&world), ["registered", "registered"]);
    }
    firsts.sort();
    assert!(firsts[19] - firsts[0] > secs(8), "twenty gateways do not come back at once: {firsts:?}");
}

/// Proves: REQ-4.3
#[test]
fn a_lost_flow_is_opened_again_and_again_ever_more_slowly() {
    let mut world = with(68, "tcp", Step::Usual(600));
    world.run(5_000);
    world.provider.reach = Reach::Refused;
    world.cut_provider();
    assert_eq!(states(&world), ["no flow", "no flow"]);
    let cut = world.now;
    world.run(600_000);
    let connects: Vec<Duration> = world
        .seen
        .iter()
        .filter_map(|(at, seen)| matches!(seen, Seen::Connect(0)).then_some(*at).filter(|at| *at > cut))
        .collect();
    let waits: Vec<Duration> = connects.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Soon, and not in the same second as all the others whose server starts anew.
    assert!(connects[0] - cut <= secs(4), "{connects:?}");
    // Each is no more than a packet or two, and who is back is found within 12 s: the rest of half a minute spreads
    // the REGISTERs.
    assert!(waits.iter().skip(6).all(|wait| *wait >= secs(6) && *wait <= secs(13)), "{waits:?}");
    world.provider.reach = Reach::Open;
    world.run(35_000);
    assert_eq!(states(&world), ["registered", "registered"]);
}

/// Proves: OB-6
#[test]
fn a_registrar_that_is_busy_for_a_while_keeps_its_flow() {
    let mut world = with(74, "tcp", Step::Usual(600));
    world.run(5_000);
    let flow = world.provider.flow;
    for step in [Step::Busy(30), Step::Refuse(500), Step::Busy(30)] {
        world.provider.steps.push_back(step);
    }
    world.run(600_000);
    assert!(world.provider.steps.is_empty(), "they were asked for a refresh");
    assert_eq!(states(&world), ["registered", "registered"]);
    let opened = world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Connect(_) | Seen::Close)).count();
    assert_eq!((world.provider.flow, opened), (flow, 1), "the one connection of the beginning");
}

#[test]
fn a_stop_takes_the_bindings_back() {
    let mut world = with(69, "udp", Step::Usual(600));
    world.run(5_000);
    world.handle(Input::Shutdown);
    assert!(!world.gateway.is_quiet());
    world.run(1_000);
    let last: Vec<&String> = world.provider.got.iter().rev().take(2).map(|(_, text)| text).collect();
    assert!(
        last.iter().all(|text| text.contains("Expires: 0") && text.contains("Authorization")),
        "{last:?}"
    );
    assert!(world.gateway.is_quiet());
    let count = world.provider.got.len();
    world.run(3_600_000);
    assert_eq!(world.provider.got.len(), count, "nothing registers again");
}

/// A request that the provider passes on.
fn passed_on(method: &str, user: &str, more: &str, body: &str, nth: u32) -> Bytes {
    Bytes::from(format!(
        "{method} sip:{user}@192.0.2.1:40101 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKp{nth}\r\nFrom: <sip:carla@provider.example>;tag=1\r\nTo: <sip:101@provider.example>\r\nCall-ID: pai{nth}\r\nCSeq: 1 {method}\r\n{more}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

const PAI: &str = "P-Asserted-Identity: <sip:carla@provider.example>\r\n";

/// Proves: SEC-9, OB-8
#[test]
fn the_provider_s_word_counts_on_its_flow_and_from_its_address_alone() {
    let config = home::with_upstream(
        "udp",
        "  - who: ben\n    see: [plug]\n",
        "  - who: sip:carla@provider.example\n    do: [plug]\n",
    );
    let mut world = World::with(70, config);
    world.run(5_000);
    let flow = world.provider.flow.unwrap();
    let local = "192.0.2.1:40101".parse().unwrap();
    let provider = world.provider.addr();
    let stranger = "203.0.113.66:5060".parse().unwrap();
    let mut nth = 0;
    let mut try_it = |world: &mut World, flow: FlowId, from, more: &str| {
        nth += 1;
        let bytes = passed_on("MESSAGE", "plug", more, if nth % 2 == 0 { "off" } else { "on" }, nth);
        world.handle(Input::Datagram { flow, local, from, bytes: &bytes });
        world.run(2_000);
        world.plug.writes.len()
    };
    assert_eq!(try_it(&mut world, flow, stranger, PAI), 0, "another source on the same port");
    assert_eq!(try_it(&mut world, FlowId(1), provider, PAI), 0, "the provider's address on another port");
    assert_eq!(try_it(&mut world, flow, provider, ""), 0, "nobody is vouched for");
    let two = format!("{PAI}P-Asserted-Identity: <sip:anna@provider.example>\r\n");
    assert_eq!(try_it(&mut world, flow, provider, &two), 0, "two names");
    let foreign = "P-Asserted-Identity: <sip:carla@elsewhere.example>\r\n";
    assert_eq!(try_it(&mut world, flow, provider, foreign), 0, "another domain");
    assert_eq!(try_it(&mut world, flow, provider, PAI), 1, "and this is how it is meant");
    assert_eq!(world.provider.others.len(), 1, "the reply MESSAGE went to the provider");
    let reply = &world.provider.others[0];
    assert!(reply.contains("From: <sip:101@provider.example>"), "{reply}");
}

#[test]
fn a_provider_that_challenges_our_reply_gets_no_password() {
    let config = home::with_upstream(
        "udp",
        "  - who: ben\n    see: [plug]\n",
        "  - who: sip:carla@provider.example\n    do: [plug]\n",
    );
    let mut world = World::with(71, config);
    world.run(5_000);
    let flow = world.provider.flow.unwrap();
    let local = "192.0.2.1:40101".parse().unwrap();
    let provider = world.provider.addr();
    world.provider.challenges_others = true;
    let bytes = passed_on("MESSAGE", "plug", PAI, "on", 900);
    world.handle(Input::Datagram { flow, local, from: provider, bytes: &bytes });
    world.run(60_000);
    assert_eq!(world.provider.others.len(), 1, "no second attempt");
    assert!(world.provider.others.iter().all(|text| !text.contains("Authorization")));
}

#[test]
fn forks_of_a_vouched_call_merge() {
    let config = home::with_upstream(
        "udp",
        "  - who: ben\n    see: [plug]\n",
        "  - who: sip:carla@provider.example\n    do: [plug]\n",
    );
    let mut world = World::with(72, config);
    world.run(5_000);
    let flow = world.provider.flow.unwrap();
    let local = "192.0.2.1:40101".parse().unwrap();
    let from = world.provider.addr();
    for branch in ["z9hG4bKone", "z9hG4bKtwo", "z9hG4bKone"] {
        let text = String::from_utf8(passed_on("INVITE", "plug", PAI, "", 7).to_vec()).unwrap();
        let text = text.replace("z9hG4bKp7", branch).replace("Content-Type: text/plain\r\n", "");
        world.handle(Input::Datagram { flow, local, from, bytes: text.as_bytes() });
        world.run(50);
    }
    world.run(2_000);
    assert_eq!(world.plug.writes.len(), 1);
    let statuses: Vec<&str> = world.provider.answers.iter().map(|text| &text[8..11]).collect();
    assert!(statuses.contains(&"486") && statuses.contains(&"482"), "{statuses:?}");
    for answer in &world.provider.answers {
        assert!(Message::parse(answer.as_bytes()).is_ok());
    }
}

#[test]
fn requests_do_not_come_over_a_flow_that_is_gone() {
    let mut world = with(73, "tcp", Step::Usual(600));
    world.run(5_000);
    let flow = world.provider.flow.unwrap();
    world.cut_provider();
    let bytes = passed_on("MESSAGE", "plug", PAI, "on", 1);
    world.handle(Input::Stream { flow, bytes: &bytes });
    world.run(1_000);
    assert!(world.plug.writes.is_empty());
    let hop_is_tcp = world.provider.transport == Transport::Tcp;
    assert!(hop_is_tcp);
}

/// An edge keeps no transactions: what the registrar repeats by datagrams comes again over the connection.
#[test]
fn a_command_that_is_repeated_over_a_connection_gets_its_answer_again() {
    let mut world = World::with(
        74,
        home::with_upstream(
            "tcp",
            "  - who: ben\n    see: [plug]\n",
            "  - who: sip:carla@provider.example\n    do: [plug]\n",
        ),
    );
    world.provider.transport = Transport::Tcp;
    world.run(5_000);
    let flow = world.provider.flow.unwrap();
    let text = String::from_utf8(passed_on("MESSAGE", "plug", PAI, "on", 1).to_vec()).unwrap();
    let edge = "SIP/2.0\r\nVia: SIP/2.0/TCP edge.example;branch=z9hG4bKe1\r\n";
    let text = text.replacen("SIP/2.0\r\n", edge, 1);
    for _ in 0..4 {
        world.handle(Input::Stream { flow, bytes: text.as_bytes() });
        world.run(4_000);
    }
    assert_eq!(world.plug.writes.len(), 1);
    let statuses: Vec<&str> = world.provider.answers.iter().map(|text| &text[8..11]).collect();
    assert_eq!(statuses, [statuses[0]; 4]);
    assert!(statuses[0].starts_with('2'), "{statuses:?}");
}

/// Proves: EV-20, OLD-2, GR-1, GR-2, GR-3, GR-4, GR-5, OB-1
#[test]
fn a_gruu_that_the_registrar_grants_is_our_contact() {
    for granted in [true, false] {
        let config = home::with_upstream(
            "udp",
            "  - who: ben\n    see: [plug]\n",
            "  - who: sip:carla@provider.example\n    do: [plug]\n",
        );
        let mut world = World::with(75, config);
        world.provider.gruus = granted;
        world.run(5_000);
        let flow = world.provider.flow.unwrap();
        let (local, from) = ("192.0.2.1:40101".parse().unwrap(), world.provider.addr());
        let more = format!("{PAI}Contact: <sip:carla@203.0.113.9>\r\nEvent: presence\r\nExpires: 600\r\n");
        let bytes = passed_on("SUBSCRIBE", "plug", &more, "", 1);
        let bytes = String::from_utf8(bytes.to_vec()).unwrap().replace("Content-Type: text/plain\r\n", "");
        world.handle(Input::Datagram { flow, local, from, bytes: bytes.as_bytes() });
        world.run(500);
        let due = match granted {
            true => "Contact: <sip:101@provider.example;gr=x>\r\n",
            false => "Contact: <sip:plug@192.0.2.1:40101>\r\n",
        };
        assert!(world.provider.answers.last().unwrap().contains(due), "{:#?}", world.provider.answers);
        let (_, notify) = world.sent(Method::Notify).pop().expect("a NOTIFY");
        assert!(String::from_utf8_lossy(&notify).contains(due));
        // Every REGISTER names the same device, the refresh and that of another run, and no GRUU.
        world.run(600_000);
        let contacts: Vec<String> = world
            .provider
            .got
            .iter()
            .filter(|(_, register)| register.contains("To: <sip:101@"))
            .map(|(_, register)| {
                let line = register.lines().find(|line| line.starts_with("Contact: ")).unwrap();
                line.split("+sip.instance=").nth(1).unwrap().to_owned()
            })
            .collect();
        assert!(contacts.len() > 2 && contacts.iter().all(|contact| *contact == contacts[0]), "{contacts:?}");
        assert!(contacts[0].starts_with("\"<urn:uuid:") && !contacts[0].contains(";gr="), "{}", contacts[0]);
        let calls: std::collections::HashSet<&str> = world
            .provider
            .got
            .iter()
            .filter(|(_, register)| register.contains("To: <sip:101@"))
            .filter_map(|(_, register)| register.lines().find(|line| line.starts_with("Call-ID: ")))
            .collect();
        assert_eq!(calls.len(), 1, "a new Call-ID would end temporary ones");
    }
}

/// The Route of a request, value by value.
fn routes(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("Route: ")).collect()
}

/// Proves: SR-1, SR-3
#[test]
fn what_leaves_for_a_registrar_goes_by_its_newest_service_route() {
    let config = home::edited_with_upstream(
        "udp",
        &[
            (
                "devices:\n",
                "devices:\n  far:\n    profile: plug\n    remote: sip:plug@far.example\n    via: provider\n",
            ),
            ("    expires: 600s\n", "    expires: 600s\n    publish: [presence]\n"),
            ("  - who: ben\n    see: [plug]\n", "  - who: sip:carla@provider.example\n    do: [plug, far]\n"),
        ],
    );
    let mut world = World::with(76, config);
    world.provider.more = "Service-Route: <sip:one.example;lr>, <sip:two.example;lr>\r\n";
    world.run(8_000);
    let (flow, from) = (world.provider.flow.unwrap(), world.provider.addr());
    let local = "192.0.2.1:40101".parse().unwrap();
    let old = ["<sip:one.example;lr>", "<sip:two.example;lr>"];
    let last = |world: &World, method: &str| {
        let found = world.provider.others.iter().rfind(|text| text.starts_with(method));
        found.unwrap_or_else(|| panic!("no {method}")).clone()
    };
    let subscribe = last(&world, "SUBSCRIBE sip:plug@far.example");
    assert_eq!(routes(&subscribe), old, "{subscribe}");
    assert_eq!(routes(&world.provider.publications.last().unwrap().1), old);
    // It stands, with a route set of its own.
    let asked = Message::parse(subscribe.as_bytes()).unwrap();
    let ours = asked.from().unwrap();
    let notify = format!(
        "NOTIFY sip:far@{local} SIP/2.0\r\nVia: SIP/2.0/UDP {from};branch=z9hG4bKn1\r\nRecord-Route: <sip:dialog.example;lr>\r\nFrom: <sip:plug@far.example>;tag=f\r\nTo: <sip:100@provider.example>;tag={}\r\nCall-ID: {}\r\nCSeq: 1 NOTIFY\r\nContact: <sip:plug@far.example>\r\nEvent: {}\r\nSubscription-State: active;expires=60\r\nContent-Length: 0\r\n\r\n",
        ours.tag().unwrap(),
        String::from_utf8_lossy(asked.call_id().unwrap()),
        asked.event().unwrap().package,
    );
    world.handle(Input::Datagram { flow, local, from, bytes: notify.as_bytes() });
    world.run(500);
    let order = |world: &mut World, nth: u32, name: &str| {
        let bytes = passed_on("MESSAGE", name, PAI, "on", nth);
        world.handle(Input::Datagram { flow, local, from, bytes: &bytes });
        world.run(3_000);
    };
    order(&mut world, 80, "far");
    assert_eq!(routes(&last(&world, "DO sip:plug@far.example")), old);
    assert_eq!(routes(&last(&world, "MESSAGE sip:carla@provider.example")), old);
    // The next answer of the registrar says another way; the flow stays.
    world.provider.more = "Service-Route: <sip:three.example;lr>\r\n";
    world.run(600_000);
    let (new, flows) = (["<sip:three.example;lr>"], world.provider.flow);
    assert_eq!(flows, Some(flow));
    assert_eq!(routes(&world.provider.publications.last().unwrap().1), new);
    let asked: Vec<&String> =
        world.provider.others.iter().filter(|text| text.starts_with("SUBSCRIBE")).collect();
    // Within the dialog its own route counts, and what comes after it goes by the new one.
    let refresh = asked.iter().find(|text| text.contains(";tag=f")).expect("a refresh");
    assert_eq!(routes(refresh), ["<sip:dialog.example;lr>"], "{refresh}");
    let anew = asked.last().unwrap();
    assert!(!anew.contains(";tag=f"), "{anew}");
    assert_eq!(routes(anew), new, "{anew}");
    // It says nothing of a way: none is taken.
    world.provider.more = "";
    world.run(300_000);
    order(&mut world, 81, "plug");
    assert!(routes(&last(&world, "MESSAGE sip:carla@provider.example")).is_empty());
    assert!(routes(&last(&world, "SUBSCRIBE sip:plug@far.example")).is_empty());
}

/// A provider that grants an hour, behind two edge proxies.
fn long_lived(seed: u64, leads: bool) -> Wan {
    let mut provider = wan::provider::Provider::new(2);
    provider.leads = leads;
    Wan::new(seed, &[outbound::house("udp", 2, "expires: 1h", "")], provider)
}

/// Questions to our own address: when.
fn echoes(wan: &Wan) -> Vec<Duration> {
    let ours = wan.provider.heard.iter().filter(|(_, _, text)| text.starts_with("OPTIONS sip:100@"));
    ours.map(|(at, ..)| *at).collect()
}

#[test]
fn a_registrar_that_forgets_behind_a_living_edge_is_noticed_within_five_minutes() {
    let mut wan = long_lived(77, true);
    wan.run(secs(700));
    let asked = echoes(&wan);
    assert!(asked.len() >= 2 && asked[1] - asked[0] >= secs(240), "{asked:?}");
    let before = wan.provider.registers.len();
    wan.provider.bindings.clear();
    let forgot = wan.now;
    wan.run(secs(310));
    assert_eq!((edges_of(&wan, "100"), edges_of(&wan, "101")), (vec![0, 1], vec![0, 1]));
    // Each address over each flow, with its login: no more than that.
    let new = &wan.provider.registers[before..];
    assert!((4..=8).contains(&new.len()), "{}", new.len());
    assert!(new.iter().all(|(at, ..)| *at - forgot < secs(305)), "{new:?}");
    // Within the next ten minutes nothing more is registered because of it.
    let before = wan.provider.registers.len();
    wan.run(secs(600));
    assert_eq!(wan.provider.registers.len(), before);
}

#[test]
fn who_leads_no_question_back_to_us_is_asked_once_for_each_registration() {
    let mut wan = long_lived(78, false);
    wan.run(secs(6 * 3600));
    let (asked, registered) = (echoes(&wan).len(), wan.provider.registers.len());
    assert!(asked >= 1 && asked <= registered && registered < 2 * 4 * 12 + 8, "{asked} and {registered}");
    // It leads somewhere once, and then says 404 for good: one REGISTER more for each, and no storm.
    let mut wan = long_lived(79, true);
    wan.run(secs(400));
    let before = wan.provider.registers.len();
    for _ in 0..6 * 60 {
        wan.provider.bindings.clear();
        wan.run(secs(60));
    }
    let registered = wan.provider.registers.len() - before;
    assert!(registered < 2 * 4 * 12 + 16, "{registered}");
}

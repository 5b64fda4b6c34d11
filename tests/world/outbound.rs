//! Flows through edge proxies (RFC 5626): which there are, how each is kept, what happens when one dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sipliance::config::{Config, LinkId};
use sipliance::gateway::Input;

use super::home;
use super::plug::Plug;
use super::wan::Wan;
use super::wan::provider::{Binding, Health, Instead, Provider, request};

pub fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A house behind so many edges of a provider.
pub fn house(transport: &str, edges: usize, expires: &str, more: &str) -> Arc<Config> {
    let carla = "  - who: sip:carla@provider.example\n    see: [plug]\n";
    house_that(transport, edges, expires, more, carla)
}

/// The same with a rule of its own for those whom the provider vouches for.
pub fn house_that(transport: &str, edges: usize, expires: &str, more: &str, rule: &str) -> Arc<Config> {
    let list: Vec<String> = (1..=edges).map(|nth| format!("{transport}:edge{nth}.example")).collect();
    let edges = format!("    edges: [{}]\n{more}    domain", list.join(", "));
    let rules = format!("  - who: ben\n    see: [plug]\n{rule}");
    home::edited_with_upstream(
        transport,
        &[
            ("    server: provider.example:5060\n    domain", edges.as_str()),
            ("  - who: ben\n    see: [plug]\n", rules.as_str()),
            ("expires: 600s", expires),
        ],
    )
}

fn wan(seed: u64, transport: &str, provider: Provider) -> Wan {
    let edges = provider.edges.len();
    Wan::new(seed, &[house(transport, edges, "expires: 600s", "")], provider)
}

/// The value of a field.
fn field<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
}

fn reg_ids(wan: &Wan) -> BTreeSet<(usize, String)> {
    let of = |text: &str| text.split(";reg-id=").nth(1).map_or("none", |rest| &rest[..1]).to_owned();
    wan.provider.registers.iter().map(|(_, _, edge, text)| (*edge, of(text))).collect()
}

pub fn edges_of(wan: &Wan, user: &str) -> Vec<usize> {
    let mut edges: Vec<usize> = wan.provider.ways_to(0, user, wan.now).iter().map(|it| it.edge).collect();
    edges.sort_unstable();
    edges
}

fn no_outage_since(wan: &Wan, since: Duration) {
    let late: Vec<_> = wan.homes[0].outages.iter().filter(|(_, end)| *end > since).collect();
    assert!(late.is_empty() && wan.reachable_until(0).is_some(), "{late:?}");
}

/// The longest time since then for which nobody could reach the home.
fn longest(wan: &Wan, since: Duration) -> Duration {
    let of = |(start, end): &(Duration, Duration)| end.saturating_sub((*start).max(since));
    wan.homes[0].outages.iter().map(of).max().unwrap_or_default()
}

fn gaps(wan: &Wan, edge: usize, since: Duration) -> Vec<f64> {
    let of = wan.provider.pings.iter().filter(|(at, of, _)| *of == edge && *at >= since);
    let times: Vec<Duration> = of.map(|(at, ..)| *at).collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
}

fn assert_gaps(wan: &Wan, edge: usize, since: Duration, low: f64, high: f64) {
    let gaps = gaps(wan, edge, since);
    let good = gaps.iter().all(|gap| *gap >= low - 0.1 && *gap <= high + 0.1);
    assert!(gaps.len() >= 3 && good, "{low} to {high}: {gaps:?}");
}

/// Proves: OB-1, OB-2, OB-3, OB-4, OB-7, PA-1, KP-1, RP-4, SR-2
#[test]
fn two_edges_are_two_flows_to_one_registrar() {
    let mut known = BTreeSet::new();
    for seed in [900, 901] {
        let mut provider = Provider::new(2);
        provider.more = "Service-Route: <sip:edge1.example;lr>\r\n";
        let mut wan = wan(seed, "udp", provider);
        wan.run(secs(900));
        assert_eq!((edges_of(&wan, "100"), edges_of(&wan, "101")), (vec![0, 1], vec![0, 1]));
        // The same in both runs: the edge says which flow it is.
        assert_eq!(reg_ids(&wan), BTreeSet::from([(0, "1".to_owned()), (1, "2".to_owned())]));
        for user in ["100", "101"] {
            let to = format!("To: <sip:{user}@");
            let of = |edge: usize| {
                let of = |it: &&(Duration, usize, usize, String)| it.2 == edge && it.3.contains(&to);
                wan.provider.registers.iter().filter(of).map(|it| it.3.as_str()).collect::<Vec<_>>()
            };
            let (one, two) = (of(0), of(1));
            assert!(one.len() > 4 && two.len() > 4, "it is refreshed");
            let calls = |texts: &[&str]| {
                texts.iter().map(|it| field(it, "Call-ID")[0].to_owned()).collect::<BTreeSet<_>>()
            };
            assert_eq!((calls(&one).len(), calls(&two).len()), (1, 1));
            assert_ne!(calls(&one), calls(&two));
            for (text, edge) in one.iter().map(|it| (it, 1)).chain(two.iter().map(|it| (it, 2))) {
                assert_eq!(field(text, "Supported"), ["path, outbound, gruu"]);
                assert_eq!(field(text, "Route"), [format!("<sip:edge{edge}.example;lr>")], "{text}");
                assert!(field(text, "Via")[0].ends_with(";rport;keep"), "{text}");
                let contacts = field(text, "Contact");
                // Where it is seen from is learned, and not registered.
                assert!(contacts.len() == 1 && contacts[0].contains("@192.168.1.2:"), "{text}");
                let instance = contacts[0].split("+sip.instance=").nth(1).unwrap().split(';').next().unwrap();
                known.insert((user, instance.to_owned()));
            }
        }
        let flows = wan.homes[0].gateway.status(wan.time()).flows;
        assert!(
            flows.len() == 2 && flows.iter().all(|flow| flow.words.contains("seen there as 100.64.")),
            "{flows:?}"
        );
    }
    assert_eq!(known.len(), 2, "one instance each, in both runs: {known:?}");
}

/// Proves: OB-4, OB-5
#[test]
fn a_plain_registrar_has_one_flow_and_the_other_takes_over() {
    for refuses in [false, true] {
        let mut provider = Provider::new(2);
        provider.outbound = refuses;
        if refuses {
            provider.lacks = true;
        }
        let mut wan = wan(902, "tcp", provider);
        wan.run(secs(30));
        assert_eq!(edges_of(&wan, "100"), [0]);
        let last = &wan.provider.registers.iter().rfind(|it| it.2 == 0).unwrap().3;
        assert_eq!(last.contains("reg-id"), !refuses, "{last}");
        wan.edge(0, Health::Refuses);
        let cut = wan.now;
        wan.run(secs(60));
        assert!(edges_of(&wan, "100").contains(&1), "{:?}", wan.provider.bindings);
        assert!(longest(&wan, cut) <= secs(30), "{:?}", wan.homes[0].outages);
        assert!(wan.reachable_until(0).is_some());
    }
}

/// Proves: OB-5
#[test]
fn a_busy_edge_is_left_alone_as_long_as_it_asks() {
    let mut provider = Provider::new(2);
    provider.at_edge.insert(0, Instead::Status(503, "Retry-After: 300\r\n"));
    let mut wan = wan(903, "udp", provider);
    wan.run(secs(290));
    assert_eq!(edges_of(&wan, "100"), [1], "the other serves");
    assert_eq!(wan.provider.registers.iter().filter(|it| it.2 == 0).count(), 2, "one for each address");
    wan.provider.at_edge.clear();
    wan.run(secs(60));
    assert_eq!(edges_of(&wan, "100"), [0, 1]);
}

/// Proves: OB-12
#[test]
fn a_flow_that_failed_is_replaced_under_the_same_reg_id() {
    for transport in ["udp", "tcp"] {
        let mut wan = wan(904, transport, Provider::new(2));
        wan.run(secs(10));
        let (before, old) = (wan.now, wan.provider.ways_to(0, "100", wan.now));
        let connects = wan.homes[0].connects;
        wan.provider.at_edge.insert(0, Instead::Status(430, ""));
        wan.run(secs(320));
        assert!(wan.homes[0].connects > connects, "{transport}: 430 is the end of a flow");
        wan.provider.at_edge.clear();
        wan.run(secs(600));
        no_outage_since(&wan, before);
        let new = wan.provider.ways_to(0, "100", wan.now);
        assert_eq!(new.len(), 2, "{transport}: {new:?}");
        let source = |all: &[Binding]| all.iter().find(|it| it.edge == 0).map(|it| it.source);
        assert_ne!(source(&old), source(&new));
        assert_eq!(reg_ids(&wan).len(), 2, "{:?}", reg_ids(&wan));
    }
}

/// Proves: OB-9, OB-10, KP-5
#[test]
fn keep_alives_have_the_pace_of_the_rfc_or_that_of_the_edge() {
    for (transport, timer, stun, low, high) in [
        ("tcp", None, false, 25.0, 30.0),
        ("udp", None, true, 24.0, 29.0),
        ("tcp", Some(60), false, 48.0, 60.0),
        ("udp", Some(15), true, 12.0, 15.0),
        ("ws", None, false, 25.0, 30.0),
        ("wss", Some(30), false, 24.0, 30.0),
    ] {
        let mut provider = Provider::new(2);
        (provider.flow_timer, provider.keep) = (timer, timer);
        let mut wan = wan(905, transport, provider);
        wan.run(secs(20));
        let since = wan.now;
        wan.run(secs(1200));
        for edge in [0, 1] {
            assert_gaps(&wan, edge, since, low, high);
        }
        assert!(wan.provider.pings.iter().filter(|(at, ..)| *at > since).all(|(.., it)| *it == stun));
        no_outage_since(&wan, since);
    }
}

/// Proves: KP-2, KP-3
#[test]
fn a_plain_server_says_how_often_it_wants_to_be_kept_alive() {
    let mut provider = Provider::new(1);
    (provider.outbound, provider.keep) = (false, Some(20));
    let mut wan = wan(906, "udp", provider);
    wan.run(secs(240));
    assert_gaps(&wan, 0, secs(10), 16.0, 20.0);
    assert!(wan.provider.pings.iter().skip(1).all(|(.., stun)| *stun), "{:?}", wan.provider.pings);
    // What it does not say again at a refresh does not hold any more.
    wan.provider.keep = None;
    wan.run(secs(360));
    let since = wan.now;
    wan.run(secs(240));
    assert!(!wan.provider.pings.iter().any(|(at, ..)| *at > since), "{:?}", wan.provider.pings);
    let asked = wan.provider.heard.iter().filter(|(at, _, text)| *at > since && text.starts_with("OPTIONS"));
    assert!(asked.count() >= 7, "it is asked whether it lives, as whoever says nothing of keep-alives");
}

/// Proves: OB-9
#[test]
fn an_edge_that_falls_silent_is_seen_and_the_other_serves() {
    for (transport, health, seen) in [
        ("udp", Health::Silent, 46),
        ("udp", Health::Gone, 46),
        ("tcp", Health::Gone, 46),
        // Its kernel goes on answering: only the pong is missing.
        ("tcp", Health::Silent, 46),
        ("wss", Health::Silent, 46),
    ] {
        let mut wan = wan(907, transport, Provider::new(2));
        wan.run(secs(150));
        let cut = wan.now;
        let failures =
            |wan: &Wan| wan.homes[0].gateway.status(wan.time()).flows[0].words.contains("last failure");
        assert!(!failures(&wan));
        wan.edge(0, health);
        wan.run(secs(seen));
        assert!(failures(&wan), "{transport} {health:?}: not seen within {seen} s");
        wan.run(secs(600));
        wan.edge(0, Health::Up);
        // While another flow works, the waits of RFC 5626 grow to half an hour.
        wan.run(secs(1900));
        no_outage_since(&wan, cut);
        let alive = |it: &Binding| wan.provider.edges[it.edge].health == Health::Up && it.until > wan.now;
        assert!(wan.provider.ways_to(0, "100", wan.now).iter().filter(|it| alive(it)).count() == 2);
    }
}

#[test]
fn another_address_outside_is_seen_within_the_promised_time() {
    for seed in 0..10 {
        for transport in ["udp", "tcp"] {
            let mut wan = wan(9080 + seed, transport, Provider::new(2));
            wan.run(secs(100 + 7 * seed));
            wan.readdress(0);
            let moved = wan.now;
            wan.run(secs(76));
            assert!(wan.reachable_until(0).is_some(), "{transport} {seed}: {:?}", longest(&wan, moved));
            // The machine may be told by its network, and need not wait for a keep-alive.
            wan.readdress(0);
            let moved = wan.now;
            wan.tell(0, Input::Network);
            wan.run(secs(76));
            if transport == "udp" {
                assert!(longest(&wan, moved) <= secs(8), "{seed}: {:?}", longest(&wan, moved));
            }
        }
    }
}

#[test]
fn a_network_that_is_back_is_used_within_thirty_seconds() {
    for (seed, minutes) in [(0, 1), (1, 5), (2, 60), (3, 600)] {
        for (transport, outbound) in [("udp", true), ("tcp", true), ("udp", false), ("tcp", false)] {
            let mut provider = Provider::new(2);
            provider.outbound = outbound;
            let mut wan = wan(9090 + seed, transport, provider);
            wan.run(secs(100));
            wan.cable(0, false);
            wan.flush(0);
            wan.run(secs(60 * minutes));
            wan.cable(0, true);
            let back = wan.now;
            // A plain server over UDP tells of another address with the next OPTIONS.
            let unseen = transport == "udp" && !outbound && minutes < 5;
            wan.run(secs(if unseen { 45 } else { 30 }));
            let late = longest(&wan, back);
            assert!(wan.reachable_until(0).is_some(), "{transport} {outbound} after {minutes} min: {late:?}");
        }
    }
}

/// Somebody out there asks for the plug, over a binding at a living edge.
fn ask(wan: &mut Wan, method: &str, nth: u32, more: &str) {
    let ways = wan.provider.ways_to(0, "101", wan.now);
    let alive =
        ways.iter().rfind(|it| wan.provider.edges[it.edge].health == Health::Up).expect("a binding").clone();
    let edge = &wan.provider.edges[alive.edge];
    let bytes = request(method, &alive.contact, edge, alive.transport, nth, more, "");
    let text = String::from_utf8(bytes.to_vec()).unwrap().replace("Content-Type: text/plain\r\n", "");
    wan.deliver(alive.edge, alive.source, alive.transport, text.into());
}

pub fn subscribe(wan: &mut Wan, nth: u32, more: &str) {
    let more = format!(
        "Call-ID: sub\r\nCSeq: {nth} SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:carla@203.0.113.9>\r\nEvent: appliance\r\nExpires: 3600\r\n{more}"
    );
    ask(wan, "SUBSCRIBE", nth, &more);
    wan.run(secs(1));
}

pub fn report(wan: &mut Wan, word: &str) {
    wan.tell(0, Input::Driver { link: LinkId(0), event: Plug::read("stat/plug/POWER", word, false) });
}

/// The NOTIFYs since then: over which edge, and what.
pub fn notified(wan: &Wan, since: Duration) -> Vec<(usize, String)> {
    let of = wan.provider.heard.iter().filter(|(at, _, text)| *at >= since && text.starts_with("NOTIFY"));
    of.map(|(_, edge, text)| (*edge, text.clone())).collect()
}

/// Proves: OB-8
#[test]
fn a_watcher_hears_by_the_living_flow_and_may_ask_again_with_what_it_knows() {
    for transport in ["udp", "tcp"] {
        let mut wan = wan(910, transport, Provider::new(2));
        wan.run(secs(100));
        subscribe(&mut wan, 1, "");
        let first = notified(&wan, secs(0));
        assert_eq!(first.len(), 1, "{:?}", wan.provider.heard);
        let over = first[0].0;
        wan.edge(over, Health::Gone);
        wan.run(secs(46));
        report(&mut wan, "ON");
        let told = wan.now;
        wan.run(secs(10));
        let after = notified(&wan, told);
        assert!(
            !after.is_empty() && after.iter().all(|(edge, _)| *edge == 1 - over),
            "{transport}: {after:?}"
        );
        assert!(after[0].1.contains("\"vb\":true"), "{}", after[0].1);
        // It lost nothing, and says so when it asks again: nothing is sent twice.
        let text = &after.last().unwrap().1;
        let etag = field(text, "SIP-ETag")[0];
        let to = field(&first[0].1, "From")[0].split("tag=").nth(1).unwrap();
        let asked = wan.now;
        let ways = wan.provider.ways_to(0, "101", wan.now);
        let alive = ways.iter().find(|it| it.edge == 1 - over).unwrap().clone();
        let more = format!(
            "Call-ID: sub\r\nCSeq: 2 SUBSCRIBE\r\nMax-Forwards: 70\r\nContact: <sip:carla@203.0.113.9>\r\nEvent: appliance\r\nExpires: 3600\r\nSuppress-If-Match: {etag}\r\n"
        );
        let bytes = request(
            "SUBSCRIBE",
            &alive.contact,
            &wan.provider.edges[alive.edge],
            alive.transport,
            2,
            &more,
            "",
        );
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = text
            .replace("Content-Type: text/plain\r\n", "")
            .replace("101@provider.example>", &format!("101@provider.example>;tag={to}"));
        wan.deliver(alive.edge, alive.source, alive.transport, text.into());
        wan.run(secs(2));
        let answers = wan
            .provider
            .heard
            .iter()
            .filter(|(at, ..)| *at >= asked)
            .map(|(.., text)| &text[..11])
            .collect::<Vec<_>>();
        assert_eq!(answers, ["SIP/2.0 204"], "{transport}");
    }
}

#[test]
fn what_changes_while_the_line_is_out_is_told_afterwards() {
    for transport in ["udp", "tcp", "quic"] {
        for seed in 0..8 {
            let mut wan = wan(9140 + seed, transport, Provider::new(2));
            wan.run(secs(130 + 3 * seed));
            subscribe(&mut wan, 1, "");
            wan.cable(0, false);
            wan.flush(0);
            report(&mut wan, "ON");
            wan.run(secs(60));
            wan.cable(0, true);
            let back = wan.now;
            wan.run(secs(31));
            let after = notified(&wan, back);
            let told = after.last().is_some_and(|(_, text)| text.contains("\"vb\":true"));
            assert!(told, "{transport} {seed}: {after:?}");
        }
    }
}

/// The registrar behind an edge is away for a while. The flow to the edge lives all the same, and the watcher is told when
/// the registrar is back, not when the next REGISTER was answered.
#[test]
fn what_was_not_answered_behind_an_edge_is_told_again() {
    for transport in ["udp", "tcp", "quic"] {
        let mut wan = wan(917, transport, Provider::new(2));
        wan.run(secs(130));
        subscribe(&mut wan, 1, "");
        let before = notified(&wan, secs(0)).len();
        // What is passed on reaches nobody.
        wan.provider.passes = true;
        report(&mut wan, "ON");
        wan.run(secs(31));
        wan.provider.passes = false;
        wan.run(secs(5));
        let after = notified(&wan, secs(0));
        let told = after.last().is_some_and(|(_, text)| text.contains("\"vb\":true"));
        assert!(after.len() > before && told, "{transport}: {after:?}");
        assert_eq!(wan.homes[0].gateway.status(wan.time()).subscriptions, 1, "{transport}");
    }
}

/// The clock was ahead until a time server was heard. That the flow had answered a day later, by that clock, does not
/// make a line that is out the watcher's silence.
#[test]
fn a_clock_that_is_set_back_ends_no_subscription() {
    for transport in ["udp", "tcp"] {
        let mut wan = wan(916, transport, Provider::new(2));
        wan.set_clock(0, 86_400_000);
        wan.run(secs(130));
        subscribe(&mut wan, 1, "");
        wan.run(secs(40));
        wan.set_clock(0, 0);
        // The last keep-alives were answered just before.
        wan.run(secs(1));
        wan.cable(0, false);
        wan.flush(0);
        report(&mut wan, "ON");
        wan.run(secs(60));
        wan.cable(0, true);
        let back = wan.now;
        wan.run(secs(31));
        let after = notified(&wan, back);
        let told = after.last().is_some_and(|(_, text)| text.contains("\"vb\":true"));
        assert!(told, "{transport}: {after:?}");
    }
}

/// Proves: EV-19
#[test]
fn a_watcher_that_is_silent_while_its_flow_lives_is_gone() {
    for transport in ["udp", "tcp", "quic"] {
        let mut wan = wan(9150, transport, Provider::new(2));
        wan.run(secs(130));
        subscribe(&mut wan, 1, "");
        wan.provider.talks = false;
        report(&mut wan, "ON");
        wan.run(secs(80));
        assert_eq!(wan.homes[0].gateway.status(wan.time()).subscriptions, 0, "{transport}");
        assert!(wan.reachable_until(0).is_some());
    }
}

#[test]
fn publications_move_to_the_living_flow() {
    let config = house("udp", 2, "expires: 600s", "    publish: [presence]\n");
    let mut wan = Wan::new(911, &[config], Provider::new(2));
    wan.run(secs(60));
    let over = |wan: &Wan, since: Duration| {
        let of =
            wan.provider.heard.iter().filter(|(at, _, text)| *at >= since && text.starts_with("PUBLISH"));
        of.map(|(_, edge, _)| *edge).collect::<BTreeSet<_>>()
    };
    let first = over(&wan, secs(0));
    assert_eq!(first.len(), 1, "one flow serves: {first:?}");
    let dead = *first.first().unwrap();
    wan.edge(dead, Health::Gone);
    wan.run(secs(60));
    let since = wan.now;
    report(&mut wan, "ON");
    wan.run(secs(60));
    assert_eq!(over(&wan, since), BTreeSet::from([1 - dead]));
}

#[test]
fn a_stop_takes_back_what_every_flow_brought() {
    let mut wan = wan(912, "udp", Provider::new(2));
    wan.run(secs(60));
    let since = wan.now;
    wan.tell(0, Input::Shutdown);
    wan.run(secs(2));
    let gone: BTreeSet<usize> = wan
        .provider
        .registers
        .iter()
        .filter(|it| it.0 >= since && it.3.contains("Expires: 0"))
        .map(|it| it.2)
        .collect();
    assert_eq!(gone, BTreeSet::from([0, 1]));
    assert!(
        wan.provider.ways_to(0, "100", wan.now).is_empty()
            && wan.provider.ways_to(0, "101", wan.now).is_empty()
    );
}

#[test]
fn a_registrar_that_answers_everything_but_register_is_not_hammered() {
    for transport in ["udp", "tcp"] {
        let mut provider = Provider::new(2);
        provider.always = Some(Instead::Nothing);
        let mut wan = wan(913, transport, provider);
        wan.run(secs(2 * 3600));
        // Repetitions of a request over UDP count: ten or eleven each, in two hours.
        let count = wan.provider.times.len();
        assert!(count <= if transport == "udp" { 800 } else { 60 }, "{transport}: {count} REGISTERs");
        wan.provider.always = None;
        wan.run(secs(1900));
        assert!(wan.reachable_until(0).is_some());
    }
}

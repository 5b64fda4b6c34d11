//! Two gateways: an appliance of one is a device of the other, through loss and a restart of either.

use std::sync::Arc;
use std::time::Duration;

use sipliance::config::Config;
use sipliance::gateway::Input;
use sipliance::sip::wire::Message;
use sipliance_driver::{Event, Why};

use super::home;
use super::pair::{ANA, MUM, Pair};
use super::plug::Mood;
use super::provider::Step;
use super::world::{Network, World};

const ANAS: &str = r#"
format: 1
house: {user: home, domain: home.example, title: Ana's house}
listen: [udp:192.0.2.1:5060]
secrets: secrets.yaml
users:
  anna: {password: {secret: anna}}
  mums-house: {password: {secret: mum}}
peers:
  mum: {server: 192.0.2.2:5060, domain: mum.example, user: anas-house, password: {secret: mum}}
devices:
  mums-plug: {name: Mum's plug, profile: plug, remote: sip:plug@mum.example}
access:
  - {who: anna, see: "*", do: "*"}
  - {who: mums-house, see: "*", do: "*"}
"#;

const MUMS: &str = r#"
format: 1
house: {user: home, domain: mum.example, title: Mum's house}
listen: [udp:192.0.2.2:5060]
secrets: secrets.yaml
users:
  anas-house: {password: {secret: mum}}
mqtt:
  main: {host: 192.0.2.20}
devices:
  plug: {name: Plug, profile: plug, params: {topic: plug}}
access:
  - {who: anas-house, see: [plug], do: [plug]}
"#;

fn configs() -> (Arc<Config>, Arc<Config>) {
    (home::parse(ANAS), home::parse(MUMS))
}

fn pair(seed: u64) -> Pair {
    let (ana, mum) = configs();
    let mut pair = Pair::new(seed, ana, mum);
    pair.run(2_000);
    pair
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What reached the plug.
fn writes(pair: &Pair) -> Vec<&str> {
    pair.nodes[MUM].plug.writes.iter().map(|(_, payload)| payload.as_str()).collect()
}

/// Proves: EV-1, EV-2, EV-4, EV-5
#[test]
fn what_hangs_there_is_watched_and_switched_here() {
    let mut pair = pair(901);
    assert_eq!(pair.shown("mums-plug"), "off");
    pair.report("stat/plug/POWER", "ON");
    pair.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":63}}"#);
    pair.run(1_500);
    assert_eq!(pair.shown("mums-plug"), "on, 63 W");
    let op = pair.switch("mums-plug", false);
    pair.run(3_000);
    let (_, status, _, body) = pair.phone.ops[op].finals.last().unwrap().clone();
    // The answer tells the state that was read, not the one before.
    assert_eq!((status, body.as_str()), (200, "Mum's plug: off, 63 W"));
    assert_eq!(writes(&pair), ["OFF"]);
    // The line on record comes before the words that move something.
    let [ordered, relayed, ended] = &pair.trace[..] else { panic!("{:#?}", pair.trace) };
    assert!(ordered.contains("\"ordered\"") && ended.contains("\"ended\""), "{:#?}", pair.trace);
    assert!(relayed.contains("set power false"), "{relayed}");
    // What is so already is proved as well.
    let op = pair.switch("mums-plug", false);
    pair.run(3_000);
    assert_eq!(pair.phone.ops[op].status(), 200);
    assert_eq!(writes(&pair), ["OFF", "OFF"]);
}

#[test]
fn what_cannot_be_reached_there_cannot_be_reached_here() {
    let mut pair = pair(902);
    pair.report("stat/plug/POWER", "ON");
    pair.report("tele/plug/LWT", "Offline");
    pair.run(1_500);
    assert_eq!(pair.shown("mums-plug"), "offline for 1 s, was on");
    assert_eq!(pair.believed("mums-plug"), None);
    let op = pair.switch("mums-plug", false);
    pair.run(1_000);
    assert_eq!((pair.phone.ops[op].status(), writes(&pair).len()), (480, 0));
    pair.report("tele/plug/LWT", "Online");
    pair.run(1_500);
    assert_eq!(pair.believed("mums-plug"), Some(true));
    pair.broker(Event::Down(Why::new("cable")));
    pair.run(1_500);
    assert_eq!(pair.believed("mums-plug"), None, "{}", pair.shown("mums-plug"));
    pair.broker(Event::Up);
    pair.report("stat/plug/POWER", "OFF");
    pair.run(1_500);
    assert_eq!(pair.believed("mums-plug"), Some(false));
}

#[test]
fn a_command_that_nobody_confirms_there_is_not_known_here() {
    let mut pair = pair(903);
    pair.nodes[MUM].plug.mood = Mood::Silent;
    let op = pair.switch("mums-plug", true);
    pair.run(60_000);
    assert!([202, 504].contains(&pair.phone.ops[op].status()), "{}", pair.phone.ops[op].status());
    assert_eq!(pair.believed("mums-plug"), Some(false));
    let words = pair.phone.ops[op].finals.last().unwrap().3.clone();
    assert!(!words.contains(": on"), "{words}");
}

/// Proves: EV-3, EV-6, EV-7
#[test]
fn a_gateway_that_dies_is_missed_and_found_again() {
    for told in [false, true] {
        let mut pair = pair(904);
        pair.unreachable_is_told = told;
        pair.report("stat/plug/POWER", "ON");
        pair.run(5_000);
        assert_eq!(pair.believed("mums-plug"), Some(true));
        pair.kill(MUM);
        let missed = pair.run_until(secs(120), |pair| pair.believed("mums-plug").is_none());
        assert!(missed <= secs(if told { 60 } else { 95 }), "{missed:?}");
        assert!(pair.shown("mums-plug").starts_with("no connection for"), "{}", pair.shown("mums-plug"));
        let op = pair.switch("mums-plug", true);
        pair.run(1_000);
        assert_eq!(pair.phone.ops[op].status(), 480);
        pair.run(3_600_000);
        pair.nodes[MUM].plug.on = false;
        pair.start(MUM);
        let healed = pair.run_until(secs(340), |pair| pair.believed("mums-plug") == Some(false));
        assert!(healed <= secs(340), "{healed:?}");
    }
}

/// A restart that is quicker than anybody looks is seen at the next refresh.
/// Proves: EV-6
#[test]
fn a_quick_restart_is_healed_by_the_refresh() {
    let mut pair = pair(905);
    pair.kill(MUM);
    pair.nodes[MUM].plug.on = true;
    pair.start(MUM);
    let healed = pair.run_until(secs(70), |pair| pair.believed("mums-plug") == Some(true));
    assert!(healed < secs(61), "{healed:?}");
    // A command needs no subscription over there.
    let op = pair.switch("mums-plug", false);
    pair.run(3_000);
    assert_eq!(pair.phone.ops[op].status(), 200);
}

#[test]
fn the_watching_gateway_starts_anew() {
    let mut pair = pair(906);
    pair.report("stat/plug/POWER", "ON");
    pair.kill(ANA);
    pair.run(10_000);
    pair.start(ANA);
    assert_eq!(pair.believed("mums-plug"), None, "it knows nothing yet");
    pair.run(2_000);
    assert_eq!(pair.believed("mums-plug"), Some(true));
    let op = pair.switch("mums-plug", false);
    pair.run(3_000);
    assert_eq!((pair.phone.ops[op].status(), writes(&pair).as_slice()), (200, &["OFF"][..]));
}

/// Proves: EV-8
#[test]
fn a_clean_stop_takes_the_subscription_back() {
    let mut pair = pair(907);
    let held = |pair: &Pair| pair.nodes[MUM].gateway.as_ref().unwrap().status(pair.time()).subscriptions;
    assert_eq!(held(&pair), 1);
    pair.input(ANA, Input::Shutdown);
    pair.run(1_000);
    assert_eq!(held(&pair), 0);
    assert!(pair.nodes[ANA].gateway.as_ref().unwrap().is_quiet());
    // And a notifier that stops says so: it is missed at once, and asked again.
    let mut pair = self::pair(908);
    pair.input(MUM, Input::Shutdown);
    pair.run(1_000);
    assert_eq!(pair.believed("mums-plug"), None);
}

/// A fifth of the packets is lost, a tenth doubled: each command is carried out once at most, exactly
/// once where the phone was told that it was done, and the state in the end is the truth.
#[test]
fn loss_doubles_no_command() {
    let seeds = match std::env::var("WORLD_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..150u64,
    };
    for seed in seeds {
        let mut pair = pair(91_000 + seed);
        pair.network = Network::BAD;
        let (mut told, mut given) = (0, 0);
        for nth in 0..4 {
            let before = writes(&pair).len();
            let op = pair.switch("mums-plug", nth % 2 == 0);
            pair.run(45_000);
            let new = writes(&pair).len() - before;
            assert!(new <= 1, "seed {seed}: {new} times");
            if pair.phone.ops[op].status() == 200 {
                assert_eq!(new, 1, "seed {seed}");
                told += 1;
            }
            given += new;
        }
        assert!(given >= told && told >= 1, "seed {seed}: {told} of {given} were answered");
        pair.network = Network::GOOD;
        pair.run(200_000);
        assert_eq!(pair.believed("mums-plug"), Some(pair.nodes[MUM].plug.on), "seed {seed}");
    }
}

/// The far gateway acts, dies before it can say so, and is there again while the command is repeated.
/// Proves: DO-4
#[test]
fn a_restart_in_the_middle_repeats_nothing() {
    let mut acted = 0;
    for wait in (0..200).step_by(5) {
        let mut pair = pair(920 + wait);
        let op = pair.switch("mums-plug", true);
        pair.run(wait);
        pair.kill(MUM);
        pair.run(300);
        pair.start(MUM);
        pair.run(60_000);
        let writes = writes(&pair).len();
        assert!(writes <= 1, "{writes} times after {wait} ms");
        acted += writes;
        let status = pair.phone.ops[op].status();
        assert!(status != 200 || writes == 1, "{status} after {wait} ms");
        assert!(status != 480 || writes == 0, "said not done, and it was, after {wait} ms");
    }
    assert!(acted > 5, "the cut falls before and behind the act");
}

/// Proves: DO-8
#[test]
fn a_peer_without_do_is_sent_messages() {
    let mut pair = pair(930);
    pair.without_do = true;
    for on in [true, false] {
        let op = pair.switch("mums-plug", on);
        pair.run(5_000);
        assert_eq!(pair.phone.ops[op].status(), 200);
    }
    assert_eq!(writes(&pair), ["ON", "OFF"]);
    assert_eq!(pair.between["DO"].len(), 1, "it is asked once");
    // For each command without and with the login, and the reply in words, which nobody here reads.
    assert_eq!(pair.between["MESSAGE"].len(), 2 * 3);
}

/// Each shows the other's copy of its own copy: nothing is true, nothing moves, and nobody gets excited.
#[test]
fn a_circle_is_harmless() {
    let mums = MUMS
        .replace("  plug: {name: Plug, profile: plug, params: {topic: plug}}", "  plug: {profile: plug, remote: sip:mums-plug@home.example}")
        .replace("mqtt:\n  main: {host: 192.0.2.20}\n", "peers:\n  ana: {server: 192.0.2.1:5060, domain: home.example, user: mums-house, password: {secret: mum}}\n");
    let mut pair = Pair::new(940, home::parse(ANAS), home::parse(&mums));
    pair.run(60_000);
    assert_eq!(pair.believed("mums-plug"), None);
    let op = pair.switch("mums-plug", true);
    pair.run(60_000);
    assert!(pair.phone.ops[op].status() >= 480, "{}", pair.phone.ops[op].status());
    assert!(pair.between.get("DO").map_or(0, std::collections::BTreeSet::len) <= 4);
    let notifies = |pair: &Pair| pair.between["NOTIFY"].len();
    let before = notifies(&pair);
    pair.run(3_600_000);
    // One for each refresh on both sides, and nothing more.
    assert!(notifies(&pair) - before <= 2 * 3600 / 45, "{}", notifies(&pair) - before);
}

#[test]
fn what_happens_there_happens_here_once() {
    let mut pair = pair(950);
    let now = pair.time().mono;
    pair.phone.subscribe("mums-plug", "appliance", 600, now);
    pair.drain_phone();
    pair.run(1_000);
    let rings = |pair: &Pair| {
        let bodies = pair.phone.subs[0].notifies.iter().map(|notify| notify.body.as_str());
        bodies.filter(|body| body.contains(r#""n":"button""#) && body.contains("short")).count()
    };
    pair.network = Network::BAD;
    for nth in 1..=3 {
        pair.report("stat/plug/BUTTON", "short");
        pair.run(40_000);
        assert_eq!(rings(&pair), nth);
    }
    // It is an alert of this house, as one of its own would be.
    let alerts = pair.nodes[ANA].gateway.as_ref().unwrap();
    assert!(alerts.house().find("mums-plug").is_some());
    let now = pair.time().mono;
    pair.phone.message("alerts", "list", now);
    pair.drain_phone();
    pair.run(2_000);
    let told = &pair.phone.messages.last().expect("an answer").1;
    assert!(told.contains("Mum's plug"), "{told}");
}

#[test]
fn a_reload_keeps_what_hangs_elsewhere() {
    let mut pair = pair(951);
    pair.report("stat/plug/POWER", "ON");
    pair.run(1_500);
    let other = home::parse(&ANAS.replace("name: Mum's plug,", "name: Mum's lamp, numbers: \"77\","));
    pair.input(ANA, Input::Reload(other));
    assert_eq!(pair.believed("mums-plug"), Some(true));
    pair.report("stat/plug/POWER", "OFF");
    pair.run(1_500);
    assert_eq!(pair.believed("mums-plug"), Some(false));
    // Under another address it is another thing: nothing of what was known is believed of it.
    assert!(ANAS.contains("sip:plug@"));
    pair.input(ANA, Input::Reload(home::parse(&ANAS.replace("sip:plug@", "sip:nothing@"))));
    assert_eq!(pair.believed("mums-plug"), None);
    pair.run(5_000);
    assert_eq!(pair.believed("mums-plug"), None);
    // And back, over the flow that is still there.
    pair.input(ANA, Input::Reload(home::parse(ANAS)));
    pair.run(5_000);
    assert_eq!(pair.believed("mums-plug"), Some(false));
}

/// Behind a provider the registration comes first, and the password is for the provider alone.
#[test]
fn behind_a_provider_we_register_before_we_ask() {
    let config = home::with_upstream(
        "udp",
        "devices:\n",
        "devices:\n  far:\n    profile: plug\n    remote: sip:plug@far.example\n    via: provider\n",
    );
    for realm in ["provider.example", "far.example"] {
        let mut world = World::with(952, config.clone());
        world.provider.challenges_others = true;
        world.provider.realm = realm;
        world.run(20_000);
        let asked: Vec<&String> = world
            .provider
            .others
            .iter()
            .filter(|text| text.starts_with("SUBSCRIBE sip:plug@far.example"))
            .collect();
        let first = asked.first().expect("it asks");
        assert!(
            first.contains("From: <sip:100@provider.example>") && first.contains("Expires: 300"),
            "{first}"
        );
        let given = asked.iter().filter(|text| text.contains("Proxy-Authorization")).count();
        assert_eq!(given, usize::from(realm == "provider.example"), "{realm}");
        let status = world.gateway.status(world.time()).remotes;
        assert_eq!((status[0].device.as_str(), status[0].state), ("far", "failed"));
    }
    let mut world = World::with(953, config);
    world.provider.then = Step::Refuse(403);
    world.run(20_000);
    assert!(world.provider.others.is_empty(), "not registered, not asked");
    assert_eq!(world.gateway.status(world.time()).remotes[0].words, "not registered there yet");
}

/// Who knows everything about the subscription and is not who was asked tells nothing.
/// Proves: EV-13
#[test]
fn a_notify_of_somebody_else_is_refused() {
    let mut pair = pair(954);
    pair.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":63}}"#);
    pair.run(1_500);
    let real = String::from_utf8(pair.last["NOTIFY"].to_vec()).unwrap();
    let number = real.split("CSeq: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let forged = |nth: u32| {
        let next = number.parse::<u32>().unwrap() + nth;
        let forged = real.replace(&format!("CSeq: {number} "), &format!("CSeq: {next} "));
        let forged = forged.replace("branch=z9hG4bK", &format!("branch=z9hG4bKx{nth}"));
        let forged = forged.replace(r#""vb":false"#, r#""vb": true"#);
        assert!(forged.contains(r#""vb": true"#), "{forged}");
        forged.replace(
            &format!("Content-Length: {}", length(&real)),
            &format!("Content-Length: {}", length(&forged)),
        )
    };
    let own = pair.ana_to_mum();
    for (nth, from, to) in [
        (1, "203.0.113.66:5060", "192.0.2.1:5060".parse().unwrap()),
        (2, "192.0.2.2:5060", "192.0.2.1:5060".parse().unwrap()),
        (3, "203.0.113.66:5060", own),
    ] {
        pair.inject(from, to, forged(nth));
        pair.run(1_000);
        assert_eq!(pair.believed("mums-plug"), Some(false), "{from} to {to}");
    }
    // And this is how it would have been right.
    pair.inject("192.0.2.2:5060", own, forged(4));
    pair.run(1_000);
    assert_eq!(pair.believed("mums-plug"), Some(true));
}

fn length(message: &str) -> usize {
    message.split("\r\n\r\n").nth(1).map_or(0, str::len)
}

/// Proves: KP-4
#[test]
fn a_dialog_with_a_peer_is_kept_alive_for_as_long_as_it_lasts() {
    let mut pair = pair(915);
    pair.run(600_000);
    for text in &pair.subscribes {
        let message = Message::parse(text.as_bytes()).unwrap();
        let begins = message.to().unwrap().tag().is_none();
        // Offered when a dialog begins, and never again in it.
        assert_eq!(message.via().unwrap().params.get("keep").is_some(), begins, "{text}");
    }
    assert!(pair.subscribes.len() > 5, "it is refreshed");
    // STUN is what was agreed on: every 24 to 30 s.
    let stuns = |pair: &Pair| pair.stuns.iter().map(Duration::as_secs_f64).collect::<Vec<_>>();
    let gaps: Vec<f64> = stuns(&pair).windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.len() > 15 && gaps.iter().all(|gap| (23.9..30.2).contains(gap)), "{gaps:?}");
    // It is over: no STUN any more, the flow is asked as it was before.
    pair.input(ANA, Input::Reload(home::parse(&ANAS.replace("sip:plug@", "sip:nothing@"))));
    pair.run(2_000);
    let before = stuns(&pair).len();
    pair.run(120_000);
    assert_eq!(stuns(&pair).len(), before);
}

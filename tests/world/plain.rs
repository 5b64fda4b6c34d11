//! Registrars that know nothing of keep-alives: a flow to them is kept, and its end is seen, all the same.

use std::time::Duration;

use super::outbound::{house, notified, report, secs, subscribe};
use super::wan::Wan;
use super::wan::provider::{Health, Provider};

/// What a registrar answers besides REGISTER.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answers {
    Options,
    Nothing,
}

fn wan(seed: u64, transport: &str, answers: Answers) -> Wan {
    let mut provider = Provider::new(1);
    (provider.outbound, provider.answers, provider.talks) = (false, false, answers == Answers::Options);
    Wan::new(seed, &[house(transport, 1, "expires: 3600s", "")], provider)
}

fn options(wan: &Wan, since: Duration) -> usize {
    wan.provider.heard.iter().filter(|(at, _, text)| *at >= since && text.starts_with("OPTIONS")).count()
}

#[test]
fn another_address_outside_is_seen_and_told_over_the_flow_that_there_is() {
    for seed in 0..8 {
        for answers in [Answers::Options, Answers::Nothing] {
            let mut wan = wan(9500 + seed, "udp", answers);
            wan.run(secs(200 + 7 * seed));
            let connects = wan.homes[0].connects;
            wan.readdress(0);
            wan.run(secs(45));
            assert!(wan.reachable_until(0).is_some(), "{answers:?} {seed}: {:?}", wan.homes[0].outages);
            let status = &wan.homes[0].gateway.status(wan.time()).flows[0].words;
            assert!(status.contains("our address outside was"), "{status}");
            wan.run(secs(60));
            assert_eq!(wan.homes[0].connects, connects, "no second binding is left behind");
            assert_eq!(wan.provider.ways_to(0, "101", wan.now).len(), 1, "{:?}", wan.provider.bindings);
        }
    }
}

#[test]
fn a_flow_that_lives_is_left_alone_and_nobody_is_hammered() {
    for transport in ["udp", "tcp"] {
        for answers in [Answers::Options, Answers::Nothing] {
            let mut wan = wan(951, transport, answers);
            wan.loss = 0.02;
            wan.run(secs(300));
            let (since, connects) = (wan.now, wan.homes[0].connects);
            wan.run(secs(7200));
            assert_eq!(wan.homes[0].connects, connects, "{transport} {answers:?}");
            assert!(wan.homes[0].outages.iter().all(|(_, end)| *end <= since), "{:?}", wan.homes[0].outages);
            let registers = wan.provider.times.iter().filter(|(at, _)| *at >= since).count();
            let asked = options(&wan, since);
            match answers {
                // Two addresses, each with its challenge, of an hour.
                Answers::Options => {
                    assert!(registers <= 30 && (230..=330).contains(&asked), "{registers} {asked}")
                }
                // One of them every 38 s, and what is lost on the way.
                Answers::Nothing => {
                    assert!(registers <= 450 && asked <= 1, "{transport}: {registers} {asked}")
                }
            }
        }
    }
}

#[test]
fn a_server_that_hangs_is_seen_by_its_silence() {
    for transport in ["udp", "tcp"] {
        for seed in 0..5 {
            let mut wan = wan(9520 + seed, transport, Answers::Options);
            wan.run(secs(150 + 5 * seed));
            let connects = wan.homes[0].connects;
            wan.edge(0, Health::Silent);
            wan.run(secs(46));
            assert!(wan.homes[0].connects > connects, "{transport}");
        }
    }
}

/// Its name is looked up anew meanwhile, and the flow that is made then has the dialogs of the one before.
#[test]
fn a_watcher_outlives_a_server_that_is_away_for_minutes() {
    for answers in [Answers::Options, Answers::Nothing] {
        for seed in 0..4 {
            let mut wan = wan(9540 + seed, "udp", answers);
            wan.run(secs(150));
            subscribe(&mut wan, 1, "");
            wan.edge(0, Health::Gone);
            wan.run(secs(300 + 40 * seed));
            wan.edge(0, Health::Up);
            // A watcher answers, whatever else this server does.
            wan.provider.talks = true;
            // Who answers REGISTER alone is found when the waits of RFC 5626 §4.5 say so.
            wan.run(secs(if answers == Answers::Options { 60 } else { 600 }));
            assert!(wan.reachable_until(0).is_some(), "{answers:?} {seed}");
            let since = wan.now;
            report(&mut wan, "ON");
            wan.run(secs(30));
            assert!(!notified(&wan, since).is_empty(), "{answers:?} {seed}: nothing was told");
        }
    }
}

#[test]
fn a_registrar_that_was_away_for_seconds_and_forgot_is_told_again() {
    let mut told = 0;
    for seed in 0..20 {
        let mut wan = wan(9530 + seed, "udp", Answers::Options);
        wan.run(secs(150));
        wan.edge(0, Health::Gone);
        wan.provider.bindings.clear();
        wan.run(secs(13));
        wan.edge(0, Health::Up);
        wan.run(secs(45));
        told += usize::from(wan.reachable_until(0).is_some());
    }
    // It shows where a question fell into those 13 s; else the next REGISTER tells.
    assert!(told >= 6, "{told} of 20");
}

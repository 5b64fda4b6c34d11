//! Subscriptions: what a watcher is told, when, and when no more.

use std::time::Duration;

use sipliance::gateway::Input;
use sipliance::sip::wire::{Message, Method, Name};

use super::phone::{Notify, Reply};
use super::world::{Seen, Way, World};

fn last(world: &World, phone: usize, sub: usize) -> Notify {
    world.phones[phone].subs[sub].notifies.last().expect("a NOTIFY").clone()
}

fn heard(world: &World, phone: usize, sub: usize) -> usize {
    world.phones[phone].subs[sub].notifies.len()
}

fn held(world: &World) -> usize {
    world.gateway.status(world.time()).subscriptions
}

/// A watcher of the plug, subscribed.
fn watcher(world: &mut World, user: &str, event: &str, expires: u32) -> usize {
    let phone = world.phone(user);
    let op = world.at(phone, |phone, now| phone.subscribe("plug", event, expires, now));
    world.run(100);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    assert_eq!(heard(world, phone, 0), 1);
    phone
}

/// Proves: EV-16, EV-17, EV-18, OLD-5, REQ-6.4a, REQ-7.1.3, GR-5
#[test]
fn a_subscription_from_the_first_notify_to_the_last() {
    let mut world = World::new(1);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    let first = last(&world, anna, 0);
    assert!(first.state.starts_with("active;expires="), "{}", first.state);
    assert!(first.body.contains(r#""n":"power","vb":false"#), "{}", first.body);
    assert_eq!(first.content_type, "application/senml+json");
    world.report("stat/plug/POWER", "ON");
    world.run(300);
    assert!(last(&world, anna, 0).body.contains(r#""n":"power","vb":true"#));
    // A refresh brings the full state at once, with a new lifetime.
    let op = world.at(anna, |phone, now| phone.refresh(0, 1200, now));
    world.run(100);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(heard(&world, anna, 0), 3);
    assert!(last(&world, anna, 0).state.starts_with("active;expires=1"));
    // And 0 ends it.
    world.at(anna, |phone, now| phone.refresh(0, 0, now));
    world.run(100);
    assert_eq!(last(&world, anna, 0).state, "terminated;reason=timeout");
    assert!(last(&world, anna, 0).body.contains("vb"), "the last NOTIFY has the state");
    world.report("stat/plug/POWER", "OFF");
    world.run(1000);
    assert_eq!(heard(&world, anna, 0), 4);
    assert_eq!(held(&world), 0);
    // What is over is over.
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(100);
    assert_eq!(world.phones[anna].ops[op].status(), 481);
}

/// Proves: PR-1
#[test]
fn the_200_leaves_before_the_first_notify() {
    let mut world = World::new(2);
    watcher(&mut world, "anna", "presence", 600);
    let sent: Vec<String> = world
        .seen
        .iter()
        .filter_map(|(_, seen)| match seen {
            Seen::Sent(bytes) => String::from_utf8_lossy(bytes).lines().next().map(ToOwned::to_owned),
            _ => None,
        })
        .collect();
    assert!(sent[0].contains("401"), "{sent:?}");
    assert!(sent[1].contains("200 OK"), "{sent:?}");
    assert!(sent[2].starts_with("NOTIFY"), "{sent:?}");
}

/// Proves: EV-9, REQ-6.5, REQ-7.1.2
#[test]
fn a_fetch_is_one_notify_and_leaves_a_standing_subscription_alone() {
    let mut world = World::new(3);
    let anna = watcher(&mut world, "anna", "dialog", 600);
    world.at(anna, |phone, now| phone.subscribe("plug", "dialog", 0, now));
    world.run(500);
    assert_eq!(heard(&world, anna, 1), 1);
    assert_eq!(last(&world, anna, 1).state, "terminated;reason=timeout");
    assert!(last(&world, anna, 1).body.contains("<state>terminated</state>"));
    assert_eq!(held(&world), 1, "the fetch did not replace the subscription");
    world.report("stat/plug/POWER", "ON");
    world.run(2000);
    assert!(last(&world, anna, 0).body.contains("<state>confirmed</state>"));
}

/// Proves: EV-14, NEG-7, OLD-10, PR-2, REQ-4.1.3
#[test]
fn what_is_refused_and_how() {
    let mut world = World::new(4);
    let anna = world.phone("anna");
    let carla = world.phone("carla");
    let ben = world.phone("ben");
    let table: [(usize, &str, &str, Option<&'static str>, u16); 8] = [
        (anna, "plug", "weather", None, 489),
        (anna, "nothing", "presence", None, 404),
        (anna, "plug", "presence", Some("application/x-nothing"), 406),
        (anna, "plug", "dialog", Some("application/senml+json"), 406),
        (anna, "plug", "appliance", Some("text/plain;q=0.5, application/xml"), 200),
        // What somebody may not see does not exist for him.
        (carla, "plug", "presence", None, 404),
        (ben, "lamp", "presence", None, 404),
        (ben, "plug", "presence", None, 200),
    ];
    for (phone, name, event, accept, want) in table {
        let op = world.at(phone, |phone, now| phone.subscribe_as(name, event, accept, 600, now));
        world.run(200);
        assert_eq!(world.phones[phone].ops[op].status(), want, "{name} {event} {accept:?}");
    }
    let response = world.phones[anna].ops[0].response.clone().unwrap();
    let message = Message::parse(&response).unwrap();
    assert_eq!(message.first(Name::AllowEvents), Some(sipliance::event::ALLOW_EVENTS.as_bytes()));
    let response = world.phones[anna].ops[2].response.clone().unwrap();
    assert!(Message::parse(&response).unwrap().first(Name::Accept).is_some());
    let accepted = world.phones[anna].subs.iter().find(|sub| !sub.notifies.is_empty()).unwrap();
    assert_eq!(accepted.notifies[0].content_type, "text/plain");
    assert_eq!(held(&world), 2);
}

#[test]
fn nobody_takes_over_a_subscription() {
    let mut world = World::new(5);
    let anna = watcher(&mut world, "anna", "presence", 600);
    let thief = world.phone("ben");
    world.phones[thief].subs = world.phones[anna].subs.clone();
    let op = world.at(thief, |phone, now| phone.refresh(0, 0, now));
    world.run(200);
    assert_eq!(world.phones[thief].ops[op].status(), 403);
    // A second package in the same dialog is not served (RFC 6665 §4.5.2).
    let mut text = String::from_utf8(world.phones[anna].ops[0].sent.to_vec()).unwrap();
    text = text.replace("Event: presence", "Event: dialog");
    world.inject(world.phones[anna].hop.local, text);
    world.run(200);
    assert_eq!(held(&world), 1);
    world.report("stat/plug/POWER", "ON");
    world.run(2000);
    assert!(!world.phones[anna].subs[0].terminated);
    assert_eq!(heard(&world, anna, 0), 2);
}

/// Proves: EV-18
#[test]
fn an_expired_subscription_ends_after_its_grace() {
    let mut world = World::new(6);
    let anna = watcher(&mut world, "anna", "presence", 60);
    world.run(70_000);
    assert!(!world.phones[anna].subs[0].terminated, "a late refresh is waited for");
    let op = world.at(anna, |phone, now| phone.refresh(0, 60, now));
    world.run(200);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    world.run(91_000);
    assert!(!world.phones[anna].subs[0].terminated);
    world.run(2_000);
    assert_eq!(last(&world, anna, 0).state, "terminated;reason=timeout");
    assert_eq!(held(&world), 0);
}

/// Proves: PR-7
#[test]
fn one_notify_is_outstanding_and_the_newest_state_arrives() {
    let mut world = World::new(7);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    // The watcher is deaf for a while.
    world.lose.push((Way::Out, "NOTIFY", 3));
    for value in 1..=50 {
        world.report("tele/plug/SENSOR", &format!("{{\"ENERGY\":{{\"Power\":{value}}}}}"));
        world.run(30);
    }
    world.run(10_000);
    let notifies = &world.phones[anna].subs[0].notifies;
    assert!(notifies.len() <= 4, "{} documents for 50 changes to a deaf watcher", notifies.len());
    assert!(notifies.last().unwrap().body.contains(r#""v":50"#), "{:?}", notifies.last());
    // On the wire: a new CSeq appears only after the last one was answered.
    let mut open: Option<u32> = None;
    for (_, seen) in &world.seen {
        let Seen::Sent(bytes) = seen else { continue };
        let message = Message::parse(bytes).unwrap();
        if message.request().is_some_and(|(method, _)| method == Method::Notify) {
            let number = message.cseq().unwrap().number;
            assert!(open.is_none_or(|open| number == open || number == open + 1));
            open = Some(number);
        }
    }
}

/// Proves: RC-7
#[test]
fn the_interval_is_kept_whatever_happens_between() {
    let mut world = World::new(8);
    let phones: Vec<usize> = ["appliance", "dialog", "presence"]
        .into_iter()
        .map(|event| watcher(&mut world, "anna", event, 600))
        .collect();
    for step in 0..200u32 {
        world.report("tele/plug/SENSOR", &format!("{{\"ENERGY\":{{\"Power\":{step}}}}}"));
        world.report("stat/plug/POWER", if step % 2 == 0 { "ON" } else { "OFF" });
        world.run(37);
    }
    world.run(3000);
    for (phone, interval) in phones.into_iter().zip([200, 200, 1000]) {
        let times: Vec<Duration> =
            world.phones[phone].subs[0].notifies.iter().map(|notify| notify.at).collect();
        let least = times.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
        assert!(least >= Duration::from_millis(interval), "{least:?} is less than {interval} ms");
        assert!(times.len() > 7);
    }
}

#[test]
fn a_refresh_between_two_changes_does_not_break_the_interval() {
    let mut world = World::new(9);
    let anna = watcher(&mut world, "anna", "presence", 600);
    // A change inside the interval waits for its end, 1 s after the first NOTIFY …
    world.report("stat/plug/POWER", "ON");
    world.run(500);
    // … and is sent with the refresh instead; the next change counts from there.
    world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(100);
    assert_eq!(heard(&world, anna, 0), 2);
    world.report("stat/plug/POWER", "OFF");
    world.run(600);
    assert_eq!(heard(&world, anna, 0), 2, "the old end of the interval counts no more");
    world.run(500);
    assert_eq!(heard(&world, anna, 0), 3);
}

#[test]
fn a_refresh_that_crosses_a_notify_is_answered_by_one_more() {
    let mut world = World::new(10);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    world.run(1000);
    world.report("stat/plug/POWER", "ON");
    let before = heard(&world, anna, 0);
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(200);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(heard(&world, anna, 0), before + 2);
    // The same with an unsubscription: the last word is the last.
    world.run(1000);
    world.report("stat/plug/POWER", "OFF");
    world.at(anna, |phone, now| phone.refresh(0, 0, now));
    world.run(200);
    let notifies = &world.phones[anna].subs[0].notifies;
    assert_eq!(notifies.len(), before + 4);
    assert!(notifies.last().unwrap().state.starts_with("terminated"));
    assert_eq!(held(&world), 0);
}

/// Proves: EV-19
#[test]
fn answers_that_end_a_subscription_and_those_that_do_not() {
    for (status, ends) in
        [(481, true), (404, true), (489, true), (480, true), (500, false), (486, false), (400, false)]
    {
        let mut world = World::new(11);
        let anna = watcher(&mut world, "anna", "appliance", 600);
        world.phones[anna].replies.push_back(Reply::Status(status));
        world.run(1000);
        world.report("stat/plug/POWER", "ON");
        world.run(1000);
        assert_eq!(held(&world), usize::from(!ends), "{status}");
        world.report("stat/plug/POWER", "OFF");
        world.run(1000);
        assert_eq!(heard(&world, anna, 0), if ends { 1 } else { 2 }, "{status}");
    }
}

#[test]
fn a_481_ends_it_even_when_it_names_a_time() {
    let mut world = World::new(12);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    world.phones[anna].replies.push_back(Reply::RetryAfter(481, 5));
    world.run(1000);
    world.report("stat/plug/POWER", "ON");
    world.run(1000);
    assert_eq!(held(&world), 0);
}

#[test]
fn retry_after_is_obeyed() {
    let mut world = World::new(13);
    let anna = watcher(&mut world, "anna", "presence", 600);
    // A change waits for the interval when a refresh sends it early; that NOTIFY is put off.
    world.report("stat/plug/POWER", "ON");
    world.run(500);
    world.phones[anna].replies.push_back(Reply::RetryAfter(503, 60));
    world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(100);
    let put_off = world.sent(Method::Notify).len();
    for _ in 0..50 {
        world.report("stat/plug/POWER", "OFF");
        world.run(500);
        world.report("stat/plug/POWER", "ON");
        world.run(500);
    }
    assert_eq!(world.sent(Method::Notify).len(), put_off, "nothing is sent before the time that was named");
    world.run(15_000);
    assert_eq!(heard(&world, anna, 0), 2);
    assert!(last(&world, anna, 0).body.contains("on-the-phone"));
}

/// Proves: EV-19, PN-2
#[test]
fn silence_ends_it() {
    let mut world = World::new(14);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    world.run(1000);
    world.lose.push((Way::Out, "NOTIFY", 100));
    world.report("stat/plug/POWER", "ON");
    world.run(31_000);
    assert_eq!(held(&world), 1);
    world.run(2000);
    assert_eq!(held(&world), 0);
    assert_eq!(world.gateway.next_deadline().map(|at| at > world.mono()), Some(true));
    assert_eq!(heard(&world, anna, 0), 1);
}

#[test]
fn a_phone_that_restarts_replaces_what_it_forgot_and_can_refresh() {
    let mut world = World::new(15);
    // Something else is held before and after, so that places in the table differ.
    let ben = watcher(&mut world, "ben", "presence", 600);
    let anna = watcher(&mut world, "anna", "presence", 600);
    for _ in 0..5 {
        world.at(anna, |phone, now| {
            phone.restart();
            phone.subscribe("plug", "presence", 600, now);
        });
        world.run(500);
        assert_eq!(held(&world), 2);
        assert_eq!(heard(&world, anna, 0), 1);
        let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
        world.run(500);
        assert_eq!(world.phones[anna].ops[op].status(), 200, "the new subscription is found");
        assert_eq!(heard(&world, anna, 0), 2);
    }
    world.report("stat/plug/POWER", "ON");
    world.run(3000);
    assert_eq!(heard(&world, anna, 0), 3);
    assert!(last(&world, ben, 0).body.contains("on-the-phone"));
}

#[test]
fn a_storm_of_subscriptions_from_one_phone_is_one_subscription() {
    let mut world = World::new(16);
    let anna = world.phone("anna");
    for _ in 0..300 {
        world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
        world.run(10);
    }
    world.run(40_000);
    assert_eq!(held(&world), 1);
    let before = world.sent(Method::Notify).len();
    world.report("stat/plug/POWER", "ON");
    world.run(2000);
    assert_eq!(world.sent(Method::Notify).len(), before + 1);
}

/// Proves: EV-22
#[test]
fn a_stop_tells_every_watcher() {
    let mut world = World::new(17);
    let anna = watcher(&mut world, "anna", "presence", 600);
    let ben = watcher(&mut world, "ben", "dialog", 600);
    world.handle(Input::Shutdown);
    world.run(200);
    for phone in [anna, ben] {
        assert_eq!(last(&world, phone, 0).state, "terminated;reason=deactivated");
    }
    assert!(world.gateway.is_quiet());
}

/// Who is told that the gateway restarts asks again at once: taken in now, the end would be silent.
#[test]
fn nothing_new_begins_while_it_stops() {
    let mut world = World::new(17);
    let anna = watcher(&mut world, "anna", "presence", 600);
    world.handle(Input::Shutdown);
    let again = world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
    let command = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(200);
    for op in [again, command] {
        assert_eq!(world.phones[anna].ops[op].status(), 503);
    }
    assert_eq!(held(&world), 0);
    assert!(world.gateway.is_quiet());
}

/// Proves: EV-18, AUTH-5
#[test]
fn who_loses_the_right_is_told_nothing_more() {
    let mut world = World::new(18);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    let ben = watcher(&mut world, "ben", "appliance", 600);
    world.report("stat/plug/POWER", "ON");
    world.run(1000);
    world.handle(Input::Reload(super::home::changed("  - who: ben\n    see: [plug]\n", "")));
    world.run(1000);
    let end = last(&world, ben, 0);
    assert_eq!(end.state, "terminated;reason=rejected");
    assert_eq!(end.body, "", "the state is none of his business any more");
    assert!(!world.phones[anna].subs[0].terminated);
}

#[test]
fn an_appliance_that_goes_is_not_mistaken_for_its_neighbour() {
    let mut world = World::new(19);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    let plug = "  plug:\n    name: Plug\n    room: Kitchen\n    profile: plug\n    params: {topic: plug}\n    numbers: [\"21\", {number: \"22\", press: tell}, {number: \"23\", press: \"on\"}, {number: \"24\", press: \"off\"}]\n";
    world.handle(Input::Reload(super::home::changed(plug, "")));
    world.run(1000);
    let end = last(&world, anna, 0);
    assert_eq!(end.state, "terminated;reason=noresource");
    assert!(!end.body.contains("lamp"), "{}", end.body);
}

#[test]
fn the_same_seed_gives_the_same_outputs() {
    let run = |seed| {
        let mut world = World::new(seed);
        world.network = super::world::Network::BAD;
        let phones: Vec<usize> =
            ["appliance", "dialog", "presence"].iter().map(|_| world.phone("anna")).collect();
        for (phone, event) in phones.iter().zip(["appliance", "dialog", "presence"]) {
            world.at(*phone, |phone, now| phone.subscribe("plug", event, 60, now));
        }
        for _ in 0..4 {
            let phone = world.tcp_phone("anna");
            world.write(phone, b"OPTIONS");
        }
        for on in [true, false, true] {
            world.at(phones[0], |phone, now| phone.switch("plug", on, now));
            world.run(20_000);
        }
        world.run(100_000);
        world.transcript()
    };
    let first = run(4711);
    assert!(first.len() > 10_000);
    assert_eq!(first, run(4711));
    assert_ne!(first, run(4712));
}

#[test]
fn two_keys_of_one_phone_may_watch_one_appliance_by_two_numbers() {
    let mut world = World::new(97);
    let anna = watcher(&mut world, "anna", "dialog", 600);
    world.at(anna, |phone, now| phone.subscribe("21", "dialog", 600, now));
    world.run(500);
    world.report("stat/plug/POWER", "ON");
    world.run(1_000);
    for sub in 0..2 {
        assert!(last(&world, anna, sub).body.contains("confirmed"), "{sub}");
    }
}

#[test]
fn one_phone_may_watch_one_thing_in_two_formats_and_at_two_rates() {
    let mut world = World::new(98);
    let anna = watcher(&mut world, "anna", "presence", 600);
    for (event, accept) in [("presence", Some("text/lpidf")), ("presence;max-rate=0.1", None)] {
        world.at(anna, |phone, now| phone.subscribe_as("plug", event, accept, 600, now));
        world.run(500);
    }
    assert_eq!(held(&world), 3);
    world.report("stat/plug/POWER", "ON");
    world.run(12_000);
    for sub in 0..3 {
        assert_eq!(heard(&world, anna, sub), 2, "{sub}");
    }
}

/// Proves: DI-2
#[test]
fn the_versions_of_a_dialog_document_rise_by_one_from_zero() {
    let mut world = World::new(20);
    let anna = watcher(&mut world, "anna", "dialog", 600);
    world.lose.push((Way::Out, "NOTIFY", 2));
    for step in 0..20u32 {
        world.report("stat/plug/POWER", if step % 2 == 0 { "ON" } else { "OFF" });
        world.run(700);
        if step % 5 == 0 {
            world.at(anna, |phone, now| phone.refresh(0, 600, now));
        }
    }
    world.run(5_000);
    let version = |notify: &Notify| {
        let text = notify.body.split("version=\"").nth(2).or_else(|| notify.body.split("version=\"").nth(1));
        text.and_then(|text| text.split('"').next()?.parse::<usize>().ok()).expect("a version")
    };
    let versions: Vec<usize> = world.phones[anna].subs[0].notifies.iter().map(version).collect();
    assert!(versions.len() > 10);
    assert_eq!(versions, (0..versions.len()).collect::<Vec<_>>());
    let body = last(&world, anna, 0).body;
    assert!(
        body.contains("entity=\"sip:plug@home.example\"") && body.matches("<dialog ").count() == 1,
        "{body}"
    );
}

/// Proves: EV-24, OLD-11
#[test]
fn a_subscription_cannot_be_cancelled() {
    let mut world = World::new(39);
    let anna = watcher(&mut world, "anna", "appliance", 600);
    let cancel = world.phones[anna].cancel(0);
    world.inject("203.0.113.66:5060".parse().unwrap(), cancel);
    world.run(500);
    let answer = String::from_utf8(world.strays.last().unwrap().2.to_vec()).unwrap();
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    world.report("stat/plug/POWER", "ON");
    world.run(1_000);
    assert_eq!(heard(&world, anna, 0), 2, "and it goes on");
}

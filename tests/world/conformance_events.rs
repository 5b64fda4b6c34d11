//! What RFC 6665 and its packages ask of a notifier, point by point.

use std::time::Duration;

use sipliance::sip::wire::{Message, Method, Name, Start, write};

use super::phone::Reply;
use super::world::{Seen, World};

/// Sends what `act` makes after `edit`; the phone is registered, so that its proof is in it already.
pub fn edited(
    world: &mut World,
    phone: usize,
    act: impl FnOnce(&mut super::phone::Phone, std::time::Instant) -> usize,
    edit: impl Fn(String) -> String,
) -> usize {
    world.phones[phone].reuses_nonces = false;
    world.at(phone, |phone, now| phone.register(600, now));
    world.run(300);
    world.phones[phone].reuses_nonces = true;
    let op = world.at(phone, |phone, now| {
        let op = act(phone, now);
        while phone.transactions.poll_transmit().is_some() {}
        op
    });
    let text = String::from_utf8(world.phones[phone].ops[op].sent.to_vec()).unwrap();
    let changed = edit(text.clone());
    assert_ne!(changed, text, "there is nothing to change");
    world.inject(world.phones[phone].hop.local, changed);
    world.run(400);
    op
}

/// A header field of the last answer to `op`.
pub fn answered(world: &World, phone: usize, op: usize, name: Name) -> Option<String> {
    let response = world.phones[phone].ops[op].response.clone().expect("an answer");
    let message = Message::parse(&response).unwrap();
    message.first(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

/// Whether the gateway ever answered with that status.
fn said(world: &World, wanted: u16) -> bool {
    world.seen.iter().any(|(_, seen)| {
        matches!(seen, Seen::Sent(bytes)
            if Message::parse(bytes).is_ok_and(|message| matches!(message.start, Start::Response { status, .. } if status == wanted)))
    })
}

fn subscribed(world: &mut World, event: &str) -> usize {
    let phone = world.phone("anna");
    let op = world.at(phone, |phone, now| phone.subscribe("plug", event, 600, now));
    world.run(100);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    phone
}

fn heard(world: &World, phone: usize) -> usize {
    world.phones[phone].subs[0].notifies.len()
}

/// Proves: EV-19, OLD-8
#[test]
fn every_answer_to_a_notify_ends_it_or_not_as_it_is_listed() {
    let ends = [404, 405, 410, 416, 480, 481, 482, 483, 484, 485, 489, 501, 604];
    let stays = [400, 402, 403, 406, 413, 486, 488, 500, 503, 600, 603];
    for (status, held) in ends.into_iter().map(|it| (it, 0)).chain(stays.into_iter().map(|it| (it, 1))) {
        let mut world = World::new(901);
        let anna = subscribed(&mut world, "appliance");
        world.phones[anna].replies.push_back(Reply::Status(status));
        world.run(1_000);
        world.report("stat/plug/POWER", "ON");
        world.run(1_000);
        assert_eq!(world.gateway.status(world.time()).subscriptions, held, "{status}");
    }
}

/// Proves: EV-19
#[test]
fn a_phone_that_sleeps_behind_a_proxy_is_told_again_ever_more_slowly() {
    for status in [408, 430, 503, 504] {
        let mut world = World::new(908);
        let anna = subscribed(&mut world, "appliance");
        world.run(2_000);
        let sent = world.sent(Method::Notify).len();
        (0..3).for_each(|_| world.phones[anna].replies.push_back(Reply::Status(status)));
        world.report("stat/plug/POWER", "ON");
        // At once, and after 10, 20 and 40 s.
        world.run(85_000);
        assert_eq!(world.sent(Method::Notify).len() - sent, 4, "{status}");
        let told = String::from_utf8_lossy(&world.sent(Method::Notify).last().unwrap().1).into_owned();
        assert!(told.contains("\"vb\":true"), "{told}");
        assert_eq!(world.gateway.status(world.time()).subscriptions, 1, "{status}");
        // Who sleeps for good has no subscription for ever, and is not asked for ever.
        (0..50).for_each(|_| world.phones[anna].replies.push_back(Reply::Status(status)));
        world.report("stat/plug/POWER", "OFF");
        world.run(700_000);
        assert_eq!(world.gateway.status(world.time()).subscriptions, 0, "{status}");
        assert!(world.sent(Method::Notify).len() - sent <= 14, "{status}");
    }
}

/// Proves: EV-21, OLD-1, RL-6
#[test]
fn a_dialog_has_one_subscription_for_its_life() {
    let mut world = World::new(902);
    let anna = subscribed(&mut world, "presence");
    world.phones[anna].subs[0].event = "dialog".to_owned();
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(500);
    let answer = world.phones[anna].ops[op].finals.last().unwrap().clone();
    assert_eq!((answer.1, answer.2.as_str()), (403, "Dialog Sharing Is Not Supported"));
    world.phones[anna].subs[0].event = "presence".to_owned();
    // Who supports lists does not get one where he asked for an appliance.
    world.phones[anna].extra = "Supported: eventlist\r\n".to_owned();
    let op = world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let kinds: Vec<&str> =
        world.phones[anna].subs[0].notifies.iter().map(|notify| notify.content_type.as_str()).collect();
    assert_eq!(kinds, ["application/pidf+xml", "application/pidf+xml"]);
}

/// Proves: OLD-12
#[test]
fn a_subscription_to_no_package_is_a_bad_event() {
    let mut world = World::new(903);
    let anna = world.phone("anna");
    let accept = Some("application/pidf+xml");
    let op = edited(
        &mut world,
        anna,
        |phone, now| phone.subscribe_as("plug", "presence", accept, 600, now),
        |text| text.replace("Event: presence\r\n", ""),
    );
    assert_eq!(world.phones[anna].ops[op].status(), 489);
    assert!(answered(&world, anna, op, Name::AllowEvents).is_some());
    assert_eq!(world.gateway.status(world.time()).subscriptions, 0);
}

/// Proves: PR-3, PR-4, MW-2, MW-7, MW-8, DI-1, DI-2, NEG-1, NEG-8, EV-17
#[test]
fn what_is_not_asked_for_is_as_the_package_says() {
    for (name, event, kind) in [
        ("plug", "presence", "application/pidf+xml"),
        ("alerts", "message-summary", "application/simple-message-summary"),
        ("plug", "dialog", "application/dialog-info+xml"),
        ("plug", "appliance", "application/senml+json"),
    ] {
        let mut world = World::new(904);
        world.report("stat/plug/BUTTON", "short");
        let anna = world.phone("anna");
        let op = edited(
            &mut world,
            anna,
            |phone, now| phone.subscribe(name, event, 600, now),
            |text| text.replace("Expires: 600\r\n", ""),
        );
        assert_eq!(world.phones[anna].ops[op].status(), 200, "{event}");
        assert_eq!(answered(&world, anna, op, Name::Expires).as_deref(), Some("3600"), "{event}");
        let first = world.phones[anna].subs[0].notifies[0].clone();
        assert_eq!(first.content_type, kind);
        assert!(
            first.state.starts_with("active;expires=3600") || first.state.starts_with("active;expires=3599")
        );
        assert_eq!(first.body.contains("state=\"full\""), event == "dialog", "{}", first.body);
        if event == "message-summary" {
            // Counts, and of no message its header fields.
            assert!(
                first.body.contains("Text-Message: 1/0") && !first.body.contains("\r\n\r\n"),
                "{}",
                first.body
            );
        }
    }
}

/// Proves: EV-23
#[test]
fn nobody_is_told_who_did_not_ask_and_nothing_is_merely_accepted() {
    let mut world = World::new(905);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.register(600, now));
    world.run(300);
    for on in ["ON", "OFF"] {
        world.report("stat/plug/POWER", on);
        world.run(5_000);
    }
    assert!(world.sent(Method::Notify).is_empty());
    let op = world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert!(!said(&world, 202));
    world.at(anna, |phone, now| phone.refresh(0, 0, now));
    world.run(500);
    let told = world.sent(Method::Notify).len();
    world.report("stat/plug/POWER", "ON");
    world.run(5_000);
    assert_eq!(world.sent(Method::Notify).len(), told);
}

/// Proves: EV-25
#[test]
fn what_takes_long_is_answered_in_time_and_without_a_word_before() {
    let mut world = World::new(906);
    let anna = world.phone("anna");
    world.plug.mood = super::plug::Mood::Silent;
    let message = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(15_000);
    let switch = world.at(anna, |phone, now| phone.switch("plug", false, now));
    world.run(15_000);
    for op in [message, switch] {
        let op = &world.phones[anna].ops[op];
        assert!(op.over && op.provisional == 0, "{}: {:?}", op.method, op.finals);
        assert_eq!(op.status(), 504);
    }
    let last = world.phones[anna].ops[switch].finals.last().unwrap().0;
    assert!(last < Duration::from_secs(15 + 10), "{last:?}");
    assert!(!said(&world, 408));
}

/// Proves: MW-4
#[test]
fn a_burst_of_alerts_is_one_notify_a_second() {
    let mut world = World::new(907);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("alerts", "message-summary", 600, now));
    world.run(1_500);
    for _ in 0..50 {
        world.report("stat/plug/BUTTON", "short");
        world.run(100);
    }
    world.run(2_000);
    let times: Vec<Duration> = world.phones[anna].subs[0].notifies.iter().map(|notify| notify.at).collect();
    assert!((4..=9).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{times:?}");
    let last = &world.phones[anna].subs[0].notifies.last().unwrap().body;
    assert!(last.contains("Messages-Waiting: yes"), "{last}");
}

/// A phone that has not answered its last NOTIFY, and that NOTIFY.
fn unanswered(world: &mut World) -> (usize, bytes::Bytes) {
    let anna = subscribed(world, "appliance");
    world.run(1_000);
    world.phones[anna].replies.push_back(Reply::Never);
    world.report("stat/plug/POWER", "ON");
    world.run(100);
    let (_, notify) = world.sent(Method::Notify).pop().unwrap();
    (anna, notify)
}

/// Proves: RC-1
#[test]
fn the_answer_to_a_notify_may_change_the_rate() {
    let mut world = World::new(908);
    let (anna, notify) = unanswered(&mut world);
    let message = Message::parse(&notify).unwrap();
    let mut writer = write::response(&message, 200, "OK", None, None);
    writer.field("Event", &["appliance;max-rate=0.1"]);
    world.inject(world.phones[anna].hop.local, writer.finish());
    world.run(200);
    let before = heard(&world, anna);
    for on in ["OFF", "ON", "OFF"] {
        world.report("stat/plug/POWER", on);
        world.run(2_000);
    }
    assert_eq!(heard(&world, anna), before, "not within ten seconds");
    world.run(6_000);
    assert_eq!(heard(&world, anna), before + 1);
    let newest = world.phones[anna].subs[0].notifies.last().unwrap();
    assert!(newest.state.ends_with(";max-rate=0.1"), "{}", newest.state);
    assert!(newest.body.contains(r#""n":"power","vb":false"#));
}

/// Proves: ERR-9
#[test]
fn an_answer_whose_from_and_to_are_exchanged_is_an_answer() {
    let mut world = World::new(913);
    let (anna, notify) = unanswered(&mut world);
    let message = Message::parse(&notify).unwrap();
    let answer = String::from_utf8(write::response(&message, 200, "OK", None, None).finish()).unwrap();
    let swapped = answer.replace("From:", "X:").replace("To:", "From:").replace("X:", "To:");
    assert_ne!(answer, swapped);
    world.inject(world.phones[anna].hop.local, swapped);
    world.run(40_000);
    let repeated = world.sent(Method::Notify).iter().filter(|(_, bytes)| *bytes == notify).count();
    assert_eq!(repeated, 1, "it is not sent again");
    assert_eq!(world.gateway.status(world.time()).subscriptions, 1);
}

/// Proves: WI-6
#[test]
fn every_watcher_has_an_id_of_its_own() {
    let mut world = World::new(914);
    let anna = world.phone("anna");
    for event in ["presence", "presence;id=2", "presence;id=3"] {
        world.at(anna, |phone, now| phone.subscribe("plug", event, 600, now));
        world.run(300);
    }
    let op = world.at(anna, |phone, now| phone.subscribe("plug", "presence.winfo", 600, now));
    world.run(1_000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let told = world.phones[anna].subs[3].notifies.last().unwrap().body.clone();
    // The reader takes no id twice, and none that is no token.
    let info =
        sipliance::body::watcherinfo::read(told.as_bytes()).unwrap_or_else(|why| panic!("{why}: {told}"));
    assert_eq!(info.lists[0].watchers.len(), 3, "{told}");
}

/// Proves: WI-7
#[test]
fn who_is_blocked_politely_is_told_by_no_other_way() {
    let mut world = super::requests::ruled(915, "anna", "polite-block", "block");
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence", 600, now));
    world.run(500);
    world.at(ben, |phone, now| phone.subscribe("lamp", "presence.winfo", 600, now));
    world.at(anna, |phone, now| phone.subscribe("lamp", "presence.winfo", 600, now));
    world.run(6_000);
    assert!(world.phones[ben].subs[0].notifies[0].state.starts_with("active"));
    for (phone, sub) in [(ben, 1), (anna, 0)] {
        let told = world.phones[phone].subs[sub].notifies.last().unwrap().body.clone();
        let info = sipliance::body::watcherinfo::read(told.as_bytes()).unwrap();
        let watcher = info.lists[0].watchers.iter().find(|watcher| watcher.uri.contains("ben"));
        let status = watcher.map(|watcher| watcher.status);
        assert_eq!(status, Some(sipliance::body::watcherinfo::WatcherStatus::Active), "{told}");
    }
}

/// Proves: RC-6, ET-6
#[test]
fn what_is_not_known_of_an_event_is_passed_over() {
    let mut world = World::new(909);
    let anna = subscribed(&mut world, "appliance;colour=blue;max-rate=fast");
    let first = &world.phones[anna].subs[0].notifies[0];
    assert!(first.state.starts_with("active;expires=") && !first.state.contains("rate"), "{}", first.state);
    world.report("stat/plug/POWER", "ON");
    world.run(1_000);
    assert_eq!(heard(&world, anna), 2, "and it goes on as for anybody");
}

/// Proves: ET-7
#[test]
fn a_poll_that_names_the_state_learns_that_it_is_the_same() {
    let mut world = World::new(910);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 0, now));
    world.run(500);
    let etag = world.phones[anna].subs[0].notifies[0].etag.clone();
    world.phones[anna].extra = format!("Suppress-If-Match: {etag}\r\n");
    let poll = |world: &mut World| {
        let op = world.at(anna, |phone, now| phone.subscribe("plug", "appliance", 0, now));
        world.run(1_000);
        let told = world.phones[anna].subs.last().unwrap().notifies.len();
        (world.phones[anna].ops[op].status(), told)
    };
    assert_eq!(poll(&mut world), (204, 0));
    world.report("stat/plug/POWER", "ON");
    world.run(500);
    assert_eq!(poll(&mut world), (200, 1));
    assert_eq!(world.gateway.status(world.time()).subscriptions, 0, "a poll leaves nothing behind");
}

/// Proves: PN-1
#[test]
fn the_address_of_a_phone_that_sleeps_is_kept_byte_for_byte() {
    let mut world = World::new(911);
    let anna = world.phone("anna");
    let contact = "sip:anna@198.51.100.1:5060;pn-provider=apns;pn-prid=00fc13ad%3A%7e;pn-purr=Q;ob";
    edited(
        &mut world,
        anna,
        |phone, now| phone.subscribe("plug", "presence", 600, now),
        |text| text.replace("sip:anna@198.51.100.1:5060>", &format!("{contact}>")),
    );
    let (_, notify) = world.sent(Method::Notify).pop().expect("a NOTIFY");
    assert!(notify.starts_with(format!("NOTIFY {contact} SIP/2.0\r\n").as_bytes()), "{notify:?}");
}

/// Proves: RL-2, RL-6, RL-9
#[test]
fn a_list_is_full_after_a_refresh_and_many_changes_are_one_notify() {
    use sipliance::body::rlmi;
    let mut world = World::new(912);
    let anna = world.phone("anna");
    world.phones[anna].extra = "Supported: eventlist\r\n".to_owned();
    world.at(anna, |phone, now| phone.subscribe("all", "presence", 600, now));
    world.run(2_000);
    let before = heard(&world, anna);
    world.report("stat/plug/POWER", "ON");
    world.report("stat/lamp/POWER", "ON");
    world.report("stat/plug/POWER", "OFF");
    world.report("tele/plug/SENSOR", r#"{"ENERGY":{"Power":7}}"#);
    world.run(2_000);
    assert_eq!(heard(&world, anna), before + 2, "the first at once, the others together");
    world.at(anna, |phone, now| phone.refresh(0, 600, now));
    world.run(500);
    let notifies = &world.phones[anna].subs[0].notifies;
    let lists: Vec<_> = notifies
        .iter()
        .map(|notify| rlmi::read_related(&notify.content_type, notify.body.as_bytes()).expect("a list").0)
        .collect();
    let versions: Vec<u32> = lists.iter().map(|list| list.version).collect();
    assert_eq!(versions, (0..).take(lists.len()).collect::<Vec<u32>>());
    let (first, last) = (&lists[0], lists.last().unwrap());
    assert!(first.full && last.full && last.resources.len() == 2);
}

/// Proves: DI-4
#[test]
fn a_lamp_key_hears_once_a_second_and_the_first_change_at_once() {
    let mut world = World::new(790);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.subscribe("plug", "dialog", 600, now));
    world.run(2_000);
    let before = world.phones[anna].subs[0].notifies.len();
    for nth in 0..20 {
        world.report("stat/plug/POWER", if nth % 2 == 0 { "ON" } else { "OFF" });
        world.run(200);
    }
    world.run(2_000);
    let heard = &world.phones[anna].subs[0].notifies[before..];
    assert!((4..=6).contains(&heard.len()), "{}", heard.len());
    for pair in heard.windows(2) {
        assert!(pair[1].at - pair[0].at >= std::time::Duration::from_millis(999), "{pair:?}");
    }
    assert!(heard[0].body.contains("confirmed") && heard.last().unwrap().body.contains("terminated"));
}

//! The process is killed and starts again: who watched goes on, or is told that it is over.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance::gateway::Input;

use super::home;
use super::phone::Notify;
use super::world::{Way, World};

/// A subscription of a new phone of `user`, which stands.
fn watch(world: &mut World, user: &str, name: &str, event: &str, expires: u32) -> usize {
    let phone = world.phone(user);
    let op = world.at(phone, |phone, now| phone.subscribe(name, event, expires, now));
    world.run(200);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    phone
}

fn last(world: &World, phone: usize) -> Notify {
    world.phones[phone].subs[0].notifies.last().expect("a NOTIFY").clone()
}

fn heard(world: &World, phone: usize) -> usize {
    world.phones[phone].subs[0].notifies.len()
}

fn press(world: &mut World) {
    world.plug.on = !world.plug.on;
    let word = if world.plug.on { "ON" } else { "OFF" };
    world.report("stat/plug/POWER", word);
}

/// Whether a document says how the plug is.
fn tells(notify: &Notify, on: bool) -> bool {
    let word = if on { "on" } else { "off" };
    notify.body.contains(&format!("Power {word}"))
        || notify.body.contains(&format!("\"power\",\"vb\":{on}"))
        || notify.body.contains(&format!("name=\"power\">{word}<"))
        || notify.body.contains(if on { ">confirmed<" } else { ">terminated<" })
}

#[test]
fn who_watched_is_told_everything_in_the_same_dialog() {
    let mut world = World::new(1).record();
    let phone = watch(&mut world, "anna", "plug", "appliance", 3600);
    press(&mut world);
    world.run(2_000);
    let (before, count) = (world.phones[phone].subs[0].last_cseq, heard(&world, phone));
    let resumed = world.die(home::config(None), 1_500);
    assert_eq!((resumed.subscriptions, resumed.ended, resumed.dropped), (1, 0, 0));
    world.run(3_000);
    assert_eq!(heard(&world, phone), count + 1, "one NOTIFY, when the appliances have been asked");
    let sub = &world.phones[phone].subs[0];
    assert!(sub.last_cseq > before + 1000, "from another block: {}", sub.last_cseq);
    assert!(tells(&last(&world, phone), world.plug.on), "{:?}", last(&world, phone));
    assert!(last(&world, phone).state.starts_with("active;expires=35"), "{}", last(&world, phone).state);
    // It is refreshed, and ended, by the tag that it always had.
    let op = world.at(phone, |phone, now| phone.refresh(0, 600, now));
    world.run(1_000);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    press(&mut world);
    world.run(2_000);
    assert!(tells(&last(&world, phone), world.plug.on));
    let op = world.at(phone, |phone, now| phone.refresh(0, 0, now));
    world.run(1_000);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    assert!(world.phones[phone].subs[0].terminated);
    world.flush_records();
    assert!(world.records.is_empty(), "nothing of it is on record: {:?}", world.records);
}

#[test]
fn none_is_silently_dead_whenever_it_dies() {
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut world = World::new(seed).record();
        let mut phones = Vec::new();
        let mut commands = 0;
        for _ in 0..rng.random_range(2..5) {
            for _ in 0..rng.random_range(0..4) {
                let phone = world.phone("anna");
                let event = ["appliance", "presence", "dialog"][rng.random_range(0..3)];
                let expires = [120, 600, 3600][rng.random_range(0..3)];
                world.at(phone, |phone, now| phone.subscribe("plug", event, expires, now));
                let at = world.now + std::time::Duration::from_secs(u64::from(expires) / 2);
                world.phones[phone].subs[0].refresh = Some((at, expires));
                phones.push(phone);
                world.run(rng.random_range(0..40));
            }
            if rng.random_bool(0.5) {
                press(&mut world);
            }
            if let Some(phone) = phones.first().copied().filter(|_| rng.random_bool(0.3)) {
                world.at(phone, |phone, now| phone.switch("plug", true, now));
                commands += 1;
            }
            let longest = [20, 300, 90_000][rng.random_range(0..3)];
            world.run(rng.random_range(0..longest));
            world.die(home::config(None), rng.random_range(100..4_000));
        }
        let moved = world.plug.writes.len();
        world.run(500);
        press(&mut world);
        world.run(9_500);
        assert_eq!(world.plug.writes.len(), moved, "seed {seed}: nothing moves because of a start");
        assert!(moved <= commands, "seed {seed}: {moved} acts of {commands} commands");
        for phone in phones {
            let (op, sub) = (&world.phones[phone].ops[0], &world.phones[phone].subs[0]);
            // Who got no answer asks again, and knows that.
            if op.status() != 200 {
                continue;
            }
            let told = sub.notifies.last().is_some_and(|notify| tells(notify, world.plug.on));
            assert!(told || sub.terminated, "seed {seed}: {} {:?}", sub.event, sub.notifies.last());
            assert!(!sub.terminated, "seed {seed}: nothing ended it");
        }
    }
}

#[test]
fn rights_are_those_of_the_new_run() {
    let without = |from: &str, to: &str| home::changed(from, to);
    for (config, reason) in [
        (without("  - who: ben\n    see: [plug]", "  - who: ben\n    see: [lamp]"), "noresource"),
        (
            home::edited(&[
                ("  ben: {password: {secret: ben}}\n", ""),
                ("  - who: ben\n    see: [plug]\n", ""),
            ]),
            "rejected",
        ),
    ] {
        let mut world = World::new(2).record();
        let phone = watch(&mut world, "ben", "plug", "appliance", 3600);
        let resumed = world.die(config, 500);
        assert_eq!((resumed.subscriptions, resumed.ended), (0, 1));
        world.run(3_000);
        let last = last(&world, phone);
        assert_eq!(last.state, format!("terminated;reason={reason}"));
        assert_eq!(last.body, "");
        world.flush_records();
        assert!(world.records.is_empty());
    }
}

#[test]
fn what_time_is_left_is_never_more_than_was_granted() {
    let hour = 3_600_000;
    for (off, state) in [
        (0, "active;expires=600"),
        (-10 * 365 * 24 * hour, "active;expires=600"),
        (hour / 6, "active;expires=599"),
        (10 * 365 * 24 * hour, "terminated;reason=timeout"),
    ] {
        let mut world = World::new(3).record();
        let phone = watch(&mut world, "anna", "plug", "presence", 600);
        world.wall_off = off;
        world.die(home::config(None), 100);
        world.run(3_000);
        let last = last(&world, phone);
        let close = state.strip_prefix("active;expires=").is_some_and(|left| {
            let left: i64 = left.parse().unwrap();
            let said: i64 = last.state.trim_start_matches("active;expires=").parse().unwrap();
            (left - 5..=left).contains(&said)
        });
        assert!(close || last.state == state, "{off}: {}", last.state);
        world.run(700_000);
        assert!(world.phones[phone].subs[0].terminated, "it ends some time");
    }
}

#[test]
fn a_record_that_makes_no_sense_moves_and_grants_nothing() {
    let mut world = World::new(4).record();
    watch(&mut world, "anna", "plug", "presence", 600);
    let whole = world.records.clone();
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        world.records = whole.clone();
        for body in world.records.values_mut() {
            let mut bad = body.to_vec();
            let at = rng.random_range(0..bad.len());
            match rng.random_range(0..4) {
                0 => bad.truncate(at),
                1 => bad[at] = rng.random(),
                2 => drop(bad.splice(at..at, [rng.random::<u8>(), rng.random()])),
                _ => {}
            }
            *body = bad.into();
        }
        let resumed = world.die(home::config(None), 100);
        assert_eq!(resumed.subscriptions + resumed.ended + resumed.dropped, 1, "seed {seed}");
        assert!(world.plug.writes.is_empty());
        // What made no sense does not come back.
        world.flush_records();
        assert_eq!(resumed.dropped == 1, world.records.is_empty(), "seed {seed}");
    }
}

#[test]
fn a_planned_stop_ends_nothing_and_leaves_no_lamp_on() {
    let mut world = World::new(5).record();
    let watchers =
        ["appliance", "presence", "dialog"].map(|event| watch(&mut world, "anna", "plug", event, 3600));
    press(&mut world);
    world.run(2_000);
    watchers.iter().for_each(|phone| assert!(tells(&last(&world, *phone), true)));
    world.handle(Input::Shutdown);
    // The driver goes on until the process ends.
    press(&mut world);
    press(&mut world);
    world.run(100);
    for phone in watchers {
        let last = last(&world, phone);
        assert!(last.state.starts_with("active"), "{}", last.state);
        // A key has no light for that: it is dark, and its name says why.
        let key = world.phones[phone].subs[0].event == "dialog";
        assert!(!tells(&last, true) && (key || !tells(&last, false)), "it is not known: {}", last.body);
    }
    assert!(world.gateway.is_quiet(), "nobody waits for more");
    world.flush_records();
    assert_eq!(world.die(home::config(None), 2_000).subscriptions, 3);
    world.run(3_000);
    watchers.iter().for_each(|phone| assert!(tells(&last(&world, *phone), true)));
}

/// A phone proves a repeated command anew by itself: what an earlier run did must not be done twice.
#[test]
fn a_command_from_before_the_restart_is_not_done_again() {
    let mut world = World::new(6).record();
    let phone = world.phone("anna");
    // The answer is lost with the process.
    world.lose.push((Way::Out, "SIP/2.0 200", 9));
    let op = world.at(phone, |phone, now| phone.switch("plug", true, now));
    world.run(60);
    assert_eq!(world.plug.writes.len(), 1);
    world.die(home::config(None), 1_000);
    world.lose.clear();
    world.run(10_000);
    assert_eq!(world.phones[phone].ops[op].status(), 504, "{:?}", world.phones[phone].ops[op].finals);
    assert_eq!(world.plug.writes.len(), 1);
    // The next one is done.
    let op = world.at(phone, |phone, now| phone.switch("plug", false, now));
    world.run(2_000);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    assert_eq!(world.plug.writes.len(), 2);
}

/// More NOTIFYs than are reserved at once: the next run begins behind all of them. The phone looks at each.
#[test]
fn cseqs_rise_after_a_long_life_too() {
    let mut world = World::new(7).record();
    let phone = watch(&mut world, "anna", "plug", "dialog", 86_400);
    for _ in 0..4_500 {
        press(&mut world);
        world.run(1_100);
    }
    let before = world.phones[phone].subs[0].last_cseq;
    assert!(before > 4_400, "{before}");
    world.die(home::config(None), 500);
    world.run(3_000);
    assert!(world.phones[phone].subs[0].last_cseq > before);
    assert!(tells(&last(&world, phone), world.plug.on));
}

#[test]
fn a_phone_whose_connection_died_hears_when_it_registers() {
    let mut world = World::new(8).record();
    let phone = world.tcp_phone("anna");
    world.at(phone, |phone, now| phone.subscribe("plug", "presence", 3600, now));
    world.run(500);
    assert_eq!(world.die(home::config(None), 500).subscriptions, 1);
    world.run(3_000);
    let count = heard(&world, phone);
    press(&mut world);
    world.run(1_000);
    assert_eq!(heard(&world, phone), count, "there is no way to it");
    world.connect(phone);
    world.at(phone, |phone, now| phone.register(600, now));
    world.run(1_000);
    assert!(tells(&last(&world, phone), world.plug.on));
    assert_eq!(heard(&world, phone), count + 1);
}

#[test]
fn a_phone_at_home_is_found_without_registering_again() {
    let mut world = World::new(9).record();
    let phone = world.phone("anna");
    world.at(phone, |phone, now| phone.register(3600, now));
    world.run(500);
    assert_eq!(world.die(home::config(None), 500).bindings, 1);
    // An alert goes to her phones.
    world.run(2_000);
    world.report("stat/plug/BUTTON", "short");
    world.run(2_000);
    assert!(!world.phones[phone].messages.is_empty());
    let op = world.at(phone, |phone, now| phone.register(0, now));
    world.run(500);
    assert_eq!(world.phones[phone].ops[op].status(), 200);
    world.flush_records();
    let left: Vec<u8> = world.records.keys().map(|key| key[0]).collect();
    assert_eq!(left, b"a", "the alert that nobody has seen, and nothing of her");
}

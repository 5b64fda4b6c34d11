//! A thousand bad networks: a fifth of the packets is lost, a tenth doubled, all of them overtake each
//! other. Every command is carried out exactly once and answered once, and every watcher ends up with
//! the truth.

use super::world::{Network, Seen, World};

const SEEDS: u64 = 1000;

/// `WORLD_SEED=n` runs one world and nothing else.
fn seeds() -> std::ops::Range<u64> {
    match std::env::var("WORLD_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    }
}

/// Proves: REQ-6.2, REQ-6.3, DO-4
#[test]
fn every_command_once_every_watcher_right() {
    let workers = std::thread::available_parallelism().map_or(2, |count| count.get() as u64).min(4);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || seeds().filter(|seed| seed % workers == worker).for_each(evening));
        }
    });
}

/// Three watchers, one of whom gives four commands in three ways.
fn evening(seed: u64) {
    let mut world = World::new(seed);
    world.network = Network::BAD;
    let phones: Vec<usize> = ["anna", "ben", "anna"].map(|user| world.phone(user)).into();
    for (phone, event) in phones.iter().zip(["appliance", "dialog", "presence"]) {
        world.at(*phone, |phone, now| phone.subscribe("plug", event, 3600, now));
    }
    world.run(12_000);
    let anna = phones[0];
    let mut commands = Vec::new();
    let wanted = [true, false, true, seed.is_multiple_of(2)];
    for (nth, on) in wanted.into_iter().enumerate() {
        let word = if on { "on" } else { "off" };
        let number = if on { "23" } else { "24" };
        commands.push(world.at(anna, |phone, now| match nth {
            0 => phone.message("plug", word, now),
            1 => phone.invite(number, now),
            _ => phone.switch("plug", on, now),
        }));
        world.run(40_000);
    }
    // The reply MESSAGEs and the last NOTIFYs, repeated until they arrive or give up.
    world.run(45_000);
    check_commands(&world, anna, &commands, &wanted);
    check_watchers(&world, &phones, wanted[3]);
    assert_eq!(world.contradictions(), Vec::<String>::new());
    assert_eq!(world.gateway.status(world.time()).transactions, (0, 0));
}

fn check_commands(world: &World, anna: usize, commands: &[usize], wanted: &[bool]) {
    let mut given = 0;
    for (nth, op) in commands.iter().enumerate() {
        let op = &world.phones[anna].ops[*op];
        assert!(op.over, "{} has no end", op.method);
        let right = if op.method == "INVITE" { 486 } else { 200 };
        match op.status() {
            status if status == right => given += 1,
            // All eleven requests or all of their answers were lost.
            408 => {}
            other => panic!("{} {nth} got {other}: {:?}", op.method, op.finals),
        }
    }
    // Writes are the commands in their order; one without an answer may or may not be among them.
    let writes: Vec<&str> = world.plug.writes.iter().map(|(_, payload)| payload.as_str()).collect();
    assert!(writes.len() >= given && writes.len() <= commands.len(), "{writes:?}");
    if given == commands.len() {
        let words: Vec<&str> = wanted.iter().map(|on| if *on { "ON" } else { "OFF" }).collect();
        assert_eq!(writes, words);
    }
    let ordered =
        world.seen.iter().filter(|(_, seen)| matches!(seen, Seen::Audit(line) if line.contains("ordered")));
    assert_eq!(ordered.count(), writes.len(), "one audit line for each");
}

fn check_watchers(world: &World, phones: &[usize], last: bool) {
    let truth = [
        format!("\"n\":\"power\",\"vb\":{}", world.plug.on),
        format!("<state>{}</state>", if world.plug.on { "confirmed" } else { "terminated" }),
        format!("<ap:value name=\"power\">{}</ap:value>", if world.plug.on { "on" } else { "off" }),
    ];
    let _ = last;
    let held = world.gateway.status(world.time()).subscriptions;
    let mut live = 0;
    for (phone, truth) in phones.iter().zip(&truth) {
        let subscribed = world.phones[*phone].ops[0].status() == 200;
        let notifies = &world.phones[*phone].subs[0].notifies;
        let Some(newest) = notifies.last() else {
            assert!(!subscribed || held < 3, "a 200 and never a NOTIFY");
            continue;
        };
        // Eleven losses in a row end a subscription; nothing else does.
        if held == 3 {
            assert!(newest.body.contains(truth.as_str()), "{truth} is not in {}", newest.body);
        }
        live += 1;
    }
    assert!(held >= 2 && live >= 2, "{held} subscriptions, {live} watchers: this network is not that bad");
}

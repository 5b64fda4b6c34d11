//! What is driven: seen from outside, at the wire.

use sipliance_driver::Failure;

use super::sim::Step;
use super::*;

#[tokio::test]
async fn a_garage_on_real_lines() {
    let Some(chip) = SimChip::new(&["SIM17", "SIM27"]) else { return };
    chip.pull("SIM27", true);
    let (mut link, task) = start(vec![relay("SIM17"), reed("SIM27", Duration::ZERO)]);
    assert_eq!(next(&mut link).await, Event::Up);
    assert_eq!([next(&mut link).await, next(&mut link).await], [read("relay", "0"), read("reed", "0")]);
    assert!(chip.high("SIM17"), "active low and inactive is high");

    chip.pull("SIM27", false);
    assert_eq!(edge(&mut link).await.0, "1");
    chip.pull("SIM27", true);
    assert_eq!(edge(&mut link).await.0, "0");

    let write = Op::Write { id: OpId(2), channel: Channel::new("reed"), payload: "1".into() };
    link.ops.send(write).await.unwrap();
    assert!(matches!(next(&mut link).await, Event::Done { result: Err(Failure::Refused(_)), .. }));
    drop(link);
    assert_eq!(timeout(Duration::from_secs(2), task).await.unwrap().unwrap(), Exit::Closed);
}

/// The board's pull is the level of `initial`, as it should be: nothing moves, at no moment.
#[tokio::test]
async fn an_output_is_initial_from_the_request_on() {
    let Some(chip) = SimChip::new(&["SIM8"]) else { return };
    for initial in [false, true] {
        chip.pull("SIM8", !initial);
        let scope = chip.watch("SIM8");
        for _ in 0..3 {
            let (mut link, task) = start(vec![relay_with("SIM8", initial, None)]);
            let level = if initial { "1" } else { "0" };
            assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", level)]);
            assert_eq!(chip.high("SIM8"), !initial);
            sleep(Duration::from_millis(50)).await;
            drop(link);
            task.await.unwrap();
        }
        assert_eq!(scope.levels(), [!initial]);
    }
}

#[tokio::test]
async fn a_pulse_lasts_as_long_as_it_says_at_the_wire() {
    let Some(chip) = SimChip::new(&["SIM9"]) else { return };
    chip.pull("SIM9", true);
    let (mut link, _task) = start(vec![relay("SIM9")]);
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
    for (id, ms) in [(1, 100), (2, 500)] {
        let scope = chip.watch("SIM9");
        link.ops.send(pulse(id, ms)).await.unwrap();
        assert_eq!([next(&mut link).await, next(&mut link).await], [done(id), read("relay", "1")]);
        assert_eq!(next(&mut link).await, read("relay", "0"));
        sleep(Duration::from_millis(20)).await;
        let seen = scope.end();
        let [Step { high: true, .. }, on @ Step { high: false, .. }, off @ Step { high: true, .. }] =
            &seen[..]
        else {
            panic!("{seen:?}")
        };
        // Somewhere between the two, as far as looking at it can tell.
        let (least, most) = (off.after.saturating_duration_since(on.by), off.by - on.after);
        println!("note: a pulse of {ms} ms lasted {} to {} ms", least.as_millis(), most.as_millis());
        assert!(most >= Duration::from_millis(ms) && least < Duration::from_millis(ms + 300) + on.still);
    }
}

/// Nobody reads what the driver says and nobody asks it anything.
#[tokio::test]
async fn a_pulse_ends_though_the_gateway_stands_still() {
    let Some(chip) = SimChip::new(&["SIM10", "SIM27"]) else { return };
    chip.pull("SIM10", true);
    chip.pull("SIM27", true);
    let (mut link, _task) = start(vec![relay("SIM10"), reed("SIM27", Duration::ZERO)]);
    while next(&mut link).await != read("reed", "0") {}
    let scope = chip.watch("SIM10");
    link.ops.send(pulse(1, 700)).await.unwrap();
    while scope.changes() < 1 {
        sleep(Duration::from_millis(1)).await;
    }
    for n in 0..600 {
        chip.pull("SIM27", n % 2 == 1); // until no event more fits
        if n % 10 == 0 {
            sleep(Duration::from_millis(1)).await;
        }
    }
    let waits = std::time::Instant::now();
    while scope.changes() < 2 {
        assert!(waits.elapsed() < Duration::from_secs(20), "the relay is still on");
        sleep(Duration::from_millis(1)).await;
    }
    let seen = scope.end();
    let [_, on, off] = &seen[..] else { panic!("{seen:?}") };
    let (least, most) = (off.after.saturating_duration_since(on.by), off.by - on.after);
    assert!(most >= Duration::from_millis(700) && least < Duration::from_secs(3) + on.still, "{seen:?}");
    let mut events = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_millis(300), link.events.recv()).await {
        events.push(event);
    }
    assert!(events.contains(&done(1)) && events.contains(&read("relay", "0")), "{} events", events.len());
}

#[tokio::test]
async fn a_pulse_is_let_go_when_the_port_closes_and_when_the_task_dies() {
    for dies in [false, true] {
        let Some(chip) = SimChip::new(&["SIM11"]) else { return };
        chip.pull("SIM11", true); // what the board does when nobody drives the line
        let (mut link, task) = start(vec![relay_with("SIM11", false, None)]);
        assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
        link.ops.send(pulse(1, 60_000)).await.unwrap();
        assert_eq!(next(&mut link).await, done(1));
        assert!(!chip.high("SIM11"));
        match dies {
            true => task.abort(),
            false => drop(link),
        }
        let _ = task.await;
        assert!(chip.high("SIM11"), "dies: {dies}");
    }
}

/// What the driver drives last, and what the wire does after it: the kernel gives the line back to the
/// board, whatever was driven.
#[tokio::test]
async fn an_output_is_left_as_at_exit_says_and_then_is_the_boards() {
    for (at_exit, last) in [(Some(false), true), (Some(true), false), (None, false)] {
        let Some(chip) = SimChip::new(&["SIM12"]) else { return };
        chip.pull("SIM12", true);
        let (mut link, task) = start(vec![relay_with("SIM12", false, at_exit)]);
        assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
        link.ops.send(write(1, "1")).await.unwrap();
        assert_eq!(next(&mut link).await, done(1));
        drop(link);
        task.await.unwrap();
        // gpio-sim pulls as soon as nobody holds the line, as the Pi does.
        let after = chip.high("SIM12");
        println!("note: at_exit {at_exit:?}: driven {}, then the wire is {}", word(last), word(after));
        assert!(after, "the board's pull");
    }
}

fn word(high: bool) -> &'static str {
    if high { "high" } else { "low" }
}

#[tokio::test]
async fn a_driver_that_starts_anew_begins_with_initial() {
    let Some(chip) = SimChip::new(&["SIM13"]) else { return };
    chip.pull("SIM13", true);
    for _ in 0..2 {
        let (mut link, task) = start(vec![relay_with("SIM13", false, None)]);
        assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
        assert!(chip.high("SIM13"));
        link.ops.send(write(1, "1")).await.unwrap();
        assert_eq!([next(&mut link).await, next(&mut link).await], [done(1), read("relay", "1")]);
        assert!(!chip.high("SIM13"));
        task.abort(); // as a panic would
        let _ = task.await;
    }
}

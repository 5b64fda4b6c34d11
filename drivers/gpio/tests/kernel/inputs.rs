//! What comes in.

use super::*;

/// How often something is tried that needs a machine which does not stand still meanwhile.
const TRIES: usize = 10;

#[tokio::test]
async fn an_input_is_pulled_as_it_says_and_told_as_active() {
    for (pull, word, active_low, level) in [
        (Pull::Up, "pull-up", true, "0"),
        (Pull::Up, "pull-up", false, "1"),
        (Pull::Down, "pull-down", true, "1"),
        (Pull::Down, "pull-down", false, "0"),
    ] {
        let Some(chip) = SimChip::new(&["SIM4"]) else { return };
        chip.pull("SIM4", word == "pull-down");
        let direction = Direction::In { pull, debounce: Duration::ZERO };
        let line = Line { name: "reed".into(), pin: "SIM4".into(), active_low, direction };
        let (mut link, _task) = start(vec![line]);
        assert_eq!(next(&mut link).await, Event::Up);
        assert_eq!(next(&mut link).await, read("reed", level), "{word}, active low: {active_low}");
        assert_eq!(chip.pulled("SIM4"), word);
    }
}

#[tokio::test]
async fn bounces_are_one_change() {
    const DEBOUNCE: Duration = Duration::from_millis(50);
    let Some(chip) = SimChip::new(&["SIM5"]) else { return };
    for _ in 0..TRIES {
        chip.pull("SIM5", true);
        let (mut link, _task) = start(vec![reed("SIM5", DEBOUNCE)]);
        assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "0")]);
        let (mut longest, mut moved) = (Duration::ZERO, std::time::Instant::now());
        for n in 0..9 {
            let before = std::time::Instant::now();
            chip.pull("SIM5", n % 2 == 1);
            longest = longest.max(moved.elapsed());
            moved = before;
            sleep(Duration::from_millis(3)).await;
        }
        if longest >= DEBOUNCE {
            continue; // the machine stood still: that was no bouncing
        }
        assert_eq!(edge(&mut link).await.0, "1");
        let more = timeout(Duration::from_millis(300), link.events.recv()).await;
        assert!(more.is_err(), "{more:?}");
        return;
    }
    panic!("this machine is too slow to bounce");
}

#[tokio::test]
async fn a_glitch_shorter_than_the_debounce_is_never_seen() {
    const DEBOUNCE: Duration = Duration::from_millis(100);
    let Some(chip) = SimChip::new(&["SIM5"]) else { return };
    for _ in 0..TRIES {
        chip.pull("SIM5", true);
        let (mut link, _task) = start(vec![reed("SIM5", DEBOUNCE)]);
        assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "0")]);
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            let began = std::time::Instant::now();
            chip.pull("SIM5", false);
            sleep(Duration::from_millis(5)).await;
            chip.pull("SIM5", true);
            longest = longest.max(began.elapsed());
            sleep(Duration::from_millis(60)).await;
        }
        if longest >= DEBOUNCE {
            continue; // the machine stood still: that was no glitch
        }
        let more = timeout(Duration::from_millis(400), link.events.recv()).await;
        assert!(more.is_err(), "{more:?}");
        return;
    }
    panic!("this machine is too slow for a glitch");
}

/// The driver cannot run for a second; what it tells afterwards is when things happened.
#[tokio::test]
async fn edges_have_the_time_at_which_they_happened() {
    let Some(chip) = SimChip::new(&["SIM6"]) else { return };
    chip.pull("SIM6", true);
    let (mut link, _task) = start(vec![reed("SIM6", Duration::ZERO)]);
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "0")]);
    let mut moved = Vec::new();
    for (n, pause) in [400, 100, 300, 200].into_iter().enumerate() {
        let before = std::time::Instant::now();
        chip.pull("SIM6", n % 2 == 1);
        moved.push((before, std::time::Instant::now()));
        std::thread::sleep(Duration::from_millis(pause)); // the driver's thread is this one
    }
    for (n, (before, after)) in moved.into_iter().enumerate() {
        let (payload, at) = edge(&mut link).await;
        assert_eq!(payload, if n % 2 == 0 { "1" } else { "0" }, "in order");
        let off = at.saturating_duration_since(after).max(before.saturating_duration_since(at));
        assert!(off < Duration::from_millis(50), "edge {n} is {off:?} off");
    }
}

#[tokio::test]
async fn a_flood_ends_in_the_level_that_is_there() {
    let Some(chip) = SimChip::new(&["SIM7"]) else { return };
    chip.pull("SIM7", true);
    let (mut link, _task) = start(vec![reed("SIM7", Duration::ZERO)]);
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "0")]);
    for n in 0..601 {
        chip.pull("SIM7", n % 2 == 1); // more than the kernel keeps, and the driver does not run
    }
    let (mut last, mut count, mut before) = (Bytes::new(), 0, None);
    while let Ok(event) = timeout(Duration::from_millis(500), link.events.recv()).await {
        count += 1;
        match event {
            Some(Event::Edge { payload, at, .. }) => {
                assert!(before.is_none_or(|before| before <= at), "times go forward");
                (last, before) = (payload, Some(at));
            }
            Some(Event::Read { payload, .. }) => last = payload,
            other => panic!("{other:?}"),
        }
    }
    println!("note: of 601 edges {count} were told");
    assert_eq!(last, "1", "the last one was down, which is active");
    assert!(count < 601, "the flood was no flood");
    chip.pull("SIM7", true);
    assert_eq!(edge(&mut link).await.0, "0", "and it goes on");
}

//! The GPIO driver on a real kernel's lines, with a chip of the `gpio-sim` module at the far end. Says
//! so and passes where the kernel has no such module, or we may not make a chip; `tests/gpio/run` runs
//! it in a machine that has the module.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod inputs;
mod outputs;
mod sim;

use std::time::Duration;

use bytes::Bytes;
use sim::SimChip;
use sipliance_driver::conformance::{self, Rig};
use sipliance_driver::{Channel, Event, Exit, Link, Op, OpId, pair};
use sipliance_driver_gpio::{Direction, Line, PWM_CHIPS, Pull, Settings, run};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

fn relay(pin: &str) -> Line {
    relay_with(pin, false, Some(false))
}

fn relay_with(pin: &str, initial: bool, at_exit: Option<bool>) -> Line {
    let direction = Direction::Out { initial, at_exit };
    Line { name: "relay".into(), pin: pin.into(), active_low: true, direction }
}

fn reed(pin: &str, debounce: Duration) -> Line {
    let direction = Direction::In { pull: Pull::Up, debounce };
    Line { name: "reed".into(), pin: pin.into(), active_low: true, direction }
}

fn start(lines: Vec<Line>) -> (Link, JoinHandle<Exit>) {
    let (link, port) = pair();
    for line in &lines {
        link.ops.try_send(Op::Watch { channel: Channel::new(&line.name) }).unwrap();
    }
    (
        link,
        tokio::spawn(run(Settings { lines, consumer: "sipliance test".into(), pwm: PWM_CHIPS.into() }, port)),
    )
}

async fn next(link: &mut Link) -> Event {
    timeout(Duration::from_secs(20), link.events.recv()).await.expect("no event in 20 s").unwrap()
}

fn read(channel: &str, payload: &'static str) -> Event {
    Event::Read { channel: Channel::new(channel), payload: payload.into(), retained: false }
}

fn pulse(id: u64, ms: u64) -> Op {
    Op::Pulse { id: OpId(id), channel: Channel::new("relay"), on: Duration::from_millis(ms) }
}

fn write(id: u64, payload: &'static str) -> Op {
    Op::Write { id: OpId(id), channel: Channel::new("relay"), payload: payload.into() }
}

fn done(id: u64) -> Event {
    Event::Done { id: OpId(id), result: Ok(()) }
}

/// The next edge of the reed: its payload and when it was.
async fn edge(link: &mut Link) -> (Bytes, std::time::Instant) {
    match next(link).await {
        Event::Edge { channel, payload, at } if channel.as_str() == "reed" => (payload, at),
        other => panic!("{other:?}"),
    }
}

async fn down(link: &mut Link) -> String {
    match next(link).await {
        Event::Down(why) => why.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn busy_missing_and_ambiguous_lines_are_named() {
    let Some(_one) = SimChip::new(&["SIM-A", "SIM-TWICE"]) else { return };
    let Some(_two) = SimChip::new(&["SIM-TWICE"]) else { return };
    let (mut holder, holding) = start(vec![relay("SIM-A")]);
    assert_eq!(next(&mut holder).await, Event::Up);

    let (mut link, _task) = start(vec![relay("SIM-A")]);
    let words = down(&mut link).await;
    assert!(words.contains("SIM-A (relay): busy, \"sipliance test\" holds it"), "{words}");
    for (pin, hint) in [("SIM-Z", "there are: SIM-A, SIM-TWICE"), ("sim-a", "did you mean SIM-A?")] {
        let (mut missing, _task) = start(vec![relay(pin)]);
        let words = down(&mut missing).await;
        assert!(words.contains("no chip has such a line") && words.contains(hint), "{words}");
    }
    let (mut ambiguous, _task) = start(vec![relay("SIM-TWICE")]);
    let words = down(&mut ambiguous).await;
    assert!(words.contains("two lines have this name") && words.matches("gpiochip").count() == 2, "{words}");

    // As soon as the holder lets go, the line is ours.
    drop(holder);
    holding.await.unwrap();
    assert_eq!(next(&mut link).await, Event::Up);
}

/// A relay whose chip can be pulled out.
struct Unplugged {
    chip: SimChip,
}

impl Rig for Unplugged {
    fn start(&mut self) -> (Link, JoinHandle<Exit>) {
        start(vec![relay("SIM17"), reed("SIM27", Duration::ZERO)])
    }

    fn channel(&self) -> Channel {
        Channel::new("relay")
    }

    fn payload(&self) -> Bytes {
        Bytes::from_static(b"1")
    }

    async fn speak(&mut self) {} // the level after Up speaks

    async fn cut(&mut self) {
        self.chip.live(false);
    }

    async fn mend(&mut self) {
        self.chip.live(true);
    }
}

#[tokio::test]
async fn keeps_every_promise_of_a_driver() {
    let Some(chip) = SimChip::new(&["SIM17", "SIM27"]) else { return };
    conformance::check(&mut Unplugged { chip }).await.unwrap();
}

/// Nobody asks for anything and no input moves: the chip alone is gone, and comes back.
#[tokio::test]
async fn a_chip_that_is_pulled_out_is_told_and_its_outputs_come_back_as_initial() {
    let Some(mut chip) = SimChip::new(&["SIM17"]) else { return };
    let (mut link, _task) = start(vec![relay_with("SIM17", false, None)]);
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
    link.ops.send(write(1, "1")).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [done(1), read("relay", "1")]);
    assert!(!chip.high("SIM17"), "active low and active is low");
    chip.live(false);
    let words = down(&mut link).await;
    assert!(words.contains("was the chip unplugged?"), "{words}");
    chip.live(true);
    // Not what was driven before: nothing is driven because something came back.
    while next(&mut link).await != Event::Up {}
    assert_eq!(next(&mut link).await, read("relay", "0"));
    assert!(chip.high("SIM17"));
    sleep(Duration::from_millis(500)).await;
    assert!(chip.high("SIM17"));
}

//! The GPIO driver on a real kernel's lines, with a chip of the `gpio-sim` module at the far end. Says
//! so and passes where the kernel has no such module, or we may not make a chip.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sipliance_driver::{Channel, Event, Exit, Failure, Link, Op, OpId, pair};
use sipliance_driver_gpio::{Direction, Line, Pull, Settings, run};
use tokio::time::{Instant, sleep, timeout};

const CONFIG: &str = "/sys/kernel/config/gpio-sim";

/// A chip with named lines, and its wires in the hands of the test.
struct SimChip {
    folder: PathBuf,
    wires: PathBuf,
    names: Vec<String>,
}

impl SimChip {
    /// `None`, with the reason on the terminal, where no chip can be made.
    fn new(names: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(format!("{CONFIG}/sipliance-{}-{n}", std::process::id()));
        if let Err(error) = fs::create_dir(&folder) {
            eprintln!("skipped: no chip can be made in {CONFIG}: {error} (modprobe gpio-sim, as root)");
            return None;
        }
        let bank = folder.join("bank0");
        fs::create_dir(&bank).unwrap();
        fs::write(bank.join("num_lines"), names.len().to_string()).unwrap();
        for (n, name) in names.iter().enumerate() {
            let line = bank.join(format!("line{n}"));
            fs::create_dir(&line).unwrap();
            fs::write(line.join("name"), name).unwrap();
        }
        fs::write(folder.join("live"), "1").unwrap();
        let text = |path: PathBuf| fs::read_to_string(path).unwrap().trim().to_owned();
        let device = text(folder.join("dev_name"));
        let chip = text(bank.join("chip_name"));
        let wires = PathBuf::from(format!("/sys/devices/platform/{device}/{chip}"));
        Some(Self { folder, wires, names: names.iter().map(|name| (*name).to_owned()).collect() })
    }

    fn wire(&self, name: &str, file: &str) -> PathBuf {
        let n = self.names.iter().position(|other| other == name).unwrap();
        self.wires.join(format!("sim_gpio{n}/{file}"))
    }

    fn pull(&self, name: &str, high: bool) {
        fs::write(self.wire(name, "pull"), if high { "pull-up" } else { "pull-down" }).unwrap();
    }

    fn high(&self, name: &str) -> bool {
        fs::read_to_string(self.wire(name, "value")).unwrap().trim() == "1"
    }
}

impl Drop for SimChip {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("live"), "0");
        for n in 0..self.names.len() {
            let _ = fs::remove_dir(self.folder.join(format!("bank0/line{n}")));
        }
        let _ = fs::remove_dir(self.folder.join("bank0"));
        let _ = fs::remove_dir(&self.folder);
    }
}

fn relay(pin: &str) -> Line {
    let direction = Direction::Out { initial: false, at_exit: Some(false) };
    Line { name: "relay".into(), pin: pin.into(), active_low: true, direction }
}

fn reed(pin: &str, debounce: Duration) -> Line {
    let direction = Direction::In { pull: Pull::Up, debounce };
    Line { name: "reed".into(), pin: pin.into(), active_low: true, direction }
}

fn start(lines: Vec<Line>) -> (Link, tokio::task::JoinHandle<Exit>) {
    let (link, port) = pair();
    for line in &lines {
        link.ops.try_send(Op::Watch { channel: Channel::new(&line.name) }).unwrap();
    }
    (link, tokio::spawn(run(Settings { lines, consumer: "sipliance test".into() }, port)))
}

async fn next(link: &mut Link) -> Event {
    timeout(Duration::from_secs(10), link.events.recv()).await.expect("no event in 10 s").unwrap()
}

fn read(channel: &str, payload: &'static str) -> Event {
    Event::Read { channel: Channel::new(channel), payload: payload.into(), retained: false }
}

async fn down(link: &mut Link) -> String {
    match next(link).await {
        Event::Down(why) => why.0,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_garage_on_real_lines() {
    let Some(chip) = SimChip::new(&["SIM17", "SIM27"]) else { return };
    chip.pull("SIM27", true);
    let (mut link, task) = start(vec![relay("SIM17"), reed("SIM27", Duration::ZERO)]);
    assert_eq!(next(&mut link).await, Event::Up);
    assert_eq!([next(&mut link).await, next(&mut link).await], [read("relay", "0"), read("reed", "0")]);
    assert!(chip.high("SIM17"), "active low and inactive is high");

    chip.pull("SIM27", false);
    assert_eq!(next(&mut link).await, read("reed", "1"));
    chip.pull("SIM27", true);
    assert_eq!(next(&mut link).await, read("reed", "0"));

    let on = Duration::from_millis(500);
    link.ops.send(Op::Pulse { id: OpId(1), channel: Channel::new("relay"), on }).await.unwrap();
    assert_eq!(next(&mut link).await, Event::Done { id: OpId(1), result: Ok(()) });
    assert_eq!(next(&mut link).await, read("relay", "1"));
    let began = Instant::now();
    assert!(!chip.high("SIM17"));
    assert_eq!(next(&mut link).await, read("relay", "0"));
    let took = began.elapsed();
    assert!(took > on - Duration::from_millis(100) && took < on * 2, "{took:?}");
    assert!(chip.high("SIM17"));

    let write = Op::Write { id: OpId(2), channel: Channel::new("reed"), payload: "1".into() };
    link.ops.send(write).await.unwrap();
    assert!(matches!(next(&mut link).await, Event::Done { result: Err(Failure::Refused(_)), .. }));
    drop(link);
    assert_eq!(timeout(Duration::from_secs(2), task).await.unwrap().unwrap(), Exit::Closed);
}

#[tokio::test]
async fn bounces_are_one_change() {
    let Some(chip) = SimChip::new(&["SIM5"]) else { return };
    chip.pull("SIM5", true);
    let (mut link, _task) = start(vec![reed("SIM5", Duration::from_millis(50))]);
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "0")]);
    for n in 0..9 {
        chip.pull("SIM5", n % 2 == 1);
        sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(next(&mut link).await, read("reed", "1"));
    let more = timeout(Duration::from_millis(300), link.events.recv()).await;
    assert!(more.is_err(), "{more:?}");
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
    let (mut missing, _task) = start(vec![relay("SIM-Z")]);
    let words = down(&mut missing).await;
    assert!(words.contains("no chip has such a line") && words.contains("SIM-TWICE"), "{words}");
    let (mut ambiguous, _task) = start(vec![relay("SIM-TWICE")]);
    let words = down(&mut ambiguous).await;
    assert!(words.contains("two lines have this name") && words.matches("gpiochip").count() == 2, "{words}");

    // As soon as the holder lets go, the line is ours.
    drop(holder);
    holding.await.unwrap();
    assert_eq!(next(&mut link).await, Event::Up);
}

#[tokio::test]
async fn a_relay_is_let_go_when_its_task_dies_in_a_pulse() {
    let Some(chip) = SimChip::new(&["SIM9"]) else { return };
    chip.pull("SIM9", true); // what the board does when nobody drives the line
    let (mut link, task) = start(vec![relay("SIM9")]);
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
    let on = Duration::from_secs(60);
    link.ops.send(Op::Pulse { id: OpId(1), channel: Channel::new("relay"), on }).await.unwrap();
    assert_eq!(next(&mut link).await, Event::Done { id: OpId(1), result: Ok(()) });
    assert!(!chip.high("SIM9"));
    task.abort();
    let _ = task.await;
    assert!(chip.high("SIM9"));
}

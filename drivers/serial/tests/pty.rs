//! The serial driver on a pseudo terminal, which is plugged and pulled like a USB adapter.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod cable;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use cable::{Cable, down, next};
use sipliance_driver::conformance::{self, Rig};
use sipliance_driver::{Channel, Cut, Event, Exit, Failure, Framing, Link, Op, OpId, pair};
use sipliance_driver_serial::{Settings, run};
use tokio::time::Instant;

fn settings(cable: &Cable) -> Settings {
    let framing = Framing { cut: Cut::End(b"\r".to_vec()), send_end: b"\r".to_vec(), ..Framing::lines() };
    Settings { framing, ..Settings::new(&cable.path) }
}

fn start(settings: Settings) -> (Link, tokio::task::JoinHandle<Exit>) {
    let (link, port) = pair();
    (link, tokio::spawn(run(settings, port)))
}

fn rx(payload: &str) -> Event {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Event::Read { channel: Channel::new("rx"), payload, retained: false }
}

impl Rig for Cable {
    fn start(&mut self) -> (Link, tokio::task::JoinHandle<Exit>) {
        start(settings(self))
    }

    fn channel(&self) -> Channel {
        Channel::new("rx")
    }

    fn payload(&self) -> Bytes {
        Bytes::from_static(b"MV45")
    }

    async fn speak(&mut self) {
        self.say(b"PWON\r");
    }

    async fn cut(&mut self) {
        self.pull();
    }

    async fn mend(&mut self) {
        self.plug();
    }
}

#[tokio::test]
async fn keeps_every_promise_of_a_driver() {
    conformance::check(&mut Cable::new()).await.unwrap();
}

/// Proves: REQ-4.1.2
#[tokio::test]
async fn questions_writes_and_split_frames() {
    let mut cable = Cable::new();
    let (mut link, _task) = start(settings(&cable));
    assert_eq!(next(&mut link).await, Event::Up);
    let channel = Channel::new("power");
    let ask = Op::Ask {
        id: OpId(1),
        channel: channel.clone(),
        payload: "PW?".into(),
        timeout: Duration::from_secs(2),
    };
    link.ops.send(ask).await.unwrap();
    cable.hear("PW?\r").await;
    cable.say(b"PW");
    cable.say(b"ON\rMV4");
    assert_eq!(next(&mut link).await, Event::Read { channel, payload: "PWON".into(), retained: false });
    assert_eq!(next(&mut link).await, Event::Done { id: OpId(1), result: Ok(()) });
    cable.say(b"55\r");
    assert_eq!(next(&mut link).await, rx("MV455"));
    let write = Op::Write { id: OpId(2), channel: Channel::new("tx"), payload: "MUON".into() };
    link.ops.send(write).await.unwrap();
    cable.hear("MUON\r").await;
    assert_eq!(next(&mut link).await, Event::Done { id: OpId(2), result: Ok(()) });
}

#[tokio::test]
async fn a_megabyte_of_noise_is_survived_and_the_next_frame_is_read() {
    let cable = Cable::new();
    let (mut link, _task) = start(settings(&cable));
    assert_eq!(next(&mut link).await, Event::Up);
    let mut appliance = cable.appliance.as_ref().unwrap().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        appliance.write_all(&vec![0xa5; 1_000_000]).unwrap();
        appliance.write_all(b"\rPWON\r").unwrap();
    });
    assert_eq!(next(&mut link).await, rx("PWON"), "noise makes no frame");
    writer.join().unwrap();
}

#[tokio::test]
async fn pulled_and_plugged_again_under_another_number() {
    let mut cable = Cable::new();
    let (mut link, _task) = start(settings(&cable));
    assert_eq!(next(&mut link).await, Event::Up);
    let pulled = Instant::now();
    cable.pull();
    let words = down(&mut link).await;
    assert!(words.contains("was the cable pulled?"), "{words}");
    assert!(pulled.elapsed() < Duration::from_secs(5));
    let write = Op::Write { id: OpId(1), channel: Channel::new("tx"), payload: "PWON".into() };
    link.ops.send(write).await.unwrap();
    loop {
        match next(&mut link).await {
            Event::Done { result, .. } => break assert_eq!(result, Err(Failure::NotConnected)),
            Event::Down(why) => assert!(why.0.contains("there is no such port"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let other = Cable::new(); // takes the number that was free
    cable.plug();
    let plugged = Instant::now();
    while next(&mut link).await != Event::Up {}
    assert!(plugged.elapsed() < Duration::from_secs(6));
    cable.say(b"PWSTANDBY\r");
    assert_eq!(next(&mut link).await, rx("PWSTANDBY"));
    drop(other);
}

#[tokio::test]
async fn a_busy_port_names_its_holder() {
    let mut cable = Cable::new();
    let (mut first, _task) = start(settings(&cable));
    assert_eq!(next(&mut first).await, Event::Up);
    let (mut second, _task) = start(settings(&cable));
    let words = down(&mut second).await;
    let us = format!("(process {})", std::process::id());
    assert!(words.contains("busy") && words.contains(&us), "{words}");
    cable.say(b"still\r");
    assert_eq!(next(&mut first).await, rx("still"));
}

//! The read-out of a meter over a pseudo terminal, which keeps the speed that is set.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod cable;

use std::time::Duration;

use bytes::Bytes;
use cable::{Cable, down, next};
use rustix::termios::tcgetattr;
use sipliance_driver::{Channel, Event, Failure, Op, OpId, pair};
use sipliance_driver_serial::meter::{Settings, run};
use tokio::time::{Instant, sleep};

/// What the terminal is set to.
fn speed(cable: &Cable) -> u32 {
    tcgetattr(cable.appliance.as_ref().unwrap()).unwrap().output_speed()
}

fn ask(id: u64) -> Op {
    let (channel, timeout) = (Channel::new("meter/"), Duration::from_secs(20));
    Op::Ask { id: OpId(id), channel, payload: Bytes::from_static(b"/?!\r\n"), timeout }
}

const BLOCK: &[u8] = b"\x021.8.0(001234.567*kWh)\r\n!\r\n\x03\x7a";

#[tokio::test]
async fn a_meter_is_read_out_and_the_speed_follows_it() {
    let mut cable = Cable::new();
    let settings = Settings { path: cable.path.clone(), baud: 300, format: "7E1".into(), fixed: false };
    let (mut link, port) = pair();
    let _task = tokio::spawn(run(settings, port));
    assert_eq!(next(&mut link).await, Event::Up);
    let write = Op::Write { id: OpId(1), channel: Channel::new("meter/"), payload: Bytes::from_static(b"x") };
    link.ops.send(write).await.unwrap();
    assert!(matches!(next(&mut link).await, Event::Done { result: Err(Failure::Refused(_)), .. }));

    link.ops.send(ask(2)).await.unwrap();
    cable.hear("/?!\r\n").await;
    assert_eq!(speed(&cable), 300);
    let identified = Instant::now();
    cable.say(b"/?!\r\n/ABC5METER\r\n"); // the head echoes
    cable.hear("\x06050\r\n").await;
    assert!(identified.elapsed() >= Duration::from_millis(200), "the meter needs a moment");
    while speed(&cable) != 9600 {
        sleep(Duration::from_millis(5)).await;
    }
    let mut wrong = BLOCK.to_vec();
    wrong[8] ^= 1;
    cable.say(&wrong);
    cable.hear("\x15").await;
    cable.say(&BLOCK[..7]);
    cable.say(&BLOCK[7..]);
    let payload = Bytes::from_static(b"1.8.0(001234.567*kWh)\r\n!\r\n");
    let read = Event::Read { channel: Channel::new("meter/"), payload, retained: false };
    assert_eq!(next(&mut link).await, read);
    assert_eq!(next(&mut link).await, Event::Done { id: OpId(2), result: Ok(()) });

    // The next one begins where the standard begins; the cable is pulled in the middle of it.
    link.ops.send(ask(3)).await.unwrap();
    cable.hear("/?!\r\n").await;
    assert_eq!(speed(&cable), 300);
    cable.pull();
    assert_eq!(next(&mut link).await, Event::Done { id: OpId(3), result: Err(Failure::Broken) });
    let words = down(&mut link).await;
    assert!(words.contains("was the cable pulled?"), "{words}");
    cable.plug();
    while next(&mut link).await != Event::Up {}
}

//! The desk without a port.

use sipliance_driver::{Checksum, Cut, Framing, Wake};
use tokio::sync::mpsc;

use super::*;

struct Bench {
    desk: Desk,
    outbox: Outbox,
    events: mpsc::Receiver<Event>,
    now: Instant,
}

fn bench(gap_ms: u64) -> Bench {
    let framing = Framing {
        cut: Cut::End(b":".to_vec()),
        send_end: b"\r".to_vec(),
        trim: b"\r\n".to_vec(),
        ..Framing::lines()
    };
    with(Settings { framing, gap: Duration::from_millis(gap_ms), ..Settings::new("/dev/null") })
}

fn with(settings: Settings) -> Bench {
    let (tx, events) = mpsc::channel(256);
    Bench { desk: Desk::new(settings), outbox: Outbox::new(tx), events, now: Instant::now() }
}

impl Bench {
    fn ask(&mut self, id: u64, payload: &'static str) {
        let channel = Channel::new("power");
        let op = Op::Ask { id: OpId(id), channel, payload: payload.into(), timeout: Duration::from_secs(3) };
        self.desk.op(op, self.now, &mut self.outbox);
    }

    fn write(&mut self, id: u64, payload: &'static str) {
        let op = Op::Write { id: OpId(id), channel: Channel::new("tx"), payload: payload.into() };
        self.desk.op(op, self.now, &mut self.outbox);
    }

    fn sent(&mut self) -> Vec<u8> {
        let bytes = self.desk.out.split().to_vec();
        self.desk.taken(self.now);
        bytes
    }

    fn wait(&mut self, unsent: usize) -> Result<(), Stuck> {
        self.now = self.desk.deadline().expect("something to wait for");
        self.desk.tick(unsent, self.now, &mut self.outbox)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

fn read(channel: &str, payload: &'static str) -> Event {
    Event::Read { channel: Channel::new(channel), payload: payload.into(), retained: false }
}

fn done(id: u64, result: Result<(), Failure>) -> Event {
    Event::Done { id: OpId(id), result }
}

#[test]
fn questions_go_one_by_one_with_a_gap_and_frames_between_are_unsolicited() {
    let mut b = bench(100);
    b.ask(1, "PWR?");
    b.ask(2, "LAMP?");
    assert_eq!(b.sent(), b"PWR?\r");
    b.desk.received(b"PWR=01\r:ALERT:", b.now, &mut b.outbox);
    assert_eq!(b.events(), [read("power", "PWR=01"), done(1, Ok(())), read("rx", "ALERT")]);
    assert_eq!(b.sent(), b"", "the line rests");
    let before = b.now;
    b.wait(0).unwrap();
    assert_eq!(b.now - before, Duration::from_millis(100));
    assert_eq!(b.sent(), b"LAMP?\r");
    b.wait(0).unwrap();
    assert_eq!(b.events(), [done(2, Err(Failure::Timeout))]);
    b.desk.received(b"LAMP=812:", b.now, &mut b.outbox);
    assert_eq!(b.events(), [read("rx", "LAMP=812")], "a late answer is no answer");
}

#[test]
fn a_write_is_done_when_its_bits_have_left() {
    let mut b = bench(0);
    b.write(1, "PWR ON");
    b.write(2, "PWR OFF");
    let began = b.now;
    assert_eq!(b.sent(), b"PWR ON\r");
    b.wait(3).unwrap();
    assert!(b.now - began >= Duration::from_millis(7), "7 bytes at 9600 baud take {:?}", b.now - began);
    assert_eq!(b.events(), []);
    b.wait(0).unwrap();
    assert_eq!(b.events(), [done(1, Ok(()))]);
    assert_eq!(b.sent(), b"PWR OFF\r");
}

#[test]
fn a_port_that_takes_nothing_is_stuck_and_the_rest_was_never_sent() {
    let mut b = bench(0);
    b.write(1, "A");
    b.write(2, "B");
    let mut result = Ok(());
    for _ in 0..10_000 {
        result = b.wait(2);
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, Err(Stuck));
    b.desk.fail(&mut b.outbox);
    assert_eq!(b.events(), [done(1, Err(Failure::Timeout)), done(2, Err(Failure::NotConnected))]);
    assert!(b.desk.out.is_empty());
}

#[test]
fn what_waited_too_long_is_not_done_late() {
    let mut b = bench(0);
    let channel = Channel::new("power");
    let timeout = MAX_WAIT + Duration::from_secs(1);
    let ask = Op::Ask { id: OpId(1), channel, payload: "PWR ON".into(), timeout };
    b.desk.op(ask, b.now, &mut b.outbox);
    b.write(2, "OPEN");
    b.sent();
    b.wait(0).unwrap();
    assert_eq!(b.events(), [done(1, Err(Failure::Timeout)), done(2, Err(Failure::Busy))]);
    assert_eq!(b.sent(), b"");
}

#[test]
fn a_full_queue_is_busy() {
    let mut b = bench(0);
    (0..=OP_QUEUE as u64 + 1).for_each(|id| b.write(id, "A"));
    assert_eq!(b.events(), [done(OP_QUEUE as u64 + 1, Err(Failure::Busy))]);
}

#[test]
fn an_echo_is_no_answer_and_what_differs_is_none() {
    let mut b = bench(0);
    b.desk.settings.echo = true;
    b.ask(1, "PWR?");
    assert_eq!(b.sent(), b"PWR?\r");
    b.desk.received(b"PW", b.now, &mut b.outbox);
    b.desk.received(b"R?\rPWR=01:", b.now, &mut b.outbox);
    assert_eq!(b.events(), [read("power", "PWR=01"), done(1, Ok(()))]);
    b.ask(2, "LAMP?");
    b.sent();
    b.desk.received(b"LOW:LAMP?\r:", b.now, &mut b.outbox);
    assert_eq!(b.events(), [read("power", "LOW"), done(2, Ok(())), read("rx", "LAMP?")]);
}

#[test]
fn a_sleeping_device_is_roused_once() {
    let ms = Duration::from_millis;
    let mut b = bench(0);
    b.desk.settings.wake = Some(Wake { send: b"\r".to_vec(), after: ms(30_000), wait: ms(100) });
    b.write(1, "A");
    assert_eq!(b.desk.out.split().to_vec(), b"\r");
    let began = b.now;
    b.wait(0).unwrap();
    assert_eq!(b.now - began, ms(100));
    assert_eq!(b.sent(), b"A\r");
    b.wait(0).unwrap();
    b.write(2, "B");
    assert_eq!(b.sent(), b"B\r", "it is awake");
    b.wait(0).unwrap();
    b.now += ms(30_000);
    b.write(3, "C");
    assert_eq!(b.desk.out.split().to_vec(), b"\r");
    b.desk.fail(&mut b.outbox);
    assert_eq!(b.events(), [done(1, Ok(())), done(2, Ok(())), done(3, Err(Failure::NotConnected))]);
}

#[test]
fn silence_ends_a_frame_and_answers_a_question() {
    let gap = Duration::from_millis(20);
    let framing = Framing {
        cut: Cut::Silence(gap),
        checksum: Some(Checksum::Sum8),
        send_end: Vec::new(),
        ..Framing::lines()
    };
    let mut b = with(Settings { framing, ..Settings::new("/dev/null") });
    b.ask(1, "\x01\x02");
    assert_eq!(b.sent(), b"\x01\x02\x03");
    b.desk.received(b"\x05", b.now, &mut b.outbox);
    b.now += Duration::from_millis(10);
    b.desk.received(b"\x06\x0b", b.now, &mut b.outbox);
    assert_eq!(b.events(), []);
    let heard = b.now;
    b.wait(0).unwrap();
    assert_eq!(b.now - heard, gap);
    assert_eq!(b.events(), [read("power", "\x05\x06"), done(1, Ok(()))]);
    assert_eq!(b.desk.deadline(), None, "nothing to wait for");
}

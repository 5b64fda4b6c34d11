//! A wire behaves like a broker, like lines, like a port – and breaks on request.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::conformance::{self, Rig};
use sipliance_driver::{Channel, Event, Exit, Failure, Link, Op, OpId, pair};
use sipliance_driver_sim::{Appliance, Fault, Hand, Settings, Wire, hands, matches, run};

const SECOND: Duration = Duration::from_secs(1);

/// Repeats what is written to `echo/in` on `echo/out`, and answers any question with `pong`.
struct Echo;

impl Appliance for Echo {
    fn handle(&mut self, op: &Op, _now: Duration) -> Vec<Event> {
        let say = |channel: &str, payload: &Bytes, retained| {
            vec![Event::Read { channel: Channel::new(channel), payload: payload.clone(), retained }]
        };
        match op {
            Op::Write { channel, payload, .. } if channel.as_str() == "echo/in" => {
                say("echo/out", payload, false)
            }
            Op::Write { channel, payload, .. } if channel.as_str() == "echo/keep" => {
                say("echo/kept", payload, true)
            }
            Op::Ask { payload, .. } if payload == "ping" => say("rx", &Bytes::from_static(b"pong"), false),
            _ => Vec::new(),
        }
    }

    fn tick(&mut self, _now: Duration) -> Vec<Event> {
        Vec::new()
    }

    fn next(&self) -> Option<Duration> {
        None
    }
}

fn watch(channel: &str) -> Op {
    Op::Watch { channel: Channel::new(channel) }
}

fn write(id: u64, channel: &str, payload: &'static str) -> Op {
    Op::Write { id: OpId(id), channel: Channel::new(channel), payload: payload.into() }
}

fn read(channel: &str, payload: &'static [u8], retained: bool) -> Event {
    Event::Read { channel: Channel::new(channel), payload: payload.into(), retained }
}

fn done(id: u64, result: Result<(), Failure>) -> Event {
    Event::Done { id: OpId(id), result }
}

fn events(wire: &mut Wire, now: Duration) -> Vec<Event> {
    std::iter::from_fn(|| wire.poll(now)).collect()
}

fn echo() -> Wire {
    let mut wire = Wire::broker(vec![Box::new(Echo)]);
    wire.begin(Duration::ZERO);
    assert_eq!(events(&mut wire, Duration::ZERO), [Event::Up]);
    wire
}

#[test]
fn a_broker_keeps_retained_payloads_for_later_watchers() {
    let mut wire = echo();
    wire.op(watch("echo/out"), SECOND);
    wire.op(write(1, "echo/in", "hi"), SECOND);
    wire.op(write(2, "echo/keep", "kept"), SECOND);
    let said = events(&mut wire, SECOND);
    assert_eq!(said, [done(1, Ok(())), read("echo/out", b"hi", false), done(2, Ok(()))]);
    wire.op(watch("echo/+"), SECOND);
    assert_eq!(events(&mut wire, SECOND), [read("echo/kept", b"kept", true)]);
}

#[test]
fn faults_break_the_wire_and_a_mended_wire_watches_again() {
    let mut wire = echo();
    wire.op(watch("echo/out"), SECOND);
    wire.op(write(1, "echo/keep", "kept"), SECOND);
    wire.op(watch("echo/kept"), SECOND);
    events(&mut wire, SECOND);

    wire.fault(None, Some(Fault::Unplugged), SECOND);
    wire.op(write(2, "echo/in", "lost"), SECOND);
    let said = events(&mut wire, SECOND);
    assert!(
        matches!(&said[..], [Event::Down(_), Event::Done { result: Err(Failure::NotConnected), .. }]),
        "{said:?}"
    );
    wire.fault(None, None, SECOND);
    assert_eq!(events(&mut wire, SECOND), [Event::Up, read("echo/kept", b"kept", true)]);

    wire.fault(None, Some(Fault::Silent), SECOND);
    wire.op(write(3, "echo/in", "unheard"), SECOND);
    assert_eq!(events(&mut wire, SECOND), [done(3, Ok(()))]);

    wire.fault(None, Some(Fault::Garbled), SECOND);
    wire.op(write(4, "echo/in", "text"), SECOND);
    assert_eq!(events(&mut wire, SECOND), [done(4, Ok(())), read("echo/out", b"\xffte", false)]);

    wire.fault(None, Some(Fault::Late(2 * SECOND)), SECOND);
    wire.op(write(5, "echo/in", "late"), SECOND);
    assert_eq!(events(&mut wire, 2 * SECOND), []);
    assert_eq!(wire.next(), Some(3 * SECOND));
    wire.fault(None, Some(Fault::Unplugged), 2 * SECOND);
    let said = events(&mut wire, 3 * SECOND);
    assert!(said.contains(&done(5, Err(Failure::Broken))), "{said:?}");
}

#[test]
fn a_serial_port_answers_on_the_channel_of_the_question() {
    let mut wire = Wire::serial(vec![Box::new(Echo)], false);
    let ask = |id, payload: &'static str| Op::Ask {
        id: OpId(id),
        channel: Channel::new("power"),
        payload: payload.into(),
        timeout: SECOND,
    };
    wire.op(ask(1, "ping"), Duration::ZERO);
    assert_eq!(events(&mut wire, Duration::ZERO), [read("power", b"pong", false), done(1, Ok(()))]);
    wire.op(ask(2, "who?"), Duration::ZERO);
    assert_eq!(events(&mut wire, Duration::ZERO), []);
    assert_eq!(events(&mut wire, SECOND), [done(2, Err(Failure::Timeout))]);
}

#[test]
fn filters_match_as_in_mqtt() {
    for (filter, topic) in [("a/#", "a"), ("a/#", "a/b/c"), ("+/b", "a/b"), ("#", "a"), ("a/+/c", "a//c")] {
        assert!(matches(filter, topic), "{filter} {topic}");
    }
    for (filter, topic) in [("a/+", "a"), ("+", "a/b"), ("#", "$SYS/x"), ("a", "b"), ("a/b", "a")] {
        assert!(!matches(filter, topic), "{filter} {topic}");
    }
}

struct Demo {
    hand: Option<Hand>,
}

/// Says the time once a second.
struct Clock(Duration);

impl Appliance for Clock {
    fn handle(&mut self, _op: &Op, _now: Duration) -> Vec<Event> {
        Vec::new()
    }

    fn tick(&mut self, now: Duration) -> Vec<Event> {
        self.0 = now + SECOND;
        vec![read("clock", b"tick", false)]
    }

    fn next(&self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Rig for Demo {
    fn start(&mut self) -> (Link, tokio::task::JoinHandle<Exit>) {
        let (hand, hands) = hands();
        self.hand = Some(hand);
        let wire = Wire::broker(vec![Box::new(Clock(Duration::ZERO))]);
        let (link, port) = pair();
        (link, tokio::spawn(run(Settings { wire, hands, speed: 10 }, port)))
    }

    fn channel(&self) -> Channel {
        Channel::new("clock")
    }

    fn payload(&self) -> Bytes {
        Bytes::from_static(b"{}")
    }

    fn publishes(&self) -> bool {
        true
    }

    async fn speak(&mut self) {} // it does by itself

    async fn cut(&mut self) {
        self.hand.as_ref().unwrap().fault(None, Some(Fault::Unplugged)).unwrap();
    }

    async fn mend(&mut self) {
        self.hand.as_ref().unwrap().fault(None, None).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_every_promise_of_a_driver() {
    conformance::check(&mut Demo { hand: None }).await.unwrap();
}

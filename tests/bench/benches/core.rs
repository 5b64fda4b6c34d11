//! The core without sockets: reading, one subscription, one change to many watchers.
//!
//! `cargo bench -p sipliance-bench`

// Benchmarks may fail loudly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use sipliance::config::LinkId;
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::FlowId;
use sipliance::sip::auth::{self, Login};
use sipliance::sip::wire::check::request_fault;
use sipliance::sip::wire::{Message, write};
use sipliance::timer::Now;
use sipliance_driver::{Channel, Event};

#[path = "../../world/home.rs"]
#[allow(dead_code, reason = "only the house is needed here")]
mod home;

fn main() {
    divan::main();
}

/// A gateway with a virtual clock, and a phone whose proofs it takes.
struct Rig {
    gateway: Gateway,
    now: Now,
    challenge: Bytes,
    count: u32,
}

fn addr(number: usize) -> SocketAddr {
    format!("198.51.100.7:{}", 1024 + number % 60_000).parse().unwrap()
}

impl Rig {
    fn new() -> Self {
        let now = Now { mono: Instant::now(), wall_ms: 1_790_000_000_000 };
        let gateway = Gateway::new(home::config(None), [5; 32], now);
        let mut rig = Self { gateway, now, challenge: Bytes::new(), count: 0 };
        rig.drive(Event::Up);
        rig.read("tele/plug/LWT", "Online");
        rig.read("stat/plug/POWER", "OFF");
        let first = rig.subscribe(0, 0, false);
        let answers = rig.datagram(0, &first);
        rig.challenge = answers.into_iter().find(|bytes| bytes.starts_with(b"SIP/2.0 401")).unwrap();
        rig
    }

    /// A SUBSCRIBE of watcher `number`, signed unless it is the first.
    fn subscribe(&mut self, number: usize, expires: u32, signed: bool) -> Vec<u8> {
        let uri = "sip:plug@home.example";
        let proof = if signed {
            self.count += 1;
            let login = Login { user: "anna", password: home::password("anna") };
            let challenge = Message::parse(&self.challenge).unwrap();
            auth::answer(&challenge, login, "SUBSCRIBE", uri, "cnonce", self.count).unwrap().field
        } else {
            String::new()
        };
        let serial = self.count;
        format!(
            "SUBSCRIBE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {at};branch=z9hG4bKb{serial};rport\r\nMax-Forwards: 70\r\nFrom: <sip:anna@home.example>;tag=t{number}\r\nTo: <{uri}>\r\nCall-ID: c{serial}\r\nCSeq: 1 SUBSCRIBE\r\nContact: <sip:w{number}@{at}>\r\nEvent: appliance\r\nExpires: {expires}\r\nUser-Agent: bench\r\n{proof}Content-Length: 0\r\n\r\n",
            at = addr(number)
        )
        .into_bytes()
    }

    fn datagram(&mut self, number: usize, bytes: &[u8]) -> Vec<Bytes> {
        let (local, from) = ("192.0.2.1:5060".parse().unwrap(), addr(number));
        self.gateway.handle(Input::Datagram { flow: FlowId(1), local, from, bytes }, self.now);
        self.drain()
    }

    fn drive(&mut self, event: Event) -> Vec<Bytes> {
        self.gateway.handle(Input::Driver { link: LinkId(0), event }, self.now);
        self.drain()
    }

    fn read(&mut self, channel: &str, payload: &str) -> Vec<Bytes> {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        self.drive(Event::Read { channel: Channel::new(channel), payload, retained: false })
    }

    fn drain(&mut self) -> Vec<Bytes> {
        let sent = |output| match output {
            Output::Send { bytes, .. } => Some(bytes),
            _ => None,
        };
        std::iter::from_fn(|| self.gateway.poll()).filter_map(sent).collect()
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall_ms += i64::try_from(time.as_millis()).unwrap();
        self.gateway.handle(Input::Deadline, self.now);
        self.drain();
    }

    /// The 200s of the watchers.
    fn answers(&self, sent: &[Bytes]) -> Vec<Vec<u8>> {
        let answer = |bytes: &Bytes| {
            let message = Message::parse(bytes).unwrap();
            message.request().map(|_| write::response(&message, 200, "OK", None, None).finish())
        };
        sent.iter().filter_map(answer).collect()
    }

    fn watchers(count: usize) -> Self {
        let mut rig = Self::new();
        for number in 0..count {
            let request = rig.subscribe(number, 3600, true);
            let sent = rig.datagram(number, &request);
            for answer in rig.answers(&sent) {
                rig.datagram(number, &answer);
            }
        }
        assert_eq!(rig.gateway.status(rig.now).subscriptions, count);
        rig
    }
}

#[divan::bench]
fn parse_a_subscribe(bencher: Bencher<'_, '_>) {
    let bytes = Rig::new().subscribe(1, 600, true);
    bencher.counter(ItemsCount::new(1usize)).bench(|| {
        let message = Message::parse(black_box(&bytes)).unwrap();
        black_box(request_fault(&message))
    });
}

#[divan::bench]
fn challenge_a_stranger(bencher: Bencher<'_, '_>) {
    let rig = RefCell::new(Rig::new());
    let request = rig.borrow_mut().subscribe(1, 600, false);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| rig.borrow_mut().datagram(1, &request));
}

/// SUBSCRIBE, 200, NOTIFY, its 200: a fetch, so that nothing piles up.
#[divan::bench]
fn subscribe_and_notify(bencher: Bencher<'_, '_>) {
    let rig = RefCell::new(Rig::new());
    bencher
        .counter(ItemsCount::new(1usize))
        .with_inputs(|| rig.borrow_mut().subscribe(1, 0, true))
        .bench_local_values(|request| {
            let mut rig = rig.borrow_mut();
            let sent = rig.datagram(1, &request);
            let answers = rig.answers(&sent);
            answers.iter().map(|answer| rig.datagram(1, answer).len()).sum::<usize>()
        });
    assert_eq!(rig.borrow().gateway.status(rig.borrow().now).subscriptions, 0);
}

/// One change of the plug, heard by so many watchers, each of whom answers.
#[divan::bench(args = [1_000, 5_000], sample_count = 20, sample_size = 1)]
fn one_change(bencher: Bencher<'_, '_>, watchers: usize) {
    let rig = RefCell::new(Rig::watchers(watchers));
    let on = Cell::new(false);
    bencher
        .counter(ItemsCount::new(watchers))
        .with_inputs(|| rig.borrow_mut().pass(Duration::from_secs(40)))
        .bench_local_values(|()| {
            let mut rig = rig.borrow_mut();
            on.set(!on.get());
            let sent = rig.read("stat/plug/POWER", if on.get() { "ON" } else { "OFF" });
            assert_eq!(sent.len(), watchers);
            for (number, answer) in rig.answers(&sent).iter().enumerate() {
                rig.datagram(number, answer);
            }
        });
}

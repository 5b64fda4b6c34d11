//! Packets, connections, broker payloads and time, in any order: nothing moves, nobody is shut out.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sipliance::config::{Config, LinkId};
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::{FlowId, Transport};
use sipliance::timer::Now;
use sipliance_driver::{Channel, Event, Op, Why};

#[path = "../../world/home.rs"]
#[allow(dead_code)]
mod home;

fn config() -> Arc<Config> {
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    CONFIG.get_or_init(|| home::config(Some("udp"))).clone()
}

fn drain(gateway: &mut Gateway) -> Vec<Bytes> {
    let mut sent = Vec::new();
    while let Some(output) = gateway.poll() {
        match output {
            Output::Send { bytes, .. } => sent.push(bytes),
            Output::Drive { op: Op::Write { channel, payload, .. }, .. } => {
                assert!(payload.is_empty() || !channel.as_str().ends_with("/POWER"), "{channel} {payload:?}");
            }
            _ => {}
        }
    }
    sent
}

const TOPICS: [&str; 5] = ["stat/plug/POWER", "tele/plug/LWT", "tele/plug/SENSOR", "cmnd/plug/POWER", "stat/lamp/POWER"];

fuzz_target!(|script: Vec<(u8, u16, Vec<u8>)>| {
    let mut now = Now { mono: Instant::now(), wall_ms: 1_790_000_000_000 };
    let mut gateway = Gateway::new(config(), [9; 32], now);
    drain(&mut gateway);
    let local = "192.0.2.1:5060".parse().unwrap();
    for (kind, number, bytes) in script.iter().take(64) {
        let from = format!("198.51.100.{}:5060", number % 4 + 1).parse().unwrap();
        let flow = FlowId(10 + u64::from(number % 4));
        let input = match kind % 8 {
            0 | 1 => Input::Datagram { flow: FlowId(1), local, from, bytes },
            2 => Input::Opened { flow, transport: Transport::Tcp, local, peer: from, upstream: None },
            3 => Input::Stream { flow, bytes },
            4 => Input::Closed { flow, why: "over".into() },
            5 => {
                let channel = Channel::new(TOPICS[usize::from(number % 5)]);
                let payload = Bytes::copy_from_slice(bytes);
                Input::Driver { link: LinkId(0), event: Event::Read { channel, payload, retained: number % 2 == 0 } }
            }
            6 if number % 2 == 0 => Input::Driver { link: LinkId(0), event: Event::Up },
            6 => Input::Driver { link: LinkId(0), event: Event::Down(Why::new("gone")) },
            _ => {
                let wait = Duration::from_millis(u64::from(*number) * 10);
                now.mono += wait;
                now.wall_ms += i64::from(*number) * 10;
                Input::Deadline
            }
        };
        gateway.handle(input, now);
        drain(&mut gateway);
        assert!(gateway.next_deadline().is_none_or(|at| at > now.mono), "a deadline that has passed remains set");
    }
    let options = b"OPTIONS sip:home.example SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.9;branch=z9hG4bKend\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:home.example>\r\nCall-ID: end\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    let from = "198.51.100.9:5060".parse().unwrap();
    gateway.handle(Input::Datagram { flow: FlowId(1), local, from, bytes: options }, now);
    assert!(drain(&mut gateway).iter().any(|bytes| bytes.starts_with(b"SIP/2.0 200")));
});

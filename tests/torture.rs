//! Every message of tests/torture through the gateway, over UDP and over TCP, without a socket; with
//! `SIP_CORPUS=folder` the messages there as well. The table of dues says what a user agent owes each.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::{FlowId, Transport};
use sipliance::timer::Now;

#[path = "world/home.rs"]
#[allow(dead_code, reason = "only the house is needed here")]
mod home;

/// What a well-formed request of a stranger may be told.
const ACCEPTED: [u16; 18] =
    [200, 202, 401, 403, 404, 405, 407, 415, 420, 480, 481, 483, 486, 488, 489, 501, 603, 604];

struct Bench {
    gateway: Gateway,
    start: Instant,
    ms: u64,
    flows: u64,
}

/// What came back: status codes, and whether the connection was closed.
#[derive(Debug, Default)]
struct Heard {
    statuses: Vec<u16>,
    closed: bool,
    drove: bool,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        let now = Now { mono: start, wall_ms: 1_790_000_000_000 };
        let mut bench =
            Self { gateway: Gateway::new(home::config(None), [3; 32], now), start, ms: 0, flows: 10 };
        bench.hear(FlowId(0));
        bench
    }

    fn now(&self) -> Now {
        let ms = i64::try_from(self.ms).unwrap();
        Now { mono: self.start + Duration::from_millis(self.ms), wall_ms: 1_790_000_000_000 + ms }
    }

    fn udp(&mut self, bytes: &[u8]) -> Heard {
        self.ms += 100;
        let (local, from) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:5060".parse().unwrap());
        self.gateway.handle(Input::Datagram { flow: FlowId(1), local, from, bytes }, self.now());
        self.hear(FlowId(1))
    }

    /// On a connection of its own, at once or byte by byte.
    fn tcp(&mut self, bytes: &[u8], pieces: usize) -> Heard {
        self.ms += 100;
        self.flows += 1;
        let flow = FlowId(self.flows);
        let (local, peer) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:40000".parse().unwrap());
        let opened = Input::Opened { flow, transport: Transport::Tcp, local, peer, upstream: None };
        self.gateway.handle(opened, self.now());
        let mut heard = Heard::default();
        for piece in bytes.chunks(pieces) {
            self.gateway.handle(Input::Stream { flow, bytes: piece }, self.now());
            let more = self.hear(flow);
            heard.statuses.extend(more.statuses);
            heard.closed |= more.closed;
            heard.drove |= more.drove;
        }
        self.gateway.handle(Input::Closed { flow, why: "over".into() }, self.now());
        self.hear(flow);
        heard
    }

    fn hear(&mut self, flow: FlowId) -> Heard {
        let mut heard = Heard::default();
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Send { hop, bytes } if hop.flow == flow => {
                    let text = String::from_utf8_lossy(&bytes);
                    if let Some(status) = text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)) {
                        heard.statuses.extend(status.parse::<u16>().ok().filter(|status| *status >= 200));
                    }
                }
                Output::Close { flow: closed } => heard.closed |= closed == flow,
                Output::Drive { op, .. } | Output::Relay { op, .. } => heard.drove |= op.id().is_some(),
                Output::Send { .. }
                | Output::Audit { .. }
                | Output::Answer { .. }
                | Output::Keep { .. }
                | Output::Record { .. }
                | Output::Tell(_)
                | Output::Connect { .. } => {}
            }
        }
        heard
    }

    fn answers_options(&mut self) -> bool {
        let text = "OPTIONS sip:home.example SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKalive\r\nFrom: <sip:x@y>;tag=1\r\nTo: <sip:home.example>\r\nCall-ID: alive\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
        self.udp(text.as_bytes()).statuses == [200]
    }
}

/// Due over UDP and over TCP, by name.
fn dues() -> BTreeMap<String, [String; 2]> {
    let text = fs::read_to_string(folder().join("dues.tsv")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('\t').collect();
        (cells[0].to_owned(), [cells[2].to_owned(), cells[3].to_owned()])
    };
    text.lines().filter(|line| !line.starts_with('#')).map(row).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn messages(under: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(under).unwrap() {
        let path = entry.unwrap().path();
        let end = path.extension().map(|end| end.to_string_lossy().into_owned());
        if path.is_dir() {
            messages(&path, found);
        } else if matches!(end.as_deref(), Some("sip" | "dat")) {
            found.push(path);
        }
    }
    found.sort();
}

fn is_due(due: &str, heard: &Heard) -> bool {
    let once = heard.statuses.len() == 1;
    due.split(' ').any(|word| match word {
        "any" => true,
        "silence" => heard.statuses.is_empty(),
        "accept" => {
            !heard.statuses.is_empty() && heard.statuses.iter().all(|status| ACCEPTED.contains(status))
        }
        "once" => once,
        status => once && heard.statuses.first() == status.parse().ok().as_ref(),
    })
}

fn torment(name: &str, bytes: &[u8], dues: &[String; 2]) -> Vec<String> {
    let mut bench = Bench::new();
    let mut wrong = Vec::new();
    let mut judge = |how: &str, due: &str, heard: &Heard| {
        if !is_due(due, heard) || heard.drove {
            wrong.push(format!("{name} over {how}: due {due}, got {heard:?}"));
        }
    };
    let heard = bench.udp(bytes);
    judge("UDP", &dues[0], &heard);
    let heard = bench.tcp(bytes, bytes.len().max(1));
    judge("TCP", &dues[1], &heard);
    let slow = bench.tcp(bytes, 1);
    judge("TCP byte by byte", &dues[1], &slow);
    if heard.statuses != slow.statuses {
        wrong.push(format!("{name}: {heard:?} at once, {slow:?} byte by byte"));
    }
    if !bench.answers_options() {
        wrong.push(format!("{name}: OPTIONS is not answered afterwards"));
    }
    wrong
}

#[test]
fn every_message_gets_its_due() {
    let dues = dues();
    let mut found = Vec::new();
    messages(&folder(), &mut found);
    assert_eq!(found.len(), dues.len());
    let mut wrong = Vec::new();
    for path in found {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        wrong.extend(torment(&name, &fs::read(&path).unwrap(), &dues[&name]));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_corpus_from_elsewhere_is_survived() {
    let Some(corpus) = std::env::var_os("SIP_CORPUS") else { return };
    let dues = dues();
    let any = ["any".to_owned(), "any".to_owned()];
    let mut found = Vec::new();
    messages(Path::new(&corpus), &mut found);
    assert!(!found.is_empty(), "SIP_CORPUS holds no message");
    let mut wrong = Vec::new();
    for path in found {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let bytes = on_the_wire(&fs::read(&path).unwrap());
        wrong.extend(torment(&name, &bytes, dues.get(&name).unwrap_or(&any)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Archives keep some messages with bare LF, lengths that do not fit those, or without the closing
/// blank line.
fn on_the_wire(raw: &[u8]) -> Vec<u8> {
    if raw.windows(4).any(|four| four == b"\r\n\r\n") {
        return raw.to_vec();
    }
    if raw.windows(2).any(|two| two == b"\r\n") {
        return [raw.trim_ascii_end(), b"\r\n\r\n"].concat();
    }
    let text = String::from_utf8_lossy(raw).replace('\n', "\r\n");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.trim_end(), ""));
    let length = |line: &str| match line.to_ascii_lowercase().starts_with("content-length") {
        true => format!("Content-Length: {}", body.len()),
        false => line.to_owned(),
    };
    let head: Vec<String> = head.split("\r\n").map(length).collect();
    format!("{}\r\n\r\n{body}", head.join("\r\n")).into_bytes()
}

/// Every message cut short anywhere, and with each byte made wrong.
#[test]
fn no_message_is_fatal_when_it_is_damaged() {
    let mut found = Vec::new();
    messages(&folder(), &mut found);
    let mut bench = Bench::new();
    for path in found {
        let bytes = fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] = wrong[at].wrapping_add(1 + (at % 250) as u8);
            assert!(!bench.udp(&wrong).drove);
            if at % 7 == 0 {
                assert!(!bench.udp(&bytes[..at]).drove);
                assert!(!bench.tcp(&wrong, 97).drove);
            }
        }
    }
    assert!(bench.answers_options());
}

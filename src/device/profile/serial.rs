//! `link:` of what hangs on a serial port: frames, Modbus RTU and P1 telegrams.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Checksum, Cut, Framing, Wake};

use super::registers::{Order, Unit, order, value_of};
use super::typed::{fault, hex_bytes, pattern, wire};
use super::{MeterNeeds, ModbusNeeds, Query, SerialNeeds, words};
use crate::config::fault::Faults;
use crate::config::yaml::{MapReader, Node};
use crate::config::{MeterSettings, SerialSettings};
use crate::limits::PROFILE_STEPS;

/// Speed and format of most appliances.
const USUAL: (u32, &str) = (9600, "8N1");

/// Silence that ends an unfinished frame of known length, where nothing is said.
const GAP: Duration = Duration::from_millis(100);

/// How long a device needs after it was roused, where nothing is said.
const WAKE_WAIT: Duration = Duration::from_millis(100);

/// `link:` of a serial profile.
///
/// `hex` is told even where the rest is faulty: how texts are spelled.
pub(super) fn serial(node: &Node, path: &str, hex: &mut bool, faults: &mut Faults) -> Option<SerialNeeds> {
    let mut map = MapReader::of(&words::LINK_SERIAL, node, path, faults)?;
    *hex = map.one_of("encoding", faults) == Some("hex");
    let hex = *hex;
    let (baud, format) = line(&mut map, USUAL, faults);
    let frame = map.require("frame", faults).and_then(|node| frame(node, hex, &map.at("frame"), faults));
    let checksum = map.one_of("checksum", faults).and_then(|word| value_of(word, &Checksum::WORDS));
    let trim = bytes_of(&mut map, "trim", hex, faults).unwrap_or_default();
    let gap = map.duration("gap", faults).unwrap_or(Duration::ZERO);
    let timeout = map.duration("timeout", faults).unwrap_or(Duration::from_secs(1));
    let retries = map.whole("retries", faults).unwrap_or(0);
    let echo = map.bool("echo", faults).unwrap_or(false);
    let wake = map.take("wake").and_then(|node| wake(node, hex, &map.at("wake"), faults));
    let hello = hello(&mut map, hex, faults);
    let refused = map.take("fault").and_then(|node| pattern(node, &map.at("fault"), faults));
    map.finish(faults);
    let (cut, send_end, max) = frame?;
    let settings = SerialSettings {
        path: PathBuf::new(),
        baud,
        format,
        framing: Framing { cut, max, trim, checksum, send_end },
        gap,
        timeout,
        echo,
        wake,
    };
    Some(SerialNeeds { settings, hello, fault: refused, retries: u32::try_from(retries).unwrap_or(0), hex })
}

/// `baud:` and `format:`.
fn line(map: &mut MapReader<'_>, usual: (u32, &str), faults: &mut Faults) -> (u32, String) {
    let baud = map.whole("baud", faults).and_then(|baud| u32::try_from(baud).ok());
    let format = map.take("format").and_then(|node| format_word(node, &map.at("format"), faults));
    (baud.unwrap_or(usual.0), format.unwrap_or_else(|| usual.1.to_owned()))
}

/// `8N1`: data bits, parity, stop bits.
fn format_word(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let word = node.text(path, faults)?.to_ascii_uppercase();
    let ok = matches!(word.as_bytes(), [b'7' | b'8', b'N' | b'E' | b'O', b'1' | b'2']);
    if !ok {
        fault(node, path, format!("`{word}` is no format; write 8N1, 7E1, 8E1 …"), faults);
    }
    ok.then_some(word)
}

/// Bytes of a text, or of hex.
fn bytes_of(map: &mut MapReader<'_>, key: &'static str, hex: bool, faults: &mut Faults) -> Option<Vec<u8>> {
    let node = map.take(key)?;
    said(node, hex, &map.at(key), faults)
}

/// What is sent: a text, or bytes in hex.
pub(super) fn said(node: &Node, hex: bool, path: &str, faults: &mut Faults) -> Option<Vec<u8>> {
    let text = wire(node, path, faults)?;
    if !hex {
        return Some(text.into_bytes());
    }
    hex_bytes(&text).map_err(|why| fault(node, path, why, faults)).ok()
}

fn hello(map: &mut MapReader<'_>, hex: bool, faults: &mut Faults) -> Vec<Bytes> {
    let Some(node) = map.take("hello") else { return Vec::new() };
    let path = map.at("hello");
    let items = node.items(&path, faults).unwrap_or_default();
    if items.len() > PROFILE_STEPS {
        fault(node, &path, format!("at most {PROFILE_STEPS} are possible here"), faults);
    }
    items.iter().filter_map(|(at, item)| said(item, hex, at, faults).map(Bytes::from)).collect()
}

/// `wake: {send: "\r", after: 30s, wait: 100ms}`
fn wake(node: &Node, hex: bool, path: &str, faults: &mut Faults) -> Option<Wake> {
    let mut map = MapReader::of(&words::WAKE, node, path, faults)?;
    let send = map.require("send", faults).and_then(|node| said(node, hex, &map.at("send"), faults));
    let after = map.duration("after", faults).unwrap_or(Duration::ZERO);
    let wait = super::transport::wait(&mut map, "wait", faults).unwrap_or(WAKE_WAIT);
    map.finish(faults);
    Some(Wake { send: send?, after, wait })
}

/// Where a frame ends, what is added to one that is sent, and how long one may be.
fn frame(node: &Node, hex: bool, path: &str, faults: &mut Faults) -> Option<(Cut, Vec<u8>, usize)> {
    let mut map = MapReader::of(&words::FRAME, node, path, faults)?;
    let end = bytes_of(&mut map, "end", hex, faults);
    let send_end = bytes_of(&mut map, "send_end", hex, faults);
    let size = |number: Option<i64>| number.and_then(|number| usize::try_from(number).ok());
    let max = size(map.whole("max", faults)).unwrap_or(1024);
    let length = size(map.whole("length", faults));
    let at = size(map.whole("length_at", faults));
    let width = size(map.whole("length_size", faults));
    let adds = size(map.whole("length_adds", faults));
    let gap = map.duration("gap", faults);
    // A faulty one was told.
    let there = ["end", "length", "length_at", "gap"].into_iter().any(|key| map.take(key).is_some());
    if map.take("length_at").is_none() && (width.is_some() || adds.is_some()) {
        fault(
            node,
            path,
            "`length_size` and `length_adds` need `length_at`, the place of the length",
            faults,
        );
        map.finish(faults);
        return None;
    }
    map.finish(faults);
    let cut = match (end, length, at, gap) {
        (Some(end), None, None, None) if !end.is_empty() => Cut::End(end),
        (None, Some(length), None, gap) => Cut::Length { length, gap: gap.unwrap_or(GAP) },
        (None, None, Some(at), gap) => {
            Cut::Prefix { at, size: width.unwrap_or(1), adds: adds.unwrap_or(0), gap: gap.unwrap_or(GAP) }
        }
        (None, None, None, Some(gap)) => Cut::Silence(gap),
        (Some(end), None, None, None) if end.is_empty() => {
            fault(node, path, "`end:` cannot be empty: it tells where a frame ends", faults);
            return None;
        }
        (None, None, None, None) if there => return None,
        _ => {
            let message = "one of `end`, `length`, `length_at` and `gap` tells where a frame ends";
            fault(node, path, message, faults);
            return None;
        }
    };
    if gap.is_some_and(|gap| gap < Duration::from_millis(2)) {
        fault(node, path, "a gap below 2ms cannot be told from scheduling", faults);
    }
    let send_end = send_end.unwrap_or_else(|| match &cut {
        Cut::End(end) => end.clone(),
        _ => Vec::new(),
    });
    let max = length.map_or(max, |length| max.max(length));
    Some((cut, send_end, max))
}

/// `link:` of a smart meter: nothing is sent, telegrams come by themselves.
pub(super) fn p1(node: Option<&Node>, path: &str, faults: &mut Faults) -> Option<SerialNeeds> {
    let (mut baud, mut format, mut checked) = (115_200, "8N1".to_owned(), true);
    if let Some(node) = node {
        let mut map = MapReader::of(&words::LINK_P1, node, path, faults)?;
        checked = map.one_of("checksum", faults) != Some("none");
        (baud, format) = line(&mut map, (baud, &format), faults);
        map.finish(faults);
    }
    let settings = SerialSettings {
        path: PathBuf::new(),
        baud,
        format,
        framing: Framing {
            cut: Cut::Telegram { checked },
            max: 8192,
            trim: Vec::new(),
            checksum: None,
            send_end: Vec::new(),
        },
        gap: Duration::ZERO,
        timeout: Duration::from_secs(1),
        echo: false,
        wake: None,
    };
    Some(SerialNeeds { settings, hello: Vec::new(), fault: None, retries: 0, hex: false })
}

/// How often a meter is read out where nothing is said, and at most.
const READ_OUT: (Duration, Duration) = (Duration::from_secs(900), Duration::from_secs(60));

/// `link:` of a meter that is read out.
pub(super) fn meter(node: Option<&Node>, path: &str, faults: &mut Faults) -> Option<MeterNeeds> {
    let mut settings =
        MeterSettings { path: PathBuf::new(), baud: 300, format: "7E1".to_owned(), fixed: false };
    let (mut address, mut every, mut retries) = (String::new(), READ_OUT.0, 1);
    if let Some(node) = node {
        let mut map = MapReader::of(&words::LINK_IEC, node, path, faults)?;
        (settings.baud, settings.format) = line(&mut map, (300, "7E1"), faults);
        settings.fixed = map.one_of("speed", faults) == Some("fixed");
        if let Some(node) = map.take("address") {
            address = meter_address(node, &map.at("address"), faults)?;
        }
        if let Some(node) = map.take("every") {
            every = node.duration(&map.at("every"), faults).unwrap_or(every);
            if every < READ_OUT.1 {
                let message = "a read-out takes up to a minute: at most one in `1m`";
                fault(node, &map.at("every"), message, faults);
            }
        }
        let number = map.whole("retries", faults).and_then(|n| u32::try_from(n).ok());
        retries = number.unwrap_or(retries);
        map.finish(faults);
    }
    let channel = Channel::new(&format!("meter/{address}"));
    let query = Query { channel, payload: Bytes::from(format!("/?{address}!\r\n")) };
    Some(MeterNeeds { settings, query: (query, every), retries })
}

/// What tells meters on one line apart; nothing means whoever hears it.
fn meter_address(node: &Node, path: &str, faults: &mut Faults) -> Option<String> {
    let text = node.text(path, faults)?;
    if text == "any" {
        return Some(String::new());
    }
    if text.len() > 32 || !text.chars().all(|c| c.is_ascii_alphanumeric()) {
        let message =
            format!("`{text}` is no address of a meter: write at most 32 letters and digits, or any");
        fault(node, path, message, faults);
        return None;
    }
    Some(text)
}

/// `link:` of a Modbus unit, and what all its values share.
pub(super) fn modbus(node: &Node, path: &str, faults: &mut Faults) -> Option<(ModbusNeeds, Unit)> {
    let mut map = MapReader::of(&words::LINK_MODBUS, node, path, faults)?;
    let unit = map.require("unit", faults).and_then(|node| unit_number(node, &map.at("unit"), faults));
    let (baud, format) = line(&mut map, USUAL, faults);
    let order = order(&mut map, faults).unwrap_or(Order::Abcd);
    let gap = map.duration("gap", faults).unwrap_or(Duration::from_millis(20));
    let timeout = super::transport::wait(&mut map, "timeout", faults).unwrap_or(Duration::from_secs(1));
    let retries = map.whole("retries", faults).and_then(|n| u32::try_from(n).ok()).unwrap_or(1);
    let join = map.whole("join", faults).and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
    map.finish(faults);
    let number = unit?;
    Some((ModbusNeeds { unit: number, baud, format, gap, timeout, retries, join }, Unit { number, order }))
}

/// A param makes a text of the number.
fn unit_number(node: &Node, path: &str, faults: &mut Faults) -> Option<u8> {
    let text = node.text(path, faults)?;
    let number = text.trim().parse::<u8>().ok().filter(|number| (1..=247).contains(number));
    if number.is_none() {
        let help = Some(
            "0 is for everybody at once and answers nothing; single units on TCP are often 1 or 247"
                .to_owned(),
        );
        faults.error(Some(node.place), path, format!("`{text}` is no unit; use 1 to 247"), help);
    }
    number
}

/// How often something is asked.
pub(super) fn every(node: &Node, path: &str, faults: &mut Faults) -> Option<Duration> {
    let every = node.duration(path, faults)?;
    if every < Duration::from_millis(100) {
        fault(node, path, "a query is asked at most ten times a second", faults);
        return None;
    }
    Some(every)
}

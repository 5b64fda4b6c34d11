//! Bytes of a serial port: the same frames however they arrive, none longer than allowed.
#![no_main]

use std::time::Duration;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use sipliance_driver::{Checksum, Cut, Framer, Framing};

const MAX: usize = 128;

fn frames(framing: &Framing, bytes: &[u8], step: usize) -> (Vec<Bytes>, u64) {
    let mut framer = Framer::new(framing.clone());
    let mut frames = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        framer.push(piece);
        frames.extend(std::iter::from_fn(|| framer.frame()));
    }
    frames.extend(framer.silence());
    (frames, framer.take_dropped())
}

fuzz_target!(|input: (u8, u8, u8, &[u8])| {
    let (kind, number, step, bytes) = input;
    // Where a stream is dropped as too long depends on its pieces.
    let bytes = &bytes[..bytes.len().min(MAX)];
    let gap = Duration::from_millis(20);
    let small = usize::from(number % 8);
    let cut = match kind % 6 {
        0 => Cut::End(b"\r\n".to_vec()),
        1 => Cut::Length { length: small + 1, gap },
        2 => Cut::Prefix { at: small, size: 1 + usize::from(number & 1), adds: small, gap },
        3 => Cut::Silence(gap),
        _ => Cut::Telegram { checked: kind % 2 == 0 },
    };
    let checksum = Checksum::WORDS.get(usize::from(number >> 4)).map(|(_, sum)| *sum);
    let framing = Framing { cut, checksum, max: MAX, ..Framing::lines() };
    let whole = frames(&framing, bytes, bytes.len());
    assert!(whole.0.iter().all(|frame| frame.len() <= MAX));
    assert_eq!(whole, frames(&framing, bytes, usize::from(step)));
});

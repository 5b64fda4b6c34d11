//! Bytes into frames and back: how the serial driver cuts what arrives, and how a profile's tests do.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use memchr::memmem;

use crate::checksum::{Checksum, telegram};

/// How a stream of bytes is made of frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Where a frame ends.
    pub cut: Cut,
    /// Longest frame; what is longer is dropped.
    pub max: usize,
    /// Removed from both sides of a received frame, after its checksum.
    pub trim: Vec<u8>,
    /// The last bytes of every frame, both ways.
    pub checksum: Option<Checksum>,
    /// What is added to each frame that is sent, after its checksum.
    pub send_end: Vec<u8>,
}

/// Where a frame ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cut {
    /// At these bytes; they are no part of the frame.
    End(Vec<u8>),
    /// After so many bytes, the checksum included. What is unfinished after `gap` is dropped.
    Length {
        /// Bytes of a frame.
        length: usize,
        /// Silence that ends an unfinished frame.
        gap: Duration,
    },
    /// Where the frame itself says.
    Prefix {
        /// Index of the first byte of the length.
        at: usize,
        /// Bytes of the length, the high one first.
        size: usize,
        /// What the length does not count: it and what stands before and after it.
        adds: usize,
        /// Silence that ends an unfinished frame.
        gap: Duration,
    },
    /// When nothing came for so long.
    Silence(Duration),
    /// A DSMR telegram: from `/` to `!`, then its CRC16 in hex.
    Telegram {
        /// Drop a telegram without a CRC16; a wrong one is dropped in any case.
        checked: bool,
    },
}

/// Bytes that rouse a sleeping device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// What is sent, as it is.
    pub send: Vec<u8>,
    /// Only when nothing was sent for so long.
    pub after: Duration,
    /// How long the device needs before it listens.
    pub wait: Duration,
}

impl Framing {
    /// Lines that end with CR LF, both ways.
    pub fn lines() -> Self {
        Self {
            cut: Cut::End(b"\r\n".to_vec()),
            max: 1024,
            trim: Vec::new(),
            checksum: None,
            send_end: b"\r\n".to_vec(),
        }
    }

    /// A payload as it goes over the wire.
    pub fn wrap(&self, payload: &[u8], out: &mut BytesMut) {
        out.extend_from_slice(payload);
        if let Some(sum) = self.checksum {
            sum.append(out, payload);
        }
        out.extend_from_slice(&self.send_end);
    }

    /// The silence after which [`Framer::silence`] is to be called.
    pub fn gap(&self) -> Option<Duration> {
        match &self.cut {
            Cut::Length { gap, .. } | Cut::Prefix { gap, .. } | Cut::Silence(gap) => Some(*gap),
            Cut::End(_) | Cut::Telegram { .. } => None,
        }
    }

    fn body<'f>(&self, frame: &'f [u8]) -> Option<&'f [u8]> {
        match self.checksum {
            None => Some(frame),
            Some(sum) => sum.checked(frame),
        }
    }
}

/// Cuts a stream into frames. Holds at most one unfinished frame of the longest allowed length, and
/// comes back into step after noise: a frame that is too long or has a wrong checksum is dropped.
#[derive(Debug)]
pub struct Framer {
    framing: Framing,
    held: BytesMut,
    /// Up to here `held` is known to hold no end.
    searched: usize,
    overlong: bool,
    /// The bytes at hand begin no frame; they are dropped one by one until one does.
    lost: bool,
    dropped: u64,
}

/// What the bytes at hand are.
enum Found {
    Frame(Bytes),
    /// Something that is no frame went by.
    Dropped,
    Starved,
}

impl Framer {
    /// Frames as `framing` says.
    pub fn new(framing: Framing) -> Self {
        Self { framing, held: BytesMut::new(), searched: 0, overlong: false, lost: false, dropped: 0 }
    }

    /// Takes bytes from the port.
    pub fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// The next whole frame; call until `None` after each [`Framer::push`].
    pub fn frame(&mut self) -> Option<Bytes> {
        loop {
            let found = match &self.framing.cut {
                Cut::End(_) => self.delimited(),
                Cut::Length { length, .. } => self.measured(*length),
                Cut::Prefix { at, size, adds, .. } => match self.announced(*at, *size, *adds) {
                    Some(total) => self.measured(total),
                    None => Found::Starved,
                },
                Cut::Silence(_) => self.unbounded(),
                Cut::Telegram { checked } => self.telegram(*checked),
            };
            match found {
                Found::Frame(frame) => return Some(frame),
                Found::Dropped => {}
                Found::Starved => return None,
            }
        }
    }

    /// Whether an unfinished frame waits for [`Framing::gap`].
    pub fn waits(&self) -> bool {
        self.framing.gap().is_some() && (!self.held.is_empty() || self.overlong)
    }

    /// Nothing came for [`Framing::gap`]: what is held is a frame, or will never be one.
    pub fn silence(&mut self) -> Option<Bytes> {
        let rest = self.held.split();
        let overlong = std::mem::take(&mut self.overlong);
        (self.searched, self.lost) = (0, false);
        if rest.is_empty() && !overlong {
            return None;
        }
        let whole = matches!(self.framing.cut, Cut::Silence(_)) && !overlong;
        let frame = whole.then(|| self.finished(&rest)).flatten();
        self.dropped += u64::from(frame.is_none());
        frame
    }

    /// How many frames were dropped since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    fn finished(&self, frame: &[u8]) -> Option<Bytes> {
        let body = self.framing.body(frame)?;
        Some(Bytes::copy_from_slice(trimmed(body, &self.framing.trim)))
    }

    fn delimited(&mut self) -> Found {
        let Cut::End(end) = &self.framing.cut else { return Found::Starved };
        let (tail, max) = (end.len().saturating_sub(1), self.framing.max);
        let rest = self.held.get(self.searched..).unwrap_or_default();
        let Some(at) = memmem::find(rest, end) else {
            // An end may still begin in the last bytes.
            if self.held.len() > max + tail {
                self.overlong = true;
                self.held.advance(self.held.len() - tail);
            }
            self.searched = self.held.len().saturating_sub(tail);
            return Found::Starved;
        };
        let length = end.len();
        let frame = self.held.split_to(self.searched + at);
        self.held.advance(length);
        self.searched = 0;
        let overlong = std::mem::take(&mut self.overlong) || frame.len() > max;
        match self.finished(&frame).filter(|_| !overlong) {
            Some(frame) => Found::Frame(frame),
            None => {
                self.dropped += 1;
                Found::Dropped
            }
        }
    }

    /// The whole length that the frame at hand announces; 0 is impossible.
    fn announced(&self, at: usize, size: usize, adds: usize) -> Option<usize> {
        let field = self.held.get(at..at + size)?;
        let length = field.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        let total = length + adds;
        let possible = total >= at + size && total <= self.framing.max;
        Some(if possible { total } else { 0 })
    }

    fn measured(&mut self, length: usize) -> Found {
        if length > 0 && self.held.len() < length {
            return Found::Starved;
        }
        let frame = self.held.get(..length).unwrap_or_default();
        let body = if length == 0 { None } else { self.finished(frame) };
        if let Some(frame) = body {
            self.held.advance(length);
            self.lost = false;
            return Found::Frame(frame);
        }
        // Perhaps the frame begins at the next byte.
        self.held.advance(1.min(self.held.len()));
        self.dropped += u64::from(!self.lost);
        self.lost = true;
        Found::Dropped
    }

    fn unbounded(&mut self) -> Found {
        if self.held.len() > self.framing.max {
            self.overlong = true;
        }
        if self.overlong {
            self.held.clear();
        }
        Found::Starved
    }

    fn telegram(&mut self, checked: bool) -> Found {
        let Some(end) = memchr::memchr(b'!', self.held.get(self.searched..).unwrap_or_default()) else {
            self.searched = self.held.len();
            if self.held.len() > self.framing.max {
                self.held.clear();
                self.searched = 0;
                self.dropped += 1;
            }
            return Found::Starved;
        };
        let end = self.searched + end;
        let after = self.held.get(end + 1..).unwrap_or_default();
        let digits = after.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits < 4 && digits == after.len() {
            self.searched = end;
            return Found::Starved;
        }
        let told = after.get(..4).filter(|_| digits == 4).and_then(|crc| std::str::from_utf8(crc).ok());
        let told = told.and_then(|crc| u16::from_str_radix(crc, 16).ok());
        let whole = self.held.split_to(end + 1);
        self.searched = 0;
        // A telegram that was cut off is followed by the head of the next.
        let start = memchr::memrchr(b'/', &whole);
        let body = start.and_then(|start| whole.get(start..)).filter(|body| body.len() <= self.framing.max);
        let right = |body: &&[u8]| told.map_or(!checked, |told| told == telegram(body));
        match body.filter(right) {
            Some(body) => Found::Frame(Bytes::copy_from_slice(body)),
            None => {
                self.dropped += 1;
                Found::Dropped
            }
        }
    }
}

fn trimmed<'a>(frame: &'a [u8], trim: &[u8]) -> &'a [u8] {
    let keep = |byte: &u8| !trim.contains(byte);
    let Some(first) = frame.iter().position(keep) else { return &[] };
    let last = frame.iter().rposition(keep).unwrap_or(first);
    frame.get(first..=last).unwrap_or_default()
}

/// The CRC16 that ends a DSMR telegram, over everything from `/` to `!`.
pub fn telegram_checksum(telegram_bytes: &[u8]) -> u16 {
    telegram(telegram_bytes)
}

#[cfg(test)]
mod tests;

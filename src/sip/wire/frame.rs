//! Messages out of a byte stream (RFC 3261 §18.3), with the keep-alives of RFC 5626 §4.4.1.

use bytes::{Buf, Bytes, BytesMut};

use super::name::Name;
use super::text::{number, trim};
use crate::limits;

/// What a stream holds next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A whole message.
    Message(Bytes),
    /// `CRLF CRLF`: the peer wants a single CRLF back.
    Ping,
    /// A single CRLF. When the other half of a ping comes later, the ping is said then.
    Pong,
    /// The stream cannot be read further: the head of the offending message, where there is one, so
    /// that it can be answered before the connection is closed.
    Broken(Bytes),
}

/// Collects bytes and cuts them into frames. Never holds more than one message of the largest size.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: BytesMut,
    /// Where the search for the end of the head goes on.
    searched: usize,
    /// Length of the head and of the whole message, once the head is complete.
    sizes: Option<(usize, usize)>,
    /// The last thing was a single CRLF.
    half_ping: bool,
    broken: bool,
    /// We are the client here, who alone pings (RFC 5626 §4.4.1): every CRLF is a pong.
    client: bool,
    /// What many say comes over it: one message that is too large ends it for nobody else, as long as it can be framed.
    many: bool,
}

/// How many times as large as of one peer a message may be on a connection of [`Framer::of_many`].
const MANY: usize = 4;

impl Framer {
    /// For a connection of ours to a server.
    pub fn of_client() -> Self {
        Self { client: true, ..Self::default() }
    }

    /// For a connection over which a server leads what many clients say: answers are larger than what was asked.
    pub fn of_many() -> Self {
        Self { many: true, ..Self::default() }
    }

    fn most(&self, bytes: usize) -> usize {
        if self.many { MANY * bytes } else { bytes }
    }

    /// Adds what was read. After [`Frame::Broken`] everything is ignored.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The next frame, once it is complete.
    pub fn next_frame(&mut self) -> Option<Frame> {
        if self.broken {
            return None;
        }
        if let Some(frame) = self.keepalive() {
            return Some(frame);
        }
        if self.buffer.is_empty() || matches!(&self.buffer[..], b"\r") {
            return None;
        }
        if self.sizes.is_none() {
            match self.head() {
                Head::Incomplete => return None,
                Head::Bad(end) => return Some(self.give_up(end)),
                Head::Complete(head, whole) => self.sizes = Some((head, whole)),
            }
        }
        let (_, whole) = self.sizes?;
        if self.buffer.len() < whole {
            return None;
        }
        self.sizes = None;
        self.searched = 0;
        self.half_ping = false;
        Some(Frame::Message(self.buffer.split_to(whole).freeze()))
    }

    /// Whether a message has begun and is not complete: what a deadline against slow peers watches.
    pub fn is_partial(&self) -> bool {
        !self.broken && !self.buffer.is_empty()
    }

    fn keepalive(&mut self) -> Option<Frame> {
        if self.sizes.is_some() {
            return None;
        }
        if self.client && self.buffer.starts_with(b"\r\n") {
            self.buffer.advance(2);
            return Some(Frame::Pong);
        }
        if self.half_ping && self.buffer.starts_with(b"\r\n") {
            self.half_ping = false;
            self.buffer.advance(2);
            return Some(Frame::Ping);
        }
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.buffer.advance(4);
            return Some(Frame::Ping);
        }
        // A single CRLF may be the first half of a ping: it is a pong only when nothing but a
        // message follows, or nothing at all.
        if self.buffer.starts_with(b"\r\n") && self.buffer.get(2..) != Some(b"\r") {
            self.buffer.advance(2);
            self.half_ping = true;
            return Some(Frame::Pong);
        }
        None
    }

    fn head(&mut self) -> Head {
        let from = self.searched.saturating_sub(3);
        let window = self.buffer.get(from..).unwrap_or_default();
        let Some(found) = end_of_head(window) else {
            self.searched = self.buffer.len();
            return if self.buffer.len() > self.most(limits::HEADER_BYTES) {
                Head::Bad(0)
            } else {
                Head::Incomplete
            };
        };
        let end = from + found;
        if end > self.most(limits::HEADER_BYTES) {
            return Head::Bad(0);
        }
        match content_length(self.buffer.get(..end).unwrap_or_default()) {
            Some(length) if length <= self.most(limits::BODY_BYTES) => Head::Complete(end, end + length),
            _ => Head::Bad(end),
        }
    }

    fn give_up(&mut self, end: usize) -> Frame {
        let head = self.buffer.split_to(end.min(self.buffer.len())).freeze();
        self.buffer = BytesMut::new();
        self.broken = true;
        Frame::Broken(head)
    }
}

enum Head {
    Incomplete,
    /// Length of the head and of the whole message.
    Complete(usize, usize),
    /// Not to be framed; the length of the head, where it ended.
    Bad(usize),
}

/// Just behind the empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..) {
        Some([b'\r', b'\n', ..]) => Some(at + 3),
        Some([b'\n', ..]) => Some(at + 2),
        _ => None,
    })
}

/// The one length that all Content-Length fields agree on. `None` also when there is none: a stream
/// cannot be framed without it.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut length = None;
    for line in head.split(|byte| *byte == b'\n') {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if Name::new(trim(name)) != Name::ContentLength || name.first().is_some_and(u8::is_ascii_whitespace) {
            continue;
        }
        let value = number::<usize>(value)?;
        if length.is_some_and(|length| length != value) {
            return None;
        }
        length = Some(value);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(framer: &mut Framer) -> Vec<Frame> {
        std::iter::from_fn(|| framer.next_frame()).collect()
    }

    #[test]
    fn split_at_every_position() {
        let one = b"OPTIONS sip:h SIP/2.0\r\nl: 3\r\n\r\nabc";
        let stream = [&b"\r\n\r\n"[..], one, b"\r\n", one, one].concat();
        let message = || Frame::Message(Bytes::from_static(one));
        let want = vec![Frame::Ping, message(), Frame::Pong, message(), message()];
        for at in 0..=stream.len() {
            let mut framer = Framer::default();
            framer.push(&stream[..at]);
            let mut got = all(&mut framer);
            framer.push(&stream[at..]);
            got.extend(all(&mut framer));
            // The first half of a ping looks like a pong; the ping and every message are whole all
            // the same.
            got.retain(|frame| *frame != Frame::Pong);
            let want: Vec<_> = want.iter().filter(|frame| **frame != Frame::Pong).cloned().collect();
            assert_eq!(got, want, "{at}");
        }
        let mut framer = Framer::default();
        framer.push(&stream);
        assert_eq!(all(&mut framer), want);
    }

    #[test]
    fn a_server_that_answers_twice_pings_nobody() {
        let mut framer = Framer::of_client();
        for _ in 0..3 {
            framer.push(b"\r\n");
            assert_eq!(all(&mut framer), [Frame::Pong]);
        }
        framer.push(b"\r\n\r");
        assert_eq!(all(&mut framer), [Frame::Pong]);
        framer.push(b"\nOPTIONS sip:h SIP/2.0\r\nl: 0\r\n\r\n");
        assert!(matches!(&all(&mut framer)[..], [Frame::Pong, Frame::Message(_)]));
    }

    #[test]
    fn what_breaks_a_stream() {
        for head in [
            "OPTIONS sip:h SIP/2.0\r\n\r\n",
            "OPTIONS sip:h SIP/2.0\r\nContent-Length: -1\r\n\r\n",
            "A b SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n",
            "A b SIP/2.0\r\nl: 999999\r\n\r\n",
        ] {
            let mut framer = Framer::default();
            framer.push(head.as_bytes());
            assert_eq!(all(&mut framer), [Frame::Broken(Bytes::from(head))], "{head}");
            framer.push(head.as_bytes());
            assert!(all(&mut framer).is_empty());
        }
        let mut framer = Framer::default();
        framer.push(&vec![b'a'; limits::HEADER_BYTES + 1]);
        assert_eq!(all(&mut framer), [Frame::Broken(Bytes::new())]);
    }
}

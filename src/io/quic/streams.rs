//! Which stream belongs to which transaction.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Code;
use crate::limits;
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::wire::text::number;
use crate::sip::wire::{Message, Name, Start};

/// Streams that wait for responses of ours; with one more, the stream is refused.
const OWED: usize = super::STREAMS as usize;
/// Responses that wait for one stream to take them; one more is dropped and counted.
const WAITING: usize = 8;
/// Longest branch that is looked at, in bytes; a message with a longer one is malformed.
const BRANCH: usize = 256;

/// A transaction, as its messages name it (RFC 3261 §17.1.3). There is one peer at a connection, so that it
/// need not be named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    branch: String,
    method: String,
}

/// What a message is, as far as streams are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It opens a stream.
    Request,
    /// It belongs to the stream of its request, with this status.
    Response(u16),
}

impl Key {
    /// Of a message; `None` for what is none, or names no transaction.
    pub(super) fn of(bytes: &[u8]) -> Option<(Self, Kind)> {
        let message = Message::parse(bytes).ok()?;
        let branch = message.via().ok()?.branch().filter(|branch| branch.len() <= BRANCH)?;
        let method = message.cseq()?.method;
        let kind = match message.start {
            // A request whose CSeq names another method is answered, but not with that one's response.
            Start::Request { .. } => Kind::Request,
            Start::Response { status, .. } => Kind::Response(status),
        };
        Some((Self { branch: branch.to_owned(), method: method.to_owned() }, kind))
    }

    /// Nobody answers it (RFC 3261 §17).
    pub(super) fn is_ack(&self) -> bool {
        self.method == "ACK"
    }

    /// It may ring for minutes, and a 2xx may follow another: one from each branch of a fork.
    pub(super) fn is_invite(&self) -> bool {
        self.method == "INVITE"
    }
}

/// The streams of a peer that wait for responses of ours.
#[derive(Debug, Default)]
pub(super) struct Streams {
    owed: HashMap<Key, (u64, mpsc::Sender<Bytes>)>,
    next: u64,
    /// Responses whose stream was gone or did not take them.
    pub(super) dropped: u64,
}

impl Streams {
    /// A request came: its responses are to be read from the receiver. Whoever repeats it on a new stream
    /// gets them there; the receiver of the first then ends. `None`: there is no room.
    pub(super) fn owe(&mut self, key: Key) -> Option<(u64, mpsc::Receiver<Bytes>)> {
        if self.owed.len() >= OWED && !self.owed.contains_key(&key) {
            return None;
        }
        let (to, responses) = mpsc::channel(WAITING);
        self.next += 1;
        self.owed.insert(key, (self.next, to));
        Some((self.next, responses))
    }

    /// The stream of a request is at its end; `turn` is what [`Streams::owe`] gave.
    pub(super) fn forget(&mut self, key: &Key, turn: u64) {
        if self.owed.get(key).is_some_and(|(owed, _)| *owed == turn) {
            self.owed.remove(key);
        }
    }

    /// Gives a response to its stream; false: it is dropped.
    pub(super) fn answer(&mut self, key: &Key, bytes: Bytes) -> bool {
        let sent = self.owed.get(key).is_some_and(|(_, to)| to.try_send(bytes).is_ok());
        self.dropped += u64::from(!sent);
        sent
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.owed.len()
    }
}

/// Cuts the messages of one stream: by Content-Length, as on TCP. Blank lines between them say nothing.
#[derive(Debug, Default)]
pub(super) struct Cutter(Framer);

impl Cutter {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// The next message, once it is complete.
    ///
    /// # Errors
    /// When the stream cannot be read further.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Code> {
        loop {
            return match self.0.next_frame() {
                Some(Frame::Message(bytes)) => Ok(Some(bytes)),
                Some(Frame::Ping | Frame::Pong) => continue,
                // Its head had no end.
                Some(Frame::Broken(head)) if head.is_empty() => Err(Code::TooLong),
                Some(Frame::Broken(head)) => Err(too_long_or_malformed(&head)),
                None => Ok(None),
            };
        }
    }

    /// Whether something came behind the last message.
    pub(super) fn has_more(&self) -> bool {
        self.0.is_partial()
    }
}

/// Why a message with this head cannot be cut: its body is too long, or it does not say how long it is.
fn too_long_or_malformed(head: &[u8]) -> Code {
    let message = Message::parse(head).ok();
    let length = message.and_then(|message| number::<usize>(message.first(Name::ContentLength)?));
    if length.is_some_and(|length| length > limits::BODY_BYTES) { Code::TooLong } else { Code::Malformed }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(branch: &str, method: &str) -> Vec<u8> {
        format!(
            "{method} sip:lamp@home.example SIP/2.0\r\nVia: SIP/2.0/QUIC 192.0.2.1;branch={branch}\r\n\
             Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKother\r\nCSeq: 7 {method}\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes()
    }

    fn key(branch: &str, method: &str) -> Key {
        let (key, kind) = Key::of(&request(branch, method)).expect("a key");
        assert_eq!(kind, Kind::Request);
        key
    }

    #[test]
    fn a_response_finds_the_stream_of_its_request_by_the_topmost_via() {
        let mut streams = Streams::default();
        let (_, mut first) = streams.owe(key("z9hG4bK1", "DO")).expect("room");
        let (_, mut cancel) = streams.owe(key("z9hG4bK1", "CANCEL")).expect("room");
        let response =
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/QUIC 192.0.2.1;branch=z9hG4bK1;received=192.0.2.7\r\n\
                         CSeq: 7 DO\r\nContent-Length: 0\r\n\r\n";
        let (of, kind) = Key::of(response).expect("a key");
        assert_eq!(kind, Kind::Response(200));
        assert!(streams.answer(&of, Bytes::from_static(response)));
        assert_eq!(first.try_recv().expect("its response"), Bytes::from_static(response));
        assert!(cancel.try_recv().is_err());
    }

    #[test]
    fn what_comes_late_is_dropped_and_counted() {
        let mut streams = Streams::default();
        let key = key("z9hG4bK1", "DO");
        let (turn, responses) = streams.owe(key.clone()).expect("room");
        drop(responses);
        assert!(!streams.answer(&key, Bytes::new()));
        streams.forget(&key, turn);
        assert!(!streams.answer(&key, Bytes::new()));
        assert_eq!((streams.dropped, streams.len()), (2, 0));
    }

    #[test]
    fn who_repeats_a_request_is_answered_where_it_was_repeated() {
        let mut streams = Streams::default();
        let key = key("z9hG4bK1", "DO");
        let (before, mut first) = streams.owe(key.clone()).expect("room");
        let (_, mut second) = streams.owe(key.clone()).expect("room");
        assert!(matches!(first.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
        // The first one's end takes nothing from the second.
        streams.forget(&key, before);
        assert!(streams.answer(&key, Bytes::from_static(b"x")));
        assert_eq!(second.try_recv().expect("the response"), Bytes::from_static(b"x"));
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut streams = Streams::default();
        let mut kept = Vec::new();
        for nth in 0..OWED {
            kept.push(streams.owe(key(&format!("z9hG4bK{nth}"), "DO")).expect("room"));
        }
        assert!(streams.owe(key("z9hG4bKmore", "DO")).is_none());
        assert!(streams.owe(key("z9hG4bK0", "DO")).is_some(), "a repetition takes no new place");
        let last = key("z9hG4bK1", "DO");
        let taken = (0..WAITING + 3).filter(|_| streams.answer(&last, Bytes::new())).count();
        assert_eq!((taken, streams.dropped), (WAITING, 3));
    }

    #[test]
    fn what_names_no_transaction_has_no_stream() {
        for bytes in [
            &b"\r\n\r\n"[..],
            b"hello",
            b"OPTIONS sip:a SIP/2.0\r\nCSeq: 1 OPTIONS\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/QUIC h;branch=old\r\nCSeq: 1 OPTIONS\r\n\r\n",
            b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/QUIC h;branch=z9hG4bK7\r\n\r\n",
        ] {
            assert_eq!(Key::of(bytes), None, "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(Key::of(&request(&format!("z9hG4bK{}", "x".repeat(BRANCH)), "DO")), None);
    }

    proptest! {
        /// However the network cuts a stream, the same messages come out, and what follows is seen.
        #[test]
        fn messages_are_those_that_were_written(
            bodies in proptest::collection::vec("[ -~]{0,300}", 1..4),
            cuts in proptest::collection::vec(1..400_usize, 1..40),
            blank in any::<bool>(),
            tail in "[A-Z]{0,5}",
        ) {
            let message = |body: &String| {
                format!("SIP/2.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
            };
            let written: Vec<Vec<u8>> = bodies.iter().map(message).collect();
            let mut stream = written.join(if blank { &b"\r\n"[..] } else { b"" });
            stream.extend_from_slice(tail.as_bytes());
            let (mut cutter, mut read) = (Cutter::default(), Vec::new());
            let (mut rest, mut cuts) = (&stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(*cuts.next().expect("some").min(&rest.len()));
                cutter.push(now);
                rest = later;
                while let Some(bytes) = cutter.next().expect("nothing is broken") {
                    read.push(bytes.to_vec());
                }
            }
            prop_assert_eq!(read, written);
            prop_assert_eq!(cutter.has_more(), !tail.is_empty());
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let mut cutter = Cutter::default();
            cutter.push(&bytes);
            while let Ok(Some(message)) = cutter.next() {
                let _ = Key::of(&message);
            }
        }
    }
}

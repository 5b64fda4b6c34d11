//! What must not move anything, or not again: the other branch of a fork, what is repeated because the
//! process died before it could answer, what waited while the process stood still.

use std::collections::{HashSet, VecDeque};
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use super::Gateway;
use crate::limits;
use crate::sip::Rejection;
use crate::sip::wire::{Message, Name};
use crate::timer::Now;

/// How long a request is repeated (RFC 3261 §17.1.2.2, Timer F), and a little more.
const REPEATED: Duration = Duration::from_secs(40);
/// How long a broker hands over what waited while the process stood still.
const HANDED_OVER: Duration = Duration::from_secs(1);
/// The word for a mark in a line of the audit file.
const WORD: &str = "request";

/// Marks of requests.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    /// Those of the run before, and until when they count.
    before: HashSet<u64>,
    until: Option<Instant>,
    /// What the run before did is known at all.
    recalled: bool,
}

impl Recent {
    /// The second branch of a fork is refused with 482 (RFC 3261 §8.2.2.2). What the run before may have
    /// done before it could say so is 504: asked for its password anew, a phone would have it done twice.
    pub fn check(&mut self, marks: Marks, now: Now) -> Result<(), Rejection> {
        if self.until.is_some_and(|until| until <= now.mono) {
            (self.before, self.until) = (HashSet::new(), None);
        }
        if self.known.contains(&marks.request) || self.known.contains(&marks.copy) {
            return Err(Rejection::new(482, "Merged Request"));
        }
        if self.before.contains(&marks.request) {
            return Err(Rejection::new(504, "Outcome Unknown"));
        }
        Ok(())
    }

    /// When full, the oldest is forgotten.
    pub fn add(&mut self, marks: Marks) {
        for mark in [marks.request, marks.copy] {
            if self.known.insert(mark) {
                self.order.push_back(mark);
            }
        }
        while self.order.len() > 2 * limits::RECENT_COMMANDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether what the run before did is known, so that nothing else has to be doubted.
    pub fn recalls(&self) -> bool {
        self.recalled
    }
}

/// What a request is known again by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks {
    /// Its Call-ID, CSeq and From tag.
    request: u64,
    /// Its branch and its proof, which a line that damages its Call-ID leaves as they are: no digest covers that.
    copy: u64,
}

impl Marks {
    pub fn of(message: &Message<'_>) -> Self {
        let request = mark(message);
        let branch = message.via().ok().and_then(|via| via.branch()).filter(|branch| !branch.is_empty());
        // Without both, requests that have nothing to do with each other would look alike.
        let copy = branch.zip(message.first(Name::Authorization)).map(|(branch, proof)| {
            let mut hasher = siphasher::sip::SipHasher13::new();
            hasher.write(b"copy");
            hasher.write(branch.as_bytes());
            hasher.write(proof);
            hasher.finish()
        });
        Self { request, copy: copy.unwrap_or(request) }
    }
}

impl Gateway {
    /// The last lines of the audit file of the run before, the newest first: what they tell of is not done
    /// again when it is repeated.
    pub fn recall<'a>(&mut self, lines: impl Iterator<Item = &'a str>, now: Now) {
        let mut lines = lines.filter(|line| !line.is_empty()).peekable();
        self.recent.recalled = lines.peek().is_some();
        self.recent.before = lines.filter_map(noted).take(limits::RECENT_COMMANDS).collect();
        self.recent.until = Some(now.mono + REPEATED);
    }
}

impl Gateway {
    /// What comes now may be as old as the pause was long. A proof that was made before it moves nothing: a
    /// phone that still wants it done proves itself anew. A broker says nothing of the age of a command, so
    /// those that come at once are dropped. And whether the flows live is asked at once.
    pub(super) fn on_stood(&mut self, now: Now) {
        self.auth.void(now);
        self.stood_until = Some(now.mono + HANDED_OVER);
        self.on_network(now);
    }

    /// Whether what a broker hands over now may have waited too long.
    pub(super) fn may_be_late(&self, now: Now) -> bool {
        self.stood_until.is_some_and(|until| now.mono < until)
    }
}

/// A request by its Call-ID, CSeq and From tag: the same in every run.
fn mark(message: &Message<'_>) -> u64 {
    let mut hasher = siphasher::sip::SipHasher13::new();
    hasher.write(message.call_id().unwrap_or_default());
    hasher.write_u32(message.cseq().map_or(0, |cseq| cseq.number));
    hasher.write(message.from().ok().and_then(|from| from.tag()).unwrap_or_default().as_bytes());
    hasher.finish()
}

/// What a line of the audit file says of the request.
pub(super) fn note(request: &[u8]) -> Option<(String, serde_json::Value)> {
    let message = Message::parse(request).ok()?;
    Some((WORD.to_owned(), format!("{:016x}", mark(&message)).into()))
}

fn noted(line: &str) -> Option<u64> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    u64::from_str_radix(line.get(WORD)?.as_str()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_line_is_survived_and_a_mark_is_found_again() {
        let request = b"MESSAGE sip:plug@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:a@h>;tag=b\r\nTo: <sip:plug@h>\r\nCall-ID: c\r\nCSeq: 7 MESSAGE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
        let (word, value) = note(request).unwrap();
        let line = serde_json::json!({ word: value }).to_string();
        assert_eq!(noted(&line), Some(mark(&Message::parse(request).unwrap())));
        for other in ["", "{", "[]", "{}", "{\"request\":1}", "{\"request\":\"xyz\"}", &line[..20]] {
            assert_eq!(noted(other), None, "{other}");
        }
    }

    /// A line that damages what no digest covers makes another request of it, which moves nothing again.
    #[test]
    fn a_damaged_copy_is_known_and_another_request_is_not() {
        let now = Now { mono: Instant::now(), wall_ms: 0 };
        let request = |branch: &str, call: &str, proof: &str| {
            format!(
                "MESSAGE sip:plug@h SIP/2.0\r\nVia: SIP/2.0/UDP h{branch}\r\nFrom: <sip:a@h>;tag=b\r\nTo: <sip:plug@h>\r\nCall-ID: {call}\r\nCSeq: 7 MESSAGE\r\n{proof}Content-Length: 0\r\n\r\n"
            )
        };
        let (branch, proof) = (";branch=z9hG4bKa", "Authorization: Digest response=\"1\"\r\n");
        let cases = [
            ((branch, "c", proof), (branch, "d", proof), true),
            ((branch, "c", proof), (";branch=z9hG4bKb", "c", proof), true),
            ((branch, "c", proof), (";branch=z9hG4bKb", "d", proof), false),
            ((branch, "c", ""), (branch, "d", ""), false),
            (("", "c", proof), ("", "d", proof), false),
        ];
        for (first, second, known) in cases {
            let [first, second] = [first, second].map(|(branch, call, proof)| request(branch, call, proof));
            let marks = |text: &str| Marks::of(&Message::parse(text.as_bytes()).unwrap());
            let mut recent = Recent::default();
            recent.add(marks(&first));
            let status = recent.check(marks(&second), now).err().map(|refused| refused.status);
            assert_eq!(status, known.then_some(482), "{second}");
        }
    }
}

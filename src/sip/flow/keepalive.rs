//! Keeping a flow alive, and seeing that it is dead (RFC 5626 §4.4, RFC 6223).
//!
//! ```text
//!          deadline: ping            pong, seen there as before
//!  Idle ───────────────────▶ Asked ─────────────────────────────────▶ Idle
//!                              │ silence, or another address outside
//!                              ▼
//!                            Dead, told once
//! ```
//!
//! The ping is CRLF CRLF on a stream. Over UDP it is a STUN Binding request where the server agreed to that,
//! by `Require: outbound` or by `keep`. Many servers know neither, and silence on a ping that they never
//! answered proves nothing: they are asked by OPTIONS, which goes no further than the server itself, and every
//! answer to it will do. It says in its Via how we are seen there, as STUN does (RFC 3581). Who does not
//! answer that either answers a REGISTER. QUIC does all of that itself: there nothing is sent here, whatever
//! a server asks for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::stun::{self, Id, Stun};
use crate::sip::Transport;
use crate::timer::Now;

/// The least that a server can ask for, in seconds; less would be a flood.
const LEAST: u32 = 5;
/// How long a pong may take (§4.4.1), and the answer to an OPTIONS on a stream.
const PONG: Duration = Duration::from_secs(10);
/// The first wait for a STUN answer; it doubles with each repetition. That of RFC 8489 is longer; with this
/// one, a dead flow is seen within 45 s of the last answer.
const RTO: Duration = Duration::from_millis(200);
/// How often a request is sent in all (§4.4.2, Rc).
const SENT: u32 = 7;
/// How long the last one is waited for, in RTOs (Rm).
const LAST: u32 = 16;
/// How long the answer to an OPTIONS over UDP is waited for: until it was sent six times (RFC 3261 §17.1.2).
const ANSWER: Duration = Duration::from_secs(15);
/// How often the pace is doubled at most for a router that forgets flows over UDP sooner than others (RFC 4787 REQ-5
/// wants two minutes): what is left holds for a memory of 8 s.
const HALVED: u8 = 2;
/// An answer that took longer comes from somebody who was away meanwhile.
const LATE: Duration = Duration::from_millis(2_500);
/// Unanswered OPTIONS after which they end where none was ever answered.
const QUESTIONS: u32 = 3;
/// Seconds between two of the CRLFs that nobody answers; with every second one goes a REGISTER.
const BLIND: std::ops::Range<f64> = 18.0..20.0;

/// A ping that is no STUN.
const PING: &[u8] = b"\r\n\r\n";

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Put these bytes on the flow.
    Send(Vec<u8>),
    /// Send an OPTIONS, and say when it is answered.
    Ask,
    /// Only a REGISTER shows whether somebody is there: put the bytes on the flow and refresh a binding.
    Refresh(Vec<u8>),
    /// The flow is dead, and why.
    Dead(String),
}

/// What an answer shows besides life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Nothing.
    Well,
    /// Nobody had answered for seconds: whoever was away may have forgotten us.
    Back,
    /// A router on the way has another address for us; in words.
    Moved(String),
}

/// What the far end of a way was seen to answer, ever, and what the routers on the way to it are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// STUN, or CRLF CRLF.
    pub pings: bool,
    /// An OPTIONS.
    pub questions: bool,
    /// They remembered a flow over UDP through the last silence between two keep-alives.
    pub holds: bool,
    /// They did not, so often: each time the pace is doubled.
    pub halved: u8,
}

impl Answers {
    /// Whether its silence can be told from its death.
    pub fn any(self) -> bool {
        self.pings || self.questions
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// A ping on a stream is out.
    Pinged,
    /// A STUN request is out, so often.
    Bound(Id, u32),
    /// An OPTIONS is out.
    Asked,
    Dead,
}

/// The keep-alive of one flow.
#[derive(Debug)]
pub struct Keepalive {
    transport: Transport,
    /// The server said that it answers pings.
    agreed: bool,
    /// Somebody is there who may be asked by OPTIONS.
    may_ask: bool,
    /// What a server asked for, in seconds.
    wanted: Option<u32>,
    state: State,
    next: Option<Instant>,
    /// Since when it is asked.
    asked: Option<Instant>,
    /// How the far end sees us, by STUN.
    mapped: Option<SocketAddr>,
    /// The same, by the Via of its answers.
    seen: Option<SocketAddr>,
    /// When it last answered.
    answered_at: Option<Instant>,
    /// What was answered ever, and what on this flow.
    ever: Answers,
    here: Answers,
    /// A ping was sent on this flow that was not answered.
    unanswered: bool,
    /// OPTIONS that were not answered, of those on end.
    misses: u32,
    /// The next blind CRLF brings a REGISTER.
    refresh: bool,
    /// This question came before its time: what it shows says nothing of the pace.
    hurried: bool,
}

impl Keepalive {
    /// For a flow that has just been opened. `ever`: what its far end is known to answer, from flows before
    /// this one.
    pub fn new(transport: Transport, ever: Answers, rng: &mut ChaCha8Rng, now: Now) -> Self {
        let mut alive = Self {
            transport,
            agreed: false,
            may_ask: false,
            wanted: None,
            state: State::Idle,
            next: None,
            asked: None,
            mapped: None,
            seen: None,
            answered_at: None,
            ever,
            here: Answers::default(),
            unanswered: false,
            misses: 0,
            refresh: false,
            hurried: false,
        };
        alive.rest(rng, now);
        alive
    }

    /// What the newest answer of a server says: whether it answers pings, and how often it wants them, by
    /// Flow-Timer or by `keep` in our Via (RFC 6223); `None` or 0: as often as we like.
    pub fn agree(&mut self, agreed: bool, seconds: Option<u32>, rng: &mut ChaCha8Rng, now: Now) {
        let wanted = seconds.filter(|seconds| *seconds > 0);
        let first = !std::mem::replace(&mut self.may_ask, true) || agreed && !self.agreed;
        if !first && (self.agreed, self.wanted) == (agreed, wanted) {
            return;
        }
        (self.agreed, self.wanted) = (agreed, wanted);
        if self.state == State::Idle {
            self.rest(rng, now);
            // The sooner we know what is answered and how we are seen, the sooner a change shows.
            if first {
                self.hurry(now);
            }
        }
    }

    /// When it is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// How the far end sees us, as far as it said so.
    pub fn mapped(&self) -> Option<SocketAddr> {
        self.mapped.or(self.seen)
    }

    /// When the far end last answered.
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// What the far end is known to answer.
    pub fn answers(&self) -> Answers {
        self.ever
    }

    /// Whether nothing but a REGISTER is answered there, so that one is sent again and again.
    pub fn needs_registers(&self) -> bool {
        self.may_ask && self.misses >= QUESTIONS
    }

    /// Asks at once, rather than in its time: something happened to the network.
    pub fn hurry(&mut self, now: Now) {
        if self.state == State::Idle && self.next.is_some() {
            self.next = Some(now.mono);
            self.hurried = true;
        }
    }

    /// What is due now.
    pub fn on_deadline(&mut self, rng: &mut ChaCha8Rng, now: Now) -> Option<Due> {
        self.next.filter(|at| *at <= now.mono)?;
        match self.state {
            State::Idle => {
                self.asked = Some(now.mono);
                Some(self.ping(rng, now))
            }
            State::Bound(id, sent) if sent < SENT => Some(self.bind(id, sent + 1, now)),
            State::Pinged | State::Bound(..) => self.no_pong(rng, now),
            State::Asked => self.no_answer(rng, now),
            State::Dead => {
                self.next = None;
                None
            }
        }
    }

    /// A pong came.
    pub fn on_pong(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        if self.state == State::Pinged {
            self.here.pings = true;
            self.answered(rng, now);
        }
    }

    /// A STUN packet came. [`News::Moved`]: the flow is dead.
    pub fn on_stun(&mut self, stun: Stun, rng: &mut ChaCha8Rng, now: Now) -> News {
        let State::Bound(asked, _) = self.state else { return News::Well };
        match stun {
            Stun::Mapped(id, seen) if id == asked => {
                self.here.pings = true;
                let before = self.mapped.replace(seen);
                self.learn(before, seen);
                if let Some(before) = before.filter(|before| *before != seen) {
                    self.die();
                    return News::Moved(moved(before, seen));
                }
                self.answered(rng, now)
            }
            // It lives, and it will not say more.
            Stun::Refused(id) if id == asked => {
                self.here.pings = true;
                self.answered(rng, now)
            }
            _ => News::Well,
        }
    }

    /// An OPTIONS was answered, by somebody who saw us there. The flow goes on, also where that is another
    /// address now: what is registered has to be told.
    pub fn on_answer(&mut self, seen: Option<SocketAddr>, rng: &mut ChaCha8Rng, now: Now) -> News {
        (self.here.questions, self.ever.questions, self.misses) = (true, true, 0);
        if let Some(seen) = seen.filter(|_| self.state == State::Asked && !self.transport.is_reliable()) {
            self.learn(self.seen, seen);
        }
        let news = match self.state {
            State::Asked => self.answered(rng, now),
            _ => News::Well,
        };
        self.look(seen).unwrap_or(news)
    }

    /// A REGISTER was answered, by somebody who saw us there.
    pub fn look(&mut self, seen: Option<SocketAddr>) -> Option<News> {
        // A stream has the addresses that it began with.
        let seen = seen.filter(|_| !self.transport.is_reliable())?;
        let before = self.seen.replace(seen).filter(|before| *before != seen)?;
        Some(News::Moved(moved(before, seen)))
    }

    /// What the answer to a keep-alive over UDP says of the routers on the way. Another port at the same address is a
    /// mapping that was forgotten: by a router that was restarted, or by one whose memory is shorter than our silences,
    /// as those of providers that share an address may be. Where it never held through one, it is the latter.
    fn learn(&mut self, before: Option<SocketAddr>, seen: SocketAddr) {
        let Some(before) = before else { return };
        match () {
            () if before.ip() != seen.ip() => (self.ever.holds, self.ever.halved) = (false, 0),
            () if self.hurried => {}
            () if before == seen => self.ever.holds = true,
            () => {
                let short = !std::mem::replace(&mut self.ever.holds, false);
                self.ever.halved = (self.ever.halved + u8::from(short)).min(HALVED);
            }
        }
    }

    /// The best question that there is for this far end.
    fn ping(&mut self, rng: &mut ChaCha8Rng, now: Now) -> Due {
        let stream = self.transport.is_reliable();
        let pings = (stream || self.agreed) && (self.here.pings || !self.unanswered);
        match () {
            () if pings && stream => {
                self.state = State::Pinged;
                self.next = Some(now.mono + PONG);
                Due::Send(PING.to_vec())
            }
            () if pings => self.bind(Id::new(rng.random()), 1, now),
            () if self.may_ask && self.misses < QUESTIONS => self.ask(now),
            () => {
                self.rest(rng, now);
                let bytes = PING.to_vec();
                self.refresh = self.may_ask && !self.refresh;
                if self.refresh { Due::Refresh(bytes) } else { Due::Send(bytes) }
            }
        }
    }

    /// Sends a request for the `sent`th time.
    fn bind(&mut self, id: Id, sent: u32, now: Now) -> Due {
        let wait = if sent < SENT { RTO * (1 << (sent - 1)) } else { RTO * LAST };
        self.state = State::Bound(id, sent);
        self.next = Some(now.mono + wait);
        Due::Send(stun::request(id))
    }

    fn ask(&mut self, now: Now) -> Due {
        self.state = State::Asked;
        self.next = Some(now.mono + if self.transport.is_reliable() { PONG } else { ANSWER });
        Due::Ask
    }

    fn answered(&mut self, rng: &mut ChaCha8Rng, now: Now) -> News {
        self.ever.pings |= self.here.pings;
        self.answered_at = Some(now.mono);
        self.state = State::Idle;
        self.rest(rng, now);
        let asked = self.asked.take().filter(|_| !self.transport.is_reliable());
        match asked.is_some_and(|asked| now.mono.duration_since(asked) > LATE) {
            true => News::Back,
            false => News::Well,
        }
    }

    /// No pong. From somebody who never gave one on this flow, that proves nothing: he is asked otherwise.
    fn no_pong(&mut self, rng: &mut ChaCha8Rng, now: Now) -> Option<Due> {
        self.unanswered = true;
        let asks = self.may_ask && self.misses < QUESTIONS;
        match () {
            () if self.here.pings => Some(self.silence()),
            () if asks => {
                self.asked = Some(now.mono);
                Some(self.ask(now))
            }
            () if self.ever.any() => Some(self.silence()),
            () => {
                self.state = State::Idle;
                self.rest(rng, now);
                None
            }
        }
    }

    /// No answer to an OPTIONS. From somebody who never answered one on this flow, that proves nothing.
    fn no_answer(&mut self, rng: &mut ChaCha8Rng, now: Now) -> Option<Due> {
        if self.here.questions {
            return Some(self.silence());
        }
        self.misses += 1;
        self.state = State::Idle;
        self.rest(rng, now);
        None
    }

    fn silence(&mut self) -> Due {
        self.die();
        Due::Dead("it no longer answers keep-alives".to_owned())
    }

    fn die(&mut self) {
        self.state = State::Dead;
        self.next = None;
    }

    fn rest(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        self.hurried = false;
        let Some(usual) = self.transport.keepalive() else {
            self.next = None;
            return;
        };
        let blind = self.misses >= QUESTIONS;
        let range = match self.wanted {
            Some(wanted) => {
                let full = f64::from(wanted.max(LEAST));
                0.8 * full..full
            }
            None if blind => BLIND,
            None => usual,
        };
        let pace = f64::from(1u32 << self.ever.halved.min(HALVED));
        let wait = rng.random_range(range) / pace;
        self.next = Some(now.mono + Duration::from_secs_f64(wait));
    }
}

fn moved(before: SocketAddr, seen: SocketAddr) -> String {
    format!("our address outside was {before} and is {seen} now")
}

#[cfg(test)]
mod tests;

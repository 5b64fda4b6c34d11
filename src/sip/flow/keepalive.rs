//! Keeping a flow alive, and seeing that it is dead (RFC 5626 §4.4, RFC 6223).
//!
//! ```text
//!          deadline: ping            pong, mapped address as before
//!  Idle ───────────────────▶ Asked ─────────────────────────────────▶ Idle
//!                              │ silence, or another mapped address
//!                              ▼
//!                            Dead, told once
//! ```
//!
//! The ping is CRLF CRLF on a stream. Over UDP it is a STUN Binding request where the server agreed to that,
//! by `Require: outbound` or by `keep`, else CRLF CRLF as well, which nobody answers. A server that never
//! answered a ping may not know it: then the pings go on, they keep the binding of the router, and only
//! prove nothing. QUIC does all of that itself: there nothing is sent here, whatever a server asks for.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::stun::{self, Id, Stun};
use crate::sip::Transport;
use crate::timer::Now;

/// The least that a server can ask for, in seconds; less would be a flood.
const LEAST: u32 = 5;
/// How long a pong may take (§4.4.1).
const PONG: Duration = Duration::from_secs(10);
/// The first wait for a STUN answer; it doubles with each repetition. That of RFC 8489 is longer; with this
/// one, a dead flow is seen within 45 s of the last answer.
const RTO: Duration = Duration::from_millis(200);
/// How often a request is sent in all (§4.4.2, Rc).
const SENT: u32 = 7;
/// How long the last one is waited for, in RTOs (Rm).
const LAST: u32 = 16;

/// A ping that is no STUN.
const PING: &[u8] = b"\r\n\r\n";

/// What has to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Put these bytes on the flow.
    Send(Vec<u8>),
    /// The flow is dead, and why.
    Dead(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// A ping on a stream is out.
    Pinged,
    /// A STUN request is out, so often.
    Bound(Id, u32),
    Dead,
}

/// The keep-alive of one flow.
#[derive(Debug)]
pub struct Keepalive {
    transport: Transport,
    /// The server said that it answers.
    agreed: bool,
    /// What a server asked for, in seconds.
    wanted: Option<u32>,
    state: State,
    next: Option<Instant>,
    /// How the far end sees us.
    mapped: Option<SocketAddr>,
    /// When it last answered, in milliseconds since 1970.
    answered_ms: Option<i64>,
    /// It has answered a ping of this kind at least once, ever.
    answers: bool,
}

impl Keepalive {
    /// For a flow that has just been opened. `answers`: its far end is known to answer pings, from a flow
    /// before this one.
    pub fn new(transport: Transport, answers: bool, rng: &mut ChaCha8Rng, now: Now) -> Self {
        let mut alive = Self {
            transport,
            agreed: false,
            wanted: None,
            state: State::Idle,
            next: None,
            mapped: None,
            answered_ms: None,
            answers,
        };
        alive.rest(rng, now);
        alive
    }

    /// What the newest answer of a server says: whether it answers pings, and how often it wants them, by
    /// Flow-Timer or by `keep` in our Via (RFC 6223); `None` or 0: as often as we like.
    pub fn agree(&mut self, agreed: bool, seconds: Option<u32>, rng: &mut ChaCha8Rng, now: Now) {
        let wanted = seconds.filter(|seconds| *seconds > 0);
        if (self.agreed, self.wanted) == (agreed, wanted) {
            return;
        }
        let first = agreed && !self.agreed;
        (self.agreed, self.wanted) = (agreed, wanted);
        if self.state == State::Idle {
            self.rest(rng, now);
            // The sooner we know how we are seen, the sooner a change shows.
            if first && self.transport == Transport::Udp {
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
        self.mapped
    }

    /// When the far end last answered, in milliseconds since 1970.
    pub fn answered_ms(&self) -> Option<i64> {
        self.answered_ms
    }

    /// Whether the far end is known to answer pings.
    pub fn answers(&self) -> bool {
        self.answers
    }

    /// Asks at once, rather than in its time: something happened to the network.
    pub fn hurry(&mut self, now: Now) {
        if self.state == State::Idle && self.next.is_some() {
            self.next = Some(now.mono);
        }
    }

    /// What is due now.
    pub fn on_deadline(&mut self, rng: &mut ChaCha8Rng, now: Now) -> Option<Due> {
        self.next.filter(|at| *at <= now.mono)?;
        match self.state {
            State::Idle if self.transport.is_reliable() => {
                self.state = State::Pinged;
                self.next = Some(now.mono + PONG);
                Some(Due::Send(PING.to_vec()))
            }
            State::Idle if self.agreed => Some(self.bind(Id::new(rng.random()), 1, now)),
            State::Idle => {
                self.rest(rng, now);
                Some(Due::Send(PING.to_vec()))
            }
            State::Bound(id, sent) if sent < SENT => Some(self.bind(id, sent + 1, now)),
            State::Pinged | State::Bound(..) => self.silence(rng, now),
            State::Dead => {
                self.next = None;
                None
            }
        }
    }

    /// A pong came.
    pub fn on_pong(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        if self.state == State::Pinged {
            self.answered(rng, now);
        }
    }

    /// A STUN packet came. `Some`: the flow is dead, a router on the way has another address for it.
    pub fn on_stun(&mut self, stun: Stun, rng: &mut ChaCha8Rng, now: Now) -> Option<String> {
        let State::Bound(asked, _) = self.state else { return None };
        match stun {
            Stun::Mapped(id, seen) if id == asked => {
                if let Some(before) = self.mapped.filter(|before| *before != seen) {
                    let why = format!("our address outside was {before} and is {seen} now");
                    self.mapped = Some(seen);
                    self.die();
                    return Some(why);
                }
                self.mapped = Some(seen);
                self.answered(rng, now);
            }
            // It lives, and it will not say more.
            Stun::Refused(id) if id == asked => self.answered(rng, now),
            _ => {}
        }
        None
    }

    /// Sends a request for the `sent`th time.
    fn bind(&mut self, id: Id, sent: u32, now: Now) -> Due {
        let wait = if sent < SENT { RTO * (1 << (sent - 1)) } else { RTO * LAST };
        self.state = State::Bound(id, sent);
        self.next = Some(now.mono + wait);
        Due::Send(stun::request(id))
    }

    fn answered(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        self.answers = true;
        self.answered_ms = Some(now.wall_ms);
        self.state = State::Idle;
        self.rest(rng, now);
    }

    /// No answer. From somebody who never gave one, that proves nothing.
    fn silence(&mut self, rng: &mut ChaCha8Rng, now: Now) -> Option<Due> {
        if !self.answers {
            self.state = State::Idle;
            self.rest(rng, now);
            return None;
        }
        self.die();
        Some(Due::Dead("it no longer answers keep-alives".to_owned()))
    }

    fn die(&mut self) {
        self.state = State::Dead;
        self.next = None;
    }

    fn rest(&mut self, rng: &mut ChaCha8Rng, now: Now) {
        let Some(usual) = self.transport.keepalive() else {
            self.next = None;
            return;
        };
        let range = self.wanted.map_or(usual, |wanted| {
            let full = f64::from(wanted.max(LEAST));
            0.8 * full..full
        });
        self.next = Some(now.mono + Duration::from_secs_f64(rng.random_range(range)));
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    struct Bench {
        alive: Keepalive,
        rng: ChaCha8Rng,
        began: Instant,
        now: Now,
    }

    impl Bench {
        fn new(seed: u64, transport: Transport) -> Self {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let began = Instant::now();
            let now = Now { mono: began, wall_ms: 0 };
            Self { alive: Keepalive::new(transport, false, &mut rng, now), rng, began, now }
        }

        fn agree(&mut self, seconds: Option<u32>) {
            self.alive.agree(true, seconds, &mut self.rng, self.now);
        }

        /// Goes to the next deadline; what is due, and how many seconds have passed since `began`.
        fn step(&mut self) -> (f64, Option<Due>) {
            self.now.mono = self.alive.next_deadline().expect("a deadline");
            let due = self.alive.on_deadline(&mut self.rng, self.now);
            (self.now.mono.duration_since(self.began).as_secs_f64(), due)
        }

        fn stun(&mut self, seen: &str) -> Option<String> {
            let State::Bound(id, _) = self.alive.state else { panic!("{:?}", self.alive.state) };
            self.alive.on_stun(Stun::Mapped(id, seen.parse().unwrap()), &mut self.rng, self.now)
        }
    }

    #[test]
    fn intervals_are_those_of_the_rfc_or_those_that_were_asked_for() {
        for seed in 0..50 {
            for (transport, seconds, range) in [
                (Transport::Tcp, None, 95.0..120.0),
                (Transport::Udp, None, 24.0..29.0),
                (Transport::Tcp, Some(90), 72.0..90.0),
                (Transport::Udp, Some(20), 16.0..20.0),
                (Transport::Tcp, Some(0), 95.0..120.0),
                (Transport::Tcp, Some(1), 4.0..5.0),
            ] {
                let mut bench = Bench::new(seed, transport);
                bench.agree(seconds);
                let at = if transport == Transport::Udp {
                    // The first comes at once, to learn how we are seen.
                    assert_eq!(bench.step().0, 0.0);
                    assert_eq!(bench.stun("203.0.113.7:31207"), None);
                    bench.step().0
                } else {
                    bench.step().0
                };
                assert!(range.contains(&at), "{transport:?} {seconds:?}: {at}");
            }
        }
    }

    #[test]
    fn a_stream_without_a_pong_is_dead_after_ten_seconds_if_it_ever_gave_one() {
        let mut bench = Bench::new(1, Transport::Tcp);
        let (_, ping) = bench.step();
        assert_eq!(ping, Some(Due::Send(b"\r\n\r\n".to_vec())));
        assert_eq!(bench.step().1, None, "it may not know pings");
        bench.step();
        bench.alive.on_pong(&mut bench.rng, bench.now);
        let (asked, _) = bench.step();
        let (died, due) = bench.step();
        assert!(matches!(due, Some(Due::Dead(_))) && (died - asked - 10.0).abs() < 0.01, "{due:?} {died}");
        assert_eq!(bench.alive.next_deadline(), None);
    }

    #[test]
    fn seven_requests_without_an_answer_and_a_flow_over_udp_is_dead_within_45_seconds() {
        for seed in 0..50 {
            let mut bench = Bench::new(seed, Transport::Udp);
            bench.agree(None);
            bench.step();
            assert_eq!(bench.stun("203.0.113.7:31207"), None);
            let mut requests = Vec::new();
            let died = loop {
                match bench.step() {
                    (at, Some(Due::Send(bytes))) => requests.push((at, bytes)),
                    (at, Some(Due::Dead(_))) => break at,
                    (_, None) => panic!("nothing is due"),
                }
            };
            assert_eq!(requests.len(), 7);
            assert!(requests.iter().all(|(_, bytes)| *bytes == requests[0].1), "one transaction");
            assert!(died <= 45.0, "{died}");
        }
    }

    #[test]
    fn a_connection_that_keeps_itself_alive_is_left_alone() {
        let mut bench = Bench::new(5, Transport::Quic);
        assert_eq!(bench.alive.next_deadline(), None);
        bench.agree(Some(20));
        bench.alive.hurry(bench.now);
        bench.now.mono += Duration::from_secs(3600);
        assert_eq!(bench.alive.on_deadline(&mut bench.rng, bench.now), None);
        assert_eq!(bench.alive.next_deadline(), None);
    }

    #[test]
    fn another_address_outside_ends_a_flow_and_old_or_forged_answers_do_nothing() {
        let mut bench = Bench::new(3, Transport::Udp);
        bench.agree(None);
        bench.step();
        let forged = Stun::Mapped(Id::new(7), "198.51.100.1:1".parse().unwrap());
        assert_eq!(bench.alive.on_stun(forged, &mut bench.rng, bench.now), None);
        assert_eq!(bench.alive.mapped(), None);
        assert_eq!(bench.stun("203.0.113.7:31207"), None);
        bench.step();
        let why = bench.stun("203.0.113.8:31207").expect("dead");
        assert!(why.contains("203.0.113.7") && why.contains("203.0.113.8"), "{why}");
        assert_eq!(bench.alive.next_deadline(), None);
    }

    #[test]
    fn where_nobody_agreed_to_stun_a_router_is_kept_awake_by_crlf() {
        let mut bench = Bench::new(4, Transport::Udp);
        for _ in 0..10 {
            assert_eq!(bench.step().1, Some(Due::Send(b"\r\n\r\n".to_vec())));
        }
    }
}

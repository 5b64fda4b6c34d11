//! The keep-alive of one flow, step by step.

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
        Self { alive: Keepalive::new(transport, Answers::default(), &mut rng, now), rng, began, now }
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

    fn plain(&mut self) {
        self.alive.agree(false, None, &mut self.rng, self.now);
    }

    fn answer(&mut self, seen: &str) -> News {
        self.alive.on_answer(seen.parse().ok(), &mut self.rng, self.now)
    }

    fn stun(&mut self, seen: &str) -> News {
        let State::Bound(id, _) = self.alive.state else { panic!("{:?}", self.alive.state) };
        self.alive.on_stun(Stun::Mapped(id, seen.parse().unwrap()), &mut self.rng, self.now)
    }
}

#[test]
fn intervals_are_those_of_the_rfc_or_those_that_were_asked_for() {
    for seed in 0..50 {
        for (transport, seconds, range) in [
            (Transport::Tcp, None, 25.0..30.0),
            (Transport::Wss, None, 25.0..30.0),
            (Transport::Udp, None, 24.0..29.0),
            (Transport::Tcp, Some(90), 72.0..90.0),
            (Transport::Udp, Some(20), 16.0..20.0),
            (Transport::Tcp, Some(0), 25.0..30.0),
            (Transport::Tcp, Some(1), 4.0..5.0),
        ] {
            let mut bench = Bench::new(seed, transport);
            bench.agree(seconds);
            // The first comes at once, to learn what is answered and how we are seen.
            assert_eq!(bench.step().0, 0.0);
            match transport {
                Transport::Udp => assert_eq!(bench.stun("203.0.113.7:31207"), News::Well),
                _ => bench.alive.on_pong(&mut bench.rng, bench.now),
            }
            let at = bench.step().0;
            assert!(range.contains(&at), "{transport:?} {seconds:?}: {at}");
        }
    }
}

#[test]
fn a_stream_without_a_pong_is_dead_after_ten_seconds_if_it_ever_gave_one() {
    let mut bench = Bench::new(1, Transport::Tcp);
    let (_, ping) = bench.step();
    assert_eq!(ping, Some(Due::Send(b"\r\n\r\n".to_vec())));
    assert_eq!(bench.step().1, None, "it may not know pings, and nobody is known to be there");
    let mut bench = Bench::new(1, Transport::Tcp);
    bench.step();
    bench.alive.on_pong(&mut bench.rng, bench.now);
    let (asked, _) = bench.step();
    let (died, due) = bench.step();
    assert!(matches!(due, Some(Due::Dead(_))) && (died - asked - 10.0).abs() < 0.01, "{due:?} {died}");
    assert_eq!(bench.alive.next_deadline(), None);
}

#[test]
fn who_knows_no_ping_is_asked_by_options_and_seen_dead_within_45_seconds() {
    for seed in 0..50 {
        for transport in [Transport::Tcp, Transport::Udp] {
            let mut bench = Bench::new(seed, transport);
            bench.plain();
            if transport == Transport::Tcp {
                assert_eq!(bench.step().1, Some(Due::Send(PING.to_vec())));
            }
            for _ in 0..5 {
                assert_eq!(bench.step().1, Some(Due::Ask), "{transport:?}");
                assert_eq!(bench.answer("203.0.113.7:31207"), News::Well);
            }
            let lived = bench.now.mono;
            assert_eq!(bench.step().1, Some(Due::Ask));
            assert!(matches!(bench.step().1, Some(Due::Dead(_))));
            assert!(bench.now.mono - lived <= Duration::from_secs(45), "{transport:?}");
        }
    }
}

#[test]
fn an_answer_to_options_says_how_we_are_seen_and_whether_somebody_was_away() {
    let mut bench = Bench::new(6, Transport::Udp);
    bench.plain();
    bench.step();
    assert_eq!(bench.answer("203.0.113.7:31207"), News::Well);
    bench.step();
    assert!(matches!(bench.answer("203.0.113.8:31207"), News::Moved(_)), "and the flow goes on");
    bench.step();
    bench.now.mono += Duration::from_secs(4);
    assert_eq!(bench.answer("203.0.113.8:31207"), News::Back);
    assert!(bench.alive.next_deadline().is_some());
}

#[test]
fn who_answers_nothing_but_register_is_never_called_dead() {
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut bench = Bench::new(7, transport);
        bench.plain();
        let mut dues = Vec::new();
        while dues.len() < 40 {
            dues.extend(bench.step().1.map(|due| (bench.now.mono, due)));
        }
        assert!(!dues.iter().any(|(_, due)| matches!(due, Due::Dead(_))), "{dues:?}");
        let asked = dues.iter().filter(|(_, due)| *due == Due::Ask).count();
        assert_eq!(asked, 3, "and OPTIONS end");
        let refreshes: Vec<Instant> =
            dues.iter().filter(|(_, due)| matches!(due, Due::Refresh(_))).map(|(at, _)| *at).collect();
        let gaps = refreshes.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
        assert!(refreshes.len() > 10 && gaps.into_iter().all(|gap| (36.0..=40.0).contains(&gap)));
    }
}

#[test]
fn seven_requests_without_an_answer_and_a_flow_over_udp_is_dead_within_45_seconds() {
    for seed in 0..50 {
        let mut bench = Bench::new(seed, Transport::Udp);
        bench.agree(None);
        bench.step();
        assert_eq!(bench.stun("203.0.113.7:31207"), News::Well);
        let mut requests = Vec::new();
        let died = loop {
            match bench.step() {
                (at, Some(Due::Send(bytes))) => requests.push((at, bytes)),
                (at, Some(Due::Dead(_))) => break at,
                (_, due) => panic!("{due:?}"),
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
    assert_eq!(bench.alive.on_stun(forged, &mut bench.rng, bench.now), News::Well);
    assert_eq!(bench.alive.mapped(), None);
    assert_eq!(bench.stun("203.0.113.7:31207"), News::Well);
    bench.step();
    let News::Moved(why) = bench.stun("203.0.113.8:31207") else { panic!("it is dead") };
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

/// The port outside of a router that forgets a flow over UDP after `memory` seconds of silence.
fn port_behind(memory: f64, silence: f64, port: u16) -> u16 {
    if silence > memory { port + 1 } else { port }
}

/// Flows to one server on end behind such a router, for ten minutes: how many there were, and the longest of the last silences.
fn flows_behind(memory: f64) -> (u32, f64) {
    let (mut bench, mut port, mut flows, mut longest) = (Bench::new(5, Transport::Udp), 31_000, 1, 0f64);
    bench.agree(Some(29));
    let mut last = 0.0;
    while last < 600.0 {
        let (at, _) = bench.step();
        port = port_behind(memory, at - last, port);
        if last > 300.0 {
            longest = longest.max(at - last);
        }
        last = at;
        if let News::Moved(_) = bench.stun(&format!("203.0.113.7:{port}")) {
            flows += 1;
            bench.alive = Keepalive::new(Transport::Udp, bench.alive.answers(), &mut bench.rng, bench.now);
            bench.agree(Some(29));
        }
    }
    (flows, longest)
}

#[test]
fn a_router_that_forgets_soon_is_spoken_over_more_often() {
    let (flows, longest) = flows_behind(30.0);
    assert!(flows == 1 && longest > 23.0, "{flows} flows, {longest} s of silence");
    let (flows, longest) = flows_behind(20.0);
    assert!(flows == 2 && longest <= 14.5, "{flows} flows, {longest} s of silence");
    let (flows, longest) = flows_behind(10.0);
    assert!(flows == 3 && longest <= 7.25, "{flows} flows, {longest} s of silence");
}

#[test]
fn a_router_that_restarts_or_another_network_leaves_the_pace_as_it_was() {
    let mut bench = Bench::new(5, Transport::Udp);
    bench.agree(Some(29));
    for _ in 0..3 {
        bench.step();
        assert_eq!(bench.stun("203.0.113.7:31000"), News::Well);
    }
    assert!(bench.alive.answers().holds);
    bench.step();
    assert!(matches!(bench.stun("203.0.113.7:40000"), News::Moved(_)));
    assert_eq!(bench.alive.answers().halved, 0, "it held before: it was restarted");
    let known = Answers { halved: 2, ..bench.alive.answers() };
    bench.alive = Keepalive::new(Transport::Udp, known, &mut bench.rng, bench.now);
    bench.agree(Some(29));
    bench.step();
    assert_eq!(bench.stun("203.0.113.7:40000"), News::Well);
    bench.step();
    assert!(matches!(bench.stun("198.51.100.4:40000"), News::Moved(_)));
    assert_eq!(bench.alive.answers().halved, 0, "another network");
}

/// A plain registrar says in its answers how it sees us, and the flow goes on.
#[test]
fn behind_a_router_that_forgets_soon_a_plain_registrar_is_asked_more_often() {
    let mut bench = Bench::new(5, Transport::Udp);
    bench.plain();
    bench.step();
    bench.answer("203.0.113.7:31000");
    let (asked, _) = bench.step();
    assert!(matches!(bench.answer("203.0.113.7:31001"), News::Moved(_)));
    let (again, _) = bench.step();
    assert!(again - asked <= 14.5, "{} s", again - asked);
}

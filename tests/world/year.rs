//! A year at a home with a line that has a bad day every day, and a provider that comes back to two hundred homes at once.

use std::time::Duration;

use rand::Rng as _;

use super::outbound::{house, secs};
use super::wan::provider::{Health, Provider};
use super::wan::{UDP_MAPPING, Wan};

const DAY: u64 = 86_400;

/// What happens to the line or the provider.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Out,
    Back,
    /// The router starts again: it forgets, and is out meanwhile.
    Reboot,
    /// Another public address.
    Address,
    Edge(usize, Health),
}

/// When what happens.
fn faults(days: u64, rng: &mut rand_chacha::ChaCha8Rng) -> Vec<(u64, Fault)> {
    let mut all = Vec::new();
    for day in 0..days {
        let night = day * DAY + rng.random_range(2 * 3600..3 * 3600);
        all.extend([(night, Fault::Reboot), (night + rng.random_range(120..240), Fault::Back)]);
        all.push((day * DAY + rng.random_range(4 * 3600..5 * 3600), Fault::Address));
        if rng.random_bool(0.4) {
            // From seconds to hours, short ones more often.
            let from = day * DAY + rng.random_range(6 * 3600..18 * 3600);
            let lasts = (5.0 * 2880_f64.powf(rng.random_range(0.0..1.0))) as u64;
            all.extend([(from, Fault::Out), (from + lasts, Fault::Back)]);
        }
        if day % 7 == 3 {
            // The provider starts both edges again.
            let (from, lasts) = (day * DAY + rng.random_range(0..3600), rng.random_range(5..60));
            for edge in [0, 1] {
                all.push((from, Fault::Edge(edge, Health::Refuses)));
                all.push((from + lasts, Fault::Edge(edge, Health::Up)));
            }
        }
        if rng.random_bool(0.1) {
            let health = [Health::Gone, Health::Refuses, Health::Silent][rng.random_range(0..3)];
            let (edge, from) = (rng.random_range(0..2), day * DAY + 19 * 3600);
            all.push((from, Fault::Edge(edge, health)));
            all.push((from + rng.random_range(60..4 * 3600), Fault::Edge(edge, Health::Up)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

/// When there was no line, or no edge.
#[derive(Default)]
struct Blocked {
    since: Option<Duration>,
    spans: Vec<(Duration, Duration)>,
}

impl Blocked {
    fn now(&mut self, blocked: bool, at: Duration) {
        match (blocked, self.since) {
            (true, None) => self.since = Some(at),
            (false, Some(since)) => {
                self.spans.push((since, at));
                self.since = None;
            }
            _ => {}
        }
    }

    /// Of an outage, what the gateway has to answer for: from the last moment on at which there was a way again. And
    /// whether there had been none for so long that the gateway knew.
    fn answer_for(&self, start: Duration, end: Duration) -> (Duration, bool) {
        let inside = self.spans.iter().rfind(|(from, back)| *from < end && *back > start);
        match inside {
            Some((from, back)) => (end.saturating_sub((*back).max(start)), *back - *from >= secs(60)),
            None => (end - start, false),
        }
    }
}

struct Figures {
    reachable: f64,
    possible: f64,
    after_return: Duration,
    unseen: Duration,
    most_registers: usize,
    size: usize,
}

fn live(transport: &str, days: u64, flow_timer: Option<u32>, mapping: Duration, seed: u64) -> Figures {
    let mut provider = Provider::new(2);
    provider.flow_timer = flow_timer;
    provider.logging = false;
    let mut wan = Wan::new(seed, &[house(transport, 2, "expires: 3600s", "")], provider);
    (wan.loss, wan.udp_mapping, wan.tracing) = (0.02, mapping, false);
    wan.run(secs(120));
    let (begin, mut blocked, mut size) = (wan.now, Blocked::default(), 0);
    wan.homes[0].outages.clear();
    for (at, fault) in faults(days, &mut wan.rng.clone()) {
        wan.run_until(secs(at).max(wan.now));
        match fault {
            Fault::Out => wan.cable(0, false),
            Fault::Back => wan.cable(0, true),
            Fault::Reboot => {
                wan.cable(0, false);
                wan.flush(0);
            }
            Fault::Address => wan.readdress(0),
            Fault::Edge(edge, health) => wan.edge(edge, health),
        }
        let edges = wan.provider.edges.iter().any(|edge| edge.health == Health::Up);
        blocked.now(!wan.homes[0].online || !edges, wan.now);
        size = size.max(wan.size());
        let status = wan.homes[0].gateway.status(wan.time());
        assert!(status.transactions.0 + status.transactions.1 <= 64, "{:?}", status.transactions);
    }
    wan.run_until(secs(days * DAY));
    figures(&wan, &blocked, begin, size)
}

fn figures(wan: &Wan, blocked: &Blocked, begin: Duration, size: usize) -> Figures {
    let whole = (wan.now - begin).as_secs_f64();
    let sum =
        |spans: &[(Duration, Duration)]| spans.iter().map(|(a, b)| (*b - *a).as_secs_f64()).sum::<f64>();
    let (mut after_return, mut unseen) = (Duration::ZERO, Duration::ZERO);
    for (start, end) in &wan.homes[0].outages {
        let (late, known) = blocked.answer_for(*start, *end);
        let of = if known { &mut after_return } else { &mut unseen };
        *of = late.max(*of);
    }
    let minute = |at: &Duration| at.as_secs() / 60;
    let minutes: Vec<u64> = wan.provider.times.iter().map(|(at, _)| minute(at)).collect();
    let most_registers = minutes.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or_default();
    Figures {
        reachable: 100.0 * (1.0 - sum(&wan.homes[0].outages) / whole),
        possible: 100.0 * (1.0 - sum(&blocked.spans) / whole),
        after_return,
        unseen,
        most_registers,
        size,
    }
}

/// `unseen`: seconds after a change that nobody tells until the home is reachable again.
fn check(transport: &str, days: u64, (flow_timer, mapping): (Option<u32>, Duration), unseen: u64, seed: u64) {
    let it = live(transport, days, flow_timer, mapping, seed);
    println!(
        "{transport}, {days} days: reachable {:.4} % of the time (there was a way {:.4} %); longest after the network's return {:.1} s, \
         after a change that nobody tells {:.1} s; at most {} REGISTERs a minute; at most {} packets and table entries",
        it.reachable,
        it.possible,
        it.after_return.as_secs_f64(),
        it.unseen.as_secs_f64(),
        it.most_registers,
        it.size
    );
    assert!(it.possible - it.reachable < 0.1, "{} of {}", it.reachable, it.possible);
    assert!(it.after_return <= secs(30), "{:?}", it.after_return);
    assert!(it.unseen <= secs(unseen), "{:?}", it.unseen);
    assert!(it.most_registers <= 60, "{}", it.most_registers);
    assert!(it.size <= 200, "{}", it.size);
}

/// The edges ask for a ping every ten minutes: between them the kernel looks after a connection.
#[test]
fn a_year_over_tcp() {
    check("tcp", 365, (Some(600), UDP_MAPPING), 75, 366);
}

/// Behind a router that forgets slowly, at a provider that knows it: a quarter of the usual packets.
#[test]
fn a_year_over_udp() {
    check("udp", 365, (Some(100), secs(120)), 150, 365);
}

/// At the pace and behind the router that are usual.
#[test]
fn ten_days_over_udp() {
    check("udp", 10, (None, UDP_MAPPING), 75, 364);
}

/// How the REGISTERs of a thousand homes spread when a provider comes back. Over UDP those that are on their way
/// just then are repeated every 4 s (RFC 3261 §17.1.2) and all answered in the first seconds.
#[test]
fn a_thousand_homes_do_not_come_at_once() {
    for (transport, homes, share) in [("udp", 300, 6), ("tcp", 1000, 12)] {
        let configs = vec![house(transport, 2, "expires: 3600s", ""); homes];
        let mut provider = Provider::new(2);
        provider.logging = false;
        let mut wan = Wan::new(200, &configs, provider);
        wan.tracing = false;
        wan.run(secs(30));
        for edge in [0, 1] {
            wan.edge(edge, Health::Gone);
        }
        wan.run(secs(300));
        for edge in [0, 1] {
            wan.edge(edge, Health::Up);
        }
        let (back, before) = (wan.now, wan.provider.times.len());
        wan.run(secs(60));
        let mut seconds = vec![0_usize; 61];
        for (at, _) in &wan.provider.times[before..] {
            seconds[usize::try_from((*at - back).as_secs()).unwrap()] += 1;
        }
        let total: usize = seconds.iter().sum();
        let most = seconds.iter().max().copied().unwrap_or_default();
        println!("{transport}: {total} REGISTERs, at most {most} a second: {seconds:?}");
        let registered = (0..homes).filter(|home| wan.reachable_until(*home).is_some()).count();
        assert_eq!(registered, homes, "{transport}");
        assert!(total >= 7 * homes && most * share <= total, "{transport}: {most} of {total} in one second");
    }
}

//! A year at a home with a line that has a bad day every day, and a provider that comes back to two hundred homes at once.

mod faults;

use std::time::Duration;

use self::faults::{Fault, year};
use super::outbound::{house, house_that, secs};
use super::wan::provider::{Health, Provider};
use super::wan::{UDP_MAPPING, Wan};

const DAY: u64 = 86_400;
/// The share of packets that is lost always.
const LOSS: f64 = 0.02;
/// The lifetime of a binding, and the longest wait before it is refreshed.
const EXPIRES: u64 = 3600;
const REFRESH: u64 = EXPIRES * 9 / 10;
/// How long the guest has to wait at most for what is so, once the home is reachable and nothing else happens.
const TOLD: u64 = 120;

/// When there was no line, no edge, no name server or no gateway.
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

/// How a year is lived.
#[derive(Clone, Copy)]
struct Life {
    transport: &'static str,
    days: u64,
    flow_timer: Option<u32>,
    /// What the router remembers of a silent flow over UDP.
    mapping: Duration,
    /// The home file has `state:`.
    state: bool,
    /// Seconds after a change that nobody tells until the home is reachable again.
    unseen: u64,
    /// The same after another public address alone.
    address: u64,
    seed: u64,
}

/// What is watched while it goes on.
#[derive(Default)]
struct Watch {
    blocked: Blocked,
    /// Since when nothing was done or happened that the guest may not know of yet.
    calm: Duration,
    disturbed: Duration,
    /// The newest change of the public address, and how often there had been a connection then.
    address: Option<(Duration, u64)>,
    addresses: Vec<Duration>,
    forgotten: Vec<Duration>,
    command: Option<Command>,
    checks: u32,
    given: u32,
    answered: u32,
    size: usize,
}

struct Command {
    op: usize,
    at: Duration,
    writes: usize,
    wanted: bool,
    /// The home was reachable and undisturbed when it was given.
    calm: bool,
}

impl Watch {
    /// What is so since a while is what the guest was told.
    fn look(&mut self, life: &Life, wan: &Wan) {
        let home = &wan.homes[0];
        let up = home.outages.last().map_or(Duration::ZERO, |(_, end)| *end);
        let calm = [self.calm, up, home.plug.writes.last().map_or(Duration::ZERO, |(at, _)| *at)];
        let calm = calm.into_iter().max().unwrap_or_default();
        let reachable = wan.reachable_until(0).is_some() && self.blocked.since.is_none();
        if reachable && wan.now > calm + secs(TOLD) {
            let guest = wan.guest.as_ref().unwrap();
            assert_eq!(guest.told, Some(home.plug.on), "{}: he was not told", life.transport);
            self.checks += 1;
        }
        assert!(home.disk.len() <= 4, "{}", home.disk.len());
        self.size = self.size.max(wan.size());
    }

    fn after(&mut self, life: &Life, fault: Fault, wan: &mut Wan) {
        let now = wan.now;
        if fault.disturbs() {
            self.disturbed = now;
            self.calm = self.calm.max(now);
        }
        match fault {
            Fault::Press => self.calm = self.calm.max(now),
            Fault::Address => {
                self.addresses.push(now);
                self.address = Some((now, wan.homes[0].connects));
            }
            Fault::Forgets => {
                self.forgotten.push(now);
                self.calm = now + secs(REFRESH);
            }
            // Nobody knows any more who watched, until he asks again.
            Fault::Off if !life.state => self.calm = now + secs(EXPIRES / 2),
            Fault::Settled => self.settled(life, wan),
            Fault::Command => self.give(wan),
            Fault::Outcome => self.judge(life, wan),
            _ => {}
        }
        let edges = wan.provider.edges.iter().any(|edge| edge.health == Health::Up);
        let home = &wan.homes[0];
        self.blocked.now(!home.online || !edges || home.off || !wan.names, now);
    }

    /// Another public address is no reason to register, where the connection outlives it.
    fn settled(&mut self, life: &Life, wan: &Wan) {
        let Some((at, connects)) = self.address.take() else { return };
        if life.transport == "quic" && self.disturbed == at {
            assert_eq!(wan.homes[0].connects, connects, "another connection because of another address");
            let early = wan.provider.early.iter().find(|early| **early >= at);
            assert_eq!(early, None, "a REGISTER because of another address");
            assert!(wan.reachable_until(0).is_some());
        }
    }

    fn give(&mut self, wan: &mut Wan) {
        let home = &wan.homes[0];
        let (wanted, writes) = (!home.plug.on, home.plug.writes.len());
        let up = home.outages.last().map_or(Duration::ZERO, |(_, end)| *end);
        let known = self.disturbed.max(up).max(self.calm.min(wan.now + secs(1)));
        let calm = wan.reachable_until(0).is_some() && wan.now > known + secs(TOLD);
        let op = wan.as_guest(|phone, now| phone.switch("plug", wanted, now));
        self.given += 1;
        self.command = Some(Command { op, at: wan.now, writes, wanted, calm });
    }

    /// It was done once or not at all, and once when it was answered so.
    fn judge(&mut self, life: &Life, wan: &mut Wan) {
        let Some(command) = self.command.take().filter(|command| wan.now >= command.at + secs(60)) else {
            return;
        };
        let status = wan.guest.as_ref().unwrap().phone.ops[command.op].status();
        let done = wan.homes[0].plug.writes.len() - command.writes;
        let word = if command.wanted { "ON" } else { "OFF" };
        assert!(done <= 1 && status != 0, "{}: {status}, done {done} times", life.transport);
        if status == 200 {
            let (at, last) = wan.homes[0].plug.writes.last().unwrap();
            assert!(done == 1 && last == word && *at >= command.at, "{}: {last}", life.transport);
            self.answered += 1;
        }
        let undisturbed = command.calm && self.disturbed < command.at && wan.reachable_until(0).is_some();
        assert!(status == 200 || !undisturbed, "{}: {status} in calm", life.transport);
    }
}

struct Figures {
    reachable: f64,
    possible: f64,
    after_return: Duration,
    unseen: Duration,
    address: Duration,
    forgotten: Duration,
    most_registers: usize,
}

fn live(life: Life) -> (Wan, Watch, Figures) {
    let mut provider = Provider::new(2);
    (provider.flow_timer, provider.logging, provider.passes) = (life.flow_timer, false, true);
    let carla = "  - who: sip:carla@provider.example\n    see: [plug]\n    do: [plug]\n";
    let config = house_that(life.transport, 2, "expires: 3600s", "", carla);
    let mut wan = Wan::new(life.seed, &[config], provider);
    if life.state {
        wan.homes[0].disk.there = true;
        wan.homes[0].gateway.record();
    }
    wan.udp_mapping = life.mapping;
    // `WORLD_TRACE=1` shows what came before a fall.
    wan.tracing = std::env::var_os("WORLD_TRACE").is_some();
    Fault::Good.strike(&mut wan);
    wan.run(secs(60));
    wan.invite();
    wan.run(secs(60));
    let (begin, mut watch) = (wan.now, Watch::default());
    wan.homes[0].outages.clear();
    for (at, fault) in year(life.days, &mut wan.rng.clone()) {
        wan.run_until(secs(at).max(wan.now));
        watch.look(&life, &wan);
        fault.strike(&mut wan);
        watch.after(&life, fault, &mut wan);
        let status = wan.homes[0].gateway.status(wan.time());
        assert!(status.transactions.0 + status.transactions.1 <= 64, "{:?}", status.transactions);
    }
    wan.run_until(secs(life.days * DAY).max(wan.now));
    let figures = figures(&wan, &watch, begin);
    (wan, watch, figures)
}

fn figures(wan: &Wan, watch: &Watch, begin: Duration) -> Figures {
    let whole = (wan.now - begin).as_secs_f64();
    let sum =
        |spans: &[(Duration, Duration)]| spans.iter().map(|(a, b)| (*b - *a).as_secs_f64()).sum::<f64>();
    let among = |all: &[Duration], start: Duration| all.contains(&start);
    let mut it = Figures {
        reachable: 0.0,
        possible: 100.0 * (1.0 - sum(&watch.blocked.spans) / whole),
        after_return: Duration::ZERO,
        unseen: Duration::ZERO,
        address: Duration::ZERO,
        forgotten: Duration::ZERO,
        most_registers: 0,
    };
    let mut down = 0.0;
    for (start, end) in &wan.homes[0].outages {
        let (late, known) = watch.blocked.answer_for(*start, *end);
        let of = match known {
            _ if among(&watch.forgotten, *start) => &mut it.forgotten,
            true => &mut it.after_return,
            false if among(&watch.addresses, *start) => &mut it.address,
            false => &mut it.unseen,
        };
        *of = late.max(*of);
        if !among(&watch.forgotten, *start) {
            down += (*end - *start).as_secs_f64();
        }
    }
    it.reachable = 100.0 * (1.0 - down / whole);
    let minute = |at: &Duration| at.as_secs() / 60;
    let minutes: Vec<u64> = wan.provider.times.iter().map(|(at, _)| minute(at)).collect();
    it.most_registers = minutes.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or_default();
    it
}

fn check(life: Life) {
    let (wan, watch, it) = live(life);
    let seconds = |span: Duration| span.as_secs_f64();
    println!(
        "{}, {} days, seed {}: reachable {:.4} % of the time (there was a way {:.4} %); longest after the network's return {:.1} s, \
         after a change that nobody tells {:.1} s, after another public address {:.1} s, after a registrar that forgets {:.0} s; \
         at most {} REGISTERs a minute; at most {} packets and table entries; {} of {} commands answered, {} done; \
         {} times what was told compared, {} subscriptions",
        life.transport,
        life.days,
        life.seed,
        it.reachable,
        it.possible,
        seconds(it.after_return),
        seconds(it.unseen),
        seconds(it.address),
        seconds(it.forgotten),
        it.most_registers,
        watch.size,
        watch.answered,
        watch.given,
        wan.homes[0].plug.writes.len(),
        watch.checks,
        wan.guest.as_ref().unwrap().subscriptions,
    );
    assert!(it.possible - it.reachable < 0.1, "{} of {}", it.reachable, it.possible);
    assert!(it.after_return <= secs(30), "{:?}", it.after_return);
    assert!(it.unseen <= secs(life.unseen), "{:?}", it.unseen);
    assert!(it.address <= secs(life.address), "{:?}", it.address);
    assert!(it.forgotten <= secs(REFRESH + 30), "{:?}", it.forgotten);
    assert!(it.most_registers <= 60, "{}", it.most_registers);
    assert!(watch.size <= 200, "{}", watch.size);
    assert!(u64::from(watch.checks) >= 3 * life.days, "{}", watch.checks);
    assert!(f64::from(watch.answered) >= 0.9 * f64::from(watch.given), "{}", watch.answered);
}

const LIFE: Life = Life {
    transport: "udp",
    days: 365,
    flow_timer: None,
    mapping: UDP_MAPPING,
    state: true,
    unseen: 75,
    address: 75,
    seed: 365,
};

/// The edges ask for a ping every ten minutes: between them the kernel looks after a connection. The home file has no
/// `state:`, so that whoever watches has to ask again after a restart.
#[test]
fn a_year_over_tcp() {
    check(Life { transport: "tcp", flow_timer: Some(600), state: false, seed: 366, ..LIFE });
}

/// At the pace and behind the router that are usual.
#[test]
fn a_year_over_udp() {
    check(LIFE);
}

/// A connection keeps itself alive, and outlives another address.
#[test]
fn a_year_over_quic() {
    check(Life { transport: "quic", address: 15, seed: 367, ..LIFE });
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

//! The flows to registrars and peers, one for each edge proxy (RFC 5626): opened, kept alive, opened again
//! when they break.
//!
//! ```text
//!  resting ──retry──▶ connecting ──opened──▶ open ──closed, or its keep-alives stay unanswered─┐
//!     ▲                   │ failed                                                             │
//!     └───────────────────┴──────────── wait, shorter than 12 s ◀──────────────────────────────┘
//! ```
//!
//! A registrar that knows RFC 5626 is registered at over every flow. With any other, one flow serves and the next
//! takes over when it fails: two plain bindings would be two phones.

mod alive;
mod doubt;
mod echo;
mod others;
mod question;
mod status;

use std::time::{Duration, Instant};

use rand::Rng as _;

use super::{Gateway, Notice, Output};
use crate::config;
use crate::sip::flow::backoff::{self, Backoff};
use crate::sip::flow::keepalive::{Answers, Keepalive};
use crate::sip::registration::{Registration, Standing, Terms};
use crate::sip::{FlowId, Hop};
use crate::timer::Now;

pub use self::status::FlowStatus;
pub(super) use self::status::time_of;

/// One way to an upstream.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) upstream: usize,
    edge: config::Edge,
    /// Its registrations, in the order of the accounts.
    pub(super) registrations: Vec<usize>,
    hop: Option<Hop>,
    connecting: bool,
    /// When to connect again.
    retry: Option<Instant>,
    failures: u32,
    /// Since when it does not serve, after it did or was tried.
    lost: Option<Instant>,
    alive: Option<Keepalive>,
    /// Which keep-alives the far end answers: that was seen on this flow, or one before it.
    answers: Answers,
    /// When a flow on which nobody answers is tried with a small question.
    probe: Option<Instant>,
    probes: u32,
    /// The flow that is being made takes the place of one on which nothing is expected any more.
    moves: bool,
    /// Connections on end over which nothing was registered.
    useless: u32,
    patience: Backoff,
    /// Packets that were no SIP, on this flow.
    garbled: u32,
    /// Since when it is open.
    since: Option<Instant>,
    /// What went wrong last: when, and in words.
    fault: Option<(Instant, String)>,
    /// When that was last told.
    told: Option<Instant>,
}

/// Half the wait before the second try to connect; it doubles up to [`LONGEST_RETRY`]. To connect is no more than a
/// packet or two: who is back is found within half a minute, and the REGISTERs keep the waits of RFC 5626 §4.5.
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(12);
/// Before a flow that broke is made anew, where no other serves, in milliseconds: it may be that of an edge that
/// starts anew, whose clients do not come in the same second.
const BROKEN: std::ops::Range<u64> = 500..4_000;
/// Between two small questions on a flow over UDP on which nobody answers, in seconds.
const PROBE: std::ops::Range<f64> = 12.0..18.0;
/// The same failure is told again after this, so that a journal is not filled with it.
const TELL_AGAIN: Duration = Duration::from_secs(30 * 60);
/// Unanswered ones after which the server is looked up anew.
const PROBES: u32 = 2;
/// Within how long the REGISTERs of a flow that has come about are sent: the sixth of the time for which nothing
/// worked, in these bounds. Who was away for long was perhaps not alone, and with the wait before the last attempt
/// to connect it is 30 s at most.
const SPREAD: std::ops::Range<Duration> = Duration::from_millis(500)..Duration::from_secs(16);
/// Within how long what failed by silence is tried again when the network is back; twice that where it was away
/// for long.
const BACK: Duration = Duration::from_secs(5);
/// Gateways that get their power back together do not come together, in milliseconds.
const FIRST: std::ops::Range<u64> = 0..4_000;

impl Way {
    pub fn new(upstream: usize, edge: config::Edge, registrations: Vec<usize>) -> Self {
        Self {
            upstream,
            edge,
            registrations,
            hop: None,
            connecting: false,
            retry: None,
            failures: 0,
            lost: None,
            alive: None,
            answers: Answers::default(),
            probe: None,
            probes: 0,
            moves: false,
            useless: 0,
            patience: Backoff::default(),
            garbled: 0,
            since: None,
            fault: None,
            told: None,
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let alive = self.alive.as_ref().and_then(Keepalive::next_deadline);
        [self.retry, self.probe, alive].into_iter().flatten().min()
    }

    pub fn hop(&self) -> Option<Hop> {
        self.hop
    }

    /// Nothing is done with it, and nothing will be.
    pub fn stop(&mut self) {
        (self.retry, self.probe, self.alive) = (None, None, None);
    }

    /// Within how long what comes after it works again is to be spread.
    fn spread(&self, now: Now) -> Duration {
        let away = self.lost.map(|lost| now.mono.saturating_duration_since(lost)).unwrap_or_default();
        (away / 6).clamp(SPREAD.start, SPREAD.end)
    }

    fn is_idle(&self) -> bool {
        self.hop.is_none() && !self.connecting && self.retry.is_none()
    }
}

impl Gateway {
    /// Begins with an upstream: its first way, and the others when that is known to be no way, or when the
    /// registrar takes them all.
    pub(super) fn start_ways(&mut self, upstream: usize, now: Now) {
        let first = self.upstreams.get(upstream).and_then(|it| it.ways.first().copied());
        let registers = self.upstreams.get(upstream).is_some_and(|it| it.settings.peer.is_none());
        let Some(first) = first else { return };
        let wait = Duration::from_millis(self.rng.random_range(FIRST));
        match self.ways.get_mut(first).filter(|_| registers) {
            Some(way) => way.retry = Some(now.mono + wait),
            None => self.connect(first),
        }
    }

    pub(super) fn connect(&mut self, key: usize) {
        let Some(way) = self.ways.get(key) else { return };
        if !self.is_in_force(way.upstream) || way.connecting || self.is_served_without(key) {
            return;
        }
        let (server, dial) = (way.edge.server.clone(), way.edge.dial.clone());
        if let Some(way) = self.ways.get_mut(key) {
            way.connecting = true;
            way.retry = None;
        }
        self.outputs.push_back(Output::Connect { upstream: key, server, dial });
    }

    /// Whether a registrar that knows one binding only has it over another way.
    fn is_served_without(&self, key: usize) -> bool {
        let Some(way) = self.ways.get(key) else { return false };
        let plain = |registration: &usize| {
            let registration = self.registrations.get(*registration);
            registration.is_some_and(|it| it.stands() && !it.terms().outbound)
        };
        self.ways.iter().any(|(other, it)| {
            other != key && it.upstream == way.upstream && it.registrations.iter().any(plain)
        })
    }

    pub(super) fn on_way_open(&mut self, key: usize, hop: Hop, now: Now) {
        let wanted = self.ways.get(key).is_some_and(|way| self.is_in_force(way.upstream));
        let Some(way) = self.ways.get_mut(key).filter(|_| wanted) else {
            // It was left while the connection was made.
            self.flows.remove(&hop.flow);
            self.outputs.push_back(Output::Close { flow: hop.flow });
            return;
        };
        let moved = std::mem::take(&mut way.moves);
        (way.connecting, way.retry, way.probe, way.probes) = (false, None, None, 0);
        // Without keep-alives of ours, the connection itself says when nobody is there.
        way.answers.pings |= hop.transport.keepalive().is_none();
        let mut alive = Keepalive::new(hop.transport, way.answers, &mut self.rng, now);
        if way.registrations.is_empty() {
            alive.agree(false, None, &mut self.rng, now);
        }
        way.alive = Some(alive);
        way.since = Some(now.mono);
        way.garbled = 0;
        way.hop = Some(hop);
        let (upstream, registrations, spread) = (way.upstream, way.registrations.clone(), way.spread(now));
        for registration in registrations {
            let Some(registration) = self.registrations.get_mut(registration) else { continue };
            match moved
                && (registration.is_silent() || registration.next_attempt().is_some_and(|at| at <= now.mono))
            {
                // Its waits go on, or are over.
                true => registration.on_flow_moved(hop),
                false => registration.on_flow_up(hop, spread, &mut self.rng, now),
            }
        }
        self.set_probe(key, now);
        if let Some(way) = self.ways.get_mut(key).filter(|way| moved && way.probe.is_some()) {
            // The packet that was due went into making this one.
            way.probe = Some(now.mono);
        }
        self.on_remote_flow_up(upstream, None, now);
        if self.ways.get(key).is_some_and(|way| way.registrations.is_empty()) {
            self.adopt(upstream, now);
        }
    }

    /// The flow to an upstream that what we have to say there goes over: one that is registered over, or any.
    pub(super) fn upstream_flow(&self, upstream: usize) -> Option<Hop> {
        let ways = || self.ways.values().filter(|way| way.upstream == upstream);
        let stands = |way: &&Way| {
            let stands = |key: &usize| self.registrations.get(*key).is_some_and(Registration::stands);
            way.registrations.iter().any(stands)
        };
        ways().find(stands).and_then(Way::hop).or_else(|| ways().find_map(Way::hop))
    }

    /// Of the registrations of an address, one over each flow, the one that serves: `handle` names them all,
    /// it is the first.
    pub(super) fn serving(&self, handle: usize) -> usize {
        let siblings = self.siblings(handle);
        let stands = |key: &usize| self.registrations.get(*key).is_some_and(Registration::stands);
        siblings.iter().copied().find(stands).unwrap_or(handle)
    }

    /// When the way of a registration is tried again, while it rests.
    pub(super) fn next_try(&self, registration: usize) -> Option<Instant> {
        let way = self.ways.values().find(|way| way.registrations.contains(&registration))?;
        way.retry.filter(|_| way.hop.is_none())
    }

    /// The upstream of a registration, and the first registration of the same address.
    pub(super) fn handle_of(&self, registration: usize) -> Option<(usize, usize)> {
        let way = self.ways.values().find(|way| way.registrations.contains(&registration))?;
        let first = self.siblings(registration).first().copied()?;
        Some((way.upstream, first))
    }

    pub(super) fn siblings(&self, registration: usize) -> Vec<usize> {
        let place = |way: &Way| way.registrations.iter().position(|key| *key == registration);
        let found = self.ways.values().find_map(|way| Some((way.upstream, place(way)?)));
        let Some((upstream, place)) = found else { return Vec::new() };
        let ways = self.ways.values().filter(|way| way.upstream == upstream);
        ways.filter_map(|way| way.registrations.get(place).copied()).collect()
    }

    /// An upstream answers: the waits begin anew.
    pub(super) fn upstream_works(&mut self, upstream: usize) {
        for way in self.ways.values_mut().filter(|way| way.upstream == upstream && way.hop.is_some()) {
            way.failures = 0;
        }
    }

    /// Makes other flows to a peer: its name is looked up again.
    pub(super) fn reopen_upstream(&mut self, upstream: usize, now: Now) {
        for key in self.ways.keys() {
            if self.ways.get(key).is_some_and(|way| way.upstream == upstream && way.hop.is_some()) {
                self.renew(key, now);
                self.connect_soon(key, now);
            }
        }
    }

    /// Gives the flow of a way up without a word about it: the next takes its place, and its dialogs.
    fn renew(&mut self, key: usize, now: Now) {
        let Some(way) = self.ways.get_mut(key) else { return };
        let (upstream, Some(hop)) = (way.upstream, way.hop.take()) else { return };
        self.flows.remove(&hop.flow);
        self.outputs.push_back(Output::Close { flow: hop.flow });
        self.notifier.on_flow_closed(hop.flow, now);
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.orphan(hop.flow);
        }
        if let Some(way) = self.ways.get_mut(key) {
            (way.alive, way.probe) = (None, None);
        }
    }

    fn connect_soon(&mut self, key: usize, now: Now) {
        if let Some(way) = self.ways.get_mut(key).filter(|way| !way.connecting) {
            way.retry = Some(now.mono);
        }
    }

    pub(super) fn on_connect_failed(&mut self, key: usize, why: &str, met: bool, now: Now) {
        let Some(way) = self.ways.get_mut(key) else { return };
        if way.connecting && !met {
            (way.useless, way.patience) = (0, Backoff::default());
        }
        self.on_no_flow(key, why, now);
        if met {
            self.be_patient(key, None, now);
        }
    }

    /// There is no flow, and another one is wanted.
    fn on_no_flow(&mut self, key: usize, why: &str, now: Now) {
        let Some(way) = self.ways.get(key) else { return };
        let (upstream, wanted) = (way.upstream, self.is_in_force(way.upstream));
        let factor = self.rng.random_range(0.5..1.0);
        let soon = Duration::from_millis(self.rng.random_range(BROKEN));
        let Some(way) = self.ways.get_mut(key) else { return };
        (way.connecting, way.hop, way.alive, way.probe) = (false, None, None, None);
        if !wanted {
            return;
        }
        let spare = self.standing_flow(upstream).is_some();
        let Some(way) = self.ways.get_mut(key) else { return };
        let wait = match way.failures {
            _ if spare => backoff::spare(&mut self.rng),
            0 => soon,
            failures => RETRY.saturating_mul(1 << failures.min(5)).min(LONGEST_RETRY).mul_f64(factor),
        };
        way.failures = way.failures.saturating_add(1);
        way.retry = Some(now.mono + wait);
        way.since = None;
        way.lost.get_or_insert(now.mono);
        let told = way.fault.replace((now.mono, why.to_owned())).is_some_and(|(_, before)| before == why)
            && way.told.is_some_and(|told| now.mono.saturating_duration_since(told) < TELL_AGAIN);
        way.told = way.told.filter(|_| told).or(Some(now.mono));
        for registration in way.registrations.clone() {
            if let Some(registration) = self.registrations.get_mut(registration) {
                registration.on_no_way(why);
            }
        }
        let Some(way) = self.ways.get(key) else { return };
        let words = way.edge.server.words();
        let settings = self.upstreams.get(upstream).map(|it| &it.settings);
        let address = settings.map(|settings| match settings.edges.len() {
            1 => settings.name.clone(),
            _ => format!("{} by {words}", settings.name),
        });
        let standing = format!("no way to it: {why}");
        let address = address.unwrap_or_default();
        if !told {
            self.outputs.push_back(Output::Tell(Notice::Registration { address, standing, good: false }));
        }
        self.wake_others(key);
        if !spare {
            self.hurry_others(key, now.mono + soon, now);
        }
        self.on_remote_flow_lost(upstream, why, now);
    }

    /// The flow of a way is gone.
    pub(super) fn on_way_closed(&mut self, key: usize, flow: FlowId, why: &str, now: Now) {
        let Some(way) = self.ways.get(key) else { return };
        let (upstream, registrations) = (way.upstream, way.registrations.clone());
        let known = || registrations.iter().filter_map(|it| self.registrations.get(*it));
        // Datagrams need nobody at the far end for a flow to come about.
        let useless = way.hop.is_some_and(|hop| hop.transport.is_reliable())
            && !registrations.is_empty()
            && !known().any(Registration::stands);
        let again = known().filter_map(Registration::next_attempt).max();
        for registration in &registrations {
            if let Some(registration) = self.registrations.get_mut(*registration) {
                registration.on_flow_down();
            }
        }
        if let Some(upstream) = self.upstreams.get_mut(upstream) {
            upstream.orphan(flow);
        }
        self.tell_others_up(upstream);
        let why =
            if useless { format!("{why}, before anything was registered there") } else { why.to_owned() };
        self.on_no_flow(key, &why, now);
        if useless {
            self.be_patient(key, again, now);
        }
        self.adopt(upstream, now);
    }

    /// A connection came about, and nothing was registered over it: nobody answers there, or whoever does hangs up. The second time
    /// on end, the next one has the patience of RFC 5626 §4.5.
    fn be_patient(&mut self, key: usize, again: Option<Instant>, now: Now) {
        let Some(way) = self.ways.get_mut(key) else { return };
        way.useless = way.useless.saturating_add(1);
        if way.useless > 1 {
            let again = again.unwrap_or_else(|| now.mono + way.patience.failed(false, &mut self.rng));
            way.retry = way.retry.map(|at| at.max(again));
        }
    }

    /// A flow is dead, whether or not its socket knows.
    pub(super) fn fail_flow(&mut self, key: usize, why: &str, now: Now) {
        let Some(hop) = self.ways.get(key).and_then(Way::hop) else { return };
        self.outputs.push_back(Output::Close { flow: hop.flow });
        self.on_closed(hop.flow, why, now);
        // It worked until now: the first try is made at once.
        let soon = Duration::from_millis(self.rng.random_range(0..1_000));
        if let Some(way) = self.ways.get_mut(key).filter(|way| way.failures <= 1 && way.retry.is_some()) {
            way.retry = Some(now.mono + soon);
        }
    }

    /// Dialogs that went over a flow that is gone go over one that is registered over (RFC 5626 §4.3: any
    /// flow to the same registrar serves).
    fn adopt(&mut self, upstream: usize, now: Now) {
        let Some(hop) = self.standing_flow(upstream) else { return };
        let Some(upstream) = self.upstreams.get_mut(upstream) else { return };
        for flow in upstream.take_orphans() {
            self.notifier.move_flow(flow, hop, now);
        }
    }

    fn standing_flow(&self, upstream: usize) -> Option<Hop> {
        let stands = |key: &usize| self.registrations.get(*key).is_some_and(Registration::stands);
        let ways = self.ways.values().filter(|way| way.upstream == upstream);
        // At a peer nothing is registered: its flow stands when it is open.
        let serves = |way: &&Way| way.registrations.is_empty() || way.registrations.iter().any(stands);
        ways.filter(serves).find_map(Way::hop)
    }

    /// A registration was answered, or was not: what follows for its flow and for the others.
    pub(super) fn on_way_registration(&mut self, registration: usize, now: Now) {
        let found = self.ways.iter().find(|(_, way)| way.registrations.contains(&registration));
        let Some(key) = found.map(|(key, _)| key) else { return };
        let Some(known) = self.registrations.get(registration) else { return };
        let (stands, silent, flow_failed) = (known.stands(), known.is_silent(), known.flow_failed());
        let (terms, back) = (known.terms().clone(), known.came_back(now.mono));
        let Some(way) = self.ways.get_mut(key) else { return };
        if silent {
            way.lost.get_or_insert(now.mono);
        }
        let (upstream, reliable) = (way.upstream, way.hop.is_some_and(|hop| hop.transport.is_reliable()));
        if stands {
            (way.failures, way.useless, way.patience) = (0, 0, Backoff::default());
            (way.told, way.lost) = (None, None);
            let hop = way.hop.filter(|_| back);
            self.agree(key, &terms, now);
            if terms.outbound {
                self.wake_others(key);
            }
            self.adopt(upstream, now);
            if let Some(hop) = hop {
                self.notifier.served_again(hop.flow, now);
            }
        } else if flow_failed {
            self.fail_flow(key, "the edge proxy says that the flow failed (430)", now);
        } else if silent && reliable && !way.answers.any() {
            // No pong tells whether it lives: a stream on which nobody answers is given up.
            self.fail_flow(key, "nobody answers there", now);
        } else if matches!(
            self.registrations.get(registration).map(Registration::standing),
            Some(Standing::Failed { .. })
        ) {
            self.wake_others(key);
        }
        if silent {
            self.doubt_others(key, now);
        }
        self.set_probe(key, now);
        self.tell_others_up(upstream);
    }

    /// What a registrar said of keep-alives, and where it saw us.
    fn agree(&mut self, key: usize, terms: &Terms, now: Now) {
        let Some(way) = self.ways.get_mut(key) else { return };
        let Some(alive) = &mut way.alive else { return };
        alive.agree(terms.keep.is_some(), terms.keep, &mut self.rng, now);
        let news = alive.look(terms.seen.filter(|_| !terms.outbound));
        if let Some(news) = news {
            self.on_alive_news(key, news, now);
        }
        let Some(way) = self.ways.get(key) else { return };
        // What nobody answered over this flow meanwhile is answered now.
        for sibling in &way.registrations {
            if let Some(sibling) = self.registrations.get_mut(*sibling) {
                sibling.on_network_back(BACK, &mut self.rng, now);
            }
        }
        if let Some(hop) = way.hop() {
            self.notifier.resume(hop.flow, now);
        }
    }
}

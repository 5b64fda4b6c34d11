//! Whether flows live: keep-alives, small questions where nobody answers, and what the network tells.

use std::time::Duration;

use rand::Rng as _;

use super::{BACK, LONGEST_RETRY, PROBE, PROBES, SPREAD};
use crate::gateway::Gateway;
use crate::sip::flow::backoff::Backoff;
use crate::sip::flow::keepalive::{Due, News};
use crate::sip::flow::stun::{self, Stun};
use crate::sip::registration::Registration;
use crate::sip::{FlowId, Hop};
use crate::timer::Now;

/// A wall clock that is off by less was not set, or it does not matter.
const SET: Duration = Duration::from_secs(60);

impl Gateway {
    pub(in crate::gateway) fn on_way_deadlines(&mut self, now: Now) {
        for key in self.ways.keys() {
            let Some(way) = self.ways.get_mut(key) else { continue };
            if way.retry.is_some_and(|at| at <= now.mono) {
                way.retry = None;
                self.connect(key);
            }
            let Some(way) = self.ways.get_mut(key) else { continue };
            let due = way.alive.as_mut().and_then(|alive| alive.on_deadline(&mut self.rng, now));
            match (due, way.hop) {
                (Some(Due::Send(bytes)), Some(hop)) => self.transactions.send_once(hop, bytes),
                (Some(Due::Ask), _) => self.ask(key, now),
                (Some(Due::Refresh(bytes)), Some(hop)) => {
                    self.transactions.send_once(hop, bytes);
                    self.refresh(key, 1, 100, now);
                }
                (Some(Due::Dead(why)), _) => self.fail_flow(key, &why, now),
                _ => {}
            }
            if self.ways.get(key).and_then(|way| way.probe).is_some_and(|at| at <= now.mono) {
                self.probe(key, now);
            }
        }
    }

    /// While nobody answers over UDP, a small question now and then finds out when somebody does.
    pub(super) fn set_probe(&mut self, key: usize, now: Now) {
        let Some(way) = self.ways.get(key) else { return };
        // None of them stands, and none is being tried just now.
        let silent = |key: &usize| self.registrations.get(*key).is_some_and(Registration::is_silent);
        let wanted = way.hop.is_some_and(|hop| !hop.transport.is_reliable())
            && !way.registrations.is_empty()
            && way.registrations.iter().all(silent);
        let wait = Duration::from_secs_f64(self.rng.random_range(PROBE));
        if let Some(way) = self.ways.get_mut(key) {
            way.probe = way.probe.filter(|_| wanted).or(wanted.then_some(now.mono + wait));
        }
    }

    fn probe(&mut self, key: usize, now: Now) {
        if let Some(way) = self.ways.get_mut(key) {
            way.probe = None;
        }
        self.set_probe(key, now);
        let Some(way) = self.ways.get_mut(key) else { return };
        if way.probe.take().is_none() {
            return;
        }
        if way.probes >= PROBES {
            // Perhaps its name leads somewhere else by now.
            return self.look_anew(key, now);
        }
        if way.probes > 0 {
            for registration in way.registrations.clone() {
                if let Some(registration) = self.registrations.get_mut(registration) {
                    registration.on_network_gone();
                }
            }
        }
        let Some(way) = self.ways.get_mut(key) else { return };
        way.probes += 1;
        self.ask_once(key);
        self.set_probe(key, now);
    }

    /// Where a server was too busy, what is due now is asked of another one of its name.
    pub(in crate::gateway) fn seek_others(&mut self, now: Now) {
        for key in self.ways.keys() {
            if !self.leaving && self.seeks_another(key, now) {
                self.look_anew(key, now);
            }
        }
    }

    /// Makes another flow, so that its name is looked up again: what is to be registered keeps its times.
    fn look_anew(&mut self, key: usize, now: Now) {
        let Some(way) = self.ways.get_mut(key) else { return };
        way.moves = true;
        for registration in way.registrations.clone() {
            if let Some(registration) = self.registrations.get_mut(registration) {
                registration.on_flow_moving();
            }
        }
        self.renew(key, now);
        self.connect(key);
    }

    /// Whether nothing stands over a flow, and what is due now is better asked of another server.
    fn seeks_another(&self, key: usize, now: Now) -> bool {
        let Some(way) = self.ways.get(key).filter(|way| way.hop.is_some()) else { return false };
        let known = || way.registrations.iter().filter_map(|at| self.registrations.get(*at));
        self.is_in_force(way.upstream)
            && known().all(|it| it.next_attempt().is_some())
            && known().any(|it| it.seeks_another() && it.next_attempt().is_some_and(|at| at <= now.mono))
    }

    /// Refreshes the first bindings of a way within so many milliseconds, whatever their lifetime.
    pub(super) fn refresh(&mut self, key: usize, first: usize, within: u64, now: Now) {
        let Some(way) = self.ways.get(key) else { return };
        for registration in way.registrations.iter().take(first) {
            let at = now.mono + Duration::from_millis(self.rng.random_range(1..=within));
            if let Some(registration) = self.registrations.get_mut(*registration) {
                registration.refresh_by(at);
            }
        }
    }

    /// Nobody answered a REGISTER, and nothing else tells whether somebody is there: what was registered over the same flow may
    /// be as lost, and is asked for.
    pub(super) fn doubt_others(&mut self, key: usize, now: Now) {
        if self.ways.get(key).is_some_and(|way| way.hop.is_some() && !way.answers.any()) {
            let within = u64::try_from(SPREAD.end.as_millis()).unwrap_or(u64::MAX);
            self.refresh(key, usize::MAX, within, now);
        }
    }

    /// What an answer showed. A registrar that registers flows gets a new one when its address is another
    /// (RFC 5626 §4.4.2); any other is told of it over the one that there is.
    pub(super) fn on_alive_news(&mut self, key: usize, news: News, now: Now) {
        match news {
            News::Well => {}
            News::Back => self.refresh(key, usize::MAX, 2_000, now),
            News::Moved(why) if self.registers_flows(key) => self.fail_flow(key, &why, now),
            News::Moved(why) => {
                if let Some(way) = self.ways.get_mut(key) {
                    way.fault = Some((now.mono, why));
                }
                self.refresh(key, usize::MAX, 1_000, now);
            }
        }
    }

    fn registers_flows(&self, key: usize) -> bool {
        let outbound = |at: &usize| self.registrations.get(*at).is_none_or(|it| it.terms().outbound);
        self.ways.get(key).is_some_and(|way| way.registrations.iter().all(outbound))
    }

    /// Something came over the flow of a way, from its far end: so there is one.
    pub(in crate::gateway) fn heard(&mut self, hop: Hop, now: Now) {
        let Some(key) = self.way_of(hop) else { return };
        let Some(way) = self.ways.get_mut(key).filter(|way| way.probe.is_some()) else { return };
        (way.probe, way.probes) = (None, 0);
        // Together with the wait for the question that is 30 s at most.
        let within = way.spread(now).clamp(BACK, 2 * BACK);
        for registration in way.registrations.clone() {
            if let Some(registration) = self.registrations.get_mut(registration) {
                registration.on_network_back(within, &mut self.rng, now);
            }
        }
    }

    /// What came over `hop` was no SIP.
    pub(in crate::gateway) fn garbled(&mut self, hop: Hop) {
        if let Some(way) = self.way_of(hop).and_then(|key| self.ways.get_mut(key)) {
            way.garbled = way.garbled.saturating_add(1);
        }
    }

    pub(in crate::gateway) fn on_pong(&mut self, flow: FlowId, now: Now) {
        let Some(key) = self.flows.get(&flow).and_then(|flow| flow.upstream) else { return };
        let Some(way) = self.ways.get_mut(key) else { return };
        if let Some(alive) = &mut way.alive {
            alive.on_pong(&mut self.rng, now);
            way.answers = alive.answers();
        }
        self.notifier.resume(flow, now);
    }

    /// A STUN packet: an answer to a keep-alive of ours, or the keep-alive of a phone.
    pub(in crate::gateway) fn on_stun(&mut self, hop: Hop, packet: &[u8], now: Now) {
        let Some(stun) = stun::parse(packet) else { return };
        let way = self.flows.get(&hop.flow).filter(|flow| flow.hop.peer == hop.peer);
        let key = way.and_then(|flow| flow.upstream);
        match (stun, key) {
            (Stun::Request(id), _) => self.transactions.send_once(hop, stun::answer(id, hop.peer)),
            (stun, Some(key)) => {
                let Some(way) = self.ways.get_mut(key) else { return };
                let Some(alive) = &mut way.alive else { return };
                let news = alive.on_stun(stun, &mut self.rng, now);
                way.answers = alive.answers();
                match news {
                    // A STUN server takes the flow itself for what moved.
                    News::Moved(why) => self.fail_flow(key, &why, now),
                    news => {
                        self.on_alive_news(key, news, now);
                        self.notifier.resume(hop.flow, now);
                    }
                }
            }
            (_, None) => {}
        }
    }

    /// A peer answers keep-alives over the flow that `hop` is of, or does so no more: `keep` has what each dialog there agreed on, in
    /// seconds (RFC 6223 §4.2.3). The shortest counts.
    pub(in crate::gateway) fn keep_for_dialogs(&mut self, hop: Hop, keep: &[u32], now: Now) {
        let Some(way) = self.way_of(hop).and_then(|key| self.ways.get_mut(key)) else { return };
        // Where something is registered, that was asked for with it.
        if let Some(alive) = way.alive.as_mut().filter(|_| way.registrations.is_empty()) {
            let least = keep.iter().copied().filter(|seconds| *seconds > 0).min();
            alive.agree(!keep.is_empty(), least, &mut self.rng, now);
        }
    }

    /// The wall clock was set, as on a machine that learns the time after its start: a certificate that was not valid yet may be
    /// now, so those who rest for long try again.
    pub(in crate::gateway) fn on_clock(&mut self, now: Now) {
        let off = now.wall_at(self.clock.mono).saturating_sub(self.clock.wall_ms).unsigned_abs();
        let lately = |at| now.mono.saturating_duration_since(at) < LONGEST_RETRY;
        if Duration::from_millis(off) < SET || self.clock_set.is_some_and(lately) {
            return;
        }
        self.clock_set = Some(now.mono);
        for way in self.ways.values_mut() {
            (way.useless, way.patience) = (0, Backoff::default());
        }
        self.on_network(now);
    }

    /// The machine's network changed: what is open is asked whether it lives, what rests is tried.
    pub(in crate::gateway) fn on_network(&mut self, now: Now) {
        for key in self.ways.keys() {
            let soon = Duration::from_millis(self.rng.random_range(0..2_000));
            let Some(way) = self.ways.get_mut(key) else { continue };
            if let Some(alive) = &mut way.alive {
                alive.hurry(now);
            }
            way.retry = way.retry.map(|at| at.min(now.mono + soon));
            for registration in way.registrations.clone() {
                if let Some(registration) = self.registrations.get_mut(registration) {
                    registration.on_network_back(BACK, &mut self.rng, now);
                }
            }
        }
    }
}

//! Registrars and peers elsewhere: which there are, what is registered there, and what is believed of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::request::Request;
use super::ways::Way;
use super::{Gateway, Notice, Output};
use crate::config;
use crate::config::access::Identity;
use crate::config::change::Change;
use crate::sip::FlowId;
use crate::sip::registration::{self, Echo, Registration, RegistrationId, Standing};
use crate::sip::wire::{Address, Name};
use crate::timer::Now;

/// One upstream.
#[derive(Debug)]
pub(super) struct Upstream {
    /// What the home file says of it.
    pub(super) settings: config::Upstream,
    /// Its place in the configuration in force; `None`: it is not there any more, and is being left.
    place: Option<usize>,
    /// Its ways, in the order of the home file.
    pub(super) ways: Vec<usize>,
    /// Flows that are gone, and dialogs that went over them may go over others.
    orphans: Vec<FlowId>,
    /// When it is given up that is being left.
    until: Option<Instant>,
    /// The one before it of the same name, which says goodbye first.
    after: Option<usize>,
    /// Whether it still knows us.
    pub(super) echo: Echo,
}

/// Flows that are gone of which dialogs are moved; of older ones they wait for their watchers.
const ORPHANS: usize = 64;

impl Upstream {
    /// Whether it is in the home file.
    pub fn is_in_force(&self) -> bool {
        self.place.is_some()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        [self.until, self.echo.next_deadline()].into_iter().flatten().min()
    }

    /// A flow is gone that dialogs went over.
    pub fn orphan(&mut self, flow: FlowId) {
        if self.orphans.len() >= ORPHANS {
            self.orphans.remove(0);
        }
        self.orphans.push(flow);
    }

    /// The same for one that there never was in this run; once.
    pub fn await_heir(&mut self, flow: FlowId) {
        if !self.orphans.contains(&flow) {
            self.orphan(flow);
        }
    }

    /// Flows that are gone and have no heir yet.
    pub fn take_orphans(&mut self) -> Vec<FlowId> {
        std::mem::take(&mut self.orphans)
    }
}

/// How long a server that is left gets to answer.
const FAREWELL: Duration = Duration::from_secs(2);

impl Gateway {
    pub(super) fn start_upstreams(&mut self, now: Now) {
        for place in 0..self.config.upstreams.len() {
            self.add_upstream(place, None, now);
        }
    }

    fn add_upstream(&mut self, place: usize, after: Option<usize>, now: Now) {
        let config = self.config.clone();
        let Some(settings) = config.upstreams.get(place) else { return };
        let key = self.upstreams.add(Upstream {
            settings: settings.clone(),
            place: Some(place),
            ways: Vec::new(),
            orphans: Vec::new(),
            until: None,
            after,
            echo: Echo::default(),
        });
        for (nth, edge) in settings.edges.iter().enumerate() {
            let identities = settings.accounts.iter().map(|of| identity(settings, nth, of));
            let registrations = identities.map(|identity| self.add_registration(identity)).collect();
            let way = self.ways.add(Way::new(key, edge.clone(), registrations));
            if let Some(upstream) = self.upstreams.get_mut(key) {
                upstream.ways.push(way);
            }
        }
        if after.is_none() {
            self.start_ways(key, now);
        }
    }

    fn add_registration(&mut self, identity: registration::Identity) -> usize {
        let id = RegistrationId(self.registrations.next_key());
        let registration = Registration::new(id, identity, &mut self.rng);
        self.registrations.add(registration)
    }

    /// The registrars and peers of a new configuration: those that stay keep their flow and every
    /// registration that says the same.
    pub(super) fn reload_upstreams(&mut self, change: &Change, now: Now) {
        let config = self.config.clone();
        let mut left = Vec::new();
        for key in self.upstreams.keys() {
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            let Some(before) = upstream.place else { continue };
            upstream.place = change.upstream(before);
            match upstream.place.and_then(|place| config.upstreams.get(place)) {
                Some(settings) => {
                    upstream.settings = settings.clone();
                    self.reload_accounts(key, now);
                }
                None => {
                    self.leave_upstream(key, now);
                    left.push(key);
                }
            }
        }
        for (place, settings) in config.upstreams.iter().enumerate() {
            if self.upstreams.values().any(|upstream| upstream.place == Some(place)) {
                continue;
            }
            let before = left.iter().copied().find(|key| {
                self.upstreams.get(*key).is_some_and(|before| before.settings.name == settings.name)
            });
            self.add_upstream(place, before, now);
        }
    }

    fn reload_accounts(&mut self, key: usize, now: Now) {
        let ways = self.upstreams.get(key).map(|upstream| upstream.ways.clone()).unwrap_or_default();
        for (nth, way) in ways.into_iter().enumerate() {
            self.reload_way(key, nth, way, now);
        }
    }

    /// An account that says the same keeps its registration. One whose Contact stays is registered over
    /// the old one, which a goodbye would take away.
    fn reload_way(&mut self, key: usize, nth: usize, way: usize, now: Now) {
        let (Some(upstream), Some(of)) = (self.upstreams.get(key), self.ways.get(way)) else { return };
        let (hop, settings) = (of.hop(), upstream.settings.clone());
        let mut old = of.registrations.clone();
        let mut registrations = Vec::new();
        for account in &settings.accounts {
            let identity = identity(&settings, nth, account);
            let found = old.iter().position(|at| {
                self.registrations.get(*at).is_some_and(|known| known.identity().is_address_of(&identity))
            });
            let known = found.map(|found| old.remove(found));
            if let Some(known) = known
                && self.registrations.get(known).is_some_and(|known| known.identity().is_same(&identity))
            {
                registrations.push(known);
                continue;
            }
            let before = known.and_then(|known| self.registrations.remove(known));
            let new = self.add_registration(identity);
            if let (Some(mut before), Some(new)) = (before, self.registrations.get_mut(new)) {
                new.succeed(&mut before);
            }
            if let (Some(hop), Some(registration)) = (hop, self.registrations.get_mut(new)) {
                registration.on_flow_up(hop, Duration::from_millis(500), &mut self.rng, now);
            }
            registrations.push(new);
        }
        for gone in old {
            self.leave_registration(gone, now);
        }
        if let Some(way) = self.ways.get_mut(way) {
            way.registrations = registrations;
        }
    }

    fn leave_registration(&mut self, key: usize, now: Now) {
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.leave(&mut self.transactions, now);
        }
    }

    fn leave_upstream(&mut self, key: usize, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        upstream.until = Some(now.mono + FAREWELL);
        for way in upstream.ways.clone() {
            let Some(way) = self.ways.get_mut(way) else { continue };
            way.stop();
            for registration in way.registrations.clone() {
                self.leave_registration(registration, now);
            }
        }
    }

    /// What was left has said goodbye, or has no time left to: it is forgotten, and what came in its
    /// place begins.
    pub(super) fn forget_what_left(&mut self, now: Now) {
        if !self.upstreams.values().all(Upstream::is_in_force) {
            self.forget_upstreams(now);
        }
        self.remotes.retain(|remote| !(remote.is_leaving() && remote.is_over()));
        self.announcements.retain(|one| !one.is_over());
        let needed: usize = self.ways.values().map(|way| way.registrations.len()).sum();
        if needed < self.registrations.len() {
            self.forget_registrations();
        }
    }

    fn forget_upstreams(&mut self, now: Now) {
        let over = |key: &usize| {
            let Some(upstream) = self.upstreams.get(*key).filter(|it| it.place.is_none()) else {
                return false;
            };
            let mut ways = upstream.ways.iter().filter_map(|way| self.ways.get(*way));
            let leaves = |at: &usize| self.registrations.get(*at).is_some_and(Registration::is_leaving);
            let speaks = ways.any(|way| way.hop().is_some() && way.registrations.iter().any(leaves))
                || self.upstream_flow(*key).is_some() && self.is_leaving_elsewhere(*key);
            !speaks || upstream.until.is_none_or(|until| until <= now.mono)
        };
        let over: Vec<usize> = self.upstreams.keys().into_iter().filter(over).collect();
        for key in over {
            let Some(upstream) = self.upstreams.remove(key) else { continue };
            for way in upstream.ways {
                let Some(way) = self.ways.remove(way) else { continue };
                self.forget_elsewhere(key, &way.registrations);
                if let Some(hop) = way.hop() {
                    self.outputs.push_back(Output::Close { flow: hop.flow });
                    self.on_closed(hop.flow, "it is not in the home file any more", now);
                }
            }
            for next in self.upstreams.keys() {
                let successor = self.upstreams.get_mut(next).filter(|next| next.after == Some(key));
                if let Some(successor) = successor {
                    successor.after = None;
                    self.start_ways(next, now);
                }
            }
        }
    }

    /// Those of ways that are gone, and those that took themselves back.
    fn forget_registrations(&mut self) {
        let Self { ways, registrations, .. } = self;
        let needed: BTreeSet<usize> =
            ways.values().flat_map(|way| way.registrations.iter().copied()).collect();
        for key in registrations.keys() {
            let speaks = registrations.get(key).is_some_and(Registration::is_leaving);
            if !needed.contains(&key) && !speaks {
                registrations.remove(key);
            }
        }
    }

    /// What is under this place in the configuration in force.
    pub(super) fn upstream_at(&self, place: usize) -> Option<usize> {
        self.upstreams.iter().find(|(_, upstream)| upstream.place == Some(place)).map(|(key, _)| key)
    }

    pub(super) fn is_in_force(&self, key: usize) -> bool {
        self.upstreams.get(key).is_some_and(Upstream::is_in_force)
    }

    /// The registrations of an upstream over its first way, in the order of its accounts: they name those
    /// over all of them.
    pub(super) fn registrations_at(&self, key: usize) -> &[usize] {
        let first = self.upstreams.get(key).and_then(|upstream| upstream.ways.first());
        first.and_then(|way| self.ways.get(*way)).map_or(&[], |way| &way.registrations)
    }

    pub(super) fn on_upstream_deadlines(&mut self, now: Now) {
        self.on_way_deadlines(now);
        self.on_echo_deadlines(now);
        self.forget_what_left(now);
    }

    /// A name that a trusted upstream vouches for: exactly one P-Asserted-Identity, over the flow
    /// that we opened to it, and only when the home file says so.
    pub(super) fn asserted(&self, index: usize, request: &Request<'_, '_>) -> Option<Identity> {
        let upstream = self.upstreams.get(index).map(|upstream| &upstream.settings)?;
        if !upstream.trust_asserted {
            return None;
        }
        let mut values = request.message.list(Name::PAssertedIdentity);
        let (value, None) = (values.next()?, values.next()) else { return None };
        let address = Address::parse(value).ok()?;
        let ours = address.uri.is_sip() && address.uri.host.eq_ignore_ascii_case(&upstream.domain);
        ours.then(|| Identity::Asserted(address.uri.address().into_owned()))
    }

    /// A registration was answered, or was not: what waits for it goes on when it stands.
    pub(super) fn on_registration(&mut self, index: usize, now: Now) {
        self.tell_registration(index);
        self.on_way_registration(index, now);
        self.replace_gruus(index, now);
        let stands = self.registrations.get(index).is_some_and(Registration::stands);
        if let Some((via, handle)) = self.handle_of(index).filter(|_| stands) {
            self.on_service_route(handle);
            self.on_echo_bound(index, now);
            self.on_remote_flow_up(via, Some(handle), now);
        }
    }

    /// Tells the journal how a registration stands.
    pub(super) fn tell_registration(&mut self, index: usize) {
        let Some(registration) = self.registrations.get_mut(index) else { return };
        if !registration.is_news() {
            return;
        }
        let (standing, good) = match registration.standing() {
            Standing::Registered { .. } => ("registered".to_owned(), true),
            Standing::Failed { why, .. } => (why.clone(), false),
            Standing::Trying | Standing::NoFlow => return,
        };
        self.outputs.push_back(Output::Tell(Notice::Registration {
            address: registration.address(),
            standing,
            good,
        }));
    }
}

/// What is registered for an account over the nth way.
fn identity(upstream: &config::Upstream, nth: usize, account: &config::Account) -> registration::Identity {
    let proxy = upstream.edges.get(nth).filter(|edge| edge.is_proxy);
    registration::Identity {
        user: account.user.clone(),
        domain: upstream.domain.clone(),
        auth_user: account.auth_user.clone(),
        password: account.password.clone(),
        expires: upstream.expires,
        reg_id: u8::try_from(nth + 1).ok(),
        route: proxy.map(|edge| edge.server.route()),
    }
}

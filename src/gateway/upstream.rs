//! Registrars elsewhere: keeping a flow to each, and what is believed of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::request::Request;
use super::{Gateway, Notice, Output};
use crate::config::access::Identity;
use crate::config::change::Change;
use crate::config::{self, Config};
use crate::sip::registration::{self, Registration, RegistrationId, Standing};
use crate::sip::wire::{Address, Name};
use crate::sip::{FlowId, Hop};
use crate::timer::Now;

/// One upstream and its flow.
#[derive(Debug)]
pub(super) struct Upstream {
    /// What the home file says of it.
    pub(super) settings: config::Upstream,
    /// Its place in the configuration in force; `None`: it is not there any more, and is being left.
    place: Option<usize>,
    /// Its registrations, in the order of its accounts.
    pub(super) registrations: Vec<usize>,
    flow: Option<Hop>,
    /// When to connect again.
    retry: Option<Instant>,
    failures: u32,
    /// When to send the next keep-alive.
    keepalive: Option<Instant>,
    /// When it is given up that is being left.
    until: Option<Instant>,
    /// The one before it of the same name, which says goodbye first.
    after: Option<usize>,
}

impl Upstream {
    /// Whether it is in the home file.
    pub fn is_in_force(&self) -> bool {
        self.place.is_some()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        [self.retry, self.keepalive, self.until].into_iter().flatten().min()
    }
}

/// The wait before the second try to connect; it doubles up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
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
        let identities = settings.accounts.iter().map(|account| identity(&config, settings, account));
        let registrations = identities.map(|identity| self.add_registration(identity)).collect();
        let key = self.upstreams.add(Upstream {
            settings: settings.clone(),
            place: Some(place),
            registrations,
            flow: None,
            retry: None,
            failures: 0,
            keepalive: None,
            until: None,
            after,
        });
        if after.is_none() {
            self.connect(key, now);
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

    /// An account that says the same keeps its registration. One whose Contact stays is registered over
    /// the old one, which a goodbye would take away.
    fn reload_accounts(&mut self, key: usize, now: Now) {
        let config = self.config.clone();
        let Some(upstream) = self.upstreams.get(key) else { return };
        let (hop, settings) = (upstream.flow, upstream.settings.clone());
        let mut old = upstream.registrations.clone();
        let mut registrations = Vec::new();
        for account in &settings.accounts {
            let identity = identity(&config, &settings, account);
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
            if let Some(known) = known {
                self.registrations.remove(known);
            }
            let new = self.add_registration(identity);
            if let (Some(hop), Some(registration)) = (hop, self.registrations.get_mut(new)) {
                registration.on_flow_up(hop, &mut self.rng, now);
            }
            registrations.push(new);
        }
        for gone in old {
            self.leave_registration(gone, now);
        }
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.registrations = registrations;
        }
    }

    fn leave_registration(&mut self, key: usize, now: Now) {
        if let Some(registration) = self.registrations.get_mut(key) {
            registration.leave(&mut self.transactions, now);
        }
    }

    fn leave_upstream(&mut self, key: usize, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        (upstream.retry, upstream.keepalive) = (None, None);
        upstream.until = Some(now.mono + FAREWELL);
        for registration in upstream.registrations.clone() {
            self.leave_registration(registration, now);
        }
    }

    /// What was left has said goodbye, or has no time left to: it is forgotten, and what came in its
    /// place begins.
    pub(super) fn forget_what_left(&mut self, now: Now) {
        let over = |key: &usize| {
            let Some(upstream) = self.upstreams.get(*key).filter(|it| it.place.is_none()) else {
                return false;
            };
            let speaks = upstream.flow.is_some()
                && (upstream
                    .registrations
                    .iter()
                    .any(|at| self.registrations.get(*at).is_some_and(Registration::is_leaving))
                    || self.is_leaving_elsewhere(*key));
            !speaks || upstream.until.is_none_or(|until| until <= now.mono)
        };
        let over: Vec<usize> = self.upstreams.keys().into_iter().filter(over).collect();
        for key in over {
            let Some(upstream) = self.upstreams.remove(key) else { continue };
            self.forget_elsewhere(key, &upstream.registrations);
            if let Some(hop) = upstream.flow {
                self.outputs.push_back(Output::Close { flow: hop.flow });
                self.on_closed(hop.flow, "it is not in the home file any more", now);
            }
            for next in self.upstreams.keys() {
                let successor = self.upstreams.get_mut(next).filter(|next| next.after == Some(key));
                if let Some(successor) = successor {
                    successor.after = None;
                    self.connect(next, now);
                }
            }
        }
        self.remotes.retain(|remote| !(remote.is_leaving() && remote.is_over()));
        self.announcements.retain(|one| !one.is_over());
        let Self { upstreams, registrations, .. } = self;
        let needed: BTreeSet<usize> =
            upstreams.values().flat_map(|upstream| upstream.registrations.iter().copied()).collect();
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

    fn connect(&mut self, key: usize, _now: Now) {
        let Some(upstream) = self.upstreams.get(key).filter(|upstream| upstream.place.is_some()) else {
            return;
        };
        let (server, transport) = (upstream.settings.server.clone(), upstream.settings.transport);
        let dial = upstream.settings.dial.clone();
        self.outputs.push_back(Output::Connect { upstream: key, server, transport, dial });
    }

    pub(super) fn on_upstream_open(&mut self, key: usize, hop: Hop, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(key).filter(|upstream| upstream.place.is_some()) else {
            // It was left while the connection was made.
            self.flows.remove(&hop.flow);
            self.outputs.push_back(Output::Close { flow: hop.flow });
            return;
        };
        upstream.flow = Some(hop);
        upstream.retry = None;
        let registrations = upstream.registrations.clone();
        self.set_keepalive(key, now);
        for registration in registrations {
            if let Some(registration) = self.registrations.get_mut(registration) {
                registration.on_flow_up(hop, &mut self.rng, now);
            }
        }
        self.on_remote_flow_up(key, None, now);
    }

    /// The flow to an upstream, while there is one.
    pub(super) fn upstream_flow(&self, index: usize) -> Option<Hop> {
        self.upstreams.get(index)?.flow
    }

    /// An upstream answers: the waits begin anew.
    pub(super) fn upstream_works(&mut self, index: usize) {
        if let Some(upstream) = self.upstreams.get_mut(index) {
            upstream.failures = 0;
        }
    }

    /// Makes another flow to a peer: its name is looked up again.
    pub(super) fn reopen_upstream(&mut self, index: usize, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        let Some(hop) = upstream.flow.take() else { return };
        upstream.keepalive = None;
        if hop.transport.is_reliable() {
            self.outputs.push_back(Output::Close { flow: hop.flow });
        } else {
            upstream.retry = Some(now.mono);
            self.flows.remove(&hop.flow);
        }
    }

    pub(super) fn on_connect_failed(&mut self, index: usize, why: &str, now: Now) {
        let wait = {
            let Some(upstream) = self.upstreams.get_mut(index) else { return };
            if upstream.place.is_none() {
                upstream.flow = None;
                return;
            }
            let wait = RETRY.saturating_mul(1 << upstream.failures.min(5)).min(LONGEST_RETRY);
            upstream.failures = upstream.failures.saturating_add(1);
            wait.mul_f64(self.rng.random_range(0.5..1.0))
        };
        if let Some(upstream) = self.upstreams.get_mut(index) {
            upstream.flow = None;
            upstream.keepalive = None;
            upstream.retry = Some(now.mono + wait);
        }
        let name =
            self.upstreams.get(index).map(|upstream| upstream.settings.name.clone()).unwrap_or_default();
        let standing = format!("no way to it: {why}");
        self.outputs.push_back(Output::Tell(Notice::Registration { address: name, standing, good: false }));
        self.on_remote_flow_lost(index, why, now);
    }

    pub(super) fn on_upstream_closed(&mut self, index: usize, why: &str, now: Now) {
        let Some(upstream) = self.upstreams.get(index) else { return };
        for registration in upstream.registrations.clone() {
            if let Some(registration) = self.registrations.get_mut(registration) {
                registration.on_flow_down();
            }
        }
        self.on_connect_failed(index, why, now);
    }

    pub(super) fn on_upstream_deadlines(&mut self, now: Now) {
        for index in self.upstreams.keys() {
            let Some(upstream) = self.upstreams.get_mut(index) else { continue };
            if upstream.retry.is_some_and(|at| at <= now.mono) {
                upstream.retry = None;
                self.connect(index, now);
            }
            let Some(upstream) = self.upstreams.get_mut(index) else { continue };
            if upstream.keepalive.is_some_and(|at| at <= now.mono) {
                if let Some(hop) = upstream.flow {
                    self.transactions.send_once(hop, b"\r\n\r\n".to_vec());
                }
                self.set_keepalive(index, now);
            }
        }
        self.forget_what_left(now);
    }

    fn set_keepalive(&mut self, index: usize, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        let Some(hop) = upstream.flow else { return };
        let seconds = hop.transport.keepalive();
        upstream.keepalive = Some(now.mono + Duration::from_secs_f64(self.rng.random_range(seconds)));
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

    /// What waits for a registration goes on when it stands.
    pub(super) fn on_registration(&mut self, index: usize, now: Now) {
        self.tell_registration(index);
        let stands = self
            .registrations
            .get(index)
            .is_some_and(|registration| matches!(registration.standing(), Standing::Registered { .. }));
        let of = |(_, upstream): &(usize, &Upstream)| upstream.registrations.contains(&index);
        let via = self.upstreams.iter().find(of).map(|(key, _)| key);
        if let Some(via) = via.filter(|_| stands) {
            self.on_remote_flow_up(via, Some(index), now);
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
        if good
            && let Some(upstream) =
                self.upstreams.values_mut().find(|upstream| upstream.registrations.contains(&index))
        {
            upstream.failures = 0;
        }
        self.outputs.push_back(Output::Tell(Notice::Registration {
            address: registration.address(),
            standing,
            good,
        }));
    }

    /// The flow and the address at which requests of the gateway itself go out behind `flow`.
    pub(super) fn account_of(&self, flow: FlowId, device: Option<usize>) -> Option<String> {
        let index = self.flows.get(&flow)?.upstream?;
        let upstream = &self.upstreams.get(index)?.settings;
        let fits = |account: &&crate::config::Account| account.device.map(|device| device.0) == device;
        let account = upstream.accounts.iter().find(fits).or_else(|| upstream.accounts.first())?;
        Some(format!("sip:{}@{}", account.user, upstream.domain))
    }
}

/// What is registered for an account.
fn identity(
    config: &Config,
    upstream: &config::Upstream,
    account: &config::Account,
) -> registration::Identity {
    let device = account.device.and_then(|device| config.devices.get(device.0));
    registration::Identity {
        user: account.user.clone(),
        domain: upstream.domain.clone(),
        auth_user: account.auth_user.clone(),
        password: account.password.clone(),
        contact_user: device.map_or(&config.house.user, |device| &device.id).clone(),
        expires: upstream.expires,
        reg_id: Some(1),
        route: None,
    }
}

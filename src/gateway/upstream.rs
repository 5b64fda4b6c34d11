//! Registrars elsewhere: keeping a flow to each, and what is believed of them.

use std::time::{Duration, Instant};

use rand::Rng as _;

use super::request::Request;
use super::{Gateway, Notice, Output};
use crate::config::access::Identity;
use crate::sip::registration::{self, Registration, RegistrationId, Standing};
use crate::sip::wire::{Address, Name};
use crate::sip::{FlowId, Hop};
use crate::timer::Now;

/// One upstream and its flow.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    flow: Option<Hop>,
    /// When to connect again.
    retry: Option<Instant>,
    failures: u32,
    /// When to send the next keep-alive.
    keepalive: Option<Instant>,
    /// Its registrations.
    pub(super) range: std::ops::Range<usize>,
}

impl Upstream {
    /// The first of its registrations.
    pub fn first(&self) -> usize {
        self.range.start
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        [self.retry, self.keepalive].into_iter().flatten().min()
    }
}

/// The wait before the second try to connect; it doubles up to [`LONGEST_RETRY`].
const RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(30);

impl Gateway {
    pub(super) fn start_upstreams(&mut self, now: Now) {
        let config = self.config.clone();
        for (index, upstream) in config.upstreams.iter().enumerate() {
            let first = self.registrations.len();
            for account in &upstream.accounts {
                let device = account.device.and_then(|device| config.devices.get(device.0));
                let identity = registration::Identity {
                    user: account.user.clone(),
                    domain: upstream.domain.clone(),
                    auth_user: account.auth_user.clone(),
                    password: account.password.clone(),
                    contact_user: device.map_or(&config.house.user, |device| &device.id).clone(),
                    expires: upstream.expires,
                    reg_id: Some(1),
                    route: None,
                };
                let id = RegistrationId(self.registrations.len());
                self.registrations.push(Registration::new(id, identity, &mut self.rng));
            }
            self.upstreams.push(Upstream { range: first..self.registrations.len(), ..Upstream::default() });
            self.connect(index, now);
        }
    }

    fn connect(&mut self, index: usize, _now: Now) {
        let Some(upstream) = self.config.upstreams.get(index) else { return };
        let (server, transport) = (upstream.server.clone(), upstream.transport);
        self.outputs.push_back(Output::Connect { upstream: index, server, transport });
    }

    pub(super) fn on_upstream_open(&mut self, index: usize, hop: Hop, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        upstream.flow = Some(hop);
        upstream.retry = None;
        let range = upstream.range.clone();
        self.set_keepalive(index, now);
        for registration in self.registrations.get_mut(range).unwrap_or_default() {
            registration.on_flow_up(hop, &mut self.rng, now);
        }
        self.on_remote_flow_up(index, None, now);
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
            let wait = RETRY.saturating_mul(1 << upstream.failures.min(5)).min(LONGEST_RETRY);
            upstream.failures = upstream.failures.saturating_add(1);
            wait.mul_f64(self.rng.random_range(0.5..1.0))
        };
        if let Some(upstream) = self.upstreams.get_mut(index) {
            upstream.flow = None;
            upstream.keepalive = None;
            upstream.retry = Some(now.mono + wait);
        }
        let name = self.config.upstreams.get(index).map(|upstream| upstream.name.clone()).unwrap_or_default();
        let standing = format!("no way to it: {why}");
        self.outputs.push_back(Output::Tell(Notice::Registration { address: name, standing, good: false }));
        self.on_remote_flow_lost(index, why, now);
    }

    pub(super) fn on_upstream_closed(&mut self, index: usize, why: &str, now: Now) {
        let Some(upstream) = self.upstreams.get(index) else { return };
        let range = upstream.range.clone();
        for registration in self.registrations.get_mut(range).unwrap_or_default() {
            registration.on_flow_down();
        }
        self.on_connect_failed(index, why, now);
    }

    pub(super) fn on_upstream_deadlines(&mut self, now: Now) {
        for index in 0..self.upstreams.len() {
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
    }

    /// RFC 5626 §4.4: 24 to 29 s over UDP, 95 to 120 s over TCP.
    fn set_keepalive(&mut self, index: usize, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(index) else { return };
        let Some(hop) = upstream.flow else { return };
        let seconds = if hop.transport.is_reliable() { 95.0..120.0 } else { 24.0..29.0 };
        upstream.keepalive = Some(now.mono + Duration::from_secs_f64(self.rng.random_range(seconds)));
    }

    /// A name that a trusted upstream vouches for: exactly one P-Asserted-Identity, over the flow
    /// that we opened to it, and only when the home file says so.
    pub(super) fn asserted(&self, index: usize, request: &Request<'_, '_>) -> Option<Identity> {
        let upstream = self.config.upstreams.get(index).filter(|upstream| upstream.trust_asserted)?;
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
        let via = self.upstreams.iter().position(|upstream| upstream.range.contains(&index));
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
            && let Some(upstream) = self.upstreams.iter_mut().find(|upstream| upstream.range.contains(&index))
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
        let upstream = self.config.upstreams.get(index)?;
        let fits = |account: &&crate::config::Account| account.device.map(|device| device.0) == device;
        let account = upstream.accounts.iter().find(fits).or_else(|| upstream.accounts.first())?;
        Some(format!("sip:{}@{}", account.user, upstream.domain))
    }
}

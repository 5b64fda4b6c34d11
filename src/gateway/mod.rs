//! The core as one object: inputs with a time go in, outputs and a next deadline come out.
//!
//! The contract of the loop: one [`Gateway::handle`], then [`Gateway::poll`] until `None`, then wait
//! for the next input or [`Gateway::next_deadline`]. The order of outputs is a guarantee: an audit
//! line comes before the act it speaks of, an answer before the NOTIFY that follows from it.

mod announce;
mod batch;
mod buddies;
mod choose;
mod command;
mod compose;
mod contact;
mod drive;
mod filters;
mod flow;
mod hass;
mod heard;
mod historic;
mod isolate;
mod kept;
mod keyed;
mod lists;
mod many;
mod options;
mod page;
mod publish;
mod qauth;
mod recent;
mod register;
mod reload;
mod remote;
mod request;
mod requests;
mod restart;
mod rules;
mod sequence;
mod sight;
mod status;
mod subscribe;
mod surface;
mod tell;
mod upstream;
mod ways;
mod wish;
pub mod xcap;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use secrecy::ExposeSecret as _;
use sipliance_driver as driver;

use crate::config::{Config, DeviceId, LinkId};
use crate::control::target::Names;
use crate::device::alerts::Alerts;
use crate::device::command::CommandId;
use crate::device::house::House;
use crate::device::ringing::Ringing;
use crate::event::custom::CustomLists;
use crate::event::{self, Cache, Documents, Rooms};
use crate::sip::auth::{self, Algorithm};
use crate::sip::flow::stun;
use crate::sip::notifier::rate::Rates;
use crate::sip::notifier::{Answered, End, Notifier};
use crate::sip::publication::Publications;
use crate::sip::registrar::Registrar;
use crate::sip::registration::Registration;
use crate::sip::transaction::{ClientEvent, Transactions, Transmit};
use crate::sip::wire::text::seconds;
use crate::sip::wire::{Message, Name, Start};
use crate::sip::{FlowId, Hop, Transport, User};
use crate::timer::{Deadlines, Now};

use self::flow::Flow;
pub use self::hass::{Counts as HassCounts, HassStatus};
pub use self::kept::{Key, Kind};
use self::keyed::Keyed;
pub use self::restart::{Haste, Resumed};
pub use self::status::{DeviceStatus, ElsewhereStatus, LinkStatus, RegistrationStatus, Status};
pub use self::surface::{Counters, Input, Notice, Output};
pub use self::ways::FlowStatus;

/// See the module.
#[derive(Debug)]
pub struct Gateway {
    config: Arc<Config>,
    names: Names,
    rooms: Rooms,
    alerts: Alerts,
    ringing: Ringing,
    secrets: Secrets,
    house: House,
    transactions: Transactions<User>,
    notifier: Notifier,
    registrar: Registrar,
    auth: auth::Server,
    registrations: Keyed<Registration>,
    upstreams: Keyed<upstream::Upstream>,
    ways: Keyed<ways::Way>,
    flows: HashMap<FlowId, Flow>,
    /// When one of them may have dawdled too long.
    patience: Deadlines<FlowId>,
    /// Links that work now.
    links_up: BTreeSet<LinkId>,
    /// Those that do not, and why.
    links_down: BTreeMap<LinkId, LinkStatus>,
    pending: HashMap<CommandId, command::Pending>,
    batches: batch::Batches,
    leases: Publications<DeviceId, publish::Lease>,
    /// Devices that hang elsewhere, and commands on their way there.
    remotes: Keyed<remote::Remote>,
    orders: HashMap<driver::OpId, remote::Order>,
    announcements: Keyed<announce::Announcement>,
    /// Brokers over which Home Assistant is told.
    hass: Vec<hass::Broker>,
    kept: kept::Kept,
    isolation: isolate::Isolation,
    /// When what owners decided has to be looked at again.
    rules_end: Option<Instant>,
    requests: requests::Requests,
    restart: restart::Restart,
    run: event::Run,
    /// When the last input came.
    clock: Now,
    custom: CustomLists,
    recent: recent::Recent,
    /// Until when brokers may still hand over what waited while the process stood still.
    stood_until: Option<Instant>,
    /// When the wall clock was last seen to be set.
    clock_set: Option<Instant>,
    sequence: sequence::Sequence,
    pace: command::Pace,
    cache: Cache,
    filters: event::Filters,
    people: event::People,
    published: compose::Published,
    counters: Counters,
    outputs: VecDeque<Output>,
    tag_key: [u8; 16],
    /// The end is being said to everybody; nothing new begins.
    leaving: bool,
    rng: ChaCha8Rng,
}

#[derive(Debug, Default)]
struct Secrets(HashMap<String, (String, Option<String>)>);

impl auth::Secrets for Secrets {
    fn ha1(&self, user: &str, algorithm: Algorithm) -> Option<&str> {
        let (sha256, md5) = self.0.get(user)?;
        match algorithm {
            Algorithm::Sha256 => Some(sha256),
            Algorithm::Md5 => md5.as_deref(),
        }
    }
}

impl Secrets {
    fn new(config: &Config) -> Self {
        let entry = |user: &crate::config::User| {
            let md5 = user.secret.md5.as_ref().map(|secret| secret.expose_secret().to_owned());
            (user.name.clone(), (user.secret.sha256.expose_secret().to_owned(), md5))
        };
        Self(config.users.iter().map(entry).collect())
    }
}

impl Gateway {
    /// A gateway that has heard nothing yet. Every random choice follows from `seed`.
    pub fn new(config: Arc<Config>, seed: [u8; 32], now: Now) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let (md5, query_age, control_age) = digest_rules(&config);
        let auth = auth::Server::new(&config.house.domain, rng.random(), md5, query_age, control_age);
        let mut gateway = Self {
            names: Names::new(&config),
            rooms: Rooms::of(&config),
            alerts: Alerts::default(),
            ringing: Ringing::default(),
            secrets: Secrets::new(&config),
            house: House::new(config.clone(), now),
            transactions: Transactions::new(ChaCha8Rng::from_seed(rng.random())),
            notifier: Notifier::default(),
            registrar: Registrar::default(),
            auth,
            registrations: Keyed::default(),
            upstreams: Keyed::default(),
            ways: Keyed::default(),
            flows: HashMap::new(),
            patience: Deadlines::default(),
            links_up: BTreeSet::new(),
            links_down: BTreeMap::new(),
            pending: HashMap::new(),
            batches: batch::Batches::default(),
            leases: Publications::default(),
            remotes: Keyed::default(),
            orders: HashMap::new(),
            announcements: Keyed::default(),
            hass: Vec::new(),
            kept: kept::Kept::default(),
            isolation: isolate::Isolation::default(),
            rules_end: None,
            requests: requests::Requests::default(),
            restart: restart::Restart::default(),
            run: event::Run::new(seed, now),
            clock: now,
            custom: CustomLists::default(),
            recent: recent::Recent::default(),
            stood_until: None,
            clock_set: None,
            sequence: sequence::Sequence::default(),
            pace: command::Pace::default(),
            cache: Cache::default(),
            filters: event::Filters::default(),
            people: event::People::default(),
            published: compose::Published::default(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            tag_key: rng.random(),
            leaving: false,
            rng,
            config,
        };
        gateway.start_upstreams(now);
        gateway.compose_all(now);
        gateway.start_remotes(now);
        gateway.start_announcements();
        gateway.start_hass();
        gateway.settle(now);
        gateway
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        self.on_clock(now);
        self.clock = now;
        match input {
            Input::Deadline => {}
            Input::Datagram { flow, local, from, bytes } => {
                let hop = Hop { flow, transport: Transport::Udp, local, peer: from };
                self.on_packet(hop, bytes, now);
            }
            Input::Frame { flow, bytes } => self.on_frame(flow, bytes, now),
            Input::Stream { flow, bytes } => self.on_stream(flow, bytes, now),
            Input::Opened { flow, transport, local, peer, upstream } => {
                self.on_opened(Hop { flow, transport, local, peer }, upstream, now);
            }
            Input::Full { flow } => self.notifier.on_full(flow),
            Input::Room { flow } => self.notifier.on_room(flow),
            Input::Closed { flow, why } => self.on_closed(flow, &why, now),
            Input::ConnectFailed { upstream, why, met } => self.on_connect_failed(upstream, &why, met, now),
            Input::Driver { link, event } => self.on_driver(link, event, now),
            Input::Relay { link, op } => self.relay(link, op, now),
            Input::Http { ticket, peer, request } => {
                let answer = self.on_http(request, peer, now);
                self.outputs.push_back(Output::Answer { ticket, answer });
            }
            Input::Network => self.on_network(now),
            Input::Stood => self.on_stood(now),
            Input::Reload(config) => self.reload(config, now),
            Input::Shutdown => self.shut_down(now),
        }
        self.on_deadlines(now);
        self.settle(now);
    }

    /// The next output. What was asked for comes first, then NOTIFYs, each written when it is its turn:
    /// the first of many watchers does not wait until all are told.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let sent = |transmit: Transmit| Output::Send { hop: transmit.hop, bytes: transmit.bytes };
        if let Some(transmit) = self.transactions.poll_transmit() {
            return Some(sent(transmit));
        }
        let Self {
            config, house, rooms, custom, alerts, ringing, people, cache, filters, run, clock, ..
        } = self;
        let (run, now) = (*run, *clock);
        let mut documents =
            Documents { config, house, rooms, custom, alerts, ringing, people, cache, filters, run, now };
        self.notifier.send_next(&mut self.transactions, &mut documents, now);
        self.transactions.poll_transmit().map(sent)
    }

    /// When to call [`Gateway::handle`] with [`Input::Deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        let registrations = self.registrations.values().filter_map(Registration::next_deadline).min();
        let upstreams = self.upstreams.values().filter_map(upstream::Upstream::next_deadline).min();
        let ways = self.ways.values().filter_map(ways::Way::next_deadline).min();
        let announcements =
            self.announcements.values().filter_map(announce::Announcement::next_deadline).min();
        let hass = self.hass.iter().filter_map(hass::Broker::next_deadline).min();
        let remotes = self.remotes.values().filter_map(remote::Remote::next_deadline).min();
        [
            self.transactions.next_deadline(),
            self.notifier.next_deadline(),
            self.house.next_deadline(),
            self.leases.next_deadline(),
            self.batches.next_deadline(),
            self.ringing.next_deadline(),
            self.published.next_deadline(),
            self.rules_end,
            self.patience.next(),
            registrations,
            upstreams,
            ways,
            remotes,
            announcements,
            hass,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether nothing more has to be said before the process may end.
    pub fn is_quiet(&self) -> bool {
        (self.notifier.is_empty() || self.restart.is_on() && self.notifier.is_silent())
            && self.hass.iter().all(hass::Broker::is_quiet)
            && self.remotes.values().all(remote::Remote::is_over)
            && !self.announcements.values().any(announce::Announcement::is_leaving)
            && self.registrations.values().all(|registration| !registration.is_leaving())
    }

    /// The appliances.
    pub fn house(&self) -> &House {
        &self.house
    }

    fn on_packet(&mut self, hop: Hop, bytes: &[u8], now: Now) {
        self.heard(hop, now);
        if stun::is_stun(bytes) {
            return self.on_stun(hop, bytes, now);
        }
        // Keep-alives of phones behind NAT: CRLFs, single NULs.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        self.on_message(hop, bytes, now);
    }

    fn on_message(&mut self, hop: Hop, bytes: &[u8], now: Now) {
        let Ok(message) = Message::parse(bytes) else {
            self.counters.not_sip += 1;
            return self.garbled(hop);
        };
        match message.request() {
            Some(_) => self.on_request(&message, bytes, hop, now),
            None => self.on_response(&message, now),
        }
    }

    fn on_response(&mut self, response: &Message<'_>, now: Now) {
        match self.transactions.on_response(response, now.mono) {
            Some(User::Notify(id, cseq)) => {
                let answered = answered(response);
                self.notifier.on_answer(id, cseq, answered, now);
            }
            Some(User::Register(id)) => {
                let Some(registration) = self.registrations.get_mut(id.0) else { return };
                registration.on_response(response, &mut self.transactions, &mut self.rng, now);
                self.on_registration(id.0, now);
            }
            Some(User::Watch(index)) => self.on_watch_response(index, response, now),
            Some(User::Order(id)) => self.on_order_response(id, response, now),
            Some(User::Publish(nth)) => self.on_publish_response(nth, response, now),
            Some(User::Qauth(ticket)) => self.on_qauth_answer(ticket, response, now),
            Some(User::Ask(flow)) => self.on_ask_answer(flow, response, now),
            Some(User::Echo(key)) => self.on_echo_response(key, response, now),
            // Whatever it answered, it is there and knows.
            Some(User::Told(alert)) => self.alerts.told(alert),
            Some(User::Page) | None => {}
        }
    }

    fn on_client_event(&mut self, event: ClientEvent<User>, now: Now) {
        match event {
            ClientEvent::TimedOut(User::Notify(id, cseq)) => {
                self.counters.unanswered += 1;
                if self.doubts_flow(id, cseq, now) {
                    return;
                }
                let answered = Answered { status: 408, silent: true, ..Answered::default() };
                self.notifier.on_answer(id, cseq, answered, now);
            }
            ClientEvent::TimedOut(User::Register(id)) => {
                if let Some(registration) = self.registrations.get_mut(id.0) {
                    registration.on_timeout(&mut self.rng, now);
                    self.on_registration(id.0, now);
                }
            }
            ClientEvent::TimedOut(User::Order(id)) => self.on_order_timeout(id, now),
            ClientEvent::TimedOut(User::Publish(nth)) => self.on_publish_timeout(nth, now),
            ClientEvent::TimedOut(User::Qauth(ticket)) => self.on_qauth_silence(ticket),
            ClientEvent::TimedOut(User::Echo(key)) => self.on_echo_silence(key, now),
            // A subscriber keeps its own time, and a flow too.
            ClientEvent::TimedOut(User::Watch(_) | User::Ask(_) | User::Page | User::Told(_))
            | ClientEvent::Response(_) => {}
        }
    }

    fn on_deadlines(&mut self, now: Now) {
        while let Some(event) = self.transactions.on_deadline(now.mono) {
            if let Some(event) = event {
                self.on_client_event(event, now);
            }
        }
        self.notifier.on_deadline(now);
        if self.house.next_deadline().is_some_and(|at| at <= now.mono) {
            self.house.tick(now);
        }
        self.seek_others(now);
        for registration in self.registrations.values_mut() {
            registration.on_deadline(&mut self.transactions, now);
        }
        self.on_upstream_deadlines(now);
        self.on_remote_deadlines(now);
        self.on_lease_deadlines(now);
        self.on_batch_deadlines(now);
        self.on_people_deadlines(now);
        self.on_bells(now);
        self.on_rules_deadline(now);
        self.on_patience(now);
    }

    /// Carries out what the house wants. Watchers hear of it with the next polls, after what was answered.
    fn settle(&mut self, now: Now) {
        while let Some(effect) = self.house.poll() {
            self.on_effect(effect, now);
        }
        self.on_announcement_deadlines(now);
        self.on_hass_deadlines(now);
        self.record_notes(now);
        self.record_alerts();
        self.flush_transmits();
        self.forget_filters();
    }

    fn flush_transmits(&mut self) {
        while let Some(transmit) = self.transactions.poll_transmit() {
            self.outputs.push_back(Output::Send { hop: transmit.hop, bytes: transmit.bytes });
        }
    }

    fn shut_down(&mut self, now: Now) {
        self.leaving = true;
        match self.restart.is_on() {
            // They go on in the next run, if there is one.
            true => self.pause(now),
            false => self.notifier.end(End::Deactivated, |_, _| true, now),
        }
        for registration in self.registrations.values_mut() {
            registration.leave(&mut self.transactions, now);
        }
        self.leave_remotes(now);
        self.leave_announcements();
        self.leave_hass();
    }
}

fn answered(response: &Message<'_>) -> Answered {
    let status = match response.start {
        Start::Response { status, .. } => status,
        Start::Request { .. } => 0,
    };
    let retry_after = response.first(Name::RetryAfter).and_then(seconds);
    Answered {
        status,
        silent: false,
        retry_after,
        rates: response.event().map(|event| Rates::of(event.params)),
    }
}

/// Whether MD5 is taken, and how old nonces may be, in milliseconds.
fn digest_rules(config: &Config) -> (bool, i64, i64) {
    let ms = |age: std::time::Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    let digest = &config.digest;
    (digest.md5, ms(digest.query_nonce_age), ms(digest.control_nonce_age))
}

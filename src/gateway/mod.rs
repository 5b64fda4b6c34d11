//! The core as one object: inputs with a time go in, outputs and a next deadline come out.
//!
//! The contract of the loop: one [`Gateway::handle`], then [`Gateway::poll`] until `None`, then wait
//! for the next input or [`Gateway::next_deadline`]. The order of outputs is a guarantee: an audit
//! line comes before the act it speaks of, an answer before the NOTIFY that follows from it.

mod command;
mod register;
mod request;
mod status;
mod subscribe;
mod upstream;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use secrecy::ExposeSecret as _;
use sipliance_driver as driver;

use crate::config::{Config, HostPort, LinkId};
use crate::control::target::Names;
use crate::device::command::CommandId;
use crate::device::house::{Effect, House};
use crate::event::{Cache, Documents};
use crate::limits;
use crate::sip::auth::{self, Algorithm};
use crate::sip::notifier::{End, Moment, Notifier};
use crate::sip::registrar::Registrar;
use crate::sip::registration::Registration;
use crate::sip::transaction::{ClientEvent, Transactions};
use crate::sip::wire::Message;
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::{FlowId, Hop, Transport, User};
use crate::timer::Now;

pub use self::status::{DeviceStatus, RegistrationStatus, Status};

/// What happens to the gateway.
#[derive(Debug)]
pub enum Input<'a> {
    /// [`Gateway::next_deadline`] has passed.
    Deadline,
    /// A datagram arrived.
    Datagram {
        /// The socket.
        flow: FlowId,
        /// The address that it was sent to.
        local: SocketAddr,
        /// The source.
        from: SocketAddr,
        /// The payload.
        bytes: &'a [u8],
    },
    /// Bytes of a connection arrived.
    Stream {
        /// The connection.
        flow: FlowId,
        /// What was read.
        bytes: &'a [u8],
    },
    /// A flow exists: an accepted connection, or what [`Output::Connect`] asked for.
    Opened {
        /// The new flow.
        flow: FlowId,
        /// How.
        transport: Transport,
        /// Our address.
        local: SocketAddr,
        /// The far end.
        peer: SocketAddr,
        /// The upstream that it leads to.
        upstream: Option<usize>,
    },
    /// A flow is gone.
    Closed {
        /// Which.
        flow: FlowId,
        /// In words.
        why: String,
    },
    /// What [`Output::Connect`] asked for did not work.
    ConnectFailed {
        /// The upstream.
        upstream: usize,
        /// In words.
        why: String,
    },
    /// A driver reports.
    Driver {
        /// The link.
        link: LinkId,
        /// What.
        event: driver::Event,
    },
    /// A new configuration was checked and is good.
    Reload(Arc<Config>),
    /// Stop: tell the watchers, take registrations back.
    Shutdown,
}

/// What the gateway wants done.
#[derive(Debug)]
pub enum Output {
    /// Send a message.
    Send {
        /// Where to.
        hop: Hop,
        /// The bytes.
        bytes: Bytes,
    },
    /// Open a flow to an upstream; answered by [`Input::Opened`] or [`Input::ConnectFailed`].
    Connect {
        /// Index into [`Config::upstreams`].
        upstream: usize,
        /// Where.
        server: HostPort,
        /// How.
        transport: Transport,
    },
    /// Close a connection after everything sent before has left.
    Close {
        /// Which.
        flow: FlowId,
    },
    /// Ask something of a driver.
    Drive {
        /// The link.
        link: LinkId,
        /// What.
        op: driver::Op,
    },
    /// Write a line to the audit log, before the outputs that follow are carried out.
    Audit(String),
    /// Something that a person may want to read in the journal.
    Tell(Notice),
}

/// News for the journal. Holds no secret and no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The state of an appliance changed.
    State {
        /// Its id.
        device: String,
        /// In a line.
        summary: String,
    },
    /// Something happened at an appliance.
    Happened {
        /// Its id.
        device: String,
        /// What.
        what: String,
    },
    /// A registration changed its standing.
    Registration {
        /// The address.
        address: String,
        /// In words.
        standing: String,
        /// Whether it is good news.
        good: bool,
    },
    /// A link changed.
    Link {
        /// Its name.
        link: String,
        /// `None`: it is up; else why it is down.
        down: Option<String>,
    },
}

/// Packets and requests, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets and frames that were no SIP.
    pub not_sip: u64,
    /// Requests that were malformed and answered.
    pub malformed: u64,
    /// Challenges sent.
    pub challenges: u64,
    /// Requests refused to somebody who was proven.
    pub forbidden: u64,
    /// Commands carried out or tried.
    pub commands: u64,
    /// NOTIFYs that nobody answered.
    pub unanswered: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Gateway {
    config: Arc<Config>,
    names: Names,
    secrets: Secrets,
    house: House,
    transactions: Transactions<User>,
    notifier: Notifier,
    registrar: Registrar,
    auth: auth::Server,
    registrations: Vec<Registration>,
    upstreams: Vec<upstream::Upstream>,
    flows: HashMap<FlowId, Flow>,
    pending: HashMap<CommandId, command::Pending>,
    recent: command::Recent,
    pace: command::Pace,
    cache: Cache,
    counters: Counters,
    outputs: VecDeque<Output>,
    tag_key: [u8; 16],
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct Flow {
    hop: Hop,
    framer: Framer,
    upstream: Option<usize>,
    /// When somebody must have proved a name over it; `None` once that was done.
    unproven: Option<Instant>,
    /// When the message that has begun must be complete.
    partial: Option<Instant>,
}

impl Flow {
    fn deadline(&self) -> Option<Instant> {
        [self.unproven, self.partial].into_iter().flatten().min()
    }
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
        let digest = &config.digest;
        let ms = |age: std::time::Duration| i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        let auth = auth::Server::new(
            &config.house.domain,
            rng.random(),
            digest.md5,
            ms(digest.query_nonce_age),
            ms(digest.control_nonce_age),
        );
        let mut gateway = Self {
            names: Names::new(&config),
            secrets: Secrets::new(&config),
            house: House::new(config.clone(), now),
            transactions: Transactions::new(ChaCha8Rng::from_seed(rng.random())),
            notifier: Notifier::default(),
            registrar: Registrar::default(),
            auth,
            registrations: Vec::new(),
            upstreams: Vec::new(),
            flows: HashMap::new(),
            pending: HashMap::new(),
            recent: command::Recent::default(),
            pace: command::Pace::default(),
            cache: Cache::default(),
            counters: Counters::default(),
            outputs: VecDeque::new(),
            tag_key: rng.random(),
            rng,
            config,
        };
        gateway.start_upstreams(now);
        gateway.settle(now);
        gateway
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Now) {
        match input {
            Input::Deadline => {}
            Input::Datagram { flow, local, from, bytes } => {
                let hop = Hop { flow, transport: Transport::Udp, local, peer: from };
                self.on_packet(hop, bytes, now);
            }
            Input::Stream { flow, bytes } => self.on_stream(flow, bytes, now),
            Input::Opened { flow, transport, local, peer, upstream } => {
                let hop = Hop { flow, transport, local, peer };
                let unproven =
                    (upstream.is_none() && transport.is_reliable()).then(|| now.mono + limits::UNPROVEN_IDLE);
                self.flows
                    .insert(flow, Flow { hop, framer: Framer::default(), upstream, unproven, partial: None });
                if let Some(upstream) = upstream {
                    self.on_upstream_open(upstream, hop, now);
                }
            }
            Input::Closed { flow, why } => self.on_closed(flow, &why, now),
            Input::ConnectFailed { upstream, why } => self.on_connect_failed(upstream, &why, now),
            Input::Driver { link, event } => self.on_driver(link, event, now),
            Input::Reload(config) => self.reload(config, now),
            Input::Shutdown => self.shut_down(now),
        }
        self.on_deadlines(now);
        self.settle(now);
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.transactions
            .poll_transmit()
            .map(|transmit| Output::Send { hop: transmit.hop, bytes: transmit.bytes })
    }

    /// When to call [`Gateway::handle`] with [`Input::Deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        let flows = self.flows.values().filter_map(Flow::deadline).min();
        let registrations = self.registrations.iter().filter_map(Registration::next_deadline).min();
        let upstreams = self.upstreams.iter().filter_map(upstream::Upstream::next_deadline).min();
        [
            self.transactions.next_deadline(),
            self.notifier.next_deadline(),
            self.house.next_deadline(),
            flows,
            registrations,
            upstreams,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether nothing more has to be said before the process may end.
    pub fn is_quiet(&self) -> bool {
        self.notifier.is_empty() && self.registrations.iter().all(|registration| !registration.is_leaving())
    }

    /// The appliances.
    pub fn house(&self) -> &House {
        &self.house
    }

    fn on_packet(&mut self, hop: Hop, bytes: &[u8], now: Now) {
        // Keep-alives of phones behind NAT: CRLFs, single NULs.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        self.on_message(hop, bytes, now);
    }

    fn on_message(&mut self, hop: Hop, bytes: &[u8], now: Now) {
        let Ok(message) = Message::parse(bytes) else {
            self.counters.not_sip += 1;
            return;
        };
        match message.request() {
            Some(_) => self.on_request(&message, bytes, hop, now),
            None => self.on_response(&message, now),
        }
    }

    fn on_response(&mut self, response: &Message<'_>, now: Now) {
        match self.transactions.on_response(response, now.mono) {
            Some(User::Notify(id)) => {
                let status = status_of(response);
                let retry = response
                    .first(crate::sip::wire::Name::RetryAfter)
                    .and_then(crate::sip::wire::text::seconds);
                self.notifier.on_answer(id, status, retry, now);
            }
            Some(User::Register(id)) => {
                let Some(registration) = self.registrations.get_mut(id.0) else { return };
                registration.on_response(response, &mut self.transactions, &mut self.rng, now);
                self.tell_registration(id.0);
            }
            Some(User::Page) | None => {}
        }
    }

    fn on_stream(&mut self, id: FlowId, bytes: &[u8], now: Now) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let hop = flow.hop;
        flow.framer.push(bytes);
        let mut framed = false;
        loop {
            let Some(flow) = self.flows.get_mut(&id) else { return };
            let Some(frame) = flow.framer.next_frame() else { break };
            framed = true;
            match frame {
                Frame::Message(bytes) => self.on_message(hop, &bytes, now),
                // RFC 5626 §4.4.1: a ping is answered by a single CRLF.
                Frame::Ping => self.transactions.send_once(hop, b"\r\n".to_vec()),
                Frame::Pong => {}
                Frame::Broken(head) => {
                    self.on_message(hop, &head, now);
                    self.flush_transmits();
                    self.outputs.push_back(Output::Close { flow: id });
                    break;
                }
            }
        }
        self.guard_flow(id, framed, now);
    }

    /// A peer that dribbles is not kept: each message has its own time.
    fn guard_flow(&mut self, id: FlowId, framed: bool, now: Now) {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.upstream.is_none()) else { return };
        if framed {
            flow.partial = None;
        }
        if flow.framer.is_partial() {
            flow.partial.get_or_insert(now.mono + limits::MESSAGE_DEADLINE);
        }
    }

    fn on_closed(&mut self, id: FlowId, why: &str, now: Now) {
        let Some(flow) = self.flows.remove(&id) else { return };
        for user in self.transactions.fail_flow(id) {
            // A watcher is not gone because its connection is: the notifier keeps it for a while.
            if !matches!(user, User::Notify(_)) {
                self.on_client_event(ClientEvent::TimedOut(user), now);
            }
        }
        self.notifier.on_flow_closed(id);
        self.registrar.on_flow_closed(id);
        if let Some(upstream) = flow.upstream {
            self.on_upstream_closed(upstream, why, now);
        }
    }

    fn on_client_event(&mut self, event: ClientEvent<User>, now: Now) {
        match event {
            ClientEvent::TimedOut(User::Notify(id)) => {
                self.counters.unanswered += 1;
                self.notifier.on_answer(id, 408, None, now);
            }
            ClientEvent::TimedOut(User::Register(id)) => {
                if let Some(registration) = self.registrations.get_mut(id.0) {
                    registration.on_timeout(&mut self.rng, now);
                    self.tell_registration(id.0);
                }
            }
            ClientEvent::TimedOut(User::Page) | ClientEvent::Response(_) => {}
        }
    }

    fn on_driver(&mut self, link: LinkId, event: driver::Event, now: Now) {
        let down = match &event {
            driver::Event::Up => Some(None),
            driver::Event::Down(why) => Some(Some(why.to_string())),
            _ => None,
        };
        if let (Some(down), Some(link)) = (down, self.config.links.get(link.0)) {
            self.outputs.push_back(Output::Tell(Notice::Link { link: link.name.clone(), down }));
        }
        self.house.driver(link, event, now);
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
        for registration in &mut self.registrations {
            registration.on_deadline(&mut self.transactions, now);
        }
        self.on_upstream_deadlines(now);
        let mut late: Vec<FlowId> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.deadline().is_some_and(|at| at <= now.mono))
            .map(|(id, _)| *id)
            .collect();
        // The same in every run.
        late.sort_unstable();
        for id in late {
            if let Some(flow) = self.flows.get_mut(&id) {
                (flow.unproven, flow.partial) = (None, None);
            }
            self.outputs.push_back(Output::Close { flow: id });
        }
    }

    /// Carries out what the house wants, then lets every watcher hear what is new.
    fn settle(&mut self, now: Now) {
        while let Some(effect) = self.house.poll() {
            self.on_effect(effect, now);
        }
        // What was answered leaves before what follows from it.
        self.flush_transmits();
        let mut documents =
            Documents { house: &self.house, domain: &self.config.house.domain, cache: &mut self.cache, now };
        self.notifier.flush(&mut self.transactions, &mut documents, now);
        self.flush_transmits();
    }

    fn on_effect(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Drive { link, op } => self.outputs.push_back(Output::Drive { link, op }),
            Effect::Changed { device } => {
                self.notifier.changed(device.0, now);
                if let Some(device) = self.house.device(device) {
                    let (device, summary) = (device.id().to_owned(), device.summary(now));
                    self.outputs.push_back(Output::Tell(Notice::State { device, summary }));
                }
            }
            Effect::Happened { device, event, value } => {
                if let Some(device) = self.house.device(device) {
                    let (device, what) = (device.id().to_owned(), format!("{event} {value}"));
                    self.outputs.push_back(Output::Tell(Notice::Happened { device, what }));
                }
                self.notifier.happened(device.0, &Moment { name: event, value, at_ms: now.wall_ms }, now);
            }
            Effect::Finished { command, outcome } => self.on_finished(command, &outcome, now),
        }
    }

    fn flush_transmits(&mut self) {
        while let Some(transmit) = self.transactions.poll_transmit() {
            self.outputs.push_back(Output::Send { hop: transmit.hop, bytes: transmit.bytes });
        }
    }

    fn shut_down(&mut self, now: Now) {
        self.notifier.end(End::Deactivated, |_, _| true);
        for registration in &mut self.registrations {
            registration.leave(&mut self.transactions, now);
        }
    }

    /// A new configuration: values and versions of appliances that stay are kept; who lost a right
    /// loses the subscription with it.
    fn reload(&mut self, config: Arc<Config>, now: Now) {
        let mut house = House::new(config.clone(), now);
        house.inherit(&self.house);
        let old = std::mem::replace(&mut self.house, house);
        let ids: Vec<String> = old.devices().map(|(_, device)| device.id().to_owned()).collect();
        let same: Vec<bool> = ids
            .iter()
            .enumerate()
            .map(|(index, id)| config.devices.get(index).is_some_and(|device| device.id == *id))
            .collect();
        self.names = Names::new(&config);
        self.secrets = Secrets::new(&config);
        self.config = config;
        // Documents of the old house: another appliance may have that place and version now.
        self.cache = Cache::default();
        self.notifier
            .end(End::NoResource, |_, resource| !same.get(resource.subject).copied().unwrap_or(false));
        let (config, house) = (self.config.clone(), &self.house);
        self.notifier.end(End::Rejected, |who, resource| {
            let view = house
                .device(crate::config::DeviceId(resource.subject))
                .map(|device| subscribe::view_of(&config, who, device));
            view != Some(resource.view)
        });
    }
}

fn status_of(response: &Message<'_>) -> u16 {
    match response.start {
        crate::sip::wire::Start::Response { status, .. } => status,
        crate::sip::wire::Start::Request { .. } => 0,
    }
}

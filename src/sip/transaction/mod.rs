//! Transactions (RFC 3261 §17): the four machines, and the table that finds them.
//!
//! A client transaction's branch holds its place in the table, so that a response is matched
//! without searching. A server transaction is found by a keyed hash over what §17.2.3 compares.

mod branch;
pub mod client;
pub mod client_invite;
mod machine;
pub mod server;
pub mod server_invite;

use std::collections::{HashMap, VecDeque};
use std::hash::Hasher as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngCore as _;
use rand_chacha::ChaCha8Rng;
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use slab::Slab;

use self::branch::{Branch, branch_of, place_of};
use self::client::Client;
use self::client_invite::ClientInvite;
use self::machine::{ClientMachine, ServerMachine};
use self::server::Server;
use self::server_invite::ServerInvite;
use super::Hop;
use super::wire::{Message, Method, Name, Start, Writer};
use crate::limits;
use crate::timer::Deadlines;

/// Round-trip estimate (RFC 3261 §17.1.1.1).
pub const T1: Duration = Duration::from_millis(500);
/// Longest interval between repetitions of a non-INVITE request or an INVITE response.
pub const T2: Duration = Duration::from_secs(4);
/// How long a message may stay in the network.
pub const T4: Duration = Duration::from_secs(5);
/// Timers B, F, H, J: 64·T1.
pub const TIMEOUT: Duration = Duration::from_secs(32);

/// What a machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing now.
    Wait,
    /// Send the stored message (again).
    Repeat,
    /// Pass the response to the user.
    Tell,
    /// Send an ACK.
    Acknowledge,
    /// Send an ACK and pass the response to the user.
    AcknowledgeAndTell,
    /// Over, well.
    Done,
    /// Over: the other side is silent.
    TimedOut,
}

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub hop: Hop,
    /// The message.
    pub bytes: Bytes,
}

/// Names a server transaction. Stale ones find nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServerKey {
    index: usize,
    serial: u64,
}

/// What a request is to the transactions that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// None of them: somebody has to look at it.
    New,
    /// A repetition or an ACK; it was dealt with.
    Absorbed,
    /// A CANCEL for this INVITE that waits for its final response.
    Cancels(ServerKey),
    /// A CANCEL for a request that cannot be cancelled: answered 200, and that is all
    /// (RFC 6665 §4.6).
    CancelsNothing,
}

/// How long the answer to a request must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Repeating it does no harm: forgotten early when the table is full.
    Light,
    /// It moved an appliance: kept for the whole of timer J.
    Heavy,
}

/// What became of a client transaction.
#[derive(Debug)]
pub enum ClientEvent<U> {
    /// A response; provisional ones only for INVITE.
    Response(U),
    /// No final response within 32 s.
    TimedOut(U),
}

/// All transactions. `U` names who sent a request.
#[derive(Debug)]
pub struct Transactions<U> {
    clients: Slab<ClientEntry<U>>,
    servers: Slab<ServerEntry>,
    by_hash: HashMap<u128, usize>,
    /// Completed light ones in the order of completion.
    light: VecDeque<ServerKey>,
    deadlines: Deadlines<Owner>,
    transmits: VecDeque<Transmit>,
    serial: u64,
    key: [u8; 16],
    rng: ChaCha8Rng,
}

#[derive(Debug)]
struct ClientEntry<U> {
    serial: u64,
    branch: Branch,
    machine: ClientMachine,
    hop: Hop,
    bytes: Bytes,
    user: U,
}

#[derive(Debug)]
struct ServerEntry {
    serial: u64,
    hash: u128,
    machine: ServerMachine,
    hop: Hop,
    weight: Weight,
    /// The request may come again.
    repeats: bool,
    response: Option<Bytes>,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    Client { index: usize, serial: u64 },
    Server(ServerKey),
}

impl<U: Copy> Transactions<U> {
    /// An empty table; every random choice comes from `rng`.
    pub fn new(mut rng: ChaCha8Rng) -> Self {
        let mut key = [0; 16];
        rng.fill_bytes(&mut key);
        Self {
            clients: Slab::new(),
            servers: Slab::new(),
            by_hash: HashMap::new(),
            light: VecDeque::new(),
            deadlines: Deadlines::default(),
            transmits: VecDeque::new(),
            serial: 0,
            key,
            rng,
        }
    }

    /// Sends a request: `build` writes it with the branch that it is given.
    pub fn send(
        &mut self,
        hop: Hop,
        method: Method<'_>,
        user: U,
        now: Instant,
        build: impl FnOnce(&str) -> Vec<u8>,
    ) {
        self.serial += 1;
        let serial = self.serial;
        let reliable = hop.transport.is_reliable();
        let entry = self.clients.vacant_entry();
        let index = entry.key();
        // What nobody can guess makes a response ours: 64 bits of it.
        let branch = branch_of(index, serial, self.rng.next_u64());
        let bytes = Bytes::from(build(&branch));
        let machine = match method {
            Method::Invite => ClientMachine::Invite(ClientInvite::new(reliable, now)),
            _ => ClientMachine::Other(Client::new(reliable, now)),
        };
        if let Some(at) = machine.deadline() {
            self.deadlines.set(at, Owner::Client { index, serial });
        }
        self.transmits.push_back(Transmit { hop, bytes: bytes.clone() });
        entry.insert(ClientEntry { serial, branch, machine, hop, bytes, user });
    }

    /// Sends something that no transaction watches: a stateless response, an ACK to a 2xx.
    pub fn send_once(&mut self, hop: Hop, bytes: Vec<u8>) {
        self.transmits.push_back(Transmit { hop, bytes: bytes.into() });
    }

    /// A response arrived: whom it is for. `None` when it belongs to nobody or nobody needs it.
    pub fn on_response(&mut self, response: &Message<'_>, now: Instant) -> Option<U> {
        let Start::Response { status, .. } = response.start else { return None };
        // A response with a second Via was never for us (RFC 3261 §18.1.2).
        let mut vias = response.list(Name::Via);
        let via = super::wire::Via::parse(vias.next()?).ok()?;
        if vias.next().is_some() {
            return None;
        }
        let branch = via.branch()?;
        let (index, serial) = place_of(branch)?;
        let entry = self.clients.get_mut(index).filter(|entry| entry.serial == serial)?;
        // The branch is ours alone, whole; an INVITE shares it only with its CANCEL.
        let invite = matches!(entry.machine, ClientMachine::Invite(_));
        if entry.branch.as_str() != branch || (response.cseq()?.method == "INVITE") != invite {
            return None;
        }
        let user = entry.user;
        let step = match &mut entry.machine {
            ClientMachine::Other(machine) => machine.on_response(status, now),
            ClientMachine::Invite(machine) => machine.on_response(status, now),
        };
        if matches!(step, Step::Acknowledge | Step::AcknowledgeAndTell) {
            let sent = Message::parse(&entry.bytes).ok()?;
            let bytes = ack_of(&sent, response).into();
            self.transmits.push_back(Transmit { hop: entry.hop, bytes });
        }
        let at = entry.machine.deadline();
        if step == Step::Done {
            self.clients.remove(index);
            return Some(user);
        }
        if let Some(at) = at {
            self.deadlines.set(at, Owner::Client { index, serial });
        }
        matches!(step, Step::Tell | Step::AcknowledgeAndTell).then_some(user)
    }

    /// A request arrived: is it new, or a matter of a transaction that exists?
    pub fn on_request(&mut self, request: &Message<'_>, now: Instant) -> Arrival {
        let Some((method, _)) = request.request() else { return Arrival::New };
        let Some(index) = self.find(request) else {
            return if method == Method::Ack { Arrival::Absorbed } else { Arrival::New };
        };
        let Some(entry) = self.servers.get_mut(index) else { return Arrival::New };
        let key = ServerKey { index, serial: entry.serial };
        let reliable = entry.hop.transport.is_reliable();
        let step = match (&mut entry.machine, method) {
            (ServerMachine::Invite(machine), Method::Ack) => {
                machine.on_ack(reliable, now);
                Step::Wait
            }
            (ServerMachine::Invite(_), Method::Cancel) => return Arrival::Cancels(key),
            (ServerMachine::Invite(machine), _) => machine.on_repeat(),
            (ServerMachine::Other(_), Method::Cancel) => return Arrival::CancelsNothing,
            (ServerMachine::Other(_), _) => Step::Repeat,
        };
        if let (Step::Repeat, Some(bytes)) = (step, &entry.response) {
            self.transmits.push_back(Transmit { hop: entry.hop, bytes: bytes.clone() });
        }
        // A repetition changes no deadline, and there may be many.
        if method == Method::Ack
            && let Some(at) = entry.machine.deadline()
        {
            self.deadlines.set(at, Owner::Server(key));
        }
        Arrival::Absorbed
    }

    /// Begins a server transaction for a request that [`Transactions::on_request`] called new.
    /// `None` when the table is full of transactions that may not be forgotten: answer 503.
    pub fn open(&mut self, request: &Message<'_>, hop: Hop, weight: Weight) -> Option<ServerKey> {
        let (method, _) = request.request()?;
        let hash = self.hash_of(request, method.as_str())?;
        while self.servers.len() >= limits::SERVER_TRANSACTIONS {
            let oldest = self.light.pop_front()?;
            self.close(oldest);
        }
        self.serial += 1;
        let serial = self.serial;
        let machine = match method {
            Method::Invite => ServerMachine::Invite(ServerInvite::default()),
            _ => ServerMachine::Other(Server::default()),
        };
        let repeats = may_come_again(request, hop);
        let entry = ServerEntry { serial, hash, machine, hop, weight, repeats, response: None };
        let index = self.servers.insert(entry);
        self.by_hash.insert(hash, index);
        Some(ServerKey { index, serial })
    }

    /// Answers. A second final answer, or one to a transaction that is gone, is dropped.
    pub fn answer(&mut self, key: ServerKey, status: u16, bytes: Vec<u8>, now: Instant) {
        let Some(entry) = self.servers.get_mut(key.index).filter(|entry| entry.serial == key.serial) else {
            return;
        };
        let reliable = entry.hop.transport.is_reliable();
        let step = match &mut entry.machine {
            ServerMachine::Other(machine) => machine.on_answer(status, !entry.repeats, now),
            ServerMachine::Invite(machine) => machine.on_answer(status, reliable, now),
        };
        if step != Step::Repeat {
            return;
        }
        let bytes = Bytes::from(bytes);
        entry.response = Some(bytes.clone());
        self.transmits.push_back(Transmit { hop: entry.hop, bytes });
        if let Some(at) = entry.machine.deadline() {
            self.deadlines.set(at, Owner::Server(key));
            if entry.weight == Weight::Light {
                self.light.push_back(key);
            }
        }
    }

    /// Whether a server transaction still waits for its final answer.
    pub fn is_open(&self, key: ServerKey) -> bool {
        self.servers
            .get(key.index)
            .is_some_and(|entry| entry.serial == key.serial && !entry.machine.is_completed())
    }

    /// Deals with one deadline that has passed; call until `None`.
    pub fn on_deadline(&mut self, now: Instant) -> Option<Option<ClientEvent<U>>> {
        Some(match self.deadlines.due(now)? {
            Owner::Client { index, serial } => self.client_deadline(index, serial, now),
            Owner::Server(key) => {
                self.server_deadline(key, now);
                None
            }
        })
    }

    /// The next moment at which [`Transactions::on_deadline`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// Every client transaction over `flow` fails at once: the connection is gone.
    pub fn fail_flow(&mut self, flow: super::FlowId) -> Vec<U> {
        let dead: Vec<usize> =
            self.clients.iter().filter(|(_, entry)| entry.hop.flow == flow).map(|(index, _)| index).collect();
        dead.into_iter().map(|index| self.clients.remove(index).user).collect()
    }

    /// How many client and server transactions exist.
    pub fn counts(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    fn client_deadline(&mut self, index: usize, serial: u64, now: Instant) -> Option<ClientEvent<U>> {
        let entry = self.clients.get_mut(index).filter(|entry| entry.serial == serial)?;
        let step = match &mut entry.machine {
            ClientMachine::Other(machine) if machine.deadline() <= now => machine.on_deadline(now),
            ClientMachine::Invite(machine) if machine.deadline().is_some_and(|at| at <= now) => {
                machine.on_deadline(now)
            }
            _ => return None,
        };
        match step {
            Step::Repeat => self.transmits.push_back(Transmit { hop: entry.hop, bytes: entry.bytes.clone() }),
            Step::TimedOut => return Some(ClientEvent::TimedOut(self.clients.remove(index).user)),
            Step::Done => {
                self.clients.remove(index);
                return None;
            }
            _ => {}
        }
        if let Some(at) = self.clients.get(index).and_then(|entry| entry.machine.deadline()) {
            self.deadlines.set(at, Owner::Client { index, serial });
        }
        None
    }

    fn server_deadline(&mut self, key: ServerKey, now: Instant) {
        let Some(entry) = self.servers.get_mut(key.index).filter(|entry| entry.serial == key.serial) else {
            return;
        };
        if entry.machine.deadline().is_none_or(|at| at > now) {
            return;
        }
        let step = match &mut entry.machine {
            ServerMachine::Other(_) => Step::Done,
            ServerMachine::Invite(machine) => machine.on_deadline(now),
        };
        match (step, &entry.response) {
            (Step::Done | Step::TimedOut, _) => self.close(key),
            (Step::Repeat, Some(bytes)) => {
                self.transmits.push_back(Transmit { hop: entry.hop, bytes: bytes.clone() });
                if let Some(at) = entry.machine.deadline() {
                    self.deadlines.set(at, Owner::Server(key));
                }
            }
            _ => {}
        }
    }

    fn close(&mut self, key: ServerKey) {
        if self.servers.get(key.index).is_some_and(|entry| entry.serial == key.serial) {
            let entry = self.servers.remove(key.index);
            if self.by_hash.get(&entry.hash) == Some(&key.index) {
                self.by_hash.remove(&entry.hash);
            }
        }
        // The list of light ones is in the order of completion: what is over stands in front.
        while let Some(first) = self.light.front().copied()
            && self.servers.get(first.index).is_none_or(|entry| entry.serial != first.serial)
        {
            self.light.pop_front();
        }
    }

    /// The transaction that a request belongs to. An ACK belongs to an INVITE, a CANCEL to any.
    fn find(&self, request: &Message<'_>) -> Option<usize> {
        let (method, _) = request.request()?;
        let methods: &[&str] = match method {
            Method::Ack => &["INVITE"],
            Method::Cancel => &["INVITE", "SUBSCRIBE", "MESSAGE", "DO"],
            other => return self.by_hash.get(&self.hash_of(request, other.as_str())?).copied(),
        };
        methods.iter().find_map(|method| self.by_hash.get(&self.hash_of(request, method)?)).copied()
    }

    /// What tells transactions apart (RFC 3261 §17.2.3). Call-ID and CSeq are included, so that a
    /// branch that a broken client uses twice is two transactions.
    fn hash_of(&self, request: &Message<'_>, method: &str) -> Option<u128> {
        let (_, uri) = request.request()?;
        let via = request.via().ok()?;
        let mut hasher = SipHasher13::new_with_key(&self.key);
        let mut add = |part: &[u8]| {
            hasher.write_usize(part.len());
            hasher.write(part);
        };
        match via.branch() {
            Some(branch) => add(branch.as_bytes()),
            None => {
                add(uri.as_bytes());
                add(request.from().ok()?.tag().unwrap_or_default().as_bytes());
            }
        }
        add(via.sent_by);
        add(request.call_id()?);
        add(&request.cseq()?.number.to_be_bytes());
        add(method.as_bytes());
        Some(hasher.finish128().as_u128())
    }
}

/// Whether a request may come again: by datagrams, or over a connection from a proxy without transactions that gets it by
/// datagrams. To forget it at once (RFC 3261 §17.2.2: J is 0 over what is reliable) would be to take the repetition for new.
fn may_come_again(request: &Message<'_>, hop: Hop) -> bool {
    let by_datagrams =
        |via: &[u8]| super::wire::Via::parse(via).is_ok_and(|via| via.transport.eq_ignore_ascii_case("UDP"));
    !hop.transport.is_reliable() || request.list(Name::Via).skip(1).any(by_datagrams)
}

/// The ACK to a final non-2xx response (RFC 3261 §17.1.1.3).
fn ack_of(invite: &Message<'_>, response: &Message<'_>) -> Vec<u8> {
    let (_, uri) = invite.request().unwrap_or((Method::Ack, ""));
    let mut writer = Writer::request(Method::Ack, uri);
    for name in [Name::Via, Name::MaxForwards, Name::Route, Name::From, Name::CallId] {
        for value in invite.all(name) {
            writer.echo(name.as_str(), value);
        }
    }
    writer.echo("To", response.first(Name::To).unwrap_or_default());
    writer.field_fmt("CSeq", format_args!("{} ACK", invite.cseq().map_or(0, |cseq| cseq.number)));
    writer.finish()
}

#[cfg(test)]
mod tests;

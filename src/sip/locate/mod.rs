//! From the name of a SIP server to addresses, in the order in which they are to be tried (RFC 3263 §4).
//!
//! ```text
//!  Wanted ──▶ NAPTR ──▶ SRV per transport ──▶ AAAA and A per host ──▶ targets in order
//!     │ a transport is named ─────▲                  ▲
//!     └ an address, or a port ───────────────────────┘
//! ```
//!
//! Nothing here asks a name server: [`Walk::step`] says what has to be asked, [`Walk::answer`] takes what
//! came of it. Records are checked and bounded here, whoever sent them.

mod order;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha8Rng;

use super::{Transport, is_link_local};

/// The server that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// A name or an address, without brackets.
    pub host: String,
    /// Where it is said.
    pub port: Option<u16>,
    /// Where it is said; otherwise what the domain prefers of what we can.
    pub transport: Option<Transport>,
}

/// One way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where.
    pub addr: SocketAddr,
    /// How.
    pub transport: Transport,
}

/// What has to be asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// NAPTR of a domain.
    Naptr(String),
    /// SRV of a service.
    Srv(String),
    /// AAAA and A of a host.
    Addresses(String),
}

/// What came of it. No answer and an answer without records are the same here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records {
    /// Of a domain.
    Naptr(Vec<Naptr>),
    /// Of a service.
    Srv(Vec<Srv>),
    /// Of a host.
    Addresses(Vec<IpAddr>),
    /// There is nothing.
    Nothing,
}

/// One NAPTR record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower first.
    pub order: u16,
    /// Lower first, within an order.
    pub preference: u16,
    /// `S` means that the replacement has SRV records.
    pub flags: String,
    /// `SIP+D2U` …
    pub service: String,
    /// The name to go on with.
    pub replacement: String,
}

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower first.
    pub priority: u16,
    /// The share of this one among those of its priority.
    pub weight: u16,
    /// Where the server listens.
    pub port: u16,
    /// The server's host; `.` means that there is none.
    pub target: String,
}

/// What a name leaves open is chosen from these, the best first.
pub const CHOICE: &[Transport] = &[Transport::Tls, Transport::Tcp, Transport::Udp];
/// Most targets of one walk; others are left out.
const TARGETS: usize = 32;
/// Most records of one answer that are looked at.
const RECORDS: usize = 32;
/// Most questions of one walk.
const QUERIES: usize = 24;

/// What the walk wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An answer to this.
    Ask(Query),
    /// Nothing: these are the ways, the best first. None: the name leads nowhere.
    Done(Vec<Target>),
}

/// One search.
#[derive(Debug)]
pub struct Walk {
    wanted: Wanted,
    /// What we can, the best first.
    able: Vec<Transport>,
    /// What is spoken where neither a record nor anybody else says it.
    usual: Transport,
    todo: VecDeque<Todo>,
    asked: usize,
    targets: Vec<Target>,
    /// An address that it led to and that can be no server's.
    useless: Option<IpAddr>,
    /// The domain says that it has no such service (RFC 2782: a target of `.`).
    declined: bool,
    rng: ChaCha8Rng,
}

#[derive(Clone, Debug)]
enum Todo {
    Naptr,
    /// The services of all transports that we can, as no NAPTR said which.
    Guess,
    /// SRV of this name, which leads to this transport; if `or` there is none, the host itself.
    Srv {
        name: String,
        transport: Transport,
        or: bool,
    },
    Addresses {
        host: String,
        port: u16,
        transport: Transport,
    },
}

impl Walk {
    /// Begins. `able` are the transports that count when the name leaves a choice, the best first.
    pub fn new(wanted: Wanted, able: &[Transport], rng: ChaCha8Rng) -> Self {
        let able: Vec<Transport> = match wanted.transport {
            Some(transport) => vec![transport],
            None => able.to_vec(),
        };
        let mut walk = Self {
            able,
            // §4.1: that is UDP for an address, for a name with a port, and for a name without records.
            usual: wanted.transport.unwrap_or(Transport::Udp),
            todo: VecDeque::new(),
            asked: 0,
            targets: Vec::new(),
            useless: None,
            declined: false,
            rng,
            wanted: wanted.clone(),
        };
        let usual = walk.usual;
        match (wanted.host.parse::<IpAddr>(), wanted.port, wanted.transport) {
            (Ok(ip), port, _) => {
                let addr = SocketAddr::new(ip, port.unwrap_or(usual.port()));
                walk.add(Target { addr, transport: usual });
            }
            (Err(_), Some(port), _) => {
                walk.todo.push_back(Todo::Addresses { host: wanted.host, port, transport: usual });
            }
            (Err(_), None, Some(transport)) => {
                let name = service(transport, &wanted.host);
                walk.todo.push_back(Todo::Srv { name, transport, or: true });
            }
            (Err(_), None, None) => walk.todo.push_back(Todo::Naptr),
        }
        walk
    }

    /// What is next.
    pub fn step(&mut self) -> Step {
        loop {
            if self.targets.len() >= TARGETS || self.asked >= QUERIES {
                self.todo.clear();
            }
            let Some(todo) = self.todo.front() else { break };
            return Step::Ask(match todo {
                Todo::Naptr => Query::Naptr(self.wanted.host.clone()),
                Todo::Guess => {
                    self.todo.pop_front();
                    self.guess();
                    continue;
                }
                Todo::Srv { name, .. } => Query::Srv(name.clone()),
                Todo::Addresses { host, .. } => Query::Addresses(host.clone()),
            });
        }
        Step::Done(std::mem::take(&mut self.targets))
    }

    /// Why there is no way, where the name itself says so.
    pub fn fault(&self) -> Option<String> {
        let host = &self.wanted.host;
        if let Some(ip) = self.useless {
            if is_link_local(ip) {
                return Some(format!(
                    "the name `{host}` leads to {ip}, a link-local address, which leads nowhere without an interface: write another address"
                ));
            }
            return Some(format!(
                "the name `{host}` leads to {ip}, where no server can be: does a filter in this network block it?"
            ));
        }
        self.declined
            .then(|| format!("the domain `{host}` says that it has no SIP service of this kind (SRV)"))
    }

    /// What came of the question that [`Walk::step`] asked last.
    pub fn answer(&mut self, records: Records) {
        let Some(todo) = self.todo.pop_front() else { return };
        self.asked += 1;
        match (todo, records) {
            (Todo::Naptr, Records::Naptr(records)) => self.naptr(records),
            (Todo::Naptr, _) => self.todo.push_front(Todo::Guess),
            (Todo::Srv { transport, .. }, Records::Srv(records)) if !records.is_empty() => {
                self.srv(records, transport);
            }
            (Todo::Srv { transport, or: true, .. }, _) => self.plain(transport),
            (Todo::Addresses { port, transport, .. }, Records::Addresses(found)) => {
                for ip in order::families(&found).take(RECORDS) {
                    self.add(Target { addr: SocketAddr::new(ip, port), transport });
                }
            }
            _ => {}
        }
        // No SRV record led anywhere: the host itself is the server (§4.2).
        let nothing = self.todo.is_empty() && self.targets.is_empty() && !self.declined;
        if nothing && !self.wanted.is_plain() && self.asked < QUERIES && !self.tried_plain() {
            self.plain(self.usual);
        }
    }

    fn naptr(&mut self, mut records: Vec<Naptr>) {
        records.truncate(RECORDS);
        records.sort_by_key(|record| (record.order, record.preference));
        for record in records {
            let transport = self.able.iter().find(|able| record.service.eq_ignore_ascii_case(naptr(**able)));
            if let Some(transport) = transport.copied()
                && record.flags.eq_ignore_ascii_case("s")
                && is_name(&record.replacement)
            {
                let name = record.replacement.trim_end_matches('.').to_owned();
                self.todo.push_back(Todo::Srv { name, transport, or: false });
            }
        }
        if self.todo.is_empty() {
            self.todo.push_back(Todo::Guess);
        }
    }

    fn guess(&mut self) {
        for transport in self.able.clone() {
            let name = service(transport, &self.wanted.host);
            self.todo.push_back(Todo::Srv { name, transport, or: false });
        }
    }

    fn srv(&mut self, mut records: Vec<Srv>, transport: Transport) {
        records.truncate(RECORDS);
        self.declined |= records.iter().any(|record| record.target == ".");
        records.retain(|record| is_name(&record.target) && record.port != 0);
        // Before what other transports lead to.
        for record in order::srv(records, &mut self.rng).into_iter().rev() {
            let host = record.target.trim_end_matches('.').to_owned();
            self.todo.push_front(Todo::Addresses { host, port: record.port, transport });
        }
    }

    fn plain(&mut self, transport: Transport) {
        let (host, port) = (self.wanted.host.clone(), transport.port());
        self.todo.push_front(Todo::Addresses { host, port, transport });
        self.wanted.port = Some(port);
    }

    fn tried_plain(&self) -> bool {
        self.wanted.port.is_some()
    }

    fn add(&mut self, target: Target) {
        if !is_host(target.addr.ip()) {
            self.useless = Some(target.addr.ip());
            return;
        }
        if self.targets.len() < TARGETS && !self.targets.contains(&target) {
            self.targets.push(target);
        }
    }
}

impl Wanted {
    /// Whether nothing but TLS is meant.
    pub fn is_secure(&self) -> bool {
        self.transport.is_some_and(Transport::is_secure)
    }

    /// As a domain, where nobody says another.
    pub fn domain(&self) -> String {
        let host = self.host.to_ascii_lowercase();
        if host.contains(':') { format!("[{host}]") } else { host }
    }

    /// For people: the name, and what is said besides.
    pub fn words(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        self.port.map_or(host.clone(), |port| format!("{host}:{port}"))
    }

    /// A Route that leads there.
    pub fn route(&self) -> String {
        let param = self.transport.map_or("", Transport::uri_param);
        format!("<sip:{}{param};lr>", self.words())
    }

    /// Whether there is nothing but addresses to ask for.
    fn is_plain(&self) -> bool {
        self.port.is_some() || self.host.parse::<IpAddr>().is_ok()
    }
}

/// An address that one machine can have, and that says where it is.
fn is_host(ip: IpAddr) -> bool {
    let one = !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(std::net::Ipv4Addr::BROADCAST);
    one && !is_link_local(ip)
}

/// A name that can be asked for: letters, digits, `-`, `_` and dots.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// The SRV name of a transport (RFC 3263 §4.1, RFC 7118 §7).
fn service(transport: Transport, host: &str) -> String {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
        Transport::Ws => "_sip._ws",
        Transport::Wss => "_sips._ws",
        // Ours: nobody has registered one.
        Transport::Quic => "_sips._quic",
    };
    format!("{prefix}.{host}")
}

/// The NAPTR service of a transport.
fn naptr(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "SIP+D2U",
        Transport::Tcp => "SIP+D2T",
        Transport::Tls => "SIPS+D2T",
        Transport::Ws => "SIP+D2W",
        Transport::Wss => "SIPS+D2W",
        Transport::Quic => "SIPS+D2Q",
    }
}

#[cfg(test)]
mod tests;

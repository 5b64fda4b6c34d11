//! A provider: edge proxies in front of one registrar, as RFC 5626 has it, or plain.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sipliance::sip::Transport;
use sipliance::sip::wire::frame::{Frame, Framer};
use sipliance::sip::wire::{Address, Message, Name, Writer, write};

/// How an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Up,
    /// Its program is dead; its machine says so.
    Refuses,
    /// Its program hangs: connections come about, and nobody answers.
    Silent,
    /// Its machine is gone.
    Gone,
}

pub struct Edge {
    pub host: String,
    pub address: SocketAddr,
    pub health: Health,
    pub connections: BTreeMap<SocketAddr, Framer>,
}

#[derive(Clone, Debug)]
pub struct Binding {
    pub home: usize,
    pub user: String,
    pub key: String,
    pub contact: String,
    pub edge: usize,
    /// The far end of the flow.
    pub source: SocketAddr,
    pub transport: Transport,
    pub until: Duration,
}

/// What is answered to a REGISTER instead of the usual.
#[derive(Clone, Debug, PartialEq)]
pub enum Instead {
    /// A status, and fields.
    Status(u16, &'static str),
    Nothing,
}

pub struct Provider {
    pub edges: Vec<Edge>,
    pub bindings: Vec<Binding>,
    /// It knows RFC 5626.
    pub outbound: bool,
    /// It answers STUN and CRLF.
    pub answers: bool,
    pub flow_timer: Option<u32>,
    /// What it fills into `keep`.
    pub keep: Option<u32>,
    pub grants: u32,
    /// More fields of a 2xx to REGISTER.
    pub more: &'static str,
    /// It says that the first hop lacks support (439) to who asks for a flow.
    pub lacks: bool,
    /// For as long as it stands there.
    pub always: Option<Instead>,
    /// The same for one edge.
    pub at_edge: HashMap<usize, Instead>,
    pub logging: bool,
    /// Every REGISTER: when, which home, which edge, what.
    pub registers: Vec<(Duration, usize, usize, String)>,
    /// When, which home: kept always.
    pub times: Vec<(Duration, usize)>,
    /// REGISTERs that came long before the binding had to be refreshed.
    pub early: Vec<Duration>,
    /// Keep-alives: when, which edge, whether it was STUN.
    pub pings: Vec<(Duration, usize, bool)>,
    /// Other requests of homes, and their answers: when, by which edge, what.
    pub heard: Vec<(Duration, usize, String)>,
    /// Leads OPTIONS to where their address is registered, or says 404, rather than answer them.
    pub leads: bool,
    /// Requests of homes other than REGISTER are answered.
    pub talks: bool,
    /// Somebody out there is spoken with, to whom everything but REGISTER and OPTIONS is passed on.
    pub passes: bool,
    pub passed: Vec<(usize, SocketAddr, Transport, Bytes)>,
    tags: u32,
}

impl Provider {
    pub fn new(edges: usize) -> Self {
        let edge = |nth: usize| Edge {
            host: format!("edge{}.example", nth + 1),
            address: format!("198.51.100.{}:5060", nth + 1).parse().unwrap(),
            health: Health::Up,
            connections: BTreeMap::new(),
        };
        Self {
            edges: (0..edges).map(edge).collect(),
            bindings: Vec::new(),
            outbound: true,
            answers: true,
            flow_timer: None,
            keep: None,
            grants: 3600,
            more: "",
            lacks: false,
            always: None,
            at_edge: HashMap::new(),
            logging: true,
            registers: Vec::new(),
            times: Vec::new(),
            early: Vec::new(),
            pings: Vec::new(),
            heard: Vec::new(),
            leads: false,
            talks: true,
            passes: false,
            passed: Vec::new(),
            tags: 0,
        }
    }

    /// What goes back: from which edge, where to, what.
    pub fn receive(
        &mut self,
        home: usize,
        edge: usize,
        from: SocketAddr,
        transport: Transport,
        bytes: &[u8],
        now: Duration,
    ) -> Vec<(usize, SocketAddr, Bytes)> {
        if self.edges[edge].health != Health::Up {
            return Vec::new();
        }
        let mut out: Vec<Bytes> = Vec::new();
        if transport == Transport::Quic {
            out.extend(self.message(home, edge, from, transport, bytes, now));
        } else if transport.is_reliable() {
            let Some(framer) = self.edges[edge].connections.get_mut(&from) else { return Vec::new() };
            framer.push(bytes);
            let frames: Vec<Frame> = std::iter::from_fn(|| framer.next_frame()).collect();
            for frame in frames {
                match frame {
                    Frame::Message(bytes) => {
                        out.extend(self.message(home, edge, from, transport, &bytes, now))
                    }
                    Frame::Ping => {
                        self.ping(now, edge, false);
                        out.extend(self.answers.then(|| Bytes::from_static(b"\r\n")));
                    }
                    Frame::Pong => {}
                    Frame::Broken(head) => panic!("{head:?}"),
                }
            }
        } else if let Some(answer) = mapped(bytes, from) {
            self.ping(now, edge, true);
            out.extend(self.answers.then_some(answer));
        } else if bytes == b"\r\n\r\n" {
            self.ping(now, edge, false);
        } else {
            out.extend(self.message(home, edge, from, transport, bytes, now));
        }
        out.into_iter().map(|bytes| (edge, from, bytes)).collect()
    }

    fn ping(&mut self, now: Duration, edge: usize, stun: bool) {
        if self.logging {
            self.pings.push((now, edge, stun));
        }
    }

    fn message(
        &mut self,
        home: usize,
        edge: usize,
        from: SocketAddr,
        transport: Transport,
        bytes: &[u8],
        now: Duration,
    ) -> Option<Bytes> {
        let message = Message::parse(bytes).expect("a message");
        let request = message.request().map(|(method, _)| method.as_str().to_owned());
        if request.as_deref() == Some("REGISTER") {
            self.times.push((now, home));
            if self.logging {
                self.registers.push((now, home, edge, String::from_utf8_lossy(bytes).into_owned()));
            }
            return self.register(home, edge, from, transport, &message, now);
        }
        if self.passes && request.as_deref() != Some("OPTIONS") {
            self.passed.push((edge, from, transport, Bytes::copy_from_slice(bytes)));
            return None;
        }
        if self.logging {
            self.heard.push((now, edge, String::from_utf8_lossy(bytes).into_owned()));
        }
        if self.leads
            && let Some(on) = self.lead(&message, bytes, from, now)
        {
            return Some(on);
        }
        request.filter(|method| method != "ACK" && self.talks)?;
        let mut writer = write::response(&message, 200, "OK", Some("p"), Some(from));
        if let Some(expires) = message.expires() {
            writer.field_fmt("Expires", format_args!("{expires}"));
            self.tags += 1;
            writer.field_fmt("SIP-ETag", format_args!("tag{}", self.tags));
        }
        Some(Bytes::from(writer.finish()))
    }

    /// An OPTIONS to an address goes to whom it is of, here always the sender; the answer comes back the same way.
    fn lead(&self, message: &Message<'_>, bytes: &[u8], from: SocketAddr, now: Duration) -> Option<Bytes> {
        let text = String::from_utf8_lossy(bytes);
        if message.request().is_none() {
            // Ours is the first Via.
            let (head, rest) = text.split_once("\r\n")?;
            let (first, rest) = rest.split_once("\r\n")?;
            return first.contains("z9hG4bKled").then(|| Bytes::from(format!("{head}\r\n{rest}")));
        }
        let (method, uri) = message.request()?;
        let user = uri.strip_prefix("sip:")?.split_once('@')?.0;
        if method.as_str() != "OPTIONS" {
            return None;
        }
        let Some(binding) = self.bindings.iter().find(|it| it.user == user && it.until > now) else {
            let writer = write::response(message, 404, "Not Registered", Some("p"), Some(from));
            return Some(Bytes::from(writer.finish()));
        };
        let branch = message.via().ok()?.branch()?;
        let (_, rest) = text.split_once("\r\n")?;
        Some(Bytes::from(format!(
            "OPTIONS {} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKled{branch}\r\n{rest}",
            binding.contact, self.edges[0].address
        )))
    }

    fn register(
        &mut self,
        home: usize,
        edge: usize,
        from: SocketAddr,
        transport: Transport,
        request: &Message<'_>,
        now: Duration,
    ) -> Option<Bytes> {
        let instead = self.at_edge.get(&edge).or(self.always.as_ref()).cloned();
        let flow =
            request.list(Name::Contact).any(|value| String::from_utf8_lossy(value).contains(";reg-id="));
        let lacks = (self.lacks && flow).then_some(Instead::Status(439, ""));
        match instead.or(lacks) {
            Some(Instead::Nothing) => return None,
            Some(Instead::Status(status, fields)) => {
                let mut writer = write::response(request, status, "As Scripted", Some("p"), Some(from));
                writer.raw(fields.as_bytes());
                return Some(Bytes::from(writer.finish()));
            }
            None => {}
        }
        if request.first(Name::Authorization).is_none() {
            let mut writer = write::response(request, 401, "Unauthorized", Some("p"), Some(from));
            let nonce = now.as_nanos();
            let realm = format!("Digest realm=\"provider.example\", nonce=\"{nonce}\", qop=\"auth\"");
            writer.field("WWW-Authenticate", &[&realm]);
            return Some(Bytes::from(writer.finish()));
        }
        Some(self.bind(home, edge, from, transport, request, now))
    }

    fn bind(
        &mut self,
        home: usize,
        edge: usize,
        from: SocketAddr,
        transport: Transport,
        request: &Message<'_>,
        now: Duration,
    ) -> Bytes {
        let user = request.to().unwrap().uri.user_text().unwrap().into_owned();
        let value = request.list(Name::Contact).next().unwrap();
        let contact = Address::parse(value).unwrap();
        let reg_id = contact.params.text("reg-id").filter(|_| self.outbound);
        let key = match reg_id {
            Some(reg_id) => format!("{}#{reg_id}", contact.params.text("+sip.instance").unwrap_or_default()),
            None => contact.uri.raw.to_owned(),
        };
        let before = self.bindings.iter().find(|it| it.home == home && it.user == user && it.key == key);
        if before.is_some_and(|it| it.until.saturating_sub(now).as_secs() > u64::from(self.grants) * 6 / 10) {
            self.early.push(now);
        }
        self.bindings.retain(|it| it.until > now && !(it.home == home && it.user == user && it.key == key));
        let asked = request.expires().unwrap_or(self.grants);
        let granted = asked.min(self.grants);
        if granted > 0 {
            let until = now + Duration::from_secs(u64::from(granted));
            let contact = contact.uri.raw.to_owned();
            self.bindings.push(Binding { home, user, key, contact, edge, source: from, transport, until });
        }
        let writer = write::response(request, 200, "OK", Some("p"), Some(from));
        let text = String::from_utf8(writer.finish()).unwrap();
        let keep = self.keep.map(|keep| format!(";keep={keep}")).unwrap_or_default();
        let mut answer = text.trim_end().replacen(";keep", if keep.is_empty() { ";keep" } else { &keep }, 1);
        let written = String::from_utf8_lossy(value).replace(&format!(";expires={asked}"), "");
        answer += &format!("\r\nContact: {written};expires={granted}\r\n");
        if reg_id.is_some() {
            answer += &format!("Require: outbound\r\nPath: <sip:token@{};lr;ob>\r\n", self.edges[edge].host);
            answer += &self.flow_timer.map(|timer| format!("Flow-Timer: {timer}\r\n")).unwrap_or_default();
        }
        answer += self.more;
        let answer = answer.replace("Content-Length: 0\r\n", "");
        Bytes::from(answer + "Content-Length: 0\r\n\r\n")
    }

    /// Where a request for a home goes: over which edge, to whom.
    pub fn ways_to(&self, home: usize, user: &str, now: Duration) -> Vec<Binding> {
        let of = |it: &&Binding| it.home == home && it.user == user && it.until > now;
        self.bindings.iter().filter(of).cloned().collect()
    }
}

/// The answer to a Binding request as the gateway sends it, by hand: a year has millions of them.
fn mapped(request: &[u8], from: SocketAddr) -> Option<Bytes> {
    const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let id = request.strip_prefix(&[0, 1, 0, 0]).and_then(|rest| rest.strip_prefix(&COOKIE))?;
    let SocketAddr::V4(from) = from else { panic!("{from}") };
    let mut answer = Vec::with_capacity(32);
    answer.extend([1, 1, 0, 12]);
    answer.extend(COOKIE);
    answer.extend(id);
    answer.extend([0, 0x20, 0, 8, 0, 1]);
    answer.extend((from.port() ^ 0x2112).to_be_bytes());
    answer.extend((u32::from(*from.ip()) ^ u32::from_be_bytes(COOKIE)).to_be_bytes());
    Some(answer.into())
}

/// The first line of a message, and its number.
pub fn headline(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line).into_owned();
    let Ok(message) = Message::parse(bytes) else { return line };
    let method = message.cseq().map(|cseq| format!("{} {}", cseq.number, cseq.method)).unwrap_or_default();
    let contact = message.list(Name::Contact).next().and_then(|value| Address::parse(value).ok());
    let reg_id = contact.and_then(|it| it.params.text("reg-id").map(|id| format!(", reg-id {id}")));
    format!("{line}  [{method}{}]", reg_id.unwrap_or_default())
}

/// A request from somebody out there, whom the provider vouches for.
pub fn request(
    method: &str,
    contact: &str,
    edge: &Edge,
    transport: Transport,
    nth: u32,
    more: &str,
    body: &str,
) -> Bytes {
    let mut writer = Writer::request(sipliance::sip::wire::Method::Options, contact);
    let host = &edge.host;
    writer.field_fmt(
        "Via",
        format_args!("SIP/2.0/{} {};branch=z9hG4bKw{nth}{method}", transport.via(), edge.address),
    );
    writer.field("From", &["<sip:carla@provider.example>;tag=1"]);
    writer.field("To", &["<sip:101@provider.example>"]);
    writer.field("P-Asserted-Identity", &["<sip:carla@provider.example>"]);
    writer.field_fmt("Record-Route", format_args!("<sip:token@{host};lr;ob>"));
    writer.raw(more.as_bytes());
    let text = String::from_utf8(writer.body("text/plain", body.as_bytes())).unwrap();
    Bytes::from(text.replacen("OPTIONS", method, 1))
}

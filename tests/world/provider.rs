//! A registrar elsewhere, which answers as it is told.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sipliance::sip::wire::frame::{Frame, Framer};
use sipliance::sip::wire::{Message, Name, write};
use sipliance::sip::{FlowId, Transport};

/// How a REGISTER is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// 401 with a fresh nonce.
    Challenge,
    /// 401 that minds only the age of the nonce.
    Stale,
    /// 200 for so many seconds, to anybody.
    Grant(u32),
    /// 401 to who brings no proof, else 200.
    Usual(u32),
    /// 423 for less than so many seconds, else as usual.
    AtLeast(u32),
    TooBrief(u32),
    Busy(u32),
    /// A proxy wants a password (407), and the registrar behind it another (401).
    Both,
    /// 200 whose only Contacts are these; `{user}`, `{instance}` and `{ours}`, its Contact URI, are those of the REGISTER.
    Lists(&'static [&'static str]),
    Refuse(u16),
    Silence,
}

/// Whether a connection comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    Open,
    Refused,
}

/// The registrar.
#[derive(Debug)]
pub struct Provider {
    pub steps: VecDeque<Step>,
    /// When `steps` is empty.
    pub then: Step,
    pub reach: Reach,
    pub transport: Transport,
    pub flow: Option<FlowId>,
    /// Every REGISTER, without repetitions: when, and what.
    pub got: Vec<(Duration, String)>,
    /// Responses that the gateway gave to requests of the provider.
    pub answers: Vec<String>,
    /// Other requests that came: reply MESSAGEs.
    pub others: Vec<String>,
    /// Every PUBLISH, without repetitions: when, and what.
    pub publications: Vec<(Duration, String)>,
    /// Keep-alives: CRLF, or OPTIONS.
    pub pings: u32,
    /// Who supports it gets a public GRUU, and a temporary one that is another each time.
    pub gruus: bool,
    /// More fields of a 2xx to REGISTER.
    pub more: &'static str,
    /// Requests other than REGISTER get 407.
    pub challenges_others: bool,
    /// In whose name.
    pub realm: &'static str,
    answered: HashMap<String, Option<Bytes>>,
    framer: Framer,
    nonces: u32,
}

impl Default for Provider {
    fn default() -> Self {
        Self {
            steps: VecDeque::new(),
            then: Step::Usual(600),
            reach: Reach::Open,
            transport: Transport::Udp,
            flow: None,
            got: Vec::new(),
            answers: Vec::new(),
            others: Vec::new(),
            publications: Vec::new(),
            pings: 0,
            gruus: false,
            more: "",
            challenges_others: false,
            realm: "provider.example",
            answered: HashMap::new(),
            framer: Framer::default(),
            nonces: 0,
        }
    }
}

impl Provider {
    pub fn addr(&self) -> SocketAddr {
        "203.0.113.9:5060".parse().unwrap()
    }

    /// What goes back.
    pub fn receive(&mut self, bytes: &[u8], now: Duration) -> Vec<Bytes> {
        if self.transport == Transport::Udp || self.transport.is_web() {
            if bytes == b"\r\n\r\n" {
                self.pings += 1;
                return Vec::new();
            }
            return self.message(bytes, now).into_iter().collect();
        }
        self.framer.push(bytes);
        let frames: Vec<Frame> = std::iter::from_fn(|| self.framer.next_frame()).collect();
        let mut out = Vec::new();
        for frame in frames {
            match frame {
                Frame::Message(bytes) => out.extend(self.message(&bytes, now)),
                Frame::Ping => {
                    self.pings += 1;
                    out.push(Bytes::from_static(b"\r\n"));
                }
                Frame::Pong => {}
                Frame::Broken(head) => panic!("{head:?}"),
            }
        }
        out
    }

    fn message(&mut self, bytes: &[u8], now: Duration) -> Option<Bytes> {
        let message = Message::parse(bytes).expect("a message");
        let text = String::from_utf8_lossy(bytes).into_owned();
        let Some((method, _)) = message.request() else {
            self.answers.push(text);
            return None;
        };
        if method.as_str() == "ACK" {
            return None;
        }
        let branch = message.via().unwrap().branch().unwrap().to_owned();
        if let Some(answer) = self.answered.get(&branch) {
            return answer.clone();
        }
        if method.as_str() == "OPTIONS" {
            self.pings += 1;
        }
        let answer = if self.then == Step::Silence && method.as_str() != "REGISTER" {
            None
        } else if method.as_str() == "REGISTER" {
            self.got.push((now, text));
            let step = self.steps.pop_front().unwrap_or(self.then.clone());
            self.answer(&message, &step)
        } else {
            let publishes = method.as_str() == "PUBLISH";
            if publishes {
                self.publications.push((now, text));
            } else if method.as_str() != "OPTIONS" {
                self.others.push(text);
            }
            let status = if self.challenges_others { 407 } else { 200 };
            let mut writer = write::response(&message, status, "As Scripted", Some("p"), None);
            if self.challenges_others {
                writer.field_fmt(
                    "Proxy-Authenticate",
                    format_args!("Digest realm=\"{}\", nonce=\"n\", qop=\"auth\"", self.realm),
                );
            }
            if publishes && !self.challenges_others {
                let expires = message.expires().unwrap_or(3600);
                writer.field_fmt("Expires", format_args!("{expires}"));
                writer.field_fmt("SIP-ETag", format_args!("tag{}", self.publications.len()));
            }
            Some(Bytes::from(writer.finish()))
        };
        self.answered.insert(branch, answer.clone());
        answer
    }

    fn answer(&mut self, request: &Message<'_>, step: &Step) -> Option<Bytes> {
        let proven = request.first(Name::Authorization).is_some();
        let proxied = request.first(Name::ProxyAuthorization).is_some();
        let usual = Step::Usual(7200);
        let brief = |least: u32| request.expires().is_some_and(|asked| asked < least);
        let step = match step {
            Step::AtLeast(least) if brief(*least) => &Step::TooBrief(*least),
            Step::AtLeast(_) => &usual,
            other => other,
        };
        let step = match step {
            Step::Usual(_) if !proven => &Step::Challenge,
            Step::Usual(seconds) => &Step::Grant(*seconds),
            Step::Both if proven && proxied => &Step::Grant(600),
            Step::Both if proxied => &Step::Challenge,
            other => other,
        };
        let status = match step {
            Step::Challenge | Step::Stale => 401,
            Step::Both => 407,
            Step::Grant(_) | Step::Usual(_) | Step::AtLeast(_) | Step::Lists(_) => 200,
            Step::TooBrief(_) => 423,
            Step::Busy(_) => 503,
            Step::Refuse(status) => *status,
            Step::Silence => return None,
        };
        let mut writer = write::response(request, status, "As Scripted", Some("p"), None);
        match step {
            Step::Challenge | Step::Stale => {
                self.nonces += 1;
                let stale = if *step == Step::Stale { ", stale=true" } else { "" };
                let nonce = self.nonces;
                writer.field_fmt(
                    "WWW-Authenticate",
                    format_args!("Digest realm=\"provider.example\", nonce=\"n{nonce}\", qop=\"auth\", algorithm=SHA-256{stale}"),
                );
            }
            Step::Grant(seconds) => {
                let contact = String::from_utf8_lossy(request.first(Name::Contact).unwrap()).into_owned();
                let contact = contact.split(";expires").next().unwrap().to_owned();
                let asked = request.expires().unwrap_or(*seconds);
                let gruu = match self.gruus && request.has_option(Name::Supported, "gruu") {
                    true => format!(
                        ";pub-gruu=\"{};gr=x\";temp-gruu=\"sip:t{}@provider.example;gr\"",
                        request.to().unwrap().uri.address(),
                        self.got.len()
                    ),
                    false => String::new(),
                };
                writer.field_fmt("Contact", format_args!("{contact}{gruu};expires={}", asked.min(*seconds)));
                writer.raw(self.more.as_bytes());
            }
            Step::Both => {
                writer.raw(
                    b"Proxy-Authenticate: Digest realm=\"provider.example\", nonce=\"p\", qop=\"auth\"\r\n",
                );
            }
            Step::Lists(contacts) => {
                let value = String::from_utf8_lossy(request.first(Name::Contact).unwrap()).into_owned();
                let instance = value.split(";+sip.instance=").nth(1).and_then(|rest| rest.split(';').next());
                let user = request.to().unwrap().uri.user_text().unwrap().into_owned();
                let ours = value.split('>').next().unwrap().trim_start_matches('<');
                for contact in *contacts {
                    let contact = contact
                        .replace("{user}", &user)
                        .replace("{instance}", instance.unwrap())
                        .replace("{ours}", ours);
                    writer.field("Contact", &[&contact]);
                }
            }
            Step::TooBrief(least) => {
                writer.field_fmt("Min-Expires", format_args!("{least}"));
            }
            Step::Busy(seconds) => {
                writer.field_fmt("Retry-After", format_args!("{seconds} (maintenance)"));
            }
            Step::Usual(_) | Step::AtLeast(_) | Step::Refuse(_) | Step::Silence => {}
        }
        Some(Bytes::from(writer.finish()))
    }
}

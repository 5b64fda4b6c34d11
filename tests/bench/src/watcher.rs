//! All watchers on one socket.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use sipliance::sip::auth::{self, Login};
use sipliance::sip::wire::{Message, Method, Name, Start, Writer, write};

use super::{Args, Trigger};

/// One watcher.
#[derive(Debug, Default)]
struct Watcher {
    cseq: u32,
    remote_tag: Option<String>,
    contact: Option<String>,
    expires: u32,
    begun: Option<Instant>,
    watching: bool,
    heard: bool,
    /// The newest document has the sign that is looked for.
    shows: bool,
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Open {
    bytes: Vec<u8>,
    at: Instant,
    tries: u32,
}

/// All of them, and the one who makes it change.
pub struct Crowd {
    socket: UdpSocket,
    target: SocketAddr,
    local: SocketAddr,
    domain: String,
    name: String,
    names: u32,
    sign: String,
    notifies: u64,
    user: String,
    password: String,
    event: String,
    trigger: Trigger,
    words: Vec<String>,
    run: String,
    watchers: Vec<Watcher>,
    /// By branch.
    open: HashMap<String, Open>,
    branches: u64,
    challenge: Option<Vec<u8>>,
    count: u32,
    watching: usize,
    waiting: usize,
    heard: usize,
    changed: Option<Instant>,
    acting: (u32, String),
    etag: Option<String>,
    times: Vec<Duration>,
    repeats: u64,
    /// Final answers that were no success.
    refused: BTreeMap<String, u64>,
    refused_watchers: usize,
    looked: Instant,
    buffer: Vec<u8>,
}

const ACTOR: usize = usize::MAX;

impl Crowd {
    pub fn new(socket: UdpSocket, args: &Args) -> Self {
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let local = socket.local_addr().unwrap();
        Self {
            target: args.target,
            local,
            domain: args.domain.clone(),
            name: args.name.clone(),
            names: args.names,
            sign: args.sign.clone(),
            notifies: 0,
            user: args.user.clone(),
            password: args.password.clone(),
            event: args.event.clone(),
            trigger: args.trigger,
            words: args.words.clone(),
            run: format!("{}x{}", std::process::id(), local.port()),
            watchers: (0..args.watchers).map(|_| Watcher::default()).collect(),
            open: HashMap::new(),
            branches: 0,
            challenge: None,
            count: 0,
            watching: 0,
            waiting: 0,
            heard: 0,
            changed: None,
            acting: (0, String::new()),
            etag: None,
            times: Vec::new(),
            repeats: 0,
            refused: BTreeMap::new(),
            refused_watchers: 0,
            looked: Instant::now(),
            buffer: vec![0; 65_536],
            socket,
        }
    }

    /// How many have their first NOTIFY.
    pub fn watching(&self) -> usize {
        self.watching
    }

    /// How many were told of the sign in the newest document that they have.
    pub fn showing(&self) -> usize {
        self.watchers.iter().filter(|watcher| watcher.shows).count()
    }

    /// NOTIFYs since this was asked last.
    pub fn take_notifies(&mut self) -> u64 {
        std::mem::take(&mut self.notifies)
    }

    /// How many wait for it.
    pub fn under_way(&self) -> usize {
        self.waiting
    }

    /// How many have heard of the last change.
    pub fn heard(&self) -> usize {
        self.heard
    }

    /// How many were told that they may not watch.
    pub fn refused(&self) -> usize {
        self.refused_watchers
    }

    /// Final answers that were no success, and how often each came.
    pub fn take_refusals(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.refused)
    }

    /// Times from asking to hearing.
    pub fn take_times(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.times)
    }

    /// Requests that had to be sent again.
    pub fn take_repeats(&mut self) -> u64 {
        std::mem::take(&mut self.repeats)
    }

    pub fn subscribe(&mut self, nth: usize, expires: u32) {
        self.watchers[nth].begun = Some(Instant::now());
        self.watchers[nth].expires = expires;
        self.waiting += 1;
        self.send_subscribe(nth, self.challenge.is_some());
    }

    pub fn leave(&mut self) {
        for nth in 0..self.watchers.len() {
            if self.watchers[nth].watching {
                self.watchers[nth].expires = 0;
                self.send_subscribe(nth, true);
            }
        }
    }

    /// Makes the watched thing change; the moment at which that left.
    pub fn change(&mut self, nth: usize) -> Instant {
        self.watchers.iter_mut().for_each(|watcher| watcher.heard = false);
        self.heard = 0;
        self.times.clear();
        let word = self.words.get(nth % self.words.len().max(1)).cloned().unwrap_or_default();
        self.acting = (self.acting.0 + 1, format!("act{}-{nth}", self.run));
        let now = Instant::now();
        self.changed = Some(now);
        self.send_change(&word, nth, false);
        now
    }

    /// Reads what has come, and repeats what was lost.
    pub fn turn(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..256 {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.target => self.receive(&buffer[..length]),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => panic!("receiving: {error}"),
            }
        }
        self.buffer = buffer;
        if self.looked.elapsed() > Duration::from_millis(100) {
            self.looked = Instant::now();
            self.repeat();
        }
    }

    fn repeat(&mut self) {
        let now = Instant::now();
        let mut lost = Vec::new();
        for (branch, open) in &mut self.open {
            let wait = Duration::from_millis(500 << open.tries.min(3));
            if now - open.at >= wait {
                open.tries += 1;
                open.at = now;
                self.repeats += 1;
                if open.tries > 10 {
                    lost.push(branch.clone());
                } else {
                    let _ = self.socket.send_to(&open.bytes, self.target);
                }
            }
        }
        for branch in lost {
            self.open.remove(&branch);
        }
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else { return };
        match message.start {
            Start::Request { method: Method::Notify, .. } => self.on_notify(&message),
            Start::Request { method: Method::Ack, .. } => {}
            Start::Request { .. } => self.answer(&message, 200),
            Start::Response { status: 200.., .. } => self.on_response(&message, bytes),
            Start::Response { .. } => {}
        }
    }

    fn answer(&mut self, message: &Message<'_>, status: u16) {
        let bytes = write::response(message, status, "OK", Some("load"), None).finish();
        let _ = self.socket.send_to(&bytes, self.target);
    }

    fn on_notify(&mut self, message: &Message<'_>) {
        let Some(nth) = self.number(message).filter(|nth| *nth < self.watchers.len()) else {
            return self.answer(message, 481);
        };
        self.answer(message, 200);
        let now = Instant::now();
        let state = message.first(Name::SubscriptionState).unwrap_or_default();
        self.notifies += 1;
        let watcher = &mut self.watchers[nth];
        if !self.sign.is_empty() && !message.body.is_empty() {
            watcher.shows = memchr::memmem::find(message.body, self.sign.as_bytes()).is_some();
        }
        if state.starts_with(b"terminated") {
            self.watching -= usize::from(std::mem::take(&mut watcher.watching));
            return;
        }
        watcher.remote_tag = message.from().ok().and_then(|from| from.tag()).map(ToOwned::to_owned);
        watcher.contact = message.contact().and_then(Result::ok).map(|contact| contact.uri.raw.to_owned());
        if !std::mem::replace(&mut watcher.watching, true) {
            self.watching += 1;
            self.waiting -= 1;
            self.times.extend(watcher.begun.map(|begun| now - begun));
        } else if let Some(changed) = self.changed
            && !std::mem::replace(&mut watcher.heard, true)
        {
            self.heard += 1;
            self.times.push(now - changed);
        }
    }

    fn on_response(&mut self, message: &Message<'_>, bytes: &[u8]) {
        let Some(branch) = message.via().ok().and_then(|via| via.branch().map(ToOwned::to_owned)) else {
            return;
        };
        if self.open.remove(&branch).is_none() {
            return;
        }
        let status = match message.start {
            Start::Response { status, .. } => status,
            Start::Request { .. } => return,
        };
        let Some(nth) = self.number(message) else { return };
        match status {
            401 | 407 => {
                self.challenge = Some(bytes.to_vec());
                self.count = 0;
                match nth {
                    ACTOR => self.again(),
                    nth => self.send_subscribe(nth, true),
                }
            }
            200..300 if nth == ACTOR => {
                let etag = message.first(Name::SipETag).and_then(|etag| std::str::from_utf8(etag).ok());
                self.etag = etag.map(ToOwned::to_owned).or(self.etag.take());
            }
            200..300 => {}
            481 if nth != ACTOR => {
                self.watching -= usize::from(std::mem::take(&mut self.watchers[nth].watching));
            }
            status => {
                let method = message.cseq().map_or("?", |cseq| cseq.method);
                *self.refused.entry(format!("{status} to {method}")).or_default() += 1;
                if nth != ACTOR && self.watchers[nth].remote_tag.is_none() {
                    self.waiting -= 1;
                    self.refused_watchers += 1;
                }
            }
        }
    }

    /// Which watcher a message is about, by its Call-ID.
    fn number(&self, message: &Message<'_>) -> Option<usize> {
        let text = std::str::from_utf8(message.call_id()?).ok()?;
        if text == self.acting.1 {
            return Some(ACTOR);
        }
        text.strip_prefix(&format!("w{}-", self.run))?.parse().ok()
    }

    fn again(&mut self) {
        let nth = self.acting.1.rsplit('-').next().and_then(|nth| nth.parse::<usize>().ok()).unwrap_or(0);
        let word = self.words.get(nth % self.words.len().max(1)).cloned().unwrap_or_default();
        self.send_change(&word, nth, true);
    }

    fn send_subscribe(&mut self, nth: usize, signed: bool) {
        let name = self.name.replace("{}", &format!("{:05}", nth as u32 % self.names));
        let uri = format!("sip:{name}@{}", self.domain);
        let watcher = &mut self.watchers[nth];
        watcher.cseq += 1;
        let (cseq, expires) = (watcher.cseq, watcher.expires);
        let remote = watcher.remote_tag.clone().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let target = watcher.contact.clone().unwrap_or_else(|| uri.clone());
        let fields = format!(
            "From: <sip:{user}@{domain}>;tag=t{nth}\r\nTo: <{uri}>{remote}\r\nCall-ID: w{run}-{nth}\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: <sip:w{nth}@{local}>\r\nEvent: {event}\r\nExpires: {expires}\r\n",
            user = self.user,
            domain = self.domain,
            run = self.run,
            local = self.local,
            event = self.event,
        );
        self.send("SUBSCRIBE", &target, &fields, signed, None);
    }

    fn send_change(&mut self, word: &str, nth: usize, signed: bool) {
        let uri = format!("sip:{}@{}", self.name, self.domain);
        let (cseq, call_id) = (if signed { 2 } else { 1 }, self.acting.1.clone());
        let who = if self.trigger == Trigger::Publish { &self.name } else { &self.user };
        let head =
            format!("From: <sip:{who}@{}>;tag=a{nth}\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\n", self.domain);
        if self.trigger == Trigger::Publish {
            let tag = self.etag.clone().map(|etag| format!("SIP-If-Match: {etag}\r\n")).unwrap_or_default();
            let fields = format!("{head}CSeq: {cseq} PUBLISH\r\nEvent: presence\r\nExpires: 3600\r\n{tag}");
            let body = format!(
                "<?xml version=\"1.0\"?><presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"{uri}\"><tuple id=\"t\"><status><basic>open</basic></status><note>change {nth}</note></tuple></presence>"
            );
            self.send("PUBLISH", &uri, &fields, signed, Some(("application/pidf+xml", &body)));
        } else {
            let fields = format!("{head}CSeq: {cseq} MESSAGE\r\n");
            self.send("MESSAGE", &uri, &fields, signed, Some(("text/plain", word)));
        }
    }

    fn send(&mut self, method: &str, uri: &str, fields: &str, signed: bool, body: Option<(&str, &str)>) {
        self.branches += 1;
        let branch = format!("z9hG4bK{}.{}", self.run, self.branches);
        let mut writer = Writer::request(Method::new(method), uri);
        writer.field_fmt("Via", format_args!("SIP/2.0/UDP {};branch={branch};rport", self.local));
        writer.raw(b"Max-Forwards: 70\r\nUser-Agent: sipliance-load\r\n").raw(fields.as_bytes());
        if let Some(challenge) = self.challenge.as_ref().filter(|_| signed) {
            self.count += 1;
            let login = Login { user: &self.user, password: &self.password };
            let challenge = Message::parse(challenge).unwrap();
            let proof = auth::answer(&challenge, login, method, uri, "load", self.count);
            writer.raw(proof.map(|proof| proof.field).unwrap_or_default().as_bytes());
        }
        let bytes = match body {
            Some((kind, body)) => writer.body(kind, body.as_bytes()),
            None => writer.finish(),
        };
        let _ = self.socket.send_to(&bytes, self.target);
        self.open.insert(branch, Open { bytes, at: Instant::now(), tries: 0 });
    }
}

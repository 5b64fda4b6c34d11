//! All watchers, and what they do.

mod asking;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use sipliance::sip::auth::{self, Login};
use sipliance::sip::wire::{Message, Method, Name, Start, Writer, write};

use bytes::Bytes;
use sipliance::sip::Transport;

use super::wire::Wire;
use super::{Args, Trigger};

/// One watcher.
#[derive(Debug, Default)]
struct Watcher {
    cseq: u32,
    /// Number of its dialog.
    dialog: u32,
    remote_tag: Option<String>,
    contact: Option<String>,
    expires: u32,
    begun: Option<Instant>,
    watching: bool,
    heard: bool,
    /// The newest document has the sign that is looked for.
    shows: bool,
    /// A refresh waits for its answer, and for its NOTIFY.
    refreshing: (bool, bool),
}

impl Watcher {
    /// The next SUBSCRIBE begins a dialog. Whether a refresh is over with that.
    fn forget(&mut self) -> bool {
        self.dialog += 1;
        (self.remote_tag, self.contact) = (None, None);
        let (answer, notify) = std::mem::take(&mut self.refreshing);
        answer || notify
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Open {
    nth: usize,
    bytes: Vec<u8>,
    at: Instant,
    tries: u32,
}

/// All of them, and the one who makes it change.
pub struct Crowd {
    wire: Wire,
    transport: Transport,
    domain: String,
    /// Every new dialog begins without a login, as phones do.
    fresh: bool,
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
    registers: u32,
    /// The question that is under way.
    question: (usize, String),
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
    /// Refreshes and requests outside of any dialog that are under way.
    busy: usize,
    /// The NOTIFY that follows a refresh is not waited for alone.
    refreshed: usize,
}

/// Who makes it change.
const ACTOR: usize = usize::MAX;
/// Who asks and registers.
const GUEST: usize = usize::MAX - 1;

impl Crowd {
    pub fn new(wire: Wire, args: &Args) -> Self {
        let local = wire.local(0);
        Self {
            transport: args.transport,
            fresh: args.fresh,
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
            registers: 0,
            question: Default::default(),
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
            busy: 0,
            refreshed: 0,
            wire,
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
        self.send_subscribe(nth, self.challenge.is_some() && !self.fresh);
    }

    /// The address that the nth of them watches.
    fn uri(&self, nth: usize) -> String {
        let name = self.name.replace("{}", &format!("{:05}", nth as u32 % self.names));
        format!("sip:{name}@{}", self.domain)
    }

    fn contact(&self, nth: usize) -> String {
        let param = match self.transport {
            Transport::Udp => String::new(),
            other => format!(";transport={}", other.via().to_ascii_lowercase()),
        };
        format!("sip:w{nth}@{}{param}", self.wire.local(nth))
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

    /// Lets the last answers arrive.
    pub fn settle(&mut self) {
        let until = Instant::now() + Duration::from_millis(30);
        while Instant::now() < until {
            self.turn();
        }
    }

    /// Reads one thing that has come.
    pub fn turn_briefly(&mut self) {
        if let Some((connection, bytes)) = self.wire.receive() {
            self.receive(connection, &bytes);
        }
        self.look();
    }

    /// Reads what has come, and repeats what was lost.
    pub fn turn(&mut self) {
        for _ in 0..256 {
            let Some((connection, bytes)) = self.wire.receive() else { break };
            self.receive(connection, &bytes);
        }
        self.look();
    }

    fn look(&mut self) {
        if self.looked.elapsed() > Duration::from_millis(100) {
            self.looked = Instant::now();
            self.repeat();
        }
    }

    fn repeat(&mut self) {
        if self.transport.is_reliable() {
            return;
        }
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
                    self.wire.send(open.nth, &open.bytes);
                }
            }
        }
        for branch in lost {
            self.open.remove(&branch);
        }
    }

    fn receive(&mut self, connection: usize, bytes: &Bytes) {
        let Ok(message) = Message::parse(bytes) else { return };
        match message.start {
            Start::Request { method: Method::Notify, .. } => self.on_notify(connection, &message),
            Start::Request { method: Method::Ack, .. } => {}
            Start::Request { method, .. } => {
                if method == Method::Message {
                    self.busy = self.busy.saturating_sub(1);
                    self.refreshed += 1;
                }
                self.answer(connection, &message, 200);
            }
            Start::Response { status: 200.., .. } => self.on_response(&message, bytes),
            Start::Response { .. } => {}
        }
    }

    fn answer(&mut self, connection: usize, message: &Message<'_>, status: u16) {
        let bytes = write::response(message, status, "OK", Some("load"), None).finish();
        self.wire.send(connection, &bytes);
    }

    fn on_notify(&mut self, connection: usize, message: &Message<'_>) {
        let Some(nth) = self.number(message).filter(|nth| *nth < self.watchers.len()) else {
            return self.answer(connection, message, 481);
        };
        self.answer(connection, message, 200);
        let now = Instant::now();
        let state = message.first(Name::SubscriptionState).unwrap_or_default();
        self.notifies += 1;
        let watcher = &mut self.watchers[nth];
        if !self.sign.is_empty() && !message.body.is_empty() {
            watcher.shows = memchr::memmem::find(message.body, self.sign.as_bytes()).is_some();
        }
        if state.starts_with(b"terminated") {
            self.watching -= usize::from(std::mem::take(&mut watcher.watching));
            self.busy = self.busy.saturating_sub(usize::from(watcher.forget()));
            return;
        }
        watcher.remote_tag = message.from().ok().and_then(|from| from.tag()).map(ToOwned::to_owned);
        watcher.contact = message.contact().and_then(Result::ok).map(|contact| contact.uri.raw.to_owned());
        if std::mem::take(&mut watcher.refreshing.1) && !watcher.refreshing.0 {
            self.busy = self.busy.saturating_sub(1);
            self.refreshed += 1;
        }
        if !std::mem::replace(&mut watcher.watching, true) {
            self.watching += 1;
            self.waiting = self.waiting.saturating_sub(1);
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
                    GUEST if message.cseq().is_some_and(|cseq| cseq.method == "MESSAGE") => {
                        self.ask_again(true)
                    }
                    GUEST => self.register(0, true),
                    nth => self.send_subscribe(nth, true),
                }
            }
            200..300 if nth == ACTOR => {
                let etag = message.first(Name::SipETag).and_then(|etag| std::str::from_utf8(etag).ok());
                self.etag = etag.map(ToOwned::to_owned).or(self.etag.take());
            }
            // What was asked comes by itself.
            200..300 if message.cseq().is_some_and(|cseq| cseq.method == "MESSAGE") && nth == GUEST => {}
            200..300 if nth == GUEST => {
                self.busy = self.busy.saturating_sub(1);
                self.refreshed += 1;
            }
            200..300 => {
                let watcher = &mut self.watchers[nth];
                if std::mem::take(&mut watcher.refreshing.0) && !watcher.refreshing.1 {
                    self.busy = self.busy.saturating_sub(1);
                    self.refreshed += 1;
                }
            }
            481 if nth < GUEST => {
                self.watching -= usize::from(std::mem::take(&mut self.watchers[nth].watching));
                self.busy = self.busy.saturating_sub(usize::from(self.watchers[nth].forget()));
            }
            status => {
                let method = message.cseq().map_or("?", |cseq| cseq.method);
                *self.refused.entry(format!("{status} to {method}")).or_default() += 1;
                if nth < GUEST && self.watchers[nth].remote_tag.is_none() {
                    self.waiting = self.waiting.saturating_sub(1);
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
        if text.starts_with(['q', 'r']) {
            return Some(GUEST);
        }
        text.strip_prefix(&format!("w{}-", self.run))?.split('.').next()?.parse().ok()
    }

    fn again(&mut self) {
        let nth = self.acting.1.rsplit('-').next().and_then(|nth| nth.parse::<usize>().ok()).unwrap_or(0);
        let word = self.words.get(nth % self.words.len().max(1)).cloned().unwrap_or_default();
        self.send_change(&word, nth, true);
    }

    fn send_subscribe(&mut self, nth: usize, signed: bool) {
        let (uri, contact) = (self.uri(nth), self.contact(nth));
        let watcher = &mut self.watchers[nth];
        watcher.cseq += 1;
        let (cseq, dialog, expires) = (watcher.cseq, watcher.dialog, watcher.expires);
        let remote = watcher.remote_tag.clone().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let target = watcher.contact.clone().unwrap_or_else(|| uri.clone());
        let fields = format!(
            "From: <sip:{user}@{domain}>;tag=t{nth}\r\nTo: <{uri}>{remote}\r\nCall-ID: w{run}-{nth}.{dialog}\r\nCSeq: {cseq} SUBSCRIBE\r\nContact: <{contact}>\r\nEvent: {event}\r\nExpires: {expires}\r\n",
            user = self.user,
            domain = self.domain,
            run = self.run,
            event = self.event,
        );
        self.send(nth, "SUBSCRIBE", &target, &fields, signed, None);
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
            self.send(ACTOR, "PUBLISH", &uri, &fields, signed, Some(("application/pidf+xml", &body)));
        } else {
            let fields = format!("{head}CSeq: {cseq} MESSAGE\r\n");
            self.send(ACTOR, "MESSAGE", &uri, &fields, signed, Some(("text/plain", word)));
        }
    }

    fn send(
        &mut self,
        nth: usize,
        method: &str,
        uri: &str,
        fields: &str,
        signed: bool,
        body: Option<(&str, &str)>,
    ) {
        // Those who are no watchers are on the first connection.
        let connection = if nth >= GUEST { 0 } else { nth };
        self.branches += 1;
        let branch = format!("z9hG4bK{}.{}", self.run, self.branches);
        let mut writer = Writer::request(Method::new(method), uri);
        writer.field_fmt(
            "Via",
            format_args!(
                "SIP/2.0/{} {};branch={branch};rport",
                self.transport.via(),
                self.wire.local(connection)
            ),
        );
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
        self.wire.send(connection, &bytes);
        self.open.insert(branch, Open { nth: connection, bytes, at: Instant::now(), tries: 0 });
    }
}

//! A scripted phone: a small user agent on the gateway's own messages and transactions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance::sip::auth::{self, Login};
use sipliance::sip::dialog::via;
use sipliance::sip::transaction::{Arrival, ClientEvent, ServerKey, Transactions, Weight};
use sipliance::sip::wire::frame::{Frame, Framer};
use sipliance::sip::wire::{Message, Method, Name, Start, Writer, write};
use sipliance::sip::{FlowId, Hop, Transport};

/// One thing that the person at the phone does, with all of its attempts.
#[derive(Clone, Debug)]
pub struct Op {
    pub method: &'static str,
    pub uri: String,
    pub to: String,
    pub call_id: String,
    tag: String,
    pub cseq: u32,
    /// Fields and body beside those that every request has.
    fields: String,
    body: Option<(&'static str, String)>,
    attempts: u32,
    /// What its digest covers instead of its Request-URI.
    pub digest_uri: Option<String>,
    /// Every final response: when, status, reason, body.
    pub finals: Vec<(Duration, u16, String, String)>,
    /// Fields of the last final response.
    pub response: Option<Bytes>,
    pub provisional: u32,
    /// No further attempt follows.
    pub over: bool,
    /// The subscription that it belongs to.
    sub: Option<usize>,
    /// The last request as it was sent.
    pub sent: Bytes,
}

impl Op {
    /// The status that ended it; 0 while it is under way, 408 when nobody answered.
    pub fn status(&self) -> u16 {
        if self.over { self.finals.last().map_or(408, |last| last.1) } else { 0 }
    }
}

/// A subscription of the phone.
#[derive(Clone, Debug)]
pub struct Sub {
    call_id: String,
    tag: String,
    remote_tag: Option<String>,
    contact: String,
    cseq: u32,
    pub event: String,
    accept: Option<&'static str>,
    uri: String,
    pub last_cseq: u32,
    pub notifies: Vec<Notify>,
    pub terminated: bool,
    /// When to refresh by itself, and with what lifetime.
    pub refresh: Option<(Duration, u32)>,
}

/// A NOTIFY as it was heard.
#[derive(Clone, Debug)]
pub struct Notify {
    pub at: Duration,
    pub state: String,
    pub content_type: String,
    pub etag: String,
    pub body: String,
}

/// How a request of the gateway is answered.
#[derive(Clone, Debug)]
pub enum Reply {
    Status(u16),
    RetryAfter(u16, u32),
    /// 200 with Expires.
    Grant(u32),
    Never,
}

/// The phone.
#[derive(Debug)]
pub struct Phone {
    pub user: String,
    password: String,
    pub hop: Hop,
    /// Digest answers begin with the nonce of the last challenge (RFC 7616 §3.6), as phones do.
    pub reuses_nonces: bool,
    challenge: Option<Bytes>,
    count: u32,
    pub ops: Vec<Op>,
    pub subs: Vec<Sub>,
    pub messages: Vec<(Duration, String)>,
    /// What the next requests of the gateway get; then 200.
    pub replies: VecDeque<Reply>,
    pub transactions: Transactions<usize>,
    rng: ChaCha8Rng,
    pub framer: Framer,
    epoch: Instant,
    /// Pongs that came over a stream.
    pub pongs: u32,
    /// More header fields for each SUBSCRIBE.
    pub extra: String,
    /// What From says instead of its own address.
    pub speaks_for: Option<String>,
    /// Requests of the gateway, by method.
    pub asked: Vec<(String, Bytes)>,
    /// The body of the next SUBSCRIBE.
    pub body: Option<(&'static str, String)>,
}

const DOMAIN: &str = "home.example";

impl Phone {
    pub fn new(seed: u64, user: &str, addr: SocketAddr, gateway: SocketAddr, epoch: Instant) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            user: user.to_owned(),
            password: super::home::password(user).to_owned(),
            hop: Hop { flow: FlowId(9), transport: Transport::Udp, local: addr, peer: gateway },
            reuses_nonces: true,
            challenge: None,
            count: 0,
            ops: Vec::new(),
            subs: Vec::new(),
            messages: Vec::new(),
            replies: VecDeque::new(),
            transactions: Transactions::new(ChaCha8Rng::from_seed(rng.random())),
            rng,
            framer: Framer::default(),
            epoch,
            pongs: 0,
            extra: String::new(),
            speaks_for: None,
            asked: Vec::new(),
            body: None,
        }
    }

    /// Forgets its subscriptions and logins, as after a power cut; the address stays.
    pub fn restart(&mut self) {
        self.subs.clear();
        self.challenge = None;
    }

    pub fn register(&mut self, expires: u32, now: Instant) -> usize {
        self.register_as(&self.user.clone(), expires, now)
    }

    /// Registers the address of a user, be it its own or not.
    pub fn register_as(&mut self, user: &str, expires: u32, now: Instant) -> usize {
        let contact = self.contact();
        let fields = format!("Contact: <{contact}>;expires={expires}\r\n");
        let to = format!("sip:{user}@{DOMAIN}");
        self.start("REGISTER", &format!("sip:{DOMAIN}"), &to, fields, None, now)
    }

    /// REGISTER of its own address with these fields.
    pub fn register_raw(
        &mut self,
        fields: &str,
        body: Option<(&'static str, String)>,
        now: Instant,
    ) -> usize {
        let to = format!("sip:{}@{DOMAIN}", self.user);
        self.start("REGISTER", &format!("sip:{DOMAIN}"), &to, fields.to_owned(), body, now)
    }

    /// Registers as somebody who decides over subscriptions.
    pub fn register_authorizer(&mut self, expires: u32, now: Instant) -> usize {
        let contact = self.contact();
        let fields = format!("Contact: <{contact}>;expires={expires};methods=\"MESSAGE,QAUTH\"\r\n");
        let to = format!("sip:{}@{DOMAIN}", self.user);
        self.start("REGISTER", &format!("sip:{DOMAIN}"), &to, fields, None, now)
    }

    /// Registers, and accepts bodies of that type in the answer.
    pub fn register_accepting(&mut self, accept: &str, now: Instant) -> usize {
        let fields = format!("Contact: <{}>;expires=600\r\nAccept: {accept}\r\n", self.contact());
        let to = format!("sip:{}@{DOMAIN}", self.user);
        self.start("REGISTER", &format!("sip:{DOMAIN}"), &to, fields, None, now)
    }

    /// Asks whether somebody may watch something.
    pub fn qauth(&mut self, who: &str, name: &str, now: Instant) -> usize {
        self.speaks_for = Some(format!("sip:{who}"));
        let uri = format!("sip:{name}@{DOMAIN}");
        self.start("QAUTH", &uri, &uri, "Expires: 86400\r\n".to_owned(), None, now)
    }

    pub fn options(&mut self, now: Instant) -> usize {
        self.start("OPTIONS", &format!("sip:{DOMAIN}"), &format!("sip:{DOMAIN}"), String::new(), None, now)
    }

    pub fn message(&mut self, name: &str, text: &str, now: Instant) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        self.start("MESSAGE", &uri, &uri, String::new(), Some(("text/plain", text.to_owned())), now)
    }

    /// Any request to a name, with more fields and a body.
    pub fn request(
        &mut self,
        method: &'static str,
        name: &str,
        fields: &str,
        body: Option<(&'static str, &str)>,
        now: Instant,
    ) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        let body = body.map(|(kind, body)| (kind, body.to_owned()));
        self.start(method, &uri, &uri, fields.to_owned(), body, now)
    }

    /// OPTIONS that asks for a description.
    pub fn describe(&mut self, name: &str, now: Instant) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        self.start("OPTIONS", &uri, &uri, "Accept: application/td+json\r\n".to_owned(), None, now)
    }

    /// Any request to a URI, such as a phone writes that knows this house by its address only.
    pub fn request_to(
        &mut self,
        method: &'static str,
        uri: &str,
        fields: &str,
        body: Option<(&'static str, &str)>,
        now: Instant,
    ) -> usize {
        let body = body.map(|(kind, body)| (kind, body.to_owned()));
        self.start(method, uri, uri, fields.to_owned(), body, now)
    }

    /// PUBLISH of the plug's `power`, with more fields; without a body when `on` is `None`.
    pub fn publish(&mut self, name: &str, on: Option<bool>, fields: &str, now: Instant) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        let body = on.map(|on| ("application/senml+json", format!(r#"[{{"n":"power","vb":{on}}}]"#)));
        self.start("PUBLISH", &uri, &uri, format!("Event: appliance\r\n{fields}"), body, now)
    }

    /// A command in SenML: `power` on or off.
    pub fn switch(&mut self, name: &str, on: bool, now: Instant) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        let body = format!("[{{\"n\":\"power\",\"vb\":{on}}}]");
        self.start("DO", &uri, &uri, String::new(), Some(("application/senml+json", body)), now)
    }

    /// A setting in SenML for a while.
    pub fn lease(&mut self, name: &str, on: bool, expires: u32, now: Instant) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        let body = format!("[{{\"n\":\"power\",\"vb\":{on}}}]");
        let fields = format!("Event: appliance\r\nExpires: {expires}\r\n");
        self.start("PUBLISH", &uri, &uri, fields, Some(("application/senml+json", body)), now)
    }

    pub fn invite(&mut self, number: &str, now: Instant) -> usize {
        self.invite_with(number, "", now)
    }

    /// INVITE with more fields.
    pub fn invite_with(&mut self, number: &str, fields: &str, now: Instant) -> usize {
        let uri = format!("sip:{number}@{DOMAIN}");
        let fields = format!("Contact: <{}>\r\n{fields}", self.contact());
        let sdp = "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        self.start("INVITE", &uri, &uri, fields, Some(("application/sdp", sdp.to_owned())), now)
    }

    pub fn subscribe(&mut self, name: &str, event: &str, expires: u32, now: Instant) -> usize {
        self.subscribe_as(name, event, None, expires, now)
    }

    /// Subscribes; the subscription is the last of `subs`.
    pub fn subscribe_as(
        &mut self,
        name: &str,
        event: &str,
        accept: Option<&'static str>,
        expires: u32,
        now: Instant,
    ) -> usize {
        self.subscribe_with(name, event, accept, expires, None, now)
    }

    /// The same with a body.
    pub fn subscribe_with(
        &mut self,
        name: &str,
        event: &str,
        accept: Option<&'static str>,
        expires: u32,
        body: Option<(&'static str, &str)>,
        now: Instant,
    ) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        let sub = self.subs.len();
        let fields = self.sub_fields(event, accept, expires);
        let body = body.map(|(kind, body)| (kind, body.to_owned())).or(self.body.take());
        let op = self.new_op("SUBSCRIBE", &uri, &uri, fields, body);
        self.subs.push(Sub {
            call_id: self.ops[op].call_id.clone(),
            tag: self.ops[op].tag.clone(),
            remote_tag: None,
            contact: uri.clone(),
            cseq: 1,
            event: event.to_owned(),
            accept,
            uri,
            last_cseq: 0,
            notifies: Vec::new(),
            terminated: false,
            refresh: None,
        });
        self.ops[op].sub = Some(sub);
        self.send(op, None, now);
        op
    }

    /// SUBSCRIBE with these fields beside those that every request has; no Contact and no Event of its
    /// own. The subscription is the last of `subs`.
    pub fn subscribe_raw(
        &mut self,
        name: &str,
        fields: &str,
        body: Option<(&'static str, String)>,
        now: Instant,
    ) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        let op = self.new_op("SUBSCRIBE", &uri, &uri, fields.to_owned(), body);
        self.subs.push(Sub {
            call_id: self.ops[op].call_id.clone(),
            tag: self.ops[op].tag.clone(),
            remote_tag: None,
            contact: uri.clone(),
            cseq: 1,
            event: String::new(),
            accept: None,
            uri,
            last_cseq: 0,
            notifies: Vec::new(),
            terminated: false,
            refresh: None,
        });
        self.ops[op].sub = Some(self.subs.len() - 1);
        self.send(op, None, now);
        op
    }

    /// A SUBSCRIBE in the dialog of a subscription with these fields.
    pub fn refresh_raw(
        &mut self,
        sub: usize,
        fields: &str,
        body: Option<(&'static str, String)>,
        now: Instant,
    ) -> usize {
        let it = self.subs[sub].clone();
        let op = self.new_op("SUBSCRIBE", &it.contact, &it.uri, fields.to_owned(), body);
        let entry = &mut self.ops[op];
        entry.call_id = it.call_id;
        entry.tag = it.tag;
        entry.cseq = it.cseq + 1;
        entry.sub = Some(sub);
        self.send(op, None, now);
        op
    }

    /// Any request to an address of the house.
    pub fn ask(
        &mut self,
        method: &'static str,
        name: &str,
        fields: &str,
        body: Option<(&'static str, String)>,
        now: Instant,
    ) -> usize {
        let uri = format!("sip:{name}@{DOMAIN}");
        self.start(method, &uri, &uri, fields.to_owned(), body, now)
    }

    /// Refreshes a subscription, or ends it with 0.
    pub fn refresh(&mut self, sub: usize, expires: u32, now: Instant) -> usize {
        let it = self.subs[sub].clone();
        let fields = self.sub_fields(&it.event, it.accept, expires);
        let op = self.new_op("SUBSCRIBE", &it.contact, &it.uri, fields, None);
        let entry = &mut self.ops[op];
        entry.call_id = it.call_id;
        entry.tag = it.tag;
        entry.cseq = it.cseq + 1;
        entry.sub = Some(sub);
        self.send(op, None, now);
        op
    }

    /// CANCEL of an INVITE (RFC 3261 §9.1).
    pub fn cancel(&mut self, op: usize) -> Bytes {
        let invite = self.ops[op].sent.clone();
        let message = Message::parse(&invite).unwrap();
        let (_, uri) = message.request().unwrap();
        let mut writer = Writer::request(Method::Cancel, uri);
        for name in [Name::Via, Name::MaxForwards, Name::From, Name::To, Name::CallId] {
            writer.echo(name.as_str(), message.first(name).unwrap());
        }
        writer.field_fmt("CSeq", format_args!("{} CANCEL", self.ops[op].cseq));
        let bytes = writer.finish();
        self.transactions.send_once(self.hop, bytes.clone());
        bytes.into()
    }

    fn sub_fields(&self, event: &str, accept: Option<&str>, expires: u32) -> String {
        let accept = accept.map(|accept| format!("Accept: {accept}\r\n")).unwrap_or_default();
        format!(
            "Contact: <{}>\r\nEvent: {event}\r\n{accept}Expires: {expires}\r\n{}",
            self.contact(),
            self.extra
        )
    }

    pub fn contact(&self) -> String {
        format!("sip:{}@{}{}", self.user, self.hop.local, self.hop.transport.uri_param())
    }

    fn start(
        &mut self,
        method: &'static str,
        uri: &str,
        to: &str,
        fields: String,
        body: Option<(&'static str, String)>,
        now: Instant,
    ) -> usize {
        let op = self.new_op(method, uri, to, fields, body);
        self.send(op, None, now);
        op
    }

    fn new_op(
        &mut self,
        method: &'static str,
        uri: &str,
        to: &str,
        fields: String,
        body: Option<(&'static str, String)>,
    ) -> usize {
        self.ops.push(Op {
            method,
            uri: uri.to_owned(),
            to: to.to_owned(),
            call_id: format!("{:016x}", self.rng.random::<u64>()),
            tag: format!("{:08x}", self.rng.random::<u32>()),
            cseq: 1,
            fields,
            body,
            attempts: 0,
            digest_uri: None,
            finals: Vec::new(),
            response: None,
            provisional: 0,
            over: false,
            sub: None,
            sent: Bytes::new(),
        });
        self.ops.len() - 1
    }

    fn send(&mut self, index: usize, challenge: Option<Bytes>, now: Instant) {
        let known = challenge.or_else(|| self.challenge.clone().filter(|_| self.reuses_nonces));
        let cnonce = format!("{:08x}", self.rng.random::<u32>());
        let op = &mut self.ops[index];
        op.attempts += 1;
        let credentials = known.and_then(|challenge| {
            self.count += 1;
            let message = Message::parse(&challenge).unwrap();
            let login = Login { user: &self.user, password: &self.password };
            let uri = op.digest_uri.as_ref().unwrap_or(&op.uri);
            auth::answer(&message, login, op.method, uri, &cnonce, self.count)
        });
        let remote = op.sub.and_then(|sub| self.subs.get(sub)).and_then(|sub| sub.remote_tag.clone());
        let own = format!("sip:{}@{DOMAIN}", self.user);
        let from = self.speaks_for.clone().unwrap_or(own);
        let (hop, op) = (self.hop, op.clone());
        let mut sent = Bytes::new();
        self.transactions.send(hop, Method::new(op.method), index, now, |branch| {
            let mut writer = Writer::request(Method::new(op.method), &op.uri);
            via(&mut writer, hop, branch);
            writer.raw(b"Max-Forwards: 70\r\n");
            writer.field_fmt("From", format_args!("<{from}>;tag={}", op.tag));
            let tag = remote.map(|tag| format!(";tag={tag}")).unwrap_or_default();
            writer.field_fmt("To", format_args!("<{}>{tag}", op.to));
            writer.field("Call-ID", &[&op.call_id]);
            writer.field_fmt("CSeq", format_args!("{} {}", op.cseq, op.method));
            writer.raw(b"User-Agent: world/1\r\n");
            writer.raw(op.fields.as_bytes());
            writer.raw(credentials.map(|answer| answer.field).unwrap_or_default().as_bytes());
            let bytes = match &op.body {
                Some((kind, body)) => writer.body(kind, body.as_bytes()),
                None => writer.finish(),
            };
            sent = Bytes::from(bytes.clone());
            bytes
        });
        self.ops[index].sent = sent;
        if let Some(sub) = self.ops[index].sub {
            self.subs[sub].cseq = self.subs[sub].cseq.max(self.ops[index].cseq);
        }
    }

    /// A packet, or the message of a stream.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        let message = Message::parse(bytes).expect("the gateway sends only messages");
        match message.start {
            Start::Response { status, reason } => {
                if let Some(op) = self.transactions.on_response(&message, now) {
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    self.on_response(op, status, reason, &message, bytes, now);
                }
            }
            Start::Request { .. } => match self.transactions.on_request(&message, now) {
                Arrival::New => self.on_request(&message, bytes, now),
                Arrival::Absorbed | Arrival::Cancels(_) | Arrival::CancelsNothing => {}
            },
        }
    }

    /// Bytes of its connection.
    pub fn receive_stream(&mut self, bytes: &[u8], now: Instant) {
        if self.hop.transport.is_web() {
            match bytes {
                b"\r\n" => self.pongs += 1,
                _ => self.receive(bytes, now),
            }
            return;
        }
        self.framer.push(bytes);
        while let Some(frame) = self.framer.next_frame() {
            match frame {
                Frame::Message(bytes) => self.receive(&bytes, now),
                Frame::Pong => self.pongs += 1,
                other => panic!("{other:?}"),
            }
        }
    }

    fn on_response(
        &mut self,
        index: usize,
        status: u16,
        reason: String,
        message: &Message<'_>,
        bytes: &[u8],
        now: Instant,
    ) {
        let at = now - self.epoch;
        let op = &mut self.ops[index];
        if status < 200 {
            op.provisional += 1;
            return;
        }
        assert!(!op.over, "{} got a second final answer: {status} after {:?}", op.method, op.finals);
        let body = String::from_utf8_lossy(message.body).into_owned();
        op.finals.push((at, status, reason, body));
        op.response = Some(Bytes::copy_from_slice(bytes));
        if status == 401 && op.attempts < 5 {
            let stale = message.all(Name::WwwAuthenticate).any(|v| v.windows(10).any(|w| w == b"stale=true"));
            if op.attempts == 1 || stale {
                op.cseq += 1;
                if let Some(sub) = op.sub {
                    op.cseq = op.cseq.max(self.subs[sub].cseq + 1);
                }
                self.challenge = Some(Bytes::copy_from_slice(bytes));
                self.count = 0;
                return self.send(index, self.challenge.clone(), now);
            }
        }
        op.over = true;
        if let (Some(sub), 200..300) = (op.sub, status) {
            let sub = &mut self.subs[sub];
            sub.remote_tag = message.to().unwrap().tag().map(ToOwned::to_owned);
            // A fetch of 2000 has no dialog.
            if let Some(contact) = message.contact() {
                sub.contact = contact.unwrap().uri.raw.to_owned();
            }
        }
    }

    fn on_request(&mut self, message: &Message<'_>, bytes: &[u8], now: Instant) {
        let (method, _) = message.request().unwrap();
        let reply = self.replies.pop_front().unwrap_or(Reply::Status(200));
        if matches!(reply, Reply::Never) {
            return;
        }
        self.asked.push((method.as_str().to_owned(), Bytes::copy_from_slice(bytes)));
        let status = match (&reply, method) {
            (Reply::Grant(_), _) => 200,
            (Reply::Status(200), Method::Notify) => self.on_notify(message, now),
            (Reply::Status(200), Method::Message) => {
                self.messages.push((now - self.epoch, String::from_utf8_lossy(message.body).into_owned()));
                200
            }
            (Reply::Status(status) | Reply::RetryAfter(status, _), _) => *status,
            (Reply::Never, _) => return,
        };
        let key: ServerKey = self.transactions.open(message, self.hop, Weight::Light).unwrap();
        let mut writer = write::response(message, status, "As Scripted", Some("phone"), None);
        if let Reply::RetryAfter(_, seconds) = reply {
            writer.field_fmt("Retry-After", format_args!("{seconds}"));
        }
        if let Reply::Grant(seconds) = reply {
            writer.field_fmt("Expires", format_args!("{seconds}"));
        }
        self.transactions.answer(key, status, writer.finish(), now);
    }

    fn on_notify(&mut self, message: &Message<'_>, now: Instant) -> u16 {
        let call_id = message.call_id().unwrap();
        let to = message.to().unwrap().tag().map(ToOwned::to_owned);
        let found = self
            .subs
            .iter_mut()
            .find(|sub| sub.call_id.as_bytes() == call_id && Some(&sub.tag) == to.as_ref());
        let Some(sub) = found else { return 481 };
        let text = |name| String::from_utf8_lossy(message.first(name).unwrap_or_default()).into_owned();
        let cseq = message.cseq().unwrap().number;
        assert!(cseq > sub.last_cseq, "CSeq {cseq} after {}", sub.last_cseq);
        sub.last_cseq = cseq;
        // RFC 6665 §4.4.1: the dialog is made by the NOTIFY, wherever the 200 is.
        sub.remote_tag = message.from().unwrap().tag().map(ToOwned::to_owned);
        sub.contact = message.contact().unwrap().unwrap().uri.raw.to_owned();
        let state = text(Name::SubscriptionState);
        sub.terminated |= state.starts_with("terminated");
        sub.notifies.push(Notify {
            at: now - self.epoch,
            state,
            content_type: text(Name::ContentType),
            etag: text(Name::SipETag),
            body: String::from_utf8_lossy(message.body).into_owned(),
        });
        200
    }

    pub fn on_deadlines(&mut self, now: Instant) {
        while let Some(event) = self.transactions.on_deadline(now) {
            if let Some(ClientEvent::TimedOut(op)) = event {
                self.ops[op].over = true;
            }
        }
        for sub in 0..self.subs.len() {
            let due = self.subs[sub].refresh.filter(|(at, _)| self.epoch + *at <= now);
            if let Some((at, expires)) = due {
                self.subs[sub].refresh =
                    Some((at + Duration::from_secs(u64::from(expires)).mul_f64(0.5), expires));
                if !self.subs[sub].terminated && self.subs[sub].remote_tag.is_some() {
                    self.refresh(sub, expires, now);
                }
            }
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let refresh = self.subs.iter().filter_map(|sub| sub.refresh).map(|(at, _)| self.epoch + at).min();
        [self.transactions.next_deadline(), refresh].into_iter().flatten().min()
    }
}

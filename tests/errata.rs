//! Slips that the old drafts made and peers copied, and whole messages of both worlds: each is read,
//! or refused as it should be, through the gateway and the readers of bodies.
//!
//! With `SIP_SAMPLES=folder` the messages (`.sip`) and bodies (`.xml`, `.txt`) there are tried as well.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sipliance::body::message_summary::{self, historic};
use sipliance::body::{
    Fault, dmp, filter, lpidf, pidf, policy, resource_lists, rlmi, senml, watcherinfo, xbuddy, xml, xpidf,
    xwatcher,
};
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::sip::wire::check::request_fault;
use sipliance::sip::wire::{Message, Method, Start};
use sipliance::sip::{FlowId, Transport};
use sipliance::timer::Now;

#[path = "world/home.rs"]
#[allow(dead_code, reason = "only the house is needed here")]
mod home;

struct Bench {
    gateway: Gateway,
    start: Instant,
    ms: u64,
}

/// What came back to a stranger.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    statuses: Vec<u16>,
    closed: bool,
}

impl Bench {
    fn new() -> Self {
        let start = Instant::now();
        let now = Now { mono: start, wall_ms: 1_790_000_000_000 };
        let mut bench = Self { gateway: Gateway::new(home::config(None), [5; 32], now), start, ms: 0 };
        bench.hear();
        bench
    }

    fn now(&self) -> Now {
        let ms = i64::try_from(self.ms).unwrap();
        Now { mono: self.start + Duration::from_millis(self.ms), wall_ms: 1_790_000_000_000 + ms }
    }

    fn udp(&mut self, bytes: &[u8]) -> Heard {
        self.ms += 100;
        let (local, from) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:5060".parse().unwrap());
        self.gateway.handle(Input::Datagram { flow: FlowId(1), local, from, bytes }, self.now());
        self.hear()
    }

    /// On a connection of its own; half a minute later it is looked at again.
    fn tcp(&mut self, bytes: &[u8]) -> Heard {
        self.ms += 100;
        let flow = FlowId(self.ms);
        let (local, peer) = ("192.0.2.1:5060".parse().unwrap(), "198.51.100.7:40000".parse().unwrap());
        let opened = Input::Opened { flow, transport: Transport::Tcp, local, peer, upstream: None };
        self.gateway.handle(opened, self.now());
        self.gateway.handle(Input::Stream { flow, bytes }, self.now());
        let mut heard = self.hear();
        self.ms += 15_000;
        self.gateway.handle(Input::Deadline, self.now());
        let later = self.hear();
        heard.statuses.extend(later.statuses);
        heard.closed |= later.closed;
        self.gateway.handle(Input::Closed { flow, why: "over".into() }, self.now());
        self.hear();
        heard
    }

    /// No stranger moves anything, whatever he sends.
    fn hear(&mut self) -> Heard {
        let mut heard = Heard::default();
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Send { bytes, .. } => {
                    let text = String::from_utf8_lossy(&bytes);
                    let status =
                        text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
                    heard.statuses.extend(status);
                }
                Output::Close { .. } => heard.closed = true,
                Output::Drive { op, .. } | Output::Relay { op, .. } => {
                    assert!(op.id().is_none(), "a stranger moved something: {op:?}")
                }
                Output::Audit { .. }
                | Output::Answer { .. }
                | Output::Keep { .. }
                | Output::Record { .. }
                | Output::Tell(_)
                | Output::Connect { .. } => {}
            }
        }
        heard
    }
}

/// A request with the usual fields; `more` are further ones.
fn request(method: &str, uri: &str, more: &str, body: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-{method}-1;rport\r\nMax-Forwards: 70\r\nFrom: <sip:ana@example.com>;tag=a1\r\nTo: <sip:plug@home.example>\r\nCall-ID: {method}1@198.51.100.7\r\nCSeq: 1 {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

const PLUG: &str = "sip:plug@home.example";
const SUBSCRIBE: &str = "Contact: <sip:ana@198.51.100.7>\r\nEvent: presence\r\nExpires: 600\r\n";

/// What a stranger with that message is told, over UDP.
fn told(message: &str) -> Vec<u16> {
    Bench::new().udp(message.as_bytes()).statuses
}

#[test]
fn the_table_begins_with_a_sound_message() {
    assert_eq!(told(&request("SUBSCRIBE", PLUG, SUBSCRIBE, "")), [401]);
    assert_eq!(Bench::new().tcp(request("SUBSCRIBE", PLUG, SUBSCRIBE, "").as_bytes()).statuses, [401]);
}

/// Proves: ERR-5
#[test]
fn two_addresses_in_a_user_part_are_one_name() {
    let uri = "sip:joe%40example.com%40plug%40home.example@home.example";
    assert_eq!(told(&request("SUBSCRIBE", uri, SUBSCRIBE, "")), [401]);
}

/// Proves: ERR-6
#[test]
fn a_bracket_that_is_left_open_is_refused_or_asked_for_a_login() {
    for uri in ["sip:[d=vcr,r=den@home.example", "sip:d=vcr,r=den]@home.example"] {
        let heard = told(&request("DO", uri, "", ""));
        assert!(matches!(heard[..], [400 | 401 | 404]), "{uri}: {heard:?}");
    }
}

/// Proves: ERR-7, ERR-8, ERR-10
#[test]
fn lines_that_are_no_sip_do_nothing() {
    let sound = request("MESSAGE", PLUG, "Content-Type: text/plain\r\n", "on");
    let cases: [(&str, &str, &[u16]); 3] = [
        ("Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-MESSAGE-1;rport", "Via: anypc.example", &[400]),
        // Without a version that can be read it is not SIP, and strangers' noise is met with silence.
        ("home.example SIP/2.0\r\nVia", "home.example SIP /2.0\r\nVia", &[]),
        ("MESSAGE sip:plug@home.example", "MESSAGE plug@home.example", &[400]),
    ];
    for (from, to, due) in cases {
        assert!(sound.contains(from), "{from}");
        assert_eq!(told(&sound.replacen(from, to, 1)), due, "{to}");
    }
}

/// Proves: ERR-11
#[test]
fn a_wrong_length_is_a_fault_or_a_shorter_body_and_never_another_message() {
    let text = request("MESSAGE", PLUG, "Content-Type: text/plain\r\n", "on and off again");
    let with = |length: &str| text.replace("Content-Length: 16", &format!("Content-Length: {length}"));
    // A datagram has its end: more than it holds is refused, less cuts the body (RFC 3261 §18.3).
    assert_eq!(told(&with("17")), [400]);
    assert_eq!(told(&with("15")), [401]);
    assert_eq!(told(&with("-1")), [400]);
    // A stream has none: a byte too few spoils what follows, one too many waits for it in vain.
    let mut bench = Bench::new();
    let short = bench.tcp((with("15") + &request("OPTIONS", PLUG, "", "")).as_bytes());
    assert_eq!(short.statuses[0], 401);
    assert!(!short.statuses.contains(&200), "{short:?}");
    let long = bench.tcp(with("17").as_bytes());
    assert!(long.statuses.is_empty() && long.closed, "{long:?}");
    assert_eq!(bench.tcp(text.as_bytes()).statuses, [401], "the next connection is served");
}

/// Proves: ERR-14
#[test]
fn field_names_are_read_in_any_spelling() {
    let text = request("SUBSCRIBE", PLUG, SUBSCRIBE, "");
    for (from, to) in
        [("Call-ID:", "Call-Id:"), ("Call-ID:", "CALL-ID :"), ("CSeq:", "Cseq:"), ("Event:", "o:")]
    {
        assert_eq!(told(&text.replace(from, to)), [401], "{to}");
    }
}

/// Proves: ERR-15, ERR-17
#[test]
fn parameters_and_commas_on_the_wrong_side_of_a_bracket() {
    let text = request("SUBSCRIBE", PLUG, SUBSCRIBE, "");
    let to = "To: <sip:plug@home.example>";
    for (wrong, due) in [
        // A parameter of the URI that nobody knows is passed over; a quote is no part of a URI.
        ("To: <sip:plug@home.example;feature=voicemail>", 401),
        ("To: <sip:plug@home.example;feature=\"voicemail\">", 400),
        ("To: sip:plug@home.example;feature=\"voicemail\"", 401),
        // Where the drafts left the brackets out, the comma would begin another value.
        ("To: sip:d=lamp,r=bedroom,u=ana@home.example", 400),
        ("To: <sip:d=lamp,r=bedroom,u=ana@home.example>", 401),
    ] {
        assert_eq!(told(&text.replace(to, wrong)), [due], "{wrong}");
    }
}

/// Messages of both worlds, composed here; each is what its method is due from a stranger.
#[test]
fn messages_of_both_worlds_get_their_due() {
    let lease = r#"[{"bn":"urn:dev:org:32473-plug:","n":"power","vb":true}]"#;
    let order = "<?xml version=\"1.0\"?>\n<DMPAction>\n <Device>plug</Device>\n <Control><Action>On</Action></Control>\n</DMPAction>\n";
    let sdp = "v=0\r\no=- 1 1 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\na=sendonly\r\n";
    let upload =
        "To: sip:plug@home.example\r\nContact: sip:plug@home.example;methods=\"SUBSCRIBE,DO\";q=0.8\r\n";
    let alert = "<?xml version=\"1.0\"?>\n<alert xmlns=\"urn:oasis:names:tc:emergency:cap:1.2\"><identifier>1</identifier></alert>\n";
    let senml = "Event: appliance\r\nExpires: 1800\r\nContent-Type: application/senml+json\r\n";
    let messages = [
        request("SUBSCRIBE", PLUG, &format!("{SUBSCRIBE}Accept: application/senml+json, application/pidf+xml;q=0.5\r\nSupported: eventlist\r\n"), ""),
        request("SUBSCRIBE", PLUG, "Contact: <sip:ana@h>\r\nEvent: appliance;max-rate=0.2\r\nExpires: 0\r\n", "").replace("home.example>\r\n", "home.example>;tag=n7\r\n"),
        request("SUBSCRIBE", "sip:d=door,r=front,u=ana@home.example", &format!("{SUBSCRIBE}Content-Type: application/dmp\r\n"), order),
        request("DO", "sip:d=lamp,r=bedroom,u=ana@home.example", "Contact: <sip:ana@h>\r\nTimestamp: 1767225600\r\nContent-Disposition: render\r\nContent-Type: application/dmp\r\n", order),
        request("PUBLISH", PLUG, senml, lease),
        request("MESSAGE", PLUG, "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nExpires: 600\r\nContent-Type: text/plain\r\n", "on"),
        request("MESSAGE", PLUG, "Call-Info: <cid:a@h>;purpose=EmergencyCallData.cap\r\nContent-Type: application/EmergencyCallData.cap+xml\r\n", alert),
        request("INVITE", PLUG, "Contact: <sip:w@h>\r\nAnswer-Mode: Auto\r\nContent-Type: application/sdp\r\n", sdp),
        request("REGISTER", "sip:home.example", "Contact: <sip:plug@h>;methods=\"SUBSCRIBE\"\r\nSupported: path, outbound\r\nContent-Type: text/lpidf\r\n", upload),
        request("NOTIFY", PLUG, "Contact: <sip:n@h>\r\nEvent: appliance\r\nSubscription-State: active;expires=9\r\n", "").replace("home.example>\r\n", "home.example>;tag=b1\r\n"),
        request("QAUTH", PLUG, "Contact: <sip:gw@h>\r\nExpires: 86400\r\n", ""),
        request("OPTIONS", PLUG, "", ""),
        "SIP/2.0 204 No Notification\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK-x\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>;tag=2\r\nCall-ID: c\r\nCSeq: 3 SUBSCRIBE\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS 192.0.2.1;branch=z9hG4bK-y\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:a@h>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REGISTER\r\nContact: <sip:a@192.0.2.1;ob>;+sip.instance=\"<urn:uuid:0>\";reg-id=1;pub-gruu=\"sip:a@h;gr=urn:uuid:0\"\r\nContent-Length: 0\r\n\r\n".to_owned(),
    ];
    for message in &messages {
        tried("a message of ours", message.as_bytes());
    }
}

#[test]
fn bodies_of_both_worlds_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/body");
    let mut count = 0;
    for path in files(&folder) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".xml") || name.ends_with(".txt") || name.ends_with(".lpidf") {
            read_body(&name, &fs::read(&path).unwrap());
            count += 1;
        }
    }
    assert!(count >= 9, "{count}");
}

#[test]
fn samples_from_elsewhere_get_their_due() {
    let Some(folder) = std::env::var_os("SIP_SAMPLES") else { return };
    let (mut messages, mut bodies) = (0, 0);
    for path in files(Path::new(&folder)) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        match name.rsplit('.').next() {
            Some("sip") => {
                tried(&name, &bytes);
                messages += 1;
            }
            Some("xml" | "txt") => {
                read_body(&name, &bytes);
                bodies += 1;
            }
            _ => {}
        }
    }
    println!("{messages} messages, {bodies} bodies");
    assert!(messages + bodies > 0, "SIP_SAMPLES holds nothing");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// A sound message: its head and its body are read, and the gateway gives it what it is due.
fn tried(name: &str, bytes: &[u8]) {
    let message = Message::parse(bytes).unwrap_or_else(|why| panic!("{name}: {why:?}"));
    let fault = message.request().is_some().then(|| request_fault(&message)).flatten();
    assert_eq!(fault, None, "{name}");
    read_content(name, &message);
    let due: &[u16] = match message.start {
        Start::Response { .. } => &[],
        Start::Request { .. } => due(&message),
    };
    let mut bench = Bench::new();
    for heard in [bench.udp(bytes), bench.tcp(bytes)] {
        let fits = match heard.statuses[..] {
            [] => due.is_empty(),
            [status] => due.contains(&status),
            _ => false,
        };
        assert!(fits, "{name}: {heard:?}, due {due:?}");
    }
}

fn due(message: &Message<'_>) -> &'static [u16] {
    let dialog = message.to().is_ok_and(|to| to.tag().is_some());
    match message.request().unwrap().0 {
        Method::Notify => &[481],
        Method::Options => &[200, 401],
        Method::Qauth => &[401, 403, 405],
        _ if dialog => &[481],
        _ => &[401],
    }
}

fn read_content(name: &str, message: &Message<'_>) {
    let now = jiff::Timestamp::from_second(1_767_225_600).unwrap();
    let whole = message.first(sipliance::sip::wire::Name::ContentType).unwrap_or_default();
    let whole = String::from_utf8_lossy(whole).into_owned();
    let kind = whole.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let body = message.body;
    let read: Result<(), Fault> = match kind.as_str() {
        "application/senml+json" => senml::read(body, now).map(drop),
        "application/dmp" => dmp::read(body).map(drop),
        "application/pidf+xml" => pidf::read(body).map(drop),
        "application/simple-message-summary" => message_summary::read(body).map(drop),
        "text/lpidf" => lpidf::read(body, now).map(drop),
        "multipart/related" => rlmi::read_related(&whole, body).map(drop),
        kind if kind.ends_with("+xml") => xml::read(body).map(drop),
        kind if kind.ends_with("+json") => {
            serde_json::from_slice::<serde_json::Value>(body)
                .map(drop)
                .unwrap_or_else(|why| panic!("{name}: {why}"));
            Ok(())
        }
        _ => Ok(()),
    };
    read.unwrap_or_else(|why| panic!("{name}: {kind}: {why}"));
}

/// A body by its first words: every document that stands in a file is read by the reader of its kind.
fn read_body(name: &str, body: &[u8]) {
    let now = jiff::Timestamp::from_second(1_767_225_600).unwrap();
    let text = String::from_utf8_lossy(body);
    if !text.trim_start().starts_with('<') {
        let read = match text.starts_with("To:") || text.starts_with("t:") {
            true => lpidf::read(body, now).map(drop),
            false => historic::read_text(body).map(drop),
        };
        return read.unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    let root = xml::read_any_case(body).unwrap_or_else(|why| panic!("{name}: {why}"));
    let modern = root.ns.is_some();
    let read = match (root.name.as_str(), modern) {
        ("buddylist", _) => xbuddy::read(body).map(drop),
        ("resource-lists", _) => resource_lists::read(body).map(drop),
        ("message_summary", _) => historic::read_xml(body).map(drop),
        ("presence", true) => pidf::read(body).map(drop),
        ("presence", false) => xpidf::read(body).map(drop),
        ("ruleset", _) => policy::read(body).map(drop),
        ("watcherinfo", true) => watcherinfo::read(body).map(drop),
        ("watcherinfo", false) => xwatcher::read(body, now).map(drop),
        // What a filter selects may be unknown here, and is then refused in words (RFC 4660 §5.4).
        ("filter-set", _) => {
            filter::read(body).map(drop).or_else(|why| (why.status() == 488).then_some(()).ok_or(why))
        }
        _ => Ok(()),
    };
    read.unwrap_or_else(|why| panic!("{name}: {why}"));
}

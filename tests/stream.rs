//! Thousands of subscriptions over one connection, as an edge proxy has them, against the program itself.

// Tests may fail loudly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sipliance::sip::auth::{self, Login};
use sipliance::sip::wire::frame::{Frame, Framer};
use sipliance::sip::wire::{Message, Method, Name, Start, Writer, write};

const MANY: usize = 2000;
const LOGIN: Login<'_> = Login { user: "demo", password: "secret" };

/// The simulated house.
struct House(Child, SocketAddr);

impl House {
    fn start(name: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sipliance"))
            .args(["demo", "--listen", "127.0.0.1:0", "--user", LOGIN.user, "--password", LOGIN.password])
            .arg("--control")
            .arg(std::env::temp_dir().join(format!("sipliance-stream-{name}-{}", std::process::id())))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let addr = lines.find_map(|line| {
            let line = line.unwrap();
            line.split([' ', ',']).find_map(|word| word.parse().ok())
        });
        // The rest is read as well, or the house would have to wait.
        std::thread::spawn(move || lines.for_each(drop));
        Self(child, addr.expect("it says where it listens"))
    }

    fn connect(&self, window: Option<usize>) -> Peer {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        if let Some(window) = window {
            socket.set_recv_buffer_size(window).unwrap();
        }
        socket.connect(&self.1.into()).unwrap();
        socket.set_nonblocking(true).unwrap();
        Peer {
            stream: socket.into(),
            framer: Framer::of_client(),
            out: Vec::new(),
            challenge: None,
            count: 0,
            serial: 0,
            told: HashMap::new(),
            notifies: 0,
            finals: Vec::new(),
            over: None,
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One connection with everybody behind it.
struct Peer {
    stream: TcpStream,
    framer: Framer,
    out: Vec<u8>,
    challenge: Option<Bytes>,
    count: u32,
    serial: usize,
    /// The document of the last NOTIFY of each watcher.
    told: HashMap<String, Bytes>,
    notifies: usize,
    /// The statuses of final answers.
    finals: Vec<u16>,
    over: Option<String>,
}

impl Peer {
    fn request(&mut self, method: Method<'_>, fields: &str, call_id: &str, body: Option<&str>) {
        self.serial += 1;
        let (serial, uri) = (self.serial, "sip:thermostat@home.local");
        let word = method.as_str().to_owned();
        let mut writer = Writer::request(method, uri);
        writer.field_fmt("Via", format_args!("SIP/2.0/TCP here;branch=z9hG4bK{call_id}{serial};rport"));
        writer.raw(format!(
            "Max-Forwards: 70\r\nFrom: <sip:demo@home.local>;tag=t\r\nTo: <{uri}>\r\nCall-ID: {call_id}\r\nCSeq: {serial} {word}\r\n{fields}"
        ).as_bytes());
        if let Some(challenge) = &self.challenge {
            self.count += 1;
            let challenge = Message::parse(challenge).unwrap();
            let proof = auth::answer(&challenge, LOGIN, &word, uri, "stream", self.count).unwrap();
            writer.raw(proof.field.as_bytes());
        }
        let bytes = match body {
            Some(body) => writer.body("text/plain", body.as_bytes()),
            None => writer.finish(),
        };
        self.out.extend_from_slice(&bytes);
    }

    fn subscribe(&mut self, nth: usize, expires: u32) {
        let fields = format!(
            "Contact: <sip:w{nth}@127.0.0.1;transport=tcp>\r\nEvent: presence\r\nExpires: {expires}\r\n"
        );
        self.request(Method::Subscribe, &fields, &format!("w{nth}"), None);
    }

    /// All of them in one go, nothing waited for in between.
    fn subscribe_all(&mut self, count: usize) {
        self.subscribe(0, 3600);
        self.until("a challenge", |peer| peer.challenge.is_some());
        (0..count).for_each(|nth| self.subscribe(nth, 3600));
        self.until("everybody heard", |peer| peer.told.len() == count);
    }

    /// A command; each needs a challenge of its own.
    fn act(&mut self, words: &str) {
        self.challenge = None;
        for _ in 0..2 {
            self.finals.clear();
            self.request(Method::Message, "", &format!("act{}", self.serial), Some(words));
            self.until("an answer", |peer| !peer.finals.is_empty());
        }
        assert!(self.finals[0] < 300, "{:?}", self.finals);
        self.challenge = None;
    }

    /// The wheel of the thermostat is turned to so many degrees.
    fn turn_to(&mut self, degrees: u32) {
        self.act(&format!("set setpoint {degrees}"));
    }

    /// Everybody here comes to see so many degrees. What else changes in the house changes nothing of that.
    fn all_see(&mut self, degrees: u32) {
        let words = format!("setpoint {degrees}.0");
        let sees = |told: &Bytes| told.windows(words.len()).any(|window| window == words.as_bytes());
        self.until(&words, |peer| peer.told.values().all(sees));
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(240);
        while !done(self) {
            assert!(Instant::now() < end, "{what}: not in time, {} heard of", self.told.len());
            assert_eq!(self.over, None, "{what}");
            self.turn();
        }
    }

    /// Writes and reads what can be.
    fn turn(&mut self) {
        let mut idle = true;
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return self.over = Some(error.to_string()),
            }
            idle = false;
        }
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return self.over = Some("closed".to_owned()),
            Ok(count) => {
                idle = false;
                self.framer.push(&buffer[..count]);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return self.over = Some(error.to_string()),
        }
        while let Some(frame) = self.framer.next_frame() {
            if let Frame::Message(bytes) = frame {
                self.hear(bytes);
            }
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn hear(&mut self, bytes: Bytes) {
        let message = Message::parse(&bytes).unwrap();
        match message.start {
            Start::Response { status: 401, .. } => {
                (self.challenge, self.count) = (Some(bytes), 0);
                self.finals.push(401);
            }
            Start::Response { status, .. } => self.finals.push(status),
            Start::Request { .. } => {
                let call_id = String::from_utf8_lossy(message.call_id().unwrap()).into_owned();
                if message.first(Name::SipETag).is_some() {
                    self.notifies += 1;
                    self.told.insert(call_id, bytes.clone());
                }
                self.out.extend(write::response(&message, 200, "OK", Some("p"), None).finish());
            }
        }
    }
}

#[test]
fn two_thousand_over_one_connection_all_see_the_last_of_three_changes() {
    let house = House::start("all");
    let (mut edge, mut owner) = (house.connect(None), house.connect(None));
    edge.subscribe_all(MANY);
    edge.notifies = 0;
    for degrees in [17, 18, 19] {
        // While the changes are made nobody reads what was told of them.
        owner.turn_to(degrees);
    }
    edge.all_see(19);
    // Nobody was told of each change: what is old by the time there is room is not said.
    assert!(edge.notifies <= 3 * MANY, "{}", edge.notifies);
}

#[test]
fn who_reads_nothing_is_dropped_and_others_hear() {
    let house = House::start("deaf");
    let (mut deaf, mut other, mut owner) =
        (house.connect(Some(4096)), house.connect(None), house.connect(None));
    // One change to all of them is more than a kernel holds.
    deaf.subscribe_all(3 * MANY);
    other.subscribe(0, 3600);
    other.until("a challenge", |peer| peer.challenge.is_some());
    other.subscribe(0, 3600);
    other.until("the other hears", |peer| peer.told.len() == 1);
    let began = Instant::now();
    owner.turn_to(18);
    other.all_see(18);
    // Nobody waits until who takes nothing for ten seconds counts as gone.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    std::thread::sleep(Duration::from_secs(12));
    while deaf.over.is_none() && began.elapsed() < Duration::from_secs(120) {
        // What the kernel still has, and then the end.
        deaf.turn();
        deaf.out.clear();
    }
    assert!(deaf.over.is_some(), "it is still there");
    owner.turn_to(19);
    other.all_see(19);
}

//! What `watch`, `send` and `do` share: whom to talk to, as whom, and one socket to do it with.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use secrecy::SecretString;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use crate::sip::challenge::{Login, Refused};
use crate::sip::exchange::{Exchange, Progress, Request};
use crate::sip::transaction::{Arrival, ClientEvent, Transactions, Weight};
use crate::sip::wire::check::request_fault;
use crate::sip::wire::frame::{Frame, Framer};
use crate::sip::wire::text::is_token;
use crate::sip::wire::{Message, Method, Start, Uri, write};
use crate::sip::{FlowId, Hop, Rejection, Transport};

/// Who asks whom, and how: the options that every command of the client has.
#[derive(Clone, Debug, clap::Args)]
pub struct PeerArgs {
    /// Your name at the server, `anna` or `anna@home.example`
    #[arg(short, long, env = "SIPLIANCE_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// Your password. Others on this machine can see it in the list of processes: rather set
    /// SIPLIANCE_PASSWORD, or leave it out and type it when asked
    #[arg(short, long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// How to reach the server; by default what the address says, else udp
    #[arg(long, value_enum)]
    pub transport: Option<Way>,
    /// Send everything here, whatever host the address names
    #[arg(long, value_name = "HOST[:PORT]")]
    pub server: Option<String>,
    /// How long to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub timeout: u32,
}

/// A transport, as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Datagrams
    Udp,
    /// A connection
    Tcp,
}

impl From<Way> for Transport {
    fn from(way: Way) -> Self {
        match way {
            Way::Udp => Self::Udp,
            Way::Tcp => Self::Tcp,
        }
    }
}

/// Why a command of the client ends without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server said no. Exit code 1.
    #[error("{0}")]
    Refused(String),
    /// The arguments make no sense. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Nobody answered. Exit code 3.
    #[error("{0}")]
    Unreachable(String),
}

impl Failure {
    /// What the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }
}

/// Runs a command of the client to its end, and says what went wrong.
pub(super) fn run(command: &str, work: impl Future<Output = Result<(), Failure>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(why) => Err(Failure::Unreachable(format!("the program cannot start: {why}"))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("sipliance {command}: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// The arguments, understood.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Request-URI.
    pub uri: String,
    /// What the person calls it: the user part, or the host.
    pub label: String,
    /// Our own address.
    pub from: String,
    /// Our user name.
    pub user: String,
    /// Host and port to send to.
    pub host: String,
    /// Port to send to.
    pub port: u16,
    /// How.
    pub transport: Transport,
}

impl Peer {
    /// Understands an address and the options. `sip:` may be left out.
    ///
    /// # Errors
    /// Says which of them is wrong, and an example that is right.
    pub fn new(uri: &str, args: &PeerArgs) -> Result<Self, Failure> {
        let usage = |text: String| Failure::Usage(text);
        let full =
            if uri.contains(':') && Uri::parse(uri).is_ok_and(|uri| uri.scheme.len() < 5 && uri.is_sip()) {
                uri.to_owned()
            } else {
                format!("sip:{uri}")
            };
        let parsed = Uri::parse(&full).map_err(|why| {
            usage(format!("`{uri}` is no SIP address ({why}); one looks like sip:washer@192.168.1.5"))
        })?;
        if !parsed.scheme.eq_ignore_ascii_case("sip") {
            return Err(usage(format!(
                "`{uri}`: TLS is not spoken here; use sip: over a network that you trust"
            )));
        }
        let user = args.user.as_deref().map(str::trim).filter(|user| !user.is_empty());
        let user = user.ok_or_else(|| {
            usage(
                "who are you? Give --user NAME, the name that the server knows you by, or set SIPLIANCE_USER"
                    .to_owned(),
            )
        })?;
        let (name, domain) =
            user.strip_prefix("sip:").unwrap_or(user).rsplit_once('@').unwrap_or((user, parsed.host));
        let from = format!("sip:{name}@{domain}");
        if !is_token(name.as_bytes()) || Uri::parse(&from).is_err() {
            return Err(usage(format!("`{user}` cannot be the user part of an address")));
        }
        let asked = match parsed.params.text("transport").map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("udp") => Some(Transport::Udp),
            Some("tcp") => Some(Transport::Tcp),
            Some(other) => {
                return Err(usage(format!("transport `{other}` is not spoken here; udp and tcp are")));
            }
        };
        let (host, port) = match args.server.as_deref() {
            None => (parsed.host.to_owned(), parsed.port),
            Some(server) => host_port(server)?,
        };
        Ok(Self {
            label: parsed.user_text().unwrap_or(parsed.host.into()).into_owned(),
            from,
            user: name.to_owned(),
            host,
            port: port.unwrap_or(5060),
            transport: args.transport.map(Into::into).or(asked).unwrap_or(Transport::Udp),
            uri: full.split('?').next().unwrap_or(&full).to_owned(),
        })
    }

    /// How to log in: the password of the options, of SIPLIANCE_PASSWORD, typed at a terminal, or a
    /// line of the standard input; none where that is empty.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn login(&self, args: &PeerArgs) -> Result<Login, Failure> {
        use std::io::{BufRead as _, IsTerminal as _, Read as _};
        let given = args.password.clone().or_else(|| std::env::var("SIPLIANCE_PASSWORD").ok());
        let password = match given {
            Some(password) => password,
            None if std::io::stdin().is_terminal() => {
                let prompt = format!("Password of {} at {}: ", self.user, self.host);
                rpassword::prompt_password(prompt).map_err(|why| {
                    Failure::Usage(format!("the password cannot be read ({why}); set SIPLIANCE_PASSWORD"))
                })?
            }
            None => {
                let mut line = String::new();
                // A closed input is no password, and maybe none is needed.
                let _ = std::io::stdin().lock().take(1024).read_line(&mut line);
                line.trim_end_matches(['\r', '\n']).to_owned()
            }
        };
        let password = Some(password).filter(|password| !password.is_empty()).map(SecretString::from);
        Ok(Login { user: self.user.clone(), password })
    }

    /// Nobody answered.
    pub(super) fn silent(&self) -> Failure {
        Failure::Unreachable(format!(
            "no answer from {}; is the address right, and the server on?",
            self.place()
        ))
    }

    fn place(&self) -> String {
        format!("{}:{} over {}", self.host, self.port, self.transport.via())
    }

    async fn resolve(&self) -> Result<SocketAddr, Failure> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(ip) = host.parse::<IpAddr>() {
            return Ok((ip, self.port).into());
        }
        let found = tokio::net::lookup_host((host, self.port)).await;
        let found: Vec<_> = found.map(Iterator::collect).unwrap_or_default();
        // Appliances live on IPv4 more often than not.
        found.iter().find(|address| address.is_ipv4()).or(found.first()).copied().ok_or_else(|| {
            Failure::Unreachable(format!(
                "nothing is known under the name {host}; try its IP address with --server"
            ))
        })
    }
}

fn host_port(text: &str) -> Result<(String, Option<u16>), Failure> {
    let text = text.strip_prefix("sip:").unwrap_or(text);
    let uri = format!("sip:{text}");
    match Uri::parse(&uri) {
        Ok(uri) if uri.user.is_none() => Ok((uri.host.to_owned(), uri.port)),
        _ => Err(Failure::Usage(format!("--server {text}: give HOST or HOST:PORT, as in 192.168.1.5:5060"))),
    }
}

/// What happened at a [`Client`].
#[derive(Debug)]
pub(super) enum Happened {
    /// A final response to a request of ours.
    Response(Bytes),
    /// A request that is new and without faults; answer it with [`Client::answer`].
    Request(Bytes, Hop),
    /// No final response within 32 s.
    TimedOut,
    /// The deadline that was given has passed.
    Deadline,
    /// The connection is gone.
    Lost(String),
}

/// One socket, and the transactions over it.
#[derive(Debug)]
pub(super) struct Client {
    pub transactions: Transactions<()>,
    pub hop: Hop,
    link: Link,
    seed: ChaCha8Rng,
    ping: Instant,
}

#[derive(Debug)]
enum Link {
    Udp(UdpSocket),
    Tcp {
        stream: TcpStream,
        framer: Framer,
        read: BytesMut,
    },
    /// It was lost, and that was told.
    Dead,
}

impl Client {
    /// Opens a socket to `peer`.
    ///
    /// # Errors
    /// When the name is unknown or nobody listens there.
    pub async fn open(peer: &Peer, flow: u64) -> Result<Self, Failure> {
        let address = peer.resolve().await?;
        let unreachable = |why: std::io::Error| {
            let why = match why.kind() {
                std::io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
                std::io::ErrorKind::TimedOut => "no answer".to_owned(),
                _ => why.to_string(),
            };
            Failure::Unreachable(format!("{} cannot be reached: {why}", peer.place()))
        };
        let (link, local) = match peer.transport {
            Transport::Udp => udp(address).await.map_err(unreachable)?,
            Transport::Tcp => {
                let connect = tokio::time::timeout(Duration::from_secs(10), TcpStream::connect(address));
                let stream = connect.await.unwrap_or_else(|late| Err(late.into())).map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                let local = stream.local_addr().map_err(unreachable)?;
                (Link::Tcp { stream, framer: Framer::default(), read: BytesMut::new() }, local)
            }
        };
        let mut seed = ChaCha8Rng::from_os_rng();
        let transactions = Transactions::new(ChaCha8Rng::from_seed(seed.random()));
        let hop = Hop { flow: FlowId(flow), transport: peer.transport, local, peer: address };
        let ping = Instant::now() + ping_interval(peer.transport);
        Ok(Self { transactions, hop, link, seed, ping })
    }

    /// Randomness for a machine of this client.
    pub fn rng(&mut self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.seed.random())
    }

    /// Sends what is to be sent.
    ///
    /// # Errors
    /// In words, when the connection is gone.
    pub async fn flush(&mut self) -> Result<(), String> {
        while let Some(transmit) = self.transactions.poll_transmit() {
            self.write(&transmit.bytes, transmit.hop.peer).await?;
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8], to: SocketAddr) -> Result<(), String> {
        match &mut self.link {
            Link::Udp(socket) => match socket.send_to(bytes, to).await {
                Ok(_) => Ok(()),
                // A full buffer or an earlier ICMP message: the repetition will tell.
                Err(why) if why.kind() != std::io::ErrorKind::NetworkUnreachable => Ok(()),
                Err(why) => Err(why.to_string()),
            },
            Link::Tcp { stream, .. } => stream.write_all(bytes).await.map_err(|why| why.to_string()),
            Link::Dead => Ok(()),
        }
    }

    /// Waits for the next thing. Dropping the future loses nothing but a wait: call
    /// [`Client::flush`] before it.
    pub async fn next(&mut self, deadline: Option<Instant>) -> Happened {
        loop {
            let now = Instant::now();
            if let Some(event) = self.transactions.on_deadline(now) {
                if let Some(ClientEvent::TimedOut(())) = event {
                    return Happened::TimedOut;
                }
                continue;
            }
            if deadline.is_some_and(|at| at <= now) {
                return Happened::Deadline;
            }
            if now >= self.ping {
                // Keeps the way back through a NAT open (RFC 5626 §4.4.1).
                self.ping = now + ping_interval(self.hop.transport);
                self.transactions.send_once(self.hop, b"\r\n\r\n".to_vec());
            }
            if let Err(why) = self.flush().await {
                return self.lost(why);
            }
            let wake = [deadline, self.transactions.next_deadline(), Some(self.ping)];
            let wake = wake.into_iter().flatten().min().unwrap_or(self.ping);
            let packet = tokio::select! {
                packet = receive(&mut self.link, self.hop) => packet,
                () = tokio::time::sleep_until(wake.into()) => continue,
            };
            match packet {
                Ok(Packet::Message(bytes, hop)) => {
                    if let Some(happened) = self.sort(bytes, hop) {
                        return happened;
                    }
                }
                Ok(Packet::Ping) => self.transactions.send_once(self.hop, b"\r\n".to_vec()),
                Ok(Packet::Nothing) => {}
                Err(why) => return self.lost(why),
            }
        }
    }

    /// The socket is of no use any more: it is told once.
    fn lost(&mut self, why: String) -> Happened {
        self.link = Link::Dead;
        self.transactions.fail_flow(self.hop.flow);
        Happened::Lost(why)
    }

    fn sort(&mut self, bytes: Bytes, hop: Hop) -> Option<Happened> {
        let now = Instant::now();
        let message = Message::parse(&bytes).ok()?;
        let Some((method, _)) = message.request() else {
            self.transactions.on_response(&message, now)?;
            return Some(Happened::Response(bytes));
        };
        if self.transactions.on_request(&message, now) != Arrival::New || method == Method::Ack {
            return None;
        }
        if let Some(fault) = request_fault(&message) {
            self.answer(&message, hop, Err(Rejection::new(fault.status, fault.reason)));
            return None;
        }
        Some(Happened::Request(bytes, hop))
    }

    /// Answers a request: 200, or what it is rejected with.
    pub fn answer(&mut self, request: &Message<'_>, hop: Hop, verdict: Result<(), Rejection>) {
        let answer = verdict.err().unwrap_or(Rejection::new(200, "OK"));
        let source = (!hop.transport.is_reliable()).then_some(hop.peer);
        let tag = format!("{:016x}", self.seed.random::<u64>());
        let mut writer = write::response(request, answer.status, &answer.reason, Some(&tag), source);
        writer.raw(answer.fields.as_bytes());
        match self.transactions.open(request, hop, Weight::Light) {
            Some(key) => self.transactions.answer(key, answer.status, writer.finish(), Instant::now()),
            None => self.transactions.send_once(hop, writer.finish()),
        }
    }
}

/// A final response, as far as a command looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub status: u16,
    pub reason: String,
    /// The body, where it is text.
    pub text: String,
}

/// Sends one request and waits for its final response; requests that come meanwhile go to `other`.
///
/// # Errors
/// When a challenge cannot be answered, or nobody answers in time.
pub(super) async fn ask(
    client: &mut Client,
    peer: &Peer,
    request: Request,
    login: Login,
    patience: Duration,
    other: &mut impl FnMut(&mut Client, &[u8], Hop),
) -> Result<Reply, Failure> {
    let mut exchange = Exchange::new(request, login, client.rng());
    let deadline = Instant::now() + patience;
    exchange.send(&mut client.transactions, (), client.hop, Instant::now());
    loop {
        match client.next(Some(deadline)).await {
            Happened::Response(bytes) => {
                let Ok(response) = Message::parse(&bytes) else { continue };
                let (hop, now) = (client.hop, Instant::now());
                match exchange.on_response(&response, &mut client.transactions, (), hop, now) {
                    Progress::Wait => {}
                    Progress::Final => return Ok(reply(&response)),
                    Progress::Refused(Refused::Wrong) => {
                        return Err(Failure::Refused(format!(
                            "401: wrong user or password for {}",
                            peer.user
                        )));
                    }
                    Progress::Refused(why) => return Err(Failure::Refused(format!("401: {why}"))),
                }
            }
            Happened::Request(bytes, hop) => other(client, &bytes, hop),
            Happened::TimedOut | Happened::Deadline => return Err(peer.silent()),
            Happened::Lost(why) => return Err(Failure::Unreachable(clean(&why))),
        }
    }
}

fn reply(response: &Message<'_>) -> Reply {
    let Start::Response { status, reason } = response.start else {
        return Reply { status: 0, reason: String::new(), text: String::new() };
    };
    let is_text = response
        .content_type()
        .is_some_and(|kind| kind.get(..5).is_some_and(|kind| kind.eq_ignore_ascii_case("text/")));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Reply { status, reason: text(reason), text: if is_text { text(response.body) } else { String::new() } }
}

/// The answer to a request that a client has no use for.
pub(super) fn not_allowed(allow: &str) -> Rejection {
    Rejection::new(405, "Method Not Allowed").with("Allow", allow)
}

fn ping_interval(transport: Transport) -> Duration {
    if transport.is_reliable() { Duration::from_secs(95) } else { Duration::from_secs(25) }
}

/// A socket that hears everybody: a notifier behind a proxy sends from elsewhere. A second one,
/// bound to the peer, learns at once when nobody listens there.
async fn udp(peer: SocketAddr) -> std::io::Result<(Link, SocketAddr)> {
    let any: IpAddr = if peer.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let probe = UdpSocket::bind((any, 0)).await?;
    probe.connect(peer).await?;
    let local = probe.local_addr()?.ip();
    probe.send(b"\r\n\r\n").await?;
    let refused = async { probe.recv(&mut [0; 1]).await.map(|_| ()) };
    tokio::time::timeout(Duration::from_millis(100), refused).await.unwrap_or(Ok(()))?;
    let socket = UdpSocket::bind((local, 0)).await?;
    let local = socket.local_addr()?;
    Ok((Link::Udp(socket), local))
}

/// The longest datagram that there is.
const DATAGRAM: usize = 65_535;

enum Packet {
    Message(Bytes, Hop),
    Ping,
    Nothing,
}

/// Cancel-safe: what was read stays in the framer.
async fn receive(link: &mut Link, hop: Hop) -> Result<Packet, String> {
    match link {
        Link::Udp(socket) => {
            let mut buffer = vec![0; DATAGRAM];
            match socket.recv_from(&mut buffer).await {
                Ok((length, peer)) => {
                    buffer.truncate(length);
                    Ok(Packet::Message(buffer.into(), Hop { peer, ..hop }))
                }
                // ICMP about an earlier packet; time tells whether it lasts.
                Err(_) => Ok(Packet::Nothing),
            }
        }
        Link::Dead => std::future::pending().await,
        Link::Tcp { stream, framer, read } => loop {
            match framer.next_frame() {
                Some(Frame::Message(bytes)) => return Ok(Packet::Message(bytes, hop)),
                Some(Frame::Ping) => return Ok(Packet::Ping),
                Some(Frame::Pong) => continue,
                Some(Frame::Broken(_)) => return Err("the server sends what is no SIP".to_owned()),
                None => {}
            }
            read.clear();
            match stream.read_buf(read).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => framer.push(read),
                Err(why) => return Err(why.to_string()),
            }
        },
    }
}

/// What a status code means to a person who asked for `what`; empty when the reason says it all.
pub(super) fn meaning(status: u16) -> &'static str {
    match status {
        300..=399 => "it moved elsewhere",
        401 | 407 => "wrong user or password",
        403 => "you may not do that",
        404 | 604 => "nobody has that address there",
        405 | 501 => "the server does not know this kind of request",
        406 => "the server has the state in no form that was asked for; see --accept",
        408 | 504 => "no answer from behind the server",
        413 | 513 => "that is too long",
        415 => "the server does not take this kind of content",
        416 => "the server does not know this kind of address",
        420 | 421 => "the server wants an extension that is not spoken here",
        423 => "that is too short a time; see --expires",
        480 => "it cannot be reached now",
        481 => "the server knows nothing of it (any more)",
        482 => "the request went in a circle",
        486 | 600 => "it is busy",
        488 | 606 => "it was not understood or cannot be done",
        489 => "the server does not have this kind of event",
        500..600 => "the server has a problem",
        603 => "it was declined",
        _ => "",
    }
}

/// Status, reason and meaning in a line. Text of a peer cannot move the cursor.
pub(super) fn status_line(status: u16, reason: &str) -> String {
    let reason = clean(reason);
    match meaning(status) {
        "" => format!("{status} {reason}"),
        meaning => format!("{status} {reason}: {meaning}"),
    }
}

/// Text of a peer without anything that a terminal obeys; tabs and line ends stay.
pub(super) fn clean(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => Some(c),
        '\r' => None,
        // Embeddings and overrides of the writing direction.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => None,
        c if c.is_control() => Some('\u{fffd}'),
        c => Some(c),
    };
    text.chars().filter_map(harmless).collect()
}

#[cfg(test)]
mod tests;

//! Both ends over real sockets of this machine, with certificates made here.

mod prompt;
mod relay;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use sipliance_tls::{Client, Names, Server};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::timeout;

use self::prompt::Prompt;
use self::relay::Relay;
use super::*;
use crate::io::queue::{Pushed, Writes, queue};
use crate::io::stream::{Line, Report};
use crate::sip::FlowId;

/// Longer than anything takes here.
const SOON: Duration = Duration::from_secs(20);

fn door(welcomer: &Welcomer, resets: Option<Resets>) -> Door {
    Door::open(bind(([127, 0, 0, 1], 0).into()).unwrap(), welcomer, resets).unwrap()
}

/// A server with its certificate, in a folder that is gone with the test.
struct Bench {
    folder: PathBuf,
    ca: PathBuf,
    welcomer: Welcomer,
    door: Door,
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn file(folder: &std::path::Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

impl Bench {
    fn new(test: &str) -> Self {
        Self::with(test, |_| {})
    }

    fn with(test: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let folder = std::env::temp_dir().join(format!("sipliance-quic-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, test);
        let key = KeyPair::generate().unwrap();
        let ca = file(&folder, "ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new(vec!["home.example".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = file(&folder, "cert.pem", &params.signed_by(&key, &issuer).unwrap().pem());
        let key = file(&folder, "key.pem", &key.serialize_pem());
        let welcomer = sipliance_tls::server(&Server { certificate, key, client_ca: None }).unwrap();
        let door = door(&welcomer, None);
        Self { folder, ca, welcomer, door }
    }

    fn addr(&self) -> SocketAddr {
        self.door.endpoint.local_addr().unwrap()
    }

    fn dialer(&self, name: &str) -> Dialer {
        let names = Names::Domains(vec![name.to_owned()]);
        sipliance_tls::client(&Client { ca: Some(self.ca.clone()), names, ..Client::default() }).unwrap()
    }

    /// Lets one in.
    async fn accept(&self) -> Result<stream::Connection, String> {
        self.door.knock().await.expect("somebody").enter(&self.welcomer).await
    }

    /// Both ends of a connection by way of `addr`.
    async fn pair(&self, addr: SocketAddr) -> (stream::Connection, stream::Connection) {
        let dialer = self.dialer("home.example");
        let (client, server) = tokio::join!(connect(addr, "home.example", &dialer), self.accept());
        (client.unwrap(), server.unwrap())
    }

    /// The server's end, and the connection of somebody who does as he likes.
    async fn stranger(&self) -> (End, Connection, Endpoint) {
        let (client, server) = self.pair(self.addr()).await;
        let Line::Quic(Link { connection, endpoint }) = client.line else { panic!("no QUIC") };
        (End::new(server), connection, endpoint.unwrap())
    }
}

/// One end, as the loop has it.
struct End {
    writes: Writes,
    reports: mpsc::Receiver<Report>,
    served: JoinHandle<()>,
}

impl End {
    fn new(connection: stream::Connection) -> Self {
        assert_eq!(connection.transport, Transport::Quic);
        let (writes, queue) = queue(FlowId(1), None);
        let (to, reports) = mpsc::channel(8);
        let served = tokio::task::spawn_local(stream::serve(FlowId(1), connection.line, queue, to));
        Self { writes, reports, served }
    }

    async fn say(&self, text: &str) {
        assert_eq!(self.writes.push(Bytes::copy_from_slice(text.as_bytes())), Pushed::Room);
    }

    async fn hear(&mut self) -> String {
        match timeout(SOON, self.reports.recv()).await.expect("a message in time") {
            Some(Report::Message(_, bytes, _)) => String::from_utf8(bytes.to_vec()).unwrap(),
            Some(Report::Closed(_, why)) => panic!("closed: {why}"),
            _ => panic!("something else"),
        }
    }

    /// The reason of its end.
    async fn end(&mut self) -> String {
        loop {
            match self.reports.recv().await {
                Some(Report::Closed(_, why)) => return why,
                Some(_) => {}
                None => panic!("no word about the end"),
            }
        }
    }
}

fn request(method: &str, branch: u32, body: &str) -> String {
    format!(
        "{method} sip:lamp@home.example SIP/2.0\r\nVia: SIP/2.0/QUIC 192.0.2.1;branch=z9hG4bK{branch}\r\n\
         CSeq: {branch} {method}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn response(status: u16, method: &str, branch: u32) -> String {
    format!(
        "SIP/2.0 {status} Some Words\r\nVia: SIP/2.0/QUIC 192.0.2.1;branch=z9hG4bK{branch}\r\n\
         CSeq: {branch} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

async fn local<F: Future>(work: F) -> F::Output {
    LocalSet::new().run_until(work).await
}

/// Sends one request and gets its answer.
async fn exchange(from: &mut End, to: &mut End, branch: u32) {
    from.say(&request("MESSAGE", branch, "on")).await;
    assert_eq!(to.hear().await, request("MESSAGE", branch, "on"));
    to.say(&response(200, "MESSAGE", branch)).await;
    assert_eq!(from.hear().await, response(200, "MESSAGE", branch));
}

#[tokio::test]
async fn both_sides_ask_and_each_answer_comes_back() {
    local(async {
        let bench = Bench::new("both");
        let (client, server) = bench.pair(bench.addr()).await;
        assert_eq!(client.local.ip(), IpAddr::from([127, 0, 0, 1]));
        assert_eq!((client.peer, server.local, server.peer), (bench.addr(), bench.addr(), client.local));
        let (mut client, mut server) = (End::new(client), End::new(server));
        // Two at once, the second answered first.
        client.say(&request("SUBSCRIBE", 1, "")).await;
        client.say(&request("OPTIONS", 2, &"x".repeat(60_000))).await;
        let (one, other) = (server.hear().await, server.hear().await);
        assert!(one.starts_with("SUBSCRIBE") && other.starts_with("OPTIONS") || one.starts_with("OPTIONS"));
        server.say(&response(100, "OPTIONS", 2)).await;
        server.say(&response(200, "OPTIONS", 2)).await;
        assert_eq!(client.hear().await, response(100, "OPTIONS", 2));
        assert_eq!(client.hear().await, response(200, "OPTIONS", 2));
        server.say(&response(200, "SUBSCRIBE", 1)).await;
        assert_eq!(client.hear().await, response(200, "SUBSCRIBE", 1));
        exchange(&mut server, &mut client, 3).await;
        // Nobody answers an ACK, and a keep-alive of another transport says nothing here.
        client.say(&request("ACK", 4, "")).await;
        client.say("\r\n\r\n").await;
        assert_eq!(server.hear().await, request("ACK", 4, ""));
        // Too late: its stream is gone, and the connection is not.
        server.say(&response(200, "OPTIONS", 2)).await;
        exchange(&mut client, &mut server, 5).await;
    })
    .await;
}

#[tokio::test]
async fn more_requests_than_streams_wait_and_all_arrive() {
    local(async {
        let bench = Bench::new("many");
        let (client, server) = bench.pair(bench.addr()).await;
        let (mut client, mut server) = (End::new(client), End::new(server));
        let many = STREAMS * 2;
        let mut seen = std::collections::HashSet::new();
        for branch in 0..many {
            client.say(&request("NOTIFY", branch, "")).await;
        }
        let answer = async {
            for _ in 0..many {
                let asked = server.hear().await;
                let branch = asked.split("CSeq: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
                server.say(&response(200, "NOTIFY", branch.parse().unwrap())).await;
            }
        };
        let hear = async {
            for _ in 0..many {
                seen.insert(client.hear().await);
            }
        };
        tokio::join!(answer, hear);
        assert_eq!(seen.len(), many as usize);
    })
    .await;
}

#[tokio::test]
async fn what_is_queued_leaves_before_the_end() {
    local(async {
        let bench = Bench::new("end");
        let (client, server) = bench.pair(bench.addr()).await;
        let (mut client, mut server) = (End::new(client), End::new(server));
        server.say(&request("OPTIONS", 1, "")).await;
        client.hear().await;
        client.say(&response(200, "OPTIONS", 1)).await;
        client.say(&request("MESSAGE", 2, "bye")).await;
        drop(client.writes);
        let mut heard = [server.hear().await, server.hear().await];
        heard.sort();
        assert_eq!(heard, [request("MESSAGE", 2, "bye"), response(200, "OPTIONS", 1)]);
        assert_eq!(server.end().await, "the peer closed the connection");
        client.served.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_router_that_takes_another_port_ends_no_flow() {
    local(async {
        let bench = Bench::new("router");
        let mut relay = Relay::new(bench.addr()).await;
        let (client, server) = bench.pair(relay.addr()).await;
        let Line::Quic(link) = &server.line else { panic!("no QUIC") };
        let (seen, before) = (link.connection.clone(), link.connection.remote_address());
        let (mut client, mut server) = (End::new(client), End::new(server));
        exchange(&mut client, &mut server, 1).await;
        relay.restart().await;
        let prompt = Prompt::begin();
        exchange(&mut client, &mut server, 2).await;
        exchange(&mut server, &mut client, 3).await;
        prompt.end();
        assert_ne!(seen.remote_address(), before);
    })
    .await;
}

/// With the key that it had, and for the same port alone.
#[tokio::test]
async fn a_server_that_was_restarted_says_so_at_the_next_packet() {
    local(async {
        let resets = |port: &str| Some(Resets::new(&[7; 32], port));
        let mut bench = Bench::new("reset");
        bench.door = door(&bench.welcomer, resets("edge 192.0.2.1:5061"));
        let relay = Relay::new(bench.addr()).await;
        let (client, server) = bench.pair(relay.addr()).await;
        let (mut client, mut server) = (End::new(client), End::new(server));
        exchange(&mut client, &mut server, 1).await;
        for (port, knows) in [("edge 192.0.2.2:5061", false), ("edge 192.0.2.1:5061", true)] {
            let after = door(&bench.welcomer, resets(port));
            relay.replace(after.endpoint.local_addr().unwrap());
            client.say(&request("MESSAGE", 2, "on")).await;
            let told = timeout(if knows { SOON } else { Duration::from_secs(1) }, client.end()).await;
            let words = "the peer knows nothing of this connection: it was restarted";
            assert_eq!(told.ok().as_deref(), knows.then_some(words));
        }
    })
    .await;
}

#[tokio::test]
async fn another_socket_of_ours_ends_no_flow() {
    local(async {
        let bench = Bench::new("move");
        let (client, server) = bench.pair(bench.addr()).await;
        assert!(server.line.mover().is_none());
        let mover = client.line.mover().expect("it can move");
        let Line::Quic(link) = &server.line else { panic!("no QUIC") };
        let (seen, before) = (link.connection.clone(), link.connection.remote_address());
        let (mut client, mut server) = (End::new(client), End::new(server));
        exchange(&mut client, &mut server, 1).await;
        mover().unwrap();
        let prompt = Prompt::begin();
        // The server speaks first: it has heard of the other address without a message.
        while seen.remote_address() == before && prompt.began.elapsed() < SOON {
            tokio::task::yield_now().await;
        }
        exchange(&mut server, &mut client, 2).await;
        exchange(&mut client, &mut server, 3).await;
        prompt.end();
        assert_ne!(seen.remote_address(), before);
    })
    .await;
}

#[tokio::test]
async fn a_dead_connection_is_seen_within_45_seconds() {
    local(async {
        let bench = Bench::new("dead");
        let relay = Relay::new(bench.addr()).await;
        let (client, server) = bench.pair(relay.addr()).await;
        let (mut client, mut server) = (End::new(client), End::new(server));
        exchange(&mut client, &mut server, 1).await;
        tokio::time::pause();
        relay.break_down();
        let began = tokio::time::Instant::now();
        let (client, server) = tokio::join!(client.end(), server.end());
        assert_eq!((client.as_str(), server.as_str()), ("no sign of life", "no sign of life"));
        let took = began.elapsed();
        assert!(took > Duration::from_secs(20) && took <= Duration::from_secs(45), "{took:?}");
    })
    .await;
}

/// What a stream of somebody ends with on which `bytes` were written.
async fn refused(connection: &Connection, bytes: &[u8], finish: bool) -> Option<u64> {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let _ = send.write_all(bytes).await;
    if finish {
        let _ = send.finish();
    }
    match recv.read_to_end(1000).await {
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(code))) => Some(code.into_inner()),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

#[tokio::test]
async fn bad_streams_are_refused_one_by_one_and_the_connection_stays() {
    local(async {
        let bench = Bench::new("bad");
        let (mut server, connection, _endpoint) = bench.stranger().await;
        let whole = request("OPTIONS", 1, "");
        let two = [whole.as_str(), &request("OPTIONS", 2, "")].concat();
        let long = format!("OPTIONS sip:a SIP/2.0\r\nX: {}", "x".repeat(20_000));
        let huge = whole.replace("Content-Length: 0", "Content-Length: 99999999");
        let unsaid = whole.replace("Content-Length: 0\r\n", "");
        for (bytes, finish, code) in [
            ("", true, Code::Malformed),
            (&whole[..50], true, Code::Malformed),
            ("hello\r\n\r\n", true, Code::Malformed),
            (&response(200, "OPTIONS", 1), true, Code::Malformed),
            (&two, true, Code::Malformed),
            (&unsaid, true, Code::Malformed),
            (&whole.replace("branch=z9hG4bK1", "rport"), true, Code::Malformed),
            (&long, false, Code::TooLong),
            (&huge, false, Code::TooLong),
        ] {
            let got = timeout(SOON, refused(&connection, bytes.as_bytes(), finish)).await;
            assert_eq!(got.expect("in time"), Some(code as u64), "{}", &bytes[..bytes.len().min(60)]);
        }
        // Whoever says nothing, or half, has ten seconds.
        for half in ["O", &whole[..50]] {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(half.as_bytes()).await.unwrap();
            let stopped = send.stopped();
            assert_eq!(exchange_raw(&connection, &mut server, 7).await, response(200, "OPTIONS", 7));
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(11)).await;
            tokio::time::resume();
            let stopped = timeout(SOON, stopped).await.expect("in time").unwrap();
            assert_eq!(stopped, Some(Code::TooLate.into()));
            assert!(recv.read_to_end(10).await.is_err());
        }
        assert_eq!(exchange_raw(&connection, &mut server, 8).await, response(200, "OPTIONS", 8));
        let uni = futures_util::FutureExt::now_or_never(connection.open_uni());
        assert!(uni.is_none(), "nothing else is opened here");
    })
    .await;
}

/// A request of somebody who does as he likes, and its answer.
async fn exchange_raw(connection: &Connection, server: &mut End, branch: u32) -> String {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(request("OPTIONS", branch, "").as_bytes()).await.unwrap();
    send.finish().unwrap();
    assert_eq!(server.hear().await, request("OPTIONS", branch, ""));
    server.say(&response(200, "OPTIONS", branch)).await;
    String::from_utf8(recv.read_to_end(1000).await.unwrap()).unwrap()
}

#[tokio::test]
async fn ten_thousand_streams_are_no_more_than_a_few_hundred() {
    local(async {
        let bench = Bench::new("flood");
        let (_server, connection, _endpoint) = bench.stranger().await;
        let (_other, other, _endpoint) = bench.stranger().await;
        let mut open = Vec::new();
        for _ in 0..10_000 {
            let Ok(opened) = timeout(Duration::from_millis(50), connection.open_bi()).await else { break };
            let (mut send, recv) = opened.unwrap();
            send.write_all(b"OPTIONS").await.unwrap();
            open.push((send, recv));
        }
        assert_eq!(open.len(), STREAMS as usize);
        let (mut other_server, fresh, _endpoint) = bench.stranger().await;
        drop(other);
        exchange_raw(&fresh, &mut other_server, 1).await;
    })
    .await;
}

#[tokio::test]
async fn who_is_not_believed_is_not_spoken_to_and_words_say_why() {
    local(async {
        let bench = Bench::new("words");
        let try_it = async |bench: &Bench, dialer: Dialer| {
            let client = connect(bench.addr(), "home.example", &dialer);
            let (client, server) = tokio::join!(client, bench.accept());
            (client.err().unwrap_or_default(), server.err().unwrap_or_default())
        };
        let (why, _) = try_it(&bench, bench.dialer("other.example")).await;
        assert_eq!(why, "the certificate is for home.example, not for other.example");
        let stranger = Bench::new("words-other");
        let (why, _) = try_it(&bench, stranger.dialer("home.example")).await;
        assert!(why.starts_with("the certificate is signed by somebody unknown"), "{why}");
        let old = Bench::with("words-old", |params| params.not_after = date_time_ymd(2021, 3, 4));
        let (why, told) = try_it(&old, old.dialer("home.example")).await;
        assert!(why.starts_with("the certificate has expired, on 2021-03-04"), "{why}");
        assert!(told.starts_with("it refuses our certificate"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn another_protocol_over_quic_comes_to_nothing() {
    local(async {
        let bench = Bench::new("alpn");
        let crypto = QuicClientConfig::try_from(bench.dialer("home.example").quic(b"sips/quic-h00")).unwrap();
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        let config = ClientConfig::new(Arc::new(crypto));
        let connecting = endpoint.connect_with(config, bench.addr(), "home.example").unwrap();
        let (client, server) = tokio::join!(connecting, bench.accept());
        for why in [words(&client.unwrap_err()), server.err().unwrap()] {
            assert!(why.contains("ALPN sip/2.0-sipliance-1"), "{why}");
        }
    })
    .await;
}

/// A session is resumed, and nothing is taken that came before the handshake was done.
#[tokio::test]
async fn nothing_is_taken_early() {
    local(async {
        let bench = Bench::new("early");
        let mut tls = (*bench.dialer("home.example").quic(ALPN)).clone();
        tls.enable_early_data = true;
        let crypto = Arc::new(QuicClientConfig::try_from(tls).unwrap());
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
        for _ in 0..2 {
            let config = ClientConfig::new(crypto.clone());
            let connecting = endpoint.connect_with(config, bench.addr(), "home.example").unwrap();
            let Err(connecting) = connecting.into_0rtt() else { panic!("early data is allowed") };
            let (client, server) = tokio::join!(connecting, bench.accept());
            let (client, mut server) = (client.unwrap(), End::new(server.unwrap()));
            exchange_raw(&client, &mut server, 1).await;
        }
    })
    .await;
}

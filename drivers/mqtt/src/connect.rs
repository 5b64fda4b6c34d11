//! From a configured broker to a logged-in stream, or to words that say what is wrong.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5;
use rumqttc::{Connect, ConnectReturnCode, LastWill, Login, Packet, QoS};
use secrecy::ExposeSecret;
use sipliance_driver::Why;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::five;
use crate::packets::{MAX_PACKET, Next, Packets};
use crate::tls;
use crate::{LISTENER_PACKET, Settings, Version};

/// How long name, TCP and login may take together.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the broker is told about our silence (MQTT 3.1.1 §3.1.2.10); we speak sooner.
const KEEP_ALIVE_SECS: u16 = 30;

/// A byte stream to a broker: TCP, or TLS over it.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A logged-in connection, with the bytes that came behind the CONNACK.
pub(crate) struct Connection {
    pub stream: Box<dyn Stream>,
    pub packets: Packets,
}

/// Dials and logs in.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub(crate) async fn connect(settings: &Settings) -> Result<Connection, Why> {
    let broker = settings.broker();
    let attempt = async {
        let stream = dial(settings).await?;
        login(settings, stream).await
    };
    timeout(PATIENCE, attempt).await.unwrap_or_else(|_| {
        Err(Why(format!(
            "broker {broker}: no answer in {} s – is the host on, is the address right?",
            PATIENCE.as_secs()
        )))
    })
}

async fn dial(settings: &Settings) -> Result<Box<dyn Stream>, Why> {
    let stream = TcpStream::connect((settings.host.as_str(), settings.port)).await;
    let stream = stream
        .map_err(|e| Why(format!("broker {}: {}", settings.broker(), dial_words(&e, &settings.host))))?;
    // A lost option costs milliseconds, not the connection.
    let _ = stream.set_nodelay(true);
    match &settings.tls {
        None => Ok(Box::new(stream)),
        Some(tls) => match tls::secure(tls, &settings.host, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(why) => Err(Why(format!("broker {}: {why}", settings.broker()))),
        },
    }
}

fn dial_words(error: &io::Error, host: &str) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused – is mosquitto running?".into(),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("{error} – is the network up, is the address right?")
        }
        _ if error.raw_os_error().is_none() => {
            format!(
                "the name {host:?} cannot be resolved ({error}) – write the broker's address, or mend DNS"
            )
        }
        _ => error.to_string(),
    }
}

async fn login(settings: &Settings, mut stream: Box<dyn Stream>) -> Result<Connection, Why> {
    let broker = settings.broker();
    let hint = match &settings.tls {
        None => "does this port want TLS?",
        Some(tls) if tls.cert.is_none() => "does it want a client certificate, `tls: {cert: …, key: …}`?",
        Some(_) => "does it know the authority of our certificate?",
    };
    let lost = |e: io::Error| match sipliance_tls::refusal(&e) {
        // With TLS 1.3 the broker looks at our certificate after the handshake is over for us.
        Some(words) => Why(format!("broker {broker}: {words}")),
        None => Why(format!("broker {broker}: lost during login ({e}) – {hint}")),
    };
    let mut hello = BytesMut::new();
    write_hello(settings, &mut hello)
        .map_err(|e| Why(format!("broker {broker}: the login cannot be written: {e}")))?;
    stream.write_all_buf(&mut hello).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;

    let mut packets = Packets::of(settings.version, max_packet(settings));
    loop {
        match verdict(settings, &mut packets) {
            Verdict::Welcome => return Ok(Connection { stream, packets }),
            Verdict::Refused(words) => return Err(Why(format!("broker {broker}: {words}"))),
            Verdict::Nonsense => return Err(not_mqtt(settings)),
            Verdict::Starved => {}
        }
        packets.bytes.reserve(1024);
        if stream.read_buf(&mut packets.bytes).await.map_err(lost)? > 0 {
            continue;
        }
        return Err(match packets.bytes.is_empty() {
            false => not_mqtt(settings),
            true => Why(format!("broker {broker}: it closed the connection during login – {hint}")),
        });
    }
}

fn not_mqtt(settings: &Settings) -> Why {
    let (broker, version) = (settings.broker(), settings.version.word());
    Why(format!("broker {broker}: it answers, but not in MQTT {version} – is the port right?"))
}

/// What the broker thinks of our login.
enum Verdict {
    Welcome,
    Refused(String),
    Nonsense,
    Starved,
}

fn verdict(settings: &Settings, packets: &mut Packets) -> Verdict {
    if settings.version == Version::Five {
        return match five::verdict(&mut packets.bytes) {
            Ok(None) => Verdict::Starved,
            Ok(Some(v5::ConnectReturnCode::Success)) => Verdict::Welcome,
            Ok(Some(code)) => Verdict::Refused(refusal_of_five(settings, code)),
            Err(()) => Verdict::Nonsense,
        };
    }
    match packets.next() {
        Ok(Next::Packet(Packet::ConnAck(ack))) if ack.code == ConnectReturnCode::Success => Verdict::Welcome,
        Ok(Next::Packet(Packet::ConnAck(ack))) => Verdict::Refused(refusal(settings, ack.code)),
        Ok(Next::Starved) => Verdict::Starved,
        Ok(_) | Err(_) => Verdict::Nonsense,
    }
}

fn write_hello(settings: &Settings, out: &mut BytesMut) -> Result<(), String> {
    if settings.version == Version::Three {
        let hello = Packet::Connect(hello_packet(settings));
        return hello.write(out, MAX_PACKET).map(drop).map_err(|error| error.to_string());
    }
    let password = settings.password.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
    let hello = five::Hello {
        client_id: &settings.client_id,
        keep_alive: KEEP_ALIVE_SECS,
        status_topic: settings.status(),
        login: settings.user.as_deref().map(|user| (user, password)),
        max_packet: max_packet(settings),
    };
    five::hello(&hello, out)
}

fn refusal_of_five(settings: &Settings, code: v5::ConnectReturnCode) -> String {
    use v5::ConnectReturnCode as Code;
    match code {
        Code::BadUserNamePassword | Code::NotAuthorized => login_words(settings),
        Code::ClientIdentifierNotValid | Code::BadClientId => {
            format!("it refuses the client id {:?}", settings.client_id)
        }
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => {
            "it does not speak MQTT 5 – leave `version: 5` out".to_owned()
        }
        Code::ServerUnavailable | Code::ServiceUnavailable | Code::ServerBusy => {
            "it is not available right now".to_owned()
        }
        other => format!("it refuses the login ({other:?})"),
    }
}

/// The largest packet that is kept.
fn max_packet(settings: &Settings) -> usize {
    if settings.listen_only { LISTENER_PACKET } else { MAX_PACKET }
}

fn login_words(settings: &Settings) -> String {
    match &settings.user {
        Some(user) => format!("login refused for user {user:?} – check user and password"),
        None => "login refused – the broker wants a user and a password".into(),
    }
}

/// The CONNECT packet: clean session, and a last will that tells the house when the gateway is gone.
fn hello_packet(settings: &Settings) -> Connect {
    let mut hello = Connect::new(settings.client_id.as_str());
    hello.keep_alive = KEEP_ALIVE_SECS;
    hello.clean_session = true;
    let will = |topic: &str| LastWill::new(topic, "offline", QoS::AtLeastOnce, true);
    hello.last_will = settings.status().map(will);
    if let Some(user) = &settings.user {
        let password = settings.password.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        hello.login = Some(Login::new(user.as_str(), password));
    }
    hello
}

fn refusal(settings: &Settings, code: ConnectReturnCode) -> String {
    match code {
        ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => login_words(settings),
        ConnectReturnCode::BadClientId => format!("it refuses the client id {:?}", settings.client_id),
        ConnectReturnCode::ServiceUnavailable => "it is not available right now".into(),
        ConnectReturnCode::RefusedProtocolVersion => "it does not speak MQTT 3.1.1".into(),
        ConnectReturnCode::Success => "it accepted and refused at once".into(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn settings(port: u16) -> Settings {
        Settings {
            host: "127.0.0.1".into(),
            port,
            user: Some("gw".into()),
            password: Some("secret-word".into()),
            client_id: "test".into(),
            tls: None,
            version: Version::Three,
            listen_only: false,
            status_topic: None,
        }
    }

    async fn answer(bytes: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            let mut hello = [0; 256];
            let _ = peer.read(&mut hello).await.unwrap();
            peer.write_all(bytes).await.unwrap();
        };
        let settings = settings(port);
        let (result, ()) = tokio::join!(connect(&settings), broker);
        result.err().map(|why| why.0).unwrap_or_default()
    }

    #[tokio::test]
    async fn each_refusal_says_what_to_do() {
        assert_eq!(answer(&[0x20, 2, 0, 0]).await, "");
        for (bytes, word) in [
            (&[0x20, 2, 0, 4][..], "check user and password"),
            (&[0x20, 2, 0, 5], "check user and password"),
            (&[0x20, 2, 0, 2], "client id"),
            (&[0x20, 2, 0, 1], "3.1.1"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not in MQTT"),
            (b"", "closed the connection during login"),
        ] {
            let words = answer(bytes).await;
            assert!(words.contains(word) && words.starts_with("broker 127.0.0.1:"), "{words}");
            assert!(!words.contains("secret-word"));
        }
    }

    #[tokio::test]
    async fn a_port_without_a_broker_asks_for_mosquitto() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let why = connect(&settings(port)).await.err().unwrap();
        assert_eq!(why.0, format!("broker 127.0.0.1:{port}: connection refused – is mosquitto running?"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_broker_is_given_up_after_five_seconds() {
        let (ours, _theirs) = tokio::io::duplex(4096);
        let settings = settings(1883);
        let before = tokio::time::Instant::now();
        let result = timeout(PATIENCE, login(&settings, Box::new(ours))).await;
        assert!(result.is_err() && before.elapsed() == PATIENCE);
    }
}

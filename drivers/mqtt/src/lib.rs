//! The MQTT driver: one task owns one broker connection (MQTT 3.1.1 or 5, TLS where it is wanted).
//!
//! ```text
//! run: ┌─> connect (5 s) ──ok──> serve ──┬─ port closed ─> goodbye, Exit::Closed
//!      │        │ fail                   │ lost
//!      └── pause (0.5 s … 30 s) <────────┘  Down(why), ops under way: Broken
//! ```
//!
//! The packets and their bookkeeping are `rumqttc`'s; the socket and the time are ours, so that a
//! broker that accepts and then falls silent, floods, or sends garbage costs nothing but its own
//! connection. A write is published once (QoS 1, never retained) or fails at once: nothing is ever
//! kept for a later connection, because a command that arrives late opens a door nobody expects.
//!
//! The gateway's own status stands retained on one topic: `offline` is the last will, `online` is said
//! on every connection as soon as its watches stand, `offline` again before a clean goodbye.
//!
//! A `Done(Ok)` says that the broker took the message. MQTT 3.1.1 brokers also acknowledge what
//! their access list then drops, so only the appliance's own report proves that it acted. What the
//! broker does with a message for an appliance that is away is beyond MQTT 3.1.1: an appliance that
//! asks it for a persistent session with QoS 1 gets old commands late, and should not be set up so.

mod connect;
mod five;
mod packets;
mod rivals;
mod session;
mod tls;
mod topic;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use sipliance_driver::{Backoff, Channel, Driver, Event, Exit, Failure, Keep, Op, Port, Post, Why, keep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use connect::{Connection, Stream};
use rivals::{Ending, Rivals};
use session::Session;

/// How to reach a broker.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name or address.
    pub host: String,
    /// Port, 1883 as a rule.
    pub port: u16,
    /// Login name.
    pub user: Option<String>,
    /// Password; used only with a user.
    pub password: Option<SecretString>,
    /// MQTT client id; two clients with one id throw each other out.
    pub client_id: String,
    /// Speak TLS.
    pub tls: Option<Tls>,
    /// Which MQTT.
    pub version: Version,
    /// Only listen: nothing is published, not even that we are there, and writes are refused. Messages may
    /// be [`LISTENER_PACKET`] long.
    pub listen_only: bool,
    /// Where the gateway says `online` and `offline`, retained; `None`: nowhere.
    pub status_topic: Option<String>,
}

/// Whom to believe, and how to prove who we are. The files are PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authority that signed the broker's; `None`: those of the system.
    pub ca: Option<PathBuf>,
    /// Our own certificate, with what stands between it and its authority.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Which MQTT is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1
    #[default]
    Three,
    /// 5: a command that the broker cannot hand on within 10 s expires there, and a refusal is told.
    Five,
}

impl Version {
    fn word(self) -> &'static str {
        match self {
            Self::Three => "3.1.1",
            Self::Five => "5",
        }
    }
}

impl Settings {
    /// Where we say that we are there.
    fn status(&self) -> Option<&str> {
        self.status_topic.as_deref().filter(|_| !self.listen_only)
    }

    fn broker(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

/// How many filters one link may watch; one more is refused in words.
pub const MAX_WATCHES: usize = 1024;

/// The largest message that is kept by a link that only listens: descriptions of whole networks of
/// devices are longer than any state.
pub const LISTENER_PACKET: usize = 4 * 1024 * 1024;

/// The driver of `mqtt` links.
#[derive(Debug)]
pub struct Mqtt;

impl Driver for Mqtt {
    const KIND: &'static str = "mqtt";
    type Settings = Settings;

    async fn run(settings: Settings, port: Port) -> Exit {
        run(settings, port).await
    }
}

/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A connection that lived this long starts the pauses anew.
const STABLE: Duration = Duration::from_secs(10);

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// At most one line about payloads that gave way to newer ones in this time.
const FOLD_LOG: Duration = Duration::from_secs(60);

/// Keeps one broker connected until the port closes.
pub async fn run(settings: Settings, port: Port) -> Exit {
    let (post, rivals) = (Post::new(port), Rivals::default());
    let mut link = Link { settings, post, watches: Vec::new(), folds_logged: None, rivals };
    keep(&mut link, Backoff::new(PAUSES.0, PAUSES.1), STABLE).await
}

/// What outlives a connection.
struct Link {
    settings: Settings,
    post: Post,
    watches: Vec<Channel>,
    folds_logged: Option<Instant>,
    rivals: Rivals,
}

/// An attempt to connect.
struct Attempt {
    settings: Settings,
    /// Wait this long before: another client has our id.
    wait: Duration,
}

impl Keep for Link {
    type Line = Connection;
    type Settings = Attempt;

    fn post(&mut self) -> &mut Post {
        &mut self.post
    }

    fn settings(&mut self) -> Attempt {
        Attempt { settings: self.settings.clone(), wait: self.rivals.attempt() }
    }

    async fn open(attempt: Attempt) -> Result<Connection, Why> {
        sleep(attempt.wait).await;
        connect::connect(&attempt.settings).await
    }

    /// Watches are noted, writes fail at once.
    fn aside(&mut self, op: Op) {
        match op {
            Op::Watch { channel } => {
                self.note(channel);
            }
            op => {
                if let Some(id) = op.id() {
                    self.post.outbox.done(id, Err(Failure::NotConnected));
                }
            }
        }
    }

    async fn serve(&mut self, connection: Connection) -> Option<Why> {
        let Connection { mut stream, packets } = connection;
        let broker = self.settings.broker();
        tracing::info!(broker, watches = self.watches.len(), "connected to the broker");
        let now = Instant::now();
        let mut session =
            Session::new(broker, packets, &self.watches, self.settings.status().map(str::to_owned), now);
        let end = self.exchange(&mut stream, &mut session).await;
        session.fail(&mut self.post.outbox);
        let Some(why) = end else {
            session.goodbye();
            goodbye(stream, session).await;
            return None;
        };
        let storm = self.rivals.ended(session.ending, now.elapsed());
        Some(storm.map_or(why, |times| self.rival(times)))
    }
}

impl Link {
    async fn exchange(&mut self, stream: &mut Box<dyn Stream>, session: &mut Session) -> Option<Why> {
        let (mut reader, mut writer) = tokio::io::split(stream);
        if let Err(why) = session.proceed(Instant::now(), &mut self.post.outbox) {
            return Some(why);
        }
        loop {
            session.packets.bytes.reserve(READ);
            let (wants_bytes, has_bytes) = (session.wants_bytes(), !session.out.is_empty());
            let deadline = session.deadline();
            let result = tokio::select! {
                op = self.post.ops.recv() => { self.op(op?, session); Ok(()) }
                read = reader.read_buf(&mut session.packets.bytes), if wants_bytes => match read {
                    Ok(0) => Err(self.closed_by_broker(session)),
                    Ok(_) => session.received(Instant::now(), &mut self.post.outbox),
                    Err(error) => Err(self.lost(&error, session)),
                },
                wrote = writer.write_buf(&mut session.out), if has_bytes => match wrote {
                    Ok(0) => Err(self.closed_by_broker(session)),
                    Ok(_) => Ok(()),
                    Err(error) => Err(self.lost(&error, session)),
                },
                () = self.post.outbox.flush(), if !self.post.outbox.is_empty() => { self.log_folds(); Ok(()) }
                () = sleep_until(deadline) => session.tick(Instant::now(), &mut self.post.outbox),
            };
            if let Err(why) = result {
                return Some(why);
            }
        }
    }

    fn op(&mut self, op: Op, session: &mut Session) {
        match op {
            Op::Watch { channel } => {
                if self.note(channel.clone()) {
                    session.watch(channel, Instant::now());
                }
            }
            Op::Write { id, .. } | Op::Publish { id, .. } if self.settings.listen_only => {
                self.post.outbox.done(id, Err(refused("this connection only listens")));
            }
            Op::Write { id, channel, payload } => {
                session.write(id, &channel, payload, Instant::now(), &mut self.post.outbox);
            }
            Op::Publish { id, channel, payload, retained } => {
                let now = Instant::now();
                session.tell(id, &channel, payload, retained, now, &mut self.post.outbox);
            }
            Op::Ask { id, .. } => self
                .post
                .outbox
                .done(id, Err(refused("MQTT has no question and answer: watch a topic, write another"))),
            Op::Pulse { id, .. } => self.post.outbox.done(id, Err(refused("MQTT has no lines to pulse"))),
        }
    }

    /// Remembers a watch for every connection to come; whether it is new and possible.
    fn note(&mut self, channel: Channel) -> bool {
        if self.watches.contains(&channel) {
            return false;
        }
        let fault = match topic::check_filter(channel.as_str()) {
            Ok(()) if self.watches.len() < MAX_WATCHES => {
                self.watches.push(channel);
                return true;
            }
            Ok(()) => format!("one link may watch {MAX_WATCHES} topics"),
            Err(fault) => fault,
        };
        self.post.outbox.push(Event::Unwatched { channel, why: Why(fault) });
        false
    }

    fn closed_by_broker(&self, session: &mut Session) -> Why {
        session.ending = Ending::Closed;
        Why(format!(
            "broker {}: it closed the connection – was it stopped, or does another client use the id {:?}?",
            self.settings.broker(),
            self.settings.client_id
        ))
    }

    fn lost(&self, error: &std::io::Error, session: &mut Session) -> Why {
        if error.kind() == std::io::ErrorKind::ConnectionReset {
            session.ending = Ending::Closed;
        }
        Why(format!("broker {}: connection lost ({error})", self.settings.broker()))
    }

    /// Two clients with one id.
    fn rival(&self, times: u32) -> Why {
        let (broker, id) = (self.settings.broker(), &self.settings.client_id);
        Why(format!(
            "broker {broker}: another client uses the id {id:?}, and each throws the other out ({times} times now) \
             – give one of the two another `client_id:`; until then this one waits longer each time"
        ))
    }

    fn log_folds(&mut self) {
        if self.folds_logged.is_some_and(|at| at.elapsed() < FOLD_LOG) {
            return;
        }
        let folded = self.post.outbox.take_folded();
        if folded > 0 {
            self.folds_logged = Some(Instant::now());
            tracing::warn!(
                broker = self.settings.broker(),
                folded,
                "messages came too fast: only the newest per topic were kept"
            );
        }
    }
}

/// Room for one read from the socket.
const READ: usize = 16 * 1024;

fn refused(words: &str) -> Failure {
    Failure::Refused(words.to_owned())
}

async fn goodbye(mut stream: Box<dyn Stream>, mut session: Session) {
    let write = async {
        if rumqttc::Disconnect.write(&mut session.out).is_ok() {
            let _ = stream.write_all_buf(&mut session.out).await;
            let _ = stream.shutdown().await;
        }
    };
    let _ = timeout(GOODBYE, write).await;
}

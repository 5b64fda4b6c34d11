//! The loop of an edge: sockets outside, sockets inside, ways to the registrar that are opened again, and between them
//! the core, which decides everything.

mod key;

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::Rng as _;
use tokio::sync::mpsc;

use super::control::{self, Question};
use super::door::{Certificate, Doors, Seat};
use super::ports::Ports;
use super::queue::{Pushed, Writes, queue, trunk};
#[cfg(feature = "quic")]
use super::quic::Resets;
use super::reach::{Fault, reach};
use super::resolve::Resolver;
use super::run::watchdog::Watchdog;
use super::run::{REPORTS, Signal};
use super::sockets::{BURST, Sockets};
use super::stream::{self, Connection, Reached, Report};
use crate::config::home::edge::EdgeConfig;
use crate::edge::{Edge, Input, Output, Side};
use crate::sip::{FlowId, Hop, Transport};

pub use key::{open as open_key, path_fault};

/// Connections of clients in all; one more is closed at once. A descriptor each: `LimitNOFILE=` in the unit.
pub const CONNECTIONS: usize = 16 * 1024;
/// Connections at the inner address.
pub const INNER_CONNECTIONS: usize = 64;
/// How long what is queued for clients may take at the end.
const FAREWELL: Duration = Duration::from_millis(1500);
/// The longest wait before a way to the registrar is tried again; the first is a second. There are few edges, and all
/// their houses wait for it.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How long a way must have held before the next wait is short again.
const STEADY: Duration = Duration::from_secs(30);

/// See [`Parts::read`].
pub type Read = Box<dyn Fn(&EdgeConfig) -> Option<EdgeConfig>>;

/// What an edge is made of.
pub struct Parts {
    /// Its file.
    pub config: Arc<EdgeConfig>,
    /// The key of its tokens.
    pub key: [u8; 32],
    /// All its sockets, those of both sides.
    pub ports: Ports,
    /// Who may come in from outside.
    pub doors: Doors,
    /// The same for the registrar's side.
    pub inner_doors: Doors,
    /// Reads the file again, given what is in force; says itself why it cannot.
    pub read: Read,
    /// Stop and reload.
    pub signals: mpsc::Receiver<Signal>,
    /// Questions of `sipliance status`.
    pub questions: mpsc::Receiver<Question>,
}

/// One way to the registrar.
struct Way {
    /// The connection that it is now.
    flow: Option<FlowId>,
    since: Instant,
    /// Attempts that came to nothing, or did not last.
    vain: u32,
}

/// A connection.
struct Stream {
    writes: Writes,
    /// Its place among those who came in.
    seat: Option<Rc<Seat>>,
}

/// Everything that the loop owns.
pub struct EdgeShell {
    config: Arc<EdgeConfig>,
    read: Read,
    edge: Edge,
    doors: Doors,
    sockets: Sockets,
    /// Where datagrams to the registrar leave.
    inner_socket: Option<(FlowId, SocketAddr)>,
    streams: HashMap<FlowId, Stream>,
    next_flow: u64,
    ways: Vec<Way>,
    resolver: Rc<Resolver>,
    reports: mpsc::Receiver<Report>,
    report_to: mpsc::Sender<Report>,
    inner_reports: mpsc::Receiver<Report>,
    signals: mpsc::Receiver<Signal>,
    questions: mpsc::Receiver<Question>,
}

impl EdgeShell {
    /// Begins to listen.
    pub fn new(parts: Parts) -> Self {
        let Parts { config, key, mut ports, doors, inner_doors, read, signals, questions } = parts;
        let (report_to, reports) = mpsc::channel(REPORTS);
        let (inner_to, inner_reports) = mpsc::channel(REPORTS);
        let mut edge = Edge::new(config.settings(key, rand::random()));
        open_quic(&config, &key, &mut ports, &doors, &report_to);
        let Ports { sockets, listeners, .. } = ports;
        let mut inner_socket = None;
        for (listen, socket) in &sockets {
            let inner = config.inner.contains(listen);
            if inner && inner_socket.is_none() {
                inner_socket = Some((socket.flow, socket.local()));
            }
            edge.handle(Input::Listens(socket.flow, socket.local(), inner), Instant::now());
        }
        for (listen, listener) in listeners {
            let transport = listen.transport;
            match config.inner.contains(&listen) {
                true => inner_doors.open(listener, transport, inner_to.clone()),
                false => doors.open(listener, transport, report_to.clone()),
            };
        }
        let sockets = Sockets::of(sockets.into_iter().map(|(_, socket)| socket).collect());
        let way = || Way { flow: None, since: Instant::now(), vain: 0 };
        Self {
            ways: config.registrar.iter().map(|_| way()).collect(),
            next_flow: sockets.all.len() as u64,
            config,
            read,
            edge,
            doors,
            sockets,
            inner_socket,
            streams: HashMap::new(),
            resolver: Rc::default(),
            reports,
            report_to,
            inner_reports,
            signals,
            questions,
        }
    }

    /// Runs until it is told to stop.
    pub async fn run(mut self) {
        (0..self.ways.len()).for_each(|way| self.connect(way, Duration::ZERO));
        let mut watchdog = Watchdog::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            watchdog.feed();
            let fed = watchdog.next.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let sockets = &self.sockets;
            tokio::select! {
                index = poll_fn(|cx| sockets.poll(cx)) => self.receive(index),
                // What waits is sent below.
                () = poll_fn(|cx| sockets.poll_room(cx)) => {}
                Some(report) = self.reports.recv() => self.on_report(report, Side::Outer),
                Some(report) = self.inner_reports.recv() => self.on_report(report, Side::Inner),
                Some(question) = self.questions.recv() => control::answer_edge(question, || self.edge.status()),
                signal = self.signals.recv() => match signal {
                    Some(Signal::Reload) => self.reload(),
                    Some(Signal::Stop) | None => break,
                },
                _ = tick.tick() => self.put(Input::Tick),
                () = tokio::time::sleep_until(fed.into()) => {}
            }
            self.drain();
        }
        self.farewell().await;
    }

    fn put(&mut self, input: Input<'_>) {
        self.edge.handle(input, Instant::now());
    }

    /// What is queued leaves; new connections are none any more.
    async fn farewell(mut self) {
        let mut open = self.streams.len();
        self.streams.clear();
        let all = async {
            while open > 0
                && let Some(report) = self.reports.recv().await
            {
                // Who comes in now is gone with the report.
                open -= usize::from(matches!(report, Report::Closed(..)));
            }
        };
        let _ = tokio::time::timeout(FAREWELL, all).await;
        self.doors.close().await;
    }

    /// All of it or nothing.
    fn reload(&mut self) {
        let Some(config) = (self.read)(&self.config) else { return };
        match Certificate::read(config.tls.as_ref()) {
            Ok(certificate) => self.doors.renew(&config.origins, certificate),
            Err(why) => return tracing::error!("{why}; what was read before stays in force"),
        }
        self.put(Input::PerSecond(config.per_second));
        self.config = Arc::new(config);
        tracing::info!("the file was read again");
    }

    fn receive(&mut self, index: usize) {
        let (edge, now) = (&mut self.edge, Instant::now());
        // What a far host answered on a socket that is connected to nobody says nothing.
        let _ = self.sockets.receive(index, |hop, bytes| edge.handle(Input::Datagram(hop, bytes), now));
    }

    fn drain(&mut self) {
        let mut sent = 0;
        while let Some(output) = self.edge.poll() {
            match output {
                Output::Send(hop, bytes) => {
                    self.send(hop, bytes);
                    sent += 1;
                    if sent % BURST == 0 {
                        self.sockets.flush(drop);
                    }
                }
                Output::Close(flow) => {
                    self.streams.remove(&flow);
                }
                Output::Known(flow) => {
                    if let Some(seat) = self.streams.get(&flow).and_then(|stream| stream.seat.as_ref()) {
                        seat.welcome();
                    }
                }
                Output::Silent(flow) => {
                    tracing::warn!("the registrar accepts a connection and answers nothing: another is made");
                    self.streams.remove(&flow);
                    if let Some(at) = self.ways.iter().position(|way| way.flow == Some(flow)) {
                        self.connect_again(at);
                    }
                }
                Output::Lost => {
                    let ways = self.config.registrar.iter();
                    if let Some(way) = ways.into_iter().position(|way| way.transport == Some(Transport::Udp))
                    {
                        tracing::warn!("the registrar does not answer by UDP");
                        self.connect(way, Duration::ZERO);
                    }
                }
            }
        }
        self.sockets.flush(drop);
    }

    fn send(&mut self, hop: Hop, bytes: Bytes) {
        if hop.transport == Transport::Udp {
            self.sockets.send(hop, bytes);
        } else if self.streams.get(&hop.flow).is_some_and(|stream| stream.writes.push(bytes) == Pushed::Lost)
        {
            // Who reads nothing is not waited for, and the registrar hears at once that the flow is none.
            self.streams.remove(&hop.flow);
            self.put(Input::Closed(hop.flow));
        }
    }

    /// Looks for the registrar, after a while.
    fn connect(&self, way: usize, wait: Duration) {
        let Some(server) = self.config.registrar.get(way).cloned() else { return };
        let (report_to, resolver, dial) =
            (self.report_to.clone(), self.resolver.clone(), self.config.dial.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(wait).await;
            let report = match reach(way, &server, &dial, &resolver).await {
                Ok(reached) => Report::Connected(way, reached),
                Err(fault) => Report::Failed(way, fault.at(&server)),
            };
            let _ = report_to.send(report).await;
        });
    }

    /// The same, later each time.
    fn connect_again(&mut self, at: usize) {
        let Some(way) = self.ways.get_mut(at) else { return };
        if way.flow.take().is_some() && way.since.elapsed() > STEADY {
            way.vain = 0;
        }
        let longest = Duration::from_secs(1 << way.vain.min(3)).min(LONGEST_WAIT);
        way.vain += 1;
        // Many edges before one registrar do not come back at once.
        self.connect(at, longest.mul_f64(rand::rng().random_range(0.5..=1.0)));
    }

    fn on_report(&mut self, report: Report, side: Side) {
        match report {
            Report::Accepted(connection, seat) => {
                self.add_stream(connection, side, Some(seat));
            }
            Report::Message(flow, bytes, _) => self.put(Input::Frame(flow, &bytes)),
            Report::Read(flow, bytes, _) => self.put(Input::Stream(flow, &bytes)),
            Report::Closed(flow, why) => {
                self.streams.remove(&flow);
                self.put(Input::Closed(flow));
                if let Some(at) = self.ways.iter().position(|way| way.flow == Some(flow)) {
                    tracing::warn!("the connection to the registrar ended: {why}");
                    let way = self.config.registrar.get(at).and_then(|way| way.transport);
                    if let Some(transport) = way {
                        self.put(Input::NoRegistrar(transport, format!("the connection ended: {why}")));
                    }
                    self.connect_again(at);
                }
            }
            Report::Connected(at, Reached::Connection(connection)) => {
                tracing::info!(
                    "the registrar is reached over {} {}",
                    connection.transport.via(),
                    connection.peer
                );
                let flow = self.add_stream(connection, Side::Registrar, None);
                if let Some(way) = self.ways.get_mut(at) {
                    (way.flow, way.since) = (Some(flow), Instant::now());
                }
            }
            Report::Connected(_, Reached::Datagrams(peer)) => {
                let Some((flow, local)) = self.inner_socket else { return };
                tracing::info!("the registrar is asked over UDP {peer}");
                self.put(Input::Registrar(Hop { flow, transport: Transport::Udp, local, peer }));
            }
            Report::Failed(at, Fault { words: why, .. }) => {
                tracing::warn!("the registrar is not reached: {why}");
                let way = self.config.registrar.get(at).and_then(|way| way.transport);
                if let Some(transport) = way {
                    self.put(Input::NoRegistrar(transport, why));
                }
                self.connect_again(at);
            }
        }
    }

    fn add_stream(&mut self, connection: Connection, side: Side, seat: Option<Seat>) -> FlowId {
        let Connection { transport, local, peer, line } = connection;
        self.next_flow += 1;
        let flow = FlowId(self.next_flow);
        // What all clients say to the registrar goes over one connection, and nobody wants that closed.
        let (writes, queue) = if side == Side::Outer { queue(flow, None) } else { trunk(flow) };
        let seat = seat.map(Rc::new);
        self.streams.insert(flow, Stream { writes, seat: seat.clone() });
        let served = stream::serve(flow, line, queue, self.report_to.clone());
        tokio::task::spawn_local(async move {
            served.await;
            drop(seat);
        });
        self.put(Input::Opened(Hop { flow, transport, local, peer }, side));
        flow
    }
}

/// Who was in before a restart with the same key hears of it at the next packet.
#[cfg(feature = "quic")]
fn open_quic(
    config: &EdgeConfig,
    key: &[u8; 32],
    ports: &mut Ports,
    doors: &Doors,
    report_to: &mpsc::Sender<Report>,
) {
    for (listen, socket) in std::mem::take(&mut ports.quic) {
        let inner: Vec<String> = config.inner.iter().map(|inner| inner.addr.to_string()).collect();
        let port = format!("{} {} {}", config.name, inner.join(","), listen.addr);
        doors.open_quic(socket, Some(Resets::new(key, &port)), report_to.clone());
    }
}

/// Without QUIC no such port was opened.
#[cfg(not(feature = "quic"))]
fn open_quic(_: &EdgeConfig, _: &[u8; 32], _: &mut Ports, _: &Doors, _: &mpsc::Sender<Report>) {}

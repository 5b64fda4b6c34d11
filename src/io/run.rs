//! The loop: wait for one thing, hand it to the gateway, carry out what it wants, sleep until its
//! next deadline.

mod pending;
mod records;
mod reload;
mod send;
mod still;
pub(super) mod watchdog;

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::audit::Audit;
use super::control::Question;
use super::door::{Doors, Seat};
use super::drivers::Supervisor;
use super::http::{self, Asked, Given};
use super::journal::{Journal, Records};
use super::ports::Ports;
use super::queue::{Room, Writes, queue};
use super::reach::{Fault, reach, refused};
use super::resolve::Resolver;
use super::route::{Changes, Kernel, News, Routes};
use super::sockets::{BURST, Sockets};
use super::store::Store;
use super::stream::{self, Connection, Reached, Report};
use super::udp::Udp;

use crate::config::{Config, Dial, Wanted};
use crate::gateway::{Gateway, Input, Notice, Output};
use crate::sip::{FlowId, Hop, Transport};
use crate::timer::Now;
use pending::Pending;
use records::{Record, more_is_safe};
pub use reload::Read;
use reload::Ways;
use watchdog::Watchdog;

/// What the loop hears about besides the network.
pub enum Signal {
    /// Stop in good order.
    Stop,
    /// Read the configuration again.
    Reload,
}

/// Everything that the loop owns.
pub struct Shell {
    gateway: Gateway,
    drivers: Supervisor,
    signals: mpsc::Receiver<Signal>,
    questions: mpsc::Receiver<Question>,
    notices: Box<dyn FnMut(&Notice)>,
    audit: Option<Audit>,
    /// Acts whose line is not on the disk yet.
    pending: Pending,
    store: Option<Store>,
    record: Option<Record>,
    resolver: Rc<Resolver>,
    /// What the newest document that was to be kept has become.
    keeping: Option<oneshot::Receiver<bool>>,
    asked: mpsc::Receiver<Asked>,
    /// Requests whose answer the gateway is about to give.
    asking: HashMap<u64, oneshot::Sender<Given>>,
    next_ticket: u64,
    doors: Doors,
    routes: Routes,
    sockets: Sockets,
    /// What is to be written on each connection.
    streams: HashMap<FlowId, Writes>,
    /// Those of them that were full.
    rooms: mpsc::UnboundedReceiver<FlowId>,
    room_to: Room,
    reports: mpsc::Receiver<Report>,
    report_to: mpsc::Sender<Report>,
    next_flow: u64,
    /// The configuration in force.
    config: Arc<Config>,
    read: Option<Read>,
    ways: Ways,
    /// When the loop turned last.
    turned: Instant,
}

/// Reports of streams that wait for the loop; the streams wait when it is full.
pub(super) const REPORTS: usize = 256;
/// How long watchers and registrars get to answer at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What a shell is made of.
pub struct Parts {
    /// The core.
    pub gateway: Gateway,
    /// Its configuration.
    pub config: Arc<Config>,
    /// Reads it again; `None`: nothing can be read.
    pub read: Option<Read>,
    /// The drivers.
    pub drivers: Supervisor,
    /// Where phones come in.
    pub ports: Ports,
    /// Who may come in, and how.
    pub doors: Doors,
    /// Stop and reload.
    pub signals: mpsc::Receiver<Signal>,
    /// Questions of `sipliance status`.
    pub questions: mpsc::Receiver<Question>,
    /// Hears every notice.
    pub notices: Box<dyn FnMut(&Notice)>,
    /// The folder for documents.
    pub store: Option<Store>,
    /// What an earlier run left on record, and where that goes on.
    pub records: Option<(Journal, Records)>,
}

/// The time.
pub fn now() -> Now {
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Now { mono: Instant::now(), wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX) }
}

impl Shell {
    /// Begins to accept connections, and the audit file.
    ///
    /// # Errors
    /// When the system gives no thread for it.
    pub fn new(parts: Parts) -> io::Result<Self> {
        let (report_to, reports) = mpsc::channel(REPORTS);
        let audit = parts.config.audit.as_deref().map(Audit::open).transpose()?;
        let (asked_to, asked) = mpsc::channel(http::REQUESTS);
        let (room_to, rooms) = mpsc::unbounded_channel();
        let mut shell = Self {
            gateway: parts.gateway,
            drivers: parts.drivers,
            signals: parts.signals,
            questions: parts.questions,
            notices: parts.notices,
            audit,
            pending: Pending::default(),
            store: parts.store,
            record: None,
            resolver: Rc::default(),
            keeping: None,
            asked,
            asking: HashMap::new(),
            next_ticket: 0,
            next_flow: 0,
            routes: Routes::default(),
            sockets: Sockets::default(),
            streams: HashMap::new(),
            rooms,
            room_to,
            reports,
            report_to,
            config: parts.config,
            read: parts.read,
            doors: parts.doors,
            ways: Ways::new(asked_to),
            turned: Instant::now(),
        };
        shell.open(parts.ports);
        if let Some((journal, records)) = parts.records {
            shell.resume(journal, records);
        }
        Ok(shell)
    }

    /// Runs until it is told to stop and has said goodbye.
    pub async fn run(mut self) {
        self.drain();
        let mut watchdog = Watchdog::new();
        let mut changes = Changes::listen();
        let mut stopping: Option<Instant> = None;
        while stopping.is_none_or(|until| until > Instant::now() && !self.gateway.is_quiet()) {
            watchdog.feed();
            let held = self.record.as_ref().and_then(Record::next_deadline);
            let deadlines = [self.gateway.next_deadline(), stopping, watchdog.next, held];
            let deadline = deadlines.into_iter().flatten().min();
            let deadline = deadline.unwrap_or_else(|| Instant::now() + Duration::from_secs(3600));
            let sockets = &self.sockets;
            tokio::select! {
                index = poll_fn(|cx| sockets.poll(cx)) => self.receive(index),
                // What waits is sent below.
                _ = poll_fn(|cx| sockets.poll_room(cx)) => {}
                Some(report) = self.reports.recv() => self.on_report(report),
                Some(flow) = self.rooms.recv() => self.gateway.handle(Input::Room { flow }, now()),
                (link, event) = self.drivers.recv() => {
                    self.wake();
                    self.gateway.handle(Input::Driver { link, event }, now());
                }
                Some(asked) = self.asked.recv() => self.on_asked(asked),
                () = more_is_safe(&mut self.record) => {}
                Some(question) = self.questions.recv() => self.on_question(question).await,
                signal = self.signals.recv() => match signal {
                    Some(Signal::Reload) => drop(self.reload().await),
                    Some(Signal::Stop) | None if stopping.is_none() => {
                        self.gateway.handle(Input::Shutdown, now());
                        stopping = Some(Instant::now() + FAREWELL);
                    }
                    Some(Signal::Stop) | None => break,
                },
                () = poll_fn(|cx| self.pending.poll(cx)) => self.go_on(),
                () = changes.due() => self.look(),
                () = tokio::time::sleep_until(deadline.into()) => {
                    self.wake();
                    self.gateway.handle(Input::Deadline, now());
                }
            }
            // Whatever it was that came first.
            self.wake();
            self.drain();
        }
        self.hang_up().await;
        self.drivers.close().await;
        if let Some(store) = &self.store {
            store.close().await;
        }
        if let Some(record) = self.record {
            record.close().await;
        }
        if let Some(audit) = self.audit {
            audit.close().await;
        }
    }

    /// Looks where the ways to servers begin now.
    fn look(&mut self) {
        self.wake();
        for news in self.routes.look(&Kernel) {
            let input = match news {
                News::Gone(flow, why) => {
                    self.leave(flow);
                    Input::Closed { flow, why }
                }
                News::Network => Input::Network,
            };
            self.gateway.handle(input, now());
        }
    }

    /// A flow is of no use any more.
    fn leave(&mut self, flow: FlowId) {
        self.streams.remove(&flow);
        self.sockets.all.retain(|socket| socket.flow != flow || socket.upstream.is_none());
        self.routes.forget(flow);
    }

    /// Ends every connection, after what is queued has left.
    async fn hang_up(&mut self) {
        let mut open = self.streams.len();
        self.streams.clear();
        let ended = async {
            while open > 0 {
                open -= usize::from(matches!(self.reports.recv().await, Some(Report::Closed(..)) | None));
            }
        };
        // Who reads nothing does not keep the gateway.
        let _ = tokio::time::timeout(FAREWELL, ended).await;
        self.doors.close().await;
    }

    fn new_flow(&mut self) -> FlowId {
        self.next_flow += 1;
        FlowId(self.next_flow)
    }

    /// One batch of packets of one socket.
    fn receive(&mut self, index: usize) {
        self.wake();
        let gateway = &mut self.gateway;
        let received = self.sockets.receive(index, |Hop { flow, local, peer: from, .. }, bytes| {
            gateway.handle(Input::Datagram { flow, local, from, bytes }, now());
        });
        let upstream = self.sockets.all.get(index).filter(|socket| socket.upstream.is_some());
        // A connected socket hears so that nobody listens at the far end.
        if let (Err(error), Some(flow)) = (received, upstream.map(|socket| socket.flow)) {
            self.leave(flow);
            self.gateway.handle(Input::Closed { flow, why: refused(&error) }, now());
        }
    }

    /// Carries out what the gateway wants. Between bursts of sends, arrived answers are taken in, so
    /// that a large fan-out does not overflow the kernel's buffer.
    fn drain(&mut self) {
        self.release();
        let mut sent = 0;
        while let Some(output) = self.gateway.poll() {
            match output {
                Output::Send { hop, bytes } => {
                    self.send(hop, bytes);
                    sent += 1;
                    if sent % BURST == 0 {
                        (0..self.sockets.all.len()).for_each(|index| self.receive(index));
                    }
                }
                Output::Connect { upstream, server, dial } => self.connect(upstream, server, dial),
                Output::Close { flow } => self.leave(flow),
                Output::Drive { link, op } => self.want(link, op, false),
                Output::Relay { link, op } => self.want(link, op, true),
                Output::Audit { line, sensitive } => self.record(&line, sensitive),
                Output::Keep { key, body } => {
                    self.keeping = self.store.as_ref().map(|store| store.keep(key, body));
                }
                Output::Record { key, body, haste } => self.put_on_record(key, body, haste),
                Output::Answer { ticket, answer } => {
                    let kept = self.keeping.take().filter(|_| answer.kept);
                    if let Some(to) = self.asking.remove(&ticket) {
                        // Whoever asked may be gone.
                        let _ = to.send(Given { answer, kept });
                    }
                }
                Output::Tell(notice) => (self.notices)(&notice),
            }
        }
        self.pending.turn();
        let gateway = &mut self.gateway;
        self.sockets.flush(|flow| gateway.handle(Input::Room { flow }, now()));
    }

    fn on_asked(&mut self, asked: Asked) {
        self.wake();
        self.next_ticket += 1;
        let (ticket, peer) = (self.next_ticket, asked.peer);
        self.asking.insert(ticket, asked.answer);
        self.gateway.handle(Input::Http { ticket, peer, request: &asked.request }, now());
    }

    fn connect(&mut self, upstream: usize, server: Wanted, dial: Dial) {
        let (report_to, resolver) = (self.report_to.clone(), self.resolver.clone());
        tokio::task::spawn_local(async move {
            let report = match reach(upstream, &server, &dial, &resolver).await {
                Ok(reached) => Report::Connected(upstream, reached),
                Err(fault) => Report::Failed(upstream, fault.at(&server)),
            };
            let _ = report_to.send(report).await;
        });
    }

    fn on_report(&mut self, report: Report) {
        self.wake();
        match report {
            Report::Accepted(connection, seat) => self.add_stream(connection, None, Some(seat)),
            Report::Message(flow, bytes, _) => {
                self.gateway.handle(Input::Frame { flow, bytes: &bytes }, now())
            }
            Report::Read(flow, bytes, _) => self.gateway.handle(Input::Stream { flow, bytes: &bytes }, now()),
            Report::Closed(flow, why) => {
                self.leave(flow);
                self.gateway.handle(Input::Closed { flow, why }, now());
            }
            Report::Connected(upstream, Reached::Connection(connection)) => {
                self.add_stream(connection, Some(upstream), None)
            }
            Report::Connected(upstream, Reached::Datagrams(peer)) => self.add_upstream_socket(upstream, peer),
            Report::Failed(upstream, Fault { words, met }) => {
                self.gateway.handle(Input::ConnectFailed { upstream, why: words, met }, now())
            }
        }
    }

    fn add_stream(&mut self, connection: Connection, upstream: Option<usize>, seat: Option<Seat>) {
        let Connection { transport, local, peer, line } = connection;
        let flow = self.new_flow();
        if upstream.is_some() {
            self.routes.add(flow, local.ip(), peer, line.mover());
        }
        let (writes, queue) = queue(flow, Some(self.room_to.clone()));
        self.streams.insert(flow, writes);
        let served = stream::serve(flow, line, queue, self.report_to.clone());
        tokio::task::spawn_local(async move {
            served.await;
            // Only now: a peer that takes its time over the end still has its place.
            drop(seat);
        });
        // Without the interface of a link-local address, which means nothing to others.
        let local = SocketAddr::new(local.ip(), local.port());
        self.gateway.handle(Input::Opened { flow, transport, local, peer, upstream }, now());
    }

    fn add_upstream_socket(&mut self, upstream: usize, peer: SocketAddr) {
        let flow = self.new_flow();
        self.sockets.all.retain(|socket| socket.upstream != Some(upstream));
        match Udp::connected(flow, peer, upstream) {
            Ok(socket) => {
                let local = socket.local();
                self.sockets.all.push(socket);
                self.routes.add(flow, local.ip(), peer, None);
                self.gateway.handle(
                    Input::Opened { flow, transport: Transport::Udp, local, peer, upstream: Some(upstream) },
                    now(),
                );
            }
            Err(error) => self
                .gateway
                .handle(Input::ConnectFailed { upstream, why: error.to_string(), met: false }, now()),
        }
    }
}

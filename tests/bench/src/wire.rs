//! How messages travel: one socket for all by UDP, or connections among which the watchers are shared out.
//!
//! Connections are served by a thread of their own, by the same code that serves those of the gateway.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use sipliance::config::{Dial, HostPort};
use sipliance::io::queue::{Pushed, Writes, queue};
use sipliance::io::reach::dress;
use sipliance::io::stream::{Report, serve};
use sipliance::sip::wire::frame::{Frame, Framer};
use sipliance::sip::{FlowId, Transport};
use socket2::{Domain, Socket, Type};
use tokio::net::TcpSocket;
use tokio::sync::mpsc as async_mpsc;

/// How the server is reached.
#[derive(Clone, Debug, clap::Args)]
pub struct Way {
    /// Address of the server; on the loopback.
    #[arg(long)]
    pub target: SocketAddr,
    /// Our own address, for UDP.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub from: SocketAddr,
    /// udp, tcp, tls, ws or wss.
    #[arg(long, default_value = "udp", value_parser = transport)]
    pub transport: Transport,
    /// Connections among which the watchers are shared out.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: u32,
    /// The authority of the server's certificate.
    #[arg(long)]
    pub ca: Option<PathBuf>,
    /// The name in it.
    #[arg(long, default_value = "localhost")]
    pub host: String,
}

fn transport(word: &str) -> Result<Transport, String> {
    Transport::of_word(word)
        .filter(|it| *it != Transport::Quic)
        .ok_or_else(|| "udp, tcp, tls, ws or wss".to_owned())
}

/// One of them.
pub enum Wire {
    Datagrams { socket: UdpSocket, target: SocketAddr, local: SocketAddr, buffer: Vec<u8> },
    Connections(Connections),
}

/// Connections, and the thread that serves them.
pub struct Connections {
    orders: async_mpsc::UnboundedSender<Order>,
    events: Receiver<Event>,
    locals: Vec<SocketAddr>,
    /// Connections that ended, and were not ended by us.
    pub lost: u64,
}

enum Order {
    Send(usize, Bytes),
    /// Ends a connection without a word and makes it anew.
    Again(usize),
}

enum Event {
    Opened(usize, SocketAddr),
    Message(usize, Bytes),
    Closed(usize, String),
}

/// Connections from one address that a server may be expected to take.
const PER_ADDRESS: usize = 48;

impl Wire {
    /// Opens everything.
    pub fn open(way: &Way) -> Self {
        if way.transport == Transport::Udp {
            let socket = Socket::new(Domain::for_address(way.from), Type::DGRAM, None).expect("a socket");
            // What thousands of watchers are sent in one go; the kernel may grant less.
            let _ = socket.set_recv_buffer_size(32 << 20);
            let _ = socket.set_send_buffer_size(4 << 20);
            socket.bind(&way.from.into()).expect("an address of our own");
            let socket: UdpSocket = socket.into();
            socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let local = socket.local_addr().unwrap();
            return Self::Datagrams { socket, target: way.target, local, buffer: vec![0; 65_536] };
        }
        let count = way.connections as usize;
        let (orders, taken) = async_mpsc::unbounded_channel();
        let (tell, events) = mpsc::channel();
        let way = way.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, Hub::new(way, tell).run(taken));
        });
        let mut connections =
            Connections { orders, events, locals: vec![SocketAddr::from(([0; 4], 0)); count], lost: 0 };
        for nth in 0..count {
            connections.again(nth);
        }
        Self::Connections(connections)
    }

    /// The address that the messages of that watcher come from.
    pub fn local(&self, nth: usize) -> SocketAddr {
        match self {
            Self::Datagrams { local, .. } => *local,
            Self::Connections(all) => all.locals[nth % all.locals.len()],
        }
    }

    /// Connections that ended by themselves.
    pub fn lost(&self) -> u64 {
        if let Self::Connections(all) = self { all.lost } else { 0 }
    }

    /// Ends the connection of a watcher and makes another; true where there is one.
    pub fn again(&mut self, nth: usize) -> bool {
        let Self::Connections(all) = self else { return false };
        all.again(nth % all.locals.len());
        true
    }

    /// How many connections there are.
    pub fn count(&self) -> usize {
        if let Self::Connections(all) = self { all.locals.len() } else { 1 }
    }

    /// Sends for the watcher `nth`.
    pub fn send(&self, nth: usize, bytes: &[u8]) {
        match self {
            Self::Datagrams { socket, target, .. } => {
                let _ = socket.send_to(bytes, *target);
            }
            Self::Connections(all) => {
                let order = Order::Send(nth % all.locals.len(), Bytes::copy_from_slice(bytes));
                all.orders.send(order).expect("the thread of the connections");
            }
        }
    }

    /// The next message, and on which connection it came; `None` when there was none for a millisecond.
    pub fn receive(&mut self) -> Option<(usize, Bytes)> {
        match self {
            Self::Datagrams { socket, target, buffer, .. } => match socket.recv_from(buffer) {
                Ok((length, from)) if from == *target => Some((0, Bytes::copy_from_slice(&buffer[..length]))),
                Ok(_) => None,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
                Err(error) => panic!("receiving: {error}"),
            },
            Self::Connections(all) => all.receive(),
        }
    }
}

impl Connections {
    fn again(&mut self, nth: usize) {
        self.orders.send(Order::Again(nth)).expect("the thread of the connections");
        loop {
            match self.events.recv().expect("the thread of the connections") {
                Event::Opened(which, local) if which == nth => {
                    self.locals[nth] = local;
                    return;
                }
                Event::Closed(which, why) if which == nth => panic!("no connection: {why}"),
                // What came before is of no use any more; requests come again.
                _ => {}
            }
        }
    }

    fn receive(&mut self) -> Option<(usize, Bytes)> {
        match self.events.recv_timeout(Duration::from_millis(1)) {
            Ok(Event::Message(nth, bytes)) => Some((nth, bytes)),
            Ok(Event::Closed(nth, why)) => {
                eprintln!("sipliance-load: connection {nth} ended: {why}");
                self.lost += 1;
                None
            }
            Ok(Event::Opened(..)) | Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the thread of the connections ended"),
        }
    }
}

/// What the thread owns.
struct Hub {
    way: Way,
    tell: mpsc::Sender<Event>,
    report_to: async_mpsc::Sender<Report>,
    reports: async_mpsc::Receiver<Report>,
    /// By number: the flow, what is to be written, and what was cut so far.
    open: Vec<Option<(FlowId, Writes, Framer)>>,
    numbers: HashMap<FlowId, usize>,
    flows: u64,
}

impl Hub {
    fn new(way: Way, tell: mpsc::Sender<Event>) -> Self {
        let (report_to, reports) = async_mpsc::channel(256);
        let open = (0..way.connections).map(|_| None).collect();
        Self { way, tell, report_to, reports, open, numbers: HashMap::new(), flows: 0 }
    }

    async fn run(mut self, mut orders: async_mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Again(nth)) => self.again(nth).await,
                    Some(Order::Send(nth, bytes)) => {
                        if let Some((_, writes, _)) = &self.open[nth] && writes.push(bytes) == Pushed::Lost {
                            self.open[nth] = None;
                        }
                    }
                },
                Some(report) = self.reports.recv() => self.on_report(report),
            }
        }
    }

    async fn again(&mut self, nth: usize) {
        self.open[nth] = None;
        let event = match self.connect(nth).await {
            Ok(local) => Event::Opened(nth, local),
            Err(why) => Event::Closed(nth, why),
        };
        let _ = self.tell.send(event);
    }

    async fn connect(&mut self, nth: usize) -> Result<SocketAddr, String> {
        let words = |error: std::io::Error| error.to_string();
        let socket = TcpSocket::new_v4().map_err(words)?;
        let last = u8::try_from(2 + nth / PER_ADDRESS).expect("few connections");
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)), 0)).map_err(words)?;
        let stream = socket.connect(self.way.target).await.map_err(words)?;
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr().map_err(words)?;
        let server = HostPort { host: self.way.host.clone(), port: self.way.target.port() };
        let dial = Dial {
            names: vec![self.way.host.clone()],
            ca: self.way.ca.clone(),
            path: "/".to_owned(),
            ..Dial::default()
        };
        let line = dress(stream, &server, self.way.transport, &dial).await?;
        self.flows += 1;
        let flow = FlowId(self.flows);
        let (writes, waiting) = queue(flow, None);
        tokio::task::spawn_local(serve(flow, line, waiting, self.report_to.clone()));
        self.open[nth] = Some((flow, writes, Framer::of_client()));
        self.numbers.insert(flow, nth);
        Ok(local)
    }

    fn on_report(&mut self, report: Report) {
        let (flow, bytes, framed) = match report {
            Report::Read(flow, bytes, _) => (flow, bytes, false),
            Report::Message(flow, bytes, _) => (flow, bytes, true),
            Report::Closed(flow, why) => {
                let nth = self.find(flow);
                self.numbers.remove(&flow);
                if let Some(nth) = nth {
                    self.open[nth] = None;
                    let _ = self.tell.send(Event::Closed(nth, why));
                }
                return;
            }
            _ => return,
        };
        let Some(nth) = self.find(flow) else { return };
        if framed {
            let _ = self.tell.send(Event::Message(nth, bytes));
            return;
        }
        let Some((_, _, framer)) = &mut self.open[nth] else { return };
        framer.push(&bytes);
        while let Some(frame) = framer.next_frame() {
            if let Frame::Message(bytes) = frame {
                let _ = self.tell.send(Event::Message(nth, bytes));
            }
        }
    }

    fn find(&self, flow: FlowId) -> Option<usize> {
        let nth = *self.numbers.get(&flow)?;
        // One that was ended by us is not asked any more.
        self.open[nth].as_ref().is_some_and(|(of, ..)| *of == flow).then_some(nth)
    }
}

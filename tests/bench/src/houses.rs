//! Many houses before a provider: the real core, once for each house, over real sockets on the loopback. What
//! is measured is what gateways do, and no script that plays them.

mod home;
mod tally;
mod wires;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::BufRead as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use serde_json::json;
use sipliance::config::home::Profiles;
use sipliance::config::{Config, LinkId};
use sipliance::gateway::{Gateway, Input, Output};
use sipliance::io::reach::Fault;
use sipliance::io::run::now;
use sipliance::io::stream::{Reached, Report};
use sipliance::sip::{FlowId, Transport};
use sipliance_driver::{Channel, Event, Op};
use tokio::sync::mpsc;

use self::tally::{Standing, Tally};
use self::wires::{Datagram, REPORTS, Wires};
use crate::server::Server;

/// Many houses before a provider.
///
/// It prints a line of JSON each second, and reads words: `change SECONDS` lets every plug change once within that
/// time, `power` takes the power of all houses away and gives it back, `network` tells all that theirs is there again,
/// `stop` ends all in good order.
#[derive(Debug, Parser)]
pub struct Args {
    /// Houses; each has two descriptors with two edges.
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=9_000))]
    houses: u32,
    /// Plugs in each, with an address of their own.
    #[arg(short = 'm', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=8))]
    appliances: u32,
    /// Edges, in this order for houses with an even number and the other way round for the rest: `tls:127.0.0.3:5061`.
    #[arg(long = "edge", required = true, value_parser = edge)]
    edges: Vec<(Transport, SocketAddr)>,
    /// The first of them is the registrar itself.
    #[arg(long)]
    direct: bool,
    /// Domain of the provider.
    #[arg(long, default_value = "example.com")]
    domain: String,
    /// Password of every account.
    #[arg(long)]
    password: String,
    /// Lifetime of registrations in seconds.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    expires: u32,
    /// Publish the presence of each plug.
    #[arg(long)]
    publish: bool,
    /// The first house has the address behind this one.
    #[arg(long, default_value = "127.64.0.0")]
    from: Ipv4Addr,
    /// The authority of the edges' certificates.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The name in them.
    #[arg(long, default_value = "edge.example.com")]
    name: String,
    /// It ends after so many seconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=7_200))]
    seconds: u64,
    /// Processes whose processor time and memory are told: NAME=PID.
    #[arg(long = "pid", value_parser = process)]
    pids: Vec<(String, u32)>,
}

fn edge(text: &str) -> Result<(Transport, SocketAddr), String> {
    let (word, addr) = text.split_once(':').ok_or("it is written transport:address:port")?;
    let transport = Transport::of_word(word).ok_or("no such transport")?;
    let addr: SocketAddr = addr.parse().map_err(|_| "no address and port")?;
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Ok((transport, addr)),
        _ => Err("only addresses of the loopback (IPv4) are loaded".to_owned()),
    }
}

fn process(text: &str) -> Result<(String, u32), String> {
    let (name, pid) = text.split_once('=').ok_or("it is written NAME=PID")?;
    Ok((name.to_owned(), pid.parse().map_err(|_| "no number")?))
}

/// One house.
struct House {
    gateway: Gateway,
    config: Arc<Config>,
    source: Ipv4Addr,
    /// For when its deadline is set.
    armed: Option<Instant>,
    /// Whether its plugs are on.
    on: bool,
    /// It was touched since the last line.
    touched: bool,
}

/// Flows of one house at most.
const WAYS: usize = 8;
/// The broker of a house.
const LINK: LinkId = LinkId(0);

struct Town {
    args: Args,
    houses: Vec<House>,
    standing: Vec<Standing>,
    wires: Wires,
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    changes: BinaryHeap<Reverse<(Instant, usize)>>,
    tally: Tally,
    /// How often the power was gone: what was under way before is none of the gateways' business after it.
    run: usize,
    begun: Instant,
}

/// Runs until its time is over or `stop` is read.
pub fn run(args: Args) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    tokio::task::LocalSet::new().block_on(&runtime, live(args))
}

async fn live(args: Args) -> Result<(), String> {
    let (report_to, mut reports) = mpsc::channel(REPORTS);
    let (datagram_to, mut datagrams) = mpsc::channel(REPORTS);
    let mut words = words();
    let servers: Vec<(String, Server)> =
        args.pids.iter().map(|(name, pid)| (name.clone(), Server::new(*pid))).collect();
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let mut town = Town::build(args, Wires::new(report_to, datagram_to))?;
    let mut looks: Vec<_> = servers.iter().map(|(_, server)| server.look()).collect();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    let mut stopping: Option<Instant> = None;
    while Instant::now() < stopping.unwrap_or(until) {
        let due = [&town.deadlines, &town.changes].map(|heap| heap.peek().map(|Reverse((at, _))| *at));
        let due = due.into_iter().flatten().min().unwrap_or(until);
        tokio::select! {
            Some(report) = reports.recv() => town.on_report(report),
            Some(datagram) = datagrams.recv() => town.on_datagram(datagram),
            () = tokio::time::sleep_until(due.into()) => town.on_deadlines(),
            _ = second.tick() => {
                let mut line = town.line();
                for ((name, server), before) in servers.iter().zip(&mut looks) {
                    let now = server.look();
                    line[name] = json!({"cpu_us": now.micros_since(before), "rss_kb": now.resident()});
                    *before = now;
                }
                println!("{line}");
            }
            Some(word) = words.recv() => {
                if town.on_word(&word)? {
                    stopping = Some(Instant::now() + Duration::from_secs(4));
                }
            }
        }
    }
    Ok(())
}

/// Lines of the standard input, from a thread of their own.
fn words() -> mpsc::Receiver<String> {
    let (to, words) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if to.blocking_send(line).is_err() {
                return;
            }
        }
        // Nobody speaks any more; the time alone ends it.
        std::mem::forget(to);
    });
    words
}

impl Town {
    /// All houses, and what one of them takes.
    fn build(args: Args, wires: Wires) -> Result<Self, String> {
        let profiles = Profiles::shipped();
        let own = Server::new(std::process::id());
        let mut town = Self {
            houses: Vec::new(),
            standing: vec![Standing::default(); args.houses as usize],
            wires,
            deadlines: BinaryHeap::new(),
            changes: BinaryHeap::new(),
            tally: Tally::default(),
            run: 0,
            begun: Instant::now(),
            args,
        };
        let before = own.look().resident();
        let mut configs = Vec::new();
        for nth in 0..town.args.houses as usize {
            let args = &mut town.args;
            // Half of them have the other edge first.
            args.edges.rotate_left(usize::from(nth > 0 && !args.direct));
            configs.push(home::config(args, nth, &profiles)?);
        }
        let configured = own.look().resident();
        for (nth, config) in configs.into_iter().enumerate() {
            let source = home::source(&town.args, nth);
            let gateway = gateway(&config, nth, 0);
            town.houses.push(House { gateway, config, source, armed: None, on: false, touched: true });
        }
        let after = own.look().resident();
        let each = |kb: u64| (kb as f64 / f64::from(town.args.houses) * 10.0).round() / 10.0;
        println!(
            "{}",
            json!({
                "houses": town.args.houses, "appliances": town.args.appliances, "flows": town.args.edges.len(),
                "kb_config": each(configured - before), "kb_core": each(after - configured),
            })
        );
        town.begun = Instant::now();
        (0..town.houses.len()).for_each(|house| town.begin(house));
        Ok(town)
    }

    /// The broker of a house is there, and tells how its plugs stand.
    fn begin(&mut self, house: usize) {
        self.feed(house, Input::Driver { link: LINK, event: Event::Up });
        for plug in 1..=self.args.appliances {
            let online = read(&format!("tele/plug{plug}/LWT"), "Online", true);
            self.feed(house, Input::Driver { link: LINK, event: online });
        }
        self.tell(house);
    }

    fn tell(&mut self, house: usize) {
        for plug in 1..=self.args.appliances {
            let word = if self.houses[house].on { "ON" } else { "OFF" };
            let event = read(&format!("stat/plug{plug}/POWER"), word, false);
            self.feed(house, Input::Driver { link: LINK, event });
        }
    }

    fn feed(&mut self, house: usize, input: Input<'_>) {
        self.houses[house].gateway.handle(input, now());
        self.drain(house);
    }

    /// Carries out what a gateway wants, as its own loop does.
    fn drain(&mut self, house: usize) {
        let mut refused: Vec<(FlowId, String)> = Vec::new();
        loop {
            while let Some(output) = self.houses[house].gateway.poll() {
                match output {
                    Output::Send { hop, bytes } => {
                        self.tally.sent(&bytes);
                        if let Err(why) = self.wires.send(hop, bytes) {
                            refused.push((hop.flow, why));
                        }
                    }
                    Output::Connect { upstream, server, dial } => {
                        self.tally.connect();
                        let way = (self.run * self.houses.len() + house) * WAYS + upstream;
                        self.wires.connect(way, self.houses[house].source, server, dial);
                    }
                    Output::Close { flow } => self.wires.close(flow),
                    Output::Drive { link, op: Op::Write { id, .. } } => {
                        let event = Event::Done { id, result: Ok(()) };
                        self.houses[house].gateway.handle(Input::Driver { link, event }, now());
                    }
                    _ => {}
                }
            }
            let Some((flow, why)) = refused.pop() else { break };
            self.wires.close(flow);
            self.tally.lost();
            self.houses[house].gateway.handle(Input::Closed { flow, why }, now());
        }
        let of = &mut self.houses[house];
        of.touched = true;
        let next = of.gateway.next_deadline();
        if next != of.armed {
            of.armed = next;
            self.deadlines.extend(next.map(|at| Reverse((at, house))));
        }
    }

    fn on_deadlines(&mut self) {
        let time = Instant::now();
        while let Some(Reverse((at, house))) = self.deadlines.peek().copied().filter(|of| of.0.0 <= time) {
            self.deadlines.pop();
            // Otherwise it was set to another time meanwhile.
            if self.houses[house].armed == Some(at) {
                self.houses[house].armed = None;
                self.feed(house, Input::Deadline);
            }
        }
        while let Some(Reverse((_, house))) = self.changes.peek().copied().filter(|of| of.0.0 <= time) {
            self.changes.pop();
            self.houses[house].on ^= true;
            self.tell(house);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Read(flow, bytes, _) => {
                self.tally.got(&bytes);
                if let Some((house, _)) = self.wires.owner(flow) {
                    self.feed(house, Input::Stream { flow, bytes: &bytes });
                }
            }
            Report::Message(flow, bytes, _) => {
                self.tally.got(&bytes);
                if let Some((house, _)) = self.wires.owner(flow) {
                    self.feed(house, Input::Frame { flow, bytes: &bytes });
                }
            }
            Report::Closed(flow, why) => {
                if let Some((house, _)) = self.wires.ended(flow) {
                    self.tally.lost();
                    self.feed(house, Input::Closed { flow, why });
                }
            }
            Report::Connected(way, reached) => self.on_reached(way, reached),
            Report::Failed(way, Fault { words: why, met }) => {
                if let Some((house, upstream)) = self.place(way) {
                    self.feed(house, Input::ConnectFailed { upstream, why, met });
                }
            }
            Report::Accepted(..) => {}
        }
    }

    /// The house and the way that were meant, unless the power was gone meanwhile.
    fn place(&self, way: usize) -> Option<(usize, usize)> {
        let (house, upstream) = (way / WAYS, way % WAYS);
        (house / self.houses.len() == self.run).then_some((house % self.houses.len(), upstream))
    }

    fn on_reached(&mut self, way: usize, reached: Reached) {
        let Some((house, upstream)) = self.place(way) else { return };
        let opened = match reached {
            Reached::Connection(connection) => Ok(self.wires.add_stream(house, connection)),
            Reached::Datagrams(peer) => self.wires.add_socket(house, self.houses[house].source, peer),
        };
        let input = match opened {
            Ok(hop) => Input::Opened {
                flow: hop.flow,
                transport: hop.transport,
                local: hop.local,
                peer: hop.peer,
                upstream: Some(upstream),
            },
            Err(error) => Input::ConnectFailed { upstream, why: error.to_string(), met: false },
        };
        self.feed(house, input);
    }

    fn on_datagram(&mut self, (flow, got): Datagram) {
        let Some((house, hop)) = self.wires.owner(flow) else { return };
        match got {
            Ok(bytes) => {
                self.tally.got(&bytes);
                self.feed(house, Input::Datagram { flow, local: hop.local, from: hop.peer, bytes: &bytes });
            }
            Err(why) => {
                self.wires.close(flow);
                self.tally.lost();
                self.feed(house, Input::Closed { flow, why });
            }
        }
    }

    /// Whether it was the last word.
    fn on_word(&mut self, line: &str) -> Result<bool, String> {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("change") => {
                let within: f64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
                let count = self.houses.len() as f64;
                let at = |nth: usize| Instant::now() + Duration::from_secs_f64(within * nth as f64 / count);
                self.changes.extend((0..self.houses.len()).map(|nth| Reverse((at(nth), nth))));
            }
            Some("power") => self.power(),
            Some("network") => (0..self.houses.len()).for_each(|house| self.feed(house, Input::Network)),
            Some("stop") => {
                (0..self.houses.len()).for_each(|house| self.feed(house, Input::Shutdown));
                return Ok(true);
            }
            _ => return Err(format!("no such word: {line}")),
        }
        Ok(false)
    }

    fn power(&mut self) {
        self.run += 1;
        self.wires.cut();
        self.deadlines.clear();
        for nth in 0..self.houses.len() {
            let house = &mut self.houses[nth];
            house.gateway = gateway(&house.config, nth, self.run);
            house.armed = None;
        }
        (0..self.houses.len()).for_each(|house| self.begin(house));
    }

    fn line(&mut self) -> serde_json::Value {
        for (house, standing) in self.houses.iter_mut().zip(&mut self.standing) {
            if std::mem::take(&mut house.touched) {
                *standing = Standing::of(&house.gateway.status(now()));
            }
        }
        self.tally.take(self.begun.elapsed().as_secs_f64(), &self.standing)
    }
}

/// What follows from chance follows from the number of the house and of the run.
fn gateway(config: &Arc<Config>, nth: usize, run: usize) -> Gateway {
    let mut seed = [7; 32];
    for (place, byte) in (nth as u64).to_le_bytes().into_iter().chain((run as u64).to_le_bytes()).enumerate()
    {
        seed[place] = byte;
    }
    Gateway::new(config.clone(), seed, now())
}

fn read(channel: &str, payload: &str, retained: bool) -> Event {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Event::Read { channel: Channel::new(channel), payload, retained }
}

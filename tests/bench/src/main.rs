//! Load on the loopback: subscriptions, and one change to all of them.
//!
//! It answers digest challenges, so the same run fits servers with and without logins. Times are taken
//! here; the processor time and memory of the server are read from `/proc` when its pid is given. One
//! line of JSON per phase.

// A tool of tests may fail loudly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod churn;
mod houses;
mod server;
mod watcher;
mod wire;

use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;
use sipliance::sip::Transport;

use self::server::Server;
use self::watcher::Crowd;
use self::wire::{Way, Wire};

/// What makes the watched thing change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Trigger {
    /// A MESSAGE with `--words`, as the gateway takes it.
    Message,
    /// A PUBLISH of presence, as presence servers take it.
    Publish,
    /// Nothing: phases without a change.
    None,
}

/// Load a SIP server with watchers, or with houses.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    watchers: Option<Args>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Churn(Box<churn::Args>),
    Houses(houses::Args),
}

/// Watchers.
#[derive(Debug, clap::Args)]
struct Args {
    /// Address of the server; on the loopback.
    #[arg(long)]
    target: std::net::SocketAddr,
    /// Our own address, for UDP.
    #[arg(long, default_value = "127.0.0.1:0")]
    from: std::net::SocketAddr,
    /// udp, tcp, tls, ws or wss.
    #[arg(long, default_value = "udp", value_parser = wire::transport)]
    transport: Transport,
    /// Connections among which the watchers are shared out.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// The authority of the server's certificate.
    #[arg(long)]
    ca: Option<std::path::PathBuf>,
    /// The name in it.
    #[arg(long, default_value = "localhost")]
    host: String,
    /// Domain of the addresses.
    #[arg(long, default_value = "home.local")]
    domain: String,
    /// User part of the address that is watched; `{}` in it becomes the number of one of `names`, in five digits.
    #[arg(long, default_value = "plug")]
    name: String,
    /// How many addresses there are, each of which is watched in its turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    names: u32,
    /// Stay for so many seconds, and tell each second who has a document with `sign` in it.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    stay: u64,
    /// See `stay`.
    #[arg(long, default_value = "")]
    sign: String,
    /// User name of the watchers and of the one who acts.
    #[arg(long, default_value = "anna")]
    user: String,
    /// The password.
    #[arg(long, default_value = "")]
    password: String,
    /// Event package.
    #[arg(long, default_value = "presence")]
    event: String,
    /// Watchers.
    #[arg(short = 'n', long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=40_000))]
    watchers: u32,
    /// SUBSCRIBEs under way at once.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    window: u32,
    /// Changes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    changes: u32,
    /// What changes it.
    #[arg(long, value_enum, default_value_t = Trigger::Message)]
    trigger: Trigger,
    /// What the MESSAGEs say, one after the other.
    #[arg(long, default_values_t = ["on".to_owned(), "off".to_owned()])]
    words: Vec<String>,
    /// Pause between two changes, in milliseconds; at least the interval of the package.
    #[arg(long, default_value_t = 1500)]
    pause: u64,
    /// Every dialog begins without a login, as with phones, so that each costs a 401; else one challenge is used
    /// for as long as it holds.
    #[arg(long)]
    fresh: bool,
    /// Refreshes of all subscriptions.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    refreshes: u32,
    /// Questions by MESSAGE.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    questions: u32,
    /// What they ask.
    #[arg(long, default_value = "?")]
    question: String,
    /// Registrations of one phone.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    registers: u32,
    /// Process of the server, for its processor time and memory.
    #[arg(long)]
    pid: Option<u32>,
}

/// A phase that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(60);

impl Args {
    fn way(&self) -> Way {
        let Self { target, from, transport, connections, .. } = *self;
        Way { target, from, transport, connections, ca: self.ca.clone(), host: self.host.clone() }
    }
}

fn main() {
    let cli = Cli::parse();
    let fine = match (cli.command, cli.watchers) {
        (Some(Command::Churn(args)), _) => churn::run(&args),
        (Some(Command::Houses(args)), _) => {
            houses::run(args).inspect_err(|why| eprintln!("sipliance-load: {why}")).is_ok()
        }
        (None, Some(args)) => watch(&args),
        (None, None) => return,
    };
    if !fine {
        std::process::exit(1);
    }
}

fn watch(args: &Args) -> bool {
    check(args);
    let server = args.pid.map(Server::new);
    let server = server.as_ref();
    let mut crowd = Crowd::new(Wire::open(args.way()), args);
    let ok = subscribe(&mut crowd, args, server)
        && refresh(&mut crowd, args, server)
        && ask(&mut crowd, args, server)
        && (args.trigger == Trigger::None || changes(&mut crowd, args, server));
    stay(&mut crowd, args, server);
    leave(&mut crowd, server);
    ok && crowd.lost() == 0
}

/// Only addresses of the loopback are loaded.
pub(crate) fn check(args: &Args) {
    if !args.target.ip().is_loopback() || !args.from.ip().is_loopback() {
        eprintln!("sipliance-load: only addresses of the loopback are loaded");
        std::process::exit(2);
    }
}

fn subscribe(crowd: &mut Crowd, args: &Args, server: Option<&Server>) -> bool {
    let (begin, before) = (Instant::now(), server.map(Server::look));
    let mut next = 0;
    while crowd.watching() + crowd.refused() < args.watchers as usize && begin.elapsed() < PATIENCE {
        while next < args.watchers && crowd.under_way() < args.window as usize {
            crowd.subscribe(next as usize, 3600);
            next += 1;
        }
        crowd.turn();
    }
    let seconds = begin.elapsed().as_secs_f64();
    let done = crowd.watching();
    crowd.settle();
    let mut line = json!({
        "phase": "subscribe", "watchers": args.watchers, "done": done, "seconds": round(seconds),
        "per_second": (done as f64 / seconds).round(), "repeats": crowd.take_repeats(), "refused": crowd.take_refusals(),
    });
    add_times(&mut line, crowd.take_times());
    server::add(&mut line, server, before);
    server::add_each(&mut line, done);
    println!("{line}");
    done == args.watchers as usize
}

/// Many of one thing, so many at once.
fn many(
    crowd: &mut Crowd,
    server: Option<&Server>,
    (phase, count, window): (&str, usize, u32),
    mut begin: impl FnMut(&mut Crowd, usize),
) -> bool {
    if count == 0 {
        return true;
    }
    let (since, before, mut next, mut done) = (Instant::now(), server.map(Server::look), 0, 0);
    crowd.take_done();
    while done < count && since.elapsed() < PATIENCE {
        while next < count && crowd.busy() < window as usize {
            begin(crowd, next);
            next += 1;
        }
        crowd.turn();
        done += crowd.take_done();
    }
    let seconds = since.elapsed().as_secs_f64();
    let mut line = json!({
        "phase": phase, "count": count, "done": done, "seconds": round(seconds),
        "per_second": (done as f64 / seconds).round(), "repeats": crowd.take_repeats(), "refused": crowd.take_refusals(),
    });
    server::add(&mut line, server, before);
    server::add_each(&mut line, done);
    println!("{line}");
    done >= count
}

fn refresh(crowd: &mut Crowd, args: &Args, server: Option<&Server>) -> bool {
    let each = args.watchers as usize;
    many(crowd, server, ("refresh", each * args.refreshes as usize, args.window), |crowd, nth| {
        crowd.refresh(nth % each)
    })
}

fn ask(crowd: &mut Crowd, args: &Args, server: Option<&Server>) -> bool {
    let (asked, registered) = (args.questions as usize, args.registers as usize);
    // Who asks and registers is one phone, and does one thing at a time.
    many(crowd, server, ("question", asked, 1), |crowd, nth| crowd.ask(nth, &args.question))
        && many(crowd, server, ("register", registered, 1), |crowd, nth| crowd.register(nth, !args.fresh))
}

fn changes(crowd: &mut Crowd, args: &Args, server: Option<&Server>) -> bool {
    let mut all = true;
    for nth in 0..args.changes {
        let rest = Instant::now() + Duration::from_millis(args.pause);
        while Instant::now() < rest {
            crowd.turn();
        }
        let before = server.map(Server::look);
        let begin = crowd.change(nth as usize);
        while crowd.heard() < args.watchers as usize && begin.elapsed() < PATIENCE {
            crowd.turn();
        }
        let seconds = begin.elapsed().as_secs_f64();
        let heard = crowd.heard();
        all &= heard == args.watchers as usize;
        let mut line = json!({
            "phase": "change", "nth": nth, "watchers": args.watchers, "heard": heard, "seconds": round(seconds),
            "per_second": (heard as f64 / seconds).round(), "refused": crowd.take_refusals(),
        });
        add_times(&mut line, crowd.take_times());
        crowd.settle();
        server::add(&mut line, server, before);
        server::add_each(&mut line, heard);
        println!("{line}");
    }
    all
}

fn stay(crowd: &mut Crowd, args: &Args, server: Option<&Server>) {
    let begin = Instant::now();
    for second in 1..=args.stay {
        let before = server.map(Server::look);
        while begin.elapsed() < Duration::from_secs(second) {
            crowd.turn();
        }
        let mut line = json!({
            "phase": "stay", "t": second, "watching": crowd.watching(), "notifies": crowd.take_notifies(),
            "showing": crowd.showing(), "refused": crowd.take_refusals(),
        });
        server::add(&mut line, server, before);
        println!("{line}");
    }
}

/// Ends every subscription, so that the next run begins with an empty server.
fn leave(crowd: &mut Crowd, server: Option<&Server>) {
    let (begin, before) = (Instant::now(), server.map(Server::look));
    crowd.leave();
    while crowd.watching() > 0 && begin.elapsed() < PATIENCE {
        crowd.turn();
    }
    let mut line =
        json!({"phase": "leave", "left": crowd.watching(), "seconds": round(begin.elapsed().as_secs_f64())});
    server::add(&mut line, server, before);
    println!("{line}");
}

fn add_times(line: &mut serde_json::Value, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |share: f64| {
        let place = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| round(time.as_secs_f64() * 1000.0))
    };
    line["first_ms"] = ms(0.0).into();
    line["p50_ms"] = ms(0.5).into();
    line["p99_ms"] = ms(0.99).into();
    line["max_ms"] = ms(1.0).into();
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

//! A long run: watchers come, go, refresh and break off while the watched thing changes. Memory and open files of
//! the server must stay as they are once everybody has been there.

use std::time::{Duration, Instant};

use serde_json::json;

use super::server::Server;
use super::watcher::Crowd;
use super::wire::Wire;

/// Lets watchers come and go for a time; fails where memory or open files of the server grow.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    load: super::Args,
    /// How long, in seconds.
    #[arg(long, default_value_t = 1200, value_parser = clap::value_parser!(u32).range(10..=86_400))]
    seconds: u32,
    /// Things done in a second.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=2_000))]
    rate: u32,
    /// Seconds between two lines.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    every: u32,
    /// How much the memory may grow between the first quarter and the end, in kB.
    #[arg(long, default_value_t = 1024)]
    growth: u64,
}

/// What is done next, out of 100.
const SUBSCRIBE: u64 = 35;
const LEAVE: u64 = SUBSCRIBE + 30;
const REFRESH: u64 = LEAVE + 30;
const CHANGE: u64 = REFRESH + 3;

/// False when something grew.
pub fn run(args: &Args) -> bool {
    super::check(&args.load.way);
    let server = args.load.pid.map(Server::new);
    let mut crowd = Crowd::new(Wire::open(&args.load.way), &args.load);
    let (begin, length) = (Instant::now(), Duration::from_secs(u64::from(args.seconds)));
    let (mut done, mut told, mut changes, mut first) = (0_u64, 0, 0, None);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    while begin.elapsed() < length {
        let due = begin.elapsed().as_millis() as u64 * u64::from(args.rate) / 1000;
        // What cannot be done in time is left out.
        if done < due {
            done = done.max(due.saturating_sub(u64::from(args.rate))) + 1;
            step(&mut crowd, args, &mut random, &mut changes);
        }
        crowd.turn_briefly();
        let period = begin.elapsed().as_secs() / u64::from(args.every);
        if period > told {
            told = period;
            let (memory, files) = look(server.as_ref());
            if begin.elapsed() >= length / 4 {
                first.get_or_insert((memory, files));
            }
            let line = json!({
                "phase": "churn", "seconds": begin.elapsed().as_secs(), "done": done, "watchers": crowd.watching(),
                "changes": changes, "rss_kb": memory, "files": files, "lost": crowd.lost(), "refused": crowd.take_refusals(),
            });
            println!("{line}");
        }
    }
    super::leave(&mut crowd, server.as_ref());
    let (memory, files) = look(server.as_ref());
    let first = first.unwrap_or((memory, files));
    let fine = memory <= first.0 + args.growth && files <= first.1;
    println!(
        "{}",
        json!({"phase": "end", "rss_kb": [first.0, memory], "files": [first.1, files], "fine": fine})
    );
    fine
}

fn look(server: Option<&Server>) -> (u64, usize) {
    server.map_or((0, 0), |server| (server.look().resident(), server.files()))
}

fn step(crowd: &mut Crowd, args: &Args, random: &mut Random, changes: &mut usize) {
    let nth = random.below(u64::from(args.load.watchers)) as usize;
    match (random.below(100), crowd.is_watching(nth)) {
        (..SUBSCRIBE, false) => crowd.subscribe(nth, 3600),
        (SUBSCRIBE..LEAVE, true) => crowd.unsubscribe(nth),
        (LEAVE..REFRESH, true) => crowd.refresh(nth),
        (REFRESH..CHANGE, _) => {
            crowd.change(*changes);
            *changes += 1;
        }
        (CHANGE.., _) => {
            for nth in crowd.reconnect(nth) {
                crowd.refresh(nth);
            }
        }
        _ => {}
    }
}

/// Enough to choose by.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

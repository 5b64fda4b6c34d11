//! The Modbus driver: one task owns one line, a serial port (RTU) or a network address (TCP).
//!
//! ```text
//! run: ┌─> open ──ok──> Up ──> one request at a time ──┬─ port closed ─> Exit::Closed
//!      │     │ fail                                    │ line lost
//!      └── pause (0.5 s … 30 s) <──────────────────────┘  Down(why)
//! ```
//!
//! An [`Op::Ask`] on `unit/table/first/count` reads: its answer carries two bytes per register, the high
//! one first, or one byte per bit. An [`Op::Write`] on `unit/table/address` writes a coil (one byte) or
//! holding registers (two bytes each), and is done when the unit says so.
//!
//! A unit that does not answer rests, longer each time up to 24 s: its readings are answered
//! `NotConnected` at once, so that the other units of the line are asked in time. A write is always
//! tried, and never repeated: nobody knows whether the first one acted.

mod bus;
mod job;

use std::path::PathBuf;
use std::time::Duration;

use sipliance_driver::{Backoff, Driver, Event, Exit, Failure, Keep, Op, Port, Post, Why, keep};
use tokio::time::sleep;

use bus::{Bus, End};
use job::Job;

/// Where the units are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// On a serial line (Modbus RTU).
    Rtu {
        /// Device path; best one of `/dev/serial/by-id`.
        path: PathBuf,
        /// Bits per second.
        baud: u32,
        /// `8N1`, `8E1`, …
        format: String,
    },
    /// Behind a network address (Modbus TCP).
    Tcp {
        /// Name or address.
        host: String,
        /// Port, 502 as a rule.
        port: u16,
    },
}

impl Line {
    fn words(&self, text: &str) -> String {
        match self {
            Line::Rtu { path, .. } => format!("serial port {}: {text}", path.display()),
            Line::Tcp { host, port } => format!("modbus {host}:{port}: {text}"),
        }
    }
}

/// A line and how it is used.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the units are.
    pub line: Line,
    /// Silence between two requests.
    pub gap: Duration,
    /// How long a unit may take to answer a write; a reading says so itself.
    pub timeout: Duration,
    /// How often an unanswered reading is repeated.
    pub retries: u32,
}

/// The driver of `modbus` links.
#[derive(Debug)]
pub struct Modbus;

impl Driver for Modbus {
    const KIND: &'static str = "modbus";
    type Settings = Settings;

    async fn run(settings: Settings, port: Port) -> Exit {
        run(settings, port).await
    }
}

/// The first and the longest pause between two attempts to open.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// A USB adapter comes back under its name in a moment.
const SERIAL_PAUSE: Duration = Duration::from_secs(5);

/// A line that stayed this long starts the pauses anew.
const STABLE: Duration = Duration::from_secs(10);

/// How often an idle line is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps one line open until the gateway closes its end.
pub async fn run(settings: Settings, port: Port) -> Exit {
    let longest = match settings.line {
        Line::Rtu { .. } => SERIAL_PAUSE,
        Line::Tcp { .. } => PAUSES.1,
    };
    let mut link = Link { settings, post: Post::new(port) };
    keep(&mut link, Backoff::new(PAUSES.0, longest), STABLE).await
}

/// What outlives an open line.
struct Link {
    settings: Settings,
    post: Post,
}

impl Keep for Link {
    type Line = Bus;
    type Settings = Settings;

    fn post(&mut self) -> &mut Post {
        &mut self.post
    }

    fn settings(&mut self) -> Settings {
        self.settings.clone()
    }

    async fn open(settings: Settings) -> Result<Bus, Why> {
        Bus::open(&settings).await
    }

    async fn serve(&mut self, mut bus: Bus) -> Option<Why> {
        tracing::info!("{}", self.settings.line.words("open"));
        self.post.outbox.push(Event::Up);
        let end = self.exchange(&mut bus).await;
        self.post.turn_away();
        end
    }
}

impl Link {
    async fn exchange(&mut self, bus: &mut Bus) -> Option<Why> {
        loop {
            let Some(op) = self.post.waiting() else {
                if self.post.idle(sleep(LOOK)).await?.is_some() && !bus.present() {
                    return Some(Why(self.settings.line.words("it is gone – was the cable pulled?")));
                }
                continue;
            };
            let Some(id) = op.id() else { continue };
            let (job, patience) = match self.job(&op) {
                Ok(found) => found,
                Err(words) => {
                    self.post.outbox.done(id, Err(Failure::Refused(words)));
                    continue;
                }
            };
            let end = self.post.during(bus.perform(&job, patience)).await?;
            let result = match end {
                End::Answer(payload) => {
                    if job.harmless() {
                        let channel = op.channel().clone();
                        self.post.outbox.push(Event::Read { channel, payload, retained: false });
                    }
                    Ok(())
                }
                End::Refused(words) => Err(Failure::Refused(words)),
                End::Silent => Err(Failure::Timeout),
                End::Resting => Err(Failure::NotConnected),
                End::Lost(why) => {
                    self.post.outbox.done(id, Err(Failure::Broken));
                    return Some(Why(self.settings.line.words(&format!("the connection is lost ({why})"))));
                }
            };
            self.post.outbox.done(id, result);
        }
    }

    fn job(&self, op: &Op) -> Result<(Job, Duration), String> {
        match op {
            Op::Ask { channel, timeout, .. } => Ok((Job::read(channel.as_str())?, *timeout)),
            Op::Write { channel, payload, .. } => {
                Ok((Job::write(channel.as_str(), payload)?, self.settings.timeout))
            }
            Op::Watch { .. } | Op::Pulse { .. } => Err("a Modbus unit has no lines to pulse".to_owned()),
            Op::Publish { .. } => Err("a Modbus unit does not listen to what is told".to_owned()),
        }
    }
}

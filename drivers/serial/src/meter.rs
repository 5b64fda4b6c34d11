//! Meters with an optical port or a current loop that are read out by IEC 62056-21.
//!
//! ```text
//! idle ──Ask──> sign-on ──> identification ──> acknowledge, faster ──> block, checked ──> Read, Done
//!   ^              (readout.rs)                                            │ silent, damaged
//!   └───────────────── the line rests ─────────────────────────────────────┘ Done(Timeout)
//! ```
//!
//! The payload of an [`Op::Ask`] is the request as it goes over the line (`/?!` CR LF), its channel is the
//! meter's; the answer carries the data block without its control characters. Nothing can be written.

mod readout;

use std::path::PathBuf;
use std::time::Duration;

use sipliance_driver::{Backoff, Event, Exit, Failure, Keep, Op, OpId, Port, Post, Tally, Why, keep};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use crate::open::open;
use crate::{PAUSES, STABLE, forget_input};
use readout::{Trouble, Wire, read_out};

/// Silence between two read-outs: a meter that was left in the middle takes so long to listen again.
const REST: Duration = Duration::from_millis(2500);

/// Where the meter is and how it is spoken to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Device path; best one of `/dev/serial/by-id`.
    pub path: PathBuf,
    /// Speed of the sign-on; 300 by the standard.
    pub baud: u32,
    /// `7E1` by the standard.
    pub format: String,
    /// Stay at that speed, whatever the meter offers.
    pub fixed: bool,
}

/// Keeps one port open until the gateway closes its end.
pub async fn run(settings: Settings, port: Port) -> Exit {
    let post = Post::new(port);
    let mut link = Link { settings, post, free: Instant::now(), said: None, noise: Tally::default() };
    keep(&mut link, Backoff::new(PAUSES.0, PAUSES.1), STABLE).await
}

/// What outlives an open port.
struct Link {
    settings: Settings,
    post: Post,
    /// When the line is free for the next sign-on.
    free: Instant,
    /// What was last told of a read-out that failed, and how often it was so since.
    said: Option<(String, u64)>,
    noise: Tally,
}

impl Keep for Link {
    type Line = SerialStream;
    type Settings = Settings;

    fn post(&mut self) -> &mut Post {
        &mut self.post
    }

    fn settings(&mut self) -> Settings {
        self.settings.clone()
    }

    async fn open(settings: Settings) -> Result<SerialStream, Why> {
        open(&settings.path, settings.baud, &settings.format)
    }

    async fn serve(&mut self, mut port: SerialStream) -> Option<Why> {
        tracing::info!(path = %self.settings.path.display(), baud = self.settings.baud, "meter port open");
        self.post.outbox.push(Event::Up);
        let end = self.exchange(&mut port).await;
        // What has not left yet must not leave later.
        let _ = port.clear(ClearBuffer::Output);
        self.post.turn_away();
        end
    }
}

impl Link {
    async fn exchange(&mut self, port: &mut SerialStream) -> Option<Why> {
        let mut noise = [0; 256];
        loop {
            let Some(op) = self.post.waiting() else {
                match self.post.idle(port.read(&mut noise)).await? {
                    None => {}
                    Some(Ok(0)) => return Some(self.gone("")),
                    Some(Err(error)) => return Some(self.gone(&format!(" ({error})"))),
                    Some(Ok(count)) => self.heard_noise(count),
                }
                continue;
            };
            let refuse = |id, words: &str| (id, Err(Failure::Refused(words.to_owned())));
            let (id, result) = match op {
                Op::Watch { .. } => continue, // a meter says nothing unasked
                Op::Write { id, .. } | Op::Publish { id, .. } | Op::Pulse { id, .. } => {
                    refuse(id, "a meter is only read")
                }
                Op::Ask { id, channel, payload, timeout: patience } => {
                    self.post.during(sleep_until(self.free)).await?;
                    let reading = timeout(patience, read_out(port, &payload, &self.settings));
                    let outcome = self.post.during(reading).await?;
                    self.free = Instant::now() + REST;
                    match outcome.unwrap_or_else(|_| Err(Trouble::slow(patience))) {
                        Ok(payload) => {
                            self.well();
                            self.post.outbox.push(Event::Read { channel, payload, retained: false });
                            (id, Ok(()))
                        }
                        Err(Trouble::Lost(error)) => return Some(self.lost(id, &error)),
                        Err(Trouble::Words(words)) => {
                            self.unwell(words);
                            (id, Err(Failure::Timeout))
                        }
                    }
                }
            };
            self.post.outbox.done(id, result);
        }
    }

    fn lost(&mut self, id: OpId, error: &std::io::Error) -> Why {
        self.post.outbox.done(id, Err(Failure::Broken));
        self.gone(&format!(" ({error})"))
    }

    fn gone(&self, detail: &str) -> Why {
        Why(format!(
            "serial port {}: it is gone{detail} – was the cable pulled?",
            self.settings.path.display()
        ))
    }

    /// Says once what is wrong; the meter is asked again and again.
    fn unwell(&mut self, words: String) {
        match &mut self.said {
            Some((said, times)) if *said == words => *times += 1,
            said => {
                tracing::warn!("meter at {}: {words}", self.settings.path.display());
                *said = Some((words, 1));
            }
        }
    }

    fn well(&mut self) {
        if let Some((_, times)) = self.said.take() {
            tracing::info!(times, "meter at {}: read again, after failures", self.settings.path.display());
        }
    }

    /// Light falls on a head that hangs in the air.
    fn heard_noise(&mut self, count: usize) {
        if let Some(bytes) = self.noise.add(count as u64, Instant::now()) {
            tracing::info!(path = %self.settings.path.display(), bytes, "what came unasked was dropped");
        }
    }
}

impl Wire for SerialStream {
    fn speed(&mut self, baud: u32) -> Result<(), Trouble> {
        self.set_baud_rate(baud).map_err(|error| match error.kind() {
            tokio_serial::ErrorKind::Io(kind) => Trouble::Lost(kind.into()),
            _ => Trouble::Words(format!("the port does not do {baud} baud ({error}); try `speed: fixed`")),
        })
    }

    fn unsent(&self) -> usize {
        self.bytes_to_write().unwrap_or(0) as usize
    }

    fn forget(&mut self) {
        forget_input(self);
    }
}

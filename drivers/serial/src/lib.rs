//! The serial driver: one task owns one port.
//!
//! It cuts what arrives into frames, sends one thing at a time with a pause between, and pairs a
//! question with the next frame. What the frames mean is the profile's business. A port that goes
//! away (unplugged: end of file or EIO) is closed at once, or else it would come back under another
//! name, and is opened again by its path.

mod desk;
pub mod meter;
mod open;

use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use sipliance_driver::{Backoff, Cut, Driver, Event, Exit, Framing, Keep, Port, Post, Wake, Why, keep};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until};
use tokio_serial::{ClearBuffer, SerialPort, SerialStream};

use desk::Desk;
pub use open::open;

/// The channel of frames that nobody asked for.
pub const UNSOLICITED: &str = "rx";

/// How to open a serial port and cut its bytes into frames.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Device path; best one of `/dev/serial/by-id`.
    pub path: PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// `8N1`, `7E1`, …
    pub format: String,
    /// How bytes are made of frames.
    pub framing: Framing,
    /// Silence between two requests.
    pub gap: Duration,
    /// The device sends back what it was sent; that is no frame.
    pub echo: bool,
    /// What rouses a sleeping device before something is sent.
    pub wake: Option<Wake>,
}

impl Settings {
    /// 9600 baud 8N1, lines that end with CR LF.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            baud: 9600,
            format: "8N1".into(),
            framing: Framing::lines(),
            gap: Duration::ZERO,
            echo: false,
            wake: None,
        }
    }
}

/// How long so many bytes need on the line, with start, parity and stop bits.
fn time_for(bytes: usize, baud: u32) -> Duration {
    Duration::from_secs_f64(bytes as f64 * 12.0 / f64::from(baud.max(1)))
}

/// Drops what came: it was not asked for, or comes too late.
pub fn forget_input(port: &mut SerialStream) {
    let _ = port.clear(ClearBuffer::Input);
    // What tokio's readiness still knows of is read away; nothing blocks here.
    let mut rest = [0; 256];
    while matches!(port.try_read(&mut rest), Ok(1..)) {}
}

/// The driver of `serial` links.
#[derive(Debug)]
pub struct Serial;

impl Driver for Serial {
    const KIND: &'static str = "serial";
    type Settings = Settings;

    async fn run(settings: Settings, port: Port) -> Exit {
        run(settings, port).await
    }
}

/// The first and the longest pause between two attempts to open.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// A port that stayed this long starts the pauses anew.
const STABLE: Duration = Duration::from_secs(5);

/// Room for one read from the port.
const READ: usize = 4096;

/// Keeps one port open until the gateway closes its end.
pub async fn run(settings: Settings, port: Port) -> Exit {
    if settings.framing.cut == Cut::End(Vec::new()) {
        let why = format!("serial port {}: the profile names no frame end", settings.path.display());
        return Exit::Lost(Why(why));
    }
    let mut link = Link { settings, post: Post::new(port) };
    keep(&mut link, Backoff::new(PAUSES.0, PAUSES.1), STABLE).await
}

/// What outlives an open port.
struct Link {
    settings: Settings,
    post: Post,
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
        tracing::info!(path = %self.settings.path.display(), baud = self.settings.baud, "serial port open");
        self.post.outbox.push(Event::Up);
        let mut desk = Desk::new(self.settings.clone());
        let end = self.exchange(&mut port, &mut desk).await;
        // What has not left yet must not leave later.
        let _ = port.clear(ClearBuffer::Output);
        desk.fail(&mut self.post.outbox);
        end
    }
}

impl Link {
    async fn exchange(&mut self, port: &mut SerialStream, desk: &mut Desk) -> Option<Why> {
        let mut input = BytesMut::new();
        loop {
            input.clear();
            input.reserve(READ);
            let deadline = desk.deadline();
            let sending = !desk.out.is_empty();
            tokio::select! {
                op = self.post.ops.recv() => desk.op(op?, Instant::now(), &mut self.post.outbox),
                io = move_bytes(port, &mut input, &mut desk.out, sending) => match io {
                    Ok(Moved::In(0)) => return Some(self.words("it is gone – was the cable pulled?")),
                    Ok(Moved::In(_)) => desk.received(&input, Instant::now(), &mut self.post.outbox),
                    Ok(Moved::Out) if desk.out.is_empty() => desk.taken(Instant::now()),
                    Ok(Moved::Out) => {}
                    Err(error) => return Some(self.words(&format!("it is gone ({error}) – was the cable pulled?"))),
                },
                () = self.post.outbox.flush(), if !self.post.outbox.is_empty() => {}
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    let unsent = port.bytes_to_write().unwrap_or(0) as usize;
                    if desk.tick(unsent, Instant::now(), &mut self.post.outbox).is_err() {
                        return Some(self.words("it takes no more bytes – is the appliance on, is the flow control right?"));
                    }
                }
            }
        }
    }

    fn words(&self, text: &str) -> Why {
        Why(format!("serial port {}: {text}", self.settings.path.display()))
    }
}

enum Moved {
    In(usize),
    Out,
}

/// Reads, or writes where there is something to write, whatever the port is ready for first.
async fn move_bytes(
    port: &mut SerialStream,
    input: &mut BytesMut,
    out: &mut BytesMut,
    sending: bool,
) -> std::io::Result<Moved> {
    let (mut reader, mut writer) = tokio::io::split(port);
    tokio::select! {
        read = reader.read_buf(input) => read.map(Moved::In),
        wrote = writer.write_buf(out), if sending => wrote.map(|_| Moved::Out),
    }
}

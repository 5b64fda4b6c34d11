//! One request at a time on a line, and units that do not answer kept from holding up the others.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Backoff, Why};
use sipliance_driver_serial::forget_input;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_modbus::client::{Client as _, Context, rtu, tcp};
use tokio_modbus::slave::{Slave, SlaveContext as _};
use tokio_modbus::{Error, ExceptionCode};
use tokio_serial::SerialStream;

use crate::job::Job;
use crate::{Line, Settings};

/// How long name and TCP may take together.
const DIAL: Duration = Duration::from_secs(5);

/// The first and the longest rest of a unit that does not answer. The house asks whoever is offline every 30 s:
/// by then the rest is over, and the question goes out.
const RESTS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24));

/// How a request ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    /// The unit answered.
    Answer(Bytes),
    /// The unit answered that it will not.
    Refused(String),
    /// No answer, or none that makes sense.
    Silent,
    /// The unit did not answer lately and is not asked now.
    Resting,
    /// The line is gone.
    Lost(String),
}

/// A unit that does not answer.
struct Rest {
    backoff: Backoff,
    until: Instant,
    /// How often in a row it was silent.
    times: u32,
}

/// A unit that was silent so often is silent for whoever asks, also while it rests: several appliances may
/// hang on one unit, and each must learn of it.
const SURE: u32 = 3;

pub(crate) struct Bus {
    settings: Settings,
    line: Open,
    rests: HashMap<u8, Rest>,
    /// When the line is free for the next request.
    free: Instant,
}

enum Open {
    /// Every request gets a session of its own over the port that stays open: a late answer cannot be
    /// taken for that of a later request.
    Rtu(Shared),
    /// A connection; none after an answer that was given up.
    Tcp(Option<Context>),
}

impl Bus {
    /// Opens the line.
    ///
    /// # Errors
    /// What is in the way and what to do, for a person.
    pub async fn open(settings: &Settings) -> Result<Self, Why> {
        let line = match &settings.line {
            Line::Rtu { path, baud, format } => {
                let port = sipliance_driver_serial::open(path, *baud, format)?;
                Open::Rtu(Shared(Arc::new(Mutex::new(port))))
            }
            Line::Tcp { host, port } => {
                let dialled = dial(host, *port).await.map_err(|why| Why(settings.line.words(&why)))?;
                Open::Tcp(Some(dialled))
            }
        };
        Ok(Self { settings: settings.clone(), line, rests: HashMap::new(), free: Instant::now() })
    }

    /// Whether the adapter is still plugged; noticed without a request.
    pub fn present(&self) -> bool {
        match &self.settings.line {
            Line::Rtu { path, .. } => Path::exists(path),
            Line::Tcp { .. } => true,
        }
    }

    /// Asks a unit. A reading is repeated and left out while its unit rests; a write is made exactly
    /// once.
    pub async fn perform(&mut self, job: &Job, patience: Duration) -> End {
        let resting = self.rests.get(&job.unit).map(|rest| (rest.until, rest.times));
        if let Some((until, times)) = resting
            && job.harmless()
            && until > Instant::now()
        {
            return if times < SURE { End::Resting } else { End::Silent };
        }
        let tries = if job.harmless() && resting.is_none() { 1 + self.settings.retries } else { 1 };
        for attempt in 0..tries {
            match self.request(job, patience).await {
                End::Silent => {}
                end => {
                    self.rests.remove(&job.unit);
                    // The answer may be that to the first try: the other must not meet a later request.
                    if attempt > 0 {
                        self.free = Instant::now() + patience;
                    }
                    return end;
                }
            }
        }
        let fresh = || Rest { backoff: Backoff::new(RESTS.0, RESTS.1), until: Instant::now(), times: 0 };
        // A unit that is slow, not dead, may answer yet; on a serial line nothing tells its answer from that of
        // the next request.
        if matches!(self.line, Open::Rtu(_)) {
            self.free = self.free.max(Instant::now() + patience);
        }
        let rest = self.rests.entry(job.unit).or_insert_with(fresh);
        rest.until = Instant::now() + rest.backoff.pause();
        rest.times = rest.times.saturating_add(1);
        End::Silent
    }

    async fn request(&mut self, job: &Job, patience: Duration) -> End {
        sleep_until(self.free).await;
        let unit = Slave(job.unit);
        let result = match &mut self.line {
            Open::Rtu(port) => {
                port.forget_input();
                let mut session = rtu::attach_slave(port.clone(), unit);
                timeout(patience, session.call(job.request())).await
            }
            Open::Tcp(connection) => {
                let session = match connection {
                    Some(session) => session,
                    None => match self.settings.line.dial_again().await {
                        Ok(session) => connection.insert(session),
                        Err(why) => return End::Lost(why),
                    },
                };
                session.set_slave(unit);
                timeout(patience, session.call(job.request())).await
            }
        };
        self.free = Instant::now() + self.settings.gap;
        let end = judge(job, result);
        if let (End::Silent, Open::Tcp(connection)) = (&end, &mut self.line) {
            *connection = None;
        }
        end
    }
}

type Called = Result<Result<tokio_modbus::Response, ExceptionCode>, Error>;

fn judge(job: &Job, result: Result<Called, tokio::time::error::Elapsed>) -> End {
    match result {
        Err(_) | Ok(Err(Error::Protocol(_))) => End::Silent,
        Ok(Ok(Ok(response))) => job.answer(response).map_or(End::Silent, End::Answer),
        // A gateway speaks for a unit that does not answer.
        Ok(Ok(Err(ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice))) => {
            End::Silent
        }
        Ok(Ok(Err(exception))) => End::Refused(format!(
            "unit {} {} (exception {})",
            job.unit,
            words(exception),
            u8::from(exception)
        )),
        // Noise on the line; the line itself works.
        Ok(Err(Error::Transport(error)))
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) =>
        {
            End::Silent
        }
        Ok(Err(Error::Transport(error))) => End::Lost(error.to_string()),
    }
}

/// What a unit means by an exception (application protocol 1.1b3 §7).
fn words(exception: ExceptionCode) -> &'static str {
    match exception {
        ExceptionCode::IllegalFunction => "does not know this function",
        ExceptionCode::IllegalDataAddress => "has no such register or coil",
        ExceptionCode::IllegalDataValue => "does not take this value or count",
        ExceptionCode::ServerDeviceFailure => "failed to do it",
        ExceptionCode::Acknowledge => "needs longer and has not finished",
        ExceptionCode::ServerDeviceBusy => "is busy with something else",
        ExceptionCode::MemoryParityError => "has a fault in its memory",
        ExceptionCode::GatewayPathUnavailable => "is on no line of its gateway",
        ExceptionCode::GatewayTargetDevice => "does not answer its gateway",
        ExceptionCode::Custom(7) => "will not do it (negative acknowledge)",
        ExceptionCode::Custom(_) => "refuses",
    }
}

async fn dial(host: &str, port: u16) -> Result<Context, String> {
    let stream = match timeout(DIAL, TcpStream::connect((host, port))).await {
        Err(_) => return Err(format!("no answer in {} s – is it on, is the address right?", DIAL.as_secs())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err("connection refused – is Modbus TCP switched on there, is the port right?".to_owned());
        }
        Ok(Err(error)) => return Err(format!("{error} – is it on, is the address right?")),
        Ok(Ok(stream)) => stream,
    };
    // A lost option costs milliseconds, not the connection.
    let _ = stream.set_nodelay(true);
    Ok(tcp::attach(stream))
}

impl Line {
    async fn dial_again(&self) -> Result<Context, String> {
        match self {
            Line::Tcp { host, port } => dial(host, *port).await,
            Line::Rtu { .. } => Err("no network address".to_owned()),
        }
    }
}

/// A port that outlives the sessions over it.
#[derive(Clone, Debug)]
struct Shared(Arc<Mutex<SerialStream>>);

impl Shared {
    /// What came without being asked for, or too late, is no answer.
    fn forget_input(&self) {
        forget_input(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn with<T>(&self, act: impl FnOnce(Pin<&mut SerialStream>) -> T) -> T {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(Pin::new(&mut *port))
    }
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, task: &mut Task<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.with(|port| port.poll_read(task, into))
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|port| port.poll_write(task, bytes))
    }

    /// A real flush would hold up every driver of this thread until the bits have left.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

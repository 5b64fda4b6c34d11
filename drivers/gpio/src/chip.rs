//! The kernel's lines, by the character device (uAPI v2).

use std::sync::Arc;
use std::time::{Duration, Instant};

use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Offset, Value};
use gpiocdev::tokio::AsyncRequest;
use gpiocdev::{Chip, FoundLine, Request};
use sipliance_driver::Duty;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bank::{Edge, Lines};
use crate::{Direction, Line, Pull, Settings, pwm};

/// How many edges may wait; then they wait in the kernel.
const EDGES: usize = 64;

/// How many edges are taken from the kernel at once.
const BATCH: usize = 16;

/// How many edges of one line wait in the kernel; when it is full, the oldest makes room, so that the
/// last one always tells the level.
const KERNEL_EDGES: u32 = 64;

/// How many names a complaint lists.
const NAMES: usize = 64;

/// One request per line, so that a busy line can be named. An output is waited for as well, though it
/// never has an edge: it tells when its chip is gone.
pub(crate) struct KernelLines {
    lines: Vec<Held>,
    edges: mpsc::Receiver<Result<Edge, String>>,
    _watchers: JoinSet<()>,
}

enum Held {
    Line(Offset, Arc<AsyncRequest>),
    Pwm(pwm::Channel<pwm::Sysfs>),
}

/// Finds and requests every line; outputs get their initial level in the same step.
///
/// # Errors
/// Which line cannot be had, why, and what to do. Nothing is held then.
pub(crate) fn request(settings: &Settings) -> Result<KernelLines, String> {
    let (tx, edges) = mpsc::channel(EDGES);
    let clock = Clock::new();
    let mut held = Vec::new();
    for line in &settings.lines {
        held.push(match &line.direction {
            Direction::Pwm(of) => Held::Pwm(pwm::Channel::open(pwm::Sysfs, &settings.pwm, line, of)?),
            _ => {
                let found = find(line)?;
                Held::Line(found.info.offset, hold(line, &found, &settings.consumer)?)
            }
        });
    }
    let mut watchers = JoinSet::new();
    for (n, line) in held.iter().enumerate() {
        if let Held::Line(_, request) = line {
            watchers.spawn(watch(n, Arc::clone(request), clock, tx.clone()));
        }
    }
    Ok(KernelLines { lines: held, edges, _watchers: watchers })
}

/// The only line of this name on any chip.
fn find(line: &Line) -> Result<FoundLine, String> {
    let all: Vec<_> = gpiocdev::lines().map_err(|error| no_chips(&error))?.collect();
    let mut named = all.iter().filter(|found| found.info.name == line.pin);
    let place = |found: &FoundLine| format!("{} line {}", found.chip.display(), found.info.offset);
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one.clone()),
        (Some(one), Some(two)) => Err(format!(
            "line {} ({}): two lines have this name: {} and {}",
            line.pin,
            line.name,
            place(one),
            place(two)
        )),
        (None, _) => {
            let names = all.iter().map(|found| found.info.name.as_str()).filter(|name| !name.is_empty());
            Err(format!(
                "line {} ({}): no chip has such a line; {}",
                line.pin,
                line.name,
                near(&line.pin, names)
            ))
        }
    }
}

/// The names that are like `pin`, or the first of all.
fn near<'a>(pin: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let pin = pin.to_lowercase();
    let like = |name: &&str| {
        let name = name.to_lowercase();
        name.contains(&pin) || pin.contains(&name)
    };
    let close: Vec<_> = names.clone().filter(like).take(NAMES).collect();
    if !close.is_empty() {
        return format!("did you mean {}?", close.join(" or "));
    }
    match names.take(NAMES).collect::<Vec<_>>() {
        none if none.is_empty() => "the lines of this machine have no names".to_owned(),
        some => format!("there are: {}", some.join(", ")),
    }
}

fn no_chips(error: &gpiocdev::Error) -> String {
    match std::path::Path::new("/dev/gpiochip0").exists() {
        true => "no GPIO chip can be opened – is our user in the group of /dev/gpiochip0?".into(),
        false => format!("no GPIO chip: {error} – is this a Raspberry Pi, is /dev/gpiochip0 there?"),
    }
}

fn hold(line: &Line, found: &FoundLine, consumer: &str) -> Result<Arc<AsyncRequest>, String> {
    let mut builder = Request::builder();
    builder.with_consumer(consumer).on_chip(&found.chip).with_line(found.info.offset);
    builder.with_kernel_event_buffer_size(KERNEL_EDGES);
    match line.direction {
        Direction::In { pull, debounce } => {
            builder.as_input().with_bias(bias(pull)).with_edge_detection(EdgeDetection::BothEdges);
            if !debounce.is_zero() {
                builder.with_debounce_period(debounce);
            }
        }
        Direction::Out { initial, .. } => {
            builder.as_output(value(initial != line.active_low));
        }
        Direction::Pwm(_) => return Err(format!("{} is no line", line.pin)),
    }
    let request = builder.request().map_err(|error| refused(line, found, &error))?;
    Ok(Arc::new(AsyncRequest::new(request)))
}

fn bias(pull: Pull) -> Bias {
    match pull {
        Pull::Up => Bias::PullUp,
        Pull::Down => Bias::PullDown,
        Pull::None => Bias::Disabled,
    }
}

/// Lines are requested without the kernel's own inversion: its active is our high.
fn value(high: bool) -> Value {
    match high {
        true => Value::Active,
        false => Value::Inactive,
    }
}

fn refused(line: &Line, found: &FoundLine, error: &gpiocdev::Error) -> String {
    let now = Chip::from_path(&found.chip).and_then(|chip| chip.line_info(found.info.offset));
    let name = format!("line {} ({})", line.pin, line.name);
    match now {
        Ok(info) if info.used && info.consumer.is_empty() => format!("{name}: busy, the kernel uses it"),
        Ok(info) if info.used => {
            format!("{name}: busy, {:?} holds it – stop that program, or take another line", info.consumer)
        }
        _ => format!("{name}: {error}"),
    }
}

/// Moves the edges of a line on until it is lost. They are taken out of a slice of ours: the call of
/// gpiocdev 0.8 for a single edge reads up to eight and forgets all but the first.
async fn watch(
    line: usize,
    request: Arc<AsyncRequest>,
    clock: Clock,
    edges: mpsc::Sender<Result<Edge, String>>,
) {
    let size = (*request).as_ref().edge_event_u64_size();
    let mut words = vec![0; size * BATCH];
    loop {
        let read = match request.read_edge_events_into_slice(&mut words).await {
            Ok(count) => words.get(..count).unwrap_or_default(),
            Err(error) => {
                let _ = edges.send(Err(lost(&error))).await;
                return;
            }
        };
        for event in read.chunks_exact(size) {
            let edge = (*request).as_ref().edge_event_from_slice(event);
            let edge = edge
                .map(|edge| Edge {
                    line,
                    level: edge.kind == EdgeKind::Rising,
                    at: clock.instant(edge.timestamp_ns),
                })
                .map_err(|error| lost(&error));
            let failed = edge.is_err();
            if edges.send(edge).await.is_err() || failed {
                return;
            }
        }
    }
}

/// Makes an [`Instant`] of the kernel's time of an edge. Both are the monotonic clock, but only a distance
/// can be carried from one to the other; so one moment is taken for all, and distances stay exact.
#[derive(Clone, Copy)]
struct Clock {
    instant: Instant,
    kernel: Duration,
}

impl Clock {
    fn new() -> Self {
        // The pair that was read fastest: between the two readings the machine may have done something else.
        let pairs = (0..5).map(|_| {
            let instant = Instant::now();
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
            (instant.elapsed(), Self { instant, kernel: Duration::new(time.tv_sec.unsigned_abs(), nanos) })
        });
        let best = pairs.min_by_key(|(took, _)| *took).map(|(_, clock)| clock);
        best.unwrap_or_else(|| Self { instant: Instant::now(), kernel: Duration::ZERO })
    }

    fn instant(self, ns: u64) -> Instant {
        let at = Duration::from_nanos(ns);
        let instant = match at.checked_sub(self.kernel) {
            Some(since) => self.instant.checked_add(since),
            None => self.instant.checked_sub(self.kernel.saturating_sub(at)),
        };
        instant.unwrap_or(self.instant)
    }
}

fn lost(error: &gpiocdev::Error) -> String {
    format!("the lines are lost: {error} – was the chip unplugged?")
}

impl KernelLines {
    fn line(&self, line: usize) -> Result<(Offset, &Request), String> {
        match self.lines.get(line) {
            Some(Held::Line(offset, request)) => Ok((*offset, (**request).as_ref())),
            _ => Err("no such line".to_owned()),
        }
    }
}

impl Lines for KernelLines {
    fn high(&self, line: usize) -> Result<bool, String> {
        let (offset, request) = self.line(line)?;
        let value = request.value(offset).map_err(|e| lost(&e))?;
        Ok(value == Value::Active)
    }

    fn drive(&mut self, line: usize, high: bool) -> Result<(), String> {
        let (offset, request) = self.line(line)?;
        request.set_value(offset, value(high)).map_err(|e| lost(&e))
    }

    fn duty(&self, line: usize) -> Result<Duty, String> {
        match self.lines.get(line) {
            Some(Held::Pwm(channel)) => channel.duty(),
            _ => Err("no such channel".to_owned()),
        }
    }

    fn dim(&mut self, line: usize, duty: Duty) -> Result<(), String> {
        match self.lines.get_mut(line) {
            Some(Held::Pwm(channel)) => channel.dim(duty),
            _ => Err("no such channel".to_owned()),
        }
    }

    fn pending(&self) -> bool {
        // What cannot be asked has an error waiting, which its watcher will take.
        let waits = |line: &Held| match line {
            Held::Line(_, request) => (**request).as_ref().has_edge_event().unwrap_or(true),
            Held::Pwm(_) => false,
        };
        !self.edges.is_empty() || self.lines.iter().any(waits)
    }

    async fn edge(&mut self) -> Result<Edge, String> {
        match self.edges.recv().await {
            Some(edge) => edge,
            None => std::future::pending().await, // every watcher has said that its line is lost
        }
    }
}

//! The kernel's lines, by the character device (uAPI v2).

use gpiocdev::line::{Bias, EdgeDetection, EdgeKind, Value};
use gpiocdev::tokio::AsyncRequest;
use gpiocdev::{Chip, FoundLine, Request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bank::Lines;
use crate::{Direction, Line, Pull, Settings};

/// How many edges may wait; then they wait in the kernel.
const EDGES: usize = 64;

/// One request per line, so that a busy line can be named.
pub(crate) struct KernelLines {
    lines: Vec<(gpiocdev::line::Offset, Held)>,
    edges: mpsc::Receiver<Result<(usize, bool), String>>,
    _watchers: JoinSet<()>,
}

enum Held {
    In(std::sync::Arc<AsyncRequest>),
    Out(Request),
}

impl Held {
    fn request(&self) -> &Request {
        match self {
            Self::In(request) => (**request).as_ref(),
            Self::Out(request) => request,
        }
    }
}

/// Finds and requests every line; outputs get their initial level in the same step.
///
/// # Errors
/// Which line cannot be had, why, and what to do. Nothing is held then.
pub(crate) fn request(settings: &Settings) -> Result<KernelLines, String> {
    let (tx, edges) = mpsc::channel(EDGES);
    let mut held = Vec::new();
    for line in &settings.lines {
        let found = find(line)?;
        held.push((found.info.offset, hold(line, &found, &settings.consumer)?));
    }
    let mut watchers = JoinSet::new();
    for (n, (_, request)) in held.iter().enumerate() {
        if let Held::In(request) = request {
            watchers.spawn(watch(n, std::sync::Arc::clone(request), tx.clone()));
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
            let names: Vec<_> =
                all.iter().map(|found| found.info.name.as_str()).filter(|n| !n.is_empty()).take(64).collect();
            Err(format!(
                "line {} ({}): no chip has such a line; there are: {}",
                line.pin,
                line.name,
                names.join(", ")
            ))
        }
    }
}

fn no_chips(error: &gpiocdev::Error) -> String {
    match std::path::Path::new("/dev/gpiochip0").exists() {
        true => "no GPIO chip can be opened – is our user in the group of /dev/gpiochip0?".into(),
        false => format!("no GPIO chip: {error} – is this a Raspberry Pi, is /dev/gpiochip0 there?"),
    }
}

fn hold(line: &Line, found: &FoundLine, consumer: &str) -> Result<Held, String> {
    let mut builder = Request::builder();
    builder.with_consumer(consumer).on_chip(&found.chip).with_line(found.info.offset);
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
    }
    let request = builder.request().map_err(|error| refused(line, found, &error))?;
    Ok(match line.direction {
        Direction::In { .. } => Held::In(std::sync::Arc::new(AsyncRequest::new(request))),
        Direction::Out { .. } => Held::Out(request),
    })
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

async fn watch(
    line: usize,
    request: std::sync::Arc<AsyncRequest>,
    edges: mpsc::Sender<Result<(usize, bool), String>>,
) {
    loop {
        let edge = request.read_edge_event().await;
        let failed = edge.is_err();
        let edge = edge
            .map(|edge| (line, edge.kind == EdgeKind::Rising))
            .map_err(|e| format!("the lines are lost: {e}"));
        if edges.send(edge).await.is_err() || failed {
            return;
        }
    }
}

impl Lines for KernelLines {
    fn high(&self, line: usize) -> Result<bool, String> {
        let (offset, held) = self.lines.get(line).ok_or("no such line")?;
        let value = held.request().value(*offset).map_err(|e| format!("the lines are lost: {e}"))?;
        Ok(value == Value::Active)
    }

    fn drive(&mut self, line: usize, high: bool) -> Result<(), String> {
        let (offset, held) = self.lines.get(line).ok_or("no such line")?;
        held.request().set_value(*offset, value(high)).map_err(|e| format!("the lines are lost: {e}"))
    }

    async fn edge(&mut self) -> Result<(usize, bool), String> {
        match self.edges.recv().await {
            Some(edge) => edge,
            None => std::future::pending().await, // outputs only
        }
    }
}

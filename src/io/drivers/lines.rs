//! The lines of one appliance, each with a driver of its own: a line whose settings stay is held on while
//! others change. An output that was let go and taken again would move.
//!
//! ```text
//!   keeper ─ops─▶ lines ─┬─▶ driver of `relay`       the link is up when every line is;
//!          ◀─events─     └─▶ driver of `reed`        when one is lost it is down
//! ```

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{Channel, EVENT_QUEUE, Event, Exit, Failure, OP_QUEUE, Op, Port, Why};
use sipliance_driver_gpio::{Line, Settings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::start::Running;

/// How long a line may take to be let go; then its driver is dropped.
const LET_GO: Duration = Duration::from_millis(1000);

/// Runs the lines, and changes them when others are wanted, until the gateway closes its end.
pub(super) async fn run(wanted: watch::Receiver<Settings>, port: Port) -> Exit {
    run_on(wanted, port, Arc::new(|settings, port| Box::pin(sipliance_driver_gpio::run(settings, port))))
        .await
}

/// A driver of one line.
type Driver = Arc<dyn Fn(Settings, Port) -> Running + Send + Sync>;

async fn run_on(mut wanted: watch::Receiver<Settings>, port: Port, driver: Driver) -> Exit {
    let Port { mut ops, events } = port;
    let (told, mut heard) = mpsc::channel(EVENT_QUEUE);
    let mut lines =
        Lines { driver, told, events, held: Vec::new(), watched: Vec::new(), serial: 0, said_up: false };
    let first = wanted.borrow_and_update().clone();
    lines.change(&first).await;
    let exit = loop {
        tokio::select! {
            op = ops.recv() => match op {
                None => break Exit::Closed,
                Some(op) => lines.op(op).await,
            },
            Some((serial, event)) = heard.recv() => {
                if let Err(why) = lines.event(serial, event).await {
                    break Exit::Lost(why);
                }
            }
            // Whoever would change it is gone with the port.
            Ok(()) = wanted.changed() => {
                let settings = wanted.borrow_and_update().clone();
                lines.change(&settings).await;
            }
        }
    };
    let held = std::mem::take(&mut lines.held);
    drop(heard);
    release(held).await;
    exit
}

/// One line and its driver.
struct Held {
    serial: u64,
    line: Line,
    ops: mpsc::Sender<Op>,
    task: JoinHandle<()>,
    up: bool,
}

struct Lines {
    driver: Driver,
    /// Every event of a line, and `None` when its driver has ended.
    told: mpsc::Sender<(u64, Option<Event>)>,
    events: mpsc::Sender<Event>,
    held: Vec<Held>,
    watched: Vec<Channel>,
    serial: u64,
    said_up: bool,
}

impl Lines {
    /// Lets go of what is not wanted, then takes what is new. What stays is not touched.
    async fn change(&mut self, settings: &Settings) {
        let wanted = |line: &Line| settings.lines.iter().any(|other| same(line, other));
        let (stay, go): (Vec<_>, Vec<_>) = self.held.drain(..).partition(|held| wanted(&held.line));
        self.held = stay;
        release(go).await;
        for line in &settings.lines {
            if self.held.iter().any(|held| same(&held.line, line)) {
                continue;
            }
            self.serial += 1;
            let alone = Settings { lines: vec![line.clone()], ..settings.clone() };
            let (ops, port_ops) = mpsc::channel(OP_QUEUE);
            let task =
                tokio::spawn(one(self.driver.clone(), alone, port_ops, self.serial, self.told.clone()));
            self.held.push(Held { serial: self.serial, line: line.clone(), ops, task, up: false });
        }
        // What nobody heard change may have.
        self.tell_all();
    }

    async fn op(&mut self, op: Op) {
        let channel = op.channel().clone();
        let line = self.held.iter().find(|held| held.line.name == channel.as_str());
        let Some(line) = line else {
            let names: Vec<_> = self.held.iter().map(|held| held.line.name.as_str()).collect();
            let words = format!("no line is called {channel}; there are: {}", names.join(", "));
            let event = match op.id() {
                Some(id) => Event::Done { id, result: Err(Failure::Refused(words)) },
                None => Event::Unwatched { channel, why: Why(words) },
            };
            return self.say(event).await;
        };
        if op.id().is_none() && !self.watched.contains(&channel) {
            self.watched.push(channel);
        }
        let failed = match line.ops.try_send(op) {
            Ok(()) => return,
            Err(mpsc::error::TrySendError::Full(op)) => (op, Failure::Busy),
            Err(mpsc::error::TrySendError::Closed(op)) => (op, Failure::NotConnected),
        };
        if let (Some(id), failure) = (failed.0.id(), failed.1) {
            self.say(Event::Done { id, result: Err(failure) }).await;
        }
    }

    /// Passes on what a line says, and of all lines whether they are there.
    async fn event(&mut self, serial: u64, event: Option<Event>) -> Result<(), Why> {
        let line = self.held.iter_mut().find(|held| held.serial == serial);
        match (line, event) {
            // A line that was let go: only the ends of its ops are still waited for.
            (None, Some(done @ Event::Done { .. })) => self.say(done).await,
            (None, _) => {}
            (Some(line), None) => return Err(Why(format!("the driver of line {} ended", line.line.pin))),
            (Some(line), Some(Event::Up)) => {
                line.up = true;
                if !self.said_up && self.held.iter().all(|held| held.up) {
                    self.said_up = true;
                    self.say(Event::Up).await;
                    self.tell_all();
                }
            }
            (Some(line), Some(Event::Down(why))) => {
                line.up = false;
                self.said_up = false;
                self.say(Event::Down(why)).await;
            }
            // A level from before the link was up is told again then.
            (Some(_), Some(Event::Read { .. })) if !self.said_up => {}
            (Some(_), Some(event)) => self.say(event).await,
        }
        Ok(())
    }

    /// Has every line say how it is.
    fn tell_all(&self) {
        for held in &self.held {
            if let Some(channel) = self.watched.iter().find(|channel| channel.as_str() == held.line.name) {
                // When so much waits there, a level is on its way anyway.
                let _ = held.ops.try_send(Op::Watch { channel: channel.clone() });
            }
        }
    }

    async fn say(&self, event: Event) {
        // Nobody listens any more: the port is about to close.
        let _ = self.events.send(event).await;
    }
}

/// Runs the driver of one line, and passes on what it says under its number.
async fn one(
    driver: Driver,
    settings: Settings,
    ops: mpsc::Receiver<Op>,
    serial: u64,
    told: mpsc::Sender<(u64, Option<Event>)>,
) {
    let (events, mut heard) = mpsc::channel(EVENT_QUEUE);
    let mut task = tokio::spawn(driver(settings, Port { ops, events }));
    while let Some(event) = heard.recv().await {
        if told.send((serial, Some(event))).await.is_err() {
            break;
        }
    }
    // Hears of its end by the channel, whatever ended it.
    drop(heard);
    if timeout(LET_GO, &mut task).await.is_err() {
        task.abort();
    }
    let _ = told.send((serial, None)).await;
}

/// Lets go of lines, all at once, and waits until they are free.
async fn release(lines: Vec<Held>) {
    let tasks: Vec<_> = lines.into_iter().map(|held| held.task).collect();
    for task in tasks {
        let _ = timeout(LET_GO, task).await;
    }
}

fn same(one: &Line, other: &Line) -> bool {
    crate::config::change::alike(one, other)
}

#[cfg(test)]
mod tests;

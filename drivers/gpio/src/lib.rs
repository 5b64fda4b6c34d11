//! The GPIO driver: one task owns the lines of one device.
//!
//! A channel is a line of the profile (`relay`, `reed`); its payload is `1` for active and `0` for
//! inactive, whatever that is electrically. An output has its level from the very request on, a pulse
//! is timed here and is released even when the gateway stalls, the port closes or the task dies.
//! Lines are found by name over all chips, because the numbers of chips change with kernels. The payload
//! of a dimmed output is its share of the time in percent.
//!
//! The kernel holds an output only while somebody has it requested. After the driver has ended, many
//! chips (the Pi's among them) make the line an input again, and its pull resistor decides: a relay
//! belongs on a pin whose pull is its inactive level.

mod bank;
mod chip;
mod pwm;

use std::path::PathBuf;
use std::time::Duration;

use sipliance_driver::{Backoff, Channel, Driver, Duty, Event, Exit, Failure, Op, Outbox, Port, Why};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

pub use pwm::CHIPS as PWM_CHIPS;

use bank::{Bank, Edge, Level, Lines};

/// Lines that one device owns.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The lines.
    pub lines: Vec<Line>,
    /// Who the kernel says that holds them.
    pub consumer: String,
    /// Where the PWM chips are: [`PWM_CHIPS`].
    pub pwm: PathBuf,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The profile's name; also the channel.
    pub name: String,
    /// Line name over all chips (`GPIO17`); of a dimmed line chip and channel (`fe20c000.pwm/0`).
    pub pin: String,
    /// Low is active.
    pub active_low: bool,
    /// Input or output.
    pub direction: Direction,
}

/// Direction of a line, with what only that needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Read.
    In {
        /// Pull resistor.
        pull: Pull,
        /// The level must be stable this long; the kernel sees to it.
        debounce: Duration,
    },
    /// Driven. Levels are `true` for active.
    Out {
        /// From the request on; there is no default on purpose.
        initial: bool,
        /// Driven last, when the driver ends; `None`: as it is. A running pulse is released in any
        /// case. What holds the line afterwards is its pull resistor.
        at_exit: Option<bool>,
    },
    /// On for a share of the time.
    Pwm(PwmSettings),
}

/// A dimmed output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PwmSettings {
    /// One turn of on and off.
    pub period: Duration,
    /// From the moment at which it is enabled; there is no default on purpose.
    pub initial: Duty,
    /// Set last, when the driver ends; `None`: as it is. The kernel goes on with it either way.
    pub at_exit: Option<Duty>,
}

/// Pull resistor of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// To the supply.
    Up,
    /// To ground.
    Down,
    /// Off.
    None,
}

/// The driver of `gpio` links.
#[derive(Debug)]
pub struct Gpio;

impl Driver for Gpio {
    const KIND: &'static str = "gpio";
    type Settings = Settings;

    async fn run(settings: Settings, port: Port) -> Exit {
        run(settings, port).await
    }
}

/// The first and the longest pause between two requests for the lines.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// So long after the last edge the levels are read again: the kernel's queue of edges has an end.
const CALM: Duration = Duration::from_millis(100);

/// Holds the lines until the gateway closes its end.
pub async fn run(settings: Settings, port: Port) -> Exit {
    run_on(settings, port, chip::request).await
}

async fn run_on<L: Lines>(
    settings: Settings,
    port: Port,
    mut request: impl FnMut(&Settings) -> Result<L, String> + Send,
) -> Exit {
    let mut link = Link {
        ops: port.ops,
        outbox: Outbox::new(port.events),
        watched: vec![false; settings.lines.len()],
        told: vec![None; settings.lines.len()],
        said: None,
    };
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        let words = match request(&settings) {
            Err(words) => words,
            Ok(lines) => {
                backoff.reset();
                tracing::info!(lines = settings.lines.len(), "GPIO lines are ours");
                link.said = None;
                match link.serve(Bank::new(&settings, lines)).await {
                    None => return Exit::Closed,
                    Some(words) => words,
                }
            }
        };
        link.down(Why(words));
        if link.pause(Instant::now() + backoff.pause(), &settings).await.is_none() {
            return Exit::Closed;
        }
    }
}

/// What outlives a request for the lines.
struct Link {
    ops: mpsc::Receiver<Op>,
    outbox: Outbox,
    /// Which lines are watched, in the order of the settings.
    watched: Vec<bool>,
    /// The levels that the gateway has heard last.
    told: Vec<Option<Level>>,
    /// The reason that the gateway has heard last; repeats are not news.
    said: Option<Why>,
}

impl Link {
    /// Answers ops without lines; `None` when the gateway closes its end.
    async fn pause(&mut self, until: Instant, settings: &Settings) -> Option<()> {
        loop {
            tokio::select! {
                () = sleep_until(until) => return Some(()),
                op = self.ops.recv() => match op? {
                    op @ Op::Watch { .. } => { self.watch(&op, settings); }
                    op => if let Some(id) = op.id() {
                        self.outbox.done(id, Err(Failure::NotConnected));
                    },
                },
                () = self.outbox.flush(), if !self.outbox.is_empty() => {}
            }
        }
    }

    /// Serves the lines until they are lost; `None` when the gateway closes its end.
    async fn serve<L: Lines>(&mut self, mut bank: Bank<'_, L>) -> Option<String> {
        self.outbox.push(Event::Up);
        for line in 0..self.watched.len() {
            if let Err(words) = self.tell(&bank, line) {
                return Some(words);
            }
        }
        let mut look = None;
        loop {
            let release = bank.next_release();
            let result = tokio::select! {
                op = self.ops.recv() => self.op(op?, &mut bank),
                edge = bank.edge() => edge.map(|edge| {
                    look = Some(Instant::now() + CALM);
                    self.edge(&bank, edge);
                }),
                () = self.outbox.flush(), if !self.outbox.is_empty() => Ok(()),
                () = sleep_until(release.unwrap_or_else(Instant::now)), if release.is_some() => {
                    bank.release(Instant::now()).map(|lines| {
                        lines.into_iter().for_each(|line| self.report(&bank, line, Level::Line(false)));
                    })
                }
                () = sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => {
                    // Edges that wait come first, or they would seem lost.
                    look = bank.pending().then(|| Instant::now() + CALM);
                    if look.is_none() { self.look(&bank) } else { Ok(()) }
                }
            };
            if let Err(words) = result {
                return Some(words);
            }
        }
    }

    fn op<L: Lines>(&mut self, op: Op, bank: &mut Bank<'_, L>) -> Result<(), String> {
        let Some(id) = op.id() else {
            return match self.watch(&op, bank.settings()) {
                Some(line) => self.tell(bank, line),
                None => Ok(()),
            };
        };
        match bank.act(&op, Instant::now()) {
            Ok((line, level)) => {
                self.outbox.done(id, Ok(()));
                self.report(bank, line, level);
            }
            Err(bank::Fault::Op(failure)) => self.outbox.done(id, Err(failure)),
            Err(bank::Fault::Lines(words)) => {
                self.outbox.done(id, Err(Failure::Broken));
                return Err(words);
            }
        }
        Ok(())
    }

    /// Notes a watch; which line it is.
    fn watch(&mut self, op: &Op, settings: &Settings) -> Option<usize> {
        let channel = op.channel();
        let line = settings.lines.iter().position(|line| line.name == channel.as_str());
        if let Some(watched) = line.and_then(|line| self.watched.get_mut(line)) {
            *watched = true;
            return line;
        }
        let names: Vec<_> = settings.lines.iter().map(|line| line.name.as_str()).collect();
        let why = Why(format!("no line is called {channel}; there are: {}", names.join(", ")));
        self.outbox.push(Event::Unwatched { channel: channel.clone(), why });
        None
    }

    /// Reports the present level of a watched line.
    fn tell<L: Lines>(&mut self, bank: &Bank<'_, L>, line: usize) -> Result<(), String> {
        let level = bank.level(line)?;
        self.report(bank, line, level);
        Ok(())
    }

    /// Reports an edge of a watched line.
    fn edge<L: Lines>(&mut self, bank: &Bank<'_, L>, edge: Edge) {
        let level = Level::Line(edge.level);
        if let Some(channel) = self.heard_on(bank, edge.line, level) {
            self.outbox.push(Event::Edge { channel, payload: level.payload(), at: edge.at });
        }
    }

    /// Nothing moves any more: do the levels say what the edges said?
    fn look<L: Lines>(&mut self, bank: &Bank<'_, L>) -> Result<(), String> {
        for line in 0..self.watched.len() {
            let level = bank.level(line)?;
            if self.told.get(line).copied().flatten().is_some_and(|told| told != level) {
                tracing::warn!(line = ?bank.channel(line), "edges were lost; the level was read again");
                self.report(bank, line, level);
            }
        }
        Ok(())
    }

    fn report<L: Lines>(&mut self, bank: &Bank<'_, L>, line: usize, level: Level) {
        if let Some(channel) = self.heard_on(bank, line, level) {
            self.outbox.push(Event::Read { channel, payload: level.payload(), retained: false });
        }
    }

    /// The channel of a watched line; notes what the gateway hears of it.
    fn heard_on<L: Lines>(&mut self, bank: &Bank<'_, L>, line: usize, level: Level) -> Option<Channel> {
        if self.watched.get(line) != Some(&true) {
            return None;
        }
        if let Some(told) = self.told.get_mut(line) {
            *told = Some(level);
        }
        bank.channel(line)
    }

    fn down(&mut self, why: Why) {
        if self.said.as_ref() == Some(&why) {
            return tracing::debug!("still: {why}");
        }
        tracing::warn!("{why}");
        self.outbox.push(Event::Down(why.clone()));
        self.said = Some(why);
    }
}

#[cfg(test)]
mod tests;

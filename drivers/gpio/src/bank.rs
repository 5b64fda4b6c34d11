//! The lines of a device as active and inactive, with their pulses. The wires are behind [`Lines`].

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Duty, Failure, MAX_PULSE, Op};
use tokio::time::Instant;

use crate::{Direction, Line, PwmSettings, Settings};

/// Requested lines, electrically, in the order of the settings: the kernel's, or a test's. An error
/// means that the lines are lost, in words.
pub(crate) trait Lines: Send + Sync {
    /// Whether a line is high.
    fn high(&self, line: usize) -> Result<bool, String>;
    /// Drives an output.
    fn drive(&mut self, line: usize, high: bool) -> Result<(), String>;
    /// How much of the time a dimmed output is on.
    fn duty(&self, line: usize) -> Result<Duty, String>;
    /// Dims an output.
    fn dim(&mut self, line: usize, duty: Duty) -> Result<(), String>;
    /// Whether an edge waits to be taken.
    fn pending(&self) -> bool;
    /// The next edge of an input. May be dropped without losing an edge.
    fn edge(&mut self) -> impl Future<Output = Result<Edge, String>> + Send;
}

/// What a line is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Level {
    /// Whether it is active.
    Line(bool),
    /// How much of the time.
    Duty(Duty),
}

impl Level {
    /// As the channel carries it.
    pub fn payload(self) -> Bytes {
        match self {
            Self::Line(active) => Bytes::from_static(if active { b"1" } else { b"0" }),
            Self::Duty(duty) => duty.to_string().into(),
        }
    }
}

/// A line changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Edge {
    /// Which line.
    pub line: usize,
    /// Its level after it: high from [`Lines`], active from [`Bank`].
    pub level: bool,
    /// When, by the kernel's clock.
    pub at: std::time::Instant,
}

/// Why an op did not happen.
#[derive(Debug, PartialEq)]
pub(crate) enum Fault {
    /// This op cannot be done.
    Op(Failure),
    /// The lines are lost.
    Lines(String),
}

/// Requested lines. Dropping it releases running pulses and drives what `at_exit` says.
pub(crate) struct Bank<'a, L: Lines> {
    settings: &'a Settings,
    lines: L,
    /// When a pulse on a line ends.
    releases: Vec<Option<Instant>>,
}

impl<'a, L: Lines> Bank<'a, L> {
    /// Outputs have their `initial` level already.
    pub fn new(settings: &'a Settings, lines: L) -> Self {
        Self { settings, lines, releases: vec![None; settings.lines.len()] }
    }

    /// What the lines are like.
    pub fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The channel of a line.
    pub fn channel(&self, line: usize) -> Option<Channel> {
        self.settings.lines.get(line).map(|line| Channel::new(&line.name))
    }

    /// What a line is like.
    ///
    /// # Errors
    /// The lines are lost.
    pub fn level(&self, line: usize) -> Result<Level, String> {
        match self.settings.lines.get(line).map(|line| line.direction) {
            Some(Direction::Pwm(_)) => self.lines.duty(line).map(Level::Duty),
            _ => Ok(Level::Line(self.lines.high(line)? != self.active_low(line))),
        }
    }

    /// Whether an edge waits to be taken.
    pub fn pending(&self) -> bool {
        self.lines.pending()
    }

    /// The next edge of an input.
    ///
    /// # Errors
    /// The lines are lost.
    pub async fn edge(&mut self) -> Result<Edge, String> {
        let edge = self.lines.edge().await?;
        Ok(Edge { level: edge.level != self.active_low(edge.line), ..edge })
    }

    /// Does a write or begins a pulse; which line has which level now.
    ///
    /// # Errors
    /// Nothing was done, or the lines are lost.
    pub fn act(&mut self, op: &Op, now: Instant) -> Result<(usize, Level), Fault> {
        let (line, dimmed) = self.output(op.channel()).map_err(|words| Fault::Op(Failure::Refused(words)))?;
        if dimmed {
            let duty = share(op).map_err(Fault::Op)?;
            self.lines.dim(line, duty).map_err(Fault::Lines)?;
            return Ok((line, Level::Duty(duty)));
        }
        let (active, until) = self.wanted(op, line, now).map_err(Fault::Op)?;
        self.drive(line, active).map_err(Fault::Lines)?;
        self.set_release(line, until);
        Ok((line, Level::Line(active)))
    }

    /// When the first running pulse ends.
    pub fn next_release(&self) -> Option<Instant> {
        self.releases.iter().flatten().min().copied()
    }

    /// Ends the pulses whose time has come; which lines those are.
    ///
    /// # Errors
    /// The lines are lost.
    pub fn release(&mut self, now: Instant) -> Result<Vec<usize>, String> {
        let due = |until: &Option<Instant>| until.is_some_and(|until| until <= now);
        let lines: Vec<_> =
            (0..self.releases.len()).filter(|n| self.releases.get(*n).is_some_and(due)).collect();
        for line in &lines {
            self.drive(*line, false)?;
            self.set_release(*line, None);
        }
        Ok(lines)
    }

    fn wanted(&self, op: &Op, line: usize, now: Instant) -> Result<(bool, Option<Instant>), Failure> {
        let refused = |words: &str| Err(Failure::Refused(words.to_owned()));
        match op {
            Op::Write { payload, .. } if payload == "1" => Ok((true, None)),
            Op::Write { payload, .. } if payload == "0" => Ok((false, None)),
            Op::Write { .. } => refused("a line takes 1 (active) or 0 (inactive)"),
            Op::Pulse { .. } if self.releases.get(line).is_some_and(Option::is_some) => Err(Failure::Busy),
            Op::Pulse { on, .. } if *on > MAX_PULSE => refused("a pulse lasts at most 60 s"),
            Op::Pulse { on, .. } if *on == Duration::ZERO => refused("a pulse needs a time"),
            Op::Pulse { on, .. } => Ok((true, Some(now + *on))),
            Op::Ask { .. } | Op::Watch { .. } => refused("a line cannot be asked; watch it"),
            Op::Publish { .. } => refused("nobody listens to what is told to a line"),
        }
    }

    /// An output, and whether it is dimmed.
    fn output(&self, channel: &Channel) -> Result<(usize, bool), String> {
        let named = self.settings.lines.iter().enumerate().find(|(_, line)| line.name == channel.as_str());
        match named {
            Some((n, Line { direction: Direction::Out { .. }, .. })) => Ok((n, false)),
            Some((n, Line { direction: Direction::Pwm(_), .. })) => Ok((n, true)),
            Some(_) => Err(format!("the line {channel} is an input")),
            None => Err(format!("no line is called {channel}")),
        }
    }

    fn drive(&mut self, line: usize, active: bool) -> Result<(), String> {
        self.lines.drive(line, active != self.active_low(line))
    }

    fn set_release(&mut self, line: usize, until: Option<Instant>) {
        if let Some(release) = self.releases.get_mut(line) {
            *release = until;
        }
    }

    fn active_low(&self, line: usize) -> bool {
        self.settings.lines.get(line).is_some_and(|line| line.active_low)
    }
}

/// The duty that an op wants.
fn share(op: &Op) -> Result<Duty, Failure> {
    let refused = |words: &str| Failure::Refused(words.to_owned());
    match op {
        Op::Write { payload, .. } => std::str::from_utf8(payload)
            .ok()
            .and_then(Duty::parse)
            .ok_or_else(|| refused("a dimmed line takes 0 to 100 percent")),
        Op::Pulse { .. } => Err(refused("a dimmed line has no pulses")),
        Op::Ask { .. } | Op::Watch { .. } => Err(refused("a line cannot be asked; watch it")),
        Op::Publish { .. } => Err(refused("nobody listens to what is told to a line")),
    }
}

impl<L: Lines> Drop for Bank<'_, L> {
    fn drop(&mut self) {
        for (n, line) in self.settings.lines.iter().enumerate() {
            let pulsing = self.releases.get(n).is_some_and(Option::is_some);
            let result = match line.direction {
                Direction::In { .. } => Ok(()),
                Direction::Out { at_exit, .. } => {
                    at_exit.or(pulsing.then_some(false)).map_or(Ok(()), |active| self.drive(n, active))
                }
                Direction::Pwm(PwmSettings { at_exit, .. }) => {
                    at_exit.map_or(Ok(()), |duty| self.lines.dim(n, duty))
                }
            };
            if let Err(words) = result {
                tracing::error!(line = line.name, "cannot be released: {words}");
            }
        }
    }
}

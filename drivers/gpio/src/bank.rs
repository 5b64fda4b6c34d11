//! The lines of a device as active and inactive, with their pulses. The wires are behind [`Lines`].

use std::future::Future;
use std::time::Duration;

use sipliance_driver::{Channel, Failure, MAX_PULSE, Op};
use tokio::time::Instant;

use crate::{Direction, Line, Settings};

/// Requested lines, electrically, in the order of the settings: the kernel's, or a test's. An error
/// means that the lines are lost, in words.
pub(crate) trait Lines: Send + Sync {
    /// Whether a line is high.
    fn high(&self, line: usize) -> Result<bool, String>;
    /// Drives an output.
    fn drive(&mut self, line: usize, high: bool) -> Result<(), String>;
    /// The next edge of an input, and whether it went high. May be dropped without losing an edge.
    fn edge(&mut self) -> impl Future<Output = Result<(usize, bool), String>> + Send;
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

    /// Whether a line is active.
    ///
    /// # Errors
    /// The lines are lost.
    pub fn level(&self, line: usize) -> Result<bool, String> {
        Ok(self.lines.high(line)? != self.active_low(line))
    }

    /// The next edge of an input, and whether it became active.
    ///
    /// # Errors
    /// The lines are lost.
    pub async fn edge(&mut self) -> Result<(usize, bool), String> {
        let (line, high) = self.lines.edge().await?;
        Ok((line, high != self.active_low(line)))
    }

    /// Does a write or begins a pulse; which line has which level now.
    ///
    /// # Errors
    /// Nothing was done, or the lines are lost.
    pub fn act(&mut self, op: &Op, now: Instant) -> Result<(usize, bool), Fault> {
        let line = self.output(op.channel()).map_err(|words| Fault::Op(Failure::Refused(words)))?;
        let (active, until) = self.wanted(op, line, now).map_err(Fault::Op)?;
        self.drive(line, active).map_err(Fault::Lines)?;
        self.set_release(line, until);
        Ok((line, active))
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

    fn output(&self, channel: &Channel) -> Result<usize, String> {
        let named = self.settings.lines.iter().enumerate().find(|(_, line)| line.name == channel.as_str());
        match named {
            Some((n, Line { direction: Direction::Out { .. }, .. })) => Ok(n),
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

impl<L: Lines> Drop for Bank<'_, L> {
    fn drop(&mut self) {
        for (n, line) in self.settings.lines.iter().enumerate() {
            let Direction::Out { at_exit, .. } = line.direction else { continue };
            let pulsing = self.releases.get(n).is_some_and(Option::is_some);
            let level = at_exit.or(pulsing.then_some(false));
            if let Some(active) = level
                && let Err(words) = self.drive(n, active)
            {
                tracing::error!(line = line.name, "cannot be released: {words}");
            }
        }
    }
}

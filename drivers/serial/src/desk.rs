//! One thing at a time on a port: bytes and time in, bytes and events out. No port here.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sipliance_driver::{Channel, Event, Failure, Framer, MAX_WAIT, OP_QUEUE, Op, OpId, Outbox, Tally};
use tokio::time::Instant;

use crate::{Settings, UNSOLICITED, time_for};

/// What a write may take beyond the time that its bits need.
const WRITE_SLACK: Duration = Duration::from_secs(2);

/// Between two looks whether the bits have left.
const LOOK: Duration = Duration::from_millis(5);

/// ```text
/// Idle ──write──> Sending ──bits gone──> Resting ──gap──> Idle
/// Idle ──ask────> Sending ──bytes taken─> Waiting ──frame or time──> Resting
/// Idle ──asleep─> Waking ──wait──> Sending
/// ```
#[derive(Debug)]
enum State {
    Idle,
    /// The device was roused and is not listening yet; then `op` follows.
    Waking {
        op: Op,
        until: Instant,
    },
    /// Bytes are on their way; looked at next at `look`, given up at `until`.
    Sending {
        id: OpId,
        ask: Option<(Channel, Duration)>,
        look: Instant,
        until: Instant,
    },
    /// For the answer.
    Waiting {
        id: OpId,
        channel: Channel,
        until: Instant,
    },
    /// The line must be silent.
    Resting {
        until: Instant,
    },
}

/// The port does not take what it is given.
#[derive(Debug, PartialEq)]
pub(crate) struct Stuck;

pub(crate) struct Desk {
    settings: Settings,
    framer: Framer,
    state: State,
    /// Each with the time at which it came.
    queue: VecDeque<(Instant, Op)>,
    /// Bytes to the port.
    pub out: BytesMut,
    /// What was sent and is to come back.
    echo: BytesMut,
    /// So much of it came back.
    echoed: usize,
    /// When bytes came last, while they are no whole frame.
    heard: Option<Instant>,
    spoke: Option<Instant>,
    dropped: Tally,
}

impl Desk {
    pub fn new(settings: Settings) -> Self {
        let framer = Framer::new(settings.framing.clone());
        Self {
            settings,
            framer,
            state: State::Idle,
            queue: VecDeque::new(),
            out: BytesMut::new(),
            echo: BytesMut::new(),
            echoed: 0,
            heard: None,
            spoke: None,
            dropped: Tally::default(),
        }
    }

    /// Queues an op, or answers it at once.
    pub fn op(&mut self, op: Op, now: Instant, outbox: &mut Outbox) {
        match &op {
            Op::Watch { .. } => return, // all frames are reported anyway
            Op::Pulse { id, .. } => {
                return outbox.done(*id, Err(Failure::Refused("a serial port has no lines to pulse".into())));
            }
            Op::Publish { id, .. } => {
                let words = "nobody listens to what is told on a serial port";
                return outbox.done(*id, Err(Failure::Refused(words.into())));
            }
            Op::Write { id, .. } | Op::Ask { id, .. } if self.queue.len() >= OP_QUEUE => {
                return outbox.done(*id, Err(Failure::Busy));
            }
            Op::Write { .. } | Op::Ask { .. } => self.queue.push_back((now, op)),
        }
        self.proceed(now, outbox);
    }

    /// Takes bytes from the port.
    pub fn received(&mut self, bytes: &[u8], now: Instant, outbox: &mut Outbox) {
        let bytes = self.without_echo(bytes);
        self.framer.push(&bytes);
        while let Some(frame) = self.framer.frame() {
            self.frame(frame, now, outbox);
        }
        self.heard = self.framer.waits().then_some(now);
        self.count_dropped(now);
        self.proceed(now, outbox);
    }

    /// What came but is no echo of what was sent. Bytes that begin like the echo are held back until
    /// they differ from it.
    fn without_echo(&mut self, bytes: &[u8]) -> Bytes {
        let Some(due) = self.echo.get(self.echoed..).filter(|due| !due.is_empty()) else {
            return Bytes::copy_from_slice(bytes);
        };
        let same = due.iter().zip(bytes).take_while(|(sent, came)| sent == came).count();
        if same == due.len() {
            self.echo.clear();
        } else if same < bytes.len() {
            let mut all = self.echo.split();
            all.truncate(self.echoed);
            all.extend_from_slice(bytes);
            self.echoed = 0;
            return all.freeze();
        } else {
            self.echoed += same;
            return Bytes::new();
        }
        self.echoed = 0;
        Bytes::copy_from_slice(bytes.get(same..).unwrap_or_default())
    }

    fn count_dropped(&mut self, now: Instant) {
        let dropped = self.framer.take_dropped();
        // A bad line drops thousands a day.
        if let Some(dropped) = self.dropped.add(dropped, now) {
            tracing::info!(path = %self.settings.path.display(), dropped, "what was no frame, or a damaged one, was dropped");
        }
    }

    /// The port took the last byte of `out`.
    pub fn taken(&mut self, now: Instant) {
        if let State::Sending { id, ask: Some((channel, timeout)), .. } = &self.state {
            self.state = State::Waiting { id: *id, channel: channel.clone(), until: now + *timeout };
        }
    }

    /// When [`Desk::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let silence = self.heard.zip(self.settings.framing.gap()).map(|(heard, gap)| heard + gap);
        self.state_deadline().into_iter().chain(silence).min()
    }

    fn state_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Idle => None,
            State::Sending { look, until, .. } if self.out.is_empty() => Some(*look.min(until)),
            State::Sending { until, .. }
            | State::Waiting { until, .. }
            | State::Waking { until, .. }
            | State::Resting { until } => Some(*until),
        }
    }

    /// Time has come; `unsent` bytes are still in the port's own buffer.
    ///
    /// # Errors
    /// A write that does not leave: what is left of it must not leave later.
    pub fn tick(&mut self, unsent: usize, now: Instant, outbox: &mut Outbox) -> Result<(), Stuck> {
        let silent =
            self.heard.zip(self.settings.framing.gap()).is_some_and(|(heard, gap)| now >= heard + gap);
        if silent {
            self.heard = None;
            if let Some(frame) = self.framer.silence() {
                self.frame(frame, now, outbox);
            }
            self.count_dropped(now);
        }
        match &mut self.state {
            State::Sending { id, look, until, .. } => {
                if self.out.is_empty() && unsent == 0 {
                    outbox.done(*id, Ok(()));
                    self.rest(now);
                } else if now >= *until {
                    outbox.done(*id, Err(Failure::Timeout));
                    self.state = State::Idle;
                    return Err(Stuck);
                } else {
                    *look = now + LOOK;
                }
            }
            State::Waiting { id, until, .. } if now >= *until => {
                outbox.done(*id, Err(Failure::Timeout));
                self.rest(now);
            }
            State::Resting { until } if now >= *until => self.state = State::Idle,
            State::Waking { op, until } if now >= *until => {
                let op = op.clone();
                self.send(op, now);
            }
            _ => {}
        }
        self.proceed(now, outbox);
        Ok(())
    }

    /// The port is gone: what was begun has an unknown fate, what only waited was never sent.
    pub fn fail(&mut self, outbox: &mut Outbox) {
        if let State::Sending { id, .. } | State::Waiting { id, .. } = self.state {
            outbox.done(id, Err(Failure::Broken));
        }
        if let State::Waking { op, .. } = &self.state
            && let Some(id) = op.id()
        {
            outbox.done(id, Err(Failure::NotConnected));
        }
        self.state = State::Idle;
        self.out.clear();
        for id in self.queue.drain(..).filter_map(|(_, op)| op.id()) {
            outbox.done(id, Err(Failure::NotConnected));
        }
    }

    fn frame(&mut self, frame: Bytes, now: Instant, outbox: &mut Outbox) {
        let read = |channel: Channel| Event::Read { channel, payload: frame.clone(), retained: false };
        match &self.state {
            State::Waiting { id, channel, .. } => {
                let id = *id;
                outbox.push(read(channel.clone()));
                outbox.done(id, Ok(()));
                self.rest(now);
            }
            _ => outbox.push(read(Channel::new(UNSOLICITED))),
        }
    }

    fn rest(&mut self, now: Instant) {
        self.state = match self.settings.gap.is_zero() {
            true => State::Idle,
            false => State::Resting { until: now + self.settings.gap },
        };
    }

    /// Begins the next op when nothing is under way; what waited too long is not done any more.
    fn proceed(&mut self, now: Instant, outbox: &mut Outbox) {
        while matches!(self.state, State::Idle) {
            let Some((since, op)) = self.queue.pop_front() else { return };
            let Some(id) = op.id() else { continue };
            if now.duration_since(since) > MAX_WAIT {
                outbox.done(id, Err(Failure::Busy));
                continue;
            }
            match &self.settings.wake {
                Some(wake) if self.spoke.is_none_or(|at| now >= at + wake.after) => {
                    self.out.extend_from_slice(&wake.send);
                    self.state = State::Waking { op, until: now + wake.wait };
                }
                _ => self.send(op, now),
            }
        }
    }

    fn send(&mut self, op: Op, now: Instant) {
        let (id, payload, ask) = match op {
            Op::Write { id, payload, .. } => (id, payload, None),
            Op::Ask { id, channel, payload, timeout } => (id, payload, Some((channel, timeout))),
            Op::Watch { .. } | Op::Pulse { .. } | Op::Publish { .. } => return,
        };
        let before = self.out.len();
        self.settings.framing.wrap(&payload, &mut self.out);
        self.echo.clear();
        self.echoed = 0;
        if self.settings.echo {
            self.echo.extend_from_slice(self.out.get(before..).unwrap_or_default());
        }
        self.spoke = Some(now);
        let needed = time_for(self.out.len(), self.settings.baud);
        self.state = State::Sending { id, ask, look: now + needed, until: now + needed + WRITE_SLACK };
        if self.out.is_empty() {
            self.taken(now);
        }
    }
}

#[cfg(test)]
mod tests;

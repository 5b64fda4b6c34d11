//! One thing at a time on a port: bytes and time in, bytes and events out. No port here.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sipliance_driver::{Channel, Event, Failure, Framer, MAX_WAIT, OP_QUEUE, Op, OpId, Outbox};
use tokio::time::Instant;

use crate::{Settings, UNSOLICITED};

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
        self.count_dropped();
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

    fn count_dropped(&mut self) {
        let dropped = self.framer.take_dropped();
        if dropped > 0 {
            // A bad line drops thousands a day; one by one they would fill the journal.
            tracing::debug!(path = %self.settings.path.display(), dropped, "what was no frame was dropped");
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
            self.count_dropped();
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
        let needed = self.settings.time_for(self.out.len());
        self.state = State::Sending { id, ask, look: now + needed, until: now + needed + WRITE_SLACK };
        if self.out.is_empty() {
            self.taken(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use sipliance_driver::{Checksum, Cut, Framing, Wake};
    use tokio::sync::mpsc;

    use super::*;

    struct Bench {
        desk: Desk,
        outbox: Outbox,
        events: mpsc::Receiver<Event>,
        now: Instant,
    }

    fn bench(gap_ms: u64) -> Bench {
        let framing = Framing {
            cut: Cut::End(b":".to_vec()),
            send_end: b"\r".to_vec(),
            trim: b"\r\n".to_vec(),
            ..Framing::lines()
        };
        with(Settings { framing, gap: Duration::from_millis(gap_ms), ..Settings::new("/dev/null") })
    }

    fn with(settings: Settings) -> Bench {
        let (tx, events) = mpsc::channel(256);
        Bench { desk: Desk::new(settings), outbox: Outbox::new(tx), events, now: Instant::now() }
    }

    impl Bench {
        fn ask(&mut self, id: u64, payload: &'static str) {
            let channel = Channel::new("power");
            let op =
                Op::Ask { id: OpId(id), channel, payload: payload.into(), timeout: Duration::from_secs(3) };
            self.desk.op(op, self.now, &mut self.outbox);
        }

        fn write(&mut self, id: u64, payload: &'static str) {
            let op = Op::Write { id: OpId(id), channel: Channel::new("tx"), payload: payload.into() };
            self.desk.op(op, self.now, &mut self.outbox);
        }

        fn sent(&mut self) -> Vec<u8> {
            let bytes = self.desk.out.split().to_vec();
            self.desk.taken(self.now);
            bytes
        }

        fn wait(&mut self, unsent: usize) -> Result<(), Stuck> {
            self.now = self.desk.deadline().expect("something to wait for");
            self.desk.tick(unsent, self.now, &mut self.outbox)
        }

        fn events(&mut self) -> Vec<Event> {
            std::iter::from_fn(|| self.events.try_recv().ok()).collect()
        }
    }

    fn read(channel: &str, payload: &'static str) -> Event {
        Event::Read { channel: Channel::new(channel), payload: payload.into(), retained: false }
    }

    fn done(id: u64, result: Result<(), Failure>) -> Event {
        Event::Done { id: OpId(id), result }
    }

    #[test]
    fn questions_go_one_by_one_with_a_gap_and_frames_between_are_unsolicited() {
        let mut b = bench(100);
        b.ask(1, "PWR?");
        b.ask(2, "LAMP?");
        assert_eq!(b.sent(), b"PWR?\r");
        b.desk.received(b"PWR=01\r:ALERT:", b.now, &mut b.outbox);
        assert_eq!(b.events(), [read("power", "PWR=01"), done(1, Ok(())), read("rx", "ALERT")]);
        assert_eq!(b.sent(), b"", "the line rests");
        let before = b.now;
        b.wait(0).unwrap();
        assert_eq!(b.now - before, Duration::from_millis(100));
        assert_eq!(b.sent(), b"LAMP?\r");
        b.wait(0).unwrap();
        assert_eq!(b.events(), [done(2, Err(Failure::Timeout))]);
        b.desk.received(b"LAMP=812:", b.now, &mut b.outbox);
        assert_eq!(b.events(), [read("rx", "LAMP=812")], "a late answer is no answer");
    }

    #[test]
    fn a_write_is_done_when_its_bits_have_left() {
        let mut b = bench(0);
        b.write(1, "PWR ON");
        b.write(2, "PWR OFF");
        let began = b.now;
        assert_eq!(b.sent(), b"PWR ON\r");
        b.wait(3).unwrap();
        assert!(b.now - began >= Duration::from_millis(7), "7 bytes at 9600 baud take {:?}", b.now - began);
        assert_eq!(b.events(), []);
        b.wait(0).unwrap();
        assert_eq!(b.events(), [done(1, Ok(()))]);
        assert_eq!(b.sent(), b"PWR OFF\r");
    }

    #[test]
    fn a_port_that_takes_nothing_is_stuck_and_the_rest_was_never_sent() {
        let mut b = bench(0);
        b.write(1, "A");
        b.write(2, "B");
        let mut result = Ok(());
        for _ in 0..10_000 {
            result = b.wait(2);
            if result.is_err() {
                break;
            }
        }
        assert_eq!(result, Err(Stuck));
        b.desk.fail(&mut b.outbox);
        assert_eq!(b.events(), [done(1, Err(Failure::Timeout)), done(2, Err(Failure::NotConnected))]);
        assert!(b.desk.out.is_empty());
    }

    #[test]
    fn what_waited_too_long_is_not_done_late() {
        let mut b = bench(0);
        let channel = Channel::new("power");
        let timeout = MAX_WAIT + Duration::from_secs(1);
        let ask = Op::Ask { id: OpId(1), channel, payload: "PWR ON".into(), timeout };
        b.desk.op(ask, b.now, &mut b.outbox);
        b.write(2, "OPEN");
        b.sent();
        b.wait(0).unwrap();
        assert_eq!(b.events(), [done(1, Err(Failure::Timeout)), done(2, Err(Failure::Busy))]);
        assert_eq!(b.sent(), b"");
    }

    #[test]
    fn a_full_queue_is_busy() {
        let mut b = bench(0);
        (0..=OP_QUEUE as u64 + 1).for_each(|id| b.write(id, "A"));
        assert_eq!(b.events(), [done(OP_QUEUE as u64 + 1, Err(Failure::Busy))]);
    }

    #[test]
    fn an_echo_is_no_answer_and_what_differs_is_none() {
        let mut b = bench(0);
        b.desk.settings.echo = true;
        b.ask(1, "PWR?");
        assert_eq!(b.sent(), b"PWR?\r");
        b.desk.received(b"PW", b.now, &mut b.outbox);
        b.desk.received(b"R?\rPWR=01:", b.now, &mut b.outbox);
        assert_eq!(b.events(), [read("power", "PWR=01"), done(1, Ok(()))]);
        b.ask(2, "LAMP?");
        b.sent();
        b.desk.received(b"LOW:LAMP?\r:", b.now, &mut b.outbox);
        assert_eq!(b.events(), [read("power", "LOW"), done(2, Ok(())), read("rx", "LAMP?")]);
    }

    #[test]
    fn a_sleeping_device_is_roused_once() {
        let ms = Duration::from_millis;
        let mut b = bench(0);
        b.desk.settings.wake = Some(Wake { send: b"\r".to_vec(), after: ms(30_000), wait: ms(100) });
        b.write(1, "A");
        assert_eq!(b.desk.out.split().to_vec(), b"\r");
        let began = b.now;
        b.wait(0).unwrap();
        assert_eq!(b.now - began, ms(100));
        assert_eq!(b.sent(), b"A\r");
        b.wait(0).unwrap();
        b.write(2, "B");
        assert_eq!(b.sent(), b"B\r", "it is awake");
        b.wait(0).unwrap();
        b.now += ms(30_000);
        b.write(3, "C");
        assert_eq!(b.desk.out.split().to_vec(), b"\r");
        b.desk.fail(&mut b.outbox);
        assert_eq!(b.events(), [done(1, Ok(())), done(2, Ok(())), done(3, Err(Failure::NotConnected))]);
    }

    #[test]
    fn silence_ends_a_frame_and_answers_a_question() {
        let gap = Duration::from_millis(20);
        let framing = Framing {
            cut: Cut::Silence(gap),
            checksum: Some(Checksum::Sum8),
            send_end: Vec::new(),
            ..Framing::lines()
        };
        let mut b = with(Settings { framing, ..Settings::new("/dev/null") });
        b.ask(1, "\x01\x02");
        assert_eq!(b.sent(), b"\x01\x02\x03");
        b.desk.received(b"\x05", b.now, &mut b.outbox);
        b.now += Duration::from_millis(10);
        b.desk.received(b"\x06\x0b", b.now, &mut b.outbox);
        assert_eq!(b.events(), []);
        let heard = b.now;
        b.wait(0).unwrap();
        assert_eq!(b.now - heard, gap);
        assert_eq!(b.events(), [read("power", "\x05\x06"), done(1, Ok(()))]);
        assert_eq!(b.desk.deadline(), None, "nothing to wait for");
    }
}

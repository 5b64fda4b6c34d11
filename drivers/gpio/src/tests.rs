//! The driver's own loop on lines that a test wires up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use sipliance_driver::conformance::{self, Rig};
use sipliance_driver::{Channel, OpId, pair};
use tokio::sync::Notify;

use super::*;

/// Two lines: `relay` (output, active low) and `reed` (input, active low).
#[derive(Clone, Default)]
struct Board(Arc<(Mutex<State>, Notify)>);

#[derive(Default)]
struct State {
    requests: usize,
    busy: bool,
    lost: bool,
    high: [bool; 2],
    edges: VecDeque<Edge>,
    /// Every level that the relay had electrically, from the request on, with the time in ms.
    relay: Vec<(bool, u128)>,
    /// Every duty that the lamp had.
    lamp: Vec<String>,
    began: Option<Instant>,
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    fn request(&self, settings: &Settings) -> Result<FakeLines, String> {
        let mut state = self.state();
        if state.busy {
            return Err("line GPIO17 (relay): busy, \"other\" holds it".into());
        }
        state.requests += 1;
        state.lost = false;
        let relay = &settings.lines[0];
        let Direction::Out { initial, .. } = relay.direction else { panic!("relay is an output") };
        let high = initial != relay.active_low;
        state.drive(high);
        Ok(FakeLines(self.clone()))
    }

    fn edge(&self, high: bool) {
        let mut state = self.state();
        state.high[1] = high;
        state.edges.push_back(Edge { line: 1, level: high, at: Instant::now().into_std() });
        self.0.1.notify_one();
    }

    fn lose(&self) {
        let mut state = self.state();
        (state.busy, state.lost) = (true, true);
        self.0.1.notify_one();
    }

    fn relay(&self) -> Vec<(bool, u128)> {
        self.state().relay.clone()
    }
}

impl State {
    fn drive(&mut self, high: bool) {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.high[0] = high;
        self.relay.push((high, began.elapsed().as_millis()));
    }
}

struct FakeLines(Board);

impl Lines for FakeLines {
    fn high(&self, line: usize) -> Result<bool, String> {
        Ok(self.0.state().high[line])
    }

    fn drive(&mut self, line: usize, high: bool) -> Result<(), String> {
        assert_eq!(line, 0, "only the relay is driven");
        self.0.state().drive(high);
        Ok(())
    }

    fn duty(&self, _: usize) -> Result<Duty, String> {
        Ok(self.0.state().lamp.last().and_then(|text| Duty::parse(text)).unwrap_or_default())
    }

    fn dim(&mut self, line: usize, duty: Duty) -> Result<(), String> {
        assert_eq!(line, 2, "only the lamp is dimmed");
        self.0.state().lamp.push(duty.to_string());
        Ok(())
    }

    fn pending(&self) -> bool {
        !self.0.state().edges.is_empty()
    }

    async fn edge(&mut self) -> Result<Edge, String> {
        loop {
            let notified = self.0.0.1.notified();
            {
                let mut state = self.0.state();
                if state.lost {
                    return Err("the lines are lost: pulled".into());
                }
                if let Some(edge) = state.edges.pop_front() {
                    return Ok(edge);
                }
            }
            notified.await;
        }
    }
}

fn settings(at_exit: Option<bool>) -> Settings {
    let line = |name: &str, pin: &str, direction| Line {
        name: name.into(),
        pin: pin.into(),
        active_low: true,
        direction,
    };
    let debounce = Duration::from_millis(100);
    Settings {
        lines: vec![
            line("relay", "GPIO17", Direction::Out { initial: false, at_exit }),
            line("reed", "GPIO27", Direction::In { pull: Pull::Up, debounce }),
        ],
        consumer: "sipliance".into(),
        pwm: PWM_CHIPS.into(),
    }
}

fn start(board: &Board, at_exit: Option<bool>) -> (sipliance_driver::Link, tokio::task::JoinHandle<Exit>) {
    let (link, port) = pair();
    let board = board.clone();
    (link, tokio::spawn(run_on(settings(at_exit), port, move |settings: &Settings| board.request(settings))))
}

fn pulse(id: u64, ms: u64) -> Op {
    Op::Pulse { id: OpId(id), channel: Channel::new("relay"), on: Duration::from_millis(ms) }
}

fn write(id: u64, channel: &str, payload: &'static str) -> Op {
    Op::Write { id: OpId(id), channel: Channel::new(channel), payload: payload.into() }
}

fn read(channel: &str, payload: &'static str) -> Event {
    Event::Read { channel: Channel::new(channel), payload: payload.into(), retained: false }
}

fn edge(channel: &str, payload: &'static str, at: Instant) -> Event {
    Event::Edge { channel: Channel::new(channel), payload: payload.into(), at: at.into_std() }
}

fn done(id: u64, result: Result<(), Failure>) -> Event {
    Event::Done { id: OpId(id), result }
}

async fn next(link: &mut sipliance_driver::Link) -> Event {
    tokio::time::timeout(Duration::from_secs(100), link.events.recv()).await.unwrap().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_start_moves_no_relay_and_tells_the_levels_after_up() {
    let board = Board::default();
    let (mut link, task) = start(&board, None);
    for channel in ["relay", "reed"] {
        link.ops.send(Op::Watch { channel: Channel::new(channel) }).await.unwrap();
    }
    assert_eq!(next(&mut link).await, Event::Up);
    // The reed is low: active, the door is shut. The relay is high: inactive.
    assert_eq!(next(&mut link).await, read("relay", "0"));
    assert_eq!(next(&mut link).await, read("reed", "1"));
    board.edge(true);
    assert_eq!(next(&mut link).await, edge("reed", "0", Instant::now()));
    drop(link);
    assert_eq!(task.await.unwrap(), Exit::Closed);
    assert_eq!(board.relay(), [(true, 0)], "one level, from the request on");
}

#[tokio::test(start_paused = true)]
async fn a_pulse_is_timed_here_and_a_second_one_is_busy_meanwhile() {
    let board = Board::default();
    let (mut link, _task) = start(&board, None);
    link.ops.send(Op::Watch { channel: Channel::new("relay") }).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("relay", "0")]);
    link.ops.send(pulse(1, 500)).await.unwrap();
    link.ops.send(pulse(2, 500)).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [done(1, Ok(())), read("relay", "1")]);
    assert_eq!(next(&mut link).await, done(2, Err(Failure::Busy)));
    assert_eq!(next(&mut link).await, read("relay", "0"));
    assert_eq!(board.relay(), [(true, 0), (false, 0), (true, 500)]);
}

#[tokio::test(start_paused = true)]
async fn a_pulse_is_released_when_the_port_closes_and_when_the_task_dies() {
    for dies in [false, true] {
        let board = Board::default();
        let (mut link, task) = start(&board, None);
        link.ops.send(pulse(1, 60_000)).await.unwrap();
        while next(&mut link).await != done(1, Ok(())) {}
        match dies {
            true => task.abort(),
            false => drop(link),
        }
        let _ = task.await;
        assert_eq!(board.relay(), [(true, 0), (false, 0), (true, 0)], "dies: {dies}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_stays_at_exit_unless_told_otherwise() {
    for (at_exit, levels) in [(None, &[true, false][..]), (Some(false), &[true, false, true])] {
        let board = Board::default();
        let (mut link, task) = start(&board, at_exit);
        link.ops.send(write(1, "relay", "1")).await.unwrap();
        while next(&mut link).await != done(1, Ok(())) {}
        drop(link);
        task.await.unwrap();
        let seen: Vec<_> = board.relay().into_iter().map(|(high, _)| high).collect();
        assert_eq!(seen, levels, "{at_exit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_press_is_seen_whole_even_when_it_is_over_already() {
    let board = Board::default();
    board.state().high[1] = true;
    let (mut link, _task) = start(&board, None);
    link.ops.send(Op::Watch { channel: Channel::new("reed") }).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "0")]);
    board.edge(false);
    board.edge(true);
    let now = Instant::now();
    let levels = [next(&mut link).await, next(&mut link).await];
    assert_eq!(levels, [edge("reed", "1", now), edge("reed", "0", now)]);
}

#[tokio::test(start_paused = true)]
async fn a_level_that_no_edge_told_is_read_when_it_is_calm() {
    let board = Board::default();
    let (mut link, _task) = start(&board, None);
    link.ops.send(Op::Watch { channel: Channel::new("reed") }).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("reed", "1")]);
    board.edge(true);
    board.state().high[1] = false; // the edge back was lost
    let began = Instant::now();
    assert_eq!(next(&mut link).await, edge("reed", "0", began));
    assert_eq!(next(&mut link).await, read("reed", "1"));
    assert_eq!(began.elapsed(), CALM);
}

#[tokio::test(start_paused = true)]
async fn what_a_line_cannot_do_is_refused_in_words() {
    let board = Board::default();
    let (mut link, _task) = start(&board, None);
    link.ops.send(Op::Watch { channel: Channel::new("lamp") }).await.unwrap();
    let ops = [
        write(1, "reed", "1"),
        write(2, "relay", "on"),
        write(3, "lamp", "1"),
        pulse(4, 60_001),
        pulse(5, 0),
    ];
    for op in ops {
        link.ops.send(op).await.unwrap();
    }
    let mut refused = 0;
    while refused < 5 {
        match next(&mut link).await {
            Event::Done { result: Err(Failure::Refused(_)), .. } => refused += 1,
            Event::Unwatched { why, .. } => {
                assert_eq!(why.0, "no line is called lamp; there are: relay, reed")
            }
            Event::Up => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(board.relay(), [(true, 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_lamp_is_dimmed_read_back_and_left_as_it_should_be() {
    let board = Board::default();
    let (mut link, port) = pair();
    let mut settings = settings(None);
    let dimmed =
        PwmSettings { period: Duration::from_millis(1), initial: Duty::OFF, at_exit: Some(Duty::OFF) };
    let direction = Direction::Pwm(dimmed);
    settings.lines.push(Line { name: "lamp".into(), pin: "a/0".into(), active_low: false, direction });
    let lines = board.clone();
    let task = tokio::spawn(run_on(settings, port, move |settings: &Settings| lines.request(settings)));
    link.ops.send(Op::Watch { channel: Channel::new("lamp") }).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [Event::Up, read("lamp", "0")]);
    link.ops.send(write(1, "lamp", "37.5")).await.unwrap();
    assert_eq!([next(&mut link).await, next(&mut link).await], [done(1, Ok(())), read("lamp", "37.5")]);
    let on = Duration::from_secs(1);
    let pulse = Op::Pulse { id: OpId(4), channel: Channel::new("lamp"), on };
    for op in [write(2, "lamp", "101"), write(3, "lamp", "on"), pulse] {
        link.ops.send(op).await.unwrap();
        assert!(matches!(next(&mut link).await, Event::Done { result: Err(Failure::Refused(_)), .. }));
    }
    drop(link);
    task.await.unwrap();
    assert_eq!(board.state().lamp, ["37.5", "0"]);
}

impl Rig for Board {
    fn start(&mut self) -> (sipliance_driver::Link, tokio::task::JoinHandle<Exit>) {
        start(self, None)
    }

    fn channel(&self) -> Channel {
        Channel::new("relay")
    }

    fn payload(&self) -> Bytes {
        Bytes::from_static(b"1")
    }

    async fn speak(&mut self) {} // the level after Up speaks

    async fn cut(&mut self) {
        self.lose();
    }

    async fn mend(&mut self) {
        self.state().busy = false;
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_every_promise_of_a_driver() {
    let mut board = Board::default();
    conformance::check(&mut board).await.unwrap();
    assert_eq!(board.state().requests, 2);
}

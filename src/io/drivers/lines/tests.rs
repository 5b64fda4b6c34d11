//! Lines that change while others are held, on pretended drivers that write down what they do.

use std::sync::Mutex;

use sipliance_driver::{Link, OpId, pair};
use sipliance_driver_gpio::{Direction, Pull};

use super::*;

type Log = Arc<Mutex<Vec<String>>>;

/// Takes its line, tells its level when it is watched, acknowledges what it is told; lets go at the end.
fn pretend(log: &Log) -> Driver {
    let log = log.clone();
    Arc::new(move |settings: Settings, mut port: Port| {
        let log = log.clone();
        Box::pin(async move {
            let line = settings.lines[0].clone();
            log.lock().unwrap().push(format!("{} taken", line.pin));
            port.events.send(Event::Up).await.unwrap();
            while let Some(op) = port.ops.recv().await {
                let channel = op.channel().clone();
                let event = match op.id() {
                    Some(OpId(99)) => panic!("out of order"),
                    Some(id) => Event::Done { id, result: Ok(()) },
                    None => Event::Read { channel, payload: line.pin.clone().into(), retained: false },
                };
                let _ = port.events.send(event).await;
            }
            let at_exit = match line.direction {
                Direction::Out { at_exit: Some(level), .. } => format!(" at {level}"),
                _ => String::new(),
            };
            log.lock().unwrap().push(format!("{} let go{at_exit}", line.pin));
            Exit::Closed
        })
    })
}

fn settings(lines: &[(&str, &str, bool)]) -> Settings {
    let line = |(name, pin, out): &(&str, &str, bool)| Line {
        name: (*name).into(),
        pin: (*pin).into(),
        active_low: false,
        direction: match out {
            true => Direction::Out { initial: false, at_exit: Some(false) },
            false => Direction::In { pull: Pull::Up, debounce: Duration::ZERO },
        },
    };
    Settings { lines: lines.iter().map(line).collect(), consumer: "test".into() }
}

struct Bench {
    link: Link,
    log: Log,
    tell: watch::Sender<Settings>,
    task: JoinHandle<Exit>,
}

fn start(lines: &[(&str, &str, bool)]) -> Bench {
    let (tell, wanted) = watch::channel(settings(lines));
    let (link, port) = pair();
    let log = Log::default();
    let task = tokio::spawn(run_on(wanted, port, pretend(&log)));
    Bench { link, log, tell, task }
}

impl Bench {
    async fn next(&mut self) -> Event {
        timeout(Duration::from_secs(5), self.link.events.recv()).await.expect("an event").expect("it runs")
    }

    async fn watch(&self, channel: &str) {
        self.link.ops.send(Op::Watch { channel: Channel::new(channel) }).await.unwrap();
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

fn level(channel: &str, pin: &str) -> Event {
    Event::Read { channel: Channel::new(channel), payload: pin.to_owned().into(), retained: false }
}

#[tokio::test(start_paused = true)]
async fn an_output_is_held_while_the_input_beside_it_changes() {
    let mut bench = start(&[("relay", "GPIO17", true), ("reed", "GPIO27", false)]);
    assert_eq!(bench.next().await, Event::Up);
    bench.watch("relay").await;
    bench.watch("reed").await;
    let told = [bench.next().await, bench.next().await];
    assert!(told.contains(&level("relay", "GPIO17")) && told.contains(&level("reed", "GPIO27")), "{told:?}");
    bench.tell.send_replace(settings(&[("relay", "GPIO17", true), ("reed", "GPIO22", false)]));
    let mut told = Vec::new();
    while !told.contains(&level("reed", "GPIO22")) || !told.contains(&level("relay", "GPIO17")) {
        told.push(bench.next().await);
    }
    assert!(!told.contains(&Event::Up), "it was never down: {told:?}");
    let log = bench.log();
    assert_eq!(log[2..], ["GPIO27 let go", "GPIO22 taken"], "the relay was left alone: {log:?}");
    drop(bench.link);
    assert_eq!(bench.task.await.unwrap(), Exit::Closed);
    assert!(bench.log.lock().unwrap().contains(&"GPIO17 let go at false".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_moves_to_another_pin_is_let_go_first() {
    let mut bench = start(&[("relay", "GPIO17", true)]);
    assert_eq!(bench.next().await, Event::Up);
    bench.tell.send_replace(settings(&[("relay", "GPIO5", true)]));
    let op = Op::Write { id: OpId(1), channel: Channel::new("relay"), payload: "1".into() };
    tokio::time::sleep(Duration::from_millis(10)).await;
    bench.link.ops.send(op).await.unwrap();
    assert_eq!(bench.next().await, Event::Done { id: OpId(1), result: Ok(()) });
    assert_eq!(bench.log(), ["GPIO17 taken", "GPIO17 let go at false", "GPIO5 taken"]);
}

#[tokio::test(start_paused = true)]
async fn a_line_whose_driver_crashes_takes_the_link_with_it() {
    let mut bench = start(&[("relay", "GPIO17", true), ("reed", "GPIO27", false)]);
    assert_eq!(bench.next().await, Event::Up);
    let op = Op::Write { id: OpId(99), channel: Channel::new("reed"), payload: "1".into() };
    bench.link.ops.send(op).await.unwrap();
    let Exit::Lost(why) = bench.task.await.unwrap() else { panic!("it goes on") };
    assert_eq!(why.0, "the driver of line GPIO27 ended");
    assert!(bench.log.lock().unwrap().contains(&"GPIO17 let go at false".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_no_line_is_called_is_refused_in_words() {
    let mut bench = start(&[("relay", "GPIO17", true)]);
    assert_eq!(bench.next().await, Event::Up);
    bench.watch("lamp").await;
    let Event::Unwatched { why, .. } = bench.next().await else { panic!("it is watched") };
    assert_eq!(why.0, "no line is called lamp; there are: relay");
}

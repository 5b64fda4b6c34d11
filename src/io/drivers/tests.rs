//! The supervisor with drivers that fail in every way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sipliance_driver::{Exit, OpId, Port};

use super::*;

fn write(id: u64) -> Op {
    Op::Write { id: OpId(id), channel: Channel::new("c"), payload: "x".into() }
}

fn done(id: u64, result: Result<(), Failure>) -> Event {
    Event::Done { id: OpId(id), result }
}

/// A link's keeper on this test's clock, with the main loop's ends of its channels.
struct Bench {
    queues: Queues,
    events: mpsc::Receiver<(Serial, Event)>,
}

fn keep<F: Future<Output = Exit> + Send + 'static>(run: impl FnMut(Port) -> F + Send + 'static) -> Bench {
    let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
    let start = Start::new("test", run);
    let (queues, keeper) = open(Serial(0), "main".into(), &start, events_tx);
    tokio::spawn(keeper.keep(start));
    Bench { queues, events }
}

fn start_all(starts: Vec<(String, Start)>) -> Supervisor {
    let wires: Arc<Wires> = Arc::new(|_| unreachable!("nothing is simulated"));
    Supervisor::start_all(starts, &wires).unwrap()
}

impl Bench {
    fn send(&self, op: Op) {
        match op {
            Op::Watch { channel } => self.queues.watches.try_send(channel).unwrap(),
            op => self.queues.ops.try_send((Instant::now(), op)).unwrap(),
        }
    }

    async fn next(&mut self) -> Event {
        let next = timeout(Duration::from_secs(200), self.events.recv()).await;
        next.expect("no event in 200 s").expect("the keeper is gone").1
    }
}

/// Reports `Up`, repeats the channels of its watches as payloads, acknowledges every write but `9`,
/// on which it panics, and `8`, which it never answers.
async fn moody(port: Port) -> Exit {
    let Port { mut ops, events } = port;
    events.send(Event::Up).await.unwrap();
    while let Some(op) = ops.recv().await {
        let event = match op {
            Op::Watch { channel } => Event::Read { channel, payload: "seen".into(), retained: false },
            Op::Write { id: OpId(9), .. } => panic!("out of order"),
            Op::Write { id: OpId(8), .. } => continue,
            op => done(op.id().unwrap().0, Ok(())),
        };
        events.send(event).await.unwrap();
    }
    Exit::Closed
}

fn read(channel: &str) -> Event {
    Event::Read { channel: Channel::new(channel), payload: "seen".into(), retained: false }
}

#[tokio::test(start_paused = true)]
async fn a_crashed_driver_comes_back_with_its_watches_and_every_op_has_one_end() {
    let mut bench = keep(moody);
    bench.send(Op::Watch { channel: Channel::new("a") });
    bench.send(Op::Watch { channel: Channel::new("b") });
    bench.send(write(1));
    let first = [bench.next().await, bench.next().await, bench.next().await, bench.next().await];
    assert_eq!(first, [Event::Up, read("a"), read("b"), done(1, Ok(()))], "watches come before later ops");
    bench.send(write(8));
    bench.send(write(9));
    let mut broken = [bench.next().await, bench.next().await];
    broken.sort_by_key(|event| format!("{event:?}"));
    assert_eq!(broken, [done(8, Err(Failure::Broken)), done(9, Err(Failure::Broken))]);
    let Event::Down(why) = bench.next().await else { panic!("no Down") };
    assert_eq!(why.0, "link main: the test driver crashed (out of order); it is started again");
    bench.send(write(10));
    assert_eq!(bench.next().await, done(10, Err(Failure::NotConnected)));
    assert_eq!(
        [bench.next().await, bench.next().await, bench.next().await],
        [Event::Up, read("a"), read("b")]
    );
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_keeps_failing_is_started_ever_more_slowly() {
    let starts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&starts);
    let mut bench = keep(move |_port| {
        count.fetch_add(1, Ordering::Relaxed);
        async { Exit::Lost(Why::new("no luck")) }
    });
    let began = Instant::now();
    for _ in 0..10 {
        assert_eq!(bench.next().await, Event::Down(Why::new("no luck")));
    }
    let took = began.elapsed();
    assert_eq!(starts.load(Ordering::Relaxed), 10);
    // 1 + 2 + 4 + … + 60 + 60 + 60 s, less the jitter.
    assert!((Duration::from_secs(150)..Duration::from_secs(244)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_op_that_waited_behind_a_stalled_driver_is_not_done_late() {
    let mut bench = keep(|port: Port| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        moody(port).await
    });
    (1..=3).for_each(|id| bench.send(write(id)));
    let began = Instant::now();
    assert_eq!(
        [bench.next().await, bench.next().await],
        [done(2, Err(Failure::Busy)), done(3, Err(Failure::Busy))]
    );
    assert_eq!(began.elapsed(), sipliance_driver::MAX_WAIT);
    // Only the one that lay in the driver's own hands is not ours to take back.
    assert_eq!([bench.next().await, bench.next().await], [Event::Up, done(1, Ok(()))]);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_says_done_twice_is_heard_once() {
    let mut bench = keep(|port: Port| async move {
        let Port { mut ops, events } = port;
        while let Some(op) = ops.recv().await {
            let id = op.id().unwrap();
            for _ in 0..2 {
                events.send(Event::Done { id, result: Ok(()) }).await.unwrap();
            }
        }
        Exit::Closed
    });
    bench.send(write(1));
    bench.send(write(2));
    assert_eq!([bench.next().await, bench.next().await], [done(1, Ok(())), done(2, Ok(()))]);
    let more = timeout(Duration::from_secs(5), bench.events.recv()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_driver_that_blocks_its_thread_delays_nobody_and_close_leaves_it_behind() {
    let (free, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Arc::new(std::sync::Mutex::new(blocked));
    let block = move |port: Port| {
        let blocked = Arc::clone(&blocked);
        async move {
            port.events.send(Event::Up).await.unwrap();
            tokio::task::yield_now().await;
            let _ = blocked.lock().unwrap().recv(); // blocks the whole thread
            Exit::Closed
        }
    };
    let mut drivers = start_all(vec![("blocks".into(), Start::new("test", block))]);
    assert_eq!(drivers.recv().await, (LinkId(0), Event::Up));
    let answers: Vec<_> =
        (0..200).filter_map(|id| drivers.send(LinkId(0), write(id), Instant::now())).collect();
    assert!(answers.len() >= 200 - OP_QUEUE - 2, "{}", answers.len());
    assert!(answers.iter().all(|answer| matches!(answer, Event::Done { result: Err(Failure::Busy), .. })));
    let began = std::time::Instant::now();
    drivers.close().await;
    assert!(began.elapsed() < 2 * CLOSE, "it waits for its time, and not for the driver");
    drop(free);
}

#[tokio::test]
async fn links_without_their_driver_are_down_in_words_and_close_is_quick() {
    let starts =
        vec![("main".into(), Start::absent("mqtt", "main")), ("sim".into(), Start::new("test", moody))];
    let mut drivers = start_all(starts);
    let mut first = [drivers.recv().await, drivers.recv().await];
    first.sort_by_key(|(link, _)| *link);
    let [(LinkId(0), Event::Down(why)), (LinkId(1), Event::Up)] = &first else { panic!("{first:?}") };
    assert!(why.0.contains("built without its mqtt driver"), "{why}");
    assert_eq!(drivers.send(LinkId(0), write(1), Instant::now()), None);
    let (link, event) = drivers.recv().await;
    assert!(matches!(event, Event::Done { result: Err(Failure::Refused(_)), .. }) && link == LinkId(0));
    assert!(matches!(
        drivers.send(LinkId(7), write(2), Instant::now()),
        Some(Event::Done { result: Err(Failure::Refused(_)), .. })
    ));
    let began = std::time::Instant::now();
    drivers.close().await;
    assert!(began.elapsed() < CLOSE, "nobody has to be waited for");
}

#[tokio::test]
async fn a_simulated_link_runs_from_its_configuration() {
    let home = "format: 1
mqtt: {main: {host: 127.0.0.1}}
devices: {plug: {profile: tasmota-plug, params: {topic: plug}}}
";
    use crate::config::home::{Profiles, from_text};
    let (config, _) = from_text(std::path::Path::new("home.yaml"), home, "", &Profiles::shipped());
    let mut config = config.unwrap();
    let stage = crate::io::pretend::Stage::set(&mut config, crate::io::pretend::Life { seed: 1, speed: 1 });
    let mut drivers = Supervisor::start(&config.links, move |link| stage.wire(link)).unwrap();
    assert_eq!(
        drivers.send(LinkId(0), Op::Watch { channel: Channel::new("stat/plug/POWER") }, Instant::now()),
        None
    );
    let on = Op::Write { id: OpId(1), channel: Channel::new("cmnd/plug/POWER"), payload: "ON".into() };
    assert_eq!(drivers.send(LinkId(0), on, Instant::now()), None);
    let events = [drivers.recv().await.1, drivers.recv().await.1, drivers.recv().await.1];
    let power =
        Event::Read { channel: Channel::new("stat/plug/POWER"), payload: "ON".into(), retained: false };
    assert_eq!(events, [Event::Up, done(1, Ok(())), power]);
    drivers.close().await;
}

/// Each kind of link reaches its own driver, with what the home file says about it.
#[cfg(all(feature = "modbus", feature = "serial", feature = "mqtt"))]
#[tokio::test]
async fn links_without_their_far_end_say_which_it_is() {
    use crate::config::home::{Profiles, from_text};
    let closed = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (board, broker) = (closed(), closed());
    let home = format!(
        "format: 1
mqtt: {{main: {{host: 127.0.0.1, port: {broker}, version: 5, tls: {{ca: none.pem}}}}}}
serial: {{bus: {{port: /dev/no-such-bus}}, p1: {{port: /dev/no-such-meter}}}}
modbus: {{board: {{host: 127.0.0.1, port: {board}}}}}
devices:
  plug: {{profile: tasmota-plug, params: {{topic: plug}}}}
  meter: {{profile: eastron-sdm120, port: bus}}
  relay: {{profile: modbus-relay, port: board}}
  grid: {{profile: dsmr5-meter, port: p1}}
"
    );
    let (config, reports) = from_text(std::path::Path::new("home.yaml"), &home, "", &Profiles::shipped());
    let config = config.unwrap_or_else(|| panic!("{reports:#?}"));
    let mut drivers = Supervisor::start(&config.links, |_| unreachable!()).unwrap();
    let wanted = [
        format!("broker 127.0.0.1:{broker}: connection refused"),
        "serial port /dev/no-such-bus: there is no such port".to_owned(),
        format!("modbus 127.0.0.1:{board}: connection refused"),
        "serial port /dev/no-such-meter: there is no such port".to_owned(),
    ];
    let mut told = [false; 4];
    while told != [true; 4] {
        let (link, Event::Down(why)) = drivers.recv().await else { panic!("nothing is up") };
        assert!(why.0.starts_with(&wanted[link.0]), "{why}");
        told[link.0] = true;
    }
    drivers.close().await;
}

/// Simulated links of these names, each with a plug that has its name.
fn links(names: &[&str]) -> crate::config::Config {
    use crate::config::home::{Profiles, from_text};
    let (config, reports) = from_text(
        std::path::Path::new("home.yaml"),
        "format: 1\nmqtt: {main: {host: localhost}}\ndevices: {plug: {profile: tasmota-plug, params: {topic: plug}}}\n",
        "",
        &Profiles::shipped(),
    );
    let mut config = config.unwrap_or_else(|| panic!("{reports:#?}"));
    let sim = |name: &&str| Link { name: (*name).to_owned(), settings: crate::config::LinkSettings::Sim };
    config.links = names.iter().map(sim).collect();
    config
}

#[tokio::test]
async fn a_change_ends_what_is_gone_starts_what_is_new_and_leaves_the_rest() {
    let started = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&started);
    let (before, after) = (links(&["a", "b", "c"]), links(&["d", "c", "a"]));
    let mut drivers = Supervisor::start(&before.links, move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        sim::Settings::new(sim::Wire::broker(Vec::new()))
    })
    .unwrap();
    for _ in 0..3 {
        assert_eq!(drivers.recv().await.1, Event::Up);
    }
    drivers.can_change().unwrap();
    drivers.change(&after.links, &Change::between(&before, &after));
    // The kept ones are called anew, and say nothing; the new one comes up.
    assert_eq!(drivers.recv().await, (LinkId(0), Event::Up));
    assert_eq!(started.load(Ordering::Relaxed), 4);
    for link in 0..3 {
        assert_eq!(drivers.send(LinkId(link), write(link as u64), Instant::now()), None);
        assert_eq!(drivers.recv().await, (LinkId(link), done(link as u64, Ok(()))));
    }
    let quiet = timeout(Duration::from_millis(50), drivers.recv()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    drivers.close().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_at_a_link_that_goes_never_acts() {
    let acted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&acted);
    let mut bench = keep(move |port: Port| {
        let count = Arc::clone(&count);
        async move {
            let Port { mut ops, events } = port;
            events.send(Event::Up).await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            while ops.recv().await.is_some() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Exit::Closed
        }
    });
    assert_eq!(bench.next().await, Event::Up);
    (1..=5).for_each(|id| bench.send(write(id)));
    tokio::task::yield_now().await;
    bench.queues.stop.notify_one();
    let ended = timeout(Duration::from_secs(5), &mut bench.queues.ended).await;
    assert!(ended.is_ok(), "the driver has let go");
    assert!(acted.load(Ordering::Relaxed) <= 1, "but for the one that it had: {acted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_repeated_is_told_again_and_kept_once() {
    let mut bench = keep(moody);
    for channel in ["a", "b", "a"] {
        bench.send(Op::Watch { channel: Channel::new(channel) });
    }
    let first = [bench.next().await, bench.next().await, bench.next().await];
    let told = first.iter().filter(|event| **event == read("a")).count();
    assert!(first.contains(&Event::Up) && first.contains(&read("b")) && told >= 1, "{first:?}");
    bench.send(Op::Watch { channel: Channel::new("b") });
    let mut next = bench.next().await;
    while next == read("a") {
        next = bench.next().await;
    }
    assert_eq!(next, read("b"), "told again");
    bench.send(write(9));
    while !matches!(bench.next().await, Event::Up) {}
    assert_eq!([bench.next().await, bench.next().await], [read("a"), read("b")]);
    let more = timeout(Duration::from_secs(5), bench.events.recv()).await;
    assert!(more.is_err(), "{more:?}");
}

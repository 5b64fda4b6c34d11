//! The 1-Wire driver: files that the kernel offers for each probe of the bus.
//!
//! Reading such a file makes the kernel talk on the wire for most of a second, and for ever when the
//! wire is shorted; so it happens on a thread of its own, one file at a time, and is given up after the
//! time that the question has. Nothing is ever written.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Driver, Event, Exit, Failure, Op, OpId, Outbox, Port, Why};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Where the probes are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder that holds one folder per device.
    pub root: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { root: "/sys/bus/w1/devices".into() }
    }
}

/// The driver of the `w1` link.
#[derive(Debug)]
pub struct W1;

impl Driver for W1 {
    const KIND: &'static str = "w1";
    type Settings = Settings;

    async fn run(settings: Settings, port: Port) -> Exit {
        run(settings, port).await
    }
}

/// How often a missing bus is looked for, and one that is there looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Longest file that is read; what is longer is cut.
const LONGEST: u64 = 4096;

/// A file that is being read: the thread cannot be stopped.
type Reading = JoinHandle<io::Result<Bytes>>;

/// Reads files until the gateway closes its end.
pub async fn run(settings: Settings, port: Port) -> Exit {
    let mut bus = Bus {
        root: settings.root,
        ops: port.ops,
        outbox: Outbox::new(port.events),
        up: None,
        stuck: None,
        said: None,
    };
    loop {
        bus.look();
        let until = Instant::now() + LOOK;
        if bus.serve(until).await.is_none() {
            return Exit::Closed;
        }
    }
}

struct Bus {
    root: PathBuf,
    ops: mpsc::Receiver<Op>,
    outbox: Outbox,
    up: Option<bool>,
    /// A file that was given up and whose thread has not come back.
    stuck: Option<Reading>,
    /// What was last told of a probe.
    said: Option<String>,
}

impl Bus {
    /// Is the bus there?
    fn look(&mut self) {
        let up = self.root.is_dir();
        if self.up == Some(up) {
            return;
        }
        self.up = Some(up);
        if up {
            tracing::info!(root = %self.root.display(), "1-Wire bus found");
            return self.outbox.push(Event::Up);
        }
        let why = Why(format!(
            "1-Wire: there is no {} – add `dtoverlay=w1-gpio` to /boot/firmware/config.txt and start again",
            self.root.display()
        ));
        tracing::warn!("{why}");
        self.outbox.push(Event::Down(why));
    }

    /// Answers ops for a while; `None` when the gateway closes its end.
    async fn serve(&mut self, until: Instant) -> Option<()> {
        loop {
            tokio::select! {
                () = sleep_until(until) => return Some(()),
                op = self.ops.recv() => self.op(op?).await,
                () = self.outbox.flush(), if !self.outbox.is_empty() => {}
            }
        }
    }

    async fn op(&mut self, op: Op) {
        let refused = |words: &str| Err(Failure::Refused(words.to_owned()));
        match op {
            Op::Watch { .. } => {}
            Op::Write { id, .. } => self.outbox.done(id, refused("1-Wire devices are only read")),
            Op::Pulse { id, .. } | Op::Publish { id, .. } => {
                self.outbox.done(id, refused("1-Wire devices are only read"));
            }
            Op::Ask { id, .. } if self.up != Some(true) => {
                self.outbox.done(id, Err(Failure::NotConnected));
            }
            Op::Ask { id, channel, timeout, .. } => self.ask(id, channel, timeout).await,
        }
    }

    /// Says once what is wrong with a probe; it is asked again and again.
    fn missing(&mut self, channel: &Channel, error: &io::Error) {
        let words = match error.kind() {
            io::ErrorKind::NotFound => format!("1-Wire {channel}: there is no such probe – is its cable on?"),
            io::ErrorKind::PermissionDenied => {
                format!("1-Wire {channel}: our user may not read it – do its permissions let everybody read?")
            }
            _ => format!("1-Wire {channel}: {error}"),
        };
        if self.said.as_ref() != Some(&words) {
            tracing::warn!("{words}");
            self.said = Some(words);
        }
    }

    async fn ask(&mut self, id: OpId, channel: Channel, timeout: Duration) {
        let Some(path) = inside(&self.root, channel.as_str()) else {
            let words = format!("{channel} is no file of a 1-Wire device");
            return self.outbox.done(id, Err(Failure::Refused(words)));
        };
        let until = Instant::now() + timeout;
        let mut reading = match self.stuck.take() {
            None => tokio::task::spawn_blocking(move || read(&path)),
            // The kernel serves one question at a time; a second thread would hang beside the first.
            Some(stuck) if !stuck.is_finished() => {
                self.stuck = Some(stuck);
                return self.outbox.done(id, Err(Failure::Timeout));
            }
            Some(_) => tokio::task::spawn_blocking(move || read(&path)),
        };
        let result = match timeout_at(until, &mut reading).await {
            Err(_) => {
                self.stuck = Some(reading);
                Err(Failure::Timeout)
            }
            Ok(Ok(Ok(payload))) => {
                if self.said.take().is_some() {
                    tracing::info!("1-Wire {channel}: answers again");
                }
                self.outbox.push(Event::Read { channel, payload, retained: false });
                Ok(())
            }
            Ok(Ok(Err(error))) => {
                self.missing(&channel, &error);
                Err(Failure::Timeout)
            }
            Ok(Err(_)) => Err(Failure::Broken),
        };
        self.outbox.done(id, result);
    }
}

/// `folder/file` below the root, and nothing else.
fn inside(root: &Path, channel: &str) -> Option<PathBuf> {
    let (folder, file) = channel.split_once('/')?;
    let plain = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    (plain(folder) && plain(file)).then(|| root.join(folder).join(file))
}

fn read(path: &Path) -> io::Result<Bytes> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    // The kernel gives an empty file when the probe did not answer.
    if bytes.trim_ascii().is_empty() {
        return Err(io::Error::other("the probe does not answer"));
    }
    // What `w1_slave` says: the checksum of what came, and its result.
    if bytes.split(|byte| *byte == b'\n').any(|line| line.ends_with(b" NO")) {
        return Err(io::Error::other(
            "what the probe said was damaged on the wire – is its cable long or loose?",
        ));
    }
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sipliance_driver::{Link, pair};

    use super::*;

    /// How long a probe may take. A busy machine may need long.
    const PATIENCE: Duration = Duration::from_secs(2);

    struct Rig {
        root: PathBuf,
        link: Link,
        task: JoinHandle<Exit>,
        last: u64,
    }

    impl Rig {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("sipliance-w1-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("28-01193a44fa5c")).unwrap();
            let (link, port) = pair();
            let task = tokio::spawn(run(Settings { root: root.clone() }, port));
            Self { root, link, task, last: 0 }
        }

        fn file(&self) -> PathBuf {
            self.root.join("28-01193a44fa5c/temperature")
        }

        async fn ask(&mut self, channel: &str) -> Vec<Event> {
            self.last += 1;
            let op = Op::Ask {
                id: OpId(self.last),
                channel: Channel::new(channel),
                payload: Bytes::new(),
                timeout: PATIENCE,
            };
            self.link.ops.send(op).await.unwrap();
            let mut events = Vec::new();
            loop {
                let event = self.link.events.recv().await.unwrap();
                let done = matches!(event, Event::Done { .. });
                events.push(event);
                if done {
                    return events;
                }
            }
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    const PROBE: &str = "28-01193a44fa5c/temperature";

    fn result(events: &[Event]) -> Result<(), Failure> {
        match events.last() {
            Some(Event::Done { result, .. }) => result.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_probe_is_read_and_its_absence_told() {
        let mut rig = Rig::new("read");
        fs::write(rig.file(), "20687\n").unwrap();
        assert_eq!(rig.link.events.recv().await, Some(Event::Up));
        let read = Event::Read { channel: Channel::new(PROBE), payload: "20687\n".into(), retained: false };
        assert_eq!(rig.ask(PROBE).await, [read, Event::Done { id: OpId(1), result: Ok(()) }]);
        fs::write(rig.file(), "").unwrap();
        assert_eq!(result(&rig.ask(PROBE).await), Err(Failure::Timeout), "the probe did not answer");
        fs::remove_file(rig.file()).unwrap();
        assert_eq!(result(&rig.ask(PROBE).await), Err(Failure::Timeout), "there is no probe");
        for outside in ["../../etc/passwd", "28-01193a44fa5c/../x", "/etc/passwd", "28-01193a44fa5c", "a/b/c"]
        {
            assert!(matches!(result(&rig.ask(outside).await), Err(Failure::Refused(_))), "{outside}");
        }
    }

    #[tokio::test]
    async fn nothing_is_written_and_the_end_is_quick() {
        let mut rig = Rig::new("write");
        assert_eq!(rig.link.events.recv().await, Some(Event::Up));
        let write = Op::Write { id: OpId(9), channel: Channel::new(PROBE), payload: "1".into() };
        rig.link.ops.send(write).await.unwrap();
        assert!(matches!(
            rig.link.events.recv().await,
            Some(Event::Done { result: Err(Failure::Refused(_)), .. })
        ));
        assert!(!rig.file().exists());
        let (link, _) = pair();
        drop(std::mem::replace(&mut rig.link, link));
        assert_eq!((&mut rig.task).await.unwrap(), Exit::Closed);
    }

    /// The old file of the kernel's driver, of which every line counts.
    #[tokio::test]
    async fn a_damaged_answer_is_no_answer() {
        let mut rig = Rig::new("crc");
        assert_eq!(rig.link.events.recv().await, Some(Event::Up));
        let old = "28-01193a44fa5c/w1_slave";
        let file = rig.root.join(old);
        fs::write(&file, "4b 01 4b 46 7f ff 05 10 e1 : crc=e1 YES\n4b 01 4b 46 7f ff 05 10 e1 t=20687\n")
            .unwrap();
        assert_eq!(result(&rig.ask(old).await), Ok(()));
        fs::write(&file, "4b 01 4b 46 7f ff 05 10 e0 : crc=e1 NO\n4b 01 4b 46 7f ff 05 10 e0 t=20687\n")
            .unwrap();
        let told = rig.ask(old).await;
        assert_eq!(
            told,
            [Event::Done { id: OpId(2), result: Err(Failure::Timeout) }],
            "nothing is read of it"
        );
        fs::write(&file, "\n").unwrap();
        assert_eq!(result(&rig.ask(old).await), Err(Failure::Timeout), "an empty line is no answer");
    }

    #[test]
    fn what_is_wrong_with_a_probe_is_said_in_words() {
        let (events, _) = mpsc::channel(1);
        let (_, ops) = mpsc::channel(1);
        let outbox = Outbox::new(events);
        let mut bus = Bus { root: PathBuf::new(), ops, outbox, up: None, stuck: None, said: None };
        for (kind, words) in [
            (io::ErrorKind::NotFound, "is its cable on?"),
            (io::ErrorKind::PermissionDenied, "our user may not read it"),
        ] {
            bus.missing(&Channel::new(PROBE), &kind.into());
            let said = bus.said.clone().unwrap();
            assert!(said.contains(PROBE) && said.contains(words), "{said}");
        }
    }

    /// A named pipe without a writer never answers, as a shorted wire.
    #[tokio::test]
    async fn a_wire_that_hangs_costs_its_time_and_no_second_thread() {
        let mut rig = Rig::new("hang");
        assert!(std::process::Command::new("mkfifo").arg(rig.file()).status().unwrap().success());
        assert_eq!(rig.link.events.recv().await, Some(Event::Up));
        let began = Instant::now();
        assert_eq!(result(&rig.ask(PROBE).await), Err(Failure::Timeout));
        assert!(began.elapsed() >= PATIENCE);
        let again = Instant::now();
        assert_eq!(result(&rig.ask(PROBE).await), Err(Failure::Timeout));
        assert!(again.elapsed() < PATIENCE, "it does not wait for what hangs: {:?}", again.elapsed());
        fs::write(rig.file(), "20687\n").unwrap(); // the thread that hangs comes back
        fs::remove_file(rig.file()).unwrap();
        fs::write(rig.file(), "20812\n").unwrap();
        while result(&rig.ask(PROBE).await).is_err() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_bus_that_is_off_says_how_to_switch_it_on() {
        let (mut link, port) = pair();
        let root = std::env::temp_dir().join(format!("sipliance-w1-{}-none", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        tokio::spawn(run(Settings { root: root.clone() }, port));
        let Some(Event::Down(why)) = link.events.recv().await else { panic!() };
        assert!(why.0.contains("dtoverlay=w1-gpio"), "{why}");
        fs::create_dir_all(&root).unwrap();
        assert_eq!(link.events.recv().await, Some(Event::Up), "found again by itself");
        fs::remove_dir_all(&root).unwrap();
    }
}

//! The record of what outlives the process and changes too often for a file of its own each: subscriptions,
//! and where phones are.
//!
//! One file, to which is appended. Each entry has a key and stands for itself under a checksum; the
//! last one of a key counts. When most of the file is old it is written anew beside its place, brought to the disk
//! and renamed, and so it is at each start and after each failure. One thread writes, and another waits for
//! the disk: what is written outlives the process, also while the disk takes its time.
//!
//! An SD card is not worn out by it: entries are brought to the disk together, twelve times on end and
//! once in five seconds on the average, and those that can wait do so for a minute.

mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::watch;

use self::file::Log;

pub use self::file::load;

/// How long entries that can wait do so.
const IDLE: Duration = Duration::from_secs(60);
/// Times on end that the disk is asked to keep what it has.
const BURST: u32 = 12;
/// After how long it may be asked once more.
const PACE: Duration = Duration::from_secs(5);
/// How long after a failure the disk is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// Bytes that are on record at most; what comes then is not kept, and the journal says so once.
const LIVE: usize = 64 * 1024 * 1024;
/// Bytes that wait for the disk at most; what comes then is not kept, and the journal says so.
const WAITING: usize = 16 * 1024 * 1024;
/// How long the end of the process waits for the disk.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is on record: the last body of each key.
pub type Records = BTreeMap<Bytes, Bytes>;

/// The hand of the loop on the record.
#[derive(Debug)]
pub struct Journal {
    said: Sender<Said>,
    safe: watch::Receiver<u64>,
    ended: watch::Receiver<bool>,
    thread: Option<JoinHandle<()>>,
    waiting: Arc<AtomicUsize>,
    trouble: watch::Receiver<Option<String>>,
    /// That entries were lost has been told.
    flooded: bool,
    last: u64,
}

/// What the thread that writes hears.
#[derive(Debug)]
enum Said {
    Entry(Entry),
    /// What came of it that the disk was asked.
    Synced(Ask, std::io::Result<()>),
    End,
}

/// That the disk has a file, up to an entry.
#[derive(Debug)]
struct Ask {
    file: File,
    /// The how many-th file it is.
    nth: u64,
    number: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    key: Bytes,
    body: Option<Bytes>,
    waits: bool,
}

impl Entry {
    fn size(&self) -> usize {
        self.key.len() + self.body.as_ref().map_or(0, Bytes::len)
    }
}

impl Journal {
    /// Goes on with `records` in `folder`, which is made when it is needed.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(folder: &Path, records: Records) -> std::io::Result<Self> {
        let (said, receiver) = channel();
        let (asks, asked) = channel::<Ask>();
        let answers = said.clone();
        let (safe_to, safe) = watch::channel(0);
        let (ended_to, ended) = watch::channel(false);
        let (trouble_to, trouble) = watch::channel(None);
        let log = Log::new(folder, records);
        let waiting = Arc::new(AtomicUsize::new(0));
        let size = waiting.clone();
        let work = move || {
            let pace = Pace::new(Instant::now());
            let (number, asking, again, full) = (0, false, false, false);
            let (safe, trouble) = (safe_to, trouble_to);
            Work { log, receiver, size, safe, pace, trouble, asks, number, asking, again, full }.run();
            let _ = ended_to.send(true);
        };
        // It ends when the other one does.
        let disk = move || {
            for ask in asked {
                let done = ask.file.sync_data();
                let _ = answers.send(Said::Synced(ask, done));
            }
        };
        std::thread::Builder::new().name("records-disk".to_owned()).spawn(disk)?;
        let thread = std::thread::Builder::new().name("records".to_owned()).spawn(work)?;
        Ok(Self { said, safe, ended, thread: Some(thread), waiting, trouble, flooded: false, last: 0 })
    }

    /// Puts something on record, or with `None` off it. The number of the entry; see [`Journal::safe`].
    pub fn put(&mut self, key: Bytes, body: Option<Bytes>, waits: bool) -> u64 {
        self.last += 1;
        let entry = Entry { number: self.last, key, body, waits };
        let size = entry.size();
        if self.waiting.load(Ordering::Relaxed) + size > WAITING {
            if !std::mem::replace(&mut self.flooded, true) {
                tracing::error!("the disk takes nothing for too long: what is new ends with the process");
            }
        } else {
            self.waiting.fetch_add(size, Ordering::Relaxed);
            // The thread ends with the journal.
            let _ = self.said.send(Said::Entry(entry));
        }
        self.last
    }

    /// Up to which entry all is as safe as it will be soon: on the disk; in the hands of the system when the disk has
    /// been asked too often; or given up because the disk takes nothing.
    pub fn safe(&self) -> u64 {
        *self.safe.borrow()
    }

    /// Why nothing can be written now.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Waits until [`Journal::safe`] says more.
    pub async fn more_is_safe(&mut self) {
        if self.safe.changed().await.is_err() {
            // The thread is gone, and so is every change.
            std::future::pending::<()>().await;
        }
    }

    /// Brings the rest to the disk, but does not wait for ever.
    pub async fn close(mut self) {
        let _ = self.said.send(Said::End);
        let _ = tokio::time::timeout(FAREWELL, self.ended.wait_for(|ended| *ended)).await;
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) {
            let _ = thread.join();
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let _ = self.said.send(Said::End);
    }
}

/// How often the disk may be asked: a bucket that fills by one in [`PACE`].
#[derive(Debug)]
struct Pace {
    left: u32,
    filled: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { left: BURST, filled: now }
    }

    /// Whether it may be asked now, which counts.
    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && self.filled + PACE <= now {
            (self.left, self.filled) = (self.left + 1, self.filled + PACE);
        }
        if self.left == BURST {
            self.filled = now;
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    /// When it may be asked again.
    fn next(&self) -> Instant {
        self.filled + PACE
    }
}

struct Work {
    log: Log,
    receiver: Receiver<Said>,
    size: Arc<AtomicUsize>,
    safe: watch::Sender<u64>,
    pace: Pace,
    /// Why nothing can be written now.
    trouble: watch::Sender<Option<String>>,
    asks: Sender<Ask>,
    /// The last entry that was taken.
    number: u64,
    /// The disk was asked, and has not answered.
    asking: bool,
    /// More is written than it was asked for.
    again: bool,
    full: bool,
}

impl Work {
    fn run(mut self) {
        // A file that is whole, and no longer than it must be, before anything is added; and none before it
        // is needed.
        if self.log.size() > 0 || self.log.path().exists() {
            let done = self.log.rewrite();
            self.report(&done);
        }
        let mut waiting = Vec::new();
        let mut due: Option<Instant> = None;
        loop {
            let next = match due {
                Some(at) => self.receiver.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut ended = matches!(next, Err(RecvTimeoutError::Disconnected));
            let (mut urgent, mut synced) = (false, Vec::new());
            for said in next.ok().into_iter().chain(std::iter::from_fn(|| self.receiver.try_recv().ok())) {
                match said {
                    Said::Entry(entry) => {
                        urgent |= !entry.waits;
                        waiting.push(entry);
                    }
                    Said::Synced(ask, done) => synced.push((ask, done)),
                    Said::End => ended = true,
                }
            }
            let now = Instant::now();
            for (ask, done) in synced {
                let next = self.on_synced(&ask, done, now);
                due = [due, next].into_iter().flatten().min();
            }
            if urgent || ended || due.is_some_and(|at| at <= now) {
                due = self.store(std::mem::take(&mut waiting), ended, now);
            } else if !waiting.is_empty() {
                due = due.or(Some(now + IDLE));
            }
            if ended {
                return;
            }
        }
    }

    /// Writes entries, and has all brought to the disk when it may be asked. When there is more to be done.
    fn store(&mut self, entries: Vec<Entry>, last: bool, now: Instant) -> Option<Instant> {
        for entry in entries {
            self.number = entry.number;
            self.size.fetch_sub(entry.size(), Ordering::Relaxed);
            if self.log.size() > LIVE && entry.body.is_some() {
                if !std::mem::replace(&mut self.full, true) {
                    tracing::error!(
                        "more is on record than {LIVE} bytes: subscriptions made from now on end with the process"
                    );
                }
                continue;
            }
            self.log.take(entry.key, entry.body);
        }
        let written = self.log.write();
        if written.is_err() {
            return self.give_up(&written, now);
        }
        if last {
            let done = self.log.sync();
            self.report(&done);
            self.safe.send_replace(self.number);
            return None;
        }
        self.again = true;
        if self.asking { None } else { self.ask(now) }
    }

    /// Asks the disk for what is written, when it may be asked; until then it is in the hands of the system.
    fn ask(&mut self, now: Instant) -> Option<Instant> {
        if !self.pace.take(now) {
            self.report(&Ok(()));
            self.safe.send_replace(self.number);
            return Some(self.pace.next());
        }
        self.again = false;
        let asked = self.log.file().and_then(|(file, nth)| {
            let ask = Ask { file, nth, number: self.number };
            self.asks.send(ask).map_err(|_| std::io::Error::other("the thread that asks the disk has ended"))
        });
        match asked {
            Ok(()) => {
                self.asking = true;
                None
            }
            Err(why) => self.give_up(&Err(why), now),
        }
    }

    fn on_synced(&mut self, ask: &Ask, done: std::io::Result<()>, now: Instant) -> Option<Instant> {
        self.asking = false;
        // Another file has taken the place of that one, and is whole.
        if done.is_err() && self.log.fail(ask.nth) {
            return self.give_up(&done, now);
        }
        self.report(&Ok(()));
        self.safe.send_if_modified(|safe| std::mem::replace(safe, ask.number.max(*safe)) < ask.number);
        if self.again { self.ask(now) } else { None }
    }

    /// Nobody waits for what the disk refuses; it is tried again.
    fn give_up(&mut self, why: &std::io::Result<()>, now: Instant) -> Option<Instant> {
        self.again = false;
        self.report(why);
        self.safe.send_replace(self.number);
        Some(now + RETRY)
    }

    /// Tells of the first failure and of its end.
    fn report(&mut self, done: &std::io::Result<()>) {
        let path = self.log.path().display();
        let words = done.as_ref().err().map(|why| {
            format!("{path} cannot be written: {why}; until it can, what is new ends with the process")
        });
        match (&words, self.trouble.send_replace(words.clone())) {
            (Some(words), None) => tracing::error!("{words}"),
            (None, Some(_)) => tracing::info!("{path} is written; the disk works again"),
            _ => {}
        }
    }
}

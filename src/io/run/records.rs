//! What outlives the process: taken from the record at the start, put there while it runs, and what waits
//! until it is there.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Shell, now};
use crate::gateway::Haste;
use crate::io::audit::Audit;
use crate::io::journal::{Journal, Records};
use crate::io::store::Store;
use crate::sip::{FlowId, Hop};

/// How long a packet waits for the disk at most; then it leaves all the same, since a person waits, too.
const PATIENCE: Duration = Duration::from_millis(500);
/// Packets that wait at most; with one more, all leave.
const HELD: usize = 4096;

/// The journal, and packets that wait for it, in their order.
#[derive(Debug)]
pub(super) struct Record {
    journal: Journal,
    held: HashMap<Hop, VecDeque<Held>>,
    count: usize,
    /// Since when packets have left without it.
    slow: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    entry: u64,
    until: Instant,
    bytes: Bytes,
}

impl Record {
    pub fn new(journal: Journal) -> Self {
        Self { journal, held: HashMap::new(), count: 0, slow: None }
    }

    /// When the first packet has waited long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.held.values().filter_map(|queue| Some(queue.front()?.until)).min()
    }

    /// See [`Journal::more_is_safe`].
    pub async fn more_is_safe(&mut self) {
        self.journal.more_is_safe().await;
        self.on_safe();
    }

    /// Why nothing can be written now, or how long the disk has been about it.
    pub fn trouble(&self) -> Option<String> {
        let slow = self.slow.map(|since| {
            format!(
                "the disk has put nothing on record for {} s: answers do not wait for it, and a power cut may lose what is new",
                since.elapsed().as_secs()
            )
        });
        self.journal.trouble().or(slow)
    }

    pub async fn close(self) {
        self.journal.close().await;
    }

    fn put(&mut self, key: Bytes, body: Option<Bytes>, haste: Haste) {
        let entry = self.journal.put(key, body, haste == Haste::Idle);
        if let Haste::Before(hop) = haste {
            // An empty packet is none: it holds the others.
            self.hold(hop, entry, Bytes::new());
        }
    }

    fn hold(&mut self, hop: Hop, entry: u64, bytes: Bytes) {
        let until = Instant::now() + PATIENCE;
        self.held.entry(hop).or_default().push_back(Held { entry, until, bytes });
        self.count += 1;
    }

    /// Takes a packet that has to wait; `Some`: it need not.
    pub fn delay(&mut self, hop: Hop, bytes: Bytes) -> Option<Bytes> {
        let Some(entry) = self.held.get(&hop).and_then(VecDeque::back).map(|last| last.entry) else {
            return Some(bytes);
        };
        self.hold(hop, entry, bytes);
        None
    }

    /// Tells once that packets do not wait any longer, and that they do again.
    fn watch_the_disk(&mut self, safe: u64, now: Instant) {
        let first = self.held.values().filter_map(VecDeque::front).find(|first| first.until <= now);
        if first.is_some_and(|first| first.entry > safe) && self.slow.is_none() {
            self.slow = Some(now.checked_sub(PATIENCE).unwrap_or(now));
            tracing::warn!(
                "the disk takes more than {} ms over the record: answers do not wait for it, and a power cut may lose what is new",
                PATIENCE.as_millis()
            );
        }
    }

    /// The disk has taken something.
    fn on_safe(&mut self) {
        if let Some(since) = self.slow.take() {
            tracing::info!("the record is on the disk again, after {} s", since.elapsed().as_secs());
        }
    }

    /// Packets that need not wait any more.
    pub fn released(&mut self) -> Vec<(Hop, Bytes)> {
        let mut released = Vec::new();
        if self.held.is_empty() {
            return released;
        }
        let (safe, now, full) = (self.journal.safe(), Instant::now(), self.count > HELD);
        self.watch_the_disk(safe, now);
        for (hop, queue) in &mut self.held {
            while queue.front().is_some_and(|first| full || first.entry <= safe || first.until <= now) {
                self.count -= 1;
                released.extend(queue.pop_front().map(|held| (*hop, held.bytes)));
            }
        }
        self.held.retain(|_, queue| !queue.is_empty());
        released
    }
}

impl Shell {
    /// Goes on with what an earlier run left.
    pub(super) fn resume(&mut self, journal: Journal, records: Records) {
        self.record = Some(Record::new(journal));
        let records: Vec<(Bytes, Bytes)> = records.into_iter().collect();
        let sockets = self.sockets.all.iter().filter(|socket| socket.upstream.is_none());
        let sockets: Vec<(FlowId, SocketAddr)> =
            sockets.map(|socket| (socket.flow, socket.local())).collect();
        let found = self.gateway.resume(&records, &sockets, now());
        if !records.is_empty() {
            tracing::info!(
                "from the run before: {} subscriptions go on, {} are told their end, {} phones are reachable, {} alerts are remembered, {} records lead nowhere",
                found.subscriptions,
                found.ended,
                found.bindings,
                found.alerts,
                found.dropped
            );
        }
    }

    /// What is wrong with the disk, in words.
    pub(super) fn disk(&self) -> Vec<String> {
        let record = self.record.as_ref().and_then(Record::trouble);
        let store = self.store.as_ref().and_then(Store::trouble);
        let audit = self.audit.as_ref().and_then(Audit::trouble);
        record.into_iter().chain(store).chain(audit).collect()
    }

    pub(super) fn put_on_record(&mut self, key: Bytes, body: Option<Bytes>, haste: Haste) {
        if let Some(record) = &mut self.record {
            record.put(key, body, haste);
        }
    }
}

/// When more is on record than before; never where there is none.
pub(super) async fn more_is_safe(record: &mut Option<Record>) {
    match record {
        Some(record) => record.more_is_safe().await,
        None => std::future::pending().await,
    }
}

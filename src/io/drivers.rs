//! Drivers on a thread of their own, started again when they end.
//!
//! ```text
//!            ops, watches             ops                 Drivers block, panic and lose their
//! main loop ─────────────> keeper ──────────> driver      hardware; their thread has a runtime of
//!           <─────────────        <──────────             its own, so none of that delays a SIP
//!            (LinkId, Event)         events               timer. One keeper per link.
//! ```
//!
//! Full queues: [`Supervisor::send`] answers `Busy`; a full event channel makes the keepers wait, and
//! each driver then keeps the newest payload per channel.

mod keeper;
#[cfg(feature = "gpio")]
mod lines;
mod listen;
mod start;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{Channel, EVENT_QUEUE, Event, Failure, OP_QUEUE, Op, Why};
use sipliance_driver_sim as sim;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config::change::Change;
use crate::config::{Link, LinkId};
use keeper::{Ends, Keeper};
pub use listen::listen;
use start::{Alter, Start};

/// How many watches one link may have; one more is answered [`Event::Unwatched`].
pub const MAX_WATCHES: usize = 4096;

/// How many keepers there may be, as each may hold one place among the events while it waits for its driver:
/// those of 512 appliances, and those that reloads which still wait have begun or ended.
const KEEPERS: usize = 4096;

/// Reloads that wait for the drivers' thread; when it is full, a reload is refused.
const CHANGES: usize = 4;

/// How long [`Supervisor::close`] waits for the drivers to let go of their hardware.
const CLOSE: Duration = Duration::from_secs(2);

/// The drivers of all links.
pub struct Supervisor {
    /// In the order of [`LinkId`].
    links: Vec<Queues>,
    last: Serial,
    events: mpsc::Receiver<(Serial, Event)>,
    events_to: mpsc::Sender<(Serial, Event)>,
    batches: mpsc::Sender<Batch>,
    wires: Arc<Wires>,
    ended: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Supervisor").field(&self.links).finish()
    }
}

/// Makes the wire of a simulated link.
type Wires = dyn Fn(LinkId) -> sim::Settings + Send + Sync;

/// Names a keeper; none is used twice, so that what one of them still says is not taken for its
/// successor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Serial(u64);

/// What leads to one keeper.
struct Queues {
    serial: Serial,
    ops: mpsc::Sender<(Instant, Op)>,
    watches: mpsc::Sender<Channel>,
    stop: Arc<Notify>,
    ended: oneshot::Receiver<()>,
    alter: Option<Alter>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Queues").field(&self.serial).finish()
    }
}

/// Keepers that begin together, as soon as those before them have let go: they may want the same port.
struct Batch {
    after: Vec<oneshot::Receiver<()>>,
    keepers: Vec<(Keeper, Start)>,
}

impl Supervisor {
    /// Starts the driver of every link, in the order of [`LinkId`]. `wires` makes the wire of a
    /// simulated link, and makes it anew when its driver is started again.
    ///
    /// # Errors
    /// The system gives no thread or no runtime.
    pub fn start(
        links: &[Link],
        wires: impl Fn(LinkId) -> sim::Settings + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let wires: Arc<Wires> = Arc::new(wires);
        let starts =
            links.iter().enumerate().map(|(n, link)| (link.name.clone(), Start::of(LinkId(n), link, &wires)));
        Self::start_all(starts.collect(), &wires)
    }

    /// The links of a new configuration: those that [`Change`] keeps go on with the driver that they
    /// have, the drivers of the others end, and those of what is new begin after that. Events that come
    /// from now on name the new links; what a driver that ends still says is heard by nobody.
    pub fn change(&mut self, links: &[Link], change: &Change) {
        let mut old: Vec<Option<Queues>> = self.links.drain(..).map(Some).collect();
        let mut keepers = Vec::new();
        for (n, link) in links.iter().enumerate() {
            let before = change.link_before(LinkId(n));
            let kept = before.and_then(|(before, kept)| Some((old.get_mut(before.0)?.take()?, kept)));
            let start = Start::of(LinkId(n), link, &self.wires);
            let queues = match kept {
                Some((queues, kept)) => {
                    if let (true, Some(alter)) = (kept.altered, &queues.alter) {
                        alter(link);
                    }
                    queues
                }
                None => {
                    self.last.0 += 1;
                    let (queues, keeper) = open(self.last, link.name.clone(), &start, self.events_to.clone());
                    keepers.push((keeper, start));
                    queues
                }
            };
            self.links.push(queues);
        }
        let after = old.into_iter().flatten().map(|queues| {
            queues.stop.notify_one();
            queues.ended
        });
        let batch = Batch { after: after.collect(), keepers };
        if self.batches.try_send(batch).is_err() {
            tracing::error!("the thread of the drivers stands still, and starts none that is new");
        }
    }

    /// Whether [`Supervisor::change`] can be carried out.
    ///
    /// # Errors
    /// Why not.
    pub fn can_change(&self) -> Result<(), &'static str> {
        match self.batches.is_closed() || self.batches.capacity() == 0 {
            true => Err("the thread of the drivers stands still"),
            false => Ok(()),
        }
    }

    /// The next event of any link. May be dropped without losing one; waits for ever when there is no
    /// link.
    pub async fn recv(&mut self) -> (LinkId, Event) {
        while let Some((serial, event)) = self.events.recv().await {
            if let Some(link) = self.links.iter().position(|queues| queues.serial == serial) {
                return (LinkId(link), event);
            }
        }
        std::future::pending().await
    }

    /// Hands an op to a link's driver, or says why not: an event to be handled as if the driver had
    /// sent it (`Done(Busy)` when its queue is full). Never waits. `since` is when it was wanted: from then
    /// on it may wait for [`sipliance_driver::MAX_WAIT`].
    #[must_use = "an op that was not taken has its answer here"]
    pub fn send(&self, link: LinkId, op: Op, since: Instant) -> Option<Event> {
        let Some(queues) = self.links.get(link.0) else {
            return answer(op, Failure::Refused("there is no such link".into()));
        };
        match op {
            Op::Watch { channel } => match queues.watches.try_send(channel) {
                Ok(()) => None,
                Err(
                    mpsc::error::TrySendError::Full(channel) | mpsc::error::TrySendError::Closed(channel),
                ) => Some(unwatched(channel)),
            },
            op => match queues.ops.try_send((since, op)) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full((_, op))) => answer(op, Failure::Busy),
                Err(mpsc::error::TrySendError::Closed((_, op))) => answer(op, Failure::NotConnected),
            },
        }
    }

    /// Ends every driver: hardware is released, goodbyes are said. A driver that does not end in 2 s
    /// is left behind, and the process may exit.
    pub async fn close(self) {
        let Self { links, events, events_to, batches, ended, thread, .. } = self;
        drop((links, events, events_to, batches));
        match timeout(CLOSE, ended).await {
            Ok(_) => drop(thread.join()),
            Err(_) => tracing::error!("a driver does not end; it is left behind"),
        }
    }

    fn start_all(starts: Vec<(String, Start)>, wires: &Arc<Wires>) -> io::Result<Self> {
        let (events_to, events) = mpsc::channel(EVENT_QUEUE + KEEPERS);
        let (ended_tx, ended) = oneshot::channel();
        let (batches, mut batches_rx) = mpsc::channel::<Batch>(CHANGES);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut last = Serial::default();
        let mut links = Vec::new();
        let mut keepers = Vec::new();
        for (name, start) in starts {
            last.0 += 1;
            let (queues, keeper) = open(last, name, &start, events_to.clone());
            links.push(queues);
            keepers.push((keeper, start));
        }
        let thread = std::thread::Builder::new().name("drivers".into()).spawn(move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                tasks.spawn(keep(Batch { after: Vec::new(), keepers }));
                loop {
                    tokio::select! {
                        batch = batches_rx.recv() => match batch {
                            Some(batch) => drop(tasks.spawn(keep(batch))),
                            None => break,
                        },
                        Some(_) = tasks.join_next() => {}
                    }
                }
                while tasks.join_next().await.is_some() {}
            });
            // A name look-up may still be under way on a helper thread; nobody waits for it.
            runtime.shutdown_background();
            let _ = ended_tx.send(());
        })?;
        let wires = wires.clone();
        Ok(Self { links, last, events, events_to, batches, wires, ended, thread })
    }
}

/// The channels between the main loop and one keeper.
fn open(
    serial: Serial,
    name: String,
    start: &Start,
    events: mpsc::Sender<(Serial, Event)>,
) -> (Queues, Keeper) {
    let (ops, ops_rx) = mpsc::channel(OP_QUEUE);
    let (watches, watches_rx) = mpsc::channel(MAX_WATCHES);
    let (ended_tx, ended) = oneshot::channel();
    let stop = Arc::new(Notify::new());
    let ends = Ends { ops: ops_rx, watches: watches_rx, events, stop: stop.clone(), ended: ended_tx };
    let alter = start.alter.clone();
    (Queues { serial, ops, watches, stop, ended, alter }, Keeper::new(serial, name, ends))
}

/// Runs keepers, when those before them have ended, until all of them have.
async fn keep(batch: Batch) {
    for before in batch.after {
        // It sends nothing, and is dropped at the end.
        let _ = before.await;
    }
    let mut tasks: JoinSet<()> =
        batch.keepers.into_iter().map(|(keeper, start)| keeper.keep(start)).collect();
    while tasks.join_next().await.is_some() {}
}

fn unwatched(channel: Channel) -> Event {
    Event::Unwatched { channel, why: Why(format!("one link may watch {MAX_WATCHES} channels")) }
}

fn answer(op: Op, failure: Failure) -> Option<Event> {
    op.id().map(|id| Event::Done { id, result: Err(failure) })
}

#[cfg(test)]
mod tests;

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
mod listen;
mod start;

use std::io;
use std::time::Duration;

use sipliance_driver::{Channel, EVENT_QUEUE, Event, Failure, OP_QUEUE, Op, Why};
use sipliance_driver_sim as sim;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::config::{Link, LinkId};
use keeper::Keeper;
pub use listen::listen;
use start::Start;

/// How many watches one link may have; one more is answered [`Event::Unwatched`].
pub const MAX_WATCHES: usize = 4096;

/// How long [`Supervisor::close`] waits for the drivers to let go of their hardware.
const CLOSE: Duration = Duration::from_secs(2);

/// The drivers of all links.
#[derive(Debug)]
pub struct Supervisor {
    links: Vec<Queues>,
    events: mpsc::Receiver<(LinkId, Event)>,
    ended: oneshot::Receiver<()>,
    thread: std::thread::JoinHandle<()>,
}

/// What leads to one keeper.
#[derive(Debug)]
struct Queues {
    ops: mpsc::Sender<(Instant, Op)>,
    watches: mpsc::Sender<Channel>,
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
        let wires = std::sync::Arc::new(wires);
        let starts =
            links.iter().enumerate().map(|(n, link)| (link.name.clone(), Start::of(LinkId(n), link, &wires)));
        Self::start_all(starts.collect())
    }

    /// The next event of any link. May be dropped without losing one; waits for ever when there is no
    /// link.
    pub async fn recv(&mut self) -> (LinkId, Event) {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Hands an op to a link's driver, or says why not: an event to be handled as if the driver had
    /// sent it (`Done(Busy)` when its queue is full). Never waits.
    #[must_use = "an op that was not taken has its answer here"]
    pub fn send(&self, link: LinkId, op: Op) -> Option<Event> {
        let Some(queues) = self.links.get(link.0) else {
            return answer(op, Failure::Refused("there is no such link".into()));
        };
        match op {
            Op::Watch { channel } => match queues.watches.try_send(channel) {
                Ok(()) => None,
                Err(
                    mpsc::error::TrySendError::Full(channel) | mpsc::error::TrySendError::Closed(channel),
                ) => {
                    let why = Why(format!("one link may watch {MAX_WATCHES} channels"));
                    Some(Event::Unwatched { channel, why })
                }
            },
            op => match queues.ops.try_send((Instant::now(), op)) {
                Ok(()) => None,
                Err(mpsc::error::TrySendError::Full((_, op))) => answer(op, Failure::Busy),
                Err(mpsc::error::TrySendError::Closed((_, op))) => answer(op, Failure::NotConnected),
            },
        }
    }

    /// Ends every driver: hardware is released, goodbyes are said. A driver that does not end in 2 s
    /// is left behind, and the process may exit.
    pub async fn close(self) {
        let Self { links, events, ended, thread } = self;
        drop((links, events));
        match timeout(CLOSE, ended).await {
            Ok(_) => drop(thread.join()),
            Err(_) => tracing::error!("a driver does not end; it is left behind"),
        }
    }

    fn start_all(starts: Vec<(String, Start)>) -> io::Result<Self> {
        // Each keeper may hold one place in the channel while it waits for its driver.
        let (events_tx, events) = mpsc::channel(EVENT_QUEUE + starts.len());
        let (ended_tx, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut links = Vec::new();
        let mut keepers = Vec::new();
        for (n, (name, start)) in starts.into_iter().enumerate() {
            let (ops, ops_rx) = mpsc::channel(OP_QUEUE);
            let (watches, watches_rx) = mpsc::channel(MAX_WATCHES);
            links.push(Queues { ops, watches });
            keepers.push(Keeper::new(LinkId(n), name, ops_rx, watches_rx, events_tx.clone()).keep(start));
        }
        let thread = std::thread::Builder::new().name("drivers".into()).spawn(move || {
            runtime.block_on(async {
                let mut tasks: JoinSet<()> = keepers.into_iter().collect();
                while tasks.join_next().await.is_some() {}
            });
            // A name look-up may still be under way on a helper thread; nobody waits for it.
            runtime.shutdown_background();
            let _ = ended_tx.send(());
        })?;
        Ok(Self { links, events, ended, thread })
    }
}

fn answer(op: Op, failure: Failure) -> Option<Event> {
    op.id().map(|id| Event::Done { id, result: Err(failure) })
}

#[cfg(test)]
mod tests;

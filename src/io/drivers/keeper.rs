//! Keeps one link's driver alive, and its promises kept where the driver fails.

use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{
    Backoff, Channel, Event, Exit, Failure, Link, MAX_WAIT, OP_QUEUE, Op, OpId, Port, Why,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until, timeout};

use super::start::Start;
use super::{MAX_WATCHES, Serial, unwatched};

/// The first and the longest pause before a driver is started again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A driver that ran this long starts the pauses anew.
const STABLE: Duration = Duration::from_secs(60);

/// How long a driver may take to let go; then it is dropped.
const LET_GO: Duration = Duration::from_millis(1500);

/// How many ops may be with a driver or be answered here; beyond, none is taken from the queue.
const OPEN: usize = 2 * OP_QUEUE;

/// The link between the main loop and a driver that may fail.
///
/// It repeats the watches to a new driver, gives every op its one end when a driver leaves ops
/// behind, and never lets an op wait so long that it would act late.
pub(super) struct Keeper {
    id: Serial,
    name: String,
    ops: mpsc::Receiver<(Instant, Op)>,
    new_watches: mpsc::Receiver<Channel>,
    gateway: mpsc::Sender<(Serial, Event)>,
    /// The link is not in the home file any more.
    stop: Arc<Notify>,
    /// Dropped when the driver has let go.
    _ended: oneshot::Sender<()>,
    watches: Vec<Channel>,
    /// How many watches this driver knows.
    told: usize,
    /// Taken from the queue, not yet with the driver.
    held: Option<(Instant, Op)>,
    /// With the driver.
    open: HashSet<OpId>,
    /// What the keeper itself has to say.
    own: VecDeque<Event>,
}

/// The keeper's ends of what leads to the main loop.
pub(super) struct Ends {
    pub ops: mpsc::Receiver<(Instant, Op)>,
    pub watches: mpsc::Receiver<Channel>,
    pub events: mpsc::Sender<(Serial, Event)>,
    pub stop: Arc<Notify>,
    pub ended: oneshot::Sender<()>,
}

/// Nobody listens any more.
struct Closed;

impl Keeper {
    pub fn new(id: Serial, name: String, ends: Ends) -> Self {
        let Ends { ops, watches, events, stop, ended } = ends;
        Self {
            id,
            name,
            ops,
            new_watches: watches,
            gateway: events,
            stop,
            _ended: ended,
            watches: Vec::new(),
            told: 0,
            held: None,
            open: HashSet::new(),
            own: VecDeque::new(),
        }
    }

    /// Runs the driver, again and again, until the main loop closes its end.
    pub async fn keep(mut self, mut start: Start) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            // One place, so that no op waits unseen in a driver's port.
            let (ops, ops_rx) = mpsc::channel(1);
            let (events_tx, events) = mpsc::channel(sipliance_driver::EVENT_QUEUE);
            let began = Instant::now();
            let mut driver = tokio::spawn(start.run(Port { ops: ops_rx, events: events_tx }));
            let why = match self.relay(Link { ops, events }).await {
                Err(Closed) => return let_go(driver).await,
                Ok(()) => self.autopsy(start.kind, (&mut driver).await),
            };
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            tracing::warn!(link = self.name, "{why}");
            self.bury(why);
            if self.pause(Instant::now() + backoff.pause()).await.is_err() {
                return;
            }
        }
    }

    /// Moves ops and events until the driver ends.
    async fn relay(&mut self, mut driver: Link) -> Result<(), Closed> {
        let (gateway, stop) = (self.gateway.clone(), self.stop.clone());
        self.told = 0;
        loop {
            let untold = self.told < self.watches.len();
            let too_late = self.held.as_ref().map(|(since, _)| *since + MAX_WAIT);
            tokio::select! {
                biased;
                // What waits here was answered when the link went: it must not act any more.
                () = stop.notified() => return Err(Closed),
                room = gateway.reserve(), if !self.own.is_empty() => {
                    let room = room.map_err(|_| Closed)?;
                    if let Some(event) = self.own.pop_front() {
                        room.send((self.id, event));
                    }
                }
                Some(channel) = self.new_watches.recv() => self.watch(channel),
                Ok(room) = driver.ops.reserve(), if untold || self.held.is_some() => self.hand_over(room),
                op = self.ops.recv(), if self.held.is_none() && self.roomy() => self.take(op.ok_or(Closed)?),
                () = sleep_until(too_late.unwrap_or_else(Instant::now)), if too_late.is_some() => self.give_up(),
                event = forward(&gateway, &mut driver.events) => match event? {
                    None => return Ok(()),
                    Some((room, event)) if self.is_due(&event) => room.send((self.id, event)),
                    Some(_) => {}
                },
            }
        }
    }

    /// Answers ops while there is no driver.
    async fn pause(&mut self, until: Instant) -> Result<(), Closed> {
        let (gateway, stop) = (self.gateway.clone(), self.stop.clone());
        loop {
            tokio::select! {
                biased;
                () = stop.notified() => return Err(Closed),
                room = gateway.reserve(), if !self.own.is_empty() => {
                    let room = room.map_err(|_| Closed)?;
                    if let Some(event) = self.own.pop_front() {
                        room.send((self.id, event));
                    }
                }
                Some(channel) = self.new_watches.recv() => self.watch(channel),
                op = self.ops.recv(), if self.roomy() => {
                    let (_, op) = op.ok_or(Closed)?;
                    self.answer(&op, Failure::NotConnected);
                }
                () = sleep_until(until) => return Ok(()),
            }
        }
    }

    /// A watch that was asked for before an op reaches the driver before it.
    fn take(&mut self, op: (Instant, Op)) {
        while let Ok(channel) = self.new_watches.try_recv() {
            self.watch(channel);
        }
        self.held = Some(op);
    }

    /// One that is known is told again, and not kept twice. Beyond the bound the gateway hears that
    /// nothing will be heard.
    fn watch(&mut self, channel: Channel) {
        if let Some(known) = self.watches.iter().position(|watch| *watch == channel) {
            self.watches.remove(known);
            self.told -= usize::from(known < self.told);
        } else if self.watches.len() >= MAX_WATCHES {
            self.own.push_back(unwatched(channel));
            return;
        }
        self.watches.push(channel);
    }

    /// Gives the driver its next watch, or the op that waits.
    fn hand_over(&mut self, room: mpsc::Permit<'_, Op>) {
        if let Some(channel) = self.watches.get(self.told) {
            self.told += 1;
            return room.send(Op::Watch { channel: channel.clone() });
        }
        if self.held.as_ref().is_some_and(|(since, _)| since.elapsed() >= MAX_WAIT) {
            return self.give_up();
        }
        if let Some((_, op)) = self.held.take() {
            self.open.extend(op.id());
            room.send(op);
        }
    }

    /// The op that waits has waited too long; it was not sent.
    fn give_up(&mut self) {
        if let Some((_, op)) = self.held.take() {
            self.answer(&op, Failure::Busy);
        }
    }

    fn roomy(&self) -> bool {
        self.open.len() + self.own.len() < OPEN
    }

    /// Whether the main loop is to hear this: of each op exactly one end.
    fn is_due(&mut self, event: &Event) -> bool {
        match event {
            Event::Done { id, .. } => self.open.remove(id),
            _ => true,
        }
    }

    fn answer(&mut self, op: &Op, failure: Failure) {
        self.own.extend(op.id().map(|id| Event::Done { id, result: Err(failure) }));
    }

    /// The driver has ended: every op that it had gets its end, and the link is down.
    fn bury(&mut self, why: Why) {
        let broken = self.open.drain().map(|id| Event::Done { id, result: Err(Failure::Broken) });
        self.own.extend(broken);
        if let Some((_, op)) = self.held.take() {
            self.answer(&op, Failure::NotConnected);
        }
        self.own.push_back(Event::Down(why));
    }

    fn autopsy(&self, kind: &str, end: Result<Exit, JoinError>) -> Why {
        let name = &self.name;
        match end {
            Ok(Exit::Lost(why)) => why,
            Ok(Exit::Closed) => {
                Why(format!("link {name}: the {kind} driver ended by itself; it is started again"))
            }
            Err(error) => {
                let words =
                    error.try_into_panic().map_or_else(|e| e.to_string(), |panic| panic_words(&*panic));
                Why(format!("link {name}: the {kind} driver crashed ({words}); it is started again"))
            }
        }
    }
}

fn panic_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

/// The driver's next event, with a place for it; `None` when the driver has ended.
async fn forward<'a>(
    gateway: &'a mpsc::Sender<(Serial, Event)>,
    events: &mut mpsc::Receiver<Event>,
) -> Result<Option<(mpsc::Permit<'a, (Serial, Event)>, Event)>, Closed> {
    let room = gateway.reserve().await.map_err(|_| Closed)?;
    Ok(events.recv().await.map(|event| (room, event)))
}

async fn let_go(mut driver: JoinHandle<Exit>) {
    if timeout(LET_GO, &mut driver).await.is_err() {
        driver.abort();
        let _ = driver.await;
    }
}

//! What waits to be written on one connection: bounded in bytes, and it says when there is room again.
//!
//! The loop pushes, the task of the connection takes. Both are on one thread. A message counts until it is
//! written, so that a peer that reads slowly is seen to. Up to [`FULL`] the core may say what it likes; from
//! there on it keeps NOTIFYs to itself until [`Room`] names the connection. What must be said all the same,
//! such as answers, goes on up to [`MOST`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use crate::sip::FlowId;

/// From so many bytes on NOTIFYs wait in the core, where they cost a mark.
pub const FULL: usize = 64 * 1024;
/// There is room again when no more than this is left.
const ROOM: usize = FULL / 2;
/// From so many bytes on nothing more is read from the peer: its requests would make answers.
const DEAF: usize = 2 * FULL;
/// Bytes that wait for one slow peer; when it is full, the connection is closed.
pub const MOST: usize = 1024 * 1024;
/// The same for a connection to a server on behalf of many.
pub const TRUNK: usize = 16 * MOST;
/// What is written at once. A peer so slow that this takes longer than [`super::stream::WRITE_LIMIT`] is gone.
pub const BATCH: usize = 16 * 1024;

/// What a message counts at least, which is what its place in the queue takes: a million of two bytes are no two megabytes.
const LEAST: usize = 64;

/// Connections that were full and have room again. No bound but that of connections: each is in it once at most.
pub type Room = mpsc::UnboundedSender<FlowId>;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits, and there is room for more.
    Room,
    /// It waits, and from now on there is no room for what can wait.
    Full,
    /// It does not fit, or nobody takes it any more.
    Lost,
}

/// A queue for the connection `flow`.
pub fn queue(flow: FlowId, room: Option<Room>) -> (Writes, Queue) {
    let shared = Rc::new(Shared { flow, room, ..Shared::default() });
    (Writes(shared.clone()), Queue(shared))
}

/// A queue for a connection that carries what many say: it is [`TRUNK`] bytes long, and the peer is always heard, since its
/// answers are what empties it.
pub fn trunk(flow: FlowId) -> (Writes, Queue) {
    let shared = Rc::new(Shared { flow, most: TRUNK, deaf: usize::MAX, ..Shared::default() });
    (Writes(shared.clone()), Queue(shared))
}

/// The loop's end. Dropping it closes the connection after everything queued has left.
#[derive(Debug)]
pub struct Writes(Rc<Shared>);

/// The connection's end.
#[derive(Debug)]
pub struct Queue(Rc<Shared>);

/// A message that counts until this is dropped.
#[derive(Debug)]
pub struct Parcel {
    /// The message.
    pub bytes: Bytes,
    /// What it counts for.
    pub held: Held,
}

/// Bytes that are still under way.
#[derive(Debug)]
pub struct Held {
    shared: Rc<Shared>,
    size: usize,
}

/// Something that was read and not looked at yet: until this is dropped nothing more is read.
#[derive(Debug)]
pub struct Unread(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    flow: FlowId,
    room: Option<Room>,
    /// The longest that it may be, and the length from which on nothing is read.
    most: usize,
    deaf: usize,
    waiting: RefCell<VecDeque<Bytes>>,
    /// Waiting and under way.
    bytes: Cell<usize>,
    /// The core was told that it is full.
    full: Cell<bool>,
    unread: Cell<bool>,
    open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            flow: FlowId(0),
            room: None,
            most: MOST,
            deaf: DEAF,
            waiting: RefCell::default(),
            bytes: Cell::default(),
            full: Cell::default(),
            unread: Cell::default(),
            open: Cell::new(true),
            waker: RefCell::default(),
        }
    }
}

impl Shared {
    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Everything that is waited for here is waited for by one task.
    fn wait<T>(&self, cx: &Context<'_>) -> Poll<T> {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Writes {
    /// Puts a message into the queue.
    pub fn push(&self, bytes: Bytes) -> Pushed {
        let shared = &self.0;
        let size = shared.bytes.get() + cost(&bytes);
        if !shared.open.get() || size > shared.most {
            return Pushed::Lost;
        }
        shared.bytes.set(size);
        shared.waiting.borrow_mut().push_back(bytes);
        shared.wake();
        if size >= FULL && !shared.full.replace(true) { Pushed::Full } else { Pushed::Room }
    }
}

impl Drop for Writes {
    fn drop(&mut self) {
        self.0.open.set(false);
        self.0.wake();
    }
}

impl Queue {
    /// The next message; `None` when there will be no more. Dropping the future loses nothing.
    pub async fn next(&self) -> Option<Parcel> {
        poll_fn(|cx| {
            if let Some(bytes) = self.0.waiting.borrow_mut().pop_front() {
                let held = Held { size: cost(&bytes), shared: self.0.clone() };
                return Poll::Ready(Some(Parcel { bytes, held }));
            }
            if self.0.open.get() { self.0.wait(cx) } else { Poll::Ready(None) }
        })
        .await
    }

    /// Messages in a row, [`BATCH`] bytes of them or one; `None` when there will be no more.
    pub async fn batch(&self) -> Option<Parcel> {
        let mut parcel = self.next().await?;
        let mut more = BytesMut::new();
        let mut waiting = self.0.waiting.borrow_mut();
        while waiting.front().is_some_and(|next| parcel.held.size + cost(next) <= BATCH) {
            let Some(next) = waiting.pop_front() else { break };
            if more.is_empty() {
                more.reserve(BATCH);
                more.extend_from_slice(&parcel.bytes);
            }
            parcel.held.size += cost(&next);
            more.extend_from_slice(&next);
        }
        if !more.is_empty() {
            parcel.bytes = more.freeze();
        }
        Some(parcel)
    }

    /// Several messages of [`BATCH`] bytes, each for itself; `None` when there will be no more.
    pub async fn several(&self) -> Option<(Vec<Bytes>, Held)> {
        let Parcel { bytes, mut held } = self.next().await?;
        let mut several = vec![bytes];
        let mut waiting = self.0.waiting.borrow_mut();
        while waiting.front().is_some_and(|next| held.size + cost(next) <= BATCH) {
            let Some(next) = waiting.pop_front() else { break };
            held.size += cost(&next);
            several.push(next);
        }
        Some((several, held))
    }

    /// Waits until the peer may be listened to: what it said before was looked at, and it reads what it is told.
    pub async fn may_read(&self) {
        poll_fn(|cx| {
            let waits = self.0.unread.get() || self.0.bytes.get() >= self.0.deaf;
            if waits { self.0.wait(cx) } else { Poll::Ready(()) }
        })
        .await;
    }

    /// Something was read.
    pub fn unread(&self) -> Unread {
        self.0.unread.set(true);
        Unread(self.0.clone())
    }
}

fn cost(bytes: &Bytes) -> usize {
    bytes.len().max(LEAST)
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.open.set(false);
        self.0.waiting.take();
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.0.unread.set(false);
        self.0.wake();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let (shared, before) = (&self.shared, self.shared.bytes.get());
        let left = before.saturating_sub(self.size);
        shared.bytes.set(left);
        if before >= shared.deaf && left < shared.deaf {
            shared.wake();
        }
        if left <= ROOM
            && shared.full.replace(false)
            && let Some(room) = &shared.room
        {
            // The loop is gone where nobody hears it.
            let _ = room.send(shared.flow);
        }
    }
}

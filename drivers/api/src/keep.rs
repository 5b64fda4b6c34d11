//! A link that is opened again when it breaks, until the gateway is done with it.
//!
//! ```text
//! keep: ┌─> open ──ok──> serve ──┬─ port closed ─> Exit::Closed
//!       │     │ fail             │ lost
//!       └── pause <──────────────┘  Down(why)
//! ```

use std::collections::VecDeque;
use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{Backoff, Event, Exit, Failure, MAX_WAIT, OP_QUEUE, Op, Outbox, Port, Why};

/// The driver's end of its [`Port`], for as long as the driver lives.
#[derive(Debug)]
pub struct Post {
    /// What the gateway asks.
    pub ops: mpsc::Receiver<Op>,
    /// Where to report.
    pub outbox: Outbox,
    /// The reason that the gateway has heard last; repeats are not news.
    said: Option<Why>,
    /// Ops that came while another was under way, each with the time at which it came.
    queue: VecDeque<(Instant, Op)>,
}

impl Post {
    /// The driver at its end of a port.
    pub fn new(port: Port) -> Self {
        Self { ops: port.ops, outbox: Outbox::new(port.events), said: None, queue: VecDeque::new() }
    }

    /// Takes an op in; one too many is `Busy`.
    pub fn take(&mut self, op: Op) {
        match op.id() {
            Some(id) if self.queue.len() >= OP_QUEUE => self.outbox.done(id, Err(Failure::Busy)),
            _ => self.queue.push_back((Instant::now(), op)),
        }
    }

    /// The next op that waits; what waited longer than [`MAX_WAIT`] is answered `Busy` instead.
    pub fn waiting(&mut self) -> Option<Op> {
        while let Some((since, op)) = self.queue.pop_front() {
            match op.id() {
                Some(id) if since.elapsed() > MAX_WAIT => self.outbox.done(id, Err(Failure::Busy)),
                _ => return Some(op),
            }
        }
        None
    }

    /// Takes ops in while something is under way. `None` when the gateway closes its end.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        loop {
            if let Some(done) = self.idle(&mut work).await? {
                return Some(done);
            }
        }
    }

    /// Waits for `work`, or for an op, which is taken in: then there is nothing inside. `None` when the
    /// gateway closes its end.
    pub async fn idle<T>(&mut self, work: impl Future<Output = T>) -> Option<Option<T>> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return Some(Some(done)),
                op = self.ops.recv() => {
                    self.take(op?);
                    return Some(None);
                }
                () = self.outbox.flush(), if !self.outbox.is_empty() => {}
            }
        }
    }

    /// The link is gone: what waits was never sent, and must not be sent later.
    pub fn turn_away(&mut self) {
        for id in self.queue.drain(..).filter_map(|(_, op)| op.id()) {
            self.outbox.done(id, Err(Failure::NotConnected));
        }
    }

    /// Says that the link is down, unless that was said before in the same words.
    fn down(&mut self, why: Why) {
        if self.said.as_ref() == Some(&why) {
            return tracing::debug!("still: {why}");
        }
        tracing::warn!("{why}");
        self.outbox.push(Event::Down(why.clone()));
        self.said = Some(why);
    }
}

/// A link that can be opened and that breaks.
pub trait Keep: Send {
    /// What is open while it is open.
    type Line: Send;
    /// What opening it needs, so that ops can be taken meanwhile.
    type Settings: Send;

    /// The gateway's end.
    fn post(&mut self) -> &mut Post;
    /// What [`Keep::open`] needs. Called before every attempt.
    fn settings(&mut self) -> Self::Settings;
    /// Opens it once.
    ///
    /// # Errors
    /// Says why not, and what to look at.
    fn open(settings: Self::Settings) -> impl Future<Output = Result<Self::Line, Why>> + Send;
    /// Serves it until it is lost, and says why; `None` when the gateway closes its end.
    fn serve(&mut self, line: Self::Line) -> impl Future<Output = Option<Why>> + Send;
    /// An op that comes while nothing is open: it fails at once, so that none acts late.
    fn aside(&mut self, op: Op) {
        if let Some(id) = op.id() {
            self.post().outbox.done(id, Err(Failure::NotConnected));
        }
    }
}

/// Keeps a link open until the gateway closes its end: growing pauses between attempts, the first again
/// after it lived for `stable`.
pub async fn keep<K: Keep>(link: &mut K, mut backoff: Backoff, stable: Duration) -> Exit {
    loop {
        let opening = K::open(link.settings());
        let why = match meanwhile(link, opening).await {
            None => return Exit::Closed,
            Some(Err(why)) => why,
            Some(Ok(line)) => {
                let began = Instant::now();
                let Some(why) = link.serve(line).await else { return Exit::Closed };
                if began.elapsed() >= stable {
                    backoff.reset();
                }
                link.post().said = None;
                why
            }
        };
        link.post().down(why);
        if meanwhile(link, sleep(backoff.pause())).await.is_none() {
            return Exit::Closed;
        }
    }
}

/// Waits for `work` while nothing is open. `None` when the gateway closes its end.
async fn meanwhile<K: Keep, T>(link: &mut K, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    loop {
        let Post { ops, outbox, .. } = link.post();
        let op = tokio::select! {
            done = &mut work => return Some(done),
            op = ops.recv() => op?,
            () = outbox.flush(), if !outbox.is_empty() => continue,
        };
        link.aside(op);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Channel, OpId};
    use super::*;

    /// Opens at every second attempt and breaks at once.
    struct Shaky {
        post: Post,
        attempts: u32,
        served: u32,
    }

    impl Keep for Shaky {
        type Line = ();
        type Settings = u32;

        fn post(&mut self) -> &mut Post {
            &mut self.post
        }

        fn settings(&mut self) -> u32 {
            self.attempts + self.served
        }

        async fn open(attempt: u32) -> Result<(), Why> {
            sleep(Duration::from_millis(10)).await;
            if attempt < 2 { Err(Why("it is off".to_owned())) } else { Ok(()) }
        }

        async fn serve(&mut self, (): ()) -> Option<Why> {
            self.served += 1;
            self.post.outbox.push(Event::Up);
            Some(Why("it broke".to_owned()))
        }

        fn aside(&mut self, op: Op) {
            self.attempts += 1;
            if let Some(id) = op.id() {
                self.post.outbox.done(id, Err(Failure::NotConnected));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_is_bounded_and_never_done_late() {
        let (link, port) = super::super::pair();
        let mut post = Post::new(port);
        let write = |id| Op::Write { id: OpId(id), channel: Channel::new("a"), payload: bytes::Bytes::new() };
        (0..=OP_QUEUE as u64).for_each(|id| post.take(write(id)));
        assert_eq!(post.waiting(), Some(write(0)));
        sleep(MAX_WAIT + Duration::from_millis(1)).await;
        post.take(write(100));
        assert_eq!(post.waiting(), Some(write(100)), "the others waited too long");
        post.take(write(101));
        post.turn_away();
        assert_eq!(post.waiting(), None);
        let mut ends = Vec::new();
        let mut events = link.events;
        while let Ok(Event::Done { id, result }) = events.try_recv() {
            ends.push((id.0, result));
        }
        assert_eq!(ends.first(), Some(&(OP_QUEUE as u64, Err(Failure::Busy))), "one too many");
        assert_eq!(ends.last(), Some(&(101, Err(Failure::NotConnected))));
        assert_eq!(ends.len(), OP_QUEUE + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_opened_again_and_nothing_waits_for_it() {
        let (ops, op_end) = mpsc::channel(8);
        let (event_end, mut events) = mpsc::channel(32);
        let port = Port { ops: op_end, events: event_end };
        let mut link = Shaky { post: Post::new(port), attempts: 0, served: 0 };
        let pauses = Backoff::new(Duration::from_millis(500), Duration::from_secs(5));
        let task = tokio::spawn(async move { keep(&mut link, pauses, Duration::from_secs(5)).await });
        assert!(matches!(events.recv().await, Some(Event::Down(why)) if why.0 == "it is off"));
        for id in [1, 2] {
            let channel = Channel::new("a");
            let op = Op::Write { id: OpId(id), channel, payload: bytes::Bytes::new() };
            ops.send(op).await.unwrap();
            let done = events.recv().await;
            assert!(
                matches!(done, Some(Event::Done { id: OpId(of), result: Err(Failure::NotConnected) }) if of == id)
            );
        }
        // The same reason is no news; another one is.
        assert!(matches!(events.recv().await, Some(Event::Up)));
        assert!(matches!(events.recv().await, Some(Event::Down(why)) if why.0 == "it broke"));
        assert!(matches!(events.recv().await, Some(Event::Up)), "it comes back");
        drop(ops);
        assert!(matches!(task.await, Ok(Exit::Closed)));
    }
}

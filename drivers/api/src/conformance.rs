//! What every driver has to keep, whatever it drives. A driver's tests bring a [`Rig`], its far end
//! that can be cut and mended, and call [`check`].

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Channel, Event, Exit, Failure, Link, Op, OpId};

/// The far end of a link, in the hands of a test.
pub trait Rig: Send {
    /// Starts the driver on a new pair of channels.
    fn start(&mut self) -> (Link, tokio::task::JoinHandle<Exit>);
    /// A channel that may be watched, and may be written with [`Rig::payload`].
    fn channel(&self) -> Channel;
    /// Something that the channel carries.
    fn payload(&self) -> Bytes;
    /// Whether the link has listeners to whom something can be published.
    fn publishes(&self) -> bool {
        false
    }
    /// Makes a payload appear on the channel.
    fn speak(&mut self) -> impl Future<Output = ()> + Send;
    /// Takes the far end away without a word.
    fn cut(&mut self) -> impl Future<Output = ()> + Send;
    /// Brings it back.
    fn mend(&mut self) -> impl Future<Output = ()> + Send;
}

/// Runs the whole suite; the error says which promise was broken.
///
/// # Errors
/// The first promise that the driver did not keep.
pub async fn check(rig: &mut impl Rig) -> Result<(), String> {
    let (link, task) = rig.start();
    let mut bench = Bench { link, next: 0, open: HashSet::new() };
    let channel = rig.channel();
    bench.ask(Op::Watch { channel: channel.clone() }).await?;
    bench.until("Up after the start", |e| *e == Event::Up).await?;

    bench.write_all(rig, 20, |result| result.is_ok()).await.map_err(|e| format!("while up: {e}"))?;
    rig.speak().await;
    bench.until_read(&channel).await?;
    bench.publish(rig).await?;

    rig.cut().await;
    bench.until("Down after the far end was cut", |e| matches!(e, Event::Down(_))).await?;
    let refused = |result: &Result<(), Failure>| *result == Err(Failure::NotConnected);
    let began = Instant::now();
    bench.write_all(rig, 5, refused).await.map_err(|e| format!("while down: {e}"))?;
    if began.elapsed() > Duration::from_secs(3) {
        return Err("writes without a link must fail at once".into());
    }

    rig.mend().await;
    bench.until("Up after the far end came back", |e| *e == Event::Up).await?;
    rig.speak().await;
    bench.until_read(&channel).await.map_err(|e| format!("a watch must survive a reconnect: {e}"))?;
    bench.write_all(rig, 3, |result| result.is_ok()).await.map_err(|e| format!("after coming back: {e}"))?;

    bench.close(task).await
}

struct Bench {
    link: Link,
    next: u64,
    open: HashSet<OpId>,
}

const PATIENCE: Duration = Duration::from_secs(15);

impl Bench {
    async fn ask(&mut self, op: Op) -> Result<(), String> {
        self.open.extend(op.id());
        self.link.ops.send(op).await.map_err(|_| "the driver closed its port".to_owned())
    }

    /// The next event, checked for the rules that hold at any time.
    async fn event(&mut self, until: Instant) -> Result<Event, String> {
        let event = timeout_at(until, self.link.events.recv()).await.map_err(|_| "nothing came in time")?;
        let event = event.ok_or("the driver is gone")?;
        match &event {
            Event::Done { id, .. } if !self.open.remove(id) => {
                Err(format!("{id:?} is done twice, or was never asked"))
            }
            Event::Down(why) if why.0.trim().is_empty() => Err("Down without a reason".into()),
            _ => Ok(event),
        }
    }

    async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let event = self.event(until).await.map_err(|e| format!("{what}: {e}"))?;
            if wanted(&event) {
                return Ok(());
            }
        }
    }

    async fn until_read(&mut self, on: &Channel) -> Result<(), String> {
        let payload = |event: &Event| match event {
            Event::Read { channel, .. } | Event::Edge { channel, .. } => channel == on,
            _ => false,
        };
        self.until("a payload", payload).await
    }

    async fn write_all(
        &mut self,
        rig: &impl Rig,
        count: usize,
        right: impl Fn(&Result<(), Failure>) -> bool,
    ) -> Result<(), String> {
        let (channel, payload) = (rig.channel(), rig.payload());
        for _ in 0..count {
            self.next += 1;
            let id = OpId(self.next);
            self.ask(Op::Write { id, channel: channel.clone(), payload: payload.clone() }).await?;
        }
        let until = Instant::now() + PATIENCE;
        while !self.open.is_empty() {
            let waiting = format!("{} of {count} writes have no end", self.open.len());
            match self.event(until).await.map_err(|e| format!("{waiting}: {e}"))? {
                Event::Done { result, .. } if !right(&result) => {
                    return Err(format!("unexpected {result:?}"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What is told is taken by a link with listeners, and refused in words by every other.
    async fn publish(&mut self, rig: &impl Rig) -> Result<(), String> {
        self.next += 1;
        let id = OpId(self.next);
        let (channel, payload) = (Channel::new("conformance/told"), Bytes::from_static(b"told"));
        self.ask(Op::Publish { id, channel, payload, retained: true }).await?;
        let is_end = |event: &Event| matches!(event, Event::Done { id: of, .. } if *of == id);
        let until = Instant::now() + PATIENCE;
        loop {
            let event = self.event(until).await.map_err(|e| format!("a publication has no end: {e}"))?;
            if !is_end(&event) {
                continue;
            }
            return match (event, rig.publishes()) {
                (Event::Done { result: Ok(()), .. }, true)
                | (Event::Done { result: Err(Failure::Refused(_)), .. }, false) => Ok(()),
                (event, _) => Err(format!("a publication ended as {event:?}")),
            };
        }
    }

    async fn close(self, task: tokio::task::JoinHandle<Exit>) -> Result<(), String> {
        let Link { ops, mut events } = self.link;
        drop(ops);
        let drained = async {
            while let Some(event) = events.recv().await {
                if let Event::Done { id, .. } = event {
                    return Err(format!("{id:?} is done twice"));
                }
            }
            task.await.map_err(|e| format!("the driver panicked: {e}"))
        };
        match timeout(Duration::from_secs(2), drained).await {
            Err(_) => Err("a closed port must end the driver within 2 s".into()),
            Ok(exit) => match exit? {
                Exit::Closed => Ok(()),
                Exit::Lost(why) => Err(format!("closed, but the driver says it lost its link: {why}")),
            },
        }
    }
}

//! The way from a driver to the gateway that never makes the hardware wait.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::{Channel, Event, Failure, OpId};

/// How many events an [`Outbox`] keeps beside the channel itself.
pub const BACKLOG: usize = 256;

/// How many payload bytes an [`Outbox`] keeps beside the channel itself.
pub const BACKLOG_BYTES: usize = 1 << 20;

/// Sends events without ever waiting.
///
/// While the gateway keeps up, an event goes straight into the channel. When the channel is full,
/// events wait here, under these rules: of the payloads of one channel only the newest waits; of
/// several `Up` and `Down` only the last; a [`Event::Done`] always waits (there are no more of them
/// than accepted ops). When [`BACKLOG`] events or [`BACKLOG_BYTES`] are waiting, the oldest payload
/// makes room. What waits is sent by [`Outbox::flush`], in order.
#[derive(Debug)]
pub struct Outbox {
    gateway: mpsc::Sender<Event>,
    waiting: VecDeque<Event>,
    bytes: usize,
    folded: u64,
}

impl Outbox {
    /// Reports into `gateway`.
    pub fn new(gateway: mpsc::Sender<Event>) -> Self {
        Self { gateway, waiting: VecDeque::new(), bytes: 0, folded: 0 }
    }

    /// Sends `event`, now or by the next [`Outbox::flush`].
    pub fn push(&mut self, event: Event) {
        if !self.waiting.is_empty() {
            return self.wait(event);
        }
        match self.gateway.try_send(event) {
            Err(mpsc::error::TrySendError::Full(event)) => self.wait(event),
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
        }
    }

    /// Reports the fate of an op.
    pub fn done(&mut self, id: OpId, result: Result<(), Failure>) {
        self.push(Event::Done { id, result });
    }

    /// Whether nothing waits for [`Outbox::flush`].
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the gateway has stopped listening.
    pub fn is_closed(&self) -> bool {
        self.gateway.is_closed()
    }

    /// How many payloads gave way to newer ones since the last call.
    pub fn take_folded(&mut self) -> u64 {
        std::mem::take(&mut self.folded)
    }

    /// Sends what waits, as the gateway makes room. May be dropped at any point without losing an
    /// event; meant for a branch of `select!` that is guarded by [`Outbox::is_empty`].
    pub async fn flush(&mut self) {
        while !self.waiting.is_empty() {
            let Ok(room) = self.gateway.reserve().await else {
                self.waiting.clear();
                self.bytes = 0;
                return;
            };
            if let Some(event) = self.waiting.pop_front() {
                self.bytes -= size(&event);
                room.send(event);
            }
        }
    }

    fn wait(&mut self, event: Event) {
        let replaced = self.waiting.iter().position(|old| replaces(&event, old));
        if let Some(old) = replaced.and_then(|at| self.waiting.remove(at)) {
            self.bytes -= size(&old);
            self.folded += u64::from(is_payload(&old));
        }
        self.bytes += size(&event);
        self.waiting.push_back(event);
        while self.waiting.len() > BACKLOG || self.bytes > BACKLOG_BYTES {
            let Some(at) = self.waiting.iter().position(is_payload) else { return };
            if let Some(old) = self.waiting.remove(at) {
                self.bytes -= size(&old);
                self.folded += 1;
            }
        }
    }
}

/// The channel of a payload.
fn payload_channel(event: &Event) -> Option<&Channel> {
    match event {
        Event::Read { channel, .. } | Event::Edge { channel, .. } => Some(channel),
        Event::Up | Event::Down(_) | Event::Unwatched { .. } | Event::Done { .. } => None,
    }
}

fn is_payload(event: &Event) -> bool {
    payload_channel(event).is_some()
}

fn size(event: &Event) -> usize {
    match event {
        Event::Read { channel, payload, .. } | Event::Edge { channel, payload, .. } => {
            channel.as_str().len() + payload.len()
        }
        _ => 0,
    }
}

/// Whether `new` makes `old` worthless.
fn replaces(new: &Event, old: &Event) -> bool {
    if let (Some(new), Some(old)) = (payload_channel(new), payload_channel(old)) {
        return new == old;
    }
    match (new, old) {
        (Event::Unwatched { channel: new, .. }, Event::Unwatched { channel: old, .. }) => new == old,
        (Event::Up | Event::Down(_), Event::Up | Event::Down(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::Why;

    fn read(channel: &str, payload: usize) -> Event {
        let payload = Bytes::from(payload.to_string());
        Event::Read { channel: Channel::new(channel), payload, retained: false }
    }

    fn drain(events: &mut mpsc::Receiver<Event>, outbox: &mut Outbox) -> Vec<Event> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut got = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    () = outbox.flush(), if !outbox.is_empty() => {}
                    event = events.recv() => got.extend(event),
                    () = std::future::ready(()) => return got,
                }
            }
        })
    }

    #[test]
    fn a_flood_keeps_the_newest_per_channel_and_every_done() {
        let (tx, mut rx) = mpsc::channel(2);
        let mut outbox = Outbox::new(tx);
        for n in 0..10_000 {
            outbox.push(read(["a", "b", "c"][n % 3], n));
            if n % 1_000 == 0 {
                outbox.done(OpId(n as u64), Ok(()));
            }
        }
        assert!(outbox.waiting.len() <= 3 + 10);
        assert!(outbox.take_folded() > 9_900);
        let got = drain(&mut rx, &mut outbox);
        for n in [9_997, 9_998, 9_999] {
            assert!(got.contains(&read(["a", "b", "c"][n % 3], n)), "{n} is the newest of its channel");
        }
        let done = got.iter().filter(|e| matches!(e, Event::Done { .. })).count();
        assert_eq!(done, 10);
    }

    #[test]
    fn many_channels_are_bounded_in_number_and_bytes() {
        let (tx, _rx) = mpsc::channel(1);
        let mut outbox = Outbox::new(tx);
        for n in 0..10_000 {
            outbox.push(read(&n.to_string(), n));
        }
        assert_eq!(outbox.waiting.len(), BACKLOG);
        let payload = Bytes::from(vec![0; 200_000]);
        for n in 0..20 {
            let channel = Channel::new(&format!("big{n}"));
            outbox.push(Event::Read { channel, payload: payload.clone(), retained: false });
        }
        assert!(outbox.bytes <= BACKLOG_BYTES);
        assert_eq!(outbox.bytes, outbox.waiting.iter().map(size).sum::<usize>());
    }

    #[test]
    fn only_the_last_link_state_waits_and_what_was_read_before_it_stays_before() {
        let (tx, mut rx) = mpsc::channel(1);
        let mut outbox = Outbox::new(tx);
        let down = Event::Down(Why::new("unplugged"));
        outbox.push(read("first", 0));
        outbox.push(Event::Up);
        outbox.push(read("a", 1));
        outbox.push(down.clone());
        outbox.push(Event::Up);
        outbox.push(read("b", 2));
        let got = drain(&mut rx, &mut outbox);
        assert_eq!(got, [read("first", 0), read("a", 1), Event::Up, read("b", 2)]);
        assert!(!got.contains(&down));
    }
}

//! What waits for its line in the audit file: no act overtakes the line before it, and the loop waits for
//! no disk.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sipliance_driver::{Event, Failure, MAX_WAIT, Op, OpId};
use tokio::sync::oneshot;

use super::{Shell, now};
use crate::config::LinkId;
use crate::gateway::Input;

/// Lines and acts that wait; one more act is refused.
const MOST: usize = 256;
/// How long the disk may take over a line that must be there; then what follows is refused.
const NEEDED: Duration = Duration::from_secs(5);
/// How long what is not sensitive waits for its line; then it happens without.
const WANTED: Duration = Duration::from_secs(1);

/// Something that may move an appliance.
#[derive(Debug)]
pub(super) struct Act {
    pub link: LinkId,
    pub op: Op,
    /// For another gateway, and not for a driver.
    pub relay: bool,
    /// When it was wanted.
    pub since: Instant,
}

enum Held {
    /// Whether what follows may happen.
    Line(Pin<Box<dyn Future<Output = bool>>>),
    Act(Act),
    /// All that follows from one input was said.
    Turn,
}

/// Acts, in order, behind the lines that they wait for.
#[derive(Default)]
pub(super) struct Pending {
    held: VecDeque<Held>,
    /// A line of this turn was lost: nothing that follows it happens.
    lost: bool,
}

impl Pending {
    /// What follows waits for this line. Where it is `needed` and lost, what follows does not happen.
    pub fn line(&mut self, kept: oneshot::Receiver<bool>, needed: bool) {
        // Where there is no room for it there is none for what follows, which is refused.
        if self.held.len() < MOST {
            let answer = tokio::time::timeout(if needed { NEEDED } else { WANTED }, kept);
            self.held.push_back(Held::Line(Box::pin(async move {
                matches!(answer.await, Ok(Ok(true))) || !needed
            })));
        }
    }

    /// Gives it back where it needs not wait, with the reason why it must not happen, if there is one.
    pub fn act(&mut self, act: Act) -> Option<(Act, Option<Failure>)> {
        if self.held.len() >= MOST {
            return Some((act, Some(Failure::Busy)));
        }
        if self.held.is_empty() {
            return Some(self.judged(act));
        }
        self.held.push_back(Held::Act(act));
        None
    }

    /// All that follows from one input was said.
    pub fn turn(&mut self) {
        match self.held.back() {
            None => self.lost = false,
            Some(Held::Turn) => {}
            Some(_) => self.held.push_back(Held::Turn),
        }
    }

    /// Until the line in front is on the disk, or is not.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Held::Line(kept)) = self.held.front_mut() else { return Poll::Pending };
        let Poll::Ready(kept) = kept.as_mut().poll(cx) else { return Poll::Pending };
        self.held.pop_front();
        self.lost |= !kept;
        Poll::Ready(())
    }

    /// The next act that waits for no line any more, with the reason why it must not happen.
    pub fn next(&mut self) -> Option<(Act, Option<Failure>)> {
        loop {
            match self.held.pop_front()? {
                Held::Act(act) => return Some(self.judged(act)),
                Held::Turn => self.lost = false,
                line @ Held::Line(_) => {
                    self.held.push_front(line);
                    return None;
                }
            }
        }
    }

    /// Everything that waits, which will not happen any more.
    pub fn give_up(&mut self) -> Vec<Act> {
        self.lost = false;
        let acts = self.held.drain(..).filter_map(|held| match held {
            Held::Act(act) => Some(act),
            Held::Line(_) | Held::Turn => None,
        });
        acts.collect()
    }

    fn judged(&self, act: Act) -> (Act, Option<Failure>) {
        let why = if self.lost {
            Some(Failure::Refused("the audit file cannot be written".to_owned()))
        } else {
            (act.since.elapsed() >= MAX_WAIT).then_some(Failure::Busy)
        };
        (act, why)
    }
}

impl Shell {
    /// What may move something waits for the lines before it: what is not on record does not happen.
    pub(super) fn want(&mut self, link: LinkId, op: Op, relay: bool) {
        let act = Act { link, op, relay, since: Instant::now() };
        let ready = if act.op.acts() { self.pending.act(act) } else { Some((act, None)) };
        if let Some((act, why_not)) = ready {
            self.carry_out(act, why_not);
        }
    }

    pub(super) fn carry_out(&mut self, act: Act, why_not: Option<Failure>) {
        let Act { link, op, relay, since } = act;
        let answer = match (why_not, relay) {
            (Some(why), _) => {
                let id = op.id().unwrap_or(OpId(0));
                Some(Event::Done { id, result: Err(why) })
            }
            (None, true) => return self.gateway.handle(Input::Relay { link, op }, now()),
            (None, false) => self.drivers.send(link, op, since.into()),
        };
        if let Some(event) = answer {
            self.gateway.handle(Input::Driver { link, event }, now());
        }
    }

    /// A line is on the disk, or lost.
    pub(super) fn go_on(&mut self) {
        while let Some((act, why_not)) = self.pending.next() {
            self.carry_out(act, why_not);
        }
    }

    /// Without a file the journal keeps the line.
    pub(super) fn record(&mut self, line: &str, sensitive: bool) {
        tracing::info!(target: "audit", "{line}");
        if let Some(audit) = &self.audit {
            self.pending.line(audit.write(line, sensitive), sensitive);
        }
    }
}

#[cfg(test)]
mod tests {
    use sipliance_driver::Channel;

    use super::*;

    fn act(id: u64) -> Act {
        let op = Op::Write { id: OpId(id), channel: Channel::new("door"), payload: bytes::Bytes::new() };
        Act { link: LinkId(0), op, relay: false, since: Instant::now() }
    }

    fn id(judged: Option<(Act, Option<Failure>)>) -> Option<(u64, bool)> {
        judged.map(|(act, why)| (act.op.id().unwrap().0, why.is_none()))
    }

    fn poll(pending: &mut Pending) -> bool {
        pending.poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[tokio::test]
    async fn an_act_waits_for_the_line_before_it_and_keeps_its_place() {
        let mut pending = Pending::default();
        assert_eq!(id(pending.act(act(1))), Some((1, true)), "nothing to wait for");
        let (kept, line) = oneshot::channel();
        pending.line(line, true);
        assert_eq!(id(pending.act(act(2))), None);
        pending.turn();
        let (kept_too, line) = oneshot::channel();
        pending.line(line, true);
        assert_eq!(id(pending.act(act(3))), None);
        assert!(!poll(&mut pending) && pending.next().is_none());
        kept_too.send(true).unwrap();
        assert!(!poll(&mut pending), "not before the first line");
        kept.send(true).unwrap();
        assert!(poll(&mut pending));
        assert_eq!(id(pending.next()), Some((2, true)));
        assert!(pending.next().is_none());
        assert!(poll(&mut pending));
        assert_eq!(id(pending.next()), Some((3, true)));
    }

    #[tokio::test]
    async fn what_follows_a_lost_line_does_not_happen_and_what_others_want_does() {
        let mut pending = Pending::default();
        let (kept, line) = oneshot::channel::<bool>();
        pending.line(line, true);
        assert!(pending.act(act(1)).is_none());
        pending.turn();
        assert!(pending.act(act(2)).is_none());
        drop(kept);
        assert!(poll(&mut pending));
        assert_eq!(id(pending.next()), Some((1, false)));
        assert_eq!(id(pending.next()), Some((2, true)));
        pending.turn();
        assert_eq!(id(pending.act(act(3))), Some((3, true)));
    }

    #[tokio::test]
    async fn what_waited_too_long_does_not_happen() {
        let mut pending = Pending::default();
        let (kept, line) = oneshot::channel();
        pending.line(line, true);
        let since = Instant::now().checked_sub(MAX_WAIT).unwrap();
        assert!(pending.act(Act { since, ..act(1) }).is_none());
        kept.send(true).unwrap();
        assert!(poll(&mut pending));
        assert_eq!(id(pending.next()), Some((1, false)));
    }

    #[tokio::test]
    async fn a_queue_that_is_full_refuses() {
        let mut pending = Pending::default();
        let (_kept, line) = oneshot::channel();
        pending.line(line, true);
        (1..MOST as u64).for_each(|nth| assert!(pending.act(act(nth)).is_none()));
        assert_eq!(id(pending.act(act(0))), Some((0, false)));
        assert_eq!(pending.give_up().len(), MOST - 1);
        assert_eq!(id(pending.act(act(0))), Some((0, true)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_sensitive_waits_a_little_and_happens_all_the_same() {
        let mut pending = Pending::default();
        let (lost, line) = oneshot::channel::<bool>();
        pending.line(line, false);
        assert!(pending.act(act(1)).is_none());
        let (_slow, line) = oneshot::channel();
        pending.line(line, false);
        assert!(pending.act(act(2)).is_none());
        let (_stuck, line) = oneshot::channel();
        pending.line(line, true);
        assert!(pending.act(act(3)).is_none());
        drop(lost);
        let began = tokio::time::Instant::now();
        for (nth, happens, after) in [(1, true, Duration::ZERO), (2, true, WANTED), (3, false, NEEDED)] {
            std::future::poll_fn(|cx| pending.poll(cx)).await;
            assert_eq!(id(pending.next()), Some((nth, happens)));
            assert!(began.elapsed() >= after && began.elapsed() < after + Duration::from_millis(50));
        }
    }
}

//! One connection: streams of both sides, each in its own time, none waiting for another.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use quinn::{Connection, ReadError, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::streams::{Cutter, Key, Kind, Streams};
use super::{Code, Link, words};
use crate::io::queue::{Held, Parcel, Queue};
use crate::io::stream::{GOODBYE, Report, WRITE_TIMEOUT};
use crate::limits;
use crate::sip::FlowId;

/// Requests of ours that wait until the peer takes one more stream; when it is full, the connection is closed.
const WAITING: usize = 1024;
/// How long a stream waits for its final response: somewhat longer than Timer F of RFC 3261.
const LIFE: Duration = Duration::from_secs(40);
/// The same of a call: longer than Timer C.
const LIFE_OF_CALL: Duration = Duration::from_secs(240);
/// How long the 2xx of other branches of a fork are waited for.
const FORK: Duration = Duration::from_secs(32);
/// Bytes read at once.
const READ: usize = 16 * 1024;

/// What the streams of a connection share.
struct Hall<'a> {
    flow: FlowId,
    reports: &'a mpsc::Sender<Report>,
    streams: RefCell<Streams>,
    /// Messages of ours that have not arrived.
    under_way: Cell<usize>,
}

/// Counts a message of ours until it has arrived, or never will.
struct UnderWay<'a>(&'a Cell<usize>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Serves one connection; the reason of its end. When `writes` is closed, everything queued leaves first.
pub(in crate::io) async fn serve(
    flow: FlowId,
    link: Link,
    writes: &Queue,
    reports: &mpsc::Sender<Report>,
) -> String {
    let Link { connection, endpoint } = link;
    let hall = Hall { flow, reports, streams: RefCell::new(Streams::default()), under_way: Cell::new(0) };
    let mut running = FuturesUnordered::new();
    let mut waiting = VecDeque::new();
    let mut leaving: Option<Instant> = None;
    let why = loop {
        let done = waiting.is_empty() && hall.under_way.get() == 0;
        if leaving.is_some_and(|until| done || until <= Instant::now()) {
            break "closed here".to_owned();
        }
        tokio::select! {
            accepted = connection.accept_bi() => match accepted {
                Ok((send, recv)) => running.push(Box::pin(hall.answer(send, recv)) as LocalBoxFuture<'_, _>),
                Err(error) => break words(&error),
            },
            opened = connection.open_bi(), if !waiting.is_empty() => match opened {
                Ok((send, recv)) => if let Some((key, parcel)) = waiting.pop_front() {
                    running.push(Box::pin(hall.ask(key, parcel, send, recv)));
                }
                Err(error) => break words(&error),
            },
            Some(()) = running.next() => {}
            parcel = writes.next(), if leaving.is_none() => match parcel {
                None => leaving = Some(Instant::now() + GOODBYE),
                Some(parcel) => hall.sort(parcel, &mut waiting),
            },
            () = sleep_until(leaving.unwrap_or_else(Instant::now)), if leaving.is_some() => {}
        }
        if waiting.len() > WAITING {
            break "the peer answers nothing".to_owned();
        }
    };
    drop(running);
    let dropped = hall.streams.borrow().dropped;
    if dropped > 0 {
        tracing::debug!(dropped, "responses came too late for their streams");
    }
    goodbye(&connection, endpoint).await;
    why
}

async fn goodbye(connection: &Connection, endpoint: Option<quinn::Endpoint>) {
    connection.close(Code::Done.into(), b"");
    if let Some(endpoint) = endpoint {
        let _ = timeout(GOODBYE, endpoint.wait_idle()).await;
    }
}

impl Hall<'_> {
    /// A request waits for a stream, a response has one.
    fn sort(&self, parcel: Parcel, waiting: &mut VecDeque<(Key, Parcel)>) {
        match Key::of(&parcel.bytes) {
            Some((key, Kind::Request)) => waiting.push_back((key, parcel)),
            Some((key, Kind::Response(_))) => {
                let taken = self.streams.borrow_mut().answer(&key, parcel.bytes);
                self.under_way.set(self.under_way.get() + usize::from(taken));
            }
            // Keep-alives of other transports.
            None => {}
        }
    }

    /// The loop is gone where nobody hears it, and with it this.
    async fn report(&self, bytes: Bytes) {
        let _ = self.reports.send(Report::Message(self.flow, bytes, None)).await;
    }

    /// A stream of the peer: one request, and what we say to it.
    async fn answer(&self, mut send: SendStream, mut recv: RecvStream) {
        let mut cutter = Cutter::default();
        let until = Instant::now() + limits::MESSAGE_DEADLINE;
        let refuse = |send: &mut SendStream, recv: &mut RecvStream, code: Code| {
            let _ = send.reset(code.into());
            let _ = recv.stop(code.into());
        };
        let bytes = match timeout_at(until, read(&mut recv, &mut cutter)).await {
            Ok(Ok(Some(bytes))) => bytes,
            // It said nothing, and will not.
            Ok(Ok(None)) => return refuse(&mut send, &mut recv, Code::Malformed),
            Ok(Err(code)) => return refuse(&mut send, &mut recv, code),
            Err(_) => return refuse(&mut send, &mut recv, Code::TooLate),
        };
        let Some((key, Kind::Request)) = Key::of(&bytes).filter(|_| !cutter.has_more()) else {
            return refuse(&mut send, &mut recv, Code::Malformed);
        };
        let _ = recv.stop(Code::Done.into());
        if key.is_ack() {
            let _ = send.finish();
            return self.report(bytes).await;
        }
        let owed = self.streams.borrow_mut().owe(key.clone());
        let Some((turn, mut responses)) = owed else {
            return refuse(&mut send, &mut recv, Code::Busy);
        };
        self.report(bytes).await;
        if let Err(code) = self.respond(&key, &mut send, &mut responses).await {
            let _ = send.reset(code.into());
        }
        self.streams.borrow_mut().forget(&key, turn);
        // What is in the queue still goes nowhere.
        responses.close();
        while responses.try_recv().is_ok() {
            drop(UnderWay(&self.under_way));
        }
    }

    /// Writes responses up to the last one.
    async fn respond(
        &self,
        key: &Key,
        send: &mut SendStream,
        responses: &mut mpsc::Receiver<Bytes>,
    ) -> Result<(), Code> {
        let mut until = Instant::now() + if key.is_invite() { LIFE_OF_CALL } else { LIFE };
        let stopped = send.stopped();
        tokio::pin!(stopped);
        loop {
            let bytes = tokio::select! {
                bytes = responses.recv() => bytes.ok_or(Code::Done)?,
                _ = &mut stopped => return Ok(()),
                () = sleep_until(until) => return Err(Code::TooLate),
            };
            let counted = UnderWay(&self.under_way);
            let status = match Key::of(&bytes) {
                Some((_, Kind::Response(status))) => status,
                _ => continue,
            };
            match timeout(WRITE_TIMEOUT, send.write_chunk(bytes)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(Code::TooLate),
            }
            match status {
                ..200 => {}
                200..300 if key.is_invite() => until = Instant::now() + FORK,
                _ => {
                    let _ = send.finish();
                    let _ = timeout(WRITE_TIMEOUT, stopped).await;
                    return Ok(());
                }
            }
            drop(counted);
        }
    }

    /// A stream of ours: one request, and what the peer says to it until the end of the stream.
    async fn ask(&self, key: Key, parcel: Parcel, mut send: SendStream, mut recv: RecvStream) {
        self.under_way.set(self.under_way.get() + 1);
        let counted = UnderWay(&self.under_way);
        let Parcel { bytes, held } = parcel;
        let written = timeout(WRITE_TIMEOUT, send.write_chunk(bytes)).await;
        // The peer took it, or it leaves with the stream.
        drop::<Held>(held);
        if !matches!(written, Ok(Ok(()))) {
            let _ = send.reset(Code::TooLate.into());
            return;
        }
        let _ = send.finish();
        let arrived = async {
            let _ = timeout(WRITE_TIMEOUT, send.stopped()).await;
            drop(counted);
        };
        let life = if key.is_invite() { LIFE_OF_CALL } else { LIFE };
        let heard = timeout(life, self.hear(&key, &mut recv));
        let ((), heard) = tokio::join!(arrived, heard);
        match heard {
            Ok(Ok(())) => {}
            Ok(Err(code)) => drop(recv.stop(code.into())),
            Err(_) => drop(recv.stop(Code::TooLate.into())),
        }
    }

    /// Responses to a request of ours.
    async fn hear(&self, key: &Key, recv: &mut RecvStream) -> Result<(), Code> {
        let mut cutter = Cutter::default();
        while let Some(bytes) = read(recv, &mut cutter).await? {
            match Key::of(&bytes) {
                Some((of, Kind::Response(_))) if of == *key => self.report(bytes).await,
                // Nothing else belongs here.
                _ => return Err(Code::Malformed),
            }
        }
        Ok(())
    }
}

/// The next message of a stream; `None` at its end. Half a message is none.
async fn read(recv: &mut RecvStream, cutter: &mut Cutter) -> Result<Option<Bytes>, Code> {
    loop {
        match cutter.next() {
            Ok(Some(bytes)) => return Ok(Some(bytes)),
            Ok(None) => {}
            Err(code) => return Err(code),
        }
        match recv.read_chunk(READ, true).await {
            Ok(Some(chunk)) => cutter.push(&chunk.bytes),
            Ok(None) if cutter.has_more() => return Err(Code::Malformed),
            // A stream that the peer gave up is at its end, too.
            Ok(None) | Err(ReadError::Reset(_)) => return Ok(None),
            Err(_) => return Err(Code::Done),
        }
    }
}

//! Connections: one task each, bytes or messages both ways over bounded queues, neither way waiting for the
//! other. What is under them, TCP or TLS, makes no difference here.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::door::Seat;
use super::queue::{Queue, Unread};
#[cfg(feature = "quic")]
use super::quic;
use super::reach::Fault;
use super::route::Mover;
use super::ws;
use crate::sip::{FlowId, Transport};

/// Bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// What SIP is spoken over, once every handshake is done.
pub enum Line {
    /// Bytes, which the gateway cuts into messages.
    Bytes(Box<dyn Duplex>),
    /// Messages: one in each frame of a WebSocket.
    Messages(Box<ws::Socket>),
    /// Messages: each transaction has a stream.
    #[cfg(feature = "quic")]
    Quic(quic::Link),
}

impl Line {
    /// What takes it to another address of this machine, where it can go.
    pub fn mover(&self) -> Option<Mover> {
        match self {
            Self::Bytes(_) | Self::Messages(_) => None,
            #[cfg(feature = "quic")]
            Self::Quic(link) => link.mover(),
        }
    }
}

/// A connection that is ready.
pub struct Connection {
    /// How it speaks.
    pub transport: Transport,
    /// Our address.
    pub local: SocketAddr,
    /// The far end.
    pub peer: SocketAddr,
    /// The connection itself.
    pub line: Line,
}

/// What connections report to the loop.
pub enum Report {
    /// Somebody came in.
    Accepted(Connection, Seat),
    /// Bytes were read; no more are until this is dropped.
    Read(FlowId, Bytes, Unread),
    /// A whole message was read. The same holds, but for QUIC, where each stream has a bound of its own.
    Message(FlowId, Bytes, Option<Unread>),
    /// The connection is gone.
    Closed(FlowId, String),
    /// What was to be connected is.
    Connected(usize, Reached),
    /// What was to be connected is not.
    Failed(usize, Fault),
}

/// An outgoing flow that is ready.
pub enum Reached {
    /// A connection.
    Connection(Connection),
    /// The address of a server that is spoken to by datagrams.
    Datagrams(SocketAddr),
}

/// How long a peer may take nothing at all before it counts as gone.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one [batch](super::queue::BATCH) may take.
pub(super) const WRITE_LIMIT: Duration = Duration::from_secs(60);
/// How long a goodbye may take.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ: usize = 16 * 1024;
const READS_NOTHING: &str = "the peer reads nothing";

thread_local! {
    /// What is read passes through here on its way: a connection that says nothing holds no buffer.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// Serves one connection until either side ends it. Dropping the other end of `writes` closes it after
/// everything queued has left.
pub async fn serve(flow: FlowId, line: Line, writes: Queue, reports: mpsc::Sender<Report>) {
    let why = match line {
        Line::Bytes(stream) => bytes(flow, stream, &writes, &reports).await,
        Line::Messages(socket) => ws::serve(flow, *socket, &writes, &reports).await,
        #[cfg(feature = "quic")]
        Line::Quic(link) => quic::serve(flow, link, &writes, &reports).await,
    };
    // What waits for this peer is freed before anybody hears of the end.
    drop(writes);
    let _ = reports.send(Report::Closed(flow, why)).await;
}

/// The reason of the end.
async fn bytes(
    flow: FlowId,
    stream: Box<dyn Duplex>,
    writes: &Queue,
    reports: &mpsc::Sender<Report>,
) -> String {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let why = tokio::select! {
        why = listen(flow, &mut reader, writes, reports) => why,
        why = speak(&mut writer, writes) => why,
    };
    let _ = timeout(GOODBYE, writer.shutdown()).await;
    why
}

async fn listen<R: AsyncRead + Unpin>(
    flow: FlowId,
    reader: &mut R,
    writes: &Queue,
    reports: &mpsc::Sender<Report>,
) -> String {
    loop {
        writes.may_read().await;
        match read(reader).await {
            Ok(bytes) if bytes.is_empty() => return "the peer closed the connection".to_owned(),
            Ok(bytes) => {
                if reports.send(Report::Read(flow, bytes, writes.unread())).await.is_err() {
                    return "the gateway ends".to_owned();
                }
            }
            Err(error) => return error.to_string(),
        }
    }
}

/// What has come; nothing at the end.
async fn read<R: AsyncRead + Unpin>(reader: &mut R) -> io::Result<Bytes> {
    poll_fn(|cx| {
        BUFFER.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *reader).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(Bytes::copy_from_slice(buffer.filled())))
        })
    })
    .await
}

async fn speak<W: AsyncWrite + Unpin>(writer: &mut W, writes: &Queue) -> String {
    while let Some(mut batch) = writes.batch().await {
        match timeout(WRITE_LIMIT, write(writer, &mut batch.bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return why,
            Err(_) => return READS_NOTHING.to_owned(),
        }
    }
    "closed here".to_owned()
}

async fn write<W: AsyncWrite + Unpin>(writer: &mut W, bytes: &mut Bytes) -> Result<(), String> {
    while bytes.has_remaining() {
        if in_time(writer.write_buf(bytes)).await? == 0 {
            return Err("nothing can be written any more".to_owned());
        }
    }
    in_time(writer.flush()).await
}

/// A peer that takes nothing at all is gone.
async fn in_time<T>(work: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(WRITE_TIMEOUT, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(READS_NOTHING.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::queue::{self, FULL, Pushed, queue};
    use tokio::io::AsyncReadExt as _;

    /// A reader that is behind hears everything that was sent before the end, and then the end.
    #[tokio::test]
    async fn what_is_queued_leaves_before_the_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let (to, waiting) = queue(FlowId(1), None);
        let (reports, mut told) = mpsc::channel(8);
        let task = serve(FlowId(1), Line::Bytes(Box::new(near)), waiting, reports);
        let peer = async move {
            far.write_all(b"hello").await.unwrap();
            assert!(matches!(told.recv().await, Some(Report::Read(FlowId(1), bytes, _)) if bytes == "hello"));
            for _ in 0..100 {
                assert_eq!(to.push(Bytes::from_static(b"0123456789")), Pushed::Room);
            }
            drop(to);
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 1000);
            assert!(
                matches!(told.recv().await, Some(Report::Closed(FlowId(1), why)) if why == "closed here")
            );
        };
        tokio::join!(task, peer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_closed() {
        let (near, _far) = tokio::io::duplex(16);
        let (to, waiting) = queue(FlowId(1), None);
        let (reports, mut told) = mpsc::channel(8);
        to.push(Bytes::from(vec![b'x'; 100]));
        serve(FlowId(1), Line::Bytes(Box::new(near)), waiting, reports).await;
        assert!(matches!(told.recv().await, Some(Report::Closed(_, why)) if why == "the peer reads nothing"));
    }

    /// What a slow peer takes in its time is no reason to end it; what waits for it is bounded, and whoever
    /// waits for room hears of it once.
    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_waited_for_and_room_is_told() {
        let (near, mut far) = tokio::io::duplex(1024);
        let (room, mut rooms) = mpsc::unbounded_channel();
        let (to, waiting) = queue(FlowId(1), Some(room));
        let message = Bytes::from(vec![b'x'; 1024]);
        let pushed: Vec<Pushed> = (0..2 * queue::MOST / 1024).map(|_| to.push(message.clone())).collect();
        assert_eq!(pushed.iter().position(|it| *it == Pushed::Full), Some(FULL / 1024 - 1));
        assert_eq!(pushed.iter().filter(|it| **it == Pushed::Full).count(), 1);
        assert_eq!(pushed.iter().position(|it| *it == Pushed::Lost), Some(queue::MOST / 1024));
        drop(to);
        let (reports, mut told) = mpsc::channel(8);
        let slow = async {
            let (mut buffer, mut all) = (vec![0; 1024], 0);
            while let count @ 1.. = far.read(&mut buffer).await.unwrap() {
                tokio::time::sleep(Duration::from_secs(3)).await;
                all += count;
            }
            all
        };
        let served = serve(FlowId(1), Line::Bytes(Box::new(near)), waiting, reports);
        let (all, ()) = tokio::join!(slow, served);
        assert_eq!(all, queue::MOST);
        assert_eq!(rooms.recv().await, Some(FlowId(1)));
        assert_eq!(rooms.recv().await, None);
        assert!(matches!(told.recv().await, Some(Report::Closed(_, why)) if why == "closed here"));
    }

    /// Two that both write and read nothing meanwhile would wait for each other for ever.
    #[tokio::test(start_paused = true)]
    async fn what_the_peer_says_is_read_while_it_reads_nothing() {
        let (near, mut far) = tokio::io::duplex(64);
        let (to, waiting) = queue(FlowId(1), None);
        to.push(Bytes::from(vec![b'x'; 1000]));
        let (reports, mut told) = mpsc::channel(8);
        let served = serve(FlowId(1), Line::Bytes(Box::new(near)), waiting, reports);
        let peer = async {
            for _ in 0..3 {
                far.write_all(b"answer").await.unwrap();
                // Dropped unread, so that the next is read.
                assert!(matches!(told.recv().await, Some(Report::Read(_, bytes, _)) if bytes == "answer"));
            }
            drop(to);
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 1000);
        };
        tokio::join!(served, peer);
    }

    /// A peer that asks more than it hears is not listened to, and nothing that it said is lost.
    #[tokio::test(start_paused = true)]
    async fn nothing_more_is_read_before_what_was_read_is_looked_at() {
        let (near, mut far) = tokio::io::duplex(64);
        let (to, waiting) = queue(FlowId(1), None);
        let (reports, mut told) = mpsc::channel(8);
        let served = serve(FlowId(1), Line::Bytes(Box::new(near)), waiting, reports);
        let peer = async {
            far.write_all(b"one").await.unwrap();
            let first = told.recv().await;
            far.write_all(b"two").await.unwrap();
            assert!(timeout(Duration::from_secs(60), told.recv()).await.is_err());
            drop(first);
            assert!(matches!(told.recv().await, Some(Report::Read(_, bytes, _)) if bytes == "two"));
            drop(to);
        };
        tokio::join!(served, peer);
    }
}

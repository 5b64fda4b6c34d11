//! Connections: one task each, bytes or messages both ways over bounded channels. What is under them,
//! TCP or TLS, makes no difference here.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::door::Seat;
#[cfg(feature = "quic")]
use super::quic;
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
    /// Bytes were read.
    Read(FlowId, Bytes),
    /// A whole message was read.
    Message(FlowId, Bytes),
    /// The connection is gone.
    Closed(FlowId, String),
    /// What was to be connected is.
    Connected(usize, Reached),
    /// What was to be connected is not.
    Failed(usize, String),
}

/// An outgoing flow that is ready.
pub enum Reached {
    /// A connection.
    Connection(Connection),
    /// The address of a server that is spoken to by datagrams.
    Datagrams(SocketAddr),
}

/// Messages that wait for one slow peer; when it is full, the connection is closed.
pub const WRITE_QUEUE: usize = 256;
/// How long one write may take before the peer counts as gone.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
pub(super) const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes read at once. Each connection holds them, and most messages are shorter.
const READ: usize = 4 * 1024;

/// Serves one connection until either side ends it. Dropping the sender of `writes` closes it after
/// everything queued has left.
pub async fn serve(
    flow: FlowId,
    line: Line,
    mut writes: mpsc::Receiver<Bytes>,
    reports: mpsc::Sender<Report>,
) {
    let why = match line {
        Line::Bytes(stream) => bytes(flow, stream, &mut writes, &reports).await,
        Line::Messages(socket) => ws::serve(flow, *socket, &mut writes, &reports).await,
        #[cfg(feature = "quic")]
        Line::Quic(link) => quic::serve(flow, link, &mut writes, &reports).await,
    };
    let _ = reports.send(Report::Closed(flow, why)).await;
}

/// The reason of the end.
async fn bytes(
    flow: FlowId,
    mut stream: Box<dyn Duplex>,
    writes: &mut mpsc::Receiver<Bytes>,
    reports: &mpsc::Sender<Report>,
) -> String {
    let mut buffer = vec![0; READ];
    let why = loop {
        tokio::select! {
            got = stream.read(&mut buffer) => match got {
                Ok(0) => break "the peer closed the connection".to_owned(),
                Ok(count) => {
                    let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                    if reports.send(Report::Read(flow, bytes)).await.is_err() {
                        break "the gateway ends".to_owned();
                    }
                }
                Err(error) => break error.to_string(),
            },
            bytes = writes.recv() => {
                let Some(bytes) = bytes else { break "closed here".to_owned() };
                let write = async {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                };
                match tokio::time::timeout(WRITE_TIMEOUT, write).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break error.to_string(),
                    Err(_) => break "the peer reads nothing".to_owned(),
                }
            }
        }
    };
    let _ = tokio::time::timeout(GOODBYE, stream.shutdown()).await;
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that is behind hears everything that was sent before the end, and then the end.
    #[tokio::test]
    async fn what_is_queued_leaves_before_the_end() {
        let (near, mut far) = tokio::io::duplex(64);
        let (to, queue) = mpsc::channel(WRITE_QUEUE);
        let (reports, mut told) = mpsc::channel(8);
        let task = serve(FlowId(1), Line::Bytes(Box::new(near)), queue, reports);
        let peer = async move {
            far.write_all(b"hello").await.unwrap();
            assert!(matches!(told.recv().await, Some(Report::Read(FlowId(1), bytes)) if bytes == "hello"));
            for _ in 0..100 {
                to.send(Bytes::from_static(b"0123456789")).await.unwrap();
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
        let (to, queue) = mpsc::channel(WRITE_QUEUE);
        let (reports, mut told) = mpsc::channel(8);
        to.send(Bytes::from(vec![b'x'; 100])).await.unwrap();
        serve(FlowId(1), Line::Bytes(Box::new(near)), queue, reports).await;
        assert!(matches!(told.recv().await, Some(Report::Closed(_, why)) if why == "the peer reads nothing"));
    }
}

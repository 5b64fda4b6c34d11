//! TCP: one task per connection, bytes both ways over bounded channels.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::sip::FlowId;

/// What connections report to the loop.
#[derive(Debug)]
pub enum Report {
    /// Somebody connected to a listener of ours.
    Accepted(TcpStream, SocketAddr),
    /// Bytes were read.
    Read(FlowId, Bytes),
    /// The connection is gone.
    Closed(FlowId, String),
    /// What was to be connected is.
    Connected(usize, Connected),
    /// What was to be connected is not.
    Failed(usize, String),
}

/// An outgoing flow that is ready.
#[derive(Debug)]
pub enum Connected {
    /// A stream.
    Tcp(TcpStream),
    /// The address of a server that is spoken to by datagrams.
    Udp(SocketAddr),
}

/// Messages that wait for one slow peer; when it is full, the connection is closed.
pub const WRITE_QUEUE: usize = 256;
/// How long one write may take before the peer counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes read at once.
const READ: usize = 16 * 1024;

/// Accepts until the loop is gone.
pub async fn accept(listener: TcpListener, reports: mpsc::Sender<Report>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if reports.send(Report::Accepted(stream, peer)).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                // No descriptors left, most likely: wait for some to be freed.
                tracing::warn!(%error, "cannot accept connections now");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Serves one connection until either side ends it. Dropping the sender of `writes` closes it after
/// everything queued has left.
pub async fn serve(
    flow: FlowId,
    stream: TcpStream,
    mut writes: mpsc::Receiver<Bytes>,
    reports: mpsc::Sender<Report>,
) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.into_split();
    let mut buffer = vec![0; READ];
    let why = loop {
        tokio::select! {
            got = read.read(&mut buffer) => match got {
                Ok(0) => break "the peer closed the connection".to_owned(),
                Ok(count) => {
                    let bytes = Bytes::copy_from_slice(buffer.get(..count).unwrap_or_default());
                    if reports.send(Report::Read(flow, bytes)).await.is_err() {
                        return;
                    }
                }
                Err(error) => break error.to_string(),
            },
            bytes = writes.recv() => {
                let Some(bytes) = bytes else { break "closed here".to_owned() };
                match tokio::time::timeout(WRITE_TIMEOUT, write.write_all(&bytes)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break error.to_string(),
                    Err(_) => break "the peer reads nothing".to_owned(),
                }
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), write.shutdown()).await;
    let _ = reports.send(Report::Closed(flow, why)).await;
}

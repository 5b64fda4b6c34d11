//! HTTP: connections, bytes and time; what is asked is answered by the gateway.
//!
//! With TLS, or plain for this machine and the network at home.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use super::door::Doors;
use super::stream::Duplex;
use crate::gateway::xcap::{Answer, Request};
use crate::limits;

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// Who asks.
    pub peer: IpAddr,
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Given>,
}

/// An answer, and what it waits for.
#[derive(Debug)]
pub struct Given {
    /// The answer.
    pub answer: Answer,
    /// Says whether what was to be kept is on the disk; `None`: nothing has to be.
    pub kept: Option<oneshot::Receiver<bool>>,
}

/// Requests that wait for the loop; connections wait when it is full.
pub const REQUESTS: usize = 16;
/// Connections in all and of one address; one more is closed at once.
const CONNECTIONS: usize = 64;
const CONNECTIONS_PER_HOST: usize = 16;
/// Longest head of a request in bytes, and most fields; more is answered 431.
const HEAD_BYTES: usize = 16 * 1024;
const FIELDS: usize = 64;
/// How long a head may take, from the connection or the last answer on; then the connection is closed.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long a body may take; then 408 is answered.
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection lasts, whatever happens on it.
const LONGEST: Duration = Duration::from_secs(120);

/// Connections by address, of all listeners.
pub type Open = Rc<RefCell<HashMap<IpAddr, usize>>>;

/// Accepts on a listener until the loop is gone, or this is aborted; over TLS where there are `doors`. What
/// is connected then stays.
pub fn serve(
    listener: TcpListener,
    doors: Option<&Doors>,
    open: &Open,
    to: &mpsc::Sender<Asked>,
) -> AbortHandle {
    let accept = accept(listener, doors.cloned(), open.clone(), to.clone());
    tokio::task::spawn_local(accept).abort_handle()
}

async fn accept(listener: TcpListener, doors: Option<Doors>, open: Open, to: mpsc::Sender<Asked>) {
    while !to.is_closed() {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Some(place) = Place::take(&open, peer) {
                    tokio::task::spawn_local(enter(stream, peer, place, doors.clone(), to.clone()));
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections for HTTP now");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// A place among the open connections, given back at the end.
struct Place {
    open: Open,
    peer: IpAddr,
}

impl Place {
    fn take(open: &Open, peer: SocketAddr) -> Option<Self> {
        let peer = peer.ip();
        let mut counts = open.borrow_mut();
        let all: usize = counts.values().sum();
        let same = counts.get(&peer).copied().unwrap_or(0);
        if all >= CONNECTIONS || same >= CONNECTIONS_PER_HOST {
            return None;
        }
        counts.insert(peer, same + 1);
        Some(Self { open: open.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.open.borrow_mut();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

async fn enter(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    doors: Option<Doors>,
    to: mpsc::Sender<Asked>,
) {
    let _ = stream.set_nodelay(true);
    match doors {
        None => connection(stream, peer, place, to).await,
        Some(doors) => match doors.secure(stream).await {
            Ok(stream) => connection(stream, peer, place, to).await,
            Err(why) => tracing::debug!(%peer, why, "no HTTPS"),
        },
    }
}

async fn connection(stream: impl Duplex, peer: SocketAddr, place: Place, to: mpsc::Sender<Asked>) {
    let service = service_fn(|request| {
        let to = to.clone();
        async move { Ok::<_, Infallible>(respond(answer(request, peer.ip(), &to).await)) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_BYTES)
        .max_headers(FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = tokio::time::timeout(LONGEST, connection).await {
        tracing::debug!(%peer, %error, "HTTP connection ended");
    }
    drop(place);
}

/// The answer to one request.
async fn answer(request: hyper::Request<Incoming>, peer: IpAddr, to: &mpsc::Sender<Asked>) -> Answer {
    let (head, body) = request.into_parts();
    let body =
        match tokio::time::timeout(BODY_DEADLINE, Limited::new(body, limits::BODY_BYTES).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(why)) if why.is::<LengthLimitError>() => {
                return Answer::text(413, &format!("A document has at most {} bytes", limits::BODY_BYTES));
            }
            Ok(Err(_)) => return Answer::text(400, "The body broke off"),
            Err(_) => return Answer::text(408, "The body took too long"),
        };
    let text = |value: &hyper::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let target = head.uri.path_and_query().map(|target| target.as_str().to_owned()).unwrap_or_default();
    let request = Request { method: head.method.as_str().to_owned(), target, fields, body };
    let (tell, told) = oneshot::channel();
    let ended = || Answer::text(503, "The gateway is about to end");
    if to.send(Asked { peer, request, answer: tell }).await.is_err() {
        return ended();
    }
    match told.await {
        Ok(Given { answer, kept: None }) => answer,
        Ok(Given { answer, kept: Some(kept) }) => match kept.await {
            Ok(true) => answer,
            Ok(false) | Err(_) => Answer::not_kept(),
        },
        Err(_) => ended(),
    }
}

fn respond(answer: Answer) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(answer.body));
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in answer.fields {
        if let Ok(value) = hyper::header::HeaderValue::from_str(&value) {
            response.headers_mut().append(name, value);
        }
    }
    // Nobody's browser is to guess what a document could be, or to keep it.
    for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "private, no-cache")] {
        response.headers_mut().insert(name, hyper::header::HeaderValue::from_static(value));
    }
    response
}

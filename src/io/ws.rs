//! SIP over WebSockets (RFC 7118): one message in each frame, text or binary, both ways.

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config, client_async_with_config};

use super::queue::{BATCH, Queue};
use super::stream::{Duplex, GOODBYE, Report, WRITE_TIMEOUT};
use crate::config::HostPort;
use crate::limits;
use crate::sip::{FlowId, Transport};

/// A WebSocket over TCP or TLS.
pub type Socket = WebSocketStream<Box<dyn Duplex>>;

/// The subprotocol that both sides name (RFC 7118 §4.1).
const PROTOCOL: &str = "sip";
/// The keep-alive of SIP over streams (RFC 5626 §4.4.1).
const PING: &[u8] = b"\r\n\r\n";
/// What an answer to it is to the core.
const PONG: &[u8] = b"\r\n";
/// Bytes that are read at once, for each connection.
const READ: usize = 8 * 1024;

/// Longest message in bytes, in however many frames it comes; a longer one ends the connection.
const MESSAGE: usize = limits::HEADER_BYTES + limits::BODY_BYTES;

fn settings() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ)
        // What is sent in one go leaves in one go.
        .write_buffer_size(BATCH)
        .max_message_size(Some(MESSAGE))
        .max_frame_size(Some(MESSAGE))
        // What is queued waits there; here are a few messages at a time.
        .max_write_buffer_size(2 * MESSAGE)
}

/// Web pages that may come in. A program that is no browser names none.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Those that a file lists.
    pub fn of(listed: &[String]) -> Self {
        Self(listed.to_vec())
    }

    /// Whether a page of that origin may come to a gateway that it knows as `host`: what is listed, and
    /// what came from the same host.
    fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.0.contains(&origin) {
            return true;
        }
        let page = origin.split_once("://").map(|(_, authority)| without_port(authority));
        page.is_some_and(|page| {
            !page.is_empty() && host.is_some_and(|host| without_port(host).eq_ignore_ascii_case(page))
        })
    }
}

fn without_port(authority: &str) -> &str {
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    authority.rsplit_once(':').filter(|(_, port)| digits(port)).map_or(authority, |(host, _)| host)
}

/// Upgrades a connection of somebody who came in. The caller sets a deadline.
///
/// # Errors
/// Why not, which was also answered.
pub async fn accept(stream: Box<dyn Duplex>, origins: &Origins) -> Result<Socket, String> {
    #[allow(clippy::result_large_err, reason = "the shape of the answer is the library's")]
    let look = |request: &Request, mut response: Response| {
        admit(request.headers(), origins)?;
        response.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(PROTOCOL));
        Ok(response)
    };
    accept_hdr_async_with_config(stream, look, Some(settings())).await.map_err(|error| words(&error))
}

#[allow(clippy::result_large_err, reason = "the shape of the answer is the library's")]
fn admit(headers: &HeaderMap, origins: &Origins) -> Result<(), ErrorResponse> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let named = headers.get_all("Sec-WebSocket-Protocol").iter().filter_map(|value| value.to_str().ok());
    if !named.flat_map(|list| list.split(',')).any(|word| word.trim().eq_ignore_ascii_case(PROTOCOL)) {
        return Err(answer(StatusCode::BAD_REQUEST, "The subprotocol `sip` is spoken here"));
    }
    let page = headers.get("Origin").map(|origin| origin.to_str().unwrap_or_default());
    match page.is_none_or(|page| origins.allow(page, text("Host"))) {
        true => Ok(()),
        false => Err(answer(StatusCode::FORBIDDEN, "This page is not among `websocket: {origins: …}`")),
    }
}

fn answer(status: StatusCode, text: &str) -> ErrorResponse {
    let mut response = ErrorResponse::new(Some(text.to_owned()));
    *response.status_mut() = status;
    response
}

/// Upgrades a connection of ours.
///
/// # Errors
/// What is wrong and what to do, for a person.
pub async fn connect(
    stream: Box<dyn Duplex>,
    server: &HostPort,
    transport: Transport,
    path: &str,
) -> Result<Socket, String> {
    let host = if server.host.contains(':') { format!("[{}]", server.host) } else { server.host.clone() };
    let uri = format!("{}://{host}:{}{path}", transport.word(), server.port);
    let uri: Uri = uri.parse().map_err(|error| format!("{uri}: {error}"))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(PROTOCOL);
    match client_async_with_config(request, stream, Some(settings())).await {
        Ok((socket, _)) => Ok(socket),
        Err(error) => Err(words(&error)),
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::Http(response) => {
            format!("no WebSocket: it answers {} – is `path:` right?", response.status())
        }
        other => format!("no WebSocket: {other}"),
    }
}

/// Why a WebSocket is at its end.
pub struct End {
    /// In words.
    pub why: String,
    /// What a peer that broke the rules is told.
    farewell: Option<CloseFrame>,
}

/// The next message; pings are answered on the way. Dropping the future loses nothing.
///
/// # Errors
/// When there will be no other.
pub async fn receive(
    socket: &mut (impl Stream<Item = Result<Message, Error>> + Unpin),
) -> Result<Bytes, End> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.into()),
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            // The answer to our keep-alive proves what a single CRLF does (RFC 5626 §4.4.1).
            Some(Ok(Message::Pong(_))) => return Ok(Bytes::from_static(PONG)),
            // The library answers a ping before it reads on.
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_))) | None => {
                return Err(End { why: "the peer closed the connection".to_owned(), farewell: None });
            }
            Some(Err(error)) => return Err(End { why: error.to_string(), farewell: fault(&error) }),
        }
    }
}

/// Sends one message.
///
/// # Errors
/// When the connection is gone.
pub async fn send(socket: &mut Socket, bytes: Bytes) -> Result<(), String> {
    socket.send(frame(bytes)).await.map_err(|error| error.to_string())
}

/// Serves one connection; the reason of its end.
pub(super) async fn serve(
    flow: FlowId,
    socket: Socket,
    writes: &Queue,
    reports: &mpsc::Sender<Report>,
) -> String {
    let (mut sink, mut source) = socket.split();
    let End { why, farewell } = tokio::select! {
        end = listen(flow, &mut source, writes, reports) => end,
        why = speak(&mut sink, writes) => End { why, farewell: None },
    };
    let goodbye = async {
        // A close frame without a reason is what closing sends by itself.
        if farewell.is_some() {
            let _ = sink.send(Message::Close(farewell)).await;
        }
        sink.close().await
    };
    let _ = timeout(GOODBYE, goodbye).await;
    why
}

async fn listen(
    flow: FlowId,
    source: &mut SplitStream<Socket>,
    writes: &Queue,
    reports: &mpsc::Sender<Report>,
) -> End {
    loop {
        writes.may_read().await;
        match receive(source).await {
            Ok(bytes) => {
                if reports.send(Report::Message(flow, bytes, Some(writes.unread()))).await.is_err() {
                    return End { why: "the gateway ends".to_owned(), farewell: None };
                }
            }
            Err(end) => return end,
        }
    }
}

async fn speak(sink: &mut SplitSink<Socket, Message>, writes: &Queue) -> String {
    while let Some((several, _held)) = writes.several().await {
        let write = async {
            for bytes in several {
                sink.feed(frame(bytes)).await?;
            }
            sink.flush().await
        };
        match timeout(WRITE_TIMEOUT, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the peer reads nothing".to_owned(),
        }
    }
    "closed here".to_owned()
}

/// Text where it is text: some clients read nothing else. Our own keep-alive is a ping (RFC 7118 §6).
fn frame(bytes: Bytes) -> Message {
    if bytes == PING {
        return Message::Ping(Bytes::new());
    }
    match Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

/// What a peer that broke the rules is told.
fn fault(error: &Error) -> Option<CloseFrame> {
    let code = match error {
        Error::Capacity(_) => CloseCode::Size,
        Error::Protocol(_) | Error::AttackAttempt => CloseCode::Protocol,
        Error::Utf8(_) => CloseCode::Invalid,
        _ => return None,
    };
    Some(CloseFrame { code, reason: Utf8Bytes::default() })
}

#[cfg(test)]
mod tests;

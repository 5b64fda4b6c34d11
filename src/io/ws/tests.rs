//! Both sides over a stream in memory.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use super::*;

fn server() -> HostPort {
    HostPort { host: "gateway.example".to_owned(), port: 8080 }
}

async fn pair() -> (Socket, Socket) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = server();
    let ours = connect(Box::new(near), &server, Transport::Ws, "/");
    let origins = Origins::default();
    let (ours, theirs) = tokio::join!(ours, accept(Box::new(far), &origins));
    (ours.unwrap(), theirs.unwrap())
}

/// What somebody is answered who sends this head.
async fn answered(head: &str) -> String {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let origins = Origins(vec!["https://phone.example".to_owned()]);
    let head = format!(
        "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{head}\r\n"
    );
    let ask = async {
        near.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let count = near.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..count]).lines().next().unwrap_or_default().to_owned()
    };
    let (line, _) = tokio::join!(ask, accept(Box::new(far), &origins));
    line
}

#[tokio::test]
async fn the_subprotocol_is_needed_and_strange_pages_stay_out() {
    let sip = "Host: gateway.example:8080\r\nSec-WebSocket-Protocol: sip\r\n";
    let good = "HTTP/1.1 101 Switching Protocols";
    for (head, line) in [
        (sip.to_owned(), good),
        ("Host: h\r\nSec-WebSocket-Protocol: chat, SIP\r\n".to_owned(), good),
        ("Host: h\r\n".to_owned(), "HTTP/1.1 400 Bad Request"),
        ("Host: h\r\nSec-WebSocket-Protocol: sips\r\n".to_owned(), "HTTP/1.1 400 Bad Request"),
        (format!("{sip}Origin: https://gateway.example\r\n"), good),
        (format!("{sip}Origin: https://phone.example\r\n"), good),
        (format!("{sip}Origin: https://phone.example:444\r\n"), "HTTP/1.1 403 Forbidden"),
        (format!("{sip}Origin: https://gateway.example.evil\r\n"), "HTTP/1.1 403 Forbidden"),
        (format!("{sip}Origin: null\r\n"), "HTTP/1.1 403 Forbidden"),
        (format!("{sip}Origin: \u{e9}\r\n"), "HTTP/1.1 403 Forbidden"),
    ] {
        assert_eq!(answered(&head).await, line, "{head}");
    }
}

#[test]
fn an_address_is_a_host_as_well() {
    let origins = Origins::default();
    for (origin, host, allowed) in [
        ("http://192.168.1.2:8000", Some("192.168.1.2:8080"), true),
        ("http://[::1]:8000", Some("[::1]:8080"), true),
        ("http://[::1]", Some("[::2]"), false),
        ("http://192.168.1.2", None, false),
        ("file://", Some(""), false),
        ("", Some(""), false),
    ] {
        assert_eq!(origins.allow(origin, host), allowed, "{origin} {host:?}");
    }
}

#[tokio::test]
async fn one_message_in_each_frame_both_ways() {
    let (mut ours, mut theirs) = pair().await;
    for bytes in [&b"OPTIONS sip:h SIP/2.0\r\n\r\n"[..], b"\r\n", b"bytes \xff\xfe that are no text"] {
        let bytes = Bytes::from_static(bytes);
        send(&mut ours, bytes.clone()).await.unwrap();
        assert_eq!(receive(&mut theirs).await.ok(), Some(bytes.clone()));
        send(&mut theirs, bytes.clone()).await.unwrap();
        assert_eq!(receive(&mut ours).await.ok(), Some(bytes));
    }
}

/// A keep-alive of ours is a ping, which any WebSocket answers.
#[tokio::test]
async fn a_keep_alive_is_a_ping_and_a_ping_is_answered() {
    let (mut ours, mut theirs) = pair().await;
    send(&mut ours, Bytes::from_static(PING)).await.unwrap();
    assert!(matches!(theirs.next().await, Some(Ok(Message::Ping(_)))));
    let pong = tokio::select! {
        got = ours.next() => got,
        _ = receive(&mut theirs) => None,
    };
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))));
    send(&mut ours, Bytes::from_static(PING)).await.unwrap();
    let pong = tokio::select! {
        got = receive(&mut ours) => got.ok(),
        _ = receive(&mut theirs) => None,
    };
    assert_eq!(pong, Some(Bytes::from_static(PONG)), "it proves that the flow lives");
    send(&mut theirs, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(receive(&mut ours).await.ok(), Some(Bytes::from_static(b"hello")));
}

#[tokio::test]
async fn a_message_that_is_too_long_ends_the_connection() {
    let (near, far) = tokio::io::duplex(4 * MESSAGE);
    let server = server();
    let ours = client_async_with_config(
        ClientRequestBuilder::new(format!("ws://{}/", server.host).parse().unwrap()).with_sub_protocol("sip"),
        Box::new(near) as Box<dyn Duplex>,
        None,
    );
    let origins = Origins::default();
    let (ours, theirs) = tokio::join!(ours, accept(Box::new(far), &origins));
    let ((mut ours, _), theirs) = (ours.unwrap(), theirs.unwrap());
    let (_writes, waiting) = crate::io::queue::queue(FlowId(1), None);
    let (reports, _told) = mpsc::channel(8);
    let work = async {
        // In frames that are each short enough.
        let piece = Bytes::from(vec![b'a'; MESSAGE / 2]);
        for (nth, last) in [(0, false), (1, false), (2, true)] {
            let code = OpCode::Data(if nth == 0 { Data::Text } else { Data::Continue });
            let _ = ours.send(Message::Frame(Frame::message(piece.clone(), code, last))).await;
        }
        match ours.next().await {
            Some(Ok(Message::Close(Some(frame)))) => frame.code,
            other => panic!("{other:?}"),
        }
    };
    let (why, code) = tokio::join!(serve(FlowId(1), theirs, &waiting, &reports), work);
    assert_eq!(code, CloseCode::Size);
    assert!(why.contains("too long") || why.contains("Space limit"), "{why}");
}

/// A client's frame by hand: masked, with the bytes cut into frames at `cuts`.
fn frames(bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    ends.push(bytes.len());
    ends.sort_unstable();
    let (mut out, mut from) = (Vec::new(), 0);
    for (nth, end) in ends.iter().enumerate() {
        let piece = &bytes[from..*end];
        let last = nth + 1 == ends.len();
        out.push((u8::from(nth == 0) << 1) | (u8::from(last) << 7));
        match u8::try_from(piece.len()) {
            Ok(short @ 0..126) => out.push(0x80 | short),
            _ => {
                out.push(0x80 | 126);
                out.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            }
        }
        let mask = [1, 2, 3, 4];
        out.extend(mask);
        out.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        from = *end;
    }
    out
}

async fn upgraded() -> (DuplexStream, Socket) {
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
    let ask = async {
        near.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(near.read_u8().await.unwrap());
        }
    };
    let origins = Origins::default();
    let ((), socket) = tokio::join!(ask, accept(Box::new(far), &origins));
    (near, socket.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a message is cut into frames and the frames into packets, it arrives once and whole.
    #[test]
    fn any_cut_gives_the_same_message(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        cuts in proptest::collection::vec(any::<usize>(), 0..5),
        packet in 1usize..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let got = runtime.block_on(async {
            let (mut near, mut socket) = upgraded().await;
            let wire = frames(&bytes, &cuts);
            let write = async {
                for piece in wire.chunks(packet) {
                    near.write_all(piece).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let ((), got) = tokio::join!(write, receive(&mut socket));
            got.ok()
        });
        prop_assert_eq!(got, Some(Bytes::from(bytes)));
    }

    /// Bytes that are no WebSocket end it, and nothing else.
    #[test]
    fn noise_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut socket) = upgraded().await;
            near.write_all(&bytes).await.unwrap();
            drop(near);
            while receive(&mut socket).await.is_ok() {}
        });
    }
}

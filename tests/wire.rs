//! Bytes to messages and back: what may be anything, what must survive, and another parser's opinion.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sipliance::sip::auth::Digest;
use sipliance::sip::wire::check::request_fault;
use sipliance::sip::wire::frame::{Frame, Framer};
use sipliance::sip::wire::{Address, Message, Method, Name, Params, Start, Uri, Via, Writer, write};

/// Text that goes wrong in more interesting ways than random bytes do.
fn sip_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "INVITE",
        "SIP/2.0",
        " ",
        "\r\n",
        "\n",
        "\r",
        "\t",
        ":",
        ";",
        ",",
        "<",
        ">",
        "\"",
        "\\",
        "@",
        "=",
        "?",
        "[",
        "]",
        "%",
        "%4",
        "%00",
        "sip:",
        "sips:",
        "tel:",
        "Via",
        "v",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "1 INVITE",
        "Contact",
        "Content-Length",
        "l",
        "-1",
        "4",
        "99999999999999999999",
        "z9hG4bK",
        "branch=",
        "tag=",
        "\r\n\r\n",
        "\r\n ",
        "Digest ",
        "nonce=\"",
        "qop=auth",
        "[::1]",
        "192.0.2.1",
        "\u{fc}",
        "\0",
        "*",
        "Expires",
        "SIP/2.0 200 OK\r\n",
        "OPTIONS sip:h SIP/2.0\r\n",
        "SIP/2.0/UDP h",
    ])
    .prop_map(|piece| piece.as_bytes().to_vec());
    vec(prop_oneof![4 => piece, 1 => vec(any::<u8>(), 0..6)], 0..60).prop_map(|parts| parts.concat())
}

/// Looks at everything that a message can be asked for.
fn poke(bytes: &[u8]) {
    let Ok(message) = Message::parse(bytes) else { return };
    let _ = request_fault(&message);
    let _ = (message.via(), message.from(), message.to(), message.call_id(), message.cseq());
    let _ = (message.contact(), message.expires(), message.event(), message.content_type());
    let _ = message.has_option(Name::Supported, "path");
    for (name, value) in message.fields() {
        poke_value(name);
        poke_value(value);
    }
    assert!(message.body.len() <= bytes.len());
    if message.request().is_some() {
        let source = "192.0.2.7:5060".parse().unwrap();
        let answer = write::response(&message, 400, "Bad", Some("t"), Some(source)).finish();
        // What is answered can be read, whatever was asked.
        let answer = Message::parse(&answer).expect("our own answer");
        assert_eq!(answer.first(Name::ContentLength), Some(&b"0"[..]));
        assert_eq!(answer.count(Name::ContentLength), 1, "nothing was smuggled in");
    }
}

fn poke_value(value: &[u8]) {
    let _ =
        Address::parse(value).map(|address| (address.tag(), address.uri.user_text(), address.uri.address()));
    let _ = Via::parse(value).map(|via| via.branch());
    let _ = Digest::parse(value);
    let params = Params::new(value);
    assert!(params.iter().count() <= value.len());
    let _ = params.text("tag");
    if let Ok(text) = std::str::from_utf8(value) {
        if let Ok(uri) = Uri::parse(text) {
            assert_eq!(uri.raw, text);
            assert!(text.contains(uri.address().as_ref()));
            let _ = (uri.user_text(), uri.params.text("transport"));
        }
        let _ = Method::new(text);
    }
}

/// Frames of a stream that is given in these pieces.
fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut framer = Framer::default();
    let mut frames = Vec::new();
    for piece in pieces {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            frames.push(frame);
        }
    }
    frames
}

/// A pong may be the first half of a ping that is said later: it is no part of the comparison.
fn without_pongs(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.retain(|frame| *frame != Frame::Pong);
    frames
}

fn pieces(bytes: &[u8], mut cuts: Vec<usize>) -> Vec<&[u8]> {
    cuts.sort_unstable();
    let mut pieces = Vec::new();
    let mut from = 0;
    for cut in cuts {
        let cut = cut % (bytes.len() + 1);
        if cut > from {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
    }
    pieces.push(&bytes[from..]);
    pieces
}

fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9.!%*_+`'~-]{1,20}"
}

/// A header value without a line end, which may hold anything else that is text.
fn value() -> impl Strategy<Value = String> {
    "[!-~\u{a1}-\u{17f}][ -~\u{a1}-\u{17f}]{0,60}[!-~]".prop_map(|value| value.trim().to_owned())
}

fn user() -> impl Strategy<Value = String> {
    "[a-z0-9_.!~*'()&=+$,;?/-]{1,16}(%[0-9A-F]{2})?"
}

fn host() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,10}[a-z](\\.[a-z]{2,5})?",
        "\\[2001:db8::[1-9a-f]{1,4}\\]",
        "192\\.0\\.2\\.[1-9]"
    ]
}

prop_compose! {
    fn uri()(
        scheme in select(vec!["sip", "sips", "SIP"]),
        user in proptest::option::of(user()),
        host in host(),
        port in proptest::option::of(1..=u16::MAX),
        param in proptest::option::of("[A-Za-z0-9_.!~*'()-]{1,12}"),
    ) -> String {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let param = param.map(|param| format!(";x-param={param}")).unwrap_or_default();
        format!("{scheme}:{user}{host}{port}{param}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..400)) {
        poke(&bytes);
        poke_value(&bytes);
        frames(&[&bytes]);
    }

    #[test]
    fn almost_sip_is_survived(bytes in sip_like()) {
        poke(&bytes);
        poke_value(&bytes);
        poke(&[b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\n", &bytes[..], b"\r\n\r\n"].concat());
        poke(&[b"SIP/2.0 200 OK\r\n", &bytes[..]].concat());
    }

    #[test]
    fn a_stream_is_the_same_however_it_is_cut(
        parts in vec(prop_oneof![
            sip_like(),
            Just(b"\r\n\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            vec(any::<u8>(), 0..30).prop_map(|body| {
                let mut message = format!("OPTIONS sip:h SIP/2.0\r\nVia: x\r\nl: {}\r\n\r\n", body.len()).into_bytes();
                message.extend(body);
                message
            }),
        ], 1..8),
        cuts in vec(any::<usize>(), 0..12),
    ) {
        let bytes = parts.concat();
        let whole = without_pongs(frames(&[&bytes]));
        prop_assert_eq!(&whole, &without_pongs(frames(&pieces(&bytes, cuts))));
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        prop_assert_eq!(&whole, &without_pongs(frames(&single)));
    }

    #[test]
    fn every_field_survives_byte_for_byte(
        method in token(),
        uri in uri(),
        fields in vec((token(), value()), 0..20),
        body in vec(any::<u8>(), 0..200),
    ) {
        let method = Method::new(&method);
        let mut writer = Writer::request(method, &uri);
        let fields: Vec<_> = fields.into_iter().filter(|(name, _)| Name::new(name.as_bytes()) != Name::ContentLength).collect();
        for (name, value) in &fields {
            writer.echo(name, value.as_bytes());
        }
        let bytes = writer.body("application/octet-stream", &body);
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.fault, None);
        prop_assert_eq!(message.request(), Some((method, uri.as_str())));
        prop_assert_eq!(message.body, &body[..]);
        let read: Vec<(&[u8], &[u8])> = message.fields().take(fields.len()).collect();
        let wrote: Vec<(&[u8], &[u8])> = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        prop_assert_eq!(read, wrote);
        prop_assert_eq!(frames(&[&bytes]), vec![Frame::Message(bytes.clone().into())]);
    }

    #[test]
    fn addresses_are_read_as_they_were_made(
        uri in uri(),
        display in "[ -!#-\\[\\]-~]{0,20}",
        tag in token(),
        other in token(),
    ) {
        let text = format!("\"{display}\" <{uri}>;x={other} ; tag={tag}");
        let address = Address::parse(text.as_bytes()).unwrap();
        let quoted = format!("\"{display}\"");
        prop_assert_eq!(address.display, quoted.as_bytes());
        prop_assert_eq!(address.uri.raw, &uri);
        prop_assert_eq!(address.tag(), Some(tag.as_str()));
        prop_assert_eq!(address.params.text("X"), Some(other.as_str()));
        let bare = uri.split(";x-param").next().unwrap();
        let expect = format!("<{uri}>");
        prop_assert_eq!(Address::parse(expect.as_bytes()).unwrap().uri.address(), bare);
    }

    #[test]
    fn what_a_peer_wrote_adds_no_line(value in vec(any::<u8>(), 0..60)) {
        let mut writer = Writer::status(200, &String::from_utf8_lossy(&value));
        writer.echo("X-Echo", &value);
        let bytes = writer.finish();
        let lines = bytes.split(|byte| *byte == b'\n').count();
        prop_assert_eq!(lines, 5, "{:?}", String::from_utf8_lossy(&bytes));
        // Control characters remain in quoted pairs alone (RFC 3261 §25.1).
        let loose = bytes.windows(2).any(|pair| {
            pair[1].is_ascii_control() && !matches!(pair[1], b'\r' | b'\n') && pair[0] != b'\\'
        });
        prop_assert!(!loose, "{:?}", String::from_utf8_lossy(&bytes));
    }

    /// rsip reads the same out of every message that it can read at all.
    #[test]
    fn rsip_agrees(
        method in select(vec!["INVITE", "OPTIONS", "SUBSCRIBE", "MESSAGE", "REGISTER", "BYE"]),
        user in "[a-z0-9]{1,10}",
        host in "[a-z]{1,8}\\.example",
        port in 1024..u16::MAX,
        branch in "[A-Za-z0-9]{1,20}",
        tag in "[A-Za-z0-9]{1,12}",
        number in 1..1u32 << 31,
        body in "[ -~]{0,80}",
    ) {
        let text = format!(
            "{method} sip:{user}@{host}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\nFrom: <sip:{user}@{host}>;tag={tag}\r\nTo: <sip:other@{host}>\r\nCall-ID: {branch}@{host}\r\nCSeq: {number} {method}\r\nContact: <sip:{user}@{host}:{port}>\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let ours = Message::parse(text.as_bytes()).unwrap();
        let theirs = oracle::read(text.as_bytes()).unwrap();
        let (our_method, our_uri) = ours.request().unwrap();
        prop_assert_eq!(our_method.as_str(), theirs.method);
        prop_assert_eq!(our_uri, theirs.uri);
        prop_assert_eq!(ours.via().unwrap().branch().map(ToOwned::to_owned), theirs.branch);
        prop_assert_eq!(ours.from().unwrap().tag().map(ToOwned::to_owned), theirs.from_tag);
        prop_assert_eq!(ours.to().unwrap().tag(), None);
        prop_assert_eq!(std::str::from_utf8(ours.call_id().unwrap()).unwrap(), theirs.call_id);
        prop_assert_eq!(ours.cseq().unwrap().number, theirs.cseq);
        prop_assert_eq!(ours.body, &theirs.body[..]);
        prop_assert_eq!(ours.fields().count(), theirs.fields);
    }
}

mod oracle {
    use rsip::prelude::*;

    pub struct Read {
        pub method: String,
        pub uri: String,
        pub branch: Option<String>,
        pub from_tag: Option<String>,
        pub call_id: String,
        pub cseq: u32,
        pub body: Vec<u8>,
        pub fields: usize,
    }

    /// `None` when rsip cannot read it.
    pub fn read(bytes: &[u8]) -> Option<Read> {
        let rsip::SipMessage::Request(request) = rsip::SipMessage::try_from(bytes).ok()? else { return None };
        let via = request.via_header().ok()?.typed().ok()?;
        let from = request.from_header().ok()?.typed().ok()?;
        let cseq = request.cseq_header().ok()?.typed().ok()?;
        Some(Read {
            method: request.method.to_string(),
            uri: request.uri.to_string(),
            branch: via.branch().map(|branch| branch.value().to_owned()),
            from_tag: from.tag().map(|tag| tag.value().to_owned()),
            call_id: request.call_id_header().ok()?.value().to_owned(),
            cseq: cseq.seq,
            body: request.body.clone(),
            fields: request.headers.iter().count(),
        })
    }
}

fn request(method: &str, via: &str, contact: &str) -> Vec<u8> {
    format!(
        "{method} sip:plug@home.example SIP/2.0\r\n{via}\r\nMax-Forwards: 70\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:plug@home.example>\r\nCall-ID: x\r\nCSeq: 1 {method}\r\nContact: {contact}\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

const VIA: &str = "Via: SIP/2.0/UDP h;branch=z9hG4bK1";

/// Where rsip ends and the gateway must not: the reasons for a parser of our own. When one of these
/// fails, rsip has learned something, and the choice may be looked at again.
#[test]
fn what_rsip_cannot_read() {
    let plain = request("OPTIONS", VIA, "<sip:a@h>");
    assert!(oracle::read(&plain).is_some(), "the oracle works");
    let cases: [(&str, Vec<u8>); 5] = [
        ("the method DO", request("DO", VIA, "<sip:a@h>")),
        (
            "IPv6 in Via",
            request("OPTIONS", "Via: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1", "<sip:a@h>"),
        ),
        ("a compact Via", request("OPTIONS", "v: SIP/2.0/UDP h;branch=z9hG4bK1", "<sip:a@h>")),
        ("folding", request("OPTIONS", "Via: SIP/2.0/UDP h\r\n ;branch=z9hG4bK1", "<sip:a@h>")),
        ("bytes that are no UTF-8", [&plain[..plain.len() - 4], b"\r\nSubject: \xff\r\n\r\n"].concat()),
    ];
    for (what, bytes) in cases {
        let ours = Message::parse(&bytes).unwrap();
        assert_eq!(request_fault(&ours), None, "{what}");
        assert_eq!(ours.via().unwrap().branch(), Some("z9hG4bK1"), "{what}");
        assert!(oracle::read(&bytes).is_none(), "rsip reads {what} now");
    }
}

/// An instance id holds `<`, `>` and `:` inside quotes.
#[test]
fn an_instance_id_is_a_parameter() {
    use rsip::prelude::*;
    let contact = "<sip:a@h;transport=tcp>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\";reg-id=1;expires=60";
    let bytes = request("REGISTER", VIA, contact);
    let ours = Message::parse(&bytes).unwrap();
    let address = ours.contact().unwrap().unwrap();
    assert_eq!(address.params.text("+sip.instance"), Some("<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"));
    assert_eq!(address.params.text("reg-id"), Some("1"));
    let theirs = rsip::SipMessage::try_from(&bytes[..]).unwrap();
    let typed = theirs.contact_header().unwrap().typed();
    assert!(
        typed.is_err() || !typed.unwrap().to_string().contains("reg-id=1"),
        "rsip reads instance ids now"
    );
}

#[test]
fn a_response_is_matched_by_its_status_line_alone() {
    for (line, status) in [("SIP/2.0 200 OK", 200), ("sip/2.0 180", 180), ("SIP/2.0 699 x y z", 699)] {
        let text = format!("{line}\r\nVia: x\r\n\r\n");
        let Start::Response { status: got, .. } = Message::parse(text.as_bytes()).unwrap().start else {
            panic!()
        };
        assert_eq!(got, status);
    }
}

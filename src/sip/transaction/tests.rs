//! The table of transactions.

use rand::SeedableRng as _;

use super::*;
use crate::sip::{FlowId, Transport};

/// A day of requests leaves nothing behind.
#[test]
fn what_is_over_is_forgotten() {
    let mut transactions = Transactions::<()>::new(ChaCha8Rng::from_seed([7; 32]));
    let addr = "127.0.0.1:5060".parse().unwrap();
    let hop = Hop { flow: FlowId(1), transport: Transport::Udp, local: addr, peer: addr };
    let mut now = Instant::now();
    for number in 0..10_000 {
        let text = format!(
            "OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{number}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        let request = Message::parse(text.as_bytes()).unwrap();
        let key = transactions.open(&request, hop, Weight::Light).unwrap();
        transactions.answer(key, 200, Vec::new(), now);
        now += Duration::from_millis(500);
        while transactions.on_deadline(now).is_some() {}
        while transactions.poll_transmit().is_some() {}
    }
    assert!(transactions.servers.len() <= 65 && transactions.light.len() <= 65);
    assert_eq!(transactions.by_hash.len(), transactions.servers.len());
    now += TIMEOUT;
    while transactions.on_deadline(now).is_some() {}
    assert!(transactions.light.is_empty() && transactions.servers.is_empty());
}

/// Proxies without transactions pass on every repetition, by whatever they have to us.
#[test]
fn what_a_proxy_got_by_datagrams_is_answered_again_over_a_connection() {
    let addr = "127.0.0.1:5060".parse().unwrap();
    let hop = Hop { flow: FlowId(1), transport: Transport::Tcp, local: addr, peer: addr };
    for (below, again) in [
        ("", false),
        ("Via: SIP/2.0/TCP p;branch=z9hG4bKp\r\n", false),
        ("Via: SIP/2.0/UDP p;branch=z9hG4bKp\r\n", true),
    ] {
        let mut transactions = Transactions::<()>::new(ChaCha8Rng::from_seed([7; 32]));
        let text = format!(
            "DO sip:h SIP/2.0\r\nVia: SIP/2.0/TCP e;branch=z9hG4bKe\r\n{below}From: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: x\r\nCSeq: 1 DO\r\n\r\n"
        );
        let request = Message::parse(text.as_bytes()).unwrap();
        let mut now = Instant::now();
        let key = transactions.open(&request, hop, Weight::Heavy).unwrap();
        transactions.answer(key, 200, b"answer".to_vec(), now);
        assert!(transactions.poll_transmit().is_some());
        now += TIMEOUT - T1;
        while transactions.on_deadline(now).is_some() {}
        let arrival = transactions.on_request(&request, now);
        let repeated = transactions.poll_transmit().map(|transmit| transmit.bytes);
        match again {
            true => assert_eq!((arrival, repeated.as_deref()), (Arrival::Absorbed, Some(&b"answer"[..]))),
            false => assert_eq!((arrival, repeated), (Arrival::New, None)),
        }
        now += TIMEOUT;
        while transactions.on_deadline(now).is_some() {}
        assert_eq!(transactions.counts(), (0, 0));
    }
}

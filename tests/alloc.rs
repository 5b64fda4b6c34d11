//! Reading a message, and finding the subscription that it belongs to, allocates nothing.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use allocation_counter::measure;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use sipliance::sip::dialog::Dialog;
use sipliance::sip::notifier::watchers::{Fact, Standing};
use sipliance::sip::notifier::{Document, Moment, Notifier, Resource, Source, Wanted, Watcher};
use sipliance::sip::transaction::{Arrival, Transactions, Weight};
use sipliance::sip::wire::check::request_fault;
use sipliance::sip::wire::{Address, Message, Name};
use sipliance::sip::{FlowId, Hop, Transport, User};
use sipliance::timer::Now;

struct Nothing;

impl Source for Nothing {
    fn tag(&self, _: Resource, _: sipliance::sip::notifier::watchers::Standing) -> u64 {
        0
    }

    fn document(&mut self, _: Resource, _: Watcher<'_>, _: &[Moment]) -> Option<Document> {
        None
    }

    fn watchers(&mut self, _: Resource, _: Watcher<'_>, _: &[Fact], _: bool, _: Now) -> Document {
        Document { content_type: "text/plain".into(), require: None, body: bytes::Bytes::new(), rest: None }
    }
}

fn hop() -> Hop {
    let addr = "127.0.0.1:5060".parse().unwrap();
    Hop { flow: FlowId(1), transport: Transport::Udp, local: addr, peer: addr }
}

fn subscribe(number: usize, to_tag: &str) -> Vec<u8> {
    format!(
        "SUBSCRIBE sip:plug@home.example SIP/2.0\r\nVia: SIP/2.0/UDP h{number};branch=z9hG4bK{number}{to_tag};rport\r\nMax-Forwards: 70\r\nFrom: \"Anna\" <sip:anna@home.example>;tag=f{number}\r\nTo: <sip:plug@home.example>{to_tag}\r\nCall-ID: c{number}\r\nCSeq: 7 SUBSCRIBE\r\nContact: <sip:anna@h{number}>\r\nEvent: presence\r\nAccept: application/pidf+xml, */*;q=0.1\r\nExpires: 600\r\nAuthorization: Digest username=\"anna\", realm=\"home.example\", nonce=\"n\", uri=\"sip:plug@home.example\", response=\"r\"\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

#[test]
fn the_counter_counts() {
    assert!(measure(|| drop(std::hint::black_box(vec![1u8; 10]))).count_total > 0);
}

#[test]
fn reading_a_message_allocates_nothing() {
    let bytes = subscribe(1, "");
    let used = measure(|| {
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(request_fault(&message), None);
        assert!(message.via().unwrap().branch().is_some());
        assert_eq!(message.from().unwrap().tag(), Some("f1"));
        assert_eq!(message.to().unwrap().tag(), None);
        assert_eq!(message.cseq().unwrap().number, 7);
        assert_eq!(message.expires(), Some(600));
        assert_eq!(message.event().unwrap().package, "presence");
        assert_eq!(message.list(Name::Accept).count(), 2);
        assert!(message.contact().unwrap().is_ok());
        assert!(message.fields().all(|(name, _)| !name.is_empty()));
        let digest = message.all(Name::Authorization).find_map(sipliance::sip::auth::Digest::parse).unwrap();
        assert_eq!(digest.username, Some("anna"));
        assert!(Address::parse(message.first(Name::From).unwrap()).is_ok());
    });
    assert_eq!(used.count_total, 0, "{used:?}");
}

#[test]
fn what_strangers_send_allocates_nothing_while_it_is_read() {
    let junk: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
        &[0xff; 1400],
        b"OPTIONS sip:h SIP/2.0\r\nContent-Length: 99999999\r\n\r\n",
    ];
    for bytes in junk {
        let used = measure(|| {
            let _ = Message::parse(bytes).map(|message| request_fault(&message));
        });
        assert_eq!(used.count_total, 0, "{used:?}");
    }
}

#[test]
fn finding_a_dialog_among_thousands_allocates_nothing() {
    let now = Now { mono: Instant::now(), wall_ms: 0 };
    let mut notifier = Notifier::default();
    let mut transactions = Transactions::<User>::new(ChaCha8Rng::from_seed([1; 32]));
    let mut tags = Vec::new();
    for number in 0..2_000 {
        let bytes = subscribe(number, "");
        let message = Message::parse(&bytes).unwrap();
        let tag = notifier.next_tag(number as u64);
        let dialog = Dialog::accept(&message, hop(), tag.clone(), "sip:plug@127.0.0.1").unwrap();
        let resource = Resource { subject: 0, package: 0, form: 0, view: 0, facet: 0 };
        let wanted = Wanted {
            rates: Default::default(),
            condition: None,
            standing: Standing::Active,
            template: None,
            filter: None,
            resource,
            who: "anna".into(),
            dialog,
            event: "presence".into(),
            entity: "sip:plug@home.example".into(),
            expires: Duration::from_secs(600),
            interval: Duration::from_secs(1),
        };
        notifier.add(wanted, now);
        tags.push(tag);
    }
    notifier.flush(&mut transactions, &mut Nothing, now);
    for number in [0, 1, 999, 1_999] {
        let bytes = subscribe(number, &format!(";tag={}", tags[number]));
        let foreign = subscribe(number + 1, &format!(";tag={}", tags[number]));
        let mut found = (None, None);
        let used = measure(|| {
            let message = Message::parse(&bytes).unwrap();
            found.0 = notifier.find(&message).and_then(|id| notifier.holder(id)).map(|(who, _)| who.len());
            found.1 = notifier.find(&Message::parse(&foreign).unwrap());
        });
        assert_eq!(found, (Some(4), None));
        assert_eq!(used.count_total, 0, "{used:?}");
    }
}

#[test]
fn a_repeated_request_is_found_without_allocating() {
    let mut transactions = Transactions::<User>::new(ChaCha8Rng::from_seed([1; 32]));
    let now = Instant::now();
    let bytes = subscribe(1, "");
    let message = Message::parse(&bytes).unwrap();
    transactions.open(&message, hop(), Weight::Light).unwrap();
    let used = measure(|| {
        assert_eq!(transactions.on_request(&message, now), Arrival::Absorbed);
        let other = subscribe_static();
        let other = Message::parse(other).unwrap();
        assert_eq!(transactions.on_request(&other, now), Arrival::New);
    });
    assert_eq!(used.count_total, 0, "{used:?}");
}

fn subscribe_static() -> &'static [u8] {
    b"SUBSCRIBE sip:plug@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKother\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:plug@h>\r\nCall-ID: x\r\nCSeq: 1 SUBSCRIBE\r\n\r\n"
}

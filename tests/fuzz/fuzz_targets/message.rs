//! One datagram, looked at from every side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sipliance::sip::auth::Digest;
use sipliance::sip::wire::check::request_fault;
use sipliance::sip::wire::{Address, Message, Name, Uri, Via, write};

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::parse(bytes) else { return };
    let _ = request_fault(&message);
    let _ = (message.via(), message.from(), message.to(), message.call_id(), message.cseq());
    let _ = (message.contact(), message.expires(), message.event(), message.content_type());
    for (name, value) in message.fields() {
        assert!(name.len() + value.len() <= bytes.len());
        let _ = Address::parse(value).map(|address| (address.tag(), address.uri.user_text()));
        let _ = Via::parse(value).map(|via| via.branch());
        let _ = Digest::parse(value);
        if let Some(uri) = std::str::from_utf8(value).ok().and_then(|text| Uri::parse(text).ok()) {
            assert!(uri.raw.contains(uri.address().as_ref()));
        }
    }
    if message.request().is_some() {
        let source = "192.0.2.7:5060".parse().unwrap();
        let answer = write::response(&message, 400, "Bad", Some("t"), Some(source)).finish();
        let answer = Message::parse(&answer).expect("our own answer can be read");
        assert_eq!(answer.count(Name::ContentLength), 1);
    }
});

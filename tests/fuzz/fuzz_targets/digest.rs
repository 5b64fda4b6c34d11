//! Whatever credentials say, nobody is proven who has no password.
#![no_main]

use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use sipliance::sip::auth::{Algorithm, Digest, Offer, Purpose, Secrets, Server, Verdict};
use sipliance::sip::wire::Message;
use sipliance::timer::Now;

struct One;

impl Secrets for One {
    fn ha1(&self, user: &str, algorithm: Algorithm) -> Option<&str> {
        (user == "anna").then_some(match algorithm {
            Algorithm::Sha256 => "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            Algorithm::Md5 => "0123456789abcdef0123456789abcdef",
        })
    }
}

fuzz_target!(|input: (Vec<u8>, Vec<u8>)| {
    let (value, body) = input;
    let _ = Digest::parse(&value);
    let now = Now { mono: Instant::now(), wall_ms: 1_790_000_000_000 };
    let source = "192.0.2.7".parse().unwrap();
    let mut server = Server::new("home.example", [7; 32], true, 86_400_000, 30_000);
    let challenge = server.challenge(source, false, Offer::Both, now);
    let nonce = challenge.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    // The fuzzer cannot guess a nonce: it may name it.
    let value = String::from_utf8_lossy(&value).replace("NONCE", nonce);
    let mut request = format!("DO sip:plug@home.example SIP/2.0\r\nAuthorization: {value}\r\n\r\n").into_bytes();
    request.extend(body);
    let Ok(message) = Message::parse(&request) else { return };
    for purpose in [Purpose::Query, Purpose::Control] {
        let verdict = server.verify(&message, "DO", source, purpose, &One, now);
        assert!(!matches!(verdict, Verdict::Is(_)), "{verdict:?}");
    }
});

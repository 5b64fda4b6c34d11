//! What RFC 7616 and RFC 8760 ask of both sides of a digest.

use sipliance::sip::auth::{self, Algorithm, Login};
use sipliance::sip::wire::Message;

use super::home;
use super::world::World;

const REGISTER: &str = "REGISTER sip:home.example SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66;branch=z9hG4bK@NTH\r\nFrom: <sip:anna@home.example>;tag=1\r\nTo: <sip:anna@home.example>\r\nCall-ID: digest@NTH\r\nCSeq: 1 REGISTER\r\nContact: <sip:anna@203.0.113.66>\r\nUser-Agent: world/1\r\n@AUTH\r\nContent-Length: 0\r\n\r\n";

/// A REGISTER of a phone that is not of this world; the answer.
fn register(world: &mut World, nth: usize, authorization: &str) -> String {
    let text = REGISTER.replace("@NTH", &nth.to_string());
    let text = match authorization {
        "" => text.replace("@AUTH\r\n", ""),
        value => text.replace("@AUTH", &format!("Authorization: {value}")),
    };
    world.inject("203.0.113.66:5060".parse().unwrap(), text);
    world.run(100);
    String::from_utf8(world.strays.last().unwrap().2.to_vec()).unwrap()
}

fn nonce(challenge: &str) -> String {
    challenge.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

/// Proves: DG-1, DG-3, DG-5
#[test]
fn the_challenges_stand_in_their_order() {
    let mut world = World::new(941);
    let answer = register(&mut world, 1, "");
    let challenges: Vec<&str> =
        answer.lines().filter_map(|line| line.strip_prefix("WWW-Authenticate: ")).collect();
    assert_eq!(challenges.len(), 2, "{answer}");
    for (challenge, algorithm) in challenges.iter().zip(["SHA-256", "MD5"]) {
        assert!(challenge.starts_with("Digest realm=\"home.example\", nonce=\""), "{challenge}");
        assert!(challenge.ends_with(&format!(", qop=\"auth\", algorithm={algorithm}")), "{challenge}");
    }
    // Without qop, and in the clear, nothing is accepted.
    let plain = "Basic YW5uYTpjb3JyZWN0IGhvcnNl";
    assert!(register(&mut world, 2, plain).starts_with("SIP/2.0 401 "));
    let realm = "home.example";
    let ha1 = auth::hash(Algorithm::Sha256, &[b"anna", realm.as_bytes(), home::password("anna").as_bytes()]);
    let ha2 = auth::hash(Algorithm::Sha256, &[b"REGISTER", b"sip:home.example"]);
    let nonce = nonce(&answer);
    let proof =
        auth::hash(Algorithm::Sha256, &[ha1.as_str().as_bytes(), nonce.as_bytes(), ha2.as_str().as_bytes()]);
    let old = format!(
        "Digest username=\"anna\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"sip:home.example\", response=\"{}\", algorithm=SHA-256",
        proof.as_str()
    );
    assert!(register(&mut world, 3, &old).starts_with("SIP/2.0 401 "), "the digest of RFC 2069");
}

/// Proves: DG-6
#[test]
fn a_proof_may_cover_the_body_also_where_there_is_none() {
    let empty = auth::hash(Algorithm::Sha256, &[b""]);
    assert_eq!(empty.as_str(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (covered, want) in [(empty.as_str(), "200"), (auth::hash(Algorithm::Sha256, &[b"x"]).as_str(), "401")]
    {
        let mut world = World::new(942);
        let nonce = nonce(&register(&mut world, 1, ""));
        let hash = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            auth::hash(Algorithm::Sha256, &parts).as_str().to_owned()
        };
        let ha1 = hash(&["anna", "home.example", home::password("anna")]);
        let ha2 = hash(&["REGISTER", "sip:home.example", covered]);
        let proof = hash(&[&ha1, &nonce, "00000001", "abc", "auth-int", &ha2]);
        let value = format!(
            "Digest username=\"anna\", realm=\"home.example\", nonce=\"{nonce}\", uri=\"sip:home.example\", qop=auth-int, nc=00000001, cnonce=\"abc\", algorithm=SHA-256, response=\"{proof}\""
        );
        let answer = register(&mut world, 2, &value);
        assert!(answer.starts_with(&format!("SIP/2.0 {want} ")), "{answer}");
    }
}

/// Proves: DG-2, DG-4, DG-9
#[test]
fn the_topmost_challenge_that_is_known_is_answered() {
    let login = Login { user: "bea", password: "open sesame" };
    let answer = |challenges: &str, method: &str| {
        let text = format!("SIP/2.0 401 Unauthorized\r\n{challenges}Content-Length: 0\r\n\r\n");
        let message = Message::parse(text.as_bytes()).unwrap();
        auth::answer(&message, login, method, "sip:oven@house.example", "c0ffee", 1)
            .map(|answer| answer.field)
    };
    let challenge = |algorithm: &str| {
        format!(
            "WWW-Authenticate: Digest realm=\"house.example\", nonce=\"n-42\", qop=\"auth\", algorithm={algorithm}\r\n"
        )
    };
    let both = challenge("SHA-512-256") + &challenge("SHA-256") + &challenge("MD5");
    // Computed with another program.
    let field = answer(&both, "DO").unwrap();
    assert!(
        field.contains("response=\"47d0dcd8d50d29e9e8574795f7d8d95ff0337e71ede36ed0de9219d75a6d77d2\"")
            && field.contains("algorithm=SHA-256"),
        "{field}"
    );
    assert!(field.contains("uri=\"sip:oven@house.example\"") && field.contains("nc=00000001"), "{field}");
    let field = answer(&(challenge("MD5") + &challenge("SHA-256")), "DO").unwrap();
    assert!(field.contains("response=\"a67686fc32891850379b27b870134224\""), "{field}");
    assert!(
        !answer(&both, "MESSAGE")
            .unwrap()
            .contains("47d0dcd8d50d29e9e8574795f7d8d95ff0337e71ede36ed0de9219d75a6d77d2"),
        "the method is part of it"
    );
    assert_eq!(answer(&challenge("SHA-512-256"), "DO"), None);
    assert_eq!(answer("WWW-Authenticate: Basic realm=\"house.example\"\r\n", "DO"), None);
}

//! What somebody can do with what he heard on the wire: nothing.

use bytes::Bytes;
use sipliance::sip::wire::Message;

use super::world::World;

/// A world in which anna just switched the plug on by that method, and her request as it was sent.
fn captured(seed: u64, method: &str) -> (World, usize, String) {
    let mut world = World::new(seed);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| match method {
        "MESSAGE" => phone.message("plug", "on", now),
        "DO" => phone.switch("plug", true, now),
        _ => phone.invite("23", now),
    });
    world.run(1000);
    assert!(
        matches!(world.phones[anna].ops[op].status(), 200 | 486),
        "{}",
        world.phones[anna].ops[op].status()
    );
    assert_eq!(world.plug.writes.len(), 1);
    let text = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    (world, anna, text)
}

/// The same with another transaction and call, so that nothing but the digest is old.
fn fresh(text: &str, nth: usize) -> String {
    let message = Message::parse(text.as_bytes()).unwrap();
    let branch = message.via().unwrap().branch().unwrap();
    let call_id = std::str::from_utf8(message.call_id().unwrap()).unwrap();
    text.replace(branch, &format!("z9hG4bKreplay{nth}")).replace(call_id, &format!("replay{nth}"))
}

/// Proves: DG-8, DO-9, SEC-6, REQ-8.1
#[test]
fn a_captured_proof_moves_nothing_again() {
    for method in ["MESSAGE", "DO", "INVITE"] {
        let (mut world, anna, text) = captured(51, method);
        let at_home = world.phones[anna].hop.local;
        let elsewhere = "203.0.113.66:5060".parse().unwrap();
        let mut nth = 0;
        let mut attempts = vec![
            ("as it was", text.clone()),
            ("nc higher", text.replace("nc=00000001", "nc=00000002")),
            ("nc back", text.replace("nc=00000001", "nc=00000000")),
            ("another cnonce", text.replace("cnonce=\"", "cnonce=\"0")),
            ("a later CSeq", text.replace(&format!("CSeq: 2 {method}"), &format!("CSeq: 9 {method}"))),
            ("auth-int claimed", text.replace("qop=auth", "qop=auth-int")),
            ("without qop", text.replace(", qop=auth", "")),
            ("MD5 claimed", text.replace("algorithm=SHA-256", "algorithm=MD5")),
            ("another user", text.replace("username=\"anna\"", "username=\"ben\"")),
        ];
        for other in ["MESSAGE", "DO", "INVITE"].into_iter().filter(|other| *other != method) {
            attempts.push(("another method", text.replace(method, other)));
        }
        if method != "INVITE" {
            let off = text.replace("\r\n\r\non", "\r\n\r\nno").replace("true", "null");
            assert_ne!(off, text);
            attempts.push(("another body", off));
        }
        for (what, attempt) in attempts {
            for from in [at_home, elsewhere] {
                // Twice: as one transaction, and as a new one.
                for bytes in [attempt.clone(), fresh(&attempt, nth)] {
                    nth += 1;
                    world.inject(from, bytes);
                    world.run(300);
                    assert_eq!(world.plug.writes.len(), 1, "{method} from {from}: {what}");
                }
            }
        }
        // Long after, when every transaction is forgotten.
        world.run(120_000);
        world.inject(at_home, text.clone());
        world.inject(at_home, fresh(&text, 9999));
        world.run(60_000);
        assert_eq!(world.plug.writes.len(), 1, "{method} later");
    }
}

/// Proves: DG-9
#[test]
fn a_proof_for_reading_moves_nothing() {
    let mut world = World::new(52);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.subscribe("plug", "presence", 600, now));
    world.run(500);
    let text = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    let from = world.phones[anna].hop.local;
    for method in ["MESSAGE", "DO", "INVITE"] {
        world.inject(from, fresh(&text.replace("SUBSCRIBE", method), 1));
        world.run(300);
    }
    // The nonce counts on for reading, and once for moving.
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.plug.writes.len(), 1);
    let op = world.at(anna, |phone, now| phone.message("plug", "off", now));
    world.run(500);
    let finals: Vec<u16> = world.phones[anna].ops[op].finals.iter().map(|last| last.1).collect();
    assert_eq!(finals, [401, 200], "a nonce moves something once");
    assert_eq!(world.plug.writes.len(), 2);
}

#[test]
fn the_digest_covers_what_is_asked_of_which_number() {
    let mut world = World::new(53);
    let anna = world.phone("anna");
    // Somebody on the way swallows the call to the number that only tells, and redirects its proof.
    world.lose.push((super::world::Way::In, "INVITE sip:22", 100));
    let op = world.at(anna, |phone, now| phone.invite("22", now));
    world.run(100);
    let first = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    world.lose.clear();
    world.inject(world.phones[anna].hop.local, first);
    world.lose.push((super::world::Way::In, "INVITE sip:22", 100));
    world.run(300);
    let proof = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    assert!(proof.contains("Authorization"), "the challenge arrived");
    for uri in
        ["sip:23@home.example", "sip:plug@home.example", "sip:21@home.example", "sip:lamp@home.example"]
    {
        let turned = proof.replacen("INVITE sip:22@home.example", &format!("INVITE {uri}"), 1);
        world.inject(world.phones[anna].hop.local, fresh(&turned, uri.len()));
        world.run(300);
        assert!(world.plug.writes.is_empty() && world.lamp.writes.is_empty(), "{uri}");
    }
}

/// Proves: SEC-7
#[test]
fn a_right_digest_under_another_name_is_refused() {
    let mut world = World::new(54);
    let anna = world.phone("anna");
    world.lose.push((super::world::Way::In, "MESSAGE", 0));
    world.at(anna, |phone, now| phone.register(600, now));
    world.run(300);
    let op = world.at(anna, |phone, now| {
        // From is Ben, the digest is Anna's.
        let op = phone.message("plug", "status", now);
        while phone.transactions.poll_transmit().is_some() {}
        op
    });
    let text = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    world.inject("203.0.113.66:5060".parse().unwrap(), text.replace("From: <sip:anna@", "From: <sip:ben@"));
    world.inject(world.phones[anna].hop.local, text.replace("From: <sip:anna@", "From: <sip:ben@"));
    world.run(100);
    let answers: Vec<&Bytes> = world.strays.iter().map(|(.., bytes)| bytes).collect();
    assert!(answers[0].starts_with(b"SIP/2.0 401"), "another source: {answers:?}");
    assert_eq!(world.phones[anna].ops[op].status(), 403);
}

#[test]
fn guessing_is_slowed_for_the_guesser_alone() {
    let mut world = World::new(55);
    let guesser: std::net::SocketAddr = "203.0.113.66:5060".parse().unwrap();
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.register(600, now));
    world.run(300);
    let mut text = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    for guess in 0..300 {
        world.inject(guesser, fresh(&text, guess));
        world.run(10);
        let challenge = String::from_utf8(world.strays.last().unwrap().2.to_vec()).unwrap();
        assert!(challenge.starts_with("SIP/2.0 401"));
        let nonce = |text: &str| text.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        text = text.replace(&nonce(&text), &nonce(&challenge));
    }
    // The owner is served meanwhile.
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
}

#[test]
fn a_captured_question_opens_nothing() {
    let mut world = World::new(56);
    let anna = world.phone("anna");
    let watch = world.at(anna, |phone, now| phone.subscribe("plug", "presence", 60, now));
    world.run(500);
    let bind = world.at(anna, |phone, now| phone.register(60, now));
    world.run(500);
    let captured =
        [watch, bind].map(|op| String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap());
    world.run(200_000);
    let status = world.gateway.status(world.time());
    assert_eq!(status.subscriptions, 0);
    for (nth, text) in captured.iter().enumerate() {
        for bytes in [
            text.clone(),
            fresh(text, nth),
            fresh(&text.replace("anna@198.51.100.1", "anna@203.0.113.66"), 70 + nth),
        ] {
            world.inject(world.phones[anna].hop.local, bytes);
            world.run(500);
        }
    }
    let after = world.gateway.status(world.time());
    assert_eq!((after.subscriptions, after.contacts), (0, status.contacts));
}

/// Proves: SEC-6
#[test]
fn a_command_that_was_held_back_moves_nothing() {
    for (wait, acts) in [(5, 1), (31, 0), (600, 0)] {
        let mut world = World::new(57);
        let anna = world.phone("anna");
        world.at(anna, |phone, now| phone.register(600, now));
        world.run(500);
        let op = world.at(anna, |phone, now| {
            let op = phone.message("plug", "on", now);
            // Somebody on the way keeps it.
            while phone.transactions.poll_transmit().is_some() {}
            op
        });
        world.lose.push((super::world::Way::In, "MESSAGE", 100));
        let held_back = world.phones[anna].ops[op].sent.clone();
        assert!(String::from_utf8_lossy(&held_back).contains("Authorization"));
        world.run(wait * 1000);
        world.inject(world.phones[anna].hop.local, held_back);
        world.run(1000);
        assert_eq!(world.plug.writes.len(), acts, "after {wait} s");
    }
}

#[test]
fn a_login_that_has_grown_old_is_asked_for_again() {
    let mut world = World::new(58);
    let anna = world.phone("anna");
    world.at(anna, |phone, now| phone.register(600, now));
    world.run(31_000);
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(500);
    let finals: Vec<u16> = world.phones[anna].ops[op].finals.iter().map(|last| last.1).collect();
    assert_eq!(finals, [401, 200]);
    assert_eq!(world.plug.writes.len(), 1);
}

#[test]
fn the_digest_does_not_tell_which_appliances_there_are() {
    let mut world = World::new(56);
    let ben = world.phone("ben");
    let mut answers = Vec::new();
    // The lamp is there and not his to see; the heater is not there. Asked under two spellings.
    for name in ["lamp", "heater"] {
        let op = world.at(ben, |phone, now| {
            let op = phone.message(name, "status", now);
            phone.ops[op].digest_uri = Some(format!("sip:{name}@home.example;user=phone"));
            op
        });
        world.run(500);
        let last = world.phones[ben].ops[op].finals.last().unwrap();
        answers.push((last.1, last.2.clone(), last.3.clone()));
    }
    assert_eq!(answers[0].0, 404);
    assert_eq!(answers[0], answers[1]);
}

#[test]
fn new_digest_rules_hold_from_the_reload_on() {
    let mut world = World::new(57);
    let anna = world.phone("anna");
    let challenge = |world: &mut World| {
        let op = world.at(anna, |phone, now| phone.register(600, now));
        world.run(500);
        let op = &world.phones[anna].ops[op];
        assert_eq!(op.status(), 200);
        let refused = |seen: &super::world::Seen| match seen {
            super::world::Seen::Sent(bytes) if bytes.starts_with(b"SIP/2.0 401") => {
                Some(String::from_utf8(bytes.to_vec()).unwrap())
            }
            _ => None,
        };
        world.seen.iter().filter_map(|(_, seen)| refused(seen)).next_back().unwrap()
    };
    world.phones[anna].reuses_nonces = false;
    assert!(challenge(&mut world).contains("MD5"));
    let strict = super::home::changed("digest: {md5: true,", "digest: {md5: false,");
    world.handle(sipliance::gateway::Input::Reload(strict));
    let after = challenge(&mut world);
    assert!(after.contains("SHA-256") && !after.contains("MD5"), "{after}");
}

#[test]
fn a_clock_that_goes_back_locks_nobody_out() {
    let mut world = World::new(58);
    let anna = world.phone("anna");
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    let guesser = world.phones[anna].hop.local;
    let mut text = String::from_utf8(world.phones[anna].ops[op].sent.to_vec()).unwrap();
    text = text.replace("response=\"", "response=\"0");
    for guess in 0..25 {
        world.inject(guesser, fresh(&text, guess));
        world.run(10);
    }
    // The time was found: it is 30 years earlier.
    world.wall_off -= 30 * 365 * 86_400_000;
    world.run(200_000);
    let op = world.at(anna, |phone, now| phone.message("plug", "off", now));
    world.run(500);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert!(!world.plug.on);
}

#[test]
fn a_short_lie_about_the_source_is_no_lever() {
    let mut world = World::new(59);
    let victim: std::net::SocketAddr = "203.0.113.99:5060".parse().unwrap();
    for method in ["REGISTER", "SUBSCRIBE", "MESSAGE", "INVITE", "OPTIONS", "NOTIFY", "PUBLISH", "DO", "XYZ"]
    {
        let text = format!(
            "{method} sip:a SIP/2.0\r\nv:SIP/2.0/UDP a;branch=z9hG4bK1\r\nf:<sip:a@h>;tag=1\r\nt:<sip:h>\r\ni:x\r\nCSeq:1 {method}\r\no:presence\r\n\r\n"
        );
        let asked = text.len();
        world.strays.clear();
        world.inject(victim, text);
        world.run(40_000);
        let sent: usize = world.strays.iter().map(|(.., bytes)| bytes.len()).sum();
        assert!(sent <= 3 * asked && world.strays.len() <= 1, "{method}: {sent} bytes for {asked}");
    }
}

#[test]
fn asking_much_keeps_nobody_out() {
    let mut world = World::new(60);
    let (anna, ben) = (world.phone("anna"), world.phone("ben"));
    for _ in 0..430 {
        for _ in 0..10 {
            world.at(ben, |phone, now| phone.message("plug", "status", now));
        }
        world.run(50);
    }
    assert_eq!(world.phones[ben].ops.last().unwrap().status(), 200);
    let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
    world.run(1000);
    assert_eq!(world.phones[anna].ops[op].status(), 200);
    assert_eq!(world.plug.writes.len(), 1);
}

/// The gateway acts, is killed before it can say so, and is there again while the phone still repeats itself.
/// Asked for its password anew, the phone would have it done twice.
#[test]
fn a_death_behind_an_act_repeats_nothing() {
    let (mut acted, mut unknown) = (0, 0);
    for (seed, method) in ["MESSAGE", "DO", "INVITE"].into_iter().enumerate() {
        for wait in (0..160).step_by(4) {
            let mut world = World::new(60 + seed as u64);
            let anna = world.phone("anna");
            world.lose.push((super::world::Way::Out, "SIP/2.0 200", 1));
            world.lose.push((super::world::Way::Out, "SIP/2.0 1", 9));
            let op = world.at(anna, |phone, now| match method {
                "MESSAGE" => phone.message("plug", "on", now),
                "DO" => phone.switch("plug", true, now),
                _ => phone.invite("23", now),
            });
            world.run(wait);
            world.kill(super::home::config(None));
            world.run(70_000);
            let writes = world.plug.writes.len();
            assert!(writes <= 1, "{method}: {writes} times, killed after {wait} ms");
            acted += writes;
            unknown += usize::from(world.phones[anna].ops[op].status() == 504);
        }
    }
    assert!(acted > 60 && unknown > 5, "{acted} acted, of {unknown} nobody knows");
}

/// A process that stood still finds what waited for it: none of it moves anything, unless whoever sent it
/// proves himself once more.
#[test]
fn what_waited_while_the_process_stood_still_moves_nothing() {
    for method in ["MESSAGE", "DO", "INVITE"] {
        let mut world = World::new(70);
        let anna = world.phone("anna");
        let op = world.at(anna, |phone, now| match method {
            "MESSAGE" => phone.message("plug", "on", now),
            "DO" => phone.switch("plug", true, now),
            _ => phone.invite("23", now),
        });
        // What follows the challenge is on its way when the process is stopped.
        world.run(7);
        world.lose.push((super::world::Way::In, method, 100));
        world.run(100);
        let text = world.phones[anna].ops[op].sent.clone();
        assert!(String::from_utf8_lossy(&text).contains("Authorization: "), "{method}");
        let from = world.phones[anna].hop.local;
        world.stand_still(12_000);
        world.inject(from, text);
        world.run(40_000);
        assert_eq!(world.plug.writes.len(), 0, "{method}");
        world.lose.clear();
        let op = world.at(anna, |phone, now| phone.message("plug", "on", now));
        world.run(1000);
        assert_eq!((world.phones[anna].ops[op].status(), world.plug.writes.len()), (200, 1));
    }
}

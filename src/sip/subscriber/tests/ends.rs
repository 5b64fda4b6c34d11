//! How a notifier ends a subscription, and what follows.

use super::*;

/// Proves: EV-7, EV-10, OLD-9, ERR-16
#[test]
fn the_reasons_of_a_termination_are_obeyed() {
    for (state, heard) in [
        ("terminated;reason=deactivated;retry-after=9", "wait 0 Terminated(Some(\"deactivated\"))"),
        ("terminated;reason=timeout;retry-after=9", "wait 0 Terminated(Some(\"timeout\"))"),
        ("terminated;reason=probation;retry-after=120", "wait 120 Terminated(Some(\"probation\"))"),
        ("terminated;reason=giveup;retry-after=30", "wait 30 Terminated(Some(\"giveup\"))"),
        ("terminated;reason=giveup", "wait 0 Terminated(Some(\"giveup\"))"),
        ("terminated;reason=odd;retry-after=99999999", "wait 3600 Terminated(Some(\"odd\"))"),
        ("Terminated", "wait 0 Terminated(None)"),
        ("terminated;reason=rejected;retry-after=1", "over Terminated(Some(\"rejected\"))"),
        ("terminated;reason=noresource", "over Terminated(Some(\"noresource\"))"),
        ("terminated;reason=invariant;retry-after=31536000", "over Terminated(Some(\"invariant\"))"),
    ] {
        let (mut world, sent) = World::standing(3600);
        assert_eq!(world.notify(&sent, state, "n1"), 200);
        assert_eq!(world.heard(), ["terminated", heard], "{state}");
        let again = world.next_before(Duration::from_secs(86_400));
        assert_eq!(again.is_some(), heard.starts_with("wait"), "{state}");
        if let Some(again) = again {
            assert_ne!(field(&again, "Call-ID"), field(&sent, "Call-ID"));
            assert_eq!(field(&again, "CSeq"), "1 SUBSCRIBE");
        }
    }
}

#[test]
fn a_notifier_that_always_ends_it_is_asked_ever_less_often() {
    let mut world = World::new(3600);
    let mut asked = 0;
    while world.seconds() < 3600.0 {
        let sent = world.next();
        asked += 1;
        world.respond(&sent, 200, "Expires: 3600\r\n");
        assert_eq!(world.notify(&sent, "terminated;reason=deactivated", "n1"), 200);
        world.heard();
    }
    assert!((15..40).contains(&asked), "{asked}");
}

#[test]
fn a_connection_that_breaks_is_opened_again_with_patience() {
    let (mut world, sent) = World::standing(3600);
    world.subscriber.on_flow_lost("closed", world.now);
    world.subscriber.on_flow_lost("closed", world.now);
    assert_eq!(world.heard(), ["wait 0 FlowLost(\"closed\")"]);
    assert_eq!(world.next_before(Duration::from_secs(60)), None);
    assert_eq!(world.heard(), ["need flow"]);
    world.subscriber.on_flow_lost("nobody", world.now);
    assert_eq!(world.next_before(Duration::from_secs(60)), None);
    assert_eq!(world.heard().pop().unwrap(), "need flow");
    let hop = Hop { flow: FlowId(2), ..world.hop };
    world.subscriber.on_flow_up(hop, &mut world.transactions, (), world.now);
    let again = world.next();
    assert_ne!(field(&again, "Call-ID"), field(&sent, "Call-ID"));
}

/// What nobody waits for at a screen is asked for again whatever was said, but seldom when only a person
/// over there can change it.
/// Proves: EV-7, EV-10
#[test]
fn the_patient_one_never_gives_up_and_never_hammers() {
    let patient = || {
        let mut world = World::new(3600);
        let (wish, login) =
            (world.subscriber.wish.clone(), Login { user: "a".to_owned(), password: None, realm: None });
        world.subscriber = Subscriber::patient(wish, login, ChaCha8Rng::seed_from_u64(3), world.now);
        assert_eq!(world.next_before(Duration::from_secs(100)), None, "it waits for a flow");
        // One that does not come up is no news.
        world.subscriber.on_flow_lost("refused", world.now);
        assert_eq!(world.heard(), Vec::<String>::new());
        world.subscriber.on_flow_up(world.hop, &mut world.transactions, (), world.now);
        world
    };
    for (status, fields, wait) in [
        (404, "", 600..=600),
        (403, "", 600..=600),
        (401, "", 600..=600),
        (503, "Retry-After: 77\r\n", 77..=77),
        (500, "", 0..=1),
    ] {
        let mut world = patient();
        let sent = world.next();
        let asked = world.now;
        world.respond(&sent, status, fields);
        let again = world.next();
        let waited = (world.now - asked).as_secs();
        assert!(wait.contains(&waited), "{status}: {waited}");
        assert_ne!(field(&again, "Call-ID"), field(&sent, "Call-ID"));
    }
    for reason in ["rejected", "noresource", "invariant"] {
        let mut world = patient();
        let sent = world.next();
        world.respond(&sent, 200, "Expires: 3600\r\n");
        assert_eq!(world.notify(&sent, &format!("terminated;reason={reason}"), "n1"), 200);
        let ended = world.now;
        world.next();
        assert_eq!((world.now - ended).as_secs(), 3600, "{reason}");
    }
}

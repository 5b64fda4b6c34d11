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

//! Notifiers that speak as before RFC 6665.

use super::*;

/// A notifier of RFC 3265 answers 202 and may leave `expires` out of its NOTIFY.
///
/// Proves: EV-5, OLD-6, NEG-24
#[test]
fn a_202_is_a_200_and_its_time_counts() {
    let mut world = World::new(3600);
    let sent = world.next();
    world.respond(&sent, 202, "Expires: 100\r\n");
    assert_eq!(world.notify(&sent, "pending", "n1"), 200);
    assert_eq!(world.notify(&sent, "active", "n1"), 200);
    assert_eq!(world.heard(), ["pending", "active"]);
    let refresh = world.next();
    assert_eq!(field(&refresh, "Call-ID"), field(&sent, "Call-ID"));
    assert!(world.seconds() < 100.0, "refreshed after {} s", world.seconds());
}

//! Which device this is (RFC 5626 §4.1).

use super::Identity;

/// A name of this device that needs no memory: made of what it registers (RFC 4122 §4.3, version 8 of RFC
/// 9562).
pub(super) fn of(identity: &Identity) -> String {
    use sha2::Digest as _;
    let Identity { user, domain, .. } = identity;
    let hash = sha2::Sha256::digest(format!("sipliance {user}@{domain}"));
    let mut bits = hash.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    bits = bits & !(0xf << 76) | 0x8 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let part = |from: u32, digits: u32| bits >> from & ((1 << (4 * digits)) - 1);
    let (a, b, c) = (part(96, 8), part(80, 4), part(64, 4));
    format!("urn:uuid:{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", part(48, 4), part(0, 12))
}

//! Which of several servers and addresses comes first.

use std::net::IpAddr;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::Srv;

/// By priority; among equals each comes first as often as its weight says (RFC 2782).
pub(super) fn srv(mut records: Vec<Srv>, rng: &mut ChaCha8Rng) -> Vec<Srv> {
    records.sort_by_key(|record| record.priority);
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|record| record.priority) {
        let equals = records.iter().take_while(|record| record.priority == priority);
        // Those of weight 0 are chosen seldom, and not never.
        let weights: Vec<u32> = equals.map(|record| u32::from(record.weight) * 100 + 1).collect();
        let mut drawn = rng.random_range(0..weights.iter().sum::<u32>().max(1));
        let index = weights.iter().position(|weight| match drawn.checked_sub(*weight) {
            Some(left) => {
                drawn = left;
                false
            }
            None => true,
        });
        ordered.push(records.remove(index.unwrap_or(0)));
    }
    ordered
}

/// The families in turn, IPv6 first (RFC 8305 §4): when one of them leads nowhere, the second try is the other.
pub(super) fn families(found: &[IpAddr]) -> impl Iterator<Item = IpAddr> {
    let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = found.iter().partition(|ip| ip.is_ipv6());
    let most = six.len().max(four.len());
    (0..most).flat_map(move |nth| [six.get(nth).copied(), four.get(nth).copied()]).flatten()
}

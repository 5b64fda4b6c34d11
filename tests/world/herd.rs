//! Many houses and one edge that dies: none is long without a way, and they do not come back together.

use std::time::Duration;

use super::outbound::{house, secs};
use super::wan::Wan;
use super::wan::provider::{Health, Provider};

/// How long after its edge closed every connection each of forty houses opens one again; the edge is back at once.
fn waits(edges: usize) -> Vec<f64> {
    let wait = |seed: u64| {
        let mut wan =
            Wan::new(8_500 + seed, &[house("tcp", edges, "expires: 600s", "")], Provider::new(edges));
        wan.run(secs(30));
        wan.edge(0, Health::Refuses);
        wan.edge(0, Health::Up);
        let (cut, before) = (wan.now, wan.homes[0].connects);
        while wan.homes[0].connects == before {
            wan.run(Duration::from_millis(100));
            assert!(wan.now - cut < secs(100), "seed {seed}: it never comes");
        }
        let back = (wan.now - cut).as_secs_f64();
        wan.run(secs(10));
        assert_eq!(wan.provider.ways_to(0, "100", wan.now).len(), edges, "seed {seed}");
        back
    };
    let mut waits: Vec<f64> = (0..40).map(wait).collect();
    waits.sort_by(f64::total_cmp);
    waits
}

/// Proves: OB-11
#[test]
fn houses_whose_only_edge_starts_anew_come_soon_and_not_in_the_same_second() {
    let waits = waits(1);
    assert!(waits[0] < 1.5 && waits[39] <= 4.2 && waits[39] - waits[0] > 2.5, "{waits:?}");
}

/// Proves: OB-11
#[test]
fn houses_that_another_edge_serves_leave_one_that_starts_anew_in_peace() {
    let waits = waits(2);
    assert!(waits[0] >= 45.0 && waits[39] <= 91.0 && waits[39] - waits[0] > 30.0, "{waits:?}");
}

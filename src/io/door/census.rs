//! Who is here, by network: strangers of one address have few places among them, and whoever is known takes none of these.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

use crate::sip::network_of;

/// Connections of one address (of IPv6: of one network) that nobody has vouched for, those in a handshake among them;
/// one more is closed at once.
const STRANGERS_PER_HOST: usize = 64;
/// Those that somebody has: hundreds of houses share one address behind the router of a provider. One more counts among
/// the strangers.
const KNOWN_PER_HOST: usize = 4096;
/// Connections in a handshake, where few come in all; else one in [`HALF_OPEN_SHARE`]. One more is closed at once.
const HALF_OPEN: usize = 256;
const HALF_OPEN_SHARE: usize = 8;
const HALF_OPEN_PER_HOST: usize = 16;

#[derive(Clone)]
pub(super) struct Census(Rc<RefCell<Counts>>);

#[derive(Default)]
struct Counts {
    most: usize,
    all: Count,
    by_host: HashMap<IpAddr, Count>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    open: usize,
    half: usize,
    known: usize,
}

/// A place among the connections, given back when it is dropped.
pub struct Seat {
    census: Census,
    host: IpAddr,
    half: Cell<bool>,
    known: Cell<bool>,
}

impl Census {
    /// One that has so many places.
    pub fn of(most: usize) -> Self {
        Self(Rc::new(RefCell::new(Counts { most, ..Counts::default() })))
    }

    /// `half`: it has a handshake before it.
    pub fn seat(&self, host: IpAddr, half: bool) -> Option<Seat> {
        let host = network_of(host);
        let mut counts = self.0.borrow_mut();
        let of_host = counts.by_host.get(&host).copied().unwrap_or_default();
        let strangers = of_host.open.saturating_sub(of_host.known);
        let full = counts.all.open >= counts.most || strangers >= STRANGERS_PER_HOST;
        let most_half = HALF_OPEN.max(counts.most / HALF_OPEN_SHARE);
        let waiting = counts.all.half >= most_half || of_host.half >= HALF_OPEN_PER_HOST;
        if full || half && waiting {
            return None;
        }
        counts.change(host, |count| {
            count.open += 1;
            count.half += usize::from(half);
        });
        Some(Seat { census: self.clone(), host, half: Cell::new(half), known: Cell::new(false) })
    }
}

impl Counts {
    fn change(&mut self, host: IpAddr, change: impl Fn(&mut Count)) {
        change(&mut self.all);
        let count = self.by_host.entry(host).or_default();
        change(count);
        if count.open == 0 {
            self.by_host.remove(&host);
        }
    }
}

impl Seat {
    /// The handshake is done.
    pub fn settle(&self) {
        if self.half.take() {
            self.census.0.borrow_mut().change(self.host, |count| count.half = count.half.saturating_sub(1));
        }
    }

    /// Somebody has vouched for whoever is here: strangers behind the same address have this place, too.
    pub fn welcome(&self) {
        let mut counts = self.census.0.borrow_mut();
        let known = counts.by_host.get(&self.host).map_or(0, |count| count.known);
        if known < KNOWN_PER_HOST && !self.known.replace(true) {
            counts.change(self.host, |count| count.known += 1);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.settle();
        let known = usize::from(self.known.get());
        self.census.0.borrow_mut().change(self.host, |count| {
            count.open = count.open.saturating_sub(1);
            count.known = count.known.saturating_sub(known);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::door::CONNECTIONS;

    #[test]
    fn one_address_takes_few_places_and_none_for_good() {
        let census = Census::of(CONNECTIONS);
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut seats: Vec<Seat> = (0..HALF_OPEN_PER_HOST).map(|_| census.seat(one, true).unwrap()).collect();
        assert!(census.seat(one, true).is_none(), "too many handshakes at once");
        assert!(census.seat(other, true).is_some(), "which keeps nobody else out");
        seats.iter().for_each(Seat::settle);
        while let Some(seat) = census.seat(one, true) {
            seat.settle();
            seats.push(seat);
        }
        assert_eq!(seats.len(), STRANGERS_PER_HOST);
        seats.clear();
        assert!(census.0.borrow().by_host.is_empty());
        assert_eq!((census.0.borrow().all.open, census.0.borrow().all.half), (0, 0));
    }

    /// A flat with a hundred houses behind one address: each that has registered makes room for the next.
    #[test]
    fn whoever_is_known_keeps_no_neighbour_out() {
        let census = Census::of(16 * CONNECTIONS);
        let shared: IpAddr = [100, 64, 0, 1].into();
        let houses: Vec<Seat> =
            (0..200).map(|_| census.seat(shared, false).unwrap()).inspect(Seat::welcome).collect();
        let strangers: Vec<Seat> = std::iter::from_fn(|| census.seat(shared, false)).collect();
        assert_eq!(
            (houses.len(), strangers.len()),
            (200, STRANGERS_PER_HOST),
            "strangers are bounded all the same"
        );
        houses[0].welcome();
        drop(houses);
        assert!(
            census.seat(shared, false).is_none(),
            "a known one that goes takes no stranger's place along"
        );
        drop(strangers);
        assert!(census.0.borrow().by_host.is_empty() && census.0.borrow().all.known == 0);
        let many: Vec<Seat> = (0..KNOWN_PER_HOST + STRANGERS_PER_HOST)
            .filter_map(|_| census.seat(shared, false))
            .inspect(Seat::welcome)
            .collect();
        assert_eq!(many.len(), KNOWN_PER_HOST + STRANGERS_PER_HOST);
        assert!(census.seat(shared, false).is_none(), "and so are those who are known");
    }

    /// Whoever has one address of IPv6 has all of its network.
    #[test]
    fn a_network_of_ipv6_is_one() {
        let census = Census::of(CONNECTIONS);
        let host = |low: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, low]);
        let seats: Vec<Seat> = (0..200).filter_map(|low| census.seat(host(low), false)).collect();
        assert_eq!(seats.len(), STRANGERS_PER_HOST);
        assert!(census.seat(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1]), false).is_some());
    }

    #[test]
    fn handshakes_from_everywhere_leave_room_for_those_who_are_through() {
        for (most, half) in [(CONNECTIONS, HALF_OPEN), (16 * CONNECTIONS, 2 * CONNECTIONS)] {
            let census = Census::of(most);
            let host = |nth: usize| IpAddr::from(u32::try_from(nth).unwrap().to_be_bytes());
            let waiting: Vec<Seat> = (0..half).filter_map(|nth| census.seat(host(nth), true)).collect();
            assert_eq!(waiting.len(), half);
            assert!(census.seat(host(half), true).is_none());
            assert!(census.seat(host(half), false).is_some());
            let open: Vec<Seat> =
                (0..2 * most).filter_map(|nth| census.seat(host(10_000 + nth), false)).collect();
            assert_eq!(open.len() + waiting.len(), most);
        }
    }
}

//! What happens in a year, and when: to the line, the provider, the gateway and the plug.

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::DAY;
use crate::wan::Wan;
use crate::wan::provider::Health;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    Out,
    Back,
    /// The router starts again: it forgets, and is out meanwhile.
    Reboot,
    /// Another public address.
    Address,
    /// The gateway's own address is another one, and its kernel says so.
    Moved,
    Edge(usize, Health),
    /// The registrar loses its bindings, which it has in memory only; the edges live.
    Forgets,
    /// Name servers answer, or do not.
    Names(bool),
    /// That share of the packets is lost, and of the datagrams doubled.
    Bad(f64),
    Good,
    /// The gateway's process is gone, or starts; its wall clock is so many milliseconds off.
    Off,
    On(i64),
    /// Its wall clock is set.
    Clock(i64),
    /// Somebody presses the plug.
    Press,
    /// The guest switches it, and what became of that is looked at.
    Command,
    Outcome,
    /// A minute after another public address.
    Settled,
}

impl Fault {
    /// It happens to the network between house and provider, or to one of them.
    pub fn disturbs(self) -> bool {
        !matches!(self, Self::Press | Self::Command | Self::Outcome | Self::Settled | Self::Clock(_))
    }

    pub fn strike(self, wan: &mut Wan) {
        match self {
            Self::Out => wan.cable(0, false),
            Self::Back => wan.cable(0, true),
            Self::Reboot => {
                wan.cable(0, false);
                wan.flush(0);
            }
            Self::Address => wan.readdress(0),
            Self::Moved => wan.move_inside(0),
            Self::Edge(edge, health) => wan.edge(edge, health),
            Self::Forgets => wan.forget(),
            Self::Names(answer) => wan.names = answer,
            Self::Bad(share) => (wan.loss, wan.duplicates) = (share, share),
            Self::Good => (wan.loss, wan.duplicates) = (super::LOSS, super::LOSS / 2.0),
            Self::Off => wan.power_off(0),
            Self::On(off) if wan.homes[0].off => {
                wan.set_clock(0, off);
                wan.power_on(0);
            }
            Self::On(_) => {}
            Self::Clock(off) => wan.set_clock(0, off),
            Self::Press => wan.press(0),
            Self::Command | Self::Outcome | Self::Settled => {}
        }
    }
}

/// All of it, in its order.
pub fn year(days: u64, rng: &mut ChaCha8Rng) -> Vec<(u64, Fault)> {
    let mut all = Vec::new();
    for day in 0..days {
        let begin = day * DAY;
        line(begin, rng, &mut all);
        provider(begin, day, rng, &mut all);
        house(begin, day, rng, &mut all);
        for _ in 0..2 {
            all.push((begin + rng.random_range(0..DAY), Fault::Press));
            let at = begin + rng.random_range(0..DAY);
            all.extend([(at, Fault::Command), (at + 60, Fault::Outcome)]);
        }
    }
    all.sort_by_key(|(at, _)| *at);
    all
}

fn line(begin: u64, rng: &mut ChaCha8Rng, all: &mut Vec<(u64, Fault)>) {
    let night = begin + rng.random_range(2 * 3600..3 * 3600);
    let back = night + rng.random_range(120..240);
    all.extend([(night, Fault::Reboot), (back, Fault::Back)]);
    if rng.random_bool(0.1) {
        // Its name servers take longer than the line.
        all.extend([(night, Fault::Names(false)), (back + rng.random_range(10..180), Fault::Names(true))]);
    }
    let at = begin + rng.random_range(4 * 3600..5 * 3600);
    all.extend([(at, Fault::Address), (at + 60, Fault::Settled)]);
    if rng.random_bool(0.4) {
        // From seconds to hours, short ones more often.
        let from = begin + rng.random_range(6 * 3600..18 * 3600);
        let lasts = (5.0 * 2880_f64.powf(rng.random_range(0.0..1.0))) as u64;
        all.extend([(from, Fault::Out), (from + lasts, Fault::Back)]);
    }
    if rng.random_bool(0.5) {
        let from = begin + rng.random_range(6 * 3600..24 * 3600);
        all.extend([(from, Fault::Bad(0.2)), (from + rng.random_range(1..30), Fault::Good)]);
    }
}

fn provider(begin: u64, day: u64, rng: &mut ChaCha8Rng, all: &mut Vec<(u64, Fault)>) {
    if day % 7 == 3 {
        // It starts both edges again.
        let (from, lasts) = (begin + rng.random_range(0..3600), rng.random_range(5..60));
        for edge in [0, 1] {
            all.push((from, Fault::Edge(edge, Health::Refuses)));
            all.push((from + lasts, Fault::Edge(edge, Health::Up)));
        }
    }
    if rng.random_bool(0.1) {
        let health = [Health::Gone, Health::Refuses, Health::Silent][rng.random_range(0..3)];
        let (edge, from) = (rng.random_range(0..2), begin + 19 * 3600);
        all.push((from, Fault::Edge(edge, health)));
        all.push((from + rng.random_range(60..4 * 3600), Fault::Edge(edge, Health::Up)));
    }
    if day % 30 == 17 {
        all.push((begin + rng.random_range(12 * 3600..13 * 3600), Fault::Forgets));
    }
}

fn house(begin: u64, day: u64, rng: &mut ChaCha8Rng, all: &mut Vec<(u64, Fault)>) {
    if day % 7 == 5 {
        all.push((begin + 5 * 3600 + rng.random_range(600..1200), Fault::Moved));
    }
    if day % 11 == 8 {
        // The power is out, and the router needs longer than the gateway. A clock without a battery goes on where it
        // stood, or begins in 1970, and is right when a time server was heard.
        let from = begin + rng.random_range(7 * 3600..17 * 3600);
        let lasts = rng.random_range(2..3600);
        let stood = -1000 * i64::try_from(lasts).unwrap();
        let clock = if rng.random_bool(0.2) { -56 * 365 * 86_400_000 } else { stood };
        let on = from + lasts + rng.random_range(5..30);
        let back = from + lasts + rng.random_range(40..120);
        all.extend([(from, Fault::Reboot), (from, Fault::Off), (on, Fault::On(clock))]);
        all.extend([(back, Fault::Back), (back + rng.random_range(1..300), Fault::Clock(0))]);
    }
    if day % 13 == 6 {
        let from = begin + rng.random_range(7 * 3600..23 * 3600);
        all.extend([(from, Fault::Off), (from + rng.random_range(1..10), Fault::On(0))]);
    }
    if rng.random_bool(0.05) {
        // A clock that somebody set wrongly, until it is put right.
        let from = begin + rng.random_range(0..23 * 3600);
        let off = rng.random_range(-86_400_000..86_400_000);
        all.extend([(from, Fault::Clock(off)), (from + rng.random_range(1..3600), Fault::Clock(0))]);
    }
}

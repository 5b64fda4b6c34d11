//! What outlives the process besides documents: subscriptions, alerts, and where phones at home are.
//!
//! The core says what has to be on record ([`Output::Record`]); the shell keeps it, whatever it is, and
//! hands it back once at the next start ([`Gateway::resume`]). A record names things as peers and people
//! do, never by a place in a table.

mod alerts;
mod bindings;
mod pack;
mod records;
mod resume;

use std::collections::HashMap;

use bytes::Bytes;
use sipliance_driver as driver;

use self::pack::Pack;
use self::records::{Made, Path, Stands, strip};
use super::request::Request;
use super::{Gateway, Output};
use crate::config::LinkId;
use crate::limits;
use crate::sip::Hop;
use crate::sip::notifier::{Note, Notifier, SubscriptionId, Wanted};
use crate::timer::Now;

pub use self::resume::Resumed;

/// How soon a record has to be safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Within a minute or so: when it is lost, the next start allows for it.
    Idle,
    /// As soon as the disk can.
    Soon,
    /// The same, and what goes out on this hop after it waits for that, but not for long.
    Before(Hop),
}

/// The first letter of the records of subscriptions.
const SUBSCRIPTION: u8 = b's';

/// The records of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Made,
    Stands,
    Filters,
}

fn key(serial: u64, part: Part) -> Bytes {
    let mut key = vec![SUBSCRIPTION];
    key.extend_from_slice(&serial.to_be_bytes());
    key.push(part as u8);
    key.into()
}

/// What is kept for subscriptions on record, besides what the notifier knows.
#[derive(Debug, Default)]
pub(super) struct Restart {
    /// There is somewhere to keep something.
    on: bool,
    /// The bodies of refreshes that changed filters, as they stand in the record; empty where they were too
    /// many to be kept.
    filters: HashMap<u64, Bytes>,
    /// What is on record of bindings, by user.
    bindings: HashMap<String, bindings::Noted>,
}

impl Restart {
    /// Whether there is somewhere to keep something.
    pub fn is_on(&self) -> bool {
        self.on
    }
}

impl Gateway {
    /// The process ends, and perhaps the next one goes on. Watchers keep their subscriptions, and are told that nothing
    /// is known of the appliances: a lamp that shows what was must not shine on for as long as nobody is here.
    pub(super) fn pause(&mut self, now: Now) {
        for link in 0..self.config.links.len() {
            let why = driver::Why("the gateway stops".to_owned());
            self.house.driver(LinkId(link), driver::Event::Down(why), now);
        }
        self.notifier.tell_all();
    }

    /// From now on what must outlive the process is said.
    pub fn record(&mut self) {
        self.restart.on = true;
        self.notifier.track();
    }

    /// What is on record of how a subscription was made; of one that is over at once, nothing is.
    pub(super) fn made(&self, request: &Request<'_, '_>, wanted: &Wanted) -> Option<Bytes> {
        if !self.restart.on || wanted.expires.is_zero() {
            return None;
        }
        let (who, local_tag) = (&*wanted.who, &*wanted.dialog.local_tag);
        Some(Made { who, local_tag, request: &strip(request.message) }.pack().into())
    }

    /// A subscription was made: with how it stands, which follows at once and cannot wait, it is on record before
    /// its 2xx leaves. So the disk is asked once for both.
    pub(super) fn record_made(&mut self, id: SubscriptionId, made: Option<Bytes>) {
        if made.is_some() {
            let key = key(Notifier::serial_of(id), Part::Made);
            self.outputs.push_back(Output::Record { key, body: made, haste: Haste::Idle });
        }
    }

    /// A refresh changed the filter of a subscription.
    pub(super) fn record_filter(&mut self, id: SubscriptionId, request: &Request<'_, '_>) {
        if !self.restart.on {
            return;
        }
        let serial = Notifier::serial_of(id);
        let before = self.restart.filters.get(&serial);
        let lost = before.is_some_and(Bytes::is_empty);
        let mut all = before.map(|before| before.to_vec()).unwrap_or_default();
        all.extend_from_slice(&Pack::default().bytes(&strip(request.message)).done());
        if lost || all.len() > 2 * limits::FILTER_BYTES {
            all.clear();
        }
        let body = Bytes::from(all);
        self.restart.filters.insert(serial, body.clone());
        let (key, haste) = (key(serial, Part::Filters), Haste::Before(request.hop));
        self.outputs.push_back(Output::Record { key, body: Some(body), haste });
    }

    /// Says what changed.
    pub(super) fn record_notes(&mut self, now: Now) {
        for note in self.notifier.take_notes() {
            match note {
                Note::Stands(id) => self.record_standing(id, Haste::Soon, now),
                Note::GoesOn(id) => self.record_standing(id, Haste::Idle, now),
                Note::Over(serial) => {
                    let mut parts = vec![Part::Made, Part::Stands];
                    parts.extend(self.restart.filters.remove(&serial).map(|_| Part::Filters));
                    for part in parts {
                        let (key, haste) = (key(serial, part), Haste::Idle);
                        self.outputs.push_back(Output::Record { key, body: None, haste });
                    }
                }
            }
        }
    }

    fn record_standing(&mut self, id: SubscriptionId, haste: Haste, now: Now) {
        let Some((hop, lost)) = self.notifier.hop_of(id) else { return };
        let upstream = self.name_behind(hop);
        // A way that is gone has no name. The record names it still, and nothing is sent over it.
        if lost && upstream.is_none() && hop.flow != resume::NOWHERE {
            return;
        }
        let Some(trace) = self.notifier.trace(id, now) else { return };
        let body = Stands {
            reserved: trace.reserved,
            remote_seq: trace.dialog.remote_seq,
            target: &trace.dialog.target,
            contact: trace.dialog.contact(),
            path: Path {
                transport: hop.transport,
                local: hop.local,
                peer: hop.peer,
                upstream: upstream.as_deref().unwrap_or_default(),
            },
            rates: trace.rates,
            standing: trace.standing,
            at_ms: now.wall_ms,
            left: trace.expires.saturating_duration_since(now.mono),
            granted: trace.granted,
        };
        let (key, body) = (key(trace.serial, Part::Stands), Some(body.pack().into()));
        // Of this the 2xx waits, or the first NOTIFY of a new run: its CSeq must be known as used.
        let haste = if trace.first { Haste::Before(hop) } else { haste };
        self.outputs.push_back(Output::Record { key, body, haste });
    }
}

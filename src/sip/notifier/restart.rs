//! Subscriptions that outlive the process: what has to be on record of each, and going on with it.
//!
//! CSeqs are reserved in blocks: the record says up to which number they may have been used, and the
//! next run begins behind it, without a write for each NOTIFY. What a refresh changes is on record when
//! it matters; a new end of the time alone now and then ([`LAZY`]), for which the next run allows.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::rate::Rates;
use super::subscription::Subscription;
use super::watchers::Standing;
use super::{End, GRACE, Notifier, SubscriptionId, Wake, Wanted};
use crate::sip::dialog::Dialog;
use crate::timer::Now;

/// CSeqs that are reserved at once.
const BLOCK: u32 = 4096;
/// The last CSeq that there is (RFC 3261 §8.1.1.5).
const LAST: u32 = (1 << 31) - 1;
/// How long the record of a time that goes on may lag behind.
pub const LAZY: Duration = Duration::from_secs(600);

/// What happened that has to be on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A subscription is there, or stands otherwise than the record says.
    Stands(SubscriptionId),
    /// Its time goes on, or another block of CSeqs is to be reserved: that can wait.
    GoesOn(SubscriptionId),
    /// The subscription of that number is over.
    Over(u64),
}

/// How a subscription stands, as the record has to say it.
#[derive(Debug)]
pub struct Trace<'a> {
    /// Its number.
    pub serial: u64,
    /// Nothing of this run is on record of it yet.
    pub first: bool,
    /// The dialog.
    pub dialog: &'a Dialog,
    /// The highest CSeq that may be used from now on without another record.
    pub reserved: u32,
    /// The rates in force.
    pub rates: Rates,
    /// How it stands with who decides over it.
    pub standing: Standing,
    /// When it ends by itself.
    pub expires: Instant,
    /// For how long it was last granted.
    pub granted: Duration,
}

/// What an earlier run knew of a subscription beside what is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Past {
    /// Its number.
    pub serial: u64,
    /// For how long it was last granted.
    pub granted: Duration,
    /// It ends now, for this reason.
    pub end: Option<End>,
    /// There is no way to tell it yet.
    pub lost: bool,
    /// How long the first NOTIFY waits, so that the appliances can be asked before.
    pub wait: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Track {
    on: bool,
    notes: Vec<Note>,
    /// Subscriptions of earlier runs, whose tags name other places.
    moved: HashMap<u64, usize>,
}

impl Track {
    /// Where a subscription of an earlier run is now.
    pub fn place_of(&self, serial: u64) -> Option<SubscriptionId> {
        self.moved.get(&serial).map(|index| SubscriptionId { index: *index, serial })
    }

    pub fn over(&mut self, subscription: &Subscription) {
        self.moved.remove(&subscription.serial);
        if subscription.reserved > 0 {
            self.notes.push(Note::Over(subscription.serial));
        }
    }
}

impl Subscription {
    /// Whether another block of CSeqs is to be reserved, long before this one is used up.
    pub(super) fn runs_out(&self) -> bool {
        self.reserved > 0 && self.reserved.saturating_sub(self.dialog.local_seq) < BLOCK / 2
    }
}

impl Notifier {
    /// From now on there are notes.
    pub fn track(&mut self) {
        self.track.on = true;
    }

    /// The number of a subscription.
    pub fn serial_of(id: SubscriptionId) -> u64 {
        id.serial
    }

    /// What happened since the last time, in its order.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.track.notes)
    }

    /// What the record has to say of a subscription from now on; `None` when it is over, or nothing is
    /// known of its way now that the record does not say.
    pub fn trace(&mut self, id: SubscriptionId, now: Now) -> Option<Trace<'_>> {
        let subscription = self.get_mut(id).filter(|it| it.end.is_none())?;
        subscription.reserved = subscription.dialog.local_seq.saturating_add(BLOCK).min(LAST);
        let first = subscription.noted.replace(now.mono).is_none();
        Some(Trace {
            serial: id.serial,
            first,
            dialog: &subscription.dialog,
            reserved: subscription.reserved,
            rates: subscription.rates,
            standing: subscription.standing,
            expires: subscription.expires,
            granted: subscription.granted,
        })
    }

    /// Goes on with a subscription of an earlier run: it is told everything, in its dialog.
    pub fn restore(&mut self, wanted: Wanted, past: Past, now: Now) -> SubscriptionId {
        let id = self.insert(wanted, past.serial, now);
        self.track.moved.insert(id.serial, id.index);
        if let Some(subscription) = self.get_mut(id) {
            subscription.granted = past.granted;
            subscription.lost = past.lost;
            subscription.end = subscription.end.or(past.end);
            // Documents count on, too: never fewer than NOTIFYs were sent.
            subscription.sent = subscription.dialog.local_seq;
            subscription.reserved = subscription.dialog.local_seq;
            if subscription.dialog.local_seq >= LAST {
                subscription.end = Some(End::Deactivated);
            }
            let until = subscription.expires + GRACE;
            self.deadlines.set(until, (id, Wake::Expire));
        }
        if !past.lost {
            self.deadlines.set(now.mono + past.wait, (id, Wake::Send));
        }
        self.note(id);
        id
    }

    /// A subscription stands otherwise than the record says.
    pub(super) fn note(&mut self, id: SubscriptionId) {
        let on = self.track.on;
        if on && self.get(id).is_some_and(|it| it.end.is_none()) {
            self.track.notes.push(Note::Stands(id));
        }
    }

    /// The same after a refresh, which says nothing new most of the time.
    pub(super) fn note_refresh(&mut self, id: SubscriptionId, news: bool, now: Now) {
        let old = |at: Instant| now.mono.saturating_duration_since(at) >= LAZY;
        let Some(noted) = self.get(id).filter(|it| it.reserved > 0).map(|it| it.noted) else { return };
        match (news, noted.is_none_or(old)) {
            (true, _) => self.note(id),
            (false, true) => self.note_idly(id),
            (false, false) => {}
        }
    }

    /// The same as [`Notifier::note`], when it can wait.
    pub(super) fn note_idly(&mut self, id: SubscriptionId) {
        if self.track.on && self.get(id).is_some_and(|it| it.end.is_none()) {
            self.track.notes.push(Note::GoesOn(id));
        }
    }
}

//! The order of DOs, and how old one may be (draft-tsang-sip-appliances-do; framework §6.1.3).

use std::collections::{HashMap, VecDeque};

use crate::limits;
use crate::sip::Rejection;
use crate::sip::wire::{Message, Name};
use crate::timer::Now;

/// The highest CSeq of each Call-ID: DOs of one Call-ID are carried out in their order or not at all.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    highest: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Sequence {
    /// Refuses what was overtaken.
    pub fn check(&self, call: u64, cseq: u32) -> Result<(), Rejection> {
        match self.highest.get(&call) {
            Some(highest) if cseq <= *highest => Err(Rejection::new(500, "CSeq Out Of Order")),
            _ => Ok(()),
        }
    }

    /// Remembers one that is carried out; when full, the oldest Call-ID is forgotten.
    pub fn add(&mut self, call: u64, cseq: u32) {
        if self.highest.insert(call, cseq).is_none() {
            self.order.push_back(call);
        }
        if self.order.len() > limits::RECENT_COMMANDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.highest.remove(&oldest);
        }
    }
}

/// Refuses a DO that was written too long ago, as far as its Date or Timestamp tells. A gateway whose
/// own clock was never set cannot say: then the nonce alone proves the age.
pub(super) fn check_age(message: &Message<'_>, now: Now) -> Result<(), Rejection> {
    let text = |name| message.first(name).and_then(|value| std::str::from_utf8(value).ok());
    let date = text(Name::Date).and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    let date = date.map(|date| date.timestamp().as_second());
    // A Timestamp may count from anywhere (RFC 3261 §20.38); only one that is a date says when.
    let stamp = text(Name::Timestamp).and_then(|stamp| stamp.split(['.', ' ']).next()?.parse::<i64>().ok());
    let stamp = stamp.filter(|stamp| *stamp > CLOCK_IS_SET);
    let wall = now.wall_ms / 1000;
    let old = |at: i64| wall > CLOCK_IS_SET && wall - at > limits::DO_AGE;
    match date.into_iter().chain(stamp).any(old) {
        true => Err(Rejection::new(400, "This Command Is Too Old")),
        false => Ok(()),
    }
}

/// 2020, in Unix seconds: no clock that was set is older.
const CLOCK_IS_SET: i64 = 1_577_836_800;

//! The `tests:` of a profile.

use std::sync::Arc;
use std::time::Duration;

use crate::config::fault::Place;
use crate::device::command::Order;
use crate::device::value::Value;

/// One entry of `tests:`.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it stands.
    pub place: Place,
    /// What is known before.
    pub given: Given,
    /// Bytes that came before `rx`, without consequence.
    pub after: Option<String>,
    /// What happens.
    pub stimulus: Stimulus,
    /// When to look, after the stimulus began.
    pub until: Duration,
    /// What must be known then; `Some` and empty: nothing may have changed.
    pub expect: Option<Expect>,
    /// What must have been sent, in this order.
    pub sends: Option<Vec<Sends>>,
    /// Electrical levels that outputs must have had.
    pub drives: Vec<Drive>,
    /// The command must be refused for this reason.
    pub refused: Option<String>,
}

/// Values known before a case: property index and value.
pub type Given = Vec<(usize, Value)>;

/// What happens in a case.
#[derive(Clone, Debug)]
pub enum Stimulus {
    /// A message.
    Mqtt {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: String,
        /// Whether it is a retained copy.
        retained: bool,
    },
    /// Bytes on the serial port.
    Rx(String),
    /// Electrical levels on input lines.
    Levels(Vec<(String, Vec<Level>)>),
    /// A command.
    Order(Order),
    /// The gateway starts.
    Start,
}

/// `1@500ms`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// High.
    pub high: bool,
    /// Since when.
    pub at: Duration,
}

/// What an output line must have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The line's name.
    pub line: String,
    /// Its levels.
    pub levels: Vec<Level>,
}

/// What must be known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// `online: asleep`
    pub online: Option<Arc<str>>,
    /// Values by property index.
    pub values: Vec<(usize, Value)>,
    /// Exactly one event: id and value.
    pub event: Option<(Arc<str>, Arc<str>)>,
    /// How often a known value changed, by property index.
    pub changes: Vec<(usize, u32)>,
}

/// What must have been sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Sends {
    /// A message with this payload.
    Text(String, String),
    /// A message with this document.
    Json(String, serde_json::Value),
    /// Bytes on the serial port.
    Bytes(String),
}

//! The words of commands: what is ordered, why it is refused, how it ended.
//!
//! The life of a command: *ordered* → guards hold, else a [`Refusal`] and nothing moves → *sent*, one
//! step after the other → proved by a reading, by the driver's word where the profile asks for no
//! proof, or not at all. Every accepted command gets exactly one [`Outcome`], within [`ANSWER`].

use std::sync::Arc;
use std::time::Duration;

use crate::device::value::Value;

/// The longest time from order to outcome. A command that takes longer ends as
/// [`Outcome::Started`]; its device stays busy with it, and the shadow tells how it went on.
pub const ANSWER: Duration = Duration::from_secs(8);

/// What a device is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Make a property have a value.
    Set {
        /// Property id.
        property: Arc<str>,
        /// The value.
        value: Value,
    },
    /// Run an action.
    Do {
        /// Action id.
        action: Arc<str>,
        /// Its arguments; those with a default may be left out.
        args: Vec<(Arc<str>, Value)>,
    },
}

impl Order {
    /// The property or action that is needed, as access rules name it.
    pub fn subject(&self) -> &Arc<str> {
        match self {
            Self::Set { property, .. } => property,
            Self::Do { action, .. } => action,
        }
    }
}

/// One accepted command. Numbers are not used twice in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub u64);

/// How an accepted command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A reading that came after the command shows what was wanted.
    Done,
    /// It was delivered; the profile asks for no proof.
    Accepted,
    /// It was delivered and takes longer than an answer may; the shadow will tell.
    Started,
    /// It did not happen.
    Failed(String),
    /// The device answered that it does not do it.
    Refused(String),
    /// It was sent, and whether it happened is not known.
    Unknown(String),
}

/// Why an order was not taken. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such device in the house.
    #[error("there is no such device")]
    NoDevice,
    /// The device has nothing of that name.
    #[error("it has no {0}")]
    NoSuch(String),
    /// The property can only be read.
    #[error("{0} can only be read")]
    ReadOnly(String),
    /// The value does not fit.
    #[error("{0}")]
    BadValue(String),
    /// An argument is missing or unknown.
    #[error("{0}")]
    BadArgs(String),
    /// The broker, port or lines are not there.
    #[error("its link is down")]
    LinkDown,
    /// The device said that it is gone, or does not answer.
    #[error("it is offline")]
    Offline,
    /// It sleeps and would not hear it.
    #[error("it is asleep")]
    Asleep,
    /// The profile's `only_if` does not hold.
    #[error("{0}")]
    Guard(String),
    /// Another command is under way.
    #[error("another command is under way")]
    Busy,
    /// The profile's `min_gap` has not passed.
    #[error("too soon after the last command; wait {} s", .0.as_secs().max(1))]
    TooSoon(Duration),
}

impl Refusal {
    /// One word for it, as `refused:` in a profile's tests and audit lines spell it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoDevice => "device",
            Self::NoSuch(_) => "name",
            Self::ReadOnly(_) => "read_only",
            Self::BadValue(_) => "value",
            Self::BadArgs(_) => "args",
            Self::LinkDown => "link",
            Self::Offline => "offline",
            Self::Asleep => "asleep",
            Self::Guard(_) => "only_if",
            Self::Busy => "busy",
            Self::TooSoon(_) => "min_gap",
        }
    }
}

//! Numbers that are dialled.

/// A number that can be dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// The digits.
    pub digits: String,
    /// What a call to it does.
    pub press: Press,
}

/// What dialling a number does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Press {
    /// The profile's `phone: press`.
    Profile,
    /// Nothing: the answer tells the state.
    Tell,
    /// A command in the words of a MESSAGE (`on`, `set target 21`).
    Words(String),
}

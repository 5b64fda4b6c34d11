//! SIP without sockets: messages, transactions, dialogs, subscriptions, registrations.
//!
//! Nothing here names an appliance; [`crate::gateway`] brings the two together.

pub mod wire;

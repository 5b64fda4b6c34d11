//! The words of a MESSAGE, a DO or a dialled number: what was said to one device.

use crate::device::appliance::Device;
use crate::device::command::Order;

/// What was understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A command.
    Order(Order),
    /// A question for the state.
    Status,
    /// A question for the words.
    Help,
}

/// What was not understood, in words that teach what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(pub String);

/// Understands what was said to `device`.
pub fn understand(device: &Device, text: &str) -> Result<Said, NotUnderstood> {
    let _ = device;
    match text.trim().to_ascii_lowercase().as_str() {
        "status" | "?" | "" => Ok(Said::Status),
        "help" => Ok(Said::Help),
        _ => Err(NotUnderstood(help(device))),
    }
}

/// The words that `device` knows.
pub fn help(device: &Device) -> String {
    format!("{} knows: status, help", device.name())
}

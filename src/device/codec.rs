//! Bytes to values and back, by the rules of a profile.
//!
//! Incoming: bytes → raw scalar (JSON Pointer, pattern, registers, OBIS line, line level) → `invalid`
//! → `map` → `scale`, `offset` → value. Whatever does not fit leaves the value as it was, and is counted.
//! Outgoing: values → `map` → placeholders of a text or document.

mod hex;
mod incoming;
mod modbus;
mod obis;
mod outgoing;

pub(crate) use hex::{hex, unhex};
pub use incoming::Dropped;
pub(crate) use incoming::{Payload, value};
pub(crate) use modbus::{encode as number_words, number as words_number};
pub(crate) use outgoing::{Delivery, Outgoing, compose};

/// Name of the one channel to what is elsewhere.
pub const ELSEWHERE: &str = "elsewhere";
/// Name of the one channel of a serial port.
pub const SERIAL: &str = "port";

//! Appliances for the demo and for tests. They speak the bytes of real ones and live a little faster,
//! so that something can be seen every few seconds.

mod freezer;
mod garage;
mod meter;
mod plug;
mod switches;
mod valve;

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Op};

pub use freezer::Freezer;
pub use garage::GarageDoor;
pub use meter::SmartMeter;
pub use plug::TasmotaPlug;
pub use switches::{Input, Relay};
pub use valve::RadiatorValve;

/// The payload of a write to `channel`.
fn written<'a>(op: &'a Op, to: &Channel) -> Option<&'a Bytes> {
    match op {
        Op::Write { channel, payload, .. } if channel == to => Some(payload),
        _ => None,
    }
}

fn level(active: bool) -> &'static [u8] {
    match active {
        true => b"1",
        false => b"0",
    }
}

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// A time of day for payloads that carry one.
fn clock(now: Duration) -> String {
    let (day, secs) = (1 + now.as_secs() / 86_400 % 28, now.as_secs() % 86_400);
    format!("2026-03-{day:02}T{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
}

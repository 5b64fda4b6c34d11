//! GPIO lines of a device.

use std::time::Duration;

use sipliance_driver::Duty;

/// Lines that one device owns.
#[derive(Clone, Debug)]
pub struct GpioSettings {
    /// The lines by the profile's name for them.
    pub lines: Vec<GpioLine>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct GpioLine {
    /// The profile's name; also the channel.
    pub name: String,
    /// Line name over all chips (`GPIO17`); of a dimmed line chip and channel (`fe20c000.pwm/0`).
    pub pin: String,
    /// Low is active.
    pub active_low: bool,
    /// Input or output, with what only that needs.
    pub direction: GpioDirection,
}

/// Direction of a line.
#[derive(Clone, Debug)]
pub enum GpioDirection {
    /// Read.
    In {
        /// Pull resistor.
        pull: Pull,
        /// The level must be stable this long.
        debounce: Duration,
    },
    /// Driven.
    Out {
        /// Level at start; there is no default on purpose.
        initial: bool,
        /// Level at exit, where it is to be changed.
        at_exit: Option<bool>,
    },
    /// Driven, on for a share of the time.
    Pwm {
        /// One turn of on and off.
        period: Duration,
        /// Duty at start; there is no default on purpose.
        initial: Duty,
        /// Duty at exit, where it is to be changed.
        at_exit: Option<Duty>,
    },
}

/// Pull resistor of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    /// To the supply.
    Up,
    /// To ground.
    Down,
    /// Off.
    None,
}

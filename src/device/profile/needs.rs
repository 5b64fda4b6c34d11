//! How an appliance is spoken to, and what its link must know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::Regex;
use sipliance_driver::Channel;

use super::Write;
use crate::config::{GpioLine, MeterSettings, SerialSettings};

/// How the appliance is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// Topics of a broker.
    Mqtt,
    /// Frames on a serial port.
    Serial,
    /// Registers of a Modbus unit.
    Modbus,
    /// Telegrams of a smart meter on a serial port.
    P1,
    /// Read-outs of a meter by IEC 62056-21.
    Iec62056,
    /// Lines of the Pi.
    Gpio,
    /// Files of the 1-Wire bus.
    W1,
    /// Events and words of another gateway or server, over SIP.
    Sip,
}

impl DriverKind {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Mqtt, Self::Serial, Self::Modbus, Self::P1, Self::Iec62056, Self::Gpio, Self::W1, Self::Sip];

    /// The driver of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|driver| driver.word() == word)
    }

    /// The word in a profile.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Serial => "serial",
            Self::Modbus => "modbus",
            Self::P1 => "p1",
            Self::Iec62056 => "iec62056-21",
            Self::Gpio => "gpio",
            Self::W1 => "w1",
            Self::Sip => "sip",
        }
    }

    /// Whether it tells of moments by itself; elsewhere an event is a change of a property.
    pub fn tells(self) -> bool {
        matches!(self, Self::Mqtt | Self::Serial | Self::Gpio | Self::Sip)
    }

    /// Whether one thing is said at a time, and answered.
    pub fn asks(self) -> bool {
        matches!(self, Self::Serial | Self::Modbus | Self::Iec62056 | Self::W1)
    }
}

/// Something that is asked without being told to, and changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Where to.
    pub channel: Channel,
    /// What.
    pub payload: Bytes,
}

/// What a link must know and do for a device.
#[derive(Clone, Debug)]
pub enum LinkNeeds {
    /// A broker needs nothing; the queries go out after every (re)connect.
    Mqtt {
        /// Queries.
        hello: Vec<Write>,
    },
    /// A serial port.
    Serial(Box<SerialNeeds>),
    /// A Modbus line.
    Modbus(ModbusNeeds),
    /// A meter that is read out.
    Meter(MeterNeeds),
    /// Lines.
    Gpio(Vec<GpioLine>),
    /// The folder of one device on the 1-Wire bus.
    W1(Arc<str>),
    /// What is watched elsewhere.
    Sip(Watched),
}

/// What of an address elsewhere is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// An appliance: values with their names.
    Appliance,
    /// A person: reachable or not.
    Presence,
    /// A mailbox.
    MessageSummary,
}

impl Watched {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Appliance, Self::Presence, Self::MessageSummary];

    /// The word in profiles and home files, and the name of the event package.
    pub fn word(self) -> &'static str {
        match self {
            Self::Appliance => "appliance",
            Self::Presence => "presence",
            Self::MessageSummary => "message-summary",
        }
    }
}

impl LinkNeeds {
    /// How long an answer may take.
    pub fn timeout(&self) -> Option<Duration> {
        match self {
            Self::Serial(needs) => Some(needs.settings.timeout),
            Self::Modbus(needs) => Some(needs.timeout),
            Self::Meter(needs) if needs.settings.fixed => Some(SLOW_READ_OUT),
            Self::Meter(_) => Some(READ_OUT),
            Self::W1(_) => Some(W1_TIMEOUT),
            Self::Mqtt { .. } | Self::Gpio(_) | Self::Sip(_) => None,
        }
    }

    /// How often the house repeats an unanswered query; the modbus driver does it by itself.
    pub fn retries(&self) -> u32 {
        match self {
            Self::Serial(needs) => needs.retries,
            Self::Meter(needs) => needs.retries,
            Self::Modbus(_) | Self::W1(_) | Self::Mqtt { .. } | Self::Gpio(_) | Self::Sip(_) => 0,
        }
    }
}

/// A probe converts for 0.75 s, and the bus may be long.
const W1_TIMEOUT: Duration = Duration::from_secs(5);

/// 4 kB need 17 s at 2400 baud, and may be sent three times.
const READ_OUT: Duration = Duration::from_secs(60);
/// 4 kB need 140 s at 300 baud.
const SLOW_READ_OUT: Duration = Duration::from_secs(300);

/// How a meter is read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterNeeds {
    /// What all meters on the port share; the path is the home file's.
    pub settings: MeterSettings,
    /// The sign-on, and how often.
    pub query: (Query, Duration),
    /// How often a read-out that failed is repeated.
    pub retries: u32,
}

/// How a Modbus unit is reached and spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusNeeds {
    /// The unit's number.
    pub unit: u8,
    /// Bits per second on a serial line.
    pub baud: u32,
    /// `8N1`, `8E1`, … on a serial line.
    pub format: String,
    /// Silence before each request.
    pub gap: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How often an unanswered reading is repeated.
    pub retries: u32,
    /// Words that may be read in vain to make one request of two.
    pub join: u16,
}

/// How a serial port is opened and spoken on. Devices that share a port must agree on it.
#[derive(Clone, Debug)]
pub struct SerialNeeds {
    /// Everything but the path, which the home file gives.
    pub settings: SerialSettings,
    /// Queries after every (re)connect.
    pub hello: Vec<Bytes>,
    /// A reply that means: refused.
    pub fault: Option<Regex>,
    /// How often an unanswered query is repeated.
    pub retries: u32,
    /// Frames are spelled in hex (`A0 01`) for patterns.
    pub hex: bool,
}

impl SerialNeeds {
    /// Complete settings for the port at `path`.
    pub fn at(&self, path: std::path::PathBuf) -> SerialSettings {
        SerialSettings { path, ..self.settings.clone() }
    }

    /// Whether two devices can share one port.
    pub fn agrees(&self, other: &Self) -> bool {
        let (a, b) = (&self.settings, &other.settings);
        a.baud == b.baud
            && a.format == b.format
            && a.framing == b.framing
            && a.gap == b.gap
            && a.echo == b.echo
            && a.wake == b.wake
            && self.hex == other.hex
    }
}

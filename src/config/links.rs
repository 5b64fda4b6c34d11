//! What the drivers need to know: links and their settings.

use std::time::Duration;

use secrecy::SecretString;
use sipliance_driver::{Framing, Wake};

use super::{DeviceId, HostPort, LinkId};
use crate::device::profile::Watched;

/// What a driver owns.
#[derive(Clone, Debug)]
pub struct Link {
    /// Name in the home file (`main`, `rs485`) or of the device that has the link to itself.
    pub name: String,
    /// What the driver needs to know.
    pub settings: LinkSettings,
}

impl Link {
    /// What people call it: `broker main` and `serial port main` may stand side by side.
    pub fn title(&self) -> String {
        match self.settings {
            LinkSettings::Mqtt(_) => format!("broker {}", self.name),
            LinkSettings::Serial(_) => format!("serial port {}", self.name),
            LinkSettings::Gpio(_) => format!("GPIO of {}", self.name),
            LinkSettings::Modbus(_) => format!("Modbus gateway {}", self.name),
            LinkSettings::Meter(_) => format!("meter port {}", self.name),
            LinkSettings::W1 => format!("1-Wire of {}", self.name),
            LinkSettings::Sip(_) => format!("gateway of {}", self.name),
            LinkSettings::Sim => self.name.clone(),
        }
    }
}

/// Settings per kind of link.
#[derive(Clone, Debug)]
pub enum LinkSettings {
    /// An MQTT broker.
    Mqtt(MqttSettings),
    /// A serial port.
    Serial(SerialSettings),
    /// Modbus units.
    Modbus(ModbusSettings),
    /// Meters that are read out.
    Meter(MeterSettings),
    /// Lines of the Pi.
    Gpio(GpioSettings),
    /// The 1-Wire bus of the Pi.
    W1,
    /// An address elsewhere. No driver has it: the gateway itself watches it.
    Sip(SipSettings),
    /// A simulated wire, of the demo and of tests.
    Sim,
}

/// What is watched elsewhere, and over whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipSettings {
    /// The address: `sip:plug@mum.example`.
    pub target: String,
    /// Index into [`Config::upstreams`].
    pub via: usize,
    /// What of it.
    pub watched: Watched,
}

/// How to reach an MQTT broker.
#[derive(Clone, Debug)]
pub struct MqttSettings {
    /// Where the broker is.
    pub server: HostPort,
    /// Login name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<SecretString>,
    /// MQTT client id.
    pub client_id: String,
    /// Speak TLS.
    pub tls: Option<MqttTls>,
    /// MQTT 5 rather than 3.1.1.
    pub five: bool,
    /// Where the gateway says whether it lives; `None`: nowhere.
    pub status: Option<String>,
}

/// What Home Assistant is told over a broker, and who it is in this house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeAssistant {
    /// The broker.
    pub link: LinkId,
    /// What Home Assistant's discovery topics begin with.
    pub prefix: String,
    /// What the topics of the house begin with: `sipliance/home.example`.
    pub tree: String,
    /// Where the gateway says whether it lives.
    pub status: String,
    /// The appliances that are announced.
    pub devices: Vec<DeviceId>,
    /// The user whose rights it has; `None`: it is told, and commands nothing.
    pub user: Option<String>,
}

/// Certificate files of an MQTT connection, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MqttTls {
    /// The authority that signed the broker's certificate; `None`: those of the system.
    pub ca: Option<std::path::PathBuf>,
    /// Our own certificate.
    pub cert: Option<std::path::PathBuf>,
    /// Its private key.
    pub key: Option<std::path::PathBuf>,
}

/// How to open a serial port and cut its bytes into frames.
#[derive(Clone, Debug)]
pub struct SerialSettings {
    /// Device path.
    pub path: std::path::PathBuf,
    /// Bits per second.
    pub baud: u32,
    /// `8N1`, `7E1`, …
    pub format: String,
    /// How bytes are made of frames.
    pub framing: Framing,
    /// Silence between two requests.
    pub gap: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The device sends back what it was sent.
    pub echo: bool,
    /// What rouses a sleeping device.
    pub wake: Option<Wake>,
}

/// How to open the port of meters that are read out by IEC 62056-21.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterSettings {
    /// Device path.
    pub path: std::path::PathBuf,
    /// Speed of the sign-on.
    pub baud: u32,
    /// `7E1`, …
    pub format: String,
    /// Stay at that speed, whatever the meter offers.
    pub fixed: bool,
}

/// A Modbus line and how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModbusSettings {
    /// Where the units are.
    pub line: ModbusLine,
    /// Silence between two requests.
    pub gap: Duration,
    /// How long a unit may take to answer.
    pub timeout: Duration,
    /// How often an unanswered reading is repeated; a write never is.
    pub retries: u32,
}

/// Where Modbus units are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModbusLine {
    /// On a serial line (Modbus RTU).
    Rtu {
        /// Device path.
        path: std::path::PathBuf,
        /// Bits per second.
        baud: u32,
        /// `8N1`, `8E1`, …
        format: String,
    },
    /// Behind a network address (Modbus TCP).
    Tcp(HostPort),
}

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
    /// Line name over all chips (`GPIO17`).
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

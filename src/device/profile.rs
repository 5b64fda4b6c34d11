//! Device profiles: what a model of appliance can do and how it is spoken to.
//!
//! A [`Profile`] is one file of `device-profiles/`. [`Profile::instantiate`] fills in its params and
//! the overrides of the home file and makes a [`Model`], which is all that the house works with.

mod actions;
mod cases;
mod decode;
mod duration;
mod fill;
mod linking;
mod map;
mod properties;
mod template;
mod transport;
mod typed;

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use sipliance_driver::Channel;

pub use cases::{Case, Drive, Expect, Given, Level, Sends, Stimulus};
pub use duration::spell;
pub use map::Map;
pub use template::{Body, Hole, HoleForm, Template};

use crate::config::fault::{Faults, Place};
use crate::config::yaml::Node;
use crate::config::{GpioLine, SerialSettings};
use crate::device::value::{Kind, Value};

/// Most properties, actions and events in one profile, each; more is a fault.
pub const MAX_ITEMS: usize = 64;
/// Most steps of one action, alternatives of one read, or `hello` queries; more is a fault.
pub const MAX_STEPS: usize = 16;
/// Longest `confirm`, `within`, `timeout`; longer is a fault.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

/// One profile file, checked with the example values of its params.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its id; also the file name.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// Hints for people, such as a setting that the appliance needs.
    pub about: Option<Arc<str>>,
    /// What the home file must or may give.
    pub params: Vec<Param>,
    /// Seeing this topic (with `<param>` as the wildcard) proposes a device.
    pub discover: Option<String>,
    /// The profile's own tests, about [`Profile::example`].
    pub cases: Vec<Case>,
    /// The model with the example or default value of each param.
    pub example: Arc<Model>,
    source: Arc<Node>,
}

/// What the home file must (no default) or may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Its name between the angle brackets.
    pub name: String,
    /// For people.
    pub about: Option<String>,
    /// A value that could stand there; the profile's tests use it.
    pub example: Option<String>,
    /// Used when the home file says nothing.
    pub default: Option<String>,
}

/// How the appliance is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// Topics of a broker.
    Mqtt,
    /// Frames on a serial port.
    Serial,
    /// Lines of the Pi.
    Gpio,
}

impl DriverKind {
    /// The word in a profile.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Serial => "serial",
            Self::Gpio => "gpio",
        }
    }
}

/// A profile made concrete for one device.
#[derive(Debug)]
pub struct Model {
    /// Id of the profile.
    pub profile: Arc<str>,
    /// Name of the profile, for people.
    pub name: Arc<str>,
    /// How it is spoken to.
    pub driver: DriverKind,
    /// What tells that it is reachable.
    pub online: Online,
    /// What its link must know, and what is said after every (re)connect.
    pub link: LinkNeeds,
    /// State, in the order of the profile.
    pub properties: Vec<Property>,
    /// What it can be told to do beyond setting a property.
    pub actions: Vec<Action>,
    /// What happens and is over at once.
    pub events: Vec<Momentary>,
    /// How a phone shows and works it.
    pub phone: Phone,
}

impl Model {
    /// The index of a property.
    pub fn property(&self, id: &str) -> Option<usize> {
        self.properties.iter().position(|property| &*property.id == id)
    }

    /// The property that a phone works with: the lamp's, else the first that is settable, else the first.
    pub fn main(&self) -> Option<&Property> {
        let lamp = self.phone.lamp.as_ref().and_then(|lamp| self.properties.get(lamp.property));
        let settable = || self.properties.iter().find(|property| property.write.is_some());
        lamp.or_else(settable).or_else(|| self.properties.first())
    }
}

/// What tells that a device is reachable.
#[derive(Clone, Debug)]
pub enum Online {
    /// The link being up, and for MQTT anything heard.
    Link,
    /// A topic that says so.
    Topic(Read),
    /// Offline after this long without a word.
    Silent(Duration),
    /// Offline after so many unanswered queries in a row.
    Fails(u32),
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
    /// Lines.
    Gpio(Vec<GpioLine>),
}

/// How a serial port is opened and spoken on. Devices that share a port must agree on it.
#[derive(Clone, Debug)]
pub struct SerialNeeds {
    /// Everything but the path, which the home file gives.
    pub settings: SerialSettings,
    /// Queries after every (re)connect.
    pub hello: Vec<Arc<str>>,
    /// A reply that means: refused.
    pub fault: Option<Regex>,
    /// How often an unanswered query is repeated.
    pub retries: u32,
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
            && a.frame_end == b.frame_end
            && a.send_end == b.send_end
            && a.max_frame == b.max_frame
            && a.trim == b.trim
            && a.gap == b.gap
            && a.timeout == b.timeout
    }
}

/// Whether a property is for everyday use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Category {
    /// Yes.
    Main,
    /// About the appliance itself: battery, signal, hours.
    Diagnostic,
    /// A setting of the appliance.
    Config,
}

/// One piece of state.
#[derive(Clone, Debug)]
pub struct Property {
    /// Id in the profile.
    pub id: Arc<str>,
    /// For people; the id where the profile gives none.
    pub name: Arc<str>,
    /// Type.
    pub kind: Kind,
    /// Unit of a number.
    pub unit: Option<Arc<str>>,
    /// Digits after the point when shown.
    pub decimals: Option<u8>,
    /// Smallest and largest value that may be set.
    pub range: Option<(f64, f64)>,
    /// Distance of the values that may be set.
    pub step: Option<f64>,
    /// What the value is about: `temperature`, `power`, `garage` …
    pub class: Option<Arc<str>>,
    /// Everyday, diagnostic or config.
    pub category: Category,
    /// Granted by name only.
    pub sensitive: bool,
    /// Where the value comes from; alternatives of one value.
    pub reads: Vec<Read>,
    /// Where an accepted goal shows while the value still moves.
    pub target: Option<Read>,
    /// How it is set; its presence makes it settable.
    pub write: Option<Write>,
    /// A command succeeds only when the device reports the new value within this time.
    pub confirm: Option<Duration>,
    /// What must be true before it is set: property index and value.
    pub only_if: Vec<(usize, Value)>,
    /// Least time between two commands.
    pub min_gap: Option<Duration>,
    /// When a change is worth a report.
    pub notify: Notify,
    /// After this age the value is stale.
    pub stale_after: Option<Duration>,
    /// Readings are ignored for this long after the link came up.
    pub settle: Option<Duration>,
}

/// When a change is worth a report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Notify {
    /// Smaller changes wait.
    pub min_change: Option<f64>,
    /// Least time between two reports of this property.
    pub min_gap: Option<Duration>,
    /// A change, however small, is reported at the latest this long after the last report.
    pub at_least: Option<Duration>,
}

/// Where a value comes from and how it is understood.
#[derive(Clone, Debug)]
pub struct Read {
    /// Where.
    pub source: Source,
    /// Wire text to value.
    pub map: Option<Map>,
    /// Factor on a number.
    pub scale: Option<f64>,
    /// Added to a number after `scale`.
    pub offset: Option<f64>,
    /// Sentinels: raw texts or finished numbers that are no reading.
    pub invalid: Vec<String>,
    /// A bool is true where the number is above this.
    pub above: Option<f64>,
    /// A bool stays true for this long after it was last true.
    pub hold: Option<Duration>,
    /// Whether retained copies count.
    pub retained: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// An MQTT topic.
    Topic {
        /// The topic, without wildcards.
        channel: Channel,
        /// JSON Pointer (RFC 6901) into the payload; `None`: the whole payload.
        pointer: Option<String>,
    },
    /// A frame on a serial port.
    Frame {
        /// A query, and how often it is asked.
        ask: Option<(Arc<str>, Option<Duration>)>,
        /// Group 1, or the whole match where there is no group, is the raw text.
        pattern: Regex,
    },
    /// A GPIO line: active is true.
    Line {
        /// The line's name in `link.lines`.
        channel: Channel,
        /// Its level at start, for an output: it is known from what was driven.
        output: Option<bool>,
    },
    /// Another property of the device, for an event that is a change of state.
    Property(usize),
}

/// How something is said to the device.
#[derive(Clone, Debug)]
pub struct Write {
    /// What is sent where.
    pub target: Target,
    /// Value to wire text per placeholder (`value`, or an argument's name).
    pub maps: Vec<(Arc<str>, Map)>,
    /// Wait this long for the device's reply (serial).
    pub timeout: Option<Duration>,
    /// The reply that means done (serial).
    pub done: Option<Regex>,
}

/// What is sent where.
#[derive(Clone, Debug)]
pub enum Target {
    /// Text to an MQTT topic.
    Topic(Channel, Template),
    /// A JSON document to an MQTT topic.
    Json(Channel, Body),
    /// A frame on the serial port, without its end.
    Frame(Template),
    /// A level on a GPIO line.
    Line(Channel),
    /// A pulse on a GPIO line.
    Pulse(Channel, Duration),
}

/// Something that the device can be told to do.
#[derive(Clone, Debug)]
pub struct Action {
    /// Id in the profile.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// Granted by name only.
    pub sensitive: bool,
    /// What it may be given.
    pub args: Vec<Arg>,
    /// What must be true before: property index and value.
    pub only_if: Vec<(usize, Value)>,
    /// What is sent, one after the other.
    pub steps: Vec<Write>,
    /// The proof: property index, value, and how long it may take.
    pub expect: Option<(usize, Value, Duration)>,
    /// Least time between two.
    pub min_gap: Option<Duration>,
}

/// An argument of an action.
#[derive(Clone, Debug)]
pub struct Arg {
    /// Its name.
    pub id: Arc<str>,
    /// Its type.
    pub kind: Kind,
    /// Smallest and largest number.
    pub range: Option<(f64, f64)>,
    /// Used when it is not given; without a default it must be given.
    pub default: Option<Value>,
}

/// Something that happens and is over at once; never kept, never replayed.
#[derive(Clone, Debug)]
pub struct Momentary {
    /// Id in the profile.
    pub id: Arc<str>,
    /// For people.
    pub name: Arc<str>,
    /// What it is about: `doorbell` …
    pub class: Option<Arc<str>>,
    /// What it can say.
    pub values: Vec<Arc<str>>,
    /// Where it is seen.
    pub from: Read,
    /// Presses of a button told apart.
    pub clicks: Option<Clicks>,
    /// At most one event in this time.
    pub quiet: Option<Duration>,
}

/// How presses of a button are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clicks {
    /// A second press within this time after the first was released makes a `double`.
    pub double: Option<Duration>,
    /// Pressed this long makes a `hold`.
    pub hold: Option<Duration>,
}

/// How a phone shows and works a device.
#[derive(Clone, Debug, Default)]
pub struct Phone {
    /// What the lamp key shows.
    pub lamp: Option<LampRule>,
    /// The command of a key press or a dialled number, in the words of a MESSAGE.
    pub press: Option<Arc<str>>,
}

/// What lights a lamp.
#[derive(Clone, Debug)]
pub struct LampRule {
    /// Property index.
    pub property: usize,
    /// The values that light it; `true` for a bool where the profile says nothing.
    pub lit_when: Vec<Value>,
}

impl Profile {
    /// Reads a profile. Every mistake is added to `faults`; `None` when it cannot be used.
    pub fn read(node: &Node, faults: &mut Faults) -> Option<Self> {
        decode::profile(node, faults)
    }

    /// Makes the profile concrete for one device. `path` is the device's key path in the home file
    /// (`devices.coffee`), `place` where the device stands; faults are those of the home file.
    pub fn instantiate(
        &self,
        path: &str,
        place: Place,
        params: Option<&Node>,
        overrides: Option<&Node>,
        faults: &mut Faults,
    ) -> Option<Model> {
        decode::instantiate(self, &fill::Home { path, place, params, overrides }, faults)
    }
}

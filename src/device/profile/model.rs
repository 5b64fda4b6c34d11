//! What a profile says, once it is read and made concrete.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use regex::Regex;
use sipliance_driver::Channel;

use super::{Body, DriverKind, Form, LinkNeeds, Map, Query, Registers, Template};
use crate::device::value::{Kind, Value};

/// A profile made concrete for one device.
#[derive(Clone, Debug)]
pub struct Model {
    /// Id of the profile.
    pub profile: Arc<str>,
    /// Name of the profile, for people.
    pub name: Arc<str>,
    /// What kind of appliance it is: `lamp`, `thermostat`. The home file may know better.
    pub kind: Option<Arc<str>>,
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

    /// Every MQTT topic that it is heard on or written to.
    pub fn topics(&self) -> impl Iterator<Item = &Channel> {
        let online = match &self.online {
            Online::Topic(read) => Some(&**read),
            Online::Link | Online::Silent(_) | Online::Fails(_) => None,
        };
        let reads = self.properties.iter().flat_map(|of| of.reads.iter().chain(&of.target));
        let reads = reads.chain(online).chain(self.events.iter().map(|event| &event.from));
        let writes = self.properties.iter().filter_map(|of| of.write.as_ref());
        let writes = writes.chain(self.actions.iter().flat_map(|action| &action.steps));
        let hello = match &self.link {
            LinkNeeds::Mqtt { hello } => hello.as_slice(),
            _ => &[],
        };
        let heard = reads.filter_map(|read| match &read.source {
            Source::Topic { channel, .. } => Some(channel),
            _ => None,
        });
        let written = writes.chain(hello).filter_map(|write| match &write.target {
            Target::Topic(channel, _) | Target::Json(channel, _) => Some(channel),
            _ => None,
        });
        heard.chain(written)
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
    /// The link being up, and for MQTT anything heard; of what is elsewhere, what is told.
    Link,
    /// A topic that says so.
    Topic(Box<Read>),
    /// Offline after this long without a word.
    Silent(Duration),
    /// Offline after so many unanswered queries in a row.
    Fails(u32),
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

impl Property {
    /// Whether a reading shows what was commanded. A number comes back as the device can hold it: in whole
    /// steps of its scale, or as a float of 32 bits; and what people see as the same is the same.
    pub fn shows(&self, wanted: &Value, seen: &Value) -> bool {
        let (Some(a), Some(b)) = (wanted.number(), seen.number()) else { return wanted == seen };
        let grain = self.write.as_ref().and_then(|write| write.scale).map_or(0.0, |scale| scale.abs() / 2.0);
        let digits = self.decimals.map_or(0.0, |digits| 0.5 * 10f64.powi(-i32::from(digits)));
        (a - b).abs() <= grain.max(digits).max(a.abs() * 1e-6)
    }
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

impl Read {
    /// One that takes what `source` gives as it is.
    pub fn plain(source: Source) -> Self {
        Self {
            source,
            map: None,
            scale: None,
            offset: None,
            invalid: Vec::new(),
            above: None,
            hold: None,
            retained: true,
        }
    }
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
        ask: Option<(Query, Option<Duration>)>,
        /// Group 1, or the whole match where there is no group, is the raw text.
        pattern: Regex,
        /// The raw text is a number in hex.
        hex: bool,
    },
    /// Registers, coils or inputs of a Modbus unit.
    Registers(Registers),
    /// A line of a smart meter's telegram.
    Obis {
        /// `1-0:1.7.0`
        code: String,
        /// Which of the values in brackets, from 1.
        field: usize,
        /// What brings it, and how often; `None` where telegrams come by themselves.
        read_out: Option<(Query, Duration)>,
    },
    /// A file of a 1-Wire device.
    File {
        /// Folder and file.
        channel: Channel,
        /// How often it is read.
        every: Duration,
    },
    /// A GPIO line: active is true.
    Line {
        /// The line's name in `link.lines`.
        channel: Channel,
        /// Its level at start (active is true), for an output. The driver reads outputs back.
        output: Option<bool>,
    },
    /// Another property of the device, for an event that is a change of state.
    Property(usize),
    /// An item of what is told elsewhere: the name of a value, or of an event.
    Item(Arc<str>),
}

impl Source {
    /// What is asked to learn the value, and how often; `None` where the device speaks up by itself.
    pub fn query(&self) -> Option<(Query, Option<Duration>)> {
        match self {
            Self::Frame { ask, .. } => ask.clone(),
            Self::Registers(registers) => Some((registers.query(), Some(registers.every))),
            Self::File { channel, every } => {
                Some((Query { channel: channel.clone(), payload: Bytes::new() }, Some(*every)))
            }
            Self::Obis { read_out, .. } => {
                read_out.as_ref().map(|(query, every)| (query.clone(), Some(*every)))
            }
            Self::Topic { .. } | Self::Line { .. } | Self::Property(_) | Self::Item(_) => None,
        }
    }
}

/// How something is said to the device.
#[derive(Clone, Debug)]
pub struct Write {
    /// What is sent where.
    pub target: Target,
    /// Value to wire text per placeholder (`value`, or an argument's name).
    pub maps: Vec<(Arc<str>, Map)>,
    /// A number that is set is divided by this, after `offset` was taken off: a `read:` backwards.
    pub scale: Option<f64>,
    /// See `scale`.
    pub offset: Option<f64>,
    /// Wait this long for the device's reply (serial).
    pub timeout: Option<Duration>,
    /// The reply that means done (serial).
    pub done: Option<Regex>,
}

impl Write {
    /// One that says what `target` says and nothing more.
    pub fn plain(target: Target) -> Self {
        Self { target, maps: Vec::new(), scale: None, offset: None, timeout: None, done: None }
    }
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
    /// The same, spelled in hex.
    Hex(Template),
    /// Holding registers or a coil of a Modbus unit.
    Register {
        /// Unit, table and address.
        channel: Channel,
        /// How the value becomes words.
        form: Form,
    },
    /// A level on a GPIO line.
    Line(Channel),
    /// A pulse on a GPIO line.
    Pulse(Channel, Duration),
    /// Words to what is elsewhere.
    Say(Template),
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

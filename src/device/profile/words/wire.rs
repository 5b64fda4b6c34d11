//! The words that a driver decides: `link:`, `online:`, `read:`, `write:`, `do:`, `from:`.

use super::super::{DriverKind, Watched};
use super::block;
use super::local::{FROM_GPIO, FROM_W1, LINK_GPIO, LINK_W1, READ_GPIO, READ_W1, STEP_GPIO, WRITE_GPIO};
use super::serial::{
    FROM_IEC, FROM_MODBUS, FROM_P1, FROM_SERIAL, LINK_IEC, LINK_MODBUS, LINK_P1, LINK_SERIAL, READ_IEC,
    READ_MODBUS, READ_P1, READ_SERIAL, STEP_SERIAL, WRITE_MODBUS, WRITE_SERIAL,
};
use crate::config::yaml::words::{Block, Takes, Word};

const RETAINED: fn() -> Vec<&'static str> = || vec!["use", "ignore"];
const WATCHED: fn() -> Vec<&'static str> = || Watched::ALL.iter().map(|watched| watched.word()).collect();
/// `link:` of a driver.
pub(super) fn link(driver: &str) -> Option<Takes> {
    Some(Takes::Block(match DriverKind::of(driver)? {
        DriverKind::Mqtt => &LINK_MQTT,
        DriverKind::Serial => &LINK_SERIAL,
        DriverKind::Modbus => &LINK_MODBUS,
        DriverKind::P1 => &LINK_P1,
        DriverKind::Iec62056 => &LINK_IEC,
        DriverKind::Gpio => &LINK_GPIO,
        DriverKind::W1 => &LINK_W1,
        DriverKind::Sip => &LINK_SIP,
    }))
}

/// `online:` of a driver.
pub(super) fn online(driver: &str) -> Option<Takes> {
    Some(Takes::Block(match DriverKind::of(driver)? {
        DriverKind::Mqtt => &ONLINE_MQTT,
        _ => &ONLINE,
    }))
}

/// One `read:`.
pub(in super::super) fn read(driver: DriverKind) -> &'static Block {
    match driver {
        DriverKind::Mqtt => &READ_MQTT,
        DriverKind::Serial => &READ_SERIAL,
        DriverKind::Modbus => &READ_MODBUS,
        DriverKind::P1 => &READ_P1,
        DriverKind::Iec62056 => &READ_IEC,
        DriverKind::Gpio => &READ_GPIO,
        DriverKind::W1 => &READ_W1,
        DriverKind::Sip => &READ_SIP,
    }
}

/// `write:`; `None` where nothing can be set.
pub(in super::super) fn write(driver: DriverKind) -> Option<&'static Block> {
    match driver {
        DriverKind::Mqtt => Some(&WRITE_MQTT),
        DriverKind::Serial => Some(&WRITE_SERIAL),
        DriverKind::Modbus => Some(&WRITE_MODBUS),
        DriverKind::Gpio => Some(&WRITE_GPIO),
        DriverKind::Sip => Some(&WRITE_SIP),
        DriverKind::P1 | DriverKind::Iec62056 | DriverKind::W1 => None,
    }
}

/// One step of `do:`; `None` where there are no actions.
pub(in super::super) fn step(driver: DriverKind) -> Option<&'static Block> {
    match driver {
        DriverKind::Mqtt => Some(&STEP_MQTT),
        DriverKind::Serial => Some(&STEP_SERIAL),
        DriverKind::Gpio => Some(&STEP_GPIO),
        DriverKind::Sip => Some(&STEP_SIP),
        DriverKind::Modbus | DriverKind::P1 | DriverKind::Iec62056 | DriverKind::W1 => None,
    }
}

/// `from:` of an event.
pub(in super::super) fn from(driver: DriverKind) -> &'static Block {
    match driver {
        DriverKind::Mqtt => &FROM_MQTT,
        DriverKind::Serial => &FROM_SERIAL,
        DriverKind::Modbus => &FROM_MODBUS,
        DriverKind::P1 => &FROM_P1,
        DriverKind::Iec62056 => &FROM_IEC,
        DriverKind::Gpio => &FROM_GPIO,
        DriverKind::W1 => &FROM_W1,
        DriverKind::Sip => &FROM_SIP,
    }
}

/// What every `read:` may say about the raw text.
pub(super) static MAP: [Word; 1] =
    [Word::may("map", Takes::Each(&Takes::Text), "Raw text to value. Other texts are no value.")];

pub(super) static HOLD: [Word; 1] =
    [Word::may("hold", Takes::Time, "A `bool` stays true for so long after it was last true.")];

/// What a `read:` may say about numbers.
pub(super) static SCALED: [Word; 4] = [
    Word::may("scale", Takes::Number, "A number is multiplied by this."),
    Word::may("offset", Takes::Number, "Then this is added."),
    Word::may(
        "invalid",
        Takes::Either(&[Takes::List(&Takes::Text), Takes::Text]),
        "Raw texts or finished numbers that are no reading: `[85, nan]`.",
    ),
    Word::may("above", Takes::Number, "A `bool` is true where the raw number is larger."),
];

/// What every `from:` may say instead.
pub(super) static ANY_FROM: [Word; 2] = [
    Word::may("property", Takes::Text, "Instead: a change of this property is the event."),
    Word::may("quiet", Takes::Time, "At most one event in this time."),
];

/// How the raw text of an event becomes one of its values.
pub(super) static MAP_EVENT: [Word; 1] = [Word::may(
    "map",
    Takes::Each(&Takes::Text),
    "Raw text, or the new value of the property, to the event's value.",
)];

static ITEM_EVENT: [Word; 1] = [Word::may("item", Takes::Text, "The name of an event there.")];

/// How numbers go back to the wire.
pub(super) static BACK: [Word; 2] = [
    Word::may("scale", Takes::Number, "As in `read`: a number that is set is divided by it."),
    Word::may("offset", Takes::Number, "As in `read`: taken off before."),
];

pub(super) static MAP_BACK: [Word; 1] =
    [Word::may("map", Takes::Each(&Takes::Text), "Value to text. Values that are not in it cannot be set.")];

pub(super) static MAP_ARGS: [Word; 1] = [Word::may(
    "map",
    Takes::Each(&Takes::Each(&Takes::Text)),
    "`{argument: {value: text}}`: how arguments are written.",
)];

// mqtt

/// `link:` of mqtt.
pub(in super::super) static LINK_MQTT: Block = block(
    "link of mqtt",
    "`link:`",
    &[&[
        Word::may("topic", Takes::Topic, "The topic of reads that give none."),
        Word::may("hello", Takes::List(&Takes::Block(&HELLO)), "Queries after every (re)connect."),
    ]],
    None,
);

/// One of `hello:`.
pub(in super::super) static HELLO: Block = block(
    "hello",
    "`hello:` of mqtt",
    &[&[
        Word::must("topic", Takes::Topic, "Where it is asked."),
        Word::may("payload", Takes::Text, "What is asked; without it, nothing."),
    ]],
    None,
);

/// `online:` of mqtt.
pub(in super::super) static ONLINE_MQTT: Block =
    block("online of mqtt", "`online:`", &[&SILENT, &TOPIC, &HEALTH], None);

static HEALTH: [Word; 1] = [Word::may(
    "map",
    Takes::Each(&Takes::OneOf(super::tests::healths)),
    "Raw text to `online`, `offline` or `asleep`. Other texts say nothing.",
)];

static SILENT: [Word; 1] = [Word::may("silent", Takes::Time, "Offline after so long without a word.")];

static TOPIC: [Word; 3] = [
    Word::may("topic", Takes::Topic, "The topic, without wildcards."),
    Word::may("json", Takes::Pointer, "JSON Pointer into the payload: `/ENERGY/Power`, `/switch:0/output`."),
    Word::may(
        "retained",
        Takes::OneOf(RETAINED),
        "`ignore`: stored copies do not count at all. Otherwise they are values of unknown age.",
    ),
];

pub(super) static READ_MQTT: Block = block("read of mqtt", "`read:`", &[&TOPIC, &MAP, &SCALED, &HOLD], None);
pub(super) static FROM_MQTT: Block = block("from of mqtt", "`from:`", &[&TOPIC, &MAP_EVENT, &ANY_FROM], None);
pub(super) static WRITE_MQTT: Block = block("write of mqtt", "`write:`", &[&PUBLISH, &MAP_BACK, &BACK], None);
pub(super) static STEP_MQTT: Block = block(
    "do of mqtt",
    "`do:`",
    &[&[Word::must("send", Takes::Block(&SEND), "What is published.")], &MAP_ARGS],
    None,
);
/// `send:` of mqtt.
pub(in super::super) static SEND: Block = block("send", "`send:`", &[&PUBLISH], None);

static PUBLISH: [Word; 3] = [
    Word::must("topic", Takes::Topic, "The topic. What is published is never retained."),
    Word::may("payload", Takes::Text, "A text; in a `write`, `<value>` where nothing is said."),
    Word::may("body", Takes::Any, "A JSON document, written as YAML: `{id: <channel:int>, on: <value>}`."),
];

// sip

/// `link:` of sip.
pub(in super::super) static LINK_SIP: Block = block(
    "link of sip",
    "`link:`",
    &[&[Word::must("event", Takes::OneOf(WATCHED), "What is watched there.")]],
    None,
);

static ITEM: [Word; 1] = [Word::must(
    "item",
    Takes::Text,
    "The name of a value there; of a person `reachable`, `busy`, `note`; of a mailbox `waiting`, `new`, `old`, `urgent`.",
)];
static SAY: [Word; 1] = [Word::must("say", Takes::Text, "Words to it: `set target <value>`.")];
pub(super) static READ_SIP: Block = block("read of sip", "`read:`", &[&ITEM, &MAP, &SCALED, &HOLD], None);
pub(super) static FROM_SIP: Block =
    block("from of sip", "`from:`", &[&ITEM_EVENT, &MAP_EVENT, &ANY_FROM], None);
pub(super) static WRITE_SIP: Block = block("write of sip", "`write:`", &[&SAY, &MAP_BACK], None);
pub(super) static STEP_SIP: Block = block("do of sip", "`do:`", &[&SAY, &MAP_ARGS], None);

// every other driver

/// `online:` of every driver but mqtt.
pub(in super::super) static ONLINE: Block = block(
    "online",
    "`online:`",
    &[
        &SILENT,
        &[Word::may(
            "fails",
            Takes::Int(1, 100),
            "serial, modbus, iec62056-21, w1: offline after so many unanswered queries in a row.",
        )],
    ],
    None,
);

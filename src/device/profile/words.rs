//! Every word of a profile: what the reader knows, what the schema says, and the tables of
//! `docs/profiles.md`.

mod local;
mod serial;
mod tests;
mod wire;

use super::DriverKind;
use crate::config::yaml::words::{Block, Takes, Word};

pub(super) use local::{CLICKS, LINE, LINK_GPIO, LINK_W1};
pub(super) use serial::{FRAME, LINK_IEC, LINK_MODBUS, LINK_P1, LINK_SERIAL, WAKE};
pub(super) use tests::{EXPECTED, MESSAGE, SENT, TEST};
pub(super) use wire::{HELLO, LINK_MQTT, LINK_SIP, ONLINE, ONLINE_MQTT, SEND, from, read, step, write};

/// Every block of the format.
static FAMILY: [&Block; 55] = [
    &PROFILE,
    &PARAM,
    &SIGN,
    &PROPERTY,
    &NOTIFY,
    &ACTION,
    &ARG,
    &PROOF,
    &EVENT,
    &CLICKS,
    &PHONE,
    &LINK_MQTT,
    &HELLO,
    &LINK_SERIAL,
    &FRAME,
    &WAKE,
    &LINK_MODBUS,
    &LINK_P1,
    &LINK_IEC,
    &LINK_W1,
    &LINK_SIP,
    &LINK_GPIO,
    &LINE,
    &ONLINE,
    &ONLINE_MQTT,
    &SEND,
    &TEST,
    &MESSAGE,
    &EXPECTED,
    &SENT,
    &wire::READ_MQTT,
    &serial::READ_SERIAL,
    &serial::READ_MODBUS,
    &serial::READ_P1,
    &serial::READ_IEC,
    &local::READ_GPIO,
    &local::READ_W1,
    &wire::READ_SIP,
    &wire::WRITE_MQTT,
    &serial::WRITE_SERIAL,
    &serial::WRITE_MODBUS,
    &local::WRITE_GPIO,
    &wire::WRITE_SIP,
    &wire::STEP_MQTT,
    &serial::STEP_SERIAL,
    &local::STEP_GPIO,
    &wire::STEP_SIP,
    &wire::FROM_MQTT,
    &serial::FROM_SERIAL,
    &serial::FROM_MODBUS,
    &serial::FROM_P1,
    &serial::FROM_IEC,
    &local::FROM_GPIO,
    &local::FROM_W1,
    &wire::FROM_SIP,
];

const fn block(
    name: &'static str,
    about: &'static str,
    words: &'static [&'static [Word]],
    others: Option<Takes>,
) -> Block {
    Block { name, about, words, others, needs: &[], family: &FAMILY }
}

/// The whole file.
pub static PROFILE: Block = block("profile", "the top of a profile", &[&PROFILE_WORDS], None);

static PROFILE_WORDS: [Word; 15] = [
    Word::must("format", Takes::OneOf(formats), "Version of the file format."),
    Word::must("profile", Takes::Text, "The id; also the file's name."),
    Word::must("name", Takes::Text, "The model, for people."),
    Word::may("about", Takes::Text, "Hints for people, such as a setting that the appliance needs."),
    Word::may(
        "kind",
        Takes::Text,
        "What kind of appliance it is, one word in lower case: `lamp`, `thermostat`. Addresses such as `d=lamp` mean all of a kind.",
    ),
    Word::must(
        "driver",
        Takes::OneOf(drivers),
        "How it is spoken to. It decides what `link`, `online`, `read`, `write`, `do` and `from` take.",
    ),
    Word::may("params", Takes::Ids(&PARAM), "What the home file gives for each device."),
    Word::may(
        "discover",
        Takes::Either(&[Takes::Text, Takes::Block(&SIGN), Takes::List(&SIGNS)]),
        "mqtt: the signs by which `sipliance discover` knows such a device: topics in which a `<param>` is what is different, or blocks.",
    ),
    Word::may("link", Takes::Chosen(wire::link), "How it is reached."),
    Word::may(
        "online",
        Takes::Chosen(wire::online),
        "What tells that the device is there. Without it, the link being up does.",
    ),
    Word::may("properties", Takes::Ids(&PROPERTY), "Its state, by id."),
    Word::may("actions", Takes::Ids(&ACTION), "What it can be told to do beyond setting a property, by id."),
    Word::may("events", Takes::Ids(&EVENT), "What happens and is over at once, by id."),
    Word::may("phone", Takes::Block(&PHONE), "How a phone shows and works it."),
    Word::may("tests", Takes::List(&Takes::Block(&TEST)), "What happens, and what must come of it."),
];

fn formats() -> Vec<&'static str> {
    vec!["1"]
}

fn drivers() -> Vec<&'static str> {
    DriverKind::ALL.iter().map(|driver| driver.word()).collect()
}

static SIGNS: Takes = Takes::Either(&[Takes::Text, Takes::Block(&SIGN)]);
static TEXTS: Takes = Takes::Either(&[Takes::Text, Takes::List(&Takes::Text)]);

/// An item of `discover:`
pub(super) static SIGN: Block = block(
    "sign",
    "a sign",
    &[&[
        Word::must(
            "topic",
            Takes::Text,
            "With `<param>`, also within a level (`switch:<channel>`), and `+` for any one level.",
        ),
        Word::may(
            "where",
            Takes::Each(&TEXTS),
            "By JSON Pointer what must stand there in the payload, one of the texts; `*` is any item of a list.",
        ),
        Word::may("has", TEXTS, "JSON Pointers to what must be there."),
        Word::may("starts", Takes::Each(&TEXTS), "By param how it must begin, with one of the texts."),
        Word::may("take", Takes::Each(&Takes::Pointer), "Params that stand in the payload."),
        Word::may(
            "each",
            Takes::Pointer,
            "The payload is a list of devices, there; pointers begin at each of them.",
        ),
        Word::may("name", Takes::Pointer, "Where the payload has a name for people."),
        Word::may(
            "maybe",
            Takes::Bool,
            "Alone it proposes nothing: the profile is named beside one that fits better.",
        ),
    ]],
    None,
);

/// `params: NAME:`
pub(super) static PARAM: Block = block(
    "param",
    "a param",
    &[&[
        Word::may("about", Takes::Text, "For people: what it is."),
        Word::may("example", Takes::Text, "A value that could stand there. The home file must give its own."),
        Word::may("default", Takes::Text, "The value where the home file gives none."),
    ]],
    None,
);

/// `properties: ID:`
pub(super) static PROPERTY: Block =
    block("property", "a property", &[&PROPERTY_WORDS], None).needing(&[("type", "enum", "values")]);

static PROPERTY_WORDS: [Word; 20] = [
    Word::must("type", Takes::OneOf(types), "Type of the value."),
    Word::may("values", Takes::List(&Takes::Text), "The values of an `enum`."),
    Word::may("name", Takes::Text, "For people; without it, the id."),
    Word::may("unit", Takes::Text, "Unit of a number: `W`, `kWh`, `°C`, `%`."),
    Word::may("decimals", Takes::Int(0, 9), "Digits behind the point when a `float` is shown."),
    Word::may("class", Takes::Text, "What the value is about: `temperature`, `power`, `garage`."),
    Word::may(
        "category",
        Takes::OneOf(categories),
        "`diagnostic` and `config` keep a property out of the short status.",
    ),
    Word::may("range", Takes::List(&Takes::Number), "`[smallest, largest]` that can be set."),
    Word::may("step", Takes::Number, "Distance of the values that can be set, counted from the smallest."),
    Word::may("sensitive", Takes::Bool, "Granted by name only, never by `\"*\"`."),
    Word::must(
        "read",
        Takes::Chosen(reads),
        "Where the value comes from; a list means alternatives of one value.",
    ),
    Word::may(
        "write",
        Takes::Chosen(writes),
        "How it is set; without it, the property can only be read. What it does not say is as in the first `read`, backwards.",
    ),
    Word::may("target", Takes::Chosen(reads_one), "A read that tells the goal while the value still moves."),
    Word::may(
        "confirm",
        Takes::Time,
        "Setting it succeeds only when a *reading* shows the value in this time.",
    ),
    Word::may(
        "only_if",
        Takes::Each(&Takes::Text),
        "`{other: value}` that must be known for certain before it is set.",
    ),
    Word::may("min_gap", Takes::Time, "Least time between two commands."),
    Word::may("notify", Takes::Block(&NOTIFY), "Which changes are worth a report."),
    Word::may("stale_after", Takes::Time, "An older value is shown as old and lights no lamp."),
    Word::may("settle", Takes::Time, "Readings do not count for so long after the link came up."),
    Word::may(
        "restore",
        Takes::Bool,
        "Of an output: `false` says aloud what holds anyway. It starts as `initial` says and never returns to an old state by itself.",
    ),
];

fn types() -> Vec<&'static str> {
    vec!["bool", "int", "float", "enum", "text", "time"]
}

fn categories() -> Vec<&'static str> {
    vec!["main", "diagnostic", "config"]
}

fn reads(driver: &str) -> Option<Takes> {
    Some(Takes::Blocks(read(DriverKind::of(driver)?)))
}

fn reads_one(driver: &str) -> Option<Takes> {
    Some(Takes::Block(read(DriverKind::of(driver)?)))
}

fn writes(driver: &str) -> Option<Takes> {
    write(DriverKind::of(driver)?).map(Takes::Block)
}

fn steps(driver: &str) -> Option<Takes> {
    step(DriverKind::of(driver)?).map(Takes::ListOf)
}

fn sources(driver: &str) -> Option<Takes> {
    Some(Takes::Block(from(DriverKind::of(driver)?)))
}

/// `notify:`
pub(super) static NOTIFY: Block = block(
    "notify",
    "`notify:`",
    &[&[
        Word::may("min_change", Takes::Number, "A smaller change of a number waits."),
        Word::may("min_gap", Takes::Time, "Least time between two reports."),
        Word::may("at_least", Takes::Time, "A small change is told at the latest after this."),
    ]],
    None,
);

/// `actions: ID:`
pub(super) static ACTION: Block = block(
    "action",
    "an action",
    &[&[
        Word::may("name", Takes::Text, "For people; without it, the id."),
        Word::may("sensitive", Takes::Bool, "Granted by name only, never by `\"*\"`."),
        Word::may("args", Takes::Ids(&ARG), "What it may be told with it, by name."),
        Word::may(
            "only_if",
            Takes::Each(&Takes::Text),
            "`{property: value}` that must be known for certain before.",
        ),
        Word::must("do", Takes::Chosen(steps), "A list of what is sent, one after the other."),
        Word::may(
            "expect",
            Takes::Block(&PROOF),
            "`{property: value, within: 20s}`: only this reading proves that it was done.",
        ),
        Word::may("min_gap", Takes::Time, "Least time between two."),
    ]],
    None,
);

/// `actions: ID: args: NAME:`
pub(super) static ARG: Block = block(
    "argument",
    "an argument",
    &[&[
        Word::must("type", Takes::OneOf(types), "Type of the value."),
        Word::may("values", Takes::List(&Takes::Text), "The values of an `enum`."),
        Word::may("name", Takes::Text, "For people."),
        Word::may("range", Takes::List(&Takes::Number), "`[smallest, largest]`."),
        Word::may("default", Takes::Text, "The value where none is given; without it, one must be given."),
    ]],
    None,
)
.needing(&[("type", "enum", "values")]);

/// `actions: ID: expect:`
pub(super) static PROOF: Block = block(
    "proof",
    "`expect:` of an action",
    &[&[Word::must(
        "within",
        Takes::Time,
        "How long it may take. Beside it stands one property with its value.",
    )]],
    Some(Takes::Text),
);

/// `events: ID:`
pub(super) static EVENT: Block = block(
    "event",
    "an event",
    &[&[
        Word::may("name", Takes::Text, "For people; without it, the id."),
        Word::may(
            "class",
            Takes::Text,
            "`alarm`, `smoke`, `gas`, `leak` and `problem` make an urgent alert of the house, `doorbell`, `appliance` and `button` a plain one. Others are told to watchers only.",
        ),
        Word::must("values", Takes::List(&Takes::Text), "What it can say."),
        Word::must("from", Takes::Chosen(sources), "Where it is seen."),
    ]],
    None,
);

/// `phone:`
pub(super) static PHONE: Block = block(
    "phone",
    "`phone:`",
    &[&[
        Word::may("lamp", Takes::Text, "The property that lights the lamp of a key."),
        Word::may(
            "lit_when",
            Takes::Either(&[Takes::List(&Takes::Text), Takes::Text]),
            "The values that light it; of a bool, `true`.",
        ),
        Word::may(
            "press",
            Takes::Text,
            "What a key does, in words of a MESSAGE: `toggle power`, `set mode eco`, an action, or `none`.",
        ),
    ]],
    None,
);

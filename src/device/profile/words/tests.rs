//! The words of `tests:`.

use super::block;
use crate::config::yaml::words::{Block, Takes, Word};

/// One entry of `tests:`.
pub(in super::super) static TEST: Block = block("test", "a test", &[&TEST_WORDS], None);

static TEST_WORDS: [Word; 20] = [
    Word::may("given", Takes::Each(&Takes::Text), "`{property: value}`: what is known before."),
    Word::may("after", Takes::Text, "Bytes that came before `rx`, without consequence."),
    Word::may("mqtt", Takes::Block(&MESSAGE), "Happens: this message comes."),
    Word::may(
        "rx",
        Takes::Text,
        "Happens: these bytes come over the serial port; in hex where `encoding: hex` is said.",
    ),
    Word::may(
        "registers",
        Takes::Each(&Takes::Each(&Takes::Either(&[
            Takes::List(&Takes::Int(0, 0xffff)),
            Takes::Int(0, 0xffff),
        ]))),
        "Happens: the unit is read and has these words, by table and first address; the others are 0.",
    ),
    Word::may("telegram", Takes::Text, "Happens: this telegram of a smart meter comes."),
    Word::may("add_checksum", Takes::Bool, "Writes the right checksum behind the telegram."),
    Word::may(
        "file",
        Takes::Each(&Takes::Text),
        "Happens: `{name: text}`, a file of the 1-Wire device is read.",
    ),
    Word::may("request", Takes::Text, "Happens: the time has come to read this property."),
    Word::may("sip", Takes::Each(&Takes::Text), "Happens: `{item: text}` is told elsewhere."),
    Word::may(
        "levels",
        Takes::Each(&Takes::Text),
        "Happens: `{line: \"0@0ms 1@500ms\"}`, electrical levels with their glitches.",
    ),
    Word::may("set", Takes::Each(&Takes::Text), "Happens: `{property: value}` is commanded."),
    Word::may("do", Takes::Text, "Happens: this action is commanded."),
    Word::may("args", Takes::Each(&Takes::Text), "Arguments of the action."),
    Word::may("start", Takes::Bool, "Happens: the gateway starts."),
    Word::may(
        "until",
        Takes::Time,
        "When to look, counted from what happens. All tests together let 6 h pass at most.",
    ),
    Word::may("expect", Takes::Block(&EXPECTED), "What must be known then; `{}`: nothing may have changed."),
    Word::may(
        "sends",
        Takes::Either(&[
            Takes::List(&Takes::Either(&[Takes::Block(&SENT), Takes::Text])),
            Takes::Block(&SENT),
            Takes::Text,
        ]),
        "What must have been sent: bytes (in hex for modbus and `encoding: hex`), or `{topic, payload}` or `{topic, json}`; several as a list.",
    ),
    Word::may(
        "drives",
        Takes::Each(&Takes::Text),
        "`{line: \"0@0ms 1@500ms\"}`: levels that outputs must have had.",
    ),
    Word::may(
        "refused",
        Takes::OneOf(refusals),
        "The command must be refused for this reason, and nothing be sent.",
    ),
];

/// The words of [`crate::device::command::Refusal`].
fn refusals() -> Vec<&'static str> {
    vec!["only_if", "min_gap", "value", "args", "read_only", "offline", "asleep", "link", "busy", "name"]
}

/// `mqtt:`
pub(in super::super) static MESSAGE: Block = block(
    "message",
    "`mqtt:` of a test",
    &[&[
        Word::must("topic", Takes::Text, "Its topic."),
        Word::must("payload", Takes::Text, "Its text."),
        Word::may("retained", Takes::Bool, "Whether it is a stored copy."),
    ]],
    None,
);

/// `expect:`
pub(in super::super) static EXPECTED: Block = block(
    "expected",
    "`expect:` of a test",
    &[&[
        Word::may("online", Takes::OneOf(healths), "Whether the device is there."),
        Word::may("event", Takes::Each(&Takes::Text), "`{event: value}`: exactly this event happened."),
        Word::may(
            "changes",
            Takes::Each(&Takes::Int(0, 0xffff_ffff)),
            "`{property: 1}`: how often a known value changed.",
        ),
    ]],
    Some(Takes::Text),
);

pub(super) fn healths() -> Vec<&'static str> {
    vec!["online", "offline", "asleep"]
}

/// One message of `sends:`
pub(in super::super) static SENT: Block = block(
    "sent",
    "`sends:` of a test",
    &[&[
        Word::must("topic", Takes::Text, "Its topic."),
        Word::may("payload", Takes::Text, "Its text."),
        Word::may(
            "json",
            Takes::Any,
            "Its document; the order of keys and the spelling of numbers do not matter.",
        ),
    ]],
    None,
);

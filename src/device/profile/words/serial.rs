//! The words of what hangs on a serial port: frames, Modbus units, smart meters.

use sipliance_driver::Checksum;

use super::super::registers::{Number, Order};
use super::block;
use super::wire::{ANY_FROM, BACK, HOLD, MAP, MAP_ARGS, MAP_BACK, MAP_EVENT, SCALED};
use crate::config::yaml::words::{Block, Takes, Word};

const SPELLING: fn() -> Vec<&'static str> = || vec!["text", "hex"];
const NUMBERS: fn() -> Vec<&'static str> = || Number::WORDS.iter().map(|(word, _)| *word).collect();
const ORDERS: fn() -> Vec<&'static str> = || Order::WORDS.iter().map(|(word, _)| *word).collect();
const CHECKSUMS: fn() -> Vec<&'static str> = || Checksum::WORDS.iter().map(|(word, _)| *word).collect();
const HEX_OR_NUMBER: Takes = Takes::Int(0, 0xffff);

static FRAME_EVENT: [Word; 2] = [
    Word::may(
        "match",
        Takes::Pattern,
        "A pattern over one frame; its group is the raw text, without a group all that matched.",
    ),
    Word::may("as", Takes::OneOf(SPELLING), "`hex`: the raw text is a number in hex."),
];
static REPLY: [Word; 2] = [
    Word::may(
        "timeout",
        Takes::Time,
        "Wait so long for the reply, and once more so long where something else came first.",
    ),
    Word::may(
        "done",
        Takes::Pattern,
        "The reply that means done; a reply that fits `link: fault` means refused. Anything else that comes is heard, and the wait goes on.",
    ),
];

/// `link:` of serial.
pub(in super::super) static LINK_SERIAL: Block = block(
    "link of serial",
    "`link:`",
    &[&[
        Word::may("baud", Takes::Int(50, 4_000_000), "Bits per second; 9600 where nothing is said."),
        Word::may("format", Takes::Text, "Data bits, parity, stop bits; `8N1` where nothing is said."),
        Word::must("frame", Takes::Block(&FRAME), "Where a frame ends."),
        Word::may(
            "encoding",
            Takes::OneOf(SPELLING),
            "`hex`: every text of the profile for the wire is bytes in hex (`A0 01`), and patterns see frames so.",
        ),
        Word::may(
            "checksum",
            Takes::OneOf(CHECKSUMS),
            "Over the whole frame, before its end: checked and taken off on receive, added on send.",
        ),
        Word::may("trim", Takes::Text, "Bytes taken off both sides of a frame."),
        Word::may("gap", Takes::Time, "Silence between the end of an answer and the next request."),
        Word::may("timeout", Takes::Time, "How long an answer may take; 1s where nothing is said."),
        Word::may(
            "retries",
            Takes::Int(0, 10),
            "How often an unanswered *query* is repeated; a command never is.",
        ),
        Word::may("hello", Takes::List(&Takes::Text), "Queries after every (re)connect."),
        Word::may("fault", Takes::Pattern, "A reply that refuses."),
        Word::may("echo", Takes::Bool, "The device sends back what it was sent; that is no answer."),
        Word::may("wake", Takes::Block(&WAKE), "For a device that sleeps."),
    ]],
    None,
);

/// `frame:`
pub(in super::super) static FRAME: Block = block(
    "frame",
    "`frame:`",
    &[&[
        Word::may("end", Takes::Text, "A frame ends at these bytes."),
        Word::may("send_end", Takes::Text, "Added to what is sent; the same as `end` where nothing is said."),
        Word::may("length", Takes::Int(1, 65_536), "Every frame has so many bytes."),
        Word::may("length_at", Takes::Int(0, 255), "The index of the byte that says how long the frame is."),
        Word::may("length_size", Takes::Int(1, 2), "Bytes of that length."),
        Word::may("length_adds", Takes::Int(0, 255), "Bytes of the frame that it does not count."),
        Word::may(
            "gap",
            Takes::Time,
            "A frame ends when nothing came for so long; with a length, an unfinished frame is dropped then.",
        ),
        Word::may("max", Takes::Int(1, 65_536), "A longer frame is dropped."),
    ]],
    None,
);

/// `wake:`
pub(in super::super) static WAKE: Block = block(
    "wake",
    "`wake:`",
    &[&[
        Word::must("send", Takes::Text, "Bytes that rouse it."),
        Word::may("after", Takes::Time, "Sent when nothing was sent for so long."),
        Word::may("wait", Takes::Time, "How long it needs then."),
    ]],
    None,
);

static FRAME_READ: [Word; 4] = [
    Word::must(
        "match",
        Takes::Pattern,
        "A pattern over one frame; its group is the raw text, without a group all that matched.",
    ),
    Word::may("as", Takes::OneOf(SPELLING), "`hex`: the raw text is a number in hex."),
    Word::may("ask", Takes::Text, "The query whose answer this is."),
    Word::may(
        "every",
        Takes::Time,
        "How often it is asked, beside after every (re)connect and as the proof of a command.",
    ),
];
static FRAME_SEND: [Word; 1] = [Word::must("send", Takes::Text, "The frame, without its end and checksum.")];

pub(super) static READ_SERIAL: Block =
    block("read of serial", "`read:`", &[&FRAME_READ, &MAP, &SCALED, &HOLD], None);
pub(super) static FROM_SERIAL: Block =
    block("from of serial", "`from:`", &[&FRAME_EVENT, &MAP_EVENT, &ANY_FROM], None);
pub(super) static WRITE_SERIAL: Block =
    block("write of serial", "`write:`", &[&FRAME_SEND, &REPLY, &MAP_BACK, &BACK], None);
pub(super) static STEP_SERIAL: Block =
    block("do of serial", "`do:`", &[&FRAME_SEND, &REPLY, &MAP_ARGS], None);

// modbus

/// `link:` of modbus.
pub(in super::super) static LINK_MODBUS: Block = block(
    "link of modbus",
    "`link:`",
    &[&[
        Word::must("unit", Takes::Int(1, 247), "The unit's number."),
        Word::may(
            "baud",
            Takes::Int(50, 4_000_000),
            "Bits per second of a serial line; 9600 where nothing is said.",
        ),
        Word::may("format", Takes::Text, "Data bits, parity, stop bits of a serial line."),
        Word::may(
            "order",
            Takes::OneOf(ORDERS),
            "Order of bytes in values of several words: `ABCD` high word first, `CDAB` low word first.",
        ),
        Word::may("gap", Takes::Time, "Silence before each request."),
        Word::may("timeout", Takes::Time, "How long an answer may take."),
        Word::may("retries", Takes::Int(0, 5), "How often an unanswered reading is repeated."),
        Word::may(
            "join",
            Takes::Int(0, 100),
            "Readings with the same `every` become one request when at most so many words lie between them.",
        ),
    ]],
    None,
);

static TABLES: [Word; 2] = [
    Word::may(
        "holding",
        HEX_OR_NUMBER,
        "Address of a holding register on the wire, from 0: a manual's 40017 is 0x0010.",
    ),
    Word::may("coil", HEX_OR_NUMBER, "Address of a coil, from 0."),
];
static TABLES_READ: [Word; 2] = [
    Word::may("input", HEX_OR_NUMBER, "Address of an input register, from 0: a manual's 30001 is 0x0000."),
    Word::may("discrete", HEX_OR_NUMBER, "Address of a discrete input, from 0."),
];
static FORM: [Word; 2] = [
    Word::may("as", Takes::OneOf(NUMBERS), "What the words are; `u16` where nothing is said."),
    Word::may("order", Takes::OneOf(ORDERS), "As in `link`, for this value."),
];
static BIT: [Word; 1] =
    [Word::may("bit", Takes::Int(0, 15), "One bit of a word, a `bool`; it can only be read.")];
static EVERY: [Word; 1] =
    [Word::may("every", Takes::Time, "How often it is read; 10s where nothing is said.")];

pub(super) static READ_MODBUS: Block = block(
    "read of modbus",
    "`read:`",
    &[&TABLES, &TABLES_READ, &FORM, &BIT, &EVERY, &MAP, &SCALED, &HOLD],
    None,
);
pub(super) static FROM_MODBUS: Block = block("from of modbus", "`from:`", &[&MAP_EVENT, &ANY_FROM], None);
static FUNCTION: [Word; 1] = [Word::may(
    "function",
    Takes::Int(1, 127),
    "`16` writes a single word with function 16, for units that know no 6.",
)];
pub(super) static WRITE_MODBUS: Block =
    block("write of modbus", "`write:`", &[&TABLES, &FORM, &FUNCTION, &MAP_BACK, &BACK], None);

// p1

/// `link:` of p1.
pub(in super::super) static LINK_P1: Block = block(
    "link of p1",
    "`link:`",
    &[&[
        Word::may("baud", Takes::Int(50, 4_000_000), "Bits per second; 115200 where nothing is said."),
        Word::may("format", Takes::Text, "Data bits, parity, stop bits; `8N1` where nothing is said."),
        Word::may(
            "checksum",
            Takes::OneOf(|| vec!["required", "none"]),
            "`none` for meters that send none (DSMR 2 and 3).",
        ),
    ]],
    None,
);

static OBIS: [Word; 2] = [
    Word::must("obis", Takes::Text, "The code of the line: `\"1-0:1.7.0\"`; of iec62056-21 also `1.8.0`."),
    Word::may("field", Takes::Int(1, 16), "Which of the values in brackets, from 1."),
];
pub(super) static READ_P1: Block = block("read of p1", "`read:`", &[&OBIS, &MAP, &SCALED, &HOLD], None);
pub(super) static FROM_P1: Block = block("from of p1", "`from:`", &[&MAP_EVENT, &ANY_FROM], None);

// iec62056-21

/// `link:` of iec62056-21.
pub(in super::super) static LINK_IEC: Block = block(
    "link of iec62056-21",
    "`link:`",
    &[&[
        Word::may(
            "baud",
            Takes::Int(50, 4_000_000),
            "Bits per second of the sign-on; 300 where nothing is said.",
        ),
        Word::may("format", Takes::Text, "Data bits, parity, stop bits; `7E1` where nothing is said."),
        Word::may(
            "speed",
            Takes::OneOf(|| vec!["offered", "fixed"]),
            "`fixed`: the meter stays at `baud`; otherwise the speed that it offers is taken.",
        ),
        Word::may(
            "address",
            Takes::Text,
            "Which meter of a line; `any` is whoever hears it, as where nothing is said.",
        ),
        Word::may("every", Takes::Time, "How often it is read out; 15m where nothing is said, 1m at least."),
        Word::may(
            "retries",
            Takes::Int(0, 5),
            "How often a read-out that failed is begun anew; 1 where nothing is said.",
        ),
    ]],
    None,
);

pub(super) static READ_IEC: Block =
    block("read of iec62056-21", "`read:`", &[&OBIS, &MAP, &SCALED, &HOLD], None);
pub(super) static FROM_IEC: Block = block("from of iec62056-21", "`from:`", &[&MAP_EVENT, &ANY_FROM], None);

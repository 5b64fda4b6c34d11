//! The words of what hangs on the Pi itself: GPIO lines and 1-Wire devices.

use super::block;
use super::wire::{ANY_FROM, HOLD, MAP, MAP_EVENT, SCALED};
use crate::config::yaml::words::{Block, Takes, Word};

/// `link:` of gpio.
pub(in super::super) static LINK_GPIO: Block = block(
    "link of gpio",
    "`link:`",
    &[&[Word::must("lines", Takes::Each(&Takes::Block(&LINE)), "Its lines, by name.")]],
    None,
);

/// `link: lines: NAME:`
pub(in super::super) static LINE: Block = block(
    "line",
    "a line",
    &[&[
        Word::must("pin", Takes::Text, "The line's name in the system: `GPIO17`."),
        Word::must("direction", Takes::OneOf(|| vec!["in", "out"]), "What it is."),
        Word::may("active_low", Takes::Bool, "Active is the low level."),
        Word::may("pull", Takes::OneOf(|| vec!["up", "down", "none"]), "Of an input: its resistor."),
        Word::may("debounce", Takes::Time, "Of an input: a level counts when it was stable for so long."),
        Word::may(
            "initial",
            Takes::OneOf(|| vec!["active", "inactive"]),
            "Of an output: how it is driven when the gateway starts. There is no default.",
        ),
        Word::may("at_exit", Takes::OneOf(|| vec!["active", "inactive"]), "Of an output: how it is left."),
    ]],
    None,
)
.needing(&[("direction", "out", "initial")]);

static LINE_READ: [Word; 1] =
    [Word::must("line", Takes::Text, "The line; active is `true`. An output is read back.")];
pub(super) static READ_GPIO: Block = block("read of gpio", "`read:`", &[&LINE_READ, &MAP, &HOLD], None);
pub(super) static FROM_GPIO: Block =
    block("from of gpio", "`from:`", &[&LINE_EVENT, &MAP_EVENT, &ANY_FROM], None);
pub(super) static WRITE_GPIO: Block = block(
    "write of gpio",
    "`write:`",
    &[&[Word::must("line", Takes::Text, "The output; `true` drives it active.")]],
    None,
);
pub(super) static STEP_GPIO: Block = block(
    "do of gpio",
    "`do:`",
    &[&[
        Word::must("pulse", Takes::Text, "The output that is driven active"),
        Word::must("for", Takes::Time, "and for how long. The driver ends it, whatever the gateway does."),
    ]],
    None,
);
static LINE_EVENT: [Word; 2] = [
    Word::may("line", Takes::Text, "The line; active is `true`."),
    Word::may("clicks", Takes::Block(&CLICKS), "Presses of a button told apart; `{}`: each is `single`."),
];

/// `clicks:`
pub(in super::super) static CLICKS: Block = block(
    "clicks",
    "`clicks:`",
    &[&[
        Word::may(
            "double",
            Takes::Time,
            "A second press in this time makes a `double`; a `single` waits for it.",
        ),
        Word::may("hold", Takes::Time, "Pressed for so long, a `hold`."),
    ]],
    None,
);

// w1

/// `link:` of w1.
pub(in super::super) static LINK_W1: Block = block(
    "link of w1",
    "`link:`",
    &[&[Word::must("device", Takes::Text, "The folder in `/sys/bus/w1/devices`: `28-01193a44fa5c`.")]],
    None,
);

static FILE: [Word; 2] = [
    Word::must("file", Takes::Text, "A file in the device's folder: `temperature`."),
    Word::may("every", Takes::Time, "How often it is read; 30s where nothing is said."),
];
pub(super) static READ_W1: Block = block("read of w1", "`read:`", &[&FILE, &MAP, &SCALED, &HOLD], None);
pub(super) static FROM_W1: Block = block("from of w1", "`from:`", &[&MAP_EVENT, &ANY_FROM], None);

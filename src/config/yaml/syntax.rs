//! What the YAML parser finds, in the words of somebody who writes a home file.

/// A message and what to do.
pub(super) type Words = (&'static str, Option<&'static str>);

/// Tabs look like spaces and are not.
pub(super) const TAB: Words = ("a tab in the indentation", Some("indent with spaces"));

/// `room:<tab>Kitchen`
pub(super) const TAB_AFTER_COLON: Words = ("a tab behind the `:`", Some("put a space there"));

/// `ask: ? V`
pub(super) const QUESTION: Words = ("a `?` where none can stand", Some("put the text in quotes"));

/// `confirm:3s`
pub(super) const SPACE: Words =
    ("a key without its value", Some("a space belongs after the `:`, as in `key: value`"));

/// `{topic}/state`
pub(super) const AFTER_BRACKET: Words = (
    "something follows the closing bracket",
    Some("text that begins with `{` or `[` needs quotes; a placeholder is written `<name>`"),
);

/// `[udp:0.0.0.0:5060` or `[tcp:[::]:5060]`
pub(super) const BRACKET: Words = (
    "this bracket is not closed, or text in it needs quotes",
    Some("separate with `,`, close the bracket, and quote text that contains `: , [ ] { }`"),
);

/// `{ask: #FS?, every: 5s}`
pub(super) const COMMENT: Words = (
    "a `#` behind a space begins a comment: the rest of the line is not read",
    Some("put text that begins with `#` in quotes: \"#FS?\""),
);

/// Whether the finding is a consequence of an open bracket.
pub(super) fn in_brackets(info: &str) -> bool {
    info.contains("flow") || info.contains("illegal placement")
}

/// The words for a finding.
pub(super) fn words(info: &str) -> Words {
    let found = TABLE.iter().find(|(part, _, _)| info.contains(part));
    found.map_or(
        ("this is not YAML", Some("is a quote, a bracket or a `:` missing?")),
        |(_, message, help)| (message, *help),
    )
}

/// Part of a finding, message, help; the first that fits counts.
const TABLE: &[(&str, &str, Option<&str>)] = &[
    (
        "mapping values are not allowed",
        "a `:` where no key can stand",
        Some(
            "align the keys of a block in one column; text that contains `: ` needs quotes; does the line \
             above lack the space behind its `:`?",
        ),
    ),
    (
        "found unexpected end of stream",
        "a quote that is opened here is never closed",
        Some("close it with the same kind of quote"),
    ),
    (
        "found unexpected document indicator",
        "a quote that is opened here is never closed",
        Some("close it with the same kind of quote"),
    ),
    (
        "indentation in quoted scalar",
        "text in quotes that goes on in a line with too little indentation",
        Some("is the closing quote missing?"),
    ),
    (
        "trailing content after double-quoted",
        "something follows the closing quote",
        Some("inside double quotes write \\\" for a quote, inside single quotes ''"),
    ),
    (
        "unknown escape character",
        "an unknown escape in double quotes",
        Some("write \\\\ for a backslash, or use single quotes"),
    ),
    (
        "hexadecimal number",
        "an incomplete escape in double quotes",
        Some("\\x takes two hex digits, \\u four, \\U eight"),
    ),
    ("invalid Unicode character", "an escape that names no character", None),
    (
        "indentation in flow construct",
        "too little indentation inside brackets",
        Some("is the closing bracket missing?"),
    ),
    ("misplaced bracket", "a closing bracket without an opening one", None),
    (
        "block mapping, did not find expected key",
        "this line does not fit the block around it",
        Some("align the keys of a block in one column; is a quote or bracket before it left open?"),
    ),
    (
        "did not find expected '-'",
        "this line does not fit the list around it",
        Some("begin each item with `- ` in the same column"),
    ),
    (
        "block sequence entries",
        "a list item (`- `) where none can stand",
        Some("put the list below its key, indented"),
    ),
    ("simple key expect", "a key without its `:`", Some("write `key: value`, with a space after the `:`")),
    ("anchor or alias, did not find", "a bare `*` or `&`", Some("put it in quotes: \"*\"")),
    (
        "unknown anchor",
        "references (`*name`) are not read",
        Some("write the value out, or put text that begins with `*` in quotes"),
    ),
    ("unexpected character", "text cannot begin with this character", Some("put the text in quotes")),
    ("mapping keys are not allowed", "a `?` where none can stand", Some("put the text in quotes")),
    (" tab", "a tab where spaces are needed", Some("use spaces")),
    ("tabs", "a tab where spaces are needed", Some("use spaces")),
    ("recursion limit", "nested too deeply", None),
    (
        "handle wasn't declared",
        "type marks (`!name`) are not read",
        Some("put text that begins with `!` in quotes"),
    ),
    ("tag", "type marks (`!name`) are not read", Some("put text that begins with `!` in quotes")),
    ("invalid indentation", "wrong indentation", Some("align the keys of a block in one column")),
];

//! YAML text for people: quoted wherever it could be read in two ways.

use std::fmt::Write as _;

/// A value to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Yaml {
    /// Text; quoted where it must be.
    Text(String),
    /// A number or boolean as it is.
    Plain(String),
    /// `[a, b]`
    Flow(Vec<Yaml>),
    /// `{a: b}`
    Inline(Vec<(String, Yaml)>),
    /// Keys below each other.
    Block(Vec<Entry>),
    /// Items below each other.
    List(Vec<Yaml>),
}

/// A key with its value, and comments above it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub comments: Vec<String>,
    pub key: String,
    pub value: Yaml,
}

impl Yaml {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub fn number(number: f64) -> Self {
        Self::Plain(number.to_string())
    }

    pub fn bool(value: bool) -> Self {
        Self::Plain(value.to_string())
    }

    pub fn inline<const N: usize>(entries: [(&str, Yaml); N]) -> Self {
        Self::Inline(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Text on one line: scalars and what is in brackets.
    fn one_line(&self) -> String {
        match self {
            Self::Text(text) => scalar(text),
            Self::Plain(text) => text.clone(),
            Self::Flow(items) | Self::List(items) => {
                format!("[{}]", items.iter().map(Self::one_line).collect::<Vec<_>>().join(", "))
            }
            Self::Inline(entries) => braces(entries.iter().map(|(key, value)| (key.as_str(), value))),
            Self::Block(entries) => braces(entries.iter().map(|entry| (entry.key.as_str(), &entry.value))),
        }
    }
}

fn braces<'a>(entries: impl Iterator<Item = (&'a str, &'a Yaml)>) -> String {
    let pairs: Vec<String> =
        entries.map(|(key, value)| format!("{}: {}", scalar(key), value.one_line())).collect();
    format!("{{{}}}", pairs.join(", "))
}

impl Entry {
    pub fn new(key: impl Into<String>, value: Yaml) -> Self {
        Self { comments: Vec::new(), key: key.into(), value }
    }
}

/// Writes entries, each line behind `indent` spaces.
pub(super) fn block(out: &mut String, entries: &[Entry], indent: usize) {
    let pad = " ".repeat(indent);
    for entry in entries {
        for comment in &entry.comments {
            let _ = writeln!(out, "{pad}# {}", clean(comment, COMMENT));
        }
        let key = scalar(&entry.key);
        match &entry.value {
            Yaml::Block(inner) if !inner.is_empty() => {
                let _ = writeln!(out, "{pad}{key}:");
                block(out, inner, indent + 2);
            }
            Yaml::List(items) if !items.is_empty() => {
                let _ = writeln!(out, "{pad}{key}:");
                items.iter().for_each(|item| list_item(out, item, indent + 2));
            }
            value => {
                let _ = writeln!(out, "{pad}{key}: {}", value.one_line());
            }
        }
    }
}

/// `- a: b` with the other keys below the first.
fn list_item(out: &mut String, item: &Yaml, indent: usize) {
    let pad = " ".repeat(indent);
    let Yaml::Block(entries) = item else {
        let _ = writeln!(out, "{pad}- {}", item.one_line());
        return;
    };
    for (nth, entry) in entries.iter().enumerate() {
        let lead = if nth == 0 { "- " } else { "  " };
        let _ = writeln!(out, "{pad}{lead}{}: {}", scalar(&entry.key), entry.value.one_line());
    }
}

/// Longest comment in characters.
const COMMENT: usize = 400;

/// Text for one line of a terminal and of a file: what could not be seen, or would turn it around, is `?`.
pub(super) fn clean(text: &str, most: usize) -> String {
    let mut out: String = text.chars().take(most).map(|c| if hidden(c) { '?' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        out.push('\u{2026}');
    }
    out
}

/// Characters that do not show as themselves: controls, and marks of direction and width.
pub(super) fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A scalar, in double quotes unless it can mean nothing but itself.
pub(super) fn scalar(text: &str) -> String {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '<' | '/'));
    let rest = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '<' | '>' | '$' | ' '));
    let word = text.to_ascii_lowercase();
    let meant = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&word.as_str());
    if first && rest && !meant && !text.ends_with(' ') {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if hidden(c) => {
                let _ = match u32::from(c) {
                    code @ ..=0xffff => write!(out, "\\u{code:04X}"),
                    code => write!(out, "\\U{code:08X}"),
                };
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::fault::Faults;
    use crate::config::yaml::{self, Data};

    fn read_back(text: &str) -> String {
        let mut faults = Faults::default();
        let mut out = String::new();
        block(&mut out, &[Entry::new("k", Yaml::Flow(vec![Yaml::text(text)]))], 0);
        let node = yaml::parse(&out, &mut faults).unwrap_or_else(|| panic!("{out}"));
        assert!(faults.is_empty(), "{out}: {:?}", faults.sorted());
        let Data::Map(entries) = &node.data else { panic!("{out}") };
        let Data::List(items) = &entries[0].1.data else { panic!("{out}") };
        let Data::Text { text, .. } = &items[0].data else { panic!("{out}: not text") };
        text.clone()
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_quoted() {
        for text in [
            "on",
            "Yes",
            "null",
            "1",
            "0x0C",
            "22:30",
            "a: b",
            "a #b",
            "- a",
            "{a}",
            "*x",
            "&x",
            "!s",
            "",
            " a",
            "a ",
            "\u{1b}[31m",
            "\u{202e}evil",
            "a\\nb",
            "'",
            "\"",
            "%a",
            "@a",
            "`a",
            "~",
            "1e3",
        ] {
            assert!(scalar(text).starts_with('"'), "{text}");
            assert_eq!(read_back(text), text);
        }
        for text in ["tele/hall/LWT", "<base>/<name>", "/ENERGY/Power", "Hall plug"] {
            assert_eq!(scalar(text), text);
            assert_eq!(read_back(text), text);
        }
        assert_eq!(clean("a\nb\u{1b}c", 10), "a?b?c");
        assert_eq!(clean("abcdef", 3), "abc\u{2026}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_read_back(text in "\\PC{0,40}|[ -~]{0,40}|.{0,20}") {
            prop_assert_eq!(read_back(&text), text);
        }
    }
}

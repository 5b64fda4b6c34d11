//! From text to tree. The only file that names the YAML crate.
//!
//! The parser reports events; a stack of open collections turns them into [`Node`]s, so that no
//! input can use up the call stack. Anchors, aliases, tags and a second document are refused:
//! a home needs none of them, and editors and other loaders read them differently.

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::scalar;
use super::{Data, Key, Node};
use crate::config::fault::{Faults, Place};

/// Longest file in bytes; a longer one is refused as a whole.
pub const FILE_BYTES: usize = 1024 * 1024;
/// Deepest nesting of lists and blocks; a deeper file is refused as a whole.
pub const DEPTH: usize = 32;

/// Reads one YAML document. `None`: the text has no tree, and `faults` says why; a tree may come
/// with faults, too (a key that stands twice).
pub fn parse(text: &str, faults: &mut Faults) -> Option<Node> {
    if text.len() > FILE_BYTES {
        faults.error(
            None,
            "",
            format!("the file has {} bytes; more than {FILE_BYTES} are not read", text.len()),
            None,
        );
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut tree = Tree { text, open: Vec::new(), root: None, faults };
    let mut parser = Parser::new_from_str(text);
    loop {
        match parser.next_event() {
            None | Some(Ok((Event::StreamEnd, _))) => break,
            Some(Ok((event, span))) => tree.event(event, span)?,
            Some(Err(error)) => {
                tree.syntax(&error);
                return None;
            }
        }
    }
    if tree.root.is_none() {
        tree.faults.error(None, "", "the file is empty", None);
    }
    tree.root
}

/// A collection whose end was not seen yet.
enum Open {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, entries: Vec<(Key, Node)>, key: Option<Key> },
}

struct Tree<'t> {
    text: &'t str,
    open: Vec<Open>,
    root: Option<Node>,
    faults: &'t mut Faults,
}

impl Tree<'_> {
    /// Takes one event; `None` ends the reading.
    fn event(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let place = place(span.start);
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                self.error(place, "a second document begins here (`---`)", Some("put it into its own file"));
                None
            }
            Event::Alias(_) => {
                self.error(
                    place,
                    "references (`*name`) are not read",
                    Some("write the value out, or put text that begins with `*` in quotes"),
                );
                None
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.plain(place, anchor, tag.as_deref())?;
                self.scalar(&text, style, place)
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain(place, anchor, tag.as_deref())?;
                self.enter(Open::List { place, items: Vec::new() }, place)
            }
            Event::MappingStart(anchor, tag) => {
                self.plain(place, anchor, tag.as_deref())?;
                self.enter(Open::Map { place, entries: Vec::new(), key: None }, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Some(()),
        }
    }

    /// Refuses anchors and tags.
    fn plain(&mut self, place: Place, anchor: usize, tag: Option<&Tag>) -> Option<()> {
        if let Some(tag) = tag {
            let help = match tag.suffix.as_str() {
                "secret" => "write `{secret: name}`",
                _ => "put text in quotes, write numbers and true/false without them",
            };
            self.error(place, &format!("type marks (`!{}`) are not read", tag.suffix), Some(help));
            return None;
        }
        if anchor != 0 {
            self.error(
                place,
                "anchors (`&name`) are not read",
                Some("write the value out, or put text that begins with `&` in quotes"),
            );
            return None;
        }
        Some(())
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, at: Place) -> Option<()> {
        let is_key = matches!(self.open.last(), Some(Open::Map { key: None, .. }));
        let plain = style == ScalarStyle::Plain;
        if plain && let Some((message, help)) = scalar::other_reading(text, is_key) {
            let path = self.path();
            self.faults.warning(Some(at), &path, message, Some(help));
        }
        if style == ScalarStyle::SingleQuoted
            && let Some(escape) = scalar::literal_escape(text)
            && !self.is_pattern()
        {
            let path = self.path();
            self.faults.warning(
                Some(at),
                &path,
                format!("in single quotes `{escape}` is a backslash and a letter"),
                Some(format!("use double quotes for the control character: \"{escape}\"")),
            );
        }
        if is_key {
            return self.key(text, plain, at);
        }
        let (data, raw) = if plain {
            scalar::resolve(text)
        } else {
            (Data::Text { text: text.to_owned(), quoted: true }, None)
        };
        self.put(Node { place: at, data, raw })
    }

    fn key(&mut self, text: &str, plain: bool, place: Place) -> Option<()> {
        if plain && text.is_empty() {
            self.error(
                place,
                "a `:` without a key before it",
                Some("put text that begins with `:` in quotes"),
            );
            return None;
        }
        if plain && text == "<<" {
            self.error(place, "merge keys (`<<`) are not read", Some("write the keys out"));
            return None;
        }
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            *key = Some(Key { place, text: text.to_owned() });
        }
        Some(())
    }

    fn enter(&mut self, collection: Open, place: Place) -> Option<()> {
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            let help = "a placeholder is written `<name>`; text that begins with `{` or `[` needs quotes";
            self.error(place, "a list or a block cannot be a key", Some(help));
            return None;
        }
        if self.open.len() >= DEPTH {
            self.error(place, &format!("nested deeper than {DEPTH} levels"), None);
            return None;
        }
        self.open.push(collection);
        Some(())
    }

    fn leave(&mut self) -> Option<()> {
        let node = match self.open.pop()? {
            Open::List { place, items } => Node { place, data: Data::List(items), raw: None },
            Open::Map { place, entries, .. } => Node { place, data: Data::Map(entries), raw: None },
        };
        self.put(node)
    }

    /// Hangs a finished node where it belongs. The first of two equal keys is kept.
    fn put(&mut self, node: Node) -> Option<()> {
        let path = self.path();
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                let key = key.take()?;
                match entries.iter().find(|(known, _)| known.text == key.text) {
                    Some((first, _)) => self.faults.error(
                        Some(key.place),
                        &path,
                        format!(
                            "`{}` stands here twice, first at line {}, column {}",
                            key.text, first.place.line, first.place.column
                        ),
                        Some("remove or rename one of the two".to_owned()),
                    ),
                    None => entries.push((key, node)),
                }
            }
        }
        Some(())
    }

    /// Key path of the value that comes next.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::List { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Map { key: Some(key), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&key.text);
                }
                Open::Map { key: None, .. } => {}
            }
        }
        path
    }

    /// Whether the value that comes next is a regular expression, in which `\r` has its meaning.
    fn is_pattern(&self) -> bool {
        self.open.iter().any(|open| matches!(open, Open::Map { key: Some(key), .. } if key.text == "match"))
    }

    fn error(&mut self, place: Place, message: &str, help: Option<&str>) {
        let path = self.path();
        self.faults.error(Some(place), &path, message, help.map(str::to_owned));
    }

    /// Says in plain words what the parser found.
    fn syntax(&mut self, error: &ScanError) {
        let mut at = place(*error.marker());
        let (mut message, help) = words(error.info());
        let mut help = help.map(str::to_owned);
        if let Some(found) = self.tab_in_indentation(at.line) {
            at = found;
            self.error(at, "a tab in the indentation", Some("indent with spaces"));
            return;
        }
        let before = Place { column: at.column.saturating_sub(1), ..at };
        if matches!(self.char_at(before), Some('}' | ']')) && self.bracket().is_none() {
            message = "something follows the closing bracket".to_owned();
            help = Some(
                "text that begins with `{` or `[` needs quotes; a placeholder is written `<name>`".to_owned(),
            );
        } else if (error.info().contains("flow") || error.info().contains("illegal placement"))
            && let Some((place, sign)) = self.bracket()
        {
            message = format!("this `{sign}` is not closed, or text in it needs quotes");
            help = Some(
                "separate with `,`, close the bracket, and quote text that contains `: , [ ] { }`".to_owned(),
            );
            at = place;
        }
        let path = self.path();
        self.faults.error(Some(at), &path, message, help);
    }

    /// The innermost bracket that is still open.
    fn bracket(&self) -> Option<(Place, char)> {
        self.open.iter().rev().find_map(|open| {
            let (Open::List { place, .. } | Open::Map { place, .. }) = open;
            self.char_at(*place).filter(|c| matches!(c, '[' | '{')).map(|c| (*place, c))
        })
    }

    fn char_at(&self, place: Place) -> Option<char> {
        let line = self.text.lines().nth(place.line.checked_sub(1)?)?;
        line.chars().nth(place.column.checked_sub(1)?)
    }

    /// The first tab before the text of `line`.
    fn tab_in_indentation(&self, line: usize) -> Option<Place> {
        let line_text = self.text.lines().nth(line.checked_sub(1)?)?;
        let indent = line_text.chars().take_while(|c| *c == ' ').count();
        (line_text.chars().nth(indent) == Some('\t')).then_some(Place { line, column: indent + 1 })
    }
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

/// The parser's finding in the words of somebody who writes a home file.
fn words(info: &str) -> (String, Option<&'static str>) {
    let table: &[(&str, &str, Option<&str>)] = &[
        (
            "mapping values are not allowed",
            "a `:` where no key can stand",
            Some("align the keys of a block in one column; text that contains `: ` needs quotes"),
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
        (
            "simple key expect",
            "a key without its `:`",
            Some("write `key: value`, with a space after the `:`"),
        ),
        (
            "simple key expected",
            "a key without its `:`",
            Some("write `key: value`, with a space after the `:`"),
        ),
        ("anchor or alias, did not find", "a bare `*` or `&`", Some("put it in quotes: \"*\"")),
        (
            "unknown anchor",
            "references (`*name`) are not read",
            Some("write the value out, or put text that begins with `*` in quotes"),
        ),
        ("unexpected character", "text cannot begin with this character", Some("put the text in quotes")),
        ("mapping keys are not allowed", "a `?` where none can stand", Some("put the text in quotes")),
        ("tab", "a tab where spaces are needed", Some("use spaces")),
        (
            "unprintable",
            "a character that cannot be printed",
            Some("write it as an escape in double quotes: \"\\x02\""),
        ),
        ("recursion limit", "nested too deeply", None),
        (
            "handle wasn't declared",
            "type marks (`!name`) are not read",
            Some("put text that begins with `!` in quotes"),
        ),
        ("tag", "type marks (`!name`) are not read", Some("put text that begins with `!` in quotes")),
        ("invalid indentation", "wrong indentation", Some("align the keys of a block in one column")),
    ];
    table
        .iter()
        .find(|(part, _, _)| info.contains(part))
        .map(|(_, message, help)| ((*message).to_owned(), *help))
        .unwrap_or_else(|| (format!("not readable as YAML: {info}"), None))
}

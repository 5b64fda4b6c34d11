//! From text to tree. The only file that names the YAML crate.
//!
//! The parser reports events; a stack of open collections turns them into [`Node`]s, so that no
//! input can use up the call stack. Anchors, aliases, tags and a second document are refused:
//! a home needs none of them, and editors and other loaders read them differently.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, Tag};

use super::{Data, Key, Node};
use super::{scalar, syntax};
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
    if let Some(place) = unprintable(text) {
        let help = Some("write it as an escape in double quotes: \"\\x02\"".to_owned());
        faults.error(Some(place), "", "a control character, which cannot be seen", help);
        return None;
    }
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

/// The first character that YAML does not allow as such (section 5.1).
fn unprintable(text: &str) -> Option<Place> {
    let refused = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    text.lines().enumerate().find_map(|(line, text)| {
        let column = text.chars().position(refused)? + 1;
        Some(Place { line: line + 1, column })
    })
}

/// A collection whose end was not seen yet.
enum Open {
    List { place: Place, items: Vec<Node> },
    Map { place: Place, entries: Vec<(Key, Node)>, known: HashMap<String, Place>, key: Option<Key> },
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
                self.enter(Open::Map { place, entries: Vec::new(), known: HashMap::new(), key: None }, place)
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
        let Some(Open::Map { entries, known, key, .. }) = self.open.last_mut() else {
            match self.open.last_mut() {
                Some(Open::List { items, .. }) => items.push(node),
                _ => self.root = Some(node),
            }
            return Some(());
        };
        let name = key.as_ref()?;
        let Some(first) = known.get(&name.text).copied() else {
            known.insert(name.text.clone(), name.place);
            entries.push((key.take()?, node));
            return Some(());
        };
        let (place, message) = (
            name.place,
            format!(
                "`{}` stands here twice, first at line {}, column {}",
                name.text, first.line, first.column
            ),
        );
        self.error(place, &message, Some("remove or rename one of the two"));
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            *key = None;
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
        let at = place(*error.marker());
        let before = Place { column: at.column.saturating_sub(1), ..at };
        let path = self.path();
        let mut say = |at, (message, help): (&str, Option<&str>)| {
            self.faults.error(Some(at), &path, message, help.map(str::to_owned));
        };
        // A tab that goes before text is sometimes found at the end of the line above.
        let indented =
            [at.line, at.line + 1].into_iter().find_map(|line| tab_in_indentation(self.text, line));
        if let Some(tab) = indented {
            return say(tab, syntax::TAB);
        }
        if let Some(tab) = tab_after_colon(self.text, at.line) {
            return say(tab, syntax::TAB_AFTER_COLON);
        }
        if char_at(self.text, at) == Some('?') {
            return say(at, syntax::QUESTION);
        }
        // A key that lacks the space behind its `:` is found when the next line comes.
        if error.info().contains("simple key expect")
            && let Some(place) = space_missing(self.text, at.line)
        {
            return say(place, syntax::SPACE);
        }
        let open = bracket(self.text, &self.open);
        if let Some(place) = open.and_then(|place| comment(self.text, place)) {
            return say(place, syntax::COMMENT);
        }
        match open {
            None if matches!(char_at(self.text, before), Some('}' | ']')) => say(at, syntax::AFTER_BRACKET),
            Some(place) if syntax::in_brackets(error.info()) => say(place, syntax::BRACKET),
            _ => say(at, syntax::words(error.info())),
        }
    }
}

/// A `#` that was meant as text: right behind a `:` or `,` and a space, after an open bracket.
fn comment(text: &str, bracket: Place) -> Option<Place> {
    let line = text.lines().nth(bracket.line.checked_sub(1)?)?;
    let chars: Vec<char> = line.chars().collect();
    let at = chars.windows(4).skip(bracket.column).position(
        |four| matches!(four, [':' | ',', ' ', '#', next] if !next.is_whitespace() && *next != '#'),
    )?;
    Some(Place { line: bracket.line, column: bracket.column + at + 3 })
}

/// The innermost bracket that is still open.
fn bracket(text: &str, open: &[Open]) -> Option<Place> {
    open.iter().rev().find_map(|open| {
        let (Open::List { place, .. } | Open::Map { place, .. }) = open;
        matches!(char_at(text, *place), Some('[' | '{')).then_some(*place)
    })
}

fn char_at(text: &str, place: Place) -> Option<char> {
    let line = text.lines().nth(place.line.checked_sub(1)?)?;
    line.chars().nth(place.column.checked_sub(1)?)
}

/// The first tab before the text of `line`.
fn tab_in_indentation(text: &str, line: usize) -> Option<Place> {
    let line_text = text.lines().nth(line.checked_sub(1)?)?;
    let indent = line_text.chars().take_while(|c| *c == ' ').count();
    (line_text.chars().nth(indent) == Some('\t')).then_some(Place { line, column: indent + 1 })
}

/// The first tab behind the `:` of a key in `line`.
fn tab_after_colon(text: &str, line: usize) -> Option<Place> {
    let before = text.lines().nth(line.checked_sub(1)?)?.split_once(":\t")?.0;
    Some(Place { line, column: before.chars().count() + 2 })
}

/// The last line above `line` that holds anything, where it is one word with a `:` in it.
fn space_missing(text: &str, line: usize) -> Option<Place> {
    let above = text.lines().take(line.checked_sub(1)?).enumerate();
    let (at, found) = above.filter(|(_, text)| !text.trim().is_empty()).last()?;
    let (key, value) = found.trim().split_once(':')?;
    let word = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let column = found.chars().take_while(|c| *c == ' ').count() + 1;
    (word && !value.is_empty() && !value.starts_with(' ')).then_some(Place { line: at + 1, column })
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line(), column: marker.col() + 1 }
}

//! Elements to text.

use std::fmt::{Display, Write};

use quick_xml::escape::{escape, partial_escape};

use super::is_xml_char;

/// Writes one document: a line per element, indented by its depth.
#[derive(Debug)]
pub struct Writer {
    out: String,
    open: Vec<String>,
}

impl Writer {
    /// A document with an XML declaration.
    pub fn new() -> Self {
        Self { out: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(), open: Vec::new() }
    }

    /// A document whose DTD stands elsewhere, as the formats of 2000 name it.
    pub fn with_doctype(root: &str, public: &str, system: &str) -> Self {
        let out = format!("<?xml version=\"1.0\"?>\n<!DOCTYPE {root} PUBLIC \"{public}\" \"{system}\">\n");
        Self { out, open: Vec::new() }
    }

    /// Begins a tag; [`Tag::open`], [`Tag::empty`] or [`Tag::text`] ends it. `name` is a name.
    pub fn tag(&mut self, name: &str) -> Tag<'_> {
        self.indent();
        self.out.push('<');
        self.out.push_str(name);
        Tag { writer: self, name: name.to_owned() }
    }

    /// An element that holds only text.
    pub fn leaf(&mut self, name: &str, text: &str) {
        self.tag(name).text(text);
    }

    /// Closes the element that was opened last.
    pub fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            self.end(&name);
        }
    }

    /// The document, all elements closed.
    pub fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn indent(&mut self) {
        for _ in &self.open {
            self.out.push(' ');
        }
    }

    fn end(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push_str(">\n");
    }
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

/// A start tag that is being written.
#[derive(Debug)]
#[must_use = "a tag that is not ended leaves the document broken"]
pub struct Tag<'w> {
    writer: &'w mut Writer,
    name: String,
}

impl Tag<'_> {
    /// Adds an attribute.
    pub fn attr(self, name: &str, value: impl Display) -> Self {
        let value = value.to_string();
        let value = clean(&value);
        // White space other than blanks would come back as blanks.
        let value = escape(&*value).replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;");
        let _ = write!(self.writer.out, " {name}=\"{value}\"");
        self
    }

    /// Adds an attribute where there is a value.
    pub fn maybe(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Ends the tag; what follows stands inside until [`Writer::close`].
    pub fn open(self) {
        self.writer.out.push_str(">\n");
        self.writer.open.push(self.name);
    }

    /// Ends the element without content.
    pub fn empty(self) {
        self.writer.out.push_str("/>\n");
    }

    /// Ends the element with text as its content.
    pub fn text(self, text: &str) {
        if text.is_empty() {
            return self.empty();
        }
        self.writer.out.push('>');
        let text = clean(text);
        self.writer.out.push_str(&partial_escape(&*text).replace('\r', "&#13;"));
        self.writer.end(&self.name);
    }
}

/// Characters that no XML can hold become U+FFFD: what is written can always be read.
fn clean(text: &str) -> std::borrow::Cow<'_, str> {
    if text.chars().all(is_xml_char) {
        return text.into();
    }
    text.chars().map(|c| if is_xml_char(c) { c } else { '\u{fffd}' }).collect::<String>().into()
}

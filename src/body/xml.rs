//! XML as a small tree: the one place that knows the XML library.
//!
//! The reader loads and expands nothing. A DOCTYPE that only names a DTD elsewhere is skipped, as the
//! formats of 2000 carry one; an internal subset, and so every entity declaration, is refused. Depth,
//! number of elements, texts and size are bounded by [`limits`].

mod read;
mod tree;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

use super::fault::{At, Fault};
use super::limits;

pub use read::{read, read_any_case, read_fragment};
pub use tree::Document;
pub use write::{Tag, Writer};

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Local name; in lower case when the document was read in any case.
    pub name: String,
    /// Its namespace.
    pub ns: Option<Arc<str>>,
    /// Attributes in order, without namespace declarations.
    pub attrs: Vec<Attribute>,
    /// What stands inside, in order.
    pub children: Vec<Node>,
    /// The line of its start tag, from 1.
    pub line: usize,
}

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Local name; in lower case when the document was read in any case.
    pub name: String,
    /// Its namespace; attributes without prefix have none.
    pub ns: Option<Arc<str>>,
    /// The value, unescaped.
    pub value: String,
}

/// What stands inside an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Text, unescaped; never two in a row.
    Text(String),
}

/// The namespace of `xml:lang`.
pub const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";

impl Element {
    /// Whether it is `name` of the namespace `ns`.
    pub fn is(&self, ns: &str, name: &str) -> bool {
        self.name == name && self.ns.as_deref() == Some(ns)
    }

    /// Its place, for faults.
    pub fn at(&self) -> At {
        At::Line(self.line)
    }

    /// An attribute without namespace.
    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attrs.iter().find(|attr| attr.ns.is_none() && attr.name == name).map(|attr| attr.value.as_str())
    }

    /// An attribute of a namespace.
    pub fn attr_ns(&self, ns: &str, name: &str) -> Option<&str> {
        self.attrs
            .iter()
            .find(|attr| attr.ns.as_deref() == Some(ns) && attr.name == name)
            .map(|attr| attr.value.as_str())
    }

    /// `xml:lang`.
    pub fn lang(&self) -> Option<&str> {
        self.attr_ns(XML_NS, "lang")
    }

    /// An attribute that must be there and not empty.
    ///
    /// # Errors
    /// When it is not.
    pub fn require(&self, name: &str) -> Result<&str, Fault> {
        self.attr(name)
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Fault::missing(self.at(), format!("{name} of <{}>", self.name)))
    }

    /// An attribute that, where it is there, is a decimal number.
    ///
    /// # Errors
    /// When it is something else or does not fit.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.attr(name).map(str::trim) else { return Ok(None) };
        let number = value.bytes().all(|byte| byte.is_ascii_digit()).then(|| value.parse().ok()).flatten();
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.bad(name, value, "a whole number that is not too large")),
        }
    }

    /// The fault of an attribute whose value is not `wanted`.
    pub(super) fn bad(&self, attr: &str, value: &str, wanted: &'static str) -> Fault {
        Fault::value(self.at(), format!("{attr} of <{}>", self.name), value, wanted)
    }

    /// The fault of an element whose text is not `wanted`.
    pub(super) fn bad_text(&self, value: &str, wanted: &'static str) -> Fault {
        Fault::value(self.at(), format!("<{}>", self.name), value, wanted)
    }

    /// The elements directly inside.
    pub fn elements(&self) -> impl Iterator<Item = &Self> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first element of that name directly inside, of any namespace.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.name == name)
    }

    /// The first element of that namespace and name directly inside.
    pub fn child_ns(&self, ns: &str, name: &str) -> Option<&Self> {
        self.elements().find(|element| element.is(ns, name))
    }

    /// The text directly inside, without white space around it.
    pub fn text(&self) -> Cow<'_, str> {
        match self.children.as_slice() {
            [Node::Text(text)] => Cow::Borrowed(text.trim()),
            children => {
                let texts = children.iter().filter_map(|child| match child {
                    Node::Text(text) => Some(text.trim()),
                    Node::Element(_) => None,
                });
                Cow::Owned(texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// The text inside, also within markup of other formats, with single blanks between words.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        self.collect_words(&mut words);
        words.join(" ")
    }

    fn collect_words<'a>(&'a self, words: &mut Vec<&'a str>) {
        for child in &self.children {
            match child {
                Node::Element(element) => element.collect_words(words),
                Node::Text(text) => words.extend(text.split_whitespace()),
            }
        }
    }
}

/// The root, when it is `name` of `ns`.
pub(super) fn expect_root(root: &Element, ns: &str, name: &'static str) -> Result<(), Fault> {
    if root.is(ns, name) {
        return Ok(());
    }
    if root.name == name {
        let found = root.ns.as_deref().unwrap_or("no namespace");
        return Err(root.bad("namespace", found, "the one of its format"));
    }
    Err(Fault::unexpected(root.at(), &root.name, name))
}

/// Whether `name` can be written as the name of an element.
pub(super) fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// Whether XML 1.0 can hold the character at all (§2.2).
pub(super) fn is_xml_char(c: char) -> bool {
    !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

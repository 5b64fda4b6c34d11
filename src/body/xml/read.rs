//! Text to elements.

use std::sync::Arc;

use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

use super::super::fault::{At, Fault, line_of, text};
use super::{Attribute, Element, Node, is_name, is_xml_char, limits};

/// The root of an XML document.
///
/// # Errors
/// When it is no well-formed XML, holds a DTD of its own, or passes a bound.
pub fn read(body: &[u8]) -> Result<Element, Fault> {
    one(roots(body, Rules { fold: false, several: false })?)
}

/// As [`read`], for formats whose names appear in any case: all are made lower case.
///
/// # Errors
/// As [`read`].
pub fn read_any_case(body: &[u8]) -> Result<Element, Fault> {
    one(roots(body, Rules { fold: true, several: false })?)
}

/// As [`read_any_case`], for texts that stand side by side without one root around them; at least
/// one.
///
/// # Errors
/// As [`read`].
pub fn read_fragment(body: &[u8]) -> Result<Vec<Element>, Fault> {
    roots(body, Rules { fold: true, several: true })
}

#[derive(Clone, Copy)]
struct Rules {
    /// Make names lower case.
    fold: bool,
    /// Take more than one root.
    several: bool,
}

fn one(roots: Vec<Element>) -> Result<Element, Fault> {
    roots.into_iter().next().ok_or_else(|| Fault::missing(At::Body, "the root element"))
}

fn roots(body: &[u8], rules: Rules) -> Result<Vec<Element>, Fault> {
    let text = text(body)?;
    let mut tree = Tree {
        text,
        rules,
        reader: NsReader::from_str(text),
        open: Vec::new(),
        roots: Vec::new(),
        elements: 0,
        doctype: false,
        namespaces: Vec::new(),
        read: 0,
        line: 1,
    };
    while tree.step()? {}
    if tree.roots.is_empty() {
        return Err(Fault::missing(At::Body, "the root element"));
    }
    Ok(tree.roots)
}

struct Tree<'a> {
    text: &'a str,
    rules: Rules,
    reader: NsReader<&'a [u8]>,
    open: Vec<Element>,
    roots: Vec<Element>,
    elements: usize,
    doctype: bool,
    /// Each namespace once, so that many elements of a long one cost little.
    namespaces: Vec<Arc<str>>,
    /// Bytes that are read, and the line that their end stands on.
    read: usize,
    line: usize,
}

impl Tree<'_> {
    /// Reads one piece; false at the end.
    fn step(&mut self) -> Result<bool, Fault> {
        let event = self.reader.read_event().map_err(|why| {
            let at = usize::try_from(self.reader.error_position()).unwrap_or(usize::MAX);
            let line = line_of(self.text.as_bytes().get(..at).unwrap_or(self.text.as_bytes()));
            Fault::syntax(At::Line(line), why.to_string())
        })?;
        self.count_lines();
        match event {
            Event::Eof => return self.end_of_text().map(|()| false),
            Event::Start(start) => {
                let element = self.element(&start)?;
                self.open.push(element);
                if self.open.len() > limits::XML_DEPTH {
                    return Err(Fault::too_much(self.at(), "levels of elements", limits::XML_DEPTH));
                }
            }
            Event::Empty(start) => {
                let element = self.element(&start)?;
                self.close(element)?;
            }
            Event::End(_) => {
                if let Some(element) = self.open.pop() {
                    self.close(element)?;
                }
            }
            Event::Text(text) => {
                let text = text.xml10_content().map_err(|why| self.syntax(why.to_string()))?.into_owned();
                self.push_text(&text)?;
            }
            Event::CData(text) => {
                let text = text.xml10_content().map_err(|why| self.syntax(why.to_string()))?.into_owned();
                self.push_text(&text)?;
            }
            Event::GeneralRef(reference) => {
                let text = self.resolve(&reference)?;
                self.push_text(&text)?;
            }
            Event::DocType(doctype) => {
                let has_subset = doctype.contains(&b'[');
                self.doctype(has_subset)?;
            }
            Event::Decl(declaration) => self.declaration(&declaration)?,
            Event::Comment(_) | Event::PI(_) => {}
        }
        Ok(true)
    }

    fn end_of_text(&self) -> Result<(), Fault> {
        match self.open.last() {
            None => Ok(()),
            Some(element) => Err(Fault::syntax(element.at(), format!("<{}> is not closed", element.name))),
        }
    }

    fn doctype(&mut self, has_subset: bool) -> Result<(), Fault> {
        if has_subset {
            return Err(self.syntax("a DOCTYPE with declarations of its own is not accepted"));
        }
        if std::mem::replace(&mut self.doctype, true) || !self.open.is_empty() || !self.roots.is_empty() {
            return Err(self.syntax("a DOCTYPE stands only once, before the root element"));
        }
        Ok(())
    }

    fn declaration(&self, declaration: &BytesDecl<'_>) -> Result<(), Fault> {
        let Some(encoding) = declaration.encoding() else { return Ok(()) };
        let encoding = encoding.map_err(|why| self.syntax(why.to_string()))?;
        if encoding.eq_ignore_ascii_case(b"utf-8") || self.text.is_ascii() {
            return Ok(());
        }
        Err(self.syntax("the encoding is not UTF-8"))
    }

    fn element(&mut self, start: &BytesStart<'_>) -> Result<Element, Fault> {
        self.elements += 1;
        if self.elements > limits::XML_ELEMENTS {
            return Err(Fault::too_much(self.at(), "elements", limits::XML_ELEMENTS));
        }
        let (ns, local) = self.reader.resolve_element(start.name());
        let name = self.name(local.into_inner())?;
        let ns = namespace(ns).map_err(|why| self.syntax(why))?.map(<[u8]>::to_vec);
        let ns = self.intern(ns)?;
        let mut attrs = Vec::new();
        for (count, attribute) in start.attributes().enumerate() {
            if count >= limits::XML_ATTRIBUTES {
                return Err(Fault::too_much(self.at(), "attributes in one element", limits::XML_ATTRIBUTES));
            }
            let attribute = attribute.map_err(|why| self.syntax(why.to_string()))?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let value = attribute.unescape_value().map_err(|why| self.syntax(why.to_string()))?.into_owned();
            self.check_text(&value)?;
            let (ns, local) = self.reader.resolve_attribute(attribute.key);
            let name = self.name(local.into_inner())?;
            let ns = namespace(ns).map_err(|why| self.syntax(why))?.map(<[u8]>::to_vec);
            attrs.push(Attribute { name, ns: self.intern(ns)?, value });
        }
        Ok(Element { name, ns, attrs, children: Vec::new(), line: self.line })
    }

    fn name(&self, local: &[u8]) -> Result<String, Fault> {
        let name = std::str::from_utf8(local).unwrap_or_default();
        if !is_name(name) {
            return Err(Fault::unexpected(self.at(), name, "the name of an element or attribute"));
        }
        Ok(if self.rules.fold { name.to_ascii_lowercase() } else { name.to_owned() })
    }

    fn intern(&mut self, ns: Option<Vec<u8>>) -> Result<Option<Arc<str>>, Fault> {
        let Some(ns) = ns else { return Ok(None) };
        let ns = String::from_utf8(ns).map_err(|_| self.syntax("a namespace is not UTF-8"))?;
        if let Some(known) = self.namespaces.iter().find(|known| ***known == *ns) {
            return Ok(Some(Arc::clone(known)));
        }
        let ns: Arc<str> = ns.into();
        self.namespaces.push(Arc::clone(&ns));
        Ok(Some(ns))
    }

    fn close(&mut self, element: Element) -> Result<(), Fault> {
        match self.open.last_mut() {
            Some(parent) => parent.children.push(Node::Element(element)),
            None if self.roots.is_empty() || self.rules.several => self.roots.push(element),
            None => return Err(Fault::syntax(element.at(), "a second root element")),
        }
        Ok(())
    }

    fn push_text(&mut self, text: &str) -> Result<(), Fault> {
        self.check_text(text)?;
        let at = self.at();
        let Some(element) = self.open.last_mut() else {
            return match text.trim() {
                "" => Ok(()),
                text => Err(Fault::unexpected(at, text, "an element")),
            };
        };
        match element.children.last_mut() {
            Some(Node::Text(before)) => before.push_str(text),
            _ => element.children.push(Node::Text(text.to_owned())),
        }
        let inside = element.children.iter().map(|child| match child {
            Node::Text(text) => text.len(),
            Node::Element(_) => 0,
        });
        if inside.sum::<usize>() > limits::XML_TEXT_BYTES {
            return Err(Fault::too_much(at, "bytes of text in one element", limits::XML_TEXT_BYTES));
        }
        Ok(())
    }

    fn check_text(&self, text: &str) -> Result<(), Fault> {
        if text.len() > limits::XML_TEXT_BYTES {
            return Err(Fault::too_much(self.at(), "bytes of text in one value", limits::XML_TEXT_BYTES));
        }
        match text.chars().all(is_xml_char) {
            true => Ok(()),
            false => Err(self.syntax("a control character that XML does not allow")),
        }
    }

    fn resolve(&self, reference: &BytesRef<'_>) -> Result<String, Fault> {
        if let Some(c) = reference.resolve_char_ref().map_err(|why| self.syntax(why.to_string()))? {
            return Ok(c.to_string());
        }
        let name = reference.decode().map_err(|why| self.syntax(why.to_string()))?;
        match resolve_predefined_entity(&name) {
            Some(text) => Ok(text.to_owned()),
            None => Err(Fault::unexpected(self.at(), &name, "one of the five entities of XML")),
        }
    }

    fn count_lines(&mut self) {
        let end = usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX);
        let new = self.text.as_bytes().get(self.read..end).unwrap_or_default();
        self.line += line_of(new) - 1;
        self.read = end;
    }

    fn at(&self) -> At {
        At::Line(self.line)
    }

    fn syntax(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> Fault {
        Fault::syntax(self.at(), why)
    }
}

fn namespace(resolved: ResolveResult<'_>) -> Result<Option<&[u8]>, &'static str> {
    match resolved {
        ResolveResult::Bound(ns) => Ok(Some(ns.into_inner()).filter(|ns| !ns.is_empty())),
        ResolveResult::Unbound => Ok(None),
        ResolveResult::Unknown(_) => Err("a prefix is not bound to a namespace"),
    }
}

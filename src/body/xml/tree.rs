//! A document as it was written: its elements, and the prefixes that its root binds. What is read is
//! written again with nothing lost but comments, instructions and the place of further bindings.

use std::sync::Arc;

use quick_xml::escape::{escape, partial_escape};
use quick_xml::events::Event;
use quick_xml::reader::NsReader;

use super::super::fault::{At, Fault, text};
use super::{Element, Node, XML_NS, limits, read};

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Its root element.
    pub root: Element,
    /// Prefixes and their namespaces, as the root binds them; the default namespace has the prefix "".
    pub bindings: Vec<(String, Arc<str>)>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(body: &[u8]) -> Result<Self, Fault> {
        Ok(Self { root: read(body)?, bindings: bindings(text(body)?)? })
    }

    /// Reads one element as if it stood inside the root: its prefixes count there, and a name without
    /// one is of the namespace `default`.
    ///
    /// # Errors
    /// When it is not exactly one element, or as [`read`].
    pub fn fragment(&self, body: &[u8], default: &str) -> Result<Element, Fault> {
        let text = text(body)?.trim_start();
        let text = match text.strip_prefix("<?xml") {
            Some(rest) => rest.split_once("?>").map_or("", |(_, rest)| rest),
            None => text,
        };
        if text.contains("<!DOCTYPE") {
            return Err(Fault::syntax(At::Body, "an element has no DOCTYPE"));
        }
        let mut whole = format!("<in xmlns=\"{}\"", escape(default));
        for (prefix, ns) in self.bindings.iter().filter(|(prefix, _)| !prefix.is_empty()) {
            whole.push_str(&format!(" xmlns:{prefix}=\"{}\"", escape(&**ns)));
        }
        let whole = format!("{whole}>{text}</in>");
        let mut around = read(whole.as_bytes())?;
        if around.name != "in" || !around.text().is_empty() || around.elements().count() != 1 {
            return Err(Fault::syntax(At::Body, "exactly one element is needed"));
        }
        let element = around.children.drain(..).find_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        });
        element.ok_or_else(|| Fault::missing(At::Body, "the element"))
    }

    /// The whole document.
    pub fn write(&self) -> String {
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", self.write_element(&self.root))
    }

    /// One element for itself, with the bindings that it needs.
    pub fn write_element(&self, element: &Element) -> String {
        let names = Names::of(element, &self.bindings, std::ptr::eq(element, &self.root));
        let mut out = String::new();
        names.write(element, true, &mut out);
        out
    }

    /// The start of an element alone, with every binding (RFC 4825 §7.10).
    pub fn write_bindings(&self, element: &Element) -> String {
        let bare = Element { attrs: Vec::new(), children: Vec::new(), ..element.clone() };
        let names = Names::of(&bare, &self.bindings, true);
        let mut out = String::new();
        names.write(&bare, true, &mut out);
        out
    }
}

/// What the root element binds.
fn bindings(text: &str) -> Result<Vec<(String, Arc<str>)>, Fault> {
    let mut reader = NsReader::from_str(text);
    loop {
        let event = reader.read_event().map_err(|why| Fault::syntax(At::Body, why.to_string()))?;
        let (Event::Start(start) | Event::Empty(start)) = event else {
            if matches!(event, Event::Eof) {
                return Ok(Vec::new());
            }
            continue;
        };
        let mut bindings = Vec::new();
        for attribute in start.attributes().take(limits::XML_ATTRIBUTES).flatten() {
            let name = std::str::from_utf8(attribute.key.as_ref()).unwrap_or_default();
            let prefix = if name == "xmlns" { Some("") } else { name.strip_prefix("xmlns:") };
            let value = attribute.unescape_value().unwrap_or_default();
            if let Some(prefix) = prefix.filter(|_| !value.is_empty()) {
                bindings.push((prefix.to_owned(), Arc::from(&*value)));
            }
        }
        return Ok(bindings);
    }
}

/// Every namespace of an element and what is inside, each with one prefix.
struct Names {
    bindings: Vec<(String, Arc<str>)>,
}

impl Names {
    fn of(element: &Element, known: &[(String, Arc<str>)], all: bool) -> Self {
        let mut used = Used::default();
        used.collect(element);
        let needed = |ns: &Arc<str>| used.elements.contains(ns) || used.attributes.contains(ns);
        let mut bindings: Vec<_> = known
            .iter()
            // A default namespace would take in what has none.
            .filter(|(prefix, ns)| (all || needed(ns)) && !(prefix.is_empty() && used.none))
            .cloned()
            .collect();
        let mut nth = 0;
        for (ns, prefixed) in
            used.elements.iter().map(|ns| (ns, false)).chain(used.attributes.iter().map(|ns| (ns, true)))
        {
            let bound =
                |(prefix, known): &(String, Arc<str>)| known == ns && !(prefixed && prefix.is_empty());
            if bindings.iter().any(bound) {
                continue;
            }
            let prefix = loop {
                nth += 1;
                let prefix = format!("ns{nth}");
                if !bindings.iter().any(|(known, _)| *known == prefix) {
                    break prefix;
                }
            };
            bindings.push((prefix, ns.clone()));
        }
        Self { bindings }
    }

    fn write(&self, element: &Element, outermost: bool, out: &mut String) {
        let name = self.name(element.ns.as_ref(), &element.name, false);
        out.push('<');
        out.push_str(&name);
        if outermost {
            for (prefix, ns) in &self.bindings {
                let colon = if prefix.is_empty() { "" } else { ":" };
                out.push_str(&format!(" xmlns{colon}{prefix}=\"{}\"", escape(&**ns)));
            }
        }
        for attr in &element.attrs {
            let value =
                escape(&*attr.value).replace('\t', "&#9;").replace('\n', "&#10;").replace('\r', "&#13;");
            out.push_str(&format!(" {}=\"{value}\"", self.name(attr.ns.as_ref(), &attr.name, true)));
        }
        if element.children.is_empty() {
            return out.push_str("/>");
        }
        out.push('>');
        for child in &element.children {
            match child {
                Node::Element(child) => self.write(child, false, out),
                Node::Text(text) => out.push_str(&partial_escape(&**text).replace('\r', "&#13;")),
            }
        }
        out.push_str("</");
        out.push_str(&name);
        out.push('>');
    }

    fn name(&self, ns: Option<&Arc<str>>, local: &str, is_attribute: bool) -> String {
        let Some(ns) = ns else { return local.to_owned() };
        if **ns == *XML_NS {
            return format!("xml:{local}");
        }
        let fits =
            |(prefix, known): &&(String, Arc<str>)| known == ns && !(is_attribute && prefix.is_empty());
        match self.bindings.iter().find(fits) {
            Some((prefix, _)) if !prefix.is_empty() => format!("{prefix}:{local}"),
            _ => local.to_owned(),
        }
    }
}

#[derive(Default)]
struct Used {
    elements: Vec<Arc<str>>,
    attributes: Vec<Arc<str>>,
    /// There is an element without namespace.
    none: bool,
}

impl Used {
    fn collect(&mut self, element: &Element) {
        let add = |to: &mut Vec<Arc<str>>, ns: &Arc<str>| {
            if **ns != *XML_NS && !to.contains(ns) {
                to.push(ns.clone());
            }
        };
        match &element.ns {
            Some(ns) => add(&mut self.elements, ns),
            None => self.none = true,
        }
        element.attrs.iter().filter_map(|attr| attr.ns.as_ref()).for_each(|ns| add(&mut self.attributes, ns));
        element.elements().for_each(|child| self.collect(child));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        for text in [
            r#"<a xmlns="urn:a" xmlns:b="urn:b"><b:c b:d="1" e="&lt;&#10;"> t &amp; u <f/></b:c></a>"#,
            r#"<p:a xmlns:p="urn:a"><p:b xml:lang="en"/></p:a>"#,
            r#"<a><b/></a>"#,
        ] {
            let document = Document::read(text.as_bytes()).unwrap();
            let whole = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}\n");
            assert_eq!(document.write(), whole);
        }
    }

    #[test]
    fn bindings_inside_are_moved_to_the_root() {
        let text = br#"<a xmlns="urn:a"><b xmlns="urn:b" xmlns:c="urn:c" c:d="1"><e xmlns=""/></b></a>"#;
        let document = Document::read(text).unwrap();
        let written = document.write();
        let again = Document::read(written.as_bytes()).unwrap();
        assert_eq!(again.root.child("b").unwrap().ns.as_deref(), Some("urn:b"));
        assert_eq!(again.root.child("b").unwrap().attr_ns("urn:c", "d"), Some("1"));
        assert_eq!(again.root.child("b").unwrap().child("e").unwrap().ns, None);
        assert_eq!(again.write(), written);
    }

    #[test]
    fn a_fragment_knows_the_prefixes_of_its_document() {
        let document = Document::read(br#"<a xmlns="urn:a" xmlns:b="urn:b"/>"#).unwrap();
        let element = document.fragment(b"<?xml version='1.0'?>\n<b:c><d/></b:c>", "urn:a").unwrap();
        assert!(element.is("urn:b", "c") && element.child("d").unwrap().is("urn:a", "d"));
        for wrong in ["", "text", "<c/><d/>", "<x:c/>", "<c>", "<c/></in><in>", "<!DOCTYPE c><c/>"] {
            assert!(document.fragment(wrong.as_bytes(), "urn:a").is_err(), "{wrong}");
        }
    }
}

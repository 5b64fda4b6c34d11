//! An XML document as a list of its elements: enough for the small documents of event packages.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// Elements that are looked at; more make the document unreadable.
const ELEMENTS: usize = 2048;
/// Deepest nesting.
const DEPTH: usize = 16;

/// One element.
#[derive(Debug)]
pub struct Element {
    /// Local names from the root, with `/` between.
    pub path: String,
    attributes: Vec<(String, String)>,
    /// Text directly in it.
    pub text: String,
}

impl Element {
    /// Local name.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// An attribute by its name as written.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The elements in the order of their beginnings; `None` when it is no XML, or too much of it. No
/// document type is read and no entity but the five of XML itself is known.
pub fn elements(text: &str) -> Option<Vec<Element>> {
    let mut reader = Reader::from_str(text);
    let mut elements: Vec<Element> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    loop {
        let piece = match reader.read_event().ok()? {
            Event::Eof => break,
            Event::Start(start) => {
                let element = element(&start, open.last().and_then(|at| elements.get(*at)))?;
                open.push(elements.len());
                elements.push(element);
                None
            }
            Event::Empty(start) => {
                let element = element(&start, open.last().and_then(|at| elements.get(*at)))?;
                elements.push(element);
                None
            }
            Event::End(_) => {
                open.pop();
                None
            }
            Event::Text(text) => Some(text.decode().ok()?.into_owned()),
            Event::CData(text) => Some(text.decode().ok()?.into_owned()),
            Event::GeneralRef(reference) => Some(resolve(&reference)?),
            Event::DocType(_) => return None,
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => None,
        };
        if let (Some(piece), Some(element)) = (piece, open.last().and_then(|at| elements.get_mut(*at))) {
            element.text.push_str(&piece);
        }
        if elements.len() > ELEMENTS || open.len() > DEPTH {
            return None;
        }
    }
    (open.is_empty() && !elements.is_empty()).then_some(elements)
}

fn element(start: &BytesStart<'_>, parent: Option<&Element>) -> Option<Element> {
    let local = std::str::from_utf8(start.local_name().into_inner()).ok()?.to_owned();
    let path = parent.map_or_else(|| local.clone(), |parent| format!("{}/{local}", parent.path));
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let name = std::str::from_utf8(attribute.key.into_inner()).ok()?.to_owned();
        attributes.push((name, attribute.unescape_value().ok()?.into_owned()));
    }
    Some(Element { path, attributes, text: String::new() })
}

fn resolve(reference: &BytesRef<'_>) -> Option<String> {
    if let Some(character) = reference.resolve_char_ref().ok()? {
        return Some(character.to_string());
    }
    resolve_predefined_entity(&reference.decode().ok()?).map(ToOwned::to_owned)
}

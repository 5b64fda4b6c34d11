//! `application/resource-lists+xml` (RFC 4826): named lists of addresses, lists within lists.

use super::fault::Fault;
use super::limits;
use super::xml::{Element, Writer, expect_root, read as read_xml};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/resource-lists+xml";
const NS: &str = "urn:ietf:params:xml:ns:resource-lists";

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Its name, unique among its siblings.
    pub name: Option<String>,
    /// Its name for people.
    pub display: Option<String>,
    /// What it holds, in order.
    pub items: Vec<Item>,
}

/// What a list holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// Another list.
    List(List),
    /// An address.
    Entry(Entry),
    /// An entry elsewhere on the same server, by its relative reference.
    EntryRef(String),
    /// A list elsewhere, by its address.
    External(String),
}

/// An address in a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The address.
    pub uri: String,
    /// Its name for people.
    pub display: Option<String>,
    /// When it was added, in Unix seconds; only the format of 2000 says it.
    pub added: Option<i64>,
}

impl List {
    /// Every address in it and in the lists within, in order. What stands elsewhere is not fetched.
    pub fn entries(&self) -> Vec<&Entry> {
        let mut entries = Vec::new();
        self.collect(&mut entries);
        entries
    }

    fn collect<'a>(&'a self, entries: &mut Vec<&'a Entry>) {
        for item in &self.items {
            match item {
                Item::List(list) => list.collect(entries),
                Item::Entry(entry) => entries.push(entry),
                Item::EntryRef(_) | Item::External(_) => {}
            }
        }
    }
}

/// Writes a document of several lists.
pub fn write(lists: &[List]) -> String {
    let mut w = Writer::new();
    w.tag("resource-lists").attr("xmlns", NS).open();
    for list in lists {
        write_list(&mut w, list);
    }
    w.finish()
}

fn write_list(w: &mut Writer, list: &List) {
    w.tag("list").maybe("name", list.name.as_deref()).open();
    if let Some(display) = &list.display {
        w.leaf("display-name", display);
    }
    for item in &list.items {
        match item {
            Item::List(list) => write_list(w, list),
            Item::Entry(Entry { uri, display: None, .. }) => w.tag("entry").attr("uri", uri).empty(),
            Item::Entry(Entry { uri, display: Some(display), .. }) => {
                w.tag("entry").attr("uri", uri).open();
                w.leaf("display-name", display);
                w.close();
            }
            Item::EntryRef(reference) => w.tag("entry-ref").attr("ref", reference).empty(),
            Item::External(anchor) => w.tag("external").attr("anchor", anchor).empty(),
        }
    }
    w.close();
}

/// Reads a document. Attributes and elements of other formats, such as `copyControl`, are passed over.
///
/// # Errors
/// When it is no resource list, or lists are nested deeper than [`limits::LIST_DEPTH`].
pub fn read(body: &[u8]) -> Result<Vec<List>, Fault> {
    let root = read_xml(body)?;
    expect_root(&root, NS, "resource-lists")?;
    root.elements().filter(|element| element.is(NS, "list")).map(|element| read_list(element, 1)).collect()
}

fn read_list(element: &Element, depth: usize) -> Result<List, Fault> {
    if depth > limits::LIST_DEPTH {
        return Err(Fault::too_much(element.at(), "lists within lists", limits::LIST_DEPTH));
    }
    let mut list = List {
        name: element.attr("name").map(ToOwned::to_owned),
        display: display(element),
        items: Vec::new(),
    };
    for child in element.elements().filter(|child| child.ns.as_deref() == Some(NS)) {
        list.items.push(match child.name.as_str() {
            "list" => Item::List(read_list(child, depth + 1)?),
            "entry" => Item::Entry(Entry {
                uri: child.require("uri")?.to_owned(),
                display: display(child),
                added: None,
            }),
            "entry-ref" => Item::EntryRef(child.require("ref")?.to_owned()),
            "external" => Item::External(child.require("anchor")?.to_owned()),
            _ => continue,
        });
    }
    Ok(list)
}

fn display(element: &Element) -> Option<String> {
    Some(element.child_ns(NS, "display-name")?.text().into_owned()).filter(|display| !display.is_empty())
}

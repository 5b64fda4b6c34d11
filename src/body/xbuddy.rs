//! `application/xbuddy+xml` (draft-rosenberg-impp-buddylist-00), the address list of the year 2000,
//! as the same lists that RFC 4826 has.

use super::fault::Fault;
use super::limits;
use super::method_uri;
use super::resource_lists::{Entry, Item, List};
use super::xml::{Element, Writer, read_any_case};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/xbuddy+xml";
const PUBLIC_ID: &str = "-//IETF//DTD RFCxxxx XBUDDY 1.0//EN";

/// Writes a list; its lists become groups. References to other documents are left out.
pub fn write(list: &List) -> String {
    let mut w = Writer::with_doctype("buddylist", PUBLIC_ID, "xbuddy.dtd");
    write_group(&mut w, "buddylist", list);
    w.finish()
}

fn write_group(w: &mut Writer, tag: &str, list: &List) {
    w.tag(tag).open();
    w.leaf("title", list.display.as_deref().or(list.name.as_deref()).unwrap_or_default());
    for item in &list.items {
        match item {
            Item::List(list) => write_group(w, "group", list),
            Item::Entry(entry) => w
                .tag("buddy")
                .attr("uri", method_uri::with(&entry.uri, "SUBSCRIBE"))
                .maybe("date", entry.added)
                .text(entry.display.as_deref().unwrap_or_default()),
            Item::EntryRef(_) | Item::External(_) => {}
        }
    }
    w.close();
}

/// Reads a list. The address stands in `uri`, as the DTD says, or in `href`, as the prose does;
/// labels may hold markup, of which the words are kept.
///
/// # Errors
/// When it is no buddy list, or groups are nested deeper than [`limits::LIST_DEPTH`].
pub fn read(body: &[u8]) -> Result<List, Fault> {
    let root = read_any_case(body)?;
    if root.name != "buddylist" {
        return Err(Fault::unexpected(root.at(), &root.name, "<buddylist>"));
    }
    read_group(&root, 1)
}

fn read_group(element: &Element, depth: usize) -> Result<List, Fault> {
    if depth > limits::LIST_DEPTH {
        return Err(Fault::too_much(element.at(), "groups within groups", limits::LIST_DEPTH));
    }
    let title = element.child("title").map(Element::words).filter(|title| !title.is_empty());
    let mut list = List { name: None, display: title, items: Vec::new() };
    for child in element.elements() {
        match child.name.as_str() {
            "group" => list.items.push(Item::List(read_group(child, depth + 1)?)),
            "buddy" => list.items.push(Item::Entry(read_buddy(child)?)),
            _ => {}
        }
    }
    Ok(list)
}

fn read_buddy(element: &Element) -> Result<Entry, Fault> {
    let uri = match element.attr("href").map(str::trim).filter(|uri| !uri.is_empty()) {
        Some(href) if element.attr("uri").is_none() => href,
        _ => element.require("uri")?,
    };
    Ok(Entry {
        uri: method_uri::without(uri),
        display: Some(element.words()).filter(|label| !label.is_empty()),
        added: element.number("date")?,
    })
}

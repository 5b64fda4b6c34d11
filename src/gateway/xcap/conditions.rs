//! What is looked at before a document changes: the asker's conditions, and the rules of its format.

use super::fault::Conflict;
use super::{Answer, Kind, Request};
use crate::body::xml::Element;
use crate::limits;
use crate::sip::auth::{Algorithm, hash};
use crate::sip::wire::Uri;

/// The entity tag of a text.
pub(super) fn etag(text: &[u8]) -> String {
    let hash = hash(Algorithm::Sha256, &[text]);
    format!("\"{}\"", hash.as_str().get(..20).unwrap_or_default())
}

/// The answer when a condition of the asker does not hold: `tag` is that of the document, `exists`
/// says whether what is asked for is there.
pub(super) fn refusal(request: &Request, tag: Option<&str>, exists: bool) -> Option<Answer> {
    let reads = matches!(request.method.as_str(), "GET" | "HEAD");
    let names = |value: &str| match value.trim() {
        "*" => exists,
        tags => tags.split(',').any(|one| Some(one.trim().trim_start_matches("W/")) == tag),
    };
    if request.field("if-match").is_some_and(|value| !names(value)) {
        return Some(Answer::text(412, "It is another one by now").with("etag", tag.unwrap_or_default()));
    }
    if request.field("if-none-match").is_some_and(names) {
        let status = if reads { 304 } else { 412 };
        return Some(Answer::new(status).with("etag", tag.unwrap_or_default()));
    }
    None
}

/// What a reader of the format does not see (RFC 4826 §3.4.5, RFC 4825 §8.2.5).
pub(super) fn check(kind: Kind, root: &Element) -> Result<(), Conflict> {
    match kind {
        Kind::Rules | Kind::Isolated => Ok(()),
        Kind::Lists => {
            let mut entries = 0;
            check_list(root, &mut entries)
        }
    }
}

fn check_list(list: &Element, entries: &mut usize) -> Result<(), Conflict> {
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for child in list.elements().filter(|child| child.ns == list.ns) {
        let key = match child.name.as_str() {
            "list" => "name",
            "entry" => "uri",
            "entry-ref" => "ref",
            "external" => "anchor",
            _ => continue,
        };
        *entries += 1;
        if *entries > limits::LIST_ENTRIES {
            return Err(Conflict::Constraint(format!("more than {} entries", limits::LIST_ENTRIES)));
        }
        if child.name == "entry" {
            let uri = child.attr("uri").unwrap_or_default();
            if Uri::parse(uri.trim()).is_err() {
                return Err(Conflict::Schema(format!("line {}: uri of <entry> is no address", child.line)));
            }
        }
        // Only a list may be without a name.
        if let Some(value) = child.attr(key) {
            if seen.contains(&(child.name.as_str(), value)) {
                return Err(Conflict::Unique(format!("{}[@{key}=\"{value}\"]", child.name)));
            }
            seen.push((child.name.as_str(), value));
        }
        if child.name == "list" {
            check_list(child, entries)?;
        }
    }
    Ok(())
}

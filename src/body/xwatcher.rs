//! `application/xwatcher+xml` (draft-rosenberg-impp-watcherinfo-00), watcher information of the year
//! 2000: three states, times in Unix seconds, always the whole list.

use jiff::Timestamp;

use super::fault::Fault;
use super::limits;
use super::method_uri;
use super::presence::atom_id;
use super::watcherinfo::{Watcher, WatcherEvent, WatcherList, WatcherStatus};
use super::xml::{Element, Writer, read_any_case};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/xwatcher+xml";
const PUBLIC_ID: &str = "-//IETF//DTD RFCxxxx XWATCHER 1.0//EN";
/// The package that the watchers of 2000 watch, when they can watch but one.
const PACKAGE: &str = "presence";

/// Writes a document. A waiting watcher is pending; one that is over is rejected or, when it ended
/// otherwise, left out.
pub fn write(list: &WatcherList, now: Timestamp) -> String {
    let mut w = Writer::with_doctype("watcherinfo", PUBLIC_ID, "watcher.dtd");
    w.tag("watcherinfo").open();
    w.tag("presentity").attr("uri", method_uri::with(&list.resource, "SUBSCRIBE")).open();
    for watcher in &list.watchers {
        let Some(status) = status(watcher) else { continue };
        let since = watcher.duration_subscribed.map(|seconds| now.as_second().saturating_sub(seconds.into()));
        w.tag("watcher")
            .attr("uri", &watcher.uri)
            .attr("status", status)
            .maybe("first-subscribed", since)
            .empty();
    }
    w.finish()
}

fn status(watcher: &Watcher) -> Option<&'static str> {
    match (watcher.status, watcher.event) {
        (WatcherStatus::Pending | WatcherStatus::Waiting, _) => Some("pending"),
        (WatcherStatus::Active, _) => Some("active"),
        (WatcherStatus::Terminated, WatcherEvent::Rejected) => Some("rejected"),
        (WatcherStatus::Terminated, _) => None,
    }
}

/// Reads a document. Ids are made of the addresses; addresses for notifications are passed over, as
/// nothing is sent where a document says.
///
/// # Errors
/// When it is no watcher list of 2000.
pub fn read(body: &[u8], now: Timestamp) -> Result<WatcherList, Fault> {
    let root = read_any_case(body)?;
    if root.name != "watcherinfo" {
        return Err(Fault::unexpected(root.at(), &root.name, "<watcherinfo>"));
    }
    let presentity =
        root.child("presentity").ok_or_else(|| Fault::missing(root.at(), "<presentity> of <watcherinfo>"))?;
    let mut list = WatcherList {
        resource: method_uri::without(presentity.require("uri")?),
        package: PACKAGE.to_owned(),
        watchers: Vec::new(),
    };
    for element in presentity.elements().filter(|element| element.name == "watcher") {
        if list.watchers.len() >= limits::WATCHERS {
            return Err(Fault::too_much(element.at(), "watchers", limits::WATCHERS));
        }
        list.watchers.push(read_watcher(element, now)?);
    }
    Ok(list)
}

fn read_watcher(element: &Element, now: Timestamp) -> Result<Watcher, Fault> {
    let uri = element.require("uri")?;
    let (status, event) = match element.require("status")?.to_ascii_lowercase().as_str() {
        "pending" => (WatcherStatus::Pending, WatcherEvent::Subscribe),
        "active" => (WatcherStatus::Active, WatcherEvent::Subscribe),
        "rejected" => (WatcherStatus::Terminated, WatcherEvent::Rejected),
        other => return Err(element.bad("status", other, "pending, active or rejected")),
    };
    let since: Option<i64> = element.number("first-subscribed")?;
    let duration =
        since.map(|since| u32::try_from(now.as_second().saturating_sub(since).max(0)).unwrap_or(u32::MAX));
    Ok(Watcher {
        id: atom_id(uri),
        uri: uri.to_owned(),
        display: None,
        status,
        event,
        expiration: None,
        duration_subscribed: duration,
    })
}

//! `application/watcherinfo+xml` (RFC 3858): who watches something, or wants to.

use super::fault::Fault;
use super::limits;
use super::xml::{Element, Writer, expect_root, read as read_xml};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/watcherinfo+xml";
const NS: &str = "urn:ietf:params:xml:ns:watcherinfo";

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatcherInfo {
    /// 0 in the first document of a subscription, then one more in each (§4).
    pub version: u32,
    /// Whether every watcher is listed, or only those that changed.
    pub full: bool,
    /// Watchers by what they watch.
    pub lists: Vec<WatcherList>,
}

/// The watchers of one resource in one event package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatcherList {
    /// Address of the resource.
    pub resource: String,
    /// Event package.
    pub package: String,
    /// The watchers.
    pub watchers: Vec<Watcher>,
}

/// One subscription, or the wish for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watcher {
    /// A token, the same in all documents.
    pub id: String,
    /// Who.
    pub uri: String,
    /// Name for people.
    pub display: Option<String>,
    /// Its state.
    pub status: WatcherStatus,
    /// What brought it there.
    pub event: WatcherEvent,
    /// Seconds until it ends.
    pub expiration: Option<u32>,
    /// Seconds since it began.
    pub duration_subscribed: Option<u32>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident $word:literal),* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// The word of the format.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

words! {
    /// State of a watcher (RFC 3857 §4.7.1).
    WatcherStatus {
        /// Nobody has decided yet.
        Pending "pending",
        /// It gets what it asked for.
        Active "active",
        /// It gave up before anybody decided; the owner still may.
        Waiting "waiting",
        /// It is over.
        Terminated "terminated"
    }
}

words! {
    /// What brought a watcher into its state (RFC 3857 §4.7.1).
    WatcherEvent {
        /// It subscribed.
        Subscribe "subscribe",
        /// The owner allowed it.
        Approved "approved",
        /// It shall subscribe again at once.
        Deactivated "deactivated",
        /// It shall subscribe again later.
        Probation "probation",
        /// The owner refused it.
        Rejected "rejected",
        /// It did not refresh.
        Timeout "timeout",
        /// Nobody decided in time.
        Giveup "giveup",
        /// What it watched is gone.
        NoResource "noresource"
    }
}

/// What a document is to who has seen the version before (§4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequence {
    /// The next one.
    Next,
    /// Some are lost: a refresh brings the full state.
    Gap,
    /// Seen already, or older: it is discarded.
    Old,
}

impl WatcherInfo {
    /// How it follows on the document of version `last`. A full one never leaves a gap.
    pub fn sequence(&self, last: Option<u32>) -> Sequence {
        match last {
            Some(last) if self.version <= last => Sequence::Old,
            Some(last) if self.version == last + 1 || self.full => Sequence::Next,
            None if self.full => Sequence::Next,
            Some(_) | None => Sequence::Gap,
        }
    }
}

/// Writes a document.
pub fn write(info: &WatcherInfo) -> String {
    let mut w = Writer::new();
    let state = if info.full { "full" } else { "partial" };
    w.tag("watcherinfo").attr("xmlns", NS).attr("version", info.version).attr("state", state).open();
    for list in &info.lists {
        w.tag("watcher-list").attr("resource", &list.resource).attr("package", &list.package).open();
        for watcher in &list.watchers {
            w.tag("watcher")
                .attr("id", &watcher.id)
                .attr("status", watcher.status.word())
                .attr("event", watcher.event.word())
                .maybe("expiration", watcher.expiration)
                .maybe("duration-subscribed", watcher.duration_subscribed)
                .maybe("display-name", watcher.display.as_deref())
                .text(&watcher.uri);
        }
        w.close();
    }
    w.finish()
}

/// Reads a document.
///
/// # Errors
/// When it is no watcher information, or two watchers of a list have the same id.
pub fn read(body: &[u8]) -> Result<WatcherInfo, Fault> {
    let root = read_xml(body)?;
    expect_root(&root, NS, "watcherinfo")?;
    let version =
        root.number("version")?.ok_or_else(|| Fault::missing(root.at(), "version of <watcherinfo>"))?;
    let full = match root.require("state")? {
        "full" => true,
        "partial" => false,
        other => return Err(root.bad("state", other, "full or partial")),
    };
    let lists = root.elements().filter(|element| element.is(NS, "watcher-list")).map(read_list);
    Ok(WatcherInfo { version, full, lists: lists.collect::<Result<_, _>>()? })
}

fn read_list(element: &Element) -> Result<WatcherList, Fault> {
    let mut list = WatcherList {
        resource: element.require("resource")?.to_owned(),
        package: element.require("package")?.to_owned(),
        watchers: Vec::new(),
    };
    for watcher in element.elements().filter(|element| element.is(NS, "watcher")) {
        if list.watchers.len() >= limits::WATCHERS {
            return Err(Fault::too_much(watcher.at(), "watchers", limits::WATCHERS));
        }
        list.watchers.push(read_watcher(watcher)?);
    }
    let mut ids: Vec<&str> = list.watchers.iter().map(|watcher| watcher.id.as_str()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair.first() == pair.last()) {
        Some(_) => Err(Fault::syntax(element.at(), "two watchers have the same id")),
        None => Ok(list),
    }
}

fn read_watcher(element: &Element) -> Result<Watcher, Fault> {
    let id = element.require("id")?;
    if !crate::sip::wire::text::is_token(id.as_bytes()) {
        return Err(element.bad("id", id, "a token"));
    }
    let status = element.require("status")?;
    let event = element.require("event")?;
    let uri = element.text();
    if uri.is_empty() {
        return Err(Fault::missing(element.at(), "the address in <watcher>"));
    }
    Ok(Watcher {
        id: id.to_owned(),
        uri: uri.into_owned(),
        display: element.attr("display-name").map(ToOwned::to_owned),
        status: WatcherStatus::parse(status)
            .ok_or_else(|| element.bad("status", status, "pending, active, waiting or terminated"))?,
        event: WatcherEvent::parse(event)
            .ok_or_else(|| element.bad("event", event, "an event of RFC 3857"))?,
        expiration: element.number("expiration")?,
        duration_subscribed: element.number("duration-subscribed")?,
    })
}

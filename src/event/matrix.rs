//! The negotiation matrix: what a message says, how it is read, and what it gets.
//!
//! The modern form is the default and the only one offered unasked; a form of the years 2000 to 2003
//! is for the peer whose own message names it. The table is data: requests are read by it, and
//! `docs/formats.md` is written from it.

pub mod render;
mod table;

use super::{Package, find};
use crate::config::Compat;
use crate::sip::wire::text::{split_outside, trim};
use crate::sip::wire::{Message, Name, Params};

pub use self::table::ROWS;

/// [`Resource::form`](crate::sip::notifier::Resource::form) of a watcher that wants no state at all.
pub const NOTHING: usize = usize::MAX;

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What the message says.
    pub when: When,
    /// As what it is read.
    pub read: &'static str,
    /// What follows, for the code.
    pub does: &'static [Does],
    /// What follows, for people.
    pub answer: &'static str,
    /// What becomes of it with `compat: off`.
    pub off: Off,
}

/// What a message says that makes it the one of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// A SUBSCRIBE.
    Subscribe {
        /// Its Event.
        event: Event,
        /// Its Accept.
        accept: Accept,
        /// Its Contacts.
        contact: Contact,
    },
    /// A request with this method and a body of this type.
    Carries {
        /// The method.
        method: &'static str,
        /// The media type.
        body: &'static str,
    },
    /// A request with this method, whatever it says.
    Method(&'static str),
    /// Decided where the message is worked on; in words.
    Says(&'static str),
}

/// What the Event of a SUBSCRIBE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is none.
    Absent,
    /// A package that there is.
    Known,
    /// This package.
    Of(&'static str),
    /// This package with the parameter `immediate`.
    Immediate(&'static str),
}

/// What the Accept of a SUBSCRIBE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    /// Anything.
    Any,
    /// There is none.
    Absent,
    /// There is one with nothing in it.
    Empty,
    /// There is none, or it takes a type that the package offers.
    Offered,
    /// It names this type, and none that the package offers.
    Names(&'static str),
}

/// How many Contacts a SUBSCRIBE has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contact {
    /// Whatever number.
    Any,
    /// None, and it asks for the state once (Expires 0).
    Fetch,
    /// More than one.
    Several,
}

/// What follows from a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// Documents in the offered type that is accepted most.
    Offered,
    /// Documents in this type.
    Writes(&'static str),
    /// No documents.
    Nothing,
    /// The state stands in the 200, too.
    InAnswer,
    /// Each Contact is told.
    EachContact,
}

/// What becomes of a row with `compat: off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Off {
    /// The same: it is no historic form.
    Same,
    /// What makes the row is passed over.
    PassedOver,
    /// It is refused with this status.
    Refused(u16),
}

/// What a SUBSCRIBE says, as far as the table asks.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    event: Option<&'a str>,
    immediate: bool,
    /// `None`: no Accept. Else each range with its quality in thousandths.
    accept: Option<Vec<(&'a [u8], u16)>>,
    contacts: usize,
    fetch: bool,
}

/// How a SUBSCRIBE is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Index into [`super::PACKAGES`].
    pub package: usize,
    /// Index into its types, or [`NOTHING`].
    pub form: usize,
    /// The state stands in the 200, too.
    pub in_answer: bool,
    /// Each Contact is told, and not the one alone.
    pub each_contact: bool,
}

/// Why a SUBSCRIBE is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 489, 406, or what a row says.
    pub status: u16,
    /// The package, where there is one.
    pub package: Option<usize>,
}

/// The package that a SUBSCRIBE without Event to an address of watchers is about.
const WATCHERS: &str = "presence.winfo";
/// The package that a SUBSCRIBE without Event is about: there was no other.
const BEFORE_EVENTS: &str = "presence";

impl<'a> Asked<'a> {
    /// What `message` says. Its address may be one of 2000 that is about watchers: no Event said so then.
    pub fn of(message: &Message<'a>, watchers: bool) -> Self {
        let event = message.event();
        let unsaid = watchers.then_some(WATCHERS);
        let ranges = || message.list(Name::Accept).map(range).collect();
        Self {
            event: event.map(|event| event.package).or(unsaid),
            immediate: event.is_some_and(|event| event.params.get("immediate").is_some()),
            accept: (message.count(Name::Accept) > 0).then(ranges),
            contacts: message.list(Name::Contact).count(),
            fetch: message.expires() == Some(0),
        }
    }

    /// Whether it asks for the state once and has nowhere to be told of it but the answer.
    pub fn is_fetch(&self) -> bool {
        Contact::Fetch.holds(self)
    }
}

/// Reads a SUBSCRIBE by the table.
///
/// # Errors
/// When no row is for it, or it is one that `compat` refuses.
pub fn subscribe(asked: &Asked<'_>, compat: Compat) -> Result<Reading, Refused> {
    let name = asked.event.unwrap_or(BEFORE_EVENTS);
    let (package, rules) = find(name).ok_or(Refused { status: 489, package: None })?;
    let types = rules.content_types();
    let offered = types.get(..rules.offered()).unwrap_or(types);
    let refused = |status| Refused { status, package: Some(package) };
    let mut form: Option<(&Row, usize, u16)> = None;
    let mut reading = Reading { package, form: NOTHING, in_answer: false, each_contact: false };
    for row in ROWS {
        let Some(quality) = row.when.holds(asked, offered) else { continue };
        match row.off {
            Off::PassedOver if compat == Compat::Off => continue,
            // Of several forms the first is refused only where it would be taken.
            Off::Refused(status) if compat == Compat::Off && form.is_none() => return Err(refused(status)),
            _ => {}
        }
        for does in row.does {
            let found = match does {
                Does::Offered => best(asked, offered).map(|form| (row, form, u16::MAX)),
                Does::Writes(kind) => {
                    types.iter().position(|known| known == kind).map(|form| (row, form, quality))
                }
                Does::Nothing => Some((row, NOTHING, u16::MAX)),
                Does::InAnswer => {
                    reading.in_answer = true;
                    None
                }
                Does::EachContact => {
                    reading.each_contact = true;
                    None
                }
            };
            // The first row counts, unless the peer prefers another of the same kind.
            if let Some(found) = found
                && form.is_none_or(|known| found.2 > known.2)
            {
                form = Some(found);
            }
        }
    }
    let missing = if asked.event.is_none() { 489 } else { 406 };
    let (_, form, _) = form.ok_or(refused(missing))?;
    Ok(Reading { form, ..reading })
}

/// Whether the 200 to a refresh has the state as its body, too.
pub fn in_answer(asked: &Asked<'_>, compat: Compat) -> bool {
    let holds = |row: &&Row| row.does.contains(&Does::InAnswer) && row.when.holds(asked, &[]).is_some();
    compat != Compat::Off && ROWS.iter().any(|row| holds(&row))
}

/// Whether a method, or a body of this type in it, is one that `compat` refuses; the status.
pub fn refuses(method: &str, body: Option<&str>, compat: Compat) -> Option<u16> {
    if compat != Compat::Off {
        return None;
    }
    let is = |row: &&Row| match row.when {
        When::Method(known) => known == method,
        When::Carries { method: known, body: kind } => {
            known == method && body.is_some_and(|body| body.eq_ignore_ascii_case(kind))
        }
        When::Subscribe { .. } | When::Says(_) => false,
    };
    ROWS.iter().find(is).and_then(|row| match row.off {
        Off::Refused(status) => Some(status),
        Off::Same | Off::PassedOver => None,
    })
}

/// The media types that a request with `method` may carry, for Accept.
pub fn carried(method: &str, compat: Compat) -> impl Iterator<Item = &'static str> {
    ROWS.iter().filter_map(move |row| match (row.when, row.off) {
        (When::Carries { method: known, body }, Off::Same) if known == method => Some(body),
        (When::Carries { method: known, body }, _) if known == method && compat == Compat::Verbose => {
            Some(body)
        }
        _ => None,
    })
}

/// The types of a package that are told unasked, for Accept.
pub fn offered(rules: &dyn Package, compat: Compat) -> String {
    let all = compat == Compat::Verbose;
    let count = if all { usize::MAX } else { rules.offered() };
    rules.content_types().iter().take(count).copied().collect::<Vec<_>>().join(", ")
}

impl When {
    /// Whether a SUBSCRIBE says this; for a named type, how much it is wanted.
    fn holds(self, asked: &Asked<'_>, offered: &[&str]) -> Option<u16> {
        let Self::Subscribe { event, accept, contact } = self else { return None };
        (event.holds(asked) && contact.holds(asked)).then_some(())?;
        let taken = || best(asked, offered).is_some() && asked.event.is_some();
        match (accept, &asked.accept) {
            (Accept::Any, _) | (Accept::Absent | Accept::Offered, None) => Some(u16::MAX),
            (Accept::Empty, Some(ranges)) => ranges.is_empty().then_some(u16::MAX),
            (Accept::Offered, Some(_)) => taken().then_some(u16::MAX),
            (Accept::Names(kind), Some(ranges)) => {
                let named = |(range, quality): &(&[u8], u16)| {
                    range.eq_ignore_ascii_case(kind.as_bytes()).then_some(*quality)
                };
                ranges.iter().filter_map(named).max().filter(|quality| *quality > 0 && !taken())
            }
            (Accept::Absent, Some(_)) | (Accept::Empty | Accept::Names(_), None) => None,
        }
    }
}

impl Event {
    fn holds(self, asked: &Asked<'_>) -> bool {
        let is = |name: &str| asked.event.is_some_and(|event| event.eq_ignore_ascii_case(name));
        match self {
            Self::Absent => asked.event.is_none(),
            Self::Known => asked.event.is_some(),
            Self::Of(name) => is(name),
            Self::Immediate(name) => asked.immediate && is(name),
        }
    }
}

impl Contact {
    fn holds(self, asked: &Asked<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Fetch => asked.contacts == 0 && asked.fetch,
            Self::Several => asked.contacts > 1,
        }
    }
}

/// The type that is accepted most, and of equals the one that is named first; the first of all where
/// there is no Accept.
pub fn best(asked: &Asked<'_>, types: &[&str]) -> Option<usize> {
    let Some(ranges) = &asked.accept else { return (!types.is_empty()).then_some(0) };
    let mut best: Option<(usize, u16)> = None;
    for (range, quality) in ranges {
        for (form, content_type) in types.iter().enumerate() {
            if covers(range, content_type) && *quality > 0 && best.is_none_or(|(_, other)| *quality > other) {
                best = Some((form, *quality));
            }
        }
    }
    best.map(|(form, _)| form)
}

/// Whether a media range takes in a type.
fn covers(range: &[u8], content_type: &str) -> bool {
    if range == b"*/*" || range.eq_ignore_ascii_case(content_type.as_bytes()) {
        return true;
    }
    let family = content_type.split('/').next().unwrap_or_default();
    range.strip_suffix(b"/*").is_some_and(|range| range.eq_ignore_ascii_case(family.as_bytes()))
}

/// A media range with its `q` in thousandths.
fn range(accepted: &[u8]) -> (&[u8], u16) {
    let (range, params) = split_outside(accepted, b';');
    let text = Params::new(params.unwrap_or_default()).text("q");
    let quality =
        text.and_then(|text| text.parse::<f32>().ok()).map_or(1000, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16);
    (trim(range), quality)
}

#[cfg(test)]
mod tests;

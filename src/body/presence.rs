//! Presence, whatever format it comes in: who, and what is known of each way to reach them.
//!
//! A presence is a union of tuples. Each has an id that stays the same from document to document; of
//! two with the same id the newer counts, and one whose time has passed counts no more
//! (draft-rosenberg-impp-pidf-00 §2, RFC 3863).

use std::fmt;

use jiff::Timestamp;
use md5::{Digest, Md5};

use super::xml::is_name;

/// The presence of one entity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// The address whose presence it is, without `;method=`.
    pub entity: String,
    /// Its name for people. PIDF has no place for it.
    pub display: Option<String>,
    /// What is known, in order.
    pub tuples: Vec<Tuple>,
    /// What the person, not one way to reach it, is doing: names of RFC 4480 §3.2.
    pub activities: Vec<String>,
    /// Notes on the whole.
    pub notes: Vec<Note>,
}

/// One way to reach an entity, and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    /// Opaque and stable; see [`atom_id`].
    pub id: String,
    /// Whether it can be reached.
    pub status: Status,
    /// Its address.
    pub contact: Option<String>,
    /// Preference over other contacts.
    pub priority: Option<Priority>,
    /// Texts for people.
    pub notes: Vec<Note>,
    /// Since when the status holds.
    pub timestamp: Option<Timestamp>,
    /// When the tuple ceases to count.
    pub expires: Option<Timestamp>,
    /// Everything else: contact parameters, values of an appliance.
    pub extra: Vec<Extra>,
}

/// Whether something can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// Nothing is said.
    #[default]
    Unknown,
    /// It can.
    Open,
    /// It can, and is busy right now.
    InUse,
    /// It cannot.
    Closed,
}

/// A text for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Its language (RFC 5646), where it is known.
    pub lang: Option<String>,
    /// The text.
    pub text: String,
}

/// A named value of a tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// `methods`, `mobility`, `temperature` …
    pub name: String,
    /// Unit of a measured value.
    pub unit: Option<String>,
    /// The value; empty for a mark that only is there or not.
    pub value: String,
}

/// A preference from 0 to 1 in thousandths (RFC 3261 qvalue).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u16);

impl Priority {
    /// From thousandths; more than 1000 are 1000.
    pub fn from_thousandths(value: u16) -> Self {
        Self(value.min(1000))
    }

    /// In thousandths.
    pub fn thousandths(self) -> u16 {
        self.0
    }

    /// Reads a decimal number from 0 to 1. Digits behind the third, which some phones write, are
    /// cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() + part.len() == 0 {
            return None;
        }
        let whole = match whole.trim_start_matches('0') {
            "" => 0,
            "1" => 1000,
            _ => return None,
        };
        let part: u16 = part.chars().chain("000".chars()).take(3).collect::<String>().parse().ok()?;
        Some(Self(whole + part)).filter(|priority| priority.0 <= 1000)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) {
            return write!(f, "{}", self.0 / 1000);
        }
        let part = format!("{:03}", self.0);
        write!(f, "0.{}", part.trim_end_matches('0'))
    }
}

impl Tuple {
    /// A tuple for a contact address, with the id that everybody computes for it.
    pub fn of(contact: &str, status: Status) -> Self {
        Self { id: atom_id(contact), status, contact: Some(contact.to_owned()), ..Self::default() }
    }

    /// The value of that name.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra.iter().find(|extra| extra.name == name).map(|extra| extra.value.as_str())
    }
}

impl Extra {
    /// A value without unit.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), unit: None, value: value.into() }
    }
}

impl Note {
    /// A text of no known language.
    pub fn new(text: impl Into<String>) -> Self {
        Self { lang: None, text: text.into() }
    }
}

impl Presence {
    /// Takes the tuples of a newer document of the same entity: those of known ids are replaced, others
    /// are added. What is said of the whole is replaced. False, and nothing changes, when it is of
    /// another entity.
    pub fn merge(&mut self, newer: Self) -> bool {
        if newer.entity != self.entity {
            return false;
        }
        for tuple in newer.tuples {
            match self.tuples.iter_mut().find(|known| known.id == tuple.id) {
                Some(known) => *known = tuple,
                None => self.tuples.push(tuple),
            }
        }
        self.display = newer.display.or_else(|| self.display.take());
        self.activities = newer.activities;
        self.notes = newer.notes;
        true
    }

    /// Drops the tuples whose time has passed.
    pub fn expire(&mut self, now: Timestamp) {
        self.tuples.retain(|tuple| tuple.expires.is_none_or(|expires| expires > now));
    }
}

/// The id that a device and a server both compute for a contact: the MD5 of its address in
/// hexadecimal (draft-rosenberg-impp-pidf-00 §3). It is a name, not a secret.
pub fn atom_id(contact: &str) -> String {
    Md5::digest(contact.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id as an XML ID, which begins with a letter: an MD5 gets an `a` before it, what else is no
/// XML ID likewise, and where that does not help, its MD5 stands for it.
pub(super) fn xml_id(id: &str) -> String {
    if is_name(id) && !is_md5(id) {
        return id.to_owned();
    }
    let prefixed = format!("a{id}");
    if is_name(&prefixed) { prefixed } else { format!("a{}", atom_id(id)) }
}

/// The id that an XML ID stands for.
pub(super) fn id_of_xml(xml_id: &str) -> &str {
    xml_id.strip_prefix('a').filter(|id| is_md5(id)).unwrap_or(xml_id)
}

fn is_md5(id: &str) -> bool {
    id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

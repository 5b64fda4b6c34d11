//! A profile in the making, out of what a device says about itself.

mod cases;
mod yaml;

use std::collections::BTreeSet;

use super::names::{free, shown, slug};
use crate::limits::{ID_BYTES, PROFILE_ITEMS};

/// What a device says about itself, in the words of profiles.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// What its profile is called, before it is made unique.
    pub id: String,
    /// For people.
    pub name: String,
    /// Where it was described, for a comment.
    pub origin: String,
    /// Params of the profile, each with its value for this device, and whether it has a default.
    pub params: Vec<(&'static str, String, Option<&'static str>)>,
    /// What tells that it is there.
    pub online: Option<Availability>,
    pub properties: Vec<Property>,
    pub actions: Vec<Action>,
    pub events: Vec<Event>,
    /// What was left out, and why.
    pub notes: Vec<String>,
    /// Ids that are in use.
    pub taken: BTreeSet<String>,
}

/// A topic that says whether the device is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Availability {
    pub from: Source,
    /// Raw text, and `online`, `offline` or `asleep`.
    pub map: Vec<(String, &'static str)>,
}

/// A topic, and where in its payload.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub topic: String,
    pub json: Option<String>,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Bool,
    Int,
    Float,
    Text,
    Time,
    Enum(Vec<String>),
}

/// A property; without a source it cannot be one.
#[derive(Clone, Debug)]
pub(super) struct Property {
    pub id: String,
    pub name: String,
    pub kind: Kind,
    pub unit: Option<String>,
    pub decimals: Option<u8>,
    pub range: Option<(f64, f64)>,
    pub step: Option<f64>,
    pub class: Option<String>,
    pub category: Option<&'static str>,
    pub from: Source,
    /// Raw text and value; empty: the text is the value.
    pub map: Vec<(String, String)>,
    pub target: Option<String>,
    pub write: Option<Write>,
    pub confirm: Option<u32>,
    pub sensitive: bool,
    pub stale_after: Option<u64>,
    pub invalid: Option<&'static str>,
}

/// How something is set.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Write {
    /// The value is the payload.
    Text(String),
    /// The payload is an object with the value under this key.
    Json(String, String),
}

/// Something to do.
#[derive(Clone, Debug)]
pub(super) struct Action {
    pub id: String,
    pub name: String,
    pub topic: String,
    pub payload: String,
    /// `<what>` in the payload.
    pub arg: Option<(Kind, Option<(f64, f64)>)>,
    pub sensitive: bool,
    /// A property, the value that proves it, and in how many seconds.
    pub expect: Option<(String, String, u32)>,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub id: String,
    pub name: String,
    pub class: Option<String>,
    pub from: From,
    /// Raw text and value.
    pub map: Vec<(String, String)>,
}

/// Where an event comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum From {
    Topic(Source),
    /// A change of this property.
    Property(String),
}

impl Property {
    /// A property that is only read.
    pub fn new(id: String, name: &str, kind: Kind, from: Source) -> Self {
        Self {
            name: shown(name).unwrap_or_else(|| id.clone()),
            id,
            kind,
            unit: None,
            decimals: None,
            range: None,
            step: None,
            class: None,
            category: None,
            from,
            map: Vec::new(),
            target: None,
            write: None,
            confirm: None,
            sensitive: false,
            stale_after: None,
            invalid: None,
        }
    }
}

/// Words that commands use for themselves and that are no ids.
const COMMANDS: [&str; 6] = ["set", "status", "help", "toggle", "on", "off"];

impl Draft {
    /// An id for something with this name; `fallback` is one already.
    pub fn id_for(&mut self, name: &str, fallback: &str) -> String {
        let mut id = slug(name);
        if !id.starts_with(|c: char| c.is_ascii_lowercase()) {
            id = if id.is_empty() { fallback.to_owned() } else { format!("n-{id}") };
        }
        if COMMANDS.contains(&id.as_str()) {
            id = format!("{id}-{fallback}");
        }
        id.truncate(ID_BYTES - 4);
        free(&id, &mut self.taken)
    }

    /// Says what is left out.
    pub fn note(&mut self, what: &str, why: impl AsRef<str>) {
        let name = shown(what).unwrap_or_else(|| "something".to_owned());
        self.notes.push(format!("left out: {name} – {}", why.as_ref()));
    }

    /// What two devices of a kind have in common.
    pub fn kind(&self) -> String {
        let params = self.params.iter().map(|(name, _, default)| (*name, "x".to_owned(), *default)).collect();
        let (name, origin) = ("x".to_owned(), String::new());
        Self { params, name, origin, notes: Vec::new(), ..self.clone() }.text("x")
    }

    /// Whether it can do anything.
    pub fn is_empty(&self) -> bool {
        self.properties.is_empty() && self.actions.is_empty() && self.events.is_empty()
    }

    /// The topic that says whether it is there, with params put in.
    pub fn online_topic(&self) -> Option<String> {
        self.online.as_ref().map(|online| self.filled(&online.from.topic))
    }

    /// Every topic that tells a property or an event, with params put in.
    pub fn topics(&self) -> BTreeSet<String> {
        let events = self.events.iter().filter_map(|event| match &event.from {
            From::Topic(source) => Some(&source.topic),
            From::Property(_) => None,
        });
        let own = self.properties.iter().map(|property| &property.from.topic);
        own.chain(events).map(|topic| self.filled(topic)).collect()
    }

    fn filled(&self, topic: &str) -> String {
        self.params
            .iter()
            .fold(topic.to_owned(), |topic, (name, value, _)| topic.replace(&format!("<{name}>"), value))
    }

    /// Takes what is beyond the bounds of a profile out, and says so.
    pub fn bound(&mut self) {
        let most = PROFILE_ITEMS;
        for (count, what) in [
            (self.properties.len(), "properties"),
            (self.actions.len(), "actions"),
            (self.events.len(), "events"),
        ] {
            if count > most {
                self.notes.push(format!("left out: {} {what} beyond {most}", count - most));
            }
        }
        self.properties.truncate(most);
        self.actions.truncate(most);
        self.events.truncate(most);
        let known: BTreeSet<&str> = self.properties.iter().map(|property| property.id.as_str()).collect();
        self.events
            .retain(|event| !matches!(&event.from, From::Property(id) if !known.contains(id.as_str())));
        for action in &mut self.actions {
            action.expect = action.expect.take().filter(|(id, _, _)| known.contains(id.as_str()));
        }
        const NOTES: usize = 40;
        let more = self.notes.len().saturating_sub(NOTES);
        self.notes.truncate(NOTES);
        if more > 0 {
            self.notes.push(format!("and {more} more"));
        }
    }
}

/// Words of a profile's values for raw texts: without spaces, told apart without case. `None` where a text
/// gives no word.
pub(super) fn words(raw: &[String]) -> Option<Vec<(String, String)>> {
    let mut taken = BTreeSet::new();
    let mut map = Vec::new();
    for text in raw {
        let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
        let word = if plain { text.clone() } else { slug(text) };
        if word.is_empty() || word.len() > 64 || !taken.insert(word.to_ascii_lowercase()) {
            return None;
        }
        map.push((text.clone(), word));
    }
    (!map.is_empty()).then_some(map)
}

/// Whether words name something that lets people in: it is granted by name only.
pub(super) fn guards(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "gate", "door", "doors", "lock", "entrance", "latch", "tor", "tuer", "haustuer", "schloss",
        "barrier", "opener",
    ];
    let guard =
        |word: &str| WORDS.contains(&word) || word.starts_with("garage") || word.starts_with("unlock");
    slug(text).split('-').any(guard)
}

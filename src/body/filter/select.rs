//! Selections: the part of XPath that names something in our documents.
//!
//! * `/p:presence/p:tuple/p:status/a:value[@name="temperature"]`, from the root, or `//a:value…` from
//!   anywhere; attributes as `…/p:contact/@priority`; names without prefix are those of PIDF.
//! * `temperature`, a word alone: the property of that name, as SenML names it.
//!
//! All tuples are meant; a selection among them, and any other condition, is not supported.

use super::super::fault::{At, Fault, short};
use super::super::limits;
use super::super::pidf;
use super::super::xml::{Element, is_name};
use super::NS;

/// A part of our documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Whether it can be reached, and all properties.
    Status,
    /// Whether it can be reached.
    Basic,
    /// All properties.
    Properties,
    /// One property.
    Property(String),
    /// The contact with its priority.
    Contact,
    /// The priority of the contact.
    Priority,
    /// Notes for people.
    Note,
    /// Since when the state holds.
    Timestamp,
}

impl Part {
    /// Whether it holds all of `other`.
    pub fn covers(&self, other: &Self) -> bool {
        match self {
            Self::Whole => true,
            Self::Status => {
                matches!(other, Self::Status | Self::Basic | Self::Properties | Self::Property(_))
            }
            Self::Properties => matches!(other, Self::Properties | Self::Property(_)),
            Self::Contact => matches!(other, Self::Contact | Self::Priority),
            _ => self == other,
        }
    }

    /// Whether it holds something of `other`, or `other` something of it.
    pub fn concerns(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether it is a single value that can change from one text to another.
    pub fn has_text(&self) -> bool {
        !matches!(self, Self::Whole | Self::Status | Self::Properties)
    }
}

/// The prefixes of a filter set.
#[derive(Clone, Debug, Default)]
pub struct Bindings(Vec<(String, String)>);

impl Bindings {
    pub(super) fn read(element: Option<&Element>) -> Result<Self, Fault> {
        let mut bindings = Self::default();
        let children = element.into_iter().flat_map(Element::elements);
        for binding in children.filter(|child| child.is(NS, "ns-binding")) {
            if bindings.0.len() >= limits::FILTERS {
                return Err(Fault::too_much(binding.at(), "namespace bindings", limits::FILTERS));
            }
            bindings.0.push((binding.require("prefix")?.to_owned(), binding.require("urn")?.to_owned()));
        }
        Ok(bindings)
    }

    fn ns(&self, prefix: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == prefix).map(|(_, ns)| ns.as_str())
    }
}

/// The part that the text of an element selects.
pub(super) fn part(element: &Element, bindings: &Bindings) -> Result<Part, Fault> {
    let text = element.text();
    if text.is_empty() {
        return Err(Fault::missing(element.at(), format!("the selection in <{}>", element.name)));
    }
    if is_name(&text) && !is_pidf_word(&text) {
        return Ok(Part::Property(text.into_owned()));
    }
    let unsupported = || Fault::unsupported(element.at(), format!("the selection \"{}\"", short(&text)));
    let path = Path::parse(&text, bindings, element.at())?.ok_or_else(unsupported)?;
    path.part().ok_or_else(unsupported)
}

/// The part that a whole namespace makes up.
pub(super) fn namespace(element: &Element) -> Result<Part, Fault> {
    match &*element.text() {
        pidf::NS => Ok(Part::Whole),
        pidf::APPLIANCE_NS => Ok(Part::Properties),
        other => Err(Fault::unsupported(element.at(), format!("the namespace \"{}\"", short(other)))),
    }
}

fn is_pidf_word(text: &str) -> bool {
    matches!(text, "presence" | "tuple" | "status" | "basic" | "contact" | "note" | "timestamp")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pidf,
    Appliance,
}

#[derive(Debug)]
struct Step<'a> {
    kind: Kind,
    name: &'a str,
    /// The value of `[@name="…"]`.
    named: Option<&'a str>,
}

#[derive(Debug)]
struct Path<'a> {
    /// Whether it begins at the root.
    rooted: bool,
    steps: Vec<Step<'a>>,
    attribute: Option<&'a str>,
}

impl<'a> Path<'a> {
    /// `None` when it is XPath that is not supported.
    fn parse(text: &'a str, bindings: &Bindings, at: At) -> Result<Option<Self>, Fault> {
        let (rooted, rest) = match text.strip_prefix("//") {
            Some(rest) => (false, rest),
            None => match text.strip_prefix('/') {
                Some(rest) => (true, rest),
                None => (false, text),
            },
        };
        let mut path = Self { rooted, steps: Vec::new(), attribute: None };
        for step in split(rest) {
            if path.steps.len() >= limits::SELECTION_STEPS {
                return Err(Fault::too_much(at, "steps in one selection", limits::SELECTION_STEPS));
            }
            if path.attribute.is_some() {
                return Ok(None);
            }
            if let Some(attribute) = step.strip_prefix('@') {
                path.attribute = Some(attribute);
                continue;
            }
            match step_of(step, bindings, at)? {
                Some(step) => path.steps.push(step),
                None => return Ok(None),
            }
        }
        Ok(Some(path))
    }

    /// The part of our documents at this path.
    fn part(&self) -> Option<Part> {
        let last = self.steps.last()?;
        let above: Vec<&str> = self.steps.iter().rev().skip(1).map(|step| step.name).collect();
        let only_last_named = self.steps.iter().rev().skip(1).all(|step| step.named.is_none());
        let only_last_ours = self.steps.iter().rev().skip(1).all(|step| step.kind == Kind::Pidf);
        if !only_last_named || !only_last_ours {
            return None;
        }
        let (part, places): (Part, &[&[&str]]) = match (last.kind, last.name) {
            (Kind::Pidf, "presence") => (Part::Whole, &[&[]]),
            (Kind::Pidf, "tuple") => (Part::Whole, &[&["presence"]]),
            (Kind::Pidf, "status") => (Part::Status, &[&["tuple", "presence"]]),
            (Kind::Pidf, "basic") => (Part::Basic, &[&["status", "tuple", "presence"]]),
            (Kind::Pidf, "contact") => (Part::Contact, &[&["tuple", "presence"]]),
            (Kind::Pidf, "timestamp") => (Part::Timestamp, &[&["tuple", "presence"]]),
            (Kind::Pidf, "note") => (Part::Note, &[&["tuple", "presence"], &["presence"]]),
            (Kind::Appliance, "value") => {
                let part = last.named.map_or(Part::Properties, |name| Part::Property(name.to_owned()));
                (part, &[&["status", "tuple", "presence"]])
            }
            _ => return None,
        };
        if last.named.is_some() && !matches!(part, Part::Property(_)) {
            return None;
        }
        let stands = |place: &&[&str]| {
            if self.rooted { above.as_slice() == *place } else { place.starts_with(&above) }
        };
        if !places.iter().any(stands) {
            return None;
        }
        match (self.attribute, part) {
            (None, part) => Some(part),
            (Some("priority"), Part::Contact) => Some(Part::Priority),
            (Some(_), _) => None,
        }
    }
}

/// The steps between slashes that stand outside quotes and brackets.
fn split(text: &str) -> Vec<&str> {
    let mut steps = Vec::new();
    let (mut begin, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '/') => {
                steps.push(text.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            _ => {}
        }
    }
    steps.push(text.get(begin..).unwrap_or_default());
    steps
}

fn step_of<'a>(step: &'a str, bindings: &Bindings, at: At) -> Result<Option<Step<'a>>, Fault> {
    let (test, condition) = match step.find('[') {
        Some(open) => step.split_at(open),
        None => (step, ""),
    };
    let (prefix, name) = test.trim().split_once(':').unwrap_or(("", test.trim()));
    if !is_name(name) {
        return Ok(None);
    }
    let ns = match prefix {
        "" => pidf::NS,
        prefix => bindings.ns(prefix).ok_or_else(|| {
            Fault::missing(at, format!("the <ns-binding> of the prefix \"{}\"", short(prefix)))
        })?,
    };
    let kind = match ns {
        pidf::NS => Kind::Pidf,
        pidf::APPLIANCE_NS => Kind::Appliance,
        other => return Err(Fault::unsupported(at, format!("the namespace \"{}\"", short(other)))),
    };
    let named = match condition {
        "" => None,
        condition => match name_condition(condition) {
            Some(name) => Some(name),
            None => return Ok(None),
        },
    };
    Ok(Some(Step { kind, name, named }))
}

/// The name in `[@name="temperature"]`, in either quotes.
fn name_condition(condition: &str) -> Option<&str> {
    let inner = condition.strip_prefix('[')?.strip_suffix(']')?.trim();
    let value = inner.strip_prefix("@name")?.trim_start().strip_prefix('=')?.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = value.strip_prefix(quote)?.strip_suffix(quote)?;
    Some(name).filter(|name| !name.is_empty() && !name.contains(quote))
}

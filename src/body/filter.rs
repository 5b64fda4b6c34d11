//! `application/simple-filter+xml` (RFC 4661, used as RFC 4660 says): which parts of a state a
//! watcher wants, and upon which changes.
//!
//! Only selections that name a part of our documents are understood; see [`select`]. Everything else
//! is refused as unsupported (488), for a filter that is half understood would hide what it must not.

pub mod select;

use super::fault::{At, Fault};
use super::limits;
use super::xml::{Element, expect_root, read as read_xml};

pub use select::{Bindings, Part};

/// Its media type.
pub const CONTENT_TYPE: &str = "application/simple-filter+xml";
const NS: &str = "urn:ietf:params:xml:ns:simple-filter";

/// The filters of one subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterSet {
    /// The event package that they are meant for.
    pub package: Option<String>,
    /// The filters, by id.
    pub filters: Vec<Filter>,
}

/// One filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Filter {
    /// Its id; a new filter of the same id replaces it.
    pub id: String,
    /// Whose state it filters.
    pub target: Target,
    /// Whether it takes the filter of this id away.
    pub remove: bool,
    /// Whether it is in force.
    pub enabled: bool,
    /// Parts that are wanted; all, when there is none.
    pub include: Vec<Part>,
    /// Parts that are not wanted.
    pub exclude: Vec<Part>,
    /// What must happen for a notification, one of them; every change, when there is none.
    pub triggers: Vec<Trigger>,
}

/// Whose state a filter is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The resource that is subscribed to.
    Resource,
    /// This address of a list.
    Uri(String),
    /// The addresses of this domain.
    Domain(String),
}

/// What must happen, all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trigger {
    /// Values that change.
    pub changed: Vec<Changed>,
    /// Parts that appear.
    pub added: Vec<Part>,
    /// Parts that vanish.
    pub removed: Vec<Part>,
}

/// A value that changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// Of this part.
    pub part: Part,
    /// From this value.
    pub from: Option<String>,
    /// To this value.
    pub to: Option<String>,
    /// By at least this much, up or down.
    pub by: Option<f64>,
}

impl Filter {
    fn is_bare(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty() && self.triggers.is_empty()
    }

    /// Whether a part is to be shown.
    pub fn shows(&self, part: &Part) -> bool {
        let wanted = self.include.is_empty() || self.include.iter().any(|include| include.concerns(part));
        wanted && !self.exclude.iter().any(|exclude| exclude.covers(part))
    }

    /// Whether the change from one state to another is worth a notification. Each state says the text of
    /// a part, or that it has none.
    pub fn fires(
        &self,
        before: &dyn Fn(&Part) -> Option<String>,
        after: &dyn Fn(&Part) -> Option<String>,
    ) -> bool {
        let fires = |trigger: &Trigger| {
            trigger.changed.iter().all(|changed| changed.holds(before(&changed.part), after(&changed.part)))
                && trigger.added.iter().all(|part| before(part).is_none() && after(part).is_some())
                && trigger.removed.iter().all(|part| before(part).is_some() && after(part).is_none())
        };
        self.triggers.is_empty() || self.triggers.iter().any(fires)
    }
}

impl Changed {
    /// Whether a value that was and is did this.
    pub fn holds(&self, before: Option<String>, after: Option<String>) -> bool {
        let (Some(before), Some(after)) = (before, after) else { return false };
        let same = |wanted: &Option<String>, value: &str| match wanted {
            None => true,
            Some(wanted) => match (wanted.trim().parse::<f64>(), value.trim().parse::<f64>()) {
                (Ok(wanted), Ok(value)) => wanted == value,
                _ => wanted == value,
            },
        };
        let moved = match self.by {
            None => before != after,
            Some(by) => match (before.trim().parse::<f64>(), after.trim().parse::<f64>()) {
                // What a double adds below the ninth digit is no change.
                (Ok(before), Ok(after)) => before != after && (after - before).abs() >= by - by.abs() * 1e-9,
                _ => false,
            },
        };
        moved && same(&self.from, &before) && same(&self.to, &after)
    }
}

impl FilterSet {
    /// Takes the filters of a refresh: those of known ids are replaced or removed, new ones are added.
    /// One of a known id that says nothing of its own only switches that filter on or off (RFC 4661
    /// §3.4).
    ///
    /// # Errors
    /// When that makes more than [`limits::FILTERS`]; nothing changes then.
    pub fn update(&mut self, newer: Self) -> Result<(), Fault> {
        let mut filters = self.filters.clone();
        for filter in newer.filters {
            let known = filters.iter_mut().find(|known| known.id == filter.id && !filter.remove);
            if let (Some(known), true) = (known, filter.is_bare()) {
                known.enabled = filter.enabled;
                continue;
            }
            filters.retain(|known| known.id != filter.id);
            if !filter.remove {
                filters.push(filter);
            }
        }
        if filters.len() > limits::FILTERS {
            return Err(Fault::too_much(At::Body, "filters", limits::FILTERS));
        }
        self.filters = filters;
        self.package = newer.package.or_else(|| self.package.take());
        Ok(())
    }

    /// The filter for the state of an address: the one that names it, else that of its domain, else
    /// the one for all. `domain` is the host of the address.
    pub fn for_address(&self, uri: &str, domain: &str) -> Option<&Filter> {
        let rank = |filter: &&Filter| match &filter.target {
            Target::Uri(of) if of == uri => 2,
            Target::Domain(of) if of.eq_ignore_ascii_case(domain) => 1,
            Target::Resource => 0,
            Target::Uri(_) | Target::Domain(_) => -1,
        };
        self.filters.iter().filter(|filter| filter.enabled && rank(filter) >= 0).max_by_key(rank)
    }
}

/// Reads a filter set.
///
/// # Errors
/// When it is no filter set, or ([`Fault::Unsupported`]) selects something that our documents do not
/// have.
pub fn read(body: &[u8]) -> Result<FilterSet, Fault> {
    let root = read_xml(body)?;
    expect_root(&root, NS, "filter-set")?;
    let bindings = Bindings::read(root.child_ns(NS, "ns-bindings"))?;
    let mut set = FilterSet { package: root.attr("package").map(ToOwned::to_owned), filters: Vec::new() };
    for element in own(&root) {
        match element.name.as_str() {
            "ns-bindings" => {}
            "filter" => {
                let filter = read_filter(element, &bindings)?;
                if set.filters.iter().any(|known| known.id == filter.id) {
                    return Err(Fault::syntax(element.at(), "two filters have the same id"));
                }
                set.filters.push(filter);
            }
            other => return Err(Fault::unsupported(element.at(), format!("<{other}>"))),
        }
    }
    match set.filters.len() {
        0 => Err(Fault::missing(root.at(), "<filter>")),
        1..=limits::FILTERS => Ok(set),
        _ => Err(Fault::too_much(root.at(), "filters", limits::FILTERS)),
    }
}

/// The elements of this format. Those of extensions may be ignored (RFC 4661 §4).
fn own(element: &Element) -> impl Iterator<Item = &Element> {
    element.elements().filter(|child| child.ns.as_deref() == Some(NS))
}

fn read_filter(element: &Element, bindings: &Bindings) -> Result<Filter, Fault> {
    let target = match (element.attr("uri"), element.attr("domain")) {
        (None, None) => Target::Resource,
        (Some(uri), None) => Target::Uri(uri.trim().to_owned()),
        (None, Some(domain)) => Target::Domain(domain.trim().to_owned()),
        (Some(_), Some(_)) => return Err(Fault::syntax(element.at(), "a filter has either uri or domain")),
    };
    let mut filter = Filter {
        id: element.require("id")?.to_owned(),
        target,
        remove: flag(element, "remove", false)?,
        enabled: flag(element, "enabled", true)?,
        include: Vec::new(),
        exclude: Vec::new(),
        triggers: Vec::new(),
    };
    for child in own(element) {
        match child.name.as_str() {
            "what" => read_what(child, bindings, &mut filter)?,
            "trigger" => filter.triggers.push(read_trigger(child, bindings)?),
            other => return Err(Fault::unsupported(child.at(), format!("<{other}>"))),
        }
    }
    let selections = filter.include.len() + filter.exclude.len() + filter.triggers.len();
    if selections > limits::FILTERS {
        return Err(Fault::too_much(element.at(), "selections in one filter", limits::FILTERS));
    }
    Ok(filter)
}

fn flag(element: &Element, name: &str, default: bool) -> Result<bool, Fault> {
    match element.attr(name).map(str::trim) {
        None => Ok(default),
        Some("true" | "1") => Ok(true),
        Some("false" | "0") => Ok(false),
        Some(other) => Err(element.bad(name, other, "true or false")),
    }
}

fn read_what(element: &Element, bindings: &Bindings, filter: &mut Filter) -> Result<(), Fault> {
    for child in own(element) {
        let part = match child.attr("type") {
            None | Some("xpath") => select::part(child, bindings)?,
            Some("namespace") => select::namespace(child)?,
            Some(other) => {
                let other = super::fault::short(other);
                return Err(Fault::unsupported(child.at(), format!("a selection of type \"{other}\"")));
            }
        };
        match child.name.as_str() {
            "include" => filter.include.push(part),
            "exclude" => filter.exclude.push(part),
            other => return Err(Fault::unsupported(child.at(), format!("<{other}>"))),
        }
    }
    Ok(())
}

fn read_trigger(element: &Element, bindings: &Bindings) -> Result<Trigger, Fault> {
    let mut trigger = Trigger::default();
    let mut conditions = 0;
    for child in own(element) {
        conditions += 1;
        if conditions > limits::FILTERS {
            return Err(Fault::too_much(child.at(), "conditions in one trigger", limits::FILTERS));
        }
        match child.name.as_str() {
            "changed" => trigger.changed.push(read_changed(child, bindings)?),
            "added" => trigger.added.push(select::part(child, bindings)?),
            "removed" => trigger.removed.push(select::part(child, bindings)?),
            other => return Err(Fault::unsupported(child.at(), format!("<{other}>"))),
        }
    }
    if conditions == 0 {
        return Err(Fault::missing(element.at(), "<changed>, <added> or <removed> in <trigger>"));
    }
    Ok(trigger)
}

fn read_changed(element: &Element, bindings: &Bindings) -> Result<Changed, Fault> {
    let part = select::part(element, bindings)?;
    if !part.has_text() {
        let what = super::fault::short(&element.text());
        return Err(Fault::unsupported(
            element.at(),
            format!("a change of \"{what}\", which is not one value,"),
        ));
    }
    let by = match element.attr("by") {
        None => None,
        Some(by) => {
            let read = by.trim().parse::<f64>().ok().filter(|by| by.is_finite() && *by >= 0.0);
            Some(read.ok_or_else(|| element.bad("by", by, "a number of at least 0"))?)
        }
    };
    let text = |name: &str| element.attr(name).map(ToOwned::to_owned);
    Ok(Changed { part, from: text("from"), to: text("to"), by })
}

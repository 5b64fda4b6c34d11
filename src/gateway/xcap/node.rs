//! Parts of a document: found, put in, taken out (RFC 4825 §7 and §8.2).

use super::fault::Conflict;
use super::path::{End, Name, Selector, Step};
use crate::body::xml::{Attribute, Document, Element, Node};

/// What a part is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An element as text.
    Element(String),
    /// The value of an attribute.
    Attribute(String),
    /// An element that carries the namespaces alone.
    Namespaces(String),
}

/// The part that is selected; `None` when there is none, or when several elements fit.
pub(super) fn get(document: &Document, selector: &Selector, namespaces: &[&str]) -> Option<Part> {
    let element = follow(document, &selector.steps, namespaces)?;
    Some(match &selector.end {
        End::Element => Part::Element(document.write_element(element)),
        End::Namespaces => Part::Namespaces(document.write_bindings(element)),
        End::Attribute(name) => Part::Attribute(attribute(element, name)?.value.clone()),
    })
}

/// Puts an element in or in the place of another; true when it is new.
pub(super) fn put_element(
    document: &mut Document,
    selector: &Selector,
    element: Element,
    namespaces: &[&str],
) -> Result<bool, Conflict> {
    let (last, way) = selector.steps.split_last().ok_or(Conflict::CannotInsert)?;
    if way.is_empty() {
        // The root is there, and is replaced.
        if !step_fits(&element, last, namespaces) {
            return Err(Conflict::CannotInsert);
        }
        document.root = element;
        return Ok(false);
    }
    let parent = follow_mut(document, way, namespaces).ok_or(Conflict::NoParent)?;
    let existing = find(parent, last, namespaces);
    match existing {
        Some(at) => *parent.children.get_mut(at).ok_or(Conflict::CannotInsert)? = Node::Element(element),
        None => {
            let at = place_of(parent, last, &element, namespaces).ok_or(Conflict::CannotInsert)?;
            parent.children.insert(at, Node::Element(element));
        }
    }
    // A second PUT must find what the first one put there.
    let found = find(parent, last, namespaces);
    let there = found.is_some() && existing.is_none_or(|existing| Some(existing) == found);
    if there { Ok(existing.is_none()) } else { Err(Conflict::CannotInsert) }
}

/// Gives an attribute a value; true when it is new.
pub(super) fn put_attribute(
    document: &mut Document,
    steps: &[Step],
    name: &Name,
    value: String,
    namespaces: &[&str],
) -> Result<bool, Conflict> {
    let element = follow_mut(document, steps, namespaces).ok_or(Conflict::NoParent)?;
    let known = element.attrs.iter_mut().find(|attr| is_attribute(attr, name));
    let new = known.is_none();
    match known {
        Some(attr) => attr.value = value,
        None => {
            let ns = name.ns.as_deref().map(Into::into);
            element.attrs.push(Attribute { name: name.local.clone(), ns, value });
        }
    }
    match follow(document, steps, namespaces) {
        Some(_) => Ok(new),
        // The selector names the old value.
        None => Err(Conflict::CannotInsert),
    }
}

/// Takes a part out; false when there is none.
pub(super) fn remove(
    document: &mut Document,
    selector: &Selector,
    namespaces: &[&str],
) -> Result<bool, Conflict> {
    match &selector.end {
        End::Namespaces => return Err(Conflict::CannotDelete),
        End::Attribute(name) => {
            let Some(element) = follow_mut(document, &selector.steps, namespaces) else { return Ok(false) };
            let before = element.attrs.len();
            element.attrs.retain(|attr| !is_attribute(attr, name));
            return Ok(element.attrs.len() < before);
        }
        End::Element => {}
    }
    let (last, way) = selector.steps.split_last().ok_or(Conflict::CannotDelete)?;
    if way.is_empty() {
        return match follow(document, &selector.steps, namespaces) {
            Some(_) => Err(Conflict::CannotDelete),
            None => Ok(false),
        };
    }
    let Some(parent) = follow_mut(document, way, namespaces) else { return Ok(false) };
    let Some(at) = find(parent, last, namespaces) else { return Ok(false) };
    parent.children.remove(at);
    // A second DELETE must not take the next one.
    if find(parent, last, namespaces).is_some() { Err(Conflict::CannotDelete) } else { Ok(true) }
}

fn follow<'d>(document: &'d Document, steps: &[Step], namespaces: &[&str]) -> Option<&'d Element> {
    let (first, rest) = steps.split_first()?;
    let mut element = Some(&document.root).filter(|root| step_fits(root, first, namespaces))?;
    for step in rest {
        let at = find(element, step, namespaces)?;
        element = element.children.get(at).and_then(as_element)?;
    }
    Some(element)
}

fn follow_mut<'d>(
    document: &'d mut Document,
    steps: &[Step],
    namespaces: &[&str],
) -> Option<&'d mut Element> {
    let (first, rest) = steps.split_first()?;
    let mut element = Some(&mut document.root).filter(|root| step_fits(root, first, namespaces))?;
    for step in rest {
        let at = find(element, step, namespaces)?;
        element = match element.children.get_mut(at)? {
            Node::Element(element) => element,
            Node::Text(_) => return None,
        };
    }
    Some(element)
}

/// The place of the one child that fits a step.
fn find(parent: &Element, step: &Step, namespaces: &[&str]) -> Option<usize> {
    let named = named(parent, step, namespaces);
    let mut fitting = named
        .enumerate()
        .filter(|(nth, _)| step.position.is_none_or(|position| position == nth + 1))
        .filter(|(_, (_, element))| attribute_fits(element, step));
    let (_, (at, _)) = fitting.next()?;
    fitting.next().is_none().then_some(at)
}

/// The children with the name of a step, with their places.
fn named<'p>(
    parent: &'p Element,
    step: &'p Step,
    namespaces: &'p [&'p str],
) -> impl Iterator<Item = (usize, &'p Element)> {
    let children = parent.children.iter().enumerate();
    children
        .filter_map(|(at, child)| Some((at, as_element(child)?)))
        .filter(|(_, element)| name_fits(element, step, namespaces))
}

/// Where a new element goes: to its position, else behind the last with the same name, else to the end;
/// a name for people stands first.
fn place_of(parent: &Element, step: &Step, element: &Element, namespaces: &[&str]) -> Option<usize> {
    let named: Vec<usize> = named(parent, step, namespaces).map(|(at, _)| at).collect();
    match (step.position, named.last()) {
        (Some(position), last) if position == named.len() + 1 => {
            Some(last.map_or(parent.children.len(), |last| last + 1))
        }
        // Something stands there that is not the one that is meant: it moves on.
        (Some(position), _) => named.get(position - 1).copied(),
        (None, Some(last)) => Some(last + 1),
        (None, None) if element.name == "display-name" => Some(0),
        (None, None) => Some(parent.children.len()),
    }
}

fn step_fits(element: &Element, step: &Step, namespaces: &[&str]) -> bool {
    name_fits(element, step, namespaces)
        && attribute_fits(element, step)
        && step.position.is_none_or(|position| position == 1)
}

/// A name without prefix is of the application's own namespaces.
fn name_fits(element: &Element, step: &Step, namespaces: &[&str]) -> bool {
    let Some(name) = &step.name else { return true };
    element.name == name.local
        && match (&name.ns, element.ns.as_deref()) {
            (Some(wanted), ns) => ns == Some(wanted),
            (None, Some(ns)) => namespaces.contains(&ns),
            (None, None) => false,
        }
}

fn attribute_fits(element: &Element, step: &Step) -> bool {
    let Some((name, value)) = &step.attribute else { return true };
    attribute(element, name).is_some_and(|attr| attr.value == *value)
}

fn attribute<'e>(element: &'e Element, name: &Name) -> Option<&'e Attribute> {
    element.attrs.iter().find(|attr| is_attribute(attr, name))
}

fn is_attribute(attr: &Attribute, name: &Name) -> bool {
    attr.name == name.local && attr.ns.as_deref() == name.ns.as_deref()
}

fn as_element(node: &Node) -> Option<&Element> {
    match node {
        Node::Element(element) => Some(element),
        Node::Text(_) => None,
    }
}

//! XCAP URIs (RFC 4825 §6): which document, and which part of it.

use crate::gateway::Kind;
use crate::sip::wire::uri::unescape;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// The document.
    pub document: Place,
    /// The part of it; `None`: all of it.
    pub node: Option<Selector>,
}

/// A document of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// One that a user writes.
    Own {
        /// What it is.
        kind: Kind,
        /// Whose it is: `sip:anna@home.example` or `anna`.
        xui: String,
    },
    /// What this server can do.
    Capabilities,
    /// The lists that can be subscribed to; of one user, those that he wrote himself.
    Services {
        /// Whose; `None`: all that the asker may watch.
        xui: Option<String>,
    },
}

/// Which part of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Selector {
    /// From the root element on.
    pub steps: Vec<Step>,
    /// What of the last element is meant.
    pub end: End,
}

/// What of an element is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All of it.
    Element,
    /// One attribute.
    Attribute(Name),
    /// The namespaces that it knows.
    Namespaces,
}

/// One element on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its name; `None`: any.
    pub name: Option<Name>,
    /// Which of those with that name, from 1.
    pub position: Option<usize>,
    /// An attribute and its value.
    pub attribute: Option<(Name, String)>,
}

/// A name in a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The namespace; `None`: it has no prefix.
    pub ns: Option<String>,
    /// The local name.
    pub local: String,
}

/// Where documents begin.
pub(super) const ROOT: &str = "/xcap-root/";
/// Most steps of one selector; more select nothing, as no document is so deep.
const MOST_STEPS: usize = crate::body::limits::XML_DEPTH;

impl Path {
    /// Reads what follows the host in a URI; `None` where there can be nothing.
    pub fn read(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix(ROOT)?;
        let segments: Vec<_> = path.split('/').map(unescape).collect();
        let border = segments.iter().position(|segment| segment == "~~");
        let (document, node) = segments.split_at(border.unwrap_or(segments.len()));
        let document: Vec<&str> = document.iter().map(|segment| &**segment).collect();
        let node = match node.split_first() {
            None => None,
            Some((_, steps)) => Some(Selector::read(&steps.join("/"), &bindings(query))?),
        };
        Some(Self { document: Place::of(&document)?, node })
    }
}

impl Place {
    fn of(segments: &[&str]) -> Option<Self> {
        let own = |kind, xui: &str| Some(Self::Own { kind, xui: xui.to_owned() });
        match *segments {
            ["resource-lists", "users", xui, "index"] => own(Kind::Lists, xui),
            ["pres-rules", "users", xui, "index"] => own(Kind::Rules, xui),
            // As the Open Mobile Alliance calls the same document.
            ["org.openmobilealliance.pres-rules", "users", xui, "pres-rules" | "index"] => {
                own(Kind::Rules, xui)
            }
            ["xcap-caps", "global", "index"] => Some(Self::Capabilities),
            ["rls-services", "global", "index"] => Some(Self::Services { xui: None }),
            ["rls-services", "users", xui, "index"] => Some(Self::Services { xui: Some(xui.to_owned()) }),
            _ => None,
        }
    }
}

impl Selector {
    fn read(text: &str, bindings: &[(String, String)]) -> Option<Self> {
        let mut parts = split(text, '/');
        let end = match parts.last()?.as_str() {
            "namespace::*" => End::Namespaces,
            last => match last.strip_prefix('@') {
                Some(attribute) => End::Attribute(Name::read(attribute, bindings)?),
                None => End::Element,
            },
        };
        if end != End::Element {
            parts.pop();
        }
        if parts.is_empty() || parts.len() > MOST_STEPS {
            return None;
        }
        let steps = parts.iter().map(|part| Step::read(part, bindings)).collect::<Option<_>>()?;
        Some(Self { steps, end })
    }
}

impl Step {
    fn read(text: &str, bindings: &[(String, String)]) -> Option<Self> {
        let (name, mut rest) = text.split_at(text.find('[').unwrap_or(text.len()));
        let name = if name == "*" { None } else { Some(Name::read(name, bindings)?) };
        let mut step = Self { name, position: None, attribute: None };
        while !rest.is_empty() {
            let inner = rest.strip_prefix('[')?;
            let end = closing(inner)?;
            let (predicate, behind) = (inner.get(..end)?, inner.get(end + 1..)?);
            rest = behind;
            match predicate.strip_prefix('@') {
                Some(test) if step.attribute.is_none() => {
                    let (name, value) = test.split_once('=')?;
                    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
                    let value = value.strip_prefix(quote)?.strip_suffix(quote)?;
                    step.attribute = Some((Name::read(name, bindings)?, value.to_owned()));
                }
                // A position comes first (RFC 4825 §6.3).
                None if step.position.is_none() && step.attribute.is_none() => {
                    step.position = Some(predicate.parse().ok().filter(|position| *position > 0)?);
                }
                _ => return None,
            }
        }
        Some(step)
    }
}

impl Name {
    fn read(text: &str, bindings: &[(String, String)]) -> Option<Self> {
        let (ns, local) = match text.split_once(':') {
            Some((prefix, local)) => {
                let bound = bindings.iter().find(|(known, _)| known == prefix)?;
                (Some(bound.1.clone()), local)
            }
            None => (None, text),
        };
        let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        (!local.is_empty() && local.chars().all(inner)).then(|| Self { ns, local: local.to_owned() })
    }
}

/// Where the bracket that is open closes; quoted brackets do not count.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, ']') => return Some(at),
            (None, _) => {}
        }
    }
    None
}

/// The parts between separators; quoted ones do not count.
fn split(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        match parts.last_mut() {
            Some(_) if quote.is_none() && c == separator => parts.push(String::new()),
            Some(part) => part.push(c),
            None => {}
        }
    }
    parts
}

/// `xmlns(prefix=namespace)` of a query (RFC 4825 §6.4).
fn bindings(query: &str) -> Vec<(String, String)> {
    let query = unescape(query);
    let parts = query.split("xmlns(").skip(1);
    let bindings = parts.filter_map(|part| part.split_once(')')?.0.split_once('='));
    bindings.map(|(prefix, ns)| (prefix.trim().to_owned(), ns.trim().to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(node: &str) -> Option<(usize, End)> {
        let path = Path::read(&format!("/xcap-root/resource-lists/users/anna/index/~~/{node}"))?;
        path.node.map(|selector| (selector.steps.len(), selector.end))
    }

    #[test]
    fn documents_have_names() {
        let own = |path: &str| Path::read(&format!("/xcap-root/{path}")).map(|path| path.document);
        let lists = Place::Own { kind: Kind::Lists, xui: "sip:anna@home.example".to_owned() };
        for path in [
            "resource-lists/users/sip:anna@home.example/index",
            "resource-lists/users/sip%3aanna%40home.example/index",
        ] {
            assert_eq!(own(path), Some(lists.clone()), "{path}");
        }
        let rules = Some(Place::Own { kind: Kind::Rules, xui: "anna".to_owned() });
        assert_eq!(own("pres-rules/users/anna/index"), rules);
        assert_eq!(own("org.openmobilealliance.pres-rules/users/anna/pres-rules"), rules);
        for path in ["", "resource-lists", "resource-lists/users/anna", "resource-lists/users/anna/other"] {
            assert_eq!(own(path), None, "{path}");
        }
        assert_eq!(Path::read("/resource-lists/users/anna/index"), None);
    }

    #[test]
    fn selectors_are_read_whole_or_not_at_all() {
        assert_eq!(steps("resource-lists/list%5b@name=%22lamps%22%5d/entry%5b2%5d"), Some((3, End::Element)));
        assert_eq!(steps("resource-lists/*[1][@name='a/]b']"), Some((2, End::Element)));
        let uri = Some(Name { ns: None, local: "uri".to_owned() });
        assert!(
            matches!(steps("a/b[1]/@uri"), Some((2, End::Attribute(name))) if Some(&name) == uri.as_ref())
        );
        assert_eq!(steps("a/namespace::*"), Some((1, End::Namespaces)));
        let bound = "/xcap-root/resource-lists/users/anna/index/~~/p:a/b?xmlns(p=urn:p)";
        let selector = Path::read(bound).unwrap().node.unwrap();
        assert_eq!(
            selector.steps[0].name,
            Some(Name { ns: Some("urn:p".to_owned()), local: "a".to_owned() })
        );
        let deep = "a/".repeat(40) + "a";
        for wrong in [
            "",
            "a//b",
            "p:a",
            "a[0]",
            "a[x]",
            "a[@b=c]",
            "a[@b='c'][1]",
            "a[@b='c",
            "@a",
            "a[1",
            "a]",
            &deep,
        ] {
            assert_eq!(steps(wrong), None, "{wrong}");
        }
    }
}

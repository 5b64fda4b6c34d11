//! `application/auth-policy+xml`: who may watch (RFC 5025 over RFC 4745) and, in a namespace of our
//! own, who may act.
//!
//! Rules only ever grant. What several matching rules grant is added up; where none matches, nothing
//! is granted. A condition that is not known matches nobody.

mod text;

use jiff::Timestamp;

use crate::sip::wire::Uri;

pub use text::{CONTENT_TYPE, CONTROL_NS, read, write};

/// The rules of one owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// In any order: it makes no difference.
    pub rules: Vec<Rule>,
}

/// One rule: who fulfils all conditions is granted what it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// All of them must hold; a rule without any holds for everybody.
    pub conditions: Vec<Condition>,
    /// Whether the watcher may watch.
    pub watch: Watch,
    /// Whether it may act.
    pub act: Act,
    /// What it is shown.
    pub show: Show,
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The proven name is one of these.
    Identity(Vec<Who>),
    /// Now is in one of these spans: from, inclusive, to, exclusive.
    Validity(Vec<(Timestamp, Timestamp)>),
    /// What is watched is one of these appliances; an extension of our own.
    Appliance(Vec<String>),
    /// The owner is at work, at home …: not known here, so it never holds.
    Sphere(String),
    /// A condition of a kind that is not known: it never holds.
    Unknown,
}

/// Whom an identity condition means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// This address.
    One(String),
    /// Everybody with a proven name, of this domain where one is given, except these.
    Many {
        /// The domain.
        domain: Option<String>,
        /// Exceptions.
        except: Vec<Except>,
    },
}

/// An exception from [`Who::Many`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Except {
    /// This address.
    One(String),
    /// This domain.
    Domain(String),
}

/// What becomes of a subscription (RFC 5025 §3.2.1), in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Watch {
    /// It is refused.
    #[default]
    Block,
    /// The owner is asked.
    Confirm,
    /// It is told that everything is closed.
    PoliteBlock,
    /// It is served.
    Allow,
}

/// What becomes of a command, in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// It is refused.
    #[default]
    Block,
    /// It is carried out.
    Allow,
}

/// What a watcher is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// These properties only.
    Properties(Vec<String>),
    /// Everything.
    All,
}

impl Default for Show {
    fn default() -> Self {
        Self::Properties(Vec::new())
    }
}

/// What all matching rules grant together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// Whether any rule speaks of it.
    pub matched: bool,
    /// Whether it may watch.
    pub watch: Watch,
    /// Whether it may act.
    pub act: Act,
    /// What it is shown.
    pub show: Show,
}

impl Ruleset {
    /// What somebody is granted now with an appliance. `identity` is the address that was proven; `None`
    /// for somebody who proved nothing, and who therefore never acts, whatever a rule says.
    pub fn evaluate(&self, identity: Option<&str>, appliance: &str, now: Timestamp) -> Handling {
        let mut handling = Handling::default();
        for rule in self.rules.iter().filter(|rule| rule.matches(identity, appliance, now)) {
            handling.matched = true;
            handling.watch = handling.watch.max(rule.watch);
            handling.act = handling.act.max(rule.act);
            handling.show.add(&rule.show);
        }
        if identity.is_none() {
            handling.act = Act::Block;
        }
        handling
    }

    /// The next moment at which [`Self::evaluate`] may say something else, so that live subscriptions
    /// are judged anew then.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let conditions = self.rules.iter().flat_map(|rule| &rule.conditions);
        let spans = conditions.filter_map(|condition| match condition {
            Condition::Validity(spans) => Some(spans),
            _ => None,
        });
        spans.flatten().flat_map(|(from, until)| [*from, *until]).filter(|at| *at > now).min()
    }
}

impl Rule {
    fn matches(&self, identity: Option<&str>, appliance: &str, now: Timestamp) -> bool {
        self.concerns(appliance, now) && self.means(identity)
    }

    /// Whether it speaks of an appliance now.
    pub fn concerns(&self, appliance: &str, now: Timestamp) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Identity(_) => true,
            Condition::Appliance(ids) => ids.iter().any(|id| id == appliance),
            Condition::Validity(spans) => spans.iter().any(|(from, until)| (from..until).contains(&&now)),
            Condition::Sphere(_) | Condition::Unknown => false,
        })
    }

    /// When it ends that holds now; `None`: never.
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        let spans = self.conditions.iter().filter_map(|condition| match condition {
            Condition::Validity(spans) => {
                spans.iter().find(|(from, until)| (from..until).contains(&&now)).map(|(_, until)| *until)
            }
            _ => None,
        });
        spans.min()
    }

    /// Whether its time is over for good.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.conditions.iter().any(|condition| match condition {
            Condition::Validity(spans) => spans.iter().all(|(_, until)| *until <= now),
            _ => false,
        })
    }

    /// Whether it speaks of somebody.
    pub fn means(&self, identity: Option<&str>) -> bool {
        self.conditions.iter().all(|condition| match condition {
            Condition::Identity(who) => {
                identity.is_some_and(|identity| who.iter().any(|who| who.means(identity)))
            }
            _ => true,
        })
    }
}

impl Who {
    fn means(&self, identity: &str) -> bool {
        match self {
            Self::One(address) => same_address(address, identity),
            Self::Many { domain, except } => {
                let inside = domain.as_ref().is_none_or(|domain| is_of(identity, domain));
                inside
                    && !except.iter().any(|except| match except {
                        Except::One(address) => same_address(address, identity),
                        Except::Domain(domain) => is_of(identity, domain),
                    })
            }
        }
    }
}

impl Show {
    fn add(&mut self, more: &Self) {
        match (&mut *self, more) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Properties(names), Self::Properties(more)) => {
                for name in more {
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
        }
    }

    /// Whether a property is shown.
    pub fn has(&self, property: &str) -> bool {
        match self {
            Self::All => true,
            Self::Properties(names) => names.iter().any(|name| name == property),
        }
    }
}

/// Whether two addresses name the same: users as they are, hosts in any case, sip and sips alike.
fn same_address(one: &str, other: &str) -> bool {
    match (Uri::parse(one.trim()), Uri::parse(other.trim())) {
        (Ok(one), Ok(other)) if one.is_sip() && other.is_sip() => {
            one.user_text() == other.user_text()
                && one.host.eq_ignore_ascii_case(other.host)
                && one.port == other.port
        }
        _ => one.trim() == other.trim(),
    }
}

fn is_of(identity: &str, domain: &str) -> bool {
    Uri::parse(identity.trim()).is_ok_and(|uri| uri.is_sip() && uri.host.eq_ignore_ascii_case(domain.trim()))
}

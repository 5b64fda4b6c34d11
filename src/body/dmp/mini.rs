//! The vocabulary of the framework drafts' examples (draft-moyer-sip-appliances-framework), read and
//! never written: `<command><turn>On</turn></command>`, `<query>Temperature</query>`,
//! `<event>ring</event><identity>…</identity>`, `<temperature>65F</temperature>`.

use super::super::fault::Fault;
use super::super::limits;
use super::super::xml::Element;

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mini {
    /// Do something.
    Command {
        /// What: `unlock`, `turn`, `set`.
        action: String,
        /// To what: `Temperature` in `<command>Temperature<set>25C</set></command>`.
        object: Option<String>,
        /// With what: `On`, `25C`.
        argument: Option<String>,
    },
    /// Say the value of a variable.
    Query(String),
    /// Tell of an event, in SUBSCRIBE; it happened, in NOTIFY.
    Event {
        /// Which.
        name: String,
        /// Who was there.
        identity: Option<String>,
    },
    /// A variable has this value, in answers.
    Value {
        /// The variable, in lower case.
        name: String,
        /// Its value.
        value: String,
    },
}

pub(super) fn read(roots: &[Element]) -> Result<Vec<Mini>, Fault> {
    let mut said: Vec<Mini> = Vec::new();
    for root in roots {
        if said.len() >= limits::DMP_ITEMS {
            return Err(Fault::too_much(root.at(), "commands", limits::DMP_ITEMS));
        }
        match root.name.as_str() {
            "command" => said.push(command(root)?),
            "query" => said.push(Mini::Query(words(root)?)),
            "event" => said.push(Mini::Event { name: words(root)?, identity: None }),
            "identity" => match said.last_mut() {
                Some(Mini::Event { identity: identity @ None, .. }) => *identity = Some(words(root)?),
                _ => {
                    return Err(Fault::unexpected(root.at(), "identity", "an <event> before its <identity>"));
                }
            },
            _ if root.elements().next().is_none() => {
                said.push(Mini::Value { name: root.name.clone(), value: words(root)? });
            }
            other => return Err(Fault::unexpected(root.at(), other, "DMPAction, command, query or event")),
        }
    }
    Ok(said)
}

fn command(root: &Element) -> Result<Mini, Fault> {
    let said = Some(root.text().into_owned()).filter(|text| !text.is_empty());
    let mut elements = root.elements();
    match (elements.next(), elements.next()) {
        (None, _) => Ok(Mini::Command { action: words(root)?, object: None, argument: None }),
        (Some(inner), None) if inner.elements().next().is_none() => {
            let argument = Some(inner.words()).filter(|text| !text.is_empty());
            Ok(Mini::Command { action: inner.name.clone(), object: said, argument })
        }
        (Some(_), _) => Err(Fault::syntax(root.at(), "a <command> says one thing")),
    }
}

fn words(element: &Element) -> Result<String, Fault> {
    let words = element.words();
    match words.is_empty() {
        true => Err(Fault::missing(element.at(), format!("the text of <{}>", element.name))),
        false => Ok(words),
    }
}

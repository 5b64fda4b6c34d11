//! `application/dmp` (draft-khurana-dmp-appliances-00): commands, questions and subscriptions for
//! appliances, and the answers.
//!
//! The draft leaves values, units, result codes, durations and comparisons open; [`terms`] says how
//! they are understood here. The order of a document is the order of its execution. [`mini`] is the
//! smaller vocabulary of the framework drafts' examples under the same label.

pub mod mini;
pub mod terms;

use super::fault::{At, Fault};
use super::limits;
use super::xml::{Element, Writer, read_fragment};

use mini::Mini;

/// Its media type.
pub const CONTENT_TYPE: &str = "application/dmp";

/// One document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    /// What shall be done: `DMPAction`.
    Action(Vec<Order>),
    /// What came of it: `DMPResponse`.
    Response(Vec<Reply>),
    /// The smaller vocabulary.
    Mini(Vec<Mini>),
}

/// What one device shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The device.
    pub device: String,
    /// In this order.
    pub actions: Vec<Action>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Act.
    Control {
        /// What to do.
        action: String,
        /// With what.
        arguments: Vec<String>,
    },
    /// Say the values of these variables.
    Query(Vec<String>),
    /// Tell of changes. Only SUBSCRIBE subscribes; in another request it is a wish.
    Subscribe(Vec<Watch>),
}

/// What to tell of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The variable.
    pub variable: String,
    /// What must happen to it; every change, when there is none. See [`terms::Condition`].
    pub events: Vec<String>,
    /// For how long. See [`terms::Lifetime`].
    pub duration: String,
}

/// What one device has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The device.
    pub device: String,
    /// In the order of the actions.
    pub answers: Vec<Answer>,
}

/// The answer to one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a control.
    Control(Vec<Outcome>),
    /// To a query.
    Query(Vec<Found>),
    /// News for a subscriber.
    Notify(Vec<News>),
}

/// What came of a control.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The action.
    pub action: String,
    /// What it brought: name and value.
    pub out: Vec<(String, String)>,
    /// See [`terms`]; none says success.
    pub codes: Vec<u16>,
}

/// The value of a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The variable.
    pub variable: String,
    /// Its values; see [`terms::Quantity`].
    pub values: Vec<String>,
    /// See [`terms`]; none says success.
    pub codes: Vec<u16>,
}

/// A change of a variable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The variable.
    pub variable: String,
    /// Its values now.
    pub values: Vec<String>,
    /// What happened.
    pub events: Vec<String>,
    /// See [`terms`]; none says success.
    pub codes: Vec<u16>,
}

/// Writes orders.
pub fn write_action(orders: &[Order]) -> String {
    let mut w = Writer::new();
    w.tag("DMPAction").open();
    for order in orders {
        w.leaf("Device", &order.device);
        for action in &order.actions {
            write_one_action(&mut w, action);
        }
    }
    w.finish()
}

fn write_one_action(w: &mut Writer, action: &Action) {
    match action {
        Action::Control { action, arguments } => {
            w.tag("Control").open();
            w.leaf("Action", action);
            arguments.iter().for_each(|argument| w.leaf("Argument", argument));
        }
        Action::Query(variables) => {
            w.tag("Query").open();
            variables.iter().for_each(|variable| w.leaf("Variable", variable));
        }
        Action::Subscribe(watches) => {
            w.tag("Subscribe").open();
            for watch in watches {
                w.leaf("Variable", &watch.variable);
                watch.events.iter().for_each(|event| w.leaf("Event", event));
                w.leaf("Duration", &watch.duration);
            }
        }
    }
    w.close();
}

/// Writes answers.
pub fn write_response(replies: &[Reply]) -> String {
    let mut w = Writer::new();
    w.tag("DMPResponse").open();
    for reply in replies {
        w.leaf("Device", &reply.device);
        for answer in &reply.answers {
            write_answer(&mut w, answer);
        }
    }
    w.finish()
}

fn write_answer(w: &mut Writer, answer: &Answer) {
    let codes = |w: &mut Writer, codes: &[u16]| {
        codes.iter().for_each(|code| w.leaf("ResultCode", &code.to_string()));
    };
    match answer {
        Answer::Control(outcomes) => {
            w.tag("ControlResponse").open();
            for outcome in outcomes {
                w.leaf("Action", &outcome.action);
                for (name, value) in &outcome.out {
                    w.leaf("OutArgument", name);
                    w.leaf("Value", value);
                }
                codes(w, &outcome.codes);
            }
        }
        Answer::Query(found) => {
            w.tag("QueryResponse").open();
            for found in found {
                w.leaf("Variable", &found.variable);
                found.values.iter().for_each(|value| w.leaf("Value", value));
                codes(w, &found.codes);
            }
        }
        Answer::Notify(news) => {
            w.tag("Notify").open();
            for news in news {
                w.leaf("Variable", &news.variable);
                news.values.iter().for_each(|value| w.leaf("Value", value));
                news.events.iter().for_each(|event| w.leaf("Event", event));
                codes(w, &news.codes);
            }
        }
    }
    w.close();
}

/// Reads a document of either vocabulary, of any or no namespace, names in any case.
///
/// # Errors
/// When it is neither, an element is missing or out of place, or a bound is passed.
pub fn read(body: &[u8]) -> Result<Document, Fault> {
    let roots = read_fragment(body)?;
    match roots.as_slice() {
        [root] if root.name == "dmpaction" => Ok(Document::Action(orders(root)?)),
        [root] if root.name == "dmpresponse" => Ok(Document::Response(replies(root)?)),
        roots => match roots.iter().find(|root| root.name.starts_with("dmp")) {
            Some(root) => Err(Fault::unexpected(root.at(), &root.name, "one DMPAction or DMPResponse alone")),
            None => mini::read(roots).map(Document::Mini),
        },
    }
}

fn orders(root: &Element) -> Result<Vec<Order>, Fault> {
    let devices = by_device(root)?;
    let order = |(device, elements): (String, Vec<&Element>)| {
        let actions = elements.into_iter().map(action).collect::<Result<_, _>>()?;
        Ok(Order { device, actions })
    };
    devices.into_iter().map(order).collect()
}

fn replies(root: &Element) -> Result<Vec<Reply>, Fault> {
    let devices = by_device(root)?;
    let reply = |(device, elements): (String, Vec<&Element>)| {
        let answers = elements.into_iter().map(answer).collect::<Result<_, _>>()?;
        Ok(Reply { device, answers })
    };
    devices.into_iter().map(reply).collect()
}

/// The elements behind each `<Device>`: at least one, at most [`limits::DMP_ITEMS`].
fn by_device(root: &Element) -> Result<Vec<(String, Vec<&Element>)>, Fault> {
    let mut devices: Vec<(At, String, Vec<&Element>)> = Vec::new();
    for element in root.elements() {
        if element.name == "device" {
            devices.push((element.at(), word(element)?, Vec::new()));
        } else {
            let (_, _, elements) = devices
                .last_mut()
                .ok_or_else(|| Fault::unexpected(element.at(), &element.name, "<Device>"))?;
            elements.push(element);
            if elements.len() > limits::DMP_ITEMS {
                return Err(Fault::too_much(element.at(), "actions for one device", limits::DMP_ITEMS));
            }
        }
        if devices.len() > limits::DMP_ITEMS {
            return Err(Fault::too_much(element.at(), "devices", limits::DMP_ITEMS));
        }
    }
    if devices.is_empty() {
        return Err(Fault::missing(root.at(), "<Device>"));
    }
    let checked = devices.into_iter().map(|(at, device, elements)| match elements.is_empty() {
        true => Err(Fault::missing(at, format!("what {} shall do or says", super::fault::short(&device)))),
        false => Ok((device, elements)),
    });
    checked.collect()
}

fn action(element: &Element) -> Result<Action, Fault> {
    match element.name.as_str() {
        "control" => {
            let mut groups = groups(element, "action", &["argument"])?.into_iter();
            match (groups.next(), groups.next()) {
                (Some(group), None) => {
                    let arguments = group.words("argument")?;
                    Ok(Action::Control { action: group.head, arguments })
                }
                _ => Err(Fault::syntax(element.at(), "a <Control> has exactly one <Action>")),
            }
        }
        "query" => {
            let groups = groups(element, "variable", &[])?;
            Ok(Action::Query(groups.into_iter().map(|group| group.head).collect()))
        }
        "subscribe" => {
            let groups = groups(element, "variable", &["event", "duration"])?;
            Ok(Action::Subscribe(groups.into_iter().map(watch).collect::<Result<_, _>>()?))
        }
        other => Err(Fault::unexpected(element.at(), other, "Control, Query, Subscribe or Device")),
    }
}

fn watch(group: Group<'_>) -> Result<Watch, Fault> {
    let mut durations = group.words("duration")?;
    let events = group.words("event")?;
    match (durations.pop(), durations.is_empty()) {
        (Some(duration), true) => Ok(Watch { variable: group.head, events, duration }),
        (None, _) => Err(Fault::missing(group.at, "<Duration>")),
        (Some(_), false) => Err(Fault::syntax(group.at, "one variable has several <Duration>s")),
    }
}

fn answer(element: &Element) -> Result<Answer, Fault> {
    match element.name.as_str() {
        "controlresponse" => {
            let groups = groups(element, "action", &["outargument", "value", "resultcode"])?;
            let outcomes = groups.into_iter().map(|group| {
                let (names, values) = (group.words("outargument")?, group.texts("value"));
                if names.len() != values.len() {
                    return Err(Fault::syntax(group.at, "every <OutArgument> has one <Value>"));
                }
                let out = names.into_iter().zip(values).collect();
                Ok(Outcome { out, codes: group.codes()?, action: group.head })
            });
            Ok(Answer::Control(outcomes.collect::<Result<_, _>>()?))
        }
        "queryresponse" => {
            let groups = groups(element, "variable", &["value", "resultcode"])?;
            let found = groups.into_iter().map(|group| {
                Ok(Found { values: group.texts("value"), codes: group.codes()?, variable: group.head })
            });
            Ok(Answer::Query(found.collect::<Result<_, Fault>>()?))
        }
        "notify" => {
            let groups = groups(element, "variable", &["value", "event", "resultcode"])?;
            let news = groups.into_iter().map(|group| {
                let (values, events) = (group.texts("value"), group.words("event")?);
                Ok(News { values, events, codes: group.codes()?, variable: group.head })
            });
            Ok(Answer::Notify(news.collect::<Result<_, Fault>>()?))
        }
        other => {
            Err(Fault::unexpected(element.at(), other, "ControlResponse, QueryResponse, Notify or Device"))
        }
    }
}

/// An element that begins a group, and those that belong to it.
struct Group<'a> {
    at: At,
    head: String,
    members: Vec<&'a Element>,
}

fn groups<'a>(parent: &'a Element, head: &'static str, members: &[&str]) -> Result<Vec<Group<'a>>, Fault> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for element in parent.elements() {
        if element.name == head {
            groups.push(Group { at: element.at(), head: word(element)?, members: Vec::new() });
        } else if members.contains(&element.name.as_str()) {
            let group =
                groups.last_mut().ok_or_else(|| Fault::unexpected(element.at(), &element.name, head))?;
            group.members.push(element);
        } else {
            return Err(Fault::unexpected(element.at(), &element.name, "an element of DMP"));
        }
        if groups.len() > limits::DMP_ITEMS {
            return Err(Fault::too_much(element.at(), "items in one action", limits::DMP_ITEMS));
        }
    }
    match groups.is_empty() {
        true => Err(Fault::missing(parent.at(), format!("<{head}> in <{}>", parent.name))),
        false => Ok(groups),
    }
}

impl Group<'_> {
    fn words(&self, name: &str) -> Result<Vec<String>, Fault> {
        self.members.iter().filter(|element| element.name == name).map(|element| word(element)).collect()
    }

    /// As [`Self::words`], where an empty text is a value too.
    fn texts(&self, name: &str) -> Vec<String> {
        self.members.iter().filter(|element| element.name == name).map(|element| element.words()).collect()
    }

    fn codes(&self) -> Result<Vec<u16>, Fault> {
        let codes = self.members.iter().filter(|element| element.name == "resultcode");
        codes
            .map(|element| {
                let text = element.words();
                text.parse().map_err(|_| element.bad_text(&text, "a result code"))
            })
            .collect()
    }
}

/// The text of an element that must have one, trimmed.
fn word(element: &Element) -> Result<String, Fault> {
    let word = element.words();
    if word.is_empty() {
        Err(Fault::missing(element.at(), format!("the text of <{}>", element.name)))
    } else {
        Ok(word)
    }
}

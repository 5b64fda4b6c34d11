//! Rules to XML and back.

use jiff::Timestamp;

use super::super::fault::Fault;
use super::super::limits;
use super::super::xml::{Element, Writer, expect_root, read as read_xml};
use super::{Act, Condition, Except, Rule, Ruleset, Show, Watch, Who};

/// Media type of rules.
pub const CONTENT_TYPE: &str = "application/auth-policy+xml";
/// Namespace of the rights to act and of the properties that are shown.
pub const CONTROL_NS: &str = "urn:x-sipliance:control-rules:1";
const NS: &str = "urn:ietf:params:xml:ns:common-policy";
const PRES_NS: &str = "urn:ietf:params:xml:ns:pres-rules";

/// Writes rules. A condition that was not known when it was read still matches nobody.
pub fn write(ruleset: &Ruleset) -> String {
    let mut w = Writer::new();
    w.tag("ruleset").attr("xmlns", NS).attr("xmlns:pr", PRES_NS).attr("xmlns:act", CONTROL_NS).open();
    for rule in &ruleset.rules {
        w.tag("rule").attr("id", &rule.id).open();
        if !rule.conditions.is_empty() {
            w.tag("conditions").open();
            rule.conditions.iter().for_each(|condition| write_condition(&mut w, condition));
            w.close();
        }
        w.tag("actions").open();
        w.leaf("pr:sub-handling", watch_word(rule.watch));
        w.leaf("act:do-handling", act_word(rule.act));
        w.close();
        write_show(&mut w, &rule.show);
        w.close();
    }
    w.finish()
}

fn write_condition(w: &mut Writer, condition: &Condition) {
    match condition {
        Condition::Identity(who) => {
            w.tag("identity").open();
            who.iter().for_each(|who| write_who(w, who));
            w.close();
        }
        Condition::Validity(spans) => {
            w.tag("validity").open();
            for (from, until) in spans {
                w.leaf("from", &from.to_string());
                w.leaf("until", &until.to_string());
            }
            w.close();
        }
        Condition::Appliance(ids) => {
            w.tag("act:appliances").open();
            ids.iter().for_each(|id| w.tag("act:appliance").attr("id", id).empty());
            w.close();
        }
        Condition::Sphere(value) => w.tag("sphere").attr("value", value).empty(),
        Condition::Unknown => w.tag("act:unknown").empty(),
    }
}

fn write_who(w: &mut Writer, who: &Who) {
    match who {
        Who::One(address) => w.tag("one").attr("id", address).empty(),
        Who::Many { domain, except } => {
            w.tag("many").maybe("domain", domain.as_deref()).open();
            for except in except {
                match except {
                    Except::One(address) => w.tag("except").attr("id", address).empty(),
                    Except::Domain(domain) => w.tag("except").attr("domain", domain).empty(),
                }
            }
            w.close();
        }
    }
}

fn write_show(w: &mut Writer, show: &Show) {
    match show {
        Show::All => {
            w.tag("transformations").open();
            w.tag("pr:provide-all-attributes").empty();
            w.close();
        }
        Show::Properties(names) if names.is_empty() => {}
        Show::Properties(names) => {
            w.tag("transformations").open();
            names.iter().for_each(|name| w.tag("act:provide-property").attr("name", name).empty());
            w.close();
        }
    }
}

fn watch_word(watch: Watch) -> &'static str {
    match watch {
        Watch::Block => "block",
        Watch::Confirm => "confirm",
        Watch::PoliteBlock => "polite-block",
        Watch::Allow => "allow",
    }
}

fn act_word(act: Act) -> &'static str {
    match act {
        Act::Block => "block",
        Act::Allow => "allow",
    }
}

/// Reads rules. Actions and transformations that are not known grant nothing and are passed over.
///
/// # Errors
/// When it is no ruleset, a rule has no id of its own, or a value is none of its kind.
pub fn read(body: &[u8]) -> Result<Ruleset, Fault> {
    let root = read_xml(body)?;
    expect_root(&root, NS, "ruleset")?;
    let mut ruleset = Ruleset::default();
    for element in root.elements().filter(|element| element.is(NS, "rule")) {
        if ruleset.rules.len() >= limits::RULES {
            return Err(Fault::too_much(element.at(), "rules", limits::RULES));
        }
        let rule = read_rule(element)?;
        if ruleset.rules.iter().any(|known| known.id == rule.id) {
            return Err(Fault::syntax(element.at(), "two rules have the same id"));
        }
        ruleset.rules.push(rule);
    }
    Ok(ruleset)
}

fn read_rule(element: &Element) -> Result<Rule, Fault> {
    let mut rule = Rule { id: element.require("id")?.to_owned(), ..Rule::default() };
    for section in element.elements().filter(|child| child.ns.as_deref() == Some(NS)) {
        match section.name.as_str() {
            "conditions" => {
                for child in section.elements() {
                    rule.conditions.push(read_condition(child)?);
                }
            }
            "actions" => {
                for child in section.elements() {
                    read_action(child, &mut rule)?;
                }
            }
            "transformations" => {
                for child in section.elements() {
                    read_transformation(child, &mut rule)?;
                }
            }
            _ => {}
        }
    }
    Ok(rule)
}

fn read_condition(element: &Element) -> Result<Condition, Fault> {
    if element.is(CONTROL_NS, "appliances") {
        let ids = element.elements().map(|child| child.require("id").map(ToOwned::to_owned));
        return Ok(Condition::Appliance(ids.collect::<Result<_, _>>()?));
    }
    if element.ns.as_deref() != Some(NS) {
        return Ok(Condition::Unknown);
    }
    match element.name.as_str() {
        "identity" => {
            let mut who = Vec::new();
            for child in element.elements().filter(|child| child.ns.as_deref() == Some(NS)) {
                who.extend(read_who(child)?);
            }
            Ok(Condition::Identity(who))
        }
        "validity" => read_validity(element),
        "sphere" => Ok(Condition::Sphere(element.require("value")?.to_owned())),
        _ => Ok(Condition::Unknown),
    }
}

/// Nobody, where the element is not known.
fn read_who(element: &Element) -> Result<Option<Who>, Fault> {
    match element.name.as_str() {
        "one" => Ok(Some(Who::One(element.require("id")?.to_owned()))),
        "many" => {
            let mut except = Vec::new();
            for child in element.elements() {
                // An exception that is not understood must not be lost: it would widen the rule.
                match (child.name.as_str(), child.attr("id"), child.attr("domain")) {
                    ("except", Some(id), None) => except.push(Except::One(id.trim().to_owned())),
                    ("except", None, Some(domain)) => except.push(Except::Domain(domain.trim().to_owned())),
                    _ => return Ok(None),
                }
            }
            let domain = element.attr("domain").map(|domain| domain.trim().to_owned());
            Ok(Some(Who::Many { domain, except }))
        }
        _ => Ok(None),
    }
}

fn read_validity(element: &Element) -> Result<Condition, Fault> {
    let time = |child: &Element| {
        let text = child.text();
        text.parse::<Timestamp>().map_err(|_| child.bad_text(&text, "a time like 2026-01-01T00:00:00Z"))
    };
    let mut spans = Vec::new();
    let mut begun = None;
    for child in element.elements() {
        match (child.name.as_str(), begun) {
            ("from", None) => begun = Some(time(child)?),
            ("until", Some(from)) => {
                spans.push((from, time(child)?));
                begun = None;
            }
            (other, _) => return Err(Fault::unexpected(child.at(), other, "<from> and <until> in turn")),
        }
    }
    match begun {
        Some(_) => Err(Fault::missing(element.at(), "the last <until> of <validity>")),
        None => Ok(Condition::Validity(spans)),
    }
}

fn read_action(element: &Element, rule: &mut Rule) -> Result<(), Fault> {
    let text = element.text();
    if element.is(PRES_NS, "sub-handling") {
        rule.watch = match &*text {
            "block" => Watch::Block,
            "confirm" => Watch::Confirm,
            "polite-block" => Watch::PoliteBlock,
            "allow" => Watch::Allow,
            other => return Err(element.bad_text(other, "block, confirm, polite-block or allow")),
        };
    } else if element.is(CONTROL_NS, "do-handling") {
        rule.act = match &*text {
            "block" => Act::Block,
            "allow" => Act::Allow,
            other => return Err(element.bad_text(other, "block or allow")),
        };
    }
    Ok(())
}

fn read_transformation(element: &Element, rule: &mut Rule) -> Result<(), Fault> {
    if element.is(PRES_NS, "provide-all-attributes") {
        rule.show = Show::All;
    } else if element.is(CONTROL_NS, "provide-property") {
        let name = element.require("name")?.to_owned();
        rule.show.add(&Show::Properties(vec![name]));
    }
    Ok(())
}

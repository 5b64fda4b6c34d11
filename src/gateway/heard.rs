//! What a document from elsewhere says, in words of the house.

use jiff::Timestamp;

use crate::body::message_summary::{self, NewOld, Summary};
use crate::body::presence::{Presence, Status};
use crate::body::{lpidf, pidf, senml, xpidf};
use crate::device::house::{Sort, Told};
use crate::device::profile::Watched;
use crate::device::shadow::Health;

/// The state of something elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub health: Health,
    items: Vec<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    name: String,
    text: String,
    /// `None`: nobody knows.
    at_ms: Option<i64>,
    sort: Sort,
}

impl Heard {
    /// The notifier knows nothing yet.
    pub fn nothing() -> Self {
        Self { health: Health::Unknown, items: Vec::new() }
    }

    /// For the house.
    pub fn items(&self) -> Vec<Told<'_>> {
        let told = |item| {
            let Item { name, text, at_ms, sort }: &Item = item;
            Told { item: name, text: text.into(), at_ms: *at_ms, sort: *sort }
        };
        self.items.iter().map(told).collect()
    }

    fn with(mut self, name: &str, text: impl ToString, at_ms: i64) -> Self {
        let (name, text) = (name.to_owned(), text.to_string());
        self.items.push(Item { name, text, at_ms: Some(at_ms), sort: Sort::Value });
        self
    }
}

/// The media types that are asked for.
pub(super) fn accepted(watched: Watched) -> &'static str {
    match watched {
        Watched::Appliance => senml::CONTENT_TYPE,
        Watched::Presence => {
            "application/pidf+xml, application/cpim-pidf+xml, application/xpidf+xml, text/lpidf"
        }
        Watched::MessageSummary => message_summary::CONTENT_TYPE,
    }
}

/// Reads a document.
///
/// # Errors
/// Says in words what is wrong with it.
pub(super) fn read(watched: Watched, kind: &str, body: &[u8], now_ms: i64) -> Result<Heard, String> {
    let now = Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let is = |known: &str| kind.eq_ignore_ascii_case(known);
    let wrong = |fault: crate::body::fault::Fault| fault.to_string();
    match watched {
        Watched::Appliance if is(senml::CONTENT_TYPE) => appliance(&senml::read(body, now).map_err(wrong)?),
        Watched::Presence if is(pidf::CONTENT_TYPE) || is(pidf::CPIM_CONTENT_TYPE) => {
            pidf::read(body).map_err(wrong).map(|read| presence(&read, now_ms))
        }
        Watched::Presence if is("application/xpidf+xml") => {
            xpidf::read(body).map_err(wrong).map(|read| presence(&read, now_ms))
        }
        Watched::Presence if is("text/lpidf") => {
            lpidf::read(body, now).map_err(wrong).map(|read| presence(&read, now_ms))
        }
        Watched::MessageSummary if is(message_summary::CONTENT_TYPE) => {
            message_summary::read(body).map_err(wrong).map(|read| mailbox(&read, now_ms))
        }
        _ => Err(format!("{kind} is not what was asked for")),
    }
}

/// `health` and `link` are about the appliance, `x.last` is not believed there, `x.target` is a goal, and `x.age` says that
/// nobody knows when `x` was read.
fn appliance(records: &[senml::Record]) -> Result<Heard, String> {
    let mut heard = Heard { health: Health::Online, items: Vec::new() };
    let (mut linked, mut owner) = (true, None);
    for record in records {
        let (of, name) = record.name.rsplit_once(['/', ':']).unwrap_or(("", &record.name));
        if *owner.get_or_insert(of) != of {
            return Err("it tells of several appliances at once".to_owned());
        }
        let text = match &record.value {
            Some(senml::Value::Number(number)) => number.to_string(),
            Some(senml::Value::Text(text)) => text.clone(),
            Some(senml::Value::Bool(value)) => value.to_string(),
            Some(senml::Value::Data(_)) | None => continue,
        };
        match name {
            "health" => heard.health = health(&text),
            "link" => linked = text != "false",
            _ => {
                let (name, sort) = match (name.strip_suffix(".last"), name.strip_suffix(".target")) {
                    (Some(name), _) => (name, Sort::Last),
                    (None, Some(name)) => (name, Sort::Goal),
                    (None, None) => (name, Sort::Value),
                };
                if let Some(of) = name.strip_suffix(".age") {
                    // It is said of a value that went before.
                    let known = heard.items.iter_mut().filter(|item| item.name == of);
                    known.for_each(|item| item.at_ms = None);
                    continue;
                }
                let (name, at_ms) = (name.to_owned(), Some(record.time.as_millisecond()));
                heard.items.push(Item { name, text, at_ms, sort });
            }
        }
    }
    if !linked {
        // Over there it cannot be reached; what else was heard of it is old.
        heard.health = Health::Offline;
    }
    Ok(heard)
}

fn health(word: &str) -> Health {
    match word {
        "online" => Health::Online,
        "asleep" => Health::Asleep,
        "offline" => Health::Offline,
        _ => Health::Unknown,
    }
}

/// Somebody is reachable when one of the ways to reach them is open.
fn presence(read: &Presence, now_ms: i64) -> Heard {
    let states = || read.tuples.iter().map(|tuple| tuple.status);
    let open = states().any(|status| matches!(status, Status::Open | Status::InUse));
    let closed = states().any(|status| status == Status::Closed);
    let newest = read.tuples.iter().filter_map(|tuple| tuple.timestamp).max();
    let at_ms = newest.map_or(now_ms, |at| at.as_millisecond());
    let notes = read.notes.iter().chain(read.tuples.iter().flat_map(|tuple| &tuple.notes));
    let note = notes.map(|note| note.text.trim()).find(|text| !text.is_empty());
    let mut heard = Heard { health: Health::Online, items: Vec::new() };
    if open || closed {
        heard = heard.with("reachable", open, at_ms);
        let busy = states().any(|status| status == Status::InUse) || !read.activities.is_empty();
        heard = heard.with("busy", busy, at_ms);
    } else {
        heard.health = Health::Unknown;
    }
    let note: String = note.unwrap_or("-").chars().filter(|c| !c.is_control()).take(NOTE).collect();
    heard.with("note", note, at_ms)
}

/// Longest note in characters.
const NOTE: usize = 60;

fn mailbox(read: &Summary, now_ms: i64) -> Heard {
    let add = |sum: NewOld, of: NewOld| NewOld {
        new: sum.new.saturating_add(of.new),
        old: sum.old.saturating_add(of.old),
    };
    let all = read.counts.iter().map(|count| count.all).fold(NewOld::default(), add);
    let urgent = read.counts.iter().filter_map(|count| count.urgent).fold(NewOld::default(), add);
    Heard { health: Health::Online, items: Vec::new() }
        .with("waiting", read.waiting, now_ms)
        .with("new", all.new, now_ms)
        .with("old", all.old, now_ms)
        .with("urgent", urgent.new, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000_000;

    fn told(watched: Watched, kind: &str, body: &str) -> Vec<(String, String, Sort)> {
        let heard = read(watched, kind, body.as_bytes(), NOW).unwrap();
        let health = ("health".to_owned(), heard.health.word().to_owned(), Sort::Value);
        let items = heard.items.into_iter().map(|item| (item.name, item.text, item.sort));
        std::iter::once(health).chain(items).collect()
    }

    fn is(name: &str, text: &str, sort: Sort) -> (String, String, Sort) {
        (name.to_owned(), text.to_owned(), sort)
    }

    #[test]
    fn an_appliance_that_is_offline_there_is_offline_here() {
        let body = |health: &str, link: bool, name: &str| {
            format!(
                r#"[{{"bn":"h.example/plug/","bt":1.79e9,"n":"health","vs":"{health}"}},{{"n":"link","vb":{link}}},{{"n":"{name}","vb":true}},{{"n":"level.target","v":40}},{{"n":"watts","v":63.5,"u":"W"}}]"#
            )
        };
        let of = |text: String| told(Watched::Appliance, senml::CONTENT_TYPE, &text);
        let goal = is("level", "40", Sort::Goal);
        let watts = is("watts", "63.5", Sort::Value);
        assert_eq!(
            of(body("online", true, "power")),
            [
                is("health", "online", Sort::Value),
                is("power", "true", Sort::Value),
                goal.clone(),
                watts.clone()
            ]
        );
        assert_eq!(
            of(body("offline", true, "power.last")),
            [is("health", "offline", Sort::Value), is("power", "true", Sort::Last), goal.clone(), watts]
        );
        assert_eq!(of(body("online", false, "power.last"))[0], is("health", "offline", Sort::Value));
        assert_eq!(of(body("unknown", true, "power.last"))[0], is("health", "unknown", Sort::Value));
    }

    #[test]
    fn what_is_of_unknown_age_there_is_so_here() {
        let body = r#"[{"bn":"h/plug/","bt":1.79e9,"n":"power","vb":true},{"n":"power.age","vs":"unknown"},{"n":"watts","v":63}]"#;
        let heard = read(Watched::Appliance, senml::CONTENT_TYPE, body.as_bytes(), NOW).unwrap();
        let ages: Vec<_> = heard.items().iter().map(|told| (told.item, told.at_ms)).collect();
        assert_eq!(ages, [("power", None), ("watts", Some(NOW))]);
    }

    #[test]
    fn a_room_is_no_appliance() {
        let room = r#"[{"n":"h/plug/power","vb":true},{"n":"h/lamp/power","vb":false}]"#;
        assert!(read(Watched::Appliance, senml::CONTENT_TYPE, room.as_bytes(), NOW).is_err());
        assert!(read(Watched::Appliance, "text/plain", b"on", NOW).is_err());
    }

    #[test]
    fn a_person_is_reachable_when_one_way_is_open() {
        let body = |a: &str, b: &str| {
            format!(
                r#"<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf" entity="sip:ana@p.example"><tuple id="a"><status><basic>{a}</basic></status></tuple><tuple id="b"><status><basic>{b}</basic></status><note>Lunch</note></tuple></presence>"#
            )
        };
        let open = told(Watched::Presence, pidf::CONTENT_TYPE, &body("closed", "open"));
        assert_eq!(open[1], is("reachable", "true", Sort::Value));
        assert_eq!(open[3], is("note", "Lunch", Sort::Value));
        let closed = told(Watched::Presence, pidf::CONTENT_TYPE, &body("closed", "closed"));
        assert_eq!(closed[1], is("reachable", "false", Sort::Value));
    }

    #[test]
    fn a_mailbox_is_counted_over_its_classes() {
        let body = "Messages-Waiting: yes\r\nVoice-Message: 2/8 (1/0)\r\nFax-Message: 1/0\r\n";
        let heard = told(Watched::MessageSummary, message_summary::CONTENT_TYPE, body);
        let texts: Vec<&str> = heard.iter().map(|(_, text, _)| text.as_str()).collect();
        assert_eq!(texts, ["online", "true", "3", "8", "1"]);
    }
}

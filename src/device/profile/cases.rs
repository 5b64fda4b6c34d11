//! The `tests:` of a profile.

use std::sync::Arc;
use std::time::Duration;

use super::properties::{conditions, no_property};
use super::typed::{fault, value};
use super::{Model, Online, Source, Table, words};
use crate::config::fault::{Faults, Place, nearest};
use crate::config::yaml::{self, Data, MapReader, Node};
use crate::device::command::Order;
use crate::device::value::{Kind, Value};
use crate::limits::{PROFILE_TESTS, TEST_TIME};

/// One entry of `tests:`.
#[derive(Clone, Debug)]
pub struct Case {
    /// Where it stands.
    pub place: Place,
    /// What is known before.
    pub given: Given,
    /// Bytes that came before `rx`, without consequence.
    pub after: Option<String>,
    /// What happens.
    pub stimulus: Stimulus,
    /// When to look, after the stimulus began.
    pub until: Duration,
    /// What must be known then; `Some` and empty: nothing may have changed.
    pub expect: Option<Expect>,
    /// What must have been sent, in this order.
    pub sends: Option<Vec<Sends>>,
    /// Electrical levels that outputs must have had.
    pub drives: Vec<Drive>,
    /// The command must be refused for this reason.
    pub refused: Option<String>,
}

/// Values known before a case: property index and value.
pub type Given = Vec<(usize, Value)>;

/// What happens in a case.
#[derive(Clone, Debug)]
pub enum Stimulus {
    /// A message.
    Mqtt {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: String,
        /// Whether it is a retained copy.
        retained: bool,
    },
    /// Bytes on the serial port; in hex where the profile is.
    Rx(String),
    /// Words and bits of a Modbus unit, and then one answer to each of the profile's requests.
    Registers(Vec<(Table, u16, u16)>),
    /// A smart meter's telegram, as it comes over the wire.
    Telegram(String),
    /// Files of a 1-Wire device.
    Files(Vec<(String, String)>),
    /// Items that are told elsewhere.
    Told(Vec<(String, String)>),
    /// The time has come to read this property.
    Request(usize),
    /// Electrical levels on input lines.
    Levels(Vec<(String, Vec<Level>)>),
    /// A command.
    Order(Order),
    /// The gateway starts.
    Start,
}

/// `1@500ms`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// High.
    pub high: bool,
    /// Since when.
    pub at: Duration,
}

/// What an output line must have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// The line's name.
    pub line: String,
    /// Its levels.
    pub levels: Vec<Level>,
}

/// What must be known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// `online: asleep`
    pub online: Option<Arc<str>>,
    /// Values by property index.
    pub values: Vec<(usize, Value)>,
    /// Exactly one event: id and value.
    pub event: Option<(Arc<str>, Arc<str>)>,
    /// How often a known value changed, by property index.
    pub changes: Vec<(usize, u32)>,
}

/// What must have been sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Sends {
    /// A message with this payload.
    Text(String, String),
    /// A message with this document.
    Json(String, serde_json::Value),
    /// Bytes on the serial port, in hex where the profile is; those of a Modbus RTU line always are.
    Bytes(String),
}

/// `tests:`
pub(super) fn cases(node: &Node, model: &Model, faults: &mut Faults) -> Vec<Case> {
    let items = node.items("tests", faults).unwrap_or_default();
    if items.len() > PROFILE_TESTS {
        fault(node, "tests", format!("at most {PROFILE_TESTS} tests are possible"), faults);
    }
    let cases: Vec<Case> =
        items.iter().take(PROFILE_TESTS).filter_map(|(path, node)| case(node, path, model, faults)).collect();
    let passes: Duration = cases.iter().map(|case| case.until).sum();
    if passes > TEST_TIME {
        let message = format!("the tests let more than {} pass, all together", super::spell(TEST_TIME));
        fault(node, "tests", message, faults);
    }
    cases
}

fn case(node: &Node, path: &str, model: &Model, faults: &mut Faults) -> Option<Case> {
    let mut map = MapReader::of(&words::TEST, node, path, faults)?;
    let given = map
        .take("given")
        .map(|node| conditions(node, &model.properties, &map.at("given"), faults))
        .unwrap_or_default();
    let after = map.text("after", faults);
    let until = map.duration("until", faults);
    let stimulus = stimulus(&mut map, model, faults);
    let expect = map.take("expect").map(|node| expect(node, &map.at("expect"), model, faults));
    let sends = map.take("sends").and_then(|node| sends(node, &map.at("sends"), faults));
    let drives = map.take("drives").and_then(|node| levels(node, &map.at("drives"), faults));
    let refused = map.one_of("refused", faults).map(str::to_owned);
    let drives: Vec<Drive> =
        drives.unwrap_or_default().into_iter().map(|(line, levels)| Drive { line, levels }).collect();
    if !["expect", "sends", "drives", "refused"].into_iter().any(|key| map.take(key).is_some()) {
        let message = "a test says what comes of it: `expect`, `sends`, `drives` or `refused`";
        faults.error(Some(node.place), path, message, None);
    }
    map.finish(faults);
    let stimulus = stimulus?;
    // Where a topic is misspelt above, every test of it would be called wrong, too.
    if !faults.fatal() && expect.as_ref().is_some_and(|expect| *expect != Expect::default()) {
        unheard(&stimulus, node, path, model, faults);
    }
    Some(Case {
        place: node.place,
        given,
        after,
        until: until.unwrap_or_else(|| end_of(&stimulus, &drives)),
        stimulus,
        expect,
        sends,
        drives,
        refused,
    })
}

/// A message that nothing in the profile listens to has no consequence.
fn unheard(stimulus: &Stimulus, node: &Node, path: &str, model: &Model, faults: &mut Faults) {
    let Stimulus::Mqtt { topic, .. } = stimulus else { return };
    let online = match &model.online {
        Online::Topic(read) => Some(&**read),
        _ => None,
    };
    let properties =
        model.properties.iter().flat_map(|property| property.reads.iter().chain(&property.target));
    let reads = properties.chain(model.events.iter().map(|event| &event.from)).chain(online);
    let topics: Vec<&str> = reads
        .filter_map(|read| match &read.source {
            Source::Topic { channel, .. } => Some(channel.as_str()),
            _ => None,
        })
        .collect();
    if topics.contains(&topic.as_str()) || topics.is_empty() {
        return;
    }
    let help = nearest(topic, topics.iter().copied()).map(|near| format!("did you mean {near}?"));
    let message = format!("nothing in the profile listens to `{topic}`");
    faults.error(Some(value_place(node, &["mqtt", "topic"])), &format!("{path}.mqtt.topic"), message, help);
}

fn value_place(node: &Node, keys: &[&str]) -> Place {
    match (&node.data, keys) {
        (Data::Map(entries), [first, rest @ ..]) => {
            let found = entries.iter().find(|(key, _)| key.text == *first);
            found.map_or(node.place, |(_, value)| value_place(value, rest))
        }
        _ => node.place,
    }
}

/// Without `until`, a test looks right after the last thing that happens in it.
fn end_of(stimulus: &Stimulus, drives: &[Drive]) -> Duration {
    let inputs = match stimulus {
        Stimulus::Levels(lines) => lines.iter().flat_map(|(_, levels)| levels).map(|level| level.at).max(),
        _ => None,
    };
    let outputs = drives.iter().flat_map(|drive| &drive.levels).map(|level| level.at).max();
    inputs.max(outputs).unwrap_or(Duration::ZERO)
}

fn stimulus(map: &mut MapReader<'_>, model: &Model, faults: &mut Faults) -> Option<Stimulus> {
    let mqtt = map.take("mqtt").map(|node| message(node, &map.at("mqtt"), faults));
    let others = [
        map.take("registers").map(|node| registers(node, &map.at("registers"), faults)),
        telegram(map, faults),
        map.take("file").map(|node| files(node, &map.at("file"), faults)),
        map.take("request").map(|node| request(node, &map.at("request"), model, faults)),
        map.take("sip").map(|node| Some(Stimulus::Told(pairs(node, &map.at("sip"), faults)?))),
    ];
    let rx = map.text("rx", faults).map(|text| Some(Stimulus::Rx(text)));
    let lines = map.take("levels").map(|node| levels(node, &map.at("levels"), faults).map(Stimulus::Levels));
    let set = map.take("set").map(|node| {
        let (property, value) = conditions(node, &model.properties, &map.at("set"), faults).pop()?;
        let property = model.properties.get(property)?.id.clone();
        Some(Stimulus::Order(Order::Set { property, value }))
    });
    let start = map.bool("start", faults).map(|_| Some(Stimulus::Start));
    let args = map.take("args");
    let action = map.take("do").map(|node| action(node, args, &map.at("do"), model, faults));
    let mut found = [mqtt, rx, lines, set, start, action].into_iter().chain(others).flatten();
    let (Some(stimulus), None) = (found.next(), found.next()) else {
        let message = "a test begins with exactly one of mqtt, rx, registers, telegram, file, levels, \
                       sip, set, do, request and start";
        faults.error(Some(map.place), &map.path, message, None);
        return None;
    };
    stimulus
}

/// `registers: {input: {0x0000: [0x4366, 0x4CCD]}}`
fn registers(node: &Node, path: &str, faults: &mut Faults) -> Option<Stimulus> {
    let mut all = Vec::new();
    for (key, node) in node.entries(path, faults)? {
        let at = format!("{path}.{}", key.text);
        let Some(table) = Table::ALL.into_iter().find(|table| table.word() == key.text) else {
            let help = one_of_these(&key.text, &Table::ALL.map(Table::word));
            faults.error(Some(key.place), &at, format!("there is no table `{}`", key.text), help);
            continue;
        };
        for (key, node) in node.entries(&at, faults)? {
            let at = format!("{at}.{}", key.text);
            let digits = key.text.strip_prefix("0x");
            let first = digits.map_or_else(|| key.text.parse().ok(), |hex| u16::from_str_radix(hex, 16).ok());
            let Some(first) = first else {
                faults.error(Some(key.place), &at, "an address is expected, as 0x0010", None);
                continue;
            };
            let words = match &node.data {
                Data::List(items) => items.iter().collect(),
                _ => vec![node],
            };
            for (address, node) in (first..=u16::MAX).zip(words) {
                let word = node.int(0..=0xffff, &at, faults).and_then(|word| u16::try_from(word).ok());
                all.extend(word.map(|word| (table, address, word)));
            }
        }
    }
    Some(Stimulus::Registers(all))
}

/// `telegram: |`, with a right checksum where `add_checksum: true` is said.
fn telegram(map: &mut MapReader<'_>, faults: &mut Faults) -> Option<Option<Stimulus>> {
    let add = map.bool("add_checksum", faults).unwrap_or(false);
    let lines = map.text("telegram", faults)?;
    let mut telegram = lines.lines().map(|line| format!("{line}\r\n")).collect::<String>();
    if add && let Some(end) = telegram.find('!') {
        telegram.truncate(end + 1);
        let sum = sipliance_driver::telegram_checksum(telegram.as_bytes());
        telegram = format!("{telegram}{sum:04X}\r\n");
    }
    Some(Some(Stimulus::Telegram(telegram)))
}

fn files(node: &Node, path: &str, faults: &mut Faults) -> Option<Stimulus> {
    pairs(node, path, faults).map(Stimulus::Files)
}

fn pairs(node: &Node, path: &str, faults: &mut Faults) -> Option<Vec<(String, String)>> {
    let pairs = node.text_map(path, faults)?;
    Some(pairs.into_iter().map(|(key, text)| (key.text.clone(), text)).collect())
}

fn request(node: &Node, path: &str, model: &Model, faults: &mut Faults) -> Option<Stimulus> {
    let word = node.text(path, faults)?;
    let index = model.property(&word);
    if index.is_none() {
        no_property(&word, node.place, &model.properties, path, faults);
    }
    index.map(Stimulus::Request)
}

fn message(node: &Node, path: &str, faults: &mut Faults) -> Option<Stimulus> {
    let mut map = MapReader::of(&words::MESSAGE, node, path, faults)?;
    let topic = map.require("topic", faults).and_then(|node| node.text(&map.at("topic"), faults));
    let payload = map.require("payload", faults).and_then(|node| node.text(&map.at("payload"), faults));
    let retained = map.bool("retained", faults).unwrap_or(false);
    map.finish(faults);
    Some(Stimulus::Mqtt { topic: topic?, payload: payload?, retained })
}

fn action(
    node: &Node,
    args: Option<&Node>,
    path: &str,
    model: &Model,
    faults: &mut Faults,
) -> Option<Stimulus> {
    let word = node.text(path, faults)?;
    let Some(action) = model.actions.iter().find(|action| *action.id == *word) else {
        let names: Vec<&str> = model.actions.iter().map(|action| &*action.id).collect();
        let help = one_of_these(&word, &names);
        faults.error(Some(node.place), path, format!("there is no action `{word}`"), help);
        return None;
    };
    let mut given = Vec::new();
    for (key, node) in args.and_then(|node| node.entries(path, faults)).unwrap_or_default() {
        match action.args.iter().find(|arg| *arg.id == *key.text) {
            Some(arg) => {
                let at = format!("{}.args.{}", path.trim_end_matches(".do"), key.text);
                given.extend(value(node, &arg.kind, &at, faults).map(|value| (arg.id.clone(), value)))
            }
            None => {
                let names: Vec<&str> = action.args.iter().map(|arg| &*arg.id).collect();
                let help = one_of_these(&key.text, &names);
                faults.error(Some(key.place), path, format!("`{word}` has no argument `{}`", key.text), help)
            }
        }
    }
    Some(Stimulus::Order(Order::Do { action: action.id.clone(), args: given }))
}

fn levels(node: &Node, path: &str, faults: &mut Faults) -> Option<Vec<(String, Vec<Level>)>> {
    let mut out = Vec::new();
    for (key, node) in node.entries(path, faults)? {
        let at = format!("{path}.{}", key.text);
        let text = node.text(&at, faults)?;
        let levels: Option<Vec<Level>> = text.split_whitespace().map(level).collect();
        match levels {
            Some(levels) => out.push((key.text.clone(), levels)),
            None => faults.error(Some(node.place), &at, "levels are written as 0@0ms 1@500ms", None),
        }
    }
    Some(out)
}

fn level(word: &str) -> Option<Level> {
    let (level, at) = word.split_once('@')?;
    let high = match level {
        "1" => true,
        "0" => false,
        _ => return None,
    };
    Some(Level { high, at: yaml::duration(at)? })
}

fn expect(node: &Node, path: &str, model: &Model, faults: &mut Faults) -> Expect {
    let mut expect = Expect::default();
    let Some(mut map) = MapReader::of(&words::EXPECTED, node, path, faults) else { return expect };
    expect.online = map.one_of("online", faults).map(Arc::from);
    expect.event = map.take("event").and_then(|node| one_event(node, &map.at("event"), model, faults));
    if let Some(node) = map.take("changes") {
        let at = map.at("changes");
        for (key, node) in node.entries(&at, faults).unwrap_or_default() {
            let count = node.int(0..=i64::from(u32::MAX), &at, faults).and_then(|n| u32::try_from(n).ok());
            match model.property(&key.text) {
                Some(index) => expect.changes.extend(count.map(|count| (index, count))),
                None => no_property(&key.text, key.place, &model.properties, &at, faults),
            }
        }
    }
    for (key, node) in map.others() {
        let at = map.at(&key.text);
        match model.property(&key.text).and_then(|index| Some((index, model.properties.get(index)?))) {
            Some((index, property)) => {
                expect.values.extend(value(node, &property.kind, &at, faults).map(|value| (index, value)));
            }
            None => no_property(&key.text, key.place, &model.properties, &at, faults),
        }
    }
    map.finish(faults);
    expect
}

/// Help out of names: the nearest, or all of them.
fn one_of_these(word: &str, names: &[&str]) -> Option<String> {
    Some(match nearest(word, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "the profile has none".to_owned(),
        None => format!("there are {}", names.join(", ")),
    })
}

fn one_event(node: &Node, path: &str, model: &Model, faults: &mut Faults) -> Option<(Arc<str>, Arc<str>)> {
    let [(key, node)] = node.entries(path, faults)? else {
        fault(node, path, "name exactly one event with its value: `event: {ring: single}`", faults);
        return None;
    };
    let at = format!("{path}.{}", key.text);
    let Some(event) = model.events.iter().find(|event| *event.id == *key.text) else {
        let names: Vec<&str> = model.events.iter().map(|event| &*event.id).collect();
        let help = one_of_these(&key.text, &names);
        faults.error(Some(key.place), &at, format!("there is no event `{}`", key.text), help);
        return None;
    };
    // Without values, that is the fault.
    if event.values.is_empty() {
        return None;
    }
    let said = value(node, &Kind::Enum(event.values.clone().into()), &at, faults)?;
    Some((event.id.clone(), said.plain().as_str().into()))
}

fn sends(node: &Node, path: &str, faults: &mut Faults) -> Option<Vec<Sends>> {
    match &node.data {
        Data::List(items) => Some(items.iter().filter_map(|item| one_sent(item, path, faults)).collect()),
        _ => one_sent(node, path, faults).map(|one| vec![one]),
    }
}

fn one_sent(node: &Node, path: &str, faults: &mut Faults) -> Option<Sends> {
    if !matches!(node.data, Data::Map(_)) {
        return node.text(path, faults).map(Sends::Bytes);
    }
    let mut map = MapReader::of(&words::SENT, node, path, faults)?;
    let topic = map.require("topic", faults).and_then(|node| node.text(&map.at("topic"), faults));
    let json = map.take("json").map(json);
    let payload = map.text("payload", faults);
    map.finish(faults);
    Some(match json {
        Some(json) => Sends::Json(topic?, json),
        None => Sends::Text(topic?, payload.unwrap_or_default()),
    })
}

fn json(node: &Node) -> serde_json::Value {
    match &node.data {
        Data::Null => serde_json::Value::Null,
        Data::Bool(value) => (*value).into(),
        Data::Int(value) => (*value).into(),
        Data::Float(value) => (*value).into(),
        Data::Text { text, .. } => text.as_str().into(),
        Data::List(items) => items.iter().map(json).collect(),
        Data::Map(entries) => serde_json::Value::Object(
            entries.iter().map(|(key, node)| (key.text.clone(), json(node))).collect(),
        ),
    }
}

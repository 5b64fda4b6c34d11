use jiff::{SignedDuration, Timestamp};
use sipliance::body::dmp::mini::Mini;
use sipliance::body::dmp::terms::{Comparison, Condition, Lifetime, Quantity, of_senml, to_senml};
use sipliance::body::dmp::{
    Action, Answer, Document, Found, News, Order, Outcome, Reply, Watch, read, write_action, write_response,
};
use sipliance::body::senml::{Record, Value};

use super::{golden, now, refused};

fn control(action: &str, arguments: &[&str]) -> Action {
    Action::Control { action: action.to_owned(), arguments: strings(arguments) }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn order(device: &str, actions: Vec<Action>) -> Order {
    Order { device: device.to_owned(), actions }
}

fn watch(variable: &str, events: &[&str], duration: &str) -> Watch {
    Watch { variable: variable.to_owned(), events: strings(events), duration: duration.to_owned() }
}

/// The scenarios of draft §3: five of control, three of queries, five of events, in its order.
fn scenarios() -> Vec<(&'static str, Vec<Order>)> {
    let light = || order("lamp-bedroom", vec![control("SetLevel", &["60"])]);
    vec![
        ("control 1: one function", vec![order("lamp", vec![control("On", &[])])]),
        (
            "control 2: several at once",
            vec![order("ac", vec![control("Set", &["18 C"]), control("Vent", &["open"])])],
        ),
        (
            "control 3: in sequence",
            vec![order("camera", vec![control("Tilt", &["10", "up"]), control("Focus", &[])])],
        ),
        ("control 4: a class of devices", vec![order("group=airconditioner", vec![control("On", &[])])]),
        (
            "control 5: several devices",
            vec![order("windows", vec![control("Close", &[])]), order("ac", vec![control("On", &[])])],
        ),
        ("query 1: one variable", vec![order("thermostat", vec![Action::Query(strings(&["Temperature"]))])]),
        (
            "query 2: several",
            vec![order("stereo", vec![Action::Query(strings(&["Volume", "Balance", "Fade"]))])],
        ),
        ("query 3: a class", vec![order("group=lamp", vec![Action::Query(strings(&["Status"]))])]),
        (
            "event 1: a change",
            vec![order(
                "thermostat",
                vec![Action::Subscribe(vec![watch("Temperature", &["< 32F"], "43200")])],
            )],
        ),
        (
            "event 2: every change",
            vec![order("thermostat", vec![Action::Subscribe(vec![watch("Temperature", &[], "60")])])],
        ),
        (
            "event 3: for a time",
            vec![order(
                "bell",
                vec![Action::Subscribe(vec![watch("Bell", &["ring"], "2026-01-06T17:00:00Z")])],
            )],
        ),
        (
            "event 4: a set",
            vec![order(
                "house",
                vec![Action::Subscribe(vec![
                    watch("Temperature", &["< 0", "> 30"], "P5D"),
                    watch("Bell", &["ring"], "P5D"),
                ])],
            )],
        ),
        (
            "event 5: each for its time",
            vec![order(
                "house",
                vec![
                    Action::Subscribe(vec![watch("Temperature", &[], "PT1H"), watch("Bell", &[], "0")]),
                    Action::Query(strings(&["Bell"])),
                ],
            )],
        ),
        (
            "together, in order",
            vec![
                light(),
                order("door", vec![control("Unlock", &[]), Action::Query(strings(&["Lock"]))]),
                light(),
            ],
        ),
    ]
}

/// Proves: DMP-2
/// Reads: DMP-1, DMP-3
#[test]
fn every_scenario_of_the_draft() {
    for (name, orders) in scenarios() {
        let text = write_action(&orders);
        assert_eq!(read(text.as_bytes()).unwrap(), Document::Action(orders.clone()), "{name}");
        // The draft's namespace, a prefix, capitals, mixed text.
        let other = text
            .replace("<DMPAction>", "<DMPAction xmlns:t='http://www.w3.org/namespace/'>hello ")
            .replace("<Device>", "<t:DEVICE>\n  ")
            .replace("</Device>", " </t:DEVICE> and");
        assert_eq!(read(other.as_bytes()).unwrap(), Document::Action(orders), "{name}");
    }
    golden(
        "action.dmp",
        write_action(&scenarios().into_iter().flat_map(|(_, orders)| orders).collect::<Vec<_>>()),
    );
}

#[test]
fn answers() {
    let replies = vec![
        Reply {
            device: "lamp-bedroom".to_owned(),
            answers: vec![
                Answer::Control(vec![
                    Outcome {
                        action: "SetLevel".to_owned(),
                        out: vec![("Level".to_owned(), "60".to_owned()), ("Note".to_owned(), String::new())],
                        codes: vec![0],
                    },
                    Outcome { action: "Blink".to_owned(), out: Vec::new(), codes: vec![501] },
                ]),
                Answer::Query(vec![Found {
                    variable: "Power".to_owned(),
                    values: vec!["7.4 W".to_owned()],
                    codes: Vec::new(),
                }]),
            ],
        },
        Reply {
            device: "door <front>".to_owned(),
            answers: vec![Answer::Notify(vec![News {
                variable: "Bell".to_owned(),
                values: vec!["pressed".to_owned()],
                events: vec!["ring".to_owned()],
                codes: vec![0],
            }])],
        },
    ];
    golden("response.dmp", write_response(&replies));
    assert_eq!(read(write_response(&replies).as_bytes()).unwrap(), Document::Response(replies));
}

#[test]
fn the_examples_of_the_framework() {
    let command = |action: &str, object: Option<&str>, argument: Option<&str>| Mini::Command {
        action: action.to_owned(),
        object: object.map(ToOwned::to_owned),
        argument: argument.map(ToOwned::to_owned),
    };
    let value = |name: &str, value: &str| Mini::Value { name: name.to_owned(), value: value.to_owned() };
    let event = |identity: Option<&str>| Mini::Event {
        name: "ring".to_owned(),
        identity: identity.map(ToOwned::to_owned),
    };
    for (text, said) in [
        ("<command><turn>On</turn></command>", vec![command("turn", None, Some("On"))]),
        ("<COMMAND>unlock</COMMAND>", vec![command("unlock", None, None)]),
        ("<command> Off\n</command>", vec![command("Off", None, None)]),
        (
            "<command>Temperature<set>25C</set></command>",
            vec![command("set", Some("Temperature"), Some("25C"))],
        ),
        ("<query>Temperature</query>", vec![Mini::Query("Temperature".to_owned())]),
        ("<temperature>65F</temperature>", vec![value("temperature", "65F")]),
        ("<event>ring</event>", vec![event(None)]),
        ("<event>ring</event>\r\n<identity>Simon</identity>\r\n", vec![event(Some("Simon"))]),
    ] {
        assert_eq!(read(text.as_bytes()).unwrap(), Document::Mini(said), "{text}");
    }
    refused(
        read,
        &[
            ("", "the root element is missing"),
            ("<command/>", "the text of <command> is missing"),
            ("<command><turn>On</turn><dim>1</dim></command>", "a <command> says one thing"),
            ("<command><turn><lamp/></turn></command>", "a <command> says one thing"),
            ("<identity>Simon</identity>", "an <event> before its <identity>"),
            ("<html><body/></html>", "\"html\" stands where DMPAction"),
            ("<command>On</command><DMPAction/>", "alone"),
        ],
    );
}

#[test]
fn documents_that_are_none() {
    let action = |inside: &str| format!("<DMPAction><Device>x</Device>{inside}</DMPAction>");
    let many = action(&"<Query><Variable>a</Variable></Query>".repeat(257));
    refused(
        read,
        &[
            ("<DMPAction/>", "<Device> is missing"),
            ("<DMPAction>\n<Query/></DMPAction>", "line 2: \"query\" stands where <Device> belongs"),
            ("<DMPAction><Device>x</Device></DMPAction>", "what x shall do or says is missing"),
            ("<DMPAction><Device> </Device></DMPAction>", "the text of <device> is missing"),
            (&action("<Control/>"), "<action> in <control> is missing"),
            (
                &action("<Control><Argument>1</Argument></Control>"),
                "\"argument\" stands where action belongs",
            ),
            (&action("<Control><Action>a</Action><Action>b</Action></Control>"), "exactly one <Action>"),
            (&action("<Query/>"), "<variable> in <query> is missing"),
            (&action("<Subscribe><Variable>a</Variable></Subscribe>"), "<Duration> is missing"),
            (&action("<Notify/>"), "\"notify\" stands where Control"),
            (&action("<Query><Value>1</Value></Query>"), "\"value\" stands where an element of DMP"),
            (&many, "more than 256 actions"),
            (
                "<DMPResponse><Device>x</Device><QueryResponse><Variable>a</Variable><ResultCode>no</ResultCode></QueryResponse></DMPResponse>",
                "<resultcode> is \"no\", not a result code",
            ),
            (
                "<DMPResponse><Device>x</Device><ControlResponse><Action>a</Action><OutArgument>b</OutArgument></ControlResponse></DMPResponse>",
                "every <OutArgument> has one <Value>",
            ),
        ],
    );
}

#[test]
fn durations_and_conditions() {
    let five_days = SignedDuration::from_hours(120);
    let until = "2026-01-06T00:00:00Z".parse::<Timestamp>().unwrap();
    for (text, lifetime, seconds) in [
        ("43200", Some(Lifetime::For(SignedDuration::from_secs(43200))), 43200),
        (" 0 ", Some(Lifetime::For(SignedDuration::ZERO)), 0),
        ("P5D", Some(Lifetime::For(five_days)), 432_000),
        ("PT1H30M", Some(Lifetime::For(SignedDuration::from_mins(90))), 5400),
        ("2026-01-06T00:00:00Z", Some(Lifetime::Until(until)), 432_000),
        ("2025-01-06T01:00:00+01:00", Some(Lifetime::Until("2025-01-06T00:00:00Z".parse().unwrap())), 0),
        ("99999999999999999999", None, 0),
        ("P1M", None, 0),
        ("-P1D", None, 0),
        ("till next Tuesday", None, 0),
        ("", None, 0),
    ] {
        assert_eq!(Lifetime::parse(text), lifetime, "{text}");
        assert_eq!(lifetime.map_or(0, |lifetime| lifetime.seconds(now())), seconds, "{text}");
    }
    let below = Condition::parse("temperature < 32 F").unwrap();
    assert_eq!(below, Condition::Compare(Comparison::Less, 32.0, Some("F".to_owned())));
    assert!(below.holds(31.9) && !below.holds(32.0));
    assert!(Condition::parse(">-5").unwrap().holds(0.0));
    assert!(Condition::parse("!= 1").unwrap().holds(2.0) && Condition::parse("=1").unwrap().holds(1.0));
    assert_eq!(Condition::parse("ring"), Ok(Condition::Named("ring".to_owned())));
    for bad in ["< warm", "<", "! 3", "<= 3"] {
        assert!(Condition::parse(bad).is_err(), "{bad}");
    }
}

/// What a device says in DMP it can say in SenML, and back.
/// Proves: DMP-7
#[test]
fn values_are_those_of_senml() {
    for (value, unit, text) in [
        (Value::Number(7.4), Some("W"), "7.4 W"),
        (Value::Number(-20.0), Some("Cel"), "-20 Cel"),
        (Value::Number(0.6), None, "0.6"),
        (Value::Bool(true), None, "On"),
        (Value::Bool(false), None, "Off"),
        (Value::Text("heating".to_owned()), None, "heating"),
    ] {
        let record = Record {
            name: "x".to_owned(),
            unit: unit.map(ToOwned::to_owned),
            value: Some(value),
            sum: None,
            time: now(),
            update: None,
        };
        assert_eq!(of_senml(&record).as_deref(), Some(text));
        assert_eq!(to_senml("x", text, now()), record, "{text}");
    }
    assert_eq!(Quantity::parse("25C"), Quantity::Number(25.0, Some("C".to_owned())));
    assert_eq!(Quantity::parse("1.2.3"), Quantity::Word("1.2.3".to_owned()));
}

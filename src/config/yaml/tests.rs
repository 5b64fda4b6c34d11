use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::fault::{Fault, Faults};

fn read(text: &str) -> (Option<Node>, Vec<Fault>) {
    let mut faults = Faults::default();
    let node = parse(text, &mut faults);
    (node, faults.sorted())
}

fn good(text: &str) -> Node {
    let (node, faults) = read(text);
    assert_eq!(faults, [], "{text}");
    node.unwrap()
}

/// Takes `key` out of a one-line document with a getter, and tells what was found or said.
fn take<T: std::fmt::Debug>(
    text: &str,
    getter: impl Fn(&mut MapReader<'_>, &mut Faults) -> Option<T>,
) -> Result<Option<T>, Vec<(String, Option<String>)>> {
    let mut faults = Faults::default();
    let node = parse(text, &mut faults).unwrap();
    faults = Faults::default();
    let mut map = MapReader::new(&node, "", &mut faults).unwrap();
    let found = getter(&mut map, &mut faults);
    match faults.is_empty() {
        true => Ok(found),
        false => Err(faults.sorted().into_iter().map(|fault| (fault.message, fault.help)).collect()),
    }
}

#[test]
fn scalars_follow_the_core_schema_of_yaml_1_2() {
    let text = |text: &str| Data::Text { text: text.into(), quoted: false };
    for (written, meant) in [
        ("true", Data::Bool(true)),
        ("False", Data::Bool(false)),
        ("tRue", text("tRue")),
        ("~", Data::Null),
        ("null", Data::Null),
        ("12", Data::Int(12)),
        ("-12", Data::Int(-12)),
        ("+12", Data::Int(12)),
        ("0x0C", Data::Int(12)),
        ("0o14", Data::Int(12)),
        ("0x", text("0x")),
        ("0x-1", text("0x-1")),
        ("1_000", text("1_000")),
        ("1.50", Data::Float(1.5)),
        (".5", Data::Float(0.5)),
        ("1.", Data::Float(1.0)),
        ("1e3", Data::Float(1000.0)),
        ("-.inf", Data::Float(f64::NEG_INFINITY)),
        ("inf", text("inf")),
        ("nan", text("nan")),
        (".", text(".")),
        ("e3", text("e3")),
        ("1e", text("1e")),
        ("1.2.3.4", text("1.2.3.4")),
        ("99999999999999999999", Data::Float(1e20)),
        ("plug-1", text("plug-1")),
    ] {
        let node = good(&format!("- {written}\n"));
        assert_eq!(
            node.data,
            Data::List(
                vec![good(written)]
                    .into_iter()
                    .map(|mut node| {
                        node.place.column = 3;
                        node
                    })
                    .collect()
            )
        );
        assert_eq!(good(written).data, meant, "{written}");
    }
}

#[test]
fn a_scalar_keeps_the_text_that_was_written() {
    for written in ["0x0C", "1.50", "+12", "True", "1e3", "99999999999999999999"] {
        assert_eq!(good(written).scalar().as_deref(), Some(written));
    }
    assert_eq!(read("021").0.unwrap().scalar().as_deref(), Some("021"));
    assert_eq!(good("\"21\"").data, Data::Text { text: "21".into(), quoted: true });
}

#[test]
fn everything_knows_its_place() {
    let node = good("format: 1\nlinks:\n  - name: ä\n    pins: [a, b]\n");
    let Data::Map(top) = &node.data else { panic!() };
    let Data::List(items) = &top[1].1.data else { panic!() };
    let Data::Map(item) = &items[0].data else { panic!() };
    let Data::List(pins) = &item[1].1.data else { panic!() };
    let at = |line, column| Place { line, column };
    assert_eq!(node.place, at(1, 1));
    assert_eq!(top[1].0.place, at(2, 1));
    assert_eq!(items[0].place, at(3, 5));
    assert_eq!(item[0].1.place, at(3, 11));
    assert_eq!(pins[1].place, at(4, 15));
}

#[test]
fn a_key_that_stands_twice_names_both_places() {
    let (node, faults) = read("a: {x: 1, x: 2}\n");
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].place, Some(Place { line: 1, column: 11 }));
    assert_eq!(faults[0].path, "a.x");
    assert!(faults[0].message.contains("line 1, column 5"), "{}", faults[0].message);
    let Data::Map(top) = node.unwrap().data else { panic!() };
    assert!(
        matches!(&top[0].1.data, Data::Map(inner) if inner.len() == 1 && inner[0].1.data == Data::Int(1))
    );
}

#[test]
fn nothing_can_be_multiplied_or_nested_without_end() {
    let (node, faults) = read("a: &a [x, x]\nb: &b [*a, *a]\n");
    assert!(node.is_none() && faults[0].message.contains("anchors"));
    for deep in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
        let (node, faults) = read(&deep);
        assert!(node.is_none() && faults.len() == 1, "{faults:?}");
    }
    let wide: String = (0..100_000).map(|n| format!("k{n}: 1\n")).collect();
    assert!(matches!(good(&wide).data, Data::Map(entries) if entries.len() == 100_000));
    let (node, faults) = read(&format!("a: {}", "x".repeat(FILE_BYTES)));
    assert!(node.is_none() && faults[0].message.contains("bytes"));
}

#[test]
fn other_readings_and_literal_escapes_are_warned_of() {
    for (text, word) in [
        ("a: on", "true"),
        ("a: Off", "false"),
        ("no: 1", "false"),
        ("a: 0123", "octal"),
        ("a: 22:30", "sixty"),
        ("a: 'x\\r'", "backslash"),
        ("a: '\\x02'", "backslash"),
    ] {
        let (node, faults) = read(text);
        assert!(node.is_some());
        assert_eq!(faults.len(), 1, "{text}");
        assert!(faults[0].message.contains(word), "{text}: {}", faults[0].message);
    }
    for text in [
        "a: \"on\"",
        "a: once",
        "a: oN",
        "a: 0",
        "a: 0.5",
        "a: 1:99",
        "match: '^OK\\r$'",
        "a: '\\d'",
        "a: \"x\\r\"",
    ] {
        good(text);
    }
}

#[test]
fn getters_take_what_fits() {
    assert_eq!(take("a: 021", |map, faults| map.text("a", faults)), Ok(Some("021".into())));
    assert_eq!(take("a: 1", |map, faults| map.text("b", faults)), Ok(None));
    assert_eq!(take("a: true", |map, faults| map.bool("a", faults)), Ok(Some(true)));
    assert_eq!(take("a: 0x10", |map, faults| map.int("a", 0..=16, faults)), Ok(Some(16)));
    assert_eq!(take("a: 3", |map, faults| map.float("a", faults)), Ok(Some(3.0)));
    let time = |text: &str| take(text, |map, faults| map.duration("a", faults));
    assert_eq!(time("a: 300ms"), Ok(Some(Duration::from_millis(300))));
    assert_eq!(time("a: 0.3s"), Ok(Some(Duration::from_millis(300))));
    assert_eq!(time("a: 2d"), Ok(Some(Duration::from_secs(172_800))));
    let texts = |text: &str| take(text, |map, faults| map.texts("a", faults).map(|list| list.len()));
    assert_eq!(texts("a: [x, 1]"), Ok(Some(2)));
    assert_eq!(texts("a: x"), Ok(Some(1)));
    let host = |text: &str| {
        take(text, |map, faults| map.host_port("a", 5060, faults))
            .map(|found| found.map(|f| (f.host, f.port)))
    };
    assert_eq!(host("a: sip.example.org"), Ok(Some(("sip.example.org".into(), 5060))));
    assert_eq!(host("a: 192.0.2.1:5070"), Ok(Some(("192.0.2.1".into(), 5070))));
    assert_eq!(host("a: \"[2001:db8::1]:5070\""), Ok(Some(("2001:db8::1".into(), 5070))));
    assert_eq!(host("a: \"2001:db8::1\""), Ok(Some(("2001:db8::1".into(), 5060))));
}

#[test]
fn getters_say_what_to_write_instead() {
    let help = |result: Result<Option<String>, Vec<(String, Option<String>)>>| {
        let mut faults = result.unwrap_err();
        assert_eq!(faults.len(), 1);
        faults.remove(0).1.unwrap_or_default()
    };
    let bool = |text| help(take(text, |map, faults| map.bool("a", faults).map(|_| String::new())));
    assert!(bool("a: off").contains("false"));
    assert!(bool("a: \"true\"").contains("without quotes"));
    let int = |text| help(take(text, |map, faults| map.int("a", 0..=9, faults).map(|_| String::new())));
    assert!(int("a: \"5\"").contains("5 without quotes"));
    assert_eq!(int("a: 10"), "");
    let float = |text| help(take(text, |map, faults| map.float("a", faults).map(|_| String::new())));
    assert!(float("a: 1,5").contains("1.5"));
    let time = |text| help(take(text, |map, faults| map.duration("a", faults).map(|_| String::new())));
    assert!(time("a: 30").contains("30s"));
    assert!(time("a: 5 s").contains("write 5s") && time("a: 1,5s").contains("write 1.5s"));
    for text in ["a: 3y", "a: -1s", "a: 1.2.3s", "a: [1s]", "a: 400d"] {
        assert!(time(text).contains("500ms"), "{text}");
    }
    let host = |text| help(take(text, |map, faults| map.host_port("a", 1, faults).map(|_| String::new())));
    assert!(host("a: sip://x.example").contains("x.example"));
    for text in ["a: \"x:\"", "a: x:0", "a: x:70000", "a: \"[::1\"", "a: a b", "a: \"\""] {
        assert!(host(text).contains("host:port"), "{text}");
    }
}

#[test]
fn unknown_keys_are_met_with_those_that_exist() {
    let mut faults = Faults::default();
    let node = good("nmae: x\ncolour: y\n");
    let mut map = MapReader::new(&node, "devices.lamp", &mut faults).unwrap();
    map.take("name");
    map.take("room");
    map.finish(&mut faults);
    let faults = faults.sorted();
    assert_eq!(faults[0].help.as_deref(), Some("did you mean `name`?"));
    assert_eq!(faults[0].path, "devices.lamp.nmae");
    assert_eq!(faults[1].help.as_deref(), Some("known keys here: name, room"));
}

proptest! {
    /// Whatever the text: no panic, a reason for every refusal, and every place within the text.
    #[test]
    fn any_text_is_read_or_refused_with_a_place(text in "[a-z0-9 :,{}\\[\\]\"'\n\t#&*!|>%@`\\\\?~<.\u{e4}-]{0,120}") {
        let (node, faults) = read(&text);
        prop_assert!(node.is_some() || !faults.is_empty());
        let lines = text.lines().count() + 1;
        for fault in faults {
            if let Some(place) = fault.place {
                prop_assert!(place.line >= 1 && place.line <= lines + 1 && place.column >= 1, "{:?}", fault);
            }
            fault.render("a.yaml", Some(&text), crate::config::fault::Style { colour: false });
        }
    }
}

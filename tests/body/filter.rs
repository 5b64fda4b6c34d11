use sipliance::body::filter::{Changed, FilterSet, Part, Target, read};

use super::refused;

fn set(inside: &str) -> String {
    format!(
        "<filter-set xmlns='urn:ietf:params:xml:ns:simple-filter' package='presence'><ns-bindings>\
         <ns-binding prefix='p' urn='urn:ietf:params:xml:ns:pidf'/>\
         <ns-binding prefix='ap' urn='urn:x-sipliance:appliance:1'/>\
         <ns-binding prefix='x' urn='urn:x'/></ns-bindings>\n{inside}</filter-set>"
    )
}

fn include(selection: &str) -> String {
    set(&format!("<filter id='f'><what><include type='xpath'>{selection}</include></what></filter>"))
}

#[test]
fn selections() {
    let property = |name: &str| Part::Property(name.to_owned());
    for (selection, part) in [
        ("/p:presence/p:tuple/p:status/ap:value[@name=\"temperature\"]", property("temperature")),
        ("//ap:value[ @name = 'a/b' ]", property("a/b")),
        ("p:status/ap:value", Part::Properties),
        ("/p:presence", Part::Whole),
        ("/presence/tuple", Part::Whole),
        ("//p:status", Part::Status),
        ("//p:tuple/p:status/p:basic", Part::Basic),
        ("//p:contact", Part::Contact),
        ("/p:presence/p:tuple/p:contact/@priority", Part::Priority),
        ("/p:presence/p:note", Part::Note),
        ("//note", Part::Note),
        ("basic/.", Part::Whole),
        ("timestamp", Part::Timestamp),
        ("temperature", property("temperature")),
    ] {
        let read = read(include(selection).as_bytes());
        if selection == "basic/." {
            assert_eq!(read.unwrap_err().status(), 488);
            continue;
        }
        assert_eq!(read.unwrap().filters[0].include, [part], "{selection}");
    }
}

/// Proves: FL-5
#[test]
fn what_is_not_supported_is_said_so() {
    for selection in [
        "/p:presence/p:tuple[@id='x']",
        "//p:tuple[p:status/p:basic=\"open\"]/p:status",
        "//*",
        "/p:presence//p:basic",
        "//x:secret",
        "//p:basic[1]",
        "//p:basic[@name='x']",
        "/p:basic",
        "/p:presence/ap:value",
        "//p:contact/@other",
        "//p:contact/@priority/x",
        "//@priority/p:contact",
        "/p:presence/p:tuple[@name='x']/p:status",
        "/p:presence/ap:tuple/p:status",
        "count(//p:tuple)",
        "//ap:value[@name=x]",
        "/",
        "a | b",
    ] {
        let fault = read(include(selection).as_bytes()).expect_err(selection);
        assert_eq!(fault.status(), 488, "{selection}: {fault}");
        assert!(fault.to_string().starts_with("line 2: "), "{fault}");
    }
    let foreign = include("//ap:value").replace("urn:x-sipliance:appliance:1", "urn:x-other:1");
    let fault = read(foreign.as_bytes()).expect_err("a namespace of somebody else");
    assert_eq!(
        (fault.status(), fault.to_string().contains("the namespace \"urn:x-other:1\"")),
        (488, true),
        "{fault}"
    );
    let filter = |inside: &str| set(&format!("<filter id='f'>{inside}</filter>"));
    for other in [
        filter("<what><include type='regex'>a</include></what>"),
        filter("<what><include type='namespace'>urn:x</include></what>"),
        filter("<min-interval>5</min-interval>"),
        filter("<trigger><changed>//p:status</changed></trigger>"),
        filter("<trigger><grown>basic</grown></trigger>"),
        set("<filter id='f'/><limit/>"),
    ] {
        assert_eq!(read(other.as_bytes()).expect_err(&other).status(), 488, "{other}");
    }
}

#[test]
fn what_is_no_filter() {
    refused(
        read,
        &[
            ("<filter-set/>", "namespace of <filter-set>"),
            (&set(""), "<filter> is missing"),
            (&set("<filter/>"), "line 2: id of <filter> is missing"),
            (&set("<filter id='f'/><filter id='f'/>"), "two filters have the same id"),
            (&set("<filter id='f' uri='sip:a@h' domain='h'/>"), "either uri or domain"),
            (&set("<filter id='f' enabled='perhaps'/>"), "enabled of <filter> is \"perhaps\""),
            (
                &set("<filter id='f'><trigger/></filter>"),
                "<changed>, <added> or <removed> in <trigger> is missing",
            ),
            (
                &set("<filter id='f'><trigger><changed by='-1'>basic</changed></trigger></filter>"),
                "by of <changed> is \"-1\"",
            ),
            (&include(""), "the selection in <include> is missing"),
            (&include("//q:basic"), "the <ns-binding> of the prefix \"q\" is missing"),
            (&include(&"a/".repeat(17)), "more than 16 steps"),
            (
                &set(&(0..33).map(|n| format!("<filter id='f{n}'/>")).collect::<String>()),
                "more than 32 filters",
            ),
        ],
    );
}

/// Reads: FL-2
#[test]
fn what_is_shown() {
    let set = read(
        set("<filter id='f'><what><include>//p:status</include><exclude>power</exclude>\
             <include type='namespace'>urn:x-sipliance:appliance:1</include></what></filter>")
        .as_bytes(),
    )
    .unwrap();
    let filter = &set.filters[0];
    let property = |name: &str| Part::Property(name.to_owned());
    for (part, shown) in [
        (property("temperature"), true),
        (property("power"), false),
        (Part::Basic, true),
        (Part::Status, true),
        (Part::Whole, true),
        (Part::Note, false),
        (Part::Priority, false),
    ] {
        assert_eq!(filter.shows(&part), shown, "{part:?}");
    }
}

#[test]
fn changes() {
    let changed = |from: Option<&str>, to: Option<&str>, by: Option<f64>| Changed {
        part: Part::Basic,
        from: from.map(ToOwned::to_owned),
        to: to.map(ToOwned::to_owned),
        by,
    };
    for (rule, before, after, holds) in [
        (changed(None, None, None), "a", "b", true),
        (changed(None, None, None), "a", "a", false),
        (changed(Some("open"), Some("closed"), None), "open", "closed", true),
        (changed(Some("open"), Some("closed"), None), "closed", "open", false),
        (changed(None, Some("1"), None), "0", "1.0", true),
        (changed(None, None, Some(0.5)), "20.1", "20.6", true),
        (changed(None, None, Some(0.5)), "20.6", "20.1", true),
        (changed(None, None, Some(0.5)), "20.1", "20.5", false),
        (changed(None, None, Some(0.1)), "0.2", "0.3", true),
        (changed(None, None, Some(0.0)), "20.1", "20.1", false),
        (changed(None, None, Some(0.5)), "cold", "warm", false),
        (changed(Some("20"), None, Some(1.0)), "20", "22", true),
    ] {
        let seen = rule.holds(Some(before.to_owned()), Some(after.to_owned()));
        assert_eq!(seen, holds, "{rule:?} {before} {after}");
    }
    assert!(!changed(None, None, None).holds(None, Some("a".to_owned())));
}

/// All conditions of a trigger, any trigger of a filter.
/// Reads: FL-2
#[test]
fn triggers() {
    let set = read(
        set("<filter id='f'><trigger><changed by='0.5'>temperature</changed><changed to='open'>basic</changed></trigger>\
             <trigger><added>alarm</added></trigger><trigger><removed>alarm</removed></trigger></filter>")
        .as_bytes(),
    )
    .unwrap();
    let state = |temperature: &str, basic: &str, alarm: Option<&str>| {
        let (temperature, basic) = (temperature.to_owned(), basic.to_owned());
        let alarm = alarm.map(ToOwned::to_owned);
        move |part: &Part| match part {
            Part::Property(name) if name == "temperature" => Some(temperature.clone()),
            Part::Property(_) => alarm.clone(),
            Part::Basic => Some(basic.clone()),
            _ => None,
        }
    };
    let calm = state("20", "closed", None);
    for (after, fires) in [
        (state("21", "open", None), true),
        (state("21", "closed", None), false),
        (state("20", "open", None), false),
        (state("20", "closed", Some("fire")), true),
    ] {
        assert_eq!(set.filters[0].fires(&calm, &after), fires);
    }
    assert!(set.filters[0].fires(&state("20", "closed", Some("fire")), &calm));
}

/// Reads: FL-4
#[test]
fn a_refresh_replaces_by_id() {
    let of = |inside: &str| read(set(inside).as_bytes()).unwrap();
    let mut known = FilterSet::default();
    let basic = "<what><include>basic</include></what>";
    let first = format!(
        "<filter id='a'>{basic}</filter><filter id='b' domain='H.example'/><filter id='c' uri='sip:x@h.example'/>"
    );
    known.update(of(&first)).unwrap();
    known
        .update(of("<filter id='a' enabled='false'/><filter id='b' remove='true'/><filter id='d'/>"))
        .unwrap();
    let ids: Vec<_> = known.filters.iter().map(|it| (it.id.as_str(), it.enabled)).collect();
    assert_eq!(ids, [("a", false), ("c", true), ("d", true)]);
    assert_eq!(known.filters[0].include, [Part::Basic], "switched off, not forgotten");
    let target = &known.for_address("sip:x@h.example", "h.example").unwrap().target;
    assert_eq!(*target, Target::Uri("sip:x@h.example".to_owned()));
    assert_eq!(known.for_address("sip:y@h.example", "h.example").unwrap().id, "d");
    known.update(of("<filter id='a'><what><include>note</include></what></filter>")).unwrap();
    assert_eq!(known.filters[2].include, [Part::Note]);
    let ignored = of("<x:more xmlns:x='urn:x'/><filter id='a'><x:what xmlns:x='urn:x'/></filter>");
    assert_eq!(ignored.filters.len(), 1);
    let ranks = of("<filter id='all'/><filter id='one' uri='sip:x@h'/><filter id='domain' domain='h'/>\
                    <filter id='off' uri='sip:z@h' enabled='false'/>");
    for (uri, domain, id) in [
        ("sip:x@h", "h", "one"),
        ("sip:y@h", "H", "domain"),
        ("sip:z@h", "h", "domain"),
        ("sip:x@i", "i", "all"),
    ] {
        assert_eq!(ranks.for_address(uri, domain).unwrap().id, id, "{uri}");
    }
    let before = known.clone();
    let many: String = (0..32).map(|n| format!("<filter id='f{n}'/>")).collect();
    assert_eq!(known.update(of(&many)).unwrap_err().status(), 413);
    assert_eq!(known, before);
}

use sipliance::body::senml::{Record, Value, read, write};

use super::{golden, now, refused};

fn record(name: &str, unit: Option<&str>, value: Value, seconds_ago: i64) -> Record {
    Record {
        name: format!("urn:dev:org:32473-lamp:{name}"),
        unit: unit.map(ToOwned::to_owned),
        value: Some(value),
        sum: None,
        time: now()
            - jiff::SignedDuration::from_millis(seconds_ago * 1000 + if seconds_ago == 0 { 0 } else { 250 }),
        update: None,
    }
}

#[test]
fn documents_of_ours() {
    let mut records = vec![
        record("on", None, Value::Bool(true), 0),
        record("level", Some("/"), Value::Number(0.6), 2),
        record("mode", None, Value::Text("warm \"white\"".to_owned()), 0),
        record("raw", None, Value::Data(vec![0, 255, 254]), 0),
        record("count", None, Value::Number(-3.0), 0),
    ];
    records[1].update = Some(60.0);
    records[4].sum = Some(12.5);
    let text = write(&records);
    golden("lamp.senml.json", &text);
    assert_eq!(read(text.as_bytes(), now()).unwrap(), records);
}

#[test]
fn what_a_pack_cannot_say_is_left_out() {
    let mut records =
        vec![record("a", None, Value::Number(f64::NAN), 0), record("b", None, Value::Bool(true), 0)];
    records[1].time = jiff::Timestamp::from_second(100).unwrap();
    records.push(Record { value: None, ..records[1].clone() });
    records.push(Record { name: "Living room".to_owned(), ..records[1].clone() });
    assert_eq!(write(&records), "[{\"bn\":\"urn:dev:org:32473-lamp:\",\"n\":\"b\",\"vb\":true}]");
    assert_eq!(write(&[]), "[]");
}

#[test]
fn base_fields_are_resolved() {
    let pack = read(
        br#"[{"bn":"a:","bt":1.767225e9,"bu":"Cel","bv":20,"bver":5,"x":1},
            {"n":"t1","v":0.5},{"n":"t2","u":"%RH","v":1,"t":-1.5},
            {"bn":"b/","bu":"W","bv":0,"bs":10,"n":"p","s":5,"ut":60},{"n":"q","v":1,"t":10}]"#,
        now(),
    )
    .unwrap();
    let seen: Vec<_> = pack
        .iter()
        .map(|it| (it.name.as_str(), it.unit.as_deref(), it.value.clone(), it.sum, it.time.as_millisecond()))
        .collect();
    let base = 1_767_225_000_000;
    assert_eq!(
        seen,
        [
            ("a:t1", Some("Cel"), Some(Value::Number(20.5)), None, base),
            ("a:t2", Some("%RH"), Some(Value::Number(21.0)), None, base - 1500),
            ("b/p", Some("W"), None, Some(15.0), base),
            ("b/q", Some("W"), Some(Value::Number(1.0)), Some(10.0), base + 10_000),
        ]
    );
    let ago = read(br#"[{"n":"a","vb":true,"t":-60}]"#, now()).unwrap();
    assert_eq!(ago[0].time, now() - jiff::SignedDuration::from_secs(60));
    let ahead = read(br#"[{"n":"a","vb":true,"t":60}]"#, now()).unwrap();
    assert_eq!(ahead[0].time, now() + jiff::SignedDuration::from_secs(60));
}

#[test]
fn what_is_no_senml() {
    let long = format!(r#"[{{"n":"{}","v":1}}]"#, "a".repeat(257));
    let many = format!("[{}]", vec![r#"{"n":"a","v":1}"#; 1001].join(","));
    refused(
        |body| read(body, now()),
        &[
            ("", "the body is not JSON"),
            ("[\n{]", "line 2: the body is not JSON"),
            ("{}", "a SenML pack is an array"),
            ("[1]", "record 1: a SenML record is an object"),
            (r#"[{"n":"a","v":1},{"n":"a"}]"#, "record 2: the value (v, vs, vb or vd) is missing"),
            ("[{}]", "record 1: the value"),
            (r#"[{"n":"a","v":1,"vb":true}]"#, "only one of v, vs, vb and vd"),
            (r#"[{"n":"a","v":"1"}]"#, "v is \"�1�\", not a number"),
            (r#"[{"n":"a","vb":1}]"#, "vb is \"1\", not true or false"),
            (r#"[{"n":1,"v":1}]"#, "n is \"1\", not a string"),
            (r#"[{"n":"a","vd":"*"}]"#, "vd is not base64url"),
            (r#"[{"v":1}]"#, "the name is \"\""),
            (r#"[{"n":":a","v":1}]"#, "the name is \":a\""),
            (r#"[{"n":"a b","v":1}]"#, "the name is \"a b\""),
            (r#"[{"n":"a","v":1,"lock_":1}]"#, "the field \"lock_\" is not supported"),
            (r#"[{"bver":11,"n":"a","v":1}]"#, "SenML version 11 is not supported"),
            (r#"[{"n":"a","v":1,"t":1e300}]"#, "the time is out of range"),
            (r#"[{"n":"a","bv":1.7e308,"v":1.7e308}]"#, "the value is out of range"),
            (&long, "more than 256 bytes in a name"),
            (&many, "more than 1000 records"),
            (&"[".repeat(60_000), "the body is not JSON"),
        ],
    );
}

use sipliance::body::device_profile::{self, DeviceProfile};
use sipliance::body::td::{Action, Event, Kind, Property, Thing, write};

use super::golden;

#[test]
fn a_thing() {
    let property = |name: &str, kind, readable, writable| Property {
        name: name.to_owned(),
        title: None,
        kind,
        unit: None,
        readable,
        writable,
    };
    let mut level = property("level", Kind::Number(Some(0.0), Some(100.0)), true, true);
    level.unit = Some("%".to_owned());
    level.title = Some("Brightness".to_owned());
    let thing = Thing {
        id: "urn:dev:org:32473-lamp-bedroom".to_owned(),
        title: "Bedroom \"lamp\"".to_owned(),
        description: Some("Over the bed".to_owned()),
        address: "sip:lamp.bedroom@home.example".to_owned(),
        properties: vec![
            property("on", Kind::Boolean, true, true),
            level,
            property("power", Kind::Number(None, None), true, false),
            property("starts", Kind::Integer(Some(0), None), true, false),
            property("code", Kind::Text, false, true),
            property("neither", Kind::Text, false, false),
        ],
        actions: vec![
            Action { name: "blink".to_owned(), title: Some("Blink".to_owned()), input: None },
            Action {
                name: "scene".to_owned(),
                title: None,
                input: Some(Kind::Choice(vec!["read".to_owned(), "sleep".to_owned()])),
            },
        ],
        events: vec![Event { name: "blown".to_owned(), title: None, data: Some(Kind::Text) }],
    };
    let text = write(&thing);
    let td: serde_json::Value = serde_json::from_str(&text).unwrap();
    golden("lamp.td.json", format!("{}\n", serde_json::to_string_pretty(&td).unwrap()));
    assert_eq!(td["properties"]["power"]["readOnly"], true);
    assert_eq!(td["properties"]["code"]["forms"].as_array().unwrap().len(), 1);
    let bare: serde_json::Value = serde_json::from_str(&write(&Thing::default())).unwrap();
    assert!(bare.get("actions").is_none());
}

#[test]
fn a_profile() {
    let profile = DeviceProfile {
        device_name: "Bedroom lamp <1>".to_owned(),
        device_type: "lamp".to_owned(),
        schema_name: "application/senml+json".to_owned(),
        manufacturer: Some("Lights & Co".to_owned()),
        serial_number: Some("0001".to_owned()),
        ..DeviceProfile::default()
    };
    golden("lamp.device-profile.xml", device_profile::write(&profile));
}

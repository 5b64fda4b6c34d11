//! What people say to shipped devices.

use std::time::Instant;

use bytes::Bytes;
use sipliance_driver::{Channel, Event};

use super::*;
use crate::config::fault::{Faults, Place};
use crate::config::{DeviceConfig, DeviceId, LinkId, yaml};
use crate::device::house::House;
use crate::device::profile::Profile;
use crate::device::shipped;
use crate::timer::Now;

fn house(profile: &str, params: &str, heard: &[(&str, &str)]) -> House {
    let mut faults = Faults::default();
    let node = yaml::parse(shipped::text(profile).expect("shipped"), &mut faults).expect("parses");
    let profile = Profile::read(&node, &mut faults).expect("reads");
    let params = yaml::parse(params, &mut faults).expect("parses");
    let model =
        profile.instantiate("devices.x", Place { line: 1, column: 1 }, Some(&params), None, &mut faults);
    let device = DeviceConfig {
        id: "x".to_owned(),
        name: "X".to_owned(),
        room: None,
        numbers: Vec::new(),
        model: Arc::new(model.expect("a model")),
        link: LinkId(0),
        naming: Default::default(),
    };
    let now = Now { mono: Instant::now(), wall_ms: 1 };
    let mut house = House::of(&[device], 1, now);
    house.driver(LinkId(0), Event::Up, now);
    for (channel, payload) in heard {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        let event = Event::Read { channel: Channel::new(channel), payload, retained: false };
        house.driver(LinkId(0), event, now);
    }
    house
}

fn said(house: &House, text: &str) -> Understood {
    understand(house.device(DeviceId(0)).expect("there"), text)
}

fn set(property: &str, value: Value) -> Understood {
    Ok(Said::Order(Order::Set { property: property.into(), value }))
}

#[track_caller]
fn refused(house: &House, text: &str, words: &[&str]) {
    let NotUnderstood(told) = said(house, text).expect_err("not understood");
    for word in words {
        assert!(told.contains(word), "`{word}` is missing in: {told}");
    }
}

#[test]
fn a_plug_is_switched_in_plain_words() {
    let plug = house("tasmota-plug", "{topic: x}", &[("stat/x/POWER", "ON")]);
    for text in ["off", " OFF ", "power off", "Power  Off", "set power off", "set Power to off"] {
        assert_eq!(said(&plug, text), set("power", Value::Bool(false)), "{text}");
    }
    let toggled = Order::Set { property: "power".into(), value: Value::Bool(false) };
    for text in ["toggle", "toggle power"] {
        assert_eq!(said(&plug, text), Ok(Said::Toggle(toggled.clone())), "{text}");
    }
    assert_eq!(said(&plug, "on"), set("power", Value::Bool(true)));
    for text in ["", "status", " Status", "?", "power"] {
        assert_eq!(said(&plug, text), Ok(Said::Status), "{text}");
    }
    assert_eq!(said(&plug, "HELP"), Ok(Said::Help));
}

#[test]
fn mistakes_are_answered_with_what_is_known() {
    let plug = house("tasmota-plug", "{topic: x}", &[]);
    refused(
        &plug,
        "onn",
        &["I do not know \u{201c}onn\u{201d}", "Did you mean on?", "on, off, toggle, status"],
    );
    refused(&plug, "set watts 10", &["Power draw can only be read"]);
    refused(&plug, "power maybe", &["Power: \u{201c}maybe\u{201d} is not on or off"]);
    refused(&plug, "set power", &["say set, then what"]);
    refused(&plug, "on fire", &["I do not know"]);
    refused(&plug, &"x".repeat(600), &["too long"]);
}

#[test]
fn only_what_can_be_said_is_proposed() {
    let bell = house("gpio-doorbell", "{pin: GPIO1}", &[]);
    let NotUnderstood(told) = said(&bell, "on").expect_err("a doorbell is not switched");
    assert_eq!(told, "I do not know \u{201c}on\u{201d}. I know: status, help");
    // `warming` is a state of a projector, not a command.
    let projector = house("serial-projector", "{}", &[]);
    assert_eq!(
        help(projector.device(DeviceId(0)).expect("there")),
        "I know: standby, on, input <source>, status, help"
    );
    let door = house("gpio-garage-door", "{relay: GPIO1, reed: GPIO2}", &[]);
    refused(&door, "open foo=3", &["say open alone"]);
}

#[test]
fn a_toggle_needs_to_know() {
    let plug = house("tasmota-plug", "{topic: x}", &[]);
    refused(&plug, "toggle", &["not known for certain", "say on or off"]);
}

#[test]
fn a_valve_takes_numbers_and_modes() {
    let valve = house("z2m-trv", "{name: v}", &[]);
    for text in ["setpoint 21.5", "set setpoint 21,5", "set heating setpoint to 21.5 °C", "SETPOINT 21.5°C"]
    {
        assert_eq!(said(&valve, text), set("setpoint", Value::Float(21.5)), "{text}");
    }
    assert_eq!(said(&valve, "mode Heat"), set("mode", Value::Enum("heat".into())));
    assert_eq!(said(&valve, "heat"), set("mode", Value::Enum("heat".into())));
    assert_eq!(said(&valve, "19"), set("setpoint", Value::Float(19.0)));
    refused(&valve, "mode dry", &["Mode: \u{201c}dry\u{201d} is not one of off, auto, heat"]);
    refused(&valve, "set moed heat", &["I do not know \u{201c}moed\u{201d}", "Did you mean mode?"]);
    refused(&valve, "help me", &["set setpoint <4\u{2026}35>", "set mode <off|auto|heat>"]);
}

#[test]
fn actions_are_called_by_name_with_their_arguments() {
    let door = house("gpio-garage-door", "{relay: GPIO1, reed: GPIO2}", &[]);
    let open = Ok(Said::Order(Order::Do { action: "open".into(), args: Vec::new() }));
    assert_eq!(said(&door, "Open"), open);
    refused(&door, "open wide", &["say open"]);
    refused(&door, "toggle", &["nothing to toggle", "I know: open, close, status, help"]);

    let projector = house("serial-projector", "{}", &[("port", "PWR=01")]);
    let input = Ok(Said::Order(Order::Do {
        action: "input".into(),
        args: vec![("source".into(), Value::Enum("hdmi2".into()))],
    }));
    assert_eq!(said(&projector, "input HDMI2"), input);
    assert_eq!(said(&projector, "input source=hdmi2"), input);
    refused(&projector, "input vga", &["source: \u{201c}vga\u{201d} is not one of hdmi1, hdmi2, pc"]);
    assert_eq!(said(&projector, "on"), set("power", Value::Enum("on".into())));
    assert_eq!(said(&projector, "off"), set("power", Value::Enum("standby".into())));
}

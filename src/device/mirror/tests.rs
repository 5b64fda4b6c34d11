use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::{Channel, Op, OpId};

use super::*;
use crate::config::fault::Faults;
use crate::device::codec::{Delivery, compose};
use crate::device::profile::{Profile, Target};
use crate::device::shipped;

fn profiles() -> Vec<Profile> {
    let read = |(_, text): &(&str, &str)| crate::device::fixture::read(text, &mut Faults::default());
    let all: Vec<Profile> = shipped::SHIPPED.iter().filter_map(read).collect();
    assert!(all.len() >= 50, "every shipped profile is read");
    all
}

fn mirror(model: &Arc<Model>) -> Mirror {
    Mirror::new(vec![("it".to_owned(), model.clone())], 7, false)
}

/// Values of a property that a house could see.
fn values(property: &Property) -> Vec<Value> {
    let (low, high) = property.range.unwrap_or((0.0, 200.0));
    let step = property.step.unwrap_or(1.0);
    match &property.kind {
        Kind::Bool => vec![Value::Bool(true), Value::Bool(false)],
        Kind::Enum(names) => names.iter().cloned().map(Value::Enum).collect(),
        Kind::Int => [low, low + 1.0, 9.0, 42.0, high].iter().map(|n| Value::Int(*n as i64)).collect(),
        Kind::Float => [low, low + step, low + 3.0 * step, 21.5, high].map(Value::Float).into(),
        Kind::Text => vec![Value::Text("Back at 3".into()), Value::Text("12".into())],
        Kind::Time => vec![Value::Text("2026-03-01T12:00:00Z".into())],
    }
}

fn in_range(property: &Property, value: &Value) -> bool {
    property.range.zip(value.number()).is_none_or(|((low, high), number)| (low..=high).contains(&number))
}

/// Everything but the profiles of what is elsewhere, which has no wire.
fn wired() -> Vec<Profile> {
    profiles().into_iter().filter(|of| !matches!(of.example.link, LinkNeeds::Sip(_))).collect()
}

#[test]
fn every_value_that_a_mirror_says_is_the_value_that_the_codec_reads() {
    let mut checked = 0;
    for profile in wired() {
        let model = &profile.example;
        for (index, property) in model.properties.iter().enumerate() {
            for value in values(property).iter().filter(|value| in_range(property, value)) {
                let mut mirror = mirror(model);
                assert_eq!(mirror.unsaid(), [""; 0], "{}", profile.id);
                match mirror.show(0, index, value) {
                    Ok(()) => {}
                    // A state that the appliance has and nothing on the wire means.
                    Err(why) => {
                        let map = property.reads[0].map.as_ref();
                        assert!(map.is_some_and(|map| map.values().all(|v| v != value)), "{why}");
                        continue;
                    }
                }
                let found = mirror.known(0, index).expect("a value");
                match (found.number(), value.number()) {
                    (Some(found), Some(wanted)) => {
                        let scale = property.reads[0].scale.unwrap_or(1.0).abs();
                        let off = (found - wanted).abs();
                        assert!(
                            off <= (wanted.abs() * 1e-6)
                                .max(scale * 0.51 * f64::from(u8::from(scale != 1.0))),
                            "{} {}: {found} for {wanted}",
                            profile.id,
                            property.id
                        );
                    }
                    _ => assert_eq!(&found, value, "{} {}", profile.id, property.id),
                }
                checked += 1;
            }
        }
    }
    assert!(checked > 400, "{checked}");
}

#[test]
fn every_write_is_understood_as_what_it_means() {
    let mut checked = 0;
    for profile in profiles() {
        let model = &profile.example;
        for (index, property) in model.properties.iter().enumerate() {
            let Some(write) = &property.write else { continue };
            for value in values(property).into_iter().filter(|value| in_range(property, value)) {
                let Ok(sent) = compose(write, &[("value".into(), value.clone())], None) else { continue };
                let op = Op::Write { id: OpId(1), channel: sent.channel, payload: sent.payload };
                assert_eq!(
                    hear::set(model, &op),
                    Some((index, value.clone())),
                    "{} {}: {op:?}",
                    profile.id,
                    property.id
                );
                checked += 1;
            }
        }
        for (index, action) in model.actions.iter().enumerate() {
            for (nth, step) in action.steps.iter().enumerate() {
                let given = |arg: &crate::device::profile::Arg| {
                    let value = match &arg.kind {
                        Kind::Bool => Value::Bool(true),
                        Kind::Enum(names) => Value::Enum(names[0].clone()),
                        Kind::Int => Value::Int(7),
                        Kind::Float => Value::Float(7.5),
                        Kind::Text | Kind::Time => Value::Text("a".into()),
                    };
                    (arg.id.clone(), value)
                };
                let values: Vec<_> = action.args.iter().map(given).collect();
                let sent = compose(step, &values, None).expect("composes");
                let op = match (sent.delivery, &step.target) {
                    (Delivery::Pulse(on), Target::Pulse(..)) => {
                        Op::Pulse { id: OpId(1), channel: sent.channel, on }
                    }
                    _ => Op::Write { id: OpId(1), channel: sent.channel, payload: sent.payload },
                };
                let found: Vec<_> = hear::steps(model, &op).collect();
                assert!(found.contains(&(index, nth)), "{} {}: {found:?}", profile.id, action.id);
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "{checked}");
}

fn said(events: &[Event]) -> Vec<(String, String)> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Read { channel, payload, .. } => {
                Some((channel.to_string(), String::from_utf8_lossy(payload).into_owned()))
            }
            _ => None,
        })
        .collect()
}

fn model(profile: &str) -> Arc<Model> {
    let found = profiles().into_iter().find(|of| &*of.id == profile);
    found.expect("a shipped profile").example
}

#[test]
fn one_plug_that_is_two_devices_has_one_truth() {
    let (plug, washer) = (model("tasmota-plug"), model("washer-by-power"));
    let others = model("z2m-plug");
    assert_eq!(appliances(&[&plug, &others, &washer]), [vec![0], vec![1], vec![2]]);
    let profile = profiles().into_iter().find(|of| &*of.id == "washer-by-power").expect("it is shipped");
    let node = crate::config::yaml::parse("{topic: tasmota_3A91C4}", &mut Faults::default());
    let place = crate::config::fault::Place { line: 1, column: 1 };
    let washer = profile.instantiate("it", place, node.as_ref(), None, &mut Faults::default());
    let washer = Arc::new(washer.expect("a model"));
    assert_eq!(appliances(&[&plug, &others, &washer]), [vec![0, 2], vec![1]]);

    let devices = vec![("plug".to_owned(), plug), ("washer".to_owned(), washer)];
    let mut both = Mirror::new(devices, 1, false);
    assert_eq!(both.value("washer", "running"), Some(Value::Bool(false)));
    both.set("plug", "watts", "900").expect("it can be turned");
    assert_eq!(both.value("washer", "watts"), Some(Value::Float(900.0)));
    assert_eq!(both.value("washer", "running"), Some(Value::Bool(true)));
    both.set("washer", "running", "off").expect("it can be stopped");
    assert!(both.value("plug", "watts").and_then(|watts| watts.number()).expect("a number") < 6.0);
}

#[test]
fn a_pulse_opens_what_is_closed_and_closes_what_is_open() {
    let mut garage = mirror(&model("gpio-garage-door"));
    let door = |garage: &Mirror| garage.value("it", "door").expect("known").plain();
    let mut now = Duration::from_secs(1);
    garage.tick(now);
    for (before, after) in [("closed", "open"), ("open", "closed")] {
        assert_eq!(door(&garage), before);
        let on = Duration::from_millis(500);
        let events = garage.handle(&Op::Pulse { id: OpId(1), channel: Channel::new("relay"), on }, now);
        assert!(matches!(events[0], Event::Done { result: Ok(()), .. }), "{events:?}");
        assert_eq!(said(&events), [("relay".to_owned(), "1".to_owned())]);
        now += Duration::from_secs(5);
        let events = said(&garage.tick(now));
        assert!(events.contains(&("relay".to_owned(), "0".to_owned())), "{events:?}");
        assert!(events.iter().any(|(line, _)| line == "reed"), "{events:?}");
        assert_eq!(door(&garage), after);
    }
}

#[test]
fn a_plug_that_is_pulled_says_so_by_its_will_and_comes_back() {
    let mut plug = mirror(&model("tasmota-plug"));
    let begun = plug.tick(Duration::from_secs(1));
    assert!(said(&begun).contains(&("tele/tasmota_3A91C4/LWT".to_owned(), "Online".to_owned())), "{begun:?}");
    let will = plug.plugged(false, Duration::from_secs(2));
    assert_eq!(said(&will), [("tele/tasmota_3A91C4/LWT".to_owned(), "Offline".to_owned())]);
    assert!(matches!(will[0], Event::Read { retained: true, .. }));
    assert!(plug.tick(Duration::from_secs(60)).is_empty());
    let on =
        Op::Write { id: OpId(1), channel: Channel::new("cmnd/tasmota_3A91C4/POWER"), payload: "ON".into() };
    assert!(plug.handle(&on, Duration::from_secs(60)).is_empty(), "it hears nothing");
    plug.plugged(true, Duration::from_secs(61));
    let back = said(&plug.tick(Duration::from_secs(62)));
    assert!(back.contains(&("tele/tasmota_3A91C4/LWT".to_owned(), "Online".to_owned())), "{back:?}");
    assert!(back.contains(&("stat/tasmota_3A91C4/POWER".to_owned(), "OFF".to_owned())), "{back:?}");
}

#[test]
fn the_same_seed_lives_the_same_life() {
    let life = |seed| {
        let devices =
            vec![("bell".to_owned(), model("gpio-doorbell")), ("pir".to_owned(), model("gpio-pir"))];
        let mut mirror = Mirror::new(devices, seed, true);
        let mut all = Vec::new();
        while let Some(at) = mirror.next().filter(|at| *at < Duration::from_secs(900)) {
            all.push((at, said(&mirror.tick(at))));
        }
        all
    };
    let first = life(1);
    assert!(first.len() > 20, "somebody rings and passes by");
    assert_eq!(first, life(1));
    assert_ne!(first, life(2));
}

#[test]
fn what_people_do_wrong_is_answered_in_words() {
    let mut bell = mirror(&model("gpio-doorbell"));
    let mut plug = mirror(&model("tasmota-plug"));
    for (got, want) in [
        (plug.set("it", "colour", "red"), "it has power, watts, energy"),
        (plug.set("it", "power", "maybe"), "on or off"),
        (plug.happen("it", "ring", None, Duration::ZERO), "it has no events"),
        (bell.happen("it", "ring", Some("thrice"), Duration::ZERO), "ring is one of single, double, hold"),
        (bell.happen("door", "ring", None, Duration::ZERO), "door is not here"),
    ] {
        let why = got.expect_err("no");
        assert!(why.contains(want), "{why}");
    }
}

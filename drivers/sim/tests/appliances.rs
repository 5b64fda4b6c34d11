//! Each appliance says what a real one says, when it would say it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use sipliance_driver::{Channel, Event, Failure, Op, OpId};
use sipliance_driver_sim::appliances::{
    Freezer, GarageDoor, Input, RadiatorValve, Relay, SmartMeter, TasmotaPlug,
};
use sipliance_driver_sim::{Appliance, Wire};

/// A wire with everything watched, and the time.
struct Bench {
    wire: Wire,
    now: Duration,
    ids: u64,
}

impl Bench {
    fn new(mut wire: Wire, watches: &[&str]) -> Self {
        wire.begin(Duration::ZERO);
        for watch in watches {
            wire.op(Op::Watch { channel: Channel::new(watch) }, Duration::ZERO);
        }
        Self { wire, now: Duration::ZERO, ids: 0 }
    }

    fn broker(appliance: impl Appliance + 'static) -> Self {
        Self::new(Wire::broker(vec![Box::new(appliance)]), &["#"])
    }

    fn write(&mut self, channel: &str, payload: &'static str) -> Vec<(String, String)> {
        self.ids += 1;
        let payload = Bytes::from_static(payload.as_bytes());
        self.wire.op(Op::Write { id: OpId(self.ids), channel: Channel::new(channel), payload }, self.now);
        self.said()
    }

    fn said(&mut self) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.wire.poll(self.now))
            .filter_map(|event| match event {
                Event::Read { channel, payload, .. } => {
                    Some((channel.to_string(), String::from_utf8(payload.to_vec()).unwrap()))
                }
                _ => None,
            })
            .collect()
    }

    /// Lives for some seconds; what was said, each with its second.
    fn live(&mut self, secs: u64) -> Vec<(f64, String, String)> {
        let until = self.now + Duration::from_secs(secs);
        let mut all = Vec::new();
        while let Some(next) = self.wire.next().filter(|next| *next <= until) {
            self.now = next.max(self.now);
            self.wire.tick(self.now);
            let at = self.now.as_secs_f64();
            all.extend(self.said().into_iter().map(|(channel, payload)| (at, channel, payload)));
        }
        self.now = until;
        all
    }
}

fn pair(channel: &str, payload: &str) -> (String, String) {
    (channel.to_owned(), payload.to_owned())
}

fn json(said: &[(String, String)], channel: &str) -> Value {
    let (_, payload) = said.iter().find(|(at, _)| at == channel).expect(channel);
    serde_json::from_str(payload).unwrap()
}

#[test]
fn a_tasmota_plug_answers_like_tasmota() {
    let mut bench = Bench::broker(TasmotaPlug::new("plug", 60.0));
    let first = bench.said();
    assert!(first.contains(&pair("tele/plug/LWT", "Online")), "{first:?}");
    let said = bench.write("cmnd/plug/POWER", "ON");
    assert_eq!(json(&said, "stat/plug/RESULT")["POWER"], "ON");
    assert!(said.contains(&pair("stat/plug/POWER", "ON")));
    let status = bench.write("cmnd/plug/STATUS", "8");
    let watts = json(&status, "stat/plug/STATUS8")["StatusSNS"]["ENERGY"]["Power"].as_f64().unwrap();
    assert!((55.0..65.0).contains(&watts), "{watts}");
    let told = bench.live(6);
    assert!(told.iter().any(|(_, channel, _)| channel == "tele/plug/SENSOR"));
    assert!(bench.write("cmnd/plug/POWER", "").contains(&pair("stat/plug/POWER", "ON")));
    assert!(bench.write("cmnd/plug/POWER", "nonsense").contains(&pair("stat/plug/POWER", "ON")));
    bench.write("cmnd/plug/POWER", "TOGGLE");
    let status = bench.write("cmnd/plug/STATUS", "8");
    assert_eq!(json(&status, "stat/plug/STATUS8")["StatusSNS"]["ENERGY"]["Power"], 0);
}

#[test]
fn a_washer_heats_tumbles_spins_and_rests() {
    let mut bench = Bench::broker(TasmotaPlug::washer("washer"));
    let watts: Vec<f64> = bench
        .live(140)
        .iter()
        .filter(|(_, channel, _)| channel == "tele/washer/SENSOR")
        .map(|(_, _, payload)| {
            serde_json::from_str::<Value>(payload).unwrap()["ENERGY"]["Power"].as_f64().unwrap()
        })
        .collect();
    for range in [1900.0..2200.0, 120.0..200.0, 420.0..500.0, 1.0..3.0] {
        assert!(watts.iter().any(|w| range.contains(w)), "{range:?} in {watts:?}");
    }
}

#[test]
fn a_valve_heats_the_room_to_its_setpoint() {
    let mut bench = Bench::broker(RadiatorValve::new("zigbee2mqtt", "bedroom"));
    assert_eq!(json(&bench.said(), "zigbee2mqtt/bedroom/availability")["state"], "online");
    let state = bench.write("zigbee2mqtt/bedroom/set", r#"{"occupied_heating_setpoint": 23}"#);
    let state = json(&state, "zigbee2mqtt/bedroom");
    assert_eq!(
        (&state["occupied_heating_setpoint"], &state["running_state"]),
        (&23.0.into(), &"heat".into())
    );
    let warm = bench.live(120);
    let last: Value = serde_json::from_str(&warm.last().unwrap().2).unwrap();
    assert!((22.5..23.5).contains(&last["local_temperature"].as_f64().unwrap()), "{last}");
    let off = bench.write("zigbee2mqtt/bedroom/set", r#"{"system_mode": "off"}"#);
    assert_eq!(json(&off, "zigbee2mqtt/bedroom")["running_state"], "idle");
    let other = bench.write("zigbee2mqtt/bedroom/set", r#"{"occupied_heating_setpoint": 99}"#);
    assert_eq!(json(&other, "zigbee2mqtt/bedroom")["occupied_heating_setpoint"], 23.0);
}

#[test]
fn a_freezer_warms_when_its_door_is_left_open() {
    let mut bench = Bench::broker(Freezer::new("freezer"));
    assert!(bench.said().contains(&pair("freezer/status", "online")));
    let degrees = |said: Vec<(f64, String, String)>| -> Vec<f64> {
        let wanted = said.into_iter().filter(|(_, channel, _)| channel == "freezer/sensor/temperature/state");
        wanted.map(|(_, _, payload)| payload.parse().unwrap()).collect()
    };
    let cold = degrees(bench.live(57));
    assert!(cold.iter().all(|d| (-18.6..-18.2).contains(d)), "{cold:?}");
    let warm = degrees(bench.live(30));
    assert!(warm.iter().any(|d| *d > -12.0), "{warm:?}");
    let mut zigbee = Bench::broker(Freezer::zigbee2mqtt("zigbee2mqtt", "freezer"));
    assert_eq!(json(&zigbee.said(), "zigbee2mqtt/freezer")["temperature"], -18.4);
}

#[test]
fn a_garage_door_opens_halts_and_shuts_by_pulses() {
    let mut bench = Bench::new(Wire::lines(vec![Box::new(GarageDoor::new())]), &["relay", "reed"]);
    assert_eq!(bench.said(), [pair("relay", "0"), pair("reed", "1")]);
    let pulse = |bench: &mut Bench| {
        bench.ids += 1;
        let on = Duration::from_millis(500);
        bench.wire.op(Op::Pulse { id: OpId(bench.ids), channel: Channel::new("relay"), on }, bench.now);
        assert_eq!(bench.said(), [pair("relay", "1")]);
    };
    let said = |secs: f64, channel: &str, payload: &str| (secs, channel.to_owned(), payload.to_owned());
    pulse(&mut bench);
    assert_eq!(bench.live(20), [said(0.5, "relay", "0"), said(1.0, "reed", "0")]);
    pulse(&mut bench);
    assert_eq!(bench.live(20), [said(20.5, "relay", "0"), said(32.0, "reed", "1")]);
    // Half way up, stop, and down again.
    pulse(&mut bench);
    bench.live(6);
    pulse(&mut bench);
    assert_eq!(bench.live(60), [said(46.5, "relay", "0")]);
    pulse(&mut bench);
    assert_eq!(bench.live(20), [said(106.5, "relay", "0"), said(112.0, "reed", "1")]);
}

#[test]
fn lines_refuse_what_they_cannot_do() {
    let appliances: Vec<Box<dyn Appliance>> =
        vec![Box::new(Relay::new("relay")), Box::new(Input::doorbell(Duration::from_secs(30)))];
    let mut wire = Wire::lines(appliances);
    let ask = |op: Op, wire: &mut Wire| {
        wire.op(op, Duration::ZERO);
        std::iter::from_fn(|| wire.poll(Duration::ZERO))
            .find_map(|event| match event {
                Event::Done { result, .. } => Some(result),
                _ => None,
            })
            .expect("an end")
    };
    let write = |channel: &str, payload: &'static str| Op::Write {
        id: OpId(1),
        channel: Channel::new(channel),
        payload: payload.into(),
    };
    assert_eq!(ask(write("relay", "1"), &mut wire), Ok(()));
    for op in [
        write("relay", "on"),
        write("button", "1"),
        write("lamp", "1"),
        Op::Pulse { id: OpId(1), channel: Channel::new("relay"), on: Duration::from_secs(61) },
    ] {
        assert!(matches!(ask(op.clone(), &mut wire), Err(Failure::Refused(_))), "{op:?}");
    }
}

#[test]
fn buttons_and_sensors_are_worked_now_and_then() {
    let every = Duration::from_secs(20);
    let appliances: Vec<Box<dyn Appliance>> =
        vec![Box::new(Input::doorbell(every)), Box::new(Input::motion(every))];
    let mut bench = Bench::new(Wire::lines(appliances), &["button", "pir"]);
    let said = bench.live(300);
    for (line, least, most) in [("button", 8, 40), ("pir", 8, 30)] {
        let levels: Vec<_> =
            said.iter().filter(|(_, at, _)| at == line).map(|(_, _, p)| p.as_str()).collect();
        let presses = levels.iter().filter(|p| **p == "1").count();
        assert!((least..most).contains(&presses), "{line}: {presses}");
        assert!(levels.windows(2).all(|two| two[0] != two[1]), "{line} repeats a level: {levels:?}");
    }
}

#[test]
fn a_smart_meter_speaks_p1_and_tasmota() {
    let mut bench = Bench::new(Wire::serial(vec![Box::new(SmartMeter::p1())]), &["rx"]);
    let lines = bench.live(120);
    let powers = |code: &str| -> Vec<f64> {
        let values = lines.iter().filter_map(|(_, _, line)| line.strip_prefix(code)?.strip_suffix("*kW)"));
        values.map(|kw| kw.parse().unwrap()).collect()
    };
    let (taken, given) = (powers("1-0:1.7.0("), powers("1-0:2.7.0("));
    assert!(taken.len() > 50 && taken.len() == given.len());
    assert!(taken.iter().zip(&given).all(|(a, b)| *a == 0.0 || *b == 0.0));
    assert!(taken.iter().any(|kw| *kw > 0.1) && given.iter().any(|kw| *kw > 0.1));
    let mut bench = Bench::broker(SmartMeter::tasmota("meter"));
    let told: Vec<_> = bench.live(3).into_iter().map(|(_, channel, payload)| (channel, payload)).collect();
    assert!(json(&told, "tele/meter/SENSOR")["MT"]["Total_in"].as_f64().unwrap() > 700.0);
}

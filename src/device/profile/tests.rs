//! Faults of profiles, one by one, and what the home file may do to a good one.

use super::*;
use crate::config::fault::Fault;
use crate::config::yaml;
use crate::device::codec::compose;
use crate::device::value::Value;

const PLUG: &str = include_str!("../../../device-profiles/tasmota-plug.yaml");
const PROJECTOR: &str = include_str!("../../../device-profiles/serial-projector.yaml");
const GARAGE: &str = include_str!("../../../device-profiles/gpio-garage-door.yaml");
const BELL: &str = include_str!("../../../device-profiles/gpio-doorbell.yaml");

const DIMMER: &str = include_str!("../../../device-profiles/gpio-dimmer.yaml");

fn read(text: &str) -> (Option<Profile>, Vec<Fault>) {
    let mut faults = Faults::default();
    let node = yaml::parse(text, &mut faults);
    let profile = node.and_then(|node| Profile::read(&node, &mut faults));
    (profile, faults.sorted())
}

/// The one fault of `text` after `from` became `to`, as `line: path: message; help`.
fn broken(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from} is not in the profile");
    let (profile, faults) = read(&text.replacen(from, to, 1));
    assert!(profile.is_none(), "`{to}` was accepted");
    let spelled: Vec<String> = faults
        .iter()
        .map(|fault| {
            let line = fault.place.map_or(0, |place| place.line);
            let help = fault.help.as_deref().map(|help| format!("; {help}")).unwrap_or_default();
            format!("{line}: {}: {}{help}", fault.path, fault.message)
        })
        .collect();
    spelled.join("\n")
}

#[track_caller]
fn tells(text: &str, from: &str, to: &str, words: &[&str]) {
    let told = broken(text, from, to);
    for word in words {
        assert!(told.contains(word), "`{word}` is missing in:\n{told}");
    }
}

#[test]
fn faults_of_words_are_told_with_what_was_meant() {
    tells(PLUG, "stale_after", "stale_afer", &["unknown key `stale_afer`", "did you mean `stale_after`?"]);
    tells(PLUG, "type: bool", "type: boole", &["`boole` is unknown here", "did you mean `bool`?"]);
    tells(PLUG, "cmnd/<topic>/POWER}", "cmnd/<topik>/POWER}", &["unknown placeholder <topik>"]);
    tells(PLUG, "driver: mqtt", "driver: mqttt", &["did you mean `mqtt`?"]);
    tells(PLUG, "driver: mqtt", "driver: knx", &["there is no driver `knx`", "mqtt, serial, modbus, p1"]);
    tells(
        PLUG,
        "lamp: power",
        "lamp: pover",
        &["phone.lamp", "no property `pover`", "did you mean `power`?"],
    );
    tells(PLUG, "press: toggle power", "press: toggle watts", &["nothing that this device can do"]);
    tells(GARAGE, "lit_when: [open]", "lit_when: [opem]", &["not among the values", "did you mean `open`?"]);
    tells(GARAGE, "only_if: {door: closed}", "only_if: {dor: closed}", &["actions.open.only_if.dor"]);
    tells(PLUG, "profile: tasmota-plug", "profile: Tasmota", &["`Tasmota` is no id"]);
    tells(PLUG, "  watts:\n", "  toggle:\n", &["word of commands"]);
}

#[test]
fn a_query_that_some_value_makes_a_command_is_refused() {
    const AMPLIFIER: &str = include_str!("../../../device-profiles/serial-av-amp.yaml");
    let by_itself = "would act by itself";
    tells(AMPLIFIER, "ask: \"MV?\"", "ask: MV30", &["`volume` is commanded", by_itself]);
    tells(PROJECTOR, "ask: \"LAMP?\"", "ask: SOURCE A0", &["`input` is commanded", by_itself]);
    for harmless in ["MV99", "MV7", "MVX"] {
        let (profile, faults) = read(&AMPLIFIER.replacen("ask: \"MV?\"", &format!("ask: {harmless}"), 1));
        assert!(profile.is_some(), "{harmless} is no volume that can be set: {faults:#?}");
    }
}

#[test]
fn faults_of_values_are_told_with_how_to_write_them() {
    tells(PLUG, "confirm: 3s", "confirm: 3", &["properties.power.confirm", "add the unit"]);
    tells(PLUG, "json: /ENERGY/Power", "json: ENERGY.Power", &["no JSON Pointer", "write /ENERGY/Power"]);
    tells(PLUG, "{\"ON\": true, \"OFF\"", "{\"ON\": yes, \"OFF\"", &["true or false is expected"]);
    tells(PLUG, "stat/<topic>/POWER,", "stat/+/POWER,", &["wildcards"]);
    tells(
        PROJECTOR,
        "'^PWR=(\\d\\d)$'",
        "'^PWR=(\\d\\d$'",
        &["properties.power.read.match", "unclosed group"],
    );
    tells(PROJECTOR, "send_end: \"\\r\"", "send_end: '\\r'", &["backslash", "use double quotes"]);
    tells(PROJECTOR, "\"01\": \"on\"", "\"01\": lit", &["`lit` is not among the values"]);
    tells(BELL, "values: [single, double, hold]", "values: [single, double]", &["must list `hold`"]);
    tells(GARAGE, "for: 500ms", "for: 5m", &["a pulse lasts between"]);
    tells(GARAGE, "pulse: relay", "pulse: reed", &["`reed` is an input"]);
}

const METER: &str = include_str!("../../../device-profiles/eastron-sdm120.yaml");
const COIL: &str = include_str!("../../../device-profiles/modbus-relay.yaml");
const BOARD: &str = include_str!("../../../device-profiles/serial-relay-board.yaml");
const PROBE: &str = include_str!("../../../device-profiles/w1-ds18b20.yaml");
const READ_OUT: &str = include_str!("../../../device-profiles/iec62056-meter.yaml");
const P1: &str = include_str!("../../../device-profiles/dsmr5-meter.yaml");

#[test]
fn faults_of_modbus_are_told() {
    tells(
        METER,
        "input: 0x0006, as: f32",
        "input: 0x0006, as: f23",
        &["`f23` is unknown", "did you mean `f32`?"],
    );
    tells(METER, "order: ABCD", "order: ABDC", &["did you mean `ABCD`?"]);
    tells(METER, "unit: <unit>", "unit: 300", &["`300` is no unit"]);
    tells(METER, "unit: <unit>", "unit: 0", &["`0` is no unit"]);
    tells(METER, "{input: 0x0006, as", "{as", &["the address is missing", "input or holding or coil"]);
    tells(METER, "input: 0x0006, as: f32", "input: 0xFFFF, as: f32", &["beyond the last address"]);
    tells(
        COIL,
        "write: {coil: <relay:int>}",
        "write: {discrete: 1}",
        &["the address is missing", "holding or coil"],
    );
    tells(COIL, "{coil: <relay:int>, every", "{coil: 1, bit: 2, every", &["holds single bits"]);
    tells(
        COIL,
        "write: {coil: <relay:int>}",
        "write: {holding: 1, bit: 2}",
        &["the others would be guessed"],
    );
    for (to, words) in [
        ("write: {coil: 1, function: 16}", "a coil always by 5"),
        ("write: {holding: 1, function: 3}", "by function 6 or 16"),
        ("write: {holding: 1, as: u32, function: 6}", "the value takes several"),
    ] {
        tells(COIL, "write: {coil: <relay:int>}", to, &[words]);
    }
}

#[test]
fn a_dimmed_line_says_what_it_needs() {
    tells(DIMMER, "initial: 0, ", "", &["a dimmed output needs `initial:`", "write `initial: 0`"]);
    tells(DIMMER, "period: 1ms, ", "", &["`period:` is missing"]);
    tells(DIMMER, "period: 1ms", "period: 2s", &["a period lasts at most 1 s"]);
    tells(DIMMER, "initial: 0", "initial: 101", &["a share is between 0 and 100 percent"]);
    tells(DIMMER, "at_exit: 0", "at_exit: off", &["at_exit"]);
    tells(DIMMER, "at_exit: 0", "at_exit: 0, pull: up", &["`pull` means nothing here"]);
    tells(
        DIMMER,
        "direction: pwm",
        "direction: dim",
        &["`dim` is unknown here", "direction takes in, out, pwm"],
    );
    tells(
        DIMMER,
        "example: fe20c000.pwm/0",
        "example: GPIO18",
        &["no channel of a PWM chip", "ls -l /sys/class/pwm"],
    );
    let map = ", map: {\"true\": 100, \"false\": 0}";
    tells(DIMMER, map, "", &["how much of the time is a line on for each value of bool?", "give a `map:`"]);
    tells(DIMMER, "\"true\": 100", "\"true\": 120", &["is not between 0 and 100 percent"]);
    tells(DIMMER, "\"true\": 100", "\"true\": full", &["`full` is no number"]);
    let level = "direction: out, initial: inactive";
    let dim = "direction: pwm, period: 1ms, initial: 0, at_exit: 0";
    tells(DIMMER, dim, level, &["`above:` means nothing for a level", "`map:` means nothing for a level"]);
    let blink = "phone: {lamp";
    let pulsed = "actions: {blink: {do: [{pulse: lamp, for: 1s}]}}\nphone: {lamp";
    tells(DIMMER, blink, pulsed, &["`lamp` is dimmed and has no pulses"]);
}

#[test]
fn a_reference_number_is_warned_of_and_hex_is_meant() {
    let warned = |to: &str| {
        let (profile, faults) =
            read(&METER.replacen("input: 0x0006", to, 1).replace("0x0006: [", "0x0026: ["));
        (profile.is_some(), faults.into_iter().map(|fault| fault.message).collect::<Vec<_>>().join("\n"))
    };
    let (usable, words) = warned("input: 30007");
    assert!(usable && words.contains("the address on the wire is 6"), "{words}");
    let (usable, words) = warned("input: 0x7537");
    assert!(usable && words.is_empty(), "{words}");
}

#[test]
fn faults_of_frames_and_bytes_are_told() {
    let frame = "frame: {end: \":\", send_end: \"\\r\", max: 128}";
    for (to, words) in [
        ("frame: {end: \":\", length: 4}", "one of `end`, `length`, `length_at` and `gap`"),
        ("frame: {max: 4}", "one of `end`, `length`, `length_at` and `gap`"),
        ("frame: {length_size: 2, gap: 5ms}", "need `length_at`"),
        ("frame: {gap: 1ms}", "a gap below 2ms"),
        ("frame: {end: \"\"}", "cannot be empty"),
    ] {
        tells(PROJECTOR, frame, to, &[words]);
    }
    tells(PROJECTOR, "gap: 100ms ", "checksum: crc16-modbuz ", &["did you mean `crc16-modbus`?"]);
    tells(BOARD, "ask: \"FF\"", "ask: \"F\"", &["not whole bytes in hex"]);
    tells(BOARD, "send: <value>", "send: A0 1 <value>", &["not whole bytes in hex"]);
    tells(BOARD, "ask: \"FF\"", "ask: \"A0 01 01 A2\"", &["is also how `power` is commanded"]);
    tells(BOARD, "  gap: 50ms", "  wake: {send: A0 01 01 A2}", &["is also how `power` is commanded"]);
}

#[test]
fn faults_of_meters_and_probes_are_told() {
    tells(P1, "obis: \"1-0:1.7.0\"", "obis: power", &["`power` is no OBIS code"]);
    tells(READ_OUT, "obis: \"1.8.0\"", "obis: drawn", &["`drawn` is no OBIS code", "\"1.8.0\""]);
    tells(READ_OUT, "every: <every>", "every: 30s", &["at most one in `1m`"]);
    tells(READ_OUT, "address: <address>", "address: \"12!\"", &["`12!` is no address of a meter"]);
    tells(READ_OUT, "speed: <speed>", "speed: fast", &["`fast` is unknown here"]);
    tells(READ_OUT, "retries: 1", "gap: 20ms", &["gap"]);
    tells(
        READ_OUT,
        "read: {obis: \"F.F\"}",
        "read: {obis: \"F.F\"}\n    write: {obis: \"F.F\"}",
        &["nothing can be set over iec62056-21"],
    );
    tells(PROBE, "link: {device: <id>}", "link: {device: ../../28-01}", &["is no 1-Wire device"]);
    tells(PROBE, "file: temperature", "file: ../../../etc/passwd", &["is no file of a 1-Wire device"]);
    tells(
        PROBE,
        "invalid: [85, -127], every: 30s}",
        "every: 30s}\n    write: {file: x}",
        &["nothing can be set over w1"],
    );
}

#[test]
fn readings_that_are_near_and_equally_often_are_one_request() {
    let channels = |join: &str| {
        let text = METER.replacen("join: 8", join, 1);
        let (profile, _) = read(text.split_once("tests:").expect("has tests").0);
        let model = profile.expect("reads").example;
        let queries = model.properties.iter().filter_map(|property| property.reads[0].source.query());
        queries.map(|(query, _)| query.channel.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        channels("join: 8"),
        ["1/input/0/8", "1/input/0/8", "1/input/12/2", "1/input/70/6", "1/input/70/6", "1/input/70/6"]
    );
    assert_eq!(
        channels("join: 0"),
        ["1/input/0/2", "1/input/6/2", "1/input/12/2", "1/input/70/6", "1/input/70/6", "1/input/70/6"]
    );
}

#[test]
fn what_could_move_a_relay_by_itself_is_refused() {
    tells(GARAGE, "initial: inactive, ", "", &["an output needs `initial:`", "initial: inactive"]);
    tells(
        PLUG,
        "write: {topic: cmnd/<topic>/POWER}",
        "write: {topic: cmnd/<topic>/POWER, retain: true}",
        &["commands are never retained"],
    );
    tells(PLUG, "POWER, payload: \"\"", "POWER, payload: \"ON\"", &["is also how `power` is commanded"]);
    tells(PROJECTOR, "ask: \"LAMP?\"", "ask: \"PWR OFF\"", &["is also how `power` is commanded"]);
}

#[test]
fn one_name_means_one_thing() {
    let told = broken(GARAGE, "actions:\n  open:\n", "actions:\n  door:\n");
    let words = "30: actions.door: `door` is a name under `properties:` already, at line 22";
    assert!(told.starts_with(words), "{told}");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = PLUG.replace("confirm: 3s", "confirm: 3").replace("type: float", "type: flot");
    let (_, faults) = read(&text);
    assert!(faults.len() >= 3, "{faults:#?}");
}

fn home(text: &str, params: &str, overrides: &str) -> Result<Model, Vec<String>> {
    let mut faults = Faults::default();
    let (profile, _) = read(text);
    let mut parse = |text: &str| yaml::parse(text, &mut faults).filter(|_| !text.is_empty());
    let (params, overrides) = (parse(params), parse(overrides));
    let place = Place { line: 70, column: 3 };
    let profile = profile.expect("a good profile");
    let mut faults = Faults::default();
    let model = profile.instantiate("devices.x", place, params.as_ref(), overrides.as_ref(), &mut faults);
    let words = |fault: Fault| {
        format!("{}: {}: {}", fault.place.map_or(0, |place| place.line), fault.path, fault.message)
    };
    model.ok_or_else(|| faults.sorted().into_iter().map(words).collect())
}

#[test]
fn params_are_put_in_everywhere() {
    let model = home(PLUG, "{topic: lamp}", "").expect("makes a model");
    let write = model.properties[0].write.as_ref().expect("settable");
    let sent = compose(write, &[("value".into(), Value::Bool(true))], None).expect("composes");
    assert_eq!(sent.channel.as_str(), "cmnd/lamp/POWER");
    assert_eq!(&*sent.payload, b"ON");
}

#[test]
fn params_that_are_missing_unknown_or_dangerous_are_told() {
    let faults = home(PLUG, "{topik: lamp}", "").expect_err("a fault");
    assert!(faults.iter().any(|fault| fault.contains("no param `topik`")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("70: ") && fault.contains("`topic` is missing")));
    for bad in ["a/#", "+", "<value>", "a\\rb"] {
        assert!(home(PLUG, &format!("{{topic: \"{bad}\"}}"), "").is_err(), "{bad}");
    }
}

#[test]
fn overrides_change_single_keys_and_leave_properties_out() {
    let model = home(PLUG, "{topic: x}", "{watts: {name: Kettle}, energy: false}").expect("makes a model");
    let watts = &model.properties[model.property("watts").expect("there")];
    assert_eq!((&*watts.name, watts.unit.as_deref()), ("Kettle", Some("W")));
    assert_eq!(model.property("energy"), None);
}

#[test]
fn a_bad_override_is_told_where_it_stands() {
    let faults = home(PLUG, "{topic: x}", "\n\nwatts: {notify: {min_chnge: 3}}").expect_err("a fault");
    assert_eq!(faults, ["3: devices.x.properties.watts.notify.min_chnge: unknown key `min_chnge`"]);
    let faults = home(PLUG, "{topic: x}", "{wats: false}").expect_err("a fault");
    assert_eq!(faults, ["1: devices.x.properties.wats: the profile has no property `wats`"]);
    let faults = home(PLUG, "{topic: x}", "{power: false}").expect_err("the lamp needs it");
    assert!(faults.iter().all(|fault| fault.starts_with("70: devices.x.phone")), "{faults:?}");
}

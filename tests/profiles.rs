//! Every shipped profile: read without a fault, proved by its own tests, and silent where it must be.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sipliance::config::change::Change;
use sipliance::config::fault::Faults;

use sipliance::config::yaml::{self, Data, Node};
use sipliance::config::{DeviceConfig, LinkId};
use sipliance::device::command::Order;
use sipliance::device::fixture;
use sipliance::device::house::{Effect, House};
use sipliance::device::profile::{Case, LinkNeeds, Online, Profile, Stimulus, Target};
use sipliance::device::shipped::SHIPPED;
use sipliance::timer::Now;
use sipliance_driver::{Channel, Event, Failure, Op, OpId, Why};

fn now() -> Now {
    Now { mono: Instant::now(), wall_ms: 1_770_000_000_000 }
}

fn profile(id: &str, text: &str) -> Profile {
    let mut faults = Faults::default();
    let profile = fixture::read(text, &mut faults);
    let faults = faults.sorted();
    assert!(faults.is_empty(), "{id}: {faults:#?}");
    profile.expect("a profile without faults")
}

#[test]
fn every_shipped_profile_proves_itself() {
    let mut failed = Vec::new();
    let mut count = 0;
    for (id, text) in SHIPPED {
        let profile = profile(id, text);
        assert_eq!(&*profile.id, *id, "the file name is the id");
        assert!(!profile.cases.is_empty(), "{id} has no tests");
        let facts = text.lines().next().is_some_and(|line| line.starts_with("# Facts: ") && line.len() > 30);
        assert!(facts, "{id}: the first line says where its facts are from");
        let schema = text.lines().any(|line| line == "# yaml-language-server: $schema=profile.schema.json");
        assert!(schema, "{id}: editors are told of the schema");
        for result in fixture::run(&profile, now()) {
            count += 1;
            if let Err(why) = result.outcome {
                failed.push(format!("{id}.yaml:{}: {}: {why}", result.place.line, result.title));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} failed:\n{}", failed.len(), failed.join("\n"));
}

/// What a profile promises, its tests show: every value is read once, everything that can be set or done is
/// sent once, every event is raised once, and where a topic says that the device is away, that is seen once.
#[test]
fn every_promise_has_a_test() {
    let mut lacking = Vec::new();
    for (id, text) in SHIPPED {
        let profile = profile(id, text);
        let model = &profile.example;
        let cases = || profile.cases.iter();
        let expected = || cases().filter_map(|case| case.expect.as_ref());
        let acted = |case: &&Case| case.sends.is_some() || !case.drives.is_empty();
        for (index, property) in model.properties.iter().enumerate() {
            let read = expected().any(|expect| {
                expect.values.iter().any(|(of, _)| *of == index)
                    || expect.changes.iter().any(|(of, _)| *of == index)
            });
            let set = cases().filter(acted).any(|case| {
                matches!(&case.stimulus, Stimulus::Order(Order::Set { property: of, .. }) if *of == property.id)
            });
            lacking.extend((!read).then(|| format!("{id}: {} is never read", property.id)));
            let settable = property.write.is_some();
            lacking.extend((settable && !set).then(|| format!("{id}: {} is never set", property.id)));
        }
        for action in &model.actions {
            let done = cases().filter(acted).any(|case| {
                matches!(&case.stimulus, Stimulus::Order(Order::Do { action: of, .. }) if *of == action.id)
            });
            lacking.extend((!done).then(|| format!("{id}: {} is never done", action.id)));
        }
        for event in &model.events {
            let raised =
                expected().any(|expect| expect.event.as_ref().is_some_and(|(of, _)| *of == event.id));
            lacking.extend((!raised).then(|| format!("{id}: {} never happens", event.id)));
        }
        let away = expected().any(|expect| expect.online.as_deref() == Some("offline"));
        let can_be_away = matches!(model.online, Online::Topic(_));
        lacking.extend((can_be_away && !away).then(|| format!("{id}: it is never offline")));
    }
    assert!(lacking.is_empty(), "{} promises without a test: {lacking:#?}", lacking.len());
}

#[test]
fn the_table_holds_every_file() {
    assert!(SHIPPED.len() >= 40);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("device-profiles");
    let mut files: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .filter_map(|entry| {
            entry.ok()?.file_name().into_string().ok()?.strip_suffix(".yaml").map(str::to_owned)
        })
        .collect();
    files.sort();
    assert_eq!(files, SHIPPED.iter().map(|(id, _)| (*id).to_owned()).collect::<Vec<_>>());
}

/// What a person can choose from, with what it asks for.
#[test]
fn the_document_names_every_profile_and_its_params() {
    let document = include_str!("../docs/profiles.md");
    for (id, text) in SHIPPED {
        let row = document.lines().find(|line| line.starts_with(&format!("| `{id}` |")));
        let row = row.unwrap_or_else(|| panic!("docs/profiles.md has no row for {id}"));
        let params = text.split("\nparams:\n").nth(1).unwrap_or_default();
        for line in params.lines().take_while(|line| line.starts_with("  ")) {
            let Some((name, _)) = line.trim_start().split_once(':') else { continue };
            let default =
                if line.contains("default:") { format!("(`{name}`)") } else { format!(" `{name}`") };
            assert!(row.contains(&default), "the row of {id} lacks {default}");
        }
    }
}

/// The profile as one device of a house.
fn device(profile: &Profile) -> DeviceConfig {
    DeviceConfig {
        id: "x".to_owned(),
        name: "X".to_owned(),
        room: None,
        numbers: Vec::new(),
        model: profile.example.clone(),
        link: LinkId(0),
        naming: Default::default(),
    }
}

fn house(profile: &Profile, now: Now) -> House {
    House::of(&[device(profile)], 1, now)
}

/// Takes what the house wants done. Everything that is sent without being told to must be one of the
/// profile's own queries; nothing moves a line.
fn only_queries(id: &str, profile: &Profile, house: &mut House) -> Vec<(OpId, Channel)> {
    let mut queries = Vec::new();
    while let Some(effect) = house.poll() {
        let Effect::Drive { op, .. } = effect else {
            assert!(!matches!(effect, Effect::Happened { .. }), "{id}: an event out of nothing");
            continue;
        };
        match (op, &profile.example.link) {
            (Op::Watch { .. }, _) => {}
            (Op::Write { id: op, channel, payload, .. }, LinkNeeds::Mqtt { hello }) => {
                let known = hello.iter().any(|write| {
                    matches!(&write.target, Target::Topic(topic, text)
                        if *topic == channel
                        && text.fill(|_| Err(())).is_ok_and(|text| text.as_bytes() == &*payload))
                });
                assert!(known, "{id}: {channel} {payload:?} is no query of the profile");
                queries.push((op, channel));
            }
            (Op::Ask { id: op, channel, payload, .. }, link) => {
                let hello = match link {
                    LinkNeeds::Serial(needs) => needs.hello.as_slice(),
                    _ => &[],
                };
                let mut asks = profile
                    .example
                    .properties
                    .iter()
                    .flat_map(|property| property.reads.iter().chain(&property.target))
                    .filter_map(|read| read.source.query());
                let known = asks.any(|(query, _)| (&query.channel, &query.payload) == (&channel, &payload));
                assert!(known || hello.contains(&payload), "{id}: {channel} {payload:?} is no query");
                // A reading of a Modbus unit carries nothing that could be written.
                assert!(
                    payload.is_empty() || matches!(link, LinkNeeds::Serial(_) | LinkNeeds::Meter(_)),
                    "{id}"
                );
                queries.push((op, channel));
            }
            (op, _) => panic!("{id}: {op:?} by itself"),
        }
    }
    queries
}

/// Everything that is asked is answered: with all bits set, with nothing, by silence, by a refusal. No
/// answer makes the house do more than ask.
fn answered(id: &str, profile: &Profile, house: &mut House, now: Now) {
    let payloads: [&'static [u8]; 4] = [&[0xff; 250], &[0; 250], b"ON", b"1"];
    let mut asked = only_queries(id, profile, house);
    for round in 0..40 {
        for (op, channel) in std::mem::take(&mut asked) {
            let payload = Bytes::from_static(payloads[round % payloads.len()]);
            let result = match round % 5 {
                3 => Err(Failure::Timeout),
                4 => Err(Failure::Refused("exception 2".to_owned())),
                _ => Ok(()),
            };
            if result.is_ok() {
                house.driver(LinkId(0), Event::Read { channel, payload, retained: false }, now);
                asked.extend(only_queries(id, profile, house));
            }
            house.driver(LinkId(0), Event::Done { id: op, result }, now);
            asked.extend(only_queries(id, profile, house));
        }
    }
}

#[test]
fn nothing_moves_by_itself() {
    for (id, text) in SHIPPED {
        let profile = profile(id, text);
        let mut now = now();
        let mut house = house(&profile, now);
        only_queries(id, &profile, &mut house);
        for _ in 0..3 {
            house.driver(LinkId(0), Event::Up, now);
            answered(id, &profile, &mut house, now);
            // Everything that the profile's own tests know comes back as stored copies: states, presses, and
            // commands of somebody else.
            for case in &profile.cases {
                if let Stimulus::Mqtt { topic, payload, .. } = &case.stimulus {
                    let (channel, payload) =
                        (Channel::new(topic), Bytes::copy_from_slice(payload.as_bytes()));
                    house.driver(LinkId(0), Event::Read { channel, payload, retained: true }, now);
                }
            }
            only_queries(id, &profile, &mut house);
            // The driver tells every line as it is, outputs and pressed buttons too.
            if let LinkNeeds::Gpio(lines) = &profile.example.link {
                for line in lines {
                    let (channel, payload) = (Channel::new(&line.name), Bytes::from_static(b"1"));
                    house.driver(LinkId(0), Event::Read { channel, payload, retained: false }, now);
                }
            }
            let end = now.mono + Duration::from_secs(3600);
            while let Some(at) = house.next_deadline().filter(|at| *at <= end) {
                now = Now { mono: at.max(now.mono), ..now };
                house.tick(now);
                answered(id, &profile, &mut house, now);
            }
            house.driver(LinkId(0), Event::Down(Why("broken".to_owned())), now);
            only_queries(id, &profile, &mut house);
        }
        let device = [device(&profile)];
        let change = Change::of_devices(&device, &device, vec![None]);
        let mut next = House::after(&mut house, (&device, 1), &change, now);
        next.driver(LinkId(0), Event::Up, now);
        only_queries(id, &profile, &mut next);
    }
}

#[test]
fn a_test_that_is_wrong_fails_and_says_why() {
    let text = sipliance::device::shipped::text("gpio-garage-door").expect("shipped");
    for (from, to, words) in [
        ("expect: {door: closed}", "expect: {door: open}", "expected door: open, got closed"),
        ("0@0ms 1@500ms", "0@0ms 1@400ms", "relay was driven 0@0ms 1@500ms"),
        ("refused: only_if", "refused: min_gap", "expected to be refused for min_gap"),
        ("drives: {relay: \"1@0ms\"}", "drives: {relay: \"0@0ms\"}", "relay was driven 1@0ms"),
    ] {
        assert!(text.contains(from), "{from}");
        let broken = profile("gpio-garage-door", &text.replacen(from, to, 1));
        let failed: Vec<_> =
            fixture::run(&broken, now()).into_iter().filter_map(|result| result.outcome.err()).collect();
        assert!(matches!(&failed[..], [only] if only.contains(words)), "{to}: {failed:?}");
    }
}

/// What another reader of YAML makes of the same text.
fn same(ours: &Node, theirs: &serde_yaml::Value) -> bool {
    use serde_yaml::Value as Theirs;
    match (&ours.data, theirs) {
        (Data::Null, Theirs::Null) => true,
        (Data::Bool(a), Theirs::Bool(b)) => a == b,
        (Data::Int(a), Theirs::Number(b)) => b.as_i64() == Some(*a),
        (Data::Float(a), Theirs::Number(b)) => b.as_f64() == Some(*a),
        (Data::Text { text, .. }, Theirs::String(b)) => text == b,
        (Data::List(a), Theirs::Sequence(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Data::Map(a), Theirs::Mapping(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|((key, a), (other, b))| same_key(&key.text, other) && same(a, b))
        }
        _ => false,
    }
}

/// Addresses are keys, too: a number to others, and to us the text that was written.
fn same_key(ours: &str, theirs: &serde_yaml::Value) -> bool {
    let number = || match ours.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => ours.parse().ok(),
    };
    theirs.as_str() == Some(ours) || theirs.as_i64().is_some_and(|theirs| number() == Some(theirs))
}

#[test]
fn another_reader_of_yaml_agrees() {
    for (id, text) in SHIPPED {
        let ours = yaml::parse(text, &mut Faults::default()).expect("parses");
        let theirs: serde_yaml::Value = serde_yaml::from_str(text).expect("parses");
        assert!(same(&ours, &theirs), "{id} is read in two ways");
    }
}

/// Shipped profiles with lines lost, doubled, cut and swapped: whatever comes of it, it is a fault or a
/// profile, and a profile can be run.
#[test]
fn damaged_profiles_are_faults_and_no_panic() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut usable = 0;
    for _ in 0..1500 {
        let (_, text) = SHIPPED[random.random_range(0..SHIPPED.len())];
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..lines.len());
            let other = random.random_range(0..lines.len());
            match random.random_range(0..4) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[other].clone()),
                2 => lines.swap(at, other),
                _ => {
                    let keep = random.random_range(0..=lines[at].chars().count());
                    lines[at] = lines[at].chars().take(keep).collect();
                }
            }
        }
        let mut faults = Faults::default();
        match fixture::read(&lines.join("\n"), &mut faults) {
            Some(profile) => {
                usable += 1;
                fixture::run(&profile, now());
            }
            None => assert!(faults.fatal(), "no profile and no fault:\n{}", lines.join("\n")),
        }
    }
    assert!(usable > 50, "only {usable} were still profiles");
}

/// Bytes that no profile expects reach every read of every profile.
#[test]
fn no_payload_is_a_panic() {
    let payloads: [&'static [u8]; 12] = [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"1e999",
        b"-1",
        b"true",
        b"\0",
        b"{\"ENERGY\":{\"Power\":{}}}",
        b"9999999999999999999999",
        "\u{1F4A1}".as_bytes(),
    ];
    for (id, text) in SHIPPED {
        let profile = profile(id, text);
        let (now, mut watched) = (now(), Vec::new());
        let mut house = house(&profile, now);
        while let Some(effect) = house.poll() {
            if let Effect::Drive { op: Op::Watch { channel }, .. } = effect {
                watched.push(channel);
            }
        }
        house.driver(LinkId(0), Event::Up, now);
        let reads = profile.example.properties.iter().flat_map(|property| &property.reads);
        watched.extend(reads.filter_map(|read| read.source.query()).map(|(query, _)| query.channel));
        for channel in watched {
            for payload in payloads {
                let (channel, payload) = (channel.clone(), Bytes::from_static(payload));
                house.driver(LinkId(0), Event::Read { channel, payload, retained: false }, now);
            }
        }
        let (_, device) = house.devices().next().expect("there");
        assert!(device.summary(now).chars().count() <= 80, "{id}: {}", device.summary(now));
    }
}

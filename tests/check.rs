//! `sipliance check` over deliberately broken files: the golden text beside each says what a person
//! must be told. `UPDATE_GOLDEN=1 cargo test --test check` writes the texts anew; read the diff.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use secrecy::ExposeSecret as _;
use sipliance::cli::check::{Form, Tally, check};
use sipliance::config::access::Identity;
use sipliance::config::fault::{Faults, Style};
use sipliance::config::home::{Profiles, Report, from_text, load};
use sipliance::config::secrets::ha1;
use sipliance::config::yaml::{self, Data, Node};
use sipliance::config::{DeviceId, LinkSettings, ModbusLine, Number, Press, Transport};

/// A private copy of the corpus in which secrets have the mode that they need.
fn corpus(name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if to.exists() {
        fs::remove_dir_all(&to).unwrap();
    }
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            let open = entry.file_name().to_string_lossy().starts_with("open-");
            mode(&target, if open { 0o644 } else { 0o600 });
        }
    }
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn run(file: &Path, form: Form) -> (Tally, String) {
    let mut out = Vec::new();
    let tally = check(&[file.to_owned()], form, &Profiles::new(), &mut out).unwrap();
    (tally, String::from_utf8(out).unwrap())
}

const PLAIN: Form = Form::Text(Style { colour: false });

#[test]
fn every_broken_file_is_explained() {
    let copy = corpus("broken");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/broken");
    let mut files: Vec<PathBuf> = fs::read_dir(copy.join("broken"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 100, "{} files", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let (tally, text) = run(file, PLAIN);
        let text = text.replace(&format!("{}/", copy.display()), "");
        let golden = source.join(file.file_name().unwrap()).with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &text).unwrap();
        }
        assert!(tally.errors + tally.warnings > 0, "{} has no fault:\n{text}", file.display());
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if expected != text {
            wrong.push(format!("{}\n--- expected\n{expected}\n--- found\n{text}", golden.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_good_home_becomes_a_configuration() {
    let dir = corpus("good").join("home");
    let (config, reports) = load(&dir.join("house.yaml"), &Profiles::new());
    let faults: Vec<&str> =
        reports.iter().flat_map(|report| &report.faults).map(|fault| fault.message.as_str()).collect();
    assert_eq!(
        faults,
        [
            "over TCP anybody on the way to this server can claim to be anybody",
            "`relay` is on from power-up until the gateway runs: a Raspberry Pi pulls GPIO17 down, and low is active",
            "`023` without quotes is read as an octal number by YAML 1.1 tools"
        ]
    );
    let config = config.unwrap();

    assert_eq!(config.house.user, "home");
    assert_eq!(config.house.domain, "home.example");
    assert_eq!(config.house.title, "Our house");
    let listen: Vec<(Transport, String)> =
        config.listen.iter().map(|l| (l.transport, l.addr.to_string())).collect();
    assert_eq!(listen, [(Transport::Udp, "127.0.0.1:5060".into()), (Transport::Tcp, "[::1]:5060".into())]);
    assert!(config.digest.md5);
    assert_eq!(config.digest.control_nonce_age.as_secs(), 30);
    assert_eq!(config.audit, Some(dir.join("log/audit.jsonl")));

    // The password became an HA1 within the realm; a stored HA1 stays what it is.
    let expected = ha1("anna", "home.example", "correct horse");
    assert_eq!(config.users[0].secret.sha256.expose_secret(), expected.sha256.expose_secret());
    let ben = &config.users[1].secret;
    assert_eq!(ben.md5.as_ref().unwrap().expose_secret(), "00112233445566778899aabbccddeeff");

    let provider = &config.upstreams[0];
    let server = provider.server().unwrap();
    assert_eq!((server.host.as_str(), server.port), ("sip.example.org", Some(5070)));
    assert_eq!((server.transport, provider.domain.as_str()), (Some(Transport::Tcp), "sip.example.org"));
    assert_eq!(provider.expires.as_secs(), 1800);
    let accounts: Vec<_> =
        provider.accounts.iter().map(|a| (a.user.as_str(), a.auth_user.as_str(), a.device)).collect();
    assert_eq!(accounts, [("4930123", "4930123", None), ("4930124", "x4930124", Some(DeviceId(0)))]);

    let [coffee, garage] = &config.devices[..] else { panic!("{:?}", config.devices) };
    assert_eq!((coffee.id.as_str(), coffee.room.as_deref()), ("coffee", Some("Küche")));
    let number = |digits: &str, press| Number { digits: digits.into(), press };
    assert_eq!(coffee.numbers, [number("21", Press::Profile), number("22", Press::Tell)]);
    assert_eq!(garage.numbers, [number("023", Press::Profile)]);
    let LinkSettings::Mqtt(broker) = &config.links[coffee.link.0].settings else { panic!() };
    assert_eq!((broker.server.host.as_str(), broker.server.port), ("192.0.2.10", 1883));
    assert_eq!(broker.password.as_ref().unwrap().expose_secret(), "0123 mosquitto");
    let LinkSettings::Gpio(gpio) = &config.links[garage.link.0].settings else { panic!() };
    let pins: Vec<_> = gpio.lines.iter().map(|line| (line.name.as_str(), line.pin.as_str())).collect();
    assert_eq!(pins, [("relay", "GPIO17"), ("reed", "GPIO27")]);

    let access = &config.access;
    let anna = Identity::User("anna".into());
    let carla = Identity::Asserted("sip:carla@example.org".into());
    assert!(access.may_do(&anna, "coffee", Some("Küche"), "power", false));
    assert!(access.may_do(&anna, "garage", Some("Outside"), "open", true));
    assert!(!access.may_do(&Identity::User("ben".into()), "garage", Some("Outside"), "open", true));
    assert!(access.may_see_property(&carla, "coffee", Some("Küche"), "watts"));
    assert!(!access.may_see_property(&carla, "coffee", Some("Küche"), "power"));
}

#[test]
fn secrets_show_in_no_debug_output() {
    let dir = corpus("debug").join("home");
    let config = load(&dir.join("house.yaml"), &Profiles::new()).0.unwrap();
    let text = format!("{config:?}");
    for secret in ["correct horse", "ab54a98ceb1f0ad2", "0011223344", "mosquitto", "provider password"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

/// The certificate is the reader's own, and so left out here.
#[test]
fn the_example_of_an_edge_is_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/edge.md")).unwrap();
    let example = document.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("edge-example.yaml");
    let (tally, text) = {
        fs::write(&file, example).unwrap();
        run(&file, PLAIN)
    };
    assert_eq!(tally.errors, 1, "{text}");
    assert!(text.contains("/etc/sipliance/edge.pem"), "{text}");
    let without: String =
        example.lines().filter(|line| !line.starts_with("tls:")).map(|line| format!("{line}\n")).collect();
    fs::write(&file, without.replace(", tls:203.0.113.5:5061, quic:203.0.113.5:5061", "")).unwrap();
    let (tally, text) = run(&file, PLAIN);
    assert_eq!((tally.errors, tally.warnings), (0, 0), "{text}");
    // What a key is for stands in the table.
    let (_, known) = run(&root.join("tests/corpus/broken/edge-proxy.yaml"), PLAIN);
    let keys = known.split("known keys here: ").nth(1).unwrap().lines().next().unwrap();
    for key in keys.split(", ").filter(|key| *key != "format") {
        assert!(document.contains(&format!("`{key}`")), "`{key}` is missing in docs/edge.md");
    }
}

#[test]
fn programs_read_one_object_per_line() {
    let dir = corpus("json").join("broken");
    let (tally, text) = run(&dir.join("unknown-keys.yaml"), Form::Json);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, faults) = lines.split_last().unwrap();
    assert_eq!(faults.len(), tally.errors + tally.warnings);
    assert_eq!(faults[0]["line"], 5);
    assert_eq!(faults[0]["path"], "hause");
    assert_eq!(last["errors"], tally.errors);
}

#[test]
fn the_exit_code_tells_faults_from_files_that_are_not_there() {
    let dir = corpus("exit");
    let code = |files: &[&str]| {
        let files: Vec<PathBuf> = files.iter().map(|file| dir.join(file)).collect();
        check(&files, PLAIN, &Profiles::new(), &mut Vec::new()).unwrap().exit_code()
    };
    assert_eq!(code(&["home/house.yaml"]), 0);
    assert_eq!(code(&["broken/sensitive.yaml"]), 0);
    assert_eq!(code(&["home/house.yaml", "broken/params.yaml"]), 1);
    assert_eq!(code(&["home/nowhere.yaml", "broken/params.yaml"]), 2);
    assert_eq!(code(&["home"]), 2);
}

/// A second YAML reader must understand every good file of the corpus in the same way.
#[test]
fn another_reader_agrees() {
    for name in ["house", "secrets", "profiles/plug", "profiles/door", "profiles/projector"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/corpus/home/{name}.yaml"));
        let text = fs::read_to_string(path).unwrap();
        let ours = yaml::parse(&text, &mut Faults::default()).unwrap();
        let theirs: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        same(&ours, &theirs, name);
    }
}

fn same(ours: &Node, theirs: &serde_yaml::Value, path: &str) {
    use serde_yaml::Value;
    match (&ours.data, theirs) {
        (Data::Map(a), Value::Mapping(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for ((key, value), (other_key, other)) in a.iter().zip(b) {
                assert_eq!(Some(key.text.as_str()), other_key.as_str(), "{path}");
                same(value, other, &format!("{path}.{}", key.text));
            }
        }
        (Data::List(a), Value::Sequence(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            a.iter().zip(b).for_each(|(a, b)| same(a, b, path));
        }
        (Data::Text { text, .. }, Value::String(other)) => assert_eq!(text, other, "{path}"),
        (Data::Bool(a), Value::Bool(b)) => assert_eq!(a, b, "{path}"),
        // A number with a leading zero is text there; what was written is the same.
        (Data::Int(_), Value::String(other)) => assert_eq!(ours.scalar().as_ref(), Some(other), "{path}"),
        (Data::Int(a), Value::Number(b)) => assert_eq!(Some(*a), b.as_i64(), "{path}"),
        (Data::Float(a), Value::Number(b)) => assert_eq!(Some(*a), b.as_f64(), "{path}"),
        (a, b) => panic!("{path}: {a:?} is not {b:?}"),
    }
}

#[test]
fn a_secrets_file_that_is_checked_by_mistake_is_not_shown() {
    let dir = corpus("secrets").join("home");
    fs::write(dir.join("my-secrets.yaml"), "anna: \"correct horse\nben: x\n").unwrap();
    for name in ["secrets.yaml", "my-secrets.yaml"] {
        let (tally, text) = run(&dir.join(name), PLAIN);
        assert_eq!(tally.exit_code(), 1);
        assert!(!text.contains("horse") && !text.contains("mosquitto"), "{text}");
    }
}

/// The good home as texts, with its profiles as if they were shipped.
fn texts() -> (String, String, Profiles) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/home");
    let text = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let mut profiles = Profiles::new();
    for id in ["plug", "door"] {
        profiles.add(id, format!("{id}.yaml"), text(&format!("profiles/{id}.yaml")));
    }
    (text("house.yaml").replace("profiles: [profiles]\n", ""), text("secrets.yaml"), profiles)
}

#[test]
fn a_home_of_texts_needs_no_file() {
    let (home, secrets, profiles) = texts();
    let (config, reports) = from_text(Path::new("demo"), &home, &secrets, &profiles);
    assert_eq!(config.unwrap().devices.len(), 2, "{reports:?}");
    let (config, reports) = from_text(Path::new("demo"), &format!("{home}profiles: [/etc]\n"), "", &profiles);
    assert!(config.is_none() && reports[0].faults.iter().any(|fault| fault.message.contains("directory")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Damage to a home file is either harmless or reported as an error; it never panics, and there
    /// is a configuration exactly when there is no error.
    #[test]
    fn damage_is_harmless_or_reported(
        cuts in prop::collection::vec((0usize..2000, 0usize..40, "[a-z:{}\\[\\] \"'#\n0-9-]{0,6}"), 1..4)
    ) {
        let (mut home, secrets, profiles) = texts();
        for (at, length, insert) in cuts {
            let chars: Vec<char> = home.chars().collect();
            let at = at.min(chars.len());
            let end = (at + length).min(chars.len());
            home = chars[..at].iter().collect::<String>() + &insert + &chars[end..].iter().collect::<String>();
        }
        let (config, reports) = from_text(Path::new("home.yaml"), &home, &secrets, &profiles);
        prop_assert_eq!(config.is_some(), !reports.iter().any(Report::fatal), "{}", home);
        for report in &reports {
            for fault in &report.faults {
                fault.render("home.yaml", report.source.as_deref(), Style { colour: true });
            }
        }
    }
}

/// Files that were made to keep a checker busy: each is told off, or found good, in a moment.
#[test]
fn a_hostile_file_is_checked_quickly() {
    let head = "format: 1\nprofile: x\nname: X\ndriver: serial\nlink: {frame: {end: \"\\r\"}}\n";
    let many = |line: &dyn Fn(usize) -> String| {
        (0..)
            .map(line)
            .scan(0, |size, line| {
                *size += line.len();
                (*size < 1_000_000).then_some(line)
            })
            .collect::<String>()
    };
    let property = |n: usize| {
        format!(
            "  p{n}: {{type: int, read: {{ask: a, every: 100ms, match: '^((\\w{{40}}){{40}}){{9}}$'}}}}\n"
        )
    };
    let texts = [
        format!("{head}{}", many(&|n| format!("k{n}: v\n"))),
        format!("{head}properties:\n{}", many(&property)),
        format!(
            "{head}properties:\n  a: {{type: int, read: {{ask: a, every: 100ms, match: b}}}}\ntests:\n{}",
            many(&|_| "  - {start: true, until: 5h, sends: a}\n".to_owned())
        ),
        format!(
            "{head}properties:\n  a: {{type: int, read: {{ask: a, every: 100ms, match: b}}}}\ntests:\n  - {{rx: a, until: 6h, expect: {{}}}}\n"
        ),
        format!("{head}about: {}\n", "[".repeat(900_000)),
        format!("{head}about: {}\n", "{a: ".repeat(200_000)),
        format!("{head}a: &a [x, x]\nb: &b [{}]\n", "*a, ".repeat(1000)),
        format!("{head}about: \"{}\"\n", "\\r".repeat(400_000)),
        format!("{head}properties:\n{}", many(&|_| "  a: {type: bool}\n".to_owned())),
        "x".repeat(3_000_000),
        "- ".repeat(400_000),
    ];
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile");
    fs::create_dir_all(&dir).unwrap();
    for (index, text) in texts.iter().enumerate() {
        let file = dir.join(format!("{index}.yaml"));
        fs::write(&file, text).unwrap();
        let begun = std::time::Instant::now();
        let (_, told) = run(&file, PLAIN);
        let took = begun.elapsed();
        println!("{index}: {took:?}, {} bytes told", told.len());
        assert!(took.as_secs() < 60, "{index} took {took:?}");
        assert!(told.len() < 500_000, "{index} told {} bytes", told.len());
    }
}

/// The `yaml` and `console` blocks of a document.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// `whole` with its sections replaced, or completed, by those of `part`.
fn with_sections(whole: &str, part: &str) -> String {
    let key = |line: &str| {
        line.starts_with(|c: char| c.is_ascii_alphabetic())
            .then(|| line.split(':').next().unwrap().to_owned())
    };
    let replaced: Vec<String> = part.lines().filter_map(key).collect();
    let mut keeps = true;
    let mut text = String::new();
    for line in whole.lines() {
        keeps = key(line).map_or(keeps, |key| !replaced.contains(&key));
        if keeps {
            text.push_str(line);
            text.push('\n');
        }
    }
    text + part
}

#[test]
fn the_documented_examples_work() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/home.md")).unwrap();
    let yaml = blocks(&text, "yaml");
    let [smallest, whole, secrets, parts @ ..] = &yaml[..] else { panic!("{} blocks", yaml.len()) };
    let shipped = Profiles::shipped();
    // A part of a home file stands for the same sections of the whole one.
    let parts = parts.iter().map(|part| with_sections(whole, part));
    for home in [smallest.clone(), whole.clone()].into_iter().chain(parts) {
        let (config, reports) = from_text(Path::new("home.yaml"), &home, secrets, &shipped);
        assert!(reports.is_empty(), "{reports:#?}");
        assert!(config.is_some());
    }
    let anna = ha1("anna", "home.example", "an example password");
    assert!(secrets.contains(anna.sha256.expose_secret()), "{}", anna.sha256.expose_secret());
    assert!(secrets.contains(anna.md5.unwrap().expose_secret()));

    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs");
    fs::create_dir_all(&dir).unwrap();
    let file = dir.join("home.yaml");
    fs::write(&file, smallest.replace("tasmota-plug", "tasmota-plugg")).unwrap();
    let mut out = Vec::new();
    check(&[file], PLAIN, &shipped, &mut out).unwrap();
    let out = String::from_utf8(out).unwrap().replace(&format!("{}/", dir.display()), "");
    let console = blocks(&text, "console");
    assert_eq!(console[0], format!("$ sipliance check home.yaml\n{out}"));
}

/// Every key that the loader asks for is in the table of the document.
#[test]
fn the_table_of_keys_is_complete() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/home.md")).unwrap();
    let mut faults = Vec::new();
    let probe = "zzzzzz: 0\n";
    for (section, home) in [
        ("", probe.to_owned()),
        ("house.", format!("house: {{{}}}\n", probe.trim())),
        ("http.", format!("http: {{{}}}\n", probe.trim())),
        ("tls.", format!("tls: {{{}}}\n", probe.trim())),
        ("websocket.", format!("websocket: {{{}}}\n", probe.trim())),
        ("digest.", format!("digest: {{{}}}\n", probe.trim())),
        ("mqtt.NAME.", format!("mqtt: {{a: {{{}}}}}\n", probe.trim())),
        ("modbus.NAME.", format!("modbus: {{a: {{{}}}}}\n", probe.trim())),
        ("serial.NAME.", format!("serial: {{a: {{{}}}}}\n", probe.trim())),
        ("upstream.NAME.", format!("upstream: {{a: {{{}}}}}\n", probe.trim())),
        ("peers.NAME.", format!("peers: {{a: {{{}}}}}\n", probe.trim())),
        ("upstream.NAME.accounts[].", format!("upstream: {{a: {{accounts: [{{{}}}]}}}}\n", probe.trim())),
        ("users.NAME.", format!("users: {{a: {{{}}}}}\n", probe.trim())),
        ("devices.ID.", format!("devices: {{a: {{{}}}}}\n", probe.trim())),
        ("devices.ID.numbers[].", format!("devices: {{a: {{numbers: [{{{}}}]}}}}\n", probe.trim())),
        ("access[].", format!("access: [{{{}}}]\n", probe.trim())),
    ] {
        let home = format!("format: 1\n{home}");
        let (_, reports) = from_text(Path::new("home.yaml"), &home, "", &Profiles::new());
        let unknown = reports[0].faults.iter().find(|fault| fault.message == "unknown key `zzzzzz`");
        let help =
            unknown.and_then(|fault| fault.help.clone()).unwrap_or_else(|| panic!("{home}{reports:?}"));
        for key in help.trim_start_matches("known keys here: ").split(", ") {
            let documented = text.contains(&format!("`{section}{key}`"))
                || text.contains(&format!("`{section}{key}."))
                || text.contains(&format!("`{section}{key}[]"))
                || key == "password" && text.contains(&format!("`{section}user`, `.password`"));
            let by_its_entries = section.is_empty() && ["users", "mqtt", "serial", "modbus"].contains(&key);
            if !documented && !by_its_entries {
                faults.push(format!("{section}{key}"));
            }
        }
    }
    assert!(faults.is_empty(), "not in docs/home.md: {faults:?}");
}

const BUSES: &str = "
format: 1
serial:
  rs485: {port: /dev/serial/by-id/usb-adapter}
  meter: {port: /dev/serial/by-id/usb-p1}
modbus:
  roof: {host: 192.168.1.30, port: 1502}
devices:
  heater: {profile: eastron-sdm120, port: rs485, params: {unit: 4}, properties: {frequency: false}}
  pump: {profile: eastron-sdm120, port: rs485, params: {unit: 5}}
  inverter: {profile: sunspec-inverter, port: roof}
  grid: {profile: dsmr5-meter, port: meter}
  cellar: {profile: w1-ds18b20, params: {id: 28-01193a44fa5c}}
  attic: {profile: w1-ds18b20, params: {id: 28-01193a44fa5d}}
";

/// One bus has one owner, whatever hangs on it.
#[test]
fn devices_on_one_bus_share_its_link() {
    let (config, reports) = from_text(Path::new("home.yaml"), BUSES, "", &Profiles::shipped());
    let config = config.unwrap_or_else(|| panic!("{reports:#?}"));
    assert!(reports.is_empty(), "{reports:#?}");
    let names: Vec<&str> = config.links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["rs485", "roof", "meter", "w1"]);
    let links: Vec<usize> = config.devices.iter().map(|device| device.link.0).collect();
    assert_eq!(links, [0, 0, 1, 2, 3, 3]);
    let LinkSettings::Modbus(bus) = &config.links[0].settings else { panic!() };
    assert!(matches!(&bus.line, ModbusLine::Rtu { path, baud: 2400, .. } if path.ends_with("usb-adapter")));
    let LinkSettings::Modbus(roof) = &config.links[1].settings else { panic!() };
    assert!(
        matches!(&roof.line, ModbusLine::Tcp(host) if (host.host.as_str(), host.port) == ("192.168.1.30", 1502))
    );
}

/// Until the gateway runs, the pulls of the board decide.
#[test]
fn a_relay_that_is_on_at_power_up_is_warned_of() {
    let mut profiles = Profiles::shipped();
    profiles.add(
        "mine",
        "mine.yaml",
        "format: 1
profile: mine
name: Mine
driver: gpio
params: {pin: {about: Line, example: GPIO17}}
link: {lines: {relay: {pin: <pin>, direction: out, initial: inactive}}}
properties: {power: {type: bool, read: {line: relay}, write: {line: relay}}}
tests: [{start: true, drives: {relay: \"0@0ms\"}}]
",
    );
    for (profile, pin, words) in [
        ("gpio-relay", "GPIO17", "write `gpio=17=pu`"),
        ("gpio-relay", "GPIO8", ""),
        ("gpio-relay", "relay-1", ""),
        ("mine", "GPIO8", "write `gpio=8=pd`"),
        ("mine", "GPIO9", ""),
    ] {
        let home = format!("format: 1\ndevices:\n  a: {{profile: {profile}, params: {{pin: {pin}}}}}\n");
        let (config, reports) = from_text(Path::new("home.yaml"), &home, "", &profiles);
        assert!(config.is_some(), "{reports:#?}");
        let helps: Vec<_> =
            reports.iter().flat_map(|report| &report.faults).map(|fault| &fault.help).collect();
        match words {
            "" => assert!(helps.is_empty(), "{profile} {pin}: {helps:?}"),
            words => {
                let [Some(help)] = &helps[..] else { panic!("{profile} {pin}: {helps:?}") };
                assert!(help.contains(words), "{help}");
            }
        }
    }
}

#[test]
fn what_cannot_share_a_bus_is_told() {
    for (from, to, words) in [
        ("profile: dsmr5-meter, port: meter", "profile: dsmr5-meter, port: rs485", "share the port `rs485`"),
        (
            "profile: dsmr5-meter, port: meter",
            "profile: dsmr5-meter, port: roof",
            "`roof` is a network address",
        ),
        ("sunspec-inverter, port: roof", "eastron-sdm630, port: rs485", "share the port `rs485`"),
        ("  roof: {host", "  meter: {host", "has the same name as `meter`"),
        ("params: {unit: 4}", "params: {unit: 400}", "`400` is no unit"),
        (
            "{profile: w1-ds18b20, params: {id: 28-01193a44fa5c}}",
            "{profile: w1-ds18b20, port: meter, params: {id: 28-1}}",
            "`port:` has no meaning",
        ),
    ] {
        assert!(BUSES.contains(from), "{from}");
        let (config, reports) =
            from_text(Path::new("home.yaml"), &BUSES.replacen(from, to, 1), "", &Profiles::shipped());
        assert!(config.is_none(), "{to}");
        let told =
            reports.iter().flat_map(|report| &report.faults).any(|fault| fault.message.contains(words));
        assert!(told, "{words}: {reports:#?}");
    }
}

#[test]
fn tls_and_the_version_of_a_broker() {
    let home = |keys: &str| {
        format!(
            "format: 1\nmqtt:\n  main: {{host: broker.local, {keys}}}\ndevices:\n  a: {{profile: tasmota-plug, params: {{topic: a}}}}\n"
        )
    };
    let broker = |keys: &str| {
        let (config, reports) = from_text(Path::new("home.yaml"), &home(keys), "", &Profiles::shipped());
        let settings = config.map(|config| match &config.links[0].settings {
            LinkSettings::Mqtt(settings) => settings.clone(),
            other => panic!("{other:?}"),
        });
        settings.ok_or(reports)
    };
    let secure = broker("version: 5, tls: {ca: ca.pem, cert: gw.pem, key: gw.key}").unwrap();
    assert_eq!((secure.server.port, secure.five), (8883, true));
    assert_eq!(secure.tls.and_then(|tls| tls.ca).as_deref(), Some(Path::new("ca.pem")));
    let system = broker("tls: {}, port: 9883").unwrap();
    assert_eq!((system.server.port, system.five, system.tls.is_some()), (9883, false, true));
    assert_eq!(broker("version: 3.1.1").unwrap().server.port, 1883);
    assert!(broker("tls: {cert: gw.pem}").is_err());
    assert!(broker("version: 4").is_err());
    let status = |keys: &str| broker(keys).unwrap().status;
    assert_eq!(status("port: 1883").as_deref(), Some("sipliance/home.local/status"));
    assert_eq!(status("status: house/gateway").as_deref(), Some("house/gateway"));
    assert_eq!(status("status: false"), None);
    assert_eq!(broker("port: 1883").unwrap().client_id, "sipliance-home.local-main");
}

/// An HA1 logs in as the password does, so that its file is as secret.
#[test]
fn an_ha1_that_others_may_read_is_refused() {
    let folder = std::env::temp_dir().join(format!("sipliance-ha1-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("home.yaml");
    let ha1 = "0123456789abcdef".repeat(4);
    fs::write(&file, format!("format: 1\nusers:\n  anna: {{ha1: {{sha256: {ha1}}}}}\n")).unwrap();
    let errors = |bits| {
        mode(&file, bits);
        run(&file, PLAIN).1.matches("error:").count()
    };
    assert_eq!((errors(0o600), errors(0o640), errors(0o604)), (0, 1, 1));
    fs::remove_dir_all(&folder).unwrap();
}

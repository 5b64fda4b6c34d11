//! The layers of the house, read from its source text: who may name what, and how long a file may be.
//!
//! An exception is typed here with its reason, so that it is looked at when it is made.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};

const CORE: [&str; 8] = [
    "src/sip",
    "src/device",
    "src/discover",
    "src/event",
    "src/control",
    "src/gateway",
    "src/timer.rs",
    "src/limits.rs",
];

/// A source file without its unit tests and comments.
struct Source {
    path: String,
    lines: Vec<String>,
    whole: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(under: &str, ends: &[&str]) -> Vec<PathBuf> {
    let start = root().join(under);
    if start.is_file() {
        return vec![start];
    }
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(&start) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                let inner = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.extend(files(&inner, ends));
            }
        } else if ends.iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources(under: &str) -> Vec<Source> {
    files(under, &[".rs"]).iter().map(|path| source(path)).collect()
}

fn source(path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap();
    let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
    // Unit tests are the last thing in a file, or a file of their own.
    let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let product = if path.ends_with("/tests.rs") || path.contains("/tests/") { "" } else { product };
    let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    Source { path, lines: product.lines().map(code).collect(), whole: text.lines().count() }
}

/// Every line of `sources` that holds one of `words` as a whole, except where `allowed` says so.
fn named(sources: &[Source], words: &[&str], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (nth, line) in source.lines.iter().enumerate() {
            for word in words.iter().filter(|word| holds(line, word)) {
                let excused = allowed.iter().any(|(path, what)| source.path == *path && line.contains(what));
                if !excused {
                    found.push(format!("{}:{}: {word}: {}", source.path, nth + 1, line.trim()));
                }
            }
        }
    }
    found
}

/// Whether `word` stands in `line` and does not go on before or behind.
fn holds(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let behind = line[at + word.len()..].chars().next();
        let first = word.chars().next().is_some_and(part);
        let last = word.chars().next_back().is_some_and(part);
        !(first && before.is_some_and(part) || last && behind.is_some_and(part))
    })
}

fn none(found: Vec<String>, rule: &str) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

fn core() -> Vec<Source> {
    CORE.iter().flat_map(|part| sources(part)).collect()
}

#[test]
fn the_rules_are_looked_at_with_open_eyes() {
    assert!(core().len() > 40, "the core was found");
    assert!(holds("let now = Instant::now();", "Instant::now"));
    assert!(!holds("MyInstant::nowhere", "Instant::now"));
    let sip = source(&root().join("src/sip/wire/uri.rs"));
    assert!(sip.lines.len() < sip.whole, "unit tests are left out");
}

#[test]
fn sip_names_nothing_of_appliances() {
    let words =
        ["device", "event", "control", "config", "gateway", "io", "cli"].map(|part| format!("crate::{part}"));
    let words: Vec<&str> = words.iter().map(String::as_str).chain(["sipliance_driver"]).collect();
    none(named(&sources("src/sip"), &words, &[]), "src/sip knows sip, the timer and the limits");
    // Grouped imports would get past that.
    none(named(&core(), &["use crate::{"], &[]), "imports name one module each");
}

#[test]
fn appliances_name_nothing_of_sip() {
    none(
        named(
            &sources("src/device"),
            &["crate::sip", "crate::gateway", "crate::event", "crate::control"],
            &[
                // The words of a person are understood where SIP is not known either.
                ("src/device/house.rs", "crate::control::words"),
            ],
        ),
        "src/device does not know who asks",
    );
    none(
        named(&sources("src/control"), &["sipliance_driver", "crate::gateway"], &[]),
        "control speaks to no driver",
    );
    let packages: Vec<Source> =
        sources("src/event").into_iter().filter(|source| !source.path.ends_with("mod.rs")).collect();
    none(
        named(&packages, &["Transactions", "sip::dialog", "FlowId", "Hop"], &[]),
        "a package is a pure function",
    );
}

/// A proposal is made of bytes and profiles; it reaches no broker and no house by itself.
#[test]
fn discovery_only_proposes() {
    let words = [
        "crate::sip",
        "crate::gateway",
        "crate::event",
        "crate::control",
        "crate::io",
        "crate::cli",
        "sipliance_driver",
        "device::house",
    ];
    none(named(&sources("src/discover"), &words, &[]), "src/discover knows files and profiles");
}

#[test]
fn the_core_reads_no_clock_no_socket_no_file_no_chance() {
    let words = [
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "tokio",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "ToSocketAddrs",
        "std::fs",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "thread_rng",
        "rand::rng",
        "OsRng",
        "from_os_rng",
        "getrandom",
        "tracing",
        "println",
        "eprintln",
        "dbg",
        "RandomState::new",
    ];
    none(
        named(
            &core(),
            &words,
            &[
                // A `Vec` is written to like a file.
                ("src/sip/wire/write.rs", "use std::io::Write as _;"),
            ],
        ),
        "times, bytes and seeds are arguments",
    );
}

#[test]
fn the_core_has_one_owner() {
    let words = [
        "Mutex",
        "RwLock",
        "RefCell",
        "Cell<",
        "OnceLock",
        "LazyLock",
        "OnceCell",
        "static mut",
        "thread_local",
        "mpsc",
        "async",
    ];
    none(
        named(
            &core(),
            &words,
            &[
                // A payload is read as text or JSON once, when the first asks for it.
                ("src/device/codec/incoming.rs", "OnceCell"),
                ("src/sip/wire/message.rs", "OnceCell"),
            ],
        ),
        "core state is reached through `&mut Gateway`",
    );
}

#[test]
fn drivers_know_neither_sip_nor_the_gateway() {
    let all = sources("drivers");
    assert!(all.len() > 10);
    none(named(&all, &["sipliance::", "rsip", "SUBSCRIBE", "NOTIFY", "INVITE"], &[]), "drivers move bytes");
}

#[test]
fn one_place_knows_the_yaml_crate() {
    let everything: Vec<Source> = ["src", "drivers"].iter().flat_map(|under| sources(under)).collect();
    let others: Vec<Source> =
        everything.into_iter().filter(|source| !source.path.starts_with("src/config/yaml")).collect();
    none(named(&others, &["saphyr_parser", "saphyr", "serde_yaml"], &[]), "YAML is read in src/config/yaml");
    none(named(&sources("src"), &["rsip"], &[]), "rsip is an oracle of tests");
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut found = Vec::new();
    for source in ["src", "drivers"].iter().flat_map(|under| sources(under)) {
        if source.whole > 500 {
            found.push(format!("{}: {} lines, 500 are allowed", source.path, source.whole));
        }
    }
    none(found, "a file is read in one go");
}

#[test]
fn nothing_is_left_for_later() {
    let everything: Vec<Source> = ["src", "drivers"].iter().flat_map(|under| sources(under)).collect();
    none(named(&everything, &["todo!", "unimplemented!", "unreachable!"], &[]), "what is there works");
    let mut found = Vec::new();
    for path in ["src", "drivers", "docs", "tests"]
        .iter()
        .flat_map(|under| files(under, &[".rs", ".md", ".py", ".yaml"]))
    {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for word in ["TODO", "FIXME", "XXX"] {
            if text.contains(word) && !path.ends_with("architecture.rs") {
                found.push(format!("{}: {word}", path.display()));
            }
        }
    }
    none(found, "no note to somebody later");
}

#[test]
fn the_product_speaks_of_no_machine() {
    let ends = [
        ".rs", ".md", ".toml", ".yaml", ".yml", ".py", ".sh", ".service", ".cfg", ".xml", ".json", ".txt",
        "run", "install",
    ];
    let words = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["arti", "factory"].concat()];
    let mut found = Vec::new();
    for path in files("", &ends) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for (nth, line) in text.lines().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {word}", path.display(), nth + 1));
            }
        }
    }
    none(found, "a path of somebody's machine");
}

//! The words of profiles: one table in the code, from which the schema for editors and the tables of the
//! document come. `UPDATE_DOCS=1 cargo test --test schema` writes both anew.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sipliance::cli::check::{Form, check};
use sipliance::cli::schema::{Format, text};
use sipliance::config::fault::{Faults, Style};
use sipliance::config::home::{Profiles, from_text};
use sipliance::config::yaml::words::{Block, Takes, Word};
use sipliance::config::yaml::{self, Data, Node};
use sipliance::device::fixture;
use sipliance::device::profile::{DriverKind, PROFILE};
use sipliance::timer::Now;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn kept(path: &Path, fresh: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(path, fresh).unwrap();
    }
    let old = fs::read_to_string(path).unwrap_or_default();
    assert!(
        old == fresh,
        "{} is not what the code says: UPDATE_DOCS=1 cargo test --test schema",
        path.display()
    );
}

#[test]
fn the_schema_is_what_the_reader_knows() {
    kept(&root().join("device-profiles/profile.schema.json"), &text(Format::Profile));
}

/// The profiles in the files of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    files.sort();
    files
}

/// The blocks of a language in the document.
fn blocks_of(language: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/profiles.md")).unwrap();
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// The profiles of the document. The first grows block by block until its tests.
fn documented() -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    let mut open = false;
    for block in blocks_of("yaml") {
        match whole.last_mut() {
            Some(growing) if open => growing.push_str(&block),
            _ if block.starts_with("format: 1") => whole.push(block.clone()),
            _ => continue,
        }
        open = !block.contains("tests:\n");
    }
    assert!(whole.len() >= 4 && !open, "{} profiles", whole.len());
    whole
}

/// What the document says of a mistake, and of a home that has the device.
#[test]
fn the_tutorial_is_true() {
    let pump = documented().remove(0);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tutorial");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("pool-pump.yaml");
    assert_eq!(pump.matches("    type: bool").count(), 1);
    fs::write(&file, pump.replace("    type: bool", "    tpye: bool")).unwrap();
    let mut out = Vec::new();
    let plain = Form::Text(Style { colour: false });
    check(&[file], plain, &Profiles::shipped(), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap().replace(&format!("{}/", folder.display()), "");
    assert_eq!(blocks_of("console")[0], format!("$ sipliance check pool-pump.yaml\n{out}"));

    let home = blocks_of("yaml").into_iter().find(|block| block.contains("devices:")).unwrap();
    let home = format!("format: 1\n{}", home.replace("profiles: [profiles]\n", ""));
    let mut profiles = Profiles::new();
    profiles.add("pool-pump", "pool-pump.yaml", pump);
    let (config, reports) = from_text(Path::new("home.yaml"), &home, "", &profiles);
    assert!(config.is_some() && reports.is_empty(), "{reports:#?}");
}

fn good() -> Vec<(String, String)> {
    let folders = ["device-profiles", "tests/corpus/home/profiles", "tests/corpus/good"];
    let files = folders.iter().flat_map(|folder| files(folder));
    let texts = files.map(|file| (file.display().to_string(), fs::read_to_string(&file).unwrap()));
    texts.chain(documented().into_iter().map(|text| ("docs/profiles.md".to_owned(), text))).collect()
}

/// The document as another reader of YAML sees it, which is what an editor does.
fn json(text: &str) -> Option<serde_json::Value> {
    serde_json::to_value(serde_yaml::from_str::<serde_yaml::Value>(text).ok()?).ok()
}

#[test]
fn every_good_profile_fits_the_schema() {
    let schema: serde_json::Value = serde_json::from_str(&text(Format::Profile)).unwrap();
    jsonschema::meta::validate(&schema).unwrap_or_else(|error| panic!("no schema: {error}"));
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for (name, text) in good() {
        let json = json(&text).unwrap_or_else(|| panic!("{name} is no YAML"));
        let faults: Vec<String> =
            validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(faults.is_empty(), "{name}: {faults:#?}");
    }
}

/// What an editor cannot find: faults of meaning, and of the text itself.
const BEYOND_A_SCHEMA: [&str; 37] = [
    "profile-action",
    "profile-asked-too-often",
    "profile-braces-in-text",
    "profile-enum-of-a-line",
    "profile-event",
    "profile-every-without-ask",
    "profile-hex-spelled-wrong",
    "profile-lamp-of-nothing",
    "profile-link-missing",
    "profile-map-lacks-a-value",
    "profile-map-value-unknown",
    "profile-name-twice",
    "profile-never-a-value",
    "profile-on-unquoted",
    "profile-online-without-map",
    "profile-param-without-value",
    "profile-pattern-too-large",
    "profile-pattern-with-groups",
    "profile-pattern",
    "profile-placeholder-form",
    "profile-press-of-nothing",
    "profile-query-that-acts",
    "profile-range-reversed",
    "profile-reference-number",
    "profile-restore",
    "profile-scale-of-zero",
    "profile-single-quotes",
    "profile-step-that-is-none",
    "profile-test-fails",
    "profile-test-of-nothing",
    "profile-test-of-other-topic",
    "profile-test-of-wrong-type",
    "profile-test-says-nothing",
    "profile-units",
    "profile-unknown-placeholder",
    "profile-without-write",
    "profile-wrong-for-the-type",
];

#[test]
fn what_a_schema_can_catch_it_catches() {
    let schema: serde_json::Value = serde_json::from_str(&text(Format::Profile)).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let mut missed = Vec::new();
    for file in files("tests/corpus/broken") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if !name.starts_with("profile-") {
            continue;
        }
        let json = json(&fs::read_to_string(&file).unwrap());
        if json.is_some_and(|json| validator.is_valid(&json)) {
            missed.push(name);
        }
    }
    assert_eq!(missed, BEYOND_A_SCHEMA);
}

/// Every word is used by a good profile: the reader knows it, since a word that nobody takes is a fault.
#[test]
fn every_word_is_read() {
    let mut used = BTreeSet::new();
    for (name, text) in good() {
        let mut faults = Faults::default();
        let profile = fixture::read(&text, &mut faults);
        let profile = profile.unwrap_or_else(|| panic!("{name}: {faults:?}"));
        let now = Now { mono: Instant::now(), wall_ms: 1_770_000_000_000 };
        for result in fixture::run(&profile, now) {
            assert_eq!(result.outcome, Ok(()), "{name}:{}: {}", result.place.line, result.title);
        }
        let node = yaml::parse(&text, &mut Faults::default()).unwrap();
        let driver = profile.example.driver;
        mark(&node, Takes::Block(&PROFILE), driver, &mut used);
    }
    let mut missing = Vec::new();
    for (block, _) in blocks() {
        // What several drivers share is read by the same lines.
        let unread = block.all().filter(|word| !used.contains(&std::ptr::from_ref(*word)));
        missing.extend(unread.map(|word| format!("{}: {}", block.name, word.key)));
    }
    assert!(missing.is_empty(), "no good profile uses {missing:#?}");
}

fn mark(node: &Node, takes: Takes, driver: DriverKind, used: &mut BTreeSet<*const Word>) {
    let below = |node: &Node, used: &mut BTreeSet<*const Word>, takes: &dyn Fn(&str) -> Option<Takes>| {
        let Data::Map(entries) = &node.data else { return };
        for (key, value) in entries {
            if let Some(takes) = takes(&key.text) {
                mark(value, takes, driver, used);
            }
        }
    };
    match (takes, &node.data) {
        (Takes::Block(block) | Takes::Blocks(block), Data::Map(entries)) => {
            let words = entries.iter().filter_map(|(key, _)| block.word(&key.text));
            used.extend(words.map(std::ptr::from_ref));
            below(node, used, &|key| block.word(key).map(|word| word.takes));
        }
        (Takes::Blocks(block) | Takes::ListOf(block), Data::List(items)) => {
            items.iter().for_each(|item| mark(item, Takes::Block(block), driver, used));
        }
        (Takes::Ids(block), _) => below(node, used, &|_| Some(Takes::Block(block))),
        (Takes::Each(takes), _) => below(node, used, &|_| Some(*takes)),
        (Takes::List(takes), Data::List(items)) => {
            items.iter().for_each(|item| mark(item, *takes, driver, used))
        }
        (Takes::Either(all), _) => all.iter().for_each(|takes| mark(node, *takes, driver, used)),
        (Takes::Chosen(choose), _) => {
            if let Some(takes) = choose(driver.word()) {
                mark(node, takes, driver, used);
            }
        }
        _ => {}
    }
}

/// Every block in the order in which a reader of the document meets it, and the drivers that have it.
fn blocks() -> Vec<(&'static Block, Vec<&'static str>)> {
    let mut all: Vec<(&'static Block, Vec<&'static str>)> = Vec::new();
    for driver in DriverKind::ALL {
        walk(&PROFILE, driver.word(), &mut all);
    }
    all
}

fn walk(block: &'static Block, driver: &'static str, all: &mut Vec<(&'static Block, Vec<&'static str>)>) {
    match all.iter_mut().find(|(known, _)| std::ptr::eq(*known, block)) {
        Some((_, drivers)) if drivers.contains(&driver) => return,
        Some((_, drivers)) => drivers.push(driver),
        None => all.push((block, vec![driver])),
    }
    for word in block.all() {
        within(word.takes, driver, all);
    }
}

fn within(takes: Takes, driver: &'static str, all: &mut Vec<(&'static Block, Vec<&'static str>)>) {
    match takes {
        Takes::Block(block) | Takes::Blocks(block) | Takes::ListOf(block) | Takes::Ids(block) => {
            walk(block, driver, all);
        }
        Takes::Each(takes) | Takes::List(takes) => within(*takes, driver, all),
        Takes::Either(some) => some.iter().for_each(|takes| within(*takes, driver, all)),
        Takes::Chosen(choose) => {
            if let Some(takes) = choose(driver) {
                within(takes, driver, all);
            }
        }
        _ => {}
    }
}

/// What may stand behind a word, for people.
fn spoken(takes: Takes) -> String {
    match takes {
        Takes::Text => "text".to_owned(),
        Takes::Topic => "topic".to_owned(),
        Takes::Pointer => "JSON Pointer".to_owned(),
        Takes::Pattern => "pattern".to_owned(),
        Takes::Bool => "true or false".to_owned(),
        Takes::Int(low, high) if high > 0xff_ffff => format!("number from {low}"),
        Takes::Int(low, high) => format!("{low} to {high}"),
        Takes::Number => "number".to_owned(),
        Takes::Time => "time".to_owned(),
        Takes::OneOf(words) => words().iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Takes::Block(_) => "block".to_owned(),
        Takes::Blocks(_) => "block, or a list of blocks".to_owned(),
        Takes::ListOf(_) => "list of blocks".to_owned(),
        Takes::Ids(_) => "blocks by id".to_owned(),
        Takes::Each(Takes::Block(_)) => "blocks by name".to_owned(),
        Takes::Each(_) => "block".to_owned(),
        Takes::List(Takes::Block(_)) => "list of blocks".to_owned(),
        Takes::List(_) => "list".to_owned(),
        Takes::Either(all) => {
            let mut words: Vec<String> = all.iter().map(|takes| spoken(*takes)).collect();
            words.dedup();
            words.join(" or ")
        }
        Takes::Chosen(_) => "by driver".to_owned(),
        Takes::Any => "anything".to_owned(),
    }
}

fn row(word: &Word) -> String {
    let must = if word.must { " *" } else { "" };
    format!("| `{}`{must} | {} | {} |\n", word.key, spoken(word.takes), word.about)
}

/// The tables of every block. Words that several drivers share stand once.
fn tables() -> String {
    let mut out = String::new();
    let mut groups: Vec<*const Word> = Vec::new();
    for (block, _) in blocks() {
        let fresh: Vec<&[Word]> =
            block.words.iter().copied().filter(|group| !groups.contains(&group.as_ptr())).collect();
        if fresh.is_empty() {
            continue;
        }
        groups.extend(fresh.iter().map(|group| group.as_ptr()));
        let name = block.name;
        out += &format!(
            "\n#### {}{}\n\n| Word | Takes | Meaning |\n|---|---|---|\n",
            name[..1].to_uppercase(),
            &name[1..]
        );
        fresh.iter().flat_map(|group| group.iter()).for_each(|word| out += &row(word));
        let known: Vec<String> = block
            .words
            .iter()
            .filter(|group| !fresh.iter().any(|new| new.as_ptr() == group.as_ptr()))
            .flat_map(|group| group.iter())
            .map(|word| format!("`{}`", word.key))
            .collect();
        if !known.is_empty() {
            out += &format!("\nand, as above, {}.\n", known.join(", "));
        }
    }
    out
}

const BEGIN: &str = "<!-- written by tests/schema.rs -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_tables_of_the_document_are_what_the_reader_knows() {
    let path = root().join("docs/profiles.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the mark is there");
    let (_, after) = rest.split_once(END).expect("the mark is there");
    kept(&path, &format!("{before}{BEGIN}{}\n{END}{after}", tables()));
}

//! What the protocols ask, and the tests that prove it: `tests/conformance/catalogue.txt` and the
//! `Proves:` lines of the tests make `docs/conformance.md`.
//!
//! A `Reads:` line names numbers of documents that are read or written and whose use nothing proves: it
//! is shown beside the reason of an entry that is open, and does not replace a proof.
//!
//! `UPDATE_DOCS=1 cargo test --test conformance` writes the document, and takes the `open:` lines of
//! entries that have a proof meanwhile out of the catalogue.

// Helpers of tests may fail loudly, too.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const CATALOGUE: &str = "tests/conformance/catalogue.txt";
const DOCUMENT: &str = "docs/conformance.md";
/// How far below a `Proves:` line its test may begin: other comments and attributes stand between.
const REACH: usize = 12;

/// A number of the catalogue.
#[derive(Debug, PartialEq)]
struct Entry {
    section: String,
    number: String,
    source: String,
    text: String,
    /// The line of the catalogue, from 0, and the reason.
    open: Option<(usize, String)>,
    declined: Option<String>,
    short: Option<String>,
}

/// A test that proves a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Proof {
    path: String,
    test: String,
}

type Proofs = BTreeMap<String, BTreeSet<Proof>>;

/// What the lines of a file say: kind, number, test.
type Claims = Vec<(Kind, String, String)>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Proves,
    Reads,
}

#[test]
fn every_number_has_its_proof_or_its_reason() {
    let update = std::env::var_os("UPDATE_DOCS").is_some();
    let (proofs, readers, mut faults) = collect();
    let mut text = read(CATALOGUE);
    if update {
        text = without_proven(&text, &proofs);
        fs::write(root().join(CATALOGUE), &text).unwrap();
    }
    let (entries, wrong) = parse(&text);
    faults.extend(wrong);
    faults.extend(disagreements(&entries, &proofs));
    faults.extend(unknown(&entries, &readers));
    let document = render(&entries, &proofs, &readers);
    if update {
        fs::write(root().join(DOCUMENT), &document).unwrap();
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let known = fs::read_to_string(root().join(DOCUMENT)).unwrap_or_default();
    assert!(known == document, "{DOCUMENT} is out of date: UPDATE_DOCS=1 cargo test --test conformance");
}

#[test]
fn a_catalogue_and_its_proofs_are_compared_both_ways() {
    let text = "# a comment\n== Section (RFC 1)\nA-1 [§1] One\nA-2 [§2] Two\n  open: not yet\nA-3 [§3] Three\n  declined: never\nA-4 [§4] Four\n";
    let (entries, faults) = parse(text);
    assert_eq!((entries.len(), faults.len()), (4, 0));
    let proof = Proof { path: "tests/a.rs".to_owned(), test: "a".to_owned() };
    let of = |numbers: &[&str]| {
        numbers.iter().map(|number| ((*number).to_owned(), [proof.clone()].into())).collect()
    };
    assert_eq!(disagreements(&entries, &of(&["A-1", "A-4"])), Vec::<String>::new());
    let all: Proofs = of(&["A-1", "A-2", "A-3", "A-9"]);
    let found = disagreements(&entries, &all);
    assert_eq!(found.len(), 4, "{found:#?}");
    let (fewer, _) = parse(&without_proven(text, &all));
    assert!(fewer[1].open.is_none() && fewer[2].declined.is_some(), "only what was open is struck out");
    assert_eq!(parse("A-1 [§1] before a heading\n  open: x\n  nonsense: y\nA-1 twice").1.len(), 4);
}

#[test]
fn a_proof_is_named_after_the_test_below_it() {
    // Built from parts, so that this file proves nothing by it.
    let mark = |comment: &str, numbers: &str| format!("{comment} Proves{} {numbers}\n", ':');
    let rust = format!("/// Some words.\n///\n{}#[test]\nfn one_thing() {{\n", mark("///", "A-1, B-2.3"));
    assert_eq!(
        proofs_of("tests/x.rs", &rust).unwrap(),
        ["A-1", "B-2.3"].map(|number| (Kind::Proves, number.to_owned(), "one_thing".to_owned()))
    );
    let helper = format!("{}fn no_test() {{\n", mark("///", "A-1"));
    assert!(proofs_of("tests/x.rs", &helper).is_err(), "a function that nobody runs proves nothing");
    assert!(proofs_of("tests/x.rs", &mark("///", "A-1")).is_err());
    let python = format!("    {}    with lab.case(f\"a {{thing}}: 200\"):\n", mark("#", "A-1"));
    assert_eq!(proofs_of("tests/x.py", &python).unwrap()[0].2, "a {thing}: 200");
    let inside = format!(
        "with lab.case(\"one\"):\n    {}    publish(ana)\nwith lab.case(\"two\"):\n",
        mark("#", "A-1")
    );
    assert_eq!(proofs_of("tests/x.py", &inside).unwrap()[0].2, "one");
    let row = format!("    {}    (\"no-event\", \"plug\"),\n", mark("#", "A-1"));
    assert_eq!(proofs_of("tests/x.py", &row).unwrap()[0].2, "no-event");
    let sipp = mark("<!--", "A-1 -->");
    assert_eq!(proofs_of("tests/dial.xml", &sipp).unwrap()[0].2, "dial");
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every proof and every reader of the tree, and the lines that say nothing.
fn collect() -> (Proofs, Proofs, Vec<String>) {
    let (mut proofs, mut readers) = (Proofs::new(), Proofs::new());
    let mut faults = Vec::new();
    for path in ["src", "drivers", "tests"].iter().flat_map(|part| files(&root().join(part))) {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        match proofs_of(&name, &text) {
            Ok(found) => {
                for (kind, number, test) in found {
                    let of = if kind == Kind::Proves { &mut proofs } else { &mut readers };
                    of.entry(number).or_default().insert(Proof { path: name.clone(), test });
                }
            }
            Err(why) => faults.push(why),
        }
    }
    (proofs, readers, faults)
}

fn files(under: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(under) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | "corpus") && !name.starts_with('.') {
                found.extend(files(&path));
            }
        } else if [".rs", ".py", ".xml", ".js", ".mjs"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The numbers that a file proves, each with the test below the line that says so.
fn proofs_of(path: &str, text: &str) -> Result<Claims, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (nth, line) in lines.iter().enumerate() {
        let Some((kind, numbers)) = comment(line).and_then(claim) else { continue };
        let place = || format!("{path}:{}: ", nth + 1);
        let below = &lines[nth + 1..lines.len().min(nth + 1 + REACH)];
        let test = match path.rsplit_once('.') {
            Some((stem, "xml")) => stem.rsplit('/').next().map(ToOwned::to_owned),
            Some((_, "rs")) => rust_test(below),
            // Above a case or a row of a table of cases, or inside of one.
            _ => below.first().and_then(|line| case_of(line)).or_else(|| {
                let mut around = lines[..nth].iter().rev().chain(below);
                around.find_map(|line| case_of(line).filter(|_| !line.trim().starts_with('(')))
            }),
        };
        let test = test.ok_or_else(|| place() + "no test follows")?;
        for number in numbers.split(',').map(str::trim) {
            if !is_number(number) {
                return Err(place() + &format!("{number:?} is no number: write \"Proves: EV-4, EV-5\""));
            }
            found.push((kind, number.to_owned(), test.clone()));
        }
    }
    Ok(found)
}

fn claim(words: &str) -> Option<(Kind, &str)> {
    let proves = words.strip_prefix("Proves:").map(|numbers| (Kind::Proves, numbers));
    proves.or_else(|| words.strip_prefix("Reads:").map(|numbers| (Kind::Reads, numbers)))
}

/// The words of a line that is a comment.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim().trim_end_matches("-->").trim_end();
    ["///", "//", "#", "<!--"].iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim)
}

fn rust_test(below: &[&str]) -> Option<String> {
    let at = below
        .iter()
        .position(|line| line.trim().starts_with("fn ") || line.trim().starts_with("async fn "))?;
    let runs = below[..at].iter().any(|line| line.trim().starts_with("#[") && line.contains("test"));
    let name = below[at].split("fn ").nth(1)?.split(['(', '<']).next()?;
    runs.then(|| name.trim().to_owned())
}

/// The name of a case of the suites: `with lab.case("…")`, `def name`, a row `("name", …)`.
fn case_of(line: &str) -> Option<String> {
    if let Some(rest) = line.trim().strip_prefix("def ") {
        return rest.split('(').next().map(ToOwned::to_owned);
    }
    let row = line.trim().strip_prefix('(');
    let call = ["case(", "step("].iter().find_map(|call| line.split_once(call)).map(|(_, rest)| rest);
    let quoted = call.or(row)?;
    let mark = quoted.find(['"', '\''])?;
    let quote = quoted[mark..].chars().next()?;
    quoted[mark + 1..].split(quote).next().map(ToOwned::to_owned)
}

fn is_number(word: &str) -> bool {
    word.split_once('-').is_some_and(|(family, rest)| {
        !family.is_empty()
            && family.chars().all(|c| c.is_ascii_uppercase())
            && rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    })
}

fn parse(text: &str) -> (Vec<Entry>, Vec<String>) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut faults = Vec::new();
    let mut section = String::new();
    for (nth, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || line.starts_with('#') {
            continue;
        }
        let fault = match (trimmed.strip_prefix("== "), line.starts_with(' ')) {
            (Some(title), false) => {
                title.clone_into(&mut section);
                None
            }
            (_, true) => {
                entries.last_mut().is_none_or(|entry| !remark(entry, trimmed, nth)).then_some("no remark")
            }
            (None, false) => match entry(trimmed, &section) {
                Some(entry) if entries.iter().any(|known| known.number == entry.number) => {
                    Some("stands twice")
                }
                Some(entry) => {
                    entries.push(entry);
                    None
                }
                None => Some("not NUMBER [source] text below a heading"),
            },
        };
        faults.extend(fault.map(|why| format!("{CATALOGUE}:{}: {why}: {trimmed}", nth + 1)));
    }
    (entries, faults)
}

fn entry(line: &str, section: &str) -> Option<Entry> {
    let (number, rest) = line.split_once(" [")?;
    let (source, text) = rest.split_once("] ")?;
    let fine = is_number(number) && !section.is_empty() && !text.trim().is_empty();
    fine.then(|| Entry {
        section: section.to_owned(),
        number: number.to_owned(),
        source: source.to_owned(),
        text: text.to_owned(),
        open: None,
        declined: None,
        short: None,
    })
}

fn remark(entry: &mut Entry, line: &str, nth: usize) -> bool {
    let Some((kind, reason)) = line.split_once(": ") else { return false };
    let reason = reason.to_owned();
    match kind {
        "open" => entry.open = Some((nth, reason)),
        "declined" => entry.declined = Some(reason),
        "but" => entry.short = Some(reason),
        _ => return false,
    }
    true
}

fn disagreements(entries: &[Entry], proofs: &Proofs) -> Vec<String> {
    let mut faults = Vec::new();
    for entry in entries {
        let number = &entry.number;
        match (proofs.contains_key(number), entry.open.is_some(), entry.declined.is_some()) {
            (false, false, false) => {
                faults.push(format!("{number} has neither a proof nor a reason: {}", entry.text));
            }
            (true, true, _) => faults.push(format!("{number} is open in {CATALOGUE}, and proven")),
            (true, _, true) => faults.push(format!("{number} is declined in {CATALOGUE}, and proven")),
            (_, true, true) => faults.push(format!("{number} is open and declined")),
            _ => {}
        }
    }
    faults.extend(unknown(entries, proofs));
    faults
}

fn unknown(entries: &[Entry], proofs: &Proofs) -> Vec<String> {
    let known = |number: &str| entries.iter().any(|entry| entry.number == number);
    let strange = proofs.iter().filter(|(number, _)| !known(number));
    strange
        .filter_map(|(number, proofs)| proofs.first().map(|proof| (number, proof)))
        .map(|(number, Proof { path, test })| {
            format!("{path}: {test} names {number}, which {CATALOGUE} does not know")
        })
        .collect()
}

/// The catalogue without the `open:` lines that a proof has overtaken.
fn without_proven(text: &str, proofs: &Proofs) -> String {
    let (entries, _) = parse(text);
    let gone: BTreeSet<usize> = entries
        .iter()
        .filter(|entry| proofs.contains_key(&entry.number))
        .filter_map(|entry| entry.open.as_ref().map(|(line, _)| *line))
        .collect();
    let kept = text.lines().enumerate().filter(|(nth, _)| !gone.contains(nth));
    kept.map(|(_, line)| format!("{line}\n")).collect()
}

fn render(entries: &[Entry], proofs: &Proofs, readers: &Proofs) -> String {
    let count = |which: fn(&Entry) -> bool| entries.iter().filter(|entry| which(entry)).count();
    let (open, declined) = (count(|entry| entry.open.is_some()), count(|entry| entry.declined.is_some()));
    let mut out = format!(
        "# Conformance\n\n\
         What the protocols ask of a gateway for appliances, and the tests that prove it: {} numbers, of which {} are\n\
         proven, {open} open and {declined} declined. Each line is in our own words; the source named in it is what counts.\n\n\
         Written from `{CATALOGUE}` and the `Proves:` lines of the tests by\n\
         `UPDATE_DOCS=1 cargo test --test conformance`; a test fails when they disagree, so do not edit it by hand.\n",
        entries.len(),
        entries.len() - open - declined,
    );
    let mut section = "";
    for entry in entries {
        if entry.section != section {
            section = &entry.section;
            write!(out, "\n## {section}\n\n| | What has to be so | Proof |\n|---|---|---|\n").unwrap();
        }
        let cell = |text: &str| text.replace('|', "\\|");
        let link = |Proof { path, test }: &Proof| format!("[`{}`](../{path})", cell(test));
        let of = |what: &Proofs| -> Vec<String> {
            what.get(&entry.number).into_iter().flatten().map(link).collect()
        };
        let mut proof = of(proofs);
        proof.extend(entry.short.as_ref().map(|why| format!("*but* {}", cell(why))));
        proof.extend(entry.open.as_ref().map(|(_, why)| format!("**open:** {}", cell(why))));
        if entry.open.is_some() && readers.contains_key(&entry.number) {
            proof.push(format!("the document alone: {}", of(readers).join(", ")));
        }
        proof.extend(entry.declined.as_ref().map(|why| format!("**declined:** {}", cell(why))));
        writeln!(
            out,
            "| {} | {} ({}) | {} |",
            entry.number,
            cell(&entry.text),
            cell(&entry.source),
            proof.join("<br>")
        )
        .unwrap();
    }
    out
}

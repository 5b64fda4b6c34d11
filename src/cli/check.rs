//! `sipliance check FILE…`: everything that is wrong with a home file or a profile, at once.

use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::config::fault::{Faults, Severity, Style};
use crate::config::home::{self, Opened, Profiles, Report};
use crate::config::yaml::{self, Data, Node};
use crate::device::fixture;
use crate::device::profile::Profile;
use crate::timer::Now;

/// How a check ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Files that were asked for.
    pub files: usize,
    /// Errors in all files.
    pub errors: usize,
    /// Warnings in all files.
    pub warnings: usize,
    /// Tests of profiles that were run.
    pub tests: usize,
    /// Files that could not be read.
    pub unreadable: usize,
}

impl Tally {
    /// 0: nothing wrong (warnings do not count), 1: faults, 2: a file could not be read.
    pub fn exit_code(self) -> u8 {
        match self {
            Tally { unreadable: 1.., .. } => 2,
            Tally { errors: 1.., .. } => 1,
            _ => 0,
        }
    }
}

/// Checks every file and prints what is wrong to the standard output, in colour when that is a
/// terminal; `json` prints one object per fault and line.
pub fn run(files: &[PathBuf], json: bool) -> ExitCode {
    let out = std::io::stdout();
    let colour =
        !json && out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let form = if json { Form::Json } else { Form::Text(Style { colour }) };
    // A reader that goes away early (`| head`) is no fault of the files.
    match check(files, form, &Profiles::shipped(), &mut out.lock()) {
        Ok(tally) => ExitCode::from(tally.exit_code()),
        Err(_) => ExitCode::from(2),
    }
}

/// How faults are printed.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// For people.
    Text(Style),
    /// For programs.
    Json,
}

/// The command with its output as an argument.
pub fn check(
    files: &[PathBuf],
    form: Form,
    shipped: &Profiles,
    out: &mut dyn Write,
) -> std::io::Result<Tally> {
    let mut tally = Tally { files: files.len(), ..Tally::default() };
    for file in files {
        for report in one(file, shipped, &mut tally) {
            print(&report, form, &mut tally, out)?;
        }
    }
    match form {
        Form::Json => {
            let Tally { files, errors, warnings, tests, .. } = tally;
            let line = serde_json::json!(
                {"files": files, "errors": errors, "warnings": warnings, "tests": tests});
            writeln!(out, "{line}")?;
        }
        Form::Text(_) => writeln!(out, "{}", summary(tally))?,
    }
    Ok(tally)
}

/// The reports about one file and what it names.
fn one(file: &Path, shipped: &Profiles, tally: &mut Tally) -> Vec<Report> {
    let mut faults = Faults::default();
    let mut source = None;
    match home::open_text(file) {
        Err(why) => {
            tally.unreadable += 1;
            faults.error(None, "", why, None);
        }
        Ok(Opened { text, .. }) => match yaml::parse(&text, &mut faults) {
            Some(node) if has(&node, &["devices", "house", "access"]) => return home::load(file, shipped).1,
            Some(node) if has(&node, &["profile"]) => {
                profile(&node, &mut faults, tally);
                source = Some(text);
            }
            Some(node) if has(&node, &["format"]) => return home::load(file, shipped).1,
            // This may be a secrets file, of which no line is shown.
            Some(_) => {
                faults = Faults::default();
                let help = "a home file has `devices:`, a profile has `profile:`; secrets are checked with their home file";
                faults.error(None, "", "neither a home file nor a profile", Some(help.to_owned()));
            }
            None if is_secret(file) => {}
            None => source = Some(text),
        },
    }
    vec![Report { path: file.to_owned(), source, faults: faults.sorted() }]
}

fn has(node: &Node, keys: &[&str]) -> bool {
    matches!(&node.data, Data::Map(entries) if entries.iter().any(|(name, _)| keys.contains(&name.text.as_str())))
}

/// Whether a file that cannot be parsed looks like a secrets file by its name.
fn is_secret(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().contains("secret"))
}

/// Checks a profile and runs its tests. Those of a profile with faults would only confuse.
fn profile(node: &Node, faults: &mut Faults, tally: &mut Tally) {
    let Some(profile) = Profile::read(node, faults) else { return };
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = Now { mono: Instant::now(), wall_ms: i64::try_from(wall).unwrap_or(0) };
    for (index, result) in fixture::run(&profile, now).into_iter().enumerate() {
        tally.tests += 1;
        if let Err(why) = result.outcome {
            let message = format!("the test `{}` failed: {why}", result.title);
            faults.error(Some(result.place), &format!("tests[{index}]"), message, None);
        }
    }
    if profile.cases.is_empty() {
        let help = "a recorded payload and what it means makes a test: docs/profiles.md".to_owned();
        faults.warning(None, "tests", "the profile has no tests", Some(help));
    }
}

fn print(report: &Report, form: Form, tally: &mut Tally, out: &mut dyn Write) -> std::io::Result<()> {
    let file = report.path.display().to_string();
    for fault in &report.faults {
        match fault.severity {
            Severity::Error => tally.errors += 1,
            Severity::Warning => tally.warnings += 1,
        }
        match form {
            Form::Json => writeln!(out, "{}", fault.json(&file, report.source.as_deref()))?,
            Form::Text(style) => writeln!(out, "{}", fault.render(&file, report.source.as_deref(), style))?,
        }
    }
    Ok(())
}

fn summary(tally: Tally) -> String {
    let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let verdict = match tally.exit_code() {
        0 => "ok",
        1 => "not usable",
        _ => "not readable",
    };
    let mut line = format!(
        "{verdict}: {}, {}, {}",
        count(tally.files, "file"),
        count(tally.errors, "error"),
        count(tally.warnings, "warning")
    );
    if tally.tests > 0 {
        line.push_str(&format!(", {} run", count(tally.tests, "profile test")));
    }
    line
}

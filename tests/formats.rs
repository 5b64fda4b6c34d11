//! The tables of `docs/formats.md` are those of the code. `UPDATE_DOCS=1 cargo test --test formats`
//! writes them anew.

// Tests may fail loudly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(missing_docs, reason = "the tests of a program have no readers of documentation")]

use sipliance::event::matrix::render::{packages_table, rows_table};

/// The text with what stands between the two marks of `name` replaced.
fn filled(text: &str, name: &str, table: &str) -> String {
    let (begin, end) = (format!("<!-- begin: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin:?}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end:?}"));
    format!("{before}{begin}\n{table}\n{end}{after}")
}

#[test]
fn the_documented_tables_are_those_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let text = std::fs::read_to_string(&path).expect("docs/formats.md");
    let due = filled(&filled(&text, "packages", &packages_table()), "matrix", &rows_table());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, due).expect("docs/formats.md can be written");
        return;
    }
    assert!(text == due, "docs/formats.md is old: UPDATE_DOCS=1 cargo test --test formats");
}

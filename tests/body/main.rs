//! The body formats: documents that people write, documents that go wrong, documents of ours as
//! files in `tests/corpus/body` (`UPDATE_GOLDEN=1` writes them anew).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod describe;
mod dmp;
mod filter;
mod fuzz;
mod lists;
mod policy;
mod presence;
mod senml;
mod summary;
mod watchers;
mod xml;

use std::path::PathBuf;

use sipliance::body::Fault;

/// The time of all tests, 2026-01-01T00:00:00Z.
pub fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_767_225_600).unwrap()
}

/// Where the files are.
pub fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/body")
}

/// Compares what was written with the file of that name.
pub fn golden(name: &str, written: impl AsRef<[u8]>) {
    let path = corpus().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, written.as_ref()).unwrap();
    }
    let kept = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    assert_eq!(String::from_utf8_lossy(&kept), String::from_utf8_lossy(written.as_ref()), "{name}");
}

/// Each body is refused with a fault whose words hold these.
pub fn refused<T: std::fmt::Debug>(read: impl Fn(&[u8]) -> Result<T, Fault>, cases: &[(&str, &str)]) {
    for (body, words) in cases {
        let start: String = body.chars().take(200).collect();
        let fault = read(body.as_bytes()).expect_err(&start).to_string();
        assert!(fault.contains(words), "{start}\n  says {fault:?}\n  not  {words:?}");
    }
}

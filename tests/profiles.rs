//! Every shipped profile: read without a fault, proved by its own tests, and silent where it must be.

use std::path::Path;
use std::time::Instant;

use sipliance::config::fault::Faults;
use sipliance::device::fixture;
use sipliance::device::profile::Profile;
use sipliance::device::shipped::SHIPPED;
use sipliance::timer::Now;

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
        for result in fixture::run(&profile, now()) {
            count += 1;
            if let Err(why) = result.outcome {
                failed.push(format!("{id}.yaml:{}: {}: {why}", result.place.line, result.title));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} failed:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_table_holds_every_file() {
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

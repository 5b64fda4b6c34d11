//! What a kill, a power cut and a bad card may do to the record.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::file::{self, Contents, parse};
use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sipliance-journal-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A folder with a file of some history, every body that a key ever had, and what counts.
fn written(name: &str) -> (PathBuf, BTreeMap<Bytes, Vec<Bytes>>, Records) {
    let folder = folder(name);
    let mut log = Log::new(&folder, Records::new());
    log.rewrite().unwrap();
    let mut ever: BTreeMap<Bytes, Vec<Bytes>> = BTreeMap::new();
    let mut last = Records::new();
    for nth in 0..60 {
        let key = bytes(&format!("k{}", nth % 20));
        let body = (nth % 7 != 6).then(|| bytes(&format!("body {nth} {}", "R\u{a5}".repeat(nth))));
        match &body {
            Some(body) => {
                ever.entry(key.clone()).or_default().push(body.clone());
                last.insert(key.clone(), body.clone());
            }
            None => drop(last.remove(&key)),
        }
        log.take(key, body);
        log.write().unwrap();
    }
    log.sync().unwrap();
    (folder, ever, last)
}

#[test]
fn what_was_written_is_read_after_any_end() {
    let (folder, ever, last) = written("ends");
    assert_eq!(load(&folder), last);
    let whole = fs::read(folder.join("records")).unwrap();
    assert_eq!(parse(&whole), Ok(Contents { records: last, damaged: 0, torn: 0 }));
    // A process that was killed in the middle of a write.
    for cut in 0..whole.len() {
        let contents = parse(&whole[..cut]).unwrap();
        assert_eq!(contents.damaged, 0, "cut at {cut}");
        for (key, body) in contents.records {
            assert!(ever[&key].contains(&body), "cut at {cut}");
        }
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn damage_costs_what_is_damaged_and_is_kept_aside() {
    let (folder, ever, last) = written("damage");
    let path = folder.join("records");
    let whole = fs::read(&path).unwrap();
    let mut aside = 0;
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut bad = whole.clone();
        let at = rng.random_range(0..bad.len());
        match seed % 5 {
            0 => bad.truncate(at),
            1 => bad[at] ^= 1 << rng.random_range(0..8),
            2 => {
                let end = (at + rng.random_range(1..2000)).min(bad.len());
                bad[at..end].fill(0);
            }
            3 => drop(bad.splice(
                at..at,
                (0..rng.random_range(1..50)).map(|_| rng.random::<u8>()).collect::<Vec<_>>(),
            )),
            _ => bad = (0..at).map(|_| rng.random()).collect(),
        }
        fs::write(&path, &bad).unwrap();
        let records = load(&folder);
        for (key, body) in &records {
            assert!(ever[key].contains(body), "seed {seed}: made up");
        }
        if seed % 5 == 1 {
            let same = last.iter().filter(|(key, body)| records.get(*key) == Some(body)).count();
            assert!(same + 1 >= last.len(), "seed {seed}: one bit costs one entry, {same} of {}", last.len());
        }
        aside += usize::from(!path.exists());
        // The next run writes it anew, and is read as it was.
        let mut log = Log::new(&folder, records.clone());
        log.rewrite().unwrap();
        assert_eq!(load(&folder), records, "seed {seed}");
    }
    assert!(aside > 50, "{aside} were kept aside");
    assert!(folder.join("records.damaged").exists() && folder.join("records.damaged.9").exists());
    assert!(!folder.join("records.damaged.10").exists());
    fs::remove_dir_all(&folder).unwrap();
}

/// Every bit, every cut and every hole: one entry at most is lost by a bit, and nothing is made up.
#[test]
fn no_damage_costs_an_entry_that_is_whole() {
    let mut whole = b"sipliance records 1\n".to_vec();
    // Sizes of files behind each entry: what is in front of damage is there, and so is what is behind it.
    let entries: Vec<(Bytes, Bytes, std::ops::Range<usize>)> = (0..8)
        .map(|nth| {
            let (key, body) = (bytes(&format!("k{nth}")), Bytes::from(vec![0xA5, b'R', 1, 0xA5, nth]));
            let start = whole.len();
            file::append(&mut whole, &key, Some(&body));
            (key, body, start..whole.len())
        })
        .collect();
    let judge = |bad: &[u8], hit: std::ops::Range<usize>, how: &str| {
        // A file without anything in it that makes sense is none.
        let records = parse(bad).map(|contents| contents.records).unwrap_or_default();
        for (key, body, at) in &entries {
            let is_hit = at.start < hit.end && hit.start < at.end;
            let found = records.get(key);
            assert!(found == Some(body) || is_hit && found.is_none(), "{how}: {key:?} is {found:?}");
        }
        assert!(records.len() <= entries.len(), "{how}");
    };
    for bit in 0..whole.len() * 8 {
        let mut bad = whole.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        judge(&bad, bit / 8..bit / 8 + 1, &format!("bit {bit}"));
    }
    for at in 0..whole.len() {
        judge(&whole[..at], at..whole.len(), &format!("cut at {at}"));
        for length in [1, 16, 64] {
            let end = (at + length).min(whole.len());
            let mut bad = whole.clone();
            bad[at..end].fill(0);
            judge(&bad, at..end, &format!("{length} zeros at {at}"));
        }
        let mut bad = whole.clone();
        drop(bad.splice(at..at, [0xA5, b'R', 0]));
        judge(&bad, at.saturating_sub(1)..at + 1, &format!("something in between at {at}"));
    }
}

/// Somebody may watch with a body that reads like an entry: behind damage it is none all the same.
#[test]
fn what_somebody_sent_is_never_taken_for_an_entry() {
    let mut forged = Vec::new();
    file::append(&mut forged, b"s", Some(b"the owner's, they say"));
    let mut whole = b"sipliance records 1\n".to_vec();
    let start = whole.len();
    file::append(&mut whole, b"k", Some(&forged));
    whole[start] = 0;
    assert_eq!(parse(&whole).map(|contents| contents.records), Ok(Records::new()));
}

#[test]
fn a_file_of_another_version_is_kept_and_not_read() {
    let folder = folder("version");
    fs::create_dir_all(&folder).unwrap();
    for text in ["sipliance records 2\nxyz", "sipliance records 0\n", "something else"] {
        fs::write(folder.join("records"), text).unwrap();
        assert_eq!(load(&folder), Records::new());
        assert!(!folder.join("records").exists());
    }
    assert_eq!(fs::read(folder.join("records.damaged.2")).unwrap(), b"something else");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_file_does_not_grow_with_what_is_old() {
    let folder = folder("growth");
    let mut log = Log::new(&folder, Records::new());
    let body = Bytes::from(vec![b'x'; 1000]);
    for nth in 0..5000 {
        log.take(bytes(&format!("{}", nth % 10)), Some(body.clone()));
        log.write().unwrap();
    }
    let size = fs::metadata(folder.join("records")).unwrap().len();
    assert!(size < 320 * 1024, "{size}");
    assert_eq!(load(&folder).len(), 10);
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn only_the_gateway_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let (folder, _, _) = written("mode");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(folder.clone()), mode(folder.join("records"))), (0o700, 0o600));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_disk_is_asked_in_bursts_and_then_slowly() {
    let start = Instant::now();
    let mut pace = Pace::new(start);
    let asked = (0..600).filter(|nth| pace.take(start + Duration::from_millis(nth * 100))).count();
    assert_eq!(asked, BURST as usize + 11, "in a minute of changes");
    // After a rest there is a burst again, and no more.
    let later = start + Duration::from_secs(3600);
    assert_eq!((0..100).filter(|_| pace.take(later)).count(), BURST as usize);
}

#[tokio::test]
async fn what_the_disk_refuses_holds_nobody_up_and_is_written_later() {
    let folder = folder("refused");
    // A file where the folder should be: nothing can be written there.
    fs::write(&folder, "in the way").unwrap();
    let mut journal = Journal::start(&folder, Records::new()).unwrap();
    let first = journal.put(bytes("a"), Some(bytes("1")), false);
    journal.more_is_safe().await;
    assert!(journal.safe() >= first, "given up");
    fs::remove_file(&folder).unwrap();
    // The next one brings the first one along.
    journal.put(bytes("b"), Some(bytes("2")), false);
    journal.more_is_safe().await;
    journal.put(bytes("c"), Some(bytes("3")), true);
    journal.close().await;
    let expected = [("a", "1"), ("b", "2"), ("c", "3")].map(|(key, body)| (bytes(key), bytes(body)));
    assert_eq!(load(&folder), Records::from(expected));
    fs::remove_dir_all(&folder).unwrap();
}

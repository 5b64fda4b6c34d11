//! What a disk may do to documents.

use std::sync::Arc;

use super::*;
use crate::config::home::{Profiles, from_text};

const LISTS: &str =
    r#"<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="a"/></resource-lists>"#;

fn key(user: &str) -> Key {
    Key { kind: Kind::Lists, user: user.to_owned() }
}

fn body_of(user: &str, path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let (body, sealed) = sealed::open(&key(user), &bytes).unwrap();
    assert!(sealed);
    String::from_utf8(body.to_vec()).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sipliance-store-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn gateway() -> Gateway {
    let (config, _) = from_text(Path::new("home.yaml"), "format: 1\n", "", &Profiles::new());
    let now = crate::timer::Now { mono: std::time::Instant::now(), wall_ms: 0 };
    Gateway::new(Arc::new(config.unwrap()), [1; 32], now)
}

#[test]
fn a_file_is_whole_and_for_its_owner_alone() {
    let folder = folder("whole");
    write(&folder, &key("anna"), Some(b"one")).unwrap();
    write(&folder, &key("anna"), Some(b"two")).unwrap();
    let path = folder.join("resource-lists/anna.xml");
    assert_eq!(body_of("anna", &path), "two");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    for _ in 0..2 {
        write(&folder, &key("anna"), None).unwrap();
    }
    assert!(!path.exists());
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_kept_aside_and_the_others_are_read() {
    let local = tokio::task::LocalSet::new();
    let folder = folder("damaged");
    write(&folder, &key("anna"), Some(b"<resource-lists")).unwrap();
    write(&folder, &key("carla"), Some(&vec![b' '; DOCUMENT_BYTES + 1])).unwrap();
    write(&folder, &key("ben"), Some(LISTS.as_bytes())).unwrap();
    write(&folder, &key("gone"), Some(b"whatever")).unwrap();
    let mut gateway = gateway();
    local
        .run_until(async {
            Store::open(&folder).load(["anna", "ben", "carla"].into_iter(), &mut gateway);
        })
        .await;
    let lists = folder.join("resource-lists");
    assert!(fs::read_to_string(lists.join("anna.xml.damaged")).unwrap().ends_with("\n<resource-lists"));
    assert!(lists.join("carla.xml.damaged").exists() && !lists.join("anna.xml").exists());
    assert!(lists.join("ben.xml").exists());
    assert_eq!(body_of("gone", &lists.join("gone.xml")), "whatever", "nobody's is left alone");
    assert_eq!(gateway.kept_documents(), [key("ben")]);
    fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_switch_that_cannot_be_read_counts_as_pulled() {
    let local = tokio::task::LocalSet::new();
    let key = Key { kind: Kind::Isolated, user: "home".to_owned() };
    for too_long in [true, false] {
        let folder = folder("switch");
        if too_long {
            write(&folder, &key, Some(&vec![b' '; DOCUMENT_BYTES + 1])).unwrap();
        } else {
            // A folder of that name can be opened, and not read.
            fs::create_dir_all(path_of(&folder, &key)).unwrap();
        }
        let mut gateway = gateway();
        let users = gateway.users();
        local
            .run_until(async {
                Store::open(&folder).load(users.iter().map(String::as_str), &mut gateway);
            })
            .await;
        let kept = std::iter::from_fn(|| gateway.poll()).find_map(|output| match output {
            crate::gateway::Output::Keep { key: kept, body } if kept.kind == key.kind => body,
            _ => None,
        });
        assert_eq!(kept.as_deref(), Some(&b"all local\n"[..]), "too long: {too_long}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[tokio::test]
async fn what_the_disk_refuses_is_told_and_written_later() {
    let local = tokio::task::LocalSet::new();
    let folder = folder("refused");
    // A file where the folder should be: nothing can be written there.
    fs::write(&folder, "in the way").unwrap();
    local
        .run_until(async {
            let store = Store::open(&folder);
            assert_eq!(store.keep(key("anna"), Some(Bytes::from_static(b"one"))).await, Ok(false));
            fs::remove_file(&folder).unwrap();
            // The next one brings the first one along.
            assert_eq!(store.keep(key("ben"), Some(Bytes::from_static(b"two"))).await, Ok(true));
            store.close().await;
        })
        .await;
    assert_eq!(body_of("anna", &folder.join("resource-lists/anna.xml")), "one");
    fs::remove_dir_all(&folder).unwrap();
}

const RULES: &str = r#"<ruleset xmlns="urn:ietf:params:xml:ns:common-policy" xmlns:pr="urn:ietf:params:xml:ns:pres-rules"><rule id="a"><conditions><identity><one id="sip:ben@home.example"/></identity></conditions><actions><pr:sub-handling>allow</pr:sub-handling></actions></rule></ruleset>"#;

/// Whatever a bad card makes of a document, it is that document or it is none.
#[test]
fn no_damage_makes_another_document() {
    let documents = [
        (Kind::Lists, "anna", LISTS),
        (Kind::Rules, "anna", RULES),
        (Kind::Isolated, "home", "= plug local\n= lamp words\n"),
    ];
    for (kind, user, text) in documents {
        let (key, mut gateway) = (Key { kind, user: user.to_owned() }, gateway());
        let whole = sealed::seal(&key, text.as_bytes());
        assert_eq!(take(&key, whole.clone(), &mut gateway), Ok(None), "{kind:?}");
        let mut refuse = |bad: Vec<u8>, how: &str| {
            let taken = take(&key, bad, &mut gateway);
            assert!(taken.is_err(), "{kind:?} is believed with {how}");
        };
        for bit in 0..whole.len() * 8 {
            let mut bad = whole.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            refuse(bad, &format!("bit {bit} turned"));
        }
        for cut in 0..whole.len() {
            refuse(whole[..cut].to_vec(), &format!("{cut} bytes"));
            let zeroed = |range: std::ops::Range<usize>| {
                let mut bad = whole.clone();
                bad[range].fill(0);
                bad
            };
            refuse(zeroed(cut..whole.len()), &format!("nothing behind {cut}"));
            refuse(zeroed(0..cut + 1), &format!("nothing before {cut}"));
            refuse(zeroed(cut..whole.len().min(cut + 16)), &format!("a hole at {cut}"));
        }
        refuse([&whole[..], &[0]].concat(), "a byte more");
        assert_eq!(take(&key, whole, &mut gateway), Ok(None), "{kind:?}");
    }
}

#[test]
fn a_document_under_another_name_is_none() {
    let whole = sealed::seal(&key("anna"), LISTS.as_bytes());
    assert!(sealed::open(&key("ben"), &whole).is_err());
    assert!(sealed::open(&Key { kind: Kind::Rules, ..key("anna") }, &whole).is_err());
    let newer = String::from_utf8(whole).unwrap().replace("document 1", "document 2");
    assert!(sealed::open(&key("anna"), newer.as_bytes()).unwrap_err().contains("another version"));
}

#[tokio::test]
async fn a_document_of_before_is_read_and_written_anew() {
    let local = tokio::task::LocalSet::new();
    let folder = folder("before");
    let path = folder.join("resource-lists/anna.xml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, LISTS).unwrap();
    let mut gateway = gateway();
    local
        .run_until(async {
            let store = Store::open(&folder);
            store.load(["anna"].into_iter(), &mut gateway);
            store.close().await;
        })
        .await;
    assert_eq!(gateway.kept_documents(), [key("anna")]);
    assert_eq!(body_of("anna", &path), LISTS);
    fs::remove_dir_all(&folder).unwrap();
}

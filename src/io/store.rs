//! The folder of what people write: one file per document, whole or not there at all.
//!
//! A file is written beside its place, brought to the disk and renamed, by a thread that may wait for
//! the disk while the loop does not. Of several versions that wait only the newest is written. When the
//! disk takes nothing, the journal says so once, what is in memory counts, and the disk is tried again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::body::limits::DOCUMENT_BYTES;
use crate::gateway::{Gateway, Key, Kind};

/// How long after a failure the disk is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// How long the end of the process waits for the disk.
const FAREWELL: Duration = Duration::from_secs(3);
/// Damaged files of one document that are kept aside; the last one is overwritten then.
const DAMAGED: usize = 9;

/// The folder, and what has not reached it yet.
#[derive(Clone, Debug)]
pub struct Store(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    /// At most one entry for each document.
    waiting: RefCell<BTreeMap<Key, Waiting>>,
    news: Notify,
    settled: Notify,
    busy: Cell<bool>,
    failing: Cell<bool>,
}

#[derive(Debug, Default)]
struct Waiting {
    body: Option<Bytes>,
    who: Vec<oneshot::Sender<bool>>,
}

impl Store {
    /// Begins to write into `folder`, which is made when it is needed. To be called on the loop's thread.
    pub fn open(folder: &Path) -> Self {
        let store = Self(Rc::new(Inner {
            folder: folder.to_owned(),
            waiting: RefCell::default(),
            news: Notify::new(),
            settled: Notify::new(),
            busy: Cell::new(false),
            failing: Cell::new(false),
        }));
        tokio::task::spawn_local(store.clone().work());
        store
    }

    /// Hands the documents of `users` to the gateway. A file that cannot be read is told of, and one
    /// that makes no sense is moved aside; the others are read all the same.
    pub fn load<'a>(&self, users: impl Iterator<Item = &'a str>, gateway: &mut Gateway) {
        for user in users {
            for kind in Kind::ALL {
                let key = Key { kind, user: user.to_owned() };
                let path = path_of(&self.0.folder, &key);
                match read(&path) {
                    Ok(Some(body)) => {
                        if let Err(why) = gateway.restore(key, &body, super::run::now()) {
                            set_aside(&path, &why);
                        }
                    }
                    Ok(None) => {}
                    Err(why) => {
                        if why.kind() == io::ErrorKind::InvalidData {
                            set_aside(&path, &why.to_string());
                        } else {
                            tracing::error!("{} cannot be read: {why}; it counts as absent", path.display());
                        }
                        // What a switch says that is there and cannot be read, the gateway decides.
                        if kind == Kind::Isolated && gateway.restore(key, b"", super::run::now()).is_err() {
                            tracing::error!("what is isolated is not known: every appliance is");
                        }
                    }
                }
            }
        }
    }

    /// Has a document written, or with `None` removed. The answer says whether it is on the disk; when
    /// it is not, it will be tried again.
    pub fn keep(&self, key: Key, body: Option<Bytes>) -> oneshot::Receiver<bool> {
        let (tell, told) = oneshot::channel();
        let mut waiting = self.0.waiting.borrow_mut();
        let entry = waiting.entry(key).or_default();
        entry.body = body;
        entry.who.push(tell);
        self.0.news.notify_one();
        told
    }

    /// Waits until everything is on the disk, but not for ever.
    pub async fn close(&self) {
        let settled = async {
            while self.0.busy.get() || !self.0.waiting.borrow().is_empty() {
                self.0.settled.notified().await;
            }
        };
        if !self.0.failing.get() {
            let _ = tokio::time::timeout(FAREWELL, settled).await;
        }
    }

    async fn work(self) {
        loop {
            let next = self.0.waiting.borrow_mut().pop_first();
            let Some((key, waiting)) = next else {
                self.0.settled.notify_one();
                self.0.news.notified().await;
                continue;
            };
            self.0.busy.set(true);
            let (folder, body, of) = (self.0.folder.clone(), waiting.body.clone(), key.clone());
            let done = tokio::task::spawn_blocking(move || write(&folder, &of, body.as_deref())).await;
            self.0.busy.set(false);
            let result = done.unwrap_or_else(|why| Err(io::Error::other(why.to_string())));
            self.report(&key, &result);
            for who in waiting.who {
                // Whoever asked may be gone.
                let _ = who.send(result.is_ok());
            }
            if result.is_err() {
                // Unless a newer version has come meanwhile.
                self.0
                    .waiting
                    .borrow_mut()
                    .entry(key)
                    .or_insert(Waiting { body: waiting.body, who: Vec::new() });
                self.0.settled.notify_one();
                self.pause().await;
            }
        }
    }

    /// After a failure: until it is time to try again, or somebody waits for an answer.
    async fn pause(&self) {
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            () = self.0.news.notified() => {}
        }
    }

    /// Tells of the first failure and of its end.
    fn report(&self, key: &Key, result: &io::Result<()>) {
        let path = path_of(&self.0.folder, key);
        let path = path.display();
        match result {
            Err(why) if !self.0.failing.replace(true) => tracing::error!(
                "{path} cannot be written: {why}; what is in memory counts until the end, and the disk is tried again"
            ),
            Ok(()) if self.0.failing.replace(false) => {
                tracing::info!("{path} is written; the disk works again")
            }
            _ => {}
        }
    }
}

/// `FOLDER/pres-rules/anna.xml`; the names of users are safe as names of files.
fn path_of(folder: &Path, key: &Key) -> PathBuf {
    folder.join(key.kind.word()).join(format!("{}.xml", key.user))
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut body = Vec::new();
    file.take(DOCUMENT_BYTES as u64 + 1).read_to_end(&mut body)?;
    if body.len() > DOCUMENT_BYTES {
        let why = format!("it has more than {DOCUMENT_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(body))
}

/// Moves a damaged file out of the way, so that the next version does not overwrite what somebody may
/// want to repair.
fn set_aside(path: &Path, why: &str) {
    let name = |nth: usize| match nth {
        0 => path.with_extension("xml.damaged"),
        nth => path.with_extension(format!("xml.damaged.{nth}")),
    };
    let free = (0..DAMAGED).map(name).find(|aside| !aside.exists()).unwrap_or_else(|| name(DAMAGED));
    let path = path.display();
    match fs::rename(path.to_string(), &free) {
        Ok(()) => tracing::error!("{path} is damaged: {why}; it is kept as {}", free.display()),
        Err(error) => {
            tracing::error!(
                "{path} is damaged: {why}; it cannot be moved aside ({error}) and counts as absent"
            );
        }
    }
}

/// Brings a document to the disk: after an end of the process or of the power there is the old one or
/// the new one.
fn write(folder: &Path, key: &Key, body: Option<&[u8]>) -> io::Result<()> {
    let path = path_of(folder, key);
    let parent = folder.join(key.kind.word());
    let Some(body) = body else {
        return match fs::remove_file(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(why) => Err(why),
            Ok(()) => File::open(&parent)?.sync_all(),
        };
    };
    if !parent.is_dir() {
        DirBuilder::new().recursive(true).mode(0o700).create(&parent)?;
        // The name of a new folder must be on the disk, too.
        for above in [Some(folder), folder.parent()].into_iter().flatten() {
            File::open(if above.as_os_str().is_empty() { Path::new(".") } else { above })?.sync_all()?;
        }
    }
    let beside = parent.join(format!(".{}.tmp", key.user));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(body))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, &path));
    if let Err(why) = written {
        // What was begun would only take up room.
        let _ = fs::remove_file(&beside);
        return Err(why);
    }
    File::open(&parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::home::{Profiles, from_text};

    const LISTS: &str =
        r#"<resource-lists xmlns="urn:ietf:params:xml:ns:resource-lists"><list name="a"/></resource-lists>"#;

    fn key(user: &str) -> Key {
        Key { kind: Kind::Lists, user: user.to_owned() }
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
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
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
        assert_eq!(fs::read_to_string(lists.join("anna.xml.damaged")).unwrap(), "<resource-lists");
        assert!(lists.join("carla.xml.damaged").exists() && !lists.join("anna.xml").exists());
        assert!(lists.join("ben.xml").exists());
        assert_eq!(fs::read_to_string(lists.join("gone.xml")).unwrap(), "whatever", "nobody's is left alone");
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
        assert_eq!(fs::read_to_string(folder.join("resource-lists/anna.xml")).unwrap(), "one");
        fs::remove_dir_all(&folder).unwrap();
    }
}

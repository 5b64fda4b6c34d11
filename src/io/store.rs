//! The folder of what people write: one file per document, whole or not there at all ([`sealed`]).
//!
//! A file is written beside its place, brought to the disk and renamed, by a thread that may wait for
//! the disk while the loop does not. Of several versions that wait only the newest is written. When the
//! disk takes nothing, the journal says so once, what is in memory counts, and the disk is tried again.

mod sealed;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use crate::body::limits::DOCUMENT_BYTES;
use crate::gateway::{Gateway, Key, Kind};

/// How long after a failure the disk is tried again.
const RETRY: Duration = Duration::from_secs(30);
/// How long the end of the process waits for the disk.
const FAREWELL: Duration = Duration::from_secs(3);
/// How long the disk may take before the status says so.
const SLOW: Duration = Duration::from_secs(2);
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
    /// Why nothing can be written now.
    trouble: RefCell<Option<String>>,
    /// Since when the disk has been writing what it was last given.
    since: Cell<Option<Instant>>,
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
            trouble: RefCell::default(),
            since: Cell::new(None),
        }));
        tokio::task::spawn_local(store.clone().work());
        store
    }

    /// Hands the documents of `users` to the gateway. One that cannot be read or makes no sense is moved
    /// aside and told of; the others are read all the same. One of an earlier form is written anew.
    pub fn load<'a>(&self, users: impl Iterator<Item = &'a str>, gateway: &mut Gateway) {
        for user in users {
            for kind in Kind::ALL {
                let key = Key { kind, user: user.to_owned() };
                let path = path_of(&self.0.folder, &key);
                match read(&path) {
                    Ok(Some(bytes)) => match take(&key, bytes, gateway) {
                        Ok(None) => {}
                        // Nobody waits for it.
                        Ok(Some(body)) => drop(self.keep(key, Some(body))),
                        Err(why) => set_aside(&path, &key, &why),
                    },
                    Ok(None) => {}
                    Err(why) => {
                        set_aside(&path, &key, &why.to_string());
                        without(&key, gateway);
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
        if self.0.trouble.borrow().is_none() {
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
            self.0.since.set(Some(Instant::now()));
            let (folder, body, of) = (self.0.folder.clone(), waiting.body.clone(), key.clone());
            let done = tokio::task::spawn_blocking(move || write(&folder, &of, body.as_deref())).await;
            self.0.busy.set(false);
            self.0.since.set(None);
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
        let words = result.as_ref().err().map(|why| {
            format!("{path} cannot be written: {why}; what is in memory counts until the end, and the disk is tried again")
        });
        match (&words, self.0.trouble.replace(words.clone())) {
            (Some(words), None) => tracing::error!("{words}"),
            (None, Some(_)) => tracing::info!("{path} is written; the disk works again"),
            _ => {}
        }
    }

    /// Why nothing can be written now, or how long the disk has been about it.
    pub fn trouble(&self) -> Option<String> {
        let slow = self.0.since.get().map(|since| since.elapsed()).filter(|slow| *slow >= SLOW);
        let slow = slow.map(|slow| {
            let folder = self.0.folder.display();
            format!("{folder}: the disk has taken {} s over a document so far", slow.as_secs())
        });
        slow.or_else(|| self.0.trouble.borrow().clone())
    }
}

/// `FOLDER/pres-rules/anna.xml`; the names of users are safe as names of files.
fn path_of(folder: &Path, key: &Key) -> PathBuf {
    folder.join(key.kind.word()).join(format!("{}.xml", key.user))
}

/// Has the gateway believe a document. The body, where it has to be written anew.
fn take(key: &Key, bytes: Vec<u8>, gateway: &mut Gateway) -> Result<Option<Bytes>, String> {
    match sealed::open(key, &bytes) {
        Ok((body, sealed)) => {
            gateway.restore(key.clone(), body, super::run::now())?;
            Ok((!sealed).then(|| Bytes::copy_from_slice(body)))
        }
        Err(why) => {
            without(key, gateway);
            Err(why)
        }
    }
}

/// What a switch says that is there and cannot be read, the gateway decides; all else counts as absent.
fn without(key: &Key, gateway: &mut Gateway) {
    if key.kind == Kind::Isolated {
        // It is told of already.
        let _ = gateway.restore(key.clone(), b"", super::run::now());
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let (mut bytes, most) = (Vec::new(), DOCUMENT_BYTES + sealed::HEAD_BYTES);
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let why = format!("it has more than {DOCUMENT_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    Ok(Some(bytes))
}

/// Moves a damaged file out of the way, so that the next version does not overwrite what somebody may
/// want to repair, and says what is lost with it.
fn set_aside(path: &Path, key: &Key, why: &str) {
    let name = |nth: usize| match nth {
        0 => path.with_extension("xml.damaged"),
        nth => path.with_extension(format!("xml.damaged.{nth}")),
    };
    let free = (0..DAMAGED).map(name).find(|aside| !aside.exists()).unwrap_or_else(|| name(DAMAGED));
    let (user, place) = (&key.user, path.display());
    let lost = match key.kind {
        Kind::Rules => {
            format!("what {user} decided about watchers does not count, and they have to ask again")
        }
        Kind::Lists => format!("{user} has no lists until they are written anew"),
        Kind::Isolated => {
            "what is isolated is not known: every appliance is, until `sipliance release`".to_owned()
        }
    };
    match fs::rename(path, &free) {
        Ok(()) => tracing::error!(
            "{place} is damaged: {why}; it is kept as {}; {lost}. To repair it, stop the gateway, take out a first line that begins with `sipliance`, and rename it back",
            free.display()
        ),
        Err(error) => {
            tracing::error!("{place} is damaged: {why}; it cannot be moved aside ({error}); {lost}");
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
    }
    let beside = parent.join(format!(".{}.tmp", key.user));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let written = file
        .set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(&sealed::seal(key, body)))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, &path));
    if let Err(why) = written {
        // What was begun would only take up room.
        let _ = fs::remove_file(&beside);
        return Err(why);
    }
    File::open(&parent)?.sync_all()?;
    sync_names(folder)
}

/// Brings the names of a folder and of what is in it to the disk. Not only when it is made: an attempt that
/// failed behind that may be why it is there already.
pub(super) fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()?;
    let above =
        folder.parent().map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    match above.map(File::open) {
        Some(Ok(above)) => above.sync_all(),
        // Whoever made a folder where we may not look has seen to its name.
        Some(Err(why)) if why.kind() != io::ErrorKind::PermissionDenied => Err(why),
        _ => Ok(()),
    }
}

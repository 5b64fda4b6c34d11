//! The audit file: one JSON line per step of a command, kept small. A thread writes it, since a worn card
//! may take seconds over what must be on it before anything sensitive moves.
//!
//! A file that cannot be written is opened anew for every line, so that it goes on when the disk is
//! there again. No line ever begins behind half of another.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

/// The file begins anew at this size; the one before it is kept under `.1`.
const MOST: u64 = 4 * 1024 * 1024;
/// Lines that wait for the disk. One more is in the journal alone, and what waits for it is refused.
const LINES: usize = 1024;
/// How long the end of the process waits for the disk.
const FAREWELL: Duration = Duration::from_secs(3);

/// How much of what is on record is read at a start, in bytes.
const TAIL: u64 = 256 * 1024;

/// The last lines of the file, the newest first; none where it cannot be read.
pub fn tail(path: &Path) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = read().unwrap_or_default();
    text.split(|byte| *byte == b'\n').rev().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// The way to the thread that writes.
#[derive(Debug)]
pub struct Audit {
    lines: mpsc::Sender<Line>,
    ended: oneshot::Receiver<()>,
    trouble: watch::Receiver<Option<String>>,
}

#[derive(Debug)]
struct Line {
    text: String,
    durable: bool,
    /// Hears whether it was written.
    kept: oneshot::Sender<bool>,
}

impl Audit {
    /// Begins to write to `path`. That it can be opened is no condition: what cannot be recorded is told,
    /// and so long as that lasts nothing sensitive is done.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (lines, mut queue) = mpsc::channel::<Line>(LINES);
        let (tell_end, ended) = oneshot::channel();
        let (tell_trouble, trouble) = watch::channel(None);
        let mut record = Record::new(path);
        std::thread::Builder::new().name("audit".into()).spawn(move || {
            report(&tell_trouble, record.begin());
            while let Some(line) = queue.blocking_recv() {
                let result = record.add(&line.text, line.durable);
                let done = result.is_ok();
                report(&tell_trouble, result.map_err(|why| record.words(&why)));
                // Whoever waited may have gone on.
                let _ = line.kept.send(done);
            }
            let _ = tell_end.send(());
        })?;
        Ok(Self { lines, ended, trouble })
    }

    /// Why nothing can be written now.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Adds a line. The answer says whether it is in the file, and with `durable` on the disk.
    pub fn write(&self, text: &str, durable: bool) -> oneshot::Receiver<bool> {
        let (kept, answer) = oneshot::channel();
        // Where there is no room the line goes, and its sender with it: whoever waits finds it gone.
        if self.lines.try_send(Line { text: text.to_owned(), durable, kept }).is_err() {
            tracing::error!("the audit file is too slow: a line is in the journal alone");
        }
        answer
    }

    /// Waits until everything is written, but not for ever.
    pub async fn close(self) {
        drop(self.lines);
        let _ = tokio::time::timeout(FAREWELL, self.ended).await;
    }
}

/// Tells of the first failure and of its end.
fn report(trouble: &watch::Sender<Option<String>>, result: Result<(), String>) {
    let words = result.err().map(|why| format!("{why}; nothing sensitive is done until it can be written"));
    match (&words, trouble.send_replace(words.clone())) {
        (Some(words), None) => tracing::error!("{words}"),
        (None, Some(_)) => tracing::info!("the audit file is written again"),
        _ => {}
    }
}

/// The file.
#[derive(Debug)]
struct Record {
    path: PathBuf,
    /// Open, with its size and inode. `None` after a failure.
    file: Option<Opened>,
}

#[derive(Debug)]
struct Opened {
    file: File,
    size: u64,
    inode: u64,
}

impl Record {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None }
    }

    /// Opens the file for its owner alone, or makes it.
    fn begin(&mut self) -> Result<(), String> {
        let opened = self.opened().map(drop);
        opened.map_err(|why| self.words(&why))
    }

    fn words(&self, why: &io::Error) -> String {
        format!("the audit file {} cannot be written: {why}", self.path.display())
    }

    /// Adds a line; with `durable` it is on the disk when this returns.
    fn add(&mut self, line: &str, durable: bool) -> io::Result<()> {
        let result = self.append(line, durable);
        if result.is_err() {
            self.file = None;
        }
        result
    }

    fn append(&mut self, line: &str, durable: bool) -> io::Result<()> {
        if self.file.as_ref().is_some_and(|open| open.size >= MOST) {
            self.file = None;
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
        }
        let open = self.opened()?;
        let whole = format!("{line}\n");
        if let Err(why) = open.file.write_all(whole.as_bytes()) {
            // Half a line would spoil the next one, and take up room.
            let _ = open.file.set_len(open.size);
            return Err(why);
        }
        open.size += whole.len() as u64;
        if durable { open.file.sync_data() } else { Ok(()) }
    }

    /// The file that has this name now, which somebody may have moved away, at the begin of a line.
    fn opened(&mut self) -> io::Result<&mut Opened> {
        let there = std::fs::metadata(&self.path).map(|data| data.ino()).ok();
        let open = match self.file.take() {
            Some(open) if there == Some(open.inode) => open,
            _ => open(&self.path, there.is_none())?,
        };
        Ok(self.file.insert(open))
    }
}

fn open(path: &Path, new: bool) -> io::Result<Opened> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    if new {
        // Its name must be on the disk, too.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    let data = file.metadata()?;
    let mut size = data.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.seek(SeekFrom::Start(size - 1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        // The power went in the middle of a line.
        file.write_all(b"\n")?;
        size += 1;
    }
    Ok(Opened { file, size, inode: data.ino() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("sipliance-audit-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_kept_and_the_file_stays_small() {
        let folder = folder("small");
        let path = folder.join("audit.jsonl");
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut record = Record::new(&path);
        record.add("one", true).unwrap();
        assert_eq!(text(&path), "old\none\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        record.file.as_mut().unwrap().size = MOST;
        record.add("two", false).unwrap();
        assert_eq!(text(&path), "two\n");
        assert_eq!(text(&folder.join("audit.jsonl.1")), "old\none\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn half_a_line_of_an_earlier_run_spoils_no_other() {
        let folder = folder("torn");
        let path = folder.join("audit.jsonl");
        std::fs::write(&path, "{\"one\":1}\n{\"tw").unwrap();
        Record::new(&path).add("{\"three\":3}", true).unwrap();
        assert_eq!(text(&path), "{\"one\":1}\n{\"tw\n{\"three\":3}\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn the_tail_is_read_from_its_end() {
        let folder = folder("tail");
        let path = folder.join("audit.jsonl");
        assert!(tail(&path).is_empty() || tail(&path) == [""]);
        std::fs::write(&path, [b"x".repeat(300_000).as_slice(), b"\none\n\xff\ntwo\nha"].concat()).unwrap();
        assert_eq!(tail(&path)[..4], ["ha", "two", "\u{fffd}", "one"]);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let Ok(full) = OpenOptions::new().append(true).open("/dev/full") else { return };
        let folder = folder("full");
        let path = folder.join("audit.jsonl");
        let mut record = Record::new(&path);
        record.add("one", true).unwrap();
        let good = std::mem::replace(&mut record.file.as_mut().unwrap().file, full);
        assert!(record.add("two", true).is_err());
        drop(good);
        record.add("three", true).unwrap();
        assert_eq!(text(&path), "one\nthree\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn it_goes_on_when_its_folder_is_there_and_when_somebody_moved_it_away() {
        let folder = folder("moved");
        let path = folder.join("later/audit.jsonl");
        let mut record = Record::new(&path);
        assert!(record.begin().unwrap_err().contains("later/audit.jsonl"));
        assert!(record.add("lost", true).is_err());
        std::fs::create_dir(folder.join("later")).unwrap();
        record.add("one", true).unwrap();
        std::fs::rename(&path, folder.join("old")).unwrap();
        record.add("two", false).unwrap();
        assert_eq!((text(&folder.join("old")).as_str(), text(&path).as_str()), ("one\n", "two\n"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_hears_whether_the_line_is_on_the_disk() {
        let folder = folder("thread");
        let path = folder.join("later/audit.jsonl");
        let audit = Audit::open(&path).unwrap();
        assert_eq!(audit.write("lost", true).await, Ok(false));
        std::fs::create_dir(folder.join("later")).unwrap();
        assert_eq!(audit.write("one", true).await, Ok(true));
        drop(audit.write("two", false));
        audit.close().await;
        assert_eq!(text(&path), "one\ntwo\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

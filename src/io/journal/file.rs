//! The file of the record: how it looks, how it is read when it is not whole, and how it is written.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, Bytes};
use crc::{CRC_32_ISO_HDLC, Crc};

use super::Records;
use crate::io::store::sync_names;

/// How the file begins; the number is that of its form. What counts are the marks: they change with it.
const HEAD: &[u8] = b"sipliance records 1\n";
/// How each entry begins, and nothing else does: within one, [`STUFF`] follows the first of these bytes. So
/// the place where the next one begins is found behind damage, and nobody can send what passes for one.
const MARK: [u8; 2] = [0xA5, b'R'];
const STUFF: u8 = 0;
/// Mark, whether there is a body, length of the key, length of key and body as they stand there, checksum.
const FRAME: usize = 2 + 1 + 1 + 4 + 4;
const CHECK: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Old bytes that are worth no new file.
const SLACK: usize = 256 * 1024;
/// Longest file that is read.
const LONGEST: u64 = 256 * 1024 * 1024;
/// Damaged files that are kept aside; the last one is overwritten then.
const DAMAGED: usize = 9;

/// What a file says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Contents {
    pub records: Records,
    /// Bytes that make no sense with entries behind them: something was damaged.
    pub damaged: usize,
    /// Bytes at the end that make no sense: the process or the power ended while they were written.
    pub torn: usize,
}

fn path_in(folder: &Path) -> PathBuf {
    folder.join("records")
}

/// Reads the record in `folder`. What is damaged is moved aside and told of; what is whole of it counts.
pub fn load(folder: &Path) -> Records {
    let path = path_in(folder);
    let place = path.display();
    let bytes = match read(&path) {
        Ok(None) => return Records::new(),
        Ok(Some(bytes)) => bytes,
        Err(why) => {
            set_aside(&path, &why.to_string(), 0);
            return Records::new();
        }
    };
    match parse(&bytes) {
        Err(why) => {
            set_aside(&path, why, 0);
            Records::new()
        }
        Ok(contents) => {
            if contents.damaged > 0 {
                let why = format!("{} bytes of it make no sense", contents.damaged);
                set_aside(&path, &why, contents.records.len());
            } else if contents.torn > 0 {
                tracing::info!("{place} ends in the middle of an entry, which counts as not written");
            }
            contents.records
        }
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > LONGEST {
        true => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {LONGEST} bytes"))),
        false => Ok(Some(bytes)),
    }
}

/// Takes a file apart. An entry that is damaged costs no other one.
pub(super) fn parse(bytes: &[u8]) -> Result<Contents, &'static str> {
    let mut rest = bytes.strip_prefix(HEAD).unwrap_or(if HEAD.starts_with(bytes) { b"" } else { bytes });
    let mut contents = Contents::default();
    let (mut bad, mut entries) = (0, 0);
    while !rest.is_empty() {
        match entry(rest) {
            Some((key, body, length)) => {
                contents.damaged += std::mem::take(&mut bad);
                entries += 1;
                match body {
                    Some(body) => drop(contents.records.insert(key, body)),
                    None => drop(contents.records.remove(&key)),
                }
                rest = rest.get(length..).unwrap_or_default();
            }
            None => {
                // To the next place where one may begin.
                let next = rest.get(1..).unwrap_or_default();
                let skipped = memchr::memmem::find(next, &MARK).unwrap_or(next.len());
                bad += 1 + skipped;
                rest = next.get(skipped..).unwrap_or_default();
            }
        }
    }
    contents.torn = bad;
    match bytes.starts_with(HEAD) || HEAD.starts_with(bytes) || entries > 0 {
        true => Ok(contents),
        false if bytes.starts_with(b"sipliance records ") => Err("another version of the program wrote it"),
        false => Err("it does not begin as it should"),
    }
}

/// The entry at the beginning of `bytes`: key, body, and how long it is.
fn entry(bytes: &[u8]) -> Option<(Bytes, Option<Bytes>, usize)> {
    let head = bytes.get(..FRAME)?.strip_prefix(&MARK)?;
    let (&[kind, key], rest) = head.split_first_chunk::<2>()?;
    let (length, sum) = rest.split_first_chunk::<4>()?;
    let sum = u32::from_be_bytes(*sum.first_chunk()?);
    let (key, payload) = (usize::from(key), usize::try_from(u32::from_be_bytes(*length)).ok()?);
    let end = FRAME.checked_add(payload)?;
    let payload = Bytes::from(unstuff(bytes.get(FRAME..end)?)?);
    (key <= payload.len() && kind <= 1).then_some(())?;
    let (key, body) = (payload.slice(..key), payload.slice(key..));
    let right = checksum(kind, &key, &body) == sum && (kind == 1 || body.is_empty());
    right.then(|| (key, (kind == 1).then_some(body), end))
}

/// With [`STUFF`] behind each byte that a mark could begin with.
fn stuff(to: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        to.push(*byte);
        if *byte == MARK[0] {
            to.push(STUFF);
        }
    }
}

fn unstuff(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        plain.push(*byte);
        if *byte == MARK[0] && rest.next() != Some(&STUFF) {
            return None;
        }
    }
    Some(plain)
}

fn checksum(kind: u8, key: &[u8], body: &[u8]) -> u32 {
    let mut digest = CHECK.digest();
    digest.update(&[kind]);
    digest.update(&(key.len() as u64).to_be_bytes());
    digest.update(&(body.len() as u64).to_be_bytes());
    digest.update(key);
    digest.update(body);
    digest.finalize()
}

pub(super) fn append(to: &mut Vec<u8>, key: &[u8], body: Option<&[u8]>) {
    let (kind, bytes) = (u8::from(body.is_some()), body.unwrap_or_default());
    let mut payload = Vec::with_capacity(key.len() + bytes.len());
    stuff(&mut payload, key);
    stuff(&mut payload, bytes);
    // Keys are short, and bodies are messages: both lengths fit.
    let (Ok(short), Ok(length)) = (u8::try_from(key.len()), u32::try_from(payload.len())) else { return };
    to.put_slice(&MARK);
    to.put_u8(kind);
    to.put_u8(short);
    to.put_u32(length);
    to.put_u32(checksum(kind, key, bytes));
    to.put_slice(&payload);
}

/// Moves a damaged file out of the way: what it said may help somebody who looks.
fn set_aside(path: &Path, why: &str, saved: usize) {
    let name = |nth: usize| match nth {
        0 => path.with_extension("damaged"),
        nth => path.with_extension(format!("damaged.{nth}")),
    };
    let free = (0..DAMAGED).map(name).find(|aside| !aside.exists()).unwrap_or_else(|| name(DAMAGED));
    let place = path.display();
    match fs::rename(path, &free) {
        Ok(()) => tracing::error!(
            "{place} is damaged: {why}; it is kept as {}, and {saved} entries of it count",
            free.display()
        ),
        Err(error) => tracing::error!(
            "{place} is damaged: {why}; it cannot be moved aside ({error}), and {saved} entries of it count"
        ),
    }
}

/// What is on record, and how much of it is in the file.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    live: BTreeMap<Bytes, Bytes>,
    /// Bytes of `live` in the file.
    size: usize,
    /// `None`: the file must be written anew.
    file: Option<File>,
    /// The how many-th file of this run it is.
    nth: u64,
    length: usize,
    unwritten: Vec<u8>,
}

impl Log {
    pub fn new(folder: &Path, live: Records) -> Self {
        let size = live.iter().map(|(key, body)| FRAME + key.len() + body.len()).sum();
        Self { path: path_in(folder), live, size, file: None, nth: 0, length: 0, unwritten: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that are on record.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Takes an entry, to be written with [`Log::write`].
    pub fn take(&mut self, key: Bytes, body: Option<Bytes>) {
        let sized = |body: &Bytes| FRAME + key.len() + body.len();
        let before = self.live.get(&key).map_or(0, sized);
        if before == 0 && body.is_none() {
            return;
        }
        append(&mut self.unwritten, &key, body.as_deref());
        self.size = self.size + body.as_ref().map_or(0, sized) - before;
        match body {
            Some(body) => drop(self.live.insert(key, body)),
            None => drop(self.live.remove(&key)),
        }
    }

    /// Hands what was taken to the system; all of it anew when most of the file is old, or something
    /// failed before.
    pub fn write(&mut self) -> io::Result<()> {
        if self.file.is_none() || self.length + self.unwritten.len() > 2 * self.size + SLACK {
            return self.rewrite();
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let written = file.write_all(&self.unwritten);
        match written {
            Ok(()) => self.length += std::mem::take(&mut self.unwritten).len(),
            // Perhaps a part of an entry stands there.
            Err(_) => self.file = None,
        }
        written
    }

    /// Brings what was written to the disk.
    pub fn sync(&mut self) -> io::Result<()> {
        let synced = self.file.as_ref().map_or(Ok(()), File::sync_data);
        if synced.is_err() {
            // What the system has of it is not known (it forgets what it could not write).
            self.file = None;
        }
        synced
    }

    /// The file, for another thread that asks the disk to keep it, and the how many-th it is.
    pub fn file(&self) -> io::Result<(File, u64)> {
        let file = self.file.as_ref().ok_or_else(|| io::Error::other("there is no file"))?;
        Ok((file.try_clone()?, self.nth))
    }

    /// The disk did not keep that file; whether it is still the one.
    pub fn fail(&mut self, nth: u64) -> bool {
        let still = self.nth == nth;
        if still {
            // What the system has of it is not known (it forgets what it could not write).
            self.file = None;
        }
        still
    }

    /// Writes the file anew: after an end of the process or of the power there is the old one or this one.
    pub fn rewrite(&mut self) -> io::Result<()> {
        self.file = None;
        // What waits is in `live`, too.
        self.unwritten.clear();
        let folder = self.path.parent().map(Path::to_owned).unwrap_or_default();
        if !folder.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        }
        let mut bytes = HEAD.to_vec();
        self.live.iter().for_each(|(key, body)| append(&mut bytes, key, Some(body)));
        let beside = folder.join(".records.tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let written = file
            .set_permissions(fs::Permissions::from_mode(0o600))
            .and_then(|()| file.write_all(&bytes))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&beside, &self.path));
        if let Err(why) = written {
            // What was begun would only take up room.
            let _ = fs::remove_file(&beside);
            return Err(why);
        }
        sync_names(&folder)?;
        (self.file, self.length) = (Some(file), bytes.len());
        self.nth += 1;
        Ok(())
    }
}

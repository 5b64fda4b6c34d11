//! The audit file: one JSON line per step of a command, kept small, and on the disk before anything
//! sensitive moves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file begins anew at this size; the one before it is kept under `.1`.
const MOST: u64 = 4 * 1024 * 1024;

/// An open audit file.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    file: File,
    size: u64,
}

impl Audit {
    /// Opens the file for its owner alone, or makes it.
    ///
    /// # Errors
    /// When it can be neither.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// Adds a line; with `durable` it is on the disk when this returns.
    ///
    /// # Errors
    /// When it could not be written, whole or safely.
    pub fn write(&mut self, line: &str, durable: bool) -> io::Result<()> {
        if self.size >= MOST {
            self.rotate()?;
        }
        let whole = format!("{line}\n");
        self.file.write_all(whole.as_bytes())?;
        self.size += whole.len() as u64;
        if durable { self.file.sync_data() } else { Ok(()) }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mut old = self.path.clone().into_os_string();
        old.push(".1");
        std::fs::rename(&self.path, old)?;
        *self = Self::open(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_kept_and_the_file_stays_small() {
        let folder = std::env::temp_dir().join(format!("sipliance-audit-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("audit.jsonl");
        std::fs::write(&path, "old\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let mut audit = Audit::open(&path).unwrap();
        audit.write("one", true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old\none\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        audit.size = MOST;
        audit.write("two", false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::read_to_string(folder.join("audit.jsonl.1")).unwrap(), "old\none\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_is_an_error() {
        let Ok(mut audit) = Audit::open(Path::new("/dev/full")) else { return };
        assert!(audit.write("one", true).is_err());
    }
}

//! The key of an edge's tokens: 64 hex digits in a file of its own, made at the first start.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::config::home::open_key_text;

/// Reads the key, or makes one where there is no file.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn open(path: &Path) -> Result<[u8; 32], String> {
    if !path.exists() {
        make(path).map_err(|why| format!("{} cannot be made: {why}", path.display()))?;
    }
    read(path)
}

/// What is wrong with a file that is there.
pub fn path_fault(path: &Path) -> Option<String> {
    if path.exists() { read(path).err() } else { None }
}

fn read(path: &Path) -> Result<[u8; 32], String> {
    let name = path.display();
    let (text, exposed) = open_key_text(path).map_err(|why| format!("{name}: {why}"))?;
    if let Some(mode) = exposed {
        return Err(format!("{name} can be read by others (mode {mode:o}): chmod 600 {name}"));
    }
    let digits = text.trim().as_bytes();
    let pairs = digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Option<Vec<u8>> = pairs.collect();
    bytes.filter(|_| digits.len() == 64).and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        format!("{name} holds no key of 64 hex digits; remove it, and the next start makes one: dialogs through this edge end")
    })
}

/// Under its name only when it is whole, and for nobody else to read.
fn make(path: &Path) -> std::io::Result<()> {
    let key: [u8; 32] = rand::random();
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let beside = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(format!("{text}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    // Its name must be on the disk, too.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    std::fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_belongs_to_nobody_else() {
        let folder = std::env::temp_dir().join(format!("sipliance-edge-key-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("edge.key");
        assert_eq!(path_fault(&path), None);
        let key = open(&path).unwrap();
        assert_eq!(open(&path).unwrap(), key);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(&path).unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "0102\n").unwrap();
        assert!(path_fault(&path).unwrap().contains("64 hex digits"));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

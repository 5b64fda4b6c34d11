//! The control socket: `sipliance status` asks, the loop answers. Local, for those who may open it.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::gateway::{Gateway, Status};
use crate::timer::Now;

/// A question, and where its answer goes.
#[derive(Debug)]
pub struct Question(oneshot::Sender<Status>);

/// Questions that wait for the loop; askers wait when it is full.
pub const QUESTIONS: usize = 8;

/// Where the socket is: in the folder that the service manager made, else in the user's own.
pub fn default_path() -> Option<PathBuf> {
    let folder = std::env::var_os("RUNTIME_DIRECTORY")
        .or_else(|| std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !Path::new("/run/sipliance").is_dir()));
    match folder {
        Some(folder) => Some(Path::new(&folder).join("sipliance.sock")),
        None => Path::new("/run/sipliance").is_dir().then(|| PathBuf::from("/run/sipliance/sipliance.sock")),
    }
}

/// Answers one question.
pub fn answer(question: Question, gateway: &Gateway, now: Now) {
    let _ = question.0.send(gateway.status(now));
}

/// Makes room for the socket: one that an earlier run left behind is removed; anything else that
/// bears the name is somebody's file.
fn forget_old(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::FileTypeExt as _;
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        Ok(_) => Err(io::Error::other("there is a file of that name, and it is no socket")),
        Err(_) => Ok(()),
    }
}

/// Serves the socket until the loop is gone: whoever connects gets the status as one line of JSON.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(path: &Path, questions: mpsc::Sender<Question>) -> io::Result<()> {
    forget_old(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (tx, rx) = oneshot::channel();
            if questions.send(Question(tx)).await.is_err() {
                return;
            }
            let Ok(status) = rx.await else { return };
            let Ok(mut text) = serde_json::to_vec(&status) else { continue };
            text.push(b'\n');
            let _ = tokio::time::timeout(std::time::Duration::from_secs(2), stream.write_all(&text)).await;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_old_socket_makes_room() {
        let folder = std::env::temp_dir().join(format!("sipliance-control-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("home.yaml");
        std::fs::write(&path, "format: 1").unwrap();
        assert!(forget_old(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "format: 1");
        let path = folder.join("old.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        forget_old(&path).unwrap();
        assert!(!path.exists());
        forget_old(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

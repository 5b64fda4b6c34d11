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

/// Serves the socket until the loop is gone: whoever connects gets the status as one line of JSON.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(path: &Path, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
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

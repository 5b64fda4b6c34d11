//! The control socket: `sipliance status`, `reload`, `isolate` and `release` ask with one line, the loop answers
//! with one of JSON. Local, for those who may open it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use crate::gateway::Gateway;
use crate::timer::Now;

/// A question, and where its answer goes.
#[derive(Debug)]
pub struct Question {
    ask: Ask,
    answer: oneshot::Sender<serde_json::Value>,
}

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
enum Ask {
    /// How everything stands.
    Status,
    /// Cut off, or join again: one appliance, or with `None` every one.
    Isolate(Option<String>, bool),
    /// Read the configuration again.
    Reload,
}

impl Ask {
    /// Reads `status`, `reload`, `isolate plug`, `release plug`, `isolate *`. Nothing asks for the status.
    fn read(line: &str) -> Option<Self> {
        let (verb, what) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let id = (what != "*").then(|| what.to_owned());
        match (verb, what) {
            ("" | "status", "") => Some(Self::Status),
            ("reload", "") => Some(Self::Reload),
            ("isolate" | "release", "") => None,
            ("isolate", _) => Some(Self::Isolate(id, true)),
            ("release", _) => Some(Self::Isolate(id, false)),
            _ => None,
        }
    }
}

/// Longest line of a question in bytes, and how long it may take to come; then it is none.
const LINE: u64 = 256;
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Answers one question at an edge, which has no appliances.
pub fn answer_edge(question: Question, status: impl FnOnce() -> serde_json::Value) {
    let answer = match question.ask {
        Ask::Status => status(),
        _ => serde_json::json!({"error": "an edge answers its status alone: SIGHUP has it read its file"}),
    };
    let _ = question.answer.send(answer);
}

impl Question {
    /// Whether it wants the configuration read again, which is the shell's to answer.
    pub fn is_reload(&self) -> bool {
        self.ask == Ask::Reload
    }

    /// Says what became of that.
    pub fn reloaded(self, outcome: Result<String, String>) {
        self.say(spoken(outcome));
    }

    fn say(self, answer: serde_json::Value) {
        // Whoever asked may be gone.
        let _ = self.answer.send(answer);
    }
}

/// Answers one question; `disk` is what is wrong with that.
pub fn answer(question: Question, gateway: &mut Gateway, disk: Vec<String>, now: Now) {
    let answer = match &question.ask {
        Ask::Status => {
            let mut status = serde_json::to_value(gateway.status(now)).unwrap_or_default();
            if let Some(map) = status.as_object_mut() {
                map.insert("disk".to_owned(), disk.into());
            }
            status
        }
        Ask::Isolate(id, isolated) => spoken(gateway.isolate(id.as_deref(), *isolated, now)),
        Ask::Reload => spoken(Err("only the loop can read the configuration again".to_owned())),
    };
    question.say(answer);
}

fn spoken(outcome: Result<String, String>) -> serde_json::Value {
    match outcome {
        Ok(words) => serde_json::json!({"ok": words}),
        Err(why) => serde_json::json!({"error": why}),
    }
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

/// Serves the socket until the loop is gone: each line gets one line of JSON.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(path: &Path, questions: mpsc::Sender<Question>) -> io::Result<()> {
    forget_old(path)?;
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    tokio::task::spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut line = String::new();
            let mut reader = BufReader::new(&mut stream).take(LINE);
            let read = tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await;
            // Who says nothing wants the status; what was cut short is no question.
            let whole = line.ends_with('\n') || line.is_empty();
            let Some(ask) = Ask::read(&line).filter(|_| whole && !matches!(read, Ok(Err(_)))) else {
                continue;
            };
            let (answer, rx) = oneshot::channel();
            if questions.send(Question { ask, answer }).await.is_err() {
                return;
            }
            let Ok(answer) = rx.await else { return };
            let text = format!("{answer}\n");
            let _ = tokio::time::timeout(PATIENCE, stream.write_all(text.as_bytes())).await;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked() {
        let isolate = |id: Option<&str>, on| Some(Ask::Isolate(id.map(ToOwned::to_owned), on));
        for (line, ask) in [
            ("", Some(Ask::Status)),
            ("status\n", Some(Ask::Status)),
            ("reload\n", Some(Ask::Reload)),
            ("reload plug\n", None),
            ("isolate plug\n", isolate(Some("plug"), true)),
            ("release *\n", isolate(None, false)),
            ("isolate\n", None),
            ("isolated plug\n", None),
            ("status plug\n", None),
        ] {
            assert_eq!(Ask::read(line), ask, "{line:?}");
        }
    }

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

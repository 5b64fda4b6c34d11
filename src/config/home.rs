//! The home file: what is installed in this house, who may use it, and where phones find it.

mod profiles;

pub use profiles::Profiles;

use std::path::{Path, PathBuf};

use super::Config;
use super::fault::{Fault, Severity};

/// What was found in one file.
#[derive(Clone, Debug)]
pub struct Report {
    /// The file.
    pub path: PathBuf,
    /// Its text, for showing the line of a fault; `None` where the text must not be shown (secrets)
    /// or could not be read.
    pub source: Option<String>,
    /// Its faults by place.
    pub faults: Vec<Fault>,
}

impl Report {
    /// Whether the file cannot be used.
    pub fn fatal(&self) -> bool {
        self.faults.iter().any(|fault| fault.severity == Severity::Error)
    }
}

/// Reads a home file with everything that it names: the secrets file and the profiles.
///
/// `shipped` are the profiles that come with the program; those in the home file's own `profiles:`
/// directories come first. The reports name every file that has a fault, and warnings may come with
/// a configuration.
pub fn load(path: &Path, shipped: &Profiles) -> (Option<Config>, Vec<Report>) {
    let _ = (path, shipped);
    (None, Vec::new())
}

/// The same out of texts: no file is read, `secrets` stands for the secrets file and `name` for the
/// home file in reports.
pub fn from_text(
    name: &Path,
    home: &str,
    secrets: &str,
    shipped: &Profiles,
) -> (Option<Config>, Vec<Report>) {
    let _ = (name, home, secrets, shipped);
    (None, Vec::new())
}

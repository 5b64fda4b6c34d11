//! The profiles that a home file can name.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Profile texts by id.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    texts: BTreeMap<String, (PathBuf, String)>,
}

impl Profiles {
    /// None at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a profile; `path` names it in reports. The one that was there before is replaced.
    pub fn add(&mut self, id: &str, path: impl Into<PathBuf>, text: impl Into<String>) {
        self.texts.insert(id.to_owned(), (path.into(), text.into()));
    }
}

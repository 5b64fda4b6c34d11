//! `state:`: the folder for what people write while the house runs.

use std::path::PathBuf;

use super::Build;
use crate::config::yaml::MapReader;

/// The folder; `None`: what is written lasts as long as the process.
pub(super) fn state(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Option<PathBuf> {
    map.text("state", &mut build.faults).map(|path| build.resolve(&path))
}

//! What discovery needs of a home file beside the configuration.

use std::path::Path;
use std::sync::Arc;

use super::{Around, Opened, Profiles, Report, open_text, read};
use crate::config::{Config, MqttSettings};
use crate::device::profile::Profile;

/// A home file, with what no device of it uses yet.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The configuration.
    pub config: Config,
    /// Every broker by its name.
    pub brokers: Vec<(String, MqttSettings)>,
    /// Every profile that a device could have, by id.
    pub profiles: Vec<Arc<Profile>>,
}

/// What is kept of a home file while it is read.
#[derive(Default)]
pub(super) struct Besides {
    pub(super) brokers: Vec<(String, MqttSettings)>,
    pub(super) profiles: Vec<Arc<Profile>>,
}

/// Reads a home file as [`super::load`] does, and keeps more of it.
pub fn survey(path: &Path, shipped: &Profiles) -> (Option<Survey>, Vec<Report>) {
    let Ok(Opened { text, exposed }) = open_text(path) else {
        return (None, super::load(path, shipped).1);
    };
    let base = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut besides = Besides::default();
    let (config, reports) =
        read(path, &text, Around::Disk { base, exposed, secret: None }, shipped, Some(&mut besides));
    let Besides { brokers, profiles } = besides;
    (config.map(|config| Survey { config, brokers, profiles }), reports)
}

//! Params and overrides of the home file.
use crate::config::fault::Place;
use crate::config::yaml::Node;

/// What the home file says about one device.
pub(super) struct Home<'a> {
    pub(super) path: &'a str,
    pub(super) place: Place,
    pub(super) params: Option<&'a Node>,
    pub(super) overrides: Option<&'a Node>,
}

//! From nodes to profiles.
use super::{Model, Profile, fill::Home};
use crate::config::fault::Faults;
use crate::config::yaml::Node;

pub(super) fn profile(node: &Node, faults: &mut Faults) -> Option<Profile> {
    faults.error(Some(node.place), "", "profiles are not read yet", None);
    None
}

pub(super) fn instantiate(profile: &Profile, home: &Home<'_>, faults: &mut Faults) -> Option<Model> {
    let _ = (&profile.source, home.params, home.overrides);
    faults.error(Some(home.place), home.path, "profiles are not read yet", None);
    None
}

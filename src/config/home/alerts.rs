//! `alerts:`: who is told when something happens that should be known. `owners:`: who decides.

use super::Build;
use crate::config::User;
use crate::config::fault::{Place, nearest};
use crate::config::yaml::{MapReader, Node};

/// The users of `alerts.message`.
pub(super) fn alerts(node: Option<&Node>, users: &[User], build: &mut Build<'_>) -> Vec<String> {
    let Some(mut map) = node.and_then(|node| MapReader::new(node, "alerts", &mut build.faults)) else {
        return Vec::new();
    };
    let node = map.require("message", &mut build.faults);
    let texts = node.and_then(|node| node.texts("alerts.message", &mut build.faults)).unwrap_or_default();
    map.finish(&mut build.faults);
    known_users(texts, "alerts.message", users, build)
}

/// The users of `owners:`, who decide over requests to watch, or of `agents:`, who may ask.
pub(super) fn named(node: Option<&Node>, path: &str, users: &[User], build: &mut Build<'_>) -> Vec<String> {
    let texts = node.and_then(|node| node.texts(path, &mut build.faults)).unwrap_or_default();
    known_users(texts, path, users, build)
}

pub(super) fn known_users(
    texts: Vec<(Place, String)>,
    path: &str,
    users: &[User],
    build: &mut Build<'_>,
) -> Vec<String> {
    let mut named = Vec::new();
    for (place, name) in texts {
        if users.iter().any(|user| user.name == name) || build.names.is_user(&name) {
            named.push(name);
            continue;
        }
        let help = nearest(&name, users.iter().map(|user| user.name.as_str()));
        let help = help.map(|user| format!("did you mean `{user}`?"));
        build.faults.error(Some(place), path, format!("there is no user `{name}`"), help);
    }
    named
}

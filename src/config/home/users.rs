//! `users:` and every reference to a secret.

use secrecy::{ExposeSecret as _, SecretString};

use super::namespace::{Owner, check_id};
use super::{Around, Build};
use crate::config::fault::{Place, nearest};
use crate::config::secrets::{Secret, ha1, ha1_node, weakness};
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{HouseName, User, UserSecret};

/// Most users of one house; more is a fault.
const MOST_USERS: usize = 512;

/// The people and phones that may log in.
pub(super) fn users(node: Option<&Node>, house: &HouseName, md5: bool, build: &mut Build<'_>) -> Vec<User> {
    let entries = node.and_then(|node| node.entries("users", &mut build.faults)).unwrap_or_default();
    if entries.len() > MOST_USERS {
        let message = format!("{} users; a house has at most {MOST_USERS}", entries.len());
        build.faults.error(node.map(|node| node.place), "users", message, None);
        return Vec::new();
    }
    let mut users = Vec::new();
    for (key, value) in entries {
        let path = format!("users.{}", key.text);
        check_id(&key.text, "a user", key.place, &path, &mut build.faults);
        build.names.claim(&key.text, Owner::User, Some(key.place), &path, &mut build.faults);
        if let Some(mut secret) = login(&key.text, value, &path, house, build) {
            if !md5 {
                secret.md5 = None;
            } else if secret.md5.is_none() {
                build.faults.warning(
                    Some(value.place),
                    &path,
                    "there is no MD5 HA1, so phones without SHA-256 cannot log in",
                    Some(format!("`sipliance passwd {}` prints both", key.text)),
                );
            }
            users.push(User { name: key.text.clone(), secret });
        }
    }
    users
}

fn login(
    user: &str,
    value: &Node,
    path: &str,
    house: &HouseName,
    build: &mut Build<'_>,
) -> Option<UserSecret> {
    let mut map = MapReader::new(value, path, &mut build.faults)?;
    let password = map.take("password");
    let hash = map.take("ha1");
    map.finish(&mut build.faults);
    match (password, hash) {
        (Some(node), None) => from_password(user, node, &format!("{path}.password"), house, build),
        (None, Some(node)) => from_ha1(node, &format!("{path}.ha1"), build),
        _ => {
            let message = "exactly one of `password:` and `ha1:` is needed";
            let help = format!("write password: {{secret: {user}}}");
            build.faults.error(Some(value.place), path, message, Some(help));
            None
        }
    }
}

/// The password itself is forgotten here.
fn from_password(
    user: &str,
    node: &Node,
    path: &str,
    house: &HouseName,
    build: &mut Build<'_>,
) -> Option<UserSecret> {
    let (place, secret) = reference(node, path, user, build)?;
    let password = match secret {
        Secret::Ha1(secret) => return Some(secret),
        Secret::Password(password) => password,
    };
    if let Some(weak) = weakness(user, password.expose_secret()) {
        let help = Some("choose one that nobody would guess; it stands in the secrets file".to_owned());
        build.faults.error(Some(place), path, weak, help);
        return None;
    }
    Some(ha1(user, &house.domain, password.expose_secret()))
}

fn from_ha1(node: &Node, path: &str, build: &mut Build<'_>) -> Option<UserSecret> {
    if let Around::Disk { exposed: Some(mode), .. } = build.around {
        let message = format!(
            "an HA1 is worth as much as the password, and others may read this file (mode {mode:03o})"
        );
        let help = Some("move it to the secrets file, or take the right to read from others".to_owned());
        build.faults.error(Some(node.place), path, message, help);
    }
    ha1_node(node, path, &mut build.faults)
}

/// A password for somebody else's server; HA1 does not help there.
pub(super) fn password(node: &Node, path: &str, name: &str, build: &mut Build<'_>) -> Option<SecretString> {
    match reference(node, path, name, build)? {
        (_, Secret::Password(password)) if !password.expose_secret().is_empty() => Some(password),
        (place, Secret::Password(_)) => {
            build.faults.error(Some(place), path, "this secret is empty", None);
            None
        }
        (place, Secret::Ha1(_)) => {
            let message = "this secret is an HA1; here the password itself is needed";
            build.faults.error(Some(place), path, message, None);
            None
        }
    }
}

/// What `{secret: name}` stands for. A password in the open is a fault that says what to do;
/// `name` is what the secret could be called.
fn reference(node: &Node, path: &str, name: &str, build: &mut Build<'_>) -> Option<(Place, Secret)> {
    if !matches!(node.data, Data::Map(_)) {
        let message = "a password must not stand in the home file";
        let help = format!("write {{secret: {name}}} here and `{name}: \"…\"` into the secrets file");
        build.faults.error(Some(node.place), path, message, Some(help));
        return None;
    }
    let mut map = MapReader::new(node, path, &mut build.faults)?;
    let wanted = map.require("secret", &mut build.faults)?;
    map.finish(&mut build.faults);
    let wanted_path = format!("{path}.secret");
    let name = wanted.text(&wanted_path, &mut build.faults)?;
    if let Some(secret) = build.secrets.get(&name) {
        return Some((wanted.place, secret.clone()));
    }
    if build.secrets.readable {
        let help = nearest(&name, build.secrets.names()).map(|known| format!("did you mean `{known}`?"));
        let help = help.unwrap_or_else(|| format!("add `{name}: \"…\"` to the secrets file"));
        let message = if build.secrets.named {
            format!("the secrets file has no `{name}`")
        } else {
            "no secrets file is named".to_owned()
        };
        let help =
            if build.secrets.named { help } else { "add `secrets: secrets.yaml` at the top".to_owned() };
        build.faults.error(Some(wanted.place), &wanted_path, message, Some(help));
    }
    None
}

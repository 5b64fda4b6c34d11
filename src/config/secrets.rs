//! Secrets live outside the main file, in one that only its owner can read.
//!
//! The secrets file maps a name to a password, or, for somebody who logs in here, to the HA1 values
//! that `sipliance passwd` prints, so that no password is stored at all:
//!
//! ```yaml
//! mqtt: "a password"
//! anna: {ha1: {sha256: 64 hex digits, md5: 32 hex digits}}
//! ```

use md5::Digest as _;
use secrecy::SecretString;

use super::UserSecret;
use super::fault::{Faults, Severity};
use super::home::{Around, Opened, Report, open_text};
use super::yaml::{self, Data, MapReader, Node};

/// Shortest password that is not refused, in characters.
pub const SHORTEST_PASSWORD: usize = 8;

/// Passwords that a stranger tries first; compared without case.
const TRIED_FIRST: [&str; 24] = [
    "00000000",
    "11111111",
    "12341234",
    "12345678",
    "123456789",
    "1234567890",
    "87654321",
    "abcd1234",
    "administrator",
    "changeme",
    "changeit",
    "default1",
    "iloveyou",
    "letmein1",
    "password",
    "password1",
    "password123",
    "passw0rd",
    "qwerty123",
    "qwertyui",
    "raspberry",
    "secret12",
    "sipliance",
    "welcome1",
];

/// `H(user:realm:password)` under SHA-256 and MD5 (RFC 7616 section 3.4.2). Whoever stores it need
/// not store the password; it is still worth as much as the password within this realm.
pub fn ha1(user: &str, realm: &str, password: &str) -> UserSecret {
    let text = format!("{user}:{realm}:{password}");
    UserSecret {
        sha256: SecretString::from(hex(&sha2::Sha256::digest(&text))),
        md5: Some(SecretString::from(hex(&md5::Md5::digest(&text)))),
    }
}

/// Why `password` must not protect `user`; `None`: nothing is known against it.
pub fn weakness(user: &str, password: &str) -> Option<String> {
    let lower = password.to_lowercase();
    if password.is_empty() {
        Some("the password is empty".to_owned())
    } else if password.chars().count() < SHORTEST_PASSWORD {
        Some(format!("the password is shorter than {SHORTEST_PASSWORD} characters"))
    } else if TRIED_FIRST.contains(&lower.as_str()) || is_name(user, &lower) {
        Some("the password is one of those that are tried first".to_owned())
    } else if lower.chars().all(|c| lower.starts_with(c)) {
        Some("the password is one character again and again".to_owned())
    } else {
        None
    }
}

/// Whether a password is the user's name with a few characters around it.
fn is_name(user: &str, lower: &str) -> bool {
    user.len() >= 3 && lower.contains(user) && lower.replace(user, "").chars().count() < 5
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Secret {
    Password(SecretString),
    Ha1(UserSecret),
}

/// The secrets file.
#[derive(Debug)]
pub(super) struct Secrets {
    entries: Vec<(String, Secret)>,
    /// What every other name stands for.
    any: Option<Secret>,
    /// Whether the home file names a secrets file.
    pub(super) named: bool,
    /// Whether it could be read; when not, that alone is the fault.
    pub(super) readable: bool,
}

impl Secrets {
    /// Reads what `secrets:` names.
    pub(super) fn open(
        node: Option<&Node>,
        around: &Around<'_>,
        faults: &mut Faults,
        reports: &mut Vec<Report>,
    ) -> Self {
        let mut secrets = Self { entries: Vec::new(), any: None, named: node.is_some(), readable: true };
        let path = node.and_then(|node| node.text("secrets", faults)).map(|path| around.resolve(&path));
        let opened = match (around, &path) {
            (Around::Texts { secrets: text }, _) => {
                secrets.named = true;
                Ok(Opened { text: (*text).to_owned(), exposed: None })
            }
            (Around::Disk { secret: Some(secret), .. }, _) => {
                secrets.named = true;
                secrets.any = Some(Secret::Password(SecretString::from(*secret)));
                return secrets;
            }
            (Around::Disk { .. }, Some(path)) => open_text(path),
            (Around::Disk { .. }, None) => return secrets,
        };
        let path = path.unwrap_or_else(|| "secrets.yaml".into());
        let mut found = Faults::default();
        match opened {
            Ok(Opened { text, exposed }) => {
                if let Some(mode) = exposed {
                    let message = format!("others may read the secrets (mode {mode:03o})");
                    found.error(None, "", message, Some(format!("chmod 600 {}", path.display())));
                }
                if !text.trim().is_empty() {
                    secrets.read(&text, &mut found);
                }
            }
            Err(why) => {
                secrets.readable = false;
                let message = format!("the secrets file {}: {why}", path.display());
                faults.error(node.map(|node| node.place), "secrets", message, None);
            }
        }
        // Warnings of the YAML reader quote what they warn of; a secret is not quoted.
        let mut found = found.sorted();
        found.retain(|fault| fault.severity == Severity::Error);
        if !found.is_empty() {
            reports.push(Report { path, source: None, faults: found });
        }
        secrets
    }

    fn read(&mut self, text: &str, faults: &mut Faults) {
        let Some(root) = yaml::parse(text, faults) else {
            self.readable = false;
            return;
        };
        // Nothing below quotes what stands in this file, except names.
        let Data::Map(entries) = &root.data else {
            faults.error(Some(root.place), "", "write one `name: \"secret\"` per line", None);
            self.readable = false;
            return;
        };
        for (key, value) in entries {
            if let Some(secret) = secret(value, &key.text, faults) {
                self.entries.push((key.text.clone(), secret));
            }
        }
        // A secret that has its own fault here is not missing, too.
        self.readable = !faults.fatal();
    }

    pub(super) fn get(&self, name: &str) -> Option<&Secret> {
        let known = self.entries.iter().find(|(known, _)| known == name).map(|(_, secret)| secret);
        known.or(self.any.as_ref())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }
}

fn secret(value: &Node, path: &str, faults: &mut Faults) -> Option<Secret> {
    let password = |node: &Node, path: &str, faults: &mut Faults| {
        let text = match &node.data {
            Data::Null => Some(String::new()),
            _ => node.text(path, faults),
        };
        text.map(|text| Secret::Password(SecretString::from(text)))
    };
    let Data::Map(entries) = &value.data else {
        return password(value, path, faults);
    };
    let mut map = MapReader::new(value, path, faults)?;
    let (plain, hash) = (map.take("password"), map.take("ha1"));
    // An unknown key may be a password in braces, so it is counted and not named.
    match (plain, hash) {
        _ if entries.len() > 1 => only_one(value, path, faults),
        (Some(node), None) => password(node, &format!("{path}.password"), faults),
        (None, Some(node)) => ha1_node(node, &format!("{path}.ha1"), faults).map(Secret::Ha1),
        _ => only_one(value, path, faults),
    }
}

fn only_one(value: &Node, path: &str, faults: &mut Faults) -> Option<Secret> {
    let message = "exactly one of `password:` and `ha1:` is needed, and nothing else";
    faults.error(Some(value.place), path, message, None);
    None
}

/// `{sha256: …, md5: …}`
pub(super) fn ha1_node(node: &Node, path: &str, faults: &mut Faults) -> Option<UserSecret> {
    let known = |key: &str| key == "sha256" || key == "md5";
    if !matches!(&node.data, Data::Map(entries) if entries.iter().all(|(key, _)| known(&key.text))) {
        faults.error(
            Some(node.place),
            path,
            "`sha256:` and `md5:` are expected here, and nothing else",
            None,
        );
        return None;
    }
    let mut map = MapReader::new(node, path, faults)?;
    let sha256 = map.require("sha256", faults);
    let md5 = map.take("md5");
    let sha256 = sha256.and_then(|node| digits(node, &format!("{path}.sha256"), 64, faults));
    let md5 = md5.map(|node| digits(node, &format!("{path}.md5"), 32, faults));
    match (sha256, md5) {
        (Some(sha256), None) => Some(UserSecret { sha256, md5: None }),
        (Some(sha256), Some(Some(md5))) => Some(UserSecret { sha256, md5: Some(md5) }),
        _ => None,
    }
}

/// A hash in hex; the message does not repeat it.
fn digits(node: &Node, path: &str, count: usize, faults: &mut Faults) -> Option<SecretString> {
    let text = node.scalar().unwrap_or_default();
    if text.len() == count && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(SecretString::from(text.to_ascii_lowercase()));
    }
    let message = format!("{count} hex digits are expected here");
    let help = "`sipliance passwd USER` prints these lines".to_owned();
    faults.error(Some(node.place), path, message, Some(help));
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::path::Path;

    use crate::config::home::{Profiles, from_text};

    /// The example of RFC 7616 section 3.9.1 has this user, realm and password.
    #[test]
    fn ha1_is_the_one_that_phones_compute() {
        let secret = ha1("Mufasa", "http-auth@example.org", "Circle of Life");
        let md5 = secret.md5.unwrap();
        assert_eq!(md5.expose_secret(), "3d78807defe7de2157e2b0b6573a855f");
        assert_eq!(
            secret.sha256.expose_secret(),
            "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232"
        );
    }

    #[test]
    fn weak_passwords_are_refused_and_good_ones_are_not() {
        for password in ["", "1234567", "Password", "RASPBERRY", "annaanna", "anna1234", "aaaaaaaaaa"] {
            assert!(weakness("anna", password).is_some(), "{password}");
        }
        for password in ["correct horse", "pasword-of-anna", "9f8e7d6c", "日本語のパスワード"] {
            assert_eq!(weakness("anna", password), None, "{password}");
        }
    }

    /// However a secrets file is broken, no report repeats what stands in it.
    #[test]
    fn no_fault_repeats_a_secret() {
        let home = "format: 1\nusers:\n  anna: {password: {secret: anna}}\n";
        for secrets in [
            "hunter2hunter2",
            "anna:hunter2hunter2",
            "- hunter2hunter2",
            "anna: [hunter2hunter2]",
            "anna: {hunter2hunter2}",
            "anna: {password: hunter2hunter2, hunter2hunter2: 1}",
            "anna: {password: [hunter2hunter2]}",
            "anna: {ha1: hunter2hunter2}",
            "anna: {ha1: {hunter2hunter2}}",
            "anna: {ha1: {sha256: hunter2hunter2, md5: hunter2hunter2}}",
            "anna: 'hunter2hunter2\\r",
            "anna: !secret hunter2hunter2",
            "anna: \"hunter2hunter2\" hunter2hunter2",
            "anna: {password: hunter2hunter2",
            "anna: *hunter2hunter2",
            "anna: &hunter2hunter2 x",
            "anna: hunter2hunter2: hunter2hunter2",
        ] {
            let (config, reports) = from_text(Path::new("home.yaml"), home, secrets, &Profiles::new());
            assert!(config.is_none(), "{secrets}");
            let text = format!("{:?}", reports.iter().map(|report| &report.faults).collect::<Vec<_>>());
            assert!(!text.contains("hunter2"), "{secrets}\n{text}");
            assert!(
                reports
                    .iter()
                    .all(|report| report.path != Path::new("secrets.yaml") || report.source.is_none())
            );
        }
    }
}

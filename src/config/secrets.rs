//! Secrets live outside the main file, in one that only its owner can read.
//!
//! The secrets file maps a name to a password, or, for somebody who authenticates here, to the HA1
//! values that `sipliance passwd` prints, so that no password is stored at all.

use md5::Digest as _;
use secrecy::SecretString;

use super::UserSecret;

/// `H(user:realm:password)` under SHA-256 and MD5 (RFC 7616 section 3.4.2). Whoever stores it need
/// not store the password; it is still worth as much as the password within this realm.
pub fn ha1(user: &str, realm: &str, password: &str) -> UserSecret {
    let text = format!("{user}:{realm}:{password}");
    UserSecret {
        sha256: SecretString::from(hex(&sha2::Sha256::digest(&text))),
        md5: Some(SecretString::from(hex(&md5::Md5::digest(&text)))),
    }
}

/// Lower-case hex.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

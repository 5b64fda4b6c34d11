//! Names that only those who hold a key can read: `x1.` and base64url of AES-SIV-256 (RFC 5297) over
//! the name, with the domain as associated data. The same name gives the same token, so that From and
//! To stay what they are in a dialog. Everybody routes on the host part.

use aes_siv::KeyInit as _;
use aes_siv::siv::Aes128Siv;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;

use crate::config::OpaqueKey;
use crate::limits;

/// The token of `name` in `domain`.
pub fn seal(key: &OpaqueKey, domain: &str, name: &str) -> Option<String> {
    let mut cipher = Aes128Siv::new(key.key.expose_secret().into());
    let sealed = cipher.encrypt([domain.as_bytes()], name.as_bytes()).ok()?;
    Some(format!("{}.{}", key.id, URL_SAFE_NO_PAD.encode(sealed)))
}

/// The name in a token; `None` for what none of the keys made, whatever is wrong with it.
pub fn open(keys: &[OpaqueKey], domain: &str, token: &str) -> Option<String> {
    let (id, sealed) = token.split_once('.').filter(|_| token.len() <= limits::ADDRESS_BYTES)?;
    let key = keys.iter().find(|key| key.id == id)?;
    let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let mut cipher = Aes128Siv::new(key.key.expose_secret().into());
    String::from_utf8(cipher.decrypt([domain.as_bytes()], &sealed).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, first: u8) -> OpaqueKey {
        let bytes: [u8; 32] = std::array::from_fn(|at| first + u8::try_from(at).unwrap());
        OpaqueKey { id: id.to_owned(), key: std::sync::Arc::new(secrecy::SecretBox::new(Box::new(bytes))) }
    }

    /// Proves: SEC-4
    #[test]
    fn the_token_is_the_one_that_others_make() {
        let name = "d=lamp,r=bedroom,u=ana";
        let token = seal(&key("x1", 0), "home.example", name).unwrap();
        assert_eq!(token, "x1.ivWqbLbJly1QljSESzNMo8Td_xYdoMINQTEzJvNetEfOQ7A_fNk");
        assert_eq!(open(&[key("x1", 0)], "home.example", &token).as_deref(), Some(name));
    }

    #[test]
    fn whatever_is_wrong_with_it_it_is_nothing() {
        let keys = [key("x1", 0), key("x2", 7)];
        let token = seal(&keys[1], "home.example", "lamp").unwrap();
        assert_eq!(open(&keys, "home.example", &token).as_deref(), Some("lamp"), "an older key goes on");
        let mut tampered = token.clone();
        let last = tampered.pop().unwrap();
        tampered.push(if last == 'A' { 'Q' } else { 'A' });
        let long = format!("x2.{}", "A".repeat(4096));
        for wrong in
            [tampered.as_str(), &token.replace("x2.", "x1."), &token.replace("x2", "x3"), &long, "x2.", "x2"]
        {
            assert_eq!(open(&keys, "home.example", wrong), None, "{wrong}");
        }
        assert_eq!(open(&keys, "other.example", &token), None, "it belongs to one home");
    }
}

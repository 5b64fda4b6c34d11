//! The gateway's own proof at somebody else's server.

use super::{Algorithm, Digest, hash};
use crate::sip::wire::{Message, Name};

/// Who we are at somebody else's registrar.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Digest user name.
    pub user: &'a str,
    /// Password.
    pub password: &'a str,
}

/// Answers a 401 or 407 of a server that we registered to: the topmost challenge whose algorithm we
/// know (RFC 8760 §2.5). Returns the whole header field; `None` when no challenge can be answered.
pub fn answer(
    challenge: &Message<'_>,
    login: Login<'_>,
    method: &str,
    uri: &str,
    cnonce: &str,
    count: u32,
) -> Option<Answer> {
    let (name, field) = match challenge.count(Name::WwwAuthenticate) {
        0 => (Name::ProxyAuthenticate, "Proxy-Authorization"),
        _ => (Name::WwwAuthenticate, "Authorization"),
    };
    let (digest, algorithm) = challenge.all(name).filter_map(Digest::parse).find_map(|digest| {
        let algorithm = Algorithm::new(digest.algorithm.unwrap_or("MD5"))?;
        // `auth-int` alone wants a proof that covers the body.
        (digest.qop.is_none_or(str::is_empty) || proves_auth(&digest)).then_some((digest, algorithm))
    })?;
    let (realm, nonce) = (digest.realm?, digest.nonce?);
    let ha1 = hash(algorithm, &[login.user.as_bytes(), realm.as_bytes(), login.password.as_bytes()]);
    let ha2 = hash(algorithm, &[method.as_bytes(), uri.as_bytes()]);
    let qop = proves_auth(&digest);
    let nc = format!("{count:08x}");
    let proof = if qop {
        hash(algorithm, &[ha1.as_str(), nonce, &nc, cnonce, "auth", ha2.as_str()].map(str::as_bytes))
    } else {
        hash(algorithm, &[ha1.as_str(), nonce, ha2.as_str()].map(str::as_bytes))
    };
    let (user, algorithm) = (login.user, algorithm.as_str());
    let mut value = format!(
        "{field}: Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{}\", algorithm={algorithm}",
        proof.as_str()
    );
    if qop {
        value.push_str(&format!(", qop=auth, nc={nc}, cnonce=\"{cnonce}\""));
    }
    if let Some(opaque) = digest.opaque {
        value.push_str(&format!(", opaque=\"{opaque}\""));
    }
    value.push_str("\r\n");
    Some(Answer { field: value, realm: realm.to_owned(), stale: digest.stale })
}

/// Whether the server takes a proof of the request line alone (RFC 7616 §3.3).
fn proves_auth(digest: &Digest<'_>) -> bool {
    digest.qop.is_some_and(|list| list.split(',').any(|qop| qop.trim().eq_ignore_ascii_case("auth")))
}

/// See [`answer`].
#[derive(Clone, Debug)]
pub struct Answer {
    /// The header field with its line end.
    pub field: String,
    /// The realm that asked.
    pub realm: String,
    /// Whether the server only minded the age of the nonce.
    pub stale: bool,
}

//! What is registered, and how that stands.

use std::time::{Duration, Instant};

/// What is registered, and where.
#[derive(Clone, Debug)]
pub struct Identity {
    /// User part of the address of record.
    pub user: String,
    /// The registrar's domain.
    pub domain: String,
    /// Digest user name.
    pub auth_user: String,
    /// Password.
    pub password: secrecy::SecretString,
    /// The lifetime to ask for.
    pub expires: Duration,
    /// Which of our flows to the registrar this is (RFC 5626 §4.2.1), from 1, the same in every run; `None`:
    /// a plain registration is wanted.
    pub reg_id: Option<u8>,
    /// The edge proxy that the REGISTER goes through, as a Route value; `None`: straight to the registrar.
    pub route: Option<String>,
}

impl Identity {
    /// Whether it is the same address over the same flow: one binding replaces the other.
    pub fn is_address_of(&self, other: &Self) -> bool {
        (&self.user, &self.domain, self.reg_id) == (&other.user, &other.domain, other.reg_id)
    }

    /// Whether nothing differs.
    pub fn is_same(&self, other: &Self) -> bool {
        use secrecy::ExposeSecret as _;
        self.is_address_of(other)
            && (&self.auth_user, self.expires, &self.route) == (&other.auth_user, other.expires, &other.route)
            && self.password.expose_secret() == other.password.expose_secret()
    }
}

/// How a registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no flow to the registrar yet.
    NoFlow,
    /// A REGISTER is on its way.
    Trying,
    /// Registered until then, unless the registrar forgets.
    Registered {
        /// Since when without a break.
        since: Instant,
        /// When the binding ends.
        until: Instant,
    },
    /// Refused or unanswered.
    Failed {
        /// In words.
        why: String,
        /// The next attempt.
        again: Instant,
    },
}

//! Servers elsewhere, as the home file names them.

use std::time::Duration;

use secrecy::SecretString;

use super::{DeviceId, Dial};
use crate::sip::locate::Wanted;

/// A registrar somewhere else.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Name in the home file.
    pub name: String,
    /// The ways to it: a server, or several edge proxies (RFC 5626 §4.2.1). Never empty.
    pub edges: Vec<Edge>,
    /// The registrar's domain: Request-URI of REGISTER.
    pub domain: String,
    /// Wanted lifetime of a binding.
    pub expires: Duration,
    /// Believe one P-Asserted-Identity from this server.
    pub trust_asserted: bool,
    /// Addresses to register; a peer has none.
    pub accounts: Vec<Account>,
    /// Who we are to a peer; `None` for a registrar.
    pub peer: Option<PeerLogin>,
    /// Publish the presence of each appliance that has an address there.
    pub publish: bool,
}

/// One way to a server elsewhere, which keeps a flow of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Where, as the home file says it; what it leaves open is found by RFC 3263.
    pub server: Wanted,
    /// What TLS and WebSockets need to know besides.
    pub dial: Dial,
    /// It is a proxy before the registrar, and stands in the Route of what it is to pass on.
    pub is_proxy: bool,
}

impl Upstream {
    /// The first of the ways to it.
    pub fn server(&self) -> Option<&Wanted> {
        self.edges.first().map(|edge| &edge.server)
    }
}

/// Who we are to another gateway that we do not register at.
#[derive(Clone, Debug)]
pub struct PeerLogin {
    /// Digest user name there, and the user part of our address.
    pub user: String,
    /// Its password.
    pub password: SecretString,
}

/// One address at an [`Upstream`].
#[derive(Clone, Debug)]
pub struct Account {
    /// User part of the address of record.
    pub user: String,
    /// Digest user name, where it differs.
    pub auth_user: String,
    /// The password.
    pub password: SecretString,
    /// The appliance behind this address; `None`: the house.
    pub device: Option<DeviceId>,
}

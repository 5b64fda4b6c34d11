//! Files become checked values here; every fault is reported with its place and a suggestion.
//!
//! [`yaml`] reads text into a tree that knows where everything stands, [`home`] turns the home file
//! into a [`Config`], and a device profile is decoded by [`crate::device::profile`].

pub mod access;
pub mod change;
mod elsewhere;
pub mod fault;
pub mod home;
mod lines;
mod links;
pub mod names;
mod number;
pub mod schema;
pub mod secrets;
pub mod yaml;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{SecretBox, SecretString};

pub use self::elsewhere::{Account, Edge, PeerLogin, Upstream};
use crate::device::profile::Model;
pub use crate::sip::Transport;
pub use crate::sip::locate::Wanted;
pub use lines::{GpioDirection, GpioLine, GpioSettings, Pull};
pub use links::{
    HomeAssistant, Link, LinkSettings, MeterSettings, ModbusLine, ModbusSettings, MqttSettings, MqttTls,
    SerialSettings, SipSettings,
};
pub use number::{Number, Press};

/// A whole checked configuration: what `run` works with. Never changed in place; a reload makes a
/// new one.
#[derive(Clone, Debug)]
pub struct Config {
    /// The gateway's own name and domain.
    pub house: HouseName,
    /// Where phones may reach the gateway directly. Empty: no port is opened.
    pub listen: Vec<Listen>,
    /// What is shown to those who come over TLS; `None`: nobody can.
    pub tls: Option<ServerTls>,
    /// Web pages that may come over WebSockets, beside those of the gateway's own host: `https://host`.
    pub origins: Vec<String>,
    /// Digest rules of the gateway as a server.
    pub digest: DigestPolicy,
    /// Whether forms of the years 2000 to 2003 are served.
    pub compat: Compat,
    /// People and phones that may authenticate.
    pub users: Vec<User>,
    /// Who may see and do what.
    pub access: access::Access,
    /// Users who are sent each alert as a MESSAGE.
    pub alerts: Vec<String>,
    /// Users who decide over requests to watch, and may write rules.
    pub owners: Vec<String>,
    /// Users that are presence agents of others and may ask (QAUTH) whether somebody may watch.
    pub agents: Vec<String>,
    /// Registrars at which the gateway registers, and behind them the peers, which it only asks.
    pub upstreams: Vec<Upstream>,
    /// Brokers, ports and line sets that drivers own. The index is the [`LinkId`].
    pub links: Vec<Link>,
    /// Brokers over which Home Assistant is told of appliances.
    pub home_assistant: Vec<HomeAssistant>,
    /// The appliances.
    pub devices: Vec<DeviceConfig>,
    /// Appliances that are one address together.
    pub groups: Vec<Group>,
    /// Keys of opaque names; the last is the one in use.
    pub opaque: Vec<OpaqueKey>,
    /// Who may isolate appliances.
    pub kill_switch: KillSwitch,
    /// Where audit lines go; `None`: to the log only.
    pub audit: Option<std::path::PathBuf>,
    /// The folder for documents that people write; `None`: they last as long as the process.
    pub state: Option<std::path::PathBuf>,
    /// Where clients read and write those documents over HTTP. Empty: nowhere.
    pub http: Vec<SocketAddr>,
    /// Whether that is HTTPS.
    pub https: bool,
}

/// What the gateway calls itself.
#[derive(Clone, Debug)]
pub struct HouseName {
    /// User part of the gateway's own address (`home`).
    pub user: String,
    /// Domain of every address made here, and the digest realm (`home.local`).
    pub domain: String,
    /// For people.
    pub title: String,
}

/// A socket that the gateway listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The transport.
    pub transport: Transport,
    /// The local address.
    pub addr: SocketAddr,
}

/// The certificate of the gateway; PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// The certificate, with what stands between it and its authority.
    pub certificate: std::path::PathBuf,
    /// Its private key.
    pub key: std::path::PathBuf,
    /// Only clients with a certificate of this authority come in; `None`: everybody.
    pub client_ca: Option<std::path::PathBuf>,
}

/// How a server is spoken to over TLS and WebSockets; without meaning over UDP and TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dial {
    /// The names for one of which its certificate must be made.
    pub names: Vec<String>,
    /// The authority that signed the certificate; `None`: those of the system.
    pub ca: Option<std::path::PathBuf>,
    /// Our own certificate.
    pub certificate: Option<std::path::PathBuf>,
    /// Its private key.
    pub key: Option<std::path::PathBuf>,
    /// SHA-256 of the certificate to believe, whoever signed it.
    pub pin: Option<[u8; 32]>,
    /// Path of the WebSocket.
    pub path: String,
}

/// Digest rules.
#[derive(Clone, Debug)]
pub struct DigestPolicy {
    /// Offer and accept MD5 after SHA-256; many desk phones know nothing else.
    pub md5: bool,
    /// How old a nonce may be when it moves an appliance.
    pub control_nonce_age: Duration,
    /// How old a nonce may be when it reads or registers.
    pub query_nonce_age: Duration,
}

/// Whether the gateway reads and writes forms of the years 2000 to 2003.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compat {
    /// They are refused as RFCs of today say.
    Off,
    /// They are for peers whose own messages name them.
    #[default]
    Accept,
    /// The same, and they are told unasked where types are listed.
    Verbose,
}

/// Somebody with a password.
#[derive(Clone, Debug)]
pub struct User {
    /// The digest user name and the user part of the address.
    pub name: String,
    /// HA1 per algorithm as lower-case hex; never the password.
    pub secret: UserSecret,
}

/// `H(user:realm:password)`, as good as the password itself.
#[derive(Clone, Debug)]
pub struct UserSecret {
    /// Under SHA-256, 64 hex digits.
    pub sha256: SecretString,
    /// Under MD5, 32 hex digits; `None` where it is refused.
    pub md5: Option<SecretString>,
}

/// A host (name or address) with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Name or literal address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl HostPort {
    /// Whether it is an address that leads nowhere without an interface.
    pub fn is_link_local(&self) -> bool {
        self.host.parse().is_ok_and(crate::sip::is_link_local)
    }
}

/// Index into [`Config::links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub usize);

/// Index into [`Config::devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub usize);

/// One appliance of the house.
#[derive(Clone, Debug)]
pub struct DeviceConfig {
    /// Id: user part of its address.
    pub id: String,
    /// For people.
    pub name: String,
    /// Room, for people.
    pub room: Option<String>,
    /// Numbers that reach it, each with what dialling it does.
    pub numbers: Vec<Number>,
    /// The profile with params filled in and overrides applied.
    pub model: Arc<Model>,
    /// The link that it hangs on.
    pub link: LinkId,
    /// What else it is called, and where.
    pub naming: Naming,
}

/// What a device is called beside its id, and who hears of it at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The kind of appliance, where the home file knows better than the profile.
    pub kind: Option<String>,
    /// Other user parts of its address.
    pub nicknames: Vec<String>,
    /// It is there at home alone, and not through an upstream.
    pub hidden: bool,
}

impl DeviceConfig {
    /// What kind of appliance it is.
    pub fn kind(&self) -> Option<&str> {
        self.naming.kind.as_deref().or(self.model.kind.as_deref())
    }
}

/// Appliances that are one address together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// User part of its address.
    pub id: String,
    /// For people.
    pub name: String,
    /// Its appliances, in the order of the home file.
    pub devices: Vec<DeviceId>,
}

/// A key for names that only its holders can read.
#[derive(Clone, Debug)]
pub struct OpaqueKey {
    /// What such a name begins with: `x1`.
    pub id: String,
    /// 256 bits.
    pub key: Arc<SecretBox<[u8; 32]>>,
}

/// Who may cut appliances off, and join them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillSwitch {
    /// Users who may isolate, and release what was isolated by words.
    pub who: Vec<String>,
    /// Users who may also release what was isolated at the gateway itself.
    pub release_local: Vec<String>,
}

//! `upstream:`, the registrars at which the gateway registers.

use std::time::Duration;

use super::house::{domain, transport};
use super::users::password;
use super::{Build, tls};
use crate::config::fault::nearest;
use crate::config::yaml::{MapReader, Node, host_port};
use crate::config::{Account, DeviceConfig, DeviceId, Edge, HostPort, Transport, Upstream, Wanted};

/// Lifetime of a binding that is asked for.
const EXPIRES: Duration = Duration::from_secs(600);
/// What can be published.
const PRESENCE: &str = "presence";
/// Most edge proxies before one registrar; RFC 5626 asks for four at least.
const MOST_EDGES: usize = 4;
/// Most accounts at one registrar; more is a fault.
const MOST_ACCOUNTS: usize = 128;

/// Every registrar that could be read.
pub(super) fn upstreams(
    node: Option<&Node>,
    devices: &[DeviceConfig],
    build: &mut Build<'_>,
) -> Vec<Upstream> {
    let entries = node.and_then(|node| node.entries("upstream", &mut build.faults)).unwrap_or_default();
    let read = |(key, value): &(crate::config::yaml::Key, Node)| upstream(&key.text, value, devices, build);
    entries.iter().filter_map(read).collect()
}

fn upstream(name: &str, value: &Node, devices: &[DeviceConfig], build: &mut Build<'_>) -> Option<Upstream> {
    let path = format!("upstream.{name}");
    let mut map = MapReader::new(value, &path, &mut build.faults)?;
    let place = map.place;
    let transport = way(&mut map, build);
    let servers = servers(&mut map, transport, build);
    let usual = transport.unwrap_or(Transport::Udp);
    let domain_path = map.at("domain");
    let wanted = map.take("domain").and_then(|node| domain(node, &domain_path, &mut build.faults));
    let expires = expires(&mut map, build).unwrap_or(EXPIRES);
    let secure = !servers.is_empty() && servers.iter().all(|(server, _)| server.is_secure());
    let trust_asserted = trust(&mut map, usual, secure, build);
    let publish = publish(&mut map, build);
    let strictest = servers
        .iter()
        .filter_map(|(server, _)| server.transport)
        .max_by_key(|it| (it.is_web(), it.is_secure()));
    let dial = tls::dial(&mut map, strictest.unwrap_or(usual), build);
    let accounts_path = map.at("accounts");
    let accounts = map.require("accounts", &mut build.faults);
    map.finish(&mut build.faults);
    let accounts = accounts.map(|node| accounts_of(node, &accounts_path, devices, build)).unwrap_or_default();
    if wanted.is_none() && servers.iter().any(|(_, is_proxy)| *is_proxy) {
        let message = "behind edge proxies the registrar needs its name";
        build.faults.error(Some(place), &domain_path, message, Some("add `domain: example.com`".to_owned()));
    }
    let domain = wanted.unwrap_or_else(|| servers.first().map(|(it, _)| it.domain()).unwrap_or_default());
    let edge = |(server, is_proxy): (Wanted, bool)| {
        let dial = dial.clone().of(&server.host, &domain);
        Edge { server, dial, is_proxy }
    };
    let edges: Vec<Edge> = servers.into_iter().map(edge).collect();
    let (name, peer) = (name.to_owned(), None);
    let upstream = Upstream { name, edges, domain, expires, trust_asserted, accounts, peer, publish };
    (!upstream.edges.is_empty()).then_some(upstream)
}

/// `server:`, or `edges:` with `true` for each.
fn servers(
    map: &mut MapReader<'_>,
    transport: Option<Transport>,
    build: &mut Build<'_>,
) -> Vec<(Wanted, bool)> {
    let path = map.at("edges");
    let Some(node) = map.take("edges") else {
        let path = map.at("server");
        let server = map.require("server", &mut build.faults);
        let server = server.and_then(|node| node.host_port(0, &path, &mut build.faults));
        return server.map(|server| (wanted(server, transport), false)).into_iter().collect();
    };
    if map.take("server").is_some() {
        let message = "`server:` and `edges:` say the same, and only one can hold";
        build.faults.error(
            Some(node.place),
            &path,
            message,
            Some("keep `edges:` for proxies before the registrar".to_owned()),
        );
    }
    let texts = node.texts(&path, &mut build.faults).unwrap_or_default();
    if texts.is_empty() || texts.len() > MOST_EDGES {
        let message = format!("one to {MOST_EDGES} edge proxies are expected here");
        build.faults.error(Some(node.place), &path, message, Some("two are usual: one may fail".to_owned()));
        return Vec::new();
    }
    let mut servers: Vec<(Wanted, bool)> = Vec::new();
    for (index, (place, text)) in texts.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        match edge(&text, transport) {
            Some(server) if servers.iter().any(|(known, _)| *known == server) => {
                build.faults.error(Some(place), &path, format!("`{text}` stands here twice"), None);
            }
            Some(server) => servers.push((server, true)),
            None => {
                let message = format!("`{text}` is no edge proxy");
                let help = "write it as tls:edge.example.com or udp:192.0.2.7:5060".to_owned();
                build.faults.error(Some(place), &path, message, Some(help));
            }
        }
    }
    servers
}

/// `[transport:]host[:port]`
pub(super) fn edge(text: &str, usual: Option<Transport>) -> Option<Wanted> {
    let (transport, rest) = match text.split_once(':') {
        Some((word, rest)) if Transport::of_word(word).is_some() => (Transport::of_word(word), rest),
        _ => (usual, text),
    };
    host_port(rest, 0).filter(|server| !server.is_link_local()).map(|server| wanted(server, transport))
}

/// Port 0 is none.
pub(super) fn wanted(server: HostPort, transport: Option<Transport>) -> Wanted {
    let port = Some(server.port).filter(|port| *port != 0);
    Wanted { host: server.host, port, transport }
}

/// `transport:`; without it the server's name may say more (RFC 3263).
pub(super) fn way(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Option<Transport> {
    let path = map.at("transport");
    let node = map.take("transport")?;
    let word = node.text(&path, &mut build.faults)?;
    transport(&word).map_err(|why| build.faults.error(Some(node.place), &path, why, None)).ok()
}

/// `publish: [presence]`
fn publish(map: &mut MapReader<'_>, build: &mut Build<'_>) -> bool {
    let path = map.at("publish");
    let Some(node) = map.take("publish") else { return false };
    let words = node.texts(&path, &mut build.faults).unwrap_or_default();
    for (place, word) in &words {
        if word != PRESENCE {
            let message = format!("`{word}` cannot be published; `{PRESENCE}` can");
            let help = nearest(word, [PRESENCE]).map(|near| format!("did you mean `{near}`?"));
            build.faults.error(Some(*place), &path, message, help);
        }
    }
    !words.is_empty()
}

fn expires(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Option<Duration> {
    let node = map.take("expires")?;
    let path = map.at("expires");
    let expires = node.duration(&path, &mut build.faults)?;
    if (Duration::from_secs(20)..=Duration::from_secs(86_400)).contains(&expires) {
        return Some(expires);
    }
    build.faults.error(Some(node.place), &path, "outside 20s to 24h", None);
    None
}

/// Nothing protects the word of a server on these transports, which the owner should know.
fn trust(map: &mut MapReader<'_>, transport: Transport, secure: bool, build: &mut Build<'_>) -> bool {
    let path = map.at("trust_asserted");
    let Some(node) = map.take("trust_asserted") else { return false };
    let trusted = node.bool(&path, &mut build.faults).unwrap_or(false);
    // Over TLS it is that server's word, and nobody else's.
    if trusted && !secure {
        let word = transport.via();
        build.faults.warning(
            Some(node.place),
            &path,
            format!("over {word} anybody on the way to this server can claim to be anybody"),
            Some("use it only for a server in your own network and grant nothing sensitive, or speak TLS to it".to_owned()),
        );
    }
    trusted
}

fn accounts_of(node: &Node, path: &str, devices: &[DeviceConfig], build: &mut Build<'_>) -> Vec<Account> {
    let items = node.items(path, &mut build.faults).unwrap_or_default();
    if items.len() > MOST_ACCOUNTS {
        let message = format!("{} accounts; at most {MOST_ACCOUNTS} are registered", items.len());
        build.faults.error(Some(node.place), path, message, None);
        return Vec::new();
    }
    let mut accounts: Vec<Account> = Vec::new();
    for (path, item) in items {
        let Some(account) = account(item, &path, devices, build) else { continue };
        if accounts.iter().any(|other| other.user == account.user) {
            let message = format!("the account `{}` stands here twice", account.user);
            build.faults.error(Some(item.place), &path, message, None);
            continue;
        }
        accounts.push(account);
    }
    accounts
}

fn account(item: &Node, path: &str, devices: &[DeviceConfig], build: &mut Build<'_>) -> Option<Account> {
    let mut map = MapReader::new(item, path, &mut build.faults)?;
    let user_path = map.at("user");
    let user = map.require("user", &mut build.faults);
    let user = user.and_then(|node| user_part(node, &user_path, build));
    let auth_user = map.line("auth_user", &mut build.faults);
    let password_path = map.at("password");
    let password_node = map.require("password", &mut build.faults);
    let device_path = map.at("device");
    let device_node = map.take("device");
    map.finish(&mut build.faults);
    let hint = user.as_deref().unwrap_or("upstream");
    let password = password_node.and_then(|node| password(node, &password_path, hint, build));
    let device = device_node.map(|node| device(node, &device_path, devices, build));
    let user = user?;
    let auth_user = auth_user.unwrap_or_else(|| user.clone());
    let device = match device {
        None => None,
        Some(found) => Some(found?),
    };
    Some(Account { auth_user, password: password?, device, user })
}

/// The user part of an address (RFC 3261 section 25.1), without escapes.
pub(super) fn user_part(node: &Node, path: &str, build: &mut Build<'_>) -> Option<String> {
    let user = node.text(path, &mut build.faults)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c);
    if !user.is_empty() && user.len() <= 128 && user.chars().all(fits) {
        return Some(user);
    }
    let message = format!("`{user}` cannot be the user part of an address");
    let help = "write what stands between `sip:` and `@`".to_owned();
    build.faults.error(Some(node.place), path, message, Some(help));
    None
}

fn device(node: &Node, path: &str, devices: &[DeviceConfig], build: &mut Build<'_>) -> Option<DeviceId> {
    let id = node.text(path, &mut build.faults)?;
    if let Some(index) = devices.iter().position(|device| device.id == id) {
        if devices.get(index).is_some_and(|device| device.naming.hidden) {
            let message = format!("`{id}` has `expose: false`: nobody reaches it through this account");
            build.faults.warning(Some(node.place), path, message, None);
        }
        return Some(DeviceId(index));
    }
    // A device with faults of its own is not unknown.
    if !build.names.is_device(&id) {
        let help = nearest(&id, devices.iter().map(|device| device.id.as_str()))
            .map(|known| format!("did you mean `{known}`?"));
        build.faults.error(Some(node.place), path, format!("there is no device `{id}`"), help);
    }
    None
}

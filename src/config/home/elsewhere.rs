//! `peers:`, and what `remote:` and `via:` of a device say.

use std::time::Duration;

use super::house::domain;
use super::upstream::{user_part, wanted, way};
use super::users::password;
use super::{Build, tls};
use crate::config::fault::nearest;
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{Edge, HouseName, Listen, PeerLogin, Transport, Upstream, Wanted};
use crate::limits::REMOTES;
use crate::sip::wire::Uri;

/// Longest address of something elsewhere in bytes; a longer one is a fault.
const ADDRESS_BYTES: usize = 200;

/// The ways to other gateways and servers: the entries of `upstream:` and then of `peers:`, as the
/// configuration will number them.
pub(super) struct Ways {
    names: Vec<String>,
    /// This house's own domain, which is nowhere else.
    domain: String,
    /// Devices elsewhere so far.
    used: usize,
}

/// Where a device hangs.
pub(super) enum Place {
    /// On a link of this house.
    Here,
    /// On another gateway.
    Elsewhere(Elsewhere),
    /// That is wrong in the file, and was said.
    Nowhere,
}

/// Where else.
pub(super) struct Elsewhere {
    pub(super) target: String,
    pub(super) via: usize,
}

impl Ways {
    /// The names of both sections, before they are read: devices stand between them.
    pub(super) fn of(upstream: Option<&Node>, peers: Option<&Node>, house: &HouseName) -> Self {
        let names = names(upstream).chain(names(peers)).map(str::to_owned).collect();
        Self { names, domain: house.domain.clone(), used: 0 }
    }

    /// Reads `remote:` and `via:`.
    pub(super) fn elsewhere(&mut self, map: &mut MapReader<'_>, id: &str, build: &mut Build<'_>) -> Place {
        let (remote_path, via_path) = (map.at("remote"), map.at("via"));
        let (remote, via) = (map.take("remote"), map.take("via"));
        let Some(remote) = remote else {
            if let Some(node) = via {
                let message =
                    format!("`via:` says over whom `{id}` is reached, and `remote:` does not say where");
                let help = Some("add remote: sip:NAME@HOST".to_owned());
                build.faults.error(Some(node.place), &via_path, message, help);
                return Place::Nowhere;
            }
            return Place::Here;
        };
        let target = self.target(remote, &remote_path, build);
        let via = self.via(via, remote, &via_path, id, build);
        self.used += 1;
        if self.used == REMOTES + 1 {
            let message = format!("a house watches at most {REMOTES} devices elsewhere");
            build.faults.error(Some(remote.place), &remote_path, message, None);
        }
        match (target, via) {
            (Some(target), Some(via)) => Place::Elsewhere(Elsewhere { target, via }),
            _ => Place::Nowhere,
        }
    }

    fn target(&self, node: &Node, path: &str, build: &mut Build<'_>) -> Option<String> {
        let text = node.text(path, &mut build.faults)?;
        let uri = Uri::parse(&text).ok();
        let good = uri.is_some_and(|uri| uri.is_sip() && uri.user.is_some() && uri.headers.is_none());
        let Some(uri) = uri.filter(|_| good && text.len() <= ADDRESS_BYTES) else {
            let message = format!("`{text}` is no SIP address");
            let help = Some("write sip:NAME@HOST, as phones would dial it there".to_owned());
            build.faults.error(Some(node.place), path, message, help);
            return None;
        };
        if uri.host.eq_ignore_ascii_case(&self.domain) {
            let message = format!("`{}` is this house itself", uri.host);
            let help =
                "an appliance of this house hangs on a link; two houses need two domains (`house: domain`)";
            build.faults.error(Some(node.place), path, message, Some(help.to_owned()));
            return None;
        }
        Some(text)
    }

    /// The entry that `via:` names, or the only one.
    fn via(
        &self,
        node: Option<&Node>,
        remote: &Node,
        path: &str,
        id: &str,
        build: &mut Build<'_>,
    ) -> Option<usize> {
        let all = || self.names.join(" or ");
        let Some(node) = node else {
            if self.names.len() == 1 {
                return Some(0);
            }
            let (message, help) = if self.names.is_empty() {
                (
                    format!("`{id}` is elsewhere, and `upstream:` and `peers:` name no way there"),
                    "add peers: {mum: {server: mum.example, user: …, password: {secret: mum}}}".to_owned(),
                )
            } else {
                (format!("`{id}` must say over whom it is reached"), format!("add via: {}", all()))
            };
            build.faults.error(Some(remote.place), path, message, Some(help));
            return None;
        };
        let name = node.text(path, &mut build.faults)?;
        let index = self.names.iter().position(|known| *known == name);
        if index.is_none() {
            let help = match nearest(&name, self.names.iter().map(String::as_str)) {
                Some(near) => format!("did you mean `{near}`?"),
                None if self.names.is_empty() => "define it below `upstream:` or `peers:`".to_owned(),
                None => format!("`upstream:` and `peers:` define {}", all()),
            };
            let message = format!("neither `upstream:` nor `peers:` has a `{name}`");
            build.faults.error(Some(node.place), path, message, Some(help));
        }
        index
    }
}

/// The wire is the other gateway's business.
pub(super) fn no_params(params: Option<&Node>, path: &str, build: &mut Build<'_>) {
    if let Some(node) = params {
        let message = "`params:` belong to the gateway that the appliance hangs on";
        let help = Some("remove them here".to_owned());
        build.faults.error(Some(node.place), &format!("{path}.params"), message, help);
    }
}

/// Every other gateway that is asked without registering there.
pub(super) fn peers(
    node: Option<&Node>,
    upstream: Option<&Node>,
    listen: &[Listen],
    build: &mut Build<'_>,
) -> Vec<Upstream> {
    let entries = node.and_then(|node| node.entries("peers", &mut build.faults)).unwrap_or_default();
    let mut peers = Vec::new();
    for (key, value) in entries {
        let path = format!("peers.{}", key.text);
        if names(upstream).any(|name| name == key.text) {
            let message =
                format!("`{}` is an entry of `upstream:`, too, and `via:` could mean both", key.text);
            build.faults.error(Some(key.place), &path, message, None);
        }
        peers.extend(peer(&key.text, value, &path, listen, build));
    }
    peers
}

fn peer(name: &str, value: &Node, path: &str, listen: &[Listen], build: &mut Build<'_>) -> Option<Upstream> {
    let mut map = MapReader::new(value, path, &mut build.faults)?;
    let server_path = map.at("server");
    let server_node = map.require("server", &mut build.faults);
    let transport = way(&mut map, build);
    let server = server_node.and_then(|node| node.host_port(0, &server_path, &mut build.faults));
    let server = server.map(|server| wanted(server, transport));
    let dial = tls::dial(&mut map, transport.unwrap_or(Transport::Udp), build);
    let domain_path = map.at("domain");
    let domain_wanted = map.take("domain").and_then(|node| domain(node, &domain_path, &mut build.faults));
    let user_path = map.at("user");
    let user = map.require("user", &mut build.faults);
    let user = user.and_then(|node| user_part(node, &user_path, build));
    let password_path = map.at("password");
    let password_node = map.require("password", &mut build.faults);
    map.finish(&mut build.faults);
    let password = password_node.and_then(|node| password(node, &password_path, name, build));
    let server = server?;
    if is_own(&server, listen) {
        let message = format!("{} is this gateway itself", server.words());
        let place = server_node.map(|node| node.place);
        build.faults.error(place, &server_path, message, Some("name the other gateway".to_owned()));
        return None;
    }
    let domain = domain_wanted.unwrap_or_else(|| server.domain());
    Some(Upstream {
        name: name.to_owned(),
        edges: vec![Edge { dial: dial.of(&server.host, &domain), server, is_proxy: false }],
        domain,
        expires: Duration::ZERO,
        trust_asserted: false,
        accounts: Vec::new(),
        peer: Some(PeerLogin { user: user?, password: password? }),
        publish: false,
    })
}

/// Whether a server is one of our own sockets, as far as the file tells.
fn is_own(server: &Wanted, listen: &[Listen]) -> bool {
    let Ok(ip) = server.host.parse::<std::net::IpAddr>() else { return false };
    let port = server.port.unwrap_or(server.transport.unwrap_or(Transport::Udp).port());
    let is = |listen: &Listen| {
        let own = listen.addr.ip();
        listen.addr.port() == port && (own == ip || own.is_unspecified() && ip.is_loopback())
    };
    listen.iter().any(is)
}

fn names(section: Option<&Node>) -> impl Iterator<Item = &str> {
    let entries = match section.map(|node| &node.data) {
        Some(Data::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, _)| key.text.as_str())
}

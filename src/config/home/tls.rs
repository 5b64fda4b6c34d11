//! `tls:` and `websocket:`, and what `upstream:` and `peers:` say of TLS and WebSockets.

use std::net::IpAddr;
use std::path::PathBuf;

use sipliance_tls::{File, days_left};

use super::{Around, Build};
use crate::config::yaml::{MapReader, Node};
use crate::config::{Dial, Listen, ServerTls, Transport};

/// Days before the end of a certificate from which on there is a warning: those of Let's Encrypt are
/// renewed 30 days before.
const SOON: i64 = 14;
/// Most entries of `websocket.origins`; more is a fault.
const MOST_ORIGINS: usize = 32;

/// `tls: {certificate: …, key: …, client_ca: …}`
pub(super) fn server(
    node: Option<&Node>,
    listen_node: Option<&Node>,
    listen: &[Listen],
    build: &mut Build<'_>,
) -> Option<ServerTls> {
    let needs = listen.iter().find(|listen| listen.transport.is_secure());
    let Some(node) = node else {
        if let Some(listen) = needs {
            let message = format!("`{}:` needs a certificate", listen.transport.word());
            let help = "add tls: {certificate: cert.pem, key: key.pem}".to_owned();
            build.faults.error(listen_node.map(|node| node.place), "listen", message, Some(help));
        }
        return None;
    };
    let mut map = MapReader::new(node, "tls", &mut build.faults)?;
    let certificate = map.require("certificate", &mut build.faults);
    let certificate = certificate.and_then(|node| node.line("tls.certificate", &mut build.faults));
    let key = map.require("key", &mut build.faults);
    let key = key.and_then(|node| node.line("tls.key", &mut build.faults));
    let client_ca = map.line("client_ca", &mut build.faults);
    map.finish(&mut build.faults);
    let tls = ServerTls {
        certificate: build.resolve(&certificate?),
        key: build.resolve(&key?),
        client_ca: client_ca.map(|path| build.resolve(&path)),
    };
    if matches!(build.around, Around::Disk { .. }) {
        check_server(&tls, node, build);
    }
    Some(tls)
}

fn check_server(tls: &ServerTls, node: &Node, build: &mut Build<'_>) {
    if let Err(problem) = sipliance_tls::server(&tls.settings()) {
        let key = if problem.file == File::Ca { "client_ca" } else { key_of(problem.file) };
        build.faults.error(Some(node.place), &format!("tls.{key}"), problem.text, None);
        return;
    }
    let days = days_left(&tls.certificate).unwrap_or(i64::MAX);
    if days > SOON {
        return;
    }
    let file = tls.certificate.display();
    let message = match days {
        ..0 => format!("{file}: the certificate has expired; phones will refuse it"),
        0 => format!("{file}: the certificate expires within a day"),
        _ => format!("{file}: the certificate expires in {days} days"),
    };
    build.faults.warning(Some(node.place), "tls.certificate", message, Some("renew it".to_owned()));
}

/// The key that names a file.
fn key_of(file: File) -> &'static str {
    match file {
        File::Certificate => "certificate",
        File::Key => "key",
        File::Ca => "ca",
    }
}

impl ServerTls {
    /// The same for the library.
    pub fn settings(&self) -> sipliance_tls::Server {
        sipliance_tls::Server {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_ca: self.client_ca.clone(),
        }
    }
}

impl Dial {
    /// The same for the library.
    pub fn settings(&self) -> sipliance_tls::Client {
        sipliance_tls::Client {
            ca: self.ca.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            pin: self.pin,
            names: sipliance_tls::Names::Domains(self.names.clone()),
        }
    }

    /// Without `name:` the certificate is that of the server as it is written, or of its domain; never
    /// what DNS made of them (RFC 5922 §4).
    pub(super) fn of(mut self, host: &str, domain: &str) -> Self {
        if self.names.is_empty() {
            let domain = domain.trim_start_matches('[').trim_end_matches(']');
            self.names = vec![host.to_ascii_lowercase(), domain.to_owned()];
            self.names.dedup();
        }
        self
    }
}

/// `websocket: {origins: […]}`
pub(super) fn origins(node: Option<&Node>, listen: &[Listen], build: &mut Build<'_>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let Some(mut map) = MapReader::new(node, "websocket", &mut build.faults) else { return Vec::new() };
    let texts = map.texts("origins", &mut build.faults).unwrap_or_default();
    map.finish(&mut build.faults);
    if !listen.iter().any(|listen| listen.transport.is_web()) {
        let message = "nothing listens for WebSockets";
        let help = "add wss:0.0.0.0:8443 to `listen:`".to_owned();
        build.faults.warning(Some(node.place), "websocket", message, Some(help));
    }
    let mut origins: Vec<String> = Vec::new();
    for (index, (place, text)) in texts.into_iter().enumerate() {
        let path = format!("websocket.origins[{index}]");
        if origins.len() >= MOST_ORIGINS {
            build.faults.error(Some(place), &path, format!("at most {MOST_ORIGINS} origins"), None);
            break;
        }
        match text.split_once("://") {
            Some(("https" | "http", host)) if is_authority(host) => origins.push(text.to_ascii_lowercase()),
            _ => {
                let message = format!("`{text}` is no origin of a web page");
                let help = "write https://HOST or https://HOST:PORT, without a path".to_owned();
                build.faults.error(Some(place), &path, message, Some(help));
            }
        }
    }
    origins
}

fn is_authority(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte))
}

/// The keys of one entry of `upstream:` or `peers:`; [`Dial::of`] completes it.
pub(super) fn dial(map: &mut MapReader<'_>, transport: Transport, build: &mut Build<'_>) -> Dial {
    let place = map.place;
    for (key, fits) in [
        ("ca", transport.is_secure()),
        ("name", transport.is_secure()),
        ("certificate", transport.is_secure()),
        ("key", transport.is_secure()),
        ("pin", transport.is_secure()),
        ("path", transport.is_web()),
    ] {
        if !fits && let Some(node) = map.take(key) {
            let belongs = if key == "path" {
                "`transport: wss` and `ws`"
            } else {
                "`transport: tls`, `wss` and `quic`"
            };
            let message = format!("`{key}:` belongs to {belongs}");
            build.faults.error(Some(node.place), &map.at(key), message, None);
        }
    }
    let path_of = |key, map: &mut MapReader<'_>, build: &mut Build<'_>| -> Option<PathBuf> {
        map.line(key, &mut build.faults).map(|path| build.resolve(&path))
    };
    let mut dial = Dial {
        ca: path_of("ca", map, build),
        certificate: path_of("certificate", map, build),
        key: path_of("key", map, build),
        pin: pin(map, build),
        names: name(map, build).into_iter().collect(),
        path: web_path(map, build),
    };
    if transport.is_secure() && matches!(build.around, Around::Disk { .. }) {
        // Without `ca:` it is the system's business, at the time.
        let checked = dial.ca.is_some() || dial.certificate.is_some() || dial.key.is_some();
        if checked && let Err(problem) = sipliance_tls::client(&dial.settings()) {
            build.faults.error(Some(place), &map.at(key_of(problem.file)), problem.text, None);
        }
    }
    if !transport.is_web() {
        dial.path.clear();
    }
    dial
}

fn name(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Option<String> {
    let path = map.at("name");
    let node = map.take("name")?;
    let name = node.line(&path, &mut build.faults)?.to_ascii_lowercase();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-.*_".contains(c);
    if name.chars().all(fits) || name.parse::<IpAddr>().is_ok() {
        return Some(name);
    }
    let message = format!("`{name}` is no name that a certificate could hold");
    build.faults.error(Some(node.place), &path, message, Some("write it as `sip.example.org`".to_owned()));
    None
}

/// The path of a WebSocket, `/` where none is given.
fn web_path(map: &mut MapReader<'_>, build: &mut Build<'_>) -> String {
    let at = map.at("path");
    let Some(node) = map.take("path") else { return "/".to_owned() };
    let path = node.line(&at, &mut build.faults).unwrap_or_default();
    if path.starts_with('/') && path.len() <= 200 && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return path;
    }
    let message = format!("`{path}` is no path");
    build.faults.error(Some(node.place), &at, message, Some("write it as /ws".to_owned()));
    "/".to_owned()
}

/// `openssl x509 -fingerprint -sha256` writes it with colons.
fn pin(map: &mut MapReader<'_>, build: &mut Build<'_>) -> Option<[u8; 32]> {
    let path = map.at("pin");
    let node = map.take("pin")?;
    let text = node.line(&path, &mut build.faults)?;
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let bytes: Option<Vec<u8>> =
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    let pin = bytes.filter(|_| digits.len() == 64).and_then(|bytes| bytes.try_into().ok());
    if pin.is_none() {
        let message = "64 hex digits are expected here: the SHA-256 of the server's certificate";
        let help = "openssl x509 -in cert.pem -noout -fingerprint -sha256".to_owned();
        build.faults.error(Some(node.place), &path, message, Some(help));
    }
    pin
}

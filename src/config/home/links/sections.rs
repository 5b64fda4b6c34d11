//! The entries of `mqtt:`, `serial:` and `modbus:`.

use std::path::PathBuf;

use super::hass::{self, Broker};
use super::{Named, Port};
use crate::config::home::Build;
use crate::config::home::users::password;
use crate::config::yaml::{MapReader, Node, host_port};
use crate::config::{HostPort, HouseName, MqttSettings, MqttTls};

pub(super) fn section<T>(
    node: Option<&Node>,
    section: &str,
    build: &mut Build<'_>,
    read: impl Fn(&str, MapReader<'_>, &mut Build<'_>) -> Option<T>,
) -> Vec<Named<T>> {
    let entries = node.and_then(|node| node.entries(section, &mut build.faults)).unwrap_or_default();
    let mut all = Vec::new();
    for (key, value) in entries {
        let path = format!("{section}.{}", key.text);
        let what =
            MapReader::new(value, &path, &mut build.faults).and_then(|map| read(&key.text, map, build));
        if let Some(what) = what {
            all.push(Named { name: key.text.clone(), place: key.place, what, link: None, needs: None });
        }
    }
    all
}

/// `{host: …, port: …, user: …, password: …, client_id: …}`
pub(super) fn broker(
    name: &str,
    mut map: MapReader<'_>,
    house: &HouseName,
    build: &mut Build<'_>,
) -> Option<Broker> {
    let tls = map.take("tls").and_then(|node| tls(node, &map.at("tls"), build));
    let version = map.take("version").and_then(|node| version(node, &map.at("version"), build));
    let usual = if tls.is_some() { 8883 } else { 1883 };
    let server = server(&mut map, usual, "broker.local", build);
    let user = map.line("user", &mut build.faults);
    let password_path = map.at("password");
    let password_node = map.take("password");
    let password = password_node.and_then(|node| password(node, &password_path, "mqtt", build));
    if let (Some(node), None) = (password_node, &user) {
        let message = "a password without `user:`";
        build.faults.error(Some(node.place), &password_path, message, None);
    }
    let client_id = map.line("client_id", &mut build.faults);
    let client_id = client_id.unwrap_or_else(|| format!("sipliance-{}-{name}", house.domain));
    let status = hass::status(&mut map, house, build);
    let announce_path = map.at("home_assistant");
    let announce = map.take("home_assistant");
    let announce = announce.and_then(|node| hass::announce(node, &announce_path, status.is_some(), build));
    map.finish(&mut build.faults);
    let five = version == Some(true);
    let settings = MqttSettings { server: server?, user, password, client_id, tls, five, status };
    Some(Broker { settings, announce })
}

/// `tls: {ca: …, cert: …, key: …}`, paths relative to the home file; `{}` believes the system's authorities.
fn tls(node: &Node, path: &str, build: &mut Build<'_>) -> Option<MqttTls> {
    let mut map = MapReader::new(node, path, &mut build.faults)?;
    let mut file =
        |key, build: &mut Build<'_>| map.text(key, &mut build.faults).map(|path| build.resolve(&path));
    let tls = MqttTls { ca: file("ca", build), cert: file("cert", build), key: file("key", build) };
    map.finish(&mut build.faults);
    if tls.cert.is_some() != tls.key.is_some() {
        let message = "a client certificate needs both `cert:` and `key:`";
        build.faults.error(Some(node.place), path, message, None);
    }
    Some(tls)
}

/// Whether it is MQTT 5.
fn version(node: &Node, path: &str, build: &mut Build<'_>) -> Option<bool> {
    match node.text(path, &mut build.faults)?.as_str() {
        "5" => Some(true),
        "3" | "3.1.1" => Some(false),
        other => {
            let message = format!("MQTT {other} is not known; there are 3.1.1 and 5");
            build.faults.error(Some(node.place), path, message, None);
            None
        }
    }
}

/// `host:` and `port:`.
fn server(map: &mut MapReader<'_>, usual: u16, example: &str, build: &mut Build<'_>) -> Option<HostPort> {
    let path = map.at("host");
    let host = map.require("host", &mut build.faults);
    let port = map.int("port", 1..=65535, &mut build.faults).and_then(|port| u16::try_from(port).ok());
    let node = host?;
    let text = node.text(&path, &mut build.faults)?;
    match host_port(&text, 0) {
        Some(HostPort { host, port: 0 }) => Some(HostPort { host, port: port.unwrap_or(usual) }),
        _ => {
            let message = format!("`{text}` is no host name or address");
            let help = format!("write host: {example} and, where it is not {usual}, port: {}", usual + 1);
            build.faults.error(Some(node.place), &path, message, Some(help));
            None
        }
    }
}

/// `{port: /dev/serial/by-id/…}`
pub(super) fn port(_: &str, mut map: MapReader<'_>, build: &mut Build<'_>) -> Option<Port> {
    let path = map.at("port");
    let node = map.require("port", &mut build.faults);
    map.finish(&mut build.faults);
    let node = node?;
    let text = node.text(&path, &mut build.faults)?;
    if !text.starts_with('/') {
        let help = "write the whole path: /dev/serial/by-id/…".to_owned();
        let message = format!("`{text}` is no path of a serial port");
        build.faults.error(Some(node.place), &path, message, Some(help));
        return None;
    }
    if ["/dev/ttyUSB", "/dev/ttyACM"].iter().any(|start| text.starts_with(start)) {
        let help = "`ls -l /dev/serial/by-id` shows a name that stays; without a serial number use by-path"
            .to_owned();
        let message = format!("{text} may be another adapter after the next start");
        build.faults.warning(Some(node.place), &path, message, Some(help));
    }
    Some(Port::Serial(PathBuf::from(text)))
}

/// `{host: …, port: 502}`
pub(super) fn modbus_host(_: &str, mut map: MapReader<'_>, build: &mut Build<'_>) -> Option<Port> {
    let server = server(&mut map, 502, "inverter.local", build);
    map.finish(&mut build.faults);
    server.map(Port::Tcp)
}

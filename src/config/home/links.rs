//! `mqtt:` and `serial:`, and which device hangs on what.

use std::path::PathBuf;

use super::Build;
use super::users::password;
use crate::config::fault::{Place, nearest};
use crate::config::yaml::{MapReader, Node, host_port};
use crate::config::{GpioLine, GpioSettings, HostPort, Link, LinkId, LinkSettings, MqttSettings};
use crate::device::profile::{DriverKind, LinkNeeds, Model, SerialNeeds};

/// The broker or port that a device uses when it names none and there are several.
const MAIN: &str = "main";

/// What can be hung on, and what is.
pub(super) struct Links {
    brokers: Vec<Named<MqttSettings>>,
    ports: Vec<Named<PathBuf>>,
    links: Vec<Link>,
    lines: Vec<(String, String, Place)>,
}

/// An entry of `mqtt:` or `serial:`.
struct Named<T> {
    name: String,
    place: Place,
    what: T,
    /// The link, as soon as a device uses it.
    link: Option<LinkId>,
    /// The first device on a serial port, with what its profile says about the port.
    needs: Option<(String, SerialNeeds)>,
}

/// The device that asks for a link.
pub(super) struct Asking<'a> {
    pub(super) id: &'a str,
    pub(super) path: &'a str,
    pub(super) place: Place,
    pub(super) broker: Option<&'a Node>,
    pub(super) port: Option<&'a Node>,
}

impl Links {
    /// Reads both sections.
    pub(super) fn read(mqtt: Option<&Node>, serial: Option<&Node>, build: &mut Build<'_>) -> Self {
        let brokers = section(mqtt, "mqtt", build, broker);
        let ports: Vec<Named<PathBuf>> = section(serial, "serial", build, port);
        for (index, port) in ports.iter().enumerate() {
            if let Some(first) = ports.iter().take(index).find(|other| other.what == port.what) {
                let message = format!(
                    "`{}` is the same port as `{}` at line {}",
                    port.name, first.name, first.place.line
                );
                build.faults.error(Some(port.place), &format!("serial.{}", port.name), message, None);
            }
        }
        Self { brokers, ports, links: Vec::new(), lines: Vec::new() }
    }

    /// The link for a device, or a fault.
    pub(super) fn attach(
        &mut self,
        asking: &Asking<'_>,
        model: &Model,
        build: &mut Build<'_>,
    ) -> Option<LinkId> {
        let driver = model.driver;
        for (node, key, fits) in [
            (asking.broker, "broker", driver == DriverKind::Mqtt),
            (asking.port, "port", driver == DriverKind::Serial),
        ] {
            if let (Some(node), false) = (node, fits) {
                let message = format!("`{key}:` has no meaning for an appliance on {}", driver.word());
                let path = format!("{}.{key}", asking.path);
                build.faults.error(Some(node.place), &path, message, Some("remove the line".to_owned()));
            }
        }
        match &model.link {
            LinkNeeds::Mqtt { .. } => {
                let index = choose(&self.brokers, asking, asking.broker, "broker", "mqtt", build)?;
                let broker = self.brokers.get_mut(index)?;
                let link =
                    || Link { name: broker.name.clone(), settings: LinkSettings::Mqtt(broker.what.clone()) };
                let id = broker.link.unwrap_or_else(|| push(&mut self.links, link()));
                broker.link = Some(id);
                Some(id)
            }
            LinkNeeds::Serial(needs) => self.serial(asking, needs, build),
            LinkNeeds::Gpio(lines) => Some(self.gpio(asking, lines, build)),
        }
    }

    fn serial(&mut self, asking: &Asking<'_>, needs: &SerialNeeds, build: &mut Build<'_>) -> Option<LinkId> {
        let index = choose(&self.ports, asking, asking.port, "port", "serial", build)?;
        let port = self.ports.get_mut(index)?;
        match &port.needs {
            Some((first, known)) if !known.agrees(needs) => {
                let message = format!(
                    "`{}` and `{first}` share the port `{}` and their profiles set it up differently",
                    asking.id, port.name
                );
                build.faults.error(Some(asking.place), asking.path, message, None);
                return None;
            }
            Some(_) => {}
            None => port.needs = Some((asking.id.to_owned(), needs.clone())),
        }
        let settings = LinkSettings::Serial(needs.at(port.what.clone()));
        let link = Link { name: port.name.clone(), settings };
        let id = port.link.unwrap_or_else(|| push(&mut self.links, link));
        port.link = Some(id);
        Some(id)
    }

    /// Lines belong to one device each; a relay with two masters would move for both.
    fn gpio(&mut self, asking: &Asking<'_>, lines: &[GpioLine], build: &mut Build<'_>) -> LinkId {
        for line in lines {
            match self.lines.iter().find(|(pin, _, _)| *pin == line.pin) {
                Some((pin, other, place)) => {
                    let message = format!(
                        "the line {pin} already belongs to `{other}` at line {}, column {}",
                        place.line, place.column
                    );
                    let help = Some("each line belongs to one device".to_owned());
                    build.faults.error(Some(asking.place), asking.path, message, help);
                }
                None => self.lines.push((line.pin.clone(), asking.id.to_owned(), asking.place)),
            }
        }
        let settings = LinkSettings::Gpio(GpioSettings { lines: lines.to_vec() });
        push(&mut self.links, Link { name: asking.id.to_owned(), settings })
    }

    /// The links that devices use; a broker or a port without a device is worth a warning.
    pub(super) fn finish(self, any_devices: bool, build: &mut Build<'_>) -> Vec<Link> {
        let idle_brokers =
            self.brokers.iter().filter(|b| b.link.is_none()).map(|b| ("mqtt", &b.name, b.place));
        let idle_ports = self.ports.iter().filter(|p| p.link.is_none()).map(|p| ("serial", &p.name, p.place));
        // A device with a fault of its own has no link, and would make this a wrong accusation.
        if any_devices && !build.faults.fatal() {
            for (section, name, place) in idle_brokers.chain(idle_ports) {
                let message = format!("no device uses `{name}`, so it is not opened");
                build.faults.warning(Some(place), &format!("{section}.{name}"), message, None);
            }
        }
        self.links
    }
}

fn push(links: &mut Vec<Link>, link: Link) -> LinkId {
    links.push(link);
    LinkId(links.len() - 1)
}

fn section<T>(
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
fn broker(name: &str, mut map: MapReader<'_>, build: &mut Build<'_>) -> Option<MqttSettings> {
    let host_path = map.at("host");
    let host = map.require("host", &mut build.faults);
    let host = host.and_then(|node| Some((node, node.text(&host_path, &mut build.faults)?)));
    let port = map.int("port", 1..=65535, &mut build.faults).unwrap_or(1883);
    let server = host.and_then(|(node, host)| match host_port(&host, 0) {
        Some(HostPort { host, port: 0 }) => {
            Some(HostPort { host, port: u16::try_from(port).unwrap_or(1883) })
        }
        _ => {
            let message = format!("`{host}` is no host name or address");
            let help = "write host: broker.local and, where it is not 1883, port: 1884".to_owned();
            build.faults.error(Some(node.place), &host_path, message, Some(help));
            None
        }
    });
    let user = map.line("user", &mut build.faults);
    let password_path = map.at("password");
    let password_node = map.take("password");
    let password = password_node.and_then(|node| password(node, &password_path, "mqtt", build));
    if let (Some(node), None) = (password_node, &user) {
        let message = "a password without `user:`";
        build.faults.error(Some(node.place), &password_path, message, None);
    }
    let client_id = map.line("client_id", &mut build.faults).unwrap_or_else(|| format!("sipliance-{name}"));
    map.finish(&mut build.faults);
    Some(MqttSettings { server: server?, user, password, client_id })
}

/// `{port: /dev/serial/by-id/…}`
fn port(_: &str, mut map: MapReader<'_>, build: &mut Build<'_>) -> Option<PathBuf> {
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
    Some(PathBuf::from(text))
}

/// The entry that a device names, or the only one, or `main`.
fn choose<T>(
    all: &[Named<T>],
    asking: &Asking<'_>,
    named: Option<&Node>,
    key: &str,
    section: &str,
    build: &mut Build<'_>,
) -> Option<usize> {
    let path = format!("{}.{key}", asking.path);
    let Some(node) = named else {
        let index = match all {
            [_] => Some(0),
            _ => all.iter().position(|entry| entry.name == MAIN),
        };
        if index.is_none() {
            let (message, help) = if all.is_empty() {
                let example = match section {
                    "mqtt" => "mqtt: {main: {host: 192.168.1.10}}",
                    _ => "serial: {main: {port: /dev/serial/by-id/…}}",
                };
                (
                    format!("`{}` needs a {key}, and `{section}:` defines none", asking.id),
                    format!("add {example}"),
                )
            } else {
                (format!("`{}` must say which {key} it uses", asking.id), format!("add {key}: {}", list(all)))
            };
            build.faults.error(Some(asking.place), asking.path, message, Some(help));
        }
        return index;
    };
    let name = node.text(&path, &mut build.faults)?;
    let index = all.iter().position(|entry| entry.name == name);
    if index.is_none() {
        let help = match nearest(&name, all.iter().map(|entry| entry.name.as_str())) {
            Some(known) => format!("did you mean `{known}`?"),
            None if all.is_empty() => format!("define it below `{section}:`"),
            None => format!("`{section}:` defines {}", list(all)),
        };
        let message = format!("the {key} `{name}` is not defined");
        build.faults.error(Some(node.place), &path, message, Some(help));
    }
    index
}

fn list<T>(all: &[Named<T>]) -> String {
    all.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(" or ")
}

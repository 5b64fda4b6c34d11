//! `mqtt:`, `serial:` and `modbus:`, and which device hangs on what.

mod hass;
mod sections;

use std::path::PathBuf;

use super::Build;
use super::elsewhere::Elsewhere;
use crate::config::fault::{Place, nearest};
use crate::config::yaml::Node;
use crate::config::{
    GpioLine, GpioSettings, HostPort, HouseName, Link, LinkId, LinkSettings, MeterSettings, ModbusLine,
    ModbusSettings, SipSettings,
};
use crate::device::profile::{DriverKind, LinkNeeds, MeterNeeds, ModbusNeeds, Model, SerialNeeds};
use hass::Broker;
use sections::{broker, modbus_host, port, section};

/// The broker or port that a device uses when it names none and there are several.
const MAIN: &str = "main";

/// What can be hung on, and what is.
pub(super) struct Links {
    brokers: Vec<Named<Broker>>,
    /// Serial ports first, then network addresses of Modbus units.
    ports: Vec<Named<Port>>,
    w1: Option<LinkId>,
    links: Vec<Link>,
    lines: Vec<(String, String, Place)>,
}

/// Where `port:` leads to.
#[derive(Clone, PartialEq, Eq)]
enum Port {
    /// `serial:`
    Serial(PathBuf),
    /// `modbus:`
    Tcp(HostPort),
}

impl Port {
    fn section(&self) -> &'static str {
        match self {
            Port::Serial(_) => "serial",
            Port::Tcp(_) => "modbus",
        }
    }
}

/// How the devices of a port speak; all must agree.
enum Needs {
    Serial(Box<SerialNeeds>),
    Meter(MeterNeeds),
    Modbus(ModbusNeeds),
}

/// An entry of `mqtt:`, `serial:` or `modbus:`.
struct Named<T> {
    name: String,
    place: Place,
    what: T,
    /// The link, as soon as a device uses it.
    link: Option<LinkId>,
    /// The first device on a port, with what its profile says about the port.
    needs: Option<(String, Needs)>,
}

/// The device that asks for a link.
pub(super) struct Asking<'a> {
    pub(super) id: &'a str,
    pub(super) path: &'a str,
    pub(super) place: Place,
    pub(super) broker: Option<&'a Node>,
    pub(super) port: Option<&'a Node>,
    pub(super) elsewhere: Option<&'a Elsewhere>,
}

impl Links {
    /// Reads the three sections.
    pub(super) fn read(
        mqtt: Option<&Node>,
        serial: Option<&Node>,
        modbus: Option<&Node>,
        house: &HouseName,
        build: &mut Build<'_>,
    ) -> Self {
        let brokers = section(mqtt, "mqtt", build, |name, map, build| broker(name, map, house, build));
        hass::check_status(&brokers, build);
        let mut ports: Vec<Named<Port>> = section(serial, "serial", build, port);
        ports.extend(section(modbus, "modbus", build, modbus_host));
        for (index, port) in ports.iter().enumerate() {
            let mut before = ports.iter().take(index);
            let twin = before.find(|other| other.what == port.what || other.name == port.name);
            if let Some(first) = twin {
                let what =
                    if first.name == port.name { "has the same name as" } else { "is the same port as" };
                let message = format!("`{}` {what} `{}` at line {}", port.name, first.name, first.place.line);
                let path = format!("{}.{}", port.what.section(), port.name);
                build.faults.error(Some(port.place), &path, message, None);
            }
        }
        Self { brokers, ports, w1: None, links: Vec::new(), lines: Vec::new() }
    }

    /// The link for a device, or a fault.
    pub(super) fn attach(
        &mut self,
        asking: &Asking<'_>,
        model: &Model,
        build: &mut Build<'_>,
    ) -> Option<LinkId> {
        let driver = model.driver;
        for (node, key, fits) in
            [(asking.broker, "broker", driver == DriverKind::Mqtt), (asking.port, "port", has_port(driver))]
        {
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
                let link = || Link {
                    name: broker.name.clone(),
                    settings: LinkSettings::Mqtt(broker.what.settings.clone()),
                };
                let id = broker.link.unwrap_or_else(|| push(&mut self.links, link()));
                broker.link = Some(id);
                Some(id)
            }
            LinkNeeds::Serial(needs) => self.serial(asking, needs, build),
            LinkNeeds::Modbus(needs) => self.modbus(asking, needs, build),
            LinkNeeds::Meter(needs) => self.meter(asking, needs, build),
            LinkNeeds::Gpio(lines) => Some(self.gpio(asking, lines, build)),
            LinkNeeds::Sip(watched) => {
                let Some(elsewhere) = asking.elsewhere else { return homeless(asking, build) };
                let (target, via) = (elsewhere.target.clone(), elsewhere.via);
                let settings = LinkSettings::Sip(SipSettings { target, via, watched: *watched });
                Some(push(&mut self.links, Link { name: asking.id.to_owned(), settings }))
            }
            LinkNeeds::W1(_) => {
                let link = || Link { name: "w1".to_owned(), settings: LinkSettings::W1 };
                Some(*self.w1.get_or_insert_with(|| push(&mut self.links, link())))
            }
        }
    }

    fn serial(&mut self, asking: &Asking<'_>, needs: &SerialNeeds, build: &mut Build<'_>) -> Option<LinkId> {
        let same = |known: &Needs| matches!(known, Needs::Serial(known) if known.agrees(needs));
        let settings = |path: &PathBuf| LinkSettings::Serial(needs.at(path.clone()));
        self.on_port(asking, Needs::Serial(Box::new(needs.clone())), same, settings, build)
    }

    fn meter(&mut self, asking: &Asking<'_>, needs: &MeterNeeds, build: &mut Build<'_>) -> Option<LinkId> {
        let same = |known: &Needs| matches!(known, Needs::Meter(known) if known.settings == needs.settings);
        let settings = |path: &PathBuf| {
            LinkSettings::Meter(MeterSettings { path: path.clone(), ..needs.settings.clone() })
        };
        self.on_port(asking, Needs::Meter(needs.clone()), same, settings, build)
    }

    /// A serial port, which all its devices set up alike.
    fn on_port(
        &mut self,
        asking: &Asking<'_>,
        needs: Needs,
        same: impl FnOnce(&Needs) -> bool,
        settings: impl FnOnce(&PathBuf) -> LinkSettings,
        build: &mut Build<'_>,
    ) -> Option<LinkId> {
        let index = choose(&self.ports, asking, asking.port, "port", "serial", build)?;
        let port = self.ports.get_mut(index)?;
        let Port::Serial(path) = &port.what else {
            return misplaced(
                asking,
                &port.name,
                "a network address, and the appliance needs a serial port",
                build,
            );
        };
        match &port.needs {
            Some((_, known)) if same(known) => {}
            Some((first, _)) => return disagree(asking, first, &port.name, build),
            None => port.needs = Some((asking.id.to_owned(), needs)),
        }
        let link = Link { name: port.name.clone(), settings: settings(path) };
        let id = port.link.unwrap_or_else(|| push(&mut self.links, link));
        port.link = Some(id);
        Some(id)
    }

    /// Units share a line; the slowest of them decides how long an answer may take.
    fn modbus(&mut self, asking: &Asking<'_>, needs: &ModbusNeeds, build: &mut Build<'_>) -> Option<LinkId> {
        let index = choose(&self.ports, asking, asking.port, "port", "serial", build)?;
        let port = self.ports.get_mut(index)?;
        let line = match &port.what {
            Port::Serial(path) => {
                let (path, baud, format) = (path.clone(), needs.baud, needs.format.clone());
                ModbusLine::Rtu { path, baud, format }
            }
            Port::Tcp(host) => ModbusLine::Tcp(host.clone()),
        };
        let rtu = matches!(line, ModbusLine::Rtu { .. });
        match &port.needs {
            Some((_, Needs::Modbus(known)))
                if !rtu || (known.baud, &known.format) == (needs.baud, &needs.format) => {}
            Some((first, _)) => return disagree(asking, first, &port.name, build),
            None => port.needs = Some((asking.id.to_owned(), Needs::Modbus(needs.clone()))),
        }
        let ModbusNeeds { gap, timeout, retries, .. } = *needs;
        let settings = LinkSettings::Modbus(ModbusSettings { line, gap, timeout, retries });
        let link = Link { name: port.name.clone(), settings };
        let id = port.link.unwrap_or_else(|| push(&mut self.links, link));
        port.link = Some(id);
        if let Some(Link { settings: LinkSettings::Modbus(all), .. }) = self.links.get_mut(id.0) {
            all.gap = all.gap.max(gap);
            all.timeout = all.timeout.max(timeout);
            all.retries = all.retries.max(retries);
        }
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

    /// Every broker, also those that no device uses yet.
    pub(super) fn brokers(&self) -> Vec<(String, crate::config::MqttSettings)> {
        self.brokers.iter().map(|broker| (broker.name.clone(), broker.what.settings.clone())).collect()
    }

    /// The links that devices use; a broker or a port without a device is worth a warning.
    pub(super) fn finish(self, any_devices: bool, build: &mut Build<'_>) -> Vec<Link> {
        let idle_brokers =
            self.brokers.iter().filter(|b| b.link.is_none()).map(|b| ("mqtt", &b.name, b.place));
        let idle_ports =
            self.ports.iter().filter(|p| p.link.is_none()).map(|p| (p.what.section(), &p.name, p.place));
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

/// Whether `port:` says where the appliance is.
fn has_port(driver: DriverKind) -> bool {
    matches!(driver, DriverKind::Serial | DriverKind::P1 | DriverKind::Iec62056 | DriverKind::Modbus)
}

fn homeless(asking: &Asking<'_>, build: &mut Build<'_>) -> Option<LinkId> {
    let message = format!("`{}` has a profile of something elsewhere, and does not say where", asking.id);
    let help = "add remote: sip:NAME@HOST and via: an entry of `upstream:` or `peers:`".to_owned();
    build.faults.error(Some(asking.place), asking.path, message, Some(help));
    None
}

fn misplaced(asking: &Asking<'_>, port: &str, why: &str, build: &mut Build<'_>) -> Option<LinkId> {
    build.faults.error(Some(asking.place), asking.path, format!("`{port}` is {why}"), None);
    None
}

fn disagree(asking: &Asking<'_>, first: &str, port: &str, build: &mut Build<'_>) -> Option<LinkId> {
    let message = format!(
        "`{}` and `{first}` share the port `{port}` and their profiles set it up differently",
        asking.id
    );
    let help =
        Some("one port has one speed and one way to speak; the other needs a port of its own".to_owned());
    build.faults.error(Some(asking.place), asking.path, message, help);
    None
}

fn push(links: &mut Vec<Link>, link: Link) -> LinkId {
    links.push(link);
    LinkId(links.len() - 1)
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

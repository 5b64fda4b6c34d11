//! From the configuration of a link to its driver.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sipliance_driver::{Event, Exit, Failure, Outbox, Port, Why};
use sipliance_driver_sim as sim;

use super::Wires;
#[cfg(feature = "gpio")]
use super::lines;
#[cfg(feature = "mqtt")]
use crate::config::MqttSettings;
#[cfg(feature = "gpio")]
use crate::config::{GpioDirection, GpioLine, GpioSettings, Pull};
#[cfg(feature = "modbus")]
use crate::config::{HostPort, ModbusLine, ModbusSettings};
use crate::config::{Link, LinkId, LinkSettings};
#[cfg(feature = "serial")]
use crate::config::{MeterSettings, SerialSettings};

/// Starts a driver on a port, as often as it takes.
pub(super) struct Start {
    /// The kind of driver, for people.
    pub kind: &'static str,
    /// Tells a driver that runs what its link is now, where it can take that without being started anew.
    pub alter: Option<Alter>,
    run: Box<dyn FnMut(Port) -> Running + Send>,
}

/// See [`Start::alter`].
pub(super) type Alter = Arc<dyn Fn(&Link) + Send + Sync>;

/// A running driver.
pub(super) type Running = Pin<Box<dyn Future<Output = Exit> + Send>>;

impl Start {
    /// Any function that makes a driver run.
    pub fn new<F: Future<Output = Exit> + Send + 'static>(
        kind: &'static str,
        mut run: impl FnMut(Port) -> F + Send + 'static,
    ) -> Self {
        Self { kind, alter: None, run: Box::new(move |port| Box::pin(run(port))) }
    }

    /// The driver of a configured link.
    pub fn of(id: LinkId, link: &Link, wires: &Arc<Wires>) -> Self {
        match &link.settings {
            #[cfg(feature = "mqtt")]
            LinkSettings::Mqtt(settings) => {
                let settings = mqtt(settings);
                Self::new("mqtt", move |port| sipliance_driver_mqtt::run(settings.clone(), port))
            }
            #[cfg(feature = "serial")]
            LinkSettings::Serial(settings) => {
                let settings = serial(settings);
                Self::new("serial", move |port| sipliance_driver_serial::run(settings.clone(), port))
            }
            #[cfg(feature = "serial")]
            LinkSettings::Meter(settings) => {
                let settings = meter(settings);
                Self::new("iec62056-21", move |port| {
                    sipliance_driver_serial::meter::run(settings.clone(), port)
                })
            }
            #[cfg(feature = "gpio")]
            LinkSettings::Gpio(settings) => {
                let (tell, wanted) = tokio::sync::watch::channel(gpio(&link.name, settings));
                let alter = move |link: &Link| {
                    if let LinkSettings::Gpio(settings) = &link.settings {
                        tell.send_replace(gpio(&link.name, settings));
                    }
                };
                let start = Self::new("gpio", move |port| lines::run(wanted.clone(), port));
                Self { alter: Some(Arc::new(alter)), ..start }
            }
            #[cfg(feature = "modbus")]
            LinkSettings::Modbus(settings) => {
                let settings = modbus(settings);
                Self::new("modbus", move |port| sipliance_driver_modbus::run(settings.clone(), port))
            }
            #[cfg(feature = "gpio")]
            LinkSettings::W1 => Self::new("w1", |port| {
                sipliance_driver_w1::run(sipliance_driver_w1::Settings::default(), port)
            }),
            #[cfg(not(feature = "modbus"))]
            LinkSettings::Modbus(_) => Self::absent("modbus", &link.name),
            #[cfg(not(feature = "gpio"))]
            LinkSettings::W1 => Self::absent("gpio", &link.name),
            #[cfg(not(feature = "mqtt"))]
            LinkSettings::Mqtt(_) => Self::absent("mqtt", &link.name),
            #[cfg(not(feature = "serial"))]
            LinkSettings::Serial(_) | LinkSettings::Meter(_) => Self::absent("serial", &link.name),
            #[cfg(not(feature = "gpio"))]
            LinkSettings::Gpio(_) => Self::absent("gpio", &link.name),
            // The gateway itself watches it.
            LinkSettings::Sip(_) => Self::new("sip", idle),
            LinkSettings::Sim => {
                let wires = Arc::clone(wires);
                Self::new("sim", move |port| sim::run(wires(id), port))
            }
        }
    }

    /// Stands where a driver would be that this build does not have.
    #[cfg_attr(
        all(feature = "mqtt", feature = "serial", feature = "modbus", feature = "gpio", not(test)),
        allow(dead_code)
    )]
    pub fn absent(kind: &'static str, link: &str) -> Self {
        let why =
            Why(format!("link {link}: this program was built without its {kind} driver (feature {kind:?})"));
        Self::new(kind, move |port| absent(why.clone(), port))
    }

    /// Starts the driver.
    pub fn run(&mut self, port: Port) -> Running {
        (self.run)(port)
    }
}

/// Holds the place of a link that no driver has.
async fn idle(mut port: Port) -> Exit {
    while let Some(op) = port.ops.recv().await {
        if let Some(id) = op.id() {
            let failure = Failure::Refused("no driver has this link".to_owned());
            let _ = port.events.send(Event::Done { id, result: Err(failure) }).await;
        }
    }
    Exit::Closed
}

pub(super) async fn absent(why: Why, port: Port) -> Exit {
    let Port { mut ops, events } = port;
    let mut outbox = Outbox::new(events);
    outbox.push(Event::Down(why.clone()));
    loop {
        tokio::select! {
            op = ops.recv() => match op {
                None => return Exit::Closed,
                Some(op) => if let Some(id) = op.id() {
                    outbox.done(id, Err(Failure::Refused(why.0.clone())));
                },
            },
            () = outbox.flush(), if !outbox.is_empty() => {}
        }
    }
}

#[cfg(feature = "mqtt")]
pub(super) fn mqtt(settings: &MqttSettings) -> sipliance_driver_mqtt::Settings {
    sipliance_driver_mqtt::Settings {
        host: settings.server.host.clone(),
        port: settings.server.port,
        user: settings.user.clone(),
        password: settings.password.clone(),
        client_id: settings.client_id.clone(),
        tls: settings.tls.as_ref().map(|tls| sipliance_driver_mqtt::Tls {
            ca: tls.ca.clone(),
            cert: tls.cert.clone(),
            key: tls.key.clone(),
        }),
        version: match settings.five {
            true => sipliance_driver_mqtt::Version::Five,
            false => sipliance_driver_mqtt::Version::Three,
        },
        listen_only: false,
        status_topic: settings.status.clone(),
    }
}

#[cfg(feature = "serial")]
fn serial(settings: &SerialSettings) -> sipliance_driver_serial::Settings {
    sipliance_driver_serial::Settings {
        path: settings.path.clone(),
        baud: settings.baud,
        format: settings.format.clone(),
        framing: settings.framing.clone(),
        gap: settings.gap,
        echo: settings.echo,
        wake: settings.wake.clone(),
    }
}

#[cfg(feature = "serial")]
fn meter(settings: &MeterSettings) -> sipliance_driver_serial::meter::Settings {
    sipliance_driver_serial::meter::Settings {
        path: settings.path.clone(),
        baud: settings.baud,
        format: settings.format.clone(),
        fixed: settings.fixed,
    }
}

#[cfg(feature = "modbus")]
fn modbus(settings: &ModbusSettings) -> sipliance_driver_modbus::Settings {
    use sipliance_driver_modbus as driver;
    driver::Settings {
        line: match &settings.line {
            ModbusLine::Rtu { path, baud, format } => {
                driver::Line::Rtu { path: path.clone(), baud: *baud, format: format.clone() }
            }
            ModbusLine::Tcp(HostPort { host, port }) => driver::Line::Tcp { host: host.clone(), port: *port },
        },
        gap: settings.gap,
        timeout: settings.timeout,
        retries: settings.retries,
    }
}

#[cfg(feature = "gpio")]
fn gpio(link: &str, settings: &GpioSettings) -> sipliance_driver_gpio::Settings {
    sipliance_driver_gpio::Settings {
        lines: settings.lines.iter().map(gpio_line).collect(),
        // The kernel keeps 31 bytes.
        consumer: format!("sipliance {link}").chars().filter(char::is_ascii).take(31).collect(),
    }
}

#[cfg(feature = "gpio")]
fn gpio_line(line: &GpioLine) -> sipliance_driver_gpio::Line {
    use sipliance_driver_gpio as driver;
    let pull = |pull| match pull {
        Pull::Up => driver::Pull::Up,
        Pull::Down => driver::Pull::Down,
        Pull::None => driver::Pull::None,
    };
    driver::Line {
        name: line.name.clone(),
        pin: line.pin.clone(),
        active_low: line.active_low,
        direction: match line.direction {
            GpioDirection::In { pull: up, debounce } => driver::Direction::In { pull: pull(up), debounce },
            GpioDirection::Out { initial, at_exit } => driver::Direction::Out { initial, at_exit },
        },
    }
}

//! `status:` and `home_assistant:` of a broker: what the gateway tells there of itself and of the house.

use super::{Links, Named, push};
use crate::config::fault::{Place, nearest};
use crate::config::home::Build;
use crate::config::home::alerts::known_users;
use crate::config::yaml::{Data, MapReader, Node};
use crate::config::{
    DeviceConfig, DeviceId, HomeAssistant, HouseName, Link, LinkSettings, MqttSettings, User,
};
use crate::device::profile::DriverKind;
use crate::limits::ANNOUNCED;

/// An entry of `mqtt:`.
#[derive(Clone)]
pub(in crate::config::home) struct Broker {
    pub(super) settings: MqttSettings,
    pub(super) announce: Option<Announce>,
}

/// `home_assistant:` before devices and users are known.
#[derive(Clone)]
pub(super) struct Announce {
    path: String,
    place: Place,
    prefix: String,
    devices: Vec<(Place, String)>,
    user: Option<(Place, String)>,
}

/// What everything begins with that the gateway itself says on a broker.
fn own_tree(house: &HouseName) -> String {
    format!("sipliance/{}/", house.domain)
}

/// `status: TOPIC` or `status: false`.
pub(super) fn status(map: &mut MapReader<'_>, house: &HouseName, build: &mut Build<'_>) -> Option<String> {
    let usual = || Some(format!("{}status", own_tree(house)));
    let path = map.at("status");
    match map.take("status") {
        None => usual(),
        Some(Node { data: Data::Bool(wanted), .. }) => usual().filter(|_| *wanted),
        Some(node) => {
            let text = node.text(&path, &mut build.faults)?;
            good_topic(&text, node.place, &path, build).then_some(text)
        }
    }
}

fn good_topic(text: &str, place: Place, path: &str, build: &mut Build<'_>) -> bool {
    let bad = |c: char| matches!(c, '+' | '#') || c.is_control();
    if !text.is_empty() && !text.contains(bad) && !text.starts_with(['$', '/']) && !text.ends_with('/') {
        return true;
    }
    let help = Some("write words with / between them, without + and #".to_owned());
    build.faults.error(Some(place), path, format!("`{text}` is no topic to write to"), help);
    false
}

/// `{prefix: homeassistant, devices: "*", as: USER}`
pub(super) fn announce(node: &Node, path: &str, status: bool, build: &mut Build<'_>) -> Option<Announce> {
    let mut map = MapReader::new(node, path, &mut build.faults)?;
    let prefix_path = map.at("prefix");
    let prefix = map.take("prefix").map(|node| (node.place, node.text(&prefix_path, &mut build.faults)));
    let devices = map.texts("devices", &mut build.faults);
    let as_path = map.at("as");
    let user = map.take("as").and_then(|node| Some((node.place, node.text(&as_path, &mut build.faults)?)));
    map.finish(&mut build.faults);
    if !status {
        let message = "Home Assistant could not see that the gateway is gone: `status:` is off";
        let help = "leave `status: false` out".to_owned();
        build.faults.error(Some(node.place), path, message, Some(help));
    }
    let prefix = match prefix {
        None => "homeassistant".to_owned(),
        Some((place, text)) => {
            let text = text?;
            good_topic(&text, place, &prefix_path, build).then_some(text)?
        }
    };
    let everything = || vec![(node.place, "*".to_owned())];
    let devices = devices.unwrap_or_else(everything);
    Some(Announce { path: path.to_owned(), place: node.place, prefix, devices, user })
}

impl Links {
    /// What is announced where, now that devices and users are known.
    pub(in crate::config::home) fn announced(
        &mut self,
        house: &HouseName,
        devices: &[DeviceConfig],
        users: &[User],
        build: &mut Build<'_>,
    ) -> Vec<HomeAssistant> {
        let mut all = Vec::new();
        let brokers = self.brokers.iter_mut().filter(|broker| broker.what.announce.is_some());
        for broker in brokers {
            let Some(announce) = broker.what.announce.clone() else { continue };
            let settings = broker.what.settings.clone();
            let Some(status) = settings.status.clone() else { continue };
            let link = || Link { name: broker.name.clone(), settings: LinkSettings::Mqtt(settings) };
            let id = broker.link.unwrap_or_else(|| push(&mut self.links, link()));
            broker.link = Some(id);
            let users = known_users(
                announce.user.clone().into_iter().collect(),
                &format!("{}.as", announce.path),
                users,
                build,
            );
            all.push(HomeAssistant {
                link: id,
                prefix: announce.prefix.clone(),
                tree: format!("sipliance/{}", house.domain),
                status,
                devices: chosen(&announce, devices, build),
                user: users.into_iter().next(),
            });
        }
        if !all.is_empty() {
            no_loops(&own_tree(house), devices, build);
        }
        all
    }
}

/// The devices that are meant. What is on MQTT is in Home Assistant as a rule, and would be there twice.
fn chosen(announce: &Announce, devices: &[DeviceConfig], build: &mut Build<'_>) -> Vec<DeviceId> {
    let path = format!("{}.devices", announce.path);
    let mut chosen = Vec::new();
    for (place, text) in &announce.devices {
        if text == "*" {
            let meant =
                |device: &DeviceConfig| device.model.driver != DriverKind::Mqtt && !device.naming.hidden;
            let all = devices.iter().enumerate().filter(|(_, device)| meant(device));
            chosen.extend(all.map(|(index, _)| DeviceId(index)));
            continue;
        }
        match devices.iter().position(|device| device.id == *text) {
            Some(index) => chosen.push(DeviceId(index)),
            None if build.names.is_device(text) => {}
            None => {
                let near = nearest(text, devices.iter().map(|device| device.id.as_str()));
                let help = near.map(|near| format!("did you mean `{near}`?"));
                build.faults.error(Some(*place), &path, format!("there is no device `{text}`"), help);
            }
        }
    }
    chosen.sort_unstable();
    chosen.dedup();
    if chosen.len() > ANNOUNCED {
        let message = format!("{} devices; at most {ANNOUNCED} are announced", chosen.len());
        build.faults.error(Some(announce.place), &path, message, None);
    }
    chosen
}

/// What the gateway says must never come back as what an appliance says, or as a command to one.
fn no_loops(tree: &str, devices: &[DeviceConfig], build: &mut Build<'_>) {
    for device in devices.iter().filter(|device| device.model.driver == DriverKind::Mqtt) {
        let Some(topic) = device.model.topics().find(|topic| topic.as_str().starts_with(tree)) else {
            continue;
        };
        let message = format!("the topic {topic} lies where the gateway itself speaks, below {tree}");
        let path = format!("devices.{}.params", device.id);
        build.faults.error(build.names.place(&device.id), &path, message, None);
    }
}

/// Two entries that lead to one broker would contradict each other about the gateway.
pub(super) fn check_status(brokers: &[Named<Broker>], build: &mut Build<'_>) {
    // An entry with a fault of its own may not be what it looks like.
    if build.faults.fatal() {
        return;
    }
    for (index, broker) in brokers.iter().enumerate() {
        let settings = &broker.what.settings;
        let same = |other: &&Named<Broker>| {
            other.what.settings.server == settings.server && other.what.settings.status == settings.status
        };
        let twin = brokers.iter().take(index).find(same).filter(|_| settings.status.is_some());
        if let Some(first) = twin {
            let message = format!(
                "`{}` leads to the broker of `{}`, and both say there that the gateway lives",
                broker.name, first.name
            );
            let help = "add `status: false` to one of them".to_owned();
            build.faults.error(Some(broker.place), &format!("mqtt.{}", broker.name), message, Some(help));
        }
    }
}

//! How everything stands, for `sipliance status`.

use std::time::Instant;

use serde::Serialize;

use super::ways::{FlowStatus, time_of};
use super::{Gateway, HassStatus};
use crate::sip::registration::{Listed, Standing};
use crate::timer::Now;

/// A snapshot.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The appliances.
    pub devices: Vec<DeviceStatus>,
    /// The flows to registrars and peers.
    pub flows: Vec<FlowStatus>,
    /// The registrations elsewhere.
    pub registrations: Vec<RegistrationStatus>,
    /// What is watched elsewhere.
    pub remotes: Vec<ElsewhereStatus>,
    /// What is published elsewhere.
    pub publications: Vec<ElsewhereStatus>,
    /// What Home Assistant is told, by broker.
    pub home_assistant: Vec<HassStatus>,
    /// Links that are down, and why.
    pub down: Vec<LinkStatus>,
    /// Subscriptions that are held.
    pub subscriptions: usize,
    /// Contacts of phones at home.
    pub contacts: usize,
    /// Transactions as client and as server.
    pub transactions: (usize, usize),
    /// Commands since the start.
    pub commands: u64,
    /// Packets that were no SIP, malformed requests, challenges and refusals since the start.
    pub refused: [u64; 4],
}

/// A link that is down.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStatus {
    /// What people call it.
    pub link: String,
    /// Why it is down, and what to do.
    pub words: String,
}

/// One appliance.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceStatus {
    /// Its id.
    pub id: String,
    /// For people.
    pub name: String,
    /// The numbers that reach it.
    pub numbers: Vec<String>,
    /// online, offline, asleep or unknown.
    pub health: &'static str,
    /// Whether it is cut off.
    pub isolated: bool,
    /// Whether the link is up.
    pub link_up: bool,
    /// How many messages came that fit nothing in its profile, and the last of them.
    pub unread: Option<(u64, String)>,
    /// In a line.
    pub summary: String,
    /// Label by label.
    pub details: Vec<(String, String)>,
}

/// One registration.
#[derive(Clone, Debug, Serialize)]
pub struct RegistrationStatus {
    /// The address.
    pub address: String,
    /// registered, trying, failed, or no flow.
    pub state: &'static str,
    /// In words: since when, why not, when again.
    pub words: String,
}

/// Something of ours at another server.
#[derive(Clone, Debug, Serialize)]
pub struct ElsewhereStatus {
    /// The appliance here.
    pub device: String,
    /// The address there.
    pub address: String,
    /// watched, published, trying or failed.
    pub state: &'static str,
    /// In words.
    pub words: String,
}

impl Gateway {
    /// How everything stands now.
    pub fn status(&self, now: Now) -> Status {
        let counters = self.counters;
        Status {
            devices: self.device_status(now),
            flows: self.flow_status(now),
            registrations: self
                .registrations
                .iter()
                .map(|(key, registration)| registration_status(registration, self.next_try(key), now))
                .collect(),
            remotes: self.remote_status(),
            publications: self.publication_status(now),
            home_assistant: self.hass_status(),
            down: self.links_down.values().cloned().collect(),
            subscriptions: self.notifier.len(),
            contacts: self.registrar.len(),
            transactions: self.transactions.counts(),
            commands: counters.commands,
            refused: [counters.not_sip, counters.malformed, counters.challenges, counters.forbidden],
        }
    }

    fn remote_status(&self) -> Vec<ElsewhereStatus> {
        let status = |remote: &super::remote::Remote| {
            let (device, address, down) = remote.standing();
            ElsewhereStatus {
                device: self.device_id(device),
                address: address.to_owned(),
                state: if down.is_some() { "failed" } else { "watched" },
                words: down.unwrap_or_default().to_owned(),
            }
        };
        self.remotes.values().filter(|remote| !remote.is_leaving()).map(status).collect()
    }

    pub(super) fn device_id(&self, device: crate::config::DeviceId) -> String {
        self.house.device(device).map(|device| device.id().to_owned()).unwrap_or_default()
    }

    fn device_status(&self, now: Now) -> Vec<DeviceStatus> {
        let status =
            |(id, device): (crate::config::DeviceId, &crate::device::appliance::Device)| DeviceStatus {
                id: device.id().to_owned(),
                name: device.name().to_owned(),
                numbers: self
                    .config
                    .devices
                    .get(id.0)
                    .into_iter()
                    .flat_map(|device| &device.numbers)
                    .map(|number| number.digits.clone())
                    .collect(),
                health: device.shadow().health().word(),
                isolated: device.isolated(),
                link_up: device.shadow().link_up(),
                unread: device.unread().map(|unread| (unread.count, unread.last.clone())),
                summary: device.summary(now),
                details: device.describe(now),
            };
        self.house.devices().map(status).collect()
    }
}

fn registration_status(
    registration: &crate::sip::registration::Registration,
    next_try: Option<Instant>,
    now: Now,
) -> RegistrationStatus {
    let left = |at: Instant| at.saturating_duration_since(now.mono).as_secs();
    let (state, words) = match registration.standing() {
        Standing::NoFlow => {
            let again = match next_try {
                Some(at) => format!("trying again in {} s", left(at)),
                None => "trying".to_owned(),
            };
            match registration.no_way() {
                Some(why) => ("no flow", format!("no way to it: {why}; {again}")),
                None => ("no flow", format!("no way to the registrar yet; {again}")),
            }
        }
        Standing::Trying => ("trying", "asked, no answer yet".to_owned()),
        Standing::Registered { since, until } => {
            let since = time_of(*since, now);
            let doubt = match registration.terms().listed {
                Listed::Nobodys => "; its answer lists no Contact, so it may not know where we are",
                Listed::Others => {
                    "; its answer lists other Contacts than ours, so it may not know where we are"
                }
                Listed::Ours => "",
            };
            ("registered", format!("since {since}, good for {} s{doubt}", left(*until)))
        }
        Standing::Failed { why, again } if *again > now.mono || registration.hop().is_some() => {
            ("failed", format!("{why}; trying again in {} s", left(*again)))
        }
        Standing::Failed { why, .. } => {
            ("failed", format!("{why}; trying again as soon as there is a way to it"))
        }
    };
    RegistrationStatus { address: registration.address(), state, words }
}

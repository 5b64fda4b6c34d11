//! What one configuration has in common with the next: where things went that are still there, and what
//! of it a running gateway cannot take over.

use secrecy::ExposeSecret as _;

use super::{Account, Config, DeviceConfig, DeviceId, Link, LinkId, LinkSettings, Upstream};

/// Where the things of one configuration are in the next, by their names.
#[derive(Debug)]
pub struct Change {
    devices: Vec<Option<Device>>,
    links: Vec<Option<Kept>>,
    upstreams: Vec<Option<usize>>,
    users: Vec<Option<usize>>,
}

#[derive(Clone, Copy, Debug)]
struct Device {
    to: DeviceId,
    untouched: bool,
}

/// A link that goes on: its driver is not started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the next configuration.
    pub to: LinkId,
    /// It is a set of lines, and some of them are others now.
    pub altered: bool,
}

impl Change {
    /// Compares.
    pub fn between(old: &Config, new: &Config) -> Self {
        let upstreams: Vec<_> = old
            .upstreams
            .iter()
            .map(|before| new.upstreams.iter().position(|after| same_flow(before, after)))
            .collect();
        let links: Vec<_> = old.links.iter().map(|link| kept(link, old, new, &upstreams)).collect();
        let users = old.users.iter().map(|user| new.users.iter().position(|other| other.name == user.name));
        let users = users.collect();
        Self { upstreams, users, ..Self::of_devices(&old.devices, &new.devices, links) }
    }

    /// Compares appliances alone, on links of which it is known what becomes of them.
    pub fn of_devices(old: &[DeviceConfig], new: &[DeviceConfig], links: Vec<Option<Kept>>) -> Self {
        let devices = old.iter().map(|device| {
            let at = new.iter().position(|other| other.id == device.id)?;
            let kept = links.get(device.link.0).copied().flatten();
            let untouched = new.get(at).is_some_and(|after| {
                kept.is_some_and(|kept| !kept.altered && kept.to == after.link) && same_model(device, after)
            });
            Some(Device { to: DeviceId(at), untouched })
        });
        Self { devices: devices.collect(), links, upstreams: Vec::new(), users: Vec::new() }
    }

    /// Where an appliance is now; `None`: it is gone.
    pub fn device(&self, old: DeviceId) -> Option<DeviceId> {
        Some(self.devices.get(old.0).copied().flatten()?.to)
    }

    /// Whether neither the model of an appliance nor its link changed: what is under way there goes on.
    pub fn is_untouched(&self, old: DeviceId) -> bool {
        self.devices.get(old.0).copied().flatten().is_some_and(|device| device.untouched)
    }

    /// Where a link is now; `None`: its driver ends.
    pub fn link(&self, old: LinkId) -> Option<Kept> {
        self.links.get(old.0).copied().flatten()
    }

    /// The link before that goes on as this one.
    pub fn link_before(&self, new: LinkId) -> Option<(LinkId, Kept)> {
        let kept = |(old, kept): (usize, &Option<Kept>)| Some((LinkId(old), (*kept)?));
        self.links.iter().enumerate().filter_map(kept).find(|(_, kept)| kept.to == new)
    }

    /// Where a registrar or peer is now to which the flow can stay.
    pub fn upstream(&self, old: usize) -> Option<usize> {
        self.upstreams.get(old).copied().flatten()
    }

    /// What it comes to, for a person: which links start anew, which are gone, and how many appliances are
    /// new, others or gone.
    pub fn words(&self, old: &Config, new: &Config) -> String {
        let fresh = (0..new.links.len()).map(LinkId).filter(|link| self.link_before(*link).is_none());
        let fresh: Vec<String> = fresh.filter_map(|link| new.links.get(link.0)).map(Link::title).collect();
        let mut gone: Vec<String> = old
            .links
            .iter()
            .enumerate()
            .filter(|(at, _)| self.link(LinkId(*at)).is_none())
            .map(|(_, link)| link.title())
            .collect();
        gone.retain(|title| !fresh.contains(title));
        let known = |device: &&DeviceConfig| old.devices.iter().any(|other| other.id == device.id);
        let added = new.devices.len() - new.devices.iter().filter(known).count();
        let lost = (0..old.devices.len()).filter(|at| self.device(DeviceId(*at)).is_none()).count();
        let same = (0..old.devices.len()).filter(|at| self.is_untouched(DeviceId(*at))).count();
        let changed = old.devices.len() - lost - same;
        let count = |number: usize, what: &str| (number > 0).then(|| format!("{number} {what}"));
        let devices =
            [count(same, "untouched"), count(added, "new"), count(changed, "changed"), count(lost, "gone")];
        let devices: Vec<String> = devices.into_iter().flatten().collect();
        let links = |verb: &str, titles: &[String]| {
            (!titles.is_empty()).then(|| format!("; {verb} {}", titles.join(", ")))
        };
        let devices = if devices.is_empty() { "none".to_owned() } else { devices.join(", ") };
        let (started, ended) = (links("started", &fresh), links("ended", &gone));
        format!("devices: {devices}{}{}", started.unwrap_or_default(), ended.unwrap_or_default())
    }

    /// Where a user is now.
    pub fn user(&self, old: usize) -> Option<usize> {
        self.users.get(old).copied().flatten()
    }
}

/// What of a new configuration takes effect only with a restart, and why. `None`: it can be taken over.
pub fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    [
        (
            old.house.domain != new.house.domain,
            "`house: domain:` changed: it is the realm of every password, and part of every address that phones have kept",
        ),
        (old.house.user != new.house.user, "`house: user:` changed: it is the address that phones have kept"),
        (
            old.audit != new.audit,
            "`audit:` changed: what is on record must stand in one file from the start of a run to its end",
        ),
        (
            old.https != new.https,
            "`http:` changed between plain and TLS: those who come to a port that stays would hear another thing in the middle",
        ),
        (
            old.state != new.state,
            "`state:` changed: documents of people, and who is isolated, would be left behind in the old folder",
        ),
    ]
    .into_iter()
    .find_map(|(changed, what)| changed.then_some(what))
}

fn same_flow(old: &Upstream, new: &Upstream) -> bool {
    let peer = |upstream: &Upstream| {
        let login = |peer: &super::PeerLogin| (peer.user.clone(), peer.password.expose_secret().to_owned());
        upstream.peer.as_ref().map(login)
    };
    let way = |edge: &super::Edge| (edge.server.clone(), edge.is_proxy);
    let same_ways = old.edges.len() == new.edges.len()
        && old
            .edges
            .iter()
            .zip(&new.edges)
            .all(|(old, new)| way(old) == way(new) && alike(&old.dial, &new.dial));
    old.name == new.name && same_ways && old.domain == new.domain && peer(old) == peer(new)
}

/// The account by which the house itself speaks there.
fn house_account(upstream: &Upstream) -> Option<(String, String, String)> {
    let of = |account: &&Account| account.device.is_none();
    let account = upstream.accounts.iter().find(of).or_else(|| upstream.accounts.first())?;
    let password = account.password.expose_secret().to_owned();
    Some((account.user.clone(), account.auth_user.clone(), password))
}

fn kept(old: &Link, config: &Config, new: &Config, upstreams: &[Option<usize>]) -> Option<Kept> {
    let (at, after) = new.links.iter().enumerate().find(|(_, link)| {
        let kind = std::mem::discriminant(&link.settings) == std::mem::discriminant(&old.settings);
        kind && link.name == old.name
    })?;
    let (same, lines) = match (&old.settings, &after.settings) {
        (LinkSettings::Sip(before), LinkSettings::Sip(now)) => {
            let via = upstreams.get(before.via).copied().flatten();
            let speaks = |config: &Config, via: usize| config.upstreams.get(via).and_then(house_account);
            let same = before.target == now.target
                && before.watched == now.watched
                && via == Some(now.via)
                && speaks(config, before.via) == speaks(new, now.via);
            (same, false)
        }
        (LinkSettings::Mqtt(before), LinkSettings::Mqtt(now)) => {
            let password = |of: &super::MqttSettings| {
                of.password.as_ref().map(|password| password.expose_secret().to_owned())
            };
            (alike(before, now) && password(before) == password(now), false)
        }
        (LinkSettings::Gpio(before), LinkSettings::Gpio(now)) => (alike(before, now), true),
        (before, now) => (alike(before, now), false),
    };
    (same || lines).then_some(Kept { to: LinkId(at), altered: !same })
}

fn same_model(old: &DeviceConfig, new: &DeviceConfig) -> bool {
    alike(&old.model, &new.model)
}

/// Whether two things say the same: what they are made of (expressions, numbers) has no equality.
pub(crate) fn alike<T: std::fmt::Debug>(old: &T, new: &T) -> bool {
    format!("{old:?}") == format!("{new:?}")
}

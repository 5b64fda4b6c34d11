//! A new configuration in a running house.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use sipliance_driver as driver;

use super::lists::Before;
use super::{Gateway, Secrets};
use crate::config::{Config, DeviceId, LinkSettings};
use crate::control::target::Names;
use crate::device::command::Outcome;
use crate::device::house::House;
use crate::event::{CHOSEN, Cache, Rooms, Subject};
use crate::sip::notifier::watchers::Fact;
use crate::sip::notifier::{End, Resource};
use crate::timer::Now;

impl Gateway {
    /// Takes over a configuration: values and versions of appliances that stay are kept; who lost a
    /// right loses the subscription with it. Links, upstreams and ports are those of the old one:
    /// [`needs_restart`] was asked before.
    pub(super) fn reload(&mut self, config: Arc<Config>, now: Now) {
        self.end_batches("the configuration was read again meanwhile", now);
        self.end_commands(now);
        let mut house = House::new(config.clone(), now);
        house.inherit(&self.house);
        let old = std::mem::replace(&mut self.house, house);
        let stays = |device: DeviceId| {
            let before = old.device(device).map(|device| device.id());
            before.is_some() && before == config.devices.get(device.0).map(|device| device.id.as_str())
        };
        let rooms = Rooms::of(&config);
        self.alerts.retain(|alert| stays(alert.device));
        self.ringing.retain(stays);
        // What ends later would be returned to whatever has that place then.
        self.leases.retain(stays);
        self.end_what_is_gone(&old, &config, &rooms, &stays, now);
        self.requests.retain(stays);
        let old_rooms = std::mem::replace(&mut self.rooms, rooms);
        self.names = Names::new(&config);
        self.secrets = Secrets::new(&config);
        let (md5, query_age, control_age) = super::digest_rules(&config);
        self.auth.set_rules(md5, query_age, control_age);
        // Documents of the old house: another appliance may have that place and version now.
        self.cache = Cache::default();
        self.mark_isolated();
        self.published.retain(&self.config, &config);
        let old_config = std::mem::replace(&mut self.config, config);
        self.kept.retain_users(&self.config.clone());
        self.people.truncate(self.config.users.len());
        self.compose_all(now);
        self.rules_changed(now);
        // Only now: what owners granted is a right again.
        self.end_unfit_filters(now);
        self.relist(&Before { config: &old_config, house: &old, rooms: &old_rooms }, now);
        self.tell_places(now);
        self.relocate_remotes();
        self.reload_hass(&old_config);
        self.announce(None);
        for link in self.links_up.clone() {
            self.house.driver(link, driver::Event::Up, now);
        }
    }

    /// Ends the subscriptions to what the new configuration has not. The house is the new one already,
    /// the rooms and the configuration are still the old ones.
    fn end_what_is_gone(
        &mut self,
        old: &House,
        config: &Config,
        rooms: &Rooms,
        stays: &dyn Fn(DeviceId) -> bool,
        now: Now,
    ) {
        // What somebody chose is known by its place.
        let same_items = |device: DeviceId| {
            let items = |house: &House| {
                let model = house.device(device)?.model();
                let ids = model.properties.iter().map(|property| property.id.clone());
                Some(ids.chain(model.events.iter().map(|event| event.id.clone())).collect::<Vec<_>>())
            };
            items(old) == items(&self.house)
        };
        let gone = |_: &str, resource: Resource| match Subject::of(resource.subject) {
            Subject::Device(device) => {
                !stays(device) || (resource.facet & CHOSEN != 0 && !same_items(device))
            }
            Subject::Room(index) | Subject::RoomList(index) => {
                self.rooms.get(index).map(|room| &room.id) != rooms.get(index).map(|room| &room.id)
            }
            Subject::Class(class) => self.rooms.parts_of(class) != rooms.parts_of(class),
            Subject::User(user) => {
                let name = |config: &Config| config.users.get(user).map(|user| user.name.clone());
                name(&self.config) != name(config)
            }
            // Lists mean the appliances of the new house, once that is in force.
            Subject::All | Subject::Alerts | Subject::Custom(_) => false,
        };
        self.notifier.end(End::NoResource, gone, now);
        let waits_for_what_stays = |fact: &Fact| match Subject::of(fact.subject) {
            Subject::Device(device) => stays(device),
            _ => true,
        };
        self.notifier.forget_waiting(waits_for_what_stays, now);
    }

    /// Of rooms, classes and lists, the members may be others now.
    fn tell_places(&mut self, now: Now) {
        let classes = self.house.devices().flat_map(|(id, _)| self.rooms.classes_of(id)).map(Subject::Class);
        let classes: std::collections::HashSet<Subject> = classes.collect();
        let rooms =
            (0..self.rooms.iter().count()).flat_map(|room| [Subject::Room(room), Subject::RoomList(room)]);
        for subject in rooms.chain([Subject::All, Subject::Alerts]).chain(classes) {
            self.notifier.changed(subject.code(), now);
        }
    }

    /// Whoever waits for a command of the old house is told that nobody will know.
    fn end_commands(&mut self, now: Now) {
        let mut waiting: Vec<_> = self.pending.keys().copied().collect();
        waiting.sort_unstable();
        let outcome = Outcome::Unknown("the configuration was read again meanwhile".to_owned());
        for command in waiting {
            self.on_finished(command, &outcome, now);
        }
    }
}

/// What of a new configuration takes effect only with a restart: drivers hold hardware, and letting
/// go of it could move a relay. `None`: it can be taken over as it is.
pub fn needs_restart(old: &Config, new: &Config) -> Option<&'static str> {
    let shape = |config: &Config| (format!("{:?}", config.links), format!("{:?}", config.upstreams));
    let (links, upstreams) = shape(old);
    let (new_links, new_upstreams) = shape(new);
    [
        (
            links != new_links || secrets_of(old) != secrets_of(new),
            "brokers, ports or lines (`mqtt:`, `serial:`, GPIO devices), or devices elsewhere (`remote:`)",
        ),
        (upstreams != new_upstreams, "`upstream:` or `peers:`"),
        (old.listen != new.listen, "`listen:`"),
        (old.audit != new.audit, "`audit:`"),
        (old.state != new.state, "`state:`"),
        (old.http != new.http || old.https != new.https, "`http:`"),
        (old.house.domain != new.house.domain || old.house.user != new.house.user, "`house:`"),
    ]
    .into_iter()
    .find_map(|(changed, what)| changed.then_some(what))
}

/// Passwords, which Debug does not show.
fn secrets_of(config: &Config) -> Vec<&str> {
    let links = config.links.iter().filter_map(|link| match &link.settings {
        LinkSettings::Mqtt(settings) => settings.password.as_ref(),
        _ => None,
    });
    let accounts =
        config.upstreams.iter().flat_map(|upstream| &upstream.accounts).map(|account| &account.password);
    let peers = config.upstreams.iter().filter_map(|upstream| Some(&upstream.peer.as_ref()?.password));
    links.chain(accounts).chain(peers).map(|secret| secret.expose_secret()).collect()
}

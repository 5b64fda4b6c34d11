//! A new configuration in a running house: what nothing changed for goes on untouched.

use std::sync::Arc;

use super::lists::Before;
use super::{Gateway, Secrets};
use crate::config::change::Change;
use crate::config::{Config, DeviceId, LinkId};
use crate::control::target::Names;
use crate::device::command::Outcome;
use crate::device::house::House;
use crate::event::{CHOSEN, Cache, NOTHING, Rooms, Subject, Whose};
use crate::sip::notifier::watchers::Fact;
use crate::sip::notifier::{End, Resource};
use crate::timer::Now;

/// What whoever waits is told of a command that a reload overtook.
const MEANWHILE: &str = "the configuration was read again meanwhile";

impl Gateway {
    /// Takes over a configuration. Appliances, links, registrars, rooms and people are known by their
    /// names: where they stand in the file says nothing. The shell changes its drivers and ports at the
    /// same time, and has found before that it can.
    pub(super) fn reload(&mut self, config: Arc<Config>, now: Now) {
        let change = Change::between(&self.config, &config);
        self.end_batches(|device| change.is_untouched(device), MEANWHILE, now);
        self.end_commands(&change, now);
        let new = House::after(&mut self.house, (&config.devices, config.links.len()), &change, now);
        let old = std::mem::replace(&mut self.house, new);
        let rooms = Rooms::of(&config);
        let old_rooms = std::mem::replace(&mut self.rooms, rooms);
        self.end_what_is_gone(&old, &old_rooms, &change, now);
        self.relocate(&old, &old_rooms, &config, &change);
        self.names = Names::new(&config);
        self.secrets = Secrets::new(&config);
        let (md5, query_age, control_age) = super::digest_rules(&config);
        self.auth.set_rules(md5, query_age, control_age);
        // Documents of the old house: another appliance may have that place and version now.
        self.cache = Cache::default();
        self.mark_isolated();
        let old_config = std::mem::replace(&mut self.config, config);
        self.kept.retain_users(&self.config.clone());
        self.compose_all(now);
        self.rules_changed(now);
        // Only now: what owners granted is a right again.
        self.end_unfit_filters(now);
        self.relist(&Before { config: &old_config, house: &old, rooms: &old_rooms }, now);
        self.tell_places(now);
        self.reload_upstreams(&change, now);
        self.reload_remotes(&change, now);
        self.start_announcements();
        self.reload_hass(&old_config);
        self.announce(None);
    }

    /// Everything that is kept under the place of something goes to its new place.
    fn relocate(&mut self, old: &House, old_rooms: &Rooms, config: &Config, change: &Change) {
        let device = |device: DeviceId| change.device(device);
        let link = |link: LinkId| Some(change.link(link)?.to);
        self.links_up = std::mem::take(&mut self.links_up).into_iter().filter_map(link).collect();
        let down = std::mem::take(&mut self.links_down).into_iter();
        self.links_down = down.filter_map(|(at, status)| Some((link(at)?, status))).collect();
        self.alerts.relocate(device);
        let house = &self.house;
        self.ringing.relocate(|before, event| {
            let (after, event) = (device(before)?, old.device(before)?.model().events.get(event)?);
            let events = &house.device(after)?.model().events;
            Some((after, events.iter().position(|of| of.id == event.id)?))
        });
        // What ends later must not be returned to whatever has that place then.
        self.leases.relocate(device);
        self.requests.relocate(device);
        self.batches.relocate(device);
        for pending in self.pending.values_mut() {
            if let Some(device) = device(pending.device()) {
                pending.move_to(device);
            }
        }
        self.published.relocate(config, |user| change.user(user));
        self.people.relocate(config.users.len(), |user| change.user(user));
        self.filters.relocate(|whose| match whose {
            Whose::Device(of) => device(of).map(Whose::Device),
            Whose::Person(user) => change.user(user).map(Whose::Person),
        });
        let rooms = &self.rooms;
        self.notifier.relocate(|code| {
            moved(Subject::of(code), old_rooms, rooms, change).map_or(NOTHING, Subject::code)
        });
    }

    /// Ends the subscriptions to what the new configuration has not. The house and its rooms are the new
    /// ones already, places are still the old ones.
    fn end_what_is_gone(&mut self, old: &House, old_rooms: &Rooms, change: &Change, now: Now) {
        // What somebody chose is known by its place.
        let same_items = |before: DeviceId, after: DeviceId| {
            let items = |house: &House, device: DeviceId| {
                let model = house.device(device)?.model();
                let ids = model.properties.iter().map(|property| property.id.clone());
                Some(ids.chain(model.events.iter().map(|event| event.id.clone())).collect::<Vec<_>>())
            };
            items(old, before) == items(&self.house, after)
        };
        let rooms = &self.rooms;
        let gone = |_: &str, resource: Resource| {
            let before = Subject::of(resource.subject);
            match (before, moved(before, old_rooms, rooms, change)) {
                (_, None) => true,
                (Subject::Device(before), Some(Subject::Device(after))) => {
                    resource.facet & CHOSEN != 0 && !same_items(before, after)
                }
                // Lists mean the appliances of the new house, once that is in force.
                _ => false,
            }
        };
        self.notifier.end(End::NoResource, gone, now);
        let stays = |fact: &Fact| moved(Subject::of(fact.subject), old_rooms, rooms, change).is_some();
        self.notifier.forget_waiting(stays, now);
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

    /// Whoever waits for a command of an appliance that is another one now, or hangs elsewhere, is told
    /// that nobody will know.
    fn end_commands(&mut self, change: &Change, now: Now) {
        let overtaken = self.pending.iter().filter(|(_, pending)| !change.is_untouched(pending.device()));
        let mut waiting: Vec<_> = overtaken.map(|(command, _)| *command).collect();
        waiting.sort_unstable();
        let outcome = Outcome::Unknown(MEANWHILE.to_owned());
        for command in waiting {
            self.on_finished(command, &outcome, now);
        }
    }
}

/// What a subject is in the new configuration, by its name.
fn moved(subject: Subject, old: &Rooms, new: &Rooms, change: &Change) -> Option<Subject> {
    match subject {
        Subject::Device(device) => change.device(device).map(Subject::Device),
        Subject::User(user) => change.user(user).map(Subject::User),
        place => old.moved(place, new),
    }
}

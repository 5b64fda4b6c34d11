//! What is there for whom: appliances, places and lists as somebody sees them from where he asks.

use super::Gateway;
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::control::target::Target;
use crate::device::appliance::Device;
use crate::event::{self, Subject, key_of};
use crate::sip::Hop;

impl Gateway {
    /// Whether a request on `hop` comes through a registrar elsewhere.
    pub(super) fn is_outside(&self, hop: Hop) -> bool {
        self.upstream_of(hop).is_some()
    }

    /// Whether `who` may know that there is such an appliance.
    pub(super) fn may_see(&self, who: &Identity, device: DeviceId, outside: bool) -> bool {
        self.house.device(device).is_some_and(|device| {
            !(outside && device.hidden()) && self.config.access.may_see(who, device.id(), device.room())
        })
    }

    /// Whether `who` may know of an event of `device`.
    pub(super) fn may_hear(&self, who: &Identity, device: DeviceId, event: &str, outside: bool) -> bool {
        self.house.device(device).is_some_and(|device| {
            event::is_there(device, outside)
                && self.config.access.may_see_property(who, device.id(), device.room(), event)
        })
    }

    /// Whether `target` is there for `who`: a room of which he may see nothing is not.
    pub(super) fn is_there(&self, who: &Identity, target: Target, outside: bool) -> bool {
        match target.subject() {
            Subject::All | Subject::Alerts => true,
            subject @ (Subject::User(_) | Subject::Custom(_)) => self.view(who, subject, outside).is_some(),
            _ => !self.members(who, target, outside).is_empty(),
        }
    }

    /// The appliances of a target that `who` may know of, in the order of the home file.
    pub(super) fn members(&self, who: &Identity, target: Target, outside: bool) -> Vec<(DeviceId, &Device)> {
        let here = |id: DeviceId| match target.subject() {
            Subject::Device(device) => device == id,
            Subject::Room(index) | Subject::RoomList(index) => {
                self.rooms.get(index).is_some_and(|room| room.devices.contains(&id))
            }
            Subject::Class(class) => self.rooms.is_of(class, id),
            Subject::Custom(_) | Subject::User(_) => false,
            Subject::All | Subject::Alerts => true,
        };
        self.house.devices().filter(|(id, _)| here(*id) && self.may_see(who, *id, outside)).collect()
    }

    /// A class of which `who` may know one appliance alone is that appliance.
    pub(super) fn narrow(&self, who: &Identity, target: Target, outside: bool) -> Target {
        let Target::Class(_) = target else { return target };
        match self.members(who, target, outside).as_slice() {
            [(only, _)] => Target::Device(*only),
            _ => target,
        }
    }

    /// What of a subject somebody may watch; `None` when there is nothing of it for him.
    pub(super) fn view(&self, who: &Identity, subject: Subject, outside: bool) -> Option<u128> {
        let access = &self.config.access;
        let sees = |id: DeviceId| {
            self.house.device(id).is_some_and(|device| event::view_of(access, who, device, outside).is_some())
        };
        let any = |found: bool| found.then_some(0);
        match subject {
            Subject::Device(device) => event::view_of(access, who, self.house.device(device)?, outside),
            Subject::Room(index) | Subject::RoomList(index) => {
                any(self.rooms.get(index)?.devices.iter().any(|id| sees(*id)))
            }
            Subject::Class(class) => {
                any(self.house.devices().any(|(id, _)| self.rooms.is_of(class, id) && sees(id)))
            }
            Subject::Custom(index) => {
                // What its writer may not see, the list does not show him either.
                let known = |user: &String| self.config.users.iter().any(|known| known.name == *user);
                let is_here = !matches!(who, Identity::User(user) if !known(user));
                self.custom.get(index).filter(|list| is_here && list.owner == key_of(who)).map(|_| 0)
            }
            Subject::User(user) => {
                let name = &self.config.users.get(user)?.name;
                access.may_watch(who, name).then_some(0)
            }
            Subject::All | Subject::Alerts => any(self.house.devices().any(|(id, _)| sees(id))),
        }
    }
}

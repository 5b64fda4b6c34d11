//! What a subscription is about: one appliance, a place, a list, the house's mailbox, or a person.

use crate::config::{Config, DeviceId, names};

/// A subject. As a number ([`Subject::code`]) it is what the notifier sorts subscriptions by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One appliance.
    Device(DeviceId),
    /// A room as one thing: its index in [`Rooms`].
    Room(usize),
    /// The appliances of a room, each for itself (RFC 4662).
    RoomList(usize),
    /// Every appliance, each for itself.
    All,
    /// The alerts of the house.
    Alerts,
    /// The appliances of a class, each for itself.
    Class(Class),
    /// A list that somebody wrote: its place in [`super::custom::CustomLists`].
    Custom(usize),
    /// A user of the house: an index into [`Config::users`].
    User(usize),
}

/// Appliances by what they are: of a kind, in a room, of a group, each as its index in [`Rooms`].
/// `None` is any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// Of this kind.
    pub kind: Option<u16>,
    /// In this room.
    pub room: Option<u16>,
    /// Of this group.
    pub group: Option<u16>,
}

/// Bits of one index of a [`Class`] in its number: 16, and one for any.
const INDEX: u32 = 17;

/// What is gone: the number of no subject that there is.
pub const NOTHING: u64 = u64::MAX - 7;

impl Subject {
    /// The number of a subject.
    pub fn code(self) -> u64 {
        match self {
            Self::Device(DeviceId(index)) => index as u64 * 8,
            Self::Room(index) => index as u64 * 8 + 1,
            Self::RoomList(index) => index as u64 * 8 + 2,
            Self::All => 3,
            Self::Alerts => 4,
            Self::Class(class) => {
                let parts = [class.kind, class.room, class.group];
                let number = |part: Option<u16>| part.map_or(0, |index| u64::from(index) + 1);
                parts.into_iter().fold(0, |code, part| code << INDEX | number(part)) * 8 + 6
            }
            Self::Custom(index) => index as u64 * 8 + 5,
            Self::User(index) => index as u64 * 8 + 7,
        }
    }

    /// The subject of a number.
    pub fn of(code: u64) -> Self {
        let index = usize::try_from(code / 8).unwrap_or(usize::MAX);
        match code % 8 {
            0 => Self::Device(DeviceId(index)),
            1 => Self::Room(index),
            2 => Self::RoomList(index),
            3 => Self::All,
            5 => Self::Custom(index),
            7 => Self::User(index),
            6 => {
                let part = |nth: u32| {
                    let number = ((code / 8) >> (nth * INDEX)) & ((1 << INDEX) - 1);
                    number.checked_sub(1).and_then(|index| u16::try_from(index).ok())
                };
                Self::Class(Class { kind: part(2), room: part(1), group: part(0) })
            }
            _ => Self::Alerts,
        }
    }

    /// Whether its members are told one by one.
    pub fn is_list(self) -> bool {
        matches!(self, Self::RoomList(_) | Self::All | Self::Class(_) | Self::Custom(_))
    }
}

/// One room of the house; also a kind of appliance, or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// User part of its address.
    pub id: String,
    /// For people.
    pub name: String,
    /// What stands in it, in the order of the home file.
    pub devices: Vec<DeviceId>,
}

/// The rooms of a configuration, in the order in which they are first named; and what else appliances
/// have in common: kinds and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms {
    rooms: Vec<Room>,
    kinds: Vec<Room>,
    groups: Vec<Room>,
}

impl Rooms {
    /// Collects them.
    pub fn of(config: &Config) -> Self {
        let mut all = Self::default();
        for (index, device) in config.devices.iter().enumerate() {
            if let Some(name) = &device.room {
                add(&mut all.rooms, names::room_id(name), name, DeviceId(index));
            }
            if let Some(kind) = device.kind() {
                add(&mut all.kinds, kind.to_owned(), kind, DeviceId(index));
            }
        }
        let groups = config.groups.iter().cloned();
        all.groups =
            groups.map(|group| Room { id: group.id, name: group.name, devices: group.devices }).collect();
        all
    }

    /// The room at a place.
    pub fn get(&self, index: usize) -> Option<&Room> {
        self.rooms.get(index)
    }

    /// All, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Room)> {
        self.rooms.iter().enumerate()
    }

    /// Where an appliance stands.
    pub fn of_device(&self, device: DeviceId) -> Option<usize> {
        self.rooms.iter().position(|room| room.devices.contains(&device))
    }

    /// The groups, with their places.
    pub fn groups(&self) -> impl Iterator<Item = (usize, &Room)> {
        self.groups.iter().enumerate()
    }

    /// The kind of that name.
    pub fn kind(&self, id: &str) -> Option<usize> {
        self.kinds.iter().position(|kind| kind.id == id)
    }

    /// Whether an appliance is of a class.
    pub fn is_of(&self, class: Class, device: DeviceId) -> bool {
        let within = |of: &[Room], index: Option<u16>| {
            index
                .is_none_or(|index| of.get(usize::from(index)).is_some_and(|of| of.devices.contains(&device)))
        };
        within(&self.kinds, class.kind)
            && within(&self.rooms, class.room)
            && within(&self.groups, class.group)
    }

    /// Every class that an appliance is of, but that of all and those of its room alone.
    pub fn classes_of(&self, device: DeviceId) -> Vec<Class> {
        let has = |of: &[Room]| {
            let mut found: Vec<Option<u16>> = vec![None];
            let indexes = of.iter().enumerate().filter(|(_, of)| of.devices.contains(&device));
            found.extend(indexes.map(|(index, _)| u16::try_from(index).ok()).filter(Option::is_some));
            found
        };
        let (kinds, rooms, groups) = (has(&self.kinds), has(&self.rooms), has(&self.groups));
        let mut classes = Vec::new();
        for &kind in &kinds {
            for &room in &rooms {
                for &group in groups.iter().filter(|group| kind.is_some() || group.is_some()) {
                    classes.push(Class { kind, room, group });
                }
            }
        }
        classes
    }

    /// What has the same name among other rooms: those of the next configuration.
    pub fn moved(&self, subject: Subject, to: &Self) -> Option<Subject> {
        let same = |of: &[Room], among: &[Room], index: usize| {
            let id = &of.get(index)?.id;
            among.iter().position(|place| place.id == *id)
        };
        let part = |of: &[Room], among: &[Room], index: Option<u16>| match index {
            None => Some(None),
            Some(index) => u16::try_from(same(of, among, usize::from(index))?).ok().map(Some),
        };
        match subject {
            Subject::Room(index) => same(&self.rooms, &to.rooms, index).map(Subject::Room),
            Subject::RoomList(index) => same(&self.rooms, &to.rooms, index).map(Subject::RoomList),
            Subject::Class(class) => Some(Subject::Class(Class {
                kind: part(&self.kinds, &to.kinds, class.kind)?,
                room: part(&self.rooms, &to.rooms, class.room)?,
                group: part(&self.groups, &to.groups, class.group)?,
            })),
            other => Some(other),
        }
    }

    /// What a class is called by people, and as an address.
    pub fn name_of(&self, class: Class) -> (&str, &str) {
        let group = class.group.and_then(|index| self.groups.get(usize::from(index)));
        let kind = class.kind.and_then(|index| self.kinds.get(usize::from(index)));
        let room = class.room.and_then(|index| self.rooms.get(usize::from(index)));
        group.or(kind).or(room).map_or(("", ""), |of| (&of.name, &of.id))
    }
}

fn add(places: &mut Vec<Room>, id: String, name: &str, device: DeviceId) {
    match places.iter_mut().find(|place| place.id == id) {
        Some(place) => place.devices.push(device),
        None => places.push(Room { id, name: name.to_owned(), devices: vec![device] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_lead_back_to_what_they_number() {
        let class = |kind, room, group| Subject::Class(Class { kind, room, group });
        for subject in [
            Subject::Device(DeviceId(0)),
            Subject::Device(DeviceId(511)),
            Subject::Room(3),
            Subject::RoomList(0),
            Subject::All,
            Subject::Alerts,
            class(None, None, None),
            class(Some(0), None, Some(u16::MAX)),
            class(Some(u16::MAX), Some(u16::MAX), Some(u16::MAX)),
        ] {
            assert_eq!(Subject::of(subject.code()), subject);
        }
    }
}

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
    /// A list that somebody wrote: its place in [`super::custom::CustomLists`].
    Custom(usize),
    /// A user of the house: an index into [`Config::users`].
    User(usize),
}

impl Subject {
    /// The number of a subject.
    pub fn code(self) -> usize {
        match self {
            Self::Device(DeviceId(index)) => index * 8,
            Self::Room(index) => index * 8 + 1,
            Self::RoomList(index) => index * 8 + 2,
            Self::All => 3,
            Self::Alerts => 4,
            Self::Custom(index) => index * 8 + 5,
            Self::User(index) => index * 8 + 7,
        }
    }

    /// The subject of a number.
    pub fn of(code: usize) -> Self {
        match (code / 8, code % 8) {
            (index, 0) => Self::Device(DeviceId(index)),
            (index, 1) => Self::Room(index),
            (index, 2) => Self::RoomList(index),
            (_, 3) => Self::All,
            (index, 5) => Self::Custom(index),
            (index, 7) => Self::User(index),
            _ => Self::Alerts,
        }
    }

    /// Whether its members are told one by one.
    pub fn is_list(self) -> bool {
        matches!(self, Self::RoomList(_) | Self::All | Self::Custom(_))
    }
}

/// One room of the house.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// User part of its address.
    pub id: String,
    /// For people.
    pub name: String,
    /// What stands in it, in the order of the home file.
    pub devices: Vec<DeviceId>,
}

/// The rooms of a configuration, in the order in which they are first named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rooms(Vec<Room>);

impl Rooms {
    /// Collects them.
    pub fn of(config: &Config) -> Self {
        let mut rooms: Vec<Room> = Vec::new();
        for (index, device) in config.devices.iter().enumerate() {
            let Some(name) = &device.room else { continue };
            let id = names::room_id(name);
            match rooms.iter_mut().find(|room| room.id == id) {
                Some(room) => room.devices.push(DeviceId(index)),
                None => rooms.push(Room { id, name: name.clone(), devices: vec![DeviceId(index)] }),
            }
        }
        Self(rooms)
    }

    /// The room at a place.
    pub fn get(&self, index: usize) -> Option<&Room> {
        self.0.get(index)
    }

    /// All, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Room)> {
        self.0.iter().enumerate()
    }

    /// Where an appliance stands.
    pub fn of_device(&self, device: DeviceId) -> Option<usize> {
        self.0.iter().position(|room| room.devices.contains(&device))
    }
}

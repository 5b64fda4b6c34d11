//! What an address means here. Dispatch is on the Request-URI, never on To.

use std::collections::HashMap;

use crate::config::{Config, DeviceId, Press};
use crate::event::subject::{Rooms, Subject};
use crate::sip::wire::Uri;

/// What a Request-URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The gateway itself.
    House,
    /// An appliance by its name.
    Device(DeviceId),
    /// An appliance by one of its numbers: an index into its list of numbers.
    Number(DeviceId, usize),
    /// A room as one thing.
    Room(usize),
    /// The appliances of a room.
    RoomList(usize),
    /// Every appliance.
    All,
    /// The alerts of the house.
    Alerts,
    /// A user: an index into [`Config::users`].
    User(usize),
}

impl Target {
    /// What can be subscribed to there.
    pub fn subject(self) -> Subject {
        match self {
            Self::Device(device) | Self::Number(device, _) => Subject::Device(device),
            Self::Room(index) => Subject::Room(index),
            Self::RoomList(index) => Subject::RoomList(index),
            Self::All => Subject::All,
            Self::House | Self::Alerts => Subject::Alerts,
            Self::User(index) => Subject::User(index),
        }
    }

    /// The appliance, where one is meant.
    pub fn device(self) -> Option<DeviceId> {
        match self {
            Self::Device(device) | Self::Number(device, _) => Some(device),
            Self::House | Self::Room(_) | Self::RoomList(_) | Self::All | Self::Alerts | Self::User(_) => {
                None
            }
        }
    }

    /// The user, where one is meant.
    pub fn user(self) -> Option<usize> {
        if let Self::User(index) = self { Some(index) } else { None }
    }
}

/// The list of every appliance.
pub const ALL: &str = "all";
/// The mailbox of the house's alerts.
pub const ALERTS: &str = "alerts";
/// Before a room's id: the list of its appliances.
pub const ROOM: &str = "room.";

/// Every name of the house: ids, numbers, rooms, lists and the house's own.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<String, Target>);

impl Names {
    /// The names of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut names = HashMap::from([(ALL.to_owned(), Target::All), (ALERTS.to_owned(), Target::Alerts)]);
        let users = config.users.iter().enumerate();
        names.extend(users.map(|(index, user)| (user.name.clone(), Target::User(index))));
        for (index, room) in Rooms::of(config).iter() {
            names.insert(room.id.clone(), Target::Room(index));
            names.insert(format!("{ROOM}{}", room.id), Target::RoomList(index));
        }
        for (index, device) in config.devices.iter().enumerate() {
            for (nth, number) in device.numbers.iter().enumerate() {
                names.insert(number.digits.clone(), Target::Number(DeviceId(index), nth));
            }
            names.insert(device.id.clone(), Target::Device(DeviceId(index)));
        }
        names.insert(config.house.user.clone(), Target::House);
        Self(names)
    }

    /// What `uri` names. A URI without a user part is the house.
    pub fn resolve(&self, uri: &Uri<'_>) -> Option<Target> {
        match uri.user_text() {
            None => Some(Target::House),
            Some(user) => self.by_user(&user),
        }
    }

    /// What a user part names: parameters that dialling adds (`;phone-context=`) are passed over, and
    /// case where nothing matches with it.
    pub fn by_user(&self, user: &str) -> Option<Target> {
        let user = user.split(';').next().unwrap_or(user);
        let found = self.0.get(user).or_else(|| self.0.get(&user.to_lowercase()));
        found.copied()
    }
}

/// What dialling `target` does.
pub fn press_of(config: &Config, target: Target) -> Press {
    match target {
        Target::Number(device, nth) => config
            .devices
            .get(device.0)
            .and_then(|device| device.numbers.get(nth))
            .map_or(Press::Tell, |number| number.press.clone()),
        Target::Device(_) => Press::Profile,
        Target::House
        | Target::Room(_)
        | Target::RoomList(_)
        | Target::All
        | Target::Alerts
        | Target::User(_) => Press::Tell,
    }
}

//! What an address means here. Dispatch is on the Request-URI, never on To.

use std::collections::{HashMap, HashSet};

use super::address::{self, Attributes, GROUP};
use super::opaque;
use crate::config::names::{room_id, same_room};
use crate::config::{Config, DeviceId, OpaqueKey, Press};
use crate::event::subject::{Class, Room, Rooms, Subject};
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
    /// An appliance by a pickup code and one of its names: what a blinking key dials.
    Pickup(DeviceId),
    /// A room as one thing.
    Room(usize),
    /// The appliances of a room.
    RoomList(usize),
    /// Every appliance.
    All,
    /// The alerts of the house.
    Alerts,
    /// The appliances of a class: more than one.
    Class(Class),
    /// A user: an index into [`Config::users`].
    User(usize),
}

impl Target {
    /// What can be subscribed to there.
    pub fn subject(self) -> Subject {
        match self {
            Self::Device(device) | Self::Number(device, _) | Self::Pickup(device) => Subject::Device(device),
            Self::Room(index) => Subject::Room(index),
            Self::RoomList(index) => Subject::RoomList(index),
            Self::All => Subject::All,
            Self::Class(class) => Subject::Class(class),
            Self::House | Self::Alerts => Subject::Alerts,
            Self::User(index) => Subject::User(index),
        }
    }

    /// The appliance, where one is meant.
    pub fn device(self) -> Option<DeviceId> {
        match self {
            Self::Device(device) | Self::Number(device, _) | Self::Pickup(device) => Some(device),
            Self::House
            | Self::Room(_)
            | Self::RoomList(_)
            | Self::All
            | Self::Alerts
            | Self::User(_)
            | Self::Class(_) => None,
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

/// Every name of the house: ids, nicknames, numbers, rooms, groups, lists and the house's own; and
/// what appliances have in common.
#[derive(Debug, Default)]
pub struct Names {
    names: HashMap<String, Target>,
    /// Ids and nicknames of appliances, without those of anything else.
    devices: HashMap<String, DeviceId>,
    rooms: Rooms,
    count: usize,
    /// Whose the house is: itself and its users.
    owners: HashSet<String>,
    keys: Vec<OpaqueKey>,
    domain: String,
}

/// What phones put before a number to pick its call up.
const PICKUP: [&str; 3] = ["**", "*97", "*8"];

/// How often a name may be wrapped: encrypted, and that in base64.
const WRAPPINGS: u8 = 3;

impl Names {
    /// The names of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut all = Self {
            rooms: Rooms::of(config),
            count: config.devices.len(),
            owners: config.users.iter().map(|user| user.name.clone()).collect(),
            keys: config.opaque.clone(),
            domain: config.house.domain.clone(),
            ..Self::default()
        };
        let mut names = HashMap::from([(ALL.to_owned(), Target::All), (ALERTS.to_owned(), Target::Alerts)]);
        let users = config.users.iter().enumerate();
        names.extend(users.map(|(index, user)| (user.name.clone(), Target::User(index))));
        for (index, room) in all.rooms.iter() {
            names.insert(room.id.clone(), Target::Room(index));
            names.insert(format!("{ROOM}{}", room.id), Target::RoomList(index));
        }
        for (index, group) in all.rooms.groups() {
            let Some(target) = all.class(Class { group: number(index), ..Class::default() }) else {
                continue;
            };
            names.insert(format!("{GROUP}{}", group.id), target);
            names.insert(group.id.clone(), target);
        }
        for (index, device) in config.devices.iter().enumerate() {
            for (nth, number) in device.numbers.iter().enumerate() {
                names.insert(number.digits.clone(), Target::Number(DeviceId(index), nth));
            }
            for name in device.naming.nicknames.iter().chain([&device.id]) {
                names.insert(name.clone(), Target::Device(DeviceId(index)));
                all.devices.insert(name.clone(), DeviceId(index));
            }
        }
        names.insert(config.house.user.clone(), Target::House);
        all.owners.insert(config.house.user.clone());
        all.names = names;
        all
    }

    /// What `uri` names. A URI without a user part is the house.
    pub fn resolve(&self, uri: &Uri<'_>) -> Option<Target> {
        match address::user(uri) {
            Ok(None) => Some(Target::House),
            Ok(Some(user)) => self.by_user(&user),
            Err(address::Unclear) => None,
        }
    }

    /// What a user part names: parameters that dialling adds (`;phone-context=`) are passed over, and
    /// case where nothing matches with it.
    pub fn by_user(&self, user: &str) -> Option<Target> {
        let user = user.split(';').next().unwrap_or(user);
        let found = self.open(user, WRAPPINGS);
        let picked = |code: &str| lookup(&self.names, user.strip_prefix(code)?)?.device();
        found.or_else(|| PICKUP.into_iter().find_map(picked).map(Target::Pickup))
    }

    /// Whether a user part is an encrypted name, which hides what it names.
    pub fn is_opaque(&self, user: &str) -> bool {
        opaque::open(&self.keys, &self.domain, user).is_some()
    }

    /// The appliance of that id or nickname.
    pub fn device(&self, name: &str) -> Option<DeviceId> {
        lookup(&self.devices, name)
    }

    fn open(&self, user: &str, depth: u8) -> Option<Target> {
        if let Some(target) = lookup(&self.names, user) {
            return Some(target);
        }
        let bare = address::without_prefix(user);
        if let Some(attributes) = Attributes::read(bare) {
            return self.by_attributes(&attributes);
        }
        let depth = depth.checked_sub(1)?;
        if bare != user {
            return self.open(bare, depth);
        }
        let inner = opaque::open(&self.keys, &self.domain, user).or_else(|| address::decoded(user))?;
        self.open(&inner, depth)
    }

    fn by_attributes(&self, of: &Attributes) -> Option<Target> {
        if of.owner.as_ref().is_some_and(|owner| !self.owners.contains(owner)) {
            return None;
        }
        let mut class = Class::default();
        if let Some(name) = &of.room {
            class.room = Some(place(self.rooms.iter(), name)?);
        }
        if let Some(name) = &of.group {
            class.group = Some(place(self.rooms.groups(), name)?);
        }
        let Some(name) = &of.device else { return self.class(class) };
        if let Some(device) = self.device(name).filter(|device| self.rooms.is_of(class, *device)) {
            return Some(Target::Device(device));
        }
        let kind = self.rooms.kind(name).or_else(|| self.rooms.kind(&room_id(name)))?;
        self.class(Class { kind: number(kind), ..class })
    }

    /// A class as what it comes down to; `None` when nothing is of it.
    fn class(&self, class: Class) -> Option<Target> {
        let mut members = (0..self.count).map(DeviceId).filter(|device| self.rooms.is_of(class, *device));
        let first = members.next()?;
        let single = members.next().is_none();
        Some(match class {
            Class { kind: None, room: None, group: None } => Target::All,
            _ if single => Target::Device(first),
            Class { kind: None, room: Some(room), group: None } => Target::RoomList(room.into()),
            class => Target::Class(class),
        })
    }
}

/// The place of that name, by name or id.
fn place<'a>(mut of: impl Iterator<Item = (usize, &'a Room)>, name: &str) -> Option<u16> {
    of.find(|(_, place)| same_room(&place.id, name)).and_then(|(index, _)| number(index))
}

/// The entry of that name: as written, without case, or as people write it (`Küche`).
fn lookup<T: Copy>(names: &HashMap<String, T>, name: &str) -> Option<T> {
    let found = names.get(name).or_else(|| names.get(&name.to_lowercase()));
    found.or_else(|| names.get(&room_id(name))).copied()
}

fn number(index: usize) -> Option<u16> {
    u16::try_from(index).ok()
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
        Target::Pickup(_)
        | Target::House
        | Target::Room(_)
        | Target::RoomList(_)
        | Target::All
        | Target::Alerts
        | Target::User(_)
        | Target::Class(_) => Press::Tell,
    }
}

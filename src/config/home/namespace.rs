//! Ids, users, rooms, numbers and the house share the user part of one domain.

use std::collections::HashMap;

use crate::config::fault::{Faults, Place};
use crate::config::names::is_id;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    House,
    User,
    Device,
    Room,
    Number,
    Group,
    Nickname,
    Gateway,
}

impl Owner {
    fn word(self) -> &'static str {
        match self {
            Owner::House => "the house",
            Owner::User => "a user",
            Owner::Device => "a device",
            Owner::Room => "a room",
            Owner::Number => "a number",
            Owner::Group => "a group",
            Owner::Nickname => "a nickname",
            Owner::Gateway => "a name of the gateway itself",
        }
    }
}

/// Who has which name.
#[derive(Debug)]
pub(super) struct Namespace {
    taken: HashMap<String, (Owner, Option<Place>)>,
}

/// Names that the gateway itself has.
const RESERVED: [&str; 2] = ["all", "alerts"];

impl Default for Namespace {
    fn default() -> Self {
        Self { taken: RESERVED.map(|name| (name.to_owned(), (Owner::Gateway, None))).into() }
    }
}

impl Namespace {
    /// Whether the file has a device of this id, with or without faults.
    pub(super) fn is_device(&self, name: &str) -> bool {
        self.is(name, Owner::Device)
    }

    /// Whether the file has a user of this name, with or without faults.
    pub(super) fn is_user(&self, name: &str) -> bool {
        self.is(name, Owner::User)
    }

    /// Whether a device is in the room of this id, with or without faults.
    pub(super) fn is_room(&self, id: &str) -> bool {
        self.is(id, Owner::Room)
    }

    /// Where a name stands.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.taken.get(name).and_then(|(_, place)| *place)
    }

    fn is(&self, name: &str, owner: Owner) -> bool {
        self.taken.get(name).is_some_and(|(other, _)| *other == owner)
    }

    /// Takes `name` for `owner`; a room may be taken again by a room. A collision is a fault at
    /// `place` that names the other place, too.
    pub(super) fn claim(
        &mut self,
        name: &str,
        owner: Owner,
        place: Option<Place>,
        path: &str,
        faults: &mut Faults,
    ) {
        let Some((other, first)) = self.taken.get(name) else {
            self.taken.insert(name.to_owned(), (owner, place));
            return;
        };
        if (owner, *other) == (Owner::Room, Owner::Room) {
            return;
        }
        let first =
            first.map_or_else(String::new, |at| format!(" at line {}, column {}", at.line, at.column));
        let message = format!("`{name}` is {} here, and already {}{first}", owner.word(), other.word());
        let help = "each name makes one address: devices, nicknames, groups, users, rooms, numbers and the house must differ";
        faults.error(place, path, message, Some(help.to_owned()));
    }
}

/// Reports an id that cannot be part of an address and of a topic.
pub(super) fn check_id(id: &str, what: &str, place: Place, path: &str, faults: &mut Faults) -> bool {
    if is_id(id) {
        return true;
    }
    let suggestion = crate::config::names::room_id(id);
    let suggestion: String =
        suggestion.chars().map(|c| if is_id(&format!("a{c}")) { c } else { '-' }).collect();
    let help = if is_id(&suggestion) {
        format!("write `{suggestion}`; for people there is `name:`")
    } else {
        "use lower-case letters, digits, `.`, `_` and `-`, beginning with a letter or a digit".to_owned()
    };
    let message = format!("`{id}` cannot be {what}: it becomes part of an address");
    faults.error(Some(place), path, message, Some(help));
    false
}

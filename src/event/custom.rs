//! Lists that people wrote: those that they keep (RFC 4826), and those that came with a SUBSCRIBE
//! (RFC 5367). Each is its writer's own.

use slab::Slab;

use super::subject::Subject;
use crate::config::DeviceId;
use crate::limits;

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CustomList {
    /// Who wrote it, as [`super::key_of`] says it.
    pub owner: String,
    /// Its name among the lists that he keeps; `None`: it came with a SUBSCRIBE.
    pub name: Option<String>,
    /// For people.
    pub title: String,
    /// The host by which the watcher calls this gateway, beside its domain: his phone may know it by
    /// an address of the network only.
    pub host: String,
    /// What is on it, in the writer's order.
    pub entries: Vec<CustomEntry>,
}

/// An address on a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CustomEntry {
    /// The address as it was written.
    pub uri: String,
    /// The writer's name for it.
    pub title: Option<String>,
    /// Whether it is an address of this house.
    pub ours: bool,
    /// The appliance behind it, where there is one.
    pub device: Option<DeviceId>,
    /// The user behind it, where there is one: an index into [`Config::users`](crate::config::Config::users).
    pub user: Option<usize>,
    /// The appliances behind it, where it is a place or a list of the house; they follow as members.
    pub place: Option<Subject>,
    /// It was not written, and belongs to the place before it.
    pub member: bool,
}

impl CustomList {
    /// Whether an appliance is on it.
    pub fn has(&self, device: DeviceId) -> bool {
        self.entries.iter().any(|entry| entry.device == Some(device))
    }

    /// The people on it.
    pub fn people(&self) -> impl Iterator<Item = usize> {
        self.entries.iter().filter_map(|entry| entry.user)
    }
}

/// The lists that are watched.
#[derive(Debug, Default)]
pub struct CustomLists(Slab<CustomList>);

impl CustomLists {
    /// The list at a place.
    pub fn get(&self, index: usize) -> Option<&CustomList> {
        self.0.get(index)
    }

    /// All, with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &CustomList)> {
        self.0.iter()
    }

    /// All, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut CustomList)> {
        self.0.iter_mut()
    }

    /// The place of a list: that of the same one where it is there already. Lists that nobody watches
    /// are forgotten. `None`: there are too many, of this owner or in all.
    pub fn place(&mut self, list: CustomList, mut is_watched: impl FnMut(usize) -> bool) -> Option<usize> {
        self.0.retain(|index, _| is_watched(index));
        let same = |known: &CustomList| match &list.name {
            Some(_) => known.owner == list.owner && known.name == list.name,
            None => *known == list,
        };
        if let Some((index, known)) = self.0.iter_mut().find(|(_, known)| same(known)) {
            *known = list;
            return Some(index);
        }
        let of_owner = self.0.iter().filter(|(_, known)| known.owner == list.owner).count();
        let room = self.0.len() < limits::CUSTOM_LISTS && of_owner < limits::CUSTOM_LISTS_PER_USER;
        room.then(|| self.0.insert(list))
    }
}

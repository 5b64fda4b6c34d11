//! The presence of the people of a house, as it is told now.

use crate::body::presence::Presence;

/// One presence for each user, by the index of [`Config::users`](crate::config::Config::users).
#[derive(Debug, Default)]
pub struct People {
    persons: Vec<(Presence, u64)>,
    /// Rises with every change of any of them; a version never comes twice.
    version: u64,
}

impl People {
    /// The presence of a user.
    pub fn get(&self, user: usize) -> Option<&Presence> {
        self.persons.get(user).map(|(presence, _)| presence)
    }

    /// A number that changes with the presence of a user.
    pub fn version(&self, user: usize) -> u64 {
        self.persons.get(user).map_or(0, |(_, version)| *version)
    }

    /// Takes a presence over; whether it says something else than before.
    pub fn set(&mut self, user: usize, presence: Presence) -> bool {
        if self.get(user) == Some(&presence) {
            return false;
        }
        if self.persons.len() <= user {
            self.persons.resize_with(user + 1, Default::default);
        }
        self.version += 1;
        if let Some(person) = self.persons.get_mut(user) {
            *person = (presence, self.version);
        }
        true
    }

    /// There are so many users now, and these have other places. Whoever has none is forgotten.
    pub fn relocate(&mut self, users: usize, to: impl Fn(usize) -> Option<usize>) {
        let mut moved = vec![<(Presence, u64)>::default(); users];
        for (at, person) in std::mem::take(&mut self.persons).into_iter().enumerate() {
            if let Some(place) = to(at).and_then(|at| moved.get_mut(at)) {
                *place = person;
            }
        }
        self.persons = moved;
    }
}

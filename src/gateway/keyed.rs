//! Things that come and go under numbers of which none is used twice: what arrives late for one that is
//! gone finds nothing, and never its successor.

use std::collections::BTreeMap;

/// See the module. Visited in the order in which they came.
#[derive(Debug)]
pub(super) struct Keyed<T> {
    next: usize,
    all: BTreeMap<usize, T>,
}

impl<T> Default for Keyed<T> {
    fn default() -> Self {
        Self { next: 0, all: BTreeMap::new() }
    }
}

impl<T> Keyed<T> {
    /// The number of the thing that comes next.
    pub fn next_key(&self) -> usize {
        self.next
    }

    /// Takes one more; its number.
    pub fn add(&mut self, thing: T) -> usize {
        let key = self.next;
        self.next += 1;
        self.all.insert(key, thing);
        key
    }

    pub fn get(&self, key: usize) -> Option<&T> {
        self.all.get(&key)
    }

    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.all.get_mut(&key)
    }

    pub fn remove(&mut self, key: usize) -> Option<T> {
        self.all.remove(&key)
    }

    /// The numbers, for a walk that changes other things, too.
    pub fn keys(&self) -> Vec<usize> {
        self.all.keys().copied().collect()
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.all.iter().map(|(key, thing)| (*key, thing))
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.all.values()
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.all.values_mut()
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.all.retain(|_, thing| keep(thing));
    }
}

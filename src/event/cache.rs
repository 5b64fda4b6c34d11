//! Documents that several watchers get.

use std::collections::HashMap;

use crate::sip::notifier::{Document, Resource, Watcher};
use crate::timer::Now;

/// Documents of the newest state, each made once for all who watch it in the same way.
#[derive(Debug, Default)]
pub struct Cache {
    made: HashMap<Resource, Made>,
}

/// One document that is shared.
#[derive(Debug)]
struct Made {
    version: u64,
    /// The address that it names; `None` when it names none.
    entity: Option<String>,
    at_ms: i64,
    document: Document,
}

/// How long a document counts that says how long something is so.
const MOMENT_MS: i64 = 1000;

/// Documents kept for sharing; when it is full, all are forgotten and made again.
const CACHED: usize = 256;

impl Cache {
    /// The document that such a watcher gets of that version of the state.
    pub(super) fn get(
        &self,
        resource: &Resource,
        version: u64,
        watcher: Watcher<'_>,
        now: Now,
    ) -> Option<Document> {
        let made = self.made.get(resource).filter(|made| made.fits(version, watcher, now))?;
        Some(made.document.clone())
    }

    /// Keeps a document of a version of the state, and the address that it names.
    pub(super) fn put(
        &mut self,
        resource: Resource,
        (version, entity): (u64, Option<String>),
        document: Document,
        now: Now,
    ) {
        if self.made.len() >= CACHED {
            self.made.clear();
        }
        self.made.insert(resource, Made { version, entity, at_ms: now.wall_ms, document });
    }
}

impl Made {
    /// Whether it is what such a watcher gets.
    fn fits(&self, version: u64, watcher: Watcher<'_>, now: Now) -> bool {
        let recent = || (self.at_ms..self.at_ms + MOMENT_MS).contains(&now.wall_ms);
        let same = |entity: &String| entity == watcher.entity && recent();
        self.version == version && self.entity.as_ref().is_none_or(same)
    }
}

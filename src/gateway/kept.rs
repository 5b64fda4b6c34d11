//! Documents that people write and that outlive the process: the rules of owners (RFC 5025) and the
//! lists of users (RFC 4826). The core holds them; the shell keeps a copy of each on disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Gateway, Output};
use crate::body::policy::{self, Ruleset};
use crate::body::resource_lists::{self, List};
use crate::config::Config;
use crate::timer::Now;

/// A kind of document; its word is the XCAP application (RFC 4825 §3) and the folder on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Who may watch what: `pres-rules`.
    Rules,
    /// Named lists of addresses: `resource-lists`.
    Lists,
    /// Which appliances are isolated; of the house, whose name is that of the gateway itself.
    Isolated,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Rules, Self::Lists, Self::Isolated];

    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Rules => "pres-rules",
            Self::Lists => "resource-lists",
            Self::Isolated => "isolated",
        }
    }
}

/// Which document: whose, and of what kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// A user of the home file.
    pub user: String,
}

/// What people wrote: what it means, and how they wrote it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub rules: BTreeMap<String, Ruleset>,
    pub lists: BTreeMap<String, Vec<List>>,
    texts: BTreeMap<Key, Bytes>,
}

impl Kept {
    /// A document as it was written.
    pub fn text(&self, key: &Key) -> Option<&Bytes> {
        self.texts.get(key)
    }

    /// How many bytes all documents but this one have.
    pub fn bytes_without(&self, key: &Key) -> usize {
        self.texts.iter().filter(|(other, _)| *other != key).map(|(_, text)| text.len()).sum()
    }

    /// Forgets what belongs to nobody any more; it stays on the disk.
    pub fn retain_users(&mut self, config: &Config) {
        let known = |user: &str| config.users.iter().any(|known| known.name == user);
        self.rules.retain(|user, _| known(user));
        self.lists.retain(|user, _| known(user));
        self.texts.retain(|key, _| known(&key.user));
    }

    /// Takes a document; nothing changes when it cannot be read.
    fn take(&mut self, key: Key, text: Bytes) -> Result<(), String> {
        match key.kind {
            Kind::Rules => {
                let rules = policy::read(&text).map_err(|why| why.to_string())?;
                self.rules.insert(key.user.clone(), rules);
            }
            Kind::Lists => {
                let lists = resource_lists::read(&text).map_err(|why| why.to_string())?;
                self.lists.insert(key.user.clone(), lists);
            }
            // No document of a user.
            Kind::Isolated => return Ok(()),
        }
        self.texts.insert(key, text);
        Ok(())
    }
}

impl Gateway {
    /// Takes back what an earlier run kept. To be called before the first input, or after a reload for
    /// users that are new.
    ///
    /// # Errors
    /// Says why the document cannot be read; it counts as absent then, and nothing else changes.
    pub fn restore(&mut self, key: Key, body: &[u8], now: Now) -> Result<(), String> {
        let kind = key.kind;
        if kind == Kind::Isolated {
            // It is the house's, and nobody else's.
            let house = key.user == self.config.house.user;
            return if house { self.restore_isolation(body) } else { Ok(()) };
        }
        self.kept.take(key, Bytes::copy_from_slice(body))?;
        if kind == Kind::Rules {
            self.rules_changed(now);
        }
        Ok(())
    }

    /// The names of those whose documents are kept: the users, and the house itself.
    pub fn users(&self) -> Vec<String> {
        let users = self.config.users.iter().map(|user| user.name.clone());
        users.chain([self.config.house.user.clone()]).collect()
    }

    /// Whose documents of which kind there are.
    pub fn kept_documents(&self) -> Vec<Key> {
        self.kept.texts.keys().cloned().collect()
    }

    /// Whether a user may write documents of that kind. Everybody has lists; rules decide who watches
    /// the house.
    pub(super) fn may_keep(&self, kind: Kind, user: &str) -> bool {
        match kind {
            Kind::Lists => self.config.users.iter().any(|known| known.name == user),
            Kind::Rules => self.config.owners.iter().any(|owner| owner == user),
            Kind::Isolated => false,
        }
    }

    /// Takes a document that its user wrote, as it was written, and has it brought to the disk.
    ///
    /// # Errors
    /// Says why it cannot be read; nothing changes then.
    pub(super) fn write_document(&mut self, key: Key, text: Bytes, now: Now) -> Result<(), String> {
        self.kept.take(key.clone(), text.clone())?;
        self.outputs.push_back(Output::Keep { key: key.clone(), body: Some(text) });
        self.document_changed(&key, now);
        Ok(())
    }

    /// Forgets a document.
    pub(super) fn remove_document(&mut self, key: &Key, now: Now) {
        match key.kind {
            Kind::Rules => drop(self.kept.rules.remove(&key.user)),
            Kind::Lists => drop(self.kept.lists.remove(&key.user)),
            Kind::Isolated => return,
        }
        self.kept.texts.remove(key);
        self.outputs.push_back(Output::Keep { key: key.clone(), body: None });
        self.document_changed(key, now);
    }

    fn document_changed(&mut self, key: &Key, now: Now) {
        match key.kind {
            Kind::Rules => self.rules_changed(now),
            Kind::Lists => self.lists_changed(&key.user, now),
            Kind::Isolated => {}
        }
    }
}

impl Gateway {
    /// Has the document of `user` as it is in memory now written to disk, or taken away where there is
    /// none: for changes that were not made in its text.
    pub(super) fn save(&mut self, kind: Kind, user: &str) {
        let body = match kind {
            Kind::Rules => self.kept.rules.get(user).map(policy::write),
            Kind::Lists => self.kept.lists.get(user).map(|lists| resource_lists::write(lists)),
            // Written where it changes.
            Kind::Isolated => return,
        };
        let key = Key { kind, user: user.to_owned() };
        let body = body.map(Bytes::from);
        match &body {
            Some(text) => self.kept.texts.insert(key.clone(), text.clone()),
            None => self.kept.texts.remove(&key),
        };
        self.outputs.push_back(Output::Keep { key, body });
    }
}

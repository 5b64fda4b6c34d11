//! Documents that people write and that outlive the process: the rules of owners (RFC 5025) and the
//! lists of users (RFC 4826). The core holds them; the shell keeps a copy of each on disk.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Gateway, Output};
use crate::body::policy::{self, Ruleset};
use crate::body::resource_lists::{self, List};
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

/// What people wrote.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub rules: BTreeMap<String, Ruleset>,
    pub lists: BTreeMap<String, Vec<List>>,
}

impl Gateway {
    /// Takes back what an earlier run kept. To be called once, before the first input.
    ///
    /// # Errors
    /// Says why the document cannot be read; it counts as absent then, and nothing else changes.
    pub fn restore(&mut self, key: Key, body: &[u8], now: Now) -> Result<(), String> {
        match key.kind {
            Kind::Rules => {
                let rules = policy::read(body).map_err(|why| why.to_string())?;
                self.kept.rules.insert(key.user, rules);
                self.rules_changed(now);
            }
            Kind::Lists => {
                let lists = resource_lists::read(body).map_err(|why| why.to_string())?;
                self.kept.lists.insert(key.user, lists);
            }
            Kind::Isolated => self.restore_isolation(body)?,
        }
        Ok(())
    }

    /// Has the document of `user` as it is now written to disk, or taken away where there is none.
    pub(super) fn save(&mut self, kind: Kind, user: &str) {
        let body = match kind {
            Kind::Rules => self.kept.rules.get(user).map(policy::write),
            Kind::Lists => self.kept.lists.get(user).map(|lists| resource_lists::write(lists)),
            // Written where it changes.
            Kind::Isolated => return,
        };
        let key = Key { kind, user: user.to_owned() };
        self.outputs.push_back(Output::Keep { key, body: body.map(Bytes::from) });
    }
}

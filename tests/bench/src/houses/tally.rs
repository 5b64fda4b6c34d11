//! What is counted: messages of this second, and how the houses stand.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use serde_json::{Value, json};
use sipliance::gateway::Status;

/// Messages since the last line.
#[derive(Debug, Default)]
pub struct Tally {
    sent: BTreeMap<String, u64>,
    got: BTreeMap<String, u64>,
    connects: u64,
    lost: u64,
    /// Requests of this while and the one before, so that those are found that are sent again.
    known: [HashSet<u64>; 2],
    hasher: RandomState,
}

/// Requests of one while.
const KNOWN: usize = 100_000;

/// How one house stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Registrations that stand: one for each account and flow.
    pub registered: usize,
    /// Accounts that are registered over one flow at least.
    pub reachable: usize,
    pub published: usize,
    /// Flows that are open.
    pub open: usize,
}

impl Standing {
    pub fn of(status: &Status) -> Self {
        let mut addresses: Vec<&str> = Vec::new();
        let registered = status.registrations.iter().filter(|of| of.state == "registered");
        addresses.extend(registered.map(|of| of.address.as_str()));
        let registered = addresses.len();
        addresses.sort_unstable();
        addresses.dedup();
        Self {
            registered,
            reachable: addresses.len(),
            published: status.publications.iter().filter(|of| of.state == "published").count(),
            open: status.flows.iter().filter(|flow| flow.state == "open").count(),
        }
    }
}

impl Tally {
    pub fn sent(&mut self, bytes: &[u8]) {
        let word = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        let name = match word {
            b"SIP/2.0" => "response",
            _ if word.len() > 1 && word.iter().all(u8::is_ascii_uppercase) => {
                let name = match self.is_new(bytes) {
                    false => "repeated",
                    // It says nothing new.
                    true if word == b"PUBLISH" && bytes.ends_with(b"\r\n\r\n") => "PUBLISH without body",
                    true => &String::from_utf8_lossy(word),
                };
                return add(&mut self.sent, name);
            }
            _ => "keep-alive",
        };
        add(&mut self.sent, name);
    }

    fn is_new(&mut self, bytes: &[u8]) -> bool {
        let [now, before] = &mut self.known;
        if now.len() >= KNOWN {
            std::mem::swap(now, before);
            now.clear();
        }
        let hash = self.hasher.hash_one(bytes);
        !before.contains(&hash) && now.insert(hash)
    }

    /// Statuses that came; a stream may bring several at once.
    pub fn got(&mut self, bytes: &[u8]) {
        let mut any = false;
        for at in memchr::memmem::find_iter(bytes, b"SIP/2.0 ") {
            if let Some(status) = bytes.get(at + 8..at + 11).filter(|it| it.iter().all(u8::is_ascii_digit)) {
                any = true;
                add(&mut self.got, &String::from_utf8_lossy(status));
            }
        }
        if !any {
            add(&mut self.got, "other");
        }
    }

    pub fn connect(&mut self) {
        self.connects += 1;
    }

    pub fn lost(&mut self) {
        self.lost += 1;
    }

    /// The line of a second; counting begins anew.
    pub fn take(&mut self, at: f64, standing: &[Standing]) -> Value {
        let (known, hasher) = (std::mem::take(&mut self.known), self.hasher.clone());
        let it = std::mem::replace(self, Self { known, hasher, ..Self::default() });
        let sum = |of: fn(&Standing) -> usize| standing.iter().map(of).sum::<usize>();
        json!({
            "t": (at * 10.0).round() / 10.0, "sent": it.sent, "got": it.got, "connects": it.connects, "lost": it.lost,
            "registered": sum(|of| of.registered), "reachable": sum(|of| of.reachable),
            "published": sum(|of| of.published), "open": sum(|of| of.open),
        })
    }
}

fn add(counts: &mut BTreeMap<String, u64>, name: &str) {
    match counts.get_mut(name) {
        Some(count) => *count += 1,
        None => drop(counts.insert(name.to_owned(), 1)),
    }
}

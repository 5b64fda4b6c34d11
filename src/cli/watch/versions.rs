//! The versions of a list (RFC 4662 §5.6): a document that is missing is noticed.

use crate::body::rlmi;

/// What was heard of a list.
#[derive(Debug, Default)]
pub struct Versions {
    last: Option<u32>,
    /// The full state was asked for and has not come yet: it is not asked for twice.
    asked: bool,
}

impl Versions {
    /// Takes a document; whether the full state has to be asked for, because one before it is missing.
    pub fn has_gap(&mut self, content_type: Option<&str>, body: &[u8]) -> bool {
        let Some(list) = content_type.and_then(|kind| rlmi::read_related(kind, body).ok()) else {
            return false;
        };
        let list = list.0;
        let follows = self.last.is_some_and(|last| last.checked_add(1) == Some(list.version));
        self.last = Some(list.version);
        if list.full {
            self.asked = false;
            return false;
        }
        !follows && !std::mem::replace(&mut self.asked, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(versions: &mut Versions, version: u32, full: bool) -> bool {
        let list = rlmi::Rlmi {
            uri: "sip:all@h".to_owned(),
            version,
            full,
            names: Vec::new(),
            resources: Vec::new(),
        };
        let (kind, body) = rlmi::write_related(&list, Vec::new(), "h");
        versions.has_gap(Some(&kind), &body)
    }

    /// Proves: RL-3
    #[test]
    fn a_gap_asks_once_until_everything_has_come() {
        let mut versions = Versions::default();
        assert!(!heard(&mut versions, 0, true));
        assert!(!heard(&mut versions, 1, false));
        assert!(heard(&mut versions, 3, false), "2 is missing");
        assert!(!heard(&mut versions, 7, false), "it has been asked for already");
        assert!(!heard(&mut versions, 8, true));
        assert!(!heard(&mut versions, 12, true), "whatever was missing is there again");
        assert!(heard(&mut versions, 14, false));
        assert!(heard(&mut Versions::default(), 0, false), "nothing came before it");
        assert!(!versions.has_gap(Some("text/plain"), b"x") && !versions.has_gap(None, b""));
    }
}

//! Names that people and other programs gave, made into ids.

use std::collections::BTreeSet;

use super::write::hidden;
use crate::config::names::room_id;
use crate::limits::ID_BYTES;

/// Longest name for people, in characters.
const NAME: usize = 64;

/// A name for people on one line; `None` where nothing of it can be shown.
pub(super) fn shown(name: &str) -> Option<String> {
    let clean: String = name.chars().filter(|c| !hidden(*c)).take(NAME).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// `Hall plug (2)` is `hall-plug-2`; may be empty.
pub(super) fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in room_id(&text.chars().take(4 * ID_BYTES).collect::<String>()).chars() {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            _ if out.ends_with('-') || out.is_empty() => {}
            _ => out.push('-'),
        }
    }
    // Room for a number behind it.
    out.truncate(ID_BYTES - 5);
    out.truncate(out.trim_end_matches('-').len());
    out
}

/// `want`, or `want-2`, `want-3` … until it is free; it is taken then.
pub(super) fn free(want: &str, taken: &mut BTreeSet<String>) -> String {
    let mut name = want.to_owned();
    let mut nth = 1;
    while !taken.insert(name.clone()) {
        nth += 1;
        name = format!("{want}-{nth}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_ids() {
        for (name, id) in [
            ("Hall plug (2)", "hall-plug-2"),
            ("Küche", "kueche"),
            ("部屋", ""),
            ("--a__b--", "a-b"),
            ("a\u{0}b: #c", "a-b-c"),
        ] {
            assert_eq!(slug(name), id);
        }
        assert!(slug(&"x".repeat(500)).len() < ID_BYTES);
        let mut taken = BTreeSet::from(["a".to_owned()]);
        assert_eq!((free("a", &mut taken), free("a", &mut taken)), ("a-2".to_owned(), "a-3".to_owned()));
        assert_eq!(shown("\u{1b}[31mred"), Some("[31mred".to_owned()));
        assert_eq!(shown(" \u{200b}"), None);
    }
}

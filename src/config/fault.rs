//! What is wrong with a file, where, and what was probably meant.

mod render;

pub use render::Style;

use std::collections::HashSet;

/// A place in a file: both count from one. Columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// How bad a fault is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// It works, and probably not as meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// How bad.
    pub severity: Severity,
    /// Where; `None` when the whole file is meant.
    pub place: Option<Place>,
    /// Key path: `properties.power.read[1].map`.
    pub path: String,
    /// What is wrong, as a sentence without a full stop.
    pub message: String,
    /// What to do, or what was probably meant.
    pub help: Option<String>,
}

/// The mistakes of one file, in the order of their places when printed.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    /// How many came after the list was full, and whether one of them was an error.
    more: usize,
    more_errors: bool,
}

/// Most faults that are kept of one file; of the rest only the number is told.
pub const MOST_FAULTS: usize = 500;

impl Faults {
    /// Adds an error at `place`.
    pub fn error(
        &mut self,
        place: Option<Place>,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let message = message.into();
        self.push(Fault { severity: Severity::Error, place, path: path.to_owned(), message, help });
    }

    /// Adds a warning at `place`.
    pub fn warning(
        &mut self,
        place: Option<Place>,
        path: &str,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let message = message.into();
        self.push(Fault { severity: Severity::Warning, place, path: path.to_owned(), message, help });
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Self) {
        self.more += other.more;
        self.more_errors |= other.more_errors;
        other.list.into_iter().for_each(|fault| self.push(fault));
    }

    fn push(&mut self, fault: Fault) {
        if self.list.len() < MOST_FAULTS {
            self.list.push(fault);
        } else {
            self.more += 1;
            self.more_errors |= fault.severity == Severity::Error;
        }
    }

    /// Whether the file cannot be used.
    pub fn fatal(&self) -> bool {
        self.more_errors || self.list.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// Whether nothing is wrong at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, by place. A warning about a value that has an error, too, would only repeat it
    /// and is left out.
    pub fn sorted(mut self) -> Vec<Fault> {
        let wrong: HashSet<(Option<Place>, String)> = self
            .list
            .iter()
            .filter(|fault| fault.severity == Severity::Error && fault.place.is_some())
            .map(|fault| (fault.place, fault.path.clone()))
            .collect();
        self.list.retain(|fault| {
            fault.severity == Severity::Error || !wrong.contains(&(fault.place, fault.path.clone()))
        });
        self.list.sort_by_key(|fault| fault.place);
        // One mistake that two rules find is told once.
        self.list.dedup_by(|next, first| {
            first.place.is_some() && (next.place, &next.message) == (first.place, &first.message)
        });
        if self.more > 0 {
            let severity = if self.more_errors { Severity::Error } else { Severity::Warning };
            let message = format!("and {} more faults", self.more);
            self.list.push(Fault { severity, place: None, path: String::new(), message, help: None });
        }
        self.list
    }
}

/// The candidate nearest to `word`, when it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(far, _)| *far <= limit)
        .min_by_key(|(far, _)| *far)
        .map(|(_, candidate)| candidate);
    // `output` for `out`, `temp` for `temperature`: where only one fits.
    let longer = |long: &str, short: &str| short.len() >= 3 && long.starts_with(short);
    let mut alike = candidates.iter().filter(|other| longer(word, other) || longer(other, word));
    near.or_else(|| match (alike.next(), alike.next()) {
        (Some(only), None) => Some(*only),
        _ => None,
    })
}

/// Edits (insert, delete, replace, swap of neighbours) between two words, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], k: usize| row.get(k).copied().unwrap_or(usize::MAX / 2);
            let mut best =
                (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(&before_last, j - 1) + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_the_word_that_was_meant() {
        let words = ["power", "temperature", "on"];
        assert_eq!(nearest("powr", words), Some("power"));
        assert_eq!(nearest("pwoer", words), Some("power"));
        assert_eq!(nearest("Temprature", words), Some("temperature"));
        assert_eq!(nearest("humidity", words), None);
        assert_eq!(nearest("x", ["yz"]), None);
    }

    #[test]
    fn a_full_list_still_knows_that_the_file_is_unusable() {
        let mut faults = Faults::default();
        (0..MOST_FAULTS).for_each(|_| faults.warning(None, "", "small", None));
        assert!(!faults.fatal());
        faults.error(None, "", "great", None);
        assert!(faults.fatal());
        let list = faults.sorted();
        assert_eq!(list.len(), MOST_FAULTS + 1);
        assert_eq!(list[MOST_FAULTS].severity, Severity::Error);
        assert_eq!(list[MOST_FAULTS].message, "and 1 more faults");
    }

    #[test]
    fn an_error_silences_the_warning_about_the_same_value() {
        let place = Some(Place { line: 3, column: 9 });
        let mut faults = Faults::default();
        faults.warning(place, "digest.md5", "read as true elsewhere", None);
        faults.error(place, "digest.md5", "no switch", None);
        faults.warning(place, "digest", "stays", None);
        let messages: Vec<String> = faults.sorted().into_iter().map(|fault| fault.message).collect();
        assert_eq!(messages, ["no switch", "stays"]);
    }

    #[test]
    fn faults_come_in_the_order_of_the_file() {
        let mut faults = Faults::default();
        faults.error(Some(Place { line: 7, column: 1 }), "", "late", None);
        faults.warning(Some(Place { line: 2, column: 9 }), "", "early", None);
        assert!(faults.fatal());
        let messages: Vec<String> = faults.sorted().into_iter().map(|fault| fault.message).collect();
        assert_eq!(messages, ["early", "late"]);
    }
}

//! The words of a file format as data.
//!
//! A [`Block`] lists the keys of one kind of block, what each takes and what it means. Readers are opened
//! over a block and cannot read a key that it lacks; the JSON Schema and the tables of the documents are
//! written from the same blocks. So the three cannot drift apart.

/// A kind of block: `link:` of a serial profile, a property, a test.
pub struct Block {
    /// Its name, unique in the format.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    /// Its keys, in groups that several blocks may share.
    pub words: &'static [&'static [Word]],
    /// What stands under keys that people choose; `None`: there are only the words.
    pub others: Option<Takes>,
    /// Where one word has a value, another must be there: word, value, other word.
    pub needs: &'static [(&'static str, &'static str, &'static str)],
    /// Every block of the format, to say where a misplaced key belongs.
    pub family: &'static [&'static Block],
}

/// One key.
pub struct Word {
    /// As it is written.
    pub key: &'static str,
    /// What may stand behind it.
    pub takes: Takes,
    /// What it means, for people.
    pub about: &'static str,
    /// Whether it must be there.
    pub must: bool,
}

/// What may stand somewhere. Wherever a single value is taken, a `<param>` may stand for it.
#[derive(Clone, Copy)]
pub enum Takes {
    /// A text; numbers and true/false count as what was written.
    Text,
    /// A topic of MQTT without wildcards.
    Topic,
    /// A JSON Pointer (RFC 6901).
    Pointer,
    /// A regular expression.
    Pattern,
    /// `true` or `false`.
    Bool,
    /// A whole number from the first to the second.
    Int(i64, i64),
    /// A number.
    Number,
    /// A time with its unit.
    Time,
    /// One of these words.
    OneOf(fn() -> Vec<&'static str>),
    /// A block.
    Block(&'static Block),
    /// A block, or a list of such blocks.
    Blocks(&'static Block),
    /// A list of blocks.
    ListOf(&'static Block),
    /// A block of free names with one kind of thing behind each.
    Each(&'static Takes),
    /// The same, where the names are ids: they become part of commands and addresses.
    Ids(&'static Block),
    /// A list.
    List(&'static Takes),
    /// Any of these.
    Either(&'static [Takes]),
    /// What the first word decides, by its value (`driver: mqtt`); `None`: nothing can stand there.
    Chosen(fn(&str) -> Option<Takes>),
    /// Anything.
    Any,
}

impl Word {
    /// A key that may be there.
    pub const fn may(key: &'static str, takes: Takes, about: &'static str) -> Self {
        Self { key, takes, about, must: false }
    }

    /// A key that must be there.
    pub const fn must(key: &'static str, takes: Takes, about: &'static str) -> Self {
        Self { key, takes, about, must: true }
    }
}

impl Block {
    /// The same block, in which words need each other.
    pub const fn needing(self, needs: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { needs, ..self }
    }

    /// Every key.
    pub fn all(&self) -> impl Iterator<Item = &'static Word> + use<> {
        self.words.iter().copied().flatten()
    }

    /// The word for a key.
    pub fn word(&self, key: &str) -> Option<&'static Word> {
        self.all().find(|word| word.key == key)
    }

    /// The other blocks in which this key stands.
    pub fn elsewhere(&self, key: &str) -> Vec<&'static str> {
        let mut names: Vec<&str> = Vec::new();
        for block in self.family.iter().filter(|block| block.word(key).is_some()) {
            if block.about != self.about && !names.contains(&block.about) {
                names.push(block.about);
            }
        }
        names
    }
}

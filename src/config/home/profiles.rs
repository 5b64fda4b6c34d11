//! The profiles that a home file can name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Around, Report, open_text};
use crate::config::fault::{Faults, Place};
use crate::config::yaml::{self, Data, Node};
use crate::device::profile::Profile;

/// Most profile files in one directory; a larger one is refused, it is probably the wrong one.
const MOST_FILES: usize = 1024;

/// Profile texts by id.
#[derive(Clone, Debug, Default)]
pub struct Profiles {
    texts: BTreeMap<String, Text>,
}

#[derive(Clone, Debug)]
struct Text {
    path: PathBuf,
    text: String,
}

impl Profiles {
    /// None at all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that come with the program.
    pub fn shipped() -> Self {
        let mut profiles = Self::new();
        for (id, text) in crate::device::shipped::SHIPPED {
            profiles.add(id, format!("{id}.yaml"), *text);
        }
        profiles
    }

    /// Every one that can be read, by id.
    pub fn decoded(&self) -> Vec<Arc<Profile>> {
        let none = Around::Texts { secrets: "" };
        Library::open(self, None, &none, &mut Faults::default(), &mut Vec::new()).all()
    }

    /// Adds a profile; `path` names it in reports. The one that was there before is replaced.
    pub fn add(&mut self, id: &str, path: impl Into<PathBuf>, text: impl Into<String>) {
        self.texts.insert(id.to_owned(), Text { path: path.into(), text: text.into() });
    }
}

/// The profiles of one home: its own first, then the shipped ones. Each is decoded when a device
/// first needs it.
pub(super) struct Library<'a> {
    shipped: &'a Profiles,
    own: Profiles,
    decoded: BTreeMap<String, Option<Arc<Profile>>>,
    reports: Vec<Report>,
}

/// What an id leads to.
pub(super) enum Found {
    /// A profile.
    Profile(Arc<Profile>),
    /// A file with faults, which are reported already.
    Broken,
    /// Nothing.
    Unknown,
}

impl<'a> Library<'a> {
    /// Reads the directories that `profiles:` names.
    pub(super) fn open(
        shipped: &'a Profiles,
        node: Option<&Node>,
        around: &Around<'_>,
        faults: &mut Faults,
        reports: &mut Vec<Report>,
    ) -> Self {
        let mut library =
            Self { shipped, own: Profiles::new(), decoded: BTreeMap::new(), reports: Vec::new() };
        let dirs = node.and_then(|node| node.texts("profiles", faults)).unwrap_or_default();
        for (index, (place, dir)) in dirs.into_iter().enumerate() {
            let path = format!("profiles[{index}]");
            if matches!(around, Around::Texts { .. }) {
                faults.error(Some(place), &path, "no directory can be read here", None);
                continue;
            }
            match files(&around.resolve(&dir)) {
                Ok(files) => {
                    files.iter().for_each(|file| library.add_file(file, &path, place, faults, reports))
                }
                Err(why) => faults.error(Some(place), &path, format!("the directory `{dir}` {why}"), None),
            }
        }
        library
    }

    /// Remembers a profile file by the id that it gives itself.
    fn add_file(
        &mut self,
        file: &Path,
        path: &str,
        place: Place,
        faults: &mut Faults,
        reports: &mut Vec<Report>,
    ) {
        let mut found = Faults::default();
        let text = open_text(file).map(|opened| opened.text);
        match &text {
            Err(why) => found.error(None, "", why.clone(), None),
            Ok(text) => {
                let root = yaml::parse(text, &mut Faults::default());
                match root.as_ref().map(id) {
                    // The file may be the one that was meant, so its faults are worth telling.
                    None => drop(yaml::parse(text, &mut found)),
                    Some(None) => {
                        found.warning(None, "", "there is no `profile:` in this file; it is left out", None);
                    }
                    Some(Some(id)) => match self.own.texts.get(&id) {
                        Some(other) => {
                            let message = format!(
                                "the profile `{id}` stands in {} and in {}",
                                other.path.display(),
                                file.display()
                            );
                            faults.error(
                                Some(place),
                                path,
                                message,
                                Some("remove one of the two".to_owned()),
                            );
                        }
                        None => self.own.add(&id, file, text.clone()),
                    },
                }
            }
        }
        if !found.is_empty() {
            reports.push(Report { path: file.to_owned(), source: text.ok(), faults: found.sorted() });
        }
    }

    /// The profile of this id.
    pub(super) fn get(&mut self, id: &str) -> Found {
        if !self.decoded.contains_key(id) {
            let Some(text) = self.own.texts.get(id).or_else(|| self.shipped.texts.get(id)) else {
                return Found::Unknown;
            };
            let mut faults = Faults::default();
            let profile =
                yaml::parse(&text.text, &mut faults).and_then(|node| Profile::read(&node, &mut faults));
            let profile = profile.filter(|_| !faults.fatal()).map(Arc::new);
            if !faults.is_empty() {
                let (path, source) = (text.path.clone(), Some(text.text.clone()));
                self.reports.push(Report { path, source, faults: faults.sorted() });
            }
            self.decoded.insert(id.to_owned(), profile);
        }
        match self.decoded.get(id) {
            Some(Some(profile)) => Found::Profile(Arc::clone(profile)),
            _ => Found::Broken,
        }
    }

    /// Every profile that can be read, by id; of the home's own and the shipped one with the same id, its own.
    pub(super) fn all(&mut self) -> Vec<Arc<Profile>> {
        let ids: std::collections::BTreeSet<String> = self.ids().map(str::to_owned).collect();
        let mut all = Vec::new();
        for id in ids {
            if let Found::Profile(profile) = self.get(&id) {
                all.push(profile);
            }
        }
        all
    }

    /// Every id that could have been meant.
    pub(super) fn ids(&self) -> impl Iterator<Item = &str> {
        self.own.texts.keys().chain(self.shipped.texts.keys()).map(String::as_str)
    }

    /// For help: some of the ids.
    pub(super) fn known(&self) -> String {
        const SHOWN: usize = 20;
        let ids: Vec<&str> = self.ids().take(SHOWN + 1).collect();
        match ids.as_slice() {
            [] => "name a directory with profiles: `profiles: [profiles]`".to_owned(),
            ids if ids.len() <= SHOWN => format!("there are {}", ids.join(", ")),
            _ => format!(
                "there are {} and more",
                ids.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// The faults of the profiles that were used.
    pub(super) fn reports(self) -> Vec<Report> {
        self.reports
    }
}

/// The id that a profile gives itself.
fn id(root: &Node) -> Option<String> {
    let Data::Map(entries) = &root.data else { return None };
    entries.iter().find(|(key, _)| key.text == "profile").and_then(|(_, value)| value.scalar())
}

/// The YAML files of a directory by name.
fn files(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(dir).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    let mut files = Vec::new();
    for entry in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        if entry.extension().is_some_and(|ext| ext == "yaml" || ext == "yml") {
            files.push(entry);
        }
        if files.len() > MOST_FILES {
            return Err(format!("has more than {MOST_FILES} YAML files; is it the right one?"));
        }
    }
    files.sort();
    Ok(files)
}

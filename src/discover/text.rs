//! Proposals as a fragment of a home file, and in words what to do with it.

use super::Proposals;
use super::propose::Proposal;
use super::write::{Entry, Yaml, block, clean};

/// What the reader of a fragment should know beside it.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// Where was listened, and for how long: `broker main for 10 s`.
    pub listened: String,
    /// The home file that it is for.
    pub home: Option<String>,
    /// The folder that the profiles were written to; `None`: they stand behind the fragment.
    pub folder: Option<String>,
}

impl Proposals {
    /// The fragment, with comments that say what to do.
    pub fn text(&self, about: &About) -> String {
        let mut out = String::new();
        let mut say = |line: &str| out.push_str(&format!("# {}\n", clean(line, 600)));
        let (new, known) = (self.devices.len(), self.known.len());
        say(&format!("Found at {}: {new} new, {known} known.", about.listened));
        if new > 0 {
            let home = about.home.as_deref().unwrap_or("home.yaml");
            say(
                "Next: put those that you want under `devices:` of the home file, each with a room; then run",
            );
            say(&format!("  sipliance check {home}"));
        } else {
            say("What speaks seldom is heard by listening longer: --for 5m.");
        }
        self.say_profiles(about, &mut say);
        if !self.known.is_empty() {
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            say(&format!("Known already: {}.", known.join(", ")));
        }
        self.notes.iter().for_each(|note| say(note));
        if new > 0 {
            let devices = self.devices.iter().map(entry).collect();
            block(&mut out, &[Entry::new("devices", Yaml::Block(devices))], 0);
        }
        if about.folder.is_none() {
            for profile in &self.generated {
                out.push_str(&format!("---\n# profiles/{}.yaml\n{}", profile.id, profile.text));
            }
        }
        out
    }

    fn say_profiles(&self, about: &About, say: &mut impl FnMut(&str)) {
        if self.generated.is_empty() {
            return;
        }
        match &about.folder {
            None => {
                say(
                    "Profiles that were made stand behind, each a file of its own. --profiles DIR writes them;",
                );
                say("the home file then names the folder: `profiles: [DIR]`, relative to itself.");
            }
            Some(folder) => {
                let names: Vec<String> =
                    self.generated.iter().map(|profile| format!("{}.yaml", profile.id)).collect();
                say(&format!("Profiles that were made are in {folder}: {}.", names.join(", ")));
                say("The home file must name that folder: `profiles: [DIR]`, relative to itself.");
            }
        }
    }
}

fn entry(proposal: &Proposal) -> Entry {
    let mut keys = Vec::new();
    let mut put = |key: &str, text: Option<&String>| {
        keys.extend(text.map(|text| Entry::new(key, Yaml::text(text.as_str()))));
    };
    put("name", proposal.name.as_ref());
    put("profile", Some(&proposal.profile));
    put("broker", proposal.broker.as_ref());
    if !proposal.params.is_empty() {
        let params = proposal.params.iter().map(|(name, value)| (name.clone(), Yaml::text(value.as_str())));
        keys.push(Entry::new("params", Yaml::Inline(params.collect())));
    }
    Entry { comments: proposal.comments.clone(), key: proposal.id.clone(), value: Yaml::Block(keys) }
}

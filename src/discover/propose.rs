//! Which devices are proposed, each once: what fits best, what the house has already, and ids for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::draft::{Draft, guards};
use super::names::{free, shown, slug};
use super::signs::{Find, Params, is_default, look};
use super::{Heard, MOST_DEVICES, Tally, hass, homie};
use crate::config::fault::{Faults, Place};
use crate::config::names::room_id;
use crate::config::yaml::{self, Data, Key, Node};
use crate::config::{Config, LinkSettings};
use crate::device::profile::{Model, Online, Profile, Source};

/// A broker, and what was heard there.
#[derive(Debug)]
pub struct Broker {
    /// Its name in the home file; `None`: it was given by its address.
    pub name: Option<String>,
    /// What was heard.
    pub heard: Heard,
}

/// What the home file has already.
#[derive(Clone, Debug, Default)]
pub struct House {
    names: BTreeSet<String>,
    profiles: BTreeSet<String>,
    devices: Vec<Known>,
    brokers: usize,
}

/// A device of the house.
#[derive(Clone, Debug)]
struct Known {
    id: String,
    broker: String,
    topics: BTreeSet<String>,
}

impl House {
    /// The house of a home file with so many brokers.
    pub fn of(config: &Config, brokers: usize) -> Self {
        let mut names: BTreeSet<String> =
            ["all".to_owned(), "alerts".to_owned(), config.house.user.clone()].into();
        names.extend(config.users.iter().map(|user| user.name.clone()));
        names.extend(config.groups.iter().map(|group| group.id.clone()));
        let mut devices = Vec::new();
        for device in &config.devices {
            names.insert(device.id.clone());
            names.extend(device.room.as_deref().map(room_id));
            names.extend(device.numbers.iter().map(|number| number.digits.clone()));
            names.extend(device.naming.nicknames.iter().cloned());
            if let Some(link) = config.links.get(device.link.0)
                && matches!(link.settings, LinkSettings::Mqtt(_))
            {
                let topics = topics(&device.model);
                devices.push(Known { id: device.id.clone(), broker: link.name.clone(), topics });
            }
        }
        Self { names, profiles: BTreeSet::new(), devices, brokers }
    }

    /// The device that hears one of these topics.
    fn known(&self, broker: Option<&str>, topics: &BTreeSet<String>) -> Option<&str> {
        let same = |known: &&Known| {
            broker.is_none_or(|broker| broker == known.broker) && !known.topics.is_disjoint(topics)
        };
        self.devices.iter().find(same).map(|known| known.id.as_str())
    }
}

/// Every topic that tells a property or an event.
fn topics(model: &Model) -> BTreeSet<String> {
    let reads = model.properties.iter().flat_map(|property| &property.reads);
    let events = model.events.iter().map(|event| &event.from);
    reads.chain(events).filter_map(|read| topic(&read.source)).collect()
}

fn topic(source: &Source) -> Option<String> {
    match source {
        Source::Topic { channel, .. } => Some(channel.as_str().to_owned()),
        _ => None,
    }
}

/// A profile that was made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// Its id; the file is called so.
    pub id: String,
    /// The file.
    pub text: String,
}

/// A device for the home file.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub id: String,
    pub name: Option<String>,
    pub profile: String,
    pub params: Vec<(String, String)>,
    pub broker: Option<String>,
    pub comments: Vec<String>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub struct Proposals {
    pub(super) devices: Vec<Proposal>,
    /// Profiles for those that no other fits.
    pub generated: Vec<Generated>,
    /// Ids of the home file, each once.
    pub known: BTreeSet<String>,
    pub(super) notes: Vec<String>,
}

impl Proposals {
    /// How many devices are new.
    pub fn count(&self) -> usize {
        self.devices.len()
    }
}

/// Makes proposals out of what was heard. `prefix` is the first level of Home Assistant's topics.
pub fn propose(profiles: &[Arc<Profile>], house: &House, brokers: &[Broker], prefix: &str) -> Proposals {
    let mut house = house.clone();
    house.profiles.extend(profiles.iter().map(|profile| profile.id.to_string()));
    let mut out = Proposals::default();
    let mut bodies = BTreeMap::new();
    for broker in brokers {
        let mut tally = Tally { lost: broker.heard.lost, ..Tally::default() };
        let signs = look(profiles, &broker.heard, &mut tally);
        let mut candidates = candidates(signs.finds, &mut tally);
        let homie = homie::drafts(&broker.heard, &mut tally);
        let hass = hass::drafts(&broker.heard, prefix, &mut tally);
        let unfit = unfit(&signs.unfit, &mut candidates);
        let drafts = one_each(&mut candidates, homie, hass);
        let mut adding = Adding { out: &mut out, house: &mut house, bodies: &mut bodies, broker, tally };
        adding.all(candidates, drafts);
        let tally = adding.tally;
        let place = broker.name.as_ref().map(|name| format!("Broker {name}: ")).unwrap_or_default();
        out.notes.extend(unfit.into_iter().map(|name| format!("{place}no profile fits: {name}")));
        out.notes.extend(tally.line().map(|line| format!("{place}{line}")));
    }
    out
}

/// Profiles that fit the same device, the best of them first.
struct Candidate {
    profile: Arc<Profile>,
    params: Params,
    name: Option<String>,
    strength: (usize, usize),
    topics: BTreeSet<String>,
    /// The topic that says whether it is there, if it has one.
    online: Option<String>,
    others: Vec<String>,
}

impl Candidate {
    /// The values of its params, in the order of the profile.
    fn told(&self) -> String {
        let values = self.profile.params.iter().filter_map(|param| self.params.get(&param.name));
        values.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// Devices that profiles are tried on; some of them are the house's already.
const LOOKED_AT: usize = 2 * MOST_DEVICES;

/// One candidate for each device: what says most about it, and by name where two say as much.
fn candidates(finds: Vec<Find>, tally: &mut Tally) -> Vec<Candidate> {
    let mut devices: BTreeMap<Vec<String>, Vec<Find>> = BTreeMap::new();
    for find in once_each(finds) {
        let mut values: Vec<String> = find.params.values().cloned().collect();
        values.sort();
        devices.entry(values).or_default().push(find);
    }
    tally.more += devices.len().saturating_sub(LOOKED_AT);
    let mut found: Vec<Candidate> = devices.into_values().take(LOOKED_AT).flat_map(of_one_name).collect();
    found.sort_by_cached_key(|candidate| {
        let told = candidate.told();
        (slug(candidate.name.as_deref().unwrap_or(&told)), told)
    });
    found
}

/// Each profile with the same params once, with the strongest of its signs.
fn once_each(finds: Vec<Find>) -> impl Iterator<Item = Find> {
    let mut best: BTreeMap<(String, Params), Find> = BTreeMap::new();
    for mut find in finds {
        // What is as usual need not be said.
        find.params.retain(|name, value| !is_default(&find.profile, name, value));
        let key = (find.profile.id.to_string(), find.params.clone());
        match best.get_mut(&key) {
            None => drop(best.insert(key, find)),
            Some(known) => {
                let name = known.name.take().or_else(|| find.name.clone());
                if (!find.maybe, find.strength) > (!known.maybe, known.strength) {
                    *known = find;
                }
                known.name = name;
            }
        }
    }
    best.into_values()
}

/// Devices whose params are the same may still be several: each is there or not by a topic of its own.
fn of_one_name(finds: Vec<Find>) -> Vec<Candidate> {
    let mut groups: BTreeMap<Option<String>, Vec<(Find, Model)>> = BTreeMap::new();
    for find in finds {
        let Some(model) = concrete(&find) else { continue };
        let online = match &model.online {
            Online::Topic(read) => topic(&read.source),
            _ => None,
        };
        groups.entry(online).or_default().push((find, model));
    }
    groups.into_iter().filter_map(|(online, group)| chosen(online, group)).collect()
}

fn chosen(online: Option<String>, mut group: Vec<(Find, Model)>) -> Option<Candidate> {
    // The order of ids is the order of the map they come from, and a stable sort keeps it.
    group.sort_by(|(a, _), (b, _)| {
        (a.maybe, std::cmp::Reverse(a.strength)).cmp(&(b.maybe, std::cmp::Reverse(b.strength)))
    });
    let name = group.iter().find_map(|(find, _)| find.name.clone());
    let mut all = group.into_iter();
    let (best, model) = all.next().filter(|(find, _)| !find.maybe)?;
    // A bare topic says nothing against a profile whose conditions hold.
    let as_good = |find: &Find| find.strength.0 == best.strength.0 || find.maybe && find.strength.0 > 0;
    let others = all.filter(|(find, _)| as_good(find)).map(|(find, _)| find.profile.id.to_string()).collect();
    let topics = topics(&model);
    Some(Candidate {
        profile: best.profile,
        params: best.params,
        name,
        strength: best.strength,
        topics,
        online,
        others,
    })
}

/// The profile with these params, or nothing where they do not fit it.
fn concrete(find: &Find) -> Option<Model> {
    let place = Place { line: 1, column: 1 };
    let text =
        |text: &str| Node { place, data: Data::Text { text: text.to_owned(), quoted: true }, raw: None };
    let entries = find.params.iter().map(|(name, value)| (Key { place, text: name.clone() }, text(value)));
    let params = Node { place, data: Data::Map(entries.collect()), raw: None };
    let mut faults = Faults::default();
    let model = find.profile.instantiate("devices.x", place, Some(&params), None, &mut faults);
    model.filter(|_| !faults.fatal())
}

/// What was described and fits nothing. A guess by a bare topic does not count against a description.
fn unfit(described: &BTreeMap<Params, Option<String>>, candidates: &mut Vec<Candidate>) -> Vec<String> {
    let values = |params: &Params| params.values().cloned().collect::<BTreeSet<String>>();
    let mut out = Vec::new();
    for (params, name) in described {
        let mine = values(params);
        let same = |candidate: &&Candidate| mine.is_subset(&values(&candidate.params));
        let fits = candidates.iter().filter(same).any(|candidate| candidate.strength.0 > 0);
        if fits {
            continue;
        }
        candidates.retain(|candidate| !same(&candidate));
        let told: Vec<String> = params.iter().map(|(key, value)| format!("{key} {value}")).collect();
        let name = name.as_deref().and_then(shown).filter(|name| !mine.contains(name));
        out.push(name.map(|name| format!("{name}, ")).unwrap_or_default() + &told.join(", "));
    }
    out.truncate(MOST_DEVICES);
    out
}

/// A device that is known in two ways is proposed in one: a profile whose conditions hold, before what it
/// describes itself, before a guess.
fn one_each(candidates: &mut Vec<Candidate>, homie: Vec<Draft>, hass: Vec<Draft>) -> Vec<Draft> {
    let told: BTreeSet<String> = homie.iter().flat_map(Draft::topics).collect();
    let twice = |draft: &Draft| !draft.topics().is_disjoint(&told);
    let hass = hass.into_iter().filter(|draft| !twice(draft));
    let mut kept = Vec::new();
    for draft in homie.into_iter().chain(hass) {
        let topics = draft.topics();
        let online = draft.online_topic();
        let meets = |candidate: &Candidate| {
            !candidate.topics.is_disjoint(&topics) || candidate.online.is_some() && candidate.online == online
        };
        if candidates.iter().any(|candidate| candidate.strength.0 > 0 && meets(candidate)) {
            continue;
        }
        if !draft.is_empty() {
            candidates.retain(|candidate| !meets(candidate));
        }
        kept.push(draft);
    }
    kept
}

/// Puts what was found at one broker among the proposals.
struct Adding<'a> {
    out: &'a mut Proposals,
    house: &'a mut House,
    /// Profiles that were made, by what they say, so that two of a kind share one.
    bodies: &'a mut BTreeMap<String, String>,
    broker: &'a Broker,
    tally: Tally,
}

impl Adding<'_> {
    fn all(&mut self, candidates: Vec<Candidate>, drafts: Vec<Draft>) {
        for candidate in candidates {
            let mut topics = candidate.topics.clone();
            topics.extend(candidate.online.clone().filter(|_| candidate.strength.0 == 0));
            if !self.is_known(&topics) && self.has_room() {
                self.candidate(candidate);
            }
        }
        for draft in drafts {
            if !draft.is_empty() && self.is_known(&draft.topics()) {
                continue;
            }
            if draft.is_empty() {
                self.useless(&draft);
            } else if self.has_room() {
                self.draft(draft);
            }
        }
    }

    fn is_known(&mut self, topics: &BTreeSet<String>) -> bool {
        let known = self.house.known(self.broker.name.as_deref(), topics).map(str::to_owned);
        let found = known.is_some();
        self.out.known.extend(known);
        found
    }

    fn has_room(&mut self) -> bool {
        let room = self.out.devices.len() < MOST_DEVICES;
        self.tally.more += usize::from(!room);
        room
    }

    fn broker_key(&self) -> Option<String> {
        self.broker.name.clone().filter(|name| self.house.brokers > 1 && name != "main")
    }

    /// An id out of a name, else of something else that is known.
    fn id(&mut self, name: Option<&str>, otherwise: &str) -> String {
        let slugs = [name.map(slug).unwrap_or_default(), slug(otherwise), "device".to_owned()];
        let want = slugs.into_iter().find(|slug| !slug.is_empty()).unwrap_or_default();
        free(&want, &mut self.house.names)
    }

    fn candidate(&mut self, candidate: Candidate) {
        let profile = &candidate.profile;
        let params = candidate.told();
        let name = candidate.name.as_deref().and_then(shown);
        let id = self.id(name.as_deref(), &params);
        let mut comments = vec![profile.name.to_string()];
        if candidate.strength.0 == 0 {
            comments.push("a guess: only a topic was seen that this profile knows".to_owned());
        }
        if !candidate.others.is_empty() {
            comments.push(format!("could also be {}", candidate.others.join(", ")));
        }
        let open = profile.example.properties.iter().find(|one| one.write.is_some() && !one.sensitive);
        if let Some(open) = open
            && guards(name.as_deref().unwrap_or(&params))
        {
            comments.push(format!(
                "it may let somebody in; then add properties: {{{}: {{sensitive: true}}}}",
                open.id
            ));
        }
        comments.extend(profile.about.as_ref().map(|about| about.to_string()));
        self.out.devices.push(Proposal {
            id,
            name: name.or_else(|| shown(&params)),
            profile: profile.id.to_string(),
            params: candidate.params.into_iter().collect(),
            broker: self.broker_key(),
            comments,
        });
    }

    fn draft(&mut self, mut draft: Draft) {
        draft.bound();
        let want = free(&draft.id, &mut self.house.profiles.clone());
        let text = draft.text(&want);
        if let Err(why) = sound(&text) {
            self.out.notes.push(format!("no profile could be made of {}: {why}", draft.name));
            return;
        }
        let body = draft.kind();
        let profile = match self.bodies.get(&body) {
            Some(known) => known.clone(),
            None => {
                self.house.profiles.insert(want.clone());
                self.bodies.insert(body, want.clone());
                self.out.generated.push(Generated { id: want.clone(), text });
                want
            }
        };
        let left_out = draft.notes.iter().filter(|note| note.starts_with("left out")).count();
        let mut comments = vec![draft.origin.clone()];
        if left_out > 0 {
            comments.push(format!("{left_out} of its things are left out; the profile says which and why"));
        }
        let id = self.id(Some(&draft.name), &draft.id);
        let given =
            draft.params.iter().filter(|(_, value, default)| default.is_none_or(|usual| usual != value));
        let params = given.map(|(name, value, _)| ((*name).to_owned(), value.clone())).collect();
        let (name, broker) = (Some(draft.name), self.broker_key());
        self.out.devices.push(Proposal { id, name, profile, params, broker, comments });
    }

    /// Something of which nothing is understood.
    fn useless(&mut self, draft: &Draft) {
        let why = draft.notes.first().map(|note| note.trim_start_matches("left out: "));
        let why = why.unwrap_or("it has nothing that could be told");
        self.out.notes.push(format!("nothing can be made of {}: {why}", draft.name));
        self.out.notes.truncate(2 * MOST_DEVICES);
    }
}

/// Reads a profile that was made here as `sipliance check` will.
fn sound(text: &str) -> Result<(), String> {
    let mut faults = Faults::default();
    let profile = yaml::parse(text, &mut faults).and_then(|node| Profile::read(&node, &mut faults));
    match (profile, faults.sorted().first()) {
        (Some(_), None) => Ok(()),
        (_, Some(fault)) => Err(format!("{} ({})", fault.message, fault.path)),
        (None, None) => Err("it cannot be read".to_owned()),
    }
}

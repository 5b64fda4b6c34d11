//! What the profiles' own signs (`discover:`) say about what was heard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Heard, MOST_DEVICES, Tally};
use crate::device::profile::{Profile, Sign, json_text};

/// Params with their values, sorted by name.
pub(super) type Params = BTreeMap<String, String>;

/// A profile that may fit.
#[derive(Clone, Debug)]
pub(super) struct Find {
    /// Which profile.
    pub profile: Arc<Profile>,
    /// What differs from device to device.
    pub params: Params,
    /// For people.
    pub name: Option<String>,
    /// How much the sign says.
    pub strength: (usize, usize),
    /// Alone it says nothing.
    pub maybe: bool,
}

/// Everything that the signs say.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// What fits.
    pub finds: Vec<Find>,
    /// Devices that were described and met no condition of some sign, by params; the value is their name.
    pub unfit: BTreeMap<Params, Option<String>>,
}

/// Looks at every message with every sign.
pub(super) fn look(profiles: &[Arc<Profile>], heard: &Heard, tally: &mut Tally) -> Signs {
    let (mut signs, mut odd) = (Signs::default(), BTreeSet::new());
    for (topic, payloads) in heard.messages() {
        let interested: Vec<(&Arc<Profile>, &Sign, Params)> = profiles
            .iter()
            .flat_map(|profile| profile.discover.iter().map(move |sign| (profile, sign)))
            .filter_map(|(profile, sign)| Some((profile, sign, sign.captures(topic)?.into_iter().collect())))
            .collect();
        for payload in payloads.iter().filter(|_| !interested.is_empty()) {
            let document = if interested.iter().any(|(_, sign, _)| sign.reads_payload()) {
                tally.json(payload)
            } else {
                None
            };
            for (profile, sign, captured) in &interested {
                if let Some(document) = item_source(sign, document.as_ref()) {
                    signs.judge(profile, sign, captured, document, &mut odd);
                }
            }
        }
    }
    tally.odd += odd.len();
    signs
}

/// What a sign looks into; `None` where it needs a document and there is none.
fn item_source<'a>(sign: &Sign, document: Option<&'a Json>) -> Option<&'a Json> {
    match (sign.reads_payload(), document) {
        (false, _) => Some(&Json::Null),
        (true, document) => document,
    }
}

impl Signs {
    fn judge(
        &mut self,
        profile: &Arc<Profile>,
        sign: &Sign,
        captured: &Params,
        document: &Json,
        odd: &mut BTreeSet<Params>,
    ) {
        let list = sign.each.as_ref().map(|at| document.pointer(at).and_then(Json::as_array));
        let items: &[Json] = match &list {
            None => std::slice::from_ref(document),
            Some(None) => &[],
            Some(Some(items)) => items.get(..items.len().min(MOST_DEVICES)).unwrap_or_default(),
        };
        for item in items {
            let Some(params) = taken(sign, captured, item) else { continue };
            if !params.values().all(|value| can_be_param(value)) {
                odd.insert(params);
                continue;
            }
            let name = sign.name.as_ref().and_then(|at| item.pointer(at)).and_then(json_text);
            let pairs: Vec<(String, String)> = params.clone().into_iter().collect();
            if sign.begins(&pairs) && sign.fits(item) {
                let (profile, strength, maybe) = (profile.clone(), sign.strength(), sign.maybe);
                self.finds.push(Find { profile, params, name, strength, maybe });
            // Zigbee2MQTT lists its own stick among the devices.
            } else if !sign.take.is_empty() && item.get("type") != Some(&Json::from("Coordinator")) {
                let mut params = params;
                params.retain(|name, value| !is_default(profile, name, value));
                self.unfit.insert(params, name);
            }
        }
    }
}

/// The params of the topic and those of the payload; `None` where one is missing.
fn taken(sign: &Sign, captured: &Params, item: &Json) -> Option<Params> {
    let mut params = captured.clone();
    for (name, at) in &sign.take {
        params.insert(name.clone(), item.pointer(at).and_then(json_text)?);
    }
    Some(params)
}

/// Whether it need not be said.
pub(super) fn is_default(profile: &Profile, name: &str, value: &str) -> bool {
    profile.params.iter().any(|param| param.name == name && param.default.as_deref() == Some(value))
}

/// What the home file lets stand as a param.
fn can_be_param(value: &str) -> bool {
    !value.is_empty() && value.len() <= 512 && !value.chars().any(|c| c.is_control() || "<>+#".contains(c))
}

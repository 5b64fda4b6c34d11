//! What owners decided, beside the home file: who may watch, until when, and whom to ask (RFC 4745,
//! RFC 5025). Decisions add to the rights of the home file; they never open what is sensitive, and
//! never more than the owner himself may.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Gateway;
use crate::body::policy::{self, Act, Except, Ruleset, Show, Watch, Who};
use crate::config::Config;
use crate::config::access::{Access, Grant, Identity, Many, Rule};
use crate::device::appliance::Device;
use crate::device::house::House;
use crate::event::{self, Subject, address_of, key_of};
use crate::sip::notifier::watchers::Standing;
use crate::sip::notifier::{End, Ruling};
use crate::sip::wire::Uri;
use crate::timer::Now;

/// How often decisions are looked at again at least: the wall clock, which ends them, may be set.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

impl Gateway {
    /// How somebody stands to a subject, and what of it he sees; `None`: it is not there for him.
    pub(super) fn standing(
        &self,
        who: &Identity,
        subject: Subject,
        outside: bool,
        now: Now,
    ) -> Option<(Standing, u128)> {
        if let Some(view) = self.view(who, subject, outside) {
            return Some((Standing::Active, view));
        }
        let Subject::Device(id) = subject else { return None };
        let device = self.house.device(id).filter(|device| event::is_there(device, outside))?;
        match self.handling(who, device, now) {
            Watch::Confirm => Some((Standing::Pending, 0)),
            Watch::PoliteBlock => Some((Standing::Polite, 0)),
            // What an owner allows is a right already, as far as he may.
            Watch::Allow | Watch::Block => None,
        }
    }

    /// The owners who decide over an appliance: for the others it may not be there at all.
    pub(super) fn deciders<'a>(&'a self, device: &'a Device) -> impl Iterator<Item = &'a String> {
        self.config.owners.iter().filter(|owner| {
            let owner = Identity::User((*owner).clone());
            self.config.access.may_decide(&owner, device.id(), device.room())
        })
    }

    /// What the owners' rules say; where none speaks of it, whether he may ask. The rules of one owner
    /// combine as RFC 4745 has it. Of several owners, one who allows is enough, and one who refused has
    /// decided: nobody is asked again because another would be.
    fn handling(&self, who: &Identity, device: &Device, now: Now) -> Watch {
        let address = address_of(key_of(who), &self.config.house.domain);
        let at = wall(now);
        let rules = self.deciders(device).filter_map(|owner| self.kept.rules.get(owner));
        let said = rules.map(|rules| rules.evaluate(Some(&address), device.id(), at));
        let rank = |watch: &Watch| match watch {
            Watch::Confirm => 0,
            Watch::Block => 1,
            Watch::PoliteBlock => 2,
            Watch::Allow => 3,
        };
        let said = said.filter(|said| said.matched).map(|said| said.watch).max_by_key(rank);
        let may_ask = || self.config.access.may_ask(who, device.id(), device.room());
        said.unwrap_or_else(|| if may_ask() { Watch::Confirm } else { Watch::Block })
    }

    /// Rules, or the time, have changed: rights are made anew, and every subscription is judged by them
    /// (AUTH-5 of the notes to RFC 5025: live ones too).
    pub(super) fn rules_changed(&mut self, now: Now) {
        let granted = granted(&self.config, &self.house, &self.kept.rules, now);
        let new = Arc::new(Config { access: self.config.access.with(granted), ..(*self.config).clone() });
        let before = std::mem::replace(&mut self.config, new);
        let rules = self.config.owners.iter().filter_map(|owner| self.kept.rules.get(owner));
        let next = rules.filter_map(|rules| rules.next_change(wall(now))).min();
        self.rules_end = next.map(|at| {
            let ms = at.as_millisecond().saturating_sub(now.wall_ms).max(0);
            now.mono + Duration::from_millis(ms.unsigned_abs()).min(LOOK_AGAIN)
        });
        self.judge(now);
        self.lists_rejudged(&before, now);
        self.hass_changed(None);
    }

    /// Judges every subscription by the rights as they are now.
    pub(super) fn judge(&mut self, now: Now) {
        let mut notifier = std::mem::take(&mut self.notifier);
        let judged = |who: &str, resource: crate::sip::notifier::Resource, before: Standing| {
            let outside = resource.facet & event::OUTSIDE != 0;
            let found = self.standing(&event::identity_of(who), Subject::of(resource.subject), outside, now);
            // Who chose keeps of it what he may still see.
            let chosen = if resource.facet & event::CHOSEN != 0 { resource.view } else { u128::MAX };
            // Of its own standing everybody may be told.
            let template = event::PACKAGES.get(resource.package).and_then(|package| package.template_of());
            match (found, before) {
                (Some((_, view)), _) if template.is_some() => Ruling::Stands(Standing::Active, view),
                (None, _) => Ruling::Ends(End::Rejected),
                // What was granted ran out: who wants more asks again.
                (Some((Standing::Pending, _)), Standing::Active) => Ruling::Ends(End::Timeout),
                (Some((Standing::Active, view)), _) if chosen != u128::MAX && view & chosen == 0 => {
                    Ruling::Ends(End::Rejected)
                }
                (Some((standing, view)), _) => Ruling::Stands(standing, view & chosen),
            }
        };
        // Many watch the same: each is judged once, however many subscriptions there are.
        let mut known: HashMap<(String, crate::sip::notifier::Resource, Standing), Ruling> = HashMap::new();
        let ruling = |who: &str, resource, before| {
            *known.entry((who.to_owned(), resource, before)).or_insert_with(|| judged(who, resource, before))
        };
        notifier.judge(ruling, now);
        self.notifier = notifier;
    }

    pub(super) fn on_rules_deadline(&mut self, now: Now) {
        if self.rules_end.is_some_and(|at| at <= now.mono) {
            self.rules_changed(now);
        }
    }

    /// Until when a decision for somebody holds, in seconds; `None`: for good.
    pub(super) fn granted_until(&self, who: &Identity, device: &Device, now: Now) -> Option<u32> {
        let address = address_of(key_of(who), &self.config.house.domain);
        let at = wall(now);
        let rules = self.deciders(device).filter_map(|owner| self.kept.rules.get(owner));
        let speaks = |rule: &&policy::Rule| rule.concerns(device.id(), at) && rule.means(Some(&address));
        let ends = rules.flat_map(|rules| &rules.rules).filter(speaks).filter_map(|rule| rule.until(at));
        ends.max().map(|end| u32::try_from(end.as_second() - at.as_second()).unwrap_or(0))
    }
}

/// The time of the wall clock.
pub(super) fn wall(now: Now) -> Timestamp {
    Timestamp::from_millisecond(now.wall_ms).unwrap_or_default()
}

/// Of whom a rule speaks.
type People = (Vec<Identity>, Vec<Many>);

/// The rights that owners grant now, the same to the same people once: what is granted as a whole is kept
/// as one, so that many rules for many appliances stay small.
fn granted(config: &Config, house: &House, rules: &BTreeMap<String, Ruleset>, now: Now) -> Vec<Rule> {
    let at = wall(now);
    let mut granted: BTreeMap<People, [BTreeSet<Grant>; 2]> = BTreeMap::new();
    // Of the home file alone: a grant is nothing to grant from.
    let own = config.access.with(Vec::new());
    for owner in &config.owners {
        let Some(rules) = rules.get(owner) else { continue };
        let owner = Identity::User(owner.clone());
        let owned: Vec<Own<'_>> =
            house.devices().filter_map(|(_, device)| Own::of(&own, &owner, device)).collect();
        let whole_house = owned.len() == house.devices().count();
        for rule in rules.rules.iter().filter(|rule| rule.watch == Watch::Allow) {
            let about = || owned.iter().filter(|own| rule.concerns(own.device.id(), at));
            let [see, act] = granted.entry(people(rule, config)).or_default();
            let all = whole_house && about().count() == owned.len();
            if all && rule.show == Show::All && owned.iter().all(|own| own.sees_all) {
                see.insert(Grant::Everything);
            } else {
                see.extend(about().flat_map(|own| own.shown(&rule.show)));
            }
            if rule.act == Act::Allow && all && owned.iter().all(|own| own.does_all) {
                act.insert(Grant::Everything);
            } else if rule.act == Act::Allow {
                act.extend(about().flat_map(Own::doable));
            }
        }
    }
    let list = |grants: BTreeSet<Grant>| grants.into_iter().collect();
    let rules = granted.into_iter();
    rules
        .map(|((who, many), [see, act])| Rule { who, many, see: list(see), act: list(act), ask: Vec::new() })
        .collect()
}

/// What of an appliance an owner may grant: no more than is his by the home file.
struct Own<'a> {
    device: &'a Device,
    sees: Vec<&'a str>,
    sees_all: bool,
    does: Vec<&'a str>,
    /// Whether nothing but what is sensitive is missing, and something is there.
    does_all: bool,
}

impl<'a> Own<'a> {
    /// `None`: it is not there for him.
    fn of(own: &Access, owner: &Identity, device: &'a Device) -> Option<Self> {
        let (id, room, model) = (device.id(), device.room(), device.model());
        if !own.may_see(owner, id, room) {
            return None;
        }
        let items = model.properties.iter().map(|property| &*property.id);
        let items: Vec<&str> = items.chain(model.events.iter().map(|event| &*event.id)).collect();
        let sees: Vec<&str> =
            items.iter().copied().filter(|item| own.may_see_property(owner, id, room, item)).collect();
        let settable =
            model.properties.iter().filter(|property| property.write.is_some() && !property.sensitive);
        let actions = model.actions.iter().filter(|action| !action.sensitive);
        let doable = settable.map(|property| &*property.id).chain(actions.map(|action| &*action.id));
        let doable: Vec<&str> = doable.collect();
        let does: Vec<&str> =
            doable.iter().copied().filter(|item| own.may_do(owner, id, room, item, false)).collect();
        let does_all = !does.is_empty() && does.len() == doable.len();
        Some(Self { device, sees_all: sees.len() == items.len(), sees, does, does_all })
    }

    /// What of it is shown.
    fn shown(&self, show: &Show) -> Vec<Grant> {
        if *show == Show::All && self.sees_all {
            return vec![Grant::Device(self.device.id().to_owned())];
        }
        let shown = self.sees.iter().filter(|id| show.has(id)).map(|id| item(self.device, id));
        // That it is there, were nothing of it shown.
        std::iter::once(item(self.device, "")).chain(shown).collect()
    }

    /// What of it may be done: nothing that is sensitive.
    fn doable(&self) -> Vec<Grant> {
        match self.does_all {
            true => vec![Grant::Device(self.device.id().to_owned())],
            false => self.does.iter().map(|id| item(self.device, id)).collect(),
        }
    }
}

fn item(device: &Device, item: &str) -> Grant {
    Grant::Item { device: device.id().to_owned(), item: item.to_owned() }
}

/// Of whom a rule speaks: users of this house one by one, others by address or domain.
fn people(rule: &policy::Rule, config: &Config) -> People {
    let domain = &config.house.domain;
    let users = config.users.iter().filter(|user| rule.means(Some(&address_of(&user.name, domain))));
    let mut who: Vec<Identity> = users.map(|user| Identity::User(user.name.clone())).collect();
    let mut many = Vec::new();
    let identities = rule.conditions.iter().filter_map(|condition| match condition {
        policy::Condition::Identity(named) => Some(named),
        _ => None,
    });
    let several = identities.clone().count() > 1;
    for named in identities.flatten() {
        match named {
            // All conditions must mean him.
            Who::One(address) if !is_ours(address, domain) && rule.means(Some(address)) => {
                who.push(Identity::Asserted(address.clone()));
            }
            Who::One(_) => {}
            // Of whom several conditions speak at once is not said here: nobody.
            Who::Many { .. } if several => {}
            Who::Many { domain, except } => many.push(many_of(domain.as_ref(), except)),
        }
    }
    (who, many)
}

fn many_of(domain: Option<&String>, except: &[Except]) -> Many {
    let mut many = Many { domain: domain.cloned(), except: Vec::new(), except_domains: Vec::new() };
    for except in except {
        match except {
            Except::One(address) => many.except.push(address.clone()),
            Except::Domain(domain) => many.except_domains.push(domain.clone()),
        }
    }
    many
}

fn is_ours(address: &str, domain: &str) -> bool {
    Uri::parse(address).is_ok_and(|uri| uri.host.eq_ignore_ascii_case(domain))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::home::{Profiles, from_text};

    /// All conditions of a rule must hold, also two of the same kind.
    #[test]
    fn who_is_meant_by_one_of_two_conditions_is_not_meant() {
        let (config, _) = from_text(Path::new("home.yaml"), "format: 1\n", "", &Profiles::new());
        let one = |address: &str| Who::One(address.to_owned());
        let anybody = Who::Many { domain: None, except: Vec::new() };
        let rule = |conditions: Vec<Vec<Who>>| policy::Rule {
            conditions: conditions.into_iter().map(policy::Condition::Identity).collect(),
            ..policy::Rule::default()
        };
        let config = config.unwrap();
        let (bob, eve) = ("sip:bob@p.example", "sip:eve@p.example");
        for first in [vec![one(bob), one(eve)], vec![anybody.clone()]] {
            let (who, many) = people(&rule(vec![first, vec![one(bob)]]), &config);
            assert!(who.iter().all(|who| *who == Identity::Asserted(bob.to_owned())), "{who:?}");
            assert_eq!((who.is_empty(), many.len()), (false, 0));
        }
        assert_eq!(people(&rule(vec![vec![anybody]]), &config).1.len(), 1);
    }
}

//! What owners decided, beside the home file: who may watch, until when, and whom to ask (RFC 4745,
//! RFC 5025). Decisions add to the rights of the home file; they never open what is sensitive, and
//! never more than the owner himself may.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Gateway;
use crate::body::policy::{self, Act, Except, Ruleset, Show, Watch, Who};
use crate::config::Config;
use crate::config::access::{Grant, Identity, Many, Rule};
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

    /// What the owners' rules say; where none speaks of it, whether he may ask.
    fn handling(&self, who: &Identity, device: &Device, now: Now) -> Watch {
        let address = address_of(key_of(who), &self.config.house.domain);
        let at = wall(now);
        let rules = self.deciders(device).filter_map(|owner| self.kept.rules.get(owner));
        let said = rules.map(|rules| rules.evaluate(Some(&address), device.id(), at));
        let said = said.filter(|said| said.matched).map(|said| said.watch).max();
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
    }

    /// Judges every subscription by the rights as they are now.
    pub(super) fn judge(&mut self, now: Now) {
        let mut notifier = std::mem::take(&mut self.notifier);
        let ruling = |who: &str, resource: crate::sip::notifier::Resource, before: Standing| {
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

/// The rights that owners grant now.
fn granted(
    config: &Config,
    house: &House,
    rules: &std::collections::BTreeMap<String, Ruleset>,
    now: Now,
) -> Vec<Rule> {
    let at = wall(now);
    let mut granted = Vec::new();
    // Of the home file alone: a grant is nothing to grant from.
    let own = config.access.with(Vec::new());
    for owner in &config.owners {
        let Some(rules) = rules.get(owner) else { continue };
        let owner = Identity::User(owner.clone());
        for rule in rules.rules.iter().filter(|rule| rule.watch == Watch::Allow) {
            let (who, many) = people(rule, config);
            let mut right = Rule { who, many, ..Rule::default() };
            for (_, device) in house.devices().filter(|(_, device)| rule.concerns(device.id(), at)) {
                let (id, room) = (device.id(), device.room());
                if own.may_see(&owner, id, room) {
                    // That it is there, were nothing of it shown.
                    right.see.push(item(device, ""));
                    right.see.extend(shown(&rule.show, device, &|item| {
                        own.may_see_property(&owner, id, room, item)
                    }));
                }
                if rule.act == Act::Allow && own.may_act(&owner, id, room) {
                    right.act.extend(doable(device, &|item| own.may_do(&owner, id, room, item, false)));
                }
            }
            granted.push(right);
        }
    }
    granted
}

/// What of an appliance is shown: item by item, no more than the owner sees.
fn shown(show: &Show, device: &Device, may_see: &dyn Fn(&str) -> bool) -> Vec<Grant> {
    let model = device.model();
    let properties = model.properties.iter().map(|property| &property.id);
    let items = properties.chain(model.events.iter().map(|event| &event.id));
    items.filter(|item| show.has(item) && may_see(item)).map(|id| item(device, id)).collect()
}

/// What may be done: nothing that is sensitive.
fn doable(device: &Device, may_do: &dyn Fn(&str) -> bool) -> Vec<Grant> {
    let model = device.model();
    let settable = model.properties.iter().filter(|property| property.write.is_some() && !property.sensitive);
    let actions = model.actions.iter().filter(|action| !action.sensitive);
    let ids = settable.map(|property| &property.id).chain(actions.map(|action| &action.id));
    ids.filter(|id| may_do(id)).map(|id| item(device, id)).collect()
}

fn item(device: &Device, item: &str) -> Grant {
    Grant::Item { device: device.id().to_owned(), item: item.to_owned() }
}

/// Of whom a rule speaks: users of this house one by one, others by address or domain.
fn people(rule: &policy::Rule, config: &Config) -> (Vec<Identity>, Vec<Many>) {
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

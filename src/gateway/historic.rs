//! What a SUBSCRIBE of the years 2000 and 2001 wants beyond a subscription: the state in the 200, and
//! NOTIFYs to several Contacts.

use super::Gateway;
use super::request::Request;
use super::subscribe::{Place, template_of};
use crate::event::Package;
use crate::sip::notifier::rate::Rates;
use crate::sip::notifier::watchers::Standing;
use crate::sip::notifier::{Document, Page, Resource, Source as _, SubscriptionId, Wanted, Watcher};
use crate::sip::transaction::Weight;
use crate::sip::wire::Writer;
use crate::sip::{Hop, Rejection};
use crate::timer::Now;

/// What the subscriptions of one SUBSCRIBE have in common.
#[derive(Clone, Debug)]
pub(super) struct Template {
    resource: Resource,
    who: String,
    standing: Standing,
    event: String,
    entity: String,
}

impl Template {
    pub(super) fn of(wanted: &Wanted) -> Self {
        Self {
            resource: wanted.resource,
            who: wanted.who.clone(),
            standing: wanted.standing,
            event: wanted.event.clone(),
            entity: wanted.entity.clone(),
        }
    }
}

/// A response with the state as its body, where there is one.
pub(super) fn finish(writer: Writer, state: Option<Document>) -> Vec<u8> {
    match state.filter(|state| !state.body.is_empty()) {
        Some(state) => writer.body(&state.content_type, &state.body),
        None => writer.finish(),
    }
}

impl Gateway {
    /// The state as somebody may see it now.
    pub(super) fn state_for(
        &mut self,
        resource: Resource,
        watcher: Watcher<'_>,
        now: Now,
    ) -> Option<Document> {
        self.documents(now).document(resource, watcher, &[])
    }

    /// Answers who wants the state once and in the 200: no subscription is made.
    pub(super) fn fetch(
        &mut self,
        request: &Request<'_, '_>,
        (resource, standing): (Resource, Standing),
        who: &str,
        now: Now,
    ) -> Result<(), Rejection> {
        let key = self.open(request, Weight::Light)?;
        let entity = self.entity(request);
        let (filter, page) = (None, Page::WHOLE);
        let watcher = Watcher { who, nth: 0, entity: &entity, standing, filter, page };
        let state = self.state_for(resource, watcher, now);
        let tag = self.stateless_tag(request.message);
        let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&tag));
        writer.field("Expires", &["0"]);
        self.transactions.answer(key, 200, finish(writer, state), now.mono);
        Ok(())
    }

    /// Subscribes the further Contacts of a SUBSCRIBE, each for its own time. Those without time, and
    /// those for whom there is no room, hear nothing.
    pub(super) fn tell_others(
        &mut self,
        request: &Request<'_, '_>,
        template: &Template,
        others: &[Place<'_>],
        rules: &dyn Package,
        now: Now,
    ) {
        for place in others {
            let expires = place.lifetime(request.message, rules);
            if expires.is_zero() || !self.notifier.has_room(&template.who) {
                continue;
            }
            let hop = self.way_to(&template.who, place.uri, request.hop, now);
            let wanted = Wanted {
                resource: template.resource,
                who: template.who.clone(),
                dialog: self.dialog(request, place.uri, hop),
                event: template.event.clone(),
                entity: template.entity.clone(),
                expires,
                interval: rules.interval(),
                rates: Rates::default(),
                condition: None,
                standing: template.standing,
                template: template_of(rules, template.resource.form),
                filter: None,
            };
            self.add_subscription(request, wanted, now);
        }
    }

    /// The same after a refresh of the first one. An end of it is the end of all.
    pub(super) fn refresh_others(
        &mut self,
        request: &Request<'_, '_>,
        id: SubscriptionId,
        others: &[Place<'_>],
        rules: &dyn Package,
        now: Now,
    ) {
        match self.notifier.holder(id) {
            None => self.notifier.end_others(id, now),
            Some((who, resource)) => {
                let who = who.to_owned();
                let entity = self.entity(request);
                let standing = self.notifier.standing(id);
                let event = rules.name().to_owned();
                let template = Template { resource, who, standing, event, entity };
                self.tell_others(request, &template, others, rules, now);
            }
        }
    }

    /// Over which flow a Contact of `who` is reached: the one that it registered on. What is not
    /// registered is the business of who sent the SUBSCRIBE: nobody can name a stranger as a target.
    fn way_to(&self, who: &str, contact: &str, hop: Hop, now: Now) -> Hop {
        self.registrar.reach(who, now).find(|binding| binding.contact == contact).map_or(hop, |it| it.hop)
    }
}

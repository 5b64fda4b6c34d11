//! A SUBSCRIBE with a DMP body: its sender hears of what he chose, and of nothing else.

use std::time::Duration;

use jiff::Timestamp;

use super::Gateway;
use super::many::of_fault;
use super::request::Request;
use crate::body::{dmp, filter};
use crate::config::Compat;
use crate::control::dmp::{Choice, choice};
use crate::event::{self, CHOSEN, Subject};
use crate::sip::Rejection;
use crate::sip::notifier::{Condition, Resource};
use crate::sip::wire::{Message, Name};
use crate::timer::Now;

impl Gateway {
    /// What is left of a subscription when its body has chosen, and for how long.
    ///
    /// # Errors
    /// When the body chooses nothing that is there, or cannot be read.
    pub(super) fn choose(
        &self,
        request: &Request<'_, '_>,
        resource: Resource,
        expires: Duration,
        now: Now,
    ) -> Result<(Resource, Duration), Rejection> {
        let Some(Choice { view, lifetime }) = self.choice(request, resource)? else {
            return Ok((resource, expires));
        };
        let wall = Timestamp::from_millisecond(now.wall_ms).unwrap_or_default();
        let asked = lifetime.map(|lifetime| Duration::from_secs(u64::from(lifetime.seconds(wall))));
        let expires = match (asked, request.message.expires()) {
            (Some(asked), Some(_)) => asked.min(expires),
            (Some(asked), None) => asked.min(super::subscribe::LONGEST),
            (None, _) => expires,
        };
        let view = resource.view & view;
        if view == 0 {
            return Err(Rejection::new(488, "Nothing Of That Is There"));
        }
        Ok((Resource { view, facet: resource.facet | CHOSEN, ..resource }, expires))
    }

    /// A refresh keeps what was chosen at first.
    ///
    /// # Errors
    /// When its body chooses something else.
    pub(super) fn check_choice(
        &self,
        request: &Request<'_, '_>,
        resource: Resource,
    ) -> Result<(), Rejection> {
        match self.choice(request, resource)? {
            Some(choice) if resource.facet & CHOSEN == 0 || resource.view & !choice.view != 0 => {
                Err(Rejection::new(488, "Subscribe Anew To Choose Anew"))
            }
            _ => Ok(()),
        }
    }

    fn choice(&self, request: &Request<'_, '_>, resource: Resource) -> Result<Option<Choice>, Rejection> {
        let is_dmp =
            request.message.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case(dmp::CONTENT_TYPE));
        if !is_dmp || request.message.body.is_empty() {
            return Ok(None);
        }
        if request.message.first(Name::ContentEncoding).is_some() {
            return Err(Rejection::new(415, "Unsupported Content-Encoding"));
        }
        let appliance = event::find("appliance").map(|(package, _)| package);
        if self.config.compat == Compat::Off || appliance != Some(resource.package) {
            let takes = if event::PACKAGES.get(resource.package).is_some_and(|package| package.filters()) {
                filter::CONTENT_TYPE
            } else {
                ""
            };
            return Err(Rejection::new(415, "Unsupported Media Type").with("Accept", takes));
        }
        let Subject::Device(id) = Subject::of(resource.subject) else {
            return Err(Rejection::new(488, "Choose Of One Appliance"));
        };
        let (device, config) = self
            .house
            .device(id)
            .zip(self.config.devices.get(id.0))
            .ok_or(Rejection::new(404, "No Such Appliance"))?;
        let document = dmp::read(request.message.body).map_err(|fault| of_fault(&fault))?;
        let chosen = choice(device, config, &document, resource.view);
        let refused = |(status, words): (u16, String)| Rejection {
            status,
            reason: words.into(),
            fields: String::new(),
        };
        chosen.map(Some).map_err(refused)
    }
}

/// Whether the body is DMP.
pub(super) fn is_dmp(message: &Message<'_>) -> bool {
    message.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case(dmp::CONTENT_TYPE))
}

/// What a subscriber knows: whoever chose hears only when what he chose has changed, so that the last
/// state counts as known. No state has this tag, and the first is sent.
pub(super) fn known(resource: Resource, condition: Option<Condition>) -> Option<Condition> {
    condition.or_else(|| (resource.facet & CHOSEN != 0).then_some(Condition::Tag(0)))
}

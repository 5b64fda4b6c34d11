//! Filters in the body of a SUBSCRIBE (RFC 4660): read, checked against what there is, and kept.

use super::Gateway;
use super::lists::RECIPIENT_LIST;
use super::request::Request;
use crate::body::Fault;
use crate::body::filter::{self, CONTENT_TYPE, FilterSet};
use crate::body::multipart;
use crate::config::access::Identity;
use crate::event::{Package, identity_of};
use crate::limits;
use crate::sip::Rejection;
use crate::sip::notifier::Resource;
use crate::sip::notifier::watchers::Standing;
use crate::sip::wire::{Message, Name};
use crate::timer::Now;

impl Gateway {
    /// The filters of a subscription after this SUBSCRIBE: those in its body laid over the `old` ones.
    /// `None`: it says nothing about filters, and the old ones stay.
    ///
    /// # Errors
    /// 415 for a body that is no filter or where none belongs, 400 and 413 for a broken or too large
    /// one, 488 for one that asks for something that is not there, 503 when there is no room.
    pub(super) fn filters_in(
        &mut self,
        request: &Request<'_, '_>,
        rules: &dyn Package,
        (resource, standing): (Resource, Standing),
        who: &Identity,
        old: Option<usize>,
        now: Now,
    ) -> Result<Option<FilterSet>, Rejection> {
        let message = request.message;
        let beside = beside_list(message)?;
        // A body in DMP chooses, and filters nothing.
        if message.body.is_empty() || beside == Some(None) || super::choose::is_dmp(message) {
            return Ok(None);
        }
        let unsupported = Rejection::new(415, "Unsupported Media Type");
        if !rules.filters() {
            // No body is acceptable here (RFC 3261 §21.4.13).
            return Err(unsupported.with("Accept", ""));
        }
        let known = message.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case(CONTENT_TYPE));
        let coded = message.first(Name::ContentEncoding);
        let body = beside.flatten();
        let known = known || body.is_some();
        let body = body.as_deref().unwrap_or(message.body);
        if !known || coded.is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
            return Err(unsupported.with("Accept", CONTENT_TYPE));
        }
        if body.len() > limits::FILTER_BYTES {
            return Err(Rejection::new(413, "Filter Too Large"));
        }
        let newer = filter::read(body).map_err(|fault| refusal(&fault))?;
        if let Some(what) = self.documents(now).unknown_to_filter(&newer, (resource, standing), who) {
            let reason = format!("Not Acceptable Here: {what} is not there");
            return Err(Rejection { status: 488, reason: reason.into(), fields: String::new() });
        }
        let mut set = old.and_then(|old| self.filters.get(old)).cloned().unwrap_or_default();
        set.update(newer).map_err(|fault| refusal(&fault))?;
        if old.is_none() && !self.filters.has_room() {
            return Err(Rejection::new(503, "Too Many Filters").with("Retry-After", "60"));
        }
        Ok(Some(set))
    }

    /// Keeps what [`Gateway::filters_in`] said; the number that the subscription has from now on.
    pub(super) fn keep_filters(&mut self, old: Option<usize>, set: Option<FilterSet>) -> Option<usize> {
        match (old, set) {
            (old, None) => old,
            (_, Some(set)) if set.filters.is_empty() => None,
            (Some(old), Some(set)) => {
                self.filters.replace(old, set);
                Some(old)
            }
            (None, Some(set)) => Some(self.filters.add(set)),
        }
    }

    /// Filters of subscriptions that are over.
    pub(super) fn forget_filters(&mut self) {
        for filter in self.notifier.take_unused() {
            self.filters.remove(filter);
        }
    }

    /// Ends subscriptions whose filter names what the new configuration has not (RFC 4660 §4.2).
    pub(super) fn end_unfit_filters(&mut self, now: Now) {
        let mut notifier = std::mem::take(&mut self.notifier);
        let sets = std::mem::take(&mut self.filters);
        let documents = self.documents(now);
        notifier.end_unfit(
            |filter, who, resource| {
                let who = identity_of(who);
                sets.get(filter).is_none_or(|set| documents.unknown_to_filter(set, resource, &who).is_none())
            },
            now,
        );
        (self.notifier, self.filters) = (notifier, sets);
    }
}

/// The filter beside a list that came with the SUBSCRIBE (RFC 5367): `None` when there is no such list,
/// `Some(None)` when there is a list and no filter.
fn beside_list(message: &Message<'_>) -> Result<Option<Option<Vec<u8>>>, Rejection> {
    if !message.has_option(Name::Require, RECIPIENT_LIST) {
        return Ok(None);
    }
    let whole = message.first(Name::ContentType).and_then(|kind| std::str::from_utf8(kind).ok());
    let Some(whole) = whole.filter(|whole| multipart::is_multipart(whole)) else { return Ok(Some(None)) };
    let parts = multipart::read(whole, message.body).map_err(|fault| refusal(&fault))?.parts;
    let is_filter = |kind: &str| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(CONTENT_TYPE))
    };
    let filter = parts.into_iter().find(|part| part.content_type.as_deref().is_some_and(is_filter));
    Ok(Some(filter.map(|part| part.body)))
}

fn refusal(fault: &Fault) -> Rejection {
    let reason = fault.to_string().replace(char::is_control, " ");
    Rejection { status: fault.status(), reason: reason.into(), fields: String::new() }
}

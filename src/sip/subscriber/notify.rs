//! What a NOTIFY does to a subscription (RFC 6665 §4.1.3).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Event, Next, Notified, State, Subscriber, Why, life};
use crate::sip::dialog::{Dialog, DialogFault, contact_towards};
use crate::sip::wire::text::{seconds, split_outside, trim};
use crate::sip::wire::{Message, Name, Params};
use crate::sip::{Hop, Rejection};

/// The field Subscription-State.
struct Told {
    state: String,
    reason: Option<String>,
    expires: Option<u32>,
    retry_after: Option<u32>,
}

impl Subscriber {
    /// A NOTIFY that no transaction knows, without faults. `Ok`: answer it 200.
    ///
    /// # Errors
    /// The answer that it gets instead: 481 where it belongs to nothing, 489 for another package.
    pub fn on_notify(&mut self, request: &Message<'_>, hop: Hop, now: Instant) -> Result<(), Rejection> {
        let to = request.to().ok().and_then(|to| to.tag()).unwrap_or_default();
        // Without a subscription the tag is empty, and every NOTIFY has one in To.
        if self.tag.is_empty() || to != self.tag || request.call_id() != Some(self.call_id.as_bytes()) {
            return Err(gone());
        }
        let event = request.event().ok_or(Rejection::new(489, "Bad Event"))?;
        let wanted = self.wish.event.split(';').next().unwrap_or_default().trim();
        if !event.package.eq_ignore_ascii_case(wanted) {
            return Err(Rejection::new(489, "Bad Event").with("Allow-Events", wanted));
        }
        let told = told(request).ok_or(Rejection::new(400, "Malformed Subscription-State"))?;
        self.take_into_dialog(request, hop, told.state == "terminated")?;
        if self.state != State::Leaving {
            self.give_up = None;
        }
        let notified = Notified {
            state: told.state.clone(),
            reason: told.reason.clone(),
            content_type: kind_of(request).filter(|_| !request.body.is_empty()).map(ToOwned::to_owned),
            body: Bytes::copy_from_slice(request.body),
        };
        self.events.push_back(Event::Notified(notified));
        if self.state == State::Leaving && told.state != "terminated" {
            return Ok(());
        }
        if self.wish.expires == 0 {
            self.end(Why::Fetched);
        } else if told.state == "terminated" {
            self.terminated(told, now);
        } else {
            self.stand(told.expires, now);
        }
        Ok(())
    }

    /// Route set, target and tags come from the first NOTIFY, not from the 2xx (§4.4.1); the NOTIFYs
    /// of other branches of a fork are not wanted (§5.4.9).
    fn take_into_dialog(&mut self, request: &Message<'_>, hop: Hop, last: bool) -> Result<(), Rejection> {
        match &mut self.dialog {
            Some(dialog) if !dialog.is_of(request) => Err(gone()),
            Some(dialog) => dialog.on_request(request, hop).map_err(fault),
            None if last => Ok(()),
            None => {
                let contact = contact_towards(&self.wish.target, &self.wish.user, self.hop.unwrap_or(hop));
                let dialog = Dialog::accept(request, hop, self.tag.clone(), &contact).map_err(fault)?;
                self.dialog = Some(dialog);
                Ok(())
            }
        }
    }

    fn stand(&mut self, expires: Option<u32>, now: Instant) {
        if expires == Some(0) {
            return self.lose(Why::Expired, Next::AtOnce, now);
        }
        self.state = State::Standing;
        self.stood = true;
        self.since.get_or_insert(now);
        match expires {
            Some(expires) => {
                self.told = true;
                self.set_expiry(now + life(expires), now);
            }
            // A notifier of RFC 3265 may leave it to its 2xx.
            None if self.expiry.is_none() => self.set_expiry(now + life(self.wish.expires), now),
            None => {}
        }
    }

    fn terminated(&mut self, told: Told, now: Instant) {
        let after = told.retry_after.map(|wait| Next::After(Duration::from_secs(u64::from(wait))));
        let next = match told.reason.as_deref() {
            Some("deactivated" | "timeout") => Next::AtOnce,
            Some("rejected" | "noresource" | "invariant") => Next::Never,
            Some("probation") => after.unwrap_or(Next::BackOff),
            _ => after.unwrap_or(Next::AtOnce),
        };
        self.lose(Why::Terminated(told.reason), next, now);
    }
}

fn told(request: &Message<'_>) -> Option<Told> {
    let (state, params) = split_outside(request.first(Name::SubscriptionState)?, b';');
    let params = Params::new(params.unwrap_or_default());
    let state = std::str::from_utf8(trim(state)).ok().filter(|state| !state.is_empty())?;
    let number = |name: &str| params.get(name).flatten().and_then(seconds);
    Some(Told {
        state: state.to_ascii_lowercase(),
        reason: params.text("reason").map(str::to_ascii_lowercase),
        expires: number("expires"),
        retry_after: number("retry-after"),
    })
}

fn gone() -> Rejection {
    Rejection::new(481, "Subscription Does Not Exist")
}

fn fault(fault: DialogFault) -> Rejection {
    match fault {
        DialogFault::Contact => Rejection::new(400, "Exactly One Contact Is Needed"),
        DialogFault::Order => Rejection::new(500, "CSeq Out Of Order").with("Retry-After", "0"),
    }
}

/// The media type; of several parts with its parameters, since the boundary is one of them.
fn kind_of<'a>(request: &Message<'a>) -> Option<&'a str> {
    let kind = request.content_type()?;
    if !kind.get(..10).is_some_and(|family| family.eq_ignore_ascii_case("multipart/")) {
        return Some(kind);
    }
    request.first(Name::ContentType).and_then(|whole| std::str::from_utf8(whole).ok())
}

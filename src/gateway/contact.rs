//! Which address of ours others get: the account that was asked, and its GRUU (RFC 5627).

use super::Gateway;
use super::request::Request;
use crate::config::{Account, DeviceId};
use crate::sip::dialog::{OUTBOUND, contact_towards};
use crate::sip::registration::Registration;
use crate::sip::wire::{Message, Name, Uri};
use crate::sip::{FlowId, Hop};
use crate::timer::Now;

impl Gateway {
    /// Our Contact in the dialogs of a request (RFC 5627 §4.4, RFC 7621 §2): the GRUU that the registrar granted for the account
    /// that was asked, a temporary one where somebody wants to leave no trace; else the address that the request came to.
    pub(super) fn contact_for(&mut self, request: &Request<'_, '_>) -> String {
        let private = self.is_private(request);
        let asked = self.asked_account(request.hop.flow, request.message, None);
        let mut granted = asked.and_then(|key| self.registrations.get_mut(key));
        let gruu = granted.as_mut().and_then(|granted| match private {
            true => granted.lend_gruu(),
            false => granted.gruu().map(ToOwned::to_owned),
        });
        if let Some(gruu) = gruu {
            return gruu;
        }
        let outbound = granted.as_ref().is_some_and(|granted| granted.terms().outbound);
        // A GRUU is nothing that this gateway itself could be reached at.
        let user = match request.uri.params.get("gr") {
            Some(_) => granted.map(|granted| granted.identity().user.clone()),
            None => request.uri.user.map(ToOwned::to_owned),
        };
        let contact = contact_towards(request.uri.raw, &user.unwrap_or_default(), request.hop);
        if outbound { contact + OUTBOUND } else { contact }
    }

    /// Whether the asker wants nobody on the way to learn whom he watches: he says so (RFC 3323), or asked for a name that is
    /// encrypted. A public GRUU would say it.
    fn is_private(&self, request: &Request<'_, '_>) -> bool {
        let wants = |value: &[u8]| {
            value.split(|byte| *byte == b';').any(|word| {
                ["user", "header", "session", "id"]
                    .iter()
                    .any(|known| word.trim_ascii().eq_ignore_ascii_case(known.as_bytes()))
            })
        };
        let to = request.message.to().ok().and_then(|to| to.uri.user_text());
        let hides = |user: Option<&str>| user.is_some_and(|user| self.names.is_opaque(user));
        request.message.list(Name::Privacy).any(wants)
            || hides(request.uri.user_text().as_deref())
            || hides(to.as_deref())
    }

    /// The registration over `flow` of the account that `request` was sent to: by the Request-URI, by
    /// whom the caller dialled, or else the first one that stands for `device`.
    pub(super) fn asked_account(
        &self,
        flow: FlowId,
        request: &Message<'_>,
        device: Option<DeviceId>,
    ) -> Option<usize> {
        let way = self.ways.get(self.flows.get(&flow)?.upstream?)?;
        let accounts = &self.upstreams.get(way.upstream)?.settings.accounts;
        let target = request.request().and_then(|(_, uri)| Uri::parse(uri).ok());
        let dialled = request.to().ok().map(|to| to.uri);
        let by_name = |uri: &Uri<'_>| {
            let user = uri.user_text()?;
            accounts.iter().position(|account| account.user == user)
        };
        let by_gruu = |uri: &Uri<'_>| self.lender(&way.registrations, uri);
        let names = |device: &Account| device.device.map(|device| device.0);
        let meant = device.or_else(|| self.names.resolve(target.as_ref()?)?.device());
        let stands = |account: &Account| names(account) == meant.map(|device| device.0);
        let place = target
            .as_ref()
            .and_then(|uri| by_name(uri).or_else(|| by_gruu(uri)))
            .or_else(|| dialled.as_ref().and_then(by_name))
            .or_else(|| accounts.iter().position(stands))?;
        way.registrations.get(place).copied()
    }

    /// The first account behind `flow`: for what has none of its own.
    pub(super) fn any_account(&self, flow: FlowId) -> Option<usize> {
        let way = self.ways.get(self.flows.get(&flow)?.upstream?)?;
        way.registrations.first().copied()
    }

    /// Which of these registrations gave somebody `uri` as a temporary GRUU.
    fn lender(&self, registrations: &[usize], uri: &Uri<'_>) -> Option<usize> {
        let lends = |key: &usize| self.registrations.get(*key).is_some_and(|it| it.lends(uri));
        registrations.iter().position(lends)
    }

    /// The account whose temporary GRUU `uri` is, behind the upstream that `hop` leads to: over whichever of its flows it was given.
    pub(super) fn account_lending(&self, uri: &Uri<'_>, hop: Hop) -> Option<&Account> {
        let upstream = self.upstream_of(hop)?;
        let ways = self.ways.values().filter(|way| way.upstream == upstream);
        let place = ways.filter_map(|way| self.lender(&way.registrations, uri)).next()?;
        self.upstreams.get(upstream)?.settings.accounts.get(place)
    }

    /// A binding lapsed and was made anew: dialogs that we are reached in by its temporary GRUUs get another.
    pub(super) fn replace_gruus(&mut self, registration: usize, now: Now) {
        let Some(known) = self.registrations.get_mut(registration) else { return };
        let void = known.take_void_gruus();
        if void.is_empty() || !known.stands() {
            return;
        }
        let plain =
            |known: &Registration| known.hop().map(|hop| contact_towards("", &known.identity().user, hop));
        if let Some(contact) = known.lend_gruu().or_else(|| plain(known)) {
            self.notifier.replace_contacts(&void, &contact, now);
        }
    }
}

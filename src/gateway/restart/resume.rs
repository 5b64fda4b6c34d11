//! Going on with what an earlier run left on record.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;

use super::pack::Unpack;
use super::records::{Made, Path, Stands};
use super::{Part, SUBSCRIPTION, alerts, bindings, key};
use crate::config::access::Identity;
use crate::event::matrix::{self, Asked};
use crate::event::{self, Subject, identity_of};
use crate::gateway::flow::Flow;
use crate::gateway::request::Request;
use crate::gateway::subscribe::{LONGEST, event_field, template_of, watched_of_2000};
use crate::gateway::{Gateway, Haste, Output, choose};
use crate::sip::dialog::Dialog;
use crate::sip::notifier::watchers::Standing;
use crate::sip::notifier::{End, LAZY, Past, Resource, Wanted};
use crate::sip::wire::frame::Framer;
use crate::sip::wire::{Message, Uri};
use crate::sip::{FlowId, Hop, Rejection, Transport};
use crate::timer::Now;

/// What became of the records of an earlier run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// Subscriptions that go on.
    pub subscriptions: usize,
    /// Those that are told that they are over: expired, without right, or of something that is gone.
    pub ended: usize,
    /// Places at home at which a phone is reachable.
    pub bindings: usize,
    /// Alerts, seen or not.
    pub alerts: usize,
    /// Records that make no sense, or of somebody whom nothing leads to any more.
    pub dropped: usize,
}

/// A flow that leads nowhere: what goes over it waits for its peer to come back.
pub(super) const NOWHERE: FlowId = FlowId(u64::MAX);
/// How long the first NOTIFY of a new run waits, in milliseconds: the appliances are asked meanwhile, and
/// not all watchers are told at once.
const WAIT: std::ops::Range<u64> = 700..1_700;

/// A CSeq is passed over for so many milliseconds since the record was written, and so many at most.
const SKIP_MS: i64 = 100;
const MOST_SKIPPED: u32 = 1 << 20;

/// The records of one subscription.
#[derive(Clone, Copy, Debug, Default)]
struct Found<'a> {
    made: Option<&'a [u8]>,
    stands: Option<&'a [u8]>,
    filters: Option<&'a [u8]>,
}

/// The flow of the dialogs that wait for an upstream. No socket has a number like that.
fn waiting_for(upstream: usize) -> FlowId {
    FlowId(u64::MAX - 1 - upstream as u64)
}

impl Gateway {
    /// Takes back what an earlier run had on record, and keeps a record from now on. To be called once,
    /// before the first input and after [`Gateway::restore`]; outputs follow. `sockets` are those for
    /// datagrams, with the addresses that they are bound to. Rights are those of now; what cannot go on is
    /// told so, where there is a way.
    pub fn resume(
        &mut self,
        records: &[(Bytes, Bytes)],
        sockets: &[(FlowId, SocketAddr)],
        now: Now,
    ) -> Resumed {
        self.record();
        self.clock = now;
        let mut resumed = Resumed::default();
        let mut all: BTreeMap<u64, Found<'_>> = BTreeMap::new();
        for (key, body) in records {
            if let Some(user) = bindings::user_of(key) {
                resumed.bindings += self.restore_bindings(user, body, sockets, now);
                continue;
            }
            if let Some(serial) = alerts::serial_of(key) {
                let known = self.restore_alert(serial, body);
                resumed.alerts += usize::from(known);
                resumed.dropped += usize::from(!known);
                continue;
            }
            let Some((serial, part)) = part_of(key) else {
                resumed.dropped += 1;
                self.forget(key.clone());
                continue;
            };
            let found = all.entry(serial).or_default();
            match part {
                Part::Made => found.made = Some(body),
                Part::Stands => found.stands = Some(body),
                Part::Filters => found.filters = Some(body),
            }
        }
        for (serial, found) in all {
            match self.revive(serial, found, sockets, now) {
                Some(true) => resumed.subscriptions += 1,
                Some(false) => resumed.ended += 1,
                None => {
                    resumed.dropped += 1;
                    for part in [Part::Made, Part::Stands, Part::Filters] {
                        self.forget(key(serial, part));
                    }
                }
            }
        }
        self.page_untold(None, now);
        self.settle(now);
        resumed
    }

    pub(super) fn forget(&mut self, key: Bytes) {
        self.outputs.push_back(Output::Record { key, body: None, haste: Haste::Idle });
    }

    /// Whether a subscription goes on or is told its end; `None`: neither can be.
    fn revive(
        &mut self,
        serial: u64,
        found: Found<'_>,
        sockets: &[(FlowId, SocketAddr)],
        now: Now,
    ) -> Option<bool> {
        let (made, stands) = (Made::unpack(found.made?)?, Stands::unpack(found.stands?)?);
        let message = Message::parse(made.request).ok().filter(|message| message.fault.is_none())?;
        let (method, uri) = message.request()?;
        let uri = Uri::parse(uri).ok()?;
        let (hop, upstream) = self.way_again(&stands.path, sockets)?;
        let request = Request { message: &message, bytes: made.request, method, uri, hop };
        if let Some(way) = upstream.and_then(|key| self.upstreams.get(key)?.ways.first().copied()) {
            // While it is read again, it comes from there.
            let (framer, upstream) = (Framer::of_client(), Some(way));
            self.flows.insert(hop.flow, Flow { hop, framer, upstream, unproven: None, partial: None });
        }
        let wanted = self.wanted_again(&request, &made, &stands, found.filters, now);
        self.flows.remove(&hop.flow);
        let left = left(&stands, now);
        let (resource, filter, standing, end) = match wanted {
            Ok((resource, filter, standing)) => (resource, filter, standing, None),
            Err(refused) => (nothing(), None, Standing::Active, Some(end_of(&refused))),
        };
        if let (Standing::Pending, Subject::Device(device)) = (standing, Subject::of(resource.subject)) {
            self.ask_owners(made.who, device, now);
        }
        let lost = hop.flow == NOWHERE || upstream.is_some();
        let package = event::PACKAGES.get(resource.package).copied()?;
        let wanted = Wanted {
            resource,
            who: made.who.to_owned(),
            dialog: dialog_again(&message, &made, &stands, (hop, lost), now),
            event: event_field(&message, package),
            entity: self.entity(&request),
            expires: left,
            interval: package.interval(),
            rates: stands.rates,
            // What it knew, it knew of the states of another run.
            condition: choose::known(resource, None),
            standing,
            template: template_of(package, resource.form),
            filter,
        };
        let wait = Duration::from_millis(self.rng.random_range(WAIT));
        let past = Past { serial, granted: stands.granted, end, lost, wait };
        self.notifier.restore(wanted, past, now);
        if let Some(filters) = found.filters {
            self.restart.filters.insert(serial, Bytes::copy_from_slice(filters));
        }
        if let Some(upstream) = upstream.and_then(|key| self.upstreams.get_mut(key)) {
            upstream.await_heir(hop.flow);
        }
        Some(end.is_none() && !left.is_zero())
    }

    /// What a SUBSCRIBE of an earlier run means now: of what, narrowed by what, and how its sender stands
    /// to it.
    fn wanted_again(
        &mut self,
        request: &Request<'_, '_>,
        made: &Made<'_>,
        stands: &Stands<'_>,
        filters: Option<&[u8]>,
        now: Now,
    ) -> Result<(Resource, Option<usize>, Standing), Rejection> {
        let who = identity_of(made.who);
        if !self.is_known(&who, request.hop) {
            return Err(Rejection::new(403, "Forbidden"));
        }
        let presentity = watched_of_2000(request);
        let asked = Asked::of(request.message, presentity.is_some());
        let (resource, standing, _) = self.what(request, &asked, presentity.as_deref(), &who, now)?;
        if standing == Standing::Pending && stands.standing == Standing::Active {
            // What was granted ran out: who wants more asks again.
            return Err(Rejection::new(403, "Forbidden"));
        }
        let package = event::PACKAGES.get(resource.package).copied();
        let package = package.ok_or(Rejection::new(489, "Bad Event"))?;
        let set = self.filters_in(request, package, (resource, standing), &who, None, now)?;
        let mut filter = self.keep_filters(None, set);
        for body in bodies(filters) {
            let body = body.ok_or(Rejection::new(500, "Its Filter Is Not Known Any More"))?;
            let message = Message::parse(body).map_err(|_| Rejection::new(500, "Not A Message"))?;
            let request = Request { message: &message, bytes: body, ..*request };
            let set = self.filters_in(&request, package, (resource, standing), &who, filter, now)?;
            filter = self.keep_filters(filter, set);
        }
        let resource = match standing {
            Standing::Active => self.choose(request, resource, Duration::ZERO, now)?.0,
            _ => resource,
        };
        Ok((resource, filter, standing))
    }

    /// Whether somebody who was proven then could be proven now.
    fn is_known(&self, who: &Identity, hop: Hop) -> bool {
        match who {
            Identity::User(name) => self.config.users.iter().any(|user| user.name == *name),
            Identity::Asserted(_) => {
                let upstream = self.upstream_of(hop).and_then(|key| self.upstreams.get(key));
                upstream.is_some_and(|upstream| upstream.settings.trust_asserted)
            }
        }
    }

    /// The way back to a peer, and the upstream through which it leads; `None` when that is not in the home file
    /// any more.
    pub(super) fn way_again(
        &self,
        path: &Path<'_>,
        sockets: &[(FlowId, SocketAddr)],
    ) -> Option<(Hop, Option<usize>)> {
        let Path { transport, local, peer, upstream } = *path;
        if !upstream.is_empty() {
            let mut all = self.upstreams.iter();
            let (key, _) = all.find(|(_, it)| it.is_in_force() && it.settings.name == upstream)?;
            return Some((Hop { flow: waiting_for(key), transport, local, peer }, Some(key)));
        }
        let nowhere = Hop { flow: NOWHERE, transport, local, peer };
        if transport != Transport::Udp {
            return Some((nowhere, None));
        }
        let same_family = |at: &&(FlowId, SocketAddr)| at.1.is_ipv4() == local.is_ipv4();
        let bound = |at: &&(FlowId, SocketAddr)| {
            at.1.port() == local.port() && (at.1.ip() == local.ip() || at.1.ip().is_unspecified())
        };
        let found = sockets.iter().filter(same_family).find(bound);
        let other = || sockets.iter().find(same_family).map(|(flow, at)| (*flow, *at));
        let found = found.map(|(flow, _)| (*flow, local)).or_else(other);
        Some((found.map_or(nowhere, |(flow, local)| Hop { flow, transport, local, peer }), None))
    }

    /// The name of the upstream behind a hop, also of one that is waited for.
    pub(super) fn name_behind(&self, hop: Hop) -> Option<String> {
        let waits = |key: &usize| waiting_for(*key) == hop.flow;
        let key = self.upstream_of(hop).or_else(|| self.upstreams.keys().into_iter().find(waits))?;
        self.upstreams.get(key).map(|upstream| upstream.settings.name.clone())
    }
}

fn part_of(record: &[u8]) -> Option<(u64, Part)> {
    let (first, rest) = record.split_first().filter(|(first, _)| **first == SUBSCRIPTION)?;
    let _ = first;
    let (serial, rest) = rest.split_first_chunk()?;
    let part = [Part::Made, Part::Stands, Part::Filters].into_iter().find(|part| [*part as u8] == *rest)?;
    Some((u64::from_be_bytes(*serial), part))
}

/// The dialog as it was, with CSeqs that were never used.
fn dialog_again(
    message: &Message<'_>,
    made: &Made<'_>,
    stands: &Stands<'_>,
    (hop, lost): (Hop, bool),
    now: Now,
) -> Dialog {
    let mut dialog =
        Dialog::accept_for(message, stands.target, hop, made.local_tag.to_owned(), stands.contact);
    // A run that was killed before the disk took its block went on from here, too: no faster than this.
    let passed = now.wall_ms.saturating_sub(stands.at_ms).max(0) / SKIP_MS;
    let skip = u32::try_from(passed).unwrap_or(MOST_SKIPPED).min(MOST_SKIPPED);
    (dialog.local_seq, dialog.remote_seq) = (stands.reserved.saturating_add(skip), stands.remote_seq);
    if !lost && hop.local != stands.path.local {
        dialog.move_to(hop);
    }
    dialog
}

/// How much time is left. The record may lag behind by [`LAZY`]; and whatever the clock says that ran on, stood or
/// was set meanwhile, it is no more than was granted.
fn left(stands: &Stands<'_>, now: Now) -> Duration {
    let passed = now.wall_ms.saturating_sub(stands.at_ms).max(0).unsigned_abs();
    let left = (stands.left + LAZY).saturating_sub(Duration::from_millis(passed));
    left.min(stands.granted).min(LONGEST)
}

/// The bodies of a record of filters; `None`: they were too many.
fn bodies(record: Option<&[u8]>) -> impl Iterator<Item = Option<&[u8]>> {
    let lost = record.is_some_and(<[u8]>::is_empty).then_some(None);
    let mut from = Unpack(record.unwrap_or_default());
    lost.into_iter().chain(std::iter::from_fn(move || from.bytes().map(Some)))
}

/// What a watcher of nothing watches.
fn nothing() -> Resource {
    Resource { subject: event::NOTHING, package: 0, form: matrix::NOTHING, view: 0, facet: 0 }
}

/// How a subscription ends that would not be accepted now. What is no question of rights makes its watcher
/// ask again, and be told more.
fn end_of(refused: &Rejection) -> End {
    match refused.status {
        403 => End::Rejected,
        404 => End::NoResource,
        _ => End::Deactivated,
    }
}

//! QAUTH (draft-rosenberg-impp-qauth-00): one asks another whether somebody may watch.
//!
//! As the asking side: an owner's phone that registered with `methods="QAUTH"` is asked about whoever
//! waits. As the authorizer: a user whom the home file names as an agent may ask here. From names the
//! subscriber and proves nothing: only the digest of the one who asks counts.

use rand::Rng as _;

use super::Gateway;
use super::request::Request;
use super::requests::Asked;
use crate::config::access::Identity;
use crate::control::target::Target;
use crate::event::{Subject, address_of};
use crate::sip::auth::Purpose;
use crate::sip::dialog::via;
use crate::sip::notifier::watchers::Standing;
use crate::sip::transaction::Weight;
use crate::sip::wire::{Message, Method, Start, Writer};
use crate::sip::{Hop, Rejection, User};
use crate::timer::Now;

/// The longest decision that is asked for and given, in seconds; one for good is asked for again.
const LONGEST: u32 = 24 * 3600;
/// Contacts remembered that know no QAUTH; when there are more, the oldest is asked again.
const UNABLE: usize = 64;

impl Gateway {
    /// Asks the authorizers of an owner about one request, or about all that are open.
    pub(super) fn ask_authorizers(&mut self, owner: &str, only: Option<u32>, now: Now) {
        let reach = self.registrar.reach(owner, now).filter(|binding| binding.takes("QAUTH"));
        let phones: Vec<(Hop, String)> = reach
            .filter(|binding| !self.requests.unable.contains(&binding.contact))
            .map(|binding| (binding.hop, binding.contact.clone()))
            .collect();
        let open: Vec<u32> = self.requests.open().map(|wanted| wanted.number).collect();
        let asked = |number: &u32| only.is_none_or(|only| only == *number) && self.decides(owner, *number);
        let open: Vec<u32> = open.into_iter().filter(asked).collect();
        for number in open {
            for (hop, contact) in &phones {
                self.send_qauth(owner, number, *hop, contact, now);
            }
        }
    }

    fn send_qauth(&mut self, owner: &str, number: u32, hop: Hop, contact: &str, now: Now) {
        // It is thinking about that already.
        if self.requests.asked.values().any(|asked| asked.number == number && asked.contact == contact) {
            return;
        }
        let Some(wanted) = self.requests.get(number) else { return };
        let Some(device) = self.house.device(wanted.device) else { return };
        let house = &self.config.house;
        let from = address_of(&wanted.who, &house.domain);
        let to = format!("sip:{}@{}", device.id(), house.domain);
        let us = crate::sip::dialog::contact_uri(&house.user, hop);
        let (tag, call_id): (u64, u128) = (self.rng.random(), self.rng.random());
        self.requests.last_ticket = self.requests.last_ticket.wrapping_add(1);
        let ticket = self.requests.last_ticket;
        let asked = Asked { owner: owner.to_owned(), contact: contact.to_owned(), number };
        self.requests.asked.insert(ticket, asked);
        self.transactions.send(hop, Method::Qauth, User::Qauth(ticket), now.mono, |branch| {
            let mut writer = Writer::request(Method::Qauth, contact);
            via(&mut writer, hop, branch);
            writer.raw(b"Max-Forwards: 70\r\n");
            writer.field_fmt("From", format_args!("<{from}>;tag={tag:016x}"));
            writer.field("To", &["<", &to, ">"]);
            writer.field_fmt("Call-ID", format_args!("{call_id:032x}"));
            writer.raw(b"CSeq: 1 QAUTH\r\n");
            writer.field("Contact", &["<", &us, ">"]);
            writer.field_fmt("Expires", format_args!("{LONGEST}"));
            writer.finish()
        });
    }

    /// 200 allows, for as long as Expires says; 6xx denies; 405 and 501 say that this phone does not
    /// know QAUTH; all else is no decision, and the request stays open.
    pub(super) fn on_qauth_answer(&mut self, ticket: u32, response: &Message<'_>, now: Now) {
        let Start::Response { status, .. } = response.start else { return };
        let Some(Asked { owner, contact, number }) = self.requests.asked.remove(&ticket) else { return };
        // Somebody decided meanwhile: the newer word counts, and a phone that was slow has none.
        let decided = self.requests.get(number).is_none_or(|wanted| wanted.decided);
        match status {
            200..300 | 600..700 if decided => {}
            200..300 => {
                let seconds = response.expires().unwrap_or(LONGEST).min(LONGEST);
                let span = std::time::Duration::from_secs(u64::from(seconds));
                self.decide(&owner, number, true, Some(span), now);
            }
            600..700 => {
                self.decide(&owner, number, false, None, now);
            }
            405 | 501 => {
                if self.requests.unable.len() >= UNABLE {
                    self.requests.unable.remove(0);
                }
                self.requests.unable.push(contact);
            }
            _ => {}
        }
    }

    /// Nobody answered: no decision.
    pub(super) fn on_qauth_silence(&mut self, ticket: u32) {
        self.requests.asked.remove(&ticket);
    }

    /// A phone registered: one that says that it knows QAUTH is asked about everybody who waits, and one
    /// that said so before and could not is tried again.
    pub(super) fn on_authorizer(&mut self, user: &str, now: Now) {
        if !self.is_owner(&Identity::User(user.to_owned())) {
            return;
        }
        let known: Vec<String> = self.registrar.reach(user, now).map(|it| it.contact.clone()).collect();
        // For the life of its registration.
        self.requests.unable.retain(|contact| known.contains(contact));
        self.ask_authorizers(user, None, now);
    }

    /// A QAUTH from an agent of the home file.
    pub(super) fn qauth(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let agent = self.prove_name(request, Purpose::Query, now)?;
        let known = matches!(&agent, Identity::User(name) if self.config.agents.contains(name));
        if !known {
            self.counters.forbidden += 1;
            return Err(Rejection::new(403, "Not An Agent"));
        }
        let (Ok(from), Ok(to)) = (request.message.from(), request.message.to()) else {
            return Err(Rejection::new(400, "From And To Are Needed"));
        };
        let ours = self.is_us(&from.uri, request);
        let who = match from.uri.user_text().filter(|_| ours) {
            Some(user) => Identity::User(user.into_owned()),
            None => Identity::Asserted(from.uri.address().into_owned()),
        };
        let device = self.resolve(&to.uri, request.hop).and_then(Target::device);
        // What is not there is denied like what he may not watch: an agent asks for others, and may not
        // know of everything himself.
        let device = device.ok_or(Rejection::new(603, "Decline"))?;
        let standing = self.standing(&who, Subject::Device(device), false, now).map(|(standing, _)| standing);
        let (status, reason) = match standing {
            Some(Standing::Active) => (200, "OK"),
            Some(Standing::Pending) => (503, "No Decision Yet"),
            Some(Standing::Polite) | None => (603, "Decline"),
        };
        if standing == Some(Standing::Pending) {
            self.wants(&who, device, now);
        }
        let key = self.open(request, Weight::Light)?;
        let tag = self.stateless_tag(request.message);
        let mut writer = self.response(request.message, request.hop, status, reason, Some(&tag));
        if status == 200 {
            let until = self.house.device(device).and_then(|device| self.granted_until(&who, device, now));
            let most = request.message.expires().unwrap_or(LONGEST).min(LONGEST);
            writer.field_fmt("Expires", format_args!("{}", until.unwrap_or(most).min(most)));
        }
        if status == 503 {
            writer.raw(b"Retry-After: 60\r\n");
        }
        self.transactions.answer(key, status, writer.finish(), now.mono);
        Ok(())
    }
}

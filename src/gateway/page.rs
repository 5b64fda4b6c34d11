//! MESSAGEs that the gateway sends by itself: replies to commands, and alerts.

use rand::Rng as _;

use super::Gateway;
use super::command::Asker;
use crate::config::DeviceId;
use crate::sip::dialog::{preloaded, via};
use crate::sip::wire::{Message, Method, Writer};
use crate::sip::{Hop, User};
use crate::timer::Now;

/// The media type of words.
const TEXT: &str = "text/plain;charset=UTF-8";

/// One MESSAGE.
struct Page<'a> {
    /// The flow that reaches its reader.
    hop: Hop,
    /// The way that the registrar wants it to take (RFC 3608).
    routes: &'a [String],
    /// The Request-URI.
    target: &'a str,
    /// Whose word it is.
    sender: &'a str,
    /// The reader's address.
    to: &'a str,
    /// The media type of the text.
    kind: &'a str,
    text: &'a str,
    urgent: bool,
}

impl Gateway {
    /// The result in words, as a MESSAGE back to who asked, over the flow that he asked on.
    pub(super) fn reply(&mut self, asker: &Asker, text: &str, device: Option<DeviceId>, now: Now) {
        self.reply_with(asker, TEXT, text, device, now);
    }

    /// The same with a body of that media type.
    pub(super) fn reply_with(
        &mut self,
        asker: &Asker,
        kind: &str,
        text: &str,
        device: Option<DeviceId>,
        now: Now,
    ) {
        let Ok(request) = Message::parse(&asker.request) else { return };
        let (Ok(from), Ok(to)) = (request.from(), request.to()) else { return };
        let hop = asker.hop;
        // A phone at home is addressed by what it registered over this flow.
        let bound = self
            .registrar
            .reach(&asker.who, now)
            .find(|binding| binding.hop.flow == hop.flow && binding.hop.peer == hop.peer);
        let target = bound.map_or_else(|| from.uri.raw.to_owned(), |binding| binding.contact.clone());
        let asked = self.asked_account(hop.flow, &request, device);
        let key = asked.or_else(|| self.any_account(hop.flow));
        let registration = key.and_then(|key| self.registrations.get(key));
        let routes = registration.map(|it| it.service_route().to_vec()).unwrap_or_default();
        let sender =
            registration.map_or_else(|| to.uri.address().into_owned(), |it| format!("sip:{}", it.address()));
        let (to, urgent) = (from.uri.address().into_owned(), false);
        let (target, sender, to, routes) = (&*target, &*sender, &*to, &*routes);
        self.page(&Page { hop, routes, target, sender, to, kind, text, urgent }, now);
    }

    /// Tells those whom the home file names of an alert, on every phone that they have here.
    pub(super) fn page_alert(&mut self, device: DeviceId, event: &str, what: &str, urgent: bool, now: Now) {
        let config = self.config.clone();
        let Some(id) = self.house.device(device).map(|device| device.id().to_owned()) else { return };
        let sender = format!("sip:{id}@{}", config.house.domain);
        for user in &config.alerts {
            let who = crate::config::access::Identity::User(user.clone());
            if !self.may_hear(&who, device, event, false) {
                continue;
            }
            self.page_user(user, &sender, what, urgent, now);
        }
    }

    /// A text to every phone that a user has here.
    pub(super) fn page_user(&mut self, user: &str, sender: &str, text: &str, urgent: bool, now: Now) {
        let to = format!("sip:{user}@{}", self.config.house.domain);
        let phones: Vec<(Hop, String)> =
            self.registrar.reach(user, now).map(|binding| (binding.hop, binding.contact.clone())).collect();
        for (hop, target) in phones {
            let (target, to) = (target.as_str(), to.as_str());
            self.page(&Page { hop, routes: &[], target, sender, to, kind: TEXT, text, urgent }, now);
        }
    }

    fn page(&mut self, page: &Page<'_>, now: Now) {
        let (tag, call_id): (u64, u128) = (self.rng.random(), self.rng.random());
        self.transactions.send(page.hop, Method::Message, User::Page, now.mono, |branch| {
            let mut writer = Writer::request(Method::Message, page.target);
            via(&mut writer, page.hop, branch);
            writer.raw(b"Max-Forwards: 70\r\n");
            preloaded(&mut writer, page.routes);
            writer.field_fmt("From", format_args!("<{}>;tag={tag:016x}", page.sender));
            writer.field("To", &["<", page.to, ">"]);
            writer.field_fmt("Call-ID", format_args!("{call_id:032x}"));
            writer.raw(b"CSeq: 1 MESSAGE\r\n");
            if page.urgent {
                writer.raw(b"Priority: urgent\r\n");
            }
            writer.body(page.kind, page.text.as_bytes())
        });
    }
}

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
    /// Who hears whether it arrived.
    user: User,
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
        let (to, urgent, user) = (from.uri.address().into_owned(), false, User::Page);
        let (target, sender, to, routes) = (&*target, &*sender, &*to, &*routes);
        self.page(&Page { hop, routes, target, sender, to, kind, text, urgent, user }, now);
    }

    /// Tells those whom the home file names of an alert, or one of them, on every phone that they have here.
    pub(super) fn page_alert(&mut self, serial: u64, only: Option<&str>, now: Now) {
        let config = self.config.clone();
        let Some(alert) = self.alerts.get(serial).cloned() else { return };
        let Some(device) = self.house.device(alert.device) else { return };
        let Some(of) = device.model().events.iter().find(|of| of.id == alert.event) else { return };
        let minutes = now.wall_ms.saturating_sub(alert.at_ms).max(0) / 60_000;
        let ago = if minutes > 0 { format!(", {minutes} min ago") } else { String::new() };
        let text = format!("{}: {} {}{ago}", device.name(), of.name, alert.value);
        let sender = format!("sip:{}@{}", device.id(), config.house.domain);
        let user = if alert.urgent { User::Told(serial) } else { User::Page };
        let mut phones = 0;
        for name in config.alerts.iter().filter(|name| only.is_none_or(|only| only == *name)) {
            let who = crate::config::access::Identity::User(name.clone());
            if self.may_hear(&who, alert.device, &alert.event, false) {
                phones += self.page_user((name, user), &sender, &text, alert.urgent, now);
            }
        }
        if phones > 0 {
            self.alerts.sent(serial, now.mono);
        }
    }

    /// Sends what cannot wait, and no phone has taken so far, to those who are told, or one of them.
    pub(super) fn page_untold(&mut self, only: Option<&str>, now: Now) {
        if only.is_none_or(|only| self.config.alerts.iter().any(|name| name == only)) {
            for serial in self.alerts.untold(now.mono) {
                self.page_alert(serial, only, now);
            }
        }
    }

    /// A text to every phone that somebody has here, and who hears whether one took it. How many phones there are.
    pub(super) fn page_user(
        &mut self,
        (name, user): (&str, User),
        sender: &str,
        text: &str,
        urgent: bool,
        now: Now,
    ) -> usize {
        let to = format!("sip:{name}@{}", self.config.house.domain);
        let phones: Vec<(Hop, String)> =
            self.registrar.reach(name, now).map(|binding| (binding.hop, binding.contact.clone())).collect();
        for (hop, target) in &phones {
            let (hop, target, to) = (*hop, target.as_str(), to.as_str());
            self.page(&Page { hop, routes: &[], target, sender, to, kind: TEXT, text, urgent, user }, now);
        }
        phones.len()
    }

    fn page(&mut self, page: &Page<'_>, now: Now) {
        let (tag, call_id): (u64, u128) = (self.rng.random(), self.rng.random());
        self.transactions.send(page.hop, Method::Message, page.user, now.mono, |branch| {
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

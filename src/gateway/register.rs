//! REGISTER: phones at home.

use super::Gateway;
use super::request::Request;
use crate::body::xbuddy;
use crate::config::access::Identity;
use crate::sip::Rejection;
use crate::sip::auth::Purpose;
use crate::sip::transaction::Weight;
use crate::timer::Now;

impl Gateway {
    /// A phone whose connection broke is there again: what it watches goes on over the new one.
    fn find_again(&mut self, user: &str, request: &Request<'_, '_>, now: Now) {
        let here = self.registrar.reach(user, now).filter(|binding| binding.hop == request.hop);
        for binding in here {
            self.notifier.find_again(user, &binding.contact, request.hop, now);
        }
    }

    /// Binds a user's Contacts. Only at home, only its own address.
    pub(super) fn register(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        if self.upstream_of(request.hop).is_some() {
            return Err(Rejection::new(405, "Method Not Allowed"));
        }
        let Identity::User(user) = self.prove(request, Purpose::Query, now)? else {
            return Err(Rejection::new(403, "Forbidden"));
        };
        let of = request.message.to().ok().and_then(|to| to.uri.user_text());
        if of.as_deref() != Some(user.as_str()) {
            self.counters.forbidden += 1;
            return Err(Rejection::new(403, "Not Your Address"));
        }
        let document = self.document_of_register(request, &user, now)?;
        let contacts = self.registrar.register(&user, request.message, request.hop, now)?;
        if let Some(document) = document {
            self.published.register(&user, document);
        }
        self.compose_named(&user, now);
        self.record_bindings(&user, now);
        self.find_again(&user, request, now);
        let key = self.open(request, Weight::Light)?;
        let tag = self.stateless_tag(request.message);
        let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&tag));
        writer.raw(contacts.as_bytes());
        let date = jiff::Timestamp::from_millisecond(now.wall_ms)
            .map(|at| at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        if let Ok(date) = date {
            writer.field("Date", &[&date]);
        }
        let answer = match self.buddy_list(request, &user) {
            Some(list) => writer.body(xbuddy::CONTENT_TYPE, list.as_bytes()),
            None => writer.finish(),
        };
        self.transactions.answer(key, 200, answer, now.mono);
        self.on_authorizer(&user, now);
        self.page_untold(Some(&user), now);
        Ok(())
    }
}

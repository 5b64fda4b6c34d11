//! OPTIONS: what the gateway does, and what an appliance is, has and does.

use super::Gateway;
use super::request::Request;
use crate::body::{device_profile, dmp, resource_lists, td};
use crate::config::Compat;
use crate::config::access::Identity;
use crate::control::body::{ACCEPT_DO, ACCEPT_MESSAGE};
use crate::control::target::Target;
use crate::event::{self, ALLOW_EVENTS, Member, Subject, device_info, matrix};
use crate::sip::Rejection;
use crate::sip::auth::Purpose;
use crate::sip::wire::{Message, Name};
use crate::timer::Now;

/// The extensions: lists to watch, lists to write to, lists to bring along.
const SUPPORTED: &str = "eventlist, recipient-list-message, recipient-list-subscribe";

/// What an appliance can be described in, and the name of 2000 for that; and what is there.
const DESCRIPTIONS: [&str; 4] =
    [td::CONTENT_TYPE, "application/ddp", device_profile::CONTENT_TYPE, resource_lists::CONTENT_TYPE];

impl Gateway {
    /// Anybody may ask what the gateway can do. What is behind an address is told to who proves that he
    /// may see it; a description is asked for by its media type.
    pub(super) fn options(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let form = wanted(request.message);
        if form.is_none() && request.message.first(Name::Authorization).is_none() {
            let (message, hop) = (request.message, request.hop);
            let tag = self.stateless_tag(message);
            let mut writer = self.response(message, hop, 200, "OK", Some(&tag));
            writer.field("Allow", &[self.allow()]).field("Allow-Events", &[ALLOW_EVENTS]);
            writer.field("Supported", &[SUPPORTED]);
            let short = writer.finish();
            let mut writer = self.response(message, hop, 200, "OK", Some(&tag));
            writer.field("Allow", &[self.allow()]).field("Allow-Events", &[ALLOW_EVENTS]);
            writer.field("Supported", &[SUPPORTED]).field("Accept", &[&self.accept()]);
            let whole = writer.finish();
            // A stranger who wrote little is told less, so that he is told at all.
            self.answer_once(message, hop, if self.is_modest(message, hop, &whole) { whole } else { short });
            return Ok(());
        }
        let who = self.prove(request, Purpose::Query, now)?;
        let outside = self.is_outside(request.hop);
        let target = self.resolve(&request.uri, request.hop);
        let target = target.filter(|target| self.is_there(&who, *target, outside));
        let target = target.ok_or(Rejection::new(404, "No Such Appliance"))?;
        let target = self.narrow(&who, target, outside);
        self.check_isolation(&who, target.subject(), outside)?;
        let description = form.map(|form| self.description(form, target, &who, outside)).transpose()?;
        self.describe(request, target, description);
        Ok(())
    }

    fn describe(&mut self, request: &Request<'_, '_>, target: Target, description: Option<(&str, String)>) {
        let subject = target.subject();
        let packages = event::PACKAGES.iter().filter(|package| package.covers(subject));
        // Templates are never named (RFC 6665 §4.4.4).
        let packages = packages.filter(|package| package.template_of().is_none());
        let events: Vec<&str> = packages.map(|package| package.name()).collect();
        let tag = self.stateless_tag(request.message);
        let mut writer = self.response(request.message, request.hop, 200, "OK", Some(&tag));
        writer.field("Allow", &[self.allow_at(target)]).field("Allow-Events", &[&events.join(", ")]);
        writer.field("Accept", &[&self.accept()]).field("Supported", &[SUPPORTED]);
        // Whoever proved himself may be sent more than he sent.
        let bytes = match description {
            Some((kind, text)) => writer.body(kind, text.as_bytes()),
            None => writer.finish(),
        };
        self.transactions.send_once(request.hop, bytes);
    }

    /// Every type that some request may carry.
    fn accept(&self) -> String {
        let historic = self.config.compat != Compat::Off;
        let known = ACCEPT_DO.split(", ").chain(ACCEPT_MESSAGE.split(", "));
        let known = known.filter(|kind| historic || *kind != dmp::CONTENT_TYPE);
        let carried = ["SUBSCRIBE", "PUBLISH"].into_iter();
        let carried = carried.flat_map(|method| matrix::carried(method, self.config.compat));
        let mut types: Vec<&str> = Vec::new();
        for kind in known.chain(carried).chain(["application/sdp", "multipart/mixed"]) {
            if !types.contains(&kind) {
                types.push(kind);
            }
        }
        types.join(", ")
    }

    /// What can be done at an address.
    fn allow_at(&self, target: Target) -> &'static str {
        match (target.subject(), self.config.compat) {
            (Subject::Alerts, _) if target == Target::House => self.allow(),
            (Subject::Device(_), Compat::Off) => {
                "OPTIONS, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, INVITE, ACK, CANCEL, BYE"
            }
            (Subject::Device(_), _) => {
                "OPTIONS, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, DO, INVITE, ACK, CANCEL, BYE"
            }
            (_, Compat::Off) => "OPTIONS, SUBSCRIBE, NOTIFY, MESSAGE, INVITE, ACK, CANCEL, BYE",
            _ => "OPTIONS, SUBSCRIBE, NOTIFY, MESSAGE, DO, INVITE, ACK, CANCEL, BYE",
        }
    }

    /// What is behind an address, in one of [`DESCRIPTIONS`].
    fn description(
        &self,
        form: usize,
        target: Target,
        who: &Identity,
        outside: bool,
    ) -> Result<(&'static str, String), Rejection> {
        let (access, domain) = (&self.config.access, &self.config.house.domain);
        if form == 3 {
            return Ok((resource_lists::CONTENT_TYPE, self.listing(target, who, outside)));
        }
        // Several have no description; what they are is on their list.
        let several = || Rejection::new(406, "Not Acceptable").with("Accept", resource_lists::CONTENT_TYPE);
        let device = target.device().and_then(|id| self.house.device(id)).ok_or_else(several)?;
        let visible = event::view_of(access, who, device, outside);
        let visible = visible.ok_or(Rejection::new(404, "No Such Appliance"))?;
        let member = Member { device, visible };
        Ok(match form {
            2 => (device_profile::CONTENT_TYPE, device_profile::write(&device_info::profile(&member))),
            // DDP was never specified; whoever names it is after what the appliance has and does.
            _ => (td::CONTENT_TYPE, td::write(&event::describe::thing(&member, access, who, domain))),
        })
    }

    /// The appliances of a target that `who` may watch, as a list of addresses.
    fn listing(&self, target: Target, who: &Identity, outside: bool) -> String {
        let members = self.members(who, target, outside);
        let entries = members.iter().filter(|(_, device)| !device.isolated()).map(|(_, device)| {
            let uri = format!("sip:{}@{}", device.id(), self.config.house.domain);
            let display = Some(device.name().to_owned());
            resource_lists::Item::Entry(resource_lists::Entry { uri, display, added: None })
        });
        let list = resource_lists::List {
            name: Some("appliances".to_owned()),
            display: Some(self.config.house.title.clone()),
            items: entries.collect(),
        };
        resource_lists::write(&[list])
    }
}

/// The first description that is accepted by its name: who accepts anything asks for none.
fn wanted(message: &Message<'_>) -> Option<usize> {
    message.list(Name::Accept).find_map(|accepted| {
        let kind = accepted.split(|byte| *byte == b';').next().unwrap_or(accepted).trim_ascii();
        DESCRIPTIONS.iter().position(|known| kind.eq_ignore_ascii_case(known.as_bytes()))
    })
}

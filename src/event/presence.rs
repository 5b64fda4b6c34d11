//! `presence` (RFC 3856): the appliance as somebody who is reachable or not, its state as a note
//! (RFC 3863), and lit or dark as an activity (RFC 4480) for phones that show no notes.

use std::time::Duration;

use super::package::{Member, Package, View, escape};
use crate::device::appliance::Lamp;

/// See the module.
#[derive(Debug)]
pub struct Presence;

impl Package for Presence {
    fn name(&self) -> &'static str {
        "presence"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &["application/pidf+xml"]
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn document(&self, view: &View<'_>) -> String {
        let entity = escape(view.entity);
        let note = view.summary();
        let note = escape(&note);
        let id = escape(view.id);
        let activity = match view.lamp() {
            Lamp::Lit => "<rpid:activities><rpid:on-the-phone/></rpid:activities>",
            Lamp::Dark | Lamp::Unknown => "<rpid:activities/>",
        };
        let tuples: String = view.members.iter().map(|member| tuple(member, view)).collect();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n\
             <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
             xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"{entity}\">\r\n\
             {tuples}<note xml:lang=\"en\">{note}</note>\r\n\
             <dm:person id=\"p-{id}\">{activity}<dm:note>{note}</dm:note></dm:person>\r\n\
             </presence>\r\n"
        )
    }
}

/// One appliance: reachable or not, and how it stands.
fn tuple(member: &Member<'_>, view: &View<'_>) -> String {
    let shadow = member.device.shadow();
    let basic = if shadow.trusted() { "open" } else { "closed" };
    let id = escape(member.device.id());
    let own = format!("sip:{}@{}", member.device.id(), view.domain);
    // Alone, it is called as it was subscribed to.
    let contact = if view.members.len() == 1 { view.entity } else { &own };
    let contact = escape(contact);
    let note = member.summary(view.now);
    let note = escape(&note);
    let at = shadow.health_since_ms().max(member.newest_ms().unwrap_or(i64::MIN));
    let stamp = jiff::Timestamp::from_millisecond(at).map(|at| at.to_string()).unwrap_or_default();
    format!(
        "<tuple id=\"a-{id}\"><status><basic>{basic}</basic></status><contact>{contact}</contact>\
         <note xml:lang=\"en\">{note}</note><timestamp>{stamp}</timestamp></tuple>\r\n"
    )
}

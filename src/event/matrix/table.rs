//! The rows, in the order in which they are asked: of those that give a form, the first counts.

use super::{Accept, Contact, Does, Event, Off, Row, When};

const fn subscribe(event: Event, accept: Accept, contact: Contact) -> When {
    When::Subscribe { event, accept, contact }
}

const fn named(event: &'static str, kind: &'static str) -> When {
    subscribe(Event::Of(event), Accept::Names(kind), Contact::Any)
}

/// A presence document of a user about himself.
const fn published(body: &'static str, read: &'static str, off: Off) -> Row {
    Row {
        when: When::Carries { method: "PUBLISH", body },
        read,
        does: &[],
        answer: "to one's own address: 200 with SIP-ETag; the document is part of one's presence until it expires",
        off,
    }
}

const fn registered(body: &'static str, read: &'static str) -> Row {
    Row {
        when: When::Carries { method: "REGISTER", body },
        read,
        does: &[],
        answer: "200; the document is part of one's presence as long as the first Contact is registered",
        off: Off::Refused(415),
    }
}

/// The negotiation matrix.
pub const ROWS: &[Row] = &[
    Row {
        when: subscribe(Event::Immediate("message-summary"), Accept::Absent, Contact::Any),
        read: "draft-mahy-sip-message-waiting-00",
        does: &[Does::Writes("text/plain")],
        answer: "as `text/plain`; NOTIFY follows",
        off: Off::PassedOver,
    },
    Row {
        when: subscribe(Event::Immediate("message-summary"), Accept::Any, Contact::Any),
        read: "draft-mahy-sip-message-waiting-00",
        does: &[Does::InAnswer],
        answer: "200 with the counts, never relative ones",
        off: Off::PassedOver,
    },
    Row {
        when: subscribe(Event::Of("message-summary"), Accept::Absent, Contact::Fetch),
        read: "draft-mahy-sip-message-waiting-00",
        does: &[Does::Writes("text/plain")],
        answer: "as `text/plain`",
        off: Off::Refused(400),
    },
    Row {
        when: subscribe(Event::Of("message-summary"), Accept::Any, Contact::Fetch),
        read: "draft-mahy-sip-message-waiting-00, a fetch",
        does: &[Does::InAnswer],
        answer: "200 with the counts, no subscription and no NOTIFY; 400 with another Expires",
        off: Off::Refused(400),
    },
    Row {
        when: subscribe(Event::Known, Accept::Offered, Contact::Any),
        read: "RFC 6665",
        does: &[Does::Offered],
        answer: "200 without a body, NOTIFY in the offered type with the highest `q`, of equals in the first one named",
        off: Off::Same,
    },
    Row {
        when: named("presence", "application/cpim-pidf+xml"),
        read: "the drafts before RFC 3856",
        does: &[Does::Writes("application/cpim-pidf+xml")],
        answer: "NOTIFY: PIDF under its old label and namespace",
        off: Off::Refused(406),
    },
    Row {
        when: named("presence", "application/xpidf+xml"),
        read: "draft-rosenberg-impp-pidf-00",
        does: &[Does::Writes("application/xpidf+xml")],
        answer: "NOTIFY: XPIDF",
        off: Off::Refused(406),
    },
    Row {
        when: named("presence", "text/lpidf"),
        read: "draft-rosenberg-impp-lpidf-00",
        does: &[Does::Writes("text/lpidf")],
        answer: "NOTIFY: LPIDF",
        off: Off::Refused(406),
    },
    Row {
        when: named("message-summary", "text/plain"),
        read: "draft-mahy-sip-message-waiting-00",
        does: &[Does::Writes("text/plain")],
        answer: "NOTIFY: counts as text, never relative ones",
        off: Off::Refused(406),
    },
    Row {
        when: named("message-summary", "text/xml"),
        read: "draft-mahy-sip-message-waiting-00",
        does: &[Does::Writes("text/xml")],
        answer: "NOTIFY: counts as XML",
        off: Off::Refused(406),
    },
    Row {
        when: named("presence.winfo", "application/xwatcher+xml"),
        read: "draft-rosenberg-impp-watcherinfo-00; the Event may be missing where the address is `watcher%40domain%40presentity%40domain`",
        does: &[Does::Writes("application/xwatcher+xml")],
        answer: "NOTIFY: the watchers of 2000, always all of them; with such an address that watcher alone",
        off: Off::Refused(406),
    },
    Row {
        when: named("appliance.winfo", "application/xwatcher+xml"),
        read: "the same for the package `appliance`",
        does: &[Does::Writes("application/xwatcher+xml")],
        answer: "NOTIFY: the watchers of 2000",
        off: Off::Refused(406),
    },
    Row {
        when: named("appliance", "application/dmp"),
        read: "draft-khurana-dmp-appliances-00",
        does: &[Does::Writes("application/dmp")],
        answer: "NOTIFY: the state as a DMPResponse",
        off: Off::Refused(406),
    },
    Row {
        when: subscribe(Event::Known, Accept::Empty, Contact::Any),
        read: "draft-rosenberg-impp-presence-00 §5.5: no state is wanted",
        does: &[Does::Nothing],
        answer: "200, NOTIFYs without a body",
        off: Off::Refused(406),
    },
    Row {
        when: subscribe(Event::Absent, Accept::Absent, Contact::Any),
        read: "draft-rosenberg-impp-presence-00 §5.1: presence, before there were events",
        does: &[Does::Writes("text/lpidf"), Does::InAnswer],
        answer: "200 with LPIDF and Expires; NOTIFYs with LPIDF",
        off: Off::Refused(489),
    },
    Row {
        when: subscribe(Event::Absent, Accept::Names("application/xpidf+xml"), Contact::Any),
        read: "draft-rosenberg-impp-presence-00",
        does: &[Does::Writes("application/xpidf+xml"), Does::InAnswer],
        answer: "200 with XPIDF and Expires; NOTIFYs with XPIDF",
        off: Off::Refused(489),
    },
    Row {
        when: subscribe(Event::Absent, Accept::Names("text/lpidf"), Contact::Any),
        read: "draft-rosenberg-impp-presence-00",
        does: &[Does::Writes("text/lpidf"), Does::InAnswer],
        answer: "200 with LPIDF and Expires; NOTIFYs with LPIDF",
        off: Off::Refused(489),
    },
    Row {
        when: subscribe(Event::Absent, Accept::Empty, Contact::Any),
        read: "draft-rosenberg-impp-presence-00 §5.5: no state is wanted",
        does: &[Does::Nothing],
        answer: "200, NOTIFYs without a body",
        off: Off::Refused(489),
    },
    Row {
        when: subscribe(Event::Absent, Accept::Any, Contact::Several),
        read: "draft-rosenberg-impp-presence-00: each is a notification address with its own `expires`",
        does: &[Does::EachContact],
        answer: "NOTIFYs to each, over the flow that it is registered on, else over that of the SUBSCRIBE; at most 10, else 403",
        off: Off::Refused(489),
    },
    Row {
        when: subscribe(Event::Absent, Accept::Any, Contact::Fetch),
        read: "draft-rosenberg-impp-presence-00, a fetch",
        does: &[Does::InAnswer],
        answer: "200 with the state, no subscription and no NOTIFY; 400 with another Expires",
        off: Off::Refused(489),
    },
    Row {
        when: When::Says("SUBSCRIBE, an Event that is no package above"),
        read: "RFC 6665 §4.2.1.1",
        does: &[],
        answer: "489 with Allow-Events",
        off: Off::Same,
    },
    Row {
        when: When::Says("SUBSCRIBE, Accept names nothing that the package can write"),
        read: "RFC 6665 §4.1.2.1",
        does: &[],
        answer: "406 with Accept; with `compat: verbose` the historic types stand there, too",
        off: Off::Same,
    },
    Row {
        when: When::Says("SUBSCRIBE to one's own address, `Event: message-summary`"),
        read: "what phones do that were told of no mailbox",
        does: &[],
        answer: "as to `alerts`, the mailbox of the house",
        off: Off::Same,
    },
    Row {
        when: When::Says("SUBSCRIBE to a list without `Supported: eventlist`"),
        read: "RFC 4662 §4.1",
        does: &[],
        answer: "421 with `Require: eventlist`",
        off: Off::Same,
    },
    Row {
        when: When::Carries { method: "SUBSCRIBE", body: "application/simple-filter+xml" },
        read: "RFC 4660, RFC 4661",
        does: &[],
        answer: "only what the filters want, and upon the changes that they name; 488 for what is not there, 415 where a package takes no filters",
        off: Off::Same,
    },
    published("application/pidf+xml", "RFC 3903, RFC 3863", Off::Same),
    published("application/cpim-pidf+xml", "the drafts before RFC 3863", Off::Refused(415)),
    published("application/xpidf+xml", "draft-rosenberg-impp-pidf-00", Off::Refused(415)),
    published("text/lpidf", "draft-rosenberg-impp-lpidf-00", Off::Refused(415)),
    registered("application/pidf+xml", "draft-rosenberg-impp-presence-01 §6"),
    registered("application/xpidf+xml", "draft-rosenberg-impp-presence-01 §6"),
    registered("text/lpidf", "draft-rosenberg-impp-presence-01 §6"),
    Row {
        when: When::Says("REGISTER, a Contact with `q`, `methods`, `description`"),
        read: "draft-rosenberg-impp-pidf-00 §7",
        does: &[],
        answer: "an atom of one's presence, named by the MD5 of the address: open, closed with `q=0`; the parameters stand in it, and in the 200",
        off: Off::Same,
    },
    Row {
        when: When::Carries { method: "SUBSCRIBE", body: "application/dmp" },
        read: "draft-khurana-dmp-appliances-00, for the package `appliance`",
        does: &[],
        answer: "only the variables and events that it names; 488 for what is not there",
        off: Off::Refused(415),
    },
    Row {
        when: When::Carries { method: "MESSAGE", body: "application/dmp" },
        read: "draft-moyer-sip-appliances-framework-00",
        does: &[],
        answer: "carried out; 200 without a body, the result as a MESSAGE back",
        off: Off::Refused(415),
    },
    Row {
        when: When::Says("202 to a SUBSCRIBE of ours"),
        read: "RFC 3265",
        does: &[],
        answer: "as a 200; the gateway itself never sends it",
        off: Off::Same,
    },
    Row {
        when: When::Says("NOTIFY outside of any subscription"),
        read: "RFC 6665 §4.1.3",
        does: &[],
        answer: "481",
        off: Off::Same,
    },
    Row {
        when: When::Says("`Content-Function` in any request"),
        read: "the spelling of Content-Disposition in draft-moyer-sip-appliances-framework-01",
        does: &[],
        answer: "accepted, never sent",
        off: Off::Same,
    },
    Row {
        when: When::Method("QAUTH"),
        read: "draft-rosenberg-impp-qauth-00",
        does: &[],
        answer: "from one of `agents:`: 200 with Expires, 603, or 503 when nobody has decided; 405 where there are none",
        off: Off::Refused(405),
    },
    Row {
        when: When::Says("REGISTER, Contact `;methods` with QAUTH, of one of `owners:`"),
        read: "draft-rosenberg-impp-qauth-00: this phone decides",
        does: &[],
        answer: "it is sent a QAUTH for each who waits; 200 allows for Expires, 6xx denies, all else is no decision",
        off: Off::PassedOver,
    },
    Row {
        when: When::Method("DO"),
        read: "draft-tsang-sip-appliances-do-00",
        does: &[],
        answer: "carried out; the 200 has the result as its body, in DMP or SenML where Accept says so",
        off: Off::Refused(405),
    },
];

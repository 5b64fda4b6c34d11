//! Every request that no transaction knows: checked, proven, dispatched, answered.

use super::Gateway;
use super::lists::RECIPIENT_LIST;
use super::many::LIST_MESSAGE;
use crate::config::Compat;
use crate::config::access::Identity;
use crate::control::address;
use crate::control::target::Target;
use crate::event::list::EXTENSION;
use crate::event::matrix;
use crate::limits;
use crate::sip::auth::{Offer, Purpose, Verdict, credentials};
use crate::sip::transaction::{Arrival, ServerKey, Weight};
use crate::sip::wire::check::request_fault;
use crate::sip::wire::{Message, Method, Name, Uri, Writer, write};
use crate::sip::{Hop, Rejection};
use crate::timer::Now;

/// What the gateway does, for Allow.
const ALLOW: &str = "OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, DO, INVITE, ACK, CANCEL, BYE";
/// The same where somebody may ask by QAUTH.
const ALLOW_AGENTS: &str =
    "OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, DO, QAUTH, INVITE, ACK, CANCEL, BYE";
/// The same without what is historic.
const ALLOW_MODERN: &str = "OPTIONS, REGISTER, SUBSCRIBE, NOTIFY, PUBLISH, MESSAGE, INVITE, ACK, CANCEL, BYE";

/// A request on its way through the gateway.
#[derive(Clone, Copy)]
pub(super) struct Request<'r, 'a> {
    pub message: &'r Message<'a>,
    pub bytes: &'r [u8],
    pub method: Method<'a>,
    pub uri: Uri<'a>,
    pub hop: Hop,
}

impl Request<'_, '_> {
    /// Whether it claims to belong to a dialog.
    pub fn in_dialog(&self) -> bool {
        self.message.to().is_ok_and(|to| to.tag().is_some())
    }
}

impl Gateway {
    pub(super) fn on_request(&mut self, message: &Message<'_>, bytes: &[u8], hop: Hop, now: Now) {
        match self.transactions.on_request(message, now.mono) {
            Arrival::Absorbed => return,
            Arrival::Cancels(invite) => return self.cancel(message, hop, Some(invite), now),
            Arrival::CancelsNothing => return self.cancel(message, hop, None, now),
            Arrival::New => {}
        }
        let Some((method, uri)) = message.request() else { return };
        if method == Method::Ack {
            return;
        }
        if let Some(fault) = request_fault(message) {
            self.counters.malformed += 1;
            return self.refuse(message, hop, &Rejection::new(fault.status, fault.reason));
        }
        let Ok(uri) = Uri::parse(uri) else { return };
        let request = Request { message, bytes, method, uri, hop };
        self.on_led_here(&request, now);
        if let Err(rejection) = self.dispatch(&request, now) {
            self.refuse(message, hop, &rejection);
        }
    }

    /// An error means: this stateless answer, and nothing was remembered.
    fn dispatch(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        if request.uri.is_secure() && !request.hop.transport.is_secure() {
            // RFC 3261 §26.2.2: each hop of a `sips:` request is TLS. On this way the scheme is not there.
            return Err(Rejection::new(416, "A sips URI Needs TLS"));
        }
        check_require(request.message)?;
        if address::user(&request.uri).is_err() {
            return Err(Rejection::new(400, "The Brackets Of The Address Are Not Whole"));
        }
        if self.leaving && request.method != Method::Options && !request.in_dialog() {
            // A watcher that was told to ask again would be forgotten by the end of the process, and a
            // command cut off in the middle.
            return Err(Rejection::new(503, "Restarting").with("Retry-After", "5"));
        }
        if matrix::refuses(request.method.as_str(), None, self.config.compat).is_some() {
            return Err(Rejection::new(405, "Method Not Allowed").with("Allow", self.allow()));
        }
        match request.method {
            Method::Options => self.options(request, now),
            Method::Register if !request.in_dialog() => self.register(request, now),
            Method::Subscribe if request.in_dialog() => self.resubscribe(request, now),
            Method::Subscribe => self.subscribe(request, now),
            Method::Message | Method::Do | Method::Invite if !request.in_dialog() => {
                self.command(request, now)
            }
            Method::Message | Method::Do | Method::Invite | Method::Register => Err(gone()),
            Method::Refer if !request.in_dialog() => Err(Rejection::new(603, "Decline")),
            Method::Notify if request.in_dialog() => self.notified(request, now),
            Method::Bye | Method::Notify | Method::Info | Method::Update | Method::Prack => Err(gone()),
            Method::Cancel | Method::Refer => Err(gone()),
            Method::Publish if !request.in_dialog() => self.publish(request, now),
            Method::Qauth if !request.in_dialog() && !self.config.agents.is_empty() => {
                self.qauth(request, now)
            }
            Method::Publish | Method::Qauth => {
                Err(Rejection::new(405, "Method Not Allowed").with("Allow", self.allow()))
            }
            Method::Ack | Method::Other(_) => {
                Err(Rejection::new(501, "Not Implemented").with("Allow", self.allow()))
            }
        }
    }

    pub(super) fn allow(&self) -> &'static str {
        match self.config.compat {
            Compat::Off => ALLOW_MODERN,
            _ if self.config.agents.is_empty() => ALLOW,
            _ => ALLOW_AGENTS,
        }
    }

    /// Who asks. Nobody else than a proven name gets past this.
    ///
    /// # Errors
    /// The challenge, built from the request alone; or 403 for somebody who speaks as another.
    pub(super) fn prove(
        &mut self,
        request: &Request<'_, '_>,
        purpose: Purpose,
        now: Now,
    ) -> Result<Identity, Rejection> {
        let who = self.prove_name(request, purpose, now)?;
        // Behind a provider From is the caller's address there; at home it is the user.
        let from = request.message.from().ok().and_then(|from| from.uri.user_text());
        if let Identity::User(user) = &who
            && self.upstream_of(request.hop).is_none()
            && from.as_deref() != Some(user.as_str())
        {
            self.counters.forbidden += 1;
            return Err(Rejection::new(403, "From Is Somebody Else"));
        }
        Ok(who)
    }

    /// The same for requests whose From names somebody else by design.
    pub(super) fn prove_name(
        &mut self,
        request: &Request<'_, '_>,
        purpose: Purpose,
        now: Now,
    ) -> Result<Identity, Rejection> {
        let upstream = self.upstream_of(request.hop);
        if let Some(identity) = upstream.and_then(|upstream| self.asserted(upstream, request)) {
            return Ok(identity);
        }
        let source = request.hop.peer.ip();
        let verdict =
            self.auth.verify(request.message, request.method.as_str(), source, purpose, &self.secrets, now);
        let user = match verdict {
            Verdict::Is(user) => user,
            Verdict::Doubtful => {
                return Err(Rejection::new(
                    504,
                    "Not Known Whether It Was Done Before The Restart; Ask Again",
                ));
            }
            Verdict::Unknown | Verdict::Stale | Verdict::Slowed => {
                self.counters.challenges += 1;
                let offer = Offer::to(request.message);
                let stale = verdict == Verdict::Stale;
                let doubt = stale
                    && purpose == Purpose::Control
                    && !self.recent.recalls()
                    && self.auth.may_be_repeated(request.message, source, now);
                let fields = self.auth.challenge_for(source, stale, offer, doubt, now);
                return Err(Rejection { status: 401, reason: "Unauthorized".into(), fields });
            }
        };
        self.check_digest_uri(request, user)?;
        if let Some(flow) = self.flows.get_mut(&request.hop.flow) {
            flow.unproven = None;
        }
        Ok(Identity::User(user.to_owned()))
    }

    /// The digest covers a URI: it must mean what the request asks for. A provider on the way
    /// rewrites the Request-URI to our Contact, so both are compared by what they name.
    fn check_digest_uri(&self, request: &Request<'_, '_>, user: &str) -> Result<(), Rejection> {
        let Some(covered) =
            credentials(request.message, &self.config.house.domain).and_then(|digest| digest.uri)
        else {
            return Ok(());
        };
        if covered == request.uri.raw {
            return Ok(());
        }
        let fits = Uri::parse(covered).is_ok_and(|covered| match covered.user {
            // Some clients, sipp among them, cover the server and not the user.
            None => self.is_us(&covered, request),
            Some(_) => {
                let (covered, asked) =
                    (self.resolve(&covered, request.hop), self.resolve(&request.uri, request.hop));
                // A provider puts our Contact where a number was dialled; at home each number is
                // itself, as they may do different things.
                let upstream = self.upstream_of(request.hop).is_some();
                let same = covered == asked
                    || (upstream && covered.and_then(Target::device) == asked.and_then(Target::device));
                covered.is_some() && same
            }
        });
        if fits {
            return Ok(());
        }
        // Somebody may spell an address in two ways to learn whether both are one appliance: what he
        // may not see is as absent here as anywhere.
        let who = Identity::User(user.to_owned());
        let asked = self.resolve(&request.uri, request.hop);
        let visible = asked.is_some_and(|target| self.is_there(&who, target, self.is_outside(request.hop)));
        Err(match visible {
            true => Rejection::new(400, "The Digest Covers Another URI"),
            false => Rejection::new(404, "No Such Appliance"),
        })
    }

    /// Whether the host of `uri` is this gateway, as the sender of `request` can know it.
    pub(super) fn is_us(&self, uri: &Uri<'_>, request: &Request<'_, '_>) -> bool {
        let is = |host: &str| uri.host.eq_ignore_ascii_case(host);
        let upstream = self.upstream_of(request.hop);
        let provider = upstream.and_then(|key| self.upstreams.get(key)).map(|upstream| &upstream.settings);
        is(request.uri.host)
            || is(&self.config.house.domain)
            || provider.is_some_and(|provider| {
                is(&provider.domain) || provider.edges.iter().any(|edge| is(&edge.server.host))
            })
    }

    /// The upstream behind `hop`: only its own address counts, whoever else writes to that port.
    pub(super) fn upstream_of(&self, hop: Hop) -> Option<usize> {
        self.way_of(hop).and_then(|key| self.ways.get(key)).map(|way| way.upstream)
    }

    /// The way to it that this is.
    pub(super) fn way_of(&self, hop: Hop) -> Option<usize> {
        self.flows.get(&hop.flow).filter(|flow| flow.hop.peer == hop.peer)?.upstream
    }

    /// What a Request-URI names, as it arrived on `hop`: behind an upstream its account names count.
    pub(super) fn resolve(&self, uri: &Uri<'_>, hop: Hop) -> Option<Target> {
        let upstream = self.upstream_of(hop);
        if let (Some(upstream), Some(user)) =
            (upstream.and_then(|key| self.upstreams.get(key)), uri.user_text())
            && let Some(account) = upstream.settings.accounts.iter().find(|account| account.user == user)
        {
            return Some(account.device.map_or(Target::House, Target::Device));
        }
        if let Some(account) = self.account_lending(uri, hop) {
            return Some(account.device.map_or(Target::House, Target::Device));
        }
        self.names.resolve(uri)
    }

    fn cancel(&mut self, message: &Message<'_>, hop: Hop, invite: Option<ServerKey>, now: Now) {
        let tag = self.stateless_tag(message);
        let writer = self.response(message, hop, 200, "OK", Some(&tag));
        self.transactions.send_once(hop, writer.finish());
        if let Some(invite) = invite {
            self.cancel_call(invite, now);
        }
    }

    /// Answers without remembering anything.
    pub(super) fn refuse(&mut self, message: &Message<'_>, hop: Hop, rejection: &Rejection) {
        if message.request().is_none_or(|(method, _)| method == Method::Ack)
            || message.first(Name::Via).is_none()
        {
            return;
        }
        let tag = self.stateless_tag(message);
        let mut writer = self.response(message, hop, rejection.status, &rejection.reason, Some(&tag));
        writer.raw(rejection.fields.as_bytes());
        self.answer_once(message, hop, writer.finish());
    }

    /// Sends a stateless answer. The source of a datagram may be a victim's: no phone writes requests
    /// so short that this answer would be more than [`limits::AMPLIFICATION`] times as long.
    pub(super) fn answer_once(&mut self, request: &Message<'_>, hop: Hop, answer: Vec<u8>) {
        if self.is_modest(request, hop, &answer) {
            self.transactions.send_once(hop, answer);
        }
    }

    /// Whether an answer may go to somebody unproven.
    pub(super) fn is_modest(&self, request: &Message<'_>, hop: Hop, answer: &[u8]) -> bool {
        hop.transport.is_reliable() || answer.len() <= request.size() * limits::AMPLIFICATION
    }

    /// Begins a server transaction; 503 when there is no room.
    pub(super) fn open(&mut self, request: &Request<'_, '_>, weight: Weight) -> Result<ServerKey, Rejection> {
        let busy = || Rejection::new(503, "Service Unavailable").with("Retry-After", "5");
        self.transactions.open(request.message, request.hop, weight).ok_or_else(busy)
    }

    /// The common fields of a response.
    pub(super) fn response(
        &self,
        message: &Message<'_>,
        hop: Hop,
        status: u16,
        reason: &str,
        tag: Option<&str>,
    ) -> Writer {
        write::response(message, status, reason, tag, Some(hop.peer))
    }

    /// A To tag that is the same for every repetition of a request, without remembering it.
    pub(super) fn stateless_tag(&self, message: &Message<'_>) -> String {
        use std::hash::Hasher as _;
        let mut hasher = siphasher::sip::SipHasher13::new_with_key(&self.tag_key);
        hasher.write(message.call_id().unwrap_or_default());
        hasher.write(message.list(Name::Via).next().unwrap_or_default());
        format!("{:016x}", hasher.finish())
    }
}

/// Extensions that a request insists on (RFC 3261 §8.2.2.3): lists are what the gateway has.
fn check_require(message: &Message<'_>) -> Result<(), Rejection> {
    let mut unknown = String::new();
    let of = |wanted: Method<'_>| message.request().is_some_and(|(method, _)| method == wanted);
    let (messages, subscribes, calls) = (of(Method::Message), of(Method::Subscribe), of(Method::Invite));
    let known = |option: &&str| {
        option.eq_ignore_ascii_case(EXTENSION)
            || messages && option.eq_ignore_ascii_case(LIST_MESSAGE)
            || subscribes && option.eq_ignore_ascii_case(RECIPIENT_LIST)
            || calls && option.eq_ignore_ascii_case("replaces")
    };
    let options = message.list(Name::Require).filter_map(|option| std::str::from_utf8(option).ok());
    for option in options.filter(|option| !known(option)) {
        if !unknown.is_empty() {
            unknown.push_str(", ");
        }
        unknown.extend(option.chars().filter(|c| !c.is_control()));
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(Rejection::new(420, "Bad Extension").with("Unsupported", &unknown))
    }
}

/// The request belongs to a dialog or transaction that does not exist.
pub(super) fn gone() -> Rejection {
    Rejection::new(481, "Call/Transaction Does Not Exist")
}

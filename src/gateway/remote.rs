//! Appliances that hang on another gateway: watched there, told here like any other, and commanded by
//! words to that gateway.
//!
//! ```text
//!  NOTIFY ──▶ Subscriber ──▶ heard ──▶ House::told          House ──▶ Output::Relay ──▶ DO ──▶
//!                  └─ gone, refused ──▶ Event::Down         ◀── Event::Done, House::proved ◀──┘
//! ```
//! A subscription that does not stand is a link that is down, with the reason in words: what was last
//! heard is shown, and not believed.

mod keep;
mod reload;
mod route;

use std::time::Instant;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sipliance_driver::{Event, Failure, Op, OpId, Why as Reason};

use super::Gateway;
use super::announce::login_of;
use super::heard::{self, Heard};
use super::request::{Request, gone};
use crate::config::{Config, DeviceId, LinkId, LinkSettings, Upstream};
use crate::device::profile::Watched;
use crate::limits;
use crate::sip::challenge::{Login, Refused};
use crate::sip::exchange::{self, Exchange, Progress};
use crate::sip::registration::Registration;
use crate::sip::subscriber::{self, Notified, Subscriber, Why, Wish};
use crate::sip::transaction::Weight;
use crate::sip::wire::{Message, Method, Start};
use crate::sip::{Hop, Rejection, User};
use crate::timer::Now;

/// Lifetime of a subscription at another gateway, in seconds: as long as its restart may stay unseen
/// over UDP.
const AT_PEER: u32 = 60;
/// The longest of a subscription or publication at a provider, which many share.
const AT_PROVIDER: u32 = 300;
/// Longest words of another gateway that are passed on, in characters.
const WORDS: usize = 120;

/// One device that hangs elsewhere.
#[derive(Debug)]
pub(super) struct Remote {
    /// `None`: it is not watched any more, and is being left.
    link: Option<LinkId>,
    device: DeviceId,
    via: usize,
    /// Our registration there, which has to stand first; a peer needs none.
    registration: Option<usize>,
    watched: Watched,
    wish: Wish,
    login: Login,
    subscriber: Subscriber,
    /// The flow that it uses.
    hop: Option<Hop>,
    /// `None`: the state is known now.
    down: Option<String>,
    /// Until it answers 405 or 501.
    takes_do: bool,
    /// What the dialog agreed on (RFC 6223), in seconds.
    keep: Option<u32>,
}

/// One command on its way.
#[derive(Debug)]
pub(super) struct Order {
    remote: usize,
    hop: Hop,
    words: Vec<u8>,
    exchange: Exchange,
    method: Method<'static>,
}

impl Remote {
    pub fn next_deadline(&self) -> Option<Instant> {
        self.subscriber.next_deadline()
    }

    pub fn is_over(&self) -> bool {
        self.subscriber.is_over()
    }

    /// Whether it is in the home file no more.
    pub fn is_leaving(&self) -> bool {
        self.link.is_none()
    }

    /// Whether it is watched over that flow.
    fn is_on(&self, via: usize) -> bool {
        self.via == via && self.link.is_some()
    }

    /// The appliance, its address, and `None` when its state is known, else why not.
    pub fn standing(&self) -> (DeviceId, &str, Option<&str>) {
        (self.device, &self.wish.target, self.down.as_deref())
    }
}

impl Gateway {
    /// Every device elsewhere, waiting for its flow.
    pub(super) fn start_remotes(&mut self, now: Now) {
        for link in 0..self.config.links.len() {
            self.add_remote(LinkId(link), now);
        }
    }

    fn add_remote(&mut self, link: LinkId, now: Now) {
        let config = self.config.clone();
        let Some(LinkSettings::Sip(settings)) = config.links.get(link.0).map(|link| &link.settings) else {
            return;
        };
        let Some(via) = self.upstream_at(settings.via) else { return };
        let (Some(upstream), Some(device)) = (self.upstreams.get(via), device_on(&config, link)) else {
            return;
        };
        let (from, login, account) = who(&upstream.settings);
        let registration = account.and_then(|account| self.registrations_at(via).get(account).copied());
        let wish = Wish {
            target: settings.target.clone(),
            from,
            user: config.devices.get(device.0).map(|device| device.id.clone()).unwrap_or_default(),
            event: settings.watched.word().to_owned(),
            accept: Some(heard::accepted(settings.watched).to_owned()),
            expires: lifetime(&upstream.settings),
        };
        let rng = ChaCha8Rng::from_seed(self.rng.random());
        let mut subscriber = Subscriber::patient(wish.clone(), login.clone(), rng, now.mono);
        if upstream.settings.peer.is_some() {
            subscriber.offer_keep();
        }
        let down = Some(match registration {
            Some(_) => "not registered there yet".to_owned(),
            None => "not asked yet".to_owned(),
        });
        self.remotes.add(Remote {
            link: Some(link),
            device,
            via,
            registration,
            watched: settings.watched,
            wish,
            login,
            subscriber,
            hop: None,
            down,
            takes_do: true,
            keep: None,
        });
    }

    /// A flow to an upstream is there, or, for whom one of our registrations there has to stand, that one
    /// does.
    pub(super) fn on_remote_flow_up(&mut self, via: usize, registration: Option<usize>, now: Now) {
        let serving = registration.and_then(|handle| self.registrations.get(self.serving(handle)));
        let login = serving.map(login_of);
        let flow = serving.map_or_else(|| self.upstream_flow(via), Registration::hop);
        let Some(hop) = flow else { return };
        let route = self.service_route(registration, hop).to_vec();
        for index in self.remotes.keys() {
            let Some(remote) = self.remotes.get_mut(index).filter(|remote| remote.is_on(via)) else {
                continue;
            };
            // What goes over a flow that lives stays there.
            let lives = remote.hop.is_some_and(|hop| self.flows.contains_key(&hop.flow));
            if remote.registration != registration || lives {
                continue;
            }
            if let Some(login) = &login {
                remote.login = login.clone();
                remote.subscriber.set_login(login.clone());
            }
            remote.hop = Some(hop);
            remote.subscriber.set_route(&route);
            // It may be another program by now.
            remote.takes_do = true;
            remote.subscriber.on_flow_up(hop, &mut self.transactions, User::Watch(index), now.mono);
            self.on_watch_events(index, now);
        }
    }

    pub(super) fn on_remote_flow_lost(&mut self, via: usize, why: &str, now: Now) {
        for index in self.remotes.keys() {
            let flows = &self.flows;
            let is_lost = |remote: &&mut Remote| {
                remote.via == via && !remote.hop.is_some_and(|hop| flows.contains_key(&hop.flow))
            };
            let Some(remote) = self.remotes.get_mut(index).filter(is_lost) else { continue };
            remote.hop = None;
            if remote.link.is_none() {
                remote.subscriber.give_up_leaving();
                continue;
            }
            remote.subscriber.on_flow_lost(why, now.mono);
            self.on_watch_events(index, now);
            let words = format!("no way to {}: {why}", self.peer_name(via));
            self.remote_down(index, words, now);
        }
        let mut handles: Vec<usize> =
            self.remotes.values().filter_map(|remote| remote.registration).collect();
        handles.dedup();
        // Another flow may be there already.
        for handle in handles {
            let stands = self.registrations.get(self.serving(handle)).is_some_and(Registration::stands);
            if stands && self.handle_of(handle).is_some_and(|(of, _)| of == via) {
                self.on_remote_flow_up(via, Some(handle), now);
            }
        }
    }

    pub(super) fn on_remote_deadlines(&mut self, now: Now) {
        for index in self.remotes.keys() {
            let Some(remote) = self.remotes.get_mut(index) else { continue };
            if remote.next_deadline().is_some_and(|at| at <= now.mono) {
                remote.subscriber.on_deadline(&mut self.transactions, User::Watch(index), now.mono);
                self.on_watch_events(index, now);
            }
        }
    }

    pub(super) fn on_watch_response(&mut self, index: usize, response: &Message<'_>, now: Now) {
        let Some(remote) = self.remotes.get_mut(index) else { return };
        remote.subscriber.on_response(response, &mut self.transactions, User::Watch(index), now.mono);
        self.on_keep(index, response, now);
        self.on_watch_events(index, now);
    }

    /// A NOTIFY: it is one of ours when it comes over the flow that the subscription went out on.
    pub(super) fn notified(&mut self, request: &Request<'_, '_>, now: Now) -> Result<(), Rejection> {
        let via = self.upstream_of(request.hop).ok_or_else(gone)?;
        let mut answer = Err(gone());
        for index in self.remotes.keys() {
            let Some(remote) = self.remotes.get_mut(index).filter(|remote| remote.via == via) else {
                continue;
            };
            answer = remote.subscriber.on_notify(request.message, request.hop, now.mono);
            if !matches!(&answer, Err(rejection) if rejection.status == 481) {
                self.on_watch_events(index, now);
                break;
            }
        }
        answer?;
        let key = self.open(request, Weight::Light)?;
        let writer = self.response(request.message, request.hop, 200, "OK", None);
        self.transactions.answer(key, 200, writer.finish(), now.mono);
        Ok(())
    }

    /// Takes the subscriptions back: the gateway stops.
    pub(super) fn leave_remotes(&mut self, now: Now) {
        for index in self.remotes.keys() {
            if let Some(remote) = self.remotes.get_mut(index) {
                remote.subscriber.leave(&mut self.transactions, User::Watch(index), now.mono);
            }
        }
    }

    fn on_watch_events(&mut self, index: usize, now: Now) {
        while let Some(event) = self.remotes.get_mut(index).and_then(|remote| remote.subscriber.poll()) {
            if matches!(event, subscriber::Event::Waiting(..) | subscriber::Event::Over(_)) {
                self.end_keep(index, now);
            }
            if self.remotes.get(index).is_some_and(|remote| remote.link.is_none()) {
                continue;
            }
            match event {
                subscriber::Event::Notified(notified) => self.on_notified(index, &notified, now),
                subscriber::Event::Waiting(why, _) | subscriber::Event::Over(why) => {
                    let name = self.remotes.get(index).map(|remote| self.peer_name(remote.via));
                    let words = words(&why, &name.unwrap_or_default());
                    self.remote_down(index, words, now);
                }
                subscriber::Event::NeedFlow => self.renew_flow(index, now),
            }
        }
    }

    /// The flow carried no answer. To a peer another one is made, as its address may have changed; to
    /// a registrar there is one for all, and its registrations look after it.
    fn renew_flow(&mut self, index: usize, now: Now) {
        let Some(via) = self.remotes.get(index).map(|remote| remote.via) else { return };
        let is_peer = self.upstreams.get(via).is_some_and(|upstream| upstream.settings.peer.is_some());
        let Some(hop) = self.upstream_flow(via) else { return };
        if is_peer {
            return self.reopen_upstream(via, now);
        }
        let handle = self.remotes.get(index).and_then(|remote| remote.registration);
        let route = self.service_route(handle, hop).to_vec();
        if let Some(remote) = self.remotes.get_mut(index) {
            remote.hop = Some(hop);
            remote.subscriber.set_route(&route);
            remote.subscriber.on_flow_up(hop, &mut self.transactions, User::Watch(index), now.mono);
        }
    }

    fn on_notified(&mut self, index: usize, notified: &Notified, now: Now) {
        let Some(remote) = self.remotes.get(index) else { return };
        let name = self.peer_name(remote.via);
        match (notified.state.as_str(), &notified.content_type) {
            ("terminated", _) => {}
            ("pending", _) => {
                self.remote_down(index, format!("{name} has not decided yet whether we may watch"), now)
            }
            (_, None) => self.remote_heard(index, &Heard::nothing(), now),
            (_, Some(kind)) => match heard::read(remote.watched, kind, &notified.body, now.wall_ms) {
                Ok(heard) => self.remote_heard(index, &heard, now),
                Err(why) => {
                    self.remote_down(index, format!("{name} sends what is not understood: {why}"), now)
                }
            },
        }
    }

    fn remote_heard(&mut self, index: usize, heard: &Heard, now: Now) {
        let Some(remote) = self.remotes.get_mut(index) else { return };
        let (Some(link), device, via) = (remote.link, remote.device, remote.via) else { return };
        if remote.down.take().is_some() {
            self.upstream_works(via);
            self.on_driver(link, Event::Up, now);
        }
        self.house.told(device, heard.health, &heard.items(), now);
    }

    fn remote_down(&mut self, index: usize, why: String, now: Now) {
        let Some(remote) = self.remotes.get_mut(index) else { return };
        let Some(link) = remote.link.filter(|_| remote.down.as_ref() != Some(&why)) else { return };
        remote.down = Some(why.clone());
        self.on_driver(link, Event::Down(Reason(why)), now);
    }

    fn peer_name(&self, via: usize) -> String {
        self.upstreams.get(via).map(|upstream| upstream.settings.domain.clone()).unwrap_or_default()
    }

    /// Sends words to the gateway that an appliance hangs on.
    pub(super) fn relay(&mut self, link: LinkId, op: Op, now: Now) {
        let Op::Write { id, payload, .. } = op else { return };
        let found = self.remotes.iter().find(|(_, remote)| remote.link == Some(link));
        let Some((index, remote)) = found else { return };
        let failure = match self.upstream_flow(remote.via) {
            None => Failure::NotConnected,
            Some(_) if self.orders.len() >= limits::REMOTE_ORDERS => Failure::Busy,
            Some(hop) => {
                let method = if remote.takes_do { Method::Do } else { Method::Message };
                return self.send_words(id, index, hop, payload.to_vec(), method, now);
            }
        };
        self.on_driver(link, Event::Done { id, result: Err(failure) }, now);
    }

    fn send_words(
        &mut self,
        id: OpId,
        remote: usize,
        hop: Hop,
        words: Vec<u8>,
        method: Method<'static>,
        now: Now,
    ) {
        let Some(to) = self.remotes.get(remote) else { return };
        let request = exchange::Request {
            method,
            target: to.wish.target.clone(),
            from: to.wish.from.clone(),
            route: self.service_route(to.registration, hop).to_vec(),
            fields: "",
            body: Some(("text/plain;charset=UTF-8", words.clone())),
        };
        let rng = ChaCha8Rng::from_seed(self.rng.random());
        let mut exchange = Exchange::acting(request, to.login.clone(), rng);
        exchange.send(&mut self.transactions, User::Order(id.0), hop, now.mono);
        self.orders.insert(id, Order { remote, hop, words, exchange, method });
    }

    pub(super) fn on_order_response(&mut self, id: u64, response: &Message<'_>, now: Now) {
        let id = OpId(id);
        let Some(order) = self.orders.get_mut(&id) else { return };
        let hop = order.hop;
        let progress =
            order.exchange.on_response(response, &mut self.transactions, User::Order(id.0), hop, now.mono);
        match progress {
            Progress::Wait => {}
            // It forgot us, and with us whether it did what we asked for.
            Progress::Refused(Refused::Again) => self.order_done(id, Err(Failure::Timeout), now),
            Progress::Refused(why) => self.order_done(id, Err(Failure::Refused(why.to_string())), now),
            Progress::Final => self.on_order_end(id, response, now),
        }
    }

    fn on_order_end(&mut self, id: OpId, response: &Message<'_>, now: Now) {
        let Start::Response { status, reason } = response.start else { return };
        let Some(order) = self.orders.get(&id) else { return };
        let (remote, hop, is_do) = (order.remote, order.hop, order.method == Method::Do);
        let Some(link) = self.remotes.get(remote).and_then(|remote| remote.link) else { return };
        match status {
            200 if is_do => {
                self.orders.remove(&id);
                self.house.proved(link, id, now);
            }
            200..300 => self.order_done(id, Ok(()), now),
            405 | 501 if is_do => {
                let words = self.orders.remove(&id).map(|order| order.words).unwrap_or_default();
                if let Some(remote) = self.remotes.get_mut(remote) {
                    remote.takes_do = false;
                }
                self.send_words(id, remote, hop, words, Method::Message, now);
            }
            // Somebody on the way gave up, or it says itself that it does not know.
            408 | 500 | 502 | 504 => self.order_done(id, Err(Failure::Timeout), now),
            _ => {
                let name = self.remotes.get(remote).map(|remote| self.peer_name(remote.via));
                let said = said(response).unwrap_or_else(|| String::from_utf8_lossy(reason).into_owned());
                let words = format!("{} says {status} {}", name.unwrap_or_default(), clean(&said));
                self.order_done(id, Err(Failure::Refused(words)), now);
            }
        }
    }

    /// Nobody answered, or the flow broke.
    pub(super) fn on_order_timeout(&mut self, id: u64, now: Now) {
        self.order_done(OpId(id), Err(Failure::Timeout), now);
    }

    fn order_done(&mut self, id: OpId, result: Result<(), Failure>, now: Now) {
        let Some(order) = self.orders.remove(&id) else { return };
        let Some(link) = self.remotes.get(order.remote).and_then(|remote| remote.link) else { return };
        self.on_driver(link, Event::Done { id, result }, now);
    }
}

fn device_on(config: &Config, link: LinkId) -> Option<DeviceId> {
    config.devices.iter().position(|device| device.link == link).map(DeviceId)
}

/// The lifetime of what we ask of a server, in seconds: as long as a crash on either side may stay
/// unseen. Whoever wants a short registration wants that seen soon.
pub(super) fn lifetime(upstream: &Upstream) -> u32 {
    match upstream.peer {
        Some(_) => AT_PEER,
        None => u32::try_from(upstream.expires.as_secs()).unwrap_or(AT_PROVIDER).min(AT_PROVIDER),
    }
}

/// Our address and login there: those of the house, where it has an account, whose place is told.
fn who(upstream: &Upstream) -> (String, Login, Option<usize>) {
    let domain = &upstream.domain;
    let login = |user: &str, password| Login { user: user.to_owned(), password, realm: None };
    if let Some(peer) = &upstream.peer {
        let address = format!("sip:{}@{domain}", peer.user);
        return (address, login(&peer.user, Some(peer.password.clone())), None);
    }
    let house = upstream.accounts.iter().position(|account| account.device.is_none()).unwrap_or(0);
    match upstream.accounts.get(house) {
        // Its login is known when it is registered.
        Some(account) => (format!("sip:{}@{domain}", account.user), login("", None), Some(house)),
        None => (format!("sip:anonymous@{domain}"), login("", None), None),
    }
}

/// Why nothing is known now, for a person.
fn words(why: &Why, name: &str) -> String {
    match why {
        Why::Refused { status, reason, .. } => format!("{name} says {status} {}", clean(reason)),
        Why::Login(refused) => format!("{name}: {refused}"),
        Why::Silent { answered: false } => format!("{name} does not answer"),
        Why::Silent { answered: true } => format!("{name} agreed and tells nothing"),
        Why::Terminated(reason) => match reason.as_deref() {
            Some("noresource") => format!("{name} has no such thing any more"),
            Some("rejected") => format!("{name} does not let us watch any more"),
            Some("deactivated" | "probation") => format!("{name} is starting anew"),
            Some(other) => format!("{name} ended it: {}", clean(other)),
            None => format!("{name} ended it"),
        },
        Why::Expired => format!("{name} did not renew the subscription"),
        Why::FlowLost(why) => format!("no way to {name}: {why}"),
        Why::Fetched | Why::Left => "not watched any more".to_owned(),
    }
}

/// The text of an answer.
fn said(response: &Message<'_>) -> Option<String> {
    let plain = response.content_type().is_some_and(|kind| kind.eq_ignore_ascii_case("text/plain"));
    let text = plain.then(|| std::str::from_utf8(response.body).ok()).flatten()?;
    Some(text.lines().next().unwrap_or_default().to_owned()).filter(|text| !text.is_empty())
}

/// It is shown on terminals and phones.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WORDS).collect()
}

//! What is published elsewhere: the presence of each appliance that has an address there.

use std::time::Instant;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::remote::lifetime;
use super::{ElsewhereStatus, Gateway};
use crate::config::DeviceId;
use crate::event::{self, Member, PACKAGES, Package, View};
use crate::sip::challenge::Login;
use crate::sip::publisher::{Identity, Publisher, Standing};
use crate::sip::registration::Registration;
use crate::sip::wire::Message;
use crate::sip::{Hop, User};
use crate::timer::Now;

/// The package that is published.
const PACKAGE: &str = "presence";

/// One publication.
#[derive(Debug)]
pub(super) struct Announcement {
    registration: usize,
    upstream: usize,
    publisher: Publisher,
    /// Something is new since the last document was made.
    dirty: bool,
    /// It is not wanted any more, and is being taken back.
    left: bool,
}

impl Announcement {
    pub fn next_deadline(&self) -> Option<Instant> {
        self.publisher.next_deadline()
    }

    pub fn is_leaving(&self) -> bool {
        self.publisher.is_leaving()
    }

    /// Whether it was taken back.
    pub fn is_over(&self) -> bool {
        self.left && !self.is_leaving()
    }

    /// Whether it goes over that flow.
    pub fn is_via(&self, upstream: usize) -> bool {
        self.upstream == upstream
    }
}

impl Gateway {
    /// One publication for each registration of an appliance at a server that wants them. After a reload:
    /// those that stay go on, those that are not wanted any more are taken back.
    pub(super) fn start_announcements(&mut self) {
        let mut wanted = Vec::new();
        for (key, upstream) in self.upstreams.iter().filter(|(_, upstream)| upstream.is_in_force()) {
            let accounts = upstream.settings.accounts.iter().zip(self.registrations_at(key));
            let published = accounts.filter(|(of, _)| upstream.settings.publish && of.device.is_some());
            let settings = &upstream.settings;
            wanted.extend(published.map(|(of, registration)| {
                (key, format!("sip:{}@{}", of.user, settings.domain), lifetime(settings), *registration)
            }));
        }
        let Self { announcements, rng, .. } = self;
        for one in announcements.values_mut() {
            if !wanted.iter().any(|(_, _, _, registration)| one.registration == *registration) {
                one.left = true;
                one.publisher.leave();
            }
        }
        for (upstream, address, expires, registration) in wanted {
            let known = announcements.values().any(|one| one.registration == registration && !one.left);
            let Some(package) = package().filter(|_| !known) else { continue };
            let identity = Identity {
                address,
                event: package.name(),
                content_type: package.content_types().first().copied().unwrap_or_default(),
                expires,
            };
            let publisher = Publisher::new(identity, ChaCha8Rng::from_seed(rng.random()));
            announcements.add(Announcement { registration, upstream, publisher, dirty: true, left: false });
        }
    }

    /// An appliance changed, or after a reload all may have.
    pub(super) fn announce(&mut self, device: Option<DeviceId>) {
        self.hass_changed(device);
        for nth in self.announcements.keys() {
            let of = self.announcements.get(nth).and_then(|one| self.announced(one));
            if let Some(one) = self.announcements.get_mut(nth).filter(|_| device.is_none() || device == of) {
                one.dirty = true;
            }
        }
    }

    /// Publishes what is new where it may be, and keeps alive what stands. At the end of every input.
    pub(super) fn on_announcement_deadlines(&mut self, now: Now) {
        for nth in self.announcements.keys() {
            let Some(one) = self.announcements.get(nth) else { continue };
            let (registration, hop) = (one.registration, one.publisher.hop());
            let registered = self.registered(registration);
            let due = one.dirty && !one.left && (one.publisher.is_free(now.mono) || hop.is_none());
            let document = due.then(|| self.presence_of(one, now)).flatten();
            let Some(one) = self.announcements.get_mut(nth) else { continue };
            if let Some((_, route, _)) = &registered {
                one.publisher.set_route(route);
            }
            match registered {
                Some((to, _, login)) if hop != Some(to) => one.publisher.on_flow_up(to, login, now.mono),
                None if hop.is_some() && !one.publisher.is_leaving() => one.publisher.on_flow_down(),
                _ => {}
            }
            if let Some(document) = document {
                one.publisher.publish(document.into());
                one.dirty = false;
            }
            one.publisher.on_deadline(&mut self.transactions, User::Publish(nth), now.mono);
        }
    }

    pub(super) fn on_publish_response(&mut self, nth: usize, response: &Message<'_>, now: Now) {
        if let Some(one) = self.announcements.get_mut(nth) {
            one.publisher.on_response(response, &mut self.transactions, User::Publish(nth), now.mono);
        }
    }

    pub(super) fn on_publish_timeout(&mut self, nth: usize, now: Now) {
        if let Some(one) = self.announcements.get_mut(nth) {
            one.publisher.on_timeout(now.mono);
        }
    }

    pub(super) fn leave_announcements(&mut self) {
        self.announcements.values_mut().for_each(|one| one.publisher.leave());
    }

    pub(super) fn publication_status(&self, now: Now) -> Vec<ElsewhereStatus> {
        let left = |at: Instant| at.saturating_duration_since(now.mono).as_secs();
        let status = |one: &Announcement| {
            let (state, words) = match one.publisher.standing() {
                Standing::Idle => ("waiting", "not registered there".to_owned()),
                Standing::Trying => ("trying", "asked, no answer yet".to_owned()),
                Standing::Published(until) => ("published", format!("good for {} s", left(*until))),
                Standing::Failed { why, again } => {
                    ("failed", format!("{why}; trying again in {} s", left(*again)))
                }
            };
            ElsewhereStatus {
                device: self.announced(one).map(|device| self.device_id(device)).unwrap_or_default(),
                address: one.publisher.address().to_owned(),
                state,
                words,
            }
        };
        self.announcements.values().filter(|one| !one.left).map(status).collect()
    }

    /// The flow, the service route and the login of a registration that stands.
    fn registered(&self, key: usize) -> Option<(Hop, Vec<String>, Login)> {
        let registration = self.registrations.get(self.serving(key)).filter(|it| it.stands())?;
        let hop = registration.hop()?;
        Some((hop, registration.service_route().to_vec(), login_of(registration)))
    }

    /// The appliance behind an account, by the configuration in force.
    fn announced(&self, one: &Announcement) -> Option<DeviceId> {
        let upstream = self.upstreams.get(one.upstream)?;
        let account = self.registrations_at(one.upstream).iter().position(|key| *key == one.registration)?;
        upstream.settings.accounts.get(account)?.device
    }

    fn presence_of(&self, one: &Announcement, now: Now) -> Option<String> {
        let device = self.house.device(self.announced(one)?)?;
        let address = one.publisher.address();
        // What is cut off, or for the home alone, is as good as dead there.
        let masked = (!event::is_there(device, true)).then(|| device.masked(self.run.began_ms));
        let device = masked.as_ref().unwrap_or(device);
        // Who may see it is the server's choice.
        let members = [Member { device, visible: if masked.is_some() { 0 } else { u128::MAX } }];
        let view = View {
            title: device.name(),
            id: device.id(),
            entity: address,
            ..View::of(&members, &self.config.house.domain, now)
        };
        Some(package()?.document(&view))
    }
}

/// What a registration logs in with, for its own realm.
pub(super) fn login_of(registration: &Registration) -> Login {
    let identity = registration.identity();
    Login {
        user: identity.auth_user.clone(),
        password: Some(identity.password.clone()),
        realm: Some(registration.realm().to_owned()),
    }
}

fn package() -> Option<&'static dyn Package> {
    PACKAGES.iter().copied().find(|package| package.name() == PACKAGE)
}

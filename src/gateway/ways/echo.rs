//! A registrar that forgets while the flow to it goes on: a question to our own address does not come back.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::gateway::announce::login_of;
use crate::gateway::request::Request;
use crate::gateway::{Gateway, Notice, Output};
use crate::sip::User;
use crate::sip::registration::Standing;
use crate::sip::wire::Message;
use crate::timer::Now;

/// Within how long everything is registered again that was forgotten, in milliseconds. That each house finds it out at a time of
/// its own spreads more than this does.
const ANEW: u64 = 4_000;

impl Gateway {
    /// One question for each registrar, whatever is registered there: it remembers all, or nothing.
    pub(in crate::gateway) fn on_echo_deadlines(&mut self, now: Now) {
        for key in self.upstreams.keys() {
            let due = self.upstreams.get(key).and_then(|upstream| upstream.echo.next_deadline());
            if due.is_none_or(|at| at > now.mono) {
                continue;
            }
            let first = self.registrations_at(key).first().map(|handle| self.serving(*handle));
            let serving = first.and_then(|at| self.registrations.get(at)).filter(|it| it.stands());
            let asks = serving.and_then(|it| {
                Some((format!("sip:{}", it.address()), it.service_route().to_vec(), login_of(it), it.hop()?))
            });
            let Some(upstream) = self.upstreams.get_mut(key) else { continue };
            match asks.filter(|_| upstream.is_in_force()) {
                Some((address, route, login, hop)) => {
                    let rng = ChaCha8Rng::from_seed(self.rng.random());
                    let asks = (address, &*route, login, hop);
                    upstream.echo.ask(asks, &mut self.transactions, User::Echo(key), rng, now.mono);
                }
                None => upstream.echo.postpone(&mut self.rng, now.mono),
            }
        }
    }

    /// A registration stands.
    pub(in crate::gateway) fn on_echo_bound(&mut self, registration: usize, now: Now) {
        let Some(Standing::Registered { until, .. }) =
            self.registrations.get(registration).map(|it| it.standing().clone())
        else {
            return;
        };
        let Some((key, _)) = self.handle_of(registration) else { return };
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.echo.on_bound(until, &mut self.rng, now.mono);
        }
    }

    /// A registrar led somebody to us, perhaps ourselves.
    pub(in crate::gateway) fn on_led_here(&mut self, request: &Request<'_, '_>, now: Now) {
        let Some(key) = self.upstream_of(request.hop).filter(|_| !request.in_dialog()) else { return };
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.echo.on_request(request.message, &mut self.rng, now.mono);
        }
    }

    pub(in crate::gateway) fn on_echo_response(&mut self, key: usize, response: &Message<'_>, now: Now) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        let Self { transactions, rng, .. } = self;
        if !upstream.echo.on_response(response, transactions, User::Echo(key), rng, now.mono) {
            return;
        }
        let (address, ways) = (upstream.settings.name.clone(), upstream.ways.clone());
        let standing = "it has forgotten what is registered there: registering anew".to_owned();
        self.outputs.push_back(Output::Tell(Notice::Registration { address, standing, good: false }));
        for way in ways {
            self.refresh(way, usize::MAX, ANEW, now);
        }
    }

    pub(in crate::gateway) fn on_echo_silence(&mut self, key: usize, now: Now) {
        if let Some(upstream) = self.upstreams.get_mut(key) {
            upstream.echo.on_silence(&mut self.rng, now.mono);
        }
    }
}

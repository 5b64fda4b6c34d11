//! What becomes of a REGISTER: the registrar's final responses.

use std::time::Duration;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::super::User;
use super::super::challenge::Refused;
use super::super::dialog::contact_uri;
use super::super::flow::backoff::retry_after;
use super::super::transaction::Transactions;
use super::super::wire::text::seconds;
use super::super::wire::{Address, Message, Name, Start};
use super::terms::Ours;
use super::{REFUSED_WAIT, Registration, SWEEPS, Standing, Terms};
use crate::timer::Now;

/// Lifetimes up to this, in seconds, are refreshed before their half.
pub(super) const SHORT: u32 = 600;
/// A shorter lifetime, in seconds, is a refusal: to keep it alive would be a flood.
const SHORTEST: u32 = 10;
/// The longest that a registrar may ask for (423), in seconds: a day.
const LONGEST: u32 = 86_400;
/// Longest reason phrase of a registrar that is shown, in characters.
const REASON: usize = 100;

impl Registration {
    /// A final response to our REGISTER.
    pub fn on_response(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        rng: &mut ChaCha8Rng,
        now: Now,
    ) {
        let Start::Response { status, reason } = response.start else { return };
        self.busy = self.busy.saturating_add(u8::from(status == 503));
        match status {
            200..300 if self.leaving => self.on_flow_down(),
            200..300 => self.registered(response, rng, now),
            300..=399 => self.moved(status, response, rng, now),
            401 | 407 => self.challenged(response, transactions, rng, now),
            423 => self.too_brief(response, transactions, rng, now),
            // First Hop Lacks Outbound Support, or a registrar that stumbles over it.
            439 | 420 if self.reg_id().is_some() => {
                self.plain = true;
                self.challenges.forget();
                self.send(transactions, None, now);
            }
            // The edge lives, and the flow behind it does not: another one is asked over at once.
            430 => {
                self.fail(said(status, reason), None, rng, now);
                self.flow_failed = true;
            }
            _ => {
                let wait = retry_after(response, rng).or((status == 403).then_some(REFUSED_WAIT));
                self.refused(said(status, reason), wait, rng, now);
            }
        }
    }

    fn registered(&mut self, response: &Message<'_>, rng: &mut ChaCha8Rng, now: Now) {
        let ours = Ours {
            contact: &self.hop.map(|hop| contact_uri(&self.identity.user, hop)).unwrap_or_default(),
            instance: &self.instance,
            reg_id: self.reg_id(),
        };
        let granted = ours.granted(response).unwrap_or(self.expires).min(self.expires);
        if granted < SHORTEST {
            let why = format!("the registrar grants {granted} s, which is no registration");
            return self.refused(why, None, rng, now);
        }
        self.terms = Terms::of(response, &ours);
        // Under RFC 5626 the registrar itself replaces the binding of a flow by that of the next.
        self.strays = match self.terms.outbound || self.swept >= SWEEPS {
            true => Vec::new(),
            false => ours.strays(response),
        };
        let since = *self.since.get_or_insert(now.mono);
        self.backoff.works();
        self.hurried = false;
        (self.stood, self.busy) = (true, 0);
        self.challenges.forget();
        let until = now.mono + Duration::from_secs(u64::from(granted));
        self.gruus.bound(until, now.mono);
        self.standing = Standing::Registered { since, until };
        // A registrar that restarts forgets us: a short lifetime is one that wants this seen soon.
        let share = if granted <= SHORT { rng.random_range(0.4..0.5) } else { rng.random_range(0.5..0.9) };
        let rest =
            if self.strays.is_empty() { f64::from(granted) * share } else { rng.random_range(0.5..2.0) };
        self.wake = Some(now.mono + Duration::from_secs_f64(rest));
    }

    fn challenged(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        rng: &mut ChaCha8Rng,
        now: Now,
    ) {
        let why = match self.challenges.on_challenge(response) {
            Ok(()) => {
                self.realm = self.challenges.realm().map(ToOwned::to_owned);
                let uri = format!("sip:{}", self.identity.domain);
                let proofs = self.challenges.fields("REGISTER", &uri, rng);
                return self.send(transactions, Some(&proofs), now);
            }
            Err(Refused::Unsupported) => {
                "the registrar asks for a kind of login that is not supported".to_owned()
            }
            Err(_) => {
                let user = shown(self.identity.auth_user.as_bytes());
                format!("the registrar refuses the password of `{user}`: is it right in the home file?")
            }
        };
        self.refused(why, Some(REFUSED_WAIT), rng, now);
    }

    fn too_brief(
        &mut self,
        response: &Message<'_>,
        transactions: &mut Transactions<User>,
        rng: &mut ChaCha8Rng,
        now: Now,
    ) {
        match response.first(Name::MinExpires).and_then(seconds) {
            Some(least) if least > LONGEST => {
                let why = format!("the registrar wants registrations of {least} s, which is more than a day");
                self.refused(why, Some(REFUSED_WAIT), rng, now);
            }
            Some(least) if least > self.expires && !self.lengthened => {
                self.lengthened = true;
                self.expires = least;
                self.challenges.forget();
                self.send(transactions, None, now);
            }
            Some(least) if least > self.expires => {
                let why = format!("423 again and again: the registrar wants {least} s now");
                self.refused(why, None, rng, now);
            }
            _ => self.refused("423 without a longer Min-Expires".to_owned(), None, rng, now),
        }
    }

    /// The registrar sends us elsewhere. A password does not follow: who the registrar is stands in the home file.
    fn moved(&mut self, status: u16, response: &Message<'_>, rng: &mut ChaCha8Rng, now: Now) {
        let to = response.list(Name::Contact).next().and_then(|value| Address::parse(value).ok());
        let to = to.map(|to| shown(to.uri.raw.as_bytes())).unwrap_or_default();
        let why =
            format!("the registrar sends us elsewhere ({status}, {to}): ask the provider for its server");
        self.refused(why, Some(REFUSED_WAIT), rng, now);
    }
}

/// A refusal in words, and what helps.
fn said(status: u16, reason: &[u8]) -> String {
    let advice = match status {
        403 => ": is this account allowed to register there?",
        404 | 604 => ": it does not know this address",
        _ => "",
    };
    format!("{status} {}{advice}", shown(reason))
}

/// Words of a stranger that are printed on terminals.
fn shown(words: &[u8]) -> String {
    String::from_utf8_lossy(words).chars().filter(|c| !c.is_control()).take(REASON).collect()
}

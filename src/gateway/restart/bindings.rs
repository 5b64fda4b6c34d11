//! Where phones at home are. Those that come by datagrams are reachable after a restart as before; a
//! connection is gone with the process, and its phone comes back by itself.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::pack::{Pack, Unpack};
use super::records::Path;
use super::resume::NOWHERE;
use crate::gateway::{Gateway, Haste, Output};
use crate::sip::notifier::LAZY;
use crate::sip::registrar::{self, Binding};
use crate::sip::{FlowId, Hop, Transport};
use crate::timer::Now;

/// The first letter of the records of a user's bindings.
const BINDINGS: u8 = b'b';

/// What is on record of the bindings of somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Noted {
    /// Of what they say besides their time.
    hash: u64,
    at: Instant,
}

fn key(user: &str) -> Bytes {
    [&[BINDINGS][..], user.as_bytes()].concat().into()
}

/// The user of a record of bindings.
pub(super) fn user_of(key: &[u8]) -> Option<&str> {
    key.strip_prefix(&[BINDINGS]).and_then(|user| std::str::from_utf8(user).ok())
}

impl Gateway {
    /// A REGISTER was accepted. One that says nothing new, as most do, is put on record now and then.
    pub(in crate::gateway) fn record_bindings(&mut self, user: &str, now: Now) {
        if !self.restart.is_on() {
            return;
        }
        let datagrams = |binding: &&Binding| binding.hop.transport == Transport::Udp;
        let bindings: Vec<&Binding> = self.registrar.reach(user, now).filter(datagrams).collect();
        let mut hasher = DefaultHasher::new();
        for binding in &bindings {
            (&binding.contact, &binding.params, binding.hop).hash(&mut hasher);
        }
        let noted = Noted { hash: hasher.finish(), at: now.mono };
        let before = self.restart.bindings.get(user);
        let same = before.is_some_and(|before| before.hash == noted.hash);
        let fresh = before.is_some_and(|before| now.mono.saturating_duration_since(before.at) < LAZY);
        if same && fresh || before.is_none() && bindings.is_empty() {
            return;
        }
        let body = (!bindings.is_empty()).then(|| pack(&bindings, now).into());
        match &body {
            Some(_) => drop(self.restart.bindings.insert(user.to_owned(), noted)),
            None => drop(self.restart.bindings.remove(user)),
        }
        let haste = if same { Haste::Idle } else { Haste::Soon };
        self.outputs.push_back(Output::Record { key: key(user), body, haste });
    }

    /// Takes back the bindings of a user; how many there are.
    pub(super) fn restore_bindings(
        &mut self,
        user: &str,
        body: &[u8],
        sockets: &[(FlowId, SocketAddr)],
        now: Now,
    ) -> usize {
        let known = self.config.users.iter().any(|known| known.name == user);
        let mut from = Unpack(body);
        let mut count = 0;
        while let Some((binding, path)) = Some(&mut from).filter(|_| known).and_then(|from| unpack(from, now))
        {
            let hop = self.way_again(&path, sockets).map(|(hop, _)| hop);
            let hop = hop.filter(|hop| hop.flow != NOWHERE && binding.expires > now.mono);
            if let Some(hop) = hop {
                self.registrar.restore(user, Binding { hop, ..binding });
                count += 1;
            }
        }
        match count {
            0 => self.forget(key(user)),
            _ => {
                // Whatever the next REGISTER says, it is put on record.
                self.restart.bindings.insert(user.to_owned(), Noted { hash: 0, at: now.mono });
                self.compose_named(user, now);
            }
        }
        count
    }
}

fn pack(bindings: &[&Binding], now: Now) -> Vec<u8> {
    let one = |pack: Pack, binding: &&Binding| {
        let Hop { transport, local, peer, .. } = binding.hop;
        let left = binding.expires.saturating_duration_since(now.mono).as_secs();
        let pack = pack.number(now.wall_ms.cast_unsigned()).number(left).number(binding.cseq.into());
        let texts = [&binding.contact, &binding.params];
        let pack = texts.into_iter().fold(pack, |pack, text| pack.bytes(text.as_bytes()));
        let may_lack = [&binding.instance, &binding.methods];
        let pack = may_lack
            .into_iter()
            .fold(pack, |pack, text| pack.bytes(text.as_deref().unwrap_or_default().as_bytes()));
        Path { transport, local, peer, upstream: "" }.pack(pack.bytes(&binding.call_id))
    };
    bindings.iter().fold(Pack::default(), one).done()
}

fn unpack<'a>(from: &mut Unpack<'a>, now: Now) -> Option<(Binding, Path<'a>)> {
    let at_ms = from.number()?.cast_signed();
    let (left, cseq) = (from.number()?, u32::try_from(from.number()?).ok()?);
    let (contact, params) = (from.text()?.to_owned(), from.text()?.to_owned());
    let may_lack = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (instance, methods) = (may_lack(from.text()?), may_lack(from.text()?));
    let call_id = from.bytes()?.to_vec();
    let path = Path::unpack(from)?;
    // As with subscriptions: the record may lag behind, and the clock is not believed too much.
    let passed = Duration::from_millis(now.wall_ms.saturating_sub(at_ms).max(0).unsigned_abs());
    let left = (Duration::from_secs(left.min(registrar::LONGEST.into())) + LAZY).saturating_sub(passed);
    let hop = Hop { flow: NOWHERE, transport: path.transport, local: path.local, peer: path.peer };
    let expires = now.mono + left;
    Some((Binding { contact, params, instance, methods, hop, expires, call_id, cseq }, path))
}

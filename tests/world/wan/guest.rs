//! Somebody far away who watches and switches the plug of the first home, through the provider's edges: they pass on what
//! he says, and vouch for him.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use sipliance::sip::Transport;
use sipliance::sip::wire::Message;

use super::provider::{Binding, Health};
use super::{Event, LAG, Wan};
use crate::phone::Phone;

/// How long he wants to be told, in seconds.
const EXPIRES: u32 = 3600;
/// Before he tries again what nobody answered.
const AGAIN: Duration = Duration::from_secs(15);
/// Requests of a home whose answers may still come.
const OPEN: usize = 64;

pub struct Guest {
    pub phone: Phone,
    /// Which requests came over which flow: their branch, the edge, its name there.
    back: VecDeque<(String, usize, SocketAddr, Transport)>,
    /// Which way his requests took, by their branch: one that comes again takes the same (RFC 3261 §16.11).
    ways: VecDeque<(String, Binding)>,
    /// A SUBSCRIBE that is under way.
    asking: Option<usize>,
    /// When the next one is due.
    next: Duration,
    /// What he was told last, of the plug's power.
    pub told: Option<bool>,
    /// When he has to do something.
    due: Option<Duration>,
    /// How often he had to begin anew.
    pub subscriptions: u32,
}

impl Wan {
    /// He comes, and subscribes.
    pub fn invite(&mut self) {
        let (here, there) = ("203.0.113.9:5060".parse().unwrap(), self.provider.edges[0].address);
        let mut phone = Phone::new(self.rng.random(), "carla", here, there, self.epoch);
        phone.speaks_for = Some("sip:carla@provider.example".to_owned());
        self.guest = Some(Guest {
            phone,
            back: VecDeque::new(),
            ways: VecDeque::new(),
            asking: None,
            next: self.now,
            told: None,
            due: Some(self.now),
            subscriptions: 0,
        });
    }

    pub(super) fn guest_due(&self) -> Option<Duration> {
        self.guest.as_ref()?.due
    }

    /// He does something.
    pub fn as_guest<T>(&mut self, act: impl FnOnce(&mut Phone, std::time::Instant) -> T) -> T {
        let now = self.epoch + self.now;
        let result = act(&mut self.guest.as_mut().expect("a guest").phone, now);
        self.drain_guest();
        result
    }

    pub(super) fn on_guest_deadline(&mut self) {
        let now = self.now;
        self.as_guest(|phone, now| phone.on_deadlines(now));
        let Some(guest) = &mut self.guest else { return };
        if let Some(op) = guest.asking {
            if !guest.phone.ops[op].over {
                return self.drain_guest();
            }
            guest.asking = None;
            let status = guest.phone.ops[op].status();
            guest.next = match status {
                200 => now + Duration::from_secs(u64::from(EXPIRES / 2)),
                _ => now + AGAIN,
            };
            if !matches!(status, 200 | 408) {
                guest.phone.subs.clear();
                guest.told = None;
            }
        }
        if guest.phone.subs.last().is_some_and(|sub| sub.terminated) {
            guest.phone.subs.clear();
            guest.told = None;
            guest.next = guest.next.min(now + AGAIN);
        }
        if guest.asking.is_none() && guest.next <= now {
            let goes_on = !guest.phone.subs.is_empty();
            guest.subscriptions += u32::from(!goes_on);
            let op = self.as_guest(|phone, now| match goes_on {
                true => phone.refresh(0, EXPIRES, now),
                false => phone.subscribe("plug", "appliance", EXPIRES, now),
            });
            self.guest.as_mut().expect("a guest").asking = Some(op);
        }
        self.drain_guest();
    }

    fn drain_guest(&mut self) {
        let Some(mut guest) = self.guest.take() else { return };
        while let Some(transmit) = guest.phone.transactions.poll_transmit() {
            let again = transmit.bytes.starts_with(b"SIP/2.0");
            if let Some(wait) = self.guest_leg(again) {
                self.push(wait, Event::FromGuest { bytes: transmit.bytes });
            }
        }
        if let Some(newest) = guest.phone.subs.last_mut().and_then(|sub| sub.notifies.pop()) {
            let says = |on: bool| newest.body.contains(&format!("\"n\":\"power\",\"vb\":{on}"));
            guest.told = [true, false].into_iter().find(|on| says(*on));
        }
        guest.phone.asked.clear();
        let phone = guest.phone.next_deadline().map(|at| at - self.epoch);
        let over = guest.asking.is_some_and(|op| guest.phone.ops[op].over);
        let ended = guest.asking.is_none() && guest.phone.subs.last().is_some_and(|sub| sub.terminated);
        let next = match guest.asking {
            _ if over => Some(self.now),
            Some(_) => None,
            None if ended && guest.next > self.now + AGAIN => Some(self.now),
            None => Some(guest.next),
        };
        guest.due = [phone, next].into_iter().flatten().min();
        self.guest = Some(guest);
    }

    /// What he said reaches the provider.
    pub(super) fn guest_said(&mut self, bytes: &Bytes) {
        let message = Message::parse(bytes).expect("a phone sends messages");
        let branch = message.via().unwrap().branch().unwrap().to_owned();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let Some((_, uri)) = message.request() else {
            let guest = self.guest.as_ref().expect("a guest");
            let found = guest.back.iter().rfind(|(of, ..)| *of == branch).cloned();
            if let Some((_, edge, to, transport)) = found {
                self.deliver(edge, to, transport, without_via(&text).into());
            }
            return;
        };
        self.note(0, 0, true, "the guest says:");
        self.note_packet(0, 0, true, bytes);
        let Some(way) = self.way_of(&branch) else { return };
        let edge = &self.provider.edges[way.edge];
        let (via, address, host) = (way.transport.via(), edge.address, &edge.host);
        let (first, rest) = text.split_once("\r\n").unwrap();
        let first = match uri.contains("@home.example") {
            true => first.replacen(uri, &way.contact, 1),
            false => first.to_owned(),
        };
        let text = format!(
            "{first}\r\nVia: SIP/2.0/{via} {address};branch={branch}p\r\nRecord-Route: <sip:token@{host};lr;ob>\r\n\
             P-Asserted-Identity: <sip:carla@provider.example>\r\n{rest}"
        );
        self.deliver(way.edge, way.source, way.transport, text.into());
    }

    fn way_of(&mut self, branch: &str) -> Option<Binding> {
        let ways = |wan: &Self| {
            wan.guest.as_ref().and_then(|it| it.ways.iter().rfind(|(of, _)| of == branch).cloned())
        };
        if let Some((_, way)) = ways(self) {
            return Some(way);
        }
        let way = self.way_to_plug()?;
        let guest = self.guest.as_mut()?;
        guest.ways.push_back((branch.to_owned(), way.clone()));
        if guest.ways.len() > OPEN {
            guest.ways.pop_front();
        }
        Some(way)
    }

    /// Of the ways that the provider takes for good, the newest.
    fn way_to_plug(&self) -> Option<Binding> {
        let ways = self.provider.ways_to(0, "101", self.now);
        let good = |way: &&Binding| {
            let edge = &self.provider.edges[way.edge];
            let there = match way.transport {
                Transport::Udp => true,
                Transport::Quic => self.is_there(way.edge, way.source),
                _ => edge.connections.contains_key(&way.source),
            };
            edge.health == Health::Up && there
        };
        ways.iter().rfind(good).cloned()
    }

    /// What a home says to him, as it came to an edge.
    pub(super) fn tell_guest(&mut self, edge: usize, from: SocketAddr, transport: Transport, bytes: &Bytes) {
        let message = Message::parse(bytes).expect("the gateway sends messages");
        let branch = message.via().unwrap().branch().unwrap().to_owned();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let Some(guest) = &mut self.guest else { return };
        let text = match message.request() {
            None => without_via(&text),
            Some(_) => {
                let (first, rest) = text.split_once("\r\n").unwrap();
                let branch = format!("{branch}b");
                let address = self.provider.edges[edge].address;
                let text = format!("{first}\r\nVia: SIP/2.0/UDP {address};branch={branch}\r\n{rest}");
                guest.back.push_back((branch, edge, from, transport));
                if guest.back.len() > OPEN {
                    guest.back.pop_front();
                }
                text
            }
        };
        let again = !text.starts_with("SIP/2.0");
        if let Some(wait) = self.guest_leg(again) {
            self.push(wait, Event::GuestHears { bytes: text.into() });
        }
    }

    /// How long a datagram takes between the provider and him. The provider sends requests for him again, until they are
    /// answered; his own are his to repeat.
    fn guest_leg(&mut self, again: bool) -> Option<Duration> {
        match (self.rng.random_bool(self.loss), again) {
            (false, _) => Some(LAG),
            (true, true) => Some(LAG + Duration::from_millis(500)),
            (true, false) => None,
        }
    }

    pub(super) fn guest_hears(&mut self, bytes: &Bytes) {
        self.note(0, 0, false, "the guest hears:");
        self.note_packet(0, 0, false, bytes);
        self.as_guest(|phone, now| phone.receive(bytes, now));
    }
}

/// A response on its way back.
fn without_via(text: &str) -> String {
    let (first, rest) = text.split_once("\r\n").unwrap();
    let (via, rest) = rest.split_once("\r\n").unwrap();
    assert!(via.starts_with("Via: "), "{text}");
    format!("{first}\r\n{rest}")
}

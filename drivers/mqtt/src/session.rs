//! One connection's life after login: bytes and time in, bytes and events out. No socket here.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rumqttc::{
    Event as Trace, MqttState, Packet, PingReq, PubAck, Publish, QoS, Request, SubAck, Subscribe,
    SubscribeFilter, SubscribeReasonCode,
};
use sipliance_driver::{Channel, Event, Failure, OpId, Outbox, Why};
use tokio::time::Instant;

use crate::packets::{MAX_PACKET, Next, Oversized, Packets};
use crate::rivals::Ending;
use crate::topic::check_topic;

/// How many writes may wait for their PUBACK; one more is answered `Busy`.
pub(crate) const MAX_IN_FLIGHT: u16 = 32;

/// How long the broker may take to acknowledge anything.
pub(crate) const ACK_PATIENCE: Duration = Duration::from_secs(5);

/// What a broker said so long ago proves that it lives. Otherwise it is asked before a command is sent: one
/// that hangs keeps what it is sent, and would hand it on when it goes on, an hour later.
const FRESH: Duration = Duration::from_millis(250);

/// How long a command waits for the answer to that; then it was not sent.
const HELD: Duration = Duration::from_secs(3);

/// How many of these places publications may take: commands always find one.
const MAX_TOLD: usize = 16;

/// After this much silence in either direction the broker is pinged (keep-alive is 30 s).
pub(crate) const QUIET: Duration = Duration::from_secs(24);

/// How many bytes may wait for the socket; beyond, writes are `Busy` and reading pauses.
const MAX_OUT: usize = MAX_PACKET;

/// Filters per SUBSCRIBE packet.
const FILTERS: usize = 64;

/// How many topics with retained payloads may arrive before the link is up; then the oldest gives way.
const MAX_EARLY: usize = 256;

/// SUBSCRIBE packets are numbered from here, apart from the PUBLISH packets.
const FIRST_SUBSCRIBE: u16 = 1024;

/// What a broker was asked and has not answered.
#[derive(Debug)]
struct Subscribing {
    pkid: u16,
    channels: Vec<Channel>,
    since: Instant,
    /// Part of the watches that must stand before the link is up.
    initial: bool,
}

/// Something published that waits for its PUBACK.
#[derive(Clone, Copy, Debug)]
struct Flight {
    /// Who asked; `None`: our own status.
    id: Option<OpId>,
    since: Instant,
    /// What is, rather than a command.
    told: bool,
}

/// A command that was not sent yet.
#[derive(Debug)]
struct Held {
    id: OpId,
    channel: Channel,
    payload: Bytes,
    since: Instant,
}

pub(crate) struct Session {
    broker: String,
    state: MqttState,
    /// Bytes from the socket.
    pub packets: Packets,
    /// Bytes to the socket.
    pub out: BytesMut,
    in_flight: HashMap<u16, Flight>,
    /// Commands that wait until the broker shows that it lives, as many as may be in flight.
    held: VecDeque<Held>,
    /// Where the gateway says that it lives.
    status_topic: Option<String>,
    /// How the connection ended, as far as that tells of a rival.
    pub ending: Ending,
    subscribing: VecDeque<Subscribing>,
    next_subscribe: u16,
    up: bool,
    /// Retained payloads may overtake the SUBACK (MQTT 3.1.1 §3.8.4); they are told after `Up`.
    early: VecDeque<Event>,
    heard: Instant,
    spoke: Instant,
    pinged: Option<Instant>,
    oversized: Option<String>,
}

impl Session {
    /// Begins: asks for every watch again.
    pub fn new(
        broker: String,
        packets: Packets,
        watches: &[Channel],
        status_topic: Option<String>,
        now: Instant,
    ) -> Self {
        let mut session = Self {
            broker,
            state: MqttState::new(MAX_IN_FLIGHT, false),
            packets,
            out: BytesMut::new(),
            in_flight: HashMap::new(),
            held: VecDeque::new(),
            status_topic,
            ending: Ending::default(),
            subscribing: VecDeque::new(),
            next_subscribe: FIRST_SUBSCRIBE,
            up: false,
            early: VecDeque::new(),
            heard: now,
            spoke: now,
            pinged: None,
            oversized: None,
        };
        for some in watches.chunks(FILTERS) {
            session.subscribe(some.to_vec(), true, now);
        }
        session
    }

    /// Whether the socket should be read: not while the broker takes nothing back.
    pub fn wants_bytes(&self) -> bool {
        self.out.len() < MAX_OUT
    }

    /// Watches one more filter.
    pub fn watch(&mut self, channel: Channel, now: Instant) {
        self.subscribe(vec![channel], !self.up, now);
    }

    /// Publishes once, QoS 1, never retained, as soon as the broker is known to live. The PUBACK becomes the
    /// op's `Done`.
    pub fn write(&mut self, id: OpId, channel: &Channel, payload: Bytes, now: Instant, outbox: &mut Outbox) {
        if self.held.is_empty() && now.duration_since(self.heard) < FRESH {
            return self.send(id, channel, payload, now, outbox);
        }
        if self.held.len() >= usize::from(MAX_IN_FLIGHT) {
            return outbox.done(id, Err(Failure::Busy));
        }
        self.held.push_back(Held { id, channel: channel.clone(), payload, since: now });
        if self.pinged.is_none()
            && let Err(why) = self.ping(now)
        {
            tracing::warn!("{why}");
        }
    }

    /// The broker lives: what waited for that is sent.
    fn release(&mut self, now: Instant, outbox: &mut Outbox) {
        while let Some(Held { id, channel, payload, since }) = self.held.pop_front() {
            match now.duration_since(since) < HELD {
                true => self.send(id, &channel, payload, now, outbox),
                false => outbox.done(id, Err(Failure::NotConnected)),
            }
        }
    }

    fn send(&mut self, id: OpId, channel: &Channel, payload: Bytes, now: Instant, outbox: &mut Outbox) {
        match self.publish(channel, payload, false) {
            Ok(pkid) => self.fly(pkid, Flight { id: Some(id), since: now, told: false }),
            Err(failure) => outbox.done(id, Err(failure)),
        }
    }

    /// Publishes what is, QoS 1, retained where that is wanted. The PUBACK becomes the op's `Done`.
    pub fn tell(
        &mut self,
        id: OpId,
        channel: &Channel,
        payload: Bytes,
        retained: bool,
        now: Instant,
        outbox: &mut Outbox,
    ) {
        let told = self.in_flight.values().filter(|flight| flight.told).count();
        let published = match told < MAX_TOLD {
            true => self.publish(channel, payload, retained),
            false => Err(Failure::Busy),
        };
        match published {
            Ok(pkid) => self.fly(pkid, Flight { id: Some(id), since: now, told: true }),
            Err(failure) => outbox.done(id, Err(failure)),
        }
    }

    /// Tells the house that the gateway lives: after the watches, so that whoever hears it is heard.
    fn birth(&mut self, now: Instant) {
        let Some(topic) = self.status_topic.clone() else { return };
        match self.publish(&Channel::new(&topic), Bytes::from_static(b"online"), true) {
            Ok(pkid) => self.fly(pkid, Flight { id: None, since: now, told: true }),
            Err(failure) => {
                tracing::warn!(broker = self.broker, topic, "our status cannot be told: {failure}")
            }
        }
    }

    /// Takes the status back before a clean end. QoS 0: the bytes before the DISCONNECT arrive or the
    /// last will does.
    pub fn goodbye(&mut self) {
        let Some(topic) = self.status_topic.take() else { return };
        let mut publish = Publish::from_bytes(topic, QoS::AtMostOnce, Bytes::from_static(b"offline"));
        publish.retain = true;
        self.put(&Packet::Publish(publish));
    }

    fn fly(&mut self, pkid: u16, flight: Flight) {
        self.spoke = flight.since;
        self.in_flight.insert(pkid, flight);
    }

    /// Takes what the socket brought.
    ///
    /// # Errors
    /// The connection is worthless, for this reason.
    pub fn received(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Why> {
        self.heard = now;
        self.proceed(now, outbox)
    }

    /// Works through the bytes at hand, and reports `Up` when every watch stands.
    ///
    /// # Errors
    /// The broker does not keep to MQTT.
    pub fn proceed(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Why> {
        loop {
            if !self.up && !self.subscribing.iter().any(|s| s.initial) {
                self.up = true;
                self.birth(now);
                outbox.push(Event::Up);
                self.early.drain(..).for_each(|event| outbox.push(event));
            }
            match self.packets.next() {
                Ok(Next::Packet(packet)) => self.packet(packet, now, outbox)?,
                Ok(Next::Skipped(oversized)) => self.skipped(&oversized),
                Ok(Next::Refused(pkid, why)) => {
                    match self.in_flight.remove(&pkid) {
                        Some(Flight { id: Some(id), .. }) => {
                            outbox.done(id, Err(Failure::Refused(why.to_owned())));
                        }
                        Some(_) => tracing::warn!(broker = self.broker, "our status cannot be told: {why}"),
                        None => {}
                    }
                    self.packet(Packet::PubAck(PubAck::new(pkid)), now, outbox)?;
                }
                Ok(Next::Bye(why)) => {
                    return Err(Why(format!("broker {}: it ended the connection ({why})", self.broker)));
                }
                Ok(Next::Taken) => {
                    self.ending = Ending::Taken;
                    return Err(Why(format!("broker {}: another client came with our id", self.broker)));
                }
                Ok(Next::Starved) => return Ok(()),
                Err(error) => return Err(self.nonsense(&error)),
            }
        }
    }

    /// When [`Session::tick`] has something to do.
    pub fn deadline(&self) -> Instant {
        let acks = self.in_flight.values().map(|flight| flight.since);
        let subscribes = self.subscribing.iter().map(|s| s.since);
        let due = acks.chain(subscribes).chain(self.pinged).min().map(|since| since + ACK_PATIENCE);
        let ping = self.heard.min(self.spoke) + QUIET;
        let next = match (due, self.pinged) {
            (Some(due), Some(_)) => due,
            (Some(due), None) => due.min(ping),
            (None, _) => ping,
        };
        self.held.front().map_or(next, |held| next.min(held.since + HELD))
    }

    /// Pings a quiet broker, gives up a silent one.
    ///
    /// # Errors
    /// The broker took too long over something.
    pub fn tick(&mut self, now: Instant, outbox: &mut Outbox) -> Result<(), Why> {
        while self.held.front().is_some_and(|held| now.duration_since(held.since) >= HELD) {
            if let Some(held) = self.held.pop_front() {
                outbox.done(held.id, Err(Failure::NotConnected));
            }
        }
        let late = |since: Instant| now.duration_since(since) >= ACK_PATIENCE;
        let expired: Vec<u16> =
            self.in_flight.iter().filter(|(_, flight)| late(flight.since)).map(|(pkid, _)| *pkid).collect();
        for pkid in &expired {
            if let Some(id) = self.in_flight.remove(pkid).and_then(|flight| flight.id) {
                outbox.done(id, Err(Failure::Timeout));
            }
        }
        let silent = !expired.is_empty()
            || self.subscribing.iter().any(|s| late(s.since))
            || self.pinged.is_some_and(late);
        if silent {
            let secs = ACK_PATIENCE.as_secs();
            return Err(Why(format!(
                "broker {}: connected, but no answer in {secs} s – is it overloaded or stopped?",
                self.broker
            )));
        }
        if self.pinged.is_none() && now.duration_since(self.heard.min(self.spoke)) >= QUIET {
            self.ping(now)?;
        }
        Ok(())
    }

    /// The connection is over: whatever was under way has an unknown fate.
    pub fn fail(&mut self, outbox: &mut Outbox) {
        for held in self.held.drain(..) {
            outbox.done(held.id, Err(Failure::NotConnected));
        }
        for id in self.in_flight.drain().filter_map(|(_, flight)| flight.id) {
            outbox.done(id, Err(Failure::Broken));
        }
    }

    fn subscribe(&mut self, channels: Vec<Channel>, initial: bool, now: Instant) {
        let pkid = self.next_subscribe;
        self.next_subscribe = pkid.checked_add(1).unwrap_or(FIRST_SUBSCRIBE);
        let filters = channels.iter().map(|c| SubscribeFilter::new(c.as_str().to_owned(), QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = pkid;
        self.put(&Packet::Subscribe(subscribe));
        self.spoke = now;
        self.subscribing.push_back(Subscribing { pkid, channels, since: now, initial });
    }

    fn publish(&mut self, channel: &Channel, payload: Bytes, retain: bool) -> Result<u16, Failure> {
        check_topic(channel.as_str()).map_err(Failure::Refused)?;
        if payload.len() + channel.as_str().len() > MAX_PACKET - 16 {
            return Err(Failure::Refused(format!(
                "{} bytes are more than one message may carry",
                payload.len()
            )));
        }
        let free = (1..=MAX_IN_FLIGHT).find(|pkid| !self.in_flight.contains_key(pkid));
        let pkid = free.filter(|_| self.out.len() < MAX_OUT).ok_or(Failure::Busy)?;
        let mut publish = Publish::from_bytes(channel.as_str(), QoS::AtLeastOnce, payload);
        (publish.pkid, publish.retain) = (pkid, retain);
        let packet = self.state.handle_outgoing_packet(Request::Publish(publish));
        self.state.events.clear();
        match packet {
            Ok(Some(packet)) => {
                self.put(&packet);
                Ok(pkid)
            }
            Ok(None) | Err(_) => Err(Failure::Busy),
        }
    }

    fn ping(&mut self, now: Instant) -> Result<(), Why> {
        let packet = self.state.handle_outgoing_packet(Request::PingReq(PingReq));
        self.state.events.clear();
        let packet = packet.map_err(|error| self.nonsense(&error))?;
        packet.iter().for_each(|p| self.put(p));
        self.spoke = now;
        self.pinged = Some(now);
        Ok(())
    }

    fn packet(&mut self, packet: Packet, now: Instant, outbox: &mut Outbox) -> Result<(), Why> {
        let answer = self.state.handle_incoming_packet(packet);
        if let Some(answer) = answer.map_err(|error| self.nonsense(&error))? {
            self.put(&answer);
            self.spoke = now;
        }
        while let Some(trace) = self.state.events.pop_front() {
            match trace {
                Trace::Incoming(Packet::Publish(publish)) => self.published(&publish, outbox),
                Trace::Incoming(Packet::PubAck(ack)) => self.acknowledged(ack, outbox),
                Trace::Incoming(Packet::SubAck(ack)) => self.subscribed(&ack, outbox),
                Trace::Incoming(Packet::PingResp) => {
                    self.pinged = None;
                    self.release(now, outbox);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn published(&mut self, publish: &Publish, outbox: &mut Outbox) {
        // Copied: a slice of the receive buffer would keep all of it in memory.
        let payload = Bytes::copy_from_slice(&publish.payload);
        let channel = Channel::new(&publish.topic);
        if !self.up {
            let same = |old: &Event| matches!(old, Event::Read { channel: old, .. } if *old == channel);
            self.early.retain(|old| !same(old));
            if self.early.len() == MAX_EARLY {
                self.early.pop_front();
            }
        }
        let event = Event::Read { channel, payload, retained: publish.retain };
        match self.up {
            true => outbox.push(event),
            false => self.early.push_back(event),
        }
    }

    fn acknowledged(&mut self, ack: PubAck, outbox: &mut Outbox) {
        if let Some(id) = self.in_flight.remove(&ack.pkid).and_then(|flight| flight.id) {
            outbox.done(id, Ok(()));
        }
    }

    fn subscribed(&mut self, ack: &SubAck, outbox: &mut Outbox) {
        let Some(at) = self.subscribing.iter().position(|s| s.pkid == ack.pkid) else { return };
        let Some(asked) = self.subscribing.remove(at) else { return };
        for (n, channel) in asked.channels.into_iter().enumerate() {
            if matches!(ack.return_codes.get(n), Some(SubscribeReasonCode::Success(_))) {
                continue;
            }
            let why = Why(format!(
                "broker {}: it does not let us read {channel} – check the access list of the gateway's user",
                self.broker
            ));
            tracing::warn!("{why}");
            outbox.push(Event::Unwatched { channel, why });
        }
    }

    fn skipped(&mut self, oversized: &Oversized) {
        if let Some(pkid) = oversized.pkid {
            self.put(&Packet::PubAck(PubAck::new(pkid)));
        }
        if self.oversized.as_ref() != Some(&oversized.topic) {
            tracing::warn!(
                broker = self.broker,
                topic = oversized.topic,
                bytes = oversized.size,
                "a message larger than {} bytes is ignored",
                self.packets.max
            );
            self.oversized = Some(oversized.topic.clone());
        }
    }

    fn put(&mut self, packet: &Packet) {
        if let Err(error) = self.packets.write(packet, &mut self.out) {
            tracing::error!(broker = self.broker, error, "a packet cannot be written");
        }
    }

    fn nonsense(&self, error: &dyn std::fmt::Display) -> Why {
        Why(format!("broker {}: it broke the rules of MQTT ({error})", self.broker))
    }
}

#[cfg(test)]
mod tests;

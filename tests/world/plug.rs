//! The far end of the broker: a plug as Tasmota speaks, which is prompt, late or silent when told to.

use std::time::Duration;

use bytes::Bytes;
use sipliance_driver::{Channel, Event, Failure, Op};

/// How the plug takes a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Mood {
    /// Switches and says so after so many milliseconds.
    Obeys(u64),
    /// The broker takes the message; nobody hears it.
    Silent,
    /// The broker does not take it.
    Fails(Failure),
    /// The driver never says what became of it.
    Lost,
}

/// One plug.
#[derive(Debug)]
pub struct Plug {
    topic: &'static str,
    pub on: bool,
    pub mood: Mood,
    /// Every command that reached it: when, and what.
    pub writes: Vec<(Duration, String)>,
}

impl Plug {
    pub fn new(topic: &'static str) -> Self {
        Self { topic, on: false, mood: Mood::Obeys(40), writes: Vec::new() }
    }

    /// What the broker says about it when the gateway connects.
    pub fn hello(&self) -> Vec<Event> {
        vec![
            Self::read(&format!("tele/{}/LWT", self.topic), "Online", true),
            Self::read(&format!("stat/{}/POWER", self.topic), self.word(), false),
        ]
    }

    pub fn read(channel: &str, payload: &str, retained: bool) -> Event {
        Event::Read {
            channel: Channel::new(channel),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            retained,
        }
    }

    fn word(&self) -> &'static str {
        if self.on { "ON" } else { "OFF" }
    }

    pub fn owns(&self, op: &Op) -> bool {
        op.channel().as_str().split('/').nth(1) == Some(self.topic)
    }

    /// Carries out an operation: what the driver will report, and when.
    pub fn perform(&mut self, op: &Op, now: Duration) -> Vec<(Duration, Event)> {
        let Op::Write { id, payload, channel } = op else { return Vec::new() };
        let (id, ms) = (*id, Duration::from_millis);
        let set = channel.as_str() == format!("cmnd/{}/POWER", self.topic) && !payload.is_empty();
        if set {
            self.writes.push((now, String::from_utf8_lossy(payload).into_owned()));
        }
        match &self.mood {
            Mood::Obeys(wait) => {
                if set {
                    self.on = &payload[..] == b"ON";
                }
                let state = Self::read(&format!("stat/{}/POWER", self.topic), self.word(), false);
                vec![(ms(10), Event::Done { id, result: Ok(()) }), (ms(10 + wait), state)]
            }
            Mood::Silent => vec![(ms(10), Event::Done { id, result: Ok(()) })],
            Mood::Fails(why) => vec![(ms(10), Event::Done { id, result: Err(why.clone()) })],
            Mood::Lost => Vec::new(),
        }
    }
}

//! What comes back from the wire itself: answers to queries, levels of lines, words of units.

use std::time::Duration;

use sipliance_driver::{Event, Failure, Op};

use super::{Mirror, Part, Plan, frame, hear, read, reads_of};
use crate::config::GpioDirection;
use crate::device::codec::compose;
use crate::device::profile::{LinkNeeds, Read, Source};

impl Mirror {
    /// The answer to a query of the profile.
    pub(super) fn asked(&self, op: &Op) -> Option<Vec<Event>> {
        let (channel, payload) = match op {
            Op::Ask { channel, payload, .. } | Op::Write { channel, payload, .. } => (channel, payload),
            Op::Watch { .. } | Op::Pulse { .. } | Op::Publish { .. } => return None,
        };
        let reads = self.parts.iter().flat_map(|part| reads_of(&part.model));
        let asks = |read: &&Read| {
            let query = read.source.query();
            query.is_some_and(|(query, _)| query.channel == *channel && query.payload == *payload)
        };
        let mut mine = reads.filter(asks).peekable();
        let first = mine.peek().map(|read| &read.source);
        match (first, op) {
            (Some(Source::Frame { .. }), Op::Ask { .. }) => {
                let frames = self.store.frame_bytes(&mine.collect::<Vec<_>>());
                Some(frames.into_iter().map(|frame| read(channel, frame, false)).collect())
            }
            (Some(source), Op::Ask { .. }) => Some(
                self.store.payload(source).map(|payload| read(channel, payload, false)).into_iter().collect(),
            ),
            _ => self.greeted(op),
        }
    }

    /// What `hello` brings: everything, or on a port a word that it is there.
    fn greeted(&self, op: &Op) -> Option<Vec<Event>> {
        for part in &self.parts {
            match (&part.model.link, op) {
                (LinkNeeds::Mqtt { hello }, Op::Write { channel, payload, .. }) => {
                    let mut greetings = hello.iter().filter_map(|write| compose(write, &[], None).ok());
                    if greetings.any(|sent| sent.channel == *channel && sent.payload == *payload) {
                        return Some(self.tell(reads_of(&part.model)));
                    }
                }
                (LinkNeeds::Serial(needs), Op::Ask { channel, payload, .. })
                    if needs.hello.contains(payload) =>
                {
                    return Some(vec![read(channel, bytes::Bytes::new(), false)]);
                }
                _ => {}
            }
        }
        None
    }

    /// What a write does to the wire itself, whatever it means: lines have levels, units have words.
    pub(super) fn moved(&mut self, op: &Op, now: Duration) -> Vec<Event> {
        let lines = self.parts.iter().find_map(|part| match &part.model.link {
            LinkNeeds::Gpio(lines) => lines.iter().find(|line| line.name == op.channel().as_str()),
            _ => None,
        });
        let Some(id) = op.id() else { return Vec::new() };
        if let Some(line) = lines {
            if !matches!(line.direction, GpioDirection::Out { .. }) {
                let why = Failure::Refused(format!("{} is an input", line.name));
                return vec![Event::Done { id, result: Err(why) }];
            }
            let active = match op {
                Op::Pulse { channel, on, .. } => {
                    self.plan(now + *on, Plan::Level(channel.clone(), false));
                    true
                }
                Op::Write { payload, .. } => *payload == "1",
                _ => return Vec::new(),
            };
            let mut events = vec![Event::Done { id, result: Ok(()) }];
            events.extend(self.level(op.channel(), active));
            return events;
        }
        let unit = |part: &Part| match &part.model.link {
            LinkNeeds::Modbus(needs) => op.channel().as_str().starts_with(&format!("{}/", needs.unit)),
            _ => false,
        };
        match op {
            Op::Write { channel, payload, .. }
                if self.parts.iter().any(unit) && self.store.written(channel, payload) =>
            {
                vec![Event::Done { id, result: Ok(()) }]
            }
            _ => Vec::new(),
        }
    }

    /// What it says to a command that has nothing else to say: the reply that means done.
    pub(super) fn reply(&self, op: &Op) -> bytes::Bytes {
        let writes = self.parts.iter().flat_map(|part| {
            let model = &part.model;
            let set =
                hear::set(model, op).and_then(|(property, _)| model.properties.get(property)?.write.as_ref());
            let step = hear::steps(model, op).next();
            set.or_else(|| model.actions.get(step?.0)?.steps.get(step?.1))
        });
        let done = writes.filter_map(|write| write.done.as_ref()).find_map(frame::example);
        done.map(|text| self.store.spelled(text)).unwrap_or_default()
    }
}

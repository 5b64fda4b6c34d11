//! The model of an appliance that hangs on another gateway: what it is there, without the wire.

use std::sync::Arc;
use std::time::Duration;

use sipliance_driver::Channel;

use super::{Action, DriverKind, LinkNeeds, Map, Model, Online, Property, Read, Source, Target};
use super::{Template, Watched, Write};
use crate::device::codec::ELSEWHERE;
use crate::device::command::ANSWER;

/// What the way to the other gateway and back may take beyond what the appliance takes there: as long
/// as a request is repeated.
const WAY: Duration = Duration::from_secs(32);

impl Model {
    /// The same appliance as another gateway tells it. Everything is read from what that gateway says
    /// and set by words to it; what it watches over itself (age of values, settling, presses of
    /// buttons) is left to it. A model that is at home elsewhere stays as it is.
    #[must_use]
    pub fn elsewhere(self) -> Self {
        if matches!(self.link, LinkNeeds::Sip(_)) {
            return self;
        }
        let mut model = Self {
            driver: DriverKind::Sip,
            link: LinkNeeds::Sip(Watched::Appliance),
            online: Online::Link,
            ..self
        };
        model.properties.iter_mut().for_each(move_property);
        model.actions.iter_mut().for_each(move_action);
        for event in &mut model.events {
            event.from = item(&event.id);
            event.clicks = None;
            event.quiet = None;
        }
        model
    }
}

impl Model {
    /// What hangs elsewhere as if it hung on a broker here: each item has a topic of its name, and
    /// words go to a topic. A model that has a wire stays as it is.
    #[must_use]
    pub fn at_hand(mut self) -> Self {
        if !matches!(self.link, LinkNeeds::Sip(_)) {
            return self;
        }
        self.driver = DriverKind::Mqtt;
        self.link = LinkNeeds::Mqtt { hello: Vec::new() };
        let reads = self.properties.iter_mut().flat_map(|of| of.reads.iter_mut().chain(&mut of.target));
        for read in reads.chain(self.events.iter_mut().map(|event| &mut event.from)) {
            if let Source::Item(name) = &read.source {
                read.source = Source::Topic { channel: Channel::new(name), pointer: None };
            }
        }
        let writes = self.properties.iter_mut().filter_map(|of| of.write.as_mut());
        for write in writes.chain(self.actions.iter_mut().flat_map(|action| &mut action.steps)) {
            if let Target::Say(words) = &write.target {
                write.target = Target::Topic(Channel::new(ELSEWHERE), words.clone());
            }
        }
        self
    }
}

fn move_property(property: &mut Property) {
    let own_line =
        matches!(property.reads.first().map(|read| &read.source), Some(Source::Line { output: Some(_), .. }));
    property.reads = vec![item(&property.id)];
    property.target = None;
    property.stale_after = None;
    property.settle = None;
    if let Some(write) = &mut property.write {
        *write = words(write, &format!("set {} <value>", property.id));
        let within = property.confirm.or(own_line.then_some(ANSWER));
        property.confirm = within.map(|within| within + WAY);
    }
}

fn move_action(action: &mut Action) {
    let maps = action.steps.iter().flat_map(|step| step.maps.clone()).collect();
    let args: String = action.args.iter().map(|arg| format!(" {0}=<{0}>", arg.id)).collect();
    let all = Write { maps, ..Write::plain(Target::Say(Template::fixed(""))) };
    action.steps = vec![words(&all, &format!("{}{args}", action.id))];
    if let Some((_, _, within)) = &mut action.expect {
        *within += WAY;
    }
}

/// Where a map says which values can be set at all, it still does.
fn words(old: &Write, text: &str) -> Write {
    let same = |map: &Map| {
        Map::new(map.values().map(|value| (Arc::from(value.plain().as_str()), value.clone())).collect())
    };
    let maps = old.maps.iter().map(|(name, map)| (name.clone(), same(map))).collect();
    let template = Template::read(text).unwrap_or_else(|_| Template::fixed(text));
    Write { maps, ..Write::plain(Target::Say(template)) }
}

fn item(name: &Arc<str>) -> Read {
    Read::plain(Source::Item(name.clone()))
}

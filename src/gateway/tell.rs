//! What the house wants and what is new there: to drivers, watchers, phones and the journal.

use std::sync::Arc;

use super::{Gateway, Notice, Output};
use crate::config::DeviceId;
use crate::config::access::Identity;
use crate::device::house::Effect;
use crate::event::{self, Subject};
use crate::sip::notifier::{Moment, Resource};
use crate::timer::Now;

/// The class of events that ring.
const BELL: &str = "doorbell";

impl Gateway {
    /// Bells that have rung long enough: the keys that blink for them stop.
    pub(super) fn on_bells(&mut self, now: Now) {
        while let Some(id) = self.ringing.end(now.mono) {
            self.stop_blinking(id, now);
        }
    }

    /// Somebody has seen to what rings: one appliance, or all with which he may do something.
    pub(super) fn silence(&mut self, only: Option<DeviceId>, who: &Identity, now: Now) {
        let access = &self.config.access;
        let may = |id: &DeviceId| {
            let device = self.house.device(*id).filter(|_| only.is_none_or(|only| only == *id));
            device.is_some_and(|device| access.may_act(who, device.id(), device.room()))
        };
        let ids: Vec<DeviceId> = self.ringing.all().filter(may).collect();
        for id in ids {
            self.ringing.stop(id);
            self.stop_blinking(id, now);
        }
    }

    fn stop_blinking(&mut self, id: DeviceId, now: Now) {
        let blinks = |_: &str, resource: Resource| event::is_dialog(resource.package);
        self.notifier.changed_for(Subject::Device(id).code(), blinks, now);
        if let Some(room) = self.rooms.of_device(id) {
            self.notifier.changed_for(Subject::Room(room).code(), blinks, now);
        }
    }

    pub(super) fn on_effect(&mut self, effect: Effect, now: Now) {
        match effect {
            Effect::Drive { link, op } => self.drive(link, op),
            Effect::Changed { device } => {
                self.tell_watchers(device, now);
                self.announce(Some(device));
                if let Some(device) = self.house.device(device) {
                    let (device, summary) = (device.id().to_owned(), device.summary(now));
                    self.outputs.push_back(Output::Tell(Notice::State { device, summary }));
                }
            }
            Effect::Happened { device, event, value } => {
                if let Some(device) = self.house.device(device) {
                    let (device, what) = (device.id().to_owned(), format!("{event} {value}"));
                    self.outputs.push_back(Output::Tell(Notice::Happened { device, what }));
                }
                self.on_moment(device, event, value, now);
            }
            Effect::Unread { device } => {
                if let Some(device) = self.house.device(device)
                    && let Some(unread) = device.unread()
                {
                    let (device, last) = (device.id().to_owned(), unread.last.clone());
                    self.outputs.push_back(Output::Tell(Notice::Unread { device, last }));
                }
            }
            Effect::Finished { command, outcome } => self.on_finished(command, &outcome, now),
        }
    }

    /// The state of an appliance is also that of its room and of the lists that it is on.
    fn tell_watchers(&mut self, id: DeviceId, now: Now) {
        let Self { notifier, config, house, rooms, custom, .. } = self;
        let Some(device) = house.device(id) else { return };
        let may_see = |who: &str, resource: Resource| {
            event::is_there(device, resource.facet & event::OUTSIDE != 0)
                && config.access.may_see(&event::identity_of(who), device.id(), device.room())
        };
        notifier.changed(Subject::Device(id).code(), now);
        notifier.changed_for(Subject::All.code(), may_see, now);
        for (index, _) in custom.iter().filter(|(_, list)| list.has(id)) {
            notifier.changed_for(Subject::Custom(index).code(), may_see, now);
        }
        if let Some(room) = rooms.of_device(id) {
            notifier.changed_for(Subject::Room(room).code(), may_see, now);
            notifier.changed_for(Subject::RoomList(room).code(), may_see, now);
        }
        for class in rooms.classes_of(id) {
            notifier.changed_for(Subject::Class(class).code(), may_see, now);
        }
    }

    fn on_moment(&mut self, id: DeviceId, event: Arc<str>, value: Arc<str>, now: Now) {
        self.hass_moment(id, &event, &value);
        let Some(device) = self.house.device(id) else { return };
        let Some((nth, of)) = device.model().events.iter().enumerate().find(|(_, of)| of.id == event) else {
            return;
        };
        let alert = self.alerts.raise(of.class.as_deref(), id, &event, &value, now.wall_ms);
        let access = &self.config.access;
        let may_hear = |who: &str, resource: Resource| {
            event::is_there(device, resource.facet & event::OUTSIDE != 0)
                && access.may_see_property(&event::identity_of(who), device.id(), device.room(), &event)
        };
        if alert.is_some() {
            self.notifier.changed_for(Subject::Alerts.code(), may_hear, now);
        }
        if of.class.as_deref() == Some(BELL) {
            self.ringing.begin(id, nth, now.mono);
            if let Some(room) = self.rooms.of_device(id) {
                let blinks = |_: &str, resource: Resource| event::is_dialog(resource.package);
                self.notifier.changed_for(Subject::Room(room).code(), blinks, now);
            }
        }
        let moment = Moment { name: event, value, at_ms: now.wall_ms };
        self.notifier.happened(Subject::Device(id).code(), event::EVENTS + nth, &moment, now);
        if let Some(alert) = alert {
            self.page_alert(alert, None, now);
        }
    }
}

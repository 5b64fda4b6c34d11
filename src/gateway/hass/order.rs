//! Commands from Home Assistant. The broker's login vouches for who it is; rights, audit, pace and end are
//! those of every other command, and how it ended is told by the state alone.

use sipliance_driver::Channel;

use super::super::Gateway;
use super::super::command::Giver;
use crate::config::access::Identity;
use crate::config::{DeviceId, Link};
use crate::device::command::Order;
use crate::device::value::shorten;
use crate::limits::HASS_PAYLOAD;
use crate::timer::Now;

/// What a command topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim<'a> {
    /// `set/<property>`
    Property(&'a str),
    /// `do`: the payload is the action.
    Action,
}

impl Gateway {
    /// Something came on a topic of the house: a command, or what an earlier run left there.
    pub(super) fn heard_below(
        &mut self,
        nth: usize,
        channel: &Channel,
        payload: &[u8],
        retained: bool,
        now: Now,
    ) {
        let Some(broker) = self.hass.get(nth) else { return };
        let rest =
            channel.as_str().strip_prefix(&*broker.config.tree).and_then(|rest| rest.strip_prefix('/'));
        let Some(parts) = rest.map(|rest| rest.split('/').collect::<Vec<_>>()) else { return };
        match parts[..] {
            [device, "availability"] if retained && !payload.is_empty() => self.clear_if_gone(nth, device),
            [device, "set", property] => {
                self.hass_command(nth, device, Aim::Property(property), payload, retained, now)
            }
            [device, "do"] => self.hass_command(nth, device, Aim::Action, payload, retained, now),
            _ => {}
        }
    }

    fn hass_command(
        &mut self,
        nth: usize,
        device: &str,
        aim: Aim<'_>,
        payload: &[u8],
        retained: bool,
        now: Now,
    ) {
        let id = self.house.find(device).map(|(id, _)| id).filter(|id| self.is_told(nth, *id));
        let late = self.may_be_late(now);
        let Some(broker) = self.hass.get_mut(nth) else { return };
        // Without a user nobody commands over this broker.
        let Some(user) = broker.config.user.clone() else { return };
        // A stored copy is no wish of now.
        if retained {
            broker.counts.retained = broker.counts.retained.saturating_add(1);
            return;
        }
        if late {
            broker.counts.late = broker.counts.late.saturating_add(1);
            return;
        }
        let text = std::str::from_utf8(payload).ok().filter(|text| text.len() <= HASS_PAYLOAD);
        let (Some(id), Some(text)) = (id, text) else {
            broker.counts.unreadable = broker.counts.unreadable.saturating_add(1);
            return;
        };
        let who = Identity::User(user);
        if !self.pace.allows(&who, now) {
            if let Some(broker) = self.hass.get_mut(nth) {
                broker.counts.too_many = broker.counts.too_many.saturating_add(1);
            }
            return;
        }
        self.hass_order(nth, id, aim, text, &who, now);
    }

    fn hass_order(&mut self, nth: usize, id: DeviceId, aim: Aim<'_>, text: &str, who: &Identity, now: Now) {
        let Some(broker) = self.hass.get(nth) else { return };
        let name = self.config.links.get(broker.config.link.0).map(Link::title).unwrap_or_default();
        let giver = Giver::broker(&name, who);
        let order = self.house.device(id).map(|device| understand(device.model(), aim, text));
        match order {
            Some(Ok(order)) => self.order(giver, who, id, order, now),
            Some(Err(why)) => {
                if let Some(broker) = self.hass.get_mut(nth) {
                    broker.counts.unreadable = broker.counts.unreadable.saturating_add(1);
                }
                let what = match aim {
                    Aim::Property(property) => format!("{}={}", shorten(property), shorten(text)),
                    Aim::Action => format!("{}()", shorten(text)),
                };
                self.audit_refused(&giver, id, &what, &why, now);
            }
            None => {}
        }
    }
}

/// What is wanted, in words of the house; or why it is nothing.
fn understand(model: &crate::device::profile::Model, aim: Aim<'_>, text: &str) -> Result<Order, String> {
    match aim {
        Aim::Property(name) => {
            let property = model.properties.iter().find(|property| *property.id == *name);
            let property = property.ok_or_else(|| "it has nothing of that name".to_owned())?;
            let value = property.kind.parse(text).map_err(|why| why.to_string())?;
            Ok(Order::Set { property: property.id.clone(), value })
        }
        Aim::Action => {
            let action = model.actions.iter().find(|action| *action.id == *text);
            let action = action.ok_or_else(|| "it has no action of that name".to_owned())?;
            Ok(Order::Do { action: action.id.clone(), args: Vec::new() })
        }
    }
}

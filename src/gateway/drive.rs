//! Links: what drivers report, and what is to be carried out.

use sipliance_driver as driver;

use super::{Gateway, LinkStatus, Notice, Output};
use crate::config::{Link, LinkId, LinkSettings};
use crate::timer::Now;

impl Gateway {
    /// A driver reports, or what stands in for one.
    pub(super) fn on_driver(&mut self, link: LinkId, event: driver::Event, now: Now) {
        if self.leaving && self.restart.is_on() && !matches!(event, driver::Event::Done { .. }) {
            // Watchers have been told that nothing is known until the next start.
            return;
        }
        let name = self.config.links.get(link.0).map(Link::title).unwrap_or_default();
        match &event {
            driver::Event::Up => {
                self.links_up.insert(link);
                self.links_down.remove(&link);
                self.outputs.push_back(Output::Tell(Notice::Link { link: name, down: None }));
            }
            driver::Event::Down(why) => {
                self.links_up.remove(&link);
                let (link_name, words) = (name.clone(), why.to_string());
                self.links_down.insert(link, LinkStatus { link: link_name, words });
                self.outputs
                    .push_back(Output::Tell(Notice::Link { link: name, down: Some(why.to_string()) }));
            }
            driver::Event::Unwatched { channel, why } => {
                let channel = channel.to_string();
                self.outputs.push_back(Output::Tell(Notice::Unwatched {
                    link: name,
                    channel,
                    why: why.to_string(),
                }));
            }
            driver::Event::Read { .. } | driver::Event::Edge { .. } | driver::Event::Done { .. } => {}
        }
        self.hass_event(link, &event, now);
        self.house.driver(link, event, now);
    }

    /// Whether a link is no driver's.
    pub(super) fn is_elsewhere(&self, link: LinkId) -> bool {
        self.config.links.get(link.0).is_some_and(|link| matches!(link.settings, LinkSettings::Sip(_)))
    }

    /// What is to be carried out on a link: a driver's work, or words to another gateway.
    pub(super) fn drive(&mut self, link: LinkId, op: driver::Op) {
        self.outputs.push_back(match self.is_elsewhere(link) {
            true => Output::Relay { link, op },
            false => Output::Drive { link, op },
        });
    }
}

//! `message-summary` (RFC 3842): the alerts of the house as a mailbox, for the lamp that every desk
//! phone has. New is what nobody has acknowledged. Peers that name a type of the year 2000 get that.

use std::time::Duration;

use super::package::{Package, View};
use super::subject::Subject;
use crate::body::message_summary::historic::{self, Historic};
use crate::body::message_summary::{self, Class, Count, NewOld, Summary};

/// See the module.
#[derive(Debug)]
pub struct MessageSummary;

impl Package for MessageSummary {
    fn name(&self) -> &'static str {
        "message-summary"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &["application/simple-message-summary", "text/plain", "text/xml"]
    }

    fn offered(&self) -> usize {
        1
    }

    fn covers(&self, subject: Subject) -> bool {
        subject == Subject::Alerts
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn document(&self, view: &View<'_>) -> String {
        let counts = view.alerts;
        let count = Count {
            class: Class::Text,
            all: NewOld { new: counts.new, old: counts.old },
            urgent: Some(NewOld { new: counts.urgent_new, old: counts.urgent_old }),
        };
        let summary = Summary {
            waiting: counts.new > 0,
            account: Some(format!("sip:alerts@{}", view.domain)),
            counts: vec![count],
            messages: Vec::new(),
        };
        match view.form {
            0 => message_summary::write(&summary),
            1 => historic::write_text(&Historic::of(&summary)),
            _ => historic::write_xml(&Historic::of(&summary)),
        }
    }
}

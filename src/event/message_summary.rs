//! `message-summary` (RFC 3842): the alerts of the house as a mailbox, for the lamp that every desk
//! phone has. New is what nobody has acknowledged.

use std::time::Duration;

use super::package::{Package, View};
use super::subject::Subject;

/// See the module.
#[derive(Debug)]
pub struct MessageSummary;

impl Package for MessageSummary {
    fn name(&self) -> &'static str {
        "message-summary"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &["application/simple-message-summary"]
    }

    fn covers(&self, subject: Subject) -> bool {
        subject == Subject::Alerts
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn document(&self, view: &View<'_>) -> String {
        let counts = view.alerts;
        let waiting = if counts.new > 0 { "yes" } else { "no" };
        format!(
            "Messages-Waiting: {waiting}\r\nMessage-Account: sip:alerts@{}\r\nText-Message: {}/{} ({}/{})\r\n",
            view.domain, counts.new, counts.old, counts.urgent_new, counts.urgent_old
        )
    }
}

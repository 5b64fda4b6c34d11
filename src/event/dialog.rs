//! `dialog` (RFC 4235): the appliance as a call, so that a desk phone's key lights.
//!
//! Lit is a confirmed dialog, dark a terminated one, and while a bell rings there, an early one: keys
//! blink. There is always exactly one `<dialog>` with the
//! same id, and always the full state: phones need both. An appliance that cannot be believed is
//! dark; the display name says why.

use std::time::Duration;

use super::package::{Package, View, escape};
use crate::device::appliance::Lamp;

/// See the module.
#[derive(Debug)]
pub struct Dialog;

impl Package for Dialog {
    fn name(&self) -> &'static str {
        "dialog"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &["application/dialog-info+xml"]
    }

    /// RFC 4235 §3.7. The first change after a pause is told at once, so that the key follows the hand.
    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn document(&self, view: &View<'_>) -> String {
        let state = match view.lamp() {
            _ if view.rings => "early",
            Lamp::Lit => "confirmed",
            Lamp::Dark | Lamp::Unknown => "terminated",
        };
        let entity = escape(view.entity);
        let id = escape(view.id);
        let display = view.summary();
        let display = escape(&display);
        let version = view.nth;
        format!(
            "<?xml version=\"1.0\"?>\r\n\
             <dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"full\" entity=\"{entity}\">\r\n\
             <dialog id=\"{id}\" direction=\"recipient\"><state>{state}</state>\
             <remote><identity display=\"{display}\">{entity}</identity><target uri=\"{entity}\"/></remote></dialog>\r\n\
             </dialog-info>\r\n"
        )
    }
}

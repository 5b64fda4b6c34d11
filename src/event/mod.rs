//! Event packages: pure functions from the house to a document.
//!
//! A package keeps no subscription, no timer and no socket; the notifier asks it for a document when
//! one is to be sent. Adding a package is one file here and one line in [`PACKAGES`].

pub mod appliance;
pub mod dialog;
pub mod package;
pub mod presence;

use std::collections::HashMap;

use crate::config::DeviceId;
use crate::device::house::House;
use crate::sip::notifier::{Document, Moment, Resource, Source};
use crate::timer::Now;

pub use package::{EVENTS, Package, View};

/// Every package that the gateway serves; the index is [`Resource::package`].
pub const PACKAGES: [&dyn Package; 3] = [&appliance::Appliance, &presence::Presence, &dialog::Dialog];

/// The value of Allow-Events.
pub const ALLOW_EVENTS: &str = "appliance, presence, dialog";

/// The package of that name (RFC 6665 §8.2.1: compared without case).
pub fn find(name: &str) -> Option<(usize, &'static dyn Package)> {
    PACKAGES.iter().copied().enumerate().find(|(_, package)| package.name().eq_ignore_ascii_case(name))
}

/// Documents of the newest state, each made once for all who watch it in the same way.
#[derive(Debug, Default)]
pub struct Cache {
    made: HashMap<Resource, (u64, Document)>,
}

/// Documents kept for sharing; when it is full, all are forgotten and made again.
const CACHED: usize = 256;

/// What the notifier asks for documents.
#[derive(Debug)]
pub struct Documents<'a> {
    /// The house.
    pub house: &'a House,
    /// Domain of the addresses in documents.
    pub domain: &'a str,
    /// Shared documents.
    pub cache: &'a mut Cache,
    /// The time.
    pub now: Now,
}

impl Source for Documents<'_> {
    fn document(&mut self, resource: Resource, nth: u32, entity: &str, moments: &[Moment]) -> Document {
        let Some((device, package)) =
            self.house.device(DeviceId(resource.subject)).zip(PACKAGES.get(resource.package))
        else {
            return Document { content_type: "text/plain", body: bytes::Bytes::new() };
        };
        let version = device.shadow().version();
        let shared = package.is_shared() && moments.is_empty();
        if let Some((of, document)) = self.cache.made.get(&resource).filter(|_| shared)
            && *of == version
        {
            return document.clone();
        }
        let view = View {
            device,
            form: resource.form,
            visible: resource.view,
            nth,
            entity,
            domain: self.domain,
            moments,
            now: self.now,
        };
        let content_type = package.content_types().get(resource.form).copied().unwrap_or("text/plain");
        let document = Document { content_type, body: package.document(&view).into() };
        if shared {
            if self.cache.made.len() >= CACHED {
                self.cache.made.clear();
            }
            self.cache.made.insert(resource, (version, document.clone()));
        }
        document
    }
}

//! `device-info` (draft-rahman-sipping-device-info-02): what kind of device an address is, for a peer
//! that has never heard of it. The profile names the media type of the status document, and a
//! subscription that accepts that one gets it.

use std::time::Duration;

use super::appliance::Appliance;
use super::package::{Member, Package, Sharing, View};
use super::subject::Subject;
use crate::body::device_profile::{self, DeviceProfile};

/// See the module.
#[derive(Debug)]
pub struct DeviceInfo;

/// The media type of the status document.
const STATUS: &str = "application/senml+json";

impl Package for DeviceInfo {
    fn name(&self) -> &'static str {
        "device-info"
    }

    fn content_types(&self) -> &'static [&'static str] {
        &[device_profile::CONTENT_TYPE, STATUS]
    }

    /// A room as one thing is no device.
    fn covers(&self, subject: Subject) -> bool {
        !matches!(subject, Subject::Alerts | Subject::Room(_))
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(5)
    }

    fn sharing(&self) -> Sharing {
        Sharing::All
    }

    fn document(&self, view: &View<'_>) -> String {
        match (view.form, view.members) {
            (0, [member, ..]) => device_profile::write(&profile(member)),
            _ => Appliance.document(&View { form: 0, ..*view }),
        }
    }
}

/// What an appliance is.
pub fn profile(member: &Member<'_>) -> DeviceProfile {
    let (device, model) = (member.device, member.device.model());
    DeviceProfile {
        device_name: device.name().to_owned(),
        device_type: device.kind().unwrap_or("appliance").to_owned(),
        schema_name: STATUS.to_owned(),
        model_name: Some(model.name.to_string()),
        model_number: Some(model.profile.to_string()),
        ..DeviceProfile::default()
    }
}

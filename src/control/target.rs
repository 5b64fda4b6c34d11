//! What an address means here. Dispatch is on the Request-URI, never on To.

use std::collections::HashMap;

use crate::config::{Config, DeviceId, Press};
use crate::sip::wire::Uri;

/// What a Request-URI names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The gateway itself.
    House,
    /// An appliance by its name.
    Device(DeviceId),
    /// An appliance by one of its numbers: an index into its list of numbers.
    Number(DeviceId, usize),
}

impl Target {
    /// The appliance, unless the house is meant.
    pub fn device(self) -> Option<DeviceId> {
        match self {
            Self::House => None,
            Self::Device(device) | Self::Number(device, _) => Some(device),
        }
    }
}

/// Every name of the house: ids, numbers and the house's own.
#[derive(Clone, Debug, Default)]
pub struct Names(HashMap<String, Target>);

impl Names {
    /// The names of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut names = HashMap::new();
        for (index, device) in config.devices.iter().enumerate() {
            for (nth, number) in device.numbers.iter().enumerate() {
                names.insert(number.digits.clone(), Target::Number(DeviceId(index), nth));
            }
            names.insert(device.id.clone(), Target::Device(DeviceId(index)));
        }
        names.insert(config.house.user.clone(), Target::House);
        Self(names)
    }

    /// What `uri` names. A URI without a user part is the house.
    pub fn resolve(&self, uri: &Uri<'_>) -> Option<Target> {
        match uri.user_text() {
            None => Some(Target::House),
            Some(user) => self.by_user(&user),
        }
    }

    /// What a user part names: parameters that dialling adds (`;phone-context=`) are passed over, and
    /// case where nothing matches with it.
    pub fn by_user(&self, user: &str) -> Option<Target> {
        let user = user.split(';').next().unwrap_or(user);
        let found = self.0.get(user).or_else(|| self.0.get(&user.to_lowercase()));
        found.copied()
    }
}

/// What dialling `target` does.
pub fn press_of(config: &Config, target: Target) -> Press {
    match target {
        Target::Number(device, nth) => config
            .devices
            .get(device.0)
            .and_then(|device| device.numbers.get(nth))
            .map_or(Press::Tell, |number| number.press.clone()),
        Target::Device(_) => Press::Profile,
        Target::House => Press::Tell,
    }
}
